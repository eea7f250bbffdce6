package convention

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// What go generate makes of the files is the files, and so is what it makes of
// llama.cpp's own tables, where those are at hand.
func TestGenerate(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the generator")
	}
	program, err := filepath.Abs("gen_gguf.go")
	if err != nil {
		t.Fatal(err)
	}
	files := []string{"gguf_arch.txt", "testdata/gguf_accepted.txt"}
	generate := func(t *testing.T, args ...string) {
		dir := t.TempDir()
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, f), b, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		cmd := exec.CommandContext(t.Context(), "go", append([]string{"run", program}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, f := range files {
			want, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(filepath.Join(dir, f))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is not what go generate makes", f)
			}
		}
	}
	t.Run("own", func(t *testing.T) { generate(t) })
	t.Run("llama.cpp", func(t *testing.T) { generate(t, testdata.Path(t, "gguf_arch_tensors.json")) })
}
