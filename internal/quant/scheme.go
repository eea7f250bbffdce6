package quant

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

//go:embed schemes.yaml
var schemesYAML []byte

// A Scheme is a way to store the weight of a module.
type Scheme struct {
	Name string `yaml:"name"`
	// Methods are the quant_method of the configurations that mean it.
	Methods []string `yaml:"methods"`
	ByShape bool     `yaml:"by-shape"`
	Weight  Part     `yaml:"weight"`
	Parts   []Part   `yaml:"parts"`
	// By is what works the numbers of a scheme out that has no formula here.
	By string `yaml:"by"`
	// Transposed says that the last two axes of the numbers change places.
	Transposed bool `yaml:"transposed"`
}

// A Part is a tensor of a scheme: the weight, or what is beside it.
type Part struct {
	Leaf  string   `yaml:"leaf"`
	Or    []string `yaml:"or"` // other spellings
	Types []string `yaml:"types"`
	Shape any      `yaml:"shape"`
	// Optional parts may be absent, symmetric ones where the configuration says so.
	Optional  bool `yaml:"optional"`
	Symmetric bool `yaml:"symmetric"`
	// Use is what the part does to the numbers of the weight, and Bars why they cannot be
	// worked out where it exists.
	Use  Action `yaml:"use"`
	Bars string `yaml:"bars"`
	// Codes says what the elements of a weight are, and As the leaf of its numbers.
	Codes Codes   `yaml:"codes"`
	As    *string `yaml:"as"`

	form form
	dims []dim
}

// A form is what is known of a shape.
type form uint8

const (
	anyShape form = iota
	oneElement
	onePerRow
	dimensions
)

// A dim is a dimension as a formula: variables times a number, divided by another.
// A variable as divisor rounds up.
type dim struct {
	vars     []variable
	mul, div uint64
	by       variable // of a block; none elsewhere
}

// A variable of a formula.
type variable uint8

const (
	outputs variable = iota
	inputs
	width // bits of an element
	groups
	blockRows
	blockColumns
	none
)

const letters = "oibgrc"

type knowledge struct {
	schemes  []*Scheme
	byWeight map[string][]*Scheme
	leaves   map[string]leafKind
	loose    map[string]bool // leaves that any module may have beside a weight
	glued    []string        // leaves without a dot before them, the longest first
	markers  []string
}

type leafKind uint8

const (
	noLeaf leafKind = iota
	weightLeaf
	partLeaf
	looseLeaf
)

var known = sync.OnceValue(func() *knowledge {
	var doc struct {
		Schemes []*Scheme `yaml:"schemes"`
		Loose   []string  `yaml:"loose"`
		Markers []string  `yaml:"markers"`
	}
	if err := yaml.Load(schemesYAML, &doc, yaml.WithKnownFields()); err != nil {
		panic("quant: schemes.yaml: " + err.Error())
	}
	k := &knowledge{schemes: doc.Schemes, byWeight: make(map[string][]*Scheme), leaves: make(map[string]leafKind), loose: make(map[string]bool), markers: doc.Markers}
	add := func(leaf string, kind leafKind) {
		if old := k.leaves[leaf]; leaf != "" && (old == noLeaf || kind < old) {
			k.leaves[leaf] = kind
		}
	}
	for _, s := range k.schemes {
		s.Weight.parse()
		k.byWeight[s.Weight.Leaf] = append(k.byWeight[s.Weight.Leaf], s)
		add(s.Weight.Leaf, weightLeaf)
		for i := range s.Parts {
			s.Parts[i].parse()
			for _, leaf := range s.Parts[i].leaves() {
				add(leaf, partLeaf)
			}
		}
	}
	for _, leaf := range doc.Loose {
		k.loose[leaf] = true
		add(leaf, looseLeaf)
	}
	for leaf := range k.leaves {
		if leaf[0] == '_' {
			k.glued = append(k.glued, leaf)
		}
	}
	slices.SortFunc(k.glued, func(a, b string) int { return len(b) - len(a) })
	return k
})

func (p *Part) leaves() []string { return append([]string{p.Leaf}, p.Or...) }

func (p *Part) parse() {
	if !slices.Contains([]Action{"", Minus, Times, Over, shape}, p.Use) || !slices.Contains([]Codes{"", FP4, Ints}, p.Codes) {
		panic("quant: schemes.yaml: use " + string(p.Use) + string(p.Codes))
	}
	switch shape := p.Shape.(type) {
	case nil:
	case string:
		switch shape {
		case "one":
			p.form = oneElement
		case "rows":
			p.form = onePerRow
		default:
			panic("quant: schemes.yaml: shape " + shape)
		}
	case []any:
		p.form = dimensions
		for _, d := range shape {
			p.dims = append(p.dims, parseDim(fmt.Sprint(d)))
		}
	}
}

// parseDim reads i*b/32, o/r, 16.
func parseDim(s string) dim {
	d := dim{mul: 1, div: 1, by: none}
	letter := func(s string) variable {
		i := strings.Index(letters, s)
		if i < 0 {
			panic("quant: schemes.yaml: no variable is " + s)
		}
		return variable(i)
	}
	top, bottom, divided := strings.Cut(s, "/")
	for f := range strings.SplitSeq(top, "*") {
		if n, err := strconv.ParseUint(f, 10, 32); err == nil {
			d.mul *= n
		} else {
			d.vars = append(d.vars, letter(f))
		}
	}
	if divided {
		if n, err := strconv.ParseUint(bottom, 10, 32); err == nil {
			d.div = n
		} else {
			d.by = letter(bottom)
		}
	}
	return d
}

func (d dim) String() string {
	var f []string
	for _, v := range d.vars {
		f = append(f, letters[v:v+1])
	}
	if d.mul != 1 || len(f) == 0 {
		f = append(f, strconv.FormatUint(d.mul, 10))
	}
	s := strings.Join(f, "*")
	if d.div != 1 {
		s += "/" + strconv.FormatUint(d.div, 10)
	}
	if d.by != none {
		s += "/" + letters[d.by:d.by+1]
	}
	return s
}

// blocks reports whether blocks of rows and columns share a scale.
func (s *Scheme) blocks() bool {
	return slices.ContainsFunc(s.Parts, func(p Part) bool {
		return slices.ContainsFunc(p.dims, func(d dim) bool { return d.by != none })
	})
}

// allows reports whether a part may have a dtype. What is not known is allowed.
func (p *Part) allows(dtype string) bool {
	if dtype == "" || len(p.Types) == 0 {
		return true
	}
	return slices.ContainsFunc(p.Types, func(t string) bool {
		switch t {
		case "float":
			return dtype == "F32" || dtype == "BF16" || dtype == "F16" || dtype == "F64"
		case "f8":
			return Is8Bit(dtype)
		case "e8m0":
			return dtype == "F8_E8M0" || dtype == "U8"
		}
		return t == dtype
	})
}

// Is8Bit reports whether a dtype is one of the 8-bit floating-point types of weights.
func Is8Bit(dtype string) bool {
	return strings.HasPrefix(dtype, "F8_E4M3") || strings.HasPrefix(dtype, "F8_E5M2")
}

// Leaves yields the leaves of weights and of what is beside them, and which scheme
// has them. Names too short to mean one thing are left out.
func Leaves(yield func(leaf string, weight bool) bool) {
	for leaf, kind := range known().leaves {
		// Halves of low rank are those of adapters, too.
		if len(leaf) < 2 || leaf == "weight" || leaf[0] == ':' || strings.HasPrefix(leaf, "lora_") {
			continue
		}
		if !yield(leaf, kind == weightLeaf) {
			return
		}
	}
}

// Markers lists the names of tensors that only say that a file is quantised.
func Markers() []string { return known().markers }

// With lists the schemes that have a leaf.
func With(leaf string) []string {
	var out []string
	for _, s := range known().schemes {
		has := s.Weight.Leaf == leaf || slices.ContainsFunc(s.Parts, func(p Part) bool { return slices.Contains(p.leaves(), leaf) })
		if has && !slices.Contains(out, s.Name) {
			out = append(out, s.Name)
		}
	}
	return out
}

// Methods returns the schemes that a quant_method means, nil for one that is not known.
func Methods(method string) []string {
	var out []string
	for _, s := range known().schemes {
		if slices.Contains(s.Methods, strings.ToLower(method)) && !slices.Contains(out, s.Name) {
			out = append(out, s.Name)
		}
	}
	return out
}
