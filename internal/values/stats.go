package values

import (
	"math"
)

var percents = [...]uint64{1, 5, 25, 50, 75, 95, 99}

// Percents returns the percentages that [Stats.Quantiles] answers: 1, 5, 25,
// 50, 75, 95 and 99.
func Percents() []int {
	out := make([]int, len(percents))
	for i, p := range percents {
		out[i] = int(p)
	}
	return out
}

// Stats are the figures of a tensor, or of the part of it that was read.
//
// Min to Quantiles speak of the finite numbers only; with none, they are NaN,
// AbsMax and L2 zero. A complex number counts as two numbers. Means, deviations
// and norms come from exact integer sums and are right to the last bits of a
// float64, whatever the order of the numbers. There are two exceptions: block
// types that are decoded to be added up (TQ, NVFP4, Q8_K, IQ1 to IQ3 and such)
// may lack the last eight bits; and the sums of types with minima (Q4_1, Q5_1,
// Q2_K, Q4_K, Q5_K) are of the exact d·scale·q - dmin·min, which differ from the
// float32 that ggml rounds them to by at most 2^-24 of either term.
type Stats struct {
	Count  uint64 // all numbers
	NaN    uint64
	PosInf uint64
	NegInf uint64
	Zeros  uint64 // 0 and -0
	// Denormals counts the numbers that are subnormal in the tensor's own type;
	// it is 0 for integers and block types.
	Denormals uint64

	Min, Max float64
	Mean     float64
	Std      float64 // of the population: divided by the count, not one less
	AbsMax   float64
	L2       float64

	// Distinct counts different finite numbers (0 and -0 are one); it is -1
	// where it was not found out.
	Distinct int64

	// Quantiles are those of [Percents], by the nearest-rank rule (NumPy's
	// inverted_cdf): the least number that at least p % of the finite numbers do
	// not exceed. NaN where they were not asked for.
	Quantiles [len(percents)]float64
	// QuantileError is how far a quantile may be from the true one, relative to
	// it, or to the smallest normal number of its type if that is greater; 0 says
	// that they are exact.
	QuantileError float64

	// Histogram counts the finite numbers in equal intervals from Min to Max,
	// the last one closed; nil when it was not asked for or cannot be known.
	// Numbers are placed as exactly as quantiles are.
	Histogram []uint64

	// Fingerprint is of the multiset of bit patterns; zero where it was not
	// found out.
	Fingerprint Fingerprint
}

// Finite returns how many numbers are neither infinite nor NaN.
func (s *Stats) Finite() uint64 { return s.Count - s.NaN - s.PosInf - s.NegInf }

// StatsOptions say what an [Accumulator] finds out beyond the figures that cost
// nothing. The zero value is ready.
type StatsOptions struct {
	// BlockQuantiles also finds quantiles, histogram and fingerprint of
	// block-quantised tensors, which costs several times as much as their other
	// figures.
	BlockQuantiles bool
	// Bins is the length of [Stats.Histogram]; 0 leaves it out.
	Bins int
}

// An Accumulator condenses blocks of one type into [Stats]. It is not safe for
// concurrent use: every worker has its own, and merges them at the end. The
// figures depend on the multiset of blocks alone, not on their order or split.
type Accumulator struct {
	typ    *Type
	opt    StatsOptions
	small  []byte // the blocks, while they are few
	kernel kernel // nil until there are more
	spare  kernel // to be used again after a Reset
}

// smallBytes is how much an accumulator keeps as it came: counters would take
// longer to clear and to read than so few blocks take to sort, and of those
// every figure is exact.
const smallBytes = 4096

// kernel is how the figures of a family of types are found.
type kernel interface {
	add(blocks []byte)
	merge(kernel)
	reset()
	// tally fills in the counts, Min, Max and Fingerprint, and returns the sums and
	// the distribution, which are good until the next call of a method.
	tally(*Stats) (*moments, distribution)
}

// distribution is how often each finite number occurs.
type distribution struct {
	known  bool
	error  float64 // of the numbers, relative; 0: exact
	levels []level // ascending, none empty
}

type level struct {
	v float64
	n uint64
}

// newKernel returns the kernel of a type.
func newKernel(t *Type, opt StatsOptions) kernel {
	switch {
	case countable(t):
		return newCounter(t)
	case t.Name == "F32" || t.Name == "C64":
		return &floatBins{typ: t}
	case direct(t, opt):
		return newBlockSums(t)
	case t.kind == kindBlock:
		return &decoded{typ: t, bins: floatBins{typ: t}}
	}
	return &wide{typ: t}
}

// countable says whether every code of a type has its counter.
func countable(t *Type) bool {
	return t.kind != kindBlock && t.BlockBytes*8/t.BlockElems <= 16
}

// NewAccumulator returns an empty accumulator. Nil options are the defaults.
func NewAccumulator(t *Type, opt *StatsOptions) *Accumulator {
	a := &Accumulator{typ: t}
	if opt != nil {
		a.opt = *opt
	}
	return a
}

// Add takes in the whole blocks of its argument, which it does not keep.
func (a *Accumulator) Add(blocks []byte) {
	blocks = blocks[:len(blocks)/a.typ.BlockBytes*a.typ.BlockBytes]
	if a.kernel == nil {
		if len(a.small)+len(blocks) <= smallBytes {
			a.small = append(a.small, blocks...)
			return
		}
		a.grow()
	}
	a.kernel.add(blocks)
}

// grow goes over to counters.
func (a *Accumulator) grow() {
	a.kernel, a.spare = a.spare, nil
	if a.kernel == nil {
		a.kernel = newKernel(a.typ, a.opt)
	}
	a.kernel.add(a.small)
	a.small = a.small[:0]
}

// Merge adds what other has seen. Both must have been made for the same type
// with the same options; other is left as it was.
func (a *Accumulator) Merge(other *Accumulator) {
	if a.typ != other.typ || a.opt != other.opt {
		panic("values: merge of accumulators of different types or options")
	}
	if other.kernel == nil {
		a.Add(other.small)
		return
	}
	if a.kernel == nil {
		a.grow()
	}
	a.kernel.merge(other.kernel)
}

// Reset forgets everything but type and options, and keeps the memory.
func (a *Accumulator) Reset() {
	a.small = a.small[:0]
	if a.kernel != nil {
		a.kernel.reset()
		a.spare, a.kernel = a.kernel, nil
	}
}

// Stats returns the figures of everything added so far.
func (a *Accumulator) Stats() Stats {
	s := Stats{Min: math.NaN(), Max: math.NaN(), Distinct: -1}
	for i := range s.Quantiles {
		s.Quantiles[i] = math.NaN()
	}
	tally := (&small{typ: a.typ, opt: a.opt, raw: a.small}).tally
	if a.kernel != nil {
		tally = a.kernel.tally
	}
	sums, d := tally(&s)
	n := s.Finite()
	s.Mean, s.Std, s.L2 = sums.figures(n)
	s.Min, s.Max = s.Min+0, s.Max+0 // 0 for -0
	if n > 0 {
		s.AbsMax = max(math.Abs(s.Min), math.Abs(s.Max))
	}
	if d.known {
		s.QuantileError = d.error
		s.quantiles(d)
		if a.typ.wideInt() && s.AbsMax >= 1<<53 {
			s.Distinct = -1 // several may have the same float64
		}
		if a.opt.Bins > 0 {
			s.histogram(d, a.opt.Bins)
		}
	}
	return s
}

// quantiles fills in Quantiles and Distinct.
func (s *Stats) quantiles(d distribution) {
	n := s.Finite()
	var seen uint64
	next, distinct := 0, int64(0)
	last := math.NaN()
	for _, l := range d.levels {
		if l.v != last {
			distinct++
			last = l.v
		}
		seen += l.n
		for next < len(percents) && seen >= rank(n, percents[next]) {
			s.Quantiles[next] = min(max(l.v, s.Min), s.Max) + 0
			next++
		}
	}
	if d.error == 0 {
		s.Distinct = distinct
	}
}

// rank is the 1-based rank of a percentile among n > 0 numbers: ⌈n·p/100⌉.
func rank(n, p uint64) uint64 {
	return n/100*p + (n%100*p+99)/100
}

func (s *Stats) histogram(d distribution, bins int) {
	s.Histogram = make([]uint64, bins)
	// Halved, so that the width of the whole range of float64 is finite.
	width := s.Max/2 - s.Min/2
	for _, l := range d.levels {
		at := 0
		if width > 0 {
			v := min(max(l.v, s.Min), s.Max)
			at = min(int((v/2-s.Min/2)/width*float64(bins)), bins-1)
		}
		s.Histogram[at] += l.n
	}
}
