package rename

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// maxKey is the length up to which YAML reads the short form's keys (1024
// characters, YAML 1.2 §7.4.2), quotes and all.
const maxKey = 1000

// Write writes a map as YAML that Parse reads back: in the short form where
// all rules are renames, and otherwise in the long one. The comments and the
// spelling of a map that was read are not kept. It fails, before it writes,
// on names that are not UTF-8, since YAML has no way to write them.
func Write(w io.Writer, m *Map) error { return write(w, m, true) }

// write writes a map, in the long form unless the short one is allowed and will do.
func write(w io.Writer, m *Map, short bool) error {
	b := new(strings.Builder)
	writeNotes(b, "", m.Notes)
	b.WriteString("version: 1\n")
	for _, kv := range [][2]string{{"description", m.Description}, {"from", m.From}, {"to", m.To}} {
		if kv[1] != "" {
			fmt.Fprintf(b, "%s: %s\n", kv[0], scalar(kv[1]))
		}
	}
	if len(m.Strip) > 0 {
		b.WriteString("strip:\n")
		for _, s := range m.Strip {
			fmt.Fprintf(b, "  - %s\n", scalar(s))
		}
	}
	seen := make(map[string]bool, len(m.Rules))
	for i := range m.Rules {
		r := &m.Rules[i]
		short = short && !r.MovesBytes() && r.Drop == "" && len(r.From[0].source) <= maxKey && !seen[r.From[0].source]
		seen[r.From[0].source] = true
	}
	switch {
	case len(m.Rules)+len(m.Strip)+len(m.Ask) == 0 && m.Otherwise.Action == OtherwiseKeep:
		b.WriteString(map[bool]string{true: "rename: {}\n", false: "rules: []\n"}[short])
	case len(m.Rules) == 0:
	case short:
		b.WriteString("rename:\n")
		for i := range m.Rules {
			r := &m.Rules[i]
			writeNotes(b, "  ", r.Notes)
			fmt.Fprintf(b, "  %s: %s\n", scalar(r.From[0].source), scalar(r.To[0].source))
		}
	default:
		b.WriteString("rules:\n")
		for i := range m.Rules {
			writeNotes(b, "  ", m.Rules[i].Notes)
			writeRule(b, &m.Rules[i])
		}
	}
	switch m.Otherwise.Action {
	case OtherwiseFail:
		b.WriteString("otherwise: error\n")
	case OtherwiseDrop:
		fmt.Fprintf(b, "otherwise:\n  drop: %s\n", scalar(m.Otherwise.Reason))
	}
	writeAsk(b, m.Ask)
	text := b.String()
	if !utf8.ValidString(text) {
		line, _, _ := strings.Cut(text[invalidAt(text):], "\n")
		return fmt.Errorf("a name near %q is not UTF-8 and cannot be written in YAML", line)
	}
	bw := bufio.NewWriter(w)
	bw.WriteString(text)
	return bw.Flush()
}

func invalidAt(s string) int {
	for i, r := range s {
		if r == utf8.RuneError {
			if _, n := utf8.DecodeRuneInString(s[i:]); n == 1 {
				return i
			}
		}
	}
	return len(s)
}

// writeNotes writes lines as comments.
func writeNotes(b *strings.Builder, indent string, notes []string) {
	for _, note := range notes {
		fmt.Fprintf(b, "%s# %s\n", indent, printable(note))
	}
}

func writeRule(b *strings.Builder, r *Rule) {
	var from, to []string
	for _, p := range r.From {
		from = append(from, scalar(p.source))
	}
	for _, t := range r.To {
		to = append(to, scalar(t.source))
	}
	writeList(b, "  - ", "from", from)
	steps := len(r.Ops) > 1
	if steps {
		b.WriteString("    steps:\n")
	}
	for i := range r.Ops {
		if steps {
			b.WriteString("      - ")
		} else {
			b.WriteString("    ")
		}
		b.WriteString(r.Ops[i].String() + "\n")
	}
	if r.Drop != "" {
		fmt.Fprintf(b, "    drop: %s\n", scalar(r.Drop))
		return
	}
	writeList(b, "    ", "to", to)
}

// String writes the operation as maps do.
func (o *Operation) String() string {
	var params []string
	add := func(key, value string) { params = append(params, key+": "+value) }
	number := func(key string, n Number) {
		if n.isSet() {
			add(key, n.String())
		}
	}
	numbers := func(key string, list []Number) {
		if list == nil {
			return
		}
		texts := make([]string, len(list))
		for i, n := range list {
			texts[i] = n.String()
		}
		add(key, "["+strings.Join(texts, ", ")+"]")
	}
	text := func(key, s string) {
		if s != "" {
			add(key, s)
		}
	}
	for _, key := range opParams[o.Kind] {
		switch key {
		case "operand":
			if o.Operand >= 0 {
				add(key, strconv.Itoa(o.Operand))
			}
		case "axis":
			if o.Kind != tensorop.Permute || o.Axis != 0 {
				add(key, strconv.Itoa(o.Axis))
			}
		case "parts":
			numbers(key, o.Parts)
		case "shape":
			numbers(key, o.Shape)
		case "was":
			numbers(key, o.Was)
		case "heads":
			number(key, o.Heads)
		case "kv_heads":
			number(key, o.KVHeads)
		case "groups":
			number(key, o.Groups)
		case "count":
			number(key, o.Count)
		case "rotary":
			number(key, o.Rotary)
		case "layout":
			text(key, o.Layout)
		case "over":
			text(key, o.Over)
		case "axes":
			if o.Axes != nil {
				add(key, strings.ReplaceAll(fmt.Sprint(o.Axes), " ", ", "))
			}
		case "from":
			text(key, o.From)
		case "to":
			text(key, o.To)
		case "values":
			texts := make([]string, len(o.Values))
			for i, v := range o.Values {
				texts[i] = strconv.FormatFloat(float64(v), 'g', -1, 32)
			}
			add(key, "["+strings.Join(texts, ", ")+"]")
		case "zeros":
			add(key, strings.ReplaceAll(fmt.Sprint(o.Zeros), " ", ", "))
		case "add", "by":
			add(key, strconv.FormatFloat(o.Value, 'g', -1, 64))
		case "round":
			if o.Round {
				add(key, "true")
			}
		}
	}
	return string(o.Kind) + ": {" + strings.Join(params, ", ") + "}"
}

func writeList(b *strings.Builder, indent, key string, items []string) {
	if len(items) == 1 {
		fmt.Fprintf(b, "%s%s: %s\n", indent, key, items[0])
		return
	}
	fmt.Fprintf(b, "%s%s:\n", indent, key)
	for _, item := range items {
		fmt.Fprintf(b, "      - %s\n", item)
	}
}

// lazily returns a regular expression that is compiled when it is first needed,
// not by every program that has this package.
func lazily(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

var (
	plainName = lazily(`^[A-Za-z_][A-Za-z0-9_.{}/+:-]*$`)
	plainText = lazily(`^[A-Za-z][A-Za-z0-9_.,;'()/+ -]*$`)
	// notText are words that YAML reads as something else than text.
	notText = []string{"null", "true", "false", "yes", "no", "on", "off", "y", "n"}
)

// scalar writes text so that YAML reads it back as it is.
func scalar(s string) string {
	if (plainName().MatchString(s) && !strings.HasSuffix(s, ":") || plainText().MatchString(s) && !strings.HasSuffix(s, " ")) &&
		!slices.Contains(notText, strings.ToLower(s)) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for i, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == utf8.RuneError && !utf8.ValidString(s[i:min(i+3, len(s))]):
			b.WriteByte(s[i])
		case r < 0x80 && r >= 0x20 && r != 0x7f, r >= 0xa0 && unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
