package oracle

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// A number is an element as figures see it. Every type but the 64-bit integers
// fits a float64.
type number struct {
	f         float64
	subnormal bool
}

// Numbers decodes all bytes of a tensor. It knows every dtype of safetensors, and
// of GGUF the plain types and Q4_0, Q4_1, Q5_0, Q5_1 and Q8_0. C64 yields two
// numbers an element.
func Numbers(t *Tensor, data []byte) ([]float64, error) {
	list, err := decode(t, data)
	out := make([]float64, len(list))
	for i, n := range list {
		out[i] = n.f
	}
	return out, err
}

func decode(t *Tensor, data []byte) ([]number, error) {
	order := binary.ByteOrder(binary.LittleEndian)
	if t.BigEndian {
		order = binary.BigEndian
	}
	var out []number
	add := func(f float64) { out = append(out, number{f: f}) }
	each := func(size int, one func(b []byte)) {
		for i := 0; i+size <= len(data); i += size {
			one(data[i : i+size])
		}
	}
	half := func(b []byte) float32 { return float32(small(uint64(order.Uint16(b)), 5, 10, 15, ieee).f) }
	nibble := func(b []byte, e int) int { return int(b[e%16]>>(4*(e/16))) & 15 }
	switch t.DType {
	case "BOOL", "U8":
		each(1, func(b []byte) { add(float64(b[0])) })
	case "I8":
		each(1, func(b []byte) { add(float64(int8(b[0]))) })
	case "U16":
		each(2, func(b []byte) { add(float64(order.Uint16(b))) })
	case "I16":
		each(2, func(b []byte) { add(float64(int16(order.Uint16(b)))) })
	case "U32":
		each(4, func(b []byte) { add(float64(order.Uint32(b))) })
	case "I32":
		each(4, func(b []byte) { add(float64(int32(order.Uint32(b)))) })
	case "U64":
		each(8, func(b []byte) { add(float64(order.Uint64(b))) })
	case "I64":
		each(8, func(b []byte) { add(float64(int64(order.Uint64(b)))) })
	case "F16":
		each(2, func(b []byte) { out = append(out, small(uint64(order.Uint16(b)), 5, 10, 15, ieee)) })
	case "BF16":
		each(2, func(b []byte) { out = append(out, small(uint64(order.Uint16(b)), 8, 7, 127, ieee)) })
	case "F32", "C64":
		each(4, func(b []byte) { out = append(out, small(uint64(order.Uint32(b)), 8, 23, 127, ieee)) })
	case "F64":
		each(8, func(b []byte) {
			f := math.Float64frombits(order.Uint64(b))
			out = append(out, number{f, f != 0 && math.Abs(f) < 0x1p-1022})
		})
	case "F8_E5M2":
		each(1, func(b []byte) { out = append(out, small(uint64(b[0]), 5, 2, 15, ieee)) })
	case "F8_E4M3":
		each(1, func(b []byte) { out = append(out, small(uint64(b[0]), 4, 3, 7, lastIsNaN)) })
	case "F8_E4M3FNUZ":
		each(1, func(b []byte) { out = append(out, small(uint64(b[0]), 4, 3, 8, minusZeroIsNaN)) })
	case "F8_E5M2FNUZ":
		each(1, func(b []byte) { out = append(out, small(uint64(b[0]), 5, 2, 16, minusZeroIsNaN)) })
	case "F8_E8M0":
		each(1, func(b []byte) {
			if b[0] == 0xff {
				add(math.NaN())
			} else {
				add(math.Ldexp(1, int(b[0])-127))
			}
		})
	case "F4": // the low nibble comes first
		each(1, func(b []byte) {
			out = append(out, small(uint64(b[0]&15), 2, 1, 1, finite), small(uint64(b[0]>>4), 2, 1, 1, finite))
		})
	case "F6_E2M3", "F6_E3M2": // one string of bits, the lowest first
		each(3, func(b []byte) {
			word := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16
			for i := range 4 {
				if code := word >> (6 * i) & 63; t.DType == "F6_E2M3" {
					out = append(out, small(code, 2, 3, 1, finite))
				} else {
					out = append(out, small(code, 3, 2, 3, finite))
				}
			}
		})
	case "Q4_0":
		each(18, func(b []byte) {
			for e := range 32 {
				add(float64(float32(nibble(b[2:], e)-8) * half(b)))
			}
		})
	case "Q4_1":
		each(20, func(b []byte) {
			for e := range 32 {
				scaled := float32(nibble(b[4:], e)) * half(b)
				add(float64(scaled + half(b[2:])))
			}
		})
	case "Q5_0":
		each(22, func(b []byte) {
			high := order.Uint32(b[2:])
			for e := range 32 {
				add(float64(float32(nibble(b[6:], e)+int(high>>e&1)*16-16) * half(b)))
			}
		})
	case "Q5_1":
		each(24, func(b []byte) {
			high := order.Uint32(b[4:])
			for e := range 32 {
				scaled := float32(nibble(b[8:], e)+int(high>>e&1)*16) * half(b)
				add(float64(scaled + half(b[2:])))
			}
		})
	case "Q8_0":
		each(34, func(b []byte) {
			for e := range 32 {
				add(float64(float32(int8(b[2+e])) * half(b)))
			}
		})
	default:
		return nil, fmt.Errorf("%s is not decoded", t.DType)
	}
	return out, nil
}

// The ways in which small floating-point types spend their last codes.
const (
	ieee           = iota // the highest exponent is infinity and NaN
	lastIsNaN             // the highest code is NaN, nothing is infinite
	minusZeroIsNaN        // the code of -0 is the only NaN
	finite                // neither
)

// small decodes a code of one sign bit, e bits of exponent and m of mantissa.
func small(code uint64, e, m, bias, special int) number {
	mantissa := code & (1<<m - 1)
	exponent := int(code >> m & (1<<e - 1))
	sign := 1.0
	if code>>(e+m)&1 == 1 {
		sign = -1
	}
	switch {
	case special == ieee && exponent == 1<<e-1 && mantissa == 0:
		return number{f: math.Inf(int(sign))}
	case special == ieee && exponent == 1<<e-1,
		special == lastIsNaN && exponent == 1<<e-1 && bits.OnesCount64(mantissa) == m,
		special == minusZeroIsNaN && sign < 0 && exponent == 0 && mantissa == 0:
		return number{f: math.NaN()}
	case exponent == 0:
		return number{math.Copysign(math.Ldexp(float64(mantissa), 1-bias-m), sign), mantissa != 0}
	}
	return number{f: math.Copysign(math.Ldexp(float64(mantissa|1<<m), exponent-bias-m), sign)}
}
