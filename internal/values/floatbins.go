package values

import "math"

// floatBins finds the figures of float32 numbers by sorting them into bins by
// their upper 16 bits: sign, exponent and seven bits of significand. Of each
// bin it knows the count, and the sum and sum of squares of the lower halves,
// all integers; together they give the exact sum and sum of squares of the
// numbers. Twice as fast as adding up float64s, and independent of the order.
type floatBins struct {
	typ *Type

	bins  *[1 << 16]floatBin
	since int // numbers in bins

	count              []uint64 // what was flushed from bins, as the next two
	sums               moments
	print              Fingerprint
	zeros              uint64
	posInf, negInf     uint64
	minValue, maxValue float32 // meaningless while seen is false
	seen               bool    // a finite number

	levels []level // memory of tally
}

// floatBin packs the sum of lower halves (40 bits) with the count (24 bits), and
// the sum of their squares. Both hold for flushEvery numbers.
type floatBin struct{ countSum, squares uint64 }

const (
	countOne   = 1 << 40
	flushEvery = 1<<24 - 1
)

// binChunk is how many numbers are binned before the bins that hold more than
// one kind of number are looked at. 64 kB: a second look finds them in the
// cache.
const binChunk = 16 << 10

func (k *floatBins) add(src []byte) {
	for len(src) > 0 {
		part := src[:min(len(src), 4*binChunk)]
		src = src[len(part):]
		before := k.prepare(len(part) / 4)
		x := k.bounds()
		k.bin(part, &x)
		if k.settle(before, x) {
			continue
		}
		for ; len(part) >= 4; part = part[4:] {
			k.look(le.Uint32(part))
		}
	}
}

// extremeBits are the extremes of bit patterns: the greatest as unsigned (the
// least number, if any is negative), the greatest as signed (the greatest
// number, if any is positive) and the least as unsigned (the number nearest
// zero, needed only where all have one sign).
type extremeBits struct {
	unsigned uint32
	signed   int32
	least    uint32
}

var noExtremes = extremeBits{0, math.MinInt32, math.MaxUint32}

func (x *extremeBits) add(u uint32) {
	x.unsigned, x.signed, x.least = max(x.unsigned, u), max(x.signed, int32(u)), min(x.least, u)
}

// binPiece is how many bytes are asked at once whether they hold an extreme.
const binPiece = 512

// beyond says whether any number of a piece may be beyond the extremes: greater
// in magnitude than the lesser of those of both signs. Two numbers of a word
// need one addition, which carries into a sign bit where one is greater.
func (x *extremeBits) beyond(piece *[binPiece]byte) bool {
	const magnitudes = 0x7fffffff_7fffffff
	least := uint32(0)
	if x.unsigned>>31 != 0 && x.signed > 0 {
		least = min(x.unsigned&0x7fffffff, uint32(x.signed))
	}
	carry := uint64(0x7fffffff-least) * 0x1_00000001
	var found uint64
	for i := 0; i < binPiece; i += 32 {
		p := (*[32]byte)(piece[i:])
		found |= le.Uint64(p[0:])&magnitudes + carry
		found |= le.Uint64(p[8:])&magnitudes + carry
		found |= le.Uint64(p[16:])&magnitudes + carry
		found |= le.Uint64(p[24:])&magnitudes + carry
	}
	return found&^magnitudes != 0
}

// bounds returns the extremes so far, for bin to go on from.
func (k *floatBins) bounds() extremeBits {
	x := noExtremes
	if k.seen && k.minValue < 0 && k.maxValue > 0 {
		x.unsigned, x.signed = math.Float32bits(k.minValue), int32(math.Float32bits(k.maxValue))
	}
	return x
}

// bin counts numbers, and looks for extremes in the few pieces that may have any.
// In one loop, both would want more registers than there are.
func (k *floatBins) bin(src []byte, x *extremeBits) {
	for len(src) > 0 {
		piece := src[:min(len(src), binPiece)]
		src = src[len(piece):]
		if len(piece) < binPiece || x.beyond((*[binPiece]byte)(piece)) {
			for p := piece; len(p) >= 4; p = p[4:] {
				x.add(le.Uint32(p))
			}
		}
		binNumbers(k.bins, piece)
	}
}

func binNumbers(bins *[1 << 16]floatBin, src []byte) {
	for ; len(src) >= 16; src = src[16:] {
		p := (*[16]byte)(src)
		l0, l1, l2, l3 := uint64(le.Uint16(p[0:])), uint64(le.Uint16(p[4:])), uint64(le.Uint16(p[8:])), uint64(le.Uint16(p[12:]))
		b0, b1, b2, b3 := &bins[le.Uint16(p[2:])], &bins[le.Uint16(p[6:])], &bins[le.Uint16(p[10:])], &bins[le.Uint16(p[14:])]
		b0.countSum += l0 + countOne
		b0.squares += l0 * l0
		b1.countSum += l1 + countOne
		b1.squares += l1 * l1
		b2.countSum += l2 + countOne
		b2.squares += l2 * l2
		b3.countSum += l3 + countOne
		b3.squares += l3 * l3
	}
	for ; len(src) >= 4; src = src[4:] {
		lo := uint64(le.Uint16(src))
		b := &bins[le.Uint16(src[2:])]
		b.countSum += lo + countOne
		b.squares += lo * lo
	}
}

// mixed are the bins that hold zeros beside subnormal numbers, and infinities
// beside NaN.
var mixed = [4]int{0x0000, 0x8000, 0x7f80, 0xff80}

// prepare makes room for n more numbers and returns what is in the mixed bins.
func (k *floatBins) prepare(n int) (before [4]uint64) {
	if k.bins == nil {
		k.bins = new([1 << 16]floatBin)
	}
	if k.since+n > flushEvery {
		k.flush()
	}
	k.since += n
	for i, b := range mixed {
		before[i] = k.bins[b].countSum
	}
	return before
}

// settle takes in the zeros and extremes of a chunk. It reports false when the
// chunk has to be looked at number by number: where zeros and the least
// subnormal numbers are mixed, or something is not finite.
func (k *floatBins) settle(before [4]uint64, x extremeBits) bool {
	const inf = 0x7f800000
	var zeros uint64
	for i, b := range mixed {
		more := k.bins[b].countSum - before[i]
		if more == 0 {
			continue
		}
		if i >= 2 || more%countOne != 0 {
			return false
		}
		zeros += more / countOne
	}
	least, greatest := x.unsigned, uint32(x.signed)
	if x.unsigned < 1<<31 {
		least = x.least
	}
	if x.signed < 0 {
		greatest = x.least
	}
	if x == noExtremes {
		least, greatest = 0, 0 // no number is greater than zero
	}
	if least&^(1<<31) > inf || greatest&^(1<<31) > inf {
		return false
	}
	k.extremes(math.Float32frombits(least), math.Float32frombits(greatest))
	if zeros > 0 {
		k.zeros += zeros
		k.extremes(0, 0)
	}
	return true
}

func (k *floatBins) extremes(least, greatest float32) {
	if !k.seen {
		k.minValue, k.maxValue, k.seen = least, greatest, true
	}
	k.minValue, k.maxValue = min(k.minValue, least), max(k.maxValue, greatest)
}

// look takes in one number of a chunk that settle could not judge.
func (k *floatBins) look(u uint32) {
	switch v := math.Float32frombits(u); {
	case u == 0x7f800000:
		k.posInf++
	case u == 0xff800000:
		k.negInf++
	case v != v:
	default:
		if v == 0 {
			k.zeros++
		}
		k.extremes(v, v)
	}
}

// flush moves what is in the bins to the exact sums.
func (k *floatBins) flush() {
	if k.since == 0 {
		return
	}
	if k.count == nil {
		k.count = make([]uint64, 1<<16)
	}
	seed := seedOf(k.typ)
	for i := range k.bins {
		b := k.bins[i]
		if b == (floatBin{}) {
			continue
		}
		k.bins[i] = floatBin{}
		n, lo := b.countSum/countOne, b.countSum%countOne
		k.count[i] += n
		k.print = k.print.Add(binHash(seed, i, n, lo, b.squares))
		k.addBin(i, n, lo, b.squares)
	}
	k.since = 0
}

// addBin adds a bin's numbers to the sums: each is ±(top+low)·2^exp with the same
// top, so that their sum is n·top + Σlow, their squares' n·top² + 2·top·Σlow +
// Σlow². Counts below 2^24 keep every term but the last sum within 64 bits.
func (k *floatBins) addBin(bin int, n, lo, squares uint64) {
	e := bin >> 7 & 0xff
	top := uint64(bin&0x7f) << 16
	switch e {
	case 0xff:
		return
	case 0:
		e = 1
	default:
		top |= 1 << 23
	}
	exp := e - 150
	k.sums.addSum(exp, bin>>15 != 0, 0, n*top+lo)
	k.sums.addSquares(exp, sum3(product(n*top, top), product(2*top, lo), [3]uint64{squares}))
}

func (k *floatBins) merge(other kernel) {
	o := other.(*floatBins)
	k.flush()
	o.flush()
	if o.count != nil {
		if k.count == nil {
			k.count = make([]uint64, 1<<16)
		}
		for i, n := range o.count {
			k.count[i] += n
		}
	}
	k.sums.merge(&o.sums)
	k.print = k.print.Add(o.print)
	k.zeros += o.zeros
	k.posInf += o.posInf
	k.negInf += o.negInf
	if o.seen {
		k.extremes(o.minValue, o.maxValue)
	}
}

func (k *floatBins) reset() {
	bins, count, levels := k.bins, k.count, k.levels
	if k.since > 0 {
		clear(bins[:])
	}
	clear(count)
	*k = floatBins{typ: k.typ, bins: bins, count: count, levels: levels}
}

func (k *floatBins) tally(s *Stats) (*moments, distribution) {
	k.flush()
	k.levels = k.levels[:0]
	for i := range k.count {
		// Ascending: the negative bins backwards, then the others.
		bin := i - 1<<15
		if bin < 0 {
			bin = 1<<16 - 1 - i
		}
		n := k.count[bin]
		if n == 0 {
			continue
		}
		s.Count += n
		e := bin >> 7 & 0xff
		if e == 0xff {
			s.NaN += n
			continue
		}
		if e == 0 && k.typ.kind == kindFloat {
			s.Denormals += n
		}
		v := 0.0
		if bin&0x7fff != 0 {
			v = float64(math.Float32frombits(uint32(bin)<<16 | 1<<15))
		}
		k.levels = append(k.levels, level{v, n})
	}
	s.PosInf, s.NegInf, s.Zeros, s.Fingerprint = k.posInf, k.negInf, k.zeros, k.print
	s.NaN -= k.posInf + k.negInf
	if k.typ.kind == kindFloat {
		s.Denormals -= k.zeros
	}
	if k.seen {
		s.Min, s.Max = float64(k.minValue), float64(k.maxValue)
	}
	return &k.sums, distribution{known: true, error: 0x1p-8, levels: k.levels}
}

// decoded finds the figures of a block type by decoding it.
type decoded struct {
	typ   *Type
	bins  floatBins
	buf   [binChunk]float32
	bytes [4 * binChunk]byte
}

func (k *decoded) add(src []byte) {
	for len(src) > 0 {
		n := k.typ.Decode(k.buf[:], src)
		for i, v := range k.buf[:n] {
			le.PutUint32(k.bytes[4*i:], math.Float32bits(v))
		}
		k.bins.add(k.bytes[:4*n])
		src = src[n/k.typ.numbers()*k.typ.BlockBytes:]
	}
}

func (k *decoded) merge(other kernel)                      { k.bins.merge(&other.(*decoded).bins) }
func (k *decoded) tally(s *Stats) (*moments, distribution) { return k.bins.tally(s) }
func (k *decoded) reset()                                  { k.bins.reset() }
