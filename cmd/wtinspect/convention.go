package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// modelOf is what the documents of a checkpoint say of its model.
func modelOf(c *checkpoint.Checkpoint, instead *checkpoint.Config) *convention.Config {
	return inspect.ModelOf(c, instead)
}

// documentAt reads a configuration that the user names: a JSON file, or a
// directory with a config.json or params.json.
func documentAt(ctx context.Context, path string) (*checkpoint.Config, error) {
	if source.IsDir(path) {
		dir := &checkpoint.Release{Dir: path}
		for _, name := range []string{"config.json", "params.json"} {
			doc, err := dir.Document(ctx, name)
			if !errors.Is(err, fs.ErrNotExist) {
				return doc, err
			}
		}
		return nil, fmt.Errorf("%s has no config.json or params.json", path)
	}
	data, err := source.ReadNamed(ctx, path, source.Document)
	if err != nil {
		return nil, err
	}
	return checkpoint.ParseConfig(path, data)
}

// tensorsFor yields the tensors of a checkpoint as conventions look at them.
func tensorsFor(c *checkpoint.Checkpoint) iter.Seq[convention.Named] { return inspect.TensorsOf(c) }

// converting is how a command is told between which conventions to convert.
type converting struct {
	from, to string
	config   string
	// instead is what config says, once it is read: a pipe can be read once.
	instead *checkpoint.Config
}

// convert derives the conversion of a checkpoint, of whose model cfg tells.
func (o *converting) convert(c *checkpoint.Checkpoint, cfg *convention.Config) (*convention.Conversion, error) {
	from, err := o.source(c, cfg)
	if err != nil {
		return nil, err
	}
	to, err := convention.Resolve(o.to, from, cfg)
	if err != nil {
		return nil, err
	}
	return convention.Convert(from, to, tensorsFor(c), cfg)
}

// model is what is known of the model: what --config says, or what stands
// beside the weights.
func (o *converting) model(ctx context.Context, c *checkpoint.Checkpoint) (*convention.Config, error) {
	if o.config != "" && o.instead == nil {
		var err error
		if o.instead, err = documentAt(ctx, o.config); err != nil {
			return nil, fmt.Errorf("--config: %w", plain(err))
		}
	}
	instead := o.instead
	if o.config == "" && c.Config == nil && c.Format != checkpoint.GGUF {
		// Meta's and Mistral's releases have it under another name.
		doc, err := c.Document(ctx, "params.json")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, plain(err)
		}
		instead = doc
	}
	return modelOf(c, instead), ctx.Err()
}

// source is the convention that a checkpoint follows.
func (o *converting) source(c *checkpoint.Checkpoint, cfg *convention.Config) (*convention.Convention, error) {
	if o.from != "" {
		from, ok := convention.Lookup(o.from)
		if !ok {
			return nil, fmt.Errorf("--from: there is no convention %q%s; 'wtinspect map list' shows all", o.from, nearConventions(o.from))
		}
		return from, nil
	}
	r, err := convention.Identify(tensorsFor(c), cfg)
	if err != nil {
		return nil, err
	}
	from, ok := convention.Lookup(r.Convention)
	if !ok {
		near := ""
		if r.Nearest.Convention != "" {
			near = fmt.Sprintf("; the nearest is %s, %s away", r.Nearest.Convention, counted(r.Nearest.TemplatesAway, "template"))
		}
		return nil, fmt.Errorf("%s follows no convention that is known%s; name one with --from", c.Path, near)
	}
	return from, nil
}

// nearConventions names conventions that share a word with an argument.
func nearConventions(arg string) string {
	words := strings.FieldsFunc(strings.ToLower(arg), func(r rune) bool { return r == '-' || r == '_' || r == ' ' })
	var near []string
	for _, c := range convention.All() {
		if slices.ContainsFunc(strings.Split(c.Name, "-"), func(w string) bool { return slices.Contains(words, w) }) {
			near = append(near, c.Name)
		}
	}
	if len(near) == 0 || len(near) > 12 {
		return ""
	}
	return "; near are " + strings.Join(near, ", ")
}

// reviewPlan looks for renames that need bytes moved.
func reviewPlan(plan *rename.Plan, cfg *convention.Config) (*convention.Verdict, error) {
	return convention.Review(func(yield func(string, string) bool) {
		for i := range plan.Rows {
			r := &plan.Rows[i]
			if r.Action == rename.Keep || r.Action == rename.Move {
				if !yield(r.From, r.To) {
					return
				}
			}
		}
	}, cfg)
}

// conflictProblems turns what a review found into reasons to refuse a plan:
// one for each template and reason.
func conflictProblems(v *convention.Verdict) []rename.Problem {
	var problems []rename.Problem
	for _, g := range template.FoldPairs(len(v.Conflicts), func(i int) (string, string, string) {
		c := &v.Conflicts[i]
		return c.From, c.To, c.Reason
	}) {
		first := &v.Conflicts[g.Members[0]]
		to := cmp.Or(g.To, first.To)
		p := rename.Problem{Kind: rename.MovesBytes, To: first.To, Rule: -1}
		for _, m := range g.Members {
			p.From = append(p.From, v.Conflicts[m].From)
		}
		p.Message = fmt.Sprintf("%q would be called %q (%s), and %s", g.Name, to, counted(len(g.Members), "tensor"), first.Reason)
		problems = append(problems, p)
	}
	return problems
}

// completeConventions completes the names of conventions and of projects.
func completeConventions(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, c := range convention.All() {
		for _, name := range append([]string{c.Name}, c.Dialects...) {
			if strings.HasPrefix(name, toComplete) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
