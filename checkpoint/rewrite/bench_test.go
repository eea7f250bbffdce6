package rewrite

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
	"github.com/wtinspect/wtinspect/rename"
)

// sparse50G makes a file of 50 GB apparent size with the 400 extents that a
// full one has (ext4's are at most 128 MiB long).
func sparse50G(b *testing.B, name string) {
	b.Helper()
	must(b, fixture.Write(name, `
data sparse
tensor model.layers.{0..399}.ln1.weight BF16 [4096]
tensor model.layers.{0..399}.mlp.down_proj.weight BF16 [8192,7630]
`))
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(b, err)
	defer f.Close()
	st, err := f.Stat()
	must(b, err)
	for off := int64(128 << 20); off < st.Size(); off += 128 << 20 {
		_, err := f.WriteAt([]byte("data"), off)
		must(b, err)
	}
	must(b, f.Sync())
}

// cold takes files out of the page cache, where the system allows that.
func cold(b *testing.B, dir string) {
	b.Helper()
	entries, err := os.ReadDir(dir)
	must(b, err)
	for _, e := range entries {
		if f, err := (txn.OS{}).Read(filepath.Join(dir, e.Name()), 0); err == nil {
			f.Drop(0, 0)
			f.Close()
		}
	}
}

// rewriteOnce opens, plans and rewrites: what the command does.
func rewriteOnce(b *testing.B, fsys txn.System, ref string, m *rename.Map, opts *Options) *Report {
	b.Helper()
	r, err := checkpoint.Open(context.Background(), ref, nil)
	must(b, err)
	defer r.Close()
	plan := planFor(b, r.Checkpoints[0], m)
	must(b, plan.Err())
	j, err := prepare(context.Background(), fsys, r.Checkpoints[0], plan, nil, opts)
	must(b, err)
	report, err := j.Run(context.Background(), nil)
	must(b, err)
	return report
}

func benchDir(b *testing.B) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "m")
	must(b, os.Mkdir(dir, 0o755))
	return dir
}

// BenchmarkInPlace50G renames in a 50 GB file, with a cold cache, journal and
// proof included.
func BenchmarkInPlace50G(b *testing.B) {
	m := parseMap(b, yiToLlama)
	for _, step := range []Step{Insert, Pad} {
		b.Run(strings.ReplaceAll(string(step), " ", "-"), func(b *testing.B) {
			dir := benchDir(b)
			ref := filepath.Join(dir, "model.safetensors")
			var peak uint64
			for b.Loop() {
				b.StopTimer()
				must(b, os.RemoveAll(ref))
				sparse50G(b, ref)
				opts := &Options{}
				back := planFor(b, openOne(b, ref), m).Inverse()
				if step == Pad {
					rewriteOnce(b, txn.OS{}, ref, m, opts)
				}
				cold(b, dir)
				b.StartTimer()
				use := m
				if step == Pad {
					use = back
				}
				report := rewriteOnce(b, txn.OS{}, ref, use, opts)
				b.StopTimer()
				if got := report.Files[0].Step; got != step {
					b.Skipf("the step is %q", got)
				}
				var ms runtime.MemStats
				runtime.ReadMemStats(&ms)
				peak = max(peak, ms.Sys)
				b.StartTimer()
			}
			b.ReportMetric(float64(peak)/(1<<20), "MiB-sys")
		})
	}
}

// BenchmarkInPlaceDeepSeekV3 renames 91,991 tensors in 163 shards, 682 GB
// apparent.
func BenchmarkInPlaceDeepSeekV3(b *testing.B) {
	m := parseMap(b, `
rename:
  model.layers.{l}.mlp.experts.{e}.{part...}: model.layers.{l}.mlp.routed_experts.{e}.{part}
  model.layers.{l}.input_layernorm.weight: model.layers.{l}.ln1.weight
`)
	dir := benchDir(b)
	for b.Loop() {
		b.StopTimer()
		must(b, os.RemoveAll(dir))
		must(b, os.Mkdir(dir, 0o755))
		must(b, fixture.DeepSeekV3(dir))
		must(b, exec.Command("sync", "-f", dir).Run())
		cold(b, dir)
		b.StartTimer()
		rewriteOnce(b, txn.OS{}, dir, m, nil)
	}
}

// BenchmarkCopy writes a new file of 1 GiB, fsync included, beside the plain
// loop of reads and writes and the mere writing of as much.
func BenchmarkCopy(b *testing.B) {
	const size = 1 << 30
	dir := benchDir(b)
	ref := filepath.Join(dir, "model.safetensors")
	noiseFile(b, ref, size)
	m := parseMap(b, yiToLlama)
	out := filepath.Join(filepath.Dir(dir), "out.safetensors")
	for _, v := range []Verify{VerifyNone, VerifySampled, VerifyDefault} {
		b.Run("rewrite/verify="+string(v), func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				b.StopTimer()
				must(b, os.RemoveAll(out))
				cold(b, dir)
				b.StartTimer()
				rewriteOnce(b, faulttest.Limited{}, ref, m, &Options{Output: out, Verify: v})
			}
		})
	}
	plain := func(name string, body func(w *os.File)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				b.StopTimer()
				must(b, os.RemoveAll(out))
				cold(b, dir)
				b.StartTimer()
				w, err := os.Create(out)
				must(b, err)
				body(w)
				must(b, w.Sync())
				must(b, w.Close())
			}
		})
	}
	plain("loop-4MiB", func(w *os.File) {
		r, err := os.Open(ref)
		must(b, err)
		defer r.Close()
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 4<<20))
		must(b, err)
	})
	noise := make([]byte, image.IOSize)
	_, _ = rand.Read(noise)
	plain("write-only", func(w *os.File) {
		for range size / len(noise) {
			_, err := w.Write(noise)
			must(b, err)
		}
	})
	plain("write-only-past-the-cache", func(w *os.File) {
		dir, err := txn.OS{}.OpenDir(filepath.Dir(out))
		must(b, err)
		defer dir.Close()
		d, err := image.Open(size, func(flag int) (txn.File, error) { return dir.Open(filepath.Base(out), os.O_RDWR|flag, 0) })
		must(b, err)
		defer d.Close()
		must(b, d.Truncate(size))
		for off := int64(0); off < size; off += image.IOSize {
			must(b, txn.WriteFull(d, noise, off))
		}
	})
}

// BenchmarkReflink makes a renamed 50 GB file that shares its data.
func BenchmarkReflink(b *testing.B) {
	for _, kind := range []string{"xfs", "btrfs"} {
		b.Run(kind, func(b *testing.B) {
			dir := mountBench(b, kind)
			ref := filepath.Join(dir, "model.safetensors")
			sparse50G(b, ref)
			m := parseMap(b, yiToLlama)
			out := filepath.Join(dir, "out.safetensors")
			for b.Loop() {
				b.StopTimer()
				must(b, os.RemoveAll(out))
				cold(b, dir)
				b.StartTimer()
				if got := rewriteOnce(b, txn.OS{}, ref, m, &Options{Output: out}).Files[0].Step; got != Reflink {
					b.Skipf("the step is %q", got)
				}
			}
		})
	}
}

// python is an interpreter that has NumPy.
func python(b *testing.B) string {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import numpy").Run() == nil {
			return name
		}
	}
	b.Skip("python3 with NumPy is not installed")
	return ""
}

// noiseFile makes a checkpoint of 16 tensors whose data is really written, and
// not compressible.
func noiseFile(b *testing.B, ref string, size int64) {
	b.Helper()
	must(b, fixture.Write(ref, fmt.Sprintf("data sparse\ntensor model.layers.{0..15}.ln1.weight U8 [%d]\n", size/16)))
	f, err := os.OpenFile(ref, os.O_RDWR, 0)
	must(b, err)
	defer f.Close()
	st, err := f.Stat()
	must(b, err)
	noise := make([]byte, 8<<20)
	_, _ = rand.Read(noise)
	for off := st.Size() - size; off < st.Size(); off += int64(len(noise)) {
		_, err := f.WriteAt(noise[:min(int64(len(noise)), st.Size()-off)], off)
		must(b, err)
	}
	must(b, f.Sync())
}

// BenchmarkPython loads 4 GB, renames and saves it, as people do, beside the
// same in place and as a copy.
func BenchmarkPython(b *testing.B) {
	const size = 4 << 30
	python := python(b)
	dir := benchDir(b)
	if free := faulttest.Probe(txn.OS{}, dir).Free; free >= 0 && free < 3*size {
		b.Skipf("it takes %d bytes of disk, and %d are free", int64(3*size), free)
	}
	ref := filepath.Join(dir, "model.safetensors")
	out := filepath.Join(filepath.Dir(dir), "out.safetensors")
	noiseFile(b, ref, size)
	script := `
import json, sys, os, numpy
b = open(sys.argv[1], "rb")
n = int.from_bytes(b.read(8), "little")
h = json.loads(b.read(n))
t = {k: numpy.fromfile(sys.argv[1], numpy.uint8, v["data_offsets"][1] - v["data_offsets"][0], offset=8 + n + v["data_offsets"][0]) for k, v in h.items()}
h = {k.replace("ln1", "input_layernorm"): v for k, v in h.items()}
j = json.dumps(h, separators=(",", ":")).encode()
j += b" " * (-len(j) % 8)
with open(sys.argv[2], "wb") as w:
    w.write(len(j).to_bytes(8, "little") + j)
    for a in t.values():
        a.tofile(w)
    w.flush(); os.fsync(w.fileno())
`
	run := func(name string, f func(i int)) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				must(b, os.RemoveAll(out))
				cold(b, dir)
				b.StartTimer()
				f(i)
			}
		})
	}
	m := parseMap(b, yiToLlama)
	back := planFor(b, openOne(b, ref), m).Inverse()
	run("load-rename-save", func(int) {
		if text, err := exec.Command(python, "-c", script, ref, out).CombinedOutput(); err != nil {
			b.Fatal(string(text))
		}
	})
	run("copy", func(int) { rewriteOnce(b, faulttest.Limited{}, ref, m, &Options{Output: out}) })
	run("in-place", func(i int) { rewriteOnce(b, txn.OS{}, ref, []*rename.Map{m, back}[i%2], nil) })
}
