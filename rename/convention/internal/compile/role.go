package compile

import (
	"fmt"
	"io/fs"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// A roleDoc documents one part of the vocabulary of roles.
type roleDoc struct{ name, doc string }

// A vocabulary is every word a role is made of, in the order of its page.
// [convention.SplitRole] says how.
type vocabulary struct {
	spaceDocs, moduleDocs, leafDocs []roleDoc
	spaces                          convention.Spaces
	modules, leaves                 map[string]bool
}

func loadVocabulary(files fs.FS) (*vocabulary, error) {
	var doc struct {
		Spaces, Leaves, Modules yaml.Node
	}
	b, err := fs.ReadFile(files, "roles.yaml")
	if err == nil {
		err = yaml.Load(b, &doc)
	}
	if err != nil {
		return nil, fmt.Errorf("roles.yaml: %w", err)
	}
	read := func(n *yaml.Node) ([]roleDoc, map[string]bool) {
		var docs []roleDoc
		set := make(map[string]bool)
		for i := 0; i+1 < len(n.Content); i += 2 {
			docs = append(docs, roleDoc{n.Content[i].Value, n.Content[i+1].Value})
			set[n.Content[i].Value] = true
		}
		return docs, set
	}
	v := new(vocabulary)
	v.spaceDocs, v.spaces = read(&doc.Spaces)
	v.leafDocs, v.leaves = read(&doc.Leaves)
	v.moduleDocs, v.modules = read(&doc.Modules)
	return v, nil
}

// known reports whether a role is made of the vocabulary.
func (v *vocabulary) known(role string) bool {
	if convention.IsOwn(role) {
		return true
	}
	_, module, leaf := v.spaces.Split(role)
	return v.modules[module] && v.leaves[leaf]
}

const ownPrefix = "own."

// spaceNames lists the spaces in the order of their page.
func (v *vocabulary) spaceNames() string {
	var names []string
	for _, d := range v.spaceDocs {
		names = append(names, d.name)
	}
	return strings.Join(names, " ")
}
