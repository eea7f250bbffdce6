package compare

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// GPT-OSS's experts are MXFP4: blocks of 16 bytes with two numbers each, the low half
// first, and a scale; ggml has 17 bytes, the scale and then bytes with numbers i and
// i+16 (ggml-common.h block_mxfp4; convert_hf_to_gguf.py GptOssModel.repack_mxfp4). Even
// rows are of the gate.
func TestMXFP4Blocks(t *testing.T) {
	const experts, rows = 2, 4
	nibble := func(e, r, i int) byte { return byte(3*e+5*r+7*i+i/9) & 15 }
	scale := func(e, r int) byte { return byte(120 + 4*e + r) }
	var blocks, scales, gate, up []byte
	for e := range experts {
		for r := range rows {
			ggml := []byte{scale(e, r)}
			for i := range 16 {
				blocks = append(blocks, nibble(e, r, 2*i)|nibble(e, r, 2*i+1)<<4)
				ggml = append(ggml, nibble(e, r, i)|nibble(e, r, i+16)<<4)
			}
			scales = append(scales, scale(e, r))
			if r%2 == 0 {
				gate = append(gate, ggml...)
			} else {
				up = append(up, ggml...)
			}
		}
	}
	attention := func(format, names string) string {
		var b strings.Builder
		for _, n := range strings.Fields(names) {
			name, shape, _ := strings.Cut(n, "=")
			fmt.Fprintf(&b, format, name, shape)
		}
		return b.String()
	}
	hf := attention("tensor %s BF16 [%s]\n", "model.embed_tokens.weight=8,32 model.norm.weight=32 lm_head.weight=8,32") +
		attention("tensor model.layers.0.%s BF16 [%s]\n", "input_layernorm.weight=32 post_attention_layernorm.weight=32 self_attn.q_proj.weight=8,32 self_attn.q_proj.bias=8"+
			" self_attn.k_proj.weight=4,32 self_attn.k_proj.bias=4 self_attn.v_proj.weight=4,32 self_attn.v_proj.bias=4 self_attn.o_proj.weight=32,8 self_attn.o_proj.bias=32"+
			" self_attn.sinks=2 mlp.router.weight=2,32 mlp.router.bias=2 mlp.experts.gate_up_proj_bias=2,4 mlp.experts.down_proj_bias=2,32") +
		fmt.Sprintf("tensor model.layers.0.mlp.experts.gate_up_proj_blocks U8 [2,4,1,16] hex=%x\n", blocks) +
		fmt.Sprintf("tensor model.layers.0.mlp.experts.gate_up_proj_scales U8 [2,4,1] hex=%x\n", scales)
	gguf := func(arch string, gate []byte) string {
		return "format gguf\nkv general.architecture str " + arch + "\nkv " + arch + ".attention.head_count u32 2\nkv " + arch + ".attention.head_count_kv u32 1\n" +
			attention("tensor %s BF16 [%s]\n", "token_embd.weight=8,32 output_norm.weight=32 output.weight=8,32") +
			fmt.Sprintf("tensor blk.0.ffn_gate_exps.weight MXFP4 [2,2,32] hex=%s\n", hex.EncodeToString(gate)) +
			fmt.Sprintf("tensor blk.0.ffn_up_exps.weight MXFP4 [2,2,32] hex=%x\n", up)
	}
	spoiled := append([]byte{}, gate...)
	spoiled[20] ^= 1
	for _, arch := range []string{"gptoss", "gpt-oss"} {
		for _, right := range []bool{true, false} {
			other := gguf(arch, gate)
			if !right {
				other = gguf(arch, spoiled)
			}
			for _, turn := range [][2]string{{hf, other}, {other, hf}} {
				res := compareTexts(t, turn[0], turn[1], Options{})
				found := 0
				for i := range res.Rows {
					r := &res.Rows[i]
					if r.A < 0 || r.B < 0 || r.DTypeA != "MXFP4" || r.DTypeB != "MXFP4" {
						continue
					}
					found++
					changed := !right && strings.Contains(r.NameA+r.NameB, "ffn_gate_exps")
					if (r.Verdict == Altered) != changed {
						t.Errorf("%s: %s > %s is %q %s", arch, r.NameA, r.NameB, r.Verdict, r.Status)
					}
				}
				if found != 2 {
					t.Errorf("%s: %d pairs of MXFP4, not 2: %v", arch, found, lines(res))
				}
			}
		}
	}
}

// ollama writes Qwen3-Next under the architecture of Qwen 3.5 MoE, whose gates are
// apart: the names tell.
func TestNamesOfAnotherArchitecture(t *testing.T) {
	var list []stored
	add := func(hf, gguf string, shape ...int) { list = append(list, stored{hf, gguf, shape, ""}) }
	add("model.embed_tokens.weight", "token_embd.weight", 8, 4)
	add("model.norm.weight", "output_norm.weight", 4)
	add("lm_head.weight", "output.weight", 8, 4)
	for _, n := range [][2]string{{"input_layernorm", "attn_norm"}, {"post_attention_layernorm", "post_attention_norm"}} {
		add("model.layers.{l}."+n[0]+".weight", "blk.{l}."+n[1]+".weight", 4)
	}
	for _, n := range []string{"gate", "up", "down"} {
		list = append(list, stored{"model.layers.{l}.mlp.experts.{e}." + n + "_proj.weight", "blk.{l}.ffn_" + n + "_exps.weight", []int{4, 4}, "stack"})
		add("model.layers.{l}.mlp.shared_expert."+n+"_proj.weight", "blk.{l}.ffn_"+n+"_shexp.weight", 4, 4)
	}
	add("model.layers.{l}.mlp.gate.weight", "blk.{l}.ffn_gate_inp.weight", 3, 4)
	add("model.layers.{l}.mlp.shared_expert_gate.weight", "blk.{l}.ffn_gate_inp_shexp.weight", 1, 4)
	for _, n := range []string{"dt_bias ssm_dt.bias", "A_log ssm_a"} {
		hf, gguf, _ := strings.Cut(n, " ")
		add("model.layers.0.linear_attn."+hf, "blk.0."+gguf, 2)
	}
	add("model.layers.0.linear_attn.in_proj_ba.weight", "blk.0.ssm_ba.weight", 4, 4)
	add("model.layers.0.linear_attn.norm.weight", "blk.0.ssm_norm.weight", 2)
	add("model.layers.0.linear_attn.out_proj.weight", "blk.0.ssm_out.weight", 4, 4)
	for _, n := range []string{"q attn_q", "k attn_k", "v attn_v", "o attn_output"} {
		hf, gguf, _ := strings.Cut(n, " ")
		add("model.layers.1.self_attn."+hf+"_proj.weight", "blk.1."+gguf+".weight", 4, 4)
	}
	hf, gguf := texts(layered(2, list), 3)
	gguf = "format gguf\nkv general.architecture str qwen35moe\n" + gguf
	for _, turn := range [][2]string{{hf, gguf}, {gguf, hf}} {
		res := compareTexts(t, turn[0], turn[1], Options{})
		if got := res.From + " " + res.To; got != "qwen3_next-hf qwen3next-gguf" && got != "qwen3next-gguf qwen3_next-hf" {
			t.Errorf("compared as %s: %v", got, lines(res))
		}
	}
}

// A GGUF file that has the names of transformers keeps its bytes as those names say,
// whatever its architecture is.
func TestNamesOfAnotherProject(t *testing.T) {
	hf, _ := texts(layered(2, []stored{
		{"model.embed_tokens.weight", "", []int{8, 8}, ""},
		{"model.norm.weight", "", []int{8}, ""},
		{"lm_head.weight", "", []int{8, 8}, ""},
		{"model.layers.{l}.input_layernorm.weight", "", []int{8}, ""},
		{"model.layers.{l}.post_attention_layernorm.weight", "", []int{8}, ""},
		{"model.layers.{l}.self_attn.q_proj.weight", "", []int{8, 8}, ""},
		{"model.layers.{l}.self_attn.k_proj.weight", "", []int{4, 8}, ""},
		{"model.layers.{l}.self_attn.v_proj.weight", "", []int{4, 8}, ""},
		{"model.layers.{l}.self_attn.o_proj.weight", "", []int{8, 8}, ""},
		{"model.layers.{l}.mlp.gate_proj.weight", "", []int{16, 8}, ""},
		{"model.layers.{l}.mlp.up_proj.weight", "", []int{16, 8}, ""},
		{"model.layers.{l}.mlp.down_proj.weight", "", []int{8, 16}, ""},
	}), 0)
	for _, arch := range []string{"llama", "gemma"} {
		gguf := "format gguf\nkv general.architecture str " + arch + "\nkv " + arch + ".attention.head_count u32 2\nkv " + arch + ".attention.head_count_kv u32 1\n" + hf
		for _, turn := range [][2]string{{hf, gguf}, {gguf, hf}} {
			if res := compareTexts(t, turn[0], turn[1], Options{Auto: true, WeightsOnly: true}); res.Verdict.differs() {
				t.Errorf("%s: %q: %v", arch, res.Verdict, lines(res))
			}
		}
	}
}
