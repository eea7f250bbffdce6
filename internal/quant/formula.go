package quant

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// An Action is what a part of a scheme does to the numbers of its weight.
type Action string

// The actions, in the order in which they are carried out.
const (
	Minus Action = "minus" // it is taken from them
	Times Action = "times" // they are multiplied with it
	Over  Action = "over"  // they are divided by it
	shape Action = "shape" // it has their shape
)

// Codes say what the elements of a weight are.
type Codes string

// The codes; those of a weight without any are what its dtype says.
const (
	FP4  Codes = "fp4" // two E2M1 in a byte, the low bits first
	Ints Codes = "int" // integers in words of 32 bits, the lowest first, half of their range too large
)

// A Formula is how the numbers of a module's weight are worked out from its tensors.
type Formula struct {
	// Name is that of the tensor with the numbers.
	Name   string
	Weight int // the place of the weight among the module's tensors
	Codes  Codes
	Steps  []Step // in their order
	// Shape is the place of the tensor that has the shape, -1 for none.
	Shape      int
	Transposed bool
}

// A Step is one operation with a tensor of the module.
type Step struct {
	Action Action
	Tensor int
}

// Formula returns the formula of a module with a scheme. The error says why there is none.
func (m *Module) Formula() (*Formula, error) {
	s := m.Scheme
	f := &Formula{Weight: m.WeightAt(), Codes: s.Weight.Codes, Shape: -1, Transposed: s.Transposed}
	leaf := s.Weight.Leaf
	if s.Weight.As != nil {
		leaf = *s.Weight.As
	}
	f.Name = m.nameOf(leaf)
	for i := range s.Parts {
		p := &s.Parts[i]
		at := slices.IndexFunc(m.Tensors, func(t Tensor) bool { return slices.Contains(p.leaves(), t.Leaf) })
		switch {
		case at < 0:
		case p.Bars != "":
			return nil, fmt.Errorf("%s is beside it: %s", m.nameOf(m.Tensors[at].Leaf), p.Bars)
		case p.Use == shape:
			f.Shape = at
		case p.Use != "":
			f.Steps = append(f.Steps, Step{p.Use, at})
		}
	}
	order := []Action{Minus, Times, Over}
	slices.SortStableFunc(f.Steps, func(a, b Step) int { return slices.Index(order, a.Action) - slices.Index(order, b.Action) })
	if len(f.Steps) == 0 {
		return nil, fmt.Errorf("weights of this scheme are not dequantised here, but by %s", cmp.Or(s.By, "the library that writes them"))
	}
	return f, nil
}

// nameOf is the name of a tensor of the module.
func (m *Module) nameOf(leaf string) string {
	if m.Name == "" || leaf == "" || strings.HasPrefix(leaf, "_") || strings.HasPrefix(leaf, ":") {
		return m.Name + leaf
	}
	return m.Name + "." + leaf
}
