package txn

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/wtinspect/wtinspect/internal/source"
)

// copySize is the unit of a copy.
const copySize = 4 << 20

// CopyFile copies a regular file into a directory, where nothing may have its
// name. It shares the data where the file system can, and keeps holes.
func CopyFile(ctx context.Context, sys System, from string, dir Dir, name string) (err error) {
	src, err := Read(sys, from, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	st, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := Open(dir, name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	if err := Retry(func() error { return dst.Truncate(st.Size) }); err != nil {
		return err
	}
	if Retry(func() error { return dst.Clone(src, 0, 0, st.Size) }) != nil {
		if err := copyData(ctx, dst, src, st); err != nil {
			return err
		}
	}
	// What was copied must be one file, not the halves of two.
	now, err := src.Stat()
	if err == nil && !now.Same(st) {
		err = fmt.Errorf("%s: %w", from, ErrChanged)
	}
	if err != nil {
		return err
	}
	if err := Retry(func() error { return dst.Adopt(src) }); err != nil {
		return err
	}
	return Sync(dst)
}

func copyData(ctx context.Context, dst, src File, st Stat) error {
	if st.Size == 0 {
		return nil
	}
	data := []Extent{{0, st.Size}}
	if st.Allocated < st.Size {
		if m, err := src.Extents(); err == nil {
			data = Before(m, st.Size)
		}
	}
	buf := make([]byte, min(copySize, st.Size))
	for _, e := range data {
		for off := e.Start; off < e.End; {
			if err := ctx.Err(); err != nil {
				return err
			}
			p := buf[:min(int64(len(buf)), e.End-off)]
			if err := source.ReadFull(src, p, off); err != nil {
				return err
			}
			if err := WriteFull(dst, p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}

// CopyTree copies a directory and the files below it to a name below dir. Links
// to files become files where follow says so, by their paths; other links, and
// what is no file, are left out, and so are the names that skip reports.
func CopyTree(ctx context.Context, sys System, from Dir, dir Dir, to string, follow func(path string) bool, skip func(name string) bool) error {
	var walk func(below string) error
	walk = func(below string) error {
		if err := Retry(func() error { return dir.Mkdir(path.Join(to, below), 0o777) }); err != nil {
			return err
		}
		names, err := from.ReadDir(path.Join(".", below))
		if err != nil {
			return err
		}
		slices.Sort(names)
		for _, n := range names {
			name := path.Join(below, n)
			if skip(n) {
				continue
			}
			st, err := from.Lstat(name)
			full := path.Join(from.Path(), name)
			switch {
			case err != nil:
			case st.Mode.IsDir():
				err = walk(name)
			case st.Mode.IsRegular(), st.Mode&os.ModeSymlink != 0 && follow(full):
				err = CopyFile(ctx, sys, full, dir, path.Join(to, name))
			}
			if err != nil {
				return err
			}
		}
		return SyncDir(dir, path.Join(to, below))
	}
	return walk("")
}
