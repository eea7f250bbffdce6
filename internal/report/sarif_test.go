package report

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wtinspect/wtinspect/inspect"
)

// schemas returns those that SARIF is held to: the one of this package, which has
// the part of the format that is written, and that of the standard when the
// variable SARIF_SCHEMA names it.
func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out := make(map[string]*jsonschema.Schema)
	own, err := filepath.Abs(filepath.Join("testdata", "sarif.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{own, os.Getenv("SARIF_SCHEMA")} {
		if path == "" {
			continue
		}
		c := jsonschema.NewCompiler()
		c.AssertFormat()
		if out[path], err = c.Compile(path); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestSARIFSchema(t *testing.T) {
	list := schemas(t)
	for _, version := range []string{"unknown", "v1.2.3", "v0.0.0-20260101000000-0123456789ab"} {
		for _, r := range []*inspect.CheckResult{bad(t), clean(t), {}} {
			out := written(t, "sarif", r, Options{Version: version})
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
			if err != nil {
				t.Fatal(err)
			}
			for name, s := range list {
				if err := s.Validate(doc); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// The schema finds what SARIF does not allow.
func TestSARIFSchemaRefuses(t *testing.T) {
	list := schemas(t)
	out := written(t, "sarif", bad(t), Options{Version: "v1.2.3"})
	for _, tt := range []struct{ what, old, new string }{
		{"a level that there is not", `"level": "error"`, `"level": "info"`},
		{"line 0", `"startLine": 1`, `"startLine": 0`},
		{"a result without a message", `"message": `, `"massage": `},
		{"another version", `"version": "2.1.0"`, `"version": "2.0.0"`},
		{"a path that is no URI", `sub%20dir/`, `sub dir/`},
		{"a fingerprint without a version", `"wtinspect/v1"`, `"wtinspect"`},
		{"a rule without an ID", `"id": "WT001"`, `"ident": "WT001"`},
	} {
		broken := strings.Replace(out, tt.old, tt.new, 1)
		if broken == out {
			t.Errorf("%s: %s is not in the output", tt.what, tt.old)
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(broken))
		if err != nil {
			t.Fatal(err)
		}
		for name, s := range list {
			if strings.HasSuffix(name, "sarif.schema.json") && s.Validate(doc) == nil {
				t.Errorf("%s: %s is accepted", name, tt.what)
			}
		}
	}
}

// TestSARIF holds the output to what GitHub's code scanning asks for beside the
// schema.
func TestSARIF(t *testing.T) {
	r := bad(t)
	var log sarifLog
	if err := json.Unmarshal([]byte(written(t, "sarif", r, Options{Version: "v1.2.3"})), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	rules, err := inspect.Rules()
	if err != nil {
		t.Fatal(err)
	}
	if len(run.Results) != len(r.Findings) || len(run.Results) < 4 || len(run.Tool.Driver.Rules) != len(rules) {
		t.Errorf("%d results, %d rules", len(run.Results), len(run.Tool.Driver.Rules))
	}
	if d := run.Tool.Driver; d.Version != "v1.2.3" || d.SemanticVersion != "1.2.3" {
		t.Errorf("version %q, semantic %q", d.Version, d.SemanticVersion)
	}
	seen := make(map[string]bool)
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID {
			t.Errorf("%s: rule index %d is that of %s", r.RuleID, r.RuleIndex, run.Tool.Driver.Rules[r.RuleIndex].ID)
		}
		if len(r.Locations) != 1 {
			t.Fatalf("%s: %d locations", r.RuleID, len(r.Locations))
		}
		l := r.Locations[0].PhysicalLocation
		if u, err := url.Parse(l.ArtifactLocation.URI); err != nil || u.IsAbs() || strings.HasPrefix(u.Path, "/") || !strings.HasPrefix(l.ArtifactLocation.URI, "sub%20dir/") {
			t.Errorf("%s: the URI %q is not relative to the repository", r.RuleID, l.ArtifactLocation.URI)
		}
		if l.Region.StartLine < 1 {
			t.Errorf("%s: line %d", r.RuleID, l.Region.StartLine)
		}
		if fp := r.PartialFingerprints["wtinspect/v1"]; !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(fp) || seen[fp] {
			t.Errorf("%s: fingerprint %q", r.RuleID, fp)
		} else {
			seen[fp] = true
		}
	}
}

func TestPascal(t *testing.T) {
	for name, want := range map[string]string{"missing-tensor": "MissingTensor", "nan": "Nan", "no-format-pt": "NoFormatPt", "": ""} {
		if got := pascal(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
