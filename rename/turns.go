package rename

import (
	"cmp"
	"fmt"
	"slices"
)

// A Part of a pattern, or of a new name, is text or a hole.
type Part struct {
	Text  string
	Hole  string // its name, "" for text
	Kind  HoleKind
	Shift int64 // what a new name adds to a number
	Width int   // the fewest digits of a number that has zeros before it, 0 for any
}

// A HoleKind says what a hole takes, as [Pattern] explains.
type HoleKind uint8

// The kinds of holes.
const (
	Digits   = HoleKind(kindDigits)   // {layer}, {layer:02}: a whole run of digits
	Segment  = HoleKind(kindSegment)  // {name:seg}: characters without a dot
	Anything = HoleKind(kindAnything) // {name...}: any text, also none
)

// Parts takes a rule apart that renames or drops: the parts of its pattern, and
// those of the new name, nil for a drop.
func (r *Rule) Parts() (from, to []Part) {
	p := r.From[0]
	part := func(hole int) Part {
		h := p.holes[hole]
		return Part{Hole: h.Name, Kind: HoleKind(h.Kind), Width: h.Width}
	}
	for _, pc := range p.pieces {
		if pc.text != "" {
			from = append(from, Part{Text: pc.text})
		} else {
			from = append(from, part(pc.hole))
		}
	}
	if r.Drop != "" {
		return from, nil
	}
	for _, pc := range r.To[0].pieces {
		if pc.text != "" {
			to = append(to, Part{Text: pc.text})
			continue
		}
		hole := part(pc.hole)
		hole.Shift, hole.Width = pc.shift, pc.width
		to = append(to, hole)
	}
	return from, to
}

// Certain reports whether a name that the pattern matches can be read in one way
// only, so that any program that looks for the holes finds the same text in them. It
// may say false where that is so.
func (p *Pattern) Certain() bool { return oneReading(patternUnits(p)) }

// Apart reports whether no name matches both patterns. It may say false where that
// is so.
func (p *Pattern) Apart(q *Pattern) bool { return disjointForms(patternUnits(p), patternUnits(q)) }

// Turns are what has to be known of the rules of a map, which all apply at once, to
// apply them one after the other instead: each once, to whole names, and to what the
// rules before it have made. Programs that keep renames in a list do so.
type Turns struct {
	m *Map
	// before[k] has the rules that must come before rule k, and why.
	before [][]turn
}

// A turn is a rule that must come before another.
type turn struct {
	rule int
	// makes says that the other one makes names that this one matches. Otherwise both
	// match the same names, and this one decides.
	makes bool
}

// maxTurns bounds the comparisons of patterns with holes, far beyond the maps that
// people and conventions have.
const maxTurns = 4_000_000

// NewTurns looks at the rules of a map. It fails, with every reason, where one of
// them moves bytes or the map has more than rules.
func NewTurns(m *Map) (*Turns, error) {
	errs := m.asked()
	var patterns []*Pattern
	languages := make([][]unit, len(m.Rules))
	open := 0
	for i := range m.Rules {
		r := &m.Rules[i]
		if r.MovesBytes() {
			errs = append(errs, &ruleError{i, m.ruleAt(i), "it moves bytes, and only renames have turns", ""})
			continue
		}
		patterns = append(patterns, r.From[0])
		languages[i] = patternUnits(r.From[0])
		if !r.From[0].literal {
			open++
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	if open > 0 && len(m.Rules) > maxTurns/open {
		return nil, fmt.Errorf("%s: %d rules, %d of them with holes, are too many to find an order for", cmp.Or(m.File, "map"), len(m.Rules), open)
	}
	t := &Turns{m, make([][]turn, len(m.Rules))}
	for i, j := range meetings(languages) {
		t.before[j] = append(t.before[j], turn{i, false})
	}
	single := searcher{index: newIndex(patterns)}
	for k := range m.Rules {
		r := &m.Rules[k]
		if r.Drop != "" {
			continue
		}
		image := targetUnits(r.To[0], r.From[0])
		add := func(j int) {
			if j != k {
				t.before[k] = append(t.before[k], turn{j, true})
			}
		}
		if name, ok := literalName(image); ok {
			single.each(name, func(j int, _ []string) bool {
				add(j)
				return true
			})
			continue
		}
		for j := range languages {
			if !disjointForms(image, languages[j]) {
				add(j)
			}
		}
	}
	return t, nil
}

// AsWritten finds out whether the rules may be applied one after the other in the
// order in which they are written.
func (t *Turns) AsWritten() error {
	var errs ruleErrorList
	for k, before := range t.before {
		for _, b := range before {
			if b.rule > k {
				errs = append(errs, t.conflict(k, b.rule))
				break
			}
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

// Order returns an order in which to apply the rules one after the other, as near to
// the written one as can be. Rules of a lower group come first; nil is one group. It
// fails, and names the rules, where there is no such order: for a swap, for a rule that
// makes names which a later one would take as well.
func (t *Turns) Order(group func(rule int) int) ([]int, error) {
	n := len(t.before)
	after := make([][]int, n)
	waits := make([]int, n)
	for k, before := range t.before {
		for _, b := range before {
			after[b.rule] = append(after[b.rule], k)
		}
		waits[k] = len(before)
	}
	if group == nil {
		group = func(int) int { return 0 }
	}
	var ready, order []int
	for k := range n {
		if waits[k] == 0 {
			ready = append(ready, k)
		}
	}
	first := func(a, b int) int { return cmp.Or(cmp.Compare(group(a), group(b)), cmp.Compare(a, b)) }
	slices.SortFunc(ready, first)
	for len(ready) > 0 {
		k := ready[0]
		ready = ready[1:]
		order = append(order, k)
		for _, next := range after[k] {
			if waits[next]--; waits[next] == 0 {
				at, _ := slices.BinarySearchFunc(ready, next, first)
				ready = slices.Insert(ready, at, next)
			}
		}
	}
	var errs ruleErrorList
	for i, k := range order {
		if i > 0 && group(order[i-1]) > group(k) {
			errs = append(errs, &ruleError{k, t.m.ruleAt(k), "it has to come after " + t.m.ruleAt(order[i-1]), ""})
		}
	}
	for k, n := range waits {
		if n == 0 {
			continue
		}
		for _, b := range t.before[k] {
			if b.makes && waits[b.rule] > 0 {
				errs = append(errs, t.conflict(k, b.rule))
				break
			}
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return order, nil
}

// conflict says why rule k cannot come before rule j.
func (t *Turns) conflict(k, j int) *ruleError {
	a, b := &t.m.Rules[k], &t.m.Rules[j]
	made := a.From[0].String()
	if len(a.To) > 0 {
		made = a.To[0].String()
	}
	return &ruleError{k, t.m.ruleAt(k), fmt.Sprintf("names that it makes (%s) would be renamed again by %s (%s)", made, b, t.m.ruleAt(j)), ""}
}
