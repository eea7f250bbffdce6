package evidence

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/infer"
)

func inventory(t *testing.T, c *checkpoint.Checkpoint) *infer.Inventory {
	t.Helper()
	inv := new(infer.Inventory)
	for x := range adapt.Tensors(c) {
		inv.Tensors = append(inv.Tensors, x)
	}
	m, err := adapt.Model(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	inv.Model = m
	return inv
}

// inferred is a map between two checkpoints that is found with their weights.
func inferred(t *testing.T, a, b *checkpoint.Checkpoint, opt infer.Options) *infer.Result {
	t.Helper()
	if opt.Content == nil {
		opt.Content = beside(t, a, b)
	}
	res, err := infer.Infer(t.Context(), inventory(t, a), inventory(t, b), opt)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// rewritten applies a plan to a checkpoint, into a new directory.
func rewritten(t *testing.T, c *checkpoint.Checkpoint, plan *rename.Plan) *checkpoint.Checkpoint {
	t.Helper()
	if err := plan.Err(); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "model.safetensors")
	job, err := rewrite.Prepare(t.Context(), c, plan, &rewrite.Options{Output: out})
	if err != nil {
		t.Fatal(err)
	}
	_, err = job.Run(t.Context(), nil)
	if err := errors.Join(err, job.Close()); err != nil {
		t.Fatal(err)
	}
	return openFile(t, out)
}

// differ says where two checkpoints are not equal, byte by byte.
func differ(t *testing.T, got, want *checkpoint.Checkpoint) string {
	t.Helper()
	if got.Len() != want.Len() {
		return fmt.Sprintf("%d tensors, want %d", got.Len(), want.Len())
	}
	for i, x := range want.All() {
		k, ok := got.Lookup(x.Name)
		if !ok {
			return "no " + x.Name
		}
		if !slices.Equal(got.At(k).Shape, x.Shape) || !bytes.Equal(bytesOf(t, got, k), bytesOf(t, want, i)) {
			return x.Name + " differs"
		}
	}
	return ""
}

func bytesOf(t *testing.T, c *checkpoint.Checkpoint, i int) []byte {
	t.Helper()
	s, err := values.SectionOf(c, i)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, s.Data.Size())
	if _, err := s.Data.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// thereAndBack fails unless the map makes truth of a, and its inverse a again, bit by bit.
func thereAndBack(t *testing.T, about string, m *rename.Map, a, truth *checkpoint.Checkpoint) {
	t.Helper()
	plan := rename.NewPlan(m, namesOf(a), rename.Safetensors())
	made := rewritten(t, a, plan)
	if d := differ(t, made, truth); d != "" {
		t.Errorf("%s: %s", about, d)
		return
	}
	if d := differ(t, rewritten(t, made, rename.NewPlan(plan.Inverse(), namesOf(made), rename.Safetensors())), a); d != "" {
		t.Errorf("%s, and back: %s", about, d)
	}
	if _, err := rename.Invert(m); err != nil {
		t.Errorf("%s: %v", about, err)
	}
}

func namesOf(c *checkpoint.Checkpoint) []string {
	var out []string
	for _, x := range c.All() {
		out = append(out, x.Name)
	}
	return out
}

// Opaque names say nothing, and related weights everything: every form of a model is found in
// every order of its tensors, nothing is asked, and what the map makes is the model, bit by bit.
func TestInferRelated(t *testing.T) {
	t.Parallel()
	base := trained(1)
	related := map[string]model{"copy": base, "tuned": base.tuned(0.97, 2), "trained on": base.tuned(0.8, 3)}
	testRelated(t, base, related)
}

// The same of trained models.
func TestInferRelatedTrained(t *testing.T) {
	if testing.Short() {
		t.Skip("the made models do")
	}
	t.Parallel()
	base := tinyModel(t, tiny(t, "A0"))
	related := make(map[string]model)
	for _, name := range []string{"A0", "sft", "lora", "cpt_s100"} {
		related[name] = tinyModel(t, tiny(t, name))
	}
	testRelated(t, base, related)
}

// someForms are enough with -short: one of each way in which parts lie in a fused tensor.
var someForms = []string{"plain", "grouped pairs", "gate-up rows", "turned"}

func testRelated(t *testing.T, base model, related map[string]model) {
	t.Helper()
	truth := open(t, base.named(hf, 1)...)
	for i, f := range forms {
		if testing.Short() && !slices.Contains(someForms, f.name) {
			continue
		}
		m := f.make(base)
		seed := uint64(len(f.name))
		a := open(t, m.named(opaque(seed, m.kinds()), seed)...)
		var done []string // the maps that were tried on the files
		for k, name := range slices.Sorted(maps.Keys(related)) {
			if testing.Short() && name != "tuned" && name != "sft" || !sweep.Has(i+k, 3) && !testing.Short() {
				continue
			}
			other := related[name]
			b := open(t, other.named(hf, uint64(len(name)))...)
			about := f.name + ", " + name
			res := inferred(t, a, b, infer.Options{Unknown: true, Opaque: true})
			if len(res.Questions) > 0 || len(res.Missing) > 0 || len(res.Extra) > 0 || len(res.Contradictions) > 0 {
				t.Errorf("%s: asks %+v, misses %v, leaves %v, contradicts %+v", about, res.Questions, res.Missing, res.Extra, res.Contradictions)
				continue
			}
			if rules := rulesOf(res.Map); !slices.Contains(done, rules) {
				done = append(done, rules)
				thereAndBack(t, about, res.Map, a, truth)
			}
		}
	}
}

func rulesOf(m *rename.Map) string {
	var list []string
	for i := range m.Rules {
		list = append(list, fmt.Sprintf("%s %v", &m.Rules[i], m.Rules[i].Ops))
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// What unrelated weights cannot tell is asked, and nothing is wrong that is not.
func TestInferUnrelated(t *testing.T) {
	t.Parallel()
	testUnrelated(t, trained(1), trained(2))
}

func TestInferUnrelatedTrained(t *testing.T) {
	if testing.Short() {
		t.Skip("the made models do")
	}
	t.Parallel()
	testUnrelated(t, tinyModel(t, tiny(t, "A0")), tinyModel(t, tiny(t, "A1")))
}

func testUnrelated(t *testing.T, base, other model) {
	t.Helper()
	for _, f := range forms {
		if testing.Short() && !slices.Contains(someForms, f.name) {
			continue
		}
		m := f.make(base)
		for seed := range uint64(sweep.Count(1, 5)) {
			naming := opaque(seed, m.kinds())
			a, b := open(t, m.named(naming, seed)...), open(t, other.named(hf, seed+7)...)
			res := inferred(t, a, b, infer.Options{Unknown: true, Opaque: true})
			asked := 0
			for _, kind := range m.kinds() {
				if isAsked(res, strings.TrimSuffix(strings.ReplaceAll(naming[kind], "%s", "0"), ".weight")) {
					asked++
					continue
				}
				made := outcome(res, nameIn(naming, kind+layer0(naming[kind])), namesOf(a))
				if want := nameIn(hf, kind+layer0(hf[kind])); len(m.kinds()) == len(base.kinds()) && made != "" && made != want {
					t.Errorf("%s, order %d: %s becomes %s and not %s", f.name, seed, naming[kind], made, want)
				}
			}
			if share := float64(asked) / float64(len(m.kinds())); share < 0.75 {
				t.Errorf("%s, order %d: asks %.2f", f.name, seed, share)
			}
		}
	}
}

func layer0(pattern string) string {
	if strings.Contains(pattern, "%s") {
		return " 0"
	}
	return ""
}

// isAsked reports whether a question is about a module.
func isAsked(res *infer.Result, name string) bool {
	for _, q := range res.Questions {
		for _, p := range q.Between {
			m := &rename.Map{}
			r, err := rename.NewRule(p, p)
			if err != nil {
				continue
			}
			m.Rules = []rename.Rule{r}
			for _, n := range []string{name, name + ".weight"} {
				if rename.NewPlan(m, []string{n}, rename.Limits{}).Rows[0].Rule >= 0 {
					return true
				}
			}
		}
	}
	return false
}

// outcome is what the map makes of a tensor, "" where it is nothing or several.
func outcome(res *infer.Result, name string, names []string) string {
	m := *res.Map
	m.Ask = nil
	for _, row := range rename.NewPlan(&m, names, rename.Limits{}).Rows {
		if row.From == name && row.Rule >= 0 {
			return row.To
		}
	}
	return ""
}

// Right names over weights that are those of others are found out, and right files raise no
// alarm.
func TestInferContradictions(t *testing.T) {
	t.Parallel()
	base := trained(1)
	testContradictions(t, base, map[string]model{"copy": base, "tuned": base.tuned(0.97, 2), "trained on": base.tuned(0.8, 3)}, trained(2))
}

func TestInferContradictionsTrained(t *testing.T) {
	if testing.Short() {
		t.Skip("the made models do")
	}
	t.Parallel()
	related := make(map[string]model)
	for _, name := range []string{"A0", "sft", "cpt_s100"} {
		related[name] = tinyModel(t, tiny(t, name))
	}
	testContradictions(t, tinyModel(t, tiny(t, "A0")), related, tinyModel(t, tiny(t, "A1")))
}

func testContradictions(t *testing.T, base model, related map[string]model, unrelated model) {
	t.Helper()
	for name, other := range related {
		if testing.Short() && name == "trained on" {
			continue
		}
		b := open(t, other.named(hf, 1)...)
		if res := inferred(t, open(t, base.named(hf, 2)...), b, infer.Options{}); len(res.Contradictions) > 0 || len(res.Questions) > 0 {
			t.Errorf("%s: %+v, %+v", name, res.Contradictions, res.Questions)
		}
		for _, swap := range [][2]string{{"q", "o"}, {"gate", "up"}, {"k", "v"}, {"ln1", "ln2"}} {
			swapped := base.each(func(role string, w weight) weight {
				r, l, ok := strings.Cut(role, " ")
				if i := slices.Index(swap[:], r); ok && i >= 0 {
					return base[swap[1-i]+" "+l]
				}
				return w
			})
			res := inferred(t, open(t, swapped.named(hf, 3)...), b, infer.Options{})
			if len(res.Contradictions) != 2 {
				t.Errorf("%s, %v: %+v", name, swap, res.Contradictions)
				continue
			}
			for _, c := range res.Contradictions {
				i := slices.IndexFunc(swap[:], func(r string) bool { return same(c.From, r) })
				if i < 0 || !same(c.Content, swap[1-i]) || !same(c.Name, swap[i]) {
					t.Errorf("%s, %v: %+v", name, swap, c)
				}
			}
		}
	}
	if res := inferred(t, open(t, base.named(hf, 2)...), open(t, unrelated.named(hf, 1)...), infer.Options{}); len(res.Contradictions) > 0 {
		t.Errorf("unrelated: %+v", res.Contradictions)
	}
}

// same reports whether a pattern is that of a role.
func same(pattern, role string) bool {
	name := strings.TrimSuffix(fmt.Sprintf(hf[role], "0"), ".weight")
	return strings.Contains(pattern, name[strings.LastIndex(name, ".")+1:])
}

// Without weights to compare with, the gate and the normalisation before attention are told
// from their rivals in trained models, and nothing in untrained ones. Key and value are asked.
func TestInferAlone(t *testing.T) {
	t.Parallel()
	testAlone(t, "fixture", trained(1), true, true)
	untrained := trained(1).each(func(role string, w weight) weight {
		if len(w.shape) == 1 {
			w.v = each(w.v, func(float64) float64 { return 1 })
			return w
		}
		w.v = normal(uint64(len(role))*77+uint64(role[len(role)-1]), len(w.v))
		return w
	})
	testAlone(t, "untrained", untrained, false, false)
}

func TestInferAloneTrained(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the made models do")
	}
	for _, name := range []string{"A0", "A1", "A0b", "sft", "cpt_s100", "prune"} {
		testAlone(t, name, tinyModel(t, tiny(t, name)), true, true)
	}
	testAlone(t, "init0", tinyModel(t, tiny(t, "init0")), false, false)
	testAlone(t, "stories260K", storiesModel(t), true, false) // its head is tied
}

// testAlone infers the map to a convention, from names that say nothing.
func testAlone(t *testing.T, about string, m model, decided, hints bool) {
	t.Helper()
	to, ok := convention.Lookup("llama-hf")
	if !ok {
		t.Fatal("no llama-hf")
	}
	for seed := range uint64(4) {
		if testing.Short() && seed > 0 {
			break
		}
		naming := opaque(seed, m.kinds())
		a := open(t, m.named(naming, seed)...)
		res, err := infer.ToConvention(t.Context(), inventory(t, a), to, infer.Options{Content: beside(t, a, nil), Opaque: true})
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range []string{"gate", "up", "ln1", "ln2"} {
			name := strings.ReplaceAll(naming[kind], "%s", "0")
			asked := isAsked(res, strings.TrimSuffix(name, ".weight"))
			want := strings.ReplaceAll(hf[kind], "%s", "0")
			switch made := outcome(res, name, namesOf(a)); {
			case asked == decided:
				t.Errorf("%s, order %d: %s: asked is %v", about, seed, kind, asked)
			case decided && made != want:
				t.Errorf("%s, order %d: %s becomes %s", about, seed, kind, made)
			}
		}
		// The head has a direction in common, too; that is a hint, and still asked.
		for _, kind := range []string{"head", "embed"} {
			made := outcome(res, naming[kind], namesOf(a))
			if hints && made != hf[kind] || !isAsked(res, strings.TrimSuffix(naming[kind], ".weight")) {
				t.Errorf("%s, order %d: %s becomes %s, or is not asked", about, seed, kind, made)
			}
		}
		for _, kind := range []string{"k", "v", "q", "o"} {
			if !isAsked(res, strings.TrimSuffix(strings.ReplaceAll(naming[kind], "%s", "0"), ".weight")) {
				t.Errorf("%s, order %d: %s is not asked", about, seed, kind)
			}
		}
		for _, r := range res.Rules {
			if r.Class == infer.Measured && r.Confidence > 0.95 {
				t.Errorf("%s: %+v", about, r)
			}
		}
	}
}

// storiesModel is a real model in the names of llama.cpp.
func storiesModel(t *testing.T) model {
	t.Helper()
	c := openFile(t, testdata.Path(t, "models/stories260K-v3.gguf"))
	m := make(model)
	for role, name := range map[string]string{"embed": "token_embd.weight", "head": "output.weight", "norm": "output_norm.weight"} {
		m[role] = numbersOf(t, c, name)
	}
	for role, name := range map[string]string{
		"ln1": "attn_norm", "ln2": "ffn_norm", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output",
		"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down",
	} {
		for l := range 5 {
			m[fmt.Sprint(role, " ", l)] = numbersOf(t, c, fmt.Sprintf("blk.%d.%s.weight", l, name))
		}
	}
	return m
}

// Words lie: w1 is the up projection of Qwen's first models. Weights that show otherwise count for
// more.
func TestInferLyingWords(t *testing.T) {
	t.Parallel()
	to, _ := convention.Lookup("llama-hf")
	naming := make(map[string]string)
	for role, name := range hf {
		naming[role] = strings.NewReplacer("gate_proj", "w2", "up_proj", "w1", "down_proj", "c_proj", "model.layers", "transformer.h").Replace(name)
	}
	a := open(t, trained(1).named(naming, 2)...)
	for _, content := range []infer.Content{nil, beside(t, a, nil)} {
		res, err := infer.ToConvention(t.Context(), inventory(t, a), to, infer.Options{Content: content, Unknown: true})
		if err != nil {
			t.Fatal(err)
		}
		asked := isAsked(res, "transformer.h.0.mlp.w1")
		if made := outcome(res, "transformer.h.0.mlp.w1.weight", namesOf(a)); asked != (content == nil) || !asked && made != "model.layers.0.mlp.up_proj.weight" {
			t.Errorf("with weights %v: asked %v, w1 becomes %s: %+v", content != nil, asked, made, res.Questions)
		}
	}
}

// Names that mean one thing, and weights of the model alone that show the other: neither is picked.
func TestInferExchangedNames(t *testing.T) {
	t.Parallel()
	testExchangedNames(t, "made", trained(1))
}

func TestInferExchangedNamesTrained(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("the made model does")
	}
	for _, name := range []string{"A0", "A1", "sft", "cpt_s100"} {
		testExchangedNames(t, name, tinyModel(t, tiny(t, name)))
	}
}

func testExchangedNames(t *testing.T, about string, m model) {
	t.Helper()
	to, _ := convention.Lookup("llama-hf")
	for _, exchanged := range []bool{false, true} {
		naming := make(map[string]string)
		for role, name := range hf {
			gate, up := "gate", "up"
			if exchanged {
				gate, up = up, gate
			}
			naming[role] = strings.NewReplacer("gate_proj", gate, "up_proj", up, "mlp", "ffn", "model.layers", "net.blocks", "self_attn", "att").Replace(name)
		}
		a := open(t, m.named(naming, 2)...)
		res, err := infer.ToConvention(t.Context(), inventory(t, a), to, infer.Options{Content: beside(t, a, nil)})
		if err != nil {
			t.Fatal(err)
		}
		want := 0
		if exchanged {
			want = 2
		}
		if len(res.Contradictions) != want || isAsked(res, "net.blocks.0.ffn.gate") != exchanged {
			t.Errorf("%s, exchanged %v: %+v, %+v", about, exchanged, res.Contradictions, res.Questions)
		}
	}
}

// An answer that what one model's weights show speaks against is taken, and the map says so.
func TestInferAloneAgainstAnswer(t *testing.T) {
	t.Parallel()
	to, _ := convention.Lookup("llama-hf")
	base := trained(1)
	naming := opaque(3, base.kinds())
	a := open(t, base.named(naming, 2)...)
	module := func(kind string) string {
		return strings.TrimSuffix(strings.ReplaceAll(naming[kind], "%s", "{layer}"), ".weight")
	}
	last := func(kind string) string { return module(kind)[strings.LastIndexByte(module(kind), '.')+1:] }
	for _, right := range []bool{true, false} {
		assume := infer.Assumption{From: last("gate"), To: "gate_proj"}
		if !right {
			assume.To = "up_proj"
		}
		res, err := infer.ToConvention(t.Context(), inventory(t, a), to, infer.Options{Content: beside(t, a, nil), Opaque: true, Assume: []infer.Assumption{assume}})
		if err != nil {
			t.Fatal(err)
		}
		if made := outcome(res, strings.ReplaceAll(naming["gate"], "%s", "0"), namesOf(a)); !strings.HasSuffix(made, assume.To+".weight") {
			t.Errorf("right %v: it becomes %s", right, made)
		}
		want := []infer.Contradiction{{From: module("gate"), Name: "model.layers.{layer}.mlp.up_proj", Content: "model.layers.{layer}.mlp.gate_proj", Assumed: true}}
		if right {
			want = nil
		}
		for i := range res.Contradictions {
			if !strings.Contains(res.Contradictions[i].By, "have a direction in common, as gates have") {
				t.Error(res.Contradictions[i].By)
			}
			res.Contradictions[i].By = ""
		}
		if !reflect.DeepEqual(res.Contradictions, want) {
			t.Errorf("right %v: %+v", right, res.Contradictions)
		}
		for i, r := range res.Rules {
			if res.Map.Rules[i].From[0].String() == module("gate")+".weight" && (r.Class == infer.Measured) != right {
				t.Errorf("right %v: %+v", right, r)
			}
		}
	}
}
