package strided

import (
	"io"
)

// A Box is a part of an array: where it begins in each dimension, and its extent there. Its
// elements follow each other in R, the last axis fastest.
type Box struct {
	Offsets, Sizes []uint64
	R              io.ReaderAt
}

// Boxes is an array that is put together of boxes. Each element is in exactly one of them.
type Boxes struct {
	elem, size uint64
	shape      []uint64
	strides    []uint64
	boxes      []Box
}

// NewBoxes reads an array of elements of elem bytes and some shape, whose size in bytes fits in
// 63 bits.
func NewBoxes(elem uint64, shape []uint64, boxes []Box) *Boxes {
	b := &Boxes{elem: elem, size: elem, shape: shape, strides: make([]uint64, len(shape)), boxes: boxes}
	for d := len(shape) - 1; d >= 0; d-- {
		b.strides[d] = b.size / elem
		b.size *= shape[d]
	}
	return b
}

// Size returns the number of bytes.
func (b *Boxes) Size() int64 { return int64(b.size) }

// ReadAt reads as [io.ReaderAt] does. It reads of each box what the range has of it, at
// once.
func (b *Boxes) ReadAt(p []byte, off int64) (int, error) {
	if uint64(off) >= b.size {
		return 0, io.EOF
	}
	n := min(uint64(len(p)), b.size-uint64(off))
	first, last := uint64(off)/b.elem, (uint64(off)+n+b.elem-1)/b.elem
	out := p[:n]
	skip := uint64(off) - first*b.elem
	if whole := (last - first) * b.elem; whole != n {
		out = make([]byte, whole)
	}
	for i := range b.boxes {
		if err := b.copy(out, &b.boxes[i], first, last); err != nil {
			return 0, err
		}
	}
	if len(out) != int(n) {
		copy(p, out[skip:])
	}
	if n < uint64(len(p)) {
		return int(n), io.EOF
	}
	return int(n), nil
}

// copy copies what a box has of the elements from first to last.
func (b *Boxes) copy(out []byte, box *Box, first, last uint64) error {
	from, to := b.before(box, first), b.before(box, last)
	if from == to {
		return nil
	}
	// The elements of a run follow each other in the array, too.
	run, d := uint64(1), len(b.shape)-1
	for ; d >= 0; d-- {
		if run *= box.Sizes[d]; box.Sizes[d] != b.shape[d] {
			break
		}
	}
	at := b.place(box, from)
	if to-from <= run-from%run {
		_, err := io.ReadFull(io.NewSectionReader(box.R, int64(from*b.elem), int64((to-from)*b.elem)), out[(at-first)*b.elem:][:(to-from)*b.elem])
		return err
	}
	buf := make([]byte, (to-from)*b.elem)
	if _, err := io.ReadFull(io.NewSectionReader(box.R, int64(from*b.elem), int64(len(buf))), buf); err != nil {
		return err
	}
	for from < to {
		n := min(run-from%run, to-from)
		copy(out[(b.place(box, from)-first)*b.elem:], buf[:n*b.elem])
		buf = buf[n*b.elem:]
		from += n
	}
	return nil
}

// before returns how many elements of a box precede an element of the array.
func (b *Boxes) before(box *Box, element uint64) uint64 {
	count, inside := uint64(0), uint64(1)
	for _, n := range box.Sizes {
		inside *= n
	}
	if element >= b.size/b.elem {
		return inside
	}
	for d := range b.shape {
		if inside == 0 {
			return 0
		}
		inside /= box.Sizes[d]
		at := element / b.strides[d] % b.shape[d]
		switch {
		case at < box.Offsets[d]:
			return count
		case at-box.Offsets[d] >= box.Sizes[d]:
			return count + box.Sizes[d]*inside
		}
		count += (at - box.Offsets[d]) * inside
	}
	return count
}

// place returns where an element of a box is in the array.
func (b *Boxes) place(box *Box, element uint64) uint64 {
	at := uint64(0)
	for d := len(b.shape) - 1; d >= 0; d-- {
		at += (box.Offsets[d] + element%box.Sizes[d]) * b.strides[d]
		element /= box.Sizes[d]
	}
	return at
}
