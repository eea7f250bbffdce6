package convention

import (
	"cmp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention/adapter"
)

// A Model is what is known of a model beside its tensors. A nil Model knows
// nothing.
type Model struct {
	// Type and TextType are model_type of config.json, and of the part of it that
	// describes the language model of a multimodal one.
	Type, TextType string
	// Architecture is general.architecture of a GGUF file.
	Architecture string
	// Class is the class that config.json says wrote the release, "BertModel".
	Class string
	// Rope is how the configuration scales rotary embedding, nil when it does not.
	Rope *Rope
	// Sections says that sections of a head are turned by different positions (M-RoPE),
	// and Rotary is the share of a head that is turned, 0 where nothing says it.
	Sections bool
	Rotary   float64
	// Documents give integers by the names that config.json has for them, and 1 or 0
	// for what is true or false. They are asked in order.
	Documents []func(key string) (int64, bool)
	// Floats give numbers that need not be integers by the names that config.json has for
	// them, in the same way.
	Floats []func(key string) (float64, bool)
	// Texts give texts, and the texts and numbers of lists, by the names that config.json has for
	// them, in the same way.
	Texts []func(key string) ([]string, bool)
	// Adapter is what is known of the tensors' factors, where they change a model.
	Adapter *adapter.Settings
}

// A Rope is what rope_scaling, or rope_parameters, of config.json says of scaled
// rotary embedding (transformers: modeling_rope_utils.py). What it does not say
// is zero.
type Rope struct {
	Type                                  string // rope_type: "llama3", "longrope"
	Theta                                 float64
	Factor, LowFreqFactor, HighFreqFactor float64
	OriginalMaxPositionEmbeddings         float64
	LongFactor, ShortFactor               []float64
}

// Bare reports whether the class is one without a head, whose releases lack the
// base in their names: transformers calls it BertModel, and those with a head
// BertForMaskedLM or GPT2LMHeadModel (modeling_utils.py save_pretrained). ok is false
// when no class is known.
func (m *Model) Bare() (bare, ok bool) {
	if m == nil || m.Class == "" {
		return false, false
	}
	return strings.HasSuffix(m.Class, "Model") && !strings.HasSuffix(m.Class, "HeadModel") && !strings.HasSuffix(m.Class, "HeadsModel"), true
}

// Number returns a number by any of its spellings: "num_attention_heads". The
// first document that has it under one of them decides. A model that does not
// say otherwise has as many key/value heads as attention heads.
func (m *Model) Number(key string) (int64, bool) {
	if m == nil {
		return 0, false
	}
	names := []string{key}
	number := numberOf(key)
	if number != nil {
		names = append(names, number.spellings()...)
	}
	kv := number != nil && number.name == "num_key_value_heads"
	for _, document := range m.Documents {
		// transformers: FalconAttention, GPTBigCodeAttention; Refact: one head for all,
		// whatever number stands beside it.
		multi, _ := document("multi_query")
		if grouped, _ := document("new_decoder_architecture"); kv && multi != 0 && grouped == 0 {
			return 1, true
		}
		for _, name := range names {
			if n, ok := document(name); ok {
				return n, true
			}
		}
	}
	if kv {
		return m.Number("num_attention_heads")
	}
	return 0, false
}

// Float returns a number that need not be an integer by the first of its spellings that a
// document has: "rms_norm_eps", "norm_eps".
func (m *Model) Float(keys ...string) (float64, bool) {
	if m == nil {
		return 0, false
	}
	for _, document := range m.Floats {
		for _, key := range keys {
			if f, ok := document(key); ok {
				return f, true
			}
		}
	}
	return 0, false
}

// Text returns a text, or what a list has.
func (m *Model) Text(key string) ([]string, bool) {
	if m == nil {
		return nil, false
	}
	for _, document := range m.Texts {
		if list, ok := document(key); ok {
			return list, true
		}
	}
	return nil, false
}

// Or returns what is known of either of two models that are one. Where both
// know, m decides.
func (m *Model) Or(other *Model) *Model {
	both := *m
	if both.Class == "" {
		both.Class = other.Class
	}
	if both.Rope == nil {
		both.Rope = other.Rope
	}
	both.Sections = m.Sections || other.Sections
	both.Rotary = cmp.Or(m.Rotary, other.Rotary)
	both.Documents = slices.Concat(m.Documents, other.Documents)
	both.Floats = slices.Concat(m.Floats, other.Floats)
	both.Texts = slices.Concat(m.Texts, other.Texts)
	return &both
}

// A number is what projects call one number of a model.
type number struct {
	name   string // in transformers
	source string
	others []spelling
}

type spelling struct{ name, source string }

// numbers is the one table of the numbers that conversions and rules ask for.
var numbers = []number{
	{"num_attention_heads", "transformers: LlamaConfig", []spelling{
		{"n_head", "transformers: GPT2Config, BloomConfig"},
		{"n_heads", "meta-llama: llama/model.py ModelArgs; transformers: MptConfig"},
		{"num_heads", "transformers: T5Config, GPTNeoConfig"},
	}},
	{"num_key_value_heads", "transformers: LlamaConfig", []spelling{
		{"n_head_kv", "Falcon and Phi as first released: configuration_RW.py, configuration_mixformer_sequential.py"},
		{"num_kv_heads", "transformers: FalconConfig"},
		{"n_kv_heads", "meta-llama: llama/model.py ModelArgs"},
		{"multi_query_group_num", "ChatGLM: configuration_chatglm.py"},
		{"num_query_groups", "Megatron-LM: megatron/core/transformer/transformer_config.py"},
		{"attn_config.kv_n_heads", "transformers: DbrxConfig, MptConfig"},
	}},
	{"head_dim", "transformers: LlamaConfig; mistral-inference: args.py", []spelling{
		{"kv_channels", "ChatGLM: configuration_chatglm.py; Megatron-LM: transformer_config.py"},
	}},
	{"hidden_size", "transformers: LlamaConfig", []spelling{
		{"n_embd", "transformers: GPT2Config"},
		{"dim", "meta-llama: llama/model.py ModelArgs; transformers: DistilBertConfig"},
		{"d_model", "transformers: T5Config, MptConfig"},
		{"n_embed", "BLOOM as first released: config.json"},
		{"model_dim", "OpenELM: configuration_openelm.py"},
	}},
	{"num_hidden_layers", "transformers: LlamaConfig", []spelling{
		{"n_layer", "transformers: GPT2Config, BloomConfig"},
		{"n_layers", "meta-llama: llama/model.py ModelArgs; transformers: MptConfig"},
		{"num_layers", "transformers: T5Config; ChatGLM: configuration_chatglm.py"},
		{"num_transformer_layers", "OpenELM: configuration_openelm.py"},
	}},
	{"intermediate_size", "transformers: LlamaConfig", []spelling{
		{"ffn_hidden_size", "ChatGLM: configuration_chatglm.py; Megatron-LM: transformer_config.py"},
		{"n_inner", "transformers: GPT2Config"},
		{"d_ff", "transformers: T5Config"},
		{"ffn_config.ffn_hidden_size", "transformers: DbrxConfig"},
	}},
	{"vocab_size", "transformers: LlamaConfig", []spelling{
		{"padded_vocab_size", "ChatGLM: configuration_chatglm.py; litgpt: config.py"},
	}},
	{"num_local_experts", "transformers: MixtralConfig", []spelling{
		{"num_experts", "transformers: Qwen2MoeConfig"},
		{"n_routed_experts", "transformers: DeepseekV3Config"},
		{"moe_num_experts", "transformers: Ernie4_5_MoeConfig"},
		{"ffn_config.moe_num_experts", "transformers: DbrxConfig"},
	}},
	{"num_experts_per_tok", "transformers: MixtralConfig", []spelling{
		{"ffn_config.moe_top_k", "transformers: DbrxConfig"},
	}},
	{"max_position_embeddings", "transformers: LlamaConfig", []spelling{
		{"n_positions", "transformers: GPT2Config"},
		{"n_ctx", "GPT-2 as first released: config.json"},
		{"max_sequence_length", "llama.cpp: conversion/base.py, TextModel.set_gguf_parameters"},
		{"model_max_length", "llama.cpp: conversion/base.py, TextModel.set_gguf_parameters"},
		{"seq_length", "ChatGLM: configuration_chatglm.py"},
		{"max_seq_len", "transformers: MptConfig"},
		{"max_context_length", "OpenELM: configuration_openelm.py"},
	}},
	{"kv_lora_rank", "transformers: DeepseekV3Config", nil},
	{"v_head_dim", "transformers: DeepseekV3Config", nil},
	{"qk_nope_head_dim", "transformers: DeepseekV3Config", nil},
	{"n_groups", "transformers: Mamba2Config, NemotronHConfig", []spelling{
		{"mamba_n_groups", "transformers: FalconH1Config, GraniteMoeHybridConfig"},
	}},
	{"linear_num_key_heads", "transformers: Qwen3NextConfig", nil},
	{"linear_num_value_heads", "transformers: Qwen3NextConfig", nil},
	{"linear_key_head_dim", "transformers: Qwen3NextConfig", nil},
	{"linear_value_head_dim", "transformers: Qwen3NextConfig", nil},
}

// spellings lists the names of the number, transformers' first.
func (n *number) spellings() []string {
	names := []string{n.name}
	for _, s := range n.others {
		names = append(names, s.name)
	}
	return names
}

func numberOf(key string) *number {
	for i := range numbers {
		if slices.Contains(numbers[i].spellings(), key) {
			return &numbers[i]
		}
	}
	return nil
}

// Spellings lists what configurations call a number, transformers' name first:
// "num_attention_heads", "n_head", "n_heads". It is nil for what is not in the
// table.
func Spellings(key string) []string {
	if n := numberOf(key); n != nil {
		return n.spellings()
	}
	return nil
}

// GGUFKey gives the GGUF key of a number by its config.json name.
func GGUFKey(architecture, key string) (string, bool) {
	if n := numberOf(key); n != nil {
		key = n.name
	}
	for _, n := range ggufTable()[everyArchitecture] {
		if names := n.Names(); len(names) > 0 && names[0] == key && n.Type == "u32" {
			return architecture + "." + n.Key, true
		}
	}
	return "", false
}
