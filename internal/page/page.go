// Package page writes what there is to say of a model, or of two, as one page: HTML that
// needs no network, Markdown, or the treemap alone as SVG. What is on the page are the
// tables of package answer and the findings of package report; the package decides how
// much of them fits, and says what it left out and which command prints it.
package page

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Options are how a page is made.
type Options struct {
	// Title is what the page is called.
	Title string
	// References are those of the models, as a person may give them to a command.
	References []string
	// Command is the command line that made the page, and Version the program's.
	Command []string
	Version string
	// OnlyDifference leaves out what there is to say of each of two models by itself.
	OnlyDifference bool
}

// Forms lists the forms of a page, the default first.
func Forms() []string { return []string{"html", "markdown", "svg", "json"} }

// Write writes a report in one of the [Forms].
func Write(w io.Writer, form string, r *inspect.ReportResult, o Options) error {
	switch form {
	case "html":
		return writeHTML(w, newPage(r, o, htmlForm))
	case "markdown":
		return writeMarkdown(w, newPage(r, o, markdownForm))
	case "svg":
		return writeSVG(w, newPage(r, o, htmlForm))
	case "json":
		return writeJSON(w, r)
	}
	return fmt.Errorf("form %q: must be one of: %s", form, strings.Join(Forms(), ", "))
}

func writeJSON(w io.Writer, r *inspect.ReportResult) error {
	d := render.NewDocument(w)
	render.List(d, "checkpoints", r.Checkpoints)
	render.List(d, "identities", r.Identities)
	render.Each(d, "groups", r.Groups)
	d.Field("check", r.Check)
	render.List(d, "rules", r.Rules)
	d.Field("values", r.Values)
	d.Field("difference", r.Difference)
	render.Each(d, "faults", r.Faults)
	return d.Close()
}

// A form is how much a page holds. A part of it has a share of the bytes, so that a page
// of any model has at most as many.
type form struct {
	// bytes are those that the parts share, texts and markup. A tenth is for headings.
	bytes int
	// cell is what the markup of a cell takes, and escaped what a text takes.
	cell    int
	escaped func(s string) int
	// rows are how many a table has at most, and models how many are shown in full.
	rows, models int
	// drawn says that there are drawings.
	drawn bool
}

var (
	// A page is at most 1 MB, drawings, style and script included.
	htmlForm = form{bytes: 880_000, cell: 28, rows: 1000, models: 12, drawn: true, escaped: func(s string) int { return len(html.EscapeString(s)) }}
	// A comment on GitHub has at most 65,536 characters
	// (https://github.com/orgs/community/discussions/27190).
	markdownForm = form{bytes: 52_000, cell: 5, rows: 100, models: 8, escaped: func(s string) int { return len(markdownText(s)) }}
)

// share is a part of the bytes of a page, in hundredths.
func (f *form) share(percent, parts int) int { return f.bytes / 100 * percent / max(parts, 1) }

// What is shown of texts from files, in characters.
const (
	mostName    = 200
	mostMessage = 800
	mostLines   = 12
)

// name returns a name as people read it.
func name(s string) string { return render.Shorten(render.Escape(s), mostName) }

// message returns a line of a message as people read it.
func message(s string) string { return render.Shorten(render.EscapeMessage(s), mostMessage) }

// shellSafe are what the arguments of a command need no quotes for.
const shellSafe = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-"

// command writes a command line that a shell takes, as far as a page can show it.
func command(words ...string) string {
	out := slices.Clone(words)
	for i, w := range out {
		if w == "" || strings.Trim(w, shellSafe) != "" {
			out[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		out[i] = render.Shorten(render.EscapeMessage(out[i]), mostName)
	}
	return strings.Join(out, " ")
}
