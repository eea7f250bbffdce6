package convert_test

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

// names makes tensors of unknown shape.
func names(list ...string) []convention.Named {
	out := make([]convention.Named, len(list))
	for i, n := range list {
		out[i] = convention.Named{Name: n}
	}
	return out
}

var yi = names(
	"model.embed_tokens.weight",
	"model.layers.0.ln1.weight",
	"model.layers.0.self_attn.q_proj.weight",
	"model.layers.0.self_attn.k_proj.weight",
	"model.layers.0.self_attn.v_proj.weight",
	"model.layers.0.self_attn.o_proj.weight",
	"model.layers.0.ln2.weight",
	"model.layers.0.mlp.gate_proj.weight",
	"model.layers.0.mlp.up_proj.weight",
	"model.layers.0.mlp.down_proj.weight",
	"model.norm.weight",
	"lm_head.weight",
)

func ExampleBetween() {
	from, _ := convention.Lookup("yi-hf")
	to, _ := convention.Lookup("llama-hf")
	c, err := convert.Between(from, to, slices.Values(yi), nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range c.Moves {
		if m.MovesBytes() || m.From[0] != m.To[0] {
			fmt.Println(m.From[0], "->", m.To[0], m.Ops)
		}
	}
	// Output:
	// model.layers.0.ln1.weight -> model.layers.0.input_layernorm.weight []
	// model.layers.0.ln2.weight -> model.layers.0.post_attention_layernorm.weight []
}

func ExampleBetween_bytes() {
	from, _ := convention.Lookup("llama-hf")
	to, _ := convention.Lookup("llama-meta")
	q := names("model.layers.0.self_attn.k_proj.weight")
	_, err := convert.Between(from, to, slices.Values(q), nil)
	fmt.Println(err)

	numbers := map[string]int64{"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
	c, err := convert.Between(from, to, slices.Values(q), &convention.Model{
		Documents: []func(string) (int64, bool){func(key string) (int64, bool) { n, ok := numbers[key]; return n, ok }},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := json.Marshal(c.Moves)
	fmt.Println(string(b))
	// Output:
	// llama-hf to llama-meta: tensor "model.layers.0.self_attn.k_proj.weight": the number of attention heads is not known; give num_attention_heads with the configuration
	// [{"from":["model.layers.0.self_attn.k_proj.weight"],"to":["layers.0.attention.wk.weight"],"ops":[{"op":"permute","index":0,"count":1,"axis":0,"heads":8,"from":"half","to":"adjacent"}]}]
}
