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
