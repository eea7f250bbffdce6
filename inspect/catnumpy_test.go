package inspect_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// A file of NumPy has the shape as Python writes it, and elements that begin at a multiple of 64, however many axes
// there are.
func TestCatShapes(t *testing.T) {
	ones := strings.Repeat(",1", 40)
	for shape, want := range map[string]string{
		"[]": "()", "[0]": "(0,)", "[5]": "(5,)", "[0,3]": "(0, 3)", "[2,0,4]": "(2, 0, 4)", "[2,3]": "(2, 3)", "[2,3,4]": "(2, 3, 4)",
		"[12345]": "(12345,)", "[1000,12]": "(1000, 12)", "[3" + ones + "]": "(3" + strings.ReplaceAll(ones, ",", ", ") + ")",
	} {
		for dtype, size := range map[string]int{"F32": 4, "BF16": 2, "F8_E4M3": 1, "I64": 8, "BOOL": 1} {
			path := fixture.File(t, "m.safetensors", fmt.Sprintf("tensor x %s %s hex=00010001\n", dtype, shape))
			_, got, data := readNPY(t, written(t, &cat(t, path, &inspect.CatOptions{Names: []string{"x"}, Form: inspect.CatNPY}).Tensors[0]))
			n := size
			for _, d := range strings.FieldsFunc(strings.Trim(shape, "[]"), func(c rune) bool { return c == ',' }) {
				var k int
				fmt.Sscan(d, &k)
				n *= k
			}
			if got != want || len(data) != n {
				t.Errorf("%s %s: the shape %s and %d bytes, want %s and %d", dtype, shape, got, len(data), want, n)
			}
		}
	}
}

// Arrays of NumPy, of every type that it shares with safetensors, in both byte orders and both orders of the axes, have
// the numbers that they were made with; and what is written of them is little-endian, in C order.
func TestCatArrays(t *testing.T) {
	types := []struct {
		descr string
		size  int
		bits  func(v float64) uint64
	}{
		{"i1", 1, func(v float64) uint64 { return uint64(int8(v)) }},
		{"u1", 1, func(v float64) uint64 { return uint64(v) }},
		{"i2", 2, func(v float64) uint64 { return uint64(int64(v)) }},
		{"u2", 2, func(v float64) uint64 { return uint64(v) }},
		{"i4", 4, func(v float64) uint64 { return uint64(int64(v)) }},
		{"u4", 4, func(v float64) uint64 { return uint64(v) }},
		{"i8", 8, func(v float64) uint64 { return uint64(int64(v)) }},
		{"u8", 8, func(v float64) uint64 { return uint64(v) }},
		{"f2", 2, func(v float64) uint64 { // integers of at most 11 bits
			if v == 0 {
				return 0
			}
			m, e := math.Frexp(math.Abs(v))
			bits := uint64(e+14)<<10 | uint64(m*2048)&0x3ff
			if v < 0 {
				bits |= 1 << 15
			}
			return bits
		}},
		{"f4", 4, func(v float64) uint64 { return uint64(math.Float32bits(float32(v))) }},
		{"f8", 8, math.Float64bits},
	}
	for _, shape := range [][]int{{}, {7}, {3, 5}, {2, 3, 4}, {0, 3}} {
		n := 1
		for _, d := range shape {
			n *= d
		}
		text := strings.ReplaceAll(strings.Trim(fmt.Sprint(shape), "[]"), " ", ", ")
		if len(shape) == 1 {
			text += ","
		}
		for _, typ := range types {
			numbers, little := make([]float64, n), []byte{}
			for i := range numbers {
				if numbers[i] = float64(i*i%97 - 20); strings.HasPrefix(typ.descr, "u") {
					numbers[i] += 20
				}
				little = append(little, binary.LittleEndian.AppendUint64(nil, typ.bits(numbers[i]))[:typ.size]...)
			}
			for _, order := range []string{"<", ">"} {
				for _, fortran := range []string{"False", "True"} {
					var data []byte
					for at := range n {
						from := at
						if fortran == "True" { // the first axis is the fastest
							from = 0
							for rest, axis := at, 0; axis < len(shape); axis++ {
								index, stride := rest%shape[axis], 1
								for _, d := range shape[axis+1:] {
									stride *= d
								}
								from, rest = from+index*stride, rest/shape[axis]
							}
						}
						b := binary.BigEndian.AppendUint64(nil, typ.bits(numbers[from]))[8-typ.size:]
						if order == "<" {
							b = binary.LittleEndian.AppendUint64(nil, typ.bits(numbers[from]))[:typ.size]
						}
						data = append(data, b...)
					}
					descr := order + typ.descr
					if typ.size == 1 {
						descr = "|" + typ.descr
					}
					head := fmt.Sprintf("{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }", descr, fortran, text)
					head += strings.Repeat(" ", 117-len(head)) + "\n"
					file := append(append([]byte("\x93NUMPY\x01\x00"), byte(len(head)), 0), head...)
					path := filepath.Join(t.TempDir(), "x.npy")
					if err := os.WriteFile(path, append(file, data...), 0o666); err != nil {
						t.Fatal(err)
					}
					what := fmt.Sprint(descr, " ", shape, " ", fortran)
					r := cat(t, path, &inspect.CatOptions{Names: []string{"*"}})
					var doc struct{ Values any }
					dec := json.NewDecoder(bytes.NewReader(written(t, &r.Tensors[0])))
					dec.UseNumber()
					if err := dec.Decode(&doc); err != nil {
						t.Fatal(err)
					}
					if at, ok := same(flat(t, doc.Values), numbers); !ok {
						t.Errorf("%s: another number %d", what, at)
					}
					got, dims, elements := readNPY(t, written(t, &cat(t, path, &inspect.CatOptions{Names: []string{"*"}, Form: inspect.CatNPY}).Tensors[0]))
					if got != strings.Replace(descr, ">", "<", 1) || dims != "("+text+")" || !bytes.Equal(elements, little) {
						t.Errorf("%s becomes %s %s, % x; want % x", what, got, dims, elements, little)
					}
				}
			}
		}
	}
}
