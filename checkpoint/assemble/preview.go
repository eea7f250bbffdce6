package assemble

import (
	"context"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/source"
)

// Preview opens the checkpoint that a job would write, before anything is written: its
// names, shapes and metadata are those of the result, and all numbers are 0. What is
// beside the weights is not there. The context has to be used for whatever reads it.
func (j *Job) Preview(ctx context.Context) (context.Context, *checkpoint.Release, error) {
	p := make(planned, len(j.files))
	first := ""
	for i := range j.files {
		f := &j.files[i]
		if !j.directory() {
			f = &file{name: "result" + suffix(j.spec.Format), Image: f.Image}
		}
		if first == "" {
			first = f.name
		}
		p[f.name] = f
	}
	ctx = source.With(ctx, scheme, p)
	r, err := checkpoint.Open(ctx, root+first, nil)
	return ctx, r, err
}

// What is planned has references of its own. No user can write one: the place is known to
// the context of a preview alone.
const (
	scheme = "planned"
	root   = scheme + "://result/"
)

// planned is the place of files that are to be written.
type planned map[string]*file

func nameOf(ref string) string { return strings.TrimPrefix(ref, root) }

// Stat implements source.Place.
func (p planned) Stat(_ context.Context, ref string) (fs.FileInfo, error) {
	if ref == strings.TrimSuffix(root, "/") || ref == root {
		return plannedInfo{name: path.Base(ref), dir: true}, nil
	}
	f := p[nameOf(ref)]
	if f == nil {
		return nil, &fs.PathError{Op: "stat", Path: ref, Err: fs.ErrNotExist}
	}
	return plannedInfo{name: f.name, size: f.Size}, nil
}

// ReadDir implements source.Place.
func (p planned) ReadDir(_ context.Context, ref string) ([]fs.DirEntry, error) {
	if strings.TrimSuffix(ref, "/") != strings.TrimSuffix(root, "/") {
		return nil, &fs.PathError{Op: "readdir", Path: ref, Err: fs.ErrNotExist}
	}
	list := make([]fs.DirEntry, 0, len(p))
	for _, f := range p {
		list = append(list, fs.FileInfoToDirEntry(plannedInfo{name: f.name, size: f.Size}))
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// Open implements source.Place.
func (p planned) Open(_ context.Context, ref string) (source.Source, error) {
	f := p[nameOf(ref)]
	if f == nil {
		return nil, &fs.PathError{Op: "open", Path: ref, Err: fs.ErrNotExist}
	}
	return plannedFile{image.Headed(f.Header, f.Size), ref, f.Size}, nil
}

type plannedFile struct {
	io.ReaderAt
	name string
	size int64
}

func (f plannedFile) Size() int64  { return f.size }
func (f plannedFile) Name() string { return f.name }
func (f plannedFile) Close() error { return nil }

type plannedInfo struct {
	name string
	size int64
	dir  bool
}

func (i plannedInfo) Name() string       { return i.name }
func (i plannedInfo) Size() int64        { return i.size }
func (i plannedInfo) ModTime() time.Time { return time.Time{} }
func (i plannedInfo) IsDir() bool        { return i.dir }
func (i plannedInfo) Sys() any           { return nil }
func (i plannedInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o555
	}
	return 0o444
}
