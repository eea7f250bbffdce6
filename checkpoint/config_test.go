package checkpoint_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

func TestConfig(t *testing.T) {
	cfg, err := checkpoint.ParseConfig("config.json", []byte(`{
  "hidden_size": 64, "rms_norm_eps": 1e-06, "tie_word_embeddings": true, "torch_dtype": null,
  "architectures": ["A", 1, "B"], "limit": Infinity,
  "text_config": {"hidden_size": 32, "num_hidden_layers": 2, "torch_dtype": "bfloat16"},
  "quantization_config": {"bits": 4}
}`))
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := cfg.Int("hidden_size"); n != 64 || !ok {
		t.Errorf("hidden_size: %d, %v", n, ok)
	}
	if n, ok := cfg.Int("num_hidden_layers"); n != 2 || !ok {
		t.Errorf("num_hidden_layers is in text_config: %d, %v", n, ok)
	}
	if s, ok := cfg.Text("torch_dtype"); s != "bfloat16" || !ok {
		t.Errorf("null hides torch_dtype of text_config: %q, %v", s, ok)
	}
	if n, ok := cfg.Int("quantization_config", "bits"); n != 4 || !ok {
		t.Errorf("bits: %d, %v", n, ok)
	}
	if f, ok := cfg.Float("rms_norm_eps"); f != 1e-6 || !ok {
		t.Errorf("rms_norm_eps: %v, %v", f, ok)
	}
	if f, ok := cfg.Float("limit"); !math.IsInf(f, 1) || !ok {
		t.Errorf("limit: %v, %v", f, ok)
	}
	if b, ok := cfg.Bool("tie_word_embeddings"); !b || !ok {
		t.Errorf("tie_word_embeddings: %v, %v", b, ok)
	}
	if list := cfg.Texts("architectures"); !slices.Equal(list, []string{"A", "B"}) {
		t.Errorf("architectures: %q", list)
	}
	v, ok := cfg.Find("num_hidden_layers")
	if line, col := v.Position(); !ok || v.Pointer() != "/text_config/num_hidden_layers" || line != 4 || col != 59 {
		t.Errorf("found at %q, %d:%d", v.Pointer(), line, col)
	}
	var names []string
	q, _ := cfg.Find("text_config")
	for name := range q.Members() {
		names = append(names, name)
	}
	if want := []string{"hidden_size", "num_hidden_layers", "torch_dtype"}; !slices.Equal(names, want) {
		t.Errorf("members %q", names)
	}
	if _, ok := cfg.Int("hidden_size", "x"); ok || cfg.Has("none") {
		t.Error("found what is not there")
	}
}

func TestConfigAbsent(t *testing.T) {
	var cfg *checkpoint.Config
	if _, ok := cfg.Int("x"); ok || cfg.Has("x") || cfg.Texts("x") != nil || cfg.Path() != "" || cfg.Bytes() != nil {
		t.Error("a nil Config has something")
	}
	var v checkpoint.ConfigValue
	if line, col := v.Position(); v.Kind() != "nothing" || v.Raw() != nil || v.Pointer() != "" || line != 0 || col != 0 {
		t.Error("the zero ConfigValue has something")
	}
	for range v.Members() {
		t.Error("the zero ConfigValue has members")
	}
	for _, text := range []string{"[]", "{", ""} {
		if _, err := checkpoint.ParseConfig("config.json", []byte(text)); err == nil || !strings.HasPrefix(err.Error(), "config.json:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDocument(t *testing.T) {
	path := fixture.File(t, "adapter_model.safetensors", "tensor a F32 [1]")
	dir := filepath.Dir(path)
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(`{"r":8}`), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cfg, err := r.Document(t.Context(), "adapter_config.json")
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := cfg.Int("r"); n != 8 || !ok || cfg.Path() != filepath.Join(dir, "adapter_config.json") {
		t.Errorf("r = %d, %v in %s", n, ok, cfg.Path())
	}
	if _, err := r.Document(t.Context(), "generation_config.json"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := r.Document(t.Context(), "../x.json"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("outside: %v", err)
	}
}
