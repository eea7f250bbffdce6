package convention

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/rename/template"
)

//go:embed data
var dataFS embed.FS

// A document is one convention as its file describes it; docs/conventions.md
// says what each key means.
type document struct {
	Name        string    `yaml:"name"`
	Description string    `yaml:"description"`
	Dialects    []string  `yaml:"dialects"`
	Families    []string  `yaml:"families"`
	Extends     string    `yaml:"extends"`
	VariantOf   string    `yaml:"variant_of"`
	Base        *string   `yaml:"base"`
	Sources     []string  `yaml:"sources"`
	Layout      Layout    `yaml:"layout"`
	Include     []include `yaml:"include"`
	Remove      []string  `yaml:"remove"`
	Require     []string  `yaml:"require"`
	Unwritten   []string  `yaml:"unwritten"`
	F32         []string  `yaml:"f32"`
	Tensors     yaml.Node `yaml:"tensors"`
	Own         []string  `yaml:"own"`
	Refuse      string    `yaml:"refuse"`
	Opaque      yaml.Node `yaml:"opaque"`
	Drop        yaml.Node `yaml:"drop"`
	DropLayers  yaml.Node `yaml:"drop_layers"`
	Abstract    bool      `yaml:"abstract"`
	Preferred   bool      `yaml:"preferred"`
	Bare        bool      `yaml:"bare"`
	Frame       bool      `yaml:"frame"`
	With        []string  `yaml:"with"`
	Kind        string    `yaml:"kind"`

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

// A Layout says how a convention's bytes lie where they differ from the plain
// layout: one tensor for each projection, [out, in], experts one by one. The
// zero value of each field is the plain layout.
type Layout struct {
	// Rope is the order of the rows of the query and key projections that
	// rotary embedding pairs: tensorop.Half, tensorop.Adjacent, or "" without rotary
	// embedding.
	Rope string `yaml:"rope" json:"rope,omitempty"`
	// QKV is how a fused query, key and value projection is put together.
	QKV string `yaml:"qkv" json:"qkv,omitempty"`
	// GateUp is how a fused gate and up projection is put together.
	GateUp string `yaml:"gate_up" json:"gate_up,omitempty"`
	// Experts is the orientation of stacked experts: "out-in", "in-out" or "flat".
	Experts string `yaml:"experts" json:"experts,omitempty"`
	// Transposed lists the modules stored [in, out].
	Transposed []string `yaml:"transposed" json:"transposed,omitempty"`
	// RopeNorms is set where the weights of the normalisations of queries and keys
	// are in the order of their rows.
	RopeNorms bool `yaml:"rope_norms" json:"rope_norms,omitempty"`
	// QueryHeads and ValueHeads are the orders of the heads that share a key head,
	// in attention and in gated linear attention: tensorop.Grouped, tensorop.Tiled,
	// or "" where none of the conventions of a family differ.
	QueryHeads string `yaml:"query_heads" json:"query_heads,omitempty"`
	ValueHeads string `yaml:"value_heads" json:"value_heads,omitempty"`
	// NormOffset is what the model adds to a stored normalisation weight, and
	// NormOffsets what it adds to some, by globs of their modules.
	NormOffset  float64            `yaml:"norm_offset" json:"norm_offset,omitempty"`
	NormOffsets map[string]float64 `yaml:"norm_offsets" json:"norm_offsets,omitempty"`
	// Decay is how state-space decay is stored: "log" for A_log, "negative"
	// for -exp(A_log).
	Decay string `yaml:"decay" json:"decay,omitempty"`
	// Blocks is what stands before "blocks" and "scales" in the names of MXFP4
	// experts, "_" or "."; their bytes are the same in every convention that
	// names them so, whatever the orientation of unpacked experts.
	Blocks string `yaml:"blocks" json:"blocks,omitempty"`
	// Scale is the leaf of the scales of FP8 blocks; "" is "weight_scale_inv".
	Scale string `yaml:"scale" json:"scale,omitempty"`
	// Shapes are the shapes of modules, by globs, where another project has the
	// same bytes in another: a letter for each axis, or 1. "c1k" is a depthwise
	// convolution of torch, "gn" a vector by groups.
	Shapes map[string]string `yaml:"shapes" json:"shapes,omitempty"`
	// Parts are, by the last word of a fused module's role, how long its parts are
	// in proportion, one after the other, where that is the same for every model.
	Parts map[string][]int64 `yaml:"parts" json:"parts,omitempty"`
	// Swapped lists the modules whose two halves lie the other way round than in
	// other projects: of a modulation, scale before shift. One may be written
	// "MODULE without OTHER": of the blocks that lack the other.
	Swapped []string `yaml:"swapped" json:"swapped,omitempty"`
	// Pointwise lists the modules stored as convolutions whose kernel is one pixel,
	// [out, in, 1, 1].
	Pointwise []string `yaml:"pointwise" json:"pointwise,omitempty"`
	// Vectors is the dtype of tensors of one axis, whatever they were; "" where they
	// stay as they are.
	Vectors string `yaml:"vectors" json:"vectors,omitempty"`
	// Notes says what else differs, for people.
	Notes []string `yaml:"notes" json:"notes,omitempty"`
}

// OffsetsNorms reports whether the model adds something to stored normalisations.
func (l *Layout) OffsetsNorms() bool {
	return l.NormOffset != 0 || slices.ContainsFunc(slices.Collect(maps.Values(l.NormOffsets)), func(v float64) bool { return v != 0 })
}

// Values of Layout fields beside those of package tensorop.
const (
	UpFirst = "up-first" // GateUp: contiguous, up before gate

	InOut = "in-out" // Experts
	// Flat experts lie one below the other in a matrix of experts x
	// intermediate rows, the down projection turned round to have them.
	Flat = "flat"
)

// A set is every built-in convention.
type set struct {
	list   []*Convention
	byName map[string]*Convention
}

var builtin = sync.OnceValue(func() *set {
	s, err := loadSet()
	if err != nil {
		panic("convention: " + err.Error()) // the tests read the same files
	}
	return s
})

func loadSet() (*set, error) {
	entries, err := dataFS.ReadDir("data")
	if err != nil {
		return nil, err
	}
	l := newLoader()
	// A third of the time is YAML's, and a reader of it for each of so many small
	// files is dear: some are read as one.
	batches := slices.Collect(slices.Chunk(entries, 48))
	docs, errs := make([][]*document, len(batches)), make([]error, len(batches))
	var wg sync.WaitGroup
	for i, batch := range batches {
		wg.Go(func() { docs[i], errs[i] = readFiles(batch) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for _, d := range slices.Concat(docs...) {
		if err := l.add(d); err != nil {
			return nil, err
		}
	}
	s := &set{byName: make(map[string]*Convention)}
	for _, name := range l.order {
		c, err := l.convention(name, nil)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.docs[name].file, err)
		}
		if l.docs[name].Abstract {
			continue
		}
		s.list = append(s.list, c)
		s.byName[name] = c
	}
	gg, err := loadGGUF(l.vocab, l.cache)
	if err != nil {
		return nil, err
	}
	for _, c := range gg {
		if s.byName[c.Name] != nil {
			return nil, fmt.Errorf("convention %q is described twice", c.Name)
		}
		s.list = append(s.list, c)
		s.byName[c.Name] = c
	}
	slices.SortFunc(s.list, func(a, b *Convention) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

type loader struct {
	docs  map[string]*document
	order []string
	done  map[string]*Convention
	vocab *vocabulary
	cache patternCache
}

func newLoader() *loader {
	return &loader{docs: map[string]*document{}, done: map[string]*Convention{}, vocab: loadVocabulary(), cache: patternCache{}}
}

// readFiles reads the documents of some files.
func readFiles(entries []fs.DirEntry) ([]*document, error) {
	var all []byte
	var files []string // of each document
	for _, e := range entries {
		b, err := dataFS.ReadFile("data/" + e.Name())
		if err != nil {
			return nil, err
		}
		for range bytes.Count(b, []byte("\n---\n")) + 1 {
			files = append(files, e.Name())
		}
		all = append(append(all, b...), "---\n"...)
	}
	docs, err := readDocuments(bytes.TrimSuffix(all, []byte("---\n")))
	if err != nil {
		for _, e := range entries { // the line counts in one of them
			b, _ := dataFS.ReadFile("data/" + e.Name())
			if _, err := readDocuments(b); err != nil {
				return nil, fmt.Errorf("%s: %w", e.Name(), err)
			}
		}
		return nil, err
	}
	for i, d := range docs {
		d.file = files[i]
	}
	return docs, nil
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
func (l *loader) convention(name string, trail []string) (*Convention, error) {
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
	trail = append(trail, name)
	c := &Convention{
		Name: name, Description: d.Description, Dialects: d.Dialects, Families: d.Families,
		VariantOf: d.VariantOf, Preferred: d.Preferred, Bare: d.Bare, Frame: d.Frame, With: d.With, Kind: d.Kind, Sources: d.Sources, Layout: d.Layout, Refuse: d.Refuse, vocab: l.vocab,
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
		c.opaque = slices.Clone(parent.opaque)
		c.drop, c.dropLayers = slices.Clone(parent.drop), slices.Clone(parent.dropLayers)
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
		specs = append(specs, part.at(in)...)
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
	c.opaque = append(c.opaque, readReasons(&d.Opaque)...)
	c.drop = append(c.drop, readReasons(&d.Drop)...)
	c.dropLayers = append(c.dropLayers, readReasons(&d.DropLayers)...)
	if len(d.F32) > 0 {
		for i := range specs {
			specs[i].dtype = f32(d.F32)
		}
	}
	c.specs = specs
	if err := c.compile(l.cache); err != nil {
		return nil, fmt.Errorf("convention %q: %w", name, err)
	}
	l.done[name] = c
	return c, nil
}

// readReasons reads a mapping from globs to reasons.
func readReasons(n *yaml.Node) []reason {
	at := func(n *yaml.Node) *yaml.Node {
		if n.Kind == yaml.AliasNode {
			return n.Alias
		}
		return n
	}
	var list []reason
	content := at(n).Content
	for i := 0; i+1 < len(content); i += 2 {
		r := reason{glob: template.Glob(content[i].Value)}
		switch why := at(content[i+1]); why.Kind {
		case yaml.MappingNode: // {when: KEY, why: TEXT}
			for k := 0; k+1 < len(why.Content); k += 2 {
				if text := why.Content[k+1].Value; why.Content[k].Value == "when" {
					r.when = text
				} else {
					r.text = text
				}
			}
		default:
			r.text = why.Value
		}
		list = append(list, r)
	}
	return list
}

func inherit(l, parent Layout) Layout {
	l.Rope = cmp.Or(l.Rope, parent.Rope)
	l.QKV = cmp.Or(l.QKV, parent.QKV)
	l.GateUp = cmp.Or(l.GateUp, parent.GateUp)
	l.Experts = cmp.Or(l.Experts, parent.Experts)
	if l.Transposed == nil {
		l.Transposed = parent.Transposed
	}
	l.RopeNorms = l.RopeNorms || parent.RopeNorms
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
func (c *Convention) at(in include) []spec {
	var specs []spec
	for _, s := range c.specs {
		if slices.ContainsFunc(in.Remove, func(r string) bool { return template.Glob(r).Match(s.module) }) {
			continue
		}
		if in.Space != "" && !strings.HasPrefix(s.module, ownPrefix) {
			space, module, _ := c.vocab.split(s.module + ".weight")
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
