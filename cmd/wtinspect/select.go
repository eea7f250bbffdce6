package main

import (
	"fmt"
	"regexp"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/rename/template"
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
	match, err := parseGlobs("--match", s.match)
	if err != nil {
		return nil, err
	}
	exclude, err := parseGlobs("--exclude", s.exclude)
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

func parseGlobs(flag string, patterns []string) ([]template.Glob, error) {
	var out []template.Glob
	for _, p := range patterns {
		g, err := template.ParseGlob(p)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", flag, p, err)
		}
		out = append(out, g)
	}
	return out, nil
}
