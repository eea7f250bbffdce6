package gguf

import "strconv"

// A ValueType is the type of a metadata value, as the file stores it.
type ValueType uint32

// The value types (docs/gguf.md, gguf_metadata_value_type).
const (
	TypeUint8 ValueType = iota
	TypeInt8
	TypeUint16
	TypeInt16
	TypeUint32
	TypeInt32
	TypeFloat32
	TypeBool
	TypeString
	TypeArray
	TypeUint64
	TypeInt64
	TypeFloat64

	numValueTypes
)

var valueTypes = [numValueTypes]struct {
	name string
	size int // 0 for strings and arrays
}{
	TypeUint8:   {"u8", 1},
	TypeInt8:    {"i8", 1},
	TypeUint16:  {"u16", 2},
	TypeInt16:   {"i16", 2},
	TypeUint32:  {"u32", 4},
	TypeInt32:   {"i32", 4},
	TypeFloat32: {"f32", 4},
	TypeBool:    {"bool", 1},
	TypeString:  {"string", 0},
	TypeArray:   {"array", 0},
	TypeUint64:  {"u64", 8},
	TypeInt64:   {"i64", 8},
	TypeFloat64: {"f64", 8},
}

// String returns the type's short name, such as "u32" or "string", and
// "value_type_N" for a number that is no type.
func (t ValueType) String() string {
	if t < numValueTypes {
		return valueTypes[t].name
	}
	return "value_type_" + strconv.FormatUint(uint64(t), 10)
}

// size returns the bytes that a value of type t takes, 0 when that depends on
// the value.
func (t ValueType) size() int { return valueTypes[t].size }

// A TensorType says how a tensor's elements are stored: a plain number or one of
// ggml's block formats.
type TensorType uint32

// The tensor types (ggml.h, enum ggml_type). The numbers missing here, 4, 5, 31 to
// 33 and 36 to 38, belong to types that ggml has removed.
const (
	F32     TensorType = 0
	F16     TensorType = 1
	Q4_0    TensorType = 2
	Q4_1    TensorType = 3
	Q5_0    TensorType = 6
	Q5_1    TensorType = 7
	Q8_0    TensorType = 8
	Q8_1    TensorType = 9
	Q2_K    TensorType = 10
	Q3_K    TensorType = 11
	Q4_K    TensorType = 12
	Q5_K    TensorType = 13
	Q6_K    TensorType = 14
	Q8_K    TensorType = 15
	IQ2_XXS TensorType = 16
	IQ2_XS  TensorType = 17
	IQ3_XXS TensorType = 18
	IQ1_S   TensorType = 19
	IQ4_NL  TensorType = 20
	IQ3_S   TensorType = 21
	IQ2_S   TensorType = 22
	IQ4_XS  TensorType = 23
	I8      TensorType = 24
	I16     TensorType = 25
	I32     TensorType = 26
	I64     TensorType = 27
	F64     TensorType = 28
	IQ1_M   TensorType = 29
	BF16    TensorType = 30
	TQ1_0   TensorType = 34
	TQ2_0   TensorType = 35
	MXFP4   TensorType = 39
	NVFP4   TensorType = 40
	Q1_0    TensorType = 41
	Q2_0    TensorType = 42
)

// tensorTypes holds the block sizes that ggml-common.h asserts. A type without
// a block is one that ggml has removed. Q8_1 is 36 bytes there; gguf-py and
// huggingface.js say 40, which no file can show, as it is never stored.
var tensorTypes = [...]struct {
	name         string
	elems, bytes uint16
}{
	F32:     {"F32", 1, 4},
	F16:     {"F16", 1, 2},
	Q4_0:    {"Q4_0", 32, 18},
	Q4_1:    {"Q4_1", 32, 20},
	4:       {"Q4_2", 0, 0},
	5:       {"Q4_3", 0, 0},
	Q5_0:    {"Q5_0", 32, 22},
	Q5_1:    {"Q5_1", 32, 24},
	Q8_0:    {"Q8_0", 32, 34},
	Q8_1:    {"Q8_1", 32, 36},
	Q2_K:    {"Q2_K", 256, 84},
	Q3_K:    {"Q3_K", 256, 110},
	Q4_K:    {"Q4_K", 256, 144},
	Q5_K:    {"Q5_K", 256, 176},
	Q6_K:    {"Q6_K", 256, 210},
	Q8_K:    {"Q8_K", 256, 292},
	IQ2_XXS: {"IQ2_XXS", 256, 66},
	IQ2_XS:  {"IQ2_XS", 256, 74},
	IQ3_XXS: {"IQ3_XXS", 256, 98},
	IQ1_S:   {"IQ1_S", 256, 50},
	IQ4_NL:  {"IQ4_NL", 32, 18},
	IQ3_S:   {"IQ3_S", 256, 110},
	IQ2_S:   {"IQ2_S", 256, 82},
	IQ4_XS:  {"IQ4_XS", 256, 136},
	I8:      {"I8", 1, 1},
	I16:     {"I16", 1, 2},
	I32:     {"I32", 1, 4},
	I64:     {"I64", 1, 8},
	F64:     {"F64", 1, 8},
	IQ1_M:   {"IQ1_M", 256, 56},
	BF16:    {"BF16", 1, 2},
	31:      {"Q4_0_4_4", 0, 0},
	32:      {"Q4_0_4_8", 0, 0},
	33:      {"Q4_0_8_8", 0, 0},
	TQ1_0:   {"TQ1_0", 256, 54},
	TQ2_0:   {"TQ2_0", 256, 66},
	36:      {"IQ4_NL_4_4", 0, 0},
	37:      {"IQ4_NL_4_8", 0, 0},
	38:      {"IQ4_NL_8_8", 0, 0},
	MXFP4:   {"MXFP4", 32, 17},
	NVFP4:   {"NVFP4", 64, 36},
	Q1_0:    {"Q1_0", 128, 18},
	Q2_0:    {"Q2_0", 64, 18},
}

// String returns ggml's name of the type, such as "Q4_K", and "ggml_type_N" for
// one that this package does not know.
func (t TensorType) String() string {
	if int64(t) < int64(len(tensorTypes)) {
		return tensorTypes[t].name
	}
	return "ggml_type_" + strconv.FormatUint(uint64(t), 10)
}

// ParseTensorType returns the type that has a name of [TensorType.String].
func ParseTensorType(name string) (TensorType, bool) {
	for t := range tensorTypes {
		if tensorTypes[t].name == name && name != "" {
			return TensorType(t), true
		}
	}
	return 0, false
}

// Block returns how many elements a block of the type holds and how many bytes it
// takes. ok is false for types that are unknown or that ggml has removed.
func (t TensorType) Block() (elems, bytes int64, ok bool) {
	if int64(t) >= int64(len(tensorTypes)) || tensorTypes[t].elems == 0 {
		return 0, 0, false
	}
	return int64(tensorTypes[t].elems), int64(tensorTypes[t].bytes), true
}

// removed reports whether ggml once had the type and has it no more.
func (t TensorType) removed() bool {
	return int64(t) < int64(len(tensorTypes)) && tensorTypes[t].elems == 0
}

// A FileType is the value of the key general.file_type: the mix of tensor types that
// a whole file was quantised to.
type FileType uint32

// fileTypes holds the names in llama.h, enum llama_ftype. ggml.h has an enum with
// other numbers for the same purpose, which no GGUF file uses.
var fileTypes = [...]string{
	"F32", "F16", "Q4_0", "Q4_1", "Q4_1_SOME_F16", "Q4_2", "Q4_3", "Q8_0",
	"Q5_0", "Q5_1", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M",
	"Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S", "IQ3_XS", "IQ3_XXS",
	"IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M",
	"BF16", "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "MXFP4_MOE", "NVFP4",
	"Q1_0", "Q2_0",
}

// Known reports whether the file type is one that llama.cpp has, or once had.
func (t FileType) Known() bool { return int64(t) < int64(len(fileTypes)) }

// String returns llama.cpp's name of the file type, such as "Q4_K_M", and
// "file_type_N" for one that this package does not know.
func (t FileType) String() string {
	if t.Known() {
		return fileTypes[t]
	}
	return "file_type_" + strconv.FormatUint(uint64(t), 10)
}
