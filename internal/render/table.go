package render

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Format is a form of output.
type Format string

// The formats, as they are named on the command line.
const (
	TableFormat Format = "table"
	JSON        Format = "json"
	JSONL       Format = "jsonl"
	CSV         Format = "csv"
	TSV         Format = "tsv"
)

// Formats lists the formats that every command has.
func Formats() []Format { return []Format{TableFormat, JSON, JSONL, CSV, TSV} }

// Columns declares the rows of one type: what each form calls a column, how
// it is shown, and what it says of a row. The order is that of every form.
type Columns[R any] []Col[R]

// A Col is a column of rows of one type.
type Col[R any] struct {
	// Key names the column in JSON, CSV and TSV, which leave out a column
	// without one.
	Key string
	// Title is the heading in a table, which leaves out a column without one, unless it is
	// asked for by its name.
	Title string
	// Hide leaves the column out of tables, as if it had no title.
	Hide bool
	// Right aligns to the right, as numbers want it.
	Right bool
	// Cut says what becomes of a cell that is too wide for the terminal.
	Cut Cut
	// Cell sets the cell, which is null, to what the column says of a row. It is
	// called only for the columns that a form shows.
	Cell func(c *Cell, r R)
}

// Table returns the table of rows. They are walked once each time it is
// written, and a row may be reused for the next.
func (c Columns[R]) Table(rows func(yield func(R) bool)) *Table {
	t := &Table{columns: c.Heads()}
	t.cells = func(shown []int) iter.Seq[[]Cell] {
		row, cell := make([]Cell, len(shown)), make([]func(*Cell, R), len(shown))
		for k, i := range shown {
			cell[k] = c[i].Cell
		}
		return func(yield func([]Cell) bool) {
			for r := range rows {
				for k := range row {
					c := &row[k]
					c.kind, c.color = null, Plain
					cell[k](c, r)
				}
				if !yield(row) {
					return
				}
			}
		}
	}
	return t
}

// Heads describes the columns.
func (c Columns[R]) Heads() []Column {
	heads := make([]Column, len(c))
	for i := range c {
		heads[i] = Column{Key: c[i].Key, Title: c[i].Title, Hide: c[i].Hide, Right: c[i].Right, Cut: c[i].Cut}
	}
	return heads
}

// A Column describes the cells at one place of every row, as [Col] does.
type Column struct {
	Key, Title  string
	Hide, Right bool
	Cut         Cut
}

// Name is what a column is asked for by: its key, or its heading in small letters.
func (c *Column) Name() string { return cmp.Or(c.Key, columnName(c.Title)) }

// columnName is a heading as a name: "MAX ABS" is max_abs.
func columnName(title string) string { return strings.ReplaceAll(strings.ToLower(title), " ", "_") }

// heading is what is above the column.
func (c *Column) heading() string {
	return cmp.Or(c.Title, strings.ToUpper(strings.ReplaceAll(c.Key, "_", " ")))
}

// in reports whether a format can show the column.
func (c *Column) in(f Format) bool { return c.Key != "" || f == TableFormat && c.Title != "" }

// Choose returns the places of the columns that are asked for by their names or headings,
// in that order.
func Choose(columns []Column, f Format, names []string) ([]int, error) {
	places := make([]int, len(names))
	for i, name := range names {
		asked := columnName(strings.TrimSpace(name))
		is := func(c Column) bool { return c.in(f) && (asked == c.Name() || asked == columnName(c.Title)) }
		if places[i] = slices.IndexFunc(columns, is); places[i] < 0 || asked == "" {
			all := Names(columns, f)
			return nil, fmt.Errorf("there is no column %q%s; the columns are: %s", name, template.DidYouMean(asked, all), strings.Join(all, ", "))
		}
	}
	return places, nil
}

// Names lists the columns that a format can show.
func Names(columns []Column, f Format) []string {
	var names []string
	for i := range columns {
		if columns[i].in(f) {
			names = append(names, columns[i].Name())
		}
	}
	return names
}

// A Cut says what becomes of a text that is too wide for the terminal.
type Cut uint8

// The cuts.
const (
	// NoCut texts are short, and their columns as wide as they are.
	NoCut Cut = iota
	// Whole texts are names: two that are cut may read alike. What is behind one that is
	// too wide goes to the next line.
	Whole
	// Sentences are the last of a row. One that is too wide stands below the row, whole.
	Sentence
	// CutEnd texts lose their ends.
	CutEnd
)

// A Style says what a table is written for. The zero Style is a file or a pipe.
type Style struct {
	Terminal bool
	// Width is the terminal's, in columns; 0 does not cut.
	Width int
	Color bool
	// Columns are the names of the columns that tables show, in this order; nil leaves the
	// choice to the table. JSON and JSON lines have all.
	Columns []string
}

// A Color is an SGR parameter of ECMA-48, or 0 for none.
type Color uint8

// The colours. Programs that read the output never see them.
const (
	Plain  Color = 0
	Bold   Color = 1
	Dim    Color = 2
	Red    Color = 31
	Green  Color = 32
	Yellow Color = 33
	Cyan   Color = 36
)

// Paint returns s in a colour, when the style has colours.
func (s Style) Paint(c Color, text string) string {
	if !s.Color || c == Plain {
		return text
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", c, text)
}

// Headings says when a table for people has headings.
type Headings uint8

// On a terminal is the rule: in a pipe a line is a row. A summary has them
// everywhere, a list of facts nowhere.
const (
	OnTerminal Headings = iota
	Always
	Never
)

// A Table is columns and rows, which [Columns.Table] makes.
type Table struct {
	Headings Headings

	columns []Column
	// cells yields the cells of a row at a time, of the columns at some places. A
	// row is valid until the next.
	cells func(shown []int) iter.Seq[[]Cell]
}

// shown returns the columns that a form shows, those that are asked for or otherwise its
// own, and the rows of their cells.
func (t *Table) shown(f Format, asked []string) ([]Column, iter.Seq[[]Cell], error) {
	var places []int
	if asked != nil {
		var err error
		if places, err = Choose(t.columns, f, asked); err != nil {
			return nil, nil, err
		}
	} else {
		for i, c := range t.columns {
			if f == TableFormat && c.Title != "" && !c.Hide || f != TableFormat && c.Key != "" {
				places = append(places, i)
			}
		}
	}
	columns := make([]Column, len(places))
	for k, i := range places {
		columns[k] = t.columns[i]
		columns[k].Title = columns[k].heading()
	}
	return columns, t.cells(places), nil
}

// A CellText is a cell as people read it.
type CellText struct {
	// Text is escaped; "-" where there is nothing to say.
	Text string
	// Number is what orders a column of numbers, nil for other cells.
	Number *float64
}

// Texts returns the columns of the table for people, and the rows as they read them on a
// terminal, for what lays them out by itself.
func (t *Table) Texts() ([]Column, iter.Seq[[]CellText]) {
	columns, walk, _ := t.shown(TableFormat, nil) // its own, which it has
	return columns, func(yield func([]CellText) bool) {
		for row := range walk {
			texts := make([]CellText, len(row))
			for k := range row {
				text, _ := row[k].appendHuman(nil, true)
				texts[k] = CellText{string(text), row[k].number()}
			}
			if !yield(texts) {
				return
			}
		}
	}
}

// Write writes the table in a format that rows alone make up: any but JSON,
// which is a [Document].
func (t *Table) Write(w io.Writer, f Format, s Style) error {
	csv, tsv := (*Cell).appendCSV, (*Cell).appendTSV
	if s.Terminal { // a person reads it
		csv, tsv = (*Cell).appendCSVEscaped, (*Cell).appendTSVEscaped
	}
	switch f {
	case TableFormat:
		return t.writeText(w, s)
	case JSONL:
		return t.writeLines(w, f, nil, 0, appendObject)
	case CSV:
		return t.writeLines(w, f, s.Columns, ',', func(dst []byte, _ []Column, row []Cell) []byte {
			return appendSeparated(dst, row, ',', csv)
		})
	case TSV:
		return t.writeLines(w, f, s.Columns, '\t', func(dst []byte, _ []Column, row []Cell) []byte {
			return appendSeparated(dst, row, '\t', tsv)
		})
	}
	return fmt.Errorf("a table cannot be written as %q", f)
}

// writeLines writes the rows, below a heading when there is a separator.
func (t *Table) writeLines(w io.Writer, f Format, asked []string, separator byte, line func([]byte, []Column, []Cell) []byte) error {
	columns, walk, err := t.shown(f, asked)
	if err != nil {
		return err
	}
	var buf []byte
	if separator != 0 {
		buf = heading(columns, separator)
	}
	for row := range walk {
		buf = append(line(buf, columns, row), '\n')
		if len(buf) > flushAt {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	_, err = w.Write(buf)
	return err
}

func heading(columns []Column, sep byte) []byte {
	var out []byte
	for i, c := range columns {
		if i > 0 {
			out = append(out, sep)
		}
		out = append(out, c.Key...)
	}
	return append(out, '\n')
}

func appendSeparated(dst []byte, row []Cell, sep byte, cell func(*Cell, []byte) []byte) []byte {
	for i := range row {
		if i > 0 {
			dst = append(dst, sep)
		}
		dst = cell(&row[i], dst)
	}
	return dst
}

func appendObject(dst []byte, columns []Column, row []Cell) []byte {
	dst = append(dst, '{')
	for i := range row {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = row[i].appendMember(dst, columns[i].Key)
	}
	return append(dst, '}')
}
