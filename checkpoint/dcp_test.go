package checkpoint_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/torchtest"
)

func writeAll(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func openOne(t *testing.T, path string) *checkpoint.Checkpoint {
	t.Helper()
	return openPart(t, path, "")
}

// openPart opens a subtree of the only checkpoint of a directory.
func openPart(t *testing.T, path, subtree string) *checkpoint.Checkpoint {
	t.Helper()
	rel, err := checkpoint.Open(t.Context(), path, &checkpoint.Options{Subtree: subtree})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	if len(rel.Checkpoints) != 1 {
		t.Fatalf("%d checkpoints", len(rel.Checkpoints))
	}
	return rel.Checkpoints[0]
}

// What is put together of chunks is what they were cut from, in both formats of chunks.
func TestDistributed(t *testing.T) {
	for _, together := range []bool{false, true} {
		d := torchtest.Distributed{Safetensors: together, Tensors: []torchtest.Sharded{
			torchtest.NewSharded("rows", "bfloat16", []int{7, 4}, 0, 3),
			torchtest.NewSharded("columns", "float32", []int{3, 10}, 1, 4),
			torchtest.NewSharded("middle", "uint8", []int{2, 5, 3}, 1, 2),
			torchtest.NewSharded("whole", "int64", []int{5}, 0, 1),
			torchtest.NewSharded("scalar", "float16", nil, 0, 1),
			torchtest.NewSharded("few", "float32", []int{2}, 0, 4), // some ranks have nothing of it
		}, Objects: []torchtest.Item{{Key: "step", Value: 7}}}
		c := openOne(t, writeAll(t, d.Files()))
		if c.Format != checkpoint.PyTorch || c.Len() != len(d.Tensors) || len(c.Files) != 5 {
			t.Fatalf("%s of %d tensors in %d files", c.Format, c.Len(), len(c.Files))
		}
		for i, tensor := range c.All() {
			r, err := c.Data(i)
			if err != nil {
				t.Fatalf("%s: %v", d.Tensors[i], err)
			}
			data, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(data, d.Tensors[i].Data) || tensor.Name != d.Tensors[i].Name || tensor.Bytes != uint64(len(data)) {
				t.Errorf("%s: %v\n got %x\nwant %x", d.Tensors[i], err, data, d.Tensors[i].Data)
			}
		}
		for _, flt := range c.Validate(t.Context()) {
			t.Error(flt)
		}
		if meta := c.Metadata(); len(meta) != 1 || meta[0].Key != "step" {
			t.Errorf("%+v", meta)
		}
	}
}

func TestDistributedIsWrong(t *testing.T) {
	one := func() torchtest.Distributed {
		return torchtest.Distributed{Tensors: []torchtest.Sharded{torchtest.NewSharded("w", "float32", []int{4, 2}, 0, 2)}}
	}
	for name, test := range map[string]struct {
		files func() map[string][]byte
		fault string // of Validate
		data  string // of Data
	}{
		"a missing file": {func() map[string][]byte {
			files := one().Files()
			delete(files, "__1_0.distcp")
			return files
		}, "the file is missing", "missing"},
		"a short file": {func() map[string][]byte {
			files := one().Files()
			files["__1_0.distcp"] = files["__1_0.distcp"][:40]
			return files
		}, "beyond the end of __1_0.distcp", "beyond the end"},
		"a file of something else": {func() map[string][]byte {
			files := one().Files()
			files["__1_0.distcp"] = make([]byte, len(files["__1_0.distcp"]))
			return files
		}, "neither a file of torch.save", "neither a file of torch.save nor in one of safetensors"},
		"a chunk of another shape": {func() map[string][]byte {
			files := one().Files()
			tensor := &torchtest.Tensor{Storage: &torchtest.Storage{DType: "float32", Data: make([]byte, 16)}, Shape: []int{1, 4}}
			files["__1_0.distcp"] = torchtest.File{Root: tensor, Protocol: 2}.Zip().Bytes()
			return files
		}, "is F32 [1 4] in __1_0.distcp", "is F32 [1 4] in __1_0.distcp, and F32 [2 2] in .metadata"},
		"a gap": {func() map[string][]byte {
			d := one()
			d.Tensors[0].Chunks = d.Tensors[0].Chunks[:1]
			return d.Files()
		}, "4 of 8 elements", "4 of 8 elements"},
		"a path that leaves": {func() map[string][]byte {
			d := one()
			d.Tensors[0].Chunks[1].Claim = "../__1_0.distcp"
			return d.Files()
		}, `has a ".." component`, `has a ".." component`},
		"a file that is left over": {func() map[string][]byte {
			files := one().Files()
			files["__7_0.distcp"] = []byte("left over")
			return files
		}, "left of another checkpoint", ""},
		"metadata of something else": {func() map[string][]byte {
			files := one().Files()
			files[".metadata"] = torchtest.Pickle(4, torchtest.D("a", 1))
			return files
		}, "not the metadata of a distributed checkpoint", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := openOne(t, writeAll(t, test.files()))
			var said []string
			for _, flt := range c.Validate(t.Context()) {
				said = append(said, flt.Error())
			}
			if all := strings.Join(said, "\n"); !strings.Contains(all, test.fault) {
				t.Errorf("%q, want %q", all, test.fault)
			}
			if c.Len() == 0 {
				return
			}
			_, err := c.Data(0)
			if (err == nil) != (test.data == "") || err != nil && !strings.Contains(err.Error(), test.data) {
				t.Errorf("%v, want %q", err, test.data)
			}
		})
	}
	dir := writeAll(t, one().Files())
	if _, err := checkpoint.Open(t.Context(), filepath.Join(dir, "__0_0.distcp"), nil); err == nil || !strings.Contains(err.Error(), "name its directory") {
		t.Errorf("a part of it opens: %v", err)
	}
	openOne(t, filepath.Join(dir, ".metadata"))
}

// Of a checkpoint of many chunks each is opened when it is read, and says then what is wrong with it.
func TestManyChunks(t *testing.T) {
	var d torchtest.Distributed
	for i := range 1001 {
		d.Tensors = append(d.Tensors, torchtest.NewSharded(fmt.Sprint("w", i), "float32", []int{2}, 0, 1))
	}
	files := d.Files()
	data := files["__0_0.distcp"] // whose last 22 bytes are the end record of the last chunk
	copy(data[len(data)-22:], "none")
	dir := writeAll(t, files)
	c := openOne(t, dir)
	for i := range c.Len() {
		r, err := c.Data(i)
		if err != nil {
			t.Fatalf("%s is opened: %v", c.At(i).Name, err)
		}
		got, err := io.ReadAll(r)
		if last := i == c.Len()-1; last != (err != nil) || last && !strings.Contains(err.Error(), "its chunk at [0] cannot be read") {
			t.Errorf("%s: %v", c.At(i).Name, err)
		} else if !last && !bytes.Equal(got, d.Tensors[i].Data) {
			t.Errorf("%s: %x", c.At(i).Name, got)
		}
	}
	meta := files[checkpoint.DistributedIndex]
	for change, want := range map[string]bool{"": true, "w7": false} {
		now := bytes.Clone(meta)
		if i := bytes.Index(now, []byte(change)); change != "" {
			now[i] ^= 1
		}
		if same, err := c.Files[0].Same(bytes.NewReader(now), int64(len(now))); same != want || err != nil {
			t.Errorf("changed at %q: same %t, %v", change, same, err)
		}
	}
}
