package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"github.com/wtinspect/wtinspect/internal/plural"
)

const (
	// maxHeader bounds the header. The largest vocabularies take some 20 MB, and
	// huggingface.js stops at 50 MB; the rest is for what is to come.
	maxHeader = 256 << 20

	// maxKVs and maxTensors bound the records, which take more memory than their
	// bytes in the file. huggingface.js stops at 100,000 key/value records;
	// the largest models, with every expert a tensor of its own, have some 92,000
	// tensors.
	maxKVs     = 1 << 17
	maxTensors = 1 << 18

	// maxDims is ggml's limit, GGML_MAX_DIMS. Up to maxReadDims are read, as in
	// huggingface.js, and reported.
	maxDims     = 4
	maxReadDims = 8

	// maxDepth bounds arrays within arrays, as in huggingface.js: an array of
	// numbers has depth 1.
	maxDepth = 4
)

const (
	windowSize = 256 << 10
	firstRead  = 64 << 10

	// maxHeld is the size up to which the bytes of a value are held in memory. Those of
	// larger ones, which few users of a file need, are read again on demand.
	maxHeld = 64 << 10
)

// A scanner walks over a header, through a window that slides along the file.
type scanner struct {
	r    io.ReaderAt
	size int64

	buf  []byte // the window
	base int64  // where it is in the file
	pos  int    // of the next byte, in the window or, after a skip, behind it
	mark int    // the window keeps up to maxHeld bytes from here on
	read int    // how much to read next

	enc encoding
}

// offset returns the position in the file.
func (s *scanner) offset() int64 { return s.base + int64(s.pos) }

// remaining returns the bytes between the position and the end of the file.
func (s *scanner) remaining() uint64 { return uint64(s.size - s.offset()) }

// need makes the next n bytes available and returns them. n is small.
func (s *scanner) need(n int) ([]byte, error) {
	if len(s.buf)-s.pos < n {
		if err := s.fill(n); err != nil {
			return nil, err
		}
	}
	return s.buf[s.pos : s.pos+n], nil
}

func (s *scanner) fill(n int) error {
	if uint64(n) > s.remaining() {
		return newFault(CodeTruncated, s.size, "", "the file ends inside its header, at least %s short: fetch it again", plural.Of(uint64(n)-s.remaining(), "byte"))
	}
	if s.offset()+int64(n) > maxHeader {
		return headerLimit(s.offset())
	}
	if s.buf == nil {
		s.buf = make([]byte, 0, min(windowSize, s.size))
	}
	if s.pos+n > cap(s.buf) {
		s.slide()
	}
	have := len(s.buf)
	end := max(have+s.read, s.pos+n)
	s.read = min(2*s.read, windowSize)
	end = int(min(int64(end), int64(cap(s.buf)), s.size-s.base))
	s.buf = s.buf[:end]
	return readFull(s.r, s.buf[have:], s.base+int64(have))
}

// slide moves the window so that it begins at the mark or, when that is too far
// behind, at the position.
func (s *scanner) slide() {
	from := s.mark
	if s.pos-from > maxHeld+8 {
		from = s.pos
	}
	kept := 0
	if from < len(s.buf) {
		kept = copy(s.buf, s.buf[from:])
	}
	s.buf = s.buf[:kept]
	s.base += int64(from)
	s.pos -= from
	s.mark = 0
}

// take reads n bytes, of which the file has as many. They are valid until the next read.
func (s *scanner) take(n uint64) ([]byte, error) {
	if n <= maxHeld {
		b, err := s.need(int(n))
		if err == nil {
			s.pos += int(n)
		}
		return b, err
	}
	at := s.offset()
	if err := s.skip(n); err != nil {
		return nil, err
	}
	b := make([]byte, n)
	return b, readFull(s.r, b, at)
}

// skip moves the position over n bytes, which are known to be in the file.
func (s *scanner) skip(n uint64) error {
	if n > uint64(maxHeader-s.offset()) {
		return headerLimit(s.offset())
	}
	s.pos += int(n)
	return nil
}

func headerLimit(offset int64) *Fault {
	return newFault(CodeLimit, offset, "", "the header is larger than %d bytes, the most that is read", maxHeader)
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == io.EOF || err == nil {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("reading %d bytes at byte %d: %w", len(p), off, err)
}

func (s *scanner) uint32() (uint32, error) {
	b, err := s.need(4)
	if err != nil {
		return 0, err
	}
	s.pos += 4
	return s.enc.uint32(b), nil
}

// length reads a count or a length.
func (s *scanner) length() (uint64, error) {
	b, err := s.need(s.enc.lenSize())
	if err != nil {
		return 0, err
	}
	s.pos += len(b)
	return s.enc.length(b), nil
}

// stringLength reads the length of a string and checks it.
func (s *scanner) stringLength(what string) (uint64, error) {
	at := s.offset()
	n, err := s.length()
	if err == nil && n > s.remaining() {
		err = newFault(CodeStringTooLong, at, "", "%s: its length is %s, and %d are left in the file", what, plural.Of(n, "byte"), s.remaining())
	}
	return n, err
}

// string walks over a string.
func (s *scanner) string(what string) error {
	n, err := s.stringLength(what)
	if err != nil {
		return err
	}
	return s.skip(n)
}

// strings walks over the elements of a string array. This is where the time
// goes: a vocabulary has hundreds of thousands of them.
func (s *scanner) strings(n uint64, what string) error {
	for ; n > 0; n-- {
		if s.enc == (encoding{}) {
			buf, pos := s.buf, s.pos
			for n > 0 && len(buf)-pos >= 8 {
				l := binary.LittleEndian.Uint64(buf[pos:])
				if l > uint64(len(buf)-pos-8) {
					break
				}
				pos += 8 + int(l)
				n--
			}
			if s.pos = pos; n == 0 {
				return nil
			}
		}
		if err := s.string(what); err != nil {
			return err
		}
	}
	return nil
}

// value walks over a value. depth is the number of arrays around it.
func (s *scanner) value(t ValueType, depth int, what string) error {
	switch {
	case t >= numValueTypes:
		return newFault(CodeBadValueType, s.offset()-4, "", "%s: its type is %d, and the last type is %d", what, uint32(t), numValueTypes-1)
	case t == TypeString:
		return s.string(what)
	case t == TypeArray:
		return s.array(depth+1, what)
	}
	n := t.size()
	if uint64(n) > s.remaining() {
		_, err := s.need(n)
		return err
	}
	return s.skip(uint64(n))
}

func (s *scanner) array(depth int, what string) error {
	at := s.offset()
	if depth > maxDepth {
		return newFault(CodeArrayTooDeep, at, "", "%s: arrays are nested more than %d deep", what, maxDepth)
	}
	elem, err := s.uint32()
	if err != nil {
		return err
	}
	t := ValueType(elem)
	if t >= numValueTypes {
		return newFault(CodeBadValueType, at, "", "%s: the type of its elements is %d, and the last type is %d", what, elem, numValueTypes-1)
	}
	n, err := s.length()
	if err != nil {
		return err
	}
	least := t.size()
	switch t {
	case TypeString:
		least = s.enc.lenSize()
	case TypeArray:
		least = 4 + s.enc.lenSize()
	}
	hi, total := bits.Mul64(n, uint64(least))
	if hi != 0 || total > s.remaining() {
		return newFault(CodeArrayTooLong, at, "", "%s: %s of type %s, of at least %s, and %d are left in the file", what, plural.Of(n, "element"), t, plural.Of(least, "byte"), s.remaining())
	}
	switch t {
	case TypeString:
		return s.strings(n, what)
	case TypeArray:
		for range n {
			if err := s.array(depth+1, what); err != nil {
				return err
			}
		}
		return nil
	}
	return s.skip(total)
}

// preamble reads magic, version and byte order.
func (s *scanner) preamble(f *File) error {
	b, err := s.need(4)
	if err != nil {
		return err
	}
	magic := string(b)
	s.pos += 4
	switch magic {
	case "GGUF", "FUGG":
	case "lmgg", "fmgg", "tjgg", "algg":
		return newFault(CodeBadMagic, 0, "", "the magic is %q: a format that llama.cpp used before GGUF; convert the file with llama.cpp's convert_llama_ggml_to_gguf.py", magic)
	default:
		return newFault(CodeBadMagic, 0, "", "not a GGUF file: it begins with %q, not \"GGUF\"", magic)
	}

	if b, err = s.need(4); err != nil {
		return err
	}
	s.pos += 4
	version := binary.LittleEndian.Uint32(b)
	swapped := version != 0 && version&0xFFFF == 0
	if magic == "FUGG" && !swapped {
		return newFault(CodeBadMagic, 4, "", "the magic FUGG announces a big-endian file, but version and counts are little-endian")
	}
	if swapped {
		s.enc.big = true
		version = bits.ReverseBytes32(version)
	}
	switch {
	case version == 0:
		return newFault(CodeBadVersion, 4, "", "the version is 0, which is none")
	case version > 3:
		return newFault(CodeUnsupportedVersion, 4, "", "the version is %d, and versions 1 to 3 are read: the file needs a newer program, or is damaged", version)
	}
	s.enc.narrow = version == 1
	f.Version = version
	f.ByteOrder = s.enc.order()
	f.fugg = magic == "FUGG"
	return nil
}

// count checks a number of records against the bytes that are left for them.
func (s *scanner) count(n uint64, at int64, least, limit uint64, what string) error {
	if most := s.remaining() / least; n > most {
		return newFault(CodeCountOutOfRange, at, "", "the header announces %d %s, and the %s left in the file %s at most %d", n, what, plural.Of(s.remaining(), "byte"), plural.Verb(s.remaining(), "hold"), most)
	}
	if n > limit {
		return newFault(CodeLimit, at, "", "the header announces %d %s; at most %d are read", n, what, limit)
	}
	return nil
}

// scan walks over the whole header and fills in f.
func (s *scanner) scan(f *File) error {
	if err := s.preamble(f); err != nil {
		return err
	}
	w := uint64(s.enc.lenSize())
	at := s.offset()
	nTensors, err := s.length()
	if err != nil {
		return err
	}
	nKVs, err := s.length()
	if err != nil {
		return err
	}
	// The smallest record has an empty key and a value of one byte, or an empty
	// name and no dimension.
	if err := s.count(nKVs, at+int64(w), w+4+1, maxKVs, "key/value records"); err != nil {
		return err
	}
	if err := s.count(nTensors, at, w+4+4+8, maxTensors, "tensors"); err != nil {
		return err
	}

	if err := s.scanKVs(f, nKVs); err != nil {
		return err
	}
	f.InfoOffset = s.offset()
	if err := s.count(nTensors, at, w+4+4+8, maxTensors, "tensors"); err != nil {
		return err
	}
	if err := s.scanTensors(f, nTensors); err != nil {
		return err
	}
	f.InfoEnd = s.offset()
	return nil
}

func (s *scanner) scanKVs(f *File, n uint64) error {
	f.KVs = make([]KV, n)
	var held arena
	for i := range f.KVs {
		kv := &f.KVs[i]
		if err := s.scanKV(f.r, kv, &held); err != nil {
			if flt, ok := err.(*Fault); ok && flt.Code != CodeLimit {
				if kv.Key != "" {
					flt.Detail = "key " + quote(kv.Key) + ": " + flt.Detail
				}
				flt.Detail = fmt.Sprintf("key/value record %d: %s", i, flt.Detail)
			}
			return err
		}
	}
	return nil
}

func (s *scanner) scanKV(r io.ReaderAt, kv *KV, held *arena) error {
	kv.Offset = s.offset()
	n, err := s.stringLength("its key")
	if err != nil {
		return err
	}
	key, err := s.take(n)
	if err != nil {
		return err
	}
	kv.Key = string(key)
	t, err := s.uint32()
	if err != nil {
		return err
	}

	s.mark = s.pos
	start := s.offset()
	if err := s.value(ValueType(t), 0, "its value"); err != nil {
		return err
	}
	// The value may have been skipped without being read.
	if _, err := s.need(0); err != nil {
		return err
	}
	kv.End = s.offset()
	kv.Value = Value{typ: ValueType(t), enc: s.enc}
	if kv.Value.typ == TypeString {
		start += int64(s.enc.lenSize())
	}
	if kv.End-start > maxHeld {
		kv.Value.far = &span{r, start, kv.End}
	} else {
		kv.Value.raw = held.copy(s.buf[start-s.base : s.pos])
	}
	return nil
}

func (s *scanner) scanTensors(f *File, n uint64) error {
	f.Tensors = make([]Tensor, n)
	w := s.enc.lenSize()
	var (
		names []byte // of the tensors from named on, until there are enough for a string
		named int
		dims  []uint64
	)
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if cap(dims)-len(dims) < maxReadDims {
			dims = make([]uint64, 0, min(maxReadDims*(len(f.Tensors)-i), 4096))
		}
		first := len(names)
		var err error
		if names, dims, err = s.scanTensor(t, names, dims); err != nil {
			if flt, ok := err.(*Fault); ok && flt.Code != CodeLimit {
				flt.Tensor = string(names[first:])
				flt.Detail = fmt.Sprintf("info record %d: %s", i, flt.Detail)
			}
			return err
		}
		if len(names) >= maxHeld || i == len(f.Tensors)-1 {
			// One string holds many names: there is no allocation for each.
			rest := string(names)
			for ; named <= i; named++ {
				t := &f.Tensors[named]
				n := int(t.InfoEnd-t.InfoOffset) - (w + 4 + len(t.Dims)*w + 4 + 8)
				t.Name, rest = rest[:n], rest[n:]
			}
			names = names[:0]
		}
	}
	return nil
}

// scanTensor reads an info record, but for its name, which it appends to names.
func (s *scanner) scanTensor(t *Tensor, names []byte, dims []uint64) ([]byte, []uint64, error) {
	s.mark = s.pos
	t.InfoOffset = s.offset()
	n, err := s.stringLength("its name")
	if err != nil {
		return names, dims, err
	}
	name, err := s.take(n)
	if err != nil {
		return names, dims, err
	}
	names = append(names, name...)

	at := s.offset()
	nDims, err := s.uint32()
	if err != nil {
		return names, dims, err
	}
	if nDims > maxReadDims {
		return names, dims, newFault(CodeTooManyDims, at, "", "it has %d dimensions, and at most %d are allowed", nDims, maxDims)
	}
	w := s.enc.lenSize()
	b, err := s.need(int(nDims)*w + 4 + 8)
	if err != nil {
		return names, dims, err
	}
	s.pos += len(b)
	first := len(dims)
	for range nDims {
		dims = append(dims, s.enc.length(b))
		b = b[w:]
	}
	t.Dims = dims[first:len(dims):len(dims)]
	t.Type = TensorType(s.enc.uint32(b))
	t.Offset = s.enc.uint64(b[4:])
	t.Bytes, t.BytesKnown = t.dataBytes()
	t.InfoEnd = s.offset()
	return names, dims, nil
}

// An arena holds many short byte slices in few allocations.
type arena struct{ free []byte }

func (a *arena) copy(b []byte) []byte {
	const block = 16 << 10
	if len(b) > block/8 {
		return slices.Clone(b)
	}
	if len(b) > len(a.free) {
		a.free = make([]byte, block)
	}
	n := copy(a.free, b)
	b, a.free = a.free[:n:n], a.free[n:]
	return b
}
