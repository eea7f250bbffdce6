package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/template"
)

type mapTestOptions struct {
	pathList
	reading
	output
	strict bool
}

func newMapTest(p *program) *cobra.Command {
	var o mapTestOptions
	cmd := &cobra.Command{
		Use:   "test MAP... PATH...",
		Short: "Try maps on many checkpoints without changing them",
		Long: `Test reports what each MAP would do to each checkpoint under the PATHs:
how many tensors it would rename, drop, change into others and keep,
and why 'wtinspect rename' would refuse it. It uses names, and shapes if there
are any, so a release's index is enough: you can test a library of maps
with a directory of indexes and configurations.

The first argument is a MAP, and so are later ones that end in .yaml or .yml,
name a built-in map, or have the form A..B. Everything else is a PATH.`,
		Annotations: exitStatus(
			"1  a map would be refused",
			"2  also if something cannot be read; the rest is still tested"),
		Example: `  wtinspect map test yi-to-llama ~/models/yi ~/models/llama
  wtinspect map test --strict there.yaml model.safetensors
  wtinspect map test maps/*.yaml -R ~/models -f csv`,
		Args: arguments(1, unlimited),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
			if len(args) == 0 {
				return completeMaps(cmd, args, toComplete)
			}
			return p.completePaths(cmd, args, toComplete)
		},
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runMapTest(cmd.Context(), p, &o, args)
		}),
	}
	o.pathList.addFlags(cmd)
	o.output.addFlags(cmd, p, answer.MapTestsColumns)
	o.reading.addFlags(cmd)
	cmd.Flags().BoolVar(&o.strict, "strict", false, "refuse maps with rules that match nothing")
	return cmd
}

// namesMap reports whether an argument that may be a path is a map.
func namesMap(ctx context.Context, arg string) bool {
	if strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml") {
		return true
	}
	if inspect.IsMapFile(arg) {
		return false
	}
	if _, ok := rename.BuiltinSource(arg); ok {
		return true
	}
	from, to, ok := strings.Cut(arg, "..")
	return ok && from != "" && to != "" && !source.Exists(ctx, arg)
}

func runMapTest(ctx context.Context, p *program, o *mapTestOptions, args []string) error {
	var (
		maps            []*rename.Map
		paths           []string
		tests           []*inspect.MapTest
		faults          []inspect.Fault
		files           []string
		failed, refused bool
	)
	for i, arg := range args {
		if slices.Contains(args[:i], arg) {
			continue // once will do
		}
		if i > 0 && !namesMap(ctx, arg) {
			paths = append(paths, arg)
			continue
		}
		m, err := loadMap(ctx, arg)
		if err != nil && i == 0 && source.Exists(ctx, arg) && !namesMap(ctx, arg) {
			return fmt.Errorf("%w; the first argument is a MAP, and PATHs follow", err)
		}
		if err != nil {
			p.say("%v", err)
			faults, failed = append(faults, inspect.MapFaults(arg, err)...), true
			continue
		}
		maps = append(maps, m)
	}
	if len(paths) == 0 && o.From == "" {
		return errors.New("there is nothing to test the map on: name releases, files or indexes")
	}
	paths, err := o.paths(ctx, p, paths)
	if err != nil {
		return err
	}
	for _, path := range paths {
		in, err := o.openAny(ctx, p, []string{path})
		if err != nil {
			return err
		}
		if len(in.Checkpoints) == 0 && !inspect.IsReference(path) && !source.Exists(ctx, path) {
			p.sayMeantMap(path)
		}
		for _, c := range in.Checkpoints {
			for _, m := range maps {
				t, err := inspect.TestMap(ctx, c, m, &inspect.MapTestOptions{Strict: o.strict})
				if ctx.Err() != nil {
					in.Close()
					return ctx.Err()
				}
				if err != nil {
					in.say(p, []error{plain(err)})
					continue
				}
				refused = refused || t.Refused()
				tests = append(tests, t)
			}
		}
		for f := range in.Faults() {
			f.Checkpoint = nil // there is no list of checkpoints
			faults = append(faults, f)
		}
		files = append(files, in.Paths()...)
		named := func(c *checkpoint.Checkpoint) bool { return !c.NamesOnly() } // that has no shards is as it should be
		if slices.ContainsFunc(in.Checkpoints, named) && in.finish(ctx, p, nil) != nil || in.failed {
			failed = true
		}
		if err := in.Close(); err != nil {
			return err
		}
	}
	p.noteUnused(maps, tests)
	err = o.answer(p, append(files, mapFiles(args)...), func(w io.Writer, a answer.Options) error {
		return answer.MapTests(w, tests, faults, a)
	})
	switch {
	case err != nil:
		return err
	case failed:
		return &exitError{exitFailed}
	case refused:
		return &exitError{exitFindings}
	}
	return nil
}

// sayMeantMap asks whether what cannot be read as a path was to be a map.
func (p *program) sayMeantMap(path string) {
	if meant := template.DidYouMean(path, rename.Builtins()); meant != "" {
		p.say("hint: there is no built-in map %q, either%s", path, meant)
	}
}

// noteUnused says which rules of the maps match nothing in any of the checkpoints: of
// those that are built in, which serve many, it is no wonder.
func (p *program) noteUnused(maps []*rename.Map, tests []*inspect.MapTest) {
	for _, m := range maps {
		if !inspect.IsMapFile(m.File) {
			continue
		}
		used := make([]bool, len(m.Rules))
		var where []string
		n := 0
		for _, t := range tests {
			if t.Map != m.File {
				continue
			}
			n++
			where = where[:0]
			for i := range t.Rules {
				used[i] = used[i] || !t.Rules[i].Unused()
				where = append(where, fmt.Sprintf("%s: %s", t.Rules[i].Where, t.Rules[i].Rule))
			}
		}
		among := ""
		if n > 1 {
			among = fmt.Sprintf(" in any of the %d", n)
		}
		for i, rule := range where {
			if !used[i] {
				p.note("%s matches nothing%s", rule, among)
			}
		}
	}
}
