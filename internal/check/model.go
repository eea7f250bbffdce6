package check

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A subject is a release with what several rules want to know of it.
type subject struct {
	ctx     context.Context
	release *checkpoint.Release
	models  []*model
	docs    map[string]*checkpoint.Config
	against *Lock
	pickled func() []*pickledFile
	unread  map[string]string // of what is called a pickle: why it was not looked into; known once pickled is
}

// A model is a checkpoint with what several rules want to know of it. What
// costs time is found when it is first asked for.
type model struct {
	*checkpoint.Checkpoint
	// doc is config.json beside the files, nil when there is none.
	doc *checkpoint.Config

	faults   func() []checkpoint.Fault
	families func() []*family
	names    func() *naming
	quant    func() *quant.Report
	common   func() string // what every name begins with
	// foreign precedes every name and is not the class's that config.json names.
	foreign func() string
	// unwrapped counts the names with wrappers by what they are without.
	unwrapped func() *bareNames
	// isAdapter and unmerged tell an adapter from a model that has one in it.
	isAdapter, unmerged func() bool
	stacks              func() []*stack
	// layerKinds are of the layers that config.json counts.
	layerKinds func() []string
	held       func() *identify.Fit // to the convention of the model type in config.json
	fitted     map[*identify.Fit]*fittedLayers
	// measures are of the tensors' values, which are read when they are first
	// asked for.
	measures func() *measures
	// partial says that tensors of the set are not here: what seems to be
	// absent may only be elsewhere.
	partial func() bool
	// fit is how an adapter fits its base; nil when there is nothing to say.
	fit func() *fit
	// adapter is what the tensors change; nil where they are no adapter.
	adapter func() *identify.Adapter
}

// A family is the tensors whose names have one template.
type family struct {
	template string
	first    string // the name of members[0]
	members  []int32
}

// naming is what the names of a model say.
type naming struct {
	*identify.Reading // by the names alone
	whole             *identify.Result
	conv              *convention.Convention // nil when the convention is not known
	// prefix stands before the names of the language model, and base is what
	// the convention has and they lack.
	prefix, base string
	repeated     string // the prefix that stands twice at the beginning of names
	byRole       map[string][]*family
	ids          map[*family]convention.ID // of the first member
}

func newSubject(ctx context.Context, rel *checkpoint.Release, opts *Options) *subject {
	s := &subject{ctx: ctx, release: rel, docs: make(map[string]*checkpoint.Config), against: opts.Against, unread: make(map[string]string)}
	s.pickled = sync.OnceValue(s.findPickled)
	for _, c := range rel.Checkpoints {
		m := &model{Checkpoint: c, doc: c.Config}
		m.faults = sync.OnceValue(func() []checkpoint.Fault { return c.Validate(ctx) })
		m.families = sync.OnceValue(m.findFamilies)
		m.names = sync.OnceValue(func() *naming { return m.identify(ctx) })
		m.quant = sync.OnceValue(m.quantisation)
		m.common = sync.OnceValue(m.commonPrefix)
		m.unwrapped = sync.OnceValue(m.countUnwrapped)
		m.isAdapter, m.unmerged = sync.OnceValue(m.mostlyAdapter), sync.OnceValue(m.holdsAdapter)
		m.layerKinds = sync.OnceValue(m.findLayerKinds)
		m.held = sync.OnceValue(func() *identify.Fit { return s.hold(m) })
		m.foreign = sync.OnceValue(m.foreignPrefix)
		m.stacks = sync.OnceValue(m.findStacks)
		m.measures = sync.OnceValue(func() *measures { return m.measure(ctx, opts) })
		m.partial = sync.OnceValue(func() bool { return m.isPartial(ctx) })
		m.adapter = sync.OnceValue(func() *identify.Adapter {
			if !m.names().Adapter {
				return nil
			}
			return identify.ReadAdapter(slices.Collect(adapt.Tensors(c)), nil, nil)
		})
		m.fit = sync.OnceValue(func() *fit { return m.fitTo(ctx, opts.Base) })
		s.models = append(s.models, m)
	}
	return s
}

// document returns a JSON document of a directory, nil when there is none that
// can be read. Those that are not valid are found by WT301.
func (s *subject) document(dir, name string) *checkpoint.Config {
	path := source.Join(dir, name)
	if doc, ok := s.docs[path]; ok {
		return doc
	}
	var doc *checkpoint.Config
	if data, err := source.ReadFile(s.ctx, path, source.Document); err == nil {
		doc, _ = checkpoint.ParseConfig(path, data)
	}
	s.docs[path] = doc
	return doc
}

func (m *model) isPartial(ctx context.Context) bool {
	if slices.ContainsFunc(m.Files, func(f *checkpoint.File) bool { return f.Missing || f.Err != nil }) && !m.NamesOnly() {
		return true
	}
	if m.lostShard() {
		return true
	}
	set, err := m.Set(ctx)
	return err != nil || set != ""
}

// lostShard reports whether the index places tensors in a shard that holds none.
func (m *model) lostShard() bool {
	isEmpty := func(f *checkpoint.File) bool {
		s, t := f.Safetensors(), f.PyTorch()
		return s != nil && s.Len() == 0 || t != nil && t.Len() == 0
	}
	return m.Index != "" && slices.ContainsFunc(m.Files, isEmpty) && slices.ContainsFunc(m.faults(), func(f checkpoint.Fault) bool {
		return f.Code == checkpoint.CodeEmptyShard && f.Severity == checkpoint.Error
	})
}

func (m *model) findFamilies() []*family {
	byTemplate := make(map[string]int32, 256)
	var list []*family
	var counts []int
	of := make([]int32, m.Len())
	var buf []byte
	for i, t := range m.All() {
		buf = template.Words.Append(buf[:0], t.Name)
		at, ok := byTemplate[string(buf)]
		if !ok {
			at = int32(len(list))
			f := &family{template: string(buf), first: t.Name}
			byTemplate[f.template] = at
			list, counts = append(list, f), append(counts, 0)
		}
		of[i] = at
		counts[at]++
	}
	members := make([]int32, len(of)) // of all, as slices that grow take several times the memory
	for at, f := range list {
		f.members, members = members[:0:counts[at]], members[counts[at]:]
	}
	for i, at := range of {
		list[at].members = append(list[at].members, int32(i))
	}
	return list
}

// identify says which convention the names follow. It goes by the names alone:
// shapes that contradict the configuration are what other rules look for.
func (m *model) identify(ctx context.Context) *naming {
	beside, _ := adapt.Model(ctx, m.Checkpoint) // a document that cannot be read says nothing
	n := &naming{byRole: make(map[string][]*family), ids: make(map[*family]convention.ID)}
	whole := identify.Read(adapt.Tensors(m.Checkpoint), beside)
	n.Reading, n.whole = whole.ByNames(), whole.Result
	for _, t := range m.families() {
		if w, ok := n.Unwrap(t.first); ok && strings.HasPrefix(t.first, w.Repeated+w.Repeated) {
			n.repeated = w.Repeated
			break
		}
	}
	if n.conv, _ = convention.Lookup(n.Convention); n.conv == nil {
		return n
	}
	n.findPrefix(m.families(), m.stem())
	for _, t := range m.families() {
		if id, ok := n.parse(t.first); ok {
			n.ids[t] = id
			n.byRole[id.Role] = append(n.byRole[id.Role], t)
		}
	}
	return n
}

// stem returns what config.json calls the one of several models that has the language
// model: "thinker", where thinker_config nests text_config.
func (m *model) stem() string {
	whole, _ := m.doc.Find()
	for key, v := range whole.Members() {
		if _, nests := v.Find("text_config"); nests {
			return strings.TrimSuffix(key, "_config")
		}
	}
	return ""
}

// findPrefix finds what stands before the language model's names, by its token
// embedding. Of several it is the one below stem, or the shortest.
func (n *naming) findPrefix(families []*family, stem string) {
	bases := []string{""}
	if n.conv.Base != "" {
		bases = append(bases, n.conv.Base)
	}
	found := false
	for _, t := range families {
		if strings.ContainsAny(t.template, "0123456789") {
			continue
		}
		name := n.bare(t.first)
		for start := 0; start >= 0; start = nextSegment(name, start) {
			for _, base := range bases {
				id, ok := n.conv.Parse(base + name[start:])
				if !ok || id.Role != "embed.tokens.weight" {
					continue
				}
				below := func(prefix string) bool { return stem != "" && strings.HasPrefix(prefix, stem+".") }
				old, this := below(n.prefix), below(name[:start])
				if !found || this && !old || this == old && start < len(n.prefix) {
					n.prefix, n.base, found = name[:start], base, true
				}
			}
		}
	}
}

// nextSegment returns where the next dotted segment begins, or -1.
func nextSegment(name string, start int) int {
	i := strings.IndexByte(name[start:], '.')
	if i < 0 {
		return -1
	}
	return start + i + 1
}

// bare returns a name without wrappers.
func (n *naming) bare(name string) string {
	if w, ok := n.Unwrap(name); ok {
		return w.Name
	}
	return name
}

// parse returns what a tensor of the language model is for.
func (n *naming) parse(name string) (convention.ID, bool) { return n.parseBare(n.bare(name)) }

func (n *naming) parseBare(name string) (convention.ID, bool) {
	if n.conv == nil {
		return convention.ID{}, false
	}
	rest, ok := strings.CutPrefix(name, n.prefix)
	if !ok {
		return convention.ID{}, false
	}
	id, ok := n.conv.Parse(n.base + rest)
	if !ok && n.base != "" {
		id, ok = n.conv.Parse(rest)
	}
	return id, ok
}

// one returns the tensor of a role that a model has once.
func (m *model) one(role string) (checkpoint.Tensor, int, bool) {
	for _, t := range m.names().byRole[role] {
		i := int(t.members[0])
		return m.At(i), i, true
	}
	return checkpoint.Tensor{}, 0, false
}

func ggufText(g *gguf.File, key string) string {
	v, _ := g.Lookup(key)
	s, _ := v.Text()
	return s
}

// plain reports whether a dtype stores one number an element, so that a shape
// is what the model says it is.
func plain(dtype string) bool {
	switch dtype {
	case "F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return true
	}
	return false
}

// generic writes {n} for the indices of a name, where it stands for many.
func generic(name string) string {
	return template.Segments.Replace(name, func(int, string) string { return "{n}" })
}
