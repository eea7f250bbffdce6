package rename

import (
	"slices"
	"strings"
)

// A unit is one step of a language of names: a byte, or the text of a hole.
// Rules are compared with one another as sequences of units, since what one
// makes is what another may read.
type unit struct {
	lit   byte
	hole  int // -1 for a byte
	kind  holeKind
	shift int64
	width int // of a padded number
}

func (u unit) isHole() bool { return u.hole >= 0 }

func patternUnits(p *Pattern) []unit {
	var units []unit
	for _, pc := range p.pieces {
		if pc.text == "" {
			units = append(units, unit{hole: pc.hole, kind: pc.kind, width: pc.width})
		} else {
			units = appendLiteral(units, pc.text)
		}
	}
	return units
}

// targetUnits gives the names that t makes of the matches of p. The hole that an
// unstack runs over stands behind those of p.
func targetUnits(t *Target, p *Pattern) []unit {
	var units []unit
	for _, pc := range t.pieces {
		if pc.text == "" {
			kind := kindDigits
			if pc.hole < len(p.holes) {
				kind = p.holes[pc.hole].Kind
			}
			units = append(units, unit{hole: pc.hole, kind: kind, shift: pc.shift, width: pc.width})
		} else {
			units = appendLiteral(units, pc.text)
		}
	}
	return units
}

func appendLiteral(units []unit, text string) []unit {
	for i := range len(text) {
		units = append(units, unit{lit: text[i], hole: -1})
	}
	return units
}

// mayShare reports whether one byte can belong to both.
func mayShare(a, b unit) bool {
	switch {
	case !a.isHole() && !b.isHole():
		return a.lit == b.lit
	case !a.isHole():
		return b.takes(a.lit)
	case !b.isHole():
		return a.takes(b.lit)
	}
	return true
}

func (u unit) takes(c byte) bool {
	switch u.kind {
	case kindDigits:
		return isDigit(c)
	case kindSegment:
		return c != '.'
	}
	return true
}

// maxDisjointStates bounds the comparison of two patterns, far beyond what any
// that people write need.
const maxDisjointStates = 200_000

// disjoint reports whether no name belongs to both languages. It may say false
// where that is so, as it forgets that holes can be equal and runs whole.
func disjoint(a, b []unit) bool {
	// A state is a place in each sequence, and whether the hole there has
	// taken a byte already.
	type state struct {
		i, j         int
		iTook, jTook bool
	}
	seen := make(map[state]bool)
	stack := []state{{}}
	push := func(s state) {
		if !seen[s] {
			seen[s] = true
			stack = append(stack, s)
		}
	}
	for len(stack) > 0 {
		s := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if s.i == len(a) && s.j == len(b) || len(seen) > maxDisjointStates {
			return false
		}
		if s.i < len(a) && a[s.i].isHole() && (s.iTook || a[s.i].kind == kindAnything) {
			push(state{s.i + 1, s.j, false, s.jTook})
		}
		if s.j < len(b) && b[s.j].isHole() && (s.jTook || b[s.j].kind == kindAnything) {
			push(state{s.i, s.j + 1, s.iTook, false})
		}
		if s.i == len(a) || s.j == len(b) || !mayShare(a[s.i], b[s.j]) {
			continue
		}
		next := s
		if a[s.i].isHole() {
			next.iTook = true
		} else {
			next.i, next.iTook = s.i+1, false
		}
		if b[s.j].isHole() {
			next.jTook = true
		} else {
			next.j, next.jTook = s.j+1, false
		}
		push(next)
	}
	return true
}

// disjointForms is disjoint, after cheaper looks at what is often decisive.
func disjointForms(a, b []unit) bool {
	for i := 0; i < len(a) && i < len(b) && !a[i].isHole() && !b[i].isHole(); i++ {
		if a[i].lit != b[i].lit {
			return true
		}
	}
	for i, j := len(a)-1, len(b)-1; i >= 0 && j >= 0 && !a[i].isHole() && !b[j].isHole(); i, j = i-1, j-1 {
		if a[i].lit != b[j].lit {
			return true
		}
	}
	return disjoint(a, b)
}

// covers reports whether p matches every name of the language, and what its
// holes take of it. It may say false where that is so.
func covers(p *Pattern, names []unit) (holes [][]unit, ok bool) {
	holes = make([][]unit, len(p.holes))
	dead := make(map[[2]int]bool)
	steps := maxCoverSteps
	var match func(i, at int) bool
	match = func(i, at int) bool {
		if i == len(p.pieces) {
			return at == len(names)
		}
		if dead[[2]int{i, at}] {
			return false
		}
		pc := p.pieces[i]
		for _, end := range endsOf(pc, names, at) {
			if pc.again && !slices.Equal(holes[pc.hole], names[at:end]) {
				continue
			}
			if steps--; steps < 0 {
				return false
			}
			if pc.text == "" && !pc.again {
				holes[pc.hole] = names[at:end]
			}
			if match(i+1, end) {
				return true
			}
		}
		dead[[2]int{i, at}] = !p.repeats
		return false
	}
	return holes, match(0, 0)
}

// maxCoverSteps bounds the search for holes that must be equal.
const maxCoverSteps = 100_000

// endsOf returns where the piece can end that begins at names[at], whatever
// text the holes of the names hold, the nearest first.
func endsOf(pc piece, names []unit, at int) []int {
	if pc.text != "" {
		end := at + len(pc.text)
		if end > len(names) {
			return nil
		}
		for i, u := range names[at:end] {
			if u.isHole() || u.lit != pc.text[i] {
				return nil
			}
		}
		return []int{end}
	}
	inNumber := func(u unit) bool { return u.isHole() && u.kind == kindDigits || !u.isHole() && isDigit(u.lit) }
	noDigit := func(u unit) bool { return !u.isHole() && !isDigit(u.lit) }
	end := at
	switch pc.kind {
	case kindDigits:
		if at > 0 && !noDigit(names[at-1]) {
			return nil
		}
		for end < len(names) && inNumber(names[end]) {
			end++
		}
		if end == at || end < len(names) && !noDigit(names[end]) || pc.width > 0 && !allPadded(names[at:end], pc.width) {
			return nil
		}
		return []int{end}
	case kindSegment:
		var ends []int
		for end < len(names) && (names[end].isHole() && names[end].kind != kindAnything || !names[end].isHole() && names[end].lit != '.') {
			end++
			ends = append(ends, end)
		}
		return ends
	}
	ends := make([]int, 0, len(names)-at+1)
	for ; end <= len(names); end++ {
		ends = append(ends, end)
	}
	return ends
}

// allPadded reports whether a number is written with zeros up to the width, whatever it is. It
// may say false where that is so.
func allPadded(number []unit, width int) bool {
	if len(number) == 1 && number[0].isHole() {
		return number[0].width == width
	}
	digits, ok := literalName(number)
	return ok && padded(digits, width)
}

// oneReading reports whether the places of a pattern's holes in a name are
// certain, so that whoever reads a name that the pattern's text was written
// with finds the same text in the holes again. It may say false where that is
// so.
//
// At most one hole may take anything. What stands before it is read from the
// left and what stands after it from the right, dot by dot; a segment in which
// a hole for a part of a segment has another hole beside it is not certain.
func oneReading(units []unit) bool {
	type span struct{ segments, numbers, anything int }
	var here span
	anything := false
	for i, u := range units {
		switch {
		case !u.isHole():
			if u.lit == '.' {
				here = span{}
			}
			continue
		case u.kind == kindAnything:
			if anything {
				return false
			}
			anything = true
			here.anything++
		case u.kind == kindSegment:
			here.segments++
		default:
			here.numbers++
			for _, j := range []int{i - 1, i + 1} {
				if j >= 0 && j < len(units) && (units[j].isHole() || isDigit(units[j].lit)) {
					return false
				}
			}
		}
		if here.segments > 1 || here.segments == 1 && here.numbers+here.anything > 0 {
			return false
		}
	}
	return true
}

// patternSource writes units as a pattern. The kind of a hole stands where it
// first appears.
func patternSource(units []unit, name func(hole int) string) string {
	var b strings.Builder
	seen := make(map[int]bool)
	for _, u := range units {
		if !u.isHole() {
			if u.lit == '{' || u.lit == '}' {
				b.WriteByte(u.lit)
			}
			b.WriteByte(u.lit)
			continue
		}
		if seen[u.hole] && u.width == 0 {
			b.WriteString("{" + name(u.hole) + "}")
		} else {
			b.WriteString(hole{name(u.hole), u.kind, u.width}.String())
		}
		seen[u.hole] = true
	}
	return b.String()
}
