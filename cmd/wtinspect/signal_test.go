//go:build unix

package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A signal ends long work with the exit code of an interruption and a message,
// and what is written to a file is gone.
func TestSignal(t *testing.T) {
	bin := buildBinary(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, "data sparse\ntensor w.{0..999}.weight BF16 [512,65536]\n"); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"hash", "--progress", "always", path},
		{"rename", "--map", "../../testdata/llama.yaml", "--progress", "always", "-o", filepath.Join(dir, "out"), path},
	} {
		cmd := exec.Command(bin, args...)
		stderr, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The bar says that the work goes on.
		var first [1]byte
		if _, err := io.ReadFull(stderr, first[:]); err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		said, err := io.ReadAll(stderr)
		if err != nil {
			t.Fatal(err)
		}
		end, ok := errors.AsType[*exec.ExitError](cmd.Wait())
		if !ok || end.ExitCode() != exitInterrupted || !strings.HasSuffix(string(said), "wtinspect: interrupted\n") {
			t.Errorf("%v: %v, %q", args, end, said)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 {
			t.Errorf("%v left %v, %v", args, left, err)
		}
	}
}
