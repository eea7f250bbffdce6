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
	render.List(d, "findings", r.Findings)
	d.Field("summary", r.Summary)
	return d.Close()
}

// rows writes a row a finding.
func rows(form render.Format) printer {
	return func(w io.Writer, r *inspect.CheckResult, o Options) error {
		if form == render.JSONL {
			return render.Lines(w, r.Findings)
		}
		return findings(r.Findings).Write(w, form, o.Style)
	}
}

// findings are the columns of a finding.
func findings(list []inspect.Finding) *render.Table {
	words := func(s *string) render.Cell {
		if s == nil {
			return render.Null()
		}
		return render.Text(*s)
	}
	number := func(n *int) render.Cell {
		if n == nil {
			return render.Null()
		}
		return render.Int(int64(*n))
	}
	return &render.Table{
		Columns: []render.Column{
			{Key: "rule", Title: "RULE"},
			{Key: "name", Title: "NAME"},
			{Key: "severity", Title: "SEVERITY"},
			{Key: "file", Title: "FILE", Cut: render.CutMiddle},
			{Key: "line", Title: "LINE", Right: true},
			{Key: "column", Title: "COLUMN", Right: true},
			{Key: "offset", Title: "OFFSET", Right: true},
			{Key: "tensor", Title: "TENSOR", Cut: render.CutMiddle},
			{Key: "count", Title: "COUNT", Right: true},
			{Key: "fixable", Title: "FIX"},
			{Key: "message", Title: "FINDING", Cut: render.CutEnd},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for i := range list {
				f := &list[i]
				offset := render.Null()
				if f.Offset != nil {
					offset = render.Int(*f.Offset)
				}
				row := []render.Cell{
					render.Text(f.Rule).In(render.Bold), render.Text(f.Name), render.Text(f.Severity.String()), words(f.File), number(f.Line), number(f.Column),
					offset, words(f.Tensor), render.Int(int64(f.Count)), render.Bool(f.Fixable), render.Text(f.Message),
				}
				if !yield(row) {
					return
				}
			}
		},
	}
}
