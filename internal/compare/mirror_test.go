package compare

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
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
	c.pairByPrefix()
	c.pairByTemplate()
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

// The answer for two checkpoints is that for the same two exchanged, for every list of
// names and every convention that it can be converted to; and a conversion, as another
// project would have written it, is the same model.
func TestMirrored(t *testing.T) {
	if testing.Short() {
		t.Skip("many pairs of lists")
	}
	pairs, same := 0, 0
	seenPair := make(map[[2]string]bool)
	for _, l := range fixture.NameLists(t, "../../rename/convention/testdata/lists") {
		if len(l.Tensors) == 0 || slices.ContainsFunc(l.Tensors, func(n fixture.NamedTensor) bool { return n.Shape == nil }) {
			continue
		}
		as := listed(l.Tensors, "BF16")
		numbers := []func(string) (int64, bool){numbersOf(l.Tensors)}
		model := &convention.Model{Type: l.ModelType, TextType: l.TextModelType, Documents: numbers}
		from := newNaming(as, model)
		if len(from.conventions) == 0 {
			continue
		}
		for _, to := range convention.All() {
			if pair := [2]string{from.conventions[0].Name, to.Name}; to == from.conventions[0] || seenPair[pair] {
				continue
			} else {
				seenPair[pair] = true
			}
			conv, err := convert.Between(from.conventions[0], to, slices.Values(from.list), model)
			if err != nil || len(conv.Moves) == 0 {
				continue
			}
			c := &comparison{as: clones(as), out: new(Result)}
			if err := c.apply(conv); err != nil {
				t.Errorf("%s to %s: %v", l.ID, to.Name, err)
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
			bs, other := listed(names, "BF16"), &convention.Model{Type: l.ModelType, TextType: l.TextModelType, Documents: numbers}
			if arch, ok := strings.CutSuffix(to.Name, "-gguf"); ok {
				other = &convention.Model{Architecture: arch, Documents: numbers}
			}
			x, y := headers(t, as, bs, model, other), headers(t, bs, as, other, model)
			if d := cmp.Diff(seen(x, false), seen(y, true)); d != "" {
				t.Errorf("%s and %s are not mirrored:\n%s", l.ID, to.Name, d)
			}
			pairs++
			if x.Verdict == Identical {
				same++
				continue
			}
			n := 0
			for i := range x.Rows {
				if r := &x.Rows[i]; r.Verdict.differs() && n < 3 {
					n++
					t.Logf("%s to %s: %s: %q %q %s %v %v (%s > %s)", l.ID, to.Name, x.Verdict, r.NameA, r.NameB, r.Status, r.ShapeA, r.ShapeB, x.From, x.To)
				}
			}
		}
	}
	t.Logf("%d of %d pairs are the same model", same, pairs)
}
