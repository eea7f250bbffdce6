package infer

import (
	"fmt"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/rename/match"
)

// What weights show without others to compare them with is little, and two things are reliable.
//
// The rows of a gate have a direction in common. Those of the up projection beside it do not:
// its units may have either sign, and an activation such as SiLU takes that freedom from gates.
//
// A normalisation is large where the columns of what it feeds are. So that before attention is told
// from that before the MLP.
//
// Either was right in 52 of 53 layers of 7 models of a few layers and up to 2 million parameters.
//
// The rows of a head have a direction in common as well, and those of the embedding less of it. That
// was so in six models of one project, and is a hint: what it says is still asked.
//
// Nothing of the kind tells key from value, where all heads have keys of their own query from
// key, or a square output projection from the query: whether the columns are as large as those of key
// and value was right in two of seven models, wrong in one, and undecided in the others.
const (
	hintCap    = 0.8  // how sure a hint makes
	hintWeight = 1.39 // hintCap in log-odds
	// torn is how sure other evidence may be where a hint is taken: with both, a match is still
	// asked.
	torn = 0.68
	// clueCap is how sure a clue makes; three layers of which one in 53 errs would be surer, if they
	// were not of one model.
	clueCap = 0.95
	// clueWeight is what a clue adds to the margin, in log-odds: as much as clueCap, and what words
	// that lie may say against it (twice two words, of 1.2 each).
	clueWeight = 2.94 + 4.8
	// apart is how much larger the common direction of a gate is, in logarithms and on the average.
	// Before training the mean of three layers is within 0.2 of 0.
	apart = 0.4
	// used is the least difference of the correlations.
	used = 0.3
)

// A clue is two modules of A that become two of B in this order and not in the other.
type clue struct {
	a, b   [2]int
	by     string
	weight float64 // what it adds to the margin, in log-odds
	cap    float64 // how sure it makes
}

// settleAlone is settle without weights of B: with what A's show by themselves.
func (x *inference) settleAlone(sol *match.Solution, found []finding) (*match.Solution, []finding, []Contradiction, error) {
	disputed, err := x.exchanged(sol)
	if err != nil {
		return nil, nil, nil, err
	}
	list, err := x.clues(sol)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(list) == 0 {
		x.doubted(found, disputed)
		return sol, found, disputed, nil
	}
	// What an answer is against moves nothing else.
	open := slices.DeleteFunc(slices.Clone(list), func(c clue) bool {
		return x.isAssumed(c.a[:1], c.b[1:]) || x.isAssumed(c.a[1:], c.b[:1])
	})
	if sol, found, err = x.again(extraOf(open)); err != nil {
		return nil, nil, nil, err
	}
	for i := range found {
		f := &found[i]
		for _, c := range list {
			k := slices.Index(c.a[:], f.A[0])
			switch assumed := x.isAssumed(f.A, f.B); {
			case len(f.A)+len(f.B) > 2 || k < 0:
			case c.b[k] != f.B[0] && assumed:
				disputed = append(disputed, Contradiction{From: patternBeside(x.a.modules[f.A[0]], x.b.modules[f.B[0]]), Name: pattern(x.b.modules[f.B[0]]), Content: pattern(x.b.modules[c.b[k]]), By: c.by, Assumed: true})
			case c.b[k] == f.B[0] && assumed:
				f.class, f.by = Measured, append(f.by, c.by)
			case c.b[k] == f.B[0]:
				f.confidence, f.by = min(f.Confidence, c.cap), []string{c.by}
				if f.class = Measured; c.cap < clueCap {
					f.class = Guess
				}
			}
		}
	}
	x.mark(found, disputed)
	x.doubted(found, disputed)
	return sol, found, disputed, nil
}

// exchanged finds gates and up projections whose weights are against what their names say for sure.
func (x *inference) exchanged(sol *match.Solution) ([]Contradiction, error) {
	source := sources(sol)
	var out []Contradiction
	for i, m := range x.b.modules {
		for j, n := range x.b.modules {
			if i == j || !only(m, "gate") || !only(n, "up") || !couldExchange(m, n) || source[i] == nil || source[j] == nil ||
				x.inDoubt(source[i], source[j]) || !plainly(source[i]) || !plainly(source[j]) {
				continue
			}
			q := riddle{inference: x, source: source, first: source[i].A[0], second: source[j].A[0]}
			c, err := q.direction("gates")
			if err != nil {
				return nil, err
			}
			if c == nil || c.a[0] == q.first {
				continue
			}
			for _, pr := range [][3]int{{q.first, i, j}, {q.second, j, i}} {
				out = append(out, Contradiction{From: patternBeside(x.a.modules[pr[0]], x.b.modules[pr[1]]), Name: pattern(x.b.modules[pr[1]]), Content: pattern(x.b.modules[pr[2]]), By: c.by})
			}
		}
	}
	return out, nil
}

// doubted makes guesses of what contradictions that no answer has settled are about.
func (x *inference) doubted(found []finding, disputed []Contradiction) {
	for i := range found {
		for _, c := range disputed {
			if f := &found[i]; !c.Assumed && x.isOf(c.From, f) {
				f.class, f.confidence, f.by = Guess, min(f.confidence, 0.5), append(f.by, "but by its weights it is "+c.Content+": "+c.By)
			}
		}
	}
}

// sources are the matches of modules of B.
func sources(sol *match.Solution) map[int]*match.Match {
	source := make(map[int]*match.Match)
	for k := range sol.Matches {
		for _, j := range sol.Matches[k].B {
			source[j] = &sol.Matches[k]
		}
	}
	return source
}

// couldExchange reports whether nothing but what they compute tells two modules of B apart.
func couldExchange(m, n *match.Module) bool {
	return !(m.Holes() > 0 && m.Count < 2) && m.Shape != nil && slices.Equal(m.Shape, n.Shape) && slices.Equal(m.Index, n.Index) &&
		m.Shapes == nil && n.Shapes == nil && m.Meaning.Space == n.Meaning.Space && m.Meaning.Sub == n.Meaning.Sub
}

// plainly reports whether one module becomes one other, as it is.
func plainly(m *match.Match) bool { return len(m.A)+len(m.B) == 2 && m.Form == match.Same }

// clues finds what A's weights show of matches that are less than sure.
func (x *inference) clues(sol *match.Solution) ([]clue, error) {
	source := sources(sol)
	var out []clue
	for i, m := range x.b.modules {
		for j, n := range x.b.modules {
			if i == j || source[i] == nil || source[j] == nil || !x.inDoubt(source[i], source[j]) || !couldExchange(m, n) {
				continue
			}
			q := riddle{inference: x, source: source, first: source[i].A[0], second: source[j].A[0]}
			var found *clue
			var err error
			weight, most := clueWeight, clueCap
			switch {
			case only(m, "gate") && only(n, "up"):
				found, err = q.direction("gates")
			case only(m, "head") && only(n, "tokens") && max(source[i].Confidence, source[j].Confidence) < torn:
				weight, most = hintWeight, hintCap
				found, err = q.direction("heads")
			case only(m, "norm") && only(n, "norm") && m.Meaning.Block == "attn" && n.Meaning.Block == "mlp" && x.b.alike(i) == 2:
				found, err = q.use(m)
			}
			if err != nil {
				return nil, err
			}
			if found != nil {
				found.b, found.weight, found.cap = [2]int{i, j}, weight, most
				out = append(out, *found)
			}
		}
	}
	return out, nil
}

// inDoubt reports whether matches of two single modules could be the other way round: neither
// is sure, or one was assumed.
func (x *inference) inDoubt(m, n *match.Match) bool {
	doubt, assumed := true, false
	for _, m := range []*match.Match{m, n} {
		if !plainly(m) {
			return false
		}
		doubt, assumed = doubt && m.Confidence < clueCap, assumed || x.isAssumed(m.A, m.B)
	}
	return doubt || assumed
}

func only(m *match.Module, part string) bool {
	return slices.Equal(m.Meaning.Parts, []string{part})
}

// alike counts the modules that have the shape and the indices of one.
func (h *half) alike(k int) (n int) {
	for _, m := range h.modules {
		if comparable(m, h.modules[k]) {
			n++
		}
	}
	return n
}

// A riddle is which of two modules of A is which.
type riddle struct {
	*inference
	source        map[int]*match.Match
	first, second int
}

// profiles are those of the sampled members of a module.
func (q *riddle) profiles(m int) ([]Profile, error) {
	var names []string
	for _, k := range sampled(q.a.modules[m].Count) {
		names = append(names, q.a.name(m, k))
	}
	return q.opt.Content.Profile(q.ctx, 'A', names)
}

// direction finds which of two modules is of the kind whose rows have a direction in common.
func (q *riddle) direction(kind string) (*clue, error) {
	x, err := q.profiles(q.first)
	if err != nil {
		return nil, err
	}
	y, err := q.profiles(q.second)
	if err != nil {
		return nil, err
	}
	diffs := make([]float64, len(x))
	for i := range x {
		if x[i].MeanRow <= 0 || y[i].MeanRow <= 0 {
			return nil, nil
		}
		diffs[i] = math.Log(x[i].MeanRow / y[i].MeanRow)
	}
	// A mean row of d columns is near 1 within √(2/d), so that the difference of two logarithms
	// spreads by 2/√d.
	sign := decided(diffs, max(apart, 4*2/math.Sqrt(float64(max(1, len(x[0].Logs)))*float64(len(x)))))
	return q.answer(sign, func(first, second int) string {
		return fmt.Sprintf("the rows of %s have a direction in common, as %s have, and those of %s have less of it", q.called(first), kind, q.called(second))
	}), nil
}

// use finds which of two normalisations is before attention.
func (q *riddle) use(norm *match.Module) (*clue, error) {
	attn, mlp := q.fed(norm, "k", "v"), q.fed(norm, "gate", "up")
	if len(attn) == 0 || len(mlp) == 0 {
		return nil, nil
	}
	x, err := q.profiles(q.first)
	if err != nil {
		return nil, err
	}
	y, err := q.profiles(q.second)
	if err != nil {
		return nil, err
	}
	forAttn, err := q.columns(attn)
	if err != nil {
		return nil, err
	}
	forMLP, err := q.columns(mlp)
	if err != nil {
		return nil, err
	}
	diffs := make([]float64, len(x))
	for i := range x {
		diffs[i] = correlation(x[i].Logs, forAttn[i]) + correlation(y[i].Logs, forMLP[i]) -
			correlation(x[i].Logs, forMLP[i]) - correlation(y[i].Logs, forAttn[i])
	}
	// Correlations of d numbers spread by 1/√d, and there are four.
	sign := decided(diffs, max(used, 4*2/math.Sqrt(float64(max(1, len(x[0].Logs)))*float64(len(x)))))
	return q.answer(sign, func(first, second int) string {
		return fmt.Sprintf("%s is large where the columns of key and value are, and %s where those of the MLP are", q.called(first), q.called(second))
	}), nil
}

// decided returns the sign that all differences have, if their mean is large enough; 0 where
// they do not agree.
func decided(diffs []float64, least float64) int {
	sum := 0.0
	for _, d := range diffs {
		if d*diffs[0] <= 0 {
			return 0
		}
		sum += d
	}
	switch m := sum / float64(len(diffs)); {
	case !(math.Abs(m) >= least):
		return 0
	case m > 0:
		return 1
	}
	return -1
}

func (q *riddle) answer(sign int, by func(first, second int) string) *clue {
	switch sign {
	case 1:
		return &clue{a: [2]int{q.first, q.second}, by: by(q.first, q.second)}
	case -1:
		return &clue{a: [2]int{q.second, q.first}, by: by(q.second, q.first)}
	}
	return nil
}

// fed are the modules of A that become, or hold, parts of B that a normalisation is before.
func (q *riddle) fed(norm *match.Module, parts ...string) []int {
	var out []int
	for j, m := range q.b.modules {
		src := q.source[j]
		if src == nil || len(src.A) != 1 || src.Form != match.Same || !slices.Equal(m.Index, norm.Index) || m.Meaning.Space != norm.Meaning.Space || len(m.Shape) != 2 {
			continue
		}
		if len(m.Meaning.Parts) > 0 && slices.Contains(parts, m.Meaning.Parts[0]) && !slices.Contains(out, src.A[0]) && m.Shape[1] == norm.Shape[0] {
			out = append(out, src.A[0])
		}
	}
	return out
}

// columns are the logarithms of the lengths of the columns of some modules together, by sampled
// member.
func (q *riddle) columns(modules []int) ([][]float64, error) {
	var out [][]float64
	for _, m := range modules {
		list, err := q.profiles(m)
		if err != nil {
			return nil, err
		}
		for i, p := range list {
			if i == len(out) {
				out = append(out, make([]float64, len(p.Logs)))
			}
			for j, l := range p.Logs {
				if j < len(out[i]) {
					out[i][j] += math.Exp(2 * l)
				}
			}
		}
	}
	for _, sums := range out {
		for j, s := range sums {
			sums[j] = math.Log(s) / 2
		}
	}
	return out, nil
}

// correlation of two lists, over what is finite in both; 0 where one is constant.
func correlation(x, y []float64) float64 {
	var n, sx, sy, xx, yy, xy float64
	for i := range min(len(x), len(y)) {
		if d := x[i] - y[i]; d-d != 0 {
			continue
		}
		n, sx, sy = n+1, sx+x[i], sy+y[i]
	}
	for i := range min(len(x), len(y)) {
		if d := x[i] - y[i]; d-d != 0 {
			continue
		}
		u, v := x[i]-sx/n, y[i]-sy/n
		xx, yy, xy = xx+u*u, yy+v*v, xy+u*v
	}
	if xx < 1e-12 || yy < 1e-12 {
		return 0
	}
	return xy / math.Sqrt(xx*yy)
}

// extraOf is what clues add to the cost of a hypothesis, see [match.Options].
func extraOf(list []clue) func(a, b []int) float64 {
	return func(a, b []int) float64 {
		if len(a) != 1 || len(b) != 1 {
			return 0
		}
		for _, c := range list {
			i, j := slices.Index(c.a[:], a[0]), slices.Index(c.b[:], b[0])
			switch {
			case i < 0 || j < 0:
			case i == j:
				return -c.weight / 4
			default:
				return c.weight / 4
			}
		}
		return 0
	}
}

// called is the pattern of a module of A, as rules have it.
func (q *riddle) called(a int) string {
	for j, f := range q.source {
		if slices.Contains(f.A, a) {
			return patternBeside(q.a.modules[a], q.b.modules[j])
		}
	}
	return pattern(q.a.modules[a])
}
