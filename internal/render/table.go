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
	// the next; the sequence is walked more than once, and gives the same rows.
	Rows iter.Seq[[]Cell]
}

// Write writes the table in a format that rows alone make up: any but JSON,
// which is a [Document].
func (t *Table) Write(w io.Writer, f Format, s Style) error {
	switch f {
	case TableFormat:
		return t.writeText(w, s)
	case JSONL:
		return t.writeLines(w, nil, t.appendObject)
	case CSV:
		return t.writeLines(w, t.heading(','), func(dst []byte, row []Cell) []byte {
			return t.appendSeparated(dst, row, ',', (*Cell).appendCSV)
		})
	case TSV:
		return t.writeLines(w, t.heading('\t'), func(dst []byte, row []Cell) []byte {
			return t.appendSeparated(dst, row, '\t', (*Cell).appendTSV)
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

const (
	gap = 2 // columns between two cells
	// leastWidth is what a cut leaves of a column: on a narrower terminal the
	// lines wrap.
	leastWidth = 12
)

func (t *Table) writeText(w io.Writer, s Style) error {
	shown := make([]int, 0, len(t.Columns))
	for i, c := range t.Columns {
		if c.Title != "" {
			shown = append(shown, i)
		}
	}
	if len(shown) == 0 {
		return nil
	}
	widths := make([]int, len(t.Columns))
	headings := t.Headings == Always || t.Headings == OnTerminal && s.Terminal
	if headings {
		for _, i := range shown {
			widths[i] = displayWidth(t.Columns[i].Title)
		}
	}
	var scratch []byte
	for row := range t.Rows {
		for _, i := range shown {
			var n int
			n, scratch = row[i].width(scratch, s.Terminal)
			widths[i] = max(widths[i], n)
		}
	}
	if s.Terminal && s.Width > 0 {
		t.fit(shown, widths, s.Width)
	}

	var buf []byte
	if headings {
		for k, i := range shown {
			title := cutEnd(t.Columns[i].Title, widths[i])
			buf = t.appendText(buf, s, i, k == len(shown)-1, title, Bold, widths[i])
		}
		buf = append(buf, '\n')
	}
	last := len(shown) - 1
	for row := range t.Rows {
		for k, i := range shown {
			c := &row[i]
			if c.color == Plain && c.ascii() {
				if c.kind == text && len(c.s) <= widths[i] && c.s != "" && !t.Columns[i].Right {
					buf = append(buf, c.s...)
					if k != last {
						buf = appendSpaces(buf, widths[i]-len(c.s)+gap)
					}
					continue
				}
				buf, scratch = t.appendASCII(buf, scratch, s, c, i, k == last, widths[i])
				continue
			}
			scratch = c.appendHuman(scratch[:0], s.Terminal)
			buf = t.appendText(buf, s, i, k == last, t.cut(i, string(scratch), s, widths[i]), c.color, widths[i])
		}
		buf = append(buf, '\n')
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

// cut shortens a text to its column, on a terminal.
func (t *Table) cut(column int, text string, s Style, width int) string {
	if !s.Terminal {
		return text
	}
	switch t.Columns[column].Cut {
	case CutMiddle:
		return cutMiddle(text, width)
	case CutEnd:
		return cutEnd(text, width)
	}
	return text
}

// appendASCII is appendText for the cells of which a large table is made: a
// byte is a column, and there is no colour.
func (t *Table) appendASCII(dst, scratch []byte, s Style, c *Cell, column int, last bool, width int) ([]byte, []byte) {
	if t.Columns[column].Right {
		scratch = c.appendHuman(scratch[:0], s.Terminal)
		dst = appendSpaces(dst, width-len(scratch))
		dst = append(dst, scratch...)
	} else {
		start := len(dst)
		dst = c.appendHuman(dst, s.Terminal)
		if n := len(dst) - start; n > width {
			dst = append(dst[:start], t.cut(column, string(dst[start:]), s, width)...)
		} else if !last {
			dst = appendSpaces(dst, width-n)
		}
	}
	if last {
		return dst, scratch
	}
	return appendSpaces(dst, gap), scratch
}

func (t *Table) appendText(dst []byte, s Style, column int, last bool, text string, color Color, width int) []byte {
	room := width - displayWidth(text)
	if t.Columns[column].Right {
		dst = appendSpaces(dst, room)
	}
	if s.Color && color != Plain {
		text = s.Paint(color, text)
	}
	dst = append(dst, text...)
	if last {
		return dst
	}
	if !t.Columns[column].Right {
		dst = appendSpaces(dst, room)
	}
	return appendSpaces(dst, gap)
}

func appendSpaces(dst []byte, n int) []byte {
	const spaces = "                                                                "
	for ; n > len(spaces); n -= len(spaces) {
		dst = append(dst, spaces...)
	}
	return append(dst, spaces[:max(n, 0)]...)
}

// fit narrows the columns that may be cut, the widest first, until the row
// fits the terminal or nothing more can be cut.
func (t *Table) fit(shown, widths []int, width int) {
	total := gap * (len(shown) - 1)
	for _, i := range shown {
		total += widths[i]
	}
	for total > width {
		widest := -1
		for _, i := range shown {
			if t.Columns[i].Cut != NoCut && widths[i] > leastWidth && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return
		}
		// Down to the next widest; from there on both give way in turn.
		next := leastWidth
		for _, i := range shown {
			if t.Columns[i].Cut != NoCut && i != widest {
				next = max(next, widths[i])
			}
		}
		cut := max(1, min(total-width, widths[widest]-next))
		widths[widest] -= cut
		total -= cut
	}
}
