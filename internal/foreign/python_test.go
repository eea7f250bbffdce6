package foreign

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// Of what Go's regexp has, the pattern finds the same.
func TestPattern(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", `\.`, "[0-9]", "[^.]", ".", "(a)", "(?:b|ab)", "([0-9]+)", "(.*?)", "[^.]+", "a+", "b*?", "(a|b)?", "(a|ab)(c|bcd)?", "^", "$", "|", "[*]", `[\\]`})
	rapid.Check(t, func(t *rapid.T) {
		text := ""
		for _, p := range rapid.SliceOfN(piece, 1, 6).Draw(t, "pattern") {
			text += p
		}
		p, err := compile(text)
		if err != nil {
			t.Fatal(err)
		}
		re := regexp.MustCompile(text)
		s := rapid.StringMatching(`[ab.c01*\\]{0,8}`).Draw(t, "text")
		if got, want := p.search(s, 0) != nil, re.MatchString(s); got != want {
			t.Fatalf("%q in %q: %v, want %v", text, s, got, want)
		}
		if m := re.FindStringIndex(s); m != nil {
			if got := p.search(s, 0); got[0] != m[0] || got[1] != m[1] {
				t.Fatalf("%q in %q: %v, want %v", text, s, got, m)
			}
		}
	})
	// What Go's lacks, as the documentation of Python's re has it.
	for _, tt := range []struct{ pattern, text, in, want string }{
		{`(.+) \1`, "x", "the the", "x"},
		{`(?<=-)b`, "x", "b-b", "b-x"},
		{`(?<![0-9])([0-9]+)(?![0-9])`, `<\g<1>0>`, "a12b3", "a<120>b<30>"},
		{`a(?!b)`, "x", "abac", "abxc"},
		{`^[^.]+?(.*)`, `\1`, "éa", "a"},
		{`x*`, "-", "abxd", "-a-b--d-"},
	} {
		p, err := compile(tt.pattern)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := p.sub(tt.text, tt.in); err != nil || got != tt.want {
			t.Errorf("%s in %q: %q, %v, want %q", tt.pattern, tt.in, got, err, tt.want)
		}
	}
}
