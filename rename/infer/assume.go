package infer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A fix is an assumption that was understood: modules of A become modules of B.
type fix struct {
	Assumption
	a, b []int
}

// assume reads the assumptions. One that names no module, or several, is an error.
func (x *inference) assume() error {
	for _, as := range x.opt.Assume {
		a, err := find(&x.a, as.From)
		if err != nil {
			return &AssumptionError{as, err.Error()}
		}
		b, err := find(&x.b, as.To)
		if err != nil {
			return &AssumptionError{as, err.Error()}
		}
		f := fix{as, a, b}
		if len(a) > 1 && len(b) > 1 {
			return &AssumptionError{as, "one side has to be one module"}
		}
		if len(a)+len(b) == 2 && !x.mayFit(a[0], b[0]) {
			return x.misfit(&f)
		}
		for _, o := range x.fixed {
			if overlaps(o.a, a) || overlaps(o.b, b) {
				return &AssumptionError{as, "another assumption is about the same module"}
			}
		}
		x.fixed = append(x.fixed, f)
	}
	return nil
}

// mayFit reports whether a module may have the shape that the configuration gives another.
// Shapes that were worked out otherwise may be wrong, and those of the vocabulary are
// padded.
func (x *inference) mayFit(i, j int) bool {
	a, b := x.a.modules[i], x.b.modules[j]
	if j >= len(x.b.aimed) || !x.b.aimed[j].given || a.Shape == nil || a.Packed || a.Count != b.Count {
		return true
	}
	sorted := func(shape []uint64) []uint64 { return slices.Sorted(slices.Values(shape)) }
	return slices.Equal(sorted(a.Shape), sorted(b.Shape))
}

// misfit says that an assumption does not fit, with the shapes that are known.
func (x *inference) misfit(f *fix) error {
	return &AssumptionError{f.Assumption, fmt.Sprintf("%s cannot become %s: their shapes or their numbers differ", x.named(&x.a, f.a), x.named(&x.b, f.b))}
}

func overlaps(a, b []int) bool {
	return slices.ContainsFunc(a, func(i int) bool { return slices.Contains(b, i) })
}

// find finds the modules that an assumption names: by a pattern, a template, the last
// words of one, or a word of its last segment, and several with "+" between them.
func find(h *half, text string) ([]int, error) {
	var out []int
	for word := range strings.SplitSeq(text, "+") {
		word = rename.Unnamed(word)
		var exact, ends, within []int
		var all []string
		for i, m := range h.modules {
			stem := m.String()
			all = append(all, lastOf(stem))
			if slices.Contains(strings.FieldsFunc(lastOf(stem), func(r rune) bool { return r == '_' || r == '-' }), word) {
				within = append(within, i)
			}
			names := []string{stem, rename.Unnamed(pattern(m))}
			for l := range m.Leaves {
				names = append(names, m.Template(l), rename.Unnamed(leafPattern(m, l)))
			}
			if m.AnyLeaf {
				names = append(names, stem+".bias", names[1]+".bias")
			}
			for _, n := range names {
				if n == word {
					exact = append(exact, i)
					break
				}
				if strings.HasSuffix(n, word) && word != "" && (n[len(n)-len(word)-1] == '.' || n[len(n)-len(word)-1] == '_') {
					ends = append(ends, i)
					break
				}
			}
		}
		if exact == nil {
			exact = ends
		}
		if exact == nil {
			exact = within
		}
		switch len(exact) {
		case 1:
			out = append(out, exact[0])
		case 0:
			slices.Sort(all)
			all = slices.Compact(all)
			meant := template.DidYouMean(word, all)
			if meant == "" && len(all) > 0 {
				meant = "; they end in " + some(all, "or")
			}
			return nil, fmt.Errorf("no module ends in %q%s", word, meant)
		default:
			return nil, fmt.Errorf("%q may be %s or %s; write more of it", word, h.modules[exact[0]], h.modules[exact[1]])
		}
	}
	return out, nil
}

func lastOf(stem string) string { return stem[strings.LastIndexByte(stem, '.')+1:] }

// assumed is what assumptions add to the cost of a hypothesis: what contradicts one is
// forbidden.
func (x *inference) assumed(a, b []int) float64 {
	for _, f := range x.fixed {
		switch {
		case sameSet(f.a, a) && sameSet(f.b, b):
			return -certain
		case overlaps(f.a, a) || overlaps(f.b, b):
			return math.Inf(1)
		}
	}
	return 0
}

func sameSet(a, b []int) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(i int) bool { return !slices.Contains(b, i) })
}

// isAssumed reports whether an assumption says a match.
func (x *inference) isAssumed(a, b []int) bool {
	return slices.ContainsFunc(x.fixed, func(f fix) bool { return sameSet(f.a, a) && sameSet(f.b, b) })
}

// arrangeAssumed puts the parts of assumed matches in the order in which they were given,
// and reports assumptions that no match follows.
func (x *inference) arrangeAssumed(sol *match.Solution) error {
	for _, f := range x.fixed {
		i := slices.IndexFunc(sol.Matches, func(m match.Match) bool { return sameSet(f.a, m.A) && sameSet(f.b, m.B) })
		if i < 0 && len(f.a) == 1 && len(f.b) == 1 {
			if _, ok := padding(x.a.modules[f.a[0]], x.b.modules[f.b[0]]); ok {
				i = len(sol.Matches)
				sol.Matches = append(sol.Matches, match.Match{A: f.a, B: f.b, Confidence: 1})
				sol.AloneA = slices.DeleteFunc(sol.AloneA, func(k int) bool { return k == f.a[0] })
				sol.AloneB = slices.DeleteFunc(sol.AloneB, func(k int) bool { return k == f.b[0] })
			}
		}
		if i < 0 {
			return x.misfit(&f)
		}
		m := &sol.Matches[i]
		m.A, m.B = f.a, f.b
		if len(f.a)+len(f.b) > 2 {
			parts, side := x.partsOf(m)
			m.Rows = nil
			for _, p := range parts {
				s := side[p].Shape
				m.Rows = append(m.Rows, s[len(s)-2])
			}
		}
	}
	return nil
}

// named lists modules with their shapes and how many there are of each.
func (x *inference) named(h *half, list []int) string {
	var names []string
	for _, i := range list {
		m := h.modules[i]
		name := pattern(m)
		if m.Shape != nil {
			name += " " + strings.ReplaceAll(fmt.Sprint(m.Shape), " ", ",")
		}
		if m.Count > 1 {
			name += fmt.Sprintf(" x%d", m.Count)
		}
		names = append(names, name)
	}
	return strings.Join(names, " + ")
}
