package numpy

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	magic = "\x93NUMPY"
	// maxHeader bounds a header. NumPy reads no more than 10,000 characters of files that
	// are not trusted (_MAX_HEADER_SIZE).
	maxHeader = 64 << 10
	// maxAxes is NumPy's own limit (NPY_MAXDIMS).
	maxAxes = 64
)

// A header is what precedes the elements of an array.
type header struct {
	descr   string // as it is written; "" for a list of fields
	objects bool   // a field is an object
	fortran bool
	shape   []uint64
	size    int64 // of all of it, which is where the elements begin
}

// readHeader reads the header of an array (_read_array_header).
func readHeader(r io.Reader) (*header, *Fault) {
	var start [12]byte
	if _, err := io.ReadFull(r, start[:8]); err != nil || string(start[:6]) != magic {
		return nil, newFault(CodeNotArray, 0, "", "not an array of NumPy")
	}
	width := 2
	switch start[6] {
	case 1:
	case 2, 3:
		width = 4
	default:
		return nil, newFault(CodeVersion, 6, "", "an array of version %d.%d, and 3.0 is the newest known", start[6], start[7])
	}
	if start[7] != 0 {
		return nil, newFault(CodeVersion, 6, "", "an array of version %d.%d, and 3.0 is the newest known", start[6], start[7])
	}
	if _, err := io.ReadFull(r, start[8:8+width]); err != nil {
		return nil, newFault(CodeTruncated, 8, "", "the array ends within its header")
	}
	n := binary.LittleEndian.Uint32(start[8:])
	if n > maxHeader {
		return nil, newFault(CodeLimit, 8, "", "a header of %d bytes, and at most %d are read", n, maxHeader)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(r, text); err != nil {
		return nil, newFault(CodeTruncated, 8, "", "the array ends within its header of %d bytes", n)
	}
	if start[6] == 3 && !utf8.Valid(text) {
		return nil, newFault(CodeHeader, 8, "", "the header is not UTF-8")
	}
	h := &header{size: int64(8+width) + int64(n)}
	p := parser{text: string(text)}
	if why := p.header(h); why != "" {
		return nil, newFault(CodeHeader, int64(8+width+p.at), "", "%s", why)
	}
	return h, nil
}

// A parser reads the literal of a header:
//
//	header = "{" { string ":" value "," } "}"   the last comma may be left out
//	value  = string | "True" | "False" | tuple | list
//	tuple  = "(" [ number { "," number } [","] ] ")"
//	list   = what is between brackets that match
//
// The list is the fields of a structured array, which is not looked into. Python 2 wrote
// numbers with an L at their end.
type parser struct {
	text string
	at   int
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take skips white space, and a byte if it follows.
func (p *parser) take(c byte) bool {
	if p.space(); p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// header returns what is wrong, "" for nothing.
func (p *parser) header(h *header) string {
	if !p.take('{') {
		return "the header is not a dictionary"
	}
	seen := map[string]bool{}
	for !p.take('}') {
		key, ok := p.str()
		if !ok || !p.take(':') {
			return "the header is not a dictionary with strings for keys"
		}
		if seen[key] {
			return fmt.Sprintf("the header has %s twice", key)
		}
		seen[key] = true
		switch key {
		case "descr":
			if h.descr, ok = p.str(); !ok {
				begin := p.at
				ok = p.list()
				h.objects = hasObject(p.text[begin:p.at])
			}
		case "fortran_order":
			h.fortran, ok = p.boolean()
		case "shape":
			h.shape, ok = p.tuple()
		default:
			return fmt.Sprintf("the header has the key %s, which no array has", quote(key))
		}
		if !ok {
			return key + " of the header cannot be read"
		}
		if !p.take(',') && (p.at == len(p.text) || p.text[p.at] != '}') {
			return "the header is cut short or has no comma after " + key
		}
	}
	if p.space(); p.at < len(p.text) {
		return "more than white space follows the dictionary of the header"
	}
	for _, key := range []string{"descr", "fortran_order", "shape"} {
		if !seen[key] {
			return "the header has no " + key
		}
	}
	return ""
}

// str reads a string without escapes.
func (p *parser) str() (string, bool) {
	p.space()
	if p.at == len(p.text) || p.text[p.at] != '\'' && p.text[p.at] != '"' {
		return "", false
	}
	s, _, ok := strings.Cut(p.text[p.at+1:], p.text[p.at:p.at+1])
	if !ok || strings.ContainsAny(s, "\\\n") {
		return "", false
	}
	p.at += len(s) + 2
	return s, true
}

// hasObject reports whether a list of fields has one of objects, of which the array is a pickle.
func hasObject(fields string) bool {
	for _, s := range strings.FieldsFunc(fields, func(r rune) bool { return r == '\'' || r == '"' }) {
		if d, ok := parseDType(s); ok && d.kind == 'O' {
			return true
		}
	}
	return false
}

func (p *parser) boolean() (v, ok bool) {
	p.space()
	for word, v := range map[string]bool{"True": true, "False": false} {
		if strings.HasPrefix(p.text[p.at:], word) {
			p.at += len(word)
			return v, true
		}
	}
	return false, false
}

func (p *parser) tuple() ([]uint64, bool) {
	dims := []uint64{}
	if !p.take('(') {
		return nil, false
	}
	comma := true
	for !p.take(')') {
		if !comma || len(dims) == maxAxes {
			return nil, false
		}
		end := p.at
		for end < len(p.text) && p.text[end] >= '0' && p.text[end] <= '9' {
			end++
		}
		n, err := strconv.ParseUint(p.text[p.at:end], 10, 63)
		if err != nil || end-p.at > 1 && p.text[p.at] == '0' {
			return nil, false
		}
		dims = append(dims, n)
		if p.at = end; p.at < len(p.text) && p.text[p.at] == 'L' {
			p.at++
		}
		comma = p.take(',')
	}
	return dims, len(dims) != 1 || comma // (3) is a number
}

func (p *parser) list() bool {
	if !p.take('[') {
		return false
	}
	for depth := 1; p.at < len(p.text); p.at++ {
		switch p.text[p.at] {
		case '\'', '"':
			if _, ok := p.str(); !ok {
				return false
			}
			p.at--
		case '[', '(':
			depth++
		case ']', ')':
			if depth--; depth == 0 {
				p.at++
				return true
			}
		}
	}
	return false
}

// A dtype is what a descr means.
type dtype struct {
	kind byte   // b, i, u, f, c, V, or what has no numbers
	size uint64 // bytes of an element
	big  bool
}

// named are the types of ml_dtypes that a header may have by their names, and their bytes.
var named = map[string]uint64{"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1, "float8_e4m3fnuz": 1, "float8_e5m2fnuz": 1, "float8_e8m0fnu": 1}

// parseDType reads a typestr (numpy/_core/_internal.py and the array interface): a byte
// order, a kind and a number of bytes. Big is what takes several bytes in the other order.
func parseDType(descr string) (d dtype, ok bool) {
	if size, ok := named[descr]; ok {
		return dtype{kind: 'V', size: size}, true
	}
	s := descr
	if s != "" && strings.IndexByte("<>|=", s[0]) >= 0 {
		d.big = s[0] == '>'
		s = s[1:]
	}
	if s == "" {
		return d, false
	}
	d.kind = s[0]
	if s == "O" {
		d.size = 8
		return d, true
	}
	digits, _, _ := strings.Cut(s[1:], "[") // of dates: M8[ns]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || strings.IndexByte("biufcVSUaMmO", d.kind) < 0 {
		return d, false
	}
	if d.size = n; d.kind == 'U' {
		d.size = 4 * n
	}
	d.big = d.big && d.size > 1
	return d, true
}
