package infer

import (
	"fmt"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// A module whose shape no other has can only become what has that shape.
func TestInferForced(t *testing.T) {
	a, b := new(Inventory), new(Inventory)
	for l := range 3 {
		a.Tensors = append(a.Tensors, convention.Named{Name: fmt.Sprintf("h.%d.first.weight", l), Shape: []uint64{8, 4}})
		b.Tensors = append(b.Tensors, convention.Named{Name: fmt.Sprintf("layers.%d.up.weight", l), Shape: []uint64{8, 4}})
	}
	res, err := Infer(t.Context(), a, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Rules) != 1 || res.Rules[0].Class != Forced || res.Rules[0].Tensors != 3 {
		t.Errorf("%+v", res.Rules)
	}
}
