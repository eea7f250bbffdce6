package tables

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// A Total is what the parts of a directory hold, as they say it themselves.
type Total struct {
	// Releases are the rows of that table, and Failed those of inputs that failed.
	Releases, Failed int64
	// Rows are those of the other tables, by their names.
	Rows map[string]int64
}

// Count adds up what all shards of a directory have committed. It compares nothing with its
// digest.
func Count(sys txn.System, path string, o Options) (t Total, err error) {
	t.Rows = map[string]int64{}
	dir, err := sys.OpenDir(path)
	if err != nil {
		return t, err
	}
	o.Shards = max(o.Shards, 1)
	w := &Writer{dir: dir, options: o}
	defer func() { err = errors.Join(err, dir.Close()) }()
	names, err := dir.ReadDir(releases)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return t, err
	}
	mine := map[string]bool{}
	for shard := range o.Shards {
		w.options.Shard = shard
		mine[w.prefix()] = true
	}
	for _, name := range names {
		if i := strings.LastIndexByte(name, '-'); i < 0 || !mine[name[:i]] || !isID(name[i+1:]) {
			continue
		}
		c, err := w.readPart(name)
		if err != nil {
			return t, fmt.Errorf("%s: %w", filepath.Join(path, releases, name), err)
		}
		t.Releases += int64(len(c.releases))
		if c.failed {
			t.Failed += int64(len(c.releases))
		}
		for _, s := range c.parts {
			t.Rows[s.Table] += s.Rows
		}
	}
	return t, nil
}

// readPart reads a part of releases.
func (w *Writer) readPart(name string) (*committed, error) {
	f, size, err := w.openPart(releases, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readReleases(f, size, w.options.Version)
}
