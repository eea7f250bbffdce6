package txn

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// PastCache is the flag that opens a file past the cache, 0 where there is none.
const PastCache = unix.O_DIRECT

// largeFile lets a 32-bit processor open files of 2 GiB and more, which os.Root
// does not ask for.
const largeFile = unix.O_LARGEFILE

func (f osFile) fd() int { return int(f.Fd()) }

func (f osFile) Sync() error { return f.fail("fsync", unix.Fsync(f.fd())) }

func (f osFile) fail(call string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: call, Path: f.Name(), Err: err}
}

// refused reads "this file cannot do that" out of an error. The kernel says
// EINVAL where a file system wants another granularity, or sees a swap file or
// a real-time extent, and EXDEV or EBADF where two files cannot share blocks.
func refused(err error) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EBADF) || errors.Is(err, unix.EFBIG) {
		return fmt.Errorf("%w (%w)", errors.ErrUnsupported, err)
	}
	return err
}

func (f osFile) Allocate(size int64) error {
	return f.fail("fallocate", unix.Fallocate(f.fd(), unix.FALLOC_FL_KEEP_SIZE, 0, size))
}

func (f osFile) Insert(off, n int64) error {
	return f.fail("insert range", refused(unix.Fallocate(f.fd(), unix.FALLOC_FL_INSERT_RANGE, off, n)))
}

func (f osFile) Collapse(off, n int64) error {
	return f.fail("collapse range", unix.Fallocate(f.fd(), unix.FALLOC_FL_COLLAPSE_RANGE, off, n))
}

func (f osFile) Clone(src File, srcOff, off, n int64) error {
	s, ok := src.(osFile)
	if !ok {
		return errors.ErrUnsupported
	}
	return f.fail("clone range", refused(unix.IoctlFileCloneRange(f.fd(), &unix.FileCloneRange{
		Src_fd: int64(s.fd()), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(off),
	})))
}

func (f osFile) Cached(off int64) bool {
	_, err := unix.Preadv2(f.fd(), [][]byte{make([]byte, 1)}, off, unix.RWF_NOWAIT)
	return !errors.Is(err, unix.EAGAIN)
}

func (f osFile) WriteOut(off, n int64) {
	_ = unix.SyncFileRange(f.fd(), off, n, unix.SYNC_FILE_RANGE_WRITE)
}

func (f osFile) Drop(off, n int64) {
	_ = unix.SyncFileRange(f.fd(), off, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	_ = unix.Fadvise(f.fd(), off, n, unix.FADV_DONTNEED)
}

// copyAttributes copies the extended attributes of users, and the access
// control list, which is one of the system's. What the kernel or a security
// module keeps for itself (security.*, trusted.*) belongs to the file it is on.
// A file system without attributes is no reason to fail.
func copyAttributes(to, from osFile) {
	names := make([]byte, 64<<10) // the most that Linux returns
	n, err := unix.Flistxattr(from.fd(), names)
	if err != nil {
		return
	}
	value := make([]byte, 64<<10)
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !strings.HasPrefix(name, "user.") && name != "system.posix_acl_access" {
			continue
		}
		if n, err := unix.Fgetxattr(from.fd(), name, value); err == nil {
			_ = unix.Fsetxattr(to.fd(), name, value[:n], 0)
		}
	}
}

// Writers asks for a read lease, which the kernel refuses while somebody has
// the file open for writing. Where leases are not to be had nothing is known.
func (f osFile) Writers() bool {
	// A process that this one is starting has all of its files open until it is another
	// program, also one that was written a moment ago and closed. Who writes stays longer.
	const longest = 256 * time.Millisecond
	for wait := time.Millisecond; ; wait *= 2 {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			_, _ = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
		}
		if !errors.Is(err, unix.EAGAIN) {
			return false
		}
		if wait > longest {
			return true
		}
		time.Sleep(wait)
	}
}

// The FIEMAP interface: linux/fiemap.h.
const (
	fsIocFiemap      = 0xC020660B
	fiemapFlagSync   = 1
	fiemapExtentLast = 1
	fiemapBatch      = 512
)

type fiemapExtent struct {
	Logical, Physical, Length uint64
	_                         [2]uint64
	Flags                     uint32
	_                         [3]uint32
}

type fiemap struct {
	Start, Length                        uint64
	Flags, Mapped, ExtentCount, reserved uint32
	Extents                              [fiemapBatch]fiemapExtent
}

func (f osFile) Extents() ([]Extent, error) {
	var out []Extent
	req := new(fiemap)
	for start := uint64(0); ; {
		*req = fiemap{Start: start, Length: 1<<63 - 1 - start, Flags: fiemapFlagSync, ExtentCount: fiemapBatch}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(req))); errno != 0 {
			return nil, f.fail("fiemap", refused(errno))
		}
		if req.Mapped == 0 {
			return out, nil
		}
		for _, e := range req.Extents[:min(req.Mapped, fiemapBatch)] {
			a, b := int64(e.Logical), int64(e.Logical+e.Length)
			if n := len(out); n > 0 && out[n-1].End == a {
				out[n-1].End = b
			} else {
				out = append(out, Extent{a, b})
			}
			start = uint64(b)
			if e.Flags&fiemapExtentLast != 0 {
				return out, nil
			}
		}
	}
}

func renameAt(a *os.Root, x string, b *os.Root, y string, how int) error {
	flag := map[int]uint{renameNew: unix.RENAME_NOREPLACE, renameExchange: unix.RENAME_EXCHANGE}[how]
	return atFds(a, b, func(da, db int) error {
		err := unix.Renameat2(da, x, db, y, flag)
		if flag == 0 {
			return err
		}
		return refused(err)
	})
}

// kinds are the file systems that go by a name in messages: linux/magic.h.
var kinds = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay",
	unix.NFS_SUPER_MAGIC:       "nfs",
	unix.FUSE_SUPER_MAGIC:      "fuse",
	0x2fc12fc1:                 "zfs",
	0xca451a4e:                 "bcachefs",
}

// Probe tries each operation on a file without a name, which vanishes when it
// is closed.
func (d *osDir) Probe() Features {
	ft := Features{Block: 4096, Free: -1}
	var st unix.Statfs_t
	dir, err := d.root.Open(".")
	if err != nil {
		return ft
	}
	defer dir.Close()
	if unix.Fstatfs(int(dir.Fd()), &st) == nil {
		ft.Kind = kinds[int64(uint32(st.Type))]
		ft.CopyUp = int64(uint32(st.Type)) == unix.OVERLAYFS_SUPER_MAGIC
		if b := int64(st.Bsize); b > 0 {
			ft.Block = b
			if free := st.Bavail; free < 1<<62/uint64(b) {
				ft.Free = int64(free) * b
			}
		}
	}
	if ft.CopyUp {
		return ft
	}
	f, err := unnamed(dir)
	if err != nil {
		return ft
	}
	defer f.Close()
	// Clusters and real-time extents are larger than the block that statfs
	// tells: look for the granularity that the file system takes.
	for b := ft.Block; b <= 1<<20; b *= 2 {
		if f.Truncate(0) != nil || f.Truncate(4*b) != nil {
			return ft
		}
		if _, err := f.Pwrite([]byte{1}, 0); err != nil {
			return ft
		}
		if _, err := f.Extents(); err != nil {
			break
		}
		if err := f.Insert(b, b); err == nil {
			ft.Insert = f.Collapse(b, b) == nil
			ft.Block = b
			break
		} else if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	if g, err := unnamed(dir); err == nil {
		defer g.Close()
		ft.Clone = g.Clone(f, 0, ft.Block, ft.Block) == nil
	}
	return ft
}

func unnamed(dir *os.File) (osFile, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return osFile{}, err
	}
	return osFile{os.NewFile(uintptr(fd), dir.Name())}, nil
}
