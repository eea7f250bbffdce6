package values

import (
	"math"
	"math/bits"
	"sync"
)

// direct says whether the figures of a type are found block by block, without
// its distribution.
func direct(t *Type, opt StatsOptions) bool {
	return t.kind == kindBlock && !opt.BlockQuantiles
}

// blockSums finds the figures of block types. Those with a layout are added up
// from their codes, as integers. The others are decoded, and added up in float64
// within a block, which gives the same for the same block.
//
// Extremes are looked for only in blocks whose scales allow one.
type blockSums struct {
	typ    *Type
	layout *layout
	block  func(*blockSums, []byte)

	sums    [32]int64 // by the exponent field of the scale
	squares [64]int64 // by the sum of two exponent fields
	since   int       // blocks since the last flush

	exact              moments
	stats              Stats // the counts; the rest is left alone
	minValue, maxValue float32
	seen               bool // a finite number
	buf                [1024]float32
	codes              [256]byte
	scales             scales
}

// sumsEvery is how many blocks the sums hold: of Q6_K and IQ4_XS, which have the
// greatest, each adds up to 2^54 to a square.
const sumsEvery = 256

func newBlockSums(t *Type) *blockSums {
	k := &blockSums{typ: t, layout: layouts()[t.Name], block: (*blockSums).addDecoded}
	switch {
	case t.Name == "Q8_0":
		k.block = (*blockSums).addQ8_0
	case t.Name == "Q4_0":
		k.block = (*blockSums).addQ4_0
	case t.Name == "Q4_K":
		k.block = (*blockSums).addQ4_K
	case t.Name == "MXFP4":
		k.block = (*blockSums).addMXFP4
	case k.layout != nil:
		k.block = (*blockSums).addCodes
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

// lookAt finds the extremes of a block.
func (k *blockSums) lookAt(block []byte) {
	n := k.typ.Decode(k.buf[:], block)
	k.look(k.buf[:n])
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

// addCodes takes in blocks by their layout.
func (k *blockSums) addCodes(src []byte) {
	l, size, n := k.layout, k.typ.BlockBytes, k.typ.BlockElems
	for ; len(src) >= size; src = src[size:] {
		block := src[:size]
		hd, hm := l.scales(&k.scales, block)
		if notFinite(hd) || notFinite(hm) {
			k.oneByOne(block)
			continue
		}
		l.unpack(&k.codes, block)
		beyond := false
		if l.minima {
			beyond = k.addMinima(hd, hm, k.codes[:n])
		} else {
			beyond = k.addScaled(hd, k.codes[:n])
		}
		if beyond {
			k.lookAt(block)
		}
	}
}

// addScaled takes in a block without minima, and reports whether it may hold an
// extreme.
func (k *blockSums) addScaled(hd uint16, codes []byte) bool {
	l := k.layout
	var sum, squares int64
	least, greatest := int64(math.MaxInt64), int64(math.MinInt64)
	m, e := scale16(hd)
	for i := 0; len(codes) > 0; i++ {
		s1, s2, zeros := l.sum(codes[:l.sub])
		s := int64(k.scales.s[i&15])
		sum += s * s1
		squares += s * s * s2
		if m == 0 || s == 0 {
			zeros = uint64(l.sub)
		}
		k.stats.Zeros += zeros
		least, greatest = min(least, s), max(greatest, s)
		codes = codes[l.sub:]
	}
	k.sums[e] += m * sum
	k.squares[2*e] += m * m * squares
	d := float16to32(hd)
	x, y := d*float32(least), d*float32(greatest)
	if m < 0 {
		x, y = y, x
	}
	return k.beyond(min(x*l.greatest, y*l.least), max(x*l.least, y*l.greatest))
}

// addMinima is addScaled for blocks with minima.
func (k *blockSums) addMinima(hd, hm uint16, codes []byte) (beyond bool) {
	l := k.layout
	d, dmin := float16to32(hd), float16to32(hm)
	least, greatest := k.minValue, k.maxValue
	beyond = !k.seen
	var sum, squares, cross, m1, m2 int64
	for i := 0; len(codes) > 0; i++ {
		sub := codes[:l.sub]
		s1, s2, _ := l.sum(sub)
		s, m := int64(k.scales.s[i&15]), int64(k.scales.m[i&15])
		sum += s * s1
		squares += s * s * s2
		cross += s * m * s1
		m1 += m
		m2 += m * m
		a, b := d*float32(s), dmin*float32(m)
		if end := float32(a*l.greatest) - b; end > greatest || end < least || -b > greatest || -b < least {
			beyond = true
		}
		if zero, ok := zeroCode(a, b, l.codes); ok {
			k.stats.Zeros += countCode(sub, zero)
		}
		codes = codes[l.sub:]
	}
	k.combine(hd, hm, int64(l.sub), sum, squares, cross, m1, m2)
	return beyond
}

// combine adds a block's sums over sub-blocks of n codes: with s and m their
// integers, Σs·S1, Σs²·S2, Σs·m·S1, Σm and Σm².
func (k *blockSums) combine(hd, hm uint16, n, s1, s2, cross, m1, m2 int64) {
	md, ed := scale16(hd)
	mm, em := scale16(hm)
	k.sums[ed] += md * s1
	k.sums[em] -= mm * m1 * n
	k.squares[2*ed] += md * md * s2
	k.squares[ed+em] -= 2 * md * mm * cross
	k.squares[2*em] += mm * mm * m2 * n
}

// zeroCode returns the code q, of that many, for which a·q - b is 0, if there is
// one. Both are products of an f16 and at most six bits, so that a·q is exact.
func zeroCode(a, b float32, codes int) (q byte, ok bool) {
	if a == 0 {
		return everyCode, b == 0
	}
	t := b / a
	if !(t >= 0 && t < float32(codes)) {
		return 0, false
	}
	q = byte(t)
	return q, a*float32(q) == b
}

// everyCode is the answer of zeroCode where all numbers are 0.
const everyCode = 255

// countCode counts the codes, a multiple of eight, that are q.
func countCode(codes []byte, q byte) (n uint64) {
	if q == everyCode {
		return uint64(len(codes))
	}
	for ; len(codes) >= 8; codes = codes[8:] {
		differ := le.Uint64(codes) ^ uint64(q)*eachByte
		n += 8 - uint64(bits.OnesCount64((differ+0x7f*eachByte)&(0x80*eachByte)))
	}
	return n
}

// pairSums are the sums of both nibbles of a byte, packed so that those of a
// sub-block stay apart.
type pairSums struct {
	q4 [256]uint32 // q = nibble-8: q+8 | q²<<10 | (q is 0)<<24
	k4 [256]uint64 // low | low²<<16 | high<<32 | high²<<48
}

var pairsOf4 = sync.OnceValue(func() *pairSums {
	t := new(pairSums)
	for b := range uint64(256) {
		lo, hi := b&15, b>>4
		t.k4[b] = lo | lo*lo<<16 | hi<<32 | hi*hi<<48
		for _, q := range []int{int(lo) - 8, int(hi) - 8} {
			t.q4[b] += uint32(q+8) | uint32(q*q)<<10
			if q == 0 {
				t.q4[b] += 1 << 24
			}
		}
	}
	return t
})

// addQ8_0 is addScaled where codes need no unpacking and blocks are one.
func (k *blockSums) addQ8_0(src []byte) {
	for ; len(src) >= 34; src = src[34:] {
		x := (*[34]byte)(src)
		h := le.Uint16(x[0:])
		if notFinite(h) {
			k.oneByOne(x[:])
			continue
		}
		s1, s2, zeros := k.layout.sum(x[2:])
		m, e := scale16(h)
		k.sums[e] += m * s1
		k.squares[2*e] += m * m * s2
		if m == 0 {
			zeros = 32
		}
		k.stats.Zeros += zeros
		d := float16to32(h)
		if k.beyond(min(-128*d, 127*d), max(-128*d, 127*d)) {
			k.lookAt(x[:])
		}
	}
}

// addQ4_0 is addQ8_0 by pairs of codes.
func (k *blockSums) addQ4_0(src []byte) {
	codes := &pairsOf4().q4
	for ; len(src) >= 18; src = src[18:] {
		x := (*[18]byte)(src)
		h := le.Uint16(x[0:])
		if notFinite(h) {
			k.oneByOne(x[:])
			continue
		}
		var t, u uint32
		for i := 2; i < 18; i += 8 {
			q := (*[8]byte)(x[i:])
			t += codes[q[0]] + codes[q[1]] + codes[q[2]] + codes[q[3]]
			u += codes[q[4]] + codes[q[5]] + codes[q[6]] + codes[q[7]]
		}
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
			k.lookAt(x[:])
		}
	}
}

// addQ4_K is addMinima by pairs of codes.
func (k *blockSums) addQ4_K(src []byte) {
	codes := &pairsOf4().k4
	for ; len(src) >= 144; src = src[144:] {
		x := (*[144]byte)(src)
		hd, hm := le.Uint16(x[0:]), le.Uint16(x[2:])
		if notFinite(hd) || notFinite(hm) {
			k.oneByOne(x[:])
			continue
		}
		var sums [8]uint64 // S1 | S2<<16
		for i := range 4 {
			q := (*[32]byte)(x[16+32*i:])
			var t, u uint64
			for j := 0; j < 32; j += 8 {
				q := (*[8]byte)(q[j:])
				t += codes[q[0]] + codes[q[1]] + codes[q[2]] + codes[q[3]]
				u += codes[q[4]] + codes[q[5]] + codes[q[6]] + codes[q[7]]
			}
			t += u
			sums[2*i], sums[2*i+1] = t&0xffffffff, t>>32
		}
		d, dmin := float16to32(hd), float16to32(hm)
		scales, mins := scales6((*[12]byte)(x[4:]))
		least, greatest := k.minValue, k.maxValue
		beyond := !k.seen
		var s1, s2, cross, m1, m2 uint64
		for i := range 8 {
			s, m := uint64(scales[i]), uint64(mins[i])
			t := s * sums[i] // s·S1 stays below 2^16
			s1 += t & 0xffff
			s2 += s * (t >> 16)
			cross += m * (t & 0xffff)
			m1 += m
			m2 += m * m
			a, b := d*float32(s), dmin*float32(m)
			if end := float32(a*15) - b; end > greatest || end < least || -b > greatest || -b < least {
				beyond = true
			}
			if zero, ok := zeroCode(a, b, 16); ok {
				unpackQ4_K(&k.codes, x[:])
				k.stats.Zeros += countCode(k.codes[32*i:32*i+32], zero)
			}
		}
		k.combine(hd, hm, 32, int64(s1), int64(s2), int64(cross), int64(m1), int64(m2))
		if beyond {
			k.lookAt(x[:])
		}
	}
}

// addMXFP4 takes in blocks whose scale is a power of two.
func (k *blockSums) addMXFP4(src []byte) {
	const largest = 252 // of the scales by which every product is finite
	for ; len(src) >= 17; src = src[17:] {
		x := (*[17]byte)(src)
		if x[0] > largest {
			k.oneByOne(x[:])
			continue
		}
		k.layout.unpack(&k.codes, x[:])
		s1, s2, zeros := k.layout.sum(k.codes[:32])
		exp := int(x[0]) - 128
		k.exact.addSum(exp, s1 < 0, 0, uint64(max(s1, -s1)))
		k.exact.addSquares(exp, [3]uint64{uint64(s2)})
		k.stats.Zeros += zeros
		if top := 12 * scaleE8M0(x[0]); k.beyond(-top, top) {
			k.lookAt(x[:])
		}
	}
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

func (k *blockSums) reset() { *k = blockSums{typ: k.typ, layout: k.layout, block: k.block} }

func (k *blockSums) tally(s *Stats) (*moments, distribution) {
	k.flush()
	s.Count, s.NaN, s.PosInf, s.NegInf = k.stats.Count, k.stats.NaN, k.stats.PosInf, k.stats.NegInf
	s.Zeros = k.stats.Zeros
	if k.seen {
		s.Min, s.Max = float64(k.minValue), float64(k.maxValue)
	}
	return &k.exact, distribution{}
}
