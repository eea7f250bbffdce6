package convention

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Pattern is how one convention spells one tensor: literal text and holes,
// "model.layers.{layer}.self_attn.q_proj.weight". A hole matches an index. It
// may be written with a shift: "layers.{layer+1}.ln.weight" is what a project
// writes that numbers its layers from one.
type Pattern struct {
	text     string
	template string // of the names that it matches
	parts    []patternPart
	// order[i] is the place among the pattern's holes of the i-th index of an
	// ID: layer first, then expert, then the other holes by name.
	order []int
	holes []string
}

const maxHoles = 8

// A patternPart is the meaning of one index of the template.
type patternPart struct {
	literal bool
	value   int32 // of a literal, or the shift of a hole
	hole    int   // in order of appearance
}

func compilePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	// With an index in place of every hole, the pattern's text has the template
	// of the names that it matches. Literal indices are told apart by their place.
	var plain strings.Builder
	type mark struct{ at, hole, shift int }
	var marks []mark
	for rest := text; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			plain.WriteString(rest)
			break
		}
		shut := strings.IndexByte(rest, '}')
		if shut < open {
			return p, fmt.Errorf("pattern %q: a brace is not closed", text)
		}
		plain.WriteString(rest[:open])
		name, shift := rest[open+1:shut], 0
		if i := strings.IndexAny(name, "+-"); i >= 0 {
			n, err := strconv.Atoi(name[i:])
			if err != nil || n < -99 || n > 99 {
				return p, fmt.Errorf("pattern %q: the shift %q is not a small number", text, name[i:])
			}
			name, shift = name[:i], n
		}
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return p, fmt.Errorf("pattern %q: %q is not the name of a hole", text, name)
		}
		if slices.Contains(p.holes, name) {
			return p, fmt.Errorf("pattern %q: the hole %q appears twice", text, name)
		}
		marks = append(marks, mark{plain.Len(), len(p.holes), shift})
		p.holes = append(p.holes, name)
		plain.WriteByte('0')
		rest = rest[shut+1:]
	}
	form, nums := template.Words.Scan(make([]byte, 0, plain.Len()), make([]int32, 0, 4), plain.String())
	p.template = string(form)
	p.parts = make([]patternPart, 0, len(nums))
	for at := range template.Words.Indices(plain.String()) {
		part := patternPart{literal: true, value: nums[len(p.parts)]}
		if len(marks) > 0 && marks[0].at == at {
			part = patternPart{hole: marks[0].hole, value: int32(marks[0].shift)}
			marks = marks[1:]
		}
		p.parts = append(p.parts, part)
	}
	if len(marks) > 0 {
		return p, fmt.Errorf("pattern %q: the hole %q does not fill a segment", text, p.holes[marks[0].hole])
	}
	if len(p.holes) > maxHoles {
		return p, fmt.Errorf("pattern %q: more than %d holes", text, maxHoles)
	}
	p.order = make([]int, len(p.holes))
	for i := range p.order {
		p.order[i] = i
	}
	slices.SortFunc(p.order, func(a, b int) int {
		return cmp.Or(cmp.Compare(holeRank(p.holes[a]), holeRank(p.holes[b])), strings.Compare(p.holes[a], p.holes[b]))
	})
	return p, nil
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

// A patternCache keeps compiled patterns: conventions share most of theirs.
type patternCache map[string]*Pattern

func (c patternCache) compile(text string) (*Pattern, error) {
	if p, ok := c[text]; ok {
		return p, nil
	}
	p, err := compilePattern(text)
	if err != nil {
		return nil, err
	}
	c[text] = &p
	return &p, nil
}

// Match reports the indices of a name that ends in the pattern's template, whose
// last numbers are nums.
func (p *Pattern) Match(nums []int32) (index []int, ok bool) {
	if len(nums) < len(p.parts) {
		return nil, false
	}
	nums = nums[len(nums)-len(p.parts):]
	var at [maxHoles]int
	for i, part := range p.parts {
		if part.literal {
			if nums[i] != part.value {
				return nil, false
			}
			continue
		}
		n := int(nums[i]) - int(part.value)
		if n < 0 {
			return nil, false
		}
		at[part.hole] = n
	}
	if len(p.holes) == 0 {
		return nil, true
	}
	index = make([]int, len(p.order))
	for i, h := range p.order {
		index[i] = at[h]
	}
	return index, true
}

// Agrees reports whether Match finds indices.
func (p *Pattern) Agrees(nums []int32) bool {
	if len(nums) < len(p.parts) {
		return false
	}
	nums = nums[len(nums)-len(p.parts):]
	for i, part := range p.parts {
		if part.literal && nums[i] != part.value || !part.literal && nums[i] < part.value {
			return false
		}
	}
	return true
}

// Format writes the name with the given indices.
func (p *Pattern) Format(index []int) (string, bool) {
	if len(index) != len(p.holes) {
		return "", false
	}
	nums := make([]int32, len(p.parts))
	for i, part := range p.parts {
		if part.literal {
			nums[i] = part.value
			continue
		}
		n := index[slices.Index(p.order, part.hole)] + int(part.value)
		if n < 0 || n > 999999999 {
			return "", false
		}
		nums[i] = int32(n)
	}
	return template.Words.Fill(p.template, nums), true
}

// String returns the pattern as its file writes it.
func (p *Pattern) String() string { return p.text }

// Template returns the template of the names that the pattern matches.
func (p *Pattern) Template() string { return p.template }

// Holes returns the names of the holes in order of appearance, which must not be
// modified.
func (p *Pattern) Holes() []string { return p.holes }

// Counts names the last index of an ID, "" of a pattern without holes.
func (p *Pattern) Counts() string {
	if len(p.order) == 0 {
		return ""
	}
	return p.holes[p.order[len(p.order)-1]]
}

// Literals says which indices of the template are text: the 1 of "ln_1" tells it
// from "ln_2", and no layer is meant. Bit i is the i-th index from the right.
func (p *Pattern) Literals() uint64 {
	var m uint64
	for i, part := range p.parts {
		if part.literal {
			m |= 1 << (len(p.parts) - 1 - i)
		}
	}
	return m
}
