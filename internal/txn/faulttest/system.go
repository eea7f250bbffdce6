// Package faulttest puts layers around the operating system's files that do less than it,
// fail, or damage what is written: the ways in which a file system lets a program down.
package faulttest

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// A System is the operating system's files with a layer around directories and
// files, both of which may be nil.
type System struct {
	Dir  func(txn.Dir) txn.Dir
	File func(f txn.File, flag int) (txn.File, error)
}

func (s System) OpenDir(path string) (txn.Dir, error) {
	d, err := txn.OS{}.OpenDir(path)
	if err != nil {
		return nil, err
	}
	d = systemDir{d, s}
	if s.Dir != nil {
		d = s.Dir(d)
	}
	return d, nil
}

func (s System) Read(path string, flag int) (txn.File, error) {
	f, err := txn.OS{}.Read(path, flag)
	if err != nil || s.File == nil {
		return f, err
	}
	return s.File(f, flag)
}

type systemDir struct {
	txn.Dir
	s System
}

func (d systemDir) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	f, err := d.Dir.Open(name, flag, perm)
	if err != nil || d.s.File == nil {
		return f, err
	}
	return d.s.File(f, flag)
}

// Limited is a system that is able to do less.
type Limited struct {
	Insert, Clone bool
	Free          int64
}

func (l Limited) System() System { return System{Dir: l.Limit} }

func (l Limited) OpenDir(path string) (txn.Dir, error) { return l.System().OpenDir(path) }

func (l Limited) Read(path string, flag int) (txn.File, error) { return l.System().Read(path, flag) }

func (l Limited) Limit(d txn.Dir) txn.Dir { return limitedDir{d, l} }

type limitedDir struct {
	txn.Dir
	l Limited
}

func (d limitedDir) Probe() txn.Features {
	ft := d.Dir.Probe()
	ft.Insert, ft.Clone = ft.Insert && d.l.Insert, ft.Clone && d.l.Clone
	if d.l.Free != 0 {
		ft.Free = d.l.Free
	}
	return ft
}

// Probe finds out what a system can do in a directory.
func Probe(sys txn.System, path string) txn.Features {
	d, err := sys.OpenDir(path)
	if err != nil {
		panic(err)
	}
	defer d.Close()
	return d.Probe()
}

// Hasty is a system without the waits for the disk.
func Hasty(l Limited) System {
	return System{
		Dir:  func(d txn.Dir) txn.Dir { return hastyDir{l.Limit(d)} },
		File: func(f txn.File, _ int) (txn.File, error) { return hastyFile{f}, nil },
	}
}

type hastyDir struct{ txn.Dir }

func (hastyDir) SyncDir(string) error { return nil }

type hastyFile struct{ txn.File }

func (hastyFile) Sync() error { return nil }

func (f hastyFile) Clone(src txn.File, srcOff, off, n int64) error {
	return f.File.Clone(src.(hastyFile).File, srcOff, off, n)
}

// Rotten is a system that damages what is written far enough into a file.
var Rotten = System{
	Dir:  Limited{}.Limit,
	File: func(f txn.File, _ int) (txn.File, error) { return rottenFile{f}, nil },
}

type rottenFile struct{ txn.File }

func (f rottenFile) Pwrite(p []byte, off int64) (int, error) {
	if bad := int64(5000) - off; bad >= 0 && bad < int64(len(p)) {
		p = slices.Clone(p)
		p[bad] ^= 0x10
	}
	return f.File.Pwrite(p, off)
}

// Uncached says that nothing is in the cache.
var Uncached = System{File: func(f txn.File, _ int) (txn.File, error) { return uncachedFile{f}, nil }}

type uncachedFile struct{ txn.File }

func (uncachedFile) Cached(int64) bool { return false }

// Cached refuses to go past the cache: when a file is opened or, late, when it
// is used.
func Cached(late bool) System {
	return System{File: func(f txn.File, flag int) (txn.File, error) {
		switch {
		case flag&txn.PastCache == 0:
			return f, nil
		case late:
			return cachedFile{f}, nil
		}
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: "file", Err: syscall.EINVAL}
	}}
}

type cachedFile struct{ txn.File }

func (f cachedFile) ReadAt([]byte, int64) (int, error) { return 0, syscall.EINVAL }

func (f cachedFile) Pwrite([]byte, int64) (int, error) { return 0, syscall.EINVAL }

// Faults are calls of a system that fail from one on, or once.
type Faults struct {
	Calls, At int // Calls may be read when no call is under way
	Once      bool
	Err       error
	Cancel    context.CancelFunc

	mu sync.Mutex
}

func (s *Faults) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Calls++
	if s.Calls == s.At || s.Calls > s.At && !s.Once {
		if s.Cancel != nil {
			s.Cancel()
			return nil
		}
		return s.Err
	}
	return nil
}

// Faulty is a system whose calls fail.
func Faulty(s *Faults, around func(txn.Dir) txn.Dir) System {
	return System{
		Dir: func(d txn.Dir) txn.Dir {
			if around != nil {
				d = around(d)
			}
			return faultyDir{d, s}
		},
		File: func(f txn.File, flag int) (txn.File, error) {
			if flag&os.O_RDWR != 0 && flag&os.O_CREATE == 0 { // what is created is a call of the directory
				if err := s.enter(); err != nil {
					f.Close()
					return nil, err
				}
			}
			return faultyFile{f, s}, nil
		},
	}
}

type faultyDir struct {
	txn.Dir
	state *Faults
}

func (f faultyDir) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	// A file that is not created must not be left behind by the layer below.
	if flag&os.O_CREATE != 0 {
		if err := f.state.enter(); err != nil {
			return nil, err
		}
	}
	return f.Dir.Open(name, flag, perm)
}

func (f faultyDir) Rename(a, b string) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.Dir.Rename(a, b)
}

func (f faultyDir) RenameNew(a, b string) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.Dir.RenameNew(a, b)
}

func (f faultyDir) Exchange(a, b string) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.Dir.Exchange(a, b)
}

func (f faultyDir) Mkdir(name string, perm fs.FileMode) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.Dir.Mkdir(name, perm)
}

func (f faultyDir) SyncDir(name string) error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.Dir.SyncDir(name)
}

type faultyFile struct {
	txn.File
	state *Faults
}

func (f faultyFile) Pwrite(p []byte, off int64) (int, error) {
	if err := f.state.enter(); err != nil {
		n, _ := f.File.Pwrite(p[:len(p)/2], off)
		return n, err
	}
	return f.File.Pwrite(p, off)
}

func (f faultyFile) Sync() error {
	if err := f.state.enter(); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f faultyFile) Clone(src txn.File, srcOff, off, n int64) error {
	if s, ok := src.(faultyFile); ok {
		src = s.File
	}
	return f.File.Clone(src, srcOff, off, n)
}
