package infer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

const (
	// matches is how many standard deviations from unrelated weights make a match. Of 672 pairs
	// of tensors of small models that were trained apart, none came further than 3.9.
	matches = 5
	// rival is how much of the likeness of the best pair another pair of the same module must have
	// to be taken for a match as well. The channels of one model are alike throughout it: its two
	// normalisations of a block are far from unrelated.
	rival = 0.6
	// contradicts is how many it takes against a name.
	contradicts = 8
	// mostWeight is what weights count at most, in log-odds: more than any name.
	mostWeight = 25
	// mismatch is what it costs that weights are not alike where those of another module are.
	mismatch = 4
	// alikeEnough is a cosine that rows in another order do not have: half of the sampled ones, at
	// most, are where they were.
	alikeEnough = 0.9
	// offsetWithin is how far from 1 a difference of means may be that is taken for 1. That of models which were
	// trained on, and of unrelated ones of one recipe, was 0.04 at most.
	offsetWithin = 0.25
)

// A weighing is what weights say of modules.
type weighing struct {
	*inference
	alike map[[2]int]likeness
	// members are the likenesses of pairs of modules, member by member.
	members map[[2]int]map[int]Likeness
	ofA     map[int]bool // modules that are like one of the other side
	ofB     map[int]bool
	found   map[string]*way // of hypotheses that are not of one module and one alike
	// tried and turned count hypotheses for which nothing was found.
	tried, turned int
	err           error
}

// A likeness is what the members of two modules say together.
type likeness struct {
	members, of        int // how many were compared, and how many there are
	equal, informative bool
	rounded            bool    // a member is equal only after rounding
	z, cosine          float64 // means: members of one model are not independent of one another
	share              float64 // of the z of the best pair of either module
	ops                []tensorop.Op
	vector             bool
	least, most        float64 // by which the numbers of a member are more in B
}

// offset is what B's numbers are more than A's by the means of their vectors, in every member and about: 1
// or -1, and otherwise 0. Likeness does not see it.
func (l *likeness) offset() float64 {
	t := math.Round((l.least + l.most) / 2)
	if !l.vector || l.equal || l.ops != nil || math.Abs(t) != 1 || max(t-l.least, l.most-t) > offsetWithin {
		return 0
	}
	return t
}

// matches reports whether the weights are those of one module.
func (l *likeness) matches() bool { return l.z > matches && l.share > rival || l.proves() }

func (l *likeness) proves() bool { return l.equal && l.informative }

// class is what a rule for two modules that match rests on.
func (l *likeness) class() Class {
	if l.proves() && l.members == l.of {
		return Proven
	}
	return Measured
}

// tensors says how many were compared.
func (l *likeness) tensors() string {
	if l.members < l.of {
		return fmt.Sprintf("%d of %s", l.members, plural.Of(l.of, "tensor"))
	}
	return plural.Of(l.members, "tensor")
}

// asRounded is said behind "equal": numbers of F32 and those that BF16 makes of them.
func asRounded(rounded bool) string {
	if rounded {
		return " once rounded as the coarser of their dtypes does"
	}
	return ""
}

// String says how alike they are.
func (l *likeness) String() string {
	rows := "the sampled rows of " + l.tensors()
	if l.proves() {
		return rows + " are equal" + asRounded(l.rounded)
	}
	return fmt.Sprintf("%s have a cosine of %.2f, z = %.0f", rows, l.cosine, l.z)
}

// sampled is which members of a module are compared where not all are: in the first, the middle
// and the last block.
func sampled(count int) []int {
	return slices.Compact([]int{0, count / 2, max(0, count-1)})
}

// settle solves again with what weights say.
func (x *inference) settle(sol *match.Solution, found []finding) (*match.Solution, []finding, []Contradiction, error) {
	if x.b.virtual {
		return x.settleAlone(sol, found)
	}
	w, err := x.weigh()
	if err != nil {
		return nil, nil, nil, err
	}
	named := make(map[int]int)
	for _, f := range found {
		if f.class == Named && len(f.A) == 1 && len(f.B) == 1 {
			named[f.A[0]] = f.B[0]
		}
	}
	if sol, found, err = x.again(w.extra); err != nil {
		return nil, nil, nil, err
	}
	disputed := w.contradictions(named)
	single := make(map[int]int)
	for i := range found {
		if f := &found[i]; len(f.A)+len(f.B) == 2 {
			single[f.A[0]] = f.B[0]
		}
	}
	strays, err := w.strays(single)
	if err != nil {
		return nil, nil, nil, err
	}
	for i := range found {
		f := &found[i]
		if !x.isAssumed(f.A, f.B) {
			w.judge(f)
		} else if c := w.judgeAssumed(f); c != nil {
			disputed = append(disputed, *c)
		}
	}
	for _, c := range strays {
		disputed = append(disputed, c.Contradiction)
		for i := range found {
			if f := &found[i]; len(f.A) == 1 && slices.Contains(c.a, f.A[0]) && !c.Assumed {
				f.class, f.confidence, f.by = Guess, min(f.confidence, 0.5), []string{fmt.Sprintf("but its weights %s are those of %s: %s", c.where(), c.Content, c.By)}
			}
		}
	}
	w.askOffsets(sol, found)
	x.mark(found, disputed)
	return sol, found, disputed, w.err
}

// judgeAssumed adds to what was assumed that the weights say it as well, or returns how
// parts lie otherwise than it says. What single modules are otherwise, contradictions finds.
func (w *weighing) judgeAssumed(f *finding) *Contradiction {
	confirm := func(class Class, by string) {
		f.by = append(slices.DeleteFunc(f.by, func(s string) bool { return s == againstNames }), by)
		f.class = class
	}
	if len(f.A)+len(f.B) == 2 {
		switch l := w.alike[[2]int{f.A[0], f.B[0]}]; {
		case l.ops != nil:
			confirm(Proven, fmt.Sprintf("%s makes the sampled rows of %s", kindOf(l.ops), l.tensors()))
			f.moves = &way{compute: l.ops, pad: f.moves.pad}
		case l.matches():
			confirm(l.class(), l.String())
		}
		return nil
	}
	r := w.way(f.A, f.B)
	if r == nil {
		return nil
	}
	parts, side := w.partsOf(f.Match)
	sorted := slices.Sorted(slices.Values(parts))
	same := r.layout == "" && r.from == "" && !r.turned
	var names, lie []string
	for k, p := range r.order {
		same = same && sorted[p] == parts[k]
		names, lie = append(names, pattern(side[parts[k]])), append(lie, pattern(side[sorted[p]]))
	}
	by := fmt.Sprintf("%.0f %% of the probe rows are where they are in %s", 100*r.score, r)
	if same {
		confirm(Measured, by)
		return nil
	}
	return &Contradiction{From: patternBeside(w.a.modules[f.A[0]], w.b.modules[f.B[0]]), Name: strings.Join(names, " + "), Content: strings.Join(lie, " + "), By: by, Assumed: true}
}

// isOf reports whether a pattern is that of the old module of a finding.
func (x *inference) isOf(text string, f *finding) bool {
	m := x.a.modules[f.A[0]]
	return text == pattern(m) || text == patternBeside(m, x.b.modules[f.B[0]])
}

// mark writes into what was assumed that the weights are against it.
func (x *inference) mark(found []finding, disputed []Contradiction) {
	for i := range found {
		f := &found[i]
		for _, c := range disputed {
			if c.Assumed && x.isOf(c.From, f) {
				where := ""
				if c.Layers != nil {
					where = c.where() + " "
				}
				f.confidence, f.by = 0.5, []string{fmt.Sprintf("it was assumed, but by its weights it is %s%s: %s", where, c.Content, c.By)}
			}
		}
	}
}

// compare says of a map that conventions make what the weights say. Where a layout of the
// conventions is not that of the weights, it returns another map in its place.
func (x *inference) compare(res *Result) (*Result, error) {
	w, err := x.weigh()
	if err != nil {
		return nil, err
	}
	module := make(map[string]int) // of the main tensors of B
	for j, m := range x.b.modules {
		for k := range m.Count {
			module[x.b.name(j, k)] = j
		}
	}
	plan := rename.NewPlan(res.Map, x.a.names(), rename.Limits{})
	made, rule := make(map[string]string), make(map[string]int)
	for _, row := range plan.Rows {
		made[row.From], rule[row.From] = row.To, row.Rule
	}
	named, computed := make(map[int]int), false
	renames := make([][][2]int, len(res.Map.Rules)) // modules by rule
	for i := range x.a.modules {
		name := x.a.name(i, 0)
		if j, ok := module[made[name]]; ok {
			named[i] = j
			r := rule[name]
			if r >= 0 && res.Map.Rules[r].MovesBytes() {
				continue
			}
			if r >= 0 {
				renames[r] = append(renames[r], [2]int{i, j})
			}
			computed = computed || w.alike[[2]int{i, j}].ops != nil
		}
	}
	if computed { // which conventions do not say
		return x.infer()
	}
	strays, err := w.strays(named)
	if err != nil {
		return nil, err
	}
	astray := make(map[int]bool)
	for _, c := range strays {
		for _, a := range c.a {
			astray[a] = true
		}
	}
	for r, pairs := range renames {
		if !slices.ContainsFunc(pairs, func(p [2]int) bool { return astray[p[0]] }) {
			w.confirm(res, r, pairs)
		}
	}
	refuted, err := w.confirmLayouts(res, plan)
	if err != nil {
		return nil, err
	}
	if refuted != nil {
		other, err := x.infer()
		if err == nil && len(res.Questions) == 0 { // names fit these two conventions and no others
			other.Contradictions = append(other.Contradictions, *refuted)
		}
		return other, err
	}
	res.Contradictions, res.Read, res.Unrelated = w.contradictions(named), x.opt.Content.Read(), x.unrelated
	for _, c := range strays {
		res.Contradictions = append(res.Contradictions, c.Contradiction)
	}
	res.Questions = append(res.Questions, x.contradicted(res.Contradictions)...)
	w.offsetQuestion(res, named, renames)
	res.ask()
	return res, w.err
}

// confirm says of a rule what the weights of the modules that it renames say, where they agree.
func (w *weighing) confirm(res *Result, rule int, pairs [][2]int) {
	all := likeness{equal: true, informative: true}
	for _, p := range pairs {
		l := w.alike[p]
		if !l.matches() {
			return
		}
		all.equal = all.equal && l.proves()
		all.rounded = all.rounded || l.rounded
		all.members, all.of = all.members+l.members, all.of+l.of
	}
	if all.members == 0 {
		return
	}
	by := "the sampled rows of %s are equal" + asRounded(all.rounded)
	if !all.equal {
		by = "the sampled rows of %s are alike"
	}
	res.confirm(rule, all.class(), fmt.Sprintf(by, all.tensors()))
}

// confirmLayouts carries out what the rules do to bytes, in three blocks, and returns what
// contradicts one of them. Where weights confirm all of them, no other convention is in question.
func (w *weighing) confirmLayouts(res *Result, plan *rename.Plan) (*Contradiction, error) {
	if len(w.ofA) == 0 {
		return nil, nil
	}
	of := func(h *half) map[string]int {
		out := make(map[string]int)
		for i, m := range h.modules {
			for k := range m.Count {
				out[h.name(i, k)] = i
			}
		}
		return out
	}
	ofA, ofB := of(&w.a), of(&w.b)
	byRule := make([][]*rename.Transform, len(res.Map.Rules))
	for i := range plan.Transforms {
		t := &plan.Transforms[i]
		if m, ok := ofA[t.From[0]]; ok && len(w.a.modules[m].Shape) > 1 {
			byRule[t.Rule] = append(byRule[t.Rule], t)
		}
	}
	modules := func(of map[string]int, names []string) []int {
		var list []int
		for _, n := range names {
			if m, ok := of[n]; ok && !slices.Contains(list, m) {
				list = append(list, m)
			}
		}
		return list
	}
	all := true
	for i, list := range byRule {
		list = slices.DeleteFunc(slices.Clone(list), func(t *rename.Transform) bool { return !w.compares(t.To) })
		if len(list) == 0 {
			continue
		}
		least, most := 1.0, 0.0
		for _, k := range sampled(len(list)) {
			scores, err := w.opt.Content.Layouts(w.ctx, list[k].From, list[k].To, [][]tensorop.Op{list[k].Ops})
			if err != nil {
				return nil, err
			}
			least, most = min(least, scores[0]), max(most, scores[0])
		}
		if least >= enough {
			res.confirm(i, Measured, fmt.Sprintf("%.0f %% of the probe rows are where they should be", 100*least))
			continue
		}
		all = false
		a, b := modules(ofA, list[0].From), modules(ofB, list[0].To)
		if most > enough-ahead || len(a) == 0 || len(b) == 0 {
			continue
		}
		if r := w.way(a, b); r != nil {
			rule := &res.Map.Rules[i]
			return &Contradiction{From: rule.From[0].String(), Name: rule.String(), Content: r.String(), By: fmt.Sprintf("%.0f %% of the probe rows are where weights have them, and %.0f %% where names have them", 100*r.score, 100*most)}, w.err
		}
	}
	if all && slices.ContainsFunc(byRule, func(list []*rename.Transform) bool { return list != nil }) {
		res.Questions = nil // which of two conventions it is
	}
	return nil, w.err
}

// confirm adds what weights say to a rule.
func (r *Result) confirm(rule int, class Class, by string) {
	f := &r.Rules[rule]
	f.Class, f.Confidence, f.By = class, 1, append(f.By, by)
	r.note(rule)
}

// contradicted asks whether to go by names or by weights, of modules that have changed
// places together.
func (x *inference) contradicted(list []Contradiction) []Question {
	var out []Question
	for _, c := range list {
		if c.Assumed {
			continue
		}
		if c.Layers != nil {
			out = append(out, Question{
				Between: []string{c.From}, And: []string{c.Name}, Best: []string{c.Name}, Confidence: 0.5,
				Settle: []Step{{Answer: &Assumption{lastWords(&x.a, c.From), lastWords(&x.b, c.Name)}, Note: "takes all layers alike"}},
			})
			continue
		}
		i := slices.IndexFunc(out, func(q Question) bool { return slices.Contains(q.And, c.Name) || slices.Contains(q.And, c.Content) })
		if i < 0 {
			i = len(out)
			out = append(out, Question{Confidence: match.WeakCap, Settle: []Step{
				{Answer: &Assumption{lastWords(&x.a, c.From), lastWords(&x.b, c.Content)}, Note: "goes by the weights"},
				{Answer: &Assumption{lastWords(&x.a, c.From), lastWords(&x.b, c.Name)}, Note: "goes by the name"},
			}})
		}
		q := &out[i]
		q.Between, q.Best = append(q.Between, c.From), append(q.Best, c.Content)
		for _, p := range []string{c.Name, c.Content} {
			if !slices.Contains(q.And, p) {
				q.And = append(q.And, p)
			}
		}
	}
	return out
}

// again solves with more evidence.
func (x *inference) again(extra func(a, b []int) float64) (*match.Solution, []finding, error) {
	sol, err := x.solve(extra)
	if err != nil {
		return nil, nil, err
	}
	if err := x.arrangeAssumed(sol); err != nil {
		return nil, nil, err
	}
	return sol, x.judge(sol), x.ctx.Err()
}

// comparable reports whether members of two modules have shapes that are compared.
func comparable(x, y *match.Module) bool {
	if x.Count != y.Count || x.Holes() != y.Holes() || x.Shape == nil || y.Shape == nil || x.Optional || y.Optional {
		return false
	}
	n := len(x.Shape)
	same := slices.Equal(x.Shape, y.Shape)
	turned := n == 2 && len(y.Shape) == 2 && x.Shape[0] == y.Shape[1] && x.Shape[1] == y.Shape[0]
	return (same || turned) && slices.EqualFunc(x.Shapes, y.Shapes, slices.Equal) && slices.Equal(x.Index, y.Index)
}

func sameOp(x, y tensorop.Op) bool {
	return x.Kind == y.Kind && x.Value == y.Value && x.From == y.From && x.To == y.To
}

// isChannels reports whether the elements of a vector are what the columns of a matrix are: a
// normalisation is, of what it feeds. Others, such as biases of queries and normalisations of heads,
// follow the frequencies of rotary embedding, which makes unrelated models alike.
func isChannels(h *half, v *match.Module) bool {
	if len(v.Leaves) == 0 || len(v.Shape) != 1 || v.Leaves[0].IsBias() {
		return false
	}
	return slices.ContainsFunc(h.modules, func(m *match.Module) bool {
		return len(m.Shape) > 1 && (m.Shape[1] == v.Shape[0] || m.Shape[len(m.Shape)-1] == v.Shape[0])
	})
}

// extra is what weights add to the cost of a hypothesis, see [match.Options]. Once reading
// fails it adds nothing, and err says why.
func (w *weighing) extra(a, b []int) float64 {
	if w.err != nil {
		return 0
	}
	if len(a) == 1 && len(b) == 1 {
		if l, ok := w.alike[[2]int{a[0], b[0]}]; ok {
			switch {
			case l.proves():
				return -mostWeight
			case l.matches():
				return -min(l.z, mostWeight) * l.share
			case w.ofA[a[0]] || w.ofB[b[0]]:
				return mismatch
			}
			// Otherwise the rows may be in another order, or those of a square matrix columns.
		}
	}
	if w.way(a, b) != nil {
		return -mostWeight
	}
	if slices.ContainsFunc(a, func(i int) bool { return w.ofA[i] }) || slices.ContainsFunc(b, func(j int) bool { return w.ofB[j] }) {
		return mismatch
	}
	return 0
}

// judge writes into a finding what the weights say of its match. Where they say how the rows lie,
// names do not.
func (w *weighing) judge(f *finding) {
	say := func(class Class, how *way, format string, args ...any) {
		how.pad = f.moves.pad
		if f.Form == match.Transposed && square(w.a.modules[f.A[0]]) { // what names and other shapes have made of it
			how.turned = !how.turned
		}
		f.class, f.confidence, f.alone, f.weighed, f.moves = class, f.Confidence, false, true, how
		f.by = []string{fmt.Sprintf(format, args...)}
		switch {
		case class == Proven: // if others are equal as well, it does not matter which is which
			f.confidence = 1
		case f.Confidence < match.Confidence(match.Sure) && w.twin(f.A[0], f.B[0]):
			f.confidence = 1
			f.by = append(f.by, "another tensor has the same rows, so that it does not matter which of them it is")
		case f.Confidence < match.Confidence(match.Sure):
			f.class, f.confidence = Guess, min(f.Confidence, match.WeakCap)
			f.by = append(f.by, "and others are as much alike")
		}
	}
	l, ok := w.alike[[2]int{f.A[0], f.B[0]}]
	ok = ok && len(f.A)+len(f.B) == 2
	alike := func(how *way) {
		say(Measured, how, "%s", l.String())
	}
	switch {
	case ok && l.proves():
		say(l.class(), new(way), "%s", l.String())
		if f.class == Measured {
			f.confidence = 1
		}
		return
	case ok && l.ops != nil:
		say(Proven, &way{compute: l.ops}, "%s makes the sampled rows of %s", kindOf(l.ops), l.tensors())
		return
	case ok && l.matches() && (l.vector || l.cosine > alikeEnough):
		alike(new(way))
		return
	case ok && l.vector:
		return
	}
	// Rows in another order, or a square matrix turned, are alike in a few rows or in none.
	switch r := w.way(f.A, f.B); {
	case r == nil && ok && l.matches():
		alike(f.moves)
	case r == nil:
	case ok && l.matches() && r.plain():
		alike(new(way))
	default:
		say(Measured, w.arranged(f.Match, r), "%.0f %% of the probe rows are where they are in %s, and %.0f %% where the next best way has them", 100*r.score, r, 100*r.next)
	}
}

// twin reports whether another module of A is as like one of B to the last bit: a head that is
// tied to the embedding, saved twice.
func (w *weighing) twin(i, j int) bool {
	l := w.alike[[2]int{i, j}]
	for k := range w.a.modules {
		if o, ok := w.alike[[2]int{k, j}]; ok && k != i && l.matches() && o.z == l.z && o.cosine == l.cosine {
			return true
		}
	}
	return false
}

// square matrices do not show whether they are transposed.
func square(m *match.Module) bool {
	n := len(m.Shape)
	return n > 1 && m.Shape[n-1] == m.Shape[n-2]
}

// partsOf are the parts of a match, and the side that they are of.
func (x *inference) partsOf(m *match.Match) ([]int, []*match.Module) {
	if len(m.A) > 1 {
		return m.A, x.a.modules
	}
	return m.B, x.b.modules
}

// arranged puts the parts of a match in the order in which they lie, and returns the way for
// that order.
func (w *weighing) arranged(m *match.Match, r *way) *way {
	parts, side := w.partsOf(m)
	out, sorted := *r, slices.Sorted(slices.Values(parts))
	out.order, out.rope, m.Rows = nil, slices.Clone(r.rope), nil
	for k, p := range r.order {
		parts[k] = sorted[p]
		s := side[sorted[p]].Shape
		m.Rows = append(m.Rows, s[len(s)-2])
		if r.rope != nil {
			out.rope[k] = r.rope[p]
		}
	}
	return &out
}

func kindOf(ops []tensorop.Op) string {
	op := ops[len(ops)-1]
	if op.Value != 0 {
		return fmt.Sprintf("%s %v", op.Kind, op.Value)
	}
	return string(op.Kind)
}

// contradictions compares what names say, one module of B for a module of A, with what
// weights say.
func (w *weighing) contradictions(named map[int]int) []Contradiction {
	var out []Contradiction
	for i, m := range w.a.modules {
		j, ok := named[i]
		if !ok {
			continue
		}
		if l, ok := w.alike[[2]int{i, j}]; !ok || l.matches() || l.ops != nil {
			continue
		}
		best, most, by := -1, float64(contradicts), ""
		for k := range w.b.modules {
			l, ok := w.alike[[2]int{i, k}]
			switch {
			case !ok || k == j:
			case l.proves():
				best, most, by = k, math.Inf(1), l.String()
			case l.z >= most && l.matches():
				best, most, by = k, l.z, l.String()
			}
		}
		if best >= 0 && w.way([]int{i}, []int{j}) == nil {
			out = append(out, Contradiction{From: patternBeside(m, w.b.modules[j]), Name: pattern(w.b.modules[j]), Content: pattern(w.b.modules[best]), By: by, Assumed: w.isAssumed([]int{i}, []int{j})})
		}
	}
	return out
}
