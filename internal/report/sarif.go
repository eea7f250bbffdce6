package report

import (
	"fmt"
	"io"
	"net/url"
	"strings"
	"unicode"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

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
		URIBaseID string `json:"uriBaseId,omitempty"`
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

// sarifLevels and problemSeverities are what SARIF and code scanning call the
// severities.
var (
	sarifLevels       = names{checkpoint.Error: "error", checkpoint.Warning: "warning", checkpoint.Info: "note"}
	problemSeverities = names{checkpoint.Error: "error", checkpoint.Warning: "warning", checkpoint.Info: "recommendation"}
)

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

// sarif writes SARIF for code scanning.
func sarif(w io.Writer, r *inspect.CheckResult, o Options) error {
	semantic, ok := strings.CutPrefix(o.Version, "v")
	if !ok {
		semantic = ""
	}
	run := sarifRun{
		Tool:              sarifTool{sarifDriver{Name: "wtinspect", Version: o.Version, SemanticVersion: semantic, InformationURI: projectURL, Rules: []sarifRule{}}},
		Results:           []sarifResult{},
		ColumnKind:        "unicodeCodePoints",
		AutomationDetails: sarifAutomation{"wtinspect/"},
		OriginalURIBaseIDs: map[string]sarifBaseLocation{
			"%SRCROOT%": {sarifText{Text: "The directory in which wtinspect ran."}},
		},
	}
	index := make(map[string]int)
	for i := range r.Rules {
		index[r.Rules[i].ID] = i
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, newSARIFRule(&r.Rules[i]))
	}
	for i := range r.Findings {
		f := &r.Findings[i]
		region := sarifRegion{StartLine: 1}
		if f.Line != nil && f.Column != nil {
			region = sarifRegion{StartLine: *f.Line, StartColumn: *f.Column}
		} else {
			region.ByteOffset = f.Offset
		}
		loc := sarifLocation{PhysicalLocation: sarifPhysical{
			ArtifactLocation: artifact(repositoryPath(f)),
			Region:           region,
		}}
		if f.Tensor != nil {
			loc.LogicalLocations = []sarifLogical{{FullyQualifiedName: render.Escape(*f.Tensor), Kind: "member"}}
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Rule, RuleIndex: index[f.Rule], Level: sarifLevels[f.Severity],
			Message: sarifText{Text: Sentence(f) + "."}, Locations: []sarifLocation{loc},
			PartialFingerprints: map[string]string{"wtinspect/v1": f.Fingerprint},
		})
	}
	return render.Write(w, sarifLog{
		Schema:  "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
		Version: "2.1.0", Runs: []sarifRun{run},
	})
}

// artifact says where a file is: in the repository, or where its URI leads.
func artifact(path string) sarifArtifact {
	if source.Scheme(path) != "" {
		return sarifArtifact{URI: strings.ReplaceAll(path, " ", "%20")}
	}
	return sarifArtifact{URI: (&url.URL{Path: path}).EscapedPath(), URIBaseID: "%SRCROOT%"}
}

func newSARIFRule(r *inspect.Rule) sarifRule {
	sentence := strings.ToUpper(r.Title[:1]) + r.Title[1:] + "."
	doc := strings.ReplaceAll(r.Doc, "\n", " ")
	return sarifRule{
		ID: r.ID, Name: pascal(r.Name),
		ShortDescription: sarifText{Text: sentence}, FullDescription: sarifText{Text: doc},
		Help: sarifText{
			Text:     fmt.Sprintf("%s\n\nBad: %s\nGood: %s", doc, r.Bad, r.Good),
			Markdown: fmt.Sprintf("%s\n\n* Bad: %s\n* Good: %s\n", EscapeMarkdown(doc), EscapeMarkdown(r.Bad), EscapeMarkdown(r.Good)),
		},
		HelpURI:              projectURL + "/blob/main/docs/rules.md#" + strings.ToLower(r.ID),
		DefaultConfiguration: sarifLevel{sarifLevels[r.Severity]},
		Properties:           sarifProperties{Tags: []string{"model-weights"}, Precision: "high", ProblemSeverity: problemSeverities[r.Severity]},
	}
}
