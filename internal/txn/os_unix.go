//go:build unix

package txn

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// ReplacesOpen says that an open file can be replaced and removed; who has it
// open keeps it.
const ReplacesOpen = true

// nonblock keeps open(2) from waiting where a FIFO has taken a file's name.
const nonblock = unix.O_NONBLOCK

func (f osFile) Pwrite(p []byte, off int64) (int, error) {
	n, err := unix.Pwrite(int(f.Fd()), p, off)
	if err != nil {
		return max(n, 0), &os.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return n, nil
}

func (f osFile) Lock() error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrLocked
	}
	return &os.PathError{Op: "lock", Path: f.Name(), Err: err}
}

func syncRoot(dir *os.Root) error {
	d, err := dir.Open(".")
	if err != nil {
		return err
	}
	defer d.Close()
	// Some network and FUSE file systems refuse to sync a directory; there is
	// nothing more that can be asked of them.
	if err := unix.Fsync(int(d.Fd())); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return &os.PathError{Op: "fsync", Path: dir.Name(), Err: err}
	}
	return nil
}

func sysStat(fi fs.FileInfo) Stat {
	st := Stat{Mode: fi.Mode(), Size: fi.Size(), Allocated: fi.Size(), ModTime: fi.ModTime(), Links: 1, UID: -1, GID: -1}
	if s, ok := fi.Sys().(*syscall.Stat_t); ok {
		st.Dev, st.Ino, st.Links = uint64(s.Dev), s.Ino, uint64(s.Nlink)
		st.Allocated = s.Blocks * 512
		st.UID, st.GID = int(s.Uid), int(s.Gid)
	}
	return st
}

// atFds calls f with descriptors of two directories.
func atFds(a, b *os.Root, f func(a, b int) error) error {
	x, err := a.Open(".")
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := b.Open(".")
	if err != nil {
		return err
	}
	defer y.Close()
	return f(int(x.Fd()), int(y.Fd()))
}

// mine reports whether a file of that owner is this user's or the system's.
func mine(uid int) bool { return uid == 0 || uid == os.Geteuid() }

// trusted reports whether a journal may decide about a file: it is this user's,
// the system's, or belongs to who owns the file.
func trusted(journal, file Stat) bool {
	return mine(journal.UID) || journal.UID == file.UID
}
