package quant

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Report says which schemes the modules of a checkpoint follow.
type Report struct {
	// Modules are those with a weight of a scheme, or a part of one.
	Modules []*Module
	// Uses are the schemes found, the commonest first.
	Uses []Use
	// Faults are what modules lack, or have wrong, of their scheme.
	Faults []Fault
	// Markers are the tensors that only say that the file is quantised.
	Markers []string
}

// A Use is a scheme and how many modules follow it.
type Use struct {
	Scheme      string
	Modules     int
	Bits, Group uint64 // of most modules; 0 where not known
}

// Cast is the scheme of weights that are F8 and have no scale.
const Cast = "fp8-cast"

// A Kind of fault.
type Kind uint8

// The kinds.
const (
	Lost     Kind = iota // a part that the others have, or that the scheme needs
	Misfit               // a part of another dtype or shape than the weight asks for
	Orphan               // a part without its weight
	Unneeded             // a part beside a weight that is not quantised
)

// A Fault is what is wrong with a module.
type Fault struct {
	Kind   Kind
	Module *Module
	Scheme string
	Tensor *Tensor // the one concerned: the weight where a part is lost
	Weight *Tensor // nil of an orphan
	Leaf   string  // of the part
	Want   string  // the shape of a misfit
	Like   string  // of a lost part: a module that has it, "" where only the scheme says so
}

// Names lists the schemes found, the commonest first.
func (r *Report) Names() []string {
	var out []string
	for _, u := range r.Uses {
		out = append(out, u.Scheme)
	}
	return out
}

// judge finds the scheme that a form fits, or else the one that it comes nearest to.
func (s *Survey) judge(m *Form, o *Options) {
	f := s.classify(m, o)
	if f == nil || f.faults() > 0 {
		m.near = f
		return
	}
	m.Scheme, m.Bits, m.Group, m.Out, m.In, m.Groups = f.scheme, f.vars[width], f.groupSize(), f.vars[outputs], f.vars[inputs], f.vars[groups]
	m.Said = o.Group
	if f.scheme.blocks() {
		m.BlockRows, m.BlockColumns = f.vars[blockRows], f.vars[blockColumns]
	}
	if w := m.tensor(&f.scheme.Weight); m.In == 0 && len(w.Shape) > 0 && strings.HasSuffix(w.DType, "32") {
		m.Row = w.Shape[len(w.Shape)-1] * 32 // fits, as the bytes of the tensor do
	}
}

// Report judges what was added, and ends the survey. The options may be nil.
func (s *Survey) Report(o *Options) *Report {
	if o == nil {
		o = new(Options)
	}
	s.settle(func(f *Form) { s.judge(f, o) })
	r := &Report{Markers: s.markers}
	uses := make(map[string]*usage)
	for i := range s.modules {
		m := &s.modules[i]
		if m.Scheme == nil {
			continue
		}
		u := uses[m.Scheme.Name]
		if u == nil {
			u = &usage{leaves: make(map[string]int), sizes: make(map[[2]uint64]int), first: m}
			uses[m.Scheme.Name] = u
		}
		u.modules++
		u.sizes[[2]uint64{m.Bits, m.Group}]++
		for i := range m.Tensors {
			u.leaves[m.Tensors[i].Leaf]++
		}
	}
	r.findFaults(s, o, uses)
	r.Modules = make([]*Module, 0, len(s.modules))
	for i := range s.modules {
		if m := &s.modules[i]; m.Scheme != nil || len(m.Tensors) > 1 {
			r.Modules = append(r.Modules, m)
		}
	}
	for name, u := range uses {
		if u.modules -= u.lost; u.modules > 0 {
			size := slices.MaxFunc(slices.SortedFunc(maps.Keys(u.sizes), func(a, b [2]uint64) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) }),
				func(a, b [2]uint64) int { return cmp.Compare(u.sizes[a], u.sizes[b]) })
			r.Uses = append(r.Uses, Use{name, u.modules, size[0], size[1]})
		}
	}
	if len(r.Uses) == 0 {
		r.Uses = nearest(s.modules)
	}
	slices.SortFunc(r.Uses, func(a, b Use) int {
		return cmp.Or(cmp.Compare(b.Modules, a.Modules), strings.Compare(a.Scheme, b.Scheme))
	})
	return r
}

// nearest counts the schemes that modules come nearest to, where none fits any.
func nearest(list []Module) []Use {
	modules := make(map[string]int)
	for i := range list {
		if f := list[i].near; f != nil {
			modules[f.scheme.Name]++
		}
	}
	var uses []Use
	for name, n := range modules {
		uses = append(uses, Use{Scheme: name, Modules: n})
	}
	return uses
}

// usage is what is common to the modules of a scheme.
type usage struct {
	modules, lost int
	leaves        map[string]int
	sizes         map[[2]uint64]int // bits and group
	first         *Module
}

// classify returns the first scheme that a form fits, or else the one that it comes nearest to.
func (s *Survey) classify(m *Form, o *Options) *fit {
	var best *fit
	for i := range m.Tensors {
		for _, scheme := range s.k.byWeight[m.Tensors[i].Leaf] {
			f := scheme.fit(m, o)
			if f == nil {
				continue
			}
			if f.faults() == 0 {
				return f
			}
			if (f.found > 0 || len(m.Tensors) == 1) && (best == nil || f.score() < best.score()) {
				best = f
			}
		}
	}
	return best
}

// floats8 is the dtype of most 8-bit floats.
const floats8 = "F8_E4M3"

// asFloats is the scheme that a form with bytes for its weight fits if these are 8-bit floats, nil for none: programs
// whose library has no such dtype store their bits.
func (s *Survey) asFloats(m *Form, w *Tensor, o *Options) *fit {
	if w.DType != "U8" {
		return nil
	}
	as := &Form{Tensors: slices.Clone(m.Tensors)}
	as.Tensors[slices.IndexFunc(m.Tensors, func(t Tensor) bool { return t.place == w.place })].DType = floats8
	if f := s.classify(as, o); f != nil && f.faults() == 0 && !f.scheme.ByShape {
		return f
	}
	return nil
}

// scope is what is before the first number of a name: the layers of one model.
func scope(name string) string {
	for at := 0; at < len(name); {
		end := strings.IndexByte(name[at:], '.')
		if end < 0 {
			end = len(name) - at
		}
		if _, err := strconv.ParseUint(name[at:at+end], 10, 32); err == nil {
			return name[:at]
		}
		at += end + 1
	}
	return ""
}

func (r *Report) findFaults(s *Survey, o *Options, uses map[string]*usage) {
	// Where scaled F8 weights are, those without a scale have lost it.
	scaled := make(map[string]*Module)
	plain := make(map[string]int)
	// Where integers are codes, those without anything beside them have lost it, too.
	codes := make(map[string]*Module)
	for i := range s.modules {
		m := &s.modules[i]
		if m.Scheme != nil && isCode(m.weight()) {
			if key := codeKey(m, m.weight()); codes[key] == nil {
				codes[key] = m
			}
		}
		switch {
		case m.Scheme == nil:
		case m.Scheme.Name == Cast:
			plain[scope(m.Name)]++
		case Is8Bit(m.weight().DType) && scaled[scope(m.Name)] == nil:
			scaled[scope(m.Name)] = m
		}
	}
	for i := range s.modules {
		m := &s.modules[i]
		w := m.weight()
		switch {
		case m.Scheme != nil && m.Scheme.Name == Cast && w.DType != "":
			like := scaled[scope(m.Name)]
			if like == nil && scope(m.Name) == "" && len(plain) == 1 {
				for _, name := range slices.Sorted(maps.Keys(scaled)) {
					like = scaled[name]
				}
			}
			if like != nil && like.Scale() != nil {
				uses[Cast].lost++
				r.Faults = append(r.Faults, Fault{Kind: Lost, Module: m, Scheme: like.Scheme.Name, Tensor: w, Weight: w, Leaf: like.Scale().Leaf, Like: like.Name})
			}
		case m.Scheme != nil:
			u := uses[m.Scheme.Name]
			for _, p := range m.Scheme.Parts {
				leaf := p.Leaf
				for _, l := range p.Or {
					if u.leaves[l] > u.leaves[leaf] {
						leaf = l
					}
				}
				// What nine in ten have, and this one lacks.
				if n := u.leaves[leaf]; m.tensor(&p) == nil && n < u.modules && n >= 9*u.modules/10 && n > 1 {
					r.Faults = append(r.Faults, Fault{Kind: Lost, Module: m, Scheme: m.Scheme.Name, Tensor: w, Weight: w, Leaf: leaf, Like: u.first.Name})
				}
			}
		case w == nil:
			for j := range m.Tensors {
				if t := &m.Tensors[j]; telling(t.Leaf) && known().leaves[t.Leaf] == partLeaf && strings.Contains(t.Leaf, "weight") || t.Leaf == "SCB" || t.Leaf == "comfy_quant" || exponents(t) {
					r.Faults = append(r.Faults, Fault{Kind: Orphan, Module: m, Tensor: t, Leaf: t.Leaf})
				}
			}
		case m.near == nil && len(m.Tensors) == 1 && isCode(w):
			if like := codes[codeKey(m, w)]; like != nil && like.Scale() != nil {
				r.Faults = append(r.Faults, Fault{Kind: Lost, Module: m, Scheme: like.Scheme.Name, Tensor: w, Weight: w, Leaf: like.Scale().Leaf, Like: like.Name})
			}
		case m.near == nil:
			if w.DType == "F16" || w.DType == "BF16" || w.DType == "F32" {
				for j := range m.Tensors {
					if t := &m.Tensors[j]; telling(t.Leaf) && known().leaves[t.Leaf] == partLeaf {
						r.Faults = append(r.Faults, Fault{Kind: Unneeded, Module: m, Tensor: t, Weight: w, Leaf: t.Leaf})
					}
				}
			}
		default:
			r.explain(s, m, w, o, uses)
		}
	}
}

// exponents reports whether a tensor is called as scales are, and is no floating-point number by itself.
func exponents(t *Tensor) bool {
	return known().leaves[t.Leaf] == partLeaf && strings.HasSuffix(t.Leaf, "scales") && (t.DType == "U8" || t.DType == "F8_E8M0") && len(t.Shape) > 1
}

// isCode reports whether a weight is a matrix of integers, which means nothing by itself.
func isCode(w *Tensor) bool {
	return len(w.Shape) > 1 && (strings.HasPrefix(w.DType, "I") || strings.HasPrefix(w.DType, "U") || w.DType == "F4")
}

// codeKey is the same for the weights of one model that are stored alike.
func codeKey(m *Module, w *Tensor) string { return scope(m.Name) + "\x00" + w.Leaf + "\x00" + w.DType }

// explain says what a module lacks of the scheme that it comes nearest to, and of two
// equally near of the one that other modules follow.
func (r *Report) explain(s *Survey, m *Module, w *Tensor, o *Options, uses map[string]*usage) {
	if f := s.asFloats(m.Form, w, o); f != nil {
		r.Faults = append(r.Faults, Fault{Kind: Misfit, Module: m, Scheme: f.scheme.Name, Tensor: w, Weight: w, Leaf: w.Leaf, Want: floats8})
		return
	}
	best := m.near
	for _, scheme := range s.k.byWeight[w.Leaf] {
		f := scheme.fit(m.Form, o)
		if f == nil || f.faults() == 0 {
			continue
		}
		a, b := uses[scheme.Name], uses[best.scheme.Name]
		if a != nil && b == nil || a != nil && a.modules > b.modules {
			best = f
		}
	}
	like := ""
	if u := uses[best.scheme.Name]; u != nil {
		like = u.first.Name
	}
	for _, p := range best.missing {
		r.Faults = append(r.Faults, Fault{Kind: Lost, Module: m, Scheme: best.scheme.Name, Tensor: w, Weight: w, Leaf: p.Leaf, Like: like})
	}
	for _, x := range best.wrong {
		r.Faults = append(r.Faults, Fault{Kind: Misfit, Module: m, Scheme: best.scheme.Name, Tensor: x.tensor, Weight: w, Leaf: x.tensor.Leaf, Want: best.text(x.part)})
	}
}

// weight returns the tensor that a scheme would have for the weight, nil for none.
func (f *Form) weight() *Tensor {
	if f.Scheme != nil {
		return f.tensor(&f.Scheme.Weight)
	}
	for i := range f.Tensors {
		if kind := known().leaves[f.Tensors[i].Leaf]; kind == weightLeaf || f.Tensors[i].Leaf == "" {
			return &f.Tensors[i]
		}
	}
	return nil
}

// WeightAt returns the place of the weight among the tensors of a form with a scheme.
func (f *Form) WeightAt() int {
	return slices.IndexFunc(f.Tensors, func(t Tensor) bool { return t.Leaf == f.Scheme.Weight.Leaf })
}

// Scale returns the tensor that a weight is multiplied with, nil of a scheme without one.
func (f *Form) Scale() *Tensor {
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if t.Leaf == "weight_scale" || len(f.Scheme.Parts) > 0 && slices.Contains(f.Scheme.Parts[0].leaves(), t.Leaf) {
			return t
		}
	}
	return nil
}

// Across is how many scales a row has, 0 where rows share them or that is not known.
func (f *Form) Across() uint64 {
	if f.Groups > 0 {
		return f.Groups
	}
	for i := range f.Scheme.Parts {
		p := &f.Scheme.Parts[i]
		t := f.tensor(p)
		switch {
		case p.Use != Times || t == nil:
		case p.form == onePerRow:
			return 1
		case p.form == dimensions && len(t.Shape) > 0 && !slices.ContainsFunc(p.dims, func(d dim) bool { return d.by != none }):
			return t.Shape[len(t.Shape)-1]
		default:
			return 0
		}
	}
	return 0
}

// telling reports whether a leaf belongs to a quantised weight and to nothing else.
func telling(leaf string) bool {
	if kind := known().leaves[leaf]; kind != partLeaf && kind != looseLeaf {
		return false
	}
	return strings.Contains(leaf, "weight") || strings.HasSuffix(leaf, "_scale") || slices.Contains(unmistakable, leaf)
}

// unmistakable leaves do not say that they belong to a weight or are scales.
var unmistakable = []string{"scales", "qzeros", "g_idx", "SCB", "comfy_quant", "scale_input", "scale_inv", "_scale_inv", "wscales", "wzeros"}

// Leaf reports whether a name is that of a quantised weight, packed under a name of its
// own, or that of a tensor beside one. Weights that keep their name are neither.
func Leaf(name string) (packed, beside bool) {
	_, leaf, kind := known().split(name)
	return kind == weightLeaf && distinct(leaf), telling(leaf)
}

// distinct reports whether a weight that is called so is a quantised one.
func distinct(leaf string) bool {
	return leaf != "" && leaf != "weight" && !slices.Contains(ambiguous, leaf)
}

// ambiguous leaves are those of other things, too.
var ambiguous = []string{"B", "codes", "indices", "blocks"}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
