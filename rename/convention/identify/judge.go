package identify

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// judge chooses among the conventions that fit and says how surely.
func (id *identification) judge() {
	res := id.res
	taken := make([]bool, len(id.subjects))
	list := id.wholeFits(taken)
	if list == nil {
		list = id.fits(taken)
	}
	if !res.Adapter && len(list) > 0 && len(list[0].extra) > 0 && id.leftover(list) {
		list = id.fits(taken)
	}
	id.nearest(list)
	if len(list) == 0 {
		if len(id.subjects) == 0 {
			id.note("there are no tensors")
			return
		}
		id.strange(nil)
		return
	}
	best := list[0]
	if len(best.extra) > 0 {
		// What one convention explains better than several is not taken apart.
		if main, ties, parts := id.parts(); main != nil && (best.unshaped || len(best.missing) > 0 || covered(main, parts) > best.covered) {
			id.settle(main, ties, parts)
			return
		}
	}
	if !id.near(best) && !id.confirmed(id.reg.list[best.conv]) {
		id.best = best
		id.strange(best)
		return
	}
	id.settle(best, id.ties(list, best), nil)
}

// near reports whether a convention explains half of the names, and more than it
// misses. What it misses of any other says nothing about the names.
func (id *identification) near(e *evaluation) bool {
	return 2*e.covered >= id.counted() && e.covered > len(e.missing)
}

// counted is how many subjects say something about the convention.
func (id *identification) counted() int {
	n := 0
	for _, s := range id.subjects {
		if !s.debris {
			n++
		}
	}
	return n
}

// strange says that the names are those of no convention, nil where none of them is.
func (id *identification) strange(best *evaluation) {
	if best == nil {
		id.note("no convention knows any of its names: %s", plural.Of(len(id.subjects), "template"))
	} else {
		id.note("no convention knows more than %d of the %d templates, of the %d that it has", best.covered, id.counted(), best.covered+len(best.missing))
	}
	if id.slips(); id.res.Nearest.Convention == "" {
		id.meant()
	}
	for _, s := range id.subjects {
		id.res.Extra = append(id.res.Extra, s.text())
	}
}

// covered counts the subjects that a model and its parts explain.
func covered(main *evaluation, parts []*evaluation) int {
	n := main.covered
	for _, p := range parts {
		n += p.covered
	}
	return n
}

// slips looks for mistakes that are known from released files, to say what was
// nearly written.
func (id *identification) slips() {
	var mended []convention.Named
	changed := 0
	for _, s := range id.subjects {
		for _, t := range s.members {
			name := template.Words.Fill(t.raw, t.nums)
			right := loadCompanions().slips.Replace(name)
			if right != name {
				changed++
			}
			mended = append(mended, convention.Named{Name: right})
		}
	}
	if changed == 0 {
		return
	}
	r := id.reg.identify(slices.Values(mended), id.model)
	if r.Convention != "" {
		id.res.Nearest = Nearest{r.Convention, changed}
		id.note("%s would be of %s (%s) except for a slip: %s", plural.Of(changed, "template"), r.Convention, strings.Join(r.Dialects, ", "), mended[0].Name)
	}
}

// ties returns the evaluations that fit as well as the best. Where a checkpoint
// is a part of one, as a shard is, what stands once in a model does not decide.
func (id *identification) ties(list []*evaluation, best *evaluation) []*evaluation {
	var out []*evaluation
	for _, e := range list {
		if e.unshaped != best.unshaped || !slices.Equal(e.extra, best.extra) {
			continue
		}
		c := id.reg.list[e.conv]
		if compareEvaluations(e, best) == 0 || len(best.missing) > 0 && e.covered == best.covered && id.layerRoles(c, e.missing) == 0 {
			out = append(out, e)
		}
	}
	return id.baseDecides(out)
}

// baseDecides keeps, among conventions that fit as well, those whose own prefix
// is there: "roberta." tells RoBERTa from BERT.
//
// Of two places where names may be found, the one not inside a layer is meant.
func (id *identification) baseDecides(ties []*evaluation) []*evaluation {
	outside := func(e *evaluation) bool { return template.Words.Count(e.prefix) == 0 }
	if slices.ContainsFunc(ties, outside) {
		ties = slices.DeleteFunc(ties, func(e *evaluation) bool { return !outside(e) })
	}
	own := func(e *evaluation) bool {
		c := id.reg.list[e.conv]
		return c.Base != "" && belowBase(c, e.prefix)
	}
	if slices.ContainsFunc(ties, own) {
		return slices.DeleteFunc(ties, func(e *evaluation) bool {
			c := id.reg.list[e.conv]
			return !own(e) && c.Base != "" && !(id.res.Adapter && c.Kind == convention.Denoiser) // whose adapters lack it
		})
	}
	return ties
}

// nearest finds the current convention that is nearest. Among those equally
// far it prefers what the best one is a variant of.
func (id *identification) nearest(list []*evaluation) {
	var near *evaluation
	for _, e := range list {
		c := id.reg.list[e.conv]
		if c.VariantOf != "" || !id.near(e) {
			continue
		}
		switch {
		case near == nil || e.distance() < near.distance():
			near = e
		case e.distance() == near.distance() && c.Name == id.reg.list[list[0].conv].VariantOf:
			near = e
		}
	}
	if near != nil {
		id.res.Nearest = Nearest{id.reg.list[near.conv].Name, near.distance()}
	}
}

// settle writes a choice into the result, as far as it can be claimed.
func (id *identification) settle(best *evaluation, ties []*evaluation, parts []*evaluation) {
	res := id.res
	id.best, id.tied = best, ties
	c := id.reg.list[best.conv]
	counted := id.counted()
	covered := best.covered
	extra := best.extra
	for _, p := range parts {
		covered += p.covered
		extra = slices.DeleteFunc(slices.Clone(extra), func(i int32) bool { return p.tensor[i] >= 0 })
	}
	for i, s := range id.subjects {
		switch {
		case s.debris && best.tensor[i] >= 0:
			covered--
		case !s.debris && c.Language && best.tensor[i] < 0 && isClassHead(s.normal) && !slices.ContainsFunc(parts, func(p *evaluation) bool { return p.tensor[i] >= 0 }):
			covered++
			id.note("%s is the head of a class for classification or question answering", s.normal)
		}
	}
	if counted > 0 {
		res.Coverage = max(0, min(1, float64(covered)/float64(counted)))
	}
	for _, i := range extra {
		res.Extra = append(res.Extra, id.subjects[i].text())
	}
	for _, i := range best.missing {
		res.Missing = append(res.Missing, c.Tensors()[i].Role)
	}
	for _, e := range ties {
		ec := id.reg.list[e.conv]
		res.Candidates = append(res.Candidates, Candidate{ec.Name, e.prefix, res.Coverage, len(e.missing), len(e.extra)})
	}
	id.gaps(best)

	clear := false
	if id.claimable(best, extra, parts) {
		clear = id.familyClear(best, extra, parts)
		res.Convention = c.Name
		if !clear && !res.Adapter && c.Layout.Rope == "" && (len(parts) == 0 && len(extra) > 0 || !id.atHome(best)) {
			// Every second encoder is made of BERT's or ViT's modules: with
			// weights of its own it is another model.
			res.Convention = ""
		}
	}
	if res.Convention == "" {
		if 2*res.Coverage >= 1 && len(res.Dialects) == 0 {
			res.Dialects = slices.Clone(c.Dialects) // a new model in an old spelling
		}
		return
	}
	id.rivals()
	if c.VariantOf == "" {
		res.Nearest = Nearest{c.Name, max(len(best.missing), len(extra)) + id.displaced(parts)}
	}
	if !res.Adapter {
		for _, e := range ties {
			for _, d := range id.reg.list[e.conv].Dialects {
				if !slices.Contains(res.Dialects, d) {
					res.Dialects = append(res.Dialects, d)
				}
			}
		}
		if slices.ContainsFunc(res.Quantisation, func(s string) bool { return strings.HasPrefix(s, "mlx") }) && slices.Contains(res.Dialects, "mlx") {
			res.Dialects = []string{"mlx"} // nobody else packs weights so
		}
	}
	id.prefix(c, best)
	for _, p := range parts {
		pc := id.reg.list[p.conv]
		res.Parts = append(res.Parts, Part{id.spell(p.prefix, p), pc.Name, pc.Families, p.covered, kindOf(pc)})
	}
	res.Kind = res.what(c)
	if clear {
		id.families(ties, parts, !slices.ContainsFunc(extra, func(i int32) bool { return !isTaskHead(id.subjects[i].normal) }))
	}
	// A file that says what it is may be of no model that shares its names.
	if a := id.model.Architecture; a != "" && strings.HasSuffix(res.Convention, "-gguf") && res.Convention != a+"-gguf" {
		res.Families = nil
		id.note("general.architecture is %q, and the names are those of %s", a, res.Convention)
	}
}

// rivals lists the other conventions that fit as well as the best, and are confirmed as it is.
func (id *identification) rivals() {
	best := id.confirmed(id.reg.list[id.best.conv])
	for _, e := range id.tied {
		if c := id.reg.list[e.conv]; e != id.best && c.VariantOf == "" && id.confirmed(c) == best {
			id.res.Alike = append(id.res.Alike, c.Name)
		}
	}
}

// families lists the models of every tied convention; those that the
// configuration names come first, then those of a multimodal frame when
// everything in the checkpoint has its explanation.
func (id *identification) families(ties, parts []*evaluation, whole bool) {
	res := id.res
	add := func(f string) {
		if !slices.ContainsFunc(res.Families, func(g string) bool { return convention.SameFamily(f, g) }) {
			res.Families = append(res.Families, f)
		}
	}
	for _, p := range parts {
		for _, e := range p.ties {
			c := id.reg.list[e.conv]
			if !whole || !c.Frame || len(c.With) > 0 && !slices.ContainsFunc(parts, func(o *evaluation) bool { return slices.Contains(c.With, id.reg.list[o.conv].Name) }) {
				continue
			}
			if c.HasFamily(id.model.Type) {
				add(id.model.Type)
			}
			for _, f := range c.Families {
				add(f)
			}
		}
	}
	if m := id.model.TextType; len(parts) > 0 && id.model.Type != "" && len(ties) > 0 && m != "" {
		if slices.ContainsFunc(ties, func(e *evaluation) bool { return id.reg.list[e.conv].HasFamily(m) }) {
			add(id.model.Type)
			id.note("the configuration says %q around %q, and the names allow the second", id.model.Type, m)
		}
	}
	for _, e := range ties {
		c := id.reg.list[e.conv]
		for _, named := range []string{id.model.Type, id.model.TextType} {
			if named != "" && c.HasFamily(named) {
				add(named)
				id.note("the configuration says %q, which the names allow", named)
			}
		}
	}
	for _, e := range ties {
		for _, f := range id.reg.list[e.conv].Families {
			add(f)
		}
	}
	if m := id.model.Type; m != "" && !slices.ContainsFunc(res.Families, func(f string) bool { return convention.SameFamily(f, m) }) {
		id.note("the configuration says %q, which is not known to use these names", m)
	}
}

// prefix reports what stands before the convention's names.
func (id *identification) prefix(c *convention.Convention, e *evaluation) {
	rest, ok := c.CutBase(e.prefix)
	rest = id.spell(rest, e)
	switch {
	case ok && rest != "":
		id.res.Wrappers = append(id.res.Wrappers, rest)
	case !ok && e.prefix == "":
		id.res.BaseAbsent = c.Base
		id.note("the prefix %q is absent, as in a save of the bare model", c.Base)
	case !ok:
		id.res.BaseAbsent = c.Base
		id.res.Wrappers = append(id.res.Wrappers, id.spell(e.prefix, e))
	}
}

// spell writes a prefix with the indices that it has in the checkpoint.
func (id *identification) spell(prefix string, e *evaluation) string {
	for i, t := range e.tensor {
		if t >= 0 && strings.HasPrefix(id.subjects[i].normal, prefix) {
			return template.Words.Fill(prefix, id.subjects[i].nums)
		}
	}
	return prefix
}

// displaced counts the templates of frames that stand below another prefix than
// their own.
func (id *identification) displaced(parts []*evaluation) int {
	n := 0
	for _, p := range parts {
		c := id.reg.list[p.conv]
		if _, ok := c.CutBase(p.prefix); !ok && c.Frame {
			n += p.covered
			id.note("%s of %s %s below %q, where it has %q", plural.Of(p.covered, "template"), c.Name, plural.Verb(p.covered, "are"), p.prefix, c.Base)
		}
	}
	return n
}

// belowBase reports whether a prefix is a convention's own. Every language model
// of a multimodal one is below the same.
func belowBase(c *convention.Convention, prefix string) bool {
	_, ok := c.CutBase(prefix)
	return ok || strings.HasSuffix(prefix, "language_model.")
}

// claimable reports whether a fit is good enough to name the convention.
func (id *identification) claimable(e *evaluation, extra []int32, parts []*evaluation) bool {
	c := id.reg.list[e.conv]
	switch {
	case e.unshaped:
		id.note("the names are those of %s, but their shapes are not", c.Name)
		return false
	case len(extra) == 0 && len(e.missing) == 0:
		return true
	case id.res.Adapter:
		return !slices.ContainsFunc(extra, func(i int32) bool { return !isTaskHead(id.subjects[i].normal) })
	}
	if layers := id.layerRoles(c, e.missing); layers > 0 {
		id.note("%d of the tensors that every layer of %s has %s missing", layers, c.Name, plural.Verb(layers, "are"))
		return false
	}
	if n := id.structural(c, e.missing); n > 2 {
		id.note("%d tensors that %s has once are missing", n, c.Name)
		return false
	}
	if len(extra) == 0 {
		return e.required > 0
	}
	if n := id.borrowed(e, extra); n > 0 {
		id.note("%s that %s does not know %s of other conventions: this is another architecture", plural.Of(n, "template"), c.Name, plural.Verb(n, "are"))
		return false
	}
	// A language model that is whole is one whatever stands beside it; a tower is
	// part of something else.
	return 10*id.res.Coverage >= 7 || len(parts) > 0 && (c.Language || id.isDenoiser(e)) && len(e.missing) == 0 && id.inside(e, extra) == 0
}

// isDenoiser reports whether a fit is to what makes an image, and not inside
// another model's layers.
func (id *identification) isDenoiser(e *evaluation) bool {
	return id.reg.list[e.conv].Kind == convention.Denoiser && template.Words.Count(e.prefix) == 0
}

// inside counts the extra templates in the trunk.
func (id *identification) inside(e *evaluation, extra []int32) int {
	trunk := id.trunk(e)
	if trunk == "" {
		return 0
	}
	n := 0
	for _, i := range extra {
		if strings.HasPrefix(id.subjects[i].normal, trunk) {
			n++
		}
	}
	return n
}

// structural counts, among the missing tensors, those whose absence makes
// another model. A shard, a save of the bare model or a tied head lacks the
// others.
func (id *identification) structural(c *convention.Convention, missing []int32) int {
	n := 0
	for _, i := range missing {
		_, module, _ := convention.SplitRole(c.Tensors()[i].Role)
		if module != "embed.tokens" && module != "head" && module != "final_norm" {
			n++
		}
	}
	return n
}

// borrowed counts the extra weights that another convention has in the same
// place.
func (id *identification) borrowed(e *evaluation, extra []int32) int {
	isExtra := make(map[int32]bool)
	for _, i := range extra {
		if template.Words.Count(id.subjects[i].normal) > 0 && !strings.HasSuffix(id.subjects[i].normal, ".bias") {
			isExtra[i] = true
		}
	}
	found := make(map[int32]bool)
	for conv, hits := range id.byConv {
		c := id.reg.list[conv]
		for _, h := range hits {
			if isExtra[h.subject] && h.prefix == e.prefix && !c.Tensors()[h.tensor].Absolute {
				found[h.subject] = true
			}
		}
	}
	return len(found)
}

// layerRoles counts the tensors among some of a convention's that every layer
// has.
func (id *identification) layerRoles(c *convention.Convention, tensors []int32) int {
	n := 0
	for _, i := range tensors {
		if len(c.Tensors()[i].Pattern.Holes()) > 0 {
			n++
		}
	}
	return n
}

// familyClear reports whether a claimed convention also says the model. What is
// extra or missing in the trunk means another architecture, unless the
// configuration confirms the family.
func (id *identification) familyClear(e *evaluation, extra []int32, parts []*evaluation) bool {
	c := id.reg.list[e.conv]
	if id.confirmed(c) {
		return true
	}
	if id.structural(c, e.missing) > 0 {
		return false
	}
	if !id.atHome(e) {
		id.note("the names stand below %q, which is not where %s has them", e.prefix, c.Name)
		return false
	}
	if len(parts) > 0 && c.Layout.Rope == "" && !id.isDenoiser(e) && !slices.ContainsFunc(parts, func(p *evaluation) bool { return id.reg.list[p.conv].Frame }) {
		// A language model beside a tower is what it is by itself, and so is what
		// makes an image; an encoder or a decoder that needs one is a part of
		// something else.
		return false
	}
	if 10*id.res.Coverage < 7 {
		return false
	}
	if slices.ContainsFunc(parts, func(p *evaluation) bool { return p.conv == e.conv }) {
		id.note("there are several models with the names of %s, which are parts of another", c.Name)
		return false
	}
	if len(parts) > 0 && 2*len(extra) > e.covered {
		id.note("%s %s to no part that is known", plural.Of(len(extra), "template"), plural.Verb(len(extra), "belong"))
		return false
	}
	inside := id.inside(e, extra)
	if len(parts) == 0 {
		inside = 0
		for _, i := range extra {
			if !isTaskHead(id.subjects[i].normal) && !id.standsAlone(e, i) {
				inside++
			}
		}
	}
	if inside == 0 {
		return true
	}
	id.note("%s %s not known to %s; the model may be another that borrows its names", plural.Of(inside, "template"), plural.Verb(inside, "are"), c.Name)
	return false
}

// standsAlone reports whether an extra subject is a single tensor beside a model
// that is below a prefix: a head of somebody's making.
func (id *identification) standsAlone(e *evaluation, subject int32) bool {
	normal := id.subjects[subject].normal
	if e.prefix == "" || strings.HasPrefix(normal, e.prefix) || !id.atHome(e) {
		return false
	}
	return template.Words.Count(strings.TrimPrefix(normal, "0.")) == 0 // sentence-transformers numbers its modules
}

// isClassHead reports whether a name is that of the head that transformers' classes for
// classification and question answering put on any language model (modeling_layers.py:
// GenericForSequenceClassification and its like).
func isClassHead(normal string) bool {
	module, leaf, _ := strings.Cut(normal, ".")
	return (leaf == "weight" || leaf == "bias") && (module == "score" || module == "classifier" || module == "qa_outputs")
}

// isTaskHead reports whether a name is that of a head that fine-tuning adds to
// any model.
func isTaskHead(normal string) bool {
	if between, _ := template.Words.Split(normal); len(between) > 2 && slices.Contains(between[1:len(between)-1], ".") {
		return false
	}
	first, _, _ := strings.Cut(normal, ".")
	switch first {
	case "score", "classifier", "v_head", "value_head", "reward_head", "qa_outputs", "pre_classifier",
		"regression_head", "classification_head", "lm_head", "rm_head", "summary", "cls", "out_proj", "classifiers":
		return true
	}
	return false
}

// atHome reports whether a convention's names stand below its own prefix, below
// none, or below one that says no more than that here is a model. Below another
// family's prefix they are that family's.
func (id *identification) atHome(e *evaluation) bool {
	c := id.reg.list[e.conv]
	if _, ok := c.CutBase(e.prefix); ok || e.prefix == "" || id.flat {
		return true
	}
	segments := strings.Split(strings.TrimSuffix(e.prefix, "."), ".")
	switch segments[len(segments)-1] {
	case "model", "language_model", "text_model", "lang_model", "llm", "lm", "auto_model", "backbone", "text_encoder", "base_model",
		"encoder", "transformer", "diffusion_model", "unet", "control_model", "first_stage_model", "vae", "thinker", "vision_model", "vision_tower", "vision_encoder", "visual":
		return true
	}
	return false
}

// trunk returns what the names of a model's layers begin with.
func (id *identification) trunk(e *evaluation) string {
	for i, t := range e.tensor {
		if t < 0 {
			continue
		}
		if between, numbers := template.Words.Split(id.subjects[i].normal); len(numbers) > 0 {
			return between[0] + numbers[0]
		}
	}
	return ""
}

// gaps looks for layers that lack tensors.
func (id *identification) gaps(e *evaluation) {
	c := id.reg.list[e.conv]
	if slices.ContainsFunc(c.Tensors(), func(t convention.Tensor) bool { return slices.Contains(t.Pattern.Holes(), "end") }) {
		return // its head is numbered as a layer
	}
	byHoles := make(map[string]bitset)
	spaceOf := spaces(c)
	for i, t := range e.tensor {
		if t < 0 {
			continue
		}
		p := c.Tensors()[t].Pattern
		if len(p.Holes()) == 0 || p.Holes()[0] != "layer" {
			continue
		}
		space := spaceOf(t)
		u := byHoles[space]
		u.union(id.subjects[i].layers)
		byHoles[space] = u
	}
	for space, u := range byHoles {
		if missing := u.missing(u.max()); len(missing) > 0 && u.len() > 1 {
			// Files that count from one lack only layer 0. What a model numbers and has no
			// role may be steps of which some have no weight.
			if (len(missing) > 1 || missing[0] != 0) && (!convention.IsOwn(space) || 8*len(missing) <= u.len()) {
				id.res.Gaps = append(id.res.Gaps, Gap{Role: strings.TrimSuffix(space, "."), Layers: missing})
			}
		}
	}
	for i, t := range e.tensor {
		if t < 0 || c.Tensors()[t].Optional || convention.IsOwn(c.Tensors()[t].Role) {
			continue
		}
		p := c.Tensors()[t].Pattern
		if len(p.Holes()) != 1 || p.Holes()[0] != "layer" {
			continue
		}
		all := byHoles[spaceOf(t)]
		var missing []int
		for l := range all.max() + 1 {
			if all.has(l) && !id.subjects[i].layers.has(l) && !id.alternative(e, int32(i), l) {
				missing = append(missing, l)
			}
		}
		if len(missing) > 0 && 4*len(missing) <= all.len() {
			id.res.Gaps = append(id.res.Gaps, Gap{Role: c.Tensors()[t].Role, Layers: missing})
		}
	}
	slices.SortFunc(id.res.Gaps, func(a, b Gap) int { return strings.Compare(a.Role, b.Role) })
}

// alternative reports whether a layer has, in place of a tensor, one that the
// layers with that tensor lack: a dense MLP for experts, attention for a
// state-space block.
func (id *identification) alternative(e *evaluation, subject int32, layer int) bool {
	c := id.reg.list[e.conv]
	own := blockOf(c.Tensors()[e.tensor[subject]].Module)
	for i, t := range e.tensor {
		if t < 0 || blockOf(c.Tensors()[t].Module) != own {
			continue
		}
		other := id.subjects[i].layers
		if !other.has(layer) {
			continue
		}
		overlap := false
		for w := range min(len(other), len(id.subjects[subject].layers)) {
			overlap = overlap || other[w]&id.subjects[subject].layers[w] != 0
		}
		if !overlap {
			return true
		}
	}
	return false
}

// blockOf names the half of a layer that a module belongs to: what mixes
// tokens, or what follows.
func blockOf(module string) string {
	if strings.Contains(module, "layer.mlp.") || strings.Contains(module, "layer.channel_mix.") || strings.Contains(module, "layer.moe.") {
		return "mlp"
	}
	return "mix"
}

// spaces returns the function that names the layers that a convention's tensor is of.
// A tensor of its own is of the layers that other tensors are of below the same text.
func spaces(c *convention.Convention) func(tensor int32) string {
	below := func(t *convention.Tensor) string {
		text, _, _ := strings.Cut(t.Below.String(), "{")
		return text
	}
	known := make(map[string]string)
	for i := range c.Tensors() {
		if t := &c.Tensors()[i]; !convention.IsOwn(t.Role) {
			space, _, _ := convention.SplitRole(t.Role)
			known[below(t)] = space
		}
	}
	return func(tensor int32) string {
		t := &c.Tensors()[tensor]
		if !convention.IsOwn(t.Role) {
			space, _, _ := convention.SplitRole(t.Role)
			return space
		}
		if space, ok := known[below(t)]; ok {
			return space
		}
		module, _, _ := strings.Cut(t.Module, "{")
		return module
	}
}

// parts takes a multimodal checkpoint apart: a language model, its towers and
// what joins them, each a convention below a prefix of its own. It returns
// nothing when one convention is all there is.
func (id *identification) parts() (main *evaluation, ties, parts []*evaluation) {
	taken := make([]bool, len(id.subjects))
	// What makes an image is the model, whatever else is in its file; then what
	// reads or writes text.
	for _, of := range []func(*evaluation) bool{
		func(e *evaluation) bool { return id.reg.list[e.conv].Kind == convention.Denoiser },
		// The layers of a tower may be those of some language model, too.
		func(e *evaluation) bool { return id.reg.list[e.conv].Language && id.atHome(e) },
		func(e *evaluation) bool { return id.reg.list[e.conv].Language },
		anyFit,
	} {
		if main, ties = id.part(taken, of); main != nil {
			break
		}
	}
	if main == nil {
		return nil, nil, nil
	}
	for len(parts) < 6 {
		for _, p := range append([]*evaluation{main}, parts...) {
			for i, t := range p.tensor {
				if t >= 0 {
					taken[i] = true
				}
			}
		}
		p, same := id.part(taken, anyFit)
		if p == nil {
			break
		}
		p.ties = same
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		return nil, nil, nil
	}
	return main, ties, parts
}

func anyFit(*evaluation) bool { return true }

// part finds the convention that explains the most of what is not taken, with
// none of its layers' tensors missing, and those that explain as much.
func (id *identification) part(taken []bool, of func(*evaluation) bool) (best *evaluation, ties []*evaluation) {
	for _, e := range id.fits(taken) {
		c := id.reg.list[e.conv]
		if e.unshaped || !of(e) || id.layerRoles(c, e.missing) > 0 || e.covered <= 2*len(e.missing) || e.covered < 2 && !(c.Frame && len(e.missing) == 0) {
			continue
		}
		switch {
		case best == nil || e.covered > best.covered || e.covered == best.covered && len(e.missing) < len(best.missing):
			best, ties = e, []*evaluation{e}
		case e.covered == best.covered && len(e.missing) == len(best.missing) && slices.Equal(e.extra, best.extra):
			ties = append(ties, e)
		}
	}
	return best, ties
}
