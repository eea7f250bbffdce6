package convert

import (
	"errors"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// Where sections of a head are turned by different positions, llama.cpp's converter
// puts the even rows of what is turned before the odd ones, and leaves the rest of the
// head (convert_hf_to_gguf.py Glm4Model.normal_to_neox, use_mrope).
func TestSections(t *testing.T) {
	const heads, kv, dim, hidden = 4, 2, 8, 3
	values := map[string]tensorValue{}
	next := 0.0
	for name, rows := range map[string]int64{"q": heads * dim, "k": kv * dim, "v": kv * dim} {
		values["model.layers.0.self_attn."+name+"_proj.weight"] = fillTensor(&next, rows, hidden)
		values["model.layers.0.self_attn."+name+"_proj.bias"] = fillTensor(&next, rows)
	}
	var tensors []convention.Named
	for name, v := range values {
		n := convention.Named{Name: name}
		for _, d := range v.shape {
			n.Shape = append(n.Shape, uint64(d))
		}
		tensors = append(tensors, n)
	}
	from, to := mustLookup(t, "glm4-hf"), mustLookup(t, "glm4-gguf")
	for _, rotary := range []float64{0, 0.5, 1} {
		m := modelOf(map[string]int64{"num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": dim, "hidden_size": hidden})
		m.Sections, m.Rotary = rotary > 0, rotary
		conv, err := Between(from, to, slices.Values(tensors), m)
		if err != nil {
			t.Fatal(err)
		}
		if len(conv.Moves) != len(tensors) {
			t.Fatalf("%g: %d tensors of %d become others", rotary, len(conv.Moves), len(tensors))
		}
		turned := int(rotary * dim)
		for _, move := range conv.Moves {
			source, made := values[move.From[0]], run(t, move, values)[move.To[0]]
			moves := move.To[0] != "blk.0.attn_v.weight" && move.To[0] != "blk.0.attn_v.bias"
			width := len(source.data) / int(source.shape[0])
			for row := range int(source.shape[0]) {
				want := row
				if i := row % dim; moves && i < turned {
					want = row - i + 2*(i%(turned/2)) + i/(turned/2)
				}
				if !slices.Equal(made.data[row*width:(row+1)*width], source.data[want*width:(want+1)*width]) {
					t.Errorf("%g of a head: row %d of %s is not row %d of %s", rotary, row, move.To[0], want, move.From[0])
				}
			}
		}
	}
	m := modelOf(map[string]int64{"num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": dim, "hidden_size": hidden})
	m.Sections = true
	_, err := Between(from, to, slices.Values(tensors), m)
	var refused *RefusalError
	if !errors.As(err, &refused) || refused.Needs != "partial_rotary_factor" {
		t.Errorf("what is turned is not known: %v", err)
	}
}
