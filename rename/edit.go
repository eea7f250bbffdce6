package rename

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Edit is a rename that needs no file: single rules, and text taken off the
// beginning of names or put before them. The rules see the names as the checkpoint
// has them, and the prefixes what the rules make of them: StripPrefix first, then
// AddPrefix.
type Edit struct {
	// Rules are as [ParseRule] reads them.
	Rules []string
	// StripPrefix is taken off the names that begin with it, dots and all.
	StripPrefix string
	// AddPrefix is put before every name.
	AddPrefix string
}

// IsZero reports whether the edit asks for nothing.
func (e *Edit) IsZero() bool { return len(e.Rules) == 0 && e.StripPrefix == "" && e.AddPrefix == "" }

// ParseRule reads a rule on one line, "OLD=NEW". An equals sign that belongs to a
// name is written twice.
func ParseRule(text string) (Rule, error) {
	fault := func(msg string) (Rule, error) {
		return Rule{}, fmt.Errorf("%q: %s; write OLD=NEW, and == for a = in a name", text, msg)
	}
	var sides []string
	var side strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '=':
			side.WriteByte(text[i])
		case strings.HasPrefix(text[i+1:], "="):
			side.WriteByte('=')
			i++
		default:
			sides = append(sides, side.String())
			side.Reset()
		}
	}
	sides = append(sides, side.String())
	switch {
	case len(sides) == 1:
		return fault("the rule has no =")
	case len(sides) > 2:
		return fault(fmt.Sprintf("the rule has %d =", len(sides)-1))
	case sides[0] == "":
		return fault("there is no old name before the =")
	case sides[1] == "":
		return fault("there is no new name after the =")
	}
	return NewRule(sides[0], sides[1])
}

// Map returns the map that does what the edit says. With a map the rules come
// before those of that map, and the prefixes after it. It fails where one map cannot
// do that: see [Compose].
func (e *Edit) Map(m *Map) (*Map, error) {
	first, err := e.withRules(m)
	if err != nil || e.StripPrefix == "" && e.AddPrefix == "" {
		return first, err
	}
	then := &Map{File: "--add-prefix"}
	if e.StripPrefix != "" {
		then.File = "--strip-prefix"
		strip, err := NewRule(Escape(e.StripPrefix)+"{rest...}", Escape(e.AddPrefix)+"{rest}")
		if err != nil {
			return nil, err
		}
		then.Rules = append(then.Rules, strip)
	}
	if e.AddPrefix != "" {
		add, err := NewRule("{rest...}", Escape(e.AddPrefix)+"{rest}")
		if err != nil {
			return nil, err
		}
		then.Rules = append(then.Rules, add)
	}
	both, err := Compose(first, then)
	if err != nil {
		return nil, err
	}
	both.File, both.Description = first.File, first.Description
	return both, nil
}

// withRules returns the map with the edit's rules before its own.
func (e *Edit) withRules(m *Map) (*Map, error) {
	first := new(Map)
	if m != nil {
		*first = *m
	}
	var rules []Rule
	var errs []error
	for _, text := range e.Rules {
		r, err := ParseRule(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("--rule %w", err))
		}
		rules = append(rules, r)
	}
	first.Rules = append(rules, first.Rules...)
	return first, errors.Join(errs...)
}

// Unused returns what of the edit does nothing to any of the names, as it was
// written.
func (e *Edit) Unused(m *Map, names []string) []string {
	first, err := e.withRules(m)
	if err != nil {
		return nil
	}
	plan := NewPlan(first, names, Limits{})
	var unused []string
	for i, text := range e.Rules {
		switch use := &plan.Uses[i]; {
		case use.Unused():
			unused = append(unused, fmt.Sprintf("--rule %q matches no tensor", text))
		case use.Tensors == 0:
			unused = append(unused, fmt.Sprintf("--rule %q comes too late: an earlier rule matches the same names", text))
		}
	}
	if p := e.StripPrefix; p != "" {
		found := false
		for i := range plan.Rows {
			found = found || strings.HasPrefix(plan.Rows[i].To, p)
		}
		if !found {
			unused = append(unused, fmt.Sprintf("--strip-prefix %q: no name begins with it", p))
		}
	}
	return unused
}

// Slips says where a prefix lacks the dot that was most likely meant: one that leaves its dot
// at the beginning of a name, and one that runs into the name behind it.
func (e *Edit) Slips(m *Map, names []string) []string {
	first, err := e.withRules(m)
	if err != nil {
		return nil
	}
	var left, joined string
	for _, row := range NewPlan(first, names, Limits{}).Rows {
		rest, stripped := row.To, false
		if e.StripPrefix != "" {
			rest, stripped = strings.CutPrefix(row.To, e.StripPrefix)
		}
		switch {
		case row.Action == Drop || rest == "":
		case stripped && e.AddPrefix == "" && rest[0] == '.' && left == "":
			left = fmt.Sprintf("--strip-prefix %q leaves its dot: %q becomes %q; end it with the dot", e.StripPrefix, row.To, rest)
		case !stripped && e.AddPrefix != "" && inWord(e.AddPrefix[len(e.AddPrefix)-1]) && inWord(rest[0]) && joined == "":
			joined = fmt.Sprintf("--add-prefix %q runs into the name: %q becomes %q; end it with a dot to put a segment before names", e.AddPrefix, rest, e.AddPrefix+rest)
		}
	}
	return slices.DeleteFunc([]string{left, joined}, func(s string) bool { return s == "" })
}

func inWord(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' }
