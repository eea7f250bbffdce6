package match

import (
	"slices"
	"strings"
	"sync"

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

// Plain is the name in small letters, and with a dot for a slash, which TensorFlow, Flax and CTranslate2
// have in its place.
func (l *Leaf) Plain() string { return dotted(l.Name) }

func dotted(leaf string) string {
	if rest, ok := strings.CutPrefix(leaf, "/"); ok {
		leaf = "." + rest
	}
	return strings.ToLower(leaf)
}

// IsBias reports whether a leaf is what a module adds.
func (l *Leaf) IsBias() bool { return slices.Contains(biasLeaves, l.Plain()) }

// isWeight reports whether a leaf is what a module multiplies by, as it is.
func (l *Leaf) isWeight() bool { return slices.Contains(weightLeaves, l.Plain()) }

// Counterpart finds the leaf of another module that one of m is: frameworks call
// the weight and the bias differently.
func (m *Module) Counterpart(o *Module, leaf int) (int, bool) {
	l := &m.Leaves[leaf]
	if i := slices.IndexFunc(o.Leaves, func(k Leaf) bool { return k.Name == l.Name }); i >= 0 {
		return i, true
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
	return len(m.Shape) == 2 && m.Leaves[0].Plain() == ".kernel"
}

// leafRank orders leaves: the weight is what the module is known by.
func leafRank(l *Leaf) int {
	switch {
	case l.Plain() == ".scale": // or that of a quantised weight
		return 2
	case l.isWeight():
		return 0
	case packedLeaves()[strings.TrimLeft(l.Name, "._:")]:
		return 1
	case l.IsBias():
		return 3
	}
	return 2
}

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
	for _, l := range leaves() {
		if at := len(tail) - len(l); at >= 0 && (at > 0 || last > 0) && strings.EqualFold(dotted(tail[at:]), l) && !ofQuery(stem, tail[:at], tail[at:], ends) {
			stem[last] = tail[:at]
			return stem, tail[at:]
		}
	}
	for _, p := range paired {
		at := len(tail) - len(p.leaf)
		if at < 0 || dotted(tail[at:]) != p.leaf || at == 0 && last == 0 {
			continue
		}
		stem[last] = tail[:at]
		slashed := tail[at] == '/'
		if slices.ContainsFunc(p.beside, func(l string) bool {
			if slashed {
				l = strings.Replace(l, ".", "/", 1)
			}
			return ends[strings.Join(stem, "{}")+l]
		}) {
			return stem, tail[at:]
		}
		stem[last] = tail
	}
	return stem, ""
}
