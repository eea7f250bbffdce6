package rename

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const asks = `rename: {a: b}
ask:
  - between: [w1, w2]
    and: [gate, up]
    best: [up, gate]
  - between: w3
    and: [down, out]
    answer: down
`

// A map that asks is refused wherever its rules would be taken for the whole truth.
func TestQuestionsRefuse(t *testing.T) {
	m := mustParse(t, asks)
	const (
		open     = "map.yaml:3:5: "
		answered = "map.yaml:6:5: "
		first    = "what becomes of w1 and w2: gate or up; fill in answer: and run 'wtinspect map infer -o' again, or use its --assume"
		second   = "what becomes of w3: down or out; the answer is not in the rules yet; run 'wtinspect map infer -o' again"
	)
	p := NewPlan(m, []string{"a", "w1"}, Safetensors())
	var kinds []string
	for _, f := range p.Problems {
		kinds = append(kinds, string(f.Kind))
	}
	if diff := cmp.Diff([]string{"open-question", "open-question"}, kinds); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	algebra := open + "the map asks " + first + "\n" + answered + "the map asks " + second
	_, invert := Invert(m)
	_, before := Compose(m, mustParse(t, "rename: {b: c}"))
	_, after := Compose(mustParse(t, "rename: {c: a}"), m)
	for _, tt := range []struct {
		what, want string
		err        error
	}{
		{"a plan", open + "undecided: " + first + "\n" + answered + "the map asks " + second, p.Err()},
		{"an inverse", algebra, invert},
		{"composed, first", algebra, before},
		{"composed, second", algebra, after},
	} {
		if tt.err == nil {
			t.Errorf("%s is not refused", tt.what)
		} else if diff := cmp.Diff(tt.want, tt.err.Error()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.what, diff)
		}
	}
	lint := strings.ReplaceAll(algebra+"\n", ": the map", ": warning: the map")
	if diff := cmp.Diff(strings.ReplaceAll(lint, "\n", " [question]\n"), findingLines(Lint(m))); diff != "" {
		t.Errorf("lint (-want +got):\n%s", diff)
	}
}

// Comments are a line each, whatever is in the notes.
func TestWriteNotes(t *testing.T) {
	noted := func(from, to string) Rule {
		r, err := NewRule(from, to)
		if err != nil {
			t.Fatal(err)
		}
		r.Notes = []string{"proven: 60 of 60", "a\nb\x1b\u2028"}
		return r
	}
	drop := DropRule("c", "unused")
	drop.Notes = []string{"extra"}
	for want, m := range map[string]*Map{
		"# from here\n# to there\nversion: 1\nrename:\n  # proven: 60 of 60\n  # a\\nb\\x1b\\u2028\n  a: b\n": {Notes: []string{"from here", "to there"}, Rules: []Rule{noted("a", "b")}},
		"version: 1\nrules:\n  # proven: 60 of 60\n  # a\\nb\\x1b\\u2028\n  - from: a\n    to: b\n  # extra\n  - from: c\n    drop: unused\n": {
			Rules: []Rule{noted("a", "b"), drop},
		},
	} {
		if diff := cmp.Diff(want, written(t, m)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		mustParse(t, written(t, m))
	}
}
