package convention

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/rename/template"
)

// conventionsText is what package compile makes of the descriptions; write.go there says
// how it is written. Reading the descriptions themselves takes ten times as long, which
// every command that asks what a name means would pay.
//
//go:embed conventions.txt
var conventionsText string

// A set is every built-in convention.
type set struct {
	spaces    Spaces
	templates []string
	numbers   func() map[string]int32 // of the templates
	kinds     kinds
	list      []*Convention // by name
	byName    map[string]*Convention
}

// kinds are the tensors of conventions, each once. Most are never looked at but by the
// number of their template, so that their lines are read when they are asked for.
type kinds struct {
	templates []int32
	literals  map[int32]uint64 // of those whose patterns do not take any index
	places    []int32
	text      string
}

var builtin = sync.OnceValue(readSet)

func readSet() *set {
	parts := strings.Split(conventionsText, "\n\n")
	if len(parts) != 9 {
		panic("convention: conventions.txt: " + strconv.Itoa(len(parts)) + " parts")
	}
	lines := func(i int) []string { return strings.Split(strings.TrimSuffix(parts[i], "\n"), "\n") }
	s := &set{spaces: make(Spaces), templates: lines(4), byName: make(map[string]*Convention)}
	for name := range strings.FieldsSeq(parts[1]) {
		s.spaces[name] = true
	}
	s.numbers = sync.OnceValue(func() map[string]int32 {
		m := make(map[string]int32, len(s.templates))
		for i, t := range s.templates {
			m[t] = int32(i)
		}
		return m
	})
	dimensions := readJSON[[]Dimensions](lines(8))
	layouts := readJSON[Layout](lines(2))
	reasons := readJSON[[]reason](lines(3))
	index := lines(5)
	s.kinds = kinds{templates: readRuns(index[0]), literals: make(map[int32]uint64), places: readRuns(index[2]), text: parts[6]}
	for pair := range strings.FieldsSeq(index[1]) {
		n, mask, _ := strings.Cut(pair, ":")
		number, _ := strconv.Atoi(n)
		s.kinds.literals[int32(number)], _ = strconv.ParseUint(mask, 16, 64)
	}
	text := lines(7)
	conventions := make([]Convention, len(text))
	s.list = make([]*Convention, len(text))
	for i, line := range text {
		f := fieldReader(line)
		c := &conventions[i]
		*c = Convention{Name: f.next(), Description: f.next(), Dialects: f.list(), Families: f.list(), Base: f.next(), VariantOf: f.next(), Kind: f.next()}
		flags := f.next()
		c.Preferred, c.Bare = strings.Count(flags, "p"), strings.Contains(flags, "b")
		c.Frame, c.Language = strings.Contains(flags, "f"), strings.Contains(flags, "l")
		c.With, c.Layout = f.list(), layouts[f.number()]
		c.opaque, c.drop, c.dropLayers, c.towers = reasons[f.number()], reasons[f.number()], reasons[f.number()], reasons[f.number()]
		c.Refuse, c.Text, c.Sources, c.kinds = f.next(), f.next(), f.list(), readRuns(f.next())
		c.Dimensions = dimensions[f.number()]
		c.tensors = sync.OnceValue(func() []Tensor { return s.tensors(c) })
		c.index = sync.OnceValue(c.makeIndex)
		s.list[i], s.byName[c.Name] = c, c
	}
	return s
}

// tensors makes the tensors of a convention.
func (s *set) tensors(c *Convention) []Tensor {
	below, whole := make([]Pattern, len(c.kinds)), []Pattern(nil)
	base := ""
	if c.Base != "" {
		whole, base = make([]Pattern, len(c.kinds)), template.Words.Of(c.Base)
	}
	list := make([]Tensor, len(c.kinds))
	for i, n := range c.kinds {
		line, _, _ := strings.Cut(s.kinds.text[s.kinds.places[n]:], "\n")
		f := fieldReader(line)
		role, stem, flags := f.next(), f.next(), f.next()
		if role == "" {
			role = ownPrefix + stem
		}
		below[i].text, below[i].template = stem, s.templates[s.kinds.templates[n]]
		t := Tensor{
			Role: role, Module: role[:strings.LastIndexByte(role, '.')], Below: &below[i], Pattern: &below[i], DType: f.next(), Without: f.next(),
			Optional: strings.Contains(flags, "o"), Unwritten: strings.Contains(flags, "u"),
			Buffer: strings.Contains(flags, "b"), Absolute: strings.Contains(flags, "a"),
		}
		if !t.Absolute && whole != nil {
			t.Pattern = &whole[i]
			whole[i].text, whole[i].template = c.Base+stem, base+below[i].template
		}
		list[i] = t
	}
	return list
}

// readJSON reads a value from each line.
func readJSON[T any](lines []string) []T {
	list := make([]T, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &list[i]); err != nil {
			panic("convention: conventions.txt: " + err.Error())
		}
	}
	return list
}

// A fieldReader is what is left of a line of fields. Empty ones at the end are not
// written.
type fieldReader string

func (f *fieldReader) next() string {
	field, rest, _ := strings.Cut(string(*f), "\t")
	*f = fieldReader(rest)
	return field
}

func (f *fieldReader) number() int {
	n, _ := strconv.Atoi(f.next())
	return n
}

func (f *fieldReader) list() []string {
	if field := f.next(); field != "" {
		return strings.Split(field, "|")
	}
	return nil
}

// readRuns reads numbers, "3-17 21".
func readRuns(text string) []int32 {
	list := make([]int32, 0, 64)
	for run := range strings.FieldsSeq(text) {
		first, last, long := strings.Cut(run, "-")
		from, _ := strconv.Atoi(first)
		to := from
		if long {
			to, _ = strconv.Atoi(last)
		}
		for n := from; n <= to; n++ {
			list = append(list, int32(n))
		}
	}
	return slices.Clip(list)
}
