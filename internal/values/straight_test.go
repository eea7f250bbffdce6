package values

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// What goes straight gives what goes through float64s does, and costs the same.
func TestStraight(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	var wide, narrow []byte
	add := func(u uint32) { wide = le.AppendUint32(le.AppendUint32(wide, u), u^1<<31) }
	for range 200_000 {
		add(rng.Uint32())
		add(math.Float32bits(float32(rng.NormFloat64() * 1e-5)))
	}
	for h := range 1 << 16 {
		narrow = le.AppendUint16(narrow, uint16(h))
		for _, u := range []uint32{uint32(h) << 16, math.Float32bits(float16to32(uint16(h)))} {
			for d := range uint32(3) { // the number, its neighbours and the ties beside it
				add(u + d - 1)
				add(u + 0x8000 + d - 1)
				add(u + 0x1000 + d - 1)
			}
		}
	}
	sources := map[string][]byte{"F32": wide, "BF16": narrow, "F16": narrow}
	small := make([]byte, 0, 3<<10)
	for range 12 {
		for b := range 256 {
			small = append(small, byte(b))
		}
	}
	targets := []string{"F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"}
	for _, name := range targets[3:] {
		sources[name] = small
	}
	for _, pair := range ordered(targets) {
		src := sources[pair[0]]
		from, to := mustLookup(t, pair[0]), mustLookup(t, pair[1])
		count := len(src) / from.BlockBytes
		got, want := make([]byte, count*to.BlockBytes), make([]byte, count*to.BlockBytes)
		var costs, wantCosts Rounding
		from.Straight(to)(got, src, &costs)
		numbers := make([]float64, count)
		from.DecodeFor(to, numbers, src, &wantCosts)
		to.Encode(want, numbers, &wantCosts)
		if !bytes.Equal(got, want) {
			at := mismatch(got, want) / to.BlockBytes
			t.Errorf("%s to %s: number %d, % x, becomes % x, want % x", pair[0], pair[1], at,
				src[at*from.BlockBytes:][:from.BlockBytes], got[at*to.BlockBytes:][:to.BlockBytes], want[at*to.BlockBytes:][:to.BlockBytes])
		}
		if costs != wantCosts {
			t.Errorf("%s to %s costs %+v, want %+v", pair[0], pair[1], costs, wantCosts)
		}
	}
}

// ordered are the pairs of two different ones of a list.
func ordered(list []string) (out [][2]string) {
	for _, a := range list {
		for _, b := range list {
			if a != b {
				out = append(out, [2]string{a, b})
			}
		}
	}
	return out
}

// BenchmarkStraight counts the bytes of the source.
func BenchmarkStraight(b *testing.B) {
	rng := rand.New(rand.NewPCG(4, 5))
	for _, pair := range [][2]string{{"BF16", "F16"}, {"F16", "BF16"}, {"BF16", "F8_E4M3"}, {"F16", "F8_E5M2"}, {"F32", "F8_E4M3"}, {"F8_E4M3", "BF16"}, {"F32", "BF16"}} {
		from, to := mustLookup(b, pair[0]), mustLookup(b, pair[1])
		numbers := make([]float64, 16<<10)
		for i := range numbers {
			numbers[i] = rng.NormFloat64() * 0.02
		}
		var n Rounding
		src, dst := make([]byte, len(numbers)*from.BlockBytes), make([]byte, len(numbers)*to.BlockBytes)
		from.Encode(src, numbers, &n)
		straight := from.Straight(to)
		for name, write := range map[string]func(dst, src []byte, n *Rounding){"straight": straight, "float64": func(dst, src []byte, n *Rounding) {
			from.DecodeFor(to, numbers, src, n)
			to.Encode(dst, numbers, n)
		}} {
			b.Run(fmt.Sprintf("%s-%s/%s", pair[0], pair[1], name), func(b *testing.B) {
				b.SetBytes(int64(len(src)))
				for b.Loop() {
					write(dst, src, &n)
				}
			})
		}
	}
}
