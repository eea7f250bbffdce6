package match

import (
	"math"
	"slices"
)

// margins finds what solutions without a match cost more. A solution is another one if it
// gives the match's modules to others, in an assignment or in a composite.
type margins struct {
	*search
	taken        set
	full, strong float64 // the costs of the solution, with weak evidence and without
	of           []margin
}

// A margin is that of one match.
type margin struct {
	full, strong float64
	only         bool
	// rivalsA and rivalsB are modules that the next best solution gives to others.
	rivalsA, rivalsB []int
}

func newMargins(s *search, t set) *margins {
	return &margins{search: s, taken: t, full: s.cost(s.chosen, true), strong: s.cost(s.chosen, false)}
}

// pair finds the margin of a pair of a component's assignment.
func (m *margins) pair(k, x, y int) {
	now := m.assign(k, m.taken, true)
	i, j := now.rows[x], now.cols[y]
	other := now.without(x, y)
	out := margin{full: other.total - now.total}
	for c, r := range other.ofCol {
		if r == now.ofCol[c] {
			continue
		}
		if r >= 0 {
			out.rivalsA = append(out.rivalsA, now.rows[r])
		}
		out.rivalsB = append(out.rivalsB, now.cols[c])
	}
	// What weak evidence alone has chosen has no margin.
	if strong := m.assign(k, m.taken, false); strong.ofCol[y] == x {
		out.strong = strong.without(x, y).total - strong.total
	}
	candidates := append(slices.Clone(m.byA[i]), m.byB[j]...)
	for _, c := range candidates {
		m.against(&out, m.with(m.chosen, c))
	}
	rows := 0
	for _, r := range m.parts[k].rows {
		if m.cell(r, j) != nil {
			rows++
		}
	}
	out.only = rows == 1 && len(m.cells[i]) == 1 && len(candidates) == 0
	m.of = append(m.of, out)
}

// composite finds the margin of a composite.
func (m *margins) composite(c int) {
	out := margin{full: math.Inf(1), strong: math.Inf(1)}
	a, b := m.candidates[c].modules()
	m.against(&out, slices.DeleteFunc(slices.Clone(m.chosen), func(x int) bool { return x == c }))
	others := 0
	for other := range m.candidates {
		if other != c && m.conflicts(other, c) {
			others++
			m.against(&out, m.with(m.chosen, other))
		}
	}
	cells := 0
	for _, i := range a {
		cells += len(m.cells[i])
	}
	for _, j := range b {
		for _, i := range m.parts[m.ofB[j]].rows {
			if m.cell(i, j) != nil {
				cells++
			}
		}
	}
	out.only = others == 0 && cells == 0
	m.of = append(m.of, out)
}

// against compares the solution with that of other composites.
func (m *margins) against(out *margin, chosen []int) {
	if m.work <= 0 {
		out.full, out.strong = min(out.full, 0), min(out.strong, 0)
		return
	}
	out.strong = min(out.strong, m.cost(chosen, false)-m.strong)
	full := m.cost(chosen, true) - m.full
	if full >= out.full {
		return
	}
	out.full = full
	before, after := m.taken, m.search.taken(chosen)
	out.rivalsA, out.rivalsB = nil, nil
	for i := range m.a {
		if before.a[i] || after.a[i] {
			out.rivalsA = append(out.rivalsA, i)
		}
	}
	for j := range m.b {
		if before.b[j] || after.b[j] {
			out.rivalsB = append(out.rivalsB, j)
		}
	}
}

// fill gives the matches their confidence, and puts those together that would change
// places.
func (m *margins) fill(out *Solution) {
	byA, byB := make(map[int]int), make(map[int]int)
	root := make([]int, len(out.Matches))
	for n := range out.Matches {
		root[n] = n
		for _, i := range out.Matches[n].A {
			byA[i] = n
		}
		for _, j := range out.Matches[n].B {
			byB[j] = n
		}
	}
	find := func(n int) int {
		for root[n] != n {
			n = root[n]
		}
		return n
	}
	for n := range out.Matches {
		x, o := &m.of[n], &out.Matches[n]
		o.Margin, o.Only = x.full, x.only
		o.Confidence = Confidence(x.full)
		if x.strong < Sure {
			o.Confidence = min(o.Confidence, WeakCap)
		}
	}
	for n := range out.Matches {
		if !out.Matches[n].open() {
			continue
		}
		join := func(list []int, by map[int]int) {
			for _, i := range list {
				if k, ok := by[i]; ok && out.Matches[k].open() {
					root[find(k)] = find(n)
				}
			}
		}
		join(m.of[n].rivalsA, byA)
		join(m.of[n].rivalsB, byB)
	}
	group := make(map[int]int)
	for n := range out.Matches {
		if !out.Matches[n].open() {
			continue
		}
		g, ok := group[find(n)]
		if !ok {
			g = len(out.Open)
			group[find(n)] = g
			out.Open = append(out.Open, nil)
		}
		out.Open[g] = append(out.Open[g], n)
	}
}

// open reports whether the match is less than nine to one sure.
func (m *Match) open() bool { return m.Confidence < Confidence(Sure) }
