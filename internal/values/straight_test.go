package values

import (
	"bytes"
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
	for _, tt := range []struct {
		from, to string
		src      []byte
	}{{"F32", "BF16", wide}, {"F32", "F16", wide}, {"BF16", "F32", narrow}, {"F16", "F32", narrow}} {
		from, to := mustLookup(t, tt.from), mustLookup(t, tt.to)
		count := len(tt.src) / from.BlockBytes
		got, want := make([]byte, count*to.BlockBytes), make([]byte, count*to.BlockBytes)
		var costs, wantCosts Rounding
		from.Straight(to)(got, tt.src, &costs)
		numbers := make([]float64, count)
		from.DecodeFor(to, numbers, tt.src, &wantCosts)
		to.Encode(want, numbers, &wantCosts)
		if !bytes.Equal(got, want) {
			at := mismatch(got, want) / to.BlockBytes
			t.Errorf("%s to %s: number %d, % x, becomes % x, want % x", tt.from, tt.to, at,
				tt.src[at*from.BlockBytes:][:from.BlockBytes], got[at*to.BlockBytes:][:to.BlockBytes], want[at*to.BlockBytes:][:to.BlockBytes])
		}
		if costs != wantCosts {
			t.Errorf("%s to %s costs %+v, want %+v", tt.from, tt.to, costs, wantCosts)
		}
	}
}
