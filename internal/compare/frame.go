package compare

import (
	"context"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// reframe is for a multimodal release and a copy of its language model alone, as comes of
// a GGUF file: the names of the copy lack the prefix that the release has before its
// language model, and have no place for its towers. Neither is a difference. Where the
// copy has some tensors of the towers, or names below a prefix, it is no language model
// alone, and what it lacks is told.
func (c *comparison) reframe(ctx context.Context) {
	if !slices.ContainsFunc(c.as, func(t *tensor) bool { return t.pair != nil && t.name != t.pair.b.name }) {
		return
	}
	type side struct {
		list   []*tensor
		of     *checkpoint.Checkpoint
		read   *identify.Reading
		places []identify.Place
	}
	whole, alone := &side{list: c.as, of: c.a}, &side{list: c.bs, of: c.b}
	for _, s := range []*side{whole, alone} {
		model, _ := adapt.Model(ctx, s.of)
		s.read = identify.Read(adapt.Tensors(s.of), model)
	}
	if len(whole.read.Parts) == 0 {
		whole, alone = alone, whole
	}
	conv, ok := convention.Lookup(alone.read.Convention)
	if !ok || len(whole.read.Parts) == 0 || len(alone.read.Parts)+len(alone.read.Wrappers) > 0 ||
		whole.read.Convention != conv.Name && !slices.Contains(whole.read.Tied, conv) {
		return
	}
	for _, s := range []*side{whole, alone} {
		s.places = s.read.Places(conv)
	}
	if slices.ContainsFunc(alone.places, func(p identify.Place) bool { return p.Tensor == nil && !p.Buffer }) {
		return
	}
	prefix := ""
	for _, t := range whole.list {
		if t.pair == nil {
			continue
		}
		other := t.pair.a
		if other == t {
			other = t.pair.b
		}
		x, y := &whole.places[t.index], &alone.places[other.index]
		if x.Tensor == nil || x.Tensor != y.Tensor || !slices.Equal(x.Index, y.Index) || x.Suffix != y.Suffix {
			continue
		}
		if _, wrapped := whole.read.Unwrap(t.own); wrapped {
			continue // by what a training framework leaves, which no loader takes off
		}
		if t.pair.framed = true; prefix == "" {
			frame, found := strings.CutSuffix(t.own, strings.TrimPrefix(other.own, conv.Base))
			if found && t.own != other.own {
				prefix = frame
			}
		}
	}
	if prefix == "" {
		return
	}
	c.note("%s is the language model alone: its names lack the prefix %s of %s", alone.of.Path, prefix, whole.of.Path)
	for _, t := range whole.list {
		if t.pair == nil && t.reason == "" && whole.places[t.index].Tensor == nil {
			t.reason = "the language model alone does not have it"
		}
	}
}
