//go:build unix

package txn

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pipe is written to when a program reads it, which may begin a moment later. Without
// one there is an end to the waiting.
func TestWriteToPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	must(t, syscall.Mkfifo(pipe, 0o666))
	hello := func(w io.Writer) error {
		_, err := io.WriteString(w, strings.Repeat("hello", 100_000)) // more than a pipe holds
		return err
	}
	if err := WriteFile(pipe, hello); err == nil || !strings.HasPrefix(err.Error(), pipe+" is a pipe that no program reads; ") {
		t.Errorf("error %v", err)
	}
	read := make(chan string)
	go func() {
		time.Sleep(50 * time.Millisecond)
		data, err := os.ReadFile(pipe)
		if err != nil {
			t.Error(err)
		}
		read <- string(data)
	}()
	must(t, WriteFile(pipe, hello))
	if got := len(<-read); got != 500_000 {
		t.Errorf("%d bytes read", got)
	}
}

// What cannot be written has the path that the user named, and not that of a temporary.
func TestCreateErrors(t *testing.T) {
	dir := t.TempDir()
	for path, want := range map[string]string{
		filepath.Join("no", "x"):             "there is no directory no; make it first",
		filepath.Join("file", "x"):           "file is not a directory; name another place",
		strings.Repeat("x", 300) + ".a":      "file name too long; give it a shorter one",
		"clean" + string(filepath.Separator): "", // a directory that is made
	} {
		t.Chdir(dir)
		must(t, os.WriteFile("file", nil, 0o666))
		err := Check(path)
		if want == "" && err != nil || want != "" && (err == nil || err.Error() != filepath.Clean(path)+": "+want) {
			t.Errorf("%.20s: %v, want %s", path, err, want)
		}
		if want == "" {
			continue
		}
		for what, make := range map[string]func() error{
			"file":  func() error { return WriteFile(path, func(io.Writer) error { return nil }) },
			"draft": func() error { _, err := NewDraft(OS{}, path); return err },
		} {
			if err := make(); err == nil || err.Error() != path+": "+want {
				t.Errorf("%s: %v, want %s", what, err, want)
			}
		}
	}

	full := func(path string) error { return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC} }
	n, err := Create("new.txt")
	must(t, err)
	defer n.Close()
	const room = "no space left on device; make room, or name a place on another disk"
	if err := n.named(full(n.temp)); err.Error() != "new.txt: "+room || !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	d, err := NewDraft(OS{}, "out")
	must(t, err)
	defer d.Close()
	if err := d.Named(full(filepath.Join(d.Path(), "w.npy"))); err.Error() != filepath.Join("out", "w.npy")+": "+room {
		t.Error(err)
	}
	if err := d.Named(full("source")); err.Error() != "write source: no space left on device" {
		t.Error(err)
	}
	if err := (&CreateError{filepath.Join("d", "x"), syscall.EACCES}).Error(); err != filepath.Join("d", "x")+": nothing can be written in d: permission denied; name another place" {
		t.Error(err)
	}
}
