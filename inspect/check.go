package inspect

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/policy"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// SettingsName is the name of the file, in the directory of a release or above it,
// that says how the release is judged.
const SettingsName = policy.SettingsName

// NoProfile is the profile of a release that is judged by its format alone,
// whatever its settings say.
const NoProfile = "none"

// A RuleChoice says by which rules releases are judged. What it leaves out comes
// from the settings of each release.
type RuleChoice struct {
	// Select are the rules to go by, each an ID or the beginning of several
	// ("WT2"). nil means those of the settings, and an empty list means all.
	Select []string
	// Ignore are rules to leave out.
	Ignore []string
	// Profile is a loader whose demands count too, one of [Profiles], or NoProfile.
	Profile string
	// Settings is a file to read instead of looking for SettingsName.
	Settings string
	// Now is when exceptions are held to have expired; the zero time means
	// [time.Now].
	Now time.Time
}

// CheckOptions adjust [Check].
type CheckOptions struct {
	RuleChoice
	// Recursive judges every release at and below the paths, each by itself. A tree
	// that is held to one lock, Against or the one beside it, is one release.
	Recursive bool
	// Subtree is the part of PyTorch files that is read; see [checkpoint.Options].
	Subtree string
	// Changed says that the paths are those of files that have changed, below the
	// working directory: what is judged are the releases that they belong to, if any.
	// Settings concern every release below them.
	Changed bool
	// Values also goes by the rules that read values, which takes as long as
	// reading all data.
	Values bool
	// FailOn is the severity from which on the result has failed: error,
	// warning, info, or never. "" means that of the settings, or else error.
	FailOn string
	// Against is what the releases are held to: the path of an earlier release
	// or of a lock. "" means the lock beside each release.
	Against string
	// Base is the path of the model that adapters are for: what they change must be
	// in it. "" asks nothing of them.
	Base string
	// Baseline is a file with findings to leave out. "" means that of the
	// settings, unless NoBaseline is set.
	Baseline   string
	NoBaseline bool
	// Workers is how many files are opened, and how many tensors read, at once;
	// 0 means as many as there are processors, and at least 4 files.
	Workers  int
	Progress func(done, total int64)
}

// A CheckResult is what [Check] found.
type CheckResult struct {
	// Checkpoints are the paths of the checkpoints judged.
	Checkpoints []string `json:"checkpoints"`
	// Releases are those that were judged.
	Releases []JudgedRelease `json:"releases"`
	// Findings are sorted by severity, the worst first, and then by rule.
	Findings []Finding    `json:"findings"`
	Summary  CheckSummary `json:"summary"`
	// Fits say how adapters fit the base that was given.
	Fits []Fit `json:"fits,omitempty"`
	// NotEntered are directories below the paths with weights or pickles that were not judged.
	NotEntered []Folder `json:"not_entered,omitempty"`
	// Rules are those that ran.
	Rules []Rule `json:"-"`
	// Problems say why paths could not be checked.
	Problems []error `json:"-"`
	// Disregarded are settings files that came with what somebody else published.
	Disregarded []string `json:"-"`
	// Files are the paths of the files that were read.
	Files []string `json:"-"`
}

// A Folder is a directory with weights or pickles in it.
type Folder struct {
	Path    string `json:"path"`
	Weights bool   `json:"weights"`
	// Pickles is how many files in it are called pickles.
	Pickles int `json:"pickles"`
}

// A Fit says how an adapter fits a model.
type Fit struct {
	Checkpoint string `json:"checkpoint"`
	Base       string `json:"base"`
	// Modules is how many the adapter changes, and Targets how many of them the base
	// has.
	Modules int `json:"modules"`
	Targets int `json:"targets"`
}

// A JudgedRelease counts what a check found in one release.
type JudgedRelease struct {
	Path string `json:"path"`
	// Revision is the commit of a repository that was judged, absent elsewhere.
	Revision *string `json:"revision,omitempty"`
	Errors   int     `json:"errors"`
	Warnings int     `json:"warnings"`
	Infos    int     `json:"infos"`
	// Failed says that a finding is at or above what the release fails on.
	Failed bool `json:"failed"`
}

// A CheckSummary counts what a check found.
type CheckSummary struct {
	Errors   int `json:"errors"`
	Warnings int `json:"warnings"`
	Infos    int `json:"infos"`
	// Accepted counts the findings that an exception accepts, and Baseline those
	// that the baseline has. They are in no other count.
	Accepted int `json:"accepted"`
	Baseline int `json:"baseline"`
	Tensors  int `json:"tensors"`
	// Unjudged counts the paths that hold nothing that can be judged.
	Unjudged int `json:"unjudged"`
	Rules    int `json:"rules"`
	// FailOn is what the releases fail on, by their settings the lowest of several.
	FailOn string `json:"fail_on"`
	// Failed says that a release has failed.
	Failed bool `json:"failed"`
}

// A Finding is what a rule has to say about a place. What it has no value for is
// nil.
type Finding struct {
	// Rule is the ID of the rule, and Name its name.
	Rule     string              `json:"rule"`
	Name     string              `json:"name"`
	Severity checkpoint.Severity `json:"severity"`
	// Checkpoint is the path of the checkpoint.
	Checkpoint *string `json:"checkpoint"`
	// File is the path of the file, of several the first.
	File *string `json:"file"`
	// Line and Column are a place in a text, from 1, and Offset is a byte of File.
	Line   *int   `json:"line"`
	Column *int   `json:"column"`
	Offset *int64 `json:"offset"`
	// Tensor is a name, or a template in which the numbers that vary stand as
	// sets in braces.
	Tensor *string `json:"tensor"`
	// TensorBase64 has the bytes of a name that is not UTF-8.
	TensorBase64 []byte `json:"tensor_base64,omitempty"`
	// Count is how many tensors or places the finding stands for.
	Count int `json:"count"`
	// Message is for people; the text may change.
	Message string `json:"message"`
	// Fixable says that 'wtinspect fix', or [Fix], takes it away.
	Fixable bool `json:"fixable"`
	// Fingerprint identifies the finding from one run to the next.
	Fingerprint string `json:"fingerprint"`
}

// Path returns the file, or else the checkpoint, that the finding is about.
func (f *Finding) Path() string {
	switch {
	case f.File != nil:
		return *f.File
	case f.Checkpoint != nil:
		return *f.Checkpoint
	}
	return ""
}

// Place says where the finding is: path:line:column in a text, path@byte
// elsewhere.
func (f *Finding) Place() string {
	switch {
	case f.Line != nil && f.Column != nil:
		return fmt.Sprintf("%s:%d:%d", f.Path(), *f.Line, *f.Column)
	case f.Offset != nil:
		return fmt.Sprintf("%s@%d", f.Path(), *f.Offset)
	}
	return f.Path()
}

func newFindings(list []check.Finding) []Finding {
	out := make([]Finding, len(list))
	for i := range list {
		f := &list[i]
		out[i] = Finding{
			Rule: f.Rule.ID, Name: f.Rule.Name, Severity: f.Severity,
			Checkpoint: some(f.Checkpoint), File: some(f.File), Line: some(f.Line), Column: some(f.Column),
			Tensor: some(f.Tensor), Count: f.Count, Message: f.Message, Fixable: f.Fixable, Fingerprint: f.Fingerprint(),
		}
		if f.Offset >= 0 {
			out[i].Offset = &f.Offset
		}
		if !utf8.ValidString(f.Tensor) {
			out[i].TensorBase64 = []byte(f.Tensor)
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(b.Severity, a.Severity) })
	return out
}

// WriteBaseline writes the findings as a baseline, by which later runs leave them
// out.
func (r *CheckResult) WriteBaseline(w io.Writer) error {
	list := make([]policy.Known, len(r.Findings))
	for i, f := range r.Findings {
		list[i] = policy.Known{Fingerprint: f.Fingerprint, Rule: f.Rule, Message: f.Message}
		if f.Tensor != nil {
			list[i].Tensor = *f.Tensor
		}
	}
	return policy.WriteBaseline(w, list)
}

// Check judges what is at some paths. A path that cannot be judged is a problem of
// the result and no error; errors are wrong options and settings.
func Check(ctx context.Context, refs []string, opts *CheckOptions) (*CheckResult, error) {
	if opts == nil {
		opts = new(CheckOptions)
	}
	c := &checking{opts: opts, by: judge{CheckOptions: opts}, result: &CheckResult{Checkpoints: []string{}, Releases: []JudgedRelease{}, Summary: CheckSummary{FailOn: cmp.Or(opts.FailOn, checkpoint.Error.String())}}}
	if _, ok := checkpoint.ParseSeverity(c.result.Summary.FailOn); !ok && opts.FailOn != never {
		return c.result, fmt.Errorf("fail on %q: must be one of: error, warning, info, never", opts.FailOn)
	}
	if opts.Against != "" {
		var err error
		if c.by.against, err = c.readAgainst(ctx); err != nil {
			return c.result, err
		}
	}
	if opts.Base != "" {
		base, err := checkpoint.Open(ctx, opts.Base, &checkpoint.Options{Recursive: true, Workers: opts.Workers})
		if err != nil {
			return c.result, err
		}
		defer base.Close()
		c.by.base = base
	}
	scopes, err := c.scopes(ctx, refs)
	if err != nil {
		return c.result, err
	}
	for _, s := range scopes {
		if err := c.judge(ctx, s); err != nil {
			return c.result, err
		}
	}
	if !opts.Changed && len(c.result.Releases) > 0 {
		c.findNotEntered(ctx, refs)
	}
	c.finish()
	return c.result, nil
}

// enter notes the directories of a release.
func (c *checking) enter(rel *checkpoint.Release) {
	if c.entered == nil {
		c.entered = make(map[string]bool)
	}
	dirs := []string{rel.Dir}
	for _, c := range rel.Checkpoints {
		dirs = append(dirs, c.Dir)
	}
	for _, path := range rel.Pickles {
		dirs = append(dirs, source.Dir(path))
	}
	for _, dir := range dirs {
		c.entered[filepath.Clean(dir)] = true
	}
}

// findNotEntered finds what was not judged below the directories among the paths.
func (c *checking) findNotEntered(ctx context.Context, refs []string) {
	for _, ref := range refs {
		if normal, err := source.Normalize(ctx, ref); err == nil {
			ref = normal
		}
		if !source.IsDir(ctx, ref) {
			continue
		}
		for _, f := range checkpoint.Folders(ctx, ref) {
			if dir := filepath.Clean(f.Dir); !c.entered[dir] {
				c.entered[dir] = true
				c.result.NotEntered = append(c.result.NotEntered, Folder{f.Dir, f.Weights, f.Pickles})
			}
		}
	}
}

const never = "never"

// checking is one call of Check.
type checking struct {
	opts   *CheckOptions
	by     judge
	result *CheckResult
	found  []check.Finding
	rules  map[*check.Rule]bool

	entered map[string]bool // the directories that were looked into
}

// open opens what is at a path. A file that is broken is a release of its own
// fault, which has findings though there is nothing else to judge but what it does as a
// pickle; the error is returned beside it.
func open(ctx context.Context, ref string, opts *checkpoint.Options) (*checkpoint.Release, error) {
	rel, err := checkpoint.Open(ctx, ref, opts)
	if fault, ok := errors.AsType[*checkpoint.Fault](err); ok {
		rel = &checkpoint.Release{Path: ref, Dir: source.Dir(ref), Faults: []checkpoint.Fault{*fault}, Pickles: []string{fault.File}}
	}
	return rel, err
}

func (c *checking) judge(ctx context.Context, s scope) error {
	ref := s.ref
	rel, err := open(ctx, ref, &checkpoint.Options{Recursive: s.tree, Workers: c.opts.Workers, Subtree: c.opts.Subtree})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	problems := len(c.result.Problems)
	defer func() {
		if len(c.result.Problems) > problems {
			c.result.Summary.Unjudged++
		}
	}()
	if err != nil {
		c.result.Problems = append(c.result.Problems, err)
		if rel == nil {
			return nil
		}
	}
	defer rel.Close()
	c.enter(rel)
	for _, dir := range pendingIn(ref, rel) {
		c.result.Problems = append(c.result.Problems, interrupted(ref, dir))
	}
	j, err := c.by.release(ctx, rel, nil)
	if j != nil && j.settings.Disregarded != "" && !slices.Contains(c.result.Disregarded, j.settings.Disregarded) {
		c.result.Disregarded = append(c.result.Disregarded, j.settings.Disregarded)
	}
	if j != nil && j.unlocked != nil {
		c.result.Problems = append(c.result.Problems, j.unlocked)
	}
	if err != nil {
		return err
	}
	for _, f := range j.report.Fits() {
		c.result.Fits = append(c.result.Fits, Fit(f))
	}
	c.add(rel, j)
	return nil
}

// interrupted is the error of a release that may be part old and part new.
func interrupted(ref, dir string) error {
	return fmt.Errorf("%s: %w, and the release may be part old and part new; 'wtinspect rename --recover %s' ends it", ref, errInterrupted, dir)
}

// A judge goes by what [CheckOptions] say.
type judge struct {
	*CheckOptions
	against *check.Lock
	base    *checkpoint.Release
}

// A judgement is what the rules say of one release, while it is open.
type judgement struct {
	settings *policy.Settings
	report   *check.Report
	failOn   string
	// Accepted counts the findings that an exception accepts, and known those of the
	// baseline. The report has neither.
	accepted, known int
	// unlocked says why the lock beside a release that somebody else published is not
	// read.
	unlocked error
}

// release judges an open release by its settings. Beside an error there is a judgement
// once these are known. Measured is told of the values that the rules read; it may be
// nil.
func (b *judge) release(ctx context.Context, rel *checkpoint.Release, measured func(c *checkpoint.Checkpoint, i int, r *values.Result)) (*judgement, error) {
	how, set, err := b.rules(ctx, rel.Dir)
	if err != nil {
		return nil, err
	}
	j := &judgement{settings: set, failOn: cmp.Or(b.FailOn, set.FailOn, checkpoint.Error.String())}
	how.Values, how.Workers, how.Against = b.Values, b.Workers, b.against
	how.Base, how.Measured = b.base, measured
	lenient, err := b.lenient(ctx, set)
	if err == nil && how.Against == nil {
		how.Against, err = policy.OpenLock(ctx, source.Join(rel.Dir, LockName))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			how.Against, err = nil, nil
		case err != nil && policy.IsPublished(rel.Dir):
			// Whoever published it does not end the run for other releases.
			j.unlocked = err
			how.Against, err = nil, nil
		}
	}
	if err != nil {
		return j, err
	}
	if b.Values {
		if err := reachOf(ctx, rel).allow(); err != nil {
			return j, err
		}
		how.Progress = counter(b.Progress, dataBytes(rel))
	}
	if j.report, err = runRules(ctx, rel, how); err != nil {
		return j, err
	}
	j.accepted, j.known = lenient.Apply(j.report)
	return j, nil
}

// runRules runs rules that are checked to exist.
func runRules(ctx context.Context, rel *checkpoint.Release, how *check.Options) (*check.Report, error) {
	if err := how.Check(); err != nil {
		return nil, err
	}
	return check.Run(ctx, rel, how)
}

// add adds what was found in a release to the result.
func (c *checking) add(rel *checkpoint.Release, j *judgement) {
	r, report := c.result, j.report
	judged := JudgedRelease{Path: rel.Path, Revision: revisionOf(rel)}
	limit, fails := checkpoint.ParseSeverity(j.failOn)
	counts := j.counts()
	judged.Errors, judged.Warnings, judged.Infos = counts[checkpoint.Error], counts[checkpoint.Warning], counts[checkpoint.Info]
	for s := limit; fails && s <= checkpoint.Error; s++ {
		judged.Failed = judged.Failed || counts[s] > 0
	}
	r.Summary.Errors += judged.Errors
	r.Summary.Warnings += judged.Warnings
	r.Summary.Infos += judged.Infos
	if lowest, ok := checkpoint.ParseSeverity(r.Summary.FailOn); len(r.Releases) == 0 || ok && fails && limit < lowest {
		r.Summary.FailOn = j.failOn
	}
	r.Releases = append(r.Releases, judged)
	r.Summary.Failed = r.Summary.Failed || judged.Failed
	r.Summary.Accepted += j.accepted
	r.Summary.Baseline += j.known
	r.Summary.Tensors += report.Tensors
	r.Checkpoints = append(r.Checkpoints, report.Checkpoints...)
	r.Files = append(r.Files, filesOf(rel.Checkpoints)...)
	c.found = append(c.found, report.Findings...)
	if c.rules == nil {
		c.rules = make(map[*check.Rule]bool)
	}
	for _, rule := range report.Rules {
		c.rules[rule] = true
	}
}

// counts returns how many findings of each severity there are.
func (j *judgement) counts() (of [checkpoint.Error + 1]int) {
	for i := range j.report.Findings {
		of[j.report.Findings[i].Severity]++
	}
	return of
}

// revisionOf returns the commit of the repository that a release was read from, nil
// elsewhere.
func revisionOf(rel *checkpoint.Release) *string {
	if len(rel.Checkpoints) == 0 {
		return nil
	}
	return some(rel.Checkpoints[0].Revision)
}

// finish makes the result of what was found.
func (c *checking) finish() {
	r := c.result
	for _, rule := range check.Rules() {
		if c.rules[rule] {
			r.Rules = append(r.Rules, newRule(rule))
		}
	}
	r.Summary.Rules = len(r.Rules)
	r.Findings = newFindings(c.found)
}

// rules joins the choice and the settings for a release in a directory.
func (o *RuleChoice) rules(ctx context.Context, dir string) (*check.Options, *policy.Settings, error) {
	set, err := o.settings(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	how, err := o.join(set)
	return how, set, err
}

// settings returns those of a release in a directory. Without a directory they are those
// that are the same for every release.
func (o *RuleChoice) settings(ctx context.Context, dir string) (*policy.Settings, error) {
	switch {
	case o.Settings != "":
		data, err := readNamed(ctx, o.Settings, source.Settings)
		if err != nil {
			return nil, err
		}
		return policy.ParseSettings(o.Settings, data)
	case dir == "":
		return new(policy.Settings), nil
	}
	return policy.FindSettings(ctx, dir)
}

// join joins the choice and settings.
func (o *RuleChoice) join(set *policy.Settings) (*check.Options, error) {
	how := &check.Options{Select: set.Select, Ignore: o.Ignore, Profile: set.Profile, Severities: set.Severities}
	if o.Select != nil {
		how.Select = o.Select
	}
	switch {
	case o.Profile == NoProfile:
		how.Profile = check.None
	case o.Profile != "":
		how.Profile = check.Profile(o.Profile)
		if !slices.Contains(check.Profiles(), how.Profile) {
			return nil, fmt.Errorf("profile %q: must be one of: %s", o.Profile, strings.Join(append(Profiles(), NoProfile), ", "))
		}
	}
	return how, nil
}

func (o *RuleChoice) leniency(set *policy.Settings) *policy.Leniency {
	l := &policy.Leniency{Exceptions: set.Exceptions, Now: o.Now}
	if l.Now.IsZero() {
		l.Now = time.Now()
	}
	return l
}

// lenient returns which findings do not count.
func (b *judge) lenient(ctx context.Context, set *policy.Settings) (*policy.Leniency, error) {
	l := b.leniency(set)
	name := cmp.Or(b.Baseline, set.Baseline)
	if name == "" || b.NoBaseline {
		return l, nil
	}
	text, err := readNamed(ctx, name, source.Baseline)
	if err != nil {
		return nil, err
	}
	l.Baseline, err = policy.ReadBaseline(name, bytes.NewReader(text))
	return l, err
}

// readAgainst reads what the releases are held to: a lock, or a release.
func (c *checking) readAgainst(ctx context.Context) (*check.Lock, error) {
	ref, err := source.Normalize(ctx, c.opts.Against)
	if err != nil {
		return nil, err
	}
	base := filepath.Base(ref)
	if strings.HasSuffix(base, ".json") && !strings.Contains(base, ".index.") {
		return policy.OpenLock(ctx, ref)
	}
	rel, err := checkpoint.Open(ctx, ref, &checkpoint.Options{Recursive: c.opts.Recursive, Workers: c.opts.Workers, Subtree: c.opts.Subtree})
	if err != nil {
		return nil, err
	}
	defer rel.Close()
	return check.NewLock(ctx, rel, false, nil)
}

// readNamed reads a file that the caller named.
func readNamed(ctx context.Context, path string, k source.Kind) ([]byte, error) {
	data, err := source.ReadNamed(ctx, path, k)
	return data, pathFirst(err)
}

// pathFirst makes an error of the file system begin with the path, as other
// errors do, and not with the system call.
func pathFirst(err error) error {
	if e, ok := err.(*fs.PathError); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
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

// filesOf lists the files of checkpoints.
func filesOf(list []*checkpoint.Checkpoint) []string {
	var out []string
	for _, c := range list {
		if c.Index != "" {
			out = append(out, c.Index)
		}
		for _, f := range c.Files {
			out = append(out, f.Path)
		}
	}
	return out
}

// reachOf is what there is to read of a release's values on other machines.
func reachOf(ctx context.Context, rel *checkpoint.Release) *reach {
	r := newReach(ctx)
	for _, c := range rel.Checkpoints {
		r.addAll(c, nil)
	}
	return r
}

// dataBytes is how much data a release has, as far as an int64 goes.
func dataBytes(rel *checkpoint.Release) int64 {
	var total int64
	for _, c := range rel.Checkpoints {
		for _, t := range c.All() {
			if sum := total + int64(t.Bytes); int64(t.Bytes) >= 0 && sum >= total {
				total = sum
			}
		}
	}
	return total
}
