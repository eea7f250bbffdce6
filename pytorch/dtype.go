package pytorch

import "strings"

// A DType is an element type as torch names it, such as "bfloat16". Types that this
// package does not know are kept as they are.
type DType string

// dtypes are the types of torch (torch/storage.py, _dtype_to_storage_type_map and
// _new_dtypes; c10/core/ScalarType.h). Those without a class are written with an untyped
// storage, whose elements are bytes. A class counts its elements in units: for the
// packed quantised types that is a byte, which holds several elements.
var dtypes = []struct {
	name  DType
	class string // of its storages
	bits  uint64
	unit  uint64 // bytes
}{
	{"float64", "DoubleStorage", 64, 8},
	{"float32", "FloatStorage", 32, 4},
	{"float16", "HalfStorage", 16, 2},
	{"bfloat16", "BFloat16Storage", 16, 2},
	{"int64", "LongStorage", 64, 8},
	{"int32", "IntStorage", 32, 4},
	{"int16", "ShortStorage", 16, 2},
	{"int8", "CharStorage", 8, 1},
	{"uint8", "ByteStorage", 8, 1},
	{"bool", "BoolStorage", 8, 1},
	{"complex64", "ComplexFloatStorage", 64, 8},
	{"complex128", "ComplexDoubleStorage", 128, 16},
	{"qint8", "QInt8Storage", 8, 1},
	{"quint8", "QUInt8Storage", 8, 1},
	{"qint32", "QInt32Storage", 32, 4},
	{"quint4x2", "QUInt4x2Storage", 4, 1},
	{"quint2x4", "QUInt2x4Storage", 2, 1},
	{"float8_e4m3fn", "", 8, 1},
	{"float8_e4m3fnuz", "", 8, 1},
	{"float8_e5m2", "", 8, 1},
	{"float8_e5m2fnuz", "", 8, 1},
	{"float8_e8m0fnu", "", 8, 1},
	{"float4_e2m1fn_x2", "", 8, 1}, // two elements in a byte, which torch counts as one
	{"complex32", "", 32, 4},
	{"uint16", "", 16, 2},
	{"uint32", "", 32, 4},
	{"uint64", "", 64, 8},
	{"bits8", "", 8, 1},
	{"bits16", "", 16, 2},
	{"bits1x8", "", 8, 1},
	{"bits2x4", "", 8, 1},
	{"bits4x2", "", 8, 1},
}

// aliases are the second names of types (torch/csrc/utils/tensor_dtypes.cpp).
var aliases = map[string]DType{
	"double": "float64", "float": "float32", "half": "float16", "long": "int64", "int": "int32",
	"short": "int16", "cdouble": "complex128", "cfloat": "complex64", "chalf": "complex32",
}

// Bits returns the size of one element in bits, which is less than 8 for the packed
// quantised types. ok is false for a type this package does not know.
func (d DType) Bits() (bits uint64, ok bool) {
	for i := range dtypes {
		if dtypes[i].name == d {
			return dtypes[i].bits, true
		}
	}
	return 0, false
}

// unit returns the bytes of what a storage of this type counts; 1 for an unknown type.
func (d DType) unit() uint64 {
	for i := range dtypes {
		if dtypes[i].name == d {
			return dtypes[i].unit
		}
	}
	return 1
}

// dtypeOf returns the type that a global names (torch.float8_e5m2).
func dtypeOf(v Value) (DType, bool) {
	g, ok := v.(*Global)
	if !ok || g.Module != "torch" || strings.Contains(g.Name, ".") {
		return "", false
	}
	if d, ok := aliases[g.Name]; ok {
		return d, true
	}
	return DType(g.Name), true
}

// storageDType returns the type of the elements of a storage class, "" for the untyped
// one. Torch looks at the name alone, whatever the module (serialization.py, find_class),
// so that torch.cuda.FloatStorage is one of these.
func storageDType(v Value) (DType, bool) {
	g, ok := v.(*Global)
	if !ok || !strings.HasSuffix(g.Name, "Storage") {
		return "", false
	}
	if g.Name == "UntypedStorage" {
		return "", true
	}
	for i := range dtypes {
		if dtypes[i].class == g.Name {
			return dtypes[i].name, true
		}
	}
	return DType(strings.TrimSuffix(g.Name, "Storage")), true
}
