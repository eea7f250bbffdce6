package adapt

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// What llama.cpp's converter writes for the config.json of a release, worked out by hand from
// set_gguf_parameters of the class that each names, without what llama.cpp takes anyway. The
// configurations are those of the releases, shortened.
var converterWrites = []struct {
	release, class, architecture, config, want string
}{
	{
		"Llama-3.1-8B-Instruct", "llama.py LlamaModel: llama3 becomes a tensor", "llama", `{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072,
"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "vocab_size": 128256,
"rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_type": "llama3"}}`,
		`block_count 32, context_length 131072, embedding_length 4096, feed_forward_length 14336, attention.head_count 32, attention.head_count_kv 8,
attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 500000, vocab_size 128256`,
	},
	{
		"vicuna-7b-v1.5-16k", "llama.py LlamaModel, base.py TextModel", "llama", `{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "max_position_embeddings": 4096,
"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "rms_norm_eps": 1e-05, "vocab_size": 32000, "rope_scaling": {"factor": 4.0, "type": "linear"}}`,
		`block_count 32, context_length 4096, embedding_length 4096, feed_forward_length 11008, attention.head_count 32, attention.layer_norm_rms_epsilon 1e-05,
rope.scaling.type "linear", rope.scaling.factor 4, vocab_size 32000`,
	},
	{
		"Mistral-7B-v0.1", "llama.py LlamaModel: no key for the window", "llama", `{"model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 32768,
"num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-05, "rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 32000}`,
		`block_count 32, context_length 32768, embedding_length 4096, feed_forward_length 14336, attention.head_count 32, attention.head_count_kv 8,
attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 10000, vocab_size 32000, lost sliding_window 4096`,
	},
	{
		"Qwen2.5-7B-Instruct with the rope_scaling of its model card", "qwen.py Qwen2Model", "qwen2", `{"model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "max_position_embeddings": 32768,
"num_attention_heads": 28, "num_hidden_layers": 28, "num_key_value_heads": 4, "rms_norm_eps": 1e-06, "rope_theta": 1000000.0, "use_sliding_window": false, "sliding_window": 131072,
"vocab_size": 152064, "rope_scaling": {"factor": 4.0, "original_max_position_embeddings": 16384, "type": "yarn"}}`,
		`block_count 28, context_length 32768, embedding_length 3584, feed_forward_length 18944, attention.head_count 28, attention.head_count_kv 4,
attention.layer_norm_rms_epsilon 1e-06, rope.freq_base 1000000, rope.scaling.type "yarn", rope.scaling.factor 4, rope.scaling.original_context_length 16384, vocab_size 152064`,
	},
	{
		"Qwen3-30B-A3B", "qwen.py Qwen2MoeModel", "qwen3moe", `{"model_type": "qwen3_moe", "head_dim": 128, "hidden_size": 2048, "intermediate_size": 6144, "max_position_embeddings": 40960,
"moe_intermediate_size": 768, "norm_topk_prob": true, "num_attention_heads": 32, "num_experts": 128, "num_experts_per_tok": 8, "num_hidden_layers": 48, "num_key_value_heads": 4,
"rms_norm_eps": 1e-06, "rope_scaling": null, "rope_theta": 1000000.0, "vocab_size": 151936}`,
		`block_count 48, context_length 40960, embedding_length 2048, feed_forward_length 6144, attention.head_count 32, attention.head_count_kv 4, attention.key_length 128,
attention.value_length 128, attention.layer_norm_rms_epsilon 1e-06, rope.freq_base 1000000, expert_count 128, expert_used_count 8, vocab_size 151936, expert_feed_forward_length 768`,
	},
	{
		"gemma-2-27b", "gemma.py Gemma2Model; the scale is right by the number of layers", "gemma2", `{"model_type": "gemma2", "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "head_dim": 128,
"hidden_size": 4608, "intermediate_size": 36864, "max_position_embeddings": 8192, "num_attention_heads": 32, "num_hidden_layers": 46, "num_key_value_heads": 16,
"query_pre_attn_scalar": 144, "rms_norm_eps": 1e-06, "rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 256000}`,
		`block_count 46, context_length 8192, embedding_length 4608, feed_forward_length 36864, attention.head_count 32, attention.head_count_kv 16, attention.key_length 128,
attention.value_length 128, attention.layer_norm_rms_epsilon 1e-06, vocab_size 256000`,
	},
	{
		"a Gemma 2 of other numbers", "gemma.py Gemma2Model", "gemma2", `{"model_type": "gemma2", "attn_logit_softcapping": 20.0, "final_logit_softcapping": 10.0, "head_dim": 256,
"hidden_size": 2304, "intermediate_size": 9216, "max_position_embeddings": 8192, "num_attention_heads": 8, "num_hidden_layers": 26, "num_key_value_heads": 4,
"query_pre_attn_scalar": 224, "rms_norm_eps": 1e-06, "sliding_window": 1024, "vocab_size": 256000}`,
		`block_count 26, context_length 8192, embedding_length 2304, feed_forward_length 9216, attention.head_count 8, attention.head_count_kv 4, attention.key_length 256,
attention.value_length 256, attention.layer_norm_rms_epsilon 1e-06, vocab_size 256000, attention.sliding_window 1024, attn_logit_softcapping 20, final_logit_softcapping 10,
lost query_pre_attn_scalar 224`,
	},
	{
		"gemma-3-4b-it, the language model", "gemma.py Gemma3Model, with its defaults", "gemma3", `{"model_type": "gemma3", "text_config": {"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text",
"num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "num_hidden_layers": 34, "rms_norm_eps": 1e-06, "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
"query_pre_attn_scalar": 256, "sliding_window": 1024}, "vision_config": {"hidden_size": 1152, "num_hidden_layers": 27}}`,
		`block_count 34, context_length 131072, embedding_length 2560, feed_forward_length 10240, attention.head_count 8, attention.head_count_kv 4, attention.key_length 256,
attention.value_length 256, attention.layer_norm_rms_epsilon 1e-06, rope.freq_base 1000000, rope.scaling.type "linear", rope.scaling.factor 8, attention.sliding_window 1024`,
	},
	{
		"Phi-3-mini-128k-instruct", "phi.py Phi3MiniModel", "phi3", `{"model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "max_position_embeddings": 131072, "num_attention_heads": 32,
"num_hidden_layers": 32, "num_key_value_heads": 32, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": {"long_factor": [1.07], "short_factor": [1.1], "type": "longrope"},
"rope_theta": 10000.0, "sliding_window": 262144, "vocab_size": 32064}`,
		`block_count 32, context_length 131072, embedding_length 3072, feed_forward_length 8192, attention.head_count 32, attention.layer_norm_rms_epsilon 1e-05,
rope.freq_base 10000, rope.scaling.type "longrope", rope.scaling.original_context_length 4096, vocab_size 32064, attention.sliding_window 262144,
rope.scaling.attn_factor 1.1902381`, // sqrt(1 + ln 32 / ln 4096) = sqrt(1 + 5/12)
	},
	{
		"a Phi-3 of twice the context, by yarn", "phi.py Phi3MiniModel", "phi3", `{"model_type": "phi3", "hidden_size": 3072, "max_position_embeddings": 8192, "num_attention_heads": 32,
"num_hidden_layers": 32, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": {"type": "yarn"}}`,
		`block_count 32, context_length 8192, embedding_length 3072, attention.head_count 32, attention.layer_norm_rms_epsilon 1e-05,
rope.scaling.type "yarn", rope.scaling.original_context_length 4096, rope.scaling.attn_factor 1.0693147`, // 1 + 0.1 * ln 2
	},
	{
		"a Phi-3 that is not longer than it was, with a factor of 1", "phi.py Phi3MiniModel", "phi3", `{"model_type": "phi3", "hidden_size": 3072, "max_position_embeddings": 2048, "num_attention_heads": 32,
"num_hidden_layers": 32, "original_max_position_embeddings": 4096, "rms_norm_eps": 1e-05, "rope_scaling": {"type": "longrope"}}`,
		`block_count 32, context_length 2048, embedding_length 3072, attention.head_count 32, attention.layer_norm_rms_epsilon 1e-05,
rope.scaling.type "longrope", rope.scaling.original_context_length 4096`,
	},
	{
		"MiniCPM-2B", "minicpm.py MiniCPMModel", "minicpm", `{"model_type": "minicpm", "hidden_size": 2304, "intermediate_size": 5760, "max_position_embeddings": 4096, "num_attention_heads": 36,
"num_hidden_layers": 40, "num_key_value_heads": 36, "rms_norm_eps": 1e-05, "vocab_size": 122753, "scale_emb": 12, "dim_model_base": 256, "scale_depth": 1.4}`,
		`block_count 40, context_length 4096, embedding_length 2304, feed_forward_length 5760, attention.head_count 36, attention.layer_norm_rms_epsilon 1e-05, vocab_size 122753,
embedding_scale 12, residual_scale 0.22135943, logit_scale 9`, // 1.4 / 6.3245553
	},
	{
		"stablelm-2-1_6b", "stablelm.py StableLMModel", "stablelm", `{"model_type": "stablelm", "hidden_size": 2048, "intermediate_size": 5632, "layer_norm_eps": 1e-05, "max_position_embeddings": 4096,
"num_attention_heads": 32, "num_hidden_layers": 24, "num_key_value_heads": 32, "partial_rotary_factor": 0.25, "rope_theta": 10000, "use_parallel_residual": false, "vocab_size": 100352}`,
		`block_count 24, context_length 4096, embedding_length 2048, feed_forward_length 5632, attention.head_count 32, attention.layer_norm_epsilon 1e-05, rope.freq_base 10000,
rope.dimension_count 16, use_parallel_residual false, vocab_size 100352`,
	},
	{
		"mamba-130m-hf", "mamba.py MambaModel", "mamba", `{"model_type": "mamba", "conv_kernel": 4, "expand": 2, "hidden_size": 768, "intermediate_size": 1536, "layer_norm_epsilon": 1e-05,
"num_hidden_layers": 24, "state_size": 16, "time_step_rank": 48, "vocab_size": 50280}`,
		`block_count 24, context_length 1048576, embedding_length 768, feed_forward_length 0, attention.head_count 0, attention.layer_norm_rms_epsilon 1e-05, vocab_size 50280,
ssm.conv_kernel 4, ssm.inner_size 1536, ssm.state_size 16, ssm.time_step_rank 48`,
	},
	{
		"mamba2-130m", "mamba.py Mamba2Model, with what it takes for the rest", "mamba2", `{"model_type": "mamba2", "d_model": 768, "n_layer": 24, "vocab_size": 50277}`,
		`block_count 24, context_length 1048576, embedding_length 768, feed_forward_length 0, attention.head_count 0, attention.layer_norm_rms_epsilon 1e-05, vocab_size 50277,
ssm.conv_kernel 4, ssm.inner_size 1536, ssm.state_size 128, ssm.time_step_rank 24, ssm.group_count 1`,
	},
	{
		"LFM2-1.2B, of which llama.cpp knows 8192", "lfm2.py LFM2Model", "lfm2", `{"model_type": "lfm2", "block_auto_adjust_ff_dim": true, "block_ff_dim": 12288, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256,
"conv_L_cache": 3, "hidden_size": 2048, "layer_types": ["conv", "conv", "full_attention", "conv"], "max_position_embeddings": 128000, "norm_eps": 1e-05, "num_attention_heads": 32,
"num_hidden_layers": 4, "num_key_value_heads": 8, "rope_theta": 1000000.0, "vocab_size": 65536}`,
		`block_count 4, context_length 128000, embedding_length 2048, feed_forward_length 8192, attention.head_count 32, attention.head_count_kv [0 0 8 0],
attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 1000000, vocab_size 65536, shortconv.l_cache 3`,
	},
	{
		"LFM2-2.6B, of which llama.cpp knows 10752", "lfm2.py LFM2Model: as it is", "lfm2", `{"model_type": "lfm2", "block_auto_adjust_ff_dim": false, "block_ff_dim": 10752, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 256,
"conv_L_cache": 3, "hidden_size": 2048, "layer_types": ["conv", "full_attention"], "max_position_embeddings": 128000, "norm_eps": 1e-05, "num_attention_heads": 32,
"num_hidden_layers": 2, "num_key_value_heads": 8, "rope_theta": 1000000.0, "vocab_size": 65536}`,
		`block_count 2, context_length 128000, embedding_length 2048, feed_forward_length 10752, attention.head_count 32, attention.head_count_kv [0 8],
attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 1000000, vocab_size 65536, shortconv.l_cache 3`,
	},
	{
		"Llama-4-Scout-17B-16E", "llama4.py Llama4Model", "llama4", `{"model_type": "llama4", "text_config": {"model_type": "llama4_text", "head_dim": 128, "hidden_size": 5120, "interleave_moe_layer_step": 1,
"intermediate_size": 8192, "intermediate_size_mlp": 16384, "max_position_embeddings": 10485760, "num_attention_heads": 40, "num_experts_per_tok": 1, "num_hidden_layers": 48,
"num_key_value_heads": 8, "num_local_experts": 16, "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "vocab_size": 202048}}`,
		`block_count 48, context_length 10485760, embedding_length 5120, feed_forward_length 16384, attention.head_count 40, attention.head_count_kv 8,
attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 500000, expert_count 16, expert_used_count 1, vocab_size 202048, expert_feed_forward_length 8192, interleave_moe_layer_step 1`,
	},
	{
		"gpt-oss-20b", "gpt_oss.py GptOssModel", "gpt-oss", `{"model_type": "gpt_oss", "head_dim": 64, "hidden_size": 2880, "intermediate_size": 2880, "max_position_embeddings": 131072, "num_attention_heads": 64,
"num_experts_per_tok": 4, "num_hidden_layers": 24, "num_key_value_heads": 8, "num_local_experts": 32, "rms_norm_eps": 1e-05, "rope_theta": 150000, "sliding_window": 128, "vocab_size": 201088,
"rope_scaling": {"beta_fast": 32.0, "beta_slow": 1.0, "factor": 32.0, "original_max_position_embeddings": 4096, "rope_type": "yarn", "truncate": false}}`,
		`block_count 24, context_length 131072, embedding_length 2880, feed_forward_length 2880, attention.head_count 64, attention.head_count_kv 8, attention.key_length 64,
attention.value_length 64, attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 150000, rope.scaling.type "yarn", rope.scaling.factor 32, rope.scaling.original_context_length 4096,
expert_count 32, expert_used_count 4, vocab_size 201088, attention.sliding_window 128, expert_feed_forward_length 2880`,
	},
	{
		"granite-3.1-2b-instruct", "granite.py GraniteModel", "granite", `{"model_type": "granite", "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "hidden_size": 2048, "intermediate_size": 8192,
"logits_scaling": 8.0, "max_position_embeddings": 131072, "num_attention_heads": 32, "num_hidden_layers": 40, "num_key_value_heads": 8, "residual_multiplier": 0.22, "rms_norm_eps": 1e-05,
"rope_theta": 5000000.0, "vocab_size": 49155, "head_dim": 64}`,
		`block_count 40, context_length 131072, embedding_length 2048, feed_forward_length 8192, attention.head_count 32, attention.head_count_kv 8,
attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 5000000, vocab_size 49155, attention.scale 0.015625, embedding_scale 12, residual_scale 0.22, logit_scale 8`,
	},
	{
		"DeepSeek-V3", "deepseek.py DeepseekV2Model", "deepseek2", `{"model_type": "deepseek_v3", "first_k_dense_replace": 3, "hidden_size": 7168, "intermediate_size": 18432, "kv_lora_rank": 512,
"max_position_embeddings": 163840, "moe_intermediate_size": 2048, "n_group": 8, "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128,
"num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128, "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
"rms_norm_eps": 1e-06, "rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096, "type": "yarn"},
"rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid", "topk_group": 4, "v_head_dim": 128, "vocab_size": 129280}`,
		`block_count 61, context_length 163840, embedding_length 7168, feed_forward_length 18432, attention.head_count 128, attention.head_count_kv 1, attention.key_length 576,
attention.value_length 512, attention.layer_norm_rms_epsilon 1e-06, rope.freq_base 10000, rope.dimension_count 64, rope.scaling.type "yarn", rope.scaling.factor 40,
rope.scaling.original_context_length 4096, expert_count 256, expert_used_count 8, expert_group_count 8, expert_group_used_count 4, expert_gating_func 2, vocab_size 129280,
attention.kv_lora_rank 512, attention.value_length_mla 128, attention.q_lora_rank 1536, attention.key_length_mla 192, rope.scaling.yarn_log_multiplier 0.1,
leading_dense_block_count 3, expert_feed_forward_length 2048, expert_shared_count 1, expert_weights_scale 2.5, expert_weights_norm true`,
	},
	{
		"DeepSeek-V2-Lite", "deepseek.py DeepseekV2Model", "deepseek2", `{"model_type": "deepseek_v2", "first_k_dense_replace": 1, "hidden_size": 2048, "intermediate_size": 10944, "kv_lora_rank": 512,
"max_position_embeddings": 163840, "moe_intermediate_size": 1408, "n_group": 1, "n_routed_experts": 64, "n_shared_experts": 2, "norm_topk_prob": false, "num_attention_heads": 16,
"num_experts_per_tok": 6, "num_hidden_layers": 27, "num_key_value_heads": 16, "q_lora_rank": null, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "rms_norm_eps": 1e-06,
"rope_scaling": {"beta_fast": 32, "beta_slow": 1, "factor": 40, "mscale": 0.707, "mscale_all_dim": 0.707, "original_max_position_embeddings": 4096, "type": "yarn"},
"rope_theta": 10000, "routed_scaling_factor": 1.0, "scoring_func": "softmax", "topk_group": 1, "v_head_dim": 128, "vocab_size": 102400}`,
		`block_count 27, context_length 163840, embedding_length 2048, feed_forward_length 10944, attention.head_count 16, attention.head_count_kv 1, attention.key_length 576,
attention.value_length 512, attention.layer_norm_rms_epsilon 1e-06, rope.freq_base 10000, rope.dimension_count 64, rope.scaling.type "yarn", rope.scaling.factor 40,
rope.scaling.original_context_length 4096, expert_count 64, expert_used_count 6, expert_gating_func 1, vocab_size 102400, attention.kv_lora_rank 512,
attention.value_length_mla 128, attention.key_length_mla 192, rope.scaling.yarn_log_multiplier 0.0707, leading_dense_block_count 1, expert_feed_forward_length 1408,
expert_shared_count 2, expert_weights_scale 1`,
	},
	{
		"GLM-4.5-Air, of which llama.cpp knows 47", "glm.py Glm4MoeModel", "glm4moe", `{"model_type": "glm4_moe", "first_k_dense_replace": 1, "head_dim": 128, "hidden_size": 4096, "intermediate_size": 10944,
"max_position_embeddings": 131072, "moe_intermediate_size": 1408, "n_group": 1, "n_routed_experts": 128, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 96,
"num_experts_per_tok": 8, "num_hidden_layers": 46, "num_key_value_heads": 8, "num_nextn_predict_layers": 1, "partial_rotary_factor": 0.5, "rms_norm_eps": 1e-05,
"rope_theta": 1000000, "routed_scaling_factor": 1.0, "topk_group": 1, "vocab_size": 151552}`,
		`block_count 47, context_length 131072, embedding_length 4096, feed_forward_length 10944, attention.head_count 96, attention.head_count_kv 8, attention.key_length 128,
attention.value_length 128, attention.layer_norm_rms_epsilon 1e-05, rope.freq_base 1000000, rope.dimension_count 64, expert_count 128, expert_used_count 8, expert_gating_func 2,
vocab_size 151552, nextn_predict_layers 1, expert_feed_forward_length 1408, expert_shared_count 1, leading_dense_block_count 1, expert_weights_scale 1, expert_weights_norm true`,
	},
	{
		"c4ai-command-r-v01", "command_r.py CommandR2Model", "command-r", `{"model_type": "cohere", "hidden_size": 8192, "intermediate_size": 22528, "layer_norm_eps": 1e-05, "logit_scale": 0.0625,
"max_position_embeddings": 8192, "model_max_length": 131072, "num_attention_heads": 64, "num_hidden_layers": 40, "num_key_value_heads": 64, "rope_theta": 8000000.0, "vocab_size": 256000}`,
		`block_count 40, context_length 131072, embedding_length 8192, feed_forward_length 22528, attention.head_count 64, attention.layer_norm_epsilon 1e-05, rope.freq_base 8000000,
vocab_size 256000, logit_scale 0.0625`,
	},
	{
		"pythia-160m", "gpt_neox.py GPTNeoXModel", "gptneox", `{"model_type": "gpt_neox", "hidden_size": 768, "intermediate_size": 3072, "layer_norm_eps": 1e-05, "max_position_embeddings": 2048,
"num_attention_heads": 12, "num_hidden_layers": 12, "rotary_emb_base": 10000, "rotary_pct": 0.25, "use_parallel_residual": true, "vocab_size": 50304}`,
		`block_count 12, context_length 2048, embedding_length 768, feed_forward_length 3072, attention.head_count 12, attention.layer_norm_epsilon 1e-05, rope.dimension_count 16,
vocab_size 50304, use_parallel_residual true`,
	},
}

func TestGGUFNumbers(t *testing.T) {
	for _, test := range converterWrites {
		t.Run(test.release, func(t *testing.T) {
			doc, err := checkpoint.ParseConfig("config.json", []byte(test.config))
			if err != nil {
				t.Fatal(err)
			}
			model := ModelWith(new(checkpoint.Checkpoint), doc)
			want := make(map[string]bool)
			for _, line := range strings.Split(strings.ReplaceAll(test.want, "\n", " "), ", ") {
				want[strings.TrimSpace(line)] = true
			}
			for _, n := range convention.GGUFNumbers(test.architecture) {
				value, ok := n.Of(model)
				usual, has := n.Default(model)
				if !ok || !n.Filled && !n.Compared || has && fmt.Sprint(value) == fmt.Sprint(usual) {
					continue
				}
				key := n.Key
				if key == "" {
					key = "lost " + n.Name(model)
				}
				line := key + " " + printed(value, n.Type)
				if !want[line] {
					t.Errorf("%s, which %s does not write", line, test.class)
				}
				delete(want, line)
			}
			for line := range want {
				t.Errorf("no %s, which %s writes", line, test.class)
			}
		})
	}
}

func printed(v convention.GGUFValue, kind string) string {
	var words []string
	for _, n := range v.Numbers {
		switch kind {
		case "f32":
			words = append(words, strconv.FormatFloat(n, map[bool]byte{true: 'f', false: 'g'}[n >= 1], -1, 32))
		case "bool":
			words = append(words, strconv.FormatBool(n != 0))
		default:
			words = append(words, strconv.FormatFloat(n, 'f', -1, 64))
		}
	}
	switch text := strings.Join(words, " "); {
	case v.List:
		return "[" + text + "]"
	case kind == "str":
		return strconv.Quote(v.Text)
	default:
		return text
	}
}
