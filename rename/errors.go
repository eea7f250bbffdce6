package rename

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// An Error is a fault in a map's file.
type Error struct {
	File         string
	Line, Column int    // from 1
	Text         string // of the line
	Msg          string
	Hint         string // what to write instead, or ""
}

// Error says where and what in its first line, and shows the line below it.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	if strings.TrimSpace(e.Text) == "" {
		return b.String()
	}
	const before, shown = 60, 110
	text := []rune(e.Text)
	at := min(max(e.Column-1, 0), len(text))
	start := max(0, at-before)
	if len(text) <= shown {
		start = 0
	}
	end := min(len(text), start+shown)
	number := strconv.Itoa(e.Line)
	fmt.Fprintf(&b, "\n %s | %s\n %*s | %*s^", number, printable(string(text[start:end])),
		len(number), "", len([]rune(printable(string(text[start:at])))), "")
	return b.String()
}

// printable makes text from a file safe for a terminal.
func printable(s string) string {
	clean := func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
	if !strings.ContainsFunc(s, clean) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\t':
			b.WriteByte(' ')
		case clean(r):
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// An ErrorList is all the faults of a map's file, in the order of their places.
type ErrorList []*Error

func (l ErrorList) Error() string {
	texts := make([]string, len(l))
	for i, e := range l {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives errors.As each fault.
func (l ErrorList) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}
