package infer

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/match"
)

// A lexicon says what the ends of names mean in conventions. What they disagree on is nil.
type lexicon map[string]*match.Meaning

// vocabulary is the lexicon of all conventions, by one segment and by two:
// "q_proj" and "self_attn.q_proj".
var vocabulary = sync.OnceValue(func() lexicon {
	l := make(lexicon)
	for _, c := range convention.All() {
		if !c.Language {
			continue
		}
		for i := range c.Tensors() {
			t := &c.Tensors()[i]
			if !strings.HasSuffix(t.Role, ".weight") || convention.IsOwn(t.Role) {
				continue
			}
			m := identify.Meaning(t.Role)
			for _, end := range ends(strings.TrimSuffix(t.Pattern.String(), ".weight")) {
				known, ok := l[end]
				switch {
				case !ok:
					l[end] = &m
				case known != nil && (known.Block != m.Block || known.Sub != m.Sub || !slices.Equal(known.Parts, m.Parts)):
					l[end] = nil
				}
			}
		}
	}
	return l
})

// ends are the last segment of a name, and the last two, behind the numbers.
func ends(name string) []string {
	s := strings.Split(name, ".")
	for i := range s {
		if strings.HasPrefix(s[i], "{") {
			s[i] = "{}"
		}
	}
	for len(s) > 0 && s[len(s)-1] == "{}" {
		s = s[:len(s)-1]
	}
	if len(s) == 0 {
		return nil
	}
	out := []string{s[len(s)-1]}
	if len(s) > 1 && s[len(s)-2] != "{}" {
		out = append(out, strings.Join(s[len(s)-2:], "."))
	}
	return out
}

// explain gives a module the meaning that its name has in all conventions that have it.
// Common words that lie still count little: who calls a module w1 may mean either. Without
// experts, nothing is a router or one of theirs.
func (l lexicon) explain(m *match.Module, experts bool, mixers map[string]bool) {
	list := ends(m.Spoken())
	for i, end := range slices.Backward(list) {
		known := l[end]
		if known == nil || !experts && slices.Equal(known.Parts, []string{"router"}) || strings.Trim(end, "0123456789") == "" {
			continue
		}
		said := m.Meaning
		if l.elsewhere(m, known, mixers) {
			continue
		}
		// A value_proj below mlp is not that of attention.
		if said.Block != "" && known.Block != "" && said.Block != known.Block && !known.IsNorm() && i == 0 {
			continue
		}
		m.Meaning = *known
		m.Meaning.Space, m.Meaning.Buffer, m.Meaning.Sub, m.Meaning.Before = said.Space, said.Buffer, said.Sub, said.Before
		if experts {
			m.Meaning.Sub = cmp.Or(known.Sub, said.Sub)
		}
		// What has the number of a gate in one project has that of the up projection in the next.
		gated := slices.Contains(known.Parts, "gate") || slices.Contains(known.Parts, "up")
		m.Meaning.Weak = said.Weak && (gated || m.Lone || i > 0 && l[list[0]] == nil)
		return
	}
}

// elsewhere reports whether what a convention calls so is of another part of a model than the module.
// Words that say attention or MLP are read among the other names of their layer: the normalisation
// behind attention is that before the MLP where the MLP has no other (post_attn_norm). What is in many
// layers makes no embedding and no head (ln0, pre_norm), and a key below att is RWKV's only in a model
// with more of RWKV's.
func (l lexicon) elsewhere(m *match.Module, known *match.Meaning, mixers map[string]bool) bool {
	said := &m.Meaning
	before, _ := m.Block()
	switch {
	case said.IsNorm() && slices.Equal(known.Parts, []string{"norm_2"}): // Falcon's ln_attn, beside ln_mlp
		return true
	case known.IsNorm() && said.IsNorm() && !said.Weak && (said.Block == "attn" || said.Block == "mlp") && (known.Block == "attn" || known.Block == "mlp"):
		return said.Block != known.Block
	case common[known.Block]:
		return before != "" && m.Count > 1 && !inLayers[known.Block]
	}
	return !mixers[known.Block]
}

// common are the blocks that most models have, and inLayers those that are in each layer.
var (
	common   = map[string]bool{"": true, "attn": true, "mlp": true, "cross": true, "embed": true, "final": true, "head": true}
	inLayers = map[string]bool{"": true, "attn": true, "mlp": true, "cross": true}
)

// mixers are the blocks of which the modules have something that no common word means: the state of
// Mamba, the receptance of RWKV. A letter and a number (RWKV's a1) say nothing of the kind.
func (l lexicon) mixers(modules []*match.Module) map[string]bool {
	out := make(map[string]bool)
	for _, m := range modules {
		if len(m.Meaning.Parts) > 0 {
			continue
		}
		for _, end := range ends(m.Spoken()) {
			if known := l[end]; known != nil && len(end) > 2 && !common[known.Block] && !known.IsNorm() && known.Parts[0] != "key" && known.Parts[0] != "value" {
				out[known.Block] = true
			}
		}
	}
	return out
}

// Explain gives modules the meanings of their tensors' places in a convention, and what has
// none, or where no convention is known, that of its name in all conventions that have it,
// if that is one thing.
func Explain(modules []*match.Module, places []identify.Place) {
	experts := slices.ContainsFunc(modules, func(m *match.Module) bool { return m.Meaning.Sub == "expert" })
	mixers := vocabulary().mixers(modules)
	for _, m := range modules {
		var p identify.Place
		if places != nil {
			p = places[m.Leaves[0].Tensors[0]]
		}
		said, buffer := m.Meaning, m.Meaning.Buffer || p.Buffer
		if p.Tensor != nil && !convention.IsOwn(p.Tensor.Role) {
			m.Meaning = identify.Meaning(p.Tensor.Role)
		} else {
			vocabulary().explain(m, experts, mixers)
			if firstOfTwo(m, &said) && hasTwin(m, modules) {
				m.Meaning.Parts, m.Meaning.Weak = []string{"gate", "up"}, true
			}
		}
		m.Meaning.Buffer = buffer
	}
}

// firstOfTwo reports whether a name means up or down in an MLP of two matrices only, as lin1, wi and
// mlp.0 do: it has no word that says so.
func firstOfTwo(m *match.Module, said *match.Meaning) bool {
	return (only(m, "up") || only(m, "down")) && (said.Weak || !slices.Equal(said.Parts, m.Meaning.Parts))
}

// hasTwin reports whether a matrix of an MLP has another of its shape beside it that no word makes the
// gate: one of them is.
func hasTwin(m *match.Module, modules []*match.Module) bool {
	before, _ := m.Block()
	twins, sisters := 0, 0
	for _, n := range modules {
		b, _ := n.Block()
		if n == m || b != before || !slices.Equal(n.Index, m.Index) || n.Meaning.IsNorm() || len(n.Shape) == 1 ||
			n.Meaning.Block != "" && n.Meaning.Block != "mlp" || n.Meaning.Sub != m.Meaning.Sub {
			continue
		}
		if only(n, "gate") && !n.Meaning.Weak {
			return false
		}
		switch {
		case m.Shape != nil && slices.Equal(m.Shape, n.Shape):
			twins++
		case m.Shape == nil && parentOf(m) == parentOf(n):
			sisters++
		}
	}
	return twins > 0 || sisters > 1
}

// parentOf is the name of what a module is a part of.
func parentOf(m *match.Module) string {
	name := m.String()
	return name[:strings.LastIndexByte(name, '.')+1]
}
