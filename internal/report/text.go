package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// text writes a line a finding, for people.
func text(w io.Writer, r *inspect.CheckResult, o Options) error {
	s := o.Style
	colors := [...]render.Color{checkpoint.Error: render.Red, checkpoint.Warning: render.Yellow, checkpoint.Info: render.Cyan}
	list, more := shown(r, o)
	var b strings.Builder
	for i := range list {
		f := &list[i]
		fmt.Fprintf(&b, "%s: %s %s: %s", s.Paint(render.Bold, render.EscapeMessage(f.Place())),
			s.Paint(colors[f.Severity], f.Severity.String()), f.Rule, sentence(f))
		if f.Fixable {
			b.WriteString(" " + s.Paint(render.Dim, "[fix]"))
		}
		b.WriteByte('\n')
	}
	if more > 0 {
		fmt.Fprintf(&b, "%s not shown; --max 0 shows all\n", render.Counted(more, "more finding"))
	}
	fmt.Fprintln(&b, Summary(r))
	releases, more := worst(r, o)
	for _, j := range releases {
		fmt.Fprintf(&b, "  %s: %s\n", s.Paint(render.Bold, render.EscapeMessage(j.Path)), severities(j.Errors, j.Warnings, j.Infos))
	}
	if more > 0 {
		fmt.Fprintf(&b, "  and %d more; --max 0 shows all\n", more)
	}
	fixable := 0
	for i := range r.Findings {
		if r.Findings[i].Fixable {
			fixable++
		}
	}
	if fixable > 0 {
		command, which := "wtinspect fix", fmt.Sprintf("%d of them", fixable)
		if len(r.Releases) > 1 {
			command += " RELEASE"
		}
		if fixable == len(r.Findings) {
			which = "all of them"
		}
		if len(r.Findings) == 1 {
			which = "it"
		}
		fmt.Fprintf(&b, "'%s' can fix %s\n", command, which)
	}
	return s.Wrap(w, func(w io.Writer) error {
		_, err := io.WriteString(w, b.String())
		return err
	})
}
