package render

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Cell is one typed value of a row.
type Cell struct {
	kind  kind
	color Color
	n     uint64
	s     string
	raw   string
	list  []uint64
}

type kind uint8

const (
	null kind = iota
	text
	value
	unsigned
	signed
	size
	float
	boolean
	shape
)

// Null is what is not known: null in JSON, empty in CSV and TSV, "-" for people.
func Null() Cell { return Cell{} }

// Text is text that came from anywhere: a name, a message.
func Text(s string) Cell { return Cell{kind: text, s: s} }

// Value is text for every form but JSON, which has the JSON value raw instead.
func Value(s, raw string) Cell { return Cell{kind: value, s: s, raw: raw} }

// Uint is an unsigned integer.
func Uint(n uint64) Cell { return Cell{kind: unsigned, n: n} }

// Int is a signed integer.
func Int(n int64) Cell { return Cell{kind: signed, n: uint64(n)} }

// Bytes is a number of bytes: with a binary unit on a terminal, otherwise exact.
func Bytes(n uint64) Cell { return Cell{kind: size, n: n} }

// Float is a floating-point number, in the fewest digits that give it back.
func Float(f float64) Cell { return Cell{kind: float, n: math.Float64bits(f)} }

// Bool is true or false.
func Bool(b bool) Cell {
	c := Cell{kind: boolean}
	if b {
		c.n = 1
	}
	return c
}

// Shape is a tensor's dimensions, kept and not copied. A nil shape is unknown,
// an empty one is a scalar's.
func Shape(dims []uint64) Cell {
	if dims == nil {
		return Null()
	}
	return Cell{kind: shape, list: dims}
}

// ResetText makes c what [Text] returns, in the colour it has. A row that is
// filled a hundred thousand times is filled sooner in place.
func (c *Cell) ResetText(s string) { c.kind, c.s = text, s }

// ResetBytes makes c what [Bytes] returns, in the colour it has.
func (c *Cell) ResetBytes(n uint64) { c.kind, c.n = size, n }

// ResetShape makes c what [Shape] returns, in the colour it has.
func (c *Cell) ResetShape(dims []uint64) {
	if c.kind, c.list = shape, dims; dims == nil {
		c.kind = null
	}
}

// In returns c in a colour.
func (c Cell) In(color Color) Cell {
	c.color = color
	return c
}

// isPlainText reports whether the cell is text that people read as it is.
func (c *Cell) isPlainText() bool {
	return (c.kind == text || c.kind == value) && c.s != "" && plain(c.s)
}

// appendHuman appends the cell as people read it, and reports whether that is
// plain: a byte is a column.
func (c *Cell) appendHuman(dst []byte, terminal bool) ([]byte, bool) {
	switch c.kind {
	case null:
		return append(dst, '-'), true
	case text, value:
		return appendEscaped(dst, c.s), false
	case size:
		if terminal {
			return appendSize(dst, c.n), true
		}
	}
	return c.appendPlain(dst), true
}

// appendPlain appends the cell unescaped.
func (c *Cell) appendPlain(dst []byte) []byte {
	switch c.kind {
	case text, value:
		return append(dst, c.s...)
	case unsigned, size:
		return strconv.AppendUint(dst, c.n, 10)
	case signed:
		return strconv.AppendInt(dst, int64(c.n), 10)
	case float:
		return appendFloat(dst, math.Float64frombits(c.n))
	case boolean:
		return strconv.AppendBool(dst, c.n != 0)
	case shape:
		dst = append(dst, '[')
		for i, d := range c.list {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = strconv.AppendUint(dst, d, 10)
		}
		return append(dst, ']')
	}
	return dst
}

func appendFloat(dst []byte, f float64) []byte {
	switch {
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

// appendMember appends the cell as a JSON member, with its bytes beside it
// when it is text that is not UTF-8.
func (c *Cell) appendMember(dst []byte, key string) []byte {
	dst = append(dst, '"')
	dst = append(dst, key...)
	dst = append(dst, '"', ':')
	switch c.kind {
	case null:
		return append(dst, "null"...)
	case value:
		return append(dst, c.raw...)
	case float:
		f := math.Float64frombits(c.n)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			dst = append(dst, '"')
			dst = appendFloat(dst, f)
			return append(dst, '"')
		}
	case text:
		dst = AppendJSON(dst, c.s)
		if !utf8.ValidString(c.s) {
			dst = append(dst, ',', '"')
			dst = append(dst, key...)
			dst = append(dst, `_base64":"`...)
			dst = base64.StdEncoding.AppendEncode(dst, []byte(c.s))
			dst = append(dst, '"')
		}
		return dst
	}
	return c.appendPlain(dst)
}

func (c *Cell) appendCSV(dst []byte) []byte {
	switch {
	case c.kind == shape && len(c.list) > 1:
		dst = append(dst, '"')
		return append(c.appendPlain(dst), '"')
	case (c.kind == text || c.kind == value) && strings.ContainsAny(c.s, "\",\r\n"):
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(c.s, `"`, `""`)...)
		return append(dst, '"')
	}
	return c.appendPlain(dst)
}

func (c *Cell) appendTSV(dst []byte) []byte {
	if c.kind != text && c.kind != value || !strings.ContainsAny(c.s, "\\\t\r\n") {
		return c.appendPlain(dst)
	}
	for i := range len(c.s) {
		switch b := c.s[i]; b {
		case '\\':
			dst = append(dst, `\\`...)
		case '\t':
			dst = append(dst, `\t`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\n':
			dst = append(dst, `\n`...)
		default:
			dst = append(dst, b)
		}
	}
	return dst
}

// isHidden reports whether the cell is text that a terminal would act on, or
// that cannot be told from such when it is escaped.
func (c *Cell) isHidden() bool { return (c.kind == text || c.kind == value) && !plain(c.s) }

func (c *Cell) appendCSVEscaped(dst []byte) []byte {
	if c.isHidden() {
		c = &Cell{kind: text, s: Escape(c.s)}
	}
	return c.appendCSV(dst)
}

func (c *Cell) appendTSVEscaped(dst []byte) []byte {
	if c.isHidden() {
		return appendEscaped(dst, c.s)
	}
	return c.appendTSV(dst)
}
