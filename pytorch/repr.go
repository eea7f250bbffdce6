package pytorch

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	reprDepth  = 3
	reprItems  = 8
	reprLen    = 200
	wholeDepth = 100
)

// Repr spells a value as Python's repr does, and the state of an object beside its class. A
// spelling of more than most bytes is cut there, and what is more than 100 levels deep is left
// out. With most 0 the spelling is one for a line of text: some 200 bytes without states, with
// counts for containers of more than eight values and for what is deep within others.
func Repr(v Value, most int) string {
	w := reprWriter{depth: wholeDepth, items: most, most: most, str: most, states: true}
	if most == 0 {
		w = reprWriter{depth: reprDepth, items: reprItems, most: reprLen, str: maxQuoted}
	}
	w.value(v, w.depth)
	s := w.String()
	if len(s) > w.most {
		cut := w.most
		for cut > 0 && !utf8.RuneStart(s[cut]) {
			cut--
		}
		s = s[:cut] + "…"
	}
	return s
}

func repr(v Value) string { return Repr(v, 0) }

type reprWriter struct {
	strings.Builder
	depth, items, most, str int
	states                  bool
}

func (w *reprWriter) value(v Value, depth int) {
	if w.Len() > w.most {
		return
	}
	switch v := v.(type) {
	case nil:
		w.WriteString("None")
	case bool:
		if v {
			w.WriteString("True")
		} else {
			w.WriteString("False")
		}
	case int64:
		w.WriteString(strconv.FormatInt(v, 10))
	case *big.Int:
		if v.BitLen() > 4*reprLen {
			fmt.Fprintf(w, "an integer of %d bits", v.BitLen())
		} else {
			w.WriteString(v.String())
		}
	case float64:
		w.WriteString(floatText(v))
	case string:
		w.quote(v)
	case Bytes:
		w.WriteByte('b')
		w.quote(string(v))
	case *List:
		w.list(v, depth)
	case *Dict:
		w.group("{", "}", "dict", len(v.Items), depth, func(i int) {
			w.value(v.Items[i].Key, depth-1)
			w.WriteString(": ")
			w.value(v.Items[i].Value, depth-1)
		})
	case *Global:
		w.WriteString(cut(v.String()))
	case *Object:
		w.WriteByte('<')
		switch {
		case depth <= 0:
			w.WriteString("…")
		case w.states && v.State != nil:
			w.value(v.Class, depth-1)
			w.WriteByte(' ')
			w.value(v.State, depth-1)
		default:
			w.value(v.Class, depth-1)
		}
		w.WriteByte('>')
	case *Storage:
		w.WriteString("storage " + quote(v.Key))
	case *Tensor:
		fmt.Fprintf(w, "tensor %s %d", cut(string(v.DType)), v.Shape[:min(len(v.Shape), 8)])
	}
}

func (w *reprWriter) quote(s string) {
	if len(s) > w.str {
		w.WriteString(strconv.Quote(s[:w.str]) + "…")
		return
	}
	w.WriteString(strconv.Quote(s))
}

func (w *reprWriter) list(l *List, depth int) {
	open, end := "[", "]"
	switch {
	case l.Type == "tuple" && len(l.Items) == 1:
		open, end = "(", ",)"
	case l.Type == "tuple":
		open, end = "(", ")"
	case len(l.Items) == 0 && l.Type != "list":
		open, end = l.Type+"(", ")"
	case l.Type == "set":
		open, end = "{", "}"
	case l.Type == "frozenset":
		open, end = "frozenset({", "})"
	}
	w.group(open, end, l.Type, len(l.Items), depth, func(i int) { w.value(l.Items[i], depth-1) })
}

// group writes the items of a container, or how many there are.
func (w *reprWriter) group(open, end, typ string, n, depth int, item func(i int)) {
	if n > 0 && (depth <= 0 || n > w.items) {
		fmt.Fprintf(w, "%s of %d", typ, n)
		return
	}
	w.WriteString(open)
	for i := range n {
		if w.Len() > w.most {
			return
		}
		if i > 0 {
			w.WriteString(", ")
		}
		item(i)
	}
	w.WriteString(end)
}

// floatText spells a float as Python does (Python/pystrtod.c, format_float_short): 3.0,
// 1e-05, 1e+16, nan.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 0):
		return strings.ToLower(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+"))
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// cut bounds a text that a message repeats without quotes.
func cut(s string) string {
	q := quote(s)
	return strings.Trim(q, `"`)
}

// keyText returns a key as a path has it: a string as it is, and the rest as Python prints
// it.
func keyText(v Value) string {
	switch v := v.(type) {
	case string:
		return v
	case Bytes:
		return string(v)
	}
	return repr(v)
}
