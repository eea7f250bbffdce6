package identify

import (
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// namesOf makes the names of a small checkpoint in a convention: every tensor
// that it requires, two layers, two experts.
func namesOf(c *convention.Convention, optional ...string) []string {
	var out []string
	for _, t := range c.Tensors() {
		if t.Optional && !slices.Contains(optional, t.Role) {
			continue
		}
		n := 1
		for range t.Pattern.Holes() {
			n *= 2
		}
		for k := range n {
			index := make([]int, len(t.Pattern.Holes()))
			for i := range index {
				index[i] = k >> i & 1
			}
			if name, ok := t.Pattern.Format(index); ok {
				out = append(out, name)
			}
		}
	}
	return out
}

func mustLookup(t testing.TB, name string) *convention.Convention {
	t.Helper()
	c, ok := convention.Lookup(name)
	if !ok {
		t.Fatalf("no convention %q", name)
	}
	return c
}

func TestWhy(t *testing.T) {
	var llama []convention.Named
	for _, n := range namesOf(mustLookup(t, "llama-hf")) {
		llama = append(llama, convention.Named{Name: n})
	}
	tests := []struct{ name, role, want string }{
		{"model.layers.1.mlp.up_proj.weight", "layer.mlp.up.weight", "in llama-hf it is layer.mlp.up.weight"},
		{"model.layers.0._orig_mod.mlp.up_proj.weight", "layer.mlp.up.weight", "_orig_mod. is a wrapper"},
		{"model.layers.0.mlp.up_proj.qzeros", "layer.mlp.up.weight", `"qzeros" belongs to the quantised weight model.layers.0.mlp.up_proj.weight: of scheme gptq or awq`},
		{"model.layers.0.mlp.up_proj.weight.absmax", "layer.mlp.up.weight", "bitsandbytes-4bit"},
		{"lm_head.weight", "head.weight", "it is not stored where the head is tied"},
		{"model.layers.0.self_attn.rotary_emb.inv_freq", "layer.attn.rope_freqs.weight", "it is a buffer"},
		{"blk.0.attn_q.weight", "", "it is a name of"},
		{"model.layers.0.input_layernrom.weight", "", "the nearest name of llama-hf is model.layers.{layer}.input_layernorm.weight"},
		{"model.layers.0.mlp.up_proj.lora_A.weight", "layer.mlp.up.weight", "is a part of an adapter (peft)"},
	}
	for _, tt := range tests {
		x := Why(tt.name, slices.Values(llama), nil)
		if x.Role != tt.role || !slices.ContainsFunc(x.Reasons, func(r string) bool { return strings.Contains(r, tt.want) }) {
			t.Errorf("%s: role %q, reasons %q; want %q and %q", tt.name, x.Role, x.Reasons, tt.role, tt.want)
		}
		present := slices.ContainsFunc(llama, func(n convention.Named) bool { return n.Name == tt.name })
		if absent := slices.Contains(x.Reasons, "no tensor of the checkpoint has this name"); absent == present {
			t.Errorf("%s: reasons %q, and it is there: %v", tt.name, x.Reasons, present)
		}
	}
}
