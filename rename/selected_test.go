package rename

import (
	"slices"
	"strings"
	"testing"
)

func TestNewSelectedPlan(t *testing.T) {
	m, err := Parse("m.yaml", []byte("rename:\n  a.{n}: b.{n}\n"))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"a.0", "c", "a.1", "b.2", "a.2"}
	p := NewSelectedPlan(m, names, func(name string) bool { return name == "a.0" || name == "a.2" }, Limits{})
	var got []string
	for _, r := range p.Rows {
		got = append(got, r.From+">"+r.To)
	}
	if want := []string{"a.0>b.0", "c>c", "a.1>a.1", "b.2>b.2", "a.2>b.2"}; !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
	if len(p.Problems) != 1 || p.Problems[0].Kind != OntoKept || !strings.Contains(p.Problems[0].Message, `"a.2" would be called "b.2", but a tensor that is not chosen has that name`) {
		t.Errorf("problems %v", p.Problems)
	}
	for _, selected := range []func(string) bool{nil, func(string) bool { return true }} {
		if p := NewSelectedPlan(m, names[:3], selected, Limits{}); len(p.Problems) > 0 || p.Summary().Moved != 2 {
			t.Errorf("all: %+v, %v", p.Summary(), p.Problems)
		}
	}
}
