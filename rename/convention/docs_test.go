package convention

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/roles.md and the list in docs/conventions.md")

// rolesPage writes docs/roles.md.
func rolesPage() string {
	var b strings.Builder
	b.WriteString(`# Roles

A role says what a tensor is for, whatever a project calls it. It is written
` + "`[space.]module.leaf`" + `: ` + "`layer.attn.q.weight`" + ` is the query projection of a layer,
` + "`vision.layer.mlp.up.bias`" + ` a bias in the vision tower. The indices stand beside
the role: the layer, then the expert, then whatever else a convention counts.

A role that begins with ` + "`own.`" + ` belongs to one convention only and is made of its
name there: such a tensor has no counterpart elsewhere.

This page is made from the vocabulary in ` + "`rename/convention/roles.yaml`" + `; the tests
keep it so.
`)
	v := loadVocabulary()
	for _, part := range []struct {
		title string
		docs  []roleDoc
	}{{"Spaces", v.spaceDocs}, {"Leaves", v.leafDocs}, {"Modules", v.moduleDocs}} {
		fmt.Fprintf(&b, "\n## %s\n\n| %s | what it is |\n|---|---|\n", part.title, strings.ToLower(strings.TrimSuffix(part.title, "s")))
		for _, d := range part.docs {
			fmt.Fprintf(&b, "| `%s` | %s |\n", d.name, d.doc)
		}
	}
	return b.String()
}

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
		if n.gguf != "" {
			key = "`" + n.gguf + "`"
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
	fmt.Fprintf(&b, "\nFor GGUF there is one convention for each of %d architectures of llama.cpp, `ARCHITECTURE-gguf`.\n", gguf)
	return b.String()
}

func TestDocs(t *testing.T) {
	check := func(path, want string) {
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o666); err != nil {
				t.Fatal(err)
			}
			return
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not up to date; run go test ./rename/convention -run TestDocs -update", path)
		}
	}
	check("../../docs/roles.md", rolesPage())

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
	check(path, text)
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

// Every module of the vocabulary is used.
func TestVocabulary(t *testing.T) {
	used := make(map[string]bool)
	v := loadVocabulary()
	for _, c := range All() {
		for _, m := range c.tensors {
			space, module, leaf := SplitRole(m.Role)
			used[module] = true
			used[leaf] = true
			for s := range strings.SplitSeq(space, ".") {
				used[s] = true
			}
		}
	}
	for _, d := range slices.Concat(v.spaceDocs, v.moduleDocs, v.leafDocs) {
		if !used[d.name] {
			t.Errorf("no convention uses %q", d.name)
		}
	}
}
