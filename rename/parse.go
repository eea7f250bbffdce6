package rename

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/rename/tensorop"

	"github.com/wtinspect/wtinspect/rename/template"
)

// Parse reads a map. The file's name is only used in messages. JSON is read
// too, being YAML. On failure the error is an ErrorList with every fault that
// can be found, each with its place, its line and, where there is one, advice.
func Parse(file string, data []byte) (*Map, error) {
	p := parser{file: file, lines: bytes.Split(data, []byte("\n"))}
	m := &Map{File: file}
	if root := p.load(data); root != nil {
		p.parseMap(root, m)
	}
	if len(p.errs) > 0 {
		slices.SortStableFunc(p.errs, func(a, b *Error) int {
			return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
		})
		return nil, p.errs
	}
	return m, nil
}

type parser struct {
	file  string
	lines [][]byte
	errs  ErrorList
}

func (p *parser) errorAt(line, column int, hint, format string, args ...any) {
	text := ""
	if 1 <= line && line <= len(p.lines) {
		text = strings.TrimRight(string(p.lines[line-1]), "\r")
	}
	p.errs = append(p.errs, &Error{p.file, max(line, 1), max(column, 1), text, fmt.Sprintf(format, args...), hint})
}

func (p *parser) errorf(n *yaml.Node, hint, format string, args ...any) {
	p.errorAt(n.Line, n.Column, hint, format, args...)
}

// load returns the top of the document, or nil after reporting why there is
// none.
func (p *parser) load(data []byte) *yaml.Node {
	if !utf8.Valid(data) {
		for i, line := range p.lines {
			if !utf8.Valid(line) {
				valid := bytes.ToValidUTF8(line, nil)
				column := 1
				for column <= len(valid) && valid[column-1] == line[column-1] {
					column++
				}
				p.errorAt(i+1, utf8.RuneCount(line[:column-1])+1, "save the file as UTF-8", "not UTF-8 text")
			}
		}
		return nil
	}
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		p.yamlError(err)
		return nil
	}
	return doc.Content[0]
}

// unquotedHole finds a pattern that begins with a hole and is not in quotes,
// after a dash, a key or the indentation.
var unquotedHole = lazily(`^(?:\s*(?:-\s+)*|.*?:\s+|\s*-\s+.*?:\s+)(\{[A-Za-z_][\w:.+-]*\}[^\s,}\]].*)$`)

// yamlError explains what the YAML parser found. It stops at the first fault,
// so the usual ones are looked for in the other lines as well.
func (p *parser) yamlError(err error) {
	before := len(p.errs)
	for i, line := range p.lines {
		if at := unquotedHole().FindSubmatchIndex(line); at != nil {
			p.errorAt(i+1, utf8.RuneCount(line[:at[2]])+1, "put quotes round it", "YAML takes a { at the beginning for a mapping")
		}
		if indent := bytes.IndexFunc(line, func(r rune) bool { return r != ' ' }); indent >= 0 && line[indent] == '\t' &&
			len(bytes.TrimSpace(line)) > 0 {
			p.errorAt(i+1, indent+1, "indent with spaces", "YAML does not allow tabs here")
		}
	}
	if len(p.errs) > before {
		return
	}
	le, ok := errors.AsType[*yaml.LoadError](err)
	switch {
	case !ok:
		p.errorAt(1, 1, "", "%v", err)
	case strings.Contains(le.Message, "no documents"):
		p.errorAt(1, 1, "begin with version: 1, then rename: and a line \"old name: new name\" each", "the map is empty")
	case strings.Contains(le.Message, "multiple"):
		p.errorAt(p.secondDocument(), 1, "take out the line ---", "a map is one document")
	case le.Mark.Line == 0:
		p.errorAt(1, 1, "", "%s", le.Message)
	default:
		hint := ""
		switch {
		case strings.Contains(le.Message, "mapping values are not allowed"):
			hint = "put quotes round a name with a colon and a space in it, and check the indentation"
		case strings.Contains(le.Message, "',' or"):
			hint = "between [ and ], or { and }, put quotes round names with braces"
		}
		p.errorAt(le.Mark.Line, le.Mark.Column, hint, "not YAML: %s", le.Message)
	}
}

func (p *parser) secondDocument() int {
	seenText := false
	for i, line := range p.lines {
		if bytes.HasPrefix(line, []byte("---")) && seenText {
			return i + 1
		}
		seenText = seenText || len(bytes.TrimSpace(line)) > 0 && line[0] != '#'
	}
	return 1
}

// pairs returns the keys and values of a mapping, or nil after reporting that
// it is none. Aliases and repeated keys are faults.
func (p *parser) pairs(n *yaml.Node, what string) [][2]*yaml.Node {
	if !p.kind(n, yaml.MappingNode, what, "a mapping") {
		return nil
	}
	var pairs [][2]*yaml.Node
	seen := make(map[string]*yaml.Node)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !p.kind(key, yaml.ScalarNode, "a key", "text") {
			continue
		}
		if first := seen[key.Value]; first != nil {
			p.errorf(key, "", "key %q is repeated; it first appears in line %d", key.Value, first.Line)
			continue
		}
		seen[key.Value] = key
		pairs = append(pairs, [2]*yaml.Node{key, value})
	}
	return pairs
}

// kind reports a node of another kind than the one that must stand there.
func (p *parser) kind(n *yaml.Node, want yaml.Kind, what, article string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		p.errorf(n, "write the text out", "anchors and aliases have no place in a map")
	case n.Kind == want && (want != yaml.ScalarNode || n.Tag != "!!null"):
		return true
	case want == yaml.ScalarNode && n.Kind == yaml.MappingNode && isBareHole(n):
		p.errorf(n, "put quotes round it", "YAML takes a { at the beginning for a mapping")
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		p.errorf(n, "", "%s is empty; %s must stand here", what, article)
	default:
		p.errorf(n, "", "%s must be %s", what, article)
	}
	return false
}

// isBareHole recognises {layer} written without quotes.
func isBareHole(n *yaml.Node) bool {
	return n.Style&yaml.FlowStyle != 0 && len(n.Content) == 2 && n.Content[1].Tag == "!!null"
}

func (p *parser) text(n *yaml.Node, what string) (string, bool) {
	switch {
	case !p.kind(n, yaml.ScalarNode, what, "text"):
		return "", false
	case n.Tag != "!!str":
		p.errorf(n, "put quotes round it", "%s must be text, and YAML reads %s as another type", what, n.Value)
		return "", false
	case n.Value == "":
		p.errorf(n, "", "%s is empty", what)
		return "", false
	}
	return n.Value, true
}

func (p *parser) number(n *yaml.Node, what string, bits int) (uint64, bool) {
	if !p.kind(n, yaml.ScalarNode, what, "a number") {
		return 0, false
	}
	v, err := strconv.ParseUint(n.Value, 10, bits)
	if err != nil {
		p.errorf(n, "", "%s must be a whole number that is not negative", what)
	}
	return v, err == nil
}

func (p *parser) unknownKey(key *yaml.Node, known []string) {
	hint := "the keys here are " + strings.Join(known, ", ")
	if meant := template.DidYouMean(key.Value, known); meant != "" {
		hint = strings.TrimPrefix(meant, "; ")
	}
	p.errorf(key, hint, "unknown key %q", key.Value)
}

var mapKeys = []string{"version", "description", "from", "to", "strip", "rename", "rules", "otherwise", "ask"}

func (p *parser) parseMap(root *yaml.Node, m *Map) {
	var rename, rules *yaml.Node
	does := false
	for _, kv := range p.pairs(root, "a map") {
		key, value := kv[0], kv[1]
		switch key.Value {
		case "version":
			if v, ok := p.number(value, "the version", 64); ok && v != 1 {
				p.errorf(value, "a newer wtinspect may read it", "this program reads maps of version 1, not %d", v)
			}
		case "description":
			m.Description, _ = p.text(value, "the description")
		case "from":
			m.From, _ = p.text(value, "the convention")
		case "to":
			m.To, _ = p.text(value, "the convention")
		case "strip":
			does = true
			p.parseStrip(value, m)
		case "rename":
			does = true
			rename = key
			p.parseRename(value, m)
		case "rules":
			does = true
			rules = key
			p.parseRules(value, m)
		case "otherwise":
			does = true
			p.parseOtherwise(value, m)
		case "ask":
			does = true
			p.parseAsk(value, m)
		default:
			p.unknownKey(key, mapKeys)
			does = true
		}
	}
	if rename != nil && rules != nil {
		later := rules
		if rename.Line > rules.Line {
			later = rename
		}
		p.errorf(later, "move its lines to the other, since rules have one order", "a map has rename: or rules:, not both")
	}
	if !does && len(p.errs) == 0 {
		p.errorf(root, "add rename: and a line \"old name: new name\" each", "the map does nothing")
	}
}

func (p *parser) parseStrip(n *yaml.Node, m *Map) {
	if !p.kind(n, yaml.SequenceNode, "strip", "a list") {
		return
	}
	for _, item := range n.Content {
		s, ok := p.text(item, "a segment to strip")
		switch {
		case !ok:
		case strings.ContainsAny(s, "{}"):
			p.errorf(item, "for a pattern write a rule", "strip takes segments as they are, without holes")
		case strings.HasPrefix(s, ".") || strings.HasSuffix(s, ".") || strings.Contains(s, ".."):
			p.errorf(item, "leave out the dots at the ends", "strip takes whole segments")
		case slices.Contains(m.Strip, s):
			p.errorf(item, "", "segment %q is repeated", s)
		default:
			m.Strip = append(m.Strip, s)
		}
	}
}

func (p *parser) parseRename(n *yaml.Node, m *Map) {
	for _, kv := range p.pairs(n, "rename") {
		from := p.compile(kv[0], kv[0].Value)
		if kv[1].Kind == yaml.ScalarNode && kv[1].Tag == "!!null" {
			p.errorf(kv[1], "to leave a tensor out, write it under rules: with drop: and the reason", "the new name is empty")
			continue
		}
		to := p.target(kv[1], from, "")
		if from != nil && to != nil {
			m.Rules = append(m.Rules, Rule{Pos: position(kv[0]), From: []*Pattern{from}, To: []*Target{to}})
		}
	}
}

func position(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

func (p *parser) parseRules(n *yaml.Node, m *Map) {
	if !p.kind(n, yaml.SequenceNode, "rules", "a list") {
		return
	}
	for _, item := range n.Content {
		before := len(p.errs)
		if r := p.parseRule(item); len(p.errs) == before {
			m.Rules = append(m.Rules, r)
		}
	}
}

func ruleKeys() []string {
	keys := []string{"from", "to", "drop", "steps"}
	for _, k := range opKinds {
		keys = append(keys, string(k))
	}
	return keys
}

func (p *parser) parseRule(n *yaml.Node) Rule {
	r := Rule{Pos: position(n)}
	before := len(p.errs)
	var from, to, drop, steps *yaml.Node
	unknown := false
	for _, kv := range p.pairs(n, "a rule") {
		key, value := kv[0], kv[1]
		switch {
		case key.Value == "from":
			from = value
		case key.Value == "to":
			to = value
		case key.Value == "drop":
			drop = value
			if value.Kind == yaml.ScalarNode && (value.Tag == "!!null" || value.Tag == "!!bool" || value.Value == "") {
				p.errorf(value, "write why: drop: recomputed when the model is loaded", "a drop gives its reason")
				continue
			}
			r.Drop, _ = p.text(value, "the reason")
		case key.Value == "steps":
			steps = value
		case slices.Contains(opKinds, tensorop.Kind(key.Value)):
			r.Ops = append(r.Ops, p.parseOperation(key, value))
		default:
			unknown = true
			p.unknownKey(key, ruleKeys())
		}
	}
	if n.Kind != yaml.MappingNode {
		return r
	}
	if steps != nil {
		if len(r.Ops) > 0 {
			p.errorAt(r.Ops[0].Pos.Line, r.Ops[0].Pos.Column, "make it one of the steps", "a rule has steps or single operations, not both")
		}
		r.Ops = append(r.Ops, p.parseSteps(steps)...)
	}
	if from == nil {
		if !unknown {
			p.errorf(n, "", "the rule has no from:")
		}
		return r
	}
	for _, item := range p.oneOrMore(from, "from") {
		if pat := p.pattern(item); pat != nil {
			r.From = append(r.From, pat)
		}
	}
	var first *Pattern
	if len(r.From) > 0 {
		first = r.From[0]
	}
	if to != nil {
		for _, item := range p.oneOrMore(to, "to") {
			if t := p.target(item, first, overHole(r.Ops)); t != nil {
				r.To = append(r.To, t)
			}
		}
	}
	switch {
	case drop != nil && to != nil:
		p.errorf(to, "leave out one of them", "a tensor that is dropped has no new name")
	case drop != nil && len(r.Ops) > 0:
		p.errorAt(r.Ops[0].Pos.Line, r.Ops[0].Pos.Column, "", "a tensor that is dropped is not changed first")
	case drop == nil && to == nil && !unknown:
		p.errorf(n, "add to: with the new name, or drop: with the reason", "the rule says nothing of the new name")
	case drop != nil && from.Kind == yaml.SequenceNode && len(from.Content) > 1:
		p.errorf(from, "write a rule for each", "a rule drops one name or pattern")
	case len(r.Ops) == 0 && from.Kind == yaml.SequenceNode && len(from.Content) > 1:
		p.errorf(from, "write a rule for each name, or say how they are joined: concat, stack", "several tensors cannot become one by name alone")
	case len(r.Ops) == 0 && to != nil && to.Kind == yaml.SequenceNode && len(to.Content) > 1:
		p.errorf(to, "say how it is taken apart: split, unstack", "one tensor cannot become several by name alone")
	}
	if len(p.errs) == before && len(r.Ops) > 0 {
		p.checkOperations(&r, from, to)
	}
	return r
}

// oneOrMore returns the items of a list, or the node itself when it is none.
func (p *parser) oneOrMore(n *yaml.Node, what string) []*yaml.Node {
	if n.Kind != yaml.SequenceNode {
		return []*yaml.Node{n}
	}
	if len(n.Content) == 0 {
		p.errorf(n, "", "%s is an empty list", what)
	}
	return n.Content
}

func (p *parser) parseOtherwise(n *yaml.Node, m *Map) {
	const forms = `write keep, error, or {drop: "the reason"}`
	if n.Kind == yaml.MappingNode {
		for _, kv := range p.pairs(n, "otherwise") {
			if kv[0].Value != "drop" {
				p.unknownKey(kv[0], []string{"drop"})
				continue
			}
			m.Otherwise.Action = OtherwiseDrop
			m.Otherwise.Reason, _ = p.text(kv[1], "the reason")
		}
		if len(n.Content) == 0 {
			p.errorf(n, forms, "otherwise is empty")
		}
		return
	}
	switch {
	case n.Kind == yaml.ScalarNode && n.Value == "keep":
	case n.Kind == yaml.ScalarNode && n.Value == "error":
		m.Otherwise.Action = OtherwiseFail
	case n.Kind == yaml.ScalarNode && n.Value == "drop":
		p.errorf(n, `write {drop: "the reason"}`, "a drop gives its reason")
	default:
		p.errorf(n, forms, "otherwise cannot be this")
	}
}

func (p *parser) pattern(n *yaml.Node) *Pattern {
	source, ok := p.text(n, "the old name")
	if !ok {
		return nil
	}
	return p.compile(n, source)
}

// compile reads a pattern that is a key, or the value of one. Keys are text
// whatever they look like.
func (p *parser) compile(n *yaml.Node, source string) *Pattern {
	pat, err := compile(source)
	if err != nil {
		p.syntaxError(n, err)
	}
	return pat
}

// target reads a right side. Besides the holes of from it may have one that
// an unstack runs over.
func (p *parser) target(n *yaml.Node, from *Pattern, over string) *Target {
	source, ok := p.text(n, "the new name")
	if !ok {
		return nil
	}
	if from == nil {
		if _, err := tokenize(source); err != nil {
			p.syntaxError(n, err)
		}
		return nil
	}
	t, err := compileTargetOver(source, from, over)
	if err != nil {
		p.syntaxError(n, err)
	}
	return t
}

// syntaxError puts the fault of a pattern in its place in the file, as nearly
// as quotes and escapes let it be known.
func (p *parser) syntaxError(n *yaml.Node, err error) {
	se, ok := errors.AsType[*syntaxError](err)
	if !ok {
		p.errorf(n, "", "%v", err)
		return
	}
	column := n.Column
	if n.Line <= len(p.lines) {
		line := []rune(string(p.lines[n.Line-1]))
		start := column - 1
		if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
			start++
		}
		if start <= len(line) && strings.HasPrefix(string(line[start:]), se.Source) {
			column = start + 1 + utf8.RuneCountInString(se.Source[:se.Offset])
		}
	}
	p.errorAt(n.Line, column, se.Hint, "%s", se.Msg)
}
