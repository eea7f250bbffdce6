//go:build unix && !parquet

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// The program finds the one that writes Parquet beside itself and in PATH, but not where
// somebody else may have put one, and ends as that one does.
func TestParquetProgram(t *testing.T) {
	if testing.Short() {
		t.Skip("runs the installed program, not with -short")
	}
	linked := parquetBinary(t)
	copyTo := func(dir, name, from string) string {
		t.Helper()
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, name)
		if err := os.WriteFile(to, text, 0o755); err != nil {
			t.Fatal(err)
		}
		return to
	}
	models := t.TempDir()
	if err := fixture.Write(filepath.Join(models, "model.safetensors"), "tensor w F32 [2]"); err != nil {
		t.Fatal(err)
	}
	lone := copyTo(t.TempDir(), "wtinspect", buildBinary(t))
	both := t.TempDir()
	paired := copyTo(both, "wtinspect", buildBinary(t))
	copyTo(both, parquetProgram, linked)
	elsewhere := t.TempDir() // where the program is linked from
	if err := os.Symlink(paired, filepath.Join(elsewhere, "wtinspect")); err != nil {
		t.Fatal(err)
	}
	twice := t.TempDir()
	looping := copyTo(twice, "wtinspect", buildBinary(t))
	copyTo(twice, parquetProgram, buildBinary(t))

	work := t.TempDir() // somebody else's, with such a program in it
	copyTo(work, parquetProgram, linked)
	if err := os.Mkdir(filepath.Join(work, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyTo(filepath.Join(work, "bin"), parquetProgram, linked)

	const missing = "which is neither beside"
	tests := []struct {
		name, program, path string
		input               string
		code                int
		err                 string
	}{
		{"beside", paired, "", models, 0, ""},
		{"beside what a link means", filepath.Join(elsewhere, "wtinspect"), "", models, 0, ""},
		{"its exit code", paired, "", "nowhere", 2, "1 failed"},
		{"in PATH", lone, both, models, 0, ""},
		{"nowhere", lone, "/nowhere", models, 2, missing},
		{"in the working directory", lone, work, models, 2, missing},
		{"in the working directory, by an empty entry", lone, ":", models, 2, missing},
		{"in a directory that is not named from the root", lone, "bin", models, 2, missing},
		{"without the tag", looping, "", models, 2, "was built without the tag parquet"},
	}
	for _, tt := range tests {
		out := filepath.Join(t.TempDir(), "table")
		var stderr strings.Builder
		cmd := exec.Command(tt.program, "scan", "-f", "parquet", "-o", out, tt.input)
		cmd.Dir, cmd.Env, cmd.Stderr = work, []string{"PATH=" + tt.path}, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != tt.code || !strings.Contains(stderr.String(), tt.err) {
			t.Errorf("%s: exit code %d: %s", tt.name, got, &stderr)
		}
		parts, _ := filepath.Glob(filepath.Join(out, "releases", "*.parquet"))
		if wrote := len(parts) == 1; wrote != (tt.err == "" || tt.err == "1 failed") {
			t.Errorf("%s: parts %q", tt.name, parts)
		}
	}

	// It has the place of the other, so that whoever ends that one ends it.
	fifo := filepath.Join(t.TempDir(), "list")
	if err := syscall.Mkfifo(fifo, 0o666); err != nil {
		t.Fatal(err)
	}
	list, err := os.OpenFile(fifo, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	out := filepath.Join(t.TempDir(), "table")
	var stderr strings.Builder
	cmd := exec.Command(paired, "scan", "-q", "-f", "parquet", "-o", out, "-")
	cmd.Stdin, cmd.Stderr = list, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(out, "releases")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != exitInterrupted || !strings.Contains(stderr.String(), "interrupted") {
		t.Errorf("interrupted: exit code %d: %s", code, &stderr)
	}
}
