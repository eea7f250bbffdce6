package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"iter"
	"math"
)

// encoding says how numbers and lengths are stored in one file. The zero encoding
// is that of a little-endian file of version 2 or 3.
type encoding struct {
	big    bool
	narrow bool // version 1: 32-bit counts, lengths and dimensions
}

func encodingOf(version uint32, order binary.ByteOrder) encoding {
	return encoding{
		big:    order != nil && order.Uint16([]byte{0, 1}) == 1,
		narrow: version == 1,
	}
}

func (e encoding) order() interface {
	binary.ByteOrder
	binary.AppendByteOrder
} {
	if e.big {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

func (e encoding) uint16(b []byte) uint16 {
	if e.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (e encoding) uint32(b []byte) uint32 {
	if e.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (e encoding) uint64(b []byte) uint64 {
	if e.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// lenSize returns the bytes that a count, a length or a dimension takes.
func (e encoding) lenSize() int {
	if e.narrow {
		return 4
	}
	return 8
}

// length decodes a count, a length or a dimension.
func (e encoding) length(b []byte) uint64 {
	if e.narrow {
		return uint64(e.uint32(b))
	}
	return e.uint64(b)
}

// A Value is a typed metadata value. It is decoded when one of its methods asks
// for it; the methods return false, and never panic, when the value has another type.
//
// Strings and arrays of more than 64 KiB stay in the file, and are read each time that
// [Value.Text], [Value.Array] or [Value.Load] is called. The first two then return false when
// reading fails; Load tells why.
type Value struct {
	typ ValueType
	enc encoding
	// raw is the payload: a string's bytes without their length, an array with its
	// element type and count, and otherwise the number.
	raw []byte
	far *span // where the payload is when it is not in memory
}

// A span is a part of a file.
type span struct {
	r          io.ReaderAt
	start, end int64
}

// Load returns the value with all of its bytes in memory, so that it no longer depends on
// the file. It fails when they cannot be read, or are not those any more that were
// there when the file was opened.
func (v Value) Load() (Value, error) {
	if v.far == nil {
		return v, nil
	}
	b := make([]byte, v.far.end-v.far.start)
	if err := readFull(v.far.r, b, v.far.start); err != nil {
		return Value{}, err
	}
	if v.typ == TypeArray {
		s := &scanner{r: bytes.NewReader(b), size: int64(len(b)), buf: b, enc: v.enc}
		if err := s.array(1, "its value"); err != nil || s.offset() != s.size {
			return Value{}, fmt.Errorf("the array at byte %d has changed since the file was opened", v.far.start)
		}
	}
	return Value{typ: v.typ, enc: v.enc, raw: b}, nil
}

// Scalar is the set of Go types that correspond to the value types which are not arrays.
type Scalar interface {
	uint8 | int8 | uint16 | int16 | uint32 | int32 | float32 | bool | string | uint64 | int64 | float64
}

// ValueOf returns v as a value of the corresponding type.
func ValueOf[T Scalar](v T) Value {
	t := typeOf[T]()
	return Value{typ: t, raw: appendScalar(nil, v)}
}

// ArrayOf returns an array of the elements, which may be none.
func ArrayOf[T Scalar](elems ...T) Value {
	t := typeOf[T]()
	raw := binary.LittleEndian.AppendUint32(nil, uint32(t))
	raw = binary.LittleEndian.AppendUint64(raw, uint64(len(elems)))
	for _, e := range elems {
		if s, ok := any(e).(string); ok {
			raw = binary.LittleEndian.AppendUint64(raw, uint64(len(s)))
		}
		raw = appendScalar(raw, e)
	}
	return Value{typ: TypeArray, raw: raw}
}

func typeOf[T Scalar]() ValueType {
	var zero T
	switch any(zero).(type) {
	case uint8:
		return TypeUint8
	case int8:
		return TypeInt8
	case uint16:
		return TypeUint16
	case int16:
		return TypeInt16
	case uint32:
		return TypeUint32
	case int32:
		return TypeInt32
	case float32:
		return TypeFloat32
	case bool:
		return TypeBool
	case string:
		return TypeString
	case uint64:
		return TypeUint64
	case int64:
		return TypeInt64
	}
	return TypeFloat64
}

func appendScalar[T Scalar](dst []byte, v T) []byte {
	le := binary.LittleEndian
	switch v := any(v).(type) {
	case uint8:
		return append(dst, v)
	case int8:
		return append(dst, uint8(v))
	case uint16:
		return le.AppendUint16(dst, v)
	case int16:
		return le.AppendUint16(dst, uint16(v))
	case uint32:
		return le.AppendUint32(dst, v)
	case int32:
		return le.AppendUint32(dst, uint32(v))
	case float32:
		return le.AppendUint32(dst, math.Float32bits(v))
	case bool:
		if v {
			return append(dst, 1)
		}
		return append(dst, 0)
	case string:
		return append(dst, v...)
	case uint64:
		return le.AppendUint64(dst, v)
	case int64:
		return le.AppendUint64(dst, uint64(v))
	case float64:
		return le.AppendUint64(dst, math.Float64bits(v))
	}
	return dst
}

// Type returns the type that the file gives the value.
func (v Value) Type() ValueType { return v.typ }

// bits returns the stored number, not sign-extended. It is false for strings,
// arrays and the zero Value.
func (v Value) bits() (uint64, bool) {
	size := v.typ.size()
	if size == 0 || len(v.raw) != size {
		return 0, false
	}
	switch size {
	case 1:
		return uint64(v.raw[0]), true
	case 2:
		return uint64(v.enc.uint16(v.raw)), true
	case 4:
		return uint64(v.enc.uint32(v.raw)), true
	}
	return v.enc.uint64(v.raw), true
}

// Uint returns an integer of any type that is not negative.
func (v Value) Uint() (uint64, bool) {
	switch v.typ {
	case TypeUint8, TypeUint16, TypeUint32, TypeUint64:
		return v.bits()
	case TypeInt8, TypeInt16, TypeInt32, TypeInt64:
		n, ok := v.Int()
		return uint64(n), ok && n >= 0
	}
	return 0, false
}

// Int returns an integer of any type that fits into an int64.
func (v Value) Int() (int64, bool) {
	n, ok := v.bits()
	switch v.typ {
	case TypeInt8:
		return int64(int8(n)), ok
	case TypeInt16:
		return int64(int16(n)), ok
	case TypeInt32:
		return int64(int32(n)), ok
	case TypeInt64:
		return int64(n), ok
	case TypeUint8, TypeUint16, TypeUint32:
		return int64(n), ok
	case TypeUint64:
		return int64(n), ok && n <= math.MaxInt64
	}
	return 0, false
}

// Float returns an f32 or an f64. It may be NaN or infinite.
func (v Value) Float() (float64, bool) {
	n, ok := v.bits()
	switch v.typ {
	case TypeFloat32:
		return float64(math.Float32frombits(uint32(n))), ok
	case TypeFloat64:
		return math.Float64frombits(n), ok
	}
	return 0, false
}

// Bool returns a bool. Any byte but 0 is true, as for the readers that exist,
// although the format allows 0 and 1 alone (see [CodeBadBool]).
func (v Value) Bool() (b, ok bool) {
	n, ok := v.bits()
	if v.typ != TypeBool {
		return false, false
	}
	return n != 0, ok
}

// Text returns a string, as stored: its bytes need not be UTF-8.
func (v Value) Text() (string, bool) {
	if v.typ != TypeString {
		return "", false
	}
	v, err := v.Load()
	return string(v.raw), err == nil
}

// Array returns an array, without decoding its elements.
func (v Value) Array() (Array, bool) {
	v, err := v.Load()
	if err != nil {
		return Array{}, false
	}
	n := 4 + v.enc.lenSize()
	if v.typ != TypeArray || len(v.raw) < n {
		return Array{}, false
	}
	return Array{
		typ: ValueType(v.enc.uint32(v.raw)),
		n:   v.enc.length(v.raw[4:]),
		enc: v.enc,
		raw: v.raw[n:],
	}, true
}

// An Array is a metadata value with several elements of one type.
type Array struct {
	typ ValueType
	n   uint64
	enc encoding
	raw []byte // the elements
}

// Type returns the type of the elements.
func (a Array) Type() ValueType { return a.typ }

// Len returns the number of elements.
func (a Array) Len() uint64 { return a.n }

// At returns element i, false when there is none. Its cost does not depend on i
// for numbers; for strings and nested arrays it walks over the elements
// before, so that [Array.All] is the way to see all of them.
func (a Array) At(i uint64) (Value, bool) {
	if i >= a.n {
		return Value{}, false
	}
	if size := a.typ.size(); size > 0 {
		off := int(i) * size
		return Value{typ: a.typ, enc: a.enc, raw: a.raw[off : off+size]}, true
	}
	for j, v := range a.All() {
		if uint64(j) == i {
			return v, true
		}
	}
	return Value{}, false
}

// All returns the elements with their indices.
func (a Array) All() iter.Seq2[int, Value] {
	return func(yield func(int, Value) bool) {
		raw := a.raw
		for i := range int(a.n) {
			v, n := decodeValue(a.typ, a.enc, raw)
			raw = raw[n:]
			if !yield(i, v) {
				return
			}
		}
	}
}

// decodeValue returns the value of type t at the start of b, and the bytes it takes.
// The scanner has checked that b holds one.
func decodeValue(t ValueType, e encoding, b []byte) (v Value, n int) {
	w := e.lenSize()
	switch t {
	case TypeString:
		n = w + int(e.length(b))
		return Value{typ: t, enc: e, raw: b[w:n:n]}, n
	case TypeArray:
		n = arrayBytes(e, b)
	default:
		n = t.size()
	}
	return Value{typ: t, enc: e, raw: b[:n:n]}, n
}

// arrayBytes returns the length of the array at the start of b, its element type and
// count included.
func arrayBytes(e encoding, b []byte) int {
	t, count := ValueType(e.uint32(b)), int(e.length(b[4:]))
	n := 4 + e.lenSize()
	if size := t.size(); size > 0 {
		return n + count*size
	}
	for range count {
		if t == TypeString {
			n += e.lenSize() + int(e.length(b[n:]))
		} else {
			n += arrayBytes(e, b[n:])
		}
	}
	return n
}
