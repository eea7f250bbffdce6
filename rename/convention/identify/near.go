package identify

import (
	"cmp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Meaning is what the role of a convention's tensor means.
func Meaning(role string) match.Meaning {
	space, module, _ := convention.SplitRole(role)
	m := match.Meaning{Space: space}
	s := strings.Split(strings.TrimPrefix(module, "layer."), ".")
	last := s[len(s)-1]
	switch s[0] {
	case "final_norm":
		m.Block, last = "final", "norm"
	case "moe":
		m.Block = "mlp"
	default:
		m.Block = s[0]
	}
	for _, word := range s[1:max(1, len(s)-1)] {
		switch word {
		case "expert", "experts":
			m.Sub = "expert"
		case "shared":
			m.Sub = "shared"
		}
	}
	switch last {
	case "qkv":
		m.Parts = []string{"q", "k", "v"}
	case "kv":
		m.Parts = []string{"k", "v"}
	case "gate_up":
		m.Parts = []string{"gate", "up"}
	default:
		m.Parts = []string{strings.Replace(last, "_head_norm", "_norm", 1)}
	}
	return m
}

// A likeness is how many modules of a checkpoint mean what those of a convention do.
type likeness struct {
	conv    int32
	modules int // of the checkpoint that have a counterpart
	missing int // of the convention that have none
}

// tried is how many conventions are matched module by module, of those of which most
// meanings are there.
const tried = 4

// alike finds the convention whose modules the names mean, where they are those of none:
// half of them, and more than it misses. Package match says which module is which, by
// names alone.
func (id *identification) alike() (*likeness, int) {
	var names []match.Tensor
	for _, s := range id.subjects {
		if !s.debris {
			names = append(names, match.Tensor{Name: s.template()})
		}
	}
	own, err := match.Numbered(names)
	if err != nil {
		return nil, 0
	}
	means := make(map[string]int)
	for _, m := range own {
		if len(m.Meaning.Parts) > 0 {
			means[meaningKey(&m.Meaning)]++
		}
	}
	if len(means) < 3 {
		return nil, 0
	}
	var list []likeness
	for i, c := range id.reg.list {
		if c.VariantOf != "" || !c.Language || c.HasDialect("gguf") {
			continue
		}
		l := likeness{conv: int32(i)}
		for key := range meaningsOf(c) {
			if means[key] > 0 {
				l.modules++
			} else {
				l.missing++
			}
		}
		list = append(list, l)
	}
	slices.SortFunc(list, func(x, y likeness) int {
		a, b := id.reg.list[x.conv], id.reg.list[y.conv]
		return cmp.Or(cmp.Compare(x.missing-x.modules, y.missing-y.modules), cmp.Compare(b.Preferred, a.Preferred),
			cmp.Compare(len(b.Families), len(a.Families)), strings.Compare(a.Name, b.Name))
	})
	var best *likeness
	for i := range list[:min(tried, len(list))] {
		l := &list[i]
		l.match(id.reg.list[l.conv], own)
		if 2*l.modules >= len(own) && l.modules > l.missing && (best == nil || l.modules-l.missing > best.modules-best.missing) {
			best = l
		}
	}
	return best, len(own)
}

// template writes the subject's name with its own numbers.
func (s *subject) template() string { return template.Words.Fill(s.normal, s.nums) }

func meaningKey(m *match.Meaning) string {
	return m.Block + " " + m.Sub + " " + strings.Join(m.Parts, " ")
}

// meaningsOf are those of the weights that a convention requires.
func meaningsOf(c *convention.Convention) map[string]bool {
	out := make(map[string]bool)
	for i := range c.Tensors() {
		if t := &c.Tensors()[i]; !t.Optional && strings.HasSuffix(t.Role, ".weight") {
			m := Meaning(t.Role)
			out[meaningKey(&m)] = true
		}
	}
	return out
}

// modulesOf are the modules of a convention, with the meanings of their roles, and the
// tensors that they are of.
func modulesOf(c *convention.Convention) ([]*match.Module, []*convention.Tensor) {
	var names []match.Tensor
	var of []*convention.Tensor
	for i := range c.Tensors() {
		t := &c.Tensors()[i]
		if name, ok := t.Pattern.Format(make([]int, len(t.Pattern.Holes()))); ok && !t.Buffer && strings.HasSuffix(t.Role, ".weight") {
			names, of = append(names, match.Tensor{Name: name}), append(of, t)
		}
	}
	list, err := match.Numbered(names)
	if err != nil {
		return nil, nil
	}
	tensors := make([]*convention.Tensor, len(list))
	for i, m := range list {
		t := of[m.Leaves[0].Tensors[0]]
		m.Meaning, m.Optional, tensors[i] = Meaning(t.Role), t.Optional, t
	}
	return list, tensors
}

// match counts the modules that are surely each other's, and those that the convention
// requires and nothing is.
func (l *likeness) match(c *convention.Convention, own []*match.Module) {
	theirs, _ := modulesOf(c)
	l.modules, l.missing = 0, 0
	sol, err := match.Solve(own, theirs, match.Options{Plain: true})
	if err != nil {
		return
	}
	found := make(map[int]bool)
	for i := range sol.Matches {
		if m := &sol.Matches[i]; m.Said >= match.Sure {
			l.modules++
			found[m.B[0]] = true
		}
	}
	for j, m := range theirs {
		if !m.Optional && !found[j] {
			l.missing++
		}
	}
}

// meant says of which convention the modules are, under names of somebody's own.
func (id *identification) meant() {
	l, of := id.alike()
	if l == nil {
		id.note("no convention is near")
		return
	}
	c := id.reg.list[l.conv]
	id.res.Nearest = Nearest{c.Name, id.counted() + l.missing}
	id.note("%d of %s mean what those of %s do; 'wtinspect map infer' finds what is which", l.modules, plural.Of(of, "module"), c.Name)
}

// sameMeaning finds the name of a convention that means what a name does, "" where it is
// not sure which does.
func sameMeaning(c *convention.Convention, name string) string {
	theirs, of := modulesOf(c)
	own, err := match.Numbered([]match.Tensor{{Name: name}})
	if err != nil {
		return ""
	}
	sol, err := match.Solve(own, theirs, match.Options{Plain: true})
	if err != nil || len(sol.Matches) != 1 {
		return ""
	}
	if m := &sol.Matches[0]; m.Said >= match.Sure && m.Confidence >= match.Confidence(match.Sure) {
		return of[m.B[0]].Pattern.String()
	}
	return ""
}
