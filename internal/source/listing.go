package source

import (
	"cmp"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// An Entry is a file of a [Listing], and what is known of it before it is read.
type Entry struct {
	// Path has slashes and is relative to the root.
	Path string
	Size int64
	// SHA256 is that of the file, in hexadecimal, "" where it is not known.
	SHA256 string
	// LFSSize is the size in git's pointer to the file, 0 where there is none.
	LFSSize int64
}

// A Listing is all files of a place that gives them at once. Its methods are what
// a [Place] needs, with paths relative to the root, which is "". The Sys of a
// file's [fs.FileInfo] is its *[Entry].
type Listing struct {
	// Refused are the paths that are left out.
	Refused []Refusal

	files map[string]*Entry
	dirs  map[string][]fs.DirEntry // sorted
}

// A Refusal is a path that cannot be that of a file below a root, and why not: words to
// follow the path.
type Refusal struct{ Path, Why string }

// NewListing makes a listing of entries, whoever wrote them.
func NewListing(entries []Entry) *Listing {
	l := &Listing{files: make(map[string]*Entry, len(entries)), dirs: map[string][]fs.DirEntry{"": nil}}
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	for i := range entries {
		e := &entries[i]
		if why := l.refuses(e.Path); why != "" {
			l.Refused = append(l.Refused, Refusal{e.Path, why})
			continue
		}
		l.files[e.Path] = e
		l.add(e.Path, entryInfo{name: path.Base(e.Path), entry: e})
	}
	for _, list := range l.dirs {
		slices.SortFunc(list, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	}
	return l
}

// refuses says why a path is left out, "" where it is not: it does not stay below the root
// on every system, or contradicts another.
func (l *Listing) refuses(p string) string {
	switch {
	case p == "":
		return "is no name"
	case strings.HasPrefix(p, "/"), strings.ContainsAny(p, "\\\x00"), len(p) > 1 && p[1] == ':', slices.Contains(strings.Split(p, "/"), ".."):
		return "leads out of the repository"
	case !fs.ValidPath(p) || p == ".":
		return "is not the path of a file"
	case l.files[p] != nil:
		return "is listed twice"
	}
	for dir := parent(p); dir != ""; dir = parent(dir) { // of a file and what is below it, the file sorts first
		if l.files[dir] != nil {
			return fmt.Sprintf("is below %.100q, which is a file", dir)
		}
	}
	return ""
}

func (l *Listing) add(p string, info entryInfo) {
	for {
		dir := parent(p)
		_, known := l.dirs[dir]
		l.dirs[dir] = append(l.dirs[dir], info)
		if known {
			return
		}
		p, info = dir, entryInfo{name: path.Base(dir)}
	}
}

func parent(p string) string {
	if dir := path.Dir(p); dir != "." {
		return dir
	}
	return ""
}

// File returns the entry of a file, nil where there is none.
func (l *Listing) File(p string) *Entry { return l.files[p] }

// Below returns the files below a directory, with their paths below it, in the order
// of the paths.
func (l *Listing) Below(dir string) []Entry {
	if dir != "" {
		dir += "/"
	}
	var list []Entry
	for _, e := range l.files {
		if rest, ok := strings.CutPrefix(e.Path, dir); ok {
			below := *e
			below.Path = rest
			list = append(list, below)
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Path, b.Path) })
	return list
}

// Len returns the number of files.
func (l *Listing) Len() int { return len(l.files) }

// Stat describes a file or a directory.
func (l *Listing) Stat(p string) (fs.FileInfo, error) {
	if e := l.files[p]; e != nil {
		return entryInfo{name: path.Base(p), entry: e}, nil
	}
	if _, ok := l.dirs[p]; ok {
		return entryInfo{name: path.Base(p)}, nil
	}
	return nil, fs.ErrNotExist
}

// ReadDir lists a directory in the order of the names.
func (l *Listing) ReadDir(p string) ([]fs.DirEntry, error) {
	if list, ok := l.dirs[p]; ok {
		return list, nil
	}
	if l.files[p] != nil {
		return nil, fmt.Errorf("a file, not a directory")
	}
	return nil, fs.ErrNotExist
}

// entryInfo describes a file, or a directory when entry is nil.
type entryInfo struct {
	name  string
	entry *Entry
}

func (i entryInfo) Name() string               { return i.name }
func (i entryInfo) IsDir() bool                { return i.entry == nil }
func (i entryInfo) ModTime() time.Time         { return time.Time{} }
func (i entryInfo) Info() (fs.FileInfo, error) { return i, nil }
func (i entryInfo) Type() fs.FileMode          { return i.Mode().Type() }

func (i entryInfo) Size() int64 {
	if i.entry == nil {
		return 0
	}
	return i.entry.Size
}

func (i entryInfo) Mode() fs.FileMode {
	if i.entry == nil {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

func (i entryInfo) Sys() any {
	if i.entry == nil {
		return nil
	}
	return i.entry
}
