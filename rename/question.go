package rename

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// A Question is what the inference of a map could not decide: modules that names,
// shapes and contents do not tell apart. A map with questions does not apply.
type Question struct {
	Pos Pos
	// Between has patterns of old modules, And those of the new ones that they may
	// become.
	Between, And []string
	// Best is what each of Between most likely becomes, in their order; nil where that
	// cannot be told, or several become one.
	Best []string
	// Confidence is that in Best, from 0 to 1.
	Confidence float64
	// Settle has what would answer the question, in words.
	Settle []string
	// Answer says what becomes of which, "OLD=NEW", with patterns of Between and of And;
	// where several become one, or one several, they have + between them. It is nil while
	// the question is open.
	Answer    []string
	AnswerPos Pos
}

// ask writes what is asked, for messages.
func (q *Question) ask() string {
	return fmt.Sprintf("what becomes of %s: %s", plural.List(q.Between), either(q.And))
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
		return "the answer is not in the rules yet; run 'wtinspect map infer -o' again"
	}
	return "fill in answer: and run 'wtinspect map infer -o' again, or use its --assume"
}

// unanswered refuses the plan for each question of its map.
func (b *planner) unanswered() {
	for i := range b.Map.Ask {
		q := &b.Map.Ask[i]
		open := "undecided: "
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
		if q.Best = p.choices(best, &q); len(q.Best) < len(q.Between) && len(p.errs) == before {
			p.errorf(best, "", "best has %d of the %d of between", len(q.Best), len(q.Between))
		}
	}
	if answer != nil {
		q.AnswerPos = position(answer)
	}
	switch {
	case answer == nil || answer.Kind == yaml.ScalarNode && answer.Tag == "!!null":
	case answer.Kind == yaml.ScalarNode && answer.Value == "best" && q.Best == nil:
		p.errorf(answer, "write OLD=NEW", "the question has no best answer")
	case answer.Kind == yaml.ScalarNode && answer.Value == "best":
		q.answer(q.Best)
	default:
		p.parseAnswer(answer, &q)
	}
	return q
}

// answer answers what each of Between becomes.
func (q *Question) answer(becomes []string) {
	for i, name := range becomes {
		q.Answer = append(q.Answer, q.Between[i]+"="+name)
	}
}

// parseAnswer reads a list of OLD=NEW, or of what each of between becomes, in their order.
func (p *parser) parseAnswer(n *yaml.Node, q *Question) {
	items := p.oneOrMore(n, "the answer")
	if !slices.ContainsFunc(items, func(i *yaml.Node) bool { return strings.Contains(i.Value, "=") }) {
		before := len(p.errs)
		becomes := p.choices(n, q)
		if len(p.errs) > before {
			return
		}
		if len(becomes) < len(q.Between) {
			p.errorf(n, "write OLD=NEW", "the answer has %d of the %d of between", len(becomes), len(q.Between))
			return
		}
		q.answer(becomes)
		return
	}
	given := make(map[string]bool)
	for _, item := range items {
		s, ok := p.text(item, "the answer")
		if !ok {
			continue
		}
		left, right, ok := strings.Cut(s, "=")
		if !ok {
			p.errorf(item, "write OLD=NEW", "%s does not say of what it is the new name", s)
			continue
		}
		from, to := p.sum(item, left, q.Between), p.sum(item, right, q.And)
		if from == "" || to == "" {
			continue
		}
		for _, side := range []struct{ mark, names, says string }{{"", from, "%s is answered twice"}, {"=", to, "%s is the answer twice"}} {
			for name := range strings.SplitSeq(side.names, "+") {
				if given[side.mark+name] {
					p.errorf(item, "leave out one of the answers", side.says, name)
				}
				given[side.mark+name] = true
			}
		}
		q.Answer = append(q.Answer, from+"="+to)
	}
}

// sum reads one side of OLD=NEW.
func (p *parser) sum(n *yaml.Node, text string, of []string) string {
	var names []string
	for word := range strings.SplitSeq(text, "+") {
		word = strings.TrimSpace(word)
		name, why := meant(word, of)
		switch {
		case word == "":
			p.errorf(n, "write OLD=NEW", "a name is missing")
			return ""
		case why != "":
			p.errorf(n, "choose from "+either(of), "%q %s", word, why)
			return ""
		case slices.Contains(names, name):
			p.errorf(n, "", "%s is repeated", name)
			return ""
		}
		names = append(names, name)
	}
	return strings.Join(names, "+")
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
		case strings.ContainsAny(source, "=+"):
			p.errorf(item, "write a rule for it", "no answer can be written about a name with = or +")
		default:
			list = append(list, source)
		}
	}
	return list
}

// choices reads what each of between becomes, in their order: one of and, written
// whole or as text that it alone has.
func (p *parser) choices(n *yaml.Node, q *Question) []string {
	var chosen []string
	for _, item := range p.oneOrMore(n, "the answer") {
		s, ok := p.text(item, "the new name")
		if !ok {
			continue
		}
		name, why := meant(s, q.And)
		switch {
		case why != "":
			p.errorf(item, "choose from "+either(q.And), "%q %s", s, why)
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

// meant returns the module that a text names, or what is wrong with it.
func meant(s string, modules []string) (module, why string) {
	if slices.Contains(modules, s) {
		return s, ""
	}
	for _, name := range modules {
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
				texts[i] = scalar(name)
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
		switch {
		case q.Answer != nil:
			items("    ", "answer", q.Answer)
		case q.Best != nil:
			b.WriteString("    answer: # best, or OLD=NEW\n")
		default:
			b.WriteString("    answer: # OLD=NEW\n")
		}
	}
}
