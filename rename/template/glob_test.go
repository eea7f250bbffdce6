package template

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
		g, err := ParseGlob(glob.String())
		if err != nil {
			t.Fatal(err)
		}
		name := rapid.StringMatching(`[ab.*éx\]\-\n]{0,12}`).Draw(t, "name")
		want := regexp.MustCompile("^(?:" + re.String() + ")$").MatchString(name)
		if got := g.Match(name); got != want {
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
		g, err := ParseGlob(tt.glob)
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Match(tt.name); got != tt.want {
			t.Errorf("%q on %q: %v", tt.glob, tt.name, got)
		}
	}
	for glob, want := range map[string]string{`a\`: "backslash", "[": "not closed", "[]": "not closed", "[z-a]": "backwards"} {
		if _, err := ParseGlob(glob); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", glob, err)
		}
	}
}

// Many stars on a long name take time that grows with their product at most;
// with backtracking into every star this would not end.
func TestGlobIsNotExponential(t *testing.T) {
	g, err := ParseGlob(strings.Repeat("*a", 30) + "b")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() { done <- g.Match(strings.Repeat("a", 10_000)) }()
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
		g, err := ParseGlob(glob)
		if err != nil {
			return
		}
		g.Match(name)
		// A name is matched by itself, quoted.
		quoted := regexp.MustCompile(`[*?\[\\]`).ReplaceAllString(glob, `\$0`)
		if q, err := ParseGlob(quoted); err != nil || !q.Match(glob) {
			t.Errorf("%q does not match %q: %v", quoted, glob, err)
		}
	})
}
