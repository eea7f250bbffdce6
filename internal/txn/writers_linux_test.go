package txn_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// A file that was written and closed has no writer, whatever programs are started meanwhile.
func TestWritersWhileProgramsStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var starting sync.WaitGroup
	for range 4 {
		starting.Go(func() {
			for ctx.Err() == nil {
				_ = exec.CommandContext(ctx, "true").Run() // only that it was started counts
			}
		})
	}
	defer starting.Wait()
	defer cancel()
	dir := t.TempDir()
	root, err := txn.OS{}.OpenDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for i := range rounds {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte("weights"), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := txn.Open(root, "f", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if f.Writers() {
			t.Errorf("round %d: a closed file has a writer", i)
		}
		f.Close()
	}
}
