package pytorch

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// manyTensors is a mixture of experts with n tensors, each with a storage of its own, and
// its pickle alone.
func manyTensors(n int) (archive, pickle []byte) {
	root := make(tt.Ordered, n)
	for i := range root {
		tensor := tt.NewTensor("bfloat16", i, 1, 1)
		root[i] = tt.Item{Key: fmt.Sprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", i/768, i%768), Value: tensor}
	}
	z := tt.File{Root: root, Protocol: 2}.Zip()
	z.Zip64 = true
	return z.Bytes(), z.Find("data.pkl").Data
}

func TestMany(t *testing.T) {
	n := 100_000
	if testing.Short() {
		n = 10_000
	}
	archive, pickle := manyTensors(n)
	var f *File
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f = read(t, archive)
	runtime.ReadMemStats(&after)
	total := after.TotalAlloc - before.TotalAlloc
	runtime.GC()
	runtime.ReadMemStats(&after)
	live := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	t.Logf("pickle of %d bytes: %d bytes in use, %d allocated", len(pickle), live, total)
	if live > 2*int64(len(pickle)) || total > 3*uint64(len(pickle)) {
		t.Errorf("%d bytes in use and %d allocated for a pickle of %d", live, total, len(pickle))
	}
	if f.Len() != n {
		t.Errorf("%d tensors", f.Len())
	}
	if faults := f.Validate(); len(faults) > 0 {
		t.Errorf("%d faults, the first %v", len(faults), faults[0])
	}
	runtime.KeepAlive(f)
}

func BenchmarkMany(b *testing.B) {
	archive, pickle := manyTensors(100_000)
	b.SetBytes(int64(len(pickle)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := NewFile(bytes.NewReader(archive), int64(len(archive)))
		if err != nil {
			b.Fatal(err)
		}
		for _, t := range f.All() {
			if t.Name == "" {
				b.Fatal("no name")
			}
		}
	}
}

// BenchmarkPickletools is what Python takes for the same pickle, without reading what it
// says.
func BenchmarkPickletools(b *testing.B) {
	python, err := exec.LookPath("python3")
	if err != nil {
		b.Skip(err)
	}
	_, pickle := manyTensors(100_000)
	name := filepath.Join(b.TempDir(), "data.pkl")
	if err := os.WriteFile(name, pickle, 0o666); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(pickle)))
	for b.Loop() {
		if err := exec.Command(python, "-c", "import pickletools,sys\nfor _ in pickletools.genops(open(sys.argv[1],'rb')): pass", name).Run(); err != nil {
			b.Fatal(err)
		}
	}
}
