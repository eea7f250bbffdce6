package values

import (
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The benchmarks of files measure a thing and its comparisons in turns and report
// the best of each with their ratios: on a machine that does other things too,
// figures that were taken one after the other say little. Rates are by processor
// time unless they say that they are by the clock.

// cpuTime is what this process has used of the processors.
func cpuTime(tb testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchFileBytes is large beside every cache.
const benchFileBytes = 256 << 20

// benchFile writes blocks of a type to a file, and leaves it in the page cache.
func benchFile(b *testing.B, typ *Type) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "blocks"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	// Not much of it twice: equal parts would be equally placed in the counters.
	block := benchBlocks(typ, 16<<20)
	for n := 0; n < benchFileBytes; n += len(block) {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return f
}

// halvesOf returns the two halves of a file as tensors.
func halvesOf(f *os.File, typ *Type) []Section {
	size := int64(benchFileBytes / 2 / typ.BlockBytes * typ.BlockBytes)
	return []Section{
		{Name: "a", Type: typ, Data: io.NewSectionReader(f, 0, size)},
		{Name: "b", Type: typ, Data: io.NewSectionReader(f, size, size)},
	}
}

// pread reads a file as plain loops do.
func pread(b *testing.B, f *os.File) {
	buf := make([]byte, 256<<10)
	for at := int64(0); at < benchFileBytes; at += int64(len(buf)) {
		if _, err := f.ReadAt(buf, at); err != nil && err != io.EOF {
			b.Fatal(err)
		}
	}
}

type contestant struct {
	name string
	run  func()
}

// contest runs all contestants in turns over the same bytes. It reports the best
// rates, and those of all but the first relative to the first.
func contest(b *testing.B, bytes int64, all ...contestant) {
	cpu, wall := make([]time.Duration, len(all)), make([]time.Duration, len(all))
	for i := range all {
		cpu[i], wall[i] = math.MaxInt64, math.MaxInt64
	}
	for b.Loop() {
		for i, c := range all {
			cpu0, wall0 := cpuTime(b), time.Now()
			c.run()
			wall[i] = min(wall[i], time.Since(wall0))
			cpu[i] = min(cpu[i], cpuTime(b)-cpu0)
		}
	}
	for i, c := range all {
		b.ReportMetric(float64(bytes)/float64(cpu[i]), c.name+":GB/cpu-s")
		b.ReportMetric(float64(bytes)/float64(wall[i]), c.name+":GB/s")
		if i > 0 {
			b.ReportMetric(float64(cpu[0])/float64(cpu[i]), c.name+"/"+all[0].name)
		}
	}
	b.ReportMetric(0, "ns/op")
}

// Statistics, digests and equality of a file in the page cache.
func BenchmarkWarmFile(b *testing.B) {
	for _, name := range []string{"BF16", "F16", "F32", "Q4_K"} {
		typ := mustLookup(b, name)
		f := benchFile(b, typ)
		halves := halvesOf(f, typ)
		run := func(opt Options) func() {
			return func() { runAll(b, halves, opt) }
		}
		stats := &StatsOptions{}
		b.Run(name+"/pread", func(b *testing.B) {
			contest(
				b, benchFileBytes,
				contestant{"pread", func() { pread(b, f) }},
				contestant{"stats", run(Options{Workers: 1, Stats: stats})},
				contestant{"stats2", run(Options{Workers: 2, Stats: stats})},
				contestant{"equal", func() {
					comparePairs(b, []Pair{{halves[0], halves[1]}}, PairOptions{Workers: 1})
				}},
			)
		})
		b.Run(name+"/digest", func(b *testing.B) {
			contest(
				b, benchFileBytes,
				contestant{"sha256", run(Options{Workers: 1, SHA256: true})},
				contestant{"sha256+stats", run(Options{Workers: 1, SHA256: true, Stats: stats})},
			)
		})
	}
}
