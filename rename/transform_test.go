package rename

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func numbers(m map[string]int64) func(string) (int64, bool) {
	return func(key string) (int64, bool) {
		v, ok := m[key]
		return v, ok
	}
}

// transformLines writes the transforms of a plan, or its problems.
func transformLines(p *Plan) string {
	var b strings.Builder
	if err := p.Err(); err != nil {
		return err.Error() + "\n"
	}
	for _, t := range p.Transforms {
		fmt.Fprintf(&b, "%s -> %s\n", strings.Join(t.From, " "), strings.Join(t.To, " "))
		for _, o := range t.Ops {
			text, _ := json.Marshal(o)
			fmt.Fprintf(&b, "  %s\n", text)
		}
	}
	return b.String()
}

func TestTransforms(t *testing.T) {
	tests := []struct{ name, body, names, want string }{
		{
			"fused projections, with the configuration's numbers",
			"rules: [{from: 'l.{n}.qkv', steps: [split: {axis: 0, heads: heads, kv_heads: kv, layout: grouped}, permute: {operand: 1, heads: kv, from: half, to: adjacent}], to: ['l.{n}.q', 'l.{n}.k', 'l.{n}.v']}]",
			"x l.1.qkv l.0.qkv",
			`l.1.qkv -> l.1.q l.1.k l.1.v
  {"op":"split","index":0,"count":1,"axis":0,"sizes":[8,2,2],"layout":"grouped","groups":2}
  {"op":"permute","index":1,"count":1,"axis":0,"heads":2,"from":"half","to":"adjacent"}
l.0.qkv -> l.0.q l.0.k l.0.v
  {"op":"split","index":0,"count":1,"axis":0,"sizes":[8,2,2],"layout":"grouped","groups":2}
  {"op":"permute","index":1,"count":1,"axis":0,"heads":2,"from":"half","to":"adjacent"}
`,
		},
		{
			"experts in the order of their numbers",
			"rules: [{from: ['l.{n}.{e}.g', 'l.{n}.{e}.u'], steps: [stack: {over: e}, concat: {axis: 1, parts: [1, 1]}], to: 'l.{n}.gu'}]",
			"l.0.10.g l.0.0.u l.0.0.g l.0.1.g l.0.1.u l.0.10.u l.0.2.g l.0.2.u l.0.3.g l.0.3.u l.0.4.g l.0.4.u l.0.5.g l.0.5.u l.0.6.g l.0.6.u l.0.7.g l.0.7.u l.0.8.g l.0.8.u l.0.9.g l.0.9.u",
			`l.0.0.g l.0.1.g l.0.2.g l.0.3.g l.0.4.g l.0.5.g l.0.6.g l.0.7.g l.0.8.g l.0.9.g l.0.10.g l.0.0.u l.0.1.u l.0.2.u l.0.3.u l.0.4.u l.0.5.u l.0.6.u l.0.7.u l.0.8.u l.0.9.u l.0.10.u -> l.0.gu
  {"op":"stack","index":0,"count":11,"axis":0}
  {"op":"stack","index":1,"count":11,"axis":0}
  {"op":"concat","index":0,"count":2,"axis":1,"sizes":[1,1]}
`,
		},
		{
			"a stack taken apart",
			"rules: [{from: 'l.{n}.gu', steps: [split: {axis: 1, parts: [1, 1]}, unstack: {over: e, count: experts}, transpose: {}], to: ['l.{n}.{e}.g', 'l.{n}.{e}.u']}]",
			"l.0.gu",
			`l.0.gu -> l.0.0.g l.0.1.g l.0.0.u l.0.1.u
  {"op":"split","index":0,"count":1,"axis":1,"sizes":[1,1]}
  {"op":"unstack","index":0,"count":1,"axis":0,"sizes":[1,1]}
  {"op":"unstack","index":2,"count":1,"axis":0,"sizes":[1,1]}
  {"op":"transpose","index":0,"count":1,"axis":0}
  {"op":"transpose","index":1,"count":1,"axis":0}
  {"op":"transpose","index":2,"count":1,"axis":0}
  {"op":"transpose","index":3,"count":1,"axis":0}
`,
		},
		{
			"one of several is missing",
			"rules: [{from: ['l.{n}.a', 'l.{n}.b'], concat: {axis: 0, parts: [1, 1]}, to: 'l.{n}.ab'}]",
			"l.0.a l.0.b l.1.a l.2.a l.1.x",
			`map.yaml:1:9: l.{n}.a + l.{n}.b -> l.{n}.ab takes "l.1.a": none is called "l.1.b"
map.yaml:1:9: l.{n}.a + l.{n}.b -> l.{n}.ab takes "l.2.a": none is called "l.2.b"
`,
		},
		{
			"an expert is missing, or is there twice",
			"rules: [{from: 'l.{n}.{e}', stack: {over: e}, to: 'l.{n}'}]",
			"l.0.0 l.0.2 l.1.0 l.1.00",
			`map.yaml:1:9: l.{n}.{e} -> l.{n} takes "l.0.0": 2 tensors are to be stacked, and one of them is number 2: {e} must count from 0 without a gap
map.yaml:1:9: l.{n}.{e} -> l.{n} takes "l.1.0": two of the tensors to be stacked are number 0
`,
		},
		{
			"experts with zeros before their numbers",
			"rules: [{from: 'l.{n}.{e}', stack: {over: e}, to: 'l.{n}'}, {from: 'h.{e:02}', stack: {over: e}, to: h}]",
			"l.0.00 l.0.01 h.00 h.01",
			`map.yaml:1:9: l.{n}.{e} -> l.{n} takes "l.0.00": one of the tensors to be stacked is number 00: write {e:02}
`,
		},
		{
			"the last expert is missing",
			"rules: [{from: ['l.{n}.{e}.g', 'l.{n}.{e}.u'], steps: [stack: {over: e, count: experts}, concat: {axis: 1, parts: [1, 1]}], to: 'l.{n}'}]",
			"l.0.0.g l.0.1.g l.0.0.u l.0.1.u l.1.0.g l.1.1.g l.1.0.u",
			`map.yaml:1:9: l.{n}.{e}.g + l.{n}.{e}.u -> l.{n} takes "l.1.0.g": stack over {e} takes 2 tensors, and there is 1
`,
		},
		{
			"two tensors for one place",
			"rules: [{from: ['{x...}.{n}.a', '{x...}.{n}.b'], concat: {axis: 0, parts: [1, 1]}, to: 'ab.{n}'}]",
			"l.0.a l.0.b m.0.a m.0.b",
			`two or more tensors would be called "ab.0": "l.0.a" and "m.0.a" (map.yaml:1:9)
`,
		},
		{
			"a name that stays",
			"rules: [{from: a, split: {axis: 0, parts: [1, 2]}, to: [b, c]}]",
			"a c",
			`"a" (map.yaml:1:9) would be called "c", but a tensor that keeps its name has it
`,
		},
		{
			"a number that nobody knows",
			"rules: [{from: a, permute: {heads: n_heads, from: half, to: adjacent}, to: a}]",
			"a",
			`map.yaml:1:9: a -> a takes "a": n_heads is not known: the configuration does not have it; write a number in its place
`,
		},
		{
			"a number that cannot be",
			"rules: [{from: a, permute: {heads: negative, from: half, to: adjacent}, to: a}, {from: b, unstack: {over: e, count: huge}, to: 'b.{e}'}]",
			"a b",
			`map.yaml:1:9: a -> a takes "a": negative is -1 in the configuration
map.yaml:1:81: b -> b.{e} takes "b": unstack makes 1099511627776 tensors, which no model has
`,
		},
		{
			"a name without room",
			"rules: [{from: a, split: {axis: 0, parts: [1, 2]}, to: [b, " + strings.Repeat("c", 64) + "]}]",
			"a",
			`"a" would be called "` + strings.Repeat("c", 64) + `", which has 64 bytes; a name in GGUF has at most 63 (map.yaml:1:9)
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limits := GGUF()
			limits.Number = numbers(map[string]int64{"heads": 8, "kv": 2, "experts": 2, "negative": -1, "huge": 1 << 40})
			p := NewPlan(mustParse(t, tt.body), strings.Fields(tt.names), limits)
			if diff := cmp.Diff(tt.want, transformLines(p)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The inverse of a plan takes the tensors back through the inverse operations,
// and survives being written and read.
func TestInverseOfTransforms(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		experts := rapid.IntRange(1, 12).Draw(t, "experts")
		layers := rapid.IntRange(1, 3).Draw(t, "layers")
		m := mustParse2(t, `
rules:
  - from: "l.{n}.qkv"
    steps:
      - split: {axis: 0, heads: 4, kv_heads: 2, layout: grouped}
      - permute: {operand: 0, heads: 4, from: half, to: adjacent}
      - permute: {operand: 1, heads: 2, from: half, to: adjacent}
      - offset: {operand: 2, add: 1}
    to: ["b.{n}.q", "b.{n}.k", "b.{n}.v"]
  - from: ["l.{n}.{e}.g", "l.{n}.{e}.u"]
    steps:
      - transpose: {}
      - stack: {over: e}
      - concat: {axis: 2, parts: [1, 1], layout: interleaved}
    to: "b.{n}.gu"
  - from: "l.{n}.down"
    steps:
      - unstack: {over: e, count: experts}
      - transpose: {}
    to: "b.{n}.{e}.down"
  - from: "l.{n}.w"
    reshape: {shape: [4, 2], was: [8]}
    to: "b.{n}.w"
`)
		var names []string
		for n := range layers {
			names = append(names, fmt.Sprintf("l.%d.qkv", n), fmt.Sprintf("l.%d.down", n), fmt.Sprintf("l.%d.w", n))
			for e := range experts {
				names = append(names, fmt.Sprintf("l.%d.%d.g", n, e), fmt.Sprintf("l.%d.%d.u", n, e))
			}
		}
		limits := Limits{Number: numbers(map[string]int64{"experts": int64(experts)})}
		there := NewPlan(m, names, limits)
		if err := there.Err(); err != nil {
			t.Fatal(err)
		}
		var made []string
		for _, tr := range there.Transforms {
			made = append(made, tr.To...)
		}
		var b strings.Builder
		if err := Write(&b, there.Inverse()); err != nil {
			t.Fatal(err)
		}
		back := NewPlan(mustParse2(t, b.String()), made, Limits{})
		if err := back.Err(); err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		if len(back.Transforms) != len(there.Transforms) {
			t.Fatalf("%d transforms, %d on the way back", len(there.Transforms), len(back.Transforms))
		}
		for i := range back.Transforms {
			x, y := &there.Transforms[i], &back.Transforms[i]
			if !slices.Equal(x.From, y.To) || !slices.Equal(x.To, y.From) {
				t.Fatalf("%v -> %v came back as %v -> %v", x.From, x.To, y.From, y.To)
			}
			undo, ok := x.inverse()
			if !ok {
				t.Fatalf("%v has no inverse", x.Ops)
			}
			if diff := cmp.Diff(undo, y.Ops); diff != "" {
				t.Fatalf("%s\n(-want +got):\n%s", &b, diff)
			}
		}
	})
}

func mustParse2(t *rapid.T, body string) *Map {
	m, err := Parse("map.yaml", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLostValues(t *testing.T) {
	m := mustParse(t, "rules: [{from: 'a.{n}', negative-exp: {round: true}, to: 'b.{n}'}]")
	p := NewPlan(m, []string{"a.0", "a.1", "c"}, Limits{})
	inv := p.Inverse()
	if len(inv.Rules) != 0 || !strings.HasSuffix(inv.Description, "; does not bring back the tensors whose values it changed (2)") {
		t.Errorf("%+v", inv)
	}
}
