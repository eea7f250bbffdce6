package rename

import (
	"slices"
	"strings"
	"testing"
)

func TestTurns(t *testing.T) {
	for _, c := range []struct {
		rules string
		order []int
		err   string
	}{
		{"a=b; c=d", []int{0, 1}, ""},
		{"norm0=norm1; norm1=norm2", []int{1, 0}, ""},
		{"h.{n}.ln1=h.{n}.ln2; h.{n}.ln2=h.{n}.ln3; x=y", []int{1, 0, 2}, ""},
		{"a=b; b=a", nil, "names that it makes (b) would be renamed again by b -> a"},
		{"a=b; b=c; c=a", nil, "renamed again"},
		// The special case before the general one: in turn, the general one would rename it again.
		{"m.a=m.b; m.{r...}=n.{r}", nil, "renamed again"},
		{"m.a=x.b; m.{r...}=n.{r}", []int{0, 1}, ""},
		{"m.{r...}={r}", []int{0}, ""}, // once, so it does not take two prefixes
		{"m.{r...}={r}; n.{r...}={r}", nil, "renamed again"},
	} {
		m := new(Map)
		for _, text := range strings.Split(c.rules, "; ") {
			r, err := ParseRule(text)
			if err != nil {
				t.Fatal(err)
			}
			m.Rules = append(m.Rules, r)
		}
		turns, err := NewTurns(m)
		if err != nil {
			t.Fatal(err)
		}
		order, err := turns.Order(nil)
		if !slices.Equal(order, c.order) || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v", c.rules, order, err)
		}
		if written := turns.AsWritten() == nil; written != (c.order != nil && slices.IsSorted(c.order)) {
			t.Errorf("%s: as written: %v", c.rules, written)
		}
	}
}

// Rules in turn do what they do at once.
func TestTurnsDoTheSame(t *testing.T) {
	parts := []string{"a", "b", "{n}", "{x:seg}", "{r...}"}
	names := []string{"a", "b", "a.a", "a.b", "b.a", "b.b", "a.1", "b.1", "1.a", "1.1", "a.b.1", "1.b.a"}
	tried := 0
	pattern := func(i int) string {
		s := parts[i%5]
		if i /= 5; i%6 > 0 {
			s += "." + strings.NewReplacer("n", "m", "x", "y", "r", "s").Replace(parts[i%6-1])
		}
		return s
	}
	for i := range 30 {
		for j := range 30 {
			for k := range 12 {
				m := new(Map)
				for _, text := range []string{pattern(i) + "=" + pattern(k%6), pattern(j) + "=" + pattern(6+k)} {
					if r, err := ParseRule(text); err == nil {
						m.Rules = append(m.Rules, r)
					}
				}
				turns, err := NewTurns(m)
				if err != nil {
					t.Fatal(err)
				}
				order, err := turns.Order(nil)
				if err != nil {
					continue
				}
				tried++
				for _, name := range names {
					got := name
					for _, k := range order {
						got = NewPlan(&Map{Rules: m.Rules[k : k+1]}, []string{got}, Limits{}).Rows[0].To
					}
					if want := NewPlan(m, []string{name}, Limits{}).Rows[0].To; got != want {
						t.Fatalf("%v in turn %v: %s becomes %s, at once %s", m.Rules, order, name, got, want)
					}
				}
			}
		}
	}
	if tried < 500 {
		t.Errorf("only %d maps", tried)
	}
}
