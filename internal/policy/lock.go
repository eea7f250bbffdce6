package policy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/source"
)

// LockName is the name under which a release keeps its lock, and where check
// looks for one.
const LockName = "wtinspect.lock.json"

// WriteLock writes a lock as JSON, a line a tensor, so that a change of one tensor
// is a change of one line.
func WriteLock(w io.Writer, l *check.Lock) error {
	b := bufio.NewWriter(w)
	write := func(format string, args ...any) { fmt.Fprintf(b, format, args...) }
	write("{\n \"lock_version\": %d,\n \"checkpoints\": [", l.Version)
	for i, c := range l.Checkpoints {
		path, _ := json.Marshal(c.Path)
		write("%s\n  {\"path\": %s, \"format\": %q, \"tensors\": [", comma(i), jsondoc.Printable(path), c.Format)
		for k, t := range c.Tensors {
			line, err := json.Marshal(t)
			if err != nil {
				return err
			}
			write("%s\n   %s", comma(k), jsondoc.Printable(line))
		}
		write("\n  ]}")
	}
	write("\n ]\n}\n")
	return b.Flush()
}

func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

// ReadLock reads a lock. Path is what messages call it.
func ReadLock(path string, r io.Reader) (*check.Lock, error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	l := &check.Lock{Path: path}
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("%s: not a lock: %w", path, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: not a lock: text behind its end", path)
	}
	if l.Version != check.LockVersion {
		return nil, fmt.Errorf("%s: lock version %d, where this program knows version %d", path, l.Version, check.LockVersion)
	}
	return l, nil
}

// OpenLock reads the lock in a file.
func OpenLock(ctx context.Context, path string) (*check.Lock, error) {
	f, err := source.OpenFile(ctx, path, source.Lock)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadLock(path, io.NewSectionReader(f, 0, f.Size()))
}
