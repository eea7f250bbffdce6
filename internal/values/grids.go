package values

import (
	_ "embed"
	"math"
	"math/bits"
	"sync"
)

//go:generate go run gengrids.go

// gridBytes is what gengrids.go wrote.
//
//go:embed grids.bin
var gridBytes string

// gridTables are the codebooks of the IQ types. An entry holds the indices of
// eight values (2 bits each) or four (3 bits each) of a small alphabet, so that
// a decoder looks them up in the products of scale and alphabet.
type gridTables struct {
	iq2xxs [256]uint16 // of 8, 25, 43, as the next two
	iq2xs  [512]uint16
	iq2s   [1024]uint16
	iq1    [2048]uint16 // of -1, 0, 1
	iq3xxs [256]uint16  // of 4, 12, 20, 28, 36, 44, 52, 62
	iq3s   [512]uint16  // of 1, 3 … 15
}

var grids = sync.OnceValue(func() *gridTables {
	g := new(gridTables)
	b := gridBytes
	for _, table := range [][]uint16{g.iq2xxs[:], g.iq2xs[:], g.iq2s[:], g.iq1[:], g.iq3xxs[:], g.iq3s[:]} {
		for i := range table {
			table[i] = uint16(b[2*i]) | uint16(b[2*i+1])<<8
		}
		b = b[2*len(table):]
	}
	return g
})

// products2 are the products of a scale and the alphabet of the IQ2 grids. The
// fourth code does not occur; the array's size spares a bounds check.
func products2(d float32) [4]float32 { return [4]float32{d * 8, d * 25, d * 43} }

// signed8 writes the eight values of an IQ2 grid entry; bit j of signs negates
// the j-th.
func signed8(y *[8]float32, entry uint16, signs uint32, t *[4]float32) {
	e := uint32(entry)
	y[0] = flip(t[e&3], signs<<31)
	y[1] = flip(t[e>>2&3], signs<<30)
	y[2] = flip(t[e>>4&3], signs<<29)
	y[3] = flip(t[e>>6&3], signs<<28)
	y[4] = flip(t[e>>8&3], signs<<27)
	y[5] = flip(t[e>>10&3], signs<<26)
	y[6] = flip(t[e>>12&3], signs<<25)
	y[7] = flip(t[e>>14&3], signs<<24)
}

// signed4 writes the four values of an IQ3 grid entry.
func signed4(y *[4]float32, entry uint16, signs uint32, t *[8]float32) {
	e := uint32(entry)
	y[0] = flip(t[e&7], signs<<31)
	y[1] = flip(t[e>>3&7], signs<<30)
	y[2] = flip(t[e>>6&7], signs<<29)
	y[3] = flip(t[e>>9&7], signs<<28)
}

// flip negates v where the top bit of sign is set.
func flip(v float32, sign uint32) float32 {
	return math.Float32frombits(math.Float32bits(v) ^ sign&(1<<31))
}

// evenSigns completes seven sign bits by an eighth that makes their number even.
func evenSigns(s uint32) uint32 {
	s &= 127
	return s | uint32(bits.OnesCount32(s)&1)<<7
}

func decodeIQ2_XXS(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 66; src, dst = src[66:], dst[256:] {
		x, y := (*[66]byte)(src), (*[256]float32)(dst)
		d := half(x[0:])
		for k := range 8 {
			q := (*[8]byte)(x[2+8*k:])
			a := le.Uint32(q[4:])
			t := products2(d * (0.5 + float32(a>>28)) * 0.25)
			for l := range 4 {
				signed8((*[8]float32)(y[32*k+8*l:]), g.iq2xxs[q[l]], evenSigns(a>>(7*l)), &t)
			}
		}
	}
}

func decodeIQ2_XS(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 74; src, dst = src[74:], dst[256:] {
		x, y := (*[74]byte)(src), (*[256]float32)(dst)
		d := half(x[0:])
		for k := range 16 {
			t := products2(d * (0.5 + float32(x[66+k/2]>>(k%2*4)&15)) * 0.25)
			for l := range 2 {
				q := le.Uint16(x[2+4*k+2*l:])
				signed8((*[8]float32)(y[16*k+8*l:]), g.iq2xs[q&511], evenSigns(uint32(q>>9)), &t)
			}
		}
	}
}

func decodeIQ2_S(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 82; src, dst = src[82:], dst[256:] {
		x, y := (*[82]byte)(src), (*[256]float32)(dst)
		d := half(x[0:])
		for k := range 16 {
			t := products2(d * (0.5 + float32(x[74+k/2]>>(k%2*4)&15)) * 0.25)
			for l := range 2 {
				i := 2*k + l
				index := uint16(x[2+i]) | uint16(x[66+i/4]>>(i%4*2)&3)<<8
				signed8((*[8]float32)(y[8*i:]), g.iq2s[index&1023], uint32(x[34+i]), &t)
			}
		}
	}
}

func decodeIQ3_XXS(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 98; src, dst = src[98:], dst[256:] {
		x, y := (*[98]byte)(src), (*[256]float32)(dst)
		d := half(x[0:])
		for k := range 8 {
			a := le.Uint32(x[66+4*k:])
			dl := d * (0.5 + float32(a>>28)) * 0.5
			t := [8]float32{dl * 4, dl * 12, dl * 20, dl * 28, dl * 36, dl * 44, dl * 52, dl * 62}
			for l := range 4 {
				signs := evenSigns(a >> (7 * l))
				signed4((*[4]float32)(y[32*k+8*l:]), g.iq3xxs[x[2+8*k+2*l]], signs, &t)
				signed4((*[4]float32)(y[32*k+8*l+4:]), g.iq3xxs[x[2+8*k+2*l+1]], signs>>4, &t)
			}
		}
	}
}

func decodeIQ3_S(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 110; src, dst = src[110:], dst[256:] {
		x, y := (*[110]byte)(src), (*[256]float32)(dst)
		d := half(x[0:])
		for k := range 8 {
			dl := d * float32(1+2*(x[106+k/2]>>(k%2*4)&15))
			t := [8]float32{dl * 1, dl * 3, dl * 5, dl * 7, dl * 9, dl * 11, dl * 13, dl * 15}
			for i := range 8 {
				index := uint16(x[2+8*k+i]) | uint16(x[66+k]>>i&1)<<8
				signs := uint32(x[74+4*k+i/2]) >> (i % 2 * 4)
				signed4((*[4]float32)(y[32*k+4*i:]), g.iq3s[index&511], signs, &t)
			}
		}
	}
}

// products1 are the products of a scale and the alphabet of the IQ1 grid,
// moved by an eighth up or, when down is set, down.
func products1(dl float32, down bool) [4]float32 {
	delta := float32(0.125)
	if down {
		delta = -delta
	}
	return [4]float32{dl * (-1 + delta), dl * delta, dl * (1 + delta)}
}

func values8(y *[8]float32, entry uint16, t *[4]float32) {
	e := uint32(entry)
	y[0] = t[e&3]
	y[1] = t[e>>2&3]
	y[2] = t[e>>4&3]
	y[3] = t[e>>6&3]
	y[4] = t[e>>8&3]
	y[5] = t[e>>10&3]
	y[6] = t[e>>12&3]
	y[7] = t[e>>14&3]
}

func decodeIQ1_S(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 50; src, dst = src[50:], dst[256:] {
		x, y := (*[50]byte)(src), (*[256]float32)(dst)
		d := half(x[0:])
		for k := range 8 {
			h := le.Uint16(x[34+2*k:])
			t := products1(d*float32(2*(h>>12&7)+1), h>>15 != 0)
			for l := range 4 {
				index := uint16(x[2+4*k+l]) | h>>(3*l)&7<<8
				values8((*[8]float32)(y[32*k+8*l:]), g.iq1[index&2047], &t)
			}
		}
	}
}

func decodeIQ1_M(dst []float32, src []byte) {
	g := grids()
	for ; len(src) >= 56; src, dst = src[56:], dst[256:] {
		x, y := (*[56]byte)(src), (*[256]float32)(dst)
		s := [4]uint16{le.Uint16(x[48:]), le.Uint16(x[50:]), le.Uint16(x[52:]), le.Uint16(x[54:])}
		d := float16to32(s[0]>>12 | s[1]>>12<<4 | s[2]>>12<<8 | s[3]>>12<<12)
		for k := range 8 {
			for l := range 4 {
				scale := s[k/2] >> (6*(k%2) + 3*(l/2)) & 7
				h := x[32+2*k+l/2] >> (l % 2 * 4)
				t := products1(d*float32(2*scale+1), h&8 != 0)
				index := uint16(x[4*k+l]) | uint16(h&7)<<8
				values8((*[8]float32)(y[32*k+8*l:]), g.iq1[index&2047], &t)
			}
		}
	}
}
