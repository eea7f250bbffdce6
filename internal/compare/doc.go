// Package compare says what two checkpoints have in common and where they
// differ: in names, shapes, dtypes, values, metadata and configuration.
//
// # Pairs
//
// Tensors are paired by name, then by content, and what is left by package match: the
// same role where both follow known conventions, the same name but for a prefix, the same
// numbers and shapes in a template that has one counterpart only, or names that mean the
// same, which is said to be likely only. What is less sure than nine to one is not paired. Content decides over names where
// tensors have changed places all round: they are paired with what they hold.
//
// # Rules
//
// What was renamed is told as the rules of a map, few where names follow a
// pattern. A [Map] is applied to A's names before it is given out, and has to
// yield B's.
package compare
