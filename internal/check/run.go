package check

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Options adjust a run. Nil options are the defaults.
type Options struct {
	// Select are the rules to run, by ID or the beginning of several; all when
	// empty. Ignore are taken out of them.
	Select, Ignore []string
	Profile        Profile
	// Severities replace the rules' own, by ID.
	Severities map[string]checkpoint.Severity
	// Exceptions are findings that are known and accepted.
	Exceptions []Exception
	// Baseline are the findings that were there before, by fingerprint.
	Baseline map[string]bool
	// Against is what the release is held to, nil for nothing.
	Against *Lock
	// Values has the rules run that read values. They read all data once.
	Values bool
	// Workers bounds how many tensors are read at once; 0 stands for one a
	// processor.
	Workers int
	// Progress is told how many more bytes of data were read, from several
	// goroutines.
	Progress func(n int64)
	// Now decides which exceptions have expired; the zero time expires none.
	Now time.Time
}

// An Exception accepts findings, for a reason and perhaps for a while.
type Exception struct {
	// Rule is an ID or the beginning of several.
	Rule string
	// Tensor and File choose what the exception is for; "" is any.
	Tensor, File template.Glob
	Reason       string
	// Until is the last day it holds; the zero time is for ever.
	Until time.Time
	// Origin is the file it is written in, with the line and the column.
	Origin       string
	Line, Column int
}

// A Report is what a run found.
type Report struct {
	// Findings are sorted by rule, and within a rule as they were found.
	Findings []Finding
	// Rules are the rules that ran.
	Rules []*Rule
	// Checkpoints are the paths of the checkpoints judged, Tensors how many
	// tensors they have.
	Checkpoints []string
	Tensors     int
	// Accepted counts the findings that an exception took out, and Known those
	// that the baseline has; neither is in Findings.
	Accepted, Known int
}

// A Pass is one rule at work on one release.
type Pass struct {
	*subject
	rule *Rule
	opts *Options
	tally
}

// report adds a finding. Severity and checkpoint are filled in; a finding with
// a severity of its own uses grade.
func (p *Pass) report(f Finding) { p.grade(p.rule.severity(p.opts.Profile), f) }

func (p *Pass) grade(s checkpoint.Severity, f Finding) {
	f.Rule, f.Severity, f.dir = p.rule, s, p.release.Dir
	if own, ok := p.opts.Severities[p.rule.ID]; ok {
		f.Severity = own
	}
	p.add(f)
}

// finding returns a finding about a checkpoint's tensor.
func (s *model) finding(i int, format string, args ...any) Finding {
	t := s.At(i)
	f := Finding{Checkpoint: s.Path, Tensor: t.Name, Offset: -1, Message: fmt.Sprintf(format, args...)}
	if f.File = s.Index; t.File >= 0 && !s.Files[t.File].Missing {
		f.File = s.Files[t.File].Path
	}
	return f
}

// whole returns a finding about a checkpoint as a whole.
func (s *model) whole(format string, args ...any) Finding {
	f := Finding{Checkpoint: s.Path, Offset: -1, Message: fmt.Sprintf(format, args...)}
	switch {
	case s.Index != "":
		f.File = s.Index
	case len(s.Files) > 0:
		f.File = s.Files[0].Path
	}
	return f
}

// at returns a finding about a value of a document.
func at(ck string, doc *checkpoint.Config, v checkpoint.ConfigValue, format string, args ...any) Finding {
	f := Finding{Checkpoint: ck, File: doc.Path(), Offset: -1, Message: fmt.Sprintf(format, args...)}
	f.Line, f.Column = v.Position()
	return f
}

// Run judges a release. It fails only when it is interrupted.
func Run(ctx context.Context, rel *checkpoint.Release, opts *Options) (*Report, error) {
	if opts == nil {
		opts = new(Options)
	}
	s := newSubject(ctx, rel, opts)
	out := &Report{}
	namesOnly := make(map[string]bool) // the checkpoints without a file to mend
	for _, m := range s.models {
		out.Checkpoints = append(out.Checkpoints, m.Path)
		out.Tensors += m.Len()
		namesOnly[m.Path] = m.NamesOnly()
	}
	var settings []*Rule
	used := make([]bool, len(opts.Exceptions))
	for _, r := range Rules() {
		if !opts.runs(r) {
			continue
		}
		out.Rules = append(out.Rules, r)
		if r.run == nil {
			settings = append(settings, r)
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := &Pass{subject: s, rule: r, opts: opts}
		r.run(p)
		accepting := opts.accepting(r)
		for _, f := range p.findings() {
			f.Fixable = f.Fixable && r.Mend != "" && !namesOnly[f.Checkpoint]
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			if i := slices.IndexFunc(accepting, func(i int) bool { return opts.Exceptions[i].takes(&f) }); i >= 0 {
				used[accepting[i]] = true
				out.Accepted += f.Count
				continue
			}
			if opts.Baseline[f.Fingerprint()] {
				out.Known += f.Count
				continue
			}
			out.Findings = append(out.Findings, f)
		}
	}
	out.Findings = append(opts.aboutExceptions(settings, used, rel), out.Findings...)
	slices.SortStableFunc(out.Findings, func(a, b Finding) int { return cmp.Compare(a.Rule.ID, b.Rule.ID) })
	return out, ctx.Err()
}

// runs reports whether the options choose a rule.
func (o *Options) runs(r *Rule) bool {
	if r.Values && !o.Values || slices.ContainsFunc(o.Ignore, r.matches) {
		return false
	}
	return len(o.Select) == 0 || slices.ContainsFunc(o.Select, r.matches)
}

// Check says what is wrong with the options themselves: selectors that mean no
// rule, or only rules that read values where that is not asked for.
func (o *Options) Check() error {
	for _, list := range [][]string{o.Select, o.Ignore} {
		for _, s := range list {
			if !known(s) {
				return fmt.Errorf("%q is no rule and no block of rules; `wtinspect rules` lists them", s)
			}
		}
	}
	chosen := func(r *Rule) bool { return slices.ContainsFunc(o.Select, r.matches) }
	if !o.Values && len(o.Select) > 0 && !slices.ContainsFunc(Rules(), func(r *Rule) bool { return chosen(r) && !r.Values }) {
		return fmt.Errorf("%s: only rules that read values, which `wtinspect check --values` does", strings.Join(o.Select, ","))
	}
	return nil
}

// accepting returns the exceptions that take findings of a rule out. One that
// has expired takes nothing out.
func (o *Options) accepting(r *Rule) []int {
	var list []int
	for i := range o.Exceptions {
		if e := &o.Exceptions[i]; !e.expired(o.Now) && r.matches(e.Rule) {
			list = append(list, i)
		}
	}
	return list
}

func (e *Exception) takes(f *Finding) bool {
	return (e.Tensor == "" || e.Tensor.Match(f.Tensor)) && e.inFile(f)
}

func (e *Exception) expired(now time.Time) bool {
	return !now.IsZero() && !e.Until.IsZero() && !now.Before(e.Until.AddDate(0, 0, 1))
}

func (e *Exception) inFile(f *Finding) bool {
	if e.File == "" {
		return true
	}
	file := cmp.Or(f.File, f.Checkpoint)
	rel, err := filepath.Rel(f.dir, file)
	return e.File.Match(path.Base(filepath.ToSlash(file))) || err == nil && e.File.Match(filepath.ToSlash(rel))
}
