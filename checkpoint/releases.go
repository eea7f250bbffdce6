package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/wtinspect/wtinspect/internal/source"
)

// Releases returns the directories at and below dir that are releases, each in
// front of those below it. A directory is a release when weights or a shard index
// are in it. The parts of a diffusers pipeline, which are in the subdirectories beside
// model_index.json, belong to the pipeline.
//
// An error is of directories that cannot be read; the others are returned all the
// same.
func Releases(ctx context.Context, dir string) ([]string, error) {
	var out []string
	w := walker{ctx: ctx, found: func(dir string) bool {
		out = append(out, dir)
		return true
	}}
	w.dir(dir, 0, false)
	return out, errors.Join(append(w.errs, ctx.Err())...)
}

// ReleaseOf returns the directory of the release that a file belongs to: the
// nearest at or above it that is one, as [Releases] has it. The file need not exist.
// The path is below the working directory, and nothing above that is looked at; ""
// means that there is no release.
func ReleaseOf(ctx context.Context, file string) (string, error) {
	if !filepath.IsLocal(file) {
		return "", fmt.Errorf("%s: not a path below the working directory", file)
	}
	for dir := filepath.Dir(file); ; dir = filepath.Dir(dir) {
		up := filepath.Dir(dir)
		for _, at := range []string{up, dir} { // dir may be a part of what is above it
			l, err := list(ctx, at)
			if errors.Is(err, fs.ErrNotExist) || err != nil && !source.IsDir(ctx, at) {
				continue // the file is gone, and its directory with it
			}
			if err != nil {
				return "", err
			}
			if l.pipeline || at == dir && l.weights() {
				return at, nil
			}
		}
		if dir == up {
			return "", nil
		}
	}
}

// weights reports whether a directory is a release.
func (l *listing) weights() bool {
	return len(l.safetensors)+len(l.gguf)+len(l.indexes)+len(l.torchIndexes) > 0 || slices.ContainsFunc(l.torch, isTorchName) || l.distributed && len(l.chunks) > 0
}

// A walker looks for releases in a tree.
type walker struct {
	ctx context.Context
	// found is told of a release, and says whether to go on.
	found func(dir string) bool
	// left is how many directories are looked at; 0 means all.
	left int
	errs []error
}

// dir looks at a directory, which may be a part of the release above it. It reports
// whether to go on.
func (w *walker) dir(dir string, depth int, part bool) bool {
	if w.ctx.Err() != nil {
		return false
	}
	if w.left--; w.left == 0 {
		return false
	}
	l, err := list(w.ctx, dir)
	if err != nil {
		w.errs = append(w.errs, err)
		return true
	}
	if (l.pipeline || l.weights() && !part) && !w.found(dir) {
		return false
	}
	if depth == maxDescent {
		return true
	}
	for _, name := range l.subdirs {
		if !w.dir(source.Join(dir, name), depth+1, l.pipeline) {
			return false
		}
	}
	return true
}

// A Folder is a directory with weights or pickles in it.
type Folder struct {
	Dir     string
	Weights bool
	Pickles int // files that are called pickles
}

// maxFolders bounds how many directories [Folders] looks at.
const maxFolders = 1_000

// Folders returns the directories below dir that have weights or pickles in them. Some 1,000 are looked at. What
// cannot be read is passed over.
func Folders(ctx context.Context, dir string) []Folder {
	var out []Folder
	left := maxFolders
	var look func(dir string, depth int)
	look = func(dir string, depth int) {
		l, err := list(ctx, dir)
		if left--; err != nil || ctx.Err() != nil {
			return
		}
		if f := (Folder{dir, l.weights(), len(l.pickles)}); depth > 0 && (f.Weights || f.Pickles > 0) {
			out = append(out, f)
		}
		for _, name := range l.subdirs {
			if depth < maxDescent && left > 0 {
				look(source.Join(dir, name), depth+1)
			}
		}
	}
	look(dir, 0)
	return out
}
