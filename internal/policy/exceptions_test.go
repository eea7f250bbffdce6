package policy

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// judged judges a release that stays open until the test ends.
func judged(t *testing.T, dir string, opts *check.Options) *check.Report {
	t.Helper()
	rel, err := checkpoint.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	report, err := check.Run(t.Context(), rel, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// The releases of the rules about settings, with those of the other rules in
// package check: one of each that the rule finds, and one that it does not.
func TestSettingRules(t *testing.T) {
	for _, rule := range []*check.Rule{check.ExpiredException, check.UnusedException} {
		a, err := txtar.ParseFile(filepath.Join("..", "check", "testdata", "rules", rule.ID+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		releases := map[string]map[string]string{"bad": {}, "good": {}}
		want := ""
		for _, f := range a.Files {
			if dir, name, ok := strings.Cut(f.Name, "/"); ok {
				releases[dir][name] = string(f.Data)
			} else {
				want = string(f.Data)
			}
		}
		for name, files := range releases {
			dir := filepath.Join(t.TempDir(), name)
			fixture.Release(t, dir, files)
			set, err := FindSettings(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			for i := range set.Exceptions {
				set.Exceptions[i].Origin = filepath.Join(dir, SettingsName)
			}
			l := &Leniency{Exceptions: set.Exceptions}
			if day, ok := strings.CutPrefix(strings.TrimSpace(files["options"]), "today "); ok {
				if l.Now, err = time.Parse(time.DateOnly, day); err != nil {
					t.Fatal(err)
				}
			}
			report := judged(t, dir, nil)
			l.Apply(report)
			got := ""
			for _, f := range report.Findings {
				got += fmt.Sprintf("bad: %s %s %s: ", f.Rule.ID, f.Severity, strings.TrimPrefix(f.Place(), dir+string(filepath.Separator)))
				if f.Tensor != "" {
					got += f.Tensor + ": "
				}
				got += f.Message
				if f.Fixable {
					got += " [fix]"
				}
				got += "\n"
			}
			switch {
			case name == "bad" && (got != want || !strings.Contains(got, rule.ID)):
				t.Errorf("%s: got\n%swant\n%s", rule.ID, got, want)
			case name == "bad":
			case strings.Contains(got, rule.ID):
				t.Errorf("%s: found in the good release:\n%s", rule.ID, got)
			}
		}
	}
}

// Findings about exceptions are graded as those of every rule.
func TestSeverityOfExceptions(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "meta format pt\ntensor a F32 [2]"})
	report := judged(t, dir, &check.Options{Severities: map[string]checkpoint.Severity{"WT002": checkpoint.Error}})
	(&Leniency{Exceptions: []Exception{{Rule: "WT2"}}}).Apply(report)
	if len(report.Findings) != 1 || report.Findings[0].Severity != checkpoint.Error {
		t.Errorf("%+v", report.Findings)
	}
}

// An exception for rules that did not run is not one that nothing needs.
func TestExceptionOfRuleThatDidNotRun(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "meta format pt\ntensor a F32 [2]"})
	for _, opts := range []*check.Options{{Ignore: []string{"WT2"}}, {Select: []string{"WT0", "WT1"}}} {
		report := judged(t, dir, opts)
		(&Leniency{Exceptions: []Exception{{Rule: "WT2"}}}).Apply(report)
		if len(report.Findings) != 0 {
			t.Errorf("%+v: %+v", opts, report.Findings)
		}
	}
}

func TestExceptions(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "meta format pt\ntensor \"a \" F32 [2]\ntensor \"b \" F32 [2]"})
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, tt := range []struct {
		name string
		e    Exception
		now  string
		left int // findings of WT112
	}{
		{"all of a block", Exception{Rule: "WT1"}, "2026-01-01", 0},
		{"one tensor", Exception{Rule: "WT112", Tensor: "a*"}, "2026-01-01", 1},
		{"the other", Exception{Rule: "WT112", Tensor: "[!a]*"}, "2026-01-01", 1},
		{"the file", Exception{Rule: "WT112", File: "*.safetensors"}, "2026-01-01", 0},
		{"another file", Exception{Rule: "WT112", File: "*.gguf"}, "2026-01-01", 2},
		{"another rule", Exception{Rule: "WT2"}, "2026-01-01", 2},
		{"the last day", Exception{Rule: "WT112", Until: day("2026-01-01")}, "2026-01-01", 0},
		{"the day after", Exception{Rule: "WT112", Until: day("2026-01-01")}, "2026-01-02", 2},
	} {
		report := judged(t, dir, nil)
		accepted, _ := (&Leniency{Exceptions: []Exception{tt.e}, Now: day(tt.now)}).Apply(report)
		left, about := 0, ""
		for _, f := range report.Findings {
			switch f.Rule.ID {
			case "WT112":
				left++
			case "WT001", "WT002":
				about = f.Rule.ID
			}
		}
		wantAbout := ""
		switch {
		case tt.name == "the day after":
			wantAbout = "WT001"
		case tt.left == 2:
			wantAbout = "WT002"
		}
		if left != tt.left || about != wantAbout || accepted != 2-tt.left {
			t.Errorf("%s: %d left, %d accepted, %q", tt.name, left, accepted, about)
		}
	}
}
