package rewrite

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A naming gives the tensors of one file their new names, by their place in
// its header. A tensor that is not kept is dropped.
type naming func(i int) (name string, keep bool)

// A change is what becomes of one file.
type change struct {
	name  naming
	drops bool
	// made is what stands in the place of tensors that operations take, by the
	// first of them.
	made     map[int]*transform
	metadata []Metadata
	// total, when not negative, is how many tensors a split has from now on.
	total int64
}

// anew reports whether the data has to be laid out again.
func (c *change) anew() bool { return c.drops || len(c.made) > 0 }

// fileEdit makes the edit of one file of a checkpoint. src is the open file.
func fileEdit(cf *checkpoint.File, src io.ReaderAt, st txn.Stat, c change) (*edit, error) {
	e := &edit{name: cf.Name, old: st}
	var header []byte
	var err error
	switch {
	case cf.Safetensors() != nil:
		header, err = editSafetensors(e, cf.Safetensors(), src, c)
	case cf.GGUF() != nil:
		header, err = editGGUF(e, cf.GGUF(), src, c)
	default:
		err = errors.New("it is not open")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cf.Name, err)
	}
	// What the checkpoint was opened with must be what the file still holds.
	now := make([]byte, e.dataOffset)
	if err := source.ReadFull(src, now, 0); err != nil {
		return nil, fmt.Errorf("%s: %w", cf.Name, err)
	}
	if !bytes.Equal(now[min(len(now), e.headerAt):min(len(now), e.headerAt+len(header))], header) {
		return nil, fmt.Errorf("%s: %w", cf.Name, ErrChanged)
	}
	e.digest = sha256.Sum256(now)
	for _, t := range c.made {
		e.transforms = append(e.transforms, t)
	}
	return e, nil
}

func editSafetensors(e *edit, f *safetensors.File, src io.ReaderAt, c change) ([]byte, error) {
	old := f.Header()
	e.dataOffset, e.headerAt, e.align = f.DataOffset(), 8, 1
	end := uint64(max(0, e.old.Size-e.dataOffset))
	for _, t := range f.All() {
		if t.Begin <= t.End && t.End <= end {
			e.tensors = append(e.tensors, span{t.Name, int64(t.Begin), int64(t.End - t.Begin)})
		}
	}
	sortSpans(e.tensors)

	text, err := renameHeader(e, f, src, c)
	if err != nil {
		return nil, err
	}
	if len(c.metadata) > 0 {
		if text, err = editMetadata(text, c.metadata); err != nil {
			return nil, err
		}
	}
	text = bytes.TrimRight(text, " \t\r\n")
	e.least = 8 + int64(len(text))
	e.unchanged = !c.anew() && bytes.Equal(text, bytes.TrimRight(old, " \t\r\n"))
	if len(text) > safetensors.MaxHeader {
		return nil, fmt.Errorf("the new header has %d bytes, and the format allows %d", len(text), safetensors.MaxHeader)
	}
	e.header = func(dataOffset int64) ([]byte, error) {
		n := dataOffset - 8
		if n < int64(len(text)) || n > safetensors.MaxHeader {
			return nil, errNoFit
		}
		b := binary.LittleEndian.AppendUint64(make([]byte, 0, dataOffset), uint64(n))
		b = append(b, text...)
		return append(b, bytes.Repeat([]byte{' '}, int(dataOffset)-len(b))...), nil
	}
	e.check = func(header []byte, size int64) error { return checkSafetensors(f, c, header, size) }
	e.fresh = image.Fresh(e.least, safetensors.MaxHeader+8)
	return old, nil
}

// checkSafetensors reads a new header as any reader would: every tensor that
// is kept or made has its name, its type, its shape and its place.
func checkSafetensors(old *safetensors.File, c change, header []byte, size int64) error {
	f, err := safetensors.NewFile(image.Headed(header, size), size)
	if err != nil {
		return err
	}
	if f.DataOffset() != int64(len(header)) {
		return fmt.Errorf("the data would begin at byte %d, not %d", f.DataOffset(), len(header))
	}
	want := layout(old, c)
	if f.Len() != len(want) {
		return fmt.Errorf("it has %s and should have %d", plural.Of(f.Len(), "tensor"), len(want))
	}
	for i, w := range want {
		n := f.At(i)
		if n.Name != w.name || string(n.DType) != w.dtype || !slices.Equal(n.Shape, w.shape) || n.Begin != uint64(w.at) || n.End != uint64(w.at+w.size) {
			return fmt.Errorf("tensor %q would be %q: %v %v [%d,%d]", w.name, n.Name, n.DType, n.Shape, n.Begin, n.End)
		}
	}
	if len(c.metadata) == 0 && !slices.Equal(f.Metadata(), old.Metadata()) {
		return errors.New("the metadata would change")
	}
	return nil
}

// checkGGUF does for GGUF what checkSafetensors does.
func checkGGUF(want []gguf.Tensor, version uint32, alignment int64, kvs int, header []byte, size int64) error {
	f, err := gguf.NewFile(image.Headed(header, size), size)
	if err != nil {
		return err
	}
	if f.DataOffset != int64(len(header)) || f.Version != version || f.Alignment != alignment {
		return fmt.Errorf("version %d, alignment %d, data at byte %d; they should be %d, %d and %d", f.Version, f.Alignment, f.DataOffset, version, alignment, len(header))
	}
	if n := len(slices.DeleteFunc(slices.Clone(f.KVs), isFiller)); n != kvs {
		return fmt.Errorf("it has %d metadata entries and should have %d", n, kvs)
	}
	if len(f.Tensors) != len(want) {
		return fmt.Errorf("it has %s and should have %d", plural.Of(len(f.Tensors), "tensor"), len(want))
	}
	for i, t := range want {
		n := f.Tensors[i]
		if n.Name != t.Name || n.Type != t.Type || n.Offset != t.Offset || !slices.Equal(n.Dims, t.Dims) {
			return fmt.Errorf("tensor %q would be %q: %v %d at %d", t.Name, n.Name, n.Type, n.Dims, n.Offset)
		}
	}
	return nil
}

func sortSpans(s []span) {
	slices.SortStableFunc(s, func(a, b span) int { return cmp.Or(cmp.Compare(a.off, b.off), cmp.Compare(a.size, b.size)) })
}

// renameHeader splices the new names into a header. When tensors are dropped
// the others move together, which changes their offsets too.
func renameHeader(e *edit, f *safetensors.File, src io.ReaderAt, c change) ([]byte, error) {
	if !c.anew() {
		return safetensors.SpliceNames(f, func(i int) string {
			name, _ := c.name(i)
			return name
		})
	}
	for _, fault := range f.Validate() {
		if fault.Severity == safetensors.Error {
			return nil, fmt.Errorf("data cannot be moved in a file whose layout is broken: %w", fault)
		}
	}
	slots := layout(f, c)
	e.pieces = make([]image.Piece, 0, len(slots))
	for _, s := range slots {
		e.pieces = append(e.pieces, s.piece(e.dataOffset, src))
		e.size += s.size
	}
	slices.SortStableFunc(e.pieces, func(a, b image.Piece) int { return cmp.Compare(a.At, b.At) })
	return spliceSlots(f, slots), nil
}

// A ggufSource is where the data of a tensor of a new file comes from.
type ggufSource struct {
	src       io.ReaderAt
	off, size int64
	ok        bool // it is in the file
}

func editGGUF(e *edit, f *gguf.File, src io.ReaderAt, c change) ([]byte, error) {
	// Headers are held in memory, with the padding before the data.
	if f.Alignment > image.MaxAlignment {
		return nil, fmt.Errorf("an alignment of %d bytes is not supported; the limit is %d", f.Alignment, image.MaxAlignment)
	}
	old, err := f.Header()
	if err != nil {
		return nil, err
	}
	e.dataOffset, e.align = min(f.DataOffset, e.old.Size), f.Alignment
	tensors := make([]gguf.Tensor, 0, len(f.Tensors))
	var from []ggufSource
	for i, t := range f.Tensors {
		off, size, ok := f.DataSpan(i)
		if ok {
			e.tensors = append(e.tensors, span{t.Name, off - e.dataOffset, size})
		}
		if tr := c.made[i]; tr != nil {
			for k := range tr.made {
				m := &tr.made[k]
				tensors = append(tensors, m.ggufTensor(t))
				from = append(from, ggufSource{m.Data, 0, m.Size(), true})
			}
			continue
		}
		name, keep := c.name(i)
		if !keep {
			continue
		}
		t.Name = name
		tensors = append(tensors, t)
		from = append(from, ggufSource{src, off, size, ok})
	}
	sortSpans(e.tensors)
	kvs := slices.DeleteFunc(slices.Clone(f.KVs), isFiller)
	if kvs, err = editKVs(kvs, c.metadata); err != nil {
		return nil, err
	}
	if c.total >= 0 {
		if kvs, err = setSplitTotal(kvs, c.total); err != nil {
			return nil, err
		}
	}
	if c.anew() {
		if tensors, err = gguf.Layout(tensors, f.Alignment); err != nil {
			return nil, err
		}
		e.pieces = make([]image.Piece, 0, len(tensors))
		for i, s := range from {
			if !s.ok {
				return nil, fmt.Errorf("tensor %q: its data is not in the file", tensors[i].Name)
			}
			at := int64(tensors[i].Offset)
			e.pieces = append(e.pieces, image.Piece{Name: tensors[i].Name, Src: s.src, Off: s.off, Size: s.size, At: at})
			e.size = image.RoundUp(at+s.size, f.Alignment) // gguf.cpp pads the last tensor, too
		}
	}
	encode := func(kvs []gguf.KV, tensors []gguf.Tensor, dataOffset int64) ([]byte, error) {
		b, err := gguf.EncodeHeader(f.Version, f.ByteOrder, kvs, tensors, &gguf.EncodeOptions{DataOffset: dataOffset})
		if err == nil {
			copy(b, old[:4]) // the magic of some big-endian files differs
		}
		return b, err
	}
	natural, err := encode(kvs, tensors, 0)
	if err != nil {
		return nil, err
	}
	now, err := encode(slices.DeleteFunc(slices.Clone(f.KVs), isFiller), f.Tensors, 0)
	if err := stillGGUF(f, src, e.old.Size, now, encode); err != nil {
		return nil, err
	}
	e.unchanged = err == nil && !c.anew() && bytes.Equal(natural, now)
	// A reader finds the data at the first aligned byte after the header, so a
	// new file needs nothing between.
	e.least, e.fresh = int64(len(natural)), int64(len(natural))
	e.header = func(dataOffset int64) ([]byte, error) {
		switch {
		case dataOffset == int64(len(natural)):
			return natural, nil
		case dataOffset%f.Alignment != 0:
			return nil, errNoFit
		}
		b, err := encode(kvs, tensors, dataOffset)
		if errors.Is(err, gguf.ErrNoFit) {
			err = errNoFit
		}
		return b, err
	}
	e.check = func(header []byte, size int64) error {
		return checkGGUF(tensors, f.Version, f.Alignment, len(kvs), header, size)
	}
	return old, nil
}

// stillGGUF checks that a file still has the header that f was read from, and of
// which natural is an encoding.
func stillGGUF(f *gguf.File, src io.ReaderAt, size int64, natural []byte, encode func([]gguf.KV, []gguf.Tensor, int64) ([]byte, error)) error {
	g, err := gguf.NewFile(src, size)
	if err != nil || g.Size != f.Size || g.DataOffset != f.DataOffset {
		return errors.Join(ErrChanged, err)
	}
	again, err := encode(slices.DeleteFunc(slices.Clone(g.KVs), isFiller), g.Tensors, 0)
	if err == nil && !bytes.Equal(again, natural) {
		err = ErrChanged
	}
	return err
}

func isFiller(kv gguf.KV) bool { return kv.IsFiller() }

// splitTotal is the key of the number of tensors that the parts of a split
// have together: llama.cpp, tools/gguf-split.
const splitTotal = "split.tensors.count"

func setSplitTotal(kvs []gguf.KV, total int64) ([]gguf.KV, error) {
	for i, kv := range kvs {
		if kv.Key != splitTotal {
			continue
		}
		v, err := parseValue(fmt.Sprint(total), kv.Value.Type())
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", splitTotal, err)
		}
		kvs[i].Value = v
	}
	return kvs, nil
}
