package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// rulesOf writes a result's rules and questions as a person reads them.
func rulesOf(res *Result) string {
	var b strings.Builder
	for i := range res.Map.Rules {
		r := &res.Rules[i]
		fmt.Fprintf(&b, "%s x%d %s", &res.Map.Rules[i], r.Tensors, r.Class)
		for k := range res.Map.Rules[i].Ops {
			fmt.Fprintf(&b, ", %s", &res.Map.Rules[i].Ops[k])
		}
		b.WriteByte('\n')
	}
	for _, q := range res.Questions {
		fmt.Fprintf(&b, "ask %v and %v best %v %.2f %v\n", q.Between, q.And, q.Best, q.Confidence, q.Settle)
	}
	for _, m := range res.Missing {
		fmt.Fprintf(&b, "missing %s\n", m)
	}
	for _, m := range res.Extra {
		fmt.Fprintf(&b, "extra %s\n", m)
	}
	if res.Refused != "" {
		fmt.Fprintf(&b, "refused: %s\n", res.Refused)
	}
	return b.String()
}

func modelOf(numbers map[string]int64) *convention.Model {
	return &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) {
		n, ok := numbers[key]
		return n, ok
	}}}
}

func lookup(t testing.TB, name string) *convention.Convention {
	t.Helper()
	c, ok := convention.Lookup(name)
	if !ok {
		t.Fatalf("no convention %s", name)
	}
	return c
}

func TestYi(t *testing.T) {
	a, b := modelIn(t, "yi-hf", models["gqa"]), modelIn(t, "llama-hf", models["gqa"])
	const want = `model.layers.{layer}.ln1.weight -> model.layers.{layer}.input_layernorm.weight x32 named
model.layers.{layer}.ln2.weight -> model.layers.{layer}.post_attention_layernorm.weight x32 named
`
	res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, rulesOf(res)); d != "" {
		t.Error(d)
	}
	res, err = ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, rulesOf(res)); d != "" {
		t.Error(d)
	}
	// Nothing but a common order of words tells ln1 from ln2.
	res, err = Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Questions) != 1 || res.Rules[0].Class != Guess || res.Map.Ask == nil {
		t.Error(rulesOf(res))
	}
	res, err = Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true, Assume: []Assumption{{From: "ln1", To: "input_layernorm"}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Questions) > 0 || rulesOf(res) != strings.ReplaceAll(want, "forced", "named") {
		t.Error(rulesOf(res))
	}
}
