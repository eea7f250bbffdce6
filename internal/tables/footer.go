package tables

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/parquet-go/parquet-go/format"

	"github.com/wtinspect/wtinspect/internal/source"
)

// maxFooter is far more than the footer of a part of releases has: some KB for each row group.
const maxFooter = 16 << 20

var errFooter = errors.New("its footer is damaged")

// checkFooter finds that the lengths and counts in a footer are of bytes that it has. The
// library takes them as they are, and memory for as many.
func checkFooter(f io.ReaderAt, size int64) error {
	var end [8]byte // the length of the footer, and PAR1
	if size < int64(len(end)) {
		return errFooter
	}
	if err := source.ReadFull(f, end[:], size-int64(len(end))); err != nil {
		return err
	}
	length := int64(binary.LittleEndian.Uint32(end[:]))
	if string(end[4:]) != "PAR1" || length > size-int64(len(end)) || length > maxFooter {
		return errFooter
	}
	footer := make([]byte, length)
	if err := source.ReadFull(f, footer, size-int64(len(end))-length); err != nil {
		return err
	}
	w := thriftWalk{left: footer}
	w.structure(0)
	if w.bad {
		return errFooter
	}
	return nil
}

// maxPage is more than a page of releases takes: the writer has pages of 256 KB.
const maxPage = 16 << 20

// checkPages finds that the pages of a file are in it, and no larger than the writer's.
func checkPages(f io.ReaderAt, size int64, groups []format.RowGroup) error {
	for i := range groups {
		for j := range groups[i].Columns {
			m := &groups[i].Columns[j].MetaData
			start := m.DataPageOffset
			if m.DictionaryPageOffset != 0 {
				start = m.DictionaryPageOffset
			}
			if start < 0 || start > size || m.TotalCompressedSize < 0 || m.TotalCompressedSize > size-start {
				return errPages
			}
			if err := checkChunk(io.NewSectionReader(f, start, m.TotalCompressedSize)); err != nil {
				return err
			}
		}
	}
	return nil
}

var errPages = errors.New("its pages are damaged")

// checkChunk checks the pages of a column in a row group.
func checkChunk(chunk *io.SectionReader) error {
	const most = 1 << 20 // of a header, with the start of the page; statistics have whole values
	buf := make([]byte, min(most, chunk.Size()))
	for at := int64(0); at < chunk.Size(); {
		head := buf[:min(most, chunk.Size()-at)]
		if err := source.ReadFull(chunk, head, at); err != nil {
			return err
		}
		w := thriftWalk{left: head}
		w.structure(0)
		plain, packed := w.sizes[0], w.sizes[1]
		at += int64(len(head) - len(w.left))
		if w.bad || plain < 0 || plain > maxPage || packed < 0 || packed > chunk.Size()-at || zstdSize(w.left) > maxPage {
			return errPages
		}
		at += packed
	}
	return nil
}

// zstdSize returns the size that a frame of zstd says it has, 0 where it does not. Source: RFC
// 8878, 3.1.1.1.
func zstdSize(page []byte) uint64 {
	var b [4 + 1 + 1 + 4 + 8]byte // the longest header
	if copy(b[:], page); binary.LittleEndian.Uint32(b[:]) != 0xfd2fb528 {
		return 0
	}
	flags, rest := b[4], b[5:]
	single := flags >> 5 & 1
	rest = rest[(1-single)+[4]byte{0, 1, 2, 4}[flags&3]:]
	switch flags >> 6 {
	case 0:
		return uint64(rest[0]) * uint64(single)
	case 1:
		return uint64(binary.LittleEndian.Uint16(rest)) + 256
	case 2:
		return uint64(binary.LittleEndian.Uint32(rest))
	}
	return binary.LittleEndian.Uint64(rest)
}

// A thriftWalk passes over values of thrift's compact protocol. Source: thrift's
// doc/specs/thrift-compact-protocol.md.
type thriftWalk struct {
	left []byte
	bad  bool
	// sizes are the numbers in fields 2 and 3 of the outermost struct: of the header of a
	// page, how large it is and how large in the file.
	sizes [2]int64
}

func (w *thriftWalk) skip(n uint64) {
	if n > uint64(len(w.left)) {
		w.bad, w.left = true, nil
		return
	}
	w.left = w.left[n:]
}

func (w *thriftWalk) byte() byte {
	if len(w.left) == 0 {
		w.bad = true
		return 0
	}
	b := w.left[0]
	w.left = w.left[1:]
	return b
}

func (w *thriftWalk) varint() uint64 {
	v, n := binary.Uvarint(w.left)
	if n <= 0 {
		w.bad, w.left = true, nil
		return 0
	}
	w.left = w.left[n:]
	return v
}

func zigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// structure passes over the fields of a struct. Footers are seven deep.
func (w *thriftWalk) structure(depth int) {
	for number := 0; depth <= 16 && !w.bad; {
		field := w.byte()
		if field == 0 {
			return
		}
		if number += int(field >> 4); field>>4 == 0 {
			number = int(zigzag(w.varint()) & 0x7fff) // where it is far from the last
		}
		switch kind := field & 15; {
		case kind <= 2: // a boolean is its kind
		case kind == 5 && depth == 0 && (number == 2 || number == 3):
			w.sizes[number-2] = zigzag(w.varint())
		default:
			w.value(kind, depth)
		}
	}
	w.bad = true
}

func (w *thriftWalk) value(kind byte, depth int) {
	switch kind {
	case 1, 2, 3:
		w.skip(1)
	case 4, 5, 6:
		w.varint()
	case 7:
		w.skip(8)
	case 8:
		w.skip(w.varint())
	case 9, 10:
		head := w.byte()
		count := uint64(head >> 4)
		if count == 15 {
			count = w.varint()
		}
		if count > uint64(len(w.left)) { // each takes a byte, at least
			w.bad = true
		}
		for ; count > 0 && !w.bad; count-- {
			w.value(head&15, depth)
		}
	case 12:
		w.structure(depth + 1)
	default: // maps, which footers do not have
		w.bad = true
	}
}

// guarded calls a function of the library, which panics where a file contradicts itself.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the file contradicts itself (%v)", p)
		}
	}()
	return f()
}
