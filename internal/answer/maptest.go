package answer

import (
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// MapTests prints what maps would do to checkpoints. faults are of what could not be read.
func MapTests(w io.Writer, tests []*inspect.MapTest, faults []inspect.Fault, o Options) error {
	several := slices.ContainsFunc(tests, func(t *inspect.MapTest) bool { return t.Map != tests[0].Map })
	columns := mapTestColumns(several || o.Format != render.TableFormat)
	switch {
	case o.Format == render.JSON:
		d := render.NewDocument(w)
		render.List(d, "tests", tests)
		render.List(d, "faults", faults)
		return d.Close()
	case o.Format != render.TableFormat || o.Style.Columns != nil || len(tests) == 0:
		return columns.Table(slices.Values(tests)).Write(w, o.Format, o.Style)
	}
	t := columns.Table(slices.Values(tests))
	t.Headings = render.Always
	if err := t.Write(w, o.Format, o.Style); err != nil {
		return err
	}
	return o.Style.Wrap(w, func(w io.Writer) error {
		refused := 0
		for _, t := range tests {
			if t.Refused() {
				refused++
			}
		}
		if _, err := fmt.Fprintf(w, "%s, %s refused\n", render.Counted(len(tests), "test"), render.Grouped(uint64(refused))); err != nil || !o.Verbose {
			return err
		}
		for _, t := range tests {
			for i := range t.Problems {
				if _, err := fmt.Fprintln(w, render.EscapeMessage(fmt.Sprintf("%s: %s: refused: %s", t.Map, t.Path, t.Problems[i].Message))); err != nil {
					return err
				}
			}
			for i := range t.LeftBehind {
				if _, err := fmt.Fprintln(w, render.EscapeMessage(fmt.Sprintf("%s: %s: %v", t.Map, t.Path, &t.LeftBehind[i]))); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// MapTestsColumns describes the columns of [MapTests].
func MapTestsColumns(Options) []render.Column { return mapTestColumns(true).Heads() }

// mapTestColumns has the map where there are several.
func mapTestColumns(several bool) render.Columns[*inspect.MapTest] {
	type row = *inspect.MapTest
	count := func(n func(t row) int) func(c *render.Cell, t row) {
		return func(c *render.Cell, t row) { c.Number(uint64(n(t))) }
	}
	return render.Columns[row]{
		{Key: "map", Title: "MAP", Hide: !several, Cut: render.Whole, Cell: func(c *render.Cell, t row) { c.Text(t.Map) }},
		{Key: "path", Title: "PATH", Cut: render.Whole, Cell: func(c *render.Cell, t row) {
			c.Text(t.Path)
			c.Color(render.Cyan)
		}},
		{Key: "tensors", Title: "TENSORS", Right: true, Cell: count(func(t row) int { return t.Summary.Tensors })},
		{Key: "moved", Title: "RENAMED", Right: true, Cell: count(func(t row) int { return t.Summary.Moved })},
		{Key: "dropped", Title: "DROPPED", Right: true, Cell: count(func(t row) int { return t.Summary.Dropped })},
		{Key: "changed", Title: "CHANGED", Right: true, Cell: count(func(t row) int { return t.Summary.Changed })},
		{Key: "kept", Title: "KEPT", Right: true, Cell: count(func(t row) int { return t.Summary.Kept })},
		{Key: "unmatched", Cell: count(func(t row) int { return t.Summary.Unmatched })},
		{Key: "problems", Cell: count(func(t row) int { return t.Summary.Problems })},
		{Key: "refused", Title: "REFUSED", Cut: render.Sentence, Cell: func(c *render.Cell, t row) {
			if !t.Refused() {
				return
			}
			text := t.Problems[0].Message
			if more := len(t.Problems) - 1; more > 0 {
				text += fmt.Sprintf(" (and %s)", render.Counted(more, "more reason"))
			}
			c.Text(text)
			c.Color(render.Red)
		}},
	}
}
