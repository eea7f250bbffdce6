package strided

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReader compares what is gathered with an element after the other, of random tensors,
// from random places on.
func TestReader(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	storage := make([]byte, 1<<20)
	for i := range storage {
		storage[i] = byte(rng.Uint32())
	}
	for range 2000 {
		elem := int64(1) << rng.IntN(4)
		offset := int64(rng.IntN(5))
		var shape, strides []uint64
		last, count := offset, int64(1)
		for range rng.IntN(5) {
			n := int64(1 + rng.IntN(9))
			step := []int64{0, 1, int64(rng.IntN(10)), int64(rng.IntN(2000)), count}[rng.IntN(5)]
			if last+(n-1)*step >= int64(len(storage))/elem {
				continue
			}
			last += (n - 1) * step
			count *= n
			shape, strides = append(shape, uint64(n)), append(strides, uint64(step))
		}
		var want []byte
		for i := range count {
			at := offset
			for d, n := range slices.Backward(shape) {
				at += i % int64(n) * int64(strides[d])
				i /= int64(n)
			}
			want = append(want, storage[at*elem:][:elem]...)
		}
		g := NewReader(bytes.NewReader(storage), offset*elem, elem, shape, strides)
		if g.size != int64(len(want)) {
			t.Fatalf("%d %d: %d bytes, want %d", shape, strides, g.size, len(want))
		}
		from := rng.Int64N(count)
		to := from + 1 + rng.Int64N(count-from)
		got := make([]byte, (to-from)*elem)
		if err := g.fill(&strideReader{r: g.r}, got, g.dims, g.base, from*elem); err != nil || !bytes.Equal(got, want[from*elem:to*elem]) {
			t.Fatalf("%d %d, elements %d to %d of %d bytes: %v\n got %x\nwant %x", shape, strides, from, to, elem, err, got, want[from*elem:to*elem])
		}
		all, err := io.ReadAll(io.NewSectionReader(g, 3%g.size, g.size))
		if err != nil || !bytes.Equal(all, want[3%g.size:]) {
			t.Fatalf("%d %d: %v", shape, strides, err)
		}
	}
}

// TestBlocks reads a tensor of several blocks.
func TestBlocks(t *testing.T) {
	const rows, cols = 3000, 2000
	storage := make([]byte, rows*cols*2)
	for i := range rows * cols {
		storage[2*i], storage[2*i+1] = byte(i), byte(i/256%251)
	}
	g := NewReader(bytes.NewReader(storage), 0, 2, []uint64{cols, rows}, []uint64{1, cols})
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

func BenchmarkReader(b *testing.B) {
	const rows, cols = 8192, 4096
	storage := make([]byte, rows*cols*2)
	b.SetBytes(int64(len(storage)))
	for b.Loop() {
		g := NewReader(bytes.NewReader(storage), 0, 2, []uint64{cols, rows}, []uint64{1, cols})
		if _, err := io.Copy(io.Discard, io.NewSectionReader(g, 0, g.size)); err != nil {
			b.Fatal(err)
		}
	}
}
