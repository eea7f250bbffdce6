package match

import (
	"fmt"
	"slices"
	"testing"
)

// plain matches two lists of names, each with a shape of its own template, as they are.
func plain(t *testing.T, a, b []Tensor) []string {
	t.Helper()
	x, err := Numbered(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := Numbered(b)
	if err != nil {
		t.Fatal(err)
	}
	sol, err := Solve(x, y, Options{Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for i := range sol.Matches {
		m := &sol.Matches[i]
		if m.Confidence < Confidence(Sure) {
			continue
		}
		x[m.A[0]].Same(y[m.B[0]], func(i, j int) { out = append(out, a[i].Name+" "+b[j].Name) })
	}
	slices.Sort(out)
	return out
}

func layers(pattern string, first, last int, shape ...uint64) []Tensor {
	var out []Tensor
	for l := first; l <= last; l++ {
		out = append(out, Tensor{Name: fmt.Sprintf(pattern, l), Shape: shape})
	}
	return out
}

func TestPlain(t *testing.T) {
	for _, tt := range []struct {
		name string
		a, b []Tensor
		want []string
	}{
		{
			"nothing is transposed", layers("h.%d.a", 0, 1, 2, 3), layers("h.%d.b", 0, 1, 3, 2), nil,
		},
		{
			"members that only one has",
			layers("h.%d.up.weight", 0, 2, 4, 2), layers("h.%d.fc.weight", 2, 3, 4, 2),
			[]string{"h.2.up.weight h.2.fc.weight"},
		},
		{
			"the only layer of a list",
			layers("h.%d.up.weight", 0, 1, 4, 2), append(layers("h.%d.fc.weight", 1, 1, 4, 2), layers("h.%d.x.weight", 0, 1, 9)...),
			[]string{"h.1.up.weight h.1.fc.weight"},
		},
		{
			"a bias that some layers have",
			append(layers("h.%d.w.weight", 0, 1, 2), layers("h.%d.w.bias", 1, 1, 2)...),
			append(layers("p.h.%d.w.weight", 0, 1, 2), layers("p.h.%d.w.bias", 0, 1, 2)...),
			[]string{"h.0.w.weight p.h.0.w.weight", "h.1.w.bias p.h.1.w.bias", "h.1.w.weight p.h.1.w.weight"},
		},
		{
			"old names of leaves",
			append(layers("h.%d.n.gamma", 0, 1, 2), layers("h.%d.n.beta", 0, 1, 2)...),
			append(layers("p.h.%d.n.weight", 0, 1, 2), layers("p.h.%d.n.bias", 0, 1, 2)...),
			[]string{"h.0.n.beta p.h.0.n.bias", "h.0.n.gamma p.h.0.n.weight", "h.1.n.beta p.h.1.n.bias", "h.1.n.gamma p.h.1.n.weight"},
		},
	} {
		if got := plain(t, tt.a, tt.b); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		var turned []string
		for _, s := range plain(t, tt.b, tt.a) {
			var x, y string
			fmt.Sscan(s, &x, &y)
			turned = append(turned, y+" "+x)
		}
		slices.Sort(turned)
		if !slices.Equal(turned, tt.want) {
			t.Errorf("%s, exchanged: %q, want %q", tt.name, turned, tt.want)
		}
	}
}

// A role is the same module whatever its name and shape, and two roles are two.
func TestRoles(t *testing.T) {
	a, _ := Numbered(append(layers("h.%d.x", 0, 1, 2), layers("h.%d.y", 0, 1, 2)...))
	b, _ := Numbered(append(layers("h.%d.y", 0, 1, 3), layers("h.%d.x", 0, 1, 2)...))
	role := map[string]string{"h.{}.x": "one", "h.{}.y": "two"}
	other := map[string]string{"h.{}.x": "two", "h.{}.y": "one"}
	for i := range a {
		a[i].Role, b[i].Role = role[a[i].String()], other[b[i].String()]
	}
	sol, err := Solve(a, b, Options{Plain: true})
	if err != nil || len(sol.Matches) != 2 {
		t.Fatalf("%v, %+v", err, sol)
	}
	for i := range sol.Matches {
		m := &sol.Matches[i]
		if x, y := a[m.A[0]], b[m.B[0]]; x.Role != y.Role {
			t.Errorf("%s (%s) becomes %s (%s)", x, x.Role, y, y.Role)
		}
	}
}
