package stats

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/values"
)

func figures(numbers ...float32) *values.Stats {
	typ, _ := values.Lookup("F32")
	var b []byte
	for _, v := range numbers {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	a := values.NewAccumulator(typ, nil)
	a.Add(b)
	s := a.Stats()
	return &s
}

func TestSplit(t *testing.T) {
	tests := []struct {
		name, template string
		layer          int
	}{
		{"model.layers.12.mlp.up_proj.weight", "model.layers.{layer}.mlp.up_proj.weight", 12},
		{"model.layers.3.mlp.experts.7.w1.weight", "model.layers.{layer}.mlp.experts.*.w1.weight", 3},
		{"blk.0.attn_q.weight", "blk.{layer}.attn_q.weight", 0},
		{"model.norm.weight", "model.norm.weight", -1},
		{"x.99999999999999999999.w", "x.99999999999999999999.w", -1},
		{"", "", -1},
	}
	for _, tt := range tests {
		if template, layer := Split(tt.name); template != tt.template || layer != tt.layer {
			t.Errorf("Split(%q) = %q, %d; want %q, %d", tt.name, template, layer, tt.template, tt.layer)
		}
	}
}

// The figures of a layer are those of all its numbers, however they are spread
// over tensors.
func TestMerge(t *testing.T) {
	parts := [][]float32{{1, 2, 3}, {}, {1e6, -4}, {float32(math.NaN())}, {0, float32(math.Inf(1)), 5}}
	var c Collector
	var all []float32
	for i, p := range parts {
		c.Add(fmt.Sprintf("layers.1.experts.%d.w", i), figures(p...))
		all = append(all, p...)
	}
	want := figures(all...)
	got := c.Templates()[0].Layers[0]
	if got.Tensors != len(parts) || got.Count != want.Count || got.NaN != 1 || got.Inf != 1 || got.Zeros != 1 {
		t.Errorf("counts of %+v", got)
	}
	for _, f := range []struct {
		name      string
		got, want float64
	}{
		{"min", got.Min, want.Min},
		{"max", got.Max, want.Max},
		{"mean", got.Mean, want.Mean},
		{"std", got.Std, want.Std},
		{"abs max", got.AbsMax, want.AbsMax},
	} {
		if math.Abs(f.got-f.want) > 1e-12*math.Abs(f.want) {
			t.Errorf("%s %v, want %v", f.name, f.got, f.want)
		}
	}
}

func TestOdd(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	// Layers drift: from 1 to 2, the last twice as wide as the first.
	drift := func(i int) []float32 {
		v := 1 + float32(i)/10
		return []float32{-v, v, v / 2}
	}
	tests := []struct {
		name  string
		layer func(i int) []float32
		want  []string // "layer: why"
	}{
		{"drift", drift, nil},
		{"wide", func(i int) []float32 {
			if i == 7 {
				return []float32{-50, 50, 0}
			}
			return drift(i)
		}, []string{"7: std 40.8, median 1.23"}},
		{"one far number", func(i int) []float32 {
			v := make([]float32, 100000)
			for k := range v {
				v[k] = float32(k%3-1) * float32(10+i) / 10
			}
			if i == 2 {
				v[5] = 30
			}
			return v
		}, []string{"2: abs max 30, median 1.55"}},
		{"dead, and not a number", func(i int) []float32 {
			switch i {
			case 3:
				return []float32{0, 0, 0}
			case 4:
				return []float32{0.5, 0.5}
			case 5:
				return append(drift(i), nan, nan)
			case 6:
				return append(drift(i), -inf)
			case 8:
				return []float32{nan}
			}
			return drift(i)
		}, []string{"3: all zero", "4: all 0.5", "5: 2 NaN", "6: 1 infinite", "8: 1 NaN"}},
		{"new norms", func(int) []float32 { return []float32{1, 1, 1} }, nil},
		{"one norm trained", func(i int) []float32 {
			if i == 0 {
				return []float32{1, 1.5}
			}
			return []float32{1, 1, 1}
		}, nil},
		{"scalars", func(int) []float32 { return []float32{3} }, nil},
		{"empty", func(int) []float32 { return nil }, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var c Collector
			for i := range 10 {
				c.Add(fmt.Sprintf("blk.%d.w", 9-i), figures(tt.layer(9-i)...))
			}
			var got []string
			for _, l := range c.Templates()[0].Layers {
				if len(l.Odd) > 0 {
					got = append(got, fmt.Sprintf("%d: %s", l.Number, strings.Join(l.Odd, ", ")))
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Layers are as many as the names of a file say: to judge them does not take the
// square of that, which would be minutes.
func TestManyLayers(t *testing.T) {
	if testing.Short() {
		t.Skip("many layers")
	}
	var c Collector
	const layers = 100_000
	var kinds [7]*values.Stats
	for i := range kinds {
		kinds[i] = figures(1, float32(2+i))
	}
	for i := range layers {
		c.Add(fmt.Sprintf("layers.%d.w", i), kinds[i%len(kinds)])
	}
	c.Add("layers.77.w", figures(1e6))
	got := c.Templates()
	if len(got) != 1 || len(got[0].Layers) != layers {
		t.Fatal("not one template of all layers")
	}
	for _, l := range got[0].Layers {
		if (len(l.Odd) > 0) != (l.Number == 77) {
			t.Errorf("layer %d: %q", l.Number, l.Odd)
		}
	}
}
