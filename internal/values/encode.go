package values

import "math"

// A Rounding counts what it costs to write numbers as a type.
type Rounding struct {
	Elements uint64 `json:"elements"`
	// Inexact are the numbers that changed, Overflowed and Underflowed included.
	Inexact uint64 `json:"inexact"`
	// Overflowed were beyond the largest number: they are infinite, or NaN where the
	// type has no infinities.
	Overflowed uint64 `json:"overflowed"`
	// Underflowed were not 0, and are.
	Underflowed uint64 `json:"underflowed"`
	// NaN were NaN, and still are.
	NaN uint64 `json:"nan"`
}

// Add adds the counts of other numbers.
func (r *Rounding) Add(o Rounding) {
	r.Elements += o.Elements
	r.Inexact += o.Inexact
	r.Overflowed += o.Overflowed
	r.Underflowed += o.Underflowed
	r.NaN += o.NaN
}

// Encodes reports whether numbers can be written as the type, one by one: F64, F32, F16, BF16
// and the 8-bit types with a mantissa.
func (t *Type) Encodes() bool {
	return t.kind == kindFloat && t.BlockElems == 1 && t.Parts == 1 && t.float.special != exponent
}

// Encode writes numbers as a type that [Type.Encodes], little-endian, each as the nearest
// number, ties to even, and adds up what that cost. dst has room for all of them.
//
// What is too large for F16, BF16, F32 and F8_E5M2 is infinite; for the types without
// infinities it is NaN, and so are infinities. That is what torch does (c10/util/Float8_e4m3fn.h,
// Float8_e4m3fnuz.h, Float8_e5m2fnuz.h) and ml_dtypes, too. NaN keeps its sign and the
// leading bits of its payload; where these are all 0 it is the quiet NaN.
func (t *Type) Encode(dst []byte, src []float64, n *Rounding) {
	r := Rounding{Elements: uint64(len(src))}
	if t.BlockBytes == 8 {
		for i, v := range src {
			if v != v {
				r.NaN++
			}
			le.PutUint64(dst[8*i:], math.Float64bits(v))
		}
		n.Add(r)
		return
	}
	p := t.packer
	var codes [256]uint32
	for len(src) > 0 {
		k := min(len(codes), len(src))
		p.codes(codes[:k], src[:k], &r)
		switch src = src[k:]; t.BlockBytes {
		case 1:
			for i, c := range codes[:k] {
				dst[i] = byte(c)
			}
		case 2:
			for i, c := range codes[:k] {
				le.PutUint16(dst[2*i:], uint16(c))
			}
		default:
			for i, c := range codes[:k] {
				le.PutUint32(dst[4*i:], c)
			}
		}
		dst = dst[k*t.BlockBytes:]
	}
	n.Add(r)
}

// DecodeFor is [Type.Decode64] of numbers that are then encoded as another type, which rounds
// each once from what it is exactly. What the decoding costs is added up.
func (t *Type) DecodeFor(to *Type, dst []float64, src []byte, n *Rounding) int {
	k := t.Decode64(dst, src)
	if t.wideInt() {
		t.sticky(dst[:k], src, to, n)
	}
	return k
}

// sticky makes integers that no float64 holds ready to be rounded to a type. Those of F64 are
// rounded already, and counted.
func (t *Type) sticky(numbers []float64, src []byte, to *Type, n *Rounding) {
	for i, v := range numbers {
		rest := t.rest(src, i, v)
		switch {
		case rest == 0:
		case to.BlockBytes == 8:
			n.Inexact++
		default:
			numbers[i] = Sticky(v, float64(rest))
		}
	}
}

// Sticky is v, the float64 nearest to a number, made ready to be rounded again: where rest, the
// number less v, is not 0, it is the neighbour on that side whose last bit is 1. Rounding
// that to at most 51 bits gives what rounding the number itself does.
func Sticky(v, rest float64) float64 {
	u := math.Float64bits(v)
	switch {
	case rest == 0 || rest != rest || v-v != 0 || u&1 == 1:
		return v
	case v == 0:
		return rest
	case (rest > 0) == (v > 0):
		return math.Float64frombits(u + 1)
	}
	return math.Float64frombits(u - 1)
}

// A packer turns float64s into the codes of a format of at most 32 bits.
type packer struct {
	mant, shift uint   // bits of a significand, and what a float64 has beyond them
	half        uint64 // less than half of the last bit kept
	rebias      uint64 // the exponents' difference, above a significand
	least       uint64 // the smallest number that is not subnormal, as float64 bits
	magic       float64
	last        uint64 // the code of the largest number
	over        uint64 // the code of what is larger: infinity, or NaN where there is none
	nan         uint64 // the code of the quiet NaN
	sign        uint
	zeroNaN     bool
}

func newPacker(f floatFormat) *packer {
	p := &packer{
		mant: uint(f.mant), shift: uint(52 - f.mant), sign: uint(f.exp + f.mant), zeroNaN: f.special == zeroNaN,
		rebias: uint64(1023-f.bias) << f.mant, least: math.Float64bits(f.smallestNormal()),
		// Adding it leaves a significand that counts subnormal numbers.
		magic: math.Ldexp(1, 1-f.bias-f.mant+52),
	}
	p.half = 1<<(p.shift-1) - 1
	ones := uint64(1)<<p.sign - 1
	switch f.special {
	case ieee:
		p.over = ones &^ (1<<f.mant - 1)
		p.last, p.nan = p.over-1, p.over|1<<(f.mant-1)
	case onesNaN:
		p.last, p.over, p.nan = ones-1, ones, ones
	case zeroNaN:
		p.last, p.over, p.nan = ones, 1<<p.sign, 1<<p.sign
	default:
		p.last = ones
	}
	return p
}

// nearest is the code of the number nearest to a magnitude, as if there were no largest.
func (p *packer) nearest(m uint64) uint64 {
	if m < p.least {
		return math.Float64bits(math.Float64frombits(m)+p.magic) - math.Float64bits(p.magic)
	}
	return (m+p.half+m>>p.shift&1)>>p.shift - p.rebias
}

// magnitude is the inverse of nearest.
func (p *packer) magnitude(code uint64) uint64 {
	if code>>p.mant == 0 {
		return math.Float64bits(math.Float64frombits(code+math.Float64bits(p.magic)) - p.magic)
	}
	return (code + p.rebias) << p.shift
}

// round returns v rounded to the nearest number of the format, ties to even, and an infinity
// where that is beyond the largest.
func (p *packer) round(v float64) float64 {
	if v-v != 0 {
		return v
	}
	code := p.nearest(math.Float64bits(math.Abs(v)))
	if code > p.last {
		return math.Copysign(math.Inf(1), v)
	}
	return math.Copysign(math.Float64frombits(p.magnitude(code)), v)
}

const (
	signBit  = 1 << 63
	infinity = 0x7ff << 52
)

// codes writes one code for each number.
func (p *packer) codes(dst []uint32, src []float64, n *Rounding) {
	var inexact uint64
	for i, v := range src {
		u := math.Float64bits(v)
		m, sign := u&^signBit, u>>63<<p.sign
		if m >= infinity {
			dst[i] = uint32(p.unusual(m, n) | sign)
			continue
		}
		code := p.nearest(m)
		if code > p.last {
			n.Overflowed++
			code = p.over
			inexact++
		} else if p.magnitude(code) != m {
			inexact++
			if code == 0 {
				n.Underflowed++
			}
		}
		if code == 0 && p.zeroNaN {
			sign = 0
		}
		dst[i] = uint32(code | sign)
	}
	n.Inexact += inexact
}

// unusual is the code of an infinity or NaN.
func (p *packer) unusual(m uint64, n *Rounding) uint64 {
	if m == infinity {
		if p.over == p.nan {
			n.Overflowed++
			n.Inexact++
		}
		return p.over
	}
	n.NaN++
	if payload := m >> p.shift & (1<<p.mant - 1); payload != 0 && p.over != p.nan {
		return p.over | payload
	}
	return p.nan
}
