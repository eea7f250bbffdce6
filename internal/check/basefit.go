package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"

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
	a := identify.ReadAdapter(slices.Collect(adapt.Tensors(m.Checkpoint)), beside, nil)
	if a == nil {
		return nil
	}
	f := &fit{Fit: Fit{Checkpoint: m.Path, Base: base.Path}}
	var models []*baseModel
	for _, c := range base.Checkpoints {
		models = append(models, readBase(ctx, c))
	}
	for _, c := range a.Components {
		f.component(a, c, models)
	}
	return f
}

func readBase(ctx context.Context, c *checkpoint.Checkpoint) *baseModel {
	b := &baseModel{targets: make(map[string]target)}
	b.model, _ = adapt.Model(ctx, c)
	tensors := slices.Collect(adapt.Tensors(c))
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
			b.targets[name] = target{t.Name, shape}
		}
	}
	return b
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
			case t.shape != nil && w.shape != nil && !sameMatrix(t.shape, w.shape):
				now.misshapen = append(now.misshapen, misfit{first, fmt.Sprintf("changes a module of %s, and %s has %s of %s", shapeText(w.shape), f.Base, t.name, shapeText(t.shape))})
			}
			now.found++
		}
		if best == nil || now.found > best.found {
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

// A want is what the base would call a module, and why it has no name for it.
type want struct {
	name  string
	shape []uint64
	why   string
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
			shapes[k] = out[at[name]].shape
			known = known && shapes[k] != nil
		}
		if known {
			if shapes, err = tensorop.Shapes(mv.Ops, shapes); err != nil || len(shapes) != len(mv.To) {
				known = false
			}
		}
		for _, name := range mv.From {
			// A module that is fused or split has its place in the first.
			i := at[name]
			out[i] = want{name: mv.To[0]}
			if known {
				out[i].shape = shapes[0]
			}
		}
	}
	return out, ""
}
