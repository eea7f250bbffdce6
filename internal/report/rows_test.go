package report

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/inspect"
)

// The JSON of a result is the struct's own, and a line of JSON lines is a finding.
func TestJSON(t *testing.T) {
	r := bad(t)
	var got struct {
		Version int `json:"schema_version"`
		inspect.CheckResult
	}
	if err := json.Unmarshal([]byte(written(t, "json", r, Options{})), &got); err != nil {
		t.Fatal(err)
	}
	want := inspect.CheckResult{Checkpoints: r.Checkpoints, Releases: r.Releases, Findings: r.Findings, Summary: r.Summary}
	if diff := cmp.Diff(want, got.CheckResult); diff != "" || got.Version != 1 {
		t.Errorf("version %d (-want +got):\n%s", got.Version, diff)
	}
	var lines []inspect.Finding
	for line := range strings.Lines(written(t, "jsonl", r, Options{})) {
		var f inspect.Finding
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, f)
	}
	if diff := cmp.Diff(r.Findings, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if out := written(t, "json", &inspect.CheckResult{}, Options{}); strings.Contains(out, "null") {
		t.Errorf("a list of nothing is null: %s", out)
	}
}

func TestRows(t *testing.T) {
	r := bad(t)
	got, err := csv.NewReader(strings.NewReader(written(t, "csv", r, Options{}))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(r.Findings)+1 {
		t.Fatalf("%d rows for %d findings", len(got)-1, len(r.Findings))
	}
	for i, row := range got[1:] {
		f := &r.Findings[i]
		if row[0] != f.Rule || row[1] != f.Name || row[2] != f.Severity.String() || row[10] != f.Message {
			t.Errorf("row %d: %q", i, row)
		}
	}
}
