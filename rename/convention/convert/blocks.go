package convert

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// blocks say how the changes of several modules make that of their whole, whose rank is
// the sum of theirs: the down halves lie one below the other, and each up half is a
// block of the whole's, in the rows of its module and the columns of its own rank, with
// zeros in the rest (sd-scripts: networks/convert_flux_lora.py convert_to_sd_scripts_cat).
// A module that does not change has rows of zeros.
type blocks struct {
	join  bool // otherwise the whole is taken apart
	parts []block
	rank  int64 // of the whole
}

// A block is the change of one module.
type block struct {
	part         int   // of the whole
	rows, rank   int64 // of the module
	column       int64 // of the whole's up half, its first
	above, under int64 // rows of modules that do not change, added to its own
}

// blocksOf returns how changes are joined or taken apart by one operation on their modules,
// nil where they are not blocks of a whole: several changes with equal down halves are
// joined with one of them, and a whole of which no zeros are known shares its down half.
func (cv *adapterConverter) blocksOf(from []*adapter.Change, ops []tensorop.Op) *blocks {
	if len(ops) != 1 || ops[0].Axis != 0 || ops[0].Layout != "" && ops[0].Layout != tensorop.Contiguous || cv.turned {
		return nil
	}
	switch o := &ops[0]; o.Kind {
	case tensorop.Concat:
		return cv.joined(from, o.Sizes)
	case tensorop.Split:
		return cv.parted(from[0], o.Sizes)
	}
	return nil
}

// joined is blocksOf several modules, nil for those that do not change.
func (cv *adapterConverter) joined(from []*adapter.Change, sizes []int64) *blocks {
	if sizes == nil {
		sizes = slices.Repeat([]int64{1}, len(from))
	}
	b := &blocks{join: true}
	unit := int64(0) // rows of a part of size 1
	for i, m := range from {
		if m == nil {
			continue
		}
		rows, rank, ok := cv.blockShape(m)
		if !ok || rows%sizes[i] != 0 || unit != 0 && rows/sizes[i] != unit {
			return nil
		}
		unit = rows / sizes[i]
		b.parts = append(b.parts, block{part: i, rows: rows, rank: rank, column: b.rank})
		b.rank += rank
	}
	alike := len(b.parts) == len(from) && !slices.ContainsFunc(b.parts, func(p block) bool { return p.rank != b.parts[0].rank })
	if alike && !cv.differ(from) {
		return nil
	}
	b.fill(sizes, unit)
	return b
}

// fill adds the rows of the parts that do not change to those beside them.
func (b *blocks) fill(sizes []int64, unit int64) {
	k := 0
	for i, size := range sizes {
		switch {
		case k < len(b.parts) && b.parts[k].part == i:
			k++
		case k == 0:
			b.parts[0].above += size * unit
		default:
			b.parts[k-1].under += size * unit
		}
	}
}

// parted is blocksOf a whole, whose up half shows them.
func (cv *adapterConverter) parted(m *adapter.Change, sizes []int64) *blocks {
	if sizes == nil {
		sizes = []int64{1, 1}
	}
	rows, rank, ok := cv.blockShape(m)
	if !ok || rows%sum(sizes) != 0 {
		return nil
	}
	unit := rows / sum(sizes)
	if rank == 0 {
		return cv.changed(m, sizes, unit)
	}
	var ranks []int64
	for part := range m.Parts {
		if p := adapter.PartOf(part); p.Out < 0 || p.Rank < 0 {
			continue
		}
		up := cv.elements(m, part)
		found := blockRanks(up, sizes, unit, rank, slices.Contains(cv.Transposed, part))
		if found == nil || ranks != nil && !slices.Equal(ranks, found) {
			return nil
		}
		ranks = found
	}
	b := &blocks{rank: rank}
	column := int64(0)
	for i, r := range ranks {
		if r > 0 {
			b.parts = append(b.parts, block{part: i, rows: sizes[i] * unit, rank: r, column: column})
		}
		column += r
	}
	if _, ok := m.Parts["magnitude"]; len(b.parts) == 0 || ok && len(b.parts) < len(sizes) {
		return nil
	}
	b.fill(sizes, unit)
	return b
}

// changed is parted of a change that has no rank: the parts with a row that is not zero.
func (cv *adapterConverter) changed(m *adapter.Change, sizes []int64, unit int64) *blocks {
	some := make([]bool, len(sizes))
	for part := range m.Parts {
		values := cv.elements(m, part)
		width := int64(len(values)) / (sum(sizes) * unit)
		if width == 0 {
			return nil
		}
		for i := range sizes {
			n := sizes[i] * unit * width
			some[i] = some[i] || slices.ContainsFunc(values[:n], func(v float64) bool { return v != 0 })
			values = values[n:]
		}
	}
	b := new(blocks)
	for i, size := range sizes {
		if some[i] {
			b.parts = append(b.parts, block{part: i, rows: size * unit})
		}
	}
	if len(b.parts) == 0 || len(b.parts) == len(sizes) {
		return nil
	}
	b.fill(sizes, unit)
	return b
}

// blockRanks finds how many columns of a matrix belong to each part of its rows: in
// each, all but the rows of one part are zero. It is nil where they are not blocks.
func blockRanks(up []float64, sizes []int64, unit, rank int64, transposed bool) []int64 {
	if int64(len(up)) != sum(sizes)*unit*rank {
		return nil
	}
	owner := slices.Repeat([]int{-1}, int(rank))
	row := 0
	rows := sum(sizes) * unit
	for part, size := range sizes {
		for range size * unit {
			for c := range int(rank) {
				at := row*int(rank) + c
				if transposed {
					at = c*int(rows) + row
				}
				if up[at] == 0 || owner[c] == part {
					continue
				}
				if owner[c] >= 0 {
					return nil
				}
				owner[c] = part
			}
			row++
		}
	}
	// Columns of zeros tell nothing: they belong where equal parts have them, if the others
	// do, and else with the column before.
	n := int64(len(sizes))
	ranks, equal := make([]int64, n), rank%n == 0
	last, some := 0, false
	for c, o := range owner {
		equal = equal && (o < 0 || int64(o) == int64(c)/(rank/n))
		some = some || o >= 0
		if o >= 0 && o < last {
			return nil
		}
		last = max(last, o)
		ranks[last]++
	}
	switch {
	case !some:
		return nil
	case equal:
		return slices.Repeat([]int64{rank / n}, int(n))
	}
	return ranks
}

// blockShape returns how many outputs a change has and what its rank is, 0 where it has
// none, by the shapes of its parts. It is false where they do not say, and where a part
// is not one that can be a block.
func (cv *adapterConverter) blockShape(m *adapter.Change) (rows, rank int64, ok bool) {
	for part, i := range m.Parts {
		p, shape := adapter.PartOf(part), slices.Clone(cv.Tensors[i].Shape)
		if slices.Contains(cv.Transposed, part) {
			slices.Reverse(shape)
		}
		if part == "alpha" {
			continue
		}
		if p.Opaque || p.Out < 0 && (p.Rank < 0 || p.In < 0) {
			return 0, 0, false
		}
		for _, a := range []struct {
			axis int
			n    *int64
		}{{p.Out, &rows}, {p.Rank, &rank}} {
			if a.axis < 0 {
				continue
			}
			if a.axis >= len(shape) || *a.n != 0 && *a.n != int64(shape[a.axis]) {
				return 0, 0, false
			}
			*a.n = int64(shape[a.axis])
		}
	}
	return rows, rank, rows > 0
}

// elements are those of a part, nil where they are not known.
func (cv *adapterConverter) elements(m *adapter.Change, part string) []float64 {
	i, ok := m.Parts[part]
	if s := cv.model.Adapter; ok && s != nil && s.Read != nil {
		return s.Read(cv.Tensors[i].Name)
	}
	return nil
}

// differ reports whether changes are known to have other down halves.
func (cv *adapterConverter) differ(from []*adapter.Change) bool {
	for part := range from[0].Parts {
		if p := adapter.PartOf(part); p.In < 0 || p.Rank < 0 {
			continue
		}
		first := cv.elements(from[0], part)
		for _, m := range from[1:] {
			if other := cv.elements(m, part); first != nil && other != nil && !slices.Equal(first, other) {
				return true
			}
		}
	}
	return false
}

// ops are those on one part of the changes, of which a block has the axes of a module. It
// is false where the part of a module that does not change is not known.
func (b *blocks) ops(part string) (out []tensorop.Op, ok bool) {
	p := adapter.PartOf(part)
	if part == "alpha" {
		if n := len(b.parts); b.join {
			out = []tensorop.Op{{Kind: tensorop.Merge, Count: n}}
		} else {
			out = []tensorop.Op{{Kind: tensorop.Copy, Count: 1, Sizes: ones(n)}}
		}
		if len(b.parts) == 1 {
			out = nil
		}
		for k := range b.parts {
			by := float64(b.rank) / float64(max(1, b.parts[k].rank))
			if !b.join {
				by = 1 / by
			}
			if b.rank > 0 && by != 1 && (k == 0 || !b.join) {
				out = append(out, tensorop.Op{Kind: tensorop.Scale, Index: k, Count: 1, Value: by, Round: true})
			}
		}
		return out, true
	}
	sizes := make([]int64, len(b.parts))
	pad := func(k, axis int, before, after int64) {
		if axis >= 0 && before+after > 0 {
			out = append(out, tensorop.Op{Kind: tensorop.Pad, Index: k, Count: 1, Axis: axis, Sizes: []int64{before, after}})
		}
	}
	axis := p.Out
	for k := range b.parts {
		n := &b.parts[k]
		if part == "magnitude" && n.above+n.under > 0 {
			return nil, false // it would be that of the base's weight
		}
		if p.Out < 0 {
			axis, sizes[k] = p.Rank, n.rank
			continue
		}
		sizes[k] = n.above + n.rows + n.under
		pad(k, p.Rank, n.column, b.rank-n.column-n.rank)
		pad(k, p.Out, n.above, n.under)
	}
	if len(sizes) > 1 {
		out = append(out, tensorop.Op{Kind: tensorop.Concat, Count: len(sizes), Axis: axis, Sizes: sizes})
	}
	if !b.join {
		slices.Reverse(out)
		for i := range out {
			out[i], _ = out[i].Inverse()
		}
	}
	return out, true
}

// complete adds the modules that the target has in one with some that change, and that do
// not change themselves. Their names are returned.
func (cv *adapterConverter) complete(c *identify.Component, to *convention.Convention, named *[]convention.Named, shapes map[string][]uint64) map[string]bool {
	absent := make(map[string]bool)
	has := func(of *convention.Convention) func(string) bool {
		return func(module string) bool { _, ok := of.Role(module + ".weight"); return ok }
	}
	for _, p := range c.Places {
		name, ok := canonical(p)
		if !ok || has(to)(p.Tensor.Module) || len(shapes[name]) != 2 {
			continue
		}
		whole, names := wholeOf(p.Tensor.Module, has(to))
		own := slices.Index(names, p.Tensor.Module)
		if whole == "" || own < 0 {
			continue
		}
		for i, n := range names {
			t, ok := c.Convention.Role(n + ".weight")
			if !ok {
				continue
			}
			other, ok := t.Pattern.Format(p.Index)
			rows := cv.partRows(to, whole, names, own, i, shapes[name][0])
			if _, there := shapes[other]; !ok || there || rows == 0 || absent[other] {
				continue
			}
			absent[other] = true
			*named = append(*named, convention.Named{Name: other, Shape: []uint64{rows, shapes[name][1]}})
		}
	}
	return absent
}

// partRows is how many rows a part of a whole has, by those of another, 0 where that is
// not known.
func (cv *adapterConverter) partRows(to *convention.Convention, whole string, names []string, own, part int, rows uint64) uint64 {
	sizes := to.Layout.Parts[whole[strings.LastIndexByte(whole, '.')+1:]]
	heads, _ := cv.model.Number("num_attention_heads")
	kv, _ := cv.model.Number("num_key_value_heads")
	switch {
	case len(sizes) == len(names):
	case len(names) == 2:
		sizes = []int64{1, 1}
	case len(names) == 3 && heads > 0 && kv > 0:
		sizes = []int64{heads, kv, kv}
	default:
		return 0
	}
	if n := uint64(sizes[own]); n > 0 && rows%n == 0 && rows < 1<<40 && sizes[part] > 0 && sizes[part] < 1<<20 {
		return rows / n * uint64(sizes[part])
	}
	return 0
}
