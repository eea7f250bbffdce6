package compile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
)

const header = `# Made of data/, gguf.yaml, gguf_arch.txt and roles.yaml;
# make generate writes it.
`

// Text writes the conventions that files describe in the form that package convention
// reads: parts with an empty line between them, a thing a line, fields with tabs
// between them. What conventions share is written once, and they number it.
func Text(files fs.FS) ([]byte, error) {
	v, err := loadVocabulary(files)
	if err != nil {
		return nil, err
	}
	list, err := Load(files)
	if err != nil {
		return nil, err
	}
	var layouts, reasons, templates, tensors, conventions, dimensions part
	var of []int // the template of each tensor
	var literals []string
	// Layouts and lists of reasons are JSON; most conventions have the same few.
	number := func(p *part, value any) string {
		b, _ := json.Marshal(value) // of strings and numbers
		return p.number(string(b))
	}
	for _, c := range list {
		var own []int
		for _, t := range c.Tensors {
			p, err := convention.ParsePattern(t.Stem)
			if err != nil {
				return nil, err
			}
			role := t.Role
			if role == ownPrefix+t.Stem {
				role = "" // most roles of one convention only are its name
			}
			n := tensors.at(fields(role, t.Stem, letters("o", t.Optional, "u", t.Unwritten, "b", t.Buffer, "a", t.Absolute), t.DType, t.Without))
			own = append(own, n)
			if n < len(of) {
				continue
			}
			of = append(of, templates.at(p.Template()))
			if !p.Any() {
				literals = append(literals, fmt.Sprintf("%d:%x", n, p.Literals()))
			}
		}
		conventions.number(fields(
			c.Name, c.Description, join(c.Dialects), join(c.Families), c.Base, c.VariantOf, c.Kind,
			strings.Repeat("p", c.Preferred)+letters("b", c.Bare, "f", c.Frame, "l", c.Language),
			join(c.With), number(&layouts, c.Layout), number(&reasons, c.Opaque), number(&reasons, c.Drop), number(&reasons, c.DropLayers),
			number(&reasons, c.Towers), c.Refuse, c.Text, join(c.Sources), runs(own), number(&dimensions, c.Dimensions)))
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n%s\n", header, v.spaceNames())
	// What is needed of every tensor comes first, and where its line is: few are read.
	index := part{lines: []string{runs(of), strings.Join(literals, " "), runs(tensors.places())}}
	for _, p := range []part{layouts, reasons, templates, index, tensors, conventions, dimensions} {
		b.WriteString("\n" + strings.Join(p.lines, "\n") + "\n")
	}
	return b.Bytes(), nil
}

// A part is the lines of one kind of thing, each of them once.
type part struct {
	lines []string
	known map[string]int
}

// places says where each line begins.
func (p *part) places() []int {
	list := make([]int, len(p.lines))
	at := 0
	for i, line := range p.lines {
		list[i] = at
		at += len(line) + 1
	}
	return list
}

// at returns the place of a line, a new one at the end.
func (p *part) at(line string) int {
	i, ok := p.known[line]
	if !ok {
		if p.known == nil {
			p.known = make(map[string]int)
		}
		i = len(p.lines)
		p.lines, p.known[line] = append(p.lines, line), i
	}
	return i
}

func (p *part) number(line string) string { return strconv.Itoa(p.at(line)) }

func fields(f ...string) string { return strings.TrimRight(strings.Join(f, "\t"), "\t") }

// join writes a list whose elements may have spaces and commas.
func join(list []string) string { return strings.Join(list, "|") }

// letters writes those of pairs of a letter and a condition that hold.
func letters(pairs ...any) string {
	s := ""
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1].(bool) {
			s += pairs[i].(string)
		}
	}
	return s
}

// runs writes numbers, "3-17 21": a convention that another builds on has runs of
// its tensors.
func runs(list []int) string {
	var out []string
	for i := 0; i < len(list); {
		j := i + 1
		for j < len(list) && list[j] == list[j-1]+1 {
			j++
		}
		if j == i+1 {
			out = append(out, strconv.Itoa(list[i]))
		} else {
			out = append(out, fmt.Sprintf("%d-%d", list[i], list[j-1]))
		}
		i = j
	}
	return strings.Join(out, " ")
}
