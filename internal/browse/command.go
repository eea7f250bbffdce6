package browse

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// command is the wtinspect command that prints what is on screen.
func (m *model) command() string {
	var paths []string
	for _, p := range m.src.Paths() {
		if strings.HasPrefix(p, "-") {
			p = "./" + p
		}
		paths = append(paths, quote(p))
	}
	on := " " + strings.Join(paths, " ")
	switch {
	case m.pane != nil:
		return m.paneCommand(paths)
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
		choice, rest := m.filterFlags()
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
	choice, rest := m.filterFlags()
	return "wtinspect ls" + flags + choice + on + rest
}

// paneCommand is of what is known of one tensor.
func (m *model) paneCommand(paths []string) string {
	var out []string
	for side := range m.pane.item.Sides {
		if !m.pane.item.Has[side] {
			continue
		}
		t := &m.pane.item.Sides[side]
		path := paths[min(side, len(paths)-1)]
		if of := m.pane.item.Of; of != "" && !m.two() { // one of several checkpoints
			path = quote(of)
		}
		match := " --match " + quote(globOf(t.Name)) + " " + path
		out = append(out,
			"wtinspect ls -v"+match,
			"wtinspect identify --why "+quote(t.Name)+" "+path,
			"wtinspect hash"+match,
			fmt.Sprintf("wtinspect stats -v --quantiles --histogram=%d%s", bins, match),
			"wtinspect cat "+path+" "+quote(globOf(t.Name)),
		)
	}
	return strings.Join(out, "; ")
}

// filterFlags are those that choose what the filter does, and what a shell has to do behind
// them.
func (m *model) filterFlags() (flags, rest string) {
	if m.filter.glob() {
		return " --match " + quote(string(m.filter)), ""
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
			rest += " | grep -iE -e " + quote(pattern)
		case k > 0:
			rest += " | grep -E -e " + quote(pattern)
		case small:
			flags = " --regex " + quote("(?i)"+pattern)
		default:
			flags = " --regex " + quote(pattern)
		}
	}
	return flags, rest
}

// quote has a shell take a word as it is. Bytes that a terminal acts on are written as $'…'
// has them, which POSIX.1-2024 shells read.
func quote(s string) string {
	plain := s != ""
	odd := !utf8.ValidString(s)
	for _, r := range s {
		plain = plain && (r < utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)) || strings.ContainsRune("_-./:@%+,=", r))
		odd = odd || !strconv.IsPrint(r)
	}
	switch {
	case plain:
		return s
	case !odd:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	for i := range len(s) {
		switch c := s[i]; {
		case c == '\'' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String() + "'"
}
