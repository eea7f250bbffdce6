package quant

import (
	"cmp"
	"math/bits"
	"slices"
	"strings"
)

// A Survey gathers the tensors of a checkpoint by the module that they belong to.
type Survey struct {
	k       *knowledge
	index   map[string]int32
	modules []Module
	markers []string
	n       int
	last    int32 // the module of the tensor before, whose parts mostly follow each other
	// tensors are those of all modules, as they came, and of the modules of each, until they are
	// settled: a slice of its own for each of 200,000 modules takes twice the memory.
	tensors []Tensor
	of      []int32
}

// A Module is a weight and what is beside it, or either alone.
type Module struct {
	Name    string
	Tensors []Tensor
	*Form
}

// A Form is how the tensors of a module fit together. Modules that are alike share it.
type Form struct {
	// Scheme is the one that the module fits, nil for none.
	Scheme *Scheme
	// Bits is the width of an element, and Group how many inputs share a scale, 0 where
	// that is not known or does not apply.
	Bits, Group uint64
	// Out and In are the size of the layer, 0 where the scheme does not tell.
	Out, In uint64
	// Groups is how many scales an output has. Row is In × Bits where neither is known.
	Groups, Row uint64
	// BlockRows and BlockColumns are the sides of the blocks that share a scale, the last of which
	// may be cut; 0 where the scheme has none.
	BlockRows, BlockColumns uint64
	// Said is how many inputs share a scale as the configuration says, 0 where it does not.
	Said uint64
}

// formless is of a module that fits no scheme.
var formless = new(Form)

// A Tensor of a module.
type Tensor struct {
	Leaf  string
	Index int // the order in which Add saw it
	DType string
	Shape []uint64
}

// NewSurvey returns an empty survey of about so many tensors, 0 when that is not known.
func NewSurvey(tensors int) *Survey {
	const most = 1 << 20 // twice what the largest release known has
	n := min(tensors, most)
	return &Survey{
		k: known(), index: make(map[string]int32, n/3), modules: make([]Module, 0, n/3), // often a weight and two parts
		tensors: make([]Tensor, 0, n), of: make([]int32, 0, n),
	}
}

// Plain reports whether a tensor is a weight or a bias of floating point, or of ggml's
// blocks. Where all are, no scheme of this package is followed.
func Plain(name, dtype string) bool {
	if !strings.HasSuffix(name, ".weight") && !strings.HasSuffix(name, ".bias") {
		return false
	}
	switch dtype {
	case "F64", "F32", "F16", "BF16":
		return true
	}
	return strings.HasPrefix(dtype, "Q") || strings.HasPrefix(dtype, "IQ") || strings.HasPrefix(dtype, "TQ")
}

// Add adds a tensor. The dtype is "" when dtype and shape are not known.
func (s *Survey) Add(name, dtype string, shape []uint64) {
	at := s.n
	s.n++
	module, leaf, kind := s.k.split(name)
	if kind == noLeaf {
		if dtype != "" && !Is8Bit(dtype) && dtype != "U8" {
			return
		}
		if slices.ContainsFunc(s.k.markers, func(m string) bool { return name == m || strings.HasSuffix(name, "."+m) }) {
			s.markers = append(s.markers, name)
			return
		}
	}
	i := s.last
	if int(i) >= len(s.modules) || s.modules[i].Name != module {
		var ok bool
		if i, ok = s.index[module]; !ok {
			i = int32(len(s.modules))
			s.index[module] = i
			s.modules = append(s.modules, Module{Name: module, Form: formless})
		}
		s.last = i
	}
	s.tensors, s.of = append(s.tensors, Tensor{leaf, at, dtype, shape}), append(s.of, i)
}

// settle gives the modules their tensors.
func (s *Survey) settle() {
	if !slices.IsSorted(s.of) {
		starts := make([]int32, len(s.modules)+1)
		for _, i := range s.of {
			starts[i+1]++
		}
		for i := range s.modules {
			starts[i+1] += starts[i]
		}
		sorted, of := make([]Tensor, len(s.tensors)), make([]int32, len(s.of))
		for k, i := range s.of {
			sorted[starts[i]], of[starts[i]] = s.tensors[k], i
			starts[i]++
		}
		s.tensors, s.of = sorted, of
	}
	begin := 0
	for end := range s.of {
		if i := s.of[end]; end+1 == len(s.of) || s.of[end+1] != i {
			s.modules[i].Tensors = s.tensors[begin : end+1 : end+1]
			begin = end + 1
		}
	}
	s.index, s.of = nil, nil // nothing is added any more
}

// split cuts a name into its module and the leaf, the longest that is known.
func (k *knowledge) split(name string) (module, leaf string, kind leafKind) {
	module = name
	// No leaf has more than three segments.
	for at, n := len(name), 0; n < 3; n++ {
		if at = lastJoint(name[:at]); at < 0 {
			break
		}
		rest := name[at+1:]
		if got := k.leaves[rest]; got != noLeaf {
			module, leaf, kind = name[:at], rest, got
		}
	}
	if kind != noLeaf {
		return module, leaf, kind
	}
	for _, g := range k.glued {
		if m, ok := strings.CutSuffix(name, g); ok && m != "" {
			return strings.TrimSuffix(m, "."), g, k.leaves[g]
		}
	}
	return name, "", noLeaf
}

// lastJoint returns the place of the last byte that may be before a leaf, -1 for none.
func lastJoint(name string) int {
	for i := len(name) - 1; i >= 0; i-- {
		if name[i] == '.' || name[i] == ':' {
			return i
		}
	}
	return -1
}

// Split cuts a name into its module and the leaf of a scheme, and ok is false where
// no scheme has it. The leaf "weight" is any model's.
func Split(name string) (module, leaf string, ok bool) {
	module, leaf, kind := known().split(name)
	return module, leaf, kind != noLeaf
}

// OfActivations reports whether a tensor scales the activations of a module or its key/value cache, and
// no weight.
func OfActivations(name string) bool {
	_, leaf, _ := known().split(name)
	return known().loose[leaf]
}

func (m *Module) tensor(p *Part) *Tensor {
	for i := range m.Tensors {
		if t := &m.Tensors[i]; t.Leaf == p.Leaf || slices.Contains(p.Or, t.Leaf) {
			return t
		}
	}
	return nil
}

// A fit is how a module and a scheme agree.
type fit struct {
	scheme  *Scheme
	vars    [none]uint64
	missing []*Part
	wrong   []misfit
	other   int // of the wrong, those of another dtype
	asked   int // of the missing, those that the configuration alone asks for
	extra   []*Tensor
	found   int // parts beside the weight
}

type misfit struct {
	tensor *Tensor
	part   *Part
}

func (f *fit) faults() int { return len(f.missing) + len(f.wrong) + len(f.extra) }

// score is lower for the scheme that is likelier meant: a part of the right name says
// more than one that is absent, unless it has a dtype that the scheme never writes.
func (f *fit) score() int {
	return 2*len(f.missing) + len(f.wrong) + 2*f.other + len(f.extra) - f.found - f.asked
}

// fit holds a module against a scheme. It returns nil when the weight is not one of it.
func (s *Scheme) fit(m *Module, o *Options) *fit {
	w := m.tensor(&s.Weight)
	if len(m.Tensors) == 1 && len(s.Parts) > 0 || w == nil || !s.Weight.allows(w.DType) || s.ByShape && w.DType == "" {
		return nil
	}
	f := &fit{scheme: s}
	f.vars[blockRows], f.vars[blockColumns] = o.block()
	lead := f.leading(&s.Weight, w)
	if w.DType != "" && s.Weight.form == dimensions && lead == nil {
		return nil
	}
	used := 1
	parts := make([]misfit, 0, 4)
	for i := range s.Parts {
		p := &s.Parts[i]
		t := m.tensor(p)
		switch {
		case t == nil && (!p.Optional && !(p.Symmetric && o.Symmetric) || p.Use == Minus && o.Asymmetric):
			f.missing = append(f.missing, p)
			if p.Optional {
				f.asked++
			}
			continue
		case t == nil:
			continue
		}
		used++
		f.found++
		if !p.allows(t.DType) {
			f.wrong = append(f.wrong, misfit{t, p})
			f.other++
		} else if t.DType != "" {
			parts = append(parts, misfit{t, p})
		}
	}
	if used < len(m.Tensors) {
		for i := range m.Tensors {
			t := &m.Tensors[i]
			if t != w && !known().loose[t.Leaf] && !slices.ContainsFunc(s.Parts, func(p Part) bool { return slices.Contains(p.leaves(), t.Leaf) }) {
				f.extra = append(f.extra, t)
			}
		}
	}
	if w.DType == "" {
		return f
	}
	// Each round may find the variables that another needs.
	for range 3 {
		if s.Weight.form == dimensions && !f.solve(s.Weight.dims, w.Shape[len(lead):]) {
			return nil
		}
		for i := range parts {
			if t, p := parts[i].tensor, parts[i].part; p != nil && !f.agrees(p, t, w, lead) {
				f.wrong = append(f.wrong, parts[i])
				parts[i].part = nil
			}
		}
	}
	if b := f.vars[width]; b > 8 || b == 7 {
		return nil
	}
	return f
}

// leading returns the dimensions of a weight before those of its formula, nil when it has
// too few.
func (f *fit) leading(p *Part, t *Tensor) []uint64 {
	n := len(t.Shape) - len(p.dims)
	if p.form != dimensions || n < 0 {
		return nil
	}
	return append(make([]uint64, 0, n), t.Shape[:n]...)
}

// agrees reports whether the shape of a part is as its formula says.
func (f *fit) agrees(p *Part, t, w *Tensor, lead []uint64) bool {
	switch p.form {
	case oneElement:
		n := product(t.Shape)
		return n == 1 || len(w.Shape) > 2 && n == product(w.Shape[:len(w.Shape)-2])
	case onePerRow:
		n := product(t.Shape)
		if d := len(t.Shape); d > 1 && n > 1 && t.Shape[d-1] == n && f.vars[inputs] == n {
			return false // [1,n] of a square weight: it may be one per column as well
		}
		return n == f.vars[outputs] || len(lead) > 0 && n == product(append(slices.Clone(lead), f.vars[outputs]))
	case dimensions:
		if len(p.dims) == 1 {
			lead = nil // [2], [i]: of each layer, whatever is before
		}
		if len(t.Shape) != len(lead)+len(p.dims) || !slices.Equal(t.Shape[:len(lead)], lead) {
			return false
		}
		return f.solve(p.dims, t.Shape[len(lead):])
	}
	return true
}

// product multiplies dimensions; one that does not fit is 0, like none.
func product(shape []uint64) uint64 {
	n := uint64(1)
	for _, d := range shape {
		hi, lo := bits.Mul64(n, d)
		if hi != 0 {
			return 0
		}
		n = lo
	}
	return n
}

// solve holds a shape against formulas, and finds a variable where a formula has one
// that is not known yet.
func (f *fit) solve(dims []dim, shape []uint64) bool {
	if len(dims) != len(shape) {
		return false
	}
	for i, d := range dims {
		if !f.solveOne(d, shape[i]) {
			return false
		}
	}
	return true
}

func (f *fit) solveOne(d dim, size uint64) bool {
	const most = 1 << 40 // no dimension comes near it, and products do not overflow
	if size > most {
		return false
	}
	factor, unknown := d.mul, none
	for _, x := range d.vars {
		switch v := f.vars[x]; {
		case v == 0 && unknown != none:
			return true // two unknowns: a later round knows more
		case v == 0:
			unknown = x
		case v > most/factor:
			return false
		default:
			factor *= v
		}
	}
	div := d.div
	if d.by != none {
		div = f.vars[d.by]
	}
	switch {
	case unknown == none && d.by != none:
		return size == factor/div+min(factor%div, 1)
	case unknown == none:
		return size*div == factor || d.div > 1 && len(d.vars) > 1 && size == (factor+div-1)/div
	case d.by != none:
		return true // rounded up, so not to be undone
	case size*div%factor != 0:
		return false
	}
	f.vars[unknown] = size * div / factor
	return f.vars[unknown] != 0
}

// text writes the shape that a part should have, "" when that is not known.
func (f *fit) text(p *Part) string {
	switch p.form {
	case oneElement:
		return "one element"
	case onePerRow:
		return "one for each of the rows"
	case dimensions:
		words := make([]string, len(p.dims))
		for i, d := range p.dims {
			words[i] = f.value(d)
		}
		return "[" + strings.Join(words, ",") + "]"
	}
	return ""
}

func (f *fit) value(d dim) string {
	n := d.mul
	for _, x := range d.vars {
		v := f.vars[x]
		if v == 0 || n > 1<<40 || v > 1<<40/max(n, 1) {
			return d.String()
		}
		n *= v
	}
	div := d.div
	if d.by != none {
		div = f.vars[d.by]
	}
	return itoa(n/div + min(n%div, 1))
}

// groupSize is how many inputs share a scale.
func (f *fit) groupSize() uint64 {
	if g, i := f.vars[groups], f.vars[inputs]; g > 0 && i >= g {
		return (i + g - 1) / g
	}
	return 0
}

// Options are what the configuration says of the tensors.
type Options struct {
	Rows, Columns uint64 // of a block; 0 means 128
	Symmetric     bool   // zero points may be absent
	Asymmetric    bool   // no zero point may be absent
	Group         uint64 // inputs that share a scale; 0 where that is not known
}

func (o *Options) block() (rows, columns uint64) {
	return cmp.Or(o.Rows, 128), cmp.Or(o.Columns, 128)
}
