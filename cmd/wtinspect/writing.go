package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A writing is how a command that changes checkpoints does so, and where the
// result goes. Without a destination it says what it would do.
type writing struct {
	columnList
	format   string
	output   string
	inPlace  bool
	dryRun   bool
	check    bool
	force    bool
	verify   string
	headroom int64
	workers  int
	progress
}

func (o *writing) addFlags(cmd *cobra.Command, p *program, heads func(o answer.Options) []render.Column) {
	f := cmd.Flags()
	o.addOutputFlags(cmd, p, heads)
	f.BoolVar(&o.inPlace, "in-place", false, "change the files themselves")
	f.BoolVar(&o.check, "check", false, "like --dry-run, and exit with 1 if something would change")
	f.Lookup("force").Usage = "allow replacing a destination, changing a link in place, or changing one file of a set; never the loss of a tensor"
	f.Int64Var(&o.headroom, "headroom", 0, "leave at least `N` bytes between header and data for later renames")
	group(f, "Writing", "in-place", "check", "headroom")
}

// addOutputFlags adds the flags of a command that writes new files, and changes none.
func (o *writing) addOutputFlags(cmd *cobra.Command, p *program, heads func(o answer.Options) []render.Column) {
	var formats []string
	for _, f := range render.Formats() {
		formats = append(formats, string(f))
	}
	f := cmd.Flags()
	addFormat(cmd, &o.format, "output format: table, json, jsonl, csv or tsv", formats...)
	o.columnList.addFlag(cmd, p, &o.format, heads)
	f.StringVarP(&o.output, "output", "o", "", "write the result to `DST`, a file or, for a release, a directory")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "print what would be done; write nothing")
	f.BoolVar(&o.force, "force", false, "allow an existing destination if all of its files are replaced")
	verify := []string{"auto", "full", "sampled", "none"}
	f.Var(newChoice(&o.verify, verify...), "verify", "compare the data before and after: full (every tensor's digest), sampled, none, or auto (full if data is copied)")
	complete(cmd, "verify", verify...)
	f.IntVarP(&o.workers, "jobs", "j", 0, "work on `N` files at once (default: depends on the number of processors)")
	group(f, "Writing", "output", "dry-run", "force", "verify", "jobs")
	o.progress.addFlags(cmd)
}

// usage finds flags that contradict each other.
func (o *writing) usage() error {
	switch {
	case o.inPlace && o.output != "":
		return errors.New("-o and --in-place cannot be used together")
	case o.output == "-":
		return errors.New("-o -: a checkpoint is written to a file, not to stdout")
	case o.headroom < 0:
		return fmt.Errorf("--headroom %d: it cannot be negative", o.headroom)
	case o.workers < 0:
		return fmt.Errorf("-j %d: the number of files to work on at once cannot be negative", o.workers)
	}
	return nil
}

// answer is how the answer is printed.
func (o *writing) answer(p *program) answer.Options {
	return answer.Options{Format: render.Format(o.format), Style: o.of(p.style()), Verbose: p.verbose}
}

// destined reports whether the user has said where the result is to go.
func (o *writing) destined() bool { return o.inPlace || o.output != "" }

// writes reports whether anything is to be written.
func (o *writing) writes() bool { return o.destined() && !o.dryRun && !o.check }

func (o *writing) options() *rewrite.Options {
	r := &rewrite.Options{Output: o.output, Force: o.force, Headroom: o.headroom, Workers: o.workers}
	if o.verify != "auto" {
		r.Verify = rewrite.Verify(o.verify)
	}
	return r
}

// open opens the one checkpoint that path names. When it is to be changed in
// place, and an earlier change was interrupted, that one is ended first.
func (o *writing) open(ctx context.Context, p *program, path string) (*inputs, *checkpoint.Checkpoint, error) {
	if o.inPlace && o.writes() {
		if err := p.recoverFirst(ctx, path); err != nil {
			return nil, nil, err
		}
	}
	in, err := (&reading{workers: o.workers}).open(ctx, p, []string{path})
	if err != nil {
		return nil, nil, err
	}
	c, err := o.theCheckpoint(ctx, p, in, path)
	if err != nil {
		in.Close()
		return nil, nil, err
	}
	return in, c, nil
}

// recover ends an earlier change of the files at path.
func (p *program) recover(ctx context.Context, path string, force bool) (outcome rewrite.Outcome, err error) {
	err = p.winding(func() error {
		outcome, err = rewrite.Recover(ctx, path, force)
		return err
	})
	return outcome, err
}

func (o *writing) theCheckpoint(ctx context.Context, p *program, in *inputs, path string) (*checkpoint.Checkpoint, error) {
	c, err := in.one(path, "changed")
	if err != nil {
		return nil, err
	}
	if c.Format == checkpoint.PyTorch {
		return nil, fmt.Errorf("%s: what a PyTorch file says is in a pickle, which is not edited; 'wtinspect convert' makes safetensors files of it, and takes --to, --map and --rule for other names", path)
	}
	if c.Format == checkpoint.NumPy {
		return nil, fmt.Errorf("%s: files of NumPy are not edited; 'wtinspect convert' makes safetensors files of them, and takes --to, --map and --rule for other names", path)
	}
	set, err := c.Set(ctx)
	if err != nil {
		return nil, err
	}
	if set != "" && !o.force {
		if o.destined() {
			return nil, fmt.Errorf("%s is one file of the set %s; name the set, or use --force to leave the others as they are", path, set)
		}
		p.note("%s is one file of the set %s, whose other files and index keep their names", path, set)
	}
	return c, nil
}

// A rewriting is a job, how the user wants it carried out, and what became of it.
type rewriting struct {
	options *writing
	// job is nil where there is no destination and the files cannot be changed.
	job *rewrite.Job
	run func(ctx context.Context, progress func(done, total int64)) error
	// report is nil until the job has run.
	report *rewrite.Report
}

// unprepared looks at the error of preparing a job. Without a destination it is
// the job in place, of which the user sees what it would cost: that there is none
// is no failure.
func (o *writing) unprepared(p *program, c *checkpoint.Checkpoint, err error) error {
	switch {
	case err == nil || o.destined():
		return err
	case c.NamesOnly():
		return nil
	case errors.Is(err, rewrite.ErrPending), errors.Is(err, rewrite.ErrElsewhere):
		p.note("not possible in place: %v", err)
		return nil
	}
	return err
}

// refused says what keeps the job from running, and reports whether it is to
// fail for it.
func (r *rewriting) refused(p *program) bool {
	if r.job == nil || len(r.job.Refusals) == 0 {
		return false
	}
	for _, f := range r.job.Refusals {
		how := ""
		if f.Forcible {
			how = " (--force)"
		}
		if r.options.destined() {
			p.say("refused: %v%s", f, how)
		} else {
			p.note("in place it would be refused: %v%s", f, how)
		}
	}
	return r.options.destined()
}

// carryOut runs the job, with a bar.
func (r *rewriting) carryOut(ctx context.Context, p *program, in *inputs) error {
	in.Wait() // the files are read until then
	m := &jobMeter{start: func(total int64) *meter { return r.options.meter(p, "rewriting", total) }}
	err := p.winding(func() error { return r.run(ctx, m.update) })
	m.end()
	if errors.Is(err, rewrite.ErrPending) {
		return fmt.Errorf("%w\n%s", err, pendingAdvice(r.job.Source))
	}
	return err
}

// A jobMeter shows the progress of a job, once it says how much there is to do.
// The job begins again when the file system refuses the way that it took.
type jobMeter struct {
	start func(total int64) *meter

	mu   sync.Mutex
	m    *meter
	done int64
}

// update says how many bytes are done in all. Of calls that overtake each other
// the largest counts.
func (j *jobMeter) update(done, total int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if done == 0 || j.m == nil {
		if j.m != nil {
			j.m.end()
		}
		j.m, j.done = j.start(total), 0
	}
	if more := done - j.done; more > 0 {
		j.m.add(more)
		j.done = done
	}
}

func (j *jobMeter) end() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.m != nil {
		j.m.end()
	}
}

// warnUnfollowed says which texts may mean renamed tensors and stay as they are.
func (r *rewriting) warnUnfollowed(p *program) {
	if r.job == nil {
		return
	}
	for _, path := range r.job.Leftovers {
		p.note("%s is left over from a killed run, or another run is writing it now; remove it if no run is", path)
	}
	const most = 8
	for i, u := range r.job.Unfollowed {
		if i == most && !p.verbose {
			p.note("and %s (-v shows all)", counted(len(r.job.Unfollowed)-most, "more place"))
			return
		}
		p.note("left unchanged: %v", u)
	}
}

// writeReport says what was done.
func (r *rewriting) writeReport(p *program) error {
	a := r.options.answer(p)
	a.Style.Columns = nil // which are the plan's
	return answer.RewriteReport(p.stdout, r.job, r.report, r.options.options().Verify, a)
}

// hint ends a plan that was only shown.
func (r *rewriting) hint(p *program) {
	if !r.options.destined() {
		p.note("nothing was written; apply the plan with --in-place or -o DST")
	} else {
		p.note("nothing was written")
	}
}

// recoverFirst ends a rewrite of what is at path that was interrupted, if there
// is one.
func (p *program) recoverFirst(ctx context.Context, path string) error {
	if _, pending := rewrite.Pending(path); !pending {
		return nil
	}
	outcome, err := p.recover(ctx, path, false)
	if err == nil && outcome != rewrite.Nothing {
		p.note("%s: an interrupted rewrite is now %s", path, outcome)
	}
	return err
}

// warnPending warns where a rewrite of what is at path is not complete.
func (p *program) warnPending(path string) {
	if dir, pending := rewrite.Pending(path); pending {
		p.notePending(path, dir)
	}
}

// notePending warns that what is read at path may be part old and part new.
func (p *program) notePending(path, dir string) {
	p.note("warning: %s: a rewrite is under way or was interrupted; what is read may be part old, part new\n%s", path, pendingAdvice(dir))
}

func pendingAdvice(path string) string {
	return fmt.Sprintf("'wtinspect rename --recover %s' makes it whole", path)
}
