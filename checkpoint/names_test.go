package checkpoint

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// An index and shards that repeat the same name in the same way agree with each
// other, entry by entry, and are wrong all the same.
func TestRepeatedInIndexAndShards(t *testing.T) {
	dir := t.TempDir()
	err := fixture.Sharded(dir, `
index none
file model-00001-of-00002.safetensors
tensor w F32 [1]
file model-00002-of-00002.safetensors
tensor w F32 [1]
`)
	if err != nil {
		t.Fatal(err)
	}
	index := `{"metadata":{"total_size":8},"weight_map":{"w":"model-00001-of-00002.safetensors","w":"model-00002-of-00002.safetensors"}}`
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(index), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(context.Background(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	codes := make(map[string]int)
	for _, f := range r.Checkpoints[0].Validate(t.Context()) {
		codes[f.Code]++
	}
	if codes["duplicate_name"] != 1 || codes[CodeDuplicateTensor] != 1 {
		t.Errorf("faults %v, want the repeated entry and the repeated tensor", codes)
	}
}
