package report

import (
	"encoding/xml"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

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

// jUnit writes a test case for every rule, which fails when the rule has
// a finding at or above --fail-on.
func jUnit(w io.Writer, r *inspect.CheckResult, _ Options) error {
	byRule := make(map[string][]*inspect.Finding)
	failOn, fails := checkpoint.ParseSeverity(r.Summary.FailOn)
	for i := range r.Findings {
		f := &r.Findings[i]
		byRule[f.Rule] = append(byRule[f.Rule], f)
	}
	suite := junitSuite{Name: "wtinspect check"}
	for _, rule := range r.Rules {
		c := junitCase{Name: rule.ID + " " + rule.Name, Class: "wtinspect." + rule.ID[:3]}
		var failing, below []string
		for _, f := range byRule[rule.ID] {
			line := render.EscapeMessage(f.Place()) + ": " + f.Severity.String() + ": " + Sentence(f)
			if fails && f.Severity >= failOn {
				failing = append(failing, line)
			} else {
				below = append(below, line)
			}
		}
		if len(failing) > 0 {
			c.Failure = &junitFailure{Message: rule.Title, Type: rule.ID, Text: strings.Join(failing, "\n")}
			suite.Failures++
		}
		c.SystemOut = strings.Join(below, "\n")
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
