package template

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A Glob is a pattern for whole names: * is any text, dots included, ? one
// character, [a-z] and [!a-z] one character of a set or not of it, and a
// backslash takes the next character as it is.
type Glob string

// ParseGlob returns an error when a pattern cannot be read.
func ParseGlob(pattern string) (Glob, error) {
	for rest := pattern; rest != ""; {
		if rest[0] == '*' {
			rest = rest[1:]
			continue
		}
		n, _, err := matchOne(rest, 0)
		if err != nil {
			return "", err
		}
		rest = rest[n:]
	}
	return Glob(pattern), nil
}

// Match reports whether the glob matches the whole name. One that ParseGlob
// refuses matches nothing where it cannot be read.
func (g Glob) Match(name string) bool {
	// When something fails, the last star takes one more character: earlier
	// stars need not be tried again.
	at, pos := 0, 0
	star, starPos := -1, 0
	for at < len(g) || pos < len(name) {
		if at < len(g) && g[at] == '*' {
			at++
			star, starPos = at, pos
			continue
		}
		if pos == len(name) {
			return false
		}
		if at < len(g) {
			if n, size := g.matchAt(at, name[pos:]); n > 0 {
				at, pos = at+n, pos+size
				continue
			}
		}
		if star < 0 {
			return false
		}
		_, size := decode(name[starPos:])
		starPos += size
		if star < len(g) && isPlain(g[star]) {
			next := strings.IndexByte(name[starPos:], g[star])
			if next < 0 {
				return false
			}
			starPos += next
		}
		at, pos = star, starPos
	}
	return true
}

// isPlain reports whether a byte of a glob is a character that stands for
// itself.
func isPlain(c byte) bool {
	return c < utf8.RuneSelf && c != '*' && c != '?' && c != '[' && c != '\\'
}

// matchAt returns how many bytes of the glob from at on, and how many of the
// name, are a match of one character; 0 when they do not match.
func (g Glob) matchAt(at int, name string) (n, size int) {
	if isPlain(g[at]) {
		if name[0] == g[at] {
			return 1, 1
		}
		return 0, 0
	}
	r, size := decode(name)
	n, ok, err := matchOne(string(g[at:]), r)
	if !ok || err != nil {
		return 0, 0
	}
	return n, size
}

// matchOne reports whether the first part of a pattern, which is not a star,
// matches a character, and how many bytes of the pattern it is.
func matchOne(pattern string, r rune) (n int, ok bool, err error) {
	next := func() rune {
		r, size := decode(pattern[n:])
		n += size
		return r
	}
	switch c := next(); c {
	case '?':
		return n, true, nil
	case '\\':
		if n == len(pattern) {
			return n, false, errors.New("nothing follows the backslash")
		}
		return n, next() == r, nil
	case '[':
		negate := n < len(pattern) && (pattern[n] == '!' || pattern[n] == '^')
		if negate {
			n++
		}
		for first := true; ; first = false {
			if n == len(pattern) {
				return n, false, errors.New("the [ is not closed; write \\[ for the character")
			}
			lo := next()
			if lo == ']' && !first {
				return n, ok != negate, nil
			}
			if lo == '\\' && n < len(pattern) {
				lo = next()
			}
			hi := lo
			if n+1 < len(pattern) && pattern[n] == '-' && pattern[n+1] != ']' {
				n++
				if hi = next(); hi == '\\' && n < len(pattern) {
					hi = next()
				}
			}
			if hi < lo {
				return n, false, fmt.Errorf("the range %c-%c runs backwards", lo, hi)
			}
			ok = ok || lo <= r && r <= hi
		}
	default:
		return n, c == r, nil
	}
}

// decode is utf8.DecodeRuneInString, with every byte that is not UTF-8 a
// character of its own, distinct from U+FFFD.
func decode(s string) (rune, int) {
	r, n := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && n == 1 {
		return utf8.MaxRune + 1 + rune(s[0]), 1
	}
	return r, n
}
