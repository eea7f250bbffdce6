package pipeline

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/inspect"
)

// fill gives a row some value of its type: none, zero, empty, and what else a file may bring.
func fill(v reflect.Value, rng *rand.Rand) {
	pick := func(n int) bool { return rng.IntN(n) == 0 }
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(pick(2))
	case reflect.Int32:
		v.SetInt(int64(int32(rng.Uint32())))
	case reflect.Int64:
		v.SetInt([]int64{0, -1, math.MaxInt64, math.MinInt64, rng.Int64()}[rng.IntN(5)])
	case reflect.Float64:
		v.SetFloat([]float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), math.SmallestNonzeroFloat64, rng.NormFloat64()}[rng.IntN(6)])
	case reflect.String:
		v.SetString([]string{"", "a", "ä\x00\u2028", "\xff\xfe", string(make([]byte, rng.IntN(300)))}[rng.IntN(5)])
	case reflect.Pointer:
		if !pick(3) {
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem(), rng)
		}
	case reflect.Slice:
		if !pick(3) {
			v.Set(reflect.MakeSlice(v.Type(), rng.IntN(4), 4))
			for i := range v.Len() {
				fill(v.Index(i), rng)
			}
		}
	case reflect.Struct:
		if v.Type() == timeType {
			year := []int{1, 1969, 2026, 20_000}[rng.IntN(4)]
			v.Set(reflect.ValueOf(time.Date(year, 1, 1, 0, 0, 0, rng.IntN(1000)*1e6, time.UTC)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), rng)
		}
	default:
		panic(v.Type())
	}
}

// Rows of every table arrive as they were, also what JSON and gob would change.
func TestCodec(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, typ := range rowTypes {
		for range 300 {
			in, out := reflect.New(typ).Elem(), reflect.New(typ).Elem()
			fill(in, rng)
			b := appendValue(nil, in)
			d := decoder{b: b}
			d.value(out)
			if d.err != nil || len(d.b) > 0 || !reflect.DeepEqual(in.Interface(), out.Interface()) {
				t.Fatalf("%v: %v, %d bytes left\n%+v\n%+v", typ, d.err, len(d.b), in, out)
			}
		}
	}
}

// Numbers that were worked out by hand.
func TestCodecBytes(t *testing.T) {
	zero, name := int64(0), "n"
	for _, tt := range []struct {
		row  any
		want string
	}{
		{inspect.ScannedFrom{SchemaVersion: 1, ToolVersion: "v", Repository: "ab"}, "\x02\x01v\x02ab\x00"},
		{inspect.ScannedFrom{SchemaVersion: -1, Revision: &name}, "\x01\x00\x00\x01\x01n"},
		{struct{ Offset, Bytes *int64 }{Offset: &zero}, "\x01\x00\x00"},
		{struct{ Shape, None []int64 }{Shape: []int64{}}, "\x01\x00"},
		{struct{ Shape []int64 }{[]int64{3, 64}}, "\x03\x06\x80\x01"},
		{struct{ X float64 }{1}, "\x00\x00\x00\x00\x00\x00\xf0\x3f"},
	} {
		if got := string(appendValue(nil, reflect.ValueOf(tt.row))); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.row, got, tt.want)
		}
	}
}

// What is cut off anywhere is an error, and what is forged takes no memory.
func TestCodecCut(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, typ := range rowTypes {
		in := reflect.New(typ).Elem()
		fill(in, rng)
		b := appendValue(nil, in)
		for n := range b {
			d := decoder{b: b[:n]}
			d.value(reflect.New(typ).Elem())
			if d.err == nil {
				t.Fatalf("%v: %d of %d bytes are a row", typ, n, len(b))
			}
		}
	}
	for _, b := range [][]byte{
		[]byte("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
		[]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
	} {
		var list []int64
		var text string
		for _, v := range []any{&list, &text} {
			d := decoder{b: b}
			if d.value(reflect.ValueOf(v).Elem()); d.err == nil {
				t.Errorf("%q is a %T", b, v)
			}
		}
	}
}
