package convention

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

var update = flag.Bool("update", false, "write the lists in docs/conventions.md")

// numbersTable writes the table of what projects call the numbers of a model.
func numbersTable() string {
	var b strings.Builder
	b.WriteString("| number | other names | GGUF key, below the architecture |\n|---|---|---|\n")
	for _, n := range numbers {
		var others []string
		for _, s := range n.others {
			others = append(others, "`"+s.name+"`")
		}
		key := ""
		if name, ok := GGUFKey("", n.name); ok {
			key = "`" + strings.TrimPrefix(name, ".") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", n.name, strings.Join(others, ", "), key)
	}
	return b.String()
}

const (
	numbersBegin = "<!-- begin numbers: made by go test -run TestDocs -update -->\n"
	numbersEnd   = "<!-- end numbers -->\n"

	listBegin = "<!-- begin list: made by go test -run TestDocs -update -->\n"
	listEnd   = "<!-- end list -->\n"
)

// conventionList writes the table of docs/conventions.md.
func conventionList() string {
	var b strings.Builder
	b.WriteString("| convention | dialects | families | what it is |\n|---|---|---|---|\n")
	gguf := 0
	for _, c := range All() {
		if c.HasDialect("gguf") {
			gguf++
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Name, strings.Join(c.Dialects, ", "), strings.Join(c.Families, ", "), c.Description)
	}
	fmt.Fprintf(&b, "\nFor GGUF there is one convention for each of %d architectures of llama.cpp and ollama, `ARCHITECTURE-gguf`.\n", gguf)
	return b.String()
}

func TestDocs(t *testing.T) {
	const path = "../../docs/conventions.md"
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(page)
	for _, part := range []struct{ begin, made, end string }{
		{numbersBegin, numbersTable(), numbersEnd},
		{listBegin, conventionList(), listEnd},
	} {
		head, rest, ok1 := strings.Cut(text, part.begin)
		_, tail, ok2 := strings.Cut(rest, part.end)
		if !ok1 || !ok2 {
			t.Fatalf("%s has no place for %s", path, part.begin)
		}
		text = head + part.begin + part.made + part.end + tail
	}
	testdata.UpToDate(t, path, text, *update)
}

// Every name of a number has a source, and no name is two numbers'.
func TestNumbers(t *testing.T) {
	seen := make(map[string]bool)
	for _, n := range numbers {
		for _, s := range append([]spelling{{n.name, n.source}}, n.others...) {
			if s.source == "" {
				t.Errorf("%s: no source", s.name)
			}
			if seen[s.name] {
				t.Errorf("%s is two numbers", s.name)
			}
			seen[s.name] = true
		}
	}
}
