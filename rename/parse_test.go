package rename

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

func archive(t testing.TB, file string) []txtar.File {
	t.Helper()
	a, err := txtar.ParseFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return a.Files
}

// validate asks the published schema about a map.
func validate(t *testing.T, data []byte) error {
	t.Helper()
	text, err := os.ReadFile("map.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("map.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("map.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var m any
	if err := yaml.Load(data, &m); err != nil {
		return err
	}
	return s.Validate(textKeys(m))
}

// textKeys turns what YAML reads into what JSON could say.
func textKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any)
		for k, e := range v {
			text, _ := yaml.Dump(k)
			m[strings.TrimSpace(string(text))] = textKeys(e)
		}
		return m
	case map[string]any:
		for k, e := range v {
			v[k] = textKeys(e)
		}
	case []any:
		for i, e := range v {
			v[i] = textKeys(e)
		}
	}
	return v
}

func TestValidMaps(t *testing.T) {
	for _, f := range archive(t, "valid.txtar") {
		m, err := Parse(f.Name, f.Data)
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if err := validate(t, f.Data); err != nil {
			t.Errorf("the schema refuses %s: %v", f.Name, err)
		}
		again, err := Parse(f.Name, []byte(written(t, m)))
		if err != nil {
			t.Errorf("written again: %v", err)
			continue
		}
		if written(t, again) != written(t, m) {
			t.Errorf("%s changes when it is written again", f.Name)
		}
		if err := validate(t, []byte(written(t, m))); err != nil {
			t.Errorf("the schema refuses %s when it is written: %v", f.Name, err)
		}
	}
}

func TestInvalidMaps(t *testing.T) {
	var got strings.Builder
	for _, f := range archive(t, "invalid.txtar") {
		m, err := Parse(f.Name, f.Data)
		if err == nil || m != nil {
			t.Errorf("%s is read", f.Name)
			continue
		}
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%s: %v is no ErrorList", f.Name, err)
		}
		got.WriteString(err.Error() + "\n\n")
		if !bytes.Contains(f.Data, []byte("the schema cannot see this")) && validate(t, f.Data) == nil {
			t.Errorf("the schema accepts %s", f.Name)
		}
	}
	golden(t, "invalid.golden", got.String())
}

func TestParseOtherThanText(t *testing.T) {
	_, err := Parse("map.yaml", []byte("rename:\n  a: b\n  c: \xffd\n"))
	want := "map.yaml:3:6: not UTF-8 text; save the file as UTF-8\n 3 |   c: �d\n   |      ^"
	if err == nil || strings.ReplaceAll(err.Error(), `\ufffd`, "�") != want {
		t.Errorf("%v", err)
	}
	_, err = Parse("map.yaml", []byte("rename: {a: \x1b[31mb}\n"))
	if err == nil || strings.ContainsRune(err.Error(), 0x1b) {
		t.Errorf("%q", err)
	}
}

func TestParsePositions(t *testing.T) {
	m := mustParse(t, "rules:\n  - from: a\n    to: b\n\n  - to: d\n    from: c\n")
	got := []Pos{m.Rules[0].Pos, m.Rules[1].Pos}
	if diff := cmp.Diff([]Pos{{2, 5}, {5, 5}}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestSchemaIsJSON(t *testing.T) {
	var v struct {
		Schema string `json:"$schema"`
	}
	text, err := os.ReadFile("map.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &v); err != nil || v.Schema != "https://json-schema.org/draft/2020-12/schema" {
		t.Errorf("%v, %q", err, v.Schema)
	}
}

func TestBuiltins(t *testing.T) {
	for _, name := range Builtins() {
		m, ok := Builtin(name)
		if !ok || m.File != name || m.Description == "" {
			t.Errorf("%s: %+v", name, m)
			continue
		}
		source, _ := BuiltinSource(name)
		if !bytes.HasPrefix(source, []byte("# ")) {
			t.Errorf("%s has no comment that gives its sources", name)
		}
		if err := validate(t, source); err != nil {
			t.Errorf("the schema refuses %s: %v", name, err)
		}
		for _, f := range Lint(m) {
			if f.Level == Warning {
				t.Errorf("%s", f.String())
			}
		}
	}
	if _, ok := Builtin("../map"); ok {
		t.Error("a file outside the maps is read")
	}
	llama, err := os.ReadFile("../testdata/llama.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if yi, _ := BuiltinSource("yi-to-llama"); !bytes.Equal(llama, yi) {
		t.Error("testdata/llama.yaml is not the map yi-to-llama")
	}
}

func FuzzParse(f *testing.F) {
	for _, file := range []string{"valid.txtar", "invalid.txtar"} {
		for _, a := range archive(f, file) {
			f.Add(a.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Parse("map.yaml", data)
		if err != nil {
			_ = err.Error()
			return
		}
		var b strings.Builder
		if err := Write(&b, m); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("map.yaml", []byte(b.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		if diff := cmp.Diff(m.Ask, again.Ask, cmpopts.IgnoreFields(Question{}, "Pos", "AnswerPos")); diff != "" {
			t.Fatalf("questions (-read +written again):\n%s\n%s", diff, &b)
		}
		if len(again.Rules) != len(m.Rules) {
			t.Fatalf("%d rules became %d:\n%s", len(m.Rules), len(again.Rules), &b)
		}
		Lint(m)
		_, _ = Invert(m)
		_, _ = Compose(m, again)
		NewPlan(m, []string{"a", "model.layers.1.ln1.weight"}, GGUF())
	})
}

func TestDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/map-language.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")
	for i, block := range blocks[1:] {
		body, _, _ := strings.Cut(block, "```")
		m, err := Parse("map-language.md", []byte(body))
		if err != nil {
			t.Errorf("example %d: %v", i+1, err)
			continue
		}
		for _, f := range Lint(m) {
			if f.Level == Warning && f.Code != codeQuestion {
				t.Errorf("example %d: %s", i+1, f.String())
			}
		}
	}
	for _, name := range Builtins() {
		if !strings.Contains(string(text), "`"+name+"`") {
			t.Errorf("the built-in map %s is not documented", name)
		}
	}
}
