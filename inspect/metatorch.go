package inspect

import (
	"math"
	"math/big"
	"strconv"

	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/pytorch"
)

const (
	// mostOfPython and mostOfSummary bound a value of a pickle in an answer: lists that share their
	// parts may have no end.
	mostOfPython  = 16 << 20
	mostOfSummary = 4 << 10
	// deepestPython is how deep containers in containers are written.
	deepestPython = 100
)

// pythonType names the type of a value as Python does.
func pythonType(v pytorch.Value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case pytorch.Bytes:
		return "bytes"
	case *pytorch.List:
		return v.Type
	case *pytorch.Dict:
		return "dict"
	case *pytorch.Object:
		return pytorch.Repr(v.Class, 0)
	case *pytorch.Global:
		return "type"
	}
	return "object"
}

// appendPythonJSON appends a value as JSON: numbers, strings, booleans, None, lists and dictionaries
// as what they are, and an object as {"class":…,"state":…}. What JSON does not have is a
// string, as Python spells it. Unless the value is to be whole, a container of more
// than 16 elements is an object with its type, count and first elements.
func appendPythonJSON(dst []byte, v pytorch.Value, whole bool) []byte {
	w := pythonJSON{dst: dst, most: len(dst) + mostOfSummary, whole: whole}
	if whole {
		w.most = len(dst) + mostOfPython
	}
	if w.value(v, 0) {
		return w.dst
	}
	return render.AppendJSON(w.dst[:len(dst)], pytorch.Repr(v, 0))
}

type pythonJSON struct {
	dst   []byte
	most  int
	whole bool
}

// value reports false when the value is too long.
func (w *pythonJSON) value(v pytorch.Value, depth int) bool {
	if len(w.dst) > w.most || depth > deepestPython {
		return false
	}
	switch v := v.(type) {
	case nil:
		w.dst = append(w.dst, "null"...)
	case bool:
		w.dst = strconv.AppendBool(w.dst, v)
	case int64:
		w.dst = strconv.AppendInt(w.dst, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			w.text(v)
		} else {
			w.dst = append(w.dst, pytorch.Repr(v, 0)...) // 3.0 stays one
		}
	case *big.Int:
		if v.BitLen() > 1024 { // a float's range, and the time that digits take
			w.text(v)
		} else {
			w.dst = v.Append(w.dst, 10)
		}
	case string:
		w.dst = render.AppendJSON(w.dst, v)
	case *pytorch.List:
		return w.group(v.Type, "[]", len(v.Items), func(i int) bool { return w.value(v.Items[i], depth+1) })
	case *pytorch.Dict:
		return w.dict(v.Items, depth)
	case *pytorch.Object:
		return w.object(v, depth)
	default:
		w.text(v)
	}
	return len(w.dst) <= w.most
}

// text writes a value as Python spells it.
func (w *pythonJSON) text(v pytorch.Value) {
	w.dst = render.AppendJSON(w.dst, pytorch.Repr(v, 0))
}

func (w *pythonJSON) dict(items []pytorch.Item, depth int) bool {
	return w.group("dict", "{}", len(items), func(i int) bool {
		key, ok := items[i].Key.(string)
		if !ok {
			key = pytorch.Repr(items[i].Key, 0)
		}
		w.dst = append(render.AppendJSON(w.dst, key), ':')
		return w.value(items[i].Value, depth+1)
	})
}

// group writes the items of a container between brackets.
func (w *pythonJSON) group(typ, brackets string, n int, item func(i int) bool) bool {
	first := n
	if !w.whole && n > shortArray {
		first = firstElements
		w.dst = append(w.dst, `{"type":"`+typ+`","count":`...)
		w.dst = strconv.AppendInt(w.dst, int64(n), 10)
		w.dst = append(w.dst, `,"first":`...)
	}
	w.dst = append(w.dst, brackets[0])
	for i := range first {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		if !item(i) {
			return false
		}
	}
	w.dst = append(w.dst, brackets[1])
	if first < n {
		w.dst = append(w.dst, '}')
	}
	return true
}

// object writes what is known of an object: its class, and what it would be made of.
func (w *pythonJSON) object(o *pytorch.Object, depth int) bool {
	w.dst = append(w.dst, `{"class":`...)
	w.text(o.Class)
	part := func(key string, v pytorch.Value) bool {
		w.dst = append(w.dst, `,"`+key+`":`...)
		return w.value(v, depth+1)
	}
	ok := true
	if o.Args != nil && len(o.Args.Items) > 0 {
		ok = part("args", o.Args)
	}
	if ok && o.State != nil {
		ok = part("state", o.State)
	}
	if ok && len(o.Items) > 0 {
		ok = part("items", &pytorch.List{Type: "list", Items: o.Items})
	}
	if ok && len(o.Dict) > 0 {
		ok = part("dict", &pytorch.Dict{Items: o.Dict})
	}
	w.dst = append(w.dst, '}')
	return ok
}

// pythonElements yields the elements of a list as text.
func pythonElements(v pytorch.Value, yield func(string) bool) {
	l, ok := v.(*pytorch.List)
	if !ok {
		return
	}
	left := mostOfPython
	for _, item := range l.Items {
		text, ok := item.(string)
		if !ok {
			text = pytorch.Repr(item, max(left, 1))
		}
		if left -= len(text); left < 0 {
			text = "…"
		}
		if !yield(text) || left < 0 {
			return
		}
	}
}
