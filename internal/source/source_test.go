package source_test

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a b")
	if err := os.WriteFile(name, []byte("hello"), 0o666); err != nil {
		t.Fatal(err)
	}
	s, err := source.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if s.Size() != 5 || s.Name() != name {
		t.Errorf("got size %d, name %q", s.Size(), s.Name())
	}
	var b [2]byte
	if n, err := s.ReadAt(b[:], 3); n != 2 || err != nil || string(b[:]) != "lo" {
		t.Errorf("ReadAt = %d, %v, %q", n, err, b)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		name string
		ctx  context.Context
		ref  string
		want string
	}{
		{"directory", t.Context(), dir, "a directory, where a regular file"},
		{"device", t.Context(), os.DevNull, "where a regular file"},
		{"https", t.Context(), "https://host/m.safetensors", "download the files"},
		{"hub", t.Context(), "hf://org/name", "hf:// references are not read"},
		{"cancelled", done, dir, "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := source.Open(tt.ctx, tt.ref)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v does not say %q", err, tt.want)
			}
		})
	}
	if _, err := source.Open(t.Context(), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a.json")
	if err := os.WriteFile(name, []byte("{}"), 0o666); err != nil {
		t.Fatal(err)
	}
	for what, read := range map[string]func(context.Context, string, source.Kind) ([]byte, error){"file": source.ReadFile, "named": source.ReadNamed} {
		if data, err := read(t.Context(), name, source.Document); err != nil || string(data) != "{}" {
			t.Errorf("%s: %q, %v", what, data, err)
		}
		if _, err := read(t.Context(), dir, source.Document); err == nil || !strings.Contains(err.Error(), "a directory") {
			t.Errorf("%s of a directory: %v", what, err)
		}
	}
	// Far more than there is memory for, and no disk space.
	if err := os.Truncate(name, 20<<30); err != nil {
		t.Skipf("this file system has no sparse file of 20 GB: %v", err)
	}
	allocated := testing.AllocsPerRun(1, func() {
		_, err := source.ReadFile(t.Context(), name, source.Document)
		want := name + ": the size is 20.0 GiB, more than the 16.0 MiB that a JSON document may have; check that it is the right file"
		if err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations", allocated)
	}
}

func TestReadStream(t *testing.T) {
	if data, err := source.ReadStream(t.Context(), "stdin", strings.NewReader("x"), source.Value); err != nil || string(data) != "x" {
		t.Errorf("%q, %v", data, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	r, w := io.Pipe()
	defer w.Close()
	if _, err := source.ReadStream(ctx, "stdin", r, source.Value); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestScheme(t *testing.T) {
	for ref, want := range map[string]string{
		"hf://a/b": "hf", "HTTPS://a": "https", "a": "", `C:\m`: "", "/a/b://c": "", "a b://c": "",
	} {
		if got := source.Scheme(ref); got != want {
			t.Errorf("Scheme(%q) = %q, want %q", ref, got, want)
		}
	}
}

// shouting writes what it is asked for in capitals.
type shouting struct{ source.Place }

func (shouting) Normalize(ref string) (string, error) {
	if ref == "shout://" {
		return "", errors.New("what?")
	}
	return strings.ToUpper(ref), nil
}

func TestNormalize(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("shout:file", nil, 0o644); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	ctx := source.With(t.Context(), "shout", shouting{})
	for ref, want := range map[string]string{
		"shout://a/b": "SHOUT://A/B", "Shout://a": "SHOUT://A", "shout:a:b": "SHOUT:A:B", "shout:file": "shout:file",
		"other://a": "other://a", "a/b": "a/b", `c:\m`: `c:\m`, "": "",
	} {
		if runtime.GOOS == "windows" && ref == "shout:file" {
			continue // a colon makes a stream of another file
		}
		if got, err := source.Normalize(ctx, ref); err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", ref, got, err, want)
		}
	}
	if _, err := source.Normalize(ctx, "shout://"); err == nil {
		t.Error("no error")
	}
}
