package rewrite

import (
	"context"
	"fmt"
	"io"
	"slices"

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
	opened := make([]txn.File, len(c.Files))
	out := make(map[int]map[int]*transform)
	spaces := make([]*arrays.Workspace, len(c.Files))
	for k := range transforms {
		tr := &transforms[k]
		home := c.At(tr.Rows[0]).File
		if spaces[home] == nil {
			spaces[home] = &arrays.Workspace{}
			out[home] = make(map[int]*transform)
		}
		t := &transform{}
		for n, row := range tr.Rows {
			it := c.At(row)
			f := it.File
			if opened[f] == nil {
				src, err := txn.Read(j.sys, c.Files[f].Path, 0)
				if err != nil {
					return nil, err
				}
				j.sources = append(j.sources, src)
				opened[f] = src
			}
			a, err := arrays.Stored(c.Files[f], it, spaces[home].Tensor(opened[f], it.Offset, int64(it.Bytes)))
			if err != nil {
				return nil, fmt.Errorf("%s: tensor %q: %w", c.Files[f].Name, tr.From[n], err)
			}
			t.from = append(t.from, origin{tr.From[n], a})
		}
		if err := t.operate(spaces[home], tr); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Files[home].Name, err)
		}
		out[home][tr.Rows[0]-starts[home]] = t
	}
	return out, nil
}

// operate carries out the operations on what the transform takes.
func (t *transform) operate(w *arrays.Workspace, tr *rename.Transform) error {
	operands := make([]*arrays.Array, len(t.from))
	for i := range t.from {
		operands[i] = t.from[i].Array
	}
	out, undo, exact, err := w.OperateAll(tr.Ops, operands, t.taken())
	if err != nil {
		return err
	}
	if len(out) != len(tr.To) {
		return fmt.Errorf("the operations on %s leave %d tensors, and there are %d names", t.taken(), len(out), len(tr.To))
	}
	t.undo, t.exact = undo, exact
	for i, a := range out {
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
	for i, old := range t.from {
		size := old.Size()
		if operands[i].Size() != size {
			return n, fmt.Errorf("undoing the operations leaves tensor %q with %d bytes of %d", old.name, operands[i].Size(), size)
		}
		same, err := source.Equal(ctx, old.Data, operands[i].Data, size)
		if err != nil {
			return n, err
		}
		if !same {
			return n, fmt.Errorf("undoing the operations does not give back tensor %q", old.name)
		}
		n += size
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
	typ, ok := gguf.ParseTensorType(m.Elem.DType)
	if !ok {
		typ = like.Type
	}
	return gguf.Tensor{Name: m.name, Type: typ, Dims: dims, Bytes: uint64(m.Size()), BytesKnown: true}
}
