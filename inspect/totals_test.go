package inspect

import (
	"strconv"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// TestTotalsOfManyDTypes gives every tensor a dtype of its own, as a hostile
// header can: the totals stay small, and whole.
func TestTotalsOfManyDTypes(t *testing.T) {
	sum := TotalsOf(func(yield func(int, checkpoint.Tensor) bool) {
		for i := range 3 * maxDTypes {
			if !yield(i, checkpoint.Tensor{DType: strconv.Itoa(i), Shape: []uint64{1}, Bytes: 2, BytesKnown: true}) {
				return
			}
		}
	})
	if len(sum.DTypes) != maxDTypes+1 || sum.DTypes[maxDTypes].DType != otherDTypes {
		t.Fatalf("%d dtypes, the last %q", len(sum.DTypes), sum.DTypes[len(sum.DTypes)-1].DType)
	}
	if other := sum.DTypes[maxDTypes]; other.Tensors != 2*maxDTypes || other.Bytes.N != 4*maxDTypes || other.Elements.N != 2*maxDTypes {
		t.Errorf("others: %d tensors, %d bytes, %d elements", other.Tensors, other.Bytes.N, other.Elements.N)
	}
}
