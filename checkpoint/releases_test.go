package checkpoint_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// plant makes the working directory one with these files: weights where the name says
// so, and an empty document elsewhere.
func plant(t *testing.T, files ...string) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range files {
		path := filepath.FromSlash(name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if filepath.Ext(path) == ".safetensors" {
			err = fixture.Write(path, "tensor w F32 [2]")
		} else {
			err = os.WriteFile(path, []byte("{}"), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

var forest = []string{
	"README.md",
	"docs/guide.md",
	"llm/config.json",
	"llm/model.safetensors",
	"llm/original/params.json",
	"llm/checkpoint-500/model.safetensors",
	"pipe/model_index.json",
	"pipe/unet/diffusion_pytorch_model.safetensors",
	"pipe/tokenizer/vocab.json",
	"pipe/unet/lora/pytorch_lora_weights.safetensors",
	"deep/er/still/model.safetensors.index.json",
	".hidden/model.safetensors",
}

func TestReleases(t *testing.T) {
	plant(t, forest...)
	want := []string{"deep/er/still", "llm", "llm/checkpoint-500", "pipe", "pipe/unet/lora"}
	got, err := checkpoint.Releases(t.Context(), ".")
	for i := range got {
		got[i] = filepath.ToSlash(got[i])
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v\nwant %v", got, err, want)
	}
	if _, err := checkpoint.Releases(t.Context(), "none"); err == nil {
		t.Error("no error for a directory that does not exist")
	}
}

// A file belongs to the nearest release at or above it, even when it is gone.
func TestReleaseOf(t *testing.T) {
	plant(t, forest...)
	for file, want := range map[string]string{
		"README.md":                            "",
		"docs/guide.md":                        "",
		"llm/config.json":                      "llm",
		"llm/was-deleted.safetensors":          "llm",
		"llm/original/params.json":             "llm",
		"llm/gone/with/its/directory.json":     "llm",
		"llm/config.json/not-a-directory.json": "llm",
		"llm/checkpoint-500/config.json":       "llm/checkpoint-500",
		"pipe/unet/config.json":                "pipe",
		"pipe/tokenizer/vocab.json":            "pipe",
		"pipe/vae/gone.safetensors":            "pipe",
		"pipe/unet/lora/README.md":             "pipe/unet/lora",
		"deep/er/still/x":                      "deep/er/still",
		"deep/er/x":                            "",
	} {
		got, err := checkpoint.ReleaseOf(t.Context(), filepath.FromSlash(file))
		if err != nil || filepath.ToSlash(got) != want {
			t.Errorf("%s is of %q, %v, want %q", file, got, err, want)
		}
	}
	for _, file := range []string{"../x.json", "/etc/passwd"} {
		if got, err := checkpoint.ReleaseOf(t.Context(), file); err == nil {
			t.Errorf("%s is of %q", file, got)
		}
	}
	if err := fixture.Write("model.safetensors", "tensor w F32 [2]"); err != nil {
		t.Fatal(err)
	}
	if got, err := checkpoint.ReleaseOf(t.Context(), "docs/guide.md"); err != nil || got != "." {
		t.Errorf("docs/guide.md is of %q, %v, and weights are at the root", got, err)
	}
}
