package infer

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// withNumbers is a configuration of one of the models, of a family that both conventions
// have names for, or else of one of A's.
func withNumbers(from, to *convention.Convention, s *sizes) *convention.Model {
	m := modelOf(map[string]int64{
		"num_attention_heads": int64(s.query / s.head), "num_key_value_heads": int64(s.kv / s.head),
		"head_dim": int64(s.head), "hidden_size": int64(s.hidden), "num_local_experts": int64(s.experts),
	})
	m.Type = from.Families[0]
	for _, f := range from.Families {
		if to.HasFamily(f) {
			m.Type = f
			break
		}
	}
	return m
}

// shallow is a model of fewer layers, which has the same rules.
func shallow(s *sizes) *sizes {
	few := *s
	few.layers = 5
	return &few
}

// orders is how many orders of names tests try.
func orders() int {
	return sweep.Count(2, 8)
}

// applied carries a result out on names and shapes: what becomes of each set of tensors.
type applied struct {
	shapes map[string][]uint64 // of the new tensors
	to     map[string][]string // of A's names
	ops    map[string][]tensorop.Op
}

func apply(t testing.TB, m *rename.Map, list []convention.Named) *applied {
	t.Helper()
	out := &applied{make(map[string][]uint64), make(map[string][]string), make(map[string][]tensorop.Op)}
	names := make([]string, len(list))
	shapes := make(map[string][]uint64)
	for i, n := range list {
		names[i], shapes[n.Name] = n.Name, n.Shape
	}
	bare := *m
	bare.Ask = nil
	p := rename.NewPlan(&bare, names, rename.Limits{})
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Rows {
		if r.Action == rename.Keep || r.Action == rename.Move {
			out.shapes[r.To], out.to[r.From] = shapes[r.From], []string{r.To}
		}
	}
	for _, tr := range p.Transforms {
		var operands [][]uint64
		for _, n := range tr.From {
			operands = append(operands, shapes[n])
			out.to[n], out.ops[n] = tr.To, tr.Ops
		}
		got, err := tensorop.Shapes(tr.Ops, operands)
		if err != nil {
			t.Fatal(err)
		}
		for k, n := range tr.To {
			out.shapes[n] = got[k]
		}
	}
	return out
}

func shapesOf(list []convention.Named) map[string][]uint64 {
	m := make(map[string][]uint64)
	for _, n := range list {
		m[n.Name] = n.Shape
	}
	return m
}

// Between conventions that are known, every tensor gets the role that it has, in all
// pairs, both directions and several orders, and nothing is asked.
func TestKnownPairs(t *testing.T) {
	for n, p := range pairs {
		if p.to == "dbrx-hf" {
			continue // no model has both names: a norm of DBRX is behind attention, and not before the MLP
		}
		for _, way := range [][2]string{{p.from, p.to}, {p.to, p.from}} {
			s := shallow(models[p.model])
			from, to := lookup(t, way[0]), lookup(t, way[1])
			var first string
			for k := range orders() {
				rng := rand.New(rand.NewPCG(uint64(n), uint64(k)))
				a, b := shuffled(modelIn(t, way[0], s), rng), shuffled(modelIn(t, way[1], s), rng)
				m := withNumbers(from, to, s)
				res, err := Infer(t.Context(), &Inventory{Tensors: a, Model: m}, &Inventory{Tensors: b, Model: m}, Options{})
				if err != nil {
					t.Errorf("%v: %v", way, err)
					break
				}
				want := shapesOf(b)
				rules := strings.Split(rulesOf(res), "\n")
				slices.Sort(rules)
				if text := strings.Join(rules, "\n"); k == 0 {
					first = text
				} else if text != first {
					t.Errorf("%v: the order of names makes a difference\n%s", way, cmp.Diff(first, text))
				}
				// LLaMA has no biases, and Qwen has some.
				biases := func(list []string) bool {
					return !slices.ContainsFunc(list, func(n string) bool { return !strings.HasSuffix(n, ".bias") })
				}
				if len(res.Questions) > 0 || !biases(res.Missing) || !biases(res.Extra) {
					t.Errorf("%v\n%s", way, rulesOf(res))
					break
				}
				got := apply(t, res.Map, a)
				for _, shapes := range []map[string][]uint64{got.shapes, want} {
					maps.DeleteFunc(shapes, func(n string, _ []uint64) bool {
						return strings.HasSuffix(n, ".bias") && len(res.Missing)+len(res.Extra) > 0
					})
				}
				if d := cmp.Diff(want, got.shapes); d != "" {
					t.Errorf("%v: %s", way, d)
				}
				for name, tos := range got.to {
					var roles []string
					for _, n := range tos {
						roles = append(roles, strings.Fields(partsOf(to, n))...)
					}
					if has := strings.Join(roles, " "); want[tos[0]] != nil && !overlap(partsOf(from, name), has) {
						t.Errorf("%v: %s (%s) becomes %v (%s)", way, name, partsOf(from, name), tos, has)
					}
				}
				if len(res.Rules) > 20 {
					t.Errorf("%v: %d rules", way, len(res.Rules))
				}
			}
		}
	}
}

// The inverse of every map takes the names and the shapes back, and the operations undo
// each other.
func TestInverse(t *testing.T) {
	for _, p := range pairs {
		s := shallow(models[p.model])
		from, to := lookup(t, p.from), lookup(t, p.to)
		for _, opt := range []Options{{}, {Unknown: true}} {
			a, b := modelIn(t, p.from, s), modelIn(t, p.to, s)
			m := withNumbers(from, to, s)
			res, err := Infer(t.Context(), &Inventory{Tensors: a, Model: m}, &Inventory{Tensors: b, Model: m}, opt)
			if err != nil {
				t.Errorf("%v: %v", p, err)
				continue
			}
			there := apply(t, res.Map, a)
			names := make([]string, len(a))
			for i := range a {
				names[i] = a[i].Name
			}
			bare := *res.Map
			bare.Ask = nil
			var made []convention.Named
			for _, n := range slices.Sorted(maps.Keys(there.shapes)) {
				made = append(made, convention.Named{Name: n, Shape: there.shapes[n]})
			}
			back := apply(t, rename.NewPlan(&bare, names, rename.Limits{}).Inverse(), made)
			want := shapesOf(a)
			if d := cmp.Diff(want, back.shapes); d != "" {
				t.Errorf("%v: %s", p, d)
			}
			for _, n := range names {
				for i, o := range there.ops[n] {
					inv, ok := o.Inverse()
					if ops := back.ops[there.to[n][0]]; !ok || len(ops) != len(there.ops[n]) || ops[len(ops)-1-i].Kind != inv.Kind {
						t.Errorf("%v: %s: %v is not undone by %v", p, n, there.ops[n], ops)
					}
				}
			}
		}
	}
}

// sure are the pairs of templates of rules that are not guessed, in either direction.
func surePairs(t testing.TB, res *Result, list, others []convention.Named, turned bool) []string {
	t.Helper()
	got := apply(t, res.Map, list)
	guessed := make(map[string]bool)
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Name
	}
	bare := *res.Map
	bare.Ask = nil
	for _, r := range rename.NewPlan(&bare, names, rename.Limits{}).Rows {
		guessed[r.From] = r.Rule >= 0 && res.Rules[r.Rule].Class == Guess
	}
	var out []string
	has := shapesOf(others)
	for name, tos := range got.to {
		for _, to := range tos {
			switch {
			case guessed[name] || has[to] == nil:
			case turned:
				out = append(out, to+" "+name)
			default:
				out = append(out, name+" "+to)
			}
		}
	}
	slices.Sort(out)
	return out
}

// From B to A the same tensors are each other's.
func TestSwappedSides(t *testing.T) {
	for _, p := range pairs {
		s := shallow(models[p.model])
		a, b := modelIn(t, p.from, s), modelIn(t, p.to, s)
		for _, opt := range []Options{{Unknown: true}, {Opaque: true}} {
			there, err1 := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, opt)
			back, err2 := Infer(t.Context(), &Inventory{Tensors: b}, &Inventory{Tensors: a}, opt)
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			if d := cmp.Diff(surePairs(t, there, a, b, false), surePairs(t, back, b, a, true)); d != "" {
				t.Errorf("%v: %s", p, d)
			}
		}
	}
}

// overlap reports whether the parts of one tensor are among those of another, which is
// made of it or holds it.
func overlap(a, b string) bool {
	x, y := strings.Fields(a), strings.Fields(b)
	in := func(list []string) func(string) bool {
		return func(part string) bool { return !slices.Contains(list, part) }
	}
	return !slices.ContainsFunc(x, in(y)) || !slices.ContainsFunc(y, in(x))
}

// Under opaque names nothing is sure and wrong, whatever the names are.
func TestOpaqueNames(t *testing.T) {
	for n, p := range pairs {
		s := shallow(models[p.model])
		from, to := lookup(t, p.from), lookup(t, p.to)
		for k := range orders() {
			rng := rand.New(rand.NewPCG(uint64(n), uint64(k)))
			a, was := opaque(modelIn(t, p.from, s), rng)
			b := shuffled(modelIn(t, p.to, s), rng)
			res, err := Infer(t.Context(), &Inventory{Tensors: shuffled(a, rng)}, &Inventory{Tensors: b}, Options{Unknown: true})
			if err != nil {
				t.Fatal(err)
			}
			for _, pair := range surePairs(t, res, a, b, false) {
				name, got, _ := strings.Cut(pair, " ")
				if had, has := partsOf(from, was[name]), partsOf(to, got); !overlap(had, has) {
					t.Errorf("%v: %s (%s) becomes %s for sure", p, name, had, got)
				}
			}
		}
	}
}

// Names that are hostile are refused, in little time.
func TestHostile(t *testing.T) {
	many := func(f func(i int) string, n int) []convention.Named {
		out := make([]convention.Named, n)
		for i := range out {
			out[i] = convention.Named{Name: f(i), Shape: []uint64{8, 8}}
		}
		return out
	}
	lots := sweep.Count(20_000, 100_000)
	small := many(func(i int) string { return fmt.Sprintf("l.%d.w", i) }, 4)
	for name, list := range map[string][]convention.Named{
		"many thousand templates": many(func(i int) string { return fmt.Sprintf("x%x.y%x.w", i*7919, i) }, lots),
		"a name of a megabyte":    many(func(i int) string { return strings.Repeat("a.1.", 1<<18) + fmt.Sprint(i) }, 3),
		"a name twice":            many(func(int) string { return "a" }, 2),
		"a thousand of one shape": many(func(i int) string { return fmt.Sprintf("m%c%c.w", 'a'+i/30, 'a'+i%30) }, 1000),
	} {
		for _, side := range []bool{true, false} {
			a, b := list, list
			if side {
				a = small
			} else {
				b = small
			}
			if name == "a thousand of one shape" {
				a, b = list, list
			}
			if _, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true}); err == nil {
				t.Errorf("%s is not refused", name)
			} else if len(err.Error()) > 300 {
				t.Errorf("%s: %.100s…", name, err)
			}
		}
	}
}

// Names that say nothing decide nothing: whichever a tensor has, what is sure of it is the same, and
// so is what is asked. Of what is asked, the likeliest answer may depend on the alphabet.
func TestAlphabetDecidesNothing(t *testing.T) {
	alphabets := 3
	if testing.Short() {
		alphabets = 2
	}
	sure := 0
	for n, p := range pairs {
		s := shallow(models[p.model])
		list, b := modelIn(t, p.from, s), modelIn(t, p.to, s)
		var first string
		for k := range alphabets {
			a, was := opaque(list, rand.New(rand.NewPCG(uint64(n), uint64(k))))
			res, err := Infer(t.Context(), &Inventory{Tensors: a}, &Inventory{Tensors: b}, Options{Unknown: true, Opaque: true})
			if err != nil {
				t.Fatalf("%v: %v", p, err)
			}
			names := make([]string, len(a))
			for i := range a {
				names[i] = a[i].Name
			}
			var lines []string
			asked := make(map[int]bool)
			var questions []string
			for _, q := range res.Questions {
				for _, p := range q.Between {
					questions = append(questions, p[strings.LastIndexByte(p, '.')+1:])
				}
			}
			for i, r := range res.Rules {
				if asked[i] = r.Class == Guess; !asked[i] {
					continue
				}
				for _, from := range res.Map.Rules[i].From {
					if name := from.String(); !slices.Contains(questions, name[strings.LastIndexByte(name, '.')+1:]) {
						t.Errorf("%s..%s: %s is a guess that no question is about", p.from, p.to, from)
					}
				}
			}
			bare := *res.Map
			bare.Ask = nil
			plan := rename.NewPlan(&bare, names, rename.Limits{})
			for _, row := range plan.Rows {
				becomes := row.To
				switch {
				case row.Rule < 0 && row.Action == rename.Keep:
					becomes = "nothing"
				case row.Rule >= 0 && asked[row.Rule]:
					becomes = "a question"
				case row.Rule >= 0:
					becomes += " " + string(res.Rules[row.Rule].Class)
					sure++
				}
				lines = append(lines, was[row.From]+" becomes "+becomes)
			}
			slices.Sort(lines)
			if text := strings.Join(lines, "\n"); k == 0 {
				first = text
			} else if d := cmp.Diff(first, text); d != "" {
				t.Errorf("%s..%s: other names that say nothing: %s", p.from, p.to, d)
			}
		}
	}
	if sure == 0 {
		t.Error("nothing was sure of any: nothing was tried")
	}
}
