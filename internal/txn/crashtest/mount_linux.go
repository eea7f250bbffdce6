package crashtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Mount is a file system of its own, in a file; a tmpfs is in memory.
type Mount struct {
	Kind string
	Dir  string

	t     testing.TB
	image string
}

// Least is the smallest size in MiB that mkfs makes of a file system.
var Least = map[string]int64{"ext4": 8, "xfs": 300, "btrfs": 110, "tmpfs": 1}

// NewMount makes a file system and mounts it, or skips the test and says why.
func NewMount(t testing.TB, kind string, mib int64) *Mount {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("mounting a %s file system takes root", kind)
	}
	m := &Mount{Kind: kind, Dir: t.TempDir(), t: t}
	if kind == "tmpfs" {
		if out, err := exec.Command("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%dm", mib), "tmpfs", m.Dir).CombinedOutput(); err != nil {
			t.Skipf("mount: %v: %s", err, out)
		}
	} else {
		mkfs, err := exec.LookPath("mkfs." + kind)
		if err != nil {
			t.Skipf("mkfs.%s is not installed", kind)
		}
		m.image = filepath.Join(imageDir(t), "image")
		f, err := os.Create(m.image)
		if err == nil {
			err = errors.Join(f.Truncate(mib<<20), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(mkfs, "-q", m.image).CombinedOutput(); err != nil {
			t.Skipf("mkfs.%s: %v: %s", kind, err, out)
		}
		if out, err := m.mount(); err != nil {
			t.Skipf("mount: %v: %s", err, out)
		}
	}
	t.Cleanup(func() { m.unmount() })
	// As the kernel names files below it.
	if dir, err := filepath.EvalSymlinks(m.Dir); err == nil {
		m.Dir = dir
	}
	return m
}

// imageDir is in memory where there is such a place: what is written to the image
// is durable enough for these tests, and they need not wait for a disk.
func imageDir(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "wtinspect")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (m *Mount) mount() ([]byte, error) {
	return exec.Command("mount", "-o", "loop", m.image, m.Dir).CombinedOutput()
}

func (m *Mount) unmount() {
	out, err := exec.Command("umount", m.Dir).CombinedOutput()
	for range 50 {
		if err == nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
		out, err = exec.Command("umount", m.Dir).CombinedOutput()
	}
	m.t.Errorf("umount: %v: %s", err, out)
}

// Remount reads everything from the image again.
func (m *Mount) Remount() {
	m.t.Helper()
	m.unmount()
	if out, err := m.mount(); err != nil {
		m.t.Fatalf("mount: %v: %s", err, out)
	}
}

// Sync makes what is on the file system durable.
func (m *Mount) Sync() {
	m.t.Helper()
	d, err := os.Open(m.Dir)
	if err != nil {
		m.t.Fatal(err)
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		m.t.Fatal(err)
	}
}

// Shutdown stops the file system at once, without writing its log.
func (m *Mount) Shutdown() error {
	d, err := os.Open(m.Dir)
	if err != nil {
		return err
	}
	defer d.Close()
	const fsIocShutdown, noLogFlush = 0x8004587D, 2 // linux/fs.h
	flag := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), fsIocShutdown, uintptr(unsafe.Pointer(&flag))); errno != 0 {
		return errno
	}
	return nil
}

// Copy copies the image as it is on the disk at this moment. Nothing is lost
// or torn in it if nobody writes meanwhile; it is made again if somebody does.
func (m *Mount) Copy() (image string, err error) {
	for range 20 {
		before := m.writes()
		if image, err = m.copyImage(); err != nil || m.writes() == before {
			return image, err
		}
	}
	return "", errors.New("the file system is never at rest")
}

// writes is what the loop device says that was written to it.
func (m *Mount) writes() string {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == m.Dir {
			stat, _ := os.ReadFile(filepath.Join("/sys/block", filepath.Base(f[0]), "stat"))
			if f := strings.Fields(string(stat)); len(f) > 6 {
				return f[4] + " " + f[6]
			}
		}
	}
	return ""
}

func (m *Mount) copyImage() (string, error) {
	src, err := os.Open(m.image)
	if err != nil {
		return "", err
	}
	defer src.Close()
	fi, err := src.Stat()
	if err != nil {
		return "", err
	}
	dst, err := os.Create(m.image + ".copy")
	if err != nil {
		return "", err
	}
	defer dst.Close()
	if err := dst.Truncate(fi.Size()); err != nil {
		return "", err
	}
	for at := int64(0); ; {
		start, err := unix.Seek(int(src.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return dst.Name(), nil
		}
		if err != nil {
			return "", err
		}
		if at, err = unix.Seek(int(src.Fd()), start, unix.SEEK_HOLE); err != nil {
			return "", err
		}
		if _, err := io.Copy(io.NewOffsetWriter(dst, start), io.NewSectionReader(src, start, at-start)); err != nil {
			return "", err
		}
	}
}

// Restore mounts a copy of the image in the place of the file system.
func (m *Mount) Restore(image string) {
	m.t.Helper()
	m.unmount()
	if err := os.Rename(image, m.image); err != nil {
		m.t.Fatal(err)
	}
	if out, err := m.mount(); err != nil {
		m.t.Fatalf("mount: %v: %s", err, out)
	}
}

// ReadOnly mounts the file system again, for reading alone or not.
func (m *Mount) ReadOnly(on bool) {
	m.t.Helper()
	how := "remount,rw"
	if on {
		how = "remount,ro"
	}
	if out, err := exec.Command("mount", "-o", how, m.Dir).CombinedOutput(); err != nil {
		m.t.Fatalf("mount: %v: %s", err, out)
	}
}
