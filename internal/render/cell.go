package render

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// A Cell is one typed value of a row.
type Cell struct {
	kind  kind
	color Color
	n     uint64
	s     string
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
	grouped
	float
	figure
	ordered
	boolean
	shape
)

// A column sets its cell by one of the methods below, or leaves it as it is:
// null, which is what is not known: null in JSON, empty in CSV and TSV, "-" for
// people. To set it in place is quicker than to return one, and a table may have
// a hundred thousand.

// Text sets text that came from anywhere: a name, a message.
func (c *Cell) Text(s string) { c.kind, c.s = text, s }

// Some sets text that is not known when it is empty.
func (c *Cell) Some(s string) {
	if s != "" {
		c.Text(s)
	}
}

// Value sets text for every form but JSON, which has the JSON value raw instead.
func (c *Cell) Value(s, raw string) { c.kind, c.s, c.n = value, s+raw, uint64(len(s)) }

// Value is a cell for [Cell.Value] that many rows share.
func Value(s, raw string) (c Cell) {
	c.Value(s, raw)
	return c
}

// Error sets the text of an error, if there is one.
func (c *Cell) Error(err error) {
	if err != nil {
		c.Text(err.Error())
	}
}

// Uint sets an unsigned integer.
func (c *Cell) Uint(n uint64) { c.kind, c.n = unsigned, n }

// Int sets a signed integer.
func (c *Cell) Int(n int64) { c.kind, c.n = signed, uint64(n) }

// Bytes sets a number of bytes: with a binary unit on a terminal, otherwise exact.
func (c *Cell) Bytes(n uint64) { c.kind, c.n = size, n }

// Number sets an unsigned integer with its digits in groups on a terminal.
func (c *Cell) Number(n uint64) { c.kind, c.n = grouped, n }

// Float sets a floating-point number, in the fewest digits that give it back.
func (c *Cell) Float(f float64) { c.kind, c.n = float, math.Float64bits(f) }

// Figure sets a measured number, if it is not NaN: with a few digits on a
// terminal, otherwise as [Cell.Float].
func (c *Cell) Figure(f float64) {
	if !math.IsNaN(f) {
		c.kind, c.n = figure, math.Float64bits(f)
	}
}

// Ordered sets the text of a number, which orders the column where rows are sorted. That
// of NaN is not known.
func (c *Cell) Ordered(s string, f float64) {
	if !math.IsNaN(f) {
		c.kind, c.s, c.n = ordered, s, math.Float64bits(f)
	}
}

// Bool sets true or false.
func (c *Cell) Bool(b bool) {
	c.kind, c.n = boolean, 0
	if b {
		c.n = 1
	}
}

// Shape sets a tensor's dimensions, kept and not copied. A nil shape is unknown,
// an empty one is a scalar's.
func (c *Cell) Shape(dims []uint64) {
	if dims != nil {
		c.kind, c.list = shape, dims
	}
}

// number returns the number that a cell has, nil without one and for NaN.
func (c *Cell) number() *float64 {
	var f float64
	switch c.kind {
	case unsigned, size, grouped:
		f = float64(c.n)
	case signed:
		f = float64(int64(c.n))
	case float, figure, ordered:
		f = math.Float64frombits(c.n)
	default:
		return nil
	}
	if math.IsNaN(f) {
		return nil
	}
	return &f
}

// Color gives the cell a colour.
func (c *Cell) Color(color Color) { c.color = color }

// words returns the text of a cell that has one.
func (c *Cell) words() (string, bool) {
	switch c.kind {
	case text, ordered:
		return c.s, true
	case value:
		return c.s[:c.n], true
	}
	return "", false
}

// plainText returns the text that people read as it is, "" of other cells.
func (c *Cell) plainText() string {
	s := c.s
	if c.kind != text {
		s, _ = c.words()
	}
	if s == "" || !plain(s) {
		return ""
	}
	return s
}

// appendHuman appends the cell as people read it, and reports whether that is
// plain: a byte is a column.
func (c *Cell) appendHuman(dst []byte, terminal bool) ([]byte, bool) {
	switch c.kind {
	case null:
		return append(dst, '-'), true
	case text, ordered, value:
		s, _ := c.words()
		return appendEscaped(dst, s), false
	}
	if terminal {
		switch c.kind {
		case size:
			return plural.AppendSize(dst, c.n), true
		case grouped:
			return append(dst, Grouped(c.n)...), true
		case figure:
			return strconv.AppendFloat(dst, math.Float64frombits(c.n), 'g', 4, 64), true
		}
	}
	return c.appendPlain(dst), true
}

// appendPlain appends the cell unescaped.
func (c *Cell) appendPlain(dst []byte) []byte {
	switch c.kind {
	case text, ordered, value:
		s, _ := c.words()
		return append(dst, s...)
	case unsigned, size, grouped:
		return strconv.AppendUint(dst, c.n, 10)
	case signed:
		return strconv.AppendInt(dst, int64(c.n), 10)
	case float, figure:
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
		return append(dst, c.s[c.n:]...)
	case float, figure, ordered:
		f := math.Float64frombits(c.n)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			dst = append(dst, '"')
			dst = appendFloat(dst, f)
			return append(dst, '"')
		}
		return appendFloat(dst, f)
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
	s, ok := c.words()
	switch {
	case c.kind == shape && len(c.list) > 1:
		dst = append(dst, '"')
		return append(c.appendPlain(dst), '"')
	case ok && strings.ContainsAny(s, "\",\r\n"):
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
		return append(dst, '"')
	}
	return c.appendPlain(dst)
}

func (c *Cell) appendTSV(dst []byte) []byte {
	s, ok := c.words()
	if !ok || !strings.ContainsAny(s, "\\\t\r\n") {
		return c.appendPlain(dst)
	}
	for i := range len(s) {
		switch b := s[i]; b {
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

// hidden returns text that a terminal would act on, or that cannot be told from
// such when it is escaped.
func (c *Cell) hidden() (string, bool) {
	s, ok := c.words()
	return s, ok && !plain(s)
}

func (c *Cell) appendCSVEscaped(dst []byte) []byte {
	if s, ok := c.hidden(); ok {
		c = &Cell{kind: text, s: Escape(s)}
	}
	return c.appendCSV(dst)
}

func (c *Cell) appendTSVEscaped(dst []byte) []byte {
	if s, ok := c.hidden(); ok {
		return appendEscaped(dst, s)
	}
	return c.appendTSV(dst)
}
