package compare

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/rename"
)

// explainNames derives the rules for names of A, of which those with a second
// word have that name in B; "-" stands for a tensor that B lacks.
func explainNames(lines []string) *comparison {
	c := &comparison{out: &Result{}}
	for _, line := range lines {
		from, to, ok := strings.Cut(line, " ")
		if !ok {
			to = from
		}
		a := &tensor{name: from, own: from}
		c.as = append(c.as, a)
		if to == "-" {
			continue
		}
		b := &tensor{name: to, own: to}
		c.bs = append(c.bs, b)
		c.link(a, b, ByContent).status = Same
	}
	c.explain()
	return c
}

// check applies the rules found and compares with what they are to explain.
func (c *comparison) check(t interface{ Fatalf(string, ...any) }) {
	if c.out.Map == nil {
		return
	}
	var names []string
	for _, a := range c.as {
		names = append(names, a.name)
	}
	plan := rename.NewPlan(c.out.Map, names, rename.Limits{})
	if err := plan.Err(); err != nil {
		t.Fatalf("the rules %v have problems: %v", c.out.Rules, err)
	}
	for i, a := range c.as {
		if a.pair != nil && plan.Rows[i].To != a.pair.b.name {
			t.Fatalf("the rules %v make %q of %q, not %q", c.out.Rules, plan.Rows[i].To, a.name, a.pair.b.name)
		}
	}
}

func TestRules(t *testing.T) {
	layers := func(from, to string, numbers ...int) []string {
		var out []string
		for _, n := range numbers {
			out = append(out, fmt.Sprintf(from+" "+to, n, n))
		}
		return out
	}
	tests := []struct {
		name  string
		names []string
		want  []string // "from -> to xN"
	}{
		{"layers", append(layers("model.layers.%d.ln1.w", "model.layers.%d.norm_1.w", 0, 1, 11), "model.norm.w"), []string{
			"model.layers.{layer}.ln1.w -> model.layers.{layer}.norm_1.w x3",
		}},
		{"one layer", []string{"h.3.a h.3.b"}, []string{"h.3.a -> h.3.b x1"}},
		{"experts", []string{"h.0.experts.1.w1 h.0.e.1.up", "h.1.experts.0.w1 h.1.e.0.up"}, []string{
			"h.{layer}.experts.{expert}.w1 -> h.{layer}.e.{expert}.up x2",
		}},
		{"exchanged numbers", []string{"x.0.1 y.1.0", "x.2.3 y.3.2"}, []string{"x.{n}.{n2} -> y.{n2}.{n} x2"}},
		{"shifted", []string{"layers.1.w h.0.w", "layers.2.w h.1.w"}, []string{"layers.{layer}.w -> h.{layer-1}.w x2"}},
		{"no rule in the numbers", []string{"a.0 b.3", "a.1 b.1"}, []string{"a.0 -> b.3 x1", "a.1 -> b.1 x1"}},
		{
			"a layer that keeps its name",
			[]string{"h.0.a h.0.b", "h.1.a", "h.2.a h.2.b"},
			[]string{"h.0.a -> h.0.b x1", "h.2.a -> h.2.b x1"},
		},
		{"a layer that B lacks", []string{"h.0.a h.0.b", "h.1.a -", "h.2.a h.2.b"}, []string{"h.{layer}.a -> h.{layer}.b x3"}},
		{
			"a layer that B lacks, under a name that is taken",
			[]string{"h.0.a h.0.b", "h.1.a -", "h.1.b", "h.2.a h.2.b"},
			[]string{"h.0.a -> h.0.b x1", "h.2.a -> h.2.b x1"},
		},
		{"prefix taken off", []string{"p.a a", "p.h.0.w h.0.w", "p.h.1.w h.1.w"}, []string{"p.{rest...} -> {rest...} x3"}},
		{"prefix put on", []string{"a q.a", "b q.b"}, []string{"{rest...} -> q.{rest...} x2"}},
		{"prefix put on some", []string{"a q.a", "b q.b", "c"}, []string{"a -> q.a x1", "b -> q.b x1"}},
		{"prefix exchanged, and more", []string{"m.a l.m.a", "m.b.c l.m.b.c", "m.h.0.ln l.m.h.0.norm", "m.h.1.ln l.m.h.1.norm"}, []string{
			"m.h.{layer}.ln -> l.m.h.{layer}.norm x2",
			"{rest...} -> l.{rest...} x2",
		}},
		{"swap", []string{"h.0.q h.0.o", "h.0.o h.0.q", "h.1.q h.1.o", "h.1.o h.1.q"}, []string{
			"h.{layer}.q -> h.{layer}.o x2", "h.{layer}.o -> h.{layer}.q x2",
		}},
		{"a name that is taken", []string{"h.h h", "h -", "x"}, []string{"h ->  x1", "h.h -> h x1"}},
		{"numbers of words change places", []string{"h.0.ln_1 h.0.ln_2", "h.0.ln_2 h.0.ln_1", "h.1.ln_1 h.1.ln_2", "h.1.ln_2 h.1.ln_1"}, []string{
			"h.{layer}.ln_1 -> h.{layer}.ln_2 x2", "h.{layer}.ln_2 -> h.{layer}.ln_1 x2",
		}},
		{"words with numbers", []string{"h.0.w1 h.0.fc2", "h.0.w2 h.0.fc1", "h.1.w1 h.1.fc2", "h.1.w2 h.1.fc1"}, []string{
			"h.{layer}.w1 -> h.{layer}.fc2 x2", "h.{layer}.w2 -> h.{layer}.fc1 x2",
		}},
		{"layers after an underscore", []string{"layers_0/w l.0.w", "layers_1/w l.1.w"}, []string{"layers_{layer}/w -> l.{layer}.w x2"}},
		{"braces", []string{"a{0}.w b{0}.w", "a{1}.w b{1}.w"}, []string{"a{{0}}.w -> b{{0}}.w x1", "a{{1}}.w -> b{{1}}.w x1"}},
		{"leading zeros are text", []string{"a.01 b.01", "a.02 b.02"}, []string{"a.{rest...} -> b.{rest...} x2"}},
		{"leading zeros taken off", []string{"a.01 b.1", "a.02 b.2"}, []string{"a.01 -> b.1 x1", "a.02 -> b.2 x1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := explainNames(tt.names)
			c.check(t)
			var got []string
			for _, r := range c.out.Rules {
				got = append(got, fmt.Sprintf("%s -> %s x%d", r.From, r.To, r.Tensors))
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// Whatever the names are, the rules make of each what it has become.
func TestRulesExplain(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.SampledFrom([]string{"h", "ln1", "w", "0", "1", "2", "10", "01", "experts", "a{", "{n}", "_orig_mod"})
		name := rapid.Custom(func(t *rapid.T) string {
			return strings.Join(rapid.SliceOfN(segment, 1, 4).Draw(t, "segments"), ".")
		})
		names := rapid.SliceOfNDistinct(name, 1, 12, rapid.ID).Draw(t, "names")
		// Some keep their names, some are gone, the others take new ones; all at
		// once, so that they may take each other's.
		to := rapid.SliceOfNDistinct(name, len(names), len(names), rapid.ID).Draw(t, "new names")
		kept := make(map[string]bool)
		var lines []string
		for i, n := range names {
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				kept[n] = true
				lines = append(lines, n)
			case 1:
				lines = append(lines, n+" -")
			default:
				lines = append(lines, n+" "+to[i])
			}
		}
		for _, l := range lines {
			if _, b, ok := strings.Cut(l, " "); ok && kept[b] {
				t.Skip("two tensors of B with one name")
			}
		}
		explainNames(lines).check(t)
	})
}
