package check

import (
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/quant"
)

var adapterRules = []*Rule{
	{
		ID: "WT314", Name: "lora-targets", Severity: checkpoint.Error, run: runLoRATargets,
		Title: "adapter_config.json and the adapter's tensors do not agree",
		Doc: `A module that target_modules or modules_to_save names has no tensors, tensors belong to a
module that neither names, or the rank differs from r. Loaders ignore what they do not expect, and
the base model answers in the adapter's place. A module that was trained whole and is not named is a
warning: PEFT puts it in the place of the base model's, and other loaders refuse it.`,
		Bad: `"r": 8, lora_A of 16 rows`, Good: `"r": 16`,
	},
	{
		ID: "WT315", Name: "adapter-prefix", Severity: checkpoint.Error, run: runAdapterPrefix,
		Title: "the adapter's tensors do not have the prefix that PEFT loads",
		Doc: `PEFT looks for base_model.model.… and gives a warning at most for what it does not
find: the adapter is loaded as zeros.`,
		Bad: "model.layers.0.self_attn.q_proj.lora_A.weight", Good: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
	},
}

// adapters yields the adapters that have an adapter_config.json.
func (p *Pass) adapters(yield func(m *model, doc *checkpoint.Config) bool) {
	for _, m := range p.models {
		if m.Format == checkpoint.GGUF {
			continue
		}
		doc := p.document(m.Dir, "adapter_config.json")
		if doc != nil && !yield(m, doc) {
			return
		}
	}
}

// loraModule returns the module that a PEFT tensor changes and which half it
// is, A or B.
func loraModule(name string) (module, half string, ok bool) {
	for _, h := range []string{"lora_A", "lora_B"} {
		if i := strings.Index(name, "."+h); i >= 0 {
			return name[:i], h, true
		}
	}
	return "", "", false
}

func runLoRATargets(p *Pass) {
	for m, doc := range p.adapters {
		if c := m.names().conv; c != nil && c.HasDialect("gguf") {
			continue // the modules have other names than in adapter_config.json
		}
		if kind, _ := doc.Text("peft_type"); kind != "" && !strings.EqualFold(kind, "LORA") {
			continue
		}
		r, rv, _, okR := number(doc, "r")
		targets, _ := doc.Find("target_modules")
		wanted := doc.Texts("target_modules")
		_, isPattern := targets.Text()
		// Parameters that are targets by themselves have tensors too.
		listed := len(wanted) > 0 && !isPattern && !doc.Has("target_parameters")
		plainRank := !hasMembers(doc, "rank_pattern")
		found := make(map[string]bool, len(wanted))
		for _, w := range wanted {
			found[w] = false
		}
		for _, t := range m.families() {
			for _, i := range t.members {
				tensor := m.At(int(i))
				module, half, ok := loraModule(tensor.Name)
				if before, _, embedding := strings.Cut(tensor.Name, ".lora_embedding_"); embedding {
					module, ok = before, true
				}
				if !ok {
					continue
				}
				matched := false
				for end, more := module, true; more; _, end, more = strings.Cut(end, ".") {
					if _, ok := found[end]; ok {
						found[end], matched = true, true
					}
				}
				if !matched && listed {
					p.report(m.finding(int(i), "changes a module that target_modules of adapter_config.json does not name"))
				}
				if okR && plainRank && half == "lora_A" && len(tensor.Shape) == 2 && tensor.Shape[0] != uint64(r) {
					p.report(m.finding(int(i), "a rank of %d, where adapter_config.json has r %d (%s)", tensor.Shape[0], r, position(rv)))
				}
			}
		}
		p.savedModules(m, doc)
		if isPattern {
			continue // of names
		}
		for _, w := range wanted {
			if !found[w] && !m.partial() {
				p.report(at(m.Path, doc, targets, "target_modules names %q, and no tensor changes it", w))
			}
		}
	}
}

// classifierHeads are the names of heads that PEFT trains whole in every adapter of a
// classifier, whichever of them the model has (peft_model.py, classifier_module_names).
var classifierHeads = []string{"classifier", "score"}

// savedModules compares the modules that were trained whole with modules_to_save.
func (p *Pass) savedModules(m *model, doc *checkpoint.Config) {
	if m.partial() {
		return
	}
	saved, _ := doc.Find("modules_to_save")
	task, _ := doc.Text("task_type")
	named := doc.Texts("modules_to_save")
	found := make(map[string]bool)
	for _, module := range slices.Concat(named, classifierHeads) {
		found[module] = false
	}
	for _, t := range m.families() {
		isNamed := false
		for part := range segmentRuns(t.first) {
			if _, ok := found[part]; ok {
				found[part], isNamed = true, true
			}
		}
		if isNamed || !wholeModule(t.first, doc) {
			continue
		}
		for _, i := range t.members {
			p.grade(checkpoint.Warning, m.finding(int(i), "a whole tensor of a module that modules_to_save of adapter_config.json does not name"))
		}
	}
	classifies := task == "SEQ_CLS" || task == "TOKEN_CLS"
	head := slices.ContainsFunc(classifierHeads, func(s string) bool { return found[s] })
	for _, module := range named {
		if module == "" || found[module] || slices.Contains(classifierHeads, module) && (head || classifies) {
			continue
		}
		p.report(at(m.Path, doc, saved, "modules_to_save names %q, and no tensor is of it", module))
	}
	if v, _ := doc.Find("task_type"); classifies && !head && !slices.ContainsFunc(named, func(s string) bool { return found[s] }) {
		p.report(at(m.Path, doc, v, "task_type is %q, and no tensor is of a head (%s); PEFT begins with a random one", task, strings.Join(classifierHeads, ", ")))
	}
}

// segmentRuns yields what consists of whole segments in a name: a, a.b, b.
func segmentRuns(name string) iter.Seq[string] {
	const most = 32 // segments from the end; more than any module has
	return func(yield func(string) bool) {
		ends := []int{len(name)}
		for i := len(name) - 1; i >= 0 && len(ends) < most; i-- {
			if name[i] == '.' {
				ends = append(ends, i)
			}
		}
		for k, end := range ends {
			for _, before := range append(ends[k+1:len(ends):len(ends)], -1) {
				if !yield(name[before+1 : end]) {
					return
				}
			}
		}
	}
}

// wholeModule reports whether a tensor is of a module that was trained whole. PEFT saves
// embeddings and heads that have other rows than the base model's of its own accord
// (save_embedding_layers), and biases where it is asked to.
func wholeModule(name string, doc *checkpoint.Config) bool {
	if _, part := quant.Leaf(name); part || strings.Contains(name, ".lora_") || strings.Contains(name, "lm_head.") || strings.Contains(name, "embed") || strings.HasSuffix(name, "wte.weight") {
		return false
	}
	if strings.HasSuffix(name, ".bias") {
		biases, _ := doc.Text("bias")
		return biases == "" || biases == "none"
	}
	return strings.HasSuffix(name, ".weight")
}

func runAdapterPrefix(p *Pass) {
	for m, doc := range p.adapters {
		if kind, _ := doc.Text("peft_type"); kind == "" {
			continue
		}
		for _, t := range m.families() {
			if strings.HasPrefix(t.first, peftPrefix) {
				continue
			}
			if _, _, ok := loraModule(t.first); !ok {
				continue
			}
			if w, ok := m.wrapping(t.first); ok && strings.HasPrefix(w.Name, peftPrefix) {
				continue // WT402's
			}
			for _, i := range t.members {
				p.report(m.finding(int(i), "does not begin with base_model.model., so that PEFT does not load it"))
			}
		}
	}
}
