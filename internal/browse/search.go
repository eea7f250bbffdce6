package browse

import "strings"

// A search is what is looked for in lines, as / of less does.
type search struct {
	find string
	// from is the line that was the first when it was begun, and hit the one where it was
	// found last, -1 for none.
	from, hit int
}

// has reports whether a line has what is looked for.
func (s *search) has(line string) bool {
	return s.find != "" && strings.Contains(strings.ToLower(bare(line)), strings.ToLower(s.find))
}

// A searched is what / looks in.
type searched struct {
	*search
	lines []string
	// at and height are what is seen of them.
	at, height int
	// show shows a line.
	show func(k int)
}

// searched is what / looks in: what is in front, where that is lines of text. Elsewhere it
// filters tensors, and this is nil.
func (m *model) searched() *searched {
	switch {
	case m.overlay != nil:
		t := m.overlay
		lines := t.laid(m.width)
		return &searched{&t.search, lines, t.top, m.overlayHeight(), func(k int) { t.scrollTo(k, len(lines), m.overlayHeight()) }}
	case m.pane != nil:
		p := m.pane
		lines := m.paneLines()
		return &searched{&p.search, lines, p.top, m.paneHeight(), func(k int) { p.scrollTo(k, m.paneHeight(), len(lines)) }}
	case m.view == findingsView && m.findings.result != nil:
		f := &m.findings
		lines := make([]string, f.len())
		for k := range lines {
			lines[k] = m.findingLine(k)
		}
		return &searched{&f.search, lines, f.cursor, 1, func(k int) { f.move(k, f.len(), m.findingsHeight()) }}
	case m.view == infoView && m.info != nil:
		t := m.info
		return &searched{&t.search, t.lines, t.top, m.textHeight(), func(k int) { t.scrollTo(k, len(t.lines), m.textHeight()) }}
	}
	return nil
}

// seek goes to the first line, from one on, that has what is looked for.
func (s *searched) seek(from, step int) bool {
	s.hit = -1
	for k := from; k >= 0 && k < len(s.lines); k += step {
		if s.has(s.lines[k]) {
			s.hit = k
			s.show(k)
			return true
		}
	}
	return false
}

// further goes to the next line that has what is looked for, or to the one before: from
// where it was found last, if that is seen.
func (m *model) further(s *searched, back bool) {
	step, from, before := 1, s.at, s.hit
	if back {
		step = -1
	}
	if s.hit >= s.at && s.hit < s.at+s.height {
		from = s.hit + step
	} else if back {
		from--
	}
	switch {
	case s.find == "":
		m.status = "/ looks for a text"
	case !s.seek(from, step):
		s.hit = before
		m.status = "no further match"
	}
}
