package convert

import (
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// A conversion of a real model, to any convention that it can be converted to,
// is written as a map that does exactly the same.
func TestMapsOfLists(t *testing.T) {
	if testing.Short() {
		t.Skip("many conversions: make test runs them")
	}
	model := modelOf(map[string]int64{
		"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16, "hidden_size": 128, "num_local_experts": 64,
		"qk_nope_head_dim": 128, "v_head_dim": 128, "kv_lora_rank": 512,
	})
	tried := 0
	for i, l := range fixture.NameLists(t, "../testdata/lists") {
		if !sweep.Has(i, 5) {
			continue
		}
		// Names are enough, and shapes of different models contradict one set of numbers.
		var names []convention.Named
		for _, n := range l.Tensors {
			names = append(names, convention.Named{Name: n.Name})
		}
		r := identify.Tensors(slices.Values(names), nil)
		from, ok := convention.Lookup(r.Convention)
		if !ok {
			continue
		}
		for _, to := range convention.All() {
			if to == from {
				continue
			}
			c, err := Between(from, to, slices.Values(names), model)
			if err != nil {
				continue
			}
			m, err := c.Map()
			if err != nil {
				t.Errorf("%s: %v", l.ID, err)
				continue
			}
			tried++
			if len(m.Rules) > 1000 {
				t.Errorf("%s: %s to %s takes %d rules", l.ID, c.From, c.To, len(m.Rules))
			}
		}
	}
	if tried < sweep.Count(60, 300) {
		t.Errorf("only %d conversions", tried)
	}
}
