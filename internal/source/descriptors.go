package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
)

// maxOpen is how many local files have a descriptor at a time. A release may have thousands
// of files, all of which stay sources until it is closed, and a process may have 256
// descriptors on some systems.
const maxOpen = 128

// ErrChanged is matched, with [errors.Is], by the error of reading a file that is no longer
// the one that was opened.
var ErrChanged = errors.New("the file changed since it was first read")

// A file is a local file. Its descriptor is closed while others are read from, and is
// opened again for the next read.
type file struct {
	ref string
	is  fs.FileInfo // when it was opened

	used   atomic.Uint64 // the number of the last read
	mu     sync.RWMutex  // held while f is read from
	f      *os.File      // nil without a descriptor
	closed bool
}

func (f *file) Size() int64  { return f.is.Size() }
func (f *file) Name() string { return f.ref }

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.used.Store(held.reads.Add(1))
	f.mu.RLock()
	for f.f == nil {
		f.mu.RUnlock()
		if err := f.reopen(); err != nil {
			return 0, err
		}
		f.mu.RLock()
	}
	defer f.mu.RUnlock()
	return f.f.ReadAt(p, off)
}

// reopen gives the file a descriptor, unless it has one. What now has the path must be the
// file that was opened, as it was.
func (f *file) reopen() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return &fs.PathError{Op: "read", Path: f.ref, Err: fs.ErrClosed}
	case f.f != nil:
		return nil
	}
	now, err := openNow(context.Background(), f.ref)
	if err != nil {
		return f.changed(nil, err)
	}
	if err := f.changed(now.Stat()); err != nil {
		return errors.Join(err, now.Close())
	}
	f.f = now
	held.keep(f)
	return nil
}

// changed says whether what has the path is another file than the one that was opened, or
// was written since.
func (f *file) changed(is fs.FileInfo, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w: it is gone; start again", f.ref, ErrChanged)
	case err != nil:
		return err
	case !os.SameFile(is, f.is) || is.Size() != f.is.Size() || !is.ModTime().Equal(f.is.ModTime()):
		return fmt.Errorf("%s: %w; start again when nothing writes it", f.ref, ErrChanged)
	}
	return nil
}

// Changed returns an error that matches [ErrChanged] where a local file is no longer the one
// that was opened, whether or not it still has a descriptor. It does not know of others.
func Changed(src Source) error {
	switch s := src.(type) {
	case *named:
		return Changed(s.Source)
	case *file:
		if err := s.changed(os.Stat(s.ref)); errors.Is(err, ErrChanged) {
			return err
		}
	}
	return nil
}

func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.f == nil {
		return nil
	}
	held.forget(f)
	err := f.f.Close()
	f.f = nil
	return err
}

// held are the files that have a descriptor.
var held descriptors

type descriptors struct {
	reads atomic.Uint64
	mu    sync.Mutex
	files []*file
}

// keep notes that a file has a descriptor, and closes that of the file that was not read
// from for the longest time when there are too many. Those that are read from
// just now keep theirs.
func (d *descriptors) keep(f *file) *file {
	f.used.Store(d.reads.Add(1))
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.files) >= maxOpen {
		d.close()
	}
	d.files = append(d.files, f)
	return f
}

func (d *descriptors) close() {
	slices.SortFunc(d.files, func(a, b *file) int { return cmp.Compare(a.used.Load(), b.used.Load()) })
	for i, f := range d.files {
		if f.mu.TryLock() {
			f.f.Close() // nothing was written to it
			f.f = nil
			f.mu.Unlock()
			d.files = slices.Delete(d.files, i, i+1)
			return
		}
	}
}

func (d *descriptors) forget(f *file) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files = slices.DeleteFunc(d.files, func(o *file) bool { return o == f })
}
