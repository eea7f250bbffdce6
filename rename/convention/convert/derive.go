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

// Derive works out the rules from one convention to another. The error is a
// *RefusalError when there is no conversion at all.
func Derive(from, to *convention.Convention) (*Derivation, error) {
	numbers := sampleNumbers
	if cmp.Or(from.Layout.QKV, tensorop.Contiguous) == tensorop.PerHead || to.Layout.QKV == tensorop.PerHead {
		numbers = cloneWith(sampleNumbers, "num_key_value_heads", sampleHeads)
	}
	model := &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) { v, ok := numbers[key]; return v, ok }}}
	cv, err := newConverter(from, to, model)
	if err == nil {
		err = cv.stranger()
	}
	if err != nil {
		return nil, err
	}
	d := &Derivation{From: from.Name, To: to.Name}
	// Each group is converted by itself, so that one refusal does not hide
	// what the others need.
	var wholes []string
	byWhole := make(map[string][]convention.Named)
	pattern := make(map[string]string)
	for i := range from.Tensors() {
		t := &from.Tensors()[i]
		if first, _ := from.Role(t.Role); first != t {
			continue
		}
		whole := groupOf(t.Role)
		if byWhole[whole] == nil {
			wholes = append(wholes, whole)
		}
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
			byWhole[whole] = append(byWhole[whole], n)
		}
	}
	given := make(map[string]bool)     // roles
	open := make(map[string]bool)      // groups of which only a checkpoint shows what becomes
	refusals := make(map[string][]int) // rules, by group
	for _, whole := range wholes {
		// A convention that knows a whole and its parts stores one or the
		// other; both are shown.
		for _, sample := range alternatives(from, byWhole[whole]) {
			c, err := newConverter(from, to, model)
			if err != nil {
				return nil, err
			}
			at := make([]identify.Place, len(sample))
			for i, n := range sample {
				id, _ := from.Parse(n.Name)
				at[i].Tensor, _ = from.Role(id.Role)
				at[i].Index = id.Index
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
				d.Rules = append(d.Rules, DerivedRule{From: []string{pattern[dropped.Name]}, Drop: dropped.Reason})
			}
			for _, m := range cv.Moves {
				rule := DerivedRule{ops: m.Ops}
				for _, n := range m.From {
					rule.From = append(rule.From, pattern[n])
				}
				for _, n := range m.To {
					rule.To = append(rule.To, patternOf(to, n, from))
					if t, _, ok := to.Match(n); ok {
						rule.DType = to.Stores(t, -1)
					}
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
				for _, n := range m.To {
					if t, _, ok := to.Match(n); ok {
						given[t.Role] = true
					}
				}
				d.Rules = append(d.Rules, rule)
			}
		}
	}
	if err := d.reaches(to, given, open, refusals); err != nil {
		return nil, err
	}
	return d, nil
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

// patternOf gives the pattern of one of the convention's names, with the numbers
// that the other convention does not have as they are.
func patternOf(c *convention.Convention, name string, other *convention.Convention) string {
	t, index, ok := c.Match(name)
	if !ok {
		return name
	}
	text, _ := t.Pattern.Fix(index, computedHoles(t, other))
	return text
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
