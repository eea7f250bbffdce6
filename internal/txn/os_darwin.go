package txn

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func freeSpace(dir *os.Root) int64 {
	var st unix.Statfs_t
	d, err := dir.Open(".")
	if err != nil {
		return -1
	}
	defer d.Close()
	if unix.Fstatfs(int(d.Fd()), &st) != nil || st.Bsize == 0 || st.Bavail >= 1<<62/uint64(st.Bsize) {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}

func renameAt(a *os.Root, x string, b *os.Root, y string, how int) error {
	flag := map[int]uint32{renameNew: unix.RENAME_EXCL, renameExchange: unix.RENAME_SWAP}[how]
	return atFds(a, b, func(da, db int) error {
		if how == renameReplace {
			return unix.Renameat(da, x, db, y)
		}
		err := unix.RenameatxNp(da, x, db, y, flag)
		if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
		}
		return err
	})
}
