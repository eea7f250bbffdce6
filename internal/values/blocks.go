package values

import "math"

// The decoders of ggml's block types but IQ1 to IQ3, whose grids are in
// grids.go. The structures are those of ggml-common.h, the arithmetic that of
// dequantize_row_* in ggml-quants.c: float32, scale times sub-scale first. Where
// a product is followed by a sum, a conversion keeps the compiler from fusing
// them on machines where it would.
//
// A block is converted to an array pointer, which makes the compiler drop the
// bounds checks; what is constant for 16 or 32 elements is computed once.

// fp4 is E2M1 times two, ggml's kvalues_mxfp4.
var fp4 = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, float32(math.Copysign(0, -1)), -1, -2, -3, -4, -6, -8, -12}

// kvaluesFP4 is fp4 as the integers that ggml multiplies by, where -0 is 0.
var kvaluesFP4 = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}

// kvaluesNL is the codebook of IQ4_NL and IQ4_XS.
var kvaluesNL = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}

func decodeQ1_0(dst []float32, src []byte) {
	for ; len(src) >= 18; src, dst = src[18:], dst[128:] {
		x, y := (*[18]byte)(src), (*[128]float32)(dst)
		d := math.Float32bits(half(x[0:]))
		for i := range 16 {
			b := uint32(^x[2+i])
			for j := range 8 {
				y[8*i+j] = math.Float32frombits(d ^ b>>j<<31)
			}
		}
	}
}

func decodeQ2_0(dst []float32, src []byte) {
	for ; len(src) >= 18; src, dst = src[18:], dst[64:] {
		x, y := (*[18]byte)(src), (*[64]float32)(dst)
		d := half(x[0:])
		t := [4]float32{-1 * d, 0 * d, 1 * d, 2 * d}
		for i := range 16 {
			b := x[2+i]
			y[4*i] = t[b&3]
			y[4*i+1] = t[b>>2&3]
			y[4*i+2] = t[b>>4&3]
			y[4*i+3] = t[b>>6]
		}
	}
}

// nibbles16 decodes 16 bytes of nibbles through a table of products: low ones
// to the first half of y, high ones to the second.
func nibbles16(y *[32]float32, x *[16]byte, t *[16]float32) {
	for i := range 16 {
		b := x[i]
		y[i] = t[b&15]
		y[i+16] = t[b>>4]
	}
}

// pairs holds both nibbles of every byte, pairsQ4_0 both less eight, int8s every
// byte as a signed number. A load costs less than a conversion.
var pairs, pairsQ4_0, int8s = func() (p, q [256][2]float32, s [256]float32) {
	for b := range 256 {
		p[b] = [2]float32{float32(b & 15), float32(b >> 4)}
		q[b] = [2]float32{p[b][0] - 8, p[b][1] - 8}
		s[b] = float32(int8(b))
	}
	return p, q, s
}()

func decodeQ4_0(dst []float32, src []byte) {
	for ; len(src) >= 18; src, dst = src[18:], dst[32:] {
		x, y := (*[18]byte)(src), (*[32]float32)(dst)
		d := half(x[0:])
		for i := range 16 {
			p := &pairsQ4_0[x[2+i]]
			y[i] = p[0] * d
			y[i+16] = p[1] * d
		}
	}
}

func decodeQ4_1(dst []float32, src []byte) {
	for ; len(src) >= 20; src, dst = src[20:], dst[32:] {
		x, y := (*[20]byte)(src), (*[32]float32)(dst)
		d, m := half(x[0:]), half(x[2:])
		var t [16]float32
		for q := range 16 {
			t[q] = float32(float32(q)*d) + m
		}
		nibbles16(y, (*[16]byte)(x[4:]), &t)
	}
}

func decodeQ5_0(dst []float32, src []byte) {
	for ; len(src) >= 22; src, dst = src[22:], dst[32:] {
		x, y := (*[22]byte)(src), (*[32]float32)(dst)
		d, h := half(x[0:]), le.Uint32(x[2:])
		for i := range 16 {
			b := int32(x[6+i])
			y[i] = float32(b&15|int32(h>>i&1)<<4-16) * d
			y[i+16] = float32(b>>4|int32(h>>(i+16)&1)<<4-16) * d
		}
	}
}

func decodeQ5_1(dst []float32, src []byte) {
	for ; len(src) >= 24; src, dst = src[24:], dst[32:] {
		x, y := (*[24]byte)(src), (*[32]float32)(dst)
		d, m, h := half(x[0:]), half(x[2:]), le.Uint32(x[4:])
		for i := range 16 {
			b := int32(x[8+i])
			y[i] = float32(float32(b&15|int32(h>>i&1)<<4)*d) + m
			y[i+16] = float32(float32(b>>4|int32(h>>(i+16)&1)<<4)*d) + m
		}
	}
}

func decodeQ8_0(dst []float32, src []byte) {
	for ; len(src) >= 34; src, dst = src[34:], dst[32:] {
		x, y := (*[34]byte)(src), (*[32]float32)(dst)
		d := half(x[0:])
		for i := 0; i < 32; i += 8 {
			q, o := (*[8]byte)(x[2+i:]), (*[8]float32)(y[i:])
			o[0] = int8s[q[0]] * d
			o[1] = int8s[q[1]] * d
			o[2] = int8s[q[2]] * d
			o[3] = int8s[q[3]] * d
			o[4] = int8s[q[4]] * d
			o[5] = int8s[q[5]] * d
			o[6] = int8s[q[6]] * d
			o[7] = int8s[q[7]] * d
		}
	}
}

func decodeQ8_K(dst []float32, src []byte) {
	for ; len(src) >= 292; src, dst = src[292:], dst[256:] {
		x, y := (*[292]byte)(src), (*[256]float32)(dst)
		d := math.Float32frombits(le.Uint32(x[0:]))
		for i := range 256 {
			y[i] = int8s[x[4+i]] * d
		}
	}
}

func decodeMXFP4(dst []float32, src []byte) {
	for ; len(src) >= 17; src, dst = src[17:], dst[32:] {
		x, y := (*[17]byte)(src), (*[32]float32)(dst)
		d := scaleE8M0(x[0])
		var t [16]float32
		for q := range 16 {
			t[q] = kvaluesFP4[q] * d
		}
		nibbles16(y, (*[16]byte)(x[1:]), &t)
	}
}

// scaleE8M0 is 2^(e-128): half of E8M0, since fp4 is doubled.
func scaleE8M0(e byte) float32 {
	if e < 2 {
		return math.Float32frombits(0x00200000 << e)
	}
	return math.Float32frombits(uint32(e-1) << 23)
}

func decodeNVFP4(dst []float32, src []byte) {
	for ; len(src) >= 36; src, dst = src[36:], dst[64:] {
		x, y := (*[36]byte)(src), (*[64]float32)(dst)
		for s := range 4 {
			d := scaleUE4M3(x[s])
			var t [16]float32
			for q := range 16 {
				t[q] = kvaluesFP4[q] * d
			}
			for i := range 8 {
				b := x[4+8*s+i]
				y[16*s+i] = t[b&15]
				y[16*s+i+8] = t[b>>4]
			}
		}
	}
}

// scaleUE4M3 is half of an unsigned E4M3 number whose NaN counts as 0.
func scaleUE4M3(c byte) float32 {
	if c == 0x7f {
		return 0
	}
	e, m := uint32(c>>3&15), uint32(c&7)
	if e == 0 {
		return float32(m) * 0x1p-10
	}
	return math.Float32frombits((e+127-8)<<23 | m<<20)
}

func decodeQ2_K(dst []float32, src []byte) {
	for ; len(src) >= 84; src, dst = src[84:], dst[256:] {
		x, y := (*[84]byte)(src), (*[256]float32)(dst)
		d, dmin := half(x[80:]), half(x[82:])
		for k := range 16 {
			sc := x[k]
			dl, ml := d*float32(sc&15), dmin*float32(sc>>4)
			t := [4]float32{float32(dl*0) - ml, float32(dl*1) - ml, float32(dl*2) - ml, float32(dl*3) - ml}
			q := (*[16]byte)(x[16+k/8*32+k%2*16:])
			o := (*[16]float32)(y[16*k:])
			shift := k % 8 / 2 * 2
			for i := range 16 {
				o[i] = t[q[i]>>shift&3]
			}
		}
	}
}

func decodeQ3_K(dst []float32, src []byte) {
	for ; len(src) >= 110; src, dst = src[110:], dst[256:] {
		x, y := (*[110]byte)(src), (*[256]float32)(dst)
		d := half(x[108:])
		s := (*[12]byte)(x[96:])
		for k := range 16 {
			sc := s[k%8]>>(k/8*4)&15 | s[8+k%4]>>(k/4*2)&3<<4
			dl := d * float32(int(sc)-32)
			t := [8]float32{dl * -4, dl * -3, dl * -2, dl * -1, dl * 0, dl * 1, dl * 2, dl * 3}
			q := (*[16]byte)(x[32+k/8*32+k%2*16:])
			h := (*[16]byte)(x[k%2*16:])
			o := (*[16]float32)(y[16*k:])
			shift, bit := k%8/2*2, k/2
			for i := range 16 {
				o[i] = t[q[i]>>shift&3|h[i]>>bit&1<<2]
			}
		}
	}
}

// scales6 unpacks the eight 6-bit scales and minima of Q4_K and Q5_K.
func scales6(s *[12]byte) (sc, m [8]uint8) {
	const low6, low4, low2 = 63 * 0x01010101, 15 * 0x01010101, 3 * 0x01010101
	u, v, w := le.Uint32(s[0:]), le.Uint32(s[4:]), le.Uint32(s[8:])
	le.PutUint32(sc[0:], u&low6)
	le.PutUint32(sc[4:], w&low4|u>>6&low2<<4)
	le.PutUint32(m[0:], v&low6)
	le.PutUint32(m[4:], w>>4&low4|v>>6&low2<<4)
	return sc, m
}

func decodeQ4_K(dst []float32, src []byte) {
	for ; len(src) >= 144; src, dst = src[144:], dst[256:] {
		x, y := (*[144]byte)(src), (*[256]float32)(dst)
		d, dmin := half(x[0:]), half(x[2:])
		sc, m := scales6((*[12]byte)(x[4:]))
		for k := 0; k < 8; k += 2 {
			dl, ml := d*float32(sc[k]), dmin*float32(m[k])
			dh, mh := d*float32(sc[k+1]), dmin*float32(m[k+1])
			q := (*[32]byte)(x[16+16*k:])
			o := (*[64]float32)(y[32*k:])
			for i := 0; i < 32; i += 4 {
				p0, p1, p2, p3 := &pairs[q[i]], &pairs[q[i+1]], &pairs[q[i+2]], &pairs[q[i+3]]
				l, h := (*[4]float32)(o[i:]), (*[4]float32)(o[i+32:])
				l[0] = float32(p0[0]*dl) - ml
				l[1] = float32(p1[0]*dl) - ml
				l[2] = float32(p2[0]*dl) - ml
				l[3] = float32(p3[0]*dl) - ml
				h[0] = float32(p0[1]*dh) - mh
				h[1] = float32(p1[1]*dh) - mh
				h[2] = float32(p2[1]*dh) - mh
				h[3] = float32(p3[1]*dh) - mh
			}
		}
	}
}

func decodeQ5_K(dst []float32, src []byte) {
	for ; len(src) >= 176; src, dst = src[176:], dst[256:] {
		x, y := (*[176]byte)(src), (*[256]float32)(dst)
		d, dmin := half(x[0:]), half(x[2:])
		sc, m := scales6((*[12]byte)(x[4:]))
		h := (*[32]byte)(x[16:])
		for k := 0; k < 8; k += 2 {
			dl, ml := d*float32(sc[k]), dmin*float32(m[k])
			dh, mh := d*float32(sc[k+1]), dmin*float32(m[k+1])
			q := (*[32]byte)(x[48+16*k:])
			o := (*[64]float32)(y[32*k:])
			for i := range 32 {
				top := h[i] >> k << 4
				o[i] = float32(dl*float32(int32(q[i]&15|top&16))) - ml
				o[i+32] = float32(dh*float32(int32(q[i]>>4|top>>1&16))) - mh
			}
		}
	}
}

func decodeQ6_K(dst []float32, src []byte) {
	for ; len(src) >= 210; src, dst = src[210:], dst[256:] {
		x, y := (*[210]byte)(src), (*[256]float32)(dst)
		d := half(x[208:])
		for n := range 2 {
			for is := range 2 {
				sc := (*[7]byte)(x[192+8*n+is:])
				d0 := d * float32(int8(sc[0]))
				d1 := d * float32(int8(sc[2]))
				d2 := d * float32(int8(sc[4]))
				d3 := d * float32(int8(sc[6]))
				l0 := (*[16]byte)(x[64*n+16*is:])
				l1 := (*[16]byte)(x[64*n+32+16*is:])
				h := (*[16]byte)(x[128+32*n+16*is:])
				o := (*[112]float32)(y[128*n+16*is:])
				for i := range 16 {
					a, b, c := l0[i], l1[i], h[i]
					o[i] = d0 * float32(int32(a&15|c&3<<4)-32)
					o[i+32] = d1 * float32(int32(b&15|c>>2&3<<4)-32)
					o[i+64] = d2 * float32(int32(a>>4|c>>4&3<<4)-32)
					o[i+96] = d3 * float32(int32(b>>4|c>>6<<4)-32)
				}
			}
		}
	}
}

// trit returns the n-th of the base-3 digits packed in a byte, where pow is 3^n.
func trit(v, pow byte) float32 {
	return float32(int32(uint16(v*pow)*3>>8) - 1)
}

func decodeTQ1_0(dst []float32, src []byte) {
	pow := [5]byte{1, 3, 9, 27, 81}
	for ; len(src) >= 54; src, dst = src[54:], dst[256:] {
		x, y := (*[54]byte)(src), (*[256]float32)(dst)
		d := half(x[52:])
		for n, p := range pow {
			for i := range 32 {
				y[32*n+i] = trit(x[i], p) * d
			}
			for i := range 16 {
				y[160+16*n+i] = trit(x[32+i], p) * d
			}
		}
		for n, p := range pow[:4] {
			for i := range 4 {
				y[240+4*n+i] = trit(x[48+i], p) * d
			}
		}
	}
}

func decodeTQ2_0(dst []float32, src []byte) {
	for ; len(src) >= 66; src, dst = src[66:], dst[256:] {
		x, y := (*[66]byte)(src), (*[256]float32)(dst)
		d := half(x[64:])
		t := [4]float32{-1 * d, 0 * d, 1 * d, 2 * d}
		for n := range 2 {
			q := (*[32]byte)(x[32*n:])
			o := (*[128]float32)(y[128*n:])
			for i := range 32 {
				b := q[i]
				o[i] = t[b&3]
				o[i+32] = t[b>>2&3]
				o[i+64] = t[b>>4&3]
				o[i+96] = t[b>>6]
			}
		}
	}
}

func decodeIQ4_NL(dst []float32, src []byte) {
	for ; len(src) >= 18; src, dst = src[18:], dst[32:] {
		x, y := (*[18]byte)(src), (*[32]float32)(dst)
		d := half(x[0:])
		var t [16]float32
		for q := range 16 {
			t[q] = d * kvaluesNL[q]
		}
		nibbles16(y, (*[16]byte)(x[2:]), &t)
	}
}

func decodeIQ4_XS(dst []float32, src []byte) {
	for ; len(src) >= 136; src, dst = src[136:], dst[256:] {
		x, y := (*[136]byte)(src), (*[256]float32)(dst)
		d, high := half(x[0:]), le.Uint16(x[2:])
		for k := range 8 {
			scale := uint16(x[4+k/2]>>(k%2*4)&15) | high>>(2*k)&3<<4
			dl := d * float32(int(scale)-32)
			var t [16]float32
			for q := range 16 {
				t[q] = dl * kvaluesNL[q]
			}
			nibbles16((*[32]float32)(y[32*k:]), (*[16]byte)(x[8+16*k:]), &t)
		}
	}
}
