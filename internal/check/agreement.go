package check

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

var agreementRules = []*Rule{
	{
		ID: "WT301", Name: "broken-document", Severity: checkpoint.Error, run: runDocuments,
		Title: "config.json or a related file is not valid JSON",
		Doc: `config.json, generation_config.json, adapter_config.json and tokenizer_config.json are
read strictly: repeated members, trailing text and bytes that are not UTF-8 are found.
NaN and Infinity, as Python writes them, are accepted.`,
		Bad: `{"vocab_size": 1,}`, Good: `{"vocab_size": 1}`,
	},
	{
		ID: "WT302", Name: "depth", Severity: checkpoint.Error, run: runDepth,
		Title: "config.json gives another number of layers than the tensors have",
		Doc: `A deeper configuration leaves layers uninitialised, a shallower one drops layers that
were trained, and both load without an error. Layers for multi-token prediction behind
the last one are allowed for.`,
		Bad: "num_hidden_layers 80, layers 0 to 35", Good: "num_hidden_layers 36, layers 0 to 35",
	},
	{
		ID: "WT303", Name: "hidden-size", Severity: checkpoint.Error, run: runHidden,
		Title: "config.json gives another hidden size than the embedding has",
		Doc:   `The columns of the token embedding are the hidden size; the checkpoint does not load.`,
		Bad:   "hidden_size 2560, embedding [151936,5120]", Good: "hidden_size 5120, embedding [151936,5120]",
	},
	{
		ID: "WT304", Name: "vocabulary-size", Severity: checkpoint.Error, run: runVocabulary,
		Title: "config.json gives another vocabulary than the embedding has",
		Doc: `The rows of the token embedding, and of the output head, are the vocabulary. Loaders
refuse the difference, or read rows that belong to other tokens. More rows than the
vocabulary, as padding to a round number, are a warning.`,
		Bad: "vocab_size 120832, embedding [151936,5120]", Good: "vocab_size 151936, embedding [151936,5120]",
	},
	{
		ID: "WT305", Name: "attention-heads", Severity: checkpoint.Error, run: runHeads,
		Title: "the projections do not have the rows that the heads of config.json need",
		Doc: `Query projections have heads × head size rows, key and value projections key/value
heads × head size. Without head_dim the head size is hidden size / heads for most
architectures, and a difference a warning. Normalisations of queries and keys are as long
as one head in Qwen 3, Gemma 3 and most others, and as all of them in OLMo 2.`,
		Bad: "num_attention_heads 32, head_dim 128, q_proj [2048,4096]", Good: "q_proj [4096,4096]",
	},
	{
		ID: "WT306", Name: "experts", Severity: checkpoint.Error, run: runExperts,
		Title: "config.json gives another number of experts than the tensors have",
		Doc: `A router of more experts than there are sends tokens to weights that do not exist.
Experts that config.json counts apart (zero_expert_num) are allowed for.`,
		Bad: "num_experts 128, experts 0 to 63", Good: "num_experts 64, experts 0 to 63",
	},
	{
		ID: "WT307", Name: "missing-head", Severity: checkpoint.Error, run: runMissingHead,
		Title: "the output head is absent and config.json says that it is not tied",
		Doc: `Without lm_head the loader initialises a random one, and every answer is noise. Either
the weights lack a tensor or tie_word_embeddings must be true. Nothing is reported where
config.json does not say either: it depends on the architecture then. So it is with the
head of a class for classification or question answering.`,
		Bad: `"tie_word_embeddings": false, no lm_head.weight`, Good: "lm_head.weight, or true",
	},
	{
		ID: "WT308", Name: "head-though-tied", Severity: checkpoint.Warning, run: runTiedHead,
		Profiles: map[Profile]checkpoint.Severity{VLLM: checkpoint.Error, MLX: checkpoint.Error},
		Title:    "an output head is stored though config.json ties it to the embedding",
		Doc: `Some loaders fail on the extra tensor, others ignore it; and if it differs from the
embedding, the model is another one depending on the loader. fix takes the head out
only when its bytes are those of the embedding.`,
		Bad: `"tie_word_embeddings": true with lm_head.weight`, Good: "no lm_head.weight",
		Fix: dropHead,
	},
	{
		ID: "WT309", Name: "dtype", Severity: checkpoint.Warning, run: runDType,
		Title: "config.json gives another dtype than the tensors have",
		Doc: `Loaders that follow torch_dtype convert on loading, and a release of F32 for a model
of BF16 is twice as large as it says. The dtype that holds most elements counts.`,
		Bad: `"torch_dtype": "bfloat16", tensors in F32`, Good: "tensors in BF16",
	},
	{
		ID: "WT310", Name: "architecture", Severity: checkpoint.Warning, run: runArchitecture,
		Title: "the names are those of other architectures than config.json's",
		Doc: `The model type that config.json gives is known, and so is the naming convention of the
tensors, and that model does not use these names. Only names are compared: models that
share every name are one.`,
		Bad: `"model_type": "gpt2" over LLaMA names`, Good: `"model_type": "llama"`,
	},
	{
		ID: "WT311", Name: "quantised-in-config-only", Severity: checkpoint.Error, run: runQuantConfig,
		Title: "config.json says that the weights are quantised and the tensors are not",
		Doc: `quantization_config makes loaders look for packed weights and scales by name. Where
the tensors were dequantised, or come from another version, nothing is found.`,
		Bad: `"quant_method": "gptq" without a qweight`, Good: "qweight, qzeros and scales, or no quantization_config",
	},
	{
		ID: "WT312", Name: "quantised-in-tensors-only", Severity: checkpoint.Warning, run: runQuantTensors,
		Profiles: map[Profile]checkpoint.Severity{Transformers: checkpoint.Error, VLLM: checkpoint.Error},
		Title:    "the tensors are quantised and config.json does not say so",
		Doc: `Packed weights without quantization_config are taken for plain ones: raw bytes without
the scales that give them meaning. Nothing downstream can tell.`,
		Bad: "qweight and scales, no quantization_config", Good: `"quantization_config": {"quant_method": "gptq", …}`,
	},
	{
		ID: "WT313", Name: "intermediate-size", Severity: checkpoint.Error, run: runIntermediate,
		Title: "config.json gives another intermediate size than the MLP has",
		Doc:   `The rows of the gate and up projections are the intermediate size.`,
		Bad:   "intermediate_size 11008, gate_proj [14336,4096]", Good: "intermediate_size 14336",
	},
}

// documents are those that WT301 reads.
var documents = []string{"config.json", "generation_config.json", "adapter_config.json", "tokenizer_config.json", "added_tokens.json", "model_index.json"}

func runDocuments(p *Pass) {
	dirs := []string{p.release.Dir}
	for _, m := range p.models {
		if !slices.Contains(dirs, m.Dir) {
			dirs = append(dirs, m.Dir)
		}
	}
	for _, dir := range dirs {
		for _, name := range documents {
			p.readDocument(source.Join(dir, name))
		}
	}
}

func (p *Pass) readDocument(path string) {
	data, err := source.ReadFile(p.ctx, path, source.Document)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	f := Finding{File: path, Offset: -1, Message: "cannot be read as a document"}
	if err != nil {
		f.Message += ": " + strings.TrimPrefix(err.Error(), path+": ")
	} else {
		doc, err := jsondoc.Parse(path, data)
		if bad, ok := errors.AsType[*jsondoc.Error](err); ok {
			f.Line, f.Column, f.Message = bad.Line, bad.Column, "not JSON: "+bad.Msg
		} else if k := doc.Root().Kind(); k != jsondoc.Object {
			f.Line, f.Column, f.Message = 1, 1, fmt.Sprintf("%v, where an object is needed", k)
		} else {
			return
		}
	}
	p.report(f)
}

// find returns a value of the language model's configuration: the nested one
// where there is one, since what stands outside may be of the whole.
func find(doc *checkpoint.Config, key string) (checkpoint.ConfigValue, bool) {
	nested, _ := doc.LanguageModel()
	if v, ok := nested.Find(key); ok {
		return v, true
	}
	return doc.Find(key)
}

// settings yields the members of config.json and of the language model's
// configuration in it.
func (m *model) settings(yield func(key string, v checkpoint.ConfigValue) bool) {
	whole, _ := m.doc.Find()
	nested, _ := m.doc.LanguageModel()
	for _, doc := range []checkpoint.ConfigValue{whole, nested} {
		for key, v := range doc.Members() {
			if !yield(key, v) {
				return
			}
		}
	}
}

// number returns the first of several keys that config.json has: what one
// figure is called in different models. Where the nested configuration has the
// heads, the head size beside it is of something else: MusicFlamingo's rotates
// time (transformers: MusicFlamingoConfig).
func number(doc *checkpoint.Config, keys ...string) (n int64, v checkpoint.ConfigValue, key string, ok bool) {
	nested, _ := doc.LanguageModel()
	has := func(key string) bool { _, ok := nested.Find(key); return ok }
	for _, key := range keys {
		if slices.Contains(headSizeKeys, key) && !has(key) && slices.ContainsFunc(headKeys, has) {
			continue
		}
		if v, found := find(doc, key); found {
			if n, ok := v.Int(); ok {
				return n, v, key, true
			}
		}
	}
	return 0, checkpoint.ConfigValue{}, "", false
}

// What figures are called in config.json, over the architectures.
var (
	depthKeys      = convention.Spellings("num_hidden_layers")
	hiddenKeys     = convention.Spellings("hidden_size")
	vocabularyKeys = convention.Spellings("vocab_size")
	headKeys       = convention.Spellings("num_attention_heads")
	headSizeKeys   = convention.Spellings("head_dim")
	keyValueKeys   = convention.Spellings("num_key_value_heads")
	expertKeys     = convention.Spellings("num_local_experts")
	// The dense layers of Llama 4 have a size of their own.
	intermediateKeys = append([]string{"intermediate_size_mlp"}, convention.Spellings("intermediate_size")...)
)

// configured yields the models with a configuration, readable names, and a
// language model of one stack of layers.
func (p *Pass) configured(yield func(m *model, n *naming) bool) {
	for _, m := range p.models {
		if m.doc == nil || m.Format == checkpoint.GGUF || m.names().conv == nil || m.names().Adapter {
			continue
		}
		if encDec, _ := m.doc.Bool("is_encoder_decoder"); encDec {
			continue
		}
		// Beside an image model is often the configuration of something else.
		if kind, ok := m.doc.Text("model_type"); ok && !m.names().conv.Language && !m.names().conv.HasFamily(kind) {
			continue
		}
		if !yield(m, m.names()) {
			return
		}
	}
}

// depth returns how many layers the language model's tensors have.
func (m *model) depth() (layers int) {
	n := m.names()
	for t, id := range n.ids {
		if !strings.HasPrefix(id.Role, "layer.") || len(id.Index) == 0 {
			continue
		}
		for _, i := range t.members {
			// The last of a row of numbers may be something else than a layer.
			id, ok := n.parse(m.At(int(i)).Name)
			if ok && strings.HasPrefix(id.Role, "layer.") && !strings.Contains(id.Role, "norm") && len(id.Index) > 0 {
				layers = max(layers, id.Index[0]+1)
			}
		}
	}
	return layers
}

func runDepth(p *Pass) {
	for m := range p.configured {
		want, v, key, ok := number(m.doc, depthKeys...)
		// Layers of a group share their tensors (ALBERT).
		if !ok || want < 1 || m.doc.Has("num_hidden_groups") {
			continue
		}
		layers := m.depth()
		extra, _, _, _ := number(m.doc, predictionKeys...)
		switch have := int64(layers); {
		case have == 0, have >= want && have-want <= max(extra, 0):
		case have < want && m.partial():
		case want%have == 0 && slices.ContainsFunc(depthKeys, func(key string) bool {
			n, _, _, ok := number(m.doc, key)
			return ok && n == have
		}): // num_layers of layers that hold several (transformers: LongcatFlashConfig)
		default:
			f := at(m.Path, m.doc, v, "%s is %d, and the tensors have %s (0 to %d)", key, want, plural.Of(layers, "layer"), layers-1)
			if have > want && m.names().predictsFrom(m, want) {
				f.Message += fmt.Sprintf("; from %d on they are for multi-token prediction, and %s says how many", want, predictionKeys[0])
			}
			p.report(f)
		}
	}
}

// embedding returns the token embedding as rows and columns.
func (m *model) embedding() (rows, columns uint64, tensor int, ok bool) {
	t, i, ok := m.one("embed.tokens.weight")
	if !ok || len(t.Shape) != 2 || !plain(t.DType) && m.Format != checkpoint.GGUF {
		return 0, 0, 0, false
	}
	return t.Shape[0], t.Shape[1], i, true
}

func runHidden(p *Pass) {
	for m := range p.configured {
		want, v, key, ok := number(m.doc, hiddenKeys...)
		_, have, i, known := m.embedding()
		if !ok || !known || want < 0 || uint64(want) == have || m.embedsOtherwise(have) {
			continue
		}
		t := m.At(i)
		f := at(m.Path, m.doc, v, "%s is %d, and %s has %s %s", key, want, t.Name, plural.Of(have, "column"), shapeText(t.Shape))
		p.report(f)
	}
}

// embedsOtherwise reports whether config.json gives the embedding a width of its own, or
// has its columns under a name of embeddings: embedding_size (ALBERT), word_embed_proj_dim
// (OPT), input_embedding_size (RemBERT), d_embed (Transformer-XL).
func (m *model) embedsOtherwise(columns uint64) bool {
	if m.says("embedding_size", "word_embed_proj_dim") {
		return true
	}
	for key, v := range m.settings {
		if n, ok := v.Int(); ok && n > 0 && uint64(n) == columns && strings.Contains(key, "emb") && !strings.Contains(key, "position") {
			return true
		}
	}
	return false
}

func runVocabulary(p *Pass) {
	for m := range p.configured {
		want, v, key, ok := number(m.doc, vocabularyKeys...)
		if !ok || want < 0 {
			continue
		}
		for _, role := range []string{"embed.tokens.weight", "head.weight"} {
			t, _, known := m.one(role)
			if !known || len(t.Shape) != 2 || !plain(t.DType) || t.Shape[0] == uint64(want) {
				continue
			}
			f := at(m.Path, m.doc, v, "%s is %d, and %s has %s %s", key, want, t.Name, plural.Of(t.Shape[0], "row"), shapeText(t.Shape))
			// Padding to a multiple of 512 at most is a habit, not a lie.
			const padding = 512
			if t.Shape[0] > uint64(want) && t.Shape[0]-uint64(want) < padding {
				p.grade(checkpoint.Warning, f)
				continue
			}
			p.report(f)
		}
	}
}

func runHeads(p *Pass) {
	for m, n := range p.configured {
		heads, v, key, ok := number(m.doc, headKeys...)
		hidden, _, _, okHidden := number(m.doc, hiddenKeys...)
		size, _, _, okSize := number(m.doc, headSizeKeys...)
		// A gate on the attention output doubles the query's rows.
		gated, _ := m.doc.Bool("attn_output_gate")
		gated = gated || n.conv.Layout.QueryGate
		severity := p.rule.severity(p.opts.Profile)
		// Latent attention has head sizes of its own kinds.
		if !ok || heads < 1 || heads > 1<<20 || n.conv.Transposes("layer.attn.q") || m.doc.Has("kv_lora_rank") || m.doc.Has("qk_nope_head_dim") {
			continue
		}
		says := okSize
		if !okSize && okHidden && hidden%heads == 0 {
			// The architecture may have a default of its own.
			size, okSize, severity = hidden/heads, true, checkpoint.Warning
		}
		if !okSize || size < 1 || size > 1<<20 {
			continue
		}
		// What it is when the document is silent depends on the architecture.
		kv, _, kvKey, _ := number(m.doc, keyValueKeys...)
		if says && kv >= 0 && kv <= 1<<20 {
			p.headNorms(m, n, uint64(heads), uint64(kv), uint64(size), v)
		}
		for _, q := range []struct {
			role  string
			heads int64
			what  string
		}{
			{"layer.attn.q.weight", heads, key},
			{"layer.attn.k.weight", kv, kvKey},
			{"layer.attn.v.weight", kv, kvKey},
		} {
			if q.role == "layer.attn.v.weight" && m.doc.Has("v_head_dim") || q.heads < 1 || q.heads > 1<<20 {
				continue
			}
			want := uint64(q.heads) * uint64(size)
			for _, t := range n.byRole[q.role] {
				odd := m.oddRows(t, func(rows uint64) bool {
					return rows == want || gated && q.heads == heads && rows == 2*want
				})
				// Where some layers agree, the architecture mixes kinds of attention: most of
				// them if config.json says so, and at least half otherwise.
				if len(odd) == 0 || 2*len(odd) < len(t.members) || len(odd) < len(t.members) && m.mixesLayers() {
					continue
				}
				for _, i := range odd {
					f := m.finding(i, "%s, where %s %d and a head size of %d make %d (%s:%s)", plural.Of(m.At(i).Shape[0], "row"), q.what, q.heads, size, want, filepath.Base(m.doc.Path()), position(v))
					p.grade(severity, f)
				}
			}
		}
	}
}

// headNorms reports the normalisations of queries and keys that are not as long as the model's heads, where the
// convention is that of the model that config.json names.
func (p *Pass) headNorms(m *model, n *naming, heads, kv, size uint64, v checkpoint.ConfigValue) {
	kind, _ := m.doc.Text("model_type")
	if !n.conv.HasFamily(kind) {
		return
	}
	for i, role := range []string{"layer.attn.q_norm.weight", "layer.attn.k_norm.weight"} {
		want, what := size, "one head"
		switch n.conv.Layout.QKNorm {
		case convention.QKNormHead:
		case convention.QKNormAll:
			want, what = []uint64{heads, kv}[i]*size, "all heads together"
		default:
			return
		}
		if want == 0 {
			continue
		}
		for _, t := range n.byRole[role] {
			for _, i := range t.members {
				if x := m.At(int(i)); len(x.Shape) == 1 && plain(x.DType) && x.Shape[0] != want {
					p.report(m.finding(int(i), "%s, where it is as long as %s in this model, %d (%s:%s)", plural.Of(x.Shape[0], "element"), what, want, filepath.Base(m.doc.Path()), position(v)))
				}
			}
		}
	}
}

func position(v checkpoint.ConfigValue) string {
	line, col := v.Position()
	return fmt.Sprintf("%d:%d", line, col)
}

// oddRows returns the members of a template whose first dimension is not as
// it should be. What is packed has other shapes and is left out.
func (m *model) oddRows(t *family, good func(rows uint64) bool) []int {
	var odd []int
	for _, i := range t.members {
		tensor := m.At(int(i))
		if len(tensor.Shape) == 2 && plain(tensor.DType) && !good(tensor.Shape[0]) {
			odd = append(odd, int(i))
		}
	}
	return odd
}

func runExperts(p *Pass) {
	for m, n := range p.configured {
		want, v, key, ok := number(m.doc, expertKeys...)
		if !ok || want < 1 || m.partial() {
			continue
		}
		have := uint64(0)
		for role, list := range n.byRole {
			for _, t := range list {
				switch {
				case strings.HasPrefix(role, "layer.mlp.expert.") && strings.HasSuffix(role, ".weight"):
					for _, i := range t.members {
						if e, ok := expertIndex(m.At(int(i)).Name); ok {
							have = max(have, uint64(e)+1)
						}
					}
				case role == "layer.mlp.router.weight":
					// Some are stored with the outputs last (ERNIE 4.5).
					if s := m.At(int(t.members[0])); len(s.Shape) == 2 && plain(s.DType) && !slices.Contains(s.Shape, uint64(want)) {
						have = max(have, s.Shape[0])
					}
				}
			}
		}
		if have == 0 || m.countsExperts(have, uint64(want)) {
			continue
		}
		p.report(at(m.Path, m.doc, v, "%s is %d, and the tensors have %s", key, want, plural.Of(have, "expert")))
	}
}

// countsExperts reports whether a model has as many experts as config.json gives, or as
// many for each of several sizes, of text and of images (transformers:
// Ernie4_5_VLMoeTextConfig), or besides those that it counts apart: zero_expert_num
// (LongcatFlashConfig), n_shared_experts (Inkling).
func (m *model) countsExperts(have, want uint64) bool {
	kinds := uint64(0)
	sizes, _ := find(m.doc, "moe_intermediate_size")
	for range sizes.Elements() {
		kinds++
	}
	if have == want || kinds > 0 && have%kinds == 0 && have/kinds == want {
		return true
	}
	for key, v := range m.settings {
		n, ok := v.Int()
		apart := strings.Contains(key, "zero_expert") || strings.Contains(key, "shared_expert") && !strings.Contains(key, "size")
		if ok && apart && n > 0 && have > want && have-want == uint64(n) {
			return true
		}
	}
	return false
}

// expertIndex returns the number behind the segment "experts".
func expertIndex(name string) (int, bool) {
	i := strings.LastIndex(name, "experts.")
	if i < 0 {
		return 0, false
	}
	rest, _, _ := strings.Cut(name[i+len("experts."):], ".")
	return smallNumber(rest)
}

// hasHead reports whether the model has an output head, quantised or not.
func (m *model) hasHead() (f *family, ok bool) {
	n := m.names()
	for _, t := range n.byRole["head.weight"] {
		return t, true
	}
	id := convention.ID{Role: "head.weight"}
	name, ok := n.conv.Format(id)
	if !ok {
		return nil, false
	}
	stem := strings.TrimSuffix(strings.TrimPrefix(name, n.base), ".weight")
	for _, t := range m.families() {
		if strings.HasSuffix(t.first, ".bias") {
			continue // beside a tied weight, too (transformers: XLMPredLayer, CTRLLMHeadModel)
		}
		if strings.HasPrefix(t.first, n.prefix+stem+".") || strings.HasPrefix(t.first, stem+".") || strings.Contains(t.first, "."+stem+".") {
			return t, true
		}
	}
	return nil, false
}

// headed yields the models that could have an output head, with what
// config.json says about tying it.
func (p *Pass) headed(yield func(m *model, v checkpoint.ConfigValue) bool) {
	for m, n := range p.configured {
		if _, ok := n.conv.Role("head.weight"); !ok || m.partial() || n.BaseAbsent != "" {
			continue
		}
		// A class without a head of its own: an encoder, a classifier.
		if !slices.ContainsFunc(m.doc.Texts("architectures"), func(a string) bool {
			return strings.Contains(a, "ForCausalLM") || strings.Contains(a, "LMHead") || strings.Contains(a, "ForConditionalGeneration")
		}) {
			continue
		}
		v, _ := m.doc.Find("tie_word_embeddings")
		tied, said := v.Bool()
		// Where the nested configuration contradicts it, who is right depends on
		// the loader.
		nested, _ := m.doc.LanguageModel()
		inner, _ := nested.Find("tie_word_embeddings")
		other, ok := inner.Bool()
		if said && !(ok && other != tied) && !yield(m, v) {
			return
		}
	}
}

// heads are what the heads of classes for a task are called.
var heads = []string{"score", "classifier", "classifiers", "classification_head", "qa_outputs", "regression_head", "logits_proj", "cls", "head", "heads", "out_proj", "v_head", "value_head", "reward_head", "rm_head"}

// missingTaskHead reports a model for a task without what decides it.
func (p *Pass) missingTaskHead(m *model) {
	i := slices.IndexFunc(m.doc.Texts("architectures"), func(a string) bool {
		return slices.ContainsFunc([]string{"ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering", "ForMultipleChoice"}, func(task string) bool {
			return strings.HasSuffix(a, task)
		})
	})
	if i < 0 || m.partial() || m.unmerged() || slices.ContainsFunc(m.families(), func(t *family) bool {
		return slices.ContainsFunc(strings.Split(t.first, "."), func(s string) bool { return slices.Contains(heads, s) })
	}) {
		return
	}
	v, _ := m.doc.Find("architectures")
	p.report(at(m.Path, m.doc, v, "the class is %s, and no tensor is of its head (score, classifier, qa_outputs); loaders make up a random one", m.doc.Texts("architectures")[i]))
}

func runMissingHead(p *Pass) {
	for m := range p.configured {
		if m.names().conv.Language {
			p.missingTaskHead(m)
		}
	}
	for m, v := range p.headed {
		if tied, _ := v.Bool(); tied {
			continue
		}
		if _, ok := m.hasHead(); ok {
			continue
		}
		if _, _, ok := m.one("embed.tokens.weight"); !ok || slices.ContainsFunc(m.families(), func(t *family) bool { return strings.Contains(t.first, "lm_head.") }) {
			continue // or a head for something else than text, audio_lm_head
		}
		name, _ := m.names().conv.Format(convention.ID{Role: "head.weight"})
		p.report(at(m.Path, m.doc, v, "tie_word_embeddings is false, and no tensor is %s; loaders make up a random head", name))
	}
}

func runTiedHead(p *Pass) {
	for m, v := range p.headed {
		if tied, _ := v.Bool(); !tied {
			continue
		}
		if t, ok := m.hasHead(); ok {
			if _, shared := m.TiedTo(int(t.members[0])); shared {
				continue // a name more, and no byte
			}
			f := m.finding(int(t.members[0]), "stored, though tie_word_embeddings is true (%s:%s)", filepath.Base(m.doc.Path()), position(v))
			f.Fixable = true
			p.report(f)
		}
	}
}

// torchDTypes are the names of dtypes in config.json.
var torchDTypes = map[string]string{
	"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
	"float": "F32", "half": "F16", "fp16": "F16", "fp32": "F32", "bf16": "BF16",
}

func runDType(p *Pass) {
	for _, m := range p.models {
		if m.doc == nil || m.Format == checkpoint.GGUF || m.NamesOnly() || m.doc.Has("quantization_config") || m.doc.Has("quantization") || m.names().Adapter {
			continue
		}
		if slices.ContainsFunc(m.families(), func(t *family) bool { return ofOptimizer(t.first) }) {
			continue // WT412's
		}
		v, ok := m.doc.Find("torch_dtype")
		if !ok {
			v, ok = m.doc.Find("dtype")
		}
		text, isText := v.Text()
		want := torchDTypes[strings.TrimPrefix(text, "torch.")]
		if !ok || !isText || want == "" {
			continue
		}
		elements := make(map[string]uint64)
		for _, t := range m.All() {
			if n, ok := t.Elements(); ok && plain(t.DType) {
				elements[t.DType] += n
			}
		}
		if len(elements) == 0 {
			continue
		}
		most := slices.MaxFunc(slices.Sorted(maps.Keys(elements)), func(a, b string) int { return cmp.Compare(elements[a], elements[b]) })
		if most == want || strings.HasPrefix(most, "F8") {
			continue
		}
		p.report(at(m.Path, m.doc, v, "the dtype is %s, and most elements are %s", text, most))
	}
}

func runArchitecture(p *Pass) {
	for m, n := range p.configured {
		model, ok := m.doc.Text("model_type")
		if fit := m.held(); fit != nil && (len(fit.Missing) > 0 || m.onlyHeadMore(fit)) {
			continue // WT318's, and WT308's
		}
		if !ok || n.Convention == "" || len(n.Families) == 0 || len(n.Parts) > 0 {
			continue
		}
		// A type that no convention knows says nothing, and one that is known for
		// a spelling that was given up for this one is served.
		nested, _ := m.doc.LanguageModel()
		inner, _ := nested.Find("model_type")
		text, _ := inner.Text()
		known, serves := false, slices.ContainsFunc(n.Families, func(f string) bool {
			// The text model of a multimodal one has a type of its own.
			return sameType(f, model) || sameType(f, model+"_text") || text != "" && sameType(f, text)
		})
		for _, c := range convention.All() {
			if c.HasFamily(model) {
				known = true
				serves = serves || c.Name == n.Convention || c.VariantOf == n.Convention || n.conv.VariantOf == c.Name
			}
		}
		if !known || serves {
			continue
		}
		v, _ := m.doc.Find("model_type")
		p.report(at(m.Path, m.doc, v, "model_type is %q, and the names are those of %s (%s)", model, n.Convention, strings.Join(n.Families[:min(4, len(n.Families))], ", ")))
	}
}

// onlyHeadMore reports whether a fit lacks nothing, and nothing but an output head is
// there that its convention does not have.
func (m *model) onlyHeadMore(fit *identify.Fit) bool {
	more := false
	for name, place := range fit.Places {
		if place.Tensor == nil && !place.Buffer {
			if more = true; !strings.HasSuffix(name, "lm_head.weight") {
				return false
			}
		}
	}
	return more && len(fit.Missing) == 0
}

// sameType compares two spellings of a model type.
func sameType(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, "-", "_"), strings.ReplaceAll(b, "-", "_"))
}

func runIntermediate(p *Pass) {
	for m, n := range p.configured {
		want, v, key, ok := number(m.doc, intermediateKeys...)
		if !ok || want < 1 || n.conv.Transposes("layer.mlp.up") {
			continue
		}
		if _, list := m.doc.Find("ffn_hidden_sizes"); list {
			continue
		}
		for _, role := range []string{"layer.mlp.gate.weight", "layer.mlp.up.weight"} {
			for _, t := range n.byRole[role] {
				odd := m.oddRows(t, func(rows uint64) bool {
					// Qwen's first model and DBRX give the size of both projections together.
					return rows == uint64(want) || 2*rows == uint64(want)
				})
				if 2*len(odd) < len(t.members) || len(odd) == 0 {
					continue
				}
				for _, i := range odd {
					p.report(m.finding(i, "%s, where %s is %d (%s:%s)", plural.Of(m.At(i).Shape[0], "row"), key, want, filepath.Base(m.doc.Path()), position(v)))
				}
			}
		}
	}
}
