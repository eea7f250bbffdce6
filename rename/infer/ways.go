package infer

import (
	"cmp"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

const (
	// The share of probe rows that a way must explain, and how much less every other way must.
	// Of 6 layouts in 8 layers of a small model and three that were trained on from it, the right way
	// had all probe rows and the next best 0.46 at most; of an unrelated model no way had any.
	enough, ahead = 0.85, 0.15
	// hint is what a way must explain, and more, for its rows to be tried in other orders: some of the
	// part that rotary embedding leaves alone. Where eight queries share a value, that part is a
	// tenth of the rows. Unrelated weights explain 0.03 at most.
	hint = 0.04
	// mostTried bounds how many hypotheses of several modules are tried without finding how their
	// tensors lie, and mostTurned those of two single modules whose weights are not alike as they
	// are. Models that are related in one part alone have many; what is not tried is asked.
	mostTried, mostTurned = 64, 16
)

// A bundle is the modules of a match, and how large their tensors are.
type bundle struct {
	fused   int
	parts   []int
	joins   bool // several of A become one of B, or those of experts one stack
	form    match.Form
	rows    []uint64 // of each part
	axis    int      // that of the rows in the fused tensor
	experts int      // of each part in one fused tensor
}

// bundle finds what the modules of a hypothesis have in common; false where they do not fit.
func (x *inference) bundle(a, b []int) (*bundle, bool) {
	y := &bundle{joins: len(a) > 1}
	if len(a) == 1 && len(b) == 1 {
		y.joins = x.a.modules[a[0]].Count > x.b.modules[b[0]].Count
	}
	whole, side := x.a.modules, x.b.modules
	y.fused, y.parts = a[0], b
	if y.joins {
		whole, side = side, whole
		y.fused, y.parts = b[0], a
	}
	f, first := whole[y.fused], side[y.parts[0]]
	if f.Count == 0 || first.Count%f.Count != 0 || f.Shapes != nil || len(f.Shape) < 2 {
		return nil, false
	}
	y.experts = first.Count / f.Count
	sum, cols := uint64(0), uint64(0)
	for _, p := range y.parts {
		m := side[p]
		n := len(m.Shape)
		if n < 2 || m.Shapes != nil || m.Count != first.Count || m.Packed != f.Packed || y.experts > 1 && n > 2 {
			return nil, false
		}
		y.rows = append(y.rows, m.Shape[n-2])
		sum, cols = sum+m.Shape[n-2], m.Shape[n-1]
	}
	n, e := len(f.Shape), uint64(y.experts)
	y.axis = n - 2
	is := func(r, c uint64) bool { return f.Shape[n-2] == r && f.Shape[n-1] == c }
	switch {
	case e == 1 && is(sum, cols):
	case e == 1 && is(cols, sum):
		y.form = match.Transposed
	case e > 1 && n == 3 && f.Shape[0] == e && is(sum, cols):
		y.form = match.Stacked
	case e > 1 && n == 3 && f.Shape[0] == e && is(cols, sum):
		y.form = match.StackedTurned
	case e > 1 && n == 2 && f.Shape[1] == cols && f.Shape[0]/e == sum && len(y.parts) == 1:
		y.form = match.Flat
	case e > 1 && n == 2 && f.Shape[1] == sum && f.Shape[0]/e == cols && len(y.parts) == 1:
		y.form = match.FlatTurned
	default:
		return nil, false
	}
	return y, true
}

// turns reports whether the shape allows the tensor to be transposed without showing it.
func (x *bundle) turns(w *weighing) bool {
	f := w.a.modules
	if x.joins {
		f = w.b.modules
	}
	s := f[x.fused].Shape
	return len(x.parts) == 1 && (x.form == match.Same || x.form == match.Stacked) && s[len(s)-1] == s[len(s)-2]
}

// ops are the operations that make B's tensors of A's, in one block. The parts are in the order
// of the way or, for sorted, in that of the match; with experts, each part's one after the
// other.
func (x *bundle) ops(r *way, sorted bool) []tensorop.Op {
	order := r.order
	if order == nil {
		order = plainOrder(len(x.parts))
	}
	n := len(order)
	stacks := x.form == match.Stacked || x.form == match.StackedTurned
	flat := x.form == match.Flat || x.form == match.FlatTurned
	turned := r.turned || x.form == match.Transposed || x.form == match.StackedTurned || x.form == match.FlatTurned
	fuse := tensorop.Op{Axis: x.axis, Layout: r.layout, Groups: r.groups}
	var parts, swaps []tensorop.Op
	for k, p := range order {
		fuse.Sizes = append(fuse.Sizes, int64(x.rows[p]))
		if r.rope != nil && r.rope[p] > 0 {
			parts = append(parts, tensorop.Op{Kind: tensorop.Permute, Index: k, Count: 1, Axis: fuse.Axis, Heads: r.rope[p], From: r.from, To: r.to})
		}
	}
	if sorted {
		swaps = sortingSwaps(order)
	}
	turn := tensorop.Op{Kind: tensorop.Transpose, Count: 1}
	each := func(k int) tensorop.Op {
		if x.joins {
			return tensorop.Op{Kind: tensorop.Stack, Index: k, Count: x.experts}
		}
		return tensorop.Op{Kind: tensorop.Unstack, Index: k * x.experts, Count: 1, Sizes: slices.Repeat([]int64{1}, x.experts)}
	}
	var ops []tensorop.Op
	if x.joins {
		for k := range n {
			if stacks || flat {
				ops = append(ops, each(k))
			}
		}
		slices.Reverse(swaps)
		ops = slices.Concat(ops, swaps, parts)
		if n > 1 {
			fuse.Kind, fuse.Count = tensorop.Concat, n
			ops = append(ops, fuse)
		}
		if turned {
			ops = append(ops, turn)
		}
		if flat {
			ops = append(ops, tensorop.Op{Kind: tensorop.Flatten, Count: 1, Groups: int64(x.experts)})
		}
		return ops
	}
	if flat {
		ops = append(ops, tensorop.Op{Kind: tensorop.Unflatten, Count: 1, Groups: int64(x.experts)})
	}
	if turned {
		ops = append(ops, turn)
	}
	if n > 1 {
		fuse.Kind, fuse.Count = tensorop.Split, 1
		ops = append(ops, fuse)
	}
	ops = slices.Concat(ops, parts, swaps)
	for k := range n {
		if stacks || flat {
			ops = append(ops, each(k))
		}
	}
	return ops
}

// sortingSwaps exchanges neighbours until they are in order.
func sortingSwaps(order []int) []tensorop.Op {
	now := slices.Clone(order)
	var ops []tensorop.Op
	for range now {
		for i := range len(now) - 1 {
			if now[i] > now[i+1] {
				now[i], now[i+1] = now[i+1], now[i]
				ops = append(ops, tensorop.Op{Kind: tensorop.Swap, Index: i, Count: 2})
			}
		}
	}
	return ops
}

// bundled are the main tensors of a bundle in one block, those of A and those of B.
func (x *inference) bundled(y *bundle, block int) (a, b []string) {
	whole, side := &x.a, &x.b
	if y.joins {
		whole, side = side, whole
	}
	fused := []string{whole.name(y.fused, block)}
	var parts []string
	for _, p := range y.parts {
		for e := range y.experts {
			parts = append(parts, side.name(p, block*y.experts+e))
		}
	}
	if y.joins {
		return parts, fused
	}
	return fused, parts
}

// blocks are those of which B's tensors have weights to compare with.
func (x *inference) blocks(y *bundle) []int {
	j, each := y.parts[0], y.experts
	if y.joins {
		j, each = y.fused, 1
	}
	var out []int
	for _, k := range x.members(j) {
		if k%each == 0 {
			out = append(out, k/each)
		}
	}
	return out
}

// way finds how the tensors of a hypothesis lie in each other; nil where the weights do not say.
// The order is that of the sorted parts.
func (w *weighing) way(a, b []int) *way {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	key := fmt.Sprint(a, b)
	if r, ok := w.found[key]; ok {
		return r
	}
	w.found[key] = nil
	x, ok := w.bundle(a, b)
	if w.err != nil || !ok || w.unrelated {
		return nil // unrelated models have no layout to find
	}
	failed, most := &w.tried, mostTried
	if len(a)+len(b) == 2 && x.experts == 1 {
		failed, most = &w.turned, mostTurned
	}
	if *failed >= most {
		return nil
	}
	r, err := w.search(x)
	if err != nil {
		w.err = err
		return nil
	}
	if r == nil {
		*failed++
	}
	w.found[key] = r
	return r
}

// search tries ways, the plain ones first, and keeps the one that stands out in the first,
// the middle and the last block.
func (w *weighing) search(x *bundle) (*way, error) {
	blocks := w.blocks(x)
	if len(blocks) == 0 {
		return nil, nil
	}
	middle := blocks[len(blocks)/2]
	var tried []*way
	for stage := range 3 {
		fresh := x.ways(w, stage, tried)
		if len(fresh) == 0 {
			continue
		}
		tried = append(tried, fresh...)
		if err := w.score(x, middle, tried); err != nil {
			return nil, err
		}
		if slices.ContainsFunc(fresh, func(r *way) bool { return r.score >= enough }) {
			break
		}
	}
	best := standsOut(tried)
	if best == nil {
		return nil, nil
	}
	out := *best
	for _, n := range sampled(len(blocks)) {
		member := blocks[n]
		if member == middle {
			continue
		}
		if err := w.score(x, member, tried); err != nil {
			return nil, err
		}
		if standsOut(tried) != best {
			return nil, nil
		}
		out.score, out.next = min(out.score, best.score), max(out.next, best.next)
	}
	return &out, nil
}

// score has the ways carried out in one block.
func (w *weighing) score(x *bundle, member int, list []*way) error {
	a, b := w.bundled(x, member)
	var ways [][]tensorop.Op
	for _, r := range list {
		ways = append(ways, x.ops(r, true))
	}
	scores, err := w.opt.Content.Layouts(w.ctx, a, b, ways)
	if err != nil {
		return err
	}
	for i, s := range scores {
		if math.IsNaN(s) { // what an earlier way is as well
			s = 0
		}
		list[i].score = s
	}
	return nil
}

// standsOut returns the way that explains enough and is ahead of all others.
func standsOut(list []*way) *way {
	best := slices.MaxFunc(list, func(x, y *way) int { return cmp.Compare(x.score, y.score) })
	best.next = 0
	for _, r := range list {
		if r != best {
			best.next = max(best.next, r.score)
		}
	}
	if best.score < enough || best.next > best.score-ahead {
		return nil
	}
	return best
}

// ways are those of a stage: first the parts one after the other or row by row, then in
// groups of heads, then with the rows of heads in the other order of rotary embedding.
func (x *bundle) ways(w *weighing, stage int, tried []*way) []*way {
	n := len(x.parts)
	switch stage {
	case 0:
		var out []*way
		for _, o := range permutations(n) {
			out = append(out, &way{order: o})
			if n > 1 && !slices.ContainsFunc(x.rows, func(r uint64) bool { return r != x.rows[0] }) {
				out = append(out, &way{order: o, layout: tensorop.Interleaved})
			}
		}
		if x.turns(w) {
			out = append(out, &way{order: []int{0}, turned: true})
		}
		return out
	case 1:
		if n < 2 || x.experts > 1 {
			return nil
		}
		var out []*way
		for _, groups := range x.groups(w) {
			for _, o := range permutations(n) {
				out = append(out, &way{order: o, layout: tensorop.Grouped, groups: groups})
			}
		}
		return out
	}
	if x.experts > 1 {
		return nil
	}
	var out []*way
	for _, r := range tried {
		if r.turned || r.layout == tensorop.Interleaved || n > 1 && r.score < hint {
			continue
		}
		for _, dim := range w.headDims() {
			for set := 1; set < 1<<n; set++ {
				rope := make([]int64, n)
				fits := n == 1 || bits.OnesCount(uint(set)) == n-1 // query and key, but not value
				for p := range n {
					if set>>p&1 == 1 {
						fits = fits && x.rows[p]%dim == 0
						rope[p] = int64(x.rows[p] / dim)
					}
				}
				if !fits {
					continue
				}
				for _, o := range [][2]string{{tensorop.Adjacent, tensorop.Half}, {tensorop.Half, tensorop.Adjacent}} {
					out = append(out, &way{order: r.order, layout: r.layout, groups: r.groups, rope: rope, from: o[0], to: o[1]})
				}
			}
		}
	}
	return out
}

// groups are the numbers of key/value heads that the rows of the parts may be of.
func (x *bundle) groups(w *weighing) []int64 {
	var out []int64
	for _, dim := range w.headDims() {
		least := slices.Min(x.rows)
		g := least / dim
		if g > 1 && least%dim == 0 && !slices.ContainsFunc(x.rows, func(r uint64) bool { return r%(g*dim) != 0 }) {
			out = append(out, int64(g))
		}
	}
	return out
}

// headDims are the sizes of a head that models of this kind may have: that of their configuration or,
// without one, those that decoders have.
func (w *weighing) headDims() []uint64 {
	for _, h := range []*half{&w.a, &w.b} {
		if d, ok := h.model.Number("head_dim"); ok && d > 0 {
			return []uint64{uint64(d)}
		}
		hidden, ok1 := h.model.Number("hidden_size")
		heads, ok2 := h.model.Number("num_attention_heads")
		if ok1 && ok2 && heads > 0 && hidden > 0 && hidden%heads == 0 {
			return []uint64{uint64(hidden / heads)}
		}
	}
	return []uint64{128, 64, 80, 96, 112, 256, 192, 32, 16}
}

func plainOrder(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// permutations are the orders of n things, the plain one first. Of more than projects put into one
// tensor it is the only one.
func permutations(n int) [][]int {
	const mostParts = 4
	switch {
	case n == 0:
		return [][]int{{}}
	case n > mostParts:
		return [][]int{plainOrder(n)}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for at := n - 1; at >= 0; at-- {
			out = append(out, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return out
}
