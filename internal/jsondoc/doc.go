// Package jsondoc reads JSON documents with the position of everything in
// them, and edits them so that every byte that an edit does not name stays
// as it was.
//
// It is for documents that people and other programs own (config.json, a
// shard index): their order, spacing and escapes survive. Duplicate member
// names, invalid UTF-8 and trailing data are refused with their line and
// column. The number words NaN, Infinity and -Infinity, which are not JSON,
// are read, since Python's json module writes them by default and published
// configurations contain them.
package jsondoc

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits on a document. They are far above real configurations and bound what
// a hostile one can cost.
const (
	MaxSize   = 16 << 20 // bytes
	MaxDepth  = 128      // nested objects and arrays
	MaxValues = 1 << 20  // values of any kind
)

// A Kind is the kind of a JSON value.
type Kind uint8

// The kinds of a JSON value.
const (
	Null Kind = iota + 1
	Bool
	Number
	String
	Array
	Object
)

var kindNames = [...]string{"nothing", "null", "boolean", "number", "string", "array", "object"}

// String returns the kind as the JSON standard calls it ("object").
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// An Error says what is wrong with a document and where.
type Error struct {
	File string
	// Line and Column count from 1, the column in characters.
	Line, Column int
	// Offset is in bytes.
	Offset int
	Msg    string
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// A Doc is a parsed document.
type Doc struct {
	file  string
	data  []byte
	nodes []node
	marks func() []mark

	mu     sync.Mutex
	tables map[int32]map[uint64]int32 // by object: its members by the hash of their names
}

// A mark is the line and the column, counted from 0, of every markEvery-th
// byte. Without them to say where many values are would take the square of the
// size of a document.
type mark struct{ line, col int32 }

const markEvery = 4096

// node is a value. The values of a document are in the order of its text, so
// that a value's descendants follow it directly.
type node struct {
	start, end       int32 // of the value
	keyStart, keyEnd int32 // of the member's name with its quotes; -1 when it is no member
	parent           int32 // -1 for the root
	next             int32 // the first node after this one and its descendants
	kind             Kind
}

// Parse parses data, which must not be modified afterwards. File is what
// errors call it. An error is an [*Error].
func Parse(file string, data []byte) (*Doc, error) {
	d := &Doc{file: file, data: data}
	if len(data) > MaxSize {
		return nil, d.errorf(0, "%d bytes, where a document may have %d", len(data), MaxSize)
	}
	if bytes.HasPrefix(data, []byte("\xef\xbb\xbf")) {
		return nil, d.errorf(0, "begins with a byte order mark; save it as UTF-8 without one")
	}
	p := parser{doc: d, dec: jsontext.NewDecoder(bytes.NewBuffer(maskNumberWords(data)))}
	if err := p.value(-1, -1, -1, 0); err != nil {
		return nil, d.parseError(err, p.dec)
	}
	if _, err := p.dec.ReadToken(); err != io.EOF {
		if err == nil {
			at := int(p.dec.InputOffset()) - 1
			return nil, d.errorf(at, "unexpected data after the document")
		}
		return nil, d.parseError(err, p.dec)
	}
	d.marks = sync.OnceValue(d.mark)
	return d, nil
}

func (d *Doc) mark() []mark {
	marks := make([]mark, 1, 1+len(d.data)/markEvery)
	for at := markEvery; at <= len(d.data); at += markEvery {
		marks = append(marks, marks[len(marks)-1].move(d.data[at-markEvery:at]))
	}
	return marks
}

// move returns the place behind some text, which is UTF-8 or a part of it.
func (m mark) move(text []byte) mark {
	if n := bytes.Count(text, []byte("\n")); n > 0 {
		m = mark{line: m.line + int32(n)}
		text = text[bytes.LastIndexByte(text, '\n')+1:]
	}
	for _, c := range text {
		if utf8.RuneStart(c) {
			m.col++
		}
	}
	return m
}

// maskNumberWords returns data with NaN and Infinity outside strings replaced
// by numbers of the same length, so that every offset holds for both. The
// values of such numbers are read from data.
func maskNumberWords(data []byte) []byte {
	if !bytes.Contains(data, []byte("NaN")) && !bytes.Contains(data, []byte("Infinity")) {
		return data
	}
	masked := bytes.Clone(data)
	inString := false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case !inString && (c == 'N' || c == 'I'):
			word, number := "NaN", "0e0"
			if c == 'I' {
				word, number = "Infinity", "1e999999"
			}
			if standsAlone(data, i, word) {
				copy(masked[i:], number)
				i += len(word) - 1
			}
		}
	}
	return masked
}

func standsAlone(data []byte, i int, word string) bool {
	end := i + len(word)
	return bytes.HasPrefix(data[i:], []byte(word)) &&
		(i == 0 || strings.IndexByte(" \t\r\n:,[-", data[i-1]) >= 0) &&
		(end == len(data) || strings.IndexByte(" \t\r\n,]}", data[end]) >= 0)
}

type parser struct {
	doc *Doc
	dec *jsontext.Decoder
}

func (p *parser) value(parent, keyStart, keyEnd int32, depth int) error {
	d := p.doc
	start := d.nextToken(p.dec.InputOffset())
	tok, err := p.dec.ReadToken()
	if err != nil {
		return err
	}
	if len(d.nodes) == MaxValues {
		return d.errorf(int(start), "more than %d values", MaxValues)
	}
	self := int32(len(d.nodes))
	n := node{start: start, end: int32(p.dec.InputOffset()), keyStart: keyStart, keyEnd: keyEnd, parent: parent}
	switch tok.Kind() {
	case 'n':
		n.kind = Null
	case 't', 'f':
		n.kind = Bool
	case '0':
		n.kind = Number
	case '"':
		n.kind = String
	case '[':
		n.kind = Array
	case '{':
		n.kind = Object
	}
	d.nodes = append(d.nodes, n)
	if n.kind < Array {
		d.nodes[self].next = self + 1
		return nil
	}
	if depth == MaxDepth {
		return d.errorf(int(n.start), "more than %d levels deep", MaxDepth)
	}
	for {
		switch p.dec.PeekKind() {
		case ']', '}':
			if _, err := p.dec.ReadToken(); err != nil {
				return err
			}
			d.nodes[self].end = int32(p.dec.InputOffset())
			d.nodes[self].next = int32(len(d.nodes))
			return nil
		}
		ks, ke := int32(-1), int32(-1)
		if n.kind == Object {
			ks = d.nextToken(p.dec.InputOffset())
			if _, err := p.dec.ReadToken(); err != nil {
				return err
			}
			ke = int32(p.dec.InputOffset())
		}
		if err := p.value(self, ks, ke, depth+1); err != nil {
			return err
		}
	}
}

// nextToken returns where the token after the one that ends at i begins. Only
// white space and a separator stand between.
func (d *Doc) nextToken(i int64) int32 {
	rest := d.data[i:]
	return int32(len(d.data) - len(bytes.TrimLeft(rest, " \t\r\n,:")))
}

func (d *Doc) errorf(offset int, format string, args ...any) *Error {
	offset = min(max(offset, 0), len(d.data))
	line, col := position(d.data, offset)
	return &Error{File: d.file, Line: line, Column: col, Offset: offset, Msg: fmt.Sprintf(format, args...)}
}

func position(data []byte, offset int) (line, col int) {
	before := data[:offset]
	return 1 + bytes.Count(before, []byte("\n")), 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
}

func (d *Doc) parseError(err error, dec *jsontext.Decoder) error {
	if own, ok := errors.AsType[*Error](err); ok {
		return own
	}
	if err == io.EOF {
		return d.errorf(len(d.data), "the document is empty")
	}
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return d.errorf(int(dec.InputOffset()), "%v", err)
	}
	switch syntax.Err {
	case jsontext.ErrDuplicateName:
		return d.errorf(int(syntax.ByteOffset), "member %q occurs twice", syntax.JSONPointer.LastToken())
	case io.ErrUnexpectedEOF:
		return d.errorf(len(d.data), "the document ends early")
	}
	return d.errorf(int(syntax.ByteOffset), "%v", syntax.Err)
}

// File returns the name given to Parse.
func (d *Doc) File() string { return d.file }

// Bytes returns the document's text, which must not be modified.
func (d *Doc) Bytes() []byte { return d.data }

// Root returns the outermost value.
func (d *Doc) Root() Node { return Node{d, 0} }

// Lookup follows path from the root: the name of a member at an object, the
// decimal index at an array.
func (d *Doc) Lookup(path ...string) (Node, bool) { return d.Root().Lookup(path...) }

// All iterates over every value in the order of the text, the root first.
func (d *Doc) All() iter.Seq[Node] {
	return func(yield func(Node) bool) {
		for i := range d.nodes {
			if !yield(Node{d, int32(i)}) {
				return
			}
		}
	}
}

// A Node is a value in a document. Nodes of one document can be compared
// with ==. The zero Node is no value.
type Node struct {
	doc *Doc
	i   int32
}

func (n Node) node() *node { return &n.doc.nodes[n.i] }

// Kind returns the kind of the value, 0 for the zero Node.
func (n Node) Kind() Kind {
	if n.doc == nil {
		return 0
	}
	return n.node().kind
}

// Span returns the byte offsets of the value's first byte and of the byte after its last.
func (n Node) Span() (start, end int) { return int(n.node().start), int(n.node().end) }

// KeySpan returns the span of the member's name, with its quotes, and false
// when the value is not a member of an object.
func (n Node) KeySpan() (start, end int, ok bool) {
	s := n.node()
	return int(s.keyStart), int(s.keyEnd), s.keyStart >= 0
}

// Position returns the line and column of the value, counted from 1, the
// column in characters.
func (n Node) Position() (line, col int) {
	at := int(n.node().start)
	m := n.doc.marks()[at/markEvery].move(n.doc.data[at/markEvery*markEvery : at])
	return int(m.line) + 1, int(m.col) + 1
}

// Raw returns the text of the value, which must not be modified.
func (n Node) Raw() []byte {
	s := n.node()
	return n.doc.data[s.start:s.end:s.end]
}

// Key returns the name under which the value is a member, or "".
func (n Node) Key() string {
	s := n.node()
	if s.keyStart < 0 {
		return ""
	}
	return unquote(n.doc.data[s.keyStart:s.keyEnd])
}

func unquote(quoted []byte) string {
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	b, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		panic("jsondoc: a string that was parsed does not unquote: " + err.Error())
	}
	return string(b)
}

// Text returns the value of a string.
func (n Node) Text() (string, bool) {
	if n.Kind() != String {
		return "", false
	}
	return unquote(n.Raw()), true
}

// Bool returns the value of a boolean.
func (n Node) Bool() (v, ok bool) {
	if n.Kind() != Bool {
		return false, false
	}
	return n.Raw()[0] == 't', true
}

// Int returns the value of a number that is written as an integer and fits.
func (n Node) Int() (int64, bool) {
	if n.Kind() != Number {
		return 0, false
	}
	v, err := strconv.ParseInt(string(n.Raw()), 10, 64)
	return v, err == nil
}

// Float returns the value of a number, rounded to the nearest float64; one
// that is too large is infinite.
func (n Node) Float() (float64, bool) {
	if n.Kind() != Number {
		return 0, false
	}
	v, err := strconv.ParseFloat(string(n.Raw()), 64)
	return v, err == nil || errors.Is(err, strconv.ErrRange)
}

// Children iterates over the members of an object or the elements of an
// array, in order, numbered from 0. A member's name is its Key.
func (n Node) Children() iter.Seq2[int, Node] {
	return func(yield func(int, Node) bool) {
		if n.Kind() < Array {
			return
		}
		i := 0
		for c := n.i + 1; c < n.node().next; c = n.doc.nodes[c].next {
			if !yield(i, Node{n.doc, c}) {
				return
			}
			i++
		}
	}
}

// Len returns the number of members or elements.
func (n Node) Len() int {
	count := 0
	for range n.Children() {
		count++
	}
	return count
}

// Lookup follows path from n, as [Doc.Lookup] does from the root.
func (n Node) Lookup(path ...string) (Node, bool) {
	for _, step := range path {
		c, ok := n.child(step)
		if !ok {
			return Node{}, false
		}
		n = c
	}
	return n, n.doc != nil
}

func (n Node) child(step string) (Node, bool) {
	switch n.Kind() {
	case Object:
		if n.node().next-n.i > manyValues {
			return n.doc.member(n.i, step)
		}
		for _, c := range n.Children() {
			if s := c.node(); sameString(n.doc.data[s.keyStart:s.keyEnd], step) {
				return c, true
			}
		}
	case Array:
		want, err := strconv.ParseUint(step, 10, 31)
		if err != nil {
			return Node{}, false
		}
		for i, c := range n.Children() {
			if i == int(want) {
				return c, true
			}
		}
	}
	return Node{}, false
}

// manyValues is from how many values on an object has a table of its members. A
// document is asked for members again and again, once a tensor perhaps.
const manyValues = 256

var seed = maphash.MakeSeed()

func (d *Doc) member(object int32, name string) (Node, bool) {
	const several = -1 // members have this hash
	d.mu.Lock()
	defer d.mu.Unlock()
	table := d.tables[object]
	if table == nil {
		table = make(map[uint64]int32)
		for _, c := range (Node{d, object}).Children() {
			hash := maphash.String(seed, c.Key())
			if _, ok := table[hash]; ok {
				table[hash] = several
			} else {
				table[hash] = c.i
			}
		}
		if d.tables == nil {
			d.tables = make(map[int32]map[uint64]int32)
		}
		d.tables[object] = table
	}
	i, ok := table[maphash.String(seed, name)]
	if i == several {
		for _, c := range (Node{d, object}).Children() {
			if c.Key() == name {
				return c, true
			}
		}
		return Node{}, false
	}
	if !ok || (Node{d, i}).Key() != name {
		return Node{}, false
	}
	return Node{d, i}, true
}

func sameString(quoted []byte, s string) bool {
	inner := quoted[1 : len(quoted)-1]
	if string(inner) == s && strings.IndexByte(s, '\\') < 0 {
		return true
	}
	return bytes.IndexByte(inner, '\\') >= 0 && unquote(quoted) == s
}

// Pointer returns the JSON Pointer (RFC 6901) of the value, "" for the root.
func (n Node) Pointer() string {
	s := n.node()
	if s.parent < 0 {
		return ""
	}
	parent := Node{n.doc, s.parent}
	if s.keyStart >= 0 {
		return parent.Pointer() + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(n.Key())
	}
	for i, c := range parent.Children() {
		if c == n {
			return parent.Pointer() + "/" + strconv.Itoa(i)
		}
	}
	panic("jsondoc: a value is not among its parent's")
}
