package exchange

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename"
)

func write(t *testing.T, m *rename.Map) string {
	t.Helper()
	var b bytes.Buffer
	if err := rename.Write(&b, m); err != nil {
		t.Fatal(err)
	}
	_, rules, _ := strings.Cut(b.String(), "Imported from t.json\n")
	return rules
}

func TestImport(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		// transformers: models of which checkpoints have older names, conversion_mapping.py.
		{`{"^visual": "model.visual", "^model(?!\\.(language_model|visual))": "model.language_model"}`, `rename:
  visual{rest...}: model.visual{rest}
  model.language_model{rest...}: model.language_model{rest...}
  model.visual{rest...}: model.visual{rest...}
  model{rest...}: model.language_model{rest}
`},
		{`{"^language_model\\.model": "model.language_model", "^language_model\\.lm_head": "lm_head", "^vision_tower": "model.vision_tower"}`, `rename:
  language_model.model{rest...}: model.language_model{rest}
  language_model.lm_head{rest...}: lm_head{rest}
  vision_tower{rest...}: model.vision_tower{rest}
`},
		{`{"LayerNorm\\.gamma$": "LayerNorm.weight", "LayerNorm\\.beta$": "LayerNorm.bias"}`, `rename:
  "{before...}LayerNorm.gamma": "{before}LayerNorm.weight"
  "{before...}LayerNorm.beta": "{before}LayerNorm.bias"
`},
		{`{"^model\\.layers\\.(\\d+)\\.ln1\\.weight$": "model.layers.\\1.input_layernorm.weight"}`, `rename:
  model.layers.{layer}.ln1.weight: model.layers.{layer}.input_layernorm.weight
`},
		{`[{"source_patterns": "(.+)", "target_patterns": "timm_model.\\1"}]`, `rename:
  "{any...}": timm_model.{any}
`},
		{`[{"source_patterns": ["^(.+)\\.scale$"], "target_patterns": ["\\1.weight_scale_inv"]}]`, `rename:
  ".scale": ".scale"
  "{any...}.scale": "{any}.weight_scale_inv"
`},
		{`{"^transformer\\.h\\.(\\d+)\\.attn\\.c_(attn|proj)\\.(weight|bias)$": "h.\\1.\\2.\\3"}`, `rename:
  transformer.h.{layer}.attn.c_attn.weight: h.{layer}.attn.weight
  transformer.h.{layer}.attn.c_attn.bias: h.{layer}.attn.bias
  transformer.h.{layer}.attn.c_proj.weight: h.{layer}.proj.weight
  transformer.h.{layer}.attn.c_proj.bias: h.{layer}.proj.bias
`},
		{`{"\\.mlp\\.w([12])\\.weight$": ".mlp.fc\\1.weight"}`, `rename:
  "{before...}.mlp.w1.weight": "{before}.mlp.fc1.weight"
  "{before...}.mlp.w2.weight": "{before}.mlp.fc2.weight"
`},
		{`{"^(model\\.)?norm\\.(?P<leaf>[^.]+)$": "\\1final.\\g<leaf>"}`, `rename:
  model.norm.{name:seg}: model.final.{name}
  norm.{name:seg}: final.{name}
`},
		{`{"^": "model."}`, "rename:\n  \"{rest...}\": model.{rest}\n"},
		{`{"^module\\.": ""}`, "rename:\n  module.{rest...}: \"{rest}\"\n"},
		{`{"\\.experts\\.(\\d+)": ".e.\\1"}`, "rename:\n  \"{before...}.experts.{n}{rest...}\": \"{before}.e.{n}{rest}\"\n"},
		// One entry renames what another has made.
		{`{"^a\\.(.*)$": "b.\\1", "^b\\.x$": "c"}`, "rename:\n  a.x: c\n  a.{any...}: b.{any}\n  b.x: c\n"},
		// vLLM
		{`{"orig_to_new_prefix": {"model.": "language_model.", "mtp.": null}, "orig_to_new_regex": {"^scale$": "s"}}`, `rules:
  - from: scale
    to: s
  - from: model.{rest...}
    to: language_model.{rest}
  - from: mtp.{rest...}
    drop: vLLM ignores it
`},
		// mergekit
		{`{"pre_weights": [{"name": "a", "aliases": ["b", "c"]}, {"name": "d"}], "layer_templates": {"weights": [
			{"name": "h.${layer_index}.x", "aliases": ["l.${layer_index+1}.x"]}, {"name": "h.${layer_index-1}.y", "aliases": ["l.${layer_index}.y"]}]},
			"post_weights": []}`, `rename:
  b: a
  c: a
  l.{layer}.x: h.{layer-1}.x
  l.{layer}.y: h.{layer-1}.y
`},
		// A $ and a { are text where they do not begin a number.
		{
			`{"pre_weights": [{"name": "a$b", "aliases": ["$$c"]}, {"name": "{a}$$", "aliases": ["{c}"]}], "layer_templates": {"weights": [
			{"name": "h.${layer_index}.$$x", "aliases": ["l.${layer_index}.{"]}]}, "post_weights": []}`,
			"rename:\n  \"$$c\": \"a$b\"\n  \"{{c}}\": \"{{a}}$\"\n  l.{layer}.{{: \"h.{layer}.$x\"\n",
		},
		{`{"kind": "modular", "modules": {"t": {"weight_prefix": "text.", "architecture": {"post_weights": [{"name": "head", "aliases": ["lm_head"]}]}}}}`, "rename:\n  text.lm_head: text.head\n"},
	} {
		m, err := Import("t.json", []byte(c.in), nil)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if diff := cmp.Diff(c.want, write(t, m)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.in, diff)
		}
	}
}

func TestImportRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{`{"(?<!_)model(?!\\.visual)": "x"}`, "t.json:1:30: (?<!_)model(?!\\.visual): character 1: a map has nothing that looks at what precedes"},
		{`{"^language_model.model": "x"}`, "character 16: a . matches any character; write \\. for a dot, or read all of them as dots with --literal-dots"},
		{`{"a\\d": "x"}`, "only \\d+ is a whole number"},
		{`{"a\\w+": "x"}`, `\w has no counterpart`},
		{`{"mlp\\.experts\\.*.w1": "x"}`, "a wildcard of its own"},
		{`{"a(.*)b": "\\1"}`, "takes as much as it can"},
		{`{"^(.*)a(.*)$": "\\2"}`, "two wildcards"},
		{`{"^(.*?)a$": "\\1"}`, "as little as it can"},
		{`{"^a{2}$": "x"}`, "repetition"},
		{`{"^(ab)+$": "x"}`, "repetition"},
		{`{"^[^.]+_[^.]+$": "x"}`, "not certain"},
		{`{"^[a-z]$": "x"}`, "only lists such as"},
		{`{"a|b": "x"}`, "may match at several places"},
		{`{"(a": "x"}`, "a ( without its )"},
		{`{"a)": "x"}`, "a ) without its ("},
		{`{"a": "\\2"}`, "has the group 2, and the pattern has 0"},
		{`{"(a)": "\\1(b)"}`, "parentheses in the new text"},
		{`{"^a$": ""}`, "new name is empty"},
		{`{"^a\\d+(?!x)": "b"}`, "a lookahead is read behind text"},
		{`{"^a(?!x)b": "b"}`, "at the end of a pattern only"},
		{`{"^(a(?!x)|b)": "c"}`, "alternatives beside a lookahead"},
		{`{"x(.+)$": "c\\1"}`, "a .+ in a pattern that is not anchored"},
		{`{"a": 1}`, "has only text"},
		{`{"a": "b"`, "t.json:1:"},
		{`{"": "b"}`, "the pattern is empty"},
		{`{"$": "b"}`, "the pattern is empty"},
		{`{"a": "b", "a": "c"}`, "t.json:1:"},
		{`{}`, "there are no entries"},
		{`[]`, "there are no entries"},
		{`3`, "neither a table"},
		{`{"rules": []}`, "this is a map, which --map takes as it is"},
		{`[{"source_patterns": ["a", "b"], "target_patterns": "c"}]`, "one pattern in source_patterns"},
		{`[{"source_patterns": "a", "target_patterns": "c", "operations": []}]`, "a: it moves bytes, and only renames are imported"},
		{`{"LayerNorm\\.gamma": "LayerNorm.weight", "LayerNorm\\.beta": "LayerNorm.bias"}`, "some name may match both; anchor them with ^ and $, or let the first decide with --first-match"},
		{`{"orig_to_new_substr": {"": "x"}}`, "an empty text is in every name"},
		{`{"orig_to_new_substr": {"a": 1}}`, "null where the weight is ignored"},
		{`{"orig_to_new_stacked": {}, "orig_to_new_substr": {"a": "b"}}`, "it puts tensors into one"},
		{`{"orig_to_new_other": {}, "orig_to_new_substr": {"a": "b"}}`, "not a table of orig_to_new_regex"},
		{`{"pre_weights": [{"name": "a"}]}`, "none of its weights has aliases"},
		{`{"pre_weights": [{"name": "a", "aliases": ["x"]}, {"name": "b", "aliases": ["x"]}]}`, "it is an alias of a as well"},
		{`{"pre_weights": [{"name": "h.${num_layers}", "aliases": ["x"]}]}`, "a map has only ${layer_index}"},
		{`{"pre_weights": [{"name": "h.${layer_index}", "aliases": ["x"]}]}`, "no hole {layer}"},
		{`{"pre_weights": [{"name": "h", "aliases": ["x.${layer_index}.${layer_index+1}"]}]}`, "two numbers that differ by one"},
	} {
		m, err := Import("t.json", []byte(c.in), nil)
		if err == nil {
			t.Errorf("%s is imported as\n%s", c.in, write(t, m))
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %s", c.in, err, c.want)
		}
	}
	var refused *RefusedError
	if _, err := Import("t.json", []byte(`{"a.b": "x", "c.d": "y"}`), nil); !errors.As(err, &refused) || len(refused.Refusals) != 2 {
		t.Errorf("two entries that are refused: %v", err)
	}
}

func TestImportOptions(t *testing.T) {
	m, err := Import("t.json", []byte(`{"^language_model.model": "model.x", "LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}`),
		&ImportOptions{LiteralDots: true, FirstMatch: true})
	if err != nil {
		t.Fatal(err)
	}
	want := `rename:
  language_model.model{rest...}: model.x{rest}
  "{before...}LayerNorm.gamma{rest...}": "{before}LayerNorm.weight{rest}"
  "{before...}LayerNorm.beta{rest...}": "{before}LayerNorm.bias{rest}"
`
	if diff := cmp.Diff(want, write(t, m)); diff != "" {
		t.Error(diff)
	}
	if _, err := Import("t.json", []byte(`{"a": "b"}`), &ImportOptions{Form: Mergekit}); err == nil {
		t.Error("a table as an architecture")
	}
}

// Whatever a file holds, what is done with it has a bound: without those of patterns,
// alternatives and entries this does not end.
func TestImportHostile(t *testing.T) {
	table := func(n int, entry func(i int) (string, string)) string {
		var o object
		for i := range n {
			o.text(entry(i))
		}
		return o.String()
	}
	for name, in := range map[string]string{
		"alternatives":   `{"^` + strings.Repeat("(a|b)", 40) + `$": "x"}`,
		"alternatives 2": `{"^(` + strings.Repeat("a|", 500) + `a)$": "x"}`,
		"options":        `{"^` + strings.Repeat("a?", 300) + `$": "x"}`,
		"bomb":           `{"^(a+)+$": "x"}`,
		"bomb 2":         `{"^((((a?)?)?)?)?` + strings.Repeat("(.*)", 100) + `$": "x"}`,
		"parentheses":    `{"` + strings.Repeat("(", 900) + `": "x"}`,
		"classes":        `{"` + strings.Repeat("[abcdefghijklmnopqrstuvwxyz]", 30) + `": "x"}`,
		"long":           `{"` + strings.Repeat("a", 1<<20) + `": "x"}`,
		"nested":         strings.Repeat("[", 100000),
		"groups":         `{"^(a)$": "` + strings.Repeat(`\\1`, 1<<18) + `"}`,
		"lookaheads":     `{"^a(?!` + strings.Repeat("(b|c)", 30) + `)": "x"}`,
		"chains": table(3000, func(i int) (string, string) {
			return fmt.Sprintf("x%d", i), fmt.Sprintf("x%d", (i*7+1)%3000)
		}),
		"wide": table(20000, func(i int) (string, string) { return fmt.Sprintf(`^a%d\.(\d+)$`, i), `b\1` }),
	} {
		_, err := Import("t.json", []byte(in), nil)
		if err == nil {
			t.Errorf("%s is imported", name)
		}
		if err != nil && len(err.Error()) > 4<<20 {
			t.Errorf("%s: an error of %d bytes", name, len(err.Error()))
		}
	}
}

// python is what transformers does with a table, by Python's own regular expressions. The
// text that matches is replaced where it matched.
const python = `
import json, re, sys
job = json.load(sys.stdin)
out = []
for table, names in job:
    new = []
    for name in names:
        for pattern, text in table.items():
            name = re.sub(pattern, text, name, count=1)
        new.append(name)
    out.append(new)
json.dump(out, sys.stdout)
`

// An imported table gives each name what Python gives it, and an exported one as well.
func TestAgainstPython(t *testing.T) {
	interpreter, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	words := []string{"model", "layers", "h", "visual", "w1", "w2", "ln", "weight", "bias", "0", "1", "12", "", "a_b", "x1y"}
	var names []string
	for i := range 300 {
		var segments []string
		for k := range 1 + i%5 {
			segments = append(segments, words[(i*7+k*i*k+k*3)%len(words)])
		}
		names = append(names, strings.Join(segments, "."))
	}
	pieces := []string{
		`model`, `\.`, `layers\.(\d+)`, `(\d+)`, `(w1|w2)`, `(.*)`, `(.+)`, `[^.]+`, `(?!\.visual)`, `(model\.)?`, `\.(weight|bias)`, `h`, `x1`, `_`, `[12]`, `ln`, `(a|ab)`, ``, `$`,
	}
	var tables []map[string]string
	var maps []*rename.Map
	for i := range 2000 {
		pattern := pieces[i%len(pieces)] + pieces[i/7%len(pieces)] + pieces[i/131%len(pieces)] + pieces[i*13/11%len(pieces)]
		if i%2 == 0 {
			pattern = "^" + pattern
		}
		table := map[string]string{pattern: "Z" + strings.Repeat(`\1`, i%3%(1+strings.Count(strings.ReplaceAll(pattern, "(?", ""), "("))) + "Y"}
		text, err := json.Marshal(table)
		if err != nil {
			t.Fatal(err)
		}
		if m, err := Import("t.json", text, nil); err == nil {
			tables, maps = append(tables, table), append(maps, m)
		}
	}
	if len(maps) < 100 {
		t.Errorf("only %d patterns are imported", len(maps))
	}
	var jobs [][2]any
	for i := range tables {
		jobs = append(jobs, [2]any{tables[i], names})
	}
	for got, i := runPython(t, interpreter, jobs), 0; i < len(maps); i++ {
		rows := rename.NewPlan(maps[i], names, rename.Limits{}).Rows
		for k, row := range rows {
			if row.From != "" && row.To != got[i][k] {
				t.Errorf("%v: %q becomes %q, in Python %q\n%s", tables[i], row.From, row.To, got[i][k], write(t, maps[i]))
				break
			}
		}
	}
	// And out again: vLLM's expressions are Python's.
	sources := []string{"model", ".", "{n}", "{x:seg}", "{r...}", "{m}", "{n}", "w", "x", ".0", "{s...}", "{y:seg}"}
	jobs, maps = nil, nil
	for i := range 1500 {
		from := sources[i%12] + sources[i/5%12] + sources[i/61%12] + sources[i*11/7%12] + sources[i/500%12]
		to := "{r}{n}5.{x}{m}"
		for _, hole := range []string{"r", "n", "x", "m"} {
			if !strings.Contains(from, "{"+hole) {
				to = strings.ReplaceAll(to, "{"+hole+"}", `\`)
			}
		}
		r, err := rename.NewRule(from, to)
		if err != nil {
			continue
		}
		m := &rename.Map{Rules: []rename.Rule{r}}
		var b bytes.Buffer
		if err := Export(&b, m, VLLM, nil); err != nil {
			t.Fatal(err)
		}
		var tables map[string]map[string]string
		if err := json.Unmarshal(b.Bytes(), &tables); err != nil {
			t.Fatal(err)
		}
		if tables["orig_to_new_regex"] != nil {
			jobs, maps = append(jobs, [2]any{tables["orig_to_new_regex"], names}), append(maps, m)
		}
	}
	if len(maps) < 100 {
		t.Errorf("only %d rules are exported", len(maps))
	}
	for got, i := runPython(t, interpreter, jobs), 0; i < len(maps); i++ {
		for k, row := range rename.NewPlan(maps[i], names, rename.Limits{}).Rows {
			if row.To != got[i][k] {
				t.Errorf("%v: %q becomes %q, in Python %q by %v", &maps[i].Rules[0], row.From, row.To, got[i][k], jobs[i][0])
				break
			}
		}
	}
}

func runPython(t *testing.T, interpreter string, jobs [][2]any) (out [][]string) {
	t.Helper()
	in, err := json.Marshal(jobs)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(interpreter, "-c", python)
	cmd.Stdin = bytes.NewReader(in)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
