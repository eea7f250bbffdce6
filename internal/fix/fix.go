// Package fix does what can be done about the findings of package check.
//
// [Plan] turns a report into fixes, each of which takes the findings of one or
// several rules away at one checkpoint, and [Fix.Run] carries one out: through
// package rewrite where tensors or metadata change, and otherwise as one
// transaction of package txn. A rule says which fix it has ([check.Fix]); how files
// are changed is known here. [Copy] makes a copy to be fixed in place of the release.
package fix

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
)

// A Fix is one change of a release.
type Fix struct {
	// Rules are the IDs of the rules whose findings it takes away.
	Rules []string
	// Checkpoint is the path of the checkpoint concerned.
	Checkpoint string
	// What says what is done, and to what.
	What string
	// Count is how many tensors or files it concerns.
	Count int
	// Plan says what happens to every tensor, nil when no name changes.
	Plan *rename.Plan

	index string // the path of the index that it writes, if it writes one
	run   func(ctx context.Context, opts *Options) error
}

// Options adjust how a fix is carried out.
type Options struct {
	// Force replaces links by files of their own.
	Force bool
	// Progress is told the bytes of data done so far and in all. It may be nil.
	Progress func(done, total int64)
}

// Run carries the fix out, on the files where they are. The release must be
// opened and planned for anew afterwards. An interrupted fix leaves files that
// are the old ones or the new ones.
func (f *Fix) Run(ctx context.Context, opts *Options) error {
	if opts == nil {
		opts = new(Options)
	}
	return f.run(ctx, opts)
}

// A Declined is a finding that has a fix and is left alone, and why.
type Declined struct {
	Rule, Checkpoint, Reason string
}

// Plan plans the fixes for the fixable findings of a report. They are in the
// order in which they have to be carried out.
func Plan(ctx context.Context, rel *checkpoint.Release, report *check.Report) ([]*Fix, []Declined, error) {
	p := &planner{report: report, release: rel}
	p.padding()
	for _, c := range rel.Checkpoints {
		p.aside(c)
	}
	for _, c := range rel.Checkpoints {
		if c.NamesOnly() {
			continue // until it is known what is rebuilt from the shards of others
		}
		if !c.Format.Editable() {
			p.decline(c, p.mended(c), fmt.Sprintf("files of the format %s are not edited: convert them to safetensors", c.Format))
			continue
		}
		if report.Partial(c) {
			p.decline(c, p.found(c, 0), "a file of the set is missing or broken, or the path is one file of a set: a set is fixed as a whole")
			continue
		}
		// Nothing is renamed beside an index that cannot be read, and any other
		// follows the names.
		unreadable := c.IndexFault(ctx) != nil
		if unreadable {
			p.index(c)
		}
		if err := p.names(ctx, c); err != nil {
			return nil, nil, err
		}
		p.format(c)
		if !unreadable {
			p.index(c)
		}
	}
	p.shardless()
	return p.fixes, p.declined, ctx.Err()
}

type planner struct {
	report   *check.Report
	release  *checkpoint.Release
	fixes    []*Fix
	declined []Declined
}

// found returns the rules with a finding at a checkpoint whose fix is of a kind,
// or of any kind that nothing is planned for yet when it is 0.
func (p *planner) found(c *checkpoint.Checkpoint, kind check.FixKind) []*check.Rule {
	var out []*check.Rule
	for i := range p.report.Findings {
		f := &p.report.Findings[i]
		if f.Fixable && f.Checkpoint == c.Path && (f.Rule.Fix.Kind == kind || kind == 0 && !p.planned(f)) && !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	return out
}

// mended returns the rules with a finding at a checkpoint that have a fix, for files that
// are edited.
func (p *planner) mended(c *checkpoint.Checkpoint) []*check.Rule {
	var out []*check.Rule
	for i := range p.report.Findings {
		f := &p.report.Findings[i]
		if f.Rule.Fix != nil && f.Checkpoint == c.Path && !p.planned(f) && !slices.Contains(out, f.Rule) {
			out = append(out, f.Rule)
		}
	}
	return out
}

func (p *planner) planned(f *check.Finding) bool {
	return slices.ContainsFunc(p.fixes, func(x *Fix) bool { return x.Checkpoint == f.Checkpoint && slices.Contains(x.Rules, f.Rule.ID) })
}

func (p *planner) decline(c *checkpoint.Checkpoint, rules []*check.Rule, reason string) {
	for _, r := range rules {
		p.declined = append(p.declined, Declined{r.ID, c.Path, reason})
	}
}

func ids(rules []*check.Rule) []string {
	out := make([]string, len(rules))
	for i, r := range rules {
		out[i] = r.ID
	}
	return out
}

// shardless declines what is found at indexes without any of their shards, and
// at those that say nothing: there is no file to change or to make an index of.
// Another fix may put a whole index in their place.
func (p *planner) shardless() {
	decline := func(f *check.Finding, place, index, reason string) {
		rebuilt := slices.ContainsFunc(p.fixes, func(x *Fix) bool { return x.index == index })
		d := Declined{f.Rule.ID, place, index + reason}
		if f.Rule.Fix != nil && !rebuilt && !slices.Contains(p.declined, d) {
			p.declined = append(p.declined, d)
		}
	}
	const gone = " has no shards here: add them, or delete it"
	for _, c := range p.release.Checkpoints {
		if !c.NamesOnly() {
			continue
		}
		for i := range p.report.Findings {
			if f := &p.report.Findings[i]; f.Checkpoint == c.Path {
				decline(f, c.Path, c.Index, gone)
			}
		}
	}
	for i := range p.report.Findings {
		f := &p.report.Findings[i]
		if f.Checkpoint == "" && f.Rule.Fix != nil && f.Rule.Fix.Kind == check.FixIndex && strings.HasSuffix(f.File, ".json") {
			decline(f, f.File, f.File, gone)
		}
	}
}

// padding fixes the files whose header is padded with NUL bytes. They cannot be
// opened, so that they are known by their findings alone.
func (p *planner) padding() {
	for i := range p.report.Findings {
		f := &p.report.Findings[i]
		if !f.Fixable || f.Rule.Fix.Kind != check.FixPadding {
			continue
		}
		path := f.File
		p.fixes = append(p.fixes, &Fix{
			Rules: []string{f.Rule.ID}, Checkpoint: f.Checkpoint, Count: 1,
			What: fmt.Sprintf("write spaces over the NUL bytes behind the header of %s", path),
			run:  func(ctx context.Context, opts *Options) error { return padWithSpaces(ctx, path, opts.Force) },
		})
	}
}

// aside moves stale files out of the loaders' sight.
func (p *planner) aside(c *checkpoint.Checkpoint) {
	rules := p.found(c, check.FixAside)
	if len(rules) == 0 {
		return
	}
	if user := p.userOf(c); user != "" {
		p.decline(c, rules, user+" is a link to a file of it")
		return
	}
	p.fixes = append(p.fixes, &Fix{
		Rules: ids(rules), Checkpoint: c.Path, Count: len(c.Files),
		What: fmt.Sprintf("move %s into %s", plural.Of(len(c.Files), "file"), filepath.Join(c.Dir, txn.AsideName)),
		run:  func(ctx context.Context, _ *Options) error { return putAside(ctx, c) },
	})
}

// userOf returns a file of another checkpoint that is one of a checkpoint's own
// under another name, or "".
func (p *planner) userOf(c *checkpoint.Checkpoint) string {
	var own []string
	for _, f := range c.Files {
		own = append(own, f.Path)
	}
	for _, other := range p.release.Checkpoints {
		if other == c {
			continue
		}
		for _, f := range other.Files {
			if txn.SameFile(f.Path, own...) {
				return f.Path
			}
		}
	}
	return ""
}

// names gives tensors other names and drops what should not be there.
func (p *planner) names(ctx context.Context, c *checkpoint.Checkpoint) error {
	var rules []*check.Rule
	var how []*check.Fix
	for _, r := range p.found(c, check.FixNames) {
		reason, err := p.report.Refused(ctx, c, r.Fix)
		switch {
		case err != nil:
			return err
		case reason != "":
			p.decline(c, []*check.Rule{r}, reason)
		default:
			rules, how = append(rules, r), append(how, r.Fix)
		}
	}
	table := p.report.Names(c, how)
	if len(table.Rules) == 0 {
		return nil
	}
	names := make([]string, c.Len())
	for i, t := range c.All() {
		names[i] = t.Name
	}
	limits := rename.Safetensors()
	if c.Format == checkpoint.GGUF {
		limits = rename.GGUF()
	}
	plan := rename.NewPlan(table, names, limits)
	if err := plan.Err(); err != nil {
		p.decline(c, rules, err.Error())
		return nil
	}
	moved, dropped := 0, 0
	for i := range plan.Rows {
		switch plan.Rows[i].Action {
		case rename.Move:
			moved++
		case rename.Drop:
			dropped++
		}
	}
	var what []string
	if moved > 0 {
		what = append(what, "rename "+plural.Of(moved, "tensor"))
	}
	if dropped > 0 {
		what = append(what, "drop "+plural.Of(dropped, "tensor"))
	}
	p.fixes = append(p.fixes, &Fix{
		Rules: ids(rules), Checkpoint: c.Path, What: strings.Join(what, " and "), Count: moved + dropped, Plan: plan,
		run: func(ctx context.Context, opts *Options) error {
			job, err := rewrite.Prepare(ctx, c, plan, &rewrite.Options{Force: opts.Force})
			return runJob(ctx, job, err, opts)
		},
	})
	return nil
}

func runJob(ctx context.Context, job *rewrite.Job, err error, opts *Options) error {
	if err != nil {
		return err
	}
	defer job.Close()
	if err := job.Err(); err != nil {
		return err
	}
	_, err = job.Run(ctx, opts.Progress)
	return err
}

func (p *planner) format(c *checkpoint.Checkpoint) {
	rules := p.found(c, check.FixFormat)
	if len(rules) == 0 {
		return
	}
	p.fixes = append(p.fixes, &Fix{
		Rules: ids(rules), Checkpoint: c.Path, Count: len(c.Files),
		What: "set the metadata key format to pt in " + plural.Of(len(c.Files), "file"),
		run: func(ctx context.Context, opts *Options) error {
			job, err := rewrite.PrepareMetadata(ctx, c, []rewrite.Metadata{{Key: "format", Value: "pt"}}, &rewrite.Options{Force: opts.Force})
			return runJob(ctx, job, err, opts)
		},
	})
}

// index writes an index anew, or only its totals where nothing else is wrong.
func (p *planner) index(c *checkpoint.Checkpoint) {
	rebuilt, totals := p.found(c, check.FixIndex), p.found(c, check.FixTotals)
	rules := slices.Concat(rebuilt, totals)
	if len(rules) == 0 {
		return
	}
	path := c.Index
	if path == "" {
		path = filepath.Join(c.Dir, check.IndexName(c.Files[0].Name))
	}
	what := "rebuild "
	if len(rebuilt) == 0 {
		what = "correct the totals of "
	}
	p.fixes = append(p.fixes, &Fix{
		Rules: ids(rules), Checkpoint: c.Path, What: what + path, Count: c.Len(), index: path,
		run: func(ctx context.Context, _ *Options) error { return rewriteIndex(ctx, c, path, len(rebuilt) == 0) },
	})
}

// Changes folds what the fix's plan does to the names.
func (m *Fix) Changes() []rename.FoldedChange {
	if m.Plan == nil {
		return nil
	}
	return m.Plan.Changes()
}

// Inverse returns the map that gives the tensors the names that they had before
// fixes that have been made in this order, nil when no name changed. What was
// dropped does not come back.
func Inverse(fixes []*Fix) *rename.Map {
	was := make(map[string]string) // by the name that it has now
	for _, m := range fixes {
		if m.Plan == nil {
			continue
		}
		next := make(map[string]string)
		for _, r := range m.Plan.Rows {
			old, renamed := was[r.From]
			delete(was, r.From)
			switch {
			case r.Action == rename.Move && renamed:
				next[r.To] = old
			case r.Action == rename.Move:
				next[r.To] = r.From
			case r.Action == rename.Keep && renamed:
				next[r.From] = old
			}
		}
		maps.Copy(was, next) // another checkpoint's names stay
	}
	if len(was) == 0 {
		return nil
	}
	out := &rename.Map{Description: "takes back what fix renamed"}
	for _, name := range slices.Sorted(maps.Keys(was)) {
		out.Rules = append(out.Rules, rename.ExactRule(name, was[name]))
	}
	return out
}
