package rename

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
)

// A Level says how much a Finding matters.
type Level string

const (
	// Warning is for what is hardly ever meant.
	Warning Level = "warning"
	// Note is for what is often meant and sometimes a mistake.
	Note Level = "note"
)

// A Finding is a remark about a map that can be read but may be wrong.
type Finding struct {
	Code    string `json:"code"`
	Level   Level  `json:"level"`
	Rule    int    `json:"rule"`  // its index in the map, or -1
	Where   string `json:"where"` // file:line:col
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

func (f *Finding) String() string {
	s := fmt.Sprintf("%s: %s: %s", f.Where, f.Level, f.Message)
	if f.Hint != "" {
		s += "; " + f.Hint
	}
	return s + " [" + f.Code + "]"
}

// The codes of findings.
const (
	codeShadowed   = "shadowed"    // an earlier rule takes every name
	codeOverlap    = "overlap"     // rules share names, and neither has the other's
	codeNothing    = "no-change"   // a rule that keeps names, and no later rule would take them
	codeRegexp     = "regexp"      // written like a regular expression
	codeLostHole   = "lost-hole"   // a hole is missing on the right side
	codeDoubled    = "doubled"     // the new name repeats a segment
	codeRepeat     = "repeat"      // a second run changes the names again
	codeReserved   = "reserved"    // the new name is kept for metadata
	codeCompanion  = "companion"   // tensors that belong to a renamed one stay behind
	codeWeightOnly = "weight-only" // only .weight is renamed
	codeQuestion   = "question"    // the map asks something
)

// Lint looks for what is allowed in a map and hardly ever meant, without any
// checkpoint. Plan.LeftBehind looks for more with one.
func Lint(m *Map) []Finding {
	l := linter{m: m}
	l.questions()
	for i := range m.Rules {
		l.writing(i)
		l.rightSide(i)
	}
	l.order()
	l.weightOnly()
	slices.SortStableFunc(l.findings, func(a, b Finding) int { return a.Rule - b.Rule })
	return l.findings
}

type linter struct {
	m        *Map
	findings []Finding
}

func (l *linter) add(code string, level Level, rule int, hint, format string, args ...any) {
	l.findings = append(l.findings, Finding{
		code, level, rule, l.m.ruleAt(rule), fmt.Sprintf(format, args...), hint,
	})
}

// questions remarks on what the map asks.
func (l *linter) questions() {
	for i := range l.m.Ask {
		q := &l.m.Ask[i]
		l.findings = append(l.findings, Finding{codeQuestion, Warning, -1, l.m.askedAt(i), "the map asks " + q.ask(), q.toAnswer()})
	}
}

// looksRegexp finds what regular expressions have and tensor names do not.
var looksRegexp = lazily(`^\^|\$$|\.\*|\.\+|\\[.dDwWsSbB]|\[[^]]*\]|\([^)]*\)|\*`)

func (l *linter) writing(i int) {
	for _, p := range l.m.Rules[i].From {
		if at := looksRegexp().FindString(p.source); at != "" {
			l.add(codeRegexp, Warning, i, "patterns are names with holes: {layer} for a number, {name:seg} for a segment, {name...} for anything",
				"%s has %q like a regular expression, and matches only that text", p, at)
		}
	}
}

func (l *linter) rightSide(i int) {
	r := &l.m.Rules[i]
	if r.MovesBytes() || r.Drop != "" {
		return
	}
	from, to := r.From[0], r.To[0]
	image := targetUnits(to, from)
	used := make([]bool, len(from.holes))
	for _, u := range image {
		if u.isHole() {
			used[u.hole] = true
		}
	}
	for h, ok := range used {
		if !ok {
			l.add(codeLostHole, Warning, i, "", "%s stands on the left side and not on the right: names that differ there become one", from.holes[h])
		}
	}
	if name, ok := literalName(image); ok && name == metadataKey {
		l.add(codeReserved, Warning, i, "", "no tensor can be called %s", metadataKey)
	}
	if twice := doubled(to.source); twice != "" && doubled(from.source) != twice {
		l.add(codeDoubled, Warning, i, "", "%s has %s twice in a row", to, twice)
	}
	if holes, ok := covers(from, image); ok && from.source != to.source && !slices.ContainsFunc(l.m.Rules[:i], func(e Rule) bool {
		_, ok := covers(e.From[0], image)
		return ok
	}) {
		l.again(i, holes)
	}
}

// again remarks on rules that match every name they make and change it once
// more.
func (l *linter) again(i int, holes [][]unit) {
	from, to := l.m.Rules[i].From[0], l.m.Rules[i].To[0]
	same := true
	for h := range holes {
		same = same && len(holes[h]) == 1 && holes[h][0].hole == h && holes[h][0].shift == 0 && holes[h][0].width == from.holes[h].Width
	}
	if !same {
		l.add(codeRepeat, Note, i, "", "%s matches what it makes: a second run changes %s again", from, to)
	}
}

// doubled returns the first segment that follows itself, holes aside.
func doubled(source string) string {
	before := ""
	for s := range strings.SplitSeq(source, ".") {
		if s == before && s != "" && !strings.ContainsAny(s, "{}0123456789") {
			return s
		}
		before = s
	}
	return ""
}

// order compares rules with the ones before them.
func (l *linter) order() {
	m := l.m
	langs := make([][]unit, len(m.Rules))
	for i := range m.Rules {
		if len(m.Rules[i].From) == 1 {
			langs[i] = patternUnits(m.Rules[i].From[0])
		}
	}
	within := func(j, i int) bool { // every name of j is one of i
		_, ok := covers(m.Rules[i].From[0], langs[j])
		return ok
	}
	guards := make(map[int]bool)
	shadowed := make(map[int]bool)
	for i, j := range meetings(langs) {
		guards[i] = true
		switch {
		case shadowed[j]:
		case within(j, i):
			shadowed[j] = true
			l.add(codeShadowed, Warning, j, "move it up, or take it out",
				"%s never decides: %s (%s) matches all its names", m.Rules[j].From[0], m.Rules[i].From[0], m.ruleAt(i))
		case !within(i, j):
			l.add(codeOverlap, Note, j, "the earlier rule decides",
				"%s and %s (%s) may match the same name", m.Rules[j].From[0], m.Rules[i].From[0], m.ruleAt(i))
		}
	}
	for i := range m.Rules {
		r := &m.Rules[i]
		if r.MovesBytes() || r.Drop != "" || guards[i] || m.Otherwise.Action != OtherwiseKeep {
			continue
		}
		if slices.Equal(langs[i], targetUnits(r.To[0], r.From[0])) {
			l.add(codeNothing, Warning, i, "take it out", "%s keeps its name, and no later rule would change it", r.From[0])
		}
	}
}

// companions are what a tensor is called that belongs to the weight of a linear layer or a
// norm, in place of "weight": its bias, and what quantisation puts there.
var companions = sync.OnceValue(func() map[string]bool {
	leaves := map[string]bool{"bias": true}
	for leaf := range quant.Leaves {
		leaves[leaf] = true
	}
	return leaves
})

// weightOnly remarks on rules for the weight that leave out the bias and what
// quantisation puts beside it.
func (l *linter) weightOnly() {
	var alone []int
	touched := newToucher(l.m)
	for i := range l.m.Rules {
		r := &l.m.Rules[i]
		if r.MovesBytes() || r.Drop != "" {
			continue
		}
		from, to := r.From[0].source, r.To[0].source
		owner, ok := strings.CutSuffix(from, ".weight")
		if newOwner, ok2 := strings.CutSuffix(to, ".weight"); !ok || !ok2 || owner == newOwner || owner == "" {
			continue
		}
		bias := append(patternUnits(r.From[0]), unit{})
		bias = appendLiteral(bias[:len(bias)-1-len("weight")], "bias")
		if !touched.all(bias) {
			alone = append(alone, i)
		}
	}
	if len(alone) > 0 {
		others := ""
		if len(alone) > 1 {
			others = fmt.Sprintf(" (and so for %s)", plural.Of(len(alone)-1, "more rule"))
		}
		l.add(codeWeightOnly, Note, alone[0], "end both sides in {leaf...} to take them along",
			"a bias, scales or zeros beside %s stay behind, where there are any%s", l.m.Rules[alone[0]].From[0], others)
	}
}

// LeftBehind finds tensors that keep their names although they belong to one
// that is renamed: its bias, or what quantisation puts beside it.
func (p *Plan) LeftBehind() []Finding {
	moved := make(map[string]int) // owner to rule
	for i := range p.Rows {
		row := &p.Rows[i]
		if row.Action != Move && row.Action != Change || row.Rule < 0 {
			continue
		}
		owner, leaf := splitOwner(row.From)
		switch {
		case leaf == "":
			moved[row.From] = row.Rule // what belongs to it may begin with its name
		case !strings.HasPrefix(row.To, row.From[:len(row.From)-len(leaf)]):
			moved[owner] = row.Rule
		}
	}
	byRule := make(map[int][]string)
	for i := range p.Rows {
		row := &p.Rows[i]
		if row.Action != Keep {
			continue
		}
		owner, leaf := splitOwner(row.From)
		if leaf == "" {
			continue
		}
		if rule, ok := moved[owner]; ok {
			byRule[rule] = append(byRule[rule], row.From)
		}
	}
	var findings []Finding
	for rule := range p.Uses {
		if names := byRule[rule]; names != nil {
			findings = append(findings, Finding{
				codeCompanion, Warning, rule, p.Uses[rule].Where,
				fmt.Sprintf("%s leaves behind %s", p.Uses[rule].Rule, foldedList(names)),
				"add rules for them, or end both sides in {leaf...}",
			})
		}
	}
	return findings
}

// splitOwner cuts a name into the module that the tensor belongs to and the
// leaf, when the leaf is "weight" or a companion. Some follow the name of a module
// without a dot.
func splitOwner(name string) (owner, leaf string) {
	for at := strings.LastIndexByte(name, '.'); at > 0; at = strings.LastIndexByte(name[:at], '.') {
		leaf := name[at+1:]
		if leaf == "weight" || companions()[leaf] {
			return name[:at], leaf
		}
		if strings.Count(leaf, ".") == 2 {
			break
		}
	}
	glued := "_bias"
	if _, leaf, ok := quant.Split(name); ok && strings.HasPrefix(leaf, "_") {
		glued = leaf
	}
	if owner, ok := strings.CutSuffix(name, glued); ok {
		return owner, glued
	}
	return "", ""
}
