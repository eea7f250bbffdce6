package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A glob says the same as the regular expression that it stands for.
func TestGlobIsItsRegexp(t *testing.T) {
	type part struct{ glob, re string }
	parts := []part{
		{"*", "(?s:.*)"},
		{"?", "(?s:.)"},
		{"[ab]", "[ab]"},
		{"[!ab]", "[^ab]"},
		{"[^b-é]", "[^b-é]"},
		{"[]x]", `[\]x]`},
		{`[\]-]`, `[\]\-]`},
		{"[a-c.]", "[a-c.]"},
		{`\*`, `\*`},
		{"a", "a"},
		{"b", "b"},
		{".", `\.`},
		{"é", "é"},
	}
	rapid.Check(t, func(t *rapid.T) {
		var glob, re strings.Builder
		for _, p := range rapid.SliceOfN(rapid.SampledFrom(parts), 0, 8).Draw(t, "parts") {
			glob.WriteString(p.glob)
			re.WriteString(p.re)
		}
		g, err := compileGlob(glob.String())
		if err != nil {
			t.Fatal(err)
		}
		name := rapid.StringMatching(`[ab.*éx\]\-\n]{0,12}`).Draw(t, "name")
		want := regexp.MustCompile("^(?:" + re.String() + ")$").MatchString(name)
		if got := g.match(name); got != want {
			t.Fatalf("%s on %q: %v, and %s says %v", &glob, name, got, &re, want)
		}
	})
}

func TestGlobBytes(t *testing.T) {
	for _, tt := range []struct {
		glob, name string
		want       bool
	}{
		{"a?b", "a\xffb", true},
		{"a\xffb", "a\xffb", true},
		{"a\xfeb", "a\xffb", false},
		{"*\ufffd*", "a\xffb", false},
		{"[!x]", "\xff", true},
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
	} {
		g, err := compileGlob(tt.glob)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.match(tt.name); got != tt.want {
			t.Errorf("%q on %q: %v", tt.glob, tt.name, got)
		}
	}
	for glob, want := range map[string]string{`a\`: "backslash", "[": "not closed", "[]": "not closed", "[z-a]": "backwards"} {
		if _, err := compileGlob(glob); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", glob, err)
		}
	}
}

// Many stars on a long name take time that grows with their product at most;
// with backtracking into every star this would not end.
func TestGlobIsNotExponential(t *testing.T) {
	g, err := compileGlob(strings.Repeat("*a", 30) + "b")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { done <- g.match(strings.Repeat("a", 10_000)) }()
	select {
	case got := <-done:
		if got {
			t.Error("it matches")
		}
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("*.q_proj.[!a-z]?", "model.layers.0.q_proj.0x")
	f.Add(`\[\`, "[")
	f.Add("[]-a]", "a")
	f.Fuzz(func(t *testing.T, glob, name string) {
		g, err := compileGlob(glob)
		if err != nil {
			return
		}
		g.match(name)
		// A name is matched by itself, quoted.
		quoted := regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(glob, `\$0`)
		if q, err := compileGlob(quoted); err != nil || !q.match(glob) {
			t.Errorf("%q does not match %q: %v", quoted, glob, err)
		}
	})
}

func TestCompareNames(t *testing.T) {
	order := []string{"", "a", "a.2", "a.02", "a.2.b", "a.10", "a.99999999999999999999998", "a.99999999999999999999999", "b"}
	for i := range order {
		for j := range order {
			got := compareNames(order[i], order[j])
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
		if compareNames(a, b) != -compareNames(b, a) || (compareNames(a, b) == 0) != (a == b) {
			t.Fatalf("%q and %q: %d, %d", a, b, compareNames(a, b), compareNames(b, a))
		}
		if compareNames(a, b) <= 0 && compareNames(b, c) <= 0 && compareNames(a, c) > 0 {
			t.Fatalf("%q, %q, %q are not in order", a, b, c)
		}
	})
}
