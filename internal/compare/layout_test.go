package compare

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// array is a tensor of the naive kind: a number at every index.
type array struct {
	shape []int64
	data  []float32
}

func counting(from int, shape ...int64) array {
	a := array{shape, make([]float32, product(shape))}
	for i := range a.data {
		a.data[i] = float32(from + i)
	}
	return a
}

func (a array) tensor(name string, dtype string) *tensor {
	typ, _ := values.Lookup(dtype)
	var b []byte
	for _, v := range a.data {
		bits := math.Float32bits(v)
		if dtype == "BF16" {
			b = binary.LittleEndian.AppendUint16(b, uint16(bits>>16))
		} else {
			b = binary.LittleEndian.AppendUint32(b, bits)
		}
	}
	t := &tensor{own: name, name: name, dtype: dtype, shape: unsigned(a.shape)}
	t.section = values.Section{Name: name, Type: typ, Data: io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))}
	return t
}

// index visits the elements of a shape in order.
func index(shape []int64, f func(at []int64)) {
	n := product(shape)
	for i := range n {
		at := make([]int64, len(shape))
		for k := len(shape) - 1; k >= 0; k-- {
			at[k] = i % shape[k]
			i /= shape[k]
		}
		f(at)
	}
}

func (a array) get(at []int64) float32 {
	i := int64(0)
	for k, n := range a.shape {
		i = i*n + at[k]
	}
	return a.data[i]
}

// build makes an array of a shape from a function of the index.
func build(shape []int64, f func(at []int64) float32) array {
	out := array{shape: shape}
	index(shape, func(at []int64) { out.data = append(out.data, f(at)) })
	return out
}

func with(at []int64, axis int, v int64) []int64 {
	at = slices.Clone(at)
	at[axis] = v
	return at
}

// Every operation agrees with its definition, element by element.
func TestOperations(t *testing.T) {
	x := counting(0, 8, 6)
	q, k, v := counting(0, 8, 3), counting(100, 4, 3), counting(200, 4, 3)
	// fused is the joined rows of q, k, v, as the layout has them.
	fused := func(groups int64, parts ...array) array {
		var rows int64
		for _, p := range parts {
			rows += p.shape[0]
		}
		var order [][2]int64 // part, row
		for g := range groups {
			for i, p := range parts {
				n := p.shape[0] / groups
				for r := range n {
					order = append(order, [2]int64{int64(i), g*n + r})
				}
			}
		}
		return build([]int64{rows, parts[0].shape[1]}, func(at []int64) float32 {
			o := order[at[0]]
			return parts[o[0]].get([]int64{o[1], at[1]})
		})
	}
	experts := []array{counting(0, 2, 3), counting(50, 2, 3), counting(90, 2, 3)}
	stack := build([]int64{3, 2, 3}, func(at []int64) float32 { return experts[at[0]].get(at[1:]) })
	sizes := []int64{8, 4, 4}
	tests := []struct {
		name string
		in   []array
		op   rename.Op
		want []array
	}{
		{
			"rope, half to adjacent: row 2i+j of a head was row i+j*d/2",
			[]array{x},
			rename.Op{Kind: rename.OpPermute, Heads: 2, From: convention.RopeHalf, To: convention.RopeAdjacent},
			[]array{build(x.shape, func(at []int64) float32 {
				h, r := at[0]/4, at[0]%4
				return x.get(with(at, 0, h*4+r/2+r%2*2))
			})},
		},
		{
			"rope, adjacent to half",
			[]array{x},
			rename.Op{Kind: rename.OpPermute, Heads: 2, From: convention.RopeAdjacent, To: convention.RopeHalf},
			[]array{build(x.shape, func(at []int64) float32 {
				h, r := at[0]/4, at[0]%4
				return x.get(with(at, 0, h*4+r%2*2+r/2))
			})},
		},
		{
			"rope of a bias",
			[]array{counting(0, 8)},
			rename.Op{Kind: rename.OpPermute, Heads: 2, From: convention.RopeHalf, To: convention.RopeAdjacent},
			[]array{{[]int64{8}, []float32{0, 2, 1, 3, 4, 6, 5, 7}}},
		},
		{"split", []array{fused(1, q, k, v)}, rename.Op{Kind: rename.OpSplit, Sizes: sizes}, []array{q, k, v}},
		{"split per head", []array{fused(4, q, k, v)}, rename.Op{Kind: rename.OpSplit, Sizes: sizes, Layout: convention.PerHead, Groups: 4}, []array{q, k, v}},
		{"split groups", []array{fused(2, q, k, v)}, rename.Op{Kind: rename.OpSplit, Sizes: sizes, Layout: convention.Grouped, Groups: 2}, []array{q, k, v}},
		{"split rows in turn", []array{fused(4, k, v)}, rename.Op{Kind: rename.OpSplit, Sizes: []int64{4, 4}, Layout: convention.Interleaved}, []array{k, v}},
		{"concat", []array{q, k, v}, rename.Op{Kind: rename.OpConcat}, []array{fused(1, q, k, v)}},
		{"concat per head", []array{q, k, v}, rename.Op{Kind: rename.OpConcat, Layout: convention.PerHead, Groups: 4}, []array{fused(4, q, k, v)}},
		{
			"split the second axis of three",
			[]array{counting(0, 2, 4, 3)},
			rename.Op{Kind: rename.OpSplit, Axis: 1, Sizes: []int64{1, 3}},
			[]array{
				build([]int64{2, 1, 3}, func(at []int64) float32 { return counting(0, 2, 4, 3).get(at) }),
				build([]int64{2, 3, 3}, func(at []int64) float32 { return counting(0, 2, 4, 3).get(with(at, 1, at[1]+1)) }),
			},
		},
		{
			"concat the last axis",
			[]array{counting(0, 2, 2), counting(10, 2, 1)},
			rename.Op{Kind: rename.OpConcat, Axis: 1},
			[]array{{[]int64{2, 3}, []float32{0, 1, 10, 2, 3, 11}}},
		},
		{"stack", experts, rename.Op{Kind: rename.OpStack}, []array{stack}},
		{"unstack", []array{stack}, rename.Op{Kind: rename.OpUnstack, Sizes: []int64{1, 1, 1}}, experts},
		{"reshape", []array{counting(0, 2, 6)}, rename.Op{Kind: rename.OpReshape, Shape: []int64{3, 4}}, []array{counting(0, 3, 4)}},
		{
			"transpose",
			[]array{counting(0, 2, 3, 4)},
			rename.Op{Kind: rename.OpTranspose},
			[]array{build([]int64{2, 4, 3}, func(at []int64) float32 {
				return counting(0, 2, 3, 4).get([]int64{at[0], at[2], at[1]})
			})},
		},
		{"offset", []array{counting(0, 3)}, rename.Op{Kind: rename.OpOffset, Value: 1}, []array{counting(1, 3)}},
		{
			"decay",
			[]array{counting(0, 3)},
			rename.Op{Kind: rename.OpNegativeExp},
			[]array{{[]int64{3}, []float32{-1, float32(-math.E), float32(-math.E * math.E)}}},
		},
		{
			"decay undone",
			[]array{{[]int64{2}, []float32{-1, float32(-math.E)}}},
			rename.Op{Kind: rename.OpLogNegative},
			[]array{{[]int64{2}, []float32{0, float32(math.Log(float64(float32(math.E))))}}},
		},
		{"of nothing", []array{counting(0, 0, 4)}, rename.Op{Kind: rename.OpPermute, Heads: 2, To: convention.RopeHalf}, []array{counting(0, 0, 4)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &convention.Move{}
			var from []*tensor
			byName := make(map[string]*tensor)
			for i, a := range tt.in {
				name := fmt.Sprint("a", i)
				from = append(from, a.tensor(name, "F32"))
				byName[name] = from[i]
				m.From = append(m.From, name)
			}
			for i := range tt.want {
				m.To = append(m.To, fmt.Sprint("b", i))
			}
			op := tt.op
			op.Count = len(tt.in)
			m.Ops = []rename.Op{op}
			made, err := apply(m, byName)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				got := made[i]
				if got.err != nil {
					t.Fatal(got.err)
				}
				if d := cmp.Diff(unsigned(want.shape), got.shape); d != "" {
					t.Error(d)
				}
				s := got.section
				if got.build != nil {
					if s, err = got.build(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if d := cmp.Diff(want.data, readAll(t, s, 7)); d != "" {
					t.Errorf("tensor %d: %s", i, d)
				}
			}
		})
	}
}

// readAll decodes a section that is read in pieces of odd sizes.
func readAll(t interface{ Fatal(...any) }, s values.Section, step int) []float32 {
	b := make([]byte, s.Data.Size())
	for at := 0; at < len(b); at += step {
		part := b[at:min(at+step, len(b))]
		if n, err := s.Data.ReadAt(part, int64(at)); n < len(part) {
			t.Fatal(at, n, err)
		}
	}
	out := make([]float32, len(b)/4)
	s.Type.Decode(out, b)
	return out
}

// Operations that do not fit are refused, whatever the shapes.
func TestOperationsRefuse(t *testing.T) {
	x := counting(0, 8, 6).tensor("x", "F32")
	q8, _ := values.Lookup("Q8_0")
	block := &tensor{own: "q", name: "q", dtype: "Q8_0", shape: []uint64{2, 32}}
	block.section = values.Section{Type: q8, Data: io.NewSectionReader(bytes.NewReader(make([]byte, 68)), 0, 68)}
	half := counting(0, 8, 6).tensor("h", "BF16")
	tests := []struct {
		from []*tensor
		op   rename.Op
	}{
		{[]*tensor{x}, rename.Op{Kind: rename.OpPermute, Count: 1, Heads: 3}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpPermute, Count: 1, Heads: 8}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpPermute, Count: 1, Axis: 2, Heads: 2}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpSplit, Count: 1, Sizes: []int64{3, 4}}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpSplit, Count: 1, Sizes: []int64{3, 5}, Layout: convention.PerHead, Groups: 2}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpSplit, Count: 1, Sizes: []int64{4, 4}, Layout: "woven"}},
		{[]*tensor{x, half}, rename.Op{Kind: rename.OpConcat, Count: 2}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpReshape, Count: 1, Shape: []int64{7}}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpUnstack, Count: 1, Sizes: []int64{1}}},
		{[]*tensor{x}, rename.Op{Kind: "paint", Count: 1}},
		{[]*tensor{x}, rename.Op{Kind: rename.OpReshape, Index: 1, Count: 1, Shape: []int64{48}}},
		{[]*tensor{block}, rename.Op{Kind: rename.OpTranspose, Count: 1}},
		{[]*tensor{block}, rename.Op{Kind: rename.OpSplit, Count: 1, Axis: 1, Sizes: []int64{16, 16}}},
	}
	for _, tt := range tests {
		m := &convention.Move{To: []string{"y"}, Ops: []rename.Op{tt.op}}
		byName := make(map[string]*tensor)
		for _, f := range tt.from {
			m.From = append(m.From, f.own)
			byName[f.own] = f
		}
		made, err := apply(m, byName)
		if err == nil && made[0].err == nil {
			t.Errorf("%+v was carried out", tt.op)
		}
	}
}

// What is joined is taken apart again, in every layout.
func TestConcatUndoesSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.Int64Range(1, 4).Draw(t, "groups")
		layout := rapid.SampledFrom([]string{convention.Contiguous, convention.PerHead, convention.Grouped}).Draw(t, "layout")
		var sizes []int64
		var sum int64
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			n := groups * rapid.Int64Range(1, 3).Draw(t, "size")
			sizes, sum = append(sizes, n), sum+n
		}
		x := counting(0, sum, 3)
		m := &convention.Move{From: []string{"x"}, To: []string{"x"}, Ops: []rename.Op{
			{Kind: rename.OpSplit, Count: 1, Sizes: sizes, Layout: layout, Groups: groups},
			{Kind: rename.OpConcat, Count: len(sizes), Sizes: sizes, Layout: layout, Groups: groups},
		}}
		made, err := apply(m, map[string]*tensor{"x": x.tensor("x", "F32")})
		if err != nil {
			t.Fatal(err)
		}
		if made[0].err != nil {
			t.Fatal(made[0].err)
		}
		if got := readAll(t, made[0].section, 5); !slices.Equal(got, x.data) {
			t.Fatalf("%v", got)
		}
	})
}
