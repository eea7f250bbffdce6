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
	m, unread := adapt.Model(ctx, c) // a document that cannot be read says nothing
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &IdentifyResult{Path: c.Path, Result: identify.Tensors(adapt.Tensors(c), m)}
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
	conv, err := Convert(ctx, c, &ConvertOptions{From: r.Convention, To: to, Model: m})
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
	Path         string                `json:"path"`
	Convention   *string               `json:"convention"`
	Kind         *string               `json:"kind"`
	Dialects     []string              `json:"dialect"`
	Families     []string              `json:"families"`
	Wrappers     []string              `json:"wrappers"`
	BaseAbsent   string                `json:"base_absent,omitempty"`
	Coverage     float64               `json:"coverage"`
	Missing      []string              `json:"missing"`
	Extra        []string              `json:"extra"`
	Nearest      *identify.Nearest     `json:"nearest"`
	Gaps         []identify.Gap        `json:"gaps,omitempty"`
	Quantisation []string              `json:"quantisation,omitempty"`
	Adapter      bool                  `json:"adapter,omitempty"`
	Changes      *identify.Changes     `json:"changes,omitempty"`
	Parts        []identify.Part       `json:"parts,omitempty"`
	Candidates   []identify.Candidate  `json:"candidates,omitempty"`
	Evidence     []string              `json:"evidence,omitempty"`
	Tensors      int                   `json:"tensors"`
	Templates    int                   `json:"templates"`
	Why          *identify.Explanation `json:"why,omitempty"`
	Migration    *Migration            `json:"migration,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (r *IdentifyResult) MarshalJSON() ([]byte, error) {
	list := func(s []string) []string { return append([]string{}, s...) }
	j := jsonIdentity{
		Path: r.Path, Convention: some(r.Convention), Kind: some(r.Kind), Dialects: r.Dialects, Wrappers: list(r.Wrappers),
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
