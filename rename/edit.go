package rename

import (
	"errors"
	"fmt"
	"strings"
)

// An Edit is a rename that needs no file: steps, each of which works on the names that the
// steps before it have made. Rules that follow one another are one step, and happen at once.
type Edit struct{ Steps []Step }

// A Step is a part of an [Edit].
type Step struct {
	Kind StepKind
	// Text is the rule, as [ParseRule] reads it, or the prefix, dots and all.
	Text string
}

// A StepKind is what a step does. It is written as the flag is called.
type StepKind string

const (
	// RuleStep renames by a rule.
	RuleStep StepKind = "rule"
	// StripPrefix takes text off the names that begin with it.
	StripPrefix StepKind = "strip-prefix"
	// AddPrefix puts text before every name.
	AddPrefix StepKind = "add-prefix"
)

func (s Step) String() string { return fmt.Sprintf("--%s %q", s.Kind, s.Text) }

// IsZero reports whether the edit asks for nothing.
func (e *Edit) IsZero() bool { return len(e.Steps) == 0 }

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

// Map returns the map that does what the edit says. With a map, rules that come first come
// before those of that map, and the other steps after it. It fails where one map cannot
// do that: see [Compose].
func (e *Edit) Map(m *Map) (*Map, error) {
	maps, err := e.maps(m)
	if err != nil {
		return nil, err
	}
	all := maps[0]
	for _, then := range maps[1:] {
		both, err := Compose(all, then)
		if err != nil {
			return nil, err
		}
		both.File, both.Description = all.File, all.Description
		all = both
	}
	return all, nil
}

// maps returns what to apply one after the other: the map with the rules that come first, and a
// map of each step or run of rules after them.
func (e *Edit) maps(m *Map) ([]*Map, error) {
	first := new(Map)
	if m != nil {
		*first = *m
	}
	maps := []*Map{first}
	var errs []error
	for i := 0; i < len(e.Steps); {
		s := e.Steps[i]
		if s.Kind != RuleStep {
			r, err := s.prefixRule()
			if err != nil {
				return nil, err
			}
			maps = append(maps, &Map{File: "--" + string(s.Kind), Rules: []Rule{r}})
			i++
			continue
		}
		var rules []Rule
		begin := i
		for ; i < len(e.Steps) && e.Steps[i].Kind == RuleStep; i++ {
			r, err := ParseRule(e.Steps[i].Text)
			if err != nil {
				errs = append(errs, fmt.Errorf("--rule %w", err))
			}
			rules = append(rules, r)
		}
		if begin == 0 {
			first.Rules = append(rules, first.Rules...)
		} else {
			maps = append(maps, &Map{File: "--rule", Rules: rules})
		}
	}
	return maps, errors.Join(errs...)
}

// prefixRule is the rule of a prefix.
func (s Step) prefixRule() (Rule, error) {
	if s.Kind == StripPrefix {
		return NewRule(Escape(s.Text)+"{rest...}", "{rest}")
	}
	return NewRule("{rest...}", Escape(s.Text)+"{rest}")
}

// follow calls do for each step with the plan of what it is part of, for the names that the
// steps before it make, and the number of its rule in that.
func (e *Edit) follow(m *Map, names []string, do func(step int, plan *Plan, rule int)) {
	maps, err := e.maps(m)
	if err != nil {
		return
	}
	step := 0
	for k, one := range maps {
		plan := NewPlan(one, names, Limits{})
		for rule := 0; step < len(e.Steps) && (k > 0 || e.Steps[step].Kind == RuleStep) && rule < len(one.Rules); rule++ {
			do(step, plan, rule)
			step++
		}
		names = names[:0:0]
		for i := range plan.Rows {
			if to := plan.Rows[i].To; to != "" {
				names = append(names, to)
			}
		}
	}
}

// Unused returns what of the edit does nothing to any of the names, as it was
// written.
func (e *Edit) Unused(m *Map, names []string) []string {
	var unused []string
	e.follow(m, names, func(step int, plan *Plan, rule int) {
		s := e.Steps[step]
		switch use := &plan.Uses[rule]; {
		case use.Unused() && s.Kind == StripPrefix:
			unused = append(unused, fmt.Sprintf("%s: no name begins with it", s))
		case use.Unused():
			unused = append(unused, fmt.Sprintf("%s matches no tensor", s))
		case use.Tensors == 0:
			unused = append(unused, fmt.Sprintf("%s comes too late: an earlier rule matches the same names", s))
		}
	})
	return unused
}

// Slips says where a prefix lacks the dot that was most likely meant: one that leaves its dot
// at the beginning of a name, and one that runs into the name behind it. One that is put in the
// place of another may lack it as that does.
func (e *Edit) Slips(m *Map, names []string) []string {
	var slips []string
	e.follow(m, names, func(step int, plan *Plan, _ int) {
		s := e.Steps[step]
		replaced := step+1 < len(e.Steps) && e.Steps[step+1].Kind == AddPrefix
		for _, row := range plan.Rows {
			switch {
			case row.Action != Move || row.To == "":
			case s.Kind == StripPrefix && row.To[0] == '.' && !replaced:
				slips = append(slips, fmt.Sprintf("%s leaves its dot: %q becomes %q; end it with the dot", s, row.From, row.To))
				return
			case s.Kind == AddPrefix && inWord(s.Text[len(s.Text)-1]) && inWord(row.From[0]):
				slips = append(slips, fmt.Sprintf("%s runs into the name: %q becomes %q; end it with a dot to put a segment before names", s, row.From, row.To))
				return
			}
		}
	})
	return slips
}

func inWord(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' }
