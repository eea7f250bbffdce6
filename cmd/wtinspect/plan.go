package main

import (
	"fmt"
	"slices"
	"strings"

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
		if first.Action == rename.Change {
			rule := &plan.Map.Rules[first.Rule]
			names, how := changeText(rule)
			if len(rule.From) == 1 && first.To != "" {
				if to := foldTo(rows, g.Members); len(to) == 1 {
					names = to[0].Name
				}
			}
			changes[i].to = names + " (" + how + ")"
			continue
		}
		if first.Action != rename.Move {
			continue
		}
		to := foldTo(rows, g.Members)
		switch {
		case len(to) == 1:
			changes[i].to = to[0].Name
		case first.Rule >= 0:
			changes[i].to = plan.Map.Rules[first.Rule].To[0].String()
		}
	}
	return changes
}

func foldTo(rows []*rename.Row, members []int) []rename.Group {
	return rename.Fold(len(members), func(k int) (string, string) { return rows[members[k]].To, "" })
}

// changeText says what a rule makes of tensors, and how.
func changeText(r *rename.Rule) (names, operations string) {
	var to, how []string
	for _, t := range r.To {
		to = append(to, t.String())
	}
	for i := range r.Ops {
		if k := string(r.Ops[i].Kind); !slices.Contains(how, k) {
			how = append(how, k)
		}
	}
	return strings.Join(to, " + "), strings.Join(how, ", ")
}
