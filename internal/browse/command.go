package browse

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// command is the wtinspect command that prints what is on screen, or why there is none.
func (m *model) command() (string, error) {
	var q quoter
	line := m.commandLine(&q)
	return line, q.err
}

// A quoter quotes words for a shell, and keeps the first error.
type quoter struct{ err error }

func (q *quoter) quote(s string) string {
	word, err := quote(s)
	if q.err == nil {
		q.err = err
	}
	return word
}

func (m *model) commandLine(q *quoter) string {
	var paths []string
	for _, p := range m.src.Paths() {
		if strings.HasPrefix(p, "-") {
			p = "./" + p
		}
		paths = append(paths, q.quote(p))
	}
	on := " " + strings.Join(paths, " ")
	switch {
	case m.pane != nil:
		return m.paneCommand(q, paths)
	case m.view == findingsView:
		return "wtinspect check" + on
	case m.view == infoView:
		return "wtinspect info --long" + on
	case m.two():
		flags := ""
		if !m.byValues {
			flags += " --headers"
		}
		if m.view != templatesView {
			flags += " --flat"
		}
		choice, rest := m.filterFlags(q)
		return "wtinspect diff -v" + flags + choice + on + rest
	}
	flags := ""
	switch m.view {
	case templatesView:
		flags = " --tree"
	case layersView:
		flags = " --tree --flat"
	case listView:
		flags = " --flat"
	}
	if sort := m.sort; sort.by != "file" || sort.reverse {
		by := sort.by
		backwards := sort.reverse
		if by == "size" {
			by = "bytes"
		}
		if by == "bytes" || by == "elements" { // ls has the smallest first
			backwards = !backwards
		}
		flags += " --sort " + by
		if backwards {
			flags += " --reverse"
		}
	}
	choice, rest := m.filterFlags(q)
	return "wtinspect ls" + flags + choice + on + rest
}

// paneCommand is of what is known of one tensor.
func (m *model) paneCommand(q *quoter, paths []string) string {
	var out []string
	for side := range m.pane.item.Sides {
		if !m.pane.item.Has[side] {
			continue
		}
		t := &m.pane.item.Sides[side]
		path := paths[min(side, len(paths)-1)]
		if of := m.pane.item.Of; of != "" && !m.two() { // one of several checkpoints
			path = q.quote(of)
		}
		match := " --match " + q.quote(globOf(t.Name)) + " " + path
		end := "" // of the flags, where a name may be taken for one
		if strings.HasPrefix(t.Name, "-") {
			end = "-- "
		}
		out = append(out,
			"wtinspect ls -v"+match,
			"wtinspect identify --why "+q.quote(t.Name)+" "+path,
			"wtinspect hash"+match,
			fmt.Sprintf("wtinspect stats -v --quantiles --histogram=%d%s", bins, match),
			"wtinspect cat "+end+path+" "+q.quote(globOf(t.Name)),
		)
	}
	return strings.Join(out, "; ")
}

// filterFlags are those that choose what the filter does, and what a shell has to do behind
// them.
func (m *model) filterFlags(q *quoter) (flags, rest string) {
	if m.filter.glob() {
		return " --match " + q.quote(string(m.filter)), ""
	}
	words := strings.Fields(string(m.filter))
	between := ".*" // letters
	if l := m.listed(); l.chosen != nil && l.chosen.filter == m.filter && l.chosen.whole == len(words) {
		between = ""
	}
	for k, word := range words {
		var letters []string
		for _, r := range word {
			letters = append(letters, regexp.QuoteMeta(string(r)))
		}
		pattern := strings.Join(letters, between)
		small := strings.ToLower(word) == word
		switch {
		case k > 0 && small:
			rest += " | grep -iE -e " + q.quote(pattern)
		case k > 0:
			rest += " | grep -E -e " + q.quote(pattern)
		case small:
			flags = " --regex " + q.quote("(?i)"+pattern)
		default:
			flags = " --regex " + q.quote(pattern)
		}
	}
	return flags, rest
}

// quote has any POSIX shell take a word as it is. Bytes that a terminal acts on are written
// for printf, so that the command may be shown and pasted.
func quote(s string) (string, error) {
	plain := s != "" && s[0] != '=' // which zsh looks up as a command
	odd := !utf8.ValidString(s)
	for _, r := range s {
		plain = plain && (r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("_-./:@%+,=", r))
		odd = odd || !strconv.IsPrint(r)
	}
	switch {
	case plain:
		return s, nil
	case !odd:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'", nil
	case strings.Contains(s, "\x00"):
		return "", errors.New("there is no command for it: a name has a NUL byte, which no argument of a program can have")
	case strings.HasSuffix(s, "\n"):
		return "", errors.New("there is no command for it: a name ends with a line break, which shells drop")
	}
	var b strings.Builder
	b.WriteString(`"$(printf %b '`)
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\\':
			b.WriteString(`\\`)
		case c < ' ' || c > '~' || c == '\'' || c == '!': // the last is for the history of bash
			fmt.Fprintf(&b, `\0%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + `')"`, nil
}
