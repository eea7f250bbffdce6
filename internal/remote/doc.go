// Package remote reads checkpoints where they are: on a hub, on any server that
// has files. A [Ref] is what users write; the places of package source are what
// answers for it.
package remote
