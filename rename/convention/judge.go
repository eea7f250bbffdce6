package convention

import (
	"fmt"
	"slices"
	"strings"
)

// judge chooses among the conventions that fit and says how surely.
func (id *identification) judge() {
	res := id.res
	taken := make([]bool, len(id.subjects))
	list := id.fits(taken)
	id.nearest(list)
	if len(list) == 0 {
		id.note("no convention knows any of the %d templates", len(id.subjects))
		for _, s := range id.subjects {
			res.Extra = append(res.Extra, s.text())
		}
		return
	}
	best := list[0]
	if len(best.extra) > 0 {
		if main, parts := id.parts(list); main != nil {
			id.settle(main, id.equals(main, taken), parts)
			return
		}
	}
	id.settle(best, id.ties(list, best), nil)
}

// ties returns the evaluations that fit as well as the best.
func (id *identification) ties(list []*evaluation, best *evaluation) []*evaluation {
	var out []*evaluation
	for _, e := range list {
		if e.unshaped == best.unshaped && compareEvaluations(e, best) == 0 && slices.Equal(e.extra, best.extra) {
			out = append(out, e)
		}
	}
	return out
}

// nearest finds the current convention that is nearest. Among those equally
// far it prefers what the best one is a variant of.
func (id *identification) nearest(list []*evaluation) {
	var near *evaluation
	for _, e := range list {
		c := id.reg.list[e.conv]
		if c.VariantOf != "" {
			continue
		}
		switch {
		case near == nil || e.distance() < near.distance():
			near = e
		case e.distance() == near.distance() && c.Name == id.reg.list[list[0].conv].VariantOf:
			near = e
		}
	}
	if near != nil {
		id.res.Nearest = Nearest{id.reg.list[near.conv].Name, near.distance()}
	}
}

// settle writes a choice into the result, as far as it can be claimed.
func (id *identification) settle(best *evaluation, ties []*evaluation, parts []*evaluation) {
	res := id.res
	c := id.reg.list[best.conv]
	counted := 0
	for _, s := range id.subjects {
		if !s.debris {
			counted++
		}
	}
	covered := best.covered
	extra := best.extra
	for _, p := range parts {
		covered += p.covered
		extra = slices.DeleteFunc(slices.Clone(extra), func(i int32) bool { return p.tensor[i] >= 0 })
	}
	for i, s := range id.subjects {
		if s.debris && best.tensor[i] >= 0 {
			covered--
		}
	}
	if counted > 0 {
		res.Coverage = max(0, min(1, float64(covered)/float64(counted)))
	}
	for _, i := range extra {
		res.Extra = append(res.Extra, id.subjects[i].text())
	}
	for _, i := range best.missing {
		res.Missing = append(res.Missing, c.tensors[i].Role)
	}
	for _, e := range ties {
		ec := id.reg.list[e.conv]
		res.Candidates = append(res.Candidates, Candidate{ec.Name, e.prefix, res.Coverage, len(e.missing), len(e.extra)})
	}
	id.gaps(best)

	if !id.claimable(best, extra, parts) {
		return
	}
	res.Convention = c.Name
	if c.VariantOf == "" && len(parts) == 0 {
		res.Nearest = Nearest{c.Name, best.distance()}
	}
	if !res.Adapter {
		for _, e := range ties {
			for _, d := range id.reg.list[e.conv].Dialects {
				if !slices.Contains(res.Dialects, d) {
					res.Dialects = append(res.Dialects, d)
				}
			}
		}
	}
	id.prefix(c, best)
	for _, p := range parts {
		pc := id.reg.list[p.conv]
		res.Parts = append(res.Parts, Part{p.prefix, pc.Name, pc.Families, p.covered})
	}
	if id.familyClear(best, extra, parts) {
		id.families(ties)
	}
}

// families lists the models of every tied convention; those that the
// configuration names come first.
func (id *identification) families(ties []*evaluation) {
	res := id.res
	add := func(f string) {
		if !slices.ContainsFunc(res.Families, func(g string) bool { return sameFamily(f, g) }) {
			res.Families = append(res.Families, f)
		}
	}
	for _, e := range ties {
		c := id.reg.list[e.conv]
		for _, named := range []string{id.cfg.ModelType, id.cfg.TextModelType} {
			if named != "" && c.HasFamily(named) {
				add(named)
				id.note("the configuration says %q, which the names allow", named)
			}
		}
	}
	for _, e := range ties {
		for _, f := range id.reg.list[e.conv].Families {
			add(f)
		}
	}
	if m := id.cfg.ModelType; m != "" && !slices.ContainsFunc(res.Families, func(f string) bool { return sameFamily(f, m) }) {
		id.note("the configuration says %q, which is not known to use these names", m)
	}
}

// prefix reports what stands before the convention's names.
func (id *identification) prefix(c *Convention, e *evaluation) {
	rest, ok := strings.CutSuffix(e.prefix, c.Base)
	switch {
	case ok && rest != "":
		id.res.Wrappers = append(id.res.Wrappers, rest)
	case !ok && e.prefix == "":
		id.res.BaseAbsent = c.Base
		id.note("the prefix %q is absent, as in a save of the bare model", c.Base)
	case !ok:
		id.res.BaseAbsent = c.Base
		id.res.Wrappers = append(id.res.Wrappers, e.prefix)
	}
}

// claimable reports whether a fit is good enough to name the convention.
func (id *identification) claimable(e *evaluation, extra []int32, parts []*evaluation) bool {
	c := id.reg.list[e.conv]
	switch {
	case e.unshaped:
		id.note("the names are those of %s, but their shapes are not", c.Name)
		return false
	case len(extra) == 0 && len(e.missing) == 0:
		return true
	case id.res.Adapter:
		return len(extra) == 0
	}
	if layers := id.layerRoles(c, e.missing); layers > 0 {
		id.note("%d of the tensors that every layer of %s has are missing", layers, c.Name)
		return false
	}
	if len(extra) == 0 {
		return e.required > 0
	}
	return 10*id.res.Coverage >= 7
}

// layerRoles counts the tensors among some of a convention's that every layer
// has.
func (id *identification) layerRoles(c *Convention, tensors []int32) int {
	n := 0
	for _, i := range tensors {
		if len(c.tensors[i].Pattern.holes) > 0 {
			n++
		}
	}
	return n
}

// familyClear reports whether a claimed convention also says the model. Extra
// tensors inside the layers mean another architecture, unless the
// configuration confirms the family.
func (id *identification) familyClear(e *evaluation, extra []int32, parts []*evaluation) bool {
	c := id.reg.list[e.conv]
	if len(extra) == 0 || id.confirmed(c) {
		return true
	}
	inside := 0
	for _, i := range extra {
		if strings.Contains(id.subjects[i].normal, "#") {
			inside++
		}
	}
	if inside == 0 {
		return true
	}
	id.note("%d templates are not known to %s; the model may be another that borrows its names", len(extra), c.Name)
	return false
}

// gaps looks for layers that lack tensors.
func (id *identification) gaps(e *evaluation) {
	c := id.reg.list[e.conv]
	byHoles := make(map[string]bitset)
	for i, t := range e.tensor {
		if t < 0 {
			continue
		}
		p := &c.tensors[t].Pattern
		if len(p.holes) == 0 || p.holes[0] != "layer" {
			continue
		}
		space := spaceOf(c, t)
		u := byHoles[space]
		u.union(id.subjects[i].layers)
		byHoles[space] = u
	}
	for space, u := range byHoles {
		if missing := u.missing(u.max()); len(missing) > 0 && u.len() > 1 {
			// Files that count from one lack only layer 0.
			if len(missing) > 1 || missing[0] != 0 {
				id.res.Gaps = append(id.res.Gaps, Gap{Role: strings.TrimSuffix(space, "."), Layers: missing})
			}
		}
	}
	for i, t := range e.tensor {
		if t < 0 || c.tensors[t].Optional {
			continue
		}
		p := &c.tensors[t].Pattern
		if len(p.holes) != 1 || p.holes[0] != "layer" {
			continue
		}
		var missing []int
		for l := range byHoles[spaceOf(c, t)].max() + 1 {
			if byHoles[spaceOf(c, t)].has(l) && !id.subjects[i].layers.has(l) {
				missing = append(missing, l)
			}
		}
		if n := byHoles[spaceOf(c, t)].len(); len(missing) > 0 && 4*len(missing) <= n {
			id.res.Gaps = append(id.res.Gaps, Gap{Role: c.tensors[t].Role, Layers: missing})
		}
	}
	slices.SortFunc(id.res.Gaps, func(a, b Gap) int { return strings.Compare(a.Role, b.Role) })
}

func spaceOf(c *Convention, tensor int32) string {
	space, module, _ := c.vocab.split(c.tensors[tensor].Role)
	if strings.HasPrefix(module, ownPrefix) {
		module, _, _ = strings.Cut(module, "{")
		return module
	}
	return space
}

// parts looks for a language model among other conventions below other
// prefixes: the towers of a multimodal model.
func (id *identification) parts(list []*evaluation) (main *evaluation, parts []*evaluation) {
	return nil, nil
}

// equals returns the evaluations that cover the same subjects as the main one.
func (id *identification) equals(main *evaluation, taken []bool) []*evaluation {
	return []*evaluation{main}
}

// shapesAgree compares the shapes that decide between layouts with the same
// names.
func (id *identification) shapesAgree(c *Convention, e *evaluation) bool {
	return true
}

var _ = fmt.Sprint
