package compare

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/values"
)

// scaleBlock is the side of the blocks that have a scale.
const scaleBlock = 128

// halfF8 reports whether a tensor is compared with one of which only one is FP8.
func (t *tensor) halfF8() bool {
	return t.pair != nil && quant.Is8Bit(t.pair.a.dtype) != quant.Is8Bit(t.pair.b.dtype)
}

// applyScales has FP8 weights compared with others as the numbers that they stand for: every
// scheme of package quant multiplies them with its scale. What it cannot apply, or is not to
// since values are not read, is noted.
func (c *comparison) applyScales() {
	for _, side := range []struct {
		list []*tensor
		of   *checkpoint.Checkpoint
	}{{c.as, c.a}, {c.bs, c.b}} {
		if !slices.ContainsFunc(side.list, (*tensor).halfF8) {
			continue
		}
		survey := quant.NewSurvey(len(side.list))
		for _, t := range side.list {
			survey.Add(t.own, t.dtype, t.shape)
		}
		report := survey.Report(nil)
		left, applied := 0, false
		for _, m := range report.Modules {
			if m.Scheme == nil || m.Scale() == nil {
				continue
			}
			w, s := side.list[m.Tensors[m.WeightAt()].Index], side.list[m.Scale().Index]
			if !quant.Is8Bit(w.dtype) || !w.halfF8() || s.pair != nil {
				continue
			}
			section, ok := scaledSection(w, s)
			if !ok || c.opt.Headers {
				left++
				continue
			}
			w.section, s.reason, applied = section, "multiplied into the weight", true
			for i := range m.Tensors {
				if t := side.list[m.Tensors[i].Index]; t.pair == nil && t != s {
					t.reason = "of an FP8 weight, which the other side does not have"
				}
			}
		}
		for _, t := range side.list {
			if applied && t.pair == nil && slices.Contains(report.Markers, t.own) {
				t.reason = "says only that the file is quantised"
			}
		}
		if left > 0 {
			c.note("%s: weights that are FP8 with scales beside them (x%d) are compared as they are stored, without the scales", side.of.Path, left)
		}
	}
}

// scaledSection is a weight's elements with the scale of each, and false where the scales
// are of no tensor, row or block of it.
func scaledSection(w, s *tensor) (values.Section, bool) {
	n := len(w.shape)
	usable := func(t *tensor) bool {
		return t.err == nil && t.build == nil && t.sources == nil && t.section.Type != nil
	}
	if n < 2 || slices.Contains(w.shape, 0) || !usable(w) || len(w.layout) > 0 || !usable(s) || !strings.HasPrefix(s.dtype, "F") && s.dtype != "BF16" {
		return values.Section{}, false
	}
	r := &scaledElements{codes: w.section.Data, size: int64(w.section.Type.BlockBytes), rows: int64(w.shape[n-2]), cols: int64(w.shape[n-1])}
	shape := s.shape
	switch {
	case len(shape) == 0 || len(shape) == 1 && shape[0] == 1:
		// One scale of all, which the leading axes share.
		shape = slices.Repeat([]uint64{1}, n)
	case len(shape) == 1 && n == 2 && shape[0] == w.shape[0]:
		shape = []uint64{shape[0], 1}
	}
	if len(shape) != n {
		return values.Section{}, false
	}
	whole := !slices.ContainsFunc(shape, func(d uint64) bool { return d != 1 })
	if !whole && !slices.Equal(shape[:n-2], w.shape[:n-2]) {
		return values.Section{}, false
	}
	var ok1, ok2 bool
	r.high, ok1 = blockOf(w.shape[n-2], shape[n-2])
	r.wide, ok2 = blockOf(w.shape[n-1], shape[n-1])
	if !ok1 || !ok2 {
		return values.Section{}, false
	}
	r.down, r.across, r.whole = int64(shape[n-2]), int64(shape[n-1]), whole
	b, err := io.ReadAll(io.NewSectionReader(s.section.Data, 0, s.section.Data.Size()))
	if err != nil || s.section.Type.BlockElems != 1 || s.section.BigEndian {
		return values.Section{}, false
	}
	r.scales = make([]float32, len(b)/s.section.Type.BlockBytes)
	s.section.Type.Decode(r.scales, b)
	size := w.section.Data.Size() / r.size * (r.size + values.ScaledBytes)
	return values.Section{Name: w.own, Type: values.Scaled(w.section.Type), Data: io.NewSectionReader(r, 0, size)}, len(r.scales) > 0
}

// blockOf is how many elements of an axis share a scale, of which there are some along it.
func blockOf(length, scales uint64) (int64, bool) {
	switch scales {
	case length:
		return 1, true
	case 1:
		return int64(length), true
	case (length-1)/scaleBlock + 1:
		return scaleBlock, true
	}
	return 0, false
}

// scaledElements reads elements with their scales before them, as [values.Scaled] has them.
type scaledElements struct {
	codes        *io.SectionReader
	size         int64 // of an element
	scales       []float32
	rows, cols   int64
	high, wide   int64 // of a block
	down, across int64 // how many blocks there are
	whole        bool  // one scale for all
}

func (r *scaledElements) ReadAt(p []byte, off int64) (int, error) {
	each := r.size + values.ScaledBytes
	first, last := off/each, (off+int64(len(p))+each-1)/each
	codes := make([]byte, (last-first)*r.size)
	if n, err := r.codes.ReadAt(codes, first*r.size); n < len(codes) {
		return 0, err
	}
	out := make([]byte, 0, (last-first)*each)
	for i := first; i < last; i++ {
		at := int64(0)
		if !r.whole {
			row, col := i/r.cols, i%r.cols
			at = (row/r.rows*r.down+row%r.rows/r.high)*r.across + col/r.wide
		}
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(r.scales[at]))
		out = append(out, codes[(i-first)*r.size:(i-first+1)*r.size]...)
	}
	return copy(p, out[off-first*each:]), nil
}
