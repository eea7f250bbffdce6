package convention

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// What llama.cpp does not open a file without, the table says of every architecture.
func TestGGUFRequired(t *testing.T) {
	text, err := os.ReadFile("testdata/gguf_required.txt")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(text)) {
		architecture, keys, ok := strings.Cut(line, ":")
		if strings.HasPrefix(line, "#") || !ok {
			continue
		}
		n++
		numbers := GGUFNumbers(architecture)
		for _, key := range append(strings.Fields(keys), "context_length", "embedding_length", "block_count") {
			if !slices.ContainsFunc(numbers, func(n GGUFNumber) bool { return n.Key == key && n.Needed }) {
				t.Errorf("%s: %s is not one that llama.cpp needs", architecture, key)
			}
		}
		// The other epsilon is no number of the architecture.
		for _, number := range numbers {
			if strings.HasSuffix(number.Key, "_epsilon") && number.Filled && !slices.Contains(strings.Fields(keys), number.Key) && !strings.Contains(architecture, "rwkv") {
				t.Errorf("%s: %s is written, and llama.cpp does not read it", architecture, number.Key)
			}
		}
	}
	if n < 100 {
		t.Errorf("%d architectures", n)
	}
}

// Numbers of configurations, worked out by hand from set_gguf_parameters of llama.cpp's converter.
func TestGGUFNumbersOf(t *testing.T) {
	for _, tt := range []struct {
		architecture, key string
		numbers           map[string]int64
		lists             map[string][]string
		want              string
		floats            map[string]float64
	}{
		{"refact", "feed_forward_length", map[string]int64{"n_embd": 2048}, nil, "[5632]", nil}, // int(2*8192/3) = 5461, to 256
		{"neo-bert", "feed_forward_length", map[string]int64{"intermediate_size": 3072}, nil, "[2048]", nil},
		{"neo-bert", "pooling_type", nil, nil, "[2]", nil},
		{"jamba", "attention.head_count_kv", map[string]int64{"num_key_value_heads": 8, "num_hidden_layers": 6, "attn_layer_period": 4, "attn_layer_offset": 1}, nil, "[0 8 0 0 0 8]", nil},
		{"jamba", "attention.head_count_kv", map[string]int64{"num_key_value_heads": 8, "num_hidden_layers": 6, "attn_layer_period": 0, "attn_layer_offset": 1}, nil, "none", nil},
		{"jamba", "attention.head_count_kv", map[string]int64{"num_key_value_heads": 8, "num_hidden_layers": 1 << 40, "attn_layer_period": 2, "attn_layer_offset": 1}, nil, "none", nil},
		{"openelm", "feed_forward_length", map[string]int64{"model_dim": 1280, "ffn_dim_divisor": 256}, map[string][]string{"ffn_multipliers": {"0.5", "0.73", "4"}}, "[768 1024 5120]", nil}, // 640 is nearer to 768 than to 512: halves go up
		{"openelm", "attention.head_count", nil, map[string][]string{"num_query_heads": {"12", "16"}}, "[12 16]", nil},
		{"chatglm", "rope.freq_base", map[string]int64{"rope_ratio": 500}, nil, "[5e+06]", nil},
		{"chatglm", "rope.freq_base", nil, nil, "[10000]", nil},
		{"chatglm", "rope.dimension_count", map[string]int64{"hidden_size": 4096, "num_attention_heads": 32}, nil, "[64]", nil},
		{"dbrx", "expert_used_count", map[string]int64{"ffn_config.moe_top_k": 4}, nil, "[4]", nil},
		{"dbrx", "attention.head_count_kv", map[string]int64{"attn_config.kv_n_heads": 8, "n_heads": 48}, nil, "[8]", nil},
		{"nomic-bert", "context_length", map[string]int64{"n_positions": 8192}, nil, "[2048]", nil},
		{"bert", "attention.causal", nil, nil, "[0]", nil},
		{"falcon", "context_length", nil, nil, "[2048]", nil},
		{"modern-bert", "rope.freq_base", map[string]int64{"global_rope_theta": 160000}, nil, "[160000]", nil},
		{"nomic-bert", "rope.freq_base", map[string]int64{"rotary_emb_base": 1000}, nil, "[1000]", nil},
		{"nomic-bert", "pooling_type", nil, nil, "none", nil},
		{"mpt", "attention.max_alibi_bias", map[string]int64{"attn_config.alibi": 0, "attn_config.alibi_bias_max": 8}, nil, "[0]", nil},
		{"orion", "attention.layer_norm_epsilon", nil, nil, "[1e-05]", map[string]float64{"rms_norm_eps": 1e-5}},
		{"orion", "attention.layer_norm_rms_epsilon", nil, nil, "none", map[string]float64{"rms_norm_eps": 1e-5}},
		{"exaone", "attention.layer_norm_rms_epsilon", nil, nil, "[1e-05]", map[string]float64{"layer_norm_epsilon": 1e-5}},
		{"t5encoder", "attention.layer_norm_rms_epsilon", nil, nil, "[1e-06]", map[string]float64{"layer_norm_epsilon": 1e-6}},
		{"dbrx", "rope.freq_base", nil, nil, "[500000]", map[string]float64{"attn_config.rope_theta": 500000}},
	} {
		m := &Model{
			Documents: []func(string) (int64, bool){func(key string) (int64, bool) { n, ok := tt.numbers[key]; return n, ok }},
			Floats:    []func(string) (float64, bool){func(key string) (float64, bool) { f, ok := tt.floats[key]; return f, ok }},
			Texts:     []func(string) ([]string, bool){func(key string) ([]string, bool) { list, ok := tt.lists[key]; return list, ok }},
		}
		for _, n := range GGUFNumbers(tt.architecture) {
			if n.Key != tt.key {
				continue
			}
			got := "none"
			if v, ok := n.Of(m); ok {
				got = fmt.Sprint(v.Numbers)
			}
			if got != tt.want {
				t.Errorf("%s.%s of %v %v: %s, want %s", tt.architecture, tt.key, tt.numbers, tt.lists, got, tt.want)
			}
		}
	}
}
