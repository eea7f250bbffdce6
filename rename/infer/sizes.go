package infer

import (
	"cmp"
	"maps"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/match"
)

// sizes are the numbers that the shapes of a language model are made of, 0 where they are
// not known.
type sizes struct {
	vocab, hidden   uint64
	query, kv, head uint64 // rows of the query and of the key projection, and of one head
	inner           uint64 // rows of the MLP's up projection
	experts, ofOne  uint64 // how many experts, and the rows of the up projection of one
	shared          uint64 // rows of that of the shared expert
	layers          int
	// withExperts says which layers have experts, where not all do.
	withExperts map[int]bool
}

// of returns one of the sizes.
func (s *sizes) of(size convention.Size) uint64 {
	return map[convention.Size]uint64{
		convention.Vocabulary: s.vocab, convention.Hidden: s.hidden, convention.Query: s.query, convention.KeyValue: s.kv, convention.Head: s.head,
		convention.Inner: s.inner, convention.Experts: s.experts, convention.ExpertInner: s.ofOne, convention.SharedInner: s.shared,
	}[size]
}

// shape is that of a role's tensor in a convention, nil where it is not known.
func (s *sizes) shape(c *convention.Convention, t *convention.Tensor) []uint64 {
	var shape []uint64
	for _, axis := range c.Axes(t) {
		n := axis.Length(s.of)
		if n == 0 {
			return nil
		}
		shape = append(shape, n)
	}
	return shape
}

// sizesOf finds the numbers of a model: in its configuration, and otherwise in the shapes
// of its modules, whatever they are called.
func sizesOf(m *convention.Model, modules []*match.Module) *sizes {
	s := new(sizes)
	s.vocab, s.hidden, s.inner = m.Size(convention.Vocabulary), m.Size(convention.Hidden), m.Size(convention.Inner)
	s.query, s.kv, s.head = m.Size(convention.Query), m.Size(convention.KeyValue), m.Size(convention.Head)
	s.experts, s.ofOne = m.Size(convention.Experts), m.Size(convention.ExpertInner)
	layers, _ := m.Number("num_hidden_layers")
	s.layers = int(min(max(layers, 0), math.MaxInt32))
	s.measure(modules)
	return s
}

// measure fills in what no configuration says.
func (s *sizes) measure(modules []*match.Module) {
	blocks := blocksOf(modules)
	if len(blocks) == 0 {
		return
	}
	s.layers = cmp.Or(s.layers, blocks[0].Count)
	// The hidden width is the length of normalisations that most matrices of a block have on one
	// side: those of heads are as many, but no matrix has their length.
	fed, commonest := make(map[uint64]int), uint64(0)
	for _, v := range blocks {
		if len(v.Shape) != 1 {
			continue
		}
		n := v.Shape[0]
		if fed[n] == 0 {
			fed[n] = 1
			for _, m := range blocks {
				if len(m.Shape) > 1 && slices.Contains(m.Shape, n) {
					fed[n] += 2 * len(blocks)
				}
			}
		}
		if fed[n]++; fed[n] > fed[commonest] || fed[n] == fed[commonest] && n > commonest {
			commonest = n
		}
	}
	if s.hidden = cmp.Or(s.hidden, between(modules, fed), commonest); s.hidden == 0 {
		return
	}
	in := make(map[uint64]int) // how many modules are [x, hidden]
	var out []uint64           // the other axes of [hidden, x]
	squares := 0
	turned := s.turned(blocks)
	for _, m := range blocks {
		if len(m.Shape) != 2 || m.Packed || m.Meaning.Sub != "" {
			continue
		}
		rows, cols := m.Shape[0], m.Shape[1]
		if turned {
			rows, cols = cols, rows
		}
		switch {
		case rows == s.hidden && cols == s.hidden:
			squares++
		case cols == s.hidden:
			in[rows]++
		case rows == s.hidden:
			out = append(out, cols)
		}
	}
	rows := uint64(0)    // of the largest matrix outside the blocks
	dense := uint64(0)   // columns of the largest of a layer that is unlike the others
	stacked := uint64(0) // rows of the up projection of one expert, where one tensor has those of all; it may hold the gates as well
	for _, m := range modules {
		if m.Holes() == 0 && len(m.Shape) == 2 && m.Shape[1] == s.hidden && m.Shape[0] > rows {
			rows = m.Shape[0]
		}
		// Experts are a second index, or a first axis.
		switch {
		case m.Holes() == 2 && len(m.Shape) == 2:
			experts := 0
			for i := 1; i < len(m.Index); i += 2 {
				experts = max(experts, int(m.Index[i])+1)
			}
			s.experts = cmp.Or(s.experts, uint64(experts))
			s.hasExperts(m)
			if m.Shape[0] == s.hidden {
				s.ofOne = cmp.Or(s.ofOne, m.Shape[1])
			}
		case m.Holes() == 1 && len(m.Shape) == 3 && (m.Shape[1] == s.hidden || m.Shape[2] == s.hidden):
			inner := m.Shape[2]
			if inner == s.hidden {
				inner = m.Shape[1]
			}
			s.experts = cmp.Or(s.experts, m.Shape[0])
			stacked = min(cmp.Or(stacked, inner), inner)
			s.hasExperts(m)
		case m.Holes() == 0 && len(m.Shape) == 2 && m.Shape[0] == s.hidden:
			// The first layers of a mixture of experts may be dense.
			if before, _ := m.Block(); before == blocks[0].Stem[0] && m.Shape[1] > dense {
				dense = m.Shape[1]
			}
		}
	}
	s.ofOne = cmp.Or(s.ofOne, stacked)
	if s.experts > 0 {
		s.inner = cmp.Or(dense, s.inner)
	}
	// Releases pad the vocabulary, and say what it was before.
	s.vocab = cmp.Or(rows, s.vocab)
	if s.experts > 0 && s.ofOne == 0 {
		s.ofOne = s.inner
	}
	slices.Sort(out)
	if !slices.Contains(out, s.inner) && s.experts == 0 && len(out) > 0 {
		s.inner = out[len(out)-1] // Qwen 1 says twice as much in its configuration
	}
	if s.query == 0 {
		// The query projection has as many rows as the output has columns, or more where it
		// holds key and value.
		most := uint64(0)
		for n := range in {
			if n != s.inner && n != 2*s.inner {
				most = max(most, n)
			}
		}
		for _, n := range out {
			if n != s.inner && n <= most {
				s.query = n
			}
		}
		if s.query == 0 && squares > 0 {
			s.query = s.hidden
		}
	}
	if s.kv == 0 && s.query > 0 {
		s.kv = s.keyRows(in, squares)
	}
}

// between is the width of what goes from the embedding through the layers to the head: a normalisation
// outside of the layers has that length, a table its rows, and vectors of the layers. The inner width of a
// state space is on a side of more matrices. It is 0 where that is no one length.
func between(modules []*match.Module, inBlocks map[uint64]int) uint64 {
	vector, table := make(map[uint64]bool), make(map[uint64]bool)
	for _, m := range modules {
		if before, _ := m.Block(); m.Holes() > 0 || before != "" || m.Packed {
			continue
		}
		switch s := m.Shape; {
		case len(s) == 1 && inBlocks[s[0]] > 1:
			vector[s[0]] = true
		case len(s) == 2 && s[0] > s[1]:
			table[s[1]] = true
		}
	}
	width := uint64(0)
	for n := range vector {
		if !table[n] {
			continue
		}
		if width > 0 {
			return 0
		}
		width = n
	}
	return width
}

// turned reports whether the matrices of the blocks have their inputs first: more read the hidden
// state than write it.
func (s *sizes) turned(blocks []*match.Module) bool {
	first, last := 0, 0
	for _, m := range blocks {
		switch {
		case len(m.Shape) != 2 || m.Packed || m.Shape[0] == m.Shape[1]:
		case m.Shape[0] == s.hidden:
			first++
		case m.Shape[1] == s.hidden:
			last++
		}
	}
	return first > last || first == last && slices.ContainsFunc(blocks, (*match.Module).IsKernel)
}

// hasExperts adds the layers of a module to those with experts.
func (s *sizes) hasExperts(m *match.Module) {
	if s.withExperts == nil {
		s.withExperts = make(map[int]bool)
	}
	for i := 0; i < len(m.Index); i += m.Holes() {
		s.withExperts[int(m.Index[i])] = true
	}
}

// keyRows finds the rows of the key projection. Key and value have as many, so that what
// one module alone has is both of them in one, or the query besides.
func (s *sizes) keyRows(in map[uint64]int, squares int) uint64 {
	for _, n := range slices.Sorted(maps.Keys(in)) {
		switch {
		case n == s.experts || n == s.inner || n == 2*s.inner || n == s.query:
		case n < s.query && in[n] > 1:
			return n
		case n < s.query || n == 2*s.query && squares > 1:
			return n / 2
		case n > s.query && n < 3*s.query && (n-s.query)%2 == 0:
			return (n - s.query) / 2
		}
	}
	return s.query
}

// blocksOf are the modules of the layers: those whose indices most modules have.
func blocksOf(modules []*match.Module) []*match.Module {
	by := make(map[string][]*match.Module)
	best := ""
	for _, m := range modules {
		if m.Holes() != 1 {
			continue
		}
		k := m.Stem[0]
		if by[k] = append(by[k], m); len(by[k]) > len(by[best]) {
			best = k
		}
	}
	list := by[best]
	slices.SortStableFunc(list, func(a, b *match.Module) int { return b.Count - a.Count })
	return list
}
