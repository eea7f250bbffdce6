package checkpoint_test

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/torchtest"
)

// Numbers of a big-endian file are read as little-endian, from any byte on, and so are those of
// a view with strides; complex numbers are two.
func TestPyTorchBigEndian(t *testing.T) {
	path := fixture.File(t, "m.pt", `format torch
order big
tensor a F32 [2,2] hex=000102031011121320212223f0f1f2f3
tensor turned F32 [2,2] of=a strides=1,2
tensor c C64 [1] hex=0001020310111213
tensor b U8 [4] hex=00010203
`)
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	c := rel.Checkpoints[0]
	for name, want := range map[string]string{
		"a":      "\x03\x02\x01\x00\x13\x12\x11\x10\x23\x22\x21\x20\xf3\xf2\xf1\xf0",
		"turned": "\x03\x02\x01\x00\x23\x22\x21\x20\x13\x12\x11\x10\xf3\xf2\xf1\xf0",
		"c":      "\x03\x02\x01\x00\x13\x12\x11\x10",
		"b":      "\x00\x01\x02\x03",
	} {
		i, _ := c.Lookup(name)
		data, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(data)
		if err != nil || string(got) != want {
			t.Errorf("%s: %x, %v, want %x", name, got, err, want)
		}
		for from := range len(want) {
			for to := from + 1; to <= len(want); to++ {
				p := make([]byte, to-from)
				if n, err := data.ReadAt(p, int64(from)); n != len(p) || err != nil && err != io.EOF || !bytes.Equal(p, []byte(want[from:to])) {
					t.Fatalf("%s: bytes %d to %d: %x, %d, %v", name, from, to, p, n, err)
				}
			}
		}
		if at := c.At(i); (at.Offset >= 0) != (name == "b") {
			t.Errorf("%s: offset %d", name, at.Offset)
		}
	}
}

// Tied are tensors that have the same elements of one storage, whatever their shape. The first is named, and in a
// union the first that is there.
func TestTiedTo(t *testing.T) {
	path := fixture.File(t, "m.pt", `format torch
tensor a F32 [2,2]
tensor b F32 [2,2] of=a
tensor other F32 [2] of=a
tensor c F32 [2,2] of=a
tensor view F32 [4] of=a
tensor turned F32 [2,2] strides=1,2 of=a
tensor column F32 [2] strides=2 of=a
tensor repeated F32 [3,4] strides=0,1 of=a
`)
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	tied := func(c *checkpoint.Checkpoint) string {
		var list []string
		for i, x := range c.All() {
			if first, ok := c.TiedTo(i); ok {
				list = append(list, x.Name+" to "+c.At(first).Name)
				if c.Reshaped(i, first) {
					list[len(list)-1] += " reshaped"
				}
			}
		}
		return strings.Join(list, ", ")
	}
	if got, want := tied(rel.Checkpoints[0]), "b to a, c to a, view to a reshaped, turned to a reshaped"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n, _ := rel.Checkpoints[0].Parameters(nil); n != 4+2+2+12 {
		t.Errorf("%d parameters", n)
	}
}

// TestPyTorchFloat4 has two numbers in what torch counts as one element, in a file and in chunks: safetensors
// counts them.
func TestPyTorchFloat4(t *testing.T) {
	const two = "float4_e2m1fn_x2"
	w := torchtest.NewTensor(two, 3, 2, 4)
	turned := &torchtest.Tensor{Storage: w.Storage, Shape: []int{4, 2}, Stride: []int{1, 4}}
	file := torchtest.File{Root: torchtest.D("w", w, "turned", turned, "number", torchtest.NewTensor(two, 1)), Protocol: 2}.Zip().Bytes()
	chunks := torchtest.Distributed{Tensors: []torchtest.Sharded{torchtest.NewSharded("w", two, []int{6, 4}, 0, 3)}}
	data := w.Storage.Data
	by := func(places ...int) (out []byte) {
		for _, i := range places {
			out = append(out, data[i])
		}
		return out
	}
	type want struct {
		dtype string
		shape []uint64
		data  []byte
	}
	for dir, all := range map[string]map[string]want{
		writeAll(t, map[string][]byte{"m.pt": file}): {
			"w": {"F4", []uint64{2, 8}, data}, "turned": {"F4", []uint64{4, 4}, by(0, 4, 1, 5, 2, 6, 3, 7)}, "number": {two, []uint64{}, nil},
		},
		writeAll(t, chunks.Files()): {"w": {"F4", []uint64{6, 8}, chunks.Tensors[0].Data}},
	} {
		c := openOne(t, dir)
		for i, got := range c.All() {
			w := all[got.Name]
			if got.DType != w.dtype || !slices.Equal(got.Shape, w.shape) {
				t.Errorf("%s: %s %d, want %s %d", got.Name, got.DType, got.Shape, w.dtype, w.shape)
			}
			r, err := c.Data(i)
			if err != nil {
				t.Fatal(err)
			}
			if bytes, err := io.ReadAll(r); err != nil || w.data != nil && string(bytes) != string(w.data) || uint64(len(bytes)) != got.Bytes {
				t.Errorf("%s: %x of %d bytes, %v", got.Name, bytes, got.Bytes, err)
			}
		}
	}
}
