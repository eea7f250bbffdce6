package convert

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A DerivedRule is what happens to one kind of tensor, or to several that go
// together, in patterns instead of names.
type DerivedRule struct {
	From []string `json:"from"`
	To   []string `json:"to,omitempty"`
	// Ops are the operations by kind; their parameters come from a checkpoint.
	Ops []tensorop.Kind `json:"ops,omitempty"`
	// DType is what the target's project makes of every dtype, "" when it stays.
	DType  string `json:"dtype,omitempty"`
	Drop   string `json:"drop,omitempty"`
	Refuse string `json:"refuse,omitempty"`
	// Blocks is set of a refusal when the target has tensors of that role, so that
	// they cannot be left out.
	Blocks bool `json:"blocks,omitempty"`
	// Optional is set when a checkpoint may lack the tensors, in both conventions where
	// they are refused.
	Optional bool `json:"optional,omitempty"`

	ops []tensorop.Op // with the sample numbers
}

// A Derivation is the conversion between two conventions without a checkpoint:
// the rules of a map.
type Derivation struct {
	From  string        `json:"from"`
	To    string        `json:"to"`
	Rules []DerivedRule `json:"rules"`
	// Notes say what a conversion finds out from a checkpoint, and a map does not know.
	Notes []string `json:"notes,omitempty"`
}

// What a conversion takes.
const (
	ByNames = "names"
	ByBytes = "bytes"
	// ByPartly: tensors that every checkpoint has become none of the target's and are
	// left out.
	ByPartly = "partly"
	// ByRefused: such tensors have a place in the target and cannot be brought there, or
	// nothing is converted.
	ByRefused = "refused"
)

// By says what the conversion takes, by one of the constants.
func (d *Derivation) By() string {
	by, partly, moves := ByNames, false, false
	for i := range d.Rules {
		r := &d.Rules[i]
		moves = moves || r.Refuse == "" && len(r.To) > 0
		switch {
		case r.Refuse != "" && !r.Optional && r.Blocks:
			return ByRefused
		case r.Refuse != "" && !r.Optional:
			partly = true
		case len(r.Ops) > 0:
			by = ByBytes
		}
	}
	switch {
	case !moves:
		return ByRefused
	case partly:
		return ByPartly
	}
	return by
}

// sampleNumbers stand for the configuration of a model where only the kinds of
// operations matter. They and the products that operations make of them differ,
// so that each can be told by its value.
var sampleNumbers = map[string]int64{
	"num_attention_heads": sampleHeads, "num_key_value_heads": sampleKV, "head_dim": sampleDim,
	"hidden_size": sampleHeads * sampleDim, "num_local_experts": 1,
	"qk_nope_head_dim": sampleNope, "v_head_dim": sampleValue, "kv_lora_rank": sampleRank, "n_groups": sampleGroups,
	"linear_num_key_heads": sampleKeys, "linear_num_value_heads": sampleValues, "linear_key_head_dim": sampleKeyDim, "linear_value_head_dim": sampleValueDim,
}

const (
	sampleHeads, sampleKV, sampleDim, sampleNope, sampleValue, sampleRank, sampleGroups = 14, 7, 10, 22, 26, 34, 3

	sampleKeys, sampleValues, sampleKeyDim, sampleValueDim = 6, 12, 16, 18
)

// exampleModel has numbers for a model that both conventions can hold.
func exampleModel(from, to *convention.Convention) *convention.Model {
	numbers := sampleNumbers
	if cmp.Or(from.Layout.QKV, tensorop.Contiguous) == tensorop.PerHead || to.Layout.QKV == tensorop.PerHead {
		numbers = cloneWith(sampleNumbers, "num_key_value_heads", sampleHeads)
	}
	return &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) { v, ok := numbers[key]; return v, ok }}}
}

// Derive works out the rules from one convention to another. The error is a
// *RefusalError when there is no conversion at all.
func Derive(from, to *convention.Convention) (*Derivation, error) {
	model := exampleModel(from, to)
	cv, err := newConverter(from, to, model)
	if err == nil {
		err = cv.stranger()
	}
	if err != nil {
		return nil, err
	}
	d := &Derivation{From: from.Name, To: to.Name}
	all := make([]identify.Place, len(from.Tensors()))
	for i := range all {
		all[i].Tensor = &from.Tensors()[i]
	}
	cv.bare(&identify.Location{Places: all})
	body, missing := cv.body, strings.TrimSuffix(to.Base, cv.body)
	// Each group is converted by itself, so that one refusal does not hide what the others
	// need. A checkpoint has one spelling of a role, so each is an example of its own.
	var wholes []string
	byWhole := make(map[string][]string) // the roles of a group
	spellings := make(map[string][]*convention.Tensor)
	for i := range from.Tensors() {
		t := &from.Tensors()[i]
		if spellings[t.Role] == nil {
			whole := groupOf(t.Role)
			if byWhole[whole] == nil {
				wholes = append(wholes, whole)
			}
			byWhole[whole] = append(byWhole[whole], t.Role)
		}
		spellings[t.Role] = append(spellings[t.Role], t)
	}
	pattern := make(map[string]string)
	example := func(t *convention.Tensor) (names []convention.Named) {
		s := storageOf(from, t.Module, "weight")
		computed := computedHoles(t, to)
		for index := range samples(t.Pattern, computed) {
			name, ok := t.Pattern.Format(index)
			if !ok || len(computed) > 0 && !hasName(to, t.Role, index) {
				continue
			}
			pattern[name], _ = t.Pattern.Fix(index, computed)
			n := convention.Named{Name: name}
			switch {
			case s.pointwise:
				n.Shape = []uint64{8, 8, 1, 1}
			case storageOf(to, t.Module, "weight").pointwise:
				n.Shape = []uint64{8, 8}
			}
			names = append(names, n)
		}
		return names
	}
	// examples yields those of a group's roles in their first spellings, in their second, …
	// A convention that knows a whole and its parts stores one or the other; both are shown.
	examples := func(roles []string) iter.Seq2[int, []convention.Named] {
		most := 0
		for _, role := range roles {
			most = max(most, len(spellings[role]))
		}
		return func(yield func(int, []convention.Named) bool) {
			for k := range most {
				var names []convention.Named
				for _, role := range roles {
					list := spellings[role]
					names = append(names, example(list[min(k, len(list)-1)])...)
				}
				for _, one := range alternatives(from, names) {
					if !yield(k, one) {
						return
					}
				}
			}
		}
	}
	known := make(map[string]bool)
	add := func(r DerivedRule) {
		if text := fmt.Sprint(r.From, r.To); !known[text] {
			known[text] = true
			d.Rules = append(d.Rules, r)
		}
	}
	given := make(map[string]bool)     // roles
	open := make(map[string]bool)      // groups of which only a checkpoint shows what becomes
	refusals := make(map[string][]int) // rules, by group
	for _, whole := range wholes {
		for k, sample := range examples(byWhole[whole]) {
			c, err := newConverter(from, to, model)
			if err != nil {
				return nil, err
			}
			c.body = body
			at := make([]identify.Place, len(sample))
			for i, n := range sample {
				at[i].Tensor, at[i].Index, _ = from.Match(n.Name)
			}
			cv, err := c.run(sample, at)
			rule := DerivedRule{Optional: true}
			var refusal *RefusalError
			switch {
			case errors.As(err, &refusal):
				rule.Refuse, rule.Blocks = refusal.Reason, true
			case len(cv.Aside) > 0:
				rule.Refuse, rule.Blocks = cv.Aside[0].Reason, cv.Aside[0].Blocks
			}
			if rule.Refuse != "" && k > 0 {
				continue // as the first spelling is
			}
			if rule.Refuse != "" {
				for i, n := range sample {
					rule.From = append(rule.From, pattern[n.Name])
					rule.Optional = rule.Optional && (at[i].Tensor.Optional || c.depends(at[i].Tensor.Role))
				}
				if slices.ContainsFunc(at, func(p identify.Place) bool { return c.depends(p.Tensor.Role) }) {
					open[whole] = true
				}
				refusals[whole] = append(refusals[whole], len(d.Rules))
				d.Rules = append(d.Rules, rule)
				continue
			}
			for _, dropped := range cv.Dropped {
				add(DerivedRule{From: []string{pattern[dropped.Name]}, Drop: dropped.Reason})
			}
			for _, m := range cv.Moves {
				rule := DerivedRule{ops: m.Ops}
				for _, n := range m.From {
					rule.From = append(rule.From, pattern[n])
				}
				for _, n := range m.To {
					t, index, ok := to.Match(missing + n)
					if !ok {
						rule.To = append(rule.To, n)
						continue
					}
					text, _ := t.Pattern.Fix(index, computedHoles(t, from))
					rule.To = append(rule.To, strings.TrimPrefix(text, missing))
					rule.DType = to.Stores(t, -1)
					given[t.Role] = true
				}
				for _, o := range m.Ops {
					rule.Ops = append(rule.Ops, o.Kind)
					if o.Kind == tensorop.Reshape && slices.ContainsFunc(at, func(p identify.Place) bool {
						return storageOf(from, p.Tensor.Module, "weight").pointwise != storageOf(to, p.Tensor.Module, "weight").pointwise
					}) {
						rule.Refuse, rule.Optional = "it gets or loses a kernel of one pixel, and a rule would have to know its shape; convert a checkpoint", true
					}
					if _, err := step(o); err != nil {
						rule.Refuse, rule.Blocks = err.Error(), true
					}
				}
				add(rule)
			}
		}
	}
	if err := d.reaches(to, given, open, refusals); err != nil {
		return nil, err
	}
	d.note(cv)
	return d, nil
}

// note says which tensors become something else where a checkpoint shows the number of
// its blocks, or which of its layers are no layers of the target's.
func (d *Derivation) note(cv *converter) {
	add := func(format string, args ...any) {
		if text := fmt.Sprintf(format, args...); !slices.Contains(d.Notes, text) {
			d.Notes = append(d.Notes, text)
		}
	}
	for i := range cv.from.Tensors() {
		t := &cv.from.Tensors()[i]
		if why := cv.to.DropsLayer(t.Role); why != "" && !cv.sameProject() {
			add("'rename --to' also drops all else of a layer that has what is dropped here: %s.", why)
		}
		if other, ok := cv.to.Role(t.Role); ok {
			_, n := t.Pattern.CountsBack()
			if _, m := other.Pattern.CountsBack(); (n == 0) != (m == 0) {
				add("The map is for %d blocks, which one of the two counts from the last; 'rename --to' counts those of the model.", max(n, m))
			}
		}
	}
}

// reaches looks for the tensors that every checkpoint of the target has. Where one is
// refused, every checkpoint is, whether or not all of the source have the tensor; where
// there is no rule for one, no model is of both conventions.
func (d *Derivation) reaches(to *convention.Convention, given, open map[string]bool, refusals map[string][]int) error {
	for i := range to.Tensors() {
		t := &to.Tensors()[i]
		refused := refusals[groupOf(t.Role)]
		switch {
		case t.Optional || given[t.Role] || open[groupOf(t.Role)]:
		case len(refused) > 0:
			d.Rules[refused[0]].Optional = false
		case t.Module != "embed.tokens" && t.Module != "head" && t.Module != "final_norm": // which a save may lack
			return &RefusalError{From: d.From, To: d.To, Reason: fmt.Sprintf(
				"no model is known to use both; every %s has %s, for which %s has nothing", d.To, t.Pattern, d.From)}
		}
	}
	return nil
}

func cloneWith(m map[string]int64, key string, value int64) map[string]int64 {
	out := make(map[string]int64, len(m))
	for k, v := range m {
		out[k] = v
	}
	out[key] = value
	return out
}

// alternatives divides a group's samples into those that a checkpoint holds
// together.
func alternatives(c *convention.Convention, names []convention.Named) [][]convention.Named {
	var fused, apart, stacked []convention.Named
	for _, n := range names {
		id, _ := c.Parse(n.Name)
		module, _ := cutLeaf(id.Role)
		_, isStack := oneModule(module)
		switch {
		case isStack && slices.ContainsFunc(names, func(o convention.Named) bool { p, _ := c.Parse(o.Name); return isNumbered(p.Role) }):
			stacked = append(stacked, n)
		case len(parts(module)) > 0 || strings.HasSuffix(module, "attn.kv_b"):
			fused = append(fused, n)
		default:
			apart = append(apart, n)
		}
	}
	return slices.DeleteFunc([][]convention.Named{apart, fused, stacked}, func(s []convention.Named) bool { return len(s) == 0 })
}

// computedHoles lists the holes of a tensor that are not the same number, or one
// with a shift, in both conventions. A rule for each of their values is written.
func computedHoles(t *convention.Tensor, other *convention.Convention) []string {
	holes := t.Pattern.Computed()
	if o, ok := other.Role(t.Role); ok {
		holes = append(holes, o.Pattern.Computed()...)
	}
	return holes
}

// hasName reports whether a convention that has a role has it at an index.
func hasName(c *convention.Convention, role string, index []int) bool {
	t, ok := c.Role(role)
	if !ok {
		return true
	}
	_, ok = t.Pattern.Format(index)
	return ok
}

// samples gives the indices of a pattern that are written: 0, and of computed
// holes those of a UNet or an autoencoder of four blocks.
func samples(p *convention.Pattern, computed []string) iter.Seq[[]int] {
	return func(yield func([]int) bool) {
		index := make([]int, len(p.Holes()))
		for {
			if !yield(slices.Clone(index)) {
				return
			}
			at := len(index) - 1
			for ; at >= 0; at-- {
				if slices.Contains(computed, p.HoleOf(at)) && index[at] < 3 {
					index[at]++
					break
				}
				index[at] = 0
			}
			if at < 0 {
				return
			}
		}
	}
}
