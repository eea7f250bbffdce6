package inspect_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func weights(t *testing.T, path, text string) string {
	t.Helper()
	if err := fixture.Write(path, text); err != nil {
		t.Fatal(err)
	}
	return path
}

func check(t *testing.T, opts *inspect.CheckOptions, refs ...string) *inspect.CheckResult {
	t.Helper()
	r, err := inspect.Check(t.Context(), refs, opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func rulesOf(r *inspect.CheckResult) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Rule)
	}
	return out
}

// Several paths are one result: the worst first, every rule that ran, and what
// could not be checked as a problem.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	warn := weights(t, filepath.Join(dir, "a", "model.safetensors"), "meta format pt\ntensor \"a \" F32 [2]")
	fail := weights(t, filepath.Join(dir, "b", "model.safetensors"), "meta format pt\ntensor a F32 [2]\ntensor a F32 [2]")
	broken := filepath.Join(dir, "broken.safetensors")
	writeFile(t, broken, "12345")
	r := check(t, nil, warn, fail, broken, filepath.Join(dir, "missing"))
	if got := rulesOf(r); !slices.Equal(got, []string{"WT106", "WT101", "WT112"}) && !slices.Equal(got, []string{"WT101", "WT106", "WT112"}) {
		t.Errorf("findings %v", got)
	}
	s := r.Summary
	if s.Errors != 2 || s.Warnings != 1 || s.Tensors != 3 || s.Unjudged != 2 || s.Rules != len(r.Rules) || s.FailOn != "error" || !s.Failed {
		t.Errorf("%+v", s)
	}
	if len(r.Problems) != 2 || !errors.Is(r.Problems[1], fs.ErrNotExist) {
		t.Errorf("problems %v", r.Problems)
	}
	if !slices.Equal(r.Checkpoints, []string{warn, fail}) || !slices.Equal(r.Files, []string{warn, fail}) {
		t.Errorf("checkpoints %v, files %v", r.Checkpoints, r.Files)
	}
	for failOn, want := range map[string]bool{"error": false, "warning": true, "info": true, "never": false, "": false} {
		if r := check(t, &inspect.CheckOptions{FailOn: failOn}, warn); r.Summary.Failed != want {
			t.Errorf("fail on %q: %v", failOn, !want)
		}
	}
}

// Where rules differ from one release to the next, the result has those that ran
// for any.
func TestCheckRulesOfSeveral(t *testing.T) {
	dir := t.TempDir()
	a := weights(t, filepath.Join(dir, "a", "model.safetensors"), "meta format pt\ntensor \"a \" F32 [2]")
	b := weights(t, filepath.Join(dir, "b", "model.safetensors"), "meta format pt\ntensor a F32 [2]")
	writeFile(t, filepath.Join(dir, "b", inspect.SettingsName), "select: [WT106]")
	r := check(t, &inspect.CheckOptions{}, a, b)
	for _, f := range r.Findings {
		if !slices.ContainsFunc(r.Rules, func(rule inspect.Rule) bool { return rule.ID == f.Rule }) {
			t.Errorf("%s found something and is none of the rules that ran", f.Rule)
		}
	}
	if len(r.Findings) != 1 || r.Summary.Rules < 50 {
		t.Errorf("%d findings by %d rules", len(r.Findings), r.Summary.Rules)
	}
}

// What the options say goes before the settings, and what they leave out does not.
func TestCheckOptionsAndSettings(t *testing.T) {
	dir := t.TempDir()
	path := weights(t, filepath.Join(dir, "model.safetensors"), "tensor \"a \" F32 [2]")
	writeFile(t, filepath.Join(dir, "config.json"), "{}")
	writeFile(t, filepath.Join(dir, inspect.SettingsName), "profile: transformers\nselect: [WT9]\nfail-on: info\nbaseline: base.json")
	writeFile(t, filepath.Join(dir, "other.yaml"), "select: [WT1]")
	none := check(t, &inspect.CheckOptions{NoBaseline: true}, path)
	var base bytes.Buffer
	if err := none.WriteBaseline(&base); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "base.json"), base.String())
	for _, tt := range []struct {
		what   string
		opts   inspect.CheckOptions
		rules  []string
		failed bool
	}{
		{"the settings", inspect.CheckOptions{}, nil, false},
		{"no baseline", inspect.CheckOptions{NoBaseline: true}, []string{"WT904"}, true},
		{"a choice", inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Select: []string{"WT112"}}}, []string{"WT112"}, true},
		{"all rules", inspect.CheckOptions{NoBaseline: true, RuleChoice: inspect.RuleChoice{Select: []string{}}}, []string{"WT904", "WT112"}, true},
		{"no profile", inspect.CheckOptions{NoBaseline: true, FailOn: "warning", RuleChoice: inspect.RuleChoice{Profile: inspect.NoProfile}}, []string{"WT904"}, false},
		{"other settings", inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Settings: filepath.Join(dir, "other.yaml")}}, []string{"WT112"}, false},
		{"nothing of it", inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Select: []string{"WT112"}, Ignore: []string{"WT1"}}}, nil, false},
	} {
		r := check(t, &tt.opts, path)
		if got := rulesOf(r); !slices.Equal(got, tt.rules) || r.Summary.Failed != tt.failed {
			t.Errorf("%s: %v, failed %v", tt.what, got, r.Summary.Failed)
		}
	}
}

// Options that cannot be are errors, with a result beside them.
func TestCheckRefuses(t *testing.T) {
	path := fixture.File(t, "model.safetensors", "tensor a F32 [2]")
	for want, opts := range map[string]inspect.CheckOptions{
		`there is no rule "WT8"`: {RuleChoice: inspect.RuleChoice{Select: []string{"WT8"}}},
		"must be one of: tran":   {RuleChoice: inspect.RuleChoice{Profile: "torch"}},
		"missing: ":              {RuleChoice: inspect.RuleChoice{Settings: "missing"}},
		"must be one of: erro":   {FailOn: "fatal"},
		"absent: ":               {Baseline: "absent"},
		"gone":                   {Against: "gone"},
	} {
		r, err := inspect.Check(t.Context(), []string{path}, &opts)
		if err == nil || !strings.Contains(err.Error(), want) || r == nil {
			t.Errorf("%+v: %v, want %s", opts, err, want)
		}
	}
}

// An exception holds until its day is over.
func TestCheckNow(t *testing.T) {
	dir := t.TempDir()
	path := weights(t, filepath.Join(dir, "model.safetensors"), "meta format pt\ntensor \"a \" F32 [2]")
	writeFile(t, filepath.Join(dir, inspect.SettingsName), "ignore: [{rule: WT112, reason: known, until: 2026-02-01}]")
	for day, want := range map[string][]string{"2026-02-01": nil, "2026-02-02": {"WT001", "WT112"}} {
		now, err := time.Parse(time.DateOnly, day)
		if err != nil {
			t.Fatal(err)
		}
		r := check(t, &inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Now: now}}, path)
		if got := rulesOf(r); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", day, got, want)
		}
	}
}

// Progress begins with nothing done, and ends with everything.
func TestCheckProgress(t *testing.T) {
	path := fixture.File(t, "model.safetensors", "meta format pt\ntensor a F32 [100]")
	var mu sync.Mutex
	var first, last, all int64 = -1, 0, 0
	opts := &inspect.CheckOptions{Values: true, Progress: func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if first < 0 {
			first = done
		}
		last, all = max(last, done), total
	}}
	check(t, opts, path)
	if first != 0 || last != 400 || all != 400 {
		t.Errorf("from %d to %d of %d", first, last, all)
	}
}

// A release in the middle of a rewrite is judged, and is a problem.
func TestCheckPending(t *testing.T) {
	dir := t.TempDir()
	weights(t, filepath.Join(dir, "model.safetensors"), "meta format pt\ntensor a F32 [2]")
	writeFile(t, filepath.Join(dir, ".wtinspect-journal"), "text")
	r := check(t, nil, dir)
	if r.Summary.Unjudged != 1 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].Error(), "interrupted") || r.Summary.Tensors != 1 {
		t.Errorf("%+v, %v", r.Summary, r.Problems)
	}
}

func TestRules(t *testing.T) {
	all, err := inspect.Rules()
	if err != nil {
		t.Fatal(err)
	}
	some, err := inspect.Rules("wt21", "WT904")
	if err != nil || len(some) != 10 || some[9].ID != "WT904" {
		t.Errorf("%d rules, %v", len(some), err)
	}
	if _, err := inspect.Rules("WT8"); err == nil {
		t.Error("WT8 is a rule")
	}
	text, err := json.Marshal(some[9])
	if err != nil || !strings.Contains(string(text), `"severity":"info","profiles":{"transformers":"error","vllm":"warning"},"fix":"sets format to pt","values":false`) {
		t.Errorf("%s, %v", text, err)
	}
	for _, r := range all {
		if text := r.Explain(); !strings.HasPrefix(text, r.ID+" "+r.Name+": ") || !strings.Contains(text, r.Doc) {
			t.Errorf("%s: %s", r.ID, text)
		}
		if r.Severity > checkpoint.Error {
			t.Errorf("%s: %v", r.ID, r.Severity)
		}
	}
}
