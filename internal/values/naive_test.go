package values

import (
	"encoding/binary"
	"math"
	"math/rand/v2"

	"github.com/x448/float16"
)

// Straightforward loops, as one would write them first and as ggml has them in
// C: what the optimised decoders and accumulators are measured against.

var naiveDecoders = map[string]func(dst []float32, src []byte){
	"F16": func(dst []float32, src []byte) {
		for i := 0; i+1 < len(src); i += 2 {
			dst[i/2] = float16.Frombits(binary.LittleEndian.Uint16(src[i:])).Float32()
		}
	},
	"BF16": func(dst []float32, src []byte) {
		for i := 0; i+1 < len(src); i += 2 {
			dst[i/2] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(src[i:])) << 16)
		}
	},
	"Q8_0": func(dst []float32, src []byte) {
		for i := 0; i < len(src)/34; i++ {
			b := src[34*i : 34*i+34]
			d := h16(b, 0)
			for j := range 32 {
				dst[32*i+j] = float32(int8(b[2+j])) * d
			}
		}
	},
	"Q4_0": func(dst []float32, src []byte) {
		for i := 0; i < len(src)/18; i++ {
			b := src[18*i : 18*i+18]
			d := h16(b, 0)
			for j := range 16 {
				dst[32*i+j] = float32(int(b[2+j]&15)-8) * d
				dst[32*i+j+16] = float32(int(b[2+j]>>4)-8) * d
			}
		}
	},
	"Q4_K": func(dst []float32, src []byte) {
		y := 0
		for i := 0; i < len(src)/144; i++ {
			b := src[144*i : 144*i+144]
			d, dmin := h16(b, 0), h16(b, 2)
			q := b[16:]
			for k := 0; k < 8; k += 2 {
				sc, m := k4(b[4:], k)
				d1, m1 := d*sc, dmin*m
				sc, m = k4(b[4:], k+1)
				d2, m2 := d*sc, dmin*m
				for l := range 32 {
					dst[y+l] = d1*float32(q[l]&15) - m1
				}
				for l := range 32 {
					dst[y+32+l] = d2*float32(q[l]>>4) - m2
				}
				q = q[32:]
				y += 64
			}
		}
	},
	"Q6_K": func(dst []float32, src []byte) {
		y := 0
		for i := 0; i < len(src)/210; i++ {
			b := src[210*i : 210*i+210]
			d := h16(b, 208)
			ql, qh, sc := b[0:], b[128:], b[192:]
			for range 2 {
				for l := range 32 {
					is := l / 16
					q1 := int8(ql[l]&15|qh[l]>>0&3<<4) - 32
					q2 := int8(ql[l+32]&15|qh[l]>>2&3<<4) - 32
					q3 := int8(ql[l]>>4|qh[l]>>4&3<<4) - 32
					q4 := int8(ql[l+32]>>4|qh[l]>>6&3<<4) - 32
					dst[y+l] = d * float32(int8(sc[is])) * float32(q1)
					dst[y+l+32] = d * float32(int8(sc[is+2])) * float32(q2)
					dst[y+l+64] = d * float32(int8(sc[is+4])) * float32(q3)
					dst[y+l+96] = d * float32(int8(sc[is+6])) * float32(q4)
				}
				y += 128
				ql, qh, sc = ql[64:], qh[32:], sc[8:]
			}
		}
	},
}

// benchBlocks are about n bytes of blocks with plausible weights: normal codes,
// finite scales.
func benchBlocks(t *Type, n int) []byte {
	r := rand.New(rand.NewPCG(5, 5))
	src := make([]byte, n/t.BlockBytes*t.BlockBytes)
	for i := range src {
		src[i] = byte(r.Uint32())
	}
	scale := func() uint16 { return float16.Fromfloat32(0.001 + 0.0005*r.Float32()).Bits() }
	for b := src; len(b) > 0; b = b[t.BlockBytes:] {
		switch {
		case t.kind == kindBlock:
			for _, f := range t.swap {
				if f.size == 2 && f.n == 1 {
					le.PutUint16(b[f.offset:], scale())
				}
			}
			if t.Name == "MXFP4" {
				b[0] = 115 + b[0]&3
			}
		case t.Name == "BF16":
			le.PutUint16(b, uint16(math.Float32bits(float32(r.NormFloat64()*0.02))>>16))
		case t.Name == "F16":
			le.PutUint16(b, float16.Fromfloat32(float32(r.NormFloat64()*0.02)).Bits())
		case t.Name == "F32":
			le.PutUint32(b, math.Float32bits(float32(r.NormFloat64()*0.02)))
		}
	}
	return src
}
