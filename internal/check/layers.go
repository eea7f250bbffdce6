package check

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A stack is the tensors of one kind over the layers of a model: the names
// that differ in their first number alone.
type stack struct {
	before, after string
	layers        []layerTensor // in their order; a map for each of 9,000 stacks takes four times the memory
}

// A layerTensor is the tensor of a stack in one layer. Numbers of layers fit, as they were read
// from names into 31 bits.
type layerTensor struct{ layer, tensor int32 }

// at returns the tensor of a layer.
func (s *stack) at(layer int) (tensor int, ok bool) {
	i, ok := slices.BinarySearchFunc(s.layers, layer, func(t layerTensor, layer int) int { return cmp.Compare(int(t.layer), layer) })
	if !ok {
		return 0, false
	}
	return int(s.layers[i].tensor), true
}

// top returns the last layer.
func (s *stack) top() int { return int(s.layers[len(s.layers)-1].layer) }

// last returns the tensor of the last layer.
func (s *stack) last() int { return int(s.layers[len(s.layers)-1].tensor) }

// numbers yields the layers.
func (s *stack) numbers(yield func(layer int) bool) {
	for _, t := range s.layers {
		if !yield(int(t.layer)) {
			return
		}
	}
}

// findStacks returns the stacks of a model. Templates with more than one number,
// experts and the like, are split by the numbers after the first.
func (m *model) findStacks() []*stack {
	type key struct{ before, after string }
	byKey := make(map[key]*stack)
	var list []*stack
	for _, t := range m.families() {
		for _, i := range t.members {
			before, layer, after, ok := template.Layer(m.At(int(i)).Name)
			if !ok {
				continue
			}
			k := key{before, after}
			s := byKey[k]
			if s == nil {
				s = &stack{before: before, after: after}
				byKey[k] = s
				list = append(list, s)
			}
			s.layers = append(s.layers, layerTensor{int32(layer), i})
		}
	}
	for _, s := range list {
		s.sort()
	}
	return list
}

// sort sorts the layers. Of several spellings of a number, 1 and 01, the last counts.
func (s *stack) sort() {
	slices.SortStableFunc(s.layers, func(a, b layerTensor) int { return cmp.Compare(a.layer, b.layer) })
	kept := s.layers[:0]
	for i, t := range s.layers {
		if i+1 == len(s.layers) || s.layers[i+1].layer != t.layer {
			kept = append(kept, t)
		}
	}
	s.layers = kept
}

// depthOf returns the layers below each prefix that have any tensor.
func depthOf(stacks []*stack) map[string]map[int]bool {
	out := make(map[string]map[int]bool)
	for _, s := range stacks {
		if out[s.before] == nil {
			out[s.before] = make(map[int]bool)
		}
		for layer := range s.numbers {
			out[s.before][layer] = true
		}
	}
	return out
}

// isLayers reports whether numbers below a prefix are layers rather than the
// modules of a sequence, in which those without weights have no tensors. The levels
// of a UNet or an autoencoder are such a sequence.
func isLayers(before string) bool {
	return template.Counts(before) == "layer" && !strings.HasSuffix(before, "up_blocks.") && !strings.HasSuffix(before, "down_blocks.")
}

// minKinds is how many tensors the layers of a model have at least. The modules
// of a sequence have two, and between them stand modules that have none.
const minKinds = 4

func runLayerGaps(p *Pass) {
	for _, m := range p.models {
		if m.partial() || m.names().Adapter {
			continue
		}
		byPrefix := depthOf(m.stacks())
		kinds, below := make(map[string]int), make(map[string][]*stack)
		for _, s := range m.stacks() {
			below[s.before] = append(below[s.before], s)
			if 2*len(s.layers) > len(byPrefix[s.before]) {
				kinds[s.before]++
			}
		}
		for _, before := range slices.Sorted(maps.Keys(byPrefix)) {
			layers := byPrefix[before]
			top := 0
			for layer := range layers {
				top = max(top, layer)
			}
			// Numbers that begin in the middle are a part of a model; two gaps
			// in three are no stack of layers.
			if !isLayers(before) || !layers[0] || 2*len(layers) < top || kinds[before] < minKinds {
				continue
			}
			var gaps []string
			present := slices.Sorted(maps.Keys(layers))
			if len(present) == top+1 {
				continue
			}
			have := kindsByLayer(below[before])
			for i, layer := range present[1:] {
				if last := present[i]; layer > last+1 && alike(have[last], have[layer]) {
					for gap := last + 1; gap < layer; gap++ {
						gaps = append(gaps, fmt.Sprint(gap))
					}
				}
			}
			if len(gaps) == 0 {
				continue
			}
			f := m.whole("no tensor begins with %s%s, and the last layer is %d", before, shorten(gaps), top)
			f.Count = len(gaps)
			p.report(f)
		}
	}
}

// kindsByLayer returns the kinds of tensors that each layer has.
func kindsByLayer(stacks []*stack) map[int]map[string]bool {
	kinds := make(map[int]map[string]bool)
	for _, s := range stacks {
		for layer := range s.numbers {
			if kinds[layer] == nil {
				kinds[layer] = make(map[string]bool)
			}
			kinds[layer][s.after] = true
		}
	}
	return kinds
}

// alike reports whether the layers around a gap have a tensor of one kind, as layers do
// and the modules of a sequence, of which some have no weights, need not.
func alike(a, b map[string]bool) bool {
	for kind := range a {
		if b[kind] {
			return true
		}
	}
	return false
}

// shorten joins words, the first few of many.
func shorten(words []string) string {
	const few = 8
	if len(words) > few {
		return fmt.Sprintf("{%s and %d more}", strings.Join(words[:few], ","), len(words)-few)
	}
	if len(words) == 1 {
		return words[0]
	}
	return "{" + strings.Join(words, ",") + "}"
}

// findLayerKinds returns what the lists of config.json say of each layer: those with an
// entry for each (layer_types, hybrid_layer_pattern) and those of the numbers of some
// (cross_attention_layers).
func (m *model) findLayerKinds() []string {
	const most = 1 << 12
	depth, _, _, ok := number(m.doc, depthKeys...)
	if !ok || depth < 1 || depth > most {
		return nil
	}
	kinds := make([]string, depth)
	for key, v := range m.settings {
		var entries []string
		var numbers []int64
		for _, e := range v.Elements() {
			if text, ok := e.Text(); ok {
				entries = append(entries, text)
			} else if n, ok := e.Int(); ok {
				entries, numbers = append(entries, fmt.Sprint(n)), append(numbers, n)
			}
		}
		switch {
		case int64(len(entries)) == depth:
			for layer, text := range entries {
				kinds[layer] += " " + text
			}
		case len(numbers) == len(entries) && strings.Contains(key, "layer"):
			for _, n := range numbers {
				if n >= 0 && n < depth {
					kinds[n] += " " + key
				}
			}
		}
	}
	return kinds
}

// kindOfLayer returns what config.json says of a layer, "" where that is nothing.
func (m *model) kindOfLayer(layer int) string {
	if kinds := m.layerKinds(); layer < len(kinds) {
		return kinds[layer]
	}
	return ""
}

// mixesLayers reports whether config.json says that the layers are not all of one kind.
func (m *model) mixesLayers() bool { return len(slices.Compact(slices.Clone(m.layerKinds()))) > 1 }

// byDesign reports whether config.json says that some layers are of a kind that none of
// the others is of.
func (m *model) byDesign(odd []int, layers iter.Seq[int]) bool {
	kinds := make(map[string]bool)
	for _, layer := range odd {
		kinds[m.kindOfLayer(layer)] = true
	}
	for layer := range layers {
		if !slices.Contains(odd, layer) && kinds[m.kindOfLayer(layer)] {
			return false
		}
	}
	return true
}

// maxOdd is in how many layers at most something differs by mistake. What
// differs in more of them differs by design.
const maxOdd = 2

// minLayers is from how many layers on a difference can be told from design.
const minLayers = 6

func runIncompleteLayer(p *Pass) {
	for _, m := range p.models {
		if m.partial() || m.names().Adapter {
			continue
		}
		p.missingExperts(m)
		stacks := m.stacks()
		depth := depthOf(stacks)
		for _, s := range stacks {
			layers := depth[s.before]
			if !isLayers(s.before) || len(layers) < minLayers || len(layers)-len(s.layers) > maxOdd || strings.ContainsAny(s.after, "0123456789") {
				continue
			}
			first, last := len(layers), 0
			for layer := range layers {
				first, last = min(first, layer), max(last, layer)
			}
			var lacks []int
			for layer := range layers {
				if _, ok := s.at(layer); !ok {
					lacks = append(lacks, layer)
				}
			}
			slices.Sort(lacks)
			if len(lacks) == 0 || lacks[0] <= first || slices.Contains(lacks, last) || lacks[0] == first+1 || m.byDesign(lacks, maps.Keys(layers)) {
				continue
			}
			for _, layer := range lacks {
				if m.lacks(m.At(s.last()).Name, layer) {
					continue // WT318's
				}
				f := m.finding(s.last(), "absent, and %d of %s %s it", len(s.layers), plural.Of(len(layers), "layer"), plural.Verb(len(s.layers), "have"))
				f.Tensor = fmt.Sprintf("%s%d%s", s.before, layer, s.after)
				p.report(f)
			}
		}
	}
}

// missingExperts reports the experts that a layer lacks, where most layers have as
// many as there are.
func (p *Pass) missingExperts(m *model) {
	have := make(map[string]map[int]map[int]string) // by kind of module, layer and expert
	for _, t := range m.families() {
		// The scale that an expert lacks is reported by WT501.
		if _, beside := quant.Leaf(t.first); beside || !strings.Contains(t.first, "experts.") {
			continue
		}
		layers, experts := make(map[int]bool), 0
		for _, i := range t.members {
			_, layer, _, _ := template.Layer(m.At(int(i)).Name)
			e, ok := expertIndex(m.At(int(i)).Name)
			if !ok {
				break
			}
			layers[layer], experts = true, max(experts, e+1)
		}
		if len(t.members) == len(layers)*experts {
			continue
		}
		// An expert may be quantised in one layer and not in another.
		for _, i := range t.members {
			module, _, _ := quant.Split(m.At(int(i)).Name)
			_, layer, _, ok := template.Layer(module)
			e, numbered := expertIndex(module + ".")
			if !ok || !numbered {
				continue
			}
			kind := string(template.Words.Append(nil, module))
			if have[kind] == nil {
				have[kind] = make(map[int]map[int]string)
			}
			if have[kind][layer] == nil {
				have[kind][layer] = make(map[int]string)
			}
			have[kind][layer][e] = module
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(have)) {
		layers, most, whole := have[kind], 0, 0
		for _, experts := range layers {
			most = max(most, slices.Max(slices.Collect(maps.Keys(experts)))+1)
		}
		for _, experts := range layers {
			if len(experts) == most {
				whole++
			}
		}
		if 2*whole <= len(layers) {
			continue
		}
		for _, layer := range slices.Sorted(maps.Keys(layers)) {
			experts := layers[layer]
			some := experts[slices.Min(slices.Collect(maps.Keys(experts)))]
			at := strings.LastIndex(some, "experts.") + len("experts.")
			_, rest, _ := strings.Cut(some[at:], ".")
			for e := range most {
				if experts[e] == "" {
					f := m.whole("absent, and the other layers have %s", plural.Of(most, "expert"))
					f.Tensor = fmt.Sprintf("%s%d.%s", some[:at], e, rest)
					p.grade(checkpoint.Error, f)
				}
			}
		}
	}
}

// oddLayers yields the tensors of at most two layers that differ in what say
// returns from those of all other layers.
func (p *Pass) oddLayers(say func(t checkpoint.Tensor) string, yield func(m *model, i int, usual string)) {
	for _, m := range p.models {
		if m.NamesOnly() || m.names().Adapter {
			continue
		}
		for _, s := range m.stacks() {
			if len(s.layers) < minLayers || !isLayers(s.before) {
				continue
			}
			count := make(map[string]int)
			for _, t := range s.layers {
				count[say(m.At(int(t.tensor)))]++
			}
			usual := ""
			for what, n := range count {
				if len(s.layers)-n <= maxOdd {
					usual = what
				}
			}
			if usual == "" || len(count) == 1 {
				continue
			}
			var odd []int
			edge := false
			for _, t := range s.layers {
				if layer := int(t.layer); say(m.At(int(t.tensor))) != usual {
					odd = append(odd, layer)
					edge = edge || layer == 0 || layer == s.top() || layer == 1
				}
			}
			if edge || m.byDesign(odd, s.numbers) {
				continue
			}
			for _, layer := range odd {
				i, _ := s.at(layer)
				yield(m, i, usual)
			}
		}
	}
}

func shapeText(shape []uint64) string { return strings.ReplaceAll(fmt.Sprint(shape), " ", ",") }

func runOddShape(p *Pass) {
	p.oddLayers(func(t checkpoint.Tensor) string { return shapeText(t.Shape) }, func(m *model, i int, usual string) {
		if n, known := m.At(i).Elements(); known && n == 0 {
			return // WT319's
		}
		p.report(m.finding(i, "has the shape %s, and %s in the other layers", shapeText(m.At(i).Shape), usual))
	})
}

func runOddDType(p *Pass) {
	p.oddLayers(func(t checkpoint.Tensor) string {
		if plain(t.DType) {
			return t.DType
		}
		return "packed"
	}, func(m *model, i int, usual string) {
		if t := m.At(i); plain(t.DType) && usual != "packed" {
			p.report(m.finding(i, "is %s, and %s in the other layers", t.DType, usual))
		}
	})
}
