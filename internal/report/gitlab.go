package report

import (
	"fmt"
	"io"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A gitLabIssue is one element of a code quality report
// (https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format).
type gitLabIssue struct {
	Description string         `json:"description"`
	CheckName   string         `json:"check_name"`
	Fingerprint string         `json:"fingerprint"`
	Severity    string         `json:"severity"`
	Location    gitLabLocation `json:"location"`
}

type gitLabLocation struct {
	Path  string      `json:"path"`
	Lines gitLabLines `json:"lines"`
}

type gitLabLines struct {
	Begin int `json:"begin"`
}

// gitLab writes a code quality report.
func gitLab(w io.Writer, r *inspect.CheckResult, _ Options) error {
	severities := names{checkpoint.Error: "critical", checkpoint.Warning: "minor", checkpoint.Info: "info"}
	list := make([]gitLabIssue, len(r.Findings))
	seen := make(map[string]int)
	for i := range r.Findings {
		f := &r.Findings[i]
		fingerprint := f.Fingerprint
		// The host takes a fingerprint that comes again for the same issue.
		if seen[fingerprint]++; seen[fingerprint] > 1 {
			fingerprint += fmt.Sprintf("-%d", seen[fingerprint])
		}
		line := 1
		if f.Line != nil {
			line = *f.Line
		}
		list[i] = gitLabIssue{
			Description: f.Rule + ": " + Sentence(f), CheckName: f.Rule, Fingerprint: fingerprint, Severity: severities[f.Severity],
			Location: gitLabLocation{repositoryPath(f), gitLabLines{line}},
		}
	}
	return render.Write(w, list)
}
