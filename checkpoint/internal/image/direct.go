package image

import (
	"errors"
	"io"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// directAlign is what offsets, lengths and memory are multiples of in reads
// and writes past the cache: enough for the disks there are.
const directAlign = 4096

// directLeast is the size from which a file is worth a second descriptor.
const directLeast = 1 << 20

// A directFile reads and writes past the cache what it can, and the ends of
// ranges through it. A copy is read once and written once: keeping it in memory
// takes more of the processor's time than the disk, and drives out of memory
// what others need. What is read back to be verified comes from the disk.
type directFile struct {
	txn.File
	past txn.File // the same file, past the cache
	size int64
	// refused says that the file system takes what is open past the cache, and no calls.
	refused atomic.Bool
}

// Open opens a file of a size, past the cache where the file system
// allows it. open is called with 0, and then with [txn.PastCache].
func Open(size int64, open func(flag int) (txn.File, error)) (txn.File, error) {
	f, err := open(0)
	if err != nil || size < directLeast || txn.PastCache == 0 {
		return f, err
	}
	past, err := open(txn.PastCache)
	if err != nil {
		return f, nil
	}
	return &directFile{File: f, past: past, size: size}, nil
}

func isAligned(p []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(p)))%directAlign == 0
}

func (d *directFile) ReadAt(p []byte, off int64) (int, error) {
	if n := int64(len(p)); n > 0 && off%directAlign == 0 && n%directAlign == 0 && off <= d.size-n && isAligned(p) {
		if n, err := d.past.ReadAt(p, off); !errors.Is(err, syscall.EINVAL) {
			return n, err
		}
	}
	return d.File.ReadAt(p, off)
}

// Pwrite writes as much as goes one way or the other.
func (d *directFile) Pwrite(p []byte, off int64) (int, error) {
	if k := (directAlign - off%directAlign) % directAlign; k > 0 {
		return d.File.Pwrite(p[:min(k, int64(len(p)))], off)
	}
	if n := len(p) / directAlign * directAlign; n > 0 && isAligned(p) {
		if n, err := d.past.Pwrite(p[:n], off); !errors.Is(err, syscall.EINVAL) {
			return n, err
		}
		d.refused.Store(true)
	}
	return d.File.Pwrite(p, off)
}

// isPastCache reports whether no byte of a range that was written to a file is in the cache.
func isPastCache(f txn.File, off, n int64) bool {
	d, ok := f.(*directFile)
	return ok && off%directAlign == 0 && n%directAlign == 0 && !d.refused.Load()
}

// readBlock reads n bytes at off. They are returned as part of mem, as far into
// a page of memory as into says; mem has room for two pages more. What is not in
// the cache is read past it, and moved to its place in memory.
func readBlock(src io.ReaderAt, mem []byte, off int64, n, into int) ([]byte, error) {
	p := mem[into : into+n]
	d, ok := src.(*directFile)
	if !ok {
		return p, source.ReadFull(src, p, off)
	}
	first := int(off % directAlign)
	whole := min(RoundUp(off+int64(n), directAlign), d.size/directAlign*directAlign) - (off - int64(first))
	// The end tells: the beginning may be what the system has read ahead.
	if whole <= int64(first) || d.Cached(off+int64(n)-1) {
		return p, source.ReadFull(d.File, p, off)
	}
	if err := source.ReadFull(d, mem[:whole], off-int64(first)); err != nil {
		return p, err
	}
	got := copy(p, mem[first:whole])
	return p, source.ReadFull(d.File, p[got:], off+int64(got))
}

func (d *directFile) Close() error { return errors.Join(d.past.Close(), d.File.Close()) }

// RoundUp returns the first multiple of to that is not less than n.
func RoundUp(n, to int64) int64 { return (n + to - 1) / to * to }
