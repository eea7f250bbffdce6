package rewrite

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"

	"github.com/wtinspect/wtinspect/rename"
)

// An array is a tensor whose bytes are made when they are read: a tensor of a
// file, or what an operation makes of others. Nothing is read before that, and
// whatever its size, reading takes the memory of a workspace and no more.
type array struct {
	shape []int64 // in elements, slowest first
	elem  element
	data  io.ReaderAt // its bytes, from 0
}

// An element is what the bytes of an array consist of. Those of block formats,
// and of dtypes narrower than a byte, come in blocks that nothing takes apart.
type element struct {
	dtype string // as the file's format spells it
	elems int64  // in a block, along the last axis
	bytes int64  // of a block
	big   bool   // byte order
}

// newArray checks that a shape can be computed with.
func newArray(shape []int64, elem element, data io.ReaderAt) (*array, error) {
	a := &array{shape, elem, data}
	size := uint64(elem.bytes)
	for i, d := range shape {
		if i == len(shape)-1 {
			if d%elem.elems != 0 {
				return nil, fmt.Errorf("its rows of %d elements are no whole number of blocks of %d %s", d, elem.elems, elem.dtype)
			}
			d /= elem.elems
		}
		// A dimension of 0 does not make the others harmless: their products are used.
		hi, lo := bits.Mul64(size, uint64(max(d, 1)))
		if hi != 0 || lo > math.MaxInt64 {
			return nil, fmt.Errorf("its shape %v is too large to compute with", shape)
		}
		size = lo
	}
	if len(shape) == 0 && elem.elems != 1 {
		return nil, fmt.Errorf("it is a single number of %s, which comes in blocks of %d", elem.dtype, elem.elems)
	}
	return a, nil
}

// size is the number of bytes.
func (a *array) size() int64 {
	n := a.elem.bytes
	for axis := range a.shape {
		n *= a.length(axis)
	}
	return n
}

// length is the length of an axis in what cannot be taken apart.
func (a *array) length(axis int) int64 {
	if axis == len(a.shape)-1 {
		return a.shape[axis] / a.elem.elems
	}
	return a.shape[axis]
}

// inner is the number of bytes of one step along an axis.
func (a *array) inner(axis int) int64 {
	n := a.elem.bytes
	for i := axis + 1; i < len(a.shape); i++ {
		n *= a.length(i)
	}
	return n
}

func (a *array) axis(axis int) error {
	if axis < 0 || axis >= len(a.shape) {
		return fmt.Errorf("it has no axis %d; its shape is %v", axis, a.shape)
	}
	return nil
}

// like is an array of the same elements.
func (a *array) like(shape []int64, data io.ReaderAt) *array { return &array{shape, a.elem, data} }

func (a *array) withAxis(axis int, length int64) []int64 {
	shape := slices.Clone(a.shape)
	shape[axis] = length
	return shape
}

// operate carries an operation out on its operands. done is the operation with
// everything that the operands showed, so that it can be undone.
func (w *workspace) operate(op rename.Op, in []*array) (out []*array, done rename.Op, err error) {
	done = op
	a := in[0]
	switch op.Kind {
	case rename.OpSplit:
		out, done.Sizes, err = split(a, &op)
	case rename.OpConcat:
		out, done.Sizes, err = concat(in, &op)
	case rename.OpStack:
		out, err = stack(in)
	case rename.OpUnstack:
		out, err = unstack(a, len(op.Sizes))
	case rename.OpPermute:
		out, err = permute(a, &op)
	case rename.OpTranspose:
		out, err = w.transpose(a, op.Axes)
	case rename.OpSwap:
		if out = []*array{in[len(in)-1], a}; len(in) != 2 {
			err = fmt.Errorf("two tensors are exchanged, not %d", len(in))
		}
	case rename.OpFlatten:
		if len(a.shape) < 2 {
			return nil, done, fmt.Errorf("its shape %v has no two axes to make one", a.shape)
		}
		done.Groups = a.shape[0]
		out, err = reshape(a, append([]int64{a.shape[0] * a.shape[1]}, a.shape[2:]...))
	case rename.OpUnflatten:
		if len(a.shape) == 0 || op.Groups <= 0 || a.shape[0]%op.Groups != 0 {
			return nil, done, fmt.Errorf("its shape %v does not begin with a multiple of %d", a.shape, op.Groups)
		}
		out, err = reshape(a, append([]int64{op.Groups, a.shape[0] / op.Groups}, a.shape[1:]...))
	case rename.OpReshape:
		done.Was = slices.Clone(a.shape)
		out, err = reshape(a, op.Shape)
	case rename.OpOffset, rename.OpNegativeExp:
		out, err = w.compute(a, &op)
	case rename.OpRepack:
		out, err = repack(in, &op)
	default:
		err = errors.New("it cannot be carried out")
	}
	return out, done, err
}

// parts works out the sizes of the parts of an axis, and into how many runs it
// is cut.
func parts(op *rename.Op, count int, length int64) (sizes []int64, groups int64, err error) {
	ratio := op.Sizes
	if len(ratio) == 0 {
		ratio = slices.Repeat([]int64{1}, count)
	}
	if len(ratio) != count {
		return nil, 0, fmt.Errorf("%d sizes are given for %d parts", len(ratio), count)
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
	case rename.Contiguous, "":
		groups = 1
	case rename.Interleaved:
		groups = max(1, sizes[0])
		for _, s := range sizes {
			if s != sizes[0] {
				return nil, 0, fmt.Errorf("parts of %v cannot be interleaved, since they differ", sizes)
			}
		}
	case rename.PerHead, rename.Grouped:
		groups = op.Groups
		for _, s := range sizes {
			if groups <= 0 || s%groups != 0 {
				return nil, 0, fmt.Errorf("parts of %v do not divide among %d groups", sizes, groups)
			}
		}
	default:
		return nil, 0, fmt.Errorf("the layout %q is not known", op.Layout)
	}
	return sizes, groups, nil
}

// inBlocks gives the bytes of a run of elements along an axis.
func (a *array) inBlocks(axis int, elems int64) (int64, error) {
	if axis < len(a.shape)-1 {
		return elems * a.inner(axis), nil
	}
	if elems%a.elem.elems != 0 {
		return 0, fmt.Errorf("runs of %d along the rows would take blocks of %d %s apart", elems, a.elem.elems, a.elem.dtype)
	}
	return elems / a.elem.elems * a.elem.bytes, nil
}

func split(a *array, op *rename.Op) ([]*array, []int64, error) {
	if err := a.axis(op.Axis); err != nil {
		return nil, nil, err
	}
	sizes, groups, err := parts(op, op.Results(), a.shape[op.Axis])
	if err != nil {
		return nil, nil, err
	}
	stride := a.length(op.Axis) * a.inner(op.Axis) / groups
	out := make([]*array, len(sizes))
	at := int64(0)
	for i, size := range sizes {
		run, err := a.inBlocks(op.Axis, size/groups)
		if err != nil {
			return nil, nil, err
		}
		out[i] = a.like(a.withAxis(op.Axis, size), &strided{a.data, at, run, stride})
		at += run
	}
	return out, sizes, nil
}

func concat(in []*array, op *rename.Op) ([]*array, []int64, error) {
	a := in[0]
	if err := a.axis(op.Axis); err != nil {
		return nil, nil, err
	}
	length := int64(0)
	have := make([]int64, len(in))
	for i, b := range in {
		if b.elem != a.elem {
			return nil, nil, fmt.Errorf("%s and %s cannot be joined", a.elem.dtype, b.elem.dtype)
		}
		if len(b.shape) != len(a.shape) || !slices.Equal(b.withAxis(op.Axis, 0), a.withAxis(op.Axis, 0)) {
			return nil, nil, fmt.Errorf("shapes %v and %v cannot be joined along axis %d", a.shape, b.shape, op.Axis)
		}
		have[i] = b.shape[op.Axis]
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
		w.add(b.data, run)
	}
	joined, err := newArray(a.withAxis(op.Axis, length), a.elem, w)
	return []*array{joined}, sizes, err
}

func stack(in []*array) ([]*array, error) {
	a := in[0]
	w := &weave{}
	for _, b := range in {
		if b.elem != a.elem || !slices.Equal(b.shape, a.shape) {
			return nil, fmt.Errorf("%s %v and %s %v cannot be stacked", a.elem.dtype, a.shape, b.elem.dtype, b.shape)
		}
		w.add(b.data, b.size())
	}
	if len(a.shape) == 0 && a.elem.elems > 1 {
		return nil, fmt.Errorf("single numbers of %s cannot be stacked", a.elem.dtype)
	}
	s, err := newArray(append([]int64{int64(len(in))}, a.shape...), a.elem, w)
	return []*array{s}, err
}

func unstack(a *array, n int) ([]*array, error) {
	if len(a.shape) == 0 || a.shape[0] != int64(n) || len(a.shape) == 1 && a.elem.elems > 1 {
		return nil, fmt.Errorf("its shape %v does not begin with the %d that it is to be taken apart into", a.shape, n)
	}
	out := make([]*array, n)
	size := a.inner(0)
	for i := range out {
		out[i] = a.like(a.shape[1:], &strided{a.data, int64(i) * size, size, size})
	}
	return out, nil
}

func permute(a *array, op *rename.Op) ([]*array, error) {
	if err := a.axis(op.Axis); err != nil {
		return nil, err
	}
	n := a.shape[op.Axis]
	if op.Heads <= 0 || n%op.Heads != 0 {
		return nil, fmt.Errorf("axis %d has a length of %d, which does not divide among %d heads", op.Axis, n, op.Heads)
	}
	d := n / op.Heads
	rotary := cmp.Or(op.Rotary, d)
	switch {
	case rotary < 0 || rotary > d || rotary%2 != 0:
		return nil, fmt.Errorf("%d of the %d rows of a head cannot be rotated in pairs", rotary, d)
	case op.Axis == len(a.shape)-1 && a.elem.elems > 1:
		return nil, fmt.Errorf("the order of the elements of a row cannot change in blocks of %d %s", a.elem.elems, a.elem.dtype)
	}
	p := &permuted{src: a.data, row: a.inner(op.Axis), head: d, half: rotary / 2}
	switch {
	case op.From == rename.Half && op.To == rename.Adjacent:
		p.adjacent = true
	case op.From != rename.Adjacent || op.To != rename.Half:
		return nil, fmt.Errorf("rows cannot go from %q to %q", op.From, op.To)
	}
	return []*array{a.like(a.shape, p)}, nil
}

func reshape(a *array, shape []int64) ([]*array, error) {
	b, err := newArray(slices.Clone(shape), a.elem, a.data)
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(shape, func(d int64) bool { return d < 0 }) || a.size() != b.size() {
		return nil, fmt.Errorf("its shape %v does not have the elements of %v", a.shape, shape)
	}
	return []*array{b}, nil
}

// readPieces reads bytes that lie in runs. locate says, of a place in what is
// read, where it comes from and how far the run goes on.
func readPieces(p []byte, off int64, locate func(off int64) (src io.ReaderAt, at, n int64)) (int, error) {
	for done := 0; done < len(p); {
		src, at, n := locate(off + int64(done))
		k := int(min(n, int64(len(p)-done)))
		if err := readFull(src, p[done:done+k], at); err != nil {
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
