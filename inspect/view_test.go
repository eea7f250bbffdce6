package inspect

import (
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

func TestView(t *testing.T) {
	rel, err := checkpoint.Open(t.Context(), fixture.File(t, "m.safetensors", "tensor a F32 [2]\ntensor b F32 [3]"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	c := rel.Checkpoints[0]
	b := c.At(1)
	for _, tt := range []struct {
		v     View
		names []string
		bytes uint64
	}{
		{c, []string{"a", "b"}, 20},
		{ViewOf([]checkpoint.Tensor{b, {Name: "c"}, {Name: "c"}}), []string{"b", "c", "c"}, 12},
		{ViewOf(nil), nil, 0},
	} {
		var names []string
		for i, tensor := range tt.v.All() {
			if tt.v.At(i).Name != tensor.Name {
				t.Errorf("At(%d) is %q, and All gives %q", i, tt.v.At(i).Name, tensor.Name)
			}
			names = append(names, tensor.Name)
			if k, ok := tt.v.Lookup(tensor.Name); !ok || k != slices.Index(names, tensor.Name) {
				t.Errorf("Lookup(%q) = %d, %v", tensor.Name, k, ok)
			}
		}
		if !slices.Equal(names, tt.names) || tt.v.Len() != len(tt.names) {
			t.Errorf("%q, Len %d, want %q", names, tt.v.Len(), tt.names)
		}
		if _, ok := tt.v.Lookup("none"); ok {
			t.Error("there is no tensor of that name")
		}
		if total := wholeOf(new(checkpoint.Checkpoint), tt.v); total.Tensors != len(tt.names) || total.Bytes.N != tt.bytes {
			t.Errorf("%+v", total)
		}
	}
}
