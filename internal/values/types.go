// Package values turns the bytes of tensors into numbers, figures and digests.
//
// A [Type] decodes one element type: every dtype of safetensors and every ggml
// block type that has a dequantisation. An [Accumulator] condenses bytes of one
// type into [Stats]; accumulators of one tensor's parts merge into exactly the
// figures of the whole, so the result never depends on how the work was split.
// [Run] and [RunPairs] drive both over many tensors with several workers.
//
// All bytes are little-endian unless [Type.Swap] is asked to turn them. Only
// [SectionOf] knows a checkpoint; nothing else here knows files, formats or names,
// and every function accepts any bytes.
package values

import (
	"math"
	"math/bits"
	"sync"
)

// Type is an element type. The unit of storage is the block: one element for
// plain types, two for F4, four for the F6 types, 32 to 256 for block-quantised
// ones. Its fields are not to be changed.
type Type struct {
	Name       string // as safetensors or ggml spells it: "BF16", "Q4_K"
	BlockElems int    // elements in a block
	BlockBytes int    // bytes in a block
	Parts      int    // numbers in an element: 2 for complex types, otherwise 1

	kind     kind
	float    floatFormat // kindFloat only
	packer   *packer     // of floats of at most 32 bits
	scaled   *Type       // what has scales before it
	decode   func(dst []float32, src []byte)
	decode64 func(dst []float64, src []byte) // nil: through float32, exactly
	swap     []field
	book     func() *codebook // types of at most 16 bits
}

type kind uint8

const (
	kindInt   kind = iota // integers and BOOL
	kindFloat             // one floating-point number an element
	kindBlock             // block-quantised
)

// field is a run of n numbers of size bytes at offset in a block: what differs
// between the byte orders.
type field struct{ offset, size, n int }

// Lookup returns the type of that name. There is none for names it does not
// know, nor for Q8_1, which occurs in no file and which ggml cannot dequantise.
//
// Sources: the safetensors crate's Dtype for the plain types, ggml-common.h for
// the block types. F6_E2M3 and F6_E3M2 are read as one little-endian bit
// string, first element lowest; safetensors does not define their packing.
func Lookup(name string) (*Type, bool) {
	t, ok := types()[name]
	return t, ok
}

// Bytes returns the size of a tensor of that many elements. It is not ok when
// they are not whole blocks, or too many for 64 bits.
func (t *Type) Bytes(elements uint64) (n uint64, ok bool) {
	if elements%uint64(t.BlockElems) != 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(elements/uint64(t.BlockElems), uint64(t.BlockBytes))
	return lo, hi == 0
}

// numbers is how many numbers a block decodes to.
func (t *Type) numbers() int { return t.BlockElems * t.Parts }

// blocks returns how many whole blocks src holds and a destination of
// length n can take.
func (t *Type) blocks(n, src int) int {
	return min(n/t.numbers(), src/t.BlockBytes)
}

// Decode decodes as many whole blocks as src holds and dst can take, and
// returns how many numbers it wrote. Block types are computed in the order of
// ggml's dequantize_row functions, so that every bit agrees. 64-bit types are
// rounded; BOOL is 0 or 1; a complex number is its real and imaginary part.
func (t *Type) Decode(dst []float32, src []byte) int {
	n := t.blocks(len(dst), len(src))
	dst, src = dst[:n*t.numbers()], src[:n*t.BlockBytes]
	t.decode(dst, src)
	return len(dst)
}

// Decode64 is Decode for numbers that float32 cannot hold. It is exact for
// every type but I64 and U64, whose numbers beyond 2^53 are rounded to nearest.
func (t *Type) Decode64(dst []float64, src []byte) int {
	n := t.blocks(len(dst), len(src))
	dst, src = dst[:n*t.numbers()], src[:n*t.BlockBytes]
	if t.decode64 != nil {
		t.decode64(dst, src)
		return len(dst)
	}
	var buf [256]float32
	for done := 0; done < len(dst); {
		k := t.Decode(buf[:], src)
		for i, v := range buf[:k] {
			f := float64(v)
			if f != f {
				f = widenNaN(v)
			}
			dst[done+i] = f
		}
		done += k
		src = src[k/t.numbers()*t.BlockBytes:]
	}
	return len(dst)
}

// widenNaN keeps every bit of NaN, which a conversion makes quiet.
func widenNaN(v float32) float64 {
	u := uint64(math.Float32bits(v))
	return math.Float64frombits(u>>31<<63 | infinity | u&(1<<23-1)<<29)
}

// Swap turns whole blocks between big-endian and little-endian order in place:
// every number of several bytes that a block's structure declares, or that ggml
// copies from the bytes of one into a variable (the fifth bits of Q5_0 and Q5_1,
// the scales and signs of IQ3_XXS, the scales of IQ1_M), which is what a
// big-endian machine writes and reads. For Q4_0, Q8_0, Q4_K, Q6_K and MXFP4 this
// is what ggml's own converter does; it refuses the other block types.
func (t *Type) Swap(block []byte) {
	for ; len(block) >= t.BlockBytes && len(t.swap) > 0; block = block[t.BlockBytes:] {
		for _, f := range t.swap {
			for at := f.offset; at < f.offset+f.n*f.size; at += f.size {
				reverse(block[at : at+f.size])
			}
		}
	}
}

func reverse(b []byte) {
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
}

var types = sync.OnceValue(func() map[string]*Type {
	half := func(offsets ...int) (f []field) {
		for _, o := range offsets {
			f = append(f, field{o, 2, 1})
		}
		return f
	}
	word := func(size int) []field {
		if size == 1 {
			return nil
		}
		return []field{{0, size, 1}}
	}
	m := make(map[string]*Type, 64)
	add := func(t Type) {
		t.Parts = max(t.Parts, 1)
		t.book = sync.OnceValue(func() *codebook { return newCodebook(&t) })
		m[t.Name] = &t
	}
	integer := func(name string, size int, decode func([]float32, []byte), decode64 func([]float64, []byte)) {
		add(Type{Name: name, BlockElems: 1, BlockBytes: size, decode: decode, decode64: decode64, swap: word(size)})
	}
	float := func(name string, elems, size int, f floatFormat, decode func([]float32, []byte)) {
		if decode == nil {
			decode = f.decoder()
		}
		add(Type{Name: name, BlockElems: elems, BlockBytes: size, kind: kindFloat, float: f, packer: newPacker(f), decode: decode, swap: word(size / elems)})
	}
	block := func(name string, elems, size int, decode func([]float32, []byte), swap []field) {
		add(Type{Name: name, BlockElems: elems, BlockBytes: size, kind: kindBlock, decode: decode, swap: swap})
	}

	integer("BOOL", 1, decodeBool, nil)
	integer("U8", 1, decodeU8, nil)
	integer("I8", 1, decodeI8, nil)
	integer("U16", 2, decodeU16, nil)
	integer("I16", 2, decodeI16, nil)
	integer("U32", 4, decodeU32, decode64U32)
	integer("I32", 4, decodeI32, decode64I32)
	integer("U64", 8, decodeU64, decode64U64)
	integer("I64", 8, decodeI64, decode64I64)

	float("F16", 1, 2, formatF16, decodeF16)
	float("BF16", 1, 2, formatBF16, decodeBF16)
	float("F32", 1, 4, formatF32, decodeF32)
	float("F8_E4M3", 1, 1, formatE4M3, nil)
	float("F8_E5M2", 1, 1, formatE5M2, nil)
	float("F8_E4M3FNUZ", 1, 1, formatE4M3FNUZ, nil)
	float("F8_E5M2FNUZ", 1, 1, formatE5M2FNUZ, nil)
	float("F8_E8M0", 1, 1, formatE8M0, nil)
	float("F4", 2, 1, formatE2M1, decodeF4)
	float("F6_E2M3", 4, 3, formatE2M3, decodeF6(formatE2M3))
	float("F6_E3M2", 4, 3, formatE3M2, decodeF6(formatE3M2))
	add(Type{Name: "F64", BlockElems: 1, BlockBytes: 8, kind: kindFloat, float: formatF64, decode: decodeF64, decode64: decode64F64, swap: word(8)})
	add(Type{Name: "C64", BlockElems: 1, BlockBytes: 8, Parts: 2, kind: kindFloat, float: formatF32, decode: decodeF32, swap: []field{{0, 4, 2}}})

	block("Q1_0", 128, 18, decodeQ1_0, half(0))
	block("Q2_0", 64, 18, decodeQ2_0, half(0))
	block("Q4_0", 32, 18, decodeQ4_0, half(0))
	block("Q4_1", 32, 20, decodeQ4_1, half(0, 2))
	block("Q5_0", 32, 22, decodeQ5_0, append(half(0), field{2, 4, 1}))
	block("Q5_1", 32, 24, decodeQ5_1, append(half(0, 2), field{4, 4, 1}))
	block("Q8_0", 32, 34, decodeQ8_0, half(0))
	block("Q8_K", 256, 292, decodeQ8_K, []field{{0, 4, 1}, {260, 2, 16}})
	block("MXFP4", 32, 17, decodeMXFP4, nil)
	block("NVFP4", 64, 36, decodeNVFP4, nil)
	block("Q2_K", 256, 84, decodeQ2_K, half(80, 82))
	block("Q3_K", 256, 110, decodeQ3_K, half(108))
	block("Q4_K", 256, 144, decodeQ4_K, half(0, 2))
	block("Q5_K", 256, 176, decodeQ5_K, half(0, 2))
	block("Q6_K", 256, 210, decodeQ6_K, half(208))
	block("TQ1_0", 256, 54, decodeTQ1_0, half(52))
	block("TQ2_0", 256, 66, decodeTQ2_0, half(64))
	block("IQ4_NL", 32, 18, decodeIQ4_NL, half(0))
	block("IQ4_XS", 256, 136, decodeIQ4_XS, half(0, 2))
	block("IQ2_XXS", 256, 66, decodeIQ2_XXS, []field{{0, 2, 33}})
	block("IQ2_XS", 256, 74, decodeIQ2_XS, []field{{0, 2, 33}})
	block("IQ2_S", 256, 82, decodeIQ2_S, half(0))
	block("IQ3_XXS", 256, 98, decodeIQ3_XXS, append(half(0), field{66, 4, 8}))
	block("IQ3_S", 256, 110, decodeIQ3_S, half(0))
	block("IQ1_S", 256, 50, decodeIQ1_S, []field{{0, 2, 1}, {34, 2, 8}})
	block("IQ1_M", 256, 56, decodeIQ1_M, []field{{48, 2, 4}})
	return m
})

// floatFormat describes a binary floating-point encoding with a sign bit (but
// for E8M0) and subnormal numbers at exponent 0.
type floatFormat struct {
	exp, mant int // widths in bits
	bias      int
	special   special
}

// special is how a format encodes what is not a finite number.
type special uint8

const (
	ieee     special = iota // all-ones exponent: infinities and NaN
	onesNaN                 // all ones but the sign: NaN; no infinities
	zeroNaN                 // the code of -0 is the only NaN
	finite                  // every code is a finite number
	exponent                // no sign, no mantissa, no zero: 2^(code-bias); all ones is NaN
)

// The OCP 8-bit and MX specifications, and IEEE 754.
var (
	formatF64      = floatFormat{11, 52, 1023, ieee}
	formatF32      = floatFormat{8, 23, 127, ieee}
	formatF16      = floatFormat{5, 10, 15, ieee}
	formatBF16     = floatFormat{8, 7, 127, ieee}
	formatE4M3     = floatFormat{4, 3, 7, onesNaN}
	formatE5M2     = floatFormat{5, 2, 15, ieee}
	formatE4M3FNUZ = floatFormat{4, 3, 8, zeroNaN}
	formatE5M2FNUZ = floatFormat{5, 2, 16, zeroNaN}
	formatE8M0     = floatFormat{8, 0, 127, exponent}
	formatE2M1     = floatFormat{2, 1, 1, finite}
	formatE2M3     = floatFormat{2, 3, 1, finite}
	formatE3M2     = floatFormat{3, 2, 3, finite}
)

// value returns the number that a code of at most 16 bits stands for.
func (f floatFormat) value(code uint32) float32 {
	if f.special == exponent {
		if code == 1<<f.exp-1 {
			return float32(math.NaN())
		}
		return float32(math.Ldexp(1, int(code)-f.bias))
	}
	magnitude := code & (1<<(f.exp+f.mant) - 1)
	e := int(magnitude >> f.mant)
	m := float64(magnitude & (1<<f.mant - 1))
	negative := code>>(f.exp+f.mant) != 0
	var v float64
	switch {
	case f.special == ieee && e == 1<<f.exp-1 && m == 0:
		v = math.Inf(1)
	case f.special == ieee && e == 1<<f.exp-1,
		f.special == onesNaN && magnitude == 1<<(f.exp+f.mant)-1,
		f.special == zeroNaN && negative && magnitude == 0:
		v = math.NaN()
	case e == 0:
		v = math.Ldexp(m, 1-f.bias-f.mant)
	default:
		v = math.Ldexp(m+float64(uint32(1)<<f.mant), e-f.bias-f.mant)
	}
	if negative {
		v = math.Copysign(v, -1)
	}
	return float32(v)
}

// smallestNormal is the least magnitude that is not subnormal.
func (f floatFormat) smallestNormal() float64 {
	if f.special == exponent {
		return 0
	}
	return math.Ldexp(1, 1-f.bias)
}

// max is the largest finite number.
func (f floatFormat) max() float64 {
	top, frac := 1<<f.exp-1, uint64(1)<<(f.mant+1)-1
	switch f.special {
	case ieee, exponent:
		top--
	case onesNaN:
		frac--
	}
	return math.Ldexp(float64(frac), top-f.bias-f.mant)
}

// decoder is the decoder of a format of 8 bits.
func (f floatFormat) decoder() func([]float32, []byte) {
	var table [256]float32
	for i := range table {
		table[i] = f.value(uint32(i))
	}
	return func(dst []float32, src []byte) {
		dst = dst[:len(src)]
		for i, b := range src {
			dst[i] = table[b]
		}
	}
}
