package rename

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSkeleton(t *testing.T) {
	var names []string
	for layer := range 4 {
		for _, leaf := range []string{"ln_1.weight", "ln_2.weight", "mlp.0.weight", "mlp.2.weight"} {
			names = append(names, fmt.Sprintf("h.%d.%s", layer, leaf))
		}
		if layer > 0 { // the first is dense, and the last has lost two experts
			for expert := range 8 - layer/3*2 {
				names = append(names, fmt.Sprintf("h.%d.experts.%d.w", layer, expert))
			}
		}
	}
	names = append(names, "h.0.dense.w", "odd{1}", "", "embed")
	m, members := Skeleton(names)
	var got []string
	for i := range m.Rules {
		got = append(got, fmt.Sprintf("%s x%d", m.Rules[i].From[0], len(members[i])))
	}
	want := []string{
		"h.{layer}.ln_1.weight x4", "h.{layer}.ln_2.weight x4", "h.{layer}.mlp.0.weight x4", "h.{layer}.mlp.2.weight x4",
		"h.{layer}.experts.{expert}.w x22", "h.0.dense.w x1", "odd{{1}} x1", "embed x1",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// It is read again, is nothing to remark on, and changes nothing before somebody does.
	again := mustParse(t, written(t, m))
	if findings := Lint(again); len(findings) > 0 {
		t.Errorf("lint:\n%s", findingLines(findings))
	}
	plan := NewPlan(again, slices.DeleteFunc(names, func(n string) bool { return n == "" }), Safetensors())
	if s := plan.Summary(); s.Kept != s.Tensors || s.Unmatched > 0 || s.Unused > 0 || s.Shadowed > 0 || s.Problems > 0 {
		t.Errorf("%+v", s)
	}
}

// However numbers are strewn about, a skeleton has every name once.
func TestSkeletonOfManyTemplates(t *testing.T) {
	var names []string
	for i := range 20_000 {
		names = append(names, fmt.Sprintf("a%dz.%d.b%dc", i%150*7, i%2*3, i/150*5))
	}
	m, members := Skeleton(names)
	n := 0
	for _, list := range members {
		n += len(list)
	}
	if n != len(names) || len(m.Rules) != len(names) {
		t.Errorf("%d rules of %d tensors", len(m.Rules), n)
	}
}
