package inspect

import (
	"strconv"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// TestTotalsOfManyDTypes gives every tensor a dtype of its own, as a hostile
// header can: the totals stay small, and whole.
func TestTotalsOfManyDTypes(t *testing.T) {
	var sum Totals
	for i := range 3 * maxDTypes {
		sum.add(&checkpoint.Tensor{DType: strconv.Itoa(i), Shape: []uint64{1}, Bytes: 2, BytesKnown: true}, false)
	}
	if len(sum.DTypes) != maxDTypes+1 || sum.DTypes[maxDTypes].DType != otherDTypes {
		t.Fatalf("%d dtypes, the last %q", len(sum.DTypes), sum.DTypes[len(sum.DTypes)-1].DType)
	}
	if other := sum.DTypes[maxDTypes]; other.Tensors != 2*maxDTypes || other.Bytes.N != 4*maxDTypes || other.Elements.N != 2*maxDTypes {
		t.Errorf("others: %d tensors, %d bytes, %d elements", other.Tensors, other.Bytes.N, other.Elements.N)
	}
}

// Of tied tensors one counts, whichever of them are listed and in whatever order.
func TestTotalsOfTied(t *testing.T) {
	set, err := Open(t.Context(), []string{fixture.File(t, "m.pt", "format torch\ntensor a F32 [2,3]\ntensor b F32 [3,2] strides=1,3 of=a\ntensor c F16 [4]\ntensor d F32 [6] of=a\n")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	for _, tt := range []struct {
		opts                       ListOptions
		tensors, tied              int
		elements, bytes, f32, also uint64
	}{
		{ListOptions{}, 4, 2, 10, 32, 24, 8},
		{ListOptions{Reverse: true}, 4, 2, 10, 32, 24, 8},
		{ListOptions{Select: Selection{Match: []string{"b", "d"}}}, 2, 1, 6, 24, 24, 0},
		{ListOptions{Select: Selection{Match: []string{"d", "c"}}, Sort: "bytes"}, 2, 0, 10, 32, 24, 8},
	} {
		r, err := List(t.Context(), set, &tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		got := r.Listings[0].Totals()
		by := map[string]uint64{}
		for _, d := range got.DTypes {
			by[d.DType] = d.Bytes.N
		}
		if got.Tensors != tt.tensors || got.Tied != tt.tied || got.Elements.N != tt.elements || got.Bytes.N != tt.bytes || by["F32"] != tt.f32 || by["F16"] != tt.also {
			t.Errorf("%+v: %+v", tt.opts, got)
		}
	}
}
