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
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/safetensors"
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
	// unopened says why paths could not be opened.
	unopened []checkpoint.Fault

	validated sync.WaitGroup
	faults    [][]checkpoint.Fault // of each checkpoint
}

// open opens every path it can and says what it cannot. It fails when it can
// open none.
func (r *reading) open(ctx context.Context, p *program, paths []string) (*inputs, error) {
	in, err := r.openAny(ctx, p, paths)
	if err == nil && len(in.releases) == 0 {
		return nil, &exitError{exitFailed}
	}
	return in, err
}

// openFor is open for an answer in a format. A program that asked for a JSON
// document is told in one what could not be opened, even if that is all.
func (r *reading) openFor(ctx context.Context, p *program, paths []string, f render.Format) (*inputs, error) {
	if f == render.JSON {
		return r.openAny(ctx, p, paths)
	}
	return r.open(ctx, p, paths)
}

func (r *reading) openAny(ctx context.Context, p *program, paths []string) (*inputs, error) {
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
			p.say("%v", plain(err))
			in.failed = true
			in.unopened = append(in.unopened, notOpened(path, err))
			continue
		}
		in.releases = append(in.releases, rel)
		in.checkpoints = append(in.checkpoints, rel.Checkpoints...)
	}
	return in, nil
}

// notOpened gives the error of opening a path the form of a fault.
func notOpened(path string, err error) checkpoint.Fault {
	if f, ok := errors.AsType[*checkpoint.Fault](err); ok {
		return *f
	}
	return checkpoint.Fault{
		File: path, Code: checkpoint.CodeNotOpened, Severity: checkpoint.Error, Offset: -1,
		Detail: strings.TrimPrefix(plain(err).Error(), path+": "),
	}
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
			switch {
			case p.verbose:
				p.say("%v: %v", f.Severity, f)
			case f.Severity == checkpoint.Error:
				p.note("%v", f)
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
	if f := c.IndexFault(); f != nil {
		in.failed, said[f.File] = true, true
		p.say("%v", f)
	}
	for _, f := range c.Files {
		switch {
		case f.Err != nil:
			in.failed, said[f.Path] = true, true
			p.say("%v", plain(f.Err))
		case f.Missing && !c.NamesOnly():
			in.failed, said[f.Path] = true, true
			p.say("%s: the file is missing; the rest of the set is read without it", f.Path)
		}
	}
	var (
		errs, warnings int
		unlisted       bool
		first          *checkpoint.Fault
	)
	for i := range faults {
		f := &faults[i]
		if said[f.File] || !p.verbose && f.Code == unsafePath {
			continue
		}
		if f.Code == checkpoint.CodeMissingShard && !c.NamesOnly() {
			in.failed = true // a shard that only the index speaks of
		}
		if p.verbose {
			p.say("%v: %v", f.Severity, f)
		}
		unlisted = unlisted || f.Hint == safetensors.HintMore
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
		switch {
		case len(more) == 0:
			p.note("%v", first)
		case unlisted:
			p.note("%v (and more than %s; -v shows the first of each kind)", first, strings.Join(more, ", "))
		default:
			p.note("%v (and %s; -v shows all)", first, strings.Join(more, ", "))
		}
	}
}

// unsafePath is the code of a shard that is never opened: its file has said so.
const unsafePath = string(safetensors.CodeUnsafePath)

// plain is an error of the file system as other errors are: the path first, and
// not the system call.
func plain(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
}
