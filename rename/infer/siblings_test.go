package infer

import (
	"strings"
	"testing"
)

// Modules that only a number tells apart are modules each, in the layers and outside of them, and an answer
// may name one.
func TestNumberedSiblings(t *testing.T) {
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(ownLlama) }
	for _, c := range []struct {
		name, list string
		assume     []Assumption
		want       []string
	}{
		{"parts of an MLP", change("ffn.<gate|up>", "ff.wi_<0|1>", "ffn.down", "ff.wo"), []Assumption{{"ff.wi_1", "up_proj"}, {"ff.wo", "down_proj"}}, []string{
			"net.stack.*.ff.wi_0.weight -> model.layers.*.mlp.gate_proj.weight",
			"net.stack.*.ff.wi_1.weight -> model.layers.*.mlp.up_proj.weight named",
			"net.stack.*.ff.wo.weight -> model.layers.*.mlp.down_proj.weight",
		}},
		{"normalisations of a layer", change("pre_attn_norm", "norms.0", "pre_ffn_norm", "norms.1"), []Assumption{{"norms.0", "input_layernorm"}, {"norms.1", "post_attention_layernorm"}}, []string{
			"net.stack.*.norms.0.weight -> model.layers.*.input_layernorm.weight named",
			"net.stack.*.norms.1.weight -> model.layers.*.post_attention_layernorm.weight named",
		}},
		{"what has no layers", change("net.tok.weight", "t1", "net.unembed.weight", "t0", "net.final_norm.weight", "t2"), []Assumption{{"t0", "lm_head"}}, []string{
			"t0 -> lm_head.weight named", "t1 -> model.embed_tokens.weight", "t2 -> model.norm.weight forced",
		}},
	} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: listed(t, c.list)}, lookup(t, "llama-hf"), Options{Assume: c.assume})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(brief(res), want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, brief(res))
			}
		}
		if len(res.Extra)+len(res.Missing)+len(res.Questions) > 0 {
			t.Errorf("%s:\n%s", c.name, brief(res))
		}
	}
}

// A map that leaves weights of the layers behind is not complete, and normalisations in every layer that
// nothing can be are those of another architecture.
func TestLeftInLayers(t *testing.T) {
	const more = "\nnet.stack.{}."
	for _, c := range []struct {
		name, list string
		partial    bool
		refused    string
	}{
		{"all of it", ownLlama, false, ""},
		{"a matrix", ownLlama + more + "side_adapter.weight [0-5] 40x64", true, ""},
		{"norms of queries and keys", ownLlama + more + "attention.<q_norm|k_norm>.weight [0-5] 8", false, "attention.k_norm and"},
		{"norms behind both parts", ownLlama + more + "<post_attn_norm|post_ffn_norm>.weight [0-5] 64", false, "post_attn_norm and"},
	} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: listed(t, c.list)}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if res.Partial != c.partial && c.refused == "" || (res.Refused != "") != (c.refused != "") || !strings.Contains(res.Refused, c.refused) || len(res.Questions) > 0 {
			t.Errorf("%s: partial %v\n%s", c.name, res.Partial, brief(res))
		}
	}
}
