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
	text   []byte  // the cells of the block that are not as their strings are, one after the other
	pieces []piece // one a cell, row by row
	// even says that every cell of the block is printable ASCII, within
	// mostAligned, and not coloured.
	even bool
	out  []byte
}

// A piece is a cell of the block and takes width columns.
type piece struct {
	own   string // the text, or "" for what is in layout.text up to end
	end   int
	width int
	color Color
}

func (t *Table) writeText(w io.Writer, s Style) error {
	l := &layout{Table: t, style: s, even: true}
	for i, c := range t.Columns {
		if c.Title != "" {
			l.shown = append(l.shown, i)
		}
	}
	l.widths = make([]int, len(l.shown))
	// Grown from nothing, these would be copied a dozen times.
	l.pieces = make([]piece, 0, blockRows*len(l.shown))
	l.out = make([]byte, 0, flushAt+flushAt/4)
	if t.Headings == Always || t.Headings == OnTerminal && s.Terminal {
		for _, i := range l.shown {
			title := Text(t.Columns[i].Title).In(Bold)
			l.add(&title)
		}
	}
	for row := range t.Rows {
		for _, i := range l.shown {
			l.add(&row[i])
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

// add adds a cell to the block.
func (l *layout) add(c *Cell) {
	p := piece{color: c.color, end: len(l.text)}
	if c.isPlainText() {
		p.own, p.width = c.s, len(c.s)
	} else {
		text, plain := c.appendHuman(l.text, l.style.Terminal)
		l.text = text
		if p.width = len(text) - p.end; !plain {
			p.width = displayWidth(string(text[p.end:]))
			l.even = false
		}
		p.end = len(text)
	}
	if p.width > l.widths[l.column] {
		l.widths[l.column] = min(p.width, mostAligned)
	}
	if p.width > mostAligned || p.color != Plain && l.style.Color {
		l.even = false
	}
	l.pieces = append(l.pieces, p)
	if l.column++; l.column == len(l.shown) {
		l.column = 0
	}
}

// flush lays out the block, and writes when there is enough.
func (l *layout) flush(w io.Writer) error {
	switch {
	case l.style.Terminal && l.style.Width > 0:
		l.layOut(l.fit())
	case l.even:
		l.layOutEven()
	default:
		l.layOut(l.widths)
	}
	l.text, l.pieces, l.even = l.text[:0], l.pieces[:0], true
	if l.style.Terminal || len(l.out) > flushAt {
		return l.send(w)
	}
	return nil
}

// layOut lays out the block, cell by cell.
func (l *layout) layOut(widths []int) {
	others := string(l.text)
	start, column := 0, 0
	for _, p := range l.pieces {
		text := p.own
		if text == "" {
			text = others[start:p.end]
		}
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
		l.out = append(l.out, l.style.Paint(p.color, text)...)
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
}

// layOutEven is layOut where the bytes of a cell are its columns. A row is then
// a line of spaces, with the cells put in their places, which takes half the time.
func (l *layout) layOutEven() {
	places := make([]int, len(l.shown))
	width := 0
	for column, n := range l.widths {
		places[column] = width
		width += n + gap
	}
	line := append(appendSpaces(nil, width-gap), '\n')
	start := 0
	for pieces := l.pieces; len(pieces) > 0; pieces = pieces[len(places):] {
		begin := len(l.out)
		l.out = append(l.out, line...)
		row, end := l.out[begin:], 0
		for column, place := range places {
			p := &pieces[column]
			if l.Columns[l.shown[column]].Right {
				place += l.widths[column] - p.width
			}
			if p.own != "" {
				end = place + copy(row[place:], p.own)
			} else {
				end = place + copy(row[place:], l.text[start:p.end])
			}
			start = p.end
		}
		row[end] = '\n' // nothing stands behind the last cell
		l.out = l.out[:begin+end+1]
	}
}

// send writes what is laid out: on a terminal at once, in a pipe, whose reader
// has to be woken, much at a time.
func (l *layout) send(w io.Writer) error {
	_, err := w.Write(l.out)
	l.out = l.out[:0]
	return err
}

// cut shortens a text to its column, on a terminal.
func (l *layout) cut(column int, text string, width int) (string, int) {
	if l.Columns[l.shown[column]].Cut == CutMiddle {
		text = cutMiddle(text, width)
	} else {
		text = cutEnd(text, width)
	}
	return text, displayWidth(text)
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
