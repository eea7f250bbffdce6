package evidence

import (
	"fmt"
	"math"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

func TestProfile(t *testing.T) {
	const r, c = 1024, 128
	m := normal(1, r*c)
	common := normal(2, c)
	drift, large := make([]float64, len(m)), make([]float64, len(m))
	for i := range m {
		drift[i] = m[i] + common[i%c]/4 // a direction that all rows have in common
		large[i] = m[i] * math.Exp(float64(i%c)/c)
	}
	holed := append([]float64(nil), m...)
	holed[3] = math.Inf(1)
	a := open(t, weight{"plain", "F32", []int{r, c}, m}, weight{"drift", "F32", []int{r, c}, drift},
		weight{"large", "F32", []int{r, c}, large}, weight{"norm", "F32", []int{4}, []float64{1, -2, 4, 4}}, weight{"holed", "F32", []int{r, c}, holed})
	w := beside(t, a, nil)
	list, err := w.Profile(t.Context(), 'A', []string{"plain", "drift", "large", "norm", "holed"})
	if err != nil {
		t.Fatal(err)
	}
	if p := list[0]; p.MeanRow < 0.7 || p.MeanRow > 1.4 || p.Distinct < 30000 {
		t.Errorf("plain: %.2f, %d", p.MeanRow, p.Distinct)
	}
	// Every row has 1/16 of the square of its length in common with all others: 256 rows of it.
	if p := list[1]; p.MeanRow < 10 || p.MeanRow > 22 {
		t.Errorf("drift: %.2f", p.MeanRow)
	}
	if p := list[2]; math.Abs(p.Logs[c-1]-p.Logs[0]-1) > 0.3 {
		t.Errorf("large: %.2f", p.Logs[c-1]-p.Logs[0])
	}
	if p := list[3]; p.Distinct != 3 || p.MeanRow != 0 || math.Abs(p.Logs[1]-math.Log(2)) > 1e-9 {
		t.Errorf("norm: %+v", p)
	}
	if p := list[4]; math.IsNaN(p.MeanRow) || w.Skipped() != 1 {
		t.Errorf("holed: %.2f, %d rows skipped", p.MeanRow, w.Skipped())
	}
	if want := int64(4*256*c*4 + 4*4); w.Read() != want {
		t.Errorf("read %d bytes, want %d", w.Read(), want)
	}
	if _, err := w.Profile(t.Context(), 'B', []string{"plain"}); err == nil {
		t.Error("a side without weights has a profile")
	}
	if _, err := w.Profile(t.Context(), 'C', []string{"plain"}); err == nil {
		t.Error("there is no side C")
	}
}

// The rows of a gate have a direction in common in trained models, and those of the up projection
// beside it, whose units may have either sign, do not. Nor do those of a gate before training.
func TestProfileTrained(t *testing.T) {
	for _, tt := range []struct {
		file, gate, up string
		layers, right  int
		apart          float64
	}{
		{"tinyllama/A0", "model.layers.%d.mlp.gate_proj.weight", "model.layers.%d.mlp.up_proj.weight", 8, 8, 3},
		{"tinyllama/A1", "model.layers.%d.mlp.gate_proj.weight", "model.layers.%d.mlp.up_proj.weight", 8, 8, 3},
		{"tinyllama/cpt_s100", "model.layers.%d.mlp.gate_proj.weight", "model.layers.%d.mlp.up_proj.weight", 8, 8, 3},
		{"tinyllama/init0", "model.layers.%d.mlp.gate_proj.weight", "model.layers.%d.mlp.up_proj.weight", 8, 0, 1.5},
		{"models/stories260K-v3.gguf", "blk.%d.ffn_gate.weight", "blk.%d.ffn_up.weight", 5, 4, 1.5},
	} {
		w := beside(t, openFile(t, testdata.Path(t, tt.file)), nil)
		right := 0
		for l := range tt.layers {
			p, err := w.Profile(t.Context(), 'A', []string{fmt.Sprintf(tt.gate, l), fmt.Sprintf(tt.up, l)})
			if err != nil {
				t.Fatal(err)
			}
			if p[0].MeanRow > tt.apart*p[1].MeanRow {
				right++
			}
		}
		if right != tt.right {
			t.Errorf("%s: gates of %d layers have a direction, want %d", tt.file, right, tt.right)
		}
	}
}
