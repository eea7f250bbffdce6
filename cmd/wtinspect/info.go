package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
)

type infoOptions struct {
	pathList
	reading
	output
	long bool
}

func newInfo(p *program) *cobra.Command {
	var o infoOptions
	cmd := &cobra.Command{
		Use:   "info [PATH...]",
		Short: "Sum up a checkpoint: format, sizes, dtypes, shards, metadata",
		Long: `Info sums up every checkpoint under the paths, the current directory when there
is none: format and version, files, tensors, parameters, sizes by dtype,
architecture, quantisation, and the metadata. Several checkpoints are a line
each; --long prints each in full.

Parameters are those of the model: packed weights count what they unpack to,
and scales and zero points are not counted. Long arrays in the metadata are
shown by their length and beginning; 'wtinspect meta show PATH KEY' prints one
whole. -v lists the files of large sets and prints every fault on stderr.`,
		Annotations: exitStatus("2  also when a file of a set is missing or broken; the rest is summed up"),
		Example: `  wtinspect info
  wtinspect info model.gguf
  wtinspect info -f csv models/*.gguf
  wtinspect info -f json . | jq '.checkpoints[].parameters'`,
		ValidArgsFunction: p.completePaths,
		RunE: o.work(p, func(cmd *cobra.Command, paths []string) error {
			return runInfo(cmd.Context(), p, &o, paths)
		}),
	}
	o.pathList.addFlags(cmd)
	o.output.addFlags(cmd, p, answer.InfoColumns)
	o.reading.addFlags(cmd)
	cmd.Flags().BoolVar(&o.long, "long", false, "print every checkpoint in full; several are a line each without it")
	return cmd
}

func runInfo(ctx context.Context, p *program, o *infoOptions, paths []string) error {
	defer saveMemory()()
	in, err := o.openFor(ctx, p, paths, o.Format())
	if err != nil {
		return err
	}
	defer in.Close()
	infos, err := inspect.Info(ctx, in.Set, nil)
	if err != nil {
		return err
	}
	err = o.answer(p, in.Paths(), func(w io.Writer, a answer.Options) error {
		return answer.Info(w, infos, answer.InfoOptions{Options: a, Long: o.long})
	})
	in.notePickles(p)
	return in.finish(ctx, p, err)
}
