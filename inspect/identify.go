package inspect

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// IdentifyOptions adjust [Identify]. Nil options are the defaults.
type IdentifyOptions struct {
	// Why is the name of a tensor to explain, which the checkpoint need not have.
	Why string
}

// An IdentifyResult says which naming convention a checkpoint follows.
type IdentifyResult struct {
	Path string
	// Revision is the commit of a repository that was read, "" elsewhere.
	Revision string
	*identify.Result
	// Why explains the name that was asked for, nil when none was.
	Why *identify.Explanation
	// Migration is how the names become those of the nearest convention, where they
	// follow one that has been given up; nil otherwise.
	Migration *Migration
}

// A Migration says what [Rename] to another convention does.
type Migration struct {
	To string `json:"to"`
	// Renamed counts the tensors that get another name and nothing else.
	Renamed    int  `json:"renamed"`
	MovesBytes bool `json:"moves_bytes"`
}

// Identify tells which naming convention the tensors of a checkpoint follow. It
// goes by names and shapes; what stands beside the weights only chooses between
// conventions that these allow.
func Identify(ctx context.Context, c *checkpoint.Checkpoint, opts *IdentifyOptions) (*IdentifyResult, error) {
	return identified(ctx, c, nil, opts)
}

// identified is Identify for what may already be identified by its tensors.
func identified(ctx context.Context, c *checkpoint.Checkpoint, known *identify.Result, opts *IdentifyOptions) (*IdentifyResult, error) {
	m, unread := adapt.Model(ctx, c) // a document that cannot be read says nothing
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if known == nil {
		known = identify.Tensors(adapt.Tensors(c), m)
	}
	r := &IdentifyResult{Path: c.Path, Revision: c.Revision, Result: known}
	if r.Changes != nil {
		// Documents and alphas that cannot be read say nothing either.
		if s, err := adapt.Adapter(ctx, c); err == nil {
			r.Changes.Alphas, r.Changes.Scale, r.Changes.Base = s.Values(), s.Scale, s.Base
		}
	}
	if a := adapt.Declared(c); a != "" && r.Changes == nil {
		r.Evidence = append(r.Evidence, fmt.Sprintf("the metadata says %q (modelspec.architecture)", a))
	}
	if opts != nil && opts.Why != "" {
		r.Why = identify.Why(opts.Why, adapt.Tensors(c), m)
	}
	if unread == nil {
		r.Migration = migration(ctx, c, r.Result, m)
	}
	return r, ctx.Err()
}

// migration returns how the names become those of the nearest convention.
func migration(ctx context.Context, c *checkpoint.Checkpoint, r *identify.Result, m *convention.Model) *Migration {
	to := r.Nearest.Convention
	if r.Convention == "" || to == "" || r.Convention == to {
		return nil
	}
	conv, err := Translate(ctx, c, &TranslateOptions{From: r.Convention, To: to, Model: m})
	if err != nil || len(conv.Aside) > 0 {
		return nil
	}
	out := &Migration{To: to, MovesBytes: conv.MovesBytes()}
	for _, m := range conv.Moves {
		if !m.MovesBytes() && m.From[0] != m.To[0] {
			out.Renamed++
		}
	}
	return out
}

type jsonIdentity struct {
	// Path is the checkpoint.
	Path string `json:"path"`
	// Revision is the commit of a repository that was read, absent elsewhere.
	Revision *string `json:"revision,omitempty"`
	// Convention is the naming convention, nil when it is unknown.
	Convention *string `json:"convention"`
	// Alike are other conventions that fit as well, where nothing says which is meant.
	Alike []string `json:"alike,omitempty"`
	// Kind is what the checkpoint is.
	Kind *string `json:"kind"`
	// Dialects are the projects that spell names this way.
	Dialects []string `json:"dialect"`
	// Families are the models that have these names, as transformers' model_type.
	Families []string `json:"families"`
	// Wrappers are what precedes the names, outermost first.
	Wrappers []string `json:"wrappers"`
	// BaseAbsent is the prefix of the convention that the checkpoint lacks.
	BaseAbsent string `json:"base_absent,omitempty"`
	// Coverage is the share of templates that the convention explains, from 0 to 1.
	Coverage float64 `json:"coverage"`
	// Missing are the roles that the convention requires and the checkpoint lacks.
	Missing []string `json:"missing"`
	// Extra are the templates that the convention does not know.
	Extra []string `json:"extra"`
	// Nearest is the nearest convention in current use: one that knows half of the names, or
	// whose names half of the modules mean.
	Nearest *identify.Nearest `json:"nearest"`
	// Gaps are the layers that some or all tensors lack.
	Gaps []identify.Gap `json:"gaps,omitempty"`
	// Quantisation are the schemes that weights are stored in, the commonest first.
	Quantisation []string `json:"quantisation,omitempty"`
	// Adapter says that the tensors are changes to a model.
	Adapter bool `json:"adapter,omitempty"`
	// Changes are of an adapter.
	Changes *identify.Changes `json:"changes,omitempty"`
	// Parts are the conventions below further prefixes, of a multimodal model.
	Parts []identify.Part `json:"parts,omitempty"`
	// Candidates are the conventions that fit best.
	Candidates []identify.Candidate `json:"candidates,omitempty"`
	// Evidence says in sentences what the judgement rests on.
	Evidence []string `json:"evidence,omitempty"`
	Tensors  int      `json:"tensors"`
	// Templates is how many names there are when numbers are left out.
	Templates int `json:"templates"`
	// Why explains the name that --why asks about.
	Why *identify.Explanation `json:"why,omitempty"`
	// Migration is how the names become those of Nearest, where the convention is no longer
	// in use.
	Migration *Migration `json:"migration,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (r *IdentifyResult) MarshalJSON() ([]byte, error) {
	list := func(s []string) []string { return append([]string{}, s...) }
	j := jsonIdentity{
		Path: r.Path, Revision: some(r.Revision), Convention: some(r.Convention), Alike: r.Alike, Kind: some(r.Kind), Dialects: r.Dialects, Wrappers: list(r.Wrappers),
		BaseAbsent: r.BaseAbsent, Coverage: r.Coverage, Missing: list(r.Missing), Extra: list(r.Extra), Gaps: r.Gaps,
		Quantisation: r.Quantisation, Adapter: r.Adapter, Changes: r.Changes, Parts: r.Parts, Candidates: r.Candidates,
		Evidence: r.Evidence, Tensors: r.Tensors, Templates: r.Templates, Why: r.Why, Migration: r.Migration,
	}
	if len(r.Families) > 0 {
		j.Families = r.Families
	}
	if r.Nearest.Convention != "" {
		j.Nearest = &r.Nearest
	}
	return json.Marshal(j)
}
