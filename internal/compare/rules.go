package compare

import "github.com/wtinspect/wtinspect/rename"

// A Rule is one of the rules that explain the renamed tensors.
type Rule struct {
	// To is "" where the tensor has to be dropped, because B has another one
	// under its name.
	From, To string
	// Tensors counts the tensors that the rule takes, and Proven those of them
	// that are the same in both checkpoints.
	Tensors, Proven int
	// Likely counts those that are paired by what their names mean, and by nothing else.
	Likely int
}

// explain finds the rules that take A's names to B's.
func (c *comparison) explain() {
	list := c.as
	if c.swapped {
		list = c.bs
	}
	want := make(map[string]string, len(list)) // of A's names that B has
	proven, likely := make(map[string]bool), make(map[string]bool)
	names := make([]string, 0, len(list))
	renamed := false
	for _, t := range list {
		names = append(names, t.name)
		p := t.pair
		if p == nil {
			continue
		}
		other := p.b
		if c.swapped {
			other = p.a
		}
		want[t.name] = other.name
		if t.name != other.name {
			renamed, proven[t.name] = true, p.status == Same && p.err == nil
			likely[t.name] = p.by == Likely && !proven[t.name]
		}
	}
	if !renamed {
		return
	}
	plan := rename.NewPlan(rename.Generalise(names, want, nil), names, rename.Limits{})
	rules := make([]Rule, len(plan.Map.Rules))
	for i := range plan.Map.Rules {
		r := &plan.Map.Rules[i]
		rules[i] = Rule{From: r.From[0].String()}
		if r.Drop == "" {
			rules[i].To = r.To[0].String()
		}
	}
	for _, row := range plan.Rows {
		if row.Rule >= 0 && row.From != row.To {
			rules[row.Rule].Tensors++
			if proven[row.From] {
				rules[row.Rule].Proven++
			}
			if likely[row.From] {
				rules[row.Rule].Likely++
			}
		}
	}
	c.out.Map = plan.Map
	c.out.Rules = rules
}
