package values

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// countingReader counts what is read.
type countingReader struct {
	io.ReaderAt
	n int64
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	r.n += int64(len(p))
	return r.ReaderAt.ReadAt(p, off)
}

// zeros is however many of them.
type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) {
	clear(p)
	return len(p), nil
}

// placesOf lists the places of a range one by one.
func placesOf(r Range) []int64 {
	var out []int64
	for i := range r.N {
		if r.Edge == 0 || i < r.Edge || i >= r.N-r.Edge {
			out = append(out, r.Start+i*r.Step)
		}
	}
	return out
}

// What is picked is what an element by element walk finds, in its order, of plain types and
// of blocks, and in either byte order; and as much is read as was said.
func TestPick(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 3000 {
		typ, _ := Lookup([]string{"U8", "I16", "F32", "Q8_0", "F4", "F6_E2M3", "Q4_K"}[round%7])
		shape := make([]uint64, rng.IntN(5))
		total := 1
		for i := range shape {
			shape[i] = uint64(1 + rng.IntN(7))
			if i == len(shape)-1 && typ.BlockElems > 1 {
				shape[i] = uint64(typ.BlockElems * (1 + rng.IntN(2)))
			}
			total *= int(shape[i])
		}
		if total%typ.BlockElems != 0 {
			continue // a scalar has no whole block
		}
		data := make([]byte, total/typ.BlockElems*typ.BlockBytes)
		for i := range data {
			data[i] = byte(rng.Uint32()) & 0x3b // no NaN, which is not itself
		}
		axes := make([]Range, len(shape))
		for i, d := range shape {
			n := int64(d)
			r := Range{Start: rng.Int64N(n), Step: 1 + rng.Int64N(3)}
			r.N = rng.Int64N((n-1-r.Start)/r.Step + 2)
			if r.N > 0 && rng.IntN(3) == 0 {
				r.Start, r.Step = r.Start+(r.N-1)*r.Step, -r.Step
			}
			if rng.IntN(2) == 0 {
				r = Range{Step: 1, N: n}
			}
			r.Edge = int64(rng.IntN(3))
			axes[i] = r
		}
		indices := []int64{0}
		for i, r := range axes {
			var next []int64
			for _, at := range indices {
				for _, place := range placesOf(r) {
					next = append(next, at*int64(shape[i])+place)
				}
			}
			indices = next
		}
		numbers := make([]float32, total)
		typ.Decode(numbers, data)
		big := round%2 == 0
		stored := slices.Clone(data)
		if big {
			typ.Swap(stored)
		}
		r := &countingReader{ReaderAt: bytes.NewReader(stored)}
		p := Pick(Section{Name: "x", Type: typ, Data: io.NewSectionReader(r, 0, int64(len(data))), BigEndian: big}, shape, axes)
		var got []byte
		var told int64
		err := p.Read(context.Background(), func(n int64) { told += n }, func(b []byte) error {
			got = append(got, b...)
			return nil
		})
		what := fmt.Sprintf("%s %v %+v", typ.Name, shape, axes)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		of := p.Type()
		if int64(len(got)) != p.Len()*int64(of.BlockBytes) || p.Len() != int64(len(indices)) {
			t.Fatalf("%s: %d bytes, %d elements, want %d", what, len(got), p.Len(), len(indices))
		}
		values := make([]float32, len(indices))
		of.Decode(values, got)
		for i, at := range indices {
			if values[i] != numbers[at] {
				t.Fatalf("%s: element %d is %g, want %g", what, i, values[i], numbers[at])
			}
		}
		if r.n != p.Bytes() || told != r.n {
			t.Errorf("%s: %d bytes are read, %d were announced and %d reported", what, r.n, p.Bytes(), told)
		}

		// The blocks as they are stored are those of the elements, or some are in part.
		var blocks []byte
		whole := true
		for i := 0; i < len(indices) && whole; i += typ.BlockElems {
			first := indices[i]
			for k := range typ.BlockElems {
				whole = whole && first%int64(typ.BlockElems) == 0 && i+k < len(indices) && indices[i+k] == first+int64(k)
			}
			if whole {
				b := int(first) / typ.BlockElems * typ.BlockBytes
				blocks = append(blocks, stored[b:b+typ.BlockBytes]...)
			}
		}
		if p.WholeBlocks() != whole {
			t.Fatalf("%s: whole blocks: %t, want %t", what, p.WholeBlocks(), whole)
		}
		var raw []byte
		err = p.ReadStored(context.Background(), nil, func(b []byte) error {
			raw = append(raw, b...)
			return nil
		})
		if whole && (err != nil || !bytes.Equal(raw, blocks)) || !whole && err == nil {
			t.Fatalf("%s: stored blocks: %v", what, err)
		}
	}
}

// Of a tensor of a terabyte as much is read as is asked for, in little memory.
func TestPickReadsLittle(t *testing.T) {
	f32, _ := Lookup("F32")
	const rows, columns = 1 << 20, 1 << 18
	shape := []uint64{rows, columns}
	section := Section{Name: "x", Type: f32, Data: io.NewSectionReader(zeros{}, 0, rows*columns*4)}
	for _, tt := range []struct {
		what string
		axes []Range
		most int64
	}{
		{"two rows", []Range{{Start: 5, Step: 1, N: 2}, {Step: 1, N: columns}}, 2 * columns * 4},
		{"eight columns of four rows", []Range{{Step: 1, N: 4}, {Step: 1, N: 8}}, 4 * 8 * 4},
		{"a summary", []Range{{Step: 1, N: rows, Edge: 3}, {Step: 1, N: columns, Edge: 3}}, 36 * 4},
		{"one number", []Range{{Start: rows - 1, Step: 1, N: 1}, {Start: columns - 1, Step: 1, N: 1}}, 4},
		{"all but none", []Range{{Step: 1}, {Step: 1, N: columns}}, 0},
	} {
		p := Pick(section, shape, tt.axes)
		if p.Bytes() != tt.most {
			t.Errorf("%s: %d bytes, want %d", tt.what, p.Bytes(), tt.most)
		}
	}
	all := Pick(section, shape, []Range{{Step: 1, N: rows}, {Step: 1, N: columns}})
	if all.Bytes() != rows*columns*4 {
		t.Errorf("all: %d bytes", all.Bytes())
	}
	stop := errors.New("enough")
	largest, turns := 0, 0
	err := all.Read(context.Background(), nil, func(b []byte) error {
		if largest = max(largest, len(b)); turns == 9 {
			return stop
		}
		turns++
		return nil
	})
	if !errors.Is(err, stop) || largest > spanBytes {
		t.Errorf("%v, %d bytes at once", err, largest)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := all.Read(ctx, nil, func([]byte) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}
