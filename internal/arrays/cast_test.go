package arrays

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// le64 is numbers of 64 bits.
func le64(words ...uint64) (b []byte) {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

func f64s(v ...float64) []byte {
	words := make([]uint64, len(v))
	for i, x := range v {
		words[i] = math.Float64bits(x)
	}
	return le64(words...)
}

// stored is an array of bytes.
func stored(t *testing.T, dtype string, data []byte) *Array {
	t.Helper()
	elem, ok := ElementOf(dtype)
	if !ok {
		t.Fatal(dtype)
	}
	a, err := New([]uint64{uint64(int64(len(data)) / elem.Bytes * elem.Elems)}, elem, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// read is what a cast gives, and costs.
func read(t *testing.T, a *Array, dtype string) ([]byte, values.Rounding) {
	t.Helper()
	var tally Tally
	c, err := Cast(a, dtype, &tally)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, c.Size())
	if err := source.ReadFull(c.Data, b, 0); err != nil {
		t.Fatal(err)
	}
	return b, tally.Counts()
}

// Numbers of F64 are rounded once, and what that costs is counted by kind.
func TestCastCounts(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, tt := range []struct {
		dtype string
		v     float64
		want  uint32
		cost  values.Rounding
	}{
		{"BF16", 1, 0x3f80, values.Rounding{}},
		{"BF16", 1 + 0x1p-8, 0x3f80, values.Rounding{Inexact: 1}}, // a tie, to even
		{"BF16", 1 + 0x3p-8, 0x3f82, values.Rounding{Inexact: 1}},
		{"BF16", 1 + 0x1p-8 + 0x1p-40, 0x3f81, values.Rounding{Inexact: 1}}, // above a tie by less than a float32 holds
		{"BF16", math.MaxFloat64, 0x7f80, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"BF16", 0x1p-134, 0, values.Rounding{Inexact: 1, Underflowed: 1}},
		{"BF16", 0x1.8p-133, 2, values.Rounding{Inexact: 1}},
		{"BF16", -0x1p-133, 0x8001, values.Rounding{}},
		{"BF16", -inf, 0xff80, values.Rounding{}},
		{"BF16", nan, 0x7fc0, values.Rounding{NaN: 1}},
		{"BF16", math.Float64frombits(0xfff0000000000001), 0xffc0, values.Rounding{NaN: 1}}, // a payload that is lost
		{"F16", 1 + 0x1p-11, 0x3c00, values.Rounding{Inexact: 1}},
		{"F16", 65519, 0x7bff, values.Rounding{Inexact: 1}},
		{"F16", 65520, 0x7c00, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"F16", 0x1p-25, 0, values.Rounding{Inexact: 1, Underflowed: 1}},
		{"F16", 0x1.8p-24, 2, values.Rounding{Inexact: 1}},
		{"F16", math.Copysign(0, -1), 0x8000, values.Rounding{}},
		{"F16", 0x1.ff8p-15, 0x03ff, values.Rounding{}},
		{"F16", 0x1.ffep-15, 0x0400, values.Rounding{Inexact: 1}},
		{"F32", 0x1p-149, 1, values.Rounding{}},
		{"F32", 0x1.8p-149, 2, values.Rounding{Inexact: 1}},
		{"F32", 1 + 0x1p-24 + 0x1p-50, 0x3f800001, values.Rounding{Inexact: 1}},
		{"F32", 1e39, 0x7f800000, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"F8_E4M3", 464, 0x7e, values.Rounding{Inexact: 1}}, // a tie, and 448 is even
		{"F8_E4M3", -465, 0xff, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"F8_E4M3", inf, 0x7f, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"F8_E4M3", math.Copysign(nan, -1), 0xff, values.Rounding{NaN: 1}},
		{"F8_E5M2", 61440, 0x7c, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"F8_E5M2", inf, 0x7c, values.Rounding{}},
		{"F8_E4M3FNUZ", 248, 0x80, values.Rounding{Inexact: 1, Overflowed: 1}},
		{"F8_E4M3FNUZ", math.Copysign(0, -1), 0, values.Rounding{}},
		{"F8_E4M3FNUZ", -0x1p-12, 0, values.Rounding{Inexact: 1, Underflowed: 1}},
		{"F8_E5M2FNUZ", -nan, 0x80, values.Rounding{NaN: 1}},
	} {
		got, cost := read(t, stored(t, "F64", f64s(tt.v)), tt.dtype)
		var code [4]byte
		copy(code[:], got)
		tt.cost.Elements = 1
		if u := binary.LittleEndian.Uint32(code[:]); u != tt.want || cost != tt.cost {
			t.Errorf("%x is %#x of %s, want %#x; %+v, want %+v", tt.v, u, tt.dtype, tt.want, cost, tt.cost)
		}
	}
}

// Integers that no float64 holds are rounded once, too: math/big knows to what.
func TestCastIntegers(t *testing.T) {
	var words []uint64
	for shift := range uint(64) {
		for _, low := range []uint64{0, 1, 2, 3} {
			for _, base := range []uint64{1, 3, 0x101, 0x1000001, 0x801, 0xfff, 0x1ffffff} {
				words = append(words, base<<shift+low, base<<shift-low)
			}
		}
	}
	for _, signed := range []bool{false, true} {
		dtype := map[bool]string{false: "U64", true: "I64"}[signed]
		got32, n32 := read(t, stored(t, dtype, le64(words...)), "F32")
		got64, n64 := read(t, stored(t, dtype, le64(words...)), "F64")
		var inexact32, inexact64 uint64
		for i, w := range words {
			x := new(big.Int).SetUint64(w)
			if signed {
				x.SetInt64(int64(w))
			}
			want32, acc32 := new(big.Float).SetInt(x).Float32()
			want64, acc64 := new(big.Float).SetInt(x).Float64()
			if acc32 != big.Exact {
				inexact32++
			}
			if acc64 != big.Exact {
				inexact64++
			}
			if v := math.Float32frombits(binary.LittleEndian.Uint32(got32[4*i:])); v != want32 {
				t.Errorf("%s %v is %v of F32, want %v", dtype, x, v, want32)
			}
			if v := math.Float64frombits(binary.LittleEndian.Uint64(got64[8*i:])); v != want64 {
				t.Errorf("%s %v is %v of F64, want %v", dtype, x, v, want64)
			}
		}
		if n32.Inexact != inexact32 || n64.Inexact != inexact64 {
			t.Errorf("%s: %d and %d numbers are inexact, want %d and %d", dtype, n32.Inexact, n64.Inexact, inexact32, inexact64)
		}
	}
}

// Whatever the pieces that an array is read in, the bytes are the same, and every element
// counts once.
func TestCastInPieces(t *testing.T) {
	blocks := make([]byte, 34*100) // Q8_0
	for i := range blocks {
		if blocks[i] = byte(i * 7); i%34 < 2 {
			blocks[i] = [2]byte{byte(i), 0x2c}[i%34]
		}
	}
	for _, dtype := range []string{"F32", "BF16", "F8_E4M3"} {
		a := stored(t, "Q8_0", blocks)
		whole, want := read(t, a, dtype)
		if want.Elements != 3200 || want.Inexact == 0 && dtype != "F32" {
			t.Errorf("%s: %+v", dtype, want)
		}
		for _, step := range []int{1, 3, 7, 64, 1001} {
			var tally Tally
			c, err := Cast(a, dtype, &tally)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, len(whole))
			for i := 0; i < len(got); i += step {
				if err := source.ReadFull(c.Data, got[i:min(i+step, len(got))], int64(i)); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(got, whole) || tally.Counts() != want {
				t.Errorf("%s in pieces of %d: equal %v, %+v, want %+v", dtype, step, bytes.Equal(got, whole), tally.Counts(), want)
			}
		}
	}
}

// Numbers that come in the other byte order are turned, with a cast and without.
func TestCastTurns(t *testing.T) {
	v := []byte{0x3f, 0xc0, 0, 0, 0xc0, 0x20, 0, 0} // 1.5 and -2.5
	a := stored(t, "F32", v)
	a.Elem.BigEndian = true
	same, err := Cast(a, "F32", nil)
	if err != nil || same.Elem.BigEndian {
		t.Fatal(same, err)
	}
	got := make([]byte, 8)
	for i := range got {
		if err := source.ReadFull(same.Data, got[i:i+1], int64(i)); err != nil {
			t.Fatal(err)
		}
	}
	if want := []byte{0, 0, 0xc0, 0x3f, 0, 0, 0x20, 0xc0}; !bytes.Equal(got, want) {
		t.Errorf("% x, want % x", got, want)
	}
	if got, _ := read(t, a, "BF16"); !bytes.Equal(got, []byte{0xc0, 0x3f, 0x20, 0xc0}) {
		t.Errorf("% x", got)
	}
}

func TestCastRefuses(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"C64", "F32", "complex numbers of C64 cannot become F32"},
		{"F32", "Q8_0", "numbers cannot be written as Q8_0; F64, F32, F16, BF16, F8_E4M3, F8_E5M2, F8_E4M3FNUZ and F8_E5M2FNUZ can"},
		{"F32", "F8_E8M0", "numbers cannot be written as F8_E8M0; F64, F32, F16, BF16, F8_E4M3, F8_E5M2, F8_E4M3FNUZ and F8_E5M2FNUZ can"},
		{"F32", "I8", "numbers cannot be written as I8; F64, F32, F16, BF16, F8_E4M3, F8_E5M2, F8_E4M3FNUZ and F8_E5M2FNUZ can"},
	} {
		if _, err := Cast(stored(t, tt.from, make([]byte, 64)), tt.to, nil); err == nil || err.Error() != tt.want {
			t.Errorf("%s to %s: %v, want %s", tt.from, tt.to, err, tt.want)
		}
	}
}

// The numbers of a small array are those of its dtype and byte order; what has no numbers, or too many, is refused.
func TestNumbers(t *testing.T) {
	many := &Array{Shape: []int64{1 << 40}, Elem: Element{DType: "F32", Elems: 1, Bytes: 4}}
	if _, err := many.Numbers(); err == nil || err.Error() != "1099511627776 numbers of F32 cannot be read at once" {
		t.Error(err)
	}
	for _, tt := range []struct {
		dtype string
		big   bool
		shape []uint64
		data  []byte
		want  []float64
	}{
		{"F32", false, []uint64{2}, []byte{0, 0, 0x80, 0x3f, 0, 0, 0x20, 0xc1}, []float64{1, -10}},
		{"F32", true, []uint64{2}, []byte{0x3f, 0x80, 0, 0, 0xc1, 0x20, 0, 0}, []float64{1, -10}},
		{"BF16", false, []uint64{1, 2}, []byte{0x80, 0x3f, 0x20, 0xc1}, []float64{1, -10}},
		{"F16", false, []uint64{}, []byte{0x00, 0x3e}, []float64{1.5}},
		{"I64", false, []uint64{2}, []byte{0, 1, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, []float64{256, -1}},
		{"F32", false, []uint64{0}, nil, []float64{}},
	} {
		elem, ok := ElementOf(tt.dtype)
		if !ok {
			t.Fatal(tt.dtype)
		}
		elem.BigEndian = tt.big
		a, err := New(tt.shape, elem, bytes.NewReader(tt.data))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.Numbers(); err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s %v: %v, %v", tt.dtype, tt.shape, got, err)
		}
	}
	for _, a := range []*Array{
		{Shape: []int64{2}, Elem: Element{DType: "C64", Elems: 1, Bytes: 8}, Data: bytes.NewReader(make([]byte, 16))},
		{Shape: []int64{2}, Elem: Element{DType: "F32", Elems: 1, Bytes: 4}, Data: bytes.NewReader(make([]byte, 7))},
		{Shape: []int64{1 << 40}, Elem: Element{DType: "F32", Elems: 1, Bytes: 4}, Data: bytes.NewReader(nil)},
	} {
		if got, err := a.Numbers(); err == nil {
			t.Errorf("%s %v: %v", a.Elem.DType, a.Shape, got)
		}
	}
}
