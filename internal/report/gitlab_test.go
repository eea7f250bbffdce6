package report

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
)

// GitLab: an array of issues with the members that the host reads, each
// fingerprint once.
func TestGitLab(t *testing.T) {
	out := written(t, "gitlab", bad(t), Options{})
	var list []struct {
		Description, Fingerprint, Severity string
		CheckName                          string `json:"check_name"`
		Location                           struct {
			Path  string
			Lines struct{ Begin int }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, i := range list {
		if i.Description == "" || i.CheckName == "" || i.Fingerprint == "" || seen[i.Fingerprint] || i.Location.Lines.Begin < 1 ||
			!strings.HasPrefix(i.Location.Path, "sub dir/") || !regexp.MustCompile("^(info|minor|major|critical|blocker)$").MatchString(i.Severity) {
			t.Errorf("%+v", i)
		}
		seen[i.Fingerprint] = true
	}
	if len(list) < 4 {
		t.Errorf("%d issues", len(list))
	}
	// A clean release is an empty array, not null.
	if out := written(t, "gitlab", clean(t), Options{}); out != "[]\n" {
		t.Errorf("a clean release: %q", out)
	}
}
