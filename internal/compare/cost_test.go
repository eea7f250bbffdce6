package compare

import (
	"bytes"
	"encoding/binary"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/x448/float16"

	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/values"
)

// half appends a number as F16.
func half(b []byte, v float64) []byte {
	return binary.LittleEndian.AppendUint16(b, float16.Fromfloat32(float32(v)).Bits())
}

// halved is a number as it comes back from F16.
func halved(v float64) float64 { return float64(float16.Fromfloat32(float32(v)).Float32()) }

func nearest(v, least, most float64) float64 { return max(least, min(math.RoundToEven(v), most)) }

// over is x/d, or 0 where d is.
func over(x, d float64) float64 {
	if d == 0 {
		return 0
	}
	return x / d
}

// farthest returns the number of the greatest magnitude, with its sign.
func farthest(x []float64) float64 {
	m := x[0]
	for _, v := range x {
		if math.Abs(v) > math.Abs(m) {
			m = v
		}
	}
	return m
}

func extent(x []float64) (least, most float64) {
	least, most = x[0], x[0]
	for _, v := range x {
		least, most = min(least, v), max(most, v)
	}
	return least, most
}

// quantisers quantise one block by the rules of ggml-quants.c: quantize_row_*_ref, with
// the scales of K-quants as make_qkx2_quants and make_qx_quants begin with them, before
// they search better ones.
var quantisers = map[string]func(x []float64) []byte{
	"BF16": func(x []float64) []byte {
		bits := math.Float32bits(float32(x[0]))
		return binary.LittleEndian.AppendUint16(nil, uint16((bits+0x7fff+bits>>16&1)>>16))
	},
	"F16": func(x []float64) []byte { return half(nil, x[0]) },
	"Q8_0": func(x []float64) []byte {
		d := math.Abs(farthest(x)) / 127
		b := half(nil, d)
		for _, v := range x {
			b = append(b, byte(int8(math.Round(over(v, d)))))
		}
		return b
	},
	"Q4_0": func(x []float64) []byte {
		d := farthest(x) / -8
		b := half(nil, d)
		q := func(v float64) byte { return byte(min(15, math.Floor(over(v, d)+8.5))) }
		for i := range 16 {
			b = append(b, q(x[i])|q(x[i+16])<<4)
		}
		return b
	},
	"Q4_1": func(x []float64) []byte {
		least, most := extent(x)
		d := (most - least) / 15
		b := half(half(nil, d), least)
		q := func(v float64) byte { return byte(min(15, math.Floor(over(v-least, d)+0.5))) }
		for i := range 16 {
			b = append(b, q(x[i])|q(x[i+16])<<4)
		}
		return b
	},
	"Q5_0": func(x []float64) []byte {
		d := farthest(x) / -16
		return fives(half(nil, d), x, func(v float64) uint32 { return uint32(min(31, math.Floor(over(v, d)+16.5))) })
	},
	"Q5_1": func(x []float64) []byte {
		least, most := extent(x)
		d := (most - least) / 31
		return fives(half(half(nil, d), least), x, func(v float64) uint32 { return uint32(min(31, math.Floor(over(v-least, d)+0.5))) })
	},
	"Q2_K": func(x []float64) []byte {
		d, dmin, scales, mins := affine(x, 16, 3, 15)
		b := make([]byte, 16, 84)
		codes := make([]byte, 64)
		for k := range 16 {
			b[k] = byte(scales[k]) | byte(mins[k])<<4
			for i := range 16 {
				q := byte(nearest(over(x[16*k+i]+dmin*mins[k], d*scales[k]), 0, 3))
				codes[k/8*32+k%2*16+i] |= q << (k % 8 / 2 * 2)
			}
		}
		return half(half(append(b, codes...), d), dmin)
	},
	"Q4_K": func(x []float64) []byte {
		d, dmin, scales, mins := affine(x, 32, 15, 63)
		b := append(half(half(nil, d), dmin), sixes(scales, mins)...)
		for k := 0; k < 8; k += 2 {
			for i := range 32 {
				q := func(k int) byte {
					return byte(nearest(over(x[32*k+i]+dmin*mins[k], d*scales[k]), 0, 15))
				}
				b = append(b, q(k)|q(k+1)<<4)
			}
		}
		return b
	},
	"Q3_K": func(x []float64) []byte {
		d, scales := signedScales(x, 16, 4, 32)
		high, low, sc := make([]byte, 32), make([]byte, 64), make([]byte, 12)
		for k, s := range scales {
			six := byte(s + 32)
			sc[k%8] |= six & 15 << (k / 8 * 4)
			sc[8+k%4] |= six >> 4 << (k / 4 * 2)
			for i := range 16 {
				q := byte(nearest(over(x[16*k+i], d*s), -4, 3) + 4)
				low[k/8*32+k%2*16+i] |= q & 3 << (k % 8 / 2 * 2)
				high[k%2*16+i] |= q >> 2 << (k / 2)
			}
		}
		return half(append(append(high, low...), sc...), d)
	},
	"Q5_K": func(x []float64) []byte {
		d, dmin, scales, mins := affine(x, 32, 31, 63)
		high, low := make([]byte, 32), make([]byte, 128)
		for at, v := range x {
			k, i := at/32, at%32
			q := byte(nearest(over(v+dmin*mins[k], d*scales[k]), 0, 31))
			high[i] |= q >> 4 << k
			low[k/2*32+i] |= q & 15 << (k % 2 * 4)
		}
		return append(append(append(half(half(nil, d), dmin), sixes(scales, mins)...), high...), low...)
	},
	"IQ4_NL": func(x []float64) []byte {
		d := halved(farthest(x) / -127)
		return append(half(nil, d), nibbles(x, levelsNL, d)...)
	},
	"IQ4_XS": func(x []float64) []byte {
		d, scales := signedScales(x, 32, 127, 32)
		var high uint16
		low, codes := make([]byte, 4), []byte(nil)
		for k, s := range scales {
			six := uint16(s + 32)
			low[k/2] |= byte(six&15) << (k % 2 * 4)
			high |= six >> 4 << (2 * k)
			codes = append(codes, nibbles(x[32*k:32*k+32], levelsNL, d*s)...)
		}
		return append(append(binary.LittleEndian.AppendUint16(half(nil, d), high), low...), codes...)
	},
	"NVFP4": func(x []float64) []byte {
		var scales, codes []byte
		for at := 0; at < len(x); at += 16 {
			want, best := math.Abs(farthest(x[at:at+16]))/6, 0
			for c := range 0x7f { // E4M3 without a sign, the last of which is NaN
				if math.Abs(e4m3(c)-want) < math.Abs(e4m3(best)-want) {
					best = c
				}
			}
			scales, codes = append(scales, byte(best)), append(codes, nibbles(x[at:at+16], levelsFP4, e4m3(best))...)
		}
		return append(scales, codes...)
	},
	"TQ1_0": func(x []float64) []byte {
		d := math.Abs(farthest(x))
		pack := func(at, apart, n int) byte { // base 3, the first digit of five the highest
			q := 0
			for i := range 5 {
				q *= 3
				if i < n {
					q += int(math.Round(over(x[at+i*apart], d))) + 1
				}
			}
			return byte((q*256 + 242) / 243)
		}
		var b []byte
		for i := range 32 {
			b = append(b, pack(i, 32, 5))
		}
		for i := range 16 {
			b = append(b, pack(160+i, 16, 5))
		}
		for i := range 4 {
			b = append(b, pack(240+i, 4, 4))
		}
		return half(b, d)
	},
	"Q6_K": func(x []float64) []byte {
		d, scales := signedScales(x, 16, 32, 128)
		low, high, sc := make([]byte, 128), make([]byte, 64), make([]byte, 16)
		for k, s := range scales {
			sc[k] = byte(int8(s))
			for i := range 16 {
				at := 16*k + i
				q := byte(nearest(over(x[at], d*s), -32, 31) + 32)
				n, l := at/128, at%128
				low[64*n+l%64] |= q & 15 << (l / 64 * 4)
				high[32*n+l%32] |= q >> 4 << (l / 32 * 2)
			}
		}
		return half(append(append(low, high...), sc...), d)
	},
	"MXFP4": func(x []float64) []byte {
		e := -127.0
		if most := math.Abs(farthest(x)); most > 0 {
			e = max(e, math.Floor(math.Log2(most))-2)
		}
		return append([]byte{byte(e + 127)}, nibbles(x, levelsFP4, math.Ldexp(1, int(e)))...)
	},
	// Its fourth level, 2, is not used.
	"Q2_0": func(x []float64) []byte {
		d := math.Abs(farthest(x))
		b := half(nil, d)
		for four := range slices.Chunk(x, 4) {
			var q byte
			for i, v := range four {
				q |= byte(math.Round(over(v, d))+1) << (2 * i)
			}
			b = append(b, q)
		}
		return b
	},
	"TQ2_0": func(x []float64) []byte {
		d := math.Abs(farthest(x))
		b := make([]byte, 64)
		for at, v := range x {
			b[at/128*32+at%32] |= byte(math.Round(over(v, d))+1) << (at % 128 / 32 * 2)
		}
		return half(b, d)
	},
}

// levelsNL and levelsFP4 are the numbers of IQ4_NL (ggml-common.h kvalues_iq4nl) and of
// E2M1.
var (
	levelsNL  = []float64{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	levelsFP4 = []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6}
)

// nibbles packs the nearest of 16 levels for each number: the first half in the low
// halves of bytes.
func nibbles(x, levels []float64, d float64) []byte {
	nearest := func(v float64) byte {
		best := 0
		for i, c := range levels {
			if math.Abs(v-d*c) < math.Abs(v-d*levels[best]) {
				best = i
			}
		}
		return byte(best)
	}
	var b []byte
	for i := range len(x) / 2 {
		b = append(b, nearest(x[i])|nearest(x[i+len(x)/2])<<4)
	}
	return b
}

// e4m3 is a number without a sign.
func e4m3(code int) float64 {
	if code < 8 {
		return math.Ldexp(float64(code), -9)
	}
	return math.Ldexp(1+float64(code%8)/8, code/8-7)
}

// signedScales chooses the scales of the parts of a block that put the farthest number of
// each at -levels, and that of the block that they are rounded to.
func signedScales(x []float64, part int, levels, most float64) (d float64, scales []float64) {
	for at := 0; at < len(x); at += part {
		scales = append(scales, farthest(x[at:at+part])/-levels)
	}
	d = halved(farthest(scales) / -most)
	for k, s := range scales {
		scales[k] = nearest(over(s, d), -most, most-1)
	}
	return d, scales
}

// fives appends 32 codes of 5 bits: the high bits first.
func fives(b []byte, x []float64, q func(float64) uint32) []byte {
	var high uint32
	var low []byte
	for i := range 16 {
		l, h := q(x[i]), q(x[i+16])
		high |= l>>4<<i | h>>4<<(i+16)
		low = append(low, byte(l&15|h&15<<4))
	}
	return append(binary.LittleEndian.AppendUint32(b, high), low...)
}

// sixes packs 6-bit scales and minima: get_scale_min_k4.
func sixes(scales, mins []float64) []byte {
	b := make([]byte, 12)
	for k := range 8 {
		s, m := byte(scales[k]), byte(mins[k])
		if k < 4 {
			b[k] |= s
			b[k+4] |= m
			continue
		}
		b[k+4] |= s&15 | m&15<<4
		b[k-4] |= s >> 4 << 6
		b[k] |= m >> 4 << 6
	}
	return b
}

// affine chooses the scales and minima of the parts of a block, and those of the block
// that they are rounded to.
func affine(x []float64, part int, codes, levels float64) (d, dmin float64, scales, mins []float64) {
	for at := 0; at < len(x); at += part {
		least, most := extent(x[at : at+part])
		least = min(least, 0)
		scales, mins = append(scales, (most-least)/codes), append(mins, -least)
	}
	_, most := extent(scales)
	_, deepest := extent(mins)
	d, dmin = halved(most/levels), halved(deepest/levels)
	for k := range scales {
		scales[k], mins[k] = nearest(over(scales[k], d), 0, levels), nearest(over(mins[k], dmin), 0, levels)
	}
	return d, dmin, scales, mins
}

func quantise(dtype string, x []float64) []byte {
	typ, _ := values.Lookup(dtype)
	var b []byte
	for i := 0; i < len(x); i += typ.BlockElems {
		b = append(b, quantisers[dtype](x[i:i+typ.BlockElems])...)
	}
	return b
}

func sectionOfBytes(dtype string, b []byte) values.Section {
	typ, _ := values.Lookup(dtype)
	return values.Section{Name: dtype, Type: typ, Data: io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))}
}

func measure(t *testing.T, a, b values.Section) *values.Difference {
	t.Helper()
	var out *values.Difference
	err := values.RunPairs(t.Context(), []values.Pair{{A: a, B: b}}, values.PairOptions{Values: true}, func(_ int, c *values.Comparison) error {
		out = c.Difference
		return c.Err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// samples are numbers as weights may be distributed, in F32.
func samples(n int) map[string][]float64 {
	rnd := rand.New(rand.NewPCG(1, 2))
	make1 := func(f func(i int) float64) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = float64(float32(f(i)))
		}
		return x
	}
	laplace := func() float64 { return rnd.ExpFloat64() * float64(2*rnd.IntN(2)-1) }
	return map[string][]float64{
		"normal":   make1(func(int) float64 { return 0.02 * rnd.NormFloat64() }),
		"laplace":  make1(func(int) float64 { return 0.02 * laplace() }),
		"cubed":    make1(func(int) float64 { v := rnd.NormFloat64(); return v * v * v }),
		"uniform":  make1(func(int) float64 { return rnd.Float64() - 0.5 }),
		"offset":   make1(func(int) float64 { return -1 + 0.01*rnd.NormFloat64() }),
		"outliers": make1(func(i int) float64 { return rnd.NormFloat64() * (1 + 50*float64(max(0, 1-i%97))) }),
		"zeros":    make1(func(int) float64 { return 0 }),
		"tiny":     make1(func(int) float64 { return 1e-9 * rnd.NormFloat64() }),
	}
}

func asF32(x []float64) values.Section {
	var b []byte
	for _, v := range x {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(v)))
	}
	return sectionOfBytes("F32", b)
}

// scalesAt are the places of the F16 scales of a block, and of its minima: ggml-common.h.
var scalesAt = map[string][]int{
	"Q8_0": {0}, "Q4_0": {0}, "Q4_1": {0, 2}, "Q5_0": {0}, "Q5_1": {0, 2}, "Q2_0": {0},
	"Q2_K": {80, 82}, "Q3_K": {108}, "Q4_K": {0, 2}, "Q5_K": {0, 2}, "Q6_K": {208},
	"IQ4_NL": {0}, "IQ4_XS": {0}, "TQ1_0": {52}, "TQ2_0": {64},
	"IQ1_S": {0}, "IQ2_XXS": {0}, "IQ2_XS": {0}, "IQ2_S": {0}, "IQ3_XXS": {0}, "IQ3_S": {0}, "Q1_0": {0},
}

// spoilScales are ways to spoil every scale of a type's blocks.
func spoilScales(dtype string) map[string]func(b []byte) {
	typ, _ := values.Lookup(dtype)
	each := func(spoil func(block []byte)) func(b []byte) {
		return func(b []byte) {
			for block := range slices.Chunk(b, typ.BlockBytes) {
				spoil(block)
			}
		}
	}
	halves := func(change func(bits uint16) uint16) func(b []byte) {
		return each(func(block []byte) {
			for _, at := range scalesAt[dtype] {
				binary.LittleEndian.PutUint16(block[at:], change(binary.LittleEndian.Uint16(block[at:])))
			}
		})
	}
	times := func(exponent uint16) func(bits uint16) uint16 {
		return func(bits uint16) uint16 {
			return float16.Fromfloat32(float32(math.Ldexp(float64(float16.Frombits(bits).Float32()), int(exponent)))).Bits()
		}
	}
	switch dtype {
	case "F16", "BF16":
		return nil
	case "MXFP4": // exponents, without signs
		return map[string]func(b []byte){
			"doubled scales": each(func(block []byte) { block[0]++ }),
			"huge scales":    each(func(block []byte) { block[0] += 10 }),
		}
	case "NVFP4": // UE4M3
		return map[string]func(b []byte){"doubled scales": each(func(block []byte) {
			for i, c := range block[:4] {
				block[i] = min(c+8, 0x7e)
			}
		})}
	case "IQ1_M": // the scale is spread over high bits
		return map[string]func(b []byte){
			"doubled scales": each(func(block []byte) { block[53] += 0x40 }),
			"flipped scales": each(func(block []byte) { block[55] ^= 0x80 }),
		}
	}
	return map[string]func(b []byte){
		"doubled scales": halves(times(1)),
		"huge scales":    halves(times(10)),
		"flipped scales": halves(func(bits uint16) uint16 { return bits ^ 0x8000 }),
	}
}

// What a quantiser makes of any numbers is faithful, in both orders, and against what
// another made of them; a spoiled block, and numbers that moved, are not.
func TestCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("quantises much")
	}
	testCosts(t, samples(1<<12))
}

// Trained matrices, too.
func TestTrainedCosts(t *testing.T) {
	if testing.Short() {
		t.Skip("quantises much")
	}
	c := open(t, testdata.Path(t, "tinyllama/A0/model.safetensors"))
	all := make(map[string][]float64)
	for _, name := range []string{"model.layers.3.mlp.up_proj.weight", "model.layers.0.self_attn.k_proj.weight"} {
		i, _ := c.Lookup(name)
		s, err := Section(c, i)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(s.Data)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = make([]float64, len(b)/2)
		s.Type.Decode64(all[name], b)
	}
	testCosts(t, all)
}

func testCosts(t *testing.T, all map[string][]float64) {
	for name, x := range all {
		made := make(map[string][]byte)
		for dtype := range quantisers {
			made[dtype] = quantise(dtype, x)
		}
		for dtype, b := range made {
			a := asF32(x)
			good := sectionOfBytes(dtype, b)
			d := measure(t, a, good)
			if !Within(d, "F32", dtype) || !Within(measure(t, good, a), dtype, "F32") {
				t.Errorf("%s of %s numbers is not faithful: %+v", dtype, name, d)
			}
			if want := costs[dtype].Normal; name == "normal" && math.Abs(d.RelRMS-want) > 0.15*want {
				t.Errorf("%s costs normal numbers %.5f, expected is %.5f", dtype, d.RelRMS, want)
			}
			for other, c := range made {
				if other == dtype {
					continue
				}
				if d := measure(t, good, sectionOfBytes(other, c)); !Within(d, dtype, other) {
					t.Errorf("%s of %s numbers is not faithful to %s: %+v", dtype, name, other, d)
				}
			}
			if name == "zeros" || name == "tiny" {
				continue
			}
			spoilt := map[string]func(b []byte){
				"zeroed bytes":     func(b []byte) { clear(b[len(b)/2-200 : len(b)/2+200]) },
				"blocks of others": func(b []byte) { copy(b[len(b)/2:], b[:len(b)/2]) },
				"inverted bits": func(b []byte) {
					for i := range b[:min(400, len(b))] {
						b[i] ^= 0x55
					}
				},
			}
			maps.Copy(spoilt, spoilScales(dtype))
			for what, spoil := range spoilt {
				if name == "offset" && what == "blocks of others" {
					continue // one block is as good as another where all numbers are alike
				}
				bad := bytes.Clone(b)
				spoil(bad)
				if d := measure(t, a, sectionOfBytes(dtype, bad)); Within(d, "F32", dtype) {
					t.Errorf("%s of %s numbers with %s is faithful: %+v", dtype, name, what, d)
				}
			}
		}
	}
}

// Types that round numbers in groups are judged by their blocks.
func TestGroupCosts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for dtype, cost := range costs {
		if cost.Most == 0 {
			continue
		}
		typ, _ := values.Lookup(dtype)
		b := make([]byte, 64*typ.BlockBytes)
		for i := range b {
			b[i] = byte(rnd.IntN(256))
		}
		for i := 0; i < len(b); i += typ.BlockBytes {
			half(b[i:i], 0.01)
			if dtype == "IQ1_M" { // its scale is spread over the high bits
				for k := 49; k < 56; k += 2 {
					b[i+k] = b[i+k]&0x0f | 0x10
				}
			}
		}
		x := make([]float64, 64*typ.BlockElems)
		typ.Decode64(x, b)
		for i := range x {
			x[i] += x[i] * cost.Normal * rnd.NormFloat64() * 0.9
		}
		a := asF32(x)
		if d := measure(t, a, sectionOfBytes(dtype, b)); !Within(d, "F32", dtype) {
			t.Errorf("%s: %+v", dtype, d)
		}
		bad := bytes.Clone(b)
		clear(bad[10*typ.BlockBytes : 11*typ.BlockBytes])
		if d := measure(t, a, sectionOfBytes(dtype, bad)); Within(d, "F32", dtype) {
			t.Errorf("%s with a block of zeros: %+v", dtype, d)
		}
		for what, spoil := range spoilScales(dtype) {
			bad := bytes.Clone(b)
			spoil(bad)
			if d := measure(t, a, sectionOfBytes(dtype, bad)); Within(d, "F32", dtype) {
				t.Errorf("%s with %s: %+v", dtype, what, d)
			}
			if d := measure(t, sectionOfBytes(dtype, bad), a); Within(d, dtype, "F32") {
				t.Errorf("%s with %s, exchanged: %+v", dtype, what, d)
			}
		}
		bad = append(bytes.Clone(b[len(b)/2:]), b[:len(b)/2]...)
		if d := measure(t, a, sectionOfBytes(dtype, bad)); Within(d, "F32", dtype) {
			t.Errorf("%s with others' blocks: %+v", dtype, d)
		}
	}
}

// The table knows the types that are decoded.
func TestCostsOfAllTypes(t *testing.T) {
	for name := range costs {
		if _, ok := values.Lookup(name); !ok {
			t.Errorf("there is no type %s", name)
		}
	}
}
