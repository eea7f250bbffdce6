package arrays

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A float is a dtype of numbers that operations compute with.
type float struct {
	bytes int64
	from  func(bits uint64) float64
	to    func(v float64) uint64 // rounds to the nearest, ties to even
}

var floats = map[string]float{
	"F64": {8, math.Float64frombits, math.Float64bits},
	"F32": {
		4,
		func(b uint64) float64 { return float64(math.Float32frombits(uint32(b))) },
		func(v float64) uint64 { return uint64(math.Float32bits(float32(v))) },
	},
	"BF16": {2, func(b uint64) float64 { return float64(math.Float32frombits(uint32(b) << 16)) }, roundBF16},
	"F16":  {2, fromF16, roundF16},
}

// roundTo rounds to a significand of so many bits and a smallest exponent, in
// one step, so that no double rounding occurs.
func roundTo(v float64, bits, least int) float64 {
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	_, e := math.Frexp(v) // |v| in [2^(e-1), 2^e)
	shift := max(e-bits, least)
	return math.Ldexp(math.RoundToEven(math.Ldexp(v, -shift)), shift)
}

func roundBF16(v float64) uint64 {
	if math.IsNaN(v) {
		return uint64(math.Float32bits(float32(v)))>>16 | 1<<6
	}
	return uint64(math.Float32bits(float32(roundTo(v, 8, -133)))) >> 16
}

func fromF16(b uint64) float64 {
	sign := 1.0
	if b&0x8000 != 0 {
		sign = -1
	}
	e, m := int(b>>10&31), float64(b&1023)
	switch e {
	case 0:
		return sign * math.Ldexp(m, -24)
	case 31:
		if m != 0 {
			return math.NaN()
		}
		return math.Inf(int(sign))
	}
	return sign * math.Ldexp(1024+m, e-25)
}

func roundF16(v float64) uint64 {
	sign := uint64(0)
	if math.Signbit(v) {
		sign, v = 0x8000, -v
	}
	v = roundTo(v, 11, -24)
	switch {
	case math.IsNaN(v):
		return sign | 0x7e00
	case v > 65504:
		return sign | 0x7c00
	case v < 0x1p-14:
		return sign | uint64(math.Ldexp(v, 24))
	}
	f, e := math.Frexp(v) // f in [1/2, 1)
	return sign | uint64(e+14)<<10 | uint64(math.Ldexp(f, 11))&1023
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

// widen gives the bits of a number of a narrower dtype, or of F32, as F32. Every
// one has such bits, NaN with its payload.
var widen = map[string]func(bits uint64) uint32{
	"F32":  func(b uint64) uint32 { return uint32(b) },
	"BF16": func(b uint64) uint32 { return uint32(b) << 16 },
	"F16": func(b uint64) uint32 {
		if b&0x7c00 == 0x7c00 {
			return uint32(b&0x8000)<<16 | 0xff<<23 | uint32(b&0x3ff)<<13
		}
		return math.Float32bits(float32(fromF16(b)))
	},
}

// narrow is the inverse of widen for the bits that it gives, and some bits for
// others.
func narrow(dtype string, bits uint32) uint64 {
	switch {
	case dtype == "F32":
		return uint64(bits)
	case dtype == "BF16":
		return uint64(bits) >> 16
	case bits&(0xff<<23) == 0xff<<23:
		return uint64(bits>>16&0x8000 | 0x7c00 | bits>>13&0x3ff)
	}
	return roundF16(float64(math.Float32frombits(bits)))
}

// recast is every element of an array in another dtype.
type recast struct {
	src      io.ReaderAt
	from, to codec
	dtype    string // of to
	widen    func(bits uint64) uint32
	back     func(bits uint64) uint32
}

// cast gives every element another dtype. Reading fails at a value that the dtype
// does not have.
func cast(a *Array, to string) ([]*Array, error) {
	r := &recast{src: a.Data, dtype: to, widen: widen[a.Elem.DType], back: widen[to]}
	if r.widen == nil || r.back == nil {
		return nil, fmt.Errorf("a cast is between F32, F16 and BF16, and this is from %s to %s", a.Elem.DType, to)
	}
	r.from = codecOf(a.Elem, floats[a.Elem.DType])
	r.to = codec{floats[to].bytes, r.from.order}
	out, err := newArray(slices.Clone(a.Shape), Element{DType: to, Elems: 1, Bytes: r.to.bytes, BigEndian: a.Elem.BigEndian}, r)
	return []*Array{out}, err
}

func (r *recast) ReadAt(p []byte, off int64) (int, error) {
	const most = 16 << 10 // elements at a time
	n, m := r.from.bytes, r.to.bytes
	var buf []byte
	for done := 0; done < len(p); {
		at := off + int64(done)
		first, skip := at/m, at%m
		count := min((skip+int64(len(p)-done)+m-1)/m, most)
		if buf == nil {
			buf = make([]byte, count*n)
		}
		buf = buf[:count*n]
		if err := source.ReadFull(r.src, buf, first*n); err != nil {
			return done, err
		}
		for i := range count {
			wide := r.widen(r.from.get(buf[i*n:]))
			bits := narrow(r.dtype, wide)
			if r.back(bits) != wide {
				return done, fmt.Errorf("element %d, %v, is not a number of %s", first+i, math.Float32frombits(wide), r.dtype)
			}
			var one [4]byte
			r.to.put(one[:], bits)
			done += copy(p[done:], one[skip:m])
			skip = 0
		}
	}
	return len(p), nil
}

// A codec is how the bits of an element are stored.
type codec struct {
	bytes int64
	order binary.ByteOrder
}

func codecOf(e Element, f float) codec {
	if e.BigEndian {
		return codec{f.bytes, binary.BigEndian}
	}
	return codec{f.bytes, binary.LittleEndian}
}

func (c codec) get(b []byte) uint64 {
	switch c.bytes {
	case 2:
		return uint64(c.order.Uint16(b))
	case 4:
		return uint64(c.order.Uint32(b))
	}
	return c.order.Uint64(b)
}

func (c codec) put(b []byte, v uint64) {
	switch c.bytes {
	case 2:
		c.order.PutUint16(b, uint16(v))
	case 4:
		c.order.PutUint32(b, uint32(v))
	default:
		c.order.PutUint64(b, v)
	}
}

// computed is every element of an array with something done to it.
type computed struct {
	codec
	src   io.ReaderAt
	float float
	do    func(float64) float64
	undo  func(float64) float64
}

func notFloats(a *Array, op *tensorop.Op) error {
	return fmt.Errorf("%s is done with F64, F32, F16 and BF16, and not with %s", op.Kind, a.Elem.DType)
}

// compute adds a constant or multiplies with one, or takes -exp(x) or log(-x). Where results may not
// round, all of the tensor is read here: such tensors are norms, which are small.
func compute(a *Array, op *tensorop.Op) ([]*Array, error) {
	f, ok := floats[a.Elem.DType]
	if !ok {
		return nil, notFloats(a, op)
	}
	c := &computed{codec: codecOf(a.Elem, f), src: a.Data, float: f}
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
		c.do = func(v float64) float64 { return -math.Exp(v) }
	default:
		c.do, c.undo = c.logNegative, func(v float64) float64 { return -math.Exp(v) }
	}
	if op.Round {
		return []*Array{a.like(a.Shape, c)}, nil
	}
	if c.undo == nil {
		return nil, fmt.Errorf("%s rounds, and its results cannot be undone exactly", op.Kind)
	}
	lost, first, err := c.lost(a.Size())
	if err != nil {
		return nil, err
	}
	if lost > 0 {
		if op.Kind == tensorop.LogNegative {
			if !(first < 0) {
				return nil, fmt.Errorf("%d of its %s %s -exp(x) of no number, the first being %v", lost, plural.Of(a.Size()/f.bytes, "value"), plural.Verb(lost, "are"), first)
			}
			return nil, &RoundsError{op.Kind, lost, a.Size() / f.bytes, fmt.Sprintf("are -exp(x) of no %s, the first being %v", a.Elem.DType, first)}
		}
		how := fmt.Sprintf("adding %v in %s and taking it off again", op.Value, a.Elem.DType)
		if op.Kind == tensorop.Scale {
			how = fmt.Sprintf("multiplying with %v in %s and dividing again", op.Value, a.Elem.DType)
		}
		return nil, &RoundsError{op.Kind, lost, a.Size() / f.bytes, fmt.Sprintf("do not survive %s, the first being %v", how, first)}
	}
	return []*Array{a.like(a.Shape, c)}, nil
}

// logNegative is the number with the fewest bits whose -exp is v, so that what was
// computed of a BF16 number comes back as it was; log(-v) where there is none.
func (c *computed) logNegative(v float64) float64 {
	y, want := math.Log(-v), c.float.to(v)
	is := func(bits uint64) bool { return c.float.to(-math.Exp(c.float.from(bits))) == want }
	for significand := 8; significand <= 53; significand++ {
		if bits := c.float.to(roundTo(y, significand, -1074)); is(bits) {
			return c.float.from(bits)
		}
	}
	for near := uint64(1); near <= 4; near++ {
		for _, bits := range []uint64{c.float.to(y) - near, c.float.to(y) + near} {
			if is(bits) {
				return c.float.from(bits)
			}
		}
	}
	return y
}

// lost counts the elements that undoing does not bring back. The first is one that is
// not negative, where a logarithm wants that.
func (c *computed) lost(size int64) (n int64, first float64, err error) {
	buf := make([]byte, 64<<10)
	for off := int64(0); off < size; off += int64(len(buf)) {
		buf := buf[:min(int64(len(buf)), size-off)]
		if err := source.ReadFull(c.src, buf, off); err != nil {
			return n, first, err
		}
		for ; len(buf) > 0; buf = buf[c.float.bytes:] {
			was := c.get(buf)
			v := c.float.from(was)
			if c.float.to(c.undo(c.float.from(c.float.to(c.do(v))))) != was {
				if n == 0 || first < 0 && !(v < 0) {
					first = v
				}
				n++
			}
		}
	}
	return n, first, nil
}

func (c *computed) ReadAt(p []byte, off int64) (int, error) {
	n := c.bytes
	if off%n != 0 || int64(len(p))%n != 0 {
		// The ends of the range cut elements.
		from, to := off/n*n, (off+int64(len(p))+n-1)/n*n
		whole := make([]byte, to-from)
		if _, err := c.ReadAt(whole, from); err != nil {
			return 0, err
		}
		return copy(p, whole[off-from:]), nil
	}
	if err := source.ReadFull(c.src, p, off); err != nil {
		return 0, err
	}
	for b := p; len(b) > 0; b = b[n:] {
		c.put(b, c.float.to(c.do(c.float.from(c.get(b)))))
	}
	return len(p), nil
}
