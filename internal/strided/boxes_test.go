package strided

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// TestBoxes cuts random arrays into random boxes, and compares what is read of them with
// the array, from random places on.
func TestBoxes(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		elem := uint64(1) << rng.IntN(4)
		shape := make([]uint64, rng.IntN(4))
		total := elem
		for d := range shape {
			shape[d] = uint64(1 + rng.IntN(7))
			total *= shape[d]
		}
		array := make([]byte, total)
		for i := range array {
			array[i] = byte(rng.Uint32())
		}
		whole := Box{Offsets: make([]uint64, len(shape)), Sizes: shape}
		boxes := []Box{whole}
		for range rng.IntN(6) { // one of them becomes two
			i := rng.IntN(len(boxes))
			if len(shape) == 0 {
				break
			}
			d := rng.IntN(len(shape))
			cut := rng.Uint64N(boxes[i].Sizes[d] + 1) // which may be of no extent
			a, b := clone(boxes[i]), clone(boxes[i])
			a.Sizes[d] = cut
			b.Offsets[d] += cut
			b.Sizes[d] -= cut
			boxes[i] = a
			boxes = append(boxes, b)
		}
		for i := range boxes {
			boxes[i].R = bytes.NewReader(elements(array, elem, shape, boxes[i]))
		}
		r := NewBoxes(elem, shape, boxes)
		if r.Size() != int64(total) {
			t.Fatalf("%d bytes, want %d", r.Size(), total)
		}
		from := rng.Int64N(int64(total) + 1)
		got, err := io.ReadAll(io.NewSectionReader(r, from, rng.Int64N(int64(total)+1)))
		if want := array[from:][:len(got)]; err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d of %d bytes, boxes %v, from %d: %v\n got %x\nwant %x", shape, elem, boxes, from, err, got, want)
		}
		if all, err := io.ReadAll(io.NewSectionReader(r, 0, int64(total))); err != nil || !bytes.Equal(all, array) {
			t.Fatalf("%d of %d bytes, boxes %v: %v\n got %x\nwant %x", shape, elem, boxes, err, all, array)
		}
	}
}

func clone(b Box) Box {
	return Box{Offsets: append([]uint64(nil), b.Offsets...), Sizes: append([]uint64(nil), b.Sizes...)}
}

// elements returns those of a box, one after the other.
func elements(array []byte, elem uint64, shape []uint64, b Box) []byte {
	var out []byte
	for i := range uint64(len(array)) / elem {
		rest, inside := i, true
		for d := len(shape) - 1; d >= 0; d-- {
			at := rest % shape[d]
			rest /= shape[d]
			inside = inside && at >= b.Offsets[d] && at < b.Offsets[d]+b.Sizes[d]
		}
		if inside {
			out = append(out, array[i*elem:][:elem]...)
		}
	}
	return out
}
