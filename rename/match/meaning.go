package match

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Meaning is what a name says of a module. What it does not say is empty.
type Meaning struct {
	Space string // the part of the model: "vision", "encoder"
	Block string // "attn", "mlp", "embed", "final", "head"
	Sub   string // of an MLP: "expert", "shared"
	// Parts are what the module computes, "q" or "post_norm"; several of a fused one, in
	// the order in which the name has them.
	Parts []string
	// Weak meanings rest on words of which projects mean different things.
	Weak bool
	// Before is set of a normalisation whose name says that it is before what it is of.
	Before bool
	// Buffer is set of what follows from the configuration.
	Buffer bool
}

// Fused reports whether the module holds several projections.
func (m *Meaning) Fused() bool { return len(m.Parts) > 1 && !m.Weak }

//go:embed lexicon.tsv
var lexiconTSV string

// An entry is a row of lexicon.tsv.
type entry struct {
	words  []string
	slot   string
	values []string
	weak   bool
}

// lexicon has the entries by their first words, the longest first.
var lexicon = sync.OnceValue(func() map[string][]entry {
	m := make(map[string][]entry)
	for line := range strings.Lines(lexiconTSV) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimRight(line, "\n"), "\t")
		e := entry{words: strings.Fields(f[0]), slot: f[1], values: strings.Fields(f[2]), weak: len(f) > 3}
		m[e.words[0]] = append(m[e.words[0]], e)
	}
	for _, list := range m {
		slices.SortStableFunc(list, func(a, b entry) int { return len(b.words) - len(a.words) })
	}
	return m
})

// words takes a name apart: at what is no letter or digit, and where a capital follows a
// small letter. A digit goes to the word before it: ln_1 is ln1.
func words(name string) []string {
	var list []string
	var b strings.Builder
	end := func() {
		w := strings.ToLower(b.String())
		b.Reset()
		switch {
		case w == "":
		case len(list) > 0 && len(w) == 1 && unicode.IsDigit(rune(w[0])):
			list[len(list)-1] += w
		default:
			list = append(list, w)
		}
	}
	last := ' '
	for _, r := range name {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			end()
		case unicode.IsUpper(r) && unicode.IsLower(last):
			end()
			fallthrough
		default:
			b.WriteRune(r)
		}
		last = r
	}
	end()
	return list
}

// A reading is what the words of one name say, before what is around it is known.
type reading struct {
	Meaning
	marks map[string]bool
}

// read looks up words. Where a later segment says another block or part than an earlier
// one, it counts: of self_attn.q_proj, q.
func read(text string) *reading {
	r := &reading{marks: make(map[string]bool)}
	for segment := range strings.FieldsFuncSeq(text, func(c rune) bool { return c == '.' || c == '/' }) {
		list := words(segment)
		var parts []string
		weak := false
		silent := true
		for i := 0; i < len(list); {
			e := find(list[i:])
			if e == nil {
				i++
				continue
			}
			if silent {
				r.marks["norm"], silent = false, false // norm_attn_norm.attn is none (DBRX)
			}
			i += len(e.words)
			switch e.slot {
			case "block":
				if r.Block != "cross" {
					r.Block = e.values[0]
				}
			case "sub":
				if r.Sub != "shared" {
					r.Sub = e.values[0]
				}
			case "space":
				if r.Space == "" {
					r.Space = e.values[0]
				}
			case "buffer":
				r.Buffer = true
			case "part":
				parts, weak = append(parts, e.values...), weak || e.weak
			case "mark":
				for _, v := range e.values {
					r.marks[v] = true
				}
			}
		}
		if parts != nil {
			r.Parts, r.Weak = parts, weak
		}
		r.marks["out norm"] = r.marks["norm"] && slices.ContainsFunc(list, func(w string) bool { return w == "out" || w == "output" })
	}
	return r
}

func find(list []string) *entry {
	entries := lexicon()[list[0]]
	for i := range entries {
		e := &entries[i]
		if len(e.words) <= len(list) && slices.Equal(e.words, list[:len(e.words)]) {
			return e
		}
	}
	return nil
}

// Block cuts a stem behind what counts its layers: "model.layers." and ".mlp.up_proj". Of
// a module outside of them the first is "". The number may be text: layers.0 of a model
// whose first layer is another than the rest.
func (m *Module) Block() (before, rest string) {
	if m.Holes() > 0 {
		return m.Stem[0], strings.Join(m.Stem[1:], ".")
	}
	if before, _, after, ok := template.Layer(m.Stem[0]); ok && template.Counts(before) == "layer" {
		return before, after
	}
	return "", m.Stem[0]
}

// below is the name below a layer as it is read: with its last number counted from 1.
func (m *Module) below() string {
	_, rest := m.Block()
	stem, n, ok := cutNumber(rest)
	if m.fromZero && ok {
		return stem + strconv.Itoa(n+1)
	}
	return rest
}

// Spoken is the name as it is read: norm0 and norm1 are the first and the second, as
// norm1 and norm2 are.
func (m *Module) Spoken() string {
	name := m.String()
	if _, rest := m.Block(); m.fromZero {
		return strings.TrimSuffix(name, rest) + m.below()
	}
	return name
}

// countFromOne finds the modules that are numbered from 0: the same layers have one with that
// number. What has a number that no other beside it has is not the first of several, and not the second.
func countFromOne(list []*Module) {
	key := func(m *Module, stem string) string {
		before, _ := m.Block()
		return fmt.Sprint(before, "\x00", stem, "\x00", m.signature())
	}
	zero, numbers := make(map[string]bool), make(map[string]int)
	for _, m := range list {
		_, rest := m.Block()
		if stem, _, ok := cutNumber(rest); ok {
			numbers[key(m, stem)]++
		}
	}
	for _, m := range list {
		if _, rest := m.Block(); strings.HasSuffix(rest, "0") {
			if stem, n, ok := cutNumber(rest); ok && n == 0 {
				zero[key(m, stem)] = true
			}
		}
	}
	for _, m := range list {
		_, rest := m.Block()
		stem, _, ok := cutNumber(rest)
		m.fromZero, m.Lone = ok && zero[key(m, stem)], ok && numbers[key(m, stem)] == 1
	}
}

// Numbered cuts the number of one digit off the name of a module below its layer: ".norm" and 1.
func (m *Module) Numbered() (stem string, n int, ok bool) {
	before, rest := m.Block()
	stem, n, ok = cutNumber(rest)
	return before + "{}" + stem, n, ok
}

// cutNumber cuts the number of one digit off a word: norm and 1, ln_ and 0. A number that stands
// alone is a place in a list, whose other places may have no weights.
func cutNumber(name string) (stem string, n int, ok bool) {
	last := len(name) - 1
	if last < 1 || name[last] < '0' || name[last] > '9' {
		return "", 0, false
	}
	switch c := rune(name[last-1]); {
	case c == '_' || c == '-', unicode.IsLetter(c):
		return name[:last], int(name[last] - '0'), true
	}
	return "", 0, false
}

// attentionOf says which modules stand beside a query: in a part of the layer that has one, or
// under the same name but for an o (w_o beside w_q).
func attentionOf(list []*Module) func(before, rest string) bool {
	queries, parts := make(map[[2]string]bool), make(map[[2]string]bool)
	part := func(rest string) string { return rest[:max(0, strings.LastIndexAny(rest, "./"))] }
	for _, m := range list {
		before, rest := m.Block()
		if r := read(rest); before != "" && slices.Equal(r.Parts, []string{"q"}) && !r.marks["norm"] {
			queries[[2]string{before, rest}] = true
			if p := part(rest); strings.Trim(p, "./") != "" {
				parts[[2]string{before, p}] = true
			}
		}
	}
	return func(before, rest string) bool {
		if before == "" {
			return false
		}
		for i := range rest {
			if rest[i] == 'o' && queries[[2]string{before, rest[:i] + "q" + rest[i+1:]}] {
				return true
			}
		}
		return parts[[2]string{before, part(rest)}]
	}
}

// understand gives every module the meaning that its words have among the others.
func understand(list []*Module) {
	readings := make([]*reading, len(list))
	type stack struct{ experts, mlpNorm, up, either bool }
	stacks := make(map[string]*stack)
	countFromOne(list)
	beside := attentionOf(list)
	for i, m := range list {
		before, _ := m.Block()
		rest := m.below()
		r := read(rest)
		if r.Block == "" && beside(before, rest) {
			r.Block = "attn"
		}
		if before != "" {
			r.Space = read(before).Space
		}
		readings[i] = r
		s := stacks[before]
		if s == nil {
			s = new(stack)
			stacks[before] = s
		}
		if len(m.Shape) == 3 && r.Sub == "" && (r.Block == "mlp" || r.Block == "") && slices.ContainsFunc(r.Parts, ofMLP) {
			r.Sub = "expert" // one tensor has those of all
		}
		s.experts = s.experts || r.Sub == "expert"
		// What the words say is a normalisation of the MLP, whatever is before attention.
		s.mlpNorm = s.mlpNorm || r.marks["norm"] && r.Block == "mlp"
		up := slices.Contains(r.Parts, "up")
		s.up, s.either = s.up || up && !r.Weak, s.either || up && r.Weak
	}
	for i, m := range list {
		before, _ := m.Block()
		s := stacks[before]
		// TensorRT-LLM has gate for up, beside fc for the gate (models/llama/convert.py).
		readings[i].Weak = readings[i].Weak || s.either && !s.up && !s.experts && slices.Equal(readings[i].Parts, []string{"gate"})
		m.Meaning = readings[i].meaning(m.Holes(), before != "", s.experts, s.mlpNorm)
		// The causal mask of GPT-2 and others is called a bias.
		m.Meaning.Buffer = m.Meaning.Buffer || m.Leaves[0].IsBias() && len(m.Shape) > 2
	}
	// What every module is of tells none apart: the decoder that is the whole model.
	if !severalSpaces(list) {
		for _, m := range list {
			m.Meaning.Space = ""
		}
	}
}

// meaning settles what a name says: in a block of layers or outside of them, with experts
// or without, with another normalisation of the MLP or without.
func (r *reading) meaning(holes int, inBlock, experts, mlpNorm bool) Meaning {
	m := r.Meaning
	if m.Buffer {
		return m
	}
	if m.Block == "mlp" && !slices.ContainsFunc(m.Parts, func(p string) bool { return !ofAttention(p) }) {
		m.Parts = nil // the value of a gated MLP is not that of attention
	}
	switch {
	case r.marks["norm"] && !inBlock:
		m.Parts, m.Block = []string{"norm"}, "final"
		if r.marks["embed"] {
			m.Block = "embed"
		}
	case r.marks["norm"] && len(m.Parts) == 1 && m.Block != "mlp":
		m.Parts, m.Weak = []string{m.Parts[0] + "_norm"}, false
	case r.marks["norm"]:
		m.Parts, m.Weak, m.Before = []string{"norm"}, false, r.marks["pre"]
		switch {
		case r.marks["post"] && m.Block == "attn" && !mlpNorm:
			// "Behind attention" is before the MLP, unless that has one of its own (Gemma 2).
			m.Block = "mlp"
		case r.marks["post"] && m.Block != "" || r.marks["out norm"] && m.Block != "" && mlpNorm:
			m.Parts = []string{"post_norm"}
		case m.Block == "" && r.marks["pre"]:
			m.Block = "attn" // the input of the block
		case m.Block == "" && r.marks["first"]:
			m.Block, m.Weak = "attn", true
		case m.Block == "" && r.marks["second"]:
			m.Block, m.Weak = "mlp", true
		case m.Block == "" && r.marks["final"]:
			m.Block, m.Weak = "mlp", true // the last of a block, in fairseq
		}
	case len(m.Parts) == 1 && m.Parts[0] == "gate" && experts && m.Sub == "" && m.Block != "attn" && !r.marks["last"]:
		m.Parts, m.Block = []string{"router"}, "mlp"
	case len(m.Parts) > 0:
		if inBlock && beforeLayers(m.Parts[0]) {
			m.Parts = nil
		} else if beforeLayers(m.Parts[0]) {
			m.Block = "embed"
		}
	case r.marks["in"] && (m.Block == "attn" || m.Block == "cross"):
		m.Parts = []string{"q", "k", "v"}
	case !inBlock && r.marks["positions"]:
		m.Block, m.Parts = "embed", []string{"positions"}
	case !inBlock && (r.marks["head"] || r.marks["out"]):
		// The embedding of outputs is the head.
		m.Block, m.Parts, m.Weak = "head", []string{"head"}, r.marks["embed"] && !r.marks["head"]
	case holes == 0 && r.marks["embed"]:
		m.Block, m.Parts = "embed", []string{"tokens"}
	case (r.marks["out"] || r.marks["last"]) && (m.Block == "attn" || m.Block == "cross"):
		m.Parts, m.Weak = []string{"o"}, !r.marks["out"]
	case r.marks["out"] && m.Block == "mlp" || r.marks["last"] && m.Block == "mlp":
		m.Parts, m.Weak = []string{"down"}, !r.marks["out"]
	}
	if slices.ContainsFunc(m.Parts, func(p string) bool { return ofAttention(p) || p == "q_norm" || p == "k_norm" }) && m.Block == "" {
		m.Block = "attn"
	}
	if slices.ContainsFunc(m.Parts, ofMLP) && m.Block == "" {
		m.Block = "mlp"
	}
	return m
}

func ofAttention(part string) bool { return len(part) == 1 } // q, k, v and o

// beforeLayers reports whether a part is one of those that make what the first layer gets.
func beforeLayers(part string) bool {
	return slices.Contains([]string{"class", "mask", "registers", "patch", "types"}, part)
}

func ofMLP(part string) bool { return slices.Contains([]string{"gate", "up", "down", "router"}, part) }
