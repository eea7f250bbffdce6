package values

import (
	"context"
	"fmt"
)

// A Range is what is picked along an axis: N places from Start on, Step apart. A Step
// below 0 goes backwards. With an Edge above 0, only so many of them at each end are picked.
type Range struct{ Start, Step, N, Edge int64 }

// Len returns how many places are picked.
func (r Range) Len() int64 {
	if r.Edge > 0 {
		return min(r.N, 2*r.Edge)
	}
	return r.N
}

// A Picked is some elements of a section, in an order of their own. It reads the bytes
// that they are in, and what is between them where to skip it would not pay.
type Picked struct {
	section *Section
	base    int64  // the first element
	loops   []loop // around the runs, outermost first
	run     int64  // elements that follow each other in the file
	runs    int64
}

// A loop has n turns, a stride of elements apart; in front of turn number edge are skip more.
type loop struct{ n, stride, edge, skip int64 }

// Pick picks the elements of a tensor of a shape at the places that the ranges have in
// common. There is one range per axis, within it; the section has a type, and as many
// bytes as the shape says.
func Pick(s Section, shape []uint64, axes []Range) *Picked {
	p := &Picked{section: &s, run: 1, runs: 1}
	stride := int64(1)
	for i := len(axes) - 1; i >= 0; i-- {
		a := axes[i]
		if a.N == 0 {
			return &Picked{section: &s}
		}
		p.base += a.Start * stride
		switch {
		case a.N == 1:
		case len(p.loops) == 0 && a.Step*stride == p.run && a.Len() == a.N:
			p.run *= a.N
		default:
			l := loop{n: a.Len(), stride: a.Step * stride}
			if l.n < a.N {
				l.edge, l.skip = a.Edge, (a.N-l.n)*l.stride
			}
			p.loops = append([]loop{l}, p.loops...)
			p.runs *= l.n
		}
		stride *= int64(shape[i])
	}
	return p
}

// Len returns how many elements are picked.
func (p *Picked) Len() int64 { return p.run * p.runs }

// Type returns what [Picked.Read] gives: the section's own type, or F32 where elements
// are stored in blocks.
func (p *Picked) Type() *Type {
	if t := p.section.Type; t.BlockElems == 1 {
		return t
	}
	return types()["F32"]
}

// WholeBlocks reports whether the elements are stored in blocks of their own.
func (p *Picked) WholeBlocks() bool {
	n := int64(p.section.Type.BlockElems)
	whole := p.base%n == 0 && p.run%n == 0
	for _, l := range p.loops {
		whole = whole && l.stride%n == 0 && l.skip%n == 0
	}
	return whole
}

// Bytes returns how many bytes are read.
func (p *Picked) Bytes() int64 {
	if p.runs == 1 { // however long it is
		b := int64(p.section.Type.BlockElems)
		if p.run == 0 {
			return 0
		}
		return ((p.base+p.run+b-1)/b - p.base/b) * int64(p.section.Type.BlockBytes)
	}
	var n int64
	p.spans(func(s *span) error {
		n += (s.hi - s.lo) * int64(p.section.Type.BlockBytes)
		return nil
	})
	return n
}

const (
	spanBytes = 1 << 20 // are read at once
	// gapBytes are read rather than skipped: a request to a server has no less.
	gapBytes = 64 << 10
	spanRuns = 1 << 13
)

// A span is runs of elements that are read together: those of the blocks from lo to hi.
type span struct {
	lo, hi int64
	runs   [][2]int64 // the first element, and the one after the last
}

// spans calls f with the spans in the order of the elements.
func (p *Picked) spans(f func(s *span) error) error {
	if p.run == 0 {
		return nil
	}
	elems, size := int64(p.section.Type.BlockElems), int64(p.section.Type.BlockBytes)
	most := max(spanBytes/size, 1)
	s := &span{}
	at := make([]int64, len(p.loops))
	start := p.base
	for {
		for from, end := start, start+p.run; from < end; {
			lo := from / elems
			to := min(end, (lo+most)*elems)
			hi := (to + elems - 1) / elems
			gap := max(lo-s.hi, s.lo-hi) * size
			if len(s.runs) > 0 && (gap > gapBytes || max(hi, s.hi)-min(lo, s.lo) > most || len(s.runs) == spanRuns) {
				if err := f(s); err != nil {
					return err
				}
				s.runs = s.runs[:0]
			}
			if len(s.runs) == 0 {
				s.lo, s.hi = lo, hi
			}
			s.lo, s.hi = min(s.lo, lo), max(s.hi, hi)
			s.runs = append(s.runs, [2]int64{from, to})
			from = to
		}
		i := len(p.loops) - 1
		for ; i >= 0; i-- {
			l := &p.loops[i]
			start += l.stride
			if at[i]++; at[i] == l.edge {
				start += l.skip
			}
			if at[i] < l.n {
				break
			}
			start -= l.n*l.stride + l.skip
			at[i] = 0
		}
		if i < 0 {
			return f(s)
		}
	}
}

// Read reads the elements and calls yield with the bytes of some of them after the other,
// which are its to use until it returns: little-endian, of [Picked.Type]. Progress, which
// may be nil, is told how many more bytes were read.
func (p *Picked) Read(ctx context.Context, progress func(n int64), yield func(elements []byte) error) error {
	return p.read(ctx, false, progress, yield)
}

// ReadStored is Read for the blocks as the file has them. They are whole.
func (p *Picked) ReadStored(ctx context.Context, progress func(n int64), yield func(blocks []byte) error) error {
	if !p.WholeBlocks() {
		return fmt.Errorf("tensor %q: blocks of %s are not taken apart", p.section.Name, p.section.Type.Name)
	}
	return p.read(ctx, true, progress, yield)
}

func (p *Picked) read(ctx context.Context, stored bool, progress func(n int64), yield func([]byte) error) error {
	t := p.section.Type
	elems, size := int64(t.BlockElems), int64(t.BlockBytes)
	var data, out []byte
	var numbers []float32
	return p.spans(func(s *span) error {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n := (s.hi - s.lo) * size
		if int64(cap(data)) < n {
			data = make([]byte, n)
		}
		data = data[:n]
		if err := p.section.read(data, s.lo*size); err != nil {
			return err
		}
		if progress != nil {
			progress(n)
		}
		if p.section.BigEndian && !stored {
			t.Swap(data)
		}
		out = out[:0]
		for _, r := range s.runs {
			lo, hi := r[0]/elems, (r[1]+elems-1)/elems
			blocks := data[(lo-s.lo)*size : (hi-s.lo)*size]
			if stored || elems == 1 {
				out = append(out, blocks...)
				continue
			}
			if need := int((hi - lo) * elems); cap(numbers) < need {
				numbers = make([]float32, need)
			}
			numbers = numbers[:cap(numbers)]
			t.Decode(numbers, blocks)
			out = appendF32(out, numbers[r[0]-lo*elems:r[1]-lo*elems])
		}
		return yield(out)
	})
}
