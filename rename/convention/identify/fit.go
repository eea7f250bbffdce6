package identify

import (
	"iter"
	"sync"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// A Fit is how tensors fit a convention that they are to follow, whether or not
// they are taken for it.
type Fit struct {
	Convention *convention.Convention
	// Missing are the tensors that the convention requires and none is. A role of
	// several spellings is found by one of them.
	Missing []*convention.Tensor
	// Found is how many of the required tensors are there.
	Found int
	// Prefix stands before the names, the convention's base included.
	Prefix string

	tensors iter.Seq[convention.Named]
	locator func() *locator // nil where no tensor has a place
}

// Place returns that of a tensor by its name.
func (f *Fit) Place(name string) Place {
	if f.locator == nil {
		return Place{}
	}
	return f.locator().place(name, nil)
}

// Places yields the places of all tensors by their names. They are found each time, as those
// of half a million take 40 MB; their indices are of use until the next.
func (f *Fit) Places(yield func(name string, p Place) bool) {
	var index []int
	for t := range f.tensors {
		var p Place
		if f.locator != nil {
			if p = f.locator().place(t.Name, index[:0]); p.Index != nil {
				index = p.Index
			}
		}
		if !yield(t.Name, p) {
			return
		}
	}
}

// Fit holds the tensors to a convention. It reports false for one that is not
// built in.
func (r *Reading) Fit(c *convention.Convention) (*Fit, bool) {
	for i, own := range r.id.reg.list {
		if own == c {
			return r.id.hold(int32(i), r.tensors), true
		}
	}
	return nil, false
}

func (id *identification) hold(conv int32, tensors iter.Seq[convention.Named]) *Fit {
	c := id.reg.list[conv]
	out := &Fit{Convention: c, Prefix: c.Base, tensors: tensors}
	e := id.evaluate(conv, make([]bool, len(id.subjects)))
	if e == nil {
		for i := range c.Tensors() {
			if t := &c.Tensors()[i]; !t.Optional {
				out.Missing = append(out.Missing, t)
			}
		}
		return out
	}
	for _, i := range e.missing {
		out.Missing = append(out.Missing, &c.Tensors()[i])
	}
	out.Found, out.Prefix = e.required, id.spell(e.prefix, e)
	out.locator = sync.OnceValue(func() *locator { return id.locator(e) })
	return out
}
