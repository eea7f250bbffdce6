package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// A reading is how a command opens what it reads.
type reading struct {
	recursive bool
	workers   int
}

func (r *reading) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&r.recursive, "recursive", "R", false, "descend into subdirectories")
	cmd.Flags().IntVarP(&r.workers, "jobs", "j", 0, "open `N` files at once (default: as many as there are processors, at least 4)")
}

// inputs are the checkpoints that a command was given, judged in the
// background while they are printed.
type inputs struct {
	releases    []*checkpoint.Release
	checkpoints []*checkpoint.Checkpoint
	// failed says that something could not be read: a path, a file of a set.
	failed bool

	validated sync.WaitGroup
	faults    [][]checkpoint.Fault // of each checkpoint
}

// open opens every path it can and says what it cannot.
func (r *reading) open(ctx context.Context, p *program, paths []string) (*inputs, error) {
	if r.workers < 0 {
		return nil, fmt.Errorf("-j %d: the number of files to open at once cannot be negative", r.workers)
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	in := &inputs{}
	for _, path := range paths {
		p.warnPending(path)
		rel, err := checkpoint.Open(ctx, path, &checkpoint.Options{Recursive: r.recursive, Workers: r.workers})
		if ctx.Err() != nil {
			in.close()
			return nil, ctx.Err()
		}
		if err != nil {
			p.say("%v", err)
			in.failed = true
			continue
		}
		in.releases = append(in.releases, rel)
		in.checkpoints = append(in.checkpoints, rel.Checkpoints...)
	}
	if len(in.releases) == 0 {
		return nil, &exitError{exitFailed}
	}
	return in, nil
}

func (in *inputs) close() {
	for _, r := range in.releases {
		r.Close()
	}
}

// validate begins to judge every checkpoint.
func (in *inputs) validate() {
	in.faults = make([][]checkpoint.Fault, len(in.checkpoints))
	in.validated.Go(func() {
		for i, c := range in.checkpoints {
			in.faults[i] = c.Validate()
		}
	})
}

// paths lists the files of the inputs.
func (in *inputs) paths() []string {
	var out []string
	for _, c := range in.checkpoints {
		if c.Index != "" {
			out = append(out, c.Index)
		}
		for _, f := range c.Files {
			out = append(out, f.Path)
		}
	}
	return out
}

// finish ends a command whose answer is written, or was not because of err. It
// says on stderr what validate found: what could not be read one by one, the
// rest in one line a checkpoint, and with -v everything.
func (in *inputs) finish(p *program, err error) error {
	in.validated.Wait()
	if err := written(err); err != nil {
		return err
	}
	for _, r := range in.releases {
		for _, f := range r.Faults {
			if p.verbose || f.Severity == checkpoint.Error {
				p.note("%v: %v", f.Severity, f)
			}
		}
	}
	for i, c := range in.checkpoints {
		in.reportCheckpoint(p, c, in.faults[i])
	}
	if in.failed {
		return &exitError{exitFailed}
	}
	return nil
}

func (in *inputs) reportCheckpoint(p *program, c *checkpoint.Checkpoint, faults []checkpoint.Fault) {
	said := make(map[string]bool)
	for _, f := range c.Files {
		switch {
		case f.Err != nil:
			in.failed, said[f.Path] = true, true
			p.say("%v", f.Err)
		case f.Missing && !c.NamesOnly():
			in.failed, said[f.Path] = true, true
			p.say("%v", &fs.PathError{Op: "open", Path: f.Path, Err: errMissing})
		}
	}
	var (
		errs, warnings int
		first          *checkpoint.Fault
	)
	for i := range faults {
		f := &faults[i]
		if said[f.File] {
			continue
		}
		if f.Code == checkpoint.CodeMissingShard && !c.NamesOnly() {
			in.failed = true // a shard that only the index speaks of
		}
		if p.verbose {
			p.say("%v: %v", f.Severity, f)
		}
		switch f.Severity {
		case checkpoint.Error:
			errs++
			if first == nil {
				first = f
			}
		case checkpoint.Warning:
			warnings++
		}
	}
	if errs > 0 && !p.verbose {
		var more []string
		if errs > 1 {
			more = append(more, counted(errs-1, "more error"))
		}
		if warnings > 0 {
			more = append(more, counted(warnings, "warning"))
		}
		if len(more) == 0 {
			p.note("%v", first)
		} else {
			p.note("%v (and %s; -v shows all)", first, strings.Join(more, ", "))
		}
	}
}

var errMissing = errors.New("the file is missing; the rest of the set is read without it")
