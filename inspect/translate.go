package inspect

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
	"github.com/wtinspect/wtinspect/safetensors"
)

// Model returns what is known of a checkpoint's model beside its tensors: what
// config says, a JSON file or a directory that has one, or if it is "", what stands
// beside the weights.
func Model(ctx context.Context, c *checkpoint.Checkpoint, config string) (*convention.Model, error) {
	if config == "" {
		return adapt.Model(ctx, c)
	}
	doc, err := adapt.ReadConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	return adapt.ModelWith(c, doc), nil
}

// TranslateOptions adjust [Translate].
type TranslateOptions struct {
	// To is the convention to convert to, or the project whose names to give.
	To string
	// From is the convention that the names follow, "" for the one identified.
	From string
	// Model is what is known of the model, nil for what stands beside the weights.
	Model *convention.Model
	// Tensors are the checkpoint's as they will be once the names change, nil for as
	// they are.
	Tensors []checkpoint.Tensor
}

// A Translation says what every tensor of a checkpoint becomes in another
// convention.
type Translation struct {
	*convert.Conversion
	// Other is a convention of the same project that has a name for every tensor, where this
	// one has not and no model is known of both: a LLaMA with some biases has the names of Qwen2.
	Other string

	tensors []checkpoint.Tensor
	at      map[string]int // the first tensor of each name
}

// taken is what the result is identified as by what is known of a model. What is aside does
// not count: it is the user who keeps it or drops it.
func (r *Translation) taken(m *convention.Model) (*identify.Result, error) {
	tensors, err := r.Tensors()
	if err != nil {
		return nil, err
	}
	aside := make(map[string]bool, len(r.Aside))
	for i := range r.Aside {
		aside[r.Aside[i].Name] = true
	}
	tensors = slices.DeleteFunc(tensors, func(t checkpoint.Tensor) bool { return aside[t.Name] })
	return identify.Tensors(namedTensors(tensors), m), nil
}

func newTranslation(conv *convert.Conversion, tensors []checkpoint.Tensor) *Translation {
	r := &Translation{Conversion: conv, tensors: tensors, at: make(map[string]int, len(tensors))}
	for i := range tensors {
		if _, ok := r.at[tensors[i].Name]; !ok {
			r.at[tensors[i].Name] = i
		}
	}
	return r
}

// Translate works out how a checkpoint goes from one convention to another. It
// writes nothing. Tensors without a place in the other convention are aside. A result
// that would not be identified as the other convention is refused. The error is an
// [UnknownConventionError], an [UnidentifiedError],
// or a [convert.RefusalError], which says at which tensor the conversion fails and
// what it needs.
func Translate(ctx context.Context, c *checkpoint.Checkpoint, opts *TranslateOptions) (*Translation, error) {
	m := opts.Model
	if m == nil {
		var err error
		if m, err = Model(ctx, c, ""); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var named *convention.Convention
	if opts.From != "" {
		var err error
		if named, err = lookup(opts.From); err != nil {
			return nil, err
		}
	}
	tensors := opts.Tensors
	if tensors == nil {
		tensors = tensorsOf(c)
	}
	list := slices.Collect(namedTensors(tensors))
	if a := identify.ReadAdapter(list, m, named); a != nil {
		return translateAdapter(ctx, c, a, opts, m, tensors)
	}
	from, tied, err := sourceOf(c.Path, list, opts.From, m)
	if err != nil {
		return nil, err
	}
	goals, err := convert.Targets(opts.To, from, m)
	if err != nil {
		return nil, err
	}
	identified := sync.OnceValue(func() bool { return identify.Tensors(slices.Values(list), m).IsOf(from.Name) })
	var refusal error
	var first, best *Translation
	other := ""
	for _, to := range goals {
		r, err := translate(list, tensors, from, to, tied, m, opts.To)
		switch {
		case err != nil: // another one may fit
			refusal = cmp.Or(refusal, err)
			continue
		case first == nil:
			first = r
		}
		// One that has these tensors may be meant, and none that is a part of the model.
		if len(r.Aside) > len(first.Aside) || best != nil && len(r.Unknown()) >= len(best.Unknown()) {
			continue
		}
		got, err := r.follows(to, m)
		switch {
		case err != nil && identified():
			refusal = cmp.Or(refusal, err)
			if c, ok := convention.Lookup(got); ok && c.HasDialect(opts.To) && len(r.Unknown()) == 0 {
				other = cmp.Or(other, got)
			}
			continue
		case best != nil && len(r.Missing) > len(best.Missing):
			continue
		case len(r.Unknown()) == 0:
			return r, nil
		}
		best = r
	}
	if best != nil {
		best.Other = other
		return best, nil
	}
	return nil, refusal
}

// translate is Translate from one convention to another, whatever the result is taken
// for. tied are the conventions that the names may be of as well.
func translate(list []convention.Named, tensors []checkpoint.Tensor, from, to *convention.Convention, tied []*convention.Convention, m *convention.Model, goal string) (*Translation, error) {
	between := func(from, to *convention.Convention) (*convert.Conversion, error) {
		return convert.BetweenWith(from, to, slices.Values(list), m, convert.Options{Named: goal == to.Name})
	}
	conv, err := between(from, to)
	if rival := convert.Rival(conv, err, tied, m, func(from *convention.Convention) (*convert.Conversion, error) {
		to, err := convert.Target(goal, from, m)
		if err != nil {
			return nil, err
		}
		return between(from, to)
	}); rival != nil {
		return nil, &convert.RefusalError{From: from.Name, To: to.Name, Reason: fmt.Sprintf("the names may be those of %s or of %s, which become different tensors; %s", from.Name, rival.Name, undecided(list, m))}
	}
	if err == nil {
		err = conv.Refusal()
	}
	if err != nil {
		return nil, err
	}
	return newTranslation(conv, tensors), nil
}

// undecided says what to do where names may be of several conventions, and why what is known of
// the model does not decide it.
func undecided(list []convention.Named, m *convention.Model) string {
	const from = "name the convention with --from"
	switch kind := cmp.Or(m.Type, m.TextType); {
	case m.Architecture != "":
		why := fmt.Sprintf("general.architecture is %q", m.Architecture)
		if own, ok := convention.Lookup(m.Architecture + "-gguf"); ok {
			has := make(map[*convention.Tensor]bool)
			for _, n := range list {
				t, _, known := own.Match(n.Name)
				if !known {
					return fmt.Sprintf("%s, and %s is no name of %s; %s", why, n.Name, own.Name, from)
				}
				has[t] = true
			}
			for i := range own.Tensors() {
				if t := &own.Tensors()[i]; !has[t] && !t.Optional {
					return fmt.Sprintf("%s, and %s of %s is not there; %s", why, t.Pattern, own.Name, from)
				}
			}
		}
		return why + ", which is neither; " + from
	case kind != "":
		return fmt.Sprintf("model_type is %q, which is neither; %s", kind, from)
	}
	return "give the configuration with --config, or " + from
}

// translateAdapter is Translate for what changes a model.
func translateAdapter(ctx context.Context, c *checkpoint.Checkpoint, a *identify.Adapter, opts *TranslateOptions, m *convention.Model, list []checkpoint.Tensor) (*Translation, error) {
	settings, err := adapt.Adapter(ctx, c)
	if err != nil {
		return nil, err
	}
	model := *m
	model.Adapter = settings
	conv, err := convert.Adapter(a, opts.To, &model)
	if err == nil {
		err = conv.Refusal()
	}
	if err != nil {
		return nil, err
	}
	r := newTranslation(conv, list)
	tensors, err := r.Tensors()
	if err != nil {
		return nil, err
	}
	got := identify.Tensors(namedTensors(tensors), m)
	if !slices.Contains(got.Dialects, conv.Dialect) || conv.Modules != "" && !got.IsOf(conv.Modules) {
		return nil, &convert.RefusalError{From: r.From, To: r.To, Reason: fmt.Sprintf("the result would be taken for %s in the spelling of %s", cmp.Or(got.Convention, "an adapter of no known model"), strings.Join(got.Dialects, ", "))}
	}
	if conv.Modules != "" && got.Convention != conv.Modules {
		conv.Notes = append(conv.Notes, fmt.Sprintf("the result has the names of an adapter of %s as well, and would be taken for that; --from %s says which it is, on the way back", got.Convention, conv.Modules))
	}
	return r, nil
}

// tensorsOf lists the tensors of a checkpoint.
func tensorsOf(c *checkpoint.Checkpoint) []checkpoint.Tensor {
	list := make([]checkpoint.Tensor, 0, c.Len())
	for _, t := range c.All() {
		list = append(list, t)
	}
	return list
}

// namedTensors yields tensors as conventions look at them.
func namedTensors(tensors []checkpoint.Tensor) iter.Seq[convention.Named] {
	return func(yield func(convention.Named) bool) {
		for i := range tensors {
			if !yield(convention.Named{Name: tensors[i].Name, Shape: tensors[i].Shape, DType: tensors[i].DType}) {
				return
			}
		}
	}
}

// follows refuses a conversion whose result would not be taken for the convention
// that was asked for, or for one that shares all its names: nothing that reads the
// convention would find its tensors in it. It returns what it would be taken for.
func (r *Translation) follows(to *convention.Convention, m *convention.Model) (string, error) {
	got, err := r.taken(m)
	if err != nil {
		return "", err
	}
	refuse := func(format string, args ...any) (string, error) {
		return got.Convention, &convert.RefusalError{From: r.From, To: r.To, Reason: fmt.Sprintf(format+"; 'wtinspect map show %s..%s' prints the map, for --map", append(args, r.From, r.To)...)}
	}
	switch {
	case !got.IsOf(to.Name) && got.Convention != "":
		return refuse("the result would be %s%s", got.Convention, lacks(r.Missing, to))
	case !got.IsOf(to.Name):
		return refuse("the result would follow no known convention%s", lacks(r.Missing, to))
	case to.HasDialect("gguf") && len(got.Wrappers) > 0:
		return refuse("the names would stay below %q, and no GGUF file has names below a prefix", strings.Join(got.Wrappers, ""))
	}
	return got.Convention, nil
}

// lacks names the first of the tensors that every layer of a convention has and that
// nothing gives.
func lacks(missing []string, to *convention.Convention) string {
	for _, role := range missing {
		if t, ok := to.Role(role); ok && slices.Contains(t.Pattern.Holes(), "layer") {
			return fmt.Sprintf("; %s has %s, which nothing gives", to.Name, t.Pattern)
		}
	}
	return ""
}

// sourceOf is the convention that a checkpoint follows, and if it is not named, first
// among those that the names fit equally well.
func sourceOf(path string, tensors []convention.Named, name string, m *convention.Model) (*convention.Convention, []*convention.Convention, error) {
	if name != "" {
		from, err := lookup(name)
		return from, nil, err
	}
	r := identify.Read(slices.Values(tensors), m)
	if from, ok := convention.Lookup(r.Convention); ok {
		tied := slices.DeleteFunc(slices.Clone(r.Tied), func(c *convention.Convention) bool { return c == from })
		return from, append([]*convention.Convention{from}, tied...), nil
	}
	return nil, nil, &UnidentifiedError{path, r.Nearest}
}

func lookup(name string) (*convention.Convention, error) {
	if c, ok := convention.Lookup(name); ok {
		return c, nil
	}
	return nil, &UnknownConventionError{name}
}

// An UnknownConventionError names a convention that does not exist.
type UnknownConventionError struct{ Name string }

func (e *UnknownConventionError) Error() string {
	var names []string
	for _, c := range convention.All() {
		names = append(names, c.Name)
	}
	meant := template.DidYouMean(e.Name, names)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, e.Name+"-") })
	switch {
	case meant != "":
	case e.Name != "" && len(names) > 0:
		meant = "; those that begin so are " + strings.Join(names, ", ")
	default:
		meant = "; 'wtinspect map list' shows those there are"
	}
	return fmt.Sprintf("there is no convention %q%s", e.Name, meant)
}

// An UnidentifiedError says that a checkpoint follows no known convention.
type UnidentifiedError struct {
	Path    string
	Nearest identify.Nearest
}

func (e *UnidentifiedError) Error() string {
	s := e.Path + " follows no convention that is known"
	if e.Nearest.Convention != "" {
		s += fmt.Sprintf("; the nearest is %s, %s away", e.Nearest.Convention, plural.Of(e.Nearest.TemplatesAway, "template"))
	}
	return s
}

// Tensors returns the tensors as the conversion would have them, each in the
// place of the first that it is made of. The bytes of what operations make are
// nowhere yet.
func (r *Translation) Tensors() ([]checkpoint.Tensor, error) {
	moveOf := make(map[string]int, len(r.tensors))
	taken := make(map[string]bool, len(r.tensors))
	for i := range r.Moves {
		m := &r.Moves[i]
		moveOf[m.From[0]] = i
		for _, name := range m.From {
			taken[name] = true
		}
	}
	for _, d := range r.Dropped {
		taken[d.Name] = true
	}
	list := make([]checkpoint.Tensor, 0, len(r.tensors))
	for _, t := range r.tensors {
		i, ok := moveOf[t.Name]
		switch {
		case !ok && !taken[t.Name]:
			list = append(list, t)
		case ok:
			made, err := r.made(t, &r.Moves[i])
			if err != nil {
				return nil, err
			}
			list = append(list, made...)
		}
	}
	return list, nil
}

// made returns what a move makes of its tensors, of which first is the first.
func (r *Translation) made(first checkpoint.Tensor, m *convert.Move) ([]checkpoint.Tensor, error) {
	if !m.MovesBytes() {
		first.Name = m.To[0]
		return []checkpoint.Tensor{first}, nil
	}
	shapes := make([][]uint64, len(m.From))
	known := true
	for k, name := range m.From {
		shapes[k] = r.tensors[r.at[name]].Shape
		known = known && shapes[k] != nil
	}
	if known {
		ops, err := m.Steps()
		if err == nil {
			shapes, err = tensorop.Shapes(ops, shapes)
		}
		if err != nil {
			return nil, err
		}
	} else {
		shapes = make([][]uint64, len(m.To))
	}
	elements, counted := first.Elements()
	dtype := m.DType(first.DType)
	out := make([]checkpoint.Tensor, len(m.To))
	for k, name := range m.To {
		t := checkpoint.Tensor{Name: name, DType: dtype, Shape: shapes[k], File: first.File, Offset: -1}
		n, ok := t.Elements()
		if m.Constant(k) {
			t.DType, t.Bytes, t.BytesKnown = "F32", 4*n, ok
			out[k] = t
			continue
		}
		switch bits, known := safetensors.DType(dtype).Bits(); {
		case !ok || n >= 1<<40:
		case dtype != first.DType:
			t.Bytes, t.BytesKnown = n*uint64(bits)/8, known
		case counted && first.BytesKnown && elements > 0 && first.Bytes < 1<<40 && first.Bytes/elements*elements == first.Bytes:
			t.Bytes, t.BytesKnown = n*(first.Bytes/elements), true
		}
		out[k] = t
	}
	return out, nil
}

// Review adds to the problems of a plan those renames under which a loader would
// read bytes in another way than they lie. It returns what it found, nil when
// there is nothing to object to.
func Review(plan *rename.Plan, m *convention.Model) *convert.Verdict {
	v := convert.Review(func(yield func(string, string) bool) {
		for i := range plan.Rows {
			r := &plan.Rows[i]
			if r.Action == rename.Keep || r.Action == rename.Move {
				if !yield(r.From, r.To) {
					return
				}
			}
		}
	}, m)
	if len(v.Conflicts) == 0 {
		return nil
	}
	// One problem for each template and reason.
	for _, g := range template.FoldPairs(len(v.Conflicts), func(i int) (string, string, string) {
		c := &v.Conflicts[i]
		return c.From, c.To, c.Reason
	}) {
		first := &v.Conflicts[g.Members[0]]
		to := cmp.Or(g.To, first.To)
		p := rename.Problem{Kind: rename.MovesBytes, To: first.To, Rule: -1}
		for _, m := range g.Members {
			p.From = append(p.From, v.Conflicts[m].From)
		}
		p.Message = fmt.Sprintf("%q would be called %q (%s), and %s", g.Name, to, plural.Of(len(g.Members), "tensor"), first.Reason)
		plan.Problems = append(plan.Problems, p)
	}
	return v
}
