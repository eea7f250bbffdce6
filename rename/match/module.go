package match

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Tensor is what is known of a tensor beside its bytes.
type Tensor struct {
	Name  string
	Shape []uint64 // the slowest dimension first; nil when unknown
	DType string   // "" when unknown
}

// A Module is the tensors that make one layer of a model, in every block that has it.
type Module struct {
	// Stem is the name without its leaf, cut at its indices: "model.layers.",
	// ".mlp.up_proj".
	Stem   []string
	Leaves []Leaf // the main one first
	// Index are the indices of the members, counted from First, the least of their axis.
	Index []int32
	First []int32
	Pad   []int // how many digits each index has at least
	Count int   // of members
	// Shape is that of the main leaf, nil where it is unknown. Where members differ in
	// shape, it is that of the first, and Shapes has them all.
	Shape  []uint64
	Shapes [][]uint64
	// Axes is how many axes the shape has where only that is known, 0 where it is not.
	Axes int
	// Packed modules are stored in fewer elements than they have, so that the shape is not
	// that of the weight.
	Packed bool
	// Soft shapes are worked out, not read: another one is unlikely, and not impossible.
	Soft bool
	// Optional modules need no counterpart.
	Optional bool
	// AnyLeaf modules may have leaves that are not listed: a bias.
	AnyLeaf bool
	Meaning Meaning
	// Role is what a convention calls it, "" where that is not known. Two of one role are
	// one module, whatever their names.
	Role string
	// Lone is set of names with a number and no other beside them: ln1 without ln2.
	Lone bool
	// fromZero is set of names that are numbered from 0 beside others.
	fromZero bool
	// straight is set where biases show that matrices have their outputs first, whatever they are called.
	straight bool
	// lone is set of a leaf that is a module of its own.
	lone  bool
	order int // of its first tensor
}

// A Leaf is one tensor of a module.
type Leaf struct {
	// Name is what follows the stem, with what joins it: ".weight", "_scales".
	Name string
	// Stem is set where the names have one of their own and no leaf: b_q beside w_q.
	Stem []string
	// Tensors are the rows of the members in the inventory.
	Tensors []int
	own     ownLeaf
	// shape is that of all of them, nil where it is unknown or where they differ.
	shape []uint64
}

// Holes is how many indices its names have.
func (m *Module) Holes() int { return len(m.Stem) - 1 }

// String writes the stem with {} for each index.
func (m *Module) String() string { return strings.Join(m.Stem, "{}") }

// Template writes the template of a leaf's names.
func (m *Module) Template(leaf int) string {
	if l := &m.Leaves[leaf]; l.Stem != nil {
		return strings.Join(l.Stem, "{}")
	}
	return m.String() + m.Leaves[leaf].Name
}

// Name writes the name of a member's leaf.
func (m *Module) Name(member int, leaf string) string { return m.NameAt(m.row(member), leaf) }

// NameAt writes the name that a leaf has at some indices, counted from First.
func (m *Module) NameAt(row []int32, leaf string) string { return m.numbered(m.Stem, row) + leaf }

// LeafAt writes the name that one of its leaves has at some indices.
func (m *Module) LeafAt(row []int32, leaf int) string {
	if l := &m.Leaves[leaf]; l.Stem != nil {
		return m.numbered(l.Stem, row)
	}
	return m.NameAt(row, m.Leaves[leaf].Name)
}

func (m *Module) numbered(stem []string, row []int32) string {
	var b strings.Builder
	for h, text := range stem {
		b.WriteString(text)
		if h < m.Holes() {
			fmt.Fprintf(&b, "%0*d", m.Pad[h], row[h]+m.First[h])
		}
	}
	return b.String()
}

// Has reports whether the module has a leaf.
func (m *Module) Has(leaf string) bool {
	return slices.ContainsFunc(m.Leaves, func(l Leaf) bool { return l.Name == leaf })
}

// row is the index of a member.
func (m *Module) row(i int) []int32 { return m.Index[i*m.Holes() : (i+1)*m.Holes()] }

// Limits of an inventory. The largest model that is known has some 400 modules; with
// every block under names of its own, a UNet has 700.
const (
	MaxModules = 2000
	maxName    = 1 << 12
)

// Modules puts the tensors of a checkpoint together. It refuses what is no model.
func Modules(tensors []Tensor) ([]*Module, error) { return modulesOf(tensors, template.Kinds, true) }

func modulesOf(tensors []Tensor, kindsOf func(n int, name func(i int) string) []template.Kind, siblings bool) ([]*Module, error) {
	for i := range tensors {
		if len(tensors[i].Name) > maxName {
			return nil, fmt.Errorf("a name has %d bytes, and no tensor's has more than %d: %.40q…", len(tensors[i].Name), maxName, tensors[i].Name)
		}
	}
	kinds := kindsOf(len(tensors), func(i int) string { return tensors[i].Name })
	kinds = apart(kinds, tensors, siblings)
	if len(kinds) > 4*MaxModules {
		return nil, fmt.Errorf("there are %d templates of names, and no model has more than %d", len(kinds), 4*MaxModules)
	}
	ends, first := make(map[string]bool), make(map[string]int)
	for i := range kinds {
		name := kinds[i].String()
		ends[name], first[name] = true, kinds[i].Members[0]
	}
	axes := func(name string) int { return len(tensors[first[name]].Shape) }
	var list []*Module
	byStem := make(map[string]*Module)
	add := func(k *template.Kind, stem []string, leaf Leaf) {
		index := make([]int32, len(k.Index))
		for j, n := range k.Index {
			index[j] = n - k.First[j%k.Holes()]
		}
		// A bias that other blocks have than the weight is a module of its own.
		key := func(stem []string) string {
			return fmt.Sprint(strings.Join(stem, "{}"), "\x00", len(k.Members), hashOf(index))
		}
		m := byStem[key(stem)]
		if m == nil {
			if leaf.Stem != nil {
				stem, leaf = leaf.Stem, Leaf{Tensors: leaf.Tensors}
			}
			m = &Module{Stem: stem, Index: index, First: k.First, Pad: k.Pad, Count: len(k.Members), order: slices.Min(k.Members)}
			byStem[key(stem)] = m
			list = append(list, m)
		}
		m.Leaves = append(m.Leaves, leaf)
	}
	own := ownLeaves(kinds, ends, axes)
	weights := make(map[int][]string) // of biases beside them
	for i := range kinds {
		k := &kinds[i]
		if weight := biasOf(k, ends, axes); siblings && weight != nil {
			weights[i] = weight
			continue
		}
		stem, leaf := cutLeaf(k, ends)
		if leaf == "" {
			leaf = cutOwn(stem, own)
		}
		add(k, stem, Leaf{Name: leaf, Tensors: k.Members, own: own[leaf]})
	}
	for _, i := range slices.Sorted(maps.Keys(weights)) {
		add(&kinds[i], weights[i], Leaf{Name: ".bias", Stem: kinds[i].Text, Tensors: kinds[i].Members})
	}
	if len(list) > MaxModules {
		return nil, fmt.Errorf("there are %d modules, and no model has more than %d", len(list), MaxModules)
	}
	for _, m := range list {
		m.settle(tensors)
	}
	// The order of the files is evidence only where it is the writer's.
	slices.SortFunc(list, func(a, b *Module) int {
		return cmp.Or(template.Compare(a.String(), b.String()), cmp.Compare(a.Count, b.Count), cmp.Compare(a.order, b.order))
	})
	if slices.ContainsFunc(list, (*Module).rowsFirst) {
		for _, m := range list {
			m.straight = true
		}
	}
	understand(list)
	return list, nil
}

// apart takes kinds apart by numbers that tell modules apart: linear_0 and linear_1 of a block are two
// projections, and no two of one kind. Such numbers tell shapes apart, or they are two or three behind a
// word that counts nothing, and nothing but a leaf follows them: siblings.
func apart(kinds []template.Kind, tensors []Tensor, siblings bool) []template.Kind {
	const most = 4  // numbers; blocks of a network that narrows have shapes of their own as well
	const alone = 3 // of one shape; MusicGen has four codebooks
	before := func(k *template.Kind, hole int) string { return strings.Join(k.Text[:hole+1], "{}") }
	layers := layersOf(kinds)
	places := make(map[string]bool)
	for i := range kinds {
		k := &kinds[i]
		for h := range k.Holes() {
			if template.Counts(k.Text[h]) != "" {
				continue
			}
			shapes := make(map[int32][]uint64)
			uniform, differ, ranks := true, false, false
			for j, m := range k.Members {
				n, s := k.Index[j*k.Holes()+h], tensors[m].Shape
				ranks = ranks || len(s) != len(tensors[k.Members[0]].Shape)
				if known, ok := shapes[n]; ok {
					uniform = uniform && slices.Equal(s, known)
				} else {
					differ = differ || j > 0 && !slices.Equal(s, tensors[k.Members[0]].Shape)
					shapes[n] = s
				}
			}
			ends := h == k.Holes()-1 && strings.LastIndexAny(k.Text[h+1], "./") <= 0
			alike := ends && siblings && len(shapes) > 1 && len(shapes) <= alone
			switch {
			case h > 0 && (uniform && differ && len(shapes) <= most || alike),
				h == 0 && layers > 0 && len(shapes) != layers && (siblings && ends && ranks || alike):
				places[before(k, h)] = true
			}
		}
	}
	if len(places) == 0 {
		return kinds
	}
	var out []template.Kind
	for i := range kinds {
		k := &kinds[i]
		h := 0
		for h < k.Holes() && !places[before(k, h)] {
			h++
		}
		if h >= k.Holes() {
			out = append(out, *k)
			continue
		}
		out = append(out, apart(k.By(h), tensors, siblings)...)
	}
	return out
}

// layersOf is how many numbers most kinds have for their first index, 0 where there are none.
func layersOf(kinds []template.Kind) int {
	most, layers := 0, 0
	having := make(map[int]int)
	for i := range kinds {
		k := &kinds[i]
		if k.Holes() == 0 {
			continue
		}
		numbers := make(map[int32]bool)
		for j := range k.Members {
			numbers[k.Index[j*k.Holes()]] = true
		}
		n := len(numbers)
		if having[n]++; having[n] > most || having[n] == most && n > layers {
			most, layers = having[n], n
		}
	}
	return layers
}

// hashOf is FNV-1a over indices.
func hashOf(index []int32) uint64 {
	h := uint64(14695981039346656037)
	for _, n := range index {
		h = (h ^ uint64(uint32(n))) * 1099511628211
	}
	return h
}

// settle puts the main leaf first and takes the shape from it.
func (m *Module) settle(tensors []Tensor) {
	slices.SortStableFunc(m.Leaves, func(a, b Leaf) int { return leafRank(&a) - leafRank(&b) })
	for i := range m.Leaves {
		l := &m.Leaves[i]
		l.shape = tensors[l.Tensors[0]].Shape
		if slices.ContainsFunc(l.Tensors, func(t int) bool { return !slices.Equal(tensors[t].Shape, l.shape) }) {
			l.shape = nil
		}
	}
	main := m.Leaves[0].Tensors
	m.Packed = m.Leaves[0].isPacked()
	if m.Packed && m.Leaves[0].isWeight() {
		m.Packed = false
	}
	for _, t := range main {
		if m.Shape == nil { // that of a shard that is missing is not known
			m.Shape = tensors[t].Shape
		}
	}
	for _, t := range main {
		if s := tensors[t].Shape; s != nil && !slices.Equal(s, m.Shape) {
			for _, t := range main {
				m.Shapes = append(m.Shapes, tensors[t].Shape)
			}
			break
		}
	}
}
