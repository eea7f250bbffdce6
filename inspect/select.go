package inspect

import (
	"fmt"
	"regexp"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Selection chooses tensors by name: those that any of Match and Regex
// matches, or all where there is neither, without those that Exclude matches.
// The zero Selection chooses all.
type Selection struct {
	// Match and Exclude are globs of whole names; * crosses dots.
	Match, Exclude []string
	// Regex are regular expressions that match anywhere in a name.
	Regex []string
}

// All reports whether every tensor is chosen, whatever its name.
func (s *Selection) All() bool { return len(s.Match)+len(s.Regex)+len(s.Exclude) == 0 }

// Compile returns the test that the selection amounts to, nil when every tensor
// passes it.
func (s *Selection) Compile() (func(name string) bool, error) {
	if s.All() {
		return nil, nil
	}
	match, err := parseGlobs("match", s.Match)
	if err != nil {
		return nil, err
	}
	exclude, err := parseGlobs("exclude", s.Exclude)
	if err != nil {
		return nil, err
	}
	var regex []*regexp.Regexp
	for _, r := range s.Regex {
		re, err := regexp.Compile(r)
		if err != nil {
			return nil, fmt.Errorf("regex %q: %w", r, err)
		}
		regex = append(regex, re)
	}
	return func(name string) bool {
		for _, g := range exclude {
			if g.Match(name) {
				return false
			}
		}
		for _, g := range match {
			if g.Match(name) {
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

func parseGlobs(of string, patterns []string) ([]template.Glob, error) {
	var out []template.Glob
	for _, p := range patterns {
		g, err := template.ParseGlob(p)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", of, p, err)
		}
		out = append(out, g)
	}
	return out, nil
}
