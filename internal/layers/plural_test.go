package layers

import (
	"go/ast"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// countedWords returns the nouns that messages put behind numbers, as of several: those
// that are given to package plural, and those in formats, behind %d.
func countedWords(t *testing.T) map[string]bool {
	inFormat := regexp.MustCompile(`%d ([a-z]+s)\b`)
	verbs := []string{"is", "differs", "repeats"}
	words := map[string]bool{}
	_, list := sources(t)
	for _, src := range list {
		if src.test {
			continue
		}
		ast.Inspect(src.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.BasicLit:
				if n.Kind == token.STRING {
					for _, m := range inFormat.FindAllStringSubmatch(n.Value, -1) {
						words[m[1]] = !slices.Contains(verbs, m[1])
					}
				}
			case *ast.CallExpr:
				if len(n.Args) != 2 {
					break
				}
				if lit, ok := n.Args[1].(*ast.BasicLit); ok && lit.Kind == token.STRING && countsNouns(n.Fun) {
					noun, err := strconv.Unquote(lit.Value)
					if err != nil {
						t.Fatal(err)
					}
					words[plural.Noun(2, noun)] = true
				}
			}
			return true
		})
	}
	return words
}

// countsNouns reports whether a call is of plural.Of, plural.Noun, render.Counted or
// counted.
func countsNouns(f ast.Expr) bool {
	switch f := f.(type) {
	case *ast.SelectorExpr:
		x, ok := f.X.(*ast.Ident)
		return ok && (x.Name == "plural" && f.Sel.Name != "Verb" || x.Name == "render" && f.Sel.Name == "Counted")
	case *ast.Ident:
		return f.Name == "counted"
	}
	return false
}

// TestOneIsNotSeveral looks for "1 tensors" and its like in what commands print: in the
// expected output of tests, and in the documents.
func TestOneIsNotSeveral(t *testing.T) {
	words := countedWords(t)
	for _, noun := range []string{"tensors", "entries", "bytes", "fixes"} {
		if !words[noun] {
			t.Errorf("no message is known to count %s", noun)
		}
	}
	one := regexp.MustCompile(`(?m)(?:^|[ (])1 (?:more |other )?([a-z]+s)\b`)
	root := filepath.Join("..", "..")
	for _, dir := range []string{"README.md", "docs", "cmd/wtinspect/testdata", "internal/check/testdata/rules", "rename/testdata"} {
		err := filepath.WalkDir(filepath.Join(root, filepath.FromSlash(dir)), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range one.FindAllSubmatchIndex(text, -1) {
				if word := string(text[m[2]:m[3]]); words[word] {
					t.Errorf("%s:%d: 1 %s", path, 1+strings.Count(string(text[:m[0]]), "\n"), word)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
