package inspect_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/oracle"
	"github.com/wtinspect/wtinspect/internal/values"
)

// cat reads tensors of a file.
func cat(t *testing.T, file string, opts *inspect.CatOptions) *inspect.CatResult {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{file}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	r, err := inspect.Cat(t.Context(), set, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// written is what Write gives.
func written(t *testing.T, of *inspect.CatTensor) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := of.Write(&b); err != nil {
		t.Fatalf("%s: %v", of.Name, err)
	}
	return b.Bytes()
}

// readNPY reads a file by the words of
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html.
func readNPY(t *testing.T, file []byte) (descr, shape string, data []byte) {
	t.Helper()
	if string(file[:8]) != "\x93NUMPY\x01\x00" {
		t.Fatalf("begins with %q", file[:8])
	}
	n := int(binary.LittleEndian.Uint16(file[8:]))
	head := string(file[10 : 10+n])
	if (10+n)%64 != 0 || !strings.HasSuffix(head, "\n") {
		t.Errorf("the header %q ends at %d", head, 10+n)
	}
	m := regexp.MustCompile(`^\{'descr': '([^']*)', 'fortran_order': False, 'shape': (\(.*\)), \} *\n$`).FindStringSubmatch(head)
	if m == nil {
		t.Fatalf("header %q", head)
	}
	return m[1], m[2], file[10+n:]
}

// flat lists the numbers in nested arrays of JSON.
func flat(t *testing.T, v any) (out []float64) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			out = append(out, flat(t, e)...)
		}
	case bool:
		if v {
			return []float64{1}
		}
		return []float64{0}
	case string:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			t.Error(err)
		}
		return []float64{f}
	case json.Number:
		f, err := strconv.ParseFloat(v.String(), 64)
		if err != nil {
			t.Error(err)
		}
		return []float64{f}
	default:
		t.Errorf("a %T", v)
	}
	return out
}

// same are numbers that are equal, or both NaN, and the index of the first that is not.
func same(a, b []float64) (int, bool) {
	if len(a) != len(b) {
		return -1, false
	}
	for i := range a {
		if math.Float64bits(a[i]) != math.Float64bits(b[i]) && (a[i] == a[i] || b[i] == b[i]) {
			return i, false
		}
	}
	return 0, true
}

// Numbers of every dtype of safetensors are those of an independent decoder, in JSON, as text
// and widened for NumPy; and a file of NumPy has the stored bytes.
func TestCatDTypes(t *testing.T) {
	var text strings.Builder
	rng := oracle.Rand(7, 7)
	for dtype, bits := range oracle.Bits {
		data := make([]byte, 48*bits/8)
		for i := range data {
			data[i] = byte(rng.Uint32())
			if dtype == "BOOL" {
				data[i] &= 1
			}
		}
		fmt.Fprintf(&text, "tensor %s %s [6,8] hex=%x\n", dtype, dtype, data)
	}
	path := fixture.File(t, "m.safetensors", text.String())
	file, err := oracle.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	wide := map[string]bool{"I64": true, "U64": true, "C64": true}
	narrow := map[string]bool{"F4": true, "F6_E2M3": true, "F6_E3M2": true}
	for i := range file.Tensors {
		of := &file.Tensors[i]
		stored, err := file.Bytes(of)
		if err != nil {
			t.Fatal(err)
		}
		want, err := oracle.Numbers(of, stored)
		if err != nil {
			t.Fatal(err)
		}
		name := []string{of.Name}
		r := cat(t, path, &inspect.CatOptions{Names: name})
		var doc struct{ Values any }
		dec := json.NewDecoder(bytes.NewReader(written(t, &r.Tensors[0])))
		dec.UseNumber()
		if err := dec.Decode(&doc); err != nil {
			t.Fatal(err)
		}
		if at, ok := same(flat(t, doc.Values), want); !ok {
			t.Errorf("%s: JSON has another number %d", of.Name, at)
		}
		r = cat(t, path, &inspect.CatOptions{Names: name, Form: inspect.CatText})
		numbers, err := r.Tensors[0].Numbers()
		if err != nil {
			t.Fatal(err)
		}
		var got []float64
		for _, n := range numbers {
			got = append(got, n.Value)
		}
		if at, ok := same(got, want); !ok {
			t.Errorf("%s: text has another number %d", of.Name, at)
		}
		r = cat(t, path, &inspect.CatOptions{Names: name, Form: inspect.CatRaw})
		if raw := written(t, &r.Tensors[0]); !bytes.Equal(raw, stored) {
			t.Errorf("%s: raw differs", of.Name)
		}
		r = cat(t, path, &inspect.CatOptions{Names: name, Form: inspect.CatNPY})
		descr, shape, data := readNPY(t, written(t, &r.Tensors[0]))
		if shape != "(6, 8)" {
			t.Errorf("%s: shape %s", of.Name, shape)
		}
		size, _ := strconv.Atoi(descr[2:])
		switch {
		case narrow[of.Name]:
			if descr != "<f4" {
				t.Errorf("%s: %s", of.Name, descr)
			}
		case uint64(8*size) != oracle.Bits[of.Name] || !bytes.Equal(data, stored):
			t.Errorf("%s: %s, %x", of.Name, descr, data)
		}
		if wide[of.Name] {
			continue
		}
		r = cat(t, path, &inspect.CatOptions{Names: name, Form: inspect.CatNPY, DType: "F64"})
		descr, _, data = readNPY(t, written(t, &r.Tensors[0]))
		got = make([]float64, len(data)/8)
		for i := range got {
			got[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
		}
		if at, ok := same(got, want); descr != "<f8" || !ok {
			t.Errorf("%s: %s has another number %d", of.Name, descr, at)
		}
	}
}

// NumPy has one true alone.
func TestCatBool(t *testing.T) {
	path := fixture.File(t, "m.safetensors", "tensor x BOOL [3] hex=0005ff")
	r := cat(t, path, &inspect.CatOptions{Names: []string{"x"}, Form: inspect.CatNPY})
	if descr, _, data := readNPY(t, written(t, &r.Tensors[0])); descr != "|b1" || !bytes.Equal(data, []byte{0, 1, 1}) {
		t.Errorf("%s, %x", descr, data)
	}
}

// Numbers of every block type are those of ggml: the digests of a block of each.
func TestCatBlocks(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("..", "internal", "values", "testdata", "golden.txt"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(golden)) {
		var name, block, sum string
		if _, err := fmt.Sscan(line, &name, &block, &sum); err != nil || name == "#" {
			continue
		}
		typ, ok := values.Lookup(name)
		if !ok {
			t.Fatalf("no type %s", name)
		}
		path := fixture.File(t, "m.gguf", fmt.Sprintf("format gguf\ntensor x %s [2,%d] hex=%s\n", name, typ.BlockElems, block))
		row, err := inspect.ParseSlice("1")
		if err != nil {
			t.Fatal(err)
		}
		r := cat(t, path, &inspect.CatOptions{Names: []string{"x"}, Form: inspect.CatNPY, DType: "F32", Slice: row})
		if _, shape, got := readNPY(t, written(t, &r.Tensors[0])); fmt.Sprintf("%x", sha256.Sum256(got)) != sum || shape != fmt.Sprintf("(%d,)", typ.BlockElems) {
			t.Errorf("%s: the numbers are not those of ggml; shape %s", name, shape)
		}
		n++
	}
	if n != 28 {
		t.Errorf("%d types, want 28", n)
	}
}

// Hostile shapes end soon: axes without end of tensors without elements, and a thousand axes.
func TestCatHostileShapes(t *testing.T) {
	path := fixture.File(t, "m.safetensors", `tensor none F32 [9223372036854775807,0,9223372036854775807]
tensor huge F32 [0,18446744073709551615]
tensor axes F32 [`+strings.Repeat("1,", 999)+`1]
`)
	for _, form := range []inspect.CatForm{inspect.CatText, inspect.CatJSON, inspect.CatNPY, inspect.CatRaw} {
		r := cat(t, path, &inspect.CatOptions{Names: []string{"none", "huge", "axes"}, Form: form})
		if one := &r.Tensors[0]; one.Err != nil {
			t.Errorf("%s: %v", form, one.Err)
		} else if form != inspect.CatText && len(written(t, one)) > 500 {
			t.Errorf("%s: no elements take %d bytes", form, len(written(t, one)))
		}
		if err := r.Tensors[1].Err; err == nil || !strings.Contains(err.Error(), "axis 1 is too long") {
			t.Errorf("%s: %v", form, err)
		}
		if err := r.Tensors[2].Err; (err == nil) != (form == inspect.CatRaw) {
			t.Errorf("%s: a thousand axes: %v", form, err)
		}
	}
}

// A summary of many axes has ten thousand numbers at most.
func TestCatSummaryIsShort(t *testing.T) {
	path := fixture.File(t, "m.safetensors", "data zero\ntensor x U8 [7,7,7,7,7,7,7]\ntensor y U8 [8,8,8,8,8]\n")
	r := cat(t, path, &inspect.CatOptions{Names: []string{"x", "y"}, Form: inspect.CatText})
	for i, want := range []string{"[2 2 2 2 2 2 2]", "[6 6 6 6 6]"} {
		of := &r.Tensors[i]
		numbers, err := of.Numbers()
		if err != nil || fmt.Sprint(of.Shown) != want || len(numbers) > 10_000 {
			t.Errorf("%s: %d numbers, %v, %v", of.Name, len(numbers), of.Shown, err)
		}
	}
}

// What ends the context ends the reading.
func TestCatEnds(t *testing.T) {
	set, err := inspect.Open(t.Context(), []string{fixture.File(t, "m.safetensors", "tensor x F32 [4]")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	ctx, cancel := context.WithCancel(t.Context())
	r, err := inspect.Cat(ctx, set, &inspect.CatOptions{Names: []string{"x"}, Form: inspect.CatNPY})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	dir := filepath.Join(t.TempDir(), "out")
	if err := r.WriteDir(dir, false); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}
