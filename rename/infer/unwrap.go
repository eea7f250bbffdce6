package infer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Training code wraps modules in others of its own, whose names stand between those of
// the model: _orig_mod, and many that nobody has heard of. Names that are equal except for
// such segments are not a coincidence, whatever the segments are.

// segments are those of names that are no numbers.
func segments(names []string) map[string]bool {
	out := make(map[string]bool)
	for _, n := range names {
		for s := range strings.SplitSeq(n, ".") {
			if strings.Trim(s, "0123456789") != "" {
				out[s] = true
			}
		}
	}
	return out
}

// without takes segments out of a name.
func without(name string, out map[string]bool) string {
	kept := slices.DeleteFunc(strings.Split(name, "."), func(s string) bool { return out[s] })
	return strings.Join(kept, ".")
}

// others are the segments of one set that another lacks.
func others(a, b map[string]bool) map[string]bool {
	out := maps.Clone(a)
	maps.DeleteFunc(out, func(s string, _ bool) bool { return b[s] })
	return out
}

// unwrapped finds the map between sides of which one has all names of the other, with
// segments that the other has nowhere. It is nil where that is not so.
func (x *inference) unwrapped() (*Result, error) {
	a, b := x.a.names(), x.b.names()
	ofA, ofB := segments(a), segments(b)
	onlyA, onlyB := others(ofA, ofB), others(ofB, ofA)
	if (len(onlyA) == 0) == (len(onlyB) == 0) {
		return nil, nil
	}
	byName := make(map[string]*convention.Named, len(b)) // by what is left of it
	for i := range x.b.tensors {
		name := without(b[i], onlyB)
		if byName[name] != nil {
			return nil, nil
		}
		byName[name] = &x.b.tensors[i]
	}
	want := make(map[string]string, len(a))
	taken := make(map[string]bool, len(a))
	var extra []string
	for i := range x.a.tensors {
		t := byName[without(a[i], onlyA)]
		switch {
		case t == nil && len(onlyA) == 0:
			extra = append(extra, a[i])
			continue
		case t == nil || taken[t.Name] || t.Shape != nil && x.a.tensors[i].Shape != nil && !slices.Equal(t.Shape, x.a.tensors[i].Shape):
			return nil, nil
		}
		taken[t.Name], want[a[i]] = true, t.Name
	}
	missing := slices.DeleteFunc(slices.Clone(b), func(n string) bool { return taken[n] })
	if len(onlyB) > 0 && len(missing) > 0 || 2*len(want) <= len(a) || 2*len(want) <= len(b) {
		return nil, nil
	}
	to := ""
	if fits := read(&x.b).fits; len(fits) > 0 {
		to = fits[0].Name
	}
	res, err := x.wrapping(want, slices.Concat(slices.Sorted(maps.Keys(onlyA)), slices.Sorted(maps.Keys(onlyB))), to)
	if res != nil {
		res.Missing, res.Extra = templates(missing), templates(extra)
	}
	return res, err
}

// unwrappedTo is unwrapped for the names of a convention.
func (x *inference) unwrappedTo(to *convention.Convention) (*Result, error) {
	var known []string
	for _, t := range to.Tensors() {
		known = append(known, t.Pattern.String())
	}
	names := x.a.names()
	only := others(segments(names), segments(known))
	if len(only) == 0 {
		return nil, nil
	}
	inner := half{model: x.a.model}
	want := make(map[string]string, len(names))
	taken := make(map[string]bool, len(names))
	for i, n := range names {
		t := x.a.tensors[i]
		t.Name = without(n, only)
		if t.Name == "" || taken[t.Name] {
			return nil, nil
		}
		taken[t.Name], want[n] = true, t.Name
		inner.tensors = append(inner.tensors, t)
	}
	r := read(&inner)
	if !slices.Contains(r.fits, to) || len(r.Extra) > 0 {
		return nil, nil
	}
	if !r.whole(to, &inner) && to.Base != "" { // there is a head, and so the others have the prefix
		for i, p := range r.Places(to) {
			if p.Tensor != nil && !p.Tensor.Absolute {
				want[names[i]] = to.Base + want[names[i]]
			}
		}
	}
	return x.wrapping(want, slices.Sorted(maps.Keys(only)), to.Name)
}

// wrapping writes the map that takes segments out, or puts them in: a rule for each text
// that ends in one.
func (x *inference) wrapping(want map[string]string, segments []string, to string) (*Result, error) {
	names := x.a.names()
	m := &rename.Map{To: to}
	written := make(map[string]bool)
	for _, n := range names {
		from, head := headOf(n, want[n])
		if pattern := holes(from) + "{rest...}"; want[n] != "" && want[n] != n && !written[pattern] {
			written[pattern] = true
			r, err := rename.NewRule(pattern, holes(head)+"{rest}")
			if err != nil {
				return nil, nil
			}
			m.Rules = append(m.Rules, r)
		}
	}
	// The longer text is the special case.
	slices.SortStableFunc(m.Rules, func(a, b rename.Rule) int { return len(b.From[0].String()) - len(a.From[0].String()) })
	plan := rename.NewPlan(m, names, rename.Limits{})
	tried := plan.Err() == nil
	for _, row := range plan.Rows {
		tried = tried && (want[row.From] == row.To || want[row.From] == "" && row.Action == rename.Keep)
	}
	if !tried {
		m = &rename.Map{To: to, Rules: rename.Generalise(names, want, nil).Rules}
		plan = rename.NewPlan(m, names, rename.Limits{})
	}
	by := "the names are equal except for " + strings.Join(segments, ", ")
	res := &Result{To: to, Map: m}
	for i := range m.Rules {
		m.Rules[i].Notes = []string{fmt.Sprintf("%s %.2f: %s", Named, 1.0, by)}
		res.Rules = append(res.Rules, Rule{Rule: i, Class: Named, Confidence: 1, By: []string{by}, Tensors: plan.Uses[i].Tensors})
	}
	return res, plan.Err()
}

// headOf cuts off the segments that two names end with.
func headOf(a, b string) (headA, headB string) {
	as, bs := strings.SplitAfter(a, "."), strings.SplitAfter(b, ".")
	for len(as) > 0 && len(bs) > 0 && as[len(as)-1] == bs[len(bs)-1] {
		as, bs = as[:len(as)-1], bs[:len(bs)-1]
	}
	return strings.Join(as, ""), strings.Join(bs, "")
}

// holes writes the numbers of a text as holes.
func holes(text string) string {
	between, _ := template.Segments.Split(text)
	return rename.WithHoles(between, between)
}

// templates are those of some names, each once.
func templates(names []string) []string {
	var out []string
	for _, g := range template.FoldNames(names) {
		out = append(out, g.Name)
	}
	return out
}
