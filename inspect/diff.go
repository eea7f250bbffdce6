package inspect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
)

// DiffOptions adjust [Diff]. Nil options are the defaults.
type DiffOptions struct {
	Select Selection
	// Headers compares names, dtypes and shapes, and reads no values.
	Headers bool
	// Map is applied to A's names first.
	Map *rename.Map
	// Auto maps A's names to B's convention, and undoes what the two conventions
	// do to the bytes. Checkpoints of different formats are always compared so,
	// without a map.
	Auto bool
	// WeightsOnly leaves metadata and config.json out.
	WeightsOnly bool
	// Tolerance is the relative root mean square error that is faithful, whatever the
	// dtypes; 0 is what the dtypes cost.
	Tolerance float64
	// All has the result list the tensors that are the same, too.
	All bool
	// One is for a result that is of one pair of checkpoints, such as a map: several
	// are an error.
	One bool
	// Workers bounds how many tensors are worked on at once. 0 means GOMAXPROCS.
	Workers int
	// Progress is told of each stage how many bytes are done, by several goroutines
	// at once. A stage begins with 0.
	Progress func(stage string, done, total int64)
}

// A DiffResult is how the checkpoints of two releases differ.
type DiffResult struct {
	Comparisons []*Comparison `json:"comparisons"`
	// OnlyA and OnlyB are the paths of checkpoints without a counterpart.
	OnlyA []string `json:"only_a"`
	OnlyB []string `json:"only_b"`
	// Verdict is the worst of the comparisons' verdicts. A checkpoint without a
	// counterpart is changed.
	Verdict DiffVerdict `json:"verdict"`
	// Tensors are those that differ in something.
	Tensors Seq[DiffRow] `json:"tensors"`
	Faults  Seq[Fault]   `json:"faults"`
}

// A Comparison is how two checkpoints differ.
type Comparison struct {
	A DiffSide `json:"a"`
	B DiffSide `json:"b"`
	// HeadersOnly says that no values were read.
	HeadersOnly bool        `json:"headers_only"`
	Summary     DiffSummary `json:"summary"`
	// Rules explain the renamed tensors.
	Rules []DiffRule `json:"rules"`
	// Metadata and Config are what differs beside the tensors, nil when that was not
	// compared.
	Metadata []Change `json:"metadata"`
	Config   []Change `json:"config"`
	// Verdict is what the differences come to.
	Verdict DiffVerdict `json:"verdict"`

	// Place is where the two are in their releases, "" where each has only one.
	Place string `json:"-"`
	// Rows are in the order of A's tensors, then those that only B has.
	Rows []DiffRow `json:"-"`
	// Notes say what the comparison rests on.
	Notes []string `json:"-"`

	a, b *checkpoint.Checkpoint
	res  *compare.Result // without its rows
	// digests are those that hubs list of whole files.
	digests map[*checkpoint.File]string

	tolerance float64
}

// A DiffSide is one of the checkpoints.
type DiffSide struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
	// Revision is the commit of a repository that was read, absent elsewhere.
	Revision *string `json:"revision,omitempty"`
	Tensors  int     `json:"tensors"`
	// Convention is the one that names were mapped from or to, nil without.
	Convention *string `json:"convention"`
}

// A DiffSummary counts tensors. Renamed ones are counted under what else they
// are, too.
type DiffSummary struct {
	Same    int `json:"same"`
	Agree   int `json:"agree"`
	Changed int `json:"changed"`
	DType   int `json:"dtype"`
	Shape   int `json:"shape"`
	OnlyA   int `json:"only_a"`
	OnlyB   int `json:"only_b"`
	Error   int `json:"error"`
	// Renamed tensors have another name in B, Moved ones of them a name that in
	// A is another tensor's.
	Renamed  int `json:"renamed"`
	Moved    int `json:"moved"`
	Rules    int `json:"rules"`
	Metadata int `json:"metadata"`
	Config   int `json:"config"`
	// Equal and Rounded tensors have another dtype, and equal numbers or the one's
	// rounded to the other's. Offending ones make the verdict, Excused ones are in one
	// checkpoint only and no difference.
	Equal     int `json:"equal"`
	Rounded   int `json:"rounded"`
	Offending int `json:"offending"`
	Excused   int `json:"excused"`

	// kept and agreed are the same and agree under the same name.
	kept, agreed int
	headers      bool
}

// String sums up in a line: "120 tensors renamed by 2 rules, 423 the same, 0 changed".
func (n *DiffSummary) String() string {
	var out []string
	add := func(count int, of string) { out = append(out, render.Grouped(uint64(count))+" "+of) }
	if n.Renamed > 0 {
		out = append(out, fmt.Sprintf("%s renamed by %s", render.Counted(n.Renamed, "tensor"), render.Counted(n.Rules, "rule")))
	}
	if n.headers || n.Agree > 0 {
		add(n.agreed, "agree in name, dtype and shape (values not read)")
	} else {
		add(n.kept, "the same")
		add(n.Changed, "changed")
	}
	dtype := "with another dtype"
	switch {
	case n.Equal > 0 && n.Rounded > 0:
		dtype += fmt.Sprintf(" (%s with equal values, %s rounded)", render.Grouped(uint64(n.Equal)), render.Grouped(uint64(n.Rounded)))
	case n.Equal > 0:
		dtype += fmt.Sprintf(" (%s with equal values)", render.Grouped(uint64(n.Equal)))
	case n.Rounded > 0:
		dtype += fmt.Sprintf(" (%s rounded)", render.Grouped(uint64(n.Rounded)))
	}
	for _, c := range []struct {
		n  int
		of string
	}{
		{n.DType, dtype},
		{n.Shape, "with another shape"},
		{n.OnlyA, "only in A"},
		{n.OnlyB, "only in B"},
		{n.Error, "not compared"},
		{n.Metadata, "in the metadata"},
		{n.Config, "in config.json"},
	} {
		if c.n > 0 {
			add(c.n, c.of)
		}
	}
	return strings.Join(out, ", ")
}

// A DiffRule explains renamed tensors; To is "" of one that is dropped.
type DiffRule struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Tensors int    `json:"tensors"`
	// Proven counts those that are the same in both checkpoints.
	Proven int `json:"proven"`
	// Likely counts those that are paired by what their names mean, and by nothing else.
	Likely int `json:"likely"`
}

// A Change is an entry of metadata or configuration that differs.
type Change struct {
	// Key is the metadata key, or the JSON Pointer in config.json; "" for all of
	// the document.
	Key string `json:"key"`
	// A and B are the entries of both, nil where there is none.
	A *string `json:"a"`
	B *string `json:"b"`
}

// A DiffStatus is what became of a tensor.
type DiffStatus string

const (
	// Same tensors have the same dtype, shape and numbers.
	Same = DiffStatus(compare.Same)
	// Agree tensors have the same dtype and shape; their values were not read.
	Agree = DiffStatus(compare.Agree)
	// Changed tensors have the same dtype and shape, and other numbers.
	Changed = DiffStatus(compare.Changed)
	// DTypeChanged tensors have the same shape and another dtype.
	DTypeChanged = DiffStatus(compare.DTypeChanged)
	// ShapeChanged tensors have another shape.
	ShapeChanged = DiffStatus(compare.ShapeChanged)
	// OnlyA and OnlyB tensors are in one of the checkpoints.
	OnlyA = DiffStatus(compare.OnlyA)
	OnlyB = DiffStatus(compare.OnlyB)
	// Unread tensors could not be compared; Err says why.
	Unread = DiffStatus(compare.Unread)
)

// json is the status as programs read it.
func (s DiffStatus) json() DiffStatus { return DiffStatus(strings.ReplaceAll(string(s), "-", "_")) }

// A DiffRow is a tensor of A, of B, or of both.
type DiffRow struct {
	// Comparison is the index in the result's Comparisons.
	Comparison int
	Status     DiffStatus
	// Moved says that B gives the tensor a name that belongs to another tensor in A.
	Moved bool
	// By is the evidence that takes the two for the same tensor: name, content,
	// role, prefix, template or likely; "" for one of a single checkpoint.
	By string
	// A and B are indices in the checkpoints, -1 where there is none.
	A, B int
	// NameA is A's own name, Mapped the one that the map or the conversion gave
	// it, NameB the name in B.
	NameA, Mapped, NameB string
	DTypeA, DTypeB       string
	ShapeA, ShapeB       []uint64
	// Layout says what was undone to A's bytes before they were compared.
	Layout []string
	// Figures are how the numbers differ; nil when they were not compared.
	Figures *DiffFigures
	// ExpectedRMS is the relative error that is expected of B's dtype, nil
	// when it is not known or the dtypes are the same.
	ExpectedRMS *float64
	// AsStored says that B's tensor has A's numbers as they are stored: the layout
	// that was undone is not there to be undone.
	AsStored bool
	// Reordered says that both have the same numbers in another order.
	Reordered bool
	// First is the first byte that differs, -1 when that is unknown or none.
	First int64
	// SameBytesAs is the tensor of A whose bytes B's tensor has, where that is not
	// the one it is compared with, or of B for one that only A has; nil without one.
	SameBytesAs *string
	// Reason says why a tensor of one checkpoint only is no difference; "" where it is.
	Reason string
	// Verdict is what the tensor's difference comes to.
	Verdict DiffVerdict
	Err     error
}

// DiffFigures are how the numbers of two tensors differ.
type DiffFigures struct {
	Differ uint64 // how many are not equal
	NaN    uint64 // of them, those where one alone is NaN
	// MaxAbs is the greatest |a-b|, and MaxAt the first number that has it.
	MaxAbs float64
	MaxAt  uint64
	// RelRMS is √(Σ(a-b)²/Σa²).
	RelRMS float64
	// Cosine is Σab/√(Σa²·Σb²); NaN where either is all zeros.
	Cosine float64
	// BRoundsA says that every b is a rounded to B's dtype, or the same number;
	// ARoundsB is the converse.
	BRoundsA, ARoundsB bool
	// Apart is √(Σ(a-b)²/max(Σa²,Σb²)), which a tolerance bounds.
	Apart float64
	// Beyond counts the numbers of tensors of different dtypes that differ by more than
	// rounding explains, and BeyondAt is the first of them.
	Beyond, BeyondAt uint64
	// BlockApart is Apart of the worst block, less what rounding explains.
	BlockApart float64
}

// Renamed reports whether both checkpoints have the tensor under different names,
// after the map.
func (r *DiffRow) Renamed() bool { return r.A >= 0 && r.B >= 0 && r.Mapped != r.NameB }

// Interesting reports whether a row says more than that a tensor is the same.
func (r *DiffRow) Interesting() bool { return r.Status != Same && r.Status != Agree || r.Renamed() }

// Name is the name in B, or in A, after the map, where B lacks the tensor.
func (r *DiffRow) Name() string {
	if r.B >= 0 {
		return r.NameB
	}
	return r.Mapped
}

// The ways in which the values of two dtypes agree.
const (
	EqualValues = "equal"
	RoundedB    = "b" // B is A rounded
	RoundedA    = "a" // A is B rounded
)

// Rounded says in which way the values of both agree, "" when they do not.
func (f *DiffFigures) Rounded() string {
	switch {
	case f.Differ == 0:
		return EqualValues
	case f.BRoundsA:
		return RoundedB
	case f.ARoundsB:
		return RoundedA
	}
	return ""
}

// Rounded says in which way the values of two dtypes agree, "" where they do not or
// the dtypes are the same.
func (r *DiffRow) Rounded() string {
	if r.Status != DTypeChanged || r.Figures == nil {
		return ""
	}
	return r.Figures.Rounded()
}

type jsonDiffRow struct {
	// Comparison is the index in comparisons.
	Comparison int `json:"comparison"`
	// Status is what became of the tensor: agree where values were not read, error where
	// they could not be.
	Status DiffStatus `json:"status"`
	// Moved says that B gives the tensor a name that belongs to another tensor in A.
	Moved bool `json:"moved"`
	// By is the evidence that takes the two for the same tensor, nil for one of a single
	// checkpoint.
	By *string `json:"paired_by"`
	// NameA and NameB are the names in A and in B, nil where there is no such tensor.
	NameA       *string  `json:"name_a"`
	NameABase64 []byte   `json:"name_a_base64,omitempty"`
	NameB       *string  `json:"name_b"`
	NameBBase64 []byte   `json:"name_b_base64,omitempty"`
	DTypeA      *string  `json:"dtype_a"`
	DTypeB      *string  `json:"dtype_b"`
	ShapeA      []uint64 `json:"shape_a"`
	ShapeB      []uint64 `json:"shape_b"`
	// Layout says what was undone to A's bytes before they were compared.
	Layout *string `json:"layout"`
	// MaxAbs is the greatest |a-b|, and MaxAt the index of the first number that has it.
	MaxAbs *figure `json:"max_abs"`
	MaxAt  *uint64 `json:"max_abs_at"`
	// RelRMS is √(Σ(a-b)²/Σa²).
	RelRMS *figure `json:"rel_rms"`
	// Cosine is Σab/√(Σa²·Σb²), nil where either is all zeros.
	Cosine *figure `json:"cosine"`
	// Differ counts the numbers that are not equal.
	Differ *uint64 `json:"differ"`
	// NaN counts, of those that differ, the ones where one side alone is NaN.
	NaN *uint64 `json:"nan"`
	// Rounded is equal where all numbers are, b where B's are A's rounded to its dtype, and
	// a for the converse.
	Rounded *string `json:"rounded"`
	// Beyond counts the numbers that differ by more than rounding explains.
	Beyond *uint64 `json:"beyond"`
	// ExpectedRMS is the relative error that is expected of B's dtype.
	ExpectedRMS *float64 `json:"expected_rms"`
	// AsStored says that B's tensor has A's numbers as they are stored: the layout that was
	// undone is not there to be undone.
	AsStored bool `json:"as_stored"`
	// Reordered says that both have the same numbers in another order.
	Reordered bool `json:"reordered"`
	// First is the first byte that differs.
	First *int64 `json:"first_byte"`
	// SameBytesAs is the tensor of A whose bytes B's tensor has, where that is not the one
	// that it is compared with; of one that only A has, the tensor of B.
	SameBytesAs *string `json:"same_bytes_as"`
	SameBase64  []byte  `json:"same_bytes_as_base64,omitempty"`
	// Reason is why a tensor of one checkpoint only is no difference, nil where it is one.
	Reason *string `json:"reason"`
	// Verdict is what the tensor's difference comes to.
	Verdict DiffVerdict `json:"verdict"`
	// Error says why the tensor could not be compared.
	Error       *string `json:"error"`
	ErrorBase64 []byte  `json:"error_base64,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (r DiffRow) MarshalJSON() ([]byte, error) {
	j := jsonDiffRow{
		Comparison: r.Comparison, Status: r.Status.json(), Moved: r.Moved, By: some(r.By),
		NameA: optional(r.NameA, r.A >= 0), NameABase64: notUTF8(r.NameA), NameB: optional(r.NameB, r.B >= 0), NameBBase64: notUTF8(r.NameB),
		DTypeA: some(r.DTypeA), DTypeB: some(r.DTypeB), ShapeA: r.ShapeA, ShapeB: r.ShapeB, Layout: some(strings.Join(r.Layout, ", ")),
		ExpectedRMS: r.ExpectedRMS, AsStored: r.AsStored, Reordered: r.Reordered, First: optional(r.First, r.First >= 0),
		SameBytesAs: r.SameBytesAs, Reason: some(r.Reason), Verdict: r.Verdict,
	}
	if r.SameBytesAs != nil {
		j.SameBase64 = notUTF8(*r.SameBytesAs)
	}
	if f := r.Figures; f != nil {
		j.MaxAbs, j.MaxAt, j.RelRMS, j.Cosine = (*figure)(&f.MaxAbs), &f.MaxAt, (*figure)(&f.RelRMS), known(f.Cosine)
		j.Differ, j.NaN, j.Rounded, j.Beyond = &f.Differ, &f.NaN, some(f.Rounded()), &f.Beyond
	}
	j.Error, j.ErrorBase64 = errorText(r.Err)
	return render.Marshal(j)
}

// Diff compares the checkpoints of a set's two releases: the only one of each, or
// those that have the same place in both. What is wrong with one tensor is in its
// row; an error means that there is no comparison.
func Diff(ctx context.Context, set *Set, opts *DiffOptions) (*DiffResult, error) {
	if opts == nil {
		opts = new(DiffOptions)
	}
	if len(set.Releases) != 2 {
		return nil, errors.Join(append(set.Errors, fmt.Errorf("two releases are compared; %d could be opened", len(set.Releases)))...)
	}
	selected, err := opts.Select.Compile()
	if err != nil {
		return nil, err
	}
	r, err := pairUp(set)
	if err != nil {
		return nil, err
	}
	if opts.One && len(r.Comparisons) > 1 {
		return nil, fmt.Errorf("%s, %s: a map is of one checkpoint; name two", set.Releases[0].Path, set.Releases[1].Path)
	}
	if !opts.Headers {
		reach := newReach(ctx)
		for _, c := range r.Comparisons {
			c.list(ctx)
			reach.addCompared(c, opts, selected)
		}
		if err := reach.allow(); err != nil {
			return nil, err
		}
	}
	for k, c := range r.Comparisons {
		if err := c.compare(ctx, k, opts, selected); err != nil {
			return nil, err
		}
	}
	r.Verdict = r.worst()
	r.Faults = set.Faults()
	r.Tensors = func(yield func(DiffRow) bool) {
		for _, c := range r.Comparisons {
			for i := range c.Rows {
				if row := &c.Rows[i]; (opts.All || row.Interesting()) && !yield(*row) {
					return
				}
			}
		}
	}
	return r, nil
}

// pairUp pairs the checkpoints of two releases.
func pairUp(set *Set) (*DiffResult, error) {
	r := &DiffResult{OnlyA: []string{}, OnlyB: []string{}}
	a, b := set.Releases[0], set.Releases[1]
	if len(a.Checkpoints) == 1 && len(b.Checkpoints) == 1 {
		r.Comparisons = []*Comparison{{a: a.Checkpoints[0], b: b.Checkpoints[0]}}
		return r, nil
	}
	inB := make(map[string]*checkpoint.Checkpoint)
	for _, c := range b.Checkpoints {
		inB[place(b, c)] = c
	}
	for _, c := range a.Checkpoints {
		name := place(a, c)
		if other := inB[name]; other != nil {
			r.Comparisons = append(r.Comparisons, &Comparison{a: c, b: other, Place: name})
			delete(inB, name)
		} else {
			r.OnlyA = append(r.OnlyA, c.Path)
		}
	}
	for _, c := range b.Checkpoints {
		if inB[place(b, c)] != nil {
			r.OnlyB = append(r.OnlyB, c.Path)
		}
	}
	if len(r.Comparisons) == 0 {
		var paths []string
		for _, c := range set.Checkpoints {
			paths = append(paths, c.Path)
		}
		return nil, fmt.Errorf("%s, %s: no two checkpoints have the same place in both; name two of %s", a.Path, b.Path, strings.Join(paths, ", "))
	}
	return r, nil
}

// place is where a checkpoint is in its release.
func place(r *checkpoint.Release, c *checkpoint.Checkpoint) string {
	rel, err := filepath.Rel(r.Dir, c.Path)
	if err != nil {
		return c.Path
	}
	return filepath.ToSlash(rel)
}

// Errors returns what could not be compared.
func (r *DiffResult) Errors() []error {
	var out []error
	for _, c := range r.Comparisons {
		for i := range c.Rows {
			if err := c.Rows[i].Err; err != nil {
				out = append(out, err)
			}
		}
	}
	return out
}

// list finds the digests that hubs list of the files of both sides.
func (c *Comparison) list(ctx context.Context) {
	c.digests = make(map[*checkpoint.File]string)
	for _, f := range slices.Concat(c.a.Files, c.b.Files) {
		if source.Scheme(f.Path) == "" || f.Missing || f.Err != nil {
			continue
		}
		if _, digest, err := listed(ctx, f); err == nil {
			c.digests[f] = digest
		}
	}
}

// sameFile reports whether hubs list one digest of two files.
func (c *Comparison) sameFile(x, y *checkpoint.File) bool {
	return c.digests[x] != "" && c.digests[x] == c.digests[y]
}

// addCompared adds the tensors of a comparison that may be read: those that have one of
// the other side's names, or its dtype and shape, unless they are in files that are known
// to have the same bytes. With a map or a conversion that is not known before.
func (r *reach) addCompared(c *Comparison, opts *DiffOptions, selected func(name string) bool) {
	type kind struct {
		dtype string
		shape string
	}
	kindOf := func(t *checkpoint.Tensor) kind { return kind{t.DType, fmt.Sprint(t.Shape)} }
	if !slices.ContainsFunc(slices.Concat(c.a.Files, c.b.Files), func(f *checkpoint.File) bool { return source.Away(r.ctx, f.Path) }) {
		return
	}
	all := opts.Map != nil || opts.Auto || c.a.Format != c.b.Format
	add := func(c1, c2 *checkpoint.Checkpoint) {
		names := make(map[string]checkpoint.Tensor)
		kinds := make(map[kind]bool)
		for _, t := range c2.All() {
			names[t.Name] = t
			kinds[kindOf(&t)] = true
		}
		for _, t := range c1.All() {
			if t.File < 0 || selected != nil && !selected(t.Name) {
				continue
			}
			o, both := names[t.Name]
			same := both && o.File >= 0 && t.Offset >= 0 && o.Offset == t.Offset && o.Bytes == t.Bytes && c.sameFile(c1.Files[t.File], c2.Files[o.File])
			if all || !same && (both || kinds[kindOf(&t)]) {
				r.add(c1, &t, 1)
			}
		}
	}
	add(c.a, c.b)
	add(c.b, c.a)
}

func (c *Comparison) compare(ctx context.Context, k int, opts *DiffOptions, selected func(string) bool) error {
	opt := compare.Options{
		Headers: opts.Headers, Map: opts.Map, Auto: opts.Auto || opts.Map == nil && c.a.Format != c.b.Format,
		Chosen: selected, WeightsOnly: opts.WeightsOnly, Tolerance: opts.Tolerance, Workers: opts.Workers,
	}
	listed := make(map[*checkpoint.File]bool)
	opt.SameFile = func(x, y *checkpoint.File) bool {
		same := c.sameFile(x, y)
		if same {
			listed[x] = true
		}
		return same
	}
	if opts.Progress != nil {
		opt.Stage = func(what string, bytes int64) func(int64) {
			return counter(func(done, total int64) { opts.Progress(what, done, total) }, bytes)
		}
	}
	res, err := compare.Compare(ctx, c.a, c.b, opt)
	if err != nil {
		return err
	}
	side := func(c *checkpoint.Checkpoint, convention string) DiffSide {
		return DiffSide{Path: c.Path, Format: c.Format, Revision: some(c.Revision), Tensors: c.Len(), Convention: some(convention)}
	}
	c.res, c.Notes, c.HeadersOnly = res, res.Notes, opts.Headers
	if n := len(listed); n > 0 {
		c.Notes = append(c.Notes, "not read, since the hub lists the same SHA-256 on both sides: "+plural.Of(n, "file"))
	}
	c.A, c.B = side(c.a, res.From), side(c.b, res.To)
	c.Rules = []DiffRule{}
	for _, r := range res.Rules {
		c.Rules = append(c.Rules, DiffRule(r))
	}
	if res.MetadataCompared {
		c.Metadata, c.Config = changes(res.Metadata), changes(res.Config)
	}
	c.Verdict, c.Summary.headers, c.tolerance = DiffVerdict(res.Verdict), opts.Headers, opts.Tolerance
	c.Rows = make([]DiffRow, len(res.Rows))
	for i := range res.Rows {
		c.setRow(&c.Rows[i], k, &res.Rows[i])
		c.Summary.add(&c.Rows[i])
	}
	res.Rows = nil // c.Rows has them
	c.Summary.Rules, c.Summary.Metadata, c.Summary.Config = len(res.Rules), len(res.Metadata), len(res.Config)
	return nil
}

func changes(list []compare.Change) []Change {
	out := []Change{}
	for i := range list {
		from := &list[i]
		out = append(out, Change{Key: from.Key, A: optional(from.A, from.InA), B: optional(from.B, from.InB)})
	}
	return out
}

func (c *Comparison) setRow(out *DiffRow, k int, r *compare.Row) {
	*out = DiffRow{
		Comparison: k, Status: DiffStatus(r.Status), By: string(r.By), A: r.A, B: r.B,
		NameA: r.NameA, Mapped: r.Mapped, NameB: r.NameB, DTypeA: r.DTypeA, DTypeB: r.DTypeB, ShapeA: r.ShapeA, ShapeB: r.ShapeB,
		Layout: r.Layout, AsStored: r.Stored, Reordered: r.Reordered, First: r.First,
		Reason: r.Reason, Verdict: DiffVerdict(r.Verdict), Err: r.Err,
	}
	if r.Renamed() && r.By == compare.ByContent {
		_, out.Moved = c.a.Lookup(r.NameB)
	}
	if f := r.Difference; f != nil {
		out.Figures = &DiffFigures{
			Differ: f.Differ, NaN: f.NaN, MaxAbs: f.MaxAbs, MaxAt: f.MaxAt, RelRMS: f.RelRMS, Cosine: f.Cosine,
			BRoundsA: f.BRoundsA, ARoundsB: f.ARoundsB, Apart: f.Apart, Beyond: f.Beyond, BeyondAt: f.BeyondAt, BlockApart: f.BlockApart,
		}
	}
	if e, ok := r.Expected(); ok {
		out.ExpectedRMS = &e
	}
	if r.Holds >= 0 {
		of := c.a
		if r.B < 0 {
			of = c.b
		}
		name := of.At(r.Holds).Name
		out.SameBytesAs = &name
	}
}

func (n *DiffSummary) add(r *DiffRow) {
	switch r.Status {
	case Same:
		n.Same++
	case Agree:
		n.Agree++
	case Changed:
		n.Changed++
	case DTypeChanged:
		n.DType++
	case ShapeChanged:
		n.Shape++
	case OnlyA:
		n.OnlyA++
	case OnlyB:
		n.OnlyB++
	case Unread:
		n.Error++
	}
	switch {
	case r.Renamed():
		n.Renamed++
		if r.Moved {
			n.Moved++
		}
	case r.Status == Same:
		n.kept++
	case r.Status == Agree:
		n.agreed++
	}
	switch r.Rounded() {
	case EqualValues:
		n.Equal++
	case RoundedA, RoundedB:
		n.Rounded++
	}
	if r.Reason != "" {
		n.Excused++
	} else if r.Offends() {
		n.Offending++
	}
}

// Map returns the map that explains the renamed tensors, with the rules that the
// contents of some tensor prove, and how many rules are left out because none
// does.
func (c *Comparison) Map() (m *rename.Map, unproven int) {
	m = new(rename.Map)
	if c.res.Map != nil {
		*m = *c.res.Map
	}
	rules := m.Rules
	m.Rules = nil
	tensors, proven := 0, 0
	for i, r := range c.res.Rules {
		proven += r.Proven
		if r.Proven == 0 && r.To != "" {
			unproven++
			continue
		}
		tensors += r.Tensors
		m.Rules = append(m.Rules, rules[i])
	}
	m.Description = fmt.Sprintf("%s to %s: %s, %s proven by content",
		filepath.Base(c.a.Path), filepath.Base(c.b.Path), render.Counted(tensors, "tensor"), render.Grouped(uint64(proven)))
	return m, unproven
}
