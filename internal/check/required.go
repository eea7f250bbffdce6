package check

import (
	"cmp"
	"fmt"
	"iter"
	"math/bits"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

var requiredRules = []*Rule{
	{
		ID: "WT318", Name: "required-tensors", Severity: checkpoint.Error, run: runRequired,
		Title: "tensors that the model_type of config.json requires are not there",
		Doc: `What a model type requires is in its naming convention. A kind of tensor that no layer
has, a layer that lacks one, names that are another model's or nobody's, and a file
without any tensor: loaders make up what they do not find, or fail. What a class or a
switch of config.json leaves out (heads, biases, layers of another kind) is not asked for.`,
		Bad:  `"model_type": "qwen3" without self_attn.q_norm.weight in any layer`,
		Good: "q_norm and k_norm in every layer",
	},
	{
		ID: "WT319", Name: "odd-dimensions", Severity: checkpoint.Error, run: runDimensions,
		Title: "a tensor does not have the dimensions that config.json asks for",
		Doc: `A weight without any element, as a ZeRO-3 save of one rank leaves it, a matrix that is
flat, a normalisation or a projection of another width than hidden_size: the weights are
not in the file, or only a part of each is. Export again from all ranks. A matrix of the
right dimensions in the wrong order was transposed by a converter.`,
		Bad:  "down_proj.weight [0], hidden_size 8, intermediate_size 16",
		Good: "down_proj.weight [8,16]",
	},
	{
		ID: "WT320", Name: "absent-part", Severity: checkpoint.Warning, run: runParts,
		Title: "a part that config.json describes has no tensors",
		Doc: `A class with a vision tower whose tower was left out, in whole or in part, or without what
joins it to the language model, computes noise for images. Layers for multi-token
prediction are often left out on purpose, which is only worth knowing: llama.cpp counts
them among the blocks, and then misses their tensors. What is there of them is held to the
layers of the model and to what joins them to it.`,
		Bad:  `"mtp_num_hidden_layers": 1, no mtp. tensor`,
		Good: `"mtp_num_hidden_layers": 0`,
	},
}

func runParts(p *Pass) {
	for _, m := range p.models {
		p.towers(m)
		p.predictions(m)
	}
}

// towers holds vision_config to the tensors: whether a tower is there, how many layers
// it has, and what joins it to the language model.
func (p *Pass) towers(m *model) {
	tower, ok := m.doc.Find("vision_config")
	whole := slices.ContainsFunc(m.doc.Texts("architectures"), func(a string) bool { return strings.HasSuffix(a, "ForConditionalGeneration") })
	n := m.names()
	if !ok || !whole || tower.Kind() != "object" || m.partial() || m.isAdapter() || n.Convention == "" || !n.conv.Language || n.conv.Towers() || m.Format == checkpoint.GGUF {
		return
	}
	fit, _ := n.Fit(n.conv)
	sees := len(n.Parts) > 0
	for _, place := range fit.Places {
		if place.Tensor == nil {
			sees = sees || !place.Buffer
			continue
		}
		space, module, _ := convention.SplitRole(place.Tensor.Role)
		sees = sees || space == "vision." || convention.IsOwn(module)
	}
	if !sees {
		p.report(at(m.Path, m.doc, tower, "vision_config describes a vision tower, and no tensor is of one; loaders make it up"))
		return
	}
	kind, _ := m.doc.Text("model_type")
	isTower := func(part identify.Part) bool {
		c, ok := convention.Lookup(part.Convention)
		return ok && slices.ContainsFunc(c.Tensors(), func(t convention.Tensor) bool { return strings.HasPrefix(t.Role, "vision.layer.") })
	}
	at0 := slices.IndexFunc(n.Parts, isTower)
	if at0 < 0 || n.Coverage < 1 {
		return
	}
	p.towerDepth(m, tower, n.Parts[at0].Prefix)
	// What joins the tower to the language model has names of its own.
	for _, c := range convention.All() {
		if !c.Frame || !c.HasFamily(kind) || !slices.Contains(c.With, n.Parts[at0].Convention) {
			continue
		}
		if slices.ContainsFunc(n.Parts, func(part identify.Part) bool { return part.Convention == c.Name }) {
			return
		}
		if joint, ok := n.Fit(c); ok && joint.Found == 0 && len(joint.Missing) > 0 {
			p.report(at(m.Path, m.doc, tower, "a vision tower and a language model, and no tensor joins them: %s (%s)", listed(joint, joint.Missing), c.Name))
			return
		}
	}
}

// towerDepth holds the number of layers of a tower against its tensors.
func (p *Pass) towerDepth(m *model, tower checkpoint.ConfigValue, prefix string) {
	layers := 0
	for _, s := range m.stacks() {
		if strings.HasPrefix(s.before, prefix) && isLayers(s.before) {
			layers = max(layers, s.top()+1)
		}
	}
	for _, key := range append([]string{"depth"}, depthKeys...) {
		v, ok := tower.Find(key)
		want, isInt := v.Int()
		if !ok || !isInt || want < 1 || layers == 0 {
			continue
		}
		if int64(layers) < want {
			p.report(at(m.Path, m.doc, v, "%s of vision_config is %d, and the tower below %s has %s (0 to %d)", key, want, strings.TrimSuffix(prefix, "."), plural.Of(layers, "layer"), layers-1))
		}
		return
	}
}

// hold finds the convention of the model type that the tensors fit best, nil
// when the type is not known or the tensors are not a whole language model.
func (s *subject) hold(m *model) *identify.Fit {
	kind, ok := m.doc.Text("model_type")
	if !ok || m.Format == checkpoint.GGUF || m.partial() || m.isAdapter() || m.Len() == 0 {
		return nil
	}
	if encDec, _ := m.doc.Bool("is_encoder_decoder"); encDec || m.Index == "" && s.indexed(m.Dir) {
		return nil
	}
	text := ""
	if nested, ok := m.doc.LanguageModel(); ok {
		v, _ := nested.Find("model_type")
		text, _ = v.Text()
	}
	of := func(c *convention.Convention) bool { return c.HasFamily(kind) || text != "" && c.HasFamily(text) }
	all := convention.All()
	// A spelling that was given up is as good as the one that took its place.
	current := make(map[string]bool)
	for _, c := range all {
		if c.VariantOf != "" && of(c) {
			current[c.VariantOf] = true
		}
	}
	var best *identify.Fit
	for _, c := range all {
		if !c.Language || !of(c) && !current[c.Name] {
			continue
		}
		if slices.ContainsFunc(c.Tensors(), func(t convention.Tensor) bool { return strings.HasPrefix(t.Role, "decoder.") }) {
			return nil // an encoder and a decoder, of which classes have one or both
		}
		fit, ok := m.names().Fit(c)
		if !ok {
			continue
		}
		fit.Missing = m.wanted(fit)
		if c.HasDialect("gguf") && fit.Found < len(fit.Missing) {
			continue // not its names: those of the model type itself are asked for
		}
		if best == nil || compareFits(fit, best) < 0 {
			best = fit
		}
	}
	if best == nil || 2*best.Found < best.Found+len(best.Missing) && !m.isMain(kind) {
		return nil
	}
	return best
}

// indexed reports whether a directory has a set with an index, beside which
// other files are parts or extras.
func (s *subject) indexed(dir string) bool {
	return slices.ContainsFunc(s.models, func(m *model) bool { return m.Dir == dir && m.Index != "" && m.Len() > 0 })
}

// compareFits orders the better fit first: what explains the greater part, and
// where all explain little, the names that most loaders know.
func compareFits(a, b *identify.Fit) int {
	explained := func(f *identify.Fit) float64 {
		if f.Found < len(f.Missing) {
			return 0
		}
		return float64(f.Found) / float64(f.Found+len(f.Missing))
	}
	rank := func(f *identify.Fit) int {
		switch {
		case !f.Convention.HasDialect("hf") || f.Convention.VariantOf != "":
			return 2
		case f.Convention.Preferred == 0:
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(explained(b), explained(a)), cmp.Compare(rank(a), rank(b)), cmp.Compare(b.Found, a.Found), strings.Compare(a.Convention.Name, b.Convention.Name))
}

// isMain reports whether a checkpoint is surely meant to be the model that
// config.json describes, whatever its names are: not one of several files, nor a
// model of code that comes with it or of parts that are named otherwise.
func (m *model) isMain(kind string) bool {
	if m.doc.Has("auto_map") || len(m.Files) == 0 {
		return false
	}
	if _, nested := m.doc.LanguageModel(); nested && !slices.ContainsFunc(convention.All(), func(c *convention.Convention) bool { return c.Language && c.HasFamily(kind) }) {
		return false
	}
	name := filepath.Base(m.Files[0].Name)
	return m.Index != "" || strings.HasPrefix(name, "model") || strings.HasPrefix(name, "pytorch_model")
}

// wanted returns what a fit lacks of the tensors that every model of the
// configuration has.
func (m *model) wanted(fit *identify.Fit) []*convention.Tensor {
	// What explains little needs no second look.
	layers := new(fittedLayers)
	if len(fit.Missing) > 0 && fit.Found >= len(fit.Missing) {
		layers = m.layersOf(fit)
	}
	return slices.DeleteFunc(slices.Clone(fit.Missing), func(t *convention.Tensor) bool {
		_, module, leaf := convention.SplitRole(t.Role)
		switch {
		case strings.HasPrefix(module, "head") || strings.HasPrefix(module, "pool") || strings.HasPrefix(module, "classifier") || t.Buffer:
			return true // of one class and not of another; WT307 asks for the head
		case leaf == "bias" && m.switchedOff("bias"), strings.HasSuffix(module, "_norm") && m.switchedOff("qk_norm", "qk_layernorm", "q_norm"):
			return true
		}
		// All layers have something else in its place.
		return layers.count > 0 && len(layers.without(t)) == 0
	})
}

// switchedOff reports whether config.json has a switch about something that
// leaves it out: attention_bias, use_qk_norm, no_bias.
func (m *model) switchedOff(what ...string) bool {
	for key, v := range m.settings {
		on, isBool := v.Bool()
		if isBool && on == strings.HasPrefix(key, "no_") && slices.ContainsFunc(what, func(w string) bool { return strings.Contains(key, w) }) {
			return true
		}
	}
	return false
}

// fittedLayers is what the layers of a fit have.
type fittedLayers struct {
	count int // of those that have anything, up to what config.json says
	// single says that each layer has one kind of thing: Nemotron-H's are attention, a
	// state space or an MLP.
	single bool
	roles  map[string]map[int]bool
	own    map[string]map[int]bool // by role, what no other model has
	kinds  map[string]map[int]bool // by block and what fills it
	any    map[int]bool
}

func (m *model) layersOf(fit *identify.Fit) *fittedLayers {
	if l := m.fitted[fit]; l != nil {
		return l
	}
	l := &fittedLayers{roles: make(map[string]map[int]bool), own: make(map[string]map[int]bool), kinds: make(map[string]map[int]bool), any: make(map[int]bool)}
	depth, _, _, known := number(m.doc, depthKeys...)
	add := func(in map[string]map[int]bool, key string, layer int) {
		if in[key] == nil {
			in[key] = make(map[int]bool)
		}
		in[key][layer] = true
	}
	for _, p := range fit.Places {
		if p.Tensor == nil || len(p.Index) == 0 || known && int64(p.Index[0]) >= depth {
			continue
		}
		layer := p.Index[0]
		if _, module, _ := convention.SplitRole(p.Tensor.Role); convention.IsOwn(module) && len(p.Index) == 1 && !p.Tensor.Optional {
			add(l.own, p.Tensor.Role, layer)
		}
		if !inLayer(p.Tensor) {
			continue
		}
		add(l.roles, p.Tensor.Role, layer)
		l.any[layer] = true
		if kind := fills(p.Tensor.Module); kind != "" {
			add(l.kinds, kind, layer)
		}
	}
	l.count = len(l.any)
	filled, halves := 0, make(map[string]bool)
	for kind, layers := range l.kinds {
		half, _, _ := strings.Cut(kind, " ")
		filled, halves[half] = filled+len(layers), true
	}
	// What has a normalisation for each half has both halves.
	both := l.roles["layer.attn.norm.weight"] != nil && l.roles["layer.mlp.norm.weight"] != nil
	l.single = filled == l.count && len(halves) > 1 && !both
	if m.fitted == nil {
		m.fitted = make(map[*identify.Fit]*fittedLayers)
	}
	m.fitted[fit] = l
	return l
}

func inLayer(t *convention.Tensor) bool {
	space, module, _ := convention.SplitRole(t.Role)
	return space == "" && strings.HasPrefix(module, "layer.") && len(t.Pattern.Holes()) > 0 && t.Pattern.Holes()[0] == "layer"
}

// fills says which of the two halves of a layer a module belongs to and what
// fills that half there: attention, linear attention, a dense MLP, experts. It
// is "" for what stands around both, as a normalisation.
func fills(module string) string {
	rest, ok := strings.CutPrefix(module, "layer.")
	part, leaf, _ := strings.Cut(rest, ".")
	switch {
	case !ok || leaf == "" || strings.HasSuffix(leaf, "norm") && !strings.HasPrefix(leaf, "q_") && !strings.HasPrefix(leaf, "k_") && part != "linear_attn" && part != "ssm":
		return ""
	case part == "mlp" && (leaf == "gate" || leaf == "up" || leaf == "down" || leaf == "gate_up"):
		return "mlp dense"
	case part == "mlp" || part == "moe":
		return "mlp experts"
	}
	return "mix " + part
}

// without returns the layers that lack a tensor and have nothing else in the
// place of what it belongs to.
func (l *fittedLayers) without(t *convention.Tensor) []int {
	kind := fills(t.Module)
	half, _, _ := strings.Cut(kind, " ")
	var out []int
	for layer := range l.any {
		if l.roles[t.Role][layer] {
			continue
		}
		other := false
		for k, layers := range l.kinds {
			h, _, _ := strings.Cut(k, " ")
			other = other || kind != "" && (h == half || l.single) && k != kind && layers[layer] && !l.kinds[kind][layer]
		}
		// Something of the model's own fills the layers of another kind: RecurrentGemma's
		// are attention or a recurrent block.
		for _, layers := range l.own {
			other = other || kind != "" && layers[layer] && disjoint(layers, l.kinds[kind])
		}
		if !other {
			out = append(out, layer)
		}
	}
	slices.Sort(out)
	return out
}

func disjoint(a, b map[int]bool) bool {
	for layer := range a {
		if b[layer] {
			return false
		}
	}
	return true
}

func runRequired(p *Pass) {
	for _, m := range p.models {
		if p.noTensors(m) {
			continue
		}
		fit := m.held()
		if fit == nil {
			continue
		}
		kind, _ := m.doc.Text("model_type")
		v, _ := m.doc.Find("model_type")
		if n := len(fit.Missing); n > 0 {
			verb := "is one of them"
			if n == 1 {
				verb = "is that"
			}
			f := at(m.Path, m.doc, v, "model_type %q requires %s (%s), and no tensor %s", kind, listed(fit, fit.Missing), fit.Convention.Name, verb)
			if 2*fit.Found < fit.Found+n {
				f.Message += "; the names are " + m.sample()
			}
			f.Count = n
			p.report(f)
			continue
		}
		p.lackingLayers(m, fit, kind)
	}
}

// noTensors reports a file that is empty where config.json describes a model.
func (p *Pass) noTensors(m *model) bool {
	if m.Len() > 0 || m.NamesOnly() || m.Format == checkpoint.GGUF || m.partial() || m.faulty() {
		return false
	}
	layers, v, key, ok := number(m.doc, depthKeys...)
	if !ok || layers < 1 || slices.ContainsFunc(p.models, func(o *model) bool { return o.Dir == m.Dir && o.Len() > 0 }) {
		return m.doc != nil
	}
	p.report(m.whole("no tensor is in the file, and %s is %d (%s:%s)", key, layers, filepath.Base(m.doc.Path()), position(v)))
	return true
}

// faulty reports whether a file cannot be read, which other rules say.
func (m *model) faulty() bool {
	return slices.ContainsFunc(m.Files, func(f *checkpoint.File) bool { return f.Err != nil })
}

// listed writes the first few of some tensors as the checkpoint would name them.
func listed(fit *identify.Fit, tensors []*convention.Tensor) string {
	const few = 4
	var words []string
	for i, t := range tensors {
		if i == few && len(tensors) > few+1 {
			words = append(words, fmt.Sprintf("%d other kinds of tensors", len(tensors)-few))
			break
		}
		name := t.Pattern.String()
		if !t.Absolute && fit.Found > 0 {
			name = fit.Prefix + t.Below.String()
		}
		words = append(words, name)
	}
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// sample writes the first few names of a model.
func (m *model) sample() string {
	const few = 2
	var words []string
	for i, t := range m.families() {
		if i == few {
			words = append(words, "…")
			break
		}
		words = append(words, generic(t.first))
	}
	return strings.Join(words, ", ")
}

// everyLayer yields the tensors that the model type has in each layer.
func (m *model) everyLayer(fit *identify.Fit) iter.Seq[*convention.Tensor] {
	// Layers that share their keys and values, or are each built otherwise.
	shared := m.says("num_kv_shared_layers", "cla_share_factor", "use_cla")
	own := m.says("block_configs", "num_hidden_groups") ||
		slices.ContainsFunc(fit.Convention.Tensors(), func(t convention.Tensor) bool { return slices.Contains(t.Pattern.Holes(), "end") }) // the head is numbered as a layer
	return func(yield func(*convention.Tensor) bool) {
		for i := range fit.Convention.Tensors() {
			t := &fit.Convention.Tensors()[i]
			if own || t.Optional || !inLayer(t) || len(t.Pattern.Holes()) != 1 {
				continue
			}
			_, module, leaf := convention.SplitRole(t.Role)
			part, isAttention := strings.CutPrefix(module, "layer.attn.")
			if shared && isAttention && strings.ContainsAny(part, "kv") || leaf == "bias" && m.switchedOff("bias") {
				continue
			}
			if !yield(t) {
				return
			}
		}
	}
}

// lacks reports whether a layer has nothing of what a tensor is for, where the
// model type requires it.
func (m *model) lacks(name string, layer int) bool {
	fit := m.held()
	if fit == nil || len(fit.Missing) > 0 {
		return false
	}
	p := fit.Place(name)
	for t := range m.everyLayer(fit) {
		if p.Tensor != nil && p.Tensor.Role == t.Role {
			return slices.Contains(m.layersOf(fit).without(t), layer)
		}
	}
	return false
}

// lackingLayers reports the layers that lack a tensor which the model type has
// in each of them.
func (p *Pass) lackingLayers(m *model, fit *identify.Fit, kind string) {
	if fit.Convention.HasDialect("gguf") {
		return // what GGUF requires, a model has somewhere
	}
	l := m.layersOf(fit)
	for t := range m.everyLayer(fit) {
		if l.roles[t.Role] == nil {
			continue // one of several spellings
		}
		for _, layer := range l.without(t) {
			name, _ := t.Below.Format([]int{layer})
			f := m.whole("absent, and model_type %q has it in each of the %s (%s)", kind, plural.Of(l.count, "layer"), fit.Convention.Name)
			f.Tensor = fit.Prefix + name
			p.report(f)
		}
	}
}

// says reports whether config.json has one of several keys, with a value other
// than 0, false and null.
func (m *model) says(keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool {
		v, ok := find(m.doc, key)
		n, isInt := v.Int()
		on, isBool := v.Bool()
		return ok && (!isInt || n != 0) && (!isBool || on)
	})
}

// A dimension is a number of config.json and what it makes.
type dimension struct {
	size uint64 // 0 when config.json does not say
	text string
}

// dimensionsOf returns what config.json says of the dimensions of a role, nil
// when no formula for it is known. Those of vocabularies and heads may be padded
// and are left to other rules.
func (m *model) dimensionsOf(role string, transposed bool) []dimension {
	num := func(keys []string) dimension {
		n, _, key, ok := number(m.doc, keys...)
		if !ok || n < 1 || n > 1<<40 {
			return dimension{}
		}
		return dimension{uint64(n), fmt.Sprintf("%s %d", key, n)}
	}
	hidden, inner := num(hiddenKeys), num(intermediateKeys)
	times := func(a, b dimension) dimension {
		if a.size == 0 || b.size == 0 || a.size > 1<<20 || b.size > 1<<20 {
			return dimension{}
		}
		return dimension{a.size * b.size, a.text + ", " + b.text}
	}
	heads, size := num(headKeys), num(headSizeKeys)
	if size.size == 0 && heads.size > 0 && hidden.size%heads.size == 0 {
		size = dimension{hidden.size / heads.size, hidden.text}
	}
	var out []dimension
	switch role {
	case "embed.tokens.weight", "head.weight":
		out = []dimension{num(vocabularyKeys), hidden}
	case "layer.attn.q.weight":
		out = []dimension{times(heads, size), hidden}
	case "layer.attn.k.weight", "layer.attn.v.weight":
		out = []dimension{times(num(keyValueKeys), size), hidden}
	case "layer.attn.o.weight":
		out = []dimension{hidden, times(heads, size)}
	case "layer.mlp.gate.weight", "layer.mlp.up.weight":
		out = []dimension{inner, hidden}
	case "layer.mlp.down.weight":
		out = []dimension{hidden, inner}
	case "layer.attn.norm.weight", "layer.mlp.norm.weight", "final_norm.weight":
		return []dimension{hidden}
	}
	if transposed {
		slices.Reverse(out)
	}
	return out
}

func runDimensions(p *Pass) {
	for _, m := range p.models {
		if m.Format == checkpoint.GGUF || m.NamesOnly() {
			continue
		}
		if m.isAdapter() {
			for i, t := range m.All() {
				if elements, known := t.Elements(); known && elements == 0 {
					p.report(m.finding(i, "%s has no element; the changes are not in the file: export again", shapeText(t.Shape)))
				}
			}
			continue
		}
		n, width := m.names(), m.width()
		for _, t := range m.families() {
			id := n.ids[t]
			var want []dimension
			if m.doc != nil && n.conv != nil && id.Role != "" {
				want = m.dimensionsOf(id.Role, n.conv.Transposes(strings.TrimSuffix(id.Role, ".weight")))
			}
			asked := askedFor(want)
			odd := make([]bool, len(t.members))
			few := 0
			for i, member := range t.members {
				odd[i] = oddWidth(m.At(int(member)), want, width)
				if odd[i] {
					few++
				}
			}
			for i, member := range t.members {
				tensor := m.At(int(member))
				elements, known := tensor.Elements()
				switch {
				case known && elements == 0 && m.isWeight(tensor.Name) && !m.replaced(tensor.Name) && (asked != "" || !m.countsNone(tensor)):
					p.report(m.finding(int(member), "%s has no element%s; the weights are not in the file: export again", shapeText(tensor.Shape), asked))
				case !known || !plain(tensor.DType) || asked == "" || elements == 0:
				case len(tensor.Shape) > len(want) && splits(tensor.Shape, want):
				case len(tensor.Shape) != len(want):
					p.report(m.finding(int(member), "%s%s", shapeText(tensor.Shape), asked))
				case n.conv.Language && isTransposed(tensor.Shape, want):
					p.report(m.finding(int(member), "%s is transposed%s", shapeText(tensor.Shape), asked))
				case odd[i] && 2*few > len(t.members): // a layer or two are WT406's
					p.report(m.finding(int(member), "%s%s", shapeText(tensor.Shape), asked))
				}
			}
		}
	}
}

// countsNone reports whether a tensor without elements may be of something that a model
// has none of: [1,0,384] of no register tokens, [0,256] and its bias of no points. What a
// save of one rank leaves is flat (torch: FlatParameter; DeepSpeed: ZeRO-3).
func (m *model) countsNone(t checkpoint.Tensor) bool {
	if stem, ok := strings.CutSuffix(t.Name, ".bias"); ok && len(t.Shape) == 1 {
		i, ok := m.Lookup(stem + ".weight")
		return ok && len(m.At(i).Shape) > 1 && m.At(i).Shape[0] == 0
	}
	return len(t.Shape) > 1
}

// splits reports whether a shape of more dimensions may be the one asked for with one
// of them in two: heads and head size (transformers: XLNetRelativeAttention).
func splits(shape []uint64, want []dimension) bool {
	for i := range len(shape) - 1 {
		high, product := bits.Mul64(shape[i], shape[i+1])
		joined := slices.Concat(shape[:i], []uint64{product}, shape[i+2:])
		if high == 0 && len(joined) == len(want) && !slices.ContainsFunc(want, func(d dimension) bool {
			return d.size != 0 && !slices.Contains(joined, d.size)
		}) {
			return true
		}
	}
	return false
}

// isTransposed reports whether a matrix has the dimensions asked for in the other order.
func isTransposed(shape []uint64, want []dimension) bool {
	return len(shape) == 2 && want[0].size > 0 && want[0].size != want[1].size && shape[0] == want[1].size && shape[1] == want[0].size
}

// askedFor writes dimensions and what they are made of.
func askedFor(want []dimension) string {
	if len(want) == 0 {
		return ""
	}
	var sizes, why []string
	for _, d := range want {
		text := "?"
		if d.size > 0 {
			text = fmt.Sprint(d.size)
			for w := range strings.SplitSeq(d.text, ", ") {
				if !slices.Contains(why, w) {
					why = append(why, w)
				}
			}
		}
		sizes = append(sizes, text)
	}
	if len(why) == 0 {
		return ""
	}
	return fmt.Sprintf(", where config.json asks for [%s] (%s)", strings.Join(sizes, ","), strings.Join(why, ", "))
}

// width returns the hidden size that every tensor joins the layers at, 0 where
// config.json does not say, or says that not all of them do.
func (m *model) width() uint64 {
	hidden, _, _, ok := number(m.doc, hiddenKeys...)
	_, columns, _, known := m.embedding()
	// Models whose embedding is narrower than the layers, or whose streams are wider.
	if !ok || hidden < 1 || m.embedsOtherwise(0) || m.says("altup_num_inputs", "hidden_sizes") {
		return 0
	}
	if known && columns != uint64(hidden) {
		return 0 // WT303's
	}
	return uint64(hidden)
}

// oddWidth reports whether a tensor joins the layers at another width. The other
// dimensions have rules of their own.
func oddWidth(t checkpoint.Tensor, want []dimension, width uint64) bool {
	if width == 0 || len(t.Shape) != len(want) || !plain(t.DType) || slices.Contains(t.Shape, width) {
		return false
	}
	return slices.ContainsFunc(want, func(d dimension) bool { return d.size == width })
}

// isWeight reports whether a tensor is a module's own, not a buffer or what a
// library keeps beside it.
func (m *model) isWeight(name string) bool {
	return strings.HasSuffix(name, ".weight") || strings.HasSuffix(name, ".bias") || m.known(name)
}

func (m *model) known(name string) bool {
	id, ok := m.names().parse(name)
	return ok && id.Role != ""
}

// replaced reports whether something else holds what a tensor without elements
// stands for: packed weights, or the same tensor with a wrapper.
func (m *model) replaced(name string) bool {
	if m.unwrapped().all[name] > 0 {
		return true
	}
	stem, ok := strings.CutSuffix(name, ".weight")
	return ok && slices.ContainsFunc(packedLeaves, func(leaf string) bool {
		_, packed := m.Lookup(stem + "." + leaf)
		return packed
	})
}

// packedLeaves are what packed weights are called in the place of "weight".
var packedLeaves = []string{"qweight", "weight_packed", "q_weight", "W_q", "blocks", "trellis", "codes"}
