package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A reader that goes away keeps no rename from being done; a full disk does,
// before anything is written.
func TestRenameBrokenPipe(t *testing.T) {
	tests := []struct {
		format  string
		err     error
		code    int
		renamed bool
	}{
		{"table", syscall.EPIPE, exitOK, true},
		{"json", syscall.EPIPE, exitOK, true},
		{"tsv", syscall.EPIPE, exitOK, true},
		{"table", errors.New("disk full"), exitFailed, false},
		{"json", errors.New("disk full"), exitFailed, true}, // it is written when all is done
	}
	for _, tt := range tests {
		path := fixture.File(t, "model.safetensors", "tensor module.w F32 [2]")
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var errs bytes.Buffer
		args := []string{"rename", "--map", "strip-module", "--in-place", "-f", tt.format, path}
		if code := run(t.Context(), args, strings.NewReader(""), failingWriter{tt.err}, &errs); code != tt.code {
			t.Errorf("%s, %v: exit %d: %s", tt.format, tt.err, code, &errs)
		}
		after, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if renamed := !bytes.Equal(before, after); renamed != tt.renamed {
			t.Errorf("%s, %v: renamed %t", tt.format, tt.err, renamed)
		}
		// A refused plan fails whoever reads.
		args = []string{"rename", "--map", "strip-module", "--strict", "-f", tt.format, path}
		if code := run(t.Context(), args, strings.NewReader(""), failingWriter{syscall.EPIPE}, &errs); code != exitFailed {
			t.Errorf("%s, refused: exit %d", tt.format, code)
		}
	}
}

// When nothing is renamed there is no inverse, and one that was there is again.
func TestRenameInverseGoesBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells who writes to a file")
	}
	path := fixture.File(t, "model.safetensors", "tensor module.w F32 [2]")
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	inverse := filepath.Join(t.TempDir(), "back.yaml")
	for _, old := range []string{"", "rename: {a: b}\n"} {
		if old != "" {
			if err := os.WriteFile(inverse, []byte(old), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		var out, errs bytes.Buffer
		args := []string{"rename", "--map", "strip-module", "--in-place", "--force", "--write-inverse", inverse, path}
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitFailed || !strings.Contains(errs.String(), "open for writing") {
			t.Fatalf("exit %d: %s", code, &errs)
		}
		if got, _ := os.ReadFile(inverse); string(got) != old {
			t.Errorf("the inverse is %q, and was %q", got, old)
		}
	}
}

// The release of the story, with the names and shapes that it really had.
func TestRenameYi(t *testing.T) {
	list, err := os.ReadFile(testdata.Path(t, "names/01-ai__Yi-34B__yi-original.reconstructed.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	text := new(strings.Builder)
	fmt.Fprintln(text, "data sparse")
	for line := range strings.Lines(string(list)) {
		f := strings.Split(strings.TrimSpace(line), "\t")
		if len(f) == 3 && f[0] != "name" && !strings.HasPrefix(f[0], "#") {
			fmt.Fprintf(text, "tensor %s BF16 [%s]\n", f[0], strings.ReplaceAll(f[2], "x", ","))
		}
	}
	path := fixture.File(t, "model.safetensors", text.String())
	var out, errs bytes.Buffer
	args := []string{"rename", "--map", filepath.Join("..", "..", "testdata", "llama.yaml"), "--strict", "-f", "json", path}
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	if want := `"summary":{"tensors":543,"moved":120,"kept":423,`; !strings.Contains(out.String(), want) {
		t.Errorf("no %s in %.500s", want, &out)
	}
}

// A rename that is killed is said by the commands that read, and ended by
// --recover or by the next rename: the names are all old or all new.
func TestRenameKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("kills many processes")
	}
	bin := buildBinary(t)
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("data sparse\n")
	const shards = 24
	for i := range shards {
		fmt.Fprintf(&text, "file model-%05d-of-%05d.safetensors\ntensor model.layers.%d.ln{1..2}.weight BF16 [4096,4096]\n", i+1, shards, i)
	}
	if err := fixture.Sharded(dir, text.String()); err != nil {
		t.Fatal(err)
	}
	wt := func(args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitOK {
			t.Fatalf("%q: exit %d: %s", args, code, &errs)
		}
		return out.String(), errs.String()
	}
	maps := []string{"yi-to-llama", "llama-to-yi"}
	ended := make(map[string]int)
	for i := range 40 {
		cmd := exec.Command(bin, "rename", "-q", "--map", maps[0], "--in-place", dir)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(i) * time.Millisecond)
		cmd.Process.Kill()
		cmd.Wait()
		// An empty journal has done no more than keep others out.
		journal, err := os.Stat(filepath.Join(dir, ".wtinspect-journal"))
		pending := err == nil && journal.Size() > 0
		if _, said := wt("ls", dir); strings.Contains(said, "warning") != pending {
			t.Fatalf("pending: %t; ls says %q", pending, said)
		}
		if i%2 == 0 {
			out, _ := wt("rename", "--recover", dir)
			_, outcome, _ := strings.Cut(strings.TrimSpace(out), ": ")
			ended[outcome]++
		} else {
			wt("rename", "--map", maps[0], "--in-place", dir)
		}
		names, said := wt("ls", dir)
		renamed := strings.Count(names, "layernorm")
		if said != "" || renamed != 0 && renamed != 2*shards || i%2 == 1 && (renamed == 2*shards) != (maps[0] == "yi-to-llama") {
			t.Fatalf("%d of %d tensors are renamed; ls says %q", renamed, 2*shards, said)
		}
		if (renamed == 2*shards) == (maps[0] == "yi-to-llama") {
			slices.Reverse(maps)
		}
	}
	t.Logf("recovered: %v", ended)
}

func TestJobMeter(t *testing.T) {
	var meters []*meter
	ended := 0
	m := &jobMeter{start: func(int64) *meter {
		meters = append(meters, &meter{stop: func() { ended++ }})
		return meters[len(meters)-1]
	}}
	m.end() // a job that had nothing to do
	for _, done := range []int64{0, 6, 4, 9, 0, 20} {
		m.update(done, 20)
	}
	m.end()
	if len(meters) != 2 || meters[0].done.Load() != 9 || meters[1].done.Load() != 20 || ended != 2 {
		t.Errorf("%d meters, %d ended", len(meters), ended)
	}
}
