package check

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/safetensors"
)

var copyRules = []*Rule{
	{
		ID: "WT721", Name: "copies-differ", Severity: checkpoint.Warning, run: runCopiesDiffer,
		Title: "the pickled copy of the weights is not of the same tensors",
		Doc: `A release has its weights twice, as safetensors and as files of torch.save, and the two
differ in names, dtypes or shapes: which model is loaded depends on the loader. Of tied
tensors one name is enough. Delete the pickles, or make them again.`,
		Bad: "lm_head.weight in pytorch_model.bin alone", Good: "the same tensors in pytorch_model.bin and model.safetensors",
	},
	{
		ID: "WT722", Name: "copies-differ-in-values", Severity: checkpoint.Warning, run: runCopiesDifferInValues, Values: true,
		Title: "the pickled copy of the weights has other numbers",
		Doc: `A tensor has the same name, dtype and shape in the safetensors and in the files of
torch.save beside them, and other bytes: they are of different versions of the weights. Which
is loaded depends on the loader. Delete the pickles, or make them again.`,
		Bad: "model.norm.weight of step 1000 in pytorch_model.bin, and of step 2000 in model.safetensors", Good: "the same bytes",
	},
}

// A copied is a tensor of a pickled copy, and where it is.
type copied struct {
	checkpoint.Tensor
	of   *checkpoint.Checkpoint
	at   int
	file string
}

// copyStem returns what two copies of the same weights have in common in the names of their
// files: transformers calls them pytorch_model and model (utils/__init__.py, WEIGHTS_NAME and
// SAFE_WEIGHTS_NAME).
func copyStem(name string) string {
	stem := strings.TrimSuffix(path.Base(name), path.Ext(name))
	if prefix, _, _, ok := safetensors.ParseShardName(stem + ".safetensors"); ok {
		stem = prefix
	}
	if rest, ok := strings.CutPrefix(stem, "pytorch_model"); ok {
		return "model" + rest
	}
	return stem
}

// eachCopy calls f for every checkpoint of safetensors that has a pickled copy beside it.
func (p *Pass) eachCopy(f func(m *model, byName map[string]copied)) {
	byStem := make(map[string][]string)
	for _, file := range p.release.Pickles {
		if !checkpoint.LeftByTrainer(file) {
			key := filepath.Join(filepath.Dir(file), copyStem(filepath.ToSlash(file)))
			byStem[key] = append(byStem[key], file)
		}
	}
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.NamesOnly() || m.partial() || len(m.Files) == 0 {
			continue
		}
		files := byStem[filepath.Join(m.Dir, copyStem(m.Files[0].Name))]
		if len(files) > 0 {
			p.copyOf(files, func(byName map[string]copied) { f(m, byName) })
		}
	}
}

// copyOf opens files of torch.save, and calls f with their tensors unless one of them cannot
// be read, which other rules report.
func (p *Pass) copyOf(files []string, f func(byName map[string]copied)) {
	byName := make(map[string]copied)
	for _, file := range files {
		rel, err := checkpoint.Open(p.ctx, file, &checkpoint.Options{NoConfig: true, AllowLinks: true})
		if err != nil {
			return
		}
		defer rel.Close()
		c := rel.Checkpoints[0]
		if c.Format != checkpoint.PyTorch {
			return
		}
		for i, t := range c.All() {
			byName[t.Name] = copied{t, c, i, file}
		}
	}
	f(byName)
}

func runCopiesDiffer(p *Pass) {
	p.eachCopy(func(m *model, byName map[string]copied) {
		here := make(map[string]bool, m.Len())
		var missing, more, other []string
		file := ""
		for _, t := range m.All() {
			here[t.Name] = true
			c, ok := byName[t.Name]
			switch {
			case !ok:
				missing = append(missing, t.Name)
			case c.DType != t.DType || !slices.Equal(c.Shape, t.Shape):
				other = append(other, fmt.Sprintf("%.100s (%s %d, and %s %d here)", t.Name, c.DType, c.Shape, t.DType, t.Shape))
			}
		}
		// Of tensors that share their bytes safetensors has one.
		saved := make(map[string]bool) // the first of tied tensors, of which one is here
		first := func(c copied) string {
			if k, ok := c.of.TiedTo(c.at); ok {
				return c.of.At(k).Name
			}
			return c.Name
		}
		for name, c := range byName {
			file = max(file, c.file)
			if here[name] {
				saved[first(c)] = true
			}
		}
		for name, c := range byName {
			if !here[name] && !saved[first(c)] {
				more = append(more, name)
			}
		}
		slices.Sort(more)
		for _, found := range []struct {
			names []string
			what  string
		}{
			{missing, "lacks %s that %s there: %s"},
			{more, "has %s that %s not in the safetensors: %s"},
			{other, "has %s that %s another dtype or shape: %s"},
		} {
			if n := len(found.names); n > 0 {
				verb := "are"
				if strings.Contains(found.what, "dtype") {
					verb = "have"
				}
				p.report(Finding{
					Checkpoint: m.Path, File: file, Offset: -1, Count: n,
					Message: fmt.Sprintf("the copy "+found.what, plural.Of(n, "tensor"), plural.Verb(n, verb), plural.List(cutNames(found.names))),
				})
			}
		}
	})
}

// cutNames bounds what a message repeats of names.
func cutNames(names []string) []string {
	out := slices.Clone(names)
	for i := range out {
		out[i] = fmt.Sprintf("%.200s", out[i])
	}
	return out
}

func runCopiesDifferInValues(p *Pass) {
	p.eachCopy(func(m *model, byName map[string]copied) {
		var pairs []values.Pair
		var copies []copied
		for i, t := range m.All() {
			c, ok := byName[t.Name]
			if !ok || c.DType != t.DType || !slices.Equal(c.Shape, t.Shape) {
				continue // WT721's
			}
			mine, err := m.Data(i)
			if err != nil {
				continue // a fault of the file, which other rules report
			}
			theirs, err := c.of.Data(c.at)
			if err != nil {
				continue
			}
			pairs = append(pairs, values.Pair{A: values.Section{Name: t.Name, Data: mine}, B: values.Section{Name: t.Name, Data: theirs}})
			copies = append(copies, c)
		}
		var differ []string
		file := ""
		// It fails when it is interrupted, which Run says.
		_ = values.RunPairs(p.ctx, pairs, values.PairOptions{Workers: p.opts.Workers}, func(k int, found *values.Comparison) error {
			switch c := copies[k]; {
			case found.Err != nil:
				p.report(Finding{Checkpoint: m.Path, File: c.file, Tensor: c.Name, Offset: -1, Message: "cannot be compared with its copy: " + unread(found.Err)})
			case !found.Equal:
				differ, file = append(differ, c.Name), c.file
			}
			return nil
		})
		if n := len(differ); n > 0 {
			p.report(Finding{
				Checkpoint: m.Path, File: file, Offset: -1, Count: n,
				Message: fmt.Sprintf("the copy has other numbers in %s: %s", plural.Of(n, "tensor"), plural.List(cutNames(differ))),
			})
		}
	})
}
