package identify

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
)

//go:embed companions.yaml
var companionsYAML []byte

// companions is what companions.yaml says, arranged for look-up.
type companions struct {
	suffixes []companionSuffix // the longest first
	debris   []string
	anywhere map[string]bool
	leading  []string
	slips    *strings.Replacer
}

type companionKind uint8

const (
	noCompanion companionKind = iota
	quantWeight
	quantCompanion
	adapterPart
	legacyLeaf
)

type companionSuffix struct {
	text    string // ".qweight", "_blocks"
	kind    companionKind
	leaf    string // "qweight"
	dialect string // of an adapter
	means   string // of a legacy leaf
}

var loadCompanions = sync.OnceValue(func() *companions {
	var doc struct {
		Legacy   map[string]string `yaml:"legacy"`
		Debris   []string          `yaml:"debris"`
		Slips    [][2]string       `yaml:"slips"`
		Wrappers struct {
			Anywhere []string `yaml:"anywhere"`
			Leading  []string `yaml:"leading"`
		} `yaml:"wrappers"`
	}
	if err := yaml.Load(companionsYAML, &doc, yaml.WithKnownFields()); err != nil {
		panic("convention: companions.yaml: " + err.Error())
	}
	c := &companions{debris: append(doc.Debris, quant.Markers()...), leading: doc.Wrappers.Leading, anywhere: make(map[string]bool)}
	var slips []string
	for _, s := range doc.Slips {
		slips = append(slips, s[0], s[1])
	}
	c.slips = strings.NewReplacer(slips...)
	for _, w := range doc.Wrappers.Anywhere {
		c.anywhere[w] = true
	}
	seen := make(map[string]bool)
	add := func(leaf string, s companionSuffix) {
		if seen[leaf] {
			return
		}
		seen[leaf] = true
		s.leaf, s.text = leaf, "."+leaf
		if strings.HasPrefix(leaf, "_") {
			s.text = leaf
		}
		c.suffixes = append(c.suffixes, s)
	}
	for leaf, weight := range quant.Leaves {
		kind := quantCompanion
		if weight {
			kind = quantWeight
		}
		add(leaf, companionSuffix{kind: kind})
	}
	for _, l := range adapter.Leaves() {
		add(l.Text, companionSuffix{kind: adapterPart, dialect: l.Dialect})
	}
	for l, means := range doc.Legacy {
		add(l, companionSuffix{kind: legacyLeaf, means: means})
	}
	slices.SortFunc(c.suffixes, func(a, b companionSuffix) int {
		if len(a.text) != len(b.text) {
			return len(b.text) - len(a.text)
		}
		return strings.Compare(a.text, b.text)
	})
	return c
})

// A cleaning is what stands between a name and what a convention calls it.
type cleaning struct {
	normal    string   // the template to look up
	wrappers  []string // taken out, outermost first
	companion companionSuffix
	debris    bool
}

// clean takes wrappers out of a template and finds the weight that a
// companion belongs to.
func (r *registry) clean(normal string) cleaning {
	c := loadCompanions()
	out := cleaning{normal: normal}
	out.normal, out.wrappers = c.unwrap(normal)
	for _, d := range c.debris {
		if out.normal == d || strings.HasSuffix(out.normal, d) && out.normal[len(out.normal)-len(d)-1] == '.' {
			out.debris = true
			break
		}
	}
	if r.knows(out.normal) {
		return out
	}
	for _, s := range c.suffixes {
		stem, ok := strings.CutSuffix(out.normal, s.text)
		if !ok || stem == "" {
			continue
		}
		out.companion = s
		switch {
		case s.kind == legacyLeaf:
			out.normal = stem + "." + s.means
		case strings.HasPrefix(s.leaf, "weight."):
			out.normal = stem + ".weight"
		case !r.knows(stem+".weight") && r.knows(stem):
			out.normal = stem
		default:
			out.normal = stem + ".weight"
		}
		return out
	}
	return out
}

// unwrap takes out the segments and prefixes that frameworks add.
func (c *companions) unwrap(name string) (string, []string) {
	var found []string
	for {
		before := name
		for _, p := range c.leading {
			if rest, ok := strings.CutPrefix(name, p); ok && rest != "" && rest != "weight" && rest != "bias" {
				name = rest
				found = append(found, p)
			}
		}
		if name == before {
			break
		}
	}
	if !strings.Contains(name, "_") && !strings.Contains(name, "base_layer") {
		return name, found
	}
	segments := strings.Split(name, ".")
	kept := segments[:0]
	for i, s := range segments {
		if c.anywhere[s] && i+1 < len(segments) {
			if w := s + "."; !slices.Contains(found, w) {
				found = append(found, w)
			}
			continue
		}
		kept = append(kept, s)
	}
	if len(kept) == len(segments) {
		return name, found
	}
	name = strings.Join(kept, ".")
	if more, outer := c.unwrap(name); len(outer) > 0 {
		return more, append(found, outer...)
	}
	return name, found
}
