package compare

import (
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/values"
)

// halfCodes reports whether a tensor is compared with one of which only one is in a dtype that
// weights have with scales beside them.
func (t *tensor) halfCodes() bool {
	return t.pair != nil && isCodes(t.pair.a.dtype) != isCodes(t.pair.b.dtype)
}

func isCodes(dtype string) bool { return quant.Is8Bit(dtype) || dtype == "I8" }

// applyScales has FP8 and INT8 weights compared with others as the numbers that they stand for:
// most schemes of package quant multiply them with their scales. What it cannot apply, or is not
// to since values are not read, is noted. A scale that both sides have does not make the
// numbers beside which it is the same: codes that were taken for numbers differ from what they stand for.
func (c *comparison) applyScales() {
	for _, side := range []struct {
		list []*tensor
		of   *checkpoint.Checkpoint
	}{{c.as, c.a}, {c.bs, c.b}} {
		if !slices.ContainsFunc(side.list, (*tensor).halfCodes) {
			continue
		}
		report := surveyed(side.list, side.of)
		left, applied := 0, false
		var unknown, shared []string
		scaleOf := quant.Scales(func(yield func(string) bool) {
			for _, t := range side.list {
				if !yield(t.own) {
					return
				}
			}
		})
		known := make(map[*tensor]bool)
		for _, m := range report.Modules {
			if m.Scheme == nil || m.Scheme.Name == quant.Cast {
				continue
			}
			w := side.list[m.Index(&m.Tensors[m.WeightAt()])]
			if !isCodes(w.dtype) || !w.halfCodes() {
				continue
			}
			known[w] = true
			s := onlyScales(m, side.list)
			section, ok := scaledSection(m, w, s)
			if !ok || c.opt.Headers {
				left++
				continue
			}
			w.section, applied = section, true
			if s.pair == nil {
				s.reason = "multiplied into the weight"
			} else {
				shared = append(shared, w.own)
			}
			for i := range m.Tensors {
				if t := side.list[m.Index(&m.Tensors[i])]; t.pair == nil && t != s {
					t.reason = "of a quantised weight, which the other side does not have"
				}
			}
		}
		for _, t := range side.list {
			if applied && t.pair == nil && slices.Contains(report.Markers, t.own) {
				t.reason = "says only that the file is quantised"
			}
		}
		for _, t := range side.list {
			if isCodes(t.dtype) && t.halfCodes() && !known[t] && scaleOf(t.own) != "" {
				unknown = append(unknown, fmt.Sprintf("%q, with %q", t.own, scaleOf(t.own)))
			}
		}
		if n := len(shared); n > 0 {
			c.note("%s: quantised weights are multiplied with their scales (x%d, the first is %q); the other side has the scales, too, beside numbers that need none", side.of.Path, n, shared[0])
		}
		if n := len(unknown); n > 0 {
			c.note("%s: weights are compared as they are stored, without what scales them (x%d, the first is %s): no scheme that is known has both", side.of.Path, n, unknown[0])
		}
		if left > 0 {
			c.note("%s: quantised weights with scales beside them (x%d) are compared as they are stored, without the scales", side.of.Path, left)
		}
	}
}

// onlyScales is the tensor that the elements of a module's weight are multiplied with, nil where
// its numbers take more than that.
func onlyScales(m *quant.Module, list []*tensor) *tensor {
	f, err := m.Formula()
	if err != nil || len(f.Steps) != 1 || f.Steps[0].Action != quant.Times {
		return nil
	}
	return list[m.Index(&m.Tensors[f.Steps[0].Tensor])]
}

// scaledSection is a weight's elements with the scale of each, and false where the scales
// are of no tensor, row or block of it.
func scaledSection(m *quant.Module, w, s *tensor) (values.Section, bool) {
	if s == nil || len(w.layout) > 0 {
		return values.Section{}, false
	}
	var parts []*arrays.Array
	for _, t := range []*tensor{w, s} {
		elem, ok := arrays.ElementOf(t.dtype)
		if !ok || t.err != nil || t.build != nil || t.sources != nil || t.section.Type == nil {
			return values.Section{}, false
		}
		elem.BigEndian = t.section.BigEndian
		a, err := arrays.New(t.shape, elem, t.section.Data)
		if err != nil {
			return values.Section{}, false
		}
		parts = append(parts, a)
	}
	a, err := arrays.WithScales(m, parts[0], parts[1])
	if err != nil {
		return values.Section{}, false
	}
	return values.Section{Name: w.own, Type: values.Scaled(w.section.Type), Data: io.NewSectionReader(a.Data, 0, a.Size())}, true
}
