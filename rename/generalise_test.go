package rename

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Renamings of two parts are never of one rule, whatever they have in common.
func TestGeneraliseParts(t *testing.T) {
	var names []string
	want := make(map[string]string)
	for l := range 3 {
		for _, w := range []string{"w1", "w2"} {
			name := fmt.Sprintf("h.%d.%s", l, w)
			names = append(names, name)
			want[name] = "model." + name
		}
	}
	rules := func(part func(string) int) []string {
		var out []string
		for _, r := range Generalise(names, want, part).Rules {
			out = append(out, r.String())
		}
		return out
	}
	if d := cmp.Diff([]string{"{rest...} -> model.{rest...}"}, rules(nil)); d != "" {
		t.Error(d)
	}
	ofLast := func(name string) int { return int(name[len(name)-1]) }
	if d := cmp.Diff([]string{"h.{layer}.w1 -> model.h.{layer}.w1", "h.{layer}.w2 -> model.h.{layer}.w2"}, rules(ofLast)); d != "" {
		t.Error(d)
	}
}
