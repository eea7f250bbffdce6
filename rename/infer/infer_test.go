package infer

import (
	"fmt"
	"slices"
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

// Wrappers that training frameworks leave in names are one rule.
func TestWrappers(t *testing.T) {
	b := modelIn(t, "llama-hf", shallow(models["gqa"]))
	for _, prefix := range []string{"_orig_mod.", "module._orig_mod.", "trainer.policy_net."} {
		a := slices.Clone(b)
		for i := range a {
			a[i].Name = prefix + a[i].Name
		}
		want := prefix + "{rest...} -> {rest...} x" + fmt.Sprint(len(b)) + " named\n"
		res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, rulesOf(res)); d != "" {
			t.Error(d)
		}
		if res, err = ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, rulesOf(res)); d != "" {
			t.Error(d)
		}
	}
}

// What an assumption says wrongly is an error that names it, and so is one that fits
// nothing.
func TestAssumptions(t *testing.T) {
	a, b := modelIn(t, "yi-hf", shallow(models["gqa"])), modelIn(t, "llama-hf", shallow(models["gqa"]))
	for _, tt := range []struct {
		assume []Assumption
		want   string
	}{
		{[]Assumption{{From: "nothing", To: "up_proj"}}, `no module ends in "nothing"`},
		{[]Assumption{{From: "ln1", To: "input_layernorms"}}, `did you mean "input_layernorm"`},
		{[]Assumption{{From: "proj", To: "up_proj"}}, "write more of it"},
		{[]Assumption{{From: "ln1", To: "up_proj"}}, "cannot become"},
		{[]Assumption{{From: "ln1", To: "input_layernorm"}, {From: "ln1", To: "post_attention_layernorm"}}, "another assumption"},
	} {
		_, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Assume: tt.assume})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %v, want %q", tt.assume, err, tt.want)
		}
	}
}

// A configuration that says anything sizes nothing.
func TestHostileNumbers(t *testing.T) {
	a := listed(t, "net.h.{}.up.weight [0-3] 24x8")
	for _, m := range []map[string]int64{
		{"num_hidden_layers": 1 << 40},
		{"num_hidden_layers": -5},
		{"num_local_experts": 1 << 60},
		{"num_hidden_layers": 1000, "num_local_experts": 1 << 20},
		{"num_attention_heads": 1 << 62, "head_dim": 1 << 62, "hidden_size": 1 << 62},
	} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a, Model: modelOf(m)}, lookup(t, "mixtral-hf"), Options{})
		if err == nil && len(res.Map.Rules) > 5 {
			t.Errorf("%v: %s", m, rulesOf(res))
		}
	}
}

// What converters of these projects do, read in their own code.
func TestExactRules(t *testing.T) {
	for _, tt := range []struct {
		from, to, model string
		want            []string
	}{
		// llama.cpp gguf-py/gguf/tensor_mapping.py: transformer.h.{bid}.mlp.w2 is FFN_GATE.
		{"qwen-hf", "qwen2-hf", "mha", []string{
			"transformer.h.{layer}.mlp.w2.weight -> model.layers.{layer}.mlp.gate_proj.weight",
			"transformer.h.{layer}.mlp.w1.weight -> model.layers.{layer}.mlp.up_proj.weight",
		}},
		// llama.cpp convert_hf_to_gguf.py InternLM2Model: (kv heads, queries of one + 2, head size, hidden).
		{"internlm2-hf", "llama-hf", "gqa", []string{"split: {axis: 0, parts: [4096, 1024, 1024], layout: grouped, groups: 8}"}},
		// transformers convert_olmo_weights_to_hf.py: up, gate = torch.chunk(ff_proj, 2).
		{"olmo-ai2", "llama-hf", "mha", []string{"ff_proj.weight -> model.layers.{layer}.mlp.up_proj.weight + model.layers.{layer}.mlp.gate_proj.weight"}},
		// transformers convert_llama_weights_to_hf.py permute.
		{"llama-meta", "llama-hf", "gqa", []string{
			"layers.{layer}.attention.wq.weight -> model.layers.{layer}.self_attn.q_proj.weight x5 named, permute: {heads: 32, from: adjacent, to: half}",
			"layers.{layer}.attention.wk.weight -> model.layers.{layer}.self_attn.k_proj.weight x5 named, permute: {heads: 8, from: adjacent, to: half}",
			"layers.{layer}.feed_forward.w3.weight -> model.layers.{layer}.mlp.up_proj.weight",
		}},
	} {
		s := shallow(models[tt.model])
		m := withNumbers(lookup(t, tt.from), lookup(t, tt.to), s)
		res, err := Infer(t.Context(), &Inventory{Tensors: modelIn(t, tt.from, s), Model: m}, &Inventory{Tensors: modelIn(t, tt.to, s), Model: m}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range tt.want {
			if !strings.Contains(rulesOf(res), want) {
				t.Errorf("no %q in\n%s", want, rulesOf(res))
			}
		}
	}
}

// No rule is written that others before it leave nothing.
func TestNoIdleRules(t *testing.T) {
	a := listed(t, `image.patch.weight 64x3x16x16
image.pos.weight 197x64
image.<pre|post>.<weight|bias> 64
words.tok.weight 500x64
words.pos.weight 77x64
words.final.<weight|bias> 64
<image|words>.blocks.{}.<ln1|ln2>.<weight|bias> [0-2] 64
<image|words>.blocks.{}.attn.<q|k|v|o>.weight [0-2] 64x64
<image|words>.blocks.{}.attn.<q|k|v|o>.bias [0-2] 64
<image|words>.blocks.{}.mlp.fc1.weight [0-2] 256x64
<image|words>.blocks.{}.mlp.fc1.bias [0-2] 256
<image|words>.blocks.{}.mlp.fc2.weight [0-2] 64x256
<image|words>.blocks.{}.mlp.fc2.bias [0-2] 64`)
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "clip-hf"), Options{})
	if err != nil || len(res.Rules) == 0 {
		t.Fatal(err, res.Refused)
	}
	for i, r := range res.Rules {
		if r.Tensors == 0 || r.Class == "" {
			t.Errorf("%s: %+v", &res.Map.Rules[i], r)
		}
	}
}
