package template

import (
	"testing"

	"pgregory.net/rapid"
)

func TestCompare(t *testing.T) {
	order := []string{"", "a", "a.2", "a.02", "a.2.b", "a.10", "a.99999999999999999999998", "a.99999999999999999999999", "b"}
	for i := range order {
		for j := range order {
			got := Compare(order[i], order[j])
			switch {
			case order[i] == "a.2" && order[j] == "a.02" || order[i] == "a.02" && order[j] == "a.2":
				if got == 0 {
					t.Errorf("%q and %q are equal", order[i], order[j])
				}
			case order[i] == "a.2.b" && order[j] == "a.02", order[i] == "a.02" && order[j] == "a.2.b":
			case (got < 0) != (i < j) || (got > 0) != (i > j):
				t.Errorf("%q and %q: %d", order[i], order[j], got)
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a.]?[0-9]{0,3}[.b]?[0-9]{0,2}`)
		a, b, c := name.Draw(t, "a"), name.Draw(t, "b"), name.Draw(t, "c")
		if Compare(a, b) != -Compare(b, a) || (Compare(a, b) == 0) != (a == b) {
			t.Fatalf("%q and %q: %d, %d", a, b, Compare(a, b), Compare(b, a))
		}
		if Compare(a, b) <= 0 && Compare(b, c) <= 0 && Compare(a, c) > 0 {
			t.Fatalf("%q, %q, %q are not in order", a, b, c)
		}
	})
}
