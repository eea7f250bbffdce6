package evidence

import (
	"context"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/rename/infer"
)

const (
	// sampled is how many rows of a matrix are compared. Two matrices of 128 columns that are equal
	// come 32 standard deviations apart from unrelated ones, of 4096 columns 181.
	sampled = 8
	// crossed is how many rows of each are read of matrices that may be each other's transposed.
	// Where the rows of one meet those of the other there are 32 by 32 numbers.
	crossed = 32
	// shortRows is how many rows are read where they are turned.
	shortRows = 4096
	// mostKernelRows bounds the rows that those of a convolution become.
	mostKernelRows = 128
	// informative is how many distinct values a tensor must have to prove something: normalisations
	// begin as ones and biases as zeros, in every model.
	informative = 64
	// fitted is how many it must have for an operation to be found that makes them: a normalisation
	// of a small model in BF16 has no more than 30, and no other operation fits 16 by chance.
	fitted = 16
)

// compared is which rows of a tensor are compared with others of its shape.
func (v *view) compared() []span {
	switch {
	case v.vector:
		return []span{{0, 1}}
	case v.turned:
		return []span{around(v.rows/2, shortRows, v.rows)}
	case v.kernel > 1:
		return []span{around(v.rows/2, max(1, min(sampled, mostKernelRows/v.kernel)), v.rows)}
	}
	return v.sample(sampled)
}

// across is which rows are compared with columns of another.
func (v *view) across() []span {
	n := int64(crossed)
	if v.row <= narrow {
		n = shortRows
	}
	return []span{around(v.rows/2, n, v.rows)}
}

// A comparison is a pair, and how it is compared.
type comparison struct {
	a, b   *tensor
	across bool
	cut    bool // one has more rows
	as, bs []span
}

// alone reports whether what is read for the pair is for no other.
func (c *comparison) alone() bool { return c.across || c.cut }

// compare plans how a pair is compared; nil where its shapes do not fit.
func compare(a, b *tensor) *comparison {
	matrix := func(t *tensor) bool { return t.rows > 0 && !t.vector && t.kernel == 1 }
	switch {
	case a.rows == 0 || b.rows == 0:
		return nil
	case a.view == b.view:
		return &comparison{a: a, b: b, as: a.compared(), bs: b.compared()}
	case matrix(a) && matrix(b) && a.rows == b.row && a.row == b.rows:
		return &comparison{a: a, b: b, across: true, as: a.across(), bs: b.across()}
	case matrix(a) && matrix(b) && !a.turned && !b.turned && a.row == b.row && vocabularies(a.rows, b.rows, a.row):
		v := view{rows: min(a.rows, b.rows)}
		return &comparison{a: a, b: b, cut: true, as: v.sample(sampled), bs: v.sample(sampled)}
	}
	return nil
}

// vocabularies reports whether matrices of so many rows may be tables of two vocabularies: they have more
// rows than columns, and one has some tokens more. Rows of other modules are alike for other reasons: those of a
// query and of the key that it meets.
func vocabularies(a, b, columns int64) bool {
	few, many := min(a, b), max(a, b)
	return few > columns && many/2 <= few
}

// Alike measures each pair. Of two matrices of which one has more rows the first rows are compared;
// tensors of other shapes are not alike.
func (w *Weights) Alike(ctx context.Context, pairs []infer.Pair) ([]infer.Likeness, error) {
	list := make([]*comparison, len(pairs))
	var wants []want
	for i, p := range pairs {
		a, err := w.tensor(sideA, p.A)
		if err != nil {
			return nil, err
		}
		b, err := w.tensor(sideB, p.B)
		if err != nil {
			return nil, err
		}
		if c := compare(a, b); c != nil {
			list[i] = c
			wants = append(append(wants, a.wants(c.as)...), b.wants(c.bs)...)
		}
	}
	if err := w.fetch(ctx, wants); err != nil {
		return nil, err
	}
	out := make([]infer.Likeness, len(pairs))
	skipped := make([]int64, len(pairs))
	looks, last := make(map[place]*look), make(map[place]int)
	for i, c := range list {
		if c != nil && !c.alone() {
			last[c.a.place], last[c.b.place] = i, i
		}
	}
	for from := 0; from < len(list); from += batch {
		to := min(from+batch, len(list))
		var fresh []*look
		for _, c := range list[from:to] {
			if c == nil || c.alone() {
				continue
			}
			for _, l := range []*look{{t: c.a, spans: c.as}, {t: c.b, spans: c.bs}} {
				if looks[l.t.place] == nil {
					looks[l.t.place] = l
					fresh = append(fresh, l)
				}
			}
		}
		if err := w.each(ctx, len(fresh), func(i int) { fresh[i].take(w) }); err != nil {
			return nil, err
		}
		err := w.each(ctx, to-from, func(i int) {
			if c := list[from+i]; c != nil {
				out[from+i], skipped[from+i] = w.measure(c, looks)
			}
		})
		if err != nil {
			return nil, err
		}
		for p := range looks {
			if last[p] < to {
				delete(looks, p)
			}
		}
	}
	for _, n := range skipped {
		w.skipped += n
	}
	return out, nil
}

// batch is how many pairs are measured before what is not needed any more is let go of.
const batch = 1024

// A look is what is worked out of the sampled rows of one tensor, for all its pairs.
type look struct {
	t      *tensor
	spans  []span
	raw    *block
	whole  bool // every number is finite
	std    *block
	gram   []float64
	values int // distinct ones
}

func (l *look) take(w *Weights) {
	l.raw = l.t.blockOf(w.rowsOf(l.t, l.spans))
	l.whole = !slices.ContainsFunc(l.raw.v, func(v float64) bool { return v-v != 0 })
	l.finish()
}

func (l *look) finish() {
	l.values = distinct(l.raw.v, informative)
	l.std = standard(l.raw)
	l.gram = gram(l.std)
}

// measure compares what was read of a pair.
func (w *Weights) measure(c *comparison, looks map[place]*look) (infer.Likeness, int64) {
	var a, b *look
	skipped := int64(0)
	switch {
	case c.cut:
		a, b = &look{t: c.a}, &look{t: c.b}
		a.raw, b.raw = c.a.blockOf(w.rowsOf(c.a, c.as)), c.b.blockOf(w.rowsOf(c.b, c.bs))
	case c.across:
		a, b = &look{t: c.a}, &look{t: c.b}
		a.raw, b.raw = meet(w.rowsOf(c.a, c.as), w.rowsOf(c.b, c.bs), c)
	default:
		a, b = looks[c.a.place], looks[c.b.place]
	}
	if c.alone() || !a.whole || !b.whole {
		a, b = &look{t: c.a, raw: a.raw}, &look{t: c.b, raw: b.raw}
		if a.raw, b.raw, skipped = finite(a.raw, b.raw); a.raw.rows == 0 {
			return infer.Likeness{}, skipped
		}
		a.finish()
		b.finish()
	}
	var l infer.Likeness
	values := min(a.values, b.values)
	l.Informative = values >= informative
	l.Equal, l.Rounded = equal(a.raw.v, b.raw.v, c.a.sec.Type.Rounds(), c.b.sec.Type.Rounds())
	l.Cosine, l.Shift = cosine(a.raw.v, b.raw.v, c.a.vector), mean(b.raw.v)-mean(a.raw.v)
	if !l.Equal && values >= fitted {
		l.Ops = computed(a.raw.v, b.raw.v, &c.a.sec, &c.b.sec)
	}
	l.Z = likeness(a, b)
	return l, skipped
}

// meet takes the numbers that rows of A and columns of A that are rows of B have in common.
func meet(av, bv []float64, c *comparison) (a, b *block) {
	ra, rb := c.as[0], c.bs[0]
	a = &block{rows: int(ra.n), cols: int(rb.n), v: make([]float64, ra.n*rb.n)}
	b = &block{rows: a.rows, cols: a.cols, v: make([]float64, len(a.v))}
	for i := range ra.n {
		for j := range rb.n {
			a.v[i*rb.n+j] = av[i*c.a.row+rb.start+j]
			b.v[i*rb.n+j] = bv[j*c.b.row+ra.start+i]
		}
	}
	if a.cols < a.rows { // the longer axis has the columns
		a, b = turn(a), turn(b)
	}
	return a, b
}

func turn(b *block) *block {
	t := &block{rows: b.cols, cols: b.rows}
	return t.take(b.v, t.cols)
}

// finite leaves out the rows that hold NaN or an infinity on either side.
func finite(a, b *block) (x, y *block, skipped int64) {
	bad := func(row []float64) bool {
		return slices.ContainsFunc(row, func(v float64) bool { return v-v != 0 })
	}
	x, y = &block{cols: a.cols}, &block{cols: b.cols}
	for i := range a.rows {
		if bad(a.row(i)) || bad(b.row(i)) {
			skipped++
			continue
		}
		x.v, y.v = append(x.v, a.row(i)...), append(y.v, b.row(i)...)
		x.rows, y.rows = x.rows+1, y.rows+1
	}
	return x, y, skipped
}

// distinct counts distinct numbers, up to a limit.
func distinct(v []float64, limit int) int {
	seen := make(map[float64]struct{}, min(limit, len(v)))
	for _, x := range v {
		if seen[x] = struct{}{}; len(seen) >= limit {
			break
		}
	}
	return len(seen)
}

// equal says whether all numbers are equal, or those of one side are those of the other as
// its type rounds them.
func equal(a, b []float64, roundA, roundB func(from, to float64) bool) (equal, rounded bool) {
	same, ab, ba := true, roundB != nil, roundA != nil
	for i := range a {
		same = same && a[i] == b[i]
		ab = ab && roundB(a[i], b[i])
		ba = ba && roundA(b[i], a[i])
		if !same && !ab && !ba {
			return false, false
		}
	}
	return true, !same
}

// cosine is that of two lists of numbers, less their means if they are centred; 0 where one of
// them is constant.
func cosine(a, b []float64, centred bool) float64 {
	ma, mb := 0.0, 0.0
	if centred {
		ma, mb = mean(a), mean(b)
	}
	var aa, bb, ab float64
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		aa, bb, ab = aa+x*x, bb+y*y, ab+x*y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa) / math.Sqrt(bb)
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// standard returns a block in which no row and no column is larger than another: a few channels
// that are large in every model would otherwise make unrelated weights alike. Its rows have a
// mean of 0, and the sum of its squares is 1. Of constant rows and columns zeros are left.
func standard(b *block) *block {
	s := &block{b.rows, b.cols, slices.Clone(b.v)}
	s.rowsTo(true)
	if s.rows > 1 {
		t := turn(s)
		t.rowsTo(true)
		s = turn(t)
		s.rowsTo(false)
	}
	scale(s.v)
	return s
}

// rowsTo gives every row a mean of 0 and, if it is to, a length of 1.
func (b *block) rowsTo(length bool) {
	for i := range b.rows {
		r := b.row(i)
		m := mean(r)
		most := 0.0
		for j := range r {
			most = max(most, math.Abs(r[j]))
			r[j] -= m
		}
		for j := range r { // what is left of a constant is rounding
			if math.Abs(r[j]) <= most*1e-12 {
				r[j] = 0
			}
		}
		if length {
			scale(r)
		}
	}
}

// scale gives numbers a length of 1.
func scale(v []float64) {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	if sum == 0 {
		return
	}
	f := 1 / math.Sqrt(sum)
	for i := range v {
		v[i] *= f
	}
}

// likeness is how many standard deviations two standard blocks are from what unrelated weights
// give. Training does not know the numbers of hidden channels: of two models that began
// apart, every other order of the columns of one was as likely (Zhu et al., Independence Tests
// for Language Models, arXiv 2502.12292). Over all orders the mean of S = Σ A∘B is 0 and its
// variance is Σ (A·Aᵀ)∘(B·Bᵀ) / (columns - 1), exactly, so that nothing has to be drawn.
func likeness(a, b *look) float64 {
	s, variance := 0.0, 0.0
	for i := range a.std.v {
		s += a.std.v[i] * b.std.v[i]
	}
	for i := range a.gram {
		variance += a.gram[i] * b.gram[i]
	}
	if variance <= 0 || a.std.cols < 2 {
		return 0
	}
	return s / math.Sqrt(variance/float64(a.std.cols-1))
}

// gram is the products of every two rows.
func gram(b *block) []float64 {
	out := make([]float64, b.rows*b.rows)
	for i := range b.rows {
		for j := range i + 1 {
			x, y, sum := b.row(i), b.row(j), 0.0
			for k := range x {
				sum += x[k] * y[k]
			}
			out[i*b.rows+j], out[j*b.rows+i] = sum, sum
		}
	}
	return out
}
