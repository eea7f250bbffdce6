package infer

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/template"
)

const (
	// mostMembers is how many members of a module are compared: all layers of any model, and some of
	// its experts.
	mostMembers = 128
	// unlike is what unrelated weights do not reach.
	unlike = 4
	// mostStrays bounds how many members are looked for in other layers.
	mostStrays = 256
)

// spread is which of so many members are compared where all of a few are.
func spread(count int) []int {
	n := min(count, mostMembers)
	out := make([]int, n)
	for i := range out {
		out[i] = i
		if n < count {
			out[i] = i * (count - 1) / (n - 1)
		}
	}
	return out
}

// A memberPair is a member of a module of A, and one of a module of B.
type memberPair struct {
	at [2]int // the modules
	k  [2]int // the members
}

// likenesses compares members.
func (x *inference) likenesses(list []memberPair) ([]Likeness, error) {
	pairs := make([]Pair, len(list))
	for i, p := range list {
		pairs[i] = Pair{x.a.name(p.at[0], p.k[0]), x.b.name(p.at[1], p.k[1])}
	}
	return x.opt.Content.Alike(x.ctx, pairs)
}

// weigh compares the weights of modules that may become each other, layer by layer.
func (x *inference) weigh() (*weighing, error) {
	w := &weighing{
		inference: x,
		alike:     make(map[[2]int]likeness), ofA: make(map[int]bool), ofB: make(map[int]bool), found: make(map[string]*way),
		members: make(map[[2]int]map[int]Likeness),
	}
	var first, rest []memberPair
	add := func(list *[]memberPair, i, j int, members []int) {
		have := x.members(j) // has weights
		for _, n := range members {
			if n >= len(have) {
				continue
			}
			k := have[n]
			if _, done := w.members[[2]int{i, j}][k]; !done {
				*list = append(*list, memberPair{[2]int{i, j}, [2]int{k, k}})
			}
		}
	}
	for i, m := range x.a.modules {
		for j, n := range x.b.modules {
			switch {
			case !comparable(m, n):
			case x.opt.Sampled || !slices.Equal(m.Shape, n.Shape): // where rows meet columns, more has to be read
				add(&first, i, j, sampled(len(x.members(j))))
			default:
				add(&first, i, j, spread(len(x.members(j))))
			}
		}
	}
	if err := w.add(first); err != nil {
		return nil, err
	}
	if !x.opt.Sampled {
		for at, l := range w.alike {
			if l.matches() {
				add(&rest, at[0], at[1], spread(len(x.members(at[1]))))
			}
		}
		if err := w.add(rest); err != nil {
			return nil, err
		}
	}
	x.unrelated = len(w.alike) > 0 && len(w.ofA) == 0
	return w, nil
}

// add compares members, and works out what those of each pair of modules say together.
func (w *weighing) add(list []memberPair) error {
	if len(list) == 0 {
		return nil
	}
	found, err := w.likenesses(list)
	if err != nil {
		return err
	}
	for n, p := range list {
		if w.members[p.at] == nil {
			w.members[p.at] = make(map[int]Likeness)
		}
		one := found[n]
		if m := w.a.modules[p.at[0]]; len(m.Shape) < 2 && !isChannels(&w.a, m) {
			one.Z = 0
		}
		w.members[p.at][p.k[0]] = one
	}
	bestA, bestB := make(map[int]float64), make(map[int]float64)
	for at, members := range w.members {
		l := likeness{equal: true, of: w.a.modules[at[0]].Count, vector: len(w.a.modules[at[0]].Shape) < 2}
		for n, k := range slices.Sorted(maps.Keys(members)) {
			one := members[k]
			if n == 0 {
				l.ops = one.Ops
			}
			if l.least, l.most = min(l.least, one.Shift), max(l.most, one.Shift); n == 0 {
				l.least, l.most = one.Shift, one.Shift
			}
			l.members++
			l.rounded = l.rounded || one.Rounded
			l.equal, l.informative = l.equal && one.Equal, l.informative || one.Informative
			l.z, l.cosine = l.z+one.Z, l.cosine+one.Cosine
			if !slices.EqualFunc(l.ops, one.Ops, sameOp) {
				l.ops = nil
			}
		}
		l.z, l.cosine = l.z/float64(l.members), l.cosine/float64(l.members)
		bestA[at[0]], bestB[at[1]] = max(bestA[at[0]], l.z), max(bestB[at[1]], l.z)
		w.alike[at] = l
	}
	clear(w.ofA)
	clear(w.ofB)
	for at, l := range w.alike {
		if l.share = l.z / max(bestA[at[0]], bestB[at[1]]); l.matches() {
			w.ofA[at[0]], w.ofB[at[1]] = true, true
		}
		w.alike[at] = l
	}
	return nil
}

// where names the layers that it is about.
func (c *Contradiction) where() string {
	list := make([]string, len(c.Layers))
	for i, l := range c.Layers {
		list[i] = fmt.Sprint(l)
	}
	if len(list) == 1 {
		return "in layer " + list[0]
	}
	return "in layers " + some(list, "and")
}

// A stray is a contradiction about some layers of A.
type stray struct {
	Contradiction
	a []int // modules of A: several, where whole layers have moved
}

// strays finds layers whose weights are not those of the module that the others are: they are another
// module's, or another layer's. What is unlike anything may be new, and contradicts nothing.
func (w *weighing) strays(pairs map[int]int) ([]stray, error) {
	var out []stray
	apart := make(map[int][]int) // members that are unlike, by module
	for _, i := range slices.Sorted(maps.Keys(pairs)) {
		j := pairs[i]
		agree := 0
		others := make(map[int][]int) // members, by the module of B that they are
		for _, k := range slices.Sorted(maps.Keys(w.members[[2]int{i, j}])) {
			one := w.members[[2]int{i, j}][k]
			switch other := w.otherAt(i, j, k, &one); {
			case other >= 0:
				others[other] = append(others[other], k)
			case one.Equal || one.Ops != nil || one.Z > matches:
				agree++
			case one.Z != 0 && one.Z < unlike && len(w.a.modules[i].Shape) > 1:
				apart[i] = append(apart[i], k)
			}
		}
		if agree == 0 {
			continue // contradictions says so of the module
		}
		for _, other := range slices.Sorted(maps.Keys(others)) {
			l := w.over(i, other, others[other])
			c := w.stray(i, j, others[other])
			c.Content, c.By = pattern(w.b.modules[other]), l.String()
			out = append(out, c)
		}
	}
	moved, err := w.moved(pairs, apart)
	return append(out, moved...), err
}

func (w *weighing) stray(i, j int, members []int) stray {
	m, n := w.a.modules[i], w.b.modules[j]
	c := stray{Contradiction{From: patternBeside(m, n), Name: pattern(n), Assumed: w.isAssumed([]int{i}, []int{j})}, []int{i}}
	for _, k := range members {
		c.Layers = append(c.Layers, w.layer(i, k))
	}
	c.Layers = slices.Compact(c.Layers)
	return c
}

// layer is the number of the layer of a member.
func (w *weighing) layer(i, k int) int {
	m := w.a.modules[i]
	if m.Holes() == 0 {
		return 0
	}
	return int(m.Index[k*m.Holes()])
}

// otherAt is the module of B that a member of A is like in its layer and not the one of its pair, -1
// where there is none.
func (w *weighing) otherAt(i, j, k int, one *Likeness) int {
	if one.Equal || one.Ops != nil {
		return -1
	}
	best, most := -1, max(contradicts, one.Z/rival)
	for n := range w.b.modules {
		o, ok := w.members[[2]int{i, n}][k]
		switch {
		case n == j || !ok:
		case o.Equal && o.Informative:
			return n
		case o.Z >= most:
			best, most = n, o.Z
		}
	}
	return best
}

// over is the likeness of some members of two modules.
func (w *weighing) over(i, j int, members []int) *likeness {
	l := &likeness{equal: true, informative: true, members: len(members), of: len(members)}
	for _, k := range members {
		one := w.members[[2]int{i, j}][k]
		l.equal, l.rounded = l.equal && one.Equal, l.rounded || one.Rounded
		l.z, l.cosine = l.z+one.Z/float64(len(members)), l.cosine+one.Cosine/float64(len(members))
	}
	return l
}

// moved finds the layers that lie elsewhere in B. What one module shows is asked of the others.
func (w *weighing) moved(pairs map[int]int, apart map[int][]int) ([]stray, error) {
	if w.ownLayers() { // each layer was compared with the one that it is
		return nil, nil
	}
	var out []stray
	modules := slices.Sorted(maps.Keys(apart))
	done := make(map[int]bool)
	for n, i := range modules {
		if done[i] {
			continue
		}
		at := [2]int{i, pairs[i]}
		best, err := w.elsewhere(at, apart[i])
		if err != nil {
			return nil, err
		}
		if len(best) == 0 {
			continue
		}
		members := slices.Sorted(maps.Keys(best))
		c := w.stray(i, at[1], members)
		c.Content = c.Name
		var places []string
		for _, k := range members {
			places = append(places, isThere(w.a.modules[i], k, w.b.modules[at[1]], best[k]))
		}
		c.By = strings.Join(places[:min(3, len(places))], ", ")
		if n := len(places) - 3; n > 0 {
			c.By += fmt.Sprintf(", and %d more are elsewhere", n)
		}
		for _, other := range modules[n+1:] {
			if same, err := w.movedSo([2]int{other, pairs[other]}, apart[other], best); err != nil || done[other] || !same {
				if err != nil {
					return nil, err
				}
				continue
			}
			done[other] = true
			c.a, c.Also = append(c.a, other), append(c.Also, pattern(w.b.modules[pairs[other]]))
			c.Assumed = c.Assumed || w.isAssumed([]int{other}, []int{pairs[other]})
		}
		out = append(out, c)
		w.unrelated = false
	}
	return out, nil
}

// isThere says which member of B one of A is: another layer, or another expert of the same one.
func isThere(a *match.Module, k int, b *match.Module, other int) string {
	h := a.Holes()
	is, there := a.Index[k*h:(k+1)*h], b.Index[other*h:(other+1)*h]
	if h == 1 {
		return fmt.Sprintf("layer %d is %d there", is[0], there[0])
	}
	what := cmp.Or(template.Counts(b.Stem[h-1]), template.Counts(a.Stem[h-1]), "number")
	if is[0] == there[0] {
		return fmt.Sprintf("%s %d of layer %d is %d there", what, is[h-1], is[0], there[h-1])
	}
	return fmt.Sprintf("%s %d of layer %d is %d of layer %d there", what, is[h-1], is[0], there[h-1], there[0])
}

// elsewhere are the members of B that members of A are, of one module.
func (w *weighing) elsewhere(at [2]int, apart []int) (map[int]int, error) {
	all := slices.Sorted(maps.Keys(w.members[at]))
	var list []memberPair
	for _, k := range apart[:min(len(apart), mostStrays/max(1, len(all))+1)] {
		for _, other := range all {
			if other != k {
				list = append(list, memberPair{at, [2]int{k, other}})
			}
		}
	}
	found, err := w.likenesses(list)
	if err != nil {
		return nil, err
	}
	best, most := make(map[int]int), make(map[int]float64)
	for n, l := range found {
		k, score := list[n].k[0], l.Z
		if l.Equal && l.Informative {
			score = math.Inf(1)
		}
		if score >= contradicts && score > most[k] {
			best[k], most[k] = list[n].k[1], score
		}
	}
	return best, nil
}

// movedSo reports whether the members of another module have moved as those of one have.
func (w *weighing) movedSo(at [2]int, apart []int, best map[int]int) (bool, error) {
	var list []memberPair
	for _, k := range apart {
		if to, ok := best[k]; ok && w.a.modules[at[0]].Count > max(k, to) {
			list = append(list, memberPair{at, [2]int{k, to}})
		}
	}
	found, err := w.likenesses(list)
	if err != nil || len(list) == 0 {
		return false, err
	}
	return !slices.ContainsFunc(found, func(l Likeness) bool { return !(l.Equal && l.Informative) && l.Z < contradicts }), nil
}
