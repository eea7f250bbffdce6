package arrays

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// floats are the dtypes that operations compute with.
var floats = map[string]*values.Type{}

func init() {
	for _, name := range []string{"F64", "F32", "F16", "BF16"} {
		floats[name], _ = values.Lookup(name)
	}
}

// A RoundsError says that an operation would round values, and was not allowed to.
type RoundsError struct {
	Kind     tensorop.Kind // the operation
	Lost, Of int64
	Text     string // what happens to them
}

func (e *RoundsError) Error() string {
	return fmt.Sprintf("%d of its %d values %s; write round: true to allow that", e.Lost, e.Of, e.Text)
}

// cast gives every element another dtype. Reading fails at a value that the dtype
// does not have.
func cast(a *Array, to string) ([]*Array, error) {
	from, ok := floats[a.Elem.DType]
	if !ok || floats[to] == nil || from.Name == "F64" || to == "F64" {
		return nil, fmt.Errorf("a cast is between F32, F16 and BF16, and this is from %s to %s", a.Elem.DType, to)
	}
	e := &encoded{from: plain{a.Data, from, a.Elem.BigEndian}, to: floats[to], exact: true, bigEndian: a.Elem.BigEndian}
	out, err := newArray(slices.Clone(a.Shape), Element{DType: to, Elems: 1, Bytes: int64(e.to.BlockBytes), BigEndian: a.Elem.BigEndian}, e)
	return []*Array{out}, err
}

// computed is every element of an array with something done to it.
type computed struct {
	src       io.ReaderAt
	typ       *values.Type
	bigEndian bool
	do        func(float64) float64
	undo      func(float64) float64
	tally     *Tally // nil where nothing is lost, or nobody counts
}

func notFloats(a *Array, op *tensorop.Op) error {
	return fmt.Errorf("%s is done with F64, F32, F16 and BF16, and not with %s", op.Kind, a.Elem.DType)
}

// compute adds a constant or multiplies with one, or takes -exp(x) or log(-x). Where results may not
// round, all of the tensor is read here: such tensors are norms, which are small.
func (w *Workspace) compute(a *Array, op *tensorop.Op) ([]*Array, error) {
	f, ok := floats[a.Elem.DType]
	if !ok {
		return nil, notFloats(a, op)
	}
	c := &computed{src: a.Data, typ: f, bigEndian: a.Elem.BigEndian}
	count := int64(a.Elements())
	by := op.Value
	if a.Elem.DType != "F64" {
		by = float64(float32(by)) // as torch adds a number to such a tensor, or multiplies with it
	}
	switch op.Kind {
	case tensorop.Offset:
		c.do = func(v float64) float64 { return v + by }
		c.undo = func(v float64) float64 { return v - by }
	case tensorop.Scale:
		c.do = func(v float64) float64 { return v * by }
		c.undo = func(v float64) float64 { return v / by }
	case tensorop.NegativeExp:
		c.do, c.undo = negativeExp, c.logNegative
	default:
		c.do, c.undo = c.logNegative, negativeExp
	}
	if op.Round {
		if w.Rounds != nil {
			c.tally = w.Rounds(op, a)
		}
		return []*Array{a.like(a.Shape, c)}, nil
	}
	if op.Kind == tensorop.NegativeExp {
		return nil, fmt.Errorf("%s rounds, and its results cannot be undone exactly", op.Kind)
	}
	lost, first, err := c.lost(count)
	if err != nil {
		return nil, err
	}
	if lost > 0 {
		if op.Kind == tensorop.LogNegative {
			if !(first < 0) {
				return nil, fmt.Errorf("%d of its %s %s -exp(x) of no number, the first being %v", lost, plural.Of(count, "value"), plural.Verb(lost, "are"), first)
			}
			return nil, &RoundsError{op.Kind, lost, count, fmt.Sprintf("are -exp(x) of no %s, the first being %v", a.Elem.DType, first)}
		}
		how := fmt.Sprintf("adding %v in %s and taking it off again", op.Value, a.Elem.DType)
		if op.Kind == tensorop.Scale {
			how = fmt.Sprintf("multiplying with %v in %s and dividing again", op.Value, a.Elem.DType)
		}
		return nil, &RoundsError{op.Kind, lost, count, fmt.Sprintf("do not survive %s, the first being %v", how, first)}
	}
	return []*Array{a.like(a.Shape, c)}, nil
}

func negativeExp(v float64) float64 { return -math.Exp(v) }

// bitsOf writes a number as an element, and number reads one.
func (c *computed) bitsOf(v float64) uint64 {
	if c.typ.BlockBytes == 4 && v == v {
		return uint64(math.Float32bits(float32(v)))
	}
	var b [8]byte
	c.typ.Encode(b[:c.typ.BlockBytes], []float64{v}, new(values.Rounding))
	return binary.LittleEndian.Uint64(b[:])
}

func (c *computed) number(bits uint64) float64 {
	if c.typ.BlockBytes == 4 {
		return float64(math.Float32frombits(uint32(bits)))
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], bits)
	var v [1]float64
	c.typ.Decode64(v[:], b[:c.typ.BlockBytes])
	return v[0]
}

// roundTo rounds to a significand of so many bits, ties to even; zero and what is next to it stay.
func roundTo(v float64, bits int) float64 {
	const whole = 53
	b := math.Float64bits(v)
	if exponent := b >> (whole - 1) & 0x7ff; exponent == 0 || exponent == 0x7ff || bits >= whole {
		return v
	}
	shift := whole - bits
	b += 1<<(shift-1) - 1 + b>>shift&1
	return math.Float64frombits(b &^ (1<<shift - 1))
}

// A precision says of a type how many bits a significand has, and which is its least number with all of them.
type precision struct {
	bits  int
	least float64
}

var precisions = map[string]precision{"F64": {53, 0x1p-1022}, "F32": {24, 0x1p-126}, "BF16": {8, 0x1p-126}, "F16": {11, 0x1p-14}}

// logNegative is the number with the fewest bits whose -exp is v, so that what was
// computed of a BF16 number comes back as it was; log(-v) where there is none.
func (c *computed) logNegative(v float64) float64 {
	y, want := math.Log(-v), c.bitsOf(v)
	is := func(bits uint64) bool { return c.bitsOf(-math.Exp(c.number(bits))) == want }
	// What is further from the logarithm has another exponential: numbers whose exponentials are rounded alike are
	// nearer to each other than the last place is to the first. The room is for errors of Exp and Log.
	far := math.Inf(1)
	if p := precisions[c.typ.Name]; -v >= p.least {
		far = math.Ldexp(16, -p.bits)
	}
	tried := ^uint64(0)
	for significand := 8; significand <= 53; significand++ {
		bits := c.bitsOf(roundTo(y, significand))
		if bits == tried || math.Abs(c.number(bits)-y) > far {
			continue
		}
		if tried = bits; is(bits) {
			return c.number(bits)
		}
	}
	for near := uint64(1); near <= 4; near++ {
		for _, bits := range []uint64{c.bitsOf(y) - near, c.bitsOf(y) + near} {
			if is(bits) {
				return c.number(bits)
			}
		}
	}
	return y
}

// each reads elements from one on, and gives them to do a few at a time: their bytes,
// little-endian, and their numbers.
func (c *computed) each(p []byte, first int64, do func(b []byte, numbers []float64)) error {
	size := c.typ.BlockBytes
	if err := source.ReadFull(c.src, p, first*int64(size)); err != nil {
		return err
	}
	var numbers [256]float64
	for len(p) > 0 {
		b := p[:min(len(p), len(numbers)*size)]
		if c.bigEndian {
			c.typ.Swap(b)
		}
		do(b, numbers[:c.typ.Decode64(numbers[:], b)])
		if c.bigEndian {
			c.typ.Swap(b)
		}
		p = p[len(b):]
	}
	return nil
}

// lost counts the elements that undoing does not bring back. The first is one that is
// not negative, where a logarithm wants that.
func (c *computed) lost(count int64) (n int64, first float64, err error) {
	size := int64(c.typ.BlockBytes)
	buf := make([]byte, 64<<10)
	var done, undone [256]float64
	back := make([]byte, len(done)*int(size))
	var rounding values.Rounding
	for at := int64(0); at < count; at += int64(len(buf)) / size {
		buf := buf[:min(int64(len(buf)), (count-at)*size)]
		err := c.each(buf, at, func(b []byte, numbers []float64) {
			results, undone, back := done[:len(numbers)], undone[:len(numbers)], back[:len(b)]
			for i, v := range numbers {
				results[i] = c.do(v)
			}
			c.typ.Encode(back, results, &rounding)
			c.typ.Decode64(undone, back)
			for i, v := range undone {
				undone[i] = c.undo(v)
			}
			c.typ.Encode(back, undone, &rounding)
			for i, v := range numbers {
				if at := i * int(size); !bytes.Equal(b[at:at+int(size)], back[at:at+int(size)]) {
					if n == 0 || first < 0 && !(v < 0) {
						first = v
					}
					n++
				}
			}
		})
		if err != nil {
			return n, first, err
		}
	}
	return n, first, nil
}

func (c *computed) ReadAt(p []byte, off int64) (int, error) {
	var n values.Rounding
	apart := 0.0
	done, err := byElements(p, off, int64(c.typ.BlockBytes), func(p []byte, first int64, ends bool) error {
		var rounding values.Rounding
		return c.each(p, first, func(b []byte, numbers []float64) {
			count := c.tally != nil && ends
			var was [256]float64
			if count {
				copy(was[:], numbers)
			}
			for i, v := range numbers {
				numbers[i] = c.do(v)
			}
			c.typ.Encode(b, numbers, &rounding)
			if !count {
				return
			}
			n.Elements += uint64(len(numbers))
			c.typ.Decode64(numbers, b)
			for i, v := range was[:len(numbers)] {
				back := c.number(c.bitsOf(c.undo(numbers[i])))
				switch {
				case v != v:
					n.NaN++
				case back != back:
					n.Inexact++
					apart = math.Inf(1)
				case back != v:
					n.Inexact++
					apart = max(apart, math.Abs(back-v))
				}
			}
		})
	})
	if c.tally != nil {
		c.tally.addApart(n, apart)
	}
	return done, err
}
