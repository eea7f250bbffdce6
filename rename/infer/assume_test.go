package infer

import (
	"errors"
	"fmt"
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
		answer := q.Settle[len(q.Settle)-1].Answer
		if answer == nil {
			t.Fatalf("%v would be answered by %+v", q.Between, q.Settle)
		}
		all = append(all, *answer)
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

// What the configuration says of shapes is known: an answer that cannot be is refused with
// the shapes of both. What only seems so from other shapes is taken.
func TestAssumeOtherShape(t *testing.T) {
	a := listed(t, ownLlama)
	config := modelOf(map[string]int64{"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 172, "num_hidden_layers": 6, "vocab_size": 320})
	for _, known := range []bool{true, false} {
		inv := &Inventory{Tensors: a}
		if known {
			inv.Model = config
		}
		_, err := ToConvention(t.Context(), inv, lookup(t, "llama-hf"), Options{Assume: []Assumption{{"gate", "q_proj"}}})
		if _, refused := errors.AsType[*AssumptionError](err); refused != known {
			t.Errorf("known %v: %v", known, err)
		}
		const want = "[172,64] x6 cannot become model.layers.{layer}.self_attn.q_proj [64,64] x6"
		if known && !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v", err)
		}
	}
}
