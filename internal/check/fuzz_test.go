package check

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// FuzzRun judges a release of arbitrary bytes under one of
// the profiles. What there is to find does not matter, only that it ends, that what
// is found has a place, and that twice the same is found.
func FuzzRun(f *testing.F) {
	st := fixture.Bytes(f, "meta format pt\ntensor model.embed_tokens.weight BF16 [32,8]\ntensor model.layers.{0..7}.self_attn.q_proj.weight BF16 [8,8]\ntensor lm_head.weight BF16 [32,8]")
	gg := fixture.Bytes(f, "format gguf\nkv general.architecture str llama\nkv llama.block_count u32 2\nkv tokenizer.ggml.tokens [str] a b\nkv tokenizer.ggml.scores [f32] 1\ntensor token_embd.weight F16 [32,8]\ntensor blk.0.attn_q.weight Q8_0 [8,32]")
	const config = `{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "num_hidden_layers": 99, "hidden_size": 4, "num_attention_heads": 2, "vocab_size": 31, "tie_word_embeddings": true, "quantization_config": {"quant_method": "gptq", "weight_block_size": [0, 128]}}`
	f.Add(st, []byte(config), []byte(`{"weight_map": {"a": "model.safetensors"}}`))
	f.Add(gg, []byte(`{"num_hidden_layers": 9223372036854775807, "num_nextn_predict_layers": 9223372036854775807}`), []byte(`{}`))
	f.Add([]byte("version https://git-lfs"), []byte("{"), []byte("["))
	f.Fuzz(func(t *testing.T, weights, config, index []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{
			"model.safetensors": weights, "model-00001-of-00002.safetensors": weights, "model.gguf": weights,
			"config.json": config, "tokenizer.json": config, "adapter_config.json": config, "README.md": config,
			"model.safetensors.index.json": index,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		rel, err := checkpoint.Open(t.Context(), dir, nil)
		if err != nil {
			return
		}
		defer rel.Close()
		profile := append(Profiles(), None)[len(index)%5]
		report, err := Run(context.Background(), rel, &Options{Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Run(context.Background(), rel, &Options{Profile: profile})
		if err != nil {
			t.Fatal(err)
		}
		if len(again.Findings) != len(report.Findings) {
			t.Fatalf("%d findings, and then %d", len(report.Findings), len(again.Findings))
		}
		for i := range report.Findings {
			a, b := &report.Findings[i], &again.Findings[i]
			if line(a, dir) != line(b, dir) {
				t.Fatalf("%s\nand then\n%s", line(a, dir), line(b, dir))
			}
			if a.Message == "" || a.Count < 1 || a.Place() == "" {
				t.Fatalf("%+v", a)
			}
		}
	})
}
