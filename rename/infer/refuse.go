package infer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/match"
)

// refusal says why matches are too few to be a map, "" where they are enough: a few
// tensors that all models have make no two forms of one model.
func (x *inference) refusal(found []finding) string {
	var usedA, usedB []int
	for i := range found {
		usedA, usedB = append(usedA, found[i].A...), append(usedB, found[i].B...)
	}
	a, b := x.a.count(usedA), x.b.count(usedB)
	needA, needB := x.a.count(x.a.needed()), x.b.count(x.b.needed())
	have := "have"
	if a == 1 {
		have = "has"
	}
	counts := fmt.Sprintf("%d of %s %s a counterpart", a, plural.Of(needA, "tensor"), have)
	if layerless := x.layerless(); x.b.virtual && layerless != "" && len(blocksOf(x.a.modules)) == 0 {
		return layerless
	}
	if x.sizing != nil {
		if why := x.unsized(found); why != "" {
			return x.sizing.differ + "; taken as one size, " + why
		}
	}
	side := x.wrongSide(found)
	if !x.b.virtual {
		if side != "" {
			return "it is another architecture: " + side
		}
		if 2*a >= needA && 2*b >= needB && a > 0 {
			if why := x.otherLayers(found, usedA, usedB); why != "" {
				return "it is another architecture: " + why
			}
			return ""
		}
		switch other, layerless := x.otherSize(), x.layerless(); {
		case other != "":
			counts += "; " + other
		case layerless != "":
			counts += "; " + layerless
		case 2*a >= needA: // a part of the other
			return fmt.Sprintf("nothing in it becomes %s: %d of the other's %s", some(x.b.patterns(except(x.b.needed(), usedB)), "or"), needB-b, plural.Of(needB, "tensor"))
		case len(usedA) < len(x.a.needed()):
			counts += "; the other has nothing like " + some(x.a.patterns(except(x.a.needed(), usedA)), "or")
		}
		return counts
	}
	var why []string
	missing := except(x.b.needed(), usedB)
	lacks, outside := x.lacks(found)
	switch turns := x.turns(); {
	case len(lacks) > 0 && turns != "":
		why = []string{turns}
	case len(lacks) > 0:
		why = []string{"nothing in it becomes " + some(lacks, "or") + ", which " + x.b.of.Name + " has in every layer"}
	case len(outside) > 0:
		why = []string{"nothing in it becomes " + some(outside, "or")}
	case 2*a < needA || a == 0 || 2*len(missing) > len(x.b.needed()):
		why = []string{counts}
		if len(missing) > 0 {
			why = append(why, "nothing becomes "+some(x.b.patterns(missing), "or"))
		}
	}
	if why == nil && side != "" {
		why = []string{side}
	}
	if heads := x.wrongHeads(found); why == nil && heads != "" {
		why = []string{heads}
	}
	if why == nil {
		if end := x.wrongEnd(found); end != "" && len(missing)+len(except(x.a.needed(), usedA)) > 0 {
			if why = []string{end}; len(missing) > 0 {
				why = append(why, "nothing in it becomes "+some(x.b.patterns(missing), "or"))
			}
		}
	}
	if biases := x.biases(found); biases != "" {
		why = append(why, biases)
	}
	if why == nil {
		if norms := x.norms(usedA, usedB); len(norms) > 0 {
			why = []string{"nothing in " + x.b.of.Name + " is like the normalisations " + some(x.a.patterns(norms), "and") + ", which it has in its layers"}
			usedA = append(usedA, norms...)
		}
	}
	if why == nil {
		return ""
	}
	if extra := except(x.a.needed(), usedA); len(extra) > 0 {
		why = append(why, x.b.of.Name+" has nothing like "+some(x.a.patterns(extra), "or"))
	}
	switch {
	case x.a.of != nil:
		why = append(why, "its names are those of "+x.a.of.Name)
	case x.a.near != "" && x.a.near != x.b.of.Name:
		why = append(why, "the nearest convention is "+x.a.near)
	}
	return "it is another architecture: " + strings.Join(why, "; ")
}

// wrongEnd says that a normalisation behind the layers has become one before them, or the other way
// round: a GPT is no BERT. It is "" where that is not so.
func (x *inference) wrongEnd(found []finding) string {
	where := map[string]string{"final": "behind", "embed": "before"}
	for i := range found {
		f := &found[i]
		a, b := x.a.modules[f.A[0]], x.b.modules[f.B[0]]
		at, to := where[a.Meaning.Block], where[b.Meaning.Block]
		if a.Meaning.IsNorm() && b.Meaning.IsNorm() && at != "" && to != "" && at != to && !x.isAssumed(f.A, f.B) {
			return fmt.Sprintf("its normalisation %s is %s the layers, and that of %s, %s, is %s them", pattern(a), at, x.other(), pattern(b), to)
		}
	}
	return ""
}

// turns says that layers take turns: that attention and MLP of one block are layers of their own, as in
// x-transformers (AttentionLayers of x_transformers.py). It is "" where one layer has all that another has.
func (x *inference) turns() string {
	stack := blocksOf(x.a.modules)
	if len(stack) == 0 {
		return ""
	}
	first := make(map[string]*match.Module) // by the part of a block
	for _, m := range stack {
		if b := m.Meaning.Block; len(m.Shape) > 1 && (b == "attn" || b == "mlp") && first[b] == nil {
			first[b] = m
		}
	}
	attn, mlp := first["attn"], first["mlp"]
	if attn == nil || mlp == nil {
		return ""
	}
	in := make(map[int32]bool)
	for _, l := range attn.Index {
		in[l] = true
	}
	if slices.ContainsFunc(mlp.Index, func(l int32) bool { return in[l] }) {
		return ""
	}
	return fmt.Sprintf("its layers take turns, %s have attention, %s, and %s an MLP, %s, where each of %s has both", layersIn(attn), pattern(attn), layersIn(mlp), pattern(mlp), x.b.of.Name)
}

// needed are the modules that a map has to be about.
func (h *half) needed() []int {
	var out []int
	for i, m := range h.modules {
		if !m.Meaning.Buffer && !m.Optional {
			out = append(out, i)
		}
	}
	return out
}

func (h *half) count(list []int) (n int) {
	for _, i := range list {
		n += h.modules[i].Count
	}
	return n
}

func (h *half) patterns(list []int) []string {
	out := make([]string, len(list))
	for k, i := range list {
		out[k] = pattern(h.modules[i])
	}
	return out
}

// except is a list without what is in another.
func except(list, used []int) []int {
	return slices.DeleteFunc(list, func(i int) bool { return slices.Contains(used, i) })
}

// some names the first of a list, and says how many there are besides.
func some(list []string, last string) string {
	const most = 3
	switch n := len(list); {
	case n > most+1:
		return fmt.Sprintf("%s %s %d more", strings.Join(list[:most], ", "), last, n-most)
	case n > 1:
		return strings.Join(list[:n-1], ", ") + " " + last + " " + list[n-1]
	}
	return list[0]
}

// biases says that the normalisations in the layers have biases and their counterparts in a
// convention none, or the other way round: a LayerNorm computes something else than an
// RMSNorm. It is "" where that is not so.
func (x *inference) biases(found []finding) string {
	var with []string
	without := 0 // of those that must have one
	for i := range found {
		f := &found[i]
		a, j := x.a.modules[f.A[0]], f.B[0]
		if len(f.A)+len(f.B) > 2 || a.Holes() == 0 || !x.b.modules[j].Meaning.IsNorm() {
			continue
		}
		l := slices.IndexFunc(a.Leaves, func(l match.Leaf) bool { return l.IsBias() })
		switch bias := x.biasIn(j); {
		case l >= 0 && bias == never:
			with = append(with, patternBeside(a, x.b.modules[j])+a.Leaves[l].Name)
		case l >= 0:
			return ""
		case bias == always:
			without++
		}
	}
	switch {
	case len(with) > 0:
		return fmt.Sprintf("its normalisations have biases, %s, and those of %s have none", some(with, "and"), x.other())
	case without > 0:
		return "its normalisations have no biases, and those of " + x.other() + " have some"
	}
	return ""
}

// biasIn says whether a module of B has a bias.
func (x *inference) biasIn(j int) occurrence {
	switch m := x.b.modules[j]; {
	case x.b.virtual:
		return x.b.aimed[j].bias
	case slices.ContainsFunc(m.Leaves, func(l match.Leaf) bool { return l.IsBias() }):
		return always
	}
	return never
}

// other is what B is called.
func (x *inference) other() string {
	if x.b.virtual {
		return x.b.of.Name
	}
	return "the other"
}

// norms are normalisations in the layers of A that nothing in B can be: a model without them computes
// something else.
func (x *inference) norms(usedA, usedB []int) []int {
	for j, m := range x.b.modules {
		if m.Holes() > 0 && m.Meaning.IsNorm() && !slices.Contains(usedB, j) {
			return nil // it may be that one, and is asked
		}
	}
	var out []int
	for i, m := range x.a.modules {
		if m.Holes() > 0 && m.Count > 1 && m.Meaning.IsNorm() && !m.Optional && !m.Leaves[0].IsBias() && !slices.Contains(usedA, i) {
			out = append(out, i)
		}
	}
	return out
}

// lacks lists what a convention has in every layer and that nothing in the layers of A can be, whole or
// as a part: without it a model computes something else. So it does without a matrix outside of them,
// where A has others there that are none of the convention's: patches of images, and no tokens.
func (x *inference) lacks(found []finding) (layers, outside []string) {
	usedA, usedB := make(map[int]bool), make(map[int]bool)
	for i := range found {
		f := &found[i]
		for _, j := range f.B {
			usedB[j] = true
		}
		for _, k := range f.A {
			// A fused matrix may have become one of its parts, where neither shapes nor words say.
			a := x.a.modules[k]
			usedA[k] = a.Shape != nil && x.b.modules[f.B[0]].Shape != nil || !a.Meaning.Weak && x.said(f.Match)
		}
	}
	others := false // A has outside of its layers
	dense := true   // nothing in its layers may be experts
	for k, a := range x.a.modules {
		others = others || !usedA[k] && a.Holes() == 0 && len(a.Shape) > 2 && a.Meaning.Block == "embed"
		dense = dense && (usedA[k] || !layered(a) || len(a.Meaning.Parts) > 0 && !a.Meaning.Weak && a.Meaning.Sub == "")
	}
	if dense {
		layers = slices.Clone(x.b.beyond)
	}
	for j, m := range x.b.modules {
		if usedB[j] || m.Optional || m.Meaning.Buffer {
			continue
		}
		holds := false
		for k, a := range x.a.modules {
			holds = holds || !usedA[k] && (a.Holes() > 0) == (m.Holes() > 0) && !a.Meaning.Buffer && mayHold(a, m)
		}
		switch {
		case holds:
		case m.Holes() > 0:
			layers = append(layers, pattern(m))
		case others && only(m, "tokens"):
			outside = append(outside, pattern(m))
		}
	}
	return layers, outside
}

// otherLayers says what of every layer two checkpoints do not have in common: without it a model computes
// something else, however many tensors have a counterpart. It is "" where there is no such thing. Matrices
// that only A has may have been added to it, and leave the map incomplete.
func (x *inference) otherLayers(found []finding, usedA, usedB []int) string {
	if x.opt.Opaque {
		return ""
	}
	// In every layer of a stack of which most is in the map: a tower that one side lacks is a part.
	everywhere := func(h *half, used []int, i int) bool {
		m := h.modules[i]
		in, mapped := 0, 0
		for k, n := range h.modules {
			if n.Holes() == 1 && n.Stem[0] == m.Stem[0] && n.Count >= m.Count {
				if in++; slices.Contains(used, k) {
					mapped++
				}
				if n.Count > m.Count {
					return false
				}
			}
		}
		return m.Holes() == 1 && m.Count > 1 && !m.Optional && !m.Meaning.Buffer && !m.Leaves[0].IsBias() && 2*mapped > in
	}
	left := func(h *half, used []int) []int { return except(h.needed(), used) }
	leftA, leftB := left(&x.a, usedA), left(&x.b, usedB)
	var lacks, norms []int
	for _, j := range leftB {
		m := x.b.modules[j]
		if (layered(m) || m.Meaning.IsNorm()) && everywhere(&x.b, usedB, j) &&
			!slices.ContainsFunc(leftA, func(i int) bool { return layered(x.a.modules[i]) == layered(m) && mayHold(x.a.modules[i], m) }) {
			lacks = append(lacks, j)
		}
	}
	if len(lacks) > 0 {
		return "nothing in it becomes " + some(x.b.patterns(lacks), "or") + ", which the other has in every layer"
	}
	for _, i := range leftA {
		m := x.a.modules[i]
		if m.Meaning.IsNorm() && everywhere(&x.a, usedA, i) && !slices.ContainsFunc(leftB, func(j int) bool { return x.b.modules[j].Meaning.IsNorm() }) {
			norms = append(norms, i)
		}
	}
	if len(norms) > 0 {
		return "nothing in the other is like the normalisations " + some(x.a.patterns(norms), "and") + ", which it has in its layers"
	}
	if len(leftA)+len(leftB) == 0 {
		return "" // with biases or without
	}
	return cmp.Or(x.wrongEnd(found), x.biases(found))
}

// layered reports whether a module is a matrix of every layer.
func layered(m *match.Module) bool {
	return m.Holes() > 0 && len(m.Shape) != 1 && !m.Meaning.IsNorm()
}

// mayHold reports whether a name and a shape leave it open that a module is another, or has it as a
// part. The shape of that is worked out, and may be wrong.
func mayHold(a, m *match.Module) bool {
	vector := m.Meaning.IsNorm()
	if a.Shape != nil && vector != (len(a.Shape) == 1) || a.Meaning.IsNorm() && !vector {
		return false
	}
	if a.Shape != nil && m.Shape != nil && !a.Packed && (vector && !slices.Equal(a.Shape, m.Shape) || 2*elements(a) < elements(m)) {
		return false
	}
	return len(a.Meaning.Parts) == 0 || a.Meaning.Weak || a.Meaning.IsNorm() ||
		slices.ContainsFunc(a.Meaning.Parts, func(p string) bool { return slices.Contains(m.Meaning.Parts, p) })
}

// elements are those of one tensor of a module, as many as that can be.
func elements(m *match.Module) float64 {
	n := 1.0
	for _, axis := range m.Shape {
		n *= float64(axis)
	}
	return n
}

// otherSize says in what the sizes of both models differ, "" where they do not or where
// shapes do not say.
func (x *inference) otherSize() string {
	a, b := sizesOf(nil, x.a.modules), sizesOf(nil, x.b.modules)
	switch {
	case a.layers != b.layers && a.layers > 0 && b.layers > 0:
		return fmt.Sprintf("one has %s and the other %d", plural.Of(a.layers, "layer"), b.layers)
	case a.hidden != b.hidden && a.hidden > 0 && b.hidden > 0:
		return fmt.Sprintf("the width of one is %d and of the other %d", a.hidden, b.hidden)
	}
	return ""
}
