package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
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
		Short: "Write a contract to check later releases against",
		Long: `Lock writes the names, dtypes and shapes of a release's tensors, and with --digests
the SHA-256 of their data, as JSON with one line per tensor. Put the file beside the weights
as wtinspect.lock.json, or pass it to 'wtinspect check --against'.

It goes to stdout unless -o names a file. Formats other than json list the
tensors, but are not locks.`,
		Annotations: exitStatus("2  also if a file of the release is missing or broken"),
		Example: `  wtinspect lock -o wtinspect.lock.json
  wtinspect lock --digests release > v1.json`,
		Args:              arguments(0, 1),
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runLock(cmd.Context(), p, &o, args)
		}),
	}
	cmd.Flags().BoolVar(&o.digests, "digests", false, "read all data and add its digests")
	o.output.addFlagsFrom(cmd, render.JSON)
	o.output.columnList.addFlag(cmd, p, &o.output.format, answer.LockColumns)
	o.reading.addFlags(cmd)
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

func runLock(ctx context.Context, p *program, o *lockOptions, args []string) error {
	if o.workers < 0 {
		return fmt.Errorf("-j %d: the number of files to open at once cannot be negative", o.workers)
	}
	path := "."
	if len(args) > 0 {
		path = args[0]
	}
	kept := filepath.Base(o.output.path) == inspect.LockName
	if kept && o.output.Format() != render.JSON {
		return fmt.Errorf("-o %s: check reads a lock as JSON; write it with -f json", o.output.path)
	}
	p.warnPending(path)
	bar := o.jobMeter(p, "hashing")
	lock, err := inspect.Lock(ctx, path, &inspect.LockOptions{Recursive: o.recursive, Subtree: o.subtree, Digests: o.digests, Workers: o.workers, Progress: bar.update})
	bar.end()
	if err != nil {
		return err
	}
	err = o.output.answer(p, lock.Files, func(w io.Writer, a answer.Options) error { return answer.Lock(w, lock, a) })
	if err != nil {
		return err
	}
	if kept {
		p.note("%s: %s of %s; check holds the release to it from now on", o.output.path, counted(lock.Tensors(), "tensor"), counted(len(lock.Checkpoints), "checkpoint"))
	}
	return nil
}
