package check

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/template"
)

// The rules about quantization_config and the tensors.
var quantRules = []*Rule{
	{
		ID: "WT321", Name: "quantisation-scheme", Severity: checkpoint.Error, run: runQuantScheme,
		Title: "config.json says another scheme of quantisation than the tensors have",
		Doc: `quant_method, and with it format, quant_algo, the type and the strategy of the weights, choose
the code that unpacks them. The scheme of the tensors follows from their dtypes and shapes.`,
		Bad: `"quant_method": "awq", qweight [512,4096] as GPTQ packs it`, Good: `"quant_method": "gptq"`,
	},
	{
		ID: "WT322", Name: "quantisation-numbers", Severity: checkpoint.Error, run: runQuantNumbers,
		Title: "bits, groups, zero points or activation order of config.json contradict the quantised weights",
		Doc: `The shapes of quantised weights and their scales tell how many bits an element has and how
many inputs share a scale. Of several groups of modules each is held to its own. Modules that
the configuration makes an exception for are left alone.`,
		Bad: `"bits": 8, qweight [8,64] with scales [2,64] of groups of 32`, Good: `"bits": 4`,
	},
	{
		ID: "WT323", Name: "ignored-module-absent", Severity: checkpoint.Warning, run: runIgnoreStale,
		Title: "a module that quantization_config leaves out does not exist",
		Doc: `ignore, modules_to_not_convert and their like name modules as the model had them when it
was quantised. Where the tensors have other names, the loader asks for scales that do not
exist. So it is where compressed-tensors has them below another prefix than a class for text.
Patterns and names of one word, which are written for many models, are not reported.`,
		Bad: "ignore names layers.0.linear_attn.in_proj_z, and the file has in_proj_qkvz", Good: "ignore names in_proj_qkvz",
	},
	{
		ID: "WT324", Name: "neither-ignored-nor-quantised", Severity: checkpoint.Error, run: runNotQuantised,
		Title: "a layer is not quantised and quantization_config does not leave it out",
		Doc: `The loader makes a quantised layer of it, and finds no packed weight and no scale.
Embeddings, heads, norms, routers and convolutions are not judged, nor parts of the model
without a quantised weight. Of fp8 a kind of layer that is quantised nowhere is an error, too, and a
warning if nothing shows that it is a linear one.`,
		Bad: "in_proj_qkvz.weight BF16 among packed weights, no entry for it", Good: "the module in ignore",
	},
	{
		ID: "WT325", Name: "ignored-and-quantised", Severity: checkpoint.Error, run: runIgnoredQuantised,
		Title: "quantization_config leaves a module out that is quantised",
		Doc:   `The loader takes the packed weight for a plain one.`,
		Bad:   "ignore names layers.0.mlp.down_proj, which has a weight_packed", Good: "no entry for it",
	},
	{
		ID: "WT326", Name: "static-scales-absent", Severity: checkpoint.Error, run: runStaticScales,
		Title: "config.json says that activations have fixed scales and there are none",
		Doc: `With activation_scheme "static", or input_activations that are not dynamic, the loader
reads an input_scale for every quantised layer. For kv_cache_scheme it is a k_scale and
v_scale, and a warning: loaders go on with 1.`,
		Bad: `"activation_scheme": "static", no input_scale`, Good: `"activation_scheme": "dynamic"`,
	},
}

// A quantClaim is what the documents say of the quantisation of a model.
type quantClaim struct{ *adapt.QuantClaim }

// claims yields the models whose documents say that they are quantised.
func (p *Pass) claims(yield func(m *model, c *quantClaim) bool) {
	for _, m := range p.models {
		if m.Format == checkpoint.GGUF || m.partial() || m.names().Adapter {
			continue
		}
		if c := p.claim(m); c != nil && !yield(m, c) {
			return
		}
	}
}

func (p *Pass) claim(m *model) *quantClaim {
	c := adapt.ReadQuantClaim(m.doc, func(name string) *checkpoint.Config { return p.document(m.Dir, name) })
	if c == nil {
		return nil
	}
	return &quantClaim{c}
}

// says returns a finding about a field of the claim.
func (c *quantClaim) says(m *model, key, format string, args ...any) Finding {
	v := c.Find(key)
	if v.Kind() == "nothing" {
		v = c.At
	}
	return at(m.Path, c.Doc, v, format, args...)
}

// laterMethods quantise plain weights when they are loaded, too.
var laterMethods = []string{"torchao", "quanto", "bitnet"}

// packedDTypes are those that only quantised matrices have.
var packedDTypes = []string{"I8", "U8", "I16", "U16", "I32", "U32", "F4", "F8_E4M3", "F8_E5M2"}

func runQuantConfig(p *Pass) {
	for m, c := range p.claims {
		r := m.quant()
		if quant.Methods(c.Method) == nil || slices.Contains(laterMethods, c.Method) || slices.ContainsFunc(r.Names(), func(s string) bool { return s != quant.Cast }) {
			continue
		}
		// A layout that no scheme describes is not plain.
		packed, cast, beside := false, false, false
		for _, t := range m.All() {
			isPacked, isBeside := quant.Leaf(t.Name)
			is := len(t.Shape) > 1 && slices.Contains(packedDTypes, t.DType) || m.NamesOnly() && (isPacked || isBeside)
			packed = packed || is
			cast = cast || is && strings.HasPrefix(t.DType, "F8")
			beside = beside || isBeside || isPacked || is && !strings.HasSuffix(t.Name, ".weight")
		}
		switch {
		case len(r.Faults) > 0:
		case cast:
			p.report(c.says(m, "quant_method", "quant_method is %q, and no F8 weight has a scale", c.Method))
		case packed && !beside:
			p.report(c.says(m, "quant_method", "quant_method is %q, and the packed weights have nothing beside them: no scale and no state", c.Method))
		case !packed:
			p.report(c.says(m, "quant_method", "quant_method is %q, and no weight is quantised", c.Method))
		}
	}
}

func runQuantTensors(p *Pass) {
	for _, m := range p.models {
		if m.doc == nil || m.doc.Has("quantization") || m.names().Adapter || p.claim(m) != nil {
			continue
		}
		for _, mod := range m.quant().Modules {
			// Files of programs without a config.json say it themselves.
			if mod.Scheme == nil || mod.Scheme.Name == quant.Cast || slices.ContainsFunc(mod.Scheme.Methods, func(s string) bool { return s == "comfy" || s == "svdquant" }) {
				continue
			}
			i := mod.Index(&mod.Tensors[0])
			f := m.finding(i, "quantised (%s), and config.json has no quantization_config", strings.Join(m.quant().Names(), ", "))
			f.Count = m.quant().Uses[0].Modules
			p.report(f)
			break
		}
		if len(m.quant().Names()) > 0 {
			continue
		}
		for _, t := range m.families() {
			if strings.HasSuffix(t.first, ".k_scale") || strings.HasSuffix(t.first, ".v_scale") || strings.HasSuffix(t.first, ".kv_scale") {
				f := m.finding(int(t.members[0]), "a scale of the key/value cache, and config.json has no quantization_config")
				f.Count = len(t.members)
				p.report(f)
			}
		}
	}
}

func runQuantScheme(p *Pass) {
	for m, c := range p.claims {
		if m.NamesOnly() {
			continue
		}
		for _, x := range c.Schemes(m.quant()) {
			p.report(c.says(m, x.Key, "%s, and the weights are %s", x.Said, x.Have))
		}
		p.contradictions(m, c, false)
		p.blockScales(m, c)
		if c.Method == "bitsandbytes" {
			p.bitsandbytesScheme(m, c)
		}
	}
}

// contradictions reports the weights of which the documents say something else than they are.
func (p *Pass) contradictions(m *model, c *quantClaim, numbers bool) {
	judge := c.Judge()
	for _, mod := range m.quant().Modules {
		if mod.Scheme == nil || mod.Scheme.Name == quant.Cast {
			continue
		}
		if x := judge.Contradiction(mod); x != nil && x.Numbers == numbers {
			p.report(m.finding(mod.Index(&mod.Tensors[mod.WeightAt()]), "%s, and %s says %s", x.Have, c.place(x.Key), x.Said))
		}
	}
}

// blockScales holds the name of block scales against what readers of fp8 ask for
// (transformers: integrations/finegrained_fp8.py; vLLM: quantization/fp8.py, create_weights).
func (p *Pass) blockScales(m *model, c *quantClaim) {
	if c.Method != "fp8" || c.Find("weight_block_size").Kind() != "array" {
		return
	}
	for _, mod := range m.quant().Modules {
		if mod.Scheme == nil || mod.Scheme.Name != "fp8-block" {
			continue
		}
		for _, t := range mod.Tensors {
			if t.Leaf == "weight_scale" {
				p.report(m.finding(mod.Index(&t), "a scale for blocks, which quant_method %q calls weight_scale_inv (%s)", c.Method, c.place("quant_method")))
			}
		}
	}
}

// bitsandbytesScheme holds load_in_4bit and the type of the four bits against the names.
func (p *Pass) bitsandbytesScheme(m *model, c *quantClaim) {
	names := m.quant().Names()
	four, eight := slices.Contains(names, "bitsandbytes-4bit"), slices.Contains(names, "bitsandbytes-8bit")
	switch {
	case c.Is("load_in_8bit") && four && !eight:
		p.report(c.says(m, "load_in_8bit", "load_in_8bit is true, and the weights are bitsandbytes-4bit"))
	case c.Is("load_in_4bit") && eight && !four:
		p.report(c.says(m, "load_in_4bit", "load_in_4bit is true, and the weights are bitsandbytes-8bit"))
	}
	kind := c.Text("bnb_4bit_quant_type")
	for _, mod := range m.quant().Modules {
		for _, t := range mod.Tensors {
			if have, ok := strings.CutPrefix(t.Leaf, "weight.quant_state.bitsandbytes__"); ok && kind != "" && have != kind {
				p.report(c.says(m, "bnb_4bit_quant_type", "bnb_4bit_quant_type is %q, and the weights are %s", kind, have))
				return
			}
		}
	}
}

func runQuantNumbers(p *Pass) {
	for m, c := range p.claims {
		if m.NamesOnly() {
			continue
		}
		if c.Is("desc_act") {
			for _, mod := range m.quant().Modules {
				if mod.Scheme != nil && mod.Scheme.Name == "gptq" && !slices.ContainsFunc(mod.Tensors, func(t quant.Tensor) bool { return t.Leaf == "g_idx" }) {
					p.report(m.finding(mod.Index(&mod.Tensors[0]), "packed without a g_idx, and desc_act is true (%s)", c.place("desc_act")))
				}
			}
		}
		p.contradictions(m, c, true)
	}
}

// place says where a field is.
func (c *quantClaim) place(key string) string {
	v := c.Find(key)
	if v.Kind() == "nothing" {
		v = c.At
	}
	return filepath.Base(c.Doc.Path()) + ":" + position(v)
}

// An ignored is an entry of such a list.
type ignored struct {
	text string
	at   checkpoint.ConfigValue
	re   *regexp.Regexp
	glob template.Glob
	kind byte // 0 a name, 'r' a regular expression, 'g' a glob
}

// ignores reads the lists, and the patterns of dynamic. It is not ok when an entry cannot be understood.
func (c *quantClaim) ignores() (list []ignored, ok bool) {
	for _, key := range adapt.IgnoreKeys {
		for _, v := range c.Find(key).Elements() {
			s, isText := v.Text()
			if !isText || s == "" {
				continue
			}
			e := ignored{text: s, at: v}
			if expr, found := strings.CutPrefix(s, "re:"); found {
				// Python's re.match is anchored at the beginning only.
				re, err := regexp.Compile(`^(?:` + expr + `)`)
				if err != nil {
					return nil, false
				}
				e.re, e.kind = re, 'r'
			} else if strings.ContainsAny(s, "*?[") {
				g, err := template.ParseGlob(s)
				if err != nil {
					return nil, false
				}
				e.glob, e.kind = g, 'g'
			}
			list = append(list, e)
		}
	}
	for pattern, v := range c.Find("dynamic").Members() {
		expr, out := strings.CutPrefix(pattern, adapt.LeftOut)
		if !out {
			continue
		}
		re, err := regexp.Compile(`^(?:` + expr + `)`)
		if err != nil {
			return nil, false
		}
		list = append(list, ignored{text: pattern, at: v, re: re, kind: 'r'})
	}
	return list, true
}

// wrappings are the segments at the beginning of a module's name in which classes that
// load the same files differ.
var wrappings = []string{"model", "language_model", "module", "transformer", "base_model", "thinker", "llm", "backbone", "text_model"}

// bare takes them off.
func bare(module string) string {
	for {
		first, rest, ok := strings.Cut(module, ".")
		if !ok || !slices.Contains(wrappings, first) {
			return module
		}
		module = rest
	}
}

// fusions are projections that loaders store as one or apart: vLLM's packed_modules_mapping.
var fusions = map[string][]string{
	"qkv_proj":     {"q_proj", "k_proj", "v_proj"},
	"gate_up_proj": {"gate_proj", "up_proj"},
	"qkv":          {"q", "k", "v"},
}

// spellings yields a module's name as an entry may have it.
func spellings(module string, yield func(string) bool) {
	if !yield(module) {
		return
	}
	stem, last := "", module
	if i := strings.LastIndexByte(module, '.'); i >= 0 {
		stem, last = module[:i+1], module[i+1:]
	}
	for whole, parts := range fusions {
		if last == whole {
			for _, part := range parts {
				if !yield(stem + part) {
					return
				}
			}
		} else if slices.Contains(parts, last) && !yield(stem+whole) {
			return
		}
	}
}

// matches reports whether a pattern means a module, or what contains it.
func (e *ignored) matches(name string) bool {
	if e.kind == 'r' {
		return e.re.MatchString(name) || e.re.MatchString("model."+name) || e.re.MatchString(bare(name))
	}
	found := e.glob.Match(name) || e.glob.Match(bare(name)) || e.glob.Match("model."+name) || e.glob.Match("model."+bare(name)) || e.glob.Match(name+".")
	for at := strings.IndexByte(name, '.'); at > 0 && !found; {
		found = e.glob.Match(name[:at]) || e.glob.Match(bare(name[:at]))
		next := strings.IndexByte(name[at+1:], '.')
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return found
}

// mostSegments is more than the name of any module has.
const mostSegments = 64

// An ignoreIndex finds the entry that means a module. Lists have thousands of names, and models
// tens of thousands of modules.
type ignoreIndex struct {
	list     []ignored
	names    map[string]int // without wrappings
	words    map[string]int // of one segment, anywhere in a name
	patterns []int
}

func indexIgnored(list []ignored) *ignoreIndex {
	x := &ignoreIndex{list: list, names: make(map[string]int), words: make(map[string]int)}
	for i := range slices.Backward(list) { // the first of several counts
		e := &list[i]
		if e.kind != 0 {
			x.patterns = append(x.patterns, i)
			continue
		}
		x.names[bare(e.text)] = i
		if !strings.Contains(e.text, ".") {
			x.words[e.text] = i
		}
	}
	slices.Reverse(x.patterns)
	return x
}

// covering returns the first entry that means a module, or what contains it, nil for none.
func (x *ignoreIndex) covering(module string) *ignored {
	first := len(x.list)
	look := func(in map[string]int, key string) {
		if i, ok := in[key]; ok {
			first = min(first, i)
		}
	}
	spellings(module, func(name string) bool {
		inner := bare(name)
		for at, n := 0, 0; n < mostSegments; n++ {
			end := strings.IndexByte(inner[at:], '.')
			if end < 0 {
				look(x.names, inner)
				break
			}
			look(x.names, inner[:at+end])
			at += end + 1
		}
		for word := range strings.SplitSeq(name, ".") {
			look(x.words, word)
		}
		for _, i := range x.patterns {
			if i < first && x.list[i].matches(name) {
				first = i
			}
		}
		return true
	})
	if first == len(x.list) {
		return nil
	}
	return &x.list[first]
}

func runIgnoreStale(p *Pass) {
	for m, c := range p.claims {
		list, ok := c.ignores()
		if !ok || len(list) == 0 {
			continue
		}
		// Every module, and what contains it, as entries may call them, and what precedes that.
		prefixes := make(map[string]string)
		for _, t := range m.All() {
			name := bare(t.Name)
			prefix := strings.TrimSuffix(t.Name, name)
			if strings.Count(name, ".") > mostSegments {
				continue
			}
			for at := len(name); at > 0; at = strings.LastIndexByte(name[:at], '.') {
				if _, ok := prefixes[name[:at]]; ok {
					break
				}
				spellings(name[:at], func(s string) bool { prefixes[s] = prefix; return true })
			}
		}
		has := func(name string) bool { _, ok := prefixes[name]; return ok }
		// compressed-tensors looks for an entry among the whole names of the modules
		// (match_named_modules; vLLM: is_equal_or_regex_match).
		whole := c.Method == "compressed-tensors" && m.namedAsClass()
		for _, e := range list {
			if e.kind != 0 || !strings.Contains(e.text, ".") {
				continue
			}
			name := bare(e.text)
			// A head that is tied has no tensor. Experts may be stacked.
			stack, _, experts := strings.Cut(name, ".experts.")
			var f Finding
			switch prefix := prefixes[name]; {
			case whole && has(name) && e.text != prefix+name:
				f = at(m.Path, c.Doc, e.at, "the configuration leaves %s out, and the module is %s; %s compares whole names", e.text, prefix+name, c.Method)
			case has(name), has(strings.TrimSuffix(name, ".weight")), strings.HasSuffix(name, "lm_head"), experts && has(stack+".experts"):
				continue
			default:
				f = at(m.Path, c.Doc, e.at, "the configuration leaves %s out, and no tensor is of this module", e.text)
			}
			f.Tensor = e.text
			p.report(f)
		}
	}
}

// unjudged are words in the names of modules that loaders do not quantise by themselves.
var unjudged = []string{"norm", "embed", "embd", "wte", "wpe", "head", "router", "gate", "conv", "conv1d", "shared_expert_gate", "eh_proj", "lora", "position", "visual", "vision", "mtp", "classifier", "score", "pooler", "projector", "indexer", "weights_proj"}

func unjudgedName(module string) bool {
	for s := range strings.SplitSeq(module, ".") {
		if slices.Contains(unjudged, s) || strings.Contains(s, "norm") || strings.Contains(s, "embed") || strings.Contains(s, "conv1d") || strings.Contains(s, "lora_") || strings.Contains(s, "router") {
			return true
		}
	}
	return false
}

// linearTarget reports whether the configuration quantises every linear layer: it has no
// targets, or Linear among them.
func (c *quantClaim) linearTarget() bool {
	for _, key := range []string{"modules_in_block_to_quantize", "modules_to_quantize", "quantized_layers", "extra_config", "block_name_to_quantize", "layer_quant_config"} {
		if k := c.Find(key).Kind(); k == "object" || k == "array" || k == "string" {
			return false
		}
	}
	groups, all := 0, false
	for _, g := range c.Find("config_groups").Members() {
		groups++
		targets, _ := g.Find("targets")
		for _, t := range targets.Elements() {
			s, _ := t.Text()
			all = all || s == "Linear"
		}
	}
	return groups == 0 || all
}

func runNotQuantised(p *Pass) {
	for m, c := range p.claims {
		list, ok := c.ignores()
		if !ok || !c.linearTarget() || c.Method == "" || m.NamesOnly() || slices.Contains(laterMethods, c.Method) {
			continue
		}
		left := indexIgnored(list)
		scopes := make(map[string]bool)
		leaves := make(map[string]bool) // last words of quantised modules
		for _, mod := range m.quant().Modules {
			if mod.Scheme != nil && mod.Scheme.Name != quant.Cast {
				if scope := layerScope(mod.Name); scope != "" {
					scopes[scope] = true
				}
				leaves[lastWord(mod.Name)] = true
			}
		}
		for _, t := range m.families() {
			module, isWeight := strings.CutSuffix(t.first, ".weight")
			scope := layerScope(module)
			if !isWeight || !scopes[scope] || unjudgedName(module) {
				continue
			}
			severity := checkpoint.Error
			if !leaves[lastWord(module)] && c.Method != "compressed-tensors" {
				// Of other methods fp8 takes every linear layer that is not left out, and refuses
				// one that is not quantised (transformers: quantizer_finegrained_fp8.py). What is
				// not known to be linear may be a parameter, and the others know layers that stay.
				role := m.names().ids[t].Role
				switch {
				case c.Method != "fp8":
					continue
				case !strings.HasPrefix(role, "layer.attn.") && !strings.HasPrefix(role, "layer.mlp."):
					severity = checkpoint.Warning
				}
			}
			for _, i := range t.members {
				tensor := m.At(int(i))
				if len(tensor.Shape) != 2 || min(tensor.Shape[0], tensor.Shape[1]) < 2 || !slices.Contains([]string{"F16", "BF16", "F32"}, tensor.DType) {
					continue
				}
				module := strings.TrimSuffix(tensor.Name, ".weight")
				if left.covering(module) == nil {
					p.grade(severity, m.finding(int(i), "%s: not quantised, and not left out by the configuration (%s)", tensor.DType, c.place("")))
				}
			}
		}
	}
}

func lastWord(module string) string { return module[strings.LastIndexByte(module, '.')+1:] }

// layerScope returns what is before a module's layer number, "" without one.
func layerScope(module string) string {
	before, _, _, ok := template.Layer(module)
	if !ok {
		return ""
	}
	return before
}

func runIgnoredQuantised(p *Pass) {
	for m, c := range p.claims {
		list, ok := c.ignores()
		if !ok || len(list) == 0 {
			continue
		}
		left := indexIgnored(slices.DeleteFunc(list, func(e ignored) bool { return strings.EqualFold(e.text, "gate") }))
		for _, mod := range m.quant().Modules {
			if mod.Scheme == nil || mod.Scheme.Name == quant.Cast {
				continue
			}
			if e := left.covering(mod.Name); e != nil {
				p.report(m.finding(mod.Index(&mod.Tensors[0]), "quantised (%s), and %s leaves it out (%s)", mod.Scheme.Name, e.text, filepath.Base(c.Doc.Path())+":"+position(e.at)))
			}
		}
	}
}

func runStaticScales(p *Pass) {
	for m, c := range p.claims {
		n, inputs := 0, 0
		for _, mod := range m.quant().Modules {
			if mod.Scheme == nil || mod.Scheme.Name == quant.Cast {
				continue
			}
			n++
			if slices.ContainsFunc(mod.Tensors, func(t quant.Tensor) bool {
				return strings.Contains(t.Leaf, "input_") && strings.Contains(t.Leaf, "scale") || strings.Contains(t.Leaf, "act")
			}) {
				inputs++
			}
		}
		if n == 0 {
			continue
		}
		if inputs == 0 {
			key := ""
			if strings.EqualFold(c.Text("activation_scheme"), "static") {
				key = "activation_scheme"
			}
			for _, g := range c.Find("config_groups").Members() {
				dynamic, said := g.Find("input_activations", "dynamic")
				if is, isBool := dynamic.Bool(); said && isBool && !is {
					key = "config_groups"
				}
			}
			if key != "" {
				p.report(c.says(m, key, "%s has fixed scales for activations, and none of the %s has an input_scale", key, plural.Of(n, "quantised weight")))
			}
		}
		if v := c.Find("kv_cache_scheme"); v.Kind() == "object" {
			dynamic, _ := v.Find("dynamic")
			is, _ := dynamic.Bool()
			if !is && !slices.ContainsFunc(m.families(), func(t *family) bool {
				return strings.HasSuffix(t.first, "k_scale") || strings.HasSuffix(t.first, "kv_scale")
			}) {
				p.grade(checkpoint.Warning, c.says(m, "kv_cache_scheme", "kv_cache_scheme has fixed scales for the cache, and no tensor is a k_scale"))
			}
		}
	}
}
