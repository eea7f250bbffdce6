package arrays

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// An Array is a tensor whose bytes are made when they are read: a tensor of a
// file, or what an operation makes of others. Its fields are not to be changed.
type Array struct {
	Shape []int64 // in elements, slowest first
	Elem  Element
	Data  io.ReaderAt // its bytes, from 0
}

// An Element is what the bytes of an array consist of. Those of block formats,
// and of dtypes narrower than a byte, come in blocks that nothing takes apart.
type Element struct {
	DType     string // as the file's format spells it
	Elems     int64  // in a block, along the last axis
	Bytes     int64  // of a block
	BigEndian bool
}

// New is the array of a tensor that a file declares. It checks that the shape
// can be computed with; whether data has as many bytes as [Array.Size] says is
// for the caller to see.
func New(shape []uint64, elem Element, data io.ReaderAt) (*Array, error) {
	dims := make([]int64, len(shape))
	for i, d := range shape {
		if d > 1<<48 {
			return nil, tooLarge(shape)
		}
		dims[i] = int64(d)
	}
	return newArray(dims, elem, data)
}

func tooLarge(shape any) error {
	return fmt.Errorf("its shape %v is too large to compute with", shape)
}

// newArray checks that a shape can be computed with.
func newArray(shape []int64, elem Element, data io.ReaderAt) (*Array, error) {
	size := uint64(elem.Bytes)
	for i, d := range shape {
		if i == len(shape)-1 {
			if d%elem.Elems != 0 {
				return nil, fmt.Errorf("its rows of %d elements are no whole number of blocks of %d %s", d, elem.Elems, elem.DType)
			}
			d /= elem.Elems
		}
		// A dimension of 0 does not make the others harmless: their products are used.
		hi, lo := bits.Mul64(size, uint64(max(d, 1)))
		if hi != 0 || lo > math.MaxInt64 {
			return nil, tooLarge(shape)
		}
		size = lo
	}
	if len(shape) == 0 && elem.Elems != 1 {
		return nil, fmt.Errorf("it is a single number of %s, which comes in blocks of %d", elem.DType, elem.Elems)
	}
	return &Array{shape, elem, data}, nil
}

// Dims is the shape as files and their readers have it.
func (a *Array) Dims() []uint64 {
	out := make([]uint64, len(a.Shape))
	for i, d := range a.Shape {
		out[i] = uint64(d)
	}
	return out
}

// Elements is the number of elements.
func (a *Array) Elements() uint64 {
	n := uint64(1)
	for _, d := range a.Shape {
		n *= uint64(d)
	}
	return n
}

// Size is the number of bytes.
func (a *Array) Size() int64 {
	n := a.Elem.Bytes
	for axis := range a.Shape {
		n *= a.length(axis)
	}
	return n
}

// length is the length of an axis in what cannot be taken apart.
func (a *Array) length(axis int) int64 {
	if axis == len(a.Shape)-1 {
		return a.Shape[axis] / a.Elem.Elems
	}
	return a.Shape[axis]
}

// inner is the number of bytes of one step along an axis.
func (a *Array) inner(axis int) int64 {
	n := a.Elem.Bytes
	for i := axis + 1; i < len(a.Shape); i++ {
		n *= a.length(i)
	}
	return n
}

func (a *Array) axis(axis int) error {
	if axis < 0 || axis >= len(a.Shape) {
		return fmt.Errorf("it has no axis %d; its shape is %v", axis, a.Shape)
	}
	return nil
}

// like is an array of the same elements.
func (a *Array) like(shape []int64, data io.ReaderAt) *Array { return &Array{shape, a.Elem, data} }

func (a *Array) withAxis(axis int, length int64) []int64 {
	shape := slices.Clone(a.Shape)
	shape[axis] = length
	return shape
}

// Operate carries an operation out on its operands, whatever its Index and Count
// are. done is the operation with everything that the operands showed, so that
// it can be undone. Nothing is read but by what may not round, by a merge,
// whose operands must be equal, and by what leaves out what it knows.
func (w *Workspace) Operate(op tensorop.Op, in []*Array) (out []*Array, done tensorop.Op, err error) {
	done = op
	a := in[0]
	switch op.Kind {
	case tensorop.Split:
		out, done.Sizes, err = split(a, &op)
	case tensorop.Concat:
		out, done.Sizes, err = concat(in, &op)
	case tensorop.Stack:
		out, err = stack(in)
	case tensorop.Unstack:
		out, err = unstack(a, len(op.Sizes))
	case tensorop.Copy:
		out = slices.Repeat([]*Array{a}, len(op.Sizes))
	case tensorop.Merge:
		out, err = merge(in)
	case tensorop.Create:
		out = []*Array{a, constant(op.Values, a.Elem.BigEndian)}
	case tensorop.Discard:
		// What is left out must be what create would make again.
		if len(in) != 2 {
			return nil, done, fmt.Errorf("one of two tensors is left out, and there are %d", len(in))
		}
		if _, err = merge([]*Array{constant(op.Values, in[1].Elem.BigEndian), in[1]}); err != nil {
			return nil, done, fmt.Errorf("it has other numbers than the %d to be left out: %w", len(op.Values), err)
		}
		out = in[:1]
	case tensorop.Pad:
		out, err = pad(a, &op)
	case tensorop.Trim:
		out, err = trim(a, &op)
	case tensorop.Permute:
		out, err = permute(a, &op)
	case tensorop.Transpose:
		out, err = w.transpose(a, op.Axes)
	case tensorop.Swap:
		if out = []*Array{in[len(in)-1], a}; len(in) != 2 {
			err = fmt.Errorf("two tensors are exchanged, not %d", len(in))
		}
	case tensorop.Flatten:
		if len(a.Shape) < 2 {
			return nil, done, fmt.Errorf("its shape %v has no two axes to make one", a.Shape)
		}
		done.Groups = a.Shape[0]
		out, err = reshape(a, append([]int64{a.Shape[0] * a.Shape[1]}, a.Shape[2:]...))
	case tensorop.Unflatten:
		if len(a.Shape) == 0 || op.Groups <= 0 || a.Shape[0]%op.Groups != 0 {
			return nil, done, fmt.Errorf("its shape %v does not begin with a multiple of %d", a.Shape, op.Groups)
		}
		out, err = reshape(a, append([]int64{op.Groups, a.Shape[0] / op.Groups}, a.Shape[1:]...))
	case tensorop.Squeeze:
		if err := a.axis(op.Axis); err != nil || a.Shape[op.Axis] != 1 {
			return nil, done, cmp.Or(err, fmt.Errorf("axis %d of its shape %v is not of length 1", op.Axis, a.Shape))
		}
		out, err = reshape(a, slices.Delete(slices.Clone(a.Shape), op.Axis, op.Axis+1))
	case tensorop.Unsqueeze:
		if op.Axis < 0 || op.Axis > len(a.Shape) {
			return nil, done, fmt.Errorf("its shape %v has no place for an axis %d", a.Shape, op.Axis)
		}
		out, err = reshape(a, slices.Insert(slices.Clone(a.Shape), op.Axis, 1))
	case tensorop.Reshape:
		done.Was = slices.Clone(a.Shape)
		out, err = reshape(a, op.Shape)
	case tensorop.Cast:
		done.From = a.Elem.DType
		out, err = cast(a, op.To)
	case tensorop.Offset, tensorop.Scale, tensorop.NegativeExp, tensorop.LogNegative:
		out, err = w.compute(a, &op)
	case tensorop.Repack:
		out, err = repack(in, &op)
	default:
		err = errors.New("it cannot be carried out")
	}
	return out, done, err
}

// parts works out the sizes of the parts of an axis, and into how many runs it
// is cut.
func parts(op *tensorop.Op, count int, length int64) (sizes []int64, groups int64, err error) {
	ratio := op.Sizes
	if len(ratio) == 0 {
		ratio = slices.Repeat([]int64{1}, count)
	}
	if len(ratio) != count {
		return nil, 0, fmt.Errorf("%s are given for %s", plural.Of(len(ratio), "size"), plural.Of(count, "part"))
	}
	sum := int64(0)
	for _, r := range ratio {
		if r <= 0 || r > math.MaxInt64-sum {
			return nil, 0, fmt.Errorf("parts of %v cannot be", ratio)
		}
		sum += r
	}
	if length%sum != 0 {
		return nil, 0, fmt.Errorf("axis %d has a length of %d, which parts of %v do not make, nor do parts in proportion to them", op.Axis, length, ratio)
	}
	sizes = make([]int64, count)
	for i, r := range ratio {
		sizes[i] = r * (length / sum)
	}
	switch op.Layout {
	case tensorop.Contiguous, "":
		groups = 1
	case tensorop.Interleaved:
		groups = max(1, sizes[0])
		for _, s := range sizes {
			if s != sizes[0] {
				return nil, 0, fmt.Errorf("parts of %v cannot be interleaved, since they differ", sizes)
			}
		}
	case tensorop.PerHead, tensorop.Grouped:
		groups = op.Groups
		for _, s := range sizes {
			if groups <= 0 || s%groups != 0 {
				return nil, 0, fmt.Errorf("parts of %v do not divide among %s", sizes, plural.Of(groups, "group"))
			}
		}
	default:
		return nil, 0, fmt.Errorf("the layout %q is not known", op.Layout)
	}
	return sizes, groups, nil
}

// inBlocks gives the bytes of a run of elements along an axis.
func (a *Array) inBlocks(axis int, elems int64) (int64, error) {
	if axis < len(a.Shape)-1 {
		return elems * a.inner(axis), nil
	}
	if elems%a.Elem.Elems != 0 {
		return 0, fmt.Errorf("runs of %d along the rows would take blocks of %d %s apart", elems, a.Elem.Elems, a.Elem.DType)
	}
	return elems / a.Elem.Elems * a.Elem.Bytes, nil
}

func split(a *Array, op *tensorop.Op) ([]*Array, []int64, error) {
	if err := a.axis(op.Axis); err != nil {
		return nil, nil, err
	}
	sizes, groups, err := parts(op, op.Results(), a.Shape[op.Axis])
	if err != nil {
		return nil, nil, err
	}
	stride := a.length(op.Axis) * a.inner(op.Axis) / groups
	out := make([]*Array, len(sizes))
	at := int64(0)
	for i, size := range sizes {
		run, err := a.inBlocks(op.Axis, size/groups)
		if err != nil {
			return nil, nil, err
		}
		out[i] = a.like(a.withAxis(op.Axis, size), &strided{a.Data, at, run, stride})
		at += run
	}
	return out, sizes, nil
}

func concat(in []*Array, op *tensorop.Op) ([]*Array, []int64, error) {
	a := in[0]
	if err := a.axis(op.Axis); err != nil {
		return nil, nil, err
	}
	length := int64(0)
	have := make([]int64, len(in))
	for i, b := range in {
		if b.Elem != a.Elem {
			return nil, nil, fmt.Errorf("%s and %s cannot be joined", a.Elem.DType, b.Elem.DType)
		}
		if len(b.Shape) != len(a.Shape) || !slices.Equal(b.withAxis(op.Axis, 0), a.withAxis(op.Axis, 0)) {
			return nil, nil, fmt.Errorf("shapes %v and %v cannot be joined along axis %d", a.Shape, b.Shape, op.Axis)
		}
		have[i] = b.Shape[op.Axis]
		if have[i] > math.MaxInt64-length {
			return nil, nil, fmt.Errorf("lengths of %v are too large to compute with", have)
		}
		length += have[i]
	}
	sizes, groups, err := parts(op, len(in), length)
	if err != nil {
		return nil, nil, err
	}
	if !slices.Equal(sizes, have) {
		return nil, nil, fmt.Errorf("along axis %d the tensors have %v, which is not in the proportion of %v", op.Axis, have, op.Sizes)
	}
	w := &weave{}
	for i, b := range in {
		run, err := b.inBlocks(op.Axis, sizes[i]/groups)
		if err != nil {
			return nil, nil, err
		}
		w.add(b.Data, run)
	}
	joined, err := newArray(a.withAxis(op.Axis, length), a.Elem, w)
	return []*Array{joined}, sizes, err
}

func stack(in []*Array) ([]*Array, error) {
	a := in[0]
	w := &weave{}
	for _, b := range in {
		if b.Elem != a.Elem || !slices.Equal(b.Shape, a.Shape) {
			return nil, fmt.Errorf("%s %v and %s %v cannot be stacked", a.Elem.DType, a.Shape, b.Elem.DType, b.Shape)
		}
		w.add(b.Data, b.Size())
	}
	if len(a.Shape) == 0 && a.Elem.Elems > 1 {
		return nil, fmt.Errorf("single numbers of %s cannot be stacked", a.Elem.DType)
	}
	s, err := newArray(append([]int64{int64(len(in))}, a.Shape...), a.Elem, w)
	return []*Array{s}, err
}

func unstack(a *Array, n int) ([]*Array, error) {
	if len(a.Shape) == 0 || a.Shape[0] != int64(n) || len(a.Shape) == 1 && a.Elem.Elems > 1 {
		return nil, fmt.Errorf("its shape %v does not begin with the %d that it is to be taken apart into", a.Shape, n)
	}
	out := make([]*Array, n)
	size := a.inner(0)
	for i := range out {
		out[i] = a.like(a.Shape[1:], &strided{a.Data, int64(i) * size, size, size})
	}
	return out, nil
}

// constant is a tensor of given numbers.
func constant(values []float32, bigEndian bool) *Array {
	var order binary.AppendByteOrder = binary.LittleEndian
	if bigEndian {
		order = binary.BigEndian
	}
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = order.AppendUint32(data, math.Float32bits(v))
	}
	return &Array{[]int64{int64(len(values))}, Element{"F32", 1, 4, bigEndian}, bytes.NewReader(data)}
}

// merge gives the first of equal tensors.
func merge(in []*Array) ([]*Array, error) {
	a := in[0]
	for i, b := range in[1:] {
		if !slices.Equal(a.Shape, b.Shape) || a.Elem != b.Elem {
			return nil, fmt.Errorf("%s %v and %s %v cannot be equal", a.Elem.DType, a.Shape, b.Elem.DType, b.Shape)
		}
		same, err := source.Equal(context.Background(), a.Data, b.Data, a.Size())
		if err != nil {
			return nil, err
		}
		if !same {
			return nil, fmt.Errorf("tensor %d of %d differs from the first, and equal tensors alone become one", i+2, len(in))
		}
	}
	return in[:1], nil
}

// zeros reads as zeros without an end.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// padding checks what a pad or a trim says of an axis, and gives its two lengths.
func padding(a *Array, op *tensorop.Op) (before, after int64, err error) {
	if err := a.axis(op.Axis); err != nil {
		return 0, 0, err
	}
	if _, ok := floats[a.Elem.DType]; !ok {
		return 0, 0, notFloats(a, op)
	}
	if len(op.Sizes) != 2 || op.Sizes[0] < 0 || op.Sizes[1] < 0 || op.Sizes[0] > math.MaxInt64/4 || op.Sizes[1] > math.MaxInt64/4 {
		return 0, 0, fmt.Errorf("zeros of %v cannot be", op.Sizes)
	}
	return op.Sizes[0], op.Sizes[1], nil
}

func pad(a *Array, op *tensorop.Op) ([]*Array, error) {
	before, after, err := padding(a, op)
	if err != nil {
		return nil, err
	}
	length := a.Shape[op.Axis]
	if length > math.MaxInt64/4 {
		return nil, tooLarge(a.Shape)
	}
	w := &weave{}
	padded, err := newArray(a.withAxis(op.Axis, before+length+after), a.Elem, w)
	if err != nil {
		return nil, err
	}
	inner := a.inner(op.Axis)
	w.add(zeros{}, before*inner)
	w.add(a.Data, length*inner)
	w.add(zeros{}, after*inner)
	return []*Array{padded}, nil
}

func trim(a *Array, op *tensorop.Op) ([]*Array, error) {
	before, after, err := padding(a, op)
	if err != nil {
		return nil, err
	}
	length, inner := a.Shape[op.Axis], a.inner(op.Axis)
	kept := length - before - after
	if kept < 0 {
		return nil, fmt.Errorf("axis %d has a length of %d, of which %d and %d cannot go", op.Axis, length, before, after)
	}
	start, end, stride := before*inner, (before+kept)*inner, length*inner
	buf := make([]byte, 64<<10)
	for off, size := int64(0), a.Size(); off < size; {
		p := buf[:min(int64(len(buf)), size-off)]
		if err := source.ReadFull(a.Data, p, off); err != nil {
			return nil, err
		}
		for len(p) > 0 {
			in := off % stride
			next, goes := stride, true // where what goes or stays ends
			switch {
			case in < start:
				next = start
			case in < end:
				next, goes = end, false
			}
			n := min(next-in, int64(len(p)))
			if goes && len(bytes.TrimLeft(p[:n], "\x00")) > 0 {
				return nil, fmt.Errorf("what is before %d and from %d on along axis %d must be zeros, and is not", before, before+kept, op.Axis)
			}
			p, off = p[n:], off+n
		}
	}
	return []*Array{a.like(a.withAxis(op.Axis, kept), &strided{a.Data, start, end - start, stride})}, nil
}

func permute(a *Array, op *tensorop.Op) ([]*Array, error) {
	if err := a.axis(op.Axis); err != nil {
		return nil, err
	}
	n := a.Shape[op.Axis]
	if op.Heads <= 0 || n%op.Heads != 0 {
		return nil, fmt.Errorf("axis %d has a length of %d, which does not divide among %s", op.Axis, n, plural.Of(op.Heads, "head"))
	}
	d := n / op.Heads
	if op.From == tensorop.Grouped || op.To == tensorop.Grouped {
		return reorderHeads(a, op, d)
	}
	rotary := cmp.Or(op.Rotary, d)
	switch {
	case rotary < 0 || rotary > d || rotary%2 != 0:
		return nil, fmt.Errorf("%d of the %d rows of a head cannot be rotated in pairs", rotary, d)
	case op.Axis == len(a.Shape)-1 && a.Elem.Elems > 1:
		return nil, fmt.Errorf("the order of the elements of a row cannot change in blocks of %d %s", a.Elem.Elems, a.Elem.DType)
	}
	p := &permuted{src: a.Data, row: a.inner(op.Axis), head: d, half: rotary / 2}
	switch {
	case op.From == tensorop.Half && op.To == tensorop.Adjacent:
		p.adjacent = true
	case op.From != tensorop.Adjacent || op.To != tensorop.Half:
		return nil, fmt.Errorf("rows cannot go from %q to %q", op.From, op.To)
	}
	return []*Array{a.like(a.Shape, p)}, nil
}

// reorderHeads moves whole heads of d rows between the two orders of groups.
func reorderHeads(a *Array, op *tensorop.Op, d int64) ([]*Array, error) {
	if op.Groups <= 0 || op.Heads%op.Groups != 0 {
		return nil, fmt.Errorf("%s do not divide among %s", plural.Of(op.Heads, "head"), plural.Of(op.Groups, "group"))
	}
	run, err := a.inBlocks(op.Axis, d)
	if err != nil {
		return nil, err
	}
	h := &headOrder{src: a.Data, run: run, heads: op.Heads, step: op.Groups}
	switch {
	case op.From == tensorop.Tiled && op.To == tensorop.Grouped:
		h.step = op.Heads / op.Groups
	case op.From != tensorop.Grouped || op.To != tensorop.Tiled:
		return nil, fmt.Errorf("heads cannot go from %q to %q", op.From, op.To)
	}
	return []*Array{a.like(a.Shape, h)}, nil
}

func reshape(a *Array, shape []int64) ([]*Array, error) {
	b, err := newArray(slices.Clone(shape), a.Elem, a.Data)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(shape, func(d int64) bool { return d < 0 }) || a.Size() != b.Size() {
		return nil, fmt.Errorf("its shape %v does not have the elements of %v", a.Shape, shape)
	}
	return []*Array{b}, nil
}

// readPieces reads bytes that lie in runs. locate says, of a place in what is
// read, where it comes from and how far the run goes on.
func readPieces(p []byte, off int64, locate func(off int64) (src io.ReaderAt, at, n int64)) (int, error) {
	for done := 0; done < len(p); {
		src, at, n := locate(off + int64(done))
		k := int(min(n, int64(len(p)-done)))
		if err := source.ReadFull(src, p[done:done+k], at); err != nil {
			return done, err
		}
		done += k
	}
	return len(p), nil
}

// strided is runs of bytes at equal distances.
type strided struct {
	src         io.ReaderAt
	first       int64
	run, stride int64
}

func (s *strided) ReadAt(p []byte, off int64) (int, error) {
	if s.run == s.stride {
		return readPieces(p, off, func(off int64) (io.ReaderAt, int64, int64) { return s.src, s.first + off, math.MaxInt64 })
	}
	return readPieces(p, off, func(off int64) (io.ReaderAt, int64, int64) {
		i, in := off/s.run, off%s.run
		return s.src, s.first + i*s.stride + in, s.run - in
	})
}

// weave is a run of each of several sources in turn.
type weave struct {
	src  []io.ReaderAt
	ends []int64 // of their runs, within one turn
}

func (w *weave) add(src io.ReaderAt, run int64) {
	w.src = append(w.src, src)
	w.ends = append(w.ends, w.turn()+run)
}

func (w *weave) turn() int64 {
	if len(w.ends) == 0 {
		return 0
	}
	return w.ends[len(w.ends)-1]
}

func (w *weave) ReadAt(p []byte, off int64) (int, error) {
	turn := w.turn()
	return readPieces(p, off, func(off int64) (io.ReaderAt, int64, int64) {
		k, in := off/turn, off%turn
		i, found := slices.BinarySearch(w.ends, in)
		if found {
			i++
		}
		for w.ends[i] == in { // runs without bytes
			i++
		}
		start := int64(0)
		if i > 0 {
			start = w.ends[i-1]
		}
		run := w.ends[i] - start
		return w.src[i], k*run + in - start, w.ends[i] - in
	})
}

// permuted is rows of heads between the two orders of rotary embedding.
type permuted struct {
	src      io.ReaderAt
	row      int64 // bytes
	head     int64 // rows of a head
	half     int64 // pairs of rows of a head that change places
	adjacent bool  // pairs come together; otherwise they are parted
}

func (s *permuted) ReadAt(p []byte, off int64) (int, error) {
	return readPieces(p, off, func(off int64) (io.ReaderAt, int64, int64) {
		row, in := off/s.row, off%s.row
		j := row % s.head
		from, n := j, s.row-in
		switch {
		case j >= 2*s.half:
			n += (s.head - 1 - j) * s.row
		case s.adjacent:
			from = j/2 + j%2*s.half
		default:
			from = j%s.half*2 + j/s.half
		}
		return s.src, (row-j+from)*s.row + in, n
	})
}

// headOrder is runs of bytes, one a head, as a matrix of them turned round: what
// has step columns after it.
type headOrder struct {
	src   io.ReaderAt
	run   int64
	heads int64
	step  int64
}

func (h *headOrder) ReadAt(p []byte, off int64) (int, error) {
	return readPieces(p, off, func(off int64) (io.ReaderAt, int64, int64) {
		i, in := off/h.run, off%h.run
		head := i % h.heads
		from := head%h.step*(h.heads/h.step) + head/h.step
		return h.src, (i-head+from)*h.run + in, h.run - in
	})
}
