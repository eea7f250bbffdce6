package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

// A judging is what check and fix have in common: by which rules a release is
// judged.
type judging struct {
	reading
	selects, ignores  []string
	profile, settings string
	// said tells which flags were given, so that they go before the settings.
	said func(flag string) bool
}

func (o *judging) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	o.said = flags.Changed
	flags.StringSliceVar(&o.selects, "select", nil, "go by these `RULES` only: an ID, or the beginning of several (WT2)")
	flags.StringSliceVar(&o.ignores, "ignore", nil, "leave out these `RULES`")
	profiles := []string{""}
	for _, name := range check.Profiles() {
		profiles = append(profiles, string(name))
	}
	flags.Var(newChoice(&o.profile, profiles...), "profile", "demands of a loader: "+strings.Join(profiles[1:], ", "))
	complete(cmd, "profile", profiles[1:]...)
	flags.StringVar(&o.settings, "config", "", "read settings from `FILE` instead of looking for "+check.SettingsName)
}

// options joins the flags and the settings for a release.
func (o *judging) options(ctx context.Context, p *program, rel *checkpoint.Release) (*check.Options, *check.Settings, error) {
	var set *check.Settings
	var err error
	if o.settings != "" {
		var data []byte
		if data, err = source.ReadNamed(ctx, o.settings, source.Settings); err != nil {
			return nil, nil, plain(err)
		}
		set, err = check.ParseSettings(o.settings, data)
	} else {
		set, err = check.FindSettings(ctx, rel.Dir)
	}
	if err != nil {
		return nil, nil, err
	}
	opts := &check.Options{
		Select: set.Select, Ignore: o.ignores, Profile: set.Profile, Severities: set.Severities,
		Exceptions: set.Exceptions, Now: p.now(),
	}
	if o.said("select") {
		opts.Select = o.selects
	}
	if o.said("profile") {
		opts.Profile = check.Profile(o.profile)
	}
	return opts, set, nil
}

type checkOptions struct {
	judging
	output
	progress
	values                  bool
	failOn, against         string
	baseline, writeBaseline string
	reports                 []string
	max                     int
}

func newCheck(p *program) *cobra.Command {
	var o checkOptions
	cmd := &cobra.Command{
		Use:   "check [PATH...]",
		Short: "Judge releases by rules, for people and for CI",
		Long: `Check reads the headers of a release and the documents beside them, and judges
it by rules: the container, shards and index, agreement with config.json and its
kin, names, what belongs to quantised weights, and change against an earlier
release. With --values it also reads all data once, and judges the numbers: NaN and
infinity, tensors of zeros or of one number, layers that repeat another, untrained
rows, copies, and scales. 'wtinspect rules' lists the rules and 'wtinspect explain RULE' documents
one; 'wtinspect fix' mends what can be mended mechanically.

A file .wtinspect.yaml in the release's directory or above it chooses rules, a
profile, severities and exceptions. Where wtinspect.lock.json stands beside the
weights, the release is held to it.`,
		Annotations: exitStatus(
			"1  a finding is at or above --fail-on",
			"2  also when a path holds no checkpoint that can be read",
		),
		Example: `  wtinspect check
  wtinspect check --fail-on warning --profile transformers release/
  wtinspect check --select WT2 -f json .
  wtinspect check --report sarif=wtinspect.sarif --report markdown=summary.md .
  wtinspect check --against ../v1 .
  wtinspect check --values -j 4 .`,
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runCheck(cmd.Context(), p, &o, args)
		}),
	}
	flags := cmd.Flags()
	o.judging.addFlags(cmd)
	flags.Var(newChoice(&o.failOn, "error", "warning", "info"), "fail-on", "exit 1 from this severity on: error, warning or info")
	complete(cmd, "fail-on", "error", "warning", "info")
	flags.BoolVar(&o.values, "values", false, "also go by the rules that read values, which takes as long as reading all data")
	flags.StringVar(&o.against, "against", "", "hold the release to `OLD`: an earlier release, or a lock")
	flags.StringVar(&o.baseline, "baseline", "", "leave out the findings of the baseline `FILE`")
	flags.StringVar(&o.writeBaseline, "write-baseline", "", "write the findings to the baseline `FILE` and exit 0")
	flags.VarP(newChoice(&o.format, checkFormats()...), "format", "f", "form of the output: "+strings.Join(checkFormats(), ", "))
	complete(cmd, "format", checkFormats()...)
	flags.StringVarP(&o.path, "output", "o", "", "write to `PATH` instead of stdout, whole or not at all")
	flags.StringArrayVar(&o.reports, "report", nil, "also write `FORMAT=FILE`; repeatable")
	flags.IntVar(&o.max, "max", 100, "show at most `N` findings in forms for people; 0 shows all")
	o.reading.addFlags(cmd)
	o.progress.addFlags(cmd)
	return cmd
}

// A verdict is what check has to say about all its paths.
type verdict struct {
	findings []check.Finding
	rules    []*check.Rule
	// checkpoints are the paths of those judged.
	checkpoints     []string
	tensors         int
	accepted, known int
	// unjudged counts the paths that hold nothing that can be judged.
	unjudged int
	// failOn is the severity from which on the exit code is 1.
	failOn checkpoint.Severity
	// max bounds the findings in forms for people; 0 does not.
	max int
}

func (v *verdict) count(s checkpoint.Severity) int {
	n := 0
	for i := range v.findings {
		if v.findings[i].Severity == s {
			n++
		}
	}
	return n
}

func (v *verdict) failed() bool {
	return slices.ContainsFunc(v.findings, func(f check.Finding) bool { return f.Severity >= v.failOn })
}

func runCheck(ctx context.Context, p *program, o *checkOptions, args []string) error {
	reports, err := parseReports(o.reports)
	if err != nil {
		return err
	}
	if o.workers < 0 || o.max < 0 {
		return errors.New("-j and --max cannot be negative")
	}
	if len(args) == 0 {
		args = []string{"."}
	}
	v := &verdict{max: o.max}
	v.failOn, _ = check.ParseSeverity(o.failOn)
	var against *check.Lock
	if o.against != "" {
		if against, err = o.readAgainst(ctx); err != nil {
			return err
		}
	}
	var inputs []string
	for _, path := range args {
		files, ok, err := o.judge(ctx, p, path, against, v)
		if err != nil {
			return err
		}
		if !ok {
			v.unjudged++
		}
		inputs = append(inputs, files...)
	}
	slices.SortStableFunc(v.findings, func(a, b check.Finding) int { return cmp.Compare(b.Severity, a.Severity) })

	if o.writeBaseline != "" {
		out := output{path: o.writeBaseline}
		err := out.write(p, inputs, func(w io.Writer, _ render.Style) error {
			return check.WriteBaseline(w, &check.Report{Findings: v.findings})
		})
		if err != nil {
			return err
		}
		p.note("%s: %s; later runs with --baseline leave them out", o.writeBaseline, counted(len(v.findings), "finding"))
		v.failOn = checkpoint.Error + 1
	}
	for _, r := range reports {
		out := output{path: r.path}
		if err := out.write(p, inputs, func(w io.Writer, s render.Style) error { return r.print(w, s, v) }); err != nil {
			return err
		}
	}
	if err := o.write(p, inputs, func(w io.Writer, s render.Style) error { return checkPrinters[o.format](w, s, v) }); written(err) != nil {
		return err
	}
	switch {
	case v.unjudged > 0:
		return &exitError{exitFailed}
	case v.failed():
		return &exitError{exitFindings}
	}
	return nil
}

// judge adds what there is to say about one path to the verdict. It returns
// the files that were read, and whether the path could be.
func (o *checkOptions) judge(ctx context.Context, p *program, path string, against *check.Lock, v *verdict) (files []string, ok bool, err error) {
	rel, openErr := checkpoint.Open(ctx, path, &checkpoint.Options{Recursive: o.recursive, Workers: o.workers})
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	if openErr != nil {
		// A file that is broken has findings, though there is nothing else to judge.
		fault, isFault := errors.AsType[*checkpoint.Fault](openErr)
		p.say("%v", openErr)
		if !isFault {
			return nil, false, nil
		}
		rel = &checkpoint.Release{Path: path, Dir: filepath.Dir(path), Faults: []checkpoint.Fault{*fault}}
	}
	defer rel.Close()
	ok = openErr == nil
	for _, dir := range pendingIn(path, rel) {
		p.say("%s: a rewrite was interrupted, and the release may be part old and part new; 'wtinspect rename --recover %s' ends it", path, dir)
		ok = false
	}
	opts, err := o.releaseOptions(ctx, p, rel, against, v)
	if err != nil {
		return nil, false, err
	}
	total := int64(0)
	if o.values {
		total = dataBytes(rel)
	}
	bar := o.meter(p, "values", total)
	opts.Progress = bar.add
	report, err := check.Run(ctx, rel, opts)
	bar.end()
	if err != nil {
		return nil, false, err
	}
	v.findings = append(v.findings, report.Findings...)
	v.checkpoints = append(v.checkpoints, report.Checkpoints...)
	v.rules = report.Rules
	v.tensors += report.Tensors
	v.accepted += report.Accepted
	v.known += report.Known
	return (&inspect.Set{Checkpoints: rel.Checkpoints}).Paths(), ok, nil
}

// dataBytes is how much data a release has.
func dataBytes(rel *checkpoint.Release) int64 {
	var total inspect.Sum
	for _, c := range rel.Checkpoints {
		for _, t := range c.All() {
			total.Add(t.Bytes)
		}
	}
	return int64(min(total.N, math.MaxInt64))
}

// releaseOptions adds to the options what only check knows: the baseline, and
// what the release is held to.
func (o *checkOptions) releaseOptions(ctx context.Context, p *program, rel *checkpoint.Release, against *check.Lock, v *verdict) (*check.Options, error) {
	opts, set, err := o.options(ctx, p, rel)
	if err != nil {
		return nil, err
	}
	opts.Values, opts.Workers = o.values, o.workers
	if err := opts.Check(); err != nil {
		return nil, err
	}
	opts.Against = against
	if set.FailOn != "" && !o.said("fail-on") && o.writeBaseline == "" {
		v.failOn, _ = check.ParseSeverity(set.FailOn)
	}
	if name := cmp.Or(o.baseline, set.Baseline); name != "" && o.writeBaseline == "" {
		text, err := source.ReadNamed(ctx, name, source.Baseline)
		if err != nil {
			return nil, plain(err)
		}
		if opts.Baseline, err = check.ReadBaseline(name, bytes.NewReader(text)); err != nil {
			return nil, err
		}
	}
	if opts.Against == nil {
		lock, err := check.OpenLock(ctx, filepath.Join(rel.Dir, check.LockName))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		opts.Against = lock
	}
	return opts, nil
}

// readAgainst reads what --against names: a lock, or a release.
func (o *checkOptions) readAgainst(ctx context.Context) (*check.Lock, error) {
	base := filepath.Base(o.against)
	if strings.HasSuffix(base, ".json") && !strings.Contains(base, ".index.") {
		return check.OpenLock(ctx, o.against)
	}
	rel, err := checkpoint.Open(ctx, o.against, &checkpoint.Options{Recursive: o.recursive, Workers: o.workers})
	if err != nil {
		return nil, err
	}
	defer rel.Close()
	return check.NewLock(ctx, rel, false, nil)
}

// now is the day that exceptions are held against. SOURCE_DATE_EPOCH stands
// for it in reproducible builds (https://reproducible-builds.org).
func (p *program) now() time.Time {
	var epoch int64
	if _, err := fmt.Sscan(p.getenv("SOURCE_DATE_EPOCH"), &epoch); err == nil {
		return time.Unix(epoch, 0).UTC()
	}
	return time.Now()
}

// A checkReport is a --report.
type checkReport struct {
	path  string
	print checkPrinter
}

func parseReports(list []string) ([]checkReport, error) {
	var out []checkReport
	for _, s := range list {
		format, path, ok := strings.Cut(s, "=")
		print := checkPrinters[format]
		if !ok || print == nil || path == "" {
			return nil, fmt.Errorf("--report %s: FORMAT=FILE is needed, with a format of %s", s, strings.Join(checkFormats(), ", "))
		}
		out = append(out, checkReport{path, print})
	}
	return out, nil
}

// pendingIn returns the directories whose journals say that what was opened at
// path may be part old and part new.
func pendingIn(path string, rel *checkpoint.Release) []string {
	var out []string
	add := func(ref string) {
		if dir, pending := rewrite.Pending(ref); pending && !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	add(path)
	for _, c := range rel.Checkpoints {
		if c.Dir != rel.Dir {
			add(c.Dir)
		}
	}
	return out
}
