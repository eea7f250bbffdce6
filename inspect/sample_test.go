package inspect_test

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// sampleNumbers are of the model that [sample] is of, as configurations call them.
var sampleNumbers = map[string]int64{
	"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "hidden_size": 32, "num_hidden_layers": 2, "num_local_experts": 2,
	"qk_nope_head_dim": 12, "v_head_dim": 16, "kv_lora_rank": 20, "intermediate_size": 48, "vocab_size": 64,
	"n_groups": 2, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}

// sample makes the tensors of a small model of both conventions, in the names of the
// first: two of whatever is counted, and, of the tensors that a model may lack, those
// that are wanted. Where a convention has several names for a role, the first is taken.
func sample(c, other *convention.Convention, want func(t *convention.Tensor) bool) []fixture.NamedTensor {
	var out []fixture.NamedTensor
	roles, names := make(map[string]bool), make(map[string]bool)
	for i := range c.Tensors() {
		t := &c.Tensors()[i]
		if roles[t.Role] || t.Optional && !want(t) {
			continue
		}
		roles[t.Role] = true
		for index := range indices(len(t.Pattern.Holes())) {
			name, ok := t.Pattern.Format(index)
			if ok && !names[name] {
				names[name] = true
				out = append(out, fixture.NamedTensor{Name: name, Shape: sampleShape(c, other, t)})
			}
		}
	}
	return out
}

// indices yields every combination of two indices for each of some holes.
func indices(holes int) func(yield func([]int) bool) {
	return func(yield func([]int) bool) {
		for n := range 1 << holes {
			index := make([]int, holes)
			for i := range index {
				index[i] = n >> (holes - 1 - i) & 1
			}
			if !yield(index) {
				return
			}
		}
	}
}

// sized gives each letter of a shape a number.
func sized(axes string) (shape []uint64) {
	for _, axis := range axes {
		shape = append(shape, map[rune]uint64{'c': 32, 'k': 4, 'g': 2, 'n': 16}[axis]+map[rune]uint64{'1': 1}[axis])
	}
	if axes == "n" {
		shape[0] = 32 // the vector of "gn"
	}
	return shape
}

// sampleShape is the shape of a tensor in the model of sampleNumbers, as the
// convention stores it.
func sampleShape(c, other *convention.Convention, t *convention.Tensor) []uint64 {
	const heads, dim, hidden, inner, vocabulary, experts, nope, value, rank = 4, 8, 32, 48, 64, 2, 12, 16, 20
	module, leaf := t.Module, t.Role[strings.LastIndexByte(t.Role, '.')+1:]
	last := module[strings.LastIndexByte(module, '.')+1:]
	// Gated linear attention: 2 key heads and 4 value heads of 8.
	linear := map[string]uint64{"qkvz": 96, "ba": 8, "qkv": 64, "z": 32, "gate": 32, "a": 4, "b": 4, "a_log": 4, "dt": 4, "conv": 64}
	if rows := linear[last]; rows > 0 && strings.HasPrefix(module, "layer.linear_attn.") {
		switch shape := c.Layout.Shapes[module]; {
		case shape == "c1k":
			return []uint64{rows, 1, 4}
		case shape == "ck":
			return []uint64{rows, 4}
		case leaf == "bias" || last == "a_log":
			return []uint64{rows}
		}
		return []uint64{rows, hidden}
	}
	for glob, axes := range c.Layout.Shapes {
		if leaf == "weight" && template.Glob(glob).Match(module) {
			return sized(axes)
		}
	}
	for _, glob := range c.Layout.Pointwise {
		if leaf == "weight" && template.Glob(glob).Match(module) {
			return []uint64{hidden, hidden, 1, 1}
		}
	}
	// Some conventions say how long the parts of a fused projection are.
	proportions := []uint64{1, 1, 1, 2}
	for _, parts := range []map[string][]int64{c.Layout.Parts, other.Layout.Parts} {
		for fused, list := range parts {
			if fused == "qkv_mlp" && !strings.HasPrefix(module, "single.") {
				continue
			}
			for i, n := range list {
				proportions[i] = uint64(n)
			}
		}
	}
	rows := func(parts ...int) (n uint64) {
		for _, i := range parts {
			n += proportions[i] * heads * dim
		}
		return n
	}
	var shape []uint64
	switch {
	case c.Layout.RopeNorms && (last == "q_norm" || last == "k_norm"):
		return []uint64{heads, dim} // of each head
	case strings.HasSuffix(module, "attn.qkv_mlp"):
		shape = []uint64{rows(0, 1, 2, 3), hidden}
	case module == "single.layer.mlp.up":
		shape = []uint64{rows(3), hidden}
	case strings.HasSuffix(module, "attn.q"):
		shape = []uint64{rows(0), hidden}
	case strings.HasSuffix(module, "attn.k"):
		shape = []uint64{rows(1), hidden}
	case strings.HasSuffix(module, "attn.v"):
		shape = []uint64{rows(2), hidden}
	case strings.HasSuffix(module, "attn.qkv"):
		shape = []uint64{rows(0, 1, 2), hidden}
	case strings.HasSuffix(module, "attn.kv"):
		shape = []uint64{2 * heads * dim, hidden}
	case strings.HasSuffix(module, "attn.o"):
		shape = []uint64{hidden, rows(0)}
	case strings.HasSuffix(module, "attn.o_mlp"):
		shape = []uint64{hidden, rows(0, 3)}
	case last == "router":
		shape = []uint64{experts, hidden}
	case last == "kv_b":
		shape = []uint64{heads * (nope + value), rank}
	case last == "k_b":
		return []uint64{heads, rank, nope}
	case last == "v_b":
		return []uint64{heads, value, rank}
	case last == "gate" || last == "up":
		shape = []uint64{inner, hidden}
	case last == "gate_up":
		shape = []uint64{2 * inner, hidden}
	case last == "down":
		shape = []uint64{hidden, inner}
	case module == "embed.tokens" || module == "head":
		shape = []uint64{vocabulary, hidden}
	case strings.HasSuffix(last, "norm") || strings.HasPrefix(last, "norm") || strings.Contains(last, "_norm_"):
		shape = []uint64{hidden}
	default:
		shape = []uint64{hidden, hidden}
	}
	if leaf == "bias" {
		shape = shape[:1]
	}
	if leaf != "weight" && leaf != "bias" {
		return []uint64{hidden}
	}
	turned := leaf == "weight" && c.Transposes(module)
	if strings.Contains(module, ".experts.") {
		turned = leaf == "weight" && c.Layout.Experts == convention.InOut
		if c.Layout.Experts == convention.Flat {
			return []uint64{experts * inner, hidden}
		}
	}
	if turned && len(shape) == 2 {
		slices.Reverse(shape)
	}
	if strings.Contains(module, ".experts.") {
		shape = append([]uint64{experts}, shape...)
	}
	return shape
}
