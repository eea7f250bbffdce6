package main

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// The memory that a conversion of many tensors takes: of 40,000 in one file of PyTorch, whose pickle and new
// header have 5 MiB each, at most 74 MiB, and of 8,000 chunks of a distributed checkpoint at most 50. A
// conversion of two tensors takes 45.
func TestConvertMemory(t *testing.T) {
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("how much memory a program takes is read from /proc, which only Linux has")
	}
	if testing.Short() {
		t.Skip("takes seconds: make test runs it")
	}
	bin := buildBinary(t)
	const tensors, chunks = 40_000, 8_000
	name := func(i int) string {
		return fmt.Sprintf("model.layers.%d.mlp.experts.%d.down_proj.weight", i/768, i%768)
	}
	dir := t.TempDir()
	root := make(tt.Ordered, tensors)
	for i := range root {
		root[i] = tt.Item{Key: name(i), Value: tt.NewTensor("bfloat16", i, 1, 1)}
	}
	z := tt.File{Root: root, Protocol: 2}.Zip()
	z.Zip64 = true
	one := filepath.Join(dir, "pytorch_model.bin")
	if err := os.WriteFile(one, z.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	var d tt.Distributed
	for i := range chunks {
		d.Tensors = append(d.Tensors, tt.NewSharded(name(i), "bfloat16", []int{1, 1}, 0, 1))
	}
	many := filepath.Join(dir, "dcp")
	if err := os.Mkdir(many, 0o777); err != nil {
		t.Fatal(err)
	}
	for file, data := range d.Files() {
		if err := os.WriteFile(filepath.Join(many, file), data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		src  string
		most int64
	}{{one, 74}, {many, 50}} {
		out := filepath.Join(dir, filepath.Base(c.src)+".safetensors")
		peak := peakMemory(t, bin, "convert", c.src, "-o", out) >> 20
		t.Logf("%s: %d MiB", filepath.Base(c.src), peak)
		if peak == 0 || peak > c.most {
			t.Errorf("%s takes %d MiB, want at most %d", filepath.Base(c.src), peak, c.most)
		}
	}
}
