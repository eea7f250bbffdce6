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

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/report"
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
	rules, err := inspect.Rules()
	if err != nil {
		panic(err)
	}
	for _, r := range rules {
		fix := ""
		if r.Fix != nil {
			fix = "fix"
		}
		fmt.Fprintf(&b, "| [%s](#%s) %s | %s | %s | %s |\n", r.ID, strings.ToLower(r.ID), r.Name, r.Severity, fix, report.EscapeMarkdown(r.Title))
	}
	for _, r := range rules {
		fmt.Fprintf(&b, "\n## %s\n\n**%s**: %s.\n\n", r.ID, r.Name, report.EscapeMarkdown(r.Title))
		severity := regexp.MustCompile(`--(profile [a-z.]+|values)`).ReplaceAllString(r.Grades(), "`$0`")
		fmt.Fprintf(&b, "Severity: %s.\n\n%s\n\n* Bad: %s\n* Good: %s\n", severity, report.EscapeMarkdown(r.Doc), code(r.Bad), code(r.Good))
		if r.Fix != nil {
			fmt.Fprintf(&b, "* `fix` %s\n", report.EscapeMarkdown(*r.Fix))
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
		"check.md": {inspect.Finding{}, inspect.CheckSummary{}, inspect.Rule{}, inspect.CheckResult{}},
		"fix.md":   {inspect.FixResult{}, inspect.Fixed{}, inspect.Declined{}, rename.FoldedChange{}},
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
	for _, format := range report.Forms() {
		if !strings.Contains(page, "**"+format+"**") && !strings.Contains(page, "`-f "+format+"`") && format != "text" && format != "table" {
			t.Errorf("check.md does not describe the format %s", format)
		}
	}
}

// The page of the fixes has every rule with one.
func TestFixesAreDocumented(t *testing.T) {
	page := readDoc(t, "fix.md")
	rules, err := inspect.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		if has := strings.Contains(page, r.ID); has != (r.Fix != nil) {
			t.Errorf("%s: in docs/fix.md %v, has a fix %v", r.ID, has, r.Fix != nil)
		}
	}
}

// The examples of settings on the page are read without an error.
func TestSettingsExample(t *testing.T) {
	m := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(readDoc(t, "check.md"))
	if m == nil {
		t.Fatal("no example")
	}
	set, err := policy.ParseSettings("docs/check.md", []byte(m[1]))
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
		for name, want := range map[string]bool{"m/model.safetensors": true, "config.json": true, "model.safetensors.index.json": true, "a.gguf": true, ".wtinspect.yaml": true, "a/tokenizer.json": true, "myconfig.json": false, "README.md": false} {
			if files.MatchString(name) != want {
				t.Errorf("the hook %s takes %s: %v", h.ID, name, !want)
			}
		}
		if h.Entry != "wtinspect check --changed" || !strings.Contains(page, "`"+h.ID+"`") {
			t.Errorf("the hook %s runs %q, or is not documented", h.ID, h.Entry)
		}
	}
	if len(hooks) == 0 {
		t.Error("no hook")
	}
}
