package rewrite

import (
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"time"
)

// A fileSystem is every call the package makes to the operating system to
// look at or change files. It is a seam: the tests run the same code on a
// model of a disk that loses power, and cut it off at every call.
//
// Calls are as raw as the system's: they may be interrupted (EINTR), and a
// write may be short. retry and writeFull see to both.
type fileSystem interface {
	Open(name string, flag int, perm fs.FileMode) (file, error)
	// Lstat does not follow a symbolic link.
	Lstat(name string) (stat, error)
	// Rename replaces newname when it exists.
	Rename(oldname, newname string) error
	// Exchange swaps two names, or fails with errors.ErrUnsupported.
	Exchange(a, b string) error
	Remove(name string) error
	Mkdir(name string, perm fs.FileMode) error
	ReadDir(name string) ([]string, error)
	// SyncDir makes the names in a directory durable.
	SyncDir(name string) error
	// Probe finds out what the file system that holds dir can do.
	// It leaves no trace.
	Probe(dir string) features
}

// A file is an open file of a fileSystem.
type file interface {
	io.ReaderAt
	// Pwrite writes as pwrite(2) does: n may be less than len(p) without an error.
	Pwrite(p []byte, off int64) (n int, err error)
	Stat() (stat, error)
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
	Extents() ([]extent, error)
	// Clone shares n bytes of src with this file.
	Clone(src file, srcOff, off, n int64) error
	// Cached reports whether a byte can be read without going to the disk. It
	// says so, too, where that is not known.
	Cached(off int64) bool
	// WriteOut begins to write a range to disk; Drop waits for that and takes
	// the range out of the cache. Both are advice and cannot fail.
	WriteOut(off, n int64)
	Drop(off, n int64)
	// Adopt takes over the owner and permissions of another file, and the
	// attributes and access control list that users gave it, as far as this
	// process and the file system may.
	Adopt(like file) error
	// Lock takes an exclusive lock that ends with the file's closing or the
	// process's end, or fails with errLocked.
	Lock() error
	// Writers reports whether another process has the file open for writing,
	// as far as can be known.
	Writers() bool
	Close() error
}

// errLocked reports that another process holds the lock.
var errLocked = errors.New("locked by another process")

// A stat is what is known about a file by its name or descriptor.
type stat struct {
	Mode      fs.FileMode
	Size      int64
	Allocated int64 // bytes of disk, at most Size rounded up
	ModTime   time.Time
	Dev, Ino  uint64 // 0 where the system has none
	Links     uint64
	UID, GID  int // -1 where the system has none
}

// same reports whether two stats are of one file that did not change between.
func (s stat) same(o stat) bool {
	return s.Size == o.Size && s.ModTime.Equal(o.ModTime) && s.Dev == o.Dev && s.Ino == o.Ino && s.Mode == o.Mode
}

// features are what a file system can do.
type features struct {
	Kind  string // "ext4", "xfs", …, or "" when unknown
	Block int64  // granularity of Insert and Clone
	// Insert also needs extent maps, without which it cannot be undone.
	Insert, Clone bool
	// CopyUp says that the first change to a file may copy it whole (overlay).
	CopyUp bool
	// Free is the room left in bytes, or -1 when unknown.
	Free int64
}

// An extent is a range [Start, End) of a file that holds data.
type extent struct{ Start, End int64 }

// retry repeats f while it is interrupted by a signal.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// writeFull writes all of p at off.
func writeFull(f file, p []byte, off int64) error {
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

func syncFile(f file) error { return retry(f.Sync) }

func syncDir(fsys fileSystem, dir string) error {
	return retry(func() error { return fsys.SyncDir(dir) })
}

// from returns the part of a map at or after off, moved by shift.
func from(m []extent, off, shift int64) []extent {
	var out []extent
	for _, e := range m {
		if e.End <= off {
			continue
		}
		out = append(out, extent{max(e.Start, off) + shift, e.End + shift})
	}
	return out
}

// before returns the part of a map below off.
func before(m []extent, off int64) []extent {
	var out []extent
	for _, e := range m {
		if e.Start >= off {
			break
		}
		out = append(out, extent{e.Start, min(e.End, off)})
	}
	return out
}

// gap finds where a hole of n bytes was opened in a file with the extent map
// old to give it the map now. A false result says that no single hole
// explains now.
func gap(old, now []extent, n int64) (at int64, ok bool) {
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
	return at, slices.Equal(append(before(old, at), from(old, at, n)...), now)
}
