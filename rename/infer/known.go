package infer

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// mostTied is how many conventions of a side are tried. Names of LLaMA fit some twenty,
// which differ in little that a conversion is about.
const mostTied = 6

// A reading is what conventions say of a side's names.
type reading struct {
	*identify.Reading
	fits []*convention.Convention // those that fit equally well, the likeliest first
	sure []*convention.Convention // of these, those whose names they are as a whole
}

// read returns what conventions say of a half, which does not change once it is made.
func read(h *half) *reading {
	if h.said != nil {
		return h.said
	}
	r := &reading{Reading: identify.Read(slices.Values(h.tensors), h.model)}
	if c, ok := convention.Lookup(r.Convention); ok && !r.Adapter {
		r.fits = append(r.fits, c)
	}
	for _, c := range r.Tied {
		if !slices.Contains(r.fits, c) && len(r.fits) < mostTied && len(r.fits) > 0 {
			r.fits = append(r.fits, c)
		}
	}
	whole := func(c *convention.Convention) bool { return r.whole(c, h) }
	if slices.ContainsFunc(r.fits, whole) {
		r.fits = slices.DeleteFunc(r.fits, func(c *convention.Convention) bool { return !whole(c) })
		r.sure = r.fits
	}
	h.said = r
	return r
}

// whole reports whether the names are a convention's as a whole, so that how the rows of its fused
// tensors lie is known as well: of other projects some names are the same, and the rows are not. All
// of them must be there, below the prefix that stands there whenever there is a head, unless the
// configuration says which model it is.
func (r *reading) whole(c *convention.Convention, h *half) bool {
	if h.model != nil && (c.HasFamily(h.model.Type) || c.HasFamily(h.model.TextType)) {
		return true
	}
	if len(r.Missing)+len(r.Extra) > 0 {
		return false
	}
	based, head := c.Base == "", false
	for i, p := range r.Places(c) {
		if p.Tensor != nil && p.Tensor.Absolute {
			head = true
		} else if p.Tensor != nil {
			based = based || strings.Contains(h.tensors[i].Name, c.Base)
		}
	}
	return based || !head
}

// exactly are the conventions of the names, where those say all that a conversion needs to know.
func (r *reading) exactly() []*convention.Convention {
	if r.sure != nil {
		return r.sure
	}
	return slices.DeleteFunc(slices.Clone(r.fits), func(c *convention.Convention) bool {
		return slices.ContainsFunc(r.Places(c), func(p identify.Place) bool {
			if p.Tensor == nil {
				return false
			}
			m := identify.Meaning(p.Tensor.Role)
			return m.Fused()
		})
	})
}

// known finds the map between two sides whose conventions are known: a conversion that
// makes exactly B's tensors of A's. It is nil where there is none.
func (x *inference) known() (*Result, error) {
	ra, rb := read(&x.a), read(&x.b)
	fitsA, fitsB := ra.exactly(), rb.exactly()
	if len(fitsA) == 0 || len(fitsB) == 0 {
		return nil, nil
	}
	has := make(map[string]*convention.Named, len(x.b.tensors))
	for i := range x.b.tensors {
		has[x.b.tensors[i].Name] = &x.b.tensors[i]
	}
	model := x.a.model
	if model == nil {
		model = x.b.model
	} else if x.b.model != nil {
		model = model.Or(x.b.model)
	}
	opts := convert.Options{Named: true, Has: func(name string) bool { return has[name] != nil }}
	var needs *convert.RefusalError
	for i, from := range fitsA {
		for j, to := range fitsB {
			cv, err := convert.BetweenWith(from, to, slices.Values(x.a.tensors), model, opts)
			// What another convention of the same names would need is not needed.
			if refusal, ok := errors.AsType[*convert.RefusalError](err); ok && refusal.Needs != "" && i+j+len(ra.Extra)+len(rb.Extra) == 0 {
				needs = refusal
			}
			if err != nil || !x.makes(cv, has) {
				continue
			}
			as := func(c *convention.Convention) (*convert.Conversion, error) {
				return convert.BetweenWith(c, to, slices.Values(x.a.tensors), model, opts)
			}
			x.keepBuffers(cv, has)
			var rival *convert.Conversion
			if other := convert.Rival(cv, nil, rivals(fitsA, from, to), model, as); other != nil {
				if o, err := as(other); err == nil && x.makes(o, has) {
					rival = o
				}
			}
			return x.exact(cv, rival)
		}
	}
	if needs != nil && x.otherSize() == "" {
		return nil, needs
	}
	return nil, nil
}

// keepBuffers renames what a conversion would drop, and B has below the prefix that other names get.
func (x *inference) keepBuffers(cv *convert.Conversion, has map[string]*convention.Named) {
	shapes := make(map[string][]uint64, len(x.a.tensors))
	for _, t := range x.a.tensors {
		shapes[t.Name] = t.Shape
	}
	made := make(map[string]bool)
	heads := make(map[[2]string]bool)
	for i := range cv.Moves {
		mv := &cv.Moves[i]
		for _, n := range mv.To {
			made[n] = true
		}
		if from, to := headOf(mv.From[0], mv.To[0]); len(mv.Ops) == 0 && from != mv.From[0] {
			heads[[2]string{from, to}] = true
		}
	}
	cv.Dropped = slices.DeleteFunc(cv.Dropped, func(d convert.Dropped) bool {
		for head := range heads {
			rest, ok := strings.CutPrefix(d.Name, head[0])
			if t := has[head[1]+rest]; ok && t != nil && !made[t.Name] && agree(t.Shape, shapes[d.Name]) {
				cv.Moves, made[t.Name] = append(cv.Moves, convert.Move{From: []string{d.Name}, To: []string{t.Name}}), true
				return true
			}
		}
		return false
	})
}

// agree reports whether two shapes are equal, as far as they are known.
func agree(a, b []uint64) bool { return a == nil || b == nil || slices.Equal(a, b) }

// rivals are the conventions that A's names may be of as well, behind the one that was
// taken. Where that shares a model with B's, so must they.
func rivals(fits []*convention.Convention, from, to *convention.Convention) []*convention.Convention {
	related := func(c *convention.Convention) bool { return slices.ContainsFunc(c.Families, to.HasFamily) }
	list := []*convention.Convention{from}
	for _, c := range fits {
		if c != from && (related(c) || !related(from)) {
			list = append(list, c)
		}
	}
	return list
}

// makes reports whether a conversion makes all of B, in its shapes, of all of A.
func (x *inference) makes(cv *convert.Conversion, has map[string]*convention.Named) bool {
	if len(cv.Unknown()) > 0 {
		return false
	}
	shapes := make(map[string][]uint64, len(x.a.tensors))
	for _, t := range x.a.tensors {
		shapes[t.Name] = t.Shape
	}
	made := 0
	for i := range cv.Moves {
		mv := &cv.Moves[i]
		var want [][]uint64
		for _, n := range mv.To {
			t := has[n]
			if t == nil {
				return false
			}
			want = append(want, t.Shape)
		}
		ops, err := mv.Steps()
		if err != nil || !makesShapes(shapes, mv, ops, want) {
			return false
		}
		made += len(mv.To)
	}
	// What B has besides is a buffer, or a head that is tied.
	rest := len(has) - made
	for _, m := range x.b.modules {
		if m.Meaning.Buffer || slices.Contains(m.Meaning.Parts, "head") {
			rest -= m.Count * len(m.Leaves)
		}
	}
	return rest <= 0
}

// makesShapes reports whether a move makes tensors of some shapes, as far as those and its own are known.
func makesShapes(shapes map[string][]uint64, mv *convert.Move, ops []tensorop.Op, want [][]uint64) bool {
	var operands [][]uint64
	for _, n := range mv.From {
		if shapes[n] == nil {
			return true
		}
		operands = append(operands, shapes[n])
	}
	got, err := tensorop.Shapes(ops, operands)
	if err != nil || len(got) != len(want) {
		return false
	}
	for k := range got {
		if !agree(want[k], got[k]) {
			return false
		}
	}
	return true
}

// knownTo finds the map to a convention from names whose convention is known.
func (x *inference) knownTo(to *convention.Convention) (*Result, error) {
	r := read(&x.a)
	fits := r.exactly()
	for _, from := range fits {
		cv, err := convert.BetweenWith(from, to, slices.Values(x.a.tensors), x.a.model, convert.Options{Named: true})
		if refusal, ok := errors.AsType[*convert.RefusalError](err); ok && refusal.Needs != "" && len(r.Extra) == 0 {
			return nil, refusal
		}
		if err != nil || len(cv.Unknown()) > 0 {
			continue
		}
		as := func(c *convention.Convention) (*convert.Conversion, error) {
			return convert.BetweenWith(c, to, slices.Values(x.a.tensors), x.a.model, convert.Options{Named: true})
		}
		var rival *convert.Conversion
		if other := convert.Rival(cv, nil, rivals(fits, from, to), x.a.model, as); other != nil {
			rival, _ = as(other)
		}
		res, err := x.exact(cv, rival)
		if err == nil {
			res.Missing = cv.Missing
		}
		return res, err
	}
	return nil, nil
}

// exact is the result of a conversion between conventions. A rival is what another
// convention of A's names would make of the tensors.
func (x *inference) exact(cv, rival *convert.Conversion) (*Result, error) {
	s := &script{from: cv.From, to: cv.To, names: x.a.names(), dropped: cv.Dropped}
	by := fmt.Sprintf("the names are those of %s and %s", cv.From, cv.To)
	if cv.From == cv.To {
		by = fmt.Sprintf("the names are those of %s, below a prefix", cv.From)
	}
	s.notes = []note{{class: Named, confidence: 1, by: []string{by}}}
	others := make(map[string]*convert.Move)
	if rival != nil {
		s.notes = append(s.notes, note{class: Guess, confidence: 0.5, by: []string{by, "by " + rival.From + ", whose names they are as well, these tensors become others"}, question: 1})
		for i := range rival.Moves {
			others[rival.Moves[i].From[0]] = &rival.Moves[i]
		}
	}
	for i := range cv.Moves {
		mv := &cv.Moves[i]
		at := 0
		if rival != nil && !reflect.DeepEqual(others[mv.From[0]], mv) {
			at = 1
		}
		s.add(*mv, at)
	}
	s.groups = x.groups(nil)
	res, err := s.result()
	if err != nil || res.Refused != "" {
		return res, err
	}
	if rival != nil {
		q := Question{Confidence: 0.5, Settle: []Step{{Note: "the model's configuration, which says whether it is of " + cv.From + " or of " + rival.From}}}
		for i := range res.Rules {
			if r := &res.Map.Rules[i]; res.Rules[i].Class == Guess {
				q.Between = append(q.Between, r.From[0].String())
				for _, t := range r.To {
					q.And = append(q.And, t.String())
				}
			}
		}
		res.Questions = append(res.Questions, q)
	}
	res.ask()
	return res, nil
}

// usual is the half, or, where it has leaves that only its names have, its names with those of most projects.
func (h *half) usual() *half {
	out := half{tensors: slices.Clone(h.tensors), model: h.model}
	own := false
	for _, m := range h.modules {
		for i := range m.Leaves {
			l := &m.Leaves[i]
			if l.Usual() == l.Name {
				continue
			}
			own = true
			for _, t := range l.Tensors {
				out.tensors[t].Name = strings.TrimSuffix(h.tensors[t].Name, l.Name) + l.Usual()
			}
		}
	}
	if !own {
		return h
	}
	return &out
}

// interpret takes from conventions what names mean, wherever they know them.
func (x *inference) interpret() {
	for _, h := range []*half{&x.a, &x.b} {
		if h.virtual || len(h.tensors) == 0 {
			continue
		}
		r := read(h.usual())
		h.near = r.Nearest.Convention
		if len(r.fits) > 0 && len(r.Extra) == 0 {
			h.of = r.fits[0]
			h.whole = r.sure != nil && !slices.ContainsFunc(r.sure, func(c *convention.Convention) bool {
				return c.Layout.QKV != h.of.Layout.QKV || c.Layout.GateUp != h.of.Layout.GateUp
			})
			Explain(h.modules, r.Places(h.of))
			continue
		}
		Explain(h.modules, nil)
	}
}

// aim makes B what a convention has for a model of A's size.
func (x *inference) aim(to *convention.Convention) error {
	sizes := sizesOf(x.a.model, x.a.modules)
	if sizes.layers == 0 {
		sizes.layers = 1
	}
	// Kimi K2 has 61 layers with 384 experts each; a configuration may say anything.
	const mostLayers, mostExperts = 1000, 200000
	if sizes.layers < 0 || sizes.layers > mostLayers || sizes.experts > mostExperts/uint64(sizes.layers) {
		return fmt.Errorf("%d layers of %d experts are more than any model has", sizes.layers, sizes.experts)
	}
	inv := &Inventory{Model: x.a.model}
	configured := sizesOf(x.a.model, nil)
	optional := make(map[string]bool)
	known := make(map[string]aimed)
	role := make(map[string]string)
	tower := towerOf(to)
	var beyond []string
	axes := make(map[string]int)
	have := make(map[string]bool)
	for _, t := range to.Tensors() {
		_, weighted := to.Role(t.Module + ".weight")
		if t.Buffer || weighted && strings.HasSuffix(t.Role, ".bias") {
			continue
		}
		if sizes.experts == 0 && ofExperts(t.Module) {
			if !t.Optional {
				beyond = append(beyond, strings.TrimSuffix(t.Pattern.String(), ".weight"))
			}
			continue
		}
		for _, index := range sizes.indices(&t) {
			name, ok := t.Pattern.Format(index)
			spelled := fmt.Sprint(t.Role, index) // the first of several names for it
			if !ok || have[name] || have[spelled] && !convention.IsOwn(t.Role) {
				continue
			}
			have[name], have[spelled] = true, true
			of := t
			of.Module = strings.TrimPrefix(t.Module, tower)
			shape := sizes.shape(to, &of)
			inv.Tensors = append(inv.Tensors, convention.Named{Name: name, Shape: shape})
			optional[name], role[name] = t.Optional, t.Role
			bias := never
			if b, ok := to.Role(t.Module + ".bias"); ok {
				if bias = always; b.Optional {
					bias = sometimes
				}
			}
			axes[name] = len(to.Axes(&of))
			known[name] = aimed{shape != nil && slices.Equal(shape, configured.shape(to, &of)), bias}
		}
	}
	b, err := newHalf(inv)
	if err != nil {
		return err
	}
	b.of, b.whole, b.virtual, b.beyond = to, true, true, beyond
	mixers := vocabulary().mixers(b.modules)
	for _, m := range b.modules {
		first := b.tensors[m.Leaves[0].Tensors[0]].Name
		if convention.IsOwn(role[first]) && !optional[first] {
			vocabulary().explain(m, sizes.experts > 0, mixers)
		} else {
			m.Meaning = identify.Meaning(role[first])
		}
		m.Optional, m.AnyLeaf, m.Soft = optional[first], true, true
		if m.Shape == nil {
			m.Axes = axes[first]
		}
		b.aimed = append(b.aimed, known[first])
	}
	x.b = b
	return nil
}

// towerOf is what the roles of all layers of a convention begin with: a model of images alone has the
// shapes of a decoder. It is "" where there is more than one stack of layers.
func towerOf(c *convention.Convention) string {
	tower, several := "", false
	for _, t := range c.Tensors() {
		if space, _, ok := strings.Cut(t.Module, "layer."); ok && len(t.Pattern.Holes()) > 0 {
			several = several || tower != "" && space != tower
			tower = space
		}
	}
	if several {
		return ""
	}
	return tower
}

// ofExperts reports whether only models with experts have a module.
func ofExperts(module string) bool {
	return strings.Contains(module, "expert") || strings.Contains(module, "mlp.shared") || strings.Contains(module, "mlp.router")
}

// indices are those of a role's tensors in a model of these sizes: none, the layers, or
// the experts of every layer. Where some layers have experts, the others are dense.
func (s *sizes) indices(t *convention.Tensor) [][]int {
	holes := t.Pattern.Holes()
	if len(holes) == 0 {
		return [][]int{nil}
	}
	if !slices.Contains(holes, "layer") || len(holes) > 2 || len(holes) == 2 && !slices.Contains(holes, "expert") {
		return nil
	}
	var out [][]int
	for l := range s.layers {
		if len(s.withExperts) > 0 {
			if experts := ofExperts(t.Module); experts != s.withExperts[l] && (experts || strings.HasPrefix(t.Module, "layer.mlp.") && !strings.HasSuffix(t.Module, "norm")) {
				continue
			}
		}
		if len(holes) == 1 {
			out = append(out, []int{l})
			continue
		}
		for e := range s.experts {
			out = append(out, []int{l, int(e)})
		}
	}
	return out
}
