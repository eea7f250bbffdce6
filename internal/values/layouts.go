package values

import "sync"

// layout says how a block type stores its numbers: as a·q - b, where q is the
// integer that a code stands for, and a and b are an f16 of the block times a
// small integer of the sub-block, its scale and its minimum. With S1 the sum of
// a sub-block's n integers and S2 that of their squares, the sum of its numbers
// is a·S1 - n·b, and that of their squares a²·S2 - 2ab·S1 + n·b². An f16 is an
// integer times a power of two, and so all of it is integers.
type layout struct {
	sub    int // codes in a sub-block
	codes  int // that there are
	minima bool
	// unpack and scales are nil where a type has a loop of its own.
	unpack func(codes *[256]byte, block []byte)
	// scales finds the integers of the sub-blocks, and returns the f16 of their
	// scales and minima.
	scales func(s *scales, block []byte) (d, dmin uint16)

	least, greatest float32     // of the integers that codes stand for
	sums            [256]uint64 // of each code, q+128 | q²<<16 | (q is 0)<<48
}

// scales are the integers of sub-blocks.
type scales struct{ s, m [16]int8 }

// sum returns the sum of the integers of codes, a multiple of eight and at most
// 32, that of their squares, and how many are 0.
func (l *layout) sum(codes []byte) (s1, s2 int64, zeros uint64) {
	n := int64(len(codes))
	var t, u uint64
	for ; len(codes) >= 8; codes = codes[8:] {
		c := (*[8]byte)(codes)
		t += l.sums[c[0]] + l.sums[c[1]] + l.sums[c[2]] + l.sums[c[3]]
		u += l.sums[c[4]] + l.sums[c[5]] + l.sums[c[6]] + l.sums[c[7]]
	}
	t += u
	return int64(t&0xffff) - 128*n, int64(t >> 16 & 0xffffffff), t >> 48
}

// layouts are of the types whose codes stand for integers. Q4_0 and Q4_K have
// loops of their own, Q1_0 and the like are seldom, and the codes of IQ1 to IQ3
// are entries of grids.
var layouts = sync.OnceValue(func() map[string]*layout {
	m := map[string]*layout{}
	add := func(name string, l layout, q func(code int) int) {
		l.least, l.greatest = 127, -128
		for code := range l.codes {
			q := q(code)
			l.sums[code] = uint64(q+128) | uint64(q*q)<<16
			if q == 0 {
				l.sums[code] |= 1 << 48
			}
			l.least, l.greatest = min(l.least, float32(q)), max(l.greatest, float32(q))
		}
		m[name] = &l
	}
	minus := func(n int) func(int) int { return func(code int) int { return code - n } }
	nl := func(code int) int { return int(kvaluesNL[code]) }

	add("Q4_1", layout{sub: 32, codes: 16, unpack: unpack4(4), scales: scaleAndAddend, minima: true}, minus(0))
	add("Q5_0", layout{sub: 32, codes: 32, unpack: unpack5(2), scales: scaleOnly}, minus(16))
	add("Q5_1", layout{sub: 32, codes: 32, unpack: unpack5(4), scales: scaleAndAddend, minima: true}, minus(0))
	add("Q8_0", layout{sub: 32, codes: 256}, func(code int) int { return int(int8(code)) })
	add("IQ4_NL", layout{sub: 32, codes: 16, unpack: unpack4(2), scales: scaleOnly}, nl)
	add("IQ4_XS", layout{sub: 32, codes: 16, unpack: unpackIQ4_XS, scales: scalesIQ4_XS}, nl)
	add("MXFP4", layout{sub: 32, codes: 16, unpack: unpack4(1)}, func(code int) int { return int(kvaluesFP4[code]) })
	add("Q2_K", layout{sub: 16, codes: 4, unpack: unpackQ2_K, scales: scalesQ2_K, minima: true}, minus(0))
	add("Q3_K", layout{sub: 16, codes: 8, unpack: unpackQ3_K, scales: scalesQ3_K}, minus(4))
	add("Q5_K", layout{sub: 32, codes: 32, unpack: unpackQ5_K, scales: scalesQ4_K, minima: true}, minus(0))
	add("Q6_K", layout{sub: 16, codes: 64, unpack: unpackQ6_K, scales: scalesQ6_K}, minus(32))
	return m
})

// eachByte is 1 in each byte of a word, which holds eight codes.
const eachByte = 0x0101010101010101

const (
	eachBits2 = 3 * eachByte
	eachBits4 = 15 * eachByte
)

// unpack4 is for 16 bytes of nibbles at an offset in the block, the low ones
// first.
func unpack4(offset int) func(*[256]byte, []byte) {
	return func(q *[256]byte, block []byte) { nibbles(q[:32], block[offset:], 0, 0, 0, 0) }
}

// unpack5 is unpack4 for codes whose fifth bits are in a word before them.
func unpack5(offset int) func(*[256]byte, []byte) {
	return func(q *[256]byte, block []byte) {
		h := le.Uint32(block[offset:])
		nibbles(q[:32], block[offset+4:], spread(h), spread(h>>8), spread(h>>16), spread(h>>24))
	}
}

// nibbles unpacks 16 bytes of nibbles, the low ones first, below fifth bits.
func nibbles(q, x []byte, h0, h1, h2, h3 uint64) {
	o := (*[32]byte)(q)
	v, w := le.Uint64(x), le.Uint64(x[8:])
	le.PutUint64(o[0:], v&eachBits4|h0<<4)
	le.PutUint64(o[8:], w&eachBits4|h1<<4)
	le.PutUint64(o[16:], v>>4&eachBits4|h2<<4)
	le.PutUint64(o[24:], w>>4&eachBits4|h3<<4)
}

// spread puts each of the low eight bits into a byte of its own.
func spread(b uint32) uint64 {
	const own = 0x8040201008040201 // of byte n, bit n
	return (uint64(b&0xff)*eachByte&own + 0x7f*eachByte) >> 7 & eachByte
}

func unpackIQ4_XS(q *[256]byte, block []byte) {
	for i := 0; i < 256; i += 32 {
		nibbles(q[i:], block[8+i/2:], 0, 0, 0, 0)
	}
}

func unpackQ2_K(q *[256]byte, block []byte) {
	x := (*[84]byte)(block)
	for i := 0; i < 64; i += 8 {
		v := le.Uint64(x[16+i:])
		o := (*[104]byte)(q[i/32*128+i%32:])
		le.PutUint64(o[0:], v&eachBits2)
		le.PutUint64(o[32:], v>>2&eachBits2)
		le.PutUint64(o[64:], v>>4&eachBits2)
		le.PutUint64(o[96:], v>>6&eachBits2)
	}
}

func unpackQ3_K(q *[256]byte, block []byte) {
	x := (*[110]byte)(block)
	for i := 0; i < 64; i += 8 {
		v, h := le.Uint64(x[32+i:]), le.Uint64(x[i%32:])>>(i/32*4)
		o := (*[104]byte)(q[i/32*128+i%32:])
		le.PutUint64(o[0:], v&eachBits2|h&eachByte<<2)
		le.PutUint64(o[32:], v>>2&eachBits2|h>>1&eachByte<<2)
		le.PutUint64(o[64:], v>>4&eachBits2|h>>2&eachByte<<2)
		le.PutUint64(o[96:], v>>6&eachBits2|h>>3&eachByte<<2)
	}
}

func unpackQ4_K(q *[256]byte, block []byte) {
	x := (*[144]byte)(block)
	for i := 0; i < 128; i += 8 {
		v := le.Uint64(x[16+i:])
		o := (*[40]byte)(q[i/32*64+i%32:])
		le.PutUint64(o[0:], v&eachBits4)
		le.PutUint64(o[32:], v>>4&eachBits4)
	}
}

func unpackQ5_K(q *[256]byte, block []byte) {
	x := (*[176]byte)(block)
	for i := 0; i < 128; i += 8 {
		v, h := le.Uint64(x[48+i:]), le.Uint64(x[16+i%32:])>>(i/32*2)
		o := (*[40]byte)(q[i/32*64+i%32:])
		le.PutUint64(o[0:], v&eachBits4|h&eachByte<<4)
		le.PutUint64(o[32:], v>>4&eachBits4|h>>1&eachByte<<4)
	}
}

func unpackQ6_K(q *[256]byte, block []byte) {
	x := (*[210]byte)(block)
	for i := 0; i < 64; i += 8 {
		at := i/32*64 + i%32
		v, w, h := le.Uint64(x[at:]), le.Uint64(x[at+32:]), le.Uint64(x[128+i:])
		o := (*[104]byte)(q[i/32*128+i%32:])
		le.PutUint64(o[0:], v&eachBits4|h&eachBits2<<4)
		le.PutUint64(o[32:], w&eachBits4|h>>2&eachBits2<<4)
		le.PutUint64(o[64:], v>>4&eachBits4|h>>4&eachBits2<<4)
		le.PutUint64(o[96:], w>>4&eachBits4|h>>6&eachBits2<<4)
	}
}

func scaleOnly(s *scales, x []byte) (d, dmin uint16) {
	s.s[0] = 1
	return le.Uint16(x), 0
}

// scaleAndAddend is for blocks to whose numbers the second f16 is added.
func scaleAndAddend(s *scales, x []byte) (d, dmin uint16) {
	s.s[0], s.m[0] = 1, -1
	return le.Uint16(x), le.Uint16(x[2:])
}

func scalesIQ4_XS(s *scales, x []byte) (d, dmin uint16) {
	high := le.Uint16(x[2:])
	for k := range 8 {
		s.s[k] = int8(x[4+k/2]>>(k%2*4)&15|uint8(high>>(2*k)&3)<<4) - 32
	}
	return le.Uint16(x), 0
}

func scalesQ2_K(s *scales, x []byte) (d, dmin uint16) {
	for k, b := range x[:16] {
		s.s[k], s.m[k] = int8(b&15), int8(b>>4)
	}
	return le.Uint16(x[80:]), le.Uint16(x[82:])
}

func scalesQ3_K(s *scales, x []byte) (d, dmin uint16) {
	p := (*[12]byte)(x[96:])
	for k := range 16 {
		s.s[k] = int8(p[k%8]>>(k/8*4)&15|p[8+k%4]>>(k/4*2)&3<<4) - 32
	}
	return le.Uint16(x[108:]), 0
}

// scalesQ4_K is for Q5_K too.
func scalesQ4_K(s *scales, x []byte) (d, dmin uint16) {
	sc, m := scales6((*[12]byte)(x[4:]))
	for k := range 8 {
		s.s[k], s.m[k] = int8(sc[k]), int8(m[k])
	}
	return le.Uint16(x), le.Uint16(x[2:])
}

func scalesQ6_K(s *scales, x []byte) (d, dmin uint16) {
	for k, b := range x[192:208] {
		s.s[k] = int8(b)
	}
	return le.Uint16(x[208:]), 0
}
