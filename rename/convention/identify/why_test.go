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

// A name that is not there is said to be so, and where another spelling of it is.
func TestWhyAbsent(t *testing.T) {
	names := func(convention string, cut string, optional ...string) (out []string) {
		for _, n := range namesOf(mustLookup(t, convention), optional...) {
			out = append(out, strings.TrimPrefix(n, cut))
		}
		return out
	}
	const absent = "no tensor of the checkpoint has this name"
	for _, tt := range []struct {
		what   string
		have   []string
		kind   string
		name   string
		want   []string
		unsaid string
	}{
		{"bare model", names("qwen3-hf", "model."), "qwen3", "model.embed_tokens.weight", []string{"lack the prefix model.", absent}, "nearest"},
		{"another model's", names("llama-hf", ""), "qwen3", "model.layers.0.self_attn.q_norm.weight", []string{"it is a name of qwen3-hf, the convention of the model that the configuration names", absent}, "afmoe"},
		{"optional", names("glm4moe-gguf", ""), "", "blk.1.nextn.embed_tokens.weight", []string{"glm4moe-gguf does not require it", absent}, "nearest"},
		{"tower", names("gemma4-gguf", ""), "", "v.blk.0.attn_q.weight", []string{"names below v. are of a tower", absent}, "afmoe"},
		{"nobody's", names("llama-hf", ""), "", "foo.bar", []string{"no convention knows it", absent}, "nearest"},
		{"a lab's own", names("llama-hf", ""), "", "model.layers.0.attention.query.kernel", []string{"the name of llama-hf that likely means the same is model.layers.{layer}.self_attn.q_proj.weight"}, "nearest"},
		{"there", names("llama-hf", ""), "", "model.norm.weight", []string{"final_norm.weight"}, absent},
	} {
		var tensors []convention.Named
		for _, n := range tt.have {
			tensors = append(tensors, convention.Named{Name: n})
		}
		x := Why(tt.name, slices.Values(tensors), &convention.Model{Type: tt.kind})
		said := strings.Join(x.Reasons, "\n")
		for _, want := range tt.want {
			if !strings.Contains(said, want) {
				t.Errorf("%s: %q is not in\n%s", tt.what, want, said)
			}
		}
		if strings.Contains(said, tt.unsaid) {
			t.Errorf("%s: %q is in\n%s", tt.what, tt.unsaid, said)
		}
	}
}

// What only all names together show is said of each.
func TestWhyAmongOthers(t *testing.T) {
	llama := namesOf(mustLookup(t, "llama-hf"))
	doubled := slices.Clone(llama)
	for i := range doubled {
		doubled[i] = strings.Replace(doubled[i], "layers.", "layers.layers.", 1)
	}
	change := []string{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"}
	for _, tt := range []struct {
		names      []string
		name, want string
	}{
		{doubled, "model.layers.layers.1.mlp.up_proj.weight", "layers. is there twice in a row; once, the name is model.layers.1.mlp.up_proj.weight"},
		{append(slices.Clone(llama), "score.weight"), "score.weight", "it is the head that a class for classification or question answering puts on llama-hf"},
		{append(slices.Clone(change), "base_model.model.score.weight"), "base_model.model.score.weight", "it is the head that a class for classification or question answering puts on llama-hf"},
		{change, change[0], "the checkpoint is an adapter of llama-hf"},
	} {
		var list []convention.Named
		for _, n := range tt.names {
			list = append(list, convention.Named{Name: n})
		}
		if x := Why(tt.name, slices.Values(list), nil); !slices.Contains(x.Reasons, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, x.Reasons, tt.want)
		}
	}
}
