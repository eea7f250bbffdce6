package rename

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/rename/tensorop"
)

func written(t interface {
	Helper()
	Fatal(...any)
}, m *Map,
) string {
	t.Helper()
	var b strings.Builder
	if err := Write(&b, m); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestInvert(t *testing.T) {
	const mayStay = "; the inverse of a plan remembers each name: rename --write-inverse"
	tests := []struct{ name, body, want string }{
		{
			"names that are told apart by their text",
			"from: yi\nto: llama\nrename:\n  l.{n}.ln1.weight: l.{n}.norm.weight\n",
			"version: 1\ndescription: Undoes map.yaml; right where no tensor had one of its new names before\n" +
				"from: llama\nto: yi\nrename:\n  l.{n}.norm.weight: l.{n}.ln1.weight\n",
		},
		{
			"a swap needs no condition",
			"rename: {a: b, b: a}",
			"version: 1\ndescription: Undoes map.yaml\nrename:\n  b: a\n  a: b\n",
		},
		{
			"a shift",
			"rename: {'h.{n}.{x...}': 'h.{n+1}.{x}'}",
			"version: 1\ndescription: Undoes map.yaml\nrename:\n  h.{n}.{x...}: h.{n-1}.{x}\n",
		},
		{
			"a prefix for all",
			"rename: {'{x...}': 'module.{x}'}",
			"version: 1\ndescription: Undoes map.yaml\nrename:\n  module.{x...}: \"{x}\"\n",
		},
		{
			"holes in another order, one twice",
			"rename: {'{a:seg}.{n}': 'x.{n}.{a}.{n}'}\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrename:\n  x.{n}.{a:seg}.{n}: \"{a}.{n}\"\notherwise: error\n",
		},
		{
			"a prefix drop forgets who had it",
			"rename: {'module.{x...}': '{x}'}",
			"map.yaml:1:10: {x} is so general that names which the map leaves alone may look like it" + mayStay,
		},
		{
			"unless all have it",
			"rename: {'module.{x...}': '{x}'}\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrename:\n  \"{x...}\": module.{x}\notherwise: error\n",
		},
		{"drop", "rules: [{from: a, drop: why}]", "map.yaml:1:9: a drops tensors, and nothing brings them back"},
		{"strip", "strip: [a]", "map.yaml: strip takes out segments, and no new name says where they were" + mayStay},
		{"otherwise drop", "otherwise: {drop: why}", "map.yaml: otherwise drops tensors, and nothing brings them back"},
		{"many to one", "rename: {a: c, b: c}", "map.yaml:1:16: c and c (map.yaml:1:10) can make the same name" + mayStay},
		{"a pattern makes a single name", "rename: {a: c.1, 'b.{n}': 'c.{n}'}", "map.yaml:1:18: c.{n} and c.1 (map.yaml:1:10) can make the same name" + mayStay},
		{"a single name in a pattern", "rename: {'b.{n}': 'c.{n}', a: c.1}", "map.yaml:1:28: c.1 and c.{n} (map.yaml:1:10) can make the same name" + mayStay},
		{"a hole is lost", "rename: {'h.{n}': x}", "map.yaml:1:10: x does not have {n}, and no new name says what it was"},
		{"two readings", "rename: {'{a...}.x.{b...}': 'y.{a}.{b}'}", "map.yaml:1:10: a name that y.{a}.{b} makes can be read in several ways"},
		{"two shifts", "rename: {'h.{n}': 'h.{n}.{n+1}'}", "map.yaml:1:10: h.{n}.{n+1} shifts {n} in two ways"},
		{"no pattern", "rename: {'h.{n}': 'h1{n}'}", "map.yaml:1:10: a name that h1{n} makes can be read in several ways"},
		{
			"bytes",
			"rules: [{from: 'a.{n}', steps: [transpose: {axes: [1, 2, 0]}, split: {axis: 0, heads: h, layout: per-head}, permute: {operand: 1, heads: h, from: half, to: adjacent}, offset: {add: 1}], to: ['q.{n}', 'k.{n}', 'v.{n}']}]\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrules:\n  - from:\n      - q.{n}\n      - k.{n}\n      - v.{n}\n    steps:\n" +
				"      - offset: {add: -1}\n      - permute: {operand: 1, heads: h, from: adjacent, to: half}\n      - concat: {axis: 0, heads: h, layout: per-head}\n      - transpose: {axes: [2, 0, 1]}\n    to: a.{n}\notherwise: error\n",
		},
		{
			"copies",
			"rules: [{from: 'a.{n}', steps: [scale: {by: 4}, copy: {count: 3}], to: ['q.{n}', 'k.{n}', 'v.{n}']}]\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrules:\n  - from:\n      - q.{n}\n      - k.{n}\n      - v.{n}\n    steps:\n" +
				"      - merge: {}\n      - scale: {by: 0.25}\n    to: a.{n}\notherwise: error\n",
		},
		{
			"zeros before a number",
			"rename: {'h.{n:02}.a': 'l.{n}.b', 'h.{n:02}.c': 'l.{n+1:03}.d', 'h.{n}.e': 'l.{n:02}.f', 'h.{n:02}.g': 'l.{n:02}.h'}\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrename:\n  l.{n}.b: h.{n:02}.a\n  l.{n:03}.d: h.{n-1:02}.c\n  l.{n:02}.f: h.{n}.e\n  l.{n:02}.h: h.{n:02}.g\notherwise: error\n",
		},
		{"two widths", "rename: {'h.{n}': 'l.{n}.{n:02}'}", "map.yaml:1:10: l.{n}.{n:02} writes {n} in two ways"},
		{
			"experts, with zeros",
			"rules: [{from: 'a.{n}', unstack: {over: e, count: 2}, to: 'a.{n}.{e:03}'}]\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrules:\n  - from: a.{n}.{e:03}\n    stack: {over: e, count: 2}\n    to: a.{n}\notherwise: error\n",
		},
		{
			"experts",
			"rules: [{from: 'a.{n}', unstack: {over: e, count: experts}, to: 'a.{n}.{e}'}]\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrules:\n  - from: a.{n}.{e}\n    stack: {over: e, count: experts}\n    to: a.{n}\notherwise: error\n",
		},
		{
			"as many experts as are said",
			"rules: [{from: ['g.{n}.{e}', 'u.{n}.{e}'], steps: [stack: {over: e, count: 8}, concat: {axis: 1, parts: [1, 1]}], to: 'a.{n}'}]\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrules:\n  - from: a.{n}\n    steps:\n      - split: {axis: 1, parts: [1, 1]}\n      - unstack: {over: e, count: 8}\n" +
				"    to:\n      - g.{n}.{e}\n      - u.{n}.{e}\notherwise: error\n",
		},
		{
			"bytes, and a shift in all new names",
			"rules: [{from: ['a.{n}', 'b.{n}'], steps: [concat: {axis: 0, parts: [1, 1]}, split: {axis: 1, parts: [1, 2]}], to: ['q.{n+1}', 'k.{n+1}']}]\notherwise: error",
			"version: 1\ndescription: Undoes map.yaml\nrules:\n  - from:\n      - q.{n}\n      - k.{n}\n    steps:\n" +
				"      - concat: {axis: 1, parts: [1, 2]}\n      - split: {axis: 0, parts: [1, 1]}\n    to:\n      - a.{n-1}\n      - b.{n-1}\notherwise: error\n",
		},
		{
			"bytes, and shifts or texts that the new names do not tell",
			"rules: [{from: 'a.{n}', split: {axis: 0, parts: [1, 1]}, to: ['q.{n+1}', 'k.{n}']}, {from: 'b.{n}', unstack: {over: e, count: 2}, to: 'b.{n}.{e+1}'}, {from: '{x...}.c.{y...}', transpose: {}, to: 'c.{x}.{y}'}]",
			"map.yaml:1:9: q.{n+1} + k.{n} shifts {n} in two ways\n" +
				"map.yaml:1:85: b.{n}.{e+1} does not count {e} from 0, and a stack does" + mayStay + "\n" +
				"map.yaml:1:151: a name that c.{x}.{y} makes can be read in several ways",
		},
		{
			"bytes, with less than the inverse needs",
			"rules: [{from: 'a.{n}', offset: {add: 1, round: true}, to: 'b.{n}'}, {from: 'c.{n}', stack: {over: n}, to: c}, {from: 'd.{n}', reshape: {shape: [4]}, to: 'e.{n}'}, {from: 'f.{n}', transpose: {}, to: f}, {from: 'g.{n}', transpose: {}, to: 'g.{n+1}'}, {from: s, scale: {by: 49}, to: s}]",
			"map.yaml:1:9: offset of a.{n} -> b.{n}: it rounds, and nothing brings the values back; the inverse of a plan may know: rename --write-inverse\n" +
				"map.yaml:1:70: stack of c.{n} -> c: it does not say how many tensors it stacks: count; the inverse of a plan may know: rename --write-inverse\n" +
				"map.yaml:1:112: reshape of d.{n} -> e.{n}: it does not say what the shape was; the inverse of a plan may know: rename --write-inverse\n" +
				"map.yaml:1:165: f does not have {n}, and no new name says what it was\n" +
				"map.yaml:1:251: scale of s -> s: it rounds, and nothing brings the values back; the inverse of a plan may know: rename --write-inverse",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inv, err := Invert(mustParse(t, tt.body))
			got := ""
			if err != nil {
				got = err.Error()
				if _, ok := errors.AsType[*ruleError](err); !ok {
					t.Errorf("%v is no ruleError", err)
				}
			} else {
				got = written(t, inv)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestInvertIsRightOrRefuses(t *testing.T) {
	inverted := 0
	rapid.Check(t, func(t *rapid.T) {
		m := anyMap().Draw(t, "map")
		inv, err := Invert(m)
		if err != nil {
			return
		}
		names := namesFor(t, m)
		p := NewPlan(m, names, Limits{})
		if p.Err() != nil {
			return
		}
		back := NewPlan(inv, newNames(p), Limits{})
		conditional := strings.Contains(inv.Description, "right where")
		for i, row := range p.Rows {
			if conditional && row.Rule < 0 && back.Rows[i].Rule >= 0 {
				return // the condition that the description states does not hold
			}
		}
		if got := newNames(back); back.Err() != nil || !slices.Equal(got, names) {
			t.Fatalf("%q to %q and back to %q, %v", names, newNames(p), got, back.Err())
		}
		inverted++
	})
	if inverted == 0 {
		t.Error("no map that was drawn has an inverse")
	}
}

// anyOperations draws a map whose rules move bytes, and names for it: of each rule all that
// its operations take together.
func anyOperations(t *rapid.T) (*Map, []string) {
	type form struct {
		sides, made int
		ops         string
		over        string // the hole of a stack, or of an unstack
	}
	forms := []form{
		{1, 1, "transpose: {axes: [1, 2, 0]}", ""},
		{1, 2, "split: {axis: 0, parts: [2, 1]}", ""},
		{2, 1, "concat: {axis: 1, parts: [1, 1], layout: per-head, groups: 2}", ""},
		{2, 2, "steps: [concat: {axis: 0, parts: [1, 1]}, offset: {add: 1}, split: {axis: 1, parts: [1, 3]}]", ""},
		{1, 2, "steps: [permute: {heads: 2, from: half, to: adjacent}, unstack: {count: 2}]", ""},
		{2, 1, "steps: [stack: {over: e, count: 2}, concat: {axis: 0, parts: [1, 1]}]", "from"},
		{1, 1, "unstack: {over: e, count: 2}", "to"},
		{1, 2, "copy: {count: 2}", ""},
		{2, 1, "steps: [scale: {by: 4}, merge: {}]", ""},
		{1, 2, "steps: [split: {axis: 0, parts: [1, 1]}, unstack: {over: e, count: 2}]", "to"},
	}
	names := make(map[string]bool)
	var text strings.Builder
	text.WriteString("rules:\n")
	for range rapid.IntRange(1, 3).Draw(t, "rules") {
		f := rapid.SampledFrom(forms).Draw(t, "form")
		p := anyPattern().Draw(t, "from")
		holes := make([]string, len(p.holes))
		for i, h := range p.holes {
			holes[i] = nameOf(t, mustCompile(h.String()))
		}
		var from, to []string
		for side := range f.sides {
			source := p.String() + rapid.SampledFrom([]string{".a", ".b", "_"}).Draw(t, "side")
			if f.over == "from" {
				source += ".{e}"
			}
			from = append(from, source)
			if _, err := compile(source); err != nil {
				t.Skip(err)
			}
			target, err := compileTargetOver(source, p, "e")
			if err != nil {
				t.Fatal(side, err)
			}
			for e := range 2 {
				name, err := target.expand(append(slices.Clone(holes), strconv.Itoa(e)))
				if err != nil {
					t.Fatal(err)
				}
				names[name] = true
			}
		}
		alike := rapid.IntRange(0, 3).Draw(t, "alike") > 0 // the numbers in all new names
		numbers := make([]string, len(p.holes))
		for range f.made {
			var right []string
			for i, h := range p.holes {
				if alike && numbers[i] != "" {
					right = append(right, numbers[i])
					continue
				}
				refs := []string{"{" + h.Name + "}"}
				if h.Kind == kindDigits {
					refs = append(refs, "{"+h.Name+"+1}", "{"+h.Name+"+1}", "{"+h.Name+"-1}", "{"+h.Name+":02}")
				}
				numbers[i] = rapid.SampledFrom(refs).Draw(t, "hole")
				right = append(right, numbers[i])
			}
			right = append(right, rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ".", "_", "1"}), 1, 4).Draw(t, "text")...)
			right = rapid.Permutation(right).Draw(t, "right")
			if f.over == "to" {
				right = append(right, "."+rapid.SampledFrom([]string{"{e}", "{e}", "{e:02}", "{e+1}"}).Draw(t, "unstacked"))
			}
			to = append(to, strings.Join(right, ""))
		}
		fmt.Fprintf(&text, "  - from: [%s]\n    %s\n    to: [%s]\n", quoted(from), f.ops, quoted(to))
	}
	m, err := Parse("drawn", []byte(text.String()))
	if err != nil {
		t.Skip(err)
	}
	for range rapid.IntRange(0, 2).Draw(t, "more") {
		names[anyName().Draw(t, "name")] = true
	}
	delete(names, "")
	return m, slices.Sorted(maps.Keys(names))
}

func quoted(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = strconv.Quote(s)
	}
	return strings.Join(out, ", ")
}

// made returns the names that a plan leaves, and the operations that make each.
func made(p *Plan) map[string]string {
	out := make(map[string]string)
	for _, row := range p.Rows {
		if row.Action != Change {
			out[row.To] = ""
		}
	}
	for _, g := range p.Transforms {
		for i, name := range g.To {
			out[name] = fmt.Sprint(g.From, g.Ops, i)
		}
	}
	return out
}

// sameOps writes operations without their places: what is done to each of several tensors
// has no order.
func sameOps(ops []tensorop.Op) []string {
	var out []string
	for _, o := range ops {
		o.Index = 0
		out = append(out, fmt.Sprint(o))
	}
	slices.Sort(out)
	return out
}

func TestInvertOperationsIsRightOrRefuses(t *testing.T) {
	inverted, shifted := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		m, names := anyOperations(t)
		inv, err := Invert(m)
		if err != nil {
			return
		}
		p := NewPlan(m, names, Limits{})
		if p.Err() != nil {
			return
		}
		back := NewPlan(inv, slices.Sorted(maps.Keys(made(p))), Limits{})
		conditional := strings.Contains(inv.Description, "right where")
		for _, row := range p.Rows {
			if row.Action == Keep && conditional && slices.ContainsFunc(back.Rows, func(r Row) bool { return r.From == row.From && r.Rule >= 0 }) {
				return // the condition that the description states does not hold
			}
		}
		if got := slices.Sorted(maps.Keys(made(back))); back.Err() != nil || !slices.Equal(got, names) {
			t.Fatalf("%q to %v and back to %q, %v, by\n%s\nand\n%s", names, made(p), got, back.Err(), written(t, m), written(t, inv))
		}
		undo := make(map[string]*Transform)
		for i := range back.Transforms {
			undo[fmt.Sprint(back.Transforms[i].From, back.Transforms[i].To)] = &back.Transforms[i]
		}
		for i := range p.Transforms {
			g := &p.Transforms[i]
			ops, ok := g.inverse()
			if u := undo[fmt.Sprint(g.To, g.From)]; !ok || u == nil || !slices.Equal(sameOps(u.Ops), sameOps(ops)) {
				t.Fatalf("%+v is undone by %+v", g, u)
			}
		}
		again, err := Invert(inv)
		if err != nil {
			return // rules that never decide, or names that they read in several ways
		}
		if got, want := made(NewPlan(again, names, Limits{})), made(p); !maps.Equal(got, want) {
			t.Fatalf("inverted twice it makes %v, not %v, of %q:\n%s", got, want, names, written(t, again))
		}
		inverted++
		for _, r := range inv.Rules {
			if strings.ContainsAny(r.rightSide(), "+-") {
				shifted++
			}
		}
	})
	if !testing.Short() && (inverted == 0 || shifted == 0) {
		t.Errorf("%d maps with operations were inverted, %d of their rules with a shift", inverted, shifted)
	}
}

func TestCompose(t *testing.T) {
	tests := []struct{ name, a, b, want string }{
		{
			"a chain", "rename: {'h.{n}.a': 'l.{n}.b'}", "rename: {'l.{i}.b': 'x.{i}.c'}",
			"rename:\n  h.{n}.a: x.{n}.c\n  l.{i}.b: x.{i}.c\n",
		},
		{
			"a prefix cut, then a pattern of what it uncovers",
			"rename: {'module.{x...}': '{x}'}", "rename: {'l.{x}.ln1': 'l.{x}.norm'}",
			"rename:\n  module.l.{x_2}.ln1: l.{x_2}.norm\n  module.{x...}: \"{x}\"\n  l.{x}.ln1: l.{x}.norm\n",
		},
		{
			"there and back", "rename: {'h.{n}.a': 'l.{n+1}.b', q: r}", "rename: {'l.{n}.b': 'h.{n-1}.a', r: q}",
			"rename:\n  l.{n}.b: h.{n-1}.a\n  r: q\n",
		},
		{
			"there and back, and a later rule that would take the names", "rename: {'h.{n}.a': 'l.{n}.b', q: r}", "rename: {'l.{n}.b': 'h.{n}.a', r: q, '{x:seg}': '{x}.z', 'h.{x...}': 'k.{x}'}",
			"rename:\n  h.{n}.a: h.{n}.a\n  q: q\n  l.{n}.b: h.{n}.a\n  r: q\n  \"{x:seg}\": \"{x}.z\"\n  h.{x...}: k.{x}\n",
		},
		{
			"zeros taken away, and others put there", "rename: {'h.{n:02}': 'l.{n}'}", "rename: {'l.{n}': 'm.{n+1:03}'}",
			"rename:\n  h.{n:02}: m.{n+1:03}\n  l.{n}: m.{n+1:03}\n",
		},
		{
			"zeros that the second map does not read", "rename: {'h.{n}': 'l.{n:02}'}", "rename: {'l.{n}': 'm.{n+1}'}",
			"!a.yaml:1:10: l.{n} -> m.{n+1} shifts a number that is put together from several parts, or below 0, or writes one with zeros otherwise",
		},
		{
			"zeros of a single name", "rename: {a: 'h.07'}", "rename: {'h.{n:02}': 'l.{n}'}",
			"rename:\n  a: l.7\n  h.{n:02}: l.{n}\n",
		},
		{
			"shifts add up", "rename: {'h.{n}': 'l.{n+2}'}", "rename: {'l.{n}': 'm.{n-1}'}",
			"rename:\n  h.{n}: m.{n+1}\n  l.{n}: m.{n-1}\n",
		},
		{
			"a shift of digits in the text", "rename: {'a.{x...}': 'h.7.{x}'}", "rename: {'h.{n}.{x...}': 'l.{n+1}.{x}'}",
			"rename:\n  a.{x...}: l.8.{x}\n  h.{n}.{x...}: l.{n+1}.{x}\n",
		},
		{
			"a shift of digits in the text, below 0", "rename: {'a.{x...}': 'h.0.{x}'}", "rename: {'h.{n}.{x...}': 'l.{n-1}.{x}'}",
			"!a.yaml:1:10: h.{n}.{x...} -> l.{n-1}.{x} shifts a number that is put together from several parts, or below 0, or writes one with zeros otherwise",
		},
		{
			"a shift of a single name, below 0", "rename: {a: h.0}", "rename: {'h.{n}': 'l.{n-1}'}",
			"!a.yaml:1:10: a -> h.0 makes \"h.0\", and b.yaml:1:10: \"0\" cannot be shifted by -1: it would be less than 0",
		},
		{
			"the second map drops patterns", "rename: {'a.{n}': 'b.{n}', 'c.{n}': 'd.{n}'}",
			"rules: [{from: 'b.{n}', drop: why}]\notherwise: {drop: the rest}",
			"rules:\n  - from: a.{n}\n    drop: why\n  - from: c.{n}\n    drop: the rest\n  - from: b.{n}\n    drop: why\notherwise:\n  drop: the rest\n",
		},
		{
			"bytes", "rules: [{from: 'a.{n}', transpose: {}, to: 'b.{n}'}]", "rename: {c: d}",
			"!a.yaml:1:9: a.{n} -> b.{n} moves bytes, and only renames are composed",
		},
		{
			"bytes, in the second map", "rename: {c: d}", "rules: [{from: 'a.{n}', transpose: {}, to: 'b.{n}'}]",
			"!b.yaml:1:9: a.{n} -> b.{n} moves bytes, and only renames are composed",
		},
		{
			"single names", "rename: {a: h.1, b: q}", "rename: {'h.{n}': 'l.{n+1}'}",
			"rename:\n  a: l.2\n  b: q\n  h.{n}: l.{n+1}\n",
		},
		{
			"what is dropped stays dropped, by either",
			"rules: [{from: a, drop: first}, {from: b, to: c}]", "rules: [{from: c, drop: second}]",
			"rules:\n  - from: a\n    drop: first\n  - from: b\n    drop: second\n  - from: c\n    drop: second\n",
		},
		{
			"strips", "strip: [x]", "strip: ['y']\nrename: {a: b}",
			"strip:\n  - x\n  - \"y\"\nrename:\n  a: b\n",
		},
		{
			"an error stays one", "rename: {a: b}\notherwise: error", "rename: {b: c, d: e}",
			"rename:\n  a: c\notherwise: error\n",
		},
		{
			"the second map takes a part",
			"rename: {'{p...}.a': '{p}.b'}", "rename: {'l.{n}.{x...}': 'h.{n}.{x}'}",
			"!a.yaml:1:10: l.{n}.{x...} of b.yaml:1:10 takes some of the names that {p}.b makes and leaves others, or may; apply the maps one after the other",
		},
		{
			"where the first has several readings", "rename: {'{a...}.x.{b...}': 'y.{a}'}", "rename: {'y.{s:seg}.x.{n}': 'z.{s}.{n}'}",
			"!a.yaml:1:10: y.{s:seg}.x.{n} of b.yaml:1:10 takes some of the names that y.{a} makes and leaves others, or may; apply the maps one after the other",
		},
		{
			"the second map strips", "rename: {a: x.b}", "strip: [x]",
			"!a.yaml: b.yaml strips segments from names that this map has changed; apply the maps one after the other",
		},
		{
			"the second map knows all names or fails", "rename: {a: b}", "rename: {c: d}\notherwise: error",
			"!a.yaml:1:10: a -> b makes names that no rule of b.yaml matches, which it calls an error",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := mustParse(t, tt.a), mustParse(t, tt.b)
			a.File, b.File = "a.yaml", "b.yaml"
			c, err := Compose(a, b)
			got := ""
			if err != nil {
				got = "!" + err.Error()
			} else {
				got = strings.TrimPrefix(written(t, c), "version: 1\ndescription: Does a.yaml, then b.yaml\n")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// Names that a target puts together can run numbers into one another, where
// no pattern that has the same holes finds them again.
func TestCoversWhatTemplatesMake(t *testing.T) {
	tests := []struct {
		from, to, pattern string
		want              bool
	}{
		{"{t:seg}.{m}", "{t}{m}", "{s:seg}{n}", false},
		{"{t:seg}.{m}", "{m}{t}", "{n}{s:seg}", false},
		{"{t:seg}.{m}", "{t}.{m}", "{s:seg}.{n}", true},
		{"{t:seg}.{m}", "{t}.1{m}", "{s:seg}.{n}", true},
		{"{t:seg}.{m}", "{t}.{m}", "{s:seg}.{n:02}", false},
		{"{t:seg}.{m}", "{t}.{m:02}", "{s:seg}.{n:02}", true},
		{"{t:seg}.{m:02}", "{t}.{m}", "{s:seg}.{n:02}", false},
		{"{t:seg}.{m:02}", "{t}.{m:02}", "{s:seg}.{n}", true},
		{"{t:seg}.{m}", "{t}.07", "{s:seg}.{n:02}", true},
		{"{t:seg}.{m}", "{t}.7", "{s:seg}.{n:02}", false},
		{"{t:seg}.{m}", "{t}.{m}", "{s:seg}", false},
		{"{t:seg}.{m}", "{t}.{m}", "{s...}", true},
		{"{t...}.{m}", "{t}", "{s:seg}", false},
		{"{t:seg}.{m}", "{t}.{t}.{m}", "{s:seg}.{s}.{n}", true},
		{"{t:seg}.{m}", "{t}.{m}.{m}", "{s:seg}.{s}.{n}", false},
		{"{t:seg}.{m}", "{m}.{m+1}.{t}", "{n}.{n}.{s:seg}", false},
	}
	for _, tt := range tests {
		from := mustCompile(tt.from)
		to, err := compileTarget(tt.to, from)
		if err != nil {
			t.Fatal(err)
		}
		if _, got := covers(mustCompile(tt.pattern), targetUnits(to, from)); got != tt.want {
			t.Errorf("%s covers %s: %v", tt.pattern, tt.to, got)
		}
	}
}

func TestComposeIsApplyingBoth(t *testing.T) {
	composed := 0
	rapid.Check(t, func(t *rapid.T) {
		a, b := anyMap().Draw(t, "a"), anyMap().Draw(t, "b")
		c, err := Compose(a, b)
		if err != nil {
			return
		}
		names := namesFor(t, a, b)
		first := NewPlan(a, names, Limits{})
		if first.Err() != nil {
			return
		}
		second := NewPlan(b, newNames(first), Limits{})
		if second.Err() != nil {
			return
		}
		both := NewPlan(c, names, Limits{})
		if got, want := newNames(both), newNames(second); both.Err() != nil || !slices.Equal(got, want) {
			t.Fatalf("%q become %q, %v; want %q", names, got, both.Err(), want)
		}
		composed++
	})
	if composed == 0 {
		t.Error("no maps that were drawn can be composed")
	}
}

func TestWriteIsReadBack(t *testing.T) {
	odd := rapid.SampledFrom([]string{
		"a", "yes", "null", "1", "-", "a: b", "#", " a", "a ", "é", "\x00", "\u2028", "\U000e0001", "{", "}", "\"", "\\",
		"\n", "\t", "\ufeff", "\ufffd", "~", "*a", "&a", "!a", "y", "0x1", "1e3", ".inf", "?", strings.Repeat("k", 1100),
	})
	rapid.Check(t, func(t *rapid.T) {
		m := anyMap().Draw(t, "map")
		m.File = ""
		m.Description = odd.Draw(t, "description")
		for range rapid.IntRange(0, 3).Draw(t, "odd names") {
			m.Rules = append(m.Rules, Rule{
				From: []*Pattern{exactly(odd.Draw(t, "from"))}, To: []*Target{exactTarget(odd.Draw(t, "to"))},
			})
		}
		if rapid.Bool().Draw(t, "drop") {
			m.Rules = append(m.Rules, Rule{From: []*Pattern{exactly(odd.Draw(t, "from"))}, Drop: odd.Draw(t, "reason")})
		}
		if rapid.Bool().Draw(t, "otherwise") {
			m.Otherwise = Otherwise{OtherwiseDrop, odd.Draw(t, "reason")}
		}
		var b strings.Builder
		if err := Write(&b, m); err != nil {
			t.Fatal(err)
		}
		back, err := Parse("", []byte(b.String()))
		if err != nil {
			t.Fatalf("%v\n%s", err, &b)
		}
		for i := range back.Rules {
			back.Rules[i].Pos = Pos{}
		}
		if diff := cmp.Diff(m, back, cmp.AllowUnexported(Rule{}, Pattern{}, piece{}, Target{}, targetPiece{})); diff != "" {
			t.Fatalf("%s\n(-written +read):\n%s", &b, diff)
		}
	})
}

func TestWriteOperations(t *testing.T) {
	const text = `version: 1
rules:
  - from: l.{n}.W_pack
    split: {axis: 0, parts: [1, 1], layout: per-head, groups: 4}
    to:
      - l.{n}.q
      - l.{n}.k
  - from:
      - l.{n}.a
      - l.{n}.b
    steps:
      - permute: {operand: 0, axis: 1, heads: num_attention_heads, rotary: 32, from: half, to: adjacent}
      - permute: {operand: 1, heads: 8, from: adjacent, to: half}
      - concat: {axis: 0, parts: [num_attention_heads, 2]}
      - transpose: {axes: [0, 2, 1]}
      - offset: {add: -1.5, round: true}
      - reshape: {shape: [a, 2], was: [4]}
      - negative-exp: {round: true}
    to: l.{n}.ab
`
	if diff := cmp.Diff(text, written(t, mustParse(t, text))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// YAML 1.2 allows keys of 1024 characters, however many this reader takes.
func TestWriteLongNames(t *testing.T) {
	name := strings.Repeat("k", maxKey+1)
	m := &Map{Rules: []Rule{{From: []*Pattern{exactly(name)}, To: []*Target{exactTarget("c")}}}}
	if diff := cmp.Diff("version: 1\nrules:\n  - from: "+name+"\n    to: c\n", written(t, m)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWriteRefusesOtherThanUTF8(t *testing.T) {
	m := &Map{Rules: []Rule{{From: []*Pattern{exactly("a\xffb")}, To: []*Target{exactTarget("c")}}}}
	var b strings.Builder
	err := Write(&b, m)
	if want := `a name near "\xffb\": c" is not UTF-8 and cannot be written in YAML`; err == nil || err.Error() != want || b.Len() != 0 {
		t.Errorf("%v, %q; want %s", err, &b, want)
	}
}
