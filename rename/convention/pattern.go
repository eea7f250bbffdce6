package convention

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Pattern is how one convention spells one tensor: literal text and holes,
// "model.layers.{layer}.self_attn.q_proj.weight". A hole matches an index. It
// may be written with a shift: "layers.{layer+1}.ln.weight" is what a project
// writes that numbers its layers from one. {block*3+slot+1} is two indices in one
// number, of which the second is less than 3, and {3-block} counts four blocks
// from the last one.
//
// Most patterns are only looked up by their template, so that the rest is found when
// it is first asked for.
type Pattern struct {
	text     string
	template string // of the names that it matches
	once     sync.Once
	form     patternForm
}

type patternForm struct {
	parts []patternPart
	// order[i] is the place among the pattern's holes of the i-th index of an
	// ID: layer first, then expert, then the other holes by name.
	order []int
	holes []string
}

const maxHoles = 8

// A patternPart is the meaning of one index of the template. Of a hole it is
// times*hole + low + value.
type patternPart struct {
	literal bool
	value   int32 // of a literal, or the shift of a hole
	times   int32
	hole    int // in order of appearance
	low     int // the hole that counts within times, or -1
}

// number is the inverse of indices.
func (p *patternPart) number(hole, low int) (int32, bool) {
	if p.low >= 0 && low >= int(p.times) {
		return 0, false
	}
	n := int(p.times)*hole + low + int(p.value)
	return int32(n), n >= 0 && n <= 999999999
}

// indices takes a number apart.
func (p *patternPart) indices(n int32) (hole, low int, ok bool) {
	if p.literal {
		return 0, 0, n == p.value
	}
	rest := int(n) - int(p.value)
	if p.times < 0 {
		return -rest, 0, rest <= 0
	}
	hole, low = rest/int(p.times), rest%int(p.times)
	return hole, low, rest >= 0 && (p.low >= 0 || low == 0)
}

// computed reports whether the number is more than an index and a shift.
func (p *patternPart) computed() bool { return !p.literal && p.times != 1 }

// CountsBack returns which index of an ID the pattern counts from the last block, and how
// many blocks it takes a model to have; 0 where it counts none so.
func (p *Pattern) CountsBack() (index, blocks int) {
	f := p.parsed()
	for i := range f.parts {
		if part := &f.parts[i]; !part.literal && part.times < 0 {
			return slices.Index(f.order, part.hole), int(part.value) + 1
		}
	}
	return 0, 0
}

// parseHole reads what is between braces.
func parseHole(text string) (part patternPart, hole, low string, ok bool) {
	part = patternPart{times: 1, low: -1}
	number := func(s string, max int) int32 {
		n, err := strconv.Atoi(s)
		ok = ok && err == nil && n >= -max && n <= max
		return int32(n)
	}
	ok = true
	if last, name, reversed := strings.Cut(text, "-"); reversed && strings.Trim(last, "0123456789") == "" {
		part.value, part.times = number(last, 99), -1
		return part, name, "", ok && isHoleName(name)
	}
	hole = text
	if i := strings.LastIndexAny(hole, "+-"); i >= 0 && strings.Trim(hole[i+1:], "0123456789") == "" {
		part.value, hole = number(hole[i:], 99), hole[:i]
	}
	if name, times, multiplied := strings.Cut(hole, "*"); multiplied {
		hole = name
		times, low, _ = strings.Cut(times, "+")
		part.times = number(times, 99)
		ok = ok && part.times > 1 && (low == "" || isHoleName(low))
	}
	return part, hole, low, ok && isHoleName(hole)
}

func isHoleName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz_") == ""
}

// ParsePattern reads a pattern.
func ParsePattern(text string) (*Pattern, error) {
	p := &Pattern{text: text}
	var err error
	p.once.Do(func() { p.template, p.form, err = parsePattern(text) })
	return p, err
}

// parsed returns the form of the pattern. Those that are built in are well formed.
func (p *Pattern) parsed() *patternForm {
	p.once.Do(func() {
		var err error
		if _, p.form, err = parsePattern(p.text); err != nil {
			panic("convention: " + err.Error())
		}
	})
	return &p.form
}

func parsePattern(text string) (form string, p patternForm, err error) {
	// With an index in place of every hole, the pattern's text has the template
	// of the names that it matches. Literal indices are told apart by their place.
	var plain strings.Builder
	type mark struct {
		at   int
		part patternPart
	}
	var marks []mark
	for rest := text; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			plain.WriteString(rest)
			break
		}
		shut := strings.IndexByte(rest, '}')
		if shut < open {
			return "", p, fmt.Errorf("pattern %q: a brace is not closed", text)
		}
		plain.WriteString(rest[:open])
		part, hole, low, ok := parseHole(rest[open+1 : shut])
		if !ok {
			return "", p, fmt.Errorf("pattern %q: %q is not a hole", text, rest[open+1:shut])
		}
		for _, name := range []string{hole, low} {
			switch {
			case name == "":
				continue
			case slices.Contains(p.holes, name):
				return "", p, fmt.Errorf("pattern %q: the hole %q appears twice", text, name)
			case name == hole:
				part.hole = len(p.holes)
			default:
				part.low = len(p.holes)
			}
			p.holes = append(p.holes, name)
		}
		marks = append(marks, mark{plain.Len(), part})
		plain.WriteByte('0')
		rest = rest[shut+1:]
	}
	scanned, nums := template.Words.Scan(make([]byte, 0, plain.Len()), make([]int32, 0, 4), plain.String())
	form = string(scanned)
	p.parts = make([]patternPart, 0, len(nums))
	for at := range template.Words.Indices(plain.String()) {
		part := patternPart{literal: true, value: nums[len(p.parts)], low: -1}
		if len(marks) > 0 && marks[0].at == at {
			part = marks[0].part
			marks = marks[1:]
		}
		p.parts = append(p.parts, part)
	}
	if len(marks) > 0 {
		return "", p, fmt.Errorf("pattern %q: the hole %q does not fill a segment", text, p.holes[marks[0].part.hole])
	}
	if len(p.holes) > maxHoles {
		return "", p, fmt.Errorf("pattern %q: more than %d holes", text, maxHoles)
	}
	p.order = make([]int, len(p.holes))
	for i := range p.order {
		p.order[i] = i
	}
	slices.SortFunc(p.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(holeRank(p.holes[a]), holeRank(p.holes[b])), strings.Compare(p.holes[a], p.holes[b]))
	})
	return form, p, nil
}

func holeRank(name string) int {
	switch name {
	case "layer":
		return 0
	case "expert":
		return 1
	}
	return 2
}

// Match reports the indices of a name that ends in the pattern's template, whose
// last numbers are nums.
func (p *Pattern) Match(nums []int32) (index []int, ok bool) { return p.AppendMatch(nil, nums) }

// AppendMatch is Match, and appends the indices to a slice.
func (p *Pattern) AppendMatch(index []int, nums []int32) (_ []int, ok bool) {
	f := p.parsed()
	if len(nums) < len(f.parts) {
		return nil, false
	}
	nums = nums[len(nums)-len(f.parts):]
	var at [maxHoles]int
	for i := range f.parts {
		part := &f.parts[i]
		hole, low, ok := part.indices(nums[i])
		if !ok {
			return nil, false
		}
		if !part.literal {
			at[part.hole] = hole
		}
		if part.low >= 0 {
			at[part.low] = low
		}
	}
	index = slices.Grow(index, len(f.order))
	for _, h := range f.order {
		index = append(index, at[h])
	}
	return index, true
}

// Agrees reports whether Match finds indices.
func (p *Pattern) Agrees(nums []int32) bool {
	f := p.parsed()
	if len(nums) < len(f.parts) {
		return false
	}
	nums = nums[len(nums)-len(f.parts):]
	for i := range f.parts {
		if _, _, ok := f.parts[i].indices(nums[i]); !ok {
			return false
		}
	}
	return true
}

// Any reports whether every number of the template is an index as it is: [Pattern.Agrees]
// with any.
func (p *Pattern) Any() bool {
	return !slices.ContainsFunc(p.parsed().parts, func(part patternPart) bool {
		return part.literal || part.computed() || part.value != 0
	})
}

// Format writes the name with the given indices.
func (p *Pattern) Format(index []int) (string, bool) {
	f := p.parsed()
	if len(index) != len(f.holes) {
		return "", false
	}
	nums, ok := p.fill(index)
	if !ok {
		return "", false
	}
	return template.Words.Fill(p.template, nums), true
}

// fill gives the indices of the name.
func (p *Pattern) fill(index []int) ([]int32, bool) {
	f := p.parsed()
	nums := make([]int32, len(f.parts))
	for i := range f.parts {
		part := &f.parts[i]
		if part.literal {
			nums[i] = part.value
			continue
		}
		low := 0
		if part.low >= 0 {
			low = index[slices.Index(f.order, part.low)]
		}
		var ok bool
		if nums[i], ok = part.number(index[slices.Index(f.order, part.hole)], low); !ok {
			return nil, false
		}
	}
	return nums, true
}

// Computed lists the holes whose index is not in the name as it is, or with a
// shift.
func (p *Pattern) Computed() []string {
	f := p.parsed()
	var out []string
	for i := range f.parts {
		if part := &f.parts[i]; part.computed() {
			out = append(out, f.holes[part.hole])
			if part.low >= 0 {
				out = append(out, f.holes[part.low])
			}
		}
	}
	return out
}

// Fix writes the pattern with some of its holes filled.
func (p *Pattern) Fix(index []int, holes []string) (string, bool) {
	f := p.parsed()
	if len(index) != len(f.holes) {
		return "", false
	}
	nums, ok := p.fill(index)
	if !ok {
		return "", false
	}
	text, rest := "", p.text
	for i := range f.parts {
		part := &f.parts[i]
		if part.literal {
			continue
		}
		open, shut := strings.IndexByte(rest, '{'), strings.IndexByte(rest, '}')
		text += rest[:open]
		if slices.Contains(holes, f.holes[part.hole]) {
			text += strconv.Itoa(int(nums[i]))
		} else {
			text += rest[open : shut+1]
		}
		rest = rest[shut+1:]
	}
	return text + rest, true
}

// String returns the pattern as its file writes it.
func (p *Pattern) String() string { return p.text }

// Template returns the template of the names that the pattern matches.
func (p *Pattern) Template() string { return p.template }

// Holes returns the names of the holes in order of appearance, which must not be
// modified.
func (p *Pattern) Holes() []string { return p.parsed().holes }

// HoleOf names an index of an ID.
func (p *Pattern) HoleOf(index int) string {
	f := p.parsed()
	return f.holes[f.order[index]]
}

// Counts names the last index of an ID, "" of a pattern without holes.
func (p *Pattern) Counts() string {
	f := p.parsed()
	if len(f.order) == 0 {
		return ""
	}
	return f.holes[f.order[len(f.order)-1]]
}

// Literals says which indices of the template are text: the 1 of "ln_1" tells it
// from "ln_2", and no layer is meant. Bit i is the i-th index from the right.
func (p *Pattern) Literals() uint64 {
	f := p.parsed()
	var m uint64
	for i, part := range f.parts {
		if part.literal {
			m |= 1 << (len(f.parts) - 1 - i)
		}
	}
	return m
}
