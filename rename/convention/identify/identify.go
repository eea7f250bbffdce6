package identify

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A Result says which naming convention a checkpoint follows, and how surely.
// It claims no more than the names show: models that share every name are
// listed together, and a checkpoint that fits nothing has no convention.
type Result struct {
	// Convention is the one that the names follow, "" when unknown.
	Convention string
	// Alike are other conventions that fit as well as that one, where nothing says which
	// is meant.
	Alike []string
	// Kind says what the checkpoint is: a whole model or which part of one. It is one of
	// the Kind constants, "" when unknown.
	Kind string
	// Dialects are the projects that spell names so.
	Dialects []string
	// Families are the models, as transformers' model_type, that could bear
	// these names; empty when the names do not say.
	Families []string
	// Wrappers are the prefixes and segments found around the names, outermost
	// first.
	Wrappers []string
	// BaseAbsent is the prefix that the convention has and the checkpoint
	// lacks: a save of the bare model.
	BaseAbsent string
	// Coverage is the share of the checkpoint's templates that the convention
	// explains, from 0 to 1.
	Coverage float64
	// Missing are the roles that the convention requires and the checkpoint
	// lacks.
	Missing []string
	// Extra are the templates that the convention does not know.
	Extra []string
	// Nearest is the current convention that is nearest to the names: it knows half of them,
	// or they mean what its names do.
	Nearest Nearest
	// Gaps are the layers that some or all tensors lack.
	Gaps []Gap
	// Quantisation names the schemes that weights are stored in, the commonest first.
	Quantisation []string
	// Adapter is set when the tensors are changes to a model, not a model, and
	// Changes says which, where they could be read.
	Adapter bool
	Changes *Changes
	// Parts are the conventions found below further prefixes: the towers of a
	// multimodal model.
	Parts []Part
	// Candidates are the conventions that fit best, the first of them the one
	// chosen.
	Candidates []Candidate
	// Evidence says in sentences what the judgement rests on.
	Evidence []string
	Tensors  int
	// Templates is how many names there are when indices are left out, to a number that no
	// model comes near; MoreTemplates says that some names were not looked at beyond it.
	Templates     int
	MoreTemplates bool
}

// IsOf reports whether the names are those of a convention: it is the one found, or
// fits as well as that one.
func (r *Result) IsOf(convention string) bool {
	return r.Convention != "" && (r.Convention == convention ||
		slices.ContainsFunc(r.Candidates, func(c Candidate) bool { return c.Convention == convention }))
}

// Nearest is a convention and its distance.
type Nearest struct {
	Convention string `json:"convention"`
	// TemplatesAway counts the templates that would have to be renamed, added
	// or taken away.
	TemplatesAway int `json:"templates_away"`
}

// A Gap is a run of layers without a tensor.
type Gap struct {
	Role   string `json:"role,omitempty"` // "" when the layers have no tensor at all
	Layers []int  `json:"layers"`
}

// A Part is a convention below a prefix.
type Part struct {
	Prefix     string   `json:"prefix"`
	Convention string   `json:"convention"`
	Families   []string `json:"families"`
	Templates  int      `json:"templates"`
	Kind       string   `json:"kind,omitempty"`
}

// A Candidate is a convention and how it fits.
type Candidate struct {
	Convention string  `json:"convention"`
	Prefix     string  `json:"prefix"`
	Coverage   float64 `json:"coverage"`
	Missing    int     `json:"missing"`
	Extra      int     `json:"extra"`
}

// Tensors says which convention tensors follow. The model may be nil: names
// without shapes are enough, and what is known of a model only chooses between
// conventions that the names allow.
func Tensors(tensors iter.Seq[convention.Named], model *convention.Model) *Result {
	return builtin().identify(tensors, model)
}

// A subject is what one pattern of a convention can match: a template, and the
// templates that belong to it.
type subject struct {
	normal  string
	nums    []int32
	mask    uint64
	members []*tensorKind
	debris  bool // it says nothing about the convention
	layers  bitset
}

func (s *subject) text() string { return s.members[0].text() }

// A hit is a convention's tensor that a subject can be, below a prefix.
type hit struct {
	subject, tensor int32
	prefix          string
}

type evaluation struct {
	conv     int32
	prefix   string
	tensor   []int32 // by subject; -1 when the convention does not know it
	covered  int
	cost     int
	required int // of the convention's required tensors, those found
	biases   int // of these, the biases
	missing  []int32
	extra    []int32
	unshaped bool          // the shapes contradict the layout
	ties     []*evaluation // of a part: those that explain as much
}

func (e *evaluation) distance() int { return max(len(e.missing), len(e.extra)) }

// identify is [Tensors] with some conventions.
func (r *registry) identify(tensors iter.Seq[convention.Named], model *convention.Model) *Result {
	plain := true
	id := r.begin(func(yield func(convention.Named) bool) {
		for t := range tensors {
			plain = plain && quant.Plain(t.Name, t.DType)
			if !yield(t) {
				return
			}
		}
	}, model)
	if !plain {
		s := quant.NewSurvey(id.res.Tensors)
		for t := range tensors {
			s.Add(t.Name, t.DType, t.Shape)
		}
		id.res.Quantisation = s.Report(nil).Names()
	}
	id.examine(tensors)
	return id.res
}

// maxTemplates bounds the work on hostile names; the largest models have some
// thousands.
const maxTemplates = 20000

// begin folds tensors.
func (r *registry) begin(tensors iter.Seq[convention.Named], model *convention.Model) *identification {
	if model == nil {
		model = new(convention.Model)
	}
	templates, total := r.fold(tensors)
	res := &Result{Tensors: total, Templates: len(templates), MoreTemplates: len(templates) == mostFolded}
	id := &identification{reg: r, model: model, res: res, subjects: gather(templates)}
	id.survey(templates)
	return id
}

// examine finds the convention of tensors that were folded, which are yielded again.
func (id *identification) examine(tensors iter.Seq[convention.Named]) {
	res := id.res
	if slices.Contains(res.Quantisation, quant.Cast) {
		id.note("F8 weights have no scale: a plain cast, or the scales were lost")
	}
	if len(id.subjects) > maxTemplates {
		id.note("there are more than %d templates; no model has so many", maxTemplates)
		return
	}
	if res.Adapter {
		if a := id.reg.readAdapter(slices.Collect(tensors), id.model, nil); a != nil {
			id.adapter(a)
			return
		}
	}
	id.look()
	id.judge()
}

// gather brings companions to the weight they belong to.
func gather(templates []*tensorKind) []*subject {
	var list []*subject
	byKey := make(map[string]*subject)
	for _, t := range templates {
		key := t.normal
		if t.mask != 0 {
			key += "\x00" + literalKey(t.nums, t.mask)
		}
		s := byKey[key]
		if s == nil {
			s = &subject{normal: t.normal, nums: t.nums, mask: t.mask, debris: t.debris}
			byKey[key] = s
			list = append(list, s)
		}
		// The weight itself speaks for the subject.
		if t.companion.kind == noCompanion {
			s.members = append([]*tensorKind{t}, s.members...)
		} else {
			s.members = append(s.members, t)
		}
		s.layers.union(t.layers)
	}
	return list
}

type identification struct {
	reg      *registry
	model    *convention.Model
	res      *Result
	subjects []*subject
	byConv   map[int32][]hit
	byNormal map[string][]int32 // subjects
	flat     bool               // names are paths with '_' for dots

	best *evaluation // the convention chosen, also where it is not claimed
	tied []*evaluation

	// contradicted says that the shapes spoke against a convention that was looked at.
	contradicted bool
}

// survey notes what the names show before any convention is looked at.
func (id *identification) survey(templates []*tensorKind) {
	wrappers := make(map[string]bool)
	for _, t := range templates {
		for _, w := range t.wrappers {
			if !wrappers[w] {
				wrappers[w] = true
				id.res.Wrappers = append(id.res.Wrappers, w)
			}
		}
	}
	id.towers()
	id.res.Adapter = isAdapter(templates)
}

// towerPrefixes are those of towers in GGUF (llama.cpp, tools/mtmd/clip-impl.h).
var towerPrefixes = []string{"v.", "a.", "mm."}

// towers sets the towers that share a GGUF file with a language model aside:
// each writer has names of its own for them, below the same three prefixes.
func (id *identification) towers() {
	if !slices.ContainsFunc(id.subjects, func(s *subject) bool { return strings.HasPrefix(s.normal, "blk.#.") }) {
		return
	}
	n := 0
	for _, s := range id.subjects {
		for _, p := range towerPrefixes {
			if strings.HasPrefix(s.normal, p) {
				s.debris = true
				n++
			}
		}
	}
	if n > 0 {
		id.note("%s %s of towers beside the language model (v., a., mm.)", plural.Of(n, "template"), plural.Verb(n, "are"))
	}
}

// look finds every convention that knows the end of a subject's name.
func (id *identification) look() {
	id.byConv = make(map[int32][]hit)
	id.byNormal = make(map[string][]int32, len(id.subjects))
	for i, s := range id.subjects {
		id.byNormal[s.normal] = append(id.byNormal[s.normal], int32(i))
		numbered := template.Words.Count(s.normal) == len(s.nums)
		add := func(refs []ref, prefix string) {
			for _, rf := range refs {
				c := id.reg.list[rf.conv]
				if numbered && !c.TakesAny(int(rf.tensor)) && !c.Tensors()[rf.tensor].Below.Agrees(s.nums) {
					continue
				}
				id.byConv[rf.conv] = append(id.byConv[rf.conv], hit{int32(i), rf.tensor, prefix})
			}
		}
		if id.flat {
			if e := id.reg.flat()[strings.TrimSuffix(s.normal, ".weight")]; e != nil {
				add(e.refs, "")
			}
			continue
		}
		suffixes(s.normal, func(start int) bool {
			add(id.reg.refsOf(s.normal[start:]), s.normal[:start])
			return true
		})
	}
}

// evaluate fits a convention to the subjects that are not taken.
func (id *identification) evaluate(conv int32, taken []bool) *evaluation {
	c := id.reg.list[conv]
	hits := id.byConv[conv]
	count, above := make(map[string]int), make(map[string]int)
	for _, h := range hits {
		if taken[h.subject] || id.subjects[h.subject].debris {
			continue
		}
		if c.Base == "" || !c.Tensors()[h.tensor].Absolute {
			count[h.prefix]++
		} else {
			above[h.prefix+c.Base]++
		}
	}
	if len(count) == 0 {
		count = above // a shard that holds nothing but the head
	}
	if len(count) == 0 {
		return nil
	}
	prefixes := slices.Collect(maps.Keys(count))
	slices.SortFunc(prefixes, func(a, b string) int {
		return cmp.Or(cmp.Compare(count[b], count[a]), cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	})
	var best *evaluation
	for i, prefix := range prefixes {
		if i == 3 || 2*count[prefix] < count[prefixes[0]] {
			break
		}
		e := id.fit(conv, prefix, hits, taken)
		if best == nil || compareEvaluations(e, best) < 0 {
			best = e
		}
	}
	return best
}

func (id *identification) fit(conv int32, prefix string, hits []hit, taken []bool) *evaluation {
	c := id.reg.list[conv]
	e := &evaluation{conv: conv, prefix: prefix, tensor: make([]int32, len(id.subjects))}
	for i := range e.tensor {
		e.tensor[i] = -1
	}
	found := make([]bool, len(c.Tensors()))
	above := make(map[int32]string) // the prefix at which an absolute tensor was found
	for _, h := range hits {
		if taken[h.subject] {
			continue
		}
		t := &c.Tensors()[h.tensor]
		switch {
		case c.Base == "" || !t.Absolute:
			if h.prefix != prefix {
				continue
			}
		case !strings.HasPrefix(prefix, h.prefix):
			continue
		default:
			if old, ok := above[h.tensor]; ok && len(old) > len(h.prefix) {
				continue
			}
			above[h.tensor] = h.prefix
		}
		if e.tensor[h.subject] < 0 {
			e.covered++
		}
		e.tensor[h.subject] = h.tensor
		found[h.tensor] = true
	}
	// One role may have several spellings; one of them is enough.
	have := make(map[string]bool)
	for i, ok := range found {
		if ok {
			have[c.Tensors()[i].Role] = true
			if !c.Tensors()[i].Optional {
				e.required++
				if strings.HasSuffix(c.Tensors()[i].Role, ".bias") {
					e.biases++
				}
			}
		}
	}
	for i := range c.Tensors() {
		if !c.Tensors()[i].Optional && !have[c.Tensors()[i].Role] {
			e.missing = append(e.missing, int32(i))
		}
	}
	if id.res.Adapter {
		e.missing = nil
	}
	for i, s := range id.subjects {
		if e.tensor[i] < 0 && !taken[i] && !s.debris && !id.created(s, e) && !(c.Language && isClassHead(s.normal)) {
			e.extra = append(e.extra, int32(i))
		}
	}
	e.cost = id.cost(c, e)
	e.unshaped = !id.shapesAgree(c, e)
	id.contradicted = id.contradicted || e.unshaped
	return e
}

// created reports whether a subject is a bias that quantisation made: GPTQ
// writes one, all zeros, for every layer that it packs.
func (id *identification) created(s *subject, e *evaluation) bool {
	stem, ok := strings.CutSuffix(s.normal, ".bias")
	if !ok {
		return false
	}
	for _, i := range id.byNormal[stem+".weight"] {
		if o := id.subjects[i]; e.tensor[i] >= 0 && o.mask == s.mask && literalKey(o.nums, o.mask) == literalKey(s.nums, s.mask) {
			return slices.ContainsFunc(o.members, func(m *tensorKind) bool { return m.companion.kind == quantWeight })
		}
	}
	return false
}

// compareEvaluations orders the better fit first.
func compareEvaluations(a, b *evaluation) int {
	return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(b.covered, a.covered))
}

// cost weighs what is missing and extra. A bias weighs half: models are built
// with and without them.
func (id *identification) cost(c *convention.Convention, e *evaluation) int {
	cost := 2*len(e.missing) + 2*len(e.extra)
	for _, i := range e.missing {
		if strings.HasSuffix(c.Tensors()[i].Role, ".bias") {
			cost--
		}
	}
	for _, i := range e.extra {
		if strings.HasSuffix(id.subjects[i].normal, ".bias") {
			cost--
		}
	}
	return cost
}

// fits evaluates every convention that has hits, the best first.
func (id *identification) fits(taken []bool) []*evaluation {
	return id.rank(slices.Collect(maps.Keys(id.byConv)), taken)
}

// wholeFits are those of the conventions that explain everything, if one of them has
// nothing that is missing: then no other is better, or as good. Where a spelling that was
// given up is best, the current one is told beside it, and all have to be looked at.
func (id *identification) wholeFits(taken []bool) []*evaluation {
	all := 0
	for _, s := range id.subjects {
		if !s.debris {
			all++
		}
	}
	var full []int32
	seen := make([]int32, len(id.subjects))
	for conv, hits := range id.byConv {
		n := 0
		for _, h := range hits {
			if seen[h.subject] != conv+1 && !id.subjects[h.subject].debris {
				seen[h.subject] = conv + 1
				n++
			}
		}
		if n == all {
			full = append(full, conv)
		}
	}
	list := id.rank(full, taken)
	if len(list) > 0 && !list[0].unshaped && len(list[0].missing) == 0 && len(list[0].extra) == 0 && id.reg.list[list[0].conv].VariantOf == "" {
		return list
	}
	return nil
}

// rank evaluates conventions, the best first.
func (id *identification) rank(conventions []int32, taken []bool) []*evaluation {
	var list []*evaluation
	for _, conv := range conventions {
		if e := id.evaluate(conv, taken); e != nil && e.covered > 0 {
			list = append(list, e)
		}
	}
	// Shapes decide between layouts. Where they agree with none, the model that the
	// configuration names has the wrong ones.
	whole := func(e *evaluation) bool { return len(e.missing) == 0 && len(e.extra) == 0 }
	if !slices.ContainsFunc(list, func(e *evaluation) bool { return whole(e) && !e.unshaped }) {
		for _, e := range list {
			e.unshaped = e.unshaped && !(whole(e) && id.confirmed(id.reg.list[e.conv]))
		}
	}
	slices.SortFunc(list, func(a, b *evaluation) int {
		ca, cb := id.reg.list[a.conv], id.reg.list[b.conv]
		return cmp.Or(
			compareBool(b.unshaped, a.unshaped),
			compareEvaluations(a, b),
			compareBool(template.Words.Count(a.prefix) == 0, template.Words.Count(b.prefix) == 0),
			compareBool(id.confirmed(ca), id.confirmed(cb)),
			compareBool(belowBase(ca, a.prefix), belowBase(cb, b.prefix)),
			compareBool(ca.VariantOf == "", cb.VariantOf == ""),
			// A bias that a convention requires says more than one that it
			// allows; so says a file of a project more than a dump of a server.
			cmp.Compare(b.biases, a.biases),
			cmp.Compare(cb.Preferred, ca.Preferred),
			compareBool(ca.HasDialect("hf"), cb.HasDialect("hf")),
			cmp.Compare(len(cb.Families), len(ca.Families)),
			strings.Compare(ca.Name, cb.Name),
		)
	})
	return list
}

// compareBool puts true first.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// confirmed reports whether the configuration names a family of the convention.
func (id *identification) confirmed(c *convention.Convention) bool {
	if a := id.model.Architecture; a != "" && c.Name == a+"-gguf" {
		return true
	}
	return id.model.Type != "" && c.HasFamily(id.model.Type) ||
		id.model.TextType != "" && c.HasFamily(id.model.TextType)
}

func (id *identification) note(format string, args ...any) {
	id.res.Evidence = append(id.res.Evidence, fmt.Sprintf(format, args...))
}
