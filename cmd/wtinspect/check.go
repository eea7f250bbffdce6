package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/argv"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/report"
)

// A judging is what check and fix have in common: by which rules a release is
// judged.
type judging struct {
	reading
	rules argv.Rules
}

func (o *judging) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	o.rules.Given = flags.Changed
	flags.StringSliceVar(&o.rules.Select, "select", nil, "apply only these `RULES`: an ID, the beginning of several (WT2), or a name")
	flags.StringSliceVar(&o.rules.Ignore, "ignore", nil, "leave out these `RULES`")
	profiles := inspect.Profiles()
	flags.Var(newChoice(&o.rules.Profile, append([]string{""}, profiles...)...), "profile", "also apply the requirements of a loader: "+strings.Join(profiles, ", "))
	complete(cmd, "profile", profiles...)
	flags.StringVar(&o.rules.Settings, "config", "", "read settings from `FILE` instead of looking for "+inspect.SettingsName)
	group(flags, "Choosing rules", "select", "ignore", "profile", "config")
}

// choice is what the flags say about the rules.
func (o *judging) choice(p *program) inspect.RuleChoice { return o.rules.Choice(p.now()) }

type checkOptions struct {
	pathList
	judging
	output
	progress
	values, changed         bool
	failOn, against, base   string
	baseline, writeBaseline string
	reports                 []string
	max                     int
}

func newCheck(p *program) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [PATH...]",
		Short: "Check releases against rules, for people and for CI",
		Long: `Check reads the headers of a release and the documents beside them, and
applies rules about the container, shards and index, agreement with config.json
and related files, names, quantised weights, and changes since an earlier release.
With --values it also reads all data once and checks the numbers: NaN and infinity,
tensors of zeros or of one number, layers that repeat another, untrained rows,
copies, and scales. 'wtinspect rules' lists the rules, 'wtinspect explain RULE' documents one,
and 'wtinspect fix' fixes what can be fixed automatically.

A file .wtinspect.yaml in the release's directory or above it chooses rules, a
profile, severities and exceptions. If wtinspect.lock.json is beside the weights,
the release is checked against it.

For a directory it checks the release in that directory; with -R every release at
and below it, each with its own settings and lock. With --changed the paths are files
that changed, as listed by git: every release that they belong to is checked as a
whole, and it is not an error if there is none.`,
		Annotations: exitStatus(
			"1  a finding is at or above --fail-on",
			"2  also if a path has no checkpoint that can be read",
		),
		Example: `  wtinspect check
  wtinspect check --fail-on warning --profile transformers release/
  wtinspect check --select WT2 -f json .
  wtinspect check --report sarif=wtinspect.sarif --report markdown=summary.md .
  wtinspect check --against ../v1 .
  wtinspect check -R ~/.cache/huggingface/hub
  git diff --name-only main... | wtinspect check --changed -
  wtinspect check --base flux1-dev.safetensors lora.safetensors
  wtinspect check --values -j 4 .`,
		ValidArgsFunction: p.completePaths,
		Args: func(_ *cobra.Command, args []string) error {
			if o.changed && len(args) == 0 && o.From == "" {
				return errors.New("--changed: name the files that have changed, or give a list of them with --files-from")
			}
			return nil
		},
		RunE: o.work(p, func(cmd *cobra.Command, paths []string) error {
			return runCheck(cmd.Context(), p, &o, paths)
		}),
	}
	flags := cmd.Flags()
	o.judging.addFlags(cmd)
	o.pathList.addFlags(cmd)
	flags.Var(newChoice(&o.failOn, "error", "warning", "info"), "fail-on", "exit with 1 if a finding has this severity or above: error, warning or info")
	complete(cmd, "fail-on", "error", "warning", "info")
	flags.BoolVar(&o.values, "values", false, "also apply the rules about values, which read all data")
	flags.BoolVar(&o.changed, "changed", false, "the paths are changed files: check the releases that they belong to")
	flags.StringVar(&o.against, "against", "", "compare the release with `OLD`, an earlier release or a lock")
	flags.StringVar(&o.base, "base", "", "check adapters against `MODEL`: it must have the modules that they change")
	flags.StringVar(&o.baseline, "baseline", "", "leave out the findings in the baseline `FILE`")
	flags.StringVar(&o.writeBaseline, "write-baseline", "", "write the findings to the baseline `FILE` and exit 0")
	addFormat(cmd, &o.format, "output format: "+strings.Join(report.Forms(), ", "), report.Forms()...)
	o.columnList.addFlag(cmd, p, &o.format, func(answer.Options) []render.Column { return report.Columns() })
	o.addPath(cmd)
	flags.StringArrayVar(&o.reports, "report", nil, "also write the answer in a format to a file, as `FORMAT=FILE` (repeatable)")
	flags.IntVar(&o.max, "max", 100, "show at most `N` findings in formats for people; 0 shows all")
	group(flags, "Output", "report", "max")
	o.reading.addFlags(cmd)
	flags.Lookup("recursive").Usage = "check every release at and below the paths separately"
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

func runCheck(ctx context.Context, p *program, o *checkOptions, paths []string) error {
	defer saveMemory()()
	reports, err := parseReports(o.reports)
	if err != nil {
		return err
	}
	if o.workers < 0 || o.max < 0 {
		return errors.New("-j and --max cannot be negative")
	}
	bar := o.jobMeter(p, "values")
	opts := &inspect.CheckOptions{
		RuleChoice: o.choice(p), Recursive: o.recursive, Subtree: o.subtree, Changed: o.changed, Values: o.values, Against: o.against, Base: o.base,
		Baseline: o.baseline, Workers: o.workers, Progress: bar.update,
	}
	if o.rules.Given("fail-on") {
		opts.FailOn = o.failOn
	}
	if o.writeBaseline != "" {
		opts.FailOn, opts.NoBaseline = "never", true
	}
	r, err := inspect.Check(ctx, paths, opts)
	bar.end()
	for _, problem := range r.Problems {
		p.say("%v", problem)
	}
	if err != nil {
		return err
	}
	if p.verbose {
		for _, file := range r.Disregarded {
			p.say("%s: settings published with the release are ignored; use --config FILE to read a file", file)
		}
	}
	if o.base != "" && len(r.Fits) == 0 && len(r.Problems) == 0 {
		return errNoAdapter
	}
	if o.changed && len(r.Releases) == 0 && len(r.Problems) == 0 {
		p.note("none of the changed files belongs to a release")
	}
	for _, f := range r.Fits {
		p.note("%s", report.FitText(f))
	}
	if folders := report.FoldersText(r.NotEntered); folders != "" {
		how := "-R checks every release below"
		if o.recursive {
			how = "name a file of theirs to check it"
		}
		p.note("not checked: %s; %s", folders, how)
	}
	if o.writeBaseline != "" {
		out := output{path: o.writeBaseline}
		if err := out.write(p, r.Files, func(w io.Writer, _ render.Style) error { return r.WriteBaseline(w) }); err != nil {
			return err
		}
		p.note("%s: %s; later runs with --baseline leave them out", o.writeBaseline, counted(len(r.Findings), "finding"))
	}
	print := func(out output) error {
		return out.write(p, r.Files, func(w io.Writer, s render.Style) error {
			return report.Check(w, out.format, r, report.Options{Max: o.max, Style: s, Version: thisBuild().version})
		})
	}
	for _, out := range reports {
		if err := print(out); err != nil {
			return err
		}
	}
	if err := print(o.output); err != nil {
		return err
	}
	switch {
	case r.Summary.Unjudged > 0:
		return &exitError{exitFailed}
	case r.Summary.Failed:
		return &exitError{exitFindings}
	}
	return nil
}

var errNoAdapter = errors.New("--base is for adapters, and none of the checkpoints is one")

// now is the day that exceptions are held against. SOURCE_DATE_EPOCH stands
// for it in reproducible builds (https://reproducible-builds.org).
func (p *program) now() time.Time { return argv.Now(p.getenv) }

// parseReports reads the values of --report.
func parseReports(list []string) ([]output, error) {
	var out []output
	for _, s := range list {
		format, path, ok := strings.Cut(s, "=")
		if !ok || path == "" || !slices.Contains(report.Forms(), format) {
			return nil, fmt.Errorf("--report %s: FORMAT=FILE is needed, with a format of %s", s, strings.Join(report.Forms(), ", "))
		}
		if err := destination("--report "+format+"=", path); err != nil {
			return nil, err
		}
		out = append(out, output{format: format, path: path})
	}
	return out, nil
}
