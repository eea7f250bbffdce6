package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// moeNames are the names of a mixture of experts in transformers' spelling, all under
// another prefix and some under other words.
func moeNames(layers, experts, dense int, prefix string, rename *strings.Replacer) []convention.Named {
	var out []convention.Named
	add := func(name string, shape ...uint64) {
		out = append(out, convention.Named{Name: prefix + rename.Replace(name) + ".weight", Shape: shape, DType: "BF16"})
	}
	add("embed_tokens", 163840, 7168)
	for l := range layers {
		at := fmt.Sprintf("layers.%d.", l)
		add(at+"input_layernorm", 7168)
		add(at+"self_attn.q_a_proj", 1536, 7168)
		add(at+"self_attn.q_a_layernorm", 1536)
		add(at+"self_attn.q_b_proj", 12288, 1536)
		add(at+"self_attn.kv_a_proj_with_mqa", 576, 7168)
		add(at+"self_attn.kv_a_layernorm", 512)
		add(at+"self_attn.kv_b_proj", 16384, 512)
		add(at+"self_attn.o_proj", 7168, 8192)
		add(at+"post_attention_layernorm", 7168)
		if l < dense {
			add(at+"mlp.gate_proj", 18432, 7168)
			add(at+"mlp.up_proj", 18432, 7168)
			add(at+"mlp.down_proj", 7168, 18432)
			continue
		}
		add(at+"mlp.gate", uint64(experts), 7168)
		for _, of := range append(expertNames(experts), "shared_experts") {
			add(at+"mlp."+of+".gate_proj", 2048, 7168)
			add(at+"mlp."+of+".up_proj", 2048, 7168)
			add(at+"mlp."+of+".down_proj", 7168, 2048)
		}
	}
	add("norm", 7168)
	return out
}

func expertNames(n int) []string {
	names := make([]string, n)
	for e := range names {
		names[e] = fmt.Sprintf("experts.%d", e)
	}
	return names
}

// A lab's own words for what DeepSeek V3 has.
var ownWords = strings.NewReplacer("self_attn", "attention", "mlp.experts", "moe.expert", "mlp.", "moe.", "layers", "blocks", "input_layernorm", "pre_attn_norm", "post_attention_layernorm", "pre_ffn_norm")

func inferMoE(t testing.TB, a, b []convention.Named, opt Options, most int) *Result {
	t.Helper()
	res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Map.Rules) > most || len(res.Extra)+len(res.Missing) > 0 {
		t.Fatalf("%d rules\n%s", len(res.Map.Rules), rulesOf(res))
	}
	return res
}

// Kimi K2 has 61 layers, the first of them dense, and 384 experts in each other:
// config.json of moonshotai/Kimi-K2-Instruct.
func TestKimiK2(t *testing.T) {
	if testing.Short() {
		t.Skip("infers the map of a hundred thousand names; TestLongList of fewer")
	}
	a := moeNames(61, 384, 1, "core.", ownWords)
	b := moeNames(61, 384, 1, "model.", strings.NewReplacer())
	res := inferMoE(t, a, b, Options{Unknown: true}, 40)
	t.Log(len(a), "\n", rulesOf(res))
}

func BenchmarkInferMoE(b *testing.B) {
	x := moeNames(61, 120, 1, "core.", ownWords)
	y := moeNames(61, 120, 1, "model.", strings.NewReplacer())
	b.ReportAllocs()
	b.ReportMetric(float64(len(x)), "names")
	for b.Loop() {
		inferMoE(b, x, y, Options{Unknown: true}, 40)
	}
}

// A real list of 22,213 names, whose prefix is another.
func TestLongList(t *testing.T) {
	tensors := fixture.ListedTensors(t, testdata.Path(t, "names/Qwen__Qwen3.5-25B-A3B-REAP__hf-qwen3_5_moe.tsv"))
	var a, b []convention.Named
	for _, n := range tensors {
		a = append(a, convention.Named{Name: strings.Replace(n.Name, "model.language_model.", "lm.core.", 1), Shape: n.Shape})
		b = append(b, convention.Named{Name: n.Name, Shape: n.Shape})
	}
	res := inferMoE(t, a, b, Options{Unknown: true}, 40)
	t.Log(len(a), "\n", rulesOf(res))
}
