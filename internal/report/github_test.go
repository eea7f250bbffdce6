package report

import (
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
)

// GitHub: what a file says can neither end a command nor begin one.
func TestGitHubIsEscaped(t *testing.T) {
	out := written(t, "github", bad(t), Options{})
	command := regexp.MustCompile(`^::(error|warning|notice) file=[^:,]+(,line=\d+,col=\d+)?,title=[^:,]+::[^\r\n]+$`)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for _, l := range lines[:len(lines)-1] {
		if !command.MatchString(l) || strings.ContainsAny(l, "\x1b\u202e") {
			t.Errorf("%q", l)
		}
	}
}

// What could not be checked is an annotation, too, and an item of the summary.
func TestProblems(t *testing.T) {
	r := &inspect.CheckResult{Problems: []error{errors.New("a|b: no weights\n::stop-commands::x")}, Summary: inspect.CheckSummary{Unjudged: 1}}
	for form, want := range map[string]string{
		"github":   "::error title=not checked::a|b: no weights\\n::stop-commands::x\n1 path could not be checked\n",
		"markdown": "### wtinspect: 1 path could not be checked\n\n* not checked: a\\|b: no weights\\\\n::stop-commands::x\n\n",
	} {
		if got := written(t, form, r, Options{}); got != want {
			t.Errorf("%s: %q, want %q", form, got, want)
		}
	}
}
