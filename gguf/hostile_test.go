package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A hostile file is one that a reader has stumbled over, or could. The cases are known by
// the ids they have in the collection that TestHostileCoverage compares with.
type hostile struct {
	id    string
	file  []byte
	extra int64  // zeros that follow the file
	open  Code   // what opening fails with, "" when it must not fail
	codes []Code // otherwise, what Validate reports
}

func one(p ...any) []byte { return le(head(0, 1), parts(p), align(32)) }

func tensor(name string, t TensorType, offset uint64, dims ...uint64) []byte {
	return le(head(1, 0), info(name, t, offset, dims...), align(32), zeros(32))
}

func hostiles() []hostile {
	const huge = math.MaxUint64
	deep := parts{}
	for range 10000 {
		deep = append(deep, uint32(TypeArray), count(1))
	}
	nested := func(depth int) []byte {
		p := parts{uint32(TypeUint8), count(0)}
		for range depth - 1 {
			p = parts{uint32(TypeArray), count(1), p}
		}
		return one(str("k"), uint32(TypeArray), p)
	}
	many := parts{}
	for i := range 20001 {
		many = append(many, kv(fmt.Sprintf("k%d", i), TypeUint8, uint8(1)))
	}
	be := func(p ...any) []byte { return build(binary.BigEndian, false, p...) }
	beBody := parts{uint32(3), count(1), count(0), info("w", F32, 0, 8), align(32), zeros(32)}

	return []hostile{
		{id: "gg-000", file: control()},
		{id: "gg-001", open: CodeTruncated},
		{id: "gg-002", file: []byte("GGU"), open: CodeTruncated},
		{id: "gg-003", file: le("FUGG", uint32(3), count(0), count(0)), open: CodeBadMagic},
		{id: "gg-005", file: le("GGUF", uint32(0), count(0), count(0)), open: CodeBadVersion},
		{id: "gg-008", file: be("GGUF", beBody), codes: []Code{CodeBigEndian}},
		{id: "gg-009", file: be("FUGG", beBody), codes: []Code{CodeNonstandardMagic, CodeBigEndian}},
		{id: "gg-011", file: le(head(0, 0)), codes: []Code{CodeEmpty}},
		{id: "gg-012", file: le(head(huge, 0)), open: CodeCountOutOfRange},
		{id: "gg-013", file: le(head(0, huge)), open: CodeCountOutOfRange},
		{id: "gg-014", file: le(head(math.MaxInt64, 0), zeros(8)), open: CodeCountOutOfRange},
		{id: "gg-015", file: le(head(0, 1<<62), zeros(8)), open: CodeCountOutOfRange},
		{id: "gg-016", file: le(head(1e6, 0)), open: CodeCountOutOfRange},
		{id: "gg-017", file: le(head(0, 1), count(huge), zeros(32)), open: CodeStringTooLong},
		{id: "gg-018", file: le(head(0, 1), count(1<<63), zeros(32)), open: CodeStringTooLong},
		{id: "gg-019", file: le(head(0, 1), count(1<<30), zeros(32)), open: CodeStringTooLong},
		{id: "gg-020", file: one(kv("", TypeUint8, uint8(1))), codes: []Code{CodeEmptyKey}},
		{id: "gg-021", file: one(kv("k", 13, zeros(8))), open: CodeBadValueType},
		{id: "gg-023", file: le(head(0, 2), kv("k", TypeUint8, uint8(1)), kv("k", TypeUint8, uint8(2))), codes: []Code{CodeDuplicateKey}},
		{id: "gg-024", file: one(kv("k", TypeString, count(huge))), open: CodeStringTooLong},
		{id: "gg-027", file: one(kv("k", TypeArray, array(TypeString, 1<<60))), open: CodeArrayTooLong},
		{id: "gg-028", file: one(kv("k", TypeArray, array(TypeArray, 1, array(TypeUint8, 2, "ab")))), codes: []Code{CodeNestedArray}},
		{id: "gg-029", file: one(str("k"), uint32(TypeArray), deep, uint32(TypeUint8), count(0)), open: CodeArrayTooDeep},
		{id: "gg-031", file: one(kv("k", TypeArray, array(TypeUint32, 0)))},
		{id: "gg-032", file: one(kv("k", TypeArray, array(TypeFloat64, 5e6, zeros(1000)))), open: CodeArrayTooLong},
		{id: "gg-033", file: one(kv("k", TypeBool, uint8(2))), codes: []Code{CodeBadBool}},
		{id: "gg-036", file: one(kv("k\x00hidden", TypeUint8, uint8(1))), codes: []Code{CodeNULInKey}},
		{id: "gg-037", file: one(kv("Bad Key!", TypeUint8, uint8(1))), codes: []Code{CodeKeyStyle}},
		{id: "gg-038", file: one(kv(strings.Repeat("k", 65536), TypeUint8, uint8(1))), codes: []Code{CodeKeyTooLong}},
		{id: "gg-039", file: one(kv("k", TypeString, str("\x1b[2J\x1b]0;t\x07\r\n"))), codes: []Code{CodeControlChars}},
		{id: "gg-041", file: one(kv("general.alignment", TypeUint32, uint32(13))), codes: []Code{CodeBadAlignment}},
		{id: "gg-043", file: one(kv("general.alignment", TypeUint32, uint32(4))), codes: []Code{CodeSmallAlignment, CodeTrailingData}},
		{id: "gg-046", file: le(head(0, 1), kv("general.alignment", TypeUint32, uint32(24))), codes: []Code{CodeBadAlignment}},
		{id: "gg-047", file: one(kv("general.alignment", TypeInt32, int32(32))), codes: []Code{CodeAlignmentType}},
		{id: "gg-048", file: one(kv("general.alignment", TypeUint64, uint64(32))), codes: []Code{CodeAlignmentType}},
		{id: "gg-049", file: one(kv("general.alignment", TypeString, str("32"))), codes: []Code{CodeAlignmentType}},
		{id: "gg-052", file: le(head(1, 0), count(huge), zeros(64)), open: CodeStringTooLong},
		{id: "gg-053", file: tensor("", F32, 0, 8), codes: []Code{CodeEmptyName}},
		{
			id:    "gg-054",
			file:  le(head(2, 0), info("w", F32, 0, 8), info("w", F32, 32, 8), align(32), zeros(64)),
			codes: []Code{CodeDuplicateTensor},
		},
		{
			id:    "gg-055",
			file:  le(head(2, 0), info("w\x00a", F32, 0, 8), info("w\x00b", F32, 32, 8), align(32), zeros(64)),
			codes: []Code{CodeDuplicateTensor, CodeNULInName, CodeNULInName},
		},
		{id: "gg-056", file: tensor("\x1b[31mw\n", F32, 0, 8), codes: []Code{CodeControlChars}},
		{id: "gg-057", file: tensor("../../x", F32, 0, 8), codes: []Code{CodePathLikeName}},
		{id: "gg-059", file: tensor("w", F32, 0, 8, 1, 1, 1, 1), codes: []Code{CodeManyDims}},
		{id: "gg-060", file: le(head(1, 0), str("w"), uint32(math.MaxUint32), zeros(64)), open: CodeTooManyDims},
		{id: "gg-061", file: tensor("w", F32, 0), codes: []Code{CodeNoDims}},
		{id: "gg-062", file: tensor("w", F32, 0, huge), codes: []Code{CodeBadDim}},
		{id: "gg-063", file: tensor("w", F32, 0, 8, 0), codes: []Code{CodeZeroElements, CodeTrailingData}},
		{id: "gg-064", file: le(head(1, 0), info("w", F32, 0, 0, 8), align(32)), codes: []Code{CodeZeroElements}},
		{id: "gg-066", file: tensor("w", F32, 0, 1<<32, 1<<32), codes: []Code{CodeDimsOverflow}},
		{id: "gg-067", file: tensor("w", F32, 0, 4194305, 4194305, 211106198978564), codes: []Code{CodeDimsOverflow}},
		{id: "gg-068", file: tensor("w", I64, 0, 1<<62), codes: []Code{CodeDimsOverflow}},
		{
			id:    "gg-069",
			file:  le(head(2, 0), info("a", I8, 0, 0x7FFFFFFFFFFFFFC0), info("b", I8, 0x7FFFFFFFFFFFFFC0, 0x7FFFFFFFFFFFFFC0), align(32), zeros(32)),
			codes: []Code{CodeDataTruncated, CodeDataTruncated},
		},
		{id: "gg-070", file: tensor("w", 43, 0, 8), codes: []Code{CodeUnknownType}},
		{id: "gg-071", file: tensor("w", math.MaxUint32, 0, 8), codes: []Code{CodeUnknownType}},
		{id: "gg-072", file: tensor("w", 4, 0, 32), codes: []Code{CodeRemovedType}},
		{id: "gg-073", file: tensor("w", 31, 0, 32), codes: []Code{CodeRemovedType}},
		{id: "gg-074", file: tensor("w", Q4_0, 0, 31), codes: []Code{CodeRowNotMultiple}},
		{id: "gg-075", file: tensor("w", Q4_0, 0, 16, 2), codes: []Code{CodeRowNotMultiple}},
		{id: "gg-076", file: tensor("w", F32, huge, 8), codes: []Code{CodeUnalignedOffset, CodeDataTruncated, CodeGap}},
		{
			id:    "gg-077",
			file:  le(head(1, 0), info("w", F32, 32, 8), align(32), zeros(64)),
			codes: []Code{CodeGap},
		},
		{
			id:    "gg-078",
			file:  le(head(1, 0), info("w", F32, 1, 8), align(32), zeros(64)),
			codes: []Code{CodeUnalignedOffset, CodeGap},
		},
		{id: "gg-081", file: control()[:95], codes: []Code{CodeDataTruncated}},
		{id: "gg-082", file: control()[:64], codes: []Code{CodeDataTruncated}},
		{id: "gg-083", file: le(head(1, 0), info("w", F32, 0, 8)), codes: []Code{CodeDataTruncated}},
		{
			id:    "gg-087",
			file:  le(head(1, 0), info("w", F32, 0, 8), fill{7, 0xAA}, zeros(32)),
			codes: []Code{CodeNonzeroPadding},
		},
		{id: "gg-088", file: one(kv("split.count", TypeUint16, uint16(2))), codes: []Code{CodeMissingSplit}},
		{
			id: "gg-089",
			file: le(head(0, 3), kv("split.no", TypeUint16, uint16(5)), kv("split.count", TypeUint16, uint16(2)),
				kv("split.tensors.count", TypeInt32, int32(-1)), align(32)),
			codes: []Code{CodeSplitInconsistent},
		},
		{id: "gg-090", file: one(kv("split.count", TypeString, str("2"))), codes: []Code{CodeSplitType}},
		{id: "gg-091", file: one(kv("general.architecture", TypeUint32, uint32(1))), codes: []Code{CodeArchType}},
		{id: "gg-092", file: one(kv("general.file_type", TypeUint32, uint32(4096))), codes: []Code{CodeUnknownFtype}},
		{
			id:   "gg-096",
			file: le(head(1, 0), info("w", Q8_1, 0, 32), align(32), zeros(64)),
		},
		{id: "gg-097", file: one(kv("k", TypeArray, array(TypeString, 1000, zeros(8000))))},
		{id: "gg-098", file: one(kv("k", TypeFloat32, uint32(0x7FC00000)))},
		{id: "gg-099", file: one(kv("k", TypeArray, array(TypeUint8, 1<<31))), open: CodeArrayTooLong},
		{
			id:    "gg-100",
			file:  build(binary.LittleEndian, true, "GGUF", uint32(1), count(1), count(1), kv("k", TypeString, str("v")), info("w", F32, 0, 8), align(32), zeros(32)),
			codes: []Code{CodeOldVersion},
		},
		{id: "gg-101", file: []byte("GGUF"), open: CodeTruncated},
		{id: "gg-102", file: le("GGUF", uint32(3)), open: CodeTruncated},
		{
			id: "gg-105",
			file: le(head(2, 1), kv("general.alignment", TypeUint32, uint32(1<<30)),
				info("a", F32, 0, 8), info("b", F32, 1<<30, 8), align(64), zeros(64)),
			codes: []Code{CodeDataTruncated, CodeDataTruncated},
		},
		{id: "gg-107", file: one(kv("k", TypeArray, array(TypeBool, 2, "\x02\xff"))), codes: []Code{CodeBadBool}},
		{id: "gg-108", file: one(kv("general.architecture", TypeString, str("../../x"))), codes: []Code{CodeBadArch}},
		{id: "gg-109", file: tensor("w", 139, 0, 256), codes: []Code{CodeUnknownType}},
		{id: "gg-111", file: be("FUGG", beBody), codes: []Code{CodeNonstandardMagic, CodeBigEndian}},
		{id: "gg-113", file: tensor("w", I8, 0, 1<<32-1, 1<<32-1), codes: []Code{CodeDimsOverflow}},
		{id: "gg-114", file: tensor("w", F32, 0, 1<<63), codes: []Code{CodeBadDim}},
		{id: "gg-115", file: tensor("w", F32, 0, 1, math.MaxInt64), codes: []Code{CodeDimsOverflow}},
		{
			id:    "gg-116",
			file:  le(head(1, 0), info("w", F32, 0, 0, math.MaxInt64, math.MaxInt64), align(32)),
			codes: []Code{CodeZeroElements},
		},
		{id: "gg-118", file: le(head(2, 0), info("w", F32, 0, 8), align(32)), open: CodeCountOutOfRange},
		{
			id:    "gg-119",
			file:  le(head(2, 0), info("a", F32, 0, 7), info("b", F32, 28, 8), align(32), zeros(64)),
			codes: []Code{CodeUnalignedOffset},
		},
		{id: "gg-121", file: le(head(0, 20001), many, align(32))},
		{
			id: "gg-123",
			file: le(head(0, 2), kv("tokenizer.ggml.tokens", TypeArray, array(TypeString, 3, str("<0x41>"), str("<0x-1>"), str("a"))),
				kv("tokenizer.ggml.token_type", TypeArray, array(TypeInt32, 3, int32(6), int32(6), int32(1)))),
			codes: []Code{CodeBadByteToken},
		},
		{
			id:    "gg-123",
			file:  le(head(0, 1), str("tokenizer.ggml.tokens"), uint32(TypeArray), uint32(TypeString), count(1), count(math.MaxInt32+1)),
			extra: 1 << 32,
			open:  CodeLimit,
		},
		{
			id:    "gg-128",
			file:  le(head(2, 0), info("a", F32, 0, 16), info("b", F32, 32, 8), align(32), zeros(64)),
			codes: []Code{CodeOverlap},
		},

		// What follows is not in the collection.
		{id: "old format", file: le("tjgg", uint32(3), zeros(64)), open: CodeBadMagic},
		{id: "future version", file: le("GGUF", uint32(4), zeros(16)), open: CodeUnsupportedVersion},
		{id: "future version, big-endian", file: be("GGUF", uint32(4), zeros(16)), open: CodeUnsupportedVersion},
		{id: "array element type 13", file: one(kv("k", TypeArray, array(13, 0, zeros(8)))), open: CodeBadValueType},
		{id: "key cut off", file: le(head(0, 1), str("abcdefgh"), zeros(2)), open: CodeTruncated},
		{id: "number cut off", file: le(head(0, 1), kv("key", TypeUint64, zeros(7))), open: CodeTruncated},
		{id: "info cut off", file: le(head(1, 0), info("0123456789", F32, 0, 1))[:50], open: CodeTruncated},
		{id: "more keys than are read", file: le(head(0, maxKVs+1)), extra: 1 << 30, open: CodeLimit},
		{id: "more tensors than are read", file: le(head(maxTensors+1, 0)), extra: 1 << 30, open: CodeLimit},
		{id: "a vocabulary larger than is read", file: one(str("k"), uint32(TypeArray), uint32(TypeString), count(1<<36)), extra: 1 << 40, open: CodeLimit},
		{id: "name of 63 bytes", file: tensor(strings.Repeat("w", 63), F32, 0, 8)},
		{id: "name of 64 bytes", file: tensor(strings.Repeat("w", 64), F32, 0, 8), codes: []Code{CodeLongName}},
		{id: "name of 65 bytes", file: tensor(strings.Repeat("w", 65), F32, 0, 8), codes: []Code{CodeNameTooLong}},
		{id: "names and keys that are not UTF-8", file: le(head(1, 1), kv("\xff", TypeString, str("\xfe")), info("\xfd", F32, 0, 8), align(32), zeros(32)), codes: []Code{CodeInvalidUTF8, CodeInvalidUTF8, CodeInvalidUTF8}},
		{id: "text that runs backwards", file: tensor("w\u202e", F32, 0, 8), codes: []Code{CodeControlChars}},
		{id: "a slash in a name", file: tensor("model/h0/attn..w", F32, 0, 8)},
		{id: "absolute name", file: tensor(`\\host\w`, F32, 0, 8), codes: []Code{CodePathLikeName}},
		{id: "architecture with a hyphen", file: le(head(0, 2), kv("general.architecture", TypeString, str("command-r")), kv("command-r.block_count", TypeUint32, uint32(1)))},
		{id: "file type of another type", file: one(kv("general.file_type", TypeString, str("F16"))), codes: []Code{CodeUnknownFtype}},
		{id: "alignment 0", file: one(kv("general.alignment", TypeUint32, uint32(0))), codes: []Code{CodeBadAlignment}},
		{id: "alignment -32", file: one(kv("general.alignment", TypeInt32, int32(-32))), codes: []Code{CodeAlignmentType}},
		{id: "alignment 2^40", file: one(kv("general.alignment", TypeUint64, uint64(1<<40))), codes: []Code{CodeAlignmentType, CodeBadAlignment}},
		{
			id:    "out of order",
			file:  le(head(2, 0), info("a", F32, 32, 8), info("b", F32, 0, 8), align(32), zeros(64)),
			codes: []Code{CodeOutOfOrder},
		},
		{
			id:    "shared data",
			file:  le(head(2, 0), info("a", F32, 0, 8), info("b", F32, 0, 8), align(32), zeros(32)),
			codes: []Code{CodeOverlap},
		},
		{
			id:    "an unknown type between",
			file:  le(head(3, 0), info("a", F32, 0, 8), info("b", 139, 32, 8), info("c", F32, 320, 8), align(32), zeros(352)),
			codes: []Code{CodeUnknownType},
		},
		{
			id:    "an unknown type at the end",
			file:  le(head(2, 0), info("a", F32, 0, 8), info("b", 139, 32, 8), align(32), zeros(320)),
			codes: []Code{CodeUnknownType},
		},
		{
			id:    "an unknown type outside of the file",
			file:  tensor("w", 139, 64, 8),
			codes: []Code{CodeUnknownType, CodeDataTruncated, CodeGap},
		},
		{
			id:    "data that end after 2^64 bytes",
			file:  le(head(2, 0), info("a", F32, huge-31, 8), info("b", F32, huge-31, 8), align(32), zeros(32)),
			codes: []Code{CodeDataTruncated, CodeDataTruncated, CodeGap, CodeOverlap},
		},
		{id: "key and name longer than what is held", file: le(head(1, 1), kv(strings.Repeat("k", maxHeld+1), TypeUint8, uint8(1)), info(strings.Repeat("n", maxHeld+1), F32, 0, 8), align(32), zeros(32)), codes: []Code{CodeKeyTooLong, CodeNameTooLong}},
		{id: "a key of 1 GB", file: le(head(0, 1), count(1<<30)), extra: 1 << 31, open: CodeLimit},
		{
			id: "fewer token types than tokens",
			file: le(head(0, 2), kv("tokenizer.ggml.tokens", TypeArray, array(TypeString, 2, str("a"), str("b"))),
				kv("tokenizer.ggml.token_type", TypeArray, array(TypeInt32, 1, int32(6)))),
			codes: []Code{CodeBadByteToken},
		},
		{id: "arrays 4 deep", file: nested(4), codes: []Code{CodeNestedArray}},
		{id: "arrays 5 deep", file: nested(5), open: CodeArrayTooDeep},
		{
			id:    "no data within other data",
			file:  le(head(2, 0), info("a", F32, 0, 8), info("b", F32, 0, 0), align(32), zeros(32)),
			codes: []Code{CodeZeroElements},
		},
		{id: "second split without a number of tensors", file: le(head(0, 2), kv("split.no", TypeUint16, uint16(1)), kv("split.count", TypeUint16, uint16(2)))},
		{id: "trailing data", file: append(control(), 1), codes: []Code{CodeTrailingData}},
		{id: "trailing data after the metadata", file: append(one(kv("k", TypeUint8, uint8(1))), 1), codes: []Code{CodeTrailingData}},
		{id: "no padding at the end", file: le(head(1, 0), info("w", F32, 0, 7), align(32), zeros(28)), codes: []Code{CodeUnpaddedEnd}},
		{id: "padding between tensors", file: le(head(2, 0), info("a", F32, 0, 7), info("b", F32, 32, 8), align(32), zeros(28), "HIDE", zeros(32)), codes: []Code{CodeNonzeroPadding}},
		{id: "padding at the end", file: le(head(1, 0), info("w", F32, 0, 7), align(32), zeros(28), "HIDE"), codes: []Code{CodeNonzeroPadding}},
		{id: "bad bool in a nested array", file: one(kv("k", TypeArray, array(TypeArray, 2, array(TypeBool, 1, "\x00"), array(TypeBool, 2, "\x01\x03")))), codes: []Code{CodeNestedArray, CodeBadBool}},
		{id: "split with more tensors than announced", file: le(head(1, 3), kv("split.no", TypeUint16, uint16(0)), kv("split.count", TypeUint16, uint16(1)), kv("split.tensors.count", TypeInt32, int32(0)), info("w", F32, 0, 8), align(32), zeros(32)), codes: []Code{CodeSplitInconsistent}},
		{id: "first split without a number of tensors", file: le(head(0, 2), kv("split.no", TypeUint16, uint16(0)), kv("split.count", TypeUint16, uint16(2))), codes: []Code{CodeMissingSplit}},
	}
}

func (h hostile) reader() (io.ReaderAt, int64) {
	size := int64(len(h.file)) + h.extra
	return sparse{h.file, size}, size
}

func TestHostile(t *testing.T) {
	for _, h := range hostiles() {
		t.Run(h.id, func(t *testing.T) {
			var f *File
			var faults []Fault
			var err error
			r, size := h.reader()
			cost := allocated(func() {
				if f, err = NewFile(r, size); err == nil {
					faults = f.Validate()
				}
			})
			if limit := int64(64<<20 + 2*len(h.file)); cost > limit {
				t.Errorf("it allocates %d bytes, limit %d", cost, limit)
			}
			for _, flt := range faults {
				if flt.Offset > size || flt.Detail == "" {
					t.Errorf("fault without place or text: %+v", flt)
				}
			}
			if h.open == "" {
				if err != nil {
					t.Fatalf("NewFile: %v", err)
				}
				for _, flt := range faults {
					if errors.Is(&flt, ErrUnsupported) != (flt.Code == CodeUnknownType) {
						t.Errorf("%s: ErrUnsupported is wrong", flt.Code)
					}
				}
				if got := codesOf(faults); !slices.Equal(got, h.codes) {
					t.Errorf("Validate: %v, want %v\n%v", got, h.codes, faults)
				}
				return
			}
			flt, ok := err.(*Fault)
			if !ok || flt.Code != h.open || flt.Severity != Error {
				t.Fatalf("NewFile: %#v, want code %s", err, h.open)
			}
			if errors.Is(err, ErrUnsupported) != (h.open == CodeUnsupportedVersion || h.open == CodeLimit) {
				t.Error("ErrUnsupported is wrong")
			}
			if strings.ContainsFunc(flt.Error(), func(r rune) bool { return r < ' ' }) || len(flt.Error()) > 500 {
				t.Errorf("message %q", flt)
			}
		})
	}
}

// allocated returns the bytes that f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// TestHostileCoverage compares the table with the collection of hostile files, and with what
// is said there about each.
func TestHostileCoverage(t *testing.T) {
	data, err := os.ReadFile(testdata.Path(t, "hostile.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	byID := map[string]hostile{}
	for _, h := range hostiles() {
		if _, ok := byID[h.id]; !ok {
			byID[h.id] = h
		}
	}
	elsewhere := map[string]string{
		"gg-124": "TestValidateSplit",
		"gg-127": "TestSplitName",
		"gg-130": "TestMutations",
		// Strict readers refuse it, and lenient ones warn, as here.
		"gg-077": "TestCodes",
		// ComfyUI's video files have five dimensions, which ggml alone refuses.
		"gg-059": "TestCodes",
	}
	for line := range strings.Lines(string(data)) {
		col := strings.Split(line, "\t")
		if len(col) < 4 || col[1] != "gguf" || elsewhere[col[0]] != "" {
			continue
		}
		id, outcome := col[0], col[3]
		h, ok := byID[id]
		if !ok {
			t.Errorf("%s (%s) is not tested", id, col[2])
			continue
		}
		worst := Info
		for _, c := range h.codes {
			worst = max(worst, newFault(c, 0, "", "").Severity)
		}
		rejected := h.open != "" || worst == Error
		switch {
		case strings.HasPrefix(outcome, "REJECT"), strings.Contains(outcome, "validate FAIL"):
			ok = rejected
		case strings.Contains(outcome, "WARN"):
			ok = !rejected && worst == Warning
		case strings.HasPrefix(outcome, "ACCEPT"):
			ok = !rejected
		}
		if !ok {
			t.Errorf("%s: expected %q, got open %q, faults %v", id, outcome, h.open, h.codes)
		}
	}
}

// TestHostileMemory has the files that cost most for their length.
func TestHostileMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("files of 40 MB")
	}
	v1 := func(p ...any) []byte { return build(binary.LittleEndian, true, p...) }
	dims := func(n int, size int) []byte {
		b := slices.Concat(make([]byte, size), []byte{byte(n), 0, 0, 0}, make([]byte, n*size+12))
		return bytes.Repeat(b, maxTensors)
	}
	for _, test := range []struct {
		name string
		file []byte
	}{
		{"keys", le(head(0, maxKVs), zeros(13*maxKVs))},
		{"keys, version 1", v1("GGUF", uint32(1), count(0), count(maxKVs), zeros(9*maxKVs))},
		{"tensors", le(head(maxTensors, 0), zeros(24*maxTensors))},
		{"tensors, version 1", v1("GGUF", uint32(1), count(maxTensors), count(0), zeros(20*maxTensors))},
		{"dimensions", le(head(maxTensors, 0), dims(maxReadDims, 8))},
		{"dimensions, version 1", v1("GGUF", uint32(1), count(maxTensors), count(0), dims(maxReadDims, 4))},
		{"arrays", le(head(0, 1), kv("k", TypeArray, array(TypeArray, 1<<20, bytes.Repeat(le(uint32(TypeUint8), count(0)), 1<<20))))},
		{"a string of 40 MB", le(head(0, 1), kv("k", TypeString, str(strings.Repeat("x", 40<<20))))},
		{"a vocabulary of 40 MB", le(head(0, 1), kv("k", TypeArray, array(TypeString, 5<<20, zeros(40<<20))))},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := bytes.NewReader(test.file)
			cost := allocated(func() {
				f, err := NewFile(r, r.Size())
				if err != nil {
					t.Fatal(err)
				}
				f.Validate()
				f.Lookup("k")
			})
			if limit := int64(64<<20 + 2*len(test.file)); cost > limit {
				t.Errorf("%d bytes of header cost %d MB, limit %d MB", len(test.file), cost>>20, limit>>20)
			}
		})
	}
}

func TestTruncation(t *testing.T) {
	b := specimen(binary.LittleEndian, 3)
	whole := open(t, b)
	// The last tensor with data ends here, and padding follows.
	end := whole.DataOffset + 166
	for n := range int64(len(b)) {
		f, err := NewFile(bytes.NewReader(b[:n]), n)
		if n < whole.InfoEnd {
			if _, ok := err.(*Fault); !ok {
				t.Errorf("%d of %d bytes: NewFile: %v, want a fault", n, len(b), err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
		truncated := slices.Contains(codesOf(f.Validate()), CodeDataTruncated)
		if truncated != (n < whole.DataOffset+192) && truncated != (n < end) {
			t.Errorf("%d of %d bytes: truncated is %v", n, len(b), truncated)
		}
		for i := range f.Tensors {
			r, err := f.Data(i)
			if err != nil {
				continue
			}
			if got, err := io.Copy(io.Discard, r); err != nil || uint64(got) != f.Tensors[i].Bytes {
				t.Errorf("%d of %d bytes: tensor %d: read %d bytes: %v", n, len(b), i, got, err)
			}
		}
	}
}

func TestMutations(t *testing.T) {
	if testing.Short() {
		t.Skip("every value of every byte")
	}
	b := control()
	for i := range b {
		old := b[i]
		for d := 1; d < 256; d++ {
			b[i] = old + byte(d)
			cost := allocated(func() {
				if f, err := NewFile(bytes.NewReader(b), int64(len(b))); err == nil {
					f.Validate()
				}
			})
			if cost > 1<<20 {
				t.Fatalf("byte %d = %d: it allocates %d bytes", i, b[i], cost)
			}
		}
		b[i] = old
	}
}

// TestCodes has the codes that are not errors which llama.cpp refuses as well.
func TestCodes(t *testing.T) {
	const want = `
bad_arch warning refused
bad_bool warning accepted
bad_byte_token warning accepted
big_endian warning refused
control_chars warning accepted
empty warning refused
empty_name warning accepted
gap warning refused
invalid_utf8 warning accepted
key_style warning accepted
key_too_long warning accepted
limit error accepted
long_name warning refused
many_dims info refused
nested_array warning refused
no_dims warning accepted
nonstandard_magic warning refused
nonzero_padding warning accepted
nul_in_key error accepted
nul_in_name error accepted
old_version warning refused
out_of_order warning refused
path_like_name warning accepted
small_alignment warning accepted
trailing_data warning accepted
unknown_ftype warning accepted
unknown_type error refused
unpadded_end info accepted
unreadable error accepted
unsupported_version error refused
zero_elements warning accepted
`
	got := "\n"
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		llama := "accepted"
		if RefusedByLlamaCpp(code) {
			llama = "refused"
		}
		got += fmt.Sprintln(string(code), newFault(code, 0, "", "").Severity, llama)
	}
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if f := newFault(CodeOverlap, 0, "", ""); f.Severity != Error || !RefusedByLlamaCpp(CodeOverlap) {
		t.Error("a code that is not listed is not an error that llama.cpp refuses")
	}
}
