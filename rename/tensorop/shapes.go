package tensorop

import (
	"fmt"
	"math/bits"
	"slices"
)

// Shapes returns the shapes that the operations make of those of their
// operands, slowest dimension first, or why they cannot be carried out on them.
func Shapes(ops []Op, operands [][]uint64) ([][]uint64, error) {
	now := slices.Clone(operands)
	for i := range ops {
		o := &ops[i]
		if o.Index < 0 || o.Count < 1 || o.Index > len(now) || o.Count > len(now)-o.Index {
			return nil, fmt.Errorf("%s takes %d tensors from %d on, and there are %d", o.Kind, o.Count, o.Index, len(now))
		}
		out, err := o.shapes(now[o.Index : o.Index+o.Count])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Kind, err)
		}
		now = slices.Replace(now, o.Index, o.Index+o.Count, out...)
	}
	return now, nil
}

func (o *Op) shapes(in [][]uint64) ([][]uint64, error) {
	a := in[0]
	rank := func(least int) error {
		if len(a) < least {
			return fmt.Errorf("the shape %v has fewer than %d axes", a, least)
		}
		return nil
	}
	product := func(shape []uint64) (uint64, error) {
		n := uint64(1)
		for _, d := range shape {
			hi, lo := bits.Mul64(n, d)
			if hi != 0 {
				return 0, fmt.Errorf("the shape %v is too large", shape)
			}
			n = lo
		}
		return n, nil
	}
	with := func(axis int, length uint64) []uint64 {
		shape := slices.Clone(a)
		shape[axis] = length
		return shape
	}
	switch o.Kind {
	case Split:
		if err := rank(o.Axis + 1); err != nil {
			return nil, err
		}
		sizes := o.Sizes
		if len(sizes) == 0 {
			sizes = []int64{1, 1}
		}
		sum := uint64(0)
		for _, s := range sizes {
			sum += uint64(s)
		}
		if sum == 0 || a[o.Axis]%sum != 0 {
			return nil, fmt.Errorf("axis %d of %v is not made of parts of %v", o.Axis, a, sizes)
		}
		out := make([][]uint64, len(sizes))
		for i, s := range sizes {
			out[i] = with(o.Axis, uint64(s)*(a[o.Axis]/sum))
		}
		return out, nil
	case Concat:
		if err := rank(o.Axis + 1); err != nil {
			return nil, err
		}
		sum := uint64(0)
		for _, b := range in {
			if len(b) != len(a) {
				return nil, fmt.Errorf("%v and %v cannot be joined", a, b)
			}
			sum += b[o.Axis]
		}
		return [][]uint64{with(o.Axis, sum)}, nil
	case Stack:
		return [][]uint64{append([]uint64{uint64(len(in))}, a...)}, nil
	case Unstack:
		if err := rank(1); err != nil {
			return nil, err
		}
		return slices.Repeat([][]uint64{a[1:]}, len(o.Sizes)), nil
	case Copy:
		return slices.Repeat([][]uint64{a}, len(o.Sizes)), nil
	case Create:
		return [][]uint64{a, {uint64(len(o.Values))}}, nil
	case Discard:
		if len(in) != 2 || !slices.Equal(in[1], []uint64{uint64(len(o.Values))}) {
			return nil, fmt.Errorf("%v is not the %d numbers to leave out", in[len(in)-1], len(o.Values))
		}
	case Pad, Trim:
		if err := rank(o.Axis + 1); err != nil {
			return nil, err
		}
		if len(o.Sizes) != 2 || o.Sizes[0] < 0 || o.Sizes[1] < 0 {
			return nil, fmt.Errorf("%v are not two lengths", o.Sizes)
		}
		zeros, length := uint64(o.Sizes[0])+uint64(o.Sizes[1]), a[o.Axis]
		if o.Kind == Trim {
			if zeros > length {
				return nil, fmt.Errorf("axis %d of %v has less than %d to leave out", o.Axis, a, zeros)
			}
			return [][]uint64{with(o.Axis, length-zeros)}, nil
		}
		if zeros+length < length {
			return nil, fmt.Errorf("the shape %v is too large", a)
		}
		return [][]uint64{with(o.Axis, length+zeros)}, nil
	case Merge:
		for _, b := range in {
			if !slices.Equal(a, b) {
				return nil, fmt.Errorf("%v and %v cannot be equal", a, b)
			}
		}
	case Swap:
		if len(in) != 2 {
			return nil, fmt.Errorf("two tensors are exchanged, not %d", len(in))
		}
		return [][]uint64{in[1], a}, nil
	case Transpose:
		out := slices.Clone(a)
		if len(o.Axes) == 0 {
			if err := rank(2); err != nil {
				return nil, err
			}
			n := len(out)
			out[n-2], out[n-1] = out[n-1], out[n-2]
			return [][]uint64{out}, nil
		}
		if len(o.Axes) != len(a) {
			return nil, fmt.Errorf("axes of %v are not those of %v", o.Axes, a)
		}
		for i, axis := range o.Axes {
			if axis < 0 || axis >= len(a) {
				return nil, fmt.Errorf("axes of %v are not those of %v", o.Axes, a)
			}
			out[i] = a[axis]
		}
		return [][]uint64{out}, nil
	case Flatten:
		if err := rank(2); err != nil {
			return nil, err
		}
		n, err := product(a[:2])
		return [][]uint64{append([]uint64{n}, a[2:]...)}, err
	case Unflatten:
		if err := rank(1); err != nil {
			return nil, err
		}
		if o.Groups <= 0 || a[0]%uint64(o.Groups) != 0 {
			return nil, fmt.Errorf("the shape %v does not begin with a multiple of %d", a, o.Groups)
		}
		return [][]uint64{append([]uint64{uint64(o.Groups), a[0] / uint64(o.Groups)}, a[1:]...)}, nil
	case Squeeze:
		if err := rank(o.Axis + 1); err != nil {
			return nil, err
		}
		if a[o.Axis] != 1 {
			return nil, fmt.Errorf("axis %d of %v is not of length 1", o.Axis, a)
		}
		return [][]uint64{slices.Delete(slices.Clone(a), o.Axis, o.Axis+1)}, nil
	case Unsqueeze:
		if err := rank(o.Axis); err != nil {
			return nil, err
		}
		return [][]uint64{slices.Insert(slices.Clone(a), o.Axis, 1)}, nil
	case Reshape:
		out := make([]uint64, len(o.Shape))
		for i, d := range o.Shape {
			out[i] = uint64(d)
		}
		return [][]uint64{out}, nil
	case Repack:
		return nil, fmt.Errorf("shapes of packed weights are not followed")
	}
	return [][]uint64{a}, nil
}
