package rename

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// Limits are what the format of a checkpoint, and the caller, allow, and what
// is known of the model.
type Limits struct {
	// Format is what messages call the format.
	Format string
	// MaxName is the longest name in bytes; 0 sets no limit.
	MaxName int
	// NoNUL refuses names with a NUL byte.
	NoNUL bool
	// Strict refuses maps with rules that match nothing.
	Strict bool
	// NamesOnly refuses rules that move bytes.
	NamesOnly bool
	// Number looks up what a rule names in place of a number, such as
	// num_attention_heads. It may be nil.
	Number func(key string) (int64, bool)
}

// GGUF returns the limits of GGUF files. ggml keeps names in 64 bytes with a
// terminating NUL (GGML_MAX_NAME in ggml.h), and readers refuse longer ones.
func GGUF() Limits { return Limits{Format: "GGUF", MaxName: 63, NoNUL: true} }

// Safetensors returns the limits of safetensors files.
func Safetensors() Limits { return Limits{Format: "safetensors"} }

// metadataKey is the one key of a safetensors header that is not a tensor. No
// format may have a tensor of this name, so that checkpoints stay convertible.
const metadataKey = "__metadata__"

// A Plan is what a map does to the tensors of one checkpoint.
type Plan struct {
	Map *Map `json:"-"`
	// Rows has what happens to each tensor, in the order of the names.
	Rows []Row `json:"rows"`
	// Transforms have what becomes of the tensors whose bytes change, in the
	// order of their first ones.
	Transforms []Transform `json:"transforms,omitempty"`
	// Uses has what became of each rule, in the order of the map.
	Uses []Use `json:"rules"`
	// Problems are the reasons for which the plan must not be carried out.
	Problems []Problem `json:"problems"`
}

// An Action is what happens to a tensor.
type Action uint8

const (
	// Keep leaves the tensor and its name as they are.
	Keep Action = iota
	// Move gives the tensor a new name.
	Move
	// Drop leaves the tensor out.
	Drop
	// Change takes the tensor's bytes into those of other tensors, as one of the
	// plan's Transforms says.
	Change
)

func (a Action) String() string {
	return [...]string{"keep", "move", "drop", "change"}[a]
}

// MarshalText writes the action as String does.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// A Row is what happens to one tensor.
type Row struct {
	From   string `json:"from"`
	To     string `json:"to,omitempty"` // the name in the end; "" for Drop, and for a Change that makes several
	Action Action `json:"action"`
	Rule   int    `json:"rule"`             // which rule of the map decided, -1 for none
	Reason string `json:"reason,omitempty"` // of a Drop
}

// A Use is what became of a rule.
type Use struct {
	Rule    string `json:"rule"`             // as written
	Where   string `json:"where"`            // file:line:col
	Tensors int    `json:"tensors"`          // how many the rule decided
	Lost    int    `json:"lost,omitempty"`   // how many it matches, but an earlier rule decided
	LostTo  int    `json:"lost_to"`          // the earlier rule of the first of them, or -1
	Shadow  bool   `json:"shadow,omitempty"` // all that it matches are lost
}

// Unused reports whether no tensor matches the rule.
func (u *Use) Unused() bool { return u.Tensors == 0 && u.Lost == 0 }

// A ProblemKind names a reason to refuse a plan.
type ProblemKind string

const (
	// TwoToOne is two tensors that would get the same name.
	TwoToOne ProblemKind = "two-to-one"
	// OntoKept is a tensor that would get the name of one that keeps it.
	OntoKept ProblemKind = "onto-kept"
	// TwiceThere is a name that two tensors of the checkpoint have already.
	TwiceThere ProblemKind = "twice-there"
	// EmptyName is a new name without characters.
	EmptyName ProblemKind = "empty-name"
	// LongName is a new name that the format has no room for.
	LongName ProblemKind = "long-name"
	// BadName is a new name that the format cannot hold or keeps for itself.
	BadName ProblemKind = "bad-name"
	// BadShift is a number that a rule cannot shift.
	BadShift ProblemKind = "bad-shift"
	// NoRule is a tensor that no rule matches, where the map calls it an error.
	NoRule ProblemKind = "no-rule"
	// UnusedRule is a rule that matches nothing, in strict plans.
	UnusedRule ProblemKind = "unused-rule"
	// MovesBytes is a rule that names alone cannot carry out, where only names
	// may change.
	MovesBytes ProblemKind = "moves-bytes"
	// Incomplete is a rule for several tensors of which some are not there.
	Incomplete ProblemKind = "incomplete"
	// NoNumber is a parameter of an operation that the configuration lacks.
	NoNumber ProblemKind = "no-number"
	// NoPlace is a tensor that the convention to convert to has no name for.
	NoPlace ProblemKind = "no-place"
	// BadShape is tensors that an operation of a rule does not fit. A plan, which knows
	// names alone, does not have it.
	BadShape ProblemKind = "bad-shape"
	// GaveUp is a name on which a pattern ran out of steps.
	GaveUp ProblemKind = "gave-up"
	// OpenQuestion is what the map asks, and no rule answers.
	OpenQuestion ProblemKind = "open-question"
)

// A Problem is a reason to refuse a plan.
type Problem struct {
	Kind    ProblemKind `json:"kind"`
	To      string      `json:"to,omitempty"` // the new name that is in question
	From    []string    `json:"from,omitempty"`
	Rule    int         `json:"rule"` // its index in the map, or -1
	Message string      `json:"message"`
}

func (p *Problem) Error() string { return p.Message }

// A planError is the refusal of a plan.
type planError struct{ Problems []Problem }

// Error gives every reason on a line of its own, up to 20.
func (e *planError) Error() string {
	const shown = 20
	var b strings.Builder
	for i, p := range e.Problems {
		if i > 0 {
			b.WriteByte('\n')
		}
		if i == shown {
			fmt.Fprintf(&b, "and %s", plural.Of(len(e.Problems)-shown, "more problem"))
			break
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// Unwrap gives errors.As each problem.
func (e *planError) Unwrap() []error {
	errs := make([]error, len(e.Problems))
	for i := range e.Problems {
		errs[i] = &e.Problems[i]
	}
	return errs
}

// Err returns a *planError with all problems, or nil when there are none.
func (p *Plan) Err() error {
	if len(p.Problems) == 0 {
		return nil
	}
	return &planError{p.Problems}
}

// NewPlan applies a map to the names of a checkpoint's tensors. It always
// returns a plan; whether it may be carried out is for Err to say.
func NewPlan(m *Map, names []string, limits Limits) *Plan {
	p := &Plan{
		Map:  m,
		Rows: make([]Row, len(names)),
		Uses: make([]Use, len(m.Rules)),
	}
	for i := range p.Uses {
		p.Uses[i] = Use{Rule: m.Rules[i].String(), Where: m.ruleAt(i), LostTo: -1}
	}
	b := planner{Plan: p, limits: limits, byRule: make(map[problemKey]int)}
	b.unanswered()
	b.decide(names)
	b.transform()
	b.checkTargets()
	for i := range p.Uses {
		u := &p.Uses[i]
		u.Shadow = u.Tensors == 0 && u.Lost > 0
		if limits.Strict && u.Unused() {
			b.add(Problem{
				Kind: UnusedRule, Rule: i,
				Message: fmt.Sprintf("%s: %s matches no tensor", u.Where, u.Rule),
			})
		}
	}
	b.writeMessages()
	return p
}

// A planner makes a plan.
type planner struct {
	*Plan
	limits Limits
	byRule map[problemKey]int
	sets   []*set
	setOf  map[string]*set
}

// A problemKey groups what goes wrong in the same way for many tensors.
type problemKey struct {
	kind ProblemKind
	rule int
	text string
}

func (b *planner) add(p Problem) { b.Problems = append(b.Problems, p) }

// addName adds a tensor to the problem of its kind, rule and text. The message
// is completed by writeMessages.
func (b *planner) addName(kind ProblemKind, rule int, text, from string) {
	key := problemKey{kind, rule, text}
	i, ok := b.byRule[key]
	if !ok {
		i = len(b.Problems)
		b.byRule[key] = i
		b.add(Problem{Kind: kind, Rule: rule, Message: text})
	}
	b.Problems[i].From = append(b.Problems[i].From, from)
}

// decide finds out what the map does to each name.
func (b *planner) decide(names []string) {
	m := b.Map
	var patterns []*Pattern
	var ruleOf, sideOf []int
	for i := range m.Rules {
		for side, pat := range m.Rules[i].From {
			patterns = append(patterns, pat)
			ruleOf = append(ruleOf, i)
			sideOf = append(sideOf, side)
		}
	}
	s := searcher{index: newIndex(patterns)}
	var newName []byte
	for i, name := range names {
		row := &b.Rows[i]
		*row = Row{From: name, Rule: -1}
		stripped := m.strip(name)
		to := stripped
		s.each(stripped, func(pattern int, holes []string) bool {
			rule := ruleOf[pattern]
			r := &m.Rules[rule]
			use := &b.Uses[rule]
			if row.Rule >= 0 {
				if row.Rule != rule {
					use.Lost++
					if use.LostTo < 0 {
						use.LostTo = row.Rule
					}
				}
				return true
			}
			row.Rule = rule
			use.Tensors++
			switch {
			case r.MovesBytes():
				row.Action = Change
				if !b.limits.NamesOnly {
					b.collect(rule, sideOf[pattern], i, holes)
				}
			case r.Drop != "":
				row.Action, row.Reason = Drop, r.Drop
			default:
				var err error
				newName, err = r.To[0].appendName(newName[:0], holes)
				if err != nil {
					b.addName(BadShift, rule, err.Error(), name)
					to = name
				} else {
					to = string(newName)
				}
			}
			return true
		})
		switch {
		case s.gaveUp >= 0 && (row.Rule < 0 || ruleOf[s.gaveUp] < row.Rule):
			b.addName(GaveUp, ruleOf[s.gaveUp], "", name)
		case row.Rule >= 0:
		case m.Otherwise.Action == OtherwiseFail:
			b.addName(NoRule, -1, "", name)
		case m.Otherwise.Action == OtherwiseDrop:
			row.Action, row.Reason = Drop, m.Otherwise.Reason
		}
		switch row.Action {
		case Change:
			if b.limits.NamesOnly {
				b.addName(MovesBytes, row.Rule, "", name)
			}
		case Keep:
			row.To = to
			if to != name {
				row.Action = Move
				b.checkName(to, name, row.Rule)
			}
		}
	}
}

// checkName finds new names that no file can hold.
func (b *planner) checkName(name, from string, rule int) {
	switch {
	case name == "":
		b.addName(EmptyName, rule, "", from)
	case name == metadataKey:
		b.addName(BadName, rule, "the name "+metadataKey+" is kept for metadata", from)
	case b.limits.NoNUL && strings.IndexByte(name, 0) >= 0:
		b.addName(BadName, rule, "a name in "+b.limits.Format+" has no NUL byte", from)
	case !utf8.ValidString(name) && utf8.ValidString(from):
		b.addName(BadName, rule, "the new name is not UTF-8", from)
	case b.limits.MaxName > 0 && len(name) > b.limits.MaxName:
		b.add(Problem{
			Kind: LongName, To: name, From: []string{from}, Rule: rule,
			Message: fmt.Sprintf("%q would be called %q, which has %d bytes; a name in %s has at most %d%s",
				from, name, len(name), b.limits.Format, b.limits.MaxName, b.by(rule)),
		})
	}
}

// by says which rule is to blame.
func (b *planner) by(rule int) string {
	if rule < 0 {
		return ""
	}
	return " (" + b.Uses[rule].Where + ")"
}

// A target is a name that a tensor is to have.
type target struct {
	name, from string
	rule       int
	kept       bool
}

// targets yields every name that the plan gives or keeps.
func (b *planner) targets(yield func(target) bool) {
	for i := range b.Rows {
		row := &b.Rows[i]
		if row.Action != Drop && row.Action != Change && !yield(target{row.To, row.From, row.Rule, row.Action == Keep}) {
			return
		}
	}
	for i := range b.Transforms {
		t := &b.Transforms[i]
		for _, name := range t.To {
			if !yield(target{name, t.From[0], t.Rule, false}) {
				return
			}
		}
	}
}

// checkTargets finds names that more than one tensor would have.
func (b *planner) checkTargets() {
	seen := make(map[string]bool, len(b.Rows))
	clashes := make(map[string][]target)
	var order []string
	for t := range b.targets {
		if _, again := clashes[t.name]; seen[t.name] && !again {
			clashes[t.name] = nil
			order = append(order, t.name)
		}
		seen[t.name] = true
	}
	if order == nil {
		return
	}
	for t := range b.targets {
		if list, ok := clashes[t.name]; ok {
			clashes[t.name] = append(list, t)
		}
	}
	for _, to := range order {
		p := Problem{Kind: TwoToOne, To: to, Rule: -1}
		var moved []string
		sameRule := true
		for _, t := range clashes[to] {
			p.From = append(p.From, t.from)
			if t.kept {
				continue
			}
			if moved == nil {
				p.Rule = t.rule
			}
			sameRule = sameRule && t.rule == p.Rule
			moved = append(moved, t.from)
		}
		who := foldedList(moved) + b.by(p.Rule)
		if !sameRule {
			items := make([]string, 0, len(moved))
			for _, t := range clashes[to] {
				if !t.kept {
					items = append(items, fmt.Sprintf("%q%s", t.from, b.by(t.rule)))
				}
			}
			who = plural.List(items)
		}
		switch kept := len(p.From) - len(moved); {
		case kept > 1:
			p.Kind = TwiceThere
			p.Message = fmt.Sprintf("%d tensors are called %q already; renaming cannot tell them apart", kept, to)
		case kept == 1:
			p.Kind = OntoKept
			p.Message = fmt.Sprintf("%s would be called %q, but a tensor that keeps its name has it", who, to)
		default:
			p.Message = fmt.Sprintf("two or more tensors would be called %q: %s", to, who)
		}
		b.add(p)
	}
}

// writeMessages completes the messages of problems that many tensors share.
func (b *planner) writeMessages() {
	for key, i := range b.byRule {
		p := &b.Problems[i]
		names := foldedList(p.From)
		switch key.kind {
		case BadShift:
			p.Message = fmt.Sprintf("%s: in %s, %s", b.Uses[key.rule].Where, names, key.text)
		case NoRule:
			p.Message = fmt.Sprintf("%s: no rule matches %s, and the map says otherwise: error", cmp.Or(b.Map.File, "map"), names)
		case MovesBytes:
			p.Message = fmt.Sprintf("%s: %s moves bytes (%s), which cannot be done where only names may change, in %s",
				b.Uses[key.rule].Where, b.Uses[key.rule].Rule, b.Map.Rules[key.rule].Ops[0].Kind, names)
		case Incomplete, NoNumber:
			p.Message = fmt.Sprintf("%s: %s takes %s: %s", b.Uses[key.rule].Where, b.Uses[key.rule].Rule, names, key.text)
		case EmptyName:
			p.Message = fmt.Sprintf("nothing would be left of the name of %s%s", names, b.by(key.rule))
		case BadName:
			p.Message = fmt.Sprintf("%s: that is what would become of %s%s", key.text, names, b.by(key.rule))
		case GaveUp:
			p.Message = fmt.Sprintf("%s: %s is too hard to match against %s; use fewer holes, or holes for segments",
				b.Uses[key.rule].Where, b.Uses[key.rule].Rule, names)
		}
	}
}

// foldedList names tensors in a message.
func foldedList(names []string) string {
	var items []string
	for _, g := range template.FoldNames(names) {
		items = append(items, fmt.Sprintf("%q", g.Name))
	}
	if len(names) == len(items) {
		return plural.List(items)
	}
	return fmt.Sprintf("%s (%d tensors)", plural.List(items), len(names))
}

// A Summary counts what a plan does.
type Summary struct {
	Tensors int `json:"tensors"`
	Moved   int `json:"moved"`
	Kept    int `json:"kept"`
	Dropped int `json:"dropped"`
	Changed int `json:"changed"`
	// Unmatched counts the tensors that neither a rule nor strip touches.
	Unmatched int `json:"unmatched"`
	Unused    int `json:"unused_rules"`
	Shadowed  int `json:"shadowed_rules"`
	Problems  int `json:"problems"`
}

// Summary counts the rows and rules of the plan.
func (p *Plan) Summary() Summary {
	s := Summary{Tensors: len(p.Rows), Problems: len(p.Problems)}
	for i := range p.Rows {
		row := &p.Rows[i]
		switch row.Action {
		case Keep:
			s.Kept++
		case Move:
			s.Moved++
		case Drop:
			s.Dropped++
		case Change:
			s.Changed++
		}
		if row.unmatched() {
			s.Unmatched++
		}
	}
	for i := range p.Uses {
		if p.Uses[i].Unused() {
			s.Unused++
		}
		if p.Uses[i].Shadow {
			s.Shadowed++
		}
	}
	return s
}

// MarshalJSON adds the summary to the plan's fields.
func (p *Plan) MarshalJSON() ([]byte, error) {
	type fields Plan
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the arrows of rules are for reading
	err := e.Encode(struct {
		Summary Summary `json:"summary"`
		*fields
	}{p.Summary(), (*fields)(p)})
	return b.Bytes(), err
}

func (r *Row) unmatched() bool { return r.Rule < 0 && r.Action != Move }

// Unmatched yields the tensors that neither a rule nor strip touches.
func (p *Plan) Unmatched() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range p.Rows {
			if p.Rows[i].unmatched() && !yield(p.Rows[i].From) {
				return
			}
		}
	}
}

// A FoldedChange is what happens to tensors whose old names and whose new ones
// differ in their numbers alone.
type FoldedChange struct {
	From string `json:"from"`
	// To is "" for what is dropped. Where the new names are not the
	// combinations of sets, it is what the rule says, or has {n} for indices.
	To         string   `json:"to,omitempty"`
	Action     Action   `json:"-"`
	Reason     string   `json:"reason,omitempty"` // why it is dropped
	Operations []string `json:"-"`                // of a change
	Count      int      `json:"count"`
}

// Changes folds the rows that are not kept, in the order of their first
// members, whichever rules they are of: a map with a rule for every tensor is
// as short to read as the one that it undoes.
func (p *Plan) Changes() []FoldedChange {
	var rows []*Row
	for i := range p.Rows {
		if p.Rows[i].Action != Keep {
			rows = append(rows, &p.Rows[i])
		}
	}
	pairs := template.FoldPairs(len(rows), func(i int) (from, to, key string) {
		return rows[i].From, rows[i].To, string(rune(rows[i].Action)) + rows[i].Reason
	})
	changes := make([]FoldedChange, len(pairs))
	for i, g := range pairs {
		first := rows[g.Members[0]]
		c := FoldedChange{From: g.Name, To: g.To, Action: first.Action, Reason: first.Reason, Count: len(g.Members)}
		sameRule := first.Rule >= 0 && !slices.ContainsFunc(g.Members, func(m int) bool { return rows[m].Rule != first.Rule })
		switch {
		case first.Action == Drop:
			c.To = ""
		case first.Action == Change:
			rule := &p.Map.Rules[first.Rule]
			for k := range rule.Ops {
				op := string(rule.Ops[k].Kind)
				if to := rule.Ops[k].To; rule.Ops[k].Kind == tensorop.Cast {
					op += " to " + to
				}
				if !slices.Contains(c.Operations, op) {
					c.Operations = append(c.Operations, op)
				}
			}
			if len(rule.From) > 1 || c.To == "" {
				c.To = rule.rightSide()
			}
		case c.To == "" && sameRule:
			c.To = p.Map.Rules[first.Rule].rightSide()
		case c.To == "":
			c.To = template.Segments.Replace(first.To, func(int, string) string { return "{n}" })
		}
		changes[i] = c
	}
	return changes
}

// Inverse returns the map that takes the checkpoint back, name by name, to
// what it was before a plan without problems. Tensors that were dropped are
// not in it, and neither are those of operations that round: nothing brings
// them back.
func (p *Plan) Inverse() *Map {
	inv := &Map{From: p.Map.To, To: p.Map.From, Description: "Undoes " + cmp.Or(p.Map.File, "a rename")}
	dropped := 0
	for i := range p.Rows {
		switch row := &p.Rows[i]; row.Action {
		case Move:
			inv.Rules = append(inv.Rules, ExactRule(row.To, row.From))
		case Drop:
			dropped++
		}
	}
	changed := 0
	for i := range p.Transforms {
		t := &p.Transforms[i]
		ops, ok := t.inverse()
		if !ok {
			changed += len(t.From)
			continue
		}
		r := Rule{Ops: Steps(ops, len(t.To))}
		for _, name := range t.To {
			r.From = append(r.From, exactly(name))
		}
		for _, name := range t.From {
			r.To = append(r.To, exactTarget(name))
		}
		inv.Rules = append(inv.Rules, r)
	}
	if dropped > 0 {
		inv.Description += fmt.Sprintf("; does not bring back the tensors it dropped (%d)", dropped)
	}
	if changed > 0 {
		inv.Description += fmt.Sprintf("; does not bring back the tensors whose values it changed (%d)", changed)
	}
	return inv
}
