package match

import "testing"

// A scalar is no vector, however it is turned.
func TestFormOfScalar(t *testing.T) {
	scalar, vector := &Module{Shape: []uint64{}}, &Module{Shape: []uint64{16}}
	for _, m := range []*Module{scalar, vector} {
		m.Leaves = make([]Leaf, 1)
	}
	if f, ok := form(scalar, vector); ok {
		t.Errorf("a scalar becomes a vector: %v", f)
	}
	if f, ok := form(vector, scalar); ok {
		t.Errorf("a vector becomes a scalar: %v", f)
	}
}
