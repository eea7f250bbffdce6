package infer

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
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
	if group != nil {
		ask(sol, found, group, "nothing says that both are before what they are of, or both behind it")
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
	switch {
	case len(behind) > 1:
		return fmt.Sprintf("its normalisations %s are behind attention and the MLP, and those of %s before them", some(after, "and"), x.other())
	case len(before) > 0:
		return fmt.Sprintf("it has %s before attention or the MLP, and the normalisations of %s are behind them", some(before, "and"), x.other())
	}
	return ""
}

// headNorms are the normalisations of queries and keys that a map gives new names.
type headNorms struct {
	found []int
	// all says that they are as long as all queries and all keys are, and one that they are as long as one
	// head. A model of one head has both.
	all, one bool
	assumed  bool
}

// headNorms compares the lengths of normalisations of queries and keys with the rows of the projections: those
// of OLMo 2 are as long as these (modeling_olmo2.py, Olmo2Attention), those of Qwen 3 as one head
// (modeling_qwen3.py, Qwen3Attention).
func (x *inference) headNorms(found []finding) *headNorms {
	sizes := sizesOf(x.a.model, x.a.modules)
	if x.opt.Opaque || sizes.query == 0 || sizes.kv == 0 {
		return nil
	}
	norms := &headNorms{all: true, one: true}
	head := uint64(0)
	for i := range found {
		f := &found[i]
		a, rows := x.a.modules[f.A[0]], sizes.query
		switch b := x.b.modules[f.B[0]]; {
		case len(f.A)+len(f.B) > 2 || a.Holes() == 0 || len(a.Shape) != 1 || b.Meaning.Block != "attn":
			continue
		case only(b, "k_norm"):
			rows = sizes.kv
		case !only(b, "q_norm"):
			continue
		}
		n := a.Shape[0]
		head = cmp.Or(head, sizes.head, n)
		norms.all, norms.one = norms.all && n == rows, norms.one && n == head && n > 0 && rows%n == 0
		norms.found, norms.assumed = append(norms.found, i), norms.assumed || x.isAssumed(f.A, f.B)
	}
	if norms.found == nil {
		return nil
	}
	return norms
}

// askHeads makes a question of normalisations of queries and keys that are neither as long as one head nor
// as long as all of them.
func (x *inference) askHeads(sol *match.Solution, found []finding) {
	if norms := x.headNorms(found); norms != nil && !norms.all && !norms.one && !norms.assumed {
		ask(sol, found, norms.found, "they are neither as long as one head nor as all of the queries and keys")
	}
}

// wrongHeads says that the normalisations of queries and keys are as long as one head, and those of B's
// convention as all of them, or the other way round. It is "" where that is not so.
func (x *inference) wrongHeads(found []finding) string {
	norms := x.headNorms(found)
	if x.b.of == nil || norms == nil || norms.assumed || norms.all == norms.one {
		return ""
	}
	const one, all = "as long as one head", "as long as all queries and keys"
	var names []string
	for _, i := range norms.found {
		names = append(names, patternBeside(x.a.modules[found[i].A[0]], x.b.modules[found[i].B[0]]))
	}
	say := func(are, others string) string {
		return fmt.Sprintf("its normalisations %s are %s, and those of %s %s", some(names, "and"), are, x.b.of.Name, others)
	}
	switch {
	case norms.all && x.b.of.Layout.QKNorm == convention.QKNormHead:
		return say(all, one)
	case norms.one && x.b.of.Layout.QKNorm == convention.QKNormAll:
		return say(one, all)
	}
	return ""
}

// ask makes one question of matches.
func ask(sol *match.Solution, found []finding, group []int, by string) {
	for _, i := range group {
		f := &found[i]
		f.class, f.confidence, f.by = Guess, min(f.confidence, match.WeakCap), []string{by}
	}
	sol.Open = append(slices.DeleteFunc(sol.Open, func(open []int) bool { return len(except(slices.Clone(open), group)) == 0 }), group)
}
