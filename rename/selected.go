package rename

import "fmt"

// NewSelectedPlan applies a map to the names that are selected, or to all when
// selected is nil. Those that are not keep their names, and stand in the way of
// others that would get them.
func NewSelectedPlan(m *Map, names []string, selected func(name string) bool, limits Limits) *Plan {
	if selected == nil {
		return NewPlan(m, names, limits)
	}
	var chosen []string
	var places []int // of the chosen names
	for i, name := range names {
		if selected(name) {
			chosen, places = append(chosen, name), append(places, i)
		}
	}
	plan := NewPlan(m, chosen, limits)
	if len(chosen) == len(names) {
		return plan
	}
	rows := make([]Row, len(names))
	for i, name := range names {
		rows[i] = Row{From: name, To: name, Rule: -1}
	}
	for k, i := range places {
		rows[i] = plan.Rows[k]
	}
	plan.Rows = rows
	for i := range plan.Transforms {
		for k, row := range plan.Transforms[i].Rows {
			plan.Transforms[i].Rows[k] = places[row]
		}
	}
	plan.ontoOthers(names, selected)
	return plan
}

// ontoOthers finds tensors that would get the name of one that is not selected.
func (p *Plan) ontoOthers(names []string, selected func(name string) bool) {
	kept := make(map[string]bool)
	for _, name := range names {
		if !selected(name) {
			kept[name] = true
		}
	}
	check := func(from, to string, rule int) {
		if kept[to] {
			p.Problems = append(p.Problems, Problem{
				Kind: OntoKept, To: to, From: []string{from, to}, Rule: rule,
				Message: fmt.Sprintf("%q would be called %q, but a tensor that is not chosen has that name", from, to),
			})
		}
	}
	for i := range p.Rows {
		if row := &p.Rows[i]; row.Action == Move {
			check(row.From, row.To, row.Rule)
		}
	}
	for i := range p.Transforms {
		for _, to := range p.Transforms[i].To {
			check(p.Transforms[i].From[0], to, p.Transforms[i].Rule)
		}
	}
}
