package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
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
the SHA-256 of their data, as JSON with one line per tensor. Put it beside the weights as
wtinspect.lock.json, or give it to 'wtinspect check --against'.

It goes to stdout unless -o names a file. The other formats than json list the
tensors, and are no lock.`,
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
	o.output.addFlagsFrom(cmd, render.JSON)
	o.reading.addFlags(cmd)
	o.progress.addFlags(cmd)
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
	lock, err := inspect.Lock(ctx, path, &inspect.LockOptions{Recursive: o.recursive, Digests: o.digests, Workers: o.workers, Progress: bar.update})
	bar.end()
	if err != nil {
		return err
	}
	err = o.output.write(p, lock.Files, func(w io.Writer, s render.Style) error {
		if o.output.Format() == render.JSON {
			return lock.Write(w)
		}
		return lockTable(lock).Write(w, o.output.Format(), s)
	})
	if err != nil {
		return written(err)
	}
	if kept {
		p.note("%s: %s of %s; check holds the release to it from now on", o.output.path, counted(lock.Tensors(), "tensor"), counted(len(lock.Checkpoints), "checkpoint"))
	}
	return nil
}

// lockTable has a row a tensor, for people and for other programs than check.
func lockTable(lock *inspect.LockResult) *render.Table {
	type row struct {
		checkpoint string
		*inspect.LockedTensor
	}
	return render.Columns[row]{
		{Key: "checkpoint", Title: "CHECKPOINT", Cut: render.CutMiddle, Cell: func(c *render.Cell, r row) { c.Text(r.checkpoint) }},
		{Key: "name", Title: "NAME", Cut: render.CutMiddle, Cell: func(c *render.Cell, r row) { c.Text(r.Name) }},
		{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, r row) { c.Text(r.DType) }},
		{Key: "shape", Title: "SHAPE", Cell: func(c *render.Cell, r row) { c.Shape(r.Shape) }},
		{Key: "sha256", Title: "SHA256", Cell: func(c *render.Cell, r row) { c.Some(r.SHA256) }},
	}.Table(func(yield func(row) bool) {
		for _, checkpoint := range lock.Checkpoints {
			for t := range pointers(checkpoint.Tensors) {
				if !yield(row{checkpoint.Path, t}) {
					return
				}
			}
		}
	})
}
