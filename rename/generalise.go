package rename

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/rename/template"
)

// Generalise finds the rules that take a checkpoint's names to others: few, with holes for
// numbers, and for the rest of names that only take another prefix. want has the new names
// by the old ones, of those that keep theirs as well; a name that is not in it may become
// anything, and is dropped where another takes it. Names of which part gives other numbers are
// never of one rule; nil puts none apart.
//
// It promises nothing that it has not tried: the rules are applied to the names, and what
// they get wrong is told name by name.
func Generalise(names []string, want map[string]string, part func(name string) int) *Map {
	renamed := make([]renaming, 0, len(want))
	for row, name := range names {
		if to, ok := want[name]; ok && to != name {
			r := renaming{from: name, to: to, row: row, at: len(renamed)}
			if part != nil {
				r.part = part(name)
			}
			renamed = append(renamed, r)
		}
	}
	d := derivation{names: names, want: want}
	d.derive(renamed)
	return d.rules()
}

// A renaming is a tensor's two names.
type renaming struct {
	from, to string
	part     int
	row, at  int // among all names, and among those that are renamed
}

// A derivation is rules that are being found.
type derivation struct {
	names []string
	want  map[string]string
	parts []*part
	// drops are tensors that B lacks and whose names others need.
	drops []string
}

// A part is some renamings and the one rule that may stand for them.
type part struct {
	members []renaming
	rule    *Rule // nil: name by name
	// within are the parts that the rule takes the place of.
	within []*part
}

func (d *derivation) derive(renamed []renaming) {
	// The numbers that count in all names are tried first, those glued to a word among
	// them, blk0, and what else a word ends with after an underscore, layers_11. Then
	// numbers are taken for a part of their word: ln_1.
	for _, p := range byTemplate(renamed, d.kinds(renamed)) {
		if p.rule = templateRule(p.members); p.rule != nil {
			d.parts = append(d.parts, p)
			continue
		}
		for _, q := range byTemplate(p.members, segments) {
			q.rule = templateRule(q.members)
			d.parts = append(d.parts, q)
		}
	}
	d.joinPrefixes()
	d.verify()
}

// kinds returns what says the templates of a renaming, in which the numbers that count in
// any name of a side are put aside.
func (d *derivation) kinds(renamed []renaming) func(r *renaming) (from, to string) {
	of := func(n int, name func(i int) string) []string {
		templates := make([]string, n)
		for _, k := range template.Kinds(n, name) {
			t := template.Words.Of(strings.Join(k.Text, "0"))
			for _, i := range k.Members {
				templates[i] = t
			}
		}
		return templates
	}
	from := of(len(d.names), func(i int) string { return d.names[i] })
	to := of(len(renamed), func(i int) string { return renamed[i].to })
	return func(r *renaming) (string, string) { return from[r.row], to[r.at] }
}

func segments(r *renaming) (from, to string) {
	return template.Segments.Of(r.from), template.Segments.Of(r.to)
}

// byTemplate puts renamings together whose names have the same templates.
func byTemplate(renamed []renaming, of func(r *renaming) (from, to string)) []*part {
	var out []*part
	type key struct {
		from, to string
		part     int
	}
	parts := make(map[key]*part)
	for i := range renamed {
		r := &renamed[i]
		from, to := of(r)
		k := key{from, to, r.part}
		p := parts[k]
		if p == nil {
			p = &part{}
			parts[k] = p
			out = append(out, p)
		}
		p.members = append(p.members, *r)
	}
	return out
}

// joinPrefixes puts one rule in the place of templates that only take another
// prefix, such as "model." for "language_model.model.".
func (d *derivation) joinPrefixes() {
	type change struct {
		from, to string
		part     int
	}
	byChange := make(map[change]*part)
	var order []change
	of := make(map[*part]change)
	for _, p := range d.parts {
		from, to := prefixes(p.members[0].from, p.members[0].to)
		if template.Segments.Count(from)+template.Segments.Count(to) > 0 {
			continue
		}
		k := change{from, to, p.members[0].part}
		if byChange[k] == nil {
			byChange[k] = &part{rule: prefixRule(from, to)}
			order = append(order, k)
		}
		j := byChange[k]
		j.within = append(j.within, p)
		j.members = append(j.members, p.members...)
		of[p] = k
	}
	d.parts = slices.DeleteFunc(d.parts, func(p *part) bool {
		k, ok := of[p]
		return ok && len(byChange[k].within) > 1 && byChange[k].rule != nil
	})
	// A prefix says less than a template, and so comes after those; of two, the
	// longer one first.
	slices.SortStableFunc(order, func(a, b change) int { return len(b.from) - len(a.from) })
	for _, k := range order {
		if j := byChange[k]; len(j.within) > 1 && j.rule != nil {
			d.parts = append(d.parts, j)
		}
	}
}

// prefixes returns what is left of two names without the segments that both end
// with.
func prefixes(from, to string) (string, string) {
	end := 0
	for i := 1; i <= min(len(from), len(to)) && from[len(from)-i] == to[len(to)-i]; i++ {
		switch {
		case i == len(from) && (i == len(to) || to[len(to)-i-1] == '.'):
			end = i
		case i == len(to) && i < len(from) && from[len(from)-i-1] == '.':
			end = i
		case from[len(from)-i] == '.':
			end = i - 1
		}
	}
	return from[:len(from)-end], to[:len(to)-end]
}

func prefixRule(from, to string) *Rule {
	return newRule(Escape(from)+"{rest...}", Escape(to)+"{rest...}")
}

// newRule returns nil where a side is no pattern: an empty name.
func newRule(from, to string) *Rule {
	r, err := NewRule(from, to)
	if err != nil {
		return nil
	}
	return &r
}

// verify applies the rules and takes apart those that get a name wrong, until
// none does.
func (d *derivation) verify() {
	for {
		m := d.rules()
		owner := d.owners()
		plan := NewPlan(m, d.names, Limits{})
		wrong := make(map[*part]bool)
		var drops []string
		var ruleOf map[string]int
		if len(plan.Problems) > 0 {
			ruleOf = make(map[string]int, len(plan.Rows))
		}
		for _, row := range plan.Rows {
			if ruleOf != nil {
				ruleOf[row.From] = row.Rule
			}
			want, ok := d.want[row.From]
			if ok && row.To != want {
				if row.Rule < 0 {
					continue
				}
				wrong[owner[row.Rule]] = true
			}
		}
		for _, p := range plan.Problems {
			if p.Rule >= 0 {
				wrong[owner[p.Rule]] = true
			}
			// Of two that come to one name, the one that B does not have there.
			for _, from := range p.From {
				if _, ok := d.want[from]; ok {
					continue
				}
				if rule := ruleOf[from]; rule >= 0 {
					wrong[owner[rule]] = true
				} else if !slices.Contains(d.drops, from) {
					drops = append(drops, from)
				}
			}
		}
		again := len(drops) > 0
		for _, name := range drops {
			if !slices.Contains(d.drops, name) {
				d.drops = append(d.drops, name)
			}
		}
		var parts []*part
		for _, p := range d.parts {
			switch {
			case !wrong[p] || p.rule == nil:
				parts = append(parts, p)
			case p.within != nil:
				parts = append(p.within, parts...)
				again = true
			default:
				p.rule = nil
				parts = append(parts, p)
				again = true
			}
		}
		d.parts = parts
		if !again {
			return
		}
	}
}

// rules returns the map: names first, so that no rule stands in their way.
func (d *derivation) rules() *Map {
	m := &Map{}
	d.each(func(_ *part, r *Rule) { m.Rules = append(m.Rules, *r) })
	return m
}

// owners returns the part that each rule of the map came from.
func (d *derivation) owners() []*part {
	var out []*part
	d.each(func(p *part, _ *Rule) { out = append(out, p) })
	return out
}

func (d *derivation) each(f func(p *part, r *Rule)) {
	for _, name := range d.drops {
		r := DropRule(name, "another tensor takes its name")
		f(nil, &r)
	}
	for _, p := range d.parts {
		if p.rule != nil {
			continue
		}
		for _, r := range p.members {
			if rule := newRule(Escape(r.from), Escape(r.to)); rule != nil {
				f(p, rule)
			}
		}
	}
	// A rule for one name comes before those with holes, which may match it as well.
	for _, single := range []bool{true, false} {
		for _, p := range d.parts {
			if p.rule != nil && (len(p.rule.From[0].holes) == 0) == single {
				f(p, p.rule)
			}
		}
	}
}

// templateRule returns the rule for names of one template each side, with holes
// where the numbers vary; nil where B's numbers do not follow from A's.
func templateRule(members []renaming) *Rule {
	if r := numberRule(members, false); r != nil {
		return r
	}
	return numberRule(members, true)
}

// numberRule is templateRule where numbers with leading zeros are texts, or else, where all of
// one place are written with as many digits, numbers.
func numberRule(members []renaming, zeros bool) *Rule {
	from, fromNumbers := template.Runs.Split(members[0].from)
	to, toNumbers := template.Runs.Split(members[0].to)
	odd := make(map[string]int32)
	fromAll := numbersOf(members, len(fromNumbers), odd, func(r *renaming) string { return r.from })
	toAll := numbersOf(members, len(toNumbers), odd, func(r *renaming) string { return r.to })
	if zeros {
		a := fromAll.readPadded(members, func(r *renaming) string { return r.from })
		b := toAll.readPadded(members, func(r *renaming) string { return r.to })
		if !a && !b {
			return nil
		}
	}
	holes := make([]string, len(fromNumbers)) // their names
	taken := make(map[string]bool)
	var b strings.Builder
	for i, n := range fromNumbers {
		b.WriteString(Escape(from[i]))
		if !fromAll.varies(i) {
			b.WriteString(n)
			continue
		}
		// Where A's word does not say what is counted, B's may.
		counts := template.Counts(from[i])
		for j := 0; counts == "" && j < len(toNumbers); j++ {
			if shift, ok := shifted(fromAll, i, toAll, j); ok && shift == 0 {
				counts = template.Counts(to[j])
			}
		}
		holes[i] = holeName(counts, taken)
		fmt.Fprintf(&b, "{%s%s}", holes[i], padding(fromAll.zeros[i]))
	}
	b.WriteString(Escape(from[len(from)-1]))
	pattern := b.String()

	b.Reset()
	for j, n := range toNumbers {
		b.WriteString(Escape(to[j]))
		if !toAll.varies(j) {
			b.WriteString(n)
			continue
		}
		hole := ""
		for i, name := range holes {
			shift, ok := shifted(fromAll, i, toAll, j)
			if !ok || name == "" || hole != "" && shift != 0 {
				continue
			}
			hole = name
			if shift == 0 {
				break
			}
			hole += fmt.Sprintf("%+d", shift)
		}
		if hole == "" {
			return nil
		}
		fmt.Fprintf(&b, "{%s%s}", hole, padding(toAll.zeros[j]))
	}
	b.WriteString(Escape(to[len(to)-1]))
	return newRule(pattern, b.String())
}

// A numberTable has the numbers of names of one template, a row for each name.
type numberTable struct {
	width  int
	values []int32
	// zeros has the width of each number of a name that is written with zeros before it, or 0.
	zeros []int
}

// numbersOf reads the numbers of the members. One that is longer than an index or has a
// leading zero is a text, which odd numbers from -1 down.
func numbersOf(members []renaming, width int, odd map[string]int32, name func(*renaming) string) numberTable {
	t := numberTable{width, make([]int32, 0, width*len(members)), make([]int, width)}
	var form []byte
	for k := range members {
		start := len(t.values)
		form, t.values = template.Runs.Scan(form[:0], t.values, name(&members[k]))
		if !slices.Contains(t.values[start:], -1) {
			continue
		}
		_, texts := template.Runs.Split(name(&members[k]))
		for i, text := range texts {
			if t.values[start+i] < 0 {
				if odd[text] == 0 {
					odd[text] = int32(-1 - len(odd))
				}
				t.values[start+i] = odd[text]
			}
		}
	}
	return t
}

// readPadded reads the numbers of the places where all are written with zeros up to the same
// width, and reports whether there are any.
func (t *numberTable) readPadded(members []renaming, name func(*renaming) string) bool {
	texts := make([][]string, len(members))
	for k := range members {
		_, texts[k] = template.Runs.Split(name(&members[k]))
	}
	found := false
	for i := range t.width {
		width := 0
		for _, row := range texts {
			if len(row[i]) > 1 && row[i][0] == '0' {
				width = len(row[i])
				break
			}
		}
		if width == 0 || width > maxWidth || slices.ContainsFunc(texts, func(row []string) bool { return !padded(row[i], width) || len(row[i]) > maxWidth }) {
			continue
		}
		found, t.zeros[i] = true, width
		for k, row := range texts {
			v, _ := strconv.ParseInt(row[i], 10, 32)
			t.values[k*t.width+i] = int32(v)
		}
	}
	return found
}

func (t numberTable) varies(i int) bool {
	for k := i; k < len(t.values); k += t.width {
		if t.values[k] != t.values[i] {
			return true
		}
	}
	return false
}

// shifted reports whether B's number at j is always A's at i, or that and a
// constant.
func shifted(from numberTable, i int, to numberTable, j int) (shift int, ok bool) {
	shift = int(to.values[j]) - int(from.values[i])
	for f, t := i, j; f < len(from.values); f, t = f+from.width, t+to.width {
		x, y := from.values[f], to.values[t]
		if int(y)-int(x) != shift || shift != 0 && (x < 0 || y < 0) {
			return 0, false
		}
	}
	return shift, true
}

// WithHoles writes a pattern: texts that stand for themselves, with a hole for a number
// between each two. A hole is called after what the text before it counts, or else the word
// before the same hole of words, which are as many.
func WithHoles(texts, words []string) string {
	var b strings.Builder
	taken := make(map[string]bool)
	for i, text := range texts {
		if i > 0 {
			counts := cmp.Or(template.Counts(texts[i-1]), template.Counts(words[i-1]))
			b.WriteString("{" + holeName(counts, taken) + "}")
		}
		b.WriteString(Escape(text))
	}
	return b.String()
}

// holeName calls a number after what it counts, "" where that is not known.
func holeName(counts string, taken map[string]bool) string {
	base := cmp.Or(counts, "n")
	name := base
	for i := 2; taken[name]; i++ {
		name = base + strconv.Itoa(i)
	}
	taken[name] = true
	return name
}

// holeText matches a hole of a pattern that is one number or word, and what is escaped there.
var holeText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\\.|\{[^{}.]*\}`) })

// Unnamed writes a pattern without the names of its holes, to compare it with others
// whose holes have other names.
func Unnamed(pattern string) string {
	return holeText().ReplaceAllStringFunc(pattern, func(s string) string {
		if s[0] == '\\' {
			return s
		}
		return "{}"
	})
}
