package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A cell is an element of a tensor, by name and indices.
type cell struct {
	tensor string
	index  []int
}

// cells reads a checkpoint into its elements, BF16 as the F32 that they are.
func cells(t *testing.T, path string) map[string]func(index ...int) uint32 {
	t.Helper()
	r, err := checkpoint.Open(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c := r.Checkpoints[0]
	out := make(map[string]func(index ...int) uint32)
	for i, tensor := range c.All() {
		data, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, data.Size())
		if _, err := data.ReadAt(b, 0); err != nil && len(b) > 0 {
			t.Fatal(err)
		}
		shape, name := tensor.Shape, tensor.Name
		out[name] = func(index ...int) uint32 {
			at := 0
			if len(index) != len(shape) {
				t.Fatalf("%s has shape %v, and index %v is asked for", name, shape, index)
			}
			for k, v := range index {
				if v >= int(shape[k]) {
					t.Fatalf("%s has shape %v, and index %v is asked for", name, shape, index)
				}
				at = at*int(shape[k]) + v
			}
			if tensor.DType == "F32" {
				return binary.LittleEndian.Uint32(b[4*at:])
			}
			return uint32(binary.LittleEndian.Uint16(b[2*at:])) << 16 // BF16
		}
	}
	return out
}

// Conversions of whole models are compared, element by element, with where each
// project's own code takes it from: 4 heads, 2 key/value heads of 8, width 6.
func TestConvertedValues(t *testing.T) {
	t.Parallel()
	const llamaRest = `
tensor model.tok_embeddings.weight BF16 [8,6]
tensor model.layers.{0..1}.attention_norm.weight BF16 [6]
tensor model.layers.{0..1}.ffn_norm.weight BF16 [6]
tensor model.layers.{0..1}.attention.wo.weight BF16 [6,32]
tensor model.layers.{0..1}.feed_forward.w1.weight BF16 [10,6]
tensor model.layers.{0..1}.feed_forward.w2.weight BF16 [6,10]
tensor model.layers.{0..1}.feed_forward.w3.weight BF16 [10,6]
tensor model.norm.weight BF16 [6]
tensor output.weight BF16 [8,6]
`
	// As llama.cpp's DeepseekV2Model keeps the up-projection of latent attention.
	const latent = `
rules:
  - from: "model.layers.{n}.self_attn.kv_b_proj.weight"
    steps:
      - split: {axis: 0, parts: [qk_nope_head_dim, v_head_dim], layout: per-head, groups: num_attention_heads}
      - unflatten: {groups: num_attention_heads}
      - transpose: {operand: 0}
    to: ["blk.{n}.attn_k_b.weight", "blk.{n}.attn_v_b.weight"]
`
	tests := []struct {
		// to is a map where from is empty.
		name, from, to, config, body string
		// want says where an element comes from; shape is that of the tensor
		// in which it is looked for.
		tensor string
		shape  []int
		want   func(index []int) cell
	}{
		{
			"InternLM2: q of the grouped projection, in pairs", "internlm2-hf", "gguf",
			`{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "hidden_size": 6}`,
			"tensor model.layers.{0..1}.attention.wqkv.weight BF16 [64,6]\n" + llamaRest,
			"blk.1.attn_q.weight",
			[]int{32, 6},
			func(i []int) cell {
				// rearrange "(h gs d) dim", gs = 2 + q per kv, then permute(n_head)
				head, row := i[0]/8, i[0]%8
				row = row%2*4 + row/2
				group, in := head/2, head%2
				return cell{"model.layers.1.attention.wqkv.weight", []int{(group*4+in)*8 + row, i[1]}}
			},
		},
		{
			"InternLM2: k", "internlm2-hf", "gguf",
			`{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "hidden_size": 6}`,
			"tensor model.layers.{0..1}.attention.wqkv.weight BF16 [64,6]\n" + llamaRest,
			"blk.0.attn_k.weight",
			[]int{16, 6},
			func(i []int) cell {
				group, row := i[0]/8, i[0]%8
				return cell{"model.layers.0.attention.wqkv.weight", []int{(group*4+2)*8 + row%2*4 + row/2, i[1]}}
			},
		},
		{
			"InternLM2: v", "internlm2-hf", "gguf",
			`{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "hidden_size": 6}`,
			"tensor model.layers.{0..1}.attention.wqkv.weight BF16 [64,6]\n" + llamaRest,
			"blk.1.attn_v.weight",
			[]int{16, 6},
			func(i []int) cell {
				return cell{"model.layers.1.attention.wqkv.weight", []int{(i[0]/8*4+3)*8 + i[0]%8, i[1]}}
			},
		},
		{
			"GPT-NeoX: head by head to q, k, v", "gpt_neox-hf", "gguf",
			`{"num_attention_heads": 4, "hidden_size": 32}`,
			"tensor gpt_neox.layers.{0..1}.attention.query_key_value.weight BF16 [96,32]\n",
			"blk.1.attn_qkv.weight",
			[]int{96, 32},
			func(i []int) cell {
				part, head, row := i[0]/32, i[0]%32/8, i[0]%8
				return cell{"gpt_neox.layers.1.attention.query_key_value.weight", []int{(head*3+part)*8 + row, i[1]}}
			},
		},
		{
			"GPT-2: Conv1D", "gpt2-hf", "gguf",
			`{"n_head": 4, "n_embd": 32}`,
			"tensor transformer.h.{0..1}.attn.c_attn.weight BF16 [32,96]\n",
			"blk.0.attn_qkv.weight",
			[]int{96, 32},
			func(i []int) cell { return cell{"transformer.h.0.attn.c_attn.weight", []int{i[1], i[0]}} },
		},
		{
			"Qwen3-MoE: experts in the order of their numbers", "qwen3_moe-hf", "gguf",
			`{"num_experts": 12}`,
			"tensor model.layers.{0..1}.mlp.experts.{0..11}.up_proj.weight BF16 [4,6]\n",
			"blk.1.ffn_up_exps.weight",
			[]int{12, 4, 6},
			func(i []int) cell {
				return cell{fmt.Sprintf("model.layers.1.mlp.experts.%d.up_proj.weight", i[0]), i[1:]}
			},
		},
		{
			"GPT-OSS: rows of gate and up in turn, stored [in, out]", "gpt_oss-hf", "gguf",
			`{"num_local_experts": 3}`,
			"tensor model.layers.{0..1}.mlp.experts.gate_up_proj BF16 [3,6,8]\n",
			"blk.0.ffn_up_exps.weight",
			[]int{3, 4, 6},
			func(i []int) cell {
				return cell{"model.layers.0.mlp.experts.gate_up_proj", []int{i[0], i[2], 2*i[1] + 1}}
			},
		},
		{
			"GPT-OSS: their biases, too", "gpt_oss-hf", "gguf",
			`{"num_local_experts": 3}`,
			"tensor model.layers.{0..1}.mlp.experts.gate_up_proj BF16 [3,6,8]\ntensor model.layers.{0..1}.mlp.experts.gate_up_proj_bias BF16 [3,8]\n",
			"blk.1.ffn_gate_exps.bias",
			[]int{3, 4},
			func(i []int) cell {
				return cell{"model.layers.1.mlp.experts.gate_up_proj_bias", []int{i[0], 2 * i[1]}}
			},
		},
		{
			"DeepSeek V2: k_b, transposed head by head, by a map", "", latent,
			`{"num_attention_heads": 4, "qk_nope_head_dim": 3, "v_head_dim": 5, "kv_lora_rank": 7}`,
			"tensor model.layers.{0..1}.self_attn.kv_b_proj.weight BF16 [32,7]\n",
			"blk.1.attn_k_b.weight",
			[]int{4, 7, 3},
			func(i []int) cell {
				return cell{"model.layers.1.self_attn.kv_b_proj.weight", []int{i[0]*8 + i[2], i[1]}}
			},
		},
		{
			"DeepSeek V2: v_b, by a map", "", latent,
			`{"num_attention_heads": 4, "qk_nope_head_dim": 3, "v_head_dim": 5, "kv_lora_rank": 7}`,
			"tensor model.layers.{0..1}.self_attn.kv_b_proj.weight BF16 [32,7]\n",
			"blk.0.attn_v_b.weight",
			[]int{4, 5, 7},
			func(i []int) cell {
				return cell{"model.layers.0.self_attn.kv_b_proj.weight", []int{i[0]*8 + 3 + i[1], i[2]}}
			},
		},
		{
			"LLaMA: gate over up for Megatron", "llama-hf", "megatron",
			`{"num_attention_heads": 4}`,
			"tensor model.layers.{0..1}.mlp.gate_proj.weight BF16 [5,6]\ntensor model.layers.{0..1}.mlp.up_proj.weight BF16 [5,6]\n",
			"decoder.layers.0.mlp.linear_fc1.weight",
			[]int{10, 6},
			func(i []int) cell {
				if i[0] < 5 {
					return cell{"model.layers.0.mlp.gate_proj.weight", i}
				}
				return cell{"model.layers.0.mlp.up_proj.weight", []int{i[0] - 5, i[1]}}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "model.safetensors")
			if err := fixture.Write(path, tt.body); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(tt.config), 0o600); err != nil {
				t.Fatal(err)
			}
			out, back := filepath.Join(dir, "out.safetensors"), filepath.Join(dir, "back.safetensors")
			undo := filepath.Join(dir, "undo.yaml")
			command := func(args ...string) {
				t.Helper()
				var stdout, stderr bytes.Buffer
				if code := run(context.Background(), args, nil, &stdout, &stderr); code != 0 {
					t.Fatalf("%v: exit code %d\n%s%s", args, code, &stdout, &stderr)
				}
			}
			how := []string{"--from", tt.from, "--to", tt.to}
			if tt.from == "" {
				file := filepath.Join(dir, "map.yaml")
				if err := os.WriteFile(file, []byte(tt.to), 0o600); err != nil {
					t.Fatal(err)
				}
				how = []string{"--map", file}
			}
			command(append([]string{"rename"}, append(how, "--verify", "full", "--write-inverse", undo, "-o", out, path)...)...)
			old, made := cells(t, path), cells(t, out)
			get := made[tt.tensor]
			if get == nil {
				t.Fatalf("there is no %s", tt.tensor)
			}
			index := make([]int, len(tt.shape))
			for {
				from := tt.want(index)
				if got, want := get(index...), old[from.tensor](from.index...); got != want {
					t.Fatalf("%s%v is %#x; %s%v is %#x", tt.tensor, index, got, from.tensor, from.index, want)
				}
				k := len(index) - 1
				for ; k >= 0; k-- {
					if index[k]++; index[k] < tt.shape[k] {
						break
					}
					index[k] = 0
				}
				if k < 0 {
					break
				}
			}
			command("rename", "--map", undo, "-o", back, out)
			command("diff", path, back)
		})
	}
}

// The names of files in a list of several checkpoints are a line each, whatever is in them.
func TestOneOfSeveralEscapes(t *testing.T) {
	in := &inputs{Set: &inspect.Set{Checkpoints: []*checkpoint.Checkpoint{{Path: "a\nb.safetensors"}, {Path: "c.safetensors"}}}}
	_, err := in.one("dir", "converted")
	if want := "dir holds 2 checkpoints, but only one at a time can be converted; name one:\n  a\\nb.safetensors\n  c.safetensors"; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
