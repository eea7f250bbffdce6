package check

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// Options adjust a run. Nil options are the defaults.
type Options struct {
	// Select are the rules to run, by ID or the beginning of several; all when
	// empty. Ignore are taken out of them.
	Select, Ignore []string
	Profile        Profile
	// Severities replace the rules' own, by ID.
	Severities map[string]checkpoint.Severity
	// Against is what the release is held to, nil for nothing.
	Against *Lock
	// Base is the model that adapters are for, nil when it is not given. It is open
	// while the run lasts.
	Base *checkpoint.Release
	// Values has the rules run that read values. They read all data once.
	Values bool
	// Workers bounds how many tensors are read at once; 0 means
	// GOMAXPROCS.
	Workers int
	// Progress is told how many more bytes of data were read, from several
	// goroutines.
	Progress func(n int64)
	// Measured is told of the figures and the SHA-256 of a tensor when a rule has needed
	// them. It may be nil.
	Measured func(c *checkpoint.Checkpoint, i int, r *values.Result)
}

// A Report is what a run found. Its methods are of use while the release is open.
type Report struct {
	// Findings are sorted by rule, and within a rule as they were found.
	Findings []Finding
	// Rules are the rules that ran.
	Rules []*Rule
	// Checkpoints are the paths of the checkpoints judged, Tensors how many
	// tensors they have.
	Checkpoints []string
	Tensors     int

	*subject
	opts *Options
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
	p.add(p.opts.graded(p.release, p.rule, s, f))
}

// graded fills in what a finding has of its rule and its release.
func (o *Options) graded(rel *checkpoint.Release, r *Rule, s checkpoint.Severity, f Finding) Finding {
	f.Rule, f.Severity, f.dir = r, s, rel.Dir
	if own, ok := o.Severities[r.ID]; ok {
		f.Severity = own
	}
	return f
}

// Identified says which convention the tensors of a checkpoint of the release follow.
func (r *Report) Identified(i int) *identify.Result { return r.models[i].names().whole }

// Add adds a finding that only the caller knows of, about the settings of the
// run. Its rule must be one that ran.
func (r *Report) Add(rule *Rule, f Finding) {
	r.Findings = append(r.Findings, r.opts.graded(r.release, rule, rule.severity(r.opts.Profile), f))
	r.sort()
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return cmp.Compare(a.Rule.ID, b.Rule.ID) })
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
	out := &Report{subject: s, opts: opts}
	unfixed := make(map[string]bool) // the checkpoints without a file that is edited
	for _, m := range s.models {
		out.Checkpoints = append(out.Checkpoints, m.Path)
		out.Tensors += m.Len()
		unfixed[m.Path] = m.NamesOnly() || !m.Format.Editable()
	}
	for _, r := range Rules() {
		if !opts.Runs(r) {
			continue
		}
		out.Rules = append(out.Rules, r)
		if r.run == nil {
			continue // about the settings, which are not known here
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p := &Pass{subject: s, rule: r, opts: opts}
		r.run(p)
		for _, f := range p.findings() {
			f.Fixable = f.Fixable && r.Fix != nil && !unfixed[f.Checkpoint]
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			out.Findings = append(out.Findings, f)
		}
	}
	out.sort()
	return out, ctx.Err()
}

// Runs reports whether the options choose a rule.
func (o *Options) Runs(r *Rule) bool {
	if r.Values && !o.Values || slices.ContainsFunc(o.Ignore, r.Matches) {
		return false
	}
	return len(o.Select) == 0 || slices.ContainsFunc(o.Select, r.Matches)
}

// Check says what is wrong with the options themselves: selectors that mean no
// rule, or only rules that read values where that is not asked for.
func (o *Options) Check() error {
	for _, list := range [][]string{o.Select, o.Ignore} {
		for _, s := range list {
			if err := Known(s); err != nil {
				return err
			}
		}
	}
	chosen := func(r *Rule) bool { return slices.ContainsFunc(o.Select, r.Matches) }
	if !o.Values && len(o.Select) > 0 && !slices.ContainsFunc(Rules(), func(r *Rule) bool { return chosen(r) && !r.Values }) {
		return fmt.Errorf("%s: only rules that read values, which 'wtinspect check --values' does", strings.Join(o.Select, ","))
	}
	return nil
}
