package template

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// A Group is one row of a folded list.
type Group struct {
	// Name is the name itself when the group has one member. Otherwise it is
	// a template in which the indices that vary stand as sets in braces:
	// "model.layers.{0..4,6..59}.mlp.experts.{0..255}.up_proj.weight".
	// Every combination of the numbers is a member; there are no others.
	Name string
	// Members are the rows of the group, ascending.
	Members []int
}

// Segments cuts the group's name at the dots outside braces.
func (g *Group) Segments() []string {
	var out []string
	depth, start := 0, 0
	for i := range len(g.Name) {
		switch g.Name[i] {
		case '{':
			depth++
		case '}':
			depth = max(0, depth-1)
		case '.':
			if depth == 0 {
				out = append(out, g.Name[start:i])
				start = i + 1
			}
		}
	}
	return append(out, g.Name[start:])
}

// Fold shortens a list of n rows by putting rows together whose keys are equal
// and whose names have the same template, by Counters. A number behind a word, as in
// layer1, counts where there are three, or two that begin with 0: two alone may be the two
// halves of a block. A number that is part of a word, as in b12, counts where [Kinds] says so.
//
// Nothing is summarised away: writing out all combinations of the sets in all
// the groups' names gives back exactly the names of the rows. A layer that
// differs from its neighbours in its key, or that lacks a row, comes out as a
// group of its own. Groups stand in the order of their first members. A name
// that occurs twice, or that contains a brace, is not folded.
//
// row(i) returns the name and the key of row i, where the key is whatever else
// the printed row shows, such as the dtype and the shape.
func Fold(n int, row func(i int) (name, key string)) []Group {
	var (
		families []family
		byForm   = make(map[string]int32, 64)
		form     []byte
		index    []int32
		firsts   = make([]int, n)                                                         // room for the first row of each family
		glued    = gluedIndices(n, func(i int) string { name, _ := row(i); return name }) // nil for none
	)
	for i := range n {
		name, key := row(i)
		// The length of the template tells it from the key.
		form, index = append(form[:0], 0, 0, 0, 0, 0, 0), index[:0]
		var more numberSet
		if glued != nil {
			more = glued[i]
		}
		if strings.IndexByte(name, '{') >= 0 || strings.IndexByte(name, '}') >= 0 {
			form = append(form, name...)
		} else {
			form, index = more.scan(form, index, name)
		}
		binary.LittleEndian.PutUint32(form, uint32(len(form)))
		binary.LittleEndian.PutUint16(form[4:], uint16(more))
		form = append(form, key...)
		f, ok := byForm[string(form)]
		if !ok {
			f = int32(len(families))
			byForm[string(form)] = f
			families = append(families, family{holes: len(index), name: name, glued: more, rows: firsts[i : i : i+1]})
		}
		families[f].rows = append(families[f].rows, i)
		families[f].index = append(families[f].index, index...)
	}
	var groups []Group
	for i := range families {
		if f := &families[i]; len(f.rows) == 1 {
			groups = append(groups, Group{Name: f.name, Members: f.rows})
			continue
		}
		for _, f := range families[i].apart() {
			groups = f.appendGroups(groups, row)
		}
	}
	slices.SortFunc(groups, func(a, b Group) int { return a.Members[0] - b.Members[0] })
	return groups
}

// FoldNames folds a list of names.
func FoldNames(names []string) []Group {
	return Fold(len(names), func(i int) (name, key string) { return names[i], "" })
}

// A Pair is one row of a folded list of names and what they become.
type Pair struct {
	Group
	// To is the template of the new names, "" where they are not all the
	// combinations of sets.
	To string
}

// FoldPairs folds rows as Fold does. Those of a group also have new names that
// are equal but for their numbers.
func FoldPairs(n int, row func(i int) (from, to, key string)) []Pair {
	var buf []byte
	groups := Fold(n, func(i int) (string, string) {
		from, to, key := row(i)
		buf = append(append(Runs.Append(buf[:0], to), 0), key...)
		return from, string(buf)
	})
	pairs := make([]Pair, len(groups))
	for i, g := range groups {
		pairs[i].Group = g
		to := Fold(len(g.Members), func(k int) (string, string) {
			_, to, _ := row(g.Members[k])
			return to, ""
		})
		if len(to) == 1 {
			pairs[i].To = to[0].Name
		}
	}
	return pairs
}

// A family is the rows that share a form and a key.
type family struct {
	name  string // of the first row
	glued numberSet
	holes int // indices in each name
	rows  []int
	index []int32 // of all rows, one row after the other
}

func (f *family) at(row, hole int) int32 { return f.index[row*f.holes+hole] }

// apart returns the family, or several where numbers behind words tell parts apart.
func (f *family) apart() []family {
	var parts []int // the holes of such numbers
	hole := 0
	for start, end := range f.glued.indices(f.name) {
		behind := start > 0 && !Counters.separates(f.name[start-1]) && !Words.fills(f.name, start, end)
		if f.holes > 0 && behind && !f.counts(hole) {
			parts = append(parts, hole)
		}
		hole++
	}
	if parts == nil {
		return []family{*f}
	}
	var (
		families []family
		byParts  = make(map[string]int)
		key      []byte
	)
	for i, r := range f.rows {
		key = key[:0]
		for _, hole := range parts {
			key = binary.LittleEndian.AppendUint32(key, uint32(f.at(i, hole)))
		}
		k, ok := byParts[string(key)]
		if !ok {
			k = len(families)
			byParts[string(key)] = k
			families = append(families, family{name: f.name, glued: f.glued, holes: f.holes})
		}
		families[k].rows = append(families[k].rows, r)
		families[k].index = append(families[k].index, f.index[i*f.holes:(i+1)*f.holes]...)
	}
	return families
}

// counts reports whether the numbers of a hole count something.
func (f *family) counts(hole int) bool {
	first, other := f.at(0, hole), int32(-1)
	for i := range f.rows {
		switch v := f.at(i, hole); {
		case v == first || v == other:
		case other >= 0:
			return true // a third
		default:
			other = v
		}
	}
	return other < 0 || min(first, other) == 0
}

// appendGroups covers the family with products of index sets.
func (f *family) appendGroups(groups []Group, row func(i int) (name, key string)) []Group {
	if f.holes == 0 {
		for i := range f.rows {
			groups = append(groups, Group{Name: f.name, Members: f.rows[i : i+1 : i+1]})
		}
		return groups
	}
	order := make([]int, len(f.rows))
	for i := range order {
		order[i] = i
	}
	if !slices.IsSortedFunc(order, f.compare) {
		slices.SortStableFunc(order, f.compare)
	}
	distinct := order[:0]
	for i, r := range order {
		if i == 0 || f.compare(r, distinct[len(distinct)-1]) != 0 {
			distinct = append(distinct, r)
			continue
		}
		name, _ := row(f.rows[r])
		groups = append(groups, Group{Name: name, Members: []int{f.rows[r]}})
	}
	for _, p := range f.products(distinct, 0) {
		g := Group{Members: make([]int, len(p.rows))}
		for i, r := range p.rows {
			g.Members[i] = f.rows[r]
		}
		slices.Sort(g.Members)
		name, _ := row(g.Members[0])
		if len(p.rows) > 1 {
			name = f.glued.fill(name, p.sets)
		}
		g.Name = name
		groups = append(groups, g)
	}
	return groups
}

func (f *family) compare(a, b int) int {
	return slices.Compare(f.index[a*f.holes:(a+1)*f.holes], f.index[b*f.holes:(b+1)*f.holes])
}

// A product is a set of rows whose indices are all the combinations of sets.
type product struct {
	sets []string // one for each hole from some hole on
	rows []int
}

// products covers the rows, which are distinct, sorted and equal in the holes
// before hole, with as few products as one pass finds: values of this hole
// below which everything is alike share theirs.
func (f *family) products(order []int, hole int) []product {
	if hole == f.holes {
		return []product{{rows: slices.Clip(order)}}
	}
	type branch struct {
		below  []product
		values []int32
	}
	var branches []branch
	bySets := make(map[string]int)
	var sets []byte
	for len(order) > 0 {
		v := f.at(order[0], hole)
		end := 1
		for end < len(order) && f.at(order[end], hole) == v {
			end++
		}
		below := f.products(order[:end], hole+1)
		order = order[end:]
		sets = sets[:0]
		for _, p := range below {
			for _, s := range p.sets {
				sets = append(append(sets, s...), ' ')
			}
			sets = append(sets, ';')
		}
		b, ok := bySets[string(sets)]
		if !ok {
			b = len(branches)
			bySets[string(sets)] = b
			branches = append(branches, branch{below: below})
		} else {
			for i := range below {
				p := &branches[b].below[i]
				p.rows = append(p.rows, below[i].rows...)
			}
		}
		branches[b].values = append(branches[b].values, v)
	}
	var all []product
	for _, b := range branches {
		set := formatSet(b.values)
		for _, p := range b.below {
			all = append(all, product{append([]string{set}, p.sets...), p.rows})
		}
	}
	return all
}

// formatSet writes ascending numbers: "7" for one, "{0..4,6..59}" for more.
func formatSet(values []int32) string {
	if len(values) == 1 {
		return strconv.Itoa(int(values[0]))
	}
	b := []byte{'{'}
	for i := 0; i < len(values); {
		end := i + 1
		for end < len(values) && values[end] == values[end-1]+1 {
			end++
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(values[i]), 10)
		if end > i+1 {
			b = append(b, '.', '.')
			b = strconv.AppendInt(b, int64(values[end-1]), 10)
		}
		i = end
	}
	return string(append(b, '}'))
}
