//go:build unix

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A release of more files than a process may have open is read by every command. The limit
// is set for a process of its own, the hard one too, which Go would raise the other to.
func TestFewDescriptors(t *testing.T) {
	const shards, limit = 240, 180
	bin, dir := buildBinary(t), t.TempDir()
	var text strings.Builder
	for i := range shards {
		fmt.Fprintf(&text, "file model-%05d-of-%05d.safetensors\ntensor layers.%d.weight F32 [2] values=%d\n", i+1, shards, i, i)
	}
	for _, name := range []string{"a", "b"} {
		if err := fixture.Sharded(filepath.Join(dir, name), text.String()); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"ls", "a"},
		{"check", "a"},
		{"hash", "--content-id", "a"},
		{"diff", "a", "b"},
		{"report", "--values", "a", "b"},
		{"convert", "a", "--single-file", "-o", "c"},
		{"convert", "a", "--dtype", "bf16", "--single-file", "-o", "d"},
		{"rename", "a", "--add-prefix", "model.", "-o", "e"},
		{"rename", "b", "--add-prefix", "model.", "--in-place"},
	} {
		cmd := exec.CommandContext(t.Context(), "sh", append([]string{"-c", fmt.Sprintf(`ulimit -n %d && exec "$0" "$@"`, limit), bin}, args...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			text := strings.ReplaceAll(string(out), "\n", "\n\t")
			t.Errorf("%q: %v\n\t%s", args, err, text[:min(len(text), 500)])
		}
	}
}
