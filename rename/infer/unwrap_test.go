package infer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// renamed returns tensors under other names.
func renamed(list []convention.Named, name func(string) string) []convention.Named {
	out := make([]convention.Named, len(list))
	for i, t := range list {
		out[i] = t
		out[i].Name = name(t.Name)
	}
	return out
}

// A wrapper is one whatever it is called, and wherever it stands: nothing is asked.
func TestUnwrap(t *testing.T) {
	plain := modelIn(t, "qwen-hf", models["mha"])
	deep := renamed(plain, func(n string) string { return "engine.net_." + n })
	deep = renamed(deep, func(n string) string {
		for _, part := range []string{".ln_1.", ".ln_2.", ".attn.", ".mlp."} {
			n = strings.Replace(n, part, ".inner_"+part, 1)
		}
		return n
	})
	unseen := strings.NewReplacer("transformer.h.", "body.", "attn", "mixer", "mlp", "feed", "wte", "words", "lm_head", "out", "ln_f", "last").Replace
	for _, c := range []struct {
		name string
		a, b []convention.Named
		want string
	}{
		{"taken off", deep, plain, `engine.net_.transformer.h.{layer}.inner_.{rest...} -> transformer.h.{layer}.{rest}`},
		{"put around", plain, deep, `transformer.h.{layer}.{rest...} -> engine.net_.transformer.h.{layer}.inner_.{rest}`},
		{"names that nobody knows", renamed(deep, unseen), renamed(plain, unseen), `engine.net_.body.{n}.inner_.{rest...} -> body.{n}.{rest}`},
	} {
		res, err := Infer(t.Context(), &Inventory{Tensors: c.a}, &Inventory{Tensors: c.b}, Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := rulesOf(res); len(res.Questions) > 0 || len(res.Rules) > 6 || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s:\n%s", c.name, got)
		}
		applies(t, c.name, res, c.a, c.b)
	}
	res, err := ToConvention(t.Context(), &Inventory{Tensors: deep}, lookup(t, "qwen-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Questions) > 0 || len(res.Rules) > 2 {
		t.Error(rulesOf(res))
	}
	applies(t, "to a convention", res, deep, plain)
}

// applies checks that a map makes the names of B of those of A, with their shapes.
func applies(t *testing.T, name string, res *Result, a, b []convention.Named) {
	t.Helper()
	shape := make(map[string][]uint64)
	for _, n := range b {
		shape[n.Name] = n.Shape
	}
	names := make([]string, len(a))
	for i := range a {
		names[i] = a[i].Name
	}
	for i, row := range rename.NewPlan(res.Map, names, rename.Limits{}).Rows {
		if want, ok := shape[row.To]; !ok || !cmp.Equal(want, a[i].Shape) {
			t.Errorf("%s: %s becomes %q", name, row.From, row.To)
		}
		delete(shape, row.To)
	}
	if len(shape) > 0 {
		t.Errorf("%s: nothing becomes %v", name, shape)
	}
}

// Segments that tell modules apart are no wrappers, and neither are those of tensors of
// other shapes.
func TestNoWrapper(t *testing.T) {
	plain := modelIn(t, "qwen-hf", models["mha"])
	for name, change := range map[string]func(t *convention.Named){
		"two modules become one": func(t *convention.Named) {
			t.Name = strings.NewReplacer("ln_1", "norms.a", "ln_2", "norms.b").Replace(t.Name)
		},
		"other shapes": func(t *convention.Named) {
			t.Name = "net." + t.Name
			if strings.HasSuffix(t.Name, "wte.weight") {
				t.Shape = []uint64{7, 7}
			}
		},
	} {
		b := renamed(plain, func(n string) string { return n })
		for i := range b {
			change(&b[i])
		}
		x, err := newInference(t.Context(), &Inventory{Tensors: b}, &Inventory{Tensors: plain}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if res, err := x.unwrapped(); res != nil || err != nil {
			t.Errorf("%s: %v\n%s", name, err, rulesOf(res))
		}
	}
}

// ModernBERT was trained with encoder.layers below bert and a head beside them (AnswerDotAI/ModernBERT:
// src/bert_layers/model.py). What takes that out puts the prefix of the convention in its place: names
// without one are those of a save without a head.
func TestUnwrapBesideHead(t *testing.T) {
	to := lookup(t, "modernbert-hf")
	const list = `model.embeddings.tok_embeddings.weight 320x64
model.embeddings.norm.weight 64
model.layers.{}.attn_norm.weight [1-4] 64
model.layers.{}.attn.<Wqkv|Wo>.weight [0-4] 64x64
model.layers.{}.mlp_norm.weight [0-4] 64
model.layers.{}.mlp.<Wi|Wo>.weight [0-4] 64x64
model.final_norm.weight 64
head.dense.weight 64x64
head.norm.weight 64
decoder.<weight|bias> 320`
	b := listed(t, list)
	a := renamed(b, strings.NewReplacer("model.layers", "bert.encoder.layers", "model.", "bert.").Replace)
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, to, Options{})
	if err != nil {
		t.Fatal(err)
	}
	applies(t, "ModernBERT", res, a, b)
}
