package rewrite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Headers and indexes are edited as text, so that everything that an edit does
// not name keeps its bytes. The functions here are for text that a strict
// reader has accepted; they look for structure, and judge nothing.

// A member is a name and its value in the text of an object.
type member struct {
	nameStart, nameEnd int // of the string, with its quotes
	start, end         int // of the value
}

// members lists the members of the object that text has at or after at.
func members(text []byte, at int) (list []member, end int) {
	at = skipSpace(text, at)
	if at >= len(text) || text[at] != '{' {
		return nil, at
	}
	at++
	for {
		at = skipSpace(text, at)
		if at >= len(text) || text[at] == '}' {
			return list, min(at+1, len(text))
		}
		m := member{nameStart: at}
		at = skipValue(text, at)
		m.nameEnd = at
		at = skipSpace(text, skipSpace(text, at)+1) // the colon
		m.start = at
		at = skipValue(text, at)
		m.end = at
		list = append(list, m)
		at = skipSpace(text, at)
		if at < len(text) && text[at] == ',' {
			at++
		}
	}
}

func skipSpace(text []byte, at int) int {
	for at < len(text) && (text[at] == ' ' || text[at] == '\n' || text[at] == '\t' || text[at] == '\r') {
		at++
	}
	return at
}

// skipValue returns the end of the value that begins at at.
func skipValue(text []byte, at int) int {
	depth := 0
	for at < len(text) {
		switch c := text[at]; c {
		case '"':
			at = skipString(text, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			depth--
			at++
		case ',', ':', ' ', '\n', '\t', '\r':
			at++
		default:
			for at < len(text) && !bytes.ContainsRune([]byte(",:]} \n\t\r"), rune(text[at])) {
				at++
			}
		}
		if depth <= 0 {
			return at
		}
	}
	return at
}

// skipString returns the end of the string that begins at at.
func skipString(text []byte, at int) int {
	for at++; at < len(text); at++ {
		switch text[at] {
		case '\\':
			at++
		case '"':
			return at + 1
		}
	}
	return at
}

// lookup finds the first member of a name.
func lookup(text []byte, list []member, name string) (member, bool) {
	for _, m := range list {
		if m.name(text) == name {
			return m, true
		}
	}
	return member{}, false
}

// name returns the member's name, unescaped.
func (m member) name(text []byte) string { return unquote(text[m.nameStart:m.nameEnd]) }

func unquote(s []byte) string {
	if len(s) >= 2 && bytes.IndexByte(s, '\\') < 0 {
		return string(s[1 : len(s)-1])
	}
	var out string
	if json.Unmarshal(s, &out) != nil {
		return ""
	}
	return out
}

// quote writes a string as JSON with no more escapes than it needs.
func quote(s string) []byte {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < 0x20:
			b = fmt.Appendf(b, `\u%04x`, c)
		default:
			b = append(b, c)
		}
	}
	return append(b, '"')
}

// A splice puts text in the place of a range.
type splice struct {
	start, end int
	text       []byte
}

// apply makes splices that are in order and apart from each other.
func apply(text []byte, splices []splice) []byte {
	n := len(text)
	for _, s := range splices {
		n += len(s.text) - (s.end - s.start)
	}
	out := make([]byte, 0, n)
	at := 0
	for _, s := range splices {
		out = append(append(out, text[at:s.start]...), s.text...)
		at = s.end
	}
	return append(out, text[at:]...)
}

// rewriteObject edits the members of an object. edit returns what a member is
// replaced by, nil to leave it as it is, and false to take it out. Each member
// that stays keeps the spacing before it. added members come last.
func rewriteObject(text []byte, list []member, end int, edit func(m member) (to []byte, keep bool), added [][]byte) []byte {
	lead, sep := []byte(nil), []byte(",")
	open := bytes.LastIndexByte(text[:end], '{')
	if len(list) == 0 && len(added) == 0 {
		return bytes.Clone(text)
	}
	if len(list) > 0 {
		first := list[0].nameStart
		open = bytes.LastIndexByte(text[:first], '{')
		lead = text[open+1 : first]
		sep = append([]byte{','}, lead...)
	}
	if len(list) > 1 {
		sep = text[list[0].end:list[1].nameStart]
	}
	out := append([]byte(nil), text[:open+1]...)
	n := 0
	put := func(before, member []byte) {
		if n == 0 {
			before = lead
		}
		out = append(append(out, before...), member...)
		n++
	}
	for i, m := range list {
		to, keep := edit(m)
		if !keep {
			continue
		}
		if to == nil {
			to = text[m.nameStart:m.end]
		}
		before := sep
		if i > 0 {
			before = text[list[i-1].end:m.nameStart]
		}
		put(before, to)
	}
	for _, a := range added {
		put(sep, a)
	}
	if len(list) > 0 {
		return append(out, text[list[len(list)-1].end:]...)
	}
	return append(out, text[end-1:]...)
}

// number edits an integer that is written plain, or as a string of digits.
func number(raw []byte, f func(n uint64) (uint64, bool)) ([]byte, bool) {
	digits, quoted := raw, false
	if len(raw) >= 2 && raw[0] == '"' {
		digits, quoted = raw[1:len(raw)-1], true
	}
	n, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil {
		return nil, false
	}
	n, ok := f(n)
	if !ok {
		return nil, false
	}
	out := strconv.AppendUint(nil, n, 10)
	if quoted {
		out = append(append([]byte{'"'}, out...), '"')
	}
	return out, true
}

func validText(what, s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%s %q is not valid UTF-8, which the format requires", what, s)
	}
	return nil
}
