package render

import (
	"bytes"
	"io"
	"strings"
)

const (
	gap   = 2 // columns between two cells
	below = 8 // how far sentences that have no room in their row are indented
	// fairWidth is what is left of a text before names have to give way.
	fairWidth = 20
	// leastWidth is what a narrow terminal leaves of a column: on a narrower one the
	// lines wrap.
	leastWidth = 12
	// mostLines is how many lines of a terminal a name may take: nobody reads one of a
	// megabyte.
	mostLines = 8
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
	columns []Column
	style   Style
	widths  []int // of the columns, as wide as their cells want to be

	text   []byte  // cells that are not as their strings are, one after the other
	pieces []piece // of the block, one a cell, row by row
	out    []byte

	// Of the block while it is even.
	block  int // where it begins in out
	memo   memo
	line   []byte // a row of empty cells
	places []int  // where the columns begin in a row
}

// A piece is a cell of the block and takes width columns.
type piece struct {
	own   string // the text, or "" for what is in layout.text up to end
	end   int
	width int
	color Color
}

func (t *Table) writeText(w io.Writer, s Style) error {
	columns, walk := t.shown(func(c *Column) bool { return c.Title != "" })
	l := &layout{columns: columns, style: s, out: make([]byte, 0, flushAt+flushAt/4)}
	l.widths = make([]int, len(columns))
	l.places = make([]int, len(columns))
	even := !s.Terminal && !s.Color && len(columns) > 0
	rows := 0
	one := func(row []Cell) error {
		if even && !l.put(row) {
			even = false
			l.takeApart()
		}
		if !even {
			l.add(row)
		}
		if rows++; rows%blockRows == 0 {
			return l.flush(w)
		}
		return nil
	}
	if t.Headings == Always || t.Headings == OnTerminal && s.Terminal {
		titles := make([]Cell, len(columns))
		for i, c := range columns {
			titles[i].Text(c.Title)
			titles[i].Color(Bold)
		}
		if err := one(titles); err != nil {
			return err
		}
	}
	for row := range walk {
		if err := one(row); err != nil {
			return err
		}
	}
	if err := l.flush(w); err != nil {
		return err
	}
	return l.send(w)
}

// put lays out a row at once, in a line of spaces, which is quicker than to
// [layout.add] it. It reports false, and does nothing, unless the row is even: its
// bytes are columns, and none of its cells is wider than mostAligned.
func (l *layout) put(row []Cell) bool {
	begin := len(l.out)
	l.out = append(l.out, l.line...)
	end := begin
	for k := range l.columns {
		c := &row[k]
		own := c.plainText()
		width := len(own)
		var text []byte
		if own == "" {
			var even bool
			if text, even = l.memo.human(c); !even {
				l.out = l.out[:begin]
				return false
			}
			width = len(text)
		}
		if width > l.widths[k] {
			l.out = l.out[:begin]
			if width > mostAligned {
				return false
			}
			l.widen(k, width)
			return l.put(row)
		}
		place := begin + l.places[k]
		if l.columns[k].Right {
			place += l.widths[k] - width
		}
		if end = place + width; own != "" {
			copy(l.out[place:], own)
		} else {
			copy(l.out[place:], text)
		}
	}
	l.out[end] = '\n' // nothing stands behind the last cell
	l.out = l.out[:end+1]
	return true
}

// widen makes a column wider, in the rows of the block too.
func (l *layout) widen(column, width int) {
	at := l.places[column]
	right := l.columns[column].Right
	if !right {
		at += l.widths[column]
	}
	if right || column < len(l.columns)-1 {
		rows := string(l.out[l.block:])
		l.out = l.out[:l.block]
		for line := range strings.Lines(rows) {
			l.out = append(l.out, line[:at]...)
			l.out = appendSpaces(l.out, width-l.widths[column])
			l.out = append(l.out, line[at:]...)
		}
	}
	l.widths[column] = width
	end := 0
	for k, n := range l.widths {
		l.places[k] = end
		end += n + gap
	}
	l.line = append(appendSpaces(l.line[:0], end-gap), '\n')
}

// takeApart makes pieces of the rows of the block, which are even.
func (l *layout) takeApart() {
	rows := string(l.out[l.block:])
	l.out, l.text = l.out[:l.block], l.text[:0]
	for line := range strings.Lines(rows) {
		line = line[:len(line)-1]
		for k, place := range l.places {
			cell := line[place:min(place+l.widths[k], len(line))]
			l.pieces = append(l.pieces, piece{own: cell, width: len(cell)})
		}
	}
}

// add adds the cells of a row to the block.
func (l *layout) add(row []Cell) {
	for k := range l.columns {
		c := &row[k]
		p := piece{color: c.color, end: len(l.text)}
		if own := c.plainText(); own != "" {
			p.own, p.width = own, len(own)
		} else {
			text, plain := c.appendHuman(l.text, l.style.Terminal)
			if p.width = len(text) - p.end; !plain {
				p.width = displayWidth(string(text[p.end:]))
			}
			l.text, p.end = text, len(text)
		}
		if p.width > l.widths[k] {
			l.widths[k] = min(p.width, mostAligned)
		}
		l.pieces = append(l.pieces, p)
	}
}

// flush lays out the block, and writes when there is enough.
func (l *layout) flush(w io.Writer) error {
	widths := l.widths
	if l.style.Terminal && l.style.Width > 0 {
		widths = l.fit()
	}
	others := string(l.text)
	start, column, place := 0, 0, 0 // the place of the column in its line
	for i, p := range l.pieces {
		text := p.own
		if text == "" {
			text = others[start:p.end]
			start = p.end
		}
		right := l.columns[column].Right
		last := column == len(l.columns)-1
		whole := false // wider than its column, and not to be cut
		if p.width > widths[column] && l.style.Terminal && l.style.Width > 0 {
			switch most := mostLines * l.style.Width; l.columns[column].Cut {
			case Whole:
				if whole = true; p.width > most {
					text = cutMiddle(text, most)
				}
			case Sentence:
				l.out = bytes.TrimRight(l.out, " ")
				text = wrap(cutEnd(text, most), l.style.Width-below)
			case CutEnd:
				text = cutEnd(text, widths[column])
				p.width = displayWidth(text)
			}
		}
		room := max(0, widths[column]-p.width)
		if right {
			l.out = appendSpaces(l.out, room)
		}
		l.out = append(l.out, l.style.Paint(p.color, text)...)
		switch {
		case last:
			l.out = append(l.out, '\n')
			column, place = -1, -gap
		case whole: // what is behind it goes below its headings, if there is room
			rest := -gap
			for k := range len(l.columns) - 1 - column {
				if l.columns[column+1+k].Cut != Sentence {
					rest += gap + min(l.pieces[i+1+k].width, widths[column+1+k])
				}
			}
			l.out = append(l.out, '\n')
			l.out = appendSpaces(l.out, max(gap, min(place+widths[column]+gap, l.style.Width-rest)))
		case right:
			l.out = appendSpaces(l.out, gap)
		default:
			l.out = appendSpaces(l.out, room+gap)
		}
		if column >= 0 {
			place += widths[column]
		}
		column, place = column+1, place+gap
	}
	l.text, l.pieces = l.text[:0], l.pieces[:0]
	if l.block = len(l.out); l.style.Terminal || l.block > flushAt {
		return l.send(w)
	}
	return nil
}

// send writes what is laid out: on a terminal at once, in a pipe, whose reader
// has to be woken, much at a time.
func (l *layout) send(w io.Writer) error {
	_, err := w.Write(l.out)
	l.out, l.block = l.out[:0], 0
	return err
}

// wrap sets a text below its row, in lines of a width.
func wrap(text string, width int) string {
	var b strings.Builder
	line := 0
	for word := range strings.FieldsSeq(text) {
		n := displayWidth(word)
		if line == 0 || line+1+n > width {
			b.WriteString("\n" + strings.Repeat(" ", below))
			line = n
		} else {
			b.WriteByte(' ')
			line += 1 + n
		}
		b.WriteString(word)
	}
	return b.String()
}

func appendSpaces(dst []byte, n int) []byte {
	const spaces = "                                                                "
	for ; n > len(spaces); n -= len(spaces) {
		dst = append(dst, spaces...)
	}
	return append(dst, spaces[:n]...)
}

// fit returns the widths on the terminal. Columns are narrowed, the widest first, until
// the row fits or nothing more can be: that of sentences, which stand below where they
// have no room, long texts, then names, which lose nothing by it, and then texts again.
func (l *layout) fit() []int {
	widths := append([]int(nil), l.widths...)
	total := gap * (len(widths) - 1)
	for _, n := range widths {
		total += n
	}
	if total <= l.style.Width {
		return widths
	}
	last := len(widths) - 1
	if l.columns[last].Cut == Sentence {
		title := displayWidth(l.columns[last].Title)
		total -= widths[last] - title // it takes what the others leave
		widths[last] = title
	}
	total = l.narrow(widths, total, CutEnd, fairWidth)
	total = l.narrow(widths, total, Whole, leastWidth)
	total = l.narrow(widths, total, CutEnd, leastWidth)
	if l.columns[last].Cut == Sentence {
		widths[last] += max(0, l.style.Width-total)
	}
	return widths
}

// narrow narrows the columns of one kind down to a least width, and returns the width of
// the row.
func (l *layout) narrow(widths []int, total int, kind Cut, least int) int {
	cuttable := func(k int) bool { return l.columns[k].Cut == kind }
	for total > l.style.Width {
		widest := -1
		for k, n := range widths {
			if cuttable(k) && n > least && (widest < 0 || n > widths[widest]) {
				widest = k
			}
		}
		if widest < 0 {
			break
		}
		// Down to the next widest; from there on both give way in turn.
		next := least
		for k, n := range widths {
			if cuttable(k) && k != widest {
				next = max(next, n)
			}
		}
		less := max(1, min(total-l.style.Width, widths[widest]-next))
		widths[widest] -= less
		total -= less
	}
	return total
}
