// Package sourcetest has places that are not this machine's file system.
package sourcetest

import (
	"context"
	"io/fs"
	"path"
	"strings"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A Tree is a place, of references "tree://PATH", that knows nothing of this machine's
// paths, as a server does.
type Tree struct{ fs.FS }

func name(ref string) string { return path.Clean(strings.TrimPrefix(ref, "tree://")) }

// Stat implements source.Place.
func (p Tree) Stat(_ context.Context, ref string) (fs.FileInfo, error) {
	return fs.Stat(p.FS, name(ref))
}

// ReadDir implements source.Place.
func (p Tree) ReadDir(_ context.Context, ref string) ([]fs.DirEntry, error) {
	return fs.ReadDir(p.FS, name(ref))
}

// Open implements source.Place.
func (p Tree) Open(_ context.Context, ref string) (source.Source, error) {
	data, err := fs.ReadFile(p.FS, name(ref))
	return source.Bytes(ref, data), err
}
