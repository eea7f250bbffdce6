package convert

import (
	"bytes"
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/foreign"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/exchange"
	"github.com/wtinspect/wtinspect/rename/template"
)

// allNames are the names of a model of four layers, with each tensor that a convention
// knows: in its first spelling, or the one after it where it has several, …; of a whole and
// its parts, the parts in every second.
func allNames(c *convention.Convention, spelling int) []convention.Named {
	spellings := make(map[string][]*convention.Tensor)
	var roles []string
	for i := range c.Tensors() {
		t := &c.Tensors()[i]
		if spellings[t.Role] == nil {
			roles = append(roles, t.Role)
		}
		spellings[t.Role] = append(spellings[t.Role], t)
	}
	var groups []string
	byGroup := make(map[string][]convention.Named)
	seen := make(map[string]bool)
	for _, role := range roles {
		list := spellings[role]
		t := list[min(spelling, len(list)-1)]
		n := len(t.Pattern.Holes())
		for code := range 16 {
			index := []int{code % 4, code / 4 % 2, code / 8}
			if name, ok := t.Pattern.Format(index[:min(n, 3)]); ok && n <= 3 && !seen[name] {
				seen[name] = true
				g := groupOf(role)
				if byGroup[g] == nil {
					groups = append(groups, g)
				}
				byGroup[g] = append(byGroup[g], convention.Named{Name: name})
			}
		}
	}
	var out []convention.Named
	for _, g := range groups {
		forms := alternatives(c, byGroup[g])
		out = append(out, forms[spelling%len(forms)]...)
	}
	return out
}

// For every two conventions that differ by names alone, what is exported gives the names
// that a conversion gives, in each form that can say it.
func TestExportPairs(t *testing.T) {
	lists := fixture.NameLists(t, "../testdata/lists")
	follows := func(l fixture.NameList, c *convention.Convention) bool {
		return !slices.ContainsFunc(l.Tensors, func(x fixture.NamedTensor) bool {
			_, _, ok := c.Match(x.Name)
			return !ok
		})
	}
	numbers := modelOf(map[string]int64{"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "hidden_size": 32, "num_hidden_layers": 4})
	pairs, real := make(map[exchange.Form]int), 0
	refused := make(map[exchange.Form]int)
	tried := 0
	for from, to := range namePairs(t) {
		d, err := Derive(from, to)
		if err != nil || d.By() != ByNames {
			continue
		}
		if tried++; !sweep.Has(tried, 7) {
			continue
		}
		m, err := d.Map()
		if err != nil {
			t.Fatal(err)
		}
		inventories := [][]convention.Named{allNames(from, 0)}
		for _, l := range lists {
			if !follows(l, from) {
				continue
			}
			var names []convention.Named
			for _, x := range l.Tensors {
				// What is exported sees no more of a layer than its number's digits.
				if _, layer, _, ok := template.Layer(x.Name); !ok || layer < 2 || layer == 10 || layer == 11 {
					names = append(names, convention.Named{Name: x.Name})
				}
			}
			inventories = append(inventories, names)
			real++
		}
		said := make(map[exchange.Form]bool)
		for _, named := range inventories {
			cv, err := Between(from, to, slices.Values(named), numbers)
			if err != nil {
				continue
			}
			whole, err := cv.Map()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, x := range named {
				names = append(names, x.Name)
			}
			if !alike(m, whole, names) {
				continue // a map does not know of a model that its head is missing, or which of two forms it has
			}
			for _, form := range exchange.Forms() {
				if comparePair(t, from.Name+".."+to.Name, m, whole, names, form) {
					said[form] = true
				}
			}
		}
		for _, form := range exchange.Forms() {
			if said[form] {
				pairs[form]++
			} else {
				refused[form]++
			}
		}
	}
	t.Logf("pairs %v, refused %v, %d real lists", pairs, refused, real)
	for _, form := range exchange.Forms() {
		if pairs[form] < sweep.Count(3, 20) {
			t.Errorf("%s: only %d pairs of conventions are exported", form, pairs[form])
		}
	}
}

// alike reports whether two maps give names the same names.
func alike(a, b *rename.Map, names []string) bool {
	rows := rename.NewPlan(b, names, rename.Limits{}).Rows
	for i, row := range rename.NewPlan(a, names, rename.Limits{}).Rows {
		if row.To != rows[i].To {
			return false
		}
	}
	return true
}

// comparePair exports the map of a pair, and compares what it does with the conversion. It
// reports whether it was exported.
func comparePair(t *testing.T, pair string, m, conversion *rename.Map, names []string, form exchange.Form) bool {
	t.Helper()
	var b bytes.Buffer
	model := &exchange.Model{Names: names, Type: "m", Architectures: []string{"MForCausalLM"}}
	if err := exchange.Export(&b, m, form, model); err != nil {
		return false
	}
	want := make(map[string]string)
	for _, row := range rename.NewPlan(conversion, names, rename.Limits{}).Rows {
		want[row.From] = row.To
	}
	compare := func(got []string, err error) {
		if err != nil {
			t.Fatalf("%s, %s: %v", pair, form, err)
		}
		have := make(map[string]string)
		for i, name := range names {
			have[name] = got[i]
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s, %s: (-rename +exported)\n%s", pair, form, diff)
		}
	}
	switch form {
	case exchange.Transformers:
		compare(foreign.Transformers(b.Bytes(), names, 1))
		compare(foreign.Transformers(b.Bytes(), names, -1))
	case exchange.VLLM:
		compare(foreign.VLLM(b.Bytes(), names))
	case exchange.Mergekit:
		written, err := foreign.Mergekit(b.Bytes(), names, 0)
		got := make([]string, len(names))
		for i, name := range names {
			got[i] = written[name]
		}
		compare(got, err)
	case exchange.JSON:
		again, err := rename.Parse("again.json", b.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, row := range rename.NewPlan(again, names, rename.Limits{}).Rows {
			got = append(got, row.To)
		}
		compare(got, nil)
	}
	return true
}

// namePairs yields the pairs of conventions of which a conversion may be derived.
func namePairs(t *testing.T) iter.Seq2[*convention.Convention, *convention.Convention] {
	t.Helper()
	return func(yield func(from, to *convention.Convention) bool) {
		for _, from := range convention.All() {
			for _, to := range convention.All() {
				if from != to && !from.Frame && !to.Frame && !yield(from, to) {
					return
				}
			}
		}
	}
}
