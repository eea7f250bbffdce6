package assemble

import (
	"context"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/source"
)

// Preview opens the checkpoint that a job would write, before anything is written: its
// names, shapes, metadata and the documents beside it are those of the result, and all numbers
// are 0. The context has to be used for whatever reads it.
func (j *Job) Preview(ctx context.Context) (context.Context, *checkpoint.Release, error) {
	p := make(planned, len(j.files)+len(j.documents))
	first := ""
	for i := range j.files {
		f := &j.files[i]
		name := f.name
		if !j.directory() {
			name = "result" + suffix(j.spec.Format)
		}
		if first == "" {
			first = name
		}
		p[name] = plannedFile{header: f.Header, size: f.Size}
	}
	for i := range j.documents {
		if d := &j.documents[i]; d.Text != nil {
			p[d.Name] = plannedFile{header: d.Text, size: int64(len(d.Text))}
		} else if fi, err := source.Stat(ctx, d.From); err == nil {
			p[d.Name] = plannedFile{from: d.From, size: fi.Size()}
		}
	}
	ctx = source.With(ctx, scheme, p)
	ref := root + first
	if j.directory() {
		ref = root
	}
	r, err := checkpoint.Open(ctx, ref, nil)
	return ctx, r, err
}

// What is planned has references of its own. No user can write one: the place is known to
// the context of a preview alone.
const (
	scheme = "planned"
	root   = scheme + "://result"
)

// planned is the place of files that are to be written, by their names below the result.
type planned map[string]plannedFile

type plannedFile struct {
	header []byte
	size   int64
	from   string // that it is a copy of, "" for a header and zeros
}

func nameOf(ref string) string { return strings.Trim(strings.TrimPrefix(ref, root), "/") }

// Stat implements source.Place.
func (p planned) Stat(_ context.Context, ref string) (fs.FileInfo, error) {
	name := nameOf(ref)
	if f, ok := p[name]; ok {
		return plannedInfo{name: path.Base(name), size: f.size}, nil
	}
	if name == "" || len(p.below(name)) > 0 {
		return plannedInfo{name: path.Base(ref), dir: true}, nil
	}
	return nil, &fs.PathError{Op: "stat", Path: ref, Err: fs.ErrNotExist}
}

// ReadDir implements source.Place.
func (p planned) ReadDir(_ context.Context, ref string) ([]fs.DirEntry, error) {
	list := p.below(nameOf(ref))
	if len(list) == 0 {
		return nil, &fs.PathError{Op: "readdir", Path: ref, Err: fs.ErrNotExist}
	}
	return list, nil
}

// below lists a directory.
func (p planned) below(dir string) []fs.DirEntry {
	seen := make(map[string]plannedInfo)
	for name, f := range p {
		rest, ok := strings.CutPrefix(name, dir+"/")
		if dir == "" {
			rest, ok = name, true
		}
		if !ok {
			continue
		}
		first, _, isDir := strings.Cut(rest, "/")
		seen[first] = plannedInfo{name: first, size: f.size, dir: isDir}
	}
	list := make([]fs.DirEntry, 0, len(seen))
	for _, name := range slices.Sorted(maps.Keys(seen)) {
		list = append(list, fs.FileInfoToDirEntry(seen[name]))
	}
	return list
}

// Open implements source.Place.
func (p planned) Open(ctx context.Context, ref string) (source.Source, error) {
	f, ok := p[nameOf(ref)]
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: ref, Err: fs.ErrNotExist}
	}
	if f.from != "" {
		src, err := source.Open(ctx, f.from)
		if err != nil {
			return nil, err
		}
		return source.Named(src, ref), nil
	}
	return plannedSource{image.Headed(f.header, f.size), ref, f.size}, nil
}

type plannedSource struct {
	io.ReaderAt
	name string
	size int64
}

func (f plannedSource) Size() int64  { return f.size }
func (f plannedSource) Name() string { return f.name }
func (f plannedSource) Close() error { return nil }

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
