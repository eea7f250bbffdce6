package arrays

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// scaleBlock is how many rows and columns share a scale where the shapes leave that open
// (config.json of DeepSeek-V3: weight_block_size [128, 128]).
const scaleBlock = 128

// Dequantise gives the numbers of a module's weight: parts are the arrays of its tensors, in
// their order. Every number is the element times its scale, rounded once to the dtype. The
// name is that of the tensor that the module then has. The error says why the numbers
// cannot be worked out.
//
// Elements are multiplied with scales by all of these: DeepSeek-V3's
// inference/kernel.py (weight_dequant), transformers' integrations/finegrained_fp8.py,
// compressed_tensors/quantization/lifecycle/forward.py (_dequantize), ComfyUI's
// scaled_fp8_ops, ModelOpt. MXFP4 is OCP's: two elements in a byte, the low bits first, and an
// exponent for 32 of them. What gpt-oss calls _blocks has the inputs in the last axes, and the
// weight has them in the last but one (transformers, integrations/mxfp4.py, convert_moe_packed_tensors).
func (w *Workspace) Dequantise(m *quant.Module, parts []*Array, dtype string, tally *Tally) (name string, a *Array, err error) {
	weight, scale := m.WeightAt(), m.Scale()
	if weight < 0 || scale == nil {
		return "", nil, fmt.Errorf("its scheme %s is not one of weights that are multiplied with a scale", m.Scheme.Name)
	}
	at := slices.IndexFunc(m.Tensors, func(t quant.Tensor) bool { return t.Leaf == scale.Leaf })
	for i := range m.Tensors {
		if leaf := m.Tensors[i].Leaf; i != weight && i != at && !static(leaf) {
			return "", nil, fmt.Errorf("%s has %s beside the scale, and its numbers cannot be worked out here", m.Scheme.Name, leaf)
		}
	}
	s := &scaled{scales: parts[at]}
	packed := parts[weight]
	shape := slices.Clone(packed.Shape)
	leaf, gptOSS := m.Tensors[weight].Leaf, false
	elem := packed.Elem
	switch {
	case m.Scheme.Name == "mxfp4":
		if n := len(shape); strings.HasSuffix(leaf, "blocks") && n > 2 && shape[n-1] == 16 && shape[n-2] < math.MaxInt64/32 {
			shape = append(shape[:n-2], shape[n-2]*32)
			gptOSS = true
		} else if n > 0 && elem.DType != "F4" && shape[n-1] < math.MaxInt64/2 {
			shape[n-1] *= 2
		}
		elem = Element{DType: "F4", Elems: 2, Bytes: 1}
		leaf = strings.TrimSuffix(strings.TrimSuffix(leaf, "_packed"), "_blocks")
	case quant.Is8Bit(elem.DType) || elem.DType == "I8" && strings.HasPrefix(m.Scheme.Name, "int8-"):
	default:
		return "", nil, fmt.Errorf("numbers of the scheme %s cannot be worked out here", m.Scheme.Name)
	}
	typ, ok := values.Lookup(elem.DType)
	if !ok || len(shape) < 2 {
		return "", nil, fmt.Errorf("a weight of %s and shape %v has no scales that are known", elem.DType, packed.Shape)
	}
	whole, err := newArray(shape, elem, packed.Data)
	if err != nil {
		return "", nil, err
	}
	if whole.Size() != packed.Size() {
		return "", nil, fmt.Errorf("its shape %v is not that of %s", packed.Shape, m.Scheme.Name)
	}
	s.plain = plain{packed.Data, typ, packed.Elem.BigEndian}
	if err := s.lay(shape); err != nil {
		return "", nil, err
	}
	if a, err = encode(shape, s, dtype, tally); err != nil {
		return "", nil, err
	}
	if gptOSS {
		axes := make([]int, len(shape))
		for i := range axes {
			axes[i] = i
		}
		n := len(axes)
		axes[n-1], axes[n-2] = n-2, n-1
		out, _, err := w.Operate(tensorop.Op{Kind: tensorop.Transpose, Axes: axes, Count: 1}, []*Array{a})
		if err != nil {
			return "", nil, err
		}
		a = out[0]
	}
	return joined(m.Name, leaf), a, nil
}

// joined is the name of a tensor of a module.
func joined(module, leaf string) string {
	if leaf == "" || strings.HasPrefix(leaf, "_") {
		return module + leaf
	}
	if leaf == "blocks" {
		return module
	}
	if module == "" {
		return leaf
	}
	return module + "." + leaf
}

// static reports whether a tensor is about what goes into a module, and not about its
// weight.
func static(leaf string) bool {
	return strings.Contains(leaf, "input_scale") || slices.Contains([]string{"activation_scale", "scale_input", "qscale_act", "comfy_quant", "scaled_fp8"}, leaf)
}

// scaled is the elements of a weight, each times its scale.
type scaled struct {
	plain
	scales       *Array
	typ          *values.Type // of the scales
	rows, cols   int64        // of a matrix
	high, wide   int64        // of a block of elements that share a scale
	down, across int64        // how many blocks a matrix has
	one          bool         // scale for all

	mu  sync.Mutex
	row int64 // of blocks, whose scales these are
	of  []float64
}

// lay finds out which elements share a scale.
func (s *scaled) lay(shape []int64) error {
	n := len(shape)
	dims := slices.Clone(s.scales.Shape)
	dtype := s.scales.Elem.DType
	if dtype == "U8" {
		dtype = "F8_E8M0" // as libraries store it
	}
	typ, ok := values.Lookup(dtype)
	if !ok || typ.BlockElems != 1 || typ.Parts != 1 {
		return fmt.Errorf("scales of %s are not known", s.scales.Elem.DType)
	}
	s.typ, s.rows, s.cols, s.row = typ, shape[n-2], shape[n-1], -1
	count := int64(1)
	for _, d := range dims {
		count *= max(d, 1)
	}
	switch {
	case count == 1:
		s.one = true
		dims = slices.Repeat([]int64{1}, n)
	case len(dims) == n-1 && slices.Equal(dims, shape[:n-1]):
		dims = append(dims, 1) // one for each row
	}
	misfit := fmt.Errorf("scales of the shape %v fit no weight of the shape %v", s.scales.Shape, shape)
	if len(dims) != n || !s.one && !slices.Equal(dims[:n-2], shape[:n-2]) {
		return misfit
	}
	var ok1, ok2 bool
	s.down, s.across = dims[n-2], dims[n-1]
	s.high, ok1 = shared(s.rows, s.down)
	s.wide, ok2 = shared(s.cols, s.across)
	if !ok1 || !ok2 {
		return misfit
	}
	return nil
}

// shared is how many elements of an axis share a scale, of which there are some along it.
func shared(length, scales int64) (int64, bool) {
	switch {
	case scales <= 0 || length <= 0:
		return 1, scales == length
	case scales == 1:
		return length, true
	case scales == (length-1)/scaleBlock+1:
		return scaleBlock, true
	case length%scales == 0:
		return length / scales, true
	}
	return 0, false
}

// decode implements numbers. A product of an element and a scale has at most 53 bits, and
// is exact.
func (s *scaled) decode(dst []float64, first int64, to *values.Type, n *values.Rounding) error {
	if err := s.plain.decode(dst, first, to, n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for done := int64(0); done < int64(len(dst)); {
		line, col := (first+done)/s.cols, (first+done)%s.cols
		row := int64(0)
		if !s.one {
			row = line/s.rows*s.down + line%s.rows/s.high
		}
		if err := s.load(row); err != nil {
			return err
		}
		block := col / s.wide
		k := min(s.cols-col, s.wide-col%s.wide, int64(len(dst))-done)
		by := s.of[block]
		for i := done; i < done+k; i++ {
			dst[i] *= by
		}
		done += k
	}
	return nil
}

// load reads the scales of a row of blocks.
func (s *scaled) load(row int64) error {
	if row == s.row {
		return nil
	}
	size := int64(s.typ.BlockBytes)
	b := make([]byte, s.across*size)
	if err := source.ReadFull(s.scales.Data, b, row*s.across*size); err != nil {
		return err
	}
	if s.scales.Elem.BigEndian {
		s.typ.Swap(b)
	}
	if int64(len(s.of)) != s.across {
		s.of = make([]float64, s.across)
	}
	s.typ.Decode64(s.of, b)
	s.row = row
	return nil
}
