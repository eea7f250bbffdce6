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

// A Column describes the cells at one place of every row.
type Column struct {
	// Key names the column in JSON, CSV and TSV, which leave out a column
	// without one.
	Key string
	// Title is the heading in a table, which leaves out a column without one.
	Title string
	// Right aligns to the right, as numbers want it.
	Right bool
	// Cut says what may be taken out of a cell that is too wide for the terminal.
	Cut Cut
}

// A Cut is what may be taken out of a text that is too wide.
type Cut uint8

// The cuts.
const (
	NoCut Cut = iota
	CutMiddle
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

// A Table is columns and rows.
type Table struct {
	Columns  []Column
	Headings Headings
	// Rows yields a row at a time, in the order of Columns. A row is valid until
	// the next. Writing walks over them once.
	Rows iter.Seq[[]Cell]
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
		return t.writeLines(w, nil, t.appendObject)
	case CSV:
		return t.writeLines(w, t.heading(','), func(dst []byte, row []Cell) []byte {
			return t.appendSeparated(dst, row, ',', csv)
		})
	case TSV:
		return t.writeLines(w, t.heading('\t'), func(dst []byte, row []Cell) []byte {
			return t.appendSeparated(dst, row, '\t', tsv)
		})
	}
	return fmt.Errorf("a table cannot be written as %q", f)
}

func (t *Table) writeLines(w io.Writer, heading []byte, line func([]byte, []Cell) []byte) error {
	buf := heading
	for row := range t.Rows {
		buf = append(line(buf, row), '\n')
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
	for _, c := range t.Columns {
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

func (t *Table) appendSeparated(dst []byte, row []Cell, sep byte, cell func(*Cell, []byte) []byte) []byte {
	first := true
	for i := range row {
		if t.Columns[i].Key == "" {
			continue
		}
		if !first {
			dst = append(dst, sep)
		}
		first = false
		dst = cell(&row[i], dst)
	}
	return dst
}

func (t *Table) appendObject(dst []byte, row []Cell) []byte {
	dst = append(dst, '{')
	first := true
	for i := range row {
		if t.Columns[i].Key == "" {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = row[i].appendMember(dst, t.Columns[i].Key)
	}
	return append(dst, '}')
}
