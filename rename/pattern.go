package rename

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A holeKind says what text a hole of a pattern takes.
type holeKind uint8

const (
	// kindDigits is a whole run of the digits 0 to 9: {layer}. With a width, {layer:02}, it
	// is a number with zeros before it up to so many digits, and no more.
	kindDigits holeKind = iota
	// kindSegment is one or more characters other than a dot: {name:seg}.
	kindSegment
	// kindAnything is any text, also none: {name...}.
	kindAnything
)

func (k holeKind) String() string {
	return [...]string{"a number", "a segment", "anything"}[k]
}

// A hole is a named gap in a pattern.
type hole struct {
	Name  string
	Kind  holeKind
	Width int // of a number that is padded with zeros, 0 for none
}

// String writes the hole as a pattern does.
func (h hole) String() string {
	return "{" + h.Name + [...]string{"", ":seg", "..."}[h.Kind] + padding(h.Width) + "}"
}

// maxWidth bounds the digits that zeros fill up.
const maxWidth = 9

// padding writes the width of a number as Python's format does.
func padding(width int) string {
	if width == 0 {
		return ""
	}
	return fmt.Sprintf(":%02d", width)
}

// padded reports whether digits are how a number is written with zeros up to the width.
func padded(digits string, width int) bool {
	return width == 0 || len(digits) == width || len(digits) > width && digits[0] != '0'
}

// what says in words what the hole takes.
func (h hole) what() string {
	if h.Width > 0 {
		return fmt.Sprintf("a number of at least %d digits", h.Width)
	}
	return h.Kind.String()
}

// A Pattern is the left side of a rule: literal text with holes. It matches
// whole names only.
//
// Holes take the shortest text that lets the rest match, the leftmost hole
// first, except that a hole of digits always takes a whole run of them: in
// "h.{n}.w" against "h.11.w" it is 11 and never 1. A hole that stands twice
// must take the same text both times.
type Pattern struct {
	source string
	pieces []piece
	holes  []hole

	literal bool   // has no holes
	form    string // the template of every name that matches; "" when holes other than digits are there
	repeats bool   // a hole stands twice
	prefix  string // literal text before the first hole
	suffix  string // literal text after the last hole

	// The ends of the pieces before head and from tail on are certain, read
	// from the left and from the right: they are text and numbers.
	head, tail int
	free       bool // all holes take anything, and none stands twice
}

// A piece is literal text, or a hole when text is empty.
type piece struct {
	text  string
	hole  int
	kind  holeKind
	width int  // of a padded number
	again bool // an earlier piece is the same hole
}

// A syntaxError is a fault in a pattern or a target.
type syntaxError struct {
	Source string
	Offset int // in bytes
	Msg    string
	Hint   string // what to write instead, or ""
}

func (e *syntaxError) Error() string {
	s := fmt.Sprintf("%q: character %d: %s", e.Source, e.Offset+1, e.Msg)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// compile reads a pattern. Its error is a *syntaxError.
func compile(source string) (*Pattern, error) {
	tokens, err := tokenize(source)
	if err != nil {
		return nil, err
	}
	fault := func(tok token, hint, format string, args ...any) error {
		return &syntaxError{source, tok.offset, fmt.Sprintf(format, args...), hint}
	}
	if len(tokens) == 0 {
		return nil, &syntaxError{source, 0, "the pattern is empty", "write a tensor name"}
	}
	p := &Pattern{source: source, literal: true}
	for i, tok := range tokens {
		if !tok.isHole {
			p.pieces = append(p.pieces, piece{text: tok.text})
			continue
		}
		p.literal = false
		if tok.shift != 0 {
			return nil, fault(tok, "shift it on the right side", "a pattern cannot shift {%s}", tok.text)
		}
		at := slices.IndexFunc(p.holes, func(h hole) bool { return h.Name == tok.text })
		again := at >= 0
		switch {
		case !again:
			at = len(p.holes)
			p.holes = append(p.holes, hole{tok.text, tok.kind, tok.width})
		case tok.typed && tok.kind != p.holes[at].Kind || tok.width != p.holes[at].Width:
			return nil, fault(tok, "write "+p.holes[at].String()+" again, or give the second hole another name",
				"{%s} is %s here and %s before", tok.text, hole{"", tok.kind, tok.width}.what(), p.holes[at].what())
		default:
			p.repeats = true
		}
		kind := p.holes[at].Kind
		if i > 0 {
			switch before := tokens[i-1]; {
			case before.isHole && p.pieces[i-1].kind == kind:
				return nil, fault(tok, "put text between them, or make them one",
					"two holes for %v stand side by side, and no name says where one ends", kind)
			case !before.isHole && kind == kindDigits && isDigit(before.text[len(before.text)-1]):
				return nil, fault(tok, "a hole takes the whole number: leave the digit out, or write the numbers one by one",
					"a digit stands right before {%s}", tok.text)
			}
		}
		if i+1 < len(tokens) && kind == kindDigits && !tokens[i+1].isHole && isDigit(tokens[i+1].text[0]) {
			return nil, fault(tokens[i+1], "a hole takes the whole number: leave the digit out, or write the numbers one by one",
				"a digit stands right after {%s}", tok.text)
		}
		p.pieces = append(p.pieces, piece{hole: at, kind: kind, width: tok.width, again: again})
	}
	p.prepare()
	return p, nil
}

// mustCompile is compile for patterns known to be right. It panics on others.
func mustCompile(source string) *Pattern {
	p, err := compile(source)
	if err != nil {
		panic(err)
	}
	return p
}

// hole returns the hole of a name, which the pattern has.
func (p *Pattern) hole(name string) hole {
	return p.holes[slices.IndexFunc(p.holes, func(h hole) bool { return h.Name == name })]
}

// exactly returns the pattern that matches name and nothing else, which must
// not be empty.
func exactly(name string) *Pattern {
	p := &Pattern{source: Escape(name), literal: true, pieces: []piece{{text: name}}}
	p.prepare()
	return p
}

// prepare finds out what makes matching cheap. Names need none of it.
func (p *Pattern) prepare() {
	if p.literal {
		return
	}
	if first := p.pieces[0]; first.text != "" {
		p.prefix = first.text
	}
	if last := p.pieces[len(p.pieces)-1]; last.text != "" {
		p.suffix = last.text
	}
	certain := func(pc piece) bool { return pc.text != "" || pc.kind == kindDigits }
	for p.head < len(p.pieces) && certain(p.pieces[p.head]) {
		p.head++
	}
	for p.tail = len(p.pieces); p.tail > p.head && certain(p.pieces[p.tail-1]); {
		p.tail--
	}
	p.free = !p.repeats && !slices.ContainsFunc(p.holes, func(h hole) bool { return h.Kind != kindAnything })
	var shape []byte
	for _, pc := range p.pieces {
		switch {
		case pc.text != "":
			shape = append(shape, pc.text...)
		case pc.kind == kindDigits:
			shape = append(shape, '0')
		default:
			return
		}
	}
	p.form = template.Runs.Of(string(shape))
}

// String returns the pattern as it was written.
func (p *Pattern) String() string { return p.source }

// maxSearched bounds the memory of a search. No name that a loader has to look
// up comes near it.
const maxSearched = 1 << 16

// A matcher is the memory of a match, to be used again for the next.
type matcher struct {
	holes  []string // of the last match
	gaveUp bool     // the last match ran out of steps

	tails []bool // tails[i*(len(name)+1)+at]: pieces[i:] match name[at:], equal holes aside
	steps int
}

// match reports whether the whole name matches, and leaves the text of each hole
// in holes, in the order in which they first appear.
//
// It takes time in proportion to the length of the name. Patterns with a hole
// that stands twice beside holes for segments or anything could take longer:
// they are given a number of steps in proportion to the length, after which the
// name counts as not matched, as does one of more than 64 KiB where there are
// such holes. A Plan reports names given up on and refuses.
func (m *matcher) match(p *Pattern, name string) bool {
	m.gaveUp = false
	if p.literal {
		m.holes = m.holes[:0]
		return name == p.pieces[0].text
	}
	if len(name) < len(p.prefix)+len(p.suffix) ||
		!strings.HasPrefix(name, p.prefix) || !strings.HasSuffix(name, p.suffix) {
		return false
	}
	m.holes = slices.Grow(m.holes[:0], len(p.holes))[:len(p.holes)]
	switch {
	case p.form != "":
		end, ok := m.matchHead(p, name)
		return ok && end == len(name)
	case p.free:
		return m.matchFree(p, name)
	case p.tail == p.head+1 && p.pieces[p.head].kind == kindAnything && !p.repeats:
		start, ok := m.matchHead(p, name)
		if !ok {
			return false
		}
		end, ok := m.matchTail(p, name, start)
		if ok {
			m.holes[p.pieces[p.head].hole] = name[start:end]
		}
		return ok
	case !p.mayMatch(name):
		return false
	}
	if len(name) > maxSearched {
		m.gaveUp = true
		return false
	}
	m.steps = math.MaxInt
	if p.repeats {
		m.steps = 256 * (len(name) + 16)
	}
	m.fillTails(p, name)
	return m.tails[0] && m.search(p, name, 0, 0)
}

// matchHead places the pieces before head, and returns where they end.
func (m *matcher) matchHead(p *Pattern, name string) (end int, ok bool) {
	at := 0
	for _, pc := range p.pieces[:p.head] {
		start := at
		if pc.text != "" {
			if !strings.HasPrefix(name[at:], pc.text) {
				return 0, false
			}
			at += len(pc.text)
			continue
		}
		at = digitsEnd(name, at)
		if at == start || pc.again && m.holes[pc.hole] != name[start:at] || !padded(name[start:at], pc.width) {
			return 0, false
		}
		m.holes[pc.hole] = name[start:at]
	}
	return at, true
}

// matchTail places the pieces from tail on in name[from:], and returns where
// they start.
func (m *matcher) matchTail(p *Pattern, name string, from int) (start int, ok bool) {
	at := len(name)
	for i := len(p.pieces) - 1; i >= p.tail; i-- {
		pc, end := p.pieces[i], at
		if pc.text != "" {
			if !strings.HasSuffix(name[from:at], pc.text) {
				return 0, false
			}
			at -= len(pc.text)
			continue
		}
		for at > 0 && isDigit(name[at-1]) {
			at--
		}
		if at == end || at < from || !padded(name[at:end], pc.width) {
			return 0, false
		}
		m.holes[pc.hole] = name[at:end]
	}
	return at, true
}

// matchFree matches a pattern of text and holes for anything, where the first
// place for each text leaves the most to the rest.
func (m *matcher) matchFree(p *Pattern, name string) bool {
	at, end := len(p.prefix), len(name)-len(p.suffix)
	for i := p.head; i < p.tail; i += 2 {
		hole, next := p.pieces[i].hole, end-at
		if i+1 < p.tail {
			if next = strings.Index(name[at:end], p.pieces[i+1].text); next < 0 {
				return false
			}
		}
		m.holes[hole] = name[at : at+next]
		if i+1 < p.tail {
			at += next + len(p.pieces[i+1].text)
		}
	}
	return true
}

// mayMatch reports whether the pattern's text is in the name, in its order.
func (p *Pattern) mayMatch(name string) bool {
	for _, pc := range p.pieces {
		if pc.text == "" {
			continue
		}
		at := strings.Index(name, pc.text)
		if at < 0 {
			return false
		}
		name = name[at+len(pc.text):]
	}
	return true
}

// fillTails finds out, from the right, which tails of the name each tail of the
// pattern matches, taking no notice of holes that must be equal.
func (m *matcher) fillTails(p *Pattern, name string) {
	n, width := len(name), len(name)+1
	size := (len(p.pieces) + 1) * width
	m.tails = slices.Grow(m.tails[:0], size)[:size]
	next := m.tails[size-width:]
	clear(next)
	next[n] = true
	for i := len(p.pieces) - 1; i >= 0; i-- {
		pc := p.pieces[i]
		this := m.tails[i*width : (i+1)*width]
		runEnd := n // of the digits that hold the character at at
		for at := n; at >= 0; at-- {
			if at == n || !isDigit(name[at]) {
				runEnd = at
			}
			switch {
			case pc.text != "":
				this[at] = strings.HasPrefix(name[at:], pc.text) && next[at+len(pc.text)]
			case pc.kind == kindDigits:
				this[at] = runEnd > at && (at == 0 || !isDigit(name[at-1])) && next[runEnd] && padded(name[at:runEnd], pc.width)
			case pc.kind == kindSegment:
				this[at] = false
				if at < n && name[at] != '.' {
					end := at + characterSize(name, at)
					this[at] = next[end] || this[end]
				}
			default:
				this[at] = next[at] || at < n && this[at+1]
			}
		}
		next = this
	}
}

// search places pieces[i:] at name[at:], where fillTails found them to match.
// Without equal holes the first try of each is the right one.
func (m *matcher) search(p *Pattern, name string, i, at int) bool {
	width := len(name) + 1
	for ; i < len(p.pieces); i++ {
		pc := p.pieces[i]
		next := m.tails[(i+1)*width:]
		switch {
		case pc.text != "":
			at += len(pc.text)
		case pc.kind == kindDigits:
			end := digitsEnd(name, at)
			if pc.again && m.holes[pc.hole] != name[at:end] {
				return false
			}
			m.holes[pc.hole] = name[at:end]
			at = end
		case pc.again:
			if !strings.HasPrefix(name[at:], m.holes[pc.hole]) {
				return false
			}
			at += len(m.holes[pc.hole])
		default:
			end, step := at, 1
			if pc.kind == kindSegment {
				end += characterSize(name, at)
			}
			for ; end <= len(name); end += step {
				if pc.kind == kindSegment {
					step = characterSize(name, end)
				}
				if pc.kind == kindSegment && name[end-1] == '.' {
					return false
				}
				if m.steps--; m.steps < 0 {
					m.gaveUp = true
					return false
				}
				if !next[end] {
					continue
				}
				m.holes[pc.hole] = name[at:end]
				if !p.repeats {
					break
				}
				if m.search(p, name, i+1, end) {
					return true
				}
				if m.gaveUp {
					return false
				}
			}
			if p.repeats {
				return false
			}
			at = end
			continue
		}
		if !next[at] {
			return false
		}
	}
	return true
}

// characterSize is the bytes of the character at name[at:], 1 for what is none:
// a segment that ended inside of one would make new names that are not UTF-8.
func characterSize(name string, at int) int {
	_, n := utf8.DecodeRuneInString(name[at:])
	return max(n, 1)
}

// A Target is the right side of a rule: literal text and the holes of its
// pattern, which stand for the text they took. {layer+1} and {layer-1} shift a
// number, and {layer:02} writes it with zeros before it. Then, as where the pattern has
// {layer:02} and the target {layer}, it is the number that counts: one that a plain hole took
// with leading zeros is refused.
type Target struct {
	source string
	pieces []targetPiece
}

// A targetPiece is literal text, or a hole when text is empty.
type targetPiece struct {
	text  string
	hole  int // of the pattern
	shift int64
	// width is that of the number that is written, and took that of the one that the pattern
	// has.
	width, took int
}

// copies reports whether a hole is written as it was read.
func (pc *targetPiece) copies() bool { return pc.shift == 0 && pc.width == pc.took }

// compileTarget reads the right side of a rule whose left side is p. Its
// error is a *syntaxError.
func compileTarget(source string, p *Pattern) (*Target, error) {
	return compileTargetOver(source, p, "")
}

// compileTargetOver reads a right side that may have one more hole, of numbers,
// than its pattern. Its text stands behind that of the pattern's holes.
func compileTargetOver(source string, p *Pattern, over string) (*Target, error) {
	tokens, err := tokenize(source)
	if err != nil {
		return nil, err
	}
	if len(tokens) == 0 {
		return nil, &syntaxError{source, 0, "the new name is empty", "write a tensor name, or drop the tensor with a reason"}
	}
	t := &Target{source: source}
	for _, tok := range tokens {
		if !tok.isHole {
			t.pieces = append(t.pieces, targetPiece{text: tok.text})
			continue
		}
		at := slices.IndexFunc(p.holes, func(h hole) bool { return h.Name == tok.text })
		if at < 0 && tok.text == over && over != "" {
			t.pieces = append(t.pieces, targetPiece{hole: len(p.holes), shift: tok.shift, width: tok.width})
			continue
		}
		if at < 0 {
			return nil, &syntaxError{
				source, tok.offset,
				fmt.Sprintf("the left side has no hole {%s}", tok.text), holeHint(tok.text, p.holes),
			}
		}
		if (tok.shift != 0 || tok.width != 0) && p.holes[at].Kind != kindDigits {
			does := "padded"
			if tok.shift != 0 {
				does = "shifted"
			}
			return nil, &syntaxError{
				source, tok.offset,
				fmt.Sprintf("{%s} is %v, and only a number can be %s", tok.text, p.holes[at].Kind, does), "",
			}
		}
		t.pieces = append(t.pieces, targetPiece{hole: at, shift: tok.shift, width: tok.width, took: p.holes[at].Width})
	}
	return t, nil
}

func holeHint(name string, holes []hole) string {
	var names []string
	for _, h := range holes {
		names = append(names, h.Name)
	}
	if len(names) == 0 {
		return "it has none; write {{ and }} for literal braces"
	}
	if near := template.Near(name, names); len(near) > 0 {
		return "did you mean {" + strings.Join(near, "} or {") + "}?"
	}
	return "it has {" + strings.Join(names, "}, {") + "}"
}

// uses reports whether a hole stands in the target.
func (t *Target) uses(hole int) bool {
	return slices.ContainsFunc(t.pieces, func(pc targetPiece) bool { return pc.text == "" && pc.hole == hole })
}

// exactTarget returns the target that always makes name.
func exactTarget(name string) *Target {
	t := &Target{source: Escape(name)}
	if name != "" {
		t.pieces = []targetPiece{{text: name}}
	}
	return t
}

// String returns the target as it was written.
func (t *Target) String() string { return t.source }

// expand returns the name that the target makes of what the holes of its
// pattern took. It fails where a number cannot be shifted.
func (t *Target) expand(holes []string) (string, error) {
	b, err := t.appendName(nil, holes)
	return string(b), err
}

func (t *Target) appendName(b []byte, holes []string) ([]byte, error) {
	for _, pc := range t.pieces {
		switch {
		case pc.text != "":
			b = append(b, pc.text...)
		case pc.copies():
			b = append(b, holes[pc.hole]...)
		default:
			digits := holes[pc.hole]
			fault := func(why string) error {
				if pc.shift == 0 {
					return fmt.Errorf("%q cannot be written with other zeros: %s", digits, why)
				}
				return fmt.Errorf("%q cannot be shifted by %+d: %s", digits, pc.shift, why)
			}
			if len(digits) > 1 && digits[0] == '0' && pc.took == 0 {
				return b, fault(fmt.Sprintf("it has leading zeros; a hole with %s on the left side takes them", padding(len(digits))))
			}
			v, err := strconv.ParseInt(digits, 10, 64)
			switch {
			case err != nil || v > math.MaxInt64-maxShift:
				return b, fault("it is too large")
			case v+pc.shift < 0:
				return b, fault("it would be less than 0")
			}
			b = fmt.Appendf(b, "%0*d", pc.width, v+pc.shift)
		}
	}
	return b, nil
}

// maxShift keeps sums of two shifts, as Compose makes them, far from overflow.
const maxShift = 1_000_000_000

// A token is a stretch of literal text, or a hole.
type token struct {
	offset int    // in the source
	text   string // the literal text, or the name of the hole
	isHole bool
	kind   holeKind
	typed  bool // the kind was written, not assumed
	shift  int64
	width  int // of a number that is padded with zeros
}

// tokenize reads what patterns and targets have in common.
func tokenize(source string) ([]token, error) {
	const literalBraces = "write {{ and }} for literal braces"
	fault := func(offset int, hint, format string, args ...any) error {
		return &syntaxError{source, offset, fmt.Sprintf(format, args...), hint}
	}
	var tokens []token
	var text []byte
	textAt := 0
	flush := func() {
		if len(text) > 0 {
			tokens = append(tokens, token{offset: textAt, text: string(text)})
			text = text[:0]
		}
	}
	for i := 0; i < len(source); {
		c := source[i]
		if c != '{' && c != '}' || strings.HasPrefix(source[i+1:], source[i:i+1]) {
			if len(text) == 0 {
				textAt = i
			}
			text = append(text, c)
			i++
			if c == '{' || c == '}' {
				i++
			}
			continue
		}
		if c == '}' {
			return nil, fault(i, literalBraces, "a } without its {")
		}
		flush()
		n := strings.IndexAny(source[i+1:], "{}")
		if n < 0 || source[i+1+n] == '{' {
			return nil, fault(i, literalBraces, "a { without its }")
		}
		inside := source[i+1 : i+1+n]
		tok := token{offset: i, isHole: true}
		name := 0
		for name < len(inside) && (isLetter(inside[name]) || name > 0 && isDigit(inside[name])) {
			name++
		}
		tok.text = inside[:name]
		suffix, width, isPadded := strings.Cut(inside[name:], ":")
		if isPadded && width == "seg" && suffix == "" {
			tok.kind, tok.typed, isPadded = kindSegment, true, false
		}
		const forms = "the forms are {layer} for a number, {layer:02} for one with zeros before it, {name:seg} for a segment, {name...} for anything"
		switch {
		case inside == "":
			return nil, fault(i, "write {layer} for a number, {name:seg} for a segment, {name...} for anything", "the hole has no name")
		case name == 0:
			return nil, fault(i, "a hole stands for any number: write {layer}; for a choice write one rule each", "{%s} is not the name of a hole", inside)
		case suffix == "":
		case suffix == "..." && !isPadded:
			tok.kind, tok.typed = kindAnything, true
		case suffix[0] == '+' || suffix[0] == '-':
			v, err := strconv.ParseInt(suffix[1:], 10, 64)
			if err != nil || v <= 0 || v > maxShift || !isDigit(suffix[1]) {
				return nil, fault(i, "write {"+tok.text+"+1} or {"+tok.text+"-1}", "%q is not a shift", suffix)
			}
			if suffix[0] == '-' {
				v = -v
			}
			tok.shift = v
		default:
			return nil, fault(i, forms, "{%s} is not a hole", inside)
		}
		if isPadded {
			if len(width) != 2 || width[0] != '0' || width[1] < '2' || width[1] > '0'+maxWidth {
				hint := forms
				if width != "" && isDigit(width[0]) {
					hint = "write {" + tok.text + ":02} for numbers with zeros before them up to 2 digits, and so on to :09"
				}
				return nil, fault(i, hint, "{%s} is not a hole", inside)
			}
			tok.width, tok.typed = int(width[1]-'0'), true
		}
		tokens = append(tokens, tok)
		i += n + 2
	}
	flush()
	return tokens, nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// digitsEnd returns the end of the run of digits that begins at s[i].
func digitsEnd(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

var braces = strings.NewReplacer("{", "{{", "}", "}}")

// Escape writes a name, or a part of one, as a pattern that matches it.
func Escape(name string) string {
	if !strings.ContainsAny(name, "{}") {
		return name
	}
	return braces.Replace(name)
}

// A patternIndex finds which of many patterns match a name. Patterns whose holes
// are all numbers are found by the name's template, at a cost that does not grow
// with their number; the others are tried one by one.
type patternIndex struct {
	patterns []*Pattern
	exact    map[string][]int32 // literal patterns by their name
	forms    map[string][]int32 // patterns of numbers by their form
	others   []int32
}

// newIndex returns an index of the patterns, which it keeps.
func newIndex(patterns []*Pattern) *patternIndex {
	x := &patternIndex{patterns: patterns, exact: make(map[string][]int32), forms: make(map[string][]int32)}
	for i, p := range patterns {
		switch i := int32(i); {
		case p.literal:
			x.exact[p.pieces[0].text] = append(x.exact[p.pieces[0].text], i)
		case p.form != "":
			x.forms[p.form] = append(x.forms[p.form], i)
		default:
			x.others = append(x.others, i)
		}
	}
	return x
}

// A searcher is an index with the memory of a search.
type searcher struct {
	index   *patternIndex
	matcher matcher
	form    []byte
	gaveUp  int // a pattern that ran out of steps in the last search, or -1
}

// each yields the patterns that match the name, by their place in the slice given
// to newIndex, in ascending order, with the text of their holes. The slice is
// good until the next.
func (s *searcher) each(name string, yield func(int, []string) bool) {
	s.gaveUp = -1
	exact := s.index.exact[name]
	var forms []int32
	if len(s.index.forms) > 0 {
		s.form = template.Runs.Append(s.form[:0], name)
		forms = s.index.forms[string(s.form)]
	}
	others := s.index.others
	for {
		list := &exact
		if len(forms) > 0 && (len(*list) == 0 || forms[0] < (*list)[0]) {
			list = &forms
		}
		if len(others) > 0 && (len(*list) == 0 || others[0] < (*list)[0]) {
			list = &others
		}
		if len(*list) == 0 {
			return
		}
		i := int((*list)[0])
		*list = (*list)[1:]
		if s.matcher.match(s.index.patterns[i], name) {
			if !yield(i, s.matcher.holes) {
				return
			}
		} else if s.matcher.gaveUp && s.gaveUp < 0 {
			s.gaveUp = i
		}
	}
}
