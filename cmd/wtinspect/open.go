package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/argv"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A reading is how a command opens what it reads.
type reading struct {
	recursive bool
	workers   int
	noConfig  bool
	filesOnly bool
	subtree   string
	// leaveMembers is for what reads all bytes; see [checkpoint.Options].
	leaveMembers bool
	// opened is told of tensors while the rest is being opened; see [inspect.OpenOptions].
	opened func(k int, c *checkpoint.Checkpoint, tensors iter.Seq2[int, checkpoint.Tensor]) error
}

func (r *reading) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&r.recursive, "recursive", "R", false, "descend into subdirectories")
	defer group(cmd.Flags(), "Reading", "recursive", "jobs")
	r.addSubtree(cmd)
	cmd.Flags().IntVarP(&r.workers, "jobs", "j", 0, "open `N` files at once (default: one per processor, at least 4)")
}

// addSubtree adds the flag that chooses a part of PyTorch files.
func (r *reading) addSubtree(cmd *cobra.Command) {
	cmd.Flags().StringVar(&r.subtree, "subtree", "", "read the part of a PyTorch file at these `KEYS`, such as state_dict, or . for all (default: the part with all tensors except an optimiser's)")
	group(cmd.Flags(), "Reading", "subtree")
}

// addWorkFlags is addFlags for commands that read all of the data.
func (r *reading) addWorkFlags(cmd *cobra.Command) {
	r.addFlags(cmd)
	cmd.Flags().Lookup("jobs").Usage = "work on `N` tensors at once (default: one per processor)"
}

// inputs are the checkpoints that a command was given.
type inputs struct {
	*inspect.Set
	// failed says that something could not be read: a path, a file of a set.
	failed bool
	said   map[string]bool // by say
}

// open opens every path it can and says what it cannot. It fails when it
// can open none of them.
func (r *reading) open(ctx context.Context, p *program, paths []string) (*inputs, error) {
	in, err := r.openAny(ctx, p, paths)
	if err == nil && len(in.Releases) == 0 && in.failed {
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
	opts := &inspect.OpenOptions{Recursive: r.recursive, Workers: r.workers, Opened: r.opened, FilesOnly: r.filesOnly, NoConfig: r.noConfig, Subtree: r.subtree, LeaveMembers: r.leaveMembers}
	bar := p.headers()
	if opts.Opened == nil || !p.terminal { // where rows show how far it is
		opts.Progress = bar.update
	}
	set, err := inspect.Open(ctx, paths, opts)
	bar.end()
	if err != nil {
		return nil, err
	}
	for _, at := range set.Pending {
		p.notePending(at.Ref, at.Dir)
	}
	in := &inputs{Set: set, failed: len(set.Errors) > 0}
	in.say(p, set.Errors)
	if r.subtree != "" && len(in.Checkpoints) > 0 && !slices.ContainsFunc(in.Checkpoints, func(c *checkpoint.Checkpoint) bool { return c.Format == checkpoint.PyTorch }) {
		p.note("note: --subtree has no effect: only PyTorch files have parts")
	}
	return in, nil
}

// one returns the checkpoint at path, which is the only one there. does is what is done
// to it.
func (in *inputs) one(path, does string) (*checkpoint.Checkpoint, error) {
	if len(in.Checkpoints) == 1 {
		return in.Checkpoints[0], nil
	}
	var b strings.Builder
	for _, c := range in.Checkpoints {
		fmt.Fprintf(&b, "\n  %s", render.Escape(c.Path))
	}
	return nil, fmt.Errorf("%s holds %s, but only one at a time can be %s; name one:%s", path, counted(len(in.Checkpoints), "checkpoint"), does, &b)
}

// say says what could not be read. Of many files for the same reason, as all shards have
// that are on a server that fails, it names the first few.
func (in *inputs) say(p *program, errs []error) {
	const few = 3
	reasons := make(map[string]int)
	reason := func(err error) string {
		_, why, _ := strings.Cut(err.Error(), ": ")
		return why
	}
	for _, err := range errs {
		reasons[reason(err)]++
	}
	if in.said == nil {
		in.said = make(map[string]bool)
	}
	seen := make(map[string]int)
	for _, err := range errs {
		in.failed, in.said[err.Error()] = true, true
		why := reason(err)
		more := reasons[why] - few
		if seen[why]++; p.verbose || more < 2 || seen[why] <= few {
			p.say("%v", err)
		}
		if seen[why] == few && more >= 2 && !p.verbose {
			p.say("and %d more files for the same reason; -v names them", more)
		}
	}
}

// noteDanger says what loading the files would do.
func (in *inputs) noteDanger(p *program) {
	for _, c := range in.Checkpoints {
		if danger := inspect.DangerText(c); danger != "" {
			p.note("%s: loading it with %s %s; 'wtinspect check' says more", c.Path, inspect.LoaderText(c), danger)
		}
	}
}

// noteBeside says what the files hold beside what is listed of them.
func (in *inputs) noteBeside(ctx context.Context, p *program) {
	in.noteDanger(p)
	for _, c := range in.Checkpoints {
		if n := len(c.Metadata()); c.Format == checkpoint.PyTorch && c.Len() == 0 && n > 0 {
			p.note("%s: there is no tensor; 'wtinspect meta show' lists %s", c.Path, counted(n, "value"))
		}
		if script := inspect.ScriptText(c); script != "" {
			p.note("%s: %s", c.Path, script)
		}
		if wrapped := inspect.WrappedText(c); wrapped != "" {
			p.note("%s: made of other tensors, which are listed below their names, and of a distributed tensor are the part of one process: %s; 'wtinspect check' says more", c.Path, wrapped)
		}
		if state := inspect.StateText(c); state != "" {
			p.note("%s: it is %s", c.Path, state)
		}
		if unlisted := inspect.UnlistedText(c); unlisted != "" {
			p.note("%s: not listed, as they are not runs of numbers: %s; 'wtinspect check' says why", c.Path, unlisted)
		}
		if others := inspect.NotArraysText(c); others != "" {
			p.note("%s: not listed, as they are not arrays: %s; 'wtinspect check' says more", c.Path, others)
		}
		if lost := inspect.LostText(c); lost != "" {
			p.note("%s: not listed: %s in no part of what the pickle builds; 'wtinspect check' says more", c.Path, lost)
		}
		if models := inspect.ModelsText(c); models != "" {
			p.note("%s: there are %s; all are listed, with names that begin so; --subtree lists one", c.Path, models)
		}
		if beside := inspect.BesideText(c); beside != "" {
			p.note("%s: only %s is listed; there is also %s; --subtree lists another part, or . for everything", c.Path, cmp.Or(inspect.SubtreeText(c), "the top level"), beside)
		}
		if shared := inspect.SharedText(c); shared != "" {
			p.note("%s: tied tensors share their bytes: %s", c.Path, shared)
		}
	}
	in.notePickles(ctx, p)
}

// notePickles says that pickles and arrays are passed over, where there are other weights.
func (in *inputs) notePickles(ctx context.Context, p *program) {
	for _, r := range in.Releases {
		if slices.ContainsFunc(r.Checkpoints, func(c *checkpoint.Checkpoint) bool {
			return c.Format == checkpoint.PyTorch || c.Format == checkpoint.NumPy
		}) {
			continue
		}
		pickles, arrays := 0, 0
		for _, path := range r.Pickles {
			if !checkpoint.LeftByTrainer(path) && isRegular(ctx, path) {
				pickles++
			}
		}
		for _, path := range r.Others {
			if ext := strings.ToLower(filepath.Ext(path)); (ext == ".npz" || ext == ".npy") && isRegular(ctx, path) {
				arrays++
			}
		}
		var words []string
		if pickles > 0 {
			words = append(words, counted(pickles, "PyTorch file"))
		}
		if arrays > 0 {
			words = append(words, counted(arrays, "file")+" of arrays")
		}
		if len(words) > 0 {
			p.note("%s: the safetensors or GGUF files are listed, and not %s beside them; name one to read it", r.Path, strings.Join(words, " and "))
		}
	}
}

// isRegular reports whether a file may be read: it is no pipe and no link that leads nowhere.
func isRegular(ctx context.Context, path string) bool {
	fi, err := source.Stat(ctx, path)
	return err == nil && fi.Mode().IsRegular()
}

// finish ends a command whose answer is written, or was not because of err. It
// says on stderr what is wrong with the files: what could not be read one by one,
// the rest in one line a checkpoint, and with -v everything.
func (in *inputs) finish(ctx context.Context, p *program, err error) error {
	in.Wait()
	if err != nil {
		return err
	}
	for _, r := range in.Releases {
		for _, f := range r.Faults {
			switch {
			case p.verbose:
				p.say("%v: %v", f.Severity, f)
			case f.Severity == checkpoint.Error:
				p.note("%v", f)
			}
		}
	}
	for k := range in.Checkpoints {
		in.report(ctx, p, k)
	}
	if in.failed {
		return &exitError{exitFailed}
	}
	return nil
}

// report says what is wrong with checkpoint k.
func (in *inputs) report(ctx context.Context, p *program, k int) {
	said := make(map[string]bool)
	var gaps []error
	for _, gap := range in.Gaps(ctx, k) {
		said[gap.File] = true
		gaps = append(gaps, gap.Err)
	}
	in.say(p, gaps)
	var (
		errs, warnings int
		unlisted       bool
		first          *checkpoint.Fault
	)
	faults := in.Validated(k)
	for i := range faults {
		f := &faults[i]
		if said[f.File] || in.said[f.Error()] || !p.verbose && f.Code == unsafePath {
			continue
		}
		if f.Code == checkpoint.CodeMissingShard && !in.Checkpoints[k].NamesOnly() {
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

// plain is an error of the file system as other errors are.
func plain(err error) error { return argv.PathFirst(err) }
