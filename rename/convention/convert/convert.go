package convert

import (
	"cmp"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

func quote(s string) string { return strconv.Quote(s) }

// Between derives how the tensors of a checkpoint in one convention become those
// of another. Parameters that names do not show, as the number of heads, come from
// the model and the shapes. Wrappers are taken off on the way. What cannot be
// converted is aside, and the rest is converted without it; Refusal says whether
// that may be written.
//
// The error is a *RefusalError: no conversion is known between the two, or a
// number that every checkpoint's tensors need is not known.
func Between(from, to *convention.Convention, tensors iter.Seq[convention.Named], model *convention.Model) (*Conversion, error) {
	return BetweenWith(from, to, tensors, model, Options{})
}

// Options adjust a conversion.
type Options struct {
	// Has reports whether a checkpoint to compare with has a tensor, nil when there
	// is none. What some files of the target hold in another form than its project
	// writes is converted to that form if this one does.
	Has func(name string) bool
	// Named is set when a person names the target. It need then be of no model that
	// the source is known to be of, if it gets all that it requires and nothing is left.
	Named bool
}

// BetweenWith is Between with options.
func BetweenWith(from, to *convention.Convention, tensors iter.Seq[convention.Named], model *convention.Model, opts Options) (*Conversion, error) {
	cv, err := newConverter(from, to, model)
	if err != nil {
		return nil, err
	}
	stranger := cv.stranger()
	if stranger != nil && !opts.Named && !configured(cv.to, cv.model) {
		return nil, stranger
	}
	cv.exists = opts.Has
	list := slices.Collect(tensors)
	if a := identify.ReadAdapter(list, model, from); a != nil {
		return between(a, to, cmp.Or(model, new(convention.Model)))
	}
	at, err := identify.Locate(from, list)
	if err != nil {
		return nil, cv.refuse("", "%v", err)
	}
	if err := cv.settle(at); err != nil {
		return nil, err
	}
	cv.present = make(map[string]bool)
	out, err := cv.run(list, at.Places)
	if err == nil {
		cv.noteFrame()
	}
	if err == nil && stranger != nil {
		missing := slices.ContainsFunc(out.Missing, func(role string) bool {
			return role != "head.weight" && !(configured(cv.to, cv.model) && strings.HasSuffix(role, ".bias"))
		})
		if missing || len(out.Moves) == 0 || len(out.Aside)+len(out.Unmapped) > 0 {
			return nil, stranger
		}
	}
	return out, err
}

// noteFrame says which prefix the names have in a multimodal release, of whose language
// model alone a GGUF file is.
func (cv *converter) noteFrame() {
	if !cv.from.HasDialect("gguf") || !cv.to.HasDialect("hf") {
		return
	}
	for _, c := range convention.All() {
		if i := slices.IndexFunc(cv.from.Families, c.HasFamily); i >= 0 && c.Text != "" && c.Text != cv.to.Base {
			cv.out.Notes = append(cv.out.Notes, fmt.Sprintf("these are the names of the language model alone: multimodal releases of %s have %s where they have %s", cv.from.Families[i], c.Text, cv.to.Base))
			return
		}
	}
}

// stranger refuses two conventions that no model is known to use both of.
func (cv *converter) stranger() error {
	from, to := cv.from, cv.to
	if slices.ContainsFunc(from.Families, to.HasFamily) {
		return nil
	}
	return cv.refuse("", "no model is known to use both; %s is of %s, %s of %s",
		from.Name, strings.Join(from.Families, ", "), to.Name, strings.Join(to.Families, ", "))
}

// newConverter refuses what cannot be converted whatever the tensors.
func newConverter(from, to *convention.Convention, model *convention.Model) (*converter, error) {
	cv := &converter{from: from, to: to, model: model, out: &Conversion{From: from.Name, To: to.Name}, body: to.Base}
	for _, c := range []*convention.Convention{from, to} {
		if c.Refuse != "" && from != to {
			return nil, cv.refuse("", "%s: %s", c.Name, c.Refuse)
		}
	}
	return cv, nil
}

// run converts tensors whose places are known.
func (cv *converter) run(list []convention.Named, at []identify.Place) (*Conversion, error) {
	cv.recount(at)
	cv.gather(list, at)
	for _, g := range cv.apart() {
		moves, gave := len(cv.out.Moves), len(cv.gave)
		err := cv.convert(g)
		if err == nil {
			continue
		}
		refusal := err.(*RefusalError)
		if refusal.Needs != "" && slices.ContainsFunc(g.members, func(m member) bool { t, ok := cv.from.Role(m.role); return ok && !t.Optional }) {
			return nil, refusal
		}
		cv.out.Moves, cv.gave = cv.out.Moves[:moves], cv.gave[:gave]
		cv.aside(g, refusal)
	}
	cv.cast(list)
	cv.create()
	cv.finish()
	return cv.out, nil
}

// recount numbers blocks that one side counts from the last as a model with fewer blocks
// has them: an autoencoder with three levels, where the pattern takes it to have four.
func (cv *converter) recount(at []identify.Place) {
	type counted struct {
		place *identify.Place
		index int
	}
	least, most, blocks := math.MaxInt, -1, 0
	back := false // the source counts so
	var places []counted
	for i := range at {
		p := &at[i]
		if p.Tensor == nil {
			continue
		}
		t, ok := cv.to.Role(p.Tensor.Role)
		if !ok {
			continue
		}
		k, n := p.Tensor.Pattern.CountsBack()
		j, m := t.Pattern.CountsBack()
		if (n == 0) == (m == 0) {
			continue
		}
		back = n > 0
		if blocks = max(n, m); !back {
			k = j
		}
		least, most = min(least, p.Index[k]), max(most, p.Index[k])
		places = append(places, counted{p, k})
	}
	by := blocks - 1 - most
	if back {
		by = -least
	}
	if by == 0 || most >= blocks {
		return
	}
	for _, c := range places {
		c.place.Index = slices.Clone(c.place.Index)
		c.place.Index[c.index] += by
	}
}

// apart gives each tensor of a group that needs no other a group of its own, so
// that what befalls one does not befall all.
func (cv *converter) apart() []*convGroup {
	out := make([]*convGroup, 0, len(cv.groups))
	for _, g := range cv.groups {
		if len(g.members) == 1 || slices.ContainsFunc(g.members, cv.regroups) {
			out = append(out, g)
			continue
		}
		for i := range g.members {
			out = append(out, &convGroup{role: g.members[i].role, members: g.members[i : i+1 : i+1]})
		}
	}
	return out
}

// aside puts a group aside.
func (cv *converter) aside(g *convGroup, why *RefusalError) {
	blocks := len(cv.targets(g.role)) > 0
	add := func(name, role string) {
		a := Aside{Name: name, Role: role, Reason: why.Reason, Needs: why.Needs, Blocks: blocks}
		if tower := cv.to.Tower(name); tower != "" && !blocks && !cv.sameProject() {
			a.Reason = tower
		}
		cv.out.Aside = append(cv.out.Aside, a)
	}
	for i := range g.members {
		m := &g.members[i]
		if m.name != "" {
			add(m.name, m.role)
		}
		for _, c := range m.companions {
			add(c.name, m.role)
		}
	}
}

type converter struct {
	from, to *convention.Convention
	model    *convention.Model
	out      *Conversion
	groups   []*convGroup
	exists   func(name string) bool // whether what it is compared with has a tensor, or nil
	gave     []string               // roles of the target that something gives
	takers   map[string][]string    // what targets has found
	present  map[string]bool        // by block; nil when only a sample of the tensors is known
	// body and above stand before the target's names: its base and nothing, or
	// the prefixes of the language model in a multimodal checkpoint.
	body, above string
}

// A convGroup is the tensors of one place that a conversion may have to take
// together: the projections of one layer's attention, the experts of one layer.
type convGroup struct {
	role    string // of the group's whole: "layer.attn.qkv.weight"
	members []member
}

// A member is one tensor of a group.
type member struct {
	role   string
	index  []int
	name   string
	shape  []uint64
	buffer bool
	packed bool // MXFP4 blocks and scales as one tensor, which comparisons make
	// companions are the names that follow, and what they add to the stem.
	companions []companionName
}

type companionName struct {
	name         string
	suffix, leaf string
}

func (cv *converter) refuse(tensor, format string, args ...any) *RefusalError {
	return &RefusalError{From: cv.from.Name, To: cv.to.Name, Tensor: tensor, Reason: fmt.Sprintf(format, args...)}
}

// settle decides what stands before the new names. Wrappers come off. The
// prefix of a language model beside other parts stays, because the parts keep
// theirs.
func (cv *converter) settle(at *identify.Location) error {
	cv.bare(at)
	apart := cv.to.Towers() && !cv.sameProject() // other parts go elsewhere
	if apart || !slices.ContainsFunc(at.Places, func(p identify.Place) bool { return p.Tensor == nil && !p.Buffer }) {
		return nil
	}
	rest, ok := cv.from.CutBase(at.Prefix)
	switch {
	case ok:
		cv.body, cv.above = rest+cv.to.Base, rest
	case at.Prefix == "":
	case cv.from.Base == cv.to.Base:
		cv.body = at.Prefix
	default:
		return cv.refuse("", "the names stand below %q beside other parts, where %s has %q", at.Prefix, cv.from.Name, cv.from.Base)
	}
	return nil
}

// bare leaves the base out of transformers' names where its releases do: the class
// in the configuration is one without a head, or, where no class is known, none of
// the tensors is of a head, and the releases of such models are embedders.
func (cv *converter) bare(at *identify.Location) {
	if cv.sameProject() || !cv.to.HasDialect("hf") {
		return
	}
	for _, p := range at.Places {
		if p.Tensor == nil {
			continue
		}
		// ChatGLM's head is below its base, and the class that its releases name is ChatGLMModel.
		if t, ok := cv.to.Role(p.Tensor.Role); ok && (t.Absolute || t.Role == "head.weight") {
			return
		}
	}
	if bare, ok := cv.model.Bare(); bare || !ok && cv.to.Bare {
		cv.body = ""
	}
}

// format writes the target's name for a place.
func (cv *converter) format(role string, index []int) (string, bool) {
	t, ok := cv.to.Role(role)
	if !ok {
		return "", false
	}
	if t.Without != "" {
		tensors := cv.to.Tensors()
		i := slices.IndexFunc(tensors, func(t convention.Tensor) bool {
			return t.Role == role && (t.Without == "" || !cv.has(t.Without, index))
		})
		if i < 0 {
			return "", false
		}
		t = &tensors[i]
	}
	name, ok := cv.spell(t, index)
	if cv.exists == nil {
		return name, ok && !t.Unwritten
	}
	if ok && !cv.exists(name) {
		// What it is compared with may have another spelling of the role.
		for i := range cv.to.Tensors() {
			if other := &cv.to.Tensors()[i]; other != t && other.Role == role && other.Without == "" {
				if n, ok := cv.spell(other, index); ok && cv.exists(n) {
					return n, true
				}
			}
		}
	}
	return name, ok && (!t.Unwritten || cv.exists(name))
}

// spell writes a tensor's name below the prefixes of the target.
func (cv *converter) spell(t *convention.Tensor, index []int) (string, bool) {
	name, ok := t.Below.Format(index)
	if t.Absolute {
		return cv.above + name, ok
	}
	return cv.body + name, ok
}

// writes reports whether the target has a tensor of a role, and its project, or
// what it is compared with, still has it.
func (cv *converter) writes(m *member) bool {
	t, ok := cv.to.Role(m.role)
	if ok && t.Unwritten {
		_, ok = cv.format(m.role, m.index)
	}
	return ok
}

// has reports whether a module is there in the block that indices are of. A
// module that ends in a number says the block itself.
func (cv *converter) has(module string, index []int) bool {
	return cv.present[blockKey(module, index)]
}

func blockKey(module string, index []int) string {
	if len(index) == 0 {
		return module
	}
	return module + "." + strconv.Itoa(index[0])
}

// depends reports whether the target's name or bytes of a role depend on what
// else is in its block.
func (cv *converter) depends(role string) bool {
	for i := range cv.to.Tensors() {
		if t := &cv.to.Tensors()[i]; t.Role == role && t.Without != "" {
			return true
		}
	}
	module, _ := cutLeaf(role)
	return slices.ContainsFunc(slices.Concat(cv.from.Layout.Swapped, cv.to.Layout.Swapped), func(s string) bool {
		m, _, conditional := strings.Cut(s, " without ")
		return conditional && m == module
	})
}

const headRole = "head.weight"

// gather brings the tensors of one place together.
func (cv *converter) gather(tensors []convention.Named, at []identify.Place) {
	type place struct{ group, member int }
	groups := make(map[string]int)
	places := make(map[string]place)
	drops, embedding := cv.dropper(at), ""
	defer func() {
		if cv.out.Head != "" {
			cv.out.Embedding = embedding
		}
	}()
	for i, n := range tensors {
		l := at[i]
		switch {
		case l.Tensor == nil && l.Buffer:
			cv.out.Dropped = append(cv.out.Dropped, Dropped{n.Name, bufferReason})
			continue
		case l.Tensor == nil && cv.sameProject():
			cv.out.Unmapped = append(cv.out.Unmapped, n.Name)
			continue
		case l.Tensor == nil:
			if why := cv.to.Drops(n.Name); why != "" {
				cv.out.Dropped = append(cv.out.Dropped, Dropped{n.Name, why})
				if why == cv.to.Drops(headRole) { // of a source that has no head, either
					cv.out.Head = n.Name
				}
			} else if why := cv.to.Tower(n.Name); why != "" {
				cv.out.Aside = append(cv.out.Aside, Aside{Name: n.Name, Reason: why})
			} else {
				cv.out.Unmapped = append(cv.out.Unmapped, n.Name)
			}
			continue
		}
		if why := drops(&l); why != "" {
			cv.out.Dropped = append(cv.out.Dropped, Dropped{n.Name, why})
			if l.Tensor.Role == headRole && l.Leaf == "" {
				cv.out.Head = n.Name
			}
			continue
		}
		if l.Tensor.Role == "embed.tokens.weight" && l.Leaf == "" {
			embedding = n.Name
		}
		whole, common := groupOf(l.Tensor.Role), l.Index
		if isNumbered(l.Tensor.Role) {
			common = common[:len(common)-1]
		}
		key := placeKey(whole, common)
		gi, ok := groups[key]
		if !ok {
			gi = len(cv.groups)
			groups[key] = gi
			cv.groups = append(cv.groups, &convGroup{role: whole})
		}
		if cv.present != nil {
			cv.present[blockKey(l.Tensor.Module, l.Index)] = true
		}
		g := cv.groups[gi]
		mkey := placeKey(l.Tensor.Role, l.Index)
		p, ok := places[mkey]
		if !ok {
			p = place{gi, len(g.members)}
			places[mkey] = p
			g.members = append(g.members, member{role: l.Tensor.Role, index: l.Index, buffer: l.Tensor.Buffer})
		}
		m := &g.members[p.member]
		switch {
		case l.Leaf == "" && m.name != "": // the same place again, under a wrapper
			cv.out.Unmapped = append(cv.out.Unmapped, n.Name)
		case l.Leaf == "":
			m.name, m.shape, m.packed = n.Name, n.Shape, n.DType == "MXFP4" && cv.exists != nil
		default:
			m.companions = append(m.companions, companionName{n.Name, l.Suffix, l.Leaf})
		}
	}
}

// dropper returns a function that says why the target's project leaves a tensor
// out, "" when it does not.
func (cv *converter) dropper(at []identify.Place) func(*identify.Place) string {
	if cv.sameProject() {
		return func(*identify.Place) string { return "" }
	}
	// Layers go whole, by a tensor that only such layers have.
	layers := make(map[int]string)
	ofLayer := func(l *identify.Place) bool { return len(l.Index) > 0 && strings.HasPrefix(l.Tensor.Role, "layer.") }
	for i := range at {
		if l := &at[i]; l.Tensor != nil && ofLayer(l) {
			if why := cv.to.DropsLayer(l.Tensor.Role); why != "" {
				layers[l.Index[0]] = why
			}
		}
	}
	return func(l *identify.Place) string {
		if why := cv.to.Drops(l.Tensor.Role); why != "" || !ofLayer(l) {
			return why
		}
		return layers[l.Index[0]]
	}
}

func placeKey(role string, index []int) string {
	key := make([]byte, 0, len(role)+12)
	key = append(key, role...)
	for _, n := range index {
		key = append(key, ' ')
		key = strconv.AppendInt(key, int64(n), 10)
	}
	return string(key)
}

const bufferReason = "a buffer, derivable from the configuration"

// fusions are the modules that hold several, by the ends of their roles: the
// longest first.
var fusions = []struct {
	whole string
	parts []string
}{
	{"single.layer.attn.qkv_mlp", []string{"single.layer.attn.q", "single.layer.attn.k", "single.layer.attn.v", "single.layer.mlp.up"}},
	{"layer.attn.qkv", []string{"layer.attn.q", "layer.attn.k", "layer.attn.v"}},
	{"layer.attn.kv", []string{"layer.attn.k", "layer.attn.v"}},
	{"layer.cross.kv", []string{"layer.cross.k", "layer.cross.v"}},
	{"gate_up", []string{"gate", "up"}},
}

// parts says what a fused module is made of.
func parts(module string) []string {
	for _, f := range fusions {
		stem, ok := cutModule(module, f.whole)
		if !ok {
			continue
		}
		out := make([]string, len(f.parts))
		for i, p := range f.parts {
			out[i] = stem + p
		}
		return out
	}
	return nil
}

// cutModule takes whole words off the end of a module.
func cutModule(module, end string) (stem string, ok bool) {
	stem, ok = strings.CutSuffix(module, end)
	return stem, ok && (stem == "" || strings.HasSuffix(stem, "."))
}

// numbered pairs the modules that hold many tensors as one with those that
// number them.
var numbered = []struct{ stacked, one string }{
	{"mlp.experts.", "mlp.expert."},
	{"mlp.chunk.", "mlp.chunk_expert."},
	{"layer.attn.q_norm", "layer.attn.q_head_norm"},
	{"layer.attn.k_norm", "layer.attn.k_head_norm"},
	{"altup.proj", "altup.proj_one"},
	{"altup.unembed", "altup.unembed_one"},
}

// isNumbered reports whether a role is one of many that may be stacked.
func isNumbered(role string) bool {
	module, _ := cutLeaf(role)
	for _, n := range numbered {
		if strings.HasSuffix(n.one, ".") && strings.Contains(module, n.one) || module == n.one {
			return true
		}
	}
	return false
}

func stackedModule(module string) string {
	for _, n := range numbered {
		if strings.HasSuffix(n.one, ".") {
			module = strings.Replace(module, n.one, n.stacked, 1)
		} else if module == n.one {
			module = n.stacked
		}
	}
	return module
}

func oneModule(module string) (string, bool) {
	for _, n := range numbered {
		if strings.HasSuffix(n.stacked, ".") && strings.Contains(module, n.stacked) {
			return strings.Replace(module, n.stacked, n.one, 1), true
		}
		if module == n.stacked {
			return n.one, true
		}
	}
	return module, false
}

func cutLeaf(role string) (module, leaf string) {
	i := strings.LastIndexByte(role, '.')
	return role[:i], role[i+1:]
}

// groupOf names the whole that a role belongs to.
func groupOf(role string) string {
	module, leaf := cutLeaf(role)
	module = stackedModule(module)
	for _, p := range []struct{ part, whole string }{
		{"layer.attn.kv", "layer.attn.qkv"},
		{"attn.k_b", "attn.kv_b"},
		{"attn.v_b", "attn.kv_b"},
		{"linear_attn.qkv", "linear_attn.qkvz"},
		{"linear_attn.z", "linear_attn.qkvz"},
	} {
		if stem, ok := cutModule(module, p.part); ok {
			return stem + p.whole + "." + leaf
		}
	}
	for _, f := range fusions {
		for _, p := range f.parts {
			stem, ok := cutModule(module, p)
			if !ok || f.whole == "gate_up" && !strings.HasSuffix(stem, "mlp.") && !strings.HasSuffix(stem, "experts.") && !strings.HasSuffix(stem, "shared.") {
				continue
			}
			return stem + f.whole + "." + leaf
		}
	}
	return module + "." + leaf
}

// convert turns one group into the target's tensors.
func (cv *converter) convert(g *convGroup) error {
	direct := true
	for i := range g.members {
		if m := &g.members[i]; len(m.companions) > 0 && m.isBlocks() && cv.from.Layout.Blocks != "" && cv.to.Layout.Vectors != "" {
			return cv.refuse(m.companions[0].name, "GGUF has the blocks and scales of MXFP4 in one tensor of a type that no .safetensors file has")
		}
		if cv.present == nil && cv.depends(g.members[i].role) {
			return cv.refuse(g.members[i].name, "it depends on what else its block has, which only a checkpoint shows")
		}
		if !cv.isDirect(&g.members[i]) {
			direct = false
		}
	}
	if direct {
		for i := range g.members {
			if err := cv.rename(&g.members[i], nil); err != nil {
				return err
			}
		}
		return nil
	}
	g.members = slices.DeleteFunc(g.members, func(m member) bool {
		if m.buffer {
			why := bufferReason
			if _, made, _ := Factors(m.role, nil); made {
				why = factorsReason
			}
			cv.out.Dropped = append(cv.out.Dropped, Dropped{m.name, why})
		}
		return m.buffer
	})
	if len(g.members) == 0 {
		return nil
	}
	for i := range g.members {
		m := &g.members[i]
		if why := cv.opaque(m.role); why != "" {
			return cv.refuse(m.name, "%s", why)
		}
	}
	if !slices.ContainsFunc(g.members, cv.regroups) {
		for i := range g.members {
			if err := cv.single(&g.members[i]); err != nil {
				return err
			}
		}
		return nil
	}
	return cv.assemble(g)
}

// regroups reports whether a tensor becomes one of another role, or has to be taken
// apart or joined to become one of its own.
func (cv *converter) regroups(m member) bool {
	_, leaf := cutLeaf(m.role)
	if !cv.writes(&m) {
		return (leaf == "weight" || leaf == "bias") && len(cv.targets(m.role)) > 0
	}
	return regroups(cv.storage(cv.from, &m), cv.storage(cv.to, &m))
}

// isDirect reports whether a tensor needs no more than a new name.
func (cv *converter) isDirect(m *member) bool {
	if !cv.writes(m) || cv.opaque(m.role) != "" {
		return false
	}
	from, to := cv.storage(cv.from, m), cv.storage(cv.to, m)
	if m.isBlocks() && cv.from.Layout.Blocks != "" && cv.to.Layout.Blocks != "" {
		from.transposed, to.transposed = false, false
	}
	return from == to && !to.lacksAxes(m.shape)
}

// isBlocks reports whether only MXFP4 blocks and their scales are there.
func (m *member) isBlocks() bool {
	return m.name == "" && !slices.ContainsFunc(m.companions, func(c companionName) bool { return !c.isBlocks() })
}

func (c *companionName) isBlocks() bool {
	leaf := strings.TrimPrefix(c.leaf, "_")
	return leaf == "blocks" || leaf == "scales"
}

// sameProject reports whether one project spells both conventions.
func (cv *converter) sameProject() bool {
	return slices.ContainsFunc(cv.from.Dialects, cv.to.HasDialect)
}

// opaque says why a role's bytes are not described well enough to be moved
// between these two.
func (cv *converter) opaque(role string) string {
	if slices.Equal(cv.from.Dialects, cv.to.Dialects) {
		return ""
	}
	for _, c := range []*convention.Convention{cv.from, cv.to} {
		if why := c.Opaque(role, cv.model); why != "" {
			return why
		}
	}
	return ""
}

// rename adds a move of one tensor, and those of its companions.
func (cv *converter) rename(m *member, ops []tensorop.Op) error {
	name, ok := cv.format(m.role, m.index)
	if !ok {
		return cv.refuse(m.name, "%s has no name for index %v of %s", cv.to.Name, m.index, m.role)
	}
	cv.give(m.role)
	if m.name != "" {
		cv.out.Moves = append(cv.out.Moves, Move{From: []string{m.name}, To: []string{name}, Ops: ops})
	}
	for _, c := range m.companions {
		if len(ops) > 0 {
			return cv.refuse(c.name, "its weight is packed or has scales, and would have to be %s", done(ops[0].Kind))
		}
		if c.leaf == cmp.Or(cv.from.Layout.Scale, fp8Scale) {
			c.suffix = "." + cmp.Or(cv.to.Layout.Scale, fp8Scale)
		}
		to := c.follow(name)
		if sep := cv.to.Layout.Blocks; sep != "" && m.isBlocks() {
			to = name + sep + strings.TrimPrefix(c.leaf, "_")
		}
		cv.out.Moves = append(cv.out.Moves, Move{From: []string{c.name}, To: []string{to}})
	}
	return nil
}

// fp8Scale is what most projects call the scales of FP8 blocks.
const fp8Scale = "weight_scale_inv"

// follow writes a companion's name behind its weight's new name.
func (c companionName) follow(weight string) string {
	if strings.HasPrefix(c.leaf, "weight.") {
		return weight + strings.TrimPrefix(c.leaf, "weight")
	}
	return strings.TrimSuffix(weight, ".weight") + c.suffix
}

// done says what becomes of a tensor that an operation is made on.
func done(k tensorop.Kind) string {
	switch k {
	case tensorop.Split:
		return "split"
	case tensorop.Concat:
		return "joined"
	case tensorop.Stack, tensorop.Unstack:
		return "stacked or unstacked"
	case tensorop.Transpose:
		return "transposed"
	case tensorop.Permute:
		return "permuted"
	case tensorop.Reshape:
		return "reshaped"
	}
	return "changed"
}

func (cv *converter) give(role string) { cv.gave = append(cv.gave, role) }

// placeless refuses a tensor whose role the target does not have. A role that only the source
// has is no word of roles.md.
func (cv *converter) placeless(name, role string) error {
	if convention.IsOwn(role) {
		return cv.refuse(name, "%s has no such tensor; %s alone has it", cv.to.Name, cv.from.Name)
	}
	return cv.refuse(name, "%s has no tensor for %s", cv.to.Name, role)
}

// single converts a tensor that keeps its role.
func (cv *converter) single(m *member) error {
	module, _ := cutLeaf(m.role)
	if !cv.writes(m) {
		return cv.placeless(m.name, m.role)
	}
	f := form{cv: cv, module: module, name: m.name, shape: m.shape}
	ops, err := f.change(cv.storage(cv.from, m), cv.storage(cv.to, m))
	if err != nil {
		return err
	}
	return cv.rename(m, ops)
}

// targets are the roles of the target that take part in a role's group. Each of thousands
// of experts asks, and all of one role are told the same.
func (cv *converter) targets(role string) []string {
	out, known := cv.takers[role]
	if known {
		return out
	}
	whole := groupOf(role)
	for i := range cv.to.Tensors() {
		if t := &cv.to.Tensors()[i]; !t.Unwritten && groupOf(t.Role) == whole && !slices.Contains(out, t.Role) {
			out = append(out, t.Role)
		}
	}
	if cv.takers == nil {
		cv.takers = make(map[string][]string)
	}
	cv.takers[role] = out
	return out
}

// finish checks that the target is complete.
func (cv *converter) finish() {
	seen := make(map[string]bool)
	for _, role := range cv.gave {
		seen[role] = true
	}
	for i := range cv.to.Tensors() {
		t := &cv.to.Tensors()[i]
		if !t.Optional && !seen[t.Role] {
			seen[t.Role] = true
			cv.out.Missing = append(cv.out.Missing, t.Role)
		}
	}
	if slices.Contains(cv.out.Missing, headRole) {
		cv.out.Notes = append(cv.out.Notes, "the head is not stored: it is tied to the token embedding, and "+cv.to.Name+" wants a copy of it")
	}
	for _, c := range []*convention.Convention{cv.from, cv.to} {
		cv.out.Notes = append(cv.out.Notes, c.Layout.Notes...)
	}
}
