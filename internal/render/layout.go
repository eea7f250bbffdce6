package render

import "io"

const (
	gap = 2 // columns between two cells
	// leastWidth is what a cut leaves of a column: on a narrower terminal the
	// lines wrap.
	leastWidth = 12
	// mostAligned is the widest that a column is made by one of its cells. A
	// wider cell sticks out: or a file with one name of a megabyte would pad
	// a hundred thousand others to it.
	mostAligned = 256
	// blockRows are laid out together. Columns are as wide as the widest cell so
	// far, so that a table of any length needs the memory of a block, is
	// formatted once, and begins to appear at once.
	blockRows = 256
)

// A layout writes a table for people.
type layout struct {
	*Table
	style  Style
	shown  []int // columns
	widths []int // of the shown columns, as wide as their cells want to be

	column int     // of the next cell, among those shown
	text   []byte  // the cells of the block, one after the other
	pieces []piece // one a cell, row by row
	out    []byte
}

// A piece is a cell of the block: its text ends at end, and takes width columns.
type piece struct {
	end, width int
	color      Color
}

func (t *Table) writeText(w io.Writer, s Style) error {
	l := &layout{Table: t, style: s}
	for i, c := range t.Columns {
		if c.Title != "" {
			l.shown = append(l.shown, i)
		}
	}
	l.widths = make([]int, len(l.shown))
	if t.Headings == Always || t.Headings == OnTerminal && s.Terminal {
		for _, i := range l.shown {
			l.text = append(l.text, t.Columns[i].Title...)
			l.end(displayWidth(t.Columns[i].Title), Bold)
		}
	}
	for row := range t.Rows {
		for _, i := range l.shown {
			c := &row[i]
			start := len(l.text)
			text, plain := c.appendHuman(l.text, s.Terminal)
			width := len(text) - start
			if !plain {
				width = displayWidth(string(text[start:]))
			}
			l.text = text
			l.end(width, c.color)
		}
		if len(l.pieces) >= blockRows*len(l.shown) {
			if err := l.flush(w); err != nil {
				return err
			}
		}
	}
	if err := l.flush(w); err != nil {
		return err
	}
	return l.send(w)
}

// end ends a cell, whose text has been appended to the block's.
func (l *layout) end(width int, color Color) {
	column := l.column
	if l.column++; l.column == len(l.shown) {
		l.column = 0
	}
	l.pieces = append(l.pieces, piece{len(l.text), width, color})
	if width > l.widths[column] {
		l.widths[column] = min(width, mostAligned)
	}
}

// flush lays out the block, and writes when there is enough.
func (l *layout) flush(w io.Writer) error {
	widths := l.widths
	if l.style.Terminal && l.style.Width > 0 {
		widths = l.fit()
	}
	start, column := 0, 0
	for _, p := range l.pieces {
		text := l.text[start:p.end]
		start = p.end
		right := l.Columns[l.shown[column]].Right
		last := column == len(l.shown)-1
		if p.width > widths[column] && l.style.Terminal && l.style.Width > 0 {
			text, p.width = l.cut(column, text, widths[column])
		}
		room := max(0, widths[column]-p.width)
		if right {
			l.out = appendSpaces(l.out, room)
		}
		if l.style.Color && p.color != Plain {
			l.out = append(l.out, l.style.Paint(p.color, string(text))...)
		} else {
			l.out = append(l.out, text...)
		}
		switch {
		case last:
			l.out = append(l.out, '\n')
			column = -1
		case right:
			l.out = appendSpaces(l.out, gap)
		default:
			l.out = appendSpaces(l.out, room+gap)
		}
		column++
	}
	l.text, l.pieces = l.text[:0], l.pieces[:0]
	if l.style.Terminal || len(l.out) > flushAt {
		return l.send(w)
	}
	return nil
}

// send writes what is laid out: on a terminal at once, in a pipe, whose reader
// has to be woken, much at a time.
func (l *layout) send(w io.Writer) error {
	_, err := w.Write(l.out)
	l.out = l.out[:0]
	return err
}

// cut shortens a text to its column, on a terminal.
func (l *layout) cut(column int, text []byte, width int) ([]byte, int) {
	short := string(text)
	if l.Columns[l.shown[column]].Cut == CutMiddle {
		short = cutMiddle(short, width)
	} else {
		short = cutEnd(short, width)
	}
	return []byte(short), displayWidth(short)
}

func appendSpaces(dst []byte, n int) []byte {
	const spaces = "                                                                "
	for ; n > len(spaces); n -= len(spaces) {
		dst = append(dst, spaces...)
	}
	return append(dst, spaces[:n]...)
}

// fit returns the widths on the terminal: the columns that may be cut are
// narrowed, the widest first, until the row fits or nothing more can be cut.
func (l *layout) fit() []int {
	widths := append([]int(nil), l.widths...)
	total := gap * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	cuttable := func(k int) bool { return l.Columns[l.shown[k]].Cut != NoCut }
	for total > l.style.Width {
		widest := -1
		for k, n := range widths {
			if cuttable(k) && n > leastWidth && (widest < 0 || n > widths[widest]) {
				widest = k
			}
		}
		if widest < 0 {
			break
		}
		// Down to the next widest; from there on both give way in turn.
		next := leastWidth
		for k, n := range widths {
			if cuttable(k) && k != widest {
				next = max(next, n)
			}
		}
		less := max(1, min(total-l.style.Width, widths[widest]-next))
		widths[widest] -= less
		total -= less
	}
	return widths
}
