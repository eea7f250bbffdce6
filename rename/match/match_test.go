package match

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// The assignment is that which trying all of them finds, and without a pair it is the
// best of those that lack it.
func TestAssign(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows, cols := rapid.IntRange(0, 4).Draw(t, "rows"), rapid.IntRange(0, 4).Draw(t, "cols")
		cost := make([][]float64, rows)
		for i := range cost {
			cost[i] = make([]float64, cols)
			for j := range cost[i] {
				cost[i][j] = float64(rapid.IntRange(-9, 9).Draw(t, "cost"))
				if rapid.IntRange(0, 3).Draw(t, "none") == 0 {
					cost[i][j] = math.Inf(1)
				}
			}
		}
		price := func(what string, n int) []float64 {
			list := make([]float64, n)
			for i := range list {
				list[i] = float64(rapid.IntRange(0, 5).Draw(t, what))
			}
			return list
		}
		row, col := price("row", rows), price("col", cols)
		// best tries everything but one pair.
		var best func(i int, taken []bool, fi, fj int) float64
		best = func(i int, taken []bool, fi, fj int) float64 {
			if i == rows {
				sum := 0.0
				for j := range cols {
					if !taken[j] {
						sum += col[j]
					}
				}
				return sum
			}
			least := row[i] + best(i+1, taken, fi, fj)
			for j := range cols {
				if !taken[j] && (i != fi || j != fj) {
					taken[j] = true
					least = min(least, cost[i][j]+best(i+1, taken, fi, fj))
					taken[j] = false
				}
			}
			return least
		}
		a := assign(rows, cols, func(i, j int) float64 { return cost[i][j] }, func(i int) float64 { return row[i] }, func(j int) float64 { return col[j] })
		if want := best(0, make([]bool, cols), -1, -1); math.Abs(a.total-want) > 1e-9 {
			t.Fatalf("%v, want %v", a.total, want)
		}
		// Without some of both it is what it would be if they had never been there.
		some := func(what string, n int) (gone, left []int) {
			for i := range n {
				if rapid.Bool().Draw(t, what) {
					gone = append(gone, i)
				} else {
					left = append(left, i)
				}
			}
			return gone, left
		}
		noRows, someRows := some("no row", rows)
		noCols, someCols := some("no col", cols)
		fewer := assign(len(someRows), len(someCols), func(i, j int) float64 { return cost[someRows[i]][someCols[j]] },
			func(i int) float64 { return row[someRows[i]] }, func(j int) float64 { return col[someCols[j]] })
		if got, _ := a.less(noRows, noCols); math.Abs(got-fewer.total) > 1e-9 {
			t.Fatalf("%v without rows %v and columns %v, want %v", got, noRows, noCols, fewer.total)
		}
		for j, i := range a.ofCol {
			if i < 0 {
				continue
			}
			if got, want := a.without(i, j).total, best(0, make([]bool, cols), i, j); math.Abs(got-want) > 1e-9 {
				t.Fatalf("without %d %d: %v, want %v", i, j, got, want)
			}
		}
	})
}

func TestWords(t *testing.T) {
	for name, want := range map[string][]string{
		"self_attn.q_proj":         {"self", "attn", "q", "proj"},
		"ln_1":                     {"ln1"},
		"SelfAttention":            {"self", "attention"},
		"dense_4h_to_h":            {"dense", "4h", "to", "h"},
		"W_pack":                   {"w", "pack"},
		"output.LayerNorm":         {"output", "layer", "norm"},
		"norm_attn_norm.attn.Wqkv": {"norm", "attn", "norm", "attn", "wqkv"},
	} {
		if d := cmp.Diff(want, words(name)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// What names mean, in a block that has them all.
func TestMeaning(t *testing.T) {
	for _, tt := range []struct {
		names []string
		want  []Meaning
	}{
		{
			[]string{"layers.0.input_layernorm.weight", "layers.0.post_attention_layernorm.weight", "layers.0.self_attn.o_proj.weight", "layers.1.self_attn.o_proj.weight", "layers.0.mlp.gate.weight"},
			[]Meaning{{Block: "attn", Parts: []string{"norm"}, Before: true}, {Block: "mlp", Parts: []string{"norm"}}, {Block: "attn", Parts: []string{"o"}}, {Block: "mlp", Parts: []string{"gate"}}},
		},
		{
			[]string{"layers.0.post_attention_layernorm.weight", "layers.1.post_attention_layernorm.weight", "layers.0.pre_feedforward_layernorm.weight", "layers.0.q_norm.weight"},
			[]Meaning{{Block: "attn", Parts: []string{"post_norm"}}, {Block: "mlp", Parts: []string{"norm"}, Before: true}, {Block: "attn", Parts: []string{"q_norm"}}},
		},
		{
			[]string{"h.0.moe.gate.weight", "h.1.moe.gate.weight", "h.0.moe.experts.0.gate_proj.weight", "h.1.moe.experts.0.gate_proj.weight", "h.1.moe.experts.1.gate_proj.weight"},
			[]Meaning{{Block: "mlp", Parts: []string{"router"}}, {Block: "mlp", Sub: "expert", Parts: []string{"gate"}}},
		},
		{
			[]string{"wte.weight", "wpe.weight", "ln_f.weight", "lm_head.weight", "rotary_emb.inv_freq"},
			[]Meaning{{Block: "embed", Parts: []string{"tokens"}}, {Block: "embed", Parts: []string{"positions"}}, {Block: "final", Parts: []string{"norm"}}, {Block: "head", Parts: []string{"head"}}, {Buffer: true}},
		},
		{
			[]string{"h.0.mlp.w1.weight", "h.1.mlp.w1.weight", "h.0.ln_1.weight", "h.0.attn.c_proj.weight", "h.0.attn.query_key_value.weight"},
			[]Meaning{{Block: "mlp", Parts: []string{"gate"}, Weak: true}, {Block: "attn", Parts: []string{"norm"}, Weak: true}, {Block: "attn", Parts: []string{"o"}, Weak: true}, {Block: "attn", Parts: []string{"q", "k", "v"}}},
		},
		{ // in TensorRT-LLM the gate is the up projection
			[]string{"h.0.mlp.gate.weight", "h.0.mlp.fc.weight", "h.0.mlp.proj.weight"},
			[]Meaning{{Block: "mlp", Parts: []string{"gate"}, Weak: true}, {Block: "mlp", Parts: []string{"up"}, Weak: true}, {Block: "mlp", Parts: []string{"down"}, Weak: true}},
		},
		{ // TensorFlow
			[]string{"model/h0/ln_1/g", "model/h1/ln_1/g", "model/h0/ln_1/b", "model/h1/ln_1/b", "model/h0/attn/c_attn/w", "model/h1/attn/c_attn/w", "model/h0/attn/query/w", "model/h1/attn/query/w"},
			[]Meaning{{Block: "attn", Parts: []string{"norm"}, Weak: true}, {Block: "attn"}, {Block: "attn", Parts: []string{"q"}}},
		},
		{ // torch.nn.MultiheadAttention, beside Mamba
			[]string{"conv_proj.weight", "cls_token", "h.0.attn.in_proj_weight", "h.0.attn.in_proj_bias", "h.0.mixer.in_proj.weight"},
			[]Meaning{{Block: "embed", Parts: []string{"patch"}}, {Block: "embed", Parts: []string{"class"}}, {Block: "attn", Parts: []string{"q", "k", "v"}}, {}},
		},
	} {
		var tensors []Tensor
		for _, n := range tt.names {
			tensors = append(tensors, Tensor{Name: n})
		}
		list, err := Modules(tensors)
		if err != nil {
			t.Fatal(err)
		}
		byOrder := make(map[int]Meaning)
		for _, m := range list {
			byOrder[m.order] = m.Meaning
		}
		var got []Meaning
		for i := range tt.names {
			if m, ok := byOrder[i]; ok {
				got = append(got, m)
			}
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%v: %s", tt.names, d)
		}
	}
}

// Numbers by which shapes differ tell projections apart, and so do two or three that a leaf follows. Four
// of one shape count, as does what follows a word for layers or experts.
func TestNumbersOfModules(t *testing.T) {
	var tensors []Tensor
	add := func(name string, shape ...uint64) { tensors = append(tensors, Tensor{Name: name, Shape: shape}) }
	for _, l := range []string{"0", "1", "2", "3", "4"} {
		p := "layer_" + l + "/"
		add(p+"self_attention/linear_0/weight", 96, 64)
		add(p+"self_attention/linear_1/weight", 64, 64)
		add(p+"wi_0/weight", 96, 64)
		add(p+"wi_1/weight", 96, 64)
		add(p+"norms/0/weight", 64)
		add(p+"norms/1/weight", 64)
		for _, n := range []string{"0", "1", "2", "3"} {
			add(p+"part_"+n+"/weight", 64, 64)
		}
		for _, n := range []string{"0", "1"} {
			add(p+"experts/"+n+"/weight", 64, 64)
			add(p+"stage_"+n+"/conv/weight", 64, 64)
		}
	}
	for _, n := range []string{"0", "1", "2", "3"} {
		add("codebook."+n+".weight", 99, 64)
	}
	add("t0", 96, 64)
	add("t1", 96, 64)
	add("t2", 64)
	list, err := Modules(tensors)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, m := range list {
		got = append(got, m.String())
	}
	want := []string{
		"codebook.{}", "layer_{}/experts/{}", "layer_{}/norms/0", "layer_{}/norms/1", "layer_{}/part_{}", "layer_{}/self_attention/linear_0",
		"layer_{}/self_attention/linear_1", "layer_{}/stage_{}/conv", "layer_{}/wi_0", "layer_{}/wi_1", "t0", "t1", "t2",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// A weight, its bias and what quantisation puts beside it are one module.
func TestModules(t *testing.T) {
	names := []string{
		"l.0.q.weight", "l.0.q.bias", "l.1.q.weight", "l.1.q.bias",
		"l.0.k.qweight", "l.0.k.scales", "l.1.k.qweight", "l.1.k.scales",
		"l.0.experts.gate_up_proj_blocks", "l.0.experts.gate_up_proj_scales", "l.0.experts.gate_up_proj_bias", "l.1.experts.gate_up_proj_blocks", "l.1.experts.gate_up_proj_scales", "l.1.experts.gate_up_proj_bias",
		"norm.gamma", "norm.beta",
	}
	var tensors []Tensor
	for _, n := range names {
		tensors = append(tensors, Tensor{Name: n})
	}
	list, err := Modules(tensors)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string][]string)
	for _, m := range list {
		for _, l := range m.Leaves {
			got[m.String()] = append(got[m.String()], l.Name)
		}
	}
	want := map[string][]string{
		"l.{}.q": {".weight", ".bias"}, "l.{}.k": {".qweight", ".scales"},
		"l.{}.experts.gate_up_proj": {"_blocks", "_scales", "_bias"}, "norm": {".gamma", ".beta"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// Modules that all fit each other, and of which each may be put together of others, are
// told apart without an assignment from the beginning for each composite that is tried.
func TestAlikeModules(t *testing.T) {
	side := func(prefix string) []*Module {
		var list []Tensor
		for i := range 120 {
			word := strings.Repeat(string(rune('a'+i%26)), 1+i/26)
			list = append(list, Tensor{Name: prefix + "." + word + ".weight", Shape: []uint64{uint64(64 * (1 + i%3)), 64}})
		}
		modules, err := Modules(list)
		if err != nil {
			t.Fatal(err)
		}
		return modules
	}
	p := &problem{a: side("old"), b: side("new")}
	for _, m := range slices.Concat(p.a, p.b) {
		p.letter = append(p.letter, trigrams(lastSegment(m)))
	}
	if err := p.pair(); err != nil {
		t.Fatal(err)
	}
	s := &search{problem: p}
	if err := s.components(); err != nil {
		t.Fatal(err)
	}
	s.candidates = p.composites()
	s.choose()
	if len(s.candidates) < 100 {
		t.Fatalf("%d composites", len(s.candidates))
	}
	made := 0
	for _, list := range s.whole {
		made += len(list)
	}
	if made += len(s.solved); made > 4*len(s.parts) {
		t.Errorf("%d assignments of %d components", made, len(s.parts))
	}
}

// Lists that no model has get an answer with a bounded number of steps. What the steps did not
// suffice for is not sure.
func TestWorkIsBounded(t *testing.T) {
	side := func(prefix string) []*Module {
		var list []Tensor
		for i := range maxAlike - 10 {
			for l := range 2 {
				list = append(list, Tensor{Name: fmt.Sprintf("layers.%d.%s%c%c.weight", l, prefix, 'a'+i/26, 'a'+i%26), Shape: []uint64{uint64(8 * (1 + i%3)), 8}})
			}
		}
		modules, err := Modules(list)
		if err != nil {
			t.Fatal(err)
		}
		return modules
	}
	p := &problem{a: side("x"), b: side("y"), ordered: true, opaque: true}
	for _, m := range slices.Concat(p.a, p.b) {
		p.letter = append(p.letter, trigrams(lastSegment(m)))
	}
	if err := p.pair(); err != nil {
		t.Fatal(err)
	}
	p.weigh()
	s := &search{problem: p, work: work}
	if err := s.components(); err != nil {
		t.Fatal(err)
	}
	s.candidates = p.composites()
	s.choose()
	if spent := work - s.work; len(s.candidates) == 0 || spent < work || spent > 2*work {
		t.Errorf("%d candidates take %d steps", len(s.candidates), spent)
	}
	m := newMargins(s, s.taken(s.chosen))
	out := margin{full: 50, strong: 50}
	if m.against(&out, []int{0}); out.full > 0 || out.strong > 0 {
		t.Errorf("what was not tried is sure: %+v", out)
	}
}
