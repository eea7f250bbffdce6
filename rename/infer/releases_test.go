package infer

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A release is a project's own list of a model, and the same model in the names of a convention.
// testdata/releases.txt says how it is written.
type release struct {
	name, to string
	foreign  bool              // its words are of no language that the lexicon has
	model    *convention.Model // the numbers of heads, where its names are those of a convention
	a, b     []convention.Named
	lines    [][]string          // tensors of A, by line
	becomes  map[string][]string // of tensors of A, in the order in which they lie
	madeOf   map[string][]string // of tensors of B
	turned   map[string]bool     // tensors of A
}

// A catalogue is the roles of a model in one convention.
type catalogue struct {
	sizes map[string]uint64
	name  map[string]string
	axes  map[string][]string
}

const releaseLayers = 5

func readReleases(t testing.TB) []*release {
	text, err := os.ReadFile("testdata/releases.txt")
	if err != nil {
		t.Fatal(err)
	}
	models := make(map[string]*catalogue)
	var model *catalogue
	var rel *release
	var out []*release
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 0 || f[0] == "#":
		case f[0] == "==":
			model, rel = &catalogue{make(map[string]uint64), make(map[string]string), make(map[string][]string)}, nil
			models[f[1]] = model
		case f[0] == "--":
			name, to, _ := strings.Cut(strings.TrimSpace(line[2:]), " to ")
			to, heads := strings.CutSuffix(to, ", 8 heads")
			to, foreign := strings.CutSuffix(to, ", foreign")
			rel = &release{name: name, to: to, foreign: foreign, becomes: make(map[string][]string), madeOf: make(map[string][]string), turned: make(map[string]bool)}
			if model = models[to]; heads {
				rel.model = modelOf(map[string]int64{"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2})
			}
			out = append(out, rel)
		case rel != nil:
			rel.add(t, model, f[0], f[2])
		case f[0] == "like":
			old := models[f[1]]
			for role := range old.name {
				model.name[role], model.axes[role] = old.name[role], old.axes[role]
			}
			for k, n := range old.sizes {
				model.sizes[k] = n
			}
		case f[0] == "sizes":
			for _, s := range f[1:] {
				k, n, _ := strings.Cut(s, "=")
				model.sizes[k], _ = strconv.ParseUint(n, 10, 64)
			}
		default:
			model.name[f[0]], model.axes[f[0]] = f[1], strings.Split(f[2], "x")
		}
	}
	return out
}

func (c *catalogue) shape(role string) (shape []uint64) {
	for _, axis := range c.axes[role] {
		n, err := strconv.ParseUint(axis, 10, 64)
		if err != nil {
			n = c.sizes[axis]
		}
		shape = append(shape, n)
	}
	return shape
}

// each yields the names that <a|b> in a text stands for.
func each(text string) []string {
	before, rest, ok := strings.Cut(text, "<")
	if !ok {
		return []string{text}
	}
	words, after, _ := strings.Cut(rest, ">")
	var out []string
	for w := range strings.SplitSeq(words, "|") {
		for _, tail := range each(after) {
			out = append(out, before+w+tail)
		}
	}
	return out
}

// numbered fills in the holes of a name: {} a number, {+2} one that much greater, {00} one of two
// digits, {00+1} both.
func numbered(name string, index ...int) string {
	for _, n := range index {
		before, rest, ok := strings.Cut(name, "{")
		if !ok {
			break
		}
		how, after, _ := strings.Cut(rest, "}")
		digits, more, _ := strings.Cut(how, "+")
		by, _ := strconv.Atoi(more)
		name = before + fmt.Sprintf("%0*d", len(digits), n+by) + after
	}
	return name
}

// add reads a line of a release.
func (r *release) add(t testing.TB, model *catalogue, left, right string) {
	names, specs := each(left), each(right)
	joins := len(specs) == 1 && len(names) > 1 // several of A are one of B
	if !joins && len(specs) != len(names) {
		t.Fatalf("%s: %s", r.name, left)
	}
	for k, pattern := range names {
		spec := specs[0]
		if !joins {
			spec = specs[k]
		}
		role := func(p string) string { return strings.TrimRight(p, "@~^") }
		layers, experts := 1, 1
		if strings.Contains(model.name[role(strings.Split(spec, "+")[0])], "{}") {
			layers = releaseLayers
		}
		if strings.Count(pattern, "{") > 1 {
			experts = int(model.sizes["e"])
		}
		var line []string
		for l := range layers {
			for e := range experts {
				name := numbered(pattern, l, e)
				var shape []uint64
				for p := range strings.SplitSeq(spec, "+") {
					if model.axes[role(p)] == nil {
						t.Fatalf("%s: no role %s", r.name, p)
					}
					one, axis := model.shape(role(p)), 0
					members := []int{e}
					if strings.HasSuffix(p, "^") {
						one[0], one[1], axis, r.turned[name] = one[1], one[0], 1, true
					}
					if strings.Contains(p, "@") {
						members = plainOrder(int(model.sizes["e"]))
						if strings.Contains(p, "~") {
							one[0] *= model.sizes["e"]
						} else {
							one, axis = slices.Concat([]uint64{model.sizes["e"]}, one), axis+1
						}
					}
					for _, m := range members {
						b := numbered(model.name[role(p)], l, m)
						if r.madeOf[b] == nil {
							r.b = append(r.b, convention.Named{Name: b, Shape: model.shape(role(p)), DType: "BF16"})
						}
						r.becomes[name], r.madeOf[b] = append(r.becomes[name], b), append(r.madeOf[b], name)
					}
					if shape == nil {
						shape = one
					} else {
						shape[axis] += one[axis]
					}
				}
				if joins {
					shape[0] /= uint64(len(names))
				}
				r.a = append(r.a, convention.Named{Name: name, Shape: shape, DType: "BF16"})
				line = append(line, name)
			}
		}
		r.lines = append(r.lines, line)
	}
}

// A tally counts lines of lists: what is sure, what is asked with the right answer as the
// likeliest, what is asked otherwise, and what is sure and wrong.
type tally struct{ right, asked, open, wrong int }

func (s tally) of() float64 { return float64(s.right + s.asked + s.open + s.wrong) }

// count compares a result with what becomes of the tensors. The names of A may be others than in
// the release.
func (s *tally) count(t testing.TB, r *release, res *Result, a []convention.Named, lines [][]string, truth map[string][]string, renamed map[string]string, turned map[string]bool) {
	got := apply(t, res.Map, a)
	rule := make(map[string]int)
	bare := *res.Map
	bare.Ask = nil
	names := make([]string, len(a))
	for i := range a {
		names[i] = a[i].Name
	}
	for _, row := range rename.NewPlan(&bare, names, rename.Limits{}).Rows {
		rule[row.From] = row.Rule
	}
	for _, line := range lines {
		verdict := &s.right
		for _, orig := range line {
			name := cmp.Or(renamed[orig], orig)
			turns := slices.ContainsFunc(got.ops[name], func(o tensorop.Op) bool { return o.Kind == tensorop.Transpose })
			right := slices.Equal(got.to[name], truth[orig]) && turns == turned[orig]
			sure := right && rule[name] < 0 // it keeps its name
			if n := rule[name]; n >= 0 {
				sure = res.Rules[n].Class != Guess && res.Rules[n].Confidence >= 0.9
			}
			switch {
			case right && sure:
				continue
			case right:
				verdict = &s.asked
			case sure:
				verdict = &s.wrong
				t.Errorf("%s: %s becomes %v for sure, not %v", r.name, orig, got.to[name], truth[orig])
			default:
				verdict = &s.open
			}
			break
		}
		*verdict++
	}
}

// checkShapes reports new names whose tensors have other shapes in B.
func checkShapes(t testing.TB, name string, res *Result, a, b []convention.Named) {
	t.Helper()
	has := shapesOf(b)
	for n, shape := range apply(t, res.Map, a).shapes {
		if want, ok := has[n]; ok && want != nil && shape != nil && !slices.Equal(shape, want) {
			t.Errorf("%s: %s is %v, and %v in B", name, n, shape, want)
		}
	}
}

// Names that projects and labs give to models, of which no convention knows: nothing is sure
// and wrong, in either direction, with shapes and names and with shapes alone.
func TestReleases(t *testing.T) {
	list := readReleases(t)
	ways := []string{"convention", "pair", "words", "shapes", "back"}
	if testing.Short() {
		ways = ways[:1]
	}
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			var known, foreign tally
			for n, r := range list {
				rng := rand.New(rand.NewPCG(7, uint64(n)))
				a, b := shuffled(r.a, rng), shuffled(r.b, rng)
				lines, truth, turned := r.lines, r.becomes, r.turned
				renamed := make(map[string]string)
				var res *Result
				var err error
				switch way {
				case "convention":
					res, err = ToConvention(t.Context(), &Inventory{Tensors: a, Model: r.model}, lookup(t, r.to), Options{})
				case "shapes":
					var was map[string]string
					a, was = opaque(a, rng)
					for now, old := range was {
						renamed[old] = now
					}
					fallthrough
				default:
					if way == "back" {
						a, b, truth, lines, turned = b, a, r.madeOf, nil, make(map[string]bool)
						line := make(map[string]int) // of a template
						for _, n := range r.b {
							form := template.Words.Of(n.Name)
							if _, ok := line[form]; !ok {
								line[form] = len(lines)
								lines = append(lines, nil)
							}
							lines[line[form]] = append(lines[line[form]], n.Name)
							turned[n.Name] = r.turned[r.madeOf[n.Name][0]]
						}
					}
					res, err = Infer(t.Context(), &Inventory{Tensors: a, Model: r.model}, &Inventory{Tensors: b}, Options{Unknown: way == "words"})
				}
				if err != nil {
					t.Errorf("%s: %v", r.name, err)
					continue
				}
				if res.Refused != "" {
					if way != "shapes" {
						t.Errorf("%s: %s", r.name, res.Refused)
					}
					continue
				}
				s := &known
				if r.foreign {
					s = &foreign
				}
				s.count(t, r, res, a, lines, truth, renamed, turned)
				if way != "convention" {
					checkShapes(t, r.name, res, a, b)
				}
			}
			t.Logf("of known words %+v, of others %+v", known, foreign)
			if of := known.of(); way != "shapes" && (float64(known.right+known.asked) < 0.9*of || float64(known.asked+known.open) > 0.3*of) {
				t.Errorf("%.2f right and %.2f asked", float64(known.right+known.asked)/of, float64(known.asked+known.open)/of)
			}
		})
	}
}
