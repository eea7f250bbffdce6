package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
)

// The documents of the commands that read values have every JSON key.
func TestValueDocuments(t *testing.T) {
	objects := map[string][]any{
		"diff":  {inspect.Comparison{}, inspect.DiffSide{}, inspect.DiffSummary{}, inspect.DiffRule{}, inspect.Change{}},
		"stats": {inspect.CheckpointName{}},
		"cat":   {inspect.CheckpointName{}},
		"hash":  {inspect.HashedCheckpoint{}, inspect.ManifestSummary{}},
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
		for _, object := range keys {
			typ := reflect.TypeOf(object)
			for i := range typ.NumField() {
				key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
				if key != "" && key != "-" && !regexp.MustCompile("[`\"]"+key+"[`\"]").MatchString(text) {
					t.Errorf("%s does not document %s of %v", doc, key, typ)
				}
			}
		}
	}
}
