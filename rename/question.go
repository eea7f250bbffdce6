package rename

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// A Question is what the inference of a map could not decide: modules that names,
// shapes and contents do not tell apart. A map with questions does not apply.
type Question struct {
	Pos Pos
	// Between has patterns of old modules, And those of the new ones that they may
	// become.
	Between, And []string
	// Best is what each of Between most likely becomes, in their order, as far as that
	// can be told: "" becomes none of And.
	Best []string
	// Confidence is that in Best, from 0 to 1.
	Confidence float64
	// Settle has what would answer the question, in words.
	Settle []string
	// Answer is what each of Between becomes, as in Best, and nil while the question
	// is open.
	Answer []string
}

// ask writes what is asked, for messages.
func (q *Question) ask() string {
	return fmt.Sprintf("what becomes of %s: %s", list(q.Between), either(q.And))
}

// either joins what there is to choose from.
func either(items []string) string {
	if n := len(items); n > 1 {
		return strings.Join(items[:n-1], ", ") + " or " + items[n-1]
	}
	return strings.Join(items, "")
}

// toAnswer says how the question leaves the map.
func (q *Question) toAnswer() string {
	if q.Answer != nil {
		return "the answer is not in the rules yet; write the map again: 'wtinspect map infer -o'"
	}
	return "fill in answer: and write the map again ('wtinspect map infer -o'), or answer with its --assume"
}

// unanswered refuses the plan for each question of its map.
func (b *planner) unanswered() {
	for i := range b.Map.Ask {
		q := &b.Map.Ask[i]
		open := "it is open "
		if q.Answer != nil {
			open = "the map asks "
		}
		b.add(Problem{
			Kind: OpenQuestion, Rule: -1,
			Message: fmt.Sprintf("%s: %s%s; %s", b.Map.askedAt(i), open, q.ask(), q.toAnswer()),
		})
	}
}

// asked are the reasons for which a map with questions has no algebra.
func (m *Map) asked() ruleErrorList {
	var errs ruleErrorList
	for i := range m.Ask {
		errs = append(errs, &ruleError{-1, m.askedAt(i), "the map asks " + m.Ask[i].ask(), m.Ask[i].toAnswer()})
	}
	return errs
}

// askedAt is where a question of the map is, for messages.
func (m *Map) askedAt(i int) string {
	if p := m.Ask[i].Pos; p.Line > 0 {
		return m.at(p)
	}
	return fmt.Sprintf("%s: question %d", cmp.Or(m.File, "map"), i+1)
}

var askKeys = []string{"between", "and", "best", "confidence", "settle", "answer"}

func (p *parser) parseAsk(n *yaml.Node, m *Map) {
	if !p.kind(n, yaml.SequenceNode, "ask", "a list of questions") {
		return
	}
	for _, item := range n.Content {
		before := len(p.errs)
		if q := p.parseQuestion(item); len(p.errs) == before {
			m.Ask = append(m.Ask, q)
		}
	}
}

func (p *parser) parseQuestion(n *yaml.Node) Question {
	q := Question{Pos: position(n)}
	before := len(p.errs)
	var best, answer *yaml.Node
	for _, kv := range p.pairs(n, "a question") {
		key, value := kv[0], kv[1]
		switch key.Value {
		case "between":
			q.Between = p.modules(value, "between")
		case "and":
			q.And = p.modules(value, "and")
		case "best":
			best = value
		case "confidence":
			if p.kind(value, yaml.ScalarNode, "the confidence", "a number") {
				v, err := strconv.ParseFloat(value.Value, 64)
				if isNumber := value.Tag == "!!float" || value.Tag == "!!int"; !isNumber || err != nil || v > 1 || !(v >= 0) {
					p.errorf(value, "", "the confidence must be a number from 0 to 1")
				}
				q.Confidence = v
			}
		case "settle":
			for _, item := range p.oneOrMore(value, "settle") {
				if s, ok := p.text(item, "what would settle it"); ok {
					q.Settle = append(q.Settle, s)
				}
			}
		case "answer":
			answer = value
		default:
			p.unknownKey(key, askKeys)
		}
	}
	if len(p.errs) > before {
		return q
	}
	if q.Between == nil || q.And == nil {
		p.errorf(n, "", "a question has between: with old names, and and: with what they may become")
		return q
	}
	if best != nil {
		q.Best = p.choices(best, &q)
	}
	switch {
	case answer == nil || answer.Kind == yaml.ScalarNode && answer.Tag == "!!null":
	case answer.Kind == yaml.ScalarNode && answer.Value == "best" && len(q.Best) < len(q.Between):
		p.errorf(answer, "list the new names in the order of between", "there is no best answer to all of it")
	case answer.Kind == yaml.ScalarNode && answer.Value == "best":
		q.Answer = slices.Clone(q.Best)
	default:
		before := len(p.errs)
		if q.Answer = p.choices(answer, &q); len(p.errs) == before && len(q.Answer) < len(q.Between) {
			p.errorf(answer, "write ~ for one that becomes none of them", "the answer has %d of %d", len(q.Answer), len(q.Between))
		}
	}
	return q
}

// modules reads the patterns of modules.
func (p *parser) modules(n *yaml.Node, what string) []string {
	var list []string
	for _, item := range p.oneOrMore(n, what) {
		source, ok := p.text(item, "the name of a module")
		switch {
		case !ok || p.compile(item, source) == nil:
		case slices.Contains(list, source):
			p.errorf(item, "", "%s is repeated", source)
		default:
			list = append(list, source)
		}
	}
	return list
}

// choices reads what each of between becomes, in their order: one of and, written
// whole or as text that it alone has, or ~.
func (p *parser) choices(n *yaml.Node, q *Question) []string {
	var chosen []string
	for _, item := range p.oneOrMore(n, "the answer") {
		if item.Kind == yaml.ScalarNode && item.Tag == "!!null" {
			chosen = append(chosen, "")
			continue
		}
		s, ok := p.text(item, "the new name")
		if !ok {
			continue
		}
		name, why := q.meant(s)
		switch {
		case why != "":
			p.errorf(item, "choose from "+either(q.And), "%s %s", s, why)
		case slices.Contains(chosen, name):
			p.errorf(item, "", "%s is repeated", name)
		case len(chosen) == len(q.Between):
			p.errorf(item, "", "there are more than the %d of between", len(q.Between))
		default:
			chosen = append(chosen, name)
		}
	}
	return chosen
}

// meant returns the module of And that a text names, or what is wrong with it.
func (q *Question) meant(s string) (module, why string) {
	if slices.Contains(q.And, s) {
		return s, ""
	}
	for _, name := range q.And {
		switch {
		case !strings.Contains(name, s):
		case module != "":
			return "", "is in more than one of them"
		default:
			module = name
		}
	}
	if module == "" {
		return "", "is in none of them"
	}
	return module, ""
}

// writeAsk writes questions so that Parse reads them back.
func writeAsk(b *strings.Builder, questions []Question) {
	if len(questions) == 0 {
		return
	}
	b.WriteString("ask:\n")
	for i := range questions {
		q := &questions[i]
		items := func(indent, key string, names []string) {
			texts := make([]string, len(names))
			for i, name := range names {
				if texts[i] = "~"; name != "" {
					texts[i] = scalar(name)
				}
			}
			writeList(b, indent, key, texts)
		}
		items("  - ", "between", q.Between)
		items("    ", "and", q.And)
		if q.Best != nil {
			items("    ", "best", q.Best)
		}
		if q.Confidence > 0 {
			fmt.Fprintf(b, "    confidence: %s\n", strconv.FormatFloat(q.Confidence, 'f', -1, 64))
		}
		if q.Settle != nil {
			items("    ", "settle", q.Settle)
		}
		if q.Answer == nil {
			b.WriteString("    answer: # best, or a list in the order of between\n")
			continue
		}
		if slices.Equal(q.Answer, []string{""}) {
			b.WriteString("    answer: [~]\n") // alone it would be open
			continue
		}
		items("    ", "answer", q.Answer)
	}
}
