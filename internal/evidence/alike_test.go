package evidence

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/infer"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// What is known of a pair is what the test made of it.
func TestAlike(t *testing.T) {
	const r, c = 96, 128
	m := normal(1, r*c)
	v := each(normal(2, c), func(x float64) float64 { return 1 + 5*x })
	bf16 := func(v []float64) []float64 {
		w := weight{dtype: "BF16", v: v}
		out, b := make([]float64, len(v)), w.bytes()
		for i := range out {
			out[i] = float64(math.Float32frombits(uint32(b[2*i])<<16 | uint32(b[2*i+1])<<24))
		}
		return out
	}
	holed := slices.Clone(m)
	for i := range c {
		holed[48*c+i] = math.NaN()
	}
	log := each(normal(3, c*16), func(x float64) float64 { return math.Log(1 + math.Abs(100*x)) })
	tests := []struct {
		name     string
		a, b     weight
		equal    bool
		cos      [2]float64
		z        [2]float64
		op       tensorop.Kind
		value    float64
		skipped  int64
		nothing  bool // not informative
		rounding bool
		rounded  bool
	}{
		{name: "copy", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "F32", []int{r, c}, m}, equal: true, cos: [2]float64{1, 1}, z: [2]float64{20, 40}},
		{name: "rounded", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "BF16", []int{r, c}, m}, equal: true, cos: [2]float64{0.9999, 1}, z: [2]float64{20, 40}, rounded: true},
		{name: "widened", a: weight{"", "BF16", []int{r, c}, m}, b: weight{"", "F32", []int{r, c}, bf16(m)}, equal: true, cos: [2]float64{1, 1}, z: [2]float64{20, 40}},
		{name: "tuned", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "F32", []int{r, c}, noise(m, 0.9, 7)}, cos: [2]float64{0.85, 0.95}, z: [2]float64{15, 35}},
		{name: "unrelated", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "F32", []int{r, c}, normal(8, r*c)}, cos: [2]float64{-0.15, 0.15}, z: [2]float64{-4, 4}},
		{name: "transposed", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "F32", []int{c, r}, transposed(m, r)}, equal: true, cos: [2]float64{1, 1}, z: [2]float64{20, 40}},
		{name: "transposed and tuned", a: weight{"", "F32", []int{c, r}, transposed(m, r)}, b: weight{"", "F32", []int{r, c}, noise(m, 0.8, 9)}, cos: [2]float64{0.7, 0.9}, z: [2]float64{12, 35}},
		{name: "other shape", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "F32", []int{r * 2, c / 2}, m}, nothing: true},
		{name: "vector", a: weight{"", "F32", []int{c}, v}, b: weight{"", "F32", []int{1, c}, v}, equal: true, cos: [2]float64{1, 1}, z: [2]float64{11, 12}},
		{name: "norms of unrelated models", a: weight{"", "F32", []int{c}, v}, b: weight{"", "F32", []int{c}, each(normal(4, c), func(x float64) float64 { return 1 + 5*x })}, cos: [2]float64{-0.3, 0.3}, z: [2]float64{-4, 4}},
		{name: "ones", a: weight{"", "F32", []int{c}, each(v, func(float64) float64 { return 1 })}, b: weight{"", "F32", []int{c}, each(v, func(float64) float64 { return 1 })}, equal: true, nothing: true},
		{name: "NaN", a: weight{"", "F32", []int{r, c}, holed}, b: weight{"", "F32", []int{r, c}, m}, equal: true, cos: [2]float64{1, 1}, z: [2]float64{20, 40}, skipped: 1},
		{name: "more by one", a: weight{"", "BF16", []int{c}, v}, b: weight{"", "F32", []int{c}, each(bf16(v), func(x float64) float64 { return x + 1 })}, cos: [2]float64{0.9999, 1}, z: [2]float64{11, 12}, op: tensorop.Offset, value: 1, nothing: true},
		{name: "half", a: weight{"", "F32", []int{r, c}, m}, b: weight{"", "F32", []int{r, c}, each(m, func(x float64) float64 { return x / 2 })}, cos: [2]float64{0.9999, 1}, z: [2]float64{20, 40}, op: tensorop.Scale, value: 0.5},
		{name: "decay", a: weight{"", "F32", []int{c, 16}, log}, b: weight{"", "F32", []int{c, 16}, each(log, func(x float64) float64 { return -math.Exp(float64(float32(x))) })}, cos: [2]float64{-1, 0}, z: [2]float64{-45, -20}, op: tensorop.NegativeExp, rounding: true},
		{name: "convolution", a: weight{"", "F32", []int{8, 128, 3, 3}, normal(5, 8*128*9)}, b: weight{"", "F32", []int{8, 128, 3, 3}, normal(5, 8*128*9)}, equal: true, cos: [2]float64{1, 1}, z: [2]float64{60, 100}},
		{name: "short rows", a: weight{"", "F32", []int{256, 1, 4}, normal(6, 1024)}, b: weight{"", "F32", []int{256, 4}, noise(normal(6, 1024), 0.9, 3)}, cos: [2]float64{0.85, 0.95}, z: [2]float64{15, 32}},
	}
	for _, tt := range tests {
		tt.a.name, tt.b.name = "a", "b"
		w := beside(t, open(t, tt.a), open(t, tt.b))
		list, err := w.Alike(t.Context(), []infer.Pair{{A: "a", B: "b"}})
		if err != nil {
			t.Fatal(err)
		}
		l := list[0]
		if l.Equal != tt.equal || l.Rounded != tt.rounded || l.Informative == tt.nothing ||
			l.Cosine < tt.cos[0]-1e-9 || l.Cosine > tt.cos[1]+1e-9 || l.Z < tt.z[0] || l.Z > tt.z[1] || w.Skipped() != tt.skipped {
			t.Errorf("%s: %+v, %d skipped", tt.name, l, w.Skipped())
		}
		var op tensorop.Op
		if n := len(l.Ops); n > 0 {
			op = l.Ops[n-1]
		}
		if op.Kind != tt.op || op.Value != tt.value || op.Round != tt.rounding {
			t.Errorf("%s: %+v; want %s of %v", tt.name, l.Ops, tt.op, tt.value)
		}
	}
}

// The closed form is the variance over all orders of the columns: many orders, drawn, give
// the same.
func TestLikenessClosedForm(t *testing.T) {
	const rows, cols, draws = 8, 96, 3000
	for _, cos := range []float64{0, 0.3, 1} {
		a := standard(&block{rows, cols, normal(1, rows*cols)})
		b := standard(&block{rows, cols, noise(normal(1, rows*cols), cos, 2)})
		r := rand.New(rand.NewPCG(3, 3))
		sum := 0.0
		for range draws {
			order, s := r.Perm(cols), 0.0
			for i := range rows {
				x, y := a.row(i), b.row(i)
				for j := range cols {
					s += x[j] * y[order[j]]
				}
			}
			sum += s * s
		}
		s := 0.0
		for i := range a.v {
			s += a.v[i] * b.v[i]
		}
		drawn, z := s/math.Sqrt(sum/draws), likeness(&look{std: a, gram: gram(a)}, &look{std: b, gram: gram(b)})
		if math.Abs(z-drawn) > 0.05*max(1, math.Abs(drawn)) {
			t.Errorf("cosine %.1f: z is %.2f, and %.2f of %d orders", cos, z, drawn, draws)
		}
	}
}

// Unrelated weights are within what chance gives, also where the same channels are large in
// both models, as they are in models that were trained alike.
func TestLikenessOfUnrelated(t *testing.T) {
	const rows, cols, n = 8, 128, 400
	sum, square, most, raw := 0.0, 0.0, 0.0, 0.0
	for i := range uint64(n) {
		x := &look{raw: &block{rows, cols, normal(2*i, rows*cols)}}
		y := &look{raw: &block{rows, cols, normal(2*i+1, rows*cols)}}
		a, b := x.raw, y.raw
		for r := range rows {
			for _, c := range []int{3, 77} {
				a.row(r)[c] *= 30
				b.row(r)[c] *= 30
			}
		}
		x.finish()
		y.finish()
		z := likeness(x, y)
		sum, square, most = sum+z, square+z*z, max(most, math.Abs(z))
		raw = max(raw, math.Abs(cosine(a.v, b.v, false))*math.Sqrt(rows*cols))
	}
	m, sd := sum/n, math.Sqrt(square/n)
	if math.Abs(m) > 0.2 || sd < 0.85 || sd > 1.15 || most > 4.5 {
		t.Errorf("mean %.2f, standard deviation %.2f, at most %.2f", m, sd, most)
	}
	if raw < 8 { // the witness: what is not made standard is fooled
		t.Errorf("the cosine alone is only %.1f deviations away", raw)
	}
}

// A query is recognised whether rotary embedding pairs its rows as halves or as neighbours.
func TestAlikeInSpiteOfRotaryOrder(t *testing.T) {
	for _, shape := range []struct{ heads, dim int }{{8, 16}, {9, 64}, {32, 80}, {2, 16}, {6, 128}} {
		const cols = 128
		rows := shape.heads * shape.dim
		half := normal(1, rows*cols)
		neighbours := make([]float64, len(half))
		for r := range rows {
			h, in := r/shape.dim, r%shape.dim
			from := h*shape.dim + in/2 + in%2*shape.dim/2
			copy(neighbours[r*cols:(r+1)*cols], half[from*cols:])
		}
		w := beside(t, open(t, weight{"q", "F32", []int{rows, cols}, half}), open(t, weight{"q", "F32", []int{rows, cols}, neighbours}))
		l, err := w.Alike(t.Context(), []infer.Pair{{A: "q", B: "q"}})
		if err != nil || l[0].Z < 5 || l[0].Equal {
			t.Errorf("%+v: %+v, %v", shape, l, err)
		}
	}
}

// The trained models are what they are known to be.
func TestAlikeTrained(t *testing.T) {
	a := tiny(t, "A0")
	roles := []string{"input_layernorm", "post_attention_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}
	for _, tt := range []struct {
		name    string
		equal   float64 // least share
		related bool
	}{{"A0", 1, true}, {"lora", 0.7, true}, {"sft", 0, true}, {"cpt_s100", 0, true}, {"A1", 0, false}} {
		w := beside(t, a, tiny(t, tt.name))
		var pairs []infer.Pair
		for l := range 8 {
			for _, r := range roles {
				for _, s := range roles {
					pairs = append(pairs, infer.Pair{A: fmt.Sprintf("model.layers.%d.%s.weight", l, r), B: fmt.Sprintf("model.layers.%d.%s.weight", l, s)})
				}
			}
		}
		list, err := w.Alike(t.Context(), pairs)
		if err != nil {
			t.Fatal(err)
		}
		equal := 0
		for i, l := range list {
			same := pairs[i].A == pairs[i].B
			if same && l.Equal {
				equal++
			}
			if same && tt.related && l.Z < 8 || !(same && tt.related) && l.Z > 5 {
				t.Errorf("%s: %v: z is %.1f", tt.name, pairs[i], l.Z)
			}
		}
		if share := float64(equal) / float64(8*len(roles)); share < tt.equal {
			t.Errorf("%s: %.2f of the tensors are equal", tt.name, share)
		}
	}
}

// Quantised and big-endian files are read as what they mean.
func TestAlikeTypes(t *testing.T) {
	a := openFile(t, testdata.Path(t, "models/stories260K-v3.gguf"))
	for _, tt := range []struct {
		file  string
		equal bool
	}{{"stories260K-big-endian.gguf", true}, {"stories260K-Q8_0.gguf", false}, {"stories260K-Q4_0.gguf", false}} {
		b := openFile(t, testdata.Path(t, "models/"+tt.file))
		var pairs []infer.Pair
		for _, x := range a.All() {
			pairs = append(pairs, infer.Pair{A: x.Name, B: x.Name})
		}
		list, err := beside(t, a, b).Alike(t.Context(), pairs)
		if err != nil {
			t.Fatal(err)
		}
		for i, l := range list {
			if tt.equal && !l.Equal || l.Z < 5 || l.Cosine < 0.98 {
				t.Errorf("%s: %s: %+v", tt.file, pairs[i].A, l)
			}
		}
	}
}

// What is read is counted, once, and no more than allowed; the answer does not depend on the workers.
func TestReading(t *testing.T) {
	const n, r, c = 12, 512, 128
	var as, bs []weight
	var pairs []infer.Pair
	for i := range n {
		v := normal(uint64(i), r*c)
		as = append(as, weight{fmt.Sprint("t", i), "BF16", []int{r, c}, v})
		bs = append(bs, weight{fmt.Sprint("t", i), "BF16", []int{r, c}, noise(v, 0.8, uint64(100+i))})
		for j := range n {
			pairs = append(pairs, infer.Pair{A: fmt.Sprint("t", i), B: fmt.Sprint("t", j)})
		}
	}
	a, b := open(t, as...), open(t, bs...)
	const need = 2 * n * sampled * c * 2
	var answers [2][]infer.Likeness
	for i, workers := range []int{1, 7} {
		w, err := New(a, b, Options{Workers: workers, MaxBytes: need})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if answers[i], err = w.Alike(t.Context(), pairs); err != nil || w.Read() != need {
				t.Fatalf("read %d bytes, %v; want %d", w.Read(), err, need)
			}
		}
	}
	if !reflect.DeepEqual(answers[0], answers[1]) {
		t.Error("the answer depends on the number of workers")
	}
	w, _ := New(a, b, Options{MaxBytes: need - 1})
	var budget *BudgetError
	if _, err := w.Alike(t.Context(), pairs); !errors.As(err, &budget) || budget.Need != need || w.Read() != 0 {
		t.Errorf("%v after %d bytes; want to be told of %d", err, w.Read(), need)
	}
	if _, err := w.Alike(t.Context(), pairs[:1]); err != nil { // a smaller question still has an answer
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := beside(t, a, b).Alike(ctx, pairs); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := w.Alike(t.Context(), []infer.Pair{{A: "t0", B: "nothing"}}); err == nil {
		t.Error("a tensor that does not exist was compared")
	}
}
