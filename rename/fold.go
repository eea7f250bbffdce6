package rename

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
)

// A Group is one row of a folded list.
type Group struct {
	// Name is the name itself when the group has one member. Otherwise it is
	// a template in which the numbers that vary stand as sets in braces:
	// "model.layers.{0..4,6..59}.mlp.experts.{0..255}.up_proj.weight".
	// Every combination of the numbers is a member; there are no others.
	Name string
	// Members are the rows of the group, ascending.
	Members []int
}

// Fold shortens a list of n rows by putting rows together whose keys are equal
// and whose names differ only in their indices. An index is a decimal number
// without leading zeros that makes up a whole segment between the characters
// '.', '_', '/' and '-' or the ends of the name: the 11 of "h.11.ln_1.weight"
// is one, the 1 of "w1.weight" is not.
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
		index    []uint64
	)
	for i := range n {
		name, key := row(i)
		// The number of indices says which marks are indices, and which one
		// separates the key.
		form, index = appendForm(append(form[:0], 0, 0, 0, 0), index[:0], name)
		binary.LittleEndian.PutUint32(form, uint32(len(index)))
		form = append(append(form, holeMark), key...)
		f, ok := byForm[string(form)]
		if !ok {
			f = int32(len(families))
			byForm[string(form)] = f
			families = append(families, family{holes: len(index), name: name})
		}
		families[f].rows = append(families[f].rows, i)
		families[f].index = append(families[f].index, index...)
	}
	var groups []Group
	for i := range families {
		groups = families[i].appendGroups(groups, row)
	}
	slices.SortFunc(groups, func(a, b Group) int { return a.Members[0] - b.Members[0] })
	return groups
}

// holeMark stands for an index in the form of a name. A name that contains it
// is never taken apart.
const holeMark = 0

// appendForm appends the name with its indices replaced by marks to form, and
// the indices to index. A name that must not be folded is its own form.
func appendForm(form []byte, index []uint64, name string) ([]byte, []uint64) {
	form0, index0 := len(form), len(index)
	copied := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '{' || c == '}' || c == holeMark:
			return append(form[:form0], name...), index[:index0]
		case isDigit(c) && (i == 0 || isSeparator(name[i-1])):
			end := digitsEnd(name, i)
			if (end == len(name) || isSeparator(name[end])) && (c != '0' || end == i+1) && end-i <= 18 {
				var v uint64
				for _, d := range []byte(name[i:end]) {
					v = v*10 + uint64(d-'0')
				}
				form = append(append(form, name[copied:i]...), holeMark)
				index = append(index, v)
				copied = end
			}
			i = end - 1
		}
	}
	return append(form, name[copied:]...), index
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isSeparator(c byte) bool { return c == '.' || c == '_' || c == '/' || c == '-' }

// digitsEnd returns the end of the run of digits that begins at s[i].
func digitsEnd(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

// A family is the rows that share a form and a key.
type family struct {
	name  string // of the first row
	holes int    // indices in each name
	rows  []int
	index []uint64 // of all rows, one row after the other
}

func (f *family) at(row, hole int) uint64 { return f.index[row*f.holes+hole] }

// appendGroups covers the family with products of index sets.
func (f *family) appendGroups(groups []Group, row func(i int) (name, key string)) []Group {
	if f.holes == 0 {
		for _, r := range f.rows {
			groups = append(groups, Group{Name: f.name, Members: []int{r}})
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
			name = f.template(name, p.sets)
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
		values []uint64
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
func formatSet(values []uint64) string {
	if len(values) == 1 {
		return strconv.FormatUint(values[0], 10)
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
		b = strconv.AppendUint(b, values[i], 10)
		if end > i+1 {
			b = append(b, '.', '.')
			b = strconv.AppendUint(b, values[end-1], 10)
		}
		i = end
	}
	return string(append(b, '}'))
}

// template puts the sets in the place of the indices of a name of the family.
func (f *family) template(name string, sets []string) string {
	form, _ := appendForm(nil, nil, name)
	var b strings.Builder
	for _, c := range form {
		if c == holeMark {
			b.WriteString(sets[0])
			sets = sets[1:]
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
