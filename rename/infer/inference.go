package infer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/match"
)

// Infer finds the map from A to B. The error says why there can be none: names that are
// hostile, an assumption that fits nothing, weights that cannot be read.
func Infer(ctx context.Context, a, b *Inventory, opt Options) (*Result, error) {
	x, err := newInference(ctx, a, b, opt)
	if err != nil {
		return nil, err
	}
	y, err := x.resized()
	if err != nil {
		return nil, err
	}
	var sized *Result
	if y != nil {
		if sized, err = y.find(); err != nil || sized.Refused == "" {
			return sized, err
		}
	}
	res, err := x.find()
	if err != nil || res.Refused == "" {
		return res, err
	}
	if one, err := x.singly(); err != nil || one != nil {
		return one, err
	}
	if sized != nil {
		res.Refused, res.Sizes = sized.Refused, sized.Sizes
	}
	return res, nil
}

// find finds the map from A to B.
func (x *inference) find() (*Result, error) {
	opt := &x.opt
	if !opt.Unknown && !opt.Opaque && len(opt.Assume) == 0 {
		res, err := x.known()
		if err == nil && res == nil {
			res, err = x.unwrapped()
		}
		if err == nil && res != nil && res.Refused == "" && opt.Content != nil {
			res, err = x.compare(res)
		}
		if res != nil || err != nil {
			if err == nil && x.sizing != nil {
				res.Sizes = x.sizing.text
			}
			return res, err
		}
	}
	return x.infer()
}

// ToConvention finds the map from A to the names that a convention has for a model of its
// size.
func ToConvention(ctx context.Context, a *Inventory, to *convention.Convention, opt Options) (*Result, error) {
	x, err := newInference(ctx, a, new(Inventory), opt)
	if err != nil {
		return nil, err
	}
	if !opt.Unknown && !opt.Opaque && len(opt.Assume) == 0 {
		res, err := x.knownTo(to)
		if err == nil && res == nil {
			res, err = x.unwrappedTo(to)
		}
		// A number that a conversion needs is of use only where the model is of one kind.
		if _, needs := errors.AsType[*convert.RefusalError](err); needs {
			if other, bad := x.aimedAt(to, nil); bad == nil && other.Refused != "" {
				return other, nil
			}
		}
		if res != nil || err != nil {
			return res, err
		}
	}
	return x.aimedAt(to, opt.Content)
}

// aimedAt finds the map to what a convention has for a model of A's size.
func (x *inference) aimedAt(to *convention.Convention, content Content) (*Result, error) {
	if err := x.aim(to); err != nil {
		return nil, err
	}
	x.opt.Content = content
	return x.infer()
}

// A half is one of the two checkpoints: its tensors, and the modules that they make.
type half struct {
	tensors []convention.Named
	modules []*match.Module
	model   *convention.Model
	// of is the convention whose names they are, nil where it is not known.
	of *convention.Convention
	// whole is set where all of them are, so that they say how the rows of fused tensors lie.
	whole bool
	// virtual is set of names that a convention has for a model that nobody has saved.
	virtual bool
	// beyond are patterns that the convention has in every layer, and no model like A: its experts.
	beyond []string
	// aimed is what is known of its modules beside.
	aimed []aimed
	// said is what conventions say of the names, nil until it is needed.
	said *reading
	// near is the nearest convention, where the names are of none.
	near string
}

// aimed is what a convention says of a module.
type aimed struct {
	given bool // the configuration gives its shape
	bias  occurrence
}

// An occurrence is whether models of a convention have a tensor.
type occurrence int

const (
	never occurrence = iota
	sometimes
	always
)

// name is that of the main tensor of a member of a module.
func (h *half) name(m, member int) string {
	return h.tensors[h.modules[m].Leaves[0].Tensors[member]].Name
}

// names are those of the tensors, in the order of the files.
func (h *half) names() []string {
	names := make([]string, len(h.tensors))
	for i := range h.tensors {
		names[i] = h.tensors[i].Name
	}
	return names
}

func newHalf(inv *Inventory) (half, error) {
	h := half{tensors: inv.Tensors, model: inv.Model}
	tensors := make([]match.Tensor, len(inv.Tensors))
	seen := make(map[string]bool, len(inv.Tensors))
	for i, t := range inv.Tensors {
		if seen[t.Name] {
			return h, fmt.Errorf("the name %q appears twice", t.Name)
		}
		seen[t.Name] = true
		tensors[i] = match.Tensor{Name: t.Name, Shape: t.Shape, DType: t.DType}
	}
	var err error
	h.modules, err = match.Modules(tensors)
	return h, err
}

// An inference is what is known while a map is being found.
type inference struct {
	ctx     context.Context
	opt     Options
	a, b    half
	ordered bool
	fixed   []fix // what assumptions say
	// shapes is the solution that shapes give without names, nil until it is needed.
	shapes *match.Solution
	// sizing is set where B is made a model of A's size.
	sizing *sizing
	// placed are modules of A that became what was left.
	placed map[int]bool
	// byName are the modules of B by their names, nil until it is needed.
	byName map[string]int
	// unrelated is set where weights of both sides were compared, and none are alike.
	unrelated bool
}

func newInference(ctx context.Context, a, b *Inventory, opt Options) (*inference, error) {
	x := &inference{ctx: ctx, opt: opt, ordered: a.Ordered && b.Ordered}
	var err error
	if x.a, err = newHalf(a); err != nil {
		return nil, err
	}
	if x.b, err = newHalf(b); err != nil {
		return nil, err
	}
	return x, ctx.Err()
}

// infer weighs names, shapes and order, and weights where there are any.
func (x *inference) infer() (*Result, error) {
	if !x.opt.Unknown && !x.opt.Opaque {
		x.interpret()
	}
	if err := x.assume(); err != nil {
		return nil, err
	}
	sol, err := x.solve(nil)
	if err != nil {
		return nil, err
	}
	if err := x.ctx.Err(); err != nil {
		return nil, err
	}
	if err := x.arrangeAssumed(sol); err != nil {
		return nil, err
	}
	x.turnSquare(sol)
	found := x.judge(sol)
	var disputed []Contradiction
	if x.opt.Content != nil {
		if sol, found, disputed, err = x.settle(sol, found); err != nil {
			return nil, err
		}
	}
	if !x.opt.Unknown && !x.opt.Opaque {
		x.review(found)
	}
	return x.result(sol, found, disputed)
}

// certain is what an assumption is worth, in log-odds: more than all other evidence.
const certain = 60

// solve finds the matches. Extra is what more is known of a hypothesis, as match.Options
// has it.
func (x *inference) solve(extra func(a, b []int) float64) (*match.Solution, error) {
	sol, err := match.Solve(x.a.modules, x.b.modules, match.Options{
		Opaque: x.opt.Opaque, Ordered: x.ordered,
		Extra: func(a, b []int) float64 {
			cost := x.assumed(a, b)
			if extra != nil && !math.IsInf(cost, 1) {
				cost += extra(a, b)
			}
			return cost
		},
	})
	switch {
	case err != nil:
	case x.b.virtual:
		x.place(sol)
	case !x.opt.Opaque:
		x.placeAlone(sol)
	}
	return sol, err
}

// placeAlone makes questions of what is left on both sides and has a shape that nothing else has: names that
// say different things may be wrong.
func (x *inference) placeAlone(sol *match.Solution) {
	x.placed = make(map[int]bool)
	for _, i := range slices.Clone(sol.AloneA) {
		for _, j := range slices.Clone(sol.AloneB) {
			a, b := x.a.modules[i], x.b.modules[j]
			if comparable(a, b) && slices.Equal(a.Shape, b.Shape) && x.a.alike(i) == 1 && x.b.alike(j) == 1 &&
				!a.Meaning.Buffer && !b.Meaning.Buffer && !math.IsInf(x.assumed([]int{i}, []int{j}), 1) {
				x.put(sol, i, j)
			}
		}
	}
}

// put takes two modules that are left for each other, as a guess.
func (x *inference) put(sol *match.Solution, i, j int) {
	x.placed[i] = true
	sol.Open = append(sol.Open, []int{len(sol.Matches)})
	sol.Matches = append(sol.Matches, match.Match{A: []int{i}, B: []int{j}, Confidence: 0.5})
	sol.AloneA, sol.AloneB = except(sol.AloneA, []int{i}), except(sol.AloneB, []int{j})
}

// place makes questions of what is left outside of the layers of both sides and may be one: a head that is
// called classifier, a table of what a convention does not say how long it is. So it does of the last two
// normalisations in the layers. Names do not say that they are one, so that each is a guess.
func (x *inference) place(sol *match.Solution) {
	x.placed = make(map[int]bool)
	fits := func(i, j int) bool {
		a, b := x.a.modules[i], x.b.modules[j]
		if a.Holes() > 0 && a.Meaning.IsNorm() && b.Meaning.IsNorm() && !a.Meaning.Buffer && !math.IsInf(x.assumed([]int{i}, []int{j}), 1) {
			m := match.Match{A: []int{i}, B: []int{j}}
			return comparable(a, b) && slices.Equal(a.Shape, b.Shape) && !x.otherSide(&m)
		}
		biased := b.Meaning.Block == "embed" && // a table adds nothing
			slices.ContainsFunc(a.Leaves, func(l match.Leaf) bool { return l.IsBias() })
		if a.Holes()+b.Holes() > 0 || a.Count != b.Count || a.Packed || a.Meaning.Buffer || b.Meaning.Buffer || biased || math.IsInf(x.assumed([]int{i}, []int{j}), 1) {
			return false
		}
		before, _ := a.Block()
		return before == "" && (a.Shape != nil && slices.Equal(a.Shape, b.Shape) || b.Shape == nil && len(a.Shape) == 2 && a.Meaning.Block == "embed" && b.Meaning.Block == "embed")
	}
	for {
		var pairs [][2]int
		for _, i := range sol.AloneA {
			for _, j := range sol.AloneB {
				if fits(i, j) {
					pairs = append(pairs, [2]int{i, j})
				}
			}
		}
		only := slices.IndexFunc(pairs, func(p [2]int) bool {
			return !slices.ContainsFunc(pairs, func(o [2]int) bool { return o != p && (o[0] == p[0] || o[1] == p[1]) })
		})
		if only < 0 {
			return
		}
		x.put(sol, pairs[only][0], pairs[only][1])
	}
}

// turnSquare takes square matrices for transposed where all others of the blocks are, and for what they are
// where none is: their shapes do not say.
func (x *inference) turnSquare(sol *match.Solution) {
	var square []*match.Match
	turned, straight := 0, 0
	for i := range sol.Matches {
		m := &sol.Matches[i]
		a := x.a.modules[m.A[0]]
		if before, _ := a.Block(); before == "" || len(a.Shape) != 2 {
			continue
		}
		switch {
		case a.Shape[0] == a.Shape[1] && len(m.A)+len(m.B) == 2 && (m.Form == match.Same || m.Form == match.Transposed):
			square = append(square, m)
		case m.Form == match.Transposed:
			turned++
		default:
			straight++
		}
	}
	for _, m := range square {
		switch {
		case turned > 0 && straight == 0:
			m.Form = match.Transposed
		case straight > 0 && turned == 0:
			m.Form = match.Same
		}
	}
}

// A finding is one match, and what is known of it.
type finding struct {
	*match.Match
	class      Class
	confidence float64
	by         []string
	// alone is set of what is asked whatever becomes of the others: how the parts lie in a
	// fused tensor.
	alone bool
	moves *way
	// weighed is set where weights of both sides say it, rows and values included.
	weighed bool
	// offset is what B's numbers are more, about, where nothing makes them exactly.
	offset float64
	// also are modules of B that may be what becomes of it as well.
	also []int
}

// said reports whether the names of a match say that they are the same: what they compute,
// or of which part they are the normalisation.
func (x *inference) said(m *match.Match) bool {
	return x.every(m, func(a, b *match.Meaning) bool {
		norms := a.IsNorm() && b.IsNorm() && a.Block != "" && a.Block == b.Block
		return norms || slices.ContainsFunc(a.Parts, func(p string) bool { return slices.Contains(b.Parts, p) })
	})
}

// byShape reports whether shapes alone leave a match no choice, whatever any name says.
func (x *inference) byShape(m *match.Match) bool {
	if x.shapes == nil {
		sol, err := match.Solve(x.a.modules, x.b.modules, match.Options{Opaque: true})
		if err != nil {
			sol = new(match.Solution)
		}
		x.shapes = sol
	}
	return slices.ContainsFunc(x.shapes.Matches, func(o match.Match) bool {
		return o.Confidence >= match.Confidence(match.Sure) && sameSet(o.A, m.A) && sameSet(o.B, m.B)
	})
}

// forcedMargin is that of a match to which shapes leave no other, as nothing else has.
const forcedMargin = 4

// leaves reports whether the shapes of two lists leave a match no other, so that words on which projects do not
// agree do not matter: all that one list has becomes something in the other, and no other module has the
// shape and the indices. What words that mean one thing speak against is asked all the same.
func (x *inference) leaves(sol *match.Solution, m *match.Match) bool {
	if x.b.virtual || x.sizing != nil || !m.Only || m.Form != match.Same || x.placed[m.A[0]] {
		return false
	}
	needed := func(h *half, alone []int) bool {
		return slices.ContainsFunc(alone, func(i int) bool { return !h.modules[i].Meaning.Buffer && !h.modules[i].Optional })
	}
	a, b := x.a.modules[m.A[0]], x.b.modules[m.B[0]]
	return a.Shape != nil && b.Shape != nil && !needed(&x.a, sol.AloneA) && !needed(&x.b, sol.AloneB) &&
		(a.Meaning.Weak || b.Meaning.Weak || !a.Meaning.Against(&b.Meaning, false))
}

func (x *inference) every(m *match.Match, holds func(a, b *match.Meaning) bool) bool {
	for _, i := range m.A {
		for _, j := range m.B {
			if !holds(&x.a.modules[i].Meaning, &x.b.modules[j].Meaning) {
				return false
			}
		}
	}
	return true
}

// againstNames is said of what was assumed, unless weights say it as well.
const againstNames = "the names say otherwise"

// judge says what each match rests on.
func (x *inference) judge(sol *match.Solution) []finding {
	out := make([]finding, len(sol.Matches))
	same := !slices.ContainsFunc(sol.Matches, func(m match.Match) bool { return !m.Same }) && len(except(x.b.needed(), sol.AloneB)) == len(x.b.needed())
	for i := range sol.Matches {
		m := &sol.Matches[i]
		f := &out[i]
		f.Match, f.confidence = m, m.Confidence
		f.moves = x.plain(m, same)
		switch {
		case x.isAssumed(m.A, m.B):
			f.class, f.confidence, f.by = Named, 1, []string{"it was assumed"}
			a, b := x.a.modules[m.A[0]], x.b.modules[m.B[0]]
			turned := m.Form == match.Transposed && a.Shape[0] != a.Shape[len(a.Shape)-1]
			if len(m.A)+len(m.B) == 2 && a.Meaning.Against(&b.Meaning, turned) {
				f.by = append(f.by, againstNames)
			}
			if turned {
				f.by = append(f.by, "its rows become columns")
			}
			continue
		case m.Confidence < match.Confidence(match.Sure) && x.leaves(sol, m):
			f.class, f.by = Forced, []string{"nothing else has its shape, and nothing is left over on either side"}
			f.confidence = match.Confidence(forcedMargin)
		case m.Confidence < match.Confidence(match.Sure):
			f.class, f.by = Guess, []string{"nothing tells it from others"}
			f.confidence = min(f.confidence, match.WeakCap)
			if x.placed[m.A[0]] {
				f.by = []string{"nothing else is left on either side that fits, and its name does not say so"}
			} else if m.Confidence > 0.501 {
				f.by = []string{"only words of which projects mean different things, and order, tell it from others"}
			}
		case m.Same:
			f.class, f.by = Named, []string{"the names are equal below a prefix"}
			switch a, b := x.a.modules[m.A[0]], x.b.modules[m.B[0]]; {
			case a.String() == b.String():
				f.by = []string{"the names are equal"}
			case a.Spelled(b):
				f.by = []string{"the names are equal except for what joins their words"}
			}
		case m.Only:
			f.class, f.by = Forced, []string{"nothing else has its shape"}
		case !x.opt.Opaque && x.said(m):
			f.class, f.by = Named, []string{"names mean the same"}
		case x.byShape(m):
			f.class, f.by = Forced, []string{"nothing else fits its shape as well"}
		default:
			f.class, f.by = Named, []string{"by the names of the others, nothing else fits as well"}
		}
		if a := x.a.modules[m.A[0]]; m.Form == match.Transposed && a.Shape[0] == a.Shape[len(a.Shape)-1] {
			f.by = append(f.by, "the other matrices are stored the other way round")
		}
		if f.moves.assumed {
			f.alone = true
			f.class, f.confidence = Guess, min(f.confidence, match.WeakCap)
		}
		if f.moves.by != "" {
			f.by = append(f.by, f.moves.by)
		}
	}
	x.askSides(sol, out)
	x.askHeads(sol, out)
	x.askMoved(sol, out)
	return out
}

// review looks for renames after which a model would compute nonsense, although names mean
// the same: conventions that differ in the order of rows, or in what is added to a
// normalisation.
func (x *inference) review(found []finding) {
	conflicts := make(map[string]*convert.Conflict)
	renames := func(yield func(from, to string) bool) {
		for i := range found {
			for _, mv := range x.moves(found[i].Match, found[i].moves) {
				if len(mv.Ops) == 0 && !yield(mv.From[0], mv.To[0]) {
					return
				}
			}
		}
	}
	v := convert.Review(renames, x.a.model)
	for i := range v.Conflicts {
		conflicts[v.Conflicts[i].From] = &v.Conflicts[i]
	}
	for i := range found {
		f := &found[i]
		for _, mv := range x.moves(f.Match, f.moves) {
			if c := conflicts[mv.From[0]]; c != nil && len(mv.Ops) == 0 && !f.weighed && !x.isAssumed(f.A, f.B) {
				f.class, f.confidence, f.alone = Guess, 0.5, true
				f.by = append(f.by, "but "+c.Reason)
				break
			}
		}
	}
}

// weakest is the class that says least.
func weakest(a, b Class) Class {
	order := []Class{Guess, Named, Forced, Measured, Proven}
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}
