package infer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// hf is ownLlama of another size under the names of transformers.
const hf = `model.embed_tokens.weight 640x128
model.layers.{}.<input|post_attention>_layernorm.weight [0-8] 128
model.layers.{}.self_attn.<q_proj|o_proj>.weight [0-8] 128x128
model.layers.{}.self_attn.<k_proj|v_proj>.weight [0-8] 32x128
model.layers.{}.mlp.<gate_proj|up_proj>.weight [0-8] 344x128
model.layers.{}.mlp.down_proj.weight [0-8] 128x344
model.norm.weight 128
lm_head.weight 640x128`

// A release of another size of the same architecture has the names that the map is to.
func TestOtherSize(t *testing.T) {
	for _, turned := range []bool{false, true} {
		a, b := listed(t, ownLlama), listed(t, hf)
		if turned {
			a, b = b, a
		}
		for _, opt := range []Options{{}, {Unknown: true}} {
			res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, opt)
			if err != nil {
				t.Fatal(err)
			}
			if res.Refused != "" || len(res.Questions)+len(res.Missing)+len(res.Extra) > 0 || !strings.Contains(res.Sizes, "no weights compared") {
				t.Fatalf("%s\n%s", res.Sizes, brief(res))
			}
			// The names are those of a release of A's size under B's.
			plan := rename.NewPlan(res.Map, names(a), rename.Limits{})
			want := listed(t, strings.ReplaceAll(hf, "[0-8]", "[0-5]"))
			if turned {
				want = listed(t, strings.ReplaceAll(ownLlama, "[0-5]", "[0-8]"))
			}
			got := make([]string, 0, len(plan.Rows))
			for _, r := range plan.Rows {
				got = append(got, r.To)
			}
			slices.Sort(got)
			if all := names(want); !slices.Equal(got, slices.Sorted(slices.Values(all))) {
				t.Errorf("%q", got)
			}
		}
	}
}

func names(list []convention.Named) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].Name
	}
	return out
}

// Another architecture is not taken for another size, and what differs in size is said.
func TestOtherSizeAndArchitecture(t *testing.T) {
	for _, c := range []struct{ a, b, refused string }{
		{bert, hf, "one has 6 layers and the other 9; taken as one size, nothing in it becomes model.layers.{layer}.mlp."},
		{hf, bert, "one has 9 layers and the other 6; taken as one size, "},
		{strings.ReplaceAll(hf, "layernorm.weight", "layernorm.<weight|bias>"), ownLlama, "the normalisations of one have biases"},
		{hf + "\nmodel.layers.{}.mlp.router.weight [0-8] 8x128", ownLlama, "the other has nothing like model.layers.{layer}.mlp.router"},
	} {
		res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, c.a)}, &Inventory{Tensors: listed(t, c.b)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(res.Refused, c.refused) || res.Sizes == "" || len(res.Map.Rules) > 0 {
			t.Errorf("%s: %s", c.refused, brief(res))
		}
	}
}

// The layers of a model that was cut down, or put together of some twice, are compared with those that
// they were.
func TestOtherDepth(t *testing.T) {
	modules := []string{"t1", "t2", "t3"}
	of := []string{"v_proj", "q_proj", "k_proj"}
	for _, layers := range [][]int{{0, 1, 3, 4}, {1, 2}, {0, 1, 2, 2, 3, 4}, {0, 1, 2, 1, 2, 3, 4}} {
		for _, equal := range []bool{true, false} {
			a := new(Inventory)
			is := make(map[string]string)
			for l, from := range layers {
				for m, name := range modules {
					n := fmt.Sprintf("h.%d.%s.weight", l, name)
					a.Tensors = append(a.Tensors, convention.Named{Name: n, Shape: []uint64{64, 64}})
					is[n] = fmt.Sprintf("layers.%d.%s.weight", from, of[m])
				}
			}
			res, err := Infer(t.Context(), a, squares("layers", of...), Options{Content: &told{is: is, z: 60, equal: equal, cross: 1}})
			if err != nil {
				t.Fatal(err)
			}
			class := Measured
			if equal {
				class = Proven
			}
			if len(res.Questions)+len(res.Contradictions) > 0 || !strings.Contains(res.Sizes, fmt.Sprintf("%d of its %[1]d layers were compared", len(layers))) {
				t.Errorf("%v: %s\n%s", layers, res.Sizes, brief(res))
			}
			for _, r := range res.Rules {
				from, to := res.Map.Rules[r.Rule].From[0].String(), res.Map.Rules[r.Rule].To[0].String()
				m := slices.IndexFunc(modules, func(m string) bool { return strings.Contains(from, m) })
				if r.Class != class || m < 0 || !strings.HasSuffix(to, of[m]+".weight") || r.Tensors != len(layers) {
					t.Errorf("%v: %s -> %s: %+v", layers, from, to, r)
				}
			}
		}
	}
	// Weights that are not alike say nothing, and the names what they say.
	a := listed(t, strings.ReplaceAll(hf, "[0-8]", "[0-6]"))
	for i := range a {
		a[i].Name = "lab." + a[i].Name
	}
	res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: listed(t, hf)}, Options{Content: &told{cross: 1}})
	if err != nil || res.Refused != "" || !res.Unrelated || len(res.Questions)+len(res.Contradictions) > 0 {
		t.Errorf("%v %+v", err, res)
	}
}

// Files may have any number of layers, and the other any number of experts: what is made of both is bounded.
func TestOtherSizeIsBounded(t *testing.T) {
	list := func(prefix string, layers, experts int) *Inventory {
		inv := new(Inventory)
		for l := range layers {
			for e := range experts {
				inv.Tensors = append(inv.Tensors, convention.Named{Name: fmt.Sprintf("%s.layers.%d.experts.%d.up.weight", prefix, l, e), Shape: []uint64{64, 64}})
			}
			for _, n := range []string{"norm", "router", "q"} {
				inv.Tensors = append(inv.Tensors, convention.Named{Name: fmt.Sprintf("%s.layers.%d.%s.weight", prefix, l, n), Shape: []uint64{64, 64}})
			}
		}
		return inv
	}
	a, b := list("a", 5000, 1), list("b", 2, 2000)
	allocs := testing.AllocsPerRun(1, func() {
		res, err := Infer(t.Context(), a, b, Options{Content: &told{cross: 1}})
		if err != nil || res.Refused == "" {
			t.Fatal(err, res.Refused)
		}
	})
	if each := allocs / float64(len(a.Tensors)+len(b.Tensors)); each > 100 {
		t.Errorf("%.0f allocations for each of %d names", each, len(a.Tensors)+len(b.Tensors))
	}
}
