package compare

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename"
)

// Options say how two checkpoints are compared. The zero value compares all that
// both have, values included, under the names that both have.
type Options struct {
	// Headers compares names, dtypes and shapes, and reads no values.
	Headers bool
	// Map is applied to A's names first. Without one, A is converted as Auto says
	// when both sides follow conventions that keep bytes in different ways.
	Map *rename.Map
	// Auto maps A's names to B's convention, and undoes what the two conventions
	// do to the bytes.
	Auto bool
	// Chosen says which tensors are compared, by its name in either checkpoint, A's
	// own or mapped; nil is all. Others are still what a chosen one may be paired
	// with.
	Chosen func(name string) bool
	// WeightsOnly leaves metadata and configuration out.
	WeightsOnly bool
	// Tolerance is the relative error, of the larger tensor's norm, that is faithful
	// whatever the dtypes; 0 is what the dtypes cost.
	Tolerance float64
	Workers   int // 0 means GOMAXPROCS
	// SameFile reports that two files, one of each checkpoint, are known to have the same
	// bytes. What lies at the same place in both is not read. It may be nil.
	SameFile func(x, y *checkpoint.File) bool
	// Stage is told when a stage of reading begins and how many bytes it may
	// read, and returns what is told how many more were read, from several
	// goroutines. It may be nil, and return nil.
	Stage func(what string, bytes int64) func(n int64)
}

// A Status is what became of a tensor.
type Status string

const (
	// Same tensors have the same dtype, shape and numbers.
	Same Status = "same"
	// Agree tensors have the same dtype and shape; their values were not read.
	Agree Status = "agree"
	// Changed tensors have the same dtype and shape, and other numbers.
	Changed Status = "changed"
	// DTypeChanged tensors have the same shape and another dtype.
	DTypeChanged Status = "dtype"
	// ShapeChanged tensors have another shape.
	ShapeChanged Status = "shape"
	// OnlyA and OnlyB tensors are in one of the checkpoints.
	OnlyA Status = "only-a"
	OnlyB Status = "only-b"
	// Unread tensors could not be compared; Err says why.
	Unread Status = "error"
)

// An Evidence says why two tensors are taken for the same one.
type Evidence string

const (
	ByName     Evidence = "name"
	ByContent  Evidence = "content"  // the same bytes
	ByRole     Evidence = "role"     // the same role in the conventions of both
	ByPrefix   Evidence = "prefix"   // the same name and shape but for a prefix
	ByTemplate Evidence = "template" // the only template that fits, or one of which others have the same bytes
	Likely     Evidence = "likely"   // the names mean the same, and nothing else is as likely
)

// A Row is a tensor of A, of B, or of both.
type Row struct {
	Status Status
	By     Evidence // "" for one of a single checkpoint
	// A and B are indices in the checkpoints, -1 where there is none. Sources
	// are all the tensors of A that this one is made of, where there are several.
	A, B    int
	Sources []int
	// NameA is A's own name, Mapped the one that the map or the conversion gave
	// it, NameB the name in B; "" where there is none.
	NameA, Mapped, NameB string
	DTypeA, DTypeB       string
	ShapeA, ShapeB       []uint64
	// Layout says what was undone to A's bytes before they were compared.
	Layout []string
	// First is the first byte that differs, -1 when that is unknown or none.
	First int64
	// Difference is how the numbers differ; nil when they were not compared.
	Difference *values.Difference
	// Stored says that B's tensor has A's numbers as they are stored: the layout
	// that was undone is not there to be undone.
	Stored bool
	// Reordered says that both have the same numbers in another order, or shape:
	// transposed, or with rows permuted.
	Reordered bool
	// Holds is the tensor of A whose bytes B's tensor has, where that is not the one it is
	// compared with, or of B for one that only A has: an index, or -1.
	Holds int
	Err   error
	// Reason says why a tensor of one checkpoint only is no difference; "" where it is.
	Reason  string
	Verdict Verdict

	exact    bool // the same bytes
	computed bool // an operation on numbers was undone
	framed   bool // its names differ by the prefix of a language model's frame
}

// Renamed reports whether both checkpoints have the tensor under different
// names, after the map.
func (r *Row) Renamed() bool { return r.A >= 0 && r.B >= 0 && r.Mapped != r.NameB }

// Expected returns the relative error that B's dtype has an expected error of, and
// false when it is not known or the dtypes are the same.
func (r *Row) Expected() (float64, bool) {
	e := costs[r.DTypeB].Normal
	return e, r.Status == DTypeChanged && e > 0
}

// A Result is how two checkpoints differ.
type Result struct {
	// Rows are in the order of A's tensors, then those that only B has.
	Rows []Row
	// Rules explain the renamed tensors, most first. They are in Map too.
	Rules []Rule
	Map   *rename.Map
	// Metadata and Config are what differs beside the tensors.
	Metadata, Config []Change
	// MetadataCompared is false where the formats have nothing in common.
	MetadataCompared bool
	// From and To are the conventions of the conversion that Auto found.
	From, To string
	// Notes say what the comparison rests on.
	Notes   []string
	Verdict Verdict
}

// Compare compares two checkpoints. What is wrong with one tensor is in its row;
// an error means that there is no comparison: the map or conversion does not
// apply, or ctx is done.
func Compare(ctx context.Context, a, b *checkpoint.Checkpoint, opt Options) (*Result, error) {
	c := &comparison{opt: opt, a: a, b: b, out: &Result{}}
	if err := c.take(ctx); err != nil {
		return nil, err
	}
	c.pairByName()
	if !opt.Headers {
		if err := c.readEqual(ctx); err != nil {
			return nil, err
		}
		if err := c.pairByContent(ctx); err != nil {
			return nil, err
		}
	}
	c.pairLoose(ctx)
	c.applyScales()
	if !opt.Headers {
		if err := c.readFigures(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.excuseLoose(ctx); err != nil {
		return nil, err
	}
	c.reframe(ctx)
	c.rows()
	c.explain()
	c.restore()
	if !opt.WeightsOnly {
		c.documents()
	}
	c.decide()
	return c.out, nil
}

// A tensor is one of either side, as it is compared.
type tensor struct {
	index   int   // in the checkpoint
	sources []int // of a conversion that takes several
	own     string
	name    string // after the map or conversion
	dtype   string
	shape   []uint64
	layout  []string
	// computed says that the layout's numbers are computed, not looked up.
	computed bool
	reason   string // why it is no difference where the other side lacks it
	section  values.Section
	// build makes the section where that takes memory; nil where it is there. What
	// it makes is for one goroutine at a time.
	build  func(context.Context) (values.Section, error)
	err    error // why there is no section
	unread bool  // it was found out while reading
	chosen bool
	holds  *tensor // of the other side, whose bytes this one has without a pair
	// stored is A's tensor as it is, where a conversion only moves its rows.
	stored *values.Section
	pair   *pair
}

// A pair is two tensors taken for the same one.
type pair struct {
	a, b   *tensor
	by     Evidence
	status Status // "" while it is not known
	first  int64
	diff   *values.Difference
	stored bool
	// reordered: the same numbers in another order
	reordered bool
	exact     bool
	framed    bool // the names are of one tensor, below a prefix in one of them
	holds     int
	err       error
}

type comparison struct {
	opt    Options
	a, b   *checkpoint.Checkpoint
	as, bs []*tensor
	out    *Result
	// swapped says that a conversion is of the checkpoint that was given second: a and b
	// are exchanged until the answer is put together.
	swapped bool
	// inA and inB are the modules of both, nil as long as nobody has asked.
	inA, inB *modules
}

// pairOf is two tensors in the order that they were given in.
func (c *comparison) pairOf(a, b values.Section) values.Pair {
	if c.swapped {
		a, b = b, a
	}
	return values.Pair{A: a, B: b}
}

func (c *comparison) stage(what string, bytes int64) func(int64) {
	if c.opt.Stage == nil {
		return nil
	}
	return c.opt.Stage(what, bytes)
}

// take lists the tensors of both sides, A's under their new names.
func (c *comparison) take(ctx context.Context) error {
	c.as, c.bs = list(c.a), list(c.b)
	c.joinBlocks()
	c.dequantise()
	if !c.opt.Headers || c.opt.Auto {
		c.takeSections()
	}
	switch {
	case c.opt.Auto && c.opt.Map != nil:
		return errors.New("a map and a conversion cannot both be applied")
	case c.opt.Auto:
		if err := c.convert(ctx); err != nil {
			return err
		}
	case c.opt.Map != nil:
		if err := c.mapNames(); err != nil {
			return err
		}
	default:
		if err := c.convertMoved(ctx); err != nil {
			return err
		}
	}
	for _, list := range [][]*tensor{c.as, c.bs} {
		for _, t := range list {
			t.chosen = c.opt.Chosen == nil || c.opt.Chosen(t.own) || c.opt.Chosen(t.name)
		}
	}
	return nil
}

// list returns the tensors of a side, without their sections.
func list(c *checkpoint.Checkpoint) []*tensor {
	out := make([]*tensor, c.Len())
	all := make([]tensor, c.Len())
	for i, t := range c.All() {
		one := &all[i]
		*one = tensor{index: i, own: t.Name, name: t.Name, dtype: t.DType, shape: t.Shape}
		out[i] = one
	}
	return out
}

// takeSections finds the tensors' data, which a conversion needs, too: their types, where
// values are not read.
func (c *comparison) takeSections() {
	for _, side := range []struct {
		list []*tensor
		of   *checkpoint.Checkpoint
	}{{c.as, c.a}, {c.bs, c.b}} {
		for _, t := range side.list {
			if t.sources == nil {
				t.section, t.err = Section(side.of, t.index)
			}
		}
	}
}

// mapNames gives A's tensors their new names, and leaves out what the map drops.
func (c *comparison) mapNames() error {
	names := make([]string, len(c.as))
	for i, t := range c.as {
		names[i] = t.name
	}
	// Names are only compared: the limits of a format do not matter.
	plan := rename.NewPlan(c.opt.Map, names, rename.Limits{})
	if err := plan.Err(); err != nil {
		return err
	}
	kept := c.as[:0]
	for i, row := range plan.Rows {
		if row.Action == rename.Drop {
			c.out.Notes = append(c.out.Notes, fmt.Sprintf("the map drops %q: %s", row.From, row.Reason))
			continue
		}
		c.as[i].name = row.To
		kept = append(kept, c.as[i])
	}
	c.as = kept
	return nil
}

func (c *comparison) link(a, b *tensor, by Evidence) *pair {
	p := &pair{a: a, b: b, by: by, first: -1, holds: -1}
	switch {
	case a.shape == nil || b.shape == nil:
		p.status = Agree // of the names of an index there is nothing more to say
	case !slices.Equal(a.shape, b.shape):
		p.status = ShapeChanged
	case a.dtype != b.dtype:
		p.status = DTypeChanged
	case c.opt.Headers:
		p.status = Agree
	}
	a.pair, b.pair = p, p
	return p
}

// settled reports whether the pair needs no other: it holds the same, or was not
// chosen.
func (p *pair) settled() bool { return p.status == Same || !p.a.chosen && !p.b.chosen }

func (c *comparison) pairByName() {
	byName := make(map[string][]*tensor, len(c.bs))
	for _, t := range c.bs {
		byName[t.name] = append(byName[t.name], t)
	}
	for _, t := range c.as {
		if free := byName[t.name]; len(free) > 0 {
			byName[t.name] = free[1:]
			c.link(t, free[0], ByName)
		}
	}
}

// comparable reports whether the bytes of both can be compared as they are, and
// sets the pair's error where one of them has none.
func (p *pair) comparable() bool {
	if p.err == nil {
		p.err = errors.Join(p.a.err, p.b.err)
	}
	return p.err == nil
}

// readEqual finds the pairs of equal bytes.
func (c *comparison) readEqual(ctx context.Context) error {
	var (
		pairs []values.Pair
		of    []*pair
		total int64
	)
	for _, t := range c.as {
		p := t.pair
		if p == nil || p.settled() || p.status != "" || !p.comparable() || t.build != nil {
			continue
		}
		if c.inSameFile(t, p.b) {
			p.status, p.exact = Same, true
			continue
		}
		pairs = append(pairs, c.pairOf(t.section, p.b.section))
		of = append(of, p)
		total = addBytes(total, t.section.Data.Size(), p.b.section.Data.Size())
	}
	opt := values.PairOptions{Workers: c.opt.Workers, Progress: c.stage("compare", total)}
	return values.RunPairs(ctx, pairs, opt, func(i int, r *values.Comparison) error {
		of[i].setComparison(r)
		return nil
	})
}

// inSameFile reports whether two tensors lie at the same place of files that are known to
// have the same bytes.
func (c *comparison) inSameFile(a, b *tensor) bool {
	if c.opt.SameFile == nil || a.kind() != b.kind() || a.sources != nil || b.sources != nil {
		return false
	}
	x, y := c.a.At(a.index), c.b.At(b.index)
	return x.File >= 0 && y.File >= 0 && x.Offset >= 0 && x.Offset == y.Offset && x.Bytes == y.Bytes &&
		x.Bytes == uint64(a.section.Data.Size()) && c.opt.SameFile(c.a.Files[x.File], c.b.Files[y.File])
}

func addBytes(total int64, more ...int64) int64 {
	for _, n := range more {
		if total += n; total < 0 {
			return math.MaxInt64
		}
	}
	return total
}

func (p *pair) setComparison(r *values.Comparison) {
	switch {
	case r.Err != nil:
		p.err = r.Err
	case r.Equal:
		p.status, p.exact = Same, true
	}
	p.first = r.First
	if r.Difference == nil {
		return
	}
	p.diff = r.Difference
	if p.status == "" && r.Difference.Differ == 0 {
		p.status = Same
	}
}

// readFigures finds how the numbers of the pairs differ that are not the same.
func (c *comparison) readFigures(ctx context.Context) error {
	var (
		pairs []values.Pair
		of    []*pair
		built []*pair
		total int64
	)
	for _, t := range c.as {
		p := t.pair
		if p == nil || p.settled() || p.status != "" && p.status != DTypeChanged || !p.comparable() {
			continue
		}
		if t.build != nil {
			built = append(built, p)
			total = addBytes(total, p.b.section.Data.Size())
			continue
		}
		if t.section.Type == nil || p.b.section.Type == nil {
			if p.status == DTypeChanged {
				p.err = fmt.Errorf("tensor %q: %s and %s: this version does not know the numbers of both", p.b.name, t.dtype, p.b.dtype)
			}
			continue
		}
		pairs = append(pairs, c.pairOf(t.section, p.b.section))
		of = append(of, p)
		total = addBytes(total, t.section.Data.Size(), p.b.section.Data.Size())
	}
	opt := values.PairOptions{Workers: c.opt.Workers, Values: true, Progress: c.stage("measure", total)}
	err := values.RunPairs(ctx, pairs, opt, func(i int, r *values.Comparison) error {
		of[i].setComparison(r)
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.readStored(ctx); err != nil {
		return err
	}
	if err := c.readReordered(ctx); err != nil {
		return err
	}
	// What has to be made is made while it is read, by one worker: a second would
	// need a workspace of its own, or make the same over again.
	opt.Workers = 1
	for _, p := range built {
		s, err := p.a.build(ctx)
		if err == nil && p.b.section.Type == nil {
			err = fmt.Errorf("tensor %q: this version does not know the numbers of %s", p.b.name, p.b.dtype)
		}
		if err != nil {
			p.err = err
			continue
		}
		err = values.RunPairs(ctx, []values.Pair{c.pairOf(s, p.b.section)}, opt, func(_ int, r *values.Comparison) error {
			p.setComparison(r)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Tensors whose cosine is above alike are the same weights, whatever their dtypes;
// below it, they are others, or the same in another order.
const alike = 0.9

// readStored looks whether tensors that do not fit do without the conversion of
// their rows, which a converter may have left out.
func (c *comparison) readStored(ctx context.Context) error {
	var (
		pairs []values.Pair
		of    []*pair
		total int64
	)
	for _, t := range c.as {
		if p := t.pair; p != nil && t.stored != nil && p.diff != nil && p.diff.Cosine < alike {
			pairs, of = append(pairs, c.pairOf(*t.stored, p.b.section)), append(of, p)
			total = addBytes(total, t.stored.Data.Size(), p.b.section.Data.Size())
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	opt := values.PairOptions{Workers: c.opt.Workers, Values: true, Progress: c.stage("measure", total)}
	return values.RunPairs(ctx, pairs, opt, func(i int, r *values.Comparison) error {
		of[i].stored = r.Err == nil && r.Difference != nil && r.Difference.Cosine > alike
		return nil
	})
}

// readReordered looks for the same numbers in another order. The norms of such
// tensors are the same, and what was found out about how they differ tells that,
// so that hardly any is read for nothing.
func (c *comparison) readReordered(ctx context.Context) error {
	var (
		sections []values.Section
		of       []*pair
		total    int64
	)
	for _, t := range c.as {
		p := t.pair
		if p == nil || p.settled() || t.build != nil || p.err != nil || t.dtype != p.b.dtype || !p.comparable() || t.section.Type == nil {
			continue
		}
		size := t.section.Data.Size()
		switch {
		case p.status == ShapeChanged && size == p.b.section.Data.Size():
		case p.status == "" && p.diff != nil && p.diff.NaN == 0 && sameNorm(p.diff):
		default:
			continue
		}
		sections = append(sections, t.section, p.b.section)
		of = append(of, p)
		total = addBytes(total, size, size)
	}
	if len(of) == 0 {
		return nil
	}
	var first values.Fingerprint
	opt := values.Options{Workers: c.opt.Workers, Stats: &values.StatsOptions{BlockQuantiles: true}, Progress: c.stage("measure", total)}
	return values.Run(ctx, sections, opt, func(i int, r *values.Result) error {
		p := of[i/2]
		switch {
		case r.Err != nil:
			p.err = r.Err
			first = values.Fingerprint{}
		case i%2 == 0:
			first = r.Stats.Fingerprint
		default:
			p.reordered = !first.IsZero() && first == r.Stats.Fingerprint
		}
		return nil
	})
}

// sameNorm reports whether two tensors may have the same norm, by the law of
// cosines: then |a-b|²/|a|² is 2-2cos.
func sameNorm(d *values.Difference) bool {
	square, want := d.RelRMS*d.RelRMS, 2-2*d.Cosine
	return math.Abs(square-want) <= 1e-6*max(square, want)
}

// rows puts the answer together.
func (c *comparison) rows() {
	c.out.Rows = make([]Row, 0, max(len(c.as), len(c.bs)))
	for _, t := range c.as {
		if !t.chosen && (t.pair == nil || !t.pair.b.chosen) {
			continue
		}
		row := Row{Status: OnlyA, A: t.index, B: -1, NameA: t.own, Mapped: t.name, DTypeA: t.dtype, ShapeA: t.shape, First: -1, Holds: -1}
		row.Sources = t.sources
		row.Reason = t.reason
		if t.unread {
			row.Err = t.err
		}
		if t.holds != nil {
			row.Holds = t.holds.index
		}
		if p := t.pair; p != nil {
			row.Reason = ""
			row.Status, row.By, row.B, row.NameB = p.status, p.by, p.b.index, p.b.name
			row.DTypeB, row.ShapeB = p.b.dtype, p.b.shape
			row.Layout, row.First, row.Difference, row.Holds, row.Err = t.layout, p.first, p.diff, p.holds, p.err
			row.Stored, row.Reordered = p.stored, p.reordered
			row.exact, row.computed, row.framed = p.exact, t.computed, p.framed
			switch {
			case row.Err != nil:
				row.Status = Unread
			case row.Status == "":
				row.Status = Changed
			}
		}
		c.out.Rows = append(c.out.Rows, row)
	}
	for _, t := range c.bs {
		if t.pair != nil || !t.chosen {
			continue
		}
		row := Row{Status: OnlyB, A: -1, B: t.index, NameB: t.name, DTypeB: t.dtype, ShapeB: t.shape, First: -1, Holds: -1, Reason: t.reason}
		if t.unread {
			row.Err = t.err
		}
		if t.holds != nil {
			row.Holds = t.holds.index
		}
		c.out.Rows = append(c.out.Rows, row)
	}
}

// restore puts the sides and the rows into the order that the checkpoints were given in.
func (c *comparison) restore() {
	if !c.swapped {
		return
	}
	c.a, c.b = c.b, c.a
	for i := range c.out.Rows {
		r := &c.out.Rows[i]
		renamed := r.Renamed()
		r.A, r.B = r.B, r.A
		r.DTypeA, r.DTypeB, r.ShapeA, r.ShapeB = r.DTypeB, r.DTypeA, r.ShapeB, r.ShapeA
		r.NameA, r.NameB = r.NameB, r.NameA
		if r.A >= 0 && r.B >= 0 {
			r.Holds = -1
		}
		switch {
		case r.A < 0:
			r.Status, r.Mapped = OnlyB, ""
		case r.B < 0:
			r.Status, r.Mapped = OnlyA, r.NameA
		case !renamed:
			r.Mapped = r.NameB
		default:
			r.Mapped = r.NameA
		}
		if r.Err != nil && r.Status != OnlyA && r.Status != OnlyB {
			r.Status = Unread
		}
	}
	place := func(r *Row) int {
		if r.A < 0 {
			return len(c.bs) + r.B
		}
		return r.A
	}
	slices.SortStableFunc(c.out.Rows, func(x, y Row) int { return place(&x) - place(&y) })
}
