package layers

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// owed are the files of Go whose texts still have phrases that CONTRIBUTING.md
// rewrites, and how many.
var owed = map[string]int{
	"checkpoint/file.go":             1,
	"checkpoint/rewrite/config.go":   2,
	"cmd/wtinspect/check.go":         4,
	"cmd/wtinspect/checkprint.go":    1,
	"cmd/wtinspect/diff.go":          2,
	"cmd/wtinspect/fix.go":           16,
	"cmd/wtinspect/identify.go":      3,
	"cmd/wtinspect/lock.go":          1,
	"cmd/wtinspect/manifest.go":      1,
	"cmd/wtinspect/map.go":           2,
	"cmd/wtinspect/rename.go":        4,
	"cmd/wtinspect/root.go":          1,
	"cmd/wtinspect/rules.go":         1,
	"cmd/wtinspect/writing.go":       1,
	"internal/check/agreement.go":    2,
	"internal/check/companions.go":   1,
	"internal/check/mend.go":         2,
	"internal/check/namerules.go":    4,
	"internal/check/settingrules.go": 2,
	"internal/check/settings.go":     2,
	"internal/check/shards.go":       2,
	"internal/check/surroundings.go": 1,
	"internal/check/valuerules.go":   1,
	"rename/convention/judge.go":     1,
	"rename/convention/pattern.go":   1,
	"rename/lint.go":                 1,
	"rename/parse.go":                1,
}

// keys are those of JSON, which are never renamed.
var keys = []string{`"mends"`}

// madeDocs are documents that are made of texts in Go and data.
var madeDocs = []string{"docs/rules.md", "docs/roles.md"}

// TestVoice looks for the phrases of the word list in CONTRIBUTING.md, in the prose
// of the documents and in the texts of Go sources that are not tests.
func TestVoice(t *testing.T) {
	root := filepath.Join("..", "..")
	pattern := phrases(t, filepath.Join(root, "CONTRIBUTING.md"))

	docs := []string{"README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if name, _ := filepath.Rel(root, path); filepath.Ext(path) == ".md" {
			docs = append(docs, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range docs {
		if slices.Contains(madeDocs, name) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		prose := proseOf(string(text))
		for _, at := range pattern.FindAllStringIndex(prose, -1) {
			t.Errorf("%s:%d: %q: see the word list of CONTRIBUTING.md", name, 1+strings.Count(prose[:at[0]], "\n"), prose[at[0]:at[1]])
		}
	}

	fset, list := sources(t)
	hits := map[string][]string{}
	for _, src := range list {
		if src.test || slices.Contains(testOnly, src.pkg) {
			continue
		}
		ast.Inspect(src.file, func(n ast.Node) bool {
			if f, ok := n.(*ast.Field); ok && f.Tag != nil {
				return false // keys of JSON are never renamed
			}
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING || slices.Contains(keys, lit.Value) {
				return true
			}
			for _, at := range pattern.FindAllStringIndex(lit.Value, -1) {
				line := fset.Position(lit.Pos()).Line + strings.Count(lit.Value[:at[0]], "\n")
				hits[src.name] = append(hits[src.name], fmt.Sprintf("%s:%d: %q", src.name, line, lit.Value[at[0]:at[1]]))
			}
			return true
		})
	}
	counts := map[string]int{}
	for name, found := range hits {
		counts[name] = len(found)
		if len(found) > owed[name] {
			t.Errorf("see the word list of CONTRIBUTING.md:\n%s", strings.Join(found, "\n"))
		}
	}
	if !maps.Equal(counts, owed) {
		var now strings.Builder
		for _, name := range slices.Sorted(maps.Keys(counts)) {
			fmt.Fprintf(&now, "\t%q: %d,\n", name, counts[name])
		}
		t.Errorf("owed is now\n%s", &now)
	}
}

// phrases reads the word list: the first column of the table headed "not".
func phrases(t *testing.T, path string) *regexp.Regexp {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(text), "\n| not | but |\n| --- | --- |\n")
	if !ok {
		t.Fatal("CONTRIBUTING.md has no word list")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	var list []string
	for row := range strings.Lines(table) {
		for phrase := range strings.SplitSeq(strings.Split(row, "|")[1], ",") {
			list = append(list, strings.ReplaceAll(regexp.QuoteMeta(strings.TrimSpace(phrase)), " ", `\s+`))
		}
	}
	return regexp.MustCompile(`(?i)\b(?:` + strings.Join(list, "|") + `)\b`)
}

// proseOf blanks what is not prose: code, comments, the word list itself and lists
// that are made.
func proseOf(text string) string {
	for _, code := range []string{
		"(?s)<!-- begin list.*?<!-- end list -->", "(?s)<!--.*?-->", "(?ms)^```.*?^```", "`[^`\n]*`",
		`(?s)\n\| not \| but \|\n.*?\n\n`,
	} {
		text = regexp.MustCompile(code).ReplaceAllStringFunc(text, func(s string) string {
			return strings.Repeat("\n", strings.Count(s, "\n"))
		})
	}
	return text
}
