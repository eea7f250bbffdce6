package main

import (
	"cmp"
	"context"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/render"
)

type lockOptions struct {
	reading
	output  output
	digests bool
	progress
}

func newLock(p *program) *cobra.Command {
	var o lockOptions
	cmd := &cobra.Command{
		Use:   "lock [PATH]",
		Short: "Write the contract that a later release is held to",
		Long: `Lock writes the names, dtypes and shapes of a release's tensors, and with --digests
the SHA-256 of their data, as JSON with a line a tensor. Put it beside the weights as
wtinspect.lock.json, or give it to 'wtinspect check --against'.

It goes to stdout unless -o names a file.`,
		Annotations: exitStatus("2  also when a file of the release is missing or broken"),
		Example: `  wtinspect lock -o wtinspect.lock.json
  wtinspect lock --digests release > v1.json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runLock(cmd.Context(), p, &o, args)
		}),
	}
	cmd.Flags().BoolVar(&o.digests, "digests", false, "read all data and write its digests")
	cmd.Flags().StringVarP(&o.output.path, "output", "o", "", "write to `PATH` instead of stdout, whole or not at all")
	o.reading.addFlags(cmd)
	o.progress.addFlags(cmd)
	return cmd
}

func runLock(ctx context.Context, p *program, o *lockOptions, args []string) error {
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.Close()
	rel := in.Releases[0]
	// What is not there cannot be promised.
	broken := false
	for _, c := range rel.Checkpoints {
		for _, f := range c.Files {
			if f.Err != nil || f.Missing {
				p.say("%s: missing or broken; a lock is of a whole release", cmp.Or(f.Path, f.Name))
				broken = true
			}
		}
	}
	if broken {
		return &exitError{exitFailed}
	}
	total := int64(0)
	if o.digests {
		total = dataBytes(rel)
	}
	bar := o.meter(p, "hashing", total)
	lock, err := check.NewLock(ctx, rel, o.digests, bar.add)
	bar.end()
	if err != nil {
		return err
	}
	if err := o.output.write(p, in.Paths(), func(w io.Writer, _ render.Style) error {
		_, err := lock.WriteTo(w)
		return err
	}); err != nil {
		return written(err)
	}
	if name := o.output.path; name != "" && filepath.Base(name) == check.LockName {
		p.note("%s: %s of %s; check holds the release to it from now on", name, counted(countTensors(rel), "tensor"), counted(len(rel.Checkpoints), "checkpoint"))
	}
	return nil
}

func countTensors(rel *checkpoint.Release) int {
	n := 0
	for _, c := range rel.Checkpoints {
		n += c.Len()
	}
	return n
}
