package txn

import (
	"slices"
	"testing"
)

func TestGap(t *testing.T) {
	old := []Extent{{0, 10}, {12, 30}, {40, 41}}
	for at := int64(0); at <= 45; at++ {
		now := append(Before(old, at), from(old, at, 4)...)
		got, ok := gap(old, now, 4)
		if !ok {
			t.Errorf("gap at %d is not found in %v", at, now)
			continue
		}
		if back := append(Before(now, got), from(now, got+4, -4)...); at < 41 && !equalMerged(back, old) {
			t.Errorf("gap at %d taken for one at %d", at, got)
		}
	}
	if at, ok := gap(old, []Extent{{0, 9}, {13, 34}}, 4); ok {
		t.Errorf("a foreign map is explained by a gap at %d", at)
	}
}

func equalMerged(a, b []Extent) bool {
	var out []Extent
	for _, e := range a {
		if n := len(out); n > 0 && out[n-1].End == e.Start {
			out[n-1].End = e.End
		} else {
			out = append(out, e)
		}
	}
	return slices.Equal(out, b)
}
