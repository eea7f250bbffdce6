package adapter

import (
	"cmp"
	"slices"
	"strings"
)

// A File is the tensors of an adapter as one dialect reads them.
type File struct {
	*Dialect
	Components []*Component
	// Unread are the tensors, by number, that no prefix of the dialect precedes.
	Unread []int
}

// A Component is what an adapter changes of one part of a pipeline.
type Component struct {
	Prefix  Prefix
	Modules []*Change // in order of appearance
	// Saved are tensors that are not changes and stand below the prefix: heads
	// that were trained beside them.
	Saved []Saved

	byPath map[string]*Change
}

// A Change is the tensors that change one module.
type Change struct {
	// Path is that of the module; in a flat dialect it has '_' for dots.
	Path string
	// Rows says which of its rows change, "" for all.
	Rows string
	// Parts are the numbers of the tensors, by their parts.
	Parts map[string]int
}

// Saved is a tensor below a prefix.
type Saved struct {
	Tensor int
	Name   string
}

// Kind is that of the change: LoRA, LoHa, …, "" where it has no part that says it.
func (c *Change) Kind() string {
	best := ""
	parts, order := kinds()
	rank := len(order)
	for part := range c.Parts {
		if i := slices.Index(order, parts[part].Kind); i < rank && parts[part].Kind != "" {
			best, rank = parts[part].Kind, i
		}
	}
	return best
}

// Rank is the rank of the change by the shapes of its tensors, 0 where it has
// none or they do not say.
func (c *Change) Rank(shape func(tensor int) []uint64, d *Dialect) uint64 {
	for _, part := range []string{"down", "embedding_down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b", "up"} {
		if i, ok := c.Parts[part]; ok {
			if rank := d.RankOf(part, shape(i)); rank > 0 {
				return rank
			}
		}
	}
	return 0
}

// RankOf is the rank that the shape of a part shows, 0 where it shows none.
func (d *Dialect) RankOf(part string, shape []uint64) uint64 {
	axis := PartOf(part).Rank
	if slices.Contains(d.Transposed, part) && axis >= 0 {
		axis = len(shape) - 1 - axis
	}
	if axis < 0 || axis >= len(shape) {
		return 0
	}
	return shape[axis]
}

// Read takes the names of tensors apart as the dialect does.
func (d *Dialect) Read(names []string) *File {
	f := &File{Dialect: d}
	byPrefix := make(map[string]*Component)
	for i, name := range names {
		prefix, rest, ok := d.cutPrefix(name)
		if !ok {
			f.Unread = append(f.Unread, i)
			continue
		}
		path, part, rows, ok := d.cutLeaf(rest)
		if !ok {
			path, part, rows, ok = d.cutLeaf(Anonymous(rest))
		}
		if flattened := d.Flattened(name); !ok && flattened != name {
			path, part, rows, ok = d.cutLeaf(flattened[len(prefix.Text):])
		}
		if !ok && (d.Flat || d.Only) {
			f.Unread = append(f.Unread, i)
			continue
		}
		c := byPrefix[prefix.Text]
		if c == nil {
			c = &Component{Prefix: prefix, byPath: make(map[string]*Change)}
			byPrefix[prefix.Text] = c
			f.Components = append(f.Components, c)
		}
		if !ok {
			c.Saved = append(c.Saved, Saved{i, rest})
			continue
		}
		m := c.byPath[path]
		if m == nil {
			m = &Change{Path: path, Rows: rows, Parts: make(map[string]int)}
			c.byPath[path] = m
			c.Modules = append(c.Modules, m)
		}
		if _, twice := m.Parts[part]; twice {
			f.Unread = append(f.Unread, i)
			continue
		}
		m.Parts[part] = i
	}
	return f
}

// Flattened returns a name with '_' for the dots that are left in the path of its
// module, where the dialect has none, and other names as they are.
func (d *Dialect) Flattened(name string) string {
	prefix, rest, ok := d.cutPrefix(name)
	if !d.Flat || !ok || prefix.Text == "" {
		return name
	}
	for _, s := range d.spellings {
		if path, ok := strings.CutSuffix(rest, s.text); ok && path != "" {
			return prefix.Text + strings.ReplaceAll(path, ".", "_") + s.text
		}
	}
	return name
}

func (d *Dialect) cutPrefix(name string) (Prefix, string, bool) {
	var best *Prefix
	for i := range d.Prefixes {
		p := &d.Prefixes[i]
		if strings.HasPrefix(name, p.Text) && (best == nil || len(p.Text) > len(best.Text)) {
			best = p
		}
	}
	if best == nil {
		return Prefix{}, "", false
	}
	return *best, name[len(best.Text):], true
}

// cutLeaf takes the leaf off a name, and turns the path into the model's.
func (d *Dialect) cutLeaf(rest string) (path, part, rows string, ok bool) {
	for _, s := range d.spellings {
		path, ok := strings.CutSuffix(rest, s.text)
		if !ok || path == "" || d.Flat && strings.Contains(path, ".") {
			continue
		}
		for _, m := range d.Modules {
			if stem, ok := strings.CutSuffix(path, m.Theirs); ok {
				return stem + m.Ours, s.part, m.Rows, true
			}
		}
		return path, s.part, "", !d.Only
	}
	return "", "", "", false
}

// Anonymous returns a name of PEFT without the adapter's name, which keys have in
// memory and some saves keep. It may be of several segments: default_0.default.
func Anonymous(name string) string {
	for _, half := range []string{".lora_A.", ".lora_B.", ".lora_magnitude_vector."} {
		before, after, ok := strings.Cut(name, half)
		if !ok {
			continue
		}
		if strings.HasSuffix(after, ".weight") {
			return before + half + "weight"
		}
		if strings.HasSuffix(after, ".bias") {
			return before + half + "bias"
		}
	}
	for _, half := range []string{".lora_embedding_A.", ".lora_embedding_B."} {
		if before, after, ok := strings.Cut(name, half); ok && after != "" {
			return before + strings.TrimSuffix(half, ".")
		}
	}
	return name
}

// Readings reads names in every dialect that has some of them, the one that fits
// best first.
func Readings(names []string) []*File {
	type reading struct {
		*File
		read, prefixed, text int
	}
	var list []reading
	for _, d := range load() {
		f := d.Read(names)
		r := reading{File: f}
		for _, c := range f.Components {
			for _, m := range c.Modules {
				r.read += len(m.Parts)
				if c.Prefix.Text != "" {
					r.prefixed += len(m.Parts)
				}
				for _, i := range m.Parts {
					r.text += len(names[i]) - len(c.Prefix.Text) - len(m.Path)
				}
			}
		}
		if r.read > 0 {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b reading) int {
		return cmp.Or(cmp.Compare(b.read, a.read), cmp.Compare(b.prefixed, a.prefixed), cmp.Compare(b.text, a.text))
	})
	out := make([]*File, len(list))
	for i, r := range list {
		out[i] = r.File
	}
	return out
}
