package main

import (
	"strconv"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// TestTotalsOfManyDTypes gives every tensor a dtype of its own, as a hostile
// header can: the totals stay small, and whole.
func TestTotalsOfManyDTypes(t *testing.T) {
	var sum totals
	for i := range 3 * maxDTypes {
		sum.add(&checkpoint.Tensor{DType: strconv.Itoa(i), Shape: []uint64{1}, Bytes: 2, BytesKnown: true})
	}
	if len(sum.dtypes) != maxDTypes+1 || sum.dtypes[maxDTypes].dtype != otherDTypes {
		t.Fatalf("%d dtypes, the last %q", len(sum.dtypes), sum.dtypes[len(sum.dtypes)-1].dtype)
	}
	if other := sum.dtypes[maxDTypes]; other.tensors != 2*maxDTypes || other.bytes.n != 4*maxDTypes {
		t.Errorf("others: %d tensors, %d bytes", other.tensors, other.bytes.n)
	}
}
