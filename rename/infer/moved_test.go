package infer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// small is a model whose names are of no project.
const small = `emb.weight 96x64
blocks.{}.n0.weight [0-5] 64
blocks.{}.<q|o>.weight [0-5] 64x64
blocks.{}.<k|v>.weight [0-5] 16x64
blocks.{}.n1.weight [0-5] 64
blocks.{}.<up|gate>.weight [0-5] 172x64
blocks.{}.down.weight [0-5] 64x172
norm.weight 64
head.weight 96x64`

// A name that both sides have moves to no other by words, numbers or order alone: that is asked, with the name
// among what may become of it.
func TestNamesOfBothSides(t *testing.T) {
	change := func(list string, pairs ...string) string { return strings.NewReplacer(pairs...).Replace(list) }
	const layers = `model.layers.{}.<input_layernorm|post_attention_layernorm>.weight [0-5] 64
model.layers.{}.self_attn.<q_proj|o_proj>.weight [0-5] 64x64
model.layers.{}.self_attn.<k_proj|v_proj>.weight [0-5] 16x64
model.layers.{}.mlp.<up_proj|gate_proj>.weight [0-5] 172x64
model.layers.{}.mlp.down_proj.weight [0-5] 64x172`
	for _, c := range []struct {
		name, a, b string
		assume     string
		ask        string // what the question has on both sides
		best       string
	}{
		{"numbers from 0 and from 1", change(small, "n0", "norm1", "n1", "norm2"), change(small, "n0", "norm0", "n1", "norm1"), "", "norm1 norm2, norm0 norm1", "norm0 norm1"},
		{"an answer", change(small, "n0", "norm1", "n1", "norm2"), change(small, "n0", "norm0", "n1", "norm1"), "norm1=norm0", "", ""},
		{"a number that no word explains", change(small, "n1", "n2", "n0", "n1"), small, "", "n2 n1, n0 n1", "n0 n1"},
		{"layers from 0 and from 1", change(layers, "[0-5]", "[1-6]"), layers, "", "down_proj gate_proj input_layernorm k_proj o_proj post_attention_layernorm q_proj up_proj v_proj", "down_proj gate_proj input_layernorm k_proj o_proj post_attention_layernorm q_proj up_proj v_proj"},
		{"layers of other names", change(layers, "[0-5]", "[1-6]", "model.layers", "h"), layers, "", "", ""},
		{"another shape", change(small, "up|gate", "w1|w3", "down", "w2"), change(small, "up|gate", "w1|w2", "down", "w3"), "w3=w2", "", ""},
	} {
		opt := Options{Unknown: true}
		if from, to, ok := strings.Cut(c.assume, "="); ok {
			opt.Assume = []Assumption{{from, to}}
		}
		res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, c.a)}, &Inventory{Tensors: listed(t, c.b)}, opt)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		ends := func(list []string) string {
			var out []string
			for _, p := range list {
				out = append(out, p[strings.LastIndexByte(p, '.')+1:])
			}
			slices.Sort(out)
			return strings.Join(out, " ")
		}
		var asked, best string
		for _, q := range res.Questions {
			asked = ends(q.Between)
			if and := ends(q.And); and != asked {
				asked += ", " + and
			}
			best = ends(q.Best)
		}
		sorted := func(text string) string {
			before, after, ok := strings.Cut(text, ", ")
			words := func(s string) string { l := strings.Fields(s); slices.Sort(l); return strings.Join(l, " ") }
			if ok {
				return words(before) + ", " + words(after)
			}
			return words(before)
		}
		if len(res.Questions) > 1 || asked != sorted(c.ask) || best != sorted(c.best) {
			t.Errorf("%s: asked %q, best %q\n%s", c.name, asked, best, brief(res))
		}
	}
}

// Where shapes leave a module no other, and nothing is left over, words on which projects do not agree do not
// matter: it is forced. Words that mean one thing are asked about, and so is all of it where something is left.
func TestShapesLeaveNoOther(t *testing.T) {
	const a = `w1 96x64
s.{}.n [0-3] 64
s.{}.x2 [0-3] 192x64
s.{}.x4 [0-3] 172x64
s.{}.x5 [0-3] 64x172`
	const b = `tok 96x64
blocks.{}.foo [0-3] 64
blocks.{}.bar [0-3] 192x64
blocks.{}.qux [0-3] 172x64
blocks.{}.quux [0-3] 64x172`
	for _, c := range []struct {
		name, a, b string
		class      Class
	}{
		{"a word that means several things", a, b, Forced},
		{"one more on the other side", a, b + "\nextra 77", Guess},
		{"one more on this side", a + "\nextra 77", b, Guess},
		{"a word that means one thing", strings.Replace(a, "w1", "lm_head", 1), strings.Replace(b, "tok", "norm.token_embedding", 1), Guess},
	} {
		res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, c.a)}, &Inventory{Tensors: listed(t, c.b)}, Options{})
		if err != nil || res.Refused != "" {
			t.Errorf("%s: %v %s", c.name, err, res.Refused)
			continue
		}
		for i, r := range res.Rules {
			if from := res.Map.Rules[i].From[0].String(); (from == "w1" || from == "lm_head") && (r.Class != c.class || (r.Class == Guess) == (len(res.Questions) == 0)) {
				t.Errorf("%s: %s", c.name, rulesOf(res))
			}
		}
	}
}

// Whatever two models call their tensors: what is sure gives no tensor another name if the other model has
// its own, of the same shape.
func TestSureNamesStay(t *testing.T) {
	// Words that projects use for two modules of one shape.
	alike := []struct {
		shape string
		words []string
	}{
		{"64", strings.Fields("norm0 norm1 norm2 n0 n1 n2 attn_norm ffn_norm post_attention_norm post_attn_ln ln2 pre_ffn_norm post_ffn_norm attn.out_norm ff.norm input_norm final_norm attn.ln ff.ln attn.norm")},
		{"172x64", strings.Fields("w1 w2 w3 gate up fc_1 fc_2 wi_0 wi_1 linear_v linear")},
		{"64x64", strings.Fields("q o query out dense proj c_proj wq wo linear_q attn.out attn.in attn.proj ff.proj")},
		{"16x64", strings.Fields("k v key value wk wv kv_a kv_b")},
	}
	r := rand.New(rand.NewPCG(16, 1))
	moved, asked := 0, 0
	tries := sweep.Count(200, 1000)
	for range tries {
		list := func() string {
			lines := []string{"emb.weight 96x64", "head.weight 96x64", "blocks.{}.down.weight [0-5] 64x172"}
			for _, kind := range alike {
				for _, k := range r.Perm(len(kind.words))[:2] {
					lines = append(lines, fmt.Sprintf("blocks.{}.%s.weight [0-5] %s", kind.words[k], kind.shape))
				}
			}
			return strings.Join(lines, "\n")
		}
		a, b := listed(t, list()), listed(t, list())
		res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true})
		if err != nil {
			t.Fatal(err)
		}
		asked += len(res.Questions)
		has := make(map[string]*convention.Named)
		for i := range b {
			has[b[i].Name] = &b[i]
		}
		names := make([]string, len(a))
		for i := range a {
			names[i] = a[i].Name
		}
		plan := rename.NewPlan(res.Map, names, rename.Limits{})
		for i := range plan.Rows {
			row := &plan.Rows[i]
			same := has[row.From]
			if row.Rule < 0 || row.To == row.From || same == nil || !slices.Equal(same.Shape, a[i].Shape) {
				continue
			}
			if moved++; res.Rules[row.Rule].Class != Guess {
				t.Errorf("%s becomes %s: %s\n%s", row.From, row.To, res.Rules[row.Rule].By, rulesOf(res))
			}
		}
	}
	if moved == 0 && sweep.Whole() || asked == 0 {
		t.Errorf("%d names moved, %d questions: nothing was tried", moved, asked)
	}
}
