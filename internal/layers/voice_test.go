package layers

import (
	"fmt"
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

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
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			for _, at := range pattern.FindAllStringIndex(lit.Value, -1) {
				line := fset.Position(lit.Pos()).Line + strings.Count(lit.Value[:at[0]], "\n")
				hits[src.name] = append(hits[src.name], fmt.Sprintf("%s:%d: %q", src.name, line, lit.Value[at[0]:at[1]]))
			}
			return true
		})
	}
	for _, found := range hits {
		t.Errorf("see the word list of CONTRIBUTING.md:\n%s", strings.Join(found, "\n"))
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
