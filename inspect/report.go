package inspect

import (
	"cmp"
	"context"
	"math/bits"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/stats"
)

// ReportOptions adjust [Report]. Nil options are the defaults.
type ReportOptions struct {
	// RuleChoice says by which rules the releases are judged.
	RuleChoice
	// FailOn is the severity from which on the judgement is a failure, as in [CheckOptions].
	FailOn string
	// Base is the path of the model that adapters are for, as in [CheckOptions].
	Base string
	// Recursive judges every release at and below the paths.
	Recursive bool
	// Subtree is the part of PyTorch files that is read.
	Subtree string
	// Select chooses the tensors that are listed, measured and compared. The sums and the
	// judgement are of all.
	Select Selection
	// Values also reads all data: for the rules about values, for the figures of the
	// layers and the content ids, and of two models for how their numbers differ.
	Values bool
	// Workers bounds how many files and tensors are worked on at once.
	Workers int
	// Progress is told of each stage how many bytes are done, by several goroutines
	// at once. A stage begins with 0.
	Progress func(stage string, done, total int64)
}

// A ReportResult puts together what other functions of this package say of a model, or
// of two.
type ReportResult struct {
	// Checkpoints are what [Info] says of them, and Identities what [Identify] says.
	Checkpoints []*CheckpointInfo `json:"checkpoints"`
	Identities  []*IdentifyResult `json:"identities"`
	// Groups are the tensors that were chosen, folded as 'wtinspect ls' folds them.
	Groups Seq[TensorGroup] `json:"groups"`
	// Check is what [Check] found, and Rules document the rules that found something.
	Check *CheckResult `json:"check"`
	Rules []Rule       `json:"rules"`
	// Values are nil when values were not read.
	Values *ReportedValues `json:"values"`
	// Difference is nil when there is one model, or one of two could not be opened.
	Difference *ReportedDifference `json:"difference"`
	Faults     Seq[Fault]          `json:"faults"`

	// Listings are the tensors that were chosen of each checkpoint.
	Listings []*Listing `json:"-"`
	// Chosen says that some tensors may not have been.
	Chosen bool `json:"-"`

	// Unopened say which of the references could not be opened, and why.
	Unopened []error `json:"-"`
}

// ReportedValues are what the data says.
type ReportedValues struct {
	// Checkpoints have their content ids, of those whose tensors were all chosen.
	Checkpoints []HashedCheckpoint `json:"checkpoints"`
	// Layers are the figures by template and layer.
	Layers Seq[LayerRow] `json:"layers"`

	Stats *StatsResult `json:"-"`
	// Templates are those of each checkpoint, with their layers.
	Templates [][]StatsTemplate `json:"-"`

	hash *HashResult
}

// A ReportedDifference is a [DiffResult] with its tensors in groups.
type ReportedDifference struct {
	Comparisons []*Comparison `json:"comparisons"`
	OnlyA       []string      `json:"only_a"`
	OnlyB       []string      `json:"only_b"`
	Verdict     DiffVerdict   `json:"verdict"`
	// Groups are the tensors that differ in something, folded.
	Groups Seq[ReportedDiffGroup] `json:"groups"`

	result *DiffResult
}

// A ReportedDiffGroup is a [DiffGroup] of one of the comparisons.
type ReportedDiffGroup struct {
	Comparison int
	DiffGroup
}

type jsonDiffGroup struct {
	// Comparison is the index in comparisons.
	Comparison int `json:"comparison"`
	// Name has the numbers that differ between its tensors as sets in braces.
	Name       string     `json:"name"`
	NameBase64 []byte     `json:"name_base64,omitempty"`
	Status     DiffStatus `json:"status"`
	Tensors    int        `json:"tensors"`
	DTypeA     *string    `json:"dtype_a"`
	DTypeB     *string    `json:"dtype_b"`
	ShapeA     []uint64   `json:"shape_a"`
	ShapeB     []uint64   `json:"shape_b"`
	// MaxAbs, RelRMS and Cosine are the worst of the tensors, nil where numbers were not
	// compared.
	MaxAbs *figure `json:"max_abs"`
	RelRMS *figure `json:"rel_rms"`
	Cosine *figure `json:"cosine"`
	// Note is for people; the text may change.
	Note *string `json:"note"`
}

// MarshalJSON implements [json.Marshaler].
func (g ReportedDiffGroup) MarshalJSON() ([]byte, error) {
	r := g.Rows[0]
	j := jsonDiffGroup{
		Comparison: g.Comparison, Name: g.Name, NameBase64: notUTF8(g.Name), Status: r.Status.json(), Tensors: len(g.Rows),
		DTypeA: some(r.DTypeA), DTypeB: some(r.DTypeB), ShapeA: r.ShapeA, ShapeB: r.ShapeB, Note: some(g.Remark(false)),
	}
	if f := WorstFigures(g.Rows); f != nil {
		j.MaxAbs, j.RelRMS, j.Cosine = (*figure)(&f.MaxAbs), (*figure)(&f.RelRMS), known(f.Cosine)
	}
	return render.Marshal(j)
}

// A TensorGroup is tensors of a checkpoint that differ only in the numbers in their names.
type TensorGroup struct {
	// Checkpoint is the index in the result's Checkpoints.
	Checkpoint int
	Group
}

type jsonGroup struct {
	// Checkpoint is the index in checkpoints.
	Checkpoint int `json:"checkpoint"`
	// Name has the numbers that differ between its tensors as sets in braces.
	Name       string `json:"name"`
	NameBase64 []byte `json:"name_base64,omitempty"`
	// DType and Shape are those of each of the tensors.
	DType *string  `json:"dtype"`
	Shape []uint64 `json:"shape"`
	// Tensors is how many there are, and Elements and Bytes add them up.
	Tensors  int     `json:"tensors"`
	Elements *uint64 `json:"elements"`
	Bytes    *uint64 `json:"bytes"`
	// Files is how many files they are in.
	Files int `json:"files"`
}

// MarshalJSON implements [json.Marshaler].
func (g TensorGroup) MarshalJSON() ([]byte, error) {
	j := jsonGroup{
		Checkpoint: g.Checkpoint, Name: g.Name, NameBase64: notUTF8(g.Name), DType: some(g.First.DType), Shape: g.First.Shape,
		Tensors: len(g.Members), Bytes: optional(g.Bytes.N, g.First.BytesKnown && !g.Bytes.Overflow), Files: g.Files,
	}
	j.Elements = g.Elements()
	return render.Marshal(j)
}

// Elements adds up the elements of the tensors, nil where that is not known.
func (g *Group) Elements() *uint64 {
	n, ok := g.First.Elements()
	high, sum := bits.Mul64(n, uint64(len(g.Members)))
	return optional(sum, ok && high == 0)
}

// A LayersPair is the figures of a template of both checkpoints of a comparison.
type LayersPair struct{ A, B *StatsTemplate }

// LayersPairs returns the templates that both checkpoints of comparison k have, under
// whatever names, with values that were read.
func (r *ReportResult) LayersPairs(k int) []LayersPair {
	if r.Values == nil {
		return nil
	}
	c := r.Difference.Comparisons[k]
	templates := func(of *checkpoint.Checkpoint) map[string]*StatsTemplate {
		i := slices.IndexFunc(r.Checkpoints, func(i *CheckpointInfo) bool { return i.Source == of })
		out := make(map[string]*StatsTemplate)
		for t := range r.Values.Templates[i] {
			one := &r.Values.Templates[i][t]
			out[one.Name] = one
		}
		return out
	}
	inA, inB := templates(c.a), templates(c.b)
	var out []LayersPair
	paired := make(map[*StatsTemplate]bool)
	for i := range c.Rows {
		row := &c.Rows[i]
		if row.A < 0 || row.B < 0 {
			continue
		}
		nameA, _ := stats.Split(row.NameA)
		nameB, _ := stats.Split(row.NameB)
		if p := (LayersPair{inA[nameA], inB[nameB]}); p.A != nil && p.B != nil && !paired[p.A] && !paired[p.B] {
			paired[p.A], paired[p.B] = true, true
			out = append(out, p)
		}
	}
	return out
}

// Report puts together what there is to say of the releases of a set, which refs were
// opened for: what they are, what their tensors are, what is wrong with them, and of two
// how they differ.
func Report(ctx context.Context, set *Set, refs []string, opts *ReportOptions) (*ReportResult, error) {
	if opts == nil {
		opts = new(ReportOptions)
	}
	stage := func(what string) func(done, total int64) {
		if opts.Progress == nil {
			return nil
		}
		return func(done, total int64) { opts.Progress(what, done, total) }
	}
	list, err := List(ctx, set, &ListOptions{Select: opts.Select})
	if err != nil {
		return nil, err
	}
	r := &ReportResult{Rules: []Rule{}, Faults: set.Faults(), Listings: list.Listings, Chosen: !opts.Select.All(), Unopened: set.Errors, Groups: groupsOf(list.Listings)}
	var (
		checked  sync.WaitGroup
		checkErr error
	)
	checked.Go(func() {
		r.Check, checkErr = Check(ctx, refs, &CheckOptions{
			RuleChoice: opts.RuleChoice, FailOn: opts.FailOn, Base: opts.Base, Recursive: opts.Recursive, Subtree: opts.Subtree,
			Values: opts.Values, Workers: opts.Workers, Progress: stage("values"),
		})
	})
	err = r.identify(ctx, set)
	checked.Wait()
	if err := cmp.Or(checkErr, err); err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	for i := range r.Check.Findings {
		found[r.Check.Findings[i].Rule] = true
	}
	for _, rule := range r.Check.Rules {
		if found[rule.ID] {
			r.Rules = append(r.Rules, rule)
		}
	}
	if opts.Values {
		if err := r.measure(ctx, set, opts, stage); err != nil {
			return nil, err
		}
	}
	if len(refs) > 1 && len(set.Releases) > 1 {
		d, err := Diff(ctx, set, &DiffOptions{Select: opts.Select, Headers: !opts.Values, Workers: opts.Workers, Progress: opts.Progress})
		if err != nil {
			return nil, err
		}
		r.Difference = &ReportedDifference{
			Comparisons: d.Comparisons, OnlyA: d.OnlyA, OnlyB: d.OnlyB, Verdict: d.Verdict, result: d,
			Groups: func(yield func(ReportedDiffGroup) bool) {
				for k, c := range d.Comparisons {
					for _, g := range c.Groups(true, false) {
						if !yield(ReportedDiffGroup{k, g}) {
							return
						}
					}
				}
			},
		}
	}
	return r, nil
}

// identify says what the checkpoints are.
func (r *ReportResult) identify(ctx context.Context, set *Set) error {
	info, err := Info(ctx, set, nil)
	if err != nil {
		return err
	}
	r.Checkpoints = info.Checkpoints
	for _, i := range info.Checkpoints {
		one, err := identified(ctx, i.Source, i.Identity, nil)
		if err != nil {
			return err
		}
		r.Identities = append(r.Identities, one)
	}
	return nil
}

// measure says what the values are.
func (r *ReportResult) measure(ctx context.Context, set *Set, opts *ReportOptions, stage func(string) func(done, total int64)) error {
	figures, err := Stats(ctx, set, &StatsOptions{Select: opts.Select, Workers: opts.Workers, Progress: stage("stats")})
	if err != nil {
		return err
	}
	hash, err := Hash(ctx, set, &HashOptions{Select: opts.Select, Workers: opts.Workers, Progress: stage("hash")})
	if err != nil {
		return err
	}
	layers := figures.ByLayer()
	r.Values = &ReportedValues{Checkpoints: hash.Checkpoints, Layers: layers.Layers, Stats: figures, Templates: layers.Templates, hash: hash}
	return nil
}

// Problems returns what could not be checked, without what could not be opened.
func (r *ReportResult) Problems() []error {
	return slices.DeleteFunc(slices.Clone(r.Check.Problems), func(problem error) bool {
		return slices.ContainsFunc(r.Unopened, func(err error) bool { return err.Error() == problem.Error() })
	})
}

// Errors returns what could not be checked, measured or compared.
func (r *ReportResult) Errors() []error {
	out := r.Problems()
	if v := r.Values; v != nil {
		out = append(append(out, v.Stats.Errors()...), v.hash.Errors()...)
	}
	if d := r.Difference; d != nil {
		out = append(out, d.result.Errors()...)
	}
	return out
}

// groupsOf yields the groups of listings.
func groupsOf(listings []*Listing) Seq[TensorGroup] {
	return func(yield func(TensorGroup) bool) {
		for k, l := range listings {
			groups, _ := l.Groups(false)
			for g := range groups {
				if !yield(TensorGroup{k, g}) {
					return
				}
			}
		}
	}
}
