package report

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// bad is the check of a release with findings of every kind of place, in the
// directory "sub dir" of the working directory.
func bad(t *testing.T) *inspect.CheckResult {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := fixture.Write(filepath.Join("sub dir", "model.safetensors"), "tensor a.0.w F32 [2]\ntensor a.1.w F32 [2] begin=0 end=8\ntensor \"b\\x1b\\u202e|%,:<x>\" F32 [1]"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"config.json": "{}", "generation_config.json": "{\n \"a\": 1,\n}"} {
		if err := os.WriteFile(filepath.Join("sub dir", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return judged(t, "sub dir")
}

// clean is the check of a release without findings.
func clean(t *testing.T) *inspect.CheckResult {
	t.Helper()
	return judged(t, fixture.File(t, "model.safetensors", "meta format pt\ntensor a F32 [2]"))
}

func judged(t *testing.T, ref string) *inspect.CheckResult {
	t.Helper()
	r, err := inspect.Check(t.Context(), []string{ref}, &inspect.CheckOptions{Values: true})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func written(t *testing.T, form string, r *inspect.CheckResult, o Options) string {
	t.Helper()
	var b bytes.Buffer
	if err := Check(&b, form, r, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// No form lets a file act on who reads it, and every form has what it needs for a
// release without findings and for no release at all.
func TestForms(t *testing.T) {
	r := bad(t)
	for _, form := range Forms() {
		out := written(t, form, r, Options{})
		if strings.ContainsAny(out, "\x1b\u202e") && form != "csv" && form != "tsv" {
			t.Errorf("%s acts on a terminal: %q", form, out)
		}
		written(t, form, clean(t), Options{})
		written(t, form, &inspect.CheckResult{}, Options{})
	}
	if err := Check(&bytes.Buffer{}, "yaml", r, Options{}); err == nil || !strings.Contains(err.Error(), "must be one of: text, json") {
		t.Errorf("an unknown form: %v", err)
	}
}

// Forms for people show as many findings as they are asked to and say how many
// are left out, and forms for programs have all.
func TestMax(t *testing.T) {
	r := bad(t)
	for form, says := range map[string]string{"text": "not shown; --max 0 shows all", "markdown": "not shown.", "github": "not shown"} {
		for limit, want := range map[int]bool{1: true, 0: false, len(r.Findings): false} {
			if out := written(t, form, r, Options{Max: limit}); strings.Contains(out, says) != want {
				t.Errorf("%s, at most %d: says so %v", form, limit, !want)
			}
		}
	}
	for _, form := range []string{"json", "jsonl", "sarif", "junit", "gitlab", "csv", "tsv"} {
		if written(t, form, r, Options{Max: 1}) != written(t, form, r, Options{}) {
			t.Errorf("%s is cut", form)
		}
	}
}

func TestSummary(t *testing.T) {
	for want, r := range map[string]*inspect.CheckResult{
		"nothing to check":             {},
		"2 paths could not be checked": {Summary: inspect.CheckSummary{Unjudged: 2}},
		"no findings in 2 checkpoints (3 tensors, 4 rules); all 2 releases passed": {
			Checkpoints: []string{"a", "b"}, Releases: make([]inspect.JudgedRelease, 2),
			Summary: inspect.CheckSummary{Tensors: 3, Rules: 4},
		},
		"1 error in 2 checkpoints (3 tensors, 4 rules); 1 of 2 releases failed": {
			Checkpoints: []string{"a", "b"}, Releases: []inspect.JudgedRelease{{}, {Failed: true}},
			Summary: inspect.CheckSummary{Errors: 1, Tensors: 3, Rules: 4},
		},
		"1 error, 2 warnings, 3 notes in 2 checkpoints (1,000 tensors, 1 rule); 4 accepted by exceptions; 5 in the baseline; 1 path could not be checked": {
			Checkpoints: []string{"a", "b"},
			Summary:     inspect.CheckSummary{Errors: 1, Warnings: 2, Infos: 3, Tensors: 1000, Rules: 1, Accepted: 4, Baseline: 5, Unjudged: 1},
		},
	} {
		if got := Summary(r); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The releases that failed are listed where the findings alone do not do it, as many as
// are shown.
func TestReleases(t *testing.T) {
	file := "a/model.safetensors"
	r := &inspect.CheckResult{
		Checkpoints: []string{"a", "b", "c"},
		Findings:    slices.Repeat([]inspect.Finding{{Rule: "WT106", Severity: checkpoint.Error, File: &file, Count: 1}}, 3),
		Releases:    []inspect.JudgedRelease{{Path: "a", Errors: 2, Warnings: 1, Failed: true}, {Path: "b"}, {Path: "c\n|", Errors: 1, Failed: true}},
	}
	for _, c := range []struct {
		form, want string
		max        int
	}{
		{"text", "2 of 3 releases failed\n  a: 2 errors, 1 warning\n  c\\n|: 1 error\n", 0},
		{"text", "  a: 2 errors, 1 warning\n  and 1 more; --max 0 shows all\n", 1},
		{"markdown", "| a | 2 errors, 1 warning |\n| c\\\\n\\| | 1 error |\n\n", 0},
		{"markdown", "| a | 2 errors, 1 warning |\n\n1 more release not shown.\n", 1},
	} {
		if got := written(t, c.form, r, Options{Max: c.max}); !strings.Contains(got, c.want) {
			t.Errorf("%s, at most %d: %q has no %q", c.form, c.max, got, c.want)
		}
	}
	r.Findings[0].Fixable = true
	if got := written(t, "text", r, Options{}); !strings.HasSuffix(got, "\n'wtinspect fix RELEASE' can fix 1 of them\n") {
		t.Errorf("fix takes one release: %s", got)
	}
	r.Findings = r.Findings[:2]
	if got := written(t, "text", r, Options{}); strings.Contains(got, "a: 2 errors") {
		t.Errorf("a finding of each release lists them: %s", got)
	}
}

// Hosts of repositories want paths that are relative to the working directory.
func TestRepositoryPath(t *testing.T) {
	t.Chdir(t.TempDir())
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(filepath.Dir(wd), "x")
	for path, want := range map[string]string{
		filepath.Join(wd, "a", "b"):  "a/b",
		filepath.Join("a", ".", "b"): "a/b",
		outside:                      filepath.ToSlash(outside),
	} {
		if got := repositoryPath(&inspect.Finding{File: &path}); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	dir := "release"
	if got := repositoryPath(&inspect.Finding{Checkpoint: &dir}); got != dir {
		t.Errorf("without a file: %s, want the checkpoint", got)
	}
}
