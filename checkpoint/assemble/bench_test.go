package assemble

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// cold takes the files of a directory out of the page cache, where the system allows that.
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

// warm has the files of a directory in the page cache.
func warm(b *testing.B, dir string) {
	b.Helper()
	entries, err := os.ReadDir(dir)
	must(b, err)
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		must(b, err)
		_, err = io.Copy(io.Discard, f)
		must(b, err)
		must(b, f.Close())
	}
}

// measured runs what makes out of src, which is cold or warm, as a benchmark.
func measured(b *testing.B, name, src, out string, size int64, before func(*testing.B, string), body func()) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			b.StopTimer()
			must(b, os.RemoveAll(out))
			before(b, src)
			b.StartTimer()
			body()
		}
	})
}

// plainCopy copies the files of a checkpoint as cp does, fsync included.
func plainCopy(b *testing.B, c *checkpoint.Checkpoint, out string) {
	must(b, os.Mkdir(out, 0o755))
	for _, f := range c.Files {
		r, err := os.Open(f.Path)
		must(b, err)
		w, err := os.Create(filepath.Join(out, f.Name))
		must(b, err)
		_, err = io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{r}, make([]byte, 4<<20))
		must(b, err)
		must(b, w.Sync())
		must(b, w.Close())
		must(b, r.Close())
	}
}

// BenchmarkReshard makes one file of 16, of 1 GiB together, and files of 100 MB of it,
// beside a plain copy of as much; fsync included.
func BenchmarkReshard(b *testing.B) {
	const files, size = 16, 1 << 30
	top := b.TempDir()
	src, out := filepath.Join(top, "src"), filepath.Join(top, "out")
	text := ""
	for i := range files {
		text += fmt.Sprintf("file model-%05d-of-%05d.safetensors\ndata sparse\ntensor layers.%d.{0..31}.weight BF16 [1024,1024]\n", i+1, files, i)
	}
	must(b, fixture.Sharded(src, text))
	noise := make([]byte, 8<<20)
	rng := rand.NewChaCha8([32]byte{1})
	c := open(b, src)
	for _, f := range c.Files {
		w, err := os.OpenFile(f.Path, os.O_RDWR, 0)
		must(b, err)
		for at := f.DataOffset; at < f.Size; at += int64(len(noise)) {
			_, _ = rng.Read(noise)
			_, err := w.WriteAt(noise[:min(int64(len(noise)), f.Size-at)], at)
			must(b, err)
		}
		must(b, w.Sync())
		must(b, w.Close())
	}
	for _, state := range []struct {
		name string
		set  func(*testing.B, string)
	}{{"cold", cold}, {"warm", warm}} {
		measure := func(name string, body func()) { measured(b, state.name+"/"+name, src, out, size, state.set, body) }
		measure("plain", func() { plainCopy(b, c, out) })
		for _, v := range []rewrite.Verify{rewrite.VerifyNone, rewrite.VerifySampled, rewrite.VerifyDefault} {
			for _, limit := range []int64{0, 100e6} {
				measure(fmt.Sprintf("limit=%d/verify=%s", limit, v), func() {
					s := specOf(b, open(b, src))
					s.Layout.MaxShardSize = limit
					run(b, txn.OS{}, s, &Options{Output: out, Verify: v})
				})
			}
		}
	}
}

// BenchmarkTorch makes a safetensors file of one that torch wrote, of 256 MiB, beside a plain
// copy of it; of one whose matrices are transposed; and of ones of 51,200 tensors of 5 KB and of 64,000
// of 10 KB, in 640 MB.
func BenchmarkTorch(b *testing.B) {
	for _, kind := range []struct {
		name, tensors string
		size          int64
	}{
		{"packed", "layers.{0..7}.weight BF16 [4096,4096]", 256 << 20},
		{"transposed", "layers.{0..7}.weight BF16 [4096,4096] strides=1,4096", 256 << 20},
		{"many", "layers.{0..49}.experts.{0..1023}.weight BF16 [64,40]", 256 << 20},
		{"64k", "layers.{0..63}.experts.{0..999}.weight BF16 [64,80]", 64_000 * 10_240},
	} {
		top := b.TempDir()
		src, out := filepath.Join(top, "src"), filepath.Join(top, "out")
		must(b, os.Mkdir(src, 0o755))
		name := filepath.Join(src, "pytorch_model.bin")
		must(b, fixture.Write(name, "format torch\ntensor "+kind.tensors+"\n"))
		c := open(b, src)
		measured(b, kind.name+"/plain", src, out, kind.size, cold, func() { plainCopy(b, c, out) })
		for _, v := range []rewrite.Verify{rewrite.VerifyNone, rewrite.VerifyDefault} {
			measured(b, fmt.Sprintf("%s/verify=%s", kind.name, v), src, out, kind.size, cold, func() {
				s := specOf(b, open(b, src))
				s.Format = checkpoint.Safetensors
				run(b, txn.OS{}, s, &Options{Output: out, Verify: v})
			})
		}
	}
}

// BenchmarkReshard50G makes files of 5 GB of a sparse one of 50 GB.
func BenchmarkReshard50G(b *testing.B) {
	top := b.TempDir()
	src, out := filepath.Join(top, "src.safetensors"), filepath.Join(top, "out")
	must(b, fixture.Write(src, `
data sparse
tensor model.layers.{0..399}.ln1.weight BF16 [4096]
tensor model.layers.{0..399}.mlp.down_proj.weight BF16 [8192,7630]
`))
	var peak uint64
	for b.Loop() {
		b.StopTimer()
		must(b, os.RemoveAll(out))
		b.StartTimer()
		s := specOf(b, open(b, src))
		s.Layout.MaxShardSize = 5e9
		run(b, txn.OS{}, s, &Options{Output: out})
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.Sys)
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB-sys")
}
