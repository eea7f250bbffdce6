package infer

import (
	"fmt"
	"maps"
	"slices"

	"github.com/wtinspect/wtinspect/rename/match"
)

// Gemma's normalisations are what is added to 1, and those of other projects the sum. Where the numbers of two
// models differ in nothing else, an operation makes the one of the other. Where one of them was trained on as
// well, they are as alike as ever, and nothing but their means tells.

// offsets are the modules of pairs whose vectors are about 1 more or less in B, in order. A single vector may
// have become so by training, where those of the layers have not.
func (w *weighing) offsets(pairs map[int]int) []int {
	var out []int
	layers, shifted := 0, 0
	for _, i := range slices.Sorted(maps.Keys(pairs)) {
		l, ok := w.alike[[2]int{i, pairs[i]}]
		if m := w.a.modules[i]; !ok || !l.vector || len(m.Leaves) == 0 || m.Leaves[0].IsBias() {
			continue
		}
		many := l.of > 1
		if many {
			layers++
		}
		if l.offset() != 0 {
			out = append(out, i)
			if many {
				shifted++
			}
		}
	}
	if layers > 0 && shifted == 0 {
		return nil
	}
	return out
}

// differs says by what the numbers of a module differ from those of another.
func (w *weighing) differs(i, j int) string {
	l := w.alike[[2]int{i, j}]
	return fmt.Sprintf("its numbers are about 1 %s than those of the other, in %s", more(-l.offset()), l.tensors())
}

func more(difference float64) string {
	if difference < 0 {
		return "less"
	}
	return "more"
}

// askOffsets makes a question of matches that are alike except for such an offset.
func (w *weighing) askOffsets(sol *match.Solution, found []finding) {
	pairs, of := make(map[int]int), make(map[int]int)
	for i := range found {
		if f := &found[i]; len(f.A)+len(f.B) == 2 && f.class != Proven {
			pairs[f.A[0]], of[f.A[0]] = f.B[0], i
		}
	}
	var group []int
	assumed := false
	for _, i := range w.offsets(pairs) {
		f := &found[of[i]]
		if assumed = assumed || w.isAssumed(f.A, f.B); assumed {
			f.by = append(f.by, "but "+w.differs(i, pairs[i]))
		}
		group = append(group, of[i])
	}
	if assumed || group == nil {
		return
	}
	said := make([][]string, len(group))
	for n, k := range group {
		f := &found[k]
		said[n] = append(slices.Clone(f.by), "but "+w.differs(f.A[0], f.B[0]))
	}
	ask(sol, found, group, "")
	for n, k := range group {
		f := &found[k]
		f.by, f.confidence, f.offset = said[n], 0.5, w.offsetOf(f.A[0], f.B[0])
	}
}

// offsetQuestion asks the same of the names that conventions give, and writes it into the rules of a map.
func (w *weighing) offsetQuestion(res *Result, named map[int]int, renames [][][2]int) {
	list := w.offsets(named)
	if list == nil {
		return
	}
	q := Question{Confidence: 0.5}
	for _, i := range list {
		q.Between = append(q.Between, patternBeside(w.a.modules[i], w.b.modules[named[i]]))
		q.And = append(q.And, pattern(w.b.modules[named[i]]))
	}
	q.Best = slices.Clone(q.And)
	q.Settle = w.offsetSteps(&q, w.offsetOf(list[0], named[list[0]]))
	res.Questions = append(res.Questions, q)
	for r, pairs := range renames {
		for _, p := range pairs {
			if slices.Contains(list, p[0]) {
				f := &res.Rules[r]
				f.Class, f.Confidence, f.By = Guess, 0.5, append(f.By, "but "+w.differs(p[0], p[1]))
				res.note(r)
				break
			}
		}
	}
}

func (w *weighing) offsetOf(i, j int) float64 {
	l := w.alike[[2]int{i, j}]
	return l.offset()
}

// offsetSteps are what would settle whether something is to be added to the tensors of a question.
func (x *inference) offsetSteps(q *Question, offset float64) []Step {
	steps := x.steps(q)
	answer := steps[len(steps)-1]
	answer.Note = "takes the numbers as they are, about 1 " + more(-offset) + " than those of the other"
	return []Step{answer, {Note: fmt.Sprintf("'offset: {add: %v, round: true}' in the rules once it is answered", offset)}}
}
