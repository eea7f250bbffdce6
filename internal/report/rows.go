package report

import (
	"io"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// document writes the result as one JSON document.
func document(w io.Writer, r *inspect.CheckResult, _ Options) error {
	d := render.NewDocument(w)
	render.List(d, "checkpoints", r.Checkpoints)
	render.List(d, "releases", r.Releases)
	render.List(d, "findings", r.Findings)
	if len(r.Fits) > 0 {
		render.List(d, "fits", r.Fits)
	}
	if len(r.NotEntered) > 0 {
		render.List(d, "not_entered", r.NotEntered)
	}
	d.Field("summary", r.Summary)
	return d.Close()
}

// rows writes a row a finding.
func rows(form render.Format) printer {
	return func(w io.Writer, r *inspect.CheckResult, o Options) error {
		if form == render.JSONL {
			return render.Lines(w, r.Findings)
		}
		return columns.Table(func(yield func(*inspect.Finding) bool) {
			for i := range r.Findings {
				if !yield(&r.Findings[i]) {
					return
				}
			}
		}).Write(w, form, o.Style)
	}
}

// Columns describes the columns of a check in the forms that are tables.
func Columns() []render.Column { return columns.Heads() }

// columns are those of a finding.
var columns = render.Columns[*inspect.Finding]{
	{Key: "rule", Title: "RULE", Cell: func(c *render.Cell, f *inspect.Finding) {
		c.Text(f.Rule)
		c.Color(render.Bold)
	}},
	{Key: "name", Title: "NAME", Cell: func(c *render.Cell, f *inspect.Finding) { c.Text(f.Name) }},
	{Key: "severity", Title: "SEVERITY", Cell: func(c *render.Cell, f *inspect.Finding) { c.Text(f.Severity.String()) }},
	{Key: "file", Title: "FILE", Cut: render.Whole, Cell: func(c *render.Cell, f *inspect.Finding) { known(c.Text, f.File) }},
	{Key: "line", Title: "LINE", Right: true, Cell: func(c *render.Cell, f *inspect.Finding) { known(count(c), f.Line) }},
	{Key: "column", Title: "COLUMN", Right: true, Cell: func(c *render.Cell, f *inspect.Finding) { known(count(c), f.Column) }},
	{Key: "offset", Title: "OFFSET", Right: true, Cell: func(c *render.Cell, f *inspect.Finding) { known(c.Int, f.Offset) }},
	{Key: "tensor", Title: "TENSOR", Cut: render.Whole, Cell: func(c *render.Cell, f *inspect.Finding) { known(c.Text, f.Tensor) }},
	{Key: "count", Title: "COUNT", Right: true, Cell: func(c *render.Cell, f *inspect.Finding) { c.Int(int64(f.Count)) }},
	{Key: "fixable", Title: "FIX", Cell: func(c *render.Cell, f *inspect.Finding) { c.Bool(f.Fixable) }},
	{Key: "message", Title: "FINDING", Cut: render.Sentence, Cell: func(c *render.Cell, f *inspect.Finding) { c.Text(f.Message) }},
}

// known sets a cell to what there is to say.
func known[T any](set func(T), v *T) {
	if v != nil {
		set(*v)
	}
}

func count(c *render.Cell) func(int) { return func(n int) { c.Int(int64(n)) } }
