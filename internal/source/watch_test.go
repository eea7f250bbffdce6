package source_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	path, link, other := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for _, p := range []string{path, other} {
		if err := os.WriteFile(p, []byte("x"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Link(path, link); err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context, path string) {
		if _, err := source.ReadFile(ctx, path, source.Document); err != nil {
			t.Fatal(err)
		}
	}
	ctx, opened := source.Watch(t.Context(), path)
	read(t.Context(), path)
	read(ctx, other)
	read(source.Glance(ctx), path)
	if opened() {
		t.Error("another file, another context or a glance counts")
	}
	read(ctx, link)
	if !opened() {
		t.Error("the file was opened by another name, and that is not known")
	}
	ctx, opened = source.Watch(t.Context(), filepath.Join(dir, "none"))
	read(ctx, path)
	if opened() {
		t.Error("a file that is not there was opened")
	}
}
