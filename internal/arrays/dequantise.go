package arrays

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// Dequantise gives the numbers of a module's weight, as the formula of its scheme has them,
// each rounded once to the dtype from what it is exactly. parts are the arrays of the module's
// tensors, in their order. The name is that of the tensor that takes the place of them
// all. The error says why the numbers cannot be worked out.
//
// The formulas are those of weight_dequant in DeepSeek-V3's inference/kernel.py, of dequantize in
// compressed_tensors/quantization/lifecycle/forward.py (with unpack_from_int32 and
// unpack_fp4_from_uint8 of its compressors), of scaled_fp8_ops in ComfyUI's comfy/ops.py, of
// modelopt/torch/quantization/qtensor, and of convert_moe_packed_tensors in transformers'
// integrations/mxfp4.py. An exponent of 255 is NaN, as OCP's MX specification has it.
func (w *Workspace) Dequantise(m *quant.Module, parts []*Array, dtype string, tally *Tally) (name string, a *Array, err error) {
	f, err := m.Formula()
	if err != nil {
		return "", nil, err
	}
	q, shape, err := dequantised(m, f, parts)
	if err != nil {
		return "", nil, err
	}
	if a, err = encode(shape, q, dtype, tally); err != nil {
		return "", nil, err
	}
	if f.Transposed {
		out, err := w.transpose(a, nil)
		if err != nil {
			return "", nil, err
		}
		a = out[0]
	}
	return f.Name, a, nil
}

// weight is elements with what is done to each.
type weight struct {
	numbers
	shape []int64
	steps []*step
}

func dequantised(m *quant.Module, f *quant.Formula, parts []*Array) (*weight, []int64, error) {
	packed := parts[f.Weight]
	var from numbers
	shape := packed.Shape
	bits := int64(0)
	switch f.Codes {
	case quant.FP4:
		bytes := slices.Clone(shape)
		n := len(shape)
		if packed.Elem.DType == "F4" {
			break
		}
		if packed.Elem.Bytes != 1 || packed.Elem.Elems != 1 || n == 0 {
			return nil, nil, fmt.Errorf("%s of the shape %v is not bytes of two elements", packed.Elem.DType, shape)
		}
		if n > 2 && len(parts[f.Steps[0].Tensor].Shape) == n-1 {
			bytes = append(bytes[:n-2], bytes[n-2]*bytes[n-1]) // groups are an axis of their own
		}
		if bytes[len(bytes)-1] > math.MaxInt64/2 {
			return nil, nil, tooLarge(shape)
		}
		bytes[len(bytes)-1] *= 2
		shape = bytes
		f4, _ := values.Lookup("F4")
		from = plain{packed.Data, f4, false}
	case quant.Ints:
		u, err := unpack(packed, f.Shape, parts)
		if err != nil {
			return nil, nil, err
		}
		if said := m.SaidBits; said != 0 && said != uint64(u.bits) {
			return nil, nil, fmt.Errorf("config.json says %s, and %d columns in %s are of %d", plural.Of(said, "bit"), u.cols, plural.Of(u.words, "word"), u.bits)
		}
		from, bits, shape = u, u.bits, []int64{u.rows, u.cols}
	}
	if from == nil {
		typ, ok := values.Lookup(packed.Elem.DType)
		if !ok || typ.Parts != 1 {
			return nil, nil, fmt.Errorf("numbers of %s cannot be read", packed.Elem.DType)
		}
		from = plain{packed.Data, typ, packed.Elem.BigEndian}
	}
	if _, err := newArray(shape, Element{DType: "F64", Elems: 1, Bytes: 8}, nil); err != nil {
		return nil, nil, err
	}
	q := &weight{numbers: from, shape: shape}
	for _, s := range f.Steps {
		st, err := newStep(s.Action, parts[s.Tensor], shape, m, bits)
		if err != nil {
			return nil, nil, err
		}
		q.steps = append(q.steps, st)
	}
	if err := q.group(m.Said); err != nil {
		return nil, nil, err
	}
	return q, shape, nil
}

// group refuses scales that fewer or more inputs share than the configuration says, 0 for nothing. A
// scale of the whole weight may be beside those of its groups.
func (q *weight) group(said uint64) error {
	if said == 0 || len(q.shape) == 0 {
		return nil
	}
	cols := q.shape[len(q.shape)-1]
	want := int64(min(said, uint64(max(cols, 1))))
	for _, s := range q.steps {
		// The last group of a row may be cut.
		if s.use != quant.Minus && s.across == (cols-1)/want+1 {
			s.wide = want
			return nil
		}
	}
	s := q.steps[0]
	if i := slices.IndexFunc(q.steps, func(s *step) bool { return s.use != quant.Minus }); i >= 0 {
		s = q.steps[i]
	}
	if said == quant.WholeRow {
		return fmt.Errorf("config.json says that each row has one scale, and there %s %d", plural.Verb(int(s.across), "are"), s.across)
	}
	return fmt.Errorf("config.json says group_size %d, which is %s for %d columns, and there %s %d", said, plural.Of(int((cols-1)/want+1), "scale"), cols, plural.Verb(int(s.across), "are"), s.across)
}

func (q *weight) decode(dst []float64, first int64, to *values.Type, n *values.Rounding) error {
	if err := q.numbers.decode(dst, first, to, n); err != nil {
		return err
	}
	total := int64(1)
	for _, d := range q.shape {
		total *= d
	}
	dst = dst[:min(int64(len(dst)), total-first)]
	for _, s := range q.steps {
		if err := s.apply(dst, first, to); err != nil {
			return err
		}
	}
	return nil
}

// unpacked is integers in words of 32 bits, of which each row begins one.
type unpacked struct {
	src        io.ReaderAt
	bigEndian  bool
	bits       int64 // of an integer
	rows, cols int64
	words      int64 // of a row
}

// unpack finds out the width of integers from the shape of the matrix, which is a tensor.
func unpack(packed *Array, at int, parts []*Array) (*unpacked, error) {
	if at < 0 || len(packed.Shape) != 2 || packed.Elem.Bytes != 4 {
		return nil, fmt.Errorf("how many bits its numbers have is not known without weight_shape, and %s of the shape %v is no matrix that has one", packed.Elem.DType, packed.Shape)
	}
	if parts[at].Elements() != 2 {
		return nil, fmt.Errorf("weight_shape, %s of the shape %v, is not two numbers", parts[at].Elem.DType, parts[at].Shape)
	}
	dims, err := parts[at].Numbers()
	if err != nil {
		return nil, err
	}
	u := &unpacked{src: packed.Data, bigEndian: packed.Elem.BigEndian, rows: packed.Shape[0], words: packed.Shape[1]}
	if dims[0] != float64(u.rows) || dims[1] < 1 || dims[1] > 1<<48 {
		return nil, fmt.Errorf("weight_shape says %v by %v, and the words have %d rows", dims[0], dims[1], u.rows)
	}
	u.cols = int64(dims[1])
	for _, bits := range []int64{8, 4, 2, 1} {
		if each := 32 / bits; (u.cols-1)/each+1 == u.words {
			if u.bits != 0 {
				return nil, fmt.Errorf("%d words for each row of %d numbers may be of %d bits or %d", u.words, u.cols, u.bits, bits)
			}
			u.bits = bits
		}
	}
	if u.bits == 0 {
		return nil, fmt.Errorf("%d words are not what rows of %d numbers of 8, 4, 2 or 1 bits take", u.words, u.cols)
	}
	return u, nil
}

func (u *unpacked) block() int64 { return 1 }

func (u *unpacked) decode(dst []float64, first int64, _ *values.Type, _ *values.Rounding) error {
	each := 32 / u.bits
	for len(dst) > 0 {
		row, col := first/u.cols, first%u.cols
		k := min(u.cols-col, int64(len(dst)))
		if u.cols%each == 0 {
			k = int64(len(dst)) // rows follow each other without a gap
		}
		from, to := col/each, (col+k-1)/each+1
		src, back := raw(int(to-from) * 4)
		err := source.ReadFull(u.src, src, (row*u.words+from)*4)
		for i := range dst[:k] {
			in := col + int64(i) - from*each
			dst[i] = u.number(src[in/each*4:], in%each)
		}
		raws.Put(back)
		if err != nil {
			return err
		}
		dst, first = dst[k:], first+k
	}
	return nil
}

// number is one of those in a word.
func (u *unpacked) number(word []byte, at int64) float64 {
	w := binary.LittleEndian.Uint32(word)
	if u.bigEndian {
		w = binary.BigEndian.Uint32(word)
	}
	return integer(w, at, u.bits)
}

func integer(word uint32, at, bits int64) float64 {
	return float64(int64(word>>(at*bits)&(1<<bits-1)) - 1<<(bits-1))
}

// A step does something to each number of a weight with a number that some of them share.
type step struct {
	use          quant.Action
	src          plain
	count        int64 // of its numbers
	rows, cols   int64 // of a matrix of the weight
	high, wide   int64 // of a block that shares a number
	down, across int64 // how many blocks a matrix has; 0 down where all matrices share them
	// bits is the width of numbers that are packed in words, down the rows; 0 where
	// they are not packed.
	bits int64
}

// newStep finds out which elements of a module's weight share a number.
func newStep(use quant.Action, by *Array, shape []int64, m *quant.Module, bits int64) (*step, error) {
	n := len(shape)
	dtype := by.Elem.DType
	if use == quant.Times && dtype == "U8" {
		dtype = "F8_E8M0" // which libraries store like that
	}
	typ, ok := values.Lookup(dtype)
	if !ok || typ.BlockElems != 1 || typ.Parts != 1 || n < 1 {
		return nil, fmt.Errorf("scales of %s are not known", by.Elem.DType)
	}
	s := &step{use: use, src: plain{by.Data, typ, by.Elem.BigEndian}, count: int64(by.Elements()), rows: 1, cols: shape[n-1]}
	if n > 1 {
		s.rows = shape[n-2]
	}
	lead := shape[:max(n-2, 0)]
	dims := slices.Clone(by.Shape)
	misfit := fmt.Errorf("%s of the shape %v fit no weight of the shape %v", by.Elem.DType, by.Shape, shape)
	if dtype == "I32" && bits > 0 {
		// compressed_tensors/compressors/pack_quantized: zero points are packed along axis 0.
		s.bits = bits
		if len(dims) != 2 || (s.rows-1)/(32/bits)+1 != dims[0] {
			return nil, misfit
		}
		dims[0] = s.rows
	}
	switch {
	case s.count == 1 && s.bits == 0:
		s.down, s.across, s.high, s.wide = 0, 1, s.rows, s.cols
		return s, nil
	case len(lead) > 0 && slices.Equal(dims, lead):
		dims = append(dims, 1, 1) // one for each matrix
	case len(dims) == n-1 && slices.Equal(dims, shape[:n-1]):
		dims = append(dims, 1) // one for each row
	case len(dims) == n+1 && dims[n] == 1:
		dims = dims[:n] // musubi-tuner's fp8_optimization_utils.py: [rows, blocks, 1]
	}
	if n < 2 || len(dims) != n || !slices.Equal(dims[:n-2], lead) {
		return nil, misfit
	}
	var ok1, ok2 bool
	s.down, s.across = dims[n-2], dims[n-1]
	s.high, ok1 = shared(s.rows, s.down, m.BlockRows)
	s.wide, ok2 = shared(s.cols, s.across, m.BlockColumns)
	if !ok1 || !ok2 {
		return nil, misfit
	}
	return s, nil
}

// shared is how many elements of an axis share a number, of which there are some along it:
// as many as a side of a block has, where there are blocks.
func shared(length, numbers int64, block uint64) (int64, bool) {
	switch {
	case length <= 0 || numbers <= 0:
		return 1, numbers == length
	case block > math.MaxInt64:
		return length, numbers == 1
	case block > 0:
		return int64(block), numbers == (length-1)/int64(block)+1
	}
	return length / numbers, length%numbers == 0
}

// A page is some of the numbers of a step.
type page struct {
	first, n int64
	numbers  [1024]float64
}

var pages = sync.Pool{New: func() any { return new(page) }}

// turn returns the page with a number.
func (s *step) turn(p *page, at int64) error {
	if at >= p.first && at < p.first+p.n {
		return nil
	}
	p.first, p.n = at/int64(len(p.numbers))*int64(len(p.numbers)), 0
	n := min(int64(len(p.numbers)), s.count-p.first)
	if n <= 0 {
		return io.ErrUnexpectedEOF
	}
	var rounding values.Rounding
	if err := s.src.decode(p.numbers[:n], p.first, s.src.typ, &rounding); err != nil {
		return err
	}
	p.n = n
	return nil
}

// runs calls do for the elements from one on that share a number, with their number.
func (s *step) runs(first, count int64, do func(from, to int64, by float64)) error {
	p := pages.Get().(*page)
	defer pages.Put(p)
	p.n = 0
	for done := int64(0); done < count; {
		line, col := (first+done)/s.cols, (first+done)%s.cols
		row := line % s.rows
		k := min(s.cols-col, s.wide-col%s.wide, count-done)
		at, word := int64(0), int64(0)
		switch {
		case s.down == 0:
			k = count - done
		case s.bits > 0:
			at, word = row/(32/s.bits)*s.across+col/s.wide, row%(32/s.bits)
		default:
			at = (line/s.rows*s.down+row/s.high)*s.across + col/s.wide
		}
		if err := s.turn(p, at); err != nil {
			return err
		}
		by := p.numbers[at-p.first]
		if s.bits > 0 {
			by = integer(uint32(int32(by)), word, s.bits)
		}
		do(done, done+k, by)
		done += k
	}
	return nil
}

// apply does it to elements from one on, which are then written as a type. What no float64
// holds is made ready to be rounded again. A product of an element of at most 8 bits
// and of scales of 24 and 8 is exact.
func (s *step) apply(dst []float64, first int64, to *values.Type) error {
	nearest := to.BlockBytes == 8
	return s.runs(first, int64(len(dst)), func(from, end int64, by float64) {
		part := dst[from:end]
		switch {
		case s.use == quant.Minus:
			for i := range part {
				part[i] -= by
			}
		case s.use == quant.Over:
			for i, v := range part {
				part[i] = v / by
				if rest := math.FMA(-part[i], by, v); !nearest && rest != 0 {
					part[i] = values.Sticky(part[i], rest*math.Copysign(1, by))
				}
			}
		case s.src.typ.BlockBytes == 8 && !nearest:
			for i, v := range part {
				part[i] = values.Sticky(v*by, math.FMA(v, by, -v*by))
			}
		default:
			for i := range part {
				part[i] *= by
			}
		}
	})
}

// WithScales gives the elements of a module's floating-point weight, one number each, with
// their scales before them, as [values.Scaled] has them.
func WithScales(m *quant.Module, w, scales *Array) (*Array, error) {
	typ, ok := values.Lookup(w.Elem.DType)
	if !ok || typ.BlockElems != 1 || typ.Parts != 1 {
		return nil, fmt.Errorf("elements of %s have no scales of their own", w.Elem.DType)
	}
	s, err := newStep(quant.Times, scales, w.Shape, m, 0)
	if err != nil {
		return nil, err
	}
	e := Element{DType: values.Scaled(typ).Name, Elems: 1, Bytes: w.Elem.Bytes + values.ScaledBytes}
	return newArray(w.Shape, e, &withScales{plain{w.Data, typ, w.Elem.BigEndian}, s})
}

type withScales struct {
	plain
	step *step
}

func (r *withScales) ReadAt(p []byte, off int64) (int, error) {
	size := int64(r.typ.BlockBytes)
	each := size + values.ScaledBytes
	return byElements(p, off, each, func(p []byte, first int64, _ bool) error {
		for len(p) > 0 {
			n := min(int64(len(p))/each, window)
			codes, back := raw(int(n * size))
			err := source.ReadFull(r.src, codes, first*size)
			if err != nil {
				raws.Put(back)
				return err
			}
			if r.bigEndian {
				r.typ.Swap(codes)
			}
			err = r.step.runs(first, n, func(from, to int64, by float64) {
				bits := math.Float32bits(float32(by))
				for i := from; i < to; i++ {
					binary.LittleEndian.PutUint32(p[i*each:], bits)
					copy(p[i*each+values.ScaledBytes:], codes[i*size:(i+1)*size])
				}
			})
			raws.Put(back)
			if err != nil {
				return err
			}
			p, first = p[n*each:], first+n
		}
		return nil
	})
}
