package txn

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// ReplacesOpen says that an open file can be replaced and removed. Here neither
// is allowed, and the checkpoint that is rewritten is open.
const ReplacesOpen = false

const nonblock = 0

func (f osFile) Pwrite(p []byte, off int64) (int, error) { return f.WriteAt(p, off) }

func (f osFile) Lock() error {
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0,
		// Far behind the journal's bytes: a lock is also a lock against reading.
		&windows.Overlapped{OffsetHigh: 1 << 30})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrLocked
	}
	return err
}

// syncRoot does nothing: Windows journals names by itself and cannot be asked.
func syncRoot(*os.Root) error { return nil }

func sysStat(fi fs.FileInfo) Stat {
	return Stat{Mode: fi.Mode(), Size: fi.Size(), Allocated: fi.Size(), ModTime: fi.ModTime(), Links: 1, UID: -1, GID: -1}
}

func freeSpace(dir *os.Root) int64 {
	var free uint64
	name, err := windows.UTF16PtrFromString(dir.Name())
	if err != nil || windows.GetDiskFreeSpaceEx(name, &free, nil, nil) != nil || free > 1<<62 {
		return -1
	}
	return int64(free)
}

// mine says that ownership decides nothing here.
func mine(int) bool { return true }

// trusted does not look at ownership, which is not to be had so on Windows.
func trusted(journal, file Stat) bool { return true }
