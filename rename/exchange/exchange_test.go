package exchange

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/foreign"
	"github.com/wtinspect/wtinspect/rename"
)

func parse(t *testing.T, text string) *rename.Map {
	t.Helper()
	m, err := rename.Parse("m.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// same compares an export with the map, on names.
func same(t *testing.T, m *rename.Map, form Form, names []string) {
	t.Helper()
	var b bytes.Buffer
	number := func(key string) (int64, bool) { return 3, key == "num_hidden_layers" }
	if err := Export(&b, m, form, &Model{Names: names, Type: "x", Architectures: []string{"X"}, Number: number}); err != nil {
		t.Errorf("%s: %v", form, err)
		return
	}
	plan := rename.NewPlan(m, names, rename.Limits{})
	var want []string
	for _, row := range plan.Rows {
		want = append(want, row.To)
	}
	check := func(got []string, err error) {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-map +%s)\n%s\n%s", form, form, diff, b.String())
		}
	}
	switch form {
	case Transformers:
		check(foreign.Transformers(b.Bytes(), names, 1))
		check(foreign.Transformers(b.Bytes(), names, -1))
	case VLLM:
		check(foreign.VLLM(b.Bytes(), names))
	case Mergekit:
		written, err := foreign.Mergekit(b.Bytes(), names, 3)
		var got []string
		for _, name := range names {
			got = append(got, written[name])
		}
		check(got, err)
	case JSON:
		again, err := rename.Parse("again.json", b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plan.Rows, rename.NewPlan(again, names, rename.Limits{}).Rows); diff != "" {
			t.Errorf("json: (-map +json)\n%s", diff)
		}
	}
}

var layered = []string{
	"model.embed.weight", "model.layers.0.ln1.weight", "model.layers.1.ln1.weight", "model.layers.2.ln1.weight",
	"model.layers.0.ln2.weight", "model.layers.1.ln2.weight", "model.layers.2.ln2.weight", "model.layers.10.ln1.weight",
	"model.layers.0.ln1.weight_scale", "x.model.layers.0.ln1.weight", "model.layers.0.ln1xweight", "lm_head.weight", "lm_head.weight.weight",
	"a.gamma.gamma", "gamma", "gamma.b", "model.model.layers.1.e.0.ln1.weight", "norm0", "norm1", "norm12",
	"pad.00.w", "pad.01.w", "pad.2.w", "pad.003.w", "pad.104.w",
}

func TestExport(t *testing.T) {
	const rules = "rename:\n"
	for _, c := range []struct {
		text  string
		forms []Form
	}{
		{rules + "  model.layers.{n}.ln1.weight: model.layers.{n}.input_layernorm.weight\n  lm_head.weight: output.w\n", []Form{Transformers, VLLM, JSON, Mergekit}},
		{rules + "  model.{r...}: text.{r}\n", []Form{Transformers, VLLM, JSON, Mergekit}},
		{rules + "  \"{r...}.gamma\": \"{r}.weight\"\n", []Form{Transformers, VLLM, JSON, Mergekit}},
		{rules + "  \"{a...}ln{b...}\": \"{a}norm{b}\"\n", []Form{VLLM, JSON, Mergekit}},
		{rules + "  norm1: norm2\n  norm0: norm1\n", []Form{Transformers, VLLM, JSON}},
		{rules + "  norm0: norm1\n  norm1: norm2\n", []Form{Transformers, VLLM, JSON}},
		{rules + "  model.{x:seg}.{n}.e.{m}.ln1.weight: h{n}0.{m}.w\n  model.model.{r...}: z\\{r}1\n", []Form{VLLM, JSON, Mergekit}},
		{rules + "  model.layers.{n}.ln1.weight: h.{n+1}.w\n", []Form{JSON, Mergekit}},
		{"rules: [{from: 'model.layers.{n}.ln2.weight', drop: no use}, {from: 'model.{r...}', to: 'm.{r}'}]", []Form{VLLM, JSON, Mergekit}},
		{rules + "  \"{a...}a{b...}\": \"{a}A{b}\"\n  \"{a...}.gamma\": \"{a}.w\"\n", []Form{JSON, Mergekit}},
		{rules + "  model.embed.weight: text.embed.weight\n  \"{r...}.gamma\": \"{r}.w\"\n  lm_{r...}: out{r}\n", []Form{JSON, Mergekit}},
		{rules + "  pad.{n:02}.w: padded.{n:02}.x\n", []Form{Transformers, VLLM, JSON, Mergekit}},
		{rules + "  pad.{n:02}.w: padded.{n}.x\n", []Form{JSON, Mergekit}},
	} {
		m := parse(t, c.text)
		for _, form := range Forms() {
			listed := false
			for _, f := range c.forms {
				listed = listed || f == form
			}
			if listed {
				same(t, m, form, layered)
				continue
			}
			var b bytes.Buffer
			if err := Export(&b, m, form, &Model{Names: layered, Architectures: []string{"X"}}); err == nil {
				t.Errorf("%s is exported to %s as\n%s", c.text, form, b.String())
			} else if b.Len() > 0 {
				t.Errorf("%s: refused, and written: %s", c.text, b.String())
			}
		}
	}
}

func TestExportRefuses(t *testing.T) {
	for _, c := range []struct {
		text string
		form Form
		want string
	}{
		{"rename: {a: b, b: a}", Transformers, "m.yaml:1:10: names that it makes (b) would be renamed again by b -> a (m.yaml:1:16): the renames of the other project are carried out one after the other"},
		{"rename: {a: b, b: a}", VLLM, "renamed again"},
		{"rename: {a: b, b: a}", Mergekit, `"a" becomes "b", and mergekit would take the tensor that has this name already`},
		{"rules: [{from: a, drop: why}]", Transformers, "m.yaml:1:9: a (dropped): it drops tensors, and this form only gives names"},
		{"rules: [{from: a, split: {axis: 0, parts: [1, 1]}, to: [b, c]}]", Transformers, "it moves bytes (split), and renames only rename"},
		{"rules: [{from: a, split: {axis: 0, parts: [1, 1]}, to: [b, c]}]", VLLM, "it moves bytes"},
		{"rules: [{from: a, split: {axis: 0, parts: [1, 1]}, to: [b, c]}]", Mergekit, "it moves bytes"},
		{"rename: {'h.{n}.w': 'l.{n+1}.w'}", VLLM, "it shifts {n}, and a regular expression does not count"},
		{"rename: {'h.{n:02}.w': 'l.{n}.w'}", Transformers, "it writes {n} with other zeros, and a regular expression does not count"},
		{"rename: {'h.{n}.moe.{e}.w1': 'h.{n}.mlp.{e}.gate'}", Transformers, "keeps {n} and {e} with other text between"},
		{"rename: {'h.{n}.w': 'l.({n}).w'}", Transformers, "parentheses"},
		{"rename: {'h.{n}.w.{n}': 'l.{n}.w'}", Transformers, "has to match the same text twice"},
		{"strip: [_orig_mod]", Transformers, "strip:"},
		{"strip: [base.model]", VLLM, "strip base.model"},
		{"rename: {a: b}\notherwise: error", VLLM, "otherwise: error"},
		{"rename: {a: b}\notherwise: {drop: no}", Transformers, "otherwise: drop"},
		{"rename: {a: x, b: x}", Mergekit, "two or more tensors"},
	} {
		var b bytes.Buffer
		err := Export(&b, parse(t, c.text), c.form, &Model{Names: []string{"a", "b"}, Architectures: []string{"X"}})
		if err == nil || !strings.Contains(err.Error(), c.want) || b.Len() > 0 {
			t.Errorf("%s to %s: %v\n%s", c.text, c.form, err, b.String())
		}
	}
	if err := Export(new(bytes.Buffer), parse(t, "rename: {a: b}"), Mergekit, nil); err == nil || !strings.Contains(err.Error(), "name the checkpoint") {
		t.Errorf("mergekit without a model: %v", err)
	}
}

// A stack of layers is one template, whatever the number is called, and what is not in
// every layer is listed.
func TestExportMergekitLayers(t *testing.T) {
	var b bytes.Buffer
	names := []string{"e.w"}
	for i := range 3 {
		names = append(names, fmt.Sprintf("h.%d.a", i), fmt.Sprintf("h.%d.x.%d", i, 1-i%2), fmt.Sprintf("h.%d.b", i))
	}
	m := parse(t, "rename:\n  h.{n}.a: layers.{n}.0.a\n  h.{n}.b: layers.{n}.1.b\n  h.{n}.x.{k}: layers.{n}.x.{k}\n")
	err := Export(&b, m, Mergekit, &Model{Names: names, Type: "t", Architectures: []string{"TForCausalLM"}, Embeds: func(n string) bool { return n == "e.w" }})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"override_num_layers": 3`, `"name": "layers.${layer_index}.0.a"`, `"h.${layer_index}.a"`, `"name": "layers.1.x.0"`, `"is_embed": true`, `"TForCausalLM"`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in\n%s", want, b.String())
		}
	}
	same(t, m, Mergekit, names)
}
