//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// Pipes, loops of links, what may not be read and what is gone end no scan and hold none up; lists
// come as other systems write them, and what they name twice is scanned once.
func TestScanOddInputs(t *testing.T) {
	dir := t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"fifo", "loop/a", "ok", "gone", "closed", "none"} {
		must(os.MkdirAll(filepath.Join(dir, name), 0o777))
	}
	must(syscall.Mkfifo(filepath.Join(dir, "fifo", "model.safetensors"), 0o666))
	must(os.Symlink("..", filepath.Join(dir, "loop", "a", "up")))
	must(os.Symlink("self", filepath.Join(dir, "loop", "self")))
	must(os.Symlink("nowhere", filepath.Join(dir, "gone", "model.safetensors")))
	must(fixture.Write(filepath.Join(dir, "ok", "model.safetensors"), "meta format pt\ntensor a F32 [2]"))
	must(fixture.Write(filepath.Join(dir, "closed", "model.safetensors"), "meta format pt\ntensor a F32 [2]"))
	must(os.Chmod(filepath.Join(dir, "closed", "model.safetensors"), 0))
	for name, text := range map[string]string{
		"windows":  "\ufeffok\r\n./ok\r\n# no\r\n\r\nok/\nok/model.safetensors\nok",
		"nul":      "ok\x00\x00nowhere\x00ok\x00",
		"nothing":  "",
		"comments": "# a\n\n#b",
	} {
		must(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	closed := "closed,1"
	if os.Getuid() != 0 {
		closed = "closed,0"
	}
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"-R .", exitFailed, closed + " fifo,0 gone,0 ok,1"},
		{"fifo fifo/model.safetensors loop/self ok loop none", exitFailed, "fifo,0 fifo/model.safetensors,0 loop/self,0 ok,1 loop,0 none,0"},
		{"--files-from windows", exitOK, "ok,1 ok/model.safetensors,1"},
		{"-0 --files-from nul", exitFailed, "ok,1 nowhere,0"},
		{"--files-from nul", exitFailed, ""},
		{"--files-from nothing", exitOK, ""},
		{"--files-from comments", exitOK, ""},
	} {
		code, out, errs := runIn(t, dir, append([]string{"scan", "-q", "-f", "csv", "--table", "releases", "--columns", "repository,tensors"}, strings.Fields(tt.args)...)...)
		rows := strings.Fields(out)
		if len(rows) > 0 {
			rows = rows[1:]
		}
		if got := strings.Join(rows, " "); code != tt.code || got != tt.want {
			t.Errorf("%s: exit %d: %s, want %d: %s\n%s", tt.args, code, got, tt.code, tt.want, errs)
		}
	}
}
