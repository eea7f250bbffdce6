package infer

import (
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/rename/match"
)

// askMoved makes questions of names that B has as well, for a tensor that may be the same, and that nothing
// but names gives another name there. Conventions of which all names of both sides are say what they mean.
func (x *inference) askMoved(sol *match.Solution, found []finding) {
	known := x.a.whole && x.b.whole
	var renumbered []int
	for i := range found {
		f := &found[i]
		if x.isAssumed(f.A, f.B) {
			continue
		}
		for _, a := range f.A {
			switch j := x.namesake(a); {
			case j < 0:
			case !slices.Contains(f.B, j) && !known:
				x.askNamesake(sol, found, i, j)
			case len(f.A)+len(f.B) == 2 && x.renumbers(a, j):
				renumbered = append(renumbered, i)
			}
		}
	}
	if len(renumbered) > 0 {
		first := &found[renumbered[0]]
		ask(sol, found, renumbered, fmt.Sprintf("the names are equal, but its layers are %s and those of the other %s",
			layersIn(x.a.modules[first.A[0]]), layersIn(x.b.modules[first.B[0]])))
	}
	if !known {
		x.askCrossed(sol, found)
	}
}

// askCrossed makes questions of modules that only a number tells apart and that would be in another order:
// where n1 stays and n2 becomes n0, either n1 is no n1 or n2 no n0.
func (x *inference) askCrossed(sol *match.Solution, found []finding) {
	type series struct{ a, b string }
	type numbered struct{ finding, a, b int }
	list := make(map[series][]numbered)
	for i := range found {
		f := &found[i]
		if len(f.A)+len(f.B) > 2 || x.isAssumed(f.A, f.B) {
			continue
		}
		a, m, ok := x.a.modules[f.A[0]].Numbered()
		b, n, both := x.b.modules[f.B[0]].Numbered()
		if ok && both {
			list[series{a, b}] = append(list[series{a, b}], numbered{i, m, n})
		}
	}
	for i := range found {
		f := &found[i]
		if len(f.A)+len(f.B) > 2 {
			continue
		}
		a, _, _ := x.a.modules[f.A[0]].Numbered()
		b, _, _ := x.b.modules[f.B[0]].Numbered()
		var group []int
		for k, one := range list[series{a, b}] {
			crosses := func(o numbered) bool {
				return (one.a-o.a)*(one.b-o.b) < 0 && comparable(x.a.modules[found[one.finding].A[0]], x.a.modules[found[o.finding].A[0]])
			}
			if slices.ContainsFunc(list[series{a, b}][:k], crosses) || slices.ContainsFunc(list[series{a, b}][k+1:], crosses) {
				group = append(group, one.finding)
			}
		}
		if group != nil {
			ask(sol, found, group, "its number and those beside it would be in another order")
		}
		delete(list, series{a, b})
	}
}

// askNamesake makes one question of a match, the module of B that has its name, and what becomes that.
func (x *inference) askNamesake(sol *match.Solution, found []finding, i, namesake int) {
	found[i].also = append(found[i].also, namesake)
	group := []int{i}
	name := pattern(x.b.modules[namesake])
	for k := range found {
		if k != i && slices.Contains(found[k].B, namesake) && !x.isAssumed(found[k].A, found[k].B) {
			group = append(group, k)
		}
	}
	for n, open := range sol.Open {
		if slices.ContainsFunc(open, func(k int) bool { return slices.Contains(group, k) }) {
			group = append(group, except(slices.Clone(open), group)...)
			sol.Open[n] = nil
		}
	}
	ask(sol, found, group, "it depends on what "+patternBeside(x.a.modules[found[i].A[0]], x.b.modules[found[i].B[0]])+" becomes")
	found[i].by = []string{fmt.Sprintf("the other has %s as well, of the same shape, and nothing but words says that it is not the same", name)}
}

// namesake finds the module of B that has the name of one of A and may be the same, -1 where there is none.
func (x *inference) namesake(a int) int {
	if x.byName == nil {
		x.byName = make(map[string]int, len(x.b.modules))
		for j, m := range x.b.modules {
			x.byName[m.String()] = j
		}
	}
	m := x.a.modules[a]
	j, ok := x.byName[m.String()]
	if !ok {
		return -1
	}
	n := x.b.modules[j]
	if m.Meaning.Buffer || n.Meaning.Buffer || m.Shape != nil && n.Shape != nil && !slices.Equal(m.Shape, n.Shape) {
		return -1
	}
	return j
}

// renumbers reports whether a tensor of a module gets the name of another that both sides have.
func (x *inference) renumbers(a, b int) bool {
	m, n := x.a.modules[a], x.b.modules[b]
	if slices.Equal(m.First, n.First) {
		return false
	}
	names := make(map[string]bool, n.Count)
	for k := range n.Count {
		names[x.b.name(b, k)] = true
	}
	for k := range m.Count {
		if names[x.a.name(a, k)] {
			return true
		}
	}
	return false
}
