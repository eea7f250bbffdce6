// Package infer finds the map from the names of one checkpoint to those of another, or
// to those of a convention.
//
// Where both sides follow conventions that are known, the map is that of package convert,
// and exact. Otherwise names, shapes and the order of tensors are evidence, package match
// weighs it, and weights settle what it leaves open, where there are any to read. What
// nothing settles is a question: no rule is guessed silently.
//
// The package is pure. Names, shapes and numbers go in, and what reads weights is a
// [Content].
package infer
