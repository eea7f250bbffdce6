package render

import (
	"fmt"
	"io"
	"iter"
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
	// Title is the heading in a table, which leaves out a column without one.
	Title string
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
	t := &Table{columns: make([]Column, len(c))}
	for i := range c {
		t.columns[i] = Column{Key: c[i].Key, Title: c[i].Title, Right: c[i].Right, Cut: c[i].Cut}
	}
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

// TitleIf is a column's heading where it is shown.
func TitleIf(shown bool, title string) string {
	if !shown {
		return ""
	}
	return title
}

// A Column describes the cells at one place of every row, as [Col] does.
type Column struct {
	Key, Title string
	Right      bool
	Cut        Cut
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

// shown returns the columns that a form shows, and the rows of their cells.
func (t *Table) shown(in func(*Column) bool) ([]Column, iter.Seq[[]Cell]) {
	var (
		columns []Column
		places  []int
	)
	for i := range t.columns {
		if in(&t.columns[i]) {
			columns, places = append(columns, t.columns[i]), append(places, i)
		}
	}
	return columns, t.cells(places)
}

func hasKey(c *Column) bool { return c.Key != "" }

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
		return t.writeLines(w, nil, appendObject)
	case CSV:
		return t.writeLines(w, t.heading(','), func(dst []byte, _ []Column, row []Cell) []byte {
			return appendSeparated(dst, row, ',', csv)
		})
	case TSV:
		return t.writeLines(w, t.heading('\t'), func(dst []byte, _ []Column, row []Cell) []byte {
			return appendSeparated(dst, row, '\t', tsv)
		})
	}
	return fmt.Errorf("a table cannot be written as %q", f)
}

func (t *Table) writeLines(w io.Writer, heading []byte, line func([]byte, []Column, []Cell) []byte) error {
	buf := heading
	columns, walk := t.shown(hasKey)
	for row := range walk {
		buf = append(line(buf, columns, row), '\n')
		if len(buf) > flushAt {
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
	}
	_, err := w.Write(buf)
	return err
}

func (t *Table) heading(sep byte) []byte {
	var out []byte
	for _, c := range t.columns {
		if c.Key == "" {
			continue
		}
		if len(out) > 0 {
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
