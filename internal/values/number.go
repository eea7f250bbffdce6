package values

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// A Kind is what the elements of a type that is not stored in blocks are.
type Kind uint8

// The kinds.
const (
	Integer Kind = iota
	Float
	Bool
	Complex
)

// Kind returns what elements are. Those that are stored in blocks are floats.
func (t *Type) Kind() Kind {
	switch {
	case t.Name == "BOOL":
		return Bool
	case t.Parts == 2:
		return Complex
	case t.kind == kindInt:
		return Integer
	}
	return Float
}

// Digits returns the numbers of an element, one or, of a complex one, two: the value, and
// the fewest digits that are read back as it in its own type, as NumPy has them. They have
// the form -1.5e-05, or NaN, +Inf, -Inf, and for integers -15, which are all digits, whatever
// the value. A float of fewer than 16 bits has the digits of an F32: people know the
// largest F8_E4M3 as 448, although 450 is read back as it.
func (t *Type) Digits(element []byte) (v [2]float64, digits [2]string) {
	switch k := t.Kind(); {
	case k == Integer:
		text := t.integer(element)
		v[0], _ = strconv.ParseFloat(text, 64)
		digits[0] = text
		return v, digits
	case k == Bool && element[0] != 0:
		return [2]float64{1}, [2]string{"1"}
	case k == Bool:
		return v, [2]string{"0"}
	}
	for i := range t.Decode64(v[:t.Parts], element) {
		digits[i] = t.shortest(v[i])
	}
	return v, digits
}

// integer writes an integer.
func (t *Type) integer(element []byte) string {
	var bits [8]byte
	copy(bits[:], element)
	u := le.Uint64(bits[:])
	if strings.HasPrefix(t.Name, "U") {
		return strconv.FormatUint(u, 10)
	}
	free := 64 - 8*t.BlockBytes
	return strconv.FormatInt(int64(u<<free)>>free, 10)
}

// shortest returns the fewest digits that round to v, and of these the nearest to it.
func (t *Type) shortest(v float64) string {
	width := 8 * t.BlockBytes / t.Parts
	switch {
	case v-v != 0 || v == 0 || width == 64:
		return strconv.FormatFloat(v, 'e', -1, 64)
	case width != 16:
		return strconv.FormatFloat(v, 'e', -1, 32)
	}
	for n := 0; ; n++ {
		s := strconv.FormatFloat(v, 'e', n, 64)
		if near, _ := strconv.ParseFloat(s, 64); t.packer.round(near) == v {
			return s
		}
		// Numbers lie closer below a power of two than above it: where the nearest
		// of n digits is below, that above may round to v.
		if frac, _ := math.Frexp(v); frac == 0.5 || frac == -0.5 {
			up := v + math.Copysign(math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-float64(n))/2, v)
			s = strconv.FormatFloat(up, 'e', n, 64)
			if near, _ := strconv.ParseFloat(s, 64); t.packer.round(near) == v {
				return s
			}
		}
	}
}

// JSON returns a function that appends an element as JSON. A number that is read as a
// float64 is the element exactly; NaN and infinities are strings, and a complex number
// is an array of two.
func (t *Type) JSON() func(dst, element []byte) []byte {
	number := func(dst []byte, v float64) []byte {
		switch {
		case math.IsNaN(v):
			return append(dst, `"NaN"`...)
		case math.IsInf(v, 1):
			return append(dst, `"Infinity"`...)
		case math.IsInf(v, -1):
			return append(dst, `"-Infinity"`...)
		case v == 0 && math.Signbit(v):
			return append(dst, "-0.0"...) // many readers make the integer 0 of -0
		}
		return strconv.AppendFloat(dst, v, 'g', -1, 64)
	}
	switch t.Kind() {
	case Bool:
		return func(dst, element []byte) []byte { return strconv.AppendBool(dst, element[0] != 0) }
	case Integer:
		return func(dst, element []byte) []byte { return append(dst, t.integer(element)...) }
	case Complex:
		return func(dst, element []byte) []byte {
			var v [2]float64
			t.Decode64(v[:], element)
			return append(number(append(number(append(dst, '['), v[0]), ','), v[1]), ']')
		}
	}
	plain := func(dst, element []byte) []byte {
		var v [1]float64
		t.Decode64(v[:], element)
		return number(dst, v[0])
	}
	if t.BlockBytes > 2 {
		return plain
	}
	known := make([][]byte, 1<<(8*t.BlockBytes))
	return func(dst, element []byte) []byte {
		code := int(element[0])
		if len(element) == 2 {
			code |= int(element[1]) << 8
		}
		if known[code] == nil {
			known[code] = plain(nil, element)
		}
		return append(dst, known[code]...)
	}
}

// Widen returns a function that appends elements as those of F16, F32 or F64; nil where
// that type does not hold every number of t.
func (t *Type) Widen(to *Type) func(dst, elements []byte) []byte {
	if t.BlockElems != 1 || !t.fits(to) {
		return nil
	}
	return func(dst, elements []byte) []byte {
		var v [256]float64
		var none Rounding
		for len(elements) > 0 {
			n := t.Decode64(v[:], elements)
			elements = elements[n*t.BlockBytes:]
			at, size := len(dst), n*to.BlockBytes
			dst = slices.Grow(dst, size)[:at+size]
			to.Encode(dst[at:], v[:n], &none)
		}
		return dst
	}
}

// fits reports whether a floating-point type holds every number of t.
func (t *Type) fits(to *Type) bool {
	in := to.float
	switch t.Kind() {
	case Complex:
		return false
	case Bool:
		return true
	case Integer:
		bits := 8 * t.BlockBytes
		if t.Name[0] == 'I' {
			bits-- // the least is a power of two
		}
		return bits <= in.mant+1
	}
	of := t.float
	last := func(f floatFormat) int { // the exponent of the least number
		if f.special == exponent {
			return -f.bias
		}
		return 1 - f.bias - f.mant
	}
	return of.mant <= in.mant && last(of) >= last(in) && of.max() <= in.max()
}

// appendF32 appends numbers as F32.
func appendF32(dst []byte, v []float32) []byte {
	dst = slices.Grow(dst, 4*len(v))
	for _, x := range v {
		dst = le.AppendUint32(dst, math.Float32bits(x))
	}
	return dst
}
