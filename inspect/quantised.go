package inspect

import (
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/quant"
)

// quantised finds the weights of a checkpoint whose elements are numbers only together with
// other tensors, such as their scales, and the names of those, by the place of the weight.
func quantised(c *checkpoint.Checkpoint) map[int][]string {
	s := quant.NewSurvey(c.Len())
	for _, t := range c.All() {
		s.Add(t.Name, t.DType, t.Shape)
	}
	out := make(map[int][]string)
	for _, m := range s.Report(adapt.Quantised(c.Config)).Modules {
		if m.Scheme == nil || m.Scheme.Name == quant.Cast {
			continue
		}
		var beside []string
		if f, err := m.Formula(); err == nil {
			for _, step := range f.Steps {
				beside = append(beside, c.At(m.Index(&m.Tensors[step.Tensor])).Name)
			}
		} else {
			for i := range m.Tensors {
				if i != m.WeightAt() {
					beside = append(beside, c.At(m.Index(&m.Tensors[i])).Name)
				}
			}
		}
		out[m.Index(&m.Tensors[m.WeightAt()])] = beside
	}
	return out
}

// mayBeCodes reports whether quantised weights are stored in a dtype.
func mayBeCodes(dtype string) bool {
	return quant.Is8Bit(dtype) || dtype == "F4" || strings.HasPrefix(dtype, "I") && !strings.HasPrefix(dtype, "IQ") || strings.HasPrefix(dtype, "U")
}
