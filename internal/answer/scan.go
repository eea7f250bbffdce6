package answer

import (
	"fmt"
	"io"
	"iter"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A scanTable is one of the tables of a scan.
type scanTable struct {
	name string
	// heads describes the columns, and csv and lines write the rows.
	heads func() []render.Column
	csv   func(w io.Writer, found iter.Seq[*inspect.Scanned], o Options) error
	lines func(w io.Writer, s *inspect.Scanned, o Options) error
}

// scanTables returns all tables, in the order of their lines. They are made when they are
// first needed, as most commands never do.
var scanTables = sync.OnceValue(func() []scanTable {
	return []scanTable{
		tableOf("releases", func(s *inspect.Scanned) inspect.Seq[inspect.ScannedRelease] {
			return func(yield func(inspect.ScannedRelease) bool) { yield(s.Release) }
		}),
		tableOf("files", func(s *inspect.Scanned) inspect.Seq[inspect.ScannedFile] {
			return inspect.Seq[inspect.ScannedFile](slices.Values(s.Files))
		}),
		tableOf("tensors", func(s *inspect.Scanned) inspect.Seq[inspect.ScannedTensor] { return s.Tensors }),
		tableOf("findings", func(s *inspect.Scanned) inspect.Seq[inspect.ScannedFinding] {
			return inspect.Seq[inspect.ScannedFinding](slices.Values(s.Findings))
		}),
		tableOf("stats", func(s *inspect.Scanned) inspect.Seq[inspect.ScannedStats] { return s.Stats }),
	}
})

// ScanTables names the tables of a scan.
func ScanTables() []string { return []string{"releases", "files", "tensors", "findings", "stats"} }

// ScanColumns describes the columns of tables, all without any: each once.
func ScanColumns(tables []string) []render.Column {
	var out []render.Column
	for _, t := range scanTables() {
		if len(tables) > 0 && !slices.Contains(tables, t.name) {
			continue
		}
		for _, c := range t.heads() {
			if !slices.ContainsFunc(out, func(have render.Column) bool { return have.Key == c.Key }) {
				out = append(out, c)
			}
		}
	}
	return out
}

// Scan prints the rows of some tables of what was scanned, as it comes: JSON lines that
// begin with the name of the table, and of one table CSV or TSV.
func Scan(w io.Writer, found iter.Seq[*inspect.Scanned], tables []string, o Options) error {
	var chosen []scanTable
	for _, t := range scanTables() {
		if slices.Contains(tables, t.name) {
			chosen = append(chosen, t)
		}
	}
	if o.Format != render.JSONL {
		if len(chosen) != 1 {
			return fmt.Errorf("%s has the rows of one table; --table names it: %s", o.Format, strings.Join(ScanTables(), ", "))
		}
		return chosen[0].csv(w, found, o)
	}
	for s := range found {
		for _, t := range chosen {
			if err := t.lines(w, s, o); err != nil {
				return err
			}
		}
	}
	return nil
}

func tableOf[R any](name string, rows func(*inspect.Scanned) inspect.Seq[R]) scanTable {
	columns := columnsOf[R]()
	line := append(render.Columns[*R]{{Key: "table", Cell: func(c *render.Cell, _ *R) { c.Text(name) }}}, columns...)
	pointers := func(s *inspect.Scanned, yield func(*R) bool) bool {
		var row R // one for all, of which there may be half a million
		for row = range rows(s) {
			if !yield(&row) {
				return false
			}
		}
		return true
	}
	return scanTable{
		name:  name,
		heads: columns.Heads,
		csv: func(w io.Writer, found iter.Seq[*inspect.Scanned], o Options) error {
			return columns.Table(func(yield func(*R) bool) {
				for s := range found {
					if !pointers(s, yield) {
						return
					}
				}
			}).Write(w, o.Format, o.Style)
		},
		lines: func(w io.Writer, s *inspect.Scanned, o Options) error {
			return line.Table(func(yield func(*R) bool) { pointers(s, yield) }).Write(w, render.JSONL, o.Style)
		},
	}
}

// columnsOf makes columns of the fields of a row, which declare them for every form.
func columnsOf[R any]() render.Columns[*R] {
	var out render.Columns[*R]
	for _, f := range reflect.VisibleFields(reflect.TypeFor[R]()) {
		if f.Anonymous {
			continue
		}
		key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		set := setterOf(f.Type)
		out = append(out, render.Col[*R]{Key: key, Cell: func(c *render.Cell, r *R) {
			set(c, reflect.ValueOf(r).Elem().FieldByIndex(f.Index))
		}})
	}
	return out
}

// setterOf returns what sets a cell to a value of a type. What is nil is null.
func setterOf(t reflect.Type) func(*render.Cell, reflect.Value) {
	if t == reflect.TypeFor[time.Time]() {
		return func(c *render.Cell, v reflect.Value) { c.Text(v.Interface().(time.Time).Format(time.RFC3339Nano)) }
	}
	switch t.Kind() {
	case reflect.Pointer:
		set := setterOf(t.Elem())
		return func(c *render.Cell, v reflect.Value) {
			if !v.IsNil() {
				set(c, v.Elem())
			}
		}
	case reflect.String:
		return func(c *render.Cell, v reflect.Value) { c.Text(v.String()) }
	case reflect.Int32, reflect.Int64:
		return func(c *render.Cell, v reflect.Value) { c.Int(v.Int()) }
	case reflect.Float64:
		return func(c *render.Cell, v reflect.Value) { c.Float(v.Float()) }
	case reflect.Bool:
		return func(c *render.Cell, v reflect.Value) { c.Bool(v.Bool()) }
	case reflect.Slice:
		return listSetter(t.Elem().Kind())
	}
	panic(fmt.Sprintf("a column of %s", t)) // the types are ours
}

// listSetter sets a cell to a list: an array in JSON, which other forms have as text.
func listSetter(of reflect.Kind) func(*render.Cell, reflect.Value) {
	return func(c *render.Cell, v reflect.Value) {
		if v.IsNil() {
			return
		}
		raw := []byte{'['}
		for i := range v.Len() {
			if i > 0 {
				raw = append(raw, ',')
			}
			if e := v.Index(i); of == reflect.String {
				raw = render.AppendJSON(raw, e.String())
			} else {
				raw = strconv.AppendInt(raw, e.Int(), 10)
			}
		}
		raw = append(raw, ']')
		c.Value(string(raw), string(raw))
	}
}
