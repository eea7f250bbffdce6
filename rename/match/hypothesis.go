package match

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// A Form is how the tensors of one module become those of another.
type Form uint8

const (
	Same          Form = iota // the same shapes
	Transposed                // the last two axes exchanged
	Stacked                   // [r, c] of each expert, and [experts, r, c]
	StackedTurned             // [r, c] of each expert, and [experts, c, r]
	Flat                      // [r, c] of each expert, and [experts x r, c]
	FlatTurned                // [r, c] of each expert, and [experts x c, r]
)

// Stacks reports whether one side has the experts in one tensor.
func (f Form) Stacks() bool { return f >= Stacked }

// A cell is what a module of A may become: one of B, in one form.
type cell struct {
	j    int
	form Form
	cost evidence
	// named is set where it is one only if the names say so.
	named bool
	// part is set where one side has members that the other lacks.
	part bool
}

// signature is what modules have in common whose indices are equal.
type signature struct {
	holes, count int
	hash         uint64
}

func (m *Module) signature() signature { return signature{m.Holes(), m.Count, hashOf(m.Index)} }

// outer is the signature that the module has without its last index, and how many
// members there are for each; 0 where their numbers differ.
func (m *Module) outer() (signature, int) {
	h := m.Holes()
	if h == 0 || m.Count == 0 {
		return signature{}, 0
	}
	var rows []int32
	var each int
	for i := 0; i < m.Count; {
		row := m.row(i)[:h-1]
		n := 0
		for ; i < m.Count && slices.Equal(m.row(i)[:h-1], row); i++ {
			if m.row(i)[h-1] != int32(n) {
				return signature{}, 0
			}
			n++
		}
		if each == 0 {
			each = n
		} else if each != n {
			return signature{}, 0
		}
		rows = append(rows, row...)
	}
	return signature{h - 1, m.Count / each, hashOf(rows)}, each
}

// known reports whether the shape of the module's weight is known.
func (m *Module) known() bool { return m.Shape != nil && !m.Packed }

func turned(shape []uint64) []uint64 {
	n := len(shape)
	if n < 2 {
		return nil
	}
	out := slices.Clone(shape)
	out[n-1], out[n-2] = out[n-2], out[n-1]
	return out
}

// form finds how modules with the same indices become each other.
func form(a, b *Module) (Form, bool) {
	switch {
	case !biasesFit(a, b):
		return Same, false
	case a.Packed && b.Packed && a.Leaves[0].Name == b.Leaves[0].Name:
		if a.Shape != nil && b.Shape != nil && !slices.Equal(a.Shape, b.Shape) {
			return Same, false
		}
	case !a.axesFit(b):
		return Same, false
	case (!a.known() || !b.known()) && opposed(a, b):
		return Transposed, true
	case !a.known() || !b.known():
		return Same, true
	}
	if a.Shapes != nil || b.Shapes != nil {
		return Same, slices.EqualFunc(a.Shapes, b.Shapes, slices.Equal)
	}
	switch same, turned := slices.Equal(a.Shape, b.Shape), len(a.Shape) > 1 && slices.Equal(a.Shape, turned(b.Shape)); {
	case turned && (!same || opposed(a, b)):
		return Transposed, true
	case same:
		return Same, true
	}
	return Same, (a.Soft || b.Soft) && len(a.Shape) == len(b.Shape)
}

// axesFit reports whether two modules have as many axes, as far as that is known.
func (m *Module) axesFit(o *Module) bool {
	x, y := max(len(m.Shape), m.Axes), max(len(o.Shape), o.Axes)
	return m.Packed || o.Packed || x == y || x == 0 || y == 0 || m.Axes == o.Axes
}

// opposed reports whether the names of two weights say that one has its inputs first and the
// other its outputs.
func opposed(a, b *Module) bool {
	isWeight := func(m *Module) bool { return max(len(m.Shape), m.Axes) == 2 && m.Leaves[0].Plain() == ".weight" }
	return a.IsKernel() && isWeight(b) || isWeight(a) && b.IsKernel()
}

// stackForm finds how [r, c] of n experts are in one tensor.
func stackForm(one, all []uint64, n int) (Form, bool) {
	e := uint64(n)
	switch {
	case len(all) == len(one)+1 && all[0] == e:
		switch {
		case slices.Equal(all[1:], one):
			return Stacked, true
		case slices.Equal(all[1:], turned(one)):
			return StackedTurned, true
		}
	case len(all) == 2 && len(one) == 2:
		switch {
		case all[1] == one[1] && all[0] == e*one[0] && all[0]/e == one[0]:
			return Flat, true
		case all[1] == one[0] && all[0] == e*one[1] && all[0]/e == one[1]:
			return FlatTurned, true
		}
	}
	return 0, false
}

// A composite is one module that holds several of the other side.
type composite struct {
	fused int   // of A, or of B where joins is set
	parts []int // of the other, in the order in which they lie
	joins bool  // several of A become one of B
	form  Form  // of fused: its parts in one tensor beforehand
	cost  evidence
	// rows are those of each part in the fused tensor.
	rows []uint64
}

// Limits of the search for composites. Fused projections hold two or three parts, beside
// each other in the code; where there are more modules than a block of layers has, only
// those of one parent are tried.
const (
	fewModules = 16
	kept       = 60  // composites of one fused module, the cheapest
	keptOfAll  = 500 // those of all, the cheapest
	// steps bounds the sets that are tried: a block of ten matrices has some 200 for each.
	steps = 1 << 18
)

// composites finds what modules of one side may be put together of.
func (p *problem) composites() []composite {
	var out []composite
	p.steps = steps
	if p.ordered {
		p.files = [2]map[kin][]int{byKin(p.a), byKin(p.b)}
	}
	for _, joins := range []bool{false, true} {
		whole, others := p.a, p.b
		if joins {
			whole, others = p.b, p.a
		}
		bySig, byOuter := make(map[signature][]int), make(map[signature][]int)
		for i, m := range others {
			if !m.known() || m.Shapes != nil || len(m.Shape) < 2 {
				continue
			}
			bySig[m.signature()] = append(bySig[m.signature()], i)
			if s, n := m.outer(); n > 1 && len(m.Shape) == 2 {
				byOuter[s] = append(byOuter[s], i)
			}
		}
		for f, m := range whole {
			if !m.known() || m.Shapes != nil || len(m.Shape) < 2 {
				continue
			}
			var list []composite
			list = p.combine(list, f, joins, bySig[m.signature()], false)
			list = p.combine(list, f, joins, byOuter[m.signature()], true)
			slices.SortStableFunc(list, func(a, b composite) int { return cmp.Compare(a.cost.total(), b.cost.total()) })
			out = append(out, list[:min(kept, len(list))]...)
		}
	}
	if len(out) > keptOfAll {
		slices.SortStableFunc(out, func(a, b composite) int { return cmp.Compare(a.cost.total(), b.cost.total()) })
		out = out[:keptOfAll]
	}
	return out
}

// sides are a fused module and the side that its parts are of.
func (p *problem) sides(fused int, joins bool) (whole *Module, parts []*Module) {
	if joins {
		return p.b[fused], p.a
	}
	return p.a[fused], p.b
}

// combine tries the parts that one module may be put together of.
func (p *problem) combine(list []composite, fused int, joins bool, others []int, stacked bool) []composite {
	whole, side := p.sides(fused, joins)
	n := len(whole.Shape)
	forms := []Form{Same, Transposed}
	if stacked {
		if n != 3 {
			return list
		}
		forms = []Form{Stacked, StackedTurned}
	}
	for _, form := range forms {
		rows, cols := whole.Shape[n-2], whole.Shape[n-1]
		if form == Transposed || form == StackedTurned {
			if rows, cols = cols, rows; rows == cols {
				continue
			}
		}
		var fit []int
		for _, o := range others {
			s := side[o].Shape
			k := len(s)
			if stacked {
				if _, e := side[o].outer(); uint64(e) != whole.Shape[0] {
					continue
				}
			} else if !slices.Equal(s[:k-2], whole.Shape[:n-2]) {
				continue
			}
			if s[k-1] == cols && s[k-2] < rows && (form == Transposed || !opposed(whole, side[o])) {
				fit = append(fit, o)
			}
		}
		p.subsets(fit, side, rows, func(parts []int) {
			c := composite{fused: fused, parts: slices.Clone(parts), joins: joins, form: form}
			for _, o := range parts {
				s := side[o].Shape
				c.rows = append(c.rows, s[len(s)-2])
			}
			p.sortParts(&c)
			c.cost = p.compositeCost(&c)
			if p.ordered {
				c.cost.weak += p.orderCost(&c)
			}
			list = append(list, c)
		})
	}
	return list
}

// subsets yields the twos and threes whose rows sum up.
func (p *problem) subsets(fit []int, side []*Module, rows uint64, yield func([]int)) {
	rowsOf := func(o int) uint64 { s := side[o].Shape; return s[len(s)-2] }
	near := func(x, y int) bool { return len(fit) <= fewModules || parent(side[x]) == parent(side[y]) }
	byRows := make(map[uint64][]int)
	for _, o := range fit {
		byRows[rowsOf(o)] = append(byRows[rowsOf(o)], o)
	}
	for x := range fit {
		for y := x + 1; y < len(fit); y++ {
			if p.steps--; p.steps < 0 {
				return
			}
			a, b := fit[x], fit[y]
			if !near(a, b) {
				continue
			}
			sum := rowsOf(a) + rowsOf(b)
			if sum == rows {
				yield([]int{a, b})
			}
			if sum >= rows {
				continue
			}
			for _, c := range byRows[rows-sum] {
				if p.steps--; p.steps > 0 && c > b && near(a, c) {
					yield([]int{a, b, c})
				}
			}
		}
	}
}

// parent is the stem of a module without its last segment.
func parent(m *Module) string {
	s := m.String()
	return s[:max(0, strings.LastIndexAny(s, "./"))]
}

// fusions are the sets of parts that projects put into one tensor.
var fusions = [][]string{{"q", "k", "v"}, {"k", "v"}, {"gate", "up"}}

// compositeCost compares what the name of the whole says with those of its parts.
func (p *problem) compositeCost(c *composite) evidence {
	e := evidence{strong: composed}
	whole, side := p.sides(c.fused, c.joins)
	switch c.form {
	case Transposed:
		if !opposed(whole, side[c.parts[0]]) {
			e.strong += p.turn()
		}
	case StackedTurned:
		e.strong += transposed
	}
	if c.form.Stacks() {
		e.strong += stacked
	}
	for _, o := range c.parts {
		e.strong += biasCost(whole, side[o]) / float64(len(c.parts))
	}
	e.strong += p.extra(c.modules())
	if p.opaque {
		return e
	}
	w := &whole.Meaning
	var parts []string
	weak := w.Weak
	for _, o := range c.parts {
		m := &side[o].Meaning
		if p.spaces && !sameSpace(whole, side[o]) {
			e.strong += spaceConflict
		}
		switch {
		case w.Block == "" || m.Block == "":
		case w.Block == m.Block:
			e.strong += blockEqual
		default:
			e.strong += blockConflict
		}
		if w.Sub != "" && m.Sub != "" && w.Sub != m.Sub {
			e.strong += subConflict
		}
		if m.IsNorm() {
			e.strong += partConflict
		}
		weak = weak || m.Weak
		parts = append(parts, m.Parts...)
		switch {
		case len(w.Parts) == 0 || len(m.Parts) == 0:
		case len(w.Parts) > 1 && overlap(w.Parts, m.Parts) && !w.Weak:
			e.strong += partEqual
		case overlap(w.Parts, m.Parts): // dense_h_to_4h may hold gate and up
		case w.Weak || m.Weak:
			e.weak += weakly
		default:
			e.strong += partConflict
		}
	}
	if w.IsNorm() {
		e.strong += partConflict
	}
	if slices.ContainsFunc(fusions, func(f []string) bool { return sameParts(f, parts) }) {
		if len(w.Parts) < 2 || w.Weak {
			e.add(partEqual, weak)
		}
	} else if len(parts) >= len(c.parts) && !weak {
		e.strong += partConflict // nobody fuses these
	}
	return e
}

// kin is what matrices of the same blocks have in common.
type kin struct {
	dims, holes int
	block       string
}

func (m *Module) kin() kin { return kin{len(m.Shape), m.Holes(), m.Stem[0]} }

// byKin are the places in the files of modules, in order.
func byKin(list []*Module) map[kin][]int {
	out := make(map[kin][]int)
	for _, m := range list {
		out[m.kin()] = append(out[m.kin()], m.order)
	}
	for _, places := range out {
		slices.Sort(places)
	}
	return out
}

// orderCost counts the modules that lie between the parts, and how far from their place
// the whole is.
func (p *problem) orderCost(c *composite) float64 {
	whole, side := p.sides(c.fused, c.joins)
	parts, other := p.files[1], p.files[0]
	if c.joins {
		parts, other = other, parts
	}
	first, last := math.MaxInt, 0
	for _, o := range c.parts {
		first, last = min(first, side[o].order), max(last, side[o].order)
	}
	before := func(list []int, order int) int {
		n, _ := slices.BinarySearch(list, order)
		return n
	}
	among := parts[side[c.parts[0]].kin()]
	between := before(among, last+1) - before(among, first) - len(c.parts)
	away := before(other[whole.kin()], whole.order) - before(among, first)
	return orderStep * float64(between+max(away, -away))
}

// modules lists the modules of a composite, those of A and those of B.
func (c *composite) modules() (a, b []int) {
	if c.joins {
		return c.parts, []int{c.fused}
	}
	return []int{c.fused}, c.parts
}

// sortParts puts the parts in the order in which the name of the whole has them, or in
// which projects do: query, key, value; gate, up. Of parts without a name it is that of the
// files.
func (p *problem) sortParts(c *composite) {
	whole, side := p.sides(c.fused, c.joins)
	order := whole.Meaning.Parts
	if len(order) < 2 {
		order = []string{"q", "k", "v", "gate", "up"}
	}
	rank := func(o int) int {
		best := math.MaxInt
		for i, part := range order {
			if !p.opaque && slices.Contains(side[o].Meaning.Parts, part) {
				best = min(best, i)
			}
		}
		return best
	}
	slices.SortStableFunc(c.parts, func(x, y int) int {
		if by := cmp.Compare(rank(x), rank(y)); by != 0 || !p.ordered {
			return cmp.Or(by, cmp.Compare(x, y))
		}
		return cmp.Compare(side[x].order, side[y].order)
	})
	for i, o := range c.parts {
		s := side[o].Shape
		c.rows[i] = s[len(s)-2]
	}
}
