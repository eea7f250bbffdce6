package main

import (
	"fmt"
	"regexp"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// A selection chooses tensors by name: those that any of match and regex
// names, or all where there is neither, without those that exclude names.
type selection struct {
	match, regex, exclude []string
}

func (s *selection) addFlags(cmd *cobra.Command, p *program) {
	f := cmd.Flags()
	f.StringArrayVar(&s.match, "match", nil, "choose tensors whose whole name matches `GLOB`; * crosses dots (repeatable)")
	f.StringArrayVar(&s.regex, "regex", nil, "choose tensors whose name contains a match of `RE` (repeatable)")
	f.StringArrayVar(&s.exclude, "exclude", nil, "leave out tensors whose whole name matches `GLOB` (repeatable)")
	for _, flag := range []string{"match", "exclude"} {
		if err := cmd.RegisterFlagCompletionFunc(flag, p.completeTensors); err != nil {
			panic(err) // the flag does not exist
		}
	}
}

// compile returns the test that the flags amount to, nil when every tensor
// passes it.
func (s *selection) compile() (func(name string) bool, error) {
	if len(s.match)+len(s.regex)+len(s.exclude) == 0 {
		return nil, nil
	}
	match, err := compileGlobs("--match", s.match)
	if err != nil {
		return nil, err
	}
	exclude, err := compileGlobs("--exclude", s.exclude)
	if err != nil {
		return nil, err
	}
	var regex []*regexp.Regexp
	for _, r := range s.regex {
		re, err := regexp.Compile(r)
		if err != nil {
			return nil, fmt.Errorf("--regex %q: %w", r, err)
		}
		regex = append(regex, re)
	}
	return func(name string) bool {
		for _, g := range exclude {
			if g.match(name) {
				return false
			}
		}
		for _, g := range match {
			if g.match(name) {
				return true
			}
		}
		for _, re := range regex {
			if re.MatchString(name) {
				return true
			}
		}
		return len(match)+len(regex) == 0
	}, nil
}

// A glob is a compiled pattern: * is any text, ? one character, [a-z] and
// [!a-z] one character in or out of a set, and a backslash takes the next
// character as it is.
type glob []globPart

type globPart struct {
	star   bool
	any    bool
	negate bool
	ranges []rune // pairs; a single character is a pair of equal ones
}

func compileGlobs(flag string, patterns []string) ([]glob, error) {
	var out []glob
	for _, p := range patterns {
		g, err := compileGlob(p)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", flag, p, err)
		}
		out = append(out, g)
	}
	return out, nil
}

func compileGlob(pattern string) (glob, error) {
	var g glob
	next := func() rune {
		r, n := decode(pattern)
		pattern = pattern[n:]
		return r
	}
	for pattern != "" {
		switch r := next(); r {
		case '*':
			if len(g) == 0 || !g[len(g)-1].star {
				g = append(g, globPart{star: true})
			}
		case '?':
			g = append(g, globPart{any: true})
		case '\\':
			if pattern == "" {
				return nil, fmt.Errorf("nothing follows the backslash")
			}
			r = next()
			g = append(g, globPart{ranges: []rune{r, r}})
		case '[':
			var part globPart
			if pattern != "" && (pattern[0] == '!' || pattern[0] == '^') {
				part.negate = true
				next()
			}
			for first := true; ; first = false {
				if pattern == "" {
					return nil, fmt.Errorf("the [ is not closed; write \\[ for the character")
				}
				lo := next()
				if lo == ']' && !first {
					break
				}
				if lo == '\\' && pattern != "" {
					lo = next()
				}
				hi := lo
				if len(pattern) > 1 && pattern[0] == '-' && pattern[1] != ']' {
					next()
					if hi = next(); hi == '\\' && pattern != "" {
						hi = next()
					}
				}
				if hi < lo {
					return nil, fmt.Errorf("the range %c-%c runs backwards", lo, hi)
				}
				part.ranges = append(part.ranges, lo, hi)
			}
			g = append(g, part)
		default:
			g = append(g, globPart{ranges: []rune{r, r}})
		}
	}
	return g, nil
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

// match reports whether the glob matches the whole name. When a part fails, the
// last star takes one more character: earlier stars need not be tried again.
func (g glob) match(name string) bool {
	part, pos := 0, 0
	star, starPos := -1, 0
	for pos < len(name) || part < len(g) {
		if part < len(g) && g[part].star {
			star, starPos = part, pos
			part++
			continue
		}
		if pos < len(name) {
			r, n := decode(name[pos:])
			if part < len(g) && g[part].takes(r) {
				part++
				pos += n
				continue
			}
			if star >= 0 {
				_, n = decode(name[starPos:])
				starPos += n
				part, pos = star+1, starPos
				continue
			}
		}
		return false
	}
	return true
}

func (p *globPart) takes(r rune) bool {
	if p.any {
		return true
	}
	for i := 0; i < len(p.ranges); i += 2 {
		if p.ranges[i] <= r && r <= p.ranges[i+1] {
			return !p.negate
		}
	}
	return p.negate
}
