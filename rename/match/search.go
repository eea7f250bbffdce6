package match

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// A component is modules that may become each other, and nothing else. Assignments of
// different components do not touch.
type component struct {
	rows, cols []int
	cells      []*cell // of a row and a column, by their places
}

// A search is the composites that are chosen, and assignments of the other modules.
type search struct {
	*problem
	parts      []*component
	ofA, ofB   []int // the component of a module
	atA, atB   []int // and its place there
	candidates []composite
	byA, byB   map[int][]int // the candidates that need a module
	chosen     []int         // candidates
	solved     map[string]*solved
	totals     map[string]float64 // what solved says, where no more is needed
	whole      [2][]*solved       // the assignments of all of a component: without weak evidence and with it
	wholeCost  [2]float64
	work       int // that is left
}

// solved is the assignment of what is left of a component.
type solved struct {
	*assignment
	rows, cols []int
}

// A set is modules that composites have taken.
type set struct{ a, b map[int]bool }

func (s *search) taken(chosen []int) set {
	t := set{make(map[int]bool), make(map[int]bool)}
	for _, c := range chosen {
		a, b := s.candidates[c].modules()
		for _, i := range a {
			t.a[i] = true
		}
		for _, j := range b {
			t.b[j] = true
		}
	}
	return t
}

// components finds the components, by joining whatever has a cell.
func (s *search) components() error {
	s.solved, s.totals = make(map[string]*solved), make(map[string]float64)
	n := len(s.a)
	root := make([]int, n+len(s.b))
	for i := range root {
		root[i] = i
	}
	find := func(i int) int {
		for root[i] != i {
			root[i] = root[root[i]]
			i = root[i]
		}
		return i
	}
	for i, list := range s.cells {
		for _, c := range list {
			root[find(n+c.j)] = find(i)
		}
	}
	number := make(map[int]int)
	of := func(i int) *component {
		r := find(i)
		k, ok := number[r]
		if !ok {
			k = len(s.parts)
			number[r] = k
			s.parts = append(s.parts, new(component))
		}
		return s.parts[k]
	}
	for i := range s.a {
		p := of(i)
		s.ofA, s.atA = append(s.ofA, number[find(i)]), append(s.atA, len(p.rows))
		p.rows = append(p.rows, i)
	}
	for j := range s.b {
		p := of(n + j)
		s.ofB, s.atB = append(s.ofB, number[find(n+j)]), append(s.atB, len(p.cols))
		p.cols = append(p.cols, j)
	}
	for _, p := range s.parts {
		if k := max(len(p.rows), len(p.cols)); k > maxAlike {
			return tooMany(k)
		}
		p.cells = make([]*cell, len(p.rows)*len(p.cols))
	}
	for i, list := range s.cells {
		p := s.parts[s.ofA[i]]
		for k := range list {
			p.cells[s.atA[i]*len(p.cols)+s.atB[list[k].j]] = &list[k]
		}
	}
	return nil
}

// cell is what a module of A may become as one of B, nil where it cannot.
func (s *search) cell(i, j int) *cell {
	p := s.parts[s.ofA[i]]
	if s.ofB[j] != s.ofA[i] {
		return nil
	}
	return p.cells[s.atA[i]*len(p.cols)+s.atB[j]]
}

// assign solves what some composites leave of a component. Without weak evidence, order
// and words that lie do not count.
func (s *search) assign(k int, t set, weak bool) *solved {
	p := s.parts[k]
	key := s.key(k, t, weak)
	if known := s.solved[key]; known != nil {
		return known
	}
	rows := slices.DeleteFunc(slices.Clone(p.rows), func(i int) bool { return t.a[i] })
	cols := slices.DeleteFunc(slices.Clone(p.cols), func(j int) bool { return t.b[j] })
	var rankA, rankB []int
	if weak && s.ordered && len(rows) == len(cols) {
		rankA, rankB = ranks(s.a, rows), ranks(s.b, cols)
	}
	pair := func(x, y int) float64 {
		c := s.cell(rows[x], cols[y])
		if c == nil {
			return inf
		}
		cost := c.cost.strong
		if weak {
			cost += c.cost.weak
		}
		if rankA != nil {
			cost += orderStep * math.Abs(float64(rankA[x]-rankB[y]))
		}
		return cost
	}
	single := func(m *Module) float64 {
		if m.Optional {
			return aloneOptional
		}
		return alone
	}
	out := &solved{rows: rows, cols: cols}
	out.assignment = assign(len(rows), len(cols), pair,
		func(x int) float64 { return single(s.a[rows[x]]) }, func(y int) float64 { return single(s.b[cols[y]]) })
	s.solved[key] = out
	s.work -= out.steps
	return out
}

// key names what is left of a component.
func (s *search) key(k int, t set, weak bool) string {
	key := []byte(strconv.Itoa(k))
	if len(t.a)+len(t.b) > 0 {
		for _, i := range s.parts[k].rows {
			if t.a[i] {
				key = strconv.AppendInt(append(key, 'a'), int64(i), 10)
			}
		}
		for _, j := range s.parts[k].cols {
			if t.b[j] {
				key = strconv.AppendInt(append(key, 'b'), int64(j), 10)
			}
		}
	}
	if weak {
		key = append(key, 'w')
	}
	return string(key)
}

// total is what the assignment of what is left of a component costs. That of all of it is
// changed, not made anew, where the cost of a pair does not depend on what else is left.
func (s *search) total(k int, t set, weak bool) float64 {
	if weak && s.ordered {
		return s.assign(k, t, weak).total
	}
	key := s.key(k, t, weak)
	total, ok := s.totals[key]
	if !ok {
		var rows, cols []int
		for i := range t.a {
			if s.ofA[i] == k {
				rows = append(rows, s.atA[i])
			}
		}
		for j := range t.b {
			if s.ofB[j] == k {
				cols = append(cols, s.atB[j])
			}
		}
		slices.Sort(rows)
		slices.Sort(cols)
		var steps int
		total, steps = s.all(weak)[k].less(rows, cols)
		s.totals[key] = total
		s.work -= steps
	}
	return total
}

// all are the assignments of whole components.
func (s *search) all(weak bool) []*solved {
	at := 0
	if weak {
		at = 1
	}
	if s.whole[at] == nil {
		s.whole[at] = make([]*solved, len(s.parts))
		for k := range s.parts {
			s.whole[at][k] = s.assign(k, set{}, weak)
			s.wholeCost[at] += s.whole[at][k].total
		}
	}
	return s.whole[at]
}

// ranks orders modules by their places in the files.
func ranks(side []*Module, list []int) []int {
	sorted := slices.Clone(list)
	slices.SortFunc(sorted, func(x, y int) int { return cmp.Compare(side[x].order, side[y].order) })
	out := make([]int, len(list))
	for i, m := range list {
		out[i] = slices.Index(sorted, m)
	}
	return out
}

// cost is that of some composites and of the assignments that they leave. Only components
// of which they take something have others than they have without.
func (s *search) cost(chosen []int, weak bool) float64 {
	t := s.taken(chosen)
	all := s.all(weak)
	sum := s.wholeCost[0]
	if weak {
		sum = s.wholeCost[1]
	}
	for _, c := range chosen {
		sum += s.candidates[c].cost.strong
		if weak {
			sum += s.candidates[c].cost.weak
		}
	}
	touched := make([]int, 0, len(t.a)+len(t.b))
	for i := range t.a {
		touched = append(touched, s.ofA[i])
	}
	for j := range t.b {
		touched = append(touched, s.ofB[j])
	}
	slices.Sort(touched)
	for _, k := range slices.Compact(touched) {
		sum += s.total(k, t, weak) - all[k].total
	}
	return sum
}

// conflicts reports whether two composites need the same module.
func (s *search) conflicts(x, y int) bool {
	xa, xb := s.candidates[x].modules()
	ya, yb := s.candidates[y].modules()
	in := func(list []int) func(int) bool {
		return func(i int) bool { return slices.Contains(list, i) }
	}
	return slices.ContainsFunc(xa, in(ya)) || slices.ContainsFunc(xb, in(yb))
}

// with is what is chosen when one more composite is, in the place of those that need its
// modules.
func (s *search) with(chosen []int, c int) []int {
	return append(slices.DeleteFunc(slices.Clone(chosen), func(x int) bool { return x == c || s.conflicts(x, c) }), c)
}

// The search for composites has work for so many pairs of modules to look at, and each set of
// composites that is tried counts as a few thousand besides. A block has some sixty, and one
// round for each of the few that are chosen. Of lists that no model has, what is chosen by
// then is kept, and nothing that composites might change is sure.
const (
	work = 1 << 25
	aTry = 1 << 12
)

// choose takes composites as long as they make the solution cheaper, and then exchanges
// them one for the other.
func (s *search) choose() {
	s.byA, s.byB = make(map[int][]int), make(map[int][]int)
	for c := range s.candidates {
		a, b := s.candidates[c].modules()
		for _, i := range a {
			s.byA[i] = append(s.byA[i], c)
		}
		for _, j := range b {
			s.byB[j] = append(s.byB[j], c)
		}
	}
	const least = 1e-9 // what rounding may be
	now := s.cost(nil, true)
	for s.work > 0 {
		clear(s.solved) // of what was not chosen
		clear(s.totals)
		best, next := now-least, []int(nil)
		for c := range s.candidates {
			if slices.Contains(s.chosen, c) {
				continue
			}
			try := s.with(s.chosen, c)
			if cost := s.cost(try, true); cost < best {
				best, next = cost, try
			}
			if s.work -= aTry; s.work <= 0 {
				break
			}
		}
		if next == nil {
			return
		}
		now, s.chosen = best, next
	}
}

// solution says what was found and how sure it is.
func (s *search) solution() *Solution {
	out := new(Solution)
	t := s.taken(s.chosen)
	margins := newMargins(s, t)
	for _, c := range s.chosen {
		x := &s.candidates[c]
		a, b := x.modules()
		out.Matches = append(out.Matches, Match{A: a, B: b, Form: x.form, Rows: x.rows})
		margins.composite(c)
	}
	for k := range s.parts {
		solved := s.assign(k, t, true)
		taken := make([]bool, len(solved.rows))
		for y, x := range solved.ofCol {
			if x < 0 {
				out.AloneB = append(out.AloneB, solved.cols[y])
				continue
			}
			i, j := solved.rows[x], solved.cols[y]
			taken[x] = true
			out.Matches = append(out.Matches, Match{
				A: []int{i}, B: []int{j}, Form: s.cell(i, j).form, Same: s.sameNames(i, j), Said: -s.nameCost(i, j).strong,
			})
			margins.pair(k, x, y)
		}
		for x, i := range solved.rows {
			if !taken[x] {
				out.AloneA = append(out.AloneA, i)
			}
		}
	}
	margins.fill(out)
	for i := range s.settled {
		m := &s.settled[i]
		out.AloneA = slices.DeleteFunc(out.AloneA, func(i int) bool { return i == m.A[0] })
		out.AloneB = slices.DeleteFunc(out.AloneB, func(j int) bool { return j == m.B[0] })
	}
	out.Matches = append(out.Matches, s.settled...)
	slices.Sort(out.AloneA)
	slices.Sort(out.AloneB)
	return out
}
