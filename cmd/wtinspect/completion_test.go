package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Each shell that is installed can parse its completions.
func TestCompletionsParse(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			var script, errs bytes.Buffer
			if code := run(t.Context(), []string{"completion", shell}, strings.NewReader(""), &script, &errs); code != exitOK {
				t.Fatalf("exit %d: %s", code, &errs)
			}
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(shell + " is not installed")
			}
			name := filepath.Join(t.TempDir(), "completion")
			if err := os.WriteFile(name, script.Bytes(), 0o666); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.CommandContext(t.Context(), path, "-n", name).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
