package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/txn"
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
	progress
}

func newFix(p *program) *cobra.Command {
	var o fixOptions
	cmd := &cobra.Command{
		Use:   "fix [PATH]",
		Short: "Mend what check found, where the mend is mechanical",
		Long: `Fix mends the findings of check that are marked [fix]: it rebuilds the index or
corrects its totals, renames tensors, drops buffers and a head that is the
embedding once more, sets format: pt, writes spaces over NUL padding, and moves
stale files aside. Each mend is named after its rule: 'wtinspect explain RULE'.

Without a destination it prints the plan and writes nothing. --in-place changes
the files themselves, one mend after the other, each all or nothing; -o writes a
mended copy, which appears under its name only when it is whole. What is only
worth knowing (info) is mended when --select asks for it.`,
		Annotations: exitStatus(
			"1  with --check, something would be mended",
			"2  also when a mend fails",
		),
		Example: `  wtinspect fix release/
  wtinspect fix --in-place release/
  wtinspect fix --select WT402,WT408 -o clean/ release/`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completePaths,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case o.inPlace && o.destination != "":
				return errors.New("-o and --in-place exclude each other")
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
	f.StringVarP(&o.destination, "output", "o", "", "write a mended copy to `DST`, a directory or, for one file, a file")
	f.BoolVar(&o.inPlace, "in-place", false, "change the files themselves")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be done, and write nothing")
	f.BoolVar(&o.check, "check", false, "as --dry-run, with exit code 1 when something would be mended")
	f.BoolVar(&o.force, "force", false, "allow a link in place; never the loss of a tensor")
	f.StringVar(&o.inverse, "write-inverse", "", "write the map that takes the renames back to `FILE`, for 'wtinspect rename --map'")
	f.VarP(newChoice(&o.form, "table", "json"), "format", "f", "form of the answer: table or json")
	complete(cmd, "format", "table", "json")
	f.IntVarP(&o.workers, "jobs", "j", 0, "open `N` files at once (default: as many as there are processors, at least 4)")
	o.progress.addFlags(cmd)
	return cmd
}

// A mending is what fix has to say.
type mending struct {
	path     string
	mends    []*check.Mend
	declined []check.Declined
	// written is where the mends were made, "" when they are only planned.
	written string
	// left are the findings after the mends, those before them in a plan.
	left verdict
}

func runFix(ctx context.Context, p *program, o *fixOptions, path string) error {
	if o.workers < 0 {
		return fmt.Errorf("-j %d: the number of files to open at once cannot be negative", o.workers)
	}
	out := &mending{path: path}
	var err error
	switch {
	case !o.inPlace && o.destination == "" || o.dryRun || o.check:
		out.mends, out.declined, err = o.plan(ctx, p, path, &out.left)
	case o.inPlace:
		if err := p.recoverFirst(ctx, path); err != nil {
			return err
		}
		out.written = path
		err = o.mend(ctx, p, path, out)
	default:
		out.written = o.destination
		err = o.mendCopy(ctx, p, path, out)
	}
	if err != nil {
		return err
	}
	if m := check.Inverse(out.mends); o.inverse != "" && out.written != "" && m != nil {
		file := output{path: o.inverse}
		if err := file.write(p, nil, func(w io.Writer, _ render.Style) error { return rename.Write(w, m) }); err != nil {
			return err
		}
	}
	if err := out.write(p, o); written(err) != nil {
		return err
	}
	if o.check && len(out.mends) > 0 {
		return &exitError{exitFindings}
	}
	return nil
}

// plan finds what there is to mend at a path, and adds what is found to left.
func (o *fixOptions) plan(ctx context.Context, p *program, path string, left *verdict) ([]*check.Mend, []check.Declined, error) {
	rel, err := checkpoint.Open(ctx, path, &checkpoint.Options{Workers: o.workers})
	if err != nil {
		// A file with a mend of its own may be all there is.
		fault, ok := errors.AsType[*checkpoint.Fault](err)
		if !ok {
			return nil, nil, err
		}
		rel = &checkpoint.Release{Path: path, Dir: filepath.Dir(path), Faults: []checkpoint.Fault{*fault}}
	}
	defer rel.Close()
	opts, _, err := o.options(ctx, p, rel)
	if err == nil {
		err = opts.Check()
	}
	if err != nil {
		return nil, nil, err
	}
	report, err := check.Run(ctx, rel, opts)
	if err != nil {
		return nil, nil, err
	}
	*left = verdict{findings: report.Findings, rules: report.Rules, checkpoints: report.Checkpoints, tensors: report.Tensors}
	wanted := *report
	wanted.Findings = slices.DeleteFunc(slices.Clone(report.Findings), func(f check.Finding) bool {
		return f.Severity == checkpoint.Info && !o.said("select")
	})
	return check.Mends(ctx, rel, &wanted)
}

// mend makes one mend after the other, and looks again after each: a mend can
// bring to light what another is for.
func (o *fixOptions) mend(ctx context.Context, p *program, path string, out *mending) error {
	for {
		mends, declined, err := o.plan(ctx, p, path, &out.left)
		out.declined = declined
		if err != nil || len(mends) == 0 {
			return err
		}
		m := mends[0]
		if slices.ContainsFunc(out.mends, func(d *check.Mend) bool { return d.What == m.What && slices.Equal(d.Rules, m.Rules) }) {
			return fmt.Errorf("%s: to %s did not take away what %s found", path, m.What, strings.Join(m.Rules, " and "))
		}
		bar := &jobMeter{start: func(total int64) *meter { return o.meter(p, "mending", total) }}
		err = p.winding(func() error {
			return m.Run(ctx, &check.MendOptions{Force: o.force, Progress: bar.update})
		})
		bar.end()
		if err != nil {
			return fmt.Errorf("to %s: %w", m.What, err)
		}
		out.mends = append(out.mends, m)
	}
}

// mendCopy mends a copy, which takes its name when it is whole.
func (o *fixOptions) mendCopy(ctx context.Context, p *program, path string, out *mending) (err error) {
	dir, isDir := path, true
	source, err := txn.OS{}.OpenDir(path)
	if err != nil {
		dir, isDir = filepath.Dir(path), false
		if strings.HasSuffix(strings.ToLower(path), ".json") {
			return fmt.Errorf("%s: name the directory of the release for a copy of it", path)
		}
	} else {
		defer source.Close()
	}
	if o.settings == "" {
		// The copy is found and mended as the source is, wherever it stands.
		set, err := check.FindSettings(ctx, dir)
		if err != nil {
			return err
		}
		o.settings = set.Path
	}
	if isDir && txn.Contains(dir, o.destination) {
		return fmt.Errorf("%s: the copy would lie in its source; name a directory beside it", o.destination)
	}
	draft, err := txn.NewDraft(txn.OS{}, o.destination)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, draft.Close()) }()
	if err := draft.Check(nil); err != nil {
		return err
	}
	if isDir {
		follow := func(link string) bool { return !checkpoint.LeavesRelease(dir, link) }
		skip := func(name string) bool { return name == ".git" || strings.HasPrefix(name, ".wtinspect-") }
		err = txn.CopyTree(ctx, txn.OS{}, source, draft.Dir(), draft.Name(), follow, skip)
	} else {
		err = txn.CopyFile(ctx, txn.OS{}, path, draft.Dir(), draft.Name())
	}
	if err != nil {
		return err
	}
	copied := draft.Path()
	if err := o.mend(ctx, p, copied, out); err != nil {
		return err
	}
	told := func(s string) string { return strings.ReplaceAll(s, copied, o.destination) }
	for i := range out.mends {
		out.mends[i].What, out.mends[i].Checkpoint = told(out.mends[i].What), told(out.mends[i].Checkpoint)
	}
	for i := range out.left.findings {
		f := &out.left.findings[i]
		f.File, f.Checkpoint = told(f.File), told(f.Checkpoint)
	}
	return draft.Publish(nil)
}

// A jsonMend is an element of "mends".
type jsonMend struct {
	Rules      []string              `json:"rules"`
	Checkpoint string                `json:"checkpoint"`
	What       string                `json:"what"`
	Count      int                   `json:"count"`
	Changes    []rename.FoldedChange `json:"changes,omitempty"`
}

// A jsonDeclined is an element of "declined".
type jsonDeclined struct {
	Rule       string `json:"rule"`
	Checkpoint string `json:"checkpoint"`
	Reason     string `json:"reason"`
}

func (m *mending) write(p *program, o *fixOptions) error {
	if o.form == "json" {
		d := render.NewDocument(p.stdout)
		mends := make([]jsonMend, len(m.mends))
		for i, x := range m.mends {
			mends[i] = jsonMend{x.Rules, x.Checkpoint, x.What, x.Count, x.Changes()}
		}
		declined := make([]jsonDeclined, len(m.declined))
		for i, x := range m.declined {
			declined[i] = jsonDeclined{x.Rule, x.Checkpoint, x.Reason}
		}
		left := make([]jsonFinding, len(m.left.findings))
		for i := range m.left.findings {
			left[i] = newJSONFinding(&m.left.findings[i])
		}
		render.List(d, "mends", mends)
		render.List(d, "declined", declined)
		d.Field("written", optional(m.written))
		render.List(d, "findings", left)
		return d.Close()
	}
	var b strings.Builder
	s := p.style()
	for _, x := range m.mends {
		fmt.Fprintf(&b, "%s: %s\n", s.Paint(render.Bold, strings.Join(x.Rules, " ")), render.EscapeMessage(x.What))
		for _, c := range x.Changes() {
			to := render.Escape(c.To)
			if c.To == "" {
				to = "dropped: " + render.EscapeMessage(c.Reason)
			}
			fmt.Fprintf(&b, "  %s -> %s", render.Escape(c.From), to)
			if c.Count > 1 {
				fmt.Fprintf(&b, " (x%d)", c.Count)
			}
			b.WriteByte('\n')
		}
	}
	for _, x := range m.declined {
		fmt.Fprintf(&b, "%s: left alone: %s\n", x.Rule, render.EscapeMessage(x.Reason))
	}
	switch {
	case len(m.mends) == 0:
		fmt.Fprintf(&b, "nothing to mend in %s\n", render.EscapeMessage(cmp.Or(m.written, m.path)))
	case m.written == "":
		fmt.Fprintf(&b, "%s planned, nothing written; --in-place or -o DST writes\n", counted(len(m.mends), "mend"))
	default:
		fmt.Fprintf(&b, "%s made in %s; left: %s\n", counted(len(m.mends), "mend"), render.EscapeMessage(m.written), m.left.summary())
	}
	_, err := io.WriteString(p.stdout, b.String())
	return err
}
