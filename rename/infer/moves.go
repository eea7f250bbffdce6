package infer

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A way is how the tensors of a match become others, but for their names.
type way struct {
	layout string // how parts lie in a fused tensor, "" for one after the other
	groups int64
	// assumed is set where nothing but custom says how the parts lie, and by is what does.
	assumed bool
	by      string
	// rope is the order of rows for rotary embedding on either side, and heads how many
	// heads have them, where the orders differ.
	rope  [2]string
	heads int64
	// pad is how many rows of zeros are put behind, or, less than 0, taken off.
	pad int64
}

// plain is the way of a match without a look at the weights.
func (x *inference) plain(m *match.Match) *way {
	w := new(way)
	if len(m.A)+len(m.B) == 2 {
		if m.Form == match.Same {
			w.pad, _ = padding(x.a.modules[m.A[0]], x.b.modules[m.B[0]])
		}
		x.turn(m, w)
		return w
	}
	fused, h := x.a.modules[m.A[0]], &x.a
	if len(m.A) > 1 {
		fused, h = x.b.modules[m.B[0]], &x.b
	}
	w.assumed = true
	if h.of == nil || m.Form.Stacks() {
		return w
	}
	// The convention says it.
	l := &h.of.Layout
	layout := l.GateUp
	if slices.Contains(fused.Meaning.Parts, "v") {
		layout = l.QKV
	}
	switch layout {
	case tensorop.Grouped:
		w.groups = x.number("num_key_value_heads")
	case tensorop.PerHead:
		w.groups = x.number("num_attention_heads")
	case "", tensorop.Contiguous, tensorop.Interleaved:
	default:
		return w // up before gate: the order of the parts is not that of the names
	}
	if w.layout = layout; (layout == tensorop.Grouped || layout == tensorop.PerHead) && w.groups == 0 {
		w.layout = ""
		return w
	}
	w.assumed, w.by = false, "the parts lie as "+h.of.Name+" has them"
	return w
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
		w.by = "its rows are taken to be in the order of " + x.b.of.Name + " for rotary embedding"
	case x.a.of.Layout.Rope != "" && x.a.of.Layout.Rope != to:
		key := "num_attention_heads"
		if parts[0] == "k" {
			key = "num_key_value_heads"
		}
		w.rope, w.heads = [2]string{x.a.of.Layout.Rope, to}, x.number(key)
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

// leafOf finds the leaf that becomes another side's, and its name there.
func leafOf(from *match.Leaf, to *match.Module) (string, bool) {
	also := map[string][]string{".weight": {"", ".gamma", ".kernel"}, "": {".weight"}, ".gamma": {".weight"}, ".kernel": {".weight"}, ".bias": {".beta", "_bias"}, ".beta": {".bias"}, "_bias": {".bias"}}
	for _, name := range append([]string{from.Name}, also[from.Name]...) {
		if to.Has(name) {
			return name, true
		}
	}
	if !to.AnyLeaf {
		return "", false
	}
	if from.Name == ".gamma" || from.Name == ".kernel" {
		return ".weight", true
	}
	if from.Name == ".beta" {
		return ".bias", true
	}
	return from.Name, true
}

// moves writes a match out, tensor by tensor.
func (x *inference) moves(m *match.Match, w *way) []convert.Move {
	var out []convert.Move
	first, target := x.a.modules[m.A[0]], x.b.modules[m.B[0]]
	for l := range first.Leaves {
		leaf := &first.Leaves[l]
		to, ok := leafOf(leaf, target)
		if !ok {
			continue
		}
		matrix := len(first.Shape) > 1 && leaf.Name != ".bias" && leaf.Name != "_bias" && leaf.Name != ".beta"
		switch {
		case len(m.A)+len(m.B) > 2:
			out = append(out, x.compositeMoves(m, w, l, to, matrix)...)
		case m.Form.Stacks():
			out = append(out, x.stackMoves(m, l, to, matrix)...)
		default:
			for k := range first.Count {
				mv := convert.Move{From: []string{x.nameOf(&x.a, m.A[0], l, k)}, To: []string{x.target(m.B[0], to, k)}}
				if m.Form == match.Transposed && matrix {
					mv.Ops = []tensorop.Op{{Kind: tensorop.Transpose, Count: 1}}
				}
				switch {
				case w.heads > 0 && w.pad == 0:
					mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Permute, Count: 1, Heads: w.heads, From: w.rope[0], To: w.rope[1]})
				case w.pad > 0 && l == 0:
					mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Pad, Count: 1, Sizes: []int64{0, w.pad}})
				case w.pad < 0 && l == 0:
					mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Trim, Count: 1, Sizes: []int64{0, -w.pad}})
				}
				out = append(out, mv)
			}
		}
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

func ones(n int) []int64 { return slices.Repeat([]int64{1}, n) }

// stackMoves puts experts into one tensor, or takes them out of it.
func (x *inference) stackMoves(m *match.Match, leaf int, to string, matrix bool) []convert.Move {
	var out []convert.Move
	a, b := x.a.modules[m.A[0]], x.b.modules[m.B[0]]
	turn := matrix && (m.Form == match.StackedTurned || m.Form == match.FlatTurned)
	flat := m.Form == match.Flat || m.Form == match.FlatTurned
	if a.Holes() > b.Holes() {
		n := a.Count / b.Count
		for k := range b.Count {
			mv := convert.Move{To: []string{x.target(m.B[0], to, k)}, Ops: []tensorop.Op{{Kind: tensorop.Stack, Count: n}}}
			for e := range n {
				mv.From = append(mv.From, x.nameOf(&x.a, m.A[0], leaf, k*n+e))
			}
			if turn {
				mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Transpose, Count: 1})
			}
			if flat {
				mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Flatten, Count: 1, Groups: int64(n)})
			}
			out = append(out, mv)
		}
		return out
	}
	n := b.Count / a.Count
	for k := range a.Count {
		mv := convert.Move{From: []string{x.nameOf(&x.a, m.A[0], leaf, k)}}
		if flat {
			mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Unflatten, Count: 1, Groups: int64(n)})
		}
		if turn {
			mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Transpose, Count: 1})
		}
		mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Unstack, Count: 1, Sizes: ones(n)})
		for e := range n {
			mv.To = append(mv.To, x.target(m.B[0], to, k*n+e))
		}
		out = append(out, mv)
	}
	return out
}

// compositeMoves joins parts, or takes them apart. Of a stack, the parts of each expert
// are in one tensor.
func (x *inference) compositeMoves(m *match.Match, w *way, leaf int, to string, matrix bool) []convert.Move {
	var out []convert.Move
	joins := len(m.A) > 1
	whole, parts, side := x.a.modules[m.A[0]], m.B, x.b.modules
	if joins {
		whole, parts, side = x.b.modules[m.B[0]], m.A, x.a.modules
	}
	axis := 0
	if matrix {
		axis = len(whole.Shape) - 2
	} else if m.Form.Stacks() || len(whole.Shape) > 2 {
		axis = 1
	}
	fuse := tensorop.Op{Axis: axis, Layout: w.layout, Groups: w.groups}
	for _, r := range m.Rows {
		fuse.Sizes = append(fuse.Sizes, int64(r))
	}
	turn := matrix && (m.Form == match.Transposed || m.Form == match.StackedTurned)
	n := 1
	if m.Form.Stacks() {
		n = side[parts[0]].Count / whole.Count
	}
	for k := range whole.Count {
		var mv convert.Move
		if joins {
			for p, part := range parts {
				l, ok := x.sameLeaf(&x.a, m.A[0], leaf, part)
				if !ok {
					return nil
				}
				for e := range n {
					mv.From = append(mv.From, x.nameOf(&x.a, part, l, k*n+e))
				}
				if m.Form.Stacks() {
					mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Stack, Index: p, Count: n})
				}
			}
			fuse.Kind, fuse.Count = tensorop.Concat, len(parts)
			mv.Ops = append(mv.Ops, fuse)
			if turn {
				mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Transpose, Count: 1})
			}
			mv.To = []string{x.target(m.B[0], to, k)}
			out = append(out, mv)
			continue
		}
		mv.From = []string{x.nameOf(&x.a, m.A[0], leaf, k)}
		if turn {
			mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Transpose, Count: 1})
		}
		fuse.Kind, fuse.Count = tensorop.Split, 1
		mv.Ops = append(mv.Ops, fuse)
		for p, part := range parts {
			l, ok := leafOf(&whole.Leaves[leaf], x.b.modules[part])
			if !ok {
				return nil
			}
			if m.Form.Stacks() {
				mv.Ops = append(mv.Ops, tensorop.Op{Kind: tensorop.Unstack, Index: p * n, Count: 1, Sizes: ones(n)})
			}
			for e := range n {
				mv.To = append(mv.To, x.target(part, l, k*n+e))
			}
		}
		out = append(out, mv)
	}
	return out
}

// sameLeaf finds the leaf of one module that is what a leaf of another is.
func (x *inference) sameLeaf(h *half, of, leaf, m int) (int, bool) {
	name := h.modules[of].Leaves[leaf].Name
	i := slices.IndexFunc(h.modules[m].Leaves, func(l match.Leaf) bool { return l.Name == name })
	return i, i >= 0
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

// meaningOf is what the role of a convention's tensor means.
func meaningOf(role string) match.Meaning {
	space, module, _ := convention.SplitRole(role)
	m := match.Meaning{Space: space}
	s := strings.Split(strings.TrimPrefix(module, "layer."), ".")
	last := s[len(s)-1]
	switch s[0] {
	case "final_norm":
		m.Block, last = "final", "norm"
	case "moe":
		m.Block = "mlp"
	default:
		m.Block = s[0]
	}
	for _, word := range s[1:max(1, len(s)-1)] {
		switch word {
		case "expert", "experts":
			m.Sub = "expert"
		case "shared":
			m.Sub = "shared"
		}
	}
	switch last {
	case "qkv":
		m.Parts = []string{"q", "k", "v"}
	case "kv":
		m.Parts = []string{"k", "v"}
	case "gate_up":
		m.Parts = []string{"gate", "up"}
	default:
		m.Parts = []string{strings.Replace(last, "_head_norm", "_norm", 1)}
	}
	return m
}
