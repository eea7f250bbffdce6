package values

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
)

// Pair is two tensors to be compared. With types, both have the same number of
// elements; without, the bytes alone are compared.
type Pair struct{ A, B Section }

// PairOptions say what [RunPairs] finds out.
type PairOptions struct {
	Workers int // 0 means GOMAXPROCS
	// Values also compares the numbers; otherwise a pair is read up to the first
	// byte that differs.
	Values bool
	// Progress is told how many more bytes were read of both, from several
	// goroutines.
	Progress func(n int64)
}

// Comparison is what [RunPairs] found out about one pair.
type Comparison struct {
	Err error // and nothing else, when not nil
	// Equal says that both have the same type, byte order and bytes.
	Equal bool
	// First is the first byte of the tensors that differs, where type and byte
	// order are the same; otherwise -1.
	First int64
	// Difference is nil unless it was asked for.
	Difference *Difference
}

// Difference is how two tensors differ as numbers. Two NaN are equal, as are
// two infinities of one sign; a number and NaN differ, as do a number and an
// infinity, and neither counts in RelRMS and Cosine. 64-bit integers beyond 2^53
// are told apart, though their figures come from the float64s they round to.
type Difference struct {
	Count  uint64 // numbers compared
	Differ uint64 // of them, those that are not equal
	NaN    uint64 // of them, those where one alone is NaN
	// MaxAbs is the greatest |a-b|, and MaxAt the first number that has it.
	MaxAbs float64
	MaxAt  uint64
	// RelRMS is √(Σ(a-b)²/Σa²): 0 where nothing differs, infinite where only a is
	// all zeros.
	RelRMS float64
	// Cosine is Σab/√(Σa²·Σb²); NaN where either is all zeros.
	Cosine float64
	// BRoundsA says that every b is a rounded to the nearest number of B's
	// floating-point type, ties to even: that B was converted from A, or holds
	// the same numbers. What is too large is infinite, or, in types without
	// infinities, NaN or the largest number. ARoundsB is the converse.
	BRoundsA bool
	ARoundsB bool
	// Apart is √(Σ(a-b)²/max(Σa²,Σb²)): the same for both orders.
	Apart float64
	// Length is √(Σb²/Σa²), how much longer B is than A; NaN where both are all zeros.
	Length float64
	// Beyond counts the numbers of different types that differ by more than rounding to
	// either type explains, and BeyondAt is the first of them. Types that round numbers in
	// groups (IQ1 to IQ3, Q1_0) have none.
	Beyond, BeyondAt uint64
	// BlockApart is the greatest of any block's √Σe²/max(Σa²,Σb²), where e is what
	// rounding does not explain of a difference: infinite where one block is all zeros and
	// the other is not. 0 where the types are the same.
	BlockApart float64
}

// RunPairs compares pairs of tensors with several workers, and calls yield with
// what it found of each, in order and never concurrently. What it finds does
// not depend on the number of workers. It fails as [Run] does.
func RunPairs(ctx context.Context, pairs []Pair, opt PairOptions, yield func(i int, c *Comparison) error) error {
	s := &scheduler[Comparison]{
		n:     len(pairs),
		plan:  func(i int) plan { return planPair(&pairs[i]) },
		yield: yield,
	}
	return s.run(ctx, opt.Workers, func() worker[Comparison] {
		return &comparer{pairs: pairs, opt: &opt}
	})
}

// planPair cuts the pair by elements, multiples of every block, or, without
// types, by bytes.
func planPair(p *Pair) plan {
	var pl plan
	var n int64
	if p.typed() {
		most := max(bytesOf256(p.A.Type), bytesOf256(p.B.Type))
		pl.chunk = chunkBytes / most * 256
		n = min(p.A.elements(), p.B.elements())
	} else {
		pl.chunk = chunkBytes
		n = min(p.A.Data.Size(), p.B.Data.Size())
	}
	pl.total = (n + pl.chunk - 1) / pl.chunk
	pl.take, pl.perPart = pl.total, max(pl.total, 1)
	if pl.total > splitBytes/chunkBytes {
		pl.perPart = partBytes / chunkBytes
	}
	return pl
}

func bytesOf256(t *Type) int64 { return int64(256 / t.BlockElems * t.BlockBytes) }

func (s *Section) elements() int64 {
	return s.Data.Size() / int64(s.Type.BlockBytes) * int64(s.Type.BlockElems)
}

func (p *Pair) typed() bool { return p.A.Type != nil && p.B.Type != nil }

// sameCode says whether equal bytes are equal numbers, and the other way round
// but for the several codes of zero and NaN.
func (p *Pair) sameCode() bool {
	return p.A.Type == p.B.Type && p.A.BigEndian == p.B.BigEndian
}

func (p *Pair) check() error {
	if err := errors.Join(p.A.check(), p.B.check()); err != nil {
		return err
	}
	if p.typed() && (p.A.elements() != p.B.elements() || p.A.Type.Parts != p.B.Type.Parts) {
		return fmt.Errorf("tensors %q (%s) and %q (%s): %d and %d elements cannot be compared one by one",
			p.A.Name, p.A.Type.Name, p.B.Name, p.B.Type.Name, p.A.elements(), p.B.elements())
	}
	return nil
}

// comparer is the worker of [RunPairs].
type comparer struct {
	pairs []Pair
	opt   *PairOptions
	bufs  [2][chunkBytes]byte
	nums  [2][compareNumbers]float64
	state *pairState
	judge *judge // of the pair
}

// compareNumbers is how many numbers are decoded at once: the least multiple of
// every block that makes calls cheap.
const compareNumbers = 2048

// pairState is what the workers on one pair have put together.
type pairState struct {
	values bool
	first  atomic.Int64 // byte, in elements of neither type: -1 is none
	errs   []error      // by part
	parts  []differ
}

func (w *comparer) begin(j *job[Comparison]) {
	p := &w.pairs[j.index]
	j.mu.Lock()
	defer j.mu.Unlock()
	st, ok := j.state.(*pairState)
	if !ok {
		n := j.plan.parts()
		st = &pairState{
			values: w.opt.Values && p.typed(),
			errs:   make([]error, n),
			parts:  make([]differ, n),
		}
		st.first.Store(math.MaxInt64)
		st.errs[0] = p.check()
		j.state = st
	}
	w.state, w.judge = st, nil
	if st.values {
		w.judge = newJudge(p)
	}
}

func (w *comparer) do(ctx context.Context, j *job[Comparison], part, from, to int64) {
	p, st := &w.pairs[j.index], w.state
	if p.check() != nil {
		return
	}
	d := newDiffer(p)
	for i := from; i < to && ctx.Err() == nil; i++ {
		a, b, err := w.read(p, i*j.plan.chunk, j.plan.chunk, &d)
		if err != nil {
			st.errs[part] = err
			return
		}
		if a == nil {
			break
		}
		if st.values {
			w.compare(p, a, b, uint64(i*j.plan.chunk)*uint64(p.A.Type.Parts), &d)
		}
	}
	st.parts[part] = d
}

// read returns the chunk at an element or byte of both tensors, in little-endian
// order, and nil when it need not be compared.
func (w *comparer) read(p *Pair, at, n int64, d *differ) (a, b []byte, err error) {
	st := w.state
	var bytes [2][]byte
	for side, s := range []*Section{&p.A, &p.B} {
		at, n := at, n
		if p.typed() {
			at = at / int64(s.Type.BlockElems) * int64(s.Type.BlockBytes)
			n = n / int64(s.Type.BlockElems) * int64(s.Type.BlockBytes)
		}
		if !st.values && at > st.first.Load() {
			return nil, nil, nil
		}
		size := min(n, s.Data.Size()-at)
		if !p.typed() {
			size = min(n, p.A.Data.Size()-at, p.B.Data.Size()-at)
		}
		bytes[side] = w.bufs[side][:size]
		if err := s.read(bytes[side], at); err != nil {
			return nil, nil, err
		}
		if w.opt.Progress != nil {
			w.opt.Progress(size)
		}
	}
	a, b = bytes[0], bytes[1]
	if p.sameCode() {
		if i := mismatch(a, b); i >= 0 {
			at := at
			if p.typed() {
				at = at / int64(p.A.Type.BlockElems) * int64(p.A.Type.BlockBytes)
			}
			if d.first < 0 {
				d.first = at + int64(i)
			}
			lower(&st.first, at+int64(i))
		}
	}
	if st.values {
		swap(&p.A, a)
		swap(&p.B, b)
	}
	return a, b, nil
}

func swap(s *Section, b []byte) {
	if s.BigEndian {
		s.Type.Swap(b)
	}
}

// lower sets v to n if that is less.
func lower(v *atomic.Int64, n int64) {
	for {
		old := v.Load()
		if n >= old || v.CompareAndSwap(old, n) {
			return
		}
	}
}

// mismatch returns the index of the first byte that differs, or -1.
func mismatch(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// compare compares decoded numbers; at is the index of the first.
func (w *comparer) compare(p *Pair, a, b []byte, at uint64, d *differ) {
	ta, tb := p.A.Type, p.B.Type
	for len(a) > 0 {
		n := ta.Decode64(w.nums[0][:], a)
		x := w.nums[0][:n]
		step := n / ta.numbers() * ta.BlockBytes
		if p.sameCode() && bytes.Equal(a[:step], b[:step]) {
			d.same(x)
			b = b[step:]
		} else {
			tb.Decode64(w.nums[1][:n], b)
			d.add(x, w.nums[1][:n], at)
			if ta.wideInt() || tb.wideInt() {
				d.unrounded(p, x, w.nums[1][:n], a, b, at)
			}
			if w.judge != nil {
				w.judge.add(d, x, w.nums[1][:n], a, b, at)
			}
			b = b[n/tb.numbers()*tb.BlockBytes:]
		}
		a = a[step:]
		at += uint64(n)
	}
}

func (w *comparer) end(j *job[Comparison], _ int64, last bool) *Comparison {
	if !last {
		return nil
	}
	p, st := &w.pairs[j.index], w.state
	total := newDiffer(p)
	for i := range st.parts {
		if err := st.errs[i]; err != nil {
			return &Comparison{Err: err}
		}
		total.merge(&st.parts[i])
		if total.first >= 0 && !st.values {
			break // what else was read depends on the other workers
		}
	}
	c := &Comparison{First: total.first}
	if p.sameCode() {
		if a, b := p.A.Data.Size(), p.B.Data.Size(); c.First < 0 && a != b {
			c.First = min(a, b)
		}
		c.Equal = c.First < 0
	}
	if st.values {
		d := total.difference()
		c.Difference = &d
	}
	return c
}

// differ adds up how numbers differ. Its sums are of float64s in the order of
// the numbers within a part, and of the parts.
type differ struct {
	first              int64 // byte that differs; -1 is none
	count, differ, nan uint64
	maxAbs             float64
	maxAt              uint64
	products
	roundB, roundA     func(float64, float64) bool
	bRoundsA, aRoundsB bool
	beyond, beyondAt   uint64
	blockApart         float64
}

func newDiffer(p *Pair) differ {
	d := differ{first: -1}
	if !p.typed() {
		return d
	}
	d.roundA, d.roundB = p.A.Type.Rounds(), p.B.Type.Rounds()
	d.bRoundsA, d.aRoundsB = d.roundB != nil, d.roundA != nil
	return d
}

// same adds numbers that are the same on both sides.
func (d *differ) same(x []float64) {
	d.count += uint64(len(x))
	var sum float64
	for _, v := range x {
		if v-v == 0 {
			sum += v * v
		}
	}
	d.a2 += sum
	d.b2 += sum
	d.ab += sum
}

// add adds numbers two by two, so that the sums of one need not wait for those
// of the other.
func (d *differ) add(x, y []float64, at uint64) {
	d.count += uint64(len(x))
	y = y[:len(x)]
	var s, t products
	unequal, greatest := uint64(0), min(d.maxAbs, math.MaxFloat64)
	rounds := d.bRoundsA || d.aRoundsB
	i := 0
	for ; i+1 < len(x); i += 2 {
		a, b, v, w := x[i], y[i], x[i+1], y[i+1]
		if p, q := a-b, v-w; rounds && (p != 0 || q != 0) || !(math.Abs(p) <= greatest && math.Abs(q) <= greatest) {
			// An extreme, something that is not finite, or a matter of rounding.
			a, b = d.look(a, b, at+uint64(i))
			v, w = d.look(v, w, at+uint64(i)+1)
			greatest, rounds = min(d.maxAbs, math.MaxFloat64), d.bRoundsA || d.aRoundsB
		} else {
			if p != 0 {
				unequal++
			}
			if q != 0 {
				unequal++
			}
		}
		s, t = s.plus(a, b), t.plus(v, w)
	}
	if i < len(x) {
		s = s.plus(d.look(x[i], y[i], at+uint64(i)))
	}
	d.differ += unequal
	d.diff2 += s.diff2 + t.diff2
	d.a2 += s.a2 + t.a2
	d.b2 += s.b2 + t.b2
	d.ab += s.ab + t.ab
}

// unrounded takes in the numbers that differ, and of which the float64s do not.
func (d *differ) unrounded(p *Pair, x, y []float64, a, b []byte, at uint64) {
	for i, v := range x {
		if v != y[i] {
			continue
		}
		if rest := p.A.Type.rest(a, i, v) - p.B.Type.rest(b, i, v); rest != 0 {
			d.differ++
			f := math.Abs(float64(rest))
			d.diff2 += f * f
			if f > d.maxAbs {
				d.maxAbs, d.maxAt = f, at+uint64(i)
			}
		}
	}
}

// wideInt says that the type has integers that no float64 holds.
func (t *Type) wideInt() bool { return t.kind == kindInt && t.BlockBytes == 8 }

// rest is what number i of src has beyond v, the float64 that it rounds to.
func (t *Type) rest(src []byte, i int, v float64) int64 {
	if !t.wideInt() {
		return 0
	}
	n := le.Uint64(src[8*i:])
	switch { // the difference is small: that it wraps round does no harm
	case v < 0:
		return int64(n) - int64(v)
	case v < 0x1p64:
		return int64(n - uint64(v))
	}
	return int64(n)
}

// products are sums of products.
type products struct{ diff2, a2, b2, ab float64 }

// plus adds those of two numbers. By value: the sums stay in registers.
func (p products) plus(a, b float64) products {
	return products{p.diff2 + (a-b)*(a-b), p.a2 + a*a, p.b2 + b*b, p.ab + a*b}
}

// look takes in two numbers that may differ or not be finite, and returns what
// enters the sums: the numbers, or zeros.
func (d *differ) look(a, b float64, at uint64) (float64, float64) {
	if a != b && (a == a || b == b) {
		d.differ++
		if a != a || b != b {
			d.nan++
		} else if abs := math.Abs(a - b); abs > d.maxAbs {
			d.maxAbs, d.maxAt = abs, at
		}
		d.bRoundsA = d.bRoundsA && d.roundB(a, b)
		d.aRoundsB = d.aRoundsB && d.roundA(b, a)
	}
	if diff := a - b; diff-diff != 0 {
		return 0, 0
	}
	return a, b
}

func (d *differ) merge(o *differ) {
	if d.first < 0 {
		d.first = o.first
	}
	d.count += o.count
	d.differ += o.differ
	d.nan += o.nan
	if o.maxAbs > d.maxAbs {
		d.maxAbs, d.maxAt = o.maxAbs, o.maxAt
	}
	if d.beyond == 0 {
		d.beyondAt = o.beyondAt
	}
	d.beyond += o.beyond
	d.blockApart = max(d.blockApart, o.blockApart)
	d.diff2 += o.diff2
	d.a2 += o.a2
	d.b2 += o.b2
	d.ab += o.ab
	d.bRoundsA = d.bRoundsA && o.bRoundsA
	d.aRoundsB = d.aRoundsB && o.aRoundsB
}

func (d *differ) difference() Difference {
	r := Difference{
		Count: d.count, Differ: d.differ, NaN: d.nan, MaxAbs: d.maxAbs, MaxAt: d.maxAt,
		Cosine:   max(-1, min(d.ab/(math.Sqrt(d.a2)*math.Sqrt(d.b2)), 1)),
		Length:   math.Sqrt(d.b2 / d.a2),
		BRoundsA: d.bRoundsA, ARoundsB: d.aRoundsB,
		Beyond: d.beyond, BeyondAt: d.beyondAt, BlockApart: d.blockApart,
	}
	if d.diff2 != 0 {
		r.RelRMS = math.Sqrt(d.diff2 / d.a2)
		r.Apart = math.Sqrt(d.diff2 / max(d.a2, d.b2))
	}
	return r
}

// Rounds returns what says whether b is a rounded to the type, to the nearest number and ties to
// even; nil for types that numbers are not rounded to one by one.
func (t *Type) Rounds() func(a, b float64) bool {
	switch {
	case t.kind != kindFloat || t.float.special == exponent:
		return nil
	case t.Name == "F64":
		return func(a, b float64) bool { return a == b }
	case t.Name == "F32" || t.Name == "C64":
		return func(a, b float64) bool { return float64(float32(a)) == b }
	case t.float.special == ieee:
		return func(a, b float64) bool { return t.packer.round(a) == b }
	}
	return func(a, b float64) bool {
		r := t.packer.round(a)
		if math.IsInf(r, 0) {
			return b != b || b == math.Copysign(t.float.max(), r)
		}
		return r == b
	}
}
