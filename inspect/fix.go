package inspect

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/fix"
	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/remote"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
)

// FixOptions adjust [Fix]. Without InPlace and Output the fixes are planned, and
// nothing is written.
type FixOptions struct {
	// RuleChoice chooses what is fixed. Findings that are only worth knowing
	// (info) are fixed only when Select is not nil.
	RuleChoice
	// InPlace changes the files themselves, each fix all or nothing. An earlier
	// rewrite that was interrupted is ended first.
	InPlace bool
	// Output is where a fixed copy goes, a directory or, for one file, a file.
	Output string
	// Force allows links in place, never the loss of a tensor.
	Force bool
	// Workers is how many files are opened at once; 0 means as many as there are
	// processors, and at least 4.
	Workers  int
	Progress func(done, total int64)
	// Guard, when it is not nil, is called with every change of files and has to
	// call it. A program that must not exit in the middle of one knows by it.
	Guard func(change func() error) error
}

// A FixResult is what [Fix] did, or would do.
type FixResult struct {
	Fixes    []Fixed    `json:"fixes"`
	Declined []Declined `json:"declined"`
	// Written is where the fixes were made, nil when they are only planned.
	Written *string `json:"written"`
	// Findings are those after the fixes, or those before them in a plan.
	Findings []Finding `json:"findings"`

	// Left is the check that Findings come from.
	Left *CheckResult `json:"-"`
	// Inverse gives the tensors the names that they had, nil when no name
	// changed. What was dropped does not come back.
	Inverse *rename.Map `json:"-"`
	// Recovered says how an earlier rewrite was ended.
	Recovered rewrite.Outcome `json:"-"`
}

// Fixed is one change of a release.
type Fixed struct {
	// Rules are the IDs of the rules whose findings it takes away.
	Rules      []string `json:"rules"`
	Checkpoint string   `json:"checkpoint"`
	// What says what is done, and to what.
	What string `json:"what"`
	// Count is how many tensors or files it concerns.
	Count int `json:"count"`
	// Changes are the names that change, folded.
	Changes []rename.FoldedChange `json:"changes,omitempty"`
}

// Declined is a finding that has a fix and is left alone.
type Declined struct {
	Rule       string `json:"rule"`
	Checkpoint string `json:"checkpoint"`
	Reason     string `json:"reason"`
}

// Fix fixes what [Check] finds in a release, where that is mechanical. After an
// error the result has the fixes that were made before it, which stay made.
func Fix(ctx context.Context, ref string, opts *FixOptions) (*FixResult, error) {
	if opts == nil {
		opts = new(FixOptions)
	}
	f := &fixing{opts: opts, result: &FixResult{}}
	ref, err := source.Normalize(ctx, ref)
	if err != nil {
		return f.result, err
	}
	switch {
	case source.Scheme(ref) != "" && (opts.InPlace || opts.Output != ""):
		return f.result, fmt.Errorf("%s: %w: fix a copy on this machine (%s)", ref, rewrite.ErrElsewhere, remote.Download(ref))
	case opts.InPlace && opts.Output != "":
		return f.result, errors.New("a release is fixed in place or written elsewhere, not both")
	case opts.InPlace:
		f.result.Written = &ref
		if err = f.recover(ctx, ref); err == nil {
			err = f.carryOut(ctx, ref)
		}
		f.tell(f.made)
	case opts.Output != "":
		f.result.Written = &opts.Output
		err = f.copy(ctx, ref)
	default:
		err = f.plan(ctx, ref, func(planned []*fix.Fix) error {
			f.tell(planned)
			return nil
		})
		if err != nil {
			f.tell(nil)
		}
	}
	return f.result, err
}

// fixing is one call of Fix.
type fixing struct {
	opts     *FixOptions
	result   *FixResult
	made     []*fix.Fix
	declined []fix.Declined
	// how and settings are those of the release, wherever a copy of it stands.
	how      *check.Options
	settings *policy.Settings
}

// guard carries out a change of files.
func (f *fixing) guard(change func() error) error {
	if f.opts.Guard == nil {
		return change()
	}
	return f.opts.Guard(change)
}

// recover ends an earlier rewrite that was interrupted.
func (f *fixing) recover(ctx context.Context, ref string) error {
	if _, pending := rewrite.Pending(ref); !pending {
		return nil
	}
	return f.guard(func() (err error) {
		f.result.Recovered, err = rewrite.Recover(ctx, ref, false)
		return err
	})
}

// plan finds what there is to fix at a path, and what is left there, and hands the fixes to do while the release
// is open: they read it again, as GGUF's values are.
func (f *fixing) plan(ctx context.Context, ref string, do func([]*fix.Fix) error) error {
	rel, err := open(ctx, ref, &checkpoint.Options{Workers: f.opts.Workers})
	if rel == nil {
		return err
	}
	defer rel.Close()
	fixes, err := f.find(ctx, rel)
	if err != nil {
		return err
	}
	return do(fixes)
}

// find finds what there is to fix in a release, and what is left there.
func (f *fixing) find(ctx context.Context, rel *checkpoint.Release) ([]*fix.Fix, error) {
	var err error
	if f.how == nil {
		if f.how, f.settings, err = f.opts.rules(ctx, rel.Dir); err != nil {
			return nil, err
		}
	}
	report, err := runRules(ctx, rel, f.how)
	if err != nil {
		return nil, err
	}
	left := &checking{opts: &CheckOptions{}, result: &CheckResult{Checkpoints: []string{}, Summary: CheckSummary{FailOn: checkpoint.Error.String()}}}
	j := &judgement{settings: f.settings, report: report, failOn: checkpoint.Error.String()}
	j.accepted, j.known = f.opts.leniency(f.settings).Apply(report)
	left.add(rel, j)
	left.finish()
	f.result.Left, f.result.Findings = left.result, left.result.Findings
	wanted := *report
	wanted.Findings = slices.DeleteFunc(slices.Clone(report.Findings), func(x check.Finding) bool {
		return x.Severity == checkpoint.Info && f.opts.Select == nil
	})
	fixes, declined, err := fix.Plan(ctx, rel, &wanted)
	f.declined = declined
	return fixes, err
}

// carryOut makes one fix after the other, and looks again after each: a fix can
// bring to light what another is for.
func (f *fixing) carryOut(ctx context.Context, ref string) error {
	for more := true; more; {
		more = false
		err := f.plan(ctx, ref, func(fixes []*fix.Fix) error {
			if more = len(fixes) > 0; !more {
				return nil
			}
			return f.makeOne(ctx, ref, fixes[0])
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makeOne makes a fix that was not made yet.
func (f *fixing) makeOne(ctx context.Context, ref string, x *fix.Fix) error {
	if slices.ContainsFunc(f.made, func(d *fix.Fix) bool { return d.What == x.What && slices.Equal(d.Rules, x.Rules) }) {
		return fmt.Errorf("%s: to %s did not take away what %s found", ref, x.What, strings.Join(x.Rules, " and "))
	}
	err := f.guard(func() error {
		return x.Run(ctx, &fix.Options{Force: f.opts.Force, Progress: f.opts.Progress})
	})
	if err != nil {
		return fmt.Errorf("to %s: %w", x.What, err)
	}
	f.made = append(f.made, x)
	return nil
}

// copy fixes a copy, which takes its name when it is whole.
func (f *fixing) copy(ctx context.Context, ref string) error {
	if dir, pending := rewrite.Pending(ref); pending {
		return fmt.Errorf("%s: a rewrite is under way or was interrupted, and a copy would be part old, part new: %w", ref, &rewrite.RecoveryError{Dir: dir, Err: rewrite.ErrPending})
	}
	dir := ref
	if !source.IsDir(ctx, ref) {
		dir = filepath.Dir(ref)
	}
	var err error
	if f.how, f.settings, err = f.opts.rules(ctx, dir); err != nil {
		return err
	}
	return fix.Copy(ctx, ref, f.opts.Output, func(draft string) error {
		if err := f.carryOut(ctx, draft); err != nil {
			return err
		}
		f.tell(f.made)
		f.moved(draft)
		return nil
	})
}

// tell adds to the result what was done.
func (f *fixing) tell(fixes []*fix.Fix) {
	r := f.result
	r.Inverse = fix.Inverse(fixes)
	r.Fixes, r.Declined = make([]Fixed, len(fixes)), make([]Declined, len(f.declined))
	for i, x := range fixes {
		r.Fixes[i] = Fixed{x.Rules, x.Checkpoint, x.What, x.Count, x.Changes()}
	}
	for i, d := range f.declined {
		r.Declined[i] = Declined(d)
	}
}

// moved calls the files of a draft by the names that they have in the copy.
func (f *fixing) moved(draft string) {
	told := func(s *string) {
		if s != nil {
			*s = strings.ReplaceAll(*s, draft, f.opts.Output)
		}
	}
	r := f.result
	for i := range r.Fixes {
		told(&r.Fixes[i].What)
		told(&r.Fixes[i].Checkpoint)
	}
	for i := range r.Declined {
		told(&r.Declined[i].Checkpoint)
		told(&r.Declined[i].Reason)
	}
	for i := range r.Findings {
		told(r.Findings[i].File)
		told(r.Findings[i].Checkpoint)
		told(&r.Findings[i].Message)
	}
	for i := range r.Left.Checkpoints {
		told(&r.Left.Checkpoints[i])
	}
}
