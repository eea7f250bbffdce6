package check

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// The rules about the class that a configuration names and the names of the tensors.
var classRules = []*Rule{
	{
		ID: "WT346", Name: "other-project", Severity: checkpoint.Warning, run: runOtherProject,
		Profiles: map[Profile]checkpoint.Severity{Transformers: checkpoint.Error, VLLM: checkpoint.Error},
		Title:    "the names are another project's than config.json's",
		Doc: `A config.json with architectures is transformers'. Under the names of Meta, vLLM or
Megatron nothing in the file is loaded; 'wtinspect rename --to' gives the names of
transformers.`,
		Bad: "layers.0.attention.wq.weight beside LlamaForCausalLM", Good: "model.layers.0.self_attn.q_proj.weight",
	},
	{
		ID: "WT347", Name: "unexpected-tensors", Severity: checkpoint.Info, run: runUnexpected,
		Profiles: map[Profile]checkpoint.Severity{VLLM: checkpoint.Error, MLX: checkpoint.Error},
		Title:    "a tensor that the model type does not have is beside all that it has",
		Doc: `A value head that TRL left, or what another script saved with the model. Transformers
leaves it out with a warning, strict loaders refuse it.`,
		Bad: "v_head.summary.weight in LlamaForCausalLM", Good: "the model alone",
	},
	{
		ID: "WT348", Name: "text-class", Severity: checkpoint.Warning, run: runTextClass,
		Profiles: map[Profile]checkpoint.Severity{VLLM: checkpoint.Error},
		Title:    "the names are those of a multimodal class and the class is one for text alone",
		Doc: `Gemma3ForCausalLM has no language_model. before its layers, and loads none of them. For an
adapter it is only worth knowing: with task_type CAUSAL_LM, transformers makes some
multimodal models without their towers, and PEFT finds no module below language_model.`,
		Bad: "Gemma3ForCausalLM, language_model.model.layers.0.…", Good: "Gemma3ForConditionalGeneration",
	},
}

// textOnly are the model types of which AutoModelForCausalLM makes the language model alone
// (transformers: models/auto/modeling_auto.py, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).
var textOnly = []string{"qwen3_5", "qwen3_5_moe", "llama4", "mllama"}

// renamed are the types of text models that load names below language_model., too
// (transformers: conversion_mapping.py; Gemma3nForCausalLM).
var renamed = []string{"qwen3_5_text", "qwen3_5_moe_text", "gemma3n_text"}

func runTextClass(p *Pass) {
	for _, m := range p.models {
		if m.isAdapter() {
			p.adapterClass(m)
			continue
		}
		kind, _ := m.doc.Text("model_type")
		classes := m.doc.Texts("architectures")
		fit := m.held()
		if fit == nil || len(fit.Missing) > 0 || len(classes) == 0 || m.multimodal() || slices.Contains(renamed, kind) ||
			slices.ContainsFunc(classes, func(a string) bool { return !strings.HasSuffix(a, "ForCausalLM") }) || !strings.Contains(fit.Prefix, "language_model.") {
			continue
		}
		v, _ := m.doc.Find("architectures")
		f := at(m.Path, m.doc, v, "%s is a class for text alone, and the language model is below %s", classes[0], strings.TrimSuffix(fit.Prefix, "."))
		if n := len(m.names().Parts); n > 0 {
			f.Message += ", beside " + strings.TrimSuffix(m.names().Parts[0].Prefix, ".")
		}
		p.report(f)
	}
}

// adapterClass reports an adapter of a multimodal class that is to be loaded as one of
// the language model.
func (p *Pass) adapterClass(m *model) {
	doc := p.document(m.Dir, "adapter_config.json")
	task, _ := doc.Text("task_type")
	i := slices.IndexFunc(textOnly, m.hasFamily)
	if task != "CAUSAL_LM" || i < 0 {
		return
	}
	first := m.families()[0].first
	if rest, ok := strings.CutPrefix(first, peftPrefix); ok && strings.HasPrefix(strings.TrimPrefix(rest, "model."), "language_model.") {
		v, _ := doc.Find("task_type")
		p.grade(checkpoint.Info, at(m.Path, doc, v, "task_type is CAUSAL_LM, with which transformers makes of %s the language model alone, and the changes are below language_model.: PEFT finds them only in the multimodal class", textOnly[i]))
	}
}

func (m *model) hasFamily(family string) bool { return slices.Contains(m.names().Families, family) }

// multimodal reports whether config.json describes more than a language model.
func (m *model) multimodal() bool {
	_, nested := m.doc.LanguageModel()
	return nested || m.doc.Has("vision_config") || m.doc.Has("audio_config")
}

// namedAsClass reports whether the tensors have the names that they have in the class of
// config.json, which is one for text alone.
func (m *model) namedAsClass() bool {
	fit := m.held()
	return fit != nil && len(fit.Missing) == 0 && fit.Convention.HasDialect("hf") && fit.Convention.VariantOf == "" && fit.Prefix == fit.Convention.Base &&
		!m.multimodal() && m.textClass() && !m.doc.Has("auto_map")
}

// textClass reports whether config.json names a class for text alone.
func (m *model) textClass() bool {
	return slices.ContainsFunc(m.doc.Texts("architectures"), func(a string) bool { return strings.HasSuffix(a, "ForCausalLM") })
}

func runOtherProject(p *Pass) {
	for _, m := range p.models {
		kind, _ := m.doc.Text("model_type")
		fit := m.held()
		if fit == nil || len(fit.Missing) > 0 || !m.doc.Has("architectures") || !m.isMain(kind) {
			continue
		}
		c := fit.Convention
		// Each rank of vLLM saves a part, for itself (sharded_state).
		if c.HasDialect("hf") || c.HasDialect("mlx") || c.HasDialect("gguf") || c.VariantOf != "" || strings.Contains(filepath.Base(m.Files[0].Name), "-rank-") {
			continue
		}
		to := ""
		for _, o := range convention.All() {
			if o.Language && o.HasFamily(kind) && o.HasDialect("hf") && o.VariantOf == "" && (to == "" || o.Preferred > 0) {
				to = o.Name
			}
		}
		if to == "" {
			continue
		}
		v, _ := m.doc.Find("architectures")
		p.report(at(m.Path, m.doc, v, "%s is a class of transformers, and the names are those of %s (%s); 'wtinspect rename --to %s'", strings.Join(m.doc.Texts("architectures"), ", "), c.Name, m.sample(), to))
	}
}

func runUnexpected(p *Pass) {
	for _, m := range p.models {
		fit := m.held()
		if fit == nil || len(fit.Missing) > 0 || m.doc.Has("auto_map") || m.multimodal() || len(m.names().Parts) > 0 || m.unmerged() || m.foreign() != "" || m.names().repeated != "" || !m.textClass() {
			continue
		}
		var extra []*family
		for _, t := range m.families() {
			place := fit.Place(t.first)
			_, beside := quant.Leaf(t.first)
			// Poolers are of one class and not of another.
			if place.Tensor == nil && !place.Buffer && !beside && !isBuffer(t.first) && !strings.Contains(t.first, "pooler") && !ofOptimizer(t.first) && !ofPrediction(t.first) {
				extra = append(extra, t)
			}
		}
		// What is more than this is of another model.
		const most = 4
		if len(extra) > most {
			continue
		}
		kind, _ := m.doc.Text("model_type")
		for _, t := range extra {
			if _, wrapped := m.wrapping(t.first); wrapped {
				continue
			}
			for _, i := range t.members {
				p.report(m.finding(int(i), "not a tensor of model_type %q (%s)", kind, fit.Convention.Name))
			}
		}
	}
}
