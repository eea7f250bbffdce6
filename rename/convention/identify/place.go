package identify

import (
	"fmt"
	"iter"
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
	kinds, total := r.fold(slices.Values(tensors))
	id := &identification{reg: r, model: new(convention.Model), res: &Result{Tensors: total}, subjects: gather(kinds)}
	if len(kinds) > maxTemplates {
		return nil, fmt.Errorf("there are more than %d templates; no model has so many", maxTemplates)
	}
	id.survey(kinds)
	id.look()
	e := id.evaluate(0, make([]bool, len(id.subjects)))
	if e != nil && len(e.extra) > 0 && id.leftover([]*evaluation{e}) {
		e = id.evaluate(0, make([]bool, len(id.subjects)))
	}
	if e == nil || e.covered == 0 {
		return nil, fmt.Errorf("no tensor has a name of %s", c.Name)
	}
	return &Location{Places: id.places(e, slices.Values(tensors)), Prefix: id.spell(e.prefix, e), Wrappers: id.res.Wrappers}, nil
}

// places says what each of the tensors that were examined is in a convention.
func (id *identification) places(e *evaluation, tensors iter.Seq[convention.Named]) []Place {
	l := id.locator(e)
	places := make([]Place, 0, id.res.Tensors)
	for n := range tensors {
		places = append(places, l.place(n.Name, nil))
	}
	return places
}

// A locator finds the places of names in a convention.
type locator struct {
	id    *identification
	e     *evaluation
	byRaw map[string][]located

	buf  []byte
	nums []int32
}

// A located template is of a tensor of the convention, -1 for none.
type located struct {
	tensor int32
	kind   *tensorKind
}

func (id *identification) locator(e *evaluation) *locator {
	l := &locator{id: id, e: e, byRaw: make(map[string][]located)}
	for i, s := range id.subjects {
		for _, k := range s.members {
			l.byRaw[k.raw] = append(l.byRaw[k.raw], located{e.tensor[i], k})
		}
	}
	return l
}

// place returns the place of a name, whose indices it appends to a slice.
func (l *locator) place(name string, index []int) (p Place) {
	l.buf, l.nums = template.Words.Scan(l.buf[:0], l.nums[:0], name)
	for _, f := range l.byRaw[string(l.buf)] {
		if f.kind.mask != 0 && literalKey(l.nums, f.kind.mask) != literalKey(f.kind.nums, f.kind.mask) {
			continue
		}
		p.Suffix, p.Leaf, p.Buffer = f.kind.companion.text, f.kind.companion.leaf, f.kind.debris
		if f.tensor >= 0 {
			t := &l.id.reg.list[l.e.conv].Tensors()[f.tensor]
			if index, ok := t.Below.AppendMatch(index, l.nums); ok {
				p.Tensor, p.Index = t, index
			}
		}
		break
	}
	return p
}

// A Reading is a Result with the place of every tensor.
type Reading struct {
	*Result
	// Tied are the conventions that fit as well as the one chosen.
	Tied []*convention.Convention

	id      *identification
	tensors iter.Seq[convention.Named]
	wrapped func() map[string]*cleaning // by the template of the name as it is
}

// Read identifies tensors, which are yielded again where it is asked what each of them is for.
// It leaves out how they are quantised.
func Read(tensors iter.Seq[convention.Named], model *convention.Model) *Reading {
	id := builtin().begin(tensors, model)
	id.examine(tensors)
	r := &Reading{Result: id.res, id: id, tensors: tensors, wrapped: sync.OnceValue(id.wrappedKinds)}
	for _, e := range id.tied {
		r.Tied = append(r.Tied, id.reg.list[e.conv])
	}
	return r
}

// ByNames returns what the names say alone: the same where no shape speaks against a
// convention.
func (r *Reading) ByNames() *Reading {
	if !r.id.contradicted {
		return r
	}
	return Read(func(yield func(convention.Named) bool) {
		for t := range r.tensors {
			if !yield(convention.Named{Name: t.Name}) {
				return
			}
		}
	}, r.id.model)
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
		return make([]Place, r.Tensors)
	}
	return r.id.places(e, r.tensors)
}
