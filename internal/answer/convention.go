package answer

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Convention prints what a project calls the tensors of a model.
func Convention(w io.Writer, r *inspect.ConventionResult, o Options) error {
	t := conventionTensors.Table(pointers(r.Tensors))
	switch {
	case o.Format == render.TableFormat && o.Style.Columns == nil:
		if err := t.Write(w, o.Format, o.Style); err != nil {
			return err
		}
		return o.Style.Wrap(w, func(w io.Writer) error { return conventionSummary(w, r) })
	case o.Format == render.JSON:
		d := render.NewDocument(w)
		d.Field("convention", r.Convention)
		d.Field("description", r.Description)
		d.Field("dialects", r.Dialects)
		d.Field("families", r.Families)
		if r.Base != "" {
			d.Field("base", r.Base)
		}
		d.Field("layout", r.Layout)
		if r.Refuse != "" {
			d.Field("refuse", r.Refuse)
		}
		d.Field("sources", r.Sources)
		render.List(d, "tensors", r.Tensors)
		if r.Sizes != nil {
			d.Field("sizes", r.Sizes)
		}
		return d.Close()
	case o.Format == render.JSONL:
		return render.Lines(w, r.Tensors)
	}
	return t.Write(w, o.Format, o.Style)
}

// conventionSummary says what the names are of, and what the shapes are made of.
func conventionSummary(w io.Writer, r *inspect.ConventionResult) error {
	what := r.Convention
	if r.Description != "" {
		what += ": " + r.Description
	}
	lines := []string{what + " (" + strings.Join(r.Dialects, ", ") + ")"}
	if len(r.Families) > 0 {
		lines = append(lines, "models: "+strings.Join(r.Families, ", "))
	}
	if r.Base != "" {
		lines = append(lines, fmt.Sprintf("a release without a head lacks %q", r.Base))
	}
	var sizes []string
	for _, s := range r.SizesUsed() {
		text := string(s) + " = " + s.Meaning()
		if n := r.Sizes[s]; n > 0 {
			text += " = " + strconv.FormatUint(n, 10)
		}
		sizes = append(sizes, text)
	}
	if len(sizes) > 0 {
		lines = append(lines, strings.Join(sizes, ", "))
	}
	if r.Refuse != "" {
		lines = append(lines, "no conversions: "+r.Refuse)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, render.EscapeMessage(line)); err != nil {
			return err
		}
	}
	return nil
}

// ConventionColumns describes the columns of [Convention].
func ConventionColumns(Options) []render.Column { return conventionTensors.Heads() }

var conventionTensors = render.Columns[*inspect.ConventionTensor]{
	{Key: "name", Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, t *inspect.ConventionTensor) {
		c.Text(t.Name)
		c.Color(render.Cyan)
	}},
	{Key: "role", Title: "ROLE", Cell: func(c *render.Cell, t *inspect.ConventionTensor) { c.Text(t.Role) }},
	{Key: "shape", Title: "SHAPE", Cell: func(c *render.Cell, t *inspect.ConventionTensor) { c.Some(shapeOf(t)) }},
	{Key: "optional", Title: "OPTIONAL", Cell: func(c *render.Cell, t *inspect.ConventionTensor) {
		switch {
		case t.Buffer:
			c.Text("buffer")
		case t.Unwritten:
			c.Text("not written")
		case t.Optional:
			c.Text("yes")
		default:
			c.Some("")
		}
	}},
	{Key: "layout", Title: "LAYOUT", Cut: render.Sentence, Cell: func(c *render.Cell, t *inspect.ConventionTensor) { c.Some(strings.Join(t.Layout, ", ")) }},
}

// shapeOf writes a shape in numbers where they are known.
func shapeOf(t *inspect.ConventionTensor) string {
	if t.Axes == nil {
		return ""
	}
	axes := t.Axes
	if t.Shape != nil {
		axes = make([]string, len(t.Shape))
		for i, n := range t.Shape {
			axes[i] = strconv.FormatUint(n, 10)
		}
	}
	return "[" + strings.Join(axes, ",") + "]"
}
