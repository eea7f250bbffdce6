package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A System is where directories are opened: the operating system ([OS]) or, in
// tests, a model of a disk that loses power.
type System interface {
	// OpenDir opens a directory, and follows links in its path: whoever calls
	// has named it.
	OpenDir(path string) (Dir, error)
	// Read opens a regular file for reading, and follows links in its path.
	// flag is 0 or [PastCache]. It never waits, as for the writer of a FIFO.
	Read(path string, flag int) (File, error)
}

// A Dir is an open directory: every call to the operating system that looks at
// or changes files below it. Names are relative, with slashes. No call follows a
// symbolic link, neither at the end of a name nor on the way there.
//
// Calls are as raw as the system's: they may be interrupted (EINTR), and a
// write may be short. [Retry] and [WriteFull] see to both.
type Dir interface {
	// Path returns the path the directory was opened with.
	Path() string
	// Open opens a regular file. With os.O_CREATE the file must not exist.
	Open(name string, flag int, perm fs.FileMode) (File, error)
	Lstat(name string) (Stat, error)
	// Rename replaces newname when it exists, RenameNew fails with
	// fs.ErrExist.
	Rename(oldname, newname string) error
	RenameNew(oldname, newname string) error
	// Exchange swaps two names, or fails with errors.ErrUnsupported.
	Exchange(a, b string) error
	Remove(name string) error
	Mkdir(name string, perm fs.FileMode) error
	ReadDir(name string) ([]string, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Probe finds out what the file system can do, and leaves no trace.
	Probe() Features
	Close() error
}

// A File is an open file.
type File interface {
	io.ReaderAt
	// Pwrite writes as pwrite(2) does: n may be less than len(p) without an error.
	Pwrite(p []byte, off int64) (n int, err error)
	Stat() (Stat, error)
	Sync() error
	Truncate(size int64) error
	// Allocate reserves room for size bytes without changing what is read.
	Allocate(size int64) error
	// Insert shifts the bytes from off on by n and leaves a gap;
	// Collapse takes n bytes out at off. Neither survives a crash whole:
	// the file may be found partly shifted.
	Insert(off, n int64) error
	Collapse(off, n int64) error
	// Extents returns the ranges that hold data, merged and in order, as they
	// will be after a crash: what is pending is written first.
	Extents() ([]Extent, error)
	// Clone shares n bytes of src with this file.
	Clone(src File, srcOff, off, n int64) error
	// Cached reports whether a byte can be read without going to the disk. It
	// also says so where that is not known.
	Cached(off int64) bool
	// WriteOut begins to write a range to disk; Drop waits for that and takes
	// the range out of the cache. Both are advice and cannot fail.
	WriteOut(off, n int64)
	Drop(off, n int64)
	// Adopt takes over the owner and permissions of another file, and the
	// attributes and access control list that users gave it, as far as this
	// process and the file system may.
	Adopt(like File) error
	// Lock takes an exclusive lock that ends with the file's closing or the
	// process's end, or fails with ErrLocked.
	Lock() error
	// Writers reports whether another process has the file open for writing,
	// as far as can be known.
	Writers() bool
	Close() error
}

// ErrLocked reports that another process holds the lock.
var ErrLocked = errors.New("locked by another process")

// A Stat is what is known about a file by its name or descriptor.
type Stat struct {
	Mode      fs.FileMode
	Size      int64
	Allocated int64 // bytes of disk, at most Size rounded up
	ModTime   time.Time
	Dev, Ino  uint64 // 0 where the system has none
	Links     uint64
	UID, GID  int // -1 where the system has none
}

// Same reports whether two stats are of one file that did not change between.
func (s Stat) Same(o Stat) bool {
	return s.Size == o.Size && s.ModTime.Equal(o.ModTime) && s.Dev == o.Dev && s.Ino == o.Ino && s.Mode == o.Mode
}

// Features are what a file system can do.
type Features struct {
	Kind  string // "ext4", "xfs", …, or "" when unknown
	Block int64  // granularity of Insert and Clone
	// Insert also needs extent maps, without which it cannot be undone.
	Insert, Clone bool
	// CopyUp says that the first change to a file may copy it whole (overlay).
	CopyUp bool
	// Free is the room left in bytes, or -1 when unknown.
	Free int64
}

// An Extent is a range [Start, End) of a file that holds data.
type Extent struct{ Start, End int64 }

// A ThroughError says that the way to a file leads through what is no directory.
type ThroughError struct{ path, kind string }

func (e *ThroughError) Error() string {
	return fmt.Sprintf("%s is %s, and files are only changed below real directories", e.path, e.kind)
}

// notRegular is the error of a name that is to be a regular file and is not.
func notRegular(path string, mode fs.FileMode) error {
	return fmt.Errorf("%s is %s, not a regular file", path, kindOf(mode))
}

func kindOf(mode fs.FileMode) string {
	switch {
	case mode&fs.ModeSymlink != 0:
		return "a symbolic link"
	case mode.IsDir():
		return "a directory"
	case mode&fs.ModeNamedPipe != 0:
		return "a pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}

// Retry repeats f while a signal interrupts it.
func Retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// WriteFull writes all of p at off.
func WriteFull(f File, p []byte, off int64) error {
	for len(p) > 0 {
		n, err := f.Pwrite(p, off)
		p, off = p[n:], off+int64(n)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case n == 0:
			return io.ErrShortWrite
		}
	}
	return nil
}

// Sync makes a file's content durable.
func Sync(f File) error { return Retry(f.Sync) }

// SyncDir makes the names in a directory durable; "." is dir itself.
func SyncDir(dir Dir, name string) error {
	return Retry(func() error { return dir.SyncDir(name) })
}

// Open opens a file below dir, again while a signal interrupts it.
func Open(dir Dir, name string, flag int, perm fs.FileMode) (f File, err error) {
	err = Retry(func() error {
		f, err = dir.Open(name, flag, perm)
		return err
	})
	return f, err
}

// Read opens a file of a system for reading, again while a signal interrupts it.
func Read(sys System, path string, flag int) (f File, err error) {
	err = Retry(func() error {
		f, err = sys.Read(path, flag)
		return err
	})
	return f, err
}

// A writer writes a file from a place on.
type writer struct {
	f  File
	at int64
}

func (w *writer) Write(p []byte) (int, error) {
	if err := WriteFull(w.f, p, w.at); err != nil {
		return 0, err
	}
	w.at += int64(len(p))
	return len(p), nil
}

// parent returns the directory part of a name, "." for a name without slashes.
func parent(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return "."
}

// from returns the part of a map at or after off, moved by shift.
func from(m []Extent, off, shift int64) []Extent {
	var out []Extent
	for _, e := range m {
		if e.End <= off {
			continue
		}
		out = append(out, Extent{max(e.Start, off) + shift, e.End + shift})
	}
	return out
}

// Before returns the part of a map below off.
func Before(m []Extent, off int64) []Extent {
	var out []Extent
	for _, e := range m {
		if e.Start >= off {
			break
		}
		out = append(out, Extent{e.Start, min(e.End, off)})
	}
	return out
}

// gap finds where a hole of n bytes was opened in a file with the extent map
// old to give it the map now. A false result says that no single hole
// explains now.
func gap(old, now []Extent, n int64) (at int64, ok bool) {
	at = -1
	for i, o := range old {
		if i >= len(now) || now[i].Start > o.Start {
			at = o.Start
			break
		}
		if now[i] != o {
			at = now[i].End
			break
		}
	}
	if at < 0 {
		return 0, len(old) == len(now)
	}
	return at, slices.Equal(append(Before(old, at), from(old, at, n)...), now)
}
