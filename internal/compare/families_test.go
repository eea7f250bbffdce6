package compare

import (
	"fmt"
	"strings"
	"testing"
)

// A stored tensor is one of a family's in both formats: shape is that of Hugging
// Face's file, and how says what the converter to GGUF does to it.
type stored struct {
	hf, gguf string
	shape    []int
	how      string // "" as it is, "transpose", "plus one", "stack" of experts
}

// number is the value at the place of a tensor.
func number(name string, at ...int) float64 {
	row, col := 0, 0
	switch len(at) {
	case 1:
		row = at[0]
	case 2:
		row, col = at[0], at[1]
	}
	return weight(name, 0, row, col)
}

// texts writes a family in both formats, numbers in F32.
func texts(list []stored, experts int) (hf, gguf string) {
	var a, b strings.Builder
	write := func(w *strings.Builder, name string, shape []int, at func(i []int) float64) {
		fmt.Fprintf(w, "tensor %s F32 %s values=", name, strings.ReplaceAll(fmt.Sprint(shape), " ", ","))
		n := 1
		for _, d := range shape {
			n *= d
		}
		for i := range n {
			index := make([]int, len(shape))
			for k, rest := len(shape)-1, i; k >= 0; k-- {
				index[k], rest = rest%shape[k], rest/shape[k]
			}
			if i > 0 {
				w.WriteByte(',')
			}
			fmt.Fprintf(w, "%g", at(index))
		}
		w.WriteByte('\n')
	}
	for _, s := range list {
		if s.how == "stack" {
			for e := range experts {
				name := strings.ReplaceAll(s.hf, "{e}", fmt.Sprint(e))
				write(&a, name, s.shape, func(i []int) float64 { return number(name, i...) })
			}
			write(&b, s.gguf, append([]int{experts}, s.shape...), func(i []int) float64 {
				return number(strings.ReplaceAll(s.hf, "{e}", fmt.Sprint(i[0])), i[1:]...)
			})
			continue
		}
		write(&a, s.hf, s.shape, func(i []int) float64 { return number(s.hf, i...) })
		shape, at := s.shape, func(i []int) float64 { return number(s.hf, i...) }
		switch s.how {
		case "transpose":
			shape = []int{s.shape[1], s.shape[0]}
			at = func(i []int) float64 { return number(s.hf, i[1], i[0]) }
		case "plus one":
			at = func(i []int) float64 { return number(s.hf, i...) + 1 }
		}
		write(&b, s.gguf, shape, at)
	}
	return a.String(), b.String()
}

// layered repeats the tensors that have {l} in their names.
func layered(n int, list []stored) []stored {
	var out []stored
	for _, s := range list {
		if !strings.Contains(s.hf, "{l}") {
			out = append(out, s)
			continue
		}
		for l := range n {
			c := s
			c.hf, c.gguf = strings.ReplaceAll(s.hf, "{l}", fmt.Sprint(l)), strings.ReplaceAll(s.gguf, "{l}", fmt.Sprint(l))
			out = append(out, c)
		}
	}
	return out
}

// What a family's converter does to the bytes is undone, one way and the other:
// transposition, an offset of norms, experts that are stacked.
func TestFamilies(t *testing.T) {
	tests := []struct {
		arch    string
		experts int
		keys    string
		list    []stored
	}{
		{"gpt2", 0, "kv gpt2.attention.head_count u32 2\nkv gpt2.embedding_length u32 4\n", layered(2, []stored{
			{"wte.weight", "token_embd.weight", []int{8, 4}, ""},
			{"wpe.weight", "position_embd.weight", []int{6, 4}, ""},
			{"h.{l}.ln_1.weight", "blk.{l}.attn_norm.weight", []int{4}, ""},
			{"h.{l}.ln_1.bias", "blk.{l}.attn_norm.bias", []int{4}, ""},
			{"h.{l}.attn.c_attn.weight", "blk.{l}.attn_qkv.weight", []int{4, 12}, "transpose"},
			{"h.{l}.attn.c_attn.bias", "blk.{l}.attn_qkv.bias", []int{12}, ""},
			{"h.{l}.attn.c_proj.weight", "blk.{l}.attn_output.weight", []int{4, 4}, "transpose"},
			{"h.{l}.attn.c_proj.bias", "blk.{l}.attn_output.bias", []int{4}, ""},
			{"h.{l}.ln_2.weight", "blk.{l}.ffn_norm.weight", []int{4}, ""},
			{"h.{l}.ln_2.bias", "blk.{l}.ffn_norm.bias", []int{4}, ""},
			{"h.{l}.mlp.c_fc.weight", "blk.{l}.ffn_up.weight", []int{4, 16}, "transpose"},
			{"h.{l}.mlp.c_fc.bias", "blk.{l}.ffn_up.bias", []int{16}, ""},
			{"h.{l}.mlp.c_proj.weight", "blk.{l}.ffn_down.weight", []int{16, 4}, "transpose"},
			{"h.{l}.mlp.c_proj.bias", "blk.{l}.ffn_down.bias", []int{4}, ""},
			{"ln_f.weight", "output_norm.weight", []int{4}, ""},
			{"ln_f.bias", "output_norm.bias", []int{4}, ""},
		})},
		{"gemma", 0, "", layered(2, []stored{
			{"model.embed_tokens.weight", "token_embd.weight", []int{8, 4}, ""},
			{"model.layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", []int{4}, "plus one"},
			{"model.layers.{l}.post_attention_layernorm.weight", "blk.{l}.ffn_norm.weight", []int{4}, "plus one"},
			{"model.layers.{l}.self_attn.q_proj.weight", "blk.{l}.attn_q.weight", []int{8, 4}, ""},
			{"model.layers.{l}.self_attn.k_proj.weight", "blk.{l}.attn_k.weight", []int{4, 4}, ""},
			{"model.layers.{l}.self_attn.v_proj.weight", "blk.{l}.attn_v.weight", []int{4, 4}, ""},
			{"model.layers.{l}.self_attn.o_proj.weight", "blk.{l}.attn_output.weight", []int{4, 8}, ""},
			{"model.layers.{l}.mlp.gate_proj.weight", "blk.{l}.ffn_gate.weight", []int{12, 4}, ""},
			{"model.layers.{l}.mlp.up_proj.weight", "blk.{l}.ffn_up.weight", []int{12, 4}, ""},
			{"model.layers.{l}.mlp.down_proj.weight", "blk.{l}.ffn_down.weight", []int{4, 12}, ""},
			{"model.norm.weight", "output_norm.weight", []int{4}, "plus one"},
		})},
		{"qwen3moe", 3, "kv qwen3moe.expert_count u32 3\nkv qwen3moe.attention.head_count u32 2\n", layered(2, []stored{
			{"model.embed_tokens.weight", "token_embd.weight", []int{8, 4}, ""},
			{"model.layers.{l}.input_layernorm.weight", "blk.{l}.attn_norm.weight", []int{4}, ""},
			{"model.layers.{l}.post_attention_layernorm.weight", "blk.{l}.ffn_norm.weight", []int{4}, ""},
			{"model.layers.{l}.self_attn.q_proj.weight", "blk.{l}.attn_q.weight", []int{8, 4}, ""},
			{"model.layers.{l}.self_attn.k_proj.weight", "blk.{l}.attn_k.weight", []int{8, 4}, ""},
			{"model.layers.{l}.self_attn.v_proj.weight", "blk.{l}.attn_v.weight", []int{8, 4}, ""},
			{"model.layers.{l}.self_attn.o_proj.weight", "blk.{l}.attn_output.weight", []int{4, 8}, ""},
			{"model.layers.{l}.self_attn.q_norm.weight", "blk.{l}.attn_q_norm.weight", []int{4}, ""},
			{"model.layers.{l}.self_attn.k_norm.weight", "blk.{l}.attn_k_norm.weight", []int{4}, ""},
			{"model.layers.{l}.mlp.gate.weight", "blk.{l}.ffn_gate_inp.weight", []int{3, 4}, ""},
			{"model.layers.{l}.mlp.experts.{e}.gate_proj.weight", "blk.{l}.ffn_gate_exps.weight", []int{6, 4}, "stack"},
			{"model.layers.{l}.mlp.experts.{e}.up_proj.weight", "blk.{l}.ffn_up_exps.weight", []int{6, 4}, "stack"},
			{"model.layers.{l}.mlp.experts.{e}.down_proj.weight", "blk.{l}.ffn_down_exps.weight", []int{4, 6}, "stack"},
			{"model.norm.weight", "output_norm.weight", []int{4}, ""},
			{"lm_head.weight", "output.weight", []int{8, 4}, ""},
		})},
	}
	for _, tt := range tests {
		hf, gguf := texts(tt.list, tt.experts)
		gguf = "format gguf\nkv general.architecture str " + tt.arch + "\n" + tt.keys + gguf
		for _, turn := range [][2]string{{hf, gguf}, {gguf, hf}} {
			res := compareTexts(t, turn[0], turn[1], Options{Auto: true})
			t.Logf("%s: %s to %s", tt.arch, res.From, res.To)
			undone := 0
			for i := range res.Rows {
				r := &res.Rows[i]
				if r.Status != Same || r.Renamed() {
					t.Errorf("%s: %s > %s: %s %v %+v", tt.arch, r.NameA, r.NameB, r.Status, r.Err, r.Difference)
				}
				if len(r.Layout) > 0 {
					undone++
				}
			}
			if undone == 0 {
				t.Errorf("%s: nothing was undone", tt.arch)
			}
		}
	}
}
