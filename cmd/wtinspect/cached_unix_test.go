//go:build unix

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

const cachedModel = `meta format pt
tensor model.embed_tokens.weight BF16 [32,8]
tensor model.layers.{0..1}.input_layernorm.weight BF16 [8]
tensor model.layers.{0..1}.post_attention_layernorm.weight BF16 [8]
tensor model.layers.{0..1}.self_attn.q_proj.weight BF16 [8,8]
tensor model.layers.{0..1}.self_attn.k_proj.weight BF16 [8,8]
tensor model.layers.{0..1}.self_attn.v_proj.weight BF16 [8,8]
tensor model.layers.{0..1}.self_attn.o_proj.weight BF16 [8,8]
tensor model.layers.{0..1}.mlp.gate_proj.weight BF16 [16,8]
tensor model.layers.{0..1}.mlp.up_proj.weight BF16 [16,8]
tensor model.layers.{0..1}.mlp.down_proj.weight BF16 [8,16]
tensor model.norm.weight BF16 [8]
tensor lm_head.weight BF16 [32,8]
`

const cachedConfig = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_hidden_layers": 2, "hidden_size": 8,
"intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 32, "tie_word_embeddings": false}`

// Of 300 models in the hub's cache seven are broken, each in another way. One command
// names these and no other, with fewer open files than there are models. The layout is
// that of huggingface_hub, docs/source/en/guides/manage-cache.md.
func TestCachedModels(t *testing.T) {
	const models = 300
	dir := t.TempDir()
	hub := filepath.Join(dir, "hub")
	sound := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(sound, cachedModel); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(sound)
	if err != nil {
		t.Fatal(err)
	}
	built := func(text string) string {
		path := filepath.Join(t.TempDir(), "model.safetensors")
		if err := fixture.Write(path, text); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	broken := map[int]struct{ rule, weights, config string }{
		3:   {"WT102", string(whole[:len(whole)-100]), cachedConfig},
		40:  {"WT901", "version https://git-lfs.github.com/spec/v1\noid sha256:" + strings.Repeat("a", 64) + "\nsize 1234\n", cachedConfig},
		41:  {"WT902", "<!DOCTYPE html><html><body>429 Too Many Requests</body></html>", cachedConfig},
		123: {"WT302", string(whole), strings.Replace(cachedConfig, `_layers": 2`, `_layers": 3`, 1)},
		200: {"WT301", string(whole), cachedConfig[:60]},
		250: {"WT402", built(regexp.MustCompile(`(?m)^tensor `).ReplaceAllString(cachedModel, "tensor _orig_mod.")), cachedConfig},
		299: {"WT307", built(strings.Replace(cachedModel, "tensor lm_head.weight BF16 [32,8]\n", "", 1)), cachedConfig},
	}
	var want []string
	for i := range models {
		model := filepath.Join(hub, fmt.Sprintf("models--org--model-%03d", i))
		snapshot := filepath.Join(model, "snapshots", fmt.Sprintf("%040x", i))
		weights, config := string(whole), cachedConfig
		if b, ok := broken[i]; ok {
			weights, config = b.weights, b.config
			want = append(want, b.rule+" "+snapshot)
		}
		for _, d := range []string{snapshot, filepath.Join(model, "blobs"), filepath.Join(model, "refs")} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		for name, text := range map[string]string{"model.safetensors": weights, "config.json": config} {
			blob := fmt.Sprintf("%x", sha256.Sum256([]byte(text)))
			if err := os.WriteFile(filepath.Join(model, "blobs", blob), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(filepath.Join("..", "..", "blobs", blob), filepath.Join(snapshot, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	few := limit
	few.Cur = 100
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"check", "-R", "--config", os.DevNull, hub}, strings.NewReader(""), &out, &errs)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if code != exitFindings || errs.Len() > 0 {
		t.Errorf("exit %d: %s", code, &errs)
	}
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^(.*/snapshots/\w+)/.* error (WT\d+): `).FindAllStringSubmatch(out.String(), -1) {
		got = append(got, m[2]+" "+m[1])
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q\nwant %q", got, want)
	}
	if !strings.Contains(out.String(), "\n7 errors in 300 checkpoints (6,") || !strings.Contains(out.String(), "; 7 of 300 releases failed\n") {
		t.Errorf("the answer does not count:\n%s", &out)
	}
}
