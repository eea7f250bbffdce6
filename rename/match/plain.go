package match

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/rename/template"
)

// Numbered is Modules for [Options.Plain]: numbers are indices in the same places of both
// lists, whatever else each has.
func Numbered(tensors []Tensor) ([]*Module, error) {
	return modulesOf(tensors, template.Numbered, false)
}

// Among returns the modules that are left when only some tensors are. What their names
// mean, and which numbers are indices, is as it was among all. Leaves may be told apart: each
// is a module then, and one of an unknown name may be any.
func Among(list []*Module, tensors []Tensor, keep func(tensor int) bool, apart bool) []*Module {
	var out []*Module
	for _, m := range list {
		byRows := make(map[string]*Module)
		for _, l := range m.Leaves {
			var rows []byte
			part := &Module{Stem: m.Stem, First: m.First, Pad: m.Pad, Optional: m.Optional, AnyLeaf: m.AnyLeaf, Meaning: m.Meaning, Role: m.Role, straight: m.straight, lone: apart, order: m.order}
			left := Leaf{Name: l.Name, own: l.own}
			for i, t := range l.Tensors {
				if keep(t) {
					left.Tensors = append(left.Tensors, t)
					part.Index = append(part.Index, m.row(i)...)
					rows = binary.AppendUvarint(rows, uint64(i))
				}
			}
			if len(left.Tensors) == 0 {
				continue
			}
			// Leaves that other members have left are modules of their own.
			if known := byRows[string(rows)]; known != nil && !apart {
				part = known
			} else {
				part.Count = len(left.Tensors)
				byRows[string(rows)] = part
				out = append(out, part)
			}
			part.Leaves = append(part.Leaves, left)
		}
	}
	for _, m := range out {
		m.settle(tensors)
	}
	return out
}

// Members pairs the members of two modules that have the same indices. Where one model
// counts its layers from 0 and the other from 1, and they have as many, the first is the
// first; otherwise a layer is the one of the same number: a part of a model has layers 12
// to 23.
func Members(a, b *Module) [][2]int {
	h := a.Holes()
	if h != b.Holes() {
		return nil
	}
	shift := make([]int32, h)
	for i := range h {
		d := a.First[i] - b.First[i]
		if d < -1 || d > 1 || !slices.Equal(a.Index, b.Index) {
			shift[i] = d
		}
	}
	var out [][2]int
	for i, j := 0, 0; i < a.Count && j < b.Count; {
		by := 0
		for k := 0; k < h && by == 0; k++ {
			by = int(a.row(i)[k]) + int(shift[k]) - int(b.row(j)[k])
		}
		switch {
		case by < 0:
			i++
		case by > 0:
			j++
		default:
			out = append(out, [2]int{i, j})
			i, j = i+1, j+1
		}
	}
	return out
}

// Same yields the tensors of two modules that are the same if the modules are.
func (m *Module) Same(o *Module, yield func(a, b int)) {
	for _, pr := range Members(m, o) {
		for i := range m.Leaves {
			l := &m.Leaves[i]
			k, ok := m.Counterpart(o, i)
			if ok || m.lone && o.lone {
				yield(l.Tensors[pr[0]], o.Leaves[k].Tensors[pr[1]])
			}
		}
	}
}

// axes are the indices that a module has.
type axes struct {
	holes, count int
	hash         uint64
	first        string
}

func (m *Module) axes() axes {
	return axes{m.Holes(), m.Count, hashOf(m.Index), fmt.Sprint(m.First)}
}

// pairPlain finds what every module of A may be in B as it is: what has some of its
// indices, and there its shape. A role is the same whatever its shape.
func (p *problem) pairPlain() error {
	common := make(map[[2]axes]int)
	axesOf := make([]axes, len(p.b))
	byHoles := make(map[int][]int)
	for j, b := range p.b {
		axesOf[j] = b.axes()
		byHoles[b.Holes()] = append(byHoles[b.Holes()], j)
	}
	p.cells = make([][]cell, len(p.a))
	for i, a := range p.a {
		of := a.axes()
		for _, j := range byHoles[of.holes] {
			b := p.b[j]
			named := false // nothing but the names can say that they are the same
			if a.Role == "" || a.Role != b.Role {
				main, ok := a.Counterpart(b, 0)
				_, of := b.Counterpart(a, 0)
				ok = ok || a.lone && (a.Leaves[0].Name == "" || b.Leaves[0].Name == "")
				named = !ok || main != 0
				if named && !ok && !of || !named && !alikeShapes(a, b) {
					continue
				}
			}
			key := [2]axes{of, axesOf[j]}
			n, ok := common[key]
			if !ok {
				n = len(Members(a, b))
				common[key] = n
			}
			if n > 0 {
				p.cells[i] = append(p.cells[i], cell{j: j, named: named, part: n < max(a.Count, b.Count)})
			}
		}
	}
	return p.few()
}

// alikeShapes reports whether two modules have the same shapes where they have a member
// each.
func alikeShapes(a, b *Module) bool {
	switch {
	case a.Shape == nil || b.Shape == nil:
		return true
	case a.Shapes == nil && b.Shapes == nil:
		return slices.Equal(a.Shape, b.Shape)
	}
	of := func(m *Module, i int) []uint64 {
		if m.Shapes == nil {
			return m.Shape
		}
		return m.Shapes[i]
	}
	for _, pr := range Members(a, b) {
		if !slices.Equal(of(a, pr[0]), of(b, pr[1])) {
			return false
		}
	}
	return true
}

// settleSame takes modules with the same name out of the search, where each name has one
// counterpart. A module of which one side keeps the bias apart has two.
func (p *problem) settleSame() {
	ofA, ofB := make(map[string]int), make(map[string]int)
	for pr := range p.same {
		ofA[pr[0]]++
		ofB[pr[1]]++
	}
	nameA, nameB := p.names()
	gone := make(map[int]bool)
	for i := range p.cells {
		found := false
		for _, c := range p.cells[i] {
			if p.same[[2]string{nameA[i], nameB[c.j]}] && ofA[nameA[i]] == 1 && ofB[nameB[c.j]] == 1 {
				p.settled = append(p.settled, Match{A: []int{i}, B: []int{c.j}, Same: true, Margin: inf, Confidence: 1, Said: -sameName})
				gone[c.j], found = true, true
			}
		}
		if found {
			p.cells[i] = nil
		}
	}
	for i := range p.cells {
		p.cells[i] = slices.DeleteFunc(p.cells[i], func(c cell) bool {
			return gone[c.j] || c.named && !p.same[[2]string{nameA[i], nameB[c.j]}]
		})
	}
}
