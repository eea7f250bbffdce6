package adapter

import (
	"bytes"
	"cmp"
	"embed"
	"fmt"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

//go:embed data
var data embed.FS

//go:embed kinds.yaml
var kindsYAML []byte

// A Dialect is how one project spells the tensors of adapters. Dialects are
// built in and read-only.
type Dialect struct {
	Name        string   `yaml:"name"`
	Description string   `yaml:"description"`
	Sources     []string `yaml:"sources"`
	Extends     string   `yaml:"extends"`
	// Flat dialects write the path of a module with '_' for every dot.
	Flat     bool     `yaml:"flat"`
	Prefixes []Prefix `yaml:"prefixes"`
	// Alpha is where alpha / rank, the factor of a change, is.
	Alpha Alpha `yaml:"alpha"`
	// Bases are the projects whose names of modules the dialect takes, all but
	// those of Avoid where there are none. With Original, the names of a denoiser are
	// those of its release and not diffusers', where the two differ, in families
	// other than Unless.
	Bases    []string `yaml:"bases"`
	Avoid    []string `yaml:"avoid"`
	Original bool     `yaml:"original"`
	Unless   []string `yaml:"unless"`
	// Home are the projects whose own dialect it is.
	Home []string `yaml:"home"`
	// Kinds are those of adapters that have the spelling of kinds.yaml.
	Kinds []string `yaml:"kinds"`
	// Leaves are the spellings of parts, Reads those that are read besides.
	Leaves map[string]string   `yaml:"leaves"`
	Reads  map[string][]string `yaml:"reads"`
	// Transposed parts are stored with their axes exchanged, and Column parts, of
	// one axis, with axes of one behind it.
	Transposed []string `yaml:"transposed"`
	Column     []string `yaml:"column"`
	// Weak leaves say nothing by themselves: other tensors end so, too.
	Weak []string `yaml:"weak"`
	// Modules are ends of paths that the dialect spells in its own way. Where
	// Only is set, no other module has a name.
	Modules []Module `yaml:"modules"`
	Only    bool     `yaml:"only"`

	spellings []spelling // the longest first
}

// A Prefix is what precedes the paths of one part of a pipeline.
type Prefix struct {
	Text string `yaml:"text"`
	// Of is the part: denoiser, clip_l, clip_g, t5, text (some text encoder), or
	// any.
	Of string `yaml:"of"`
	// Families are those of the denoiser with which the prefix means the part,
	// all where there are none.
	Families []string `yaml:"families"`
	// ReadOnly prefixes are understood and not written.
	ReadOnly bool `yaml:"reads"`
}

// A Module is the end of a path, in the dialect's spelling and in the model's.
type Module struct {
	Theirs string `yaml:"theirs"`
	Ours   string `yaml:"ours"`
	// Rows says which rows of the module the change is of, "" for all of them.
	Rows     string `yaml:"rows"`
	ReadOnly bool   `yaml:"reads"`
}

// Alpha is where a dialect keeps the factor of a change.
type Alpha string

const (
	Tensor Alpha = "tensor" // alpha is a scalar beside the halves; without it the factor is 1
	Config Alpha = "config" // lora_alpha of adapter_config.json
	Scale  Alpha = "scale"  // lora_parameters.scale of adapter_config.json
	Key    Alpha = "key"    // adapter.lora.alpha of GGUF
	Fold   Alpha = "fold"   // nowhere: the weights have it in them
)

type spelling struct {
	text, part string
}

// A Part is one tensor of a module's change.
type Part struct {
	Kind string
	// Out, In and Rank are the axes over the module's outputs and inputs, and
	// over the rank; -1 where there is none.
	Out, In, Rank int
	// With is the part without which it means nothing, "" when there is none.
	With string
	// Opaque parts depend on outputs or inputs in another way.
	Opaque bool
}

// kinds returns the parts by their names, and the kinds in the order in which one that
// has parts of several is told.
var kinds = sync.OnceValues(func() (parts map[string]Part, order []string) {
	var docs []struct {
		Kind  string `yaml:"kind"`
		Parts map[string]struct {
			Out    *int   `yaml:"out"`
			In     *int   `yaml:"in"`
			Rank   *int   `yaml:"rank"`
			With   string `yaml:"with"`
			Opaque bool   `yaml:"opaque"`
		} `yaml:"parts"`
	}
	if err := yaml.Load(kindsYAML, &docs, yaml.WithKnownFields()); err != nil {
		panic("adapter: kinds.yaml: " + err.Error())
	}
	axis := func(p *int) int {
		if p == nil {
			return -1
		}
		return *p
	}
	parts = make(map[string]Part)
	for _, d := range docs {
		if !slices.Contains(order, d.Kind) {
			order = append(order, d.Kind)
		}
		for name, p := range d.Parts {
			parts[name] = Part{d.Kind, axis(p.Out), axis(p.In), axis(p.Rank), p.With, p.Opaque}
		}
	}
	return parts, order
})

// PartOf returns what is known of a part: "down", "hada_w1_a", "alpha".
func PartOf(name string) Part {
	parts, _ := kinds()
	return parts[name]
}

var load = sync.OnceValue(func() []*Dialect {
	entries, err := data.ReadDir("data")
	if err != nil {
		panic(err) // it is embedded
	}
	byName := make(map[string]*Dialect)
	var list []*Dialect
	for _, e := range entries {
		b, err := data.ReadFile("data/" + e.Name())
		if err != nil {
			panic(err)
		}
		d := new(Dialect)
		dec, err := yaml.NewLoader(bytes.NewReader(b), yaml.WithKnownFields())
		if err == nil {
			err = dec.Load(d)
		}
		if err != nil {
			panic(fmt.Sprintf("adapter: %s: %v", e.Name(), err))
		}
		byName[d.Name] = d
		list = append(list, d)
	}
	for _, d := range list {
		if of := byName[d.Extends]; of != nil {
			d.extend(of)
		}
	}
	for _, d := range list {
		d.compile()
	}
	// What is read in several dialects is of the commonest.
	order := []string{"kohya", "peft", "diffusers", "comfy"}
	slices.SortStableFunc(list, func(a, b *Dialect) int {
		return cmp.Compare(uint(slices.Index(order, a.Name)), uint(slices.Index(order, b.Name)))
	})
	return list
})

// extend takes over what a dialect does not say itself.
func (d *Dialect) extend(of *Dialect) {
	d.Flat, d.Alpha = of.Flat, of.Alpha
	d.Leaves, d.Reads, d.Kinds, d.Column, d.Transposed = of.Leaves, of.Reads, of.Kinds, of.Column, of.Transposed
	if d.Bases == nil {
		d.Avoid, d.Original, d.Unless = of.Avoid, of.Original, of.Unless
	}
}

func (d *Dialect) compile() {
	add := func(text, part string) {
		if PartOf(part) == (Part{}) {
			panic(fmt.Sprintf("adapter: dialect %s: %q is not a part", d.Name, part))
		}
		if !strings.HasPrefix(text, "_") {
			text = "." + text
		}
		d.spellings = append(d.spellings, spelling{text, part})
	}
	parts, _ := kinds()
	for part, p := range parts {
		if p.Kind != "" && slices.Contains(d.Kinds, p.Kind) && d.Leaves[part] == "" {
			add(part, part)
		}
	}
	for part, text := range d.Leaves {
		add(text, part)
	}
	for part, list := range d.Reads {
		for _, text := range list {
			add(text, part)
		}
	}
	slices.SortFunc(d.spellings, func(a, b spelling) int {
		return cmp.Or(cmp.Compare(len(b.text), len(a.text)), strings.Compare(a.text, b.text))
	})
}

// All returns the dialects, the commonest first.
func All() []*Dialect { return slices.Clone(load()) }

// Lookup returns the dialect of a name.
func Lookup(name string) (*Dialect, bool) {
	i := slices.IndexFunc(load(), func(d *Dialect) bool { return d.Name == name })
	if i < 0 {
		return nil, false
	}
	return load()[i], true
}

// Takes reports whether names of a convention of some projects can stand in the
// dialect.
func (d *Dialect) Takes(projects []string) bool {
	in := func(list []string) bool {
		return slices.ContainsFunc(projects, func(p string) bool { return slices.Contains(list, p) })
	}
	if d.Bases != nil {
		return in(d.Bases)
	}
	return !in(d.Avoid)
}

// Leaf is how the dialect spells a part, with what joins it to the path.
func (d *Dialect) Leaf(part string) (string, bool) {
	if text, ok := d.Leaves[part]; ok {
		return "." + text, true
	}
	if p := PartOf(part); p.Kind != "" && slices.Contains(d.Kinds, p.Kind) {
		return "." + part, true
	}
	return "", false
}

// Beside is the name of another part beside that of one.
func (d *Dialect) Beside(name, part, other string) string {
	for _, s := range d.spellings {
		stem, ok := strings.CutSuffix(name, s.text)
		if !ok || s.part != part {
			continue
		}
		leaf, _ := d.Leaf(other)
		if i := slices.Index(d.Reads[part], strings.TrimPrefix(s.text, ".")); i >= 0 && i < len(d.Reads[other]) {
			if leaf = d.Reads[other][i]; !strings.HasPrefix(leaf, "_") {
				leaf = "." + leaf
			}
		}
		return stem + leaf
	}
	if bare := Anonymous(name); bare != name {
		const end = "weight"
		called := name[len(bare)-len(end) : len(name)-len(end)]
		return strings.TrimSuffix(d.Beside(bare, part, other), end) + called + end
	}
	return ""
}

// PrefixOf is what the dialect writes before the paths of a part of a pipeline
// whose denoiser is of some families.
func (d *Dialect) PrefixOf(of string, family func(string) bool) (string, bool) {
	for _, p := range d.Prefixes {
		if p.ReadOnly || p.Of != of && p.Of != "any" || p.Families != nil && !slices.ContainsFunc(p.Families, family) {
			continue
		}
		return p.Text, true
	}
	return "", false
}

// PartNamed is the part of a pipeline that a prefix means beside a denoiser of
// some families.
func (d *Dialect) PartNamed(prefix string, family func(string) bool) string {
	for _, p := range d.Prefixes {
		if p.Text == prefix && (p.Families == nil || slices.ContainsFunc(p.Families, family)) {
			return p.Of
		}
	}
	return ""
}

// Spell writes the path of a module as the dialect does, without its prefix.
func (d *Dialect) Spell(path string) (string, bool) {
	found := !d.Only
	for _, m := range d.Modules {
		if m.ReadOnly || m.Rows != "" {
			continue
		}
		if stem, ok := strings.CutSuffix(path, m.Ours); ok {
			path, found = stem+m.Theirs, true
			break
		}
	}
	if d.Flat {
		path = strings.ReplaceAll(path, ".", "_")
	}
	return path, found
}

// own are the ends of names that only the dialect has: its leaves, or where it
// has names for few modules, these with them.
func (d *Dialect) own() []string {
	var out []string
	for _, s := range d.spellings {
		if !d.Only {
			out = append(out, s.text)
		}
		for _, m := range d.Modules {
			if d.Only {
				out = append(out, m.Theirs+s.text)
			}
		}
	}
	return out
}

// A Leaf of some dialect, for those that meet an adapter's tensors among others.
type Leaf struct{ Text, Dialect string }

// Leaves lists the spellings of parts that can be told by themselves.
func Leaves() []Leaf {
	var out []Leaf
	seen := make(map[string]bool)
	for _, d := range load() {
		for _, s := range d.own() {
			text := strings.TrimPrefix(s, ".")
			if !seen[text] && !slices.Contains(d.Weak, text) {
				seen[text] = true
				out = append(out, Leaf{text, d.Name})
			}
		}
	}
	return out
}
