package render

import (
	"bytes"
	"io"
	"strings"
	"unicode/utf8"
)

// Wrap has f write to w. On a terminal, lines that are wider than it are cut between
// words, and what follows is indented further. A word that is wider, such as a name, stays
// whole.
func (s Style) Wrap(w io.Writer, f func(w io.Writer) error) error { return s.wrap(w, indent, f) }

// WrapText is Wrap for paragraphs, which are not indented.
func (s Style) WrapText(w io.Writer, f func(w io.Writer) error) error { return s.wrap(w, 0, f) }

func (s Style) wrap(w io.Writer, indent int, f func(w io.Writer) error) error {
	if !s.Terminal || s.Width == 0 {
		return f(w)
	}
	lines := &wrapper{w: w, width: s.Width, indent: indent}
	err := f(lines)
	if err == nil && len(lines.begun) > 0 {
		_, err = io.WriteString(w, lines.wrap(string(lines.begun)))
	}
	return err
}

type wrapper struct {
	w             io.Writer
	width, indent int
	begun         []byte // a line that has no end yet
}

func (l *wrapper) Write(p []byte) (int, error) {
	end := bytes.LastIndexByte(p, '\n') + 1
	if end == 0 {
		l.begun = append(l.begun, p...)
		return len(p), nil
	}
	var b strings.Builder
	for line := range strings.Lines(string(l.begun) + string(p[:end])) {
		b.WriteString(l.wrap(line))
	}
	l.begun = append(l.begun[:0], p[end:]...)
	if _, err := io.WriteString(l.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (l *wrapper) wrap(line string) string {
	if len(line) <= l.width || shownWidth(line) <= l.width {
		return line
	}
	text := strings.TrimLeft(line, " ")
	margin := len(line) - len(text)
	var b strings.Builder
	used := appendWord(&b, line[:margin], 0)
	first := true
	for word := range strings.SplitSeq(text, " ") {
		switch n := shownWidth(word); {
		case first:
			first = false
		case used+1+n > l.width:
			b.WriteByte('\n')
			used = appendWord(&b, strings.Repeat(" ", min(margin+l.indent, l.width/2)), 0)
		default:
			used = appendWord(&b, " ", used)
		}
		used = appendWord(&b, word, used)
	}
	return b.String()
}

// appendWord returns how many columns of the line are used then.
func appendWord(b *strings.Builder, word string, used int) int {
	b.WriteString(word)
	return used + shownWidth(word)
}

// shownWidth is [DisplayWidth] of text that may be painted.
func shownWidth(s string) int {
	n := 0
	for {
		before, painted, ok := strings.Cut(s, "\x1b[")
		n += DisplayWidth(strings.TrimSuffix(before, "\n"))
		if !ok {
			return n
		}
		_, s, _ = strings.Cut(painted, "m")
	}
}

// Wrap cuts a text into lines of a width, between words.
func Wrap(text string, width int) []string {
	var lines []string
	line, used := "", 0
	for word := range strings.FieldsSeq(text) {
		for _, part := range fold(word, width, width) { // of a word that fits in no line
			n := DisplayWidth(part)
			switch {
			case line == "":
				line, used = part, n
			case used+1+n <= width:
				line, used = line+" "+part, used+1+n
			default:
				lines = append(lines, line)
				line, used = part, n
			}
		}
	}
	return append(lines, line)
}

// fold cuts a name into lines, behind a separator where there is one: the first of a
// width, and the others of another.
func fold(name string, width, others int) []string {
	var lines []string
	for ; DisplayWidth(name) > width; width = others {
		end := len(prefix(name, width))
		for _, separators := range []string{".", "._/-:"} {
			if at := strings.LastIndexAny(name[:end], separators) + 1; at > end/2 {
				end = at
				break
			}
		}
		if end == 0 { // a character that is wider than the line
			_, end = utf8.DecodeRuneInString(name)
		}
		lines, name = append(lines, name[:end]), name[end:]
	}
	return append(lines, name)
}
