package check

import (
	"reflect"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/template"
)

var nameRules = []*Rule{
	{
		ID: "WT401", Name: "near-miss", Severity: checkpoint.Warning, run: runNearMiss,
		Title: "the names are a few templates away from a convention that loaders know",
		Doc: `A known model whose tensors were renamed in a few places: loaders fail on the rest.
Where the tool knows what each of the tensors is for, fix renames them.`,
		Bad:  "model.layers.0.ln1.weight in an otherwise LLaMA checkpoint",
		Good: "model.layers.0.input_layernorm.weight",
		Fix:  &Fix{Kind: FixNames, Doc: "renames the tensors to the nearest convention's names", translate: (*model).nearest},
	},
	{
		ID: "WT402", Name: "wrapper-prefix", Severity: checkpoint.Error, run: runWrappers,
		Title: "a training framework's wrapper is left in the names",
		Doc: `torch.compile, DDP, FSDP, DeepSpeed, PEFT and others put segments of their own into
names, of all tensors or of some. Loaders do not know such names; PEFT loads zeros with a
warning. A segment of nobody's that is left out of the names of a known model is one, too.
Of a module that PEFT trained whole, modules_to_save is the trained copy and original_module
the one before. Where the name without a wrapper belongs to another tensor, or an adapter that
is not merged is in the file, nothing is renamed.`,
		Bad: "_orig_mod.model.norm.weight", Good: "model.norm.weight",
		Fix: &Fix{
			Kind: FixNames, Doc: "takes the wrappers out of the names", clean: (*model).unwrap,
			drop: func(m *model, name string) string {
				if i, ok := m.Lookup(name); ok && m.stub(i) {
					return "it has no data, and a tensor with a wrapper gets its name"
				}
				if m.superseded(name) {
					return "the copy before training, and the trained one gets its name"
				}
				return ""
			},
		},
	},
	{
		ID: "WT403", Name: "doubled-prefix", Severity: checkpoint.Warning, run: runDoubled,
		Title: "a prefix or a segment appears twice in the names",
		Doc: `Saving a model that was loaded under a prefix puts the prefix there again. Nothing
else can load model.model.layers or model.language_model.language_model.layers. So it is with
layers.layers.0, where the names without the second are those of a model that is known and whole.`,
		Bad: "model.model.layers.0.mlp.up_proj.weight", Good: "model.layers.0.mlp.up_proj.weight",
		Fix: &Fix{Kind: FixNames, Doc: "takes the second of them out of the names", clean: (*model).single},
	},
	{
		ID: "WT404", Name: "layer-gap", Severity: checkpoint.Error, run: runLayerGaps,
		Title: "a layer in the middle has no tensors",
		Doc:   `The numbers of the layers go on behind a gap: a shard is missing or was left out.`,
		Bad:   "layers 0 to 14 and 16 to 31", Good: "layers 0 to 31",
	},
	{
		ID: "WT405", Name: "incomplete-layer", Severity: checkpoint.Warning, run: runIncompleteLayer,
		Title: "a layer lacks a tensor that the layers around it have",
		Doc: `All but at most two layers have the tensor, and the first and the last are not the
exceptions that many architectures make. An expert that one layer lacks is an error.`,
		Bad: "mlp.down_proj.weight in layers 0 to 9 and 11 to 31", Good: "in layers 0 to 31",
	},
	{
		ID: "WT406", Name: "odd-shape", Severity: checkpoint.Warning, run: runOddShape,
		Title: "a tensor's shape differs in a layer or two",
		Doc: `At most two layers in the middle differ from all others: they are of another version
of the weights. Architectures whose layers differ by design differ in more of them.`,
		Bad: "down_proj.weight [4096,11008], in layer 7 [4096,14336]", Good: "the same shape in every layer",
	},
	{
		ID: "WT407", Name: "odd-dtype", Severity: checkpoint.Warning, run: runOddDType,
		Title: "a tensor's dtype differs in a layer or two",
		Doc: `At most two layers in the middle differ from all others, which surprises loaders that
look at the first layer alone. Quantised mixes are left alone.`,
		Bad: "input_layernorm.weight BF16, in layer 7 F32", Good: "the same dtype in every layer",
	},
	{
		ID: "WT408", Name: "buffers", Severity: checkpoint.Info, run: runBuffers,
		Title: "buffers that follow from the configuration are stored",
		Doc: `Rotary frequencies, causal masks and position numbers are computed by every loader.
Stored, they are unexpected tensors, and stale when the configuration changes.`,
		Bad: "model.layers.0.self_attn.rotary_emb.inv_freq", Good: "no buffers",
		Fix: dropBuffers,
	},
	{
		ID: "WT409", Name: "long-name", Severity: checkpoint.Info, run: runLongNames,
		Profiles: map[Profile]checkpoint.Severity{LlamaCpp: checkpoint.Warning},
		Title:    "a name of 64 bytes or more cannot become a GGUF name as it is",
		Doc: `Converters that keep the names that they do not know write GGUF files that llama.cpp
refuses, or whose names others cut. Only models that llama.cpp has are looked at, and of
them the names that their convention does not have.`,
		Bad: "a name of 70 bytes", Good: "names of at most 63 bytes",
	},
	{
		ID: "WT410", Name: "legacy-leaf", Severity: checkpoint.Warning, run: runLegacy,
		Title: "leaves are spelled as they were before PyTorch",
		Doc: `LayerNorm.gamma and LayerNorm.beta come from TensorFlow. Loaders used to rewrite them
silently, in any name that held the letters; current ones do not.`,
		Bad: "bert.embeddings.LayerNorm.gamma", Good: "bert.embeddings.LayerNorm.weight",
		Fix: &Fix{Kind: FixNames, Doc: "renames gamma to weight and beta to bias", clean: func(_ *model, name string) string { return modernLeaf(name) }},
	},
	{
		ID: "WT411", Name: "bare-model", Severity: checkpoint.Info, run: runBareModel,
		Title: "the prefix of the convention is absent, as in a save of the bare model",
		Doc: `Transformers adds the prefix where the class asks for it, other loaders do not, and
then leave every weight unloaded.`,
		Bad: "h.0.attn.c_attn.weight", Good: "transformer.h.0.attn.c_attn.weight",
	},
	{
		ID: "WT412", Name: "training-state", Severity: checkpoint.Warning, run: runTrainingState,
		Title: "the state of an optimizer is among the weights",
		Doc:   `Moments and steps of an optimizer are two thirds of a training checkpoint's size and of no use to anybody who loads the model.`,
		Bad:   "optimizer.state.exp_avg.0", Good: "the weights alone",
	},
	{
		ID: "WT413", Name: "adapter-name", Severity: checkpoint.Error, run: runAdapterName,
		Title: "the adapter's name is left in the keys",
		Doc: `In memory PEFT's keys have the name of the adapter, lora_A.default.weight; on disk
they do not, and what has it is not loaded.`,
		Bad: "base_model.model.q_proj.lora_A.default.weight", Good: "base_model.model.q_proj.lora_A.weight",
		Fix: &Fix{Kind: FixNames, Doc: "takes the adapter's name out of the names", clean: func(_ *model, name string) string { return adapter.Anonymous(name) }},
	},
	{
		ID: "WT414", Name: "half-flattened", Severity: checkpoint.Error, run: runHalfFlat,
		Title: "dots are left in adapter names that have underscores for them",
		Doc: `Loaders of kohya's spelling look for the whole path of a module with an underscore for
every dot. What has some of its dots left is reported as “lora key not loaded” at most.`,
		Bad: "lora_unet_blocks_0.self_attn.k.lora_down.weight", Good: "lora_unet_blocks_0_self_attn_k.lora_down.weight",
		Fix: &Fix{Kind: FixNames, Doc: "writes underscores for the dots", clean: func(m *model, name string) string {
			if a := m.adapter(); a != nil {
				return a.Flattened(name)
			}
			return name
		}},
	},
}

// target returns the convention that the names of a near miss are to become,
// and false where names alone do not get there.
func (n *naming) target() (*convention.Convention, bool) {
	if n.conv == nil || n.conv.VariantOf == "" {
		return nil, false
	}
	to, ok := convention.Lookup(n.conv.VariantOf)
	if !ok {
		return nil, false
	}
	a, b := n.conv.Layout, to.Layout
	a.Notes, b.Notes = nil, nil
	return to, reflect.DeepEqual(a, b) && to.Refuse == ""
}

// nearName returns the name that a tensor of a near miss has in the nearest
// convention.
func (n *naming) nearName(to *convention.Convention, name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, n.prefix)
	if !ok {
		return "", false
	}
	id, ok := n.conv.Parse(n.base + rest)
	base := n.base
	if !ok && n.base != "" {
		id, ok = n.conv.Parse(rest)
		base = ""
	}
	if !ok {
		return "", false
	}
	out, ok := to.Format(id)
	if !ok || !strings.HasPrefix(out, base) {
		return "", false
	}
	return n.prefix + out[len(base):], true
}

// maxNear is from how many templates on a difference is no near miss.
const maxNear = 4

func runNearMiss(p *Pass) {
	for _, m := range p.models {
		n := m.names()
		if n.Adapter {
			continue
		}
		if to, ok := n.target(); ok {
			p.nearMisses(m, n, to)
			continue
		}
		p.slips(m)
	}
}

// slips compares the names with the conventions of the model that config.json
// names, and reports what none of them has, when it is so little that a slip is
// likelier than another model.
func (p *Pass) slips(m *model) {
	kind, ok := m.doc.Text("model_type")
	if !ok || m.Format == checkpoint.GGUF || m.partial() {
		return
	}
	var best *convention.Convention
	var extra []*family
	var missing []string
	for _, c := range convention.All() {
		// A spelling that was given up is nothing to come near to.
		if !c.HasFamily(kind) || !c.HasDialect("hf") || c.VariantOf != "" {
			continue
		}
		e, lacks := m.differences(c)
		if best == nil || len(e)+len(lacks) < len(extra)+len(missing) {
			best, extra, missing = c, e, lacks
		}
	}
	const most = 2
	if best == nil || len(extra) == 0 || len(missing) == 0 || len(extra) > most || len(missing) > most {
		return
	}
	for _, t := range extra {
		for _, i := range t.members {
			p.report(m.finding(int(i), "%s, which %s models use, does not have this name, and lacks %s", best.Name, kind, strings.Join(missing, " and ")))
		}
	}
}

// differences returns the templates that a convention does not know, and how it
// would name those that it needs and the model lacks.
func (m *model) differences(c *convention.Convention) (extra []*family, missing []string) {
	fit, _ := m.names().Fit(c)
	for _, t := range m.families() {
		if p := fit.Place(t.first); p.Tensor == nil && !p.Buffer && !isBuffer(t.first) {
			extra = append(extra, t)
		}
	}
	for _, t := range fit.Missing {
		if !t.Buffer {
			missing = append(missing, t.Pattern.String())
		}
	}
	return extra, missing
}

func (p *Pass) nearMisses(m *model, n *naming, to *convention.Convention) {
	type renamed struct {
		t  *family
		to string
	}
	var list []renamed
	for _, t := range m.families() {
		if name, ok := n.nearName(to, t.first); ok && name != t.first {
			list = append(list, renamed{t, name})
		}
	}
	if len(list) > maxNear {
		return // another convention rather than a slip
	}
	for _, r := range list {
		for _, i := range r.t.members {
			f := m.finding(int(i), "is %s in %s, which these names miss by %s", generic(r.to), to.Name, plural.Of(len(list), "template"))
			f.Fixable = true
			p.report(f)
		}
	}
}

// buffers are the ends of names that follow from the configuration.
var buffers = []string{
	"rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached", "rotary_emb.original_inv_freq", "rotary_pos_emb.inv_freq",
	"attn.masked_bias", "attention.masked_bias", "embeddings.position_ids", "rope.freqs", "freqs_cis",
}

func isBuffer(name string) bool {
	return slices.ContainsFunc(buffers, func(b string) bool {
		rest, ok := strings.CutSuffix(name, b)
		return ok && (rest == "" || strings.HasSuffix(rest, "."))
	})
}

func runBuffers(p *Pass) {
	for _, m := range p.models {
		for _, t := range m.families() {
			if !isBuffer(t.first) || m.Format == checkpoint.GGUF {
				continue
			}
			f := m.finding(int(t.members[0]), "a buffer, which loaders compute from the configuration")
			f.Fixable = true
			for _, i := range t.members {
				f.Tensor = m.At(int(i)).Name
				p.report(f)
			}
		}
	}
}

// maxGGUFName is the longest name that ggml has room for (GGML_MAX_NAME).
const maxGGUFName = 63

func runLongNames(p *Pass) {
	for _, m := range p.models {
		if m.Format == checkpoint.GGUF || m.isAdapter() {
			continue
		}
		longest, count := 0, 0
		for _, t := range m.families() {
			// Names that a converter translates become shorter.
			if len(t.first) <= maxGGUFName-maxLonger || m.names().Convention != "" && !slices.Contains(m.names().Extra, templateText(t.first)) {
				continue
			}
			for _, i := range t.members {
				name := m.At(int(i)).Name
				if len(name) <= maxGGUFName {
					continue
				}
				if count++; count == 1 || len(name) > len(m.At(longest).Name) {
					longest = int(i)
				}
			}
		}
		if count > 0 && m.becomesGGUF() {
			f := m.finding(longest, "%d bytes, where a GGUF name has room for %d; it is the longest of %s", len(m.At(longest).Name), maxGGUFName, plural.Of(count, "such name"))
			p.report(f)
		}
	}
}

// maxLonger is how much longer than the first of its template a name may be:
// by the digits of its numbers.
const maxLonger = 16

// templateText writes a template as identify does.
func templateText(name string) string {
	return template.Words.Replace(name, func(int, string) string { return "{}" })
}

// becomesGGUF reports whether llama.cpp has the architecture of a model.
func (m *model) becomesGGUF() bool {
	families := slices.Clone(m.names().Families)
	if kind, ok := m.doc.Text("model_type"); ok {
		families = append(families, kind)
	}
	for _, c := range convention.All() {
		if c.HasDialect("gguf") && slices.ContainsFunc(families, c.HasFamily) {
			return true
		}
	}
	return false
}

// modernLeaf returns a name with the leaf's current spelling.
func modernLeaf(name string) string {
	if stem, ok := strings.CutSuffix(name, "LayerNorm.gamma"); ok {
		return stem + "LayerNorm.weight"
	}
	if stem, ok := strings.CutSuffix(name, "LayerNorm.beta"); ok {
		return stem + "LayerNorm.bias"
	}
	return name
}

func runLegacy(p *Pass) {
	for _, m := range p.models {
		for _, t := range m.families() {
			if modernLeaf(t.first) == t.first {
				continue
			}
			for _, i := range t.members {
				f := m.finding(int(i), "a leaf of TensorFlow; the name is %s", generic(modernLeaf(m.At(int(i)).Name)))
				f.Fixable = true
				p.report(f)
			}
		}
	}
}

func runBareModel(p *Pass) {
	for _, m := range p.models {
		// A part of a model below a prefix of its own is no bare model.
		if n := m.names(); n.BaseAbsent != "" && n.prefix == "" && n.conv != nil && n.conv.HasDialect("hf") && !n.Adapter && len(n.Wrappers) == 0 && !m.partial() {
			p.report(m.whole("the names lack the prefix %s of %s", n.BaseAbsent, n.Convention))
		}
	}
}

// ofOptimizer reports whether a name is that of an optimizer's state.
func ofOptimizer(name string) bool {
	first, _, _ := strings.Cut(name, ".")
	leaf := name[strings.LastIndexByte(name, '.')+1:]
	return first == "optimizer" || first == "optimizer_state" || leaf == "exp_avg" || leaf == "exp_avg_sq" || leaf == "max_exp_avg_sq"
}

func runTrainingState(p *Pass) {
	for _, m := range p.models {
		for _, t := range m.families() {
			if !ofOptimizer(t.first) {
				continue
			}
			for _, i := range t.members {
				p.report(m.finding(int(i), "belongs to an optimizer, not to the model"))
			}
		}
	}
}
