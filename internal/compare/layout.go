package compare

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A naming is what is known of the names of a side.
type naming struct {
	// conventions are those that it may follow, the likeliest first.
	conventions []*convention.Convention
	// sure says that the first of them is not a guess: a GGUF file names its
	// architecture.
	sure bool
	// absent is the prefix that the convention has and the side lacks.
	absent string
}

// modelOf is what is known of a side's model. A document that cannot be read says
// nothing, as one that is absent.
func modelOf(ctx context.Context, c *checkpoint.Checkpoint) *convention.Model {
	m, _ := adapt.Model(ctx, c)
	return m
}

func namingOf(ctx context.Context, list []*tensor, of *checkpoint.Checkpoint) (*naming, error) {
	m := modelOf(ctx, of)
	r := identify.Tensors(named(list), m)
	n := &naming{absent: r.BaseAbsent}
	if conv, ok := convention.Lookup(m.Architecture + "-gguf"); ok {
		n.conventions, n.sure = append(n.conventions, conv), true
	}
	var names []string
	if r.Convention != "" {
		names = append(names, r.Convention)
		for _, c := range r.Candidates {
			names = append(names, c.Convention)
		}
	}
	for _, name := range names {
		if conv, ok := convention.Lookup(name); ok && !slices.Contains(n.conventions, conv) {
			n.conventions = append(n.conventions, conv)
		}
	}
	if n.conventions == nil {
		return nil, fmt.Errorf("%s: the names follow no convention that is known, so that they cannot be mapped; give a map instead", of.Path)
	}
	return n, nil
}

// beside returns the conventions that the other side may follow when this one is
// sure: those that its names allow, and those of the same families, which share
// their names with others and are not always told from them.
func (n *naming) beside(other *naming) []*convention.Convention {
	out := other.conventions
	if !n.sure || other.sure {
		return out
	}
	for _, c := range convention.All() {
		if !slices.Contains(out, c) && !c.HasDialect("gguf") && slices.ContainsFunc(n.conventions[0].Families, c.HasFamily) {
			out = append(out, c)
		}
	}
	return out
}

// namings is what is known of the names of both sides.
func (c *comparison) namings(ctx context.Context) (a, b *naming, err error) {
	if a, err = namingOf(ctx, c.as, c.a); err != nil {
		return nil, nil, err
	}
	b, err = namingOf(ctx, c.bs, c.b)
	return a, b, err
}

// pairs lists the conventions that a conversion may be between.
func pairs(a, b *naming) (froms, tos []*convention.Convention) {
	froms, tos = b.beside(a), a.beside(b)
	if a.sure {
		froms = froms[:1]
	}
	if b.sure {
		tos = tos[:1]
	}
	return froms, tos
}

// derive finds the conversion that gives the most names that B has, between
// conventions that the names allow, and where a side is sure of its own, with
// that one. It returns how many names those are.
func (c *comparison) derive(ctx context.Context, a, b *naming) (best *convert.Conversion, most int, err error) {
	inB := make(map[string]bool, len(c.bs))
	for _, t := range c.bs {
		inB[t.own] = true
	}
	both := modelOf(ctx, c.a).Or(modelOf(ctx, c.b))
	most = -1
	froms, tos := pairs(a, b)
	for _, from := range froms {
		for _, to := range tos {
			conv, failed := convert.Between(from, to, named(c.as), both)
			if failed != nil {
				err = cmp.Or(err, failed)
				continue
			}
			hits := 0
			for i := range conv.Moves {
				for k, name := range conv.Moves[i].To {
					// A save of the bare model lacks the base's prefix.
					name = strings.TrimPrefix(name, b.absent)
					conv.Moves[i].To[k] = name
					if inB[name] {
						hits++
					}
				}
			}
			if hits > most {
				best, most = conv, hits
			}
		}
	}
	if best == nil {
		return nil, 0, err
	}
	return best, most, nil
}

// convert puts in the place of A's tensors what they become in B's convention.
func (c *comparison) convert(ctx context.Context) error {
	a, b, err := c.namings(ctx)
	if err != nil {
		return err
	}
	if a.conventions[0] == b.conventions[0] {
		c.out.From, c.out.To = a.conventions[0].Name, a.conventions[0].Name
		return nil
	}
	conv, _, err := c.derive(ctx, a, b)
	if err != nil {
		return err
	}
	return c.apply(conv)
}

// convertMoved is convert for sides whose names and bytes differ as those of two
// conventions do. All others are left as they are: a rename is to be told.
func (c *comparison) convertMoved(ctx context.Context) error {
	inA := make(map[string]bool, len(c.as))
	for _, t := range c.as {
		inA[t.own] = true
	}
	common := 0
	for _, t := range c.bs {
		if inA[t.own] {
			common++
		}
	}
	if common == len(c.as) || common == len(c.bs) {
		return nil
	}
	a, b, err := c.namings(ctx)
	if err != nil || a.conventions[0] == b.conventions[0] {
		return nil // what has no convention is paired in other ways
	}
	moves := false
	froms, tos := pairs(a, b)
	for _, from := range froms {
		for _, to := range tos {
			d, err := convert.Derive(from, to)
			moves = moves || err == nil && d.By() != "names"
		}
	}
	if !moves {
		return nil
	}
	conv, hits, err := c.derive(ctx, a, b)
	if refused, ok := errors.AsType[*convert.RefusalError](err); ok && refused.Needs != "" {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("tensors are compared as they are stored: %v", refused))
	}
	if err != nil || !conv.MovesBytes() || hits <= common {
		return nil
	}
	c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s and %s keep the same weights in different ways: A is compared as %s", conv.From, conv.To, conv.To))
	return c.apply(conv)
}

// apply carries a conversion out.
func (c *comparison) apply(conv *convert.Conversion) error {
	c.out.From, c.out.To = conv.From, conv.To
	if conv.From == conv.To {
		return nil
	}
	c.out.Notes = append(c.out.Notes, conv.Notes...)
	for _, d := range conv.Dropped {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s has no place in %s: %s", d.Name, conv.To, d.Reason))
	}
	byName := make(map[string]*tensor, len(c.as))
	for _, t := range c.as {
		byName[t.own] = t
	}
	var out []*tensor
	dropped := make(map[string]bool)
	for _, d := range conv.Dropped {
		dropped[d.Name] = true
	}
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
		if !done[t.own] && !dropped[t.own] {
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
		if len(from) > 1 {
			for _, f := range from {
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
