package identify

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/template"
)

// An Adapter is what is known of tensors that change a model.
type Adapter struct {
	*adapter.File
	Tensors []convention.Named

	contradicted bool         // as in identification
	Components   []*Component // of a denoiser first, then those that change the most
}

// A Component is the changes of one part of a pipeline, and which modules of what
// model they are of.
type Component struct {
	*adapter.Component
	// Of is the part: denoiser, clip_l, clip_g, t5, or any.
	Of string
	// Convention is whose names the modules have, nil when it is not known.
	Convention *convention.Convention
	// Places are those of the modules, and behind them of what was saved beside
	// them. Tensor is nil where the convention knows none.
	Places []Place

	flat  bool
	named []convention.Named // the modules' weights, and what was saved
	*identification
}

// ReadAdapter reads tensors that change a model. It is nil where most of them do
// not. from is the convention of the main component, nil for the one identified.
func ReadAdapter(tensors []convention.Named, model *convention.Model, from *convention.Convention) *Adapter {
	r := builtin()
	kinds, _ := r.fold(slices.Values(tensors))
	if !isAdapter(kinds) || len(kinds) > maxTemplates {
		return nil
	}
	return r.readAdapter(tensors, model, from)
}

// isAdapter reports whether most of the names end as parts of a change do, or PEFT's low-rank
// changes have no weight that they change beside them: then the rest was trained whole.
func isAdapter(templates []*tensorKind) bool {
	n := 0
	changed, own := make(map[string]bool), make(map[string]bool)
	for _, t := range templates {
		switch {
		case t.companion.kind != adapterPart:
			own[t.normal] = true
			continue
		case strings.HasPrefix(t.companion.leaf, "lora_A") || strings.HasPrefix(t.companion.leaf, "lora_B"):
			changed[t.normal] = true
		}
		n++
	}
	if n > 0 && 2*n >= len(templates) {
		return true
	}
	for module := range changed {
		if own[module] {
			return false
		}
	}
	return len(changed) > 0
}

func (r *registry) readAdapter(tensors []convention.Named, model *convention.Model, from *convention.Convention) *Adapter {
	names := make([]string, len(tensors))
	for i, t := range tensors {
		names[i] = t.Name
	}
	var best *Adapter
	known := func(a *Adapter) (n int) {
		for _, c := range a.Components {
			for i := range c.Modules {
				if c.Places[i].Tensor != nil {
					n += len(c.Modules[i].Parts)
				}
			}
		}
		return n
	}
	contradicted := false // in any reading, of which another may be best by the names
	for i, f := range adapter.Readings(names) {
		if i == 4 {
			break
		}
		a := r.adapter(f, tensors, model, from)
		contradicted = contradicted || slices.ContainsFunc(a.Components, func(c *Component) bool { return c.contradicted })
		if best == nil || known(a) > known(best) {
			best = a
		}
	}
	if best != nil {
		best.contradicted = contradicted
	}
	return best
}

func (r *registry) adapter(f *adapter.File, tensors []convention.Named, model *convention.Model, from *convention.Convention) *Adapter {
	a := &Adapter{File: f, Tensors: tensors}
	for _, c := range f.Components {
		a.Components = append(a.Components, &Component{Component: c, Of: c.Prefix.Of, flat: f.Flat})
	}
	slices.SortStableFunc(a.Components, func(x, y *Component) int {
		return cmp.Or(compareBool(x.Of == "denoiser", y.Of == "denoiser"), cmp.Compare(len(y.Modules), len(x.Modules)))
	})
	for i, c := range a.Components {
		as := from
		if i > 0 {
			as = nil
		}
		r.locate(a, c, model, as)
	}
	main := a.Components[0]
	if from == nil {
		main.decide(f.Dialect)
	}
	for _, c := range a.Components[1:] {
		// A text encoder is what its names say, whatever its number.
		if named := f.PartNamed(c.Prefix.Text, main.HasFamily); named != "" {
			c.Of = named
		}
		if c.Convention != nil && c.Convention.HasFamily("t5") {
			c.Of = "t5"
		}
	}
	return a
}

// Tied are the conventions that the names of the modules fit equally well, the one chosen
// first.
func (c *Component) Tied() []*convention.Convention {
	var out []*convention.Convention
	if c.Convention != nil {
		out = append(out, c.Convention)
		for _, e := range c.tied {
			if conv := c.reg.list[e.conv]; conv != c.Convention {
				out = append(out, conv)
			}
		}
	}
	return out
}

// As is the adapter with its modules read as those of another of the tied conventions.
func (a *Adapter) As(conv *convention.Convention) *Adapter {
	main := *a.Components[0]
	for _, e := range main.tied {
		if main.reg.list[e.conv] == conv && conv != main.Convention {
			main.Convention, main.Places = conv, main.identification.places(e, slices.Values(main.named))
			out := *a
			out.Components = append([]*Component{&main}, a.Components[1:]...)
			return &out
		}
	}
	return a
}

// decide leaves out of what the names fit the conventions that the dialect does not take,
// and those that shapes and numbers speak against, if any are left, and puts the likeliest
// first. Of the conventions of one model it keeps those in whose names the dialect is
// written; where no other model has these names, nothing is told by that.
func (c *Component) decide(d *adapter.Dialect) {
	tied := c.Tied()
	if len(tied) == 0 {
		return
	}
	fits := make(map[*convention.Convention]*evaluation, len(tied))
	for _, e := range c.tied {
		fits[c.reg.list[e.conv]] = e
	}
	agrees := make(map[*convention.Convention]agreement, len(tied))
	for _, conv := range tied {
		agrees[conv] = c.agreement(conv, fits[conv])
	}
	known := slices.ContainsFunc(tied, func(conv *convention.Convention) bool { return agrees[conv] >= agreeing })
	kept := tied
	leave := func(out func(conv *convention.Convention) bool) bool {
		left := slices.DeleteFunc(slices.Clone(kept), out)
		if len(left) == 0 || len(left) == len(kept) {
			return false
		}
		kept = left
		return true
	}
	leave(func(conv *convention.Convention) bool { return !d.Takes(conv.Dialects) })
	leave(func(conv *convention.Convention) bool {
		return !Takes(d, conv) && slices.ContainsFunc(kept, func(other *convention.Convention) bool {
			return Takes(d, other) && slices.ContainsFunc(other.Families, conv.HasFamily)
		})
	})
	c.contradicted = leave(func(conv *convention.Convention) bool { return fits[conv] != nil && !c.partsAgree(conv, fits[conv]) }) || c.contradicted
	var others []string
	if known && leave(func(conv *convention.Convention) bool {
		if agrees[conv] == disagreeing {
			others = append(others, conv.Name)
		}
		return agrees[conv] == disagreeing
	}) {
		c.contradicted = true
		c.note("the width and the number of blocks are not those of %s", strings.Join(others, ", "))
	}
	if !known {
		clear(agrees) // another size of a model, which says nothing
	}
	if kept[0].Kind != "" {
		slices.SortStableFunc(kept, func(x, y *convention.Convention) int {
			return cmp.Or(
				compareBool(x.Kind == convention.Denoiser, y.Kind == convention.Denoiser),
				cmp.Compare(agrees[y], agrees[x]),
				compareBool(c.confirmed(x), c.confirmed(y)),
				cmp.Compare(y.Preferred, x.Preferred),
				compareBool(Takes(d, x), Takes(d, y)),
			)
		})
	}
	if slices.Equal(kept, tied) {
		return
	}
	c.Convention, c.tied = kept[0], nil
	for _, conv := range kept {
		if e := fits[conv]; e != nil {
			c.tied = append(c.tied, e)
		}
	}
	if e := fits[kept[0]]; e != nil {
		c.best, c.Places = e, c.identification.places(e, slices.Values(c.named))
	}
	if c.res.Convention == "" {
		return
	}
	c.res.Convention, c.res.Alike = kept[0].Name, nil
	if kept[0].VariantOf == "" {
		c.res.Nearest = Nearest{kept[0].Name, len(c.res.Extra)}
	}
	c.rivals()
	var families []string
	for _, conv := range kept {
		for _, f := range conv.Families {
			if slices.Contains(c.res.Families, f) && !slices.Contains(families, f) {
				families = append(families, f)
			}
		}
	}
	c.res.Families = families
	place := func(name string) int {
		return slices.IndexFunc(kept, func(conv *convention.Convention) bool { return conv.Name == name })
	}
	c.res.Candidates = slices.DeleteFunc(c.res.Candidates, func(k Candidate) bool { return place(k.Convention) < 0 })
	slices.SortStableFunc(c.res.Candidates, func(x, y Candidate) int { return place(x.Convention) - place(y.Convention) })
}

// Takes reports whether a dialect has the names of a convention's modules.
func Takes(d *adapter.Dialect, c *convention.Convention) bool {
	if !d.Takes(c.Dialects) {
		return false
	}
	return !d.Original || !c.HasDialect("diffusers") || slices.ContainsFunc(d.Unless, c.HasFamily) || len(Originals(c)) == 0
}

// Originals are the conventions of the own release of a denoiser.
func Originals(of *convention.Convention) []*convention.Convention {
	var out []*convention.Convention
	for _, c := range convention.All() {
		if !c.HasDialect("diffusers") && !c.HasDialect("gguf") && !c.Frame && c.VariantOf == "" && slices.ContainsFunc(of.Families, c.HasFamily) {
			out = append(out, c)
		}
	}
	return out
}

// Path is that of a module as its convention spells it, below the component's
// prefix and without wrappers, and whether the dots in it are known.
func (c *Component) Path(i int) (string, bool) {
	if !c.flat {
		path, _, _ := loadCompanions().unwrap(c.Modules[i].Path)
		return path, true
	}
	p := c.Places[i]
	if p.Tensor == nil {
		return c.Modules[i].Path, false
	}
	name, ok := p.Tensor.Pattern.Format(p.Index)
	return WithoutContainer(c.Convention, strings.TrimSuffix(name, ".weight")), ok
}

// WithoutContainer takes off what the names of a denoiser's convention have before them in
// files that hold more than it, and adapters leave out.
func WithoutContainer(c *convention.Convention, name string) string {
	if c.Kind == convention.Denoiser {
		return strings.TrimPrefix(name, c.Base)
	}
	return name
}

// HasFamily reports whether the component's convention is of a family.
func (c *Component) HasFamily(family string) bool {
	return c.Convention != nil && c.Convention.HasFamily(family)
}

// locate finds the convention of a component's modules.
func (r *registry) locate(a *Adapter, c *Component, model *convention.Model, from *convention.Convention) {
	for _, m := range c.Modules {
		name := m.Path
		if !c.flat {
			name += ".weight"
		}
		c.named = append(c.named, convention.Named{Name: name, Shape: a.ModuleShape(m)})
	}
	for _, s := range c.Saved {
		c.named = append(c.named, convention.Named{Name: s.Name, Shape: a.Tensors[s.Tensor].Shape})
	}
	regs := []*registry{r}
	switch {
	case from != nil:
		regs = []*registry{newRegistry([]*convention.Convention{from})}
	case c.Of == "denoiser" && c.Prefix.Text != "":
		regs = []*registry{denoisers(), r}
	}
	var id *identification
	for _, reg := range regs {
		if id = reg.modules(c.named, c.flat, encoderModel(c.Of, model)); id.res.Convention != "" {
			break
		}
	}
	c.identification = id
	if id.best != nil && (id.res.Convention != "" || from != nil) {
		c.Convention = id.reg.list[id.best.conv]
	}
	c.Places = make([]Place, len(c.named))
	if c.best != nil {
		c.Places = c.identification.places(c.best, slices.Values(c.named))
	}
}

// denoisers knows what a prefix that says so can precede.
var denoisers = sync.OnceValue(func() *registry {
	return newRegistry(slices.DeleteFunc(slices.Clone(convention.All()), func(c *convention.Convention) bool { return c.Kind != convention.Denoiser }))
})

// encoderModel is what the number of a text encoder says of it: its names are those
// of other encoders, too.
func encoderModel(of string, model *convention.Model) *convention.Model {
	switch of {
	case "clip_l", "clip_g":
		return &convention.Model{Type: "clip_text_model"}
	case "t5":
		return &convention.Model{Type: "t5"}
	}
	return model
}

// ModuleShape is the shape of the weight that a change is of, nil when it does
// not show.
func (a *Adapter) ModuleShape(m *adapter.Change) []uint64 {
	axis := func(part string, axis int) (uint64, bool) {
		i, ok := m.Parts[part]
		if !ok || axis < 0 {
			return 0, false
		}
		s := a.Tensors[i].Shape
		if len(s) != 2 {
			return 0, false
		}
		if slices.Contains(a.Transposed, part) {
			axis = 1 - axis
		}
		return s[axis], true
	}
	for _, pair := range [][2]string{{"up", "down"}, {"hada_w1_a", "hada_w1_b"}, {"diff", "diff"}} {
		out, ok1 := axis(pair[0], adapter.PartOf(pair[0]).Out)
		in, ok2 := axis(pair[1], adapter.PartOf(pair[1]).In)
		if ok1 && ok2 && m.Rows == "" {
			return []uint64{out, in}
		}
	}
	return nil
}

// modules identifies the modules that an adapter changes.
func (r *registry) modules(named []convention.Named, flat bool, model *convention.Model) *identification {
	if model == nil {
		model = new(convention.Model)
	}
	templates, total := r.fold(slices.Values(named))
	id := &identification{
		reg: r, model: model, flat: flat, subjects: gather(templates),
		res: &Result{Tensors: total, Templates: len(templates)},
	}
	id.survey(templates)
	id.res.Adapter = true
	id.look()
	id.judge()
	return id
}

// adapter writes what is known of an adapter into the result.
func (id *identification) adapter(a *Adapter) {
	res, main := id.res, a.Components[0]
	res.Adapter = true
	id.contradicted = a.contradicted
	res.Dialects = []string{a.Name}
	res.Wrappers = nil
	known, all := 0.0, 0
	texts := make(map[string]bool)
	extra := func(text string) {
		if !texts[text] {
			texts[text] = true
			res.Extra = append(res.Extra, text)
		}
	}
	for i, c := range a.Components {
		part := c.res
		all += part.Templates
		known += part.Coverage * float64(part.Templates)
		for _, text := range part.Extra {
			if c.flat {
				text = strings.TrimSuffix(text, ".weight")
			}
			extra(c.Prefix.Text + text)
		}
		if i == 0 || part.Convention == "" {
			continue
		}
		res.Parts = append(res.Parts, Part{c.Prefix.Text, part.Convention, part.Families, part.Templates, kindOf(c.Convention)})
	}
	for _, i := range a.Unread {
		all++
		extra(writeRaw(a.Tensors[i].Name))
	}
	if all > 0 {
		res.Coverage = known / float64(all)
	}
	m := main.res
	if len(res.Extra) == 0 || m.Convention != "" && len(a.Unread) == 0 {
		res.Convention = m.Convention
	}
	if res.Convention != "" {
		res.Alike, res.Families, res.BaseAbsent, res.Nearest = m.Alike, m.Families, m.BaseAbsent, m.Nearest
	}
	if main.Prefix.Text != "" {
		res.Wrappers = []string{main.Prefix.Text}
	}
	res.Wrappers = append(res.Wrappers, m.Wrappers...)
	res.Parts = append(m.Parts, res.Parts...)
	res.Candidates, res.Evidence = m.Candidates, append(res.Evidence, m.Evidence...)
	res.Changes, res.Kind = a.changes(), KindAdapter
}

func writeRaw(name string) string {
	raw, nums := template.Words.Scan(nil, nil, name)
	return writeTemplate(string(raw), nums, 0)
}

// Changes says what the changes of an adapter are.
type Changes struct {
	// Kinds are those of the modules' changes, LoRA, DoRA, LoHa, …, the commonest
	// first, and Ranks their ranks, the lowest first.
	Kinds   []string `json:"kinds"`
	Ranks   []uint64 `json:"ranks"`
	Modules int      `json:"modules"`
	// Alphas and Scale are what beside the names says of their factors, and Base
	// what the file says that it was made for. Names do not show them.
	Alphas []float64 `json:"alphas,omitempty"`
	Scale  float64   `json:"scale,omitempty"`
	Base   string    `json:"base,omitempty"`
}

func (a *Adapter) changes() *Changes {
	out := &Changes{Kinds: []string{}, Ranks: []uint64{}}
	count := make(map[string]int)
	for _, c := range a.Components {
		for _, m := range c.Modules {
			out.Modules++
			kind := m.Kind()
			if _, dora := m.Parts["magnitude"]; dora && kind == "LoRA" {
				kind = "DoRA"
			} else if dora {
				kind += " with magnitudes"
			}
			if kind != "" {
				if count[kind]++; count[kind] == 1 {
					out.Kinds = append(out.Kinds, kind)
				}
			}
			rank := m.Rank(func(i int) []uint64 { return a.Tensors[i].Shape }, a.Dialect)
			if rank > 0 && !slices.Contains(out.Ranks, rank) {
				out.Ranks = append(out.Ranks, rank)
			}
		}
	}
	slices.SortFunc(out.Kinds, func(x, y string) int { return cmp.Or(cmp.Compare(count[y], count[x]), strings.Compare(x, y)) })
	slices.Sort(out.Ranks)
	return out
}
