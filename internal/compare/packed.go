package compare

import (
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// dequantise puts the numbers of weights that are packed, several in an element, in the place of
// the tensors that they are stored in, where the other side has a tensor of the name and the
// shape that they then have, and nothing in their scheme.
func (c *comparison) dequantise() {
	packed := func(t *tensor) bool { return slices.Contains([]string{"U8", "I8", "I32", "F4"}, t.dtype) }
	if !slices.ContainsFunc(c.as, packed) && !slices.ContainsFunc(c.bs, packed) {
		return
	}
	a, b := surveyed(c.as, c.a), surveyed(c.bs, c.b)
	as, bs := c.unpacked(c.as, c.a, a, c.bs, b), c.unpacked(c.bs, c.b, b, c.as, a)
	c.as, c.bs = as, bs
}

func surveyed(list []*tensor, of *checkpoint.Checkpoint) *quant.Report {
	s := quant.NewSurvey(len(list))
	for _, t := range list {
		s.Add(t.own, t.dtype, t.shape)
	}
	return s.Report(adapt.Quantised(of.Config))
}

func (c *comparison) unpacked(list []*tensor, of *checkpoint.Checkpoint, r *quant.Report, others []*tensor, other *quant.Report) []*tensor {
	shapes := make(map[string][]uint64, len(others))
	for _, t := range others {
		shapes[t.own] = t.shape
	}
	schemes := make(map[string]bool)
	for _, m := range other.Modules {
		if m.Scheme != nil {
			schemes[m.Scheme.Name] = true
		}
	}
	gone, made := make(map[*tensor]bool), make(map[*tensor]*tensor)
	for _, m := range r.Modules {
		if m.Scheme == nil || m.Scheme.Name == quant.Cast || schemes[m.Scheme.Name] {
			continue
		}
		f, err := m.Formula()
		if err != nil || f.Codes == "" && len(f.Steps) < 2 || shapes[f.Name] == nil {
			continue
		}
		if f.Shape >= 0 && (c.opt.Headers || source.Scheme(of.Path) != "") {
			continue // the shape would have to be read, of every weight
		}
		w := list[m.Index(&m.Tensors[f.Weight])]
		t := &tensor{index: w.index, own: f.Name, name: f.Name, dtype: w.dtype}
		parts := make([]*arrays.Array, 0, len(m.Tensors))
		for i := range m.Tensors {
			one := list[m.Index(&m.Tensors[i])]
			t.sources = append(t.sources, one.index)
			s, err := Section(of, one.index)
			if err != nil || s.Type == nil {
				break
			}
			a, err := arrays.New(one.shape, elementOf(s.Type, s.BigEndian), s.Data)
			if err != nil || a.Size() != s.Data.Size() {
				break
			}
			parts = append(parts, a)
		}
		if len(parts) < len(m.Tensors) {
			continue
		}
		var work arrays.Workspace
		_, a, err := work.Dequantise(m, parts, "F64", new(arrays.Tally))
		if err != nil || !slices.Equal(a.Dims(), shapes[f.Name]) {
			continue
		}
		t.shape = a.Dims()
		typ, _ := values.Lookup("F64")
		t.section = values.Section{Name: f.Name, Type: typ, Data: io.NewSectionReader(a.Data, 0, a.Size())}
		for i := range m.Tensors {
			gone[list[m.Index(&m.Tensors[i])]] = true
		}
		made[w] = t
	}
	if len(made) == 0 {
		return list
	}
	var out []*tensor
	for _, t := range list {
		switch {
		case made[t] != nil:
			out = append(out, made[t])
		case !gone[t]:
			out = append(out, t)
		}
	}
	return out
}
