package inspect

import (
	"math"
	"strconv"
	"unicode/utf8"
)

// What is unknown is null, and the struct that is marshalled has a pointer for it:
// The schemas are made from these structs.

// some is a value that is not known when it is the zero value.
func some[T comparable](v T) *T {
	var zero T
	return optional(v, v != zero)
}

func optional[T any](v T, known bool) *T {
	if !known {
		return nil
	}
	own := v // or nil, too, would take memory
	return &own
}

// notUTF8 returns the bytes of text that JSON cannot hold, nil of other text.
func notUTF8(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// errorText returns the text of an error, and its bytes where JSON cannot hold it.
func errorText(err error) (text *string, raw []byte) {
	if err == nil {
		return nil, nil
	}
	s := err.Error()
	return &s, notUTF8(s)
}

// A figure is a number that may be infinite or NaN, which are strings in JSON.
type figure float64

// known is a figure that is not known when it is NaN.
func known(f float64) *figure { return optional(figure(f), !math.IsNaN(f)) }

// MarshalJSON implements [json.Marshaler].
func (f figure) MarshalJSON() ([]byte, error) {
	switch n := float64(f); {
	case math.IsNaN(n):
		return []byte(`"NaN"`), nil
	case math.IsInf(n, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(n, -1):
		return []byte(`"-Infinity"`), nil
	default:
		return strconv.AppendFloat(nil, n, 'g', -1, 64), nil
	}
}
