package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// predictionKeys are what config.json calls the number of layers for multi-token
// prediction (transformers: DeepseekV3Config, Qwen3_5TextConfig, MiMoConfig).
var predictionKeys = []string{"num_nextn_predict_layers", "mtp_num_hidden_layers", "mtp_num_layers"}

// joints are the roles that such a layer has to have beside those of every layer. Embeddings
// and heads of its own are in some releases and not in others (vLLM: deepseek_mtp.py,
// glm4_moe_mtp.py).
var joints = []string{"layer.nextn.proj.weight", "layer.nextn.embed_norm.weight", "layer.nextn.hidden_norm.weight", "layer.nextn.norm.weight"}

// ofPrediction reports whether a name says that it is of multi-token prediction. Layers that are
// numbered behind the others do not.
func ofPrediction(name string) bool {
	return strings.Contains(name, "mtp") || strings.Contains(name, "nextn")
}

// A layerModules is a layer and its modules, numbers left out.
type layerModules struct {
	name    string // model.layers.61
	layer   int
	modules map[string]int // self_attn.q_proj, and one of its tensors
}

// norms counts the normalisations.
func (l *layerModules) norms() (n int) {
	for module := range l.modules {
		if strings.HasSuffix(module, "norm") {
			n++
		}
	}
	return n
}

// predictions holds the layers for multi-token prediction against what config.json says of them.
func (p *Pass) predictions(m *model) {
	fit := m.held()
	if fit == nil || len(fit.Missing) > 0 {
		return
	}
	depth, _, _, known := number(m.doc, depthKeys...)
	n, v, key, ok := number(m.doc, predictionKeys...)
	if !ok || n < 1 || !known || depth < 1 || len(p.outside(m)) > 0 { // WT217's
		return
	}
	layers, list := m.splitPredictions(fit, depth)
	numbers := make(map[int]bool)
	for _, l := range list {
		numbers[l.layer] = true
	}
	switch have := int64(len(numbers)); {
	case have == 0 && !slices.ContainsFunc(m.families(), func(t *family) bool { return ofPrediction(t.first) }):
		severity := checkpoint.Info
		if p.opts.Profile == LlamaCpp {
			severity = checkpoint.Warning
		}
		p.grade(severity, at(m.Path, m.doc, v, "%s is %d, and no tensor is of a layer for multi-token prediction; converters and loaders that count it look for one", key, n))
	case have < n:
		p.report(at(m.Path, m.doc, v, "%s is %d, and the tensors have %s for multi-token prediction", key, n, plural.Of(have, "layer")))
	}
	const most = 8 // more than any release has
	for _, l := range list[:min(most, len(list))] {
		if lacks := m.lostOfPrediction(fit, l, layers); len(lacks) > 0 {
			f := at(m.Path, m.doc, v, "%s is %d, and %s, which is for multi-token prediction, lacks %s", key, n, l.name, plural.List(lacks))
			f.Count = len(lacks)
			p.report(f)
		}
	}
}

// splitPredictions returns the layers of the language model and those for multi-token prediction,
// which are behind them or have a list of their own.
func (m *model) splitPredictions(fit *identify.Fit, depth int64) (layers, list []*layerModules) {
	trunk := fit.Prefix + "layers."
	type key struct {
		before string
		layer  int32
	}
	of := make(map[key]*layerModules)
	for _, s := range m.stacks() {
		if s.before != trunk && !ofPrediction(s.before) {
			continue
		}
		module := templateText(strings.TrimPrefix(s.after, "."))
		if weight, _, ok := quant.Split(module); ok {
			module = weight
		}
		for _, t := range s.layers {
			k := key{s.before, t.layer}
			l := of[k]
			if l == nil {
				l = &layerModules{name: fmt.Sprint(s.before, t.layer), layer: int(t.layer), modules: make(map[string]int)}
				of[k] = l
			}
			l.modules[module] = int(t.tensor)
		}
	}
	for _, l := range of {
		if strings.HasPrefix(l.name, trunk) && int64(l.layer) < depth {
			layers = append(layers, l)
		} else {
			list = append(list, l)
		}
	}
	byLayer := func(a, b *layerModules) int {
		return cmp.Or(cmp.Compare(a.layer, b.layer), strings.Compare(a.name, b.name))
	}
	slices.SortFunc(layers, byLayer)
	slices.SortFunc(list, byLayer)
	return layers, list
}

// lostOfPrediction returns what a layer for multi-token prediction lacks: what joins it to the
// model, and what the layer of the model has that is most like it.
func (m *model) lostOfPrediction(fit *identify.Fit, l *layerModules, layers []*layerModules) (lacks []string) {
	roles := make(map[string]bool)
	for _, i := range l.modules {
		if t := fit.Place(m.At(i).Name).Tensor; t != nil {
			roles[t.Role] = true
		}
	}
	known := false
	for i := range fit.Convention.Tensors() {
		t := &fit.Convention.Tensors()[i]
		name := t.Pattern.String()
		switch {
		case slices.Contains(joints, t.Role) && !ofPrediction(l.name):
			known = true
			if name, _ := t.Below.Format([]int{l.layer}); !roles[t.Role] {
				lacks = append(lacks, strings.TrimPrefix(fit.Prefix+name, l.name+"."))
			}
		case l.layer == 0 && ofPrediction(name) && !strings.HasSuffix(name, "embed_tokens.weight") && len(t.Pattern.Holes()) == 0 && strings.HasPrefix(name, l.name[:strings.IndexByte(l.name, '.')+1]):
			module := strings.TrimSuffix(name, "weight")
			if !slices.ContainsFunc(m.families(), func(t *family) bool { return strings.HasPrefix(t.first, module) }) {
				lacks = append(lacks, name)
			}
		}
	}
	var like *layerModules
	most := 0
	for _, o := range slices.Backward(layers) {
		both := 0
		for module := range o.modules {
			if _, ok := l.modules[module]; ok {
				both++
			}
		}
		if like == nil || both > most {
			like, most = o, both
		}
	}
	// What is unlike every layer of the model is built otherwise.
	if like == nil || !known && 2*most < len(like.modules) {
		return lacks
	}
	for _, module := range slices.Sorted(maps.Keys(like.modules)) {
		if _, ok := l.modules[module]; ok {
			continue
		}
		t := fit.Place(m.At(like.modules[module]).Name).Tensor
		if t == nil || t.Buffer || fills(t.Module) == "" && (t.Optional || !known && l.norms() >= like.norms()) {
			continue // a norm may have another name (MiMo-V2's pre_mlp_layernorm)
		}
		lacks = append(lacks, strings.ReplaceAll(module, "{}", "{n}"))
	}
	return lacks
}

// predictsFrom reports whether the layers from one on have what multi-token prediction has.
func (n *naming) predictsFrom(m *model, layer int64) bool {
	found := false
	for _, role := range joints {
		for _, t := range n.byRole[role] {
			for _, i := range t.members {
				id, ok := n.parse(m.At(int(i)).Name)
				if !ok || len(id.Index) == 0 || int64(id.Index[0]) < layer {
					return false
				}
				found = true
			}
		}
	}
	return found
}
