package gguf

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A naive reader reads fields one after the other and turns every value into a Go
// value. It shares nothing with the package, trusts the file, and is what the tests and the
// benchmark compare with.
type naive struct {
	r      *bufio.Reader
	n      int64
	order  binary.ByteOrder
	narrow bool

	scratch [8]byte

	keys    []string
	values  []any
	tensors []Tensor
}

func (r *naive) bytes(n uint64) []byte {
	b := make([]byte, n)
	if _, err := io.ReadFull(r.r, b); err != nil {
		panic(err)
	}
	r.n += int64(n)
	return b
}

// number reads up to 8 bytes without allocating.
func (r *naive) number(n int) []byte {
	if _, err := io.ReadFull(r.r, r.scratch[:n]); err != nil {
		panic(err)
	}
	r.n += int64(n)
	return r.scratch[:n]
}

func (r *naive) u16() uint16 { return r.order.Uint16(r.number(2)) }
func (r *naive) u32() uint32 { return r.order.Uint32(r.number(4)) }
func (r *naive) u64() uint64 { return r.order.Uint64(r.number(8)) }

func (r *naive) count() uint64 {
	if r.narrow {
		return uint64(r.u32())
	}
	return r.u64()
}

func (r *naive) value(t uint32) any {
	switch t {
	case 0:
		return r.number(1)[0]
	case 1:
		return int8(r.number(1)[0])
	case 2:
		return r.u16()
	case 3:
		return int16(r.u16())
	case 4:
		return r.u32()
	case 5:
		return int32(r.u32())
	case 6:
		return float(math.Float32frombits(r.u32()))
	case 7:
		return r.number(1)[0] != 0
	case 8:
		return string(r.bytes(r.count()))
	case 9:
		elem := r.u32()
		vs := make([]any, r.count())
		for i := range vs {
			vs[i] = r.value(elem)
		}
		return vs
	case 10:
		return r.u64()
	case 11:
		return int64(r.u64())
	case 12:
		return float(math.Float64frombits(r.u64()))
	}
	panic(fmt.Sprintf("value type %d", t))
}

// float returns f, or a string for the numbers that do not equal themselves.
func float[T float32 | float64](f T) any {
	if f != f {
		return fmt.Sprintf("%T NaN", f)
	}
	return f
}

func readNaive(src io.Reader) *naive {
	r := &naive{r: bufio.NewReaderSize(src, 1<<16), order: binary.LittleEndian}
	r.bytes(4)
	version := r.u32()
	if version&0xFFFF == 0 {
		r.order = binary.BigEndian
		version = bits.ReverseBytes32(version)
	}
	r.narrow = version == 1
	tensors, kvs := r.count(), r.count()
	for range kvs {
		r.keys = append(r.keys, string(r.bytes(r.count())))
		r.values = append(r.values, r.value(r.u32()))
	}
	for range tensors {
		t := Tensor{InfoOffset: r.n}
		t.Name = string(r.bytes(r.count()))
		t.Dims = make([]uint64, r.u32())
		for i := range t.Dims {
			t.Dims[i] = r.count()
		}
		t.Type = TensorType(r.u32())
		t.Offset = r.u64()
		t.InfoEnd = r.n
		r.tensors = append(r.tensors, t)
	}
	return r
}

// goValue turns a value into what the naive reader makes of it.
func goValue(v Value) any {
	if a, ok := v.Array(); ok {
		vs := make([]any, a.Len())
		for i, e := range a.All() {
			vs[i] = goValue(e)
		}
		return vs
	}
	if s, ok := v.Text(); ok {
		return s
	}
	if b, ok := v.Bool(); ok {
		return b
	}
	if f, ok := v.Float(); ok {
		if v.Type() == TypeFloat32 {
			return float(float32(f))
		}
		return float(f)
	}
	i, _ := v.Int()
	switch v.Type() {
	case TypeUint8:
		return uint8(i)
	case TypeInt8:
		return int8(i)
	case TypeUint16:
		return uint16(i)
	case TypeInt16:
		return int16(i)
	case TypeUint32:
		return uint32(i)
	case TypeInt32:
		return int32(i)
	case TypeInt64:
		return i
	}
	u, _ := v.Uint()
	return u
}

// compare holds a file against what the naive reader finds in its bytes.
func compare(t *testing.T, f *File, b []byte) {
	t.Helper()
	want := readNaive(bytes.NewReader(b))
	if len(f.KVs) != len(want.keys) || len(f.Tensors) != len(want.tensors) {
		t.Fatalf("%d keys and %d tensors, want %d and %d", len(f.KVs), len(f.Tensors), len(want.keys), len(want.tensors))
	}
	for i, kv := range f.KVs {
		if kv.Key != want.keys[i] {
			t.Errorf("key %d is %q, want %q", i, kv.Key, want.keys[i])
		}
		if got := goValue(kv.Value); !reflect.DeepEqual(got, want.values[i]) {
			t.Errorf("key %q: %.200v, want %.200v", kv.Key, got, want.values[i])
		}
	}
	for i, got := range f.Tensors {
		got.Bytes, got.BytesKnown = 0, false
		if len(got.Dims) == 0 {
			got.Dims = []uint64{}
		}
		if !reflect.DeepEqual(got, want.tensors[i]) {
			t.Errorf("tensor %d is %+v, want %+v", i, got, want.tensors[i])
		}
	}
	if f.InfoEnd != want.n {
		t.Errorf("the infos end at %d, want %d", f.InfoEnd, want.n)
	}
}

// TestPublishedFiles reads files that other programs have written.
func TestPublishedFiles(t *testing.T) {
	for _, test := range []struct {
		name    string
		tensors int
		data    int64
		faults  []Code
	}{
		{"dummy-00001-of-00002", 0, 768, nil},
		{"dummy-00002-of-00002", 10, 576, nil},
		{"ggml-vocab-phi-3", 0, 726048, nil},
		// The compiler that wrote it repeats general.architecture.
		{"iree-single-v2-align64", 1, 384, []Code{CodeDuplicateKey}},
		{"stories260K-Q4_0", 48, 14240, nil},
		{"stories260K-Q8_0", 48, 14240, nil},
		{"stories260K-big-endian", 48, 14176, []Code{CodeBigEndian}},
		{"stories260K-v1", 48, 11456, []Code{CodeOldVersion}},
		{"stories260K-v3", 48, 14176, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := testdata.Path(t, filepath.Join("models", test.name+".gguf"))
			f, err := Open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if len(f.Tensors) != test.tensors || f.DataOffset != test.data {
				t.Errorf("%d tensors, data at %d; want %d, %d", len(f.Tensors), f.DataOffset, test.tensors, test.data)
			}
			header, err := f.Header()
			if err != nil {
				t.Fatal(err)
			}
			compare(t, f, header)
			if got := codesOf(f.Validate()); !reflect.DeepEqual(got, test.faults) {
				t.Errorf("Validate: %v, want %v", got, test.faults)
			}
			for i := range f.Tensors {
				r, err := f.Data(i)
				if err != nil {
					t.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, r); err != nil || uint64(n) != f.Tensors[i].Bytes {
					t.Errorf("tensor %d: read %d bytes of %d: %v", i, n, f.Tensors[i].Bytes, err)
				}
			}
		})
	}
}

// TestBigEndianPair compares a file with the same model in the other byte order.
func TestBigEndianPair(t *testing.T) {
	little, err := Open(testdata.Path(t, "models/stories260K-v3.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer little.Close()
	big, err := Open(testdata.Path(t, "models/stories260K-big-endian.gguf"))
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	if !reflect.DeepEqual(little.Tensors, big.Tensors) {
		t.Error("the tensors differ")
	}
	for _, kv := range little.KVs {
		v, ok := big.Lookup(kv.Key)
		if !ok || v.Type() != kv.Value.Type() || !reflect.DeepEqual(goValue(v), goValue(kv.Value)) {
			t.Errorf("key %q differs", kv.Key)
		}
	}
}
