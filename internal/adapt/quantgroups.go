package adapt

import (
	"regexp"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/quant"
)

// A QuantGroup is what a configuration of compressed-tensors says of how some weights are quantised.
type QuantGroup struct {
	Asymmetric bool
	// Size is how many inputs share a scale, -1 for all of a row, and 0 where that is not said.
	Size int64
	// Bits is the width of an element, 0 where that is not said.
	Bits int64
}

// QuantGroups are the groups of a configuration, each with what it is for.
type QuantGroups struct {
	list     []QuantGroup
	names    map[string]int // whole names of modules
	patterns []groupPattern
	classes  []int // groups that are for a class of modules
}

type groupPattern struct {
	re    *regexp.Regexp // nil for one that is not understood
	group int
}

// ReadQuantGroups reads the groups of a configuration, which may be nil; nil where there are fewer than two,
// and what is said is of all weights.
func ReadQuantGroups(doc *checkpoint.Config) *QuantGroups {
	const most = 256 // groups and targets that are looked at
	g := &QuantGroups{names: make(map[string]int)}
	targets := 0
	for _, key := range quantSections {
		groups, _ := doc.Find(key, "config_groups")
		for _, v := range groups.Members() {
			w, ok := v.Find("weights")
			if !ok || w.Kind() != "object" {
				continue
			}
			group := len(g.list)
			g.list = append(g.list, readQuantGroup(w))
			list, _ := v.Find("targets")
			for _, e := range list.Elements() {
				if targets++; targets > most {
					return nil
				}
				text, _ := e.Text()
				pattern, isPattern := strings.CutPrefix(text, "re:")
				switch {
				case isPattern:
					re, err := regexp.Compile("^(?:" + pattern + ")") // as re.match looks for it
					if err != nil {
						re = nil
					}
					g.patterns = append(g.patterns, groupPattern{re, group})
				case strings.Contains(text, "."):
					g.names[text] = group
				default:
					g.classes = append(g.classes, group)
				}
			}
		}
	}
	if len(g.list) < 2 || len(g.list) > most {
		return nil
	}
	return g
}

func readQuantGroup(w checkpoint.ConfigValue) QuantGroup {
	var g QuantGroup
	symmetric, said := w.Find("symmetric")
	is, known := symmetric.Bool()
	g.Asymmetric = said && known && !is
	size, _ := w.Find("group_size")
	g.Size, _ = size.Int()
	strategy, _ := w.Find("strategy")
	if s, _ := strategy.Text(); s == "channel" || g.Size < 0 {
		g.Size = -1
	}
	bits, _ := w.Find("num_bits")
	g.Bits, _ = bits.Int()
	return g
}

// Inputs is how many inputs share a scale, as [quant.Options] have it.
func (g QuantGroup) Inputs() uint64 {
	if g.Size < 0 {
		return quant.WholeRow
	}
	return uint64(g.Size)
}

// Of is the group of a module by its name: one that names it, or else the first with a pattern of it, or else the
// only one for a class, as all of them are of linear layers (compressed_tensors/utils/match.py, match_targets,
// which looks in this order). It is false where the class of the module or a pattern would have to be known.
func (g *QuantGroups) Of(module string) (QuantGroup, bool) {
	if g == nil {
		return QuantGroup{}, false
	}
	if i, ok := g.names[module]; ok {
		return g.list[i], true
	}
	for _, p := range g.patterns {
		switch {
		case p.re == nil:
			return QuantGroup{}, false
		case p.re.MatchString(module):
			return g.list[p.group], true
		}
	}
	for _, i := range g.classes {
		if g.list[i] != g.list[g.classes[0]] {
			return QuantGroup{}, false
		}
	}
	if len(g.classes) == 0 {
		return QuantGroup{}, false
	}
	return g.list[g.classes[0]], true
}
