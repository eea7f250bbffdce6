package strided

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// TestAxes compares the steps of random pairs of arrays with the elements that each of the two has: those of
// the same steps have the same ones, and of two with the same ones, neither of which has any twice or leaves out some
// in between, the steps are the same.
func TestAxes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	same := 0
	array := func() (shape, strides []uint64) {
		next := uint64(1)
		for range r.IntN(4) {
			n := uint64(1 + r.IntN(4))
			shape, strides = append(shape, n), append(strides, next)
			next *= n
			if r.IntN(6) == 0 {
				next += uint64(r.IntN(3))
			}
			if r.IntN(8) == 0 {
				strides[len(strides)-1] = uint64(r.IntN(3))
			}
		}
		r.Shuffle(len(shape), func(i, j int) {
			shape[i], shape[j] = shape[j], shape[i]
			strides[i], strides[j] = strides[j], strides[i]
		})
		return shape, strides
	}
	for range 20_000 {
		shapeA, stridesA := array()
		shapeB, stridesB := array()
		a, b := placesOf(shapeA, stridesA), placesOf(shapeB, stridesB)
		equal := reflect.DeepEqual(Axes(shapeA, stridesA), Axes(shapeB, stridesB))
		if equal && !slices.Equal(a, b) {
			t.Fatalf("%d by %d and %d by %d have other elements: %d and %d", shapeA, stridesA, shapeB, stridesB, a, b)
		}
		if whole := int(a[len(a)-1]) == len(a)-1 && len(slices.Compact(slices.Clone(a))) == len(a); whole && slices.Equal(a, b) {
			same++
			if !equal {
				t.Fatalf("%d by %d and %d by %d have the same elements: %v and %v", shapeA, stridesA, shapeB, stridesB, Axes(shapeA, stridesA), Axes(shapeB, stridesB))
			}
		}
	}
	if same < 500 {
		t.Errorf("only %d pairs have the same elements", same)
	}
	const half = 1 << 62
	if got := Axes([]uint64{half, half}, []uint64{half, 4}); len(got) != 2 {
		t.Errorf("steps beyond 63 bits are %v", got)
	}
}

// placesOf returns where the elements of an array are, the first at 0, in the order of the storage.
func placesOf(shape, strides []uint64) []uint64 {
	list := []uint64{0}
	for i, n := range shape {
		var next []uint64
		for _, at := range list {
			for k := range n {
				next = append(next, at+k*strides[i])
			}
		}
		list = next
	}
	slices.Sort(list)
	return list
}
