package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/report"
	"github.com/wtinspect/wtinspect/rename"
)

type fixOptions struct {
	judging
	destination   string
	inPlace       bool
	dryRun, check bool
	force         bool
	form          string
	inverse       string
	columnList
	progress
}

func newFix(p *program) *cobra.Command {
	var o fixOptions
	cmd := &cobra.Command{
		Use:   "fix [PATH]",
		Short: "Fix the findings of check that can be fixed automatically",
		Long: `Fix fixes the findings that check marks [fix]: it rebuilds the index or corrects
its totals, renames tensors, drops buffers and heads that repeat the
embedding, sets format: pt, writes spaces over NUL padding, and moves
stale files aside. Each fix is named after its rule: 'wtinspect explain RULE'.

Without a destination it prints the plan and writes nothing. --in-place changes
the files themselves, one fix after the other, each all or nothing; -o
writes a fixed copy, which gets its name only when it is complete. Findings
of severity info are fixed only if --select names them.`,
		Annotations: exitStatus(
			"1  with --check, something would be fixed",
			"2  also if a fix fails",
		),
		Example: `  wtinspect fix release/
  wtinspect fix --in-place release/
  wtinspect fix --select WT402,WT408 -o clean/ release/`,
		Args:              arguments(0, 1),
		ValidArgsFunction: p.completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.inPlace && o.destination != "":
				return errors.New("-o and --in-place cannot be used together")
			case o.destination == "-":
				return errors.New("-o -: a release is written to a directory, not to stdout")
			}
			path := "."
			if len(args) > 0 {
				path = args[0]
			}
			return p.work(func(cmd *cobra.Command, _ []string) error {
				return runFix(cmd.Context(), p, &o, path)
			})(cmd, args)
		},
	}
	f := cmd.Flags()
	o.judging.addFlags(cmd)
	f.BoolVar(&o.inPlace, "in-place", false, "change the files themselves")
	f.StringVarP(&o.destination, "output", "o", "", "write a fixed copy to `DST`, a directory or, for one file, a file")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "print what would be done; write nothing")
	f.BoolVar(&o.check, "check", false, "like --dry-run, and exit with 1 if something would be fixed")
	f.BoolVar(&o.force, "force", false, "allow changing a link in place; never the loss of a tensor")
	f.StringVar(&o.inverse, "write-inverse", "", "write the map that undoes the renames to `FILE`, for 'wtinspect rename --map'")
	group(f, "Writing", "in-place", "output", "dry-run", "check", "force", "write-inverse")
	addFormat(cmd, &o.form, "output format: table or json", "table", "json")
	o.columnList.addFlag(cmd, p, &o.form, answer.RenameColumns)
	f.IntVarP(&o.workers, "jobs", "j", 0, "open `N` files at once (default: one per processor, at least 4)")
	group(f, "Reading", "jobs")
	o.progress.addFlags(cmd)
	return cmd
}

func runFix(ctx context.Context, p *program, o *fixOptions, path string) error {
	if o.workers < 0 {
		return fmt.Errorf("-j %d: the number of files to open at once cannot be negative", o.workers)
	}
	bar := o.jobMeter(p, "fixing")
	opts := &inspect.FixOptions{RuleChoice: o.choice(p), Force: o.force, Workers: o.workers, Progress: bar.update, Guard: p.winding}
	if !o.dryRun && !o.check {
		opts.InPlace, opts.Output = o.inPlace, o.destination
	}
	if !opts.InPlace && opts.Output == "" {
		p.warnPending(path)
	}
	r, err := inspect.Fix(ctx, path, opts)
	bar.end()
	if r.Recovered != "" && r.Recovered != rewrite.Nothing {
		p.note("%s: an interrupted rewrite is now %s", path, r.Recovered)
	}
	if e, ok := errors.AsType[*rewrite.RecoveryError](err); ok {
		return fmt.Errorf("%w\n%s", err, pendingAdvice(e.Dir))
	}
	if err != nil {
		return err
	}
	if o.inverse != "" && r.Written != nil && r.Inverse != nil {
		file := output{path: o.inverse}
		if err := file.write(p, nil, func(w io.Writer, _ render.Style) error { return rename.Write(w, r.Inverse) }); err != nil {
			return err
		}
	}
	left := ""
	if r.Left != nil {
		left = report.Summary(r.Left)
	}
	err = answer.Fix(p.stdout, inspect.ShownReference(path), r, left, answer.Options{Format: render.Format(o.form), Style: o.of(p.style())})
	if written(err) != nil {
		return err
	}
	if o.check && len(r.Fixes) > 0 {
		return &exitError{exitFindings}
	}
	return nil
}
