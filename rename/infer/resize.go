package infer

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A model of another size has the same modules in more layers or fewer, and of another width. The map is
// to the names that it would have in A's size, and its layers are compared with those of A that they are.

// A sizing is how B was made a model of A's size.
type sizing struct {
	differ string // in what they differ
	text   string // and what of them was compared
	// names are those that B's tensors have by those that they were given, of all that can be compared. It is
	// nil where they have their own.
	names map[string]string
}

// A sized Content has B's weights under the names of a model of another size.
type sized struct {
	Content
	names map[string]string
}

func (c *sized) Alike(ctx context.Context, pairs []Pair) ([]Likeness, error) {
	list := slices.Clone(pairs)
	for i := range list {
		list[i].B = c.names[list[i].B]
	}
	return c.Content.Alike(ctx, list)
}

func (c *sized) Layouts(ctx context.Context, a, b []string, ways [][]tensorop.Op) ([]float64, error) {
	list := make([]string, len(b))
	for i := range b {
		list[i] = c.names[b[i]]
	}
	return c.Content.Layouts(ctx, a, list, ways)
}

// mostResized bounds the tensors of a model that is made of another size: Kimi K2 has some 70,000, and files
// may say anything.
const mostResized = 200000

// resized is the inference to B as a model of A's size, nil where both are of one size, or where B does not
// show what another would be called.
func (x *inference) resized() (*inference, error) {
	text := x.otherSize()
	if text == "" {
		return x.revocabularied()
	}
	stackA, stackB := blocksOf(x.a.modules), blocksOf(x.b.modules)
	if len(stackA) == 0 || len(stackB) == 0 {
		return nil, nil
	}
	from, to := sizesOf(nil, x.b.modules), sizesOf(nil, x.a.modules)
	stem, layers := stackB[0].Stem[0], [2]int{stackB[0].Count, stackA[0].Count}
	wide := from.hidden != to.hidden
	inv := &Inventory{Model: x.b.model}
	if wide && inv.Model != nil { // its numbers are those of the other size
		m := *inv.Model
		m.Documents, inv.Model = nil, &m
	}
	for _, m := range x.b.modules {
		rows := [][]int32{nil}
		if m.Holes() > 0 {
			rows = make([][]int32, m.Count)
			for k := range rows {
				rows[k] = m.Index[k*m.Holes() : (k+1)*m.Holes()]
			}
			if m.Stem[0] == stem {
				var ok bool
				if rows, ok = relayered(m, layers); !ok {
					return nil, nil
				}
				if len(inv.Tensors)+len(rows)*len(m.Leaves) > mostResized {
					return nil, nil
				}
			}
		} else if before, n, _, ok := template.Layer(m.Stem[0]); ok && before == stem && n >= min(layers[0], layers[1]) {
			return nil, nil // what stands behind the layers under the next number
		}
		for l := range m.Leaves {
			leaf := &m.Leaves[l]
			shape := x.b.tensors[leaf.Tensors[0]].Shape
			if m.Shapes != nil {
				shape = nil
			} else if wide {
				shape = from.resize(shape, to)
			}
			for _, row := range rows {
				inv.Tensors = append(inv.Tensors, convention.Named{Name: m.LeafAt(row, l), Shape: shape, DType: x.b.tensors[leaf.Tensors[0]].DType})
			}
		}
	}
	y, err := newInference(x.ctx, &Inventory{Tensors: x.a.tensors, Model: x.a.model}, inv, x.opt)
	if err != nil {
		return nil, x.ctx.Err() // numbers that mean something else
	}
	y.sizing = &sizing{differ: text, text: text}
	for _, m := range y.b.modules {
		m.Soft = wide
	}
	if wide {
		y.opt.Content, y.sizing.text = nil, text+"; shapes were taken from one size to the other, and no weights compared"
	} else if y.opt.Content != nil {
		err = y.align(x.b.names(), stem, layers[0])
	}
	return y, err
}

// revocabularied is the inference to B with as many tokens as A has, nil where it has as many or where names
// say which table is which, so that it is asked whether one is padded.
func (x *inference) revocabularied() (*inference, error) {
	a, b := sizesOf(nil, x.a.modules), sizesOf(nil, x.b.modules)
	if a.vocab == b.vocab || a.vocab == 0 || b.vocab == 0 {
		return nil, nil
	}
	for _, m := range x.a.modules {
		if slices.ContainsFunc(x.b.modules, func(n *match.Module) bool { _, ok := padding(m, n); return ok }) {
			return nil, nil
		}
	}
	inv := &Inventory{Tensors: slices.Clone(x.b.tensors), Model: x.b.model, Ordered: x.ordered}
	for _, m := range x.b.modules {
		if table := []uint64{b.vocab, b.hidden}; m.Holes() == 0 && slices.Equal(m.Shape, table) {
			for _, t := range m.Leaves[0].Tensors {
				inv.Tensors[t].Shape = []uint64{a.vocab, b.hidden}
			}
		}
	}
	y, err := newInference(x.ctx, &Inventory{Tensors: x.a.tensors, Model: x.a.model, Ordered: x.ordered}, inv, x.opt)
	if err != nil {
		return nil, err
	}
	text := fmt.Sprintf("the vocabulary of one has %d tokens and that of the other %d", a.vocab, b.vocab)
	y.sizing = &sizing{differ: text, text: text + "; the map is of names, and changes the rows of none"}
	return y, nil
}

// relayered are the indices that a module of a model has that has other layers, of how many and to how many.
// What is in the first ones, or from one on, is so in the other as well.
func relayered(m *match.Module, layers [2]int) ([][]int32, bool) {
	h := m.Holes()
	if m.Count == 0 {
		return nil, false
	}
	if layers[1] > mostResized {
		return nil, false
	}
	var inner [][]int32 // indices behind the layer's
	first, last := m.Index[0], m.Index[0]
	for k := range m.Count {
		row := m.Index[k*h : (k+1)*h]
		if row[0] == first {
			inner = append(inner, row[1:])
		}
		if row[0] > last+1 {
			return nil, false
		}
		last = row[0]
	}
	if int(last-first+1)*len(inner) != m.Count {
		return nil, false
	}
	if len(inner) > mostResized/max(1, layers[1]) {
		return nil, false
	}
	end := min(int(last)+1, layers[1])
	if int(last)+1 == layers[0] {
		end = layers[1]
	}
	var out [][]int32
	for l := int(first); l < end; l++ {
		for _, rest := range inner {
			out = append(out, append([]int32{int32(l)}, rest...))
		}
	}
	return out, true
}

// resize gives a shape the lengths that its axes have in a model of another size, nil where it is not known
// which of several that is.
func (s *sizes) resize(shape []uint64, to *sizes) []uint64 {
	out := slices.Clone(shape)
	for i, n := range shape {
		other := make(map[uint64]bool)
		add := func(from, to uint64) {
			if from == n && to > 0 {
				other[to] = true
			}
		}
		for _, of := range []convention.Size{
			convention.Vocabulary, convention.Hidden, convention.Query, convention.KeyValue, convention.Head,
			convention.Inner, convention.Experts, convention.ExpertInner, convention.SharedInner,
		} {
			add(s.of(of), to.of(of))
		}
		add(2*s.inner, 2*to.inner)
		add(s.query+2*s.kv, to.query+2*to.kv)
		switch len(other) {
		case 0: // it is of no size, and the same in both
		case 1:
			out[i] = slices.Collect(maps.Keys(other))[0]
		default:
			return nil
		}
	}
	return out
}

// mostAligned is how many modules are tried until one shows which layers are which.
const mostAligned = 8

// align finds which layer of B each of A's is, and with which of its tensors those of A are compared. The
// layers of a part of a model are some of its own; where nothing is alike, they are taken to be the first.
func (x *inference) align(names []string, stem string, layers int) error {
	has := make(map[string]bool, len(names))
	for _, n := range names {
		has[n] = true
	}
	depth := blocksOf(x.a.modules)[0].Count
	x.sizing.names = make(map[string]string)
	at := make([]int, depth) // of A's layers, -1 of one that B has not
	for l := range at {
		if at[l] = l; l >= layers {
			at[l] = -1
		}
	}
	if !x.opt.Sampled && layers <= mostStrays {
		found, err := x.layersOf(stem, layers, has)
		if err != nil {
			return err
		}
		if found != nil {
			at = found
		}
	}
	for j, m := range x.b.modules {
		for l := range m.Leaves {
			for k := range m.Count {
				row := slices.Clone(m.Index[k*m.Holes() : (k+1)*m.Holes()])
				if m.Holes() > 0 && m.Stem[0] == stem {
					if row[0] = int32(at[row[0]]); row[0] < 0 {
						continue
					}
				}
				if name := m.LeafAt(row, l); has[name] {
					x.sizing.names[x.nameOf(&x.b, j, l, k)] = name
				}
			}
		}
	}
	x.opt.Content = &sized{x.opt.Content, x.sizing.names}
	x.sizing.describe(at)
	return nil
}

// layersOf are the layers of B by those of A, as one module shows them; nil where none does.
func (x *inference) layersOf(stem string, layers int, has map[string]bool) ([]int, error) {
	type candidate struct{ i, j int }
	var list []candidate
	rivals := make(map[int]int)
	for i, m := range x.a.modules {
		for j, n := range x.b.modules {
			if m.Holes() == 1 && n.Stem[0] == stem && len(m.Shape) > 1 && slices.Equal(m.Shape, n.Shape) && comparable(m, n) && has[n.NameAt([]int32{0}, n.Leaves[0].Name)] {
				list = append(list, candidate{i, j})
				rivals[i]++
			}
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int { return rivals[a.i] - rivals[b.i] })
	for _, c := range list[:min(mostAligned, len(list))] {
		depth, n := x.a.modules[c.i].Count, x.b.modules[c.j]
		at := slices.Repeat([]int{-1}, depth)
		find := func(members []int) (found int, err error) {
			var pairs []Pair
			for _, k := range members {
				for l := range layers {
					pairs = append(pairs, Pair{x.a.name(c.i, k), n.NameAt([]int32{int32(l)}, n.Leaves[0].Name)})
				}
			}
			alike, err := x.opt.Content.Alike(x.ctx, pairs)
			if err != nil {
				return 0, err
			}
			for s, k := range members {
				best, most := -1, float64(contradicts)
				for l := range layers {
					switch one := &alike[s*layers+l]; {
					case one.Equal && one.Informative:
						if most < math.Inf(1) {
							best, most = l, math.Inf(1)
						}
					case one.Z >= most:
						best, most = l, one.Z
					}
				}
				if at[k] = best; best >= 0 {
					found++
				}
			}
			return found, nil
		}
		if found, err := find(sampled(depth)); err != nil || found == 0 {
			if err != nil {
				return nil, err
			}
			continue
		}
		found, err := find(spread(depth))
		if err != nil {
			return nil, err
		}
		if 2*found >= min(depth, layers) {
			return at, nil
		}
	}
	return nil, nil
}

// describe says which layers were compared with which.
func (s *sizing) describe(at []int) {
	var others []string
	compared := 0
	for l, to := range at {
		if to >= 0 {
			compared++
		}
		if to >= 0 && to != l {
			others = append(others, fmt.Sprintf("layer %d with layer %d there", l, to))
		}
	}
	s.text += fmt.Sprintf("; %d of its %d layers were compared", compared, len(at))
	if len(others) > 0 {
		s.text += ", " + some(others, "and")
	}
}

// ownLayers reports whether each layer is compared with the one that it is, and is no stray in another.
func (x *inference) ownLayers() bool { return x.sizing != nil && x.sizing.names != nil }

// members are those of a module of B that have weights to compare with.
func (x *inference) members(j int) []int {
	n := x.b.modules[j].Count
	out := make([]int, 0, n)
	for k := range n {
		if !x.ownLayers() || x.sizing.names[x.b.name(j, k)] != "" {
			out = append(out, k)
		}
	}
	return out
}

// compares reports whether tensors of B have weights to compare with.
func (x *inference) compares(names []string) bool {
	return !x.ownLayers() || !slices.ContainsFunc(names, func(n string) bool { return x.sizing.names[n] == "" })
}

// unsized says why a model of another size is none of the same names: what one has the other has to have,
// since shapes that were taken from one size to the other fit more than those that were read.
func (x *inference) unsized(found []finding) string {
	var usedA, usedB []int
	norms := 0
	for i := range found {
		f := &found[i]
		usedA, usedB = append(usedA, f.A...), append(usedB, f.B...)
		a, b := x.a.modules[f.A[0]], x.b.modules[f.B[0]]
		biased := func(m *match.Module) bool {
			return slices.ContainsFunc(m.Leaves, func(l match.Leaf) bool { return l.IsBias() })
		}
		if len(a.Shape) == 1 && biased(a) != biased(b) {
			norms++
		}
	}
	left := func(h *half, used []int) []string { // but for a head that may be tied
		return h.patterns(slices.DeleteFunc(except(h.needed(), used), func(i int) bool { return only(h.modules[i], "head") }))
	}
	var why []string
	if list := left(&x.b, usedB); len(list) > 0 {
		why = append(why, "nothing in it becomes "+some(list, "or"))
	}
	if list := left(&x.a, usedA); len(list) > 0 {
		why = append(why, "the other has nothing like "+some(list, "or"))
	}
	if norms > 0 {
		why = append(why, "the normalisations of one have biases, and those of the other have none")
	}
	if end := x.wrongEnd(found); end != "" {
		why = append(why, end)
	}
	return strings.Join(why, "; ")
}
