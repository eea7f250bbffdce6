package answer

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Fix prints what a fix of the release at path did, or would do, as text for people or as
// JSON. left sums up what check finds after it.
func Fix(w io.Writer, path string, r *inspect.FixResult, left string, o Options) error {
	if o.Format != render.JSON {
		return o.Style.Wrap(w, func(w io.Writer) error { return writeFixes(w, path, r, left, o.Style) })
	}
	d := render.NewDocument(w)
	render.List(d, "fixes", r.Fixes)
	render.List(d, "declined", r.Declined)
	d.Field("written", r.Written)
	render.List(d, "findings", r.Findings)
	return d.Close()
}

func writeFixes(w io.Writer, path string, r *inspect.FixResult, left string, s render.Style) error {
	for i, x := range r.Fixes {
		if i > 0 && len(r.Fixes[i-1].Changes) > 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "%s: %s\n", s.Paint(render.Bold, strings.Join(x.Rules, " ")), render.EscapeMessage(x.What))
		if len(x.Changes) > 0 {
			if err := changesTable(x.Changes).Write(w, render.TableFormat, s); err != nil {
				return err
			}
			if i+1 == len(r.Fixes) {
				fmt.Fprintln(w)
			}
		}
	}
	for _, x := range r.Declined {
		fmt.Fprintf(w, "%s: left alone: %s\n", x.Rule, render.EscapeMessage(x.Reason))
	}
	fixes := render.Counted(len(r.Fixes), "fix")
	path = render.EscapeMessage(path)
	var sum string
	switch {
	case len(r.Fixes) == 0:
		sum = "nothing to fix in " + path
		if r.Written != nil && *r.Written != path {
			sum += "; " + render.EscapeMessage(*r.Written) + " is a copy of it"
		}
		if len(r.Findings) > 0 {
			sum += "; left: " + left
		}
	case r.Written == nil && inspect.IsReference(path):
		sum = fixes + " planned, nothing written; download the release, and fix the copy"
	case r.Written == nil:
		sum = fixes + " planned, nothing written; apply with --in-place or -o DST"
	default:
		sum = fmt.Sprintf("%s made in %s; left: %s", fixes, render.EscapeMessage(*r.Written), left)
	}
	_, err := fmt.Fprintln(w, sum)
	return err
}
