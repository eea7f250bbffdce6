package compare

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

// listed makes tensors of names and shapes, without data.
func listed(list []fixture.NamedTensor, dtype string) []*tensor {
	typ, _ := values.Lookup(dtype)
	var out []*tensor
	for i, n := range list {
		size := int64(typ.BlockBytes)
		for _, d := range n.Shape {
			size *= int64(d)
		}
		out = append(out, &tensor{
			index: i, own: n.Name, name: n.Name, dtype: dtype, shape: n.Shape, chosen: true,
			section: values.Section{Name: n.Name, Type: typ, Data: io.NewSectionReader(nothing{}, 0, size)},
		})
	}
	return out
}

// headers compares two lists as Compare does without values.
func headers(t *testing.T, as, bs []*tensor, a, b *convention.Model) *Result {
	t.Helper()
	c := &comparison{
		opt: Options{Headers: true}, a: new(checkpoint.Checkpoint), b: new(checkpoint.Checkpoint), out: new(Result),
		as: clones(as), bs: clones(bs),
	}
	x, y := newNaming(c.as, a), newNaming(c.bs, b)
	if len(x.conventions) > 0 && len(y.conventions) > 0 && x.conventions[0] != y.conventions[0] {
		r, err := routeBetween(x, y)
		if r != nil {
			err = c.follow(r, nil)
		}
		if err != nil {
			t.Log(err)
		}
	}
	c.pairByName()
	c.pairLoose(t.Context())
	c.rows()
	c.explain()
	c.restore()
	c.decide()
	return c.out
}

func clones(list []*tensor) []*tensor {
	out := make([]*tensor, len(list))
	for i, t := range list {
		one := *t
		out[i] = &one
	}
	return out
}

// seen is what both orders have to agree on. Of a tensor that is made of several, and of
// several made of one, the sources are not told apart.
func seen(r *Result, mirrored bool) []string {
	var out []string
	for i := range r.Rows {
		row := &r.Rows[i]
		a, b, status := row.NameA, row.NameB, row.Status
		if mirrored {
			a, b = b, a
			switch status {
			case OnlyA:
				status = OnlyB
			case OnlyB:
				status = OnlyA
			}
		}
		out = append(out, fmt.Sprint(a, " ", b, " ", status, " ", row.Verdict, " ", row.Reason, " ", row.Layout))
	}
	slices.Sort(out)
	return append(out, string(r.Verdict))
}

// numbersOf are numbers of a model that fit the shapes of its projections.
func numbersOf(list []fixture.NamedTensor) func(string) (int64, bool) {
	n := map[string]int64{
		"num_attention_heads": 8, "num_key_value_heads": 8, "qk_nope_head_dim": 128, "v_head_dim": 128, "kv_lora_rank": 512,
	}
	rows := func(part string) int64 {
		for _, t := range list {
			if strings.Contains(t.Name, part) && strings.HasSuffix(t.Name, ".weight") && len(t.Shape) == 2 {
				return int64(t.Shape[0])
			}
		}
		return 0
	}
	if q, k := rows(".q_proj"), rows(".k_proj"); q > 0 && k > 0 && q%k == 0 && q/k <= 8 {
		n["num_key_value_heads"] = 8 * k / q
	}
	return func(key string) (int64, bool) { v, ok := n[key]; return v, ok }
}

// A mirror compares lists of names with what they are converted to, in both orders.
type mirror struct {
	// once has a pair of conventions tried for one list alone.
	once        bool
	tried       map[[2]string]bool
	pairs, same int
}

// try converts a list to every convention that it can be converted to. The answer for two
// checkpoints is that for the same two exchanged.
func (m *mirror) try(t *testing.T, id string, list []fixture.NamedTensor, model *convention.Model) {
	t.Helper()
	if len(list) == 0 || slices.ContainsFunc(list, func(n fixture.NamedTensor) bool { return n.Shape == nil }) {
		return
	}
	as := listed(list, "BF16")
	from := newNaming(as, model)
	if len(from.conventions) == 0 {
		return
	}
	for _, to := range convention.All() {
		pair := [2]string{from.conventions[0].Name, to.Name}
		if to == from.conventions[0] || m.once && m.tried[pair] {
			continue
		}
		if m.tried == nil {
			m.tried = make(map[[2]string]bool)
		}
		m.tried[pair] = true
		conv, err := convert.Between(from.conventions[0], to, slices.Values(from.list), model)
		if err != nil || len(conv.Moves) == 0 {
			continue
		}
		c := &comparison{as: clones(as), out: new(Result)}
		if err := c.apply(conv); err != nil {
			t.Errorf("%s to %s: %v", id, to.Name, err)
			continue
		}
		made := make(map[string]bool)
		for i := range conv.Moves {
			for _, name := range conv.Moves[i].To {
				made[name] = true
			}
		}
		var names []fixture.NamedTensor
		failed := false
		for _, n := range c.as {
			failed = failed || n.err != nil
			if made[n.name] {
				names = append(names, fixture.NamedTensor{Name: n.name, Shape: n.shape})
			}
		}
		if failed {
			continue
		}
		other := &convention.Model{Type: model.Type, TextType: model.TextType, Documents: model.Documents}
		if arch, ok := strings.CutSuffix(to.Name, "-gguf"); ok {
			other = &convention.Model{Architecture: arch, Documents: model.Documents}
		}
		bs := listed(names, "BF16")
		x, y := headers(t, as, bs, model, other), headers(t, bs, as, other, model)
		if d := cmp.Diff(seen(x, false), seen(y, true)); d != "" {
			t.Errorf("%s and %s are not mirrored:\n%s", id, to.Name, d)
		}
		m.pairs++
		if x.Verdict == Identical {
			m.same++
			continue
		}
		n := 0
		for i := range x.Rows {
			if r := &x.Rows[i]; r.Verdict.differs() && n < 3 {
				n++
				t.Logf("%s to %s: %s: %q %q %s %v %v (%s > %s)", id, to.Name, x.Verdict, r.NameA, r.NameB, r.Status, r.ShapeA, r.ShapeB, x.From, x.To)
			}
		}
	}
}

// Every pair of conventions, with a list of one model, of which make sweeps has all.
func TestMirrored(t *testing.T) {
	if testing.Short() {
		t.Skip("many pairs of lists")
	}
	m := mirror{once: true}
	for i, l := range fixture.NameLists(t, "../../rename/convention/testdata/lists") {
		if !sweep.Has(i, 5) {
			continue
		}
		numbers := []func(string) (int64, bool){numbersOf(l.Tensors)}
		m.try(t, l.ID, l.Tensors, &convention.Model{Type: l.ModelType, TextType: l.TextModelType, Documents: numbers})
	}
	t.Logf("%d of %d pairs are the same model", m.same, m.pairs)
}

// Whatever names there are in two checkpoints, the answer for them exchanged is the same.
func TestMirroredNames(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		word := rapid.SampledFrom([]string{"q", "query", "k", "key", "attn_norm", "ln1", "ln2", "ffn_norm", "up", "w1", "w3", "gate", "foo", "bar"})
		side := rapid.Custom(func(rt *rapid.T) []fixture.NamedTensor {
			var list []fixture.NamedTensor
			prefix := rapid.SampledFrom([]string{"", "p.", "m."}).Draw(rt, "prefix")
			first, last := rapid.IntRange(0, 1).Draw(rt, "first"), rapid.IntRange(1, 3).Draw(rt, "last")
			for _, w := range rapid.SliceOfNDistinct(word, 1, 6, rapid.ID).Draw(rt, "words") {
				shape := []uint64{rapid.Uint64Range(1, 3).Draw(rt, "size"), 2}
				leaf := rapid.SampledFrom([]string{".weight", ".bias", ""}).Draw(rt, "leaf")
				for l := first; l <= last; l++ {
					list = append(list, fixture.NamedTensor{Name: fmt.Sprint(prefix, "h.", l, ".", w, leaf), Shape: shape})
				}
			}
			return list
		})
		as, bs := listed(side.Draw(rt, "a"), "BF16"), listed(side.Draw(rt, "b"), "BF16")
		m := new(convention.Model)
		if d := cmp.Diff(seen(headers(t, as, bs, m, m), false), seen(headers(t, bs, as, m, m), true)); d != "" {
			rt.Fatal(d)
		}
	})
}

// Every list of a real model, with its own configuration where that is known, and every
// convention.
func TestMirroredLists(t *testing.T) {
	var m mirror
	for i, path := range testdata.Glob(t, "names/*__*.tsv") {
		if !sweep.Has(i, 10) {
			continue
		}
		id := strings.TrimSuffix(filepath.Base(path), ".tsv")
		list := fixture.ListedTensors(t, path)
		model := new(convention.Model)
		if _, arch, ok := strings.Cut(id, "__gguf-"); ok {
			model.Architecture, _, _ = strings.Cut(arch, ".")
			for i := range list { // ggml's order of dimensions
				slices.Reverse(list[i].Shape)
			}
		}
		numbers := numbersOf(list)
		if text, err := os.ReadFile(strings.TrimSuffix(path, ".tsv") + ".config.json"); err == nil {
			var config struct {
				Type string `json:"model_type"`
				Text struct {
					Type string `json:"model_type"`
				} `json:"text_config"`
			}
			var doc map[string]any
			if err := errors.Join(json.Unmarshal(text, &config), json.Unmarshal(text, &doc)); err != nil {
				t.Fatal(err)
			}
			model.Type, model.TextType = config.Type, config.Text.Type
			numbers = func(key string) (int64, bool) {
				text, _ := doc["text_config"].(map[string]any)
				for _, d := range []map[string]any{doc, text} {
					if n, ok := d[key].(float64); ok {
						return int64(n), true
					}
				}
				return 0, false
			}
		}
		model.Documents = []func(string) (int64, bool){numbers}
		m.try(t, id, list, model)
	}
	t.Logf("%d of %d pairs are the same model", m.same, m.pairs)
}
