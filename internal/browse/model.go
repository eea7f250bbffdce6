package browse

import (
	"context"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A view is what fills the screen.
type view int

const (
	templatesView view = iota
	layersView
	listView
	findingsView
	infoView
)

var viewNames = [...]string{"Templates", "Layers", "List", "Findings", "Info"}

// The messages of update, beside those of jobs.
type (
	// A keyMsg is a key, as bubbletea calls it: "j", "pgdown", "ctrl+c".
	keyMsg string
	// A pasteMsg is text.
	pasteMsg string
	// A sizeMsg is the size of the screen in columns and lines.
	sizeMsg struct{ width, height int }
	// A clickMsg is a place on the screen, and a wheelMsg lines to scroll.
	clickMsg struct{ x, y int }
	wheelMsg int
	// A tickMsg comes every few seconds.
	tickMsg struct{}
	// A suspendMsg is another program that suspends this one.
	suspendMsg struct{}
	// A jobMsg is what a job has found.
	jobMsg struct {
		slot  slot
		turn  int
		value any
	}
)

// The effects that update asks for.
type (
	// A job is work in the background. It ends the one before in its slot, and is ended by
	// the next. tell sends what is known before the end.
	job struct {
		slot slot
		turn int
		run  func(ctx context.Context, tell func(value any)) any
	}
	// A copyText is for the clipboard.
	copyText string
	// A tick is a tickMsg after a while.
	tick    struct{}
	quit    struct{ interrupted bool }
	suspend struct{}
)

// A slot has one job at a time.
type slot int

const (
	itemsSlot slot = iota
	listingSlot
	paneSlot
	findingsSlot
	infoSlot
	watchSlot
	slots
)

// A model is the state of the program: update changes it, screen shows it.
type model struct {
	src  Source
	look look

	width, height int
	view          view
	status        string // what the last key did, until the next
	changed       error  // a file is no longer the one that was opened

	items Items
	// byValues says that pairs are compared by what they hold; comparing that they are
	// being so, and done of how many bytes.
	byValues, comparing bool
	done, total         int64
	itemsErr            error

	filter filter
	typing bool
	sort   sorting

	trees [2]listing // of templatesView and layersView
	list  listing
	busy  bool // a listing is being made

	pane     *pane
	overlay  *text // covers everything
	info     *text
	infoFor  int // its width
	findings findings

	turns [slots]int
}

// A listing is what a view shows of the tensors.
type listing struct {
	key    listingKey
	chosen *chosen
	root   *node   // of a tree
	rows   []row   // of a tree
	places []int32 // of the list
	scroll
	// plain is the tree without a filter, as it was left.
	plain *listing
}

// place is that of a row's tensor, or of the first of those that the row stands for.
func (l *listing) place(k int) int {
	if l.root != nil {
		return l.rows[k].place
	}
	return int(l.places[k])
}

func (l *listing) at(k int) Item { return l.key.items.At(l.place(k)) }

// A rowTitle tells which row is which when a listing is made anew.
type rowTitle struct{ of, name, label string }

func (l *listing) titleOf(k int) rowTitle {
	i := l.at(k)
	if l.root != nil {
		return rowTitle{i.Of, i.Name, l.rows[k].label}
	}
	return rowTitle{i.Of, i.Name, ""}
}

// A listingKey is what a listing was made for. Until the next is made, which is in the
// background, the rows of a listing are of its own items and not of the latest.
type listingKey struct {
	items  Items
	filter filter
	sort   sorting
}

func (l *listing) len() int {
	if l.root != nil {
		return len(l.rows)
	}
	return len(l.places)
}

// A scroll is a place in a number of lines.
type scroll struct{ cursor, top int }

// move moves the cursor, and what is seen with it.
func (s *scroll) move(to, n, height int) {
	s.cursor = max(0, min(to, n-1))
	s.top = max(0, min(max(s.cursor-height+1, min(s.top, s.cursor)), n-height))
}

// A findings is the view of what check finds.
type findings struct {
	result *inspect.CheckResult
	err    error
	asked  bool
	scroll
	search
}

// A text is lines that are scrolled through. Those of one with a title are set for the
// width of the screen when they are shown.
type text struct {
	title string
	lines []string
	err   error
	top   int
	search
}

// laid are the lines as they are shown.
func (t *text) laid(width int) []string {
	if t.title == "" {
		return t.lines
	}
	var out []string
	for _, line := range t.lines {
		if visible(line) > width {
			out = append(out, render.Wrap(line, width)...)
		} else {
			out = append(out, line)
		}
	}
	return out
}

// newModel returns the model before anything is known.
func newModel(src Source, l look) *model {
	return &model{src: src, look: l, sort: sorting{by: "file"}}
}

// two reports whether two checkpoints are compared.
func (m *model) two() bool { return len(m.src.Paths()) > 1 }

// begin returns the first effects.
func (m *model) begin() []any { return append(m.load(false), tick{}) }

// start makes a job for a slot; without run it only ends the one that is there.
func (m *model) start(s slot, run func(ctx context.Context, tell func(value any)) any) []any {
	m.turns[s]++
	return []any{job{s, m.turns[s], run}}
}

// The values of jobs.
type (
	itemsValue struct {
		items  Items
		values bool
		err    error
	}
	progressValue struct{ done, total int64 }
	listingValue  struct {
		view view
		listing
	}
	grownValue struct {
		node *node
		kids []*node
	}
	partValue struct {
		side int
		part
	}
	findingsValue struct {
		result *inspect.CheckResult
		err    error
	}
	changedValue struct{ err error }
	infoValue    struct {
		text  string
		err   error
		width int
	}
)

// load lists the tensors, or compares them.
func (m *model) load(values bool) []any {
	m.comparing, m.done, m.total = values, 0, 0
	return m.start(itemsSlot, func(ctx context.Context, tell func(any)) any {
		items, err := m.src.Items(ctx, values, func(done, total int64) { tell(progressValue{done, total}) })
		return itemsValue{items, values, err}
	})
}

// listed returns what the view shows of the tensors, nil where it shows none.
func (m *model) listed() *listing {
	switch m.view {
	case templatesView, layersView:
		return &m.trees[m.view]
	case listView:
		return &m.list
	}
	return nil
}

func (m *model) key() listingKey { return listingKey{m.items, m.filter, m.sort} }

// A tree with more lines than these is changed in the background.
const quick = 20_000

// refresh makes the listing of the view when it is out of date.
func (m *model) refresh() []any {
	l := m.listed()
	if l == nil || m.items == nil || m.height == 0 {
		return nil
	}
	key := m.key()
	if l.key == key && l.chosen != nil {
		if m.busy { // for another that nobody waits for
			m.busy = false
			return m.start(listingSlot, nil)
		}
		return nil
	}
	if p := l.plain; p != nil && key.filter == "" && p.key == key {
		*l = *p
		m.busy = false
		return m.start(listingSlot, nil)
	}
	sortOnly := l.chosen != nil && l.key.items == key.items && l.key.filter == key.filter
	if sortOnly && l.root != nil && l.len() < quick && l.root.tensors < quick {
		l.key = key
		m.keep(l, func() { m.sort.arrangeAll(m.items, l.root) })
		return nil
	}
	m.busy = true
	view, before, height := m.view, l.chosen, m.listHeight()
	var on *rowTitle
	if l.key.items != key.items {
		before = nil
		if l.cursor < l.len() { // the same tensors, compared anew
			title := l.titleOf(l.cursor)
			on = &title
		}
	}
	return m.start(listingSlot, func(ctx context.Context, _ func(any)) any {
		out := listing{key: key, chosen: before}
		if before == nil || before.filter != key.filter {
			out.chosen = key.filter.choose(ctx, key.items, before)
		}
		if view == listView {
			out.places = slices.Clone(out.chosen.places)
			key.sort.places(ctx, key.items, out.places)
		} else {
			out.root = rootOf(ctx, key.items, out.chosen.places, view == layersView)
			lines := height
			if key.filter != "" {
				lines = 10 * height // whoever looks for something wants to see it
			}
			unfold(ctx, key.items, out.root, lines)
			key.sort.arrangeAll(key.items, out.root)
			out.rows = rowsOf(out.root, 0, nil)
		}
		for k := 0; on != nil && k < out.len() && ctx.Err() == nil; k++ {
			if out.titleOf(k) == *on {
				out.cursor, on = k, nil
			}
		}
		return listingValue{view, out}
	})
}

// keep changes the order or the number of rows, and leaves the cursor on its node.
func (m *model) keep(l *listing, change func()) {
	var on *node
	if l.cursor < len(l.rows) {
		on = l.rows[l.cursor].node
	}
	change()
	l.rows = rowsOf(l.root, 0, l.rows[:0])
	for k := range l.rows {
		if l.rows[k].node == on {
			l.cursor = k
		}
	}
	l.move(l.cursor, l.len(), m.listHeight())
}

// update takes a message, and returns the effects that it has.
func (m *model) update(msg any) []any {
	switch msg := msg.(type) {
	case sizeMsg:
		m.width, m.height = msg.width, msg.height
		m.settle()
		effects := m.open()
		if m.pane != nil && m.pane.width != m.paneWidth()-1 {
			effects = append(effects, m.fillPane()...)
		}
		return effects
	case keyMsg:
		m.status = ""
		return m.press(string(msg))
	case pasteMsg:
		if m.typing {
			return m.retype(string(m.filter) + strings.Join(strings.Fields(string(msg)), " "))
		}
	case clickMsg:
		m.status = ""
		return m.click(msg.x, msg.y)
	case wheelMsg:
		m.scrollBy(int(msg))
	case tickMsg:
		return m.start(watchSlot, func(ctx context.Context, _ func(any)) any { return changedValue{m.src.Changed(ctx)} })
	case suspendMsg:
		return []any{suspend{}}
	case jobMsg:
		if msg.turn == m.turns[msg.slot] {
			return m.found(msg.value)
		}
	}
	return nil
}

// settle keeps what is seen within what there is, after either has changed.
func (m *model) settle() {
	for _, l := range []*listing{&m.trees[0], &m.trees[1], &m.list} {
		l.move(l.cursor, l.len(), m.listHeight())
	}
	m.findings.move(m.findings.cursor, m.findings.len(), m.findingsHeight())
	m.scrollBy(0)
}

func (f *findings) len() int {
	if f.result == nil {
		return 0
	}
	return len(f.result.Findings)
}

// found takes what a job has found.
func (m *model) found(value any) []any {
	switch v := value.(type) {
	case progressValue:
		m.done, m.total = v.done, v.total
	case itemsValue:
		m.comparing = false
		if m.itemsErr = v.err; v.err != nil {
			m.status = v.err.Error()
			return nil
		}
		m.items, m.byValues = v.items, v.values
		return append(m.renewPane(), m.refresh()...)
	case listingValue:
		m.busy = false
		l := &m.list
		if v.view != listView {
			l = &m.trees[v.view]
		}
		if l.key.filter == "" && l.chosen != nil && v.key.filter != "" {
			left := *l
			v.plain = &left
		} else {
			v.plain = l.plain
		}
		*l = v.listing
		l.move(l.cursor, l.len(), m.listHeight())
		if v.key.filter != "" && l.root != nil { // the first tensor, not what it is in
			for k := range l.rows {
				if l.rows[k].leaf {
					l.move(k, l.len(), m.listHeight())
					break
				}
			}
		}
		return m.refresh() // the filter may have changed meanwhile
	case grownValue:
		v.node.kids, v.node.open = v.kids, true
		for k := range m.trees {
			if l := &m.trees[k]; l.root != nil {
				m.keep(l, func() {})
			}
		}
	case partValue:
		if m.pane != nil {
			m.pane.parts[v.side][v.kind] = v.part
		}
	case findingsValue:
		m.findings.result, m.findings.err = v.result, v.err
	case changedValue:
		m.changed = v.err
		return []any{tick{}} // it may change once more
	case infoValue:
		before := m.info
		m.info, m.infoFor = &text{lines: strings.Split(strings.TrimRight(v.text, "\n"), "\n"), err: v.err}, v.width
		if before != nil {
			m.info.search = before.search
		}
	}
	return nil
}

// show changes the view.
func (m *model) show(v view) []any {
	m.view, m.typing = v, false
	m.closePane()
	return m.open()
}

// open has made what the view shows.
func (m *model) open() []any {
	switch {
	case m.view == findingsView && !m.findings.asked:
		m.findings.asked = true
		return m.start(findingsSlot, func(ctx context.Context, _ func(any)) any {
			r, err := m.src.Findings(ctx)
			return findingsValue{r, err}
		})
	case m.view == infoView && m.infoFor != m.width && m.width > 0:
		m.infoFor = m.width
		style, width := m.look.style(m.width), m.width
		return m.start(infoSlot, func(ctx context.Context, _ func(any)) any {
			s, err := m.src.Info(ctx, style)
			return infoValue{s, err, width}
		})
	}
	return m.refresh()
}

// press takes a key.
func (m *model) press(key string) []any {
	switch {
	case key == "ctrl+c":
		return []any{quit{interrupted: true}}
	case key == "ctrl+z":
		return []any{suspend{}}
	case m.typing:
		return m.typeKey(key)
	}
	if m.searchKey(key) {
		return nil
	}
	if m.overlay != nil {
		if !m.scrollKey(key) {
			m.overlay = nil
		}
		return nil
	}
	if msgs, ok := m.keyOfAnyView(key); ok {
		return msgs
	}
	if m.pane != nil {
		return m.pressInPane(key)
	}
	return m.keyOfView(key)
}

// searchKey takes a key of the search in a text, where one is shown.
func (m *model) searchKey(key string) (ok bool) {
	s := m.searched()
	switch {
	case s == nil:
		return false
	case key == "/":
		m.typing, s.from = true, s.at
	case key == "esc" && s.find != "":
		s.find = ""
	case (key == "n" || key == "N") && (s.find != "" || m.pane == nil):
		m.further(s, key == "N")
	default:
		return false
	}
	return true
}

// keyOfAnyView takes a key that does the same in every view, and beside a pane.
func (m *model) keyOfAnyView(key string) (msgs []any, ok bool) {
	switch key {
	case "?", "f1":
		m.overlay = &text{title: "Keys", lines: m.helpLines()}
		return nil, true
	case "y":
		command, err := m.command()
		if err != nil {
			m.status = err.Error()
			return nil, true
		}
		m.overlay = &text{title: "Copied to the clipboard, where the terminal allows it", lines: []string{"", command}}
		return []any{copyText(command)}, true
	case "tab":
		return m.show((m.view + 1) % view(len(viewNames))), true
	case "shift+tab":
		return m.show((m.view + view(len(viewNames)) - 1) % view(len(viewNames))), true
	case "1", "2", "3", "4", "5":
		return m.show(view(key[0] - '1')), true
	case "c":
		if m.two() && m.items != nil && !m.comparing {
			return m.load(true), true
		}
	}
	return nil, false
}

// keyOfView takes a key of the view itself.
func (m *model) keyOfView(key string) []any {
	switch key {
	case "q":
		return []any{quit{}}
	case "/":
		if m.listed() == nil {
			m.status = "there is nothing to look in yet"
			return nil
		}
		m.typing = true
		return nil
	case "n", "N":
		m.next(key == "N")
		return nil
	case "esc":
		if m.listed() == nil {
			return nil
		}
		return m.retype("")
	}
	if m.scrollKey(key) {
		return nil
	}
	if m.view == findingsView {
		if slices.Contains([]string{"enter", "right", "l"}, key) {
			m.explain()
		}
		return nil
	}
	if l := m.listed(); l != nil && l.len() > 0 {
		return m.keyOfList(l, key)
	}
	return nil
}

// keyOfList takes a key of a list that has rows.
func (m *model) keyOfList(l *listing, key string) []any {
	switch key {
	case "s":
		k := slices.Index(sorts, m.sort.by)
		m.sort = sorting{by: sorts[(k+1)%len(sorts)]}
		return m.refresh()
	case "r":
		m.sort.reverse = !m.sort.reverse
		return m.refresh()
	case "enter", "right", "l":
		return m.enter(key == "enter")
	case "left", "h", "backspace":
		m.leave()
	case "-":
		if l.root != nil {
			m.keep(l, func() { closeAll(l.root) })
		}
	}
	return nil
}

// closeAll closes everything that is open below a node.
func closeAll(n *node) {
	for _, kid := range n.kids {
		if kid.open {
			kid.open = false
			closeAll(kid)
		}
	}
}

// enter opens what the cursor is on. With toggle it closes what is open.
func (m *model) enter(toggle bool) []any {
	l := m.listed()
	if l.root == nil {
		return m.openPane(l)
	}
	n := l.rows[l.cursor].node
	if n.only() {
		return m.openPane(l)
	}
	switch {
	case n.open && toggle:
		m.keep(l, func() { n.open = false })
	case n.open:
		l.move(l.cursor+1, l.len(), m.listHeight())
	case n.kids == nil && n.tensors > quick:
		items, sort := l.key.items, m.sort
		return m.start(listingSlot, func(ctx context.Context, _ func(any)) any {
			kids := grow(ctx, items, n)
			sort.arrange(items, kids)
			return grownValue{n, kids}
		})
	default:
		m.keep(l, func() {
			if n.kids == nil {
				n.kids = grow(context.Background(), l.key.items, n)
				m.sort.arrange(l.key.items, n.kids)
			}
			n.open = true
		})
	}
	return nil
}

// leave closes the node that the cursor is on, or goes to the one that it is in.
func (m *model) leave() {
	l := m.listed()
	if l.root == nil {
		return
	}
	at := l.rows[l.cursor]
	if at.open {
		m.keep(l, func() { at.node.open = false })
		return
	}
	for k := l.cursor - 1; k >= 0; k-- {
		if l.rows[k].indent < at.indent {
			l.move(k, l.len(), m.listHeight())
			return
		}
	}
}

// typeKey takes a key while the filter is typed.
func (m *model) typeKey(key string) []any {
	now := string(m.filter)
	if s := m.searched(); s != nil {
		now = s.find
	}
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing = false
		return m.retype("")
	case "backspace", "ctrl+h":
		if now == "" {
			m.typing = false
			return nil
		}
		return m.retype(trimLast(now))
	case "ctrl+u":
		return m.retype("")
	case "ctrl+w", "alt+backspace":
		return m.retype(trimWord(now))
	case "space":
		return m.retype(now + " ")
	case "up", "down", "pgup", "pgdown", "ctrl+p", "ctrl+n", "home", "end":
		m.scrollKey(key)
	default:
		if r := []rune(key); len(r) == 1 {
			return m.retype(now + key)
		}
	}
	return nil
}

// retype changes the filter, or what is looked for in a text.
func (m *model) retype(to string) []any {
	if s := m.searched(); s != nil {
		s.find = to
		if !s.seek(s.from, 1) && !s.seek(0, 1) {
			s.show(s.from)
		}
		return nil
	}
	m.filter = filter(to)
	return m.refresh()
}

// next goes to the next tensor or difference, or to the one before.
func (m *model) next(back bool) {
	step := 1
	if back {
		step = -1
	}
	l := m.listed()
	if l == nil {
		return
	}
	for k := l.cursor + step; k >= 0 && k < l.len(); k += step {
		switch {
		case l.root != nil && !l.rows[k].leaf:
		case m.two() && m.filter == "" && !m.rowDiffers(l, k):
		default:
			l.move(k, l.len(), m.listHeight())
			return
		}
	}
	m.status = "no further match"
	if m.two() && m.filter == "" {
		m.status = "no further difference in what is open"
	}
}

func (m *model) rowDiffers(l *listing, k int) bool {
	if l.root != nil {
		return l.rows[k].differ > 0
	}
	i := l.at(k)
	return i.differs()
}

func (t *text) scrollTo(top, n, height int) { t.top = max(0, min(top, n-height)) }

// scrollKey takes a key that moves the cursor or the text, as in less and ncdu.
func (m *model) scrollKey(key string) bool {
	page := max(1, m.pageHeight()-1)
	switch key {
	case "down", "j", "ctrl+n", "ctrl+e":
		m.scrollBy(1)
	case "up", "k", "ctrl+p":
		m.scrollBy(-1)
	case "space", "f", "pgdown", "ctrl+f", "ctrl+v":
		m.scrollBy(page)
	case "b", "pgup", "ctrl+b", "alt+v":
		m.scrollBy(-page)
	case "d", "ctrl+d":
		m.scrollBy(max(1, page/2))
	case "u", "ctrl+u":
		m.scrollBy(-max(1, page/2))
	case "g", "home", "<":
		m.scrollBy(-1 << 30)
	case "G", "end", ">":
		m.scrollBy(1 << 30)
	default:
		return false
	}
	return true
}

// scrollBy moves by so many lines whatever is in front.
func (m *model) scrollBy(n int) {
	switch {
	case m.overlay != nil:
		m.overlay.scrollTo(m.overlay.top+n, len(m.overlay.laid(m.width)), m.overlayHeight())
	case m.pane != nil:
		m.pane.scrollTo(m.pane.top+n, m.paneHeight(), len(m.paneLines()))
	case m.view == findingsView:
		m.findings.move(m.findings.cursor+n, m.findings.len(), m.findingsHeight())
	case m.view == infoView:
		if m.info != nil {
			m.info.scrollTo(m.info.top+n, len(m.info.lines), m.textHeight())
		}
	default:
		l := m.listed()
		l.move(l.cursor+n, l.len(), m.listHeight())
	}
}

// click takes a click of the mouse: on the name of a view, on a row, or on the row of the
// cursor, which opens it.
func (m *model) click(x, y int) []any {
	switch {
	case m.overlay != nil:
		m.overlay = nil
		return nil
	case y == tabsLine:
		for v, span := range m.tabSpans() {
			if x >= span[0] && x < span[1] {
				return m.show(view(v))
			}
		}
		return nil
	case m.pane != nil && (!m.beside() || x > m.listWidth()):
		return nil
	}
	k := y - firstLine
	if k < 0 || k >= m.listHeight() {
		return nil
	}
	if m.view == findingsView {
		if k -= len(m.problemLines()); k < 0 {
			return nil
		}
		if k += m.findings.top; k < m.findings.len() {
			again := k == m.findings.cursor
			if m.findings.cursor = k; again {
				m.explain()
			}
		}
		return nil
	}
	l := m.listed()
	if l == nil || k+l.top >= l.len() {
		return nil
	}
	again := k+l.top == l.cursor
	l.cursor = k + l.top
	switch {
	case m.pane != nil:
		return m.follow()
	case again:
		return m.enter(true)
	}
	return nil
}

// explain shows a finding in full.
func (m *model) explain() {
	if m.findings.cursor >= m.findings.len() {
		return
	}
	f := &m.findings.result.Findings[m.findings.cursor]
	title := f.Rule + " " + f.Name
	m.overlay = &text{title: title, lines: m.findingLines(f)}
}

// counts says how many tensors there are, and how many are chosen.
func (m *model) counts() (chosen, all int) {
	all = m.items.Len()
	if l := m.listed(); l != nil && l.chosen != nil {
		return len(l.chosen.places), l.key.items.Len()
	}
	return all, all
}
