package browse

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A look says what the terminal can show.
type look struct {
	color bool
	// ascii has nothing shown but ASCII.
	ascii bool
}

func (l look) style(width int) render.Style {
	return render.Style{Terminal: true, Width: width, Color: l.color}
}

func (l look) paint(c render.Color, text string) string {
	return render.Style{Color: l.color}.Paint(c, text)
}

// reverse is the colour of what the cursor is on.
const reverse render.Color = 7

// mostShown is how much of a long text is looked at: a name may have megabytes, and a
// screen has a line for it.
const mostShown = 4096

// name is text of a file, fit to be shown.
func (l look) name(s string) string {
	if len(s) > mostShown {
		head, tail := s[:mostShown/2], s[len(s)-mostShown/2:]
		for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
			tail = tail[1:]
		}
		s = strings.ToValidUTF8(head, "") + "…" + tail
	}
	s = render.Escape(s)
	if !l.ascii {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf || r == '…' {
			b.WriteRune(r)
		} else {
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// long is a name in full, or the ends of one that would fill the screen, with its length.
func (l look) long(s string) string {
	const most = 480
	n := utf8.RuneCountInString(s)
	if n <= most {
		return l.name(s)
	}
	runes := []rune(s[:min(len(s), 4*most)])
	end := s
	for k := 0; k < most/2; k++ {
		_, size := utf8.DecodeLastRuneInString(end)
		end = end[:len(end)-size]
	}
	return fmt.Sprintf("%s…%s (%s characters)", l.name(string(runes[:most/2])), l.name(s[len(end):]), render.Grouped(uint64(n)))
}

// ascii is what is drawn in place of characters that are not ASCII.
var ascii = strings.NewReplacer(
	"…", "~", "·", ".", "│", "|", "▸", "+", "▾", "-", "→", ">", "█", "#", "▁", "_", "▂", ".", "▃", ",", "▄", "-", "▅", "=", "▆", "+", "▇", "*",
)

// The lines of the screen: the title, the names of the views, headings, what there is, a
// line for messages, and one of keys.
const (
	tabsLine  = 1
	firstLine = 3
	footLines = 2
)

// The smallest screen that has room for everything.
const (
	leastWidth  = 64
	leastHeight = 12
)

// besideWidth is from where on a tensor is shown beside the list.
const besideWidth = 120

func (m *model) beside() bool { return m.width >= besideWidth }

func (m *model) listHeight() int { return max(1, m.height-firstLine-footLines) }

// paneHeight is that of a tensor, which has the line of headings, too.
func (m *model) paneHeight() int { return m.listHeight() + 1 }

func (m *model) textHeight() int { return m.listHeight() + 1 }

// overlayHeight is that of a text with a title.
func (m *model) overlayHeight() int { return m.listHeight() }

func (m *model) pageHeight() int {
	if m.pane != nil || m.overlay != nil || m.view == infoView {
		return m.paneHeight()
	}
	return m.listHeight()
}

// listWidth is that of the list, which a tensor may be beside.
func (m *model) listWidth() int {
	if m.pane != nil && m.beside() {
		return m.width * 11 / 20
	}
	return m.width
}

func (m *model) paneWidth() int {
	if m.beside() {
		return m.width - m.width*11/20 - 3
	}
	return m.width - 1
}

// screen is what the terminal shows: as many lines as it has, none wider than it is.
func (m *model) screen() string {
	if m.width == 0 {
		return ""
	}
	if m.width < leastWidth || m.height < leastHeight {
		text := fmt.Sprintf("wtinspect browse needs %d columns and %d lines; this terminal has %d and %d. Make it larger, or press q.", leastWidth, leastHeight, m.width, m.height)
		lines := render.Wrap(text, m.width)
		return strings.Join(lines[:min(len(lines), max(1, m.height))], "\n")
	}
	lines := []string{m.titleLine(), m.tabs()}
	body := m.body()
	for len(body) < m.height-2-footLines {
		body = append(body, "")
	}
	lines = append(append(lines, body...), m.footLines()...)
	out := strings.Join(lines, "\n")
	if m.look.ascii {
		out = strings.Map(func(r rune) rune {
			if r >= utf8.RuneSelf {
				return '?'
			}
			return r
		}, ascii.Replace(out))
	}
	return out
}

// body is the headings and what there is.
func (m *model) body() []string {
	height := m.height - 2 - footLines
	switch {
	case m.overlay != nil:
		return m.overlay.window(m.look, m.width, height)
	case m.itemsErr != nil && m.items == nil:
		return append([]string{""}, render.Wrap(render.EscapeMessage(m.itemsErr.Error()), m.width)...)
	case m.view == infoView:
		if m.info == nil {
			return []string{"", " " + reading}
		}
		return m.info.window(m.look, m.width, height)
	case m.view == findingsView:
		return m.findingsBody()
	case m.pane != nil && !m.beside():
		return clipped(m.pane.marked(window(m.paneLines(), m.pane.top, height)), m.width)
	}
	list := m.listBody()
	if m.pane == nil {
		return list
	}
	lines := clipped(m.pane.marked(window(m.paneLines(), m.pane.top, height)), m.paneWidth())
	out := make([]string, height)
	for i := range out {
		left, right := "", ""
		if i < len(list) {
			left = list[i]
		}
		if i < len(lines) {
			right = lines[i]
		}
		out[i] = pad(left, m.listWidth()) + " │ " + right
	}
	return out
}

// window is the part of lines that is seen.
func window(lines []string, top, height int) []string {
	top = max(0, min(top, len(lines)-height))
	return lines[top:min(len(lines), top+height)]
}

func (t *text) window(l look, width, height int) []string {
	var out []string
	if t.title != "" {
		out = append(out, l.paint(render.Bold, t.title))
	}
	if t.err != nil {
		return append(out, render.Wrap(render.EscapeMessage(t.err.Error()), width)...)
	}
	out = append(out, t.marked(window(t.laid(width), t.top, height-len(out)))...)
	return clipped(out[:min(len(out), height)], width)
}

// marked marks the lines that have what is looked for.
func (s *search) marked(lines []string) []string {
	out := slices.Clone(lines)
	for k, line := range out {
		if s.has(line) {
			out[k] = ">" + line
		}
	}
	return out
}

// clipped has no line wider than it may be, which those are that were set for another width.
func clipped(lines []string, width int) []string {
	out := make([]string, len(lines))
	for i, line := range lines {
		if out[i] = line; visible(line) > width {
			out[i] = render.ShortenEnd(bare(line), width)
		}
	}
	return out
}

func (m *model) titleLine() string {
	about := "opening" + "…"
	if m.items != nil {
		chosen, all := m.counts()
		about = render.Counted(all, "tensor")
		if m.two() {
			about = render.Counted(all, "pair")
		}
		if m.filter != "" && m.listed() != nil {
			about = render.Grouped(uint64(chosen)) + " of " + about
		}
	}
	var paths []string
	room := max(8, (m.width-len(about)-4)/len(m.src.Paths())-5)
	for k, p := range m.src.Paths() {
		p = render.ShortenMiddle(m.look.name(inspect.ShownReference(p)), room)
		if m.two() {
			p = "AB"[k:k+1] + " " + p
		}
		paths = append(paths, p)
	}
	left := strings.Join(paths, "   ")
	return m.look.paint(render.Bold, left) + strings.Repeat(" ", max(1, m.width-render.DisplayWidth(left)-render.DisplayWidth(about)-1)) + about
}

// tabSpans are where the names of the views begin and end.
func (m *model) tabSpans() [][2]int {
	var out [][2]int
	x := 0
	for _, name := range viewNames {
		n := len(name) + 5
		out = append(out, [2]int{x, x + n})
		x += n
	}
	return out
}

func (m *model) tabs() string {
	var b strings.Builder
	for v, name := range viewNames {
		label := fmt.Sprintf(" %d %s  ", v+1, name)
		if view(v) == m.view {
			label = m.look.paint(reverse, fmt.Sprintf("[%d %s]", v+1, name)) + " "
		}
		b.WriteString(label)
	}
	return b.String()
}

// A column is a cell of a row of the list: on the right of the name, and so wide.
type column struct {
	title string
	width int
	right bool
}

// columns are those beside the name.
func (m *model) columns(tree bool) []column {
	width := m.listWidth()
	if m.two() {
		n := 17
		if width >= 140 {
			n = 30
		}
		return []column{{"A", n, false}, {"B", n, false}}
	}
	cols := []column{{"DTYPE", 6, false}}
	if !tree || width >= 110 {
		cols = append(cols, column{"SHAPE", 16, false})
	}
	if tree {
		cols = append(cols, column{"COUNT", 7, true})
	}
	cols = append(cols, column{"SIZE", 9, true})
	if tree {
		cols = append(cols, column{"%", 4, true}, column{"", barWidth, false})
	}
	return cols
}

const barWidth = 8

// markWidth is the room of the mark of a pair and its word.
const markWidth = 9

// nameWidth is what the columns leave.
func (m *model) nameWidth(cols []column) int {
	n := m.listWidth() - 2
	if m.two() {
		n -= markWidth + 1
	}
	for _, c := range cols {
		n -= c.width + 1
	}
	return n
}

func (m *model) listBody() []string {
	l := m.listed()
	cols := m.columns(l.root != nil || m.view != listView)
	name := m.nameWidth(cols)
	head := "  "
	if m.two() {
		head += pad("", markWidth+1)
	}
	rows := m.visibleRows(l, name)
	if m.listWidth() > leastWidth { // no wider than it has to be, in steps, so that it does not move much
		const step, least = 16, 32
		widest := 0
		for i := range rows {
			widest = max(widest, render.DisplayWidth(rows[i].label))
		}
		name = min(name, max(least, (widest+step-1)/step*step))
	}
	head += pad("NAME", name)
	for _, c := range cols {
		head += " " + fill(c.title, c)
	}
	out := []string{m.look.paint(render.Bold, strings.TrimRight(head, " "))}
	switch {
	case m.items == nil:
		return append(out, "  "+reading)
	case l.chosen == nil:
		return append(out, "  "+reading)
	case l.chosen.err != nil:
		return append(out, "  "+render.EscapeMessage(l.chosen.err.Error()))
	case l.len() == 0 && m.filter != "":
		return append(out, "  nothing matches; esc shows all")
	case l.len() == 0:
		return append(out, "  there are no tensors")
	}
	for i := range rows {
		out = append(out, m.rowLine(&rows[i], l.top+i == l.cursor, cols, name))
	}
	return out
}

// A visibleRow is a row of the list while it is drawn. Only those that are seen are made.
type visibleRow struct {
	label string
	item  Item
	node  *node // nil in the list
	of    uint64
}

func (m *model) visibleRows(l *listing, nameWidth int) []visibleRow {
	if m.items == nil || l.chosen == nil {
		return nil
	}
	var out []visibleRow
	for k := l.top; k < min(l.len(), l.top+m.listHeight()); k++ {
		v := visibleRow{item: l.at(k)}
		before := ""
		if l.root == nil {
			if v.label = m.look.name(v.item.Name); v.item.Of != "" {
				v.label = m.look.name(v.item.Of) + ": " + v.label
			}
		} else {
			r := l.rows[k]
			v.node, v.of = r.node, r.of
			sign := "  "
			switch {
			case !r.hasKids():
			case r.open:
				sign = "▾ "
			default:
				sign = "▸ "
			}
			before, v.label = strings.Repeat("  ", min(r.indent, 12))+sign, m.look.name(r.label)
		}
		v.label = before + render.ShortenName(v.label, nameWidth-render.DisplayWidth(before))
		out = append(out, v)
	}
	return out
}

// A span is text in a colour.
type span struct {
	text  string
	color render.Color
}

// rowLine is a row of the list.
func (m *model) rowLine(r *visibleRow, current bool, cols []column, nameWidth int) string {
	cursor := "  "
	if current {
		cursor = "> "
	}
	spans := []span{{cursor, render.Plain}}
	if m.two() {
		mark, word, color := markOf(&r.item)
		if r.node != nil && !r.node.leaf {
			mark, word, color = folderMark(r.node)
		}
		spans = append(spans, span{pad(render.ShortenEnd(mark+" "+word, markWidth), markWidth+1), color})
	}
	spans = append(spans, span{pad(r.label, nameWidth), render.Plain})
	for i, text := range m.cells(cols, r) {
		color := render.Plain
		if cols[i].title == "DTYPE" {
			color = render.Cyan
		}
		spans = append(spans, span{" " + fill(text, cols[i]), color})
	}
	var b strings.Builder
	for _, s := range spans {
		if current {
			s.color = render.Plain
		}
		b.WriteString(m.look.paint(s.color, s.text))
	}
	if current {
		return m.look.paint(reverse, pad(b.String(), m.listWidth()))
	}
	return strings.TrimRight(b.String(), " ")
}

// cells are the texts beside the name.
func (m *model) cells(cols []column, r *visibleRow) []string {
	item, n, of := &r.item, r.node, r.of
	folder := n != nil && !n.leaf
	var out []string
	for i, c := range cols {
		t := item.one()
		bytes := inspect.Sum{N: size(t)}
		if n != nil {
			bytes = n.bytes
		}
		text := ""
		switch c.title {
		case "A", "B":
			switch {
			case folder && c.title == "A":
				text = render.Counted(n.tensors, "pair")
			case folder:
				text = folderText(n, c.width)
			case item.Has[i]:
				t := &item.Sides[i]
				text = m.look.name(dtype(t)) + " " + shapeText(t.Shape)
				if c.width >= 30 && t.BytesKnown {
					text += " " + render.Size(t.Bytes)
				}
			default:
				text = "-"
			}
		case "DTYPE":
			if !folder {
				text = m.look.name(dtype(t))
			}
		case "SHAPE":
			if !folder {
				text = shapeText(t.Shape)
			}
		case "COUNT":
			if n.tensors > 1 {
				text = "x" + strconv.Itoa(n.tensors)
			}
		case "SIZE":
			switch {
			case bytes.Overflow:
				text = "> 16 EiB"
			case n == nil && !t.BytesKnown:
				text = "?"
			default:
				text = render.Size(bytes.N)
			}
		case "%":
			if of > 0 {
				text = strconv.Itoa(int(share(n, of)*100+0.5)) + "%"
			}
		case "":
			if of > 0 {
				text = strings.Repeat("█", int(share(n, of)*barWidth+0.5))
			}
		}
		out = append(out, text)
	}
	return out
}

func share(n *node, of uint64) float64 { return min(1, float64(n.bytes.N)/float64(of)) }

// markOf is how a pair is marked: by a character, a word and a colour.
func markOf(i *Item) (mark, word string, color render.Color) {
	switch i.Status {
	case inspect.Same, inspect.Agree:
		switch {
		case i.Renamed:
			return "~", "renamed", render.Yellow
		case i.Status == inspect.Agree:
			return "?", "unread", render.Plain
		}
		return "=", "same", render.Green
	case inspect.OnlyA:
		return "-", "only A", render.Red
	case inspect.OnlyB:
		return "+", "only B", render.Green
	case inspect.Unread:
		return "!", "error", render.Red
	}
	return "~", string(i.Status), render.Yellow
}

// folderMark marks what has pairs below it.
func folderMark(n *node) (mark, word string, color render.Color) {
	switch {
	case n.differ > 0:
		return "~", "differs", render.Yellow
	case n.unread > 0:
		return "?", "unread", render.Plain
	}
	return "=", "same", render.Green
}

// folderText counts what has pairs below it by their marks, in words where there is room.
func folderText(n *node, width int) string {
	differ, unread := render.Grouped(uint64(n.differ)), render.Grouped(uint64(n.unread))
	switch {
	case n.differ == 0 && n.unread == 0:
		return "the same"
	case n.unread == 0:
		return differ + " differ"
	case n.differ == 0:
		return unread + " unread"
	}
	if text := differ + " differ, " + unread + " unread"; len(text) <= width {
		return text
	}
	return "~ " + differ + "  ? " + unread
}

func (m *model) findingsBody() []string {
	f := &m.findings
	head := m.look.paint(render.Bold, "  "+pad("SEVERITY", 9)+pad("RULE", 7)+"MESSAGE")
	switch {
	case f.err != nil:
		return append([]string{head}, indented(render.EscapeMessage(f.err.Error()), m.width)...)
	case f.result == nil:
		return []string{head, "  checking…"}
	}
	out := append([]string{head}, m.problemLines()...)
	switch {
	case f.len() > 0:
	case len(f.result.Problems) > 0 && len(f.result.Checkpoints) == 0:
		return out
	case len(f.result.Problems) > 0:
		return append(out, "  nothing was found in what could be read: "+render.Counted(f.result.Summary.Tensors, "tensor"))
	default:
		return append(out, fmt.Sprintf("  %s found nothing in %s", render.Counted(f.result.Summary.Rules, "rule"), render.Counted(f.result.Summary.Tensors, "tensor")))
	}
	for k := f.top; k < min(f.len(), f.top+m.findingsHeight()); k++ {
		line := m.findingLine(k)
		if k == f.cursor {
			out = append(out, m.look.paint(reverse, pad("> "+line, m.width)))
		} else {
			out = append(out, "  "+m.look.paint(severityColor(f.result.Findings[k].Severity), line))
		}
	}
	return out
}

// findingLine is a finding in a line.
func (m *model) findingLine(k int) string {
	one := &m.findings.result.Findings[k]
	text := one.Message
	if one.Tensor != nil {
		text = *one.Tensor + ": " + text
	}
	return pad(one.Severity.String(), 9) + pad(one.Rule, 7) + render.ShortenEnd(m.look.message(text), m.width-2-16)
}

// indented is a text in lines that begin as those of a list.
func indented(text string, width int) []string {
	lines := render.Wrap(text, width-2)
	for k := range lines {
		lines[k] = "  " + lines[k]
	}
	return lines
}

// problemLines say what could not be checked, above the findings. They leave most of the
// screen to those.
func (m *model) problemLines() []string {
	r := m.findings.result
	if r == nil {
		return nil
	}
	most := m.listHeight()
	if len(r.Findings) > 0 {
		most /= 3
	}
	var out []string
	for k, err := range r.Problems {
		lines := indented("not checked: "+m.look.message(err.Error()), m.width)
		if len(out)+len(lines) > most-1 && k < len(r.Problems)-1 || len(out)+len(lines) > most {
			return append(out, fmt.Sprintf("  not checked: %d more; 'wtinspect check' lists them", len(r.Problems)-k))
		}
		out = append(out, lines...)
	}
	return out
}

// findingsHeight is how many findings are seen.
func (m *model) findingsHeight() int { return max(1, m.listHeight()-len(m.problemLines())) }

// message is a line of a message, which may quote names, fit to be shown.
func (l look) message(s string) string {
	if len(s) > mostShown {
		s = strings.ToValidUTF8(s[:mostShown], "") + "…"
	}
	return render.EscapeMessage(s)
}

func severityColor(s checkpoint.Severity) render.Color {
	switch s {
	case checkpoint.Error:
		return render.Red
	case checkpoint.Warning:
		return render.Yellow
	}
	return render.Plain
}

// findingLines are a finding in full, and what its rule is about.
func (m *model) findingLines(f *inspect.Finding) []string {
	width := m.width - 1
	out := []string{""}
	add := func(word, text string) {
		if text != "" {
			out = append(out, m.wrapped(word, text, width)...)
		}
	}
	add("severity", f.Severity.String())
	add("place", m.look.name(cmp.Or(f.Place(), "-")))
	if f.Tensor != nil {
		add("tensor", m.look.name(*f.Tensor))
	}
	add("message", m.look.message(f.Message))
	if f.Fixable {
		add("fix", "'wtinspect fix' fixes it")
	}
	if rules, err := inspect.Rules(f.Rule); err == nil && len(rules) > 0 {
		out = append(out, "")
		for line := range strings.Lines(rules[0].Explain()) {
			out = append(out, render.Wrap(render.EscapeMessage(strings.TrimRight(line, "\n")), width)...)
		}
	}
	return out
}

// typed is what is being typed, or was, behind what it is for; "" where that is nothing.
func (m *model) typed() string {
	what, value := m.filter.kind()+" filter", string(m.filter)
	switch s := m.searched(); {
	case s != nil:
		what, value = "find", s.find
	case m.listed() == nil:
		return ""
	}
	if value == "" && !m.typing {
		return ""
	}
	const room = 12 // for what is behind it
	return what + ": " + tail(m.look.name(value), value == "", m.width-len(what)-4-room)
}

// footLines are the filter, or what the last key did, and the keys. A message of two lines
// is worth more than the keys.
func (m *model) footLines() []string {
	message := m.message()
	lines := render.Wrap(message, m.width-1)
	switch {
	case len(lines) < 2 || m.typing:
		return []string{message, m.keysLine()}
	case len(lines) > footLines:
		lines[footLines-1] = render.ShortenEnd(lines[footLines-1]+" "+lines[footLines], m.width-1)
	}
	return lines[:footLines]
}

// message is the filter, or what the last key did.
func (m *model) message() string {
	typed := m.typed()
	if s := m.searched(); s != nil && s.find != "" && s.hit < 0 {
		typed += "  not found"
	}
	switch text := m.status; {
	case m.typing || text == "" && typed != "":
		return typed
	case text != "":
		return m.look.message(text)
	case m.changed != nil:
		return m.look.message(m.changed.Error())
	case m.comparing && m.total > 0:
		return fmt.Sprintf("comparing: %s of %s", render.Size(uint64(m.done)), render.Size(uint64(m.total)))
	case m.comparing:
		return "comparing…"
	case m.busy:
		return "searching…"
	case m.two() && m.items != nil && !m.byValues:
		return "names, dtypes and shapes were compared; c compares what the tensors hold"
	}
	return ""
}

// typingAt is where the next letter goes.
func (m *model) typingAt() (x, y int, ok bool) {
	return min(m.width-1, render.DisplayWidth(m.typed())), m.height - 2, m.typing && m.height >= leastHeight
}

// tail is the end of what is typed.
func tail(s string, empty bool, room int) string {
	if empty {
		return ""
	}
	for render.DisplayWidth(s) > room {
		_, n := utf8.DecodeRuneInString(s)
		s = s[n:]
	}
	return s
}

// keysLine says what can be done.
func (m *model) keysLine() string {
	var keys string
	switch {
	case m.typing && m.searched() != nil:
		keys = "enter  keep   esc  clear   up down  move"
	case m.overlay != nil:
		keys = "space b  scroll   /  find   any other key closes this"
	case m.typing:
		keys = "enter  keep   esc  clear   up down  move   a * makes it a glob"
	case m.pane != nil:
		keys = "n N  next, previous   /  find   y  copy   ?  keys   q  back"
		if n, height := len(m.paneLines()), m.paneHeight(); n > height {
			keys = fmt.Sprintf("lines %d-%d of %d   ", m.pane.top+1, min(n, m.pane.top+height), n) + keys
		}
	case m.view == findingsView:
		keys = "enter  explain   /  find   y  copy command   tab  next view   ?  keys   q  quit"
	case m.view == infoView:
		keys = "/  find   n N  next, previous   y  copy command   ?  keys   q  quit"
	default:
		order := m.sort.by
		if m.sort.reverse {
			order += ", reversed"
		}
		keys = "/  filter   s  sort: " + order + "   enter  open   y  copy command   ?  keys   q  quit"
	}
	return m.look.paint(render.Dim, render.ShortenEnd(keys, m.width-1))
}

// helpLines are the keys.
func (m *model) helpLines() []string {
	rows := []paneRow{
		{"j k ↓ ↑", [2]string{"next and previous line"}},
		{"space b", [2]string{"next and previous page; d u: half of one; g G: first and last line"}},
		{"enter → l", [2]string{"open a template, a layer or a tensor; ← h: close it; -: close all"}},
		{"1 … 5  tab", [2]string{"templates, layers, list, findings, info"}},
		{"/", [2]string{"of tensors: filter while you type: words whose letters a name has in this order, as in fzf, where names with the word itself come first; with a * a glob of whole names, as --match takes. Of a text, such as a tensor's or the findings: find. enter keeps it, esc clears it"}},
		{"n N", [2]string{"next and previous tensor, difference, or place in a text"}},
		{"s r", [2]string{"sort by file, name, size, elements, dtype; reverse"}},
		{"c", [2]string{"with two checkpoints: compare what the tensors hold"}},
		{"y", [2]string{"copy the command that prints what is on screen"}},
		{"q ctrl-c", [2]string{"back, or quit; interrupt"}},
		{"mouse", [2]string{"click a line to go to it, again to open it; the wheel scrolls"}},
	}
	out := append([]string{""}, m.table(rows, m.width-1)...)
	if m.two() {
		out = append(out, "")
		out = append(out, m.table([]paneRow{
			{"~", [2]string{"changed, renamed, or of another dtype or shape"}},
			{"- +", [2]string{"only in A, only in B"}},
			{"=", [2]string{"the same; ? where values were not read, and ! where they could not be"}},
		}, m.width-1)...)
	}
	return out
}

// fill sets a text in a column.
func fill(text string, c column) string {
	text = render.ShortenEnd(text, c.width)
	if c.right {
		return strings.Repeat(" ", max(0, c.width-render.DisplayWidth(text))) + text
	}
	return pad(text, c.width)
}

// pad makes a text as wide as a column.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(0, width-visible(s)))
}

// visible is how wide a text is without its colours.
func visible(s string) int { return render.DisplayWidth(bare(s)) }

// bare is a text without the colours that it was painted in.
func bare(s string) string {
	var b strings.Builder
	for {
		at := strings.Index(s, "\x1b[")
		if at < 0 {
			b.WriteString(s)
			return b.String()
		}
		b.WriteString(s[:at])
		_, s, _ = strings.Cut(s[at:], "m")
	}
}
