package compare

import (
	"encoding/binary"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/values"
)

// scaleLeaves are the names of what FP8 weights are multiplied with. Sources: DeepSeek-V3
// inference/kernel.py weight_dequant (weight_scale_inv, of blocks of 128 by 128, is not an
// inverse), compressed-tensors (weight_scale), ComfyUI comfy/ops.py fp8_linear (scale_weight).
var scaleLeaves = []string{".weight_scale_inv", ".weight_scale", ".scale_weight"}

// scaleBlock is the side of the blocks that have a scale.
const scaleBlock = 128

// applyScales has FP8 weights compared with others as the numbers that they stand for.
func (c *comparison) applyScales() {
	for _, list := range [][]*tensor{c.as, c.bs} {
		byName := make(map[string]*tensor)
		for _, t := range list {
			byName[t.own] = t
		}
		applied := false
		for _, t := range list {
			if t.pair == nil || !isF8(t.dtype) || isF8(t.pair.a.dtype) == isF8(t.pair.b.dtype) ||
				t.err != nil || t.build != nil || t.sources != nil || len(t.layout) > 0 || t.section.Type == nil {
				continue
			}
			module, _, ok := quant.Split(t.own)
			if !ok {
				continue
			}
			for _, leaf := range scaleLeaves {
				s := byName[module+leaf]
				if s == nil || s.pair != nil || s.err != nil || s.section.Type == nil {
					continue
				}
				section, ok := scaledSection(t, s)
				if !ok {
					continue
				}
				t.section, s.reason, applied = section, "multiplied into the weight", true
				for _, leaf := range []string{".input_scale", ".scale_input"} {
					if a := byName[module+leaf]; a != nil && a.pair == nil {
						a.reason = "of the activations, which the other side does not quantise"
					}
				}
				break
			}
		}
		for _, name := range quant.Markers() {
			if m := byName[name]; applied && m != nil && m.pair == nil {
				m.reason = "says only that the file is quantised"
			}
		}
	}
}

func isF8(dtype string) bool {
	return strings.HasPrefix(dtype, "F8_E4M3") || strings.HasPrefix(dtype, "F8_E5M2")
}

// scaledSection is a weight's elements with the scale of each, and false where the scales
// are of no tensor, row or block of it.
func scaledSection(w, s *tensor) (values.Section, bool) {
	n := len(w.shape)
	if n < 2 || slices.Contains(w.shape, 0) {
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
