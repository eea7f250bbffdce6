package inspect

import (
	"fmt"
	"path/filepath"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// unite makes one source of several. A name that two of them have, and that is chosen,
// needs a preference.
func (v *Conversion) unite(sources []*checkpoint.Checkpoint) error {
	if len(sources) == 1 {
		v.Source = sources[0]
		return nil
	}
	prefer := v.opts.Prefer
	u, passed, err := checkpoint.Union(sources, max(prefer, checkpoint.PreferFirst))
	if err != nil {
		return err
	}
	clashes := 0
	var first checkpoint.Passed
	for _, p := range passed {
		if v.opts.Select != nil && !v.opts.Select(p.Name) {
			continue
		}
		if clashes++; clashes == 1 {
			first = p
		}
		v.LeftOut = append(v.LeftOut, LeftOut{p.Name, fmt.Sprintf("%s has it, too, and counts instead of %s", p.By.Path, p.Of.Path)})
	}
	if clashes > 0 && prefer == checkpoint.PreferNone && shareFiles(first.By, first.Of) {
		twice := first.By.Path
		if filepath.Clean(first.Of.Path) != filepath.Clean(twice) {
			twice = fmt.Sprintf("%s, also as %s,", twice, first.Of.Path)
		}
		return fmt.Errorf("%s is given twice as a source; give it once", twice)
	}
	if clashes > 0 && prefer == checkpoint.PreferNone {
		return fmt.Errorf("%s %s in more than one of the sources, the first being %q, in %s and in %s; --prefer first or last says which counts, and --match or --exclude choose others", plural.Of(clashes, "name"), plural.Verb(clashes, "are"), first.Name, first.By.Path, first.Of.Path)
	}
	v.Source = u
	v.orphans, v.instead = make(map[string]string), make(map[string]bool)
	return v.otherForms(sources, prefer)
}

// otherForms leaves out quantised weights that another source's count instead of, with all that belongs to them, and
// weights that another source has in another form, under another name: as numbers or packed. Both would be of one module,
// and a loader reads either.
func (v *Conversion) otherForms(sources []*checkpoint.Checkpoint, prefer checkpoint.Prefer) error {
	quantised := make(map[string]bool) // modules
	for _, c := range sources {
		for _, t := range c.All() {
			if packed, beside := quant.Leaf(t.Name); packed && v.isChosen(t.Name) || beside {
				module, _, _ := quant.Split(t.Name)
				quantised[module] = true
			}
		}
	}
	type form struct {
		of   *checkpoint.Checkpoint
		name string
	}
	forms, modules := make(map[string][]form), []string{}
	for _, c := range sources {
		for _, t := range c.All() {
			module, leaf, known := quant.Split(t.Name)
			isPacked, _ := quant.Leaf(t.Name)
			if !quantised[module] || known && leaf != "weight" && !isPacked || !v.isChosen(t.Name) {
				continue
			}
			if forms[module] == nil {
				modules = append(modules, module)
			}
			forms[module] = append(forms[module], form{c, t.Name})
		}
	}
	clashes := 0
	var first [2]form
	losers := make(map[*checkpoint.Checkpoint]map[string]form) // by their modules, with what counts
	for _, module := range modules {
		list := forms[module]
		counts := list[0]
		if prefer == checkpoint.PreferLast {
			counts = list[len(list)-1]
		}
		for _, f := range list {
			if f.of == counts.of {
				continue
			}
			if losers[f.of] == nil {
				losers[f.of] = make(map[string]form)
			}
			losers[f.of][module] = counts
			if has(counts.of, f.name) {
				continue
			}
			if clashes++; clashes == 1 {
				first = [2]form{counts, f}
			}
			v.orphans[f.name] = fmt.Sprintf("%s has this weight as %s, and counts instead of %s", counts.of.Path, counts.name, f.of.Path)
			if isPacked, _ := quant.Leaf(f.name); isPacked {
				v.instead[counts.name] = true
			}
		}
	}
	if clashes > 0 && prefer == checkpoint.PreferNone {
		return fmt.Errorf("%s %s in several of the sources in several forms, the first being %q in %s and %q in %s; --prefer first or last says which counts, and --match or --exclude choose others", plural.Of(clashes, "weight"), plural.Verb(clashes, "are"), first[0].name, first[0].of.Path, first[1].name, first[1].of.Path)
	}
	for _, c := range sources {
		by := losers[c]
		if by == nil {
			continue
		}
		besideWeights(c, func(module string) bool { _, ok := by[module]; return ok }, func(module, name string) {
			// What the source that counts has under the same name counts as well.
			if counts := by[module]; !has(counts.of, name) && v.orphans[name] == "" {
				v.orphans[name] = fmt.Sprintf("its weight is left out, as that of %s counts instead", counts.of.Path)
				v.instead[counts.name] = true
			}
		})
	}
	return nil
}

// besideWeights finds what belongs to the quantised weights of some modules of a source, besides the weights.
func besideWeights(c *checkpoint.Checkpoint, of func(module string) bool, leave func(module, name string)) {
	s := quant.NewSurvey(0)
	var names []string
	for _, t := range c.All() {
		module, _, known := quant.Split(t.Name)
		if !of(module) {
			continue
		}
		s.Add(t.Name, t.DType, t.Shape)
		names = append(names, t.Name)
		if _, beside := quant.Leaf(t.Name); known && beside {
			leave(module, t.Name)
		}
	}
	for _, m := range s.Report(nil).Modules {
		if m.Scheme == nil || m.Scheme.Name == quant.Cast {
			continue
		}
		for i := range m.Tensors {
			if i != m.WeightAt() {
				leave(m.Name, names[m.Index(&m.Tensors[i])])
			}
		}
	}
}

func (v *Conversion) isChosen(name string) bool { return v.opts.Select == nil || v.opts.Select(name) }

func has(c *checkpoint.Checkpoint, name string) bool {
	_, ok := c.Lookup(name)
	return ok
}

// shareFiles reports whether two checkpoints are of the same files, whatever these are called.
func shareFiles(a, b *checkpoint.Checkpoint) bool {
	if a.Path == b.Path {
		return true
	}
	var paths []string
	for _, f := range b.Files {
		paths = append(paths, f.Path)
	}
	return slices.ContainsFunc(a.Files, func(f *checkpoint.File) bool { return txn.SameFile(f.Path, paths...) })
}
