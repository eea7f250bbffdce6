package report

import (
	"regexp"
	"strings"
	"testing"
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
