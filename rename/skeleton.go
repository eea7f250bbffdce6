package rename

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/template"
)

// Skeleton returns the map that gives tensors the names that they have, a rule for each
// template, for somebody to write other names into. members has the names of each rule, by
// their places in the list. A tensor without a name has no rule.
//
// The map is for these names and no others: a name that no rule matches is an error.
func Skeleton(names []string) (m *Map, members [][]int) {
	kinds := template.Kinds(len(names), func(i int) string { return names[i] })
	specialFirst(kinds)
	m = &Map{Otherwise: Otherwise{Action: OtherwiseFail}}
	for i := range kinds {
		source := WithHoles(kinds[i].Text, kinds[i].Text)
		r, err := NewRule(source, source)
		if err != nil {
			continue
		}
		m.Rules = append(m.Rules, r)
		members = append(members, kinds[i].Members)
	}
	return m, members
}

// specialFirst puts layers.0.w before layers.{layer}.w, which matches it, too.
func specialFirst(kinds []template.Kind) {
	alike := make(map[string][]int)
	for i := range kinds {
		form := template.Runs.Of(strings.Join(kinds[i].Text, "0"))
		alike[form] = append(alike[form], i)
	}
	for _, places := range alike {
		list := make([]template.Kind, len(places))
		for k, i := range places {
			list[k] = kinds[i]
		}
		slices.SortStableFunc(list, func(a, b template.Kind) int { return a.Holes() - b.Holes() })
		for k, i := range places {
			kinds[i] = list[k]
		}
	}
}
