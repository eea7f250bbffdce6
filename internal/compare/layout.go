package compare

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// apply carries a conversion out.
func (c *comparison) apply(conv *convert.Conversion) error {
	byName := make(map[string]*tensor, len(c.as))
	for _, t := range c.as {
		byName[t.own] = t
	}
	var out []*tensor
	done := make(map[string]bool)
	for i := range conv.Moves {
		m := &conv.Moves[i]
		made, err := carryOut(m, byName)
		if err != nil {
			return err
		}
		out = append(out, made...)
		for _, name := range m.From {
			done[name] = true
		}
	}
	for _, t := range c.as {
		if !done[t.own] {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(x, y *tensor) int { return x.index - y.index })
	c.as = out
	return nil
}

// carryOut returns what a move makes of the tensors. Rows are only looked up
// elsewhere, by any number of goroutines; what changes elements is left to build.
func carryOut(m *convert.Move, byName map[string]*tensor) ([]*tensor, error) {
	var from []*tensor
	for _, name := range m.From {
		t := byName[name]
		if t == nil {
			return nil, fmt.Errorf("the conversion takes %q, which is not there", name)
		}
		from = append(from, t)
	}
	if len(m.Ops) == 0 && len(from) == 1 && len(m.To) == 1 {
		t := *from[0]
		t.name = m.To[0]
		return []*tensor{&t}, nil
	}
	var layout []string
	for _, op := range m.Ops {
		if text := describe(&op); !slices.Contains(layout, text) {
			layout = append(layout, text)
		}
	}
	heavy := slices.ContainsFunc(m.Ops, func(op tensorop.Op) bool { return changesElements(op.Kind) })
	// Nothing is read here: of what has to be made only the shapes are wanted,
	// and what is only looked up elsewhere needs no workspace.
	asStored := func(t *tensor) io.ReaderAt { return t.section.Data }
	made, problem := run(m, from, &arrays.Workspace{}, asStored)
	out := make([]*tensor, len(m.To))
	for i, name := range m.To {
		t := &tensor{index: from[0].index, own: from[0].own, name: name, dtype: from[0].dtype, layout: layout, err: problem, computed: slices.ContainsFunc(m.Ops, func(op tensorop.Op) bool { return computes(op.Kind) })}
		for _, f := range from {
			switch {
			case f.sources != nil:
				t.sources = append(t.sources, f.sources...)
			case len(from) > 1:
				t.sources = append(t.sources, f.index)
			}
		}
		out[i] = t
		if problem != nil {
			continue
		}
		if len(made) != len(m.To) {
			return nil, fmt.Errorf("the conversion of %q makes %d tensors, not %d", from[0].own, len(made), len(m.To))
		}
		t.shape = made[i].Dims()
		if m.Constant(i) {
			t.dtype = made[i].Elem.DType
		}
		t.section = sectionOf(from[0], made[i])
		if !heavy {
			if len(from) == 1 && len(m.To) == 1 && slices.Equal(from[0].shape, t.shape) {
				t.stored = &from[0].section
			}
			continue
		}
		t.section.Data = io.NewSectionReader(nothing{}, 0, 0)
		t.build = func(ctx context.Context) (values.Section, error) {
			w := &arrays.Workspace{}
			made, err := run(m, from, w, func(t *tensor) io.ReaderAt {
				return w.Tensor(&cancellable{ctx, t.section.Data}, 0, t.section.Data.Size())
			})
			if err != nil {
				return values.Section{}, err
			}
			return sectionOf(from[0], made[i]), nil
		}
	}
	return out, nil
}

// sectionOf is the bytes of what was made of a tensor.
func sectionOf(from *tensor, a *arrays.Array) values.Section {
	typ, _ := values.Lookup(a.Elem.DType)
	return values.Section{Name: from.own, Type: typ, BigEndian: a.Elem.BigEndian, Data: io.NewSectionReader(a.Data, 0, a.Size())}
}

// nothing is the data of a tensor that is not made yet.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

func describe(op *tensorop.Op) string {
	switch op.Kind {
	case tensorop.Permute:
		return fmt.Sprintf("rotary rows %s to %s", op.From, op.To)
	case tensorop.Split, tensorop.Concat:
		if op.Layout != "" && op.Layout != tensorop.Contiguous {
			return fmt.Sprintf("%s %s", op.Kind, op.Layout)
		}
	case tensorop.Offset:
		return fmt.Sprintf("offset %+g", op.Value)
	case tensorop.Scale:
		return fmt.Sprintf("scale %g", op.Value)
	}
	return string(op.Kind)
}

// changesElements reports whether an operation gives other numbers, or the same in
// an order that cannot be read without a workspace.
func changesElements(k tensorop.Kind) bool { return k == tensorop.Transpose || computes(k) }

func computes(k tensorop.Kind) bool {
	switch k {
	case tensorop.Offset, tensorop.Scale, tensorop.NegativeExp, tensorop.LogNegative:
		return true
	}
	return false
}

// run carries out the operations of a move on the data of the tensors.
func run(m *convert.Move, from []*tensor, w *arrays.Workspace, data func(*tensor) io.ReaderAt) ([]*arrays.Array, error) {
	operands := make([]*arrays.Array, len(from))
	for i, t := range from {
		if t.err != nil {
			return nil, t.err
		}
		if t.section.Type == nil || t.shape == nil {
			return nil, fmt.Errorf("tensor %q: this version does not know %s, and cannot undo its layout", t.own, t.dtype)
		}
		a, err := arrays.New(t.shape, elementOf(t.section.Type, t.section.BigEndian), data(t))
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.own, err)
		}
		if a.Size() != t.section.Data.Size() {
			return nil, fmt.Errorf("tensor %q: its %d bytes are not its shape's", t.own, t.section.Data.Size())
		}
		operands[i] = a
	}
	for i := range m.Ops {
		op := &m.Ops[i]
		if op.Index < 0 || op.Count < 1 || op.Index+op.Count > len(operands) {
			return nil, fmt.Errorf("tensor %q: the conversion's %s does not fit", from[0].own, op.Kind)
		}
		in := operands[op.Index : op.Index+op.Count]
		var out []*arrays.Array
		var err error
		if computes(op.Kind) {
			out, err = compute(w, *op, in[0])
		} else {
			out, _, err = w.Operate(*op, in)
		}
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %s: %w", from[0].own, op.Kind, err)
		}
		operands = slices.Replace(operands, op.Index, op.Index+op.Count, out...)
	}
	return operands, nil
}

func elementOf(typ *values.Type, big bool) arrays.Element {
	return arrays.Element{DType: typ.Name, Elems: int64(typ.BlockElems), Bytes: int64(typ.BlockBytes), BigEndian: big}
}

// compute carries out an operation that computes, on numbers of any dtype and to
// F32: what llama.cpp's converter computes in.
func compute(w *arrays.Workspace, op tensorop.Op, a *arrays.Array) ([]*arrays.Array, error) {
	wide, err := asType(a, "F64")
	if err != nil {
		return nil, err
	}
	op.Round = true
	out, _, err := w.Operate(op, []*arrays.Array{wide})
	if err != nil {
		return nil, err
	}
	made, err := asType(out[0], "F32")
	return []*arrays.Array{made}, err
}

// asType returns the numbers of an array as F64 or F32.
func asType(a *arrays.Array, dtype string) (*arrays.Array, error) {
	from, _ := values.Lookup(a.Elem.DType)
	if from.Parts != 1 {
		return nil, fmt.Errorf("%s has no order", from.Name)
	}
	to, _ := values.Lookup(dtype)
	return arrays.New(a.Dims(), elementOf(to, false), &converted{a.Data, from, a.Elem.BigEndian, to})
}

// converted is numbers of one type as those of another, F64 or F32.
type converted struct {
	src  io.ReaderAt
	from *values.Type
	big  bool // byte order of src
	to   *values.Type
}

func (c *converted) ReadAt(p []byte, off int64) (int, error) {
	// Blocks of src are read whole, a bounded number at a time.
	const most = 1024
	elems, size := int64(c.from.BlockElems), int64(c.from.BlockBytes)
	block := elems * int64(c.to.BlockBytes) // as it is given
	for done := 0; done < len(p); {
		at := off + int64(done)
		first := at / block
		n := min((at-first*block+int64(len(p)-done)+block-1)/block, most)
		raw := make([]byte, n*size)
		if err := source.ReadFull(c.src, raw, first*size); err != nil {
			return done, err
		}
		if c.big {
			c.from.Swap(raw)
		}
		numbers := make([]float64, n*elems)
		c.from.Decode64(numbers, raw)
		out := make([]byte, 0, n*block)
		for _, v := range numbers {
			if c.to.BlockBytes == 4 {
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
			} else {
				out = binary.LittleEndian.AppendUint64(out, math.Float64bits(v))
			}
		}
		done += copy(p[done:], out[at-first*block:])
	}
	return len(p), nil
}

// cancellable is data that is read until a context is done.
type cancellable struct {
	ctx context.Context
	io.ReaderAt
}

func (c *cancellable) ReadAt(p []byte, off int64) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.ReaderAt.ReadAt(p, off)
}
