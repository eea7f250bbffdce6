package evidence

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// rowsOf takes the rows of a matrix in an order.
func rowsIn(v []float64, cols int, order []int) []float64 {
	out := make([]float64, 0, len(order)*cols)
	for _, r := range order {
		out = append(out, v[r*cols:(r+1)*cols]...)
	}
	return out
}

// A fused layout is how the rows of query, key and value lie in one tensor: the number of each
// row among those of all three, one after the other. It is written with loops, so that it shares
// nothing with the operations.
func fusedLayouts(heads, kv, dim int) map[string][]int {
	q, k, v := heads*dim, kv*dim, kv*dim
	run := func(from, n int) []int {
		out := make([]int, n)
		for i := range out {
			out[i] = from + i
		}
		return out
	}
	// pairs takes rows of heads with the halves of each as neighbours.
	pairs := func(rows []int) []int {
		out := make([]int, len(rows))
		for i := range out {
			h, in := i/dim, i%dim
			out[i] = rows[h*dim+in/2+in%2*dim/2]
		}
		return out
	}
	Q, K, V := run(0, q), run(q, k), run(q+k, v)
	group := heads / kv
	var grouped, groupedPairs []int
	for g := range kv {
		grouped = slices.Concat(grouped, Q[g*group*dim:(g+1)*group*dim], K[g*dim:(g+1)*dim], V[g*dim:(g+1)*dim])
		groupedPairs = slices.Concat(groupedPairs, pairs(Q[g*group*dim:(g+1)*group*dim]), pairs(K[g*dim:(g+1)*dim]), V[g*dim:(g+1)*dim])
	}
	return map[string][]int{
		"qkv":           slices.Concat(Q, K, V),
		"kqv":           slices.Concat(K, Q, V),
		"qvk":           slices.Concat(Q, V, K),
		"grouped":       grouped,
		"qkv pairs":     slices.Concat(pairs(Q), pairs(K), V),
		"grouped pairs": groupedPairs,
	}
}

// fusedWays are the operations that take each of those layouts apart.
func fusedWays(heads, kv, dim int64) map[string][]tensorop.Op {
	q, k := heads*dim, kv*dim
	half := []tensorop.Op{
		{Kind: tensorop.Permute, Index: 0, Count: 1, Heads: heads, From: tensorop.Adjacent, To: tensorop.Half},
		{Kind: tensorop.Permute, Index: 1, Count: 1, Heads: kv, From: tensorop.Adjacent, To: tensorop.Half},
	}
	plain := tensorop.Op{Kind: tensorop.Split, Count: 1, Sizes: []int64{q, k, k}}
	grouped := tensorop.Op{Kind: tensorop.Split, Count: 1, Sizes: []int64{q, k, k}, Layout: tensorop.Grouped, Groups: kv}
	return map[string][]tensorop.Op{
		"qkv":           {plain},
		"kqv":           {{Kind: tensorop.Split, Count: 1, Sizes: []int64{k, q, k}}, {Kind: tensorop.Swap, Count: 2}},
		"qvk":           {plain, {Kind: tensorop.Swap, Index: 1, Count: 2}},
		"grouped":       {grouped},
		"qkv pairs":     append([]tensorop.Op{plain}, half...),
		"grouped pairs": append([]tensorop.Op{grouped}, half...),
	}
}

// check says whether the right way of a layout stands out, or none does.
func checkLayout(t *testing.T, about string, scores []float64, names []string, right string) {
	t.Helper()
	for i, s := range scores {
		switch {
		case names[i] == right && !(s >= 0.85):
			t.Errorf("%s: %s scores %.2f", about, right, s)
		case names[i] != right && right != "" && s > 0.7:
			t.Errorf("%s: %s scores %.2f, and %s is right", about, names[i], s, right)
		case right == "" && s > 0.05:
			t.Errorf("%s: %s scores %.2f of unrelated weights", about, names[i], s)
		}
	}
}

// The layout of a fused tensor is found in weights that were trained on, and is refused of
// unrelated ones.
func TestLayouts(t *testing.T) {
	const heads, kv, dim, cols = 8, 2, 16, 128
	const q, k = heads * dim, kv * dim
	all := normal(1, (q+2*k)*cols)
	b := open(t,
		weight{"q", "BF16", []int{q, cols}, all[:q*cols]},
		weight{"k", "BF16", []int{k, cols}, all[q*cols : (q+k)*cols]},
		weight{"v", "BF16", []int{k, cols}, all[(q+k)*cols:]})
	ways := fusedWays(heads, kv, dim)
	names := []string{"qkv", "kqv", "qvk", "grouped", "qkv pairs", "grouped pairs"}
	var list [][]tensorop.Op
	for _, n := range names {
		list = append(list, ways[n])
	}
	for name, order := range fusedLayouts(heads, kv, dim) {
		for _, cos := range []float64{1, 0.9, 0.7, 0} {
			fused := rowsIn(noise(all, cos, 2), cols, order)
			w := beside(t, open(t, weight{"wqkv", "BF16", []int{q + 2*k, cols}, fused}), b)
			scores, err := w.Layouts(t.Context(), []string{"wqkv"}, []string{"q", "k", "v"}, list)
			if err != nil {
				t.Fatal(err)
			}
			right := name
			if cos == 0 {
				right = ""
			}
			checkLayout(t, fmt.Sprintf("%s at %.1f", name, cos), scores, names, right)
		}
	}
}

// tensorOf is all numbers of a tensor.
func tensorOf(t *testing.T, c *checkpoint.Checkpoint, name string) []float64 {
	t.Helper()
	i, ok := c.Lookup(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	sec, err := values.SectionOf(c, i)
	if err != nil {
		t.Fatal(err)
	}
	raw := make([]byte, sec.Data.Size())
	if _, err := sec.Data.ReadAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	n, _ := c.At(i).Elements()
	out := make([]float64, n)
	sec.Type.Decode64(out, raw)
	return out
}

// The same of trained models: a fused one of A0's, against A0 and what was trained from it.
func TestLayoutsTrained(t *testing.T) {
	const heads, kv, dim, cols = 8, 2, 16, 128
	ways := fusedWays(heads, kv, dim)
	names := []string{"qkv", "kqv", "qvk", "grouped", "qkv pairs", "grouped pairs"}
	var list [][]tensorop.Op
	for _, n := range names {
		list = append(list, ways[n])
	}
	a0 := tiny(t, "A0")
	for name, order := range fusedLayouts(heads, kv, dim) {
		for _, layer := range []int{0, 3, 7} {
			var all []float64
			for _, r := range []string{"q", "k", "v"} {
				all = append(all, tensorOf(t, a0, fmt.Sprintf("model.layers.%d.self_attn.%s_proj.weight", layer, r))...)
			}
			a := open(t, weight{"wqkv", "BF16", []int{(heads + 2*kv) * dim, cols}, rowsIn(all, cols, order)})
			for _, other := range []string{"A0", "sft", "cpt_s100", "A1"} {
				var to []string
				for _, r := range []string{"q", "k", "v"} {
					to = append(to, fmt.Sprintf("model.layers.%d.self_attn.%s_proj.weight", layer, r))
				}
				scores, err := beside(t, a, tiny(t, other)).Layouts(t.Context(), []string{"wqkv"}, to, list)
				if err != nil {
					t.Fatal(err)
				}
				right := name
				if other == "A1" {
					right = ""
				}
				checkLayout(t, fmt.Sprintf("%s, layer %d, %s", name, layer, other), scores, names, right)
			}
		}
	}
}

// Other ways: packing, stacks of experts, columns, transposition, what does not fit, and what is
// the same twice.
func TestLayoutsOfOtherKinds(t *testing.T) {
	const r, c = 96, 128
	g, u, d := normal(1, r*c), normal(2, r*c), normal(3, r*c)
	var experts []float64
	for e := range uint64(6) {
		experts = append(experts, normal(10+e, r*c)...)
	}
	var aside []float64 // g and u side by side
	for i := range r {
		aside = append(append(aside, g[i*c:(i+1)*c]...), u[i*c:(i+1)*c]...)
	}
	a := open(t,
		weight{"up-gate", "F32", []int{2 * r, c}, slices.Concat(u, g)},
		weight{"stack", "F32", []int{6, r, c}, experts},
		weight{"turned", "F32", []int{c, r}, transposed(d, r)},
		weight{"square", "F32", []int{r, r}, transposed(normal(4, r*r), r)},
		weight{"aside", "F32", []int{r, 2 * c}, aside},
		weight{"copies", "F32", []int{2 * r, c}, slices.Concat(g, g)},
	)
	bs := []weight{
		{"gate", "F32", []int{r, c}, g}, {"up", "F32", []int{r, c}, u}, {"down", "F32", []int{r, c}, d}, {"square", "F32", []int{r, r}, normal(4, r*r)},
	}
	var names []string
	for e := range 6 {
		names = append(names, fmt.Sprint("expert", e))
		bs = append(bs, weight{names[e], "F32", []int{r, c}, experts[e*r*c : (e+1)*r*c]})
	}
	b := open(t, bs...)
	split := tensorop.Op{Kind: tensorop.Split, Count: 1}
	swap := tensorop.Op{Kind: tensorop.Swap, Count: 2}
	interleaved := tensorop.Op{Kind: tensorop.Split, Count: 1, Layout: tensorop.Interleaved}
	turn := tensorop.Op{Kind: tensorop.Transpose, Count: 1}
	columns := tensorop.Op{Kind: tensorop.Split, Count: 1, Axis: 1}
	unstack := tensorop.Op{Kind: tensorop.Unstack, Count: 1, Sizes: []int64{1, 1, 1, 1, 1, 1}}
	tests := []struct {
		a, b  []string
		ways  [][]tensorop.Op
		want  []float64
		about string
	}{
		{[]string{"up-gate"}, []string{"gate", "up"}, [][]tensorop.Op{{split}, {split, swap}, {interleaved}}, []float64{0, 1, 0}, "packing"},
		{[]string{"stack"}, names, [][]tensorop.Op{{unstack}, {unstack, swap}}, []float64{1, 4. / 6}, "experts"},
		{[]string{"turned"}, []string{"down"}, [][]tensorop.Op{{turn}, {}}, []float64{1, 0}, "transposition"},
		{[]string{"square"}, []string{"square"}, [][]tensorop.Op{{}, {turn}}, []float64{0, 1}, "a square"},
		{[]string{"aside"}, []string{"gate", "up"}, [][]tensorop.Op{{columns}, {columns, swap}}, []float64{1, 0}, "columns"},
		{[]string{"up-gate"}, []string{"gate", "up"}, [][]tensorop.Op{{split, swap}, {swap}, {split, swap, swap, swap}}, []float64{1, 0, math.NaN()}, "the same twice"},
		{[]string{"copies"}, []string{"gate", "up"}, [][]tensorop.Op{{split}, {split, swap}}, []float64{0.5, 0.5}, "copies"},
		{[]string{"up-gate"}, []string{"gate", "up"}, [][]tensorop.Op{{split, swap, {Kind: tensorop.Scale, Count: 1, Value: 2}}}, []float64{1}, "what computes"},
	}
	for _, tt := range tests {
		got, err := beside(t, a, b).Layouts(t.Context(), tt.a, tt.b, tt.ways)
		if err != nil {
			t.Errorf("%s: %v", tt.about, err)
			continue
		}
		for i, s := range got {
			if math.IsNaN(s) != math.IsNaN(tt.want[i]) || math.Abs(s-tt.want[i]) > 0.02 {
				t.Errorf("%s: %.2f, want %.2f", tt.about, got, tt.want)
				break
			}
		}
	}
}
