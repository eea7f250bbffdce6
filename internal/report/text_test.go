package report

import (
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/render"
)

// Text is a line a finding, the summary, and what can be fixed; colours only where
// they are asked for.
func TestText(t *testing.T) {
	r := bad(t)
	out := written(t, "text", r, Options{})
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	if len(lines) != len(r.Findings)+2 || lines[len(lines)-2] != Summary(r) || lines[len(lines)-1] != "'wtinspect fix --select WT904' can fix 1 of them" {
		t.Errorf("%d findings:\n%s", len(r.Findings), out)
	}
	if strings.Contains(out, "\x1b[") {
		t.Error("colours")
	}
	if out := written(t, "text", r, Options{Style: render.Style{Color: true}}); !strings.Contains(out, "\x1b[31merror\x1b[0m") {
		t.Errorf("no colours:\n%s", out)
	}
	if out := written(t, "text", clean(t), Options{}); strings.Count(out, "\n") != 1 || !strings.HasPrefix(out, "no findings in 1 checkpoint") {
		t.Errorf("a clean release: %q", out)
	}
}
