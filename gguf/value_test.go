package gguf

import (
	"encoding/binary"
	"math"
	"testing"
)

// TestAccessors calls every accessor on a value of every type.
func TestAccessors(t *testing.T) {
	type want struct {
		uint, int, float, bool, text, array bool
	}
	for _, test := range []struct {
		v    Value
		want want
	}{
		{ValueOf(uint8(1)), want{uint: true, int: true}},
		{ValueOf(int8(1)), want{uint: true, int: true}},
		{ValueOf(int8(-1)), want{int: true}},
		{ValueOf(uint16(1)), want{uint: true, int: true}},
		{ValueOf(int16(-1)), want{int: true}},
		{ValueOf(uint32(1)), want{uint: true, int: true}},
		{ValueOf(int32(-1)), want{int: true}},
		{ValueOf(uint64(1)), want{uint: true, int: true}},
		{ValueOf(uint64(math.MaxUint64)), want{uint: true}},
		{ValueOf(int64(-1)), want{int: true}},
		{ValueOf(float32(1)), want{float: true}},
		{ValueOf(1.0), want{float: true}},
		{ValueOf(true), want{bool: true}},
		{ValueOf(""), want{text: true}},
		{ArrayOf[string](), want{array: true}},
		{Value{}, want{}},
		{Value{typ: TypeArray}, want{}},
	} {
		var got want
		_, got.uint = test.v.Uint()
		_, got.int = test.v.Int()
		_, got.float = test.v.Float()
		_, got.bool = test.v.Bool()
		_, got.text = test.v.Text()
		_, got.array = test.v.Array()
		if got != test.want {
			t.Errorf("%s %x: %+v, want %+v", test.v.Type(), test.v.raw, got, test.want)
		}
	}
}

func TestArray(t *testing.T) {
	numbers, _ := ArrayOf(int32(1), 2, -3).Array()
	words, _ := ArrayOf("a", "", "ccc").Array()
	for i, want := range []int64{1, 2, -3} {
		v, ok := numbers.At(uint64(i))
		if n, _ := v.Int(); !ok || n != want {
			t.Errorf("number %d is %d", i, n)
		}
	}
	for i, want := range []string{"a", "", "ccc"} {
		v, ok := words.At(uint64(i))
		if s, _ := v.Text(); !ok || s != want {
			t.Errorf("word %d is %q", i, s)
		}
	}
	for _, a := range []Array{numbers, words} {
		for _, i := range []uint64{3, math.MaxUint64} {
			if v, ok := a.At(i); ok {
				t.Errorf("element %d of 3 is %v", i, v)
			}
		}
		for i := range a.All() {
			if i == 1 {
				break
			}
		}
	}
	if words.Type() != TypeString || words.Len() != 3 {
		t.Errorf("%d elements of type %s", words.Len(), words.Type())
	}
}

// TestNestedArray walks over arrays of arrays, which keep the bytes of their elements.
func TestNestedArray(t *testing.T) {
	v, _ := open(t, specimen(binary.BigEndian, 1)).Lookup("nested")
	outer, _ := v.Array()
	var walk func(a Array, path string) string
	walk = func(a Array, path string) string {
		for _, e := range a.All() {
			if inner, ok := e.Array(); ok {
				path = walk(inner, path+"[")
			} else if s, ok := e.Text(); ok {
				path += s
			} else if n, ok := e.Uint(); ok {
				path += string(rune('0' + n))
			}
		}
		return path + "]"
	}
	if got, want := walk(outer, "["), "[[7][[deep]]]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTypeNames(t *testing.T) {
	for _, test := range []struct{ got, want string }{
		{TypeUint8.String(), "u8"},
		{TypeFloat64.String(), "f64"},
		{ValueType(13).String(), "value_type_13"},
		{Q4_K.String(), "Q4_K"},
		{TensorType(4).String(), "Q4_2"},
		{TensorType(43).String(), "ggml_type_43"},
		{TensorType(math.MaxUint32).String(), "ggml_type_4294967295"},
		{FileType(0).String(), "F32"},
		{FileType(15).String(), "Q4_K_M"},
		{FileType(38).String(), "MXFP4_MOE"},
		{FileType(41).String(), "Q2_0"},
		{FileType(1024).String(), "file_type_1024"},
		{Info.String() + Warning.String() + Error.String(), "infowarningerror"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
}

// TestBlockSizes holds the table against the structs that ggml-common.h asserts the sizes of:
// scales and quants, field by field.
func TestBlockSizes(t *testing.T) {
	const half, qk = 2, 256
	want := map[TensorType][2]int64{
		F32: {1, 4}, F16: {1, 2}, BF16: {1, 2}, F64: {1, 8},
		I8: {1, 1}, I16: {1, 2}, I32: {1, 4}, I64: {1, 8},
		Q4_0: {32, half + 16}, Q4_1: {32, 2*half + 16},
		Q5_0: {32, half + 4 + 16}, Q5_1: {32, 2*half + 4 + 16},
		Q8_0: {32, half + 32}, Q8_1: {32, 2*half + 32},
		Q2_K: {qk, 2*half + qk/16 + qk/4}, Q3_K: {qk, half + qk/4 + qk/8 + 12},
		Q4_K: {qk, 2*half + 12 + qk/2}, Q5_K: {qk, 2*half + 12 + qk/2 + qk/8},
		Q6_K: {qk, half + qk/16 + 3*qk/4}, Q8_K: {qk, 4 + qk + qk/16*2},
		IQ2_XXS: {qk, half + qk/8*2}, IQ2_XS: {qk, half + qk/8*2 + qk/32}, IQ2_S: {qk, half + qk/4 + qk/16},
		IQ3_XXS: {qk, half + 3*(qk/8)}, IQ3_S: {qk, half + 13*(qk/32) + qk/64},
		IQ1_S: {qk, half + qk/8 + qk/16}, IQ1_M: {qk, qk/8 + qk/16 + qk/32},
		IQ4_NL: {32, half + 16}, IQ4_XS: {qk, half + 2 + qk/64 + qk/2},
		TQ1_0: {qk, half + qk/64 + (qk-4*qk/64)/5}, TQ2_0: {qk, half + qk/4},
		MXFP4: {32, 1 + 16}, NVFP4: {64, 4 + 32},
		Q1_0: {128, half + 16}, Q2_0: {64, half + 16},
	}
	for i := range TensorType(len(tensorTypes) + 1) {
		elems, bytes, ok := i.Block()
		if w, known := want[i]; ok != known || elems != w[0] || bytes != w[1] {
			t.Errorf("%s (%d): blocks of %d elements in %d bytes, %v; want %v", i, uint32(i), elems, bytes, ok, w)
		}
	}
}

func TestFileType(t *testing.T) {
	f := open(t, one(kv("general.file_type", TypeUint32, uint32(15))))
	if ft, ok := f.FileType(); !ok || ft.String() != "Q4_K_M" {
		t.Errorf("file type %s, %v", ft, ok)
	}
	if _, ok := open(t, control()).FileType(); ok {
		t.Error("a file type where there is none")
	}
}

// Every type has its name, and only it.
func TestParseTensorType(t *testing.T) {
	for typ := range TensorType(64) {
		got, ok := ParseTensorType(typ.String())
		if _, _, known := typ.Block(); known && (!ok || got != typ) {
			t.Errorf("%s is %v, %v", typ, got, ok)
		}
	}
	for _, name := range []string{"", "q4_k", "ggml_type_31"} {
		if got, ok := ParseTensorType(name); ok {
			t.Errorf("%q is %v", name, got)
		}
	}
}
