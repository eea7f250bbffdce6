package convention

import (
	_ "embed"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
)

//go:embed gguf_keys.txt
var ggufKeysText string

// A GGUFNumber is a number of a model in a GGUF file, and what of config.json llama.cpp's
// converter makes it of.
type GGUFNumber struct {
	Key  string // below the architecture, "" of a number that has none
	Type string // that llama.cpp reads: "u32", "f32", "bool", "str", "list" of numbers
	// Needed says that llama.cpp does not open a file without it.
	Needed bool
	// Compared says that the converter writes what config.json gives and nothing else, and ByDefault
	// that a model of which config.json does not say it has the default.
	Compared, ByDefault bool
	// Filled says that a model without the key computes something else, and OfExperts that
	// only one with experts has it.
	Filled, OfExperts bool
	// Harmless says that a model computes the same with another number.
	Harmless bool

	of, otherwise []ggufTerm
}

// A GGUFValue is what a formula gives: a text, a number, or one for each layer.
type GGUFValue struct {
	Text    string
	Numbers []float64
	List    bool
}

// A ggufTerm is one of the alternatives of a formula.
type ggufTerm struct {
	words []string // a number or a name, an operator and a number or a name, or a function
	ifs   []ggufCondition
	each  *ggufCondition
	every [2]string // the numbers that say which layers have it, "" for all
}

// A ggufCondition is NAME=A,B or NAME!=A,B.
type ggufCondition struct {
	name   string
	among  []string
	negate bool
}

var ggufTable = sync.OnceValue(func() map[string][]GGUFNumber { return readGGUFKeys(ggufKeysText) })

// everyArchitecture is the name of the section that is of all.
const everyArchitecture = "*"

func readGGUFKeys(text string) map[string][]GGUFNumber {
	table := make(map[string][]GGUFNumber)
	var section []string
	inHeading := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		heading, isHeading := strings.CutPrefix(line, "[")
		if isHeading {
			if !inHeading {
				section = nil
			}
			section = append(section, strings.Fields(strings.TrimSuffix(heading, "]"))...)
		}
		if inHeading = isHeading; inHeading {
			continue
		}
		f := strings.Fields(line)
		if line == "" || strings.HasPrefix(line, "#") || len(f) < 4 {
			continue
		}
		has := func(flag string) bool { return strings.Contains(f[2], flag) }
		n := GGUFNumber{
			Key: strings.TrimPrefix(f[0], "-"), Type: f[1],
			Needed: has("n"), Compared: has("c") || has("d") || has("h"), Harmless: has("h"), ByDefault: has("d"), Filled: has("f") || has("n"), OfExperts: has("e"),
		}
		formula, otherwise, _ := strings.Cut(strings.Join(f[3:], " "), ";")
		n.of, n.otherwise = readTerms(formula), readTerms(otherwise)
		for _, architecture := range section {
			table[architecture] = append(table[architecture], n)
		}
	}
	return table
}

func readTerms(formula string) []ggufTerm {
	var terms []ggufTerm
	for text := range strings.SplitSeq(formula, "|") {
		var t ggufTerm
		var conditions, each, every bool
		for word := range strings.FieldsSeq(text) {
			switch {
			case word == "if":
				conditions = true
			case word == "each":
				each = true
			case word == "every":
				every = true
			case conditions:
				t.ifs = append(t.ifs, readCondition(word))
			case every:
				t.every[0], t.every[1], _ = strings.Cut(word, "=")
			case each:
				c := readCondition(word)
				t.each = &c
			default:
				t.words = append(t.words, word)
			}
		}
		if len(t.words) > 0 && t.words[0] != "off" {
			terms = append(terms, t)
		}
	}
	return terms
}

func readCondition(word string) ggufCondition {
	name, among, _ := strings.Cut(word, "=")
	c := ggufCondition{among: strings.Split(among, ",")}
	c.name, c.negate = strings.CutSuffix(name, "!")
	return c
}

// HasGGUFNumbers reports whether an architecture is one of a language model, or an encoder of text, of which
// it is known what its numbers are called in GGUF files.
func HasGGUFNumbers(architecture string) bool {
	return architecture != everyArchitecture && len(ggufTable()[architecture]) > 0
}

// GGUFNumbers lists the numbers of an architecture in GGUF files, in the order in which
// llama.cpp's converter writes most of them.
func GGUFNumbers(architecture string) []GGUFNumber {
	table := ggufTable()
	own := table[architecture]
	var list []GGUFNumber
	add := func(n GGUFNumber) {
		at := slices.IndexFunc(list, func(m GGUFNumber) bool { return m.Key == n.Key && n.Key != "" })
		if at < 0 {
			list = append(list, n)
			return
		}
		list[at] = n
	}
	for _, n := range table[everyArchitecture] {
		add(n)
	}
	for _, n := range own {
		add(n)
	}
	return list
}

// Of works a number out of what is known of a model.
func (n *GGUFNumber) Of(m *Model) (GGUFValue, bool) { return ofTerms(n.of, n.Type, m) }

// Default is what llama.cpp takes without the key.
func (n *GGUFNumber) Default(m *Model) (GGUFValue, bool) { return ofTerms(n.otherwise, n.Type, m) }

// Wants lists what config.json may call the number, or what it is worked out of, by the order in which they
// count. There are none for one that config.json does not have.
func (n *GGUFNumber) Wants() []string {
	var names []string
	for _, t := range n.of {
		for _, word := range t.words {
			if _, of, ok := strings.Cut(word, ":"); ok {
				word = of
			}
			if ggufFunctions[word] == nil && word != "max" && n.Type != "str" && isName(word) && !slices.Contains(names, word) {
				names = append(names, word)
			}
		}
	}
	return names
}

// Name is what config.json of a model calls the number, or what it is worked out of first.
func (n *GGUFNumber) Name(m *Model) string {
	for _, t := range n.of {
		if _, ok := ofTerms([]ggufTerm{t}, n.Type, m); !ok {
			continue
		}
		for _, word := range t.words {
			if n.Type != "str" && isName(word) {
				return word
			}
		}
		for _, c := range t.ifs {
			return c.name
		}
	}
	return ""
}

// KnownScaling reports whether a type of rope_scaling is one that llama.cpp's converter has a key or tensors for, or
// that is noted to have none (transformers, modeling_rope_utils.py, and the names of models' own code).
func KnownScaling(kind string) bool {
	return slices.Contains([]string{"default", "none", "linear", "dynamic", "yarn", "longrope", "su", "llama3", "mrope", "xdrope", "proportional", "deepseek_yarn"}, kind)
}

// isName reports whether a word of a formula is the name of a number.
func isName(word string) bool { return word[0] >= 'a' && word[0] <= 'z' }

// Names are what config.json calls a number that is stored as it is there, by the order in which
// they count. There are none for one that is worked out.
func (n *GGUFNumber) Names() []string {
	var names []string
	for _, t := range n.of {
		switch {
		case len(t.words) != 1 || len(t.ifs) > 0 || t.each != nil || t.every[0] != "" || n.Type == "str":
			return nil
		case isName(t.words[0]):
			names = append(names, t.words[0])
		}
	}
	return names
}

func ofTerms(terms []ggufTerm, kind string, m *Model) (GGUFValue, bool) {
	for _, t := range terms {
		if !slices.ContainsFunc(t.ifs, func(c ggufCondition) bool { return !c.holds(m) }) {
			if v, ok := t.value(kind, m); ok {
				return v, true
			}
		}
	}
	return GGUFValue{}, false
}

func (c *ggufCondition) holds(m *Model) bool {
	if c.name == "model_type" {
		return m != nil && slices.Contains(c.among, m.Type) != c.negate
	}
	if list, ok := m.Text(c.name); ok && len(list) == 1 {
		return slices.Contains(c.among, list[0]) != c.negate
	}
	n, ok := m.quantity(c.name)
	return ok && slices.ContainsFunc(c.among, func(s string) bool { return ggufNumber(s) == n }) != c.negate || !ok && c.negate
}

// ggufFunctions are of what stands before them in a formula, or of a number with its name.
var ggufFunctions = map[string]func(float64) float64{"ln": math.Log, "sqrt": math.Sqrt}

// ggufNumber reads a number of a formula, NaN for what is none.
func ggufNumber(word string) float64 {
	f, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return math.NaN()
	}
	return f
}

func (t *ggufTerm) value(kind string, m *Model) (GGUFValue, bool) {
	if kind == "str" {
		return GGUFValue{Text: t.words[0]}, true
	}
	operand := func(word string) ([]float64, bool) {
		if function, of, ok := strings.Cut(word, ":"); ok {
			n, known := m.quantity(of)
			return []float64{ggufFunctions[function](n)}, known
		}
		if n := ggufNumber(word); !math.IsNaN(n) {
			return []float64{n}, true
		}
		if n, ok := m.quantity(word); ok {
			return []float64{n}, true
		}
		list, ok := m.Text(word)
		if !ok {
			return nil, false
		}
		var numbers []float64
		for _, e := range list {
			n := ggufNumber(e)
			if math.IsNaN(n) {
				return nil, false
			}
			numbers = append(numbers, n)
		}
		return numbers, len(numbers) > 0
	}
	numbers, ok := operand(t.words[0])
	if !ok {
		return GGUFValue{}, false
	}
	v := GGUFValue{Numbers: numbers, List: len(numbers) > 1}
	for i := 1; i < len(t.words); i += 2 {
		if function := ggufFunctions[t.words[i]]; function != nil {
			for k, n := range v.Numbers {
				v.Numbers[k] = function(n)
			}
			i--
			continue
		}
		if i+1 == len(t.words) {
			return GGUFValue{}, false
		}
		by, ok := operand(t.words[i+1])
		if !ok || len(by) != 1 {
			return GGUFValue{}, false
		}
		for k, a := range v.Numbers {
			switch b := by[0]; t.words[i] {
			case "+":
				a += b
			case "*":
				a *= b
			case "/":
				a /= b
			case "//":
				a = math.Floor(a / b)
			case "max":
				a = max(a, b)
			}
			v.Numbers[k] = a
		}
	}
	if slices.ContainsFunc(v.Numbers, func(n float64) bool { return math.IsNaN(n) || math.IsInf(n, 0) }) {
		return GGUFValue{}, false
	}
	switch {
	case t.every[0] != "":
		return t.spread(v, m)
	case t.each == nil:
		return v, true
	}
	kinds, ok := m.Text(t.each.name)
	if !ok || v.List {
		return GGUFValue{}, false
	}
	each := GGUFValue{List: true}
	for _, kind := range kinds {
		n := v.Numbers[0]
		if slices.Contains(t.each.among, kind) == t.each.negate {
			n = 0
		}
		each.Numbers = append(each.Numbers, n)
	}
	return each, true
}

// spread makes a number one for each layer: that number for each of so many, and 0 for the others.
func (t *ggufTerm) spread(v GGUFValue, m *Model) (GGUFValue, bool) {
	const most = 1 << 12 // more than a model has layers
	layers, known := m.Number("num_hidden_layers")
	period, okPeriod := m.Number(t.every[0])
	from, okFrom := m.Number(t.every[1])
	if !known || !okPeriod || !okFrom || layers < 0 || layers > most || period < 1 || v.List {
		return GGUFValue{}, false
	}
	each := GGUFValue{List: true}
	for i := range layers {
		n := v.Numbers[0]
		if (i-from)%period != 0 {
			n = 0
		}
		each.Numbers = append(each.Numbers, n)
	}
	return each, true
}

// quantity is a number of the model, an integer or not.
func (m *Model) quantity(name string) (float64, bool) {
	if n, ok := m.Number(name); ok {
		return float64(n), true
	}
	return m.Float(name)
}
