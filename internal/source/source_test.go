package source_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
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
		{"hub", t.Context(), "hf://org/name", "reading hf:// references"},
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

func TestScheme(t *testing.T) {
	for ref, want := range map[string]string{
		"hf://a/b": "hf", "HTTPS://a": "HTTPS", "a": "", `C:\m`: "", "/a/b://c": "", "a b://c": "",
	} {
		if got := source.Scheme(ref); got != want {
			t.Errorf("Scheme(%q) = %q, want %q", ref, got, want)
		}
	}
}
