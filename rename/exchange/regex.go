package exchange

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/rename"
)

// Bounds on a pattern. No expression is ever run: it is read, and taken apart into
// alternatives.
const (
	maxPattern      = 1024 // bytes, and of the new text
	maxNesting      = 24   // of parentheses
	maxAlternatives = 128  // of one pattern
)

// An atom is a piece of one alternative of an expression.
type atom struct {
	kind  atomKind
	text  string
	group int // of groupOpens and groupEnds
	// not has the alternatives of a lookahead that must not follow.
	not [][]atom
}

type atomKind uint8

const (
	atomText    atomKind = iota
	atomDigits           // one or more digits
	atomSegment          // one or more characters without a dot
	atomAny              // any text
	atomSome             // any text, but not none
	atomNot              // a lookahead
	atomStart            // ^
	atomEnd              // $
	groupOpens
	groupEnds
)

// An expressionReader takes a regular expression of Python apart into the sequences of
// atoms that it stands for, in the order in which Python tries them.
type expressionReader struct {
	text       string
	at         int
	depth      int
	groups     int
	names      map[string]int
	literalDot bool
}

func (r *expressionReader) fault(format string, args ...any) error {
	return fmt.Errorf("character %d: %s", r.at+1, fmt.Sprintf(format, args...))
}

// read returns the sequences of the whole expression.
func (r *expressionReader) read() ([][]atom, error) {
	if len(r.text) > maxPattern {
		return nil, fmt.Errorf("the pattern has %d bytes, more than %d", len(r.text), maxPattern)
	}
	all, err := r.alternatives()
	if err == nil && r.at < len(r.text) {
		err = r.fault("a ) without its (")
	}
	return all, err
}

func (r *expressionReader) peek(s string) bool { return strings.HasPrefix(r.text[r.at:], s) }

func (r *expressionReader) skip(s string) bool {
	if !r.peek(s) {
		return false
	}
	r.at += len(s)
	return true
}

var errAlternatives = fmt.Errorf("it stands for more than %d alternatives", maxAlternatives)

// alternatives reads what is between | up to a ) or the end.
func (r *expressionReader) alternatives() ([][]atom, error) {
	var all [][]atom
	for {
		one, err := r.sequence()
		if err != nil {
			return nil, err
		}
		if all = append(all, one...); len(all) > maxAlternatives {
			return nil, errAlternatives
		}
		if !r.skip("|") {
			return all, nil
		}
	}
}

func (r *expressionReader) sequence() ([][]atom, error) {
	all := [][]atom{nil}
	for r.at < len(r.text) && !r.peek("|") && !r.peek(")") {
		next, err := r.item()
		if err != nil {
			return nil, err
		}
		if all, err = product(all, next); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// product puts each of the alternatives behind each sequence.
func product(all, next [][]atom) ([][]atom, error) {
	if len(all)*len(next) > maxAlternatives {
		return nil, errAlternatives
	}
	if len(next) == 1 && len(all) == 1 { // text grows in place
		return [][]atom{join(all[0], next[0])}, nil
	}
	var out [][]atom
	for _, a := range all {
		for _, b := range next {
			out = append(out, join(slices.Clone(a), b))
		}
	}
	return out, nil
}

// join puts atoms behind others, text to text.
func join(a, b []atom) []atom {
	for _, x := range b {
		if n := len(a); n > 0 && x.kind == atomText && a[n-1].kind == atomText {
			a[n-1].text += x.text
			continue
		}
		a = append(a, x)
	}
	return a
}

// item reads a character, a class or a group, with what says how often it comes.
func (r *expressionReader) item() ([][]atom, error) {
	start := r.at
	one := func(a atom) [][]atom { return [][]atom{{a}} }
	var what [][]atom
	switch {
	case r.skip("^"), r.skip(`\A`):
		return one(atom{kind: atomStart}), nil
	case r.skip("$"), r.skip(`\Z`):
		return one(atom{kind: atomEnd}), nil
	case r.peek("("):
		group, err := r.group()
		if err != nil {
			return nil, err
		}
		if what = group; len(what) == 1 && len(what[0]) == 1 && what[0][0].kind == atomNot {
			return what, nil
		}
	case r.skip(`\d`), r.skip("[0-9]"):
		return r.whole(start, atomDigits, `a number of digits; only \d+ is a whole number, as a hole takes it`)
	case r.skip("[^.]"), r.skip(`[^\.]`):
		return r.whole(start, atomSegment, "only [^.]+ is a segment, as a hole takes it")
	case r.peek("["):
		class, err := r.class()
		if err != nil {
			return nil, err
		}
		what = class
	case r.skip("."):
		switch {
		case r.skip("*"):
			what = one(atom{kind: atomAny})
		case r.skip("+"):
			what = one(atom{kind: atomSome})
		case r.literalDot:
			what = one(atom{text: "."})
		default:
			r.at = start
			return nil, r.fault(`a . matches any character; write \. for a dot, or read all of them as dots with --literal-dots`)
		}
		if what[0][0].kind != atomText {
			if r.more() {
				return nil, r.fault("it takes as little as it can, and a hole is tried in another way")
			}
			return what, nil
		}
	case r.skip(`\`):
		if r.at == len(r.text) {
			return nil, r.fault(`a \ at the end`)
		}
		c := r.text[r.at]
		if 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' {
			r.at = start
			return nil, r.fault(`\%c has no counterpart in a map`, c)
		}
		r.at++
		what = one(atom{text: string(c)})
	case strings.IndexByte("*+?{}", r.text[r.at]) >= 0:
		return nil, r.fault("a %c, which has no counterpart in a map here", r.text[r.at])
	default:
		_, size := utf8.DecodeRuneInString(r.text[r.at:])
		what = one(atom{text: r.text[r.at : r.at+size]})
		r.at += size
	}
	if r.skip("?") {
		if r.more() {
			return nil, r.fault("only a plain ? is read")
		}
		// Python tries it with before it tries it without.
		return append(what, nil), nil
	}
	if r.more() {
		return nil, r.fault("a repetition has no counterpart in a map")
	}
	return what, nil
}

// whole reads the + behind what a hole takes one or more of.
func (r *expressionReader) whole(start int, kind atomKind, need string) ([][]atom, error) {
	if !r.skip("+") || r.more() {
		r.at = start
		return nil, r.fault("%s", need)
	}
	return [][]atom{{{kind: kind}}}, nil
}

// more reports whether a sign of repetition follows.
func (r *expressionReader) more() bool {
	return r.at < len(r.text) && strings.IndexByte("*+?{", r.text[r.at]) >= 0
}

// class reads [abc], each character an alternative.
func (r *expressionReader) class() ([][]atom, error) {
	start := r.at
	r.at++
	var all [][]atom
	for r.at < len(r.text) && r.text[r.at] != ']' {
		c := r.text[r.at]
		if c == '\\' && r.at+1 < len(r.text) {
			r.at++
			if c = r.text[r.at]; 'a' <= c|0x20 && c|0x20 <= 'z' {
				return nil, r.fault(`\%c in a class has no counterpart in a map`, c)
			}
		} else if c == '^' && r.at == start+1 || c == '-' && r.at > start+1 && r.at+1 < len(r.text) && r.text[r.at+1] != ']' || c >= 0x80 {
			r.at = start
			return nil, r.fault("of classes of characters only lists such as [123] and [^.]+ are read")
		}
		r.at++
		all = append(all, []atom{{text: string(c)}})
	}
	if !r.skip("]") || len(all) == 0 || len(all) > maxAlternatives {
		r.at = start
		return nil, r.fault("a class of characters without its end")
	}
	return all, nil
}

func (r *expressionReader) group() ([][]atom, error) {
	start := r.at
	if r.depth++; r.depth > maxNesting {
		return nil, r.fault("more than %d parentheses in each other", maxNesting)
	}
	defer func() { r.depth-- }()
	r.at++
	number, not := 0, false
	switch {
	case r.skip("?:"):
	case r.skip("?!"):
		not = true
	case r.skip("?<!"), r.skip("?<="):
		r.at = start
		return nil, r.fault("a map has nothing that looks at what precedes; anchor the pattern with ^ instead")
	case r.skip("?P<"):
		end := strings.IndexByte(r.text[r.at:], '>')
		if end < 0 {
			r.at = start
			return nil, r.fault("a group without the end of its name")
		}
		r.groups++
		number = r.groups
		r.names[r.text[r.at:r.at+end]] = number
		r.at += end + 1
	case r.peek("?"):
		r.at = start
		return nil, r.fault("a kind of group that has no counterpart in a map")
	default:
		r.groups++
		number = r.groups
	}
	all, err := r.alternatives()
	if err != nil {
		return nil, err
	}
	if !r.skip(")") {
		r.at = start
		return nil, r.fault("a ( without its )")
	}
	switch {
	case not:
		return [][]atom{{{kind: atomNot, not: all}}}, nil
	case number > 0:
		for i := range all {
			all[i] = append(append([]atom{{kind: groupOpens, group: number}}, all[i]...), atom{kind: groupEnds, group: number})
		}
	}
	return all, nil
}

// A substitution is a regular expression and what takes the place of what it matches.
type substitution struct {
	pattern, text string
	drop          bool
	literalDot    bool
}

// rules returns the rules that do what the substitution does to every name: it replaces
// the text that the pattern matches first, once.
func (s substitution) rules() ([]rename.Rule, error) {
	r := expressionReader{text: s.pattern, names: make(map[string]int), literalDot: s.literalDot}
	sequences, err := r.read()
	if err != nil {
		return nil, err
	}
	target, err := s.target(&r)
	if err != nil {
		return nil, err
	}
	var rules []rename.Rule
	var mains []*rename.Pattern
	anchored, shields := true, false
	for _, sequence := range sequences {
		a := alternative{target: target, drop: s.drop}
		more, err := a.rules(sequence)
		if err != nil {
			return nil, err
		}
		rules = append(rules, more...)
		mains = append(mains, more[len(more)-1].From[0])
		anchored, shields = anchored && a.start, shields || len(more) > 1
	}
	if len(sequences) > 1 {
		// Where the place is not fixed, Python takes the first place at which any of the
		// alternatives matches, and rules the first that matches anywhere.
		for i := range mains {
			for j := range i {
				if !anchored && !mains[i].Apart(mains[j]) {
					return nil, errors.New("its alternatives may match at several places of a name, and a map does not look for the first; anchor it with ^, or write an entry for each")
				}
			}
		}
		if shields {
			return nil, errors.New("alternatives beside a lookahead or a .+ have no counterpart in a map; write an entry for each")
		}
	}
	return rules, nil
}

// A piece of a target is text, or a group.
type piece struct {
	text  string
	group int
}

// target reads what takes the place of a match. As transformers does, it leaves out a ^
// at the beginning and a $ at the end, which only serve the way back.
func (s substitution) target(r *expressionReader) ([]piece, error) {
	if len(s.text) > maxPattern {
		return nil, fmt.Errorf("the new text has %d bytes, more than %d", len(s.text), maxPattern)
	}
	text := strings.TrimSuffix(strings.TrimPrefix(s.text, "^"), "$")
	var pieces []piece
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c != '\\' {
			if c == '(' || c == ')' {
				return nil, errors.New("parentheses in the new text, which only serve the way back; take them out")
			}
			pieces = append(pieces, piece{text: text[i : i+1]})
			continue
		}
		if i++; i == len(text) {
			return nil, errors.New(`the new text ends in a \`)
		}
		group := -1
		switch c := text[i]; {
		case '1' <= c && c <= '9':
			end := i + 1
			for end < len(text) && end < i+2 && '0' <= text[end] && text[end] <= '9' {
				end++
			}
			group, _ = strconv.Atoi(text[i:end])
			i = end - 1
		case strings.HasPrefix(text[i:], "g<") && strings.Contains(text[i:], ">"):
			end := i + strings.IndexByte(text[i:], '>')
			name := text[i+2 : end]
			var ok bool
			if group, ok = r.names[name]; !ok {
				var err error
				if group, err = strconv.Atoi(name); err != nil {
					return nil, fmt.Errorf("the new text has a group %q, and the pattern has none", name)
				}
			}
			i = end
		case c == '.' || c == '-' || c == '\\' || c == '_':
			pieces = append(pieces, piece{text: string(c)})
			continue
		default:
			return nil, fmt.Errorf(`\%c in the new text has no counterpart in a map`, c)
		}
		if group < 1 || group > r.groups {
			return nil, fmt.Errorf(`the new text has the group %d, and the pattern has %d`, group, r.groups)
		}
		pieces = append(pieces, piece{group: group})
	}
	return pieces, nil
}

// An alternative is one sequence of atoms on its way to a rule.
type alternative struct {
	target []piece
	drop   bool

	start, end bool // anchored
	source     strings.Builder
	holes      map[string]bool
	groups     map[int]string // what they hold, as a target
	open       []int
	loose      atomKind // the atom that takes any text, 0 for none
	looseLast  bool
	some       [2]int // where the hole of a .+ is in the source
	shields    []string
}

// rules returns the rules of one sequence, the one that renames last. Those before it
// keep names that the pattern does not match.
func (a *alternative) rules(sequence []atom) ([]rename.Rule, error) {
	a.holes, a.groups = make(map[string]bool), make(map[int]string)
	body, err := a.anchors(sequence)
	if err != nil {
		return nil, err
	}
	if err := a.check(body); err != nil {
		return nil, err
	}
	var before, after, beforeHole, afterHole string
	if !a.start {
		before, beforeHole = a.hole("before", "...")
	}
	var last atomKind
	for i := range body {
		if err := a.put(&body[i]); err != nil {
			return nil, err
		}
		if body[i].takes() {
			last = body[i].kind
		}
	}
	inner := a.source.String()
	if !a.end && !a.looseLast {
		if last == atomSegment {
			return nil, errors.New("a segment at the end of a pattern that is not anchored; write $ behind it")
		}
		after, afterHole = a.hole("rest", "...")
	}
	switch {
	case inner == "" && !a.start:
		return nil, errors.New("the pattern is empty, and matches everywhere")
	case inner != "":
		rule, err := rename.NewRule(inner, "x")
		if err != nil {
			return nil, err
		}
		if !rule.From[0].Certain() {
			return nil, fmt.Errorf("what its groups match is not certain (%s), and a map tries holes in another order than Python", inner)
		}
	}
	if a.loose == atomSome {
		a.shields = append(a.shields, inner[:a.some[0]]+inner[a.some[1]:])
	}
	var rules []rename.Rule
	for _, shield := range a.shields {
		if shield == "" {
			continue // the name without characters, which no tensor has
		}
		r, err := rename.NewRule(shield, shield)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	to := beforeHole
	for _, p := range a.target {
		if p.group > 0 {
			to += a.groups[p.group]
		} else {
			to += rename.Escape(p.text)
		}
	}
	to += afterHole
	if a.drop {
		to = "dropped"
	}
	r, err := rename.NewRule(before+inner+after, to)
	if err != nil {
		return nil, err
	}
	if a.drop {
		r.To, r.Drop = nil, "the other project ignores it"
	}
	return append(rules, r), nil
}

// takes reports whether an atom takes text, or looks for it.
func (x atom) takes() bool { return x.kind < atomStart }

// anchors takes the anchors off a sequence.
func (a *alternative) anchors(sequence []atom) (body []atom, err error) {
	taken := false
	for i, x := range sequence {
		switch {
		case x.kind == atomStart && taken:
			return nil, errors.New("a ^ that is not at the beginning")
		case x.kind == atomEnd && slices.ContainsFunc(sequence[i:], atom.takes):
			return nil, errors.New("a $ that is not at the end")
		case x.kind == atomStart:
			a.start = true
		case x.kind == atomEnd:
			a.end = true
		default:
			body = append(body, x)
			taken = taken || x.takes()
		}
	}
	return body, nil
}

// check refuses what a map would do in another way.
func (a *alternative) check(body []atom) error {
	real := slices.DeleteFunc(slices.Clone(body), func(x atom) bool { return !x.takes() })
	for i, x := range real {
		first, last := i == 0, i == len(real)-1
		switch x.kind {
		case atomAny, atomSome:
			if a.loose != 0 {
				return errors.New("two wildcards (.* or .+), and a map tries holes in another order than Python")
			}
			a.looseLast = last
			if a.loose = x.kind; first {
				a.start = true // it begins where the name does
			}
			if !last && !a.end {
				return errors.New("a wildcard takes as much as it can, and a hole as little; write $ at the end of the pattern")
			}
			if x.kind == atomSome && !a.start {
				return errors.New("a .+ in a pattern that is not anchored; write ^ at its beginning")
			}
		case atomSegment:
			if first && !a.start {
				return errors.New("a segment at the beginning of a pattern that is not anchored; write ^ before it")
			}
		case atomDigits:
			for _, j := range []int{i - 1, i + 1} {
				if j >= 0 && j < len(real) && real[j].kind != atomText && real[j].kind != atomNot {
					return errors.New("a number beside a wildcard may be part of it")
				}
			}
		case atomNot:
			if !a.start || i > 0 && real[i-1].kind != atomText {
				return errors.New("a lookahead is read behind text in a pattern that begins with ^")
			}
			for _, before := range real[:i] {
				if before.kind != atomText && before.kind != atomDigits {
					return errors.New("a lookahead behind a wildcard or a segment has no counterpart in a map")
				}
			}
			if !last || a.end {
				// What follows the lookahead would have to be looked at in the names that it keeps, too.
				return errors.New("a lookahead is read at the end of a pattern only")
			}
		}
	}
	return nil
}

// hole returns a hole with a name that is free, as a pattern and as a target have it.
func (a *alternative) hole(name, suffix string) (source, target string) {
	free := name
	for n := 2; a.holes[free]; n++ {
		free = name + strconv.Itoa(n)
	}
	a.holes[free] = true
	return "{" + free + suffix + "}", "{" + free + "}"
}

// put writes an atom, into the groups that are open as well.
func (a *alternative) put(x *atom) error {
	var source, target string
	switch x.kind {
	case groupOpens:
		a.open = append(a.open, x.group)
		a.groups[x.group] = ""
		return nil
	case groupEnds:
		a.open = slices.DeleteFunc(a.open, func(g int) bool { return g == x.group })
		return nil
	case atomNot:
		return a.not(x.not)
	case atomText:
		source = rename.Escape(x.text)
		target = source
	case atomDigits:
		name := "n"
		if s := a.source.String(); strings.HasSuffix(s, "layers.") || strings.HasSuffix(s, "blocks.") || strings.HasSuffix(s, "h.") {
			name = "layer"
		}
		source, target = a.hole(name, "")
	case atomSegment:
		source, target = a.hole("name", ":seg")
	case atomAny, atomSome:
		source, target = a.hole("any", "...")
		a.some = [2]int{a.source.Len(), a.source.Len() + len(source)}
	}
	a.source.WriteString(source)
	for _, g := range a.open {
		a.groups[g] += target
	}
	return nil
}

// not keeps the names in which a lookahead finds what must not follow.
func (a *alternative) not(alternatives [][]atom) error {
	for _, sequence := range alternatives {
		shield := a.source.String()
		for _, x := range sequence {
			switch x.kind {
			case atomText:
				shield += rename.Escape(x.text)
			case groupOpens, groupEnds:
			default:
				return errors.New("a lookahead with more than text in it has no counterpart in a map")
			}
		}
		a.shields = append(a.shields, shield+"{rest...}")
	}
	return nil
}
