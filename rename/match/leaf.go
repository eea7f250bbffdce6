package match

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/template"
)

// What the weight and the bias of a module are called, in any case. gamma, beta and kernel are
// TensorFlow's; Flax has kernel and scale (transformers: modeling_flax_pytorch_utils.py). Normalisations
// have a scale in GPT-NeoX (megatron/model/norms.py) and torchtune (torchtune/modules/rms_norm.py),
// g in x-transformers, and alpha in Moshi (moshi/modules/transformer.py); TransformerLens has w and b (components/layer_norm.py).
var (
	weightLeaves = []string{"", ".weight", ".gamma", ".kernel", ".scale", ".alpha", ".w", ".g", "_weight", "_w"}
	biasLeaves   = []string{".bias", ".beta", ".shift", ".b", "_bias", "_b"}
)

// paired are ends that are leaves where another tensor shows it: gate_up_proj_bias beside
// gate_up_proj, in_proj_weight beside in_proj_bias, and scale beside shift.
var paired = []struct {
	leaf   string
	beside []string
}{
	{"_bias", []string{"", "_blocks", ".weight", "_weight"}},
	{"_weight", []string{"_bias"}},
	{"_b", []string{"_w"}},
	{"_w", []string{"_b"}},
	{".b", []string{".w", ".g"}},
	{".g", []string{".b"}},
	{".shift", []string{".scale"}},
}

// Usual is the name that most projects have for a leaf that only these names have, and otherwise its own.
func (l *Leaf) Usual() string {
	switch l.own {
	case ownWeight:
		return ".weight"
	case ownBias:
		return ".bias"
	}
	return l.Name
}

// Plain is the name in small letters, with a dot for a slash, which TensorFlow, Flax and CTranslate2 have in
// its place, and with a low line for a hyphen and before a capital.
func (l *Leaf) Plain() string { return plainly(l.Name) }

func plainly(leaf string) string {
	switch {
	case leaf == "":
	case leaf[0] == '/':
		leaf = "." + leaf[1:]
	case leaf[0] == '-':
		leaf = "_" + leaf[1:]
	case 'A' <= leaf[0] && leaf[0] <= 'Z':
		return "_" + strings.Join(words(leaf), "_")
	}
	return strings.ToLower(leaf)
}

// cutAt finds where a text ends in a leaf, however that is joined: in_proj_bias, in-proj-bias, inProjBias.
func cutAt(text, leaf string) (at int, ok bool) {
	if at = len(text) - len(leaf); at >= 0 && plainly(text[at:]) == leaf {
		return at, true
	}
	camel := joined(leaf, "X")
	at = len(text) - len(camel)
	return at, leaf[:min(1, len(leaf))] == "_" && at > 0 && unicode.IsLower(rune(text[at-1])) && text[at:] == camel
}

// joined writes a leaf as another one is joined.
func joined(leaf, as string) string {
	switch {
	case leaf == "" || as == "":
		return leaf
	case leaf[0] == '.' && as[0] == '/', leaf[0] == '_' && as[0] == '-':
		return as[:1] + leaf[1:]
	case leaf[0] == '_' && unicode.IsUpper(rune(as[0])):
		var b strings.Builder
		for word := range strings.SplitSeq(leaf[1:], "_") {
			b.WriteString(strings.ToUpper(word[:min(1, len(word))]) + word[min(1, len(word)):])
		}
		return b.String()
	}
	return leaf
}

// IsBias reports whether a leaf is what a module adds.
func (l *Leaf) IsBias() bool { return l.own == ownBias || slices.Contains(biasLeaves, l.Plain()) }

// isWeight reports whether a leaf is what a module multiplies by, as it is.
func (l *Leaf) isWeight() bool { return l.own == ownWeight || slices.Contains(weightLeaves, l.Plain()) }

// Counterpart finds the leaf of another module that one of m is: frameworks call
// the weight and the bias differently.
func (m *Module) Counterpart(o *Module, leaf int) (int, bool) {
	l := &m.Leaves[leaf]
	if i := slices.IndexFunc(o.Leaves, func(k Leaf) bool { return k.Name == l.Name }); i >= 0 {
		return i, true
	}
	if i := slices.IndexFunc(o.Leaves, func(k Leaf) bool { return k.Name != "" && letters(k.Name) == letters(l.Name) }); i >= 0 {
		return i, true // _qweight and .qweight
	}
	if l.IsBias() {
		i := slices.IndexFunc(o.Leaves, func(k Leaf) bool { return k.IsBias() })
		return max(i, 0), i >= 0
	}
	// A scale beside the weight is that of a quantised one.
	return 0, leaf == 0 && l.isWeight() && o.Leaves[0].isWeight()
}

// IsKernel reports whether the weight of a linear layer has its inputs first, as in TensorFlow
// and Flax, which call it so. PyTorch has its outputs first.
func (m *Module) IsKernel() bool {
	return len(m.Shape) == 2 && !m.straight && m.isCalledKernel()
}

func (m *Module) isCalledKernel() bool { return m.Leaves[0].Plain() == ".kernel" }

// rowsFirst reports whether the bias of what is called a kernel is as long as it has rows, and not as it has
// columns: that has its outputs first, and so has every other matrix of the model.
func (m *Module) rowsFirst() bool {
	if !m.isCalledKernel() || len(m.Shape) != 2 || m.Shapes != nil {
		return false
	}
	b := slices.IndexFunc(m.Leaves, func(l Leaf) bool { return l.IsBias() })
	return b > 0 && len(m.Leaves[b].shape) == 1 && m.Leaves[b].shape[0] == m.Shape[0] && m.Shape[0] != m.Shape[1]
}

// biasesFit reports whether the biases of two modules are as long, as far as that is known.
func biasesFit(a, b *Module) bool {
	bias := func(m *Module) []uint64 {
		for i := range m.Leaves {
			if l := &m.Leaves[i]; i > 0 && l.IsBias() {
				return l.shape
			}
		}
		return nil
	}
	x, y := bias(a), bias(b)
	return x == nil || y == nil || slices.Equal(x, y)
}

// leafRank orders leaves: the weight is what the module is known by.
func leafRank(l *Leaf) int {
	switch {
	case l.Plain() == ".scale": // or that of a quantised weight
		return 2
	case l.isWeight():
		return 0
	case l.isPacked():
		return 1
	case l.IsBias():
		return 3
	}
	return 2
}

// isPacked reports whether a leaf is a quantised weight.
func (l *Leaf) isPacked() bool { return packedLeaves()[letters(l.Name)] }

// packedLeaves are the leaves of quantised weights.
var packedLeaves = sync.OnceValue(func() map[string]bool {
	packed := make(map[string]bool)
	for leaf, weight := range quant.Leaves {
		if weight {
			packed[strings.TrimLeft(leaf, "_:")] = true
		}
	}
	return packed
})

// leaves are what the names of tensors end in, the longest first.
var leaves = sync.OnceValue(func() []string {
	list := []string{".weight", ".bias", ".gamma", ".beta", ".kernel", ".scale", ".alpha", ".w"}
	for leaf := range quant.Leaves {
		if leaf[0] != '_' {
			leaf = "." + leaf
		}
		list = append(list, leaf)
	}
	slices.SortFunc(list, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	return slices.Compact(list)
})

// ofQuery reports whether a leaf is a query's weight: w_q and q_weight are what HQQ and others call a
// quantised weight (internal/quant), and beside w_k and k_weight the projection of queries.
func ofQuery(stem []string, before, leaf string, ends map[string]bool) bool {
	for i := range leaf {
		if leaf[i] != 'q' && leaf[i] != 'Q' {
			continue
		}
		for _, other := range []string{"k", "K", "kv", "KV"} {
			name := slices.Clone(stem)
			name[len(name)-1] = before + leaf[:i] + other + leaf[i+1:]
			if ends[strings.Join(name, "{}")] {
				return true
			}
		}
	}
	return false
}

// inFront are what a bias has in front where its weight has something else: b_q and w_q, bqkv and wqkv,
// and in the recurrent networks of torch bias_ih_l0 and weight_ih_l0.
var inFront = [][2]string{{"bias_", "weight_"}, {"b", "w"}, {"b", "W"}, {"B", "W"}}

// biasOf finds the stem of the weight beside a bias that is told from it by what is in front: w_q of b_q. It
// is nil where there is none. A bias has fewer axes than its weight, where they are known.
func biasOf(k *template.Kind, ends map[string]bool, axes func(name string) int) []string {
	last := len(k.Text) - 1
	tail := k.Text[last]
	at := strings.LastIndexAny(tail, "./") + 1
	for _, f := range inFront {
		rest, ok := strings.CutPrefix(tail[at:], f[0])
		if !ok || strings.Trim(rest, "_") == "" {
			continue
		}
		stem := slices.Clone(k.Text)
		stem[last] = tail[:at] + f[1] + rest
		weight := strings.Join(stem, "{}")
		if of := axes(k.String()); !ends[weight] || of > 0 && of >= axes(weight) {
			continue
		}
		if _, leaf := cutLeaf(&template.Kind{Text: stem}, ends); leaf == "" {
			return stem
		}
	}
	return nil
}

// cutLeaf takes the leaf off the names of a kind.
func cutLeaf(k *template.Kind, ends map[string]bool) (stem []string, leaf string) {
	stem = slices.Clone(k.Text)
	last := len(stem) - 1
	tail := stem[last]
	if tail == "" && last > 0 { // Megatron-core: weight0, weight1
		for _, l := range []string{".weight", ".bias"} {
			if s, ok := strings.CutSuffix(stem[last-1], l); ok {
				stem[last-1] = s
				return stem, l
			}
		}
	}
	segment := strings.LastIndexAny(tail, "./")
	for _, l := range leaves() {
		at := len(tail) - len(l)
		is := at >= 0 && plainly(tail[at:]) == strings.ToLower(l)
		if !is && segment >= 0 && l[0] == '.' && letters(tail[segment:]) == letters(l) { // weightScale
			at, is = segment, true
		}
		if is && (at > 0 || last > 0) && !ofQuery(stem, tail[:at], tail[at:], ends) {
			stem[last] = tail[:at]
			return stem, tail[at:]
		}
	}
	for _, p := range paired {
		at, ok := cutAt(tail, p.leaf)
		if !ok || at == 0 && last == 0 {
			continue
		}
		stem[last] = tail[:at]
		if slices.ContainsFunc(p.beside, func(l string) bool { return ends[strings.Join(stem, "{}")+joined(l, tail[at:])] }) {
			return stem, tail[at:]
		}
		stem[last] = tail
	}
	return cutQuantised(stem, ends)
}

// cutQuantised takes a leaf of a quantised weight off a name that is joined to it as words are: k_proj_qweight,
// kProjWeightScale. Others of the module must be beside it.
func cutQuantised(stem []string, ends map[string]bool) (_ []string, leaf string) {
	last := len(stem) - 1
	tail := stem[last]
	for _, l := range leaves() {
		at, ok := cutAt(tail, "_"+strings.TrimLeft(l, "._:"))
		if !ok || at == 0 && last == 0 {
			continue
		}
		stem[last] = tail[:at]
		name := strings.Join(stem, "{}")
		for other := range quant.Leaves {
			if other = joined("_"+strings.TrimLeft(other, "._:"), tail[at:]); other != tail[at:] && ends[name+other] {
				return stem, tail[at:]
			}
		}
		stem[last] = tail
	}
	return stem, ""
}

// An ownLeaf says what a leaf is that only the names of one project have: param, or gewicht and versatz.
type ownLeaf uint8

const (
	ownNone ownLeaf = iota
	ownWeight
	ownBias
)

// fewOwn is how many kinds must end in a word before it is taken for a leaf.
const fewOwn = 3

// ownLeaves finds the words that names without a known leaf end in, with what joins them. All of them have the
// one of the weight, or most have, and it says nothing of a module. Beside it, that of the bias is a vector
// wherever it is, beside matrices and beside other vectors: beside matrices alone it may be a scale.
func ownLeaves(kinds []template.Kind, ends map[string]bool, axes func(name string) int) map[string]ownLeaf {
	by := make(map[string][]*template.Kind)
	all := 0
	for i := range kinds {
		k := &kinds[i]
		if _, leaf := cutLeaf(k, ends); leaf != "" {
			continue
		}
		all++
		last := len(k.Text) - 1
		tail := k.Text[last]
		for _, joints := range []string{"./", "_-:"} {
			if at := strings.LastIndexAny(tail, joints); at >= 0 && (at > 0 || last > 0) && at < len(tail)-1 {
				by[tail[at:]] = append(by[tail[at:]], k)
			}
		}
	}
	silent := func(leaf string) bool {
		r := read(leaf[1:])
		return r.Block == "" && r.Space == "" && r.Sub == "" && r.Parts == nil && !r.Buffer && !slices.Contains(slices.Collect(maps.Values(r.marks)), true)
	}
	segment := func(leaf string) bool { return leaf[0] == '.' || leaf[0] == '/' }
	weight := ""
	for _, leaf := range slices.Sorted(maps.Keys(by)) {
		n := len(by[leaf])
		if n < fewOwn || n < all && (!segment(leaf) || 2*n < all || !silent(leaf)) || !segment(leaf) && !silent(leaf) {
			continue
		}
		rank := func(leaf string) (sum int) {
			for _, k := range by[leaf] {
				sum += axes(k.String())
			}
			return sum
		}
		switch {
		case weight == "", n > len(by[weight]), n == len(by[weight]) && (segment(leaf) && !segment(weight) || rank(leaf) > rank(weight)):
			weight = leaf
		}
	}
	if weight == "" {
		return nil
	}
	own := map[string]ownLeaf{weight: ownWeight}
	for leaf, list := range by {
		vector, matrix, beside := false, false, silent(leaf) && leaf[0] == weight[0] && leaf != weight
		for _, k := range list {
			main := strings.TrimSuffix(k.String(), leaf) + weight
			beside = beside && ends[main] && axes(k.String()) == 1
			vector, matrix = vector || axes(main) == 1, matrix || axes(main) == 2
		}
		if beside && vector && matrix {
			own[leaf] = ownBias
		}
	}
	return own
}

// cutOwn takes a leaf of its own off the names of a kind.
func cutOwn(stem []string, own map[string]ownLeaf) (leaf string) {
	last := len(stem) - 1
	for leaf := range own {
		if tail, ok := strings.CutSuffix(stem[last], leaf); ok && (tail != "" || last > 0) {
			stem[last] = tail
			return leaf
		}
	}
	return ""
}
