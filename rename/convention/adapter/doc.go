// Package adapter knows how projects spell adapters: files that change the
// modules of a model instead of being one.
//
// The name of such a tensor is a prefix, which says of which part of a pipeline
// the module is, the path of the module, as the base model's convention spells
// it, and a leaf, which says which part of the change it is. A [Dialect] is a
// project's prefixes and leaves; the files of data/ describe them. What an
// adapter is of is a question of conventions, and package identify answers it.
package adapter
