package render

import (
	"bytes"
	"io"
	"math"
	"slices"
	"strings"
)

const (
	gap    = 2 // columns between two cells
	indent = 4 // of the second and further lines of a row
	hang   = 2 // of the second and further lines of a name
	// fairWidth is what is left of a text before names have to give way.
	fairWidth = 20
	// leastWidth is what a narrow terminal leaves of a column.
	leastWidth = 12
	// hangWidth is the room in which a sentence is wrapped: with less it goes below its row.
	hangWidth = 40
	// mostLines is how many lines of a terminal a cell may take: nobody reads one of a
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
	titled  bool
	begun   bool
	lines   []int // of the rows before, and their headings

	text   []byte  // cells that are not as their strings are, one after the other
	pieces []piece // of the block, one a cell, row by row
	folds  int     // names of the block that are cut into lines
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
	none  bool // a cell that has nothing to say
}

func (t *Table) writeText(w io.Writer, s Style) error {
	columns, walk, err := t.shown(TableFormat, s.Columns)
	if err != nil {
		return err
	}
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
	if l.titled = t.Headings == Always || t.Headings == OnTerminal && s.Terminal; l.titled {
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
		p := piece{color: c.color, end: len(l.text), none: c.kind == null}
		if own := c.plainText(); own != "" {
			p.own, p.width = own, len(own)
		} else {
			text, plain := c.appendHuman(l.text, l.style.Terminal)
			if p.width = len(text) - p.end; !plain {
				p.width = DisplayWidth(string(text[p.end:]))
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
	others, start := string(l.text), 0
	for i := range l.pieces {
		if p := &l.pieces[i]; p.own == "" {
			p.own, start = others[start:p.end], p.end
		}
	}
	a := arrangement{widths: l.widths}
	if l.style.Terminal && l.style.Width > 0 {
		a = l.arrange()
	}
	if l.titled && l.begun && !slices.Equal(l.lines, a.lines) {
		titles := make([]piece, len(l.columns))
		for k, c := range l.columns {
			titles[k] = piece{own: c.Title, width: DisplayWidth(c.Title), color: Bold}
		}
		l.appendRow(titles, a)
	}
	l.begun, l.lines = true, a.lines
	for row := range slices.Chunk(l.pieces, max(1, len(l.columns))) {
		l.appendRow(row, a)
	}
	l.text, l.pieces = l.text[:0], l.pieces[:0]
	if l.block = len(l.out); l.style.Terminal || l.block > flushAt {
		return l.send(w)
	}
	return nil
}

// appendRow sets a row. What precedes a cell in its line is pending until the cell is
// set, so that no line ends with spaces.
func (l *layout) appendRow(row []piece, a arrangement) {
	lines := a.lines
	place, pending := 0, 0
	for k, p := range row {
		switch {
		case len(lines) > 0 && lines[0] == k:
			if lines = lines[1:]; p.none && l.columns[k].Cut == Sentence {
				continue
			}
			l.newLine(indent)
			place, pending = indent, 0
		case k > 0:
			place, pending = place+gap, pending+gap
		}
		room := max(0, a.widths[k]-p.width)
		if p.width > a.widths[k] && a.lines != nil {
			lastInLine := k == len(row)-1 || len(lines) > 0 && lines[0] == k+1
			pending = l.appendWide(p, l.columns[k].Cut, place, a.widths[k], pending, lastInLine)
		} else {
			if l.columns[k].Right {
				pending, room = pending+room, 0
			}
			l.out = appendSpaces(l.out, pending)
			l.out = append(l.out, l.style.Paint(p.color, p.own)...)
			pending = room
		}
		place += a.widths[k]
	}
	l.out = append(l.out, '\n')
}

// appendWide sets a cell that is wider than its column, and returns how many spaces are
// pending.
func (l *layout) appendWide(p piece, cut Cut, place, width, pending int, lastInLine bool) int {
	if cut == CutEnd {
		text := ShortenEnd(p.own, width)
		l.out = appendSpaces(l.out, pending)
		l.out = append(l.out, l.style.Paint(p.color, text)...)
		return width - DisplayWidth(text)
	}
	if cut == Sentence && width < hangWidth && place > indent {
		place, pending = indent, 0
		l.newLine(indent)
	}
	l.out = appendSpaces(l.out, pending)
	room := l.style.Width - place
	var lines []string
	further := 0
	if cut == Sentence {
		lines = Wrap(ShortenEnd(p.own, mostLines*room), room)
	} else {
		lines = fold(ShortenMiddle(p.own, mostLines*(room-hang)), room, room-hang)
		if len(lines) > 1 {
			further = hang
			l.folds++
		}
	}
	for i, line := range lines {
		if i > 0 {
			l.newLine(place + further)
		}
		l.out = append(l.out, l.style.Paint(p.color, line)...)
	}
	if end := further + DisplayWidth(lines[len(lines)-1]); end <= width {
		return width - end
	}
	if !lastInLine {
		l.newLine(place + width)
	}
	return 0
}

// newLine ends a line, and begins another.
func (l *layout) newLine(indent int) {
	l.out = append(l.out, '\n')
	l.out = appendSpaces(l.out, indent)
}

// send writes what is laid out: on a terminal at once, in a pipe, whose reader
// has to be woken, much at a time.
func (l *layout) send(w io.Writer) error {
	_, err := w.Write(l.out)
	l.out, l.block = l.out[:0], 0
	return err
}

func appendSpaces(dst []byte, n int) []byte {
	const spaces = "                                                                "
	for ; n > len(spaces); n -= len(spaces) {
		dst = append(dst, spaces...)
	}
	return append(dst, spaces[:n]...)
}

// An arrangement is how the rows of a block are set on a terminal.
type arrangement struct {
	widths []int
	// lines are the columns with which the second line of a row begins, and further ones;
	// nil where no terminal limits the lines.
	lines []int
}

// arrange chooses how the block takes the fewest lines, where a name that has to be cut into
// several costs one more. None is wider than the terminal: every cell in one line, but for a sentence, which may be below; names above the
// other cells of their row where they are too wide; or as many cells in a line as fit.
func (l *layout) arrange() arrangement {
	var best arrangement
	least := math.MaxInt
	for names := -1; names < len(l.columns); names++ {
		if names >= 0 && l.columns[names].Cut != Whole {
			continue
		}
		for _, below := range []bool{false, true} {
			if a, ok := l.narrowed(names, below); ok {
				if n := l.height(a); n < least {
					best, least = a, n
				}
			}
		}
	}
	for _, apart := range []bool{true, false} {
		a := l.stacked(apart)
		if n := l.height(a); n < least {
			best, least = a, n
		}
	}
	return best
}

// height returns how many lines the block takes, and how many names it cuts.
func (l *layout) height(a arrangement) int {
	begin := len(l.out)
	l.folds = 0
	for row := range slices.Chunk(l.pieces, len(l.columns)) {
		l.appendRow(row, a)
	}
	n := bytes.Count(l.out[begin:], []byte{'\n'})
	l.out = l.out[:begin]
	return n + l.folds
}

// narrowed has the cells in one line, and reports whether they fit when texts are cut and
// the column names, unless it is -1, is narrowed. below has the sentence in a line of its own.
func (l *layout) narrowed(names int, below bool) (arrangement, bool) {
	a := arrangement{widths: slices.Clone(l.widths), lines: []int{}}
	last := len(a.widths) - 1
	sentence := l.columns[last].Cut == Sentence
	if below {
		if !sentence || last == 0 {
			return a, false
		}
		a.lines = []int{last}
		a.widths[last] = -gap
	} else if sentence {
		a.widths[last] = min(a.widths[last], DisplayWidth(l.columns[last].Title))
	}
	over := gap*last - l.style.Width
	for _, n := range a.widths {
		over += n
	}
	narrow := func(k, by, least int) {
		by = min(by, a.widths[k]-least)
		if over > 0 && by > 0 {
			a.widths[k] -= by
			over -= by
		}
	}
	cut := func(least int) { // texts, which give way in turn
		for over > 0 {
			widest := -1
			for k, n := range a.widths {
				if l.columns[k].Cut == CutEnd && n > least && (widest < 0 || n > a.widths[widest]) {
					widest = k
				}
			}
			if widest < 0 {
				return
			}
			narrow(widest, 1, least)
		}
	}
	cut(fairWidth)
	if names >= 0 {
		narrow(names, over, leastWidth)
	}
	cut(leastWidth)
	switch {
	case below:
		a.widths[last] = l.style.Width - indent
	case sentence:
		a.widths[last] = min(l.widths[last], a.widths[last]-over) // it takes what the others leave
	}
	return a, over <= 0
}

// stacked has as many cells in a line as fit. Half a line is room for a name of any
// length, which then takes several. apart keeps what follows the names together, in lines
// of their own.
func (l *layout) stacked(apart bool) arrangement {
	a := arrangement{widths: slices.Clone(l.widths), lines: []int{}}
	place := 0
	for k, c := range l.columns {
		if k > 0 {
			place += gap
		}
		room := l.style.Width - place
		folded := c.Cut == Whole && room >= l.style.Width/2
		afterNames := apart && k > 0 && len(a.lines) == 0 && l.columns[k-1].Cut == Whole
		if k > 0 && (a.widths[k] > room && !folded || c.Cut == Sentence || afterNames) {
			a.lines = append(a.lines, k)
			place, room = indent, l.style.Width-indent
		}
		a.widths[k] = min(a.widths[k], room)
		place += a.widths[k]
	}
	return a
}
