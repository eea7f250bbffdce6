package foreign

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A pattern is a regular expression that matches as Python's re does: from the left, by
// trying. Of the language it has what tables of renames have, lookarounds of one byte and
// references to groups among it, which Go's regexp lacks.
type pattern struct {
	node   node
	groups int
}

// A node tries to match at a place, and what follows it by next. It changes the spans of
// groups on the way there, and changes them back on the way back.
type node func(s string, at int, spans []int, next func(at int) bool) bool

type reader struct {
	text   string
	at     int
	groups int
}

func compile(text string) (*pattern, error) {
	r := &reader{text: text}
	n, err := r.alternatives()
	if err == nil && r.at < len(text) {
		err = r.fault()
	}
	return &pattern{n, r.groups}, err
}

func (r *reader) fault() error { return fmt.Errorf("%q is not read from byte %d on", r.text, r.at) }

func (r *reader) skip(s string) bool {
	ok := strings.HasPrefix(r.text[r.at:], s)
	if ok {
		r.at += len(s)
	}
	return ok
}

func (r *reader) alternatives() (node, error) {
	first, err := r.sequence()
	if err != nil || !r.skip("|") {
		return first, err
	}
	rest, err := r.alternatives()
	return func(s string, at int, spans []int, next func(int) bool) bool {
		return first(s, at, spans, next) || rest(s, at, spans, next)
	}, err
}

func (r *reader) sequence() (node, error) {
	if r.at == len(r.text) || strings.IndexByte("|)", r.text[r.at]) >= 0 {
		return func(_ string, at int, _ []int, next func(int) bool) bool { return next(at) }, nil
	}
	first, err := r.repeated()
	if err != nil {
		return nil, err
	}
	rest, err := r.sequence()
	return func(s string, at int, spans []int, next func(int) bool) bool {
		return first(s, at, spans, func(at int) bool { return rest(s, at, spans, next) })
	}, err
}

func (r *reader) repeated() (node, error) {
	one, err := r.item()
	if err != nil || r.at == len(r.text) || strings.IndexByte("*+?", r.text[r.at]) < 0 {
		return one, err
	}
	sign := r.text[r.at]
	r.at++
	lazy := r.skip("?")
	least := map[byte]int{'+': 1}[sign]
	var times func(n int) node
	times = func(n int) node {
		return func(s string, at int, spans []int, next func(int) bool) bool {
			more := func() bool {
				return (sign != '?' || n == 0) && one(s, at, spans, func(to int) bool { return to > at && times(n+1)(s, to, spans, next) })
			}
			enough := func() bool { return n >= least && next(at) }
			if lazy {
				return enough() || more()
			}
			return more() || enough()
		}
	}
	return times(0), nil
}

func (r *reader) item() (node, error) {
	char := func(is func(c rune) bool) node {
		return func(s string, at int, _ []int, next func(int) bool) bool {
			c, size := utf8.DecodeRuneInString(s[at:])
			return size > 0 && is(c) && next(at+size)
		}
	}
	switch c := r.text[r.at]; {
	case r.skip("^"):
		return func(_ string, at int, _ []int, next func(int) bool) bool { return at == 0 && next(at) }, nil
	case r.skip("$"):
		return func(s string, at int, _ []int, next func(int) bool) bool { return at == len(s) && next(at) }, nil
	case r.skip("."):
		return char(func(c rune) bool { return c != '\n' }), nil
	case r.skip("["):
		return r.class(char)
	case r.skip("("):
		return r.group()
	case r.skip(`\d`):
		return char(func(c rune) bool { return '0' <= c && c <= '9' }), nil
	case c == '\\' && r.at+1 < len(r.text):
		c = r.text[r.at+1]
		r.at += 2
		if '1' <= c && c <= '9' {
			if r.at < len(r.text) && '0' <= r.text[r.at] && r.text[r.at] <= '9' {
				return nil, r.fault()
			}
			g := int(c - '0')
			return func(s string, at int, spans []int, next func(int) bool) bool {
				return spans[2*g] >= 0 && strings.HasPrefix(s[at:], s[spans[2*g]:spans[2*g+1]]) && next(at+spans[2*g+1]-spans[2*g])
			}, nil
		}
		if c|0x20 >= 'a' && c|0x20 <= 'z' || c == '0' {
			return nil, r.fault()
		}
		return char(func(x rune) bool { return x == rune(c) }), nil
	case strings.IndexByte(`*+?{\`, c) >= 0:
		return nil, r.fault()
	default:
		c, size := utf8.DecodeRuneInString(r.text[r.at:])
		r.at += size
		return char(func(x rune) bool { return x == c }), nil
	}
}

func (r *reader) class(char func(func(rune) bool) node) (node, error) {
	var is [utf8.RuneSelf]bool
	not := r.skip("^")
	for first := true; first || !r.skip("]"); first = false {
		if r.skip(`\`); r.at == len(r.text) {
			return nil, r.fault()
		}
		low := r.text[r.at]
		high := low
		if r.at++; strings.HasPrefix(r.text[r.at:], "-") && !strings.HasPrefix(r.text[r.at:], "-]") {
			high = r.text[r.at+1]
			r.at += 2
		}
		for c := int(low); c <= int(high); c++ {
			is[c] = true
		}
	}
	return char(func(c rune) bool { return (c < utf8.RuneSelf && is[c]) != not }), nil
}

func (r *reader) group() (node, error) {
	number, ahead, behind, not := 0, false, false, false
	switch {
	case r.skip("?:"):
	case r.skip("?="), r.skip("?!"):
		ahead, not = true, r.text[r.at-1] == '!'
	case r.skip("?<="), r.skip("?<!"):
		behind, not = true, r.text[r.at-1] == '!'
	case r.skip("?"):
		return nil, r.fault()
	default:
		r.groups++
		number = r.groups
	}
	in, err := r.alternatives()
	if err == nil && !r.skip(")") {
		err = r.fault()
	}
	return func(s string, at int, spans []int, next func(int) bool) bool {
		switch {
		case ahead:
			return in(s, at, spans, func(int) bool { return true }) != not && next(at)
		case behind:
			return (at > 0 && in(s, at-1, spans, func(to int) bool { return to == at })) != not && next(at)
		case number == 0:
			return in(s, at, spans, next)
		}
		return in(s, at, spans, func(to int) bool {
			was := [2]int(spans[2*number:])
			copy(spans[2*number:], []int{at, to})
			if next(to) {
				return true
			}
			copy(spans[2*number:], was[:])
			return false
		})
	}, err
}

// search returns where the pattern matches first, from a place on, and where its groups do:
// two numbers each, the whole as group 0. It is nil where it does not match.
func (p *pattern) search(s string, from int) []int {
	spans := make([]int, 2*p.groups+2)
	for at := from; at <= len(s); at++ {
		if at < len(s) && !utf8.RuneStart(s[at]) {
			continue
		}
		for i := range spans {
			spans[i] = -1
		}
		spans[0] = at
		if p.node(s, at, spans, func(to int) bool {
			spans[1] = to
			return true
		}) {
			return spans
		}
	}
	return nil
}

// sub replaces every match.
func (p *pattern) sub(text, s string) (string, error) {
	var out strings.Builder
	at := 0
	for at <= len(s) {
		m := p.search(s, at)
		if m == nil {
			break
		}
		out.WriteString(s[at:m[0]])
		with, err := expand(text, s, m)
		if err != nil {
			return "", err
		}
		out.WriteString(with)
		if at = m[1]; m[0] == m[1] {
			out.WriteString(s[at:min(at+1, len(s))])
			at++
		}
	}
	return out.String() + s[min(at, len(s)):], nil
}

// expand writes what takes the place of a match: \1, \12, \g<1> and \\ are read.
func expand(text, s string, m []int) (string, error) {
	var out strings.Builder
	for text != "" {
		before, rest, found := strings.Cut(text, `\`)
		out.WriteString(before)
		if !found {
			break
		}
		digits := 0
		for digits < min(2, len(rest)) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		number := rest[:digits]
		text = rest[digits:]
		switch {
		case strings.HasPrefix(rest, `\`):
			out.WriteByte('\\')
			text = rest[1:]
			continue
		case strings.HasPrefix(rest, "g<"):
			number, text, _ = strings.Cut(rest[2:], ">")
		}
		n, err := strconv.Atoi(number)
		if err != nil || 2*n >= len(m) || m[2*n] < 0 {
			return "", fmt.Errorf("%q refers to no group", rest)
		}
		out.WriteString(s[m[2*n]:m[2*n+1]])
	}
	return out.String(), nil
}
