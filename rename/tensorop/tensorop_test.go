package tensorop

import (
	"fmt"
	"slices"
	"testing"
)

// What operations make of shapes, their inverses take back.
func TestShapes(t *testing.T) {
	tests := []struct {
		ops      []Op
		in, want string
		operands [][]uint64
	}{
		{
			[]Op{
				{Kind: Stack, Count: 2},
				{Kind: Stack, Index: 1, Count: 2},
				{Kind: Swap, Count: 2},
				{Kind: Concat, Count: 2, Axis: 1},
				{Kind: Transpose, Count: 1},
				{Kind: Flatten, Count: 1, Groups: 2},
			},
			"gates and ups, one by one", "[[6 10]]",
			[][]uint64{{5, 3}, {5, 3}, {5, 3}, {5, 3}},
		},
		{
			[]Op{
				{Kind: Split, Count: 1, Sizes: []int64{4, 2, 2}, Layout: Grouped, Groups: 2},
				{Kind: Permute, Count: 1, Heads: 4, From: Half, To: Adjacent},
				{Kind: Offset, Index: 2, Count: 1, Value: 1},
			},
			"query, key and value", "[[32 6] [16 6] [16 6]]",
			[][]uint64{{64, 6}},
		},
		{
			[]Op{
				{Kind: Unflatten, Count: 1, Groups: 3},
				{Kind: Transpose, Count: 1, Axes: []int{2, 0, 1}},
				{Kind: Unstack, Count: 1, Sizes: []int64{1, 1, 1, 1, 1, 1, 1}},
			},
			"a stack", "[[3 2] [3 2] [3 2] [3 2] [3 2] [3 2] [3 2]]",
			[][]uint64{{6, 7}},
		},
		{
			[]Op{{Kind: Copy, Count: 1, Sizes: []int64{1, 1, 1}}, {Kind: Merge, Index: 1, Count: 2}, {Kind: Scale, Count: 1, Value: 0.5}},
			"copies", "[[6 2] [6 2]]",
			[][]uint64{{6, 2}},
		},
		{[]Op{{Kind: Create, Count: 1, Values: []float32{1, 8}}}, "a constant", "[[6] [2]]", [][]uint64{{6}}},
		{[]Op{{Kind: Create, Count: 1, Values: []float32{1, 8}}, {Kind: Discard, Count: 2, Values: []float32{1, 8}}}, "and without it", "[[6]]", [][]uint64{{6}}},
		{[]Op{{Kind: Reshape, Count: 1, Shape: []int64{2, 3}, Was: []int64{6}}}, "a row", "[[2 3]]", [][]uint64{{6}}},
		{
			[]Op{
				{Kind: Cast, Count: 1, From: "BF16", To: "F32"},
				{Kind: Squeeze, Count: 1, Axis: 1},
				{Kind: Permute, Count: 1, Heads: 4, Groups: 2, From: Grouped, To: Tiled},
				{Kind: Unsqueeze, Count: 1},
				{Kind: Unsqueeze, Count: 1, Axis: 3},
			},
			"a convolution", "[[1 8 3 1]]",
			[][]uint64{{8, 1, 3}},
		},
		{
			[]Op{
				{Kind: Pad, Count: 1, Axis: 1, Sizes: []int64{0, 2}},
				{Kind: Pad, Index: 1, Count: 1, Axis: 1, Sizes: []int64{2, 0}},
				{Kind: Concat, Count: 2, Sizes: []int64{3, 5}},
				{Kind: Trim, Count: 1, Sizes: []int64{1, 0}},
			},
			"blocks of a matrix", "[[7 4]]",
			[][]uint64{{3, 2}, {5, 2}},
		},
		{[]Op{{Kind: Split, Count: 1}}, "two halves", "[[3] [3]]", [][]uint64{{6}}},
		{[]Op{{Kind: Concat, Count: 3}}, "three thirds", "[[6]]", [][]uint64{{2}, {2}, {2}}},
	}
	for _, tt := range tests {
		out, err := Shapes(tt.ops, tt.operands)
		if err != nil || fmt.Sprint(out) != tt.want {
			t.Errorf("%s: %v, %v; want %s", tt.in, out, err, tt.want)
			continue
		}
		var undo []Op
		for i := range slices.Backward(tt.ops) {
			o, ok := tt.ops[i].Inverse()
			if !ok {
				t.Errorf("%s: no inverse of %+v", tt.in, tt.ops[i])
			}
			undo = append(undo, o)
		}
		if back, err := Shapes(undo, out); err != nil || fmt.Sprint(back) != fmt.Sprint(tt.operands) {
			t.Errorf("%s: %v comes back as %v, %v", tt.in, tt.operands, back, err)
		}
	}
}

func TestRefusedShapes(t *testing.T) {
	for _, o := range []Op{
		{Kind: Split, Count: 1, Axis: 1, Sizes: []int64{1, 1}},
		{Kind: Split, Count: 1, Sizes: []int64{2, 3}},
		{Kind: Stack, Count: 2},
		{Kind: Transpose, Count: 1},
		{Kind: Transpose, Count: 1, Axes: []int{0, 1}},
		{Kind: Flatten, Count: 1},
		{Kind: Squeeze, Count: 1},
		{Kind: Squeeze, Count: 1, Axis: 1},
		{Kind: Unsqueeze, Count: 1, Axis: 2},
		{Kind: Unflatten, Count: 1, Groups: 4},
		{Kind: Repack, Count: 1},
		{Kind: Swap, Count: 1},
		{Kind: Pad, Count: 1, Axis: 1, Sizes: []int64{1, 1}},
		{Kind: Pad, Count: 1, Sizes: []int64{1}},
		{Kind: Trim, Count: 1, Sizes: []int64{5, 2}},
	} {
		if out, err := Shapes([]Op{o}, [][]uint64{{6}}); err == nil {
			t.Errorf("%+v of [6] gives %v", o, out)
		}
	}
}

func TestNoInverse(t *testing.T) {
	for _, o := range []Op{
		{Kind: Flatten, Count: 1},
		{Kind: Cast, Count: 1, To: "F32"},
		{Kind: Reshape, Count: 1, Shape: []int64{6}},
		{Kind: Repack, Count: 2, From: MXFP4Blocks, To: MXFP4GGML},
		{Kind: Offset, Count: 1, Value: 1, Round: true},
		{Kind: NegativeExp, Count: 1, Round: true},
		{Kind: Scale, Count: 1, Value: 0.5, Round: true},
		{Kind: Scale, Count: 1, Value: 49},
		{Kind: Transpose, Count: 1, Axes: []int{0, 2}},
	} {
		if inv, ok := o.Inverse(); ok {
			t.Errorf("%+v is undone by %+v", o, inv)
		}
	}
}
