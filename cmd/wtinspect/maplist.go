package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// convertsTo lists what a convention converts to, by names first.
func convertsTo(c *inspect.Convertible) string {
	var groups []string
	for _, by := range []string{"names", "bytes"} {
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

func writeMapList(w io.Writer, o *output, s render.Style, list *inspect.MapsResult) error {
	maps := &render.Table{
		Columns: []render.Column{{Key: "name", Title: "NAME"}, {Key: "description", Title: "DESCRIPTION", Cut: render.CutEnd}},
		Rows: func(yield func([]render.Cell) bool) {
			for _, m := range list.Maps {
				if !yield([]render.Cell{render.Text(m.Name).In(render.Cyan), render.Text(m.Description)}) {
					return
				}
			}
		},
	}
	conventions := &render.Table{
		Columns: []render.Column{
			{Key: "name", Title: "CONVENTION"},
			{Key: "dialects", Title: "DIALECT"},
			{Key: "to", Title: "CONVERTS TO", Cut: render.CutEnd},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for _, c := range list.Conventions {
				to := render.Null()
				if text := convertsTo(&c); text != "" {
					to = render.Text(text)
				}
				if !yield([]render.Cell{render.Text(c.Name).In(render.Cyan), render.Text(strings.Join(c.Dialects, ", ")), to}) {
					return
				}
			}
		},
	}
	switch f := o.Format(); f {
	case render.TableFormat:
		if err := maps.Write(w, f, s); err != nil {
			return err
		}
		fmt.Fprintln(w)
		return conventions.Write(w, f, s)
	case render.JSON:
		d := render.NewDocument(w)
		d.Rows("maps", maps)
		render.List(d, "conventions", list.Conventions)
		return d.Close()
	default:
		// One table: a map converts to nothing that is known.
		all := &render.Table{
			Columns: []render.Column{{Key: "name"}, {Key: "kind"}, {Key: "description"}, {Key: "to"}},
			Rows: func(yield func([]render.Cell) bool) {
				for row := range maps.Rows {
					if !yield([]render.Cell{row[0], render.Text("map"), row[1], render.Null()}) {
						return
					}
				}
				at := 0
				for row := range conventions.Rows {
					if !yield([]render.Cell{row[0], render.Text("convention"), render.Text(list.Conventions[at].Description), row[2]}) {
						return
					}
					at++
				}
			},
		}
		return all.Write(w, f, s)
	}
}
