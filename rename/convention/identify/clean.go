package identify

import (
	_ "embed"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/template"
)

//go:embed companions.yaml
var companionsYAML []byte

// companions is what companions.yaml says, arranged for look-up.
type companions struct {
	debris   []string
	legacy   map[string]string     // leaves, and what they mean now
	anywhere map[string][][]string // segments, by the first of them
	leading  []string
	doubled  map[string]bool
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
			Doubled  []string `yaml:"doubled"`
		} `yaml:"wrappers"`
	}
	if err := yaml.Load(companionsYAML, &doc, yaml.WithKnownFields()); err != nil {
		panic("convention: companions.yaml: " + err.Error())
	}
	c := &companions{debris: doc.Debris, leading: doc.Wrappers.Leading, anywhere: make(map[string][][]string), doubled: make(map[string]bool)}
	var slips []string
	for _, s := range doc.Slips {
		slips = append(slips, s[0], s[1])
	}
	c.slips = strings.NewReplacer(slips...)
	for _, w := range doc.Wrappers.Anywhere {
		run := strings.Split(w, ".")
		c.anywhere[run[0]] = append(c.anywhere[run[0]], run)
	}
	for _, w := range doc.Wrappers.Doubled {
		c.doubled[w] = true
	}
	c.legacy = doc.Legacy
	return c
})

// companionSuffixes are what the names of companions end in, the longest first. Most
// checkpoints need none of them, and they come from three packages' files.
var companionSuffixes = sync.OnceValue(func() []companionSuffix {
	var suffixes []companionSuffix
	seen := make(map[string]bool)
	add := func(leaf string, s companionSuffix) {
		if seen[leaf] {
			return
		}
		seen[leaf] = true
		// They are looked for in templates, where numbers are left out: weight_scale_2.
		raw, _ := template.Words.Scan(nil, nil, leaf)
		s.leaf, s.text = leaf, "."+string(raw)
		if strings.HasPrefix(leaf, "_") {
			s.text = string(raw)
		}
		suffixes = append(suffixes, s)
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
	for l, means := range loadCompanions().legacy {
		add(l, companionSuffix{kind: legacyLeaf, means: means})
	}
	slices.SortFunc(suffixes, func(a, b companionSuffix) int {
		if len(a.text) != len(b.text) {
			return len(b.text) - len(a.text)
		}
		return strings.Compare(a.text, b.text)
	})
	return suffixes
})

// A cleaning is what stands between a name and what a convention calls it.
type cleaning struct {
	normal    string   // the template to look up
	bare      string   // the template without wrappers; a companion's ends as it did
	wrappers  []string // taken out, outermost first
	leading   bool     // all of them stood before the name
	repeated  string   // the prefix that stood there twice
	companion companionSuffix
	debris    bool
}

// clean takes wrappers out of a template and finds the weight that a
// companion belongs to.
func (r *registry) clean(normal string) cleaning {
	c := loadCompanions()
	out := cleaning{normal: normal, bare: normal}
	if r.find(normal) == nil { // model_ema.decay is not decay in a wrapper
		out.bare, out.wrappers, out.leading = c.unwrap(normal)
	}
	if once, twice := r.single(out.bare); twice != "" {
		out.bare, out.repeated = once, twice
		out.wrappers = append(out.wrappers, twice)
	}
	out.normal = out.bare
	isOf := func(list []string) bool {
		return slices.ContainsFunc(list, func(d string) bool {
			return out.normal == d || strings.HasSuffix(out.normal, d) && out.normal[len(out.normal)-len(d)-1] == '.'
		})
	}
	out.debris = isOf(c.debris)
	if r.knows(out.normal) || r.spells(out.normal) {
		return out
	}
	out.debris = out.debris || isOf(quant.Markers())
	out.normal = adapter.Anonymous(out.normal)
	for _, s := range companionSuffixes() {
		stem, ok := strings.CutSuffix(out.normal, s.text)
		if !ok || stem == "" || r.has(out.normal, len(stem)) {
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
