package image

import (
	"context"
	"errors"
	"io/fs"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// Elsewhere returns a system whose references with a scheme are read where they
// are. Everything else is as it was.
func Elsewhere(ctx context.Context, sys txn.System) txn.System { return elsewhere{sys, ctx} }

type elsewhere struct {
	txn.System
	ctx context.Context
}

func (s elsewhere) OpenDir(ref string) (txn.Dir, error) {
	if source.Scheme(ref) == "" {
		return s.System.OpenDir(ref)
	}
	return &farDir{nil, s.ctx, ref}, nil
}

func (s elsewhere) Read(ref string, flag int) (txn.File, error) {
	switch {
	case source.Scheme(ref) == "":
		return s.System.Read(ref, flag)
	case flag != 0:
		return nil, errors.ErrUnsupported
	}
	src, err := source.Open(s.ctx, ref)
	if err != nil {
		return nil, err
	}
	return &farFile{nil, src}, nil
}

// A farDir is a directory elsewhere. Of the methods of a [txn.Dir] it has those
// that read; a rewrite calls no other.
type farDir struct {
	txn.Dir
	ctx context.Context
	ref string
}

func (d *farDir) Path() string { return d.ref }
func (d *farDir) Close() error { return nil }

func (d *farDir) ReadDir(name string) ([]string, error) {
	entries, err := source.ReadDir(d.ctx, source.Join(d.ref, name))
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (d *farDir) Lstat(name string) (txn.Stat, error) {
	fi, err := source.Stat(d.ctx, source.Join(d.ref, name))
	if err != nil {
		return txn.Stat{}, err
	}
	return farStat(fi.Mode(), fi.Size()), nil
}

// A farFile is a file elsewhere, open for reading.
type farFile struct {
	txn.File
	src source.Source
}

func (f *farFile) ReadAt(p []byte, off int64) (int, error) { return f.src.ReadAt(p, off) }
func (f *farFile) Stat() (txn.Stat, error)                 { return farStat(0o644, f.src.Size()), nil }
func (f *farFile) Extents() ([]txn.Extent, error)          { return nil, errors.ErrUnsupported }
func (f *farFile) Cached(int64) bool                       { return true }
func (f *farFile) WriteOut(int64, int64)                   {}
func (f *farFile) Drop(int64, int64)                       {}
func (f *farFile) Writers() bool                           { return false }
func (f *farFile) Close() error                            { return f.src.Close() }

// farStat is what is known of a file elsewhere. Its owner and times are not.
func farStat(mode fs.FileMode, size int64) txn.Stat {
	return txn.Stat{Mode: mode, Size: size, Allocated: size, Links: 1, UID: -1, GID: -1}
}
