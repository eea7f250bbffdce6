package pytorch

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestGather compares what is gathered with an element after the other, of random tensors,
// from random places on.
func TestGather(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	storage := make([]byte, 1<<20)
	for i := range storage {
		storage[i] = byte(rng.Uint32())
	}
	for range 2000 {
		elem := int64(1) << rng.IntN(4)
		tensor := &Tensor{Offset: uint64(rng.IntN(5))}
		last, count := int64(tensor.Offset), int64(1)
		for range rng.IntN(5) {
			n := int64(1 + rng.IntN(9))
			step := []int64{0, 1, int64(rng.IntN(10)), int64(rng.IntN(2000)), count}[rng.IntN(5)]
			if last+(n-1)*step >= int64(len(storage))/elem {
				continue
			}
			last += (n - 1) * step
			count *= n
			tensor.Shape, tensor.Strides = append(tensor.Shape, uint64(n)), append(tensor.Strides, uint64(step))
		}
		var want []byte
		for i := range count {
			at := int64(tensor.Offset)
			for d, n := range slices.Backward(tensor.Shape) {
				at += i % int64(n) * int64(tensor.Strides[d])
				i /= int64(n)
			}
			want = append(want, storage[at*elem:][:elem]...)
		}
		g := newGather(tensor, bytes.NewReader(storage), int64(tensor.Offset)*elem, elem)
		if g.size != int64(len(want)) {
			t.Fatalf("%v: %d bytes, want %d", tensor, g.size, len(want))
		}
		from := rng.Int64N(count)
		to := from + 1 + rng.Int64N(count-from)
		got := make([]byte, (to-from)*elem)
		if err := g.fill(&strideReader{r: g.r}, got, g.dims, g.base, from*elem); err != nil || !bytes.Equal(got, want[from*elem:to*elem]) {
			t.Fatalf("%v, elements %d to %d of %d bytes: %v\n got %x\nwant %x", tensor, from, to, elem, err, got, want[from*elem:to*elem])
		}
		all, err := io.ReadAll(io.NewSectionReader(g, 3%g.size, g.size))
		if err != nil || !bytes.Equal(all, want[3%g.size:]) {
			t.Fatalf("%v: %v", tensor, err)
		}
	}
}

// TestGatherBlocks reads a tensor of several blocks.
func TestGatherBlocks(t *testing.T) {
	const rows, cols = 3000, 2000
	storage := make([]byte, rows*cols*2)
	for i := range rows * cols {
		storage[2*i], storage[2*i+1] = byte(i), byte(i/256%251)
	}
	g := newGather(&Tensor{Shape: []uint64{cols, rows}, Strides: []uint64{1, cols}}, bytes.NewReader(storage), 0, 2)
	got, err := io.ReadAll(io.NewSectionReader(g, 0, g.size))
	if err != nil || len(got) != len(storage) {
		t.Fatal(len(got), err)
	}
	for c := range cols {
		for r := range rows {
			if at, from := 2*(c*rows+r), 2*(r*cols+c); got[at] != storage[from] || got[at+1] != storage[from+1] {
				t.Fatalf("row %d, column %d", r, c)
			}
		}
	}
}

func BenchmarkGather(b *testing.B) {
	const rows, cols = 8192, 4096
	storage := make([]byte, rows*cols*2)
	b.SetBytes(int64(len(storage)))
	for b.Loop() {
		g := newGather(&Tensor{Shape: []uint64{cols, rows}, Strides: []uint64{1, cols}}, bytes.NewReader(storage), 0, 2)
		if _, err := io.Copy(io.Discard, io.NewSectionReader(g, 0, g.size)); err != nil {
			b.Fatal(err)
		}
	}
}
