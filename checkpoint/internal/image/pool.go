package image

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// maxOpen is how many files of a pool are open at a time: neighbours in a new file
// mostly are of one file, and rarely of more than a few.
const maxOpen = 4

// A Pool opens files that pieces come from when they are read, and keeps few of
// them open, however many there are.
type Pool struct {
	mu   sync.Mutex
	open []*Source // the one read last comes last
}

// A Source is a file of a pool. It must stay as it was when it was added.
type Source struct {
	// Path is what errors call it.
	Path string
	// Stat is how it was.
	Stat txn.Stat

	pool  *Pool
	sys   txn.System
	file  txn.File // nil while it is closed
	users int
}

// Source adds a file to the pool.
func (p *Pool) Source(sys txn.System, path string, st txn.Stat) *Source {
	return &Source{Path: path, Stat: st, pool: p, sys: sys}
}

// Close closes the files that are open. Nothing may be read then.
func (p *Pool) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var err error
	for _, s := range p.open {
		err = errors.Join(err, s.file.Close())
		s.file = nil
	}
	p.open = nil
	return err
}

// Open opens the file, which stays open until done is called. It must be the one that
// was added, as it was then, and no other process may write to it.
func (s *Source) Open() (f txn.File, done func(), err error) {
	p := s.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = slices.DeleteFunc(p.open, func(o *Source) bool { return o == s })
	if s.file == nil {
		if s.file, err = s.openNow(); err != nil {
			return nil, nil, err
		}
	}
	for i := 0; len(p.open) >= maxOpen && i < len(p.open); {
		o := p.open[i]
		if o.users > 0 {
			i++
			continue
		}
		p.open = slices.Delete(p.open, i, i+1)
		o.file.Close() // nothing was written to it
		o.file = nil
	}
	p.open = append(p.open, s)
	s.users++
	return s.file, func() {
		p.mu.Lock()
		s.users--
		p.mu.Unlock()
	}, nil
}

func (s *Source) openNow() (txn.File, error) {
	f, err := Open(s.Stat.Size, func(flag int) (txn.File, error) { return txn.Read(s.sys, s.Path, flag) })
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	switch {
	case err != nil:
	case !st.Same(s.Stat):
		err = txn.ErrChanged
	case f.Writers():
		err = fmt.Errorf("another process has the file open for writing: %w", txn.ErrBusy)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.Path, err), f.Close())
	}
	return f, nil
}

// Unchanged checks that what has the path of the file is the file as it was.
func (s *Source) Unchanged() error {
	f, err := txn.Read(s.sys, s.Path, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", txn.ErrChanged, err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && !st.Same(s.Stat) {
		err = txn.ErrChanged
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.Path, err)
	}
	return nil
}

// ReadAt reads the file, and opens it for that where it is closed.
func (s *Source) ReadAt(p []byte, off int64) (int, error) {
	f, done, err := s.Open()
	if err != nil {
		return 0, err
	}
	defer done()
	return f.ReadAt(p, off)
}

// open returns what a piece is read from, open until done is called.
func open(src io.ReaderAt) (r io.ReaderAt, done func(), err error) {
	if s, ok := src.(*Source); ok {
		return s.Open()
	}
	return src, func() {}, nil
}
