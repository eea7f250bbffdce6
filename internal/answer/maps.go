package answer

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
)

// convertsTo lists what a convention converts to, by names first, and last where
// some tensors are left out.
func convertsTo(c *inspect.Convertible) string {
	var groups []string
	for _, by := range []string{convert.ByNames, convert.ByBytes, convert.ByPartly} {
		var to []string
		for _, t := range c.To {
			if t.By == by {
				to = append(to, t.Convention)
			}
		}
		if len(to) > 0 {
			groups = append(groups, by+": "+strings.Join(to, ", "))
		}
	}
	return strings.Join(groups, "; ")
}

var (
	mapColumns = render.Columns[*inspect.BuiltinMap]{
		{Key: "name", Title: "NAME", Cell: func(c *render.Cell, m *inspect.BuiltinMap) {
			c.Text(m.Name)
			c.Color(render.Cyan)
		}},
		{Key: "description", Title: "DESCRIPTION", Cut: render.Sentence, Cell: func(c *render.Cell, m *inspect.BuiltinMap) { c.Text(m.Description) }},
	}
	conventionColumns = render.Columns[*inspect.Convertible]{
		{Title: "CONVENTION", Cell: func(c *render.Cell, v *inspect.Convertible) {
			c.Text(v.Name)
			c.Color(render.Cyan)
		}},
		{Title: "DIALECT", Cell: func(c *render.Cell, v *inspect.Convertible) { c.Text(strings.Join(v.Dialects, ", ")) }},
		{Title: "CONVERTS TO", Cut: render.Sentence, Cell: func(c *render.Cell, v *inspect.Convertible) { c.Some(convertsTo(v)) }},
	}
)

// A namedMap is a map, or a convention to map to, in one table of both.
type namedMap struct{ name, kind, description, to string }

var namedMapColumns = render.Columns[namedMap]{
	{Key: "name", Cell: func(c *render.Cell, m namedMap) { c.Text(m.name) }},
	{Key: "kind", Cell: func(c *render.Cell, m namedMap) { c.Text(m.kind) }},
	{Key: "description", Cut: render.Sentence, Cell: func(c *render.Cell, m namedMap) { c.Text(m.description) }},
	{Key: "to", Cut: render.Sentence, Cell: func(c *render.Cell, m namedMap) { c.Some(m.to) }},
}

// MapsColumns describes the columns of [Maps].
func MapsColumns(Options) []render.Column { return namedMapColumns.Heads() }

// Maps prints the maps that are built in and the conventions.
func Maps(w io.Writer, list *inspect.MapsResult, o Options) error {
	s := o.Style
	maps := mapColumns.Table(pointers(list.Maps))
	switch f := o.Format; {
	case f == render.TableFormat && s.Columns == nil:
		if len(list.Maps) > 0 {
			if err := maps.Write(w, f, s); err != nil {
				return err
			}
		}
		if len(list.Conventions) == 0 {
			return nil
		}
		if len(list.Maps) > 0 {
			if _, err := fmt.Fprintln(w); err != nil {
				return err
			}
		}
		return conventionColumns.Table(pointers(list.Conventions)).Write(w, f, s)
	case f == render.JSON:
		d := render.NewDocument(w)
		d.Rows("maps", maps)
		render.List(d, "conventions", list.Conventions)
		return d.Close()
	default:
		var all []namedMap
		for _, m := range list.Maps { // which convert to nothing that is known
			all = append(all, namedMap{m.Name, "map", m.Description, ""})
		}
		for c := range pointers(list.Conventions) {
			all = append(all, namedMap{c.Name, "convention", c.Description, convertsTo(c)})
		}
		return namedMapColumns.Table(slices.Values(all)).Write(w, f, s)
	}
}

// Lint prints what Lint of package rename finds in maps.
func Lint(w io.Writer, findings []rename.Finding, o Options) error {
	t := findingColumns.Table(pointers(findings))
	switch {
	case o.Format == render.TableFormat && o.Style.Columns == nil:
		// A finding is a sentence, which a table would cut.
		return o.Style.Wrap(w, func(w io.Writer) error {
			for _, f := range findings {
				if _, err := fmt.Fprintln(w, render.EscapeMessage(f.String())); err != nil {
					return err
				}
			}
			return nil
		})
	case o.Format == render.JSON:
		d := render.NewDocument(w)
		d.Rows("findings", t)
		return d.Close()
	}
	return t.Write(w, o.Format, o.Style)
}

// LintColumns describes the columns of [Lint].
func LintColumns(Options) []render.Column { return findingColumns.Heads() }

var findingColumns = render.Columns[*rename.Finding]{
	{Key: "where", Cell: func(c *render.Cell, f *rename.Finding) { c.Text(f.Where) }},
	{Key: "level", Cell: func(c *render.Cell, f *rename.Finding) { c.Text(string(f.Level)) }},
	{Key: "code", Cell: func(c *render.Cell, f *rename.Finding) { c.Text(f.Code) }},
	{Key: "message", Cut: render.Sentence, Cell: func(c *render.Cell, f *rename.Finding) { c.Text(f.Message) }},
	{Key: "hint", Cut: render.Sentence, Cell: func(c *render.Cell, f *rename.Finding) { c.Some(f.Hint) }},
}
