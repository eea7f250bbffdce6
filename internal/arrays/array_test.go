package arrays

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// naive carries an operation out by the formulas of the projects that need it.
func naive(op tensorop.Op, in []*fixture.Grid) []*fixture.Grid {
	g := in[0]
	with := func(shape []int64, axis int, v int64) []int64 {
		out := slices.Clone(shape)
		out[axis] = v
		return out
	}
	// place says where row i of part p of sizes lies along a fused axis.
	place := func(sizes []int64, p int, i int64) int64 {
		before, sum := int64(0), int64(0)
		for k, s := range sizes {
			if k < p {
				before += s
			}
			sum += s
		}
		switch op.Layout {
		case tensorop.Interleaved:
			return i*int64(len(sizes)) + int64(p)
		case tensorop.PerHead, tensorop.Grouped:
			// W.view(groups, pieces of q, k and v, ...)
			each := sizes[p] / op.Groups
			return i/each*(sum/op.Groups) + before/op.Groups + i%each
		}
		return before + i
	}
	switch op.Kind {
	case tensorop.Split:
		var out []*fixture.Grid
		for p, size := range op.Sizes {
			out = append(out, fixture.NewGrid(with(g.Shape, op.Axis, size), func(idx []int64) []byte {
				return g.At(with(idx, op.Axis, place(op.Sizes, p, idx[op.Axis]))...)
			}))
		}
		return out
	case tensorop.Concat:
		sum := int64(0)
		for _, s := range op.Sizes {
			sum += s
		}
		out := fixture.NewGrid(with(g.Shape, op.Axis, sum), func([]int64) []byte { return nil })
		for p, part := range in {
			for i, cell := range part.Cells {
				idx := part.Index(i)
				to := with(idx, op.Axis, place(op.Sizes, p, idx[op.Axis]))
				at := int64(0)
				for k, v := range to {
					at = at*out.Shape[k] + v
				}
				out.Cells[at] = cell
			}
		}
		return []*fixture.Grid{out}
	case tensorop.Stack:
		return []*fixture.Grid{fixture.NewGrid(append([]int64{int64(len(in))}, g.Shape...), func(idx []int64) []byte { return in[idx[0]].At(idx[1:]...) })}
	case tensorop.Unstack:
		var out []*fixture.Grid
		for e := range op.Sizes {
			out = append(out, fixture.NewGrid(g.Shape[1:], func(idx []int64) []byte { return g.At(append([]int64{int64(e)}, idx...)...) }))
		}
		return out
	case tensorop.Transpose:
		axes := op.Axes
		shape := make([]int64, len(axes))
		for i, a := range axes {
			shape[i] = g.Shape[a]
		}
		return []*fixture.Grid{fixture.NewGrid(shape, func(idx []int64) []byte {
			from := make([]int64, len(idx))
			for i, a := range axes {
				from[a] = idx[i]
			}
			return g.At(from...)
		})}
	case tensorop.Permute:
		d := g.Shape[op.Axis] / op.Heads
		rot := d
		if op.Rotary > 0 {
			rot = op.Rotary
		}
		return []*fixture.Grid{fixture.NewGrid(g.Shape, func(idx []int64) []byte {
			h, j := idx[op.Axis]/d, idx[op.Axis]%d
			switch {
			case j >= rot:
			case op.From == tensorop.Half: // reshape(n, 2, d/2).swapaxes(1, 2)
				j = j%2*(rot/2) + j/2
			default: // view(n, d/2, 2).transpose(1, 2)
				j = j%(rot/2)*2 + j/(rot/2)
			}
			return g.At(with(idx, op.Axis, h*d+j)...)
		})}
	case tensorop.Reshape:
		return []*fixture.Grid{{Shape: op.Shape, Cells: g.Cells}}
	case tensorop.Swap:
		return []*fixture.Grid{in[1], in[0]}
	case tensorop.Flatten:
		return []*fixture.Grid{{Shape: append([]int64{g.Shape[0] * g.Shape[1]}, g.Shape[2:]...), Cells: g.Cells}}
	case tensorop.Unflatten:
		return []*fixture.Grid{{Shape: append([]int64{op.Groups, g.Shape[0] / op.Groups}, g.Shape[1:]...), Cells: g.Cells}}
	}
	panic(op.Kind)
}

// A chain is operations that fit one another, and what they work on.
type chain struct {
	elem Element
	in   []*fixture.Grid
	ops  []tensorop.Op
}

func drawChain(t *rapid.T) chain {
	// Cells of one byte, of numbers, and of ggml's Q4_0, Q8_0 and Q6_K blocks.
	c := chain{elem: rapid.SampledFrom([]Element{
		{"U8", 1, 1, false},
		{"BF16", 1, 2, false},
		{"F32", 1, 4, false},
		{"F64", 1, 8, false},
		{"C64x", 1, 6, false},
		{"F4", 2, 1, false},
		{"Q4_0", 32, 18, false},
		{"Q6_K", 256, 210, false},
	}).Draw(t, "element")}
	serial := uint64(0)
	fresh := func(shape []int64) *fixture.Grid {
		return fixture.NewGrid(shape, func([]int64) []byte {
			serial++
			cell := make([]byte, c.elem.Bytes)
			for i := range cell {
				cell[i] = byte(serial * 0x9e3779b97f4a7c15 >> (8 * (i % 7)))
			}
			return cell
		})
	}
	dim := rapid.Int64Range(1, 4)
	rank := rapid.IntRange(2, 4).Draw(t, "rank")
	shape := make([]int64, rank)
	for i := range shape {
		shape[i] = dim.Draw(t, "dim")
	}
	if rapid.IntRange(0, 9).Draw(t, "nothing") == 0 { // a tensor without elements
		shape[rapid.IntRange(0, rank-1).Draw(t, "where")] = 0
	}
	heads, groups := dim.Draw(t, "heads"), dim.Draw(t, "groups")
	blocks := c.elem.Elems > 1
	last := rank - 1
	axis := rapid.IntRange(0, last).Draw(t, "axis")
	layout := rapid.SampledFrom([]string{"", tensorop.Contiguous, tensorop.PerHead, tensorop.Grouped, tensorop.Interleaved}).Draw(t, "layout")
	parts := rapid.IntRange(2, 4).Draw(t, "parts")
	sizes := make([]int64, parts)
	for i := range sizes {
		sizes[i] = groups * dim.Draw(t, "size")
		if layout == tensorop.Interleaved {
			sizes[i] = sizes[0]
		}
	}
	g := groups
	if layout != tensorop.PerHead && layout != tensorop.Grouped {
		g = 0
	}
	sum := int64(0)
	for _, s := range sizes {
		sum += s
	}
	switch kind := rapid.SampledFrom([]tensorop.Kind{
		tensorop.Split, tensorop.Concat, tensorop.Stack, tensorop.Unstack, tensorop.Transpose, tensorop.Permute, tensorop.Reshape, tensorop.Swap, tensorop.Flatten, tensorop.Unflatten,
	}).Draw(t, "kind"); kind {
	case tensorop.Split:
		shape[axis] = sum
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1, Axis: axis, Sizes: sizes, Layout: layout, Groups: g}}
	case tensorop.Concat:
		for _, s := range sizes {
			part := slices.Clone(shape)
			part[axis] = s
			c.in = append(c.in, fresh(part))
		}
		c.ops = []tensorop.Op{{Kind: kind, Count: parts, Axis: axis, Sizes: sizes, Layout: layout, Groups: g}}
	case tensorop.Stack:
		for range parts {
			c.in = append(c.in, fresh(shape))
		}
		c.ops = []tensorop.Op{{Kind: kind, Count: parts}}
	case tensorop.Unstack:
		shape[0] = int64(parts)
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1, Sizes: slices.Repeat([]int64{1}, parts)}}
	case tensorop.Transpose:
		axes := rapid.Permutation([]int{0, 1, 2, 3}[:rank]).Draw(t, "axes")
		if blocks { // rows stay whole
			axes = slices.DeleteFunc(axes, func(a int) bool { return a == last })
			axes = append(axes, last)
		}
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1, Axes: axes}}
	case tensorop.Permute:
		if axis == last && blocks {
			axis = 0
		}
		half := dim.Draw(t, "half")
		rest := rapid.Int64Range(0, 3).Draw(t, "rest")
		shape[axis] = heads * (2*half + rest)
		rotary := 2 * half
		if rest == 0 && rapid.Bool().Draw(t, "whole") {
			rotary = 0
		}
		from, to := tensorop.Half, tensorop.Adjacent
		if rapid.Bool().Draw(t, "back") {
			from, to = to, from
		}
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1, Axis: axis, Heads: heads, Rotary: rotary, From: from, To: to}}
	case tensorop.Swap:
		c.in = []*fixture.Grid{fresh(shape), fresh([]int64{5})}
		c.ops = []tensorop.Op{{Kind: kind, Count: 2}}
	case tensorop.Flatten:
		if rank == 2 {
			shape = append(shape, 2)
		}
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1}}
	case tensorop.Unflatten:
		shape[0] *= groups
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1, Groups: groups}}
	case tensorop.Reshape:
		c.in = []*fixture.Grid{fresh(shape)}
		c.ops = []tensorop.Op{{Kind: kind, Count: 1, Shape: append([]int64{1, shape[0] * shape[1]}, shape[2:]...)}}
		if rank == 2 {
			c.ops[0].Shape = []int64{shape[0], 1, shape[1]}
		}
	}
	return c
}

// blockShape turns the shape of a grid's cells into one of elements.
func (c *chain) elements(shape []int64) []int64 {
	out := slices.Clone(shape)
	out[len(out)-1] *= c.elem.Elems
	return out
}

// inElements writes an operation on cells as one on elements.
func (c *chain) inElements(op tensorop.Op, rank int) tensorop.Op {
	if (op.Kind == tensorop.Split || op.Kind == tensorop.Concat) && op.Axis == rank-1 && op.Layout != tensorop.Interleaved {
		op.Sizes = slices.Clone(op.Sizes)
		for i := range op.Sizes {
			op.Sizes[i] *= c.elem.Elems
		}
	}
	if op.Kind == tensorop.Reshape {
		op.Shape = c.elements(op.Shape)
	}
	return op
}

// Every operation gives what its formula gives, in reads of any size and
// order, and its inverse gives back what there was.
func TestOperationsAgainstFormulas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChain(t)
		op := c.ops[0]
		rank := len(c.in[0].Shape)
		w := &Workspace{}
		var in []*Array
		for _, g := range c.in {
			data := g.Bytes()
			a, err := newArray(c.elements(g.Shape), c.elem, &leaf{w, bytes.NewReader(slices.Concat([]byte("head"), data, []byte("tail"))), 4, int64(len(data))})
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, a)
		}
		elemOp := c.inElements(op, rank)
		if op.Layout == tensorop.Interleaved && op.Axis == rank-1 && c.elem.Elems > 1 {
			elemOp.Sizes = nil
			for _, s := range op.Sizes {
				elemOp.Sizes = append(elemOp.Sizes, s*c.elem.Elems)
			}
			if _, _, err := w.Operate(elemOp, in); err == nil || !strings.Contains(err.Error(), "would take blocks") {
				t.Fatalf("blocks were taken apart: %v", err)
			}
			return
		}
		want := naive(op, c.in)
		out, done, err := w.Operate(elemOp, in)
		if err != nil {
			t.Fatalf("%+v of %v: %v", elemOp, in[0].Shape, err)
		}
		compareGrids(t, &c, want, out)

		inverse, ok := done.Inverse()
		if !ok && op.Kind == tensorop.Flatten && in[0].Shape[0] == 0 {
			return // no number of groups is 0
		}
		if !ok {
			t.Fatalf("%+v has no inverse", done)
		}
		back, _, err := w.Operate(inverse, out)
		if err != nil {
			t.Fatalf("%+v: %v", inverse, err)
		}
		compareGrids(t, &c, c.in, back)
	})
}

func compareGrids(t *rapid.T, c *chain, want []*fixture.Grid, got []*Array) {
	if len(want) != len(got) {
		t.Fatalf("%d results, want %d", len(got), len(want))
	}
	for i := range want {
		if !slices.Equal(c.elements(want[i].Shape), got[i].Shape) {
			t.Fatalf("result %d has shape %v, want %v", i, got[i].Shape, c.elements(want[i].Shape))
		}
		data := want[i].Bytes()
		if int64(len(data)) != got[i].Size() {
			t.Fatalf("result %d has %d bytes, want %d", i, got[i].Size(), len(data))
		}
		if len(data) == 0 {
			continue
		}
		buf := make([]byte, len(data))
		for at := 0; at < len(buf); {
			n := rapid.IntRange(1, len(buf)-at).Draw(t, "read")
			if err := source.ReadFull(got[i].Data, buf[at:at+n], int64(at)); err != nil {
				t.Fatal(err)
			}
			at += n
		}
		if !bytes.Equal(buf, data) {
			t.Fatalf("result %d is\n% x\nwant\n% x", i, buf, data)
		}
		at := rapid.IntRange(0, len(buf)-1).Draw(t, "at")
		n := rapid.IntRange(1, len(buf)-at).Draw(t, "length")
		part := make([]byte, n)
		if err := source.ReadFull(got[i].Data, part, int64(at)); err != nil || !bytes.Equal(part, data[at:at+n]) {
			t.Fatalf("result %d, %d bytes at %d: % x, %v, want % x", i, n, at, part, err, data[at:at+n])
		}
	}
}

// Matrices larger than the workspace are transposed in strips, and one
// transposition can read another.
func TestTransposeInStrips(t *testing.T) {
	tests := []struct {
		shape []int64
		axes  []int
		bytes int64
	}{
		{[]int64{3000, 3001}, []int{1, 0}, 2},           // strips of columns
		{[]int64{stripSize/4 + 5, 3}, []int{1, 0}, 4},   // columns in parts
		{[]int64{2, 1500, 2000}, []int{0, 2, 1}, 4},     // one matrix a strip
		{[]int64{40, 50, 60, 40}, []int{3, 2, 1, 0}, 4}, // one reads another
		{[]int64{30, 20, 40000}, []int{1, 0, 2}, 2},     // long rows
	}
	for _, tt := range tests {
		if testing.Short() && len(tt.shape) != 4 {
			continue
		}
		t.Run(fmt.Sprint(tt.shape, tt.axes), func(t *testing.T) {
			a := &Array{Shape: tt.shape, Elem: Element{"I", 1, tt.bytes, false}, Data: counter{tt.bytes}}
			w := &Workspace{}
			out, err := w.transpose(a, tt.axes)
			if err != nil {
				t.Fatal(err)
			}
			stride := make([]int64, len(tt.shape))
			n := int64(1)
			for i := len(stride) - 1; i >= 0; i-- {
				stride[i] = n
				n *= tt.shape[i]
			}
			buf := make([]byte, 1<<20)
			idx := make([]int64, len(tt.shape))
			for off := int64(0); off < a.Size(); off += int64(len(buf)) {
				buf = buf[:min(int64(len(buf)), a.Size()-off)]
				if err := source.ReadFull(out[0].Data, buf, off); err != nil {
					t.Fatal(err)
				}
				for i := int64(0); i < int64(len(buf)); i += tt.bytes {
					want := int64(0)
					for k := range idx {
						want += idx[k] * stride[tt.axes[k]]
					}
					got := int64(binary.LittleEndian.Uint16(buf[i:]))
					if tt.bytes == 4 {
						got = int64(binary.LittleEndian.Uint32(buf[i:]))
					} else {
						want &= 0xffff
					}
					if got != want {
						t.Fatalf("element %v is number %d, want %d", idx, got, want)
					}
					for k := len(idx) - 1; k >= 0; k-- {
						if idx[k]++; idx[k] < tt.shape[tt.axes[k]] {
							break
						}
						idx[k] = 0
					}
				}
			}
			held := int64(0)
			for _, s := range w.strips {
				held += int64(cap(s.data))
			}
			if held > 3*stripSize {
				t.Errorf("%d bytes of strips are held", held)
			}
		})
	}
}

// Many small matrices share a strip: kernels of convolutions are such.
func TestTransposeSmallMatrices(t *testing.T) {
	const matrices = 2000
	a := &Array{Shape: []int64{matrices, 9, 4}, Elem: Element{"I", 1, 2, false}, Data: counter{2}}
	buf := make([]byte, 1000)
	allocs := testing.AllocsPerRun(1, func() {
		out, err := new(Workspace).transpose(a, []int{0, 2, 1})
		if err != nil {
			t.Fatal(err)
		}
		for off := int64(0); off < a.Size(); off += int64(len(buf)) {
			if err := source.ReadFull(out[0].Data, buf, off); err != nil {
				t.Fatal(err)
			}
		}
	})
	if allocs > matrices/10 {
		t.Errorf("%v allocations for %d matrices", allocs, matrices)
	}
}

// A counter is the numbers from 0.
type counter struct{ bytes int64 }

func (c counter) ReadAt(p []byte, off int64) (int, error) {
	var b [8]byte
	for i := range p {
		at := off + int64(i)
		binary.LittleEndian.PutUint64(b[:], uint64(at/c.bytes))
		p[i] = b[at%c.bytes]
	}
	return len(p), nil
}

func TestCompute(t *testing.T) {
	encode := func(dtype string, big bool, numbers ...float64) *Array {
		typ, _ := values.Lookup(dtype)
		b := make([]byte, len(numbers)*typ.BlockBytes)
		typ.Encode(b, numbers, new(values.Rounding))
		if big {
			typ.Swap(b)
		}
		return &Array{[]int64{int64(len(numbers))}, Element{dtype, 1, int64(typ.BlockBytes), big}, bytes.NewReader(b)}
	}
	w := &Workspace{}
	for dtype := range floats {
		for _, big := range []bool{false, true} {
			in := encode(dtype, big, 0.5, -1, 0.25, 3)
			out, done, err := w.Operate(tensorop.Op{Kind: tensorop.Offset, Count: 1, Value: 1}, []*Array{in})
			if err != nil {
				t.Fatal(err)
			}
			want, _ := io.ReadAll(io.NewSectionReader(encode(dtype, big, 1.5, 0, 1.25, 4).Data, 0, in.Size()))
			got := make([]byte, in.Size())
			for i := range got { // a byte at a time, across elements
				if err := source.ReadFull(out[0].Data, got[i:i+1], int64(i)); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s: % x, want % x", dtype, got, want)
			}
			if inv, ok := done.Inverse(); !ok || inv.Value != -1 {
				t.Errorf("%+v", inv)
			}
		}
	}
	// One of these has bits that 1 + w has no room for.
	_, _, err := w.Operate(tensorop.Op{Kind: tensorop.Offset, Count: 1, Value: 1}, []*Array{encode("BF16", false, 0.5, 0.0078125, 0.001, 0.002)})
	want := "2 of its 4 values do not survive adding 1 in BF16 and taking it off again, the first being 0.00099945068359375; write round: true to allow that"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	// 2^-133 is the least number of BF16, so that half of it is none.
	_, _, err = w.Operate(tensorop.Op{Kind: tensorop.Scale, Count: 1, Value: 0.5}, []*Array{encode("BF16", false, 3, 0x1p-133)})
	want = "1 of its 2 values do not survive multiplying with 0.5 in BF16 and dividing again, the first being 9.183549615799121e-41; write round: true to allow that"
	if err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	three := encode("F16", true, 3, -0.25, 1.5)
	for _, op := range []tensorop.Op{{Kind: tensorop.Scale, Count: 1, Value: 0.5}, {Kind: tensorop.Copy, Count: 1, Sizes: []int64{1, 1}}} {
		out, done, err := w.Operate(op, []*Array{three})
		if err != nil {
			t.Fatal(err)
		}
		factor := map[tensorop.Kind]float64{tensorop.Scale: 0.5, tensorop.Copy: 1}[op.Kind]
		for _, made := range out {
			got, _ := io.ReadAll(io.NewSectionReader(made.Data, 0, made.Size()))
			want, _ := io.ReadAll(io.NewSectionReader(encode("F16", true, 3*factor, -0.25*factor, 1.5*factor).Data, 0, made.Size()))
			if !bytes.Equal(got, want) {
				t.Errorf("%s: % x, want % x", op.Kind, got, want)
			}
		}
		inverse, ok := done.Inverse()
		back, _, err := w.Operate(inverse, out)
		if !ok || err != nil {
			t.Fatalf("%s: no inverse, %v", op.Kind, err)
		}
		got, _ := io.ReadAll(io.NewSectionReader(back[0].Data, 0, three.Size()))
		want, _ := io.ReadAll(io.NewSectionReader(three.Data, 0, three.Size()))
		if len(back) != 1 || !bytes.Equal(got, want) {
			t.Errorf("%s is not undone: % x", op.Kind, got)
		}
	}
	for _, tt := range []struct {
		kind     tensorop.Kind
		in, want []float64
	}{
		{tensorop.NegativeExp, []float64{0, 1, -2}, []float64{-1, -math.E, -math.Exp(-2)}},
		{tensorop.LogNegative, []float64{-1, -0.5, 0, 1}, []float64{0, -math.Ln2, math.Inf(-1), math.NaN()}},
	} {
		in := encode("F32", false, tt.in...)
		out, done, err := w.Operate(tensorop.Op{Kind: tt.kind, Count: 1, Round: true}, []*Array{in})
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := done.Inverse(); ok {
			t.Errorf("%s has an inverse", tt.kind)
		}
		got, _ := io.ReadAll(io.NewSectionReader(out[0].Data, 0, in.Size()))
		want, _ := io.ReadAll(io.NewSectionReader(encode("F32", false, tt.want...).Data, 0, in.Size()))
		if !bytes.Equal(got, want) {
			t.Errorf("%s: % x, want % x", tt.kind, got, want)
		}
	}
}

// Every number of a 16-bit dtype is one of F32, bit by bit, NaNs too, and comes
// back; one of F32 that the narrower dtype does not have is an error.
func TestCast(t *testing.T) {
	w := &Workspace{}
	for _, dtype := range []string{"F16", "BF16"} {
		for _, big := range []bool{false, true} {
			elem := Element{dtype, 1, 2, big}
			var order binary.ByteOrder = binary.LittleEndian
			if big {
				order = binary.BigEndian
			}
			narrow, _ := values.Lookup(dtype)
			b, codes := make([]byte, 2<<16), make([]byte, 2<<16)
			for i := range 1 << 16 {
				order.PutUint16(b[2*i:], uint16(i))
				binary.LittleEndian.PutUint16(codes[2*i:], uint16(i))
			}
			numbers := make([]float32, 1<<16)
			narrow.Decode(numbers, codes)
			in := &Array{[]int64{256, 256}, elem, bytes.NewReader(b)}
			wide, done, err := w.Operate(tensorop.Op{Kind: tensorop.Cast, Count: 1, To: "F32"}, []*Array{in})
			if err != nil {
				t.Fatal(err)
			}
			if a := wide[0]; a.Elem != (Element{"F32", 1, 4, big}) || a.Size() != 2*in.Size() {
				t.Errorf("%s becomes %+v", dtype, a)
			}
			cells := make([]byte, 4<<16)
			if err := source.ReadFull(wide[0].Data, cells, 0); err != nil {
				t.Fatal(err)
			}
			for i, want := range numbers {
				got := math.Float32frombits(order.Uint32(cells[4*i:]))
				if math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("%s %#04x is %v, want %v", dtype, i, got, want)
				}
			}
			undo, ok := done.Inverse()
			if !ok || undo.To != dtype {
				t.Fatalf("undone by %+v, %v", undo, ok)
			}
			back, _, err := w.Operate(undo, wide)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(b))
			for i, step := 0, 3; i < len(got); i += step { // across elements
				if i > 1000 {
					step = 4099
				}
				if err := source.ReadFull(back[0].Data, got[i:min(i+step, len(got))], int64(i)); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, b) {
				t.Errorf("%s does not come back", dtype)
			}
		}
	}
	f32 := func(values ...float32) *Array {
		var b []byte
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		return &Array{[]int64{int64(len(values))}, Element{"F32", 1, 4, false}, bytes.NewReader(b)}
	}
	for _, tt := range []struct {
		to   string
		v    float32
		want string
	}{
		{"BF16", 1.00390625, "element 1, 1.0039062, is not a number of BF16"},
		{"F16", 65520, "element 1, 65520, is not a number of F16"},
		{"F16", 1e-9, "element 1, 1e-09, is not a number of F16"},
	} {
		out, _, err := w.Operate(tensorop.Op{Kind: tensorop.Cast, Count: 1, To: tt.to}, []*Array{f32(1, tt.v)})
		if err != nil {
			t.Fatal(err)
		}
		if err := source.ReadFull(out[0].Data, make([]byte, 4), 0); err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
	if _, _, err := w.Operate(tensorop.Op{Kind: tensorop.Cast, Count: 1, To: "I8"}, []*Array{f32(1)}); err == nil {
		t.Error("F32 becomes I8")
	}
}

// convert_hf_to_gguf.py _LinearAttentionVReorderBase._reorder_v_heads, in numpy's
// words: reshape(groups, heads/groups, d).swap(0, 1).
func TestHeadOrder(t *testing.T) {
	const groups, r, d, cols = 3, 2, 4, 5
	b := make([]byte, groups*r*d*cols)
	for i := range b {
		b[i] = byte(i)
	}
	w := &Workspace{}
	for _, axis := range []int{0, 1} {
		shape := []int64{groups * r * d, cols}
		if axis == 1 {
			shape = []int64{cols, groups * r * d}
		}
		in := &Array{shape, Element{"U8", 1, 1, false}, bytes.NewReader(b)}
		op := tensorop.Op{Kind: tensorop.Permute, Count: 1, Axis: axis, Heads: groups * r, Groups: groups, From: tensorop.Grouped, To: tensorop.Tiled}
		out, done, err := w.Operate(op, []*Array{in})
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(b))
		if err := source.ReadFull(out[0].Data, got, 0); err != nil {
			t.Fatal(err)
		}
		for g := range groups {
			for j := range r {
				for i := range d {
					for c := range cols {
						to, from := (j*groups+g)*d+i, (g*r+j)*d+i
						x, y := to*cols+c, from*cols+c
						if axis == 1 {
							x, y = c*groups*r*d+to, c*groups*r*d+from
						}
						if got[x] != b[y] {
							t.Fatalf("axis %d: head %d of group %d is not where it should be", axis, j, g)
						}
					}
				}
			}
		}
		undo, _ := done.Inverse()
		back, _, err := w.Operate(undo, out)
		if err != nil {
			t.Fatal(err)
		}
		if err := source.ReadFull(back[0].Data, got, 0); err != nil || !bytes.Equal(got, b) {
			t.Errorf("axis %d does not come back: %v", axis, err)
		}
	}
}

func TestNew(t *testing.T) {
	f4 := Element{"F4", 2, 1, false}
	a, err := New([]uint64{3, 4}, f4, counter{1})
	if err != nil || a.Size() != 6 || !slices.Equal(a.Shape, []int64{3, 4}) || !slices.Equal(a.Dims(), []uint64{3, 4}) {
		t.Errorf("%+v, %v", a, err)
	}
	for _, tt := range []struct {
		shape []uint64
		want  string
	}{
		{[]uint64{0, 1<<48 + 2}, "its shape [0 281474976710658] is too large to compute with"},
		{[]uint64{1 << 40, 1 << 40}, "its shape [1099511627776 1099511627776] is too large to compute with"},
		{[]uint64{4, 3}, "its rows of 3 elements are no whole number of blocks of 2 F4"},
		{nil, "it is a single number of F4, which comes in blocks of 2"},
	} {
		if _, err := New(tt.shape, f4, counter{1}); err == nil || err.Error() != tt.want {
			t.Errorf("%v: %v, want %s", tt.shape, err, tt.want)
		}
	}
}

// What lies behind a tensor is not read.
func TestTensorEnds(t *testing.T) {
	w := &Workspace{}
	r := w.Tensor(strings.NewReader("head0123tail"), 4, 4)
	b := make([]byte, 2)
	if n, err := r.ReadAt(b, 2); n != 2 || err != nil || string(b) != "23" {
		t.Errorf("%q, %v", b[:n], err)
	}
	if string(w.windows[0].data) != "23" {
		t.Errorf("a window has %q", w.windows[0].data)
	}
	for _, off := range []int64{-1, 3, 100} {
		if _, err := r.ReadAt(b, off); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("2 bytes at %d: %v", off, err)
		}
	}
}

// The two layouts of MXFP4, value by value.
func TestRepack(t *testing.T) {
	const rows, blocks = 3, 2
	var qs, scales, want []byte
	value := func(r, b, k int) byte { return byte(r*7+b*5+k*3) & 15 }
	for r := range rows {
		for b := range blocks {
			scale := byte(120 + r*blocks + b)
			scales = append(scales, scale)
			want = append(want, scale)
			for i := range 16 {
				qs = append(qs, value(r, b, 2*i)|value(r, b, 2*i+1)<<4)
				want = append(want, value(r, b, i)|value(r, b, i+16)<<4)
			}
		}
	}
	u8 := Element{"U8", 1, 1, false}
	in := []*Array{
		{[]int64{rows, blocks, 16}, u8, bytes.NewReader(qs)},
		{[]int64{rows, blocks}, u8, bytes.NewReader(scales)},
	}
	w := &Workspace{}
	out, _, err := w.Operate(tensorop.Op{Kind: tensorop.Repack, Count: 2, From: tensorop.MXFP4Blocks, To: tensorop.MXFP4GGML}, in)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(out[0].Shape, []int64{rows, blocks, 17}) {
		t.Errorf("shape %v", out[0].Shape)
	}
	read := func(a *Array) []byte {
		b := make([]byte, a.Size())
		for i := 0; i < len(b); i += 5 {
			if err := source.ReadFull(a.Data, b[i:min(i+5, len(b))], int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	if got := read(out[0]); !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
	back, _, err := w.Operate(tensorop.Op{Kind: tensorop.Repack, Count: 1, From: tensorop.MXFP4GGML, To: tensorop.MXFP4Blocks}, out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(read(back[0]), qs) || !bytes.Equal(read(back[1]), scales) {
		t.Error("repacking and repacking back changes the bytes")
	}
}

// A matrix of blocks is its blocks among zeros, and its blocks are taken out of it.
func TestBlocks(t *testing.T) {
	f32 := Element{"F32", 1, 4, false}
	matrix := func(shape []int64, values ...float32) *Array {
		b := make([]byte, 0, 4*len(values))
		for _, v := range values {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
		}
		return &Array{shape, f32, bytes.NewReader(b)}
	}
	in := []*Array{matrix([]int64{2, 2}, 1, 2, 3, 4), matrix([]int64{1, 1}, 5)}
	want := matrix([]int64{4, 3}, 1, 2, 0, 3, 4, 0, 0, 0, 5, 0, 0, 0)
	ops := []tensorop.Op{
		{Kind: tensorop.Pad, Index: 0, Count: 1, Axis: 1, Sizes: []int64{0, 1}},
		{Kind: tensorop.Pad, Index: 1, Count: 1, Axis: 1, Sizes: []int64{2, 0}},
		{Kind: tensorop.Pad, Index: 1, Count: 1, Axis: 0, Sizes: []int64{0, 1}},
		{Kind: tensorop.Concat, Index: 0, Count: 2, Sizes: []int64{2, 2}},
	}
	w := &Workspace{}
	read := func(a *Array) []byte {
		b := make([]byte, a.Size())
		for i := 0; i < len(b); i += 3 {
			if err := source.ReadFull(a.Data, b[i:min(i+3, len(b))], int64(i)); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	now := slices.Clone(in)
	for i := range ops {
		o := &ops[i]
		out, _, err := w.Operate(*o, now[o.Index:o.Index+o.Count])
		if err != nil {
			t.Fatal(err)
		}
		now = slices.Replace(now, o.Index, o.Index+o.Count, out...)
	}
	if !slices.Equal(now[0].Shape, want.Shape) || !bytes.Equal(read(now[0]), read(want)) {
		t.Errorf("%v % x, want % x", now[0].Shape, read(now[0]), read(want))
	}
	for i := range slices.Backward(ops) {
		inv, ok := ops[i].Inverse()
		if !ok {
			t.Fatalf("%s has no inverse", ops[i].Kind)
		}
		out, _, err := w.Operate(inv, now[inv.Index:inv.Index+inv.Count])
		if err != nil {
			t.Fatal(err)
		}
		now = slices.Replace(now, inv.Index, inv.Index+inv.Count, out...)
	}
	for i := range in {
		if !slices.Equal(now[i].Shape, in[i].Shape) || !bytes.Equal(read(now[i]), read(in[i])) {
			t.Errorf("block %d is %v % x", i, now[i].Shape, read(now[i]))
		}
	}
}

func TestOperationsThatCannotBe(t *testing.T) {
	bf16, q4 := Element{"BF16", 1, 2, false}, Element{"Q4_0", 32, 18, false}
	mk := func(e Element, shape ...int64) *Array { return &Array{shape, e, counter{1}} }
	tests := []struct {
		op   tensorop.Op
		in   []*Array
		want string
	}{
		{tensorop.Op{Kind: tensorop.Split, Axis: 2, Sizes: []int64{1, 1}}, []*Array{mk(bf16, 4, 4)}, "it has no axis 2; its shape is [4 4]"},
		{tensorop.Op{Kind: tensorop.Split, Sizes: []int64{1, 1, 1}}, []*Array{mk(bf16, 4, 4)}, "axis 0 has a length of 4, which parts of [1 1 1] do not make, nor do parts in proportion to them"},
		{tensorop.Op{Kind: tensorop.Split, Sizes: []int64{math.MaxInt64, 1}}, []*Array{mk(bf16, 4, 4)}, "parts of [9223372036854775807 1] cannot be"},
		{tensorop.Op{Kind: tensorop.Split, Sizes: []int64{4, 2}, Layout: tensorop.Grouped, Groups: 4}, []*Array{mk(bf16, 6, 4)}, "parts of [4 2] do not divide among 4 groups"},
		{tensorop.Op{Kind: tensorop.Split, Sizes: []int64{4, 2}, Layout: tensorop.Interleaved}, []*Array{mk(bf16, 6, 4)}, "parts of [4 2] cannot be interleaved, since they differ"},
		{tensorop.Op{Kind: tensorop.Split, Sizes: []int64{3, 3}, Layout: "woven"}, []*Array{mk(bf16, 6, 4)}, `the layout "woven" is not known`},
		{tensorop.Op{Kind: tensorop.Split, Axis: 1, Sizes: []int64{16, 48}}, []*Array{mk(q4, 6, 64)}, "runs of 16 along the rows would take blocks of 32 Q4_0 apart"},
		{tensorop.Op{Kind: tensorop.Concat, Sizes: []int64{1, 1}}, []*Array{mk(bf16, 6, 4), mk(bf16, 4, 4)}, "along axis 0 the tensors have [6 4], which is not in the proportion of [1 1]"},
		{tensorop.Op{Kind: tensorop.Concat, Sizes: []int64{1, 1}}, []*Array{mk(bf16, 6, 4), mk(bf16, 6, 5)}, "shapes [6 4] and [6 5] cannot be joined along axis 0"},
		{tensorop.Op{Kind: tensorop.Concat, Sizes: []int64{1, 1}}, []*Array{mk(bf16, 6, 32), mk(q4, 6, 32)}, "BF16 and Q4_0 cannot be joined"},
		{tensorop.Op{Kind: tensorop.Stack}, []*Array{mk(bf16, 6, 4), mk(bf16, 6, 5)}, "BF16 [6 4] and BF16 [6 5] cannot be stacked"},
		{tensorop.Op{Kind: tensorop.Merge}, []*Array{mk(bf16, 6, 4), mk(bf16, 6, 5)}, "BF16 [6 4] and BF16 [6 5] cannot be equal"},
		{tensorop.Op{Kind: tensorop.Merge}, []*Array{mk(bf16, 6, 4), mk(bf16, 6, 4), {[]int64{6, 4}, bf16, counter{2}}}, "tensor 3 of 3 differs from the first, and equal tensors alone become one"},
		{tensorop.Op{Kind: tensorop.Pad, Sizes: []int64{1, 1}}, []*Array{mk(q4, 6, 64)}, "pad is done with F64, F32, F16 and BF16, and not with Q4_0"},
		{tensorop.Op{Kind: tensorop.Pad, Sizes: []int64{math.MaxInt64, 1}}, []*Array{mk(bf16, 6)}, "zeros of [9223372036854775807 1] cannot be"},
		{tensorop.Op{Kind: tensorop.Pad, Sizes: []int64{1 << 60, 1 << 60}}, []*Array{mk(bf16, 6, 1<<10)}, "its shape [2305843009213693958 1024] is too large to compute with"},
		{tensorop.Op{Kind: tensorop.Trim, Axis: 1, Sizes: []int64{3, 2}}, []*Array{mk(bf16, 6, 4)}, "axis 1 has a length of 4, of which 3 and 2 cannot go"},
		{tensorop.Op{Kind: tensorop.Trim, Axis: 1, Sizes: []int64{0, 2}}, []*Array{mk(bf16, 6, 4)}, "what is before 0 and from 2 on along axis 1 must be zeros, and is not"},
		{tensorop.Op{Kind: tensorop.Scale, Value: 2}, []*Array{mk(q4, 32)}, "scale is done with F64, F32, F16 and BF16, and not with Q4_0"},
		{tensorop.Op{Kind: tensorop.Unstack, Sizes: []int64{1, 1}}, []*Array{mk(bf16, 6, 4)}, "its shape [6 4] does not begin with the 2 that it is to be taken apart into"},
		{tensorop.Op{Kind: tensorop.Unstack, Sizes: []int64{1, 1}}, []*Array{mk(q4, 2)}, "its shape [2] does not begin with the 2 that it is to be taken apart into"},
		{tensorop.Op{Kind: tensorop.Permute, Heads: 4, From: tensorop.Half, To: tensorop.Adjacent}, []*Array{mk(bf16, 6, 4)}, "axis 0 has a length of 6, which does not divide among 4 heads"},
		{tensorop.Op{Kind: tensorop.Permute, Heads: 2, From: tensorop.Half, To: tensorop.Adjacent}, []*Array{mk(bf16, 6, 4)}, "3 of the 3 rows of a head cannot be rotated in pairs"},
		{tensorop.Op{Kind: tensorop.Permute, Axis: 2, Heads: 2, From: tensorop.Half, To: tensorop.Adjacent}, []*Array{mk(bf16, 6, 4)}, "it has no axis 2; its shape is [6 4]"},
		{tensorop.Op{Kind: tensorop.Permute, Heads: 3, From: tensorop.Half, To: tensorop.Half}, []*Array{mk(bf16, 6, 4)}, `rows cannot go from "half" to "half"`},
		{tensorop.Op{Kind: tensorop.Permute, Axis: 1, Heads: 2, From: tensorop.Half, To: tensorop.Adjacent}, []*Array{mk(q4, 6, 64)}, "the order of the elements of a row cannot change in blocks of 32 Q4_0"},
		{tensorop.Op{Kind: tensorop.Transpose}, []*Array{mk(q4, 6, 64)}, "rows of blocks of 32 Q4_0 cannot become columns"},
		{tensorop.Op{Kind: tensorop.Transpose}, []*Array{mk(bf16, 6)}, "its shape [6] has no two axes to exchange"},
		{tensorop.Op{Kind: tensorop.Transpose, Axes: []int{0, 2, 1}}, []*Array{mk(bf16, 6, 6)}, "axes of [0 2 1] are not those of its shape [6 6]"},
		{tensorop.Op{Kind: tensorop.Flatten}, []*Array{mk(bf16, 6)}, "its shape [6] has no two axes to make one"},
		{tensorop.Op{Kind: tensorop.Unflatten, Groups: 4}, []*Array{mk(bf16, 6, 2)}, "its shape [6 2] does not begin with a multiple of 4"},
		{tensorop.Op{Kind: tensorop.Reshape, Shape: []int64{5}}, []*Array{mk(bf16, 6)}, "its shape [6] does not have the elements of [5]"},
		{tensorop.Op{Kind: tensorop.Reshape, Shape: []int64{4, 48}}, []*Array{mk(q4, 6, 32)}, "its rows of 48 elements are no whole number of blocks of 32 Q4_0"},
		{tensorop.Op{Kind: tensorop.Reshape, Shape: []int64{1 << 40, 1 << 40}}, []*Array{mk(bf16, 6)}, "its shape [1099511627776 1099511627776] is too large to compute with"},
		{tensorop.Op{Kind: tensorop.Offset, Value: 1}, []*Array{mk(q4, 32)}, "offset is done with F64, F32, F16 and BF16, and not with Q4_0"},
		{tensorop.Op{Kind: tensorop.NegativeExp}, []*Array{mk(bf16, 32)}, "negative-exp rounds, and its results cannot be undone exactly"},
		{tensorop.Op{Kind: tensorop.LogNegative}, []*Array{mk(bf16, 32)}, "32 of its 32 values are -exp(x) of no number, the first being 2.350988701644575e-38"},
		{tensorop.Op{Kind: "paint"}, []*Array{mk(bf16, 32)}, "it cannot be carried out"},
		{tensorop.Op{Kind: tensorop.Repack, From: tensorop.MXFP4Blocks, To: tensorop.MXFP4GGML}, []*Array{mk(bf16, 16), mk(bf16, 1)}, "MXFP4 is repacked as bytes, and this is BF16"},
	}
	for _, tt := range tests {
		tt.op.Count = len(tt.in)
		_, _, err := (&Workspace{}).Operate(tt.op, tt.in)
		if err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.op.Kind, err, tt.want)
		}
	}
}

// failing is a file whose end cannot be read.
type failing struct{ at int64 }

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	n := min(int64(len(p)), max(0, f.at-off))
	if n < int64(len(p)) {
		return int(n), syscall.EIO
	}
	return len(p), nil
}

// What cannot be read is told, however much is read at once.
func TestTensorCannotBeRead(t *testing.T) {
	for _, n := range []int{1, 1 << 10, windowSize / 4, 2 * windowSize} {
		w := &Workspace{}
		r := w.Tensor(failing{10}, 0, 4*windowSize)
		if err := source.ReadFull(r, make([]byte, n), 100); !errors.Is(err, syscall.EIO) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// log-negative gives what -exp was made of, where that has the bits of BF16.
func TestLogNegative(t *testing.T) {
	var data, want []byte
	for bits := range uint32(1 << 16) {
		v := math.Float32frombits(bits << 16)
		if a := math.Abs(float64(v)); a > 1e-3 && a < 20 {
			data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(-math.Exp(float64(v)))))
			want = binary.LittleEndian.AppendUint32(want, bits<<16)
		}
	}
	a, err := New([]uint64{uint64(len(data) / 4)}, Element{DType: "F32", Elems: 1, Bytes: 4}, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, op, err := new(Workspace).Operate(tensorop.Op{Kind: tensorop.LogNegative, Count: 1}, []*Array{a})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if err := source.ReadFull(out[0].Data, got, 0); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(want); i += 4 {
		if x, y := binary.LittleEndian.Uint32(got[i:]), binary.LittleEndian.Uint32(want[i:]); x != y {
			t.Errorf("%v comes back as %v", math.Float32frombits(y), math.Float32frombits(x))
		}
	}
	if inverse, ok := op.Inverse(); !ok || inverse.Kind != tensorop.NegativeExp || !inverse.Round {
		t.Errorf("the inverse is %+v, %v", inverse, ok)
	}
}
