// Package rename gives tensors new names.
//
// A [Map] is an ordered list of rules from old names to new ones, read from
// YAML by [Parse]; docs/map-language.md describes the language. Applied to the
// names of one checkpoint it becomes a [Plan], which says what happens to every
// tensor and refuses whatever would lose or merge one. Plans and many maps can
// be undone ([Plan.Inverse], [Invert]).
//
// Rules may also say that tensors are taken apart, joined or changed. A plan then
// has a [Transform] for each such set of tensors, whose operations are plain data;
// carrying them out is for whoever has the bytes.
//
// Package template takes names apart; what a template is is said there.
//
// The package is pure. Names go in and names come out; no file is opened, and
// nothing here knows how tensors are stored.
package rename
