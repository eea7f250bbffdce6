package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// refusing are the files with what convert refuses, by globs from the root of the repository.
var refusing = []string{
	"inspect/convert*.go", "checkpoint/union.go", "checkpoint/assemble/*.go", "checkpoint/internal/image/place.go",
	"internal/arrays/dequantise.go", "internal/arrays/cast.go", "internal/quant/formula.go", "cmd/wtinspect/convert.go",
}

// unshown are messages that no user gets, with the reason.
var unshown = map[string]string{
	"%s: a checkpoint cannot be written as %q; the formats are %s and %s":         "--container has no others",
	"%s: the operations on %s leave %d tensors, and there are %d names":           "a map is refused whose rules have other numbers of names",
	"tensor %q is in %s and in %s%s: say which of them counts, or leave some out": "of callers of Union that do not look at passed",
	"%s: %w; recover it first":                             "the command looks before, and says how",
	"%s: %d bytes cannot be written":                       "no disk has such a document",
	"%s of the shape %v is not bytes of two elements":      "the schemes have no such weights",
	"weight_shape, %s of the shape %v, is not two numbers": "the schemes have no such shapes",
	"elements of %s have no scales of their own":           "the schemes with scales beside elements have none in blocks",
}

// A message is what an error says, without what it is told about.
type message struct{ at, text string }

var verb = regexp.MustCompile(`%(\[\d+\])?[-+# 0]*[0-9.]*[a-zA-Z]`)

// messages are the literals of errors and notes in a file.
func messages(t *testing.T, path string) (list []message) {
	t.Helper()
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	add := func(e ast.Expr) {
		if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if text, err := strconv.Unquote(l.Value); err == nil {
				list = append(list, message{set.Position(l.Pos()).String(), text})
			}
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			s, ok := n.Fun.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			switch s.Sel.Name {
			case "Errorf", "New", "note":
				add(n.Args[0])
			case "refuse", "leaveOut":
				if len(n.Args) > 1 {
					add(n.Args[1])
				}
			}
		case *ast.KeyValueExpr:
			if key, ok := n.Key.(*ast.Ident); !ok || key.Name != "Reason" {
				return true
			}
			if call, ok := n.Value.(*ast.CallExpr); ok && len(call.Args) > 0 {
				add(call.Args[0])
			} else {
				add(n.Value)
			}
		}
		return true
	})
	return list
}

// phrases are the runs of a few words of a message that no verb interrupts.
func (m *message) phrases() (list []string) {
	const most = 4
	for _, fragment := range verb.Split(m.text, -1) {
		words := strings.Fields(fragment)
		for i := range max(1, len(words)-most+1) {
			if run := words[i:min(len(words), i+most)]; len(run) > 1 {
				list = append(list, strings.Join(run, " "))
			}
		}
	}
	return list
}

// What convert refuses, leaves out or notes is in a script or a test, word by word: some words of each message that no
// other has.
func TestRefusalsAreShown(t *testing.T) {
	root := filepath.Join("..", "..")
	var all []message
	for _, glob := range refusing {
		paths, err := filepath.Glob(filepath.Join(root, glob))
		if err != nil || len(paths) == 0 {
			t.Fatal(glob, err)
		}
		for _, path := range paths {
			if !strings.HasSuffix(path, "_test.go") {
				all = append(all, messages(t, path)...)
			}
		}
	}
	if len(all) < 150 {
		t.Errorf("%d messages", len(all))
	}
	var shown strings.Builder
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".txtar") && !strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "refusals_test.go" {
			return err
		}
		b, err := os.ReadFile(path)
		shown.WriteString(strings.Join(strings.Fields(strings.NewReplacer(`\`, "", "''", "'").Replace(string(b))), " "))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for i := range all {
		seen := make(map[string]bool)
		for _, p := range all[i].phrases() {
			if !seen[p] {
				count[p]++
			}
			seen[p] = true
		}
	}
	for i := range all {
		var own, short []string
		for _, p := range all[i].phrases() {
			switch {
			case count[p] > 1:
			case strings.Count(p, " ") > 1:
				own = append(own, p)
			default:
				short = append(short, p) // any text may have two words
			}
		}
		if len(own) == 0 {
			own = short
		}
		isShown := slices.ContainsFunc(own, func(p string) bool { return strings.Contains(shown.String(), p) })
		if len(own) > 0 && !isShown && unshown[all[i].text] == "" {
			t.Errorf("%s: no script or test shows %q", all[i].at, all[i].text)
		}
	}
	for text := range unshown {
		found := false
		for i := range all {
			found = found || all[i].text == text
		}
		if !found {
			t.Errorf("nothing says %q any more", text)
		}
	}
}

// A scheme of quantisation whose numbers are worked out nowhere here is refused in a script.
func TestSchemesAreRefused(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "internal", "quant", "schemes.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(filepath.Join("testdata", "script", "convert-schemes.txtar"))
	if err != nil {
		t.Fatal(err)
	}
	const begin = "\n  - name: "
	followed := map[string]bool{"fp8-cast": true} // which are numbers
	schemes := strings.Split(string(text), begin)[1:]
	for _, s := range schemes {
		if name, rest, _ := strings.Cut(s, "\n"); strings.Contains(rest, "use: ") {
			followed[name] = true
		}
	}
	delete(followed, "compressed-tensors") // of which the sparse formats are not
	refused := 0
	for _, s := range schemes {
		name, _, _ := strings.Cut(s, "\n")
		if followed[name] {
			continue
		}
		refused++
		if !strings.Contains(string(script), "is quantised as "+name+": weights of this scheme are not dequantised here") {
			t.Errorf("no script refuses %s", name)
		}
	}
	if refused < 25 {
		t.Errorf("%d schemes are refused", refused)
	}
}
