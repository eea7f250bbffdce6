package values

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what this process has used of the processors.
func cpuTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Files that are not in the page cache, beside reads that go round it.
func BenchmarkColdFile(b *testing.B) {
	for _, name := range []string{"BF16", "Q4_K"} {
		typ := mustLookup(b, name)
		f, halves := benchFile(b, typ)
		b.Run(name, func(b *testing.B) {
			direct, err := unix.Open(f.Name(), unix.O_RDONLY|unix.O_DIRECT, 0)
			if err != nil {
				b.Skipf("no direct reads from %s: %v", f.Name(), err)
			}
			defer unix.Close(direct)
			cold := func(opt Options) func() {
				return func() {
					if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
						b.Fatal(err)
					}
					runAll(b, halves, opt)
				}
			}
			contest(
				b, benchFileBytes, wallTime,
				contestant{"direct", func() { readDirect(b, direct) }},
				contestant{"read", cold(Options{})},
				contestant{"stats", cold(Options{Stats: &StatsOptions{}})},
			)
		})
	}
}

// readDirect reads a file of benchFileBytes with four readers at a time, into
// pages of their own.
func readDirect(b *testing.B, fd int) {
	const chunk = 1 << 20
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			buf, err := unix.Mmap(-1, 0, chunk, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
			if err != nil {
				b.Error(err)
				return
			}
			defer unix.Munmap(buf)
			for at := next.Add(chunk) - chunk; at < benchFileBytes; at = next.Add(chunk) - chunk {
				if _, err := unix.Pread(fd, buf, at); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
