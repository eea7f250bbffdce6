package convention

import (
	"slices"
	"testing"
)

// A conversion of a real model, to any convention that it can be converted to,
// is written as a map that does exactly the same.
func TestMapsOfLists(t *testing.T) {
	if testing.Short() {
		t.Skip("many conversions")
	}
	cfg := &Config{Value: func(key string) (int64, bool) {
		v, ok := map[string]int64{
			"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 16, "hidden_size": 128, "num_local_experts": 64,
			"qk_nope_head_dim": 128, "v_head_dim": 128, "kv_lora_rank": 512,
		}[key]
		return v, ok
	}}
	tried := 0
	for _, l := range lists(t) {
		// Names are enough, and shapes of different models contradict one set of numbers.
		var names []Named
		for _, n := range l.tensors {
			names = append(names, Named{Name: n.Name})
		}
		r, err := Identify(slices.Values(names), nil)
		if err != nil {
			t.Fatal(err)
		}
		from, ok := Lookup(r.Convention)
		if !ok {
			continue
		}
		for _, to := range All() {
			if to == from {
				continue
			}
			c, err := Convert(from, to, slices.Values(names), cfg)
			if err != nil {
				continue
			}
			m, err := c.Map()
			if err != nil {
				t.Errorf("%s: %v", l.id, err)
				continue
			}
			tried++
			if len(m.Rules) > 1000 {
				t.Errorf("%s: %s to %s takes %d rules", l.id, c.From, c.To, len(m.Rules))
			}
		}
	}
	if tried < 300 {
		t.Errorf("only %d conversions", tried)
	}
}
