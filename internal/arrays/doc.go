// Package arrays carries out the operations of package rename that move or
// compute bytes, on tensors of any size.
//
// An [Array] is a tensor as it is computed with: a shape, an [Element] and its
// bytes, which are made when they are read. [Workspace.Operate] takes arrays and
// gives arrays; the shapes are known at once, and an error says which of them
// does not fit.
//
// Whatever the size of the tensors and however many operations follow one
// another, reading takes the memory of a [Workspace] and no more: about 10 MB for
// tensors of files and 32 MB for each of two transpositions, of more only where
// one reads another. Operations that rearrange give every bit back as it was, of
// numbers and of whole blocks, and never take a block apart. Those that compute do
// so in float64 and round once, to the nearest number of the tensor's own dtype,
// ties to even.
//
// An array that neither a transposition nor [Workspace.Tensor] lies behind may be
// read by several goroutines, if the data that it was made with may.
package arrays
