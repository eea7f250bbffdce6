package match

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"
)

// Options say what else is known.
type Options struct {
	// Opaque names say nothing.
	Opaque bool
	// Ordered says that modules of both sides are in the order of the code.
	Ordered bool
	// Plain finds what is stored as it is under another name. Nothing is transposed, put
	// together or taken apart; of two modules only some members need be in both.
	Plain bool
	// Extra is what more is known of a hypothesis, in log-odds: modules of A become
	// modules of B. An infinite cost forbids it. It may be nil.
	Extra func(a, b []int) float64
}

// A Match is modules of A that become modules of B.
type Match struct {
	A, B []int // one of each, or one and the parts that it holds, in their order
	Form Form
	Rows []uint64 // of the parts in the fused module
	// Margin is what the best solution without this match costs more, and Confidence the
	// probability that it stands for.
	Margin, Confidence float64
	// Only is set where nothing else has shapes that fit, on either side.
	Only bool
	// Same is set where the names are equal, or equal below prefixes that many have.
	Same bool
	// Said is what names alone say for the match, in log-odds, words that lie left out.
	Said float64
}

// A Solution is the matches that are cheapest together.
type Solution struct {
	Matches []Match
	// AloneA and AloneB are modules without a counterpart.
	AloneA, AloneB []int
	// Open are groups of matches whose modules would change places in the next best
	// solution, and which are less than nine to one sure.
	Open [][]int
}

// maxAlike is how many modules may have the same shape and the same indices: a UNet whose
// names fold badly has 120. An assignment takes time in the third power of it.
const maxAlike = 400

type problem struct {
	a, b   []*Module
	opaque bool
	// ordered says that modules of both sides are in the order of the code.
	ordered bool
	steps   int  // that are left for composites
	mixed   bool // all matrices fit as they are, or most do, so that none should be turned
	// backward says that most matrices are turned, so that all should be.
	backward bool
	plain    bool
	spaces   bool // both sides have several parts that names tell apart
	know     func(a, b []int) float64
	cells    [][]cell
	same     map[[2]string]bool // names of A and of B
	letter   []map[string]bool  // trigrams of A's modules, then B's
	// beside are what A's modules, then B's, have beside them: the last words of all below one parent.
	beside []string
	// settled are modules that the search has not to find.
	settled []Match
	// files are the places in the files of the modules of A and of B, in order, by what they
	// have in common.
	files [2]map[kin][]int
}

func (p *problem) extra(a, b []int) float64 {
	if p.know == nil {
		return 0
	}
	return p.know(a, b)
}

func (p *problem) sameNames(i, j int) bool {
	return p.same[[2]string{p.a[i].String(), p.b[j].String()}]
}

func (p *problem) alike(i, j int) float64 { return jaccard(p.letter[i], p.letter[len(p.a)+j]) }

// Solve finds which modules of A are which of B.
func Solve(a, b []*Module, opt Options) (*Solution, error) {
	p := &problem{a: a, b: b, opaque: opt.Opaque, ordered: opt.Ordered, plain: opt.Plain, know: opt.Extra}
	p.spaces = severalSpaces(a) && severalSpaces(b)
	for _, m := range slices.Concat(a, b) {
		p.letter = append(p.letter, trigrams(lastSegment(m)))
	}
	p.beside = append(siblings(a), siblings(b)...)
	sol, err := p.solve()
	if err != nil {
		return nil, err
	}
	// All matrices of a model lie one way: where some matches turn them and some do not,
	// the fewer pay for it.
	switch turned, straight := p.ways(sol); {
	case turned > 0 && straight > turned:
		p.mixed = true
		return p.solve()
	case turned > 0 && straight > 0:
		p.backward = true
		other, err := p.solve()
		if err == nil && len(other.AloneA)+len(other.AloneB) <= len(sol.AloneA)+len(sol.AloneB) {
			return other, nil
		}
	}
	return sol, nil
}

// solve finds the solution for what is known.
func (p *problem) solve() (*Solution, error) {
	var err error
	if p.plain {
		err = p.pairPlain()
	} else {
		err = p.pair()
	}
	if err != nil {
		return nil, err
	}
	p.weigh()
	s := &search{problem: p, work: work}
	if err := s.components(); err != nil {
		return nil, err
	}
	if !p.plain {
		s.candidates = p.composites()
	}
	s.choose()
	return s.solution(), nil
}

// ways counts the matches of matrices that are turned, and of those that are not. Squares do not show it.
func (p *problem) ways(sol *Solution) (turned, straight int) {
	for i := range sol.Matches {
		m := &sol.Matches[i]
		shape := p.a[m.A[0]].Shape
		switch {
		case len(shape) != 2 || shape[0] == shape[1] || p.a[m.A[0]].Holes() == 0:
		case m.Form == Transposed:
			turned++
		case m.Form == Same:
			straight++
		}
	}
	return turned, straight
}

// fits reports whether every matrix of A has a counterpart as it is.
func (p *problem) fits() bool {
	for i, m := range p.a {
		same := func(c cell) bool { return c.form == Same && slices.Equal(m.Shape, p.b[c.j].Shape) }
		if len(m.Shape) == 2 && m.Shapes == nil && m.Shape[0] != m.Shape[1] && !slices.ContainsFunc(p.cells[i], same) {
			return false
		}
	}
	return true
}

// turn is what a transpose costs.
func (p *problem) turn() float64 {
	if p.mixed {
		return turnedAlone
	}
	return transposed
}

func severalSpaces(list []*Module) bool {
	return slices.ContainsFunc(list, func(m *Module) bool { return m.Meaning.Space != list[0].Meaning.Space })
}

// few refuses modules that may become more others than any model has.
func (p *problem) few() error {
	of := make([]int, len(p.b))
	for _, list := range p.cells {
		if len(list) > maxAlike {
			return tooMany(len(list))
		}
		for _, c := range list {
			if of[c.j]++; of[c.j] > maxAlike {
				return tooMany(of[c.j])
			}
		}
	}
	return nil
}

// pair finds what every module of A may become.
func (p *problem) pair() error {
	bySig, byOuter := make(map[signature][]int), make(map[signature][]int)
	each := make([]int, len(p.b))
	for j, m := range p.b {
		bySig[m.signature()] = append(bySig[m.signature()], j)
		if s, n := m.outer(); n > 0 {
			byOuter[s] = append(byOuter[s], j)
			each[j] = n
		}
	}
	p.cells = make([][]cell, len(p.a))
	for i, m := range p.a {
		for _, j := range bySig[m.signature()] {
			if f, ok := form(m, p.b[j]); ok {
				p.cells[i] = append(p.cells[i], cell{j: j, form: f})
			}
		}
		uniform := m.Shapes == nil && m.known()
		for _, j := range byOuter[m.signature()] {
			if o := p.b[j]; uniform && o.Shapes == nil && o.known() {
				if f, ok := stackForm(o.Shape, m.Shape, each[j]); ok {
					p.cells[i] = append(p.cells[i], cell{j: j, form: f})
				}
			}
		}
		if s, n := m.outer(); n > 0 && uniform {
			for _, j := range bySig[s] {
				if o := p.b[j]; o.Shapes == nil && o.known() {
					if f, ok := stackForm(m.Shape, o.Shape, n); ok {
						p.cells[i] = append(p.cells[i], cell{j: j, form: f})
					}
				}
			}
		}
	}
	return p.few()
}

// weigh gives the cells their costs.
func (p *problem) weigh() {
	p.findSame()
	if p.plain {
		p.settleSame()
	}
	p.mixed = p.mixed || p.fits()
	for i := range p.cells {
		for k := range p.cells[i] {
			c := &p.cells[i][k]
			c.cost = p.nameCost(i, c.j)
			if len(p.a[i].Shape) == 1 && !p.opaque { // normalisations that nothing tells apart stay in order
				c.cost.weak += asListed * float64((i-c.j)*(i-c.j))
			}
			c.cost.strong += p.extra([]int{i}, []int{c.j})
			if p.plain { // what is left of a module may have lost its bias
				if c.part {
					c.cost.strong += partial
				}
				continue
			}
			c.cost.strong += biasCost(p.a[i], p.b[c.j])
			switch c.form {
			case Same:
				if m := p.a[i]; p.backward && m.Holes() > 0 && len(m.Shape) == 2 && m.Shape[0] != m.Shape[1] {
					c.cost.strong += turnedAlone
				}
				if opposed(p.a[i], p.b[c.j]) {
					c.cost.strong += straightKernel
				}
			case Transposed:
				if !opposed(p.a[i], p.b[c.j]) {
					c.cost.strong += p.turn()
				}
			case Stacked, Flat:
				c.cost.strong += stacked
			case StackedTurned, FlatTurned:
				c.cost.strong += stacked + transposed
			}
			switch a, b := p.a[i], p.b[c.j]; {
			case a.known() != b.known():
				c.cost.strong += unknownShape
			case c.form == Same && a.known() && !slices.Equal(a.Shape, b.Shape):
				c.cost.strong += softShape
			}
		}
	}
}

// wrapped is how many modules must have the same names below two prefixes before the
// prefixes are taken for what differs.
const wrapped = 3

// findSame finds names that are equal, or equal below prefixes that many have: a wrapper
// that nobody knows.
func (p *problem) findSame() {
	type change struct{ from, to string }
	pairs := make(map[change]map[[2]string]bool) // names of A and of B
	var order []change
	nameA, nameB := p.names()
	for i, a := range p.a {
		for _, c := range p.cells[i] {
			if role := p.b[c.j].Role; a.Role != "" && role != "" && a.Role != role {
				continue
			}
			from, to, ok := prefixes(nameA[i], nameB[c.j])
			if c.form.Stacks() || !ok || strings.Contains(from, "{}") || strings.Contains(to, "{}") {
				continue
			}
			k := change{from, to}
			if pairs[k] == nil {
				pairs[k] = make(map[[2]string]bool)
				order = append(order, k)
			}
			pairs[k][[2]string{nameA[i], nameB[c.j]}] = true
		}
	}
	// Equal prefixes first, then those of the most, whichever side is A.
	either := func(k change) string { return min(k.from, k.to) + "\x00" + max(k.from, k.to) }
	slices.SortStableFunc(order, func(x, y change) int {
		if (x.from == x.to) != (y.from == y.to) {
			if x.from == x.to {
				return -1
			}
			return 1
		}
		return cmp.Or(len(pairs[y])-len(pairs[x]), strings.Compare(either(x), either(y)))
	})
	p.same = make(map[[2]string]bool)
	takenA, takenB := make(map[string]bool), make(map[string]bool)
	fresh := func(k change) (list [][2]string) {
		for pr := range pairs[k] {
			if !takenA[pr[0]] && !takenB[pr[1]] {
				list = append(list, pr)
			}
		}
		return list
	}
	// Names that differ in what joins their words alone are the same.
	spelledA, spelledB := spellings(p.a), spellings(p.b)
	for i := range p.a {
		for _, c := range p.cells[i] {
			pr := [2]string{nameA[i], nameB[c.j]}
			if role := p.b[c.j].Role; p.a[i].Role != "" && role != "" && p.a[i].Role != role || c.form.Stacks() {
				continue
			}
			if s := spelling(p.a[i]); s == spelling(p.b[c.j]) && spelledA[s] == 1 && spelledB[s] == 1 {
				takenA[pr[0]], takenB[pr[1]], p.same[pr] = true, true, true
			}
		}
	}
	for _, k := range order {
		list := fresh(k)
		if k.from != k.to && len(list) < wrapped {
			continue
		}
		for _, pr := range list {
			takenA[pr[0]], takenB[pr[1]] = true, true
			p.same[pr] = true
		}
	}
	if !p.plain {
		return
	}
	// A whole name below a prefix of its own says as much, if nothing else is called so.
	for _, k := range order {
		if k.from == "" || k.to == "" {
			for _, pr := range fresh(k) {
				p.same[pr] = true
			}
		}
	}
}

// spelling is the letters and digits of a module's name, with its indices, whatever joins its words.
func spelling(m *Module) string {
	text := m.String()
	if m.Leaves[0].Stem == nil {
		text += m.Leaves[0].Name
	}
	return letters(text)
}

// letters takes what joins words out of a name, and keeps its indices.
func letters(name string) string {
	return strings.Map(func(c rune) rune {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || c == '{' || c == '}' {
			return unicode.ToLower(c)
		}
		return -1
	}, name)
}

// Spelled reports whether the names of two modules have the same words, whatever joins these.
func (m *Module) Spelled(o *Module) bool { return spelling(m) == spelling(o) }

// spellings counts the modules of each spelling.
func spellings(list []*Module) map[string]int {
	out := make(map[string]int, len(list))
	for _, m := range list {
		out[spelling(m)]++
	}
	return out
}

// names are those of the modules of both sides.
func (p *problem) names() (a, b []string) {
	for _, m := range p.a {
		a = append(a, m.String())
	}
	for _, m := range p.b {
		b = append(b, m.String())
	}
	return a, b
}

// prefixes returns what two stems have before the segments that both end with.
func prefixes(a, b string) (from, to string, ok bool) {
	n := 0
	for n < len(a) && n < len(b) && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	for n > 0 && (n < len(a) && a[len(a)-1-n] != '.' || n < len(b) && b[len(b)-1-n] != '.') {
		n--
	}
	return a[:len(a)-n], b[:len(b)-n], n > 0
}

// siblings are, for each module, the last words of all modules below its parent, itself included; "" where
// there is no other.
func siblings(list []*Module) []string {
	below := make(map[string][]string)
	for _, m := range list {
		below[parent(m)] = append(below[parent(m)], lastSegment(m))
	}
	out := make([]string, len(list))
	for i, m := range list {
		if words := below[parent(m)]; len(words) > 1 {
			slices.Sort(words)
			out[i] = strings.Join(words, " ")
		}
	}
	return out
}

func trigrams(s string) map[string]bool {
	s = "  " + s + " "
	set := make(map[string]bool)
	for i := range len(s) - 2 {
		set[s[i:i+3]] = true
	}
	return set
}

// jaccard is the share that two sets have in common.
func jaccard(x, y map[string]bool) float64 {
	both := 0
	for t := range x {
		if y[t] {
			both++
		}
	}
	return float64(both) / float64(len(x)+len(y)-both)
}

func tooMany(n int) error {
	return fmt.Errorf("%d or more modules have the same shapes and the same indices; no model has more than %d", n, maxAlike)
}

var inf = math.Inf(1)
