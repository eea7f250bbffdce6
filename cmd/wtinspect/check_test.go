package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// runIn runs the program in a directory and returns its exit code and output.
func runIn(t *testing.T, dir string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	t.Chdir(dir)
	var out, errs bytes.Buffer
	p := newProgram(strings.NewReader(""), &out, &errs, func(string) string { return "" })
	code = p.run(t.Context(), args)
	return code, out.String(), errs.String()
}

// checkReleases makes releases by the worst of what is found in them, and by
// what keeps check from judging.
func checkReleases(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"none/model.safetensors":    "meta format pt\ntensor a F32 [2]",
		"info/model.safetensors":    "tensor a F32 [2]",
		"warning/model.safetensors": "meta format pt\ntensor \"a \" F32 [2]",
		"error/model.safetensors":   "meta format pt\ntensor a F32 [2]\ntensor a F32 [2]",
		"hostile/a.safetensors":     "header-length 99999999",
	} {
		if err := fixture.Write(filepath.Join(root, name), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := fixture.Sharded(filepath.Join(root, "oneBroken"), "meta format pt\nfile model-00001-of-00002.safetensors\ntensor a F32 [2]\nfile model-00002-of-00002.safetensors\ntensor b F32 [2]\nheader `[]`"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty/README.md":          "no weights",
		"settings/.wtinspect.yaml": "unknown: 1",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := fixture.Write(filepath.Join(root, "settings", "model.safetensors"), "meta format pt\ntensor a F32 [2]"); err != nil {
		t.Fatal(err)
	}
	return root
}

// The exit code follows from what is found, --fail-on and what kept check from
// judging, in every form the same.
func TestCheckExitCodes(t *testing.T) {
	root := checkReleases(t)
	worst := map[string]int{"none": -1, "info": 0, "warning": 1, "error": 2, "oneBroken": 2}
	failOns := []string{"info", "warning", "error"}
	for _, format := range checkFormats() {
		for release, severity := range worst {
			for at, failOn := range failOns {
				want := exitOK
				if severity >= at {
					want = exitFindings
				}
				if code, _, stderr := runIn(t, root, "check", "-f", format, "--fail-on", failOn, release); code != want {
					t.Errorf("%s, %s, --fail-on %s: exit %d, want %d\n%s", format, release, failOn, code, want, stderr)
				}
				// What cannot be judged wins, whatever else was found.
				for _, trouble := range []string{"empty", "missing"} {
					if code, out, _ := runIn(t, root, "check", "-f", format, "--fail-on", failOn, release, trouble); code != exitFailed || out == "" {
						t.Errorf("%s, %s and %s: exit %d, %d bytes", format, release, trouble, code, len(out))
					}
				}
			}
		}
		for _, args := range [][]string{
			{"hostile/a.safetensors"},
			{"settings"},
			{"--select", "WT7", "none"},
			{"--against", "missing", "none"},
			{"--baseline", "missing", "none"},
			{"--config", "missing", "none"},
			{"--report", "xml=x", "none"},
			{"--max", "-1", "none"},
			{"-o", filepath.Join("missing", "x"), "none"},
		} {
			if code, _, stderr := runIn(t, root, append([]string{"check", "-f", format}, args...)...); code != exitFailed || stderr == "" {
				t.Errorf("%s, %v: exit %d: %s", format, args, code, stderr)
			}
		}
	}
}

// badRelease is a release with findings of every kind of place.
func badRelease(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := fixture.Write(filepath.Join(dir, "sub dir", "model.safetensors"), "tensor a.0.w F32 [2]\ntensor a.1.w F32 [2] begin=0 end=8\ntensor \"b\\x1b\\u202e|%,:<x>\" F32 [1]"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub dir", "config.json"), []byte("{\n \"a\": 1,\n}"), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSARIF holds the output to what GitHub's code scanning asks for, and to
// the schema of SARIF 2.1.0 when the variable SARIF_SCHEMA names it.
func TestSARIF(t *testing.T) {
	dir := badRelease(t)
	code, out, _ := runIn(t, dir, "check", "--values", "-f", "sarif", "sub dir")
	if code != exitFindings {
		t.Fatalf("exit %d", code)
	}
	var log sarifLog
	if err := json.Unmarshal([]byte(out), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	if len(run.Results) < 4 || len(run.Tool.Driver.Rules) != len(check.Rules()) {
		t.Errorf("%d results, %d rules", len(run.Results), len(run.Tool.Driver.Rules))
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
		if fp := r.PartialFingerprints["wtinspect/v1"]; len(fp) != 32 || seen[fp] {
			t.Errorf("%s: fingerprint %q", r.RuleID, fp)
		} else {
			seen[fp] = true
		}
		if strings.ContainsAny(r.Message.Text, "\x1b\u202e") {
			t.Errorf("%s: %q acts on a terminal", r.RuleID, r.Message.Text)
		}
	}
	schema := os.Getenv("SARIF_SCHEMA")
	if schema == "" {
		t.Skip("SARIF_SCHEMA does not name the schema")
	}
	s, err := jsonschema.NewCompiler().Compile(schema)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Error(err)
	}
}

// JUnit: well-formed XML whose counts are those of its cases, a case for every rule.
func TestJUnit(t *testing.T) {
	dir := badRelease(t)
	_, out, _ := runIn(t, dir, "check", "--values", "-f", "junit", "sub dir")
	d := xml.NewDecoder(strings.NewReader(out))
	for {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var suites junitSuites
	if err := xml.Unmarshal([]byte(out), &suites); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for _, c := range suites.Suites[0].Cases {
		if c.Failure != nil {
			failures++
		}
	}
	if suites.Tests != len(check.Rules()) || len(suites.Suites[0].Cases) != suites.Tests || suites.Failures != failures || failures < 2 {
		t.Errorf("tests %d, cases %d, failures %d counted %d", suites.Tests, len(suites.Suites[0].Cases), suites.Failures, failures)
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a control character reached the output")
	}
}

// GitLab: an array of issues with the members that the host reads, each
// fingerprint once.
func TestGitLab(t *testing.T) {
	dir := badRelease(t)
	_, out, _ := runIn(t, dir, "check", "-f", "gitlab", "sub dir")
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
	clean := t.TempDir()
	if err := fixture.Write(filepath.Join(clean, "model.safetensors"), "meta format pt\ntensor a F32 [2]"); err != nil {
		t.Fatal(err)
	}
	if _, out, _ := runIn(t, clean, "check", "-f", "gitlab"); out != "[]\n" {
		t.Errorf("a clean release: %q", out)
	}
}

// GitHub: what a file says can neither end a command nor begin one.
func TestGitHubIsEscaped(t *testing.T) {
	dir := badRelease(t)
	_, out, _ := runIn(t, dir, "check", "-f", "github", "sub dir")
	command := regexp.MustCompile(`^::(error|warning|notice) file=[^:,]+(,line=\d+,col=\d+)?,title=[^:,]+::[^\r\n]+$`)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for _, l := range lines[:len(lines)-1] {
		if !command.MatchString(l) || strings.ContainsAny(l, "\x1b\u202e") {
			t.Errorf("%q", l)
		}
	}
}

// Ten thousand findings stay readable: what is alike is one finding, and a
// form for people is cut.
func TestManyFindings(t *testing.T) {
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("meta format pt\ndata sparse\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "tensor model.layers.%d.w F32 [2] begin=0 end=8\n", i)
	}
	for i := range 300 {
		fmt.Fprintf(&text, "tensor \"t%dx \" F32 [2] begin=0 end=8\n", i)
	}
	if err := fixture.Write(filepath.Join(dir, "model.safetensors"), text.String()); err != nil {
		t.Fatal(err)
	}
	_, out, _ := runIn(t, dir, "check")
	if n := strings.Count(out, "\n"); n > 110 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(out, "more findings not shown; --max 0 shows all") {
		t.Errorf("the answer does not say what is left out:\n%.600s", out)
	}
}
