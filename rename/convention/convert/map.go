package convert

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// step writes an operation as maps have it: what does not apply is left out.
func step(r tensorop.Op) (tensorop.Op, error) {
	switch r.Kind {
	case tensorop.Split, tensorop.Concat:
		if r.Sizes == nil {
			r.Sizes = []int64{1, 1}
		}
		if r.Layout != tensorop.PerHead && r.Layout != tensorop.Grouped {
			r.Groups = 0
		}
		if r.Layout == tensorop.Contiguous {
			r.Layout = ""
		}
	case tensorop.NegativeExp:
		r.Round = true
	}
	return r, nil
}

// A batch is moves that one rule may say.
type batch struct {
	key   string
	moves []int
	all   []*batch // of the moves
	sides []side   // of the first move
	to    []side
	steps []rename.Operation
	over  int // the run of digits of From[0] that is stacked, or -1
}

// A side is names that differ only in the number that a stack runs over.
type side struct {
	names []string
	over  int // the run of digits, -1 where there is one name only
}

// Map writes the conversion as a map, whose rules stand for as many tensors as
// they can. Applied to the tensors that the conversion was derived for it does
// exactly what the conversion says.
func (c *Conversion) Map() (*rename.Map, error) {
	b, err := c.rules(false)
	if err == nil && c.agrees(b) {
		return b, nil
	}
	// Some rule took more than its tensors: every tensor by its name.
	if b, err = c.rules(true); err != nil {
		return nil, err
	}
	if !c.agrees(b) {
		return nil, fmt.Errorf("%s to %s: the conversion cannot be written as a map", c.From, c.To)
	}
	return b, nil
}

// agrees applies the map and compares.
func (c *Conversion) agrees(m *rename.Map) bool {
	var names []string
	want := make(map[string]string)
	for i := range c.Moves {
		mv := &c.Moves[i]
		names = append(names, mv.From...)
		if len(mv.Ops) == 0 {
			want[mv.From[0]] = mv.To[0]
		}
	}
	for _, d := range c.Dropped {
		names = append(names, d.Name)
	}
	for _, a := range c.Unknown() {
		names = append(names, a.Name)
		want[a.Name] = a.Name
	}
	p := rename.NewPlan(m, names, rename.Limits{})
	for i := range p.Rows {
		r := &p.Rows[i]
		to, plain := want[r.From]
		if plain != (r.Action == rename.Keep || r.Action == rename.Move) || plain && r.To != to {
			return false
		}
	}
	transforms := make(map[string]*rename.Transform)
	for i := range p.Transforms {
		transforms[p.Transforms[i].From[0]] = &p.Transforms[i]
	}
	for i := range c.Moves {
		mv := &c.Moves[i]
		if len(mv.Ops) == 0 {
			continue
		}
		t := transforms[mv.From[0]]
		if t == nil || !slices.Equal(t.From, mv.From) || !slices.Equal(t.To, mv.To) || len(t.Ops) != len(mv.Ops) {
			return false
		}
		for k := range t.Ops {
			o, err := step(mv.Ops[k])
			if err != nil || !reflect.DeepEqual(o, t.Ops[k]) {
				return false
			}
		}
	}
	return true
}

// rules writes the map. explicit has every move in a rule of its own.
func (c *Conversion) rules(explicit bool) (*rename.Map, error) {
	var list []*batch
	byKey := make(map[string]*batch)
	for i := range c.Moves {
		mv := &c.Moves[i]
		if len(mv.Ops) == 0 && mv.From[0] == mv.To[0] && !explicit {
			continue
		}
		b, err := newBatch(mv, explicit)
		if err != nil {
			return nil, fmt.Errorf("%s to %s: tensor %q: %w", c.From, c.To, mv.From[0], err)
		}
		if explicit {
			b.key = strconv.Itoa(i)
		}
		if byKey[b.key] == nil {
			byKey[b.key] = b
			list = append(list, b)
		}
		byKey[b.key].moves = append(byKey[b.key].moves, i)
		byKey[b.key].all = append(byKey[b.key].all, b)
	}
	w := ruleWriter{explicit: explicit}
	for _, b := range list {
		w.batch(c, b)
	}
	w.drops(c.Dropped)
	return w.parse(c.From, c.To)
}

// newBatch finds what of a move is common to many.
func newBatch(mv *Move, explicit bool) (*batch, error) {
	ops, err := mv.Steps()
	if err != nil {
		return nil, err
	}
	b := &batch{over: -1}
	plain := func() {
		b.sides, b.to = singles(mv.From), singles(mv.To)
		b.steps = rename.Steps(ops, len(mv.From))
	}
	if explicit || !b.fold(mv, ops) {
		plain()
	}
	var key strings.Builder
	for _, list := range [][]side{b.sides, b.to} {
		for _, s := range list {
			fmt.Fprintf(&key, "%s %d %d\n", template.Runs.Of(s.names[0]), s.over, len(s.names))
		}
		key.WriteByte('\n')
	}
	for i := range b.steps {
		key.WriteString(b.steps[i].String() + "\n")
	}
	b.key = key.String()
	return b, nil
}

func singles(names []string) []side {
	out := make([]side, len(names))
	for i, n := range names {
		out[i] = side{[]string{n}, -1}
	}
	return out
}

// expertHole is what derived maps call the number that a stack runs over.
const expertHole = "expert"

// fold finds stacks over numbers at the beginning, and at the end what is
// taken apart over numbers.
func (b *batch) fold(mv *Move, ops []tensorop.Op) bool {
	b.sides = singles(mv.From)
	k := 0
	for ; k < len(ops) && ops[k].Kind == tensorop.Stack; k++ {
		o := &ops[k]
		var s side
		for _, one := range b.sides[o.Index : o.Index+o.Count] {
			if one.over >= 0 {
				return false
			}
			s.names = append(s.names, one.names[0])
		}
		if s.over = counted(s.names); s.over < 0 {
			return false
		}
		b.sides = slices.Replace(b.sides, o.Index, o.Index+o.Count, s)
	}
	if k > 0 {
		for _, s := range b.sides {
			if s.over < 0 {
				return false
			}
		}
		for _, s := range b.sides[1:] {
			if len(s.names) != len(b.sides[0].names) {
				return false
			}
		}
		b.steps = []rename.Operation{{Kind: tensorop.Stack, Operand: -1, Over: expertHole, Count: rename.Number{Value: int64(len(b.sides[0].names))}}}
	}
	n := len(b.sides)
	end := k
	for end < len(ops) && ops[end].Kind != tensorop.Unstack {
		if ops[end].Kind == tensorop.Stack {
			return false
		}
		end++
	}
	b.steps = append(b.steps, rename.Steps(ops[k:end], n)...)
	for i := k; i < end; i++ {
		n += ops[i].Results() - ops[i].Count
	}
	if end == len(ops) {
		b.to = singles(mv.To)
		return true
	}
	names := mv.To
	at := 0
	k = end
	for range n {
		if k == len(ops) || ops[k].Kind != tensorop.Unstack || ops[k].Index != at {
			return false
		}
		count := len(ops[k].Sizes)
		if count > len(names) || len(b.to) > 0 && count != len(b.to[0].names) {
			return false
		}
		s := side{names: names[:count]}
		if s.over = counted(s.names); s.over < 0 {
			return false
		}
		b.to = append(b.to, s)
		names, at, k = names[count:], at+count, k+1
	}
	b.steps = append(b.steps, rename.Operation{
		Kind: tensorop.Unstack, Operand: -1, Over: expertHole, Count: rename.Number{Value: int64(len(b.to[0].names))},
	})
	rest := rename.Steps(ops[k:], at)
	for i := range rest {
		if rest[i].Operand >= 0 {
			return false
		}
	}
	b.steps = append(b.steps, rest...)
	return true
}

// counted returns the run of digits that counts from 0 over names that are
// equal but for it, or -1. Of one name it is the last run that is 0.
func counted(names []string) int {
	first := digitRuns(names[0])
	for p := len(first.runs) - 1; p >= 0; p-- {
		ok := true
		for i, n := range names {
			r := digitRuns(n)
			ok = ok && len(r.runs) == len(first.runs) && slices.Equal(r.text, first.text) && r.runs[p] == strconv.Itoa(i)
			for q := range first.runs {
				ok = ok && (q == p || r.runs[q] == first.runs[q])
			}
			if !ok {
				break
			}
		}
		if ok {
			return p
		}
	}
	return -1
}

// A numberedName is a name taken apart: text, a run of digits, text, …, text.
type numberedName struct{ text, runs []string }

func digitRuns(name string) numberedName {
	text, runs := template.Runs.Split(name)
	return numberedName{text, runs}
}

// A ruleWriter writes rules as YAML.
type ruleWriter struct {
	explicit bool
	rules    []string
}

// parse reads the map that the rules make.
func (w *ruleWriter) parse(from, to string) (*rename.Map, error) {
	text := "version: 1\n"
	if from != "" && to != "" {
		text += fmt.Sprintf("description: %s\nfrom: %s\nto: %s\n", strconv.Quote("The tensors of "+from+" as "+to), from, to)
	}
	if len(w.rules) == 0 {
		text += "rename: {}\n"
	} else {
		text += "rules:\n" + strings.Join(w.rules, "")
	}
	return rename.Parse(from+".."+to, []byte(text))
}

// batch writes the rule of a batch, or one for each of its moves.
func (w *ruleWriter) batch(c *Conversion, b *batch) {
	if !w.explicit {
		if from, to, ok := generalise(b.all); ok {
			w.add(from, to, b.steps)
			return
		}
	}
	for k, m := range b.all {
		if !w.explicit && slices.ContainsFunc(append(slices.Clone(m.sides), m.to...), func(s side) bool { return s.over >= 0 }) {
			if from, to, ok := generalise([]*batch{m}); ok {
				w.add(from, to, b.steps)
				continue
			}
		}
		mv := &c.Moves[b.moves[k]]
		p, _ := newBatch(mv, true)
		w.add(escapeAll(mv.From), escapeAll(mv.To), p.steps)
	}
}

func escapeAll(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = rename.Escape(n)
	}
	return out
}

func (w *ruleWriter) add(from, to []string, steps []rename.Operation) {
	var b strings.Builder
	list := func(lead, key string, items []string) {
		if len(items) == 1 {
			fmt.Fprintf(&b, "%s%s: %q\n", lead, key, items[0])
			return
		}
		fmt.Fprintf(&b, "%s%s:\n", lead, key)
		for _, it := range items {
			fmt.Fprintf(&b, "      - %q\n", it)
		}
	}
	list("  - ", "from", from)
	if len(steps) > 0 {
		b.WriteString("    steps:\n")
		for i := range steps {
			fmt.Fprintf(&b, "      - %s\n", &steps[i])
		}
	}
	list("    ", "to", to)
	w.rules = append(w.rules, b.String())
}

// drops writes the rules of tensors that are left out.
func (w *ruleWriter) drops(dropped []Dropped) {
	var order []string
	byKey := make(map[string][]Dropped)
	for _, d := range dropped {
		key := template.Runs.Of(d.Name) + "\x00" + d.Reason
		if w.explicit {
			key = d.Name
		}
		if byKey[key] == nil {
			order = append(order, key)
		}
		byKey[key] = append(byKey[key], d)
	}
	for _, key := range order {
		list := byKey[key]
		holes := make([]bool, len(digitRuns(list[0].Name).runs))
		for _, d := range list {
			for p, run := range digitRuns(d.Name).runs {
				holes[p] = holes[p] || run != digitRuns(list[0].Name).runs[p]
			}
		}
		name := digitRuns(list[0].Name)
		text := name.write(func(p int) string {
			if !holes[p] {
				return name.runs[p]
			}
			return "{" + holeName(name.text[p], p) + "}"
		})
		w.rules = append(w.rules, fmt.Sprintf("  - from: %q\n    drop: %q\n", text, list[0].Reason))
	}
}

func (n *numberedName) write(run func(p int) string) string {
	var b strings.Builder
	for p := range n.text {
		b.WriteString(rename.Escape(n.text[p]))
		if p < len(n.runs) {
			b.WriteString(run(p))
		}
	}
	return b.String()
}

// holeName names a hole by what stands before it.
func holeName(before string, p int) string {
	if template.Counts(before) == "layer" {
		return "layer"
	}
	return string(rune('i' + p))
}

// generalise finds the patterns of the moves of a batch: which of the numbers
// of the first name are holes, and where the other names have them.
func generalise(moves []*batch) (from, to []string, ok bool) {
	// nums[m] are the runs of digits of every name of move m.
	type names []numberedName
	split := func(m *batch) names {
		var out names
		for _, s := range append(slices.Clone(m.sides), m.to...) {
			out = append(out, digitRuns(s.names[0]))
		}
		return out
	}
	all := make([]names, len(moves))
	for i, m := range moves {
		all[i] = split(m)
	}
	first := moves[0]
	sides := append(slices.Clone(first.sides), first.to...)
	base := all[0][0]
	over := first.sides[0].over
	varies := func(name, p int) bool {
		return slices.ContainsFunc(all, func(n names) bool { return n[name].runs[p] != all[0][name].runs[p] })
	}
	// zeros is how a hole says that a run is written with zeros before it, in all moves alike.
	zeros := func(name, p int) string {
		width := 0
		for _, n := range all {
			if run := n[name].runs[p]; len(run) > 1 && run[0] == '0' {
				width = len(run)
			}
		}
		if width == 0 || slices.ContainsFunc(all, func(n names) bool {
			run := n[name].runs[p]
			return len(run) < width || len(run) > width && run[0] == '0'
		}) {
			return ""
		}
		return fmt.Sprintf(":%02d", width)
	}
	used := make([]string, len(base.runs)) // the hole of each run of the first name
	taken := map[string]bool{expertHole: true}
	name := func(p int) string {
		if used[p] == "" {
			h := holeName(base.text[p], p)
			for taken[h] {
				h += "_"
			}
			used[p], taken[h] = h, true
		}
		return used[p]
	}
	for p := range base.runs {
		if p != over && (varies(0, p) || strings.HasPrefix(holeName(base.text[p], p), "layer")) {
			name(p)
		}
	}
	// number says how run q of a name follows from the runs of the first.
	number := func(k, q int, shifts bool) (string, bool) {
		order := make([]int, 0, len(base.runs))
		for p := range base.runs {
			if used[p] != "" {
				order = append(order, p)
			}
		}
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(b2i(a != q), b2i(b != q)) })
		for _, p := range order {
			same := true
			for _, n := range all {
				same = same && n[k].runs[q] == n[0].runs[p]
			}
			if same {
				return "{" + used[p] + zeros(0, p) + "}", true
			}
		}
		if !varies(k, q) {
			return all[0][k].runs[q], true
		}
		if !shifts {
			return "", false
		}
		for _, p := range order {
			by, same := 0, true
			for i, n := range all {
				a, err1 := strconv.Atoi(n[k].runs[q])
				b, err2 := strconv.Atoi(n[0].runs[p])
				if i == 0 {
					by = a - b
				}
				same = same && err1 == nil && err2 == nil && a-b == by
			}
			if same && by == 0 {
				return fmt.Sprintf("{%s%s}", used[p], zeros(k, q)), true
			}
			if same {
				return fmt.Sprintf("{%s%+d%s}", used[p], by, zeros(k, q)), true
			}
		}
		return "", false
	}
	for k, s := range sides {
		n := all[0][k]
		fits := true
		text := n.write(func(q int) string {
			switch {
			case q == s.over:
				return "{" + expertHole + "}"
			case k == 0 && used[q] != "":
				return "{" + used[q] + zeros(0, q) + "}"
			case k == 0:
				return n.runs[q]
			}
			t, ok := number(k, q, k >= len(first.sides))
			fits = fits && ok
			return t
		})
		if !fits {
			return nil, nil, false
		}
		if k < len(first.sides) {
			from = append(from, text)
		} else {
			to = append(to, text)
		}
	}
	// A hole that some name lacks would make two tensors one.
	for _, h := range used {
		if h == "" {
			continue
		}
		for _, text := range append(slices.Clone(from), to...) {
			if !strings.Contains(text, "{"+h+"}") && !strings.Contains(text, "{"+h+"+") && !strings.Contains(text, "{"+h+"-") && !strings.Contains(text, "{"+h+":") {
				return nil, nil, false
			}
		}
	}
	return from, to, true
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Map writes the derivation as a map, whose operations name the keys of the
// configuration that they need. What cannot be derived is not in it; Refused
// says why.
func (d *Derivation) Map() (*rename.Map, error) {
	w := new(ruleWriter)
	for i := range d.Rules {
		r := &d.Rules[i]
		switch {
		case r.Refuse != "":
			continue
		case r.Drop != "":
			w.rules = append(w.rules, fmt.Sprintf("  - from: %q\n    drop: %q\n", r.From[0], r.Drop))
			continue
		}
		from, to := unshift(r.From, r.To)
		if len(r.ops) == 0 && r.DType == "" && from[0] == to[0] {
			continue
		}
		steps, err := symbolic(r, from, to)
		if err != nil {
			return nil, fmt.Errorf("%s to %s: %s: %w", d.From, d.To, strings.Join(from, " + "), err)
		}
		w.add(from, to, steps)
	}
	return w.parse(d.From, d.To)
}

// Refused returns the rules that could not be derived.
func (d *Derivation) Refused() []DerivedRule {
	return slices.DeleteFunc(slices.Clone(d.Rules), func(r DerivedRule) bool { return r.Refuse == "" })
}

// holesOf lists the holes of a pattern, with their shifts.
func holesOf(pattern string) (names []string, shifts []int) {
	for {
		_, rest, ok := strings.Cut(pattern, "{")
		if !ok {
			return names, shifts
		}
		hole, after, _ := strings.Cut(rest, "}")
		pattern = after
		at := strings.IndexAny(hole, "+-")
		shift := 0
		if at >= 0 {
			shift, _ = strconv.Atoi(hole[at:])
			hole = hole[:at]
		}
		names, shifts = append(names, hole), append(shifts, shift)
	}
}

// unshift moves the shifts of old names, which rules do not have, to the new
// ones: what writes layers from one is read so.
func unshift(from, to []string) (f, t []string) {
	by := make(map[string]int)
	names, shifts := holesOf(from[0])
	for i, n := range names {
		by[n] = shifts[i]
	}
	move := func(list []string, old bool) []string {
		out := make([]string, len(list))
		for i, p := range list {
			names, shifts := holesOf(p)
			for k, n := range names {
				write := func(shift int) string {
					if shift == 0 {
						return "{" + n + "}"
					}
					return fmt.Sprintf("{%s%+d}", n, shift)
				}
				now := shifts[k] - by[n]
				if old {
					now = 0
				}
				p = strings.Replace(p, write(shifts[k]), "\x00"+write(now)[1:], 1)
			}
			out[i] = strings.ReplaceAll(p, "\x00", "{")
		}
		return out
	}
	return move(from, true), move(to, false)
}

// symbolic writes the operations of a rule with keys in the place of the sample
// numbers.
func symbolic(r *DerivedRule, from, to []string) ([]rename.Operation, error) {
	move := &Move{From: from, Ops: r.ops}
	if r.DType != "" {
		move.cast("", r.DType)
	}
	ops, err := move.Steps()
	if err != nil {
		return nil, err
	}
	// The hole that is on one side only is what a stack runs over.
	only := func(here, there []string) string {
		names, _ := holesOf(here[0])
		other, _ := holesOf(there[0])
		for _, n := range names {
			if !slices.Contains(other, n) {
				return n
			}
		}
		return ""
	}
	steps := rename.Steps(ops, len(from))
	stacked := false
	for i := 0; i < len(steps); i++ {
		s := &steps[i]
		switch s.Kind {
		case tensorop.Stack:
			over := only(from, to)
			if over == "" {
				return nil, fmt.Errorf("no number is left out by the new name")
			}
			if stacked { // said once for all
				steps = slices.Delete(steps, i, i+1)
				i--
				continue
			}
			*s, stacked = rename.Operation{Kind: s.Kind, Operand: -1, Over: over}, true
		case tensorop.Unstack:
			over := only(to, from)
			if over == "" {
				return nil, fmt.Errorf("no number is added by the new name")
			}
			if stacked {
				steps = slices.Delete(steps, i, i+1)
				i--
				continue
			}
			*s, stacked = rename.Operation{Kind: s.Kind, Operand: -1, Over: over, Count: rename.Number{Key: "num_local_experts"}}, true
		case tensorop.Unflatten:
			if s.Groups.Value == sampleGroups {
				s.Groups = sampleKey(s.Groups)
			} else {
				s.Groups = rename.Number{Key: "num_local_experts"}
			}
		case tensorop.Permute:
			s.Heads, s.Groups = sampleKey(s.Heads), sampleKey(s.Groups)
		case tensorop.Split, tensorop.Concat:
			symbolicParts(s)
		case tensorop.Reshape:
			// Of latent attention: heads by rows, or rows of all heads.
			s.Kind, s.Shape, s.Groups = tensorop.Unflatten, nil, rename.Number{Key: "num_attention_heads"}
			if len(ops[min(i, len(ops)-1)].Shape) < 3 {
				s.Kind = tensorop.Flatten
			}
		}
	}
	return steps, nil
}

// symbolicParts names the parts of a fused projection.
func symbolicParts(s *rename.Operation) {
	var sizes []int64
	for _, p := range s.Parts {
		sizes = append(sizes, p.Value)
	}
	switch {
	case slices.Equal(sizes, []int64{sampleHeads * sampleDim, sampleKV * sampleDim, sampleKV * sampleDim}):
		s.Parts, s.Groups = nil, rename.Number{}
		s.Heads, s.KVHeads = rename.Number{Key: "num_attention_heads"}, rename.Number{Key: "num_key_value_heads"}
	case slices.Equal(sizes, []int64{sampleHeads * sampleDim, sampleHeads * sampleDim, sampleHeads * sampleDim}):
		s.Parts, s.Groups = nil, rename.Number{}
		s.Heads = rename.Number{Key: "num_attention_heads"}
	case slices.Equal(sizes, []int64{sampleHeads * sampleNope, sampleHeads * sampleValue}):
		s.Parts = []rename.Number{{Key: "qk_nope_head_dim"}, {Key: "v_head_dim"}}
		s.Groups = sampleKey(s.Groups)
	default:
		equal := true
		for _, v := range sizes {
			equal = equal && v == sizes[0]
		}
		for i := range s.Parts {
			if equal {
				s.Parts[i] = rename.Number{Value: 1}
			} else {
				s.Parts[i] = sampleKey(s.Parts[i])
			}
		}
		s.Groups = sampleKey(s.Groups)
	}
}

// sampleKey is the key of a sample number.
func sampleKey(n rename.Number) rename.Number {
	switch n.Value {
	case sampleHeads:
		return rename.Number{Key: "num_attention_heads"}
	case sampleKV:
		return rename.Number{Key: "num_key_value_heads"}
	case sampleGroups:
		return rename.Number{Key: "n_groups"}
	case sampleKeys:
		return rename.Number{Key: "linear_num_key_heads"}
	case sampleValues:
		return rename.Number{Key: "linear_num_value_heads"}
	case sampleKeys * sampleKeyDim:
		return rename.Number{Key: "linear_num_key_heads*linear_key_head_dim"}
	case sampleValues * sampleValueDim:
		return rename.Number{Key: "linear_num_value_heads*linear_value_head_dim"}
	}
	return n
}

// Steps writes the operations of the move as maps have them.
func (m *Move) Steps() ([]tensorop.Op, error) {
	out := make([]tensorop.Op, len(m.Ops))
	for i := range m.Ops {
		var err error
		if out[i], err = step(m.Ops[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}
