package values

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The benchmarks measure things and what they are compared with in turns, and
// report the best of each: on a machine that does other things too, figures that
// were taken one after the other say little. Most are of processor time, some of
// the clock, where several processors or a disk take part.

// A contestant goes over a number of bytes, the same for all.
type contestant struct {
	name string
	run  func()
}

// contest reports the rates of contestants, in GB a second of the clock, and how
// they relate to that of the first. It returns the rates.
func contest(b *testing.B, bytes int, clock func(testing.TB) time.Duration, all ...contestant) (rates []float64) {
	b.Helper()
	best := slices.Repeat([]time.Duration{math.MaxInt64}, len(all))
	for b.Loop() {
		for i, c := range all {
			start := clock(b)
			c.run()
			best[i] = min(best[i], clock(b)-start)
		}
	}
	for i, c := range all {
		rates = append(rates, float64(bytes)/float64(best[i]))
		b.ReportMetric(rates[i], c.name+":GB/s")
		if i > 0 {
			b.ReportMetric(rates[i]/rates[0], c.name+"/"+all[0].name)
		}
	}
	b.ReportMetric(0, "ns/op")
	return rates
}

var started = time.Now()

func wallTime(testing.TB) time.Duration { return time.Since(started) }

// naive returns a loop that one writes first, decoding by hand or, where nobody
// has, with Decode.
func naive(typ *Type) func(dst []float32, src []byte) {
	if f := naiveDecoders[typ.Name]; f != nil {
		return f
	}
	return func(dst []float32, src []byte) { typ.Decode(dst, src) }
}

// windows calls f with parts of src that decode to few enough numbers for the
// fastest cache.
func windows(typ *Type, src []byte, f func(numbers int, part []byte)) {
	const numbers = 8192
	for part := range slices.Chunk(src, numbers/typ.numbers()*typ.BlockBytes) {
		f(len(part)/typ.BlockBytes*typ.numbers(), part)
	}
}

// Bytes that are in the cache.
const benchBytes = 256 << 10

func BenchmarkDecode(b *testing.B) {
	for _, name := range []string{
		"BF16", "F16", "F8_E4M3", "Q8_0", "Q4_0", "Q4_K", "Q5_K", "Q6_K", "Q2_K", "Q3_K", "IQ2_XXS", "IQ3_S", "IQ4_XS", "MXFP4",
	} {
		b.Run(name, func(b *testing.B) {
			typ := mustLookup(b, name)
			src := benchBlocks(typ, benchBytes)
			dst := make([]float32, 8192)
			all := []contestant{{"decode", func() {
				windows(typ, src, func(n int, part []byte) { typ.Decode(dst[:n], part) })
			}}}
			if f := naiveDecoders[name]; f != nil {
				all = slices.Insert(all, 0, contestant{"naive", func() {
					windows(typ, src, func(n int, part []byte) { f(dst[:n], part) })
				}})
			}
			contest(b, len(src), wallTime, all...)
		})
	}
}

func BenchmarkStats(b *testing.B) {
	for _, name := range []string{
		"BF16", "F16", "F8_E4M3", "F32", "F64", "I32", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4", "IQ3_S",
	} {
		b.Run(name, func(b *testing.B) {
			typ := mustLookup(b, name)
			src := benchBlocks(typ, benchBytes)
			dst := make([]float32, 8192)
			decode := naive(typ)
			a := NewAccumulator(typ, nil)
			var s naiveStats
			contest(
				b, len(src), wallTime,
				contestant{"naive", func() {
					windows(typ, src, func(n int, part []byte) {
						decode(dst, part)
						s.add(dst[:n])
					})
				}},
				contestant{"stats", func() { a.Add(src) }},
			)
		})
	}
}

// Tensors so small that what each costs shows: of 64 KiB, and of 10 KiB, whose codes are gathered.
func BenchmarkSmallTensor(b *testing.B) {
	for _, size := range []int{64 << 10, 10 << 10} {
		for _, name := range []string{"BF16", "F32"} {
			benchSmall(b, fmt.Sprintf("%s/%dK", name, size>>10), name, size)
		}
	}
}

func benchSmall(b *testing.B, title, name string, size int) {
	b.Run(title, func(b *testing.B) {
		typ := mustLookup(b, name)
		src := benchBlocks(typ, size)
		a := NewAccumulator(typ, nil)
		for b.Loop() {
			a.Reset()
			a.Add(src)
			a.Stats()
		}
	})
}

// benchFileBytes is large beside every cache.
const benchFileBytes = 256 << 20

// benchFile writes blocks of a type to a file, and returns its halves as tensors.
func benchFile(b *testing.B, typ *Type) (f *os.File, halves []Section) {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "blocks"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	block := benchBlocks(typ, 16<<20)
	for n := 0; n < benchFileBytes; n += len(block) {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	size := int64(benchFileBytes / 2 / typ.BlockBytes * typ.BlockBytes)
	return f, []Section{
		{Name: "a", Type: typ, Data: io.NewSectionReader(f, 0, size)},
		{Name: "b", Type: typ, Data: io.NewSectionReader(f, size, size)},
	}
}

// pread reads a file as plain loops do.
func pread(b *testing.B, f *os.File) {
	buf := make([]byte, 256<<10)
	for at := int64(0); at < benchFileBytes; at += int64(len(buf)) {
		if _, err := f.ReadAt(buf, at); err != nil {
			b.Fatal(err)
		}
	}
}

// Files in the page cache.
func BenchmarkWarmFile(b *testing.B) {
	for _, name := range []string{"BF16", "F16", "F32", "Q4_K"} {
		typ := mustLookup(b, name)
		f, halves := benchFile(b, typ)
		run := func(name string, opt Options) contestant {
			return contestant{name, func() { runAll(b, halves, opt) }}
		}
		equal := []Pair{{halves[0], halves[0]}}
		shifted := halves[0]
		shifted.Data = io.NewSectionReader(f, int64(typ.BlockBytes), shifted.Data.Size())
		different := []Pair{{halves[0], shifted}}
		stats := &StatsOptions{}
		read := contestant{"pread", func() { pread(b, f) }}
		b.Run(name+"/core", func(b *testing.B) {
			contest(
				b, benchFileBytes, cpuTime, read,
				run("stats", Options{Workers: 1, Stats: stats}),
				contestant{"equal", func() { comparePairs(b, equal, PairOptions{Workers: 1}) }},
				contestant{"difference", func() { comparePairs(b, different, PairOptions{Workers: 1, Values: true}) }},
			)
		})
		b.Run(name+"/workers", func(b *testing.B) {
			contest(
				b, benchFileBytes, wallTime,
				run("one", Options{Workers: 1, Stats: stats}),
				run("two", Options{Workers: 2, Stats: stats}),
			)
		})
		b.Run(name+"/digest", func(b *testing.B) {
			contest(
				b, benchFileBytes, cpuTime,
				run("sha256", Options{Workers: 1, SHA256: true}),
				run("sha256+stats", Options{Workers: 1, SHA256: true, Stats: stats}),
			)
		})
	}
}

// numpyScript prints the fewest seconds of processor time that the figures of a
// file's numbers take NumPy, the file being in memory.
const numpyScript = `
import sys, time, numpy as np
a = np.fromfile(sys.argv[1], sys.argv[2])
def figures():
    x = (a.astype('<u4') << 16).view('<f4') if sys.argv[2] == '<u2' else a
    return x.min(), x.max(), x.mean(dtype='f8'), x.std(dtype='f8'), np.isnan(x).sum(), np.isinf(x).sum(), (x == 0).sum()
best = 1e9
for _ in range(3):
    t = time.process_time()
    figures()
    best = min(best, time.process_time() - t)
print(best)
`

// NumPy, without the time that reading the file takes it.
func BenchmarkNumPy(b *testing.B) {
	for _, c := range []struct{ name, dtype string }{{"BF16", "<u2"}, {"F32", "<f4"}} {
		typ := mustLookup(b, c.name)
		f, halves := benchFile(b, typ)
		b.Run(c.name, func(b *testing.B) {
			out, err := exec.Command("/usr/bin/python3", "-c", numpyScript, f.Name(), c.dtype).Output()
			if err != nil {
				b.Skipf("no NumPy: %v", err)
			}
			seconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
			if err != nil {
				b.Fatal(err)
			}
			rates := contest(b, benchFileBytes, cpuTime, contestant{"stats", func() {
				runAll(b, halves, Options{Workers: 1, Stats: &StatsOptions{}})
			}})
			numpy := benchFileBytes / 1e9 / seconds
			b.ReportMetric(numpy, "numpy:GB/s")
			b.ReportMetric(rates[0]/numpy, "stats/numpy")
		})
	}
}
