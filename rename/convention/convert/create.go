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

// factorsReason is why factors of rotary embedding have no place, where projects compute them.
const factorsReason = "factors of rotary embedding, which rope_scaling in config.json has to give"

// Factors are the factors of rotary embedding that a role is of, as the configuration gives
// them. ok is false for a role that is of none; there are no factors where the
// configuration gives none.
func Factors(role string, m *convention.Model) (factors []float32, ok bool, err error) {
	for _, c := range created {
		if c.role != role {
			continue
		}
		if m == nil || m.Rope == nil {
			return nil, true, nil
		}
		factors, err = c.make(m)
		return factors, true, err
	}
	return nil, false, nil
}

// Llama3Scaling finds the scaling of Llama 3 that has some factors, where one has: the factor
// is the largest of them, and what lies between 1 and that is on a line, which says where
// both begin. Of several lengths and wavelengths that give the same, the one with a
// low_freq_factor of 1 is returned.
func Llama3Scaling(factors []float32, theta float64) (*convention.Rope, bool) {
	most, dim := slices.Max(append([]float32{1}, factors...)), int64(2*len(factors))
	if most <= 1 || !(theta > 0) || dim > maxRotary {
		return nil, false
	}
	// 1/v = (1-s)/factor + s, and s = (length/wave - low) / (high - low).
	type point struct{ turns, smooth float64 }
	var line []point
	for i, v := range factors {
		if v > 1 && v < most {
			turns := math.Pow(theta, -float64(2*i)/float64(dim)) / (2 * math.Pi)
			line = append(line, point{turns, (1/float64(v) - 1/float64(most)) / (1 - 1/float64(most))})
		}
	}
	tries := []*convention.Rope{{Type: "llama3", Theta: theta, Factor: float64(most), LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192}}
	if n := len(line); n > 1 {
		slope := (line[0].smooth - line[n-1].smooth) / (line[0].turns - line[n-1].turns)
		low := slope*line[0].turns - line[0].smooth // 1 / (high - 1)
		if high := 1 + 1/low; low > 0 && slope > 0 {
			// A configuration has numbers of few digits.
			tries = append(tries, &convention.Rope{
				Type: "llama3", Theta: theta, Factor: float64(most), LowFreqFactor: 1,
				HighFreqFactor: math.Round(high*100) / 100, OriginalMaxPositionEmbeddings: math.Round(slope / low),
			})
		}
	}
	size := func(key string) (int64, bool) { return dim, key == "head_dim" }
	for _, r := range tries {
		got, err := llama3Factors(&convention.Model{Rope: r, Documents: []func(string) (int64, bool){size}})
		if err == nil && SameFactors(got, factors) {
			return r, true
		}
	}
	return nil, false
}

// SameFactors reports whether two lists of factors are the same, apart from how the last
// digits of an F32 were computed.
func SameFactors(a, b []float32) bool {
	const tolerance = 1e-4
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x)-float64(y)) <= tolerance*math.Abs(float64(y)) })
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
