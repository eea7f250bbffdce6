package assemble

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/safetensors"
)

// splitPad is what gguf-split rounds the sizes of tensors up to, whatever the
// alignment of the file (tools/gguf-split/gguf-split.cpp in llama.cpp, split_strategy).
const splitPad = 32

// maxFiles is how many files a set may have: safetensors indexes of more shards are
// not read here, and GGUF counts its parts in 16 bits.
var maxFiles = map[checkpoint.Format]int{checkpoint.Safetensors: 10_000, checkpoint.GGUF: 1<<16 - 1}

// maxDims is GGML_MAX_DIMS in ggml.h.
const maxDims = 4

// A part is the tensors of one file, by their place among all.
type part struct {
	from, to int
	over     bool // one tensor that is larger than a file is to be
}

// parts fills one file after the other. huggingface_hub
// (serialization/_base.py, split_state_dict_into_shards_factory) does the same, but
// leaves the file before a tensor that is too large open for those behind it, which
// would change their order.
func (s *Spec) parts() []part {
	most := s.Layout.MaxShardSize
	if most <= 0 {
		return []part{{0, len(s.Tensors), false}}
	}
	var out []part
	size := int64(0)
	for i, t := range s.Tensors {
		n := t.Size
		if s.Format == checkpoint.GGUF {
			n = image.RoundUp(n, splitPad)
		}
		if last := len(out) - 1; last < 0 || out[last].over || n > most || size > most-n {
			out = append(out, part{i, i, n > most})
			size = 0
		}
		out[len(out)-1].to++
		size += n
	}
	return out
}

// names are those of the files of a directory.
func (s *Spec) names(n int) []string {
	base := cmp.Or(s.Layout.Base, "model")
	if n == 1 {
		return []string{base + suffix(s.Format)}
	}
	names := make([]string, n)
	for i := range names {
		if s.Format == checkpoint.GGUF {
			names[i] = gguf.SplitName(base, i+1, n)
		} else {
			names[i] = fmt.Sprintf("%s-%05d-of-%05d.safetensors", base, i+1, n)
		}
	}
	return names
}

func suffix(f checkpoint.Format) string {
	if f == checkpoint.GGUF {
		return ".gguf"
	}
	return ".safetensors"
}

// A draft is a file to be: its header, and which tensor's data is where behind it.
type draft struct {
	header []byte
	size   int64   // of the whole file
	at     []int64 // of each tensor's data, from the end of the header
	order  []int   // the tensors by their places
}

// safetensorsFile makes the header of a safetensors file.
func safetensorsFile(tensors []Tensor, metadata []checkpoint.MetaKV) (*draft, error) {
	d := &draft{at: make([]int64, len(tensors)), order: make([]int, len(tensors))}
	list := make([]safetensors.Tensor, len(tensors))
	for i := range tensors {
		t := &tensors[i]
		d.order[i] = i
		list[i] = safetensors.Tensor{Name: t.Name, DType: safetensors.DType(t.DType), Shape: t.Shape}
		if n, ok := list[i].Bytes(); ok && n != uint64(t.Size) {
			return nil, fmt.Errorf("tensor %q: %s of shape %v has %d bytes, not %d", t.Name, t.DType, t.Shape, n, t.Size)
		}
	}
	if !aligned(list, tensors) {
		// Readers that map a file want elements at multiples of their size, which the order
		// by size gives; the header keeps its order.
		slices.SortStableFunc(d.order, func(a, b int) int { return cmp.Compare(width(list[b].DType), width(list[a].DType)) })
	}
	end := int64(0)
	for _, i := range d.order {
		d.at[i] = end
		end += tensors[i].Size
		list[i].Begin, list[i].End = uint64(d.at[i]), uint64(end)
	}
	var meta []safetensors.KV
	for _, m := range metadata {
		if m.Value != nil {
			return nil, fmt.Errorf("metadata key %q has a value of GGUF, and safetensors has strings", m.Key)
		}
		meta = append(meta, safetensors.KV{Key: m.Key, Value: m.Text})
	}
	var err error
	d.header, err = safetensors.EncodeHeader(list, meta, &safetensors.EncodeOptions{Room: func(least int64) int64 {
		return image.Fresh(least, safetensors.MaxHeader+8)
	}})
	if err != nil {
		return nil, err
	}
	d.size = int64(len(d.header)) + end
	f, err := safetensors.NewFile(image.Headed(d.header, d.size), d.size)
	if err != nil {
		return nil, err
	}
	for _, fault := range f.Validate() {
		// A dtype of tomorrow is copied as it is.
		if fault.Severity == safetensors.Error && !errors.Is(fault, safetensors.ErrUnsupported) {
			return nil, fault
		}
	}
	return d, nil
}

// width is the size of an element in bytes, 1 for those of less and for unknown ones.
func width(t safetensors.DType) int64 {
	bits, _ := t.Bits()
	return max(1, bits/8)
}

// aligned reports whether every tensor begins at a multiple of its element when they
// follow one another as they are.
func aligned(list []safetensors.Tensor, tensors []Tensor) bool {
	at := int64(0)
	for i := range list {
		if at%width(list[i].DType) != 0 {
			return false
		}
		at += tensors[i].Size
	}
	return true
}

// Alignment is the value of general.alignment, of which false is not one that files are
// written with: ggml reads powers of two alone (gguf.cpp, gguf_init_from_file_impl).
func Alignment(kv checkpoint.MetaKV) (int64, bool) {
	if kv.Value == nil {
		return 0, false
	}
	n, ok := kv.Value.Uint()
	return int64(n), ok && n != 0 && n <= image.MaxAlignment && n&(n-1) == 0
}

// ggufFile makes the header of a GGUF file, of version 3 and little-endian. no is its
// number among of files, from 0, which have total tensors together.
func ggufFile(tensors []Tensor, metadata []checkpoint.MetaKV, no, of, total int) (*draft, error) {
	var kvs []gguf.KV
	alignment := int64(splitPad) // GGUF_DEFAULT_ALIGNMENT
	for _, m := range metadata {
		if m.Value == nil {
			return nil, fmt.Errorf("metadata key %q is of safetensors, and has no value of GGUF", m.Key)
		}
		if m.Key == "general.alignment" {
			n, ok := Alignment(m)
			if !ok {
				return nil, fmt.Errorf("general.alignment must be a power of two up to %d", image.MaxAlignment)
			}
			alignment = n
		} else if no > 0 {
			continue // the first file says everything, the others how to read them
		}
		if !strings.HasPrefix(m.Key, "split.") {
			kvs = append(kvs, gguf.KV{Key: m.Key, Value: *m.Value})
		}
	}
	if of > 1 {
		// The keys, their types and that the others have no more: new_ctx_out in
		// tools/gguf-split/gguf-split.cpp of llama.cpp.
		kvs = append(kvs,
			gguf.KV{Key: "split.no", Value: gguf.ValueOf(uint16(no))},
			gguf.KV{Key: "split.count", Value: gguf.ValueOf(uint16(of))},
			gguf.KV{Key: "split.tensors.count", Value: gguf.ValueOf(int32(total))})
	}
	list := make([]gguf.Tensor, len(tensors))
	d := &draft{at: make([]int64, len(tensors)), order: make([]int, len(tensors))}
	for i := range tensors {
		t := &tensors[i]
		typ, ok := gguf.ParseTensorType(t.DType)
		if !ok {
			return nil, fmt.Errorf("tensor %q: GGUF has no type %s", t.Name, t.DType)
		}
		if n := len(t.Shape); n > maxDims {
			return nil, fmt.Errorf("tensor %q: it has %d dimensions, and GGUF has %d at most", t.Name, n, maxDims)
		}
		dims := slices.Clone(t.Shape)
		slices.Reverse(dims)
		if len(dims) == 0 {
			dims = []uint64{1}
		}
		list[i] = gguf.Tensor{Name: t.Name, Type: typ, Dims: dims}
		d.order[i] = i
	}
	list, err := gguf.Layout(list, alignment)
	if err != nil {
		return nil, err
	}
	end := int64(0)
	for i := range list {
		if list[i].Bytes != uint64(tensors[i].Size) {
			return nil, fmt.Errorf("tensor %q: %s of shape %v has %d bytes, not %d", list[i].Name, tensors[i].DType, tensors[i].Shape, list[i].Bytes, tensors[i].Size)
		}
		d.at[i] = int64(list[i].Offset)
		end = image.RoundUp(d.at[i]+tensors[i].Size, alignment) // gguf.cpp pads the last tensor, too
	}
	if d.header, err = gguf.EncodeHeader(3, nil, kvs, list, nil); err != nil {
		return nil, err
	}
	d.size = int64(len(d.header)) + end
	f, err := gguf.NewFile(image.Headed(d.header, d.size), d.size)
	if err != nil {
		return nil, err
	}
	for _, fault := range f.Validate() {
		if fault.Severity == gguf.Error {
			return nil, &fault
		}
	}
	return d, nil
}

// draft makes the header of one of the files.
func (s *Spec) draft(p part, no, of int) (*draft, error) {
	if s.Format == checkpoint.GGUF {
		return ggufFile(s.Tensors[p.from:p.to], s.Metadata, no, of, len(s.Tensors))
	}
	return safetensorsFile(s.Tensors[p.from:p.to], s.Metadata)
}

// tooMany is why a set cannot have so many files, "" when it can.
func (s *Spec) tooMany(n int) string {
	if most := maxFiles[s.Format]; n > most {
		return fmt.Sprintf("would be %s, and readers take %d at most; allow more bytes in each", plural.Of(n, "file"), most)
	}
	return ""
}
