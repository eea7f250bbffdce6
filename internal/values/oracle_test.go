package values

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strings"

	"github.com/x448/float16"
)

// The oracle: every element of every type by its closed form, one at a time,
// written from the formats' descriptions and sharing nothing with the decoders
// but the grids. It is also the straightforward loop that the decoders' speed
// is measured against.

func h16(b []byte, at int) float32 {
	return float16.Frombits(binary.LittleEndian.Uint16(b[at:])).Float32()
}

func u16(b []byte, at int) uint32 { return uint32(binary.LittleEndian.Uint16(b[at:])) }
func u32(b []byte, at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }

// nib returns the low (0) or high (1) nibble.
func nib(b byte, high int) int { return int(b>>(4*high)) & 15 }

func bit(b byte, n int) int { return int(b>>n) & 1 }

func negate(v float32, when bool) float32 {
	if when {
		return -v
	}
	return v
}

func ks(i uint32) uint32 {
	return i | uint32(bits.OnesCount32(i)%2)<<7
}

var (
	oracleFP4 = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
	oracleNL  = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
)

// gridByte is byte j of entry i of an IQ grid, as ggml-common.h has it.
func gridByte(table []uint16, width int, alphabet string, i uint32, j int) float32 {
	code := table[i] >> (width * j) & (1<<width - 1)
	return float32(int8(alphabet[code]))
}

const (
	alphabet1  = "\xff\x00\x01"
	alphabet2  = "\x08\x19\x2b"
	alphabet3  = "\x04\x0c\x14\x1c\x24\x2c\x34\x3e"
	alphabet3s = "\x01\x03\x05\x07\x09\x0b\x0d\x0f"
)

func k4(s []byte, k int) (sc, m float32) {
	if k < 4 {
		return float32(s[k] & 63), float32(s[k+4] & 63)
	}
	return float32(s[k+4]&15 | s[k-4]>>6<<4), float32(s[k+4]>>4 | s[k]>>6<<4)
}

// oracle returns element e of block b.
func oracle(name string, b []byte, e int) float32 {
	k, n, j, l := e/32, e/128, e%128/32, e%32
	switch name {
	case "Q1_0":
		return negate(h16(b, 0), bit(b[2+e/8], e%8) == 0)
	case "Q2_0":
		return float32(int(b[2+e/4]>>(2*(e%4)))&3-1) * h16(b, 0)
	case "Q4_0":
		return float32(nib(b[2+e%16], e/16)-8) * h16(b, 0)
	case "Q4_1":
		return float32(float32(nib(b[4+e%16], e/16))*h16(b, 0)) + h16(b, 2)
	case "Q5_0":
		return float32(nib(b[6+e%16], e/16)+16*int(u32(b, 2)>>e&1)-16) * h16(b, 0)
	case "Q5_1":
		return float32(float32(nib(b[8+e%16], e/16)+16*int(u32(b, 4)>>e&1))*h16(b, 0)) + h16(b, 2)
	case "Q8_0":
		return float32(int8(b[2+e])) * h16(b, 0)
	case "Q8_K":
		return float32(int8(b[4+e])) * math.Float32frombits(u32(b, 0))
	case "MXFP4":
		return oracleFP4[nib(b[1+e%16], e/16)] * float32(math.Ldexp(1, int(b[0])-128))
	case "NVFP4":
		s := e / 16
		c := b[s]
		scale := math.Ldexp(1+float64(c&7)/8, int(c>>3&15)-7)
		if c>>3&15 == 0 {
			scale = math.Ldexp(float64(c&7), -9)
		}
		if c == 0 || c == 0x7f {
			scale = 0
		}
		return oracleFP4[nib(b[4+8*s+e%8], e%16/8)] * float32(scale/2)
	case "Q2_K":
		sc := b[e/16]
		return float32(h16(b, 80)*float32(sc&15)*float32(b[16+32*n+l]>>(2*j)&3)) - float32(h16(b, 82)*float32(sc>>4))
	case "Q3_K":
		s, i := b[96:], e/16
		sc := nib(s[i%8], i/8) | int(s[8+i%4]>>(2*(i/4))&3)<<4 - 32
		q := int(b[32+32*n+l]>>(2*j)&3) - 4*(1-bit(b[l], 4*n+j))
		return h16(b, 108) * float32(sc) * float32(q)
	case "Q4_K":
		sc, m := k4(b[4:], k)
		return float32(h16(b, 0)*sc*float32(nib(b[16+32*(k/2)+l], k&1))) - float32(h16(b, 2)*m)
	case "Q5_K":
		sc, m := k4(b[4:], k)
		return float32(h16(b, 0)*sc*float32(nib(b[48+32*(k/2)+l], k&1)+16*bit(b[16+l], k))) - float32(h16(b, 2)*m)
	case "Q6_K":
		q := nib(b[64*n+32*(j&1)+l], j>>1) | int(b[128+32*n+l]>>(2*j)&3)<<4
		return h16(b, 208) * float32(int8(b[192+e/16])) * float32(q-32)
	case "TQ1_0":
		v, n := byte(0), 0
		switch {
		case e < 160:
			v, n = b[e%32], e/32
		case e < 240:
			v, n = b[32+(e-160)%16], (e-160)/16
		default:
			v, n = b[48+(e-240)%4], (e-240)/4
		}
		pow := int(math.Pow(3, float64(n)))
		return float32((int(v)*pow&255)*3>>8-1) * h16(b, 52)
	case "TQ2_0":
		return float32(int(b[32*n+l]>>(2*j)&3)-1) * h16(b, 64)
	case "IQ4_NL":
		return h16(b, 0) * oracleNL[nib(b[2+e%16], e/16)]
	case "IQ4_XS":
		ls := nib(b[4+k/2], k&1) | int(u16(b, 2)>>(2*k)&3)<<4
		return h16(b, 0) * float32(ls-32) * oracleNL[nib(b[8+16*k+e%16], l/16)]
	case "IQ2_XXS":
		q := b[2+8*k:]
		a, i, j := u32(q, 4), e%32/8, e%8
		v := h16(b, 0) * (0.5 + float32(a>>28)) * 0.25 * gridByte(grids().iq2xxs[:], 2, alphabet2, uint32(q[i]), j)
		return negate(v, ks(a>>(7*i)&127)>>j&1 == 1)
	case "IQ2_XS":
		i, j := e%32/8, e%8
		q := u16(b, 2+2*(4*k+i))
		v := h16(b, 0) * (0.5 + float32(nib(b[66+k], i/2))) * 0.25 * gridByte(grids().iq2xs[:], 2, alphabet2, q&511, j)
		return negate(v, ks(q>>9)>>j&1 == 1)
	case "IQ2_S":
		i, j := e%32/8, e%8
		index := uint32(b[2+4*k+i]) | uint32(b[66+k]>>(2*i)&3)<<8
		v := h16(b, 0) * (0.5 + float32(nib(b[74+k], i/2))) * 0.25 * gridByte(grids().iq2s[:], 2, alphabet2, index, j)
		return negate(v, bit(b[34+4*k+i], j) == 1)
	case "IQ3_XXS":
		i, j := e%32/8, e%8
		a := u32(b, 66+4*k)
		v := h16(b, 0) * (0.5 + float32(a>>28)) * 0.5 * gridByte(grids().iq3xxs[:], 3, alphabet3, uint32(b[2+8*k+2*i+j/4]), j%4)
		return negate(v, ks(a>>(7*i)&127)>>j&1 == 1)
	case "IQ3_S":
		i, j := e%32/8, e%8
		at := 2*i + j/4
		index := uint32(b[2+8*k+at]) | uint32(bit(b[66+k], at))<<8
		v := h16(b, 0) * float32(1+2*nib(b[106+k/2], k&1)) * gridByte(grids().iq3s[:], 3, alphabet3s, index, j%4)
		return negate(v, bit(b[74+4*k+i], j) == 1)
	case "IQ1_S":
		i, j := e%32/8, e%8
		h := u16(b, 34+2*k)
		index := uint32(b[2+4*k+i]) | h>>(3*i)&7<<8
		return h16(b, 0) * float32(2*(h>>12&7)+1) * (gridByte(grids().iq1[:], 2, alphabet1, index, j) + negate(0.125, h>>15 == 1))
	case "IQ1_M":
		i, j := e%32/8, e%8
		var d uint16
		for w := range 4 {
			d |= uint16(u16(b, 48+2*w)>>12) << (4 * w)
		}
		h := nib(b[32+2*k+i/2], i%2)
		sc := u16(b, 48+2*(k/2)) >> (6*(k&1) + 3*(i/2)) & 7
		index := uint32(b[4*k+i]) | uint32(h&7)<<8
		return float16.Frombits(d).Float32() * float32(2*sc+1) * (gridByte(grids().iq1[:], 2, alphabet1, index, j) + negate(0.125, h&8 != 0))

	case "BOOL":
		return float32(min(b[0], 1))
	case "U8":
		return float32(b[0])
	case "I8":
		return float32(int8(b[0]))
	case "U16":
		return float32(u16(b, 0))
	case "I16":
		return float32(int16(u16(b, 0)))
	case "U32":
		return float32(u32(b, 0))
	case "I32":
		return float32(int32(u32(b, 0)))
	case "U64":
		return float32(binary.LittleEndian.Uint64(b))
	case "I64":
		return float32(int64(binary.LittleEndian.Uint64(b)))
	case "F16":
		return h16(b, 0)
	case "BF16":
		return math.Float32frombits(u16(b, 0) << 16)
	case "F32", "C64":
		return math.Float32frombits(u32(b, 4*e))
	case "F64":
		return float32(math.Float64frombits(binary.LittleEndian.Uint64(b)))
	case "F4":
		return oracleFP4[nib(b[0], e)&7] / 2 * (1 - 2*float32(nib(b[0], e)>>3))
	case "F6_E2M3", "F6_E3M2":
		bitAt := func(i int) uint32 { return uint32(bit(b[i/8], i%8)) }
		var c uint32
		for i := range 6 {
			c |= bitAt(6*e+i) << i
		}
		if name == "F6_E2M3" {
			return oracleFloat(c, 2, 3, 1)
		}
		return oracleFloat(c, 3, 2, 3)
	case "F8_E8M0":
		if b[0] == 0xff {
			return float32(math.NaN())
		}
		return float32(math.Pow(2, float64(b[0])-127))
	}
	c := uint32(b[0])
	switch {
	case strings.HasSuffix(name, "FNUZ") && c == 0x80, name == "F8_E4M3" && c&0x7f == 0x7f:
		return float32(math.NaN())
	case name == "F8_E5M2":
		return h16([]byte{0, b[0]}, 0)
	case name == "F8_E4M3":
		return oracleFloat(c, 4, 3, 7)
	case name == "F8_E4M3FNUZ":
		return oracleFloat(c, 4, 3, 8)
	case name == "F8_E5M2FNUZ":
		return oracleFloat(c, 5, 2, 16)
	}
	panic("no oracle for " + name)
}

// oracleFloat is the textbook formula for a code without special values.
func oracleFloat(c uint32, exp, mant, bias int) float32 {
	sign := math.Pow(-1, float64(c>>(exp+mant)))
	e := float64(c >> mant & (1<<exp - 1))
	m := float64(c&(1<<mant-1)) / float64(int(1)<<mant)
	if e == 0 {
		return float32(sign * m * math.Pow(2, float64(1-bias)))
	}
	return float32(sign * (1 + m) * math.Pow(2, e-float64(bias)))
}

// oracleDecode decodes whole blocks element by element.
func oracleDecode(t *Type, src []byte) []float32 {
	out := make([]float32, 0, len(src)/t.BlockBytes*t.numbers())
	for ; len(src) >= t.BlockBytes; src = src[t.BlockBytes:] {
		for e := range t.numbers() {
			out = append(out, oracle(t.Name, src[:t.BlockBytes], e))
		}
	}
	return out
}
