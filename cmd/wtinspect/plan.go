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
	var others, mine []int
	for i, t := range c.All() {
		if selected != nil && !selected(t.Name) {
			others = append(others, i)
		} else {
			names, mine = append(names, t.Name), append(mine, i)
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
	for i := range plan.Transforms {
		for k, row := range plan.Transforms[i].Rows {
			plan.Transforms[i].Rows[k] = mine[row]
		}
	}
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
	check := func(from, to string, rule int) {
		if kept[to] {
			problems = append(problems, rename.Problem{
				Kind: rename.OntoKept, To: to, From: []string{from, to}, Rule: rule,
				Message: fmt.Sprintf("%q would be called %q, but a tensor that is not chosen has that name", from, to),
			})
		}
	}
	for i := range plan.Rows {
		if row := &plan.Rows[i]; row.Action == rename.Move {
			check(row.From, row.To, row.Rule)
		}
	}
	for i := range plan.Transforms {
		for _, to := range plan.Transforms[i].To {
			check(plan.Transforms[i].From[0], to, plan.Transforms[i].Rule)
		}
	}
	return problems
}
