package infer

import (
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// What a question says would answer it does, also where the last segments of the modules
// are the same, and so does a word of a segment.
func TestAssume(t *testing.T) {
	var a []convention.Named
	for _, n := range modelIn(t, "llama-hf", models["gqa"]) {
		n.Name = strings.NewReplacer(
			"model.layers.", "stack.", "input_layernorm.weight", "pre_a.g", "post_attention_layernorm.weight", "pre_b.g",
			"gate_proj", "w1", "up_proj", "w3", "model.norm.weight", "final.g",
		).Replace(n.Name)
		a = append(a, n)
	}
	to := lookup(t, "llama-hf")
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Questions) != 2 {
		t.Fatalf("it asks %d questions:\n%s", len(res.Questions), rulesOf(res))
	}
	var all []Assumption
	for _, q := range res.Questions {
		answer, ok := strings.CutPrefix(q.Settle[len(q.Settle)-1], "--assume '")
		from, to, _ := strings.Cut(strings.TrimSuffix(answer, "'"), "=")
		if !ok {
			t.Errorf("%v would be answered by %q", q.Between, q.Settle)
		}
		all = append(all, Assumption{from, to})
	}
	for _, assume := range [][]Assumption{all, {{"w1", "up"}, {"pre_a.g", "post_attention_layernorm"}}, {{"stack.{n}.mlp.w1", "gate"}, {"pre_b.g", "input"}}} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, to, Options{Assume: assume})
		if err != nil {
			t.Errorf("%v: %v", assume, err)
			continue
		}
		for _, as := range assume {
			if !strings.Contains(rulesOf(res), as.From[strings.LastIndexByte(as.From, '}')+1:]) || len(res.Questions) > 0 {
				t.Errorf("%v:\n%s", assume, rulesOf(res))
			}
		}
	}
	for _, c := range []struct{ from, to, says string }{
		{"g", "input_layernorm", `"g" may be`},
		{"w1", "proj", `"proj" may be`},
		{"w9", "up", `no module ends in "w9"`},
		{"w1", "gat_proj", `did you mean "gate_proj"?`},
	} {
		if _, err := ToConvention(t.Context(), &Inventory{Tensors: a}, to, Options{Assume: []Assumption{{c.from, c.to}}}); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s=%s: %v", c.from, c.to, err)
		}
	}
}
