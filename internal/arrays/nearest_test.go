package arrays

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// A target is a format of floating-point numbers by its definition: exponent and mantissa
// bits, bias, and whether it has infinities, or NaN alone as the last code (fn), or NaN in
// the place of -0 (fnuz). IEEE 754; OCP OFP8 for E4M3 and E5M2; Graphcore's for fnuz.
type target struct {
	name            string
	exp, mant, bias int
	kind            string
}

var targets = []target{
	{"F16", 5, 10, 15, "ieee"},
	{"BF16", 8, 7, 127, "ieee"},
	{"F8_E4M3", 4, 3, 7, "fn"},
	{"F8_E5M2", 5, 2, 15, "ieee"},
	{"F8_E4M3FNUZ", 4, 3, 8, "fnuz"},
	{"F8_E5M2FNUZ", 5, 2, 16, "fnuz"},
}

// positives lists the finite numbers from 0 on, by their codes.
func (f target) positives() []float64 {
	var out []float64
	for code := range 1 << (f.exp + f.mant) {
		e, m := code>>f.mant, float64(code&(1<<f.mant-1))
		switch {
		case f.kind == "ieee" && e == 1<<f.exp-1, f.kind == "fn" && code == 1<<(f.exp+f.mant)-1:
			return out
		case e == 0:
			out = append(out, math.Ldexp(m, 1-f.bias-f.mant))
		default:
			out = append(out, math.Ldexp(float64(int(1)<<f.mant)+m, e-f.bias-f.mant))
		}
	}
	return out
}

// nearest is the code of the nearest number, of two the even one. All is exact: float64 has
// the numbers, their differences, and the one that would follow the largest.
func (f target) nearest(v float64, list []float64) (code uint32, nan bool) {
	sign := uint32(0)
	if math.Signbit(v) {
		sign = 1 << (f.exp + f.mant)
	}
	v = math.Abs(v)
	last := len(list) - 1
	beyond := list[last] + (list[last] - list[last-1])
	at, _ := slices.BinarySearch(list, v)
	switch {
	case v != v:
		return 0, true
	case at > last:
		if math.IsInf(v, 0) || v-list[last] > beyond-v || v-list[last] == beyond-v && last%2 == 1 {
			if f.kind == "ieee" {
				return sign | uint32(last+1), false // infinity is the next code
			}
			return 0, true
		}
		at = last
	case list[at] != v:
		if down, up := v-list[at-1], list[at]-v; down < up || down == up && at%2 == 1 {
			at--
		}
	}
	if at == 0 && f.kind == "fnuz" {
		sign = 0 // it has no -0
	}
	return sign | uint32(at), false
}

// All numbers of 16 bits, and many of 32, become the nearest of each type.
func TestCastIsNearest(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var wide []byte
	add := func(u uint32) { wide = binary.LittleEndian.AppendUint32(wide, u) }
	n := 1_000_000
	if testing.Short() {
		n = 50_000
	}
	for range n {
		add(rng.Uint32())
	}
	for _, f := range targets {
		list := f.positives()
		for i, v := range list[:len(list)-1] {
			tie := float32(v + (list[i+1]-v)/2)
			for _, u := range []uint32{math.Float32bits(tie) - 1, math.Float32bits(tie), math.Float32bits(tie) + 1} {
				add(u)
				add(u | 1<<31)
			}
		}
	}
	var narrow []byte
	for u := range 1 << 16 {
		narrow = binary.LittleEndian.AppendUint16(narrow, uint16(u))
	}
	half := targets[0].positives()
	for _, src := range []struct {
		dtype string
		data  []byte
		size  int
		value func(b []byte) float64
	}{
		{"F32", wide, 4, func(b []byte) float64 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
		}},
		{"BF16", narrow, 2, func(b []byte) float64 {
			return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16))
		}},
		{"F16", narrow, 2, func(b []byte) float64 {
			u := binary.LittleEndian.Uint16(b)
			v := math.NaN()
			switch code := int(u & 0x7fff); {
			case code < len(half):
				v = half[code]
			case code == len(half):
				v = math.Inf(1)
			}
			return math.Copysign(v, float64(1-2*int(u>>15)))
		}},
	} {
		count := len(src.data) / src.size
		elem, _ := ElementOf(src.dtype)
		a, err := New([]uint64{uint64(count)}, elem, bytes.NewReader(src.data))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range targets {
			list := f.positives()
			var tally Tally
			c, err := Cast(a, f.name, &tally)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]byte, c.Size())
			if _, err := c.Data.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			wrong, nans := 0, uint64(0)
			for i := range count {
				v := src.value(src.data[i*src.size:])
				want, nan := f.nearest(v, list)
				if v != v {
					nans++
				}
				var code uint32
				if c.Elem.Bytes == 1 {
					code = uint32(got[i])
				} else {
					code = uint32(binary.LittleEndian.Uint16(got[2*i:]))
				}
				if nan && f.isNaN(code) || !nan && code == want {
					continue
				}
				if wrong++; wrong < 5 {
					t.Errorf("%s %v (element %d) is %#x of %s, want %#x (NaN: %v)", src.dtype, v, i, code, f.name, want, nan)
				}
			}
			if n := tally.Counts(); f.name != src.dtype && (n.Elements != uint64(count) || n.NaN != nans) {
				t.Errorf("%s to %s: %+v of %d numbers, %d of them NaN", src.dtype, f.name, n, count, nans)
			}
		}
	}
}

func (f target) isNaN(code uint32) bool {
	bits := f.exp + f.mant
	switch f.kind {
	case "fnuz":
		return code == 1<<bits
	case "fn":
		return code&(1<<bits-1) == 1<<bits-1
	}
	return code>>f.mant&(1<<f.exp-1) == 1<<f.exp-1 && code&(1<<f.mant-1) != 0
}

// Numbers of 64 bits become the nearest of each type in one rounding: next to what lies between two
// of them are some that by way of F32 would be a tie. Every code of every FP8 type does, too, and
// F64 and F32 have all of those.
func TestCastFromF64AndF8(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var wide []float64
	for range 20_000 {
		wide = append(wide, math.Float64frombits(rng.Uint64()), rng.NormFloat64(), math.Ldexp(rng.NormFloat64(), rng.IntN(60)-40))
	}
	for _, f := range targets {
		list := f.positives()
		for i, v := range list[:len(list)-1] {
			tie := v + (list[i+1]-v)/2
			for _, near := range []float64{math.Nextafter(tie, 0), tie, math.Nextafter(tie, math.Inf(1))} {
				wide = append(wide, near, -near)
			}
		}
	}
	words := make([]uint64, len(wide))
	for i, v := range wide {
		words[i] = math.Float64bits(v)
	}
	sources := map[string][]float64{"F64": wide}
	for _, f := range targets[2:] {
		list := f.positives()
		var all []float64
		for code := range uint32(256) {
			v := math.NaN()
			switch at := int(code & 0x7f); {
			case f.isNaN(code):
			case at < len(list):
				v = list[at]
			default:
				v = math.Inf(1)
			}
			if code >= 0x80 {
				v = math.Copysign(v, -1)
			}
			all = append(all, v)
		}
		sources[f.name] = all
	}
	for name, numbers := range sources {
		data := le64(words...)
		if name != "F64" {
			data = make([]byte, 256)
			for i := range data {
				data[i] = byte(i)
			}
		}
		a := stored(t, name, data)
		for _, f := range targets {
			got, _ := read(t, a, f.name)
			list, size, wrong := f.positives(), (f.exp+f.mant+1)/8, 0
			for i, v := range numbers {
				code := uint32(got[size*i])
				if size == 2 {
					code = uint32(binary.LittleEndian.Uint16(got[2*i:]))
				}
				want, nan := f.nearest(v, list)
				if nan && f.isNaN(code) || !nan && code == want {
					continue
				}
				if wrong++; wrong < 5 {
					t.Errorf("%s %v (element %d) is %#x of %s, want %#x (NaN: %v)", name, v, i, code, f.name, want, nan)
				}
			}
		}
		for _, to := range []string{"F32", "F64"} {
			got, cost := read(t, a, to)
			for i, v := range numbers {
				var is float64
				if to == "F32" {
					is, v = float64(math.Float32frombits(binary.LittleEndian.Uint32(got[4*i:]))), float64(float32(v))
				} else {
					is = math.Float64frombits(binary.LittleEndian.Uint64(got[8*i:]))
				}
				if is != v && (is == is || v == v) || math.Signbit(is) != math.Signbit(v) && v == v {
					t.Fatalf("%s element %d is %v of %s, want %v", name, i, is, to, v)
				}
			}
			if name != "F64" && cost.Inexact > 0 {
				t.Errorf("%s to %s: %+v", name, to, cost)
			}
		}
	}
}
