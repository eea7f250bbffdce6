package infer

import (
	"cmp"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/match"
)

// groupOf is where a module is in the order of a model. What is not known is where the layers
// are.
func groupOf(m *match.Module) int {
	before, _ := m.Block()
	switch {
	case before == "" && m.Meaning.Block == "embed":
		return 0
	case before == "" && m.Meaning.Block == "final":
		return 2
	case before == "" && m.Meaning.Block == "head":
		return 3
	}
	return 1
}

// groups are where the tensors of A are in the order of a model, in the order of the files: by
// what they become, where that is known.
func (x *inference) groups(found []finding) []int {
	out := make([]int, len(x.a.tensors))
	set := func(m, by *match.Module) {
		for l := range m.Leaves {
			for _, t := range m.Leaves[l].Tensors {
				out[t] = groupOf(by)
			}
		}
	}
	for _, m := range x.a.modules {
		set(m, m)
	}
	for i := range found {
		for _, k := range found[i].A {
			set(x.a.modules[k], x.b.modules[found[i].B[0]])
		}
	}
	return out
}

// arrange puts the rules of a map in the order of the model, and those of one group in that of
// the files, as far as the first rule that matches a name stays the one that did. It returns
// the plan of what it has arranged.
func arrange(m *rename.Map, names []string, plan *rename.Plan, groups []int) *rename.Plan {
	type place struct{ group, row int }
	places := slices.Repeat([]place{{math.MaxInt, 0}}, len(m.Rules))
	for i := range plan.Rows {
		if r := plan.Rows[i].Rule; r >= 0 && groups[i] < places[r].group {
			places[r] = place{groups[i], i}
		}
	}
	order := make([]int, len(m.Rules))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int {
		return cmp.Or(cmp.Compare(places[x].group, places[y].group), cmp.Compare(places[x].row, places[y].row))
	})
	if slices.IsSorted(order) {
		return plan
	}
	before := make([][]int, len(m.Rules)) // rules that must precede one
	const rounds = 10                     // what overlaps has one or two exceptions
	for range rounds {
		order = sortBefore(order, before)
		sorted := *m
		sorted.Rules = make([]rename.Rule, len(order))
		for i, r := range order {
			sorted.Rules[i] = m.Rules[r]
		}
		got := rename.NewPlan(&sorted, names, rename.Limits{})
		same := true
		for i := range got.Rows {
			is, was := got.Rows[i].Rule, plan.Rows[i].Rule
			if is >= 0 && order[is] != was {
				same = false
				if !slices.Contains(before[order[is]], was) {
					before[order[is]] = append(before[order[is]], was)
				}
			}
		}
		if same && got.Err() == nil {
			m.Rules = sorted.Rules
			got.Map = m
			return got
		}
	}
	return plan
}

// sortBefore keeps an order except for what must come first. No two come before each other.
func sortBefore(order []int, before [][]int) []int {
	out := make([]int, 0, len(order))
	done := make([]bool, len(order))
	var put func(r int)
	put = func(r int) {
		if done[r] {
			return
		}
		done[r] = true
		for _, b := range slices.Sorted(slices.Values(before[r])) {
			put(b)
		}
		out = append(out, r)
	}
	for _, r := range order {
		put(r)
	}
	return out
}
