package values

import "math"

// Straight returns what writes the numbers of blocks as another type, as [Type.DecodeFor] and
// [Type.Encode] do, without float64s between; nil for types that are rarely cast to each other.
// dst has room for all of them.
func (t *Type) Straight(to *Type) func(dst, src []byte, n *Rounding) {
	switch t.Name + " " + to.Name {
	case "F32 BF16":
		return func(dst, src []byte, n *Rounding) { to.narrow(dst, src, 16, 0, 0x8001, 0x7f7f8000, n) }
	case "F32 F16":
		// The exponents of both differ by 112. Below 2^-14 F16 is subnormal; 65520 is infinite.
		return func(dst, src []byte, n *Rounding) { to.narrow(dst, src, 13, 112<<23, 0x38800000, 0x477ff000, n) }
	case "BF16 F32":
		return widenBF16
	case "F16 F32":
		return widenF16
	}
	return nil
}

// narrow rounds F32 away from the last bits of their significands. What is not from least up
// to beyond, as F32 bits, and not 0 goes the long way.
func (t *Type) narrow(dst, src []byte, bits, rebias, least, beyond uint32, n *Rounding) {
	rest := uint32(1)<<bits - 1
	inexact, count := uint64(0), len(src)/4
	dst, src = dst[:2*count], src[:4*count]
	var long Rounding
	for i := range count {
		u := le.Uint32(src[4*i : 4*i+4])
		m := u &^ (1 << 31)
		switch {
		case m-least < beyond-least:
			inexact += uint64((m&rest + rest) >> (bits & 31))
			le.PutUint16(dst[2*i:2*i+2], uint16((m-rebias+rest>>1+m>>(bits&31)&1)>>(bits&31)|u>>31<<15))
		case m == 0:
			le.PutUint16(dst[2*i:2*i+2], uint16(u>>16))
		default:
			v := [1]float64{float64(math.Float32frombits(u))}
			if m > 0x7f800000 {
				v[0] = widenNaN(math.Float32frombits(u))
			}
			t.Encode(dst[2*i:2*i+2], v[:], &long)
		}
	}
	long.Elements = uint64(count)
	long.Inexact += inexact
	n.Add(long)
}

func widenBF16(dst, src []byte, n *Rounding) {
	count := len(src) / 2
	dst, src = dst[:4*count], src[:2*count]
	for len(src) >= 2 {
		u := uint32(le.Uint16(src))
		if u&0x7fff > 0x7f80 {
			n.NaN++
		}
		le.PutUint32(dst, u<<16)
		dst, src = dst[4:], src[2:]
	}
	n.Elements += uint64(count)
}

func widenF16(dst, src []byte, n *Rounding) {
	count := len(src) / 2
	dst, src = dst[:4*count], src[:2*count]
	all := halves()
	for len(src) >= 2 {
		u := le.Uint16(src)
		if u&0x7fff > 0x7c00 {
			n.NaN++
		}
		le.PutUint32(dst, math.Float32bits(all[u]))
		dst, src = dst[4:], src[2:]
	}
	n.Elements += uint64(count)
}
