package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// peftPrefix is right in an adapter and wrong in a model.
const peftPrefix = "base_model.model."

// wrapping returns what has to come out of a name, and false when it is nothing.
func (m *model) wrapping(name string) (*identify.Wrapping, bool) {
	n := m.names()
	w, ok := n.Unwrap(name)
	if !ok {
		if rest, found := strings.CutPrefix(name, m.foreign()); found && m.foreign() != "" {
			return &identify.Wrapping{Name: rest, Wrappers: []string{m.foreign()}, Leading: true}, true
		}
		return n.repeatedHead(name)
	}
	if slices.Contains(w.Wrappers, peftPrefix) && m.isAdapter() {
		inner := slices.DeleteFunc(slices.Clone(w.Wrappers), func(s string) bool { return s == peftPrefix })
		switch twice := len(w.Wrappers)-len(inner) > 1; {
		case len(inner) == 0 && !twice:
			return nil, false
		case len(inner) == 0:
			w.Wrappers, w.Repeated = []string{peftPrefix}, peftPrefix
		default:
			w.Wrappers = inner
		}
		w.Name = peftPrefix + w.Name
	}
	if w.Repeated != "" && (n.conv == nil || !n.conv.Language) && m.doc == nil && strings.HasPrefix(m.common(), w.Repeated+w.Repeated) {
		return nil, false // ComfyUI's files of some image models have model.model. (model_detection.py unet_prefix_from_state_dict)
	}
	// A prefix may be a model's own, unless every name has it or it is known
	// that a name is without it.
	if prefix := strings.TrimSuffix(name, w.Name); w.Leading && w.Repeated == "" {
		_, known := n.parseBare(w.Name)
		if !strings.Contains(w.Name, ".") || !strings.HasPrefix(m.common(), prefix) && (!known || n.Adapter) {
			return nil, false
		}
	}
	return w, true
}

// foreignPrefix returns what precedes every name and is not the class's that config.json
// names, "" where nothing does.
func (m *model) foreignPrefix() string {
	fit := m.held()
	kind, _ := m.doc.Text("model_type")
	if fit == nil || len(fit.Missing) > 0 || !fit.Convention.HasFamily(kind) || !m.isMain(kind) || m.multimodal() ||
		!slices.ContainsFunc(m.doc.Texts("architectures"), func(a string) bool {
			return strings.HasSuffix(a, "ForCausalLM") || strings.HasSuffix(a, "LMHeadModel")
		}) {
		return ""
	}
	prefix, _ := fit.Convention.CutBase(fit.Prefix)
	if prefix == "" || strings.Contains(prefix, "language_model.") || !strings.HasPrefix(m.common(), prefix) {
		return ""
	}
	// The text model alone of a multimodal one: model. for model.language_model. (Gemma3nForCausalLM).
	if strings.HasPrefix(fit.Convention.Base, prefix) {
		return ""
	}
	return prefix
}

// repeatedHead takes the prefix that other names have twice out of a name that
// has it once and is to have none: model.lm_head beside model.model.layers.
func (n *naming) repeatedHead(name string) (*identify.Wrapping, bool) {
	rest, ok := strings.CutPrefix(name, n.repeated)
	if n.repeated == "" || !ok || n.conv == nil {
		return nil, false
	}
	if t, _, ok := n.conv.Match(rest); !ok || !t.Absolute {
		return nil, false
	}
	return &identify.Wrapping{Name: rest, Wrappers: []string{n.repeated}, Leading: true, Repeated: n.repeated}, true
}

// unwrap returns a name of the model without wrappers, and as it is where that
// is another tensor's name.
func (m *model) unwrap(name string) string {
	if w, ok := m.wrapping(name); ok && m.free(w.Name) && !m.superseded(name) {
		return w.Name
	}
	return name
}

// superseded reports whether a tensor is the copy that PEFT kept of a module before it was
// trained whole, and the trained one gets its name.
func (m *model) superseded(name string) bool {
	w, ok := m.wrapping(name)
	return ok && isOriginal(w) && m.unwrapped().trained[w.Name] == 1 && m.free(w.Name) && !m.unmerged()
}

// single returns a name of the model with its prefix once, where that is all
// that is wrong with it.
func (m *model) single(name string) string {
	if w, ok := m.wrapping(name); ok && w.Repeated != "" && len(w.Wrappers) == 1 {
		return m.unwrap(name)
	}
	return name
}

// free reports whether one tensor alone would have a name if wrappers came out.
func (m *model) free(clean string) bool {
	i, taken := m.Lookup(clean)
	return (!taken || m.stub(i)) && m.unwrapped().all[clean] < 2
}

// stub reports whether a tensor has no data and is in the place of one that a
// wrapper hides. A file with a dtype that is not known is not written again.
func (m *model) stub(i int) bool {
	t := m.At(i)
	return t.DType != "" && t.BytesKnown && t.Bytes == 0 && m.unwrapped().all[t.Name] == 1
}

// bareNames are the names that those with wrappers have without them, and how many have each.
type bareNames struct {
	all     map[string]int // without copies before training, where there is a trained one
	trained map[string]int // copies that PEFT trained
}

func (m *model) countUnwrapped() *bareNames {
	out := &bareNames{make(map[string]int), make(map[string]int)}
	originals := make(map[string]int)
	for _, t := range m.All() {
		w, ok := m.wrapping(t.Name)
		switch {
		case !ok:
		case isOriginal(w):
			originals[w.Name]++
		default:
			out.all[w.Name]++
			if slices.ContainsFunc(w.Wrappers, func(s string) bool { return strings.HasPrefix(s, "modules_to_save.") }) {
				out.trained[w.Name]++
			}
		}
	}
	for name, n := range originals {
		if out.trained[name] == 0 {
			out.all[name] += n
		}
	}
	return out
}

// isOriginal reports whether PEFT kept a tensor as it was before training (utils/other.py,
// ModulesToSaveWrapper).
func isOriginal(w *identify.Wrapping) bool { return slices.Contains(w.Wrappers, "original_module.") }

// holdsAdapter reports whether an adapter is among the tensors of a model that is
// to have none.
func (m *model) holdsAdapter() bool {
	if m.ownAdapters() || m.isAdapter() {
		return false
	}
	return slices.ContainsFunc(m.families(), func(t *family) bool { return isAdapterPart(t.first) })
}

// mostlyAdapter reports whether the tensors are changes to a model, whatever the
// adapter is called in their names.
func (m *model) mostlyAdapter() bool {
	n := 0
	for _, t := range m.families() {
		if isAdapterPart(t.first) {
			n++
		}
	}
	return m.names().Adapter || n > 0 && 2*n >= len(m.families())
}

// ownAdapters reports whether a model has adapters by design, as phi4mm has one
// for speech and one for images.
func (m *model) ownAdapters() bool { return m.doc.Has("speech_lora") || m.doc.Has("vision_lora") }

func isAdapterPart(name string) bool {
	return strings.Contains(name, ".lora_A.") || strings.Contains(name, ".lora_B.") || strings.Contains(name, ".lora_embedding_")
}

func runWrappers(p *Pass) {
	for _, m := range p.models {
		if m.ownAdapters() {
			continue
		}
		p.renames(m, "without it", func(name string) (what, clean string) {
			w, ok := m.wrapping(name)
			if !ok || w.Repeated != "" && len(w.Wrappers) == 1 {
				return "", ""
			}
			list := make([]string, len(w.Wrappers))
			for i, s := range w.Wrappers {
				list[i] = strings.TrimSuffix(s, ".")
			}
			if len(list) == 1 {
				return "a wrapper (" + list[0] + ") is in the name", w.Name
			}
			return "wrappers (" + strings.Join(list, ", ") + ") are in the name", w.Name
		})
	}
}

func runDoubled(p *Pass) {
	for _, m := range p.models {
		p.renames(m, "without it", func(name string) (what, clean string) {
			w, ok := m.wrapping(name)
			if !ok || w.Repeated == "" || len(w.Wrappers) > 1 {
				return "", ""
			}
			times := "twice"
			if n := (len(name)-len(w.Name))/len(w.Repeated) + 1; n > 2 {
				times = fmt.Sprintf("%d times", n)
			}
			part := "segment"
			if w.Leading {
				part = "prefix"
			}
			return "the " + part + " " + strings.TrimSuffix(w.Repeated, ".") + " appears " + times + " in the name", w.Name
		})
	}
}

// renames reports the tensors that say gives another name to, and how: one finding
// for all to which the same happens.
func (p *Pass) renames(m *model, how string, say func(name string) (what, clean string)) {
	byWhat := make(map[string]*Finding)
	var order []*Finding
	for _, t := range m.families() {
		if what, _ := say(t.first); what == "" {
			continue
		}
		for _, i := range t.members {
			name := m.At(int(i)).Name
			what, clean := say(name)
			if what == "" {
				continue
			}
			unfixed, note := "", ""
			twin, taken := m.Lookup(clean)
			switch {
			case m.superseded(name):
				note = "; modules_to_save has the trained copy of it"
			case m.unmerged():
				unfixed = "; the file holds a model and an adapter that is not merged into it: merge it first"
			case !taken && !m.free(clean):
				unfixed = "; another tensor with a wrapper would get that name, too"
			case taken && !m.free(clean) && m.At(twin).Bytes > 0:
				unfixed = "; a tensor of that name is there, too"
			case taken && !m.free(clean):
				unfixed = "; a tensor of that name is there without its data " + shapeText(m.At(twin).Shape) + ": drop it first, or export again"
			case taken:
				note = "; the tensor of that name has no data " + shapeText(m.At(twin).Shape)
			}
			key := what + unfixed + note
			f := byWhat[key]
			if f == nil {
				first := m.finding(int(i), "%s, which is %s %s%s%s", what, clean, how, unfixed, note)
				first.Count, first.Fixable = 0, unfixed == ""
				f = &first
				byWhat[key] = f
				order = append(order, f)
			}
			f.Count++
		}
	}
	for _, f := range order {
		p.report(*f)
	}
}

// commonPrefix returns what every name begins with.
func (m *model) commonPrefix() string {
	prefix := ""
	for i, t := range m.families() {
		if i == 0 {
			prefix = t.first
		}
		for !strings.HasPrefix(t.first, prefix) {
			prefix = prefix[:strings.LastIndexByte(strings.TrimSuffix(prefix, "."), '.')+1]
		}
	}
	return prefix
}

func runHalfFlat(p *Pass) {
	for _, m := range p.models {
		a := m.adapter()
		if a == nil || !a.Flat {
			continue
		}
		p.renames(m, "with "+a.Name+"'s underscores", func(name string) (what, clean string) {
			if flat := a.Flattened(name); flat != name {
				return "dots are left in the path of the module", flat
			}
			return "", ""
		})
	}
}

func runAdapterName(p *Pass) {
	for _, m := range p.models {
		if m.ownAdapters() {
			continue
		}
		p.renames(m, "without it", func(name string) (what, clean string) {
			if clean := adapter.Anonymous(name); clean != name {
				return "the adapter's name is in the key", clean
			}
			return "", ""
		})
	}
}
