package compare

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
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
	// changed tensor of B was copied from.
	key := make(map[*tensor]content)
	for _, t := range c.as {
		if t.err == nil && t.build == nil && t.section.Data.Size() > 0 {
			key[t] = content{kind: t.kind()}
		}
	}
	for _, t := range c.bs {
		if t.err == nil && t.section.Data.Size() > 0 && (t.pair == nil || !t.pair.settled()) {
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
	groups := c.groups(key)
	c.match(groups)
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
func (c *comparison) match(groups map[content]*group) {
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
	m := matching{from: make(map[*tensor]*tensor), to: make(map[*tensor]*tensor), templates: make(map[[2]string]int)}
	for _, g := range list {
		if len(g.as) == 1 && len(g.bs) == 1 && g.as[0].free() {
			m.put(g.as[0], g.bs[0])
		}
	}
	for _, g := range list {
		if len(g.as) > 1 || len(g.bs) > 1 {
			m.settle(g)
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
	from, to  map[*tensor]*tensor // by B's tensor, by A's
	templates map[[2]string]int
}

func (m *matching) put(a, b *tensor) {
	m.to[a], m.from[b] = b, a
	m.templates[[2]string{template.Segments.Of(a.name), template.Segments.Of(b.name)}]++
}

// manyPairs bounds the pairs that are weighed against each other.
const manyPairs = 1 << 20

// settle pairs tensors that all have the same bytes: those whose names are most
// alike.
func (m *matching) settle(g *group) {
	var as []*tensor
	for _, a := range g.as {
		if a.free() {
			as = append(as, a)
		}
	}
	bs := slices.Clone(g.bs)
	weigh := len(as) <= manyPairs/max(len(bs), 1)
	for _, a := range as {
		if len(bs) == 0 {
			return
		}
		best, most := 0, -1
		for i, b := range bs {
			if !weigh {
				break
			}
			if w := m.likeness(a, b); w > most {
				best, most = i, w
			}
		}
		m.put(a, bs[best])
		bs = slices.Delete(bs, best, best+1)
	}
}

// likeness weighs how alike two names are: a template that others have taken, the
// same numbers, the same last segments.
func (m *matching) likeness(a, b *tensor) int {
	w := 0
	if m.templates[[2]string{template.Segments.Of(a.name), template.Segments.Of(b.name)}] > 0 {
		w += 200
	}
	if slices.Equal(numbers(a.name), numbers(b.name)) {
		w += 100
	}
	x, y := strings.Split(a.name, "."), strings.Split(b.name, ".")
	for i := 1; i <= min(len(x), len(y)) && x[len(x)-i] == y[len(y)-i]; i++ {
		w++
	}
	return w
}

// numbers returns the indices of a name: of the layer, the expert.
func numbers(name string) []string {
	_, out := template.Segments.Split(name)
	return out
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

// loose returns the tensors without a partner.
func loose(list []*tensor) []*tensor {
	var out []*tensor
	for _, t := range list {
		if t.pair == nil {
			out = append(out, t)
		}
	}
	return out
}

// pairByRole pairs what is left and has the same role in both.
func (c *comparison) pairByRole(ctx context.Context) {
	as, bs := loose(c.as), loose(c.bs)
	if len(as) == 0 || len(bs) == 0 {
		return
	}
	roles := func(list []*tensor, all []*tensor, of *checkpoint.Checkpoint) map[string]*tensor {
		m, _ := adapt.Model(ctx, of)
		r := identify.Tensors(named(all), m)
		conv, ok := convention.Lookup(r.Convention)
		if !ok {
			return nil
		}
		out := make(map[string]*tensor)
		for _, t := range list {
			if id, ok := conv.Parse(t.name); ok {
				out[id.String()] = t
			}
		}
		return out
	}
	inA := roles(as, c.as, c.a)
	if len(inA) == 0 {
		return
	}
	inB := roles(bs, c.bs, c.b)
	for id, b := range inB {
		if a := inA[id]; a != nil {
			c.link(a, b, ByRole)
		}
	}
}

// pairByPrefix pairs what is left and has the same name and shape but for a prefix
// on one side, if only one tensor does.
func (c *comparison) pairByPrefix() {
	as, bs := loose(c.as), loose(c.bs)
	if len(as) == 0 || len(bs) == 0 {
		return
	}
	// A tensor that could be paired with two is paired with none.
	found := make(map[*tensor]*tensor)
	spoilt := make(map[*tensor]bool)
	put := func(a, b *tensor) {
		if !slices.Equal(a.shape, b.shape) {
			return
		}
		for _, t := range []*tensor{a, b} {
			spoilt[t] = spoilt[t] || found[t] != nil
		}
		found[a], found[b] = b, a
	}
	search := func(long, short []*tensor, put func(long, short *tensor)) {
		byName := make(map[string]*tensor, len(short))
		for _, t := range short {
			byName[t.name] = t
		}
		for _, t := range long {
			rest := t.name
			for {
				_, after, ok := strings.Cut(rest, ".")
				if !ok {
					break
				}
				rest = after
				if s := byName[rest]; s != nil {
					put(t, s)
				}
			}
		}
	}
	search(as, bs, put)
	search(bs, as, func(b, a *tensor) { put(a, b) })
	for _, a := range as {
		if b := found[a]; b != nil && !spoilt[a] && !spoilt[b] {
			c.link(a, b, ByPrefix)
		}
	}
}

// pairByTemplate pairs templates that have the same numbers and shapes, where
// there is one of them on either side.
func (c *comparison) pairByTemplate() {
	as, bs := loose(c.as), loose(c.bs)
	if len(as) == 0 || len(bs) == 0 {
		return
	}
	inA, inB := templates(as), templates(bs)
	for signature, a := range inA {
		b := inB[signature]
		if len(a) != 1 || len(b) != 1 {
			continue
		}
		for i := range a[0] {
			c.link(a[0][i], b[0][i], ByTemplate)
		}
	}
}

// templates groups tensors by template, each sorted by its numbers, and the
// templates by the numbers and shapes of their tensors.
func templates(list []*tensor) map[string][][]*tensor {
	type numbered struct {
		*tensor
		numbers []string
	}
	byTemplate := make(map[string][]numbered)
	for _, t := range list {
		form := template.Segments.Of(t.name)
		byTemplate[form] = append(byTemplate[form], numbered{t, numbers(t.name)})
	}
	out := make(map[string][][]*tensor)
	for _, group := range byTemplate {
		slices.SortStableFunc(group, func(x, y numbered) int { return slices.Compare(x.numbers, y.numbers) })
		var b strings.Builder
		tensors := make([]*tensor, len(group))
		for i, t := range group {
			n := t.numbers
			if len(n) == 0 {
				// A shape alone says little: the last segment is to agree, too.
				n = []string{t.name[strings.LastIndexByte(t.name, '.')+1:]}
			}
			fmt.Fprintln(&b, n, t.shape)
			tensors[i] = t.tensor
		}
		out[b.String()] = append(out[b.String()], tensors)
	}
	return out
}
