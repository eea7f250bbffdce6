package values

import (
	"math"
	"sync"
)

// Straight returns what writes the numbers of blocks as another type that [Type.Encodes], as
// [Type.DecodeFor] and [Type.Encode] do, without float64s between; nil for types that are rarely
// cast to each other. dst has room for all of them.
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
	switch {
	case t.BlockElems > 1 || t.Parts > 1 || t.scaled != nil || to.BlockBytes > 4:
		return nil
	case t.BlockBytes <= 2:
		return recodingOf(t, to).write
	case t.Name == "F32" && to.BlockBytes == 1:
		// BF16 has the exponents of F32, and the 8-bit floats so few bits that rounding to
		// odd first changes nothing.
		return recodingOf(types()["BF16"], to).writeF32
	}
	return nil
}

// A recoding has what every code of a type of at most 16 bits becomes in another type, and above 32
// bits what that costs, in fields of 8 bits that add up: inexact, overflowed, underflowed, NaN.
type recoding struct {
	from, to *Type
	codes    [1 << 16]uint64
}

var recodings sync.Map // of [2]*Type to func() *recoding

func recodingOf(from, to *Type) *recoding {
	key := [2]*Type{from, to}
	known, ok := recodings.Load(key)
	if !ok {
		known, _ = recodings.LoadOrStore(key, sync.OnceValue(func() *recoding { return newRecoding(from, to) }))
	}
	return known.(func() *recoding)()
}

func newRecoding(from, to *Type) *recoding {
	r := &recoding{from: from, to: to}
	for code := range 1 << (8 * from.BlockBytes) {
		var src, dst [4]byte
		le.PutUint16(src[:], uint16(code))
		var number [1]float64
		var cost Rounding
		from.DecodeFor(to, number[:], src[:from.BlockBytes], &cost)
		to.Encode(dst[:], number[:], &cost)
		r.codes[code] = uint64(le.Uint32(dst[:])) | cost.Inexact<<32 | cost.Overflowed<<40 | cost.Underflowed<<48 | cost.NaN<<56
	}
	return r
}

// write gives numbers of the type, or of F32 where the type is BF16, their new codes.
func (r *recoding) write(dst, src []byte, n *Rounding) {
	if r.from.BlockBytes == 1 {
		r.each(dst, src, 1, n, func(codes *[batch]uint16, src []byte) {
			for i, b := range src {
				codes[i] = uint16(b)
			}
		})
		return
	}
	r.each(dst, src, 2, n, func(codes *[batch]uint16, src []byte) {
		i := 0
		for ; len(src) >= 8 && i+4 <= batch; i, src = i+4, src[8:] {
			u := le.Uint64(src)
			codes[i], codes[i+1], codes[i+2], codes[i+3] = uint16(u), uint16(u>>16), uint16(u>>32), uint16(u>>48)
		}
		for ; len(src) >= 2; i, src = i+1, src[2:] {
			codes[i] = le.Uint16(src)
		}
	})
}

// writeF32 is write for F32 by way of the recoding of BF16.
func (r *recoding) writeF32(dst, src []byte, n *Rounding) {
	r.each(dst, src, 4, n, func(codes *[batch]uint16, src []byte) {
		for i := 0; len(src) >= 4 && i < batch; i, src = i+1, src[4:] {
			u := le.Uint32(src)
			codes[i] = uint16(u>>16 | (u&0xffff+0xffff)>>16)
		}
	})
}

// batch is at most what the fields of costs count, and a multiple of 4.
const batch = 252

// each writes what codes become. codesOf returns the codes of a few numbers at a time.
func (r *recoding) each(dst, src []byte, size int, n *Rounding, codesOf func(codes *[batch]uint16, src []byte)) {
	var buf [batch]uint16
	n.Elements += uint64(len(src) / size)
	for len(src) >= size {
		k := min(batch, len(src)/size)
		codesOf(&buf, src[:k*size])
		src = src[k*size:]
		out, codes, cost := dst[:k*r.to.BlockBytes], buf[:k], uint64(0)
		dst = dst[len(out):]
		for ; len(codes) >= 4 && len(out) >= 4; codes = codes[4:] {
			a, b, c, d := r.codes[codes[0]], r.codes[codes[1]], r.codes[codes[2]], r.codes[codes[3]]
			cost += a>>32 + b>>32 + c>>32 + d>>32
			switch r.to.BlockBytes {
			case 1:
				le.PutUint32(out, uint32(byte(a))|uint32(byte(b))<<8|uint32(byte(c))<<16|uint32(byte(d))<<24)
				out = out[4:]
			case 2:
				le.PutUint64(out, uint64(uint16(a))|uint64(uint16(b))<<16|uint64(uint16(c))<<32|uint64(uint16(d))<<48)
				out = out[8:]
			default:
				le.PutUint64(out, uint64(uint32(a))|b<<32)
				le.PutUint64(out[8:], uint64(uint32(c))|d<<32)
				out = out[16:]
			}
		}
		for _, code := range codes {
			v := r.codes[code]
			cost += v >> 32
			for i := range r.to.BlockBytes {
				out[i] = byte(v >> (8 * i))
			}
			out = out[r.to.BlockBytes:]
		}
		n.Inexact += cost & 0xff
		n.Overflowed += cost >> 8 & 0xff
		n.Underflowed += cost >> 16 & 0xff
		n.NaN += cost >> 24
	}
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
