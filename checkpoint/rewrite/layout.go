package rewrite

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A slot is a tensor of a new safetensors file.
type slot struct {
	name     string
	dtype    string
	shape    []uint64
	from     int   // the tensor of the old file that it is, or stands in the place of
	made     *made // nil for a tensor that is kept
	alone    bool  // made of one tensor, which becomes no other
	size, at int64
	old      int64 // where a kept tensor is, from the start of the old data
}

func (s *slot) piece(dataOffset int64, src io.ReaderAt) image.Piece {
	if s.made != nil {
		return image.Piece{Name: s.name, Src: s.made.Data, Size: s.size, At: s.at}
	}
	return image.Piece{Name: s.name, Src: src, Off: dataOffset + s.old, Size: s.size, At: s.at}
}

// layout returns the tensors of a new file in the order of its header. Those
// that are kept stay in their order; those that are made go where the first of
// what they are made of was. A file that the reference implementation could
// have written, which orders by dtype and name, remains one when tensors are
// taken apart or joined, so that there and back again gives the same file; and any
// becomes one when a tensor gets another dtype.
func layout(f *safetensors.File, c change) []slot {
	var slots []slot
	regular, recast := false, false
	for i, t := range f.All() {
		if tr := c.made[i]; tr != nil {
			for k := range tr.made {
				m := &tr.made[k]
				slots = append(slots, slot{name: m.name, dtype: m.Elem.DType, shape: m.Dims(), from: i, made: m, alone: tr.single(), size: m.Size()})
			}
			regular = regular || !tr.single()
			recast = recast || slices.ContainsFunc(tr.made, func(m made) bool { return m.Elem.DType != string(t.DType) })
			continue
		}
		if name, keep := c.name(i); keep {
			slots = append(slots, slot{name: name, dtype: string(t.DType), shape: t.Shape, from: i, size: int64(t.End - t.Begin), old: int64(t.Begin)})
		}
	}
	if !c.anew() {
		for i := range slots {
			slots[i].at = slots[i].old
		}
		return slots
	}
	// The order by dtype also has every element at a multiple of its size.
	if recast || regular && isRegular(f) {
		sortSlots(slots)
		at := int64(0)
		for i := range slots {
			slots[i].at = at
			at += slots[i].size
		}
		return slots
	}
	order := make([]int, len(slots))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		s, t := f.At(slots[a].from), f.At(slots[b].from)
		return cmp.Or(cmp.Compare(s.Begin, t.Begin), cmp.Compare(s.End, t.End))
	})
	at := int64(0)
	for _, i := range order {
		slots[i].at = at
		at += slots[i].size
	}
	return slots
}

// isRegular reports whether a file has the order of the reference.
func isRegular(f *safetensors.File) bool {
	tensors := make([]safetensors.Tensor, 0, f.Len())
	for _, t := range f.All() {
		tensors = append(tensors, t)
	}
	return slices.EqualFunc(tensors, safetensors.Layout(tensors), func(a, b safetensors.Tensor) bool {
		return a.Name == b.Name && a.Begin == b.Begin && a.End == b.End
	})
}

// sortSlots puts slots into the order of the reference.
func sortSlots(slots []slot) {
	tensors := make([]safetensors.Tensor, len(slots))
	byName := make(map[string]slot, len(slots))
	for i, s := range slots {
		tensors[i] = safetensors.Tensor{Name: s.name, DType: safetensors.DType(s.dtype), Shape: s.shape}
		byName[s.name] = s
	}
	for i, t := range safetensors.Layout(tensors) {
		slots[i] = byName[t.Name]
	}
}

// spliceSlots writes the header's JSON for the slots. What the members of
// tensors say besides goes on to be said, but for those of tensors that were
// taken apart or joined.
func spliceSlots(f *safetensors.File, slots []slot) []byte {
	text := f.Header()
	byStart := make(map[int]int, f.Len())
	for i := range f.All() {
		start, _ := f.NameSpan(i)
		byStart[start] = i
	}
	list, end := members(text, 0)
	memberOf := make([]member, f.Len())
	for _, m := range list {
		if i, ok := byStart[m.nameStart]; ok {
			memberOf[i] = m
		}
	}
	inOrder := slices.IsSortedFunc(slots, func(a, b slot) int { return cmp.Compare(a.from, b.from) })
	if !inOrder {
		// Another order: all tensors are written behind the metadata.
		var added [][]byte
		for i := range slots {
			added = append(added, slots[i].member(f, text, memberOf[slots[i].from]))
		}
		return rewriteObject(text, list, end, func(m member) ([]byte, bool) {
			_, tensor := byStart[m.nameStart]
			return nil, !tensor
		}, added)
	}
	var sep []byte
	if len(list) > 1 {
		sep = text[list[0].end:list[1].nameStart]
	} else {
		sep = []byte(",")
	}
	return rewriteObject(text, list, end, func(m member) (out []byte, keep bool) {
		i, ok := byStart[m.nameStart]
		if !ok {
			return nil, true // __metadata__
		}
		for len(slots) > 0 && slots[0].from == i {
			if keep {
				out = append(out, sep...)
			}
			out = append(out, slots[0].member(f, text, m)...)
			slots, keep = slots[1:], true
		}
		return out, keep
	}, nil)
}

// member writes the header's entry of a slot; m is that of the tensor in whose
// place it is.
func (s *slot) member(f *safetensors.File, text []byte, m member) []byte {
	offsets := fmt.Appendf(nil, "[%d,%d]", s.at, s.at+s.size)
	shape := []byte{'['}
	for i, d := range s.shape {
		if i > 0 {
			shape = append(shape, ',')
		}
		shape = fmt.Append(shape, d)
	}
	shape = append(shape, ']')
	if s.made != nil && !s.alone {
		return fmt.Appendf(nil, `%s:{"dtype":%s,"shape":%s,"data_offsets":%s}`, quote(s.name), quote(s.dtype), shape, offsets)
	}
	var splices []splice
	if s.name != f.At(s.from).Name {
		splices = append(splices, splice{m.nameStart, m.nameEnd, quote(s.name)})
	}
	fields, _ := members(text, m.start)
	if v, ok := lookup(text, fields, "data_offsets"); ok {
		splices = append(splices, splice{v.start, v.end, offsets})
	}
	if v, ok := lookup(text, fields, "shape"); ok && s.made != nil {
		splices = append(splices, splice{v.start, v.end, shape})
	}
	if v, ok := lookup(text, fields, "dtype"); ok && s.dtype != string(f.At(s.from).DType) {
		splices = append(splices, splice{v.start, v.end, quote(s.dtype)})
	}
	slices.SortFunc(splices, func(a, b splice) int { return cmp.Compare(a.start, b.start) })
	for i := range splices {
		splices[i].start -= m.nameStart
		splices[i].end -= m.nameStart
	}
	return apply(text[m.nameStart:m.end], splices)
}
