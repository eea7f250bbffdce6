package inspect_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

// A likeModel is a small model, what its configuration says and what a GGUF file of it does.
type likeModel struct {
	name, tensors, config string
	keys                  map[string]string // without the architecture: type and value
}

// likeTokens is a vocabulary of 16.
const likeTokens = "[str] a b c d e f g h i j k l m n o p"

var likeModels = []likeModel{
	{
		name: "llama",
		tensors: `tensor model.embed_tokens.weight F32 [16,16]
tensor model.layers.{0..1}.input_layernorm.weight F32 [16]
tensor model.layers.{0..1}.self_attn.q_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.k_proj.weight F32 [8,16]
tensor model.layers.{0..1}.self_attn.v_proj.weight F32 [8,16]
tensor model.layers.{0..1}.self_attn.o_proj.weight F32 [16,16]
tensor model.layers.{0..1}.mlp.gate_proj.weight F32 [24,16]
tensor model.layers.{0..1}.mlp.up_proj.weight F32 [24,16]
tensor model.layers.{0..1}.mlp.down_proj.weight F32 [16,24]
tensor model.layers.{0..1}.post_attention_layernorm.weight F32 [16]
tensor model.norm.weight F32 [16]
tensor lm_head.weight F32 [16,16]
`,
		config: `{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16, "num_hidden_layers": 2,
"intermediate_size": 24, "vocab_size": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 500000.0}`,
		keys: map[string]string{
			"general.architecture": "str llama", "llama.block_count": "u32 2", "llama.context_length": "u32 64", "llama.embedding_length": "u32 16",
			"llama.feed_forward_length": "u32 24", "llama.attention.head_count": "u32 4", "llama.attention.head_count_kv": "u32 2",
			"llama.attention.layer_norm_rms_epsilon": "f32 1e-5", "llama.rope.freq_base": "f32 500000", "llama.rope.dimension_count": "u32 4",
			"llama.vocab_size": "u32 16", "tokenizer.ggml.model": "str llama", "tokenizer.ggml.tokens": likeTokens,
			"tokenizer.ggml.scores":     "[f32] 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
			"tokenizer.ggml.token_type": "[i32] 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "tokenizer.ggml.eos_token_id": "u32 2",
		},
	},
	{
		name: "gpt2",
		tensors: `tensor wte.weight F32 [16,16]
tensor wpe.weight F32 [8,16]
tensor h.{0..1}.ln_1.weight F32 [16]
tensor h.{0..1}.ln_1.bias F32 [16]
tensor h.{0..1}.attn.c_attn.weight F32 [16,48]
tensor h.{0..1}.attn.c_attn.bias F32 [48]
tensor h.{0..1}.attn.c_proj.weight F32 [16,16]
tensor h.{0..1}.attn.c_proj.bias F32 [16]
tensor h.{0..1}.ln_2.weight F32 [16]
tensor h.{0..1}.ln_2.bias F32 [16]
tensor h.{0..1}.mlp.c_fc.weight F32 [16,64]
tensor h.{0..1}.mlp.c_fc.bias F32 [64]
tensor h.{0..1}.mlp.c_proj.weight F32 [64,16]
tensor h.{0..1}.mlp.c_proj.bias F32 [16]
tensor ln_f.weight F32 [16]
tensor ln_f.bias F32 [16]
`,
		config: `{"model_type": "gpt2", "n_head": 4, "n_embd": 16, "n_layer": 2, "n_positions": 8, "n_inner": 64, "vocab_size": 16, "layer_norm_epsilon": 1e-5}`,
		keys: map[string]string{
			"general.architecture": "str gpt2", "gpt2.block_count": "u32 2", "gpt2.context_length": "u32 8", "gpt2.embedding_length": "u32 16",
			"gpt2.feed_forward_length": "u32 64", "gpt2.attention.head_count": "u32 4", "gpt2.attention.layer_norm_epsilon": "f32 1e-5",
			"tokenizer.ggml.model": "str gpt2", "tokenizer.ggml.tokens": likeTokens,
		},
	},
	{
		name: "qwen3moe",
		tensors: `tensor model.embed_tokens.weight F32 [16,16]
tensor model.layers.{0..1}.input_layernorm.weight F32 [16]
tensor model.layers.{0..1}.self_attn.q_proj.weight F32 [32,16]
tensor model.layers.{0..1}.self_attn.q_norm.weight F32 [8]
tensor model.layers.{0..1}.self_attn.k_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.k_norm.weight F32 [8]
tensor model.layers.{0..1}.self_attn.v_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.o_proj.weight F32 [16,32]
tensor model.layers.{0..1}.mlp.gate.weight F32 [4,16]
tensor model.layers.{0..1}.mlp.experts.{0..3}.gate_proj.weight F32 [24,16]
tensor model.layers.{0..1}.mlp.experts.{0..3}.up_proj.weight F32 [24,16]
tensor model.layers.{0..1}.mlp.experts.{0..3}.down_proj.weight F32 [16,24]
tensor model.layers.{0..1}.post_attention_layernorm.weight F32 [16]
tensor model.norm.weight F32 [16]
tensor lm_head.weight F32 [16,16]
`,
		config: `{"model_type": "qwen3_moe", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "hidden_size": 16, "num_hidden_layers": 2,
"intermediate_size": 48, "moe_intermediate_size": 24, "num_experts": 4, "num_experts_per_tok": 2, "vocab_size": 16, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0}`,
		keys: map[string]string{
			"general.architecture": "str qwen3moe", "qwen3moe.block_count": "u32 2", "qwen3moe.context_length": "u32 64", "qwen3moe.embedding_length": "u32 16",
			"qwen3moe.feed_forward_length": "u32 48", "qwen3moe.expert_feed_forward_length": "u32 24", "qwen3moe.expert_count": "u32 4", "qwen3moe.expert_used_count": "u32 2",
			"qwen3moe.attention.head_count": "u32 4", "qwen3moe.attention.head_count_kv": "u32 2", "qwen3moe.attention.key_length": "u32 8", "qwen3moe.attention.value_length": "u32 8",
			"qwen3moe.attention.layer_norm_rms_epsilon": "f32 1e-6", "qwen3moe.rope.freq_base": "f32 1000000",
			"tokenizer.ggml.model": "str gpt2", "tokenizer.ggml.tokens": likeTokens,
		},
	},
}

// odd values for a key, of its type and of others.
var odd = []string{"u32 0", "u32 1", "u32 3", "u32 7", "u32 99", "u32 4294967295", "i32 2", "u64 16", "f32 0.25", "f64 1e-5", "str llama", "str x", "bool true", "[u32] 4 4", "[u32] 4", "[str] a b"}

// What is made by the key/values of a file that lacks some of them, or in which some are wrong,
// passes check, llama.cpp's demands on keys included; or it is refused, and nothing is written.
func TestConvertLikeRandomKeys(t *testing.T) {
	t.Parallel()
	rounds := sweep.Count(12, 50)
	for _, m := range likeModels {
		t.Run(m.name, func(t *testing.T) {
			for _, beside := range []bool{true, false} {
				random := rand.New(rand.NewPCG(uint64(len(m.name)), 7))
				made, refused := 0, 0
				for round := range rounds {
					keys := maps.Clone(m.keys)
					changed := []string{}
					for range random.IntN(4) {
						key := slices.Sorted(maps.Keys(m.keys))[random.IntN(len(m.keys))]
						if delete(keys, key); random.IntN(3) == 0 {
							keys[key] = odd[random.IntN(len(odd))]
						}
						changed = append(changed, strings.TrimSpace(key+" "+keys[key]))
					}
					err := convertLike(t, m, keys, beside)
					switch {
					case err == nil:
						made++
					case len(changed) == 0:
						t.Fatalf("whole keys: %v", err)
					case !strings.Contains(err.Error(), "--like ") && !isRefusal(err):
						t.Errorf("round %d, %v: %v", round, changed, err)
					default:
						refused++
					}
				}
				t.Logf("config.json %v: %d made, %d refused", beside, made, refused)
				if made < rounds/10 || refused < rounds/10 {
					t.Errorf("config.json %v: %d made, %d refused", beside, made, refused)
				}
			}
		})
	}
}

// isRefusal reports whether the names cannot be converted for want of a number.
func isRefusal(err error) bool {
	_, ok := errors.AsType[*convert.RefusalError](err)
	return ok
}

// What check demands and config.json says is filled in, key by key; what it does not say is
// refused by name.
func TestConvertLikeFillsIn(t *testing.T) {
	t.Parallel()
	for _, m := range likeModels {
		for key := range m.keys {
			t.Run(m.name+"/"+key, func(t *testing.T) {
				keys := maps.Clone(m.keys)
				delete(keys, key)
				err := convertLike(t, m, keys, true)
				switch tokenizer := strings.HasPrefix(key, "tokenizer.ggml.model") || key == "tokenizer.ggml.tokens"; {
				case tokenizer && (err == nil || !strings.Contains(err.Error(), "no key "+key)):
					t.Errorf("without %s: %v", key, err)
				case !tokenizer && err != nil:
					t.Errorf("without %s: %v", key, err)
				}
			})
		}
	}
}

// convertLike makes a GGUF file of a model by key/values, and checks it. An error is the
// refusal.
func convertLike(t *testing.T, m likeModel, keys map[string]string, beside bool) error {
	t.Helper()
	dir := t.TempDir()
	path, like, out := filepath.Join(dir, "model.safetensors"), filepath.Join(dir, "like.gguf"), filepath.Join(dir, "out.gguf")
	var text strings.Builder
	text.WriteString("format gguf\n")
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		fmt.Fprintf(&text, "kv %s %s\n", key, keys[key])
	}
	if err := fixture.Write(path, m.tensors); err != nil {
		t.Fatal(err)
	}
	if err := fixture.Write(like, text.String()); err != nil {
		t.Fatal(err)
	}
	if beside {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(m.config), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	from := map[string]string{"llama": "llama-hf", "gpt2": "gpt2-hf", "qwen3moe": "qwen3_moe-hf"}[m.name]
	v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{open(t, path)}, &inspect.ConvertOptions{
		Names: inspect.RenameOptions{From: from}, Like: open(t, like), Write: assemble.Options{Output: out, Verify: rewrite.VerifyNone},
	})
	if err == nil {
		defer v.Close()
		if !beside {
			v.Notes = slices.DeleteFunc(v.Notes, func(note string) bool { return !strings.Contains(note, "which the configuration of the model says") })
			if len(v.Notes) > 0 {
				t.Errorf("there is no configuration: %v", v.Notes)
			}
		}
		err = v.Run(t.Context(), nil)
	}
	if err != nil {
		if _, there := os.Stat(out); there == nil {
			t.Errorf("refused, and written: %v", err)
		}
		return err
	}
	for _, profile := range []string{inspect.NoProfile, "llama.cpp"} {
		r, err := inspect.Check(t.Context(), []string{out}, &inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Profile: profile}})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			if f.Severity == checkpoint.Error {
				t.Errorf("profile %s, keys %v: %s: %s", profile, keys, f.Rule, f.Message)
			}
		}
	}
	return nil
}

// ownGGUF is what llama.cpp's converter writes for the model of sampleNumbers with more in config.json,
// worked out by hand from set_gguf_parameters in conversion/*.py.
var ownGGUF = []struct {
	from, to, config string
	keys             string // below the architecture
}{
	{
		"llama-hf", "llama-gguf", `"rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.head_count_kv u32 4, attention.key_length u32 8, rope.freq_base f32 10000, rope.scaling.type str linear, rope.scaling.factor f32 4, vocab_size u32 64",
	},
	{
		"qwen2-hf", "qwen2-gguf", `"rms_norm_eps": 1e-5, "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 16}`,
		"feed_forward_length u32 48, attention.head_count u32 4, rope.scaling.type str yarn, rope.scaling.factor f32 4, rope.scaling.original_context_length u32 16, rope.scaling.yarn_beta_fast f32 16",
	},
	{
		"deepseek_v3-hf", "deepseek2-gguf", `"rms_norm_eps": 1e-5, "qk_rope_head_dim": 4, "q_lora_rank": 32, "moe_intermediate_size": 48, "n_shared_experts": 1, "routed_scaling_factor": 2.5,
"first_k_dense_replace": 1, "norm_topk_prob": true, "scoring_func": "sigmoid", "rope_scaling": {"type": "yarn", "factor": 40, "original_max_position_embeddings": 16, "mscale_all_dim": 1.0}`,
		`feed_forward_length u32 48, attention.head_count u32 4, attention.head_count_kv u32 1, attention.key_length u32 24, attention.value_length u32 20, attention.key_length_mla u32 16,
attention.value_length_mla u32 16, attention.kv_lora_rank u32 20, attention.q_lora_rank u32 32, rope.dimension_count u32 4, leading_dense_block_count u32 1, expert_count u32 2, expert_feed_forward_length u32 48,
expert_shared_count u32 1, expert_weights_scale f32 2.5, expert_weights_norm bool true, expert_gating_func u32 2, rope.scaling.type str yarn, rope.scaling.factor f32 40,
rope.scaling.original_context_length u32 16, rope.scaling.yarn_log_multiplier f32 0.1`,
	},
	{
		"gemma2-hf", "gemma2-gguf", `"rms_norm_eps": 1e-5, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 4096`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.key_length u32 8, attention.value_length u32 8, attention.sliding_window u32 4096, attn_logit_softcapping f32 50, final_logit_softcapping f32 30",
	},
	{
		"gemma3-hf", "gemma3-gguf", `"rms_norm_eps": 1e-5, "sliding_window": 512, "rope_theta": 1000000.0, "rope_local_base_freq": 10000.0`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.sliding_window u32 512, rope.freq_base f32 1000000, rope.freq_base_swa f32 10000",
	},
	{
		"phi3-hf", "phi3-gguf", `"rms_norm_eps": 1e-5, "max_position_embeddings": 64, "original_max_position_embeddings": 16, "sliding_window": 32`,
		"feed_forward_length u32 48, attention.head_count u32 4, rope.dimension_count u32 8, rope.scaling.original_context_length u32 16, attention.sliding_window u32 32",
	},
	{
		"phi3-hf", "phi3-gguf", `"rms_norm_eps": 1e-5, "max_position_embeddings": 64, "original_max_position_embeddings": 16, "rope_scaling": {"type": "longrope"}`,
		"feed_forward_length u32 48, attention.head_count u32 4, rope.scaling.original_context_length u32 16, rope.scaling.attn_factor f32 1.2247449", // sqrt(1 + ln 4 / ln 16)
	},
	{
		"llama-hf", "minicpm-gguf", `"rms_norm_eps": 1e-5, "scale_emb": 12, "dim_model_base": 16, "scale_depth": 1.0`,
		"feed_forward_length u32 48, attention.head_count u32 4, embedding_scale f32 12, residual_scale f32 0.70710677, logit_scale f32 2", // 1 / sqrt 2
	},
	{
		"stablelm-hf", "stablelm-gguf", `"layer_norm_eps": 1e-5, "partial_rotary_factor": 0.5, "use_parallel_residual": true`,
		"feed_forward_length u32 48, attention.head_count u32 4, rope.dimension_count u32 4, use_parallel_residual bool true",
	},
	{
		"mamba-hf", "mamba-gguf", `"layer_norm_epsilon": 1e-5, "state_size": 16, "conv_kernel": 4, "time_step_rank": 2`,
		"feed_forward_length u32 0, attention.head_count u32 0, ssm.conv_kernel u32 4, ssm.inner_size u32 48, ssm.state_size u32 16, ssm.time_step_rank u32 2",
	},
	{
		"lfm2-hf", "lfm2-gguf", `"norm_eps": 1e-5, "conv_L_cache": 3, "layer_types": ["conv", "full_attention"], "block_ff_dim": 72, "block_auto_adjust_ff_dim": true, "block_ffn_dim_multiplier": 1.0, "block_multiple_of": 16`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.head_count_kv [u32] 0 4, shortconv.l_cache u32 3",
	},
	{
		"llama4-hf", "llama4-gguf", `"rms_norm_eps": 1e-5, "intermediate_size_mlp": 48, "interleave_moe_layer_step": 1`,
		"feed_forward_length u32 48, expert_feed_forward_length u32 48, attention.head_count u32 4, expert_count u32 2, interleave_moe_layer_step u32 1",
	},
	{
		"gpt_oss-hf", "gpt-oss-gguf", `"rms_norm_eps": 1e-5, "sliding_window": 128, "num_experts_per_tok": 2`,
		"feed_forward_length u32 48, expert_feed_forward_length u32 48, attention.head_count u32 4, expert_count u32 2, expert_used_count u32 2, attention.sliding_window u32 128",
	},
	{
		"granitemoe-hf", "granitemoe-gguf", `"rms_norm_eps": 1e-5, "attention_multiplier": 0.015625, "embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 8.0`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.scale f32 0.015625, embedding_scale f32 12, residual_scale f32 0.22, logit_scale f32 8",
	},
	{
		"qwen3_moe-hf", "qwen3moe-gguf", `"rms_norm_eps": 1e-5, "moe_intermediate_size": 48, "num_experts_per_tok": 2`,
		"feed_forward_length u32 48, expert_feed_forward_length u32 48, attention.head_count u32 4, expert_count u32 2, expert_used_count u32 2",
	},
	{"command-r-hf", "command-r-gguf", `"layer_norm_eps": 1e-5, "logit_scale": 0.0625`, "feed_forward_length u32 48, attention.head_count u32 4, attention.layer_norm_epsilon f32 1e-05, logit_scale f32 0.0625"},
	{
		"t5-hf", "t5-gguf", `"d_kv": 8, "layer_norm_epsilon": 1e-6, "relative_attention_num_buckets": 32, "num_decoder_layers": 2, "decoder_start_token_id": 0`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.key_length u32 8, attention.value_length u32 8, attention.layer_norm_rms_epsilon f32 1e-06, attention.relative_buckets_count u32 32",
	},
	{"exaone-hf", "exaone-gguf", `"layer_norm_epsilon": 1e-5`, "feed_forward_length u32 48, attention.head_count u32 4, attention.layer_norm_rms_epsilon f32 1e-05"},
	{"nemotron-hf", "nemotron-gguf", `"norm_eps": 1e-5`, "feed_forward_length u32 48, attention.head_count u32 4, attention.layer_norm_epsilon f32 1e-05"},
	{"bert-hf", "bert-gguf", `"layer_norm_eps": 1e-5`, "feed_forward_length u32 48, attention.head_count u32 4, attention.causal bool false, attention.layer_norm_epsilon f32 1e-05"},
	{
		"modernbert-hf", "modern-bert-gguf", `"norm_eps": 1e-5, "local_attention": 128, "global_attn_every_n_layers": 4, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0`,
		`feed_forward_length u32 48, attention.head_count u32 4, attention.causal bool false, attention.layer_norm_epsilon f32 1e-05, attention.sliding_window u32 128, attention.sliding_window_pattern u32 4,
rope.freq_base f32 160000, rope.freq_base_swa f32 10000`,
	},
	{
		"mpt-hf", "mpt-gguf", `"attn_config": {"alibi": true, "alibi_bias_max": 8, "clip_qkv": 6}`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.layer_norm_epsilon f32 1e-05, attention.max_alibi_bias f32 8, attention.clamp_kqv f32 6",
	},
	{
		"chatglm-hf", "chatglm-gguf", `"layernorm_epsilon": 1.5625e-07, "rope_ratio": 50`,
		"feed_forward_length u32 48, attention.head_count u32 4, attention.layer_norm_rms_epsilon f32 1.5625e-07, rope.dimension_count u32 4, rope.freq_base f32 500000",
	},
}

// The key/values that llama.cpp's converter writes for a model describe it, whatever they are made of, and
// each of them with another number is refused, with both.
func TestConvertLikeOwnNumbers(t *testing.T) {
	for _, test := range ownGGUF {
		t.Run(test.to, func(t *testing.T) {
			from, _ := convention.Lookup(test.from)
			to, _ := convention.Lookup(test.to)
			architecture := strings.TrimSuffix(test.to, "-gguf")
			dir := t.TempDir()
			sampleOf(t, dir, from, to)
			path := filepath.Join(dir, "config.json")
			config, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(strings.TrimSuffix(string(config), "}")+", "+test.config+"}"), 0o666); err != nil {
				t.Fatal(err)
			}
			c := open(t, filepath.Join(dir, "model.safetensors"))
			n := 0
			run := func(keys []string) error {
				n++
				like := filepath.Join(dir, fmt.Sprint(n, ".gguf"))
				text := "format gguf\nkv general.architecture str " + architecture + "\nkv tokenizer.ggml.model str none\n"
				keys = append(keys, "context_length u32 64", "embedding_length u32 32", "block_count u32 2")
				if !strings.Contains(test.keys, "_epsilon") {
					keys = append(keys, "attention."+map[bool]string{true: "layer_norm_epsilon", false: "layer_norm_rms_epsilon"}[architecture == "stablelm"]+" f32 1e-5")
				}
				for _, key := range keys {
					text += "kv " + architecture + "." + key + "\n"
				}
				if err := fixture.Write(like, text); err != nil {
					t.Fatal(err)
				}
				v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{
					Names: inspect.RenameOptions{From: test.from, To: test.to}, Like: open(t, like), Write: assemble.Options{Output: filepath.Join(dir, "out.gguf")},
				})
				if err == nil {
					v.Close()
				}
				return err
			}
			keys := strings.Split(strings.ReplaceAll(test.keys, "\n", " "), ", ")
			if err := run(slices.Clone(keys)); err != nil {
				t.Fatalf("its own: %v", err)
			}
			for i, key := range keys {
				f := strings.Fields(key)
				was := f[len(f)-1]
				now := map[string]string{"yarn": "linear", "linear": "yarn", "true": "false", "false": "true"}[was]
				if number, err := strconv.ParseFloat(was, 64); err == nil {
					now = strconv.FormatFloat(2*number+1, 'f', -1, 32)
				}
				f[len(f)-1] = now
				other := slices.Clone(keys)
				other[i] = strings.Join(f, " ")
				if err := run(other); err == nil || !strings.Contains(err.Error(), was) || !strings.Contains(err.Error(), now) {
					t.Errorf("with %s: %v", other[i], err)
				}
				if f[1] != "u32" && f[1] != "f32" {
					continue
				}
				other[i] = f[0] + " [" + f[1] + "] " + now + " " + now
				if err := run(other); err == nil || !strings.Contains(err.Error(), was) || !strings.Contains(err.Error(), now) {
					t.Errorf("with %s: %v", other[i], err)
				}
			}
		})
	}
}
