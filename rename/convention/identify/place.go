package identify

import (
	"fmt"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A Place is what one tensor is in a convention.
type Place struct {
	Tensor *convention.Tensor // nil when the convention does not know it
	Index  []int
	// Suffix is what a companion of the tensor, as a scale is, has behind the
	// tensor's name, ".weight_scale_inv", and Leaf the same without what joins it.
	// Both are "" for the tensor itself.
	Suffix, Leaf string
	// Buffer tensors follow from the configuration.
	Buffer bool
}

// A Location is the places of tensors in one convention, whatever stands around
// their names.
type Location struct {
	Places []Place // as the tensors
	// Prefix is what stands before the names that the convention has below its
	// base, with the numbers that it has in the checkpoint.
	Prefix string
	// Wrappers are the prefixes and segments that were taken out.
	Wrappers []string
}

// Locate finds the role of every tensor of a model in a convention. Tensors that change
// a model are for [ReadAdapter].
func Locate(c *convention.Convention, tensors []convention.Named) (*Location, error) {
	r := newRegistry([]*convention.Convention{c})
	kinds, _ := r.fold(slices.Values(tensors))
	id := &identification{reg: r, model: new(convention.Model), res: new(Result), subjects: gather(kinds)}
	if len(kinds) > maxTemplates {
		return nil, fmt.Errorf("there are more than %d templates; no model has so many", maxTemplates)
	}
	id.survey(kinds)
	id.look()
	e := id.evaluate(0, make([]bool, len(id.subjects)))
	if e == nil || e.covered == 0 {
		return nil, fmt.Errorf("no tensor has a name of %s", c.Name)
	}
	return &Location{Places: id.places(e, tensors), Prefix: id.spell(e.prefix, e), Wrappers: id.res.Wrappers}, nil
}

// places says what each of the tensors that were examined is in a convention.
func (id *identification) places(e *evaluation, tensors []convention.Named) []Place {
	type found struct {
		tensor int32
		kind   *tensorKind
	}
	byRaw := make(map[string][]found)
	for i, s := range id.subjects {
		for _, k := range s.members {
			byRaw[k.raw] = append(byRaw[k.raw], found{e.tensor[i], k})
		}
	}
	places := make([]Place, len(tensors))
	var buf []byte
	var nums []int32
	for i, n := range tensors {
		buf, nums = template.Words.Scan(buf[:0], nums[:0], n.Name)
		for _, f := range byRaw[string(buf)] {
			if f.kind.mask != 0 && literalKey(nums, f.kind.mask) != literalKey(f.kind.nums, f.kind.mask) {
				continue
			}
			p := &places[i]
			p.Suffix, p.Leaf, p.Buffer = f.kind.companion.text, f.kind.companion.leaf, f.kind.debris
			if f.tensor >= 0 {
				t := &id.reg.list[e.conv].Tensors()[f.tensor]
				if index, ok := t.Below.Match(nums); ok {
					p.Tensor, p.Index = t, index
				}
			}
			break
		}
	}
	return places
}

// A Reading is a Result with the place of every tensor.
type Reading struct {
	*Result
	// Tied are the conventions that fit as well as the one chosen.
	Tied []*convention.Convention

	id      *identification
	tensors []convention.Named
	wrapped func() map[string]*cleaning // by the template of the name as it is
}

// Read identifies tensors, and keeps what each of them is for.
func Read(tensors []convention.Named, model *convention.Model) *Reading {
	id := builtin().examine(slices.Values(tensors), model)
	r := &Reading{Result: id.res, id: id, tensors: tensors, wrapped: sync.OnceValue(id.wrappedKinds)}
	for _, e := range id.tied {
		r.Tied = append(r.Tied, id.reg.list[e.conv])
	}
	return r
}

// Places says what every tensor is in the convention chosen or in a tied one.
func (r *Reading) Places(c *convention.Convention) []Place {
	e := r.id.best
	for _, tied := range r.id.tied {
		if r.id.reg.list[tied.conv] == c {
			e = tied
		}
	}
	if e == nil {
		return make([]Place, len(r.tensors))
	}
	return r.id.places(e, r.tensors)
}
