package convention

import (
	_ "embed"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

//go:embed roles.yaml
var rolesYAML []byte

// A roleDoc documents one part of the vocabulary of roles.
type roleDoc struct{ name, doc string }

// A vocabulary is every word a role is made of. A role is written
// [space.]module.leaf: "layer.attn.q.weight", "vision.layer.mlp.up.bias". The
// modules say where the indices of an ID stand: the segments "layer" and
// "expert" count, and a convention may number further modules.
//
// A role that begins with "own." belongs to one convention only: its project's
// tensors have no counterpart elsewhere, and it is made of their own name.
type vocabulary struct {
	spaceDocs, moduleDocs, leafDocs []roleDoc // in the order of their page
	spaces, modules, leaves         map[string]bool
}

var loadVocabulary = sync.OnceValue(func() *vocabulary {
	var doc struct {
		Spaces, Leaves, Modules yaml.Node
	}
	if err := yaml.Load(rolesYAML, &doc); err != nil {
		panic("convention: roles.yaml: " + err.Error())
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
	return v
})

// known reports whether a role is made of the vocabulary.
func (v *vocabulary) known(role string) bool {
	if strings.HasPrefix(role, ownPrefix) {
		return true
	}
	_, module, leaf := v.split(role)
	return v.modules[module] && v.leaves[leaf]
}

// split takes a role apart. The space may be empty.
func (v *vocabulary) split(role string) (space, module, leaf string) {
	if i := strings.LastIndexByte(role, '.'); i >= 0 {
		role, leaf = role[:i], role[i+1:]
	}
	for {
		head, rest, ok := strings.Cut(role, ".")
		if !ok || !v.spaces[head] {
			return space, role, leaf
		}
		space = strings.TrimPrefix(space+"."+head, ".")
		role = rest
	}
}

// SplitRole takes a role apart: "vision.layer.mlp.up.bias" is space vision,
// module layer.mlp.up, leaf bias. The space may be empty.
func SplitRole(role string) (space, module, leaf string) { return loadVocabulary().split(role) }

// IsOwn reports whether a role, or a module, belongs to one convention only.
func IsOwn(role string) bool { return strings.HasPrefix(role, ownPrefix) }

const ownPrefix = "own."
