package identify_test

import (
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
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

func ExampleTensors() {
	r := identify.Tensors(slices.Values(yi), nil)
	fmt.Println(r.Convention, r.Families)
	fmt.Println(r.Nearest.TemplatesAway, "templates away from", r.Nearest.Convention)
	// Output:
	// yi-hf [Yi llama]
	// 2 templates away from llama-hf
}

func ExampleWhy() {
	x := identify.Why("model.layers.0.mlp.up_proj.g_idx", slices.Values(yi), nil)
	fmt.Println(x.Role)
	for _, reason := range x.Reasons {
		fmt.Println(reason)
	}
	// Output:
	// layer.mlp.up.weight
	// no tensor of the checkpoint has this name
	// "g_idx" belongs to the quantised weight model.layers.0.mlp.up_proj.weight: of scheme gptq
}
