package rewrite

import (
	"context"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// A system is the operating system's files with a layer around directories and
// files, both of which may be nil.
type system struct {
	dir  func(txn.Dir) txn.Dir
	file func(f txn.File, flag int) (txn.File, error)
}

func (s system) OpenDir(path string) (txn.Dir, error) {
	d, err := txn.OS{}.OpenDir(path)
	if err != nil {
		return nil, err
	}
	d = systemDir{d, s}
	if s.dir != nil {
		d = s.dir(d)
	}
	return d, nil
}

func (s system) Read(path string, flag int) (txn.File, error) {
	f, err := txn.OS{}.Read(path, flag)
	if err != nil || s.file == nil {
		return f, err
	}
	return s.file(f, flag)
}

type systemDir struct {
	txn.Dir
	s system
}

func (d systemDir) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	f, err := d.Dir.Open(name, flag, perm)
	if err != nil || d.s.file == nil {
		return f, err
	}
	return d.s.file(f, flag)
}

// limited is a system that is able to do less.
type limited struct {
	insert, clone bool
	free          int64
}

func (l limited) system() system { return system{dir: l.limit} }

func (l limited) OpenDir(path string) (txn.Dir, error) { return l.system().OpenDir(path) }

func (l limited) Read(path string, flag int) (txn.File, error) { return l.system().Read(path, flag) }

func (l limited) limit(d txn.Dir) txn.Dir { return limitedDir{d, l} }

type limitedDir struct {
	txn.Dir
	l limited
}

func (d limitedDir) Probe() txn.Features {
	ft := d.Dir.Probe()
	ft.Insert, ft.Clone = ft.Insert && d.l.insert, ft.Clone && d.l.clone
	if d.l.free != 0 {
		ft.Free = d.l.free
	}
	return ft
}

// probe finds out what a system can do in a directory.
func probe(sys txn.System, path string) txn.Features {
	d, err := sys.OpenDir(path)
	if err != nil {
		panic(err)
	}
	defer d.Close()
	return d.Probe()
}

// hasty is a system without the waits for the disk.
func hasty(l limited) system {
	return system{
		dir:  func(d txn.Dir) txn.Dir { return hastyDir{l.limit(d)} },
		file: func(f txn.File, _ int) (txn.File, error) { return hastyFile{f}, nil },
	}
}

type hastyDir struct{ txn.Dir }

func (hastyDir) SyncDir(string) error { return nil }

type hastyFile struct{ txn.File }

func (hastyFile) Sync() error { return nil }

func (f hastyFile) Clone(src txn.File, srcOff, off, n int64) error {
	return f.File.Clone(src.(hastyFile).File, srcOff, off, n)
}

// rotten is a system that damages what is written far enough into a file.
var rotten = system{
	dir:  limited{}.limit,
	file: func(f txn.File, _ int) (txn.File, error) { return rottenFile{f}, nil },
}

type rottenFile struct{ txn.File }

func (f rottenFile) Pwrite(p []byte, off int64) (int, error) {
	if bad := int64(5000) - off; bad >= 0 && bad < int64(len(p)) {
		p = slices.Clone(p)
		p[bad] ^= 0x10
	}
	return f.File.Pwrite(p, off)
}

// uncached says that nothing is in the cache.
var uncached = system{file: func(f txn.File, _ int) (txn.File, error) { return uncachedFile{f}, nil }}

type uncachedFile struct{ txn.File }

func (uncachedFile) Cached(int64) bool { return false }

// cached refuses to go past the cache: when a file is opened or, late, when it
// is used.
func cached(late bool) system {
	return system{file: func(f txn.File, flag int) (txn.File, error) {
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

// faults are calls of a system that fail from one on, or once.
type faults struct {
	calls, at int
	once      bool
	err       error
	cancel    context.CancelFunc
}

func (s *faults) enter() error {
	s.calls++
	if s.calls == s.at || s.calls > s.at && !s.once {
		if s.cancel != nil {
			s.cancel()
			return nil
		}
		return s.err
	}
	return nil
}

// faulty is a system whose calls fail.
func faulty(s *faults, around func(txn.Dir) txn.Dir) system {
	return system{
		dir: func(d txn.Dir) txn.Dir {
			if around != nil {
				d = around(d)
			}
			return faultyDir{d, s}
		},
		file: func(f txn.File, flag int) (txn.File, error) {
			if flag&(os.O_RDWR|os.O_CREATE) != 0 {
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
	state *faults
}

func (f faultyDir) Open(name string, flag int, perm fs.FileMode) (txn.File, error) {
	// A file that is not created must not be left behind by the layer below.
	if flag&os.O_CREATE != 0 {
		if err := f.state.enter(); err != nil {
			return nil, err
		}
		f.state.calls--
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
	state *faults
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
