package render

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
)

// SchemaVersion is the version of the JSON envelope. Keys are added without
// changing it; none is removed or given another meaning.
const SchemaVersion = 1

// AppendJSON appends s as a JSON string. It escapes what a terminal would act
// on, although JSON does not ask for it, and writes U+FFFD for what is not UTF-8.
func AppendJSON(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if plain(s) && !hasQuote(s) {
		return append(append(dst, s...), '"')
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\t':
			dst = append(dst, `\t`...)
		case r == '\r':
			dst = append(dst, `\r`...)
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case !strconv.IsPrint(r):
			dst = jsondoc.AppendEscapedRune(dst, r)
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}

func hasQuote(s string) bool {
	for i := range len(s) {
		if s[i] == '"' {
			return true
		}
	}
	return false
}

// Marshal encodes v as JSON on one line, with the promises of [AppendJSON].
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return jsondoc.Printable(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// Write writes v as JSON over several lines, with the promises of [AppendJSON].
func Write(w io.Writer, v any) error {
	data, err := Marshal(v)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, data, "", " "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err = w.Write(b.Bytes())
	return err
}

// A Document writes the JSON envelope that every command shares: an object that
// begins with schema_version, one line a member and one line an element of the
// lists.
type Document struct {
	w   io.Writer
	buf []byte
	err error
}

// NewDocument begins a document. [Document.Close] ends it and returns the first
// error.
func NewDocument(w io.Writer) *Document {
	return &Document{w: w, buf: fmt.Appendf(nil, `{"schema_version":%d`, SchemaVersion)}
}

// Field writes a member.
func (d *Document) Field(key string, v any) {
	d.key(key)
	d.value(v)
}

// List writes a member that is an array, each element as it comes.
func List[T any](d *Document, key string, items []T) { Each(d, key, slices.Values(items)) }

// Each is List for what is made while it is walked over.
func Each[T any](d *Document, key string, items func(yield func(T) bool)) {
	d.key(key)
	d.buf = append(d.buf, '[')
	first := true
	for v := range items {
		if !first {
			d.buf = append(d.buf, ',')
		}
		first = false
		d.buf = append(d.buf, "\n  "...)
		d.value(v)
		d.flush(flushAt)
	}
	d.buf = append(d.buf, ']')
}

// Lines writes JSON lines, an item each.
func Lines[T any](w io.Writer, items []T) error {
	for _, v := range items {
		line, err := Marshal(v)
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// Rows writes a member that is the array of t's rows.
func (d *Document) Rows(key string, t *Table) {
	columns, walk, _ := t.shown(JSON, nil) // its own, which it has
	d.key(key)
	d.buf = append(d.buf, '[')
	first := true
	for row := range walk {
		if d.err != nil {
			return
		}
		if !first {
			d.buf = append(d.buf, ',')
		}
		first = false
		d.buf = append(d.buf, "\n  "...)
		d.buf = appendObject(d.buf, columns, row)
		d.flush(flushAt)
	}
	d.buf = append(d.buf, ']')
}

// Close ends the document.
func (d *Document) Close() error {
	d.buf = append(d.buf, "}\n"...)
	d.flush(0)
	return d.err
}

func (d *Document) key(key string) {
	d.buf = append(d.buf, ",\n "...)
	d.buf = AppendJSON(d.buf, key)
	d.buf = append(d.buf, ':')
}

// A Streamer writes its own JSON on one line, with the promises of [AppendJSON]: what may
// be larger than memory.
type Streamer interface{ WriteJSON(w io.Writer) error }

func (d *Document) value(v any) {
	if s, ok := v.(Streamer); ok {
		if d.flush(0); d.err == nil {
			d.err = s.WriteJSON(d.w)
		}
		return
	}
	data, err := Marshal(v)
	if err != nil && d.err == nil {
		d.err = err
	}
	d.buf = append(d.buf, data...)
}

// flushAt is the number of bytes gathered before a write.
const flushAt = 64 << 10

func (d *Document) flush(least int) {
	if len(d.buf) > least && d.err == nil {
		_, d.err = d.w.Write(d.buf)
		d.buf = d.buf[:0]
	}
}
