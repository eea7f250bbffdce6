package inspect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/evidence"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/infer"
)

// InferMapOptions adjust [InferMap]. Nil options are the defaults.
type InferMapOptions struct {
	// To is the convention to whose names the map is, or a project, where there is no
	// other checkpoint.
	To string
	// Ref has weights under the new names, for evidence: those of a relative of the model.
	Ref *checkpoint.Checkpoint
	// Model is what is known of A's model, nil for what stands beside the weights.
	Model *convention.Model
	// Assume answers questions.
	Assume []Assumption
	// NamesOnly reads no weights.
	NamesOnly bool
	// Workers bounds how many tensors are read at once. 0 means GOMAXPROCS.
	Workers int
	// Progress is told how many more bytes of weights were read, by several goroutines.
	Progress func(n int64)
}

// An Assumption answers a question: what a module becomes. Either side is a pattern, or
// the last words of one.
type Assumption struct {
	From, To string
	// In is the file and the line that have it, "" of one that the user gives now.
	In string
}

// An InferMapResult is the map that was found, and what it rests on.
type InferMapResult struct {
	// A is the checkpoint whose names the map changes, and B the one that has the new
	// names, nil where a convention has them.
	A InferSide  `json:"a"`
	B *InferSide `json:"b"`
	// Goal is the convention, "" where B is a checkpoint that was given.
	Goal string `json:"-"`
	// Complete says that nothing is left for people to decide.
	Complete bool `json:"complete"`
	// Refused says why there is no map, nil when there is one.
	Refused *string `json:"refused"`
	// Rules are those of the map.
	Rules []InferredRule `json:"rules"`
	// Questions are what could not be decided.
	Questions []InferredQuestion `json:"questions"`
	// Contradictions are names that say one thing, and weights that say another.
	Contradictions []Contradiction `json:"contradictions"`
	// Missing are templates of the new names that nothing becomes, and Extra those of the
	// old names that become nothing.
	Missing []string `json:"missing"`
	Extra   []string `json:"extra"`
	// Read is how many bytes of weights were read, nil where none were to be.
	Read *int64 `json:"read"`
	// Sizes says in what the sizes of both models differ, and which of their layers were compared, nil
	// where they do not.
	Sizes *string `json:"sizes"`
	// Assumed says what is taken for granted, and what would show it.
	Assumed []string `json:"assumed"`
	// Unrelated says that weights of both were compared, and that none are alike.
	Unrelated bool `json:"-"`
	// Text is the map as YAML.
	Text string `json:"map"`
	// Map is the same. It applies when there are no questions.
	Map *rename.Map `json:"-"`
}

// An InferSide is a checkpoint that a map is from or to.
type InferSide struct {
	Path     string            `json:"path"`
	Format   checkpoint.Format `json:"format"`
	Revision *string           `json:"revision,omitempty"`
	Tensors  int               `json:"tensors"`
	// Convention is the one that the names follow, nil when it is not known.
	Convention *string `json:"convention"`
}

// An InferredRule is a rule of the map.
type InferredRule struct {
	From []string `json:"from"`
	// To is empty of a rule that drops tensors, and Drop the reason.
	To   []string `json:"to"`
	Drop *string  `json:"drop"`
	// Operations are what it does to bytes, as maps write it.
	Operations []string `json:"operations"`
	Tensors    int      `json:"tensors"`
	// Class is what the rule rests on.
	Class infer.Class `json:"class"`
	// Confidence is from 0 to 1. That of a guess is at most 0.85.
	Confidence float64 `json:"confidence"`
	// By says what it rests on, in short phrases.
	By []string `json:"by"`
}

// An InferredQuestion is modules that names, shapes and weights do not tell apart.
type InferredQuestion struct {
	Between []string `json:"between"`
	// And is what they may become, and Best the likeliest, in the order of Between.
	And        []string `json:"and"`
	Best       []string `json:"best"`
	Confidence float64  `json:"confidence"`
	// Settle has what would answer the question.
	Settle []string `json:"settle"`
}

// A Contradiction is a name or an answer that says one thing, and weights that say another.
type Contradiction struct {
	// From is the old pattern, Name what its name or the answer says, and Content what its
	// weights are.
	From    string `json:"from"`
	Name    string `json:"name"`
	Content string `json:"content"`
	By      string `json:"by"`
	// Assumed says that an answer is contradicted. It stands, and the map has it.
	Assumed bool `json:"assumed"`
	// Also are the new names of other modules of which it is so.
	Also []string `json:"also,omitempty"`
	// Layers are those in which it is so, where the others are as the name says. Without it all are so.
	Layers []int `json:"layers,omitempty"`
}

// inferredBy begins every map that was inferred, and a line that begins with answered
// follows for each answer, since the question is gone when it is answered.
const (
	inferredBy = "Inferred by 'wtinspect map infer', which reads the answers in this file and writes it again."
	answered   = "Answered: "
)

// InferMap finds the map from the names of one checkpoint to those of another, or, if b
// is nil, to those of a convention. Where both have weights a few rows of them are
// evidence, and of A alone there is a little in them, too.
func InferMap(ctx context.Context, a, b *checkpoint.Checkpoint, opts *InferMapOptions) (*InferMapResult, error) {
	if opts == nil {
		opts = new(InferMapOptions)
	}
	from, err := inventory(ctx, a, opts.Model)
	if err != nil {
		return nil, err
	}
	if len(from.Tensors) == 0 {
		return nil, fmt.Errorf("%s has no tensors to give other names", a.Path)
	}
	adapter := identify.ReadAdapter(from.Tensors, from.Model, nil) != nil
	if b == nil && adapter {
		return nil, fmt.Errorf("%s holds changes to a model, and conventions are of models; 'wtinspect rename --to' gives adapters other names", a.Path)
	}
	r := &InferMapResult{A: inferSide(a, from)}
	var goal *convention.Convention
	to := b
	if b == nil {
		if goal, err = goalOf(a, opts.To, from.Model); err != nil {
			return nil, err
		}
		to, r.Goal = opts.Ref, goal.Name
	}
	if to != nil && to.Len() == 0 && to.Absent(ctx) == nil {
		return nil, fmt.Errorf("%s has no tensors to take names of", to.Path)
	}
	how := infer.Options{}
	for _, s := range opts.Assume {
		how.Assume = append(how.Assume, infer.Assumption{From: s.From, To: s.To})
	}
	var weights *evidence.Weights
	// Without some of the shards, a row of every layer cannot be read.
	has := func(c *checkpoint.Checkpoint) bool { return !c.NamesOnly() && c.Absent(ctx) == nil }
	if with := cmp.Or(opts.Ref, b); !opts.NamesOnly && has(a) && (with == nil || has(with)) {
		places := newReach(ctx)
		reading := evidence.Options{MaxBytes: places.budget(a, with), Workers: opts.Workers, Progress: opts.Progress}
		if weights, err = evidence.New(a, with, reading); err != nil {
			return nil, err
		}
		how.Content, how.Sampled = weights, places.bytes > 0
	}
	var res *infer.Result
	if to == nil {
		res, err = infer.ToConvention(ctx, from, goal, how)
	} else {
		var names *infer.Inventory
		if names, err = inventory(ctx, to, nil); err != nil {
			return nil, err
		}
		if goal != nil {
			if got := identify.Read(slices.Values(names.Tensors), names.Model); !got.IsOf(goal.Name) {
				return nil, fmt.Errorf("%s: its names must be those of %s, to be compared with; they are of %s", to.Path, goal.Name, cmp.Or(got.Convention, "no convention that is known"))
			}
		}
		if with := identify.ReadAdapter(names.Tensors, names.Model, nil) != nil; with != adapter {
			changes, whole := a.Path, to.Path
			if with {
				changes, whole = whole, changes
			}
			return nil, fmt.Errorf("%s holds changes to a model, and %s a whole one: no map makes one of the other; 'wtinspect check --base' says whether an adapter fits a model", changes, whole)
		}
		side := inferSide(to, names)
		r.B = &side
		res, err = infer.Infer(ctx, from, names, how)
	}
	if e, ok := errors.AsType[*infer.AssumptionError](err); ok {
		in := "--assume "
		if i := slices.Index(how.Assume, e.Assumption); i >= 0 && opts.Assume[i].In != "" {
			in = opts.Assume[i].In + ": answer "
		}
		return nil, fmt.Errorf("%s%w", in, e)
	}
	if e, ok := errors.AsType[*evidence.BudgetError](err); ok {
		return nil, &ReadLimitError{Path: a.Path, Bytes: e.Need, Max: e.Max}
	}
	if err != nil {
		return nil, err
	}
	r.A.Convention = some(res.From)
	if r.B != nil {
		r.B.Convention = some(res.To)
	}
	if weights != nil {
		n := weights.Read()
		r.Read = &n
	}
	return r, r.fill(res, opts)
}

// settlement says how a step towards an answer is taken.
func (r *InferMapResult) settlement(s *infer.Step, namesOnly bool) string {
	words := s.Note
	switch {
	case s.Answer != nil:
		words = fmt.Sprintf("--assume '%s' %s", s.Answer, s.Note)
	case s.Weights && r.Goal != "":
		words = "--ref WEIGHTS " + s.Note
	case s.Weights && namesOnly:
		words = "the weights, without --names-only"
	case s.Weights && s.Note != "":
		words = "weights " + s.Note
	case s.Weights:
		words = "the weights, which one of the two lacks"
	}
	return strings.TrimSpace(words)
}

// inventory is what is known of a checkpoint beside its weights: of shards that are missing, the names
// that the index has. A nil model is what stands
// beside them.
func inventory(ctx context.Context, c *checkpoint.Checkpoint, model *convention.Model) (*infer.Inventory, error) {
	if model == nil {
		var err error
		if model, err = adapt.Model(ctx, c); err != nil {
			return nil, err
		}
	}
	inv := &infer.Inventory{Tensors: slices.Collect(adapt.Tensors(c)), Model: model, Ordered: ordered(c)}
	for _, name := range c.Absent(ctx) {
		inv.Tensors = append(inv.Tensors, convention.Named{Name: name})
		inv.Ordered = false
	}
	return inv, nil
}

// ordered reports whether the order of the tensors is the writer's. The safetensors
// library sorts by dtype and name (safetensors/src/tensor.rs, prepare), and GGUF files
// have the order of what they were converted from, which is mostly that.
func ordered(c *checkpoint.Checkpoint) bool {
	if c.Format == checkpoint.GGUF || c.NamesOnly() {
		return false
	}
	var before checkpoint.Tensor
	for i, t := range c.All() {
		if i > 0 && t.File == before.File && t.DType == before.DType && t.Name < before.Name {
			return true
		}
		before = t
	}
	return false
}

// goalOf returns the convention of a name, or that of a project's for the model.
func goalOf(a *checkpoint.Checkpoint, name string, model *convention.Model) (*convention.Convention, error) {
	goal, err := lookup(name)
	if err == nil {
		return goal, nil
	}
	if from, _, unidentified := sourceOf(a.Path, slices.Collect(adapt.Tensors(a)), "", model); unidentified == nil {
		return convert.Target(name, from, model)
	}
	if slices.ContainsFunc(convention.All(), func(c *convention.Convention) bool { return c.HasDialect(name) }) {
		return nil, fmt.Errorf("%s has a convention for each family of models, and the names of %s do not say which family it is; name the convention: 'wtinspect map list %s'", name, a.Path, name)
	}
	return nil, err
}

func inferSide(c *checkpoint.Checkpoint, inv *infer.Inventory) InferSide {
	return InferSide{Path: c.Path, Format: c.Format, Revision: some(c.Revision), Tensors: len(inv.Tensors)}
}

// fill makes the answer of what was inferred.
func (r *InferMapResult) fill(res *infer.Result, opts *InferMapOptions) error {
	m := res.Map
	m.Notes = []string{inferredBy}
	for _, a := range opts.Assume {
		m.Notes = append(m.Notes, answered+a.From+"="+a.To)
	}
	target := r.Goal
	if target == "" {
		target = r.B.Path
	}
	m.Description = inferredDescription(r.A.Path, target)
	r.Rules = make([]InferredRule, len(m.Rules))
	for _, known := range res.Rules {
		rule := &m.Rules[known.Rule]
		out := &r.Rules[known.Rule]
		*out = InferredRule{
			From: []string{}, To: []string{}, Drop: some(rule.Drop), Operations: []string{}, Tensors: known.Tensors,
			Class: known.Class, Confidence: round(known.Confidence), By: append([]string{}, known.By...),
		}
		for _, p := range rule.From {
			out.From = append(out.From, p.String())
		}
		for _, t := range rule.To {
			out.To = append(out.To, t.String())
		}
		for i := range rule.Ops {
			out.Operations = append(out.Operations, rule.Ops[i].String())
		}
	}
	r.Questions = []InferredQuestion{}
	for i := range res.Questions {
		q, asked := &res.Questions[i], &m.Ask[i]
		for k := range q.Settle {
			asked.Settle = append(asked.Settle, r.settlement(&q.Settle[k], opts.NamesOnly))
		}
		asked.Confidence = round(q.Confidence)
		r.Questions = append(r.Questions, InferredQuestion{
			append([]string{}, q.Between...), append([]string{}, q.And...), append([]string{}, q.Best...), asked.Confidence, append([]string{}, asked.Settle...),
		})
	}
	r.Contradictions = []Contradiction{}
	for _, c := range res.Contradictions {
		r.Contradictions = append(r.Contradictions, Contradiction(c))
	}
	r.Assumed = []string{}
	if res.RowOrder {
		settle := infer.Step{Weights: true}
		if r.Goal == "" && !opts.NamesOnly {
			settle.Note = "of a related model"
		}
		r.Assumed = append(r.Assumed, fmt.Sprintf("rows of queries and keys lie as in %s for rotary embedding (to settle it: %s)", cmp.Or(res.To, r.Goal), r.settlement(&settle, opts.NamesOnly)))
	}
	r.Missing, r.Extra = append([]string{}, res.Missing...), append([]string{}, res.Extra...)
	if res.Refused != "" {
		switch {
		case res.Layerless && r.Goal != "":
			res.Refused += "; --ref WEIGHTS finds each tensor by its weights"
		case res.Sizes != "" && r.Goal == "":
			res.Refused += "; where the new names are those of a convention, --to makes them for a model of this size"
		}
	}
	r.Refused, r.Unrelated, r.Sizes = some(res.Refused), res.Unrelated, some(res.Sizes)
	r.Complete = r.Refused == nil && len(r.Questions)+len(r.Contradictions) == 0 && !res.Partial && (len(r.Missing) == 0 || len(r.Extra) == 0)
	r.Map = m
	// What several rules rest on is said once, above the first of them.
	written := *m
	written.Rules = slices.Clone(m.Rules)
	for i := 1; i < len(m.Rules); i++ {
		if slices.Equal(m.Rules[i].Notes, m.Rules[i-1].Notes) {
			written.Rules[i].Notes = nil
		}
	}
	var text bytes.Buffer
	if err := rename.Write(&text, &written); err != nil {
		return err
	}
	r.Text = text.String()
	return nil
}

// round leaves of a confidence what means something.
func round(f float64) float64 { return math.Round(100*f) / 100 }

func inferredDescription(a, target string) string {
	return fmt.Sprintf("The tensors of %s as %s", ShownReference(a), ShownReference(target))
}

// An ExistingMapError says that a file is not the map that inference is to replace.
type ExistingMapError struct{ File, Reason string }

func (e *ExistingMapError) Error() string {
	return fmt.Sprintf("%s already exists, and %s; name another file, or use --force", e.File, e.Reason)
}

// Answers returns what people have answered in the file that a map is to be written to. It
// is no error if there is no file. Of one that [InferMap] has not written from A it is an
// [ExistingMapError]; the answers in it are returned all the same.
func Answers(ctx context.Context, file, a string) ([]Assumption, error) {
	text, err := source.ReadNamed(ctx, file, source.Map)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	inferred := bytes.HasPrefix(text, []byte("# "+inferredBy))
	m, err := rename.Parse(file, text)
	switch {
	case err != nil && inferred:
		return nil, err
	case err != nil:
		return nil, &ExistingMapError{file, "is not a map"}
	}
	var list []Assumption
	add := func(answer, in string) {
		if from, to, ok := strings.Cut(answer, "="); ok {
			list = append(list, Assumption{from, to, in})
		}
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line, comment := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !comment {
			break
		}
		if answer, ok := strings.CutPrefix(line, answered); ok {
			add(answer, fmt.Sprintf("%s:%d", file, number))
		}
	}
	for i := range m.Ask {
		for _, answer := range m.Ask[i].Answer {
			add(answer, fmt.Sprintf("%s:%d", file, m.Ask[i].AnswerPos.Line))
		}
	}
	switch {
	case !inferred:
		return list, &ExistingMapError{file, "'wtinspect map infer' has not written it"}
	case !strings.HasPrefix(m.Description, inferredDescription(a, "")):
		return list, &ExistingMapError{file, "is about other tensors: " + m.Description}
	}
	return list, nil
}
