package main

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A checkPrinter writes a verdict in one form.
type checkPrinter func(w io.Writer, s render.Style, v *verdict) error

var checkPrinters = map[string]checkPrinter{
	"text":     printText,
	"json":     printJSON,
	"github":   printGitHub,
	"markdown": printMarkdown,
	"sarif":    printSARIF,
	"junit":    printJUnit,
	"gitlab":   printGitLab,
}

func checkFormats() []string {
	return []string{"text", "json", "github", "markdown", "sarif", "junit", "gitlab"}
}

// shown returns the findings for people, and how many are left out.
func (v *verdict) shown() ([]check.Finding, int) {
	if v.max == 0 || len(v.findings) <= v.max {
		return v.findings, 0
	}
	return v.findings[:v.max], len(v.findings) - v.max
}

// sentence is what a finding says about its tensor, in one line without its
// place.
func sentence(f *check.Finding) string {
	var b strings.Builder
	if f.Tensor != "" {
		b.WriteString(render.Escape(f.Tensor))
		b.WriteString(": ")
	}
	b.WriteString(render.EscapeMessage(f.Message))
	if f.Count > 1 {
		fmt.Fprintf(&b, " (x%d)", f.Count)
	}
	return b.String()
}

// summary counts the findings in one line.
func (v *verdict) summary() string {
	var words []string
	for _, s := range []checkpoint.Severity{checkpoint.Error, checkpoint.Warning} {
		if n := v.count(s); n > 0 {
			words = append(words, counted(n, s.String()))
		}
	}
	if n := v.count(checkpoint.Info); n > 0 {
		words = append(words, counted(n, "note"))
	}
	if len(words) == 0 {
		words = append(words, "no findings")
	}
	out := strings.Join(words, ", ")
	out += fmt.Sprintf(" in %s of %s by %s", counted(len(v.checkpoints), "checkpoint"), counted(v.tensors, "tensor"), counted(len(v.rules), "rule"))
	if v.accepted > 0 {
		out += fmt.Sprintf("; %d accepted by exceptions", v.accepted)
	}
	if v.known > 0 {
		out += fmt.Sprintf("; %d in the baseline", v.known)
	}
	if v.unjudged > 0 {
		out += "; " + counted(v.unjudged, "path") + " could not be judged"
	}
	return out
}

// fixable counts the findings that fix mends.
func (v *verdict) fixable() int {
	n := 0
	for i := range v.findings {
		if v.findings[i].Fixable {
			n++
		}
	}
	return n
}

func printText(w io.Writer, s render.Style, v *verdict) error {
	colors := map[checkpoint.Severity]render.Color{checkpoint.Error: render.Red, checkpoint.Warning: render.Yellow, checkpoint.Info: render.Cyan}
	shown, more := v.shown()
	for i := range shown {
		f := &shown[i]
		fix := ""
		if f.Fixable {
			fix = " " + s.Paint(render.Dim, "[fix]")
		}
		_, err := fmt.Fprintf(w, "%s: %s %s: %s%s\n", s.Paint(render.Bold, render.EscapeMessage(f.Place())),
			s.Paint(colors[f.Severity], f.Severity.String()), f.Rule.ID, sentence(f), fix)
		if err != nil {
			return err
		}
	}
	if more > 0 {
		if _, err := fmt.Fprintf(w, "%s not shown; --max 0 shows all\n", counted(more, "more finding")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, v.summary())
	if n := v.fixable(); n > 0 && err == nil {
		_, err = fmt.Fprintf(w, "%d of them 'wtinspect fix' can mend\n", n)
	}
	return err
}

// A jsonFinding is an element of "findings".
type jsonFinding struct {
	Rule       string  `json:"rule"`
	Name       string  `json:"name"`
	Severity   string  `json:"severity"`
	Checkpoint *string `json:"checkpoint"`
	File       *string `json:"file"`
	Line       *int    `json:"line"`
	Column     *int    `json:"column"`
	Offset     *int64  `json:"offset"`
	Tensor     *string `json:"tensor"`
	// TensorBase64 has the bytes of a name that is not UTF-8.
	TensorBase64 []byte `json:"tensor_base64,omitempty"`
	Count        int    `json:"count"`
	Message      string `json:"message"`
	Fixable      bool   `json:"fixable"`
	Fingerprint  string `json:"fingerprint"`
}

// A jsonVerdict is the "summary" of check.
type jsonVerdict struct {
	Errors   int    `json:"errors"`
	Warnings int    `json:"warnings"`
	Infos    int    `json:"infos"`
	Accepted int    `json:"accepted"`
	Baseline int    `json:"baseline"`
	Tensors  int    `json:"tensors"`
	Unjudged int    `json:"unjudged"`
	Rules    int    `json:"rules"`
	FailOn   string `json:"fail_on"`
	Failed   bool   `json:"failed"`
}

// optional is null for the zero value.
func optional[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func newJSONFinding(f *check.Finding) jsonFinding {
	out := jsonFinding{
		Rule: f.Rule.ID, Name: f.Rule.Name, Severity: f.Severity.String(),
		Checkpoint: optional(f.Checkpoint), File: optional(f.File), Line: optional(f.Line), Column: optional(f.Column),
		Tensor: optional(f.Tensor), Count: f.Count, Message: f.Message, Fixable: f.Fixable, Fingerprint: f.Fingerprint(),
	}
	if f.Offset >= 0 {
		out.Offset = &f.Offset
	}
	if !utf8.ValidString(f.Tensor) {
		out.TensorBase64 = []byte(f.Tensor)
	}
	return out
}

func printJSON(w io.Writer, _ render.Style, v *verdict) error {
	d := render.NewDocument(w)
	list := make([]jsonFinding, len(v.findings))
	for i := range v.findings {
		list[i] = newJSONFinding(&v.findings[i])
	}
	checkpoints := v.checkpoints
	if checkpoints == nil {
		checkpoints = []string{}
	}
	render.List(d, "checkpoints", checkpoints)
	render.List(d, "findings", list)
	d.Field("summary", jsonVerdict{
		Errors: v.count(checkpoint.Error), Warnings: v.count(checkpoint.Warning), Infos: v.count(checkpoint.Info),
		Accepted: v.accepted, Baseline: v.known, Tensors: v.tensors, Unjudged: v.unjudged, Rules: len(v.rules),
		FailOn: v.failOn.String(), Failed: v.failed(),
	})
	return d.Close()
}

// repositoryPath writes a path as hosts of repositories want it: relative to
// the working directory, with slashes.
func repositoryPath(path string) string {
	if filepath.IsAbs(path) {
		if wd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
				path = rel
			}
		}
	}
	return filepath.ToSlash(filepath.Clean(path))
}

func findingPath(f *check.Finding) string {
	if f.File != "" {
		return repositoryPath(f.File)
	}
	return repositoryPath(f.Checkpoint)
}

// gitHubData and gitHubProperty escape the two parts of a workflow command as
// actions/toolkit does (packages/core/src/command.ts).
var (
	gitHubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	gitHubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// printGitHub writes annotations as workflow commands of GitHub Actions.
func printGitHub(w io.Writer, _ render.Style, v *verdict) error {
	commands := map[checkpoint.Severity]string{checkpoint.Error: "error", checkpoint.Warning: "warning", checkpoint.Info: "notice"}
	shown, more := v.shown()
	for i := range shown {
		f := &shown[i]
		place := ""
		if f.Line > 0 {
			place = fmt.Sprintf(",line=%d,col=%d", f.Line, f.Column)
		}
		_, err := fmt.Fprintf(w, "::%s file=%s%s,title=%s::%s\n", commands[f.Severity], gitHubProperty.Replace(render.EscapeMessage(findingPath(f))), place,
			gitHubProperty.Replace(f.Rule.ID+" "+f.Rule.Name), gitHubData.Replace(sentence(f)))
		if err != nil {
			return err
		}
	}
	if more > 0 {
		if _, err := fmt.Fprintf(w, "::notice::%s\n", gitHubData.Replace(counted(more, "more finding")+" not shown")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, v.summary())
	return err
}

// markdownText escapes what Markdown and HTML would act on.
var markdownText = strings.NewReplacer("|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "\n", " ")

func printMarkdown(w io.Writer, _ render.Style, v *verdict) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### wtinspect: %s\n\n", v.summary())
	shown, more := v.shown()
	if len(shown) > 0 {
		b.WriteString("| severity | rule | place | finding |\n| --- | --- | --- | --- |\n")
	}
	for i := range shown {
		f := &shown[i]
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s |\n", f.Severity, f.Rule.ID, f.Rule.Name,
			markdownText.Replace(render.EscapeMessage(f.Place())), markdownText.Replace(sentence(f)))
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n%s not shown.\n", counted(more, "more finding"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// projectURL is where the rules are documented.
const projectURL = "https://github.com/wtinspect/wtinspect"

// The parts of SARIF 2.1.0 that are written
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool               sarifTool                    `json:"tool"`
		Results            []sarifResult                `json:"results"`
		ColumnKind         string                       `json:"columnKind"`
		AutomationDetails  sarifAutomation              `json:"automationDetails"`
		OriginalURIBaseIDs map[string]sarifBaseLocation `json:"originalUriBaseIds"`
	}
	sarifAutomation struct {
		ID string `json:"id"`
	}
	sarifBaseLocation struct {
		Description sarifText `json:"description"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name            string      `json:"name"`
		Version         string      `json:"version"`
		SemanticVersion string      `json:"semanticVersion,omitempty"`
		InformationURI  string      `json:"informationUri"`
		Rules           []sarifRule `json:"rules"`
	}
	sarifText struct {
		Text     string `json:"text"`
		Markdown string `json:"markdown,omitempty"`
	}
	sarifRule struct {
		ID                   string          `json:"id"`
		Name                 string          `json:"name"`
		ShortDescription     sarifText       `json:"shortDescription"`
		FullDescription      sarifText       `json:"fullDescription"`
		Help                 sarifText       `json:"help"`
		HelpURI              string          `json:"helpUri"`
		DefaultConfiguration sarifLevel      `json:"defaultConfiguration"`
		Properties           sarifProperties `json:"properties"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifProperties struct {
		Tags            []string `json:"tags"`
		Precision       string   `json:"precision"`
		ProblemSeverity string   `json:"problem.severity"`
	}
	sarifResult struct {
		RuleID              string            `json:"ruleId"`
		RuleIndex           int               `json:"ruleIndex"`
		Level               string            `json:"level"`
		Message             sarifText         `json:"message"`
		Locations           []sarifLocation   `json:"locations"`
		PartialFingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical  `json:"physicalLocation"`
		LogicalLocations []sarifLogical `json:"logicalLocations,omitempty"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI       string `json:"uri"`
		URIBaseID string `json:"uriBaseId"`
	}
	// sarifRegion always has a line, which GitHub needs to show a result.
	sarifRegion struct {
		StartLine   int    `json:"startLine"`
		StartColumn int    `json:"startColumn,omitempty"`
		ByteOffset  *int64 `json:"byteOffset,omitempty"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
		Kind               string `json:"kind"`
	}
)

var sarifLevels = map[checkpoint.Severity]string{checkpoint.Error: "error", checkpoint.Warning: "warning", checkpoint.Info: "note"}

var problemSeverities = map[checkpoint.Severity]string{checkpoint.Error: "error", checkpoint.Warning: "warning", checkpoint.Info: "recommendation"}

// pascal writes "missing-tensor" as "MissingTensor", which SARIF wants of the
// names of rules.
func pascal(name string) string {
	var b strings.Builder
	for word := range strings.SplitSeq(name, "-") {
		for i, r := range word {
			if i == 0 {
				r = unicode.ToUpper(r)
			}
			b.WriteRune(r)
		}
	}
	return b.String()
}

// version returns the program's version, and the same as semantic versioning
// has it, "" for one that was built from no release.
func version() (text, semantic string) {
	text = "unknown"
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		text = info.Main.Version
	}
	semantic, ok := strings.CutPrefix(text, "v")
	if !ok {
		return text, ""
	}
	return text, semantic
}

func printSARIF(w io.Writer, _ render.Style, v *verdict) error {
	text, semantic := version()
	run := sarifRun{
		Tool:              sarifTool{sarifDriver{Name: "wtinspect", Version: text, SemanticVersion: semantic, InformationURI: projectURL, Rules: []sarifRule{}}},
		Results:           []sarifResult{},
		ColumnKind:        "unicodeCodePoints",
		AutomationDetails: sarifAutomation{"wtinspect/"},
		OriginalURIBaseIDs: map[string]sarifBaseLocation{
			"%SRCROOT%": {sarifText{Text: "The directory in which wtinspect ran."}},
		},
	}
	index := make(map[string]int)
	rule := func(r *check.Rule) int {
		i, ok := index[r.ID]
		if !ok {
			i = len(run.Tool.Driver.Rules)
			index[r.ID] = i
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(r))
		}
		return i
	}
	for _, r := range v.rules {
		rule(r)
	}
	for i := range v.findings {
		f := &v.findings[i]
		region := sarifRegion{StartLine: 1}
		if f.Line > 0 {
			region = sarifRegion{StartLine: f.Line, StartColumn: f.Column}
		} else if f.Offset >= 0 {
			region.ByteOffset = &f.Offset
		}
		loc := sarifLocation{PhysicalLocation: sarifPhysical{
			ArtifactLocation: sarifArtifact{URI: (&url.URL{Path: findingPath(f)}).EscapedPath(), URIBaseID: "%SRCROOT%"},
			Region:           region,
		}}
		if f.Tensor != "" {
			loc.LogicalLocations = []sarifLogical{{FullyQualifiedName: render.Escape(f.Tensor), Kind: "member"}}
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Rule.ID, RuleIndex: rule(f.Rule), Level: sarifLevels[f.Severity],
			Message: sarifText{Text: sentence(f) + "."}, Locations: []sarifLocation{loc},
			PartialFingerprints: map[string]string{"wtinspect/v1": f.Fingerprint()},
		})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

func newSARIFRule(r *check.Rule) sarifRule {
	sentence := strings.ToUpper(r.Title[:1]) + r.Title[1:] + "."
	doc := strings.ReplaceAll(r.Doc, "\n", " ")
	return sarifRule{
		ID: r.ID, Name: pascal(r.Name),
		ShortDescription: sarifText{Text: sentence}, FullDescription: sarifText{Text: doc},
		Help: sarifText{
			Text:     fmt.Sprintf("%s\n\nBad: %s\nGood: %s", doc, r.Bad, r.Good),
			Markdown: fmt.Sprintf("%s\n\n* Bad: %s\n* Good: %s\n", markdownText.Replace(doc), markdownText.Replace(r.Bad), markdownText.Replace(r.Good)),
		},
		HelpURI:              projectURL + "/blob/main/docs/rules.md#" + strings.ToLower(r.ID),
		DefaultConfiguration: sarifLevel{sarifLevels[r.Severity]},
		Properties:           sarifProperties{Tags: []string{"model-weights"}, Precision: "high", ProblemSeverity: problemSeverities[r.Severity]},
	}
}

// The parts of JUnit's XML that CI hosts read
// (https://github.com/testmoapp/junitxml).
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		Class     string        `xml:"classname,attr"`
		Failure   *junitFailure `xml:"failure"`
		SystemOut string        `xml:"system-out,omitempty"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr"`
		Text    string `xml:",chardata"`
	}
)

// printJUnit writes a test case for every rule, which fails when the rule has
// a finding at or above --fail-on.
func printJUnit(w io.Writer, _ render.Style, v *verdict) error {
	byRule := make(map[string][]*check.Finding)
	rules := v.rules
	for i := range v.findings {
		f := &v.findings[i]
		byRule[f.Rule.ID] = append(byRule[f.Rule.ID], f)
	}
	suite := junitSuite{Name: "wtinspect check"}
	for _, r := range rules {
		c := junitCase{Name: r.ID + " " + r.Name, Class: "wtinspect." + r.ID[:3]}
		var failing, below []string
		for _, f := range byRule[r.ID] {
			line := f.Place() + ": " + f.Severity.String() + ": " + sentence(f)
			if f.Severity >= v.failOn {
				failing = append(failing, line)
			} else {
				below = append(below, line)
			}
		}
		if len(failing) > 0 {
			c.Failure = &junitFailure{Message: r.Title, Type: r.ID, Text: xmlText(strings.Join(failing, "\n"))}
			suite.Failures++
		}
		c.SystemOut = xmlText(strings.Join(below, "\n"))
		suite.Tests++
		suite.Cases = append(suite.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	err := e.Encode(junitSuites{Name: "wtinspect", Tests: suite.Tests, Failures: suite.Failures, Suites: []junitSuite{suite}})
	if err == nil {
		_, err = io.WriteString(w, "\n")
	}
	return err
}

// xmlText escapes what XML 1.0 cannot hold, line by line.
func xmlText(s string) string {
	lines := strings.Split(s, "\n")
	for i, line := range lines {
		lines[i] = render.EscapeMessage(line)
	}
	if s == "" {
		return ""
	}
	return strings.Join(lines, "\n")
}

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

func printGitLab(w io.Writer, _ render.Style, v *verdict) error {
	severities := map[checkpoint.Severity]string{checkpoint.Error: "critical", checkpoint.Warning: "minor", checkpoint.Info: "info"}
	list := make([]gitLabIssue, len(v.findings))
	seen := make(map[string]int)
	for i := range v.findings {
		f := &v.findings[i]
		fingerprint := f.Fingerprint()
		// The host takes a fingerprint that comes again for the same issue.
		if seen[fingerprint]++; seen[fingerprint] > 1 {
			fingerprint += fmt.Sprintf("-%d", seen[fingerprint])
		}
		list[i] = gitLabIssue{
			Description: f.Rule.ID + ": " + sentence(f), CheckName: f.Rule.ID, Fingerprint: fingerprint, Severity: severities[f.Severity],
			Location: gitLabLocation{findingPath(f), gitLabLines{max(f.Line, 1)}},
		}
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(list)
}
