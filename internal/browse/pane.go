package browse

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// A kind is a part of what is found out about a tensor.
type kind int

const (
	rolePart kind = iota
	valuesPart
	statsPart
	digestPart
	kinds
)

// A part is what was found out, or why not.
type part struct {
	kind    kind
	done    bool
	err     error
	role    *identify.Explanation
	values  string
	figures *inspect.Figures
	digest  string
}

// A pane is one tensor, or pair, in full.
type pane struct {
	items Items
	place int
	item  Item
	parts [2][kinds]part
	width int // of the values
	top   int
	search
}

func (p *pane) scrollTo(top, height, n int) { p.top = max(0, min(top, n-height)) }

// bins is how many intervals the histogram has.
const bins = 48

// openPane shows the tensor that the cursor of a listing is on, and has found out in the
// background what there is to know.
func (m *model) openPane(l *listing) []any {
	m.pane = &pane{items: l.key.items, place: l.place(l.cursor), item: l.at(l.cursor)}
	if effects := m.renewPane(); m.pane == nil {
		return effects
	}
	return m.fillPane()
}

// renewPane has the tensor be one of the latest items, which may be paired with another
// now: then the pane is closed.
func (m *model) renewPane() []any {
	p := m.pane
	if p == nil || p.items == m.items {
		return nil
	}
	before := p.item
	for k := range m.items.Len() {
		k = (p.place + k) % m.items.Len() // most are where they were
		if i := m.items.At(k); i.Of == before.Of && i.Name == before.Name && i.Has == before.Has {
			p.items, p.place, p.item = m.items, k, i
			return nil
		}
	}
	return m.closePane()
}

// fillPane finds out what of a tensor is not known yet, or was set for another width.
func (m *model) fillPane() []any {
	p := m.pane
	if width := m.paneWidth() - 1; p.width != width {
		p.width = width
		for side := range p.parts {
			p.parts[side][valuesPart].done = false
		}
	}
	item, width, parts := p.item, p.width, p.parts
	return m.start(paneSlot, func(ctx context.Context, tell func(any)) any {
		for k := range kinds {
			for side := range item.Sides {
				if item.Has[side] && !parts[side][k].done && ctx.Err() == nil {
					tell(partValue{side, m.find(ctx, k, &item.Sides[side], width)})
				}
			}
		}
		return nil
	})
}

// find finds one part out.
func (m *model) find(ctx context.Context, k kind, t *inspect.Tensor, width int) part {
	p := part{kind: k, done: true}
	switch k {
	case rolePart:
		p.role, p.err = m.src.Role(ctx, t)
	case valuesPart:
		p.values, p.err = m.src.Values(ctx, t, width)
	case statsPart:
		p.figures, p.err = m.src.Stats(ctx, t, bins)
	case digestPart:
		p.digest, p.err = m.src.Digest(ctx, t)
	}
	return p
}

// closePane goes back to the list, and ends what is being found out.
func (m *model) closePane() []any {
	m.pane = nil
	return m.start(paneSlot, nil)
}

// follow shows the tensor that the cursor is on in the pane.
func (m *model) follow() []any {
	if l := m.listed(); l.root == nil || l.rows[l.cursor].only() {
		return m.openPane(l)
	}
	return nil
}

// pressInPane takes a key while a tensor is shown.
func (m *model) pressInPane(key string) []any {
	switch key {
	case "q", "esc", "left", "h", "enter", "backspace":
		return m.closePane()
	case "n", "]", "J", "shift+down":
		return m.neighbour(1)
	case "N", "[", "K", "shift+up":
		return m.neighbour(-1)
	}
	m.scrollKey(key)
	return nil
}

// neighbour shows the next tensor of the list, or the one before.
func (m *model) neighbour(step int) []any {
	l := m.listed()
	for k := l.cursor + step; k >= 0 && k < l.len(); k += step {
		if l.root != nil && !l.rows[k].only() {
			continue
		}
		l.move(k, l.len(), m.listHeight())
		return m.follow()
	}
	m.status = "no further tensor in what is open"
	return nil
}

// A paneRow is a word and what there is to say of each side.
type paneRow struct {
	word  string
	cells [2]string
}

// paneLines are the lines of the pane.
func (m *model) paneLines() []string {
	p, width := m.pane, m.paneWidth()
	var out []string
	for _, line := range render.Wrap(m.look.long(p.item.Name), width) {
		out = append(out, m.look.paint(render.Bold, line))
	}
	out = append(out, "")
	if p.item.Of != "" {
		out = append(out, m.wrapped("checkpoint", m.look.name(p.item.Of), width)...)
	}
	if m.two() {
		_, word, _ := markOf(&p.item)
		if p.item.Status == inspect.Agree {
			word = "agree in dtype and shape; c compares what they hold"
		}
		if p.item.Note != "" {
			word += ": " + p.item.Note
		}
		out = append(out, m.wrapped("A and B", render.EscapeMessage(word), width)...)
	}
	out = append(out, m.table(p.rows(m.look), width)...)
	for side := range p.item.Sides {
		if !p.item.Has[side] {
			continue
		}
		of := ""
		if m.two() {
			of = " of " + "AB"[side:side+1]
		}
		if f := p.parts[side][statsPart].figures; f != nil && len(f.Histogram) > 0 {
			out = append(out, "", m.look.paint(render.Bold, "histogram"+of))
			out = append(out, histogram(f, width)...)
		}
		values := &p.parts[side][valuesPart]
		out = append(out, "", m.look.paint(render.Bold, "values"+of))
		switch {
		case !values.done:
			out = append(out, reading)
		case values.err != nil:
			out = append(out, render.Wrap(render.EscapeMessage(values.err.Error()), width)...)
		default:
			for line := range strings.Lines(values.values) {
				out = append(out, strings.TrimRight(line, "\n"))
			}
		}
	}
	return out
}

const reading = "reading…"

// wrapped is a word and a text behind it.
func (m *model) wrapped(word, text string, width int) []string {
	return m.table([]paneRow{{word, [2]string{text}}}, width)
}

const wordWidth = 12

// table sets rows in columns: one for a tensor, two for a pair.
func (m *model) table(rows []paneRow, width int) []string {
	columns := 1
	for _, r := range rows {
		if r.cells[1] != "" {
			columns = 2
		}
	}
	room := max(8, (width-wordWidth)/columns-1)
	var out []string
	for _, r := range rows {
		var cells [2][]string
		for k, c := range r.cells[:columns] {
			cells[k] = render.Wrap(c, room)
		}
		for i := range max(len(cells[0]), len(cells[1])) {
			line := strings.Repeat(" ", wordWidth)
			if i == 0 {
				line = m.look.paint(render.Bold, pad(r.word, wordWidth))
			}
			for _, c := range cells[:columns] {
				cell := ""
				if i < len(c) {
					cell = c[i]
				}
				line += pad(cell, room+1)
			}
			out = append(out, strings.TrimRight(line, " "))
		}
	}
	return out
}

// rows are the facts about the tensor.
func (p *pane) rows(l look) []paneRow {
	var out []paneRow
	two := p.item.Status != ""
	add := func(word string, cell func(side int, t *inspect.Tensor) string) {
		r := paneRow{word: word}
		for side := range p.item.Sides {
			switch {
			case p.item.Has[side]:
				r.cells[side] = cell(side, &p.item.Sides[side])
			case two:
				r.cells[side] = "-"
			}
		}
		if r.cells[0] != "" || r.cells[1] != "" {
			out = append(out, r)
		}
	}
	// found is add for what is found out in the background.
	found := func(word string, k kind, cell func(p *part) string) {
		add(word, func(side int, _ *inspect.Tensor) string {
			switch part := &p.parts[side][k]; {
			case !part.done:
				return reading
			case part.err != nil:
				return render.EscapeMessage(part.err.Error())
			default:
				return cell(part)
			}
		})
	}
	if two {
		out = append(out, paneRow{"", [2]string{"A", "B"}})
		if p.item.Sides[0].Name != p.item.Sides[1].Name {
			add("name", func(_ int, t *inspect.Tensor) string { return l.name(t.Name) })
		}
	}
	found("role", rolePart, func(p *part) string { return roleText(p.role) })
	add("dtype", func(_ int, t *inspect.Tensor) string { return l.name(dtype(t)) })
	add("shape", func(_ int, t *inspect.Tensor) string { return shapeText(t.Shape) })
	add("elements", func(_ int, t *inspect.Tensor) string {
		if n, ok := t.Elements(); ok {
			return render.Grouped(n)
		}
		return "unknown"
	})
	add("size", func(_ int, t *inspect.Tensor) string {
		if !t.BytesKnown {
			return "unknown"
		}
		return fmt.Sprintf("%s (%s bytes)", render.Size(t.Bytes), render.Grouped(t.Bytes))
	})
	add("place", func(_ int, t *inspect.Tensor) string {
		switch {
		case t.FileName == "":
			return "unknown"
		case t.Offset < 0:
			return l.name(t.FileName)
		}
		return l.name(t.FileName) + ":" + strconv.FormatInt(t.Offset, 10)
	})
	found("sha256", digestPart, func(p *part) string { return p.digest })
	if two && p.item.Has[0] && p.item.Has[1] && p.parts[0][digestPart].digest != "" && p.parts[1][digestPart].digest != "" {
		same := "the bytes differ"
		if p.parts[0][digestPart].digest == p.parts[1][digestPart].digest {
			same = "the same bytes"
		}
		out = append(out, paneRow{"", [2]string{same, same}})
	}
	figures := func(word string, cell func(f *inspect.Figures) string) {
		found(word, statsPart, func(p *part) string {
			if p.figures == nil {
				return "-"
			}
			return cell(p.figures)
		})
	}
	if waits := func(side int) bool {
		s := &p.parts[side][statsPart]
		return p.item.Has[side] && (!s.done || s.err != nil)
	}; waits(0) || waits(1) {
		figures("statistics", func(*inspect.Figures) string { return "" })
		return out
	}
	addFigures(figures)
	return out
}

// addFigures adds the rows of the statistics.
func addFigures(add func(word string, cell func(f *inspect.Figures) string)) {
	add("min, max", func(f *inspect.Figures) string { return figure(f.Min) + ", " + figure(f.Max) })
	add("mean, std", func(f *inspect.Figures) string { return figure(f.Mean) + ", " + figure(f.Std) })
	add("abs max, L2", func(f *inspect.Figures) string { return figure(f.AbsMax) + ", " + figure(f.L2) })
	add("zeros", func(f *inspect.Figures) string { return render.Grouped(f.Zeros) })
	add("NaN, inf", func(f *inspect.Figures) string {
		return render.Grouped(f.NaN) + ", " + render.Grouped(f.PosInf+f.NegInf)
	})
	add("quantiles", func(f *inspect.Figures) string {
		var words []string
		for i, p := range inspect.Percents() {
			if i < len(f.Quantiles) && !math.IsNaN(f.Quantiles[i]) {
				words = append(words, fmt.Sprintf("%d%%:%s", p, figure(f.Quantiles[i])))
			}
		}
		if len(words) == 0 {
			return "-"
		}
		return strings.Join(words, ", ")
	})
}

// roleText is a role in its convention, or why there is none.
func roleText(x *identify.Explanation) string {
	switch {
	case x == nil:
		return "unknown"
	case x.Role != "":
		return render.EscapeMessage(x.Role + " of " + x.Convention)
	case len(x.Reasons) > 0:
		return render.EscapeMessage("none: " + x.Reasons[0])
	}
	return "none"
}

func figure(f float64) string {
	if math.IsNaN(f) {
		return "-"
	}
	return strconv.FormatFloat(f, 'g', 5, 64)
}

// shapeText writes dimensions: "[4096,128]".
func shapeText(shape []uint64) string {
	if shape == nil {
		return "?"
	}
	b := []byte{'['}
	for i, d := range shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, d, 10)
	}
	return string(append(b, ']'))
}

// histogramHeight is how many lines the bars have.
const histogramHeight = 6

// histogram draws the counts of equal intervals as bars, with the ends below. Any count
// that is not 0 is seen.
func histogram(f *inspect.Figures, width int) []string {
	counts := f.Histogram
	for len(counts) > max(1, width) { // two intervals to a bar
		var joined []uint64
		for pair := range slices.Chunk(counts, 2) {
			n := uint64(0)
			for _, c := range pair {
				n += c
			}
			joined = append(joined, n)
		}
		counts = joined
	}
	eighths := []rune(" ▁▂▃▄▅▆▇█")
	most := max(1, slices.Max(counts))
	out := make([]string, histogramHeight, histogramHeight+1)
	for i := range out {
		below := (histogramHeight - 1 - i) * 8
		line := make([]rune, len(counts))
		for k, c := range counts {
			level := int(float64(c) / float64(most) * histogramHeight * 8)
			if c > 0 {
				level = max(1, level)
			}
			line[k] = eighths[max(0, min(8, level-below))]
		}
		out[i] = strings.TrimRight(string(line), " ")
	}
	low, high := figure(f.Min), figure(f.Max)
	return append(out, low+strings.Repeat(" ", max(1, len(counts)-len(low)-len(high)))+high)
}
