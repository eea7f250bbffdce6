package values

import (
	"math"
	"sync"
)

// direct says whether the figures of a type are found block by block, without
// its distribution.
func direct(t *Type, opt StatsOptions) bool {
	return t.kind == kindBlock && !opt.BlockQuantiles
}

// blockSums finds the figures of block types from the codes. With S1 the sum of
// a sub-block's codes and S2 that of their squares, the sum of its numbers
// a·q - b is a·S1 - n·b, and that of their squares a²·S2 - 2ab·S1 + n·b². Scales
// are f16, integers times a power of two, and so all of it is integers.
//
// Extremes are looked for only in blocks whose scale allows one. Types without
// such sums are decoded, and added up in float64 within a block, which gives the
// same for the same block.
type blockSums struct {
	typ   *Type
	block func(*blockSums, []byte)

	sums    [32]int64 // by the exponent field of the scale
	squares [64]int64 // by the sum of two exponent fields
	since   int       // blocks since the last flush

	exact              moments
	stats              Stats // the counts; the rest is left alone
	minValue, maxValue float32
	seen               bool // a finite number
	buf                [1024]float32
}

// sumsEvery is how many blocks the sums hold: of Q6_K, which has the greatest,
// each adds up to 2^54 to a square.
const sumsEvery = 256

func newBlockSums(t *Type) *blockSums {
	k := &blockSums{typ: t, block: (*blockSums).addDecoded}
	switch t.Name {
	case "Q8_0":
		k.block = (*blockSums).addQ8_0
	case "Q4_0":
		k.block = (*blockSums).addQ4_0
	case "Q4_K":
		k.block = (*blockSums).addQ4_K
	case "Q6_K":
		k.block = (*blockSums).addQ6_K
	}
	return k
}

func (k *blockSums) add(src []byte) {
	size := k.typ.BlockBytes
	for len(src) > 0 {
		if k.since == sumsEvery {
			k.flush()
		}
		n := min(len(src)/size, sumsEvery-k.since)
		k.block(k, src[:n*size])
		k.since += n
		k.stats.Count += uint64(n * k.typ.BlockElems)
		src = src[n*size:]
	}
}

// codeSums is what is known of each byte of codes, packed so that the sums of a
// sub-block stay apart.
type codeSums struct {
	q8 [256]uint64 // q+128 | q²<<16 | (q is 0)<<48
	q4 [256]uint32 // of both nibbles, q = nibble-8: q+8 | q²<<10 | (q is 0)<<24
	k4 [256]uint64 // low | low²<<16 | high<<32 | high²<<48
	q6 [256]uint32 // q = code-32: q+32 | q²<<10 | (q is 0)<<26; 64 codes
}

var codes = sync.OnceValue(func() *codeSums {
	t := new(codeSums)
	one := func(q int64) uint64 {
		if q == 0 {
			return 1
		}
		return 0
	}
	for b := range int64(256) {
		q := int64(int8(b))
		t.q8[b] = uint64(q+128) | uint64(q*q)<<16 | one(q)<<48
		lo, hi := b&15, b>>4
		t.q4[b] = uint32(lo+hi) | uint32((lo-8)*(lo-8)+(hi-8)*(hi-8))<<10 | uint32(one(lo-8)+one(hi-8))<<24
		t.k4[b] = uint64(lo | lo*lo<<16 | hi<<32 | hi*hi<<48)
		q = b&63 - 32
		t.q6[b] = uint32(q+32) | uint32(q*q)<<10 | uint32(one(q))<<26
	}
	return t
})

// scale16 splits an f16 into a signed significand and its exponent field, of
// which 0 stands for the same power of two as 1: the number is m·2^(e-25).
func scale16(h uint16) (m int64, e uint16) {
	m, e = int64(h&0x3ff), h>>10&31
	if e == 0 {
		e = 1
	} else {
		m |= 0x400
	}
	if h>>15 != 0 {
		m = -m
	}
	return m, e
}

// notFinite says whether an f16 is infinite or NaN.
func notFinite(h uint16) bool { return h&0x7c00 == 0x7c00 }

// beyond says whether numbers in [lo, hi] can change the extremes.
func (k *blockSums) beyond(lo, hi float32) bool {
	return hi > k.maxValue || lo < k.minValue || !k.seen
}

// look finds the extremes of decoded numbers, all finite.
func (k *blockSums) look(values []float32) {
	if !k.seen {
		k.minValue, k.maxValue, k.seen = values[0], values[0], true
	}
	for _, v := range values {
		k.minValue, k.maxValue = min(k.minValue, v), max(k.maxValue, v)
	}
}

// oneByOne takes in a block number by number, as one must where a scale is not
// finite.
func (k *blockSums) oneByOne(block []byte) {
	n := k.typ.Decode(k.buf[:], block)
	k.special(k.buf[:n])
}

// special takes in numbers that may not be finite.
func (k *blockSums) special(values []float32) {
	for i, v := range values {
		switch {
		case v != v:
			k.stats.NaN++
		case v > math.MaxFloat32:
			k.stats.PosInf++
		case v < -math.MaxFloat32:
			k.stats.NegInf++
		default:
			if v == 0 {
				k.stats.Zeros++
			}
			k.exact.addFloat(float64(v), 1)
			k.look(values[i : i+1])
		}
	}
}

func (k *blockSums) addQ8_0(src []byte) {
	codes := &codes().q8
	for ; len(src) >= 34; src = src[34:] {
		x := (*[34]byte)(src)
		h := le.Uint16(x[0:])
		if notFinite(h) {
			k.oneByOne(x[:])
			continue
		}
		var t, u uint64
		for i := 2; i < 34; i += 8 {
			w := le.Uint64(x[i:])
			t += codes[w&255] + codes[w>>8&255] + codes[w>>16&255] + codes[w>>24&255]
			u += codes[w>>32&255] + codes[w>>40&255] + codes[w>>48&255] + codes[w>>56]
		}
		t += u
		m, e := scale16(h)
		k.sums[e] += m * (int64(t&0xffff) - 32*128)
		k.squares[2*e] += m * m * int64(t>>16&0xffffffff)
		if m == 0 {
			k.stats.Zeros += 32
		} else {
			k.stats.Zeros += t >> 48
		}
		d := float16to32(h)
		if k.beyond(min(-128*d, 127*d), max(-128*d, 127*d)) {
			decodeQ8_0(k.buf[:32], x[:])
			k.look(k.buf[:32])
		}
	}
}

func (k *blockSums) addQ4_0(src []byte) {
	codes := &codes().q4
	for ; len(src) >= 18; src = src[18:] {
		x := (*[18]byte)(src)
		h := le.Uint16(x[0:])
		if notFinite(h) {
			k.oneByOne(x[:])
			continue
		}
		v, w := le.Uint64(x[2:]), le.Uint64(x[10:])
		t := codes[v&255] + codes[v>>8&255] + codes[v>>16&255] + codes[v>>24&255]
		u := codes[v>>32&255] + codes[v>>40&255] + codes[v>>48&255] + codes[v>>56]
		t += codes[w&255] + codes[w>>8&255] + codes[w>>16&255] + codes[w>>24&255]
		u += codes[w>>32&255] + codes[w>>40&255] + codes[w>>48&255] + codes[w>>56]
		t += u
		m, e := scale16(h)
		k.sums[e] += m * (int64(t&0x3ff) - 32*8)
		k.squares[2*e] += m * m * int64(t>>10&0x3fff)
		if m == 0 {
			k.stats.Zeros += 32
		} else {
			k.stats.Zeros += uint64(t >> 24)
		}
		d := float16to32(h)
		if k.beyond(min(-8*d, 7*d), max(-8*d, 7*d)) {
			decodeQ4_0(k.buf[:32], x[:])
			k.look(k.buf[:32])
		}
	}
}

func (k *blockSums) addQ4_K(src []byte) {
	codes := &codes().k4
	for ; len(src) >= 144; src = src[144:] {
		x := (*[144]byte)(src)
		hd, hm := le.Uint16(x[0:]), le.Uint16(x[2:])
		if notFinite(hd) || notFinite(hm) {
			k.oneByOne(x[:])
			continue
		}
		d, dmin := float16to32(hd), float16to32(hm)
		scales, mins := scales6((*[12]byte)(x[4:]))
		// With s the scales and m the minima: Σs·S1, Σs²·S2, Σs·m·S1, Σm, Σm².
		var s1, s2, cross, m1, m2 int64
		look := false
		for i := 0; i < 8; i += 2 {
			q := (*[32]byte)(x[16+16*i:])
			var t, u uint64
			for j := 0; j < 32; j += 8 {
				w := le.Uint64(q[j:])
				t += codes[w&255] + codes[w>>8&255] + codes[w>>16&255] + codes[w>>24&255]
				u += codes[w>>32&255] + codes[w>>40&255] + codes[w>>48&255] + codes[w>>56]
			}
			t += u
			for high := range 2 {
				s, m := int64(scales[i+high]), int64(mins[i+high])
				q1, q2 := int64(t&0xffff), int64(t>>16&0xffff)
				t >>= 32
				s1 += s * q1
				s2 += s * s * q2
				cross += s * m * q1
				m1 += m
				m2 += m * m
				a, b := d*float32(s), dmin*float32(m)
				if end := float32(a * 15); k.beyond(min(end, 0)-b, max(end, 0)-b) {
					look = true
				}
				if zero, ok := zeroCode(a, b); ok {
					k.stats.Zeros += countNibbles(q, high, zero)
				}
			}
		}
		md, ed := scale16(hd)
		mm, em := scale16(hm)
		k.sums[ed] += md * s1
		k.sums[em] -= mm * m1 * 32
		k.squares[2*ed] += md * md * s2
		k.squares[ed+em] -= 2 * md * mm * cross
		k.squares[2*em] += mm * mm * m2 * 32
		if look {
			decodeQ4_K(k.buf[:256], x[:])
			k.look(k.buf[:256])
		}
	}
}

// everyCode is the answer of zeroCode where all numbers are 0.
const everyCode = 16

// zeroCode returns the 4-bit code q for which a·q - b is 0, if there is one.
// Both are products of an f16 and six bits, so that a·q is exact.
func zeroCode(a, b float32) (q byte, ok bool) {
	if a == 0 {
		return everyCode, b == 0
	}
	t := b / a
	if !(t >= 0 && t <= 15) {
		return 0, false
	}
	q = byte(t)
	return q, a*float32(q) == b
}

// countNibbles counts the low or high nibbles that are q.
func countNibbles(src *[32]byte, high int, q byte) (n uint64) {
	if q == everyCode {
		return 32
	}
	for _, b := range src {
		if b>>(4*high)&15 == q {
			n++
		}
	}
	return n
}

func (k *blockSums) addQ6_K(src []byte) {
	codes := &codes().q6
	const low4, low2 = 0x0f0f0f0f0f0f0f0f, 0x0303030303030303
	for ; len(src) >= 210; src = src[210:] {
		x := (*[210]byte)(src)
		h := le.Uint16(x[208:])
		if notFinite(h) {
			k.oneByOne(x[:])
			continue
		}
		var t [16]uint32
		for n := range 2 {
			for c := range 4 {
				a := le.Uint64(x[64*n+8*c:])
				b := le.Uint64(x[64*n+32+8*c:])
				top := le.Uint64(x[128+32*n+8*c:])
				sub := (*[7]uint32)(t[8*n+c/2:])
				sub[0] += sum6(codes, a&low4|top&low2<<4)
				sub[2] += sum6(codes, b&low4|top>>2&low2<<4)
				sub[4] += sum6(codes, a>>4&low4|top>>4&low2<<4)
				sub[6] += sum6(codes, b>>4&low4|top>>6&low2<<4)
			}
		}
		var s1, s2, zeros, greatest int64
		for i, t := range t {
			s := int64(int8(x[192+i]))
			s1 += s * (int64(t&0x3ff) - 16*32)
			s2 += s * s * int64(t>>10&0xffff)
			if s == 0 {
				zeros += 16
			} else {
				zeros += int64(t >> 26)
			}
			greatest = max(greatest, s, -s)
		}
		m, e := scale16(h)
		k.sums[e] += m * s1
		k.squares[2*e] += m * m * s2
		if m == 0 {
			zeros = 256
		}
		k.stats.Zeros += uint64(zeros)
		if top := float16to32(h&0x7fff) * float32(32*greatest); k.beyond(-top, top) {
			decodeQ6_K(k.buf[:256], x[:])
			k.look(k.buf[:256])
		}
	}
}

func sum6(codes *[256]uint32, w uint64) uint32 {
	return codes[w&255] + codes[w>>8&255] + codes[w>>16&255] + codes[w>>24&255] +
		codes[w>>32&255] + codes[w>>40&255] + codes[w>>48&255] + codes[w>>56]
}

// addDecoded takes in blocks of any type.
func (k *blockSums) addDecoded(src []byte) {
	elems := k.typ.BlockElems
	for len(src) > 0 {
		n := k.typ.Decode(k.buf[:], src)
		src = src[n/elems*k.typ.BlockBytes:]
		for values := k.buf[:n]; len(values) > 0; values = values[elems:] {
			sum, squares, zeros, beyond := sumUp(values[:elems], k.minValue, k.maxValue)
			if squares-squares != 0 {
				k.special(values[:elems])
				continue
			}
			k.exact.addSums(sum, squares)
			k.stats.Zeros += zeros
			if beyond || !k.seen {
				k.look(values[:elems])
			}
		}
	}
}

// sumUp returns the sums of a block's numbers, whose count is a multiple of
// four, in an order of its own, and whether there are any beyond the bounds.
// Squares are not finite where a number is not.
func sumUp(values []float32, lo, hi float32) (sum, squares float64, zeros uint64, beyond bool) {
	var s0, s1, s2, s3, q0, q1, q2, q3 float64
	for ; len(values) >= 4; values = values[4:] {
		v := (*[4]float32)(values)
		v0, v1, v2, v3 := v[0], v[1], v[2], v[3]
		x0, x1, x2, x3 := float64(v0), float64(v1), float64(v2), float64(v3)
		s0 += x0
		s1 += x1
		s2 += x2
		s3 += x3
		q0 += float64(x0 * x0)
		q1 += float64(x1 * x1)
		q2 += float64(x2 * x2)
		q3 += float64(x3 * x3)
		zeros += isZero(v0) + isZero(v1) + isZero(v2) + isZero(v3)
		if v0 < lo || v0 > hi || v1 < lo || v1 > hi || v2 < lo || v2 > hi || v3 < lo || v3 > hi {
			beyond = true
		}
	}
	return s0 + s1 + s2 + s3, q0 + q1 + q2 + q3, zeros, beyond
}

// isZero is 1 for zeros and 0 for other numbers.
func isZero(v float32) uint64 {
	return uint64((math.Float32bits(v)&0x7fffffff - 1) >> 31)
}

// flush moves the sums to the exact ones.
func (k *blockSums) flush() {
	const bias = 25 // of an f16's lowest bit
	for e, v := range k.sums {
		if v != 0 {
			k.exact.addSum(e-bias, v < 0, 0, uint64(max(v, -v)))
		}
	}
	for e, v := range k.squares {
		if v == 0 {
			continue
		}
		// An odd power of two is twice the even one below it.
		exp := e - 2*bias
		if exp&1 != 0 {
			k.exact.addSquares((exp-1)/2, signExtend(v, 1))
		} else {
			k.exact.addSquares(exp/2, signExtend(v, 0))
		}
	}
	clear(k.sums[:])
	clear(k.squares[:])
	k.since = 0
}

// signExtend returns v·2^shift in two's complement.
func signExtend(v int64, shift uint) [3]uint64 {
	sign := uint64(v >> 63)
	return [3]uint64{uint64(v) << shift, uint64(v >> (63 - shift) >> 1), sign}
}

func (k *blockSums) merge(other kernel) {
	o := other.(*blockSums)
	k.flush()
	o.flush()
	k.exact.merge(&o.exact)
	k.stats.Count += o.stats.Count
	k.stats.NaN += o.stats.NaN
	k.stats.PosInf += o.stats.PosInf
	k.stats.NegInf += o.stats.NegInf
	k.stats.Zeros += o.stats.Zeros
	if o.seen {
		k.look([]float32{o.minValue, o.maxValue})
	}
}

func (k *blockSums) reset() { *k = blockSums{typ: k.typ, block: k.block} }

func (k *blockSums) tally(s *Stats) (*moments, distribution) {
	k.flush()
	s.Count, s.NaN, s.PosInf, s.NegInf = k.stats.Count, k.stats.NaN, k.stats.PosInf, k.stats.NegInf
	s.Zeros = k.stats.Zeros
	if k.seen {
		s.Min, s.Max = float64(k.minValue), float64(k.maxValue)
	}
	return &k.exact, distribution{}
}

func (k *blockSums) fingerprint() Fingerprint { return Fingerprint{} }
