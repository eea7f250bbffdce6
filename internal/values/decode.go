package values

import (
	"encoding/binary"
	"math"
	"sync"
)

// The decoders of plain types. Callers pass a dst that fits src exactly.

var le = binary.LittleEndian

func decodeBool(dst []float32, src []byte) {
	for i, b := range src {
		dst[i] = 0
		if b != 0 {
			dst[i] = 1
		}
	}
}

func decodeU8(dst []float32, src []byte) {
	for i, b := range src {
		dst[i] = float32(b)
	}
}

func decodeI8(dst []float32, src []byte) {
	for i, b := range src {
		dst[i] = float32(int8(b))
	}
}

func decodeU16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(le.Uint16(src[2*i:]))
	}
}

func decodeI16(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int16(le.Uint16(src[2*i:])))
	}
}

func decodeU32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(le.Uint32(src[4*i:]))
	}
}

func decode64U32(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(le.Uint32(src[4*i:]))
	}
}

func decodeI32(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int32(le.Uint32(src[4*i:])))
	}
}

func decode64I32(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(int32(le.Uint32(src[4*i:])))
	}
}

func decodeU64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(le.Uint64(src[8*i:]))
	}
}

func decode64U64(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(le.Uint64(src[8*i:]))
	}
}

func decodeI64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(int64(le.Uint64(src[8*i:])))
	}
}

func decode64I64(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = float64(int64(le.Uint64(src[8*i:])))
	}
}

// float16to32 converts exactly. The exponent is rebased by a multiplication,
// which also normalises subnormal numbers; NaN keeps its payload. It is for the
// scales of blocks, where one conversion is cheaper than a cache line.
func float16to32(h uint16) float32 {
	u := math.Float32bits(math.Float32frombits(uint32(h&0x7fff)<<13) * 0x1p112)
	if h&0x7c00 == 0x7c00 {
		u |= 0x7f800000
	}
	return math.Float32frombits(u | uint32(h&0x8000)<<16)
}

// half reads the f16 at the start of b.
func half(b []byte) float32 { return float16to32(le.Uint16(b)) }

// halves are all f16 numbers: 256 kB, of which weights touch a part that stays
// in the cache, and read three times as fast as converted.
var halves = sync.OnceValue(func() *[1 << 16]float32 {
	t := new([1 << 16]float32)
	for h := range t {
		t[h] = float16to32(uint16(h))
	}
	return t
})

func decodeF16(dst []float32, src []byte) {
	t := halves()
	for ; len(src) >= 8 && len(dst) >= 4; src, dst = src[8:], dst[4:] {
		w := le.Uint64(src)
		y := (*[4]float32)(dst)
		y[0] = t[uint16(w)]
		y[1] = t[uint16(w>>16)]
		y[2] = t[uint16(w>>32)]
		y[3] = t[w>>48]
	}
	for i := range dst {
		dst[i] = t[le.Uint16(src[2*i:])]
	}
}

func decodeBF16(dst []float32, src []byte) {
	for ; len(src) >= 8 && len(dst) >= 4; src, dst = src[8:], dst[4:] {
		w := le.Uint64(src)
		y := (*[4]float32)(dst)
		y[0] = math.Float32frombits(uint32(w) << 16)
		y[1] = math.Float32frombits(uint32(w) & 0xffff0000)
		y[2] = math.Float32frombits(uint32(w>>16) & 0xffff0000)
		y[3] = math.Float32frombits(uint32(w>>32) & 0xffff0000)
	}
	for i := range dst {
		dst[i] = math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16)
	}
}

func decodeF32(dst []float32, src []byte) {
	for ; len(src) >= 8 && len(dst) >= 2; src, dst = src[8:], dst[2:] {
		w := le.Uint64(src)
		y := (*[2]float32)(dst)
		y[0] = math.Float32frombits(uint32(w))
		y[1] = math.Float32frombits(uint32(w >> 32))
	}
	if len(dst) == 1 {
		dst[0] = math.Float32frombits(le.Uint32(src))
	}
}

func decodeF64(dst []float32, src []byte) {
	for i := range dst {
		dst[i] = float32(math.Float64frombits(le.Uint64(src[8*i:])))
	}
}

func decode64F64(dst []float64, src []byte) {
	for i := range dst {
		dst[i] = math.Float64frombits(le.Uint64(src[8*i:]))
	}
}

// decodeF4 takes the low nibble first, as torch's float4_e2m1fn_x2 does.
func decodeF4(dst []float32, src []byte) {
	for i, b := range src {
		dst[2*i] = fp4[b&15] / 2
		dst[2*i+1] = fp4[b>>4] / 2
	}
}

func decodeF6(f floatFormat) func([]float32, []byte) {
	var table [64]float32
	for i := range table {
		table[i] = f.value(uint32(i))
	}
	return func(dst []float32, src []byte) {
		for ; len(src) >= 3; src, dst = src[3:], dst[4:] {
			w := uint32(src[0]) | uint32(src[1])<<8 | uint32(src[2])<<16
			dst[0] = table[w&63]
			dst[1] = table[w>>6&63]
			dst[2] = table[w>>12&63]
			dst[3] = table[w>>18]
		}
	}
}
