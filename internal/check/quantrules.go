package check

import (
	"fmt"
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
		Doc: `quant_method, and with it format, quant_algo or the number of bits, choose the code
that unpacks the weights. The scheme of the tensors follows from their dtypes and shapes.`,
		Bad: `"quant_method": "awq", qweight [512,4096] as GPTQ packs it`, Good: `"quant_method": "gptq"`,
	},
	{
		ID: "WT322", Name: "quantisation-numbers", Severity: checkpoint.Error, run: runQuantNumbers,
		Title: "bits, group size or activation order of config.json contradict the packed weights",
		Doc: `The shapes of packed weights and their scales tell how many bits an element has and how
many inputs share a scale. Modules that the configuration makes an exception for are left
alone.`,
		Bad: `"bits": 8, qweight [8,64] with scales [2,64] of groups of 32`, Good: `"bits": 4`,
	},
	{
		ID: "WT323", Name: "ignored-module-absent", Severity: checkpoint.Warning, run: runIgnoreStale,
		Title: "a module that quantization_config leaves out does not exist",
		Doc: `ignore, modules_to_not_convert and their like name modules as the model had them when it
was quantised. Where the tensors have other names, the loader asks for scales that do not
exist. Patterns and names of one word, which are written for many models, are not reported.`,
		Bad: "ignore names layers.0.linear_attn.in_proj_z, and the file has in_proj_qkvz", Good: "ignore names in_proj_qkvz",
	},
	{
		ID: "WT324", Name: "neither-ignored-nor-quantised", Severity: checkpoint.Error, run: runNotQuantised,
		Title: "a layer is not quantised and quantization_config does not leave it out",
		Doc: `The loader makes a quantised layer of it, and finds no packed weight and no scale.
Embeddings, heads, norms, routers and convolutions are not judged, nor parts of the model
without a quantised weight.`,
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
type quantClaim struct {
	doc    *checkpoint.Config
	at     checkpoint.ConfigValue // the object with the fields
	method string
}

// quantDocuments are the documents that say it where config.json does not, and what
// writes them: ModelOpt, AutoGPTQ, AutoAWQ.
var quantDocuments = []struct {
	name, method string
	path         []string
}{
	{"hf_quant_config.json", "modelopt", []string{"quantization"}},
	{"quantize_config.json", "gptq", nil},
	{"quant_config.json", "awq", nil},
}

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
	for _, key := range []string{"quantization_config", "compression_config"} {
		if v, ok := m.doc.Find(key); ok && v.Kind() == "object" {
			c := &quantClaim{doc: m.doc, at: v}
			c.method = strings.ToLower(c.text("quant_method"))
			return c
		}
	}
	for _, d := range quantDocuments {
		doc := p.document(m.Dir, d.name)
		if doc == nil {
			continue
		}
		if d.path == nil {
			return &quantClaim{doc: doc, at: doc.Root(), method: d.method}
		}
		if v, ok := doc.Find(d.path...); ok {
			return &quantClaim{doc: doc, at: v, method: d.method}
		}
	}
	return nil
}

func (c *quantClaim) find(path ...string) checkpoint.ConfigValue {
	v, _ := c.at.Find(path...)
	return v
}

func (c *quantClaim) text(path ...string) string {
	s, _ := c.find(path...).Text()
	return s
}

func (c *quantClaim) is(path ...string) bool {
	b, _ := c.find(path...).Bool()
	return b
}

// says returns a finding about a field of the claim.
func (c *quantClaim) says(m *model, key, format string, args ...any) Finding {
	v := c.find(key)
	if v.Kind() == "nothing" {
		v = c.at
	}
	return at(m.Path, c.doc, v, format, args...)
}

// laterMethods quantise plain weights when they are loaded, too.
var laterMethods = []string{"torchao", "quanto", "bitnet"}

// packedDTypes are those that only quantised matrices have.
var packedDTypes = []string{"I8", "U8", "I16", "U16", "I32", "U32", "F4", "F8_E4M3", "F8_E5M2"}

func runQuantConfig(p *Pass) {
	for m, c := range p.claims {
		r := m.quant()
		if quant.Methods(c.method) == nil || slices.Contains(laterMethods, c.method) || slices.ContainsFunc(r.Names(), func(s string) bool { return s != quant.Cast }) {
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
			p.report(c.says(m, "quant_method", "quant_method is %q, and no F8 weight has a scale", c.method))
		case packed && !beside:
			p.report(c.says(m, "quant_method", "quant_method is %q, and the packed weights have nothing beside them: no scale and no state", c.method))
		case !packed:
			p.report(c.says(m, "quant_method", "quant_method is %q, and no weight is quantised", c.method))
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

// formats are the schemes that further fields mean. Sources: CompressionFormat of
// compressed_tensors/config/format.py, the QUANTIZATION names of modelopt/torch/export/model_config.py.
var quantFormats = map[string]map[string][]string{
	"format": {
		"pack-quantized":        {"compressed-tensors"},
		"marlin-24":             {"compressed-tensors"},
		"nvfp4-pack-quantized":  {"nvfp4"},
		"mxfp4-pack-quantized":  {"mxfp4"},
		"float-quantized":       {"fp8-tensor", "fp8-channel", "fp8-group", "fp8-block"},
		"int-quantized":         {"int8-tensor", "int8-channel", "int8-group"},
		"naive-quantized":       {"fp8-tensor", "fp8-channel", "fp8-group", "fp8-block", "int8-tensor", "int8-channel", "int8-group"},
		"mxfp8-quantized":       {"mxfp8"},
		"nvfp4-pack_quantized":  {"nvfp4"},
		"float-quantized-block": {"fp8-block"},
	},
	"quant_algo": {
		"FP8":                       {"fp8-tensor"},
		"FP8_PER_CHANNEL_PER_TOKEN": {"fp8-channel"},
		"FP8_PB_WO":                 {"fp8-block"},
		"FP8_PB_REAL":               {"fp8-block"},
		"NVFP4":                     {"nvfp4"},
		"NVFP4_AWQ":                 {"nvfp4"},
		"W4A16_AWQ":                 {"modelopt-awq"},
		"W4A8_AWQ":                  {"modelopt-awq"},
		"MXFP8":                     {"mxfp8"},
		"W8A8_SQ_PER_CHANNEL":       {"int8-channel"},
	},
}

func runQuantScheme(p *Pass) {
	for m, c := range p.claims {
		// A mixture has more than one format.
		var have []string
		for _, s := range m.quant().Names() {
			if s != quant.Cast {
				have = append(have, s)
			}
		}
		want := quant.Methods(c.method)
		if len(have) == 0 || want == nil || m.NamesOnly() {
			continue
		}
		among := func(list []string) bool {
			return slices.ContainsFunc(have, func(s string) bool { return slices.Contains(list, s) })
		}
		if !among(want) {
			p.report(c.says(m, "quant_method", "quant_method is %q, and the weights are %s", c.method, strings.Join(have, " and ")))
			continue
		}
		for _, key := range []string{"format", "quant_algo"} {
			said := c.text(key)
			if list := quantFormats[key][said]; list != nil && !among(list) {
				p.report(c.says(m, key, "%s is %q, and the weights are %s", key, said, strings.Join(have, " and ")))
			}
		}
		p.strategies(m, c, have)
		if c.method == "bitsandbytes" {
			p.bitsandbytesScheme(m, c)
		}
	}
}

// strategies holds what compressed-tensors says of the scales against them, and the name
// of block scales against what readers of fp8 ask for.
func (p *Pass) strategies(m *model, c *quantClaim, have []string) {
	var said []string
	for _, g := range c.find("config_groups").Members() {
		v, _ := g.Find("weights", "strategy")
		if s, _ := v.Text(); s != "" {
			said = append(said, s)
		}
	}
	for _, scheme := range have {
		kind, strategy, ok := strings.Cut(scheme, "-")
		// A row of one group is a channel.
		if !ok || kind != "fp8" && kind != "int8" || len(said) == 0 || slices.Contains(said, strategy) || strategy == "channel" && slices.Contains(said, "group") && slices.Contains(have, kind+"-group") {
			continue
		}
		p.report(c.says(m, "config_groups", "the strategy of the weights is %s, and they are %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(said))), " and "), scheme))
	}
	if c.method != "fp8" || c.find("weight_block_size").Kind() != "array" {
		return
	}
	// transformers: integrations/finegrained_fp8.py; vLLM: quantization/fp8.py, create_weights.
	for _, mod := range m.quant().Modules {
		if mod.Scheme == nil || mod.Scheme.Name != "fp8-block" {
			continue
		}
		for _, t := range mod.Tensors {
			if t.Leaf == "weight_scale" {
				p.report(m.finding(mod.Index(&t), "a scale for blocks, which quant_method %q calls weight_scale_inv (%s)", c.method, c.place("quant_method")))
			}
		}
	}
}

// bitsandbytesScheme holds load_in_4bit and the type of the four bits against the names.
func (p *Pass) bitsandbytesScheme(m *model, c *quantClaim) {
	names := m.quant().Names()
	four, eight := slices.Contains(names, "bitsandbytes-4bit"), slices.Contains(names, "bitsandbytes-8bit")
	switch {
	case c.is("load_in_8bit") && four && !eight:
		p.report(c.says(m, "load_in_8bit", "load_in_8bit is true, and the weights are bitsandbytes-4bit"))
	case c.is("load_in_4bit") && eight && !four:
		p.report(c.says(m, "load_in_4bit", "load_in_4bit is true, and the weights are bitsandbytes-8bit"))
	}
	kind := c.text("bnb_4bit_quant_type")
	for _, mod := range m.quant().Modules {
		for _, t := range mod.Tensors {
			if have, ok := strings.CutPrefix(t.Leaf, "weight.quant_state.bitsandbytes__"); ok && kind != "" && have != kind {
				p.report(c.says(m, "bnb_4bit_quant_type", "bnb_4bit_quant_type is %q, and the weights are %s", kind, have))
				return
			}
		}
	}
}

// exceptions are the fields that give single modules other numbers: GPTQModel, AutoRound,
// mlx-lm's per module, Quark.
var exceptions = []string{"dynamic", "extra_config", "layer_quant_config", "quantized_layers"}

// leftOut begins the patterns of GPTQModel's dynamic that leave modules out
// (quantization/config.py, dynamic_get).
const leftOut = "-:"

// A packing is what a configuration says of the numbers of a group of modules.
type packing struct {
	bits, group int64 // 0 when not said; a group of -1 is a whole row
	key         string
}

// packings returns the numbers that modules may have, nil when it cannot be told.
func (c *quantClaim) packings() []packing {
	if slices.ContainsFunc(exceptions, func(key string) bool {
		for pattern := range c.find(key).Members() {
			if key != "dynamic" || !strings.HasPrefix(pattern, leftOut) {
				return true
			}
		}
		return false
	}) {
		return nil
	}
	first := func(keys ...string) int64 {
		for _, k := range keys {
			if n, ok := c.find(k).Int(); ok {
				return n
			}
		}
		return 0
	}
	var out []packing
	for _, g := range c.find("config_groups").Members() {
		w, ok := g.Find("weights")
		if !ok {
			continue
		}
		bits, _ := w.Find("num_bits")
		size, _ := w.Find("group_size")
		strategy, _ := w.Find("strategy")
		var pk packing
		pk.bits, _ = bits.Int()
		pk.group, _ = size.Int()
		if s, _ := strategy.Text(); s == "channel" {
			pk.group = -1
		}
		pk.key = "num_bits"
		out = append(out, pk)
	}
	if out == nil {
		if b := first("bits", "w_bit", "wbits"); b != 0 {
			out = append(out, packing{b, first("group_size", "q_group_size"), "bits"})
		}
	}
	return out
}

// numbered are the schemes in which bits and groups are the configuration's to say.
var numbered = []string{"gptq", "awq", "compressed-tensors", "mlx", "int8-group"}

func runQuantNumbers(p *Pass) {
	for m, c := range p.claims {
		packings, groups := c.packings(), adapt.ReadQuantGroups(c.doc)
		order := c.is("desc_act")
		for _, mod := range m.quant().Modules {
			if mod.Scheme == nil || !slices.Contains(numbered, mod.Scheme.Name) || mod.Groups == 0 {
				continue
			}
			if order && mod.Scheme.Name == "gptq" && !slices.ContainsFunc(mod.Tensors, func(t quant.Tensor) bool { return t.Leaf == "g_idx" }) {
				p.report(m.finding(mod.Index(&mod.Tensors[0]), "packed without a g_idx, and desc_act is true (%s)", c.place("desc_act")))
			}
			list := packings
			if g, ok := groups.Of(mod.Name); ok && len(list) > 0 {
				list = []packing{{g.Bits, g.Size, "num_bits"}}
			}
			if len(list) == 0 || slices.ContainsFunc(list, func(pk packing) bool { return pk.agrees(mod) }) {
				continue
			}
			if mod.Scheme.Name == "int8-group" {
				p.report(m.finding(mod.Index(&mod.Tensors[mod.WeightAt()]), "8 bits in groups of %d, and %s says %s", mod.Group, c.place(list[0].key), list[0]))
				continue
			}
			if mod.Bits == 0 {
				p.report(m.finding(mod.Index(&mod.Tensors[0]), "packed in %d × 32 bits with %s, and %s says %s", mod.Row/32, plural.Of(int(mod.Groups), "scale"), c.place(list[0].key), list[0]))
				continue
			}
			p.report(m.finding(mod.Index(&mod.Tensors[0]), "packed with %s in groups of %d, and %s says %s", plural.Of(mod.Bits, "bit"), mod.Group, c.place(list[0].key), list[0]))
		}
	}
}

// agrees reports whether a module can have been packed so.
func (pk packing) agrees(m *quant.Module) bool {
	if pk.bits < 0 || pk.bits > 32 {
		return false
	}
	in, bits := m.In, m.Bits
	if m.Scheme.Name == "int8-group" {
		bits = 8
	}
	if bits == 0 && pk.bits > 0 {
		in, bits = m.Row/uint64(pk.bits), uint64(pk.bits)
	}
	switch {
	case pk.bits > 0 && uint64(pk.bits) != bits:
		return false
	case in == 0 || pk.group == 0:
		return true
	case pk.group < 0:
		return m.Groups == 1
	}
	size := uint64(pk.group)
	return m.Groups == in/size+min(in%size, 1)
}

func (pk packing) String() string {
	switch {
	case pk.group < 0:
		return fmt.Sprintf("%s and one group", plural.Of(pk.bits, "bit"))
	case pk.group == 0:
		return plural.Of(pk.bits, "bit")
	}
	return fmt.Sprintf("%s in groups of %d", plural.Of(pk.bits, "bit"), pk.group)
}

// place says where a field is.
func (c *quantClaim) place(key string) string {
	v := c.find(key)
	if v.Kind() == "nothing" {
		v = c.at
	}
	return filepath.Base(c.doc.Path()) + ":" + position(v)
}

// ignoreKeys are the lists of modules that are not quantised: compressed-tensors; the
// quantizers of transformers; ModelOpt; Quark; bitsandbytes; vLLM's FP8.
var ignoreKeys = []string{"ignore", "modules_to_not_convert", "exclude_modules", "exclude", "llm_int8_skip_modules", "ignored_layers"}

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
	for _, key := range ignoreKeys {
		for _, v := range c.find(key).Elements() {
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
	for pattern, v := range c.find("dynamic").Members() {
		expr, out := strings.CutPrefix(pattern, leftOut)
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

// covers reports whether an entry means a module, or what contains it.
func (e *ignored) covers(module string) bool {
	found := false
	spellings(module, func(name string) bool {
		switch e.kind {
		case 'r':
			found = e.re.MatchString(name) || e.re.MatchString("model."+name) || e.re.MatchString(bare(name))
		case 'g':
			found = e.glob.Match(name) || e.glob.Match(bare(name)) || e.glob.Match("model."+name) || e.glob.Match("model."+bare(name)) || e.glob.Match(name+".")
			for at := strings.IndexByte(name, '.'); at > 0 && !found; {
				found = e.glob.Match(name[:at]) || e.glob.Match(bare(name[:at]))
				next := strings.IndexByte(name[at+1:], '.')
				if next < 0 {
					break
				}
				at += 1 + next
			}
		default:
			entry := bare(e.text)
			found = strings.HasPrefix(bare(name)+".", entry+".") || !strings.Contains(e.text, ".") && strings.Contains("."+name+".", "."+e.text+".")
		}
		return !found
	})
	return found
}

func runIgnoreStale(p *Pass) {
	for m, c := range p.claims {
		list, ok := c.ignores()
		if !ok || len(list) == 0 {
			continue
		}
		// Every module, and what contains it, as entries may call them.
		have := make(map[string]bool)
		for _, t := range m.All() {
			name := bare(t.Name)
			for at := len(name); at > 0; at = strings.LastIndexByte(name[:at], '.') {
				if have[name[:at]] {
					break
				}
				have[name[:at]] = true
				spellings(name[:at], func(s string) bool { have[s] = true; return true })
			}
		}
		for _, e := range list {
			if e.kind != 0 || !strings.Contains(e.text, ".") {
				continue
			}
			name := bare(e.text)
			// A head that is tied has no tensor. Experts may be stacked.
			stack, _, experts := strings.Cut(name, ".experts.")
			if have[name] || have[strings.TrimSuffix(name, ".weight")] || strings.HasSuffix(name, "lm_head") || experts && have[stack+".experts"] {
				continue
			}
			f := at(m.Path, c.doc, e.at, "the configuration leaves %s out, and no tensor is of this module", e.text)
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
		if k := c.find(key).Kind(); k == "object" || k == "array" || k == "string" {
			return false
		}
	}
	groups, all := 0, false
	for _, g := range c.find("config_groups").Members() {
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
		if !ok || !c.linearTarget() || c.method == "" || m.NamesOnly() || slices.Contains(laterMethods, c.method) {
			continue
		}
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
			// Other methods than compressed-tensors know layers that stay as they are.
			if !isWeight || !scopes[scope] || unjudgedName(module) || c.method != "compressed-tensors" && !leaves[lastWord(module)] {
				continue
			}
			for _, i := range t.members {
				tensor := m.At(int(i))
				if len(tensor.Shape) != 2 || min(tensor.Shape[0], tensor.Shape[1]) < 2 || !slices.Contains([]string{"F16", "BF16", "F32"}, tensor.DType) {
					continue
				}
				module := strings.TrimSuffix(tensor.Name, ".weight")
				if !slices.ContainsFunc(list, func(e ignored) bool { return e.covers(module) }) {
					p.report(m.finding(int(i), "%s: not quantised, and not left out by the configuration (%s)", tensor.DType, c.place("")))
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
		for _, mod := range m.quant().Modules {
			if mod.Scheme == nil || mod.Scheme.Name == quant.Cast {
				continue
			}
			for i := range list {
				if e := &list[i]; e.covers(mod.Name) && !strings.EqualFold(e.text, "gate") {
					p.report(m.finding(mod.Index(&mod.Tensors[0]), "quantised (%s), and %s leaves it out (%s)", mod.Scheme.Name, e.text, filepath.Base(c.doc.Path())+":"+position(e.at)))
					break
				}
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
			if strings.EqualFold(c.text("activation_scheme"), "static") {
				key = "activation_scheme"
			}
			for _, g := range c.find("config_groups").Members() {
				dynamic, said := g.Find("input_activations", "dynamic")
				if is, isBool := dynamic.Bool(); said && isBool && !is {
					key = "config_groups"
				}
			}
			if key != "" {
				p.report(c.says(m, key, "%s has fixed scales for activations, and none of the %s has an input_scale", key, plural.Of(n, "quantised weight")))
			}
		}
		if v := c.find("kv_cache_scheme"); v.Kind() == "object" {
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
