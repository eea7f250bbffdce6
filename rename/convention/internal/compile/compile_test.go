package compile

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

var update = flag.Bool("update", false, "write conventions.txt and docs/roles.md")

// files are what describes the conventions.
var files = os.DirFS("../..")

func TestText(t *testing.T) {
	text, err := Text(files)
	if err != nil {
		t.Fatal(err)
	}
	testdata.UpToDate(t, "../../conventions.txt", string(text), *update)
}

func TestRolesPage(t *testing.T) {
	v, err := loadVocabulary(files)
	if err != nil {
		t.Fatal(err)
	}
	testdata.UpToDate(t, "../../../../docs/roles.md", rolesPage(v), *update)
}

// What the program reads is what was described.
func TestRead(t *testing.T) {
	list, err := Load(files)
	if err != nil {
		t.Fatal(err)
	}
	all := convention.All()
	if len(all) != len(list) {
		t.Fatalf("%d conventions are built in, %d are described", len(all), len(list))
	}
	for i, d := range list {
		c := all[i]
		want := convention.Convention{
			Name: d.Name, Description: d.Description, Dialects: d.Dialects, Families: d.Families, Base: d.Base, VariantOf: d.VariantOf, Kind: d.Kind,
			Refuse: d.Refuse, Preferred: d.Preferred, Dimensions: d.Dimensions, Bare: d.Bare, Frame: d.Frame, Language: d.Language, With: d.With, Text: d.Text, Sources: d.Sources, Layout: d.Layout,
		}
		for f, v := range reflect.ValueOf(want).Fields() {
			if !f.IsExported() {
				continue
			}
			if got := reflect.ValueOf(*c).FieldByIndex(f.Index); fmt.Sprint(got) != fmt.Sprint(v) {
				t.Errorf("%s: %s is %v, want %v", d.Name, f.Name, got, v)
			}
		}
		tensors := c.Tensors()
		if len(tensors) != len(d.Tensors) {
			t.Errorf("%s has %d tensors, want %d", d.Name, len(tensors), len(d.Tensors))
			continue
		}
		for i, want := range d.Tensors {
			m := tensors[i]
			if got := (Tensor{m.Role, m.Below.String(), m.Optional, m.Unwritten, m.Buffer, m.Absolute, m.DType, m.Without}); got != want {
				t.Errorf("%s: %v, want %v", d.Name, got, want)
			}
			whole := want.Stem
			if !want.Absolute {
				whole = d.Base + want.Stem
			}
			for _, p := range []*convention.Pattern{m.Below, m.Pattern} {
				again, err := convention.ParsePattern(p.String())
				if err != nil || again.Template() != p.Template() {
					t.Errorf("%s: the template of %s is %q (%v)", d.Name, p, p.Template(), err)
				}
			}
			if m.Pattern.String() != whole {
				t.Errorf("%s: %s, want %s", d.Name, m.Pattern, whole)
			}
			for what, reasons := range map[string]struct {
				got  string
				list []Reason
			}{
				"opaque":     {c.Opaque(m.Role, nil), d.Opaque},
				"drop":       {c.Drops(m.Role), d.Drop},
				"drop_layer": {c.DropsLayer(m.Role), d.DropLayers},
				"tower":      {c.Tower(m.Role), d.Towers},
			} {
				want := ""
				for _, r := range reasons.list {
					if want == "" && r.When == "" && template.Glob(r.Glob).Match(m.Role) {
						want = r.Text
					}
				}
				if reasons.got != want {
					t.Errorf("%s: %s of %s: %q, want %q", d.Name, what, m.Role, reasons.got, want)
				}
			}
		}
	}
}

// rolesPage writes docs/roles.md.
func rolesPage(v *vocabulary) string {
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

// A convention is in the file of its family: the one with the longest name that
// its own begins with, where "-" and "_" are alike.
func TestFiles(t *testing.T) {
	entries, err := fs.ReadDir(files, "data")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := readFiles(files)
	if err != nil {
		t.Fatal(err)
	}
	dashes := strings.NewReplacer("_", "-")
	for _, d := range docs {
		want := ""
		for _, e := range entries {
			family := strings.TrimSuffix(e.Name(), ".yaml")
			if name := dashes.Replace(d.Name) + "-"; strings.HasPrefix(name, dashes.Replace(family)+"-") && len(family) > len(want) {
				want = family
			}
		}
		if d.file != want+".yaml" {
			t.Errorf("%s is in %s, and belongs into %s.yaml", d.Name, d.file, want)
		}
	}
}

func TestFileErrors(t *testing.T) {
	tests := []struct{ file, want string }{
		{"name: a\ntensors: {layer.attn.z: \"x\"}\n", `convention "a": "layer.attn.z.weight" is not a role`},
		{"name: a\ntensors: {final_norm: \"x.{layer}y\"}\n", `convention "a": pattern "x.{layer}y.weight": the hole "layer" does not fill a segment`},
		{"name: a\ntensors: {final_norm: \"x.{layer}.{layer}\"}\n", `convention "a": pattern "x.{layer}.{layer}.weight": the hole "layer" appears twice`},
		{"name: a\ntensors: {final_norm: \"x.{layer\"}\n", `convention "a": pattern "x.{layer.weight": a brace is not closed`},
		{"name: a\nextends: b\n", `convention "b": it is not described`},
		{"name: a\nextends: a\n", `convention "a": it is made of itself`},
		{"name: a\ntensors: {\"layer.attn.<q|k>\": \"x\"}\n", `role "layer.attn.<q|k>" has 2 alternatives, its pattern "x" has 1`},
		{"name: a\nremove: [head]\ntensors: {final_norm: x}\n", `remove: nothing it inherits has the role "head"`},
		{"name: a\ncolour: red\n", `colour`},
	}
	v, err := loadVocabulary(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		l := newLoader(v)
		docs, err := readDocuments([]byte(tt.file))
		if err == nil {
			err = l.add(docs[0])
		}
		if err == nil {
			_, err = l.convention("a", nil)
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want %q in it", tt.file, err, tt.want)
		}
	}
}

// Every module of the vocabulary is used.
func TestVocabulary(t *testing.T) {
	used := make(map[string]bool)
	v, err := loadVocabulary(files)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range convention.All() {
		for _, m := range c.Tensors() {
			space, module, leaf := convention.SplitRole(m.Role)
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
