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
		Short: "Summarise a checkpoint: format, sizes, dtypes, shards, metadata",
		Long: `Info summarises every checkpoint under the paths (default: the current
directory): format and version, files, tensors, parameters, sizes by dtype,
architecture, quantisation, and metadata. Several checkpoints get one line
each; --long prints each in full.

Parameters are the model's: packed weights are counted as unpacked, and scales
and zero points are not counted. For long arrays in the metadata only the
length and the beginning are shown; 'wtinspect meta show PATH KEY' prints the whole
array. -v lists the files of large sets and prints every fault on stderr.`,
		Annotations: exitStatus("2  also if a file of a set is missing or broken; the rest is still summarised"),
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
	cmd.Flags().BoolVar(&o.long, "long", false, "print every checkpoint in full, even if there are several")
	return cmd
}

func runInfo(ctx context.Context, p *program, o *infoOptions, paths []string) error {
	defer saveMemoryListing()()
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
	in.notePickles(ctx, p)
	return in.finish(ctx, p, err)
}
