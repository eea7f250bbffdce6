package rename

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestPatternMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          []string // nil: no match
	}{
		{"lm_head.weight", "lm_head.weight", []string{}},
		{"lm_head.weight", "lm_head.weights", nil},
		{"head.weight", "lm_head.weight", nil},
		{"h.{n}.w", "h.0.w", []string{"0"}},
		{"h.{n}.w", "h.01.w", []string{"01"}},
		{"h.{n}.w", "h..w", nil},
		{"h.{n}.w", "h.x.w", nil},
		{"h.{n}.w", "h.1.1.w", nil},
		{"h{n}", "h11", []string{"11"}},
		{"weight{e}", "weight", nil},
		{"{n}", "12345678901234567890123", []string{"12345678901234567890123"}},
		{"a.{x:seg}.w", "a.b.w", []string{"b"}},
		{"a.{x:seg}.w", "a.b.c.w", nil},
		{"a.{x:seg}.w", "a..w", nil},
		{"{p:seg}_proj", "q_a_proj", []string{"q_a"}},
		{"{p:seg}_{q:seg}", "a_b_c", []string{"a", "b_c"}},
		{"{x...}", "", []string{""}},
		{"{x...}", "a.b", []string{"a.b"}},
		{"{x...}.w", ".w", []string{""}},
		{"{x...}.w", "w", nil},
		{"{x...}.w{y...}", "a.w.w", []string{"a", ".w"}},
		{"{x...}{n}", "a11", []string{"a", "11"}},
		{"{n}{x...}", "11a", []string{"11", "a"}},
		{"{x...}.{n}.w", "a.1.2.w", []string{"a.1", "2"}},
		{"{x:seg}{n}", "ab12", []string{"ab", "12"}},
		{"{x:seg}{n}", "12", nil},
		{"b.{i}.l.{i}", "b.3.l.3", []string{"3"}},
		{"b.{i}.l.{i}", "b.3.l.4", nil},
		{"b.{i}.l.{i}", "b.3.l.03", nil},
		{"{x...}.{x}", "a.a.a", nil},
		{"{x...}.{x}", "a.b.a.b", []string{"a.b"}},
		{"{x:seg}.{y...}.{x}", "a.b.c.a", []string{"a", "b.c"}},
		{"a{{b}}", "a{b}", []string{}},
		{"{{{n}}}", "{7}", []string{"7"}},
		{"é.{x:seg}", "é.ü", []string{"ü"}},
		{"{x:seg}.w", "\xff.w", []string{"\xff"}},
		{"{x:seg}{y...}", "é.w", []string{"é", ".w"}},
		{"{x:seg}{y...}", "\xc3é", []string{"\xc3", "é"}},
		{"{x:seg}{y...}{x}", "éaé", []string{"é", "a"}},
		{"{x:seg}{y...}{z:seg}", "éü", []string{"é", "", "ü"}},
		{"{x:seg}{y...}{z:seg}", "é", nil},
		{"{x:seg}{y...}{z:seg}{n}", "aé1", []string{"a", "", "é", "1"}},
		{"{x:seg}{y...}{z:seg}{n}", "é1", nil},
	}
	for _, tt := range tests {
		got, ok := mustCompile(tt.pattern).match(tt.name)
		if ok != (tt.want != nil) || ok && !slices.Equal(got, tt.want) {
			t.Errorf("%s against %q: %q, %v; want %q", tt.pattern, tt.name, got, ok, tt.want)
		}
	}
}

func TestPatternErrors(t *testing.T) {
	tests := []struct{ pattern, template, want string }{
		{"", "", `"": character 1: the pattern is empty; write a tensor name`},
		{"a.{b", "", `"a.{b": character 3: a { without its }; write {{ and }} for literal braces`},
		{"a.b}", "", `"a.b}": character 4: a } without its {; write {{ and }} for literal braces`},
		{"a.{b{c}", "", `"a.{b{c}": character 3: a { without its }; write {{ and }} for literal braces`},
		{"a.{}", "", `"a.{}": character 3: the hole has no name; write {layer} for a number, {name:seg} for a segment, {name...} for anything`},
		{"a.{0..59}", "", `"a.{0..59}": character 3: {0..59} is not the name of a hole; a hole stands for any number: write {layer}; for a choice write one rule each`},
		{"a.{b:int}", "", `"a.{b:int}": character 3: {b:int} is not a hole; the forms are {layer} for a number, {layer:02} for one with zeros before it, {name:seg} for a segment, {name...} for anything`},
		{"a.{b,c}", "", `"a.{b,c}": character 3: {b,c} is not a hole; the forms are {layer} for a number, {layer:02} for one with zeros before it, {name:seg} for a segment, {name...} for anything`},
		{"a.{n+1}", "", `"a.{n+1}": character 3: a pattern cannot shift {n}; shift it on the right side`},
		{"a.{b:2}", "", `"a.{b:2}": character 3: {b:2} is not a hole; write {b:02} for numbers with zeros before them up to 2 digits, and so on to :09`},
		{"a.{b:01}", "", `"a.{b:01}": character 3: {b:01} is not a hole; write {b:02} for numbers with zeros before them up to 2 digits, and so on to :09`},
		{"a.{b:012}", "", `"a.{b:012}": character 3: {b:012} is not a hole; write {b:02} for numbers with zeros before them up to 2 digits, and so on to :09`},
		{"a.{b...:02}", "", `"a.{b...:02}": character 3: {b...:02} is not a hole; the forms are {layer} for a number, {layer:02} for one with zeros before it, {name:seg} for a segment, {name...} for anything`},
		{"a.{n+1:02}", "", `"a.{n+1:02}": character 3: a pattern cannot shift {n}; shift it on the right side`},
		{"{n:02}.{n}", "", `"{n:02}.{n}": character 8: {n} is a number here and a number of at least 2 digits before; write {n:02} again, or give the second hole another name`},
		{"{n}.{n:02}", "", `"{n}.{n:02}": character 5: {n} is a number of at least 2 digits here and a number before; write {n} again, or give the second hole another name`},
		{"{n:02}{m:03}", "", `"{n:02}{m:03}": character 7: two holes for a number stand side by side, and no name says where one ends; put text between them, or make them one`},
		{"h.{x:seg}", "l.{x:02}", `"l.{x:02}": character 3: {x} is a segment, and only a number can be padded`},
		{"{n}.{n:seg}", "", `"{n}.{n:seg}": character 5: {n} is a segment here and a number before; write {n} again, or give the second hole another name`},
		{"{a...}{b...}", "", `"{a...}{b...}": character 7: two holes for anything stand side by side, and no name says where one ends; put text between them, or make them one`},
		{"h.1{n}", "", `"h.1{n}": character 4: a digit stands right before {n}; a hole takes the whole number: leave the digit out, or write the numbers one by one`},
		{"h.{n}0", "", `"h.{n}0": character 6: a digit stands right after {n}; a hole takes the whole number: leave the digit out, or write the numbers one by one`},
		{"h.{layer}", "", `"": character 1: the new name is empty; write a tensor name, or drop the tensor with a reason`},
		{"h.{layer}", "l.{lyer}", `"l.{lyer}": character 3: the left side has no hole {lyer}; did you mean {layer}?`},
		{"h.{layer}", "l.{x}", `"l.{x}": character 3: the left side has no hole {x}; it has {layer}`},
		{"h", "l.{x}", `"l.{x}": character 3: the left side has no hole {x}; it has none; write {{ and }} for literal braces`},
		{"h.{x:seg}", "l.{x+1}", `"l.{x+1}": character 3: {x} is a segment, and only a number can be shifted`},
		{"h.{n}", "l.{n+0}", `"l.{n+0}": character 3: "+0" is not a shift; write {n+1} or {n-1}`},
		{"h.{n}", "l.{n-}", `"l.{n-}": character 3: "-" is not a shift; write {n+1} or {n-1}`},
		{"h.{n}", "l.{n+-1}", `"l.{n+-1}": character 3: "+-1" is not a shift; write {n+1} or {n-1}`},
	}
	for _, tt := range tests {
		p, err := compile(tt.pattern)
		if err == nil {
			_, err = compileTarget(tt.template, p)
		}
		if _, ok := errors.AsType[*syntaxError](err); !ok {
			t.Errorf("%q to %q: %v is no syntaxError", tt.pattern, tt.template, err)
			continue
		}
		if diff := cmp.Diff(tt.want, err.Error()); diff != "" {
			t.Errorf("%q to %q (-want +got):\n%s", tt.pattern, tt.template, diff)
		}
	}
}

func TestTemplateExpand(t *testing.T) {
	tests := []struct{ pattern, template, name, want, err string }{
		{"h.{n}.w", "l.{n}.w", "h.007.w", "l.007.w", ""},
		{"h.{n}.w", "l.{n+1}.w", "h.9.w", "l.10.w", ""},
		{"h.{n}.w", "l.{n-1}.w", "h.10.w", "l.9.w", ""},
		{"h.{n}.w", "l.{n-10}.w", "h.10.w", "l.0.w", ""},
		{"h.{n}.w", "l.{n-1}.w", "h.0.w", "", `"0" cannot be shifted by -1: it would be less than 0`},
		{"h.{n}.w", "l.{n+1}.w", "h.01.w", "", `"01" cannot be shifted by +1: it has leading zeros; a hole with :02 on the left side takes them`},
		{"h.{n}.w", "l.{n+1}.w", "h.9223372036854775807.w", "", `"9223372036854775807" cannot be shifted by +1: it is too large`},
		{"h.{n:02}.w", "l.{n}.w", "h.07.w", "l.7.w", ""},
		{"h.{n:02}.w", "l.{n}.w", "h.107.w", "l.107.w", ""},
		{"h.{n:02}.w", "l.{n:02}.w", "h.07.w", "l.07.w", ""},
		{"h.{n:02}.w", "l.{n+1:03}.w", "h.99.w", "l.100.w", ""},
		{"h.{n:02}.{n:02}", "l.{n-1}", "h.07.07", "l.6", ""},
		{"h.{n}.w", "l.{n:02}.w", "h.7.w", "l.07.w", ""},
		{"h.{n}.w", "l.{n:02}.w", "h.0.w", "l.00.w", ""},
		{"h.{n}.w", "l.{n:02}.w", "h.07.w", "", `"07" cannot be written with other zeros: it has leading zeros; a hole with :02 on the left side takes them`},
		{"{a:seg}.{b...}", "{b...}.{a:seg}", "x.y.z", "y.z.x", ""},
		{"a{{{n}", "{{{n}}}", "a{1", "{1}", ""},
	}
	for _, tt := range tests {
		p := mustCompile(tt.pattern)
		tmpl, err := compileTarget(tt.template, p)
		if err != nil {
			t.Fatal(err)
		}
		holes, ok := p.match(tt.name)
		if !ok {
			t.Fatalf("%s does not match %q", tt.pattern, tt.name)
		}
		got, err := tmpl.expand(holes)
		if err != nil && err.Error() != tt.err || err == nil && (tt.err != "" || got != tt.want) {
			t.Errorf("%s to %s: %q gives %q, %v; want %q, %s", tt.pattern, tt.template, tt.name, got, err, tt.want, tt.err)
		}
	}
}

// slowMatch tries all texts for all holes, the shortest of the leftmost first.
func slowMatch(p *Pattern, name string) ([]string, bool) { return tryAll(p, name, false) }

// tryAll is slowMatch, or with the longest first.
func tryAll(p *Pattern, name string, longest bool) ([]string, bool) {
	holes := make([]string, len(p.holes))
	var place func(i, at int) bool
	place = func(i, at int) bool {
		if i == len(p.pieces) {
			return at == len(name)
		}
		pc := p.pieces[i]
		if pc.text != "" {
			return strings.HasPrefix(name[at:], pc.text) && place(i+1, at+len(pc.text))
		}
		for n := range len(name) - at + 1 {
			end := at + n
			if longest {
				end = len(name) - n
			}
			text := name[at:end]
			if end < len(name) && !utf8.RuneStart(name[end]) {
				continue
			}
			switch pc.kind {
			case kindDigits:
				if text == "" || strings.Trim(text, "0123456789") != "" ||
					at > 0 && isDigit(name[at-1]) || end < len(name) && isDigit(name[end]) ||
					pc.width > 0 && text != withZeros(strings.TrimLeft(text, "0"), pc.width) {
					continue
				}
			case kindSegment:
				if text == "" || strings.Contains(text, ".") {
					continue
				}
			}
			before := holes[pc.hole]
			if pc.again && before != text {
				continue
			}
			holes[pc.hole] = text
			if place(i+1, end) {
				return true
			}
			holes[pc.hole] = before
		}
		return false
	}
	return holes, place(0, 0)
}

func withZeros(digits string, width int) string {
	return strings.Repeat("0", max(0, width-len(digits))) + digits
}

// anyPattern draws patterns of few letters, so that they match and meet often.
func anyPattern() *rapid.Generator[*Pattern] {
	part := rapid.SampledFrom([]string{"a", "b", ".", ".", "_", "1", "{n}", "{m}", "{k:02}", "{s:seg}", "{t:seg}", "{x...}", "{y...}"})
	return rapid.Custom(func(t *rapid.T) *Pattern {
		p, err := compile(strings.Join(rapid.SliceOfN(part, 1, 7).Draw(t, "parts"), ""))
		if err != nil {
			t.Skip(err)
		}
		return p
	})
}

func anyName() *rapid.Generator[string] {
	return rapid.StringOfN(rapid.RuneFrom([]rune("ab.._12é")), 0, 9, -1)
}

// nameOf draws a name that the pattern is likely to match.
func nameOf(t *rapid.T, p *Pattern) string {
	holes := make([]string, len(p.holes))
	for i, h := range p.holes {
		switch h.Kind {
		case kindDigits:
			holes[i] = rapid.SampledFrom([]string{"0", "1", "2", "11", "01", "02", "110"}).Draw(t, "number")
		case kindSegment:
			holes[i] = rapid.SampledFrom([]string{"a", "b", "1", "a_b", "b1"}).Draw(t, "segment")
		default:
			holes[i] = rapid.SampledFrom([]string{"", "a", "a.b", ".", "1.a", "b.1"}).Draw(t, "anything")
		}
	}
	name := ""
	for _, pc := range p.pieces {
		if pc.text == "" {
			name += holes[pc.hole]
		} else {
			name += pc.text
		}
	}
	return name
}

func TestMatchTakesTheShortest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPattern().Draw(t, "pattern")
		name := anyName().Draw(t, "name")
		if rapid.Bool().Draw(t, "of the pattern") {
			name = nameOf(t, p)
		}
		want, wantOK := slowMatch(p, name)
		got, ok := p.match(name)
		if ok != wantOK || ok && !slices.Equal(got, want) {
			t.Fatalf("%s against %q: %q, %v; want %q, %v", p, name, got, ok, want, wantOK)
		}
	})
}

// What the index and the comparison of rules conclude from patterns alone must
// hold for every name.
func TestLanguages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyPattern().Draw(t, "a"), anyPattern().Draw(t, "b")
		name := nameOf(t, rapid.SampledFrom([]*Pattern{a, b}).Draw(t, "whose"))
		_, inA := a.match(name)
		_, inB := b.match(name)
		if inA && inB && disjointForms(patternUnits(a), patternUnits(b)) {
			t.Fatalf("%s and %s both match %q", a, b, name)
		}
		if _, ok := covers(b, patternUnits(a)); ok && inA && !inB {
			t.Fatalf("%s does not match %q of %s", b, name, a)
		}
		var want, got []int
		for i, in := range []bool{inA, inB} {
			if in {
				want = append(want, i)
			}
		}
		for i := range newIndex([]*Pattern{a, b}).match(name) {
			got = append(got, i)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("the index finds %v, want %v", got, want)
		}
	})
}

// A pattern that is said to have one reading finds again what was written with
// its holes.
func TestOneReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := anyPattern().Draw(t, "pattern")
		if !oneReading(patternUnits(p)) {
			return
		}
		name := nameOf(t, p)
		short, ok := slowMatch(p, name)
		if long, _ := tryAll(p, name, true); ok && !slices.Equal(short, long) {
			t.Fatalf("%s reads %q as %q and as %q", p, name, short, long)
		}
	})
}

func TestMatchIsBounded(t *testing.T) {
	hard := mustCompile("{a...}x{b...}x{c...}x{d...}x{a}y{b}y{c}y{d}")
	var m matcher
	if m.match(hard, strings.Repeat("x", 400)+strings.Repeat("y", 3)) || !m.gaveUp {
		t.Error("the search does not give up")
	}
	if m.match(mustCompile("{a...}.{n}.{b...}"), strings.Repeat("x", maxSearched)+".1.") || !m.gaveUp {
		t.Error("a name of any length is searched")
	}
	if m.match(hard, "axbxcxdxaybycyd") != true || m.gaveUp {
		t.Error("an easy name is given up")
	}

	many := mustCompile("{a...}x{b...}x{c...}x{d...}x{e...}y")
	if _, ok := many.match(strings.Repeat("x", 60_000) + "z"); ok {
		t.Error("matched")
	}
	if holes, ok := many.match(strings.Repeat("x", 60_000) + "y"); !ok || len(holes[4]) != 59_996 {
		t.Error("not matched")
	}
}

func TestPatternParts(t *testing.T) {
	p := mustCompile("a.{n}.{x:seg}.{y...}.{n}")
	want := []hole{{"n", kindDigits, 0}, {"x", kindSegment, 0}, {"y", kindAnything, 0}}
	if got := p.holes; !slices.Equal(got, want) {
		t.Errorf("holes %v, want %v", got, want)
	}
	if p.literal {
		t.Error("a pattern with holes is one name")
	}
	if p := mustCompile("a{{b"); !p.literal || p.pieces[0].text != "a{b" {
		t.Errorf("the name of a{{b is %q, %v", p.pieces[0].text, p.literal)
	}
}

func (p *Pattern) match(name string) (holes []string, ok bool) {
	var m matcher
	if !m.match(p, name) {
		return nil, false
	}
	return m.holes, true
}

func (x *patternIndex) match(name string) iter.Seq2[int, []string] {
	return func(yield func(int, []string) bool) {
		s := searcher{index: x}
		s.each(name, yield)
	}
}

func FuzzPattern(f *testing.F) {
	for _, seed := range []string{"a.{n}.b", "{x...}.{s:seg}_{n}", "{x...}.{x}", "{{}}{a}", "{n+1}", "{"} {
		f.Add(seed, "{n}{x}{s:seg}", "a.1.b")
	}
	f.Fuzz(func(t *testing.T, source, template, name string) {
		p, err := compile(source)
		if err != nil {
			return
		}
		holes, ok := p.match(name)
		if again, err := compile(p.String()); err != nil || len(again.holes) != len(p.holes) {
			t.Fatalf("%q is not read back: %v", p, err)
		}
		if ok && len(name) < 12 && len(p.pieces) < 5 {
			if want, ok := slowMatch(p, name); !ok || !slices.Equal(want, holes) {
				t.Fatalf("%q against %q: %q, want %q", p, name, holes, want)
			}
		}
		tmpl, err := compileTarget(template, p)
		if err == nil && ok {
			_, _ = tmpl.expand(holes)
		}
		if name != "" {
			if _, ok := exactly(name).match(name); !ok {
				t.Fatalf("%q does not match itself", name)
			}
		}
	})
}
