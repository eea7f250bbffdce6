package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"
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
	kvRecord   = "key/value record"
	infoRecord = "info record"
)

// buffers holds the sizes that the buffer of a scanner goes through. They
// quicken from one to the next, as each step copies what was read before.
var buffers = [...]int{256 << 10, 2 << 20, 16 << 20}

const (
	firstRead = 64 << 10
	maxRead   = 1 << 20
)

// A scanner walks over a header without decoding more than the lengths that tell
// where its records begin.
//
// It keeps what it has read, in a buffer that grows as needed. When the header
// outgrows the last of the buffer's sizes the scanner goes on with a
// sliding window, only to find the end; then the header can be read at once
// into memory of the right size, and walked again.
type scanner struct {
	r    io.ReaderAt
	size int64

	buf  []byte // the bytes from base on
	base int64  // 0 unless sliding
	pos  int    // of the next byte, in buf or, after a skip, behind it
	read int    // how much to read next

	sliding bool

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
		return newFault(CodeTruncated, s.size, "", "the file ends inside its header, at least %d bytes short: fetch it again", uint64(n)-s.remaining())
	}
	if s.offset()+int64(n) > maxHeader {
		return headerLimit(s.offset())
	}
	if want := s.pos + n; !s.sliding && want > cap(s.buf) {
		s.sliding = true
		for _, c := range buffers {
			if want <= c {
				s.buf = append(make([]byte, 0, min(int64(c), s.size)), s.buf...)
				s.sliding = false
				break
			}
		}
	}
	if s.sliding {
		s.base, s.pos, s.buf = s.offset(), 0, s.buf[:0]
	}

	have := len(s.buf)
	end := max(have+s.read, s.pos+n)
	s.read = min(2*s.read, maxRead)
	end = int(min(int64(end), int64(cap(s.buf)), s.size-s.base))
	s.buf = s.buf[:end]
	return readFull(s.r, s.buf[have:], s.base+int64(have))
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

// string walks over a string.
func (s *scanner) string(what string) error {
	at := s.offset()
	n, err := s.length()
	if err != nil {
		return err
	}
	if n > s.remaining() {
		return newFault(CodeStringTooLong, at, "", "%s: its length is %d bytes, and %d are left in the file", what, n, s.remaining())
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
		return newFault(CodeArrayTooLong, at, "", "%s: %d elements of type %s need at least %d bytes each, and %d bytes are left in the file", what, n, t, least, s.remaining())
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
		return newFault(CodeCountOutOfRange, at, "", "the header announces %d %s, and the %d bytes left in the file hold at most %d", n, what, s.remaining(), most)
	}
	if n > limit {
		return newFault(CodeLimit, at, "", "the header announces %d %s; at most %d are read", n, what, limit)
	}
	return nil
}

// scan walks over the whole header and records in f where its records are.
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

	f.KVs = slices.Grow(f.KVs[:0], int(nKVs))
	for i := range nKVs {
		kv := KV{Offset: s.offset()}
		what := recordName{s, kvRecord, i, kv.Offset}
		if err := s.string("its key"); err != nil {
			return what.wrap(err)
		}
		t, err := s.uint32()
		if err != nil {
			return what.wrap(err)
		}
		if err := s.value(ValueType(t), 0, "its value"); err != nil {
			return what.wrap(err)
		}
		kv.End = s.offset()
		f.KVs = append(f.KVs, kv)
	}

	f.InfoOffset = s.offset()
	if err := s.count(nTensors, at, w+4+4+8, maxTensors, "tensors"); err != nil {
		return err
	}
	f.Tensors = slices.Grow(f.Tensors[:0], int(nTensors))
	for i := range nTensors {
		t := Tensor{InfoOffset: s.offset()}
		what := recordName{s, infoRecord, i, t.InfoOffset}
		if err := s.string("its name"); err != nil {
			return what.wrap(err)
		}
		at := s.offset()
		dims, err := s.uint32()
		if err != nil {
			return what.wrap(err)
		}
		if dims > maxReadDims {
			return what.wrap(newFault(CodeTooManyDims, at, "", "it has %d dimensions, and at most %d are allowed", dims, maxDims))
		}
		n := int(dims)*int(w) + 4 + 8
		if _, err := s.need(n); err != nil {
			return what.wrap(err)
		}
		s.pos += n
		t.InfoEnd = s.offset()
		f.Tensors = append(f.Tensors, t)
	}
	f.InfoEnd = s.offset()
	// A value at the very end may have been skipped without being read.
	_, err = s.need(0)
	return err
}

// A recordName tells, when it is needed, which record an error belongs to.
type recordName struct {
	s     *scanner
	kind  string
	index uint64
	at    int64
}

// wrap adds the record's number, and its name when that has been read, to a fault.
// Other errors pass.
func (r recordName) wrap(err error) error {
	f, ok := err.(*Fault)
	if !ok || f.Code == CodeLimit {
		return err
	}
	var name string
	if i, w := r.at-r.s.base, int64(r.s.enc.lenSize()); i >= 0 && i+w <= int64(len(r.s.buf)) {
		b := r.s.buf[i:]
		if n := r.s.enc.length(b); n <= uint64(int64(len(b))-w) {
			name = string(b[w : w+int64(n)])
		}
	}
	if r.kind == infoRecord {
		f.Tensor = name
	} else if name != "" {
		f.Detail = "key " + quote(name) + ": " + f.Detail
	}
	f.Detail = fmt.Sprintf("%s %d: %s", r.kind, r.index, f.Detail)
	return f
}
