package exchange

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/jsondoc"
)

// maxLiteral bounds how deep a literal of Python is.
const maxLiteral = 64

// pythonCalls are what stands in tables of other projects beside literals, with the names of
// the arguments that have none there (transformers: core_model_loading.py; vLLM:
// model_executor/models/utils.py). Nothing is called.
var pythonCalls = map[string][]string{
	"WeightRenaming":  {"source_patterns", "target_patterns"},
	"WeightConverter": {"source_patterns", "target_patterns", "operations"},
	"WeightsMapper":   nil,
	"dict":            nil,
}

// A pythonTable is a table as it is in a program in Python, on its way to JSON.
type pythonTable struct {
	file  string
	text  string
	at    int
	depth int
	json  bytes.Buffer
	marks [][2]int // where the values begin in the JSON, and where in the text
	last  struct{ at, line, column int }
}

// readDocument reads JSON, or a table as it is pasted from Python. where finds the place of
// a value.
func readDocument(file string, data []byte) (doc *jsondoc.Doc, where func(n jsondoc.Node) (line, column int), err error) {
	doc, jsonErr := jsondoc.Parse(file, data)
	if jsonErr == nil {
		return doc, jsondoc.Node.Position, nil
	}
	if len(data) > jsondoc.MaxSize || !utf8.Valid(data) || bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' && !strings.ContainsRune("\t\n\f\r", r) }) {
		return nil, nil, jsonErr
	}
	l := pythonTable{file: file, text: string(data)}
	if err := l.document(); err != nil {
		if strings.HasSuffix(file, ".json") {
			err = jsonErr
		}
		return nil, nil, err
	}
	if doc, err = jsondoc.Parse(file, l.json.Bytes()); err != nil {
		if own, ok := errors.AsType[*jsondoc.Error](err); ok {
			err = l.fault(l.source(own.Offset), "%s", own.Msg)
		}
		return nil, nil, err
	}
	return doc, func(n jsondoc.Node) (int, int) {
		start, _ := n.Span()
		return l.position(l.source(start))
	}, nil
}

// source finds where in the text something of the JSON comes from.
func (l *pythonTable) source(offset int) int {
	i, found := slices.BinarySearchFunc(l.marks, offset, func(m [2]int, offset int) int { return m[0] - offset })
	if !found && i > 0 {
		i--
	}
	return l.marks[i][1]
}

// position returns the line and column of a place, which is mostly behind the last one.
func (l *pythonTable) position(at int) (line, column int) {
	if at < l.last.at {
		l.last.at, l.last.line, l.last.column = 0, 0, 0
	}
	between := l.text[l.last.at:at]
	if n := strings.Count(between, "\n"); n > 0 {
		l.last.line, l.last.column = l.last.line+n, 0
		between = between[strings.LastIndexByte(between, '\n')+1:]
	}
	l.last.at, l.last.column = at, l.last.column+utf8.RuneCountInString(between)
	return l.last.line + 1, l.last.column + 1
}

func (l *pythonTable) fault(at int, format string, args ...any) error {
	line, column := l.position(at)
	return fmt.Errorf("%s:%d:%d: %s", l.file, line, column, fmt.Sprintf(format, args...))
}

// document reads one value, which may be assigned to a name.
func (l *pythonTable) document() error {
	l.space()
	start := l.at
	if name := l.name(); name != "" {
		l.space()
		if l.skip(":") { // of a type, which ends at the =
			l.at += max(0, strings.IndexAny(l.text[l.at:], "=\n"))
		}
		if !l.skip("=") {
			l.at = start
		}
	}
	if err := l.value(); err != nil {
		return err
	}
	if l.space(); l.at < len(l.text) {
		return l.fault(l.at, "there is more behind the table; only one is read")
	}
	return nil
}

// space skips white space and comments.
func (l *pythonTable) space() {
	for {
		l.at = len(l.text) - len(strings.TrimLeft(l.text[l.at:], " \t\r\n"))
		if !strings.HasPrefix(l.text[l.at:], "#") {
			return
		}
		end := strings.IndexByte(l.text[l.at:], '\n')
		if end < 0 {
			end = len(l.text) - l.at
		}
		l.at += end
	}
}

// skip skips a sign that follows.
func (l *pythonTable) skip(sign string) bool {
	l.space()
	if !strings.HasPrefix(l.text[l.at:], sign) {
		return false
	}
	l.at += len(sign)
	return true
}

// name reads a name with its dots, "" where none follows.
func (l *pythonTable) name() string {
	end := l.at
	for end < len(l.text) {
		c := l.text[end]
		if c != '_' && c != '.' && (c|0x20 < 'a' || c|0x20 > 'z') && (end == l.at || c < '0' || c > '9') {
			break
		}
		end++
	}
	name := l.text[l.at:end]
	l.at = end
	return name
}

// value reads a value, and writes it as JSON.
func (l *pythonTable) value() error {
	l.space()
	if l.depth++; l.depth > maxLiteral {
		return l.fault(l.at, "more than %d levels deep", maxLiteral)
	}
	defer func() { l.depth-- }()
	if l.at == len(l.text) {
		return l.fault(l.at, "the table ends early")
	}
	l.marks = append(l.marks, [2]int{l.json.Len(), l.at})
	switch c := l.text[l.at]; {
	case l.quotes() > 0 || c == '(' && l.grouped() || l.compiled():
		text, err := l.string()
		l.json.WriteString(quote(text))
		return err
	case c == '{':
		l.at++
		return l.list("{", "}", func(int) error {
			l.space()
			at := l.at
			l.marks = append(l.marks, [2]int{l.json.Len(), at})
			key, err := l.string()
			if err != nil {
				return err
			}
			if !l.skip(":") {
				return l.fault(l.at, "a : is missing behind the key")
			}
			return l.member(key)
		})
	case c == '[' || c == '(':
		l.at++
		return l.list("[", map[byte]string{'[': "]", '(': ")"}[c], func(int) error { return l.value() })
	}
	start := l.at
	name := l.name()
	word := map[string]string{"None": "null", "True": "true", "False": "false"}[name]
	args, known := pythonCalls[name[strings.LastIndexByte(name, '.')+1:]]
	switch {
	case word != "":
		l.json.WriteString(word)
		return nil
	case known && l.skip("("):
		return l.list("{", ")", func(i int) error {
			l.space()
			at := l.at
			key := l.name()
			if key == "" || !l.skip("=") {
				if l.at = at; i >= len(args) {
					return l.fault(at, "an argument without its name")
				}
				key = args[i]
			}
			return l.member(key)
		})
	case name != "":
		return l.fault(start, "%s is code, which is not run; only text, tables, lists, WeightRenaming and WeightsMapper are read: put the table alone into a file", name)
	}
	return l.fault(start, "neither text nor a table nor a list")
}

// member writes a member of an object, whose value follows.
func (l *pythonTable) member(key string) error {
	l.json.WriteString(quote(key) + ":")
	if key == operations {
		return l.calls()
	}
	return l.value()
}

// operations are what a WeightConverter does to bytes. They are calls, and only their names
// matter here.
const operations = "operations"

// calls reads over calls up to the end of the argument, and writes their names.
func (l *pythonTable) calls() error {
	l.space()
	l.marks = append(l.marks, [2]int{l.json.Len(), l.at})
	var names []string
	for depth, start := 0, l.at; ; {
		l.space()
		if l.at == len(l.text) {
			return l.fault(start, "the table ends early")
		}
		c := l.text[l.at]
		switch {
		case l.quotes() > 0:
			if err := l.quoted(new(strings.Builder)); err != nil {
				return err
			}
			continue
		case strings.IndexByte("([{", c) >= 0:
			depth++
		case strings.IndexByte(")]},", c) >= 0 && depth == 0:
			l.json.WriteString(quote(strings.Join(names, ", ")))
			return nil
		case strings.IndexByte(")]}", c) >= 0:
			depth--
		}
		if name := l.name(); name == "" {
			l.at++
		} else if strings.HasPrefix(l.text[l.at:], "(") {
			names = append(names, name)
		}
	}
}

// list reads items up to the end, with a comma between two and perhaps behind the last, and
// writes them as a list or an object.
func (l *pythonTable) list(open, end string, item func(i int) error) error {
	l.json.WriteString(open)
	for i := 0; !l.skip(end); i++ {
		if i > 0 {
			l.json.WriteByte(',')
		}
		if err := item(i); err != nil {
			return err
		}
		if l.skip(",") {
			continue
		}
		if l.space(); !strings.HasPrefix(l.text[l.at:], end) {
			return l.fault(l.at, "a , or a %s is missing; expressions are code, which is not run", end)
		}
	}
	l.json.WriteString(map[string]string{"{": "}", "[": "]"}[open])
	return nil
}

// quotes returns how many characters stand before the text of a string that begins here, 0
// where none does.
func (l *pythonTable) quotes() int {
	prefix := 0
	for prefix < 2 && l.at+prefix < len(l.text) && strings.IndexByte("rRuUbBfF", l.text[l.at+prefix]) >= 0 {
		prefix++
	}
	rest := l.text[l.at+prefix:]
	for _, q := range []string{`"""`, `'''`, `"`, `'`} {
		if strings.HasPrefix(rest, q) {
			return prefix + len(q)
		}
	}
	return 0
}

// grouped reports whether a ( has text in it alone, and not a list of it.
func (l *pythonTable) grouped() bool {
	try := pythonTable{text: l.text, at: l.at, depth: l.depth}
	_, err := try.string()
	return err == nil
}

const compile = "re.compile("

func (l *pythonTable) compiled() bool { return strings.HasPrefix(l.text[l.at:], compile) }

// string reads strings that follow each other and are one, which may be in parentheses or
// those of a regular expression.
func (l *pythonTable) string() (string, error) {
	l.space()
	start, open := l.at, l.at < len(l.text) && l.text[l.at] == '('
	if open {
		l.at++
	} else if l.compiled() {
		open, l.at = true, l.at+len(compile)
	}
	if open {
		if l.depth++; l.depth > maxLiteral {
			return "", l.fault(start, "more than %d levels deep", maxLiteral)
		}
		defer func() { l.depth-- }()
		text, err := l.string()
		if err != nil {
			return "", err
		}
		if !l.skip(")") {
			return "", l.fault(l.at, "a ) is missing")
		}
		return text, nil
	}
	if l.quotes() == 0 {
		return "", l.fault(start, "only text is read here, and no code is run")
	}
	var out strings.Builder
	for ; l.at < len(l.text) && l.quotes() > 0; l.space() {
		if err := l.quoted(&out); err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// quoted reads one string.
func (l *pythonTable) quoted(out *strings.Builder) error {
	start, n := l.at, l.quotes()
	end := strings.TrimLeft(l.text[l.at:l.at+n], "rRuUbBfF")
	prefix := strings.ToLower(l.text[l.at : l.at+n-len(end)])
	if strings.ContainsAny(prefix, "bf") {
		return l.fault(start, "a string with %s before it is not text", prefix)
	}
	raw := strings.Contains(prefix, "r")
	l.at += n
	for l.at < len(l.text) {
		rest := l.text[l.at:]
		switch {
		case strings.HasPrefix(rest, end):
			l.at += len(end)
			return nil
		case rest[0] == '\n' && len(end) == 1:
			return l.fault(start, "a string without its end")
		case rest[0] != '\\' || len(rest) == 1:
			out.WriteByte(rest[0])
			l.at++
		case raw:
			out.WriteString(rest[:2])
			l.at += 2
		default:
			if err := l.escape(out); err != nil {
				return err
			}
		}
	}
	return l.fault(start, "a string without its end")
}

// escape reads what a \ begins (The Python Language Reference, 2.5.1.1). Python leaves a \
// before a character that it does not know.
func (l *pythonTable) escape(out *strings.Builder) error {
	c := l.text[l.at+1]
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
	switch i := strings.IndexByte(`\'"abfnrtv`, c); {
	case c == '\n': // the line goes on
	case i >= 0:
		out.WriteByte("\\'\"\a\b\f\n\r\t\v"[i])
	case digits > 0:
		hex := l.text[l.at+2 : min(l.at+2+digits, len(l.text))]
		code, err := strconv.ParseUint(hex, 16, 32)
		if err != nil || len(hex) < digits || !utf8.ValidRune(rune(code)) {
			return l.fault(l.at, `\%c is followed by no character's number`, c)
		}
		out.WriteRune(rune(code))
	case c == 'N' || '0' <= c && c <= '7':
		// \1 is then the character 1, which nobody means.
		return l.fault(l.at, `\%c in a string that is not raw is a character, not a group; write r before the quotes`, c)
	default:
		out.WriteByte('\\')
		out.WriteByte(c)
	}
	l.at += 2 + digits
	return nil
}
