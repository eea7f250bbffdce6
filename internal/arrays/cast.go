package arrays

import (
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// A Tally adds up what it costs to give numbers another dtype, while arrays are read. An
// element counts whenever its last byte is read, so that reading an array once, in pieces
// of any size and order, counts every element once. It may be shared by arrays, and by goroutines.
type Tally struct {
	mu     sync.Mutex
	counts values.Rounding
	apart  float64
	paused bool
}

// Counts returns what was added up so far.
func (t *Tally) Counts() values.Rounding {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// Apart returns by how much numbers that an operation does not bring back differ at most from what they were.
func (t *Tally) Apart() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.apart
}

// addApart adds numbers of which the inexact ones come back as others.
func (t *Tally) addApart(n values.Rounding, apart float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused {
		t.counts.Add(n)
		t.apart = max(t.apart, apart)
	}
}

func (t *Tally) add(n values.Rounding) {
	if t == nil || n == (values.Rounding{}) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.paused {
		t.counts.Add(n)
	}
}

func (t *Tally) pause(paused bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.paused = paused
}

// Uncounted reads the same bytes as r, and the tallies do not count them. Nothing that
// they are to count may be read meanwhile.
func Uncounted(r io.ReaderAt, tallies []*Tally) io.ReaderAt { return &uncounted{r, tallies} }

type uncounted struct {
	r       io.ReaderAt
	tallies []*Tally
}

func (u *uncounted) ReadAt(p []byte, off int64) (int, error) {
	for _, t := range u.tallies {
		t.pause(true)
		defer t.pause(false)
	}
	return u.r.ReadAt(p, off)
}

// Cast gives every element of an array another dtype, one of which [values.Type.Encodes] says
// that numbers can be written: F64, F32, F16, BF16 and the 8-bit floats. It takes whatever package
// values decodes, ggml's blocks too, but for complex numbers. Each number is rounded once, from
// what it is exactly, and what is too large becomes what [values.Type.Encode] says.
// That integers are weights is for the caller to know. The tally may be nil.
//
// The result is little-endian. A cast to the dtype that the array has changes nothing else.
func Cast(a *Array, dtype string, tally *Tally) (*Array, error) {
	from, ok := values.Lookup(a.Elem.DType)
	if !ok {
		return nil, fmt.Errorf("numbers of %s cannot be read", a.Elem.DType)
	}
	if a.Elem.DType == dtype {
		if !a.Elem.BigEndian {
			return a, nil
		}
		elem := a.Elem
		elem.BigEndian = false
		return newArray(slices.Clone(a.Shape), elem, &turned{a.Data, from})
	}
	if from.Parts != 1 {
		return nil, fmt.Errorf("complex numbers of %s cannot become %s", a.Elem.DType, dtype)
	}
	return encode(a.Shape, plain{a.Data, from, a.Elem.BigEndian}, dtype, tally)
}

// numbers are elements that can be decoded.
type numbers interface {
	// decode gives the numbers of elements from one on that begins a block, for a
	// type that they are then encoded as. Those that follow within the last block are given, too.
	decode(dst []float64, first int64, to *values.Type, n *values.Rounding) error
	// block is how many elements are decoded at least.
	block() int64
}

// encode is an array of numbers.
func encode(shape []int64, from numbers, dtype string, tally *Tally) (*Array, error) {
	to, ok := values.Lookup(dtype)
	if !ok || !to.Encodes() {
		return nil, fmt.Errorf("numbers cannot be written as %s; F64, F32, F16, BF16, F8_E4M3, F8_E5M2, F8_E4M3FNUZ and F8_E5M2FNUZ can", dtype)
	}
	e := Element{DType: to.Name, Elems: 1, Bytes: int64(to.BlockBytes)}
	return newArray(slices.Clone(shape), e, &encoded{from: from, to: to, tally: tally})
}

// encoded is numbers written as another type.
type encoded struct {
	from  numbers
	to    *values.Type
	tally *Tally
	// exact has reading fail at a number that the type does not have.
	exact     bool
	bigEndian bool
}

// window is how many elements are decoded at once: a multiple of every block.
const window = 16 << 10

var windows = sync.Pool{New: func() any { return new([window]float64) }}

func (e *encoded) ReadAt(p []byte, off int64) (int, error) {
	var n values.Rounding
	defer func() { e.tally.add(n) }()
	return byElements(p, off, int64(e.to.BlockBytes), func(p []byte, first int64, ends bool) error {
		if !ends {
			return e.run(p, first, new(values.Rounding))
		}
		return e.run(p, first, &n)
	})
}

// run writes as many whole elements from one on as p has room for.
func (e *encoded) run(p []byte, at int64, n *values.Rounding) error {
	if from, ok := e.from.(plain); ok && !e.exact && !e.bigEndian {
		if straight := from.typ.Straight(e.to); straight != nil {
			return from.straight(straight, p, int64(e.to.BlockBytes), at, n)
		}
	}
	buf := windows.Get().(*[window]float64)
	defer windows.Put(buf)
	size, block := e.to.BlockBytes, e.from.block()
	for len(p) > 0 {
		first := at / block * block
		skip := int(at - first)
		k := min(window-skip, len(p)/size)
		if err := e.from.decode(buf[:(int64(skip+k)+block-1)/block*block], first, e.to, n); err != nil {
			return err
		}
		nums, out := buf[skip:skip+k], p[:k*size]
		e.to.Encode(out, nums, n)
		if e.exact {
			if err := e.check(out, nums, at); err != nil {
				return err
			}
		}
		if e.bigEndian {
			e.to.Swap(out)
		}
		p, at = p[k*size:], at+int64(k)
	}
	return nil
}

// check fails where numbers do not come back, NaN bit by bit.
func (e *encoded) check(out []byte, nums []float64, at int64) error {
	var back [256]float64
	for i := range nums {
		if i%len(back) == 0 {
			e.to.Decode64(back[:], out[i*e.to.BlockBytes:])
		}
		if v := nums[i]; math.Float64bits(back[i%len(back)]) != math.Float64bits(v) {
			return fmt.Errorf("element %d, %v, is not a number of %s", at+int64(i), float32(v), e.to.Name)
		}
	}
	return nil
}

// plain is the elements of a tensor.
type plain struct {
	src       io.ReaderAt
	typ       *values.Type
	bigEndian bool
}

func (s plain) block() int64 { return int64(s.typ.BlockElems) }

// raws are for the bytes that a window is decoded from.
var raws = sync.Pool{New: func() any { return new([]byte) }}

// raw returns a slice of that many bytes, and where to put it back.
func raw(n int) ([]byte, *[]byte) {
	b := raws.Get().(*[]byte)
	if cap(*b) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n], b
}

// Numbers reads all numbers of an array that fits in memory, of any dtype and byte order.
func (a *Array) Numbers() ([]float64, error) {
	t, ok := values.Lookup(a.Elem.DType)
	if !ok || t.Parts != 1 || a.Elements() > math.MaxInt32/8 {
		return nil, fmt.Errorf("%d numbers of %s cannot be read at once", a.Elements(), a.Elem.DType)
	}
	wide, _ := values.Lookup("F64")
	numbers := make([]float64, a.Elements())
	var rounding values.Rounding
	if err := (plain{a.Data, t, a.Elem.BigEndian}).decode(numbers, 0, wide, &rounding); err != nil {
		return nil, err
	}
	return numbers, nil
}

func (s plain) decode(dst []float64, first int64, to *values.Type, n *values.Rounding) error {
	size, elems := int64(s.typ.BlockBytes), int64(s.typ.BlockElems)
	src, back := raw(int(int64(len(dst)) / elems * size))
	defer raws.Put(back)
	if err := source.ReadFull(s.src, src, first/elems*size); err != nil {
		return err
	}
	if s.bigEndian {
		s.typ.Swap(src)
	}
	s.typ.DecodeFor(to, dst, src, n)
	return nil
}

// straight writes the numbers of elements from one on, in as much as p has room for.
func (s plain) straight(write func(dst, src []byte, n *values.Rounding), p []byte, to, at int64, n *values.Rounding) error {
	size := int64(s.typ.BlockBytes)
	src, back := raw(window * int(size))
	defer raws.Put(back)
	for len(p) > 0 {
		k := min(window, int64(len(p))/to)
		part := src[:k*size]
		if err := source.ReadFull(s.src, part, at*size); err != nil {
			return err
		}
		if s.bigEndian {
			s.typ.Swap(part)
		}
		write(p[:k*to], part, n)
		p, at = p[k*to:], at+k
	}
	return nil
}

// turned is big-endian blocks as little-endian ones.
type turned struct {
	src io.ReaderAt
	typ *values.Type
}

func (t *turned) ReadAt(p []byte, off int64) (int, error) {
	size := int64(t.typ.BlockBytes)
	return byElements(p, off, size, func(p []byte, first int64, _ bool) error {
		if err := source.ReadFull(t.src, p, first*size); err != nil {
			return err
		}
		t.typ.Swap(p)
		return nil
	})
}

// byElements has a range of bytes read by whole elements of n bytes, also where its ends
// cut one. read is told whether the range has the last bytes of its elements.
func byElements(p []byte, off, n int64, read func(p []byte, first int64, ends bool) error) (int, error) {
	done, at := 0, off/n
	if skip := off % n; skip > 0 && len(p) > 0 {
		one := make([]byte, n)
		if err := read(one, at, int64(len(p)) >= n-skip); err != nil {
			return 0, err
		}
		done = copy(p, one[skip:])
		at++
	}
	whole := (int64(len(p)) - int64(done)) / n
	if err := read(p[done:done+int(whole*n)], at, true); err != nil {
		return done, err
	}
	done += int(whole * n)
	if done < len(p) {
		one := make([]byte, n)
		if err := read(one, at+whole, false); err != nil {
			return done, err
		}
		done += copy(p[done:], one)
	}
	return done, nil
}
