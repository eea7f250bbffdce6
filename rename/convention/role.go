package convention

import "strings"

// Spaces are the parts of a model that a role may begin with: "vision", "decoder".
type Spaces map[string]bool

// Split takes a role apart: "vision.layer.mlp.up.bias" is space vision, module
// layer.mlp.up, leaf bias. The space may be empty.
//
// The modules say where the indices of an ID stand: the segments "layer" and
// "expert" count, and a convention may number further modules.
func (s Spaces) Split(role string) (space, module, leaf string) {
	if i := strings.LastIndexByte(role, '.'); i >= 0 {
		role, leaf = role[:i], role[i+1:]
	}
	for {
		head, rest, ok := strings.Cut(role, ".")
		if !ok || !s[head] {
			return space, role, leaf
		}
		space = strings.TrimPrefix(space+"."+head, ".")
		role = rest
	}
}

// SplitRole takes a role of the built-in vocabulary apart.
func SplitRole(role string) (space, module, leaf string) { return builtin().spaces.Split(role) }

// IsOwn reports whether a role, or a module, belongs to one convention only: its
// project's tensors have no counterpart elsewhere, and the role is made of their name.
func IsOwn(role string) bool { return strings.HasPrefix(role, ownPrefix) }

const ownPrefix = "own."
