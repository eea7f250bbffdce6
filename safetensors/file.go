package safetensors

import (
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"os"
	"unsafe"

	"github.com/wtinspect/wtinspect/internal/plural"
)

const (
	// MaxHeader is the largest header the format allows, in bytes: the
	// reference's MAX_HEADER_SIZE, inclusive.
	MaxHeader = 100_000_000

	maxDepth    = 127     // serde_json, which counts 128 and refuses the last
	maxRank     = 4096    // dimensions; the reference sets no limit
	maxMetadata = 1 << 18 // entries; the largest seen in the wild is 194

	lengthSize = 8 // the header's length, before the header

	metadataName = "__metadata__"
)

// A Tensor is what a header says of one tensor.
type Tensor struct {
	Name  string
	DType DType
	// Shape has the slowest dimension first and is empty for a scalar. It is
	// shared with the File and must not be modified.
	Shape []uint64
	// Begin and End are the data_offsets, relative to [File.DataOffset], as the
	// header has them: [File.Validate] judges them.
	Begin, End uint64
}

// Elements returns the product of the shape, 1 for a scalar. ok is false when
// it passes 2^64-1 on the way, from left to right as the reference multiplies:
// [0, 2^63, 2] is 0, [2^63, 2, 0] overflows.
func (t Tensor) Elements() (n uint64, ok bool) {
	n = 1
	for _, dim := range t.Shape {
		hi, lo := bits.Mul64(n, dim)
		if hi != 0 {
			return 0, false
		}
		n = lo
	}
	return n, true
}

// A KV is one entry of __metadata__.
type KV struct{ Key, Value string }

// A File is an open .safetensors file. Its methods may be called concurrently.
type File struct {
	r      io.ReaderAt
	closer io.Closer
	size   int64

	buf       []byte // the header and its padding; names are substrings of it
	headerLen int
	records   []record
	dims      arena

	metadata     []KV
	metadataKeys []uint32 // the places of its keys in buf
	hasMetadata  bool

	objectStart, objectEnd int // of the JSON object in buf

	names nameSum
	// What repeats, found while reading: the first maxFaults, and how many.
	repeatedNames, repeatedKeys repeats
}

// A record is a tensor in 32 bytes. What is rare is read again from the header
// when it is asked for: escaped names, long shapes, unknown dtypes.
type record struct {
	begin, end uint64
	key        uint32 // of the name's JSON string in the header
	keyLen     uint32 // with its quotes
	dims       uint32 // in the arena; of a long shape, its place in the header
	dtype      uint8  // in dtypes, or otherDType
	rank       uint8  // or longRank
	flags      recordFlags
}

type recordFlags uint8

const (
	oddName     recordFlags = 1 << iota // not plain printable ASCII
	escapedName                         // has JSON escapes
	extraFields                         // has members of no meaning
)

const (
	// More dimensions than this are not kept, so that the shortest way to write
	// them costs no more memory than the header.
	maxShortRank = 6
	longRank     = 255 // in record.rank
)

// An arena holds the dimensions of all tensors in few pieces. It is not one
// slice because growing that would copy, and double, it.
type arena struct {
	first []uint64
	rest  [][]uint64
	shift uint // the pieces of rest have 1<<shift dimensions
}

// tail returns space for a short shape and its index.
func (a *arena) tail() (space []uint64, index int) {
	if n := len(a.first); cap(a.first)-n >= maxShortRank {
		return a.first[n : n+maxShortRank], n
	}
	last := len(a.rest) - 1
	if last < 0 || cap(a.rest[last])-len(a.rest[last]) < maxShortRank {
		a.rest = append(a.rest, make([]uint64, 0, 1<<a.shift))
		last++
	}
	n := len(a.rest[last])
	return a.rest[last][n : n+maxShortRank], cap(a.first) + last<<a.shift + n
}

// keep makes the first n dimensions of the last tail permanent.
func (a *arena) keep(n int) {
	if last := len(a.rest) - 1; last >= 0 {
		a.rest[last] = a.rest[last][:len(a.rest[last])+n]
	} else {
		a.first = a.first[:len(a.first)+n]
	}
}

func (a *arena) slice(index, n int) []uint64 {
	if index < cap(a.first) {
		return a.first[index : index+n : index+n]
	}
	index -= cap(a.first)
	i := index & (1<<a.shift - 1)
	return a.rest[index>>a.shift][i : i+n : i+n]
}

// repeats are names that an earlier one equals.
type repeats struct {
	pairs [][2]int // first, again
	count int
}

func (r *repeats) add(first, again int) {
	if r.count++; r.count <= maxFaults {
		r.pairs = append(r.pairs, [2]int{first, again})
	}
}

// Open opens the named file with [os.Open] and reads its header.
func Open(name string) (*File, error) {
	r, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	info, err := r.Stat()
	if err != nil {
		r.Close()
		return nil, err
	}
	f, err := NewFile(r, info.Size())
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	f.closer = r
	return f, nil
}

// NewFile reads the header of a file of size bytes from r, and nothing else. r
// is kept for [File.Data]. The error is a [*Fault] when the format is broken,
// and otherwise the error of r.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	f := &File{r: r, size: size}
	fault, err := f.readHeader()
	if err != nil {
		return nil, fmt.Errorf("read header: %w", err)
	}
	if fault != nil {
		head := make([]byte, min(max(size, 0), sniffed))
		n, _ := r.ReadAt(head, 0)
		explain(fault, head[:n])
		return nil, fault
	}
	return f, nil
}

// Close closes the file if it was opened by [Open]; otherwise it has no effect.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// readHeader fills the file from its header.
func (f *File) readHeader() (*Fault, error) {
	if f.size < lengthSize {
		return &Fault{
			Code: CodeHeaderTooSmall, Severity: Error,
			Detail: fmt.Sprintf("file of %s is too short for a header's length", plural.Of(max(f.size, 0), "byte")),
		}, nil
	}
	var length [lengthSize]byte
	if err := readFull(f.r, length[:], 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	switch {
	case n > MaxHeader:
		return &Fault{
			Code: CodeHeaderTooLarge, Severity: Error,
			Detail: fmt.Sprintf("header length %d is over the format's limit of %d", n, MaxHeader),
		}, nil
	case int64(n) > f.size-lengthSize:
		return &Fault{
			Code: CodeHeaderLength, Severity: Error,
			Detail: fmt.Sprintf("header of %s runs past the end of a file of %s", plural.Of(n, "byte"), plural.Of(f.size, "byte")),
		}, nil
	}
	f.headerLen = int(n)
	f.buf = make([]byte, f.headerLen+padding)
	if err := readFull(f.r, f.buf[:f.headerLen], lengthSize); err != nil {
		return nil, err
	}
	return f.parse(), nil
}

// readFull fills b. A source that ends early has shrunk since its size was
// taken.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Len returns the number of tensors.
func (f *File) Len() int { return len(f.records) }

// At returns a tensor by its place in the header, from 0 to Len()-1.
func (f *File) At(i int) (t Tensor) {
	rec := &f.records[i]
	t.Name = f.name(i)
	if rec.dtype != otherDType {
		t.DType = dtypes[rec.dtype].name
	} else {
		s, fields := f.fields(i)
		t.DType = DType(sharedString(s.value(fields.dtype)))
	}
	t.Shape = f.shape(i, nil)
	t.Begin, t.End = rec.begin, rec.end
	return t
}

// shape returns a tensor's shape, in long if it is not kept and long has room.
func (f *File) shape(i int, long []uint64) []uint64 {
	rec := &f.records[i]
	if rec.rank != longRank {
		return f.dims.slice(int(rec.dims), int(rec.rank))
	}
	s := f.scanner()
	s.pos = int(rec.dims)
	rank, _ := s.shape(long)
	if rank <= len(long) {
		return long[:rank]
	}
	return f.shape(i, make([]uint64, rank))
}

// All returns the tensors in header order.
func (f *File) All() iter.Seq2[int, Tensor] {
	return func(yield func(int, Tensor) bool) {
		for i := range f.records {
			if !yield(i, f.At(i)) {
				return
			}
		}
	}
}

// name returns a tensor's name, unescaped.
func (f *File) name(i int) string {
	rec := &f.records[i]
	raw := f.buf[rec.key+1 : rec.key+rec.keyLen-1]
	if rec.flags&escapedName != 0 {
		raw, _ = appendUnescaped(make([]byte, 0, len(raw)), raw)
	}
	return sharedString(raw)
}

// sharedString returns bytes that nobody modifies any more as a string.
func sharedString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Metadata returns the entries of __metadata__ in file order, repeated keys
// included. The slice must not be modified.
func (f *File) Metadata() []KV { return f.metadata }

// HasMetadata reports whether the header has a __metadata__ object, even an
// empty one. A null, which MLX writes, is none.
func (f *File) HasMetadata() bool { return f.hasMetadata }

// DataOffset returns where the data begins in the file.
func (f *File) DataOffset() int64 { return lengthSize + int64(f.headerLen) }

// Size returns the size of the file.
func (f *File) Size() int64 { return f.size }

// Header returns the header's bytes, from its first byte (offset 8 in the file)
// to its last, padding included. They must not be modified.
func (f *File) Header() []byte { return f.buf[:f.headerLen:f.headerLen] }

// NameSpan returns the place of a tensor's name in [File.Header]: a JSON
// string, quotes included.
func (f *File) NameSpan(i int) (start, end int) {
	rec := &f.records[i]
	return int(rec.key), int(rec.key + rec.keyLen)
}

// Data returns a reader of a tensor's bytes. The error is a [*Fault] when its
// extent is reversed or not within the file.
func (f *File) Data(i int) (*io.SectionReader, error) {
	rec := &f.records[i]
	if fault := f.extentFault(i); fault != nil {
		return nil, fault
	}
	return io.NewSectionReader(f.r, f.DataOffset()+int64(rec.begin), int64(rec.end-rec.begin)), nil
}

// extentFault returns why a tensor's bytes cannot be read, or nil.
func (f *File) extentFault(i int) *Fault {
	rec := &f.records[i]
	switch {
	case rec.end < rec.begin:
		return &Fault{
			Code: CodeOffset, Severity: Error, Offset: f.offsetsAt(i), Tensor: f.name(i), Hint: HintReversed,
			Detail: fmt.Sprintf("data_offsets [%d,%d] end before they begin", rec.begin, rec.end),
		}
	case rec.end > f.dataSize():
		return &Fault{
			Code: CodeIncomplete, Severity: Error, Offset: f.offsetsAt(i), Tensor: f.name(i), Hint: HintTruncated,
			Detail: fmt.Sprintf("data_offsets [%d,%d] run past the %s of data in the file", rec.begin, rec.end, plural.Of(f.dataSize(), "byte")),
		}
	}
	return nil
}

// dataSize returns how many bytes follow the header.
func (f *File) dataSize() uint64 { return uint64(f.size) - lengthSize - uint64(f.headerLen) }

// fields reads a tensor's object again, for what its record does not hold.
func (f *File) fields(i int) (scanner, objectFields) {
	s := f.scanner()
	rec := &f.records[i]
	s.pos = int(rec.key + rec.keyLen)
	var fields objectFields
	// It was read without fault before.
	s.symbol(':')
	s.object(&fields, nil)
	return s, fields
}

// offsetsAt returns the file offset of a tensor's data_offsets.
func (f *File) offsetsAt(i int) int64 {
	_, fields := f.fields(i)
	return lengthSize + int64(fields.offsetsPos)
}

// scanner returns a scanner of the header.
func (f *File) scanner() scanner {
	return scanner{
		buf: f.buf, end: f.headerLen, base: lengthSize,
		maxDepth: maxDepth, codes: &headerCodes,
	}
}

var headerCodes = scanCodes{syntax: CodeHeaderJSON, utf8: CodeHeaderUTF8, wrongType: CodeHeaderType}
