package exchange

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/foreign"
	"github.com/wtinspect/wtinspect/rename"
)

// Text that a regular expression, a replacement or a template may take for something else, and
// text that is in other text.
var odd = []string{
	".", "a", "b", "ab", "a.b", "1", "0", "10", "h.", ".w", "model.", "layers.", "$", "^", "(", ")", `\`, `\1`, `\g<1>`, "*", "*.", "+", "?",
	"[", "]", "|", "-", "{", "}", "${layer_index}", " ", "#", "/", "é",
}

// An oddMap is a map of such text and holes, with names that its patterns match, or nearly.
type oddMap struct {
	m     *rename.Map
	names []string
}

func drawMap(t *rapid.T) oddMap {
	text := rapid.OneOf(rapid.SampledFrom(odd[:12]), rapid.SampledFrom(odd))
	var o oddMap
	o.m = &rename.Map{File: "m.yaml"}
	var patterns [][]string // text, and holes behind a NUL
	for range rapid.IntRange(1, 4).Draw(t, "rules") {
		kinds := make(map[string]string)
		var pieces, holes []string
		from, to := "", ""
		for range rapid.IntRange(1, 5).Draw(t, "pieces") {
			if rapid.Bool().Draw(t, "text") {
				s := text.Draw(t, "from")
				pieces, from = append(pieces, s), from+rename.Escape(s)
				continue
			}
			name := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "hole")
			if _, ok := kinds[name]; !ok {
				kinds[name] = rapid.SampledFrom([]string{"", ":seg", "...", ":02"}).Draw(t, "kind")
				holes = append(holes, name)
			}
			pieces, from = append(pieces, "\x00"+name+kinds[name]), from+"{"+name+kinds[name]+"}"
		}
		for range rapid.IntRange(1, 4).Draw(t, "new pieces") {
			if len(holes) > 0 && rapid.Bool().Draw(t, "kept") {
				to += "{" + rapid.SampledFrom(holes).Draw(t, "kept hole") + "}"
			} else {
				to += rename.Escape(text.Draw(t, "to"))
			}
		}
		r, err := rename.NewRule(from, to)
		if err != nil {
			continue
		}
		if rapid.IntRange(0, 11).Draw(t, "drop") == 0 {
			r.To, r.Drop = nil, "why"
		}
		o.m.Rules, patterns = append(o.m.Rules, r), append(patterns, pieces)
	}
	if len(patterns) == 0 {
		t.Skip("no rules")
	}
	for range 12 {
		fill := make(map[string]string)
		var name strings.Builder
		for _, p := range rapid.SampledFrom(patterns).Draw(t, "of") {
			if p[0] != 0 {
				name.WriteString(p)
				continue
			}
			if _, ok := fill[p]; !ok || rapid.IntRange(0, 5).Draw(t, "other") == 0 {
				switch {
				case len(p) == 2:
					fill[p] = rapid.SampledFrom([]string{"0", "1", "10", "01", "12"}).Draw(t, "number")
				default:
					fill[p] = strings.Join(rapid.SliceOfN(text, 0, 3).Draw(t, "filling"), "")
				}
			}
			name.WriteString(fill[p])
		}
		if s := name.String() + rapid.SampledFrom([]string{"", "", "", "0", ".w", "a"}).Draw(t, "end"); s != "" {
			o.names = append(o.names, s)
		}
	}
	return o
}

// What is exported gives every name the name that the map gives, whatever is in them.
func TestExportOdd(t *testing.T) {
	exported := make(map[Form]int)
	rapid.Check(t, func(t *rapid.T) {
		o := drawMap(t)
		plan := rename.NewPlan(o.m, o.names, rename.Limits{})
		var want []string
		for _, row := range plan.Rows {
			want = append(want, row.To)
		}
		for form, run := range map[Form]func([]byte, []string) ([]string, error){
			Transformers: func(b []byte, names []string) ([]string, error) { return foreign.Transformers(b, names, 1) },
			VLLM:         foreign.VLLM,
		} {
			var b bytes.Buffer
			if err := Export(&b, o.m, form, nil); err != nil {
				continue
			}
			exported[form]++
			got, err := run(b.Bytes(), o.names)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				var text bytes.Buffer
				_ = rename.Write(&text, o.m)
				t.Errorf("%s of %s: %v (-map +%s)\n%s\n%s", form, text.String(), err, form, diff, b.String())
			}
		}
	})
	for _, form := range []Form{Transformers, VLLM} {
		if exported[form] < 10 && !testing.Short() {
			t.Errorf("only %d maps went to %s", exported[form], form)
		}
	}
}

// An architecture of mergekit has every name of the checkpoint, so that nothing but what two
// tensors would get from one another is refused.
func TestExportOddMergekit(t *testing.T) {
	exported, layered := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		o := drawMap(t)
		for _, name := range slices.Clone(o.names) { // the same in other layers
			for _, n := range []string{"0", "1", "2"} {
				if at := strings.IndexAny(name, "012"); at >= 0 && rapid.IntRange(0, 5).Draw(t, "layer") > 0 {
					o.names = append(o.names, name[:at]+n+name[at+1:])
				}
			}
		}
		slices.Sort(o.names)
		o.names = slices.Compact(o.names)
		model := &Model{Names: o.names, Architectures: []string{"X"}}
		layers := rapid.IntRange(0, 3).Draw(t, "layers")
		if rapid.Bool().Draw(t, "known") {
			model.Number = func(string) (int64, bool) { return int64(layers), true }
		}
		var b bytes.Buffer
		err := Export(&b, o.m, Mergekit, model)
		plan := rename.NewPlan(o.m, o.names, rename.Safetensors())
		refuse := len(plan.Problems) > 0
		want := make(map[string]string)
		for _, row := range plan.Rows {
			if row.Action == rename.Drop {
				continue
			}
			want[row.From] = row.To
			refuse = refuse || row.To != row.From && slices.Contains(o.names, row.To)
		}
		if refuse != (err != nil) {
			t.Fatalf("refused: %v, not %v\n%q", err, refuse, o.names)
		}
		if err != nil {
			return
		}
		exported++
		if strings.Contains(b.String(), layerIndex) {
			layered++
		}
		got, err := foreign.Mergekit(b.Bytes(), o.names, layers)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			var text bytes.Buffer
			_ = rename.Write(&text, o.m)
			t.Errorf("%s: %v (-map +mergekit)\n%s\n%s", text.String(), err, diff, b.String())
		}
	})
	if !testing.Short() && (exported < 10 || layered < 5) {
		t.Errorf("only %d maps went to mergekit, %d of them with layers", exported, layered)
	}
}

// What the other projects' patterns would take for something else.
func TestExportTaken(t *testing.T) {
	for _, tt := range []struct {
		text  string
		names []string
		forms []Form
	}{
		{"rename: {'a*{x...}': 'c{x}'}", []string{"a*.b", "a.b", "ab"}, []Form{Transformers, VLLM}}, // *. is a wildcard of transformers
		{`rename: {'a\1{x...}': 'c{x}'}`, []string{`a\1b`, "ab"}, []Form{Transformers, VLLM}},       // and \1 a group
		// A number that comes again is a whole one, too.
		{"rename: {'a{n}{s:seg}{n}': '{s}.{n}'}", []string{"a8b08", "a8b8", "a8b.8"}, []Form{VLLM}},
		{"rename: {'{n}a{n}{s:seg}': '{s}{n}'}", []string{"8a80", "8a8b", "8a8.b"}, []Form{VLLM}},
		// One pattern twice, the holes with other names: the first decides.
		{"rename: {'{a:seg}.w': 'x.{a}', '{b:seg}.w': 'y.{b}'}", []string{"q.w"}, []Form{Transformers, VLLM}},
		{"rename: {'p.{a...}': 'x.{a}', 'p.{b...}': 'y.{b}'}", []string{"p.w"}, []Form{Transformers, VLLM}},
	} {
		m := parse(t, tt.text)
		for _, form := range tt.forms {
			same(t, m, form, tt.names)
		}
	}
}
