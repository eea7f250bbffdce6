package convert

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// The names of a transformers checkpoint, converted, are those of the real
// GGUF file of the same model, or of one of the same depth.
func TestConvertPairs(t *testing.T) {
	byID := make(map[string]fixture.NameList)
	for _, l := range fixture.NameLists(t, "../testdata/lists") {
		byID[l.ID] = l
	}
	numbers := map[string]int64{"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "hidden_size": 32}
	tests := []struct {
		from, to string
		source   string
		gguf     string
		more     []string // names that only the GGUF file has, and why
	}{
		{"deepseek_v2-hf", "deepseek2-gguf", "deepseek-ai__DeepSeek-V2-Lite__hf-deepseek-v2.reconstructed", "deepseek-ai__DeepSeek-V2-Lite__gguf-deepseek2.reconstructed", nil},
		{"qwen3-hf", "qwen3-gguf", "Qwen__Qwen3-1.7B__hf-qwen3", "ollama__qwen3-1.7b__gguf-qwen3", []string{"output.weight"}}, // this file repeats the tied head
		{"llama-hf", "llama-gguf", "meta-llama__Meta-Llama-3-8B__hf-llama.reconstructed", "ollama__mistral-7b__gguf-llama", nil},
		{"llama-hf", "llama-gguf", "01-ai__Yi-1.5-6B-Chat-SLERP__hf-llama", "ollama__mistral-7b__gguf-llama", nil},
		{"llama-meta", "llama-gguf", "meta-llama__Meta-Llama-3-8B__meta-original.reconstructed", "ollama__mistral-7b__gguf-llama", nil},
		{"llama-megatron", "llama-gguf", "meta-llama__Meta-Llama-3-8B__megatron-core-te.reconstructed", "ollama__mistral-7b__gguf-llama", nil},
		{"qwen2-hf", "qwen2-gguf", "Qwen__Qwen2.5-7B-base__mlx-bf16", "ollama__minicpm-v-8b__gguf-qwen2", nil},
		{"llama-hf", "llama-meta", "meta-llama__Meta-Llama-3-8B__hf-llama.reconstructed", "meta-llama__Meta-Llama-3-8B__meta-original.reconstructed", nil},
		{"llama-hf", "llama-megatron", "meta-llama__Meta-Llama-3-8B__hf-llama.reconstructed", "meta-llama__Meta-Llama-3-8B__megatron-core-te.reconstructed", nil},
		{"gpt_oss-openai", "gpt_oss-hf", "openai__gpt-oss-20b__gpt-oss-original.reconstructed", "openai__gpt-oss-20b__hf-gpt-oss-mxfp4.reconstructed", nil},
	}
	for _, tt := range tests {
		t.Run(tt.source+" to "+tt.to, func(t *testing.T) {
			var names []convention.Named
			for _, n := range byID[tt.source].Tensors {
				names = append(names, convention.Named{Name: n.Name}) // shapes would ask for the right numbers of heads
			}
			// This file of DeepSeek V2 Lite is from before its up-projections were cut in two.
			has := func(name string) bool {
				return slices.ContainsFunc(byID[tt.gguf].Tensors, func(l fixture.NamedTensor) bool { return l.Name == name })
			}
			cv, err := BetweenWith(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(names), modelOf(numbers), Options{Has: has})
			if err != nil {
				t.Fatal(err)
			}
			if len(cv.Unmapped)+len(cv.Missing) > 0 {
				t.Errorf("unmapped %v, missing %v", cv.Unmapped, cv.Missing)
			}
			got := make(map[string]bool)
			for _, m := range cv.Moves {
				for _, n := range m.To {
					got[n] = true
				}
			}
			want := make(map[string]bool)
			for _, n := range byID[tt.gguf].Tensors {
				if !slices.Contains(tt.more, n.Name) {
					want[n.Name] = true
				}
			}
			if len(want) == 0 {
				t.Fatal("no such list")
			}
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

// A trained model goes from transformers' names to Meta's, to GGUF's, and back,
// bit by bit.
func TestConvertTinyLLaMA(t *testing.T) {
	b, err := os.ReadFile(testdata.Path(t, "tinyllama/A0/model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	n := binary.LittleEndian.Uint64(b)
	var header map[string]struct {
		Shape   []int64  `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := json.Unmarshal(b[8:8+n], &header); err != nil {
		t.Fatal(err)
	}
	delete(header, "__metadata__")
	source := make(map[string]tensorValue)
	for name, h := range header {
		data := b[8+n:][h.Offsets[0]:h.Offsets[1]]
		v := tensorValue{shape: h.Shape, data: make([]float64, len(data)/2)}
		for i := range v.data {
			v.data[i] = float64(binary.LittleEndian.Uint16(data[2*i:])) // the bits as a number
		}
		source[name] = v
	}
	model := modelOf(map[string]int64{"num_attention_heads": 8, "num_key_value_heads": 2, "hidden_size": 128})
	meta := convertValues(t, "llama-hf", "llama-meta", source, model)
	gguf := convertValues(t, "llama-meta", "llama-gguf", meta, model)
	back := convertValues(t, "llama-gguf", "llama-hf", gguf, model)
	if d := gocmp.Diff(slices.Sorted(maps.Keys(source)), slices.Sorted(maps.Keys(back))); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	for name := range source {
		if !slices.Equal(source[name].data, back[name].data) {
			t.Errorf("%s: the bits differ", name)
		}
	}
	if slices.Equal(source["model.layers.0.self_attn.q_proj.weight"].data, meta["layers.0.attention.wq.weight"].data) {
		t.Error("q is not permuted")
	}
}
