package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// The documents of the commands that read values show what a script has seen,
// and have every flag and JSON key.
func TestValueDocuments(t *testing.T) {
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
	objects := map[string][]any{
		"diff":  {jsonDiff{}, jsonDiffSide{}, jsonDiffSummary{}, jsonDiffRule{}, jsonChange{}},
		"stats": {jsonMeasuredCheckpoint{}},
		"hash":  {jsonHashedCheckpoint{}, jsonManifestSummary{}},
	}
	p := newProgram(nil, nil, nil, os.Getenv)
	for _, cmd := range newRoot(p).Commands() {
		keys, ok := objects[cmd.Name()]
		if !ok {
			continue
		}
		doc := cmd.Name() + ".md"
		data, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		found := transcript.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			t.Errorf("%s has no transcript", doc)
		}
		for _, m := range found {
			if !strings.Contains(seen.String(), m[1]) {
				t.Errorf("%s shows what no script has seen:\n%s", doc, m[1])
			}
		}
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" || strings.Contains(text, "`--"+f.Name) || f.Shorthand != "" && strings.Contains(text, "`-"+f.Shorthand) {
				return
			}
			t.Errorf("%s does not document --%s", doc, f.Name)
		})
		for _, object := range keys {
			typ := reflect.TypeOf(object)
			for i := range typ.NumField() {
				key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
				if key != "" && !regexp.MustCompile("[`\"]"+key+"[`\"]").MatchString(text) {
					t.Errorf("%s does not document %s of %v", doc, key, typ)
				}
			}
		}
	}
}
