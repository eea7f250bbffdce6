package compare

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// A content is what tensors with the same bytes have in common.
type content struct {
	kind   string // dtype, byte order and shape
	digest [sha256.Size]byte
}

// prefixBytes is how much of a tensor is read before all of it is: enough to
// tell trained tensors apart.
const prefixBytes = 64 << 10

func (t *tensor) kind() string {
	return fmt.Sprint(t.dtype, t.section.BigEndian, t.shape, t.section.Data.Size())
}

// pairByContent finds tensors with the bytes of one that has another name. Each
// is read to its end only when its beginning has a counterpart.
func (c *comparison) pairByContent(ctx context.Context) error {
	// What is the same under its own name needs no other; but A's may be what a
	// changed tensor of B was copied from, and B's what one of A alone is a copy of.
	key := make(map[*tensor]content)
	alone := make(map[string]bool) // kinds
	for _, t := range c.as {
		if t.err == nil && t.build == nil && t.section.Data.Size() > 0 {
			key[t] = content{kind: t.kind()}
			if t.pair == nil && t.chosen {
				alone[t.kind()] = true
			}
		}
	}
	for _, t := range c.bs {
		if t.err == nil && t.section.Data.Size() > 0 && (t.pair == nil || !t.pair.settled() || alone[t.kind()]) {
			key[t] = content{kind: t.kind()}
		}
	}
	for _, most := range []int64{prefixBytes, math.MaxInt64} {
		groups := c.groups(key)
		var (
			sections []values.Section
			of       []*tensor
			total    int64
		)
		// In the order of the files, which is how they are read fastest.
		for _, t := range slices.Concat(c.as, c.bs) {
			k, ok := key[t]
			if !ok {
				continue
			}
			n := t.section.Data.Size()
			switch {
			case !groups[k].useful:
				delete(key, t)
			case n <= prefixBytes && most > prefixBytes:
				// It was read to its end already.
			default:
				n = min(n, most)
				sections = append(sections, values.Section{Name: t.own, Data: io.NewSectionReader(t.section.Data, 0, n)})
				of = append(of, t)
				total = addBytes(total, n)
			}
		}
		opt := values.Options{Workers: c.opt.Workers, SHA256: true, Progress: c.stage("match", total)}
		err := values.Run(ctx, sections, opt, func(i int, r *values.Result) error {
			t := of[i]
			if r.Err != nil {
				t.err, t.unread = r.Err, true
				delete(key, t)
				return nil
			}
			key[t] = content{key[t].kind, r.SHA256}
			return nil
		})
		if err != nil {
			return err
		}
	}
	c.match(ctx, c.groups(key))
	return nil
}

// A group is the tensors of both sides that may have the same bytes.
type group struct {
	as, bs []*tensor
	useful bool // a pair may come of it
}

// groups puts tensors together by what is known of their contents.
func (c *comparison) groups(key map[*tensor]content) map[content]*group {
	out := make(map[content]*group)
	add := func(t *tensor) *group {
		k, ok := key[t]
		if !ok {
			return &group{} // of no use
		}
		if out[k] == nil {
			out[k] = &group{}
		}
		return out[k]
	}
	for _, t := range c.as {
		g := add(t)
		g.as = append(g.as, t)
	}
	for _, t := range c.bs {
		g := add(t)
		g.bs = append(g.bs, t)
	}
	for _, g := range out {
		g.useful = g.mayPair()
	}
	return out
}

// mayPair reports whether a pair by content may come of the group.
func (g *group) mayPair() bool {
	if len(g.as) == 0 || len(g.bs) == 0 {
		return false
	}
	isChosen := func(t *tensor) bool { return t.chosen || t.pair != nil && (t.pair.a.chosen || t.pair.b.chosen) }
	if !slices.ContainsFunc(g.as, isChosen) && !slices.ContainsFunc(g.bs, isChosen) {
		return false
	}
	// A single pair that is known to differ is not the same tensor twice.
	return len(g.as) > 1 || len(g.bs) > 1 || g.as[0].pair == nil || g.as[0].pair.b != g.bs[0]
}

// match pairs the tensors of groups that have the same bytes.
func (c *comparison) match(ctx context.Context, groups map[content]*group) {
	place := make(map[*tensor]int, len(c.as)+len(c.bs))
	for i, t := range c.as {
		place[t] = i
	}
	for i, t := range c.bs {
		place[t] = i
	}
	inOrder := func(x, y *tensor) int { return place[x] - place[y] }
	var list []*group
	for _, g := range groups {
		if len(g.as) > 0 && len(g.bs) > 0 {
			slices.SortFunc(g.as, inOrder)
			slices.SortFunc(g.bs, inOrder)
			list = append(list, g)
		}
	}
	slices.SortFunc(list, func(x, y *group) int { return inOrder(x.bs[0], y.bs[0]) })

	// The unmistakable first: what they teach about names decides over tensors of
	// which several have the same bytes, such as new norms.
	m := matching{from: make(map[*tensor]*tensor), to: make(map[*tensor]*tensor)}
	open := make(map[*tensor]bool)
	for _, g := range list {
		if len(g.as) == 1 && len(g.bs) == 1 {
			if g.as[0].free() {
				m.put(g.as[0], g.bs[0])
			}
			continue
		}
		for _, t := range slices.Concat(g.as, g.bs) {
			open[t] = t.free()
		}
	}
	if len(open) > 0 {
		// Any two of a group have the same bytes, so that nothing has to be sure. What
		// cannot be matched by its name is paired as it comes.
		likely := make(map[*tensor]*tensor)
		_ = c.counterparts(ctx, func(t *tensor) bool { return open[t] }, false, m.to, func(of *counterpart) {
			of.members(func(a, b *tensor) { likely[a] = b })
		})
		for _, g := range list {
			m.settle(g, likely)
		}
	}
	m.close()
	for a, b := range m.to {
		for _, t := range []*tensor{a, b} {
			if p := t.pair; p != nil {
				p.a.pair, p.b.pair = nil, nil
			}
		}
	}
	for _, t := range c.as {
		b, ok := m.to[t]
		if !ok {
			continue
		}
		p := c.link(t, b, ByContent)
		p.status, p.exact = Same, true
	}
	// What has the bytes of another tensor, and is not paired with it, says so.
	for _, g := range list {
		for _, a := range g.as {
			if a.pair == nil {
				a.holds = g.bs[0]
			}
		}
		for _, b := range g.bs {
			switch {
			case b.pair == nil:
				b.holds = g.as[0]
			case !b.pair.settled() && b.pair.holds < 0:
				b.pair.holds = g.as[0].index
			}
		}
	}
}

// free reports whether the tensor is not known to be the same under its name.
func (t *tensor) free() bool { return t.pair == nil || !t.pair.settled() }

// A matching is pairs by content that are being found.
type matching struct {
	from, to map[*tensor]*tensor // by B's tensor, by A's
}

func (m *matching) put(a, b *tensor) { m.to[a], m.from[b] = b, a }

// settle pairs tensors that all have the same bytes, those first that are likely to be the
// same.
func (m *matching) settle(g *group, likely map[*tensor]*tensor) {
	inB := make(map[*tensor]bool, len(g.bs))
	for _, b := range g.bs {
		inB[b] = true
	}
	var rest []*tensor
	for _, a := range g.as {
		b := likely[a]
		switch {
		case !a.free() || m.to[a] != nil:
		case b != nil && inB[b] && m.from[b] == nil:
			m.put(a, b)
		default:
			rest = append(rest, a)
		}
	}
	for _, b := range g.bs {
		if len(rest) == 0 {
			return
		}
		if m.from[b] == nil {
			m.put(rest[0], b)
			rest = rest[1:]
		}
	}
}

// close takes back the pairs that would leave a tensor without the partner that
// it has by name, unless that partner's place is taken over in turn: tensors
// that have changed places all round are told as moved, and one that was copied
// over another as changed. A name alone, with another shape, binds nothing.
func (m *matching) close() {
	for again := true; again; {
		again = false
		for a, b := range m.to {
			leavesB := a.pair != nil && a.pair.status != ShapeChanged && m.from[a.pair.b] == nil
			leavesA := b.pair != nil && b.pair.status != ShapeChanged && m.to[b.pair.a] == nil
			if leavesA || leavesB {
				delete(m.to, a)
				delete(m.from, b)
				again = true
			}
		}
	}
}

// named lists tensors as package convention wants them. Their dtypes are what is
// compared, not what is converted, but for blocks that lie as nothing else does.
func named(list []*tensor) func(yield func(convention.Named) bool) {
	return func(yield func(convention.Named) bool) {
		for _, t := range list {
			n := convention.Named{Name: t.name, Shape: t.shape}
			if t.dtype == mxfp4 {
				n.DType = mxfp4
			}
			if !yield(n) {
				return
			}
		}
	}
}
