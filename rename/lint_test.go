package rename

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func findingLines(findings []Finding) string {
	var b strings.Builder
	for _, f := range findings {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

func TestLint(t *testing.T) {
	tests := []struct{ name, body, want string }{
		{"nothing to say", "rename: {'h.{n}.a': 'l.{n}.a', b: c}", ""},
		{
			"shadowed", "rename: {'h.{n}.{x...}': 'l.{n}.{x}', 'h.{i}.w': 'k.{i}'}",
			"map.yaml:1:39: warning: h.{i}.w never decides: h.{n}.{x...} (map.yaml:1:10) matches all its names; move it up, or take it out [shadowed]\n",
		},
		{
			"the same name twice", "rules: [{from: a, to: b}, {from: a, to: c}]",
			"map.yaml:1:27: warning: a never decides: a (map.yaml:1:9) matches all its names; move it up, or take it out [shadowed]\n",
		},
		{"special before general is how it is done", "rename: {h.0.w: first, 'h.{n}.w': 'l.{n}.w'}", ""},
		{
			"overlap", "rename: {'a.{x...}': 'b.{x}', '{y...}.w': '{y}.v'}",
			"map.yaml:1:31: note: {y...}.w and a.{x...} (map.yaml:1:10) may match the same name; the earlier rule decides [overlap]\n",
		},
		{
			"a name is kept for no reason", "rename: {a: a}",
			"map.yaml:1:10: warning: a keeps its name, and no later rule would change it; take it out [no-change]\n",
		},
		{"a name is kept from a later rule", "rename: {a.b: a.b, 'a.{x...}': 'c.{x}'}", ""},
		{"a name is kept from an error", "rename: {a: a}\notherwise: error", ""},
		{
			"a regular expression", `rename: {'^model\.(.*)$': x}`,
			`map.yaml:1:10: warning: ^model\.(.*)$ has "^" like a regular expression, and matches only that text; patterns are names with holes: ` +
				"{layer} for a number, {name:seg} for a segment, {name...} for anything [regexp]\n",
		},
		{
			"a lost hole", "rename: {'h.{n}.{x...}': 'l.{x}'}",
			"map.yaml:1:10: warning: {n} stands on the left side and not on the right: names that differ there become one [lost-hole]\n",
		},
		{
			"a doubled prefix", "rename: {'encoder.{x...}': 'encoder.encoder.{x}'}",
			"map.yaml:1:10: warning: encoder.encoder.{x} has encoder twice in a row [doubled]\n" +
				"map.yaml:1:10: note: encoder.{x...} matches what it makes: a second run changes encoder.encoder.{x} again [repeat]\n",
		},
		{
			"a second run", "rename: {'{x...}': 'module.{x}'}",
			"map.yaml:1:10: note: {x...} matches what it makes: a second run changes module.{x} again [repeat]\n",
		},
		{
			"metadata", "rename: {a: __metadata__}",
			"map.yaml:1:10: warning: no tensor can be called __metadata__ [reserved]\n",
		},
		{
			"weights alone", "rename: {'h.{n}.q.weight': 'l.{n}.q.weight', 'h.{n}.k.weight': 'l.{n}.k.weight', 'h.{n}.k.bias': 'l.{n}.k.bias'}",
			"map.yaml:1:10: note: a bias, scales or zeros beside h.{n}.q.weight stay behind, where there are any; " +
				"end both sides in {leaf...} to take them along [weight-only]\n",
		},
		{
			"weights alone, several", "rename: {a.weight: b.weight, c.weight: d.weight, e.weight: f.weight}",
			"map.yaml:1:10: note: a bias, scales or zeros beside a.weight stay behind, where there are any (and so for 2 more rules); " +
				"end both sides in {leaf...} to take them along [weight-only]\n",
		},
		{"rules that move bytes", "rules: [{from: 'a.{n}', unstack: {}, to: ['b.{n}', 'c.{n}']}]", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, findingLines(Lint(mustParse(t, tt.body)))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestLeftBehind(t *testing.T) {
	m := mustParse(t, "rename: {'h.{n}.q.weight': 'l.{n}.q.weight', 'h.{n}.norm.{x...}': 'l.{n}.norm.{x}', 'm.{n}.weight': 'm.{n}.w'}")
	p := NewPlan(m, strings.Fields(`h.0.q.weight h.1.q.weight h.0.q.bias h.1.q.bias h.0.q.weight_scale_inv
		h.0.q.wscales h.0.q.weight.quant_state.bitsandbytes__nf4 h.0.q.other h.0.norm.weight h.0.norm.bias h.2.q.bias
		m.0.weight m.0.bias`), Limits{})
	want := "map.yaml:1:10: warning: h.{n}.q.weight -> l.{n}.q.weight leaves behind " +
		`"h.{0..1}.q.bias", "h.0.q.weight_scale_inv", "h.0.q.wscales" and "h.0.q.weight.quant_state.bitsandbytes__nf4" (5 tensors)` +
		"; add rules for them, or end both sides in {leaf...} [companion]\n"
	if diff := cmp.Diff(want, findingLines(p.LeftBehind())); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Some of what belongs to a tensor begins with its name.
func TestLeftBehindGlued(t *testing.T) {
	for names, want := range map[string]string{
		"e.gate_blocks e.gate_scales e.gate_bias":   `"e.gate_scales" and "e.gate_bias"`,
		"e.gate e.gate_scale_inv e.gate_bias e.top": `"e.gate_scale_inv" and "e.gate_bias"`,
		"e.gate e.gate_way e.gated e.up_bias":       "",
	} {
		list := strings.Fields(names)
		m := mustParse(t, fmt.Sprintf("rename: {%s: f.%[1]s}", list[0]))
		got := findingLines(NewPlan(m, list, Limits{}).LeftBehind())
		if want == "" && got != "" || !strings.Contains(got, "leaves behind "+want) && want != "" {
			t.Errorf("%s: %q, want %s", names, got, want)
		}
	}
}
