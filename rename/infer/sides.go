package infer

import (
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/rename/match"
)

// otherSide reports whether a match takes a normalisation before attention or the MLP for one behind it, or
// the other way round. A model of the one kind computes something else than one of the other.
func (x *inference) otherSide(m *match.Match) bool {
	a, b := &x.a.modules[m.A[0]].Meaning, &x.b.modules[m.B[0]].Meaning
	one, other := only(x.a.modules[m.A[0]], "norm"), only(x.b.modules[m.B[0]], "norm")
	post := only(x.a.modules[m.A[0]], "post_norm") || only(x.b.modules[m.B[0]], "post_norm")
	return one != other && post && a.Block == b.Block && (a.Block == "attn" || a.Block == "mlp")
}

// askSides makes a question of normalisations that names do not say to be on the side of attention and the
// MLP on which their counterparts are. Without a normalisation behind its layers a model has those of
// its blocks behind them, as BERT has, and the layers end with one.
func (x *inference) askSides(sol *match.Solution, found []finding) {
	final := func(h *half) bool {
		return slices.ContainsFunc(h.modules, func(m *match.Module) bool { return m.Meaning.IsNorm() && m.Meaning.Block == "final" })
	}
	if x.opt.Opaque || !final(&x.a) || !final(&x.b) {
		return
	}
	var group []int
	for i := range found {
		switch f := &found[i]; {
		case !x.otherSide(f.Match) || f.Same:
		case x.isAssumed(f.A, f.B):
			return
		default:
			group = append(group, i)
		}
	}
	for _, i := range group {
		f := &found[i]
		f.class, f.confidence = Guess, min(f.confidence, match.WeakCap)
		f.by = []string{"nothing says that both are before what they are of, or both behind it"}
	}
	if group != nil {
		sol.Open = append(slices.DeleteFunc(sol.Open, func(open []int) bool {
			return !slices.ContainsFunc(open, func(i int) bool { return !slices.Contains(group, i) })
		}), group)
	}
}

// wrongSide says that the normalisations of the blocks are behind attention and the MLP, and their
// counterparts before them, or the other way round. It is "" where that is not so, where weights are alike
// and where names do not say it.
func (x *inference) wrongSide(found []finding) string {
	behind := make(map[string]bool) // blocks of A
	var before, after []string
	for i := range found {
		f := &found[i]
		if x.opt.Opaque || f.weighed || f.Same || !x.otherSide(f.Match) {
			continue
		}
		if x.isAssumed(f.A, f.B) {
			return ""
		}
		a := x.a.modules[f.A[0]]
		switch {
		case only(a, "post_norm"):
			behind[a.Meaning.Block] = true
			after = append(after, pattern(a))
		case a.Meaning.Before:
			before = append(before, pattern(a))
		}
	}
	other := "the other"
	if x.b.virtual {
		other = x.b.of.Name
	}
	switch {
	case len(behind) > 1:
		return fmt.Sprintf("its normalisations %s are behind attention and the MLP, and those of %s before them", some(after, "and"), other)
	case len(before) > 0:
		return fmt.Sprintf("it has %s before attention or the MLP, and the normalisations of %s are behind them", some(before, "and"), other)
	}
	return ""
}
