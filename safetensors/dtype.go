package safetensors

import "strings"

// A DType is an element type as a header spells it, such as "BF16". Types that
// this package does not know are kept as they are.
type DType string

// dtypes lists the known types in the reference's order, which is also the
// order of Layout, reversed: from the least aligned to the most.
// Source: enum Dtype in safetensors/src/tensor.rs, 0.8.0-dev.
var dtypes = [...]struct {
	name DType
	bits int64
}{
	{"BOOL", 8},
	{"F4", 4},
	{"F6_E2M3", 6},
	{"F6_E3M2", 6},
	{"U8", 8},
	{"I8", 8},
	{"F8_E5M2", 8},
	{"F8_E4M3", 8},
	{"F8_E8M0", 8},
	{"F8_E4M3FNUZ", 8},
	{"F8_E5M2FNUZ", 8},
	{"I16", 16},
	{"U16", 16},
	{"F16", 16},
	{"BF16", 16},
	{"I32", 32},
	{"U32", 32},
	{"F32", 32},
	{"C64", 64},
	{"F64", 64},
	{"I64", 64},
	{"U64", 64},
}

// otherDType stands for every unknown type in a record.
const otherDType = 255

// dtypeIndex returns the place of a type in dtypes, or otherDType. A switch,
// because a map lookup costs as much as the rest of a tensor's fields.
func dtypeIndex(name string) uint8 {
	switch name {
	case "BOOL":
		return 0
	case "F4":
		return 1
	case "F6_E2M3":
		return 2
	case "F6_E3M2":
		return 3
	case "U8":
		return 4
	case "I8":
		return 5
	case "F8_E5M2":
		return 6
	case "F8_E4M3":
		return 7
	case "F8_E8M0":
		return 8
	case "F8_E4M3FNUZ":
		return 9
	case "F8_E5M2FNUZ":
		return 10
	case "I16":
		return 11
	case "U16":
		return 12
	case "F16":
		return 13
	case "BF16":
		return 14
	case "I32":
		return 15
	case "U32":
		return 16
	case "F32":
		return 17
	case "C64":
		return 18
	case "F64":
		return 19
	case "I64":
		return 20
	case "U64":
		return 21
	}
	return otherDType
}

// Bits returns the size of one element in bits, which is not a multiple of 8
// for the F4 and F6 types. ok is false for a type this package does not know.
func (d DType) Bits() (bits int64, ok bool) {
	i := dtypeIndex(string(d))
	if i == otherDType {
		return 0, false
	}
	return dtypes[i].bits, true
}

// likelyDType returns the known type that a wrong spelling most likely means:
// another case, or the name the type has in PyTorch or in other writers.
func likelyDType(name DType) (DType, bool) {
	up := strings.ToUpper(string(name))
	if dtypeIndex(up) != otherDType {
		return DType(up), true
	}
	switch up {
	case "F8_E4M3FN", "FLOAT8_E4M3FN", "FLOAT8_E4M3", "E4M3":
		return "F8_E4M3", true
	case "FLOAT8_E5M2", "E5M2":
		return "F8_E5M2", true
	case "FLOAT8_E8M0FNU", "F8_E8M0FNU", "E8M0", "UE8":
		return "F8_E8M0", true
	case "FLOAT8_E4M3FNUZ":
		return "F8_E4M3FNUZ", true
	case "FLOAT8_E5M2FNUZ":
		return "F8_E5M2FNUZ", true
	case "FLOAT4_E2M1FN_X2", "FP4", "F4_E2M1":
		return "F4", true
	case "FP16", "FLOAT16", "HALF":
		return "F16", true
	case "BFLOAT16":
		return "BF16", true
	case "FP32", "FLOAT32", "FLOAT":
		return "F32", true
	case "FP64", "FLOAT64", "DOUBLE":
		return "F64", true
	case "COMPLEX64":
		return "C64", true
	case "INT8":
		return "I8", true
	case "INT16":
		return "I16", true
	case "INT32":
		return "I32", true
	case "INT64":
		return "I64", true
	case "UINT8":
		return "U8", true
	case "UINT16":
		return "U16", true
	case "UINT32":
		return "U32", true
	case "UINT64":
		return "U64", true
	}
	return "", false
}
