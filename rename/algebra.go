package rename

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A ruleError says why a map has no inverse, or two have no composition.
type ruleError struct {
	Rule  int    // of the map, or -1
	Where string // file:line:col of the rule, or the map
	Msg   string
	Hint  string
}

func (e *ruleError) Error() string {
	s := e.Where + ": " + e.Msg
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// A ruleErrorList is every ruleError that stands in the way.
type ruleErrorList []*ruleError

func (l ruleErrorList) Error() string {
	texts := make([]string, len(l))
	for i, e := range l {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives errors.As each reason.
func (l ruleErrorList) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

const usePlan = "the inverse of a plan remembers each name: rename --write-inverse"

// Invert returns the map that undoes m. It refuses, with a ruleErrorList, where
// no map can: where m asks something, where it drops or strips tensors, where an operation rounds or does
// not say what its inverse needs to know, where two names could become one, where a new name does not say what the old one was, and where a
// rule makes names so general that they cannot be told from names that m reads
// ("module.{rest...}" to "{rest}"), so that the inverse would take hold of names
// that m left alone.
//
// One case is left to whoever uses the inverse. Rules such as "h.{n}.ln1" to
// "h.{n}.norm" are undone by their reverse only in checkpoints that had no
// "h.{n}.norm" which m left alone, and the inverse's description says so. The
// inverse of a plan has no such condition.
func Invert(m *Map) (*Map, error) {
	inv := &Map{From: m.To, To: m.From, Description: "Undoes " + cmp.Or(m.File, "a map"), Otherwise: m.Otherwise}
	errs := m.asked()
	refuse := func(rule int, hint, format string, args ...any) {
		where := cmp.Or(m.File, "map")
		if rule >= 0 {
			where = m.ruleAt(rule)
		}
		errs = append(errs, &ruleError{rule, where, fmt.Sprintf(format, args...), hint})
	}
	if len(m.Strip) > 0 {
		refuse(-1, usePlan, "strip takes out segments, and no new name says where they were")
	}
	if m.Otherwise.Action == OtherwiseDrop {
		refuse(-1, "", "otherwise drops tensors, and nothing brings them back")
	}
	touched := newToucher(m)
	var images [][]unit
	type imageSource struct {
		rule int
		to   *Target
	}
	var imageOf []imageSource
	conditional := false
	for i := range m.Rules {
		r := &m.Rules[i]
		if r.Drop != "" {
			refuse(i, "", "%s drops tensors, and nothing brings them back", r.From[0])
			continue
		}
		back, made, err := reverse(r)
		if err != nil {
			refuse(i, err.hint, "%s", err.msg)
			continue
		}
		inv.Rules = append(inv.Rules, back)
		for k, image := range made {
			images, imageOf = append(images, image), append(imageOf, imageSource{i, r.To[k]})
			if m.Otherwise.Action == OtherwiseFail || touched.all(image) {
				continue
			}
			conditional = true
			if slices.ContainsFunc(image, func(u unit) bool { return u.isHole() && u.kind == kindAnything }) && touched.any(image) {
				refuse(i, usePlan, "%s is so general that names which the map leaves alone may look like it", r.To[k])
			}
		}
	}
	for i, j := range meetings(images) {
		a, b := imageOf[i], imageOf[j]
		refuse(b.rule, usePlan, "%s and %s (%s) can make the same name", b.to, a.to, m.ruleAt(a.rule))
	}
	if len(errs) > 0 {
		return nil, errs
	}
	if conditional {
		inv.Description += "; right where no tensor had one of its new names before"
	}
	return inv, nil
}

// A toucher finds out whether a map leaves names alone.
type toucher struct {
	single searcher   // for one name
	open   []*Pattern // those that match more than one
}

func newToucher(m *Map) *toucher {
	var patterns []*Pattern
	t := new(toucher)
	for i := range m.Rules {
		for _, p := range m.Rules[i].From {
			patterns = append(patterns, p)
			if !p.literal {
				t.open = append(t.open, p)
			}
		}
	}
	t.single.index = newIndex(patterns)
	return t
}

// all reports whether one rule matches every name of the language. It may say
// false where that is so.
func (t *toucher) all(names []unit) bool {
	if name, ok := literalName(names); ok {
		found := false
		t.single.each(name, func(int, []string) bool {
			found = true
			return false
		})
		return found
	}
	for _, p := range t.open {
		if _, ok := covers(p, names); ok {
			return true
		}
	}
	return false
}

// any reports whether a rule may match some name of the language.
func (t *toucher) any(names []unit) bool {
	for _, p := range t.single.index.patterns {
		if !disjointForms(patternUnits(p), names) {
			return true
		}
	}
	return false
}

// A refusal is why one rule has no reverse.
type refusal struct{ msg, hint string }

// reverse turns a rule round. The images are what its right sides make.
func reverse(r *Rule) (back Rule, images [][]unit, why *refusal) {
	from, stack, over := r.From[0], stackHole(r.Ops), overHole(r.Ops)
	name := func(hole int) string {
		if hole == len(from.holes) {
			return over
		}
		return from.holes[hole].Name
	}
	type writing struct {
		shift int64
		width int
	}
	written := make(map[int]writing)
	for _, t := range r.To {
		image := targetUnits(t, from)
		used := make([]bool, len(from.holes)+1)
		for _, u := range image {
			if !u.isHole() {
				continue
			}
			this := writing{u.shift, u.width}
			if before, ok := written[u.hole]; ok && before != this {
				to, does := t.String(), "writes"
				if !used[u.hole] {
					to = r.rightSide()
				}
				if before.shift != u.shift {
					does = "shifts"
				}
				return back, nil, &refusal{fmt.Sprintf("%s %s {%s} in two ways", to, does, name(u.hole)), ""}
			}
			used[u.hole], written[u.hole] = true, this
		}
		for i, h := range from.holes {
			if !used[i] && h.Name != stack {
				return back, nil, &refusal{fmt.Sprintf("%s does not have %s, and no new name says what it was", t, h), ""}
			}
		}
		if written[len(from.holes)].shift != 0 {
			return back, nil, &refusal{fmt.Sprintf("%s does not count {%s} from 0, and a stack does", t, over), usePlan}
		}
		if !oneReading(image) {
			return back, nil, &refusal{fmt.Sprintf("a name that %s makes can be read in several ways", t), ""}
		}
		p, err := compile(patternSource(image, name))
		if err != nil {
			return back, nil, &refusal{fmt.Sprintf("%s is no pattern: %v", t, err), ""}
		}
		back.From, images = append(back.From, p), append(images, image)
	}
	for _, p := range r.From {
		units := patternUnits(p)
		for i, u := range units {
			if u.isHole() {
				h := slices.IndexFunc(from.holes, func(h hole) bool { return h.Name == p.holes[u.hole].Name })
				units[i].hole, units[i].shift = h, -written[h].shift
			}
		}
		t, err := compileTargetOver(targetSource(units, name), back.From[0], stack)
		if err != nil {
			return back, nil, &refusal{err.Error(), ""}
		}
		back.To = append(back.To, t)
	}
	counts := make([]int, len(r.Ops))
	_, _, _ = r.dryRun(func(i, n int) { counts[i] = n })
	for i := range slices.Backward(r.Ops) {
		o, why := r.Ops[i].inverse(counts[i])
		if why != "" {
			return back, nil, &refusal{fmt.Sprintf("%s of %s: %s", r.Ops[i].Kind, r, why), "the inverse of a plan may know: rename --write-inverse"}
		}
		back.Ops = append(back.Ops, o)
	}
	return back, images, nil
}

// inverse returns the operation that undoes this one of n tensors, or why there is none.
func (o *Operation) inverse(n int) (inv Operation, why string) {
	inv = *o
	inv.Pos = Pos{}
	switch o.Kind {
	case tensorop.Split:
		inv.Kind = tensorop.Concat
	case tensorop.Concat:
		inv.Kind = tensorop.Split
	case tensorop.Stack:
		if inv.Kind = tensorop.Unstack; o.Over != "" && !o.Count.isSet() {
			return inv, "it does not say how many tensors it stacks: count"
		}
		if o.Over == "" && o.Operand < 0 {
			inv.Count = Number{Value: int64(n)}
		}
	case tensorop.Unstack:
		if inv.Kind = tensorop.Stack; o.Over == "" && o.Operand < 0 {
			inv.Count = Number{}
		}
	case tensorop.Copy:
		if inv.Kind = tensorop.Merge; o.Operand < 0 {
			inv.Count = Number{}
		}
	case tensorop.Merge:
		if inv.Kind = tensorop.Copy; o.Operand < 0 {
			inv.Count = Number{Value: int64(n)}
		}
	case tensorop.Create:
		inv.Kind = tensorop.Discard
	case tensorop.Discard:
		inv.Kind = tensorop.Create
	case tensorop.Pad:
		inv.Kind = tensorop.Trim
	case tensorop.Trim:
		inv.Kind = tensorop.Pad
	case tensorop.Swap:
	case tensorop.Flatten:
		if inv.Kind = tensorop.Unflatten; !o.Groups.isSet() {
			return inv, "it does not say what the first axis was: groups"
		}
	case tensorop.Unflatten:
		inv.Kind = tensorop.Flatten
	case tensorop.Transpose:
		for i, a := range o.Axes {
			if i == 0 {
				inv.Axes = make([]int, len(o.Axes))
			}
			inv.Axes[a] = i
		}
	case tensorop.Squeeze:
		inv.Kind = tensorop.Unsqueeze
	case tensorop.Unsqueeze:
		inv.Kind = tensorop.Squeeze
	case tensorop.Cast:
		if inv.From, inv.To = o.To, o.From; o.From == "" {
			return inv, "it does not say what the dtype was: from"
		}
	case tensorop.Permute, tensorop.Repack:
		inv.From, inv.To = o.To, o.From
	case tensorop.Reshape:
		if inv.Shape, inv.Was = o.Was, o.Shape; o.Was == nil {
			return inv, "it does not say what the shape was"
		}
	case tensorop.Offset:
		if inv.Value = -o.Value; o.Round {
			return inv, "it rounds, and nothing brings the values back"
		}
	case tensorop.Scale:
		if inv.Value = 1 / o.Value; o.Round || 1/inv.Value != o.Value {
			return inv, "it rounds, and nothing brings the values back"
		}
	default:
		return inv, "it rounds, and nothing brings the values back"
	}
	return inv, ""
}

// targetSource writes units as a target.
func targetSource(units []unit, name func(hole int) string) string {
	var b strings.Builder
	for _, u := range units {
		switch {
		case !u.isHole():
			if u.lit == '{' || u.lit == '}' {
				b.WriteByte(u.lit)
			}
			b.WriteByte(u.lit)
		case u.shift == 0:
			b.WriteString("{" + name(u.hole) + padding(u.width) + "}")
		default:
			fmt.Fprintf(&b, "{%s%+d%s}", name(u.hole), u.shift, padding(u.width))
		}
	}
	return b.String()
}

// meetings yields pairs of languages, the earlier first, that may share a name.
// Single names find each other in a table, so that maps of a hundred thousand
// single names are no burden.
func meetings(langs [][]unit) func(yield func(i, j int) bool) {
	return func(yield func(i, j int) bool) {
		single := make(map[string]int)
		var open []int
		for j, lang := range langs {
			if lang == nil {
				continue
			}
			name, isName := literalName(lang)
			if isName {
				if i, ok := single[name]; ok && !yield(i, j) {
					return
				}
				single[name] = j
			}
			for _, i := range open {
				if !disjointForms(langs[i], lang) && !yield(i, j) {
					return
				}
			}
			if isName {
				continue
			}
			for i, other := range langs[:j] {
				if _, ok := literalName(other); ok && !disjointForms(other, lang) && !yield(i, j) {
					return
				}
			}
			open = append(open, j)
		}
	}
}

func literalName(units []unit) (string, bool) {
	b := make([]byte, len(units))
	for i, u := range units {
		if u.isHole() {
			return "", false
		}
		b[i] = u.lit
	}
	return string(b), len(units) > 0
}

// Compose returns the map that does what a and then b would do. It refuses,
// with a ruleErrorList, where the two cannot be said in one map: where b strips
// what a has renamed, where a rule of b takes some of the names that a rule of a
// makes and not others, or where one of them moves bytes or asks something.
func Compose(a, b *Map) (*Map, error) {
	c := composer{a: a, b: b, errs: append(a.asked(), b.asked()...), out: &Map{
		From: a.From, To: b.To,
		Description: "Does " + cmp.Or(a.File, "one map") + ", then " + cmp.Or(b.File, "another"),
		Strip:       a.Strip,
	}}
	if len(b.Strip) > 0 {
		if c.onlyStrips(a) && c.onlySegments(a.Strip) && c.onlySegments(b.Strip) {
			c.out.Strip = append(c.out.Strip[:len(a.Strip):len(a.Strip)], b.Strip...)
		} else {
			c.refuse(a, -1, "apply the maps one after the other", "%s strips segments from names that this map has changed", cmp.Or(b.File, "the second map"))
		}
	}
	for i := range b.Rules {
		if b.Rules[i].MovesBytes() {
			c.refuse(b, i, "", "%s moves bytes, and only renames are composed", &b.Rules[i])
		}
	}
	if len(c.errs) == 0 {
		for i := range a.Rules {
			c.rule(i)
		}
	}
	c.out.Otherwise = a.Otherwise
	if a.Otherwise.Action == OtherwiseKeep {
		c.out.Rules = append(c.out.Rules, b.Rules...)
		c.out.Otherwise = b.Otherwise
	}
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	c.dropIdentities()
	for i := range c.out.Rules {
		c.out.Rules[i].Pos, c.out.Rules[i].Notes = Pos{}, nil
	}
	return c.out, nil
}

type composer struct {
	a, b, out *Map
	errs      ruleErrorList
	bIndex    *searcher
}

func (c *composer) refuse(m *Map, rule int, hint, format string, args ...any) {
	where := cmp.Or(m.File, "map")
	if rule >= 0 {
		where = m.ruleAt(rule)
	}
	c.errs = append(c.errs, &ruleError{rule, where, fmt.Sprintf(format, args...), hint})
}

func (c *composer) onlyStrips(m *Map) bool {
	return len(m.Rules) == 0 && m.Otherwise.Action == OtherwiseKeep
}

func (c *composer) onlySegments(strip []string) bool {
	for _, s := range strip {
		if strings.Contains(s, ".") {
			return false
		}
	}
	return true
}

func (c *composer) emit(r Rule) { c.out.Rules = append(c.out.Rules, r) }

// dropIdentities takes out the rules that leave names as they are, where no
// later one would take these names instead.
func (c *composer) dropIdentities() {
	if c.out.Otherwise.Action != OtherwiseKeep {
		return
	}
	rules := c.out.Rules
	var patterns []*Pattern
	for i := range rules {
		patterns = append(patterns, rules[i].From...)
	}
	if len(patterns) != len(rules) {
		return // operations, which have several
	}
	index := searcher{index: newIndex(patterns)}
	shields := func(i int) bool {
		from := patternUnits(patterns[i])
		if name, ok := literalName(from); ok {
			later := false
			index.each(name, func(k int, _ []string) bool {
				later = k > i
				return !later
			})
			return later
		}
		for _, p := range patterns[i+1:] {
			if !disjointForms(from, patternUnits(p)) {
				return true
			}
		}
		return false
	}
	c.out.Rules = rules[:0:0]
	for i := range rules {
		r := &rules[i]
		if len(r.To) == 1 && !r.MovesBytes() && slices.Equal(targetUnits(r.To[0], r.From[0]), patternUnits(r.From[0])) && !shields(i) {
			continue
		}
		c.emit(*r)
	}
}

// rule composes one rule of a with all of b.
func (c *composer) rule(i int) {
	r := &c.a.Rules[i]
	switch {
	case r.Drop != "":
		c.emit(*r)
		return
	case r.MovesBytes():
		c.refuse(c.a, i, "", "%s moves bytes, and only renames are composed", r)
		return
	}
	image := targetUnits(r.To[0], r.From[0])
	if name, ok := literalName(image); ok {
		c.single(i, name)
		return
	}
	for k := range c.b.Rules {
		next := &c.b.Rules[k]
		from := next.From[0]
		if disjointForms(image, patternUnits(from)) {
			continue
		}
		if holes, ok := covers(from, image); ok && oneReading(patternUnits(from)) {
			c.join(i, next, r.From[0], holes)
			return
		}
		if !c.narrow(i, image, next) {
			c.refuse(c.a, i, "apply the maps one after the other",
				"%s of %s takes some of the names that %s makes and leaves others, or may", from, c.b.ruleAt(k), r.To[0])
			return
		}
	}
	c.unmatched(i, *r)
}

// single composes a rule that makes one name.
func (c *composer) single(i int, name string) {
	if c.bIndex == nil {
		var patterns []*Pattern
		for k := range c.b.Rules {
			patterns = append(patterns, c.b.Rules[k].From[0])
		}
		c.bIndex = &searcher{index: newIndex(patterns)}
	}
	r := c.a.Rules[i]
	found := false
	c.bIndex.each(name, func(k int, holes []string) bool {
		found = true
		next := &c.b.Rules[k]
		if next.Drop != "" {
			c.emit(Rule{From: r.From, Drop: next.Drop})
			return false
		}
		to, err := next.To[0].expand(holes)
		if err != nil {
			c.refuse(c.a, i, "", "%s makes %q, and %s: %v", &r, name, c.b.ruleAt(k), err)
			return false
		}
		c.emit(Rule{From: r.From, To: []*Target{exactTarget(to)}})
		return false
	})
	if !found {
		c.unmatched(i, r)
	}
}

// unmatched composes a rule with what b does to names that none of its rules
// matches.
func (c *composer) unmatched(i int, r Rule) {
	switch c.b.Otherwise.Action {
	case OtherwiseKeep:
		c.emit(r)
	case OtherwiseDrop:
		c.emit(Rule{From: r.From, Drop: c.b.Otherwise.Reason})
	case OtherwiseFail:
		c.refuse(c.a, i, "", "%s makes names that no rule of %s matches, which it calls an error", &r, cmp.Or(c.b.File, "the second map"))
	}
}

// join emits the rule from a pattern to what next makes of the text that its
// holes take, given in units of the pattern's holes.
func (c *composer) join(i int, next *Rule, from *Pattern, holes [][]unit) {
	if next.Drop != "" {
		c.emit(Rule{From: []*Pattern{from}, Drop: next.Drop})
		return
	}
	var units []unit
	for _, pc := range next.To[0].pieces {
		if pc.text != "" {
			units = appendLiteral(units, pc.text)
			continue
		}
		text := holes[pc.hole]
		if pc.copies() {
			units = append(units, text...)
			continue
		}
		shifted, ok := rewrite(text, pc)
		if !ok {
			c.refuse(c.a, i, "", "%s shifts a number that is put together from several parts, or below 0, or writes one with zeros otherwise", next)
			return
		}
		units = append(units, shifted...)
	}
	source := targetSource(units, func(hole int) string { return from.holes[hole].Name })
	to, err := compileTarget(source, from)
	if err != nil {
		c.refuse(c.a, i, "", "with %s: %v", next, err)
		return
	}
	c.emit(Rule{From: []*Pattern{from}, To: []*Target{to}})
}

// rewrite shifts a number, one hole or digits, or gives it other zeros.
func rewrite(text []unit, pc targetPiece) ([]unit, bool) {
	if len(text) == 1 && text[0].isHole() {
		u := text[0]
		if u.width != pc.took {
			return nil, false // a plain hole refuses a number with zeros before it
		}
		u.shift, u.width = u.shift+pc.shift, pc.width
		return []unit{u}, u.shift >= -maxShift && u.shift <= maxShift
	}
	digits, ok := literalName(text)
	if !ok {
		return nil, false
	}
	pc.hole = 0
	name, err := (&Target{pieces: []targetPiece{pc}}).expand([]string{digits})
	return appendLiteral(nil, name), err == nil
}

// narrow emits the rule for those names of rule i that next takes, where they
// are the ones in which a hole for anything takes what next's pattern has in
// its place. The other names are left for the rules after it.
func (c *composer) narrow(i int, image []unit, next *Rule) bool {
	from, theirs := c.a.Rules[i].From[0], patternUnits(next.From[0])
	if !oneReading(patternUnits(from)) || !oneReading(theirs) {
		return false
	}
	at := -1
	for j, u := range image {
		if u.isHole() {
			if at >= 0 || u.kind != kindAnything {
				return false
			}
			at = j
		}
	}
	before, after := image[:max(at, 0)], image[at+1:]
	if at < 0 || len(before)+len(after) > len(theirs) ||
		!sameText(before, theirs[:len(before)]) || !sameText(after, theirs[len(theirs)-len(after):]) {
		return false
	}
	inner := theirs[len(before) : len(theirs)-len(after)]

	// Holes of the new pattern: those of from, then those of next.
	names := make(map[string]bool)
	var holeNames []string
	for _, h := range from.holes {
		names[h.Name] = true
		holeNames = append(holeNames, h.Name)
	}
	for _, h := range next.From[0].holes {
		name := h.Name
		for n := 2; names[name]; n++ {
			name = h.Name + "_" + strconv.Itoa(n)
		}
		names[name] = true
		holeNames = append(holeNames, name)
	}
	var units []unit
	for _, u := range patternUnits(from) {
		if u.hole != image[at].hole {
			units = append(units, u)
			continue
		}
		for _, v := range inner {
			if v.isHole() {
				v.hole += len(from.holes)
			}
			units = append(units, v)
		}
	}
	pattern, err := compile(patternSource(units, func(hole int) string { return holeNames[hole] }))
	if err != nil {
		return false
	}
	holes := make([][]unit, len(next.From[0].holes))
	for h, hole := range next.From[0].holes {
		for n := range pattern.holes {
			if pattern.holes[n].Name == holeNames[len(from.holes)+h] {
				holes[h] = []unit{{hole: n, kind: hole.Kind, width: hole.Width}}
			}
		}
	}
	c.join(i, next, pattern, holes)
	return true
}

// sameText reports whether both are the same bytes, without holes.
func sameText(a, b []unit) bool {
	x, okX := literalName(a)
	y, okY := literalName(b)
	return x == y && (okX || len(a) == 0) && (okY || len(b) == 0)
}
