package compare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/values"
)

func open(t testing.TB, path string) *checkpoint.Checkpoint {
	t.Helper()
	r, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if len(r.Checkpoints) != 1 {
		t.Fatalf("%s: %d checkpoints", path, len(r.Checkpoints))
	}
	return r.Checkpoints[0]
}

func compareTexts(t *testing.T, a, b string, opt Options) *Result {
	t.Helper()
	name := func(text string) string {
		if strings.HasPrefix(strings.TrimSpace(text), "format gguf") {
			return "x.gguf"
		}
		return "x.safetensors"
	}
	res, err := Compare(t.Context(), open(t, fixture.File(t, name(a), a)), open(t, fixture.File(t, name(b), b)), opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// lines describes the rows that are not the same tensor under the same name.
func lines(res *Result) []string {
	var out []string
	for i := range res.Rows {
		r := &res.Rows[i]
		s := fmt.Sprintf("%s %s>%s", r.Status, r.NameA, r.NameB)
		if r.By != "" && r.By != ByName {
			s += " by " + string(r.By)
		}
		if r.Reordered {
			s += " reordered"
		}
		if r.Holds >= 0 {
			s += " holds " + res.Rows[slices.IndexFunc(res.Rows, func(x Row) bool { return x.A == r.Holds })].NameA
		}
		if r.Status != Same && r.Status != Agree || r.Renamed() {
			out = append(out, s)
		}
	}
	return out
}

func TestPairs(t *testing.T) {
	tests := []struct {
		name string
		a, b string
		want []string
	}{
		{
			name: "new norms: the numbers of the layer decide",
			a:    "tensor h.{0..2}.ln.w F32 [2] values=1\ntensor f.w F32 [2] values=1",
			b:    "tensor f.w F32 [2] values=1\ntensor h.{0..2}.norm.w F32 [2] values=1",
			want: []string{"same h.0.ln.w>h.0.norm.w by content", "same h.1.ln.w>h.1.norm.w by content", "same h.2.ln.w>h.2.norm.w by content"},
		},
		{
			name: "what the unmistakable teach decides over the rest",
			a:    "tensor h.0.a F32 [2] values=1,2\ntensor h.0.b F32 [2] values=3,4\ntensor h.1.a F32 [2] values=0\ntensor h.1.b F32 [2] values=0",
			b:    "tensor h.0.y F32 [2] values=1,2\ntensor h.0.x F32 [2] values=3,4\ntensor h.1.x F32 [2] values=0\ntensor h.1.y F32 [2] values=0",
			want: []string{"same h.0.a>h.0.y by content", "same h.0.b>h.0.x by content", "same h.1.a>h.1.y by content", "same h.1.b>h.1.x by content"},
		},
		{
			name: "three change places",
			a:    "tensor a F32 [2] values=1\ntensor b F32 [2] values=2\ntensor c F32 [2] values=3",
			b:    "tensor a F32 [2] values=2\ntensor b F32 [2] values=3\ntensor c F32 [2] values=1",
			want: []string{"same a>c by content", "same b>a by content", "same c>b by content"},
		},
		{
			name: "a chain that does not close is told by names",
			a:    "tensor a F32 [2] values=1\ntensor b F32 [2] values=2\ntensor c F32 [2] values=3",
			b:    "tensor a F32 [2] values=9\ntensor b F32 [2] values=1\ntensor c F32 [2] values=2",
			want: []string{"changed a>a", "changed b>b holds a", "changed c>c holds b"},
		},
		{
			name: "a chain whose end is free",
			a:    "tensor a F32 [2] values=1\ntensor b F32 [2] values=2",
			b:    "tensor b F32 [2] values=1\ntensor c F32 [2] values=2",
			want: []string{"same a>b by content", "same b>c by content"},
		},
		{
			name: "the same bytes in another shape or dtype are no match",
			a:    "tensor a F32 [2] values=1\ntensor b F32 [4,1] values=1",
			b:    "tensor c I32 [2] hex=0000803f\ntensor d F32 [1,4] values=1",
			want: []string{"only-a a>", "only-a b>", "only-b >c", "only-b >d"},
		},
		{
			name: "renamed and trained on: the only template that fits",
			a:    "tensor h.{0..1}.up F32 [4,2] values=1\ntensor h.{0..1}.down F32 [2,4] values=1",
			b:    "tensor h.{0..1}.fc1 F32 [4,2] values=2\ntensor h.{0..1}.fc2 F32 [2,4] values=2",
			want: []string{
				"changed h.0.up>h.0.fc1 by template", "changed h.1.up>h.1.fc1 by template",
				"changed h.0.down>h.0.fc2 by template", "changed h.1.down>h.1.fc2 by template",
			},
		},
		{
			name: "two templates that fit are none",
			a:    "tensor h.{0..1}.up F32 [4,2] values=1\ntensor h.{0..1}.gate F32 [4,2] values=3",
			b:    "tensor h.{0..1}.w1 F32 [4,2] values=2\ntensor h.{0..1}.w3 F32 [4,2] values=2.5",
			want: []string{
				"only-a h.0.up>", "only-a h.1.up>", "only-a h.0.gate>", "only-a h.1.gate>",
				"only-b >h.0.w1", "only-b >h.1.w1", "only-b >h.0.w3", "only-b >h.1.w3",
			},
		},
		{
			name: "names that mean the same are likely",
			a:    "tensor h.{0..1}.query.weight F32 [2,2] values=1\ntensor h.{0..1}.key.weight F32 [2,2] values=3",
			b:    "tensor h.{0..1}.q_proj.weight F32 [2,2] values=2\ntensor h.{0..1}.k_proj.weight F32 [2,2] values=4",
			want: []string{
				"changed h.0.query.weight>h.0.q_proj.weight by likely", "changed h.1.query.weight>h.1.q_proj.weight by likely",
				"changed h.0.key.weight>h.0.k_proj.weight by likely", "changed h.1.key.weight>h.1.k_proj.weight by likely",
			},
		},
		{
			name: "names that mean something else are none, whatever the shapes",
			a:    "tensor h.{0..1}.attn_norm.weight F32 [2] values=1",
			b:    "tensor h.{0..1}.ffn_norm.weight F32 [2] values=2",
			want: []string{"only-a h.0.attn_norm.weight>", "only-a h.1.attn_norm.weight>", "only-b >h.0.ffn_norm.weight", "only-b >h.1.ffn_norm.weight"},
		},
		{
			name: "the contents of one layer tell of the others",
			a:    "tensor h.0.a F32 [2] values=1,2\ntensor h.0.b F32 [2] values=3,4\ntensor h.1.a F32 [2] values=5\ntensor h.1.b F32 [2] values=6",
			b:    "tensor h.0.y F32 [2] values=1,2\ntensor h.0.x F32 [2] values=3,4\ntensor h.1.x F32 [2] values=7\ntensor h.1.y F32 [2] values=8",
			want: []string{"same h.0.a>h.0.y by content", "same h.0.b>h.0.x by content", "changed h.1.a>h.1.y by template", "changed h.1.b>h.1.x by template"},
		},
		{
			name: "the layers that a part has",
			a:    "tensor h.{0..3}.w.weight F32 [2] values=1\ntensor h.{0..3}.w.bias F32 [2] values=1",
			b:    "tensor p.h.{2..3}.w.weight F32 [2] values=2\ntensor p.h.3.w.bias F32 [2] values=2",
			want: []string{
				"only-a h.0.w.weight>", "only-a h.1.w.weight>", "changed h.2.w.weight>p.h.2.w.weight by prefix", "changed h.3.w.weight>p.h.3.w.weight by prefix",
				"only-a h.0.w.bias>", "only-a h.1.w.bias>", "only-a h.2.w.bias>", "changed h.3.w.bias>p.h.3.w.bias by prefix",
			},
		},
		{
			name: "the layer without one tells two of one shape apart",
			a:    "tensor h.{1..2}.foo F32 [2] values=1\ntensor h.{0..2}.bar F32 [2] values=1",
			b:    "tensor h.{0..2}.one F32 [2] values=2\ntensor h.{1..2}.two F32 [2] values=2",
			want: []string{
				"changed h.1.foo>h.1.two by likely", "changed h.2.foo>h.2.two by likely",
				"changed h.0.bar>h.0.one by likely", "changed h.1.bar>h.1.one by likely", "changed h.2.bar>h.2.one by likely",
			},
		},
		{
			name: "layers that count from one",
			a:    "tensor h.{1..3}.up F32 [4,2] values=1",
			b:    "tensor h.{0..2}.foo F32 [4,2] values=2",
			want: []string{"changed h.1.up>h.0.foo by template", "changed h.2.up>h.1.foo by template", "changed h.3.up>h.2.foo by template"},
		},
		{
			name: "names of leaves that nobody knows",
			a:    "tensor h.{0..1}.up.weight F32 [4,2] values=1\ntensor h.{0..1}.up.bias F32 [4] values=1",
			b:    "tensor h.{0..1}.x.one F32 [4,2] values=2\ntensor h.{0..1}.x.two F32 [4] values=2",
			want: []string{
				"changed h.0.up.weight>h.0.x.one by template", "changed h.1.up.weight>h.1.x.one by template",
				"changed h.0.up.bias>h.0.x.two by template", "changed h.1.up.bias>h.1.x.two by template",
			},
		},
		{
			name: "a prefix",
			a:    "tensor a F32 [2] values=1\ntensor b F32 [2] values=1\ntensor c F32 [2]",
			b:    "tensor p.a F32 [2] values=2\ntensor p.b F32 [2] values=2\ntensor p.c F32 [3]",
			want: []string{"changed a>p.a by prefix", "changed b>p.b by prefix", "only-a c>", "only-b >p.c"},
		},
		{
			name: "two prefixes are none",
			a:    "tensor a F32 [2] values=1",
			b:    "tensor p.a F32 [2] values=2\ntensor q.a F32 [2] values=2",
			want: []string{"only-a a>", "only-b >p.a", "only-b >q.a"},
		},
		{
			name: "transposed, permuted, and neither",
			a:    "tensor t F32 [2,3] values=1,2,3,4,5,6\ntensor p F16 [4] hex=003c004000420044\ntensor n F32 [2] values=3,4\ntensor s F32 [2,1] values=1,2",
			b:    "tensor t F32 [3,2] values=1,4,2,5,3,6\ntensor p F16 [4] hex=0040003c00440042\ntensor n F32 [2] values=5,0\ntensor s F32 [1,2] values=1,3",
			want: []string{"shape t>t reordered", "changed p>p reordered", "changed n>n", "shape s>s"},
		},
		{
			name: "a tied head written out",
			a:    "tensor embed F32 [2] values=1,2",
			b:    "tensor embed F32 [2] values=1,2\ntensor head F32 [2] values=1,2",
			want: []string{"only-b >head holds embed"},
		},
		{
			name: "scalars and nothing",
			a:    "tensor s F32 [] values=1\ntensor e F32 [0,3]\ntensor gone F32 [0]",
			b:    "tensor s F32 [] values=1\ntensor e F32 [0,3]\ntensor new I8 [0]",
			want: []string{"only-a gone>", "only-b >new"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, lines(compareTexts(t, tt.a, tt.b, Options{}))); d != "" {
				t.Error(d)
			}
		})
	}
}

// A choice is by either name, and finds the other side whatever that is called.
func TestChosen(t *testing.T) {
	a := "tensor x F32 [2] values=1\ntensor y F32 [2] values=2\ntensor z F32 [2] values=3\ntensor w F32 [2] values=4"
	b := "tensor p F32 [2] values=1\ntensor q F32 [2] values=2\ntensor z F32 [2] values=5\ntensor v F32 [2] values=6"
	tests := []struct {
		name string
		want []string
	}{
		{"x", []string{"same x>p by content"}},
		{"q", []string{"same y>q by content"}},
		{"z", []string{"changed z>z"}},
		{"w", []string{"only-a w>"}},
		{"v", []string{"only-b >v"}},
		{"none", nil},
	}
	for _, tt := range tests {
		res := compareTexts(t, a, b, Options{Chosen: func(name string) bool { return name == tt.name }})
		if d := cmp.Diff(tt.want, lines(res)); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

// However tensors of different contents are called, each is found again, and the
// map says what it is called now.
func TestRenamesAreFound(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"h", "w", "0", "1", "ln1", "q"}), 1, 3).Draw(t, "segments"), ".")
		})
		names := rapid.SliceOfNDistinct(name, 1, 10, rapid.ID).Draw(rt, "names")
		to := rapid.SliceOfNDistinct(name, len(names), len(names), rapid.ID).Draw(rt, "new names")
		var a, b strings.Builder
		for i := range names {
			fmt.Fprintf(&a, "tensor %s F32 [2] values=%d,%d\n", names[i], i, rapid.IntRange(0, 3).Draw(rt, "value"))
		}
		text := strings.Split(strings.TrimSpace(a.String()), "\n")
		for _, i := range rapid.Permutation(seq(len(names))).Draw(rt, "order") {
			b.WriteString(strings.Replace(text[i], "tensor "+names[i]+" ", "tensor "+to[i]+" ", 1) + "\n")
		}
		n++
		pa, pb := filepath.Join(dir, fmt.Sprint(n, "a.safetensors")), filepath.Join(dir, fmt.Sprint(n, "b.safetensors"))
		for p, s := range map[string]string{pa: a.String(), pb: b.String()} {
			if err := fixture.Write(p, s); err != nil {
				rt.Fatal(err)
			}
		}
		res, err := Compare(t.Context(), open(t, pa), open(t, pb), Options{Workers: 2})
		if err != nil {
			rt.Fatal(err)
		}
		for i := range res.Rows {
			r := &res.Rows[i]
			if r.A < 0 || r.Status != Same || r.NameB != to[r.A] {
				rt.Fatalf("%s, which is now %s: %+v", r.NameA, to[max(r.A, 0)], r)
			}
		}
		again, err := Compare(t.Context(), open(t, pa), open(t, pb), Options{Map: res.Map, Workers: 1})
		if err != nil {
			rt.Fatal(err)
		}
		if again.Verdict.differs() {
			rt.Fatalf("the map %v does not explain %v", res.Rules, lines(again))
		}
	})
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

const (
	heads, kvHeads, headSize, hidden, inner, vocabulary = 4, 2, 4, 16, 24, 8
)

// weight is the number at an index of a role in the order of Hugging Face's
// files, the same in every format, exact in BF16 and F16.
func weight(role string, layer, row, col int) float64 {
	h := uint64(layer+1)*1000003 + uint64(row)*10007 + uint64(col)*101
	for _, c := range role {
		h = h*31 + uint64(c)
	}
	h ^= h >> 17
	h *= 0x9e3779b97f4a7c15
	return float64(int(h>>56)-128) / 64
}

var llamaRoles = []struct {
	hf, gguf   string
	rows, cols int
	heads      int // whose rotary rows are moved
}{
	{"self_attn.q_proj", "attn_q", heads * headSize, hidden, heads},
	{"self_attn.k_proj", "attn_k", kvHeads * headSize, hidden, kvHeads},
	{"self_attn.v_proj", "attn_v", kvHeads * headSize, hidden, 0},
	{"self_attn.o_proj", "attn_output", hidden, heads * headSize, 0},
	{"mlp.gate_proj", "ffn_gate", inner, hidden, 0},
	{"mlp.up_proj", "ffn_up", inner, hidden, 0},
	{"mlp.down_proj", "ffn_down", hidden, inner, 0},
	{"input_layernorm", "attn_norm", hidden, 0, 0},
	{"post_attention_layernorm", "ffn_norm", hidden, 0, 0},
}

// statement writes a line for a tensor whose row r holds the numbers of row
// at(r) of the role.
func statement(b *strings.Builder, name, dtype, role string, layer, rows, cols int, at func(int) int) {
	shape := fmt.Sprintf("[%d,%d]", rows, cols)
	if cols == 0 {
		shape, cols = fmt.Sprintf("[%d]", rows), 1
	}
	fmt.Fprintf(b, "tensor %s %s %s values=", name, dtype, shape)
	for r := range rows {
		for c := range cols {
			fmt.Fprintf(b, "%g,", weight(role, layer, at(r), c))
		}
	}
	s := strings.TrimSuffix(b.String(), ",")
	b.Reset()
	b.WriteString(s + "\n")
}

func straight(r int) int { return r }

func llamaHF(dtype string, layers int) string {
	var b strings.Builder
	statement(&b, "model.embed_tokens.weight", dtype, "embed", 0, vocabulary, hidden, straight)
	for l := range layers {
		for _, r := range llamaRoles {
			statement(&b, fmt.Sprintf("model.layers.%d.%s.weight", l, r.hf), dtype, r.hf, l, r.rows, r.cols, straight)
		}
	}
	statement(&b, "model.norm.weight", dtype, "norm", 0, hidden, 0, straight)
	statement(&b, "lm_head.weight", dtype, "head", 0, vocabulary, hidden, straight)
	return b.String()
}

// llamaGGUF has the same model as llama.cpp's converter writes it: rotary rows
// in pairs that lie next to each other, norms in F32.
func llamaGGUF(dtype string, layers int) string {
	b := &strings.Builder{}
	statement(b, "token_embd.weight", dtype, "embed", 0, vocabulary, hidden, straight)
	for l := range layers {
		for _, r := range llamaRoles {
			typ, at := dtype, straight
			if r.cols == 0 {
				typ = "F32"
			}
			if r.heads > 0 {
				// W.reshape(heads, 2, d/2, in).swapaxes(1, 2)
				at = func(row int) int {
					head, in := row/headSize, row%headSize
					return head*headSize + in%2*(headSize/2) + in/2
				}
			}
			statement(b, fmt.Sprintf("blk.%d.%s.weight", l, r.gguf), typ, r.hf, l, r.rows, r.cols, at)
		}
	}
	statement(b, "output_norm.weight", "F32", "norm", 0, hidden, 0, straight)
	statement(b, "output.weight", dtype, "head", 0, vocabulary, hidden, straight)
	return b.String()
}

// A faithful conversion is the same model: names are mapped and rotary rows put
// back, from heads that either side knows of. One without the rotary rows is not.
func TestConversion(t *testing.T) {
	const layers = 2
	keys := fmt.Sprintf("format gguf\nkv general.architecture str llama\nkv llama.attention.head_count u32 %d\nkv llama.attention.head_count_kv u32 %d\nkv llama.embedding_length u32 %d\n", heads, kvHeads, hidden)
	hf, gg := llamaHF("BF16", layers), llamaGGUF("F32", layers)
	for _, turn := range []struct {
		name string
		a, b string
	}{{"to GGUF", hf, keys + gg}, {"from GGUF", keys + gg, hf}} {
		t.Run(turn.name, func(t *testing.T) {
			res := compareTexts(t, turn.a, turn.b, Options{Auto: true})
			if len(res.Rows) != 3+layers*len(llamaRoles) {
				t.Errorf("%d rows", len(res.Rows))
			}
			for i := range res.Rows {
				r := &res.Rows[i]
				if r.A < 0 || r.B < 0 || r.Renamed() || r.Status != DTypeChanged || r.Difference == nil || r.Difference.Differ != 0 {
					t.Errorf("%s > %s: %s %v %+v", r.NameA, r.NameB, r.Status, r.Err, r.Difference)
				}
				if undone, rotary := len(r.Layout) > 0, strings.Contains(r.NameA, "_q") || strings.Contains(r.NameA, "_k") || strings.Contains(r.NameA, "q_proj") || strings.Contains(r.NameA, "k_proj"); undone != rotary {
					t.Errorf("%s: undone %v", r.NameA, r.Layout)
				}
			}
		})
	}
	t.Run("rows not permuted", func(t *testing.T) {
		var plain strings.Builder
		plain.WriteString(keys)
		for line := range strings.Lines(gg) {
			for l := range layers {
				for _, r := range llamaRoles {
					if r.heads > 0 && strings.HasPrefix(line, fmt.Sprintf("tensor blk.%d.%s.", l, r.gguf)) {
						line = ""
						statement(&plain, fmt.Sprintf("blk.%d.%s.weight", l, r.gguf), "F32", r.hf, l, r.rows, r.cols, straight)
					}
				}
			}
			plain.WriteString(line)
		}
		wrong := 0
		res := compareTexts(t, hf, plain.String(), Options{Auto: true})
		for i := range res.Rows {
			if r := &res.Rows[i]; r.Difference == nil || r.Difference.Differ > 0 {
				wrong++
				if len(r.Layout) == 0 || !r.Stored {
					t.Errorf("%s differs: undone %v, as stored %v", r.NameA, r.Layout, r.Stored)
				}
			}
		}
		if wrong != 2*layers {
			t.Errorf("%d tensors differ", wrong)
		}
	})
	t.Run("unknown names", func(t *testing.T) {
		a, b := open(t, fixture.File(t, "a.safetensors", "tensor x.y F32 [2]")), open(t, fixture.File(t, "b.gguf", keys+gg))
		res, err := Compare(t.Context(), a, b, Options{Auto: true})
		if err != nil || res.Verdict != Other || !strings.Contains(strings.Join(res.Notes, "\n"), "no convention that is known") {
			t.Errorf("error %v, %+v", err, res)
		}
	})
	t.Run("headers", func(t *testing.T) {
		res := compareTexts(t, hf, keys+gg, Options{Headers: true})
		if res.From != "llama-hf" || res.To != "llama-gguf" || res.Verdict.differs() && res.Verdict != Undecided {
			t.Errorf("%s to %s: %q", res.From, res.To, res.Verdict)
		}
	})
	// Within a project, what is left is paired by role, and is a rename.
	t.Run("roles", func(t *testing.T) {
		yi := strings.NewReplacer("input_layernorm", "ln1", "post_attention_layernorm", "ln2").Replace(hf)
		res := compareTexts(t, yi, hf, Options{Headers: true})
		for i := range res.Rows {
			if r := &res.Rows[i]; r.Renamed() != strings.Contains(r.NameA, ".ln") || r.Renamed() && r.By != ByRole {
				t.Errorf("%s > %s by %q", r.NameA, r.NameB, r.By)
			}
		}
		if res.Verdict != Altered {
			t.Errorf("verdict %q", res.Verdict)
		}
	})
}

// Names of two projects for the same tensors are no difference, even where no byte moves.
// Source: DeepSeek-V3, inference/convert.py (mapping).
func TestProjects(t *testing.T) {
	var hf, own strings.Builder
	for i, n := range [][2]string{
		{"model.embed_tokens", "embed"},
		{"model.layers.0.self_attn.q_a_proj", "layers.0.attn.wq_a"},
		{"model.layers.0.self_attn.q_a_layernorm", "layers.0.attn.q_norm"},
		{"model.layers.0.self_attn.q_b_proj", "layers.0.attn.wq_b"},
		{"model.layers.0.self_attn.kv_a_proj_with_mqa", "layers.0.attn.wkv_a"},
		{"model.layers.0.self_attn.kv_a_layernorm", "layers.0.attn.kv_norm"},
		{"model.layers.0.self_attn.kv_b_proj", "layers.0.attn.wkv_b"},
		{"model.layers.0.self_attn.o_proj", "layers.0.attn.wo"},
		{"model.layers.0.mlp.gate_proj", "layers.0.ffn.w1"},
		{"model.layers.0.mlp.down_proj", "layers.0.ffn.w2"},
		{"model.layers.0.mlp.up_proj", "layers.0.ffn.w3"},
		{"model.layers.0.input_layernorm", "layers.0.attn_norm"},
		{"model.layers.0.post_attention_layernorm", "layers.0.ffn_norm"},
		{"model.layers.1.self_attn.q_a_proj", "layers.1.attn.wq_a"},
		{"model.layers.1.self_attn.q_a_layernorm", "layers.1.attn.q_norm"},
		{"model.layers.1.self_attn.q_b_proj", "layers.1.attn.wq_b"},
		{"model.layers.1.self_attn.kv_a_proj_with_mqa", "layers.1.attn.wkv_a"},
		{"model.layers.1.self_attn.kv_a_layernorm", "layers.1.attn.kv_norm"},
		{"model.layers.1.self_attn.kv_b_proj", "layers.1.attn.wkv_b"},
		{"model.layers.1.self_attn.o_proj", "layers.1.attn.wo"},
		{"model.layers.1.mlp.gate", "layers.1.ffn.gate"},
		{"model.layers.1.mlp.experts.0.gate_proj", "layers.1.ffn.experts.0.w1"},
		{"model.layers.1.mlp.experts.0.down_proj", "layers.1.ffn.experts.0.w2"},
		{"model.layers.1.mlp.experts.0.up_proj", "layers.1.ffn.experts.0.w3"},
		{"model.layers.1.mlp.shared_experts.gate_proj", "layers.1.ffn.shared_experts.w1"},
		{"model.layers.1.mlp.shared_experts.down_proj", "layers.1.ffn.shared_experts.w2"},
		{"model.layers.1.mlp.shared_experts.up_proj", "layers.1.ffn.shared_experts.w3"},
		{"model.layers.1.input_layernorm", "layers.1.attn_norm"},
		{"model.layers.1.post_attention_layernorm", "layers.1.ffn_norm"},
		{"model.norm", "norm"},
		{"lm_head", "head"},
	} {
		fmt.Fprintf(&hf, "tensor %s.weight F32 [2] values=%d,1\n", n[0], i)
		fmt.Fprintf(&own, "tensor %s.weight F32 [2] values=%d,1\n", n[1], i)
	}
	for _, headers := range []bool{false, true} {
		for _, way := range [][2]string{{hf.String(), own.String()}, {own.String(), hf.String()}} {
			res := compareTexts(t, way[0], way[1], Options{Headers: headers})
			if res.Verdict != Identical || len(res.Rows) != 31 || len(res.Rules) != 0 {
				t.Errorf("headers %v: %q, %q", headers, res.Verdict, lines(res))
			}
		}
	}
	spoilt := strings.Replace(own.String(), "values=3,1", "values=4,1", 1)
	if res := compareTexts(t, hf.String(), spoilt, Options{}); res.Verdict != Altered {
		t.Errorf("a changed tensor: %q", res.Verdict)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	a := open(t, fixture.File(t, "a.safetensors", "tensor x F32 [2] values=1"))
	b := open(t, fixture.File(t, "b.safetensors", "tensor x F32 [2] values=2"))
	cancel()
	if _, err := Compare(ctx, a, b, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A file that is made shorter while it is read makes an error of its tensors.
func TestShrunk(t *testing.T) {
	name := fixture.File(t, "a.safetensors", "tensor x F32 [64]\ntensor y F32 [64]")
	a, b := open(t, name), open(t, fixture.File(t, "b.safetensors", "tensor x F32 [64]\ntensor y F32 [64]"))
	if err := os.Truncate(name, a.At(1).Offset+4); err != nil {
		t.Skip(err) // an open file, on Windows
	}
	res, err := Compare(t.Context(), a, b, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if res.Rows[0].Status != Same {
		t.Errorf("the whole tensor: %+v", res.Rows[0])
	}
	if r := res.Rows[1]; r.Status != Unread || !errors.Is(r.Err, io.ErrUnexpectedEOF) {
		t.Errorf("the cut one: %s %v", r.Status, r.Err)
	}
	res, err = Compare(t.Context(), a, open(t, fixture.File(t, "c.safetensors", "tensor x F32 [64]\ntensor q F32 [64]")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r := res.Rows[1]; r.Status != OnlyA || !errors.Is(r.Err, io.ErrUnexpectedEOF) {
		t.Errorf("the cut one, without a partner: %s %v", r.Status, r.Err)
	}
}

func TestJoin(t *testing.T) {
	var sections []values.Section
	var want []byte
	for i, n := range []int{3, 0, 5, 1} {
		part := strings.Repeat(string(rune('a'+i)), n)
		want = append(want, part...)
		sections = append(sections, values.Section{Data: io.NewSectionReader(strings.NewReader(part), 0, int64(n))})
	}
	s := Join("all", sections)
	for from := range len(want) {
		for to := from; to <= len(want); to++ {
			b := make([]byte, to-from)
			if n, err := s.Data.ReadAt(b, int64(from)); n < len(b) || err != nil && err != io.EOF || string(b) != string(want[from:to]) {
				t.Errorf("[%d,%d): %q, %v", from, to, b[:n], err)
			}
		}
	}
	if n, err := s.Data.ReadAt(make([]byte, 4), 7); n != 2 || err != io.EOF {
		t.Errorf("past the end: %d, %v", n, err)
	}
}

// The optional models: a fine-tuned copy is near, a model of another seed is not,
// and copies in other byte orders and versions are the same.
func TestRealModels(t *testing.T) {
	base := open(t, testdata.Path(t, "tinyllama/A0"))
	for _, m := range []struct {
		path        string
		least, most float64 // relative RMS of a matrix
	}{{"tinyllama/sft", 0, 0.2}, {"tinyllama/A1", 1.3, 2}} {
		res, err := Compare(t.Context(), base, open(t, testdata.Path(t, m.path)), Options{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range res.Rows {
			r := &res.Rows[i]
			if r.Status != Changed || r.Difference == nil {
				t.Errorf("%s: %s is %s", m.path, r.NameB, r.Status)
				continue
			}
			if d := r.Difference.RelRMS; len(r.ShapeA) == 2 && (d < m.least || d > m.most || math.IsNaN(d)) {
				t.Errorf("%s: %s is off by %v", m.path, r.NameB, d)
			}
		}
	}
	v3 := open(t, testdata.Path(t, "models/stories260K-v3.gguf"))
	for _, name := range []string{"v1", "big-endian"} {
		res, err := Compare(t.Context(), v3, open(t, testdata.Path(t, "models/stories260K-"+name+".gguf")), Options{WeightsOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		if res.Verdict.differs() {
			t.Errorf("%s: %v", name, lines(res))
		}
	}
}

// BenchmarkEqual compares two checkpoints of the same bytes, in the page cache,
// beside reading both.
func BenchmarkEqual(b *testing.B) {
	const tensors, size = 16, 8 << 20
	dir := b.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, "data pattern\ntensor w.{0..%d} BF16 [%d]\n", tensors-1, size/2)
	var paths []string
	for _, n := range []string{"a.safetensors", "b.safetensors"} {
		paths = append(paths, filepath.Join(dir, n))
		if err := fixture.Write(paths[len(paths)-1], text.String()); err != nil {
			b.Fatal(err)
		}
	}
	x, y := open(b, paths[0]), open(b, paths[1])
	run := func(name string, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(2 * tensors * size)
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	buf := make([]byte, 256<<10)
	run("pread", func() error {
		for _, c := range []*checkpoint.Checkpoint{x, y} {
			for i := range tensors {
				data, err := c.Data(i)
				if err != nil {
					return err
				}
				for at := int64(0); at < data.Size(); at += int64(len(buf)) {
					if _, err := data.ReadAt(buf[:min(int64(len(buf)), data.Size()-at)], at); err != nil && err != io.EOF {
						return err
					}
				}
			}
		}
		return nil
	})
	run("compare", func() error {
		res, err := Compare(b.Context(), x, y, Options{Workers: 1})
		if err == nil && res.Verdict.differs() {
			err = errors.New("they differ")
		}
		return err
	})
}

// BenchmarkExplain finds the rules of a checkpoint of many experts.
func BenchmarkExplain(b *testing.B) {
	var list []string
	for l := range 60 {
		for e := range 256 {
			for _, w := range []string{"w1", "w2", "w3"} {
				list = append(list, fmt.Sprintf("model.layers.%d.mlp.experts.%d.%s.weight model.layers.%d.block.experts.%d.%s", l, e, w, l, e, w))
			}
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for b.Loop() {
		if c := explainNames(list); len(c.out.Rules) != 3 {
			b.Fatal(c.out.Rules)
		}
	}
}

// Weights of 8 bits without their scales are not the weights, and the answer says so; with
// scales on both sides, with none, or where they are multiplied in, it has nothing to say.
func TestScalesAreNoted(t *testing.T) {
	const (
		whole  = "tensor a.weight F8_E4M3 [2] hex=3840\ntensor a.weight_scale F32 [1] values=2\n"
		line   = "tensor a.weight BF16 [2] values=2,4\n"
		zero   = "tensor a.weight F8_E4M3 [1,2] hex=3840\ntensor a.weight_scale F32 [1,1] values=2\ntensor a.weight_zero_point I8 [1,1] values=0\n"
		scaled = "tensor a.weight I8 [1,2] values=1,2\ntensor a.weight_scale F32 [1,1] values=2\ntensor a.comfy_quant U8 [2]\n"
		plain  = "tensor a.weight BF16 [1,2] values=2,4\n"
		cast   = "tensor a.weight F8_E4M3 [1,2] hex=3840\n"
	)
	for _, tt := range []struct {
		a, b string
		want bool
	}{{scaled, plain, true}, {plain, scaled, true}, {scaled, scaled, false}, {cast, plain, false}, {scaled, cast, false}, {whole, line, false}, {zero, plain, false}, {plain, zero, false}} {
		noted := slices.ContainsFunc(compareTexts(t, tt.a, tt.b, Options{}).Notes, func(n string) bool {
			return strings.HasSuffix(n, ": quantised weights with scales beside them (x1) are compared as they are stored, without the scales")
		})
		if noted != tt.want {
			t.Errorf("%s against %s: noted %v", tt.a, tt.b, noted)
		}
	}
}
