package report

import (
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// JUnit: well-formed XML whose counts are those of its cases, a case for every rule.
func TestJUnit(t *testing.T) {
	r := bad(t)
	out := written(t, "junit", r, Options{})
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
	if suites.Tests != len(r.Rules) || len(suites.Suites[0].Cases) != suites.Tests || suites.Failures != failures || failures < 2 {
		t.Errorf("tests %d, cases %d, failures %d counted %d", suites.Tests, len(suites.Suites[0].Cases), suites.Failures, failures)
	}
	// Where nothing fails, what was found is still told.
	r.Summary.FailOn = "never"
	out = written(t, "junit", r, Options{})
	if strings.Contains(out, "<failure") || !strings.Contains(out, "<system-out>") {
		t.Errorf("nothing fails:\n%s", out)
	}
}
