package inspect

import (
	"fmt"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// A ConventionResult is what a project calls the tensors of a model.
type ConventionResult struct {
	Convention  string   `json:"convention"`
	Description string   `json:"description"`
	Dialects    []string `json:"dialects"`
	Families    []string `json:"families"`
	// Base is the prefix that a save of the bare model drops.
	Base string `json:"base,omitempty"`
	// Layout is how the bytes lie where that is not the plain layout.
	Layout  convention.Layout `json:"layout"`
	Refuse  string            `json:"refuse,omitempty"`
	Sources []string          `json:"sources"`
	// Tensors are its kinds of tensors, as its description has them.
	Tensors []ConventionTensor `json:"tensors"`
	// Sizes are the numbers that the shapes are made of, by their names, those that are
	// known.
	Sizes map[convention.Size]uint64 `json:"sizes,omitempty"`
}

// A ConventionTensor is one kind of tensor.
type ConventionTensor struct {
	Name string `json:"name"`
	Role string `json:"role"`
	// Axes is the shape in the names of sizes, Shape in numbers; null where not known.
	Axes  []string `json:"axes"`
	Shape []uint64 `json:"shape"`
	// Optional tensors may be absent, buffers are computed by who loads the model, and
	// what is unwritten is in some files although the project does not write it.
	Optional  bool `json:"optional"`
	Buffer    bool `json:"buffer"`
	Unwritten bool `json:"unwritten"`
	// Layout says how the bytes lie, where that is not plain.
	Layout []string `json:"layout"`

	sizes []convention.Size
}

// ShowConvention describes a convention, with numbers for shapes as far as the model
// says them, which may be nil.
func ShowConvention(name string, m *convention.Model) (*ConventionResult, error) {
	c, err := lookup(name)
	if err != nil {
		return nil, err
	}
	r := &ConventionResult{
		Convention: c.Name, Description: c.Description, Dialects: c.Dialects, Families: c.Families, Base: c.Base,
		Layout: c.Layout, Refuse: c.Refuse, Sources: c.Sources, Tensors: []ConventionTensor{},
	}
	for _, t := range c.Tensors() {
		row := ConventionTensor{
			Name: t.Pattern.String(), Role: t.Role, Optional: t.Optional, Buffer: t.Buffer, Unwritten: t.Unwritten, Layout: layoutOf(c, &t),
		}
		for _, axis := range c.Axes(&t) {
			row.Axes = append(row.Axes, axis.String())
			row.sizes = append(row.sizes, axis.Sizes()...)
			if n := axis.Length(m.Size); n > 0 {
				row.Shape = append(row.Shape, n)
			}
		}
		if len(row.Shape) < len(row.Axes) {
			row.Shape = nil
		}
		for _, s := range row.sizes {
			if n := m.Size(s); n > 0 {
				if r.Sizes == nil {
					r.Sizes = make(map[convention.Size]uint64)
				}
				r.Sizes[s] = n
			}
		}
		r.Tensors = append(r.Tensors, row)
	}
	return r, nil
}

// SizesUsed lists the sizes in the shapes, in the order in which they first appear.
func (r *ConventionResult) SizesUsed() []convention.Size {
	var used []convention.Size
	seen := make(map[convention.Size]bool)
	for i := range r.Tensors {
		for _, s := range r.Tensors[i].sizes {
			if !seen[s] {
				seen[s] = true
				used = append(used, s)
			}
		}
	}
	return used
}

// layoutOf says how the bytes of a tensor lie, where that is not plain.
func layoutOf(c *convention.Convention, t *convention.Tensor) []string {
	notes := []string{}
	leaf := t.Role[strings.LastIndexByte(t.Role, '.')+1:]
	matrix := leaf == "weight"
	last := t.Module[strings.LastIndexByte(t.Module, '.')+1:]
	add := func(is bool, text string) {
		if is && text != "" {
			notes = append(notes, text)
		}
	}
	add(matrix && c.Transposes(t.Module), "[in, out]")
	stacked := strings.Contains(t.Module, ".mlp.experts.")
	add(matrix && stacked && c.Layout.Experts != "", "experts "+c.Layout.Experts)
	rows := matrix || leaf == "bias"
	attention := strings.HasSuffix(t.Module, "layer.attn."+last)
	add(rows && attention && (last == "q" || last == "k") && c.Layout.Rope != "", c.Layout.Rope+" rows")
	add(rows && last == "qkv" && c.Layout.QKV != "", c.Layout.QKV)
	add(rows && last == "qkv" && c.Layout.Rope != "", c.Layout.Rope+" rows")
	add(rows && last == "gate_up", c.Layout.GateUp)
	offset := c.NormOffset(t.Module)
	add(matrix && strings.Contains(last, "norm") && offset != 0, fmt.Sprintf("the model adds %g", offset))
	add(true, c.Shape(t.Module))
	rank := -1
	if axes := c.Axes(t); axes != nil {
		rank = len(axes)
	}
	add(true, c.Stores(t, rank))
	return notes
}
