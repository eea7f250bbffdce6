package convention

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

//go:embed roles.yaml
var rolesYAML []byte

// A RoleDoc documents one part of the vocabulary of roles.
type RoleDoc struct {
	Name string
	Doc  string
}

// A Vocabulary is every word a role is made of. A role is written
// [space.]module.leaf: "layer.attn.q.weight", "vision.layer.mlp.up.bias". The
// modules say where the indices of an ID stand: the segments "layer" and
// "expert" count, and a convention may number further modules.
//
// A role that begins with "own." belongs to one convention only: its project's
// tensors have no counterpart elsewhere, and it is made of their own name.
type Vocabulary struct {
	Spaces, Modules, Leaves []RoleDoc
}

type vocabulary struct {
	Vocabulary
	spaces, modules, leaves map[string]bool
}

var loadVocabulary = sync.OnceValue(func() *vocabulary {
	var doc struct {
		Spaces, Leaves, Modules yaml.Node
	}
	if err := yaml.Load(rolesYAML, &doc); err != nil {
		panic("convention: roles.yaml: " + err.Error())
	}
	read := func(n *yaml.Node) ([]RoleDoc, map[string]bool) {
		var docs []RoleDoc
		set := make(map[string]bool)
		for i := 0; i+1 < len(n.Content); i += 2 {
			docs = append(docs, RoleDoc{n.Content[i].Value, n.Content[i+1].Value})
			set[n.Content[i].Value] = true
		}
		return docs, set
	}
	v := new(vocabulary)
	v.Spaces, v.spaces = read(&doc.Spaces)
	v.Leaves, v.leaves = read(&doc.Leaves)
	v.Modules, v.modules = read(&doc.Modules)
	return v
})

// Roles returns the vocabulary of roles, in the order of its page.
func Roles() Vocabulary {
	v := loadVocabulary().Vocabulary
	return Vocabulary{slices.Clone(v.Spaces), slices.Clone(v.Modules), slices.Clone(v.Leaves)}
}

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

const ownPrefix = "own."
