package oracle

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A Map of the map language, as text: what it means is for Apply to say.
type Map struct {
	Strip     []string
	Rules     []Rule
	Otherwise string // "", "keep", "error" or "drop"
}

// A Rule has one of To and Drop.
type Rule struct{ From, To, Drop string }

// YAML writes the map in the long form.
func (m *Map) YAML() []byte {
	var b strings.Builder
	b.WriteString("version: 1\n")
	if len(m.Strip) > 0 {
		b.WriteString("strip:\n")
		for _, s := range m.Strip {
			fmt.Fprintf(&b, "  - %s\n", yamlString(s))
		}
	}
	if len(m.Rules) == 0 {
		b.WriteString("rules: []\n")
	} else {
		b.WriteString("rules:\n")
	}
	for _, r := range m.Rules {
		fmt.Fprintf(&b, "  - from: %s\n", yamlString(r.From))
		if r.Drop != "" {
			fmt.Fprintf(&b, "    drop: %s\n", yamlString(r.Drop))
		} else {
			fmt.Fprintf(&b, "    to: %s\n", yamlString(r.To))
		}
	}
	switch m.Otherwise {
	case "drop":
		b.WriteString("otherwise: {drop: \"no rule\"}\n")
	case "keep", "error":
		b.WriteString("otherwise: " + m.Otherwise + "\n")
	}
	return []byte(b.String())
}

// yamlString is a double-quoted YAML string of printable ASCII.
func yamlString(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteString("\\" + string(c))
		case ' ' <= c && c <= '~':
			b.WriteRune(c)
		default:
			fmt.Fprintf(&b, "\\U%08x", c)
		}
	}
	return `"` + b.String() + `"`
}

// A Fate is what a map makes of one tensor.
type Fate struct {
	Name    string
	Dropped bool
}

// Apply says what becomes of each name. It is refused, with a reason, where a
// tensor would be lost or a name would not do.
func (m *Map) Apply(names []string, gguf bool) (fates []Fate, refused string) {
	taken := map[string]string{}
	refuse := func(format string, args ...any) {
		if refused == "" {
			refused = fmt.Sprintf(format, args...)
		}
	}
	for _, old := range names {
		name, dropped, err := m.one(old)
		if err != nil {
			refuse("%q: %v", old, err)
		}
		fates = append(fates, Fate{name, dropped})
		if dropped {
			continue
		}
		if other, ok := taken[name]; ok {
			refuse("%q and %q would be %q", other, old, name)
		}
		taken[name] = old
		if name == old {
			continue
		}
		switch {
		case name == "", name == "__metadata__",
			utf8.ValidString(old) && !utf8.ValidString(name),
			gguf && (len(name) > 63 || strings.Contains(name, "\x00")):
			refuse("%q would be %q", old, name)
		}
	}
	return fates, refused
}

func (m *Map) one(name string) (to string, dropped bool, err error) {
	name = strip(name, m.Strip)
	for _, r := range m.Rules {
		holes := map[string]string{}
		if !match(parse(r.From), name, 0, holes) {
			continue
		}
		if r.Drop != "" {
			return name, true, nil
		}
		to, err := expand(parse(r.From), parse(r.To), holes)
		return to, false, err
	}
	switch m.Otherwise {
	case "error":
		return name, false, fmt.Errorf("no rule matches")
	case "drop":
		return name, true, nil
	}
	return name, false, nil
}

// strip takes segments out.
func strip(name string, list []string) string {
	segments := strings.Split(name, ".")
	var kept []string
next:
	for i := 0; i < len(segments); {
		for _, s := range list {
			words := strings.Split(s, ".")
			if i+len(words) <= len(segments) && slices.Equal(segments[i:i+len(words)], words) {
				i += len(words)
				continue next
			}
		}
		kept = append(kept, segments[i])
		i++
	}
	return strings.Join(kept, ".")
}

// A piece of a pattern or a template.
type piece struct {
	literal string
	hole    string
	kind    byte // 'd' digits, 's' segment, 'a' anything
	shift   int64
	width   int // with zeros up to so many digits
}

func parse(source string) []piece {
	var out []piece
	literal := func(s string) {
		if len(out) > 0 && out[len(out)-1].hole == "" {
			out[len(out)-1].literal += s
		} else {
			out = append(out, piece{literal: s})
		}
	}
	for source != "" {
		switch {
		case strings.HasPrefix(source, "{{"), strings.HasPrefix(source, "}}"):
			literal(source[:1])
			source = source[2:]
		case source[0] == '{':
			word, rest, _ := strings.Cut(source[1:], "}")
			p := piece{hole: word, kind: 'd'}
			if i := strings.Index(word, ":0"); i > 0 {
				p.width, _ = strconv.Atoi(word[i+1:])
				word = word[:i]
				p.hole = word
			}
			if s, ok := strings.CutSuffix(word, "..."); ok {
				p.hole, p.kind = s, 'a'
			} else if s, ok := strings.CutSuffix(word, ":seg"); ok {
				p.hole, p.kind = s, 's'
			} else if i := strings.IndexAny(word, "+-"); i > 0 {
				p.hole = word[:i]
				p.shift, _ = strconv.ParseInt(word[i:], 10, 64)
			}
			out = append(out, p)
			source = rest
		default:
			literal(source[:1])
			source = source[1:]
		}
	}
	return out
}

func digit(name string, i int) bool {
	return i >= 0 && i < len(name) && '0' <= name[i] && name[i] <= '9'
}

// match places the pieces at name[at:], the shortest texts first.
func match(pieces []piece, name string, at int, holes map[string]string) bool {
	if len(pieces) == 0 {
		return at == len(name)
	}
	p, rest := pieces[0], pieces[1:]
	if p.hole == "" {
		return strings.HasPrefix(name[at:], p.literal) && match(rest, name, at+len(p.literal), holes)
	}
	taken, again := holes[p.hole]
	step := 1
	for end := at; end <= len(name); end += step {
		_, step = utf8.DecodeRuneInString(name[end:]) // a whole character
		step = max(step, 1)
		text := name[at:end]
		switch {
		case again && text != taken:
			continue
		case p.kind == 's' && !again && (text == "" || strings.Contains(text, ".")):
			continue
		case p.kind == 'd' && (text == "" || strings.Trim(text, "0123456789") != "" || digit(name, at-1) || digit(name, end)):
			continue
		case p.width > 0 && text != withZeros(strings.TrimLeft(text, "0"), p.width):
			continue
		}
		holes[p.hole] = text
		if match(rest, name, end, holes) {
			return true
		}
		if !again {
			delete(holes, p.hole)
		}
	}
	return false
}

func withZeros(digits string, width int) string {
	return strings.Repeat("0", max(0, width-len(digits))) + digits
}

func expand(from, to []piece, holes map[string]string) (string, error) {
	width := map[string]int{}
	for _, p := range from {
		width[p.hole] = p.width
	}
	out := ""
	for _, p := range to {
		text := holes[p.hole]
		switch {
		case p.hole == "":
			out += p.literal
		case p.shift == 0 && p.width == width[p.hole]:
			out += text
		default:
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil || len(text) > 1 && text[0] == '0' && width[p.hole] == 0 || n+p.shift < 0 || n > math.MaxInt64-1e9 {
				return "", fmt.Errorf("%q cannot be shifted by %d", text, p.shift)
			}
			out += withZeros(strconv.FormatInt(n+p.shift, 10), p.width)
		}
	}
	return out, nil
}

// escape writes text as a pattern that matches it alone.
func escape(s string) string {
	return strings.NewReplacer("{", "{{", "}", "}}").Replace(s)
}

// RandomMap returns a map over names: swaps, chains and patterns that were made
// from some of them, and rules that match nothing.
func RandomMap(seed uint64, names []string) *Map {
	r := Rand(seed, 4)
	m := &Map{Otherwise: pick(r, "", "", "", "", "keep")}
	var valid []string // what a map can say
	for _, n := range names {
		if utf8.ValidString(n) && n != "" {
			valid = append(valid, n)
		}
	}
	if chance(r, 3) {
		m.Otherwise = pick(r, "error", "drop")
	}
	if chance(r, 15) {
		m.Strip = []string{pick(r, "_orig_mod", "module", "module._orig_mod", "a.b", "q", "..", "e.1")}
		if m.Strip[0] == ".." {
			m.Strip[0] = "😀"
		}
	}
	literal := func(from, to string) { m.Rules = append(m.Rules, Rule{From: escape(from), To: escape(to)}) }
	drop := chance(r, 10)
	for range 1 + r.IntN(3) {
		if len(valid) == 0 {
			literal("no such name", "x")
			break
		}
		switch some := permuted(r, valid, 4); {
		case chance(r, 20) && len(some) > 1: // a swap or a cycle
			for i := range some {
				literal(some[i], some[(i+1)%len(some)])
			}
		case chance(r, 20) && len(some) > 1: // a chain
			for i := range some[1:] {
				literal(some[i], some[i+1])
			}
			literal(some[len(some)-1], randomName(r))
		case chance(r, 10):
			literal(some[0], pick(r, randomName(r), "__metadata__", some[len(some)-1], "x\x00y", strings.Repeat("n", 64), strings.Repeat("né", 2000)))
		case drop:
			m.Rules = append(m.Rules, Rule{From: pick(r, escape(some[0]), randomPattern(r, some[0])), Drop: "not needed"})
		default:
			from := randomPattern(r, some[0])
			m.Rules = append(m.Rules, Rule{From: from, To: randomTemplate(r, from)})
		}
	}
	return m
}

func permuted(r *rand.Rand, list []string, most int) []string {
	var out []string
	for _, i := range r.Perm(len(list))[:min(len(list), 1+r.IntN(most))] {
		out = append(out, list[i])
	}
	return out
}

func randomName(r *rand.Rand) string {
	return pick(r, "new.", "layer.", "é", "") + pick(r, oddWords...) + pick(r, "", ".weight", " ")
}

// randomPattern puts holes into a name.
func randomPattern(r *rand.Rand, name string) string {
	var out string
	last := byte(0) // the kind of the hole before
	number := map[string]string{}
	for i := 0; i < len(name); {
		end := i
		for digit(name, end) {
			end++
		}
		hole := fmt.Sprintf("h%d", i)
		if end > i {
			switch text := name[i:end]; {
			case last != 'd' && chance(r, 60):
				if h, ok := number[text]; ok && chance(r, 50) {
					hole = h
				}
				number[text] = hole
				width := ""
				if n := len(text); n > 1 && n < 10 && len(text)%2 == 0 {
					width = fmt.Sprintf(":%02d", n)
				}
				out += "{" + hole + width + "}"
				last = 'd'
			case last == 'd':
				panic("oracle: two numbers side by side")
			default:
				out += text
				last = 0
			}
			i = end
			continue
		}
		for end = i; end < len(name) && !digit(name, end) && (end == i || name[end-1] != '.'); end++ {
		}
		text := name[i:end] // up to and with a dot
		i = end
		bare := strings.TrimSuffix(text, ".")
		switch {
		case last != 's' && last != 'a' && bare != "" && chance(r, 20):
			out += "{" + hole + ":seg}" + text[len(bare):]
			last = 's'
			if len(bare) < len(text) {
				last = 0
			}
		case last != 'a' && last != 's' && bare != "" && len(bare) == len(text) && chance(r, 5):
			out += "{" + hole + "s:seg}{" + hole + "...}"
			last = 'a'
		case last != 'a' && last != 's' && chance(r, 12):
			out += "{" + hole + "...}"
			last = 'a'
		case last != 'a' && last != 's' && len(text) > 3 && chance(r, 10): // part of a word
			k := 1
			for k < len(text) && !utf8.RuneStart(text[k]) {
				k++
			}
			out += escape(text[:k]) + "{" + hole + "...}"
			last = 'a'
		default:
			out += escape(text)
			last = 0
		}
	}
	return out
}

// randomTemplate names the holes of a pattern, most of the time all of them.
func randomTemplate(r *rand.Rand, pattern string) string {
	out := ""
	pieces := parse(pattern)
	if chance(r, 10) {
		r.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
	}
	for _, p := range pieces {
		switch {
		case p.hole == "" && chance(r, 30):
			out += pick(r, "new.", "x", "_", ".", "é.", "{{")
		case p.hole == "":
			out += escape(p.literal)
		case chance(r, 5):
		case p.kind == 'd' && chance(r, 25):
			out += fmt.Sprintf("{%s%s%s}", p.hole, pick(r, "", "+1", "-1", "+100", "-2"), pick(r, "", "", ":02", ":04"))
		case p.width > 0 && chance(r, 70):
			out += fmt.Sprintf("{%s:%02d}", p.hole, p.width)
		case p.kind == 'a' && chance(r, 30):
			out += "{" + p.hole + "...}"
		default:
			out += "{" + p.hole + "}"
		}
	}
	if chance(r, 20) {
		out = pick(r, "model.", "w ", "/") + out
	}
	if out == "" {
		out = "x"
	}
	return out
}
