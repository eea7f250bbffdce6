package rewrite

import "golang.org/x/sys/unix"

func freeSpace(dir string) int64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Bsize == 0 || st.Bavail >= 1<<62/uint64(st.Bsize) {
		return -1
	}
	return int64(st.Bavail) * int64(st.Bsize)
}
