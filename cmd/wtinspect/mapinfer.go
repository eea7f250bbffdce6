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
	"github.com/wtinspect/wtinspect/internal/render"
)

type mapInferOptions struct {
	mapOutput
	progress
	reading
	converting
	ref       string
	assume    []string
	namesOnly bool
}

// yamlFormat is the form of a map as it is applied.
const yamlFormat = "yaml"

func newMapInfer(p *program) *cobra.Command {
	var o mapInferOptions
	cmd := &cobra.Command{
		Use:   "infer A [B]",
		Short: "Work out the map from one checkpoint's names to another's",
		Long: `Infer works out and prints the map that gives the tensors of A the names of B or, with
--to, the names of a convention. A comment above the rules gives the reason for
them: proven (the weights are equal), measured (they are similar), forced (nothing else
fits), named (the names say it), or guess.

If both have weights, it compares a few rows of them, also on other machines.
With --to, use --ref to give weights to compare with: those of a related model
with the new names. --names-only reads no weights. Names alone, as in an index without
its shards, are often enough.

Whatever cannot be decided becomes a question in the map, and 'wtinspect rename'
refuses a map with questions. To answer one, write the answer into the map and run
the same command again with the same -o, or use --assume. Otherwise an existing
file is replaced only with --force.`,
		Annotations: exitStatus(
			"1  something is undecided: a question, a contradiction, or tensors on both sides without a counterpart",
			"2  also if there is no map: A has another architecture or size than B"),
		Example: `  wtinspect map infer ~/models/yi --to llama-hf
  wtinspect map infer -o names.yaml before/ after/
  wtinspect map infer --names-only -f table ~/models/yi ~/models/llama
  wtinspect map infer ~/models/yi --to llama-hf --ref ~/models/llama`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := arguments(1, 2)(cmd, args); err != nil {
				return err
			}
			return o.usage(args)
		},
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runMapInfer(cmd.Context(), p, &o, args)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.to, "to", "", "give A the names of this `CONVENTION` or project, instead of B's")
	f.StringVar(&o.ref, "ref", "", "with --to, compare with these `WEIGHTS`, which have the new names")
	f.StringVar(&o.config, "config", "", "the `FILE` with A's numbers of heads and so on, instead of the config.json beside the weights")
	f.StringArrayVar(&o.assume, "assume", nil, "answer a question: `OLD=NEW`, patterns of modules or their last words (repeatable)")
	f.BoolVar(&o.namesOnly, "names-only", false, "read no weights")
	for flag, complete := range map[string]cobra.CompletionFunc{"to": completeConventions, "ref": p.completePaths, "assume": p.completeAssumptions(&o)} {
		if err := cmd.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(err) // the flag does not exist
		}
	}
	addFormat(cmd, &o.format, "output format: yaml, table or json", yamlFormat, string(render.TableFormat), string(render.JSON))
	o.columnList.addFlag(cmd, p, &o.format, answer.InferColumns)
	o.mapOutput.addFlags(cmd)
	o.addSubtree(cmd)
	f.IntVarP(&o.workers, "jobs", "j", 0, "read `N` tensors at once (default: one per processor)")
	group(f, "Reading", "jobs")
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

// usage finds arguments that contradict each other.
func (o *mapInferOptions) usage(args []string) error {
	switch {
	case len(args) == 2 && o.to != "":
		return errors.New("the new names are those of B or those of --to, not both")
	case len(args) == 1 && o.to == "":
		return errors.New("new names are needed: those of a checkpoint B, or of --to CONVENTION; 'wtinspect map list' shows the conventions")
	case o.ref != "" && o.to == "":
		return errors.New("--ref goes with --to; B has weights of its own")
	case o.ref != "" && o.namesOnly:
		return errors.New("--ref names weights to read, and --names-only reads none")
	case o.workers < 0:
		return fmt.Errorf("-j %d: the number of tensors to read at once cannot be negative", o.workers)
	}
	return nil
}

func runMapInfer(ctx context.Context, p *program, o *mapInferOptions, args []string) error {
	opts := &inspect.InferMapOptions{To: o.to, NamesOnly: o.namesOnly, Workers: o.workers}
	for _, text := range o.assume {
		from, to, ok := strings.Cut(text, "=")
		if !ok || from == "" || to == "" {
			return fmt.Errorf("--assume %s: write OLD=NEW, as in 'w1=up'", text)
		}
		opts.Assume = append(opts.Assume, inspect.Assumption{From: from, To: to})
	}
	paths := slices.Clone(args)
	if o.ref != "" {
		paths = append(paths, o.ref)
	}
	var files []string
	var all []*inputs
	var checkpoints []*checkpoint.Checkpoint
	for _, path := range paths {
		in, err := (&reading{subtree: o.subtree}).open(ctx, p, []string{path})
		if err != nil {
			return err
		}
		defer in.Close()
		c, err := in.one(path, "mapped")
		if err != nil {
			return err
		}
		all, checkpoints, files = append(all, in), append(checkpoints, c), append(files, in.Paths()...)
	}
	if o.path != "" && o.path != "-" && o.format == yamlFormat {
		answers, err := inspect.Answers(ctx, o.path, checkpoints[0].Path)
		if _, other := errors.AsType[*inspect.ExistingMapError](err); err != nil && !(other && o.force) {
			return err
		}
		for _, a := range answers {
			if !slices.ContainsFunc(opts.Assume, func(o inspect.Assumption) bool { return o.From == a.From && o.To == a.To }) {
				opts.Assume = append(opts.Assume, a)
			}
		}
	}
	var err error
	if opts.Model, err = o.model(ctx, checkpoints[0]); err != nil {
		return err
	}
	var b *checkpoint.Checkpoint
	switch {
	case o.ref != "":
		opts.Ref = checkpoints[1]
	case len(checkpoints) == 2:
		b = checkpoints[1]
	}
	bar := o.meter(p, "weights", unknownTotal)
	defer bar.end()
	opts.Progress = bar.add
	r, err := inspect.InferMap(ctx, checkpoints[0], b, opts)
	bar.end()
	if err != nil {
		for i, in := range all {
			if checkpoints[i].Len() > 0 {
				continue
			}
			// A file that cannot be read is what is wrong.
			if failed := in.finish(ctx, p, nil); failed != nil {
				return failed
			}
		}
		return err
	}
	return o.print(ctx, p, r, all, files)
}

// print writes the map and says what is left to do.
func (o *mapInferOptions) print(ctx context.Context, p *program, r *inspect.InferMapResult, all []*inputs, files []string) error {
	var err error
	if o.format == yamlFormat {
		say := p.note
		if r.Refused != nil {
			say = p.say // without it nothing at all
		}
		for _, line := range answer.InferNotes(r, p.verbose) {
			say("%s", line)
		}
		if r.Refused == nil {
			err = writeMapText(p, &o.output, r.Text, files)
		}
	} else {
		err = o.answer(p, files, func(w io.Writer, a answer.Options) error { return answer.InferMap(w, r, a) })
	}
	for _, in := range all {
		err = errors.Join(err, in.finish(ctx, p, nil))
	}
	switch {
	case err != nil:
		return err
	case r.Refused != nil:
		return &exitError{exitFailed}
	case !r.Complete:
		return &exitError{exitFindings}
	}
	return nil
}

// completeAssumptions completes the old module of an answer by the tensors of A, and the
// new one by those of B: their last words.
func (p *program) completeAssumptions(o *mapInferOptions) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
		from, word, right := strings.Cut(toComplete, "=")
		side, prefix := 0, ""
		if right {
			side, prefix = 1, from+"="
		} else {
			word = from
		}
		paths := slices.Clone(args)
		if o.ref != "" {
			paths = append(paths, o.ref)
		}
		if len(paths) <= side {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var words []string
		for _, w := range lastWords(cmd.Context(), paths[side]) {
			if strings.HasPrefix(w, word) {
				words = append(words, prefix+w)
			}
		}
		directive := cobra.ShellCompDirectiveNoFileComp
		if !right {
			directive |= cobra.ShellCompDirectiveNoSpace
			for i := range words {
				words[i] += "="
			}
		}
		return words, directive
	}
}

// lastWords are the last segments of the modules at path, each once.
func lastWords(ctx context.Context, path string) []string {
	rel, err := checkpoint.Open(ctx, path, nil)
	if err != nil {
		return nil
	}
	defer rel.Close()
	seen := make(map[string]bool)
	var words []string
	for _, c := range rel.Checkpoints {
		for _, t := range c.All() {
			module := t.Name
			if dot := strings.LastIndexByte(module, '.'); dot > 0 {
				module = module[:dot]
			}
			word := module[strings.LastIndexByte(module, '.')+1:]
			if !seen[word] && word != "" && !strings.ContainsFunc(word, func(r rune) bool { return r <= ' ' || r == '\\' || r == '=' }) {
				word = strings.Clone(word)
				seen[word] = true
				words = append(words, word)
			}
		}
	}
	slices.Sort(words)
	return words
}
