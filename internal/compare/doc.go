// Package compare says what two checkpoints have in common and where they
// differ: in names, shapes, dtypes, values, metadata and configuration.
//
// # Pairs
//
// Tensors are paired by name, then by content, then by what they are for: the
// same role where both follow known conventions, otherwise the same shape at the
// same place of a template that has one counterpart only. Content decides over
// names: where two tensors have changed places under right names, they are
// paired with what they hold.
//
// # Rules
//
// What was renamed is told as the rules of a map, few where names follow a
// pattern. A [Map] is applied to A's names before it is given out, and has to
// yield B's.
package compare
