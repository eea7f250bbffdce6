package rewrite

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A transform is tensors of one file that are made of others, which may lie in
// several files. They go where the first of those was.
type transform struct {
	made []made
	from []origin
	// undo are the operations that take the new tensors back to the old ones;
	// exact is false where nothing does.
	undo  []tensorop.Op
	exact bool
}

// A made tensor is what operations leave.
type made struct {
	name string
	*arrays.Array
}

// An origin is a tensor that operations take.
type origin struct {
	name string
	*arrays.Array
}

// single reports whether one tensor becomes one.
func (t *transform) single() bool { return len(t.from) == 1 && len(t.made) == 1 }

// transformWorkers is how many files are worked on at once where bytes move:
// each may take a workspace besides the memory of a copy.
const transformWorkers = 2

// prepareTransforms makes the arrays of what a plan transforms: for each file,
// by the place in it of the first tensor taken.
func (j *Job) prepareTransforms(transforms []rename.Transform) (map[int]map[int]*transform, error) {
	if len(transforms) == 0 {
		return nil, nil
	}
	j.opts.Workers = min(j.opts.Workers, transformWorkers)
	c := j.checkpoint
	starts := make([]int, len(c.Files)+1)
	for i, cf := range c.Files {
		starts[i+1] = starts[i] + tensorsIn(cf)
	}
	place := func(row int) (file, tensor int) {
		file, found := slices.BinarySearch(starts[1:], row)
		if found {
			file++
		}
		for starts[file+1] == row { // files without tensors
			file++
		}
		return file, row - starts[file]
	}
	opened := make([]txn.File, len(c.Files))
	out := make(map[int]map[int]*transform)
	spaces := make([]*arrays.Workspace, len(c.Files))
	for k := range transforms {
		tr := &transforms[k]
		home, first := place(tr.Rows[0])
		if spaces[home] == nil {
			spaces[home] = &arrays.Workspace{}
			out[home] = make(map[int]*transform)
		}
		t := &transform{exact: true}
		for n, row := range tr.Rows {
			f, i := place(row)
			if opened[f] == nil {
				src, err := txn.Read(j.sys, c.Files[f].Path, 0)
				if err != nil {
					return nil, err
				}
				j.sources = append(j.sources, src)
				opened[f] = src
			}
			a, err := tensorArray(c.Files[f], i, opened[f], spaces[home])
			if err != nil {
				return nil, fmt.Errorf("%s: tensor %q: %w", c.Files[f].Name, tr.From[n], err)
			}
			t.from = append(t.from, origin{tr.From[n], a})
		}
		if err := t.operate(spaces[home], tr); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Files[home].Name, err)
		}
		out[home][first] = t
	}
	return out, nil
}

// tensorArray is the array of a tensor in a file.
func tensorArray(cf *checkpoint.File, i int, src io.ReaderAt, w *arrays.Workspace) (*arrays.Array, error) {
	var shape []uint64
	var off, size int64
	elem := arrays.Element{Elems: 1}
	if f := cf.Safetensors(); f != nil {
		t := f.At(i)
		bits, known := t.DType.Bits()
		n, ok := t.Bytes()
		if !known || !ok || n != t.End-t.Begin || t.Begin > t.End || int64(t.End) > f.Size()-f.DataOffset() {
			return nil, fmt.Errorf("its shape %v of %s is not that of the %d bytes it has", t.Shape, t.DType, t.End-t.Begin)
		}
		for bits*elem.Elems%8 != 0 {
			elem.Elems *= 2
		}
		elem.DType, elem.Bytes = string(t.DType), bits*elem.Elems/8
		shape, off, size = t.Shape, f.DataOffset()+int64(t.Begin), int64(n)
	} else {
		f := cf.GGUF()
		t := f.Tensors[i]
		elems, bytes, known := t.Type.Block()
		var ok bool
		if off, size, ok = f.DataSpan(i); !known || !ok {
			return nil, fmt.Errorf("the size of its data, %s, is not known or not in the file", t.Type)
		}
		elem = arrays.Element{DType: t.Type.String(), Elems: elems, Bytes: bytes, BigEndian: f.ByteOrder.String() == "BigEndian"}
		shape = slices.Clone(t.Dims)
		slices.Reverse(shape)
	}
	a, err := arrays.New(shape, elem, w.Tensor(src, off, size))
	if err == nil && a.Size() != size {
		err = fmt.Errorf("its shape %v of %s is not that of the %d bytes it has", shape, elem.DType, size)
	}
	return a, err
}

// operate carries out the operations on what the transform takes.
func (t *transform) operate(w *arrays.Workspace, tr *rename.Transform) error {
	operands := make([]*arrays.Array, len(t.from))
	for i := range t.from {
		operands[i] = t.from[i].Array
	}
	for i := range tr.Ops {
		op := &tr.Ops[i]
		if op.Index < 0 || op.Count < 1 || op.Index+op.Count > len(operands) {
			return fmt.Errorf("%s cannot take %d tensors from %d on of %d", op.Kind, op.Count, op.Index, len(operands))
		}
		out, done, err := w.Operate(*op, operands[op.Index:op.Index+op.Count])
		if err != nil {
			return fmt.Errorf("%s of %s: %w", op.Kind, t.taken(), err)
		}
		inverse, ok := done.Inverse()
		t.exact = t.exact && ok
		t.undo = append(t.undo, inverse)
		operands = slices.Replace(operands, op.Index, op.Index+op.Count, out...)
	}
	slices.Reverse(t.undo)
	if len(operands) != len(tr.To) {
		return fmt.Errorf("the operations on %s leave %d tensors, and there are %d names", t.taken(), len(operands), len(tr.To))
	}
	for i, a := range operands {
		t.made = append(t.made, made{tr.To[i], a})
	}
	return nil
}

// taken names what the transform takes.
func (t *transform) taken() string {
	if len(t.from) == 1 {
		return fmt.Sprintf("%q", t.from[0].name)
	}
	return fmt.Sprintf("%q and %d more", t.from[0].name, len(t.from)-1)
}

// restore gets the old tensors back out of a new file, by the inverse
// operations, and compares them with what they were. at says where in the file
// a new tensor's bytes are.
func (t *transform) restore(ctx context.Context, f io.ReaderAt, at func(name string) int64) (n int64, err error) {
	w := &arrays.Workspace{}
	operands := make([]*arrays.Array, len(t.made))
	for i, m := range t.made {
		operands[i] = &arrays.Array{Shape: m.Shape, Elem: m.Elem, Data: w.Tensor(f, at(m.name), m.Size())}
	}
	for _, op := range t.undo {
		out, _, err := w.Operate(op, operands[op.Index:op.Index+op.Count])
		if err != nil {
			return n, fmt.Errorf("undoing %s: %w", op.Kind, err)
		}
		operands = slices.Replace(operands, op.Index, op.Index+op.Count, out...)
	}
	const step = 1 << 20
	a, b := make([]byte, step), make([]byte, step)
	for i, old := range t.from {
		size := old.Size()
		if operands[i].Size() != size {
			return n, fmt.Errorf("undoing the operations leaves tensor %q with %d bytes of %d", old.name, operands[i].Size(), size)
		}
		for off := int64(0); off < size; off += step {
			if err := ctx.Err(); err != nil {
				return n, err
			}
			k := min(step, size-off)
			if err := source.ReadFull(old.Data, a[:k], off); err != nil {
				return n, err
			}
			if err := source.ReadFull(operands[i].Data, b[:k], off); err != nil {
				return n, err
			}
			if !bytes.Equal(a[:k], b[:k]) {
				return n, fmt.Errorf("undoing the operations does not give back tensor %q", old.name)
			}
			n += k
		}
	}
	return n, nil
}

// restore shows that every tensor whose bytes were moved can be had back.
func (e *edit) restore(ctx context.Context, f txn.File, p *proof) error {
	at := make(map[string]int64)
	for _, pc := range e.pieces {
		at[pc.Name] = e.newOffset + pc.At
	}
	for _, t := range e.transforms {
		if !t.exact {
			continue
		}
		n, err := t.restore(ctx, f, func(name string) int64 { return at[name] })
		if err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		p.restored += len(t.from)
		p.bytes += n
	}
	return nil
}

// ggufTensor is the record of a made tensor in a GGUF file. like is the record
// of one that it was made of.
func (m *made) ggufTensor(like gguf.Tensor) gguf.Tensor {
	dims := m.Dims()
	slices.Reverse(dims)
	if len(dims) == 0 {
		dims = []uint64{1}
	}
	typ := like.Type
	for t := range gguf.TensorType(64) {
		if _, _, known := t.Block(); known && t.String() == m.Elem.DType {
			typ = t
		}
	}
	return gguf.Tensor{Name: m.name, Type: typ, Dims: dims, Bytes: uint64(m.Size()), BytesKnown: true}
}
