package adapt

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/convention"
)

const oneTensor = "tensor x.weight F32 [2]\n"

// open writes files into a directory and opens the checkpoint there.
func open(t *testing.T, files map[string]string) *checkpoint.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		var err error
		if strings.HasSuffix(name, ".safetensors") || strings.HasSuffix(name, ".gguf") {
			err = fixture.Write(path, text)
		} else {
			err = os.WriteFile(path, []byte(text), 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rel, err := checkpoint.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	return rel.Checkpoints[0]
}

// What every project calls the numbers, and where.
func TestModel(t *testing.T) {
	tests := []struct {
		name      string
		files     map[string]string
		typ, text string
		arch      string
		want      map[string]int64
		absent    []string
	}{
		{
			name: "config.json",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"model_type": "llama", "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "vision_config": {"depth": 7}}`,
			},
			typ:    "llama",
			want:   map[string]int64{"num_attention_heads": 32, "num_key_value_heads": 8, "n_kv_heads": 8, "hidden_size": 4096, "vision_config.depth": 7},
			absent: []string{"num_local_experts", "kv_lora_rank", "depth"},
		},
		{
			name: "other names",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"model_type": "bloom", "n_head": 112, "n_embed": 14336, "n_layer": 70}`,
			},
			typ:  "bloom",
			want: map[string]int64{"num_attention_heads": 112, "num_key_value_heads": 112, "hidden_size": 14336, "num_hidden_layers": 70},
		},
		{
			name: "one key and value head for all, whatever number is beside it",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"model_type": "falcon", "num_attention_heads": 71, "num_kv_heads": 71, "multi_query": true, "new_decoder_architecture": false}`,
			},
			typ:  "falcon",
			want: map[string]int64{"num_key_value_heads": 1, "n_head_kv": 1, "multi_query": 1, "new_decoder_architecture": 0},
		},
		{
			name: "Falcon 40B",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"model_type": "falcon", "num_attention_heads": 128, "num_kv_heads": 8, "multi_query": true, "new_decoder_architecture": true}`,
			},
			typ:  "falcon",
			want: map[string]int64{"num_key_value_heads": 8},
		},
		{
			name: "a multimodal model",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json": `{"model_type": "gemma3", "num_attention_heads": 1, "hidden_size": 2,
					"text_config": {"model_type": "gemma3_text", "num_attention_heads": 8, "num_key_value_heads": 4}}`,
			},
			typ: "gemma3", text: "gemma3_text",
			want: map[string]int64{"num_attention_heads": 8, "num_key_value_heads": 4, "hidden_size": 2},
		},
		{
			name: "remote code",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"model_type": "internvl_chat", "llm_config": {"model_type": "internlm2", "num_attention_heads": 32}}`,
			},
			typ: "internvl_chat", text: "internlm2",
			want: map[string]int64{"num_attention_heads": 32, "num_key_value_heads": 32},
		},
		{
			name: "omni",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"model_type": "qwen2_5_omni", "thinker_config": {"text_config": {"model_type": "qwen2", "num_attention_heads": 28}}}`,
			},
			typ: "qwen2_5_omni", text: "qwen2",
			want: map[string]int64{"num_attention_heads": 28},
		},
		{
			name: "Meta",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"params.json":       `{"dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "vocab_size": 128256}`,
			},
			want: map[string]int64{"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256},
		},
		{
			name: "config.json comes first",
			files: map[string]string{
				"model.safetensors": oneTensor,
				"config.json":       `{"num_attention_heads": 4}`,
				"params.json":       `{"n_heads": 32, "dim": 4096}`,
			},
			want:   map[string]int64{"num_attention_heads": 4},
			absent: []string{"hidden_size"},
		},
		{
			name: "GGUF",
			files: map[string]string{
				"model.gguf": `format gguf
kv general.architecture str deepseek2
kv deepseek2.attention.head_count u32 16
kv deepseek2.attention.key_length i64 192
kv deepseek2.embedding_length u32 2048
kv deepseek2.block_count u64 27
kv deepseek2.expert_count u32 64
kv deepseek2.attention.kv_lora_rank u32 512
kv deepseek2.rope.dimension_count u32 64
` + oneTensor,
				"params.json": `{"n_heads": 99}`,
			},
			arch: "deepseek2",
			want: map[string]int64{
				"num_attention_heads": 16, "num_key_value_heads": 16, "n_head": 16, "head_dim": 192, "hidden_size": 2048, "num_hidden_layers": 27,
				"n_routed_experts": 64, "kv_lora_rank": 512, "deepseek2.rope.dimension_count": 64,
			},
			absent: []string{"qk_nope_head_dim"},
		},
		{
			name: "GGUF beside config.json",
			files: map[string]string{
				"model.gguf":  "format gguf\nkv general.architecture str llama\nkv llama.attention.head_count u32 16\nkv llama.block_count u32 3\n" + oneTensor,
				"config.json": `{"model_type": "llama", "n_head": 8}`,
			},
			typ: "llama", arch: "llama",
			want: map[string]int64{"num_attention_heads": 8, "num_hidden_layers": 3},
		},
		{
			name:   "nothing",
			files:  map[string]string{"model.safetensors": oneTensor},
			absent: []string{"num_attention_heads", "num_key_value_heads"},
		},
		{
			name:   "not numbers",
			files:  map[string]string{"model.safetensors": oneTensor, "config.json": `{"model_type": 7, "num_attention_heads": "32", "hidden_size": null, "n_embd": 1.5}`},
			absent: []string{"num_attention_heads", "hidden_size"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Model(t.Context(), open(t, tt.files))
			if err != nil {
				t.Fatal(err)
			}
			if m.Type != tt.typ || m.TextType != tt.text || m.Architecture != tt.arch {
				t.Errorf("type %q, %q, architecture %q, want %q, %q, %q", m.Type, m.TextType, m.Architecture, tt.typ, tt.text, tt.arch)
			}
			for key, want := range tt.want {
				if n, ok := m.Number(key); !ok || n != want {
					t.Errorf("%s = %d %v, want %d", key, n, ok, want)
				}
			}
			for _, key := range tt.absent {
				if n, ok := m.Number(key); ok {
					t.Errorf("%s = %d, and nothing says so", key, n)
				}
			}
		})
	}
}

// A document that the user names replaces what lies beside the weights, and what
// one side of a comparison does not know the other may.
func TestModelWith(t *testing.T) {
	c := open(t, map[string]string{"model.safetensors": oneTensor, "config.json": `{"model_type": "llama", "num_attention_heads": 4, "hidden_size": 64}`})
	dir := t.TempDir()
	if _, err := ReadConfig(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "has no config.json or params.json") {
		t.Errorf("error %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "params.json"), []byte(`{"n_heads": 8}`), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "params.json")} {
		doc, err := ReadConfig(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		m := ModelWith(c, doc)
		if n, ok := m.Number("num_attention_heads"); !ok || n != 8 {
			t.Errorf("heads %d %v, want 8", n, ok)
		}
		if n, ok := m.Number("hidden_size"); ok {
			t.Errorf("hidden size %d of the document that was replaced", n)
		}
		beside, err := Model(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		both := m.Or(beside)
		if n, _ := both.Number("num_key_value_heads"); n != 8 {
			t.Errorf("key/value heads %d, want 8", n)
		}
		if n, _ := both.Number("hidden_size"); n != 64 {
			t.Errorf("hidden size %d, want 64", n)
		}
	}
	if _, err := ReadConfig(t.Context(), filepath.Join(dir, "absent.json")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
}

// A params.json that is not JSON is an error, and the rest is known without it.
func TestModelBroken(t *testing.T) {
	c := open(t, map[string]string{"model.safetensors": oneTensor, "params.json": `{"n_heads": `})
	m, err := Model(t.Context(), c)
	if err == nil || m == nil || !strings.Contains(err.Error(), "params.json") {
		t.Fatalf("model %v, error %v", m, err)
	}
	if n, ok := m.Number("num_attention_heads"); ok {
		t.Errorf("heads %d", n)
	}
}

// The configurations of public checkpoints, read by this package and by
// encoding/json.
func TestModelOfLists(t *testing.T) {
	for _, path := range testdata.Glob(t, "names/*.config.json") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".config.json"), func(t *testing.T) {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Model(t.Context(), open(t, map[string]string{"model.safetensors": oneTensor, "config.json": string(b)}))
			if err != nil {
				t.Fatal(err)
			}
			var doc map[string]any
			if err := json.Unmarshal(b, &doc); err != nil {
				t.Fatal(err)
			}
			var inner map[string]any
			for _, key := range []string{"text_config", "llm_config", "language_config"} {
				if v, ok := doc[key].(map[string]any); ok && inner == nil {
					inner = v
				}
			}
			want, got := make(map[string]int64), make(map[string]int64)
			for _, key := range []string{
				"num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size", "num_local_experts",
				"kv_lora_rank", "v_head_dim", "qk_nope_head_dim",
			} {
				if n, ok := m.Number(key); ok {
					got[key] = n
				}
				if n, ok := plainNumber(key, inner, doc); ok {
					want[key] = n
				}
			}
			if _, ok := want["num_key_value_heads"]; !ok && want["num_attention_heads"] > 0 {
				want["num_key_value_heads"] = want["num_attention_heads"]
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func plainNumber(key string, docs ...map[string]any) (int64, bool) {
	for _, name := range convention.Spellings(key) {
		for _, doc := range docs {
			if n, ok := doc[name].(float64); ok && n == float64(int64(n)) {
				return int64(n), true
			}
		}
	}
	return 0, false
}
