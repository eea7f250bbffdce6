package main

import "strings"

// A model is a small checkpoint as transformers would save it, and what is to be
// expected of its conversions.
type model struct {
	name string
	// config is config.json without the braces; beside holds other files.
	config string
	beside map[string]string
	// tensors has a line per tensor: its name, its dimensions, and a dtype where
	// that is not the checkpoint's. {0-3} is each of the numbers.
	tensors string
	// hf and gguf are the conventions of the checkpoint and of its GGUF file, "" for
	// what the names do not say. to is the one to convert to where that is not the
	// second.
	hf, gguf, to string
	// faults are where ollama's converter does something else than the published
	// formula, or has names of its own.
	faults []fault
	// refused is what rename --to says that cannot convert the checkpoint, "" where it can.
	refused string
	// base is the architecture of an adapter's base model, "" for a model.
	base string
}

// A fault is a difference that is not wtinspect's, with its reason.
type fault struct {
	tensors string // globs of names in the GGUF file, or of those without a counterpart
	reason  string
	// rename corrects the name before the comparison: * keeps its text.
	rename string
	// drop takes the tensor out before the comparison.
	drop bool
	// converted is of what rename --to makes; diff pairs the tensors all the same.
	converted bool
}

// common is what most configurations have.
const common = `"vocab_size": 48, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
	"intermediate_size": 96, "max_position_embeddings": 128, "rms_norm_eps": 1e-6, "rope_theta": 10000.0`

func config(architecture, modelType, more string) string {
	return `"architectures": ["` + architecture + `"], "model_type": "` + modelType + `", ` + more
}

// below puts a prefix before the lines of a text.
func below(prefix, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(prefix + strings.TrimSpace(line) + "\n")
		}
	}
	return b.String()
}

// Of LLaMA and what is made like it: 4 heads of 16, 2 key/value heads.
const (
	attention = `
		self_attn.q_proj.weight 64 64
		self_attn.k_proj.weight 32 64
		self_attn.v_proj.weight 32 64
		self_attn.o_proj.weight 64 64
	`
	attentionBias = `
		self_attn.q_proj.bias 64
		self_attn.k_proj.bias 32
		self_attn.v_proj.bias 32
	`
	qkNorm = `
		self_attn.q_norm.weight 16
		self_attn.k_norm.weight 16
	`
	mlp = `
		mlp.gate_proj.weight 96 64
		mlp.up_proj.weight 96 64
		mlp.down_proj.weight 64 96
	`
	preNorms = `
		input_layernorm.weight 64
		post_attention_layernorm.weight 64
	`
	llamaLayer = attention + mlp + preNorms
	// Gemma 2 and 3, and OLMo 2 and 3 without the first and the third, normalise
	// what comes out, too.
	sandwich = preNorms + `
		pre_feedforward_layernorm.weight 64
		post_feedforward_layernorm.weight 64
	`
	embedAndNorm = `
		embed_tokens.weight 48 64
		norm.weight 64
	`
	head = "lm_head.weight 48 64\n"
)

var (
	llama = below("model.", embedAndNorm) + below("model.layers.{0-1}.", llamaLayer)
	// latent is DeepSeek's attention: 4 heads of 12 + 8, values of 16, ranks 24 and 20.
	latent = `
		self_attn.q_a_proj.weight 24 64
		self_attn.q_a_layernorm.weight 24
		self_attn.q_b_proj.weight 80 24
		self_attn.kv_a_proj_with_mqa.weight 28 64
		self_attn.kv_a_layernorm.weight 20
		self_attn.kv_b_proj.weight 112 20
		self_attn.o_proj.weight 64 64
	`
	latentConfig = common + `, "qk_nope_head_dim": 12, "qk_rope_head_dim": 8, "v_head_dim": 16, "q_lora_rank": 24, "kv_lora_rank": 20,
		"n_routed_experts": 12, "n_shared_experts": 1, "moe_intermediate_size": 32, "num_experts_per_tok": 2, "first_k_dense_replace": 1, "scoring_func": "sigmoid"`
	experts = `
		mlp.gate.weight 12 64
		mlp.experts.{0-11}.gate_proj.weight 32 64
		mlp.experts.{0-11}.up_proj.weight 32 64
		mlp.experts.{0-11}.down_proj.weight 64 32
	`
	sharedExpert = `
		mlp.shared_experts.gate_proj.weight 32 64
		mlp.shared_experts.up_proj.weight 32 64
		mlp.shared_experts.down_proj.weight 64 32
	`
	deepseek = below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", preNorms+latent) +
		below("model.layers.0.", mlp) + below("model.layers.1.", experts+sharedExpert+"mlp.gate.e_score_correction_bias 12 F32\n")
	// siglip is the tower of Gemma 3 and LFM2-VL, 32 wide.
	siglipLayer = `
		layer_norm1.weight 32
		layer_norm1.bias 32
		layer_norm2.weight 32
		layer_norm2.bias 32
		self_attn.q_proj.weight 32 32
		self_attn.q_proj.bias 32
		self_attn.k_proj.weight 32 32
		self_attn.k_proj.bias 32
		self_attn.v_proj.weight 32 32
		self_attn.v_proj.bias 32
		self_attn.out_proj.weight 32 32
		self_attn.out_proj.bias 32
		mlp.fc1.weight 48 32
		mlp.fc1.bias 48
		mlp.fc2.weight 32 48
		mlp.fc2.bias 32
	`
	bertLayer = `
		attention.self.query.weight 64 64
		attention.self.query.bias 64
		attention.self.key.weight 64 64
		attention.self.key.bias 64
		attention.self.value.weight 64 64
		attention.self.value.bias 64
		attention.output.dense.weight 64 64
		attention.output.dense.bias 64
		attention.output.LayerNorm.weight 64
		attention.output.LayerNorm.bias 64
		intermediate.dense.weight 96 64
		intermediate.dense.bias 96
		output.dense.weight 64 96
		output.dense.bias 64
		output.LayerNorm.weight 64
		output.LayerNorm.bias 64
	`
	bertEmbed = `
		embeddings.word_embeddings.weight 48 64
		embeddings.token_type_embeddings.weight 2 64
		embeddings.position_embeddings.weight 128 64
		embeddings.LayerNorm.weight 64
		embeddings.LayerNorm.bias 64
	`
	sentenceTransformer = map[string]string{"modules.json": `[{"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}]`}
	// linear is a layer of Qwen3-Next's gated linear attention: 2 key heads, 4 value
	// heads of 8.
	linear = `
		linear_attn.A_log 4 F32
		linear_attn.dt_bias 4
		linear_attn.conv1d.weight 64 1 4
		linear_attn.norm.weight 8
		linear_attn.out_proj.weight 64 32
	`
	gatedAttention = `
		self_attn.q_proj.weight 128 64
		self_attn.k_proj.weight 32 64
		self_attn.v_proj.weight 32 64
		self_attn.o_proj.weight 64 64
	` + qkNorm
	qwenShared = `
		mlp.shared_expert_gate.weight 1 64
		mlp.shared_expert.gate_proj.weight 32 64
		mlp.shared_expert.up_proj.weight 32 64
		mlp.shared_expert.down_proj.weight 64 32
	`
	linearConfig = common + `, "head_dim": 16, "partial_rotary_factor": 0.5, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
		"linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "layer_types": ["linear_attention", "full_attention"]`
	qwenVisionLayer = `
		norm1.weight 32
		norm1.bias 32
		norm2.weight 32
		norm2.bias 32
		attn.qkv.weight 96 32
		attn.qkv.bias 96
		attn.proj.weight 32 32
		attn.proj.bias 32
		mlp.linear_fc1.weight 48 32
		mlp.linear_fc1.bias 48
		mlp.linear_fc2.weight 32 48
		mlp.linear_fc2.bias 32
	`
	qwenMerger = `
		norm.weight 32
		norm.bias 32
		linear_fc1.weight 128 128
		linear_fc1.bias 128
		linear_fc2.weight 64 128
		linear_fc2.bias 64
	`
	qwen3Vision = below("model.visual.", `
		patch_embed.proj.weight 32 3 2 4 4
		patch_embed.proj.bias 32
		pos_embed.weight 16 32
	`) + below("model.visual.blocks.0.", qwenVisionLayer) + below("model.visual.merger.", qwenMerger) + below("model.visual.deepstack_merger_list.0.", qwenMerger)
	vision = `, "vision_config": {"depth": 1, "hidden_size": 32, "num_heads": 2, "in_channels": 3, "patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2,
		"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 16, "num_channels": 3, "attention_heads": 2}`
	preprocessor = map[string]string{"preprocessor_config.json": `{"size": {"shortest_edge": 16, "longest_edge": 64}, "patch_size": 4}`}
	pixtralLayer = `
		attention.q_proj.weight 32 32
		attention.k_proj.weight 32 32
		attention.v_proj.weight 32 32
		attention.o_proj.weight 32 32
		attention_norm.weight 32
		ffn_norm.weight 32
		feed_forward.gate_proj.weight 48 32
		feed_forward.up_proj.weight 48 32
		feed_forward.down_proj.weight 32 48
	`
	lfm2Norms = `
		operator_norm.weight 64
		ffn_norm.weight 64
	`
	lfm2Conv = `
		conv.conv.weight 64 1 3
		conv.in_proj.weight 192 64
		conv.out_proj.weight 64 64
	`
	lfm2Attention = `
		self_attn.q_proj.weight 64 64
		self_attn.k_proj.weight 32 64
		self_attn.v_proj.weight 32 64
		self_attn.out_proj.weight 64 64
		self_attn.q_layernorm.weight 16
		self_attn.k_layernorm.weight 16
	`
	lfm2MLP = `
		feed_forward.w1.weight 96 64
		feed_forward.w2.weight 64 96
		feed_forward.w3.weight 96 64
	`
	lfm2 = below("model.", "embed_tokens.weight 48 64\nembedding_norm.weight 64\n") + below("model.layers.{0-1}.", lfm2Norms) +
		below("model.layers.0.", lfm2Conv+lfm2MLP) + below("model.layers.1.", lfm2Attention)
	lfm2Config = common + `, "norm_eps": 1e-5, "conv_L_cache": 3, "layer_types": ["conv", "full_attention"]`
	mamba2     = `
		mixer.A_log 4 F32
		mixer.D 4 F32
		mixer.dt_bias 4
		mixer.conv1d.weight 96 1 4
		mixer.conv1d.bias 96
		mixer.in_proj.weight 164 64
		mixer.norm.weight 64
		mixer.out_proj.weight 64 64
	`
	nemotronAttention = `
		mixer.q_proj.weight 64 64
		mixer.k_proj.weight 32 64
		mixer.v_proj.weight 32 64
		mixer.o_proj.weight 64 64
	`
	nemotronConfig = `"vocab_size": 48, "hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "intermediate_size": 96,
		"layer_norm_epsilon": 1e-5, "conv_kernel": 4, "ssm_state_size": 8, "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "max_position_embeddings": 128, `
)

// What ollama's converter gets wrong, or names as nobody else.
const (
	inBlocks = "GGUF has the blocks and scales of MXFP4 in one tensor of a type that no .safetensors file has"
	biasRows = "ollama permutes the rows of weights, not of biases; llama.cpp permutes both (LlamaModel.modify_tensors)"
	ownTower = "ollama keeps the tower in the file of the language model, below names of its own; llama.cpp writes a file of its own (mmproj)"
	wholeKVB = "ollama keeps kv_b whole, as llama.cpp did before it split it into attn_k_b and attn_v_b (DeepseekV2Model.modify_tensors)"
	zeroLen  = "ollama writes rope factors of length 0 for a model without scaling"
)

var tower = []fault{{
	tensors: "v.* mm.* s.* vision_model.* vision_tower.* visual.* multi_modal_projector.* model.visual.* model.vision_tower.* model.multi_modal_projector.* " +
		"model.vision_model.* model.sam_model.* model.projector.* model.image_newline model.view_seperator",
	reason: ownTower, converted: true,
}}

var ssmDT = fault{tensors: "blk.*.ssm_dt blk.*.ssm_dt.bias", converted: true, reason: "in llama.cpp it is ssm_dt.bias (Qwen3NextModel.modify_tensors)"}

// models has every architecture of ollama's converter but NomicBert, of which it reads
// names that no release has.
var models = []model{
	{
		name: "llama", hf: "llama-hf", gguf: "llama-gguf",
		config: config("LlamaForCausalLM", "llama", common), tensors: llama + head,
	},
	{
		name: "llama tied", hf: "llama-hf", gguf: "llama-gguf",
		config: config("LlamaForCausalLM", "llama", common+`, "tie_word_embeddings": true`), tensors: llama,
	},
	{
		name: "llama biases", hf: "llama-bias-hf", gguf: "llama-gguf",
		config:  config("LlamaForCausalLM", "llama", common+`, "attention_bias": true`),
		tensors: llama + head + below("model.layers.{0-1}.", attentionBias+"self_attn.o_proj.bias 64\n"),
		faults:  []fault{{tensors: "blk.*.attn_q.bias", reason: biasRows}, {tensors: "blk.*.attn_k.bias", reason: biasRows}},
	},
	{
		name: "llama rope_scaling", hf: "llama-hf", gguf: "llama-gguf",
		config: config("LlamaForCausalLM", "llama", common+`, "tie_word_embeddings": true,
			"rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}`),
		tensors: llama,
	},
	{
		name: "llama head_dim", hf: "llama-hf", gguf: "llama-gguf",
		config: config("LlamaForCausalLM", "llama", common+`, "head_dim": 24`),
		tensors: below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", preNorms+mlp+`
			self_attn.q_proj.weight 96 64
			self_attn.k_proj.weight 48 64
			self_attn.v_proj.weight 48 64
			self_attn.o_proj.weight 64 96
		`),
	},
	{
		name: "llama inv_freq", hf: "llama-hf", gguf: "llama-gguf",
		config: config("LlamaForCausalLM", "llama", common), tensors: llama + head + "model.layers.{0-1}.self_attn.rotary_emb.inv_freq 8 F32\n",
		faults: []fault{{tensors: "blk.*.self_attn.rotary_emb.inv_freq", drop: true, reason: "ollama passes the buffer through; llama.cpp leaves it out"}},
	},
	{
		name: "mllama", hf: "mllama-text-hf", gguf: "mllama-gguf",
		config: `"architectures": ["MllamaForConditionalGeneration"], "model_type": "mllama", "text_config": {"model_type": "mllama_text_model", "cross_attention_layers": [1], ` + common + `}` + vision,
		tensors: below("language_model.model.", embedAndNorm) + "language_model." + head + below("language_model.model.layers.0.", llamaLayer) +
			below("language_model.model.layers.1.", preNorms+mlp+`
				cross_attn.q_proj.weight 64 64
				cross_attn.k_proj.weight 32 64
				cross_attn.v_proj.weight 32 64
				cross_attn.o_proj.weight 64 64
				cross_attn.q_norm.weight 16
				cross_attn.k_norm.weight 16
				cross_attn_attn_gate 1
				cross_attn_mlp_gate 1
			`) + "multi_modal_projector.weight 64 32\nmulti_modal_projector.bias 64\n" + below("vision_model.", `
				class_embedding 32
				patch_embedding.weight 32 3 4 4
				layernorm_pre.weight 32
				layernorm_pre.bias 32
				layernorm_post.weight 32
				layernorm_post.bias 32
				gated_positional_embedding.embedding 17 32
				gated_positional_embedding.gate 1
				gated_positional_embedding.tile_embedding.weight 9 544
				pre_tile_positional_embedding.embedding.weight 9 32
				pre_tile_positional_embedding.gate 1
				post_tile_positional_embedding.embedding.weight 9 32
				post_tile_positional_embedding.gate 1
			`) + below("vision_model.transformer.layers.0.", mllamaVision) + below("vision_model.global_transformer.layers.0.", mllamaVision+"gate_attn 1\ngate_ffn 1\n"),
		faults: tower,
	},
	{
		name: "llama4", hf: "llama4-hf", gguf: "llama4-gguf",
		config: `"architectures": ["Llama4ForConditionalGeneration"], "model_type": "llama4", "text_config": {"model_type": "llama4_text", "num_local_experts": 3,
			"num_experts_per_tok": 1, "interleave_moe_layer_step": 1, "intermediate_size_mlp": 96, ` + strings.Replace(common, `"intermediate_size": 96`, `"intermediate_size": 32`, 1) + `}` + vision,
		tensors: below("language_model.model.", embedAndNorm) + "language_model." + head + below("language_model.model.layers.{0-1}.", preNorms+attention+`
				feed_forward.router.weight 3 64
				feed_forward.experts.gate_up_proj 3 64 64
				feed_forward.experts.down_proj 3 32 64
				feed_forward.shared_expert.gate_proj.weight 32 64
				feed_forward.shared_expert.up_proj.weight 32 64
				feed_forward.shared_expert.down_proj.weight 64 32
			`) + "multi_modal_projector.linear_1.weight 64 32\n" + below("vision_model.", `
				class_embedding 32
				patch_embedding.linear.weight 32 48
				positional_embedding_vlm 17 32
				layernorm_pre.weight 32
				layernorm_pre.bias 32
				layernorm_post.weight 32
				layernorm_post.bias 32
				vision_adapter.mlp.fc1.weight 32 32
				vision_adapter.mlp.fc2.weight 32 32
			`) + below("vision_model.model.layers.0.", llama4Vision),
		faults: tower,
	},
	{
		name: "mistral3", hf: "llama-hf", gguf: "mistral3-gguf",
		config: `"architectures": ["Mistral3ForConditionalGeneration"], "model_type": "mistral3", "spatial_merge_size": 2, "text_config": {"model_type": "mistral", "head_dim": 24, ` + common + `}` + vision,
		tensors: below("language_model.model.", embedAndNorm) + "language_model." + head + below("language_model.model.layers.{0-1}.", preNorms+mlp+`
				self_attn.q_proj.weight 96 64
				self_attn.k_proj.weight 48 64
				self_attn.v_proj.weight 48 64
				self_attn.o_proj.weight 64 96
			`) + below("vision_tower.", "patch_conv.weight 32 3 4 4\nln_pre.weight 32\n") + below("vision_tower.transformer.layers.0.", pixtralLayer) + below("multi_modal_projector.", `
				norm.weight 32
				patch_merger.merging_layer.weight 32 128
				linear_1.weight 64 32
				linear_2.weight 64 64
			`),
		faults: tower,
	},
	{
		name: "ministral3", hf: "llama-hf", gguf: "mistral3-gguf",
		config:  config("Ministral3ForCausalLM", "ministral3", common+`, "head_dim": 16, "rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0}`),
		tensors: llama + head,
	},
	{
		name: "mixtral", hf: "mixtral-hf", gguf: "llama-gguf",
		config: config("MixtralForCausalLM", "mixtral", common+`, "num_local_experts": 12, "num_experts_per_tok": 2`),
		tensors: below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", preNorms+attention+`
			block_sparse_moe.gate.weight 12 64
			block_sparse_moe.experts.{0-11}.w1.weight 96 64
			block_sparse_moe.experts.{0-11}.w2.weight 64 96
			block_sparse_moe.experts.{0-11}.w3.weight 96 64
		`),
		faults: []fault{
			{tensors: "blk.*.ffn_up_exps.weight", rename: "blk.*.ffn_down_exps.weight", reason: "ollama swaps w2 and w3; in llama.cpp w2 is down and w3 is up (tensor_mapping.py)"},
			{tensors: "blk.*.ffn_down_exps.weight", rename: "blk.*.ffn_up_exps.weight", reason: "ollama swaps w2 and w3; in llama.cpp w2 is down and w3 is up (tensor_mapping.py)"},
		},
	},
	{
		name: "gemma", hf: "gemma-hf", gguf: "gemma-gguf",
		config: config("GemmaForCausalLM", "gemma", common+`, "head_dim": 16`), tensors: llama,
	},
	{
		name: "gemma2", hf: "gemma2-hf", gguf: "gemma2-gguf",
		config:  config("Gemma2ForCausalLM", "gemma2", common+`, "head_dim": 16`),
		tensors: below("model.", embedAndNorm) + below("model.layers.{0-1}.", sandwich+attention+mlp),
	},
	{
		name: "gemma3", hf: "gemma3-hf", gguf: "gemma3-gguf",
		config:  config("Gemma3ForCausalLM", "gemma3_text", common+`, "head_dim": 16`),
		tensors: below("model.", embedAndNorm) + below("model.layers.{0-1}.", sandwich+attention+qkNorm+mlp),
	},
	{
		name: "gemma3 vision", hf: "gemma3-hf", gguf: "gemma3-gguf",
		config: `"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "num_attention_heads": 4, "num_key_value_heads": 2, "text_config": {"model_type": "gemma3_text", "head_dim": 16, ` + common + `}` + vision,
		tensors: below("language_model.model.", embedAndNorm) + below("language_model.model.layers.{0-1}.", sandwich+attention+qkNorm+mlp) +
			"multi_modal_projector.mm_input_projection_weight 32 64\nmulti_modal_projector.mm_soft_emb_norm.weight 32\n" + below("vision_tower.vision_model.", `
				embeddings.patch_embedding.weight 32 3 4 4
				embeddings.patch_embedding.bias 32
				embeddings.position_embedding.weight 16 32
				post_layernorm.weight 32
				post_layernorm.bias 32
			`) + below("vision_tower.vision_model.encoder.layers.0.", siglipLayer),
		faults: tower,
	},
	{
		name: "gemma3n", hf: "gemma3n-hf", gguf: "gemma3n-gguf",
		config: `"architectures": ["Gemma3nForConditionalGeneration"], "model_type": "gemma3n", "text_config": {"model_type": "gemma3n_text", "head_dim": 16, "altup_num_inputs": 4,
			"hidden_size_per_layer_input": 8, "laurel_rank": 6, "layer_types": ["sliding_attention", "full_attention"], "activation_sparsity_pattern": [0.5, 0.0], ` + common + `}`,
		tensors: below("model.language_model.", embedAndNorm+`
			embed_tokens_per_layer.weight 48 16
			per_layer_model_projection.weight 16 64
			per_layer_projection_norm.weight 8
			altup_projections.{0-2}.weight 64 64
			altup_unembed_projections.{0-2}.weight 64 64
		`) + below("model.language_model.layers.{0-1}.", sandwich+attention+qkNorm+mlp+`
			altup.correct_output_scale 64
			altup.correction_coefs.weight 4 4
			altup.prediction_coefs.weight 16 4
			altup.modality_router.weight 4 64
			altup.router_norm.weight 64
			laurel.linear_left.weight 6 64
			laurel.linear_right.weight 64 6
			laurel.post_laurel_norm.weight 64
			per_layer_input_gate.weight 8 64
			per_layer_projection.weight 64 8
			post_per_layer_input_norm.weight 64
		`) + "model.embed_vision.embedding_projection.weight 64 32\nmodel.embed_audio.embedding_projection.weight 64 32\n",
	},
	{
		name: "phi3", hf: "phi3-hf", gguf: "phi3-gguf",
		config: config("Phi3ForCausalLM", "phi3", common+`, "original_max_position_embeddings": 128`), tensors: phi3 + head,
		faults: []fault{{tensors: "rope_factors_*.weight", drop: true, reason: zeroLen}},
	},
	{
		name: "phi3 longrope", hf: "phi3-hf", gguf: "phi3-gguf",
		config: config("Phi3ForCausalLM", "phi3", common+`, "original_max_position_embeddings": 64, "rope_scaling": {"type": "longrope",
			"long_factor": [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0], "short_factor": [1.0, 1.0, 1.25, 1.25, 1.5, 1.5, 1.75, 2.0]}`), tensors: phi3 + head,
	},
	{
		name: "qwen2", hf: "qwen2-hf", gguf: "qwen2-gguf",
		config: config("Qwen2ForCausalLM", "qwen2", common), tensors: llama + head + below("model.layers.{0-1}.", attentionBias),
	},
	{
		name: "qwen2 tied", hf: "qwen2-hf", gguf: "qwen2-gguf",
		config: config("Qwen2ForCausalLM", "qwen2", common+`, "tie_word_embeddings": true`), tensors: llama + below("model.layers.{0-1}.", attentionBias),
	},
	{
		name: "qwen2.5-vl", hf: "qwen2-hf", gguf: "qwen2-gguf", to: "qwen2vl-gguf",
		config: config("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", common+vision),
		tensors: llama + head + below("model.layers.{0-1}.", attentionBias) + below("visual.", `
			patch_embed.proj.weight 32 3 2 4 4
			merger.ln_q.weight 32
			merger.mlp.0.weight 128 128
			merger.mlp.0.bias 128
			merger.mlp.2.weight 64 128
			merger.mlp.2.bias 64
		`) + below("visual.blocks.0.", `
			norm1.weight 32
			norm2.weight 32
			attn.qkv.weight 96 32
			attn.qkv.bias 96
			attn.proj.weight 32 32
			attn.proj.bias 32
			mlp.gate_proj.weight 48 32
			mlp.gate_proj.bias 48
			mlp.up_proj.weight 48 32
			mlp.up_proj.bias 48
			mlp.down_proj.weight 32 48
			mlp.down_proj.bias 32
		`),
		faults: tower,
	},
	{
		name: "qwen3-vl", hf: "qwen3-hf", gguf: "qwen3vl-gguf", beside: preprocessor,
		config: `"architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "text_config": {"model_type": "qwen3_vl_text", "head_dim": 24, ` + common + `}` + vision,
		tensors: below("model.language_model.", embedAndNorm) + head + below("model.language_model.layers.{0-1}.", preNorms+mlp+`
			self_attn.q_proj.weight 96 64
			self_attn.k_proj.weight 48 64
			self_attn.v_proj.weight 48 64
			self_attn.o_proj.weight 64 96
			self_attn.q_norm.weight 24
			self_attn.k_norm.weight 24
		`) + qwen3Vision,
		faults: tower,
	},
	{
		name: "qwen3-vl-moe", hf: "qwen3_moe-stacked-hf", gguf: "qwen3vlmoe-gguf", beside: preprocessor,
		config: `"architectures": ["Qwen3VLMoeForConditionalGeneration"], "model_type": "qwen3_vl_moe", "text_config": {"model_type": "qwen3_vl_moe_text", "head_dim": 16,
			"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 32, ` + common + `}` + vision,
		tensors: below("model.language_model.", embedAndNorm) + head + below("model.language_model.layers.{0-1}.", preNorms+attention+qkNorm+`
			mlp.gate.weight 3 64
			mlp.experts.gate_up_proj 3 64 64
			mlp.experts.down_proj 3 32 64
		`) + qwen3Vision,
		faults: tower,
	},
	{
		name: "olmo3", hf: "olmo2-hf", gguf: "olmo2-gguf",
		config: config("Olmo3ForCausalLM", "olmo3", common+`, "sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"]`),
		tensors: below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", attention+mlp+`
			self_attn.q_norm.weight 64
			self_attn.k_norm.weight 32
			post_attention_layernorm.weight 64
			post_feedforward_layernorm.weight 64
		`),
	},
	{
		name: "bert", hf: "bert-hf", gguf: "bert-gguf", beside: sentenceTransformer,
		config:  config("BertModel", "bert", common+`, "layer_norm_eps": 1e-12`),
		tensors: bertEmbed + below("encoder.layer.{0-1}.", bertLayer) + "pooler.dense.weight 64 64\npooler.dense.bias 64\nembeddings.position_ids 1 128 I64\n",
	},
	{
		name: "command-r", hf: "command-r-hf", gguf: "command-r-gguf",
		config:  config("CohereForCausalLM", "cohere", common+`, "layer_norm_eps": 1e-5, "logit_scale": 0.0625`),
		tensors: below("model.", embedAndNorm) + below("model.layers.{0-1}.", "input_layernorm.weight 64\n"+attention+mlp),
	},
	{
		name: "command-r qk_norm", hf: "command-r-hf", gguf: "command-r-gguf",
		config:  config("CohereForCausalLM", "cohere", common+`, "layer_norm_eps": 1e-5, "logit_scale": 0.0625, "use_qk_norm": true`),
		tensors: below("model.", embedAndNorm) + below("model.layers.{0-1}.", "input_layernorm.weight 64\n"+attention+mlp+"self_attn.q_norm.weight 4 16\nself_attn.k_norm.weight 2 16\n"),
	},
	{
		name: "gpt-oss", hf: "gpt_oss-hf", gguf: "gptoss-gguf", refused: inBlocks,
		config: config("GptOssForCausalLM", "gpt_oss", common+`, "head_dim": 16, "num_local_experts": 3, "experts_per_token": 2, "sliding_window": 64`),
		tensors: below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", preNorms+attention+attentionBias+`
			self_attn.o_proj.bias 64
			self_attn.sinks 4
			mlp.router.weight 3 64
			mlp.router.bias 3
			mlp.experts.gate_up_proj_blocks 3 192 2 16 U8
			mlp.experts.gate_up_proj_scales 3 192 2 U8
			mlp.experts.gate_up_proj_bias 3 192
			mlp.experts.down_proj_blocks 3 64 3 16 U8
			mlp.experts.down_proj_scales 3 64 3 U8
			mlp.experts.down_proj_bias 3 64
		`),
	},
	{
		name: "gpt-oss original", hf: "gpt_oss-openai", gguf: "gptoss-gguf", refused: inBlocks,
		config: `"architectures": ["GptOssForCausalLM"], "model_type": "gpt_oss", "vocab_size": 48, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
			"num_key_value_heads": 2, "intermediate_size": 96, "head_dim": 16, "num_experts": 3, "experts_per_token": 2, "initial_context_length": 64, "rope_scaling_factor": 2.0`,
		tensors: "embedding.weight 48 64\nnorm.scale 64\nunembedding.weight 48 64\n" + below("block.{0-1}.", `
			attn.norm.scale 64
			attn.qkv.weight 128 64
			attn.qkv.bias 128
			attn.sinks 4
			attn.out.weight 64 64
			attn.out.bias 64
			mlp.norm.scale 64
			mlp.gate.weight 3 64
			mlp.gate.bias 3
			mlp.mlp1_weight.blocks 3 192 2 16 U8
			mlp.mlp1_weight.scales 3 192 2 U8
			mlp.mlp1_bias 3 192
			mlp.mlp2_weight.blocks 3 64 3 16 U8
			mlp.mlp2_weight.scales 3 64 3 U8
			mlp.mlp2_bias 3 64
		`),
	},
	{
		name: "deepseek-ocr", hf: "deepseek_ocr-hf", gguf: "deepseek2-ocr-gguf",
		config: `"architectures": ["DeepseekOCRForCausalLM"], "model_type": "deepseek_vl_v2", "language_config": {"model_type": "deepseek_v2", "n_routed_experts": 12, "n_shared_experts": 1,
			"num_experts_per_tok": 2, "first_k_dense_replace": 1, "moe_intermediate_size": 32, "use_mla": false, ` + common + `}, ` + common + `, "n_routed_experts": 12, "vision_config": {"image_size": 16}`,
		tensors: below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", preNorms+attention) + below("model.layers.0.", mlp) + below("model.layers.1.", experts+sharedExpert) +
			"model.image_newline 64\nmodel.view_seperator 64\nmodel.projector.layers.weight 64 64\nmodel.projector.layers.bias 64\n" + below("model.vision_model.", `
				embeddings.class_embedding 32
				embeddings.patch_embedding.weight 32 3 4 4
				embeddings.position_embedding.weight 17 32
				pre_layrnorm.weight 32
				pre_layrnorm.bias 32
			`) + below("model.vision_model.transformer.layers.0.", `
				layer_norm1.weight 32
				layer_norm1.bias 32
				layer_norm2.weight 32
				layer_norm2.bias 32
				mlp.fc1.weight 48 32
				mlp.fc1.bias 48
				mlp.fc2.weight 32 48
				mlp.fc2.bias 32
				self_attn.qkv_proj.weight 96 32
				self_attn.qkv_proj.bias 96
				self_attn.out_proj.weight 32 32
				self_attn.out_proj.bias 32
			`) + below("model.sam_model.", `
				patch_embed.proj.weight 32 3 4 4
				patch_embed.proj.bias 32
				pos_embed 1 4 4 32
				neck.0.weight 16 32 1 1
				neck.1.weight 16
				neck.1.bias 16
				neck.2.weight 16 16 3 3
				neck.3.weight 16
				neck.3.bias 16
				net_2.weight 32 16 3 3
				net_3.weight 32 32 3 3
			`) + below("model.sam_model.blocks.0.", `
				norm1.weight 32
				norm1.bias 32
				norm2.weight 32
				norm2.bias 32
				attn.qkv.weight 96 32
				attn.qkv.bias 96
				attn.proj.weight 32 32
				attn.proj.bias 32
				attn.rel_pos_h 7 16
				attn.rel_pos_w 7 16
				mlp.lin1.weight 48 32
				mlp.lin1.bias 48
				mlp.lin2.weight 32 48
				mlp.lin2.bias 32
			`),
		faults: tower,
	},
	{
		name: "deepseek_v3", hf: "deepseek_v3-hf", gguf: "deepseek2-gguf",
		config: config("DeepseekV3ForCausalLM", "deepseek_v3", latentConfig), tensors: deepseek,
		faults: []fault{{tensors: "blk.*.attn_kv_b.weight blk.*.attn_?_b.weight", reason: wholeKVB}},
	},
	{
		name: "deepseek_v3 mtp", hf: "deepseek_v3-hf", gguf: "deepseek2-gguf",
		config: config("DeepseekV3ForCausalLM", "deepseek_v3", latentConfig+`, "num_nextn_predict_layers": 1`),
		tensors: deepseek + below("model.layers.2.", preNorms+latent+experts+sharedExpert+`
			mlp.gate.e_score_correction_bias 12 F32
			embed_tokens.weight 48 64
			enorm.weight 64
			hnorm.weight 64
			eh_proj.weight 64 128
			shared_head.norm.weight 64
			shared_head.head.weight 48 64
		`),
		faults: []fault{
			{tensors: "blk.*.attn_kv_b.weight blk.*.attn_?_b.weight", reason: wholeKVB},
		},
	},
	{
		name: "glm4_moe_lite", hf: "deepseek_v3-hf", gguf: "deepseek2-gguf",
		config: config("Glm4MoeLiteForCausalLM", "glm4_moe_lite", latentConfig), tensors: deepseek,
	},
	{
		name: "glm_ocr", hf: "glm4-hf", gguf: "glmocr-gguf", beside: preprocessor,
		config: `"architectures": ["GlmOcrForConditionalGeneration"], "model_type": "glm_ocr", "text_config": {"model_type": "glm_ocr_text", "head_dim": 16,
			"rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0, "partial_rotary_factor": 1.0}, ` + common + `}` + vision,
		tensors: below("model.language_model.", embedAndNorm) + head + below("model.language_model.layers.{0-1}.", preNorms+attention+`
			post_self_attn_layernorm.weight 64
			post_mlp_layernorm.weight 64
			mlp.gate_up_proj.weight 192 64
			mlp.down_proj.weight 64 96
		`) + below("model.visual.", `
			patch_embed.proj.weight 32 3 2 4 4
			patch_embed.proj.bias 32
			post_layernorm.weight 32
			downsample.weight 64 32 2 2
			downsample.bias 64
			merger.proj.weight 64 64
			merger.post_projection_norm.weight 64
			merger.post_projection_norm.bias 64
			merger.gate_proj.weight 96 64
			merger.up_proj.weight 96 64
			merger.down_proj.weight 64 96
		`) + below("model.visual.blocks.0.", `
			norm1.weight 32
			norm2.weight 32
			attn.qkv.weight 96 32
			attn.qkv.bias 96
			attn.proj.weight 32 32
			attn.proj.bias 32
			attn.q_norm.weight 16
			attn.k_norm.weight 16
			mlp.gate_proj.weight 48 32
			mlp.gate_proj.bias 48
			mlp.up_proj.weight 48 32
			mlp.up_proj.bias 48
			mlp.down_proj.weight 32 48
			mlp.down_proj.bias 32
		`),
		faults: tower,
	},
	{
		name: "lfm2", hf: "lfm2-hf", gguf: "lfm2-gguf",
		config: config("Lfm2ForCausalLM", "lfm2", lfm2Config), tensors: lfm2 + below("model.layers.1.", lfm2MLP),
	},
	{
		name: "lfm2_moe", hf: "lfm2_moe-hf", gguf: "lfm2moe-gguf",
		config: config("Lfm2MoeForCausalLM", "lfm2_moe", lfm2Config+`, "num_experts": 12, "num_experts_per_tok": 2, "num_dense_layers": 1, "moe_intermediate_size": 32`),
		tensors: lfm2 + below("model.layers.1.", `
			feed_forward.gate.weight 12 64
			feed_forward.expert_bias 12 F32
			feed_forward.experts.{0-11}.w1.weight 32 64
			feed_forward.experts.{0-11}.w2.weight 64 32
			feed_forward.experts.{0-11}.w3.weight 32 64
		`),
	},
	{
		name: "lfm2-vl", hf: "lfm2-hf", gguf: "lfm2-gguf",
		config: `"architectures": ["Lfm2VlForConditionalGeneration"], "model_type": "lfm2_vl", "text_config": {"model_type": "lfm2", ` + lfm2Config + `}` + vision,
		tensors: strings.ReplaceAll(lfm2+below("model.layers.1.", lfm2MLP), "model.", "model.language_model.") + below("model.multi_modal_projector.", `
			layer_norm.weight 128
			layer_norm.bias 128
			linear_1.weight 64 128
			linear_1.bias 64
			linear_2.weight 64 64
			linear_2.bias 64
		`) + below("model.vision_tower.vision_model.", `
			embeddings.patch_embedding.weight 32 48
			embeddings.patch_embedding.bias 32
			embeddings.position_embedding.weight 16 32
			post_layernorm.weight 32
			post_layernorm.bias 32
		`) + below("model.vision_tower.vision_model.encoder.layers.0.", siglipLayer),
		faults: tower,
	},
	{
		name: "qwen3_next", hf: "qwen3_next-hf", gguf: "qwen3next-gguf",
		config: config("Qwen3NextForCausalLM", "qwen3_next", linearConfig+`, "num_experts": 12, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32`),
		tensors: below("model.", embedAndNorm) + head + below("model.layers.{0-1}.", preNorms+experts+qwenShared) +
			below("model.layers.0.", linear+"linear_attn.in_proj_qkvz.weight 96 64\nlinear_attn.in_proj_ba.weight 8 64\n") + below("model.layers.1.", gatedAttention),
		faults: []fault{ssmDT},
	},
	{
		name: "qwen3_5", hf: "qwen3_5-hf", gguf: "qwen35-gguf",
		config: `"architectures": ["Qwen3_5ForConditionalGeneration"], "model_type": "qwen3_5", "text_config": {"model_type": "qwen3_5_text", ` + linearConfig + `}`,
		tensors: below("model.language_model.", embedAndNorm) + head + below("model.language_model.layers.{0-1}.", preNorms+mlp) +
			below("model.language_model.layers.0.", linear+qwen35Linear) + below("model.language_model.layers.1.", gatedAttention),
		faults: []fault{ssmDT},
	},
	{
		name: "qwen3_5_moe", hf: "qwen3_5_moe-hf", gguf: "qwen35moe-gguf", beside: preprocessor,
		config: `"architectures": ["Qwen3_5MoeForConditionalGeneration"], "model_type": "qwen3_5_moe", "text_config": {"model_type": "qwen3_5_moe_text",
			"num_experts": 3, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, ` + linearConfig + `}` + vision,
		tensors: below("model.language_model.", embedAndNorm) + head + below("model.language_model.layers.{0-1}.", preNorms+qwenShared+`
				mlp.gate.weight 3 64
				mlp.experts.gate_up_proj 3 64 64
				mlp.experts.down_proj 3 64 32
			`) + below("model.language_model.layers.0.", linear+qwen35Linear) + below("model.language_model.layers.1.", gatedAttention) + qwen3Vision,
		faults: append([]fault{ssmDT}, tower...),
	},
	{
		name: "nemotron_h", hf: "nemotron_h-hf", gguf: "nemotron_h-gguf",
		config: config("NemotronHForCausalLM", "nemotron_h", nemotronConfig+`"num_hidden_layers": 3, "hybrid_override_pattern": "M*-"`),
		tensors: "backbone.embeddings.weight 48 64\nbackbone.norm_f.weight 64\n" + head + "backbone.layers.{0-2}.norm.weight 64\n" + below("backbone.layers.0.", mamba2) +
			below("backbone.layers.1.", nemotronAttention) + below("backbone.layers.2.", "mixer.up_proj.weight 96 64\nmixer.down_proj.weight 64 96\n"),
	},
	{
		name: "nemotron_h_moe", hf: "nemotron_h-hf", gguf: "nemotron_h_moe-gguf",
		config: config("NemotronHForCausalLM", "nemotron_h", nemotronConfig+`"num_hidden_layers": 3, "hybrid_override_pattern": "M*E",
			"n_routed_experts": 12, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 32`),
		tensors: "backbone.embeddings.weight 48 64\nbackbone.norm_f.weight 64\n" + head + "backbone.layers.{0-2}.norm.weight 64\n" + below("backbone.layers.0.", mamba2) +
			below("backbone.layers.1.", nemotronAttention) + below("backbone.layers.2.", `
				mixer.gate.weight 12 64
				mixer.gate.e_score_correction_bias 12 F32
				mixer.experts.{0-11}.up_proj.weight 32 64
				mixer.experts.{0-11}.down_proj.weight 64 32
				mixer.shared_experts.up_proj.weight 32 64
				mixer.shared_experts.down_proj.weight 64 32
			`),
	},
	{
		name: "llama LoRA", beside: map[string]string{"config.json": "{" + config("LlamaForCausalLM", "llama", common) + "}"}, hf: "llama-hf", gguf: "llama-gguf", base: "llama",
		config:  `"lora_alpha": 16, "r": 4, "peft_type": "LORA", "target_modules": ["q_proj", "v_proj", "down_proj"]`,
		tensors: loraOf("self_attn.q_proj", "64", "64") + loraOf("self_attn.v_proj", "32", "64") + loraOf("mlp.down_proj", "64", "96"),
		faults:  []fault{{tensors: "blk.*.attn_q.weight.lora_?", reason: "ollama permutes lora_a; the rows of q are those of lora_b (convert_lora_to_gguf.py)"}},
	},
	{
		name: "gemma2 LoRA", beside: map[string]string{"config.json": "{" + config("Gemma2ForCausalLM", "gemma2", common) + "}"}, hf: "gemma2-hf", gguf: "gemma2-gguf", base: "gemma2",
		config:  `"lora_alpha": 16, "r": 4, "peft_type": "LORA", "target_modules": ["q_proj", "down_proj"]`,
		tensors: loraOf("self_attn.q_proj", "64", "64") + loraOf("mlp.down_proj", "64", "96"),
	},
}

func loraOf(module, out, in string) string {
	at := "base_model.model.model.layers.{0-1}." + module
	return at + ".lora_A.weight 4 " + in + "\n" + at + ".lora_B.weight " + out + " 4\n"
}

var (
	phi3 = below("model.", embedAndNorm) + below("model.layers.{0-1}.", preNorms+`
		self_attn.qkv_proj.weight 128 64
		self_attn.o_proj.weight 64 64
		mlp.gate_up_proj.weight 192 64
		mlp.down_proj.weight 64 96
	`)
	qwen35Linear = `
		linear_attn.in_proj_qkv.weight 64 64
		linear_attn.in_proj_z.weight 32 64
		linear_attn.in_proj_a.weight 4 64
		linear_attn.in_proj_b.weight 4 64
	`
	mllamaVision = `
		input_layernorm.weight 32
		input_layernorm.bias 32
		post_attention_layernorm.weight 32
		post_attention_layernorm.bias 32
		self_attn.q_proj.weight 32 32
		self_attn.k_proj.weight 32 32
		self_attn.v_proj.weight 32 32
		self_attn.o_proj.weight 32 32
		mlp.fc1.weight 48 32
		mlp.fc1.bias 48
		mlp.fc2.weight 32 48
		mlp.fc2.bias 32
	`
	llama4Vision = `
		input_layernorm.weight 32
		input_layernorm.bias 32
		post_attention_layernorm.weight 32
		post_attention_layernorm.bias 32
		self_attn.q_proj.weight 32 32
		self_attn.q_proj.bias 32
		self_attn.k_proj.weight 32 32
		self_attn.k_proj.bias 32
		self_attn.v_proj.weight 32 32
		self_attn.v_proj.bias 32
		self_attn.o_proj.weight 32 32
		self_attn.o_proj.bias 32
		mlp.fc1.weight 48 32
		mlp.fc1.bias 48
		mlp.fc2.weight 32 48
		mlp.fc2.bias 32
	`
)
