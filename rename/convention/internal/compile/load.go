package compile

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A document is one convention as its file describes it; docs/conventions.md
// says what each key means.
type document struct {
	Name        string                  `yaml:"name"`
	Description string                  `yaml:"description"`
	Dialects    []string                `yaml:"dialects"`
	Families    []string                `yaml:"families"`
	Extends     string                  `yaml:"extends"`
	VariantOf   string                  `yaml:"variant_of"`
	Base        *string                 `yaml:"base"`
	Sources     []string                `yaml:"sources"`
	Layout      convention.Layout       `yaml:"layout"`
	Include     []include               `yaml:"include"`
	Remove      []string                `yaml:"remove"`
	Require     []string                `yaml:"require"`
	Unwritten   []string                `yaml:"unwritten"`
	F32         []string                `yaml:"f32"`
	Tensors     yaml.Node               `yaml:"tensors"`
	Own         []string                `yaml:"own"`
	Refuse      string                  `yaml:"refuse"`
	Opaque      yaml.Node               `yaml:"opaque"`
	Drop        yaml.Node               `yaml:"drop"`
	DropLayers  yaml.Node               `yaml:"drop_layers"`
	Abstract    bool                    `yaml:"abstract"`
	Preferred   int                     `yaml:"preferred"`
	Dimensions  []convention.Dimensions `yaml:"dimensions"`
	Bare        bool                    `yaml:"bare"`
	Frame       bool                    `yaml:"frame"`
	With        []string                `yaml:"with"`
	Text        string                  `yaml:"text"`
	Kind        string                  `yaml:"kind"`

	file string
}

type include struct {
	Convention string   `yaml:"convention"`
	At         string   `yaml:"at"`
	Head       *string  `yaml:"head"`
	Space      string   `yaml:"space"`
	Optional   bool     `yaml:"optional"`
	Remove     []string `yaml:"remove"`
}

// A Description is one convention as all that its files say of it comes to.
type Description struct {
	Name, Description  string
	Dialects, Families []string
	Base, VariantOf    string
	Kind, Refuse, Text string
	Preferred          int
	Dimensions         []convention.Dimensions
	Bare, Frame        bool
	Language           bool
	With, Sources      []string
	Layout             convention.Layout
	Opaque, Drop       []Reason
	DropLayers, Towers []Reason
	Tensors            []Tensor

	specs []spec
}

// A Tensor is one kind of tensor of a convention; see [convention.Tensor].
type Tensor struct {
	Role, Stem                            string // the stem stands below the base, unless it is absolute
	Optional, Unwritten, Buffer, Absolute bool
	DType, Without                        string
}

// A Reason says why something is done with what a glob matches. It counts where a key
// of the configuration is set, or always.
type Reason struct{ Glob, When, Text string }

// Load reads the conventions that files describe: those of the directory data, and
// one of each architecture of gguf.yaml. They come by name.
func Load(files fs.FS) ([]*Description, error) {
	v, err := loadVocabulary(files)
	if err != nil {
		return nil, err
	}
	docs, err := readFiles(files)
	if err != nil {
		return nil, err
	}
	l := newLoader(v)
	for _, d := range docs {
		if err := l.add(d); err != nil {
			return nil, err
		}
	}
	var list []*Description
	names := make(map[string]bool)
	for _, name := range l.order {
		c, err := l.convention(name, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.docs[name].file, err)
		}
		if !l.docs[name].Abstract {
			list, names[name] = append(list, c), true
		}
	}
	gg, err := loadGGUF(files, v)
	if err != nil {
		return nil, err
	}
	for _, c := range list {
		if slices.Contains(c.Dialects, "gguf") {
			c.Towers = gg[0].Towers // the format's, whatever the names
		}
	}
	for _, c := range gg {
		if names[c.Name] {
			return nil, fmt.Errorf("convention %q is described twice", c.Name)
		}
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b *Description) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

type loader struct {
	docs  map[string]*document
	order []string
	done  map[string]*Description
	vocab *vocabulary
}

func newLoader(v *vocabulary) *loader {
	return &loader{docs: map[string]*document{}, done: map[string]*Description{}, vocab: v}
}

// readFiles reads every document.
func readFiles(files fs.FS) ([]*document, error) {
	names, err := fs.Glob(files, "data/*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*document
	for _, name := range names {
		b, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		docs, err := readDocuments(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, d := range docs {
			d.file = path.Base(name)
		}
		all = append(all, docs...)
	}
	return all, nil
}

func readDocuments(b []byte) ([]*document, error) {
	dec, err := yaml.NewLoader(bytes.NewReader(b), yaml.WithKnownFields())
	if err != nil {
		return nil, err
	}
	var docs []*document
	for {
		d := new(document)
		err := dec.Load(d)
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return nil, err
		}
		docs = append(docs, d)
	}
}

func (l *loader) add(d *document) error {
	if d.Name == "" {
		return fmt.Errorf("%s: a convention has no name", d.file)
	}
	if l.docs[d.Name] != nil {
		return fmt.Errorf("%s: convention %q is described twice", d.file, d.Name)
	}
	l.docs[d.Name] = d
	l.order = append(l.order, d.Name)
	return nil
}

// convention builds a convention and those it is made of. The path of names
// leads to it, to find circles.
func (l *loader) convention(name string, trail []string) (*Description, error) {
	if c := l.done[name]; c != nil {
		return c, nil
	}
	d := l.docs[name]
	if d == nil {
		return nil, fmt.Errorf("convention %q: it is not described", name)
	}
	if slices.Contains(trail, name) {
		return nil, fmt.Errorf("convention %q: it is made of itself", name)
	}
	if d.Preferred < 0 || d.Preferred > 2 {
		return nil, fmt.Errorf("convention %q: preferred is %d, and must be 1 or 2", name, d.Preferred)
	}
	trail = append(trail, name)
	c := &Description{
		Name: name, Description: d.Description, Dialects: d.Dialects, Families: d.Families,
		VariantOf: d.VariantOf, Preferred: d.Preferred, Dimensions: d.Dimensions, Bare: d.Bare, Frame: d.Frame, With: d.With, Text: d.Text, Kind: d.Kind, Sources: d.Sources, Layout: d.Layout, Refuse: d.Refuse,
	}
	var specs []spec
	if d.Extends != "" {
		parent, err := l.convention(d.Extends, trail)
		if err != nil {
			return nil, err
		}
		specs = slices.Clone(parent.specs)
		if c.Dialects == nil {
			c.Dialects = parent.Dialects
		}
		c.Base = parent.Base
		c.Kind = cmp.Or(d.Kind, parent.Kind)
		c.Opaque = slices.Clone(parent.Opaque)
		c.Drop, c.DropLayers = slices.Clone(parent.Drop), slices.Clone(parent.DropLayers)
		c.Layout = inherit(d.Layout, parent.Layout)
	}
	if d.Base != nil {
		c.Base = *d.Base
	}
	for _, in := range d.Include {
		part, err := l.convention(in.Convention, trail)
		if err != nil {
			return nil, err
		}
		specs = append(specs, l.at(part, in)...)
		if in.Space == "" && c.Layout.Rope == "" {
			c.Layout = inherit(c.Layout, part.Layout)
		}
	}
	for _, r := range d.Remove {
		n := len(specs)
		specs = slices.DeleteFunc(specs, func(s spec) bool { return template.Glob(r).Match(s.module) })
		if len(specs) == n {
			return nil, fmt.Errorf("convention %q: remove: nothing it inherits has the role %q", name, r)
		}
	}
	own, err := parseTensors(&d.Tensors)
	if err != nil {
		return nil, fmt.Errorf("convention %q: %w", name, err)
	}
	for _, s := range own {
		specs = slices.DeleteFunc(specs, func(old spec) bool { return old.module == s.module })
	}
	specs = append(specs, own...)
	for _, text := range d.Own {
		more, err := parseOwn(text)
		if err != nil {
			return nil, fmt.Errorf("convention %q: %w", name, err)
		}
		specs = append(specs, more...)
	}
	for _, r := range d.Require {
		found := false
		for i := range specs {
			if template.Glob(r).Match(specs[i].module) {
				specs[i].optional = false
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("convention %q: require: it has no role %q", name, r)
		}
	}
	for _, r := range d.Unwritten {
		for i := range specs {
			specs[i].unwritten = specs[i].unwritten || template.Glob(r).Match(specs[i].module)
		}
	}
	c.Opaque = append(c.Opaque, readReasons(&d.Opaque)...)
	c.Drop = append(c.Drop, readReasons(&d.Drop)...)
	c.DropLayers = append(c.DropLayers, readReasons(&d.DropLayers)...)
	if len(d.F32) > 0 {
		for i := range specs {
			specs[i].dtype = f32(d.F32)
		}
	}
	c.specs = specs
	if err := c.compile(l.vocab); err != nil {
		return nil, fmt.Errorf("convention %q: %w", name, err)
	}
	l.done[name] = c
	return c, nil
}

// readReasons reads a mapping from globs to reasons.
func readReasons(n *yaml.Node) []Reason {
	at := func(n *yaml.Node) *yaml.Node {
		if n.Kind == yaml.AliasNode {
			return n.Alias
		}
		return n
	}
	var list []Reason
	content := at(n).Content
	for i := 0; i+1 < len(content); i += 2 {
		r := Reason{Glob: content[i].Value}
		switch why := at(content[i+1]); why.Kind {
		case yaml.MappingNode: // {when: KEY, why: TEXT}
			for k := 0; k+1 < len(why.Content); k += 2 {
				if text := why.Content[k+1].Value; why.Content[k].Value == "when" {
					r.When = text
				} else {
					r.Text = text
				}
			}
		default:
			r.Text = why.Value
		}
		list = append(list, r)
	}
	return list
}

func inherit(l, parent convention.Layout) convention.Layout {
	l.Rope = cmp.Or(l.Rope, parent.Rope)
	l.RopeCross = cmp.Or(l.RopeCross, parent.RopeCross)
	l.RopeSections = cmp.Or(l.RopeSections, parent.RopeSections)
	l.QKV = cmp.Or(l.QKV, parent.QKV)
	l.GateUp = cmp.Or(l.GateUp, parent.GateUp)
	l.Experts = cmp.Or(l.Experts, parent.Experts)
	if l.Transposed == nil {
		l.Transposed = parent.Transposed
	}
	l.RopeNorms = l.RopeNorms || parent.RopeNorms
	l.QKNorm = cmp.Or(l.QKNorm, parent.QKNorm)
	l.QueryGate = l.QueryGate || parent.QueryGate
	l.QueryHeads = cmp.Or(l.QueryHeads, parent.QueryHeads)
	l.ValueHeads = cmp.Or(l.ValueHeads, parent.ValueHeads)
	l.NormOffset = cmp.Or(l.NormOffset, parent.NormOffset)
	l.NormOffsets = over(l.NormOffsets, parent.NormOffsets)
	l.Decay = cmp.Or(l.Decay, parent.Decay)
	l.Shapes = over(l.Shapes, parent.Shapes)
	l.Blocks = cmp.Or(l.Blocks, parent.Blocks)
	l.Scale = cmp.Or(l.Scale, parent.Scale)
	if l.Parts == nil {
		l.Parts = parent.Parts
	}
	if l.Swapped == nil {
		l.Swapped = parent.Swapped
	}
	if l.Pointwise == nil {
		l.Pointwise = parent.Pointwise
	}
	l.Vectors = cmp.Or(l.Vectors, parent.Vectors)
	if l.Notes == nil {
		l.Notes = parent.Notes
	}
	return l
}

// over returns the entries of two maps, those of a where both have one.
func over[T any](a, b map[string]T) map[string]T {
	if len(a) == 0 {
		return b
	}
	out := maps.Clone(b)
	if out == nil {
		out = make(map[string]T, len(a))
	}
	maps.Copy(out, a)
	return out
}

// A spec is one module of a convention: its role and name, and its leaves.
type spec struct {
	module    string
	stem      string
	absolute  bool // the stem does not stand below the base
	leaves    []leaf
	optional  bool
	unwritten bool
	dtype     func(name string) string // of a name, nil for none
	buffer    bool
	without   string
}

type leaf struct {
	role     string
	suffix   string // what is appended to the stem
	optional bool
}

// at returns a part's modules as they stand below a prefix.
func (l *loader) at(c *Description, in include) []spec {
	var specs []spec
	for _, s := range c.specs {
		if slices.ContainsFunc(in.Remove, func(r string) bool { return template.Glob(r).Match(s.module) }) {
			continue
		}
		if in.Space != "" && !strings.HasPrefix(s.module, ownPrefix) {
			space, module, _ := l.vocab.spaces.Split(s.module + ".weight")
			switch space {
			case "", in.Space:
				s.module = in.Space + "." + module
			default:
				s.module = in.Space + "." + s.module
			}
			if s.without != "" {
				s.without = in.Space + "." + s.without
			}
		}
		switch {
		case !s.absolute:
			s.stem = in.At + s.stem
		case in.Head != nil:
			s.stem = *in.Head + s.stem
		default:
			s.stem = strings.TrimSuffix(in.At, c.Base) + s.stem
		}
		s.absolute = true
		s.optional = s.optional || in.Optional
		specs = append(specs, s)
	}
	return specs
}

// parseTensors reads the mapping from roles to patterns.
func parseTensors(n *yaml.Node) ([]spec, error) {
	var specs []spec
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		values := []*yaml.Node{v}
		if v.Kind == yaml.SequenceNode {
			values = v.Content
		}
		for _, v := range values {
			if v.Kind != yaml.ScalarNode {
				return nil, fmt.Errorf("line %d: the pattern of %q is not a text", v.Line, k.Value)
			}
			more, err := parseSpec(k.Value, v.Value)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", v.Line, err)
			}
			specs = append(specs, more...)
		}
	}
	return specs, nil
}

// f32 is the dtype of names: F32 of those that a glob matches.
func f32(globs []string) func(name string) string {
	return func(name string) string {
		if slices.ContainsFunc(globs, func(g string) bool { return template.Glob(g).Match(name) }) {
			return "F32"
		}
		return ""
	}
}

// parseSpec reads one line: a module role and "pattern [leaves]" with "?"
// behind it when the module may be absent and "~" when it is a buffer.
// Alternatives <a|b> in the role go with those in the pattern.
func parseSpec(role, text string) ([]spec, error) {
	line, err := parseLine(text)
	if err != nil {
		return nil, err
	}
	roles, stems := expand(role), expand(line.stem)
	if len(roles) != len(stems) {
		return nil, fmt.Errorf("role %q has %d alternatives, its pattern %q has %d", role, len(roles), line.stem, len(stems))
	}
	specs := make([]spec, len(roles))
	for i := range roles {
		specs[i] = line
		specs[i].module = roles[i]
		specs[i].stem, specs[i].absolute = strings.CutPrefix(stems[i], "/")
	}
	return specs, nil
}

func parseOwn(text string) ([]spec, error) {
	line, err := parseLine(text)
	if err != nil {
		return nil, err
	}
	var specs []spec
	for _, stem := range expand(line.stem) {
		s := line
		s.stem, s.absolute = strings.CutPrefix(stem, "/")
		s.module = ownPrefix + s.stem
		specs = append(specs, s)
	}
	return specs, nil
}

// parseLine reads a pattern and what is behind it.
func parseLine(text string) (s spec, err error) {
	text, s.without, _ = strings.Cut(text, " without ")
	text, s.buffer = strings.CutSuffix(text, "~")
	text, s.optional = strings.CutSuffix(text, "?")
	s.optional = s.optional || s.buffer
	leaves := []leaf{{role: "weight", suffix: ".weight"}}
	if open := strings.IndexByte(text, '['); open >= 0 {
		list, ok := strings.CutSuffix(strings.TrimSpace(text[open+1:]), "]")
		if !ok {
			return s, fmt.Errorf("pattern %q: the list of leaves is not closed", text)
		}
		text = text[:open]
		leaves = nil
		for _, f := range strings.Fields(list) {
			var l leaf
			f, l.optional = strings.CutSuffix(f, "?")
			name, spelling, spelt := strings.Cut(f, "=")
			l.role = name
			switch {
			case !spelt:
				l.suffix = "." + name
			case spelling == "" || spelling[0] == '_':
				l.suffix = spelling
			default:
				l.suffix = "." + spelling
			}
			leaves = append(leaves, l)
		}
	}
	s.stem, s.leaves = strings.TrimSpace(text), leaves
	if s.stem == "" || len(leaves) == 0 {
		return s, fmt.Errorf("pattern %q: nothing to match", text)
	}
	return s, nil
}

// expand writes out the alternatives <a|b> of a text.
func expand(text string) []string {
	open := strings.IndexByte(text, '<')
	if open < 0 {
		return []string{text}
	}
	shut := strings.IndexByte(text, '>')
	if shut < open {
		return []string{text}
	}
	var out []string
	for _, alt := range strings.Split(text[open+1:shut], "|") {
		for _, rest := range expand(text[shut+1:]) {
			out = append(out, text[:open]+alt+rest)
		}
	}
	return out
}

// compile turns the modules into tensors and checks them.
func (c *Description) compile(v *vocabulary) error {
	for _, s := range c.specs {
		for _, l := range s.leaves {
			t := Tensor{
				Role: s.module + "." + l.role, Stem: s.stem + l.suffix,
				Optional: s.optional || l.optional, Unwritten: s.unwritten, Buffer: s.buffer, Absolute: s.absolute, Without: s.without,
			}
			if s.dtype != nil {
				t.DType = s.dtype(t.Stem)
			}
			if _, err := convention.ParsePattern(t.Stem); err != nil {
				return err
			}
			if !v.known(t.Role) {
				return fmt.Errorf("%q is not a role", t.Role)
			}
			c.Tensors = append(c.Tensors, t)
		}
	}
	if len(c.Tensors) == 0 {
		return fmt.Errorf("it has no tensors")
	}
	has := func(roles ...string) bool {
		return slices.ContainsFunc(c.Tensors, func(t Tensor) bool { return slices.Contains(roles, t.Role) })
	}
	c.Language = has("embed.tokens.weight", "decoder.embed.tokens.weight") &&
		has("layer.attn.o.weight", "decoder.layer.attn.o.weight", "layer.ssm.out.weight", "layer.time_mix.o.weight")
	return nil
}
