package main

import (
	"fmt"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename"
)

// planFor applies a map to the tensors of a checkpoint that are selected, or
// to all when selected is nil. Those that are not keep their names, and stand
// in the way of others that would get them.
func planFor(m *rename.Map, c *checkpoint.Checkpoint, limits rename.Limits, selected func(string) bool) *rename.Plan {
	var names []string
	var others []int
	for i, t := range c.All() {
		if selected != nil && !selected(t.Name) {
			others = append(others, i)
		} else {
			names = append(names, t.Name)
		}
	}
	plan := rename.NewPlan(m, names, limits)
	if len(others) == 0 {
		return plan
	}
	rows := make([]rename.Row, 0, c.Len())
	chosen := plan.Rows
	for i, t := range c.All() {
		if len(others) > 0 && others[0] == i {
			others = others[1:]
			rows = append(rows, rename.Row{From: t.Name, To: t.Name, Rule: -1})
			continue
		}
		rows = append(rows, chosen[0])
		chosen = chosen[1:]
	}
	plan.Rows = rows
	plan.Problems = append(plan.Problems, ontoOthers(plan, selected)...)
	return plan
}

// ontoOthers finds tensors that would get the name of one that is not selected.
func ontoOthers(plan *rename.Plan, selected func(string) bool) []rename.Problem {
	kept := make(map[string]bool)
	for i := range plan.Rows {
		if name := plan.Rows[i].From; !selected(name) {
			kept[name] = true
		}
	}
	var problems []rename.Problem
	for i := range plan.Rows {
		if row := &plan.Rows[i]; row.Action == rename.Move && kept[row.To] {
			problems = append(problems, rename.Problem{
				Kind: rename.OntoKept, To: row.To, From: []string{row.From, row.To}, Rule: row.Rule,
				Message: fmt.Sprintf("%q would be called %q, but a tensor that is not chosen has that name", row.From, row.To),
			})
		}
	}
	return problems
}

// A foldedChange is what happens to tensors whose old names and whose new ones
// differ in their numbers alone.
type foldedChange struct {
	from, to string
	action   rename.Action
	reason   string
	count    int
}

// foldPlan folds what a plan changes, whichever rules say so: a map with a rule
// for every tensor is as short to read as the one that it undoes.
func foldPlan(plan *rename.Plan) []foldedChange {
	var rows []*rename.Row
	for i := range plan.Rows {
		if plan.Rows[i].Action != rename.Keep {
			rows = append(rows, &plan.Rows[i])
		}
	}
	groups := rename.Fold(len(rows), func(i int) (string, string) {
		r := rows[i]
		return r.From, string(rename.AppendNormal([]byte{byte(r.Action)}, r.To)) + "\x00" + r.Reason
	})
	changes := make([]foldedChange, len(groups))
	for i, g := range groups {
		first := rows[g.Members[0]]
		changes[i] = foldedChange{g.Name, first.To, first.Action, first.Reason, len(g.Members)}
		if first.Action != rename.Move {
			continue
		}
		to := rename.Fold(len(g.Members), func(k int) (string, string) { return rows[g.Members[k]].To, "" })
		switch {
		case len(to) == 1:
			changes[i].to = to[0].Name
		case first.Rule >= 0:
			changes[i].to = plan.Map.Rules[first.Rule].To[0].String()
		}
	}
	return changes
}
