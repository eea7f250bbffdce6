package identify

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// shapesAgree compares the shapes that decide between layouts that share their
// names: a projection must join the hidden width that the normalisations show,
// on the side where the convention says it does. What shapes do not say is
// taken to agree.
func (id *identification) shapesAgree(c *convention.Convention, e *evaluation) bool {
	if c.HasDialect("gguf") {
		return true // no two architectures differ in orientation alone
	}
	shapes := id.shapesByRole(c, e)
	if len(shapes) == 0 {
		return true
	}
	for _, space := range []string{"", "text.", "vision.", "audio.", "encoder.", "decoder."} {
		hidden := hiddenWidth(shapes, space)
		if hidden == 0 {
			continue
		}
		for _, module := range []string{"layer.attn.qkv", "layer.attn.q", "layer.mlp.up", "layer.mlp.gate_up"} {
			if !joins(shapes[space+module+".weight"], hidden, c.Transposes(space+module)) {
				return false
			}
		}
		for _, module := range []string{"layer.attn.o", "layer.mlp.down"} {
			if !joins(shapes[space+module+".weight"], hidden, !c.Transposes(space+module)) {
				return false
			}
		}
	}
	return true
}

// shapesByRole are the shapes of the tensors that the names show once.
func (id *identification) shapesByRole(c *convention.Convention, e *evaluation) map[string][]uint64 {
	shapes := make(map[string][]uint64)
	for i, t := range e.tensor {
		if t < 0 {
			continue
		}
		s := id.subjects[i]
		if len(s.members) == 1 && s.members[0].companion.kind == noCompanion && s.members[0].shape != nil {
			shapes[c.Tensors()[t].Role] = s.members[0].shape
		}
	}
	return shapes
}

// partsAgree compares how long the parts of a fused projection are, where the convention
// says so, with what the output projection of the same block takes: as many columns as
// there are queries, and the MLP's beside them.
func (id *identification) partsAgree(c *convention.Convention, e *evaluation) bool {
	shapes := id.shapesByRole(c, e)
	for fused, sizes := range c.Layout.Parts {
		out, taken := "o", sizes[0]
		switch fused {
		case "qkv":
		case "qkv_mlp":
			out, taken = "o_mlp", sizes[0]+sizes[len(sizes)-1]
		default:
			continue
		}
		total := int64(0)
		for _, n := range sizes {
			total += n
		}
		for role, shape := range shapes {
			block, ok := strings.CutSuffix(role, "attn."+fused+".weight")
			o := shapes[block+"attn."+out+".weight"]
			if !ok || len(shape) != 2 || len(o) != 2 {
				continue
			}
			if shape[0]%uint64(total) != 0 || shape[0]/uint64(total)*uint64(taken) != o[1] {
				return false
			}
		}
	}
	return true
}

// An agreement is how far what an adapter shows of the numbers of a model is what a
// convention says of the models that have its names.
type agreement int

const (
	disagreeing agreement = iota - 1
	unsaid                // nothing is known of the models, or the adapter shows nothing
	agreeing
	equal // every numbered block has a change, and there is no other
)

// agreement compares the modules of an adapter with the models of a convention that they
// fit.
func (c *Component) agreement(conv *convention.Convention, e *evaluation) agreement {
	if len(conv.Dimensions) == 0 || e == nil {
		return unsaid
	}
	blocks := make(map[string]int)
	sides := make(map[uint64]int) // of how many modules a side is as long
	shaped := 0
	for i, p := range c.identification.places(e, slices.Values(c.named)) {
		if p.Tensor == nil || len(p.Index) == 0 {
			continue
		}
		below, _, _ := strings.Cut(p.Tensor.Below.String(), ".{")
		blocks[below] = max(blocks[below], p.Index[0]+1)
		if s := c.named[i].Shape; len(s) == 2 {
			shaped++
			if sides[s[0]]++; s[0] != s[1] {
				sides[s[1]]++
			}
		}
	}
	best := disagreeing
	for _, d := range conv.Dimensions {
		if shaped > 0 && 2*sides[d.Width] < shaped {
			continue
		}
		is, numbered := equal, false
		for below, n := range d.Blocks {
			has := blocks[below]
			switch numbered = numbered || has > 0; {
			case has > n:
				is = disagreeing
			case has < n && has > 0:
				is = min(is, agreeing)
			}
		}
		switch {
		case shaped == 0:
			is = min(is, unsaid)
		case !numbered:
			is = min(is, agreeing)
		}
		best = max(best, is)
	}
	return best
}

// hiddenWidth returns the length of a layer's normalisation, or 0.
func hiddenWidth(shapes map[string][]uint64, space string) uint64 {
	for _, module := range []string{"layer.attn.norm", "layer.attn.out_norm", "layer.mlp.norm", "layer.mlp.post_norm"} {
		if s := shapes[space+module+".weight"]; len(s) == 1 {
			return s[0]
		}
	}
	return 0
}

// joins reports whether a matrix has the hidden width on its input side, which
// is the last dimension, or the first when it is stored the other way round.
func joins(shape []uint64, hidden uint64, first bool) bool {
	if len(shape) != 2 {
		return true
	}
	if first {
		return shape[0] == hidden
	}
	return shape[1] == hidden
}
