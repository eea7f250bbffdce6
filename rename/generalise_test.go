package rename

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Renamings of two parts are never of one rule, whatever they have in common.
func TestGeneraliseParts(t *testing.T) {
	var names []string
	want := make(map[string]string)
	for l := range 3 {
		for _, w := range []string{"w1", "w2"} {
			name := fmt.Sprintf("h.%d.%s", l, w)
			names = append(names, name)
			want[name] = "model." + name
		}
	}
	rules := func(part func(string) int) []string {
		var out []string
		for _, r := range Generalise(names, want, part).Rules {
			out = append(out, r.String())
		}
		return out
	}
	if d := cmp.Diff([]string{"{rest...} -> model.{rest...}"}, rules(nil)); d != "" {
		t.Error(d)
	}
	ofLast := func(name string) int { return int(name[len(name)-1]) }
	if d := cmp.Diff([]string{"h.{layer}.w1 -> model.h.{layer}.w1", "h.{layer}.w2 -> model.h.{layer}.w2"}, rules(ofLast)); d != "" {
		t.Error(d)
	}
}

// Numbers that count are holes, also where they are glued to a word; those that tell parts
// apart are not.
func TestGeneraliseGlued(t *testing.T) {
	var names []string
	want := make(map[string]string)
	put := func(from, to string) {
		names = append(names, from)
		want[from] = to
	}
	for l := range 12 {
		put(fmt.Sprintf("trunk.b%d.n1.weight", l), fmt.Sprintf("model.layers.%d.input_layernorm.weight", l))
		put(fmt.Sprintf("trunk.b%d.n2.weight", l), fmt.Sprintf("model.layers.%d.post_attention_layernorm.weight", l))
		put(fmt.Sprintf("trunk.b%d.w1.weight", l), fmt.Sprintf("model.layers.%d.mlp.fc1.weight", l))
		put(fmt.Sprintf("trunk.b%d.w2.weight", l), fmt.Sprintf("model.layers.%d.mlp.fc2.weight", l))
	}
	var got []string
	for _, r := range Generalise(names, want, nil).Rules {
		got = append(got, r.String())
	}
	if d := cmp.Diff([]string{
		"trunk.b{layer}.n1.weight -> model.layers.{layer}.input_layernorm.weight",
		"trunk.b{layer}.n2.weight -> model.layers.{layer}.post_attention_layernorm.weight",
		"trunk.b{layer}.w1.weight -> model.layers.{layer}.mlp.fc1.weight",
		"trunk.b{layer}.w2.weight -> model.layers.{layer}.mlp.fc2.weight",
	}, got); d != "" {
		t.Error(d)
	}
}

// Where all numbers of a place are written with as many digits, they are numbers.
func TestGeneralisePadded(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		layers   int
		want     []string
	}{
		{"block_%02d.w", "layers.%d.weight", 12, []string{"block_{layer:02}.w -> layers.{layer}.weight"}},
		{"block_%02d.w", "layers.%d.weight", 112, []string{"block_{layer:02}.w -> layers.{layer}.weight"}},
		{"layers.%d.w", "h.%03d.w", 3, []string{"layers.{layer}.w -> h.{layer:03}.w"}},
		{"layers.%02d.w", "h.%03d.w", 3, []string{"layers.{layer:02}.w -> h.{layer:03}.w"}},
		{"layers.%02d.w", "h.%02d.w", 3, []string{"layers.{layer}.w -> h.{layer}.w"}},
		{"layers.%010d.w", "h.%d.w", 2, []string{"layers.0000000000.w -> h.0.w", "layers.0000000001.w -> h.1.w"}},
	} {
		var names, got []string
		want := make(map[string]string)
		for l := range tt.layers {
			name := fmt.Sprintf(tt.from, l)
			names = append(names, name)
			want[name] = fmt.Sprintf(tt.to, l)
		}
		for _, r := range Generalise(names, want, nil).Rules {
			got = append(got, r.String())
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.from, d)
		}
	}
}

func TestUnnamed(t *testing.T) {
	for pattern, want := range map[string]string{
		"a.{layer}.b{n2}.{rest...}": "a.{}.b{}.{rest...}",
		`a.\{x}.{}`:                 `a.\{x}.{}`,
	} {
		if got := Unnamed(pattern); got != want {
			t.Errorf("%s: %s, not %s", pattern, got, want)
		}
	}
}
