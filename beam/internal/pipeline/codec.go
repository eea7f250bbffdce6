package pipeline

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// Rows travel between the steps in a form of their own: gob takes an offset of 0 for none,
// and JSON has neither infinity nor years after 9999, which the files of a release may bring.

var errCut = errors.New("a row ends too early")

var timeType = reflect.TypeFor[time.Time]()

// appendValue appends the fields of a row, in their order, to b.
func appendValue(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case reflect.Int32, reflect.Int64:
		return binary.AppendVarint(b, v.Int())
	case reflect.Float64:
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(v.Float()))
	case reflect.String:
		b = binary.AppendUvarint(b, uint64(v.Len()))
		return append(b, v.String()...)
	case reflect.Pointer:
		if v.IsNil() {
			return append(b, 0)
		}
		return appendValue(append(b, 1), v.Elem())
	case reflect.Slice:
		if v.IsNil() {
			return append(b, 0)
		}
		b = binary.AppendUvarint(b, 1+uint64(v.Len()))
		for i := range v.Len() {
			b = appendValue(b, v.Index(i))
		}
		return b
	case reflect.Struct:
		if v.Type() == timeType {
			at := v.Interface().(time.Time)
			return binary.AppendVarint(binary.AppendVarint(b, at.Unix()), int64(at.Nanosecond()))
		}
		for i := range v.NumField() {
			b = appendValue(b, v.Field(i))
		}
		return b
	}
	panic(fmt.Sprintf("rows have no %v", v.Type()))
}

// A decoder reads what appendValue wrote.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) value(v reflect.Value) {
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(d.byte() == 1)
	case reflect.Int32, reflect.Int64:
		v.SetInt(d.varint())
	case reflect.Float64:
		v.SetFloat(math.Float64frombits(binary.LittleEndian.Uint64(d.next(8))))
	case reflect.String:
		v.SetString(string(d.next(d.uvarint())))
	case reflect.Pointer:
		if d.byte() == 1 {
			v.Set(reflect.New(v.Type().Elem()))
			d.value(v.Elem())
		}
	case reflect.Slice:
		n := d.uvarint()
		if n == 0 {
			return
		}
		// Every element takes a byte at least.
		if n-1 > uint64(len(d.b)) {
			d.fail()
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), int(n-1), int(n-1)))
		for i := range v.Len() {
			d.value(v.Index(i))
		}
	case reflect.Struct:
		if v.Type() == timeType {
			seconds := d.varint()
			v.Set(reflect.ValueOf(time.Unix(seconds, d.varint()).UTC()))
			return
		}
		for i := range v.NumField() {
			d.value(v.Field(i))
		}
	default:
		panic(fmt.Sprintf("rows have no %v", v.Type()))
	}
}

func (d *decoder) fail() { d.b, d.err = nil, errCut }

// next takes n bytes; there are none but zeros after an error.
func (d *decoder) next(n uint64) []byte {
	if n > uint64(len(d.b)) {
		d.fail()
		return make([]byte, min(n, 8))
	}
	head := d.b[:n]
	d.b = d.b[n:]
	return head
}

func (d *decoder) byte() byte { return d.next(1)[0] }

func (d *decoder) varint() int64 {
	n, size := binary.Varint(d.b)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[size:]
	return n
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[size:]
	return n
}
