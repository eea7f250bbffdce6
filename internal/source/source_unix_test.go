//go:build unix

package source_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

// Opening a pipe without a writer would wait for ever.
func TestOpenPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := source.Open(t.Context(), name); err == nil || !strings.Contains(err.Error(), "a pipe") {
		t.Errorf("error %v", err)
	}
}

// A file that is a pipe by the time it is opened does not hold the program up,
// and one that is another file is not taken for the one that was looked at.
func TestOpenSwapped(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "config.json")
	pipe, file := filepath.Join(dir, "pipe"), filepath.Join(dir, "file")
	if err := syscall.Mkfifo(pipe, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file, file + "2"} {
		if err := os.WriteFile(f, []byte("{}"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("file", name); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	swapped := make(chan struct{})
	go func() {
		defer close(swapped)
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			tmp := filepath.Join(dir, "tmp")
			if err := os.Symlink([]string{"pipe", "file", "file2"}[i%3], tmp); err != nil {
				t.Error(err)
				return
			}
			if err := os.Rename(tmp, name); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range 3000 {
		data, err := source.ReadFile(t.Context(), name, source.Document)
		if err == nil && string(data) != "{}" {
			t.Fatalf("read %q", data)
		}
		if err != nil && !strings.Contains(err.Error(), "a pipe") && !strings.Contains(err.Error(), "replaced while") {
			t.Fatal(err)
		}
	}
	close(done)
	<-swapped
}

func TestReadNamedPipe(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o666); err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		// To open it waits for the reader.
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		_, err = f.Write(text)
		if err != nil && !errors.Is(err, syscall.EPIPE) {
			t.Error(err)
		}
	}
	go write([]byte("version: 1"))
	if data, err := source.ReadNamed(t.Context(), name, source.Map); err != nil || string(data) != "version: 1" {
		t.Errorf("%q, %v", data, err)
	}
	go write(make([]byte, source.Settings.Limit()+1))
	_, err := source.ReadNamed(t.Context(), name, source.Settings)
	if le, ok := errors.AsType[*source.LimitError](err); !ok || !strings.Contains(err.Error(), "at least 1.00 MiB, more than the 1.00 MiB that a settings file may have") {
		t.Errorf("%v, %v", le, err)
	}
	// Nobody writes.
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := source.ReadNamed(ctx, name, source.Map); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unblock, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	unblock.Close()
}
