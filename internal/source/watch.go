package source

import (
	"context"
	"io/fs"
	"os"
	"sync/atomic"
)

// A watch is of a file of this machine that is about to be replaced.
type watch struct {
	file   fs.FileInfo
	opened atomic.Bool
}

type watchKey struct{}

// Watch reports, through the function that it returns, whether the file at path was opened
// under the context that it returns, by whatever name. It is of one file: of nested watches
// the innermost sees it.
func Watch(ctx context.Context, path string) (_ context.Context, opened func() bool) {
	fi, err := os.Stat(path)
	if err != nil || !fi.Mode().IsRegular() { // there is nothing to replace
		return ctx, func() bool { return false }
	}
	w := &watch{file: fi}
	return context.WithValue(ctx, watchKey{}, w), w.opened.Load
}

// noteOpened tells the watch of ctx which file was opened.
func noteOpened(ctx context.Context, fi fs.FileInfo) {
	if w, ok := ctx.Value(watchKey{}).(*watch); ok && os.SameFile(w.file, fi) {
		w.opened.Store(true)
	}
}

// Glance returns a context under which no watch sees what is opened: to look at first bytes, which say whether a file is
// an input at all.
func Glance(ctx context.Context) context.Context {
	return context.WithValue(ctx, watchKey{}, nil)
}
