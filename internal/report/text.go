package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
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
			s.Paint(colors[f.Severity], f.Severity.String()), f.Rule, Sentence(f))
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
	b.WriteString(Fixes(r))
	return s.Wrap(w, func(w io.Writer) error {
		_, err := io.WriteString(w, b.String())
		return err
	})
}

// Fixes says what 'wtinspect fix' can fix of the findings, and which of them only when
// its --select asks for them: what is no more than worth knowing.
func Fixes(r *inspect.CheckResult) string {
	var fixed, asked int
	var rules []string
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case !f.Fixable:
		case f.Severity == checkpoint.Info:
			asked++
			if !slices.Contains(rules, f.Rule) {
				rules = append(rules, f.Rule)
			}
		default:
			fixed++
		}
	}
	slices.Sort(rules)
	command, release, choice := "wtinspect fix", "", " --select "+strings.Join(rules, ",")
	if len(r.Releases) > 1 {
		release = " RELEASE"
	}
	of := func(n int) string {
		switch {
		case len(r.Findings) == 1:
			return "it"
		case n == len(r.Findings):
			return "all of them"
		}
		return fmt.Sprintf("%d of them", n)
	}
	where := ""
	if len(r.Releases) > 0 && source.Scheme(r.Releases[0].Path) != "" {
		where = " in a copy on this machine" // what is elsewhere is read only
	}
	switch {
	case fixed == 0 && asked == 0:
		return ""
	case fixed == 0:
		return fmt.Sprintf("'%s%s%s' can fix %s%s\n", command, choice, release, of(asked), where)
	case asked == 0:
		return fmt.Sprintf("'%s%s' can fix %s%s\n", command, release, of(fixed), where)
	}
	return fmt.Sprintf("'%s%s' can fix %s%s, and %d more with%s\n", command, release, of(fixed), where, asked, choice)
}
