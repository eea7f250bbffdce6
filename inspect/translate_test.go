package inspect_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

const yi = `tensor lm_head.weight F32 [8,16]
tensor model.embed_tokens.weight F32 [8,16]
tensor model.layers.{0..1}.ln1.weight F32 [16]
tensor model.layers.{0..1}.ln2.weight F32 [16]
tensor model.layers.{0..1}.mlp.down_proj.weight F32 [16,24]
tensor model.layers.{0..1}.mlp.gate_proj.weight F32 [24,16]
tensor model.layers.{0..1}.mlp.up_proj.weight F32 [24,16]
tensor model.layers.{0..1}.self_attn.k_proj.weight F32 [8,16]
tensor model.layers.{0..1}.self_attn.o_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.q_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.v_proj.weight F32 [8,16]
tensor model.norm.weight F32 [16]
`

func openModel(t *testing.T, tensors, config string) *checkpoint.Checkpoint {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, tensors); err != nil {
		t.Fatal(err)
	}
	if config != "" {
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	return rel.Checkpoints[0]
}

func TestIdentify(t *testing.T) {
	c := openModel(t, yi, `{"model_type": "Yi"}`)
	r, err := inspect.Identify(t.Context(), c, &inspect.IdentifyOptions{Why: "model.layers.0.ln1.weight"})
	if err != nil {
		t.Fatal(err)
	}
	if r.Convention != "yi-hf" || r.Families[0] != "Yi" || r.Why.Role != "layer.attn.norm.weight" {
		t.Errorf("%s %v, %+v", r.Convention, r.Families, r.Why)
	}
	if want := (inspect.Migration{To: "llama-hf", Renamed: 4}); r.Migration == nil || *r.Migration != want {
		t.Errorf("migration %+v, want %+v", r.Migration, want)
	}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]any
	if err := json.Unmarshal(b, &keys); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), `{"path":`) || keys["path"] != c.Path || keys["why"] == nil || keys["convention"] != "yi-hf" {
		t.Errorf("%s", b)
	}
	if !strings.HasSuffix(string(b), `,"migration":{"to":"llama-hf","renamed":4,"moves_bytes":false}}`) {
		t.Errorf("%s", b)
	}
	r.Why, r.Migration = nil, nil
	if b, _ = json.Marshal(r); strings.Contains(string(b), "why") || strings.Contains(string(b), "migration") || !json.Valid(b) {
		t.Errorf("%s", b)
	}
	current, err := inspect.Identify(t.Context(), openModel(t, strings.NewReplacer("ln1", "input_layernorm", "ln2", "post_attention_layernorm").Replace(yi), ""), nil)
	if err != nil || current.Convention != "llama-hf" || current.Migration != nil {
		t.Errorf("%+v, %v", current, err)
	}
}

func TestTranslate(t *testing.T) {
	c := openModel(t, yi, "")
	conv, err := inspect.Translate(t.Context(), c, &inspect.TranslateOptions{To: "llama-hf"})
	if err != nil {
		t.Fatal(err)
	}
	if conv.From != "yi-hf" || conv.MovesBytes() {
		t.Errorf("from %s, moves bytes %v", conv.From, conv.MovesBytes())
	}
	list, err := conv.Tensors()
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != c.Len() || !slices.ContainsFunc(list, func(x checkpoint.Tensor) bool { return x.Name == "model.layers.1.input_layernorm.weight" }) {
		t.Errorf("%d tensors of %d", len(list), c.Len())
	}

	// Why it fails can be told.
	_, err = inspect.Translate(t.Context(), c, &inspect.TranslateOptions{To: "meta"})
	if refused, ok := errors.AsType[*convert.RefusalError](err); !ok || refused.Needs != "num_attention_heads" {
		t.Errorf("error %v", err)
	}
	_, err = inspect.Translate(t.Context(), c, &inspect.TranslateOptions{From: "yi", To: "meta"})
	if unknown, ok := errors.AsType[*inspect.UnknownConventionError](err); !ok || !strings.Contains(unknown.Error(), `did you mean "yi-hf"`) {
		t.Errorf("error %v", err)
	}
	odd := openModel(t, "tensor a.b F32 [2]\n", "")
	_, err = inspect.Translate(t.Context(), odd, &inspect.TranslateOptions{To: "meta"})
	if unknown, ok := errors.AsType[*inspect.UnidentifiedError](err); !ok || unknown.Path != odd.Path {
		t.Errorf("error %v", err)
	}

	// The model can be described elsewhere.
	config := filepath.Join(t.TempDir(), "numbers.json")
	if err := os.WriteFile(config, []byte(`{"n_heads": 4, "n_kv_heads": 2, "dim": 16}`), 0o666); err != nil {
		t.Fatal(err)
	}
	m, err := inspect.Model(t.Context(), c, config)
	if err != nil {
		t.Fatal(err)
	}
	conv, err = inspect.Translate(t.Context(), c, &inspect.TranslateOptions{To: "meta", Model: m})
	if err != nil {
		t.Fatal(err)
	}
	if !conv.MovesBytes() {
		t.Error("no bytes move")
	}
}

// Names that are those of several models are of one by its configuration or by --from:
// LLaMA's rows are permuted in GGUF, and those of ERNIE 4.5 are not.
func TestTranslateSharedNames(t *testing.T) {
	llama := strings.NewReplacer("ln1", "input_layernorm", "ln2", "post_attention_layernorm").Replace(yi)
	const numbers = `"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16`
	for _, tt := range []struct {
		config, from, to string
		refused, moves   bool
	}{
		{"", "", "gguf", true, false},
		{"{" + numbers + "}", "", "gguf", true, false},
		{"{" + numbers + "}", "llama-hf", "gguf", false, true},
		{"{" + numbers + "}", "ernie4_5-hf", "gguf", false, false},
		{`{"model_type": "mistral", ` + numbers + "}", "", "gguf", false, true},
		{`{"model_type": "ernie4_5", ` + numbers + "}", "", "gguf", false, false},
	} {
		conv, err := inspect.Translate(t.Context(), openModel(t, llama, tt.config), &inspect.TranslateOptions{To: tt.to, From: tt.from})
		switch {
		case tt.refused:
			if _, ok := errors.AsType[*convert.RefusalError](err); !ok || !strings.Contains(err.Error(), "name the convention with --from") {
				t.Errorf("%s: %v", tt.config, err)
			}
		case err != nil:
			t.Errorf("%s from %q: %v", tt.config, tt.from, err)
		case conv.MovesBytes() != tt.moves:
			t.Errorf("%s from %q: bytes move %v", tt.config, tt.from, conv.MovesBytes())
		}
	}
}

// Names that would be read as others are problems of the plan.
// A tensor without a place in the other convention, as the classifier of a spectrogram
// transformer, is for the user to keep or to drop; the rest is what was asked for.
func TestTranslateAside(t *testing.T) {
	var tensors strings.Builder
	from, _ := convention.Lookup("ast-hf")
	for _, x := range from.Tensors() {
		name, ok := x.Pattern.Format(make([]int, len(x.Pattern.Holes())))
		if ok && (!x.Optional || x.Role == "own.classifier.dense.weight") {
			tensors.WriteString("tensor " + name + " F32 [12,2]\n") // in three or in two
		}
	}
	r, err := inspect.Translate(t.Context(), openModel(t, tensors.String(), ""), &inspect.TranslateOptions{To: "vit-hf"})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Aside) != 1 || r.Aside[0].Name != "classifier.dense.weight" {
		t.Errorf("aside: %v", r.Aside)
	}
}

func TestReview(t *testing.T) {
	c := openModel(t, strings.NewReplacer("ln1", "input_layernorm", "ln2", "post_attention_layernorm").Replace(yi), `{"model_type": "llama"}`)
	m, err := inspect.Model(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := inspect.MapText(t.Context(), "llama-hf..meta")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tensor := range c.All() {
		names = append(names, tensor.Name)
	}
	for _, tt := range []struct {
		text string
		bad  bool
	}{
		{string(text), true},
		{"version: 1\nrename: {model.norm.weight: model.norm.weight}\n", false},
	} {
		// The names of the map without its operations.
		var kept []string
		for line := range strings.Lines(tt.text) {
			if !strings.Contains(line, "steps:") && !strings.Contains(line, "permute") {
				kept = append(kept, line)
			}
		}
		parsed, err := rename.Parse("m.yaml", []byte(strings.Join(kept, "")))
		if err != nil {
			t.Fatal(err)
		}
		plan := rename.NewPlan(parsed, names, rename.Limits{})
		v := inspect.Review(plan, m)
		if (v != nil) != tt.bad || (plan.Err() != nil) != tt.bad {
			t.Errorf("verdict %+v, problems %v, want bad %v", v, plan.Problems, tt.bad)
		}
		if tt.bad && !strings.Contains(plan.Problems[0].Message, "(2 tensors), and its rows are in half order") {
			t.Errorf("problem %q", plan.Problems[0].Message)
		}
	}
}

func TestMaps(t *testing.T) {
	r, err := inspect.Maps(t.Context(), &inspect.MapsOptions{Words: []string{"yi"}})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(r.Maps, func(m inspect.BuiltinMap) bool { return m.Name == "yi-to-llama" }) {
		t.Errorf("maps %v", r.Maps)
	}
	i := slices.IndexFunc(r.Conventions, func(c inspect.Convertible) bool { return c.Name == "yi-hf" })
	if i < 0 || !slices.Contains(r.Conventions[i].To, inspect.ConversionTarget{Convention: "llama-hf", By: "names"}) {
		t.Errorf("conventions %v", r.Conventions)
	}
	if _, err := inspect.ReadMap(t.Context(), "yi-hf..llama-hf"); err != nil {
		t.Error(err)
	}
	if _, err := inspect.ReadMap(t.Context(), "yi-to-lama"); err == nil || !strings.Contains(err.Error(), `did you mean "yi-to-llama"`) {
		t.Errorf("error %v", err)
	}
}
