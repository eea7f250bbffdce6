package convert

import (
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

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

func TestReview(t *testing.T) {
	// A plan that gives every role the other convention's name, bytes or not.
	renames := func(from, to string) func(yield func(a, b string) bool) {
		a, b := mustLookup(t, from), mustLookup(t, to)
		return func(yield func(a, b string) bool) {
			for _, n := range namesOf(a) {
				id, _ := a.Parse(n)
				m, ok := b.Format(id)
				if !ok {
					m = n
				}
				if !yield(n, m) {
					return
				}
			}
		}
	}
	tests := []struct {
		from, to string
		wrong    []string // modules whose renames are wrong
		reason   string
		unless   string
	}{
		{"llama-hf", "llama-meta", []string{"layer.attn.k", "layer.attn.q"}, "its rows are in half order for rotary embedding in llama-hf and in adjacent order in llama-meta", ""},
		{"llama-hf", "llama-gguf", []string{"layer.attn.k", "layer.attn.q"}, "adjacent order in llama-gguf", ""},
		{"llama-meta", "llama-gguf", nil, "", ""},
		{"yi-hf", "llama-hf", nil, "", ""},
		{"qwen2-hf", "qwen2-gguf", nil, "", ""},
		{"gpt_neox-hf", "gptneox-gguf", []string{"layer.attn.qkv"}, "its parts lie per-head in gpt_neox-hf and contiguous in gptneox-gguf", ""},
		{"gpt2-hf", "gpt2-gguf", []string{"layer.attn.o", "layer.attn.qkv", "layer.mlp.down", "layer.mlp.up"}, "it is stored [in, out]", ""},
		{"gemma3-hf", "gemma3-gguf", []string{"final_norm", "layer.attn.k_norm", "layer.attn.norm", "layer.attn.post_norm", "layer.attn.q_norm", "layer.mlp.norm", "layer.mlp.post_norm"}, "the model adds one to it", ""},
	}
	for _, tt := range tests {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			model := mustLookup(t, tt.from).Families[0]
			v := Review(renames(tt.from, tt.to), &convention.Model{Type: model})
			if v.From != tt.from || v.To != tt.to {
				t.Errorf("seen as %s to %s", v.From, v.To)
			}
			modules := make(map[string]bool)
			for _, c := range v.Conflicts {
				module, _ := cutLeaf(c.Role)
				modules[module] = true
				if !strings.Contains(c.Reason, tt.reason) {
					t.Errorf("%s: %s, want %q in it", c.From, c.Reason, tt.reason)
				}
			}
			if got := slices.Sorted(maps.Keys(modules)); !slices.Equal(got, tt.wrong) {
				t.Errorf("conflicts %v, want %v", got, tt.wrong)
			}
		})
	}
	t.Run("swapped", func(t *testing.T) {
		v := Review(func(yield func(a, b string) bool) {
			for n := range renames("yi-hf", "llama-hf") {
				m := strings.NewReplacer("ln1", "post_attention_layernorm", "ln2", "input_layernorm").Replace(n)
				if !yield(n, m) {
					return
				}
			}
		}, nil)
		if len(v.Conflicts) != 4 || v.Conflicts[0].Reason != "it becomes layer.mlp.norm.weight" {
			t.Errorf("conflicts %+v", v.Conflicts)
		}
	})
}

func TestResolve(t *testing.T) {
	tests := []struct {
		goal, from, model, want string
	}{
		{"gguf", "llama-hf", "", "llama-gguf"},
		{"gguf", "llama-hf", "granite", "granite-gguf"},
		{"gguf", "qwen3-hf", "", "qwen3-gguf"},
		{"gguf", "qwen3_moe-hf", "", "qwen3moe-gguf"},
		{"gguf", "deepseek_v3-hf", "", "deepseek2-gguf"},
		{"gguf", "gemma2-hf", "", "gemma2-gguf"},
		{"meta", "llama-hf", "", "llama-meta"},
		{"hf", "llama-meta", "", "llama-hf"},
		{"hf", "llama-gguf", "", "llama-hf"},
		{"megatron", "llama-hf", "", "llama-megatron"},
		{"megatron", "mixtral-hf", "", "mixtral-megatron"},
		{"litgpt", "llama-hf", "", "llama-litgpt"},
		{"mistral", "mixtral-hf", "", "mixtral-mistral"},
		{"openai", "whisper-hf", "", "whisper-openai"},
		{"deepseek", "deepseek_v3-hf", "", "deepseek_v3-deepseek"},
		{"llama-hf", "yi-hf", "", "llama-hf"},
	}
	for _, tt := range tests {
		got, err := Target(tt.goal, mustLookup(t, tt.from), &convention.Model{Type: tt.model})
		if err != nil {
			t.Errorf("%s from %s: %v", tt.goal, tt.from, err)
		} else if got.Name != tt.want {
			t.Errorf("%s from %s (%s) = %s, want %s", tt.goal, tt.from, tt.model, got.Name, tt.want)
		}
	}
	for goal, want := range map[string]string{"gguff": "there is no convention or project of that name; did you mean \"gguf\"?", "timm": "no convention of that project is of bloom", "lamma-hf": "; did you mean \"llama-hf\"?", "blom-hf": "did you mean \"bloom-hf\"?"} {
		if _, err := Target(goal, mustLookup(t, "bloom-hf"), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q in it", goal, err, want)
		}
	}
}

func TestDerive(t *testing.T) {
	tests := []struct{ from, to, by string }{
		{"yi-hf", "llama-hf", "names"},
		{"llama-meta", "llama-gguf", "names"},
		{"llama-hf", "llama-meta", "bytes"},
		{"llama-hf", "llama-gguf", "bytes"},
		{"qwen2-hf", "qwen2-gguf", "names"},
		{"phi3-hf", "phi3-gguf", "names"},
		{"baichuan-hf", "baichuan-gguf", "bytes"},
		{"internlm2-hf", "internlm2-gguf", "bytes"},
		{"deepseek_v3-hf", "deepseek_v3-deepseek", "names"},
		{"whisper-openai", "whisper-hf", "names"},
	}
	for _, tt := range tests {
		d, err := Derive(mustLookup(t, tt.from), mustLookup(t, tt.to))
		if err != nil {
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
			continue
		}
		if d.By() != tt.by {
			t.Errorf("%s to %s by %s, want %s: %+v", tt.from, tt.to, d.By(), tt.by, d.Rules)
		}
	}
	d, err := Derive(mustLookup(t, "yi-hf"), mustLookup(t, "llama-hf"))
	if err != nil {
		t.Fatal(err)
	}
	var changed []DerivedRule
	for _, r := range d.Rules {
		if r.Drop == "" && r.From[0] != r.To[0] {
			changed = append(changed, r)
		}
	}
	want := []DerivedRule{
		{From: []string{"model.layers.{layer}.ln1.weight"}, To: []string{"model.layers.{layer}.input_layernorm.weight"}},
		{From: []string{"model.layers.{layer}.ln2.weight"}, To: []string{"model.layers.{layer}.post_attention_layernorm.weight"}},
	}
	if d := gocmp.Diff(want, changed, cmpopts.IgnoreUnexported(DerivedRule{})); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
