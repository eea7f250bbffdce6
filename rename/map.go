package rename

import (
	"fmt"
	"slices"
	"strings"
)

// A Map is an ordered list of rules from old names to new ones. It is read by
// Parse, or comes from Builtin, Invert, Compose or a plan's Inverse.
type Map struct {
	// File is what messages call the map: the file's name, or "".
	File        string
	Description string
	// From and To name conventions, for people and for tools that know them.
	From, To string
	// Strip holds segments, or several joined by dots, that are taken out of
	// names wherever they stand, once and before any rule sees the name.
	Strip []string
	// Rules are tried in order, and the first that matches decides. All
	// renames of a plan happen at once: a new name is never looked at again.
	Rules     []Rule
	Otherwise Otherwise
	// Notes are lines that Write writes as comments above the map. Parse does not
	// read them.
	Notes []string
	// Ask has what whoever inferred the map could not decide. Plans of a map with
	// questions are refused.
	Ask []Question
}

// A Pos is a place in a map's file. Lines and columns count from 1; the zero
// Pos belongs to rules that were made, not read.
type Pos struct{ Line, Column int }

// A Rule says what happens to the tensors whose names match.
type Rule struct {
	Pos Pos
	// From has one pattern, or several in an operation that joins tensors.
	From []*Pattern
	// To has one target, several in an operation that takes tensors apart,
	// and none where the tensor is dropped. The holes are those of From[0], and
	// the one that an unstack runs over.
	To []*Target
	// Drop is the reason for which a tensor is left out, or "".
	Drop string
	// Ops are the operations on the tensor's bytes, in order. A rule without
	// them is a pure rename, or a drop.
	Ops []Operation
	// Notes are lines that Write writes as comments above the rule. Parse does not
	// read them.
	Notes []string
}

// NewRule returns the rule that renames what the pattern from matches.
func NewRule(from, to string) (Rule, error) {
	p, err := compile(from)
	if err != nil {
		return Rule{}, err
	}
	t, err := compileTarget(to, p)
	if err != nil {
		return Rule{}, err
	}
	return Rule{From: []*Pattern{p}, To: []*Target{t}}, nil
}

// ExactRule returns the rule that renames one tensor. Its name is not empty.
func ExactRule(from, to string) Rule {
	return Rule{From: []*Pattern{exactly(from)}, To: []*Target{exactTarget(to)}}
}

// DropRule returns the rule that leaves one tensor out. Its name is not empty.
func DropRule(name, reason string) Rule {
	return Rule{From: []*Pattern{exactly(name)}, Drop: reason}
}

// MovesBytes reports whether names alone cannot carry the rule out.
func (r *Rule) MovesBytes() bool { return len(r.Ops) > 0 }

// String writes the rule on one line, as messages quote it.
func (r *Rule) String() string {
	var b strings.Builder
	for i, p := range r.From {
		if i > 0 {
			b.WriteString(" + ")
		}
		b.WriteString(p.source)
	}
	if r.Drop != "" {
		b.WriteString(" (dropped)")
		return b.String()
	}
	b.WriteString(" -> ")
	b.WriteString(r.rightSide())
	return b.String()
}

// rightSide writes the new names as the rule has them.
func (r *Rule) rightSide() string {
	names := make([]string, len(r.To))
	for i, t := range r.To {
		names[i] = t.source
	}
	return strings.Join(names, " + ")
}

// Otherwise says what happens to tensors that no rule matches.
type Otherwise struct {
	// Action is Keep, Fail or Drop.
	Action OtherwiseAction
	Reason string // of Drop
}

// An OtherwiseAction is what an Otherwise does.
type OtherwiseAction uint8

const (
	// OtherwiseKeep leaves the tensor as it is, but for what Strip took out.
	OtherwiseKeep OtherwiseAction = iota
	// OtherwiseFail refuses the plan.
	OtherwiseFail
	// OtherwiseDrop leaves the tensor out.
	OtherwiseDrop
)

// Where names a rule as messages do: by its place where it has one.
func (m *Map) Where(rule int) string { return m.ruleAt(rule) }

// ruleAt names a rule in messages: by its place where it has one.
func (m *Map) ruleAt(i int) string {
	r := &m.Rules[i]
	if r.Pos.Line == 0 {
		return fmt.Sprintf("rule %d (%s)", i+1, r)
	}
	return m.at(r.Pos)
}

// at writes a place in the map's file.
func (m *Map) at(p Pos) string {
	if m.File == "" {
		return fmt.Sprintf("%d:%d", p.Line, p.Column)
	}
	return fmt.Sprintf("%s:%d:%d", m.File, p.Line, p.Column)
}

// strip takes the map's segments out of the name.
func (m *Map) strip(name string) string {
	if !slices.ContainsFunc(m.Strip, func(s string) bool { return strings.Contains(name, s) }) {
		return name
	}
	var b strings.Builder
	kept := false
	for at := 0; at <= len(name); {
		end := m.stripEnd(name, at)
		if end < 0 {
			if end = at + strings.IndexByte(name[at:], '.'); end < at {
				end = len(name)
			}
			if kept {
				b.WriteByte('.')
			}
			b.WriteString(name[at:end])
			kept = true
		}
		at = end + 1
	}
	return b.String()
}

// stripEnd returns where the stripped text that begins with the segment at
// name[at:] ends, or -1 where that is to be kept.
func (m *Map) stripEnd(name string, at int) int {
	for _, s := range m.Strip {
		if end := at + len(s); strings.HasPrefix(name[at:], s) && (end == len(name) || name[end] == '.') {
			return end
		}
	}
	return -1
}
