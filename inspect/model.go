package inspect

import (
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// synonyms are names that projects give to the same number of a model; the
// first of each list is transformers' own.
var synonyms = [][]string{
	{"num_attention_heads", "n_head", "n_heads", "num_heads"},
	{"num_key_value_heads", "n_head_kv", "num_kv_heads", "n_kv_heads", "multi_query_group_num", "num_query_groups"},
	{"head_dim", "kv_channels"},
	{"hidden_size", "n_embd", "dim", "d_model"},
	{"num_hidden_layers", "n_layer", "n_layers", "num_layers"},
	{"num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts"},
}

// ModelOf is what the documents of a checkpoint say of its model: what replaces
// them, if it is not nil, then config.json, then GGUF keys. Language models
// inside of multimodal ones have theirs in text_config.
func ModelOf(c *checkpoint.Checkpoint, instead *checkpoint.Config) *convention.Config {
	doc := c.Config
	if instead != nil {
		doc = instead
	}
	cfg := new(convention.Config)
	cfg.ModelType, _ = doc.Text("model_type")
	cfg.TextModelType, _ = doc.Text("text_config", "model_type")
	var keys map[string]int64
	if c.Format == checkpoint.GGUF {
		cfg.Architecture = c.Architecture(nil)
		keys = make(map[string]int64)
		for _, kv := range c.Metadata() {
			if kv.Value == nil {
				continue
			}
			if n, ok := kv.Value.Int(); ok {
				keys[kv.Key] = n
			} else if n, ok := kv.Value.Uint(); ok && n < 1<<62 {
				keys[kv.Key] = int64(n)
			}
		}
	}
	one := func(key string) (int64, bool) {
		if n, ok := doc.Int(strings.Split(key, ".")...); ok {
			return n, true
		}
		if n, ok := doc.Int("text_config", key); ok {
			return n, true
		}
		if name, ok := convention.GGUFKey(cfg.Architecture, key); ok {
			if n, ok := keys[name]; ok {
				return n, true
			}
		}
		n, ok := keys[key]
		return n, ok
	}
	cfg.Value = func(key string) (int64, bool) {
		if n, ok := one(key); ok {
			return n, true
		}
		for i, list := range synonyms {
			if !slices.Contains(list, key) {
				continue
			}
			for _, s := range list {
				if n, ok := one(s); ok {
					return n, true
				}
			}
			if i == 1 { // every head has keys and values of its own
				return cfg.Value("num_attention_heads")
			}
		}
		return 0, false
	}
	return cfg
}

// TensorsOf yields the tensors of a checkpoint as conventions look at them.
func TensorsOf(c *checkpoint.Checkpoint) iter.Seq[convention.Named] {
	return func(yield func(convention.Named) bool) {
		for _, t := range c.All() {
			if !yield(convention.Named{Name: t.Name, DType: t.DType, Shape: t.Shape}) {
				return
			}
		}
	}
}
