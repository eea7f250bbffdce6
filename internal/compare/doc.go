// Package compare says what two checkpoints have in common and where they
// differ: in names, shapes, dtypes, values, metadata and configuration.
//
// # Pairs
//
// Tensors are paired by name, then by content, then by what they are for: the
// same role where both follow known conventions, otherwise the same name but for a
// prefix, or the same numbers and shapes in a template that has one counterpart
// only. What is not unmistakable is not paired. Content decides over names where
// tensors have changed places all round: they are paired with what they hold.
//
// # Rules
//
// What was renamed is told as the rules of a map, few where names follow a
// pattern. A [Map] is applied to A's names before it is given out, and has to
// yield B's.
package compare
