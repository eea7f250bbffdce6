package infer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/match"
)

// A note is what some moves rest on.
type note struct {
	class      Class
	confidence float64
	by         []string
	question   int // the open group that they belong to, from 1; 0 is none
}

// A script is moves that are written as a map.
type script struct {
	from, to string
	names    []string // of all tensors of A
	moves    []convert.Move
	noteOf   []int // of each move
	notes    []note
	dropped  []convert.Dropped
	groups   []int // where each of A's tensors is in the order of a model
}

func (s *script) add(mv convert.Move, note int) {
	s.moves, s.noteOf = append(s.moves, mv), append(s.noteOf, note)
}

// kept says which tensors of A that nothing is known of have names that others would get,
// "" where none has.
func (s *script) kept() string {
	free := make(map[string]bool, len(s.names))
	for i := range s.moves {
		for _, n := range s.moves[i].From {
			free[n] = true
		}
	}
	for _, d := range s.dropped {
		free[d.Name] = true
	}
	stays := make(map[string]bool)
	for _, n := range s.names {
		if !free[n] {
			stays[n] = true
		}
	}
	first, all := "", 0
	for i := range s.moves {
		for _, n := range s.moves[i].To {
			if stays[n] {
				if all++; first == "" {
					first = fmt.Sprintf("%s would get the name %s, which another tensor has that nothing is known of", s.moves[i].From[0], n)
				}
			}
		}
	}
	if all > 1 {
		first += fmt.Sprintf("; so it is with %d more", all-1)
	}
	return first
}

// result writes the map: few rules, which are tried on the names before they are told.
func (s *script) result() (*Result, error) {
	if why := s.kept(); why != "" {
		return &Result{From: s.from, To: s.to, Map: &rename.Map{From: s.from, To: s.to}, Refused: why}, nil
	}
	want := make(map[string]string, len(s.names)) // of names that change and of those that stay
	noteOf := make(map[string]int, len(s.names))  // by A's names
	bytes := &convert.Conversion{From: cmp.Or(s.from, "A"), To: cmp.Or(s.to, "B"), Dropped: s.dropped}
	byBytes := make(map[string]bool)
	for i := range s.moves {
		mv := &s.moves[i]
		for _, n := range mv.From {
			noteOf[n] = s.noteOf[i]
		}
		if len(mv.Ops) == 0 {
			want[mv.From[0]] = mv.To[0]
			continue
		}
		bytes.Moves = append(bytes.Moves, *mv)
		for _, n := range mv.From {
			byBytes[n] = true
		}
	}
	for _, d := range s.dropped {
		byBytes[d.Name] = true
	}
	m, err := bytes.Map()
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Clone(s.names), func(n string) bool { return byBytes[n] })
	// What is not known to be anything keeps its name.
	for _, n := range names {
		if _, ok := want[n]; !ok {
			want[n] = n
		}
	}
	renames := rename.Generalise(names, want, func(name string) int {
		if n, ok := noteOf[name]; ok {
			return s.notes[n].question
		}
		return 0
	})
	m.Rules = append(m.Rules, renames.Rules...)
	m.File, m.From, m.To, m.Description = "", s.from, s.to, ""
	plan := rename.NewPlan(m, s.names, rename.Limits{})
	if err := plan.Err(); err != nil {
		return nil, fmt.Errorf("no map can be written: %w", err)
	}
	for i := range plan.Rows {
		r := &plan.Rows[i]
		if to, ok := want[r.From]; ok && r.To != to {
			return nil, fmt.Errorf("no map can be written: %s would become %s, not %s", r.From, r.To, to)
		}
	}
	plan = arrange(m, s.names, deciding(m, s.names, plan), s.groups)
	res := &Result{From: s.from, To: s.to, Map: m, Rules: make([]Rule, len(m.Rules))}
	reasons := make([]map[string]int, len(m.Rules))
	for i := range plan.Rows {
		r := &plan.Rows[i]
		if r.Rule < 0 {
			continue
		}
		rule := &res.Rules[r.Rule]
		n := note{class: Named, confidence: 1, by: []string{"follows from the configuration"}}
		if at, ok := noteOf[r.From]; ok {
			n = s.notes[at]
		}
		if rule.Tensors++; rule.Tensors == 1 {
			rule.Rule, rule.Class, rule.Confidence = r.Rule, n.class, n.confidence
			reasons[r.Rule] = make(map[string]int)
		}
		rule.Class, rule.Confidence = weakest(rule.Class, n.class), min(rule.Confidence, n.confidence)
		for _, by := range n.by {
			reasons[r.Rule][by]++
		}
	}
	for i := range res.Rules {
		rule := &res.Rules[i]
		rule.By = slices.SortedFunc(maps.Keys(reasons[i]), func(a, b string) int {
			if by := reasons[i][b] - reasons[i][a]; by != 0 {
				return by
			}
			return strings.Compare(a, b)
		})
		res.note(i)
	}
	return res, nil
}

// deciding takes rules off a map that take no tensor, since others before them take all.
func deciding(m *rename.Map, names []string, plan *rename.Plan) *rename.Plan {
	used := make([]bool, len(m.Rules))
	for i := range plan.Rows {
		if r := plan.Rows[i].Rule; r >= 0 {
			used[r] = true
		}
	}
	if !slices.Contains(used, false) {
		return plan
	}
	var rules []rename.Rule
	for i := range m.Rules {
		if used[i] {
			rules = append(rules, m.Rules[i])
		}
	}
	m.Rules = rules
	return rename.NewPlan(m, names, rename.Limits{})
}

// note writes over a rule of the map what it rests on.
func (r *Result) note(rule int) {
	f := &r.Rules[rule]
	r.Map.Rules[rule].Notes = []string{fmt.Sprintf("%s %.2f: %s", f.Class, f.Confidence, strings.Join(f.By, "; "))}
}

// ask puts the questions into the map.
func (r *Result) ask() {
	r.Map.Ask = nil
	for i := range r.Questions {
		q := &r.Questions[i]
		r.Map.Ask = append(r.Map.Ask, rename.Question{Between: q.Between, And: q.And, Best: q.Best, Confidence: q.Confidence})
	}
}

// result writes what was found.
func (x *inference) result(sol *match.Solution, found []finding, disputed []Contradiction) (*Result, error) {
	res := &Result{Map: &rename.Map{}, Contradictions: disputed}
	names := x.a.names()
	s := &script{names: names, moves: make([]convert.Move, 0, len(names)), noteOf: make([]int, 0, len(names))}
	if x.a.of != nil {
		s.from = x.a.of.Name
	}
	if x.b.of != nil {
		s.to = x.b.of.Name
	}
	if x.opt.Content != nil {
		res.Read, res.Unrelated = x.opt.Content.Read(), x.unrelated
	}
	if x.sizing != nil {
		res.Sizes = x.sizing.text
	}
	if why := x.refusal(found); why != "" {
		res.Layerless = x.layerless() != ""
		res.Refused = why
		found = nil
	}
	inQuestion := make(map[int]int)
	if res.Refused == "" {
		res.Questions = x.questions(sol, found, inQuestion)
		for _, q := range x.contradicted(disputed) {
			res.Questions = append(res.Questions, q)
			for i := range found {
				if slices.ContainsFunc(q.Between, func(p string) bool { return x.isOf(p, &found[i]) }) {
					inQuestion[i] = len(res.Questions)
				}
			}
		}
	}
	source, target := make(map[string]bool, len(x.a.tensors)), make(map[string]bool, len(x.b.tensors))
	contradicted := x.contradictsShapes()
	for i := range found {
		f := &found[i]
		res.RowOrder = res.RowOrder || f.moves.lies
		s.notes = append(s.notes, note{f.class, f.confidence, f.by, inQuestion[i]})
		for _, mv := range x.moves(f.Match, f.moves) {
			if contradicted(&mv) {
				continue // what is left over is listed on both sides
			}
			s.add(mv, len(s.notes)-1)
			for _, n := range mv.From {
				source[n] = true
			}
			for _, n := range mv.To {
				target[n] = true
			}
		}
	}
	if res.Refused == "" {
		s.dropped, s.groups = x.buffers(sol.AloneA), x.groups(found)
		for _, d := range s.dropped {
			source[d.Name] = true
		}
		written, err := s.result()
		if err != nil {
			return nil, err
		}
		res.Map, res.Rules, res.Refused = written.Map, written.Rules, written.Refused
		if res.Refused != "" {
			res.Questions = nil
		}
	}
	res.From, res.To, res.Map.From, res.Map.To = s.from, s.to, s.from, s.to
	res.Extra = left(&x.a, source, func(m *match.Module) bool { return false })
	res.Missing = left(&x.b, target, func(m *match.Module) bool { return m.Optional || m.Meaning.Buffer })
	res.Partial = (x.b.virtual || x.sizing != nil) && len(res.Missing) > 0 ||
		len(left(&x.a, source, func(m *match.Module) bool { return m.Holes() == 0 || m.Optional || m.Meaning.Buffer })) > 0
	res.ask()
	return res, nil
}

// contradictsShapes returns what reports whether a move makes other shapes than those that its tensors have
// in B. Where B is what a convention has, its shapes are worked out, and contradict nothing.
func (x *inference) contradictsShapes() func(*convert.Move) bool {
	if x.b.virtual || x.sizing != nil {
		return func(*convert.Move) bool { return false }
	}
	a, b := make(map[string][]uint64, len(x.a.tensors)), make(map[string][]uint64, len(x.b.tensors))
	for _, t := range x.a.tensors {
		a[t.Name] = t.Shape
	}
	for _, t := range x.b.tensors {
		b[t.Name] = t.Shape
	}
	return func(mv *convert.Move) bool {
		want := make([][]uint64, len(mv.To))
		for i, n := range mv.To {
			want[i] = b[n]
		}
		return !makesShapes(a, mv, mv.Ops, want)
	}
}

// left lists the templates of the tensors that have no part in the map.
func left(h *half, used map[string]bool, except func(*match.Module) bool) []string {
	var out []string
	for _, m := range h.modules {
		if except(m) {
			continue
		}
		for l := range m.Leaves {
			if slices.ContainsFunc(m.Leaves[l].Tensors, func(t int) bool { return !used[h.tensors[t].Name] }) {
				out = append(out, leafPattern(m, l))
			}
		}
	}
	return out
}

// pattern writes the names of a module as maps do.
func pattern(m *match.Module) string { return patternBeside(m, m) }

// leafPattern writes the names of a leaf as maps do.
func leafPattern(m *match.Module, leaf int) string {
	if l := &m.Leaves[leaf]; l.Stem != nil {
		return rename.WithHoles(l.Stem, m.Stem)
	}
	return pattern(m) + rename.Escape(m.Leaves[leaf].Name)
}

// patternBeside is the pattern of a module whose holes are called after the words of
// another where its own do not say what they count.
func patternBeside(m, other *match.Module) string {
	if len(other.Stem) != len(m.Stem) {
		other = m
	}
	return rename.WithHoles(m.Stem, other.Stem)
}

// questions are the groups of matches that nothing decides, and tensors whose layout is not
// known. Of the matches it says which question they belong to.
func (x *inference) questions(sol *match.Solution, found []finding, inQuestion map[int]int) []Question {
	var out []Question
	for _, group := range sol.Open {
		q := Question{Confidence: 1}
		var open []int
		for _, i := range group {
			if found[i].class == Guess {
				open = append(open, i)
			}
		}
		if len(open) == 0 {
			continue
		}
		for _, i := range open {
			f := &found[i]
			inQuestion[i] = len(out) + 1
			q.Confidence = min(q.Confidence, f.confidence)
			x.askOf(&q, f)
		}
		if q.Settle = x.steps(&q); found[open[0]].offset != 0 {
			q.Settle = x.offsetSteps(&q, found[open[0]].offset)
		}
		out = append(out, q)
	}
	for i := range found {
		f := &found[i]
		if !f.alone || inQuestion[i] != 0 {
			continue
		}
		q := Question{Confidence: f.confidence}
		x.askOf(&q, f)
		inQuestion[i] = len(out) + 1
		q.Settle = x.steps(&q)
		if last := &q.Settle[len(q.Settle)-1]; f.moves.assumed && last.Answer != nil && last.Note == "" {
			last.Note = "if the parts of both lie in the same order"
		}
		out = append(out, q)
	}
	return append(out, x.padded(sol)...)
}

// askOf adds a match to a question.
func (x *inference) askOf(q *Question, f *finding) {
	for _, i := range f.A {
		q.Between = append(q.Between, patternBeside(x.a.modules[i], x.b.modules[f.B[0]]))
	}
	for _, j := range slices.Concat(f.B, f.also) {
		if p := pattern(x.b.modules[j]); !slices.Contains(q.And, p) {
			q.And = append(q.And, p)
		}
	}
	if len(f.A) == 1 && len(f.B) == 1 && len(q.Best) == len(q.Between)-1 {
		q.Best = append(q.Best, pattern(x.b.modules[f.B[0]]))
	} else {
		q.Best = nil
	}
}

// steps are what would settle a question.
func (x *inference) steps(q *Question) []Step {
	var out []Step
	switch {
	case x.opt.Content == nil || x.b.virtual:
		out = append(out, Step{Weights: true})
	case x.unrelated:
		out = append(out, Step{Weights: true, Note: "of a related model, which these are not"})
	}
	short := func(h *half, list []string) string {
		words := make([]string, len(list))
		for i, p := range list {
			words[i] = lastWords(h, p)
		}
		return strings.Join(words, "+")
	}
	switch {
	case len(q.Best) > 0:
		out = append(out, Step{Answer: &Assumption{short(&x.a, q.Between[:1]), short(&x.b, q.Best[:1])}})
	case len(q.Between) == 1 || len(q.And) == 1:
		out = append(out, Step{Answer: &Assumption{short(&x.a, q.Between), short(&x.b, q.And)}, Note: "if they lie one after the other"})
	}
	return out
}

// lastWords is as much of the end of a pattern as no other module has.
func lastWords(h *half, pattern string) string {
	for at := strings.LastIndexByte(pattern, '.'); at > 0; at = strings.LastIndexByte(pattern[:at], '.') {
		if strings.Trim(pattern[at+1:], "0123456789") == "" {
			continue // norms.0
		}
		if found, err := find(h, pattern[at+1:]); err == nil && len(found) == 1 {
			return pattern[at+1:]
		}
	}
	return pattern
}

// padded asks about tables of which one has more rows: a vocabulary that was padded.
func (x *inference) padded(sol *match.Solution) []Question {
	var out []Question
	for _, i := range sol.AloneA {
		for _, j := range sol.AloneB {
			a, b := x.a.modules[i], x.b.modules[j]
			if rows, ok := padding(a, b); ok {
				q := Question{Between: []string{pattern(a)}, And: []string{pattern(b)}, Best: []string{pattern(b)}, Confidence: 0.5}
				note := "adds %s of zeros"
				if rows < 0 {
					rows, note = -rows, "takes %s of zeros off"
				}
				steps := x.steps(&q)
				answer := &steps[len(steps)-1]
				answer.Note = fmt.Sprintf(note, plural.Of(int(rows), "row"))
				q.Settle = []Step{*answer}
				out = append(out, q)
			}
		}
	}
	return out
}

// padding is how many rows one table has more than another whose names mean the same.
func padding(a, b *match.Module) (rows int64, ok bool) {
	if a.Holes()+b.Holes() > 0 || len(a.Shape) != 2 || len(b.Shape) != 2 || a.Shape[1] != b.Shape[1] || a.Shape[0] == b.Shape[0] ||
		len(a.Meaning.Parts) == 0 || !slices.Equal(a.Meaning.Parts, b.Meaning.Parts) {
		return 0, false
	}
	const mostRows = 1 << 24 // no vocabulary has as many
	if max(a.Shape[0], b.Shape[0]) > mostRows {
		return 0, false
	}
	return int64(b.Shape[0]) - int64(a.Shape[0]), true
}
