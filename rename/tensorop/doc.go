// Package tensorop describes what happens to tensors when names alone do not
// take one convention to another: tensors are split, joined, stacked, turned
// round, reordered.
//
// An [Op] is plain data that says what becomes of a list of operands, how it is
// undone, and, with [Shapes], what the shapes become. Carrying it out is for
// whoever has the bytes. docs/operations.md describes every operation.
package tensorop
