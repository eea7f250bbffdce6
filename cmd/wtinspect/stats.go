package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
)

type statsOptions struct {
	pathList
	reading
	selection
	output
	progress
	quantiles bool
	histogram bool
	byLayer   bool
	sample    string
}

func newStats(p *program) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:   "stats [PATH...]",
		Short: "Measure the tensors' values: range, mean, spread, NaN, quantiles",
		Long: `Stats reads the values of every tensor and prints their count, range,
mean, standard deviation, norm and quantiles, and how many are zero,
subnormal, infinite or NaN. All figures except the quantiles of F32 and 64-bit
types are exact, with any number of workers.

Range, mean, deviation, norm and quantiles cover only the
finite numbers. Block-quantised types are decoded.

--by-layer puts the tensors with the same role in every layer on one
line, with their deviation from the first layer to the last, and lists
the layers that stand out.`,
		Annotations: exitStatus("2  also if a tensor cannot be read or its type has no numbers; the rest is still printed"),
		Example: `  wtinspect stats model.safetensors
  wtinspect stats --by-layer .
  wtinspect stats --sample 5% --histogram --match '*.ffn_*' model.gguf
  wtinspect stats -f jsonl . | jq -r 'select(.nan > 0).name'`,
		ValidArgsFunction: p.completePaths,
		RunE: o.work(p, func(cmd *cobra.Command, paths []string) error {
			return runStats(cmd.Context(), p, &o, paths)
		}),
	}
	o.pathList.addFlags(cmd)
	o.output.addFlags(cmd, p, o.heads)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.quantiles, "quantiles", false, "show the quantiles, also of block-quantised tensors, which takes several times as long")
	f.BoolVar(&o.histogram, "histogram", false, "draw the distribution of the values from the least to the greatest")
	f.BoolVar(&o.byLayer, "by-layer", false, "print one line for the tensors with the same role in every layer")
	f.StringVar(&o.sample, "sample", "", "read `N%` of each tensor, in blocks spread evenly over it")
	return cmd
}

// heads describes the columns of the table that is asked for.
func (o *statsOptions) heads(a answer.Options) []render.Column {
	if o.byLayer {
		return answer.LayersColumns(a)
	}
	return answer.StatsColumns(a)
}

// bins is the number of intervals of a histogram: enough for a shape, few
// enough for a line.
const bins = 16

// part returns the part of each tensor that --sample asks for, 0 for all.
func (o *statsOptions) part() (float64, error) {
	if o.sample == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(o.sample, "%"), 64)
	if err != nil || !(n > 0 && n <= 100) {
		return 0, fmt.Errorf("--sample %s: it must be a percentage above 0 and up to 100", o.sample)
	}
	return n / 100, nil
}

func runStats(ctx context.Context, p *program, o *statsOptions, paths []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	part, err := o.part()
	if err != nil {
		return err
	}
	if o.byLayer && (o.quantiles || o.histogram) {
		return errors.New("--by-layer has neither --quantiles nor --histogram: they cannot be put together from those of several tensors")
	}
	in, err := o.open(ctx, p, paths)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := o.jobMeter(p, "stats")
	opts := inspect.StatsOptions{Select: o.Selection, Workers: o.workers, Quantiles: o.quantiles, Sample: part, Progress: bar.update}
	if o.histogram {
		opts.Bins = bins
	}
	stats, err := inspect.Stats(ctx, in.Set, &opts)
	bar.end()
	if err != nil {
		return err
	}
	in.say(p, stats.Errors())
	if n := stats.Quantised; n > 0 {
		p.note("note: %s %s quantised: the figures are for the stored values, without their scales", plural.Of(n, "tensor"), plural.Verb(n, "are"))
	}
	print := answer.Stats
	if o.byLayer {
		print = answer.Layers
	}
	err = o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error {
		return print(w, stats, answer.StatsOptions{Options: a, Quantiles: o.quantiles, Histogram: o.histogram})
	})
	o.noteNone(p, len(stats.Tensors), err)
	return in.finish(ctx, p, err)
}
