package quant

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
)

// A Survey gathers the tensors of a checkpoint by the module that they belong to. There may be
// half a million, so it keeps little of each: those with one leaf, dtype and shape are of
// one kind.
type Survey struct {
	k       *knowledge
	kinds   []Tensor
	byKind  map[string]int32
	key     []byte // for looking up a kind
	index   map[string]int32
	modules []Module
	markers []string
	n       int
	last    int32 // the module of the tensor before, whose parts mostly follow each other
	// added are the tensors, as they came.
	added []added
}

// An added tensor is the number of its module and its kind, and the order in which Add saw it.
type added struct{ module, kind, at int32 }

// A Module is a weight and what is beside it, or either alone.
type Module struct {
	Name string
	*Form
	index []int32
}

// Index returns the order in which Add saw one of the module's tensors.
func (m *Module) Index(t *Tensor) int { return int(m.index[t.place]) }

// A Form is the tensors of a module and how they fit together. Modules that are alike share it.
type Form struct {
	Tensors []Tensor
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
	// Said is how many inputs share a scale as the configuration says, and SaidBits the width of an element, 0
	// where it does not.
	Said, SaidBits uint64

	near *fit // to the scheme that it comes nearest to, where it fits none
}

// A Tensor of a module.
type Tensor struct {
	Leaf  string
	DType string
	Shape []uint64
	place int // among those of the module
}

// NewSurvey returns an empty survey of about so many tensors, 0 when that is not known.
func NewSurvey(tensors int) *Survey {
	const most = 1 << 20 // twice what the largest release known has
	n := min(tensors, most)
	some := n/3 + n/32 // often a weight and two parts, and few that are alone
	return &Survey{
		k: known(), byKind: make(map[string]int32), index: make(map[string]int32, some),
		modules: make([]Module, 0, some), added: make([]added, 0, n),
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
			s.modules = append(s.modules, Module{Name: module})
		}
		s.last = i
	}
	s.added = append(s.added, added{i, s.kind(Tensor{Leaf: leaf, DType: dtype, Shape: shape}), int32(at)})
}

// kind returns the number of a tensor's kind.
func (s *Survey) kind(t Tensor) int32 {
	s.key = t.appendKind(s.key[:0])
	kind, ok := s.byKind[string(s.key)]
	if !ok {
		kind = int32(len(s.kinds))
		s.kinds = append(s.kinds, t)
		s.byKind[string(s.key)] = kind
	}
	return kind
}

// appendKind appends what a tensor is judged by.
func (t *Tensor) appendKind(b []byte) []byte {
	// The lengths keep a dtype that a file made up from reading like the rest.
	b = append(binary.AppendUvarint(b, uint64(len(t.Leaf))), t.Leaf...)
	b = append(binary.AppendUvarint(b, uint64(len(t.DType))), t.DType...)
	for _, d := range t.Shape {
		b = binary.AppendUvarint(b, d)
	}
	return b
}

// settle gives the modules their tensors and the forms that those have; judge finds what a form is.
func (s *Survey) settle(judge func(f *Form)) {
	s.index, s.byKind = nil, nil // nothing is added any more
	starts := make([]int32, len(s.modules)+1)
	for _, t := range s.added {
		starts[t.module+1]++
	}
	for i := range s.modules {
		starts[i+1] += starts[i]
	}
	index, kinds := make([]int32, len(s.added)), make([]int32, len(s.added))
	next := slices.Clone(starts)
	for _, t := range s.added {
		to := next[t.module]
		index[to], kinds[to] = t.at, t.kind
		next[t.module]++
	}
	s.added = nil
	// The layers of a model are alike: most modules have the form of one that is judged already.
	forms := make(map[string]*Form)
	for i := range s.modules {
		begin, end := starts[i], starts[i+1]
		s.key = s.key[:0]
		for _, kind := range kinds[begin:end] {
			s.key = binary.NativeEndian.AppendUint32(s.key, uint32(kind))
		}
		f := forms[string(s.key)]
		if f == nil {
			f = &Form{Tensors: make([]Tensor, end-begin)}
			for place, kind := range kinds[begin:end] {
				f.Tensors[place] = s.kinds[kind]
				f.Tensors[place].place = place
			}
			judge(f)
			forms[string(s.key)] = f
		}
		s.modules[i].Form, s.modules[i].index = f, index[begin:end:end]
	}
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

func (f *Form) tensor(p *Part) *Tensor {
	for i := range f.Tensors {
		if t := &f.Tensors[i]; t.Leaf == p.Leaf || slices.Contains(p.Or, t.Leaf) {
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

// fit holds tensors against a scheme. It returns nil when the weight is not one of it.
func (s *Scheme) fit(m *Form, o *Options) *fit {
	w := m.tensor(&s.Weight)
	if w == nil || len(m.Tensors) == 1 && len(s.Parts) > 0 && !distinct(w.Leaf) || !s.Weight.allows(w.DType) || s.ByShape && w.DType == "" {
		return nil
	}
	f := &fit{scheme: s}
	f.vars[blockRows], f.vars[blockColumns] = o.block()
	lead := f.leading(&s.Weight, w)
	misshapen := w.DType != "" && s.Weight.form == dimensions && (lead == nil || !f.solve(s.Weight.dims, w.Shape[len(lead):]))
	if misshapen && !distinct(w.Leaf) {
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
	if misshapen {
		f.wrong = append(f.wrong, misfit{w, &s.Weight})
		f.other++
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
	// More groups than inputs, or groups of which each has another number of inputs, are no groups.
	if g, in := f.vars[groups], f.vars[inputs]; g > 0 && in > 0 && (g > in || in%g != 0 && (o.Group == 0 || in/o.Group+min(in%o.Group, 1) != g)) {
		for _, p := range parts {
			if p.part != nil && p.part.Use == Times {
				f.wrong = append(f.wrong, p)
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

// WholeRow is the group of a scale that all inputs of an output share.
const WholeRow = 1<<64 - 1

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
