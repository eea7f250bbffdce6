package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// A convertible is a convention, and what it converts to.
type convertible struct {
	Name        string       `json:"name"`
	Description string       `json:"description"`
	Dialects    []string     `json:"dialects"`
	Families    []string     `json:"families"`
	To          []conversion `json:"to"`
}

// A conversion is another convention, and by what its names are reached:
// "names", "bytes", or "refused".
type conversion struct {
	Convention string `json:"convention"`
	By         string `json:"by"`
}

// text lists what the convention converts to, by names first.
func (c *convertible) text() string {
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

// convertibles works out what converts to what, of the conventions chosen.
func convertibles(chosen func(*convention.Convention) bool) []convertible {
	all := convention.All()
	mine := slices.DeleteFunc(slices.Clone(all), func(c *convention.Convention) bool { return !chosen(c) })
	out := make([]convertible, len(mine))
	var wait sync.WaitGroup
	next := make(chan int)
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := range next {
				c := mine[i]
				out[i] = convertible{c.Name, c.Description, c.Dialects, c.Families, []conversion{}}
				for _, to := range all {
					if to == c || c.Frame || to.Frame {
						continue
					}
					if d, err := convention.Derive(c, to); err == nil {
						out[i].To = append(out[i].To, conversion{to.Name, d.By()})
					}
				}
			}
		})
	}
	for i := range mine {
		next <- i
	}
	close(next)
	wait.Wait()
	return out
}

func writeMapList(w io.Writer, o *output, s render.Style, words []string) error {
	has := func(texts ...string) bool {
		text := strings.ToLower(strings.Join(texts, " "))
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, strings.ToLower(w)) })
	}
	list := convertibles(func(c *convention.Convention) bool {
		return has(c.Name, strings.Join(c.Dialects, " "), strings.Join(c.Families, " "))
	})
	maps := &render.Table{
		Columns: []render.Column{{Key: "name", Title: "NAME"}, {Key: "description", Title: "DESCRIPTION", Cut: render.CutEnd}},
		Rows: func(yield func([]render.Cell) bool) {
			for _, name := range rename.Builtins() {
				m, _ := rename.Builtin(name)
				if has(name, m.Description) && !yield([]render.Cell{render.Text(name).In(render.Cyan), render.Text(m.Description)}) {
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
			for _, c := range list {
				to := render.Null()
				if text := c.text(); text != "" {
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
		render.List(d, "conventions", list)
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
					if !yield([]render.Cell{row[0], render.Text("convention"), render.Text(list[at].Description), row[2]}) {
						return
					}
					at++
				}
			},
		}
		return all.Write(w, f, s)
	}
}
