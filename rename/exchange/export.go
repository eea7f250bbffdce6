package exchange

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/rename"
)

// A Model is the checkpoint that a form is written for which lists all tensors.
type Model struct {
	// Names are those of its tensors.
	Names []string
	// Type and Architectures are model_type and architectures of its configuration.
	Type          string
	Architectures []string
	// Number looks up a number of the configuration. It may be nil.
	Number func(key string) (int64, bool)
	// Embeds reports whether a new name is that of an embedding or of the head. It may be
	// nil.
	Embeds func(name string) bool
}

// Export writes a map in another form. The model is for Mergekit only. An error that is
// a [*RefusedError] has every rule that the form cannot say, and why; nothing has been
// written then.
func Export(w io.Writer, m *rename.Map, form Form, model *Model) error {
	switch form {
	case Transformers:
		return exportTransformers(w, m)
	case VLLM:
		return exportVLLM(w, m)
	case Mergekit:
		if model == nil {
			return errors.New("an architecture of mergekit lists every tensor, and a map has only those that change; name the checkpoint")
		}
		return exportMergekit(w, m, model)
	case JSON:
		return rename.WriteJSON(w, m)
	}
	return fmt.Errorf("there is no form %q", form)
}

// deciding returns the map without rules whose pattern an earlier rule has, whatever the holes
// are called. They never decide, and a table has each pattern once.
func deciding(m *rename.Map) *rename.Map {
	out := *m
	seen := make(map[string]bool)
	out.Rules = nil
	for i := range m.Rules {
		r := m.Rules[i]
		if !r.MovesBytes() {
			from, _ := r.Parts()
			numbers := make(map[string]string)
			for k := range from {
				if hole := &from[k].Hole; *hole != "" {
					if numbers[*hole] == "" {
						numbers[*hole] = strconv.Itoa(len(numbers))
					}
					*hole = numbers[*hole]
				}
			}
			key := fmt.Sprintf("%#v", from)
			if seen[key] {
				continue
			}
			seen[key] = true
		}
		out.Rules = append(out.Rules, r)
	}
	return &out
}

// inTurn refuses what no list of renames says, and returns the rules in an order in which
// they may be carried out one after the other.
func inTurn(m *rename.Map, why *refusals, group func(rule int) int) []int {
	switch m.Otherwise.Action {
	case rename.OtherwiseFail:
		why.add(mapName(m), "", "otherwise: error: a list of renames has no way to refuse other names")
	case rename.OtherwiseDrop:
		why.add(mapName(m), "", "otherwise: drop: a list of renames has no way to drop the names that none of them matches")
	}
	turns, err := rename.NewTurns(m)
	if err == nil {
		var order []int
		if order, err = turns.Order(group); err == nil {
			return order
		}
	}
	for _, one := range unjoin(err) {
		why.add(one.Error(), "", "the renames of the other project are carried out one after the other, and a map's all at once")
	}
	return nil
}

func mapName(m *rename.Map) string { return cmp.Or(m.File, "the map") }

// unjoin returns the errors that an error is made of.
func unjoin(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return []error{err}
}

// renames refuses rules that are no renames, and says for each rule whether it is one.
func renames(m *rename.Map, why *refusals, drops bool) []bool {
	ok := make([]bool, len(m.Rules))
	for i := range m.Rules {
		switch r := &m.Rules[i]; {
		case r.MovesBytes():
			var kinds []string
			for k := range r.Ops {
				kinds = append(kinds, string(r.Ops[k].Kind))
			}
			why.rule(m, i, "it moves bytes (%s), and renames only rename", strings.Join(slices.Compact(kinds), ", "))
		case r.Drop != "" && !drops:
			why.rule(m, i, "it drops tensors, and this form only gives names")
		default:
			ok[i] = true
		}
	}
	return ok
}

// moving reports whether some rule moves bytes. Then the reasons are complete without an
// order of the rules.
func moving(ok []bool) bool { return slices.Contains(ok, false) }

// Of transformers, by WeightTransform.rename_source_key: each pattern is searched in the
// key that the patterns before it have made; the text that matched gives way to the
// target, in which \1 is the pattern's first group and all else is text. Only one group
// serves, and targets lose a ^ at the beginning, a $ at the end and whatever is in
// parentheses (process_target_pattern). "*." in a pattern is a wildcard.
func exportTransformers(w io.Writer, m *rename.Map) error {
	var why refusals
	m = deciding(m)
	if len(m.Strip) > 0 {
		why.add(mapName(m), "", "strip: a renaming of transformers replaces one text, and a segment may be in a name more than once")
	}
	ok := renames(m, &why, false)
	table := make([][2]string, len(m.Rules))
	for i := range m.Rules {
		if !ok[i] {
			continue
		}
		var reason string
		if table[i], reason = transformersRule(&m.Rules[i]); reason != "" {
			why.rule(m, i, "%s", reason)
		}
	}
	var order []int
	if !moving(ok) {
		order = inTurn(m, &why, nil)
	}
	if err := why.err(); err != nil {
		return err
	}
	var d object
	for _, i := range order {
		d.text(table[i][0], table[i][1])
	}
	return d.write(w)
}

// transformersRule writes one rule, or says why it cannot.
func transformersRule(r *rename.Rule) (entry [2]string, reason string) {
	from, to := r.Parts()
	if hole := repeated(from); hole != "" {
		return entry, fmt.Sprintf("{%s} has to match the same text twice, and transformers takes a backreference in a pattern for something else", hole)
	}
	if does := computes(from, to); does != "" {
		return entry, does + ", and a regular expression does not count"
	}
	isHole := func(p rename.Part) bool { return p.Hole != "" }
	first := slices.IndexFunc(to, isHole)
	last := len(to) - 1
	for last >= 0 && !isHole(to[last]) {
		last--
	}
	var kept []rename.Part // what the group holds
	at := -1
	if first >= 0 {
		kept = to[first : last+1]
		for i := range from {
			if i+len(kept) <= len(from) && slices.Equal(from[i:i+len(kept)], kept) {
				at = i
			}
		}
		if at < 0 {
			var holes []string
			for _, p := range kept {
				if isHole(p) {
					holes = append(holes, "{"+p.Hole+"}")
				}
			}
			return entry, fmt.Sprintf("the new name keeps %s with other text between or in another order, and a renaming of transformers keeps one piece of a name", strings.Join(holes, " and "))
		}
	}
	target := literal(to[:max(first, 0)])
	if first >= 0 {
		target += `\1` + literal(to[last+1:])
	} else {
		target = literal(to)
	}
	if plain := literal(to); strings.ContainsAny(plain, `\()`) || strings.HasPrefix(target, "^") || strings.HasSuffix(target, "$") {
		return entry, `transformers does not take ^, $, \ and parentheses in a new name as text`
	}
	e := expression{parts: from}
	e.group = func(i int) (open, end string) {
		if i == at {
			open = "("
		}
		if at >= 0 && i == at+len(kept)-1 {
			end = ")"
		}
		return open, end
	}
	return [2]string{e.whole(), target}, ""
}

// repeated returns a hole that a pattern has twice, "" for none.
func repeated(parts []rename.Part) string {
	seen := make(map[string]bool)
	for _, p := range parts {
		if p.Hole != "" && seen[p.Hole] {
			return p.Hole
		}
		seen[p.Hole] = true
	}
	return ""
}

// computes says what a new name does to a number, "" where it only copies.
func computes(from, to []rename.Part) string {
	width := make(map[string]int)
	for _, p := range from {
		width[p.Hole] = p.Width
	}
	for _, p := range to {
		switch {
		case p.Shift != 0:
			return fmt.Sprintf("it shifts {%s}", p.Hole)
		case p.Width != width[p.Hole]:
			return fmt.Sprintf("it writes {%s} with other zeros", p.Hole)
		}
	}
	return ""
}

// literal joins the text of parts.
func literal(parts []rename.Part) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteString(p.Text)
	}
	return b.String()
}

// Of vLLM, by WeightsMapper._map_name: the tables orig_to_new_regex, _substr, _prefix and
// _suffix follow each other, and each entry works on what the entries before it have
// made. A regular expression is Python's, with pattern.sub; a substring, a prefix and a
// suffix are replaced once, the substring where it comes first. null ignores the weight.
func exportVLLM(w io.Writer, m *rename.Map) error {
	var why refusals
	m = deciding(m)
	ok := renames(m, &why, true)
	if moving(ok) {
		return why.err()
	}
	if len(m.Strip) == 0 {
		if tables := plainTables(m); tables != nil {
			return writeTables(w, tables)
		}
	}
	var table object
	for _, s := range m.Strip {
		if strings.Contains(s, ".") {
			why.add(mapName(m), "", "strip %s: what it leaves may look like it again, and a regular expression does not see that", s)
			continue
		}
		table.text(`(?:^|(?<=\.))`+escape(s)+`\.`, "")
		table.text(`(?:^|\.)`+escape(s)+"$", "")
	}
	entries := make([]entry, len(m.Rules))
	for i := range m.Rules {
		var reason string
		if entries[i], reason = vllmRule(&m.Rules[i]); reason != "" {
			why.rule(m, i, "%s", reason)
		}
	}
	order := inTurn(m, &why, nil)
	if err := why.err(); err != nil {
		return err
	}
	for _, i := range order {
		table.entry(entries[i])
	}
	return writeTables(w, map[string]*object{"regex": &table})
}

// An entry is a key and the new text, or null.
type entry struct {
	key, text string
	null      bool
}

var vllmTables = []string{"regex", "substr", "prefix", "suffix"}

func writeTables(w io.Writer, tables map[string]*object) error {
	var d object
	for _, name := range vllmTables {
		if t := tables[name]; t != nil && len(t.members) > 0 {
			d.raw("orig_to_new_"+name, t.String())
		}
	}
	return d.write(w)
}

// vllmRule writes one rule as a regular expression of the whole name.
func vllmRule(r *rename.Rule) (e entry, reason string) {
	from, to := r.Parts()
	if does := computes(from, to); does != "" {
		return e, does + ", and a regular expression does not count"
	}
	numbers := make(map[string]int) // of the groups
	x := expression{parts: from}
	x.group = func(i int) (open, end string) {
		if hole := from[i].Hole; hole != "" && numbers[hole] == 0 {
			numbers[hole] = len(numbers) + 1
			return "(", ")"
		}
		return "", ""
	}
	x.again = func(hole string) string { return fmt.Sprintf(`(?:\%d)`, numbers[hole]) }
	e.key = x.whole()
	if r.Drop != "" {
		e.null = true
		return e, ""
	}
	if len(numbers) > 99 {
		return e, "it has more than 99 holes, and Python's names of groups end there"
	}
	for i, p := range to {
		switch {
		case p.Hole == "":
			e.text += strings.ReplaceAll(p.Text, `\`, `\\`)
		case i+1 < len(to) && startsWithDigit(to[i+1].Text):
			e.text += fmt.Sprintf(`\g<%d>`, numbers[p.Hole])
		default:
			e.text += fmt.Sprintf(`\%d`, numbers[p.Hole])
		}
	}
	return e, ""
}

func startsWithDigit(s string) bool { return s != "" && '0' <= s[0] && s[0] <= '9' }

// plainTables returns the map as substrings, prefixes and suffixes, nil where it takes
// more. Then all rules are regular expressions.
func plainTables(m *rename.Map) map[string]*object {
	entries := make([]entry, len(m.Rules))
	kinds := make([]int, len(m.Rules))
	for i := range m.Rules {
		if entries[i], kinds[i] = plainRule(&m.Rules[i]); kinds[i] == 0 {
			return nil
		}
	}
	var why refusals
	order := inTurn(m, &why, func(rule int) int { return kinds[rule] })
	if len(why) > 0 {
		return nil
	}
	tables := make(map[string]*object)
	for _, i := range order {
		name := vllmTables[kinds[i]]
		if tables[name] == nil {
			tables[name] = new(object)
		}
		tables[name].entry(entries[i])
	}
	return tables
}

// plainRule writes a rule as an entry of vllmTables[kind], 0 for one that is none: text
// with anything before it, behind it or on both sides, which stays.
func plainRule(r *rename.Rule) (e entry, kind int) {
	from, to := r.Parts()
	var text []string
	for i, p := range from {
		switch {
		case p.Hole == "":
			text = append(text, p.Text)
		case p.Kind != rename.Anything || i != 0 && i != len(from)-1:
			return e, 0
		}
	}
	if len(text) != 1 || len(from) == 1 || repeated(from) != "" {
		return e, 0
	}
	e.key, e.null = text[0], r.Drop != ""
	before, after := from[0].Hole != "", from[len(from)-1].Hole != ""
	kind = slices.Index(vllmTables, map[bool]string{true: "substr", false: "suffix"}[after])
	if !before {
		kind = slices.Index(vllmTables, "prefix")
	}
	if e.null {
		return e, kind
	}
	if before {
		if len(to) == 0 || to[0].Hole != from[0].Hole {
			return e, 0
		}
		to = to[1:]
	}
	if after {
		if len(to) == 0 || to[len(to)-1].Hole != from[len(from)-1].Hole {
			return e, 0
		}
		to = to[:len(to)-1]
	}
	if slices.ContainsFunc(to, func(p rename.Part) bool { return p.Hole != "" }) {
		return e, 0
	}
	e.text = literal(to)
	return e, kind
}
