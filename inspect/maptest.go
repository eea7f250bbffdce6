package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// MapTestOptions adjust [TestMap]. Nil options are the defaults.
type MapTestOptions struct {
	// Strict refuses maps with rules that match nothing.
	Strict bool
}

// A MapTest is what a map would do to a checkpoint.
type MapTest struct {
	// Map is the file or the name of the map.
	Map string `json:"map"`
	// Path is the checkpoint.
	Path    string            `json:"path"`
	Format  checkpoint.Format `json:"format"`
	Summary rename.Summary    `json:"summary"`
	// Rules say what became of each rule of the map.
	Rules []rename.Use `json:"rules"`
	// Problems are the reasons for which the map is refused.
	Problems []rename.Problem `json:"problems"`
	// LeftBehind are tensors that keep their names although their owner is renamed.
	LeftBehind []rename.Finding `json:"left_behind"`
}

// Refused reports whether [Rename] would refuse the map.
func (t *MapTest) Refused() bool { return len(t.Problems) > 0 }

// TestMap says what a map would do to a checkpoint, from names, shapes and the numbers of
// the configuration. Unlike [Rename] it needs no files that could be changed: an index is
// enough.
func TestMap(ctx context.Context, c *checkpoint.Checkpoint, m *rename.Map, opts *MapTestOptions) (*MapTest, error) {
	if opts == nil {
		opts = new(MapTestOptions)
	}
	model, err := adapt.Model(ctx, c)
	if err != nil {
		return nil, err
	}
	p := plan(namesOf(c), m, model, nil, opts.Strict, c.Format)
	reviewNames(p, model)
	if len(p.Problems) == 0 {
		p.Problems = misfits(p, c)
	}
	return &MapTest{
		Map: m.File, Path: c.Path, Format: c.Format, Summary: p.Summary(),
		Rules: p.Uses, Problems: append([]rename.Problem{}, p.Problems...), LeftBehind: append([]rename.Finding{}, p.LeftBehind()...),
	}, ctx.Err()
}

// MapFaults are the faults of a map that cannot be read, in the form of those of weights.
func MapFaults(ref string, err error) []Fault {
	list, ok := errors.AsType[rename.ErrorList](err)
	if !ok {
		return []Fault{{Fault: notOpened(ref, err)}}
	}
	var out []Fault
	for _, e := range list {
		where, _, _ := strings.Cut(e.Error(), "\n")
		out = append(out, Fault{Fault: checkpoint.Fault{
			File: ref, Code: checkpoint.CodeBadDocument, Severity: checkpoint.Error, Offset: -1, Detail: strings.TrimPrefix(where, ref+":"),
		}})
	}
	return out
}

// misfits finds the operations of a plan that do not fit the shapes of their tensors, one
// problem for each rule.
func misfits(p *rename.Plan, c *checkpoint.Checkpoint) []rename.Problem {
	var out []rename.Problem
	of := make(map[int]int) // the problem of a rule
	for i := range p.Transforms {
		t := &p.Transforms[i]
		shapes := make([][]uint64, len(t.From))
		for k, name := range t.From {
			at, _ := c.Lookup(name)
			if shapes[k] = c.At(at).Shape; shapes[k] == nil {
				return nil // an index has none
			}
		}
		_, err := tensorop.Shapes(t.Ops, shapes)
		if err == nil {
			continue
		}
		at, ok := of[t.Rule]
		if !ok {
			at = len(out)
			of[t.Rule] = at
			out = append(out, rename.Problem{Kind: rename.BadShape, Rule: t.Rule, Message: fmt.Sprintf("%s: %q: %v", p.Uses[t.Rule].Where, t.From[0], err)})
		}
		out[at].From = append(out[at].From, t.From...)
	}
	for i := range out {
		if more := len(out[i].From) - 1; more > 0 {
			out[i].Message += fmt.Sprintf(" (and %s)", plural.Of(more, "more tensor"))
		}
	}
	return out
}
