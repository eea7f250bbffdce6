package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

var baseRules = []*Rule{
	{
		ID: "WT328", Name: "adapter-target", Severity: checkpoint.Error, run: runAdapterTarget,
		Title: "the adapter changes a module that its base does not have",
		Doc: `Only with --base. Loaders leave out what has no target, with a warning at most, and the
adapter does less than it was trained for, or nothing.`,
		Bad: "blocks.0.cross_attn.k_img changed, and a base without image attention", Good: "every module in the base",
	},
	{
		ID: "WT329", Name: "adapter-shape", Severity: checkpoint.Error, run: runAdapterShape,
		Title: "the adapter changes a module of another shape than its base has",
		Doc:   `Only with --base. The adapter is of a model of the same family with another width.`,
		Bad:   "a change of [2048,2048], and q_proj.weight [4096,4096]", Good: "[4096,4096] in both",
	},
}

// A Fit says how many of the modules that an adapter changes are in its base.
type Fit struct {
	Checkpoint, Base string
	Modules, Targets int
}

// A fit is a Fit, and what is wrong with it.
type fit struct {
	Fit
	absent, misshapen []misfit
}

// A misfit is what is wrong with the change of a module.
type misfit struct {
	tensor  int // the first of its change
	message string
}

// Fits says how each adapter of the release fits the base that was given.
func (r *Report) Fits() []Fit {
	var out []Fit
	for _, m := range r.models {
		if f := m.fit(); f != nil {
			out = append(out, f.Fit)
		}
	}
	return out
}

func runAdapterTarget(p *Pass) {
	for _, m := range p.models {
		if f := m.fit(); f != nil {
			for _, a := range f.absent {
				p.report(m.finding(a.tensor, "%s", a.message))
			}
		}
	}
}

func runAdapterShape(p *Pass) {
	for _, m := range p.models {
		if f := m.fit(); f != nil {
			for _, a := range f.misshapen {
				p.report(m.finding(a.tensor, "%s", a.message))
			}
		}
	}
}

// A target is the weight of a module in the base.
type target struct {
	name  string
	shape []uint64 // nil of a weight that is packed
}

// A baseModel is one checkpoint of the base, by what its weights are called in its
// convention.
type baseModel struct {
	conv    *convention.Convention // nil when it is not known
	model   *convention.Model
	targets map[string]target
}

// fitTo measures an adapter against a base; it is nil for what is no adapter.
func (m *model) fitTo(ctx context.Context, base *checkpoint.Release) *fit {
	if base == nil {
		return nil
	}
	beside, _ := adapt.Model(ctx, m.Checkpoint)
	tensors := slices.Collect(adapt.Tensors(m.Checkpoint))
	a := identify.ReadAdapter(tensors, beside, nil)
	if a == nil {
		return nil
	}
	var models []*baseModel
	for _, c := range base.Checkpoints {
		models = append(models, readBase(ctx, c)...)
	}
	measure := func(a *identify.Adapter) *fit {
		f := &fit{Fit: Fit{Checkpoint: m.Path, Base: base.Path}}
		for _, c := range a.Components {
			f.component(a, c, models)
		}
		return f
	}
	best := measure(a)
	// The names of an adapter may be those of several models, and the base says of which it is.
	for _, conv := range related(models) {
		if best.Targets == best.Modules {
			break
		}
		if a := identify.ReadAdapter(tensors, beside, conv); a != nil {
			if f := measure(a); f.Targets > best.Targets {
				best = f
			}
		}
	}
	return best
}

// related are the conventions of the models of a base, and others that have a family in common with one.
func related(models []*baseModel) []*convention.Convention {
	var list []*convention.Convention
	for _, c := range convention.All() {
		if slices.ContainsFunc(models, func(b *baseModel) bool {
			return b.conv != nil && slices.ContainsFunc(b.conv.Families, c.HasFamily)
		}) {
			list = append(list, c)
		}
	}
	return list
}

// readBase reads the model of a checkpoint, and those below further prefixes: the text encoders of a file with all of an
// image model, which adapters change as well.
func readBase(ctx context.Context, c *checkpoint.Checkpoint) []*baseModel {
	model, _ := adapt.Model(ctx, c)
	tensors := slices.Collect(adapt.Tensors(c))
	main, parts := readModel(tensors, "", model)
	list := []*baseModel{main}
	for _, p := range parts {
		var below []convention.Named
		for _, t := range tensors {
			if name, ok := strings.CutPrefix(t.Name, p.Prefix); ok && p.Prefix != "" {
				t.Name = name
				below = append(below, t)
			}
		}
		if part, _ := readModel(below, p.Prefix, &convention.Model{}); part.conv != nil {
			list = append(list, part)
		}
	}
	return list
}

// readModel reads a model whose names begin with a prefix, which is cut off, and says what is below others in it.
func readModel(tensors []convention.Named, prefix string, model *convention.Model) (*baseModel, []identify.Part) {
	b := &baseModel{model: model, targets: make(map[string]target)}
	r := identify.Read(slices.Values(tensors), b.model)
	places := make([]identify.Place, len(tensors))
	if b.conv, _ = convention.Lookup(r.Convention); b.conv != nil {
		places = r.Places(b.conv)
	}
	for i, t := range tensors {
		name, shape := t.Name, t.Shape
		if p := places[i]; p.Tensor != nil {
			if canonical, ok := p.Tensor.Pattern.Format(p.Index); ok {
				name = canonical
			}
			if p.Leaf != "" {
				shape = nil
			}
		}
		if old, twice := b.targets[name]; !twice || old.shape == nil {
			b.targets[name] = target{prefix + t.Name, shape}
		}
	}
	return b, r.Parts
}

// component looks for the modules of one part of a pipeline in the model of the
// base that has the most of them.
func (f *fit) component(a *identify.Adapter, c *identify.Component, models []*baseModel) {
	type fitted struct {
		absent, misshapen []misfit
		found             int
	}
	var best *fitted
	for _, b := range models {
		now := &fitted{}
		places, why := wanted(a, c, b)
		for i, change := range c.Modules {
			first := -1
			for _, t := range change.Parts {
				if first < 0 || t < first {
					first = t
				}
			}
			w := places[i]
			t, ok := b.targets[w.name]
			switch {
			case !ok:
				now.absent = append(now.absent, misfit{first, fmt.Sprintf("changes a module that %s does not have%s", f.Base, cmp.Or(w.why, why))})
				continue
			case t.shape != nil && w.shape != nil && !sameMatrix(t.shape, w.shape) && !(w.moved && isPart(w.shape, t.shape)):
				now.misshapen = append(now.misshapen, misfit{first, fmt.Sprintf("changes a module of %s, and %s has %s of %s", shapeText(w.shape), f.Base, t.name, shapeText(t.shape))})
			}
			now.found++
		}
		// Two text encoders have the same names, and other widths.
		if best == nil || cmp.Or(cmp.Compare(now.found-len(now.misshapen), best.found-len(best.misshapen)), cmp.Compare(now.found, best.found)) > 0 {
			best = now
		}
	}
	f.Modules += len(c.Modules)
	if best == nil {
		best = new(fitted)
	}
	f.Targets += best.found
	f.absent = append(f.absent, best.absent...)
	f.misshapen = append(f.misshapen, best.misshapen...)
}

// sameMatrix compares the shape of a weight, of any number of axes behind the
// second, with that of a change.
func sameMatrix(weight, change []uint64) bool {
	for len(weight) > 2 && weight[len(weight)-1] == 1 {
		weight = weight[:len(weight)-1]
	}
	return len(weight) != 2 || slices.Equal(weight, change)
}

// isPart reports whether a matrix is some of the rows of another one that are fused, such as a query among query, key and
// value.
func isPart(part, whole []uint64) bool {
	return len(part) == 2 && len(whole) == 2 && part[1] == whole[1] && part[0] > 0 && whole[0] > part[0] && whole[0]%part[0] == 0
}

// siblings are weights beside those that change, in the same part of a block: the base may have them in one. Their
// shapes are not known, and taken to be alike.
func siblings(c *identify.Component, changed map[string]int, wants []want) (list []convention.Named) {
	seen := make(map[string]bool)
	tensors := c.Convention.Tensors()
	for i := range c.Modules {
		p := c.Places[i]
		if p.Tensor == nil {
			continue
		}
		part := p.Tensor.Module[:strings.LastIndexByte(p.Tensor.Module, '.')+1]
		for k := range tensors {
			t := &tensors[k]
			if rest, ok := strings.CutPrefix(t.Role, part); !ok || part == "" || strings.Count(rest, ".") != 1 || !strings.HasSuffix(rest, ".weight") {
				continue
			}
			name, ok := t.Pattern.Format(p.Index)
			if _, own := changed[name]; ok && !own && !seen[name] {
				seen[name] = true
				list = append(list, convention.Named{Name: name, Shape: wants[i].shape})
			}
		}
	}
	return list
}

// A want is what the base would call a module, and why it has no name for it.
type want struct {
	name  string
	shape []uint64
	why   string
	moved bool // the base may hold it with others in one
}

// wanted says what a base calls the modules of a component, and why it has names
// for none.
func wanted(a *identify.Adapter, c *identify.Component, b *baseModel) (out []want, why string) {
	out = make([]want, len(c.Modules))
	if c.Convention == nil || b.conv == nil {
		for i, m := range c.Modules {
			path, _ := c.Path(i)
			out[i] = want{name: path + ".weight", shape: a.ModuleShape(m)}
		}
		return out, ""
	}
	var named []convention.Named
	at := make(map[string]int)
	for i, m := range c.Modules {
		p := c.Places[i]
		if p.Tensor == nil {
			continue
		}
		name, _ := p.Tensor.Pattern.Format(p.Index)
		shape := a.ModuleShape(m)
		if c.Convention.Transposes(p.Tensor.Module) {
			slices.Reverse(shape)
		}
		out[i] = want{name: name, shape: shape}
		at[name] = i
		named = append(named, convention.Named{Name: name, Shape: shape})
	}
	if c.Convention == b.conv {
		return out, ""
	}
	named = append(named, siblings(c, at, out)...)
	conv, err := convert.Between(c.Convention, b.conv, slices.Values(named), b.model)
	for i := range out {
		out[i].name = ""
	}
	if err != nil {
		return out, fmt.Sprintf(": it is of %s, and the base of %s", c.Convention.Name, b.conv.Name)
	}
	for _, aside := range conv.Aside {
		if i, ok := at[aside.Name]; ok {
			out[i].why = ": " + aside.Reason
		}
	}
	for _, mv := range conv.Moves {
		shapes := make([][]uint64, len(mv.From))
		known := true
		for k, name := range mv.From {
			i, ok := at[name]
			if ok {
				shapes[k] = out[i].shape
			}
			known = known && ok && shapes[k] != nil
		}
		if known {
			if shapes, err = tensorop.Shapes(mv.Ops, shapes); err != nil || len(shapes) != len(mv.To) {
				known = false
			}
		}
		for _, name := range mv.From {
			// A module that is fused or split has its place in the first.
			i, ok := at[name]
			if !ok {
				continue // which does not change
			}
			out[i] = want{name: mv.To[0], moved: true}
			if known {
				out[i].shape = shapes[0]
			}
		}
	}
	return out, ""
}
