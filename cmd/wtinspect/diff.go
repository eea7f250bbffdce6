package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

type diffOptions struct {
	reading
	selection
	output
	progress
	headers     bool
	mapName     string
	writeMap    string
	stat        bool
	nameOnly    bool
	weightsOnly bool
	flat        bool
	tolerance   float64
	strict      bool
}

// autoMap is the value of --map that stands for the conventions of both.
const autoMap = "auto"

func newDiff(p *program) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two checkpoints, and see through renames",
		Long: `Diff pairs the tensors of two checkpoints by name, then by content, then
by role, and reports which are renamed, changed, of another dtype or shape,
or only in one of them. Renames are reported as the rules of a map; --write-map
writes that map if the contents prove it.

Values are compared byte by byte; if two tensors differ, they are read again to
find the greatest difference, the relative root mean square and the cosine.
--headers reads no values.

The last line is the verdict: same bytes, same values in another dtype or container, faithful
(no number differs by more than the rounding of its dtype explains), changed, or other (not
the same model). The tensors that decide the verdict come first.

If the formats, the projects' conventions or the layouts of the weights
are different, diff works as with --map auto: it compares one checkpoint as
if it were converted to the convention of the other, whichever comes
first. Within one project, another name is a difference. A tensor that the other project
has no place for is listed with the reason, and is not a difference.`,
		Annotations: exitStatus("0  same, same values or faithful; with --strict, same", "1  they differ"),
		Example: `  wtinspect diff before/ after/
  wtinspect diff --write-map yi-to-llama.yaml yi/ llama/
  wtinspect diff --headers a.safetensors b.safetensors
  wtinspect diff model/ model-q8_0.gguf
  wtinspect diff --stat --weights-only base/ tuned/`,
		Args:              arguments(2, 2),
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd, p, answer.DiffColumns)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.headers, "headers", false, "compare names, dtypes and shapes; read no values")
	f.StringVar(&o.mapName, "map", "", "rename A's tensors first: a `FILE`, a built-in map, or auto to use the conventions of both")
	f.StringVar(&o.writeMap, "write-map", "", "write the map that explains the renamed tensors to `FILE`")
	f.BoolVar(&o.stat, "stat", false, "print only counts, how similar matrices are, and the verdict")
	f.Float64Var(&o.tolerance, "tolerance", 0, "count tensors as faithful up to the relative error `X`, whatever their dtypes")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 unless every tensor has the same bytes")
	f.BoolVar(&o.nameOnly, "name-only", false, "print only the names of the tensors that differ")
	f.BoolVar(&o.weightsOnly, "weights-only", false, "leave out metadata and config.json")
	f.BoolVar(&o.flat, "flat", false, "do not fold layers")
	return cmd
}

func runDiff(ctx context.Context, p *program, o *diffOptions, args []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	if o.writeMap != "" && o.headers {
		return errors.New("--write-map proves the map by what the tensors hold; leave out --headers")
	}
	if (o.stat || o.nameOnly) && (o.Format() != render.TableFormat || o.stat && o.nameOnly) {
		return errors.New("--stat and --name-only are forms of the table: choose one of them, without -f")
	}
	if !(o.tolerance >= 0) || math.IsInf(o.tolerance, 0) {
		return fmt.Errorf("--tolerance %g: it must be a number of at least 0", o.tolerance)
	}
	opts := inspect.DiffOptions{
		Select: o.Selection, Headers: o.headers, Auto: o.mapName == autoMap, WeightsOnly: o.weightsOnly, All: p.verbose, Workers: o.workers,
		One: o.writeMap != "", Tolerance: o.tolerance,
	}
	if o.mapName != "" && o.mapName != autoMap {
		var err error
		if opts.Map, err = loadMap(ctx, o.mapName); err != nil {
			return err
		}
	}
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.Close()
	if in.failed {
		return &exitError{exitFailed}
	}
	var stage string
	bar := &jobMeter{start: func(total int64) *meter { return o.meter(p, stage, total) }}
	opts.Progress = func(what string, done, total int64) {
		if done == 0 {
			stage = what
		}
		bar.update(done, total)
	}
	res, err := inspect.Diff(ctx, in.Set, &opts)
	bar.end()
	if err != nil {
		return err
	}
	compared := 0
	for _, c := range res.Comparisons {
		compared += len(c.Rows)
		for _, note := range c.Notes {
			p.note("%s", note)
		}
	}
	in.say(p, res.Errors())
	if o.writeMap != "" {
		if err := writeProven(p, o.writeMap, res.Comparisons[0], in.Paths()); err != nil {
			return err
		}
	}
	err = o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error {
		return answer.Diff(w, res, answer.DiffOptions{Options: a, Stat: o.stat, NameOnly: o.nameOnly, Flat: o.flat})
	})
	o.noteNone(p, compared, err)
	verdict := res.Verdict
	if err = in.finish(ctx, p, err); err == nil && (verdict.Differs() || o.strict && verdict != inspect.VerdictSame) {
		return &exitError{exitFindings}
	}
	return err
}

// writeProven writes the map that explains the renamed tensors, when their contents
// prove every rule of it.
func writeProven(p *program, path string, c *inspect.Comparison, inputs []string) error {
	m, unproven := c.Map()
	if unproven > 0 {
		p.say("%s: %s left out: no tensor has the same contents under both names", path, counted(unproven, "rule"))
	}
	return writeMap(p, &output{path: path}, m, inputs)
}
