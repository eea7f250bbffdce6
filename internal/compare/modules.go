package compare

import (
	"context"
	"slices"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/infer"
	"github.com/wtinspect/wtinspect/rename/match"
)

// modules are the tensors of a side as package match has them.
type modules struct {
	list    []*tensor
	tensors []match.Tensor
	all     []*match.Module
	of      map[*tensor]*match.Module
}

// modulesOf puts the tensors of a side together, with what its names mean. What is no
// model, by its names, has none.
func modulesOf(list []*tensor, names *naming) (*modules, error) {
	m := &modules{list: list, tensors: make([]match.Tensor, len(list)), of: make(map[*tensor]*match.Module, len(list))}
	for i, t := range list {
		m.tensors[i] = match.Tensor{Name: t.name, Shape: t.shape, DType: t.dtype}
	}
	var err error
	if m.all, err = match.Numbered(m.tensors); err != nil {
		return nil, err
	}
	for _, mod := range m.all {
		for _, l := range mod.Leaves {
			for _, t := range l.Tensors {
				m.of[list[t]] = mod
			}
		}
	}
	conv, known := convention.Lookup(names.read.Convention)
	if !known {
		infer.Explain(m.all, nil)
		return m, nil
	}
	places := names.read.Places(conv)
	infer.Explain(m.all, places)
	for _, mod := range m.all {
		if p := &places[mod.Leaves[0].Tensors[0]]; p.Tensor != nil && !convention.IsOwn(p.Tensor.Role) {
			mod.Role = p.Tensor.Module
		}
	}
	return m, nil
}

// sides are the modules of both, made when they are first needed.
func (c *comparison) sides(ctx context.Context) (a, b *modules, err error) {
	if c.inA == nil {
		x, y := c.namings(ctx)
		if c.inA, err = modulesOf(c.as, x); err != nil {
			return nil, nil, err
		}
		if c.inB, err = modulesOf(c.bs, y); err != nil {
			c.inA = nil
			return nil, nil, err
		}
	}
	return c.inA, c.inB, nil
}

// A counterpart is a module of A and the one of B that it is.
type counterpart struct {
	*match.Match
	c    *comparison
	a, b *match.Module
	// shown is set where other tensors of the two have the same bytes.
	shown bool
}

// members yields the tensors of both that are one and the same.
func (p *counterpart) members(yield func(a, b *tensor)) {
	p.a.Same(p.b, func(a, b int) { yield(p.c.as[a], p.c.bs[b]) })
}

// counterparts matches modules, among some tensors of both sides. Pairs that have the same
// bytes speak for the rest of their modules.
func (c *comparison) counterparts(ctx context.Context, some func(*tensor) bool, apart bool, pairs map[*tensor]*tensor, yield func(*counterpart)) error {
	x, y, err := c.sides(ctx)
	if err != nil {
		return err
	}
	as, bs := x.among(some, apart), y.among(some, apart)
	shown := make(map[[2]*match.Module]bool)
	spoken := make(map[*match.Module]bool)
	for a, b := range pairs {
		shown[[2]*match.Module{x.of[a], y.of[b]}] = true
		spoken[x.of[a]], spoken[y.of[b]] = true, true
	}
	both := func(i, j int) [2]*match.Module { return [2]*match.Module{x.whole(as[i]), y.whole(bs[j])} }
	sol, err := match.Solve(as, bs, match.Options{Plain: true, Extra: func(i, j []int) float64 {
		p := both(i[0], j[0])
		switch {
		case shown[p]:
			return -proof
		case spoken[p[0]] || spoken[p[1]]:
			return proof / 2
		}
		return 0
	}})
	if err != nil {
		return err
	}
	for i := range sol.Matches {
		m := &sol.Matches[i]
		a, b := m.A[0], m.B[0]
		yield(&counterpart{m, c, as[a], bs[b], shown[both(a, b)]})
	}
	return nil
}

// among returns the modules that some tensors make.
func (m *modules) among(some func(*tensor) bool, apart bool) []*match.Module {
	return match.Among(m.all, m.tensors, func(i int) bool { return some(m.list[i]) }, apart)
}

// whole is the module that one of some tensors is a part of.
func (m *modules) whole(part *match.Module) *match.Module {
	return m.of[m.list[part.Leaves[0].Tensors[0]]]
}

// proof is what it counts, in log-odds, that a tensor of one module has the bytes of one
// of the other: as much as that they have the same name. If others have them, half of
// that counts against it.
const proof = 8

// pairLoose pairs what is left of both sides and surely the same. Whether names say it,
// or only that nothing else fits, is the pair's evidence.
func (c *comparison) pairLoose(ctx context.Context) {
	// What a conversion leaves out, for a reason that is known, is no tensor of the other side.
	loose := func(t *tensor) bool { return t.pair == nil && t.reason == "" }
	same := make(map[*tensor]*tensor)
	for _, t := range c.as {
		if p := t.pair; p != nil && p.by == ByContent {
			same[t] = p.b
		}
	}
	// Whole modules first. Of what is left even the names of leaves may be others'.
	for _, apart := range []bool{false, true} {
		if !slices.ContainsFunc(c.as, loose) || !slices.ContainsFunc(c.bs, loose) {
			return
		}
		err := c.counterparts(ctx, loose, apart, same, func(p *counterpart) {
			by := p.evidence()
			if by == "" {
				return
			}
			p.members(func(x, y *tensor) {
				if by == ByRole || slices.Equal(x.shape, y.shape) {
					c.link(x, y, by)
				}
			})
		})
		if err != nil {
			c.note("tensors of other names are not paired: %v", err)
			return
		}
	}
}

// evidence says why two modules are taken for the same one, "" where it is not sure that
// they are.
func (p *counterpart) evidence() Evidence {
	leaf := p.a.Leaves[0].Name
	switch {
	case p.Confidence < match.Confidence(match.Sure):
		return ""
	case p.Same:
		return ByPrefix
	case p.a.Role != "" && p.a.Role == p.b.Role:
		return ByRole
	case p.shown:
		return ByTemplate
	case p.Said >= match.Sure:
		return Likely
	case p.a.Holes() == 0 && (leaf == "" || leaf != p.b.Leaves[0].Name):
		return "" // of what a model has once, the shape says little
	case p.Only:
		return ByTemplate
	}
	return Likely
}
