package check

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// What is there of the layers for multi-token prediction is held to the layers of the model that
// they are like, and to what joins them to it.
func TestPredictions(t *testing.T) {
	// Behind the others, as DeepSeek V3 has it (README_WEIGHTS.md of its repository).
	deepseek := func() []string {
		lines := []string{"model.embed_tokens [32,8]", "model.norm [8]", "lm_head [32,8]"}
		for layer := range 5 {
			l := fmt.Sprintf("model.layers.%d.", layer)
			for _, m := range []string{
				"input_layernorm [8]", "post_attention_layernorm [8]", "self_attn.q_a_proj [4,8]", "self_attn.q_a_layernorm [4]", "self_attn.q_b_proj [12,4]",
				"self_attn.kv_a_proj_with_mqa [6,8]", "self_attn.kv_a_layernorm [4]", "self_attn.kv_b_proj [16,4]", "self_attn.o_proj [8,8]",
			} {
				lines = append(lines, l+m)
			}
			if layer == 0 {
				lines = append(lines, l+"mlp.gate_proj [16,8]", l+"mlp.up_proj [16,8]", l+"mlp.down_proj [8,16]")
				continue
			}
			lines = append(lines, l+"mlp.gate [4,8]", l+"mlp.gate.e_score_correction_bias [4]")
			for _, part := range []string{"shared_experts.", "experts.0.", "experts.1.", "experts.2.", "experts.3."} {
				lines = append(lines, l+"mlp."+part+"gate_proj [8,8]", l+"mlp."+part+"up_proj [8,8]", l+"mlp."+part+"down_proj [8,8]")
			}
			if layer == 4 {
				lines = append(lines, l+"eh_proj [8,16]", l+"enorm [8]", l+"hnorm [8]", l+"shared_head.norm [8]", l+"shared_head.head [32,8]", l+"embed_tokens [32,8]")
			}
		}
		return lines
	}
	// In a list of their own, as Qwen3-Next has it (vLLM: qwen3_next_mtp.py). Of the model's layers
	// every fourth has what they have.
	qwen := func() []string {
		lines := []string{"model.embed_tokens [32,8]", "model.norm [8]", "lm_head [32,8]", "mtp.fc [8,16]", "mtp.norm [8]", "mtp.pre_fc_norm_embedding [8]", "mtp.pre_fc_norm_hidden [8]"}
		for layer := range 9 {
			l := fmt.Sprintf("model.layers.%d.", layer)
			if layer == 8 {
				l = "mtp.layers.0."
			}
			lines = append(lines, l+"input_layernorm [8]", l+"post_attention_layernorm [8]", l+"mlp.gate [2,8]", l+"mlp.shared_expert_gate [1,8]")
			for _, part := range []string{"shared_expert.", "experts.0.", "experts.1."} {
				lines = append(lines, l+"mlp."+part+"gate_proj [8,8]", l+"mlp."+part+"up_proj [8,8]", l+"mlp."+part+"down_proj [8,8]")
			}
			if layer%4 == 3 || layer == 8 {
				lines = append(lines, l+"self_attn.q_proj [16,8]", l+"self_attn.k_proj [4,8]", l+"self_attn.v_proj [4,8]", l+"self_attn.o_proj [8,8]", l+"self_attn.q_norm [4]", l+"self_attn.k_norm [4]")
			} else {
				lines = append(lines, l+"linear_attn.A_log [2]", l+"linear_attn.dt_bias [2]", l+"linear_attn.conv1d [24,1,4]", l+"linear_attn.in_proj_qkvz [32,8]", l+"linear_attn.in_proj_ba [4,8]",
					l+"linear_attn.norm [4]", l+"linear_attn.out_proj [8,8]")
			}
		}
		return lines
	}
	const (
		deepseekConfig = `{"model_type": "deepseek_v3", "architectures": ["DeepseekV3ForCausalLM"], "hidden_size": 8, "num_hidden_layers": 4, "num_attention_heads": 2, "num_key_value_heads": 2,
 "vocab_size": 32, "intermediate_size": 16, "moe_intermediate_size": 8, "n_routed_experts": 4, "n_shared_experts": 1, "first_k_dense_replace": 1, "q_lora_rank": 4, "kv_lora_rank": 4,
 "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 4, %s "tie_word_embeddings": false}`
		qwenConfig = `{"model_type": "qwen3_next", "architectures": ["Qwen3NextForCausalLM"], "hidden_size": 8, "num_hidden_layers": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
 "vocab_size": 32, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8, "num_experts": 2, "full_attention_interval": 4, %s "tie_word_embeddings": false}`
		one = `"num_nextn_predict_layers": 1,`
	)
	for _, tt := range []struct {
		what, config, numbers string
		names                 func() []string
		lost                  []string // parts of names
		want                  string   // the end of the only finding that is no note
	}{
		{what: "whole", config: deepseekConfig, numbers: one, names: deepseek},
		{what: "without a head of its own, as GLM-4.6", config: deepseekConfig, numbers: one, names: deepseek, lost: []string{"shared_head.head", "layers.4.embed_tokens"}},
		{what: "a joint", config: deepseekConfig, numbers: one, names: deepseek, lost: []string{"eh_proj", "hnorm"}, want: "num_nextn_predict_layers is 1, and model.layers.4, which is for multi-token prediction, lacks hnorm.weight and eh_proj.weight (x2)"},
		{what: "a projection", config: deepseekConfig, numbers: one, names: deepseek, lost: []string{"layers.4.self_attn.o_proj"}, want: "lacks self_attn.o_proj"},
		{
			what: "the experts, without which it is like the dense layer, too", config: deepseekConfig, numbers: one, names: deepseek, lost: []string{"layers.4.mlp.experts", "layers.4.mlp.shared", "layers.4.mlp.gate "},
			want: "lacks mlp.experts.{n}.down_proj, mlp.experts.{n}.gate_proj, mlp.experts.{n}.up_proj and 4 more (x7)",
		},
		{what: "all but the joints", config: deepseekConfig, numbers: one, names: deepseek, lost: []string{"layers.4.mlp", "layers.4.self_attn", "layers.4.input", "layers.4.post"}, want: "and 14 more (x17)"},
		{what: "a layer", config: deepseekConfig, numbers: `"num_nextn_predict_layers": 2,`, names: deepseek, want: "num_nextn_predict_layers is 2, and the tensors have 1 layer for multi-token prediction"},
		{what: "the key", config: deepseekConfig, names: deepseek, want: "num_hidden_layers is 4, and the tensors have 5 layers (0 to 4); from 4 on they are for multi-token prediction, and num_nextn_predict_layers says how many"},
		{what: "key and joints: nothing shows what they are", config: deepseekConfig, names: deepseek, lost: []string{"eh_proj", "enorm", "hnorm", "shared_head", "layers.4.embed"}, want: "num_hidden_layers is 4, and the tensors have 5 layers (0 to 4)"},
		{what: "whole, in a list", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1,`, names: qwen},
		{what: "whole, packed", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1, "quantization_config": {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head", "re:.*layers.*"],
 "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 16, "symmetric": true}}}},`, names: func() []string {
			packed := "mtp.fc.weight_packed I32 [8,2]\nmtp.fc.weight_scale BF16 [8,1]\nmtp.fc.weight_shape I64 [2]"
			return strings.Split(strings.Replace(strings.Join(qwen(), "\n"), "mtp.fc [8,16]", packed, 1), "\n")
		}},
		{what: "a joint, of a list", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1,`, names: qwen, lost: []string{"mtp.fc"}, want: "mtp.layers.0, which is for multi-token prediction, lacks mtp.fc.weight"},
		{what: "attention, of a list", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1,`, names: qwen, lost: []string{"mtp.layers.0.self_attn"}, want: "lacks self_attn.k_norm, self_attn.k_proj, self_attn.o_proj and 3 more (x6)"},
		{what: "a norm, of a list", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1,`, names: qwen, lost: []string{"mtp.layers.0.post"}, want: "lacks post_attention_layernorm"},
		{what: "norms under other names", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1,`, names: func() []string {
			return strings.Split(strings.Replace(strings.Join(qwen(), "\n"), "mtp.layers.0.post_attention_layernorm", "mtp.layers.0.pre_mlp_layernorm", 1), "\n")
		}},
		{what: "the layer, of a list", config: qwenConfig, numbers: `"mtp_num_hidden_layers": 1,`, names: qwen, lost: []string{"mtp.layers."}, want: "the tensors have 0 layers for multi-token prediction"},
	} {
		var text strings.Builder
		text.WriteString("meta format pt\n")
	names:
		for _, line := range tt.names() {
			for _, part := range tt.lost {
				if strings.Contains(line, part) {
					continue names
				}
			}
			words := strings.Fields(line)
			switch {
			case len(words) == 3:
			case strings.HasSuffix(words[0], "bias") || strings.HasSuffix(words[0], "A_log"):
				words = slices.Insert(words, 1, "BF16")
			default:
				words = []string{words[0] + ".weight", "BF16", words[1]}
			}
			fmt.Fprintf(&text, "tensor %s\n", strings.Join(words, " "))
		}
		dir := filepath.Join(t.TempDir(), "release")
		fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": text.String(), "config.json": fmt.Sprintf(tt.config, tt.numbers)})
		var got []string
		for _, l := range findings(t, dir, new(Options)) {
			if !strings.Contains(l, " info ") {
				got = append(got, l)
			}
		}
		if tt.want == "" && len(got) > 0 || tt.want != "" && (len(got) != 1 || !strings.HasSuffix(got[0], tt.want)) {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
}
