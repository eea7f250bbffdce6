package infer

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Names that do not say which tensors are of one layer, or of which, leave nothing to weights but the tensors
// themselves. Each is looked for among those of its shape.

// mostSingle bounds the pairs that are compared: those of all tensors of a model of 80 layers.
const mostSingle = 1 << 18

// singly finds the map tensor by tensor, nil where weights do not show at least half of either side.
func (x *inference) singly() (*Result, error) {
	if x.opt.Content == nil || x.opt.Sampled || x.unrelated || len(x.opt.Assume) > 0 || x.b.virtual {
		return nil, nil
	}
	byShape := make(map[string][]int)
	for j := range x.b.tensors {
		if s := x.b.tensors[j].Shape; len(s) > 0 {
			byShape[fmt.Sprint(s)] = append(byShape[fmt.Sprint(s)], j)
		}
	}
	n := 0
	for i := range x.a.tensors {
		n += len(byShape[fmt.Sprint(x.a.tensors[i].Shape)])
	}
	if n == 0 || n > mostSingle {
		return nil, nil
	}
	at, pairs := make([][2]int, 0, n), make([]Pair, 0, n)
	for i := range x.a.tensors {
		for _, j := range byShape[fmt.Sprint(x.a.tensors[i].Shape)] {
			at, pairs = append(at, [2]int{i, j}), append(pairs, Pair{x.a.tensors[i].Name, x.b.tensors[j].Name})
		}
	}
	alike, err := x.opt.Content.Alike(x.ctx, pairs)
	if err != nil {
		return nil, err
	}
	found := mutual(at, alike)
	a, b := len(x.a.tensors), len(x.b.tensors)
	if 2*len(found) < a || 2*len(found) < b {
		return nil, nil
	}
	s := &script{names: x.a.names()}
	if fits := read(&x.b).fits; len(fits) > 0 {
		s.to = fits[0].Name
	}
	s.notes = []note{
		{class: Proven, confidence: 1, by: []string{"its sampled rows are equal"}},
		{class: Measured, confidence: 1, by: []string{"no other tensor has rows as much alike"}},
		{class: Proven, confidence: 1, by: []string{"an operation makes its sampled rows"}},
		{class: Guess, confidence: 0.5, by: []string{"no other tensor has rows as much alike, but its numbers are about 1 more or less than those of the other"}, question: 1},
		{class: Proven, confidence: 1, by: []string{"its sampled rows are equal" + asRounded(true)}},
	}
	shifted := Question{Confidence: 0.5}
	offset := 0.0
	usedA, usedB := make(map[int]bool), make(map[int]bool)
	for _, n := range slices.Sorted(maps.Keys(found)) {
		i, j := at[n][0], at[n][1]
		usedA[i], usedB[j] = true, true
		mv := convert.Move{From: []string{pairs[n].A}, To: []string{pairs[n].B}}
		l := &likeness{equal: alike[n].Equal, ops: alike[n].Ops, vector: len(x.a.tensors[i].Shape) == 1, least: alike[n].Shift, most: alike[n].Shift}
		why := 1
		switch {
		case alike[n].Rounded && alike[n].Informative:
			why = 4
		case l.equal && alike[n].Informative:
			why = 0
		case l.ops != nil:
			why, mv.Ops = 2, l.ops
		case l.offset() != 0:
			why, offset = 3, l.offset()
			shifted.Between, shifted.And = append(shifted.Between, pairs[n].A), append(shifted.And, pairs[n].B)
		}
		s.add(mv, why)
	}
	s.groups = make([]int, a)
	res, err := s.result()
	if err != nil {
		return nil, err
	}
	for i := range x.a.tensors {
		if !usedA[i] {
			res.Extra = append(res.Extra, x.a.tensors[i].Name)
		}
	}
	for j := range x.b.tensors {
		if !usedB[j] {
			res.Missing = append(res.Missing, x.b.tensors[j].Name)
		}
	}
	if offset != 0 {
		shifted.Best = slices.Clone(shifted.And)
		shifted.Settle = x.offsetSteps(&shifted, offset)
		res.Questions = append(res.Questions, shifted)
		res.ask()
	}
	res.Partial, res.Read = len(res.Extra) > 0, x.opt.Content.Read()
	return res, nil
}

// mutual are the pairs of which each is what the other is most like, by far. Of tensors that are equal to as
// many others, the first is the first.
func mutual(at [][2]int, alike []Likeness) map[int]bool {
	score := func(n int) float64 {
		switch l := &alike[n]; {
		case l.Equal && l.Z >= contradicts:
			return math.Inf(1)
		case l.Z >= contradicts:
			return l.Z
		}
		return 0
	}
	order := make([]int, 0, len(at))
	for n := range at {
		if score(n) > 0 {
			order = append(order, n)
		}
	}
	slices.SortStableFunc(order, func(m, n int) int { return cmp.Compare(score(n), score(m)) })
	out := make(map[int]bool)
	taken := [2]map[int]float64{make(map[int]float64), make(map[int]float64)}
	tied := make(map[int]bool) // pairs of which another is nearly as much alike
	by := [2]map[int]int{make(map[int]int), make(map[int]int)}
	for _, n := range order {
		free := true
		for side, k := range at[n] {
			if most, ok := taken[side][k]; ok {
				free = false
				if score(n) > rival*most && !math.IsInf(most, 1) {
					tied[by[side][k]] = true
				}
			}
		}
		if free {
			out[n] = true
			for side, k := range at[n] {
				taken[side][k], by[side][k] = score(n), n
			}
		}
	}
	maps.DeleteFunc(out, func(n int, _ bool) bool { return tied[n] })
	return out
}

// layerless says why the names of one side show no layers that those of the other have, "" where they do.
func (x *inference) layerless() string {
	stackA, stackB := blocksOf(x.a.modules), blocksOf(x.b.modules)
	long := 0
	for i := range x.a.tensors {
		long = max(long, len(x.a.tensors[i].Name))
	}
	switch {
	case len(stackB) == 0:
		return ""
	case len(stackA) == 0 && long > template.MaxKindName:
		return fmt.Sprintf("names of more than %s are not taken apart, so that they show no layers", plural.Of(template.MaxKindName, "byte"))
	case len(stackA) == 0:
		return "its names show no layers, as those of the other do: " + pattern(stackB[0])
	case stackA[0].Count == stackB[0].Count && !slices.Equal(stackA[0].Index, stackB[0].Index):
		return "its layers are " + layersIn(stackA[0]) + ", and those of the other " + layersIn(stackB[0])
	}
	return ""
}

// layersIn lists the layers of a module.
func layersIn(m *match.Module) string {
	first, last := m.First[0]+m.Index[0], m.First[0]+m.Index[len(m.Index)-1]
	if int(last-first) == m.Count-1 {
		return fmt.Sprintf("%d to %d", first, last)
	}
	var list []string
	for _, l := range m.Index {
		list = append(list, fmt.Sprint(m.First[0]+l))
	}
	return some(list, "and")
}
