package infer

import (
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// fusedNames are those of a small model in a convention of language models that has several
// projections in one tensor; nil of other conventions.
func fusedNames(c *convention.Convention) (out []convention.Named) {
	s := &sizes{vocab: 320, hidden: 64, query: 64, kv: 16, head: 8, inner: 172, layers: 3}
	if slices.Contains(c.Families, "gpt2") || c.Layout.QKV == "per-head" {
		s.kv = s.query
	}
	fused := false
	for _, t := range c.Tensors() {
		if !c.Language || t.Buffer || t.Optional && t.Role != "head.weight" || len(t.Pattern.Holes()) > 1 {
			continue
		}
		shape := s.shape(c, &t)
		if shape == nil {
			return nil
		}
		m := identify.Meaning(t.Role)
		fused = fused || m.Fused()
		for l := range s.layers {
			if n, ok := t.Pattern.Format([]int{l}[:len(t.Pattern.Holes())]); ok && !slices.ContainsFunc(out, func(o convention.Named) bool { return o.Name == n }) {
				out = append(out, convention.Named{Name: n, Shape: shape, DType: "BF16"})
			}
		}
	}
	if !fused {
		return nil
	}
	return out
}

// What a project calls a fused projection says nothing of how its rows lie: gpt-fast and InternLM2 both
// have attention.wqkv (scripts/convert_hf_checkpoint.py and modeling_internlm2.py), and BLOOM,
// GPT-NeoX, ChatGLM and both kinds of Falcon query_key_value, each in its own way. Only all names of a
// convention together say it.
func TestFusedOrderIsAsked(t *testing.T) {
	numbers := modelOf(map[string]int64{"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2})
	forms := 0
	for _, c := range convention.All() {
		of := fusedNames(c)
		if of == nil {
			continue
		}
		for _, tt := range []struct {
			name   string
			rename func(string) string
		}{
			{"without its prefix", func(n string) string {
				if c.Base == "" || !slices.ContainsFunc(of, func(t convention.Named) bool { return !strings.HasPrefix(t.Name, c.Base) }) {
					return ""
				}
				return strings.TrimPrefix(n, c.Base)
			}},
			{"with another final norm", func(n string) string {
				if p, _ := c.Parse(n); strings.HasPrefix(p.Role, "final_norm") {
					return "closing." + n
				}
				return n
			}},
		} {
			var a []convention.Named
			for _, n := range of {
				name := tt.rename(n.Name)
				if name == "" {
					break
				}
				a = append(a, convention.Named{Name: name, Shape: n.Shape, DType: n.DType})
			}
			if len(a) < len(of) || slices.EqualFunc(a, of, func(x, y convention.Named) bool { return x.Name == y.Name }) {
				continue
			}
			forms++
			for i, to := range []string{"llama-hf", "gpt2-hf", "bloom-hf"} {
				if to == c.Name || !sweep.Has(i+forms, 3) {
					continue
				}
				of := lookup(t, to)
				res, err := ToConvention(t.Context(), &Inventory{Tensors: a, Model: numbers}, of, Options{})
				if err != nil {
					t.Logf("%s %s to %s: %v", c.Name, tt.name, to, err)
					continue
				}
				if res.From != "" && res.From != c.Name {
					continue // these are all names of another
				}
				for i := range res.Rules {
					r := &res.Map.Rules[i]
					p, _ := of.Parse(strings.ReplaceAll(r.To[0].String(), "{layer}", "0"))
					m := identify.Meaning(p.Role)
					if (len(r.To) > 1 || m.Fused() && c.Layout.QKV != of.Layout.QKV) && (res.Rules[i].Class != Guess || res.Rules[i].Confidence >= 0.9) {
						t.Errorf("%s %s to %s: %s is %s %.2f: %v", c.Name, tt.name, to, r, res.Rules[i].Class, res.Rules[i].Confidence, res.Rules[i].By)
					}
				}
			}
		}
	}
	if forms < 20 {
		t.Errorf("only %d lists were tried", forms)
	}
}
