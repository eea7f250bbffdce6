package check

import (
	"testing"

	"github.com/wtinspect/wtinspect/rename/template"
)

// Of the entries that mean a module the first is found: its name or what contains it, in the
// spelling of either, one word anywhere, or a pattern.
func TestIgnoreIndex(t *testing.T) {
	glob, err := template.ParseGlob("*.q_*")
	if err != nil {
		t.Fatal(err)
	}
	list := []ignored{
		{text: "lm_head"},
		{text: "model.layers.0.self_attn"},
		{text: "model.language_model.layers.1.mlp.gate_up_proj"},
		{text: "*.q_*", glob: glob, kind: 'g'},
		{text: "layers.2"},
		{text: "model.layers.2.self_attn.q_proj"},
		{text: "router"},
	}
	x := indexIgnored(list)
	for module, want := range map[string]string{
		"lm_head":                                "lm_head",
		"language_model.lm_head":                 "lm_head",
		"model.layers.0.self_attn.o_proj":        "model.layers.0.self_attn",
		"model.layers.0.self_attn.q_proj":        "model.layers.0.self_attn",
		"model.layers.0.self_attn_norm":          "",
		"model.layers.1.mlp.up_proj":             "model.language_model.layers.1.mlp.gate_up_proj",
		"model.layers.1.mlp.down_proj":           "",
		"model.layers.2.self_attn.q_proj":        "*.q_*",
		"model.layers.2.self_attn.o_proj":        "layers.2",
		"model.layers.20.self_attn.o_proj":       "",
		"model.layers.3.mlp.router.proj":         "router",
		"model.layers.3.mlp.shared_router.o":     "",
		"model.layers.3.layers.0.self_attn.proj": "",
	} {
		got := ""
		if e := x.covering(module); e != nil {
			got = e.text
		}
		if got != want {
			t.Errorf("%s: %q, want %q", module, got, want)
		}
	}
}
