package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/rename"
)

func readDoc(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// rulesPage is docs/rules.md, made of the rules themselves.
func rulesPage() string {
	var b strings.Builder
	b.WriteString(`# Rules

The rules by which [check](check.md) judges a release. An ID is never reused.
This page is made from the rules; ` + "`wtinspect explain RULE`" + ` prints one of them.

| block | about |
| --- | --- |
| WT0 | the settings of a run |
| WT1 | the container: one file by itself |
| WT2 | shards and index |
| WT3 | agreement with config.json and related files; GGUF keys with tensors |
| WT4 | names |
| WT5 | companions of quantised and adapted weights; from WT550 on, values, which are read with ` + "`--values`" + ` |
| WT6 | changes since an earlier release or a lock |
| WT9 | surroundings |

| rule | severity | fix | finds |
| --- | --- | --- | --- |
`)
	for _, r := range check.Rules() {
		fix := ""
		if r.Mend != "" {
			fix = "fix"
		}
		fmt.Fprintf(&b, "| [%s](#%s) %s | %s | %s | %s |\n", r.ID, strings.ToLower(r.ID), r.Name, r.Severity, fix, markdownText.Replace(r.Title))
	}
	for _, r := range check.Rules() {
		fmt.Fprintf(&b, "\n## %s\n\n**%s**: %s.\n\n", r.ID, r.Name, markdownText.Replace(r.Title))
		severity := r.Severity.String()
		for _, p := range check.Profiles() {
			if s, ok := r.Profiles[p]; ok {
				severity += fmt.Sprintf(", %s with `--profile %s`", s, p)
			}
		}
		if r.Values {
			severity += "; reads values, and runs with `--values`"
		}
		fmt.Fprintf(&b, "Severity: %s.\n\n%s\n\n* Bad: %s\n* Good: %s\n", severity, markdownText.Replace(r.Doc), code(r.Bad), code(r.Good))
		if r.Mend != "" {
			fmt.Fprintf(&b, "* `fix` %s\n", markdownText.Replace(r.Mend))
		}
	}
	return b.String()
}

// code writes an example as code, where it has backquotes of its own too.
func code(s string) string {
	if strings.Contains(s, "`") {
		return "`` " + s + " ``"
	}
	return "`" + s + "`"
}

func TestRulesPage(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "rules.md")
	want := rulesPage()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := readDoc(t, "rules.md"); got != want {
		t.Error("docs/rules.md is not what the rules say; make golden writes it")
	}
}

// Every key and every form of the commands around check is in their pages.
func TestCheckIsDocumented(t *testing.T) {
	for page, objects := range map[string][]any{
		"check.md": {jsonFinding{}, jsonVerdict{}, jsonRule{}},
		"fix.md":   {jsonMend{}, jsonDeclined{}, rename.FoldedChange{}},
	} {
		text := readDoc(t, page)
		for _, object := range objects {
			typ := reflect.TypeOf(object)
			for i := range typ.NumField() {
				key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
				if key != "-" && !strings.Contains(text, "`"+key+"`") {
					t.Errorf("%s does not have the key %s of %v", page, key, typ)
				}
			}
		}
	}
	page := readDoc(t, "check.md")
	for _, format := range checkFormats() {
		if !strings.Contains(page, "**"+format+"**") && !strings.Contains(page, "`-f "+format+"`") && format != "text" {
			t.Errorf("check.md does not describe the format %s", format)
		}
	}
}

// The page of the mends has every rule with one.
func TestMendsAreDocumented(t *testing.T) {
	page := readDoc(t, "fix.md")
	for _, r := range check.Rules() {
		if has := strings.Contains(page, r.ID); has != (r.Mend != "") {
			t.Errorf("%s: in docs/fix.md %v, has a mend %v", r.ID, has, r.Mend != "")
		}
	}
}

// The examples of settings on the page are read without an error.
func TestSettingsExample(t *testing.T) {
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readDoc(t, "check.md"))
	if m == nil {
		t.Fatal("no example")
	}
	set, err := check.ParseSettings("docs/check.md", []byte(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Exceptions) != 1 || set.Profile != check.Transformers || set.FailOn != "warning" || len(set.Severities) != 1 {
		t.Errorf("read as %+v", set)
	}
}

// The action and the hook are what their pages say, and no input of the action
// is part of a script, where it would be run.
func TestIntegrations(t *testing.T) {
	read := func(name string, into any) {
		t.Helper()
		data, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Load(data, into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var action struct {
		Inputs, Outputs map[string]struct{ Description string }
		Runs            struct {
			Using string
			Steps []struct {
				Run   string
				Shell string
			}
		}
	}
	read("action.yml", &action)
	page := readDoc(t, "ci/github.md")
	if action.Runs.Using != "composite" || len(action.Inputs) == 0 {
		t.Errorf("the action is %q with %d inputs", action.Runs.Using, len(action.Inputs))
	}
	for name, input := range action.Inputs {
		if input.Description == "" || !strings.Contains(page, "| `"+name+"` |") {
			t.Errorf("the input %s is not documented", name)
		}
	}
	for _, step := range action.Runs.Steps {
		if strings.Contains(step.Run, "${{") || step.Run != "" && step.Shell == "" {
			t.Errorf("a script with an expression in it, or without a shell:\n%s", step.Run)
		}
	}
	var hooks []struct{ ID, Entry, Files string }
	read(".pre-commit-hooks.yaml", &hooks)
	for _, h := range hooks {
		files, err := regexp.Compile(h.Files)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"m/model.safetensors": true, "config.json": true, "model.safetensors.index.json": true, "a.gguf": true, ".wtinspect.yaml": true, "myconfig.json": false, "README.md": false} {
			if files.MatchString(name) != want {
				t.Errorf("the hook %s takes %s: %v", h.ID, name, !want)
			}
		}
		if h.Entry != "wtinspect check" || !strings.Contains(page, "`"+h.ID+"`") {
			t.Errorf("the hook %s runs %q, or is not documented", h.ID, h.Entry)
		}
	}
	if len(hooks) == 0 {
		t.Error("no hook")
	}
}
