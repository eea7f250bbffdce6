package strided

import (
	"cmp"
	"slices"
)

// A Step leads from an element to the next along an axis: N elements are so many apart.
type Step struct{ N, Stride uint64 }

// Axes returns the steps that lead from the first element of an array to all others, the shortest first and
// as few as there can be. They are the same of arrays of any shape that have the same elements of a storage: of a matrix, of
// its transpose and of the two in one dimension.
func Axes(shape, strides []uint64) []Step {
	var axes []Step
	for i, n := range shape {
		if n != 1 {
			axes = append(axes, Step{n, strides[i]})
		}
	}
	slices.SortFunc(axes, func(a, b Step) int { return cmp.Or(cmp.Compare(a.Stride, b.Stride), cmp.Compare(a.N, b.N)) })
	out := axes[:0]
	for _, a := range axes {
		if k := len(out) - 1; k >= 0 {
			whole, ok := Product(out[k].N, out[k].Stride)
			if n, fits := Product(out[k].N, a.N); ok && fits && whole == a.Stride {
				out[k].N = n
				continue
			}
		}
		out = append(out, a)
	}
	return out
}
