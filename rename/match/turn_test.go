package match

import (
	"fmt"
	"testing"
)

// Words that lie turn no matrix that has a counterpart as it is: w2 is up here and w3 down,
// where LLaMA has them the other way round.
func TestWordsTurnNothing(t *testing.T) {
	side := func(gate, up, down string) []*Module {
		var list []Tensor
		for l := range 4 {
			for _, m := range []struct {
				name  string
				shape []uint64
			}{{gate, []uint64{352, 128}}, {up, []uint64{352, 128}}, {down, []uint64{128, 352}}} {
				list = append(list, Tensor{Name: fmt.Sprintf("layers.%d.mlp.%s.weight", l, m.name), Shape: m.shape})
			}
		}
		modules, err := Modules(list)
		if err != nil {
			t.Fatal(err)
		}
		return modules
	}
	s, err := Solve(side("w1", "w2", "w3"), side("gate", "up", "down"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Matches) != 3 {
		t.Errorf("%d matches, want 3", len(s.Matches))
	}
	for _, m := range s.Matches {
		if m.Form != Same {
			t.Errorf("%v becomes %v transposed", m.A, m.B)
		}
	}
}
