package infer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A way is how the tensors of a match become others, but for their names.
type way struct {
	order  []int  // in which the parts lie in the fused tensor, nil for that of the match
	layout string // how they lie in it, "" for one after the other
	groups int64
	turned bool // the fused or only tensor is transposed, beside what its shape says
	// rope is of each part how many heads it has whose rows change order, 0 where they do not.
	rope     []int64
	from, to string
	compute  []tensorop.Op // on the values of single tensors
	// assumed is set where nothing but custom says how the parts lie, and by is what does.
	assumed bool
	by      string
	// lies is set of a query or key whose rows are taken to lie as they do in B's convention.
	lies bool
	// pad is how many rows of zeros are put behind, or, less than 0, taken off.
	pad int64
	// score is the share of probe rows that it explains, and next that of the best other way.
	score, next float64
}

func (r *way) String() string {
	var list []string
	if r.turned {
		list = append(list, "a transposition")
	}
	if len(r.order) > 1 {
		layout := cmp.Or(r.layout, tensorop.Contiguous)
		if r.groups > 1 {
			layout = fmt.Sprintf("%s parts in %d groups", layout, r.groups)
		} else {
			layout += " parts"
		}
		list = append(list, layout)
	}
	if r.from != "" {
		list = append(list, fmt.Sprintf("rotary order %s to %s", r.from, r.to))
	}
	if list == nil {
		return "the same order"
	}
	return strings.Join(list, ", ")
}

// plain reports whether a single tensor stays as it is.
func (r *way) plain() bool {
	return len(r.order) < 2 && !r.turned && r.from == "" && r.compute == nil && r.pad == 0
}

// plain is the way of a match without a look at the weights. With same, all names of both sides are
// equal below a prefix.
func (x *inference) plain(m *match.Match, same bool) *way {
	w := new(way)
	a, b := x.a.modules[m.A[0]], x.b.modules[m.B[0]]
	if len(m.A)+len(m.B) == 2 {
		if m.Form == match.Same {
			w.pad, _ = padding(a, b)
		}
		x.turn(m, w)
		if of := x.a.layout(a); (a.Meaning.Fused() || b.Meaning.Fused()) && !same && (of == "" || of != x.b.layout(b)) {
			w.assumed, w.by = true, "names do not say whether the parts of both lie in the same order"
		}
		return w
	}
	fused, h := a, &x.a
	if len(m.A) > 1 {
		fused, h = b, &x.b
	}
	w.assumed, w.by = true, "names do not say how the parts lie in one tensor"
	if m.Form.Stacks() {
		return w
	}
	layout := h.layout(fused)
	switch layout {
	case tensorop.Grouped:
		w.groups = x.number("num_key_value_heads")
	case tensorop.PerHead:
		w.groups = x.number("num_attention_heads")
	case tensorop.Contiguous, tensorop.Interleaved:
	default: // not known; or up before gate, so that the order of the parts is not that of the names
		return w
	}
	if w.layout = layout; (layout == tensorop.Grouped || layout == tensorop.PerHead) && w.groups == 0 {
		w.layout = ""
		return w
	}
	w.assumed, w.by = false, "the parts lie as "+h.of.Name+" has them"
	return w
}

// layout is how the rows of a fused tensor lie, as the convention has it; "" where it is not known.
func (h *half) layout(fused *match.Module) string {
	switch {
	case !h.whole:
		return ""
	case slices.Contains(fused.Meaning.Parts, "v"):
		return cmp.Or(h.of.Layout.QKV, tensorop.Contiguous)
	}
	return cmp.Or(h.of.Layout.GateUp, tensorop.Contiguous)
}

// turn finds whether the rows of a query or key projection are in another order.
func (x *inference) turn(m *match.Match, w *way) {
	parts := x.b.modules[m.B[0]].Meaning.Parts
	if x.b.of == nil || len(parts) != 1 || parts[0] != "q" && parts[0] != "k" {
		return
	}
	to := x.b.of.Layout.Rope
	switch {
	case to == "":
	case x.a.of == nil:
		w.lies, w.by = true, "its rows are taken to be in the order of "+x.b.of.Name+" for rotary embedding"
	case x.a.of.Layout.Rope != "" && x.a.of.Layout.Rope != to:
		key := "num_attention_heads"
		if parts[0] == "k" {
			key = "num_key_value_heads"
		}
		w.rope, w.from, w.to = []int64{x.number(key)}, x.a.of.Layout.Rope, to
	}
}

// number is one of the configuration of either side, 0 where it is not known.
func (x *inference) number(key string) int64 {
	n, ok := x.a.model.Number(key)
	if !ok {
		n, _ = x.b.model.Number(key)
	}
	return n
}

// leafOf finds the name that a leaf of a module has in another.
func leafOf(from *match.Module, leaf int, to *match.Module) (string, bool) {
	if l, ok := from.Counterpart(to, leaf); ok {
		return to.Leaves[l].Name, true
	}
	switch l := &from.Leaves[leaf]; {
	case !to.AnyLeaf:
		return "", false
	case l.IsBias():
		return ".bias", true
	default:
		return strings.Replace(l.Name, "/", ".", 1), true
	}
}

// moves writes a match out, tensor by tensor.
func (x *inference) moves(m *match.Match, w *way) []convert.Move {
	var out []convert.Move
	a, b := x.a.modules[m.A[0]], x.b.modules[m.B[0]]
	single := len(m.A)+len(m.B) == 2 && a.Count == b.Count
	var y *bundle
	if !single {
		var ok bool
		if y, ok = x.bundle(m.A, m.B); !ok {
			return nil
		}
	}
	for l := range a.Leaves {
		leaf := &a.Leaves[l]
		to, ok := leafOf(a, l, b)
		if !ok {
			continue
		}
		matrix := len(a.Shape) > 1 && !leaf.IsBias()
		if single {
			ops := x.singleOps(m, w, l, matrix)
			out = slices.Grow(out, a.Count)
			for k := range a.Count {
				out = append(out, convert.Move{From: []string{x.nameOf(&x.a, m.A[0], l, k)}, To: []string{x.target(m.B[0], to, k)}, Ops: ops})
			}
			continue
		}
		out = append(out, x.bundleMoves(y, w, a, l, matrix)...)
	}
	return out
}

// singleOps are what is done to the tensors of a match of two single modules.
func (x *inference) singleOps(m *match.Match, w *way, leaf int, matrix bool) []tensorop.Op {
	var ops []tensorop.Op
	add := func(o tensorop.Op) {
		o.Count = 1
		ops = append(ops, o)
	}
	if matrix && (m.Form == match.Transposed) != w.turned {
		add(tensorop.Op{Kind: tensorop.Transpose})
	}
	if len(w.rope) == 1 && w.rope[0] > 0 && w.pad == 0 {
		add(tensorop.Op{Kind: tensorop.Permute, Heads: w.rope[0], From: w.from, To: w.to})
	}
	if leaf > 0 {
		return ops
	}
	switch {
	case w.pad > 0:
		add(tensorop.Op{Kind: tensorop.Pad, Sizes: []int64{0, w.pad}})
	case w.pad < 0:
		add(tensorop.Op{Kind: tensorop.Trim, Sizes: []int64{0, -w.pad}})
	}
	return append(ops, w.compute...)
}

// bundleMoves joins the tensors of a leaf of A, or takes them apart, block by block. It is empty
// where a part lacks the leaf.
func (x *inference) bundleMoves(y *bundle, w *way, a *match.Module, leaf int, matrix bool) []convert.Move {
	ops := y.ops(w, false)
	if !matrix { // a bias has rows and no columns
		ops = slices.DeleteFunc(ops, func(o tensorop.Op) bool { return o.Kind == tensorop.Transpose })
	}
	whole, side := &x.a, &x.b
	if y.joins {
		whole, side = side, whole
	}
	var out []convert.Move
	for k := range whole.modules[y.fused].Count {
		name := func(h *half, m, member int) (string, bool) {
			mod := h.modules[m]
			if h == &x.a {
				l, ok := a.Counterpart(mod, leaf)
				if !ok {
					return "", false
				}
				return x.nameOf(h, m, l, member), true
			}
			to, ok := leafOf(a, leaf, mod)
			if !ok {
				return "", false
			}
			return x.target(m, to, member), true
		}
		fused, ok := name(whole, y.fused, k)
		if !ok {
			return nil
		}
		var parts []string
		for _, p := range y.parts {
			for e := range y.experts {
				part, ok := name(side, p, k*y.experts+e)
				if !ok {
					return nil
				}
				parts = append(parts, part)
			}
		}
		mv := convert.Move{From: []string{fused}, To: parts, Ops: ops}
		if y.joins {
			mv.From, mv.To = parts, mv.From
		}
		out = append(out, mv)
	}
	return out
}

// nameOf is the name of a leaf's member.
func (x *inference) nameOf(h *half, m, leaf, member int) string {
	return h.tensors[h.modules[m].Leaves[leaf].Tensors[member]].Name
}

// target is the name that a tensor gets in B.
func (x *inference) target(m int, leaf string, member int) string {
	mod := x.b.modules[m]
	for l := range mod.Leaves {
		if mod.Leaves[l].Name == leaf {
			return x.nameOf(&x.b, m, l, member)
		}
	}
	return mod.Name(member, leaf)
}

// buffers are the modules of A that follow from the configuration and have no counterpart.
func (x *inference) buffers(alone []int) []convert.Dropped {
	var out []convert.Dropped
	for _, i := range alone {
		m := x.a.modules[i]
		if !m.Meaning.Buffer {
			continue
		}
		for l := range m.Leaves {
			for k := range m.Count {
				out = append(out, convert.Dropped{Name: x.nameOf(&x.a, i, l, k), Reason: "follows from the configuration"})
			}
		}
	}
	return out
}
