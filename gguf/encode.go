package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strings"
)

// FillerKey is the key of the record that fills a gap between the metadata and
// data that must stay where they are. Its value is a string of spaces. The key is short
// enough for the record to fit into any gap that is not mere padding when
// the alignment is 32 or more.
const FillerKey = "wt.padding"

// ErrNoFit is matched, with [errors.Is], by the error for a header that cannot be made to
// end at the wanted offset. A larger offset can help.
var ErrNoFit = errors.New("the header does not fit")

// EncodeOptions control [EncodeHeader]. Nil is the zero value.
type EncodeOptions struct {
	// DataOffset is where the data section has to begin: a multiple of the alignment, or
	// 0 for the first one after the header. Readers compute the same place from the
	// header's length; a gap that is longer than padding is closed by a record
	// with the key [FillerKey], the last of the metadata. A filler that is there already is
	// replaced.
	DataOffset int64
}

// EncodeHeader returns the header of a file: all bytes before the data section, padding
// included. The same arguments give the same bytes.
//
// Records are written in the order given. Values that were read from a file keep every
// byte, unless version or order are not those of that file. Of a tensor, Name, Type, Dims and
// Offset are used; see [Layout]. A nil order is little-endian.
func EncodeHeader(version uint32, order binary.ByteOrder, kvs []KV, tensors []Tensor, opt *EncodeOptions) ([]byte, error) {
	if version < 1 || version > 3 {
		return nil, fmt.Errorf("version %d cannot be written: use 1 to 3", version)
	}
	if opt == nil {
		opt = &EncodeOptions{}
	}
	e := encodingOf(version, order)
	align := alignment(kvs)
	if opt.DataOffset != 0 {
		kvs = withoutFiller(kvs)
	}

	b := appendCounts(nil, e, version, len(kvs), len(tensors))
	var err error
	for _, kv := range kvs {
		if b, err = appendKV(b, e, kv); err != nil {
			return nil, err
		}
	}
	infoOffset := len(b)
	for _, t := range tensors {
		if b, err = appendInfo(b, e, t); err != nil {
			return nil, err
		}
	}

	end := int64(len(b))
	start := opt.DataOffset
	if start == 0 {
		start = padded(end, align)
	}
	if start%align != 0 {
		return nil, fmt.Errorf("the data cannot begin at byte %d, not a multiple of the alignment %d", start, align)
	}
	size, ok := fillerSize(start-end, align, e)
	if !ok {
		return nil, fmt.Errorf("%w: without padding it takes %d bytes, the data begin at byte %d, and no record closes the gap", ErrNoFit, end, start)
	}
	if size > maxHeader {
		return nil, fmt.Errorf("%w: the data begin at byte %d, and a header of more than %d bytes is not read", ErrNoFit, start, maxHeader)
	}
	if size > 0 {
		filler := KV{Key: FillerKey, Value: ValueOf(strings.Repeat(" ", int(size-minFiller(e))))}
		record, err := appendKV(nil, e, filler)
		if err != nil {
			return nil, err
		}
		b = slices.Insert(b, infoOffset, record...)
		copy(b, appendCounts(nil, e, version, len(kvs)+1, len(tensors)))
	}
	return append(b, make([]byte, start-int64(len(b)))...), nil
}

// Rename returns the file's header with the tensor names that newName gives for their
// indices. Everything else stays as it is: the metadata byte for byte, but for a filler; the order
// of the tensors; version and byte order.
//
// dataOffset is where the data will begin. With the file's own DataOffset the result can
// be written over the old header; with 0 the result is as short as can be, and has no filler. When no
// header of that length exists the error matches [ErrNoFit].
func (f *File) Rename(newName func(i int) string, dataOffset int64) ([]byte, error) {
	tensors := slices.Clone(f.Tensors)
	for i := range tensors {
		tensors[i].Name = newName(i)
	}
	return f.encode(f.KVs, tensors, dataOffset)
}

// SetMetadata returns the file's header with other metadata, which may share records with
// f.KVs. The tensors stay as they are. dataOffset is as for [File.Rename]. It fails when
// the alignment changes, as the data would have to move.
func (f *File) SetMetadata(kvs []KV, dataOffset int64) ([]byte, error) {
	if a := alignment(kvs); a != f.Alignment {
		return nil, fmt.Errorf("the alignment cannot change from %d to %d, as all data would move", f.Alignment, a)
	}
	return f.encode(kvs, f.Tensors, dataOffset)
}

func (f *File) encode(kvs []KV, tensors []Tensor, dataOffset int64) ([]byte, error) {
	b, err := EncodeHeader(f.Version, f.ByteOrder, withoutFiller(kvs), tensors, &EncodeOptions{DataOffset: dataOffset})
	if err != nil {
		return nil, err
	}
	if f.fugg {
		copy(b, "FUGG")
	}
	return b, nil
}

// Layout returns the tensors with the offsets that ggml gives them: in order, each at the
// first multiple of the alignment after the one before. It fails for a tensor whose size is
// not known from its type and dimensions.
func Layout(tensors []Tensor, alignment int64) ([]Tensor, error) {
	if alignment <= 0 {
		return nil, fmt.Errorf("the alignment %d is not positive", alignment)
	}
	tensors = slices.Clone(tensors)
	var end uint64
	for i := range tensors {
		t := &tensors[i]
		if t.Bytes, t.BytesKnown = t.dataBytes(); !t.BytesKnown {
			return nil, fmt.Errorf("tensor %s: %d elements of type %s have no known size", quote(t.Name), t.Dims, t.Type)
		}
		t.Offset = pad(end, uint64(alignment))
		var carry uint64
		if end, carry = bits.Add64(t.Offset, t.Bytes, 0); carry != 0 || end > math.MaxInt64 {
			return nil, fmt.Errorf("tensor %s: its data would end after 2^63-1 bytes", quote(t.Name))
		}
	}
	return tensors, nil
}

// minFiller returns the size of a filler record with an empty string.
func minFiller(e encoding) int64 {
	return int64(e.lenSize() + len(FillerKey) + 4 + e.lenSize())
}

// fillerSize returns the size of the filler record that moves the start of the data to gap
// bytes after the end of a header without one: 0 when padding does that by itself. It
// is false when no filler does: the header is too long already, or the gap is too
// long for padding and too short for a record.
func fillerSize(gap, align int64, e encoding) (size int64, ok bool) {
	switch {
	case gap < 0:
		return 0, false
	case gap < align:
		return 0, true
	case gap < minFiller(e):
		return 0, false
	}
	return gap, true
}

// IsFiller reports whether the record only fills a gap, as [FillerKey] does: it
// holds nothing but spaces, and comes and goes as headers grow and shrink.
func (kv *KV) IsFiller() bool {
	if kv.Key != FillerKey {
		return false
	}
	s, ok := kv.Value.Text()
	return ok && strings.Trim(s, " ") == ""
}

// withoutFiller returns the records without those that fill gaps.
func withoutFiller(kvs []KV) []KV {
	isFiller := func(kv KV) bool { return kv.IsFiller() }
	if !slices.ContainsFunc(kvs, isFiller) {
		return kvs
	}
	return slices.DeleteFunc(slices.Clone(kvs), isFiller)
}

func appendCounts(b []byte, e encoding, version uint32, kvs, tensors int) []byte {
	b = append(b, "GGUF"...)
	b = e.order().AppendUint32(b, version)
	b = e.appendLength(b, uint64(tensors))
	return e.appendLength(b, uint64(kvs))
}

func (e encoding) appendLength(b []byte, n uint64) []byte {
	if e.narrow {
		return e.order().AppendUint32(b, uint32(n))
	}
	return e.order().AppendUint64(b, n)
}

// fits reports whether the encoding has room for a count, a length or a dimension.
func (e encoding) fits(n uint64) bool { return !e.narrow || n <= math.MaxUint32 }

func appendKV(b []byte, e encoding, kv KV) ([]byte, error) {
	b = e.appendLength(b, uint64(len(kv.Key)))
	b = append(b, kv.Key...)
	b = e.order().AppendUint32(b, uint32(kv.Value.typ))
	v, err := kv.Value.Load()
	if err == nil {
		b, err = appendValue(b, e, v)
	}
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", quote(kv.Key), err)
	}
	return b, nil
}

func appendInfo(b []byte, e encoding, t Tensor) ([]byte, error) {
	if len(t.Dims) > maxReadDims {
		return nil, fmt.Errorf("tensor %s: %d dimensions cannot be written: use up to %d", quote(t.Name), len(t.Dims), maxDims)
	}
	b = e.appendLength(b, uint64(len(t.Name)))
	b = append(b, t.Name...)
	b = e.order().AppendUint32(b, uint32(len(t.Dims)))
	for _, d := range t.Dims {
		if !e.fits(d) {
			return nil, fmt.Errorf("tensor %s: dimension %d does not fit into version 1: use version 3", quote(t.Name), d)
		}
		b = e.appendLength(b, d)
	}
	b = e.order().AppendUint32(b, uint32(t.Type))
	return e.order().AppendUint64(b, t.Offset), nil
}

// appendValue appends the payload of a value that is in memory.
func appendValue(b []byte, e encoding, v Value) ([]byte, error) {
	switch v.typ {
	case TypeString:
		b = e.appendLength(b, uint64(len(v.raw)))
		return append(b, v.raw...), nil
	case TypeArray:
		if v.enc == e {
			return append(b, v.raw...), nil
		}
		a, ok := v.Array()
		if !ok {
			return nil, errors.New("its value is empty")
		}
		if !e.fits(a.n) {
			return nil, fmt.Errorf("an array of %d elements does not fit into version 1: use version 3", a.n)
		}
		b = e.order().AppendUint32(b, uint32(a.typ))
		b = e.appendLength(b, a.n)
		var err error
		for _, elem := range a.All() {
			if b, err = appendValue(b, e, elem); err != nil {
				return nil, err
			}
		}
		return b, nil
	}
	if _, ok := v.bits(); !ok {
		return nil, errors.New("its value is empty")
	}
	n := len(b)
	b = append(b, v.raw...)
	if v.enc.big != e.big {
		slices.Reverse(b[n:])
	}
	return b, nil
}
