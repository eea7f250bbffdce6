package values

import (
	"bytes"
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// codebook says what the codes of a type of at most 16 bits stand for.
type codebook struct {
	value []float32
	order []uint16 // codes of finite numbers, ascending by number
	other []uint16 // codes of infinities and NaN
	rank  []uint16 // of each code among those of order, and then of other
}

func newCodebook(t *Type) *codebook {
	b := new(codebook)
	if t.BlockElems == 1 {
		n := 1 << (8 * t.BlockBytes)
		src := make([]byte, 0, n*t.BlockBytes)
		for code := range n {
			src = append(src, byte(code), byte(code>>8))[:(code+1)*t.BlockBytes]
		}
		b.value = make([]float32, n)
		t.decode(b.value, src)
	} else {
		for code := range uint32(1) << (8 * t.BlockBytes / t.BlockElems) {
			b.value = append(b.value, t.float.value(code))
		}
	}
	for code, v := range b.value {
		if v-v == 0 {
			b.order = append(b.order, uint16(code))
		} else {
			b.other = append(b.other, uint16(code))
		}
	}
	slices.SortStableFunc(b.order, func(x, y uint16) int { return cmp.Compare(b.value[x], b.value[y]) })
	b.rank = make([]uint16, len(b.value))
	for i, code := range slices.Concat(b.order, b.other) {
		b.rank[code] = uint16(i)
	}
	return b
}

// eachCode calls f with every code of whole blocks.
func eachCode(t *Type, src []byte, f func(uint16)) {
	switch {
	case t.BlockElems == 1 && t.BlockBytes == 1:
		for _, b := range src {
			f(uint16(b))
		}
	case t.BlockElems == 1:
		for ; len(src) >= 2; src = src[2:] {
			f(le.Uint16(src))
		}
	default:
		width := 8 * t.BlockBytes / t.BlockElems
		for ; len(src) >= t.BlockBytes; src = src[t.BlockBytes:] {
			var w uint32
			for i, b := range src[:t.BlockBytes] {
				w |= uint32(b) << (8 * i)
			}
			for range t.BlockElems {
				f(uint16(w & (1<<width - 1)))
				w >>= width
			}
		}
	}
}

// counter counts how often each code occurs, from which every figure follows
// exactly. Codes of 16, 8 and 4 bits are counted 16 bits at a time: one, two or
// four to an increment. The counters, 256 kB, stay in a core's cache.
type counter struct {
	typ    *Type
	book   *codebook
	bits   int // of a code
	narrow []uint32
	since  uint64   // increments of narrow; must stay below 2^32
	total  []uint64 // codes counted before

	few   []byte   // blocks that are not counted yet: with mostFew bytes all codes are looked at
	used  bool     // narrow or total may have what is not 0
	ranks []uint64 // memory of tallyFew: the ranks that occur, a bit each

	levels []level // memory of tally, as sums
	sums   moments
}

func newCounter(t *Type) *counter {
	c := &counter{typ: t, book: t.book(), bits: 8 * t.BlockBytes / t.BlockElems}
	c.total = make([]uint64, 1<<c.bits)
	if c.inWords() {
		c.narrow = make([]uint32, 1<<16)
	} else {
		c.narrow = make([]uint32, 1<<c.bits)
	}
	return c
}

// mostFew is up to how many bytes the codes that occur are gathered, and not looked for among all.
const mostFew = 16 << 10

// inWords says whether 16 bits hold whole codes.
func (c *counter) inWords() bool { return 16%c.bits == 0 }

func (c *counter) add(src []byte) {
	if !c.used && len(c.few)+len(src) <= mostFew {
		c.few = append(c.few, src...)
		return
	}
	c.count(c.few)
	c.few = c.few[:0]
	c.count(src)
}

// count counts whole blocks.
func (c *counter) count(src []byte) {
	c.used = c.used || len(src) > 0
	const most = 3 << 28 // bytes; whole blocks of every type
	for len(src) > 0 {
		part := src[:min(len(src), most)]
		src = src[len(part):]
		increments := 2 * uint64(len(part)) // or fewer
		if c.since+increments > math.MaxUint32 {
			c.flush()
		}
		c.since += increments
		if !c.inWords() {
			eachCode(c.typ, part, func(code uint16) { c.narrow[code]++ })
			continue
		}
		count16((*[1 << 16]uint32)(c.narrow), part)
		if odd := part[len(part)&^1:]; len(odd) > 0 {
			eachCode(c.typ, odd, func(code uint16) { c.total[code]++ })
		}
	}
}

// count16 counts little-endian 16-bit words, and leaves an odd byte at the end.
// Pieces of equal numbers, such as zeros, are counted at once: comparing is fast,
// while increments of one counter wait for each other.
func count16(n *[1 << 16]uint32, src []byte) {
	const piece = 2 << 10
	for ; len(src) >= piece; src = src[piece:] {
		p := src[:piece]
		if bytes.Equal(p[8:], p[:piece-8]) {
			countWord(n, le.Uint64(p), piece/8)
		} else {
			countCodes(n, p)
		}
	}
	countCodes(n, src)
}

// countCodes counts 16-bit codes one by one, about one a clock cycle, which is
// what a core stores. All of eight are loaded before the first is counted: a
// load behind a store may have to wait until it is known not to be of the same
// place.
func countCodes(n *[1 << 16]uint32, src []byte) {
	for ; len(src) >= 16; src = src[16:] {
		p := (*[16]byte)(src)
		c0, c1, c2, c3 := le.Uint16(p[0:]), le.Uint16(p[2:]), le.Uint16(p[4:]), le.Uint16(p[6:])
		c4, c5, c6, c7 := le.Uint16(p[8:]), le.Uint16(p[10:]), le.Uint16(p[12:]), le.Uint16(p[14:])
		n[c0]++
		n[c1]++
		n[c2]++
		n[c3]++
		n[c4]++
		n[c5]++
		n[c6]++
		n[c7]++
	}
	for ; len(src) >= 2; src = src[2:] {
		n[le.Uint16(src)]++
	}
}

func countWord(n *[1 << 16]uint32, w uint64, times uint32) {
	n[uint16(w)] += times
	n[uint16(w>>16)] += times
	n[uint16(w>>32)] += times
	n[uint16(w>>48)] += times
}

// flush moves the narrow counters into the totals.
func (c *counter) flush() {
	width := c.bits
	if c.inWords() {
		width = 16
	}
	for i, n := range c.narrow {
		if n == 0 {
			continue
		}
		for shift := 0; shift < width; shift += c.bits {
			c.total[i>>shift&(len(c.total)-1)] += uint64(n)
		}
		c.narrow[i] = 0
	}
	c.since = 0
}

func (c *counter) merge(other kernel) {
	o := other.(*counter)
	if !o.used {
		c.add(o.few)
		return
	}
	o.flush()
	c.count(c.few)
	c.few, c.used = c.few[:0], true
	for i, n := range o.total {
		c.total[i] += n
	}
}

func (c *counter) reset() {
	if c.used {
		clear(c.narrow)
		clear(c.total)
	}
	c.since, c.few, c.used = 0, c.few[:0], false
}

// counts yields the codes that occur and how often: those of finite numbers ascending, and then the others.
func (c *counter) counts(yield func(code uint16, n uint64) bool) {
	if c.used {
		c.flush()
		for _, codes := range [][]uint16{c.book.order, c.book.other} {
			for _, code := range codes {
				if n := c.total[code]; n > 0 && !yield(code, n) {
					return
				}
			}
		}
		return
	}
	if c.ranks == nil {
		c.ranks = make([]uint64, (len(c.book.rank)+63)/64)
	}
	// Each bit is taken out where it is found, so that nothing has to be cleared.
	eachCode(c.typ, c.few, func(code uint16) {
		c.total[code]++
		rank := c.book.rank[code]
		c.ranks[rank/64] |= 1 << (rank % 64)
	})
	ended := false
	for i, w := range c.ranks {
		for ; w != 0; w &= w - 1 {
			rank := 64*i + bits.TrailingZeros64(w)
			var code uint16
			if rank < len(c.book.order) {
				code = c.book.order[rank]
			} else {
				code = c.book.other[rank-len(c.book.order)]
			}
			n := c.total[code]
			c.total[code] = 0
			ended = ended || !yield(code, n)
		}
		c.ranks[i] = 0
	}
}

func (c *counter) tally(s *Stats) (*moments, distribution) {
	c.levels, c.sums = c.levels[:0], moments{}
	smallest := c.typ.float.smallestNormal()
	seed := seedOf(c.typ)
	for code, n := range c.counts {
		v := float64(c.book.value[code])
		s.Fingerprint = s.Fingerprint.plus(codeHash(seed, uint64(code)), n)
		s.Count += n
		switch {
		case math.IsInf(v, 1):
			s.PosInf += n
			continue
		case math.IsInf(v, -1):
			s.NegInf += n
			continue
		case v != v:
			s.NaN += n
			continue
		case v == 0:
			s.Zeros += n
		case c.typ.kind == kindFloat && math.Abs(v) < smallest:
			s.Denormals += n
		}
		c.levels = append(c.levels, level{v, n})
		c.sums.addFloat(v, n)
	}
	if n := len(c.levels); n > 0 {
		s.Min, s.Max = c.levels[0].v, c.levels[n-1].v
	}
	return &c.sums, distribution{known: true, levels: c.levels}
}
