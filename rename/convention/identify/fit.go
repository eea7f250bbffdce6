package identify

import (
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
	// Places are those of the tensors, found when they are first asked for.
	Places func() []Place
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

func (id *identification) hold(conv int32, tensors []convention.Named) *Fit {
	c := id.reg.list[conv]
	out := &Fit{Convention: c, Prefix: c.Base}
	e := id.evaluate(conv, make([]bool, len(id.subjects)))
	if e == nil {
		for i := range c.Tensors() {
			if t := &c.Tensors()[i]; !t.Optional {
				out.Missing = append(out.Missing, t)
			}
		}
		out.Places = func() []Place { return make([]Place, len(tensors)) }
		return out
	}
	for _, i := range e.missing {
		out.Missing = append(out.Missing, &c.Tensors()[i])
	}
	out.Found, out.Prefix = e.required, id.spell(e.prefix, e)
	out.Places = sync.OnceValue(func() []Place { return id.places(e, tensors) })
	return out
}
