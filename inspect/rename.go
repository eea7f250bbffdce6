package inspect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// RenameOptions say what tensors become, and where the result goes.
type RenameOptions struct {
	// Map has the new names. Without it To is the convention, or the project, to
	// convert to, and From the one that the names follow, "" for the one
	// identified.
	Map      *rename.Map
	To, From string
	// Edit is a rename without a map, or what to do besides Map. It does not go with To.
	Edit rename.Edit
	// Unknown says what becomes of tensors for which To has no name.
	Unknown UnknownTensors
	// Model is what is known of the model, nil for what stands beside the weights.
	Model *convention.Model
	// Select chooses tensors by name, nil for all. Others keep their names.
	Select func(name string) bool
	// Strict refuses rules that match nothing, and texts beside the weights that
	// may mean renamed tensors and are not followed.
	Strict bool
	// AllowLayoutMismatch allows new names under which bytes mean something else.
	AllowLayoutMismatch bool
	// Inverse is a file for the map that undoes the rename. It is written before
	// anything changes, and taken back when the rename fails.
	Inverse string
	// Rewrite says where the result goes: in place when its Output is "".
	Rewrite rewrite.Options

	beside *convention.Model // what the result has beside its tensors
}

// UnknownTensors says what a conversion does with tensors that do not become any
// of the other convention.
type UnknownTensors uint8

const (
	// RefuseUnknown refuses the plan. It lets tensors be that neither of two
	// conventions of one project knows: they keep their names.
	RefuseUnknown UnknownTensors = iota
	// DropUnknown leaves them out.
	DropUnknown
	// KeepUnknown keeps their names.
	KeepUnknown
)

// A Renaming is a plan for the tensors of a checkpoint, and the rewrite that
// carries it out. Nothing has been changed before [Renaming.Run].
type Renaming struct {
	Checkpoint *checkpoint.Checkpoint
	// Conversion is what Map was derived from, nil where a map was given.
	Conversion *Translation
	// Plan has what happens to every tensor. Its Problems are reasons not to run.
	Plan *rename.Plan
	// Unknown are the tensors that do not become any of the other convention, and
	// keep their names unless they are dropped.
	Unknown []convert.Aside
	// Unused says what of the edit does nothing to this checkpoint.
	Unused []string
	// Slips are what of it was most likely not meant so.
	Slips []string
	// Mismatch is what a loader would read wrongly under the new names, nil when
	// nothing. It is among the problems.
	Mismatch *convert.Verdict
	// Job is the rewrite, nil when the plan has problems or cannot be prepared;
	// Err says why it cannot.
	Job *rewrite.Job
	Err error
	// RemoteBytes are read from other machines to write a copy.
	RemoteBytes uint64
	// Report is what Run has done.
	Report *rewrite.Report

	reach  *reach
	opts   RenameOptions
	names  []string          // of the tensors that Plan is for
	format checkpoint.Format // that they are written in
}

// Rename plans how the tensors of a checkpoint get other names, and prepares the
// rewrite. Reasons that keep it from running are in the result; an error means
// that there is no plan to speak of.
func Rename(ctx context.Context, c *checkpoint.Checkpoint, opts *RenameOptions) (*Renaming, error) {
	own, _ := adapt.Model(ctx, c) // a document that cannot be read says nothing
	plan := *opts
	plan.beside = own
	if out := opts.Rewrite.Output; out != "" && !c.IsRelease() && filepath.Dir(out) != filepath.Clean(c.Dir) {
		plan.beside = &convention.Model{Architecture: own.Architecture}
	}
	r, err := newRenaming(ctx, c, tensorsOf(c), c.Format, &plan)
	if err != nil {
		return nil, err
	}
	if len(r.Plan.Problems) == 0 {
		w := &arrays.Workspace{}
		err := r.tied(ctx, func(name string) (*arrays.Array, error) {
			i := slices.Index(r.names, name)
			data, err := c.Data(i)
			if err != nil {
				return nil, err
			}
			return arrays.Stored(c.Files[c.At(i).File], c.At(i), w.Tensor(data, 0, data.Size()))
		})
		if err != nil {
			return nil, err
		}
		rewriting := opts.Rewrite
		rewriting.Strict = opts.Strict
		r.Err, err = r.prepare(func() (err error) {
			r.Job, err = rewrite.Prepare(ctx, c, r.Plan, &rewriting)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if r.Conversion != nil && slices.ContainsFunc(r.Plan.Transforms, func(t rename.Transform) bool {
		return slices.ContainsFunc(t.Ops, func(op tensorop.Op) bool { return op.Kind == tensorop.NegativeExp })
	}) {
		r.Conversion.Notes = append(r.Conversion.Notes, "-exp(x) of the state-space decay is rounded, and some of the numbers may differ a little on the way back; 'wtinspect convert --count' counts them")
	}
	r.reach = newReach(ctx)
	if opts.Rewrite.Output != "" {
		r.reach.addAll(c, nil)
		r.RemoteBytes = uint64(r.reach.size())
	}
	return r, ctx.Err()
}

// newRenaming plans what the tensors of a checkpoint are called in a format. The tensors
// may be others than those of its files.
func newRenaming(ctx context.Context, c *checkpoint.Checkpoint, tensors []checkpoint.Tensor, format checkpoint.Format, opts *RenameOptions) (*Renaming, error) {
	r := &Renaming{Checkpoint: c, opts: *opts, format: format}
	r.names = make([]string, len(tensors))
	for i := range tensors {
		r.names[i] = tensors[i].Name
	}
	given := opts.Map
	if !opts.Edit.IsZero() {
		if opts.To != "" {
			return nil, errors.New("a conversion finds the convention by all names, and does not go with an edit of names; rename first, then convert")
		}
		edited, err := opts.Edit.Map(opts.Map)
		if err != nil {
			return nil, err
		}
		opts, r.opts.Map = &r.opts, edited
	}
	m := opts.Map
	if r.opts.Model == nil {
		var err error
		if r.opts.Model, err = Model(ctx, c, ""); err != nil {
			return nil, err
		}
	}
	if m == nil {
		var err error
		if r.Conversion, err = Translate(ctx, c, &TranslateOptions{To: opts.To, From: opts.From, Model: r.opts.Model, Tensors: tensors}); err != nil {
			return nil, err
		}
		if err = r.distinct(r.Conversion, opts.beside); err != nil {
			return nil, err
		}
		r.Unknown = slices.DeleteFunc(r.Conversion.Unknown(), func(a convert.Aside) bool { return opts.Select != nil && !opts.Select(a.Name) })
		if opts.Unknown == DropUnknown {
			r.Conversion.DropUnknown()
		}
		if m, err = r.Conversion.Map(); err != nil {
			return nil, err
		}
	}
	r.apply(m)
	if !opts.Edit.IsZero() {
		r.findUnused(given, r.names)
	}
	if opts.Unknown == RefuseUnknown {
		r.refuseUnknown()
	}
	if opts.Map != nil && !opts.AllowLayoutMismatch {
		r.Mismatch = reviewNames(r.Plan, r.opts.Model)
	}
	return r, nil
}

// tied refuses to drop a head for being the token embedding where it is not: its numbers would be lost. array reads
// a tensor. Of files on other machines, which a plan does not read, it believes the configuration.
func (r *Renaming) tied(ctx context.Context, array func(name string) (*arrays.Array, error)) error {
	if r.Conversion == nil || r.Conversion.Head == "" || r.Conversion.Embedding == "" {
		return nil
	}
	head, embedding := r.Conversion.Head, r.Conversion.Embedding
	if r.opts.Select != nil && !r.opts.Select(head) {
		return nil
	}
	different := &convert.RefusalError{From: r.Conversion.From, To: r.Conversion.To, Tensor: head, Reason: fmt.Sprintf("a model of %s has the token embedding for its head, and this one is not the same as %q, so its numbers would be lost; 'wtinspect convert --exclude %s' leaves it out", r.Conversion.To, embedding, head)}
	if slices.ContainsFunc(r.Checkpoint.Files, func(f *checkpoint.File) bool { return f.Missing || source.Away(ctx, f.Path) }) {
		if is, said := r.Checkpoint.Config.Bool("tie_word_embeddings"); said && !is {
			return different
		}
		return nil
	}
	a, err := array(head)
	if err != nil {
		return err
	}
	b, err := array(embedding)
	if err != nil {
		return err
	}
	same := a.Elem == b.Elem && slices.Equal(a.Shape, b.Shape)
	if same {
		if same, err = source.Equal(ctx, a.Data, b.Data, a.Size()); err != nil {
			return err
		}
	}
	if same {
		return nil
	}
	return different
}

// distinct refuses a conversion of a GGUF file whose architecture would have it taken for another convention of
// the same names, or of a release whose config.json would. Where nothing in the result says which of them it is,
// that is noted: whoever converts it back has to say it.
func (r *Renaming) distinct(conv *Translation, beside *convention.Model) error {
	to, ok := convention.Lookup(conv.To)
	if !ok || conv.Dialect != "" {
		return nil
	}
	got, err := conv.taken(beside)
	if err != nil || got.Convention == to.Name || !got.IsOf(to.Name) {
		return err
	}
	if a := beside.Architecture; r.format == checkpoint.GGUF && got.Convention == a+"-gguf" {
		return &convert.RefusalError{From: conv.From, To: to.Name, Reason: fmt.Sprintf("general.architecture of the result would be %q, and %s has the same names, so readers would take it for that; 'wtinspect convert --like FILE' takes the key/values of another GGUF file", a, got.Convention)}
	}
	if t := cmp.Or(beside.TextType, beside.Type); t != "" && !slices.Contains(got.Alike, to.Name) {
		return &convert.RefusalError{From: conv.From, To: to.Name, Reason: fmt.Sprintf("model_type of config.json is %q, and %s has the same names, so readers would take the result for that; change model_type first, or convert the file of the weights alone, into another directory", t, got.Convention)}
	}
	rivals := slices.DeleteFunc(append([]string{got.Convention}, got.Alike...), func(name string) bool { return name == to.Name })
	conv.Notes = append(conv.Notes, fmt.Sprintf("the result has the names of %s as well, and --from %s says which it is, on the way back", shortKeys(rivals), to.Name))
	return nil
}

// prepare has a function prepare what carries the plan out, and returns its error. Where
// a plan that was derived cannot be carried out without rounding, it is made again to
// round. An error that is not of the function is the second.
func (r *Renaming) prepare(try func() error) (failed, err error) {
	failed = try()
	for allowed := tensorop.Kind(""); r.opts.Map == nil && r.Conversion != nil; {
		rounds, ok := errors.AsType[*arrays.RoundsError](failed)
		if !ok || rounds.Kind == allowed {
			break
		}
		allowed = rounds.Kind
		r.Conversion.AllowRounding(allowed)
		m, err := r.Conversion.Map()
		if err != nil {
			return nil, err
		}
		r.apply(m)
		failed = try()
	}
	return failed, nil
}

// findUnused finds what of the edit does nothing, or not what was meant. One rule that was given may be
// several of the map that the edit makes, or none, so strictness looks at those that
// were given.
func (r *Renaming) findUnused(given *rename.Map, names []string) {
	if r.opts.Select != nil {
		names = slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !r.opts.Select(name) })
	}
	r.Unused = r.opts.Edit.Unused(given, names)
	r.Slips = r.opts.Edit.Slips(given, names)
	if !r.opts.Strict {
		return
	}
	for _, text := range r.Unused {
		r.Plan.Problems = append(r.Plan.Problems, rename.Problem{Kind: rename.UnusedRule, Rule: -1, Message: text})
	}
	if given == nil {
		return
	}
	for _, p := range rename.NewPlan(given, names, rename.Limits{Strict: true}).Problems {
		if p.Kind == rename.UnusedRule {
			p.Rule = -1
			r.Plan.Problems = append(r.Plan.Problems, p)
		}
	}
}

// apply plans what a map does to the tensors.
func (r *Renaming) apply(m *rename.Map) {
	r.Plan = plan(r.names, m, r.opts.Model, r.opts.Select, r.opts.Strict && r.opts.Edit.IsZero(), r.format)
}

// plan applies a map to the names of tensors, within the limits of a format.
func plan(names []string, m *rename.Map, model *convention.Model, selected func(name string) bool, strict bool, format checkpoint.Format) *rename.Plan {
	limits := rename.Safetensors()
	if format == checkpoint.GGUF {
		limits = rename.GGUF()
	}
	limits.Strict, limits.Number = strict, model.Number
	return rename.NewSelectedPlan(m, names, selected, limits)
}

// namesOf lists the names of a checkpoint's tensors.
func namesOf(c *checkpoint.Checkpoint) []string {
	names := make([]string, c.Len())
	for i, t := range c.All() {
		names[i] = t.Name
	}
	return names
}

// reviewNames is [Review] for the plan of a map that somebody wrote. A map that moves
// bytes knows where they go.
func reviewNames(p *rename.Plan, model *convention.Model) *convert.Verdict {
	if len(p.Transforms)+len(p.Problems) > 0 || p.Summary().Moved == 0 {
		return nil
	}
	return Review(p, model)
}

// refuseUnknown adds to the problems of the plan the tensors that would have no
// name in the other convention, one problem for each template and reason, or for each reason that many have.
func (r *Renaming) refuseUnknown() {
	if len(r.Unknown) == 0 {
		return
	}
	unknown := r.Unknown
	if r.Conversion.SameProject() {
		unknown = slices.DeleteFunc(slices.Clone(unknown), func(a convert.Aside) bool { return a.Role == "" })
	}
	groups := template.FoldPairs(len(unknown), func(i int) (string, string, string) {
		return unknown[i].Name, unknown[i].Name, unknown[i].Reason
	})
	const few = 3 // names of a reason that have a line each, or are named on one
	byReason := make(map[string][]int)
	for k, g := range groups {
		reason := unknown[g.Members[0]].Reason
		byReason[reason] = append(byReason[reason], k)
	}
	for k, g := range groups {
		reason := unknown[g.Members[0]].Reason
		same := byReason[reason]
		p := rename.Problem{Kind: rename.NoPlace, Rule: -1}
		text := strconv.Quote(g.Name)
		switch {
		case len(same) <= few:
			same = []int{k}
		case same[0] != k:
			continue // with the first
		default:
			for _, k := range same[1:few] {
				text += ", " + strconv.Quote(groups[k].Name)
			}
			text += fmt.Sprintf(" and %d more", len(same)-few)
		}
		for _, k := range same {
			for _, i := range groups[k].Members {
				p.From = append(p.From, unknown[i].Name)
			}
		}
		p.Message = fmt.Sprintf("%s (%s): %s", text, plural.Of(len(p.From), "tensor"), reason)
		r.Plan.Problems = append(r.Plan.Problems, p)
	}
}

// WithoutPlace reports whether the plan is refused because tensors have no name in
// the other convention.
func (r *Renaming) WithoutPlace() bool {
	return slices.ContainsFunc(r.Plan.Problems, func(p rename.Problem) bool { return p.Kind == rename.NoPlace })
}

// Close releases what the renaming holds.
func (r *Renaming) Close() error {
	if r.Job == nil {
		return nil
	}
	return r.Job.Close()
}

// Run carries the plan out, once. The inverse is there before, so that no moment
// exists at which the names are new and the old ones unknown. progress may be nil.
func (r *Renaming) Run(ctx context.Context, progress func(done, total int64)) (err error) {
	if err := errors.Join(r.Plan.Err(), r.Err); err != nil {
		return err
	}
	r.reach.announce()
	if r.opts.Inverse == "" {
		r.Report, err = r.Job.Run(ctx, progress)
		return err
	}
	file, err := r.newInverse(ctx)
	if err != nil {
		return fmt.Errorf("the inverse: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if r.Report, err = r.Job.Run(ctx, progress); err != nil && !errors.Is(err, rewrite.ErrPending) {
		err = errors.Join(err, file.Revert())
	}
	return err
}

// newInverse writes the map that undoes the rename.
func (r *Renaming) newInverse(ctx context.Context) (*txn.NewFile, error) {
	name := r.opts.Inverse
	if err := r.inverseFree(ctx); err != nil {
		return nil, err
	}
	file, err := txn.Create(name)
	if err != nil {
		return nil, err
	}
	if err = rename.Write(file, r.Plan.Inverse()); err == nil {
		err = file.Publish()
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// inverseFree checks that the file of the inverse may be written: only another
// map may be replaced.
func (r *Renaming) inverseFree(ctx context.Context) error {
	name := r.opts.Inverse
	notMap := fmt.Errorf("%s is not a map, and is not replaced by the inverse; name another file", name)
	fi, err := source.Lstat(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case slices.ContainsFunc(r.Checkpoint.Files, func(f *checkpoint.File) bool { return txn.SameFile(name, f.Path) }):
		return fmt.Errorf("%s is one of the inputs; choose another name", name)
	case !r.opts.Rewrite.Force:
		return fmt.Errorf("%s already exists; name another file for the inverse, or use --force", name)
	case !fi.Mode().IsRegular() || fi.Size() > source.Map.Limit():
		return notMap
	}
	text, err := source.ReadFile(ctx, name, source.Map)
	if err != nil {
		return err
	}
	if _, err := rename.Parse(name, text); err != nil {
		return notMap
	}
	return nil
}
