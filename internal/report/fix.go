package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Fix writes what a fix of the release at path did, or would do, as text for people
// or as JSON.
func Fix(w io.Writer, form, path string, r *inspect.FixResult, s render.Style) error {
	if form != "json" {
		return fixText(w, s, path, r)
	}
	d := render.NewDocument(w)
	render.List(d, "mends", r.Fixes)
	render.List(d, "declined", r.Declined)
	d.Field("written", r.Written)
	render.List(d, "findings", r.Findings)
	return d.Close()
}

func fixText(w io.Writer, s render.Style, path string, r *inspect.FixResult) error {
	var b strings.Builder
	for _, x := range r.Fixes {
		fmt.Fprintf(&b, "%s: %s\n", s.Paint(render.Bold, strings.Join(x.Rules, " ")), render.EscapeMessage(x.What))
		for _, c := range x.Changes {
			to := render.Escape(c.To)
			if c.To == "" {
				to = "dropped: " + render.EscapeMessage(c.Reason)
			}
			fmt.Fprintf(&b, "  %s -> %s", render.Escape(c.From), to)
			if c.Count > 1 {
				fmt.Fprintf(&b, " (x%d)", c.Count)
			}
			b.WriteByte('\n')
		}
	}
	for _, x := range r.Declined {
		fmt.Fprintf(&b, "%s: left alone: %s\n", x.Rule, render.EscapeMessage(x.Reason))
	}
	if r.Written != nil {
		path = *r.Written
	}
	switch {
	case len(r.Fixes) == 0:
		fmt.Fprintf(&b, "nothing to fix in %s\n", render.EscapeMessage(path))
	case r.Written == nil:
		fmt.Fprintf(&b, "%s planned, nothing written; --in-place or -o DST writes\n", fixes(len(r.Fixes)))
	default:
		fmt.Fprintf(&b, "%s made in %s; left: %s\n", fixes(len(r.Fixes)), render.EscapeMessage(path), Summary(r.Left))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func fixes(n int) string {
	if n == 1 {
		return "1 fix"
	}
	return fmt.Sprintf("%d fixes", n)
}
