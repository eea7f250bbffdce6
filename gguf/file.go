package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"slices"
	"sync"
)

// DefaultAlignment is the alignment of a file without the key general.alignment.
const DefaultAlignment = 32

// A KV is a key/value record: one entry of the metadata.
type KV struct {
	Key         string
	Value       Value
	Offset, End int64 // where the record is in the file
}

// A Tensor is the info record of a tensor.
type Tensor struct {
	Name       string
	Type       TensorType
	BytesKnown bool     // Bytes is meaningful
	Dims       []uint64 // as stored, the fastest dimension first; must not be modified
	Offset     uint64   // of the data, from the start of the data section
	// Bytes is the size of the data without padding. It is not known when the type
	// is unknown or removed, when the dimensions overflow, and when a row is not a
	// whole number of blocks.
	Bytes               uint64
	InfoOffset, InfoEnd int64 // where the record is in the file
}

// Elements returns the number of elements: 1 for a tensor without dimensions. It is
// false when the number does not fit into 63 bits, which is what ggml counts with.
func (t Tensor) Elements() (uint64, bool) {
	zero := false
	for _, d := range t.Dims {
		if d > math.MaxInt64 {
			return 0, false
		}
		zero = zero || d == 0
	}
	if zero {
		return 0, true
	}
	n := uint64(1)
	for _, d := range t.Dims {
		hi, lo := bits.Mul64(n, d)
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		n = lo
	}
	return n, true
}

// row returns the length of a row, in elements.
func (t Tensor) row() uint64 {
	if len(t.Dims) == 0 {
		return 1
	}
	return t.Dims[0]
}

// dataBytes returns the size of the data, as ggml_nbytes.
func (t Tensor) dataBytes() (uint64, bool) {
	n, ok := t.Elements()
	elems, size, known := t.Type.Block()
	if !ok || !known || t.row()%uint64(elems) != 0 {
		return 0, false
	}
	hi, lo := bits.Mul64(n/uint64(elems), uint64(size))
	return lo, hi == 0 && lo <= math.MaxInt64
}

// A File is an open GGUF file. Its fields and methods can be used by several
// goroutines at once.
type File struct {
	Version   uint32
	ByteOrder binary.ByteOrder
	// Alignment is what the data section, and each tensor in it, is aligned to. It
	// is the value of general.alignment as far as one can compute with it, and
	// otherwise DefaultAlignment.
	Alignment int64
	KVs       []KV
	Tensors   []Tensor

	// DataOffset is where the data section begins: InfoEnd, rounded up to a multiple
	// of the alignment. It is beyond the file when the file is too short.
	DataOffset          int64
	Size                int64 // of the file
	InfoOffset, InfoEnd int64 // where the tensors' info records are

	r      io.ReaderAt
	closer io.Closer
	fugg   bool

	lookup     sync.Once
	lookupKeys map[string]int
}

// Open opens the named file with [os.Open] and reads its header. A fault of the file
// is returned as an error that wraps a [*Fault]; any other is the operating system's.
func Open(name string) (*File, error) {
	osf, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	f, err := openFile(osf)
	if err != nil {
		osf.Close()
		if _, ok := errors.AsType[*fs.PathError](err); !ok {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return nil, err
	}
	f.closer = osf
	return f, nil
}

func openFile(osf *os.File) (*File, error) {
	fi, err := osf.Stat()
	if err != nil {
		return nil, err
	}
	return NewFile(osf, fi.Size())
}

// NewFile reads the header of the GGUF file in the first size bytes of r. A fault of the
// file is returned as a [*Fault]; other errors are those of r. Nothing but the header
// is read, and a little of what follows it. r is kept for the File's methods and for large
// values.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	if size < 0 {
		return nil, fmt.Errorf("negative size %d", size)
	}
	f := &File{Size: size, r: r}
	s := &scanner{r: r, size: size, read: firstRead}
	if err := s.scan(f); err != nil {
		return nil, err
	}
	f.Alignment = alignment(f.KVs)
	f.DataOffset = padded(f.InfoEnd, f.Alignment)
	return f, nil
}

// alignment returns the alignment that the metadata ask for. Any positive number is
// computed with, as some writers have used it whatever its type or its size;
// Validate reports what the format does not allow.
func alignment(kvs []KV) int64 {
	for _, kv := range kvs {
		if kv.Key == "general.alignment" {
			if n, ok := kv.Value.Uint(); ok && n > 0 && n <= math.MaxUint32 {
				return int64(n)
			}
			break
		}
	}
	return DefaultAlignment
}

// padded returns the first multiple of align that is not less than n.
func padded(n, align int64) int64 {
	if rest := n % align; rest != 0 {
		n += align - rest
	}
	return n
}

// Close closes a file that [Open] opened. It has no effect on one made by [NewFile].
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Lookup returns the value of a key, the first one where the key is repeated.
func (f *File) Lookup(key string) (Value, bool) {
	f.lookup.Do(func() {
		f.lookupKeys = make(map[string]int, len(f.KVs))
		for i, kv := range slices.Backward(f.KVs) {
			f.lookupKeys[kv.Key] = i
		}
	})
	i, ok := f.lookupKeys[key]
	if !ok {
		return Value{}, false
	}
	return f.KVs[i].Value, true
}

// FileType returns the value of general.file_type, false when the file has none.
func (f *File) FileType() (FileType, bool) {
	v, _ := f.Lookup("general.file_type")
	n, ok := v.Uint()
	return FileType(n), ok && n <= math.MaxUint32
}

// Header reads the bytes of the file up to InfoEnd: everything before the padding that
// precedes the data.
func (f *File) Header() ([]byte, error) {
	b := make([]byte, f.InfoEnd)
	if err := readFull(f.r, b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

// DataSpan returns where the data of tensor i are in the file. It is false when their
// size is not known or the file does not hold all of them.
func (f *File) DataSpan(i int) (offset, size int64, ok bool) {
	t := &f.Tensors[i]
	if !t.BytesKnown || f.DataOffset > f.Size {
		return 0, 0, false
	}
	if room := uint64(f.Size - f.DataOffset); t.Offset > room || t.Bytes > room-t.Offset {
		return 0, 0, false
	}
	return f.DataOffset + int64(t.Offset), int64(t.Bytes), true
}

// Data returns a reader of the data of tensor i, in the byte order of the file. It fails
// where [File.DataSpan] is false.
func (f *File) Data(i int) (*io.SectionReader, error) {
	offset, size, ok := f.DataSpan(i)
	if !ok {
		t := &f.Tensors[i]
		if !t.BytesKnown {
			return nil, fmt.Errorf("tensor %s: the size of its data is not known (type %s, dimensions %d)", quote(t.Name), t.Type, t.Dims)
		}
		return nil, fmt.Errorf("tensor %s: its %d bytes at offset %d of the data are not within the file", quote(t.Name), t.Bytes, t.Offset)
	}
	return io.NewSectionReader(f.r, offset, size), nil
}
