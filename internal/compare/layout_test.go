package compare

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// array is a tensor of the naive kind: a number at every index.
type array struct {
	shape []int64
	data  []float32
}

func counting(from int, shape ...int64) array {
	next := float32(from)
	return build(shape, func([]int64) float32 { next++; return next - 1 })
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
	t := &tensor{own: name, name: name, dtype: dtype, shape: a.dims()}
	t.section = values.Section{Name: name, Type: typ, Data: io.NewSectionReader(bytes.NewReader(b), 0, int64(len(b)))}
	return t
}

func (a array) dims() []uint64 {
	out := make([]uint64, len(a.shape))
	for i, d := range a.shape {
		out[i] = uint64(d)
	}
	return out
}

// index visits the elements of a shape in order.
func index(shape []int64, f func(at []int64)) {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
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
	out := array{shape, []float32{}}
	index(shape, func(at []int64) { out.data = append(out.data, f(at)) })
	return out
}

// Moves give what their operations say, element by element. What each operation
// does is tested where it is carried out.
func TestMoves(t *testing.T) {
	x := counting(0, 8, 6)
	q, k, v := counting(0, 8, 3), counting(100, 4, 3), counting(200, 4, 3)
	// groups is the joined rows of q, k, v, as two groups have them.
	groups := build([]int64{16, 3}, func(at []int64) float32 {
		g, r := at[0]/8, at[0]%8
		switch {
		case r < 4:
			return q.get([]int64{g*4 + r, at[1]})
		case r < 6:
			return k.get([]int64{g*2 + r - 4, at[1]})
		}
		return v.get([]int64{g*2 + r - 6, at[1]})
	})
	up, gate := counting(0, 2, 3), counting(50, 2, 3)
	experts := []array{counting(0, 2, 3), counting(50, 2, 3), counting(90, 2, 3)}
	stack := build([]int64{3, 2, 3}, func(at []int64) float32 { return experts[at[0]].get(at[1:]) })
	sizes := []int64{8, 4, 4}
	turned := build([]int64{2, 4, 3}, func(at []int64) float32 {
		return counting(0, 2, 3, 4).get([]int64{at[0], at[2], at[1]})
	})
	rope := tensorop.Op{Kind: tensorop.Permute, Heads: 2, From: tensorop.Half, To: tensorop.Adjacent}
	tests := []struct {
		name string
		in   []array
		ops  []tensorop.Op
		want []array
	}{
		{
			"rope",
			[]array{x},
			[]tensorop.Op{rope},
			[]array{build(x.shape, func(at []int64) float32 {
				h, r := at[0]/4, at[0]%4
				return x.get([]int64{h*4 + r/2 + r%2*2, at[1]})
			})},
		},
		{"split", []array{groups}, []tensorop.Op{{Kind: tensorop.Split, Sizes: sizes, Layout: tensorop.Grouped, Groups: 2}}, []array{q, k, v}},
		{"concat", []array{q, k, v}, []tensorop.Op{{Kind: tensorop.Concat, Count: 3, Sizes: sizes, Layout: tensorop.Grouped, Groups: 2}}, []array{groups}},
		{
			"equal parts that change places before they are joined",
			[]array{gate, up},
			[]tensorop.Op{{Kind: tensorop.Swap, Count: 2}, {Kind: tensorop.Concat, Count: 2}},
			[]array{{[]int64{4, 3}, slices.Concat(up.data, gate.data)}},
		},
		{"equal parts", []array{{[]int64{4, 3}, slices.Concat(up.data, gate.data)}}, []tensorop.Op{{Kind: tensorop.Split}}, []array{up, gate}},
		{"stack", experts, []tensorop.Op{{Kind: tensorop.Stack, Count: 3}}, []array{stack}},
		{"unstack", []array{stack}, []tensorop.Op{{Kind: tensorop.Unstack, Sizes: []int64{1, 1, 1}}}, experts},
		{"reshape", []array{counting(0, 2, 6)}, []tensorop.Op{{Kind: tensorop.Reshape, Shape: []int64{3, 4}}}, []array{counting(0, 3, 4)}},
		{"transpose", []array{counting(0, 2, 3, 4)}, []tensorop.Op{{Kind: tensorop.Transpose}}, []array{turned}},
		{
			"parts of a stack that is transposed, the second with one more",
			[]array{counting(0, 2, 3, 4)},
			[]tensorop.Op{
				{Kind: tensorop.Transpose},
				{Kind: tensorop.Unstack, Sizes: []int64{1, 1}},
				{Kind: tensorop.Offset, Index: 1, Value: 1},
			},
			[]array{
				build([]int64{4, 3}, func(at []int64) float32 { return turned.get([]int64{0, at[0], at[1]}) }),
				build([]int64{4, 3}, func(at []int64) float32 { return turned.get([]int64{1, at[0], at[1]}) + 1 }),
			},
		},
		{"offset", []array{counting(0, 3)}, []tensorop.Op{{Kind: tensorop.Offset, Value: 1}}, []array{counting(1, 3)}},
		{
			"offset that cannot be undone",
			[]array{{[]int64{2}, []float32{0x1p-30, 1}}},
			[]tensorop.Op{{Kind: tensorop.Offset, Value: 1}},
			[]array{{[]int64{2}, []float32{1, 2}}},
		},
		{
			"decay",
			[]array{counting(0, 3)},
			[]tensorop.Op{{Kind: tensorop.NegativeExp}},
			[]array{{[]int64{3}, []float32{-1, float32(-math.E), float32(-math.E * math.E)}}},
		},
		{
			"decay undone",
			[]array{{[]int64{2}, []float32{-1, float32(-math.E)}}},
			[]tensorop.Op{{Kind: tensorop.LogNegative}},
			[]array{{[]int64{2}, []float32{0, float32(math.Log(float64(float32(math.E))))}}},
		},
		{"of nothing", []array{counting(0, 0, 4)}, []tensorop.Op{rope}, []array{counting(0, 0, 4)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := &convert.Move{}
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
			for _, op := range tt.ops {
				op.Count = max(op.Count, 1)
				m.Ops = append(m.Ops, op)
			}
			made, err := carryOut(m, byName)
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				got := made[i]
				if got.err != nil {
					t.Fatal(got.err)
				}
				if d := cmp.Diff(want.dims(), got.shape); d != "" {
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

// What operations compute is F32, whatever the numbers were: that is what
// llama.cpp's converter writes.
func TestComputedAsF32(t *testing.T) {
	asF32 := func(dtype string, big bool, shape []uint64, data []byte, op tensorop.Op) []float32 {
		t.Helper()
		typ, _ := values.Lookup(dtype)
		x := &tensor{own: "x", name: "x", dtype: dtype, shape: shape}
		x.section = values.Section{Name: "x", Type: typ, BigEndian: big, Data: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}
		op.Count = 1
		made, err := carryOut(&convert.Move{From: []string{"x"}, To: []string{"y"}, Ops: []tensorop.Op{op}}, map[string]*tensor{"x": x})
		if err == nil {
			err = made[0].err
		}
		if err != nil {
			t.Fatal(err)
		}
		s, err := made[0].build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s.Type.Name != "F32" || s.BigEndian || made[0].section.Type != s.Type || made[0].dtype != dtype {
			t.Errorf("%s becomes %s, big-endian %v; %s was said, of %s", dtype, s.Type.Name, s.BigEndian, made[0].section.Type.Name, made[0].dtype)
		}
		return readAll(t, s, 7)
	}
	plusOne := tensorop.Op{Kind: tensorop.Offset, Value: 1}
	// 1 + 2^-9 has no place in BF16.
	if got := asF32("BF16", false, []uint64{2}, []byte{0, 0x3b, 0x80, 0x3f}, plusOne); !slices.Equal(got, []float32{1 + 0x1p-9, 2}) {
		t.Errorf("BF16: %v", got)
	}
	if got := asF32("F32", true, []uint64{2}, []byte{0x3f, 0x80, 0, 0, 0x40, 0, 0, 0}, plusOne); !slices.Equal(got, []float32{2, 3}) {
		t.Errorf("F32, big-endian: %v", got)
	}
	// The sum is rounded, and not what it is the sum of.
	f64 := binary.LittleEndian.AppendUint64(nil, math.Float64bits(0x1p-24+0x1p-50))
	if got := asF32("F64", false, []uint64{1}, f64, plusOne); got[0] != 1+0x1p-23 {
		t.Errorf("F64: %v", got)
	}
	block := make([]byte, 2*34) // a scale of 2, then 32 integers
	want := make([]float32, 64)
	for i := range want {
		block[i/32*34+1] = 0x40
		block[i/32*34+2+i%32] = byte(i)
		want[i] = float32(2*i + 1)
	}
	if got := asF32("Q8_0", false, []uint64{2, 32}, block, plusOne); !slices.Equal(got, want) {
		t.Errorf("Q8_0: %v", got)
	}
	// More than is converted at once.
	long := make([]byte, 5000)
	want = make([]float32, 5000)
	for i := range want {
		long[i], want[i] = byte(i), -float32(math.Exp(float64(byte(i)%8)))
		long[i] %= 8
	}
	if got := asF32("U8", false, []uint64{5000}, long, tensorop.Op{Kind: tensorop.NegativeExp}); !slices.Equal(got, want) {
		t.Error("U8: -exp(x) is wrong")
	}
}

// unread is data that must not be read.
type unread struct{ t *testing.T }

func (u unread) ReadAt([]byte, int64) (int, error) {
	u.t.Error("data is read for a shape")
	return 0, io.ErrUnexpectedEOF
}

// Shapes cost no reading, and what is made is read no more once the context is
// done.
func TestMovesReadLate(t *testing.T) {
	for _, op := range []tensorop.Op{
		{Kind: tensorop.Transpose},
		{Kind: tensorop.Offset, Value: 1},
		{Kind: tensorop.NegativeExp},
		{Kind: tensorop.Reshape, Shape: []int64{4, 2}},
	} {
		op.Count = 1
		x := counting(0, 2, 4).tensor("x", "F32")
		there := x.section.Data
		x.section.Data = io.NewSectionReader(unread{t}, 0, there.Size())
		made, err := carryOut(&convert.Move{From: []string{"x"}, To: []string{"y"}, Ops: []tensorop.Op{op}}, map[string]*tensor{"x": x})
		if err == nil {
			err = made[0].err
		}
		if err != nil {
			t.Fatal(op.Kind, err)
		}
		if made[0].build == nil {
			continue
		}
		x.section.Data = there
		ctx, cancel := context.WithCancelCause(t.Context())
		s, err := made[0].build(ctx)
		if err != nil {
			t.Fatal(err)
		}
		enough := errors.New("enough")
		cancel(enough)
		if _, err := s.Data.ReadAt(make([]byte, 4), 0); !errors.Is(err, enough) {
			t.Errorf("%s: %v", op.Kind, err)
		}
	}
}

// Operations that do not fit are refused, and so are tensors that none fits.
func TestMovesRefuse(t *testing.T) {
	x := counting(0, 8, 6).tensor("x", "F32")
	half := counting(0, 8, 6).tensor("h", "BF16")
	short := counting(0, 8, 6).tensor("s", "F32")
	short.shape = []uint64{8, 5}
	huge := counting(0).tensor("n", "F32")
	huge.shape = []uint64{0, 1 << 63}
	unknown := &tensor{own: "u", dtype: "X9", shape: []uint64{1}}
	c64, _ := values.Lookup("C64")
	imaginary := &tensor{own: "c", dtype: "C64", shape: []uint64{1}}
	imaginary.section = values.Section{Type: c64, Data: io.NewSectionReader(bytes.NewReader(make([]byte, 8)), 0, 8)}
	plusOne := tensorop.Op{Kind: tensorop.Offset, Count: 1, Value: 1}
	tests := []struct {
		from []*tensor
		op   tensorop.Op
		want string
	}{
		{[]*tensor{x}, tensorop.Op{Kind: tensorop.Split, Count: 1, Sizes: []int64{3, 4}}, `tensor "x": split: axis 0 has a length of 8, which parts of [3 4] do not make, nor do parts in proportion to them`},
		{[]*tensor{x, half}, tensorop.Op{Kind: tensorop.Concat, Count: 2}, `tensor "x": concat: F32 and BF16 cannot be joined`},
		{[]*tensor{x}, tensorop.Op{Kind: "paint", Count: 1}, `tensor "x": paint: it cannot be carried out`},
		{[]*tensor{x}, tensorop.Op{Kind: tensorop.Reshape, Index: 1, Count: 1, Shape: []int64{48}}, `tensor "x": the conversion's reshape does not fit`},
		{[]*tensor{short}, plusOne, `tensor "s": its 192 bytes are not its shape's`},
		{[]*tensor{huge}, plusOne, `tensor "n": its shape [0 9223372036854775808] is too large to compute with`},
		{[]*tensor{unknown}, plusOne, `tensor "u": this version does not know X9, and cannot undo its layout`},
		{[]*tensor{imaginary}, plusOne, `tensor "c": offset: C64 has no order`},
	}
	for _, tt := range tests {
		m := &convert.Move{To: []string{"y"}, Ops: []tensorop.Op{tt.op}}
		byName := make(map[string]*tensor)
		for _, f := range tt.from {
			m.From = append(m.From, f.own)
			byName[f.own] = f
		}
		made, err := carryOut(m, byName)
		if err == nil {
			err = made[0].err
		}
		if err == nil || err.Error() != tt.want {
			t.Errorf("%+v: %v, want %s", tt.op, err, tt.want)
		}
	}
}

// What is joined is taken apart again, in every layout.
func TestConcatUndoesSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		groups := rapid.Int64Range(1, 4).Draw(t, "groups")
		layout := rapid.SampledFrom([]string{tensorop.Contiguous, tensorop.PerHead, tensorop.Grouped}).Draw(t, "layout")
		var sizes []int64
		var sum int64
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			n := groups * rapid.Int64Range(1, 3).Draw(t, "size")
			sizes, sum = append(sizes, n), sum+n
		}
		x := counting(0, sum, 3)
		m := &convert.Move{From: []string{"x"}, To: []string{"x"}, Ops: []tensorop.Op{
			{Kind: tensorop.Split, Count: 1, Sizes: sizes, Layout: layout, Groups: groups},
			{Kind: tensorop.Concat, Count: len(sizes), Sizes: sizes, Layout: layout, Groups: groups},
		}}
		made, err := carryOut(m, map[string]*tensor{"x": x.tensor("x", "F32")})
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

// BenchmarkTransposed makes and reads a transposed tensor of 128 MiB.
func BenchmarkTransposed(b *testing.B) {
	f32, _ := values.Lookup("F32")
	data := make([]byte, 128<<20)
	x := &tensor{own: "x", name: "x", dtype: "F32", shape: []uint64{4096, 8192}}
	x.section = values.Section{Name: "x", Type: f32, Data: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}
	m := &convert.Move{From: []string{"x"}, To: []string{"y"}, Ops: []tensorop.Op{{Kind: tensorop.Transpose, Count: 1}}}
	made, err := carryOut(m, map[string]*tensor{"x": x})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	buf := make([]byte, 1<<20)
	for b.Loop() {
		s, err := made[0].build(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		for off := int64(0); off < s.Data.Size(); off += int64(len(buf)) {
			if _, err := s.Data.ReadAt(buf, off); err != nil && !errors.Is(err, io.EOF) {
				b.Fatal(err)
			}
		}
	}
}
