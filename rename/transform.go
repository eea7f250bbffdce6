package rename

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A set is the tensors of one Transform while names are being matched.
type set struct {
	rule  int
	holes []string // of the rule's first pattern, that of a stack left empty
	// sides has, for each pattern of the rule, the tensors that match it.
	sides [][]setMember
}

type setMember struct {
	row    int
	number string // what the hole of a stack took
}

// collect puts a tensor into the set that it belongs to: that of its rule, and
// of what the holes took, but for the one that is stacked.
func (b *planner) collect(rule, side, row int, holes []string) {
	r := &b.Map.Rules[rule]
	first, pat := r.From[0], r.From[side]
	over := stackHole(r.Ops)
	member := setMember{row: row}
	texts := make([]string, len(first.holes))
	for i, h := range pat.holes {
		at := slices.IndexFunc(first.holes, func(f hole) bool { return f.Name == h.Name })
		switch {
		case over != "" && h.Name == over:
			member.number = strings.Clone(holes[i])
		case at >= 0:
			texts[at] = strings.Clone(holes[i])
		}
	}
	key := strconv.Itoa(rule) + "\x00" + strings.Join(texts, "\x00")
	s, ok := b.setOf[key]
	if !ok {
		s = &set{rule: rule, holes: texts, sides: make([][]setMember, len(r.From))}
		if b.setOf == nil {
			b.setOf = make(map[string]*set)
		}
		b.setOf[key] = s
		b.sets = append(b.sets, s)
	}
	s.sides[side] = append(s.sides[side], member)
}

// transform makes the plan's Transforms.
func (b *planner) transform() {
	for _, s := range b.sets {
		t, err := b.transformSet(s)
		if err != nil {
			row := &b.Rows[s.first()]
			kind := Incomplete
			if errors.Is(err, errNoNumber) {
				kind = NoNumber
			}
			b.addName(kind, s.rule, err.Error(), row.From)
			continue
		}
		for _, name := range t.To {
			b.checkName(name, t.From[0], s.rule)
		}
		if len(t.To) == 1 {
			for _, row := range t.Rows {
				b.Rows[row].To = t.To[0]
			}
		}
		b.Transforms = append(b.Transforms, t)
	}
}

func (s *set) first() int {
	first := -1
	for _, side := range s.sides {
		for _, m := range side {
			if first < 0 || m.row < first {
				first = m.row
			}
		}
	}
	return first
}

var errNoNumber = errors.New("the configuration does not have it")

func (b *planner) number(n Number) (int64, error) {
	if n.Key == "" {
		return n.Value, nil
	}
	product := int64(1)
	for key := range strings.SplitSeq(n.Key, "*") {
		var v int64
		known := b.limits.Number != nil
		if known {
			v, known = b.limits.Number(key)
		}
		switch {
		case !known:
			return 0, fmt.Errorf("%s is not known: %w; write a number in its place", key, errNoNumber)
		case v <= 0:
			return 0, fmt.Errorf("%s is %d in the configuration", key, v)
		}
		hi, lo := bits.Mul64(uint64(product), uint64(v))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, fmt.Errorf("%s is too large to compute with", n.Key)
		}
		product = int64(lo)
	}
	return product, nil
}

func (b *planner) transformSet(s *set) (Transform, error) {
	r := &b.Map.Rules[s.rule]
	t := Transform{Rule: s.rule}
	sim := simulation{nextID: len(r.From), value: b.number}
	stack := stackHole(r.Ops)
	for side, members := range s.sides {
		if len(members) == 0 {
			return t, fmt.Errorf("none is called %s", s.fill(r.From[side], r))
		}
		if stack != "" {
			var err error
			if members, err = inOrder(members, r.From[side].hole(stack)); err != nil {
				return t, err
			}
		}
		for _, m := range members {
			t.From = append(t.From, b.Rows[m.row].From)
			t.Rows = append(t.Rows, m.row)
			sim.runs = append(sim.runs, side)
		}
		if stack == "" && len(members) > 1 {
			return t, fmt.Errorf("%d tensors match %s and would be one", len(members), r.From[side])
		}
	}
	for i := range r.Ops {
		if err := sim.step(&r.Ops[i]); err != nil {
			return t, err
		}
	}
	t.Ops = sim.ops
	holes := append(slices.Clone(s.holes), "")
	expand := func(tmpl *Target) error {
		name, err := tmpl.expand(holes)
		t.To = append(t.To, name)
		return err
	}
	at := 0
	for _, tmpl := range r.To {
		n := 1
		if overHole(r.Ops) != "" && at < len(sim.runs) {
			for at+n < len(sim.runs) && sim.runs[at+n] == sim.runs[at] {
				n++
			}
		}
		for k := range n {
			holes[len(holes)-1] = strconv.Itoa(k)
			if err := expand(tmpl); err != nil {
				return t, err
			}
		}
		at += n
	}
	if at != len(sim.runs) {
		return t, fmt.Errorf("the operations leave %s for %s", plural.Of(len(sim.runs), "tensor"), plural.Of(at, "new name"))
	}
	return t, nil
}

// fill writes a pattern with what the holes of the set took.
func (s *set) fill(p *Pattern, r *Rule) string {
	var b strings.Builder
	for _, u := range patternUnits(p) {
		if !u.isHole() {
			b.WriteByte(u.lit)
			continue
		}
		h := p.holes[u.hole]
		at := slices.IndexFunc(r.From[0].holes, func(f hole) bool { return f.Name == h.Name })
		if at < 0 || s.holes[at] == "" && h.Kind != kindAnything {
			b.WriteString(h.String())
			continue
		}
		b.WriteString(s.holes[at])
	}
	return strconv.Quote(b.String())
}

// inOrder sorts what is to be stacked by its numbers, which must be those from 0.
func inOrder(members []setMember, over hole) ([]setMember, error) {
	out := make([]setMember, len(members))
	seen := make([]bool, len(members))
	for _, m := range members {
		n, err := strconv.ParseUint(m.number, 10, 31)
		if err != nil || n >= uint64(len(members)) {
			return nil, fmt.Errorf("%d tensors are to be stacked, and one of them is number %s: {%s} must count from 0 without a gap", len(members), m.number, over.Name)
		}
		if seen[n] {
			return nil, fmt.Errorf("two of the tensors to be stacked are number %d", n)
		}
		if over.Width == 0 && len(m.number) > 1 && m.number[0] == '0' {
			return nil, fmt.Errorf("one of the tensors to be stacked is number %s: write {%s%s}", m.number, over.Name, padding(len(m.number)))
		}
		out[n], seen[n] = m, true
	}
	return out, nil
}

// Steps writes operations on n operands as a rule has them: what is done to
// each of them is said once.
func Steps(ops []tensorop.Op, n int) []Operation {
	var out []Operation
	for i := 0; i < len(ops); {
		o := &ops[i]
		op := operation(o)
		done, made := 1, o.Results()
		switch {
		case o.Index != 0:
		case o.Count == n:
			op.Operand = -1
			if o.Kind == tensorop.Stack || o.Kind == tensorop.Merge {
				op.Count = Number{}
			}
		case o.Count == 1 && o.Kind != tensorop.Concat && o.Kind != tensorop.Stack && o.Kind != tensorop.Merge && o.Kind != tensorop.Repack && o.Kind != tensorop.Swap && o.Kind != tensorop.Discard:
			// The same for each operand is said once.
			k := 1
			for k < n && i+k < len(ops) && sameButIndex(o, &ops[i+k]) && ops[i+k].Index == k*made {
				k++
			}
			if k == n {
				op.Operand, done = -1, n
			}
		}
		for range done {
			n += ops[i].Results() - ops[i].Count
			i++
		}
		out = append(out, op)
	}
	return out
}

func sameButIndex(a, b *tensorop.Op) bool {
	c := *b
	c.Index = a.Index
	return reflect.DeepEqual(*a, c)
}

// operation writes an operation as a rule has it.
func operation(o *tensorop.Op) Operation {
	numbers := func(list []int64) []Number {
		var out []Number
		for _, v := range list {
			out = append(out, Number{Value: v})
		}
		return out
	}
	op := Operation{
		Kind: o.Kind, Operand: o.Index, Axis: o.Axis, Layout: o.Layout, Axes: o.Axes, From: o.From, To: o.To,
		Heads: Number{Value: o.Heads}, Rotary: Number{Value: o.Rotary}, Groups: Number{Value: o.Groups},
		Value: o.Value, Values: o.Values, Round: o.Round, Shape: numbers(o.Shape), Was: numbers(o.Was),
	}
	switch o.Kind {
	case tensorop.Split, tensorop.Concat:
		op.Parts = numbers(o.Sizes)
		if op.Parts == nil {
			op.Parts = numbers(slices.Repeat([]int64{1}, max(o.Count, o.Results())))
		}
	case tensorop.Unstack, tensorop.Copy:
		op.Count = Number{Value: int64(len(o.Sizes))}
	case tensorop.Stack, tensorop.Merge:
		op.Count = Number{Value: int64(o.Count)}
	case tensorop.Pad, tensorop.Trim:
		op.Zeros = o.Sizes
	case tensorop.Repack:
		op.Operand = -1
	}
	return op
}
