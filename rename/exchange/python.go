package exchange

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/rename"
)

// An expression writes a pattern as a regular expression of Python. Holes take the
// shortest text that lets the rest match, the leftmost first, and numbers are whole; the
// expression finds the same.
type expression struct {
	parts []rename.Part
	// group says what opens before a part and ends behind it.
	group func(part int) (open, end string)
	// again writes a hole that has been there before.
	again func(hole string) string
}

// whole writes the expression of the whole name.
func (e *expression) whole() string {
	loose := 0 // holes that may take more or less
	for _, p := range e.parts {
		if p.Hole != "" && p.Kind != rename.Digits {
			loose++
		}
	}
	lazy := ""
	if loose > 1 {
		lazy = "?"
	}
	isHole := func(i int) bool { return i >= 0 && i < len(e.parts) && e.parts[i].Hole != "" }
	seen := make(map[string]bool)
	var b strings.Builder
	b.WriteByte('^')
	for i, p := range e.parts {
		open, end := e.group(i)
		var text string
		switch {
		case p.Hole == "":
			text = escape(p.Text)
		case seen[p.Hole]:
			text = e.again(p.Hole)
		case p.Kind == rename.Segment:
			text = "[^.]+" + lazy
		case p.Kind == rename.Anything:
			text = ".*" + lazy
		case p.Width > 0:
			digits := strings.Repeat("[0-9]", p.Width)
			text = "(?:" + digits + "|[1-9]" + digits + "+)"
		default:
			text = "[0-9]+"
		}
		if p.Hole != "" && p.Kind == rename.Digits { // the whole number
			if isHole(i - 1) {
				text = "(?<![0-9])" + text
			}
			if isHole(i + 1) {
				text += "(?![0-9])"
			}
		}
		seen[p.Hole] = true
		b.WriteString(open + text + end)
	}
	b.WriteByte('$')
	return b.String()
}

// escape writes text as a regular expression. A * and a \ are classes, since transformers takes
// "*." for a wildcard and "\1" for a group wherever they are in a pattern.
func escape(text string) string {
	return strings.NewReplacer(
		`\`, `[\\]`, "*", "[*]", ".", `\.`, "+", `\+`, "?", `\?`, "(", `\(`, ")", `\)`, "|", `\|`,
		"[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`, "^", `\^`, "$", `\$`,
	).Replace(text)
}

// An object is a JSON object whose members keep their order.
type object struct{ members [][2]string }

func (o *object) raw(key, value string)  { o.members = append(o.members, [2]string{quote(key), value}) }
func (o *object) text(key, value string) { o.raw(key, quote(value)) }

func (o *object) entry(e entry) {
	if e.null {
		o.raw(e.key, "null")
		return
	}
	o.text(e.key, e.text)
}

func (o *object) String() string {
	items := make([]string, len(o.members))
	for i, m := range o.members {
		items[i] = m[0] + ":" + m[1]
	}
	return "{" + strings.Join(items, ",") + "}"
}

func (o *object) write(w io.Writer) error {
	var b bytes.Buffer
	if err := json.Indent(&b, []byte(o.String()), "", "  "); err != nil {
		return err
	}
	b.WriteByte('\n')
	_, err := w.Write(b.Bytes())
	return err
}

// list writes a JSON array.
func list(items []string) string { return "[" + strings.Join(items, ",") + "]" }

// quote writes a JSON string.
func quote(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // of no string
	}
	return strings.TrimSuffix(b.String(), "\n")
}
