package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// What the documents show in a terminal is what a script has seen there.
func TestTranscripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	for _, name := range scripts {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		seen.Write(data)
	}
	transcript := regexp.MustCompile("(?s)```\n\\$ wtinspect [^\n]*\n(.*?)```")
	for _, doc := range []string{
		"ls.md", "info.md", "identify.md", "meta.md", "rename.md", "map.md", "diff.md", "stats.md", "hash.md",
		"check.md", "fix.md", "ci/github.md", "ci/gitlab.md", "ci/huggingface.md",
	} {
		data, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
		if err != nil {
			t.Fatal(err)
		}
		found := transcript.FindAllSubmatch(data, -1)
		if len(found) == 0 {
			t.Errorf("%s has no transcript", doc)
		}
		for _, m := range found {
			if !strings.Contains(seen.String(), string(m[1])) {
				t.Errorf("%s shows what no script has seen:\n%s", doc, m[1])
			}
		}
	}
}

// Every key of the JSON objects is in their document.
func TestKeysAreDocumented(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "docs", "json.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range []any{
		inspect.Checkpoint{},
		inspect.File{},
		inspect.Totals{},
		inspect.CheckpointInfo{},
		rename.Summary{},
		rename.Use{},
		rename.Problem{},
		rename.Transform{},
		tensorop.Op{},
		rename.Finding{},
		rewrite.Job{},
		rewrite.File{},
		rewrite.Document{},
		rewrite.TextEdit{},
		rewrite.Unfollowed{},
		rewrite.Refusal{},
		rewrite.Report{},
		rewrite.FileReport{},
		rewrite.Proof{},
	} {
		typ := reflect.TypeOf(object)
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if key != "" && key != "-" && !regexp.MustCompile("[`\"]"+key+"[`\"]").Match(data) {
				t.Errorf("docs/json.md does not document %s of %v", key, typ)
			}
		}
	}
}

// Every flag of a command is in its document.
func TestFlagsAreDocumented(t *testing.T) {
	p := newProgram(nil, nil, nil, os.Getenv)
	for _, cmd := range newRoot(p).Commands() {
		if cmd.Name() != "ls" && cmd.Name() != "rename" && cmd.Name() != "identify" {
			continue
		}
		data, err := os.ReadFile(filepath.Join("..", "..", "docs", cmd.Name()+".md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(cmd.UsageString(), "\n") {
			m := regexp.MustCompile(`^ +(?:-(\w), )?(?: *)--([a-z]+)`).FindStringSubmatch(line)
			if m == nil || m[2] == "help" {
				continue
			}
			if !strings.Contains(string(data), "`--"+m[2]) && (m[1] == "" || !strings.Contains(string(data), "`-"+m[1])) {
				t.Errorf("%s does not document --%s", cmd.Name(), m[2])
			}
		}
	}
}
