package infer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// outcome writes what becomes of every tensor, how sure that is, and what is asked, with the names of A as
// called has them.
func outcome(t testing.TB, res *Result, a []convention.Named, called func(string) string) string {
	t.Helper()
	if res.Refused != "" {
		return "refused"
	}
	got := apply(t, res.Map, a)
	names := make([]string, len(a))
	for i := range a {
		names[i] = a[i].Name
	}
	bare := *res.Map
	bare.Ask = nil
	var lines []string
	for _, r := range rename.NewPlan(&bare, names, rename.Limits{}).Rows {
		if r.Rule < 0 {
			lines = append(lines, fmt.Sprintf("%s [%s] [] sure true", called(r.From), called(r.From)))
			continue
		}
		sure := res.Rules[r.Rule].Class != Guess
		lines = append(lines, fmt.Sprintf("%s %v %v sure %v", called(r.From), got.to[r.From], got.ops[r.From], sure))
	}
	slices.Sort(lines)
	for _, q := range res.Questions {
		between, and := slices.Sorted(slices.Values(q.Between)), slices.Sorted(slices.Values(q.And))
		lines = append(lines, fmt.Sprintf("ask %v %v", between, and))
	}
	return strings.Join(lines, "\n")
}

// Whatever the leaf of the weights is called, all that is beside it has the answer that it has with the usual
// one: the same is sure, and the same is asked.
func TestLeafOfAnyName(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	letters := func() string {
		b := make([]byte, 3+rng.IntN(6))
		for i := range b {
			b[i] = byte('a' + rng.IntN(26))
		}
		return string(b)
	}
	words := []string{".param", ".tensor", ".data", ".weights", ".g", ".p", ".gewicht", ".weight_fp", ".key", "/arr", "_tensor", "_param"}
	for range 4 {
		words = append(words, "."+letters())
	}
	compared := 0
	for n, r := range readReleases(t) {
		if !sweep.Has(n, 4) {
			continue
		}
		weights := make(map[string]bool) // modules with a weight
		for _, x := range r.a {
			if w, ok := strings.CutSuffix(x.Name, ".weight"); ok {
				weights[w] = true
			}
		}
		modules, all := make(map[string]bool), true
		for _, x := range r.a {
			w, ok := strings.CutSuffix(x.Name, ".weight")
			_, bias := strings.CutSuffix(x.Name, ".bias")
			all = all && (ok || bias)
			modules[w] = modules[w] || ok
		}
		if !all || len(modules) < 3 {
			continue // leaves of several names, which say more
		}
		for k := range 2 {
			word := words[(2*n+k)%len(words)]
			a := slices.Clone(r.a)
			for i := range a {
				if w, ok := strings.CutSuffix(a[i].Name, ".weight"); ok {
					a[i].Name = w + word
				}
			}
			opt := Options{Unknown: r.model != nil} // a convention's own names have a map that needs no inference
			for _, aim := range []bool{true, false} {
				find := func(list []convention.Named) *Result {
					var res *Result
					var err error
					if aim {
						res, err = ToConvention(t.Context(), &Inventory{Tensors: list, Model: r.model}, lookup(t, r.to), opt)
					} else {
						res, err = Infer(t.Context(), &Inventory{Tensors: list, Model: r.model}, &Inventory{Tensors: r.b}, opt)
					}
					if err != nil {
						t.Fatalf("%s with %s: %v", r.name, word, err)
					}
					return res
				}
				want := outcome(t, find(r.a), r.a, func(n string) string { return n })
				got := outcome(t, find(a), a, func(n string) string {
					if w, ok := strings.CutSuffix(n, word); ok {
						return w + ".weight"
					}
					return n
				})
				if got != want {
					t.Errorf("%s with %s, aimed at a convention %v\n%s", r.name, word, aim, cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")))
				}
				compared++
			}
		}
	}
	t.Logf("%d lists compared", compared)
	if compared < sweep.Count(10, 40) {
		t.Error("too few lists were compared")
	}
}

// A model of which the biases show that what is called a kernel has its outputs first, one whose biases show
// that it has its inputs first, and both without biases.
func TestKernels(t *testing.T) {
	const layers = 3
	side := func(kernel, biases, turned bool) []convention.Named {
		var out []convention.Named
		for l := range layers {
			for _, m := range []struct {
				name     string
				out, in_ uint64
			}{{"attention.self.query", 16, 16}, {"attention.self.key", 16, 16}, {"intermediate.dense", 64, 16}, {"output.dense", 16, 64}} {
				leaf, shape, stack := ".weight", []uint64{m.out, m.in_}, "encoder.layer"
				if kernel {
					leaf, stack = ".kernel", "enc.blk"
				}
				if turned {
					slices.Reverse(shape)
				}
				name := fmt.Sprintf("%s.%d.%s", stack, l, m.name)
				out = append(out, convention.Named{Name: name + leaf, Shape: shape})
				if biases {
					out = append(out, convention.Named{Name: name + ".bias", Shape: []uint64{m.out}})
				}
			}
		}
		return out
	}
	for _, biases := range []bool{true, false} {
		for _, turned := range []bool{true, false} {
			a, b := side(true, biases, turned), side(false, biases, false)
			res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true})
			if err != nil || res.Refused != "" {
				t.Fatal(err, res.Refused)
			}
			checkShapes(t, "kernels", res, a, b)
			got := apply(t, res.Map, a)
			for _, n := range a {
				want := strings.Replace(strings.Replace(n.Name, "enc.blk", "encoder.layer", 1), ".kernel", ".weight", 1)
				turns := len(got.ops[n.Name]) > 0
				if !slices.Equal(got.to[n.Name], []string{want}) || turns != (turned && strings.HasSuffix(n.Name, "kernel")) {
					t.Errorf("biases %v, turned %v: %s becomes %v, turned %v", biases, turned, n.Name, got.to[n.Name], turns)
				}
			}
			for _, r := range res.Rules {
				if r.Class == Guess && (biases || turned) { // without either, shapes speak for what names speak against
					t.Errorf("biases %v, turned %v: %v", biases, turned, r)
				}
			}
		}
	}
}

// respelled writes names with other separators, the same everywhere.
func respelled(list []convention.Named, rng *rand.Rand) ([]convention.Named, map[string]string) {
	dot, line := []string{".", "_", "/"}[rng.IntN(3)], []string{"_", "-"}[rng.IntN(2)]
	camel := rng.IntN(3) == 0
	out := slices.Clone(list)
	was := make(map[string]string)
	for i := range out {
		var b strings.Builder
		upper := false
		for k, c := range out[i].Name {
			switch {
			case c == '.':
				b.WriteString(dot)
			case c == '_' && camel && k > 0 && k+1 < len(out[i].Name) && isLower(out[i].Name[k-1]) && isLower(out[i].Name[k+1]):
				upper = true
			case c == '_':
				b.WriteString(line)
			case upper:
				b.WriteString(strings.ToUpper(string(c)))
				upper = false
			default:
				b.WriteRune(c)
			}
		}
		out[i].Name = b.String()
		was[out[i].Name] = list[i].Name
	}
	return out, was
}

func isLower(c byte) bool { return c >= 'a' && c <= 'z' }

// To the same names with other separators, every tensor becomes itself, for sure.
func TestSeparators(t *testing.T) {
	type list struct {
		name    string
		tensors []convention.Named
	}
	var lists []list
	for _, r := range readReleases(t) {
		lists = append(lists, list{r.name, r.a}, list{r.to, r.b})
	}
	if testing.Short() {
		lists = lists[:20]
	}
	seen := make(map[string]bool)
	changed := 0
	for n, l := range lists {
		if seen[l.name] {
			continue
		}
		seen[l.name] = true
		rng := rand.New(rand.NewPCG(5, uint64(n)))
		a, was := respelled(l.tensors, rng)
		if len(was) < len(a) {
			continue // two names have become one
		}
		for _, back := range []bool{false, true} {
			from, to := a, l.tensors
			if back {
				from, to = to, from
			}
			res, err := Infer(t.Context(), &Inventory{Tensors: from}, &Inventory{Tensors: to}, Options{Unknown: true})
			if err != nil || res.Refused != "" {
				t.Errorf("%s as %s: %v %s", l.name, a[0].Name, err, res.Refused)
				continue
			}
			got := apply(t, res.Map, from)
			bad := 0
			for i := range from {
				if !slices.Equal(got.to[from[i].Name], []string{to[i].Name}) || len(got.ops[from[i].Name]) > 0 {
					if bad++; bad == 1 {
						t.Errorf("%s: %s becomes %v, not %s", l.name, from[i].Name, got.to[from[i].Name], to[i].Name)
					}
				}
			}
			for _, r := range res.Rules {
				if r.Class == Guess {
					t.Errorf("%s as %s: %s is a guess", l.name, a[0].Name, res.Map.Rules[r.Rule].String())
				}
			}
			changed++
		}
	}
	t.Logf("%d maps", changed)
}

// What a conversion would drop, because it follows from the configuration, is renamed where B has it.
func TestBufferThatBothHave(t *testing.T) {
	c := lookup(t, "bert-hf")
	var b []convention.Named
	for _, of := range c.Tensors() {
		if holes := of.Pattern.Holes(); len(holes) < 2 && !of.Optional {
			for l := range 1 + len(holes) {
				if n, ok := of.Pattern.Format([]int{l}[:len(holes)]); ok {
					b = append(b, convention.Named{Name: n})
				}
			}
		}
	}
	b = append(b, convention.Named{Name: "bert.embeddings.position_ids"})
	a := slices.Clone(b)
	for i := range a {
		a[i].Name = "engine." + a[i].Name
	}
	res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{})
	if err != nil || res.Refused != "" {
		t.Fatal(err, res)
	}
	got := apply(t, res.Map, a)
	for _, n := range a {
		if want := strings.TrimPrefix(n.Name, "engine."); !slices.Equal(got.to[n.Name], []string{want}) {
			t.Errorf("%s becomes %v", n.Name, got.to[n.Name])
		}
	}
}

// Packed weights, their scales and zeros stay together, however they are joined to their module.
func TestQuantisedSeparators(t *testing.T) {
	spell := map[string]func(string) string{
		"joined": func(n string) string { return strings.ReplaceAll(n, ".", "_") },
		"camel": func(n string) string {
			parts := strings.Split(n, "_")
			for i := 1; i < len(parts); i++ {
				parts[i] = strings.ToUpper(parts[i][:1]) + parts[i][1:]
			}
			return strings.Join(parts, "")
		},
	}
	for how, spelled := range spell {
		var a, b []convention.Named
		add := func(name string, shape ...uint64) {
			a = append(a, convention.Named{Name: spelled(name), Shape: shape})
			b = append(b, convention.Named{Name: name, Shape: shape})
		}
		add("model.embed_tokens.weight", 100, 64)
		for l := range 3 {
			for _, m := range []string{"q", "k", "v", "o"} {
				at := fmt.Sprintf("model.layers.%d.self_attn.%s_proj.", l, m)
				add(at+"qweight", 64, 8)
				add(at+"qzeros", 1, 8)
				add(at+"scales", 1, 64)
			}
			for _, m := range []string{"gate", "up"} {
				at := fmt.Sprintf("model.layers.%d.mlp.%s_proj.", l, m)
				add(at+"weight", 96, 64)
				add(at+"weight_scale", 96)
				add(at + "input_scale")
			}
			add(fmt.Sprintf("model.layers.%d.input_layernorm.weight", l), 64)
		}
		res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true})
		if err != nil || res.Refused != "" {
			t.Fatal(how, err, res.Refused)
		}
		got := apply(t, res.Map, a)
		for i := range a {
			if !slices.Equal(got.to[a[i].Name], []string{b[i].Name}) {
				t.Errorf("%s: %s becomes %v", how, a[i].Name, got.to[a[i].Name])
			}
		}
		for _, r := range res.Rules {
			if r.Class == Guess {
				t.Errorf("%s: %s is a guess", how, res.Map.Rules[r.Rule].String())
			}
		}
	}
}

// The last normalisation of a layer on either side is asked about, not left over: norm_1 and norm_2 below one
// module, where only one of them has a word that says which it is.
func TestLastNormIsAsked(t *testing.T) {
	a := listed(t, `wte.weight 100x64
blocks.{}.norm_attn_norm.norm_1.weight [0-3] 64
blocks.{}.norm_attn_norm.norm_2.weight [0-3] 64
blocks.{}.norm_attn_norm.attn.q.weight [0-3] 64x64
blocks.{}.norm_attn_norm.attn.k.weight [0-3] 16x64
blocks.{}.norm_attn_norm.attn.v.weight [0-3] 16x64
blocks.{}.norm_attn_norm.attn.out_proj.weight [0-3] 64x64
blocks.{}.ffn.mlp.w1.weight [0-3] 172x64
blocks.{}.ffn.mlp.v1.weight [0-3] 172x64
blocks.{}.ffn.mlp.w2.weight [0-3] 64x172
norm_f.weight 64
unembed.weight 100x64`)
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{})
	if err != nil || res.Refused != "" || len(res.Missing)+len(res.Extra) > 0 {
		t.Fatal(err, brief(res))
	}
	asked := false
	for _, q := range res.Questions {
		asked = asked || slices.ContainsFunc(q.Between, func(p string) bool { return strings.Contains(p, "norm_2") })
	}
	if !asked {
		t.Errorf("norm_2 is not asked about\n%s", brief(res))
	}
}
