package check

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// healthy are releases as the libraries of their models save them, small. Each is
// built otherwise than most models, and none is wrong. broken is config.json with one
// figure changed, without what names begin with that are left out, and want the rule that finds it.
var healthy = []struct {
	name, config, tensors string
	broken                [2]string // of config: old and new
	without               string
	want                  string
}{
	{
		name:   "LongCat Flash: two of everything in a layer, experts that do nothing",
		config: `{"model_type": "longcat_flash", "architectures": ["LongcatFlashModel"], "hidden_size": 8, "num_hidden_layers": 4, "num_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "kv_lora_rank": 2, "qk_nope_head_dim": 2, "v_head_dim": 2, "n_routed_experts": 2, "zero_expert_num": 3}`,
		tensors: `
			embed_tokens.weight [32,8]
			layers.{0,1}.input_layernorm.{0,1}.weight [8]
			layers.{0,1}.mlp.experts.{0,1}.<down_proj|gate_proj|up_proj>.weight [8,8]
			layers.{0,1}.mlp.experts.{2,3,4}.<gate_proj|up_proj>.weight [8,8]
			layers.{0,1}.mlp.router.classifier.weight [5,8]
			layers.{0,1}.mlp.router.e_score_correction_bias [5]
			layers.{0,1}.mlps.{0,1}.<down_proj|gate_proj|up_proj>.weight [8,8]
			layers.{0,1}.post_attention_layernorm.{0,1}.weight [8]
			layers.{0,1}.self_attn.{0,1}.<kv_a_layernorm|q_a_layernorm>.weight [2]
			layers.{0,1}.self_attn.{0,1}.<kv_a_proj_with_mqa|q_a_proj>.weight [4,8]
			layers.{0,1}.self_attn.{0,1}.<kv_b_proj|q_b_proj>.weight [8,2]
			layers.{0,1}.self_attn.{0,1}.o_proj.weight [8,8]
			norm.weight [8]`,
		broken: [2]string{`"zero_expert_num": 3`, `"zero_expert_num": 4`}, want: "WT306",
	},
	{
		name:   "ERNIE 4.5 VL: experts of two sizes, and a router with its outputs last",
		config: `{"model_type": "ernie4_5_vl_moe", "architectures": ["Ernie4_5_VLMoeModel"], "text_config": {"model_type": "ernie4_5_vl_moe_text", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "moe_num_experts": 2, "moe_intermediate_size": [12, 4]}}`,
		tensors: `
			embed_tokens.weight [32,8]
			layers.{0,1}.<input_layernorm|post_attention_layernorm>.weight [8]
			layers.{0,1}.self_attn.<q_proj|o_proj>.weight [8,8]
			layers.{0,1}.self_attn.<k_proj|v_proj>.weight [4,8]
			layers.0.mlp.<gate_proj|up_proj>.weight [16,8]
			layers.0.mlp.down_proj.weight [8,16]
			layers.1.mlp.experts.{0,1}.<gate_proj|up_proj>.weight [12,8]
			layers.1.mlp.experts.{0,1}.down_proj.weight [8,12]
			layers.1.mlp.experts.{2,3}.<gate_proj|up_proj>.weight [4,8]
			layers.1.mlp.experts.{2,3}.down_proj.weight [8,4]
			layers.1.mlp.gate.<weight|weight_1> [8,2]
			layers.1.mlp.moe_statics.e_score_correction_bias [2,2]
			norm.weight [8]`,
		broken: [2]string{`"moe_num_experts": 2`, `"moe_num_experts": 3`}, want: "WT306",
	},
	{
		name:   "RecurrentGemma: a layer is attention or recurrent",
		config: `{"model_type": "recurrent_gemma", "architectures": ["RecurrentGemmaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 6, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 4, "block_types": ["recurrent", "recurrent", "attention"], "tie_word_embeddings": true}`,
		tensors: `
			model.embed_tokens.weight [32,8]
			model.layers.{0-5}.<temporal_pre_norm|channel_pre_norm>.weight [8]
			model.layers.{0,1,3,4}.temporal_block.<linear_x|linear_y|linear_out>.<weight|bias> [8]
			model.layers.{0,1,3,4}.temporal_block.conv_1d.<weight|bias> [8]
			model.layers.{0,1,3,4}.temporal_block.rg_lru.<recurrent_param|input_gate_weight|input_gate_bias|recurrent_gate_weight|recurrent_gate_bias> [8]
			model.layers.{2,5}.temporal_block.<q_proj|k_proj|v_proj|o_proj>.weight [8,8]
			model.layers.{2,5}.temporal_block.o_proj.bias [8]
			model.layers.{0-5}.mlp_block.<gate_proj|up_proj|down_proj>.weight [8,8]
			model.layers.{0-5}.mlp_block.<gate_proj|up_proj|down_proj>.bias [8]
			model.final_norm.weight [8]`,
		without: "model.layers.5.temporal_block.k_proj.weight", want: "WT318",
	},
	{
		name:   "XLNet: projections with heads of their own",
		config: `{"model_type": "xlnet", "architectures": ["XLNetModel"], "d_model": 8, "n_layer": 2, "n_head": 2, "d_head": 4, "d_inner": 16, "vocab_size": 32}`,
		tensors: `
			mask_emb [1,1,8]
			word_embedding.weight [32,8]
			layer.{0,1}.rel_attn.<q|k|v|o|r> [8,2,4]
			layer.{0,1}.rel_attn.<r_r_bias|r_s_bias|r_w_bias> [2,4]
			layer.{0,1}.rel_attn.seg_embed [2,2,4]
			layer.{0,1}.<rel_attn|ff>.layer_norm.<weight|bias> [8]
			layer.{0,1}.ff.layer_1.weight [16,8]
			layer.{0,1}.ff.layer_1.bias [16]
			layer.{0,1}.ff.layer_2.weight [8,16]
			layer.{0,1}.ff.layer_2.bias [8]`,
		broken: [2]string{`"d_head": 4`, `"head_dim": 8`}, want: "WT319",
	},
	{
		name:   "RemBERT: an embedding narrower than the layers",
		config: `{"model_type": "rembert", "architectures": ["RemBertModel"], "hidden_size": 8, "input_embedding_size": 4, "num_hidden_layers": 1, "vocab_size": 32, "num_attention_heads": 2, "intermediate_size": 16}`,
		tensors: `
			embeddings.<word_embeddings|position_embeddings|token_type_embeddings>.weight [32,4]
			embeddings.LayerNorm.<weight|bias> [4]
			encoder.embedding_hidden_mapping_in.weight [8,4]
			encoder.embedding_hidden_mapping_in.bias [8]
			encoder.layer.0.attention.self.<query|key|value>.weight [8,8]
			encoder.layer.0.attention.self.<query|key|value>.bias [8]
			encoder.layer.0.attention.output.dense.weight [8,8]
			encoder.layer.0.<attention.output.dense|attention.output.LayerNorm|output.dense|output.LayerNorm>.bias [8]
			encoder.layer.0.<attention.output.LayerNorm|output.LayerNorm>.weight [8]
			encoder.layer.0.intermediate.dense.weight [16,8]
			encoder.layer.0.intermediate.dense.bias [16]
			encoder.layer.0.output.dense.weight [8,16]`,
		broken: [2]string{`"input_embedding_size": 4, `, ""}, want: "WT303",
	},
	{
		name:    "MiMo V2 Flash: layers with a sliding window have more heads",
		config:  `{"model_type": "mimo_v2_flash", "architectures": ["MiMoV2FlashModel"], "hidden_size": 8, "num_hidden_layers": 3, "vocab_size": 32, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 4, "v_head_dim": 2, "intermediate_size": 16, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"]}`,
		tensors: mimo,
		broken:  [2]string{`"full_attention"`, `"sliding_attention"`}, want: "WT305",
	},
	{
		name:   "MusicFlamingo: a head size beside the language model",
		config: `{"model_type": "musicflamingo", "architectures": ["MusicFlamingoModel"], "head_dim": 1280, "text_config": {"model_type": "qwen2", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16}}`,
		tensors: `
			language_model.model.embed_tokens.weight [32,8]
			language_model.model.layers.{0,1}.<input_layernorm|post_attention_layernorm>.weight [8]
			language_model.model.layers.{0,1}.self_attn.<q_proj|o_proj>.weight [8,8]
			language_model.model.layers.{0,1}.self_attn.<k_proj|v_proj>.weight [4,8]
			language_model.model.layers.{0,1}.self_attn.q_proj.bias [8]
			language_model.model.layers.{0,1}.self_attn.<k_proj|v_proj>.bias [4]
			language_model.model.layers.{0,1}.mlp.<gate_proj|up_proj>.weight [16,8]
			language_model.model.layers.{0,1}.mlp.down_proj.weight [8,16]
			language_model.model.norm.weight [8]
			language_model.lm_head.weight [32,8]`,
		broken: [2]string{`"intermediate_size": 16`, `"intermediate_size": 16, "head_dim": 1280`}, want: "WT305",
	},
	{
		name:   "Gemma 4: the text model alone",
		config: `{"model_type": "gemma4_text", "architectures": ["Gemma4ForCausalLM"], "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 16, "tie_word_embeddings": true}`,
		tensors: `
			model.embed_tokens.weight [32,8]
			model.layers.{0,1}.layer_scalar [1]
			model.layers.{0,1}.self_attn.<q_proj|o_proj>.weight [8,8]
			model.layers.{0,1}.self_attn.<k_proj|v_proj>.weight [4,8]
			model.layers.{0,1}.self_attn.<q_norm|k_norm>.weight [4]
			model.layers.{0,1}.mlp.<gate_proj|up_proj>.weight [16,8]
			model.layers.{0,1}.mlp.down_proj.weight [8,16]
			model.layers.{0,1}.<input_layernorm|post_attention_layernorm|pre_feedforward_layernorm|post_feedforward_layernorm>.weight [8]
			model.norm.weight [8]`,
	},
	{
		name:   "Qwen 2.5 Omni: another vocabulary for the codes of speech",
		config: `{"model_type": "qwen2_5_omni", "architectures": ["Qwen2_5OmniForConditionalGeneration"], "thinker_config": {"text_config": {"model_type": "qwen2_5_omni_text", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16}}, "talker_config": {"vocab_size": 20, "hidden_size": 8}}`,
		tensors: `
			<thinker|talker>.model.layers.{0,1}.<input_layernorm|post_attention_layernorm>.weight [8]
			<thinker|talker>.model.layers.{0,1}.self_attn.<q_proj|o_proj>.weight [8,8]
			<thinker|talker>.model.layers.{0,1}.self_attn.<k_proj|v_proj>.weight [4,8]
			<thinker|talker>.model.layers.{0,1}.self_attn.q_proj.bias [8]
			<thinker|talker>.model.layers.{0,1}.self_attn.<k_proj|v_proj>.bias [4]
			<thinker|talker>.model.layers.{0,1}.mlp.<gate_proj|up_proj>.weight [16,8]
			<thinker|talker>.model.layers.{0,1}.mlp.down_proj.weight [8,16]
			<thinker|talker>.model.norm.weight [8]
			<thinker.model.embed_tokens|thinker.lm_head>.weight [32,8]
			<talker.model.embed_tokens|talker.codec_head>.weight [20,8]`,
		broken: [2]string{`"vocab_size": 32`, `"vocab_size": 4000`}, want: "WT304",
	},
	{
		name:   "Cosmos 3: diffusers' names for attention",
		config: `{"model_type": "cosmos3_omni", "architectures": ["Cosmos3OmniModel"], "text_config": {"model_type": "qwen3", "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 16}}`,
		tensors: `
			<embed_tokens|lm_head>.weight [32,8]
			layers.{0,1}.<input_layernorm|post_attention_layernorm>.weight [8]
			layers.{0,1}.self_attn.<to_q|to_out>.weight [8,8]
			layers.{0,1}.self_attn.<to_k|to_v>.weight [4,8]
			layers.{0,1}.self_attn.<norm_q|norm_k>.weight [4]
			layers.{0,1}.mlp.<gate_proj|up_proj>.weight [16,8]
			layers.{0,1}.mlp.down_proj.weight [8,16]
			norm.weight [8]`,
		without: "layers.1.self_attn.to_q.weight", want: "WT318",
	},
	{
		name:    "Higgs Audio: a head for sound alone",
		config:  `{"model_type": "llama", "architectures": ["LlamaForConditionalGeneration"], "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "tie_word_embeddings": false}`,
		tensors: llama + "\naudio_lm_head.weight [20,8]",
		without: "audio_lm_head.weight", want: "WT307",
	},
	{
		name:    "a tied head with a bias, and both halves of each layer",
		config:  `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16, "tie_word_embeddings": true}`,
		tensors: llama + "\nlm_head.bias [32]",
		without: "model.layers.0.self_attn model.layers.1.mlp", want: "WT318",
	},
	{
		name:    "CSM: tokens of text, and a vocabulary of sound",
		config:  `{"model_type": "llama", "architectures": ["LlamaModel"], "hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 32, "text_vocab_size": 64, "bos_token_id": 63, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16}`,
		tensors: llama,
		broken:  [2]string{`"bos_token_id": 63`, `"bos_token_id": 64`}, want: "WT317",
	},
	{
		name:   "a small autoencoder: modules of a sequence, of which some have no weights",
		config: "",
		tensors: `
			decoder.layers.0.<weight|bias> [8]
			decoder.layers.{2,3,4}.conv.{0,2,4}.<weight|bias> [8]
			decoder.layers.6.weight [8]
			decoder.layers.{7,8,9}.conv.{0,2,4}.<weight|bias> [8]
			decoder.layers.11.<weight|bias> [8]`,
		without: "decoder.layers.8", want: "WT404",
	},
	{
		name:   "no register tokens, and attention to no points",
		config: `{"model_type": "lw_detr"}`,
		tensors: `
			embeddings.register_tokens [1,0,8]
			decoder.layers.{0,1}.cross_attn.attention_weights.weight [0,8]
			decoder.layers.{0,1}.cross_attn.attention_weights.bias [0]
			decoder.layers.{0,1}.fc.weight [8,8]
			decoder.layers.{0,1}.fc.bias [8]`,
		without: "decoder.layers.0.cross_attn.attention_weights.weight", want: "WT319",
	},
}

const llama = `
	model.embed_tokens.weight [32,8]
	model.layers.{0,1}.<input_layernorm|post_attention_layernorm>.weight [8]
	model.layers.{0,1}.self_attn.<q_proj|o_proj>.weight [8,8]
	model.layers.{0,1}.self_attn.<k_proj|v_proj>.weight [4,8]
	model.layers.{0,1}.mlp.<gate_proj|up_proj>.weight [16,8]
	model.layers.{0,1}.mlp.down_proj.weight [8,16]
	model.norm.weight [8]`

const mimo = `
	embed_tokens.weight [32,8]
	layers.{0,1,2}.<input_layernorm|post_attention_layernorm>.weight [8]
	layers.{0,1,2}.self_attn.q_proj.weight [16,8]
	layers.0.self_attn.k_proj.weight [4,8]
	layers.0.self_attn.v_proj.weight [2,8]
	layers.{1,2}.self_attn.k_proj.weight [8,8]
	layers.{1,2}.self_attn.v_proj.weight [4,8]
	layers.{1,2}.self_attn.attention_sink_bias [4]
	layers.{0,1,2}.self_attn.o_proj.weight [8,8]
	layers.0.mlp.<gate_proj|up_proj>.weight [16,8]
	layers.0.mlp.down_proj.weight [8,16]
	layers.{1,2}.mlp.gate.weight [2,8]
	layers.{1,2}.mlp.gate.e_score_correction_bias [2]
	layers.{1,2}.mlp.experts.{0,1}.<gate_proj|up_proj|down_proj>.weight [8,8]
	norm.weight [8]`

func TestHealthy(t *testing.T) {
	for _, r := range healthy {
		t.Run(r.name, func(t *testing.T) {
			errors := func(config, without string) (out []string) {
				dir := t.TempDir()
				var text strings.Builder
				for line := range strings.Lines(r.tensors) {
					name, shape, ok := strings.Cut(strings.TrimSpace(line), " ")
					for _, name := range expand(name) {
						gone := func(w string) bool { return name == w || strings.HasPrefix(name, w+".") }
						if ok && !slices.ContainsFunc(strings.Fields(without), gone) {
							fmt.Fprintf(&text, "tensor %s BF16 %s\n", name, shape)
						}
					}
				}
				if err := fixture.Write(filepath.Join(dir, "model.safetensors"), fixture.Expand(t, text.String())); err != nil {
					t.Fatal(err)
				}
				if config != "" {
					if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				for _, l := range findings(t, dir, &Options{}) {
					if strings.Contains(l, " error ") || strings.HasPrefix(l, "WT308") {
						out = append(out, l)
					}
				}
				return out
			}
			for _, l := range errors(r.config, "") {
				t.Errorf("healthy: %s", l)
			}
			if r.want == "" {
				return
			}
			config := strings.Replace(r.config, r.broken[0], r.broken[1], 1)
			found := errors(config, r.without)
			if len(found) == 0 || !strings.HasPrefix(found[0], r.want) {
				t.Errorf("broken: %q, want %s", found, r.want)
			}
		})
	}
}

// expand writes out the alternatives <a|b> and the numbers {0,2} and {0-5} of a name.
func expand(name string) []string {
	i := strings.IndexAny(name, "<{")
	if i < 0 {
		return []string{name}
	}
	j := i + strings.IndexAny(name[i:], ">}")
	words := strings.FieldsFunc(name[i+1:j], func(r rune) bool { return r == '|' || r == ',' })
	var first, last int
	if n, _ := fmt.Sscanf(name[i:j+1], "{%d-%d}", &first, &last); n == 2 {
		words = nil
		for k := first; k <= last; k++ {
			words = append(words, fmt.Sprint(k))
		}
	}
	var out []string
	for _, w := range words {
		out = append(out, expand(name[:i]+w+name[j+1:])...)
	}
	return out
}
