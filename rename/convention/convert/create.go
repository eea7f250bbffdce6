package convert

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// created are the roles whose tensors follow from the configuration, where a
// project stores them. llama.cpp's converter makes them in generate_extra_tensors:
// conversion/llama.py LlamaModel, phi.py Phi3MiniModel, minicpm.py.
var created = []struct {
	role string
	make func(*convention.Model) ([]float32, error)
}{
	{"rope_factors.weight", llama3Factors},
	{"rope_factors.long.weight", func(m *convention.Model) ([]float32, error) { return listedFactors(m.Rope.LongFactor, m.Rope) }},
	{"rope_factors.short.weight", func(m *convention.Model) ([]float32, error) { return listedFactors(m.Rope.ShortFactor, m.Rope) }},
}

// create adds what the target stores and the source's configuration says. The
// token embedding, of which a model has one, is followed by it.
func (cv *converter) create() {
	var host *Move
	if name, ok := cv.format("embed.tokens.weight", nil); ok {
		for i := range cv.out.Moves {
			if m := &cv.out.Moves[i]; len(m.From) == 1 && len(m.To) == 1 && m.To[0] == name {
				host = m
			}
		}
	}
	if host == nil || cv.sameProject() || cv.model == nil {
		return
	}
	for _, c := range created {
		name, ok := cv.format(c.role, nil)
		if !ok || slices.Contains(cv.gave, c.role) {
			continue
		}
		if cv.model.Rope == nil {
			if len(cv.model.Documents) == 0 {
				cv.note("%s is made of rope_scaling in the configuration, if that has it; there is no configuration, so it is left out", name)
			}
			continue
		}
		values, err := c.make(cv.model)
		switch {
		case err != nil:
			cv.note("%s is left out: %v", name, err)
		case values != nil:
			host.Ops = append(host.Ops, tensorop.Op{Kind: tensorop.Create, Index: len(host.To) - 1, Count: 1, Values: values})
			host.To = append(host.To, name)
			cv.give(c.role)
			cv.note("%s is made of rope_scaling in the configuration", name)
		}
	}
}

func (cv *converter) note(format string, args ...any) {
	cv.out.Notes = append(cv.out.Notes, fmt.Sprintf(format, args...))
}

// maxRotary bounds the size of a head; models have some hundreds.
const maxRotary = 1 << 16

// llama3Factors are what the frequencies of rotary embedding are divided by
// (transformers: modeling_rope_utils.py _compute_llama3_parameters): 1 below one
// wavelength, the factor above another, and between them what goes smoothly from
// one to the other. They are computed in F32, as by llama.cpp's converter, which
// takes 8, 1, 4 and 8192 for what is not said. Other scaling has none.
func llama3Factors(m *convention.Model) ([]float32, error) {
	r := m.Rope
	if !strings.EqualFold(r.Type, "llama3") {
		return nil, nil
	}
	dim, ok := m.Number("head_dim")
	if !ok {
		hidden, ok1 := m.Number("hidden_size")
		heads, ok2 := m.Number("num_attention_heads")
		if !ok1 || !ok2 || heads <= 0 {
			return nil, fmt.Errorf("the configuration scales rotary embedding by %s and does not say the size of a head: head_dim", r.Type)
		}
		dim = hidden / heads
	}
	or := func(v, def float64) float32 {
		if v == 0 {
			v = def
		}
		return float32(v)
	}
	base, factor := or(r.Theta, 10000), or(r.Factor, 8)
	low, high, length := or(r.LowFreqFactor, 1), or(r.HighFreqFactor, 4), or(r.OriginalMaxPositionEmbeddings, 8192)
	if dim <= 0 || dim > maxRotary || !(base > 0) || !(factor > 0) || !(low > 0) || !(high > 0) || !(length > 0) {
		return nil, fmt.Errorf("rotary embedding of heads of %d by %+v cannot be computed", dim, *r)
	}
	var out []float32
	for i := int64(0); i < dim; i += 2 {
		frequency := 1 / float32(math.Pow(float64(base), float64(float32(i)/float32(dim))))
		wave := float32(2*math.Pi) / frequency
		v := float32(1)
		switch {
		case wave < length/high:
		case wave > length/low:
			v = factor
		default:
			smooth := (length/wave - low) / (high - low)
			v = 1 / ((1-smooth)/factor + smooth)
		}
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("rotary embedding of heads of %d by %+v cannot be computed", dim, *r)
		}
		out = append(out, v)
	}
	return out, nil
}

// listedFactors are those that the configuration lists.
func listedFactors(list []float64, r *convention.Rope) ([]float32, error) {
	if len(r.LongFactor)+len(r.ShortFactor) == 0 {
		return nil, nil
	}
	if len(r.LongFactor) != len(r.ShortFactor) || len(list) > maxRotary {
		return nil, fmt.Errorf("rope_scaling has %s in long_factor and %d in short_factor", plural.Of(len(r.LongFactor), "number"), len(r.ShortFactor))
	}
	out := make([]float32, len(list))
	for i, v := range list {
		out[i] = float32(v)
		if math.IsInf(float64(out[i]), 0) {
			return nil, fmt.Errorf("rope_scaling has the factor %g, which F32 does not hold", v)
		}
	}
	return out, nil
}
