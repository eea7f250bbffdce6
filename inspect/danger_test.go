package inspect_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestDistributedDanger says what is dangerous in the metadata of a distributed checkpoint, as of one
// file.
func TestDistributedDanger(t *testing.T) {
	dir := t.TempDir()
	d := torchtest.Distributed{Tensors: []torchtest.Sharded{torchtest.NewSharded("w", "float32", []int{4, 2}, 0, 2)}}
	for name, data := range d.Files() {
		if name == ".metadata" {
			data = slices.Concat(data[:2], []byte("cos\nsystem\n0"), data[2:]) // imported, and dropped from the stack
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	c, err := checkpoint.Open(t.Context(), filepath.Join(dir, ".metadata"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got, want := inspect.DangerText(c.Checkpoints[0]), "imports os.system"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
