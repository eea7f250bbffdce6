package convert

import (
	"math"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// The factors of Llama 3.1 8B, against transformers' own way to them
// (modeling_rope_utils.py _compute_llama3_parameters): it scales the inverse
// frequencies, which the factors divide.
func TestLlama3Factors(t *testing.T) {
	const dim, theta, factor, low, high, length = 128, 500000.0, 8.0, 1.0, 4.0, 8192.0
	m := modelOf(map[string]int64{"num_attention_heads": 32, "hidden_size": 32 * dim})
	m.Rope = &convention.Rope{Type: "llama3", Theta: theta, Factor: factor, LowFreqFactor: low, HighFreqFactor: high, OriginalMaxPositionEmbeddings: length}
	got, err := llama3Factors(m)
	if err != nil || len(got) != dim/2 {
		t.Fatalf("%d factors, %v", len(got), err)
	}
	smoothed := 0
	for i, v := range got {
		inverse := math.Pow(theta, -float64(2*i)/dim)
		wave := 2 * math.Pi / inverse
		scaled := inverse
		if wave > length/low {
			scaled = inverse / factor
		} else if wave >= length/high {
			smooth := (length/wave - low) / (high - low)
			scaled = (1-smooth)*inverse/factor + smooth*inverse
			smoothed++
		}
		if want := inverse / scaled; math.Abs(float64(v)-want) > 1e-5*want {
			t.Errorf("factor %d is %v, want %v", i, v, want)
		}
	}
	if got[0] != 1 || got[dim/2-1] != factor || smoothed < 3 {
		t.Errorf("from %v to %v, %d between", got[0], got[dim/2-1], smoothed)
	}
}

// The scaling of factors by transformers' way, which scales inverse frequencies, is found again; what no
// such scaling has is none.
func TestLlama3Scaling(t *testing.T) {
	of := func(dim int, theta, factor, low, high, length float64) []float32 {
		out := make([]float32, dim/2)
		for i := range out {
			inverse := math.Pow(theta, -float64(2*i)/float64(dim))
			wave, scaled := 2*math.Pi/inverse, inverse
			if wave > length/low {
				scaled = inverse / factor
			} else if wave >= length/high {
				smooth := (length/wave - low) / (high - low)
				scaled = (1-smooth)*inverse/factor + smooth*inverse
			}
			out[i] = float32(inverse / scaled)
		}
		return out
	}
	for _, w := range []convention.Rope{
		{Theta: 500000, Factor: 8, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192},
		{Theta: 500000, Factor: 32, LowFreqFactor: 1, HighFreqFactor: 4, OriginalMaxPositionEmbeddings: 8192},
		{Theta: 10000, Factor: 4, LowFreqFactor: 1, HighFreqFactor: 6.5, OriginalMaxPositionEmbeddings: 4096},
		{Theta: 1e6, Factor: 16, LowFreqFactor: 1, HighFreqFactor: 8, OriginalMaxPositionEmbeddings: 131072},
	} {
		w.Type = "llama3"
		got, ok := Llama3Scaling(of(128, w.Theta, w.Factor, w.LowFreqFactor, w.HighFreqFactor, w.OriginalMaxPositionEmbeddings), w.Theta)
		if !ok {
			t.Errorf("%+v is not found", w)
		} else if diff := gocmp.Diff(w, *got); diff != "" {
			t.Error(diff)
		}
	}
	// Length and wavelengths have a scale in common.
	if got, ok := Llama3Scaling(of(128, 500000, 8, 2, 8, 16384), 500000); !ok || got.LowFreqFactor != 1 || got.HighFreqFactor != 4 || got.OriginalMaxPositionEmbeddings != 8192 {
		t.Errorf("another scale gives %+v, %v", got, ok)
	}
	nan := float32(math.NaN())
	for _, odd := range [][]float32{nil, {1}, {1, 1}, {2, 1, 3}, {nan, 1}, {1, nan}, {0, -1}, {1, 8, 1, 8}, {float32(math.Inf(1)), 2}} {
		if got, ok := Llama3Scaling(odd, 10000); ok {
			t.Errorf("%v has the scaling %+v", odd, got)
		}
	}
}

// What GGUF stores of the configuration is made where the configuration says it,
// and reported where it does not.
func TestConvertCreates(t *testing.T) {
	llama := []string{"model.embed_tokens.weight", "model.norm.weight"}
	heads := map[string]int64{"num_attention_heads": 2, "hidden_size": 8}
	for _, tt := range []struct {
		name, from, to string
		model          *convention.Model
		want           map[string][]float32
		note           string
	}{
		{"llama3", "llama-hf", "llama-gguf", &convention.Model{Documents: modelOf(heads).Documents, Rope: &convention.Rope{Type: "llama3"}}, map[string][]float32{"rope_freqs.weight": {1, 1}}, "rope_freqs.weight is made of rope_scaling"},
		{"longrope", "phi3-hf", "phi3-gguf", &convention.Model{Documents: modelOf(heads).Documents, Rope: &convention.Rope{Type: "longrope", LongFactor: []float64{1, 4}, ShortFactor: []float64{1, 1.5}}}, map[string][]float32{"rope_factors_long.weight": {1, 4}, "rope_factors_short.weight": {1, 1.5}}, "rope_factors_short.weight is made of rope_scaling"},
		{"no scaling", "llama-hf", "llama-gguf", modelOf(heads), nil, ""},
		{"other scaling", "llama-hf", "llama-gguf", &convention.Model{Documents: modelOf(heads).Documents, Rope: &convention.Rope{Type: "linear", Factor: 2}}, nil, ""},
		{"no configuration", "llama-hf", "llama-gguf", new(convention.Model), nil, "there is no configuration, so it is left out"},
		{"no size of a head", "llama-hf", "llama-gguf", &convention.Model{Documents: modelOf(nil).Documents, Rope: &convention.Rope{Type: "llama3"}}, nil, "does not say the size of a head: head_dim"},
		{"lists that differ", "phi3-hf", "phi3-gguf", &convention.Model{Documents: modelOf(heads).Documents, Rope: &convention.Rope{LongFactor: []float64{1, 4}}}, nil, "rope_scaling has 2 numbers in long_factor and 0 in short_factor"},
		{"a lie", "llama-hf", "llama-gguf", &convention.Model{Documents: modelOf(heads).Documents, Rope: &convention.Rope{Type: "llama3", Theta: math.Inf(-1)}}, nil, "cannot be computed"},
		{"one project", "llama-hf", "yi-hf", &convention.Model{Documents: modelOf(heads).Documents, Rope: &convention.Rope{Type: "llama3"}}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var list []convention.Named
			for _, n := range llama {
				list = append(list, convention.Named{Name: n})
			}
			cv, err := Between(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(list), tt.model)
			if err != nil {
				t.Fatal(err)
			}
			var got map[string][]float32
			for i := range cv.Moves {
				m := &cv.Moves[i]
				var values [][]float32
				for _, o := range m.Ops {
					if o.Kind == tensorop.Create {
						values = append(values, o.Values)
					}
				}
				for k, name := range m.To {
					if m.Constant(k) {
						if got == nil {
							got = make(map[string][]float32)
						}
						got[name], values = values[0], values[1:]
					}
				}
			}
			if d := gocmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
			notes := strings.Join(cv.Notes, "\n")
			if !strings.Contains(notes, tt.note) || tt.note == "" && strings.Contains(notes, "rope") {
				t.Errorf("notes %q, want %q in them", notes, tt.note)
			}
			if _, err := cv.Map(); err != nil {
				t.Error(err)
			}
		})
	}
}
