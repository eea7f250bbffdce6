package compare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// A naming is what is known of the names of a side.
type naming struct {
	list  []convention.Named
	model *convention.Model
	read  *identify.Reading
	// conventions are those that the names fit equally well, the likeliest first. A GGUF
	// file names its architecture, and has that one alone.
	conventions []*convention.Convention
	sure        bool
	adapter     *identify.Adapter // nil of a model
}

// namingOf identifies a side. A document that cannot be read says nothing, as one that
// is absent.
func namingOf(ctx context.Context, list []*tensor, of *checkpoint.Checkpoint) *naming {
	m, _ := adapt.Model(ctx, of)
	n := newNaming(list, m)
	if n.adapter = identify.ReadAdapter(n.list, m, nil); n.adapter != nil {
		n.model.Adapter, _ = adapt.Adapter(ctx, of)
	}
	return n
}

func newNaming(list []*tensor, m *convention.Model) *naming {
	n := &naming{list: slices.Collect(named(list)), model: m}
	n.read = identify.Read(slices.Values(n.list), m)
	identified, known := convention.Lookup(n.read.Convention)
	if conv, ok := convention.Lookup(m.Architecture + "-gguf"); ok {
		// A converter may write a model under the architecture of its successor, and a
		// file may have got the names of another project.
		byNames := known && n.knows(identified) > n.knows(conv)
		if byNames && identified.HasDialect("gguf") {
			conv = identified
		}
		if !byNames || conv == identified {
			n.conventions, n.sure = []*convention.Convention{conv}, true
			return n
		}
	}
	if known {
		n.conventions = append(n.conventions, identified)
	}
	for _, conv := range n.read.Tied {
		if !slices.Contains(n.conventions, conv) {
			n.conventions = append(n.conventions, conv)
		}
	}
	return n
}

// namings are those of both sides, A's names as they are after a map or conversion.
func (c *comparison) namings(ctx context.Context) (a, b *naming) {
	return namingOf(ctx, c.as, c.a), namingOf(ctx, c.bs, c.b)
}

// alike reports whether both sides spell their names in one way: what one of them is, by
// its configuration, the other may be by its names.
func (n *naming) alike(other *naming) bool {
	if n.adapter != nil && other.adapter != nil && n.adapter.Dialect != other.adapter.Dialect {
		return false
	}
	return slices.Contains(n.conventions, other.conventions[0]) || slices.Contains(other.conventions, n.conventions[0])
}

// beside adds the conventions of the other side's families that know as many of the
// names as the one identified: projects share names, and what one side is sure of tells
// which it is. No convention that knows fewer is tried.
func (n *naming) beside(other *naming) {
	if n.sure || !other.sure || len(n.conventions) == 0 {
		return
	}
	most := n.knows(n.conventions[0])
	for _, c := range convention.All() {
		if !slices.Contains(n.conventions, c) && !c.HasDialect("gguf") &&
			slices.ContainsFunc(other.conventions[0].Families, c.HasFamily) && n.knows(c) >= most {
			n.conventions = append(n.conventions, c)
		}
	}
}

// knows counts the tensors that a convention has a name for.
func (n *naming) knows(c *convention.Convention) int {
	at, err := identify.Locate(c, n.list)
	if err != nil {
		return 0
	}
	known := 0
	for i := range at.Places {
		if at.Places[i].Tensor != nil {
			known++
		}
	}
	return known
}

// A route is the conversions between the conventions of both sides, of A's names and of
// B's; nil where one is not possible.
type route struct {
	there, back *convert.Conversion
	// hits count the tensors of either side that a conversion finds in the other.
	thereHits, backHits int
}

// routeBetween finds the conventions of two sides between which most tensors find their
// counterparts. It does not depend on which is A: exchanged sides exchange the route.
func routeBetween(a, b *naming) (*route, error) {
	if a.adapter != nil && b.adapter != nil {
		a.adapter, b.adapter = related(a.adapter, b.adapter)
		r := new(route)
		var err, back error
		r.there, r.thereHits, err = convertAdapter(a, b)
		r.back, r.backHits, back = convertAdapter(b, a)
		if err != nil && back != nil {
			return nil, firstError(err, back)
		}
		return r, nil
	}
	a.beside(b)
	b.beside(a)
	var (
		best   *route
		most   = -1
		failed error
	)
	for _, x := range a.conventions {
		for _, y := range b.conventions {
			if x == y {
				continue
			}
			r := new(route)
			var err, back error
			r.there, r.thereHits, err = convertNames(a, b, x, y)
			r.back, r.backHits, back = convertNames(b, a, y, x)
			if err != nil && back != nil {
				failed = firstError(failed, err, back)
				continue
			}
			if hits := max(r.thereHits, r.backHits); hits > most {
				best, most = r, hits
			}
		}
	}
	return best, failed
}

// firstError returns the error that says most: what the configuration lacks, and then in
// an order that does not depend on which side an error is of.
func firstError(list ...error) error {
	lacks := func(err error) bool {
		refused, ok := errors.AsType[*convert.RefusalError](err)
		return ok && refused.Needs != ""
	}
	var out error
	for _, err := range list {
		switch {
		case err == nil:
		case out == nil, lacks(err) && !lacks(out), lacks(err) == lacks(out) && err.Error() < out.Error():
			out = err
		}
	}
	return out
}

// convertNames converts a side's tensors to a convention of the other, and counts the
// tensors of both that find each other.
func convertNames(from, to *naming, x, y *convention.Convention) (*convert.Conversion, int, error) {
	there := to.names()
	exists := func(name string) bool { return there[strings.TrimPrefix(name, to.read.BaseAbsent)] }
	conv, err := convert.BetweenWith(x, y, slices.Values(from.list), from.model.Or(to.model), convert.Options{Has: exists})
	if err != nil {
		return nil, -1, err
	}
	for i := range conv.Moves {
		m := &conv.Moves[i]
		for k, name := range m.To {
			// A save of the bare model lacks the base's prefix, and need not.
			m.To[k] = strings.TrimPrefix(name, to.read.BaseAbsent)
			if !there[name] && there[y.Base+name] {
				m.To[k] = y.Base + name
			}
		}
	}
	return conv, countHits(conv, there), nil
}

// related reads the modules of two adapters as those of one model, where names that fit
// several allow it.
func related(a, b *identify.Adapter) (x, y *identify.Adapter) {
	for _, p := range a.Components[0].Tied() {
		for _, q := range b.Components[0].Tied() {
			if p == q || slices.ContainsFunc(p.Families, q.HasFamily) {
				return a.As(p), b.As(q)
			}
		}
	}
	return a, b
}

// convertAdapter converts a side's adapter to the spelling of the other's.
func convertAdapter(from, to *naming) (*convert.Conversion, int, error) {
	conv, err := convert.AdapterAs(from.adapter, to.adapter, from.model, to.model.Adapter)
	if err != nil {
		return nil, -1, err
	}
	return conv, countHits(conv, to.names()), nil
}

func (n *naming) names() map[string]bool {
	there := make(map[string]bool, len(n.list))
	for _, t := range n.list {
		there[t.Name] = true
	}
	return there
}

// countHits counts the tensors of both sides that find each other.
func countHits(conv *convert.Conversion, there map[string]bool) int {
	hits := 0
	for i := range conv.Moves {
		m := &conv.Moves[i]
		found := 0
		for _, name := range m.To {
			if there[name] {
				found++
			}
		}
		if hits += found; found > 0 {
			hits += len(m.From)
		}
	}
	return hits
}

// reversed says which conversion is carried out: the one by which more tensors find
// their counterparts, then the one to GGUF, which its converters go, then the one that
// drops more, then that to the convention whose name is last.
func (r *route) reversed() bool {
	switch {
	case r.there == nil || r.back == nil:
		return r.there == nil
	case r.thereHits != r.backHits:
		return r.backHits > r.thereHits
	}
	gguf := func(c *convert.Conversion) bool {
		conv, ok := convention.Lookup(c.To)
		return ok && conv.HasDialect("gguf")
	}
	if x, y := gguf(r.there), gguf(r.back); x != y {
		return y
	}
	// What a conversion drops, such as the alpha of a change, it has taken into account.
	if x, y := len(r.there.Dropped), len(r.back.Dropped); x != y {
		return y > x
	}
	return r.back.To > r.there.To
}

// convert puts in the place of one side's tensors what they become in the convention of
// the other.
func (c *comparison) convert(ctx context.Context) error {
	a, b := namingOf(ctx, c.as, c.a), namingOf(ctx, c.bs, c.b)
	for _, side := range []struct {
		n  *naming
		of *checkpoint.Checkpoint
	}{{a, c.a}, {b, c.b}} {
		if len(side.n.conventions) == 0 {
			c.note("%s: the names follow no convention that is known, so that they cannot be mapped; give a map instead", side.of.Path)
			return nil
		}
	}
	if a.alike(b) {
		c.out.From, c.out.To = a.conventions[0].Name, a.conventions[0].Name
		return nil
	}
	r, err := routeBetween(a, b)
	if r == nil {
		if err != nil {
			c.note("tensors are compared as they are stored: %v", err)
		}
		return nil
	}
	return c.follow(r, a.model.Or(b.model))
}

// convertMoved is convert for sides whose names are those of two projects, or whose bytes
// differ as those of two conventions do. All others are left as they are: within a
// project, a rename is to be told.
func (c *comparison) convertMoved(ctx context.Context) error {
	inA := make(map[string]bool, len(c.as))
	for _, t := range c.as {
		inA[t.own] = true
	}
	common := 0
	for _, t := range c.bs {
		if inA[t.own] {
			common++
		}
	}
	if common == len(c.as) || common == len(c.bs) {
		return nil
	}
	a, b := namingOf(ctx, c.as, c.a), namingOf(ctx, c.bs, c.b)
	if len(a.conventions) == 0 || len(b.conventions) == 0 || a.alike(b) {
		return nil // what has no convention is paired in other ways
	}
	moves := a.adapter != nil && b.adapter != nil
	for _, x := range a.conventions {
		for _, y := range b.conventions {
			moves = moves || !sharesProject(x, y)
			for _, way := range [][2]*convention.Convention{{x, y}, {y, x}} {
				d, err := convert.Derive(way[0], way[1])
				moves = moves || err == nil && d.By() != "names"
			}
		}
	}
	if !moves {
		return nil
	}
	r, err := routeBetween(a, b)
	if r == nil || max(r.thereHits, r.backHits) <= 2*common {
		if refused, ok := errors.AsType[*convert.RefusalError](err); ok && refused.Needs != "" {
			c.note("tensors are compared as they are stored: %v", refused)
		}
		return nil
	}
	conv := r.there
	if r.reversed() {
		conv = r.back
	}
	if from, ok := convention.Lookup(conv.From); ok && a.adapter == nil && !conv.MovesBytes() {
		if to, ok := convention.Lookup(conv.To); ok && sharesProject(from, to) {
			return nil
		}
	}
	if c.opt.Headers {
		c.takeSections()
	}
	return c.follow(r, a.model.Or(b.model))
}

// sharesProject reports whether two conventions are spellings of one project.
func sharesProject(x, y *convention.Convention) bool {
	return slices.ContainsFunc(x.Dialects, y.HasDialect)
}

func (c *comparison) note(format string, args ...any) {
	c.out.Notes = append(c.out.Notes, fmt.Sprintf(format, args...))
}

// follow carries out the route's conversion. Where that is B's, the sides are exchanged
// until the answer is put together.
func (c *comparison) follow(r *route, model *convention.Model) error {
	conv, other := r.there, r.back
	if r.reversed() {
		conv, other = other, conv
		c.swapped = true
		c.a, c.b, c.as, c.bs = c.b, c.a, c.bs, c.as
	}
	c.out.From, c.out.To = conv.From, conv.To
	if c.swapped {
		c.out.From, c.out.To = conv.To, conv.From
	}
	side := "A"
	if c.swapped {
		side = "B"
	}
	c.note("%s is compared as if converted from %s to %s", side, conv.From, conv.To)
	c.out.Notes = append(c.out.Notes, conv.Notes...)
	// What the other project has no place for is no difference.
	excuse(c.as, conv)
	if other != nil {
		excuse(c.bs, other)
	}
	c.towers(conv, model)
	return c.apply(conv)
}

// excuse gives the tensors that a conversion leaves out its reason.
func excuse(list []*tensor, conv *convert.Conversion) {
	reasons := make(map[string]string)
	for _, d := range conv.Dropped {
		reasons[d.Name] = d.Reason
	}
	for i := range conv.Aside {
		if a := &conv.Aside[i]; !a.Blocks {
			reasons[a.Name] = a.Reason
		}
	}
	for _, t := range list {
		t.reason = reasons[t.own]
	}
}

// excuseTied gives the reason of tensors without a counterpart whose elements are those of
// another that has one, as the tied ones of PyTorch files: convert writes them once.
func excuseTied(list []*tensor, of *checkpoint.Checkpoint) {
	first := func(t *tensor) int {
		if k, ok := of.TiedTo(t.index); ok {
			return k
		}
		return t.index
	}
	paired := make(map[int]*tensor)
	for _, t := range list {
		if t.sources == nil && t.pair != nil {
			paired[first(t)] = t
		}
	}
	for _, t := range list {
		if other := paired[first(t)]; t.sources == nil && t.pair == nil && t.reason == "" && other != nil {
			t.reason = "tied to " + other.own + ", whose elements it has"
		}
	}
}

// excuseLoose gives the tensors that only one side has, and that follow from what both
// have, their reason: buffers, and the head of a model that uses its token embedding.
func (c *comparison) excuseLoose(ctx context.Context) error {
	for _, side := range []struct {
		list []*tensor
		of   *checkpoint.Checkpoint
	}{{c.as, c.a}, {c.bs, c.b}} {
		loose := func(t *tensor) bool { return t.pair == nil && t.reason == "" }
		if !slices.ContainsFunc(side.list, loose) {
			continue
		}
		excuseTied(side.list, side.of)
		if !slices.ContainsFunc(side.list, loose) {
			continue
		}
		model, _ := adapt.Model(ctx, side.of)
		list := slices.Collect(adapt.Tensors(side.of))
		read := identify.Read(slices.Values(list), model)
		conv, ok := convention.Lookup(read.Convention)
		if !ok {
			continue
		}
		places := read.Places(conv)
		var embedding, head *tensor
		for _, t := range side.list {
			place := &places[t.index]
			switch {
			case place.Suffix != "":
			case place.Tensor != nil && place.Tensor.Role == "embed.tokens.weight":
				embedding = t
			case t.pair != nil || t.reason != "":
			case place.Buffer || place.Tensor != nil && place.Tensor.Buffer:
				t.reason = "follows from the configuration"
			case place.Tensor != nil && place.Tensor.Role == "head.weight":
				head = t
			}
		}
		if head == nil || embedding == nil || !slices.Equal(head.shape, embedding.shape) {
			continue
		}
		tied := c.opt.Headers
		if !tied && head.err == nil && embedding.err == nil && head.section.Type != nil && embedding.section.Type != nil && embedding.build == nil && head.build == nil {
			pair := []values.Pair{{A: embedding.section, B: head.section}}
			opt := values.PairOptions{Workers: c.opt.Workers, Values: true, Progress: c.stage("measure", embedding.section.Data.Size())}
			err := values.RunPairs(ctx, pair, opt, func(_ int, r *values.Comparison) error {
				d := r.Difference
				tied = d != nil && (d.Differ == 0 || head.dtype != embedding.dtype && Within(d, embedding.dtype, head.dtype))
				return nil
			})
			if err != nil {
				return err
			}
		}
		if tied {
			head.reason = "the token embedding again: the head is tied to it"
		}
	}
	return nil
}
