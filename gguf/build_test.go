package gguf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"testing"
)

// Test files are written down field by field, so that any of them can lie. A file is
// a list of parts: numbers, which are written as they are, text without a length, and the
// types below.
type (
	str   string // text with its length before it
	align int    // zeros up to a multiple
	fill  struct {
		n int
		b byte
	}
	parts []any
)

// build lays the parts out in the given encoding.
func build(order binary.ByteOrder, narrow bool, p ...any) []byte {
	var b []byte
	var add func(any)
	number := func(v any) {
		var err error
		if b, err = binary.Append(b, order, v); err != nil {
			panic(err)
		}
	}
	add = func(part any) {
		switch part := part.(type) {
		case string:
			b = append(b, part...)
		case []byte:
			b = append(b, part...)
		case str:
			add(count(len(part)))
			b = append(b, part...)
		case count:
			if narrow {
				number(uint32(part))
			} else {
				number(uint64(part))
			}
		case align:
			for len(b)%int(part) != 0 {
				b = append(b, 0)
			}
		case fill:
			b = append(b, bytes.Repeat([]byte{part.b}, part.n)...)
		case parts:
			for _, p := range part {
				add(p)
			}
		default:
			number(part)
		}
	}
	add(parts(p))
	return b
}

// A count is a number with the width of lengths: 32 bits in version 1.
type count uint64

func le(p ...any) []byte { return build(binary.LittleEndian, false, p...) }

func head(tensors, kvs uint64) parts { return parts{"GGUF", uint32(3), count(tensors), count(kvs)} }

func kv(key string, t ValueType, payload ...any) parts {
	return parts{str(key), uint32(t), parts(payload)}
}

func array(t ValueType, n uint64, elems ...any) parts {
	return parts{uint32(t), count(n), parts(elems)}
}

func info(name string, t TensorType, offset uint64, dims ...uint64) parts {
	p := parts{str(name), uint32(len(dims))}
	for _, d := range dims {
		p = append(p, count(d))
	}
	return append(p, uint32(t), offset)
}

func zeros(n int) fill { return fill{n, 0} }

// control is the smallest file with a tensor: one of 8 numbers, 96 bytes.
func control() []byte { return le(head(1, 0), info("w", F32, 0, 8), align(32), zeros(32)) }

// specimen has a value of every type, nested arrays, and three tensors, two of
// which need padding after them.
func specimen(order binary.ByteOrder, version uint32) []byte {
	return build(order, version == 1,
		"GGUF", version, count(3), count(16),
		kv("general.architecture", TypeString, str("llama")),
		kv("u8", TypeUint8, uint8(200)), kv("i8", TypeInt8, int8(-100)),
		kv("u16", TypeUint16, uint16(60000)), kv("i16", TypeInt16, int16(-30000)),
		kv("u32", TypeUint32, uint32(4e9)), kv("i32", TypeInt32, int32(-2e9)),
		kv("u64", TypeUint64, uint64(math.MaxUint64)), kv("i64", TypeInt64, int64(math.MinInt64)),
		kv("f32", TypeFloat32, float32(0.5)), kv("f64", TypeFloat64, math.Inf(-1)),
		kv("bool", TypeBool, true),
		kv("strings", TypeArray, array(TypeString, 3, str("a"), str(""), str("\xff"))),
		kv("numbers", TypeArray, array(TypeInt16, 3, int16(-1), int16(2), int16(300))),
		kv("empty", TypeArray, array(TypeUint32, 0)),
		kv("nested", TypeArray, array(TypeArray, 2, array(TypeUint8, 1, uint8(7)), array(TypeArray, 1, array(TypeString, 1, str("deep"))))),
		info("q", Q8_0, 0, 64, 2), info("s", F16, 160, 3), info("empty", F32, 192, 0, 4),
		align(32), zeros(136+24), zeros(6+26))
}

// open reads a file that must open.
func open(t testing.TB, b []byte) *File {
	t.Helper()
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A sparse is a file that begins with some bytes and goes on with zeros.
type sparse struct {
	head []byte
	size int64
}

func (s sparse) ReadAt(p []byte, off int64) (int, error) {
	n := int(min(int64(len(p)), s.size-off))
	copied := 0
	if off < int64(len(s.head)) {
		copied = copy(p[:n], s.head[off:])
	}
	clear(p[copied:n])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func TestSpecimen(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		for version := range uint32(3) {
			version++
			t.Run(fmt.Sprintf("v%d %v", version, order), func(t *testing.T) {
				b := specimen(order, version)
				f := open(t, b)
				if f.Version != version || f.ByteOrder != order || f.Alignment != 32 || f.Size != int64(len(b)) {
					t.Errorf("version %d, order %v, alignment %d, size %d", f.Version, f.ByteOrder, f.Alignment, f.Size)
				}
				if h, err := f.Header(); err != nil || !bytes.Equal(h, b[:f.InfoEnd]) {
					t.Errorf("Header is not the start of the file: %v", err)
				}
				compare(t, f, b)
				if got := f.DataOffset + 192; got != f.Size {
					t.Errorf("the data section ends at byte %d of %d", got, f.Size)
				}

				var want []Code
				if version == 1 {
					want = append(want, CodeOldVersion)
				}
				if order == binary.BigEndian {
					want = append(want, CodeBigEndian)
				}
				want = append(want, CodeInvalidUTF8, CodeNestedArray, CodeZeroElements)
				if got := codesOf(f.Validate()); !slices.Equal(got, want) {
					t.Errorf("Validate: %v, want %v", got, want)
				}
			})
		}
	}
}

func codesOf(faults []Fault) []Code {
	var cs []Code
	for _, f := range faults {
		cs = append(cs, f.Code)
	}
	return cs
}
