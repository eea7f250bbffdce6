package check

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

var companionRules = []*Rule{
	{
		ID: "WT501", Name: "weight-without-scale", Severity: checkpoint.Error, run: runNoScale,
		Title: "a quantised weight lacks the scale that the others have",
		Doc: `FP8 weights are raw bytes without their scales, and nothing downstream can tell. The
rule looks at the scales that other weights of the same layers have, so that a plain cast
to FP8 is left alone; an input_scale alone, or another part, also shows that one is lost.`,
		Bad: "q_proj.weight F8_E4M3 without q_proj.weight_scale_inv", Good: "both",
	},
	{
		ID: "WT502", Name: "scale-without-weight", Severity: checkpoint.Error, run: runNoWeight,
		Title: "a scale belongs to no weight",
		Doc:   `The weight has another name, or was left out: a rename that did not carry its companions along.`,
		Bad:   "q.weight_scale_inv without q.weight", Good: "both",
	},
	{
		ID: "WT503", Name: "scale-shape", Severity: checkpoint.Error, run: runScaleShape,
		Title: "a weight and its scale do not fit together",
		Doc: `Block scales have one element for each block of 128 × 128 (or the size that
quantization_config gives), channel scales one for each row, NVFP4 one F8 for 16 values
of a row, GPTQ and AWQ scales one for each group and column. Dtype and shape of every
part are held against those of the weight.`,
		Bad: "weight [256,256], weight_scale_inv [1,2]", Good: "weight_scale_inv [2,2]",
	},
	{
		ID: "WT504", Name: "incomplete-packing", Severity: checkpoint.Error, run: runIncompletePacking,
		Title: "a packed weight lacks one of its parts",
		Doc: `GPTQ and AWQ need qweight, qzeros and scales together, MXFP4 blocks and scales,
compressed-tensors weight_packed and weight_scale, SVDQuant qweight, wscales and both
low-rank halves. What nine in ten weights of a scheme have, such as g_idx, the others
need too.`,
		Bad: "qweight and qzeros without scales", Good: "qweight, qzeros and scales",
	},
	{
		ID: "WT505", Name: "quantised-leftover", Severity: checkpoint.Warning, run: runLeftover,
		Title: "a companion of quantisation is beside a plain weight",
		Doc: `The weight was dequantised and its scales were left behind. Converters stop at them
with “can not map tensor”. ComfyUI's marker scaled_fp8 in a file without F8 weights is such a thing, too.`,
		Bad: "q_proj.weight F16 with q_proj.SCB", Good: "q_proj.weight F16 alone",
	},
	{
		ID: "WT506", Name: "lora-pair", Severity: checkpoint.Error, run: runLoRAPair,
		Title: "the halves of a low-rank adapter do not fit together",
		Doc: `lora_A is [rank, in] and lora_B [out, rank]; both have to be there, with the same rank. So it
is with lora_down and lora_up, and with the factors of LoHa and LoKr. Where most modules have an alpha,
or the magnitude of a DoRA, one without it is not scaled as it was trained.`,
		Bad: "lora_A.weight [8,64] without lora_B.weight", Good: "lora_A [8,64] and lora_B [64,8]",
	},
	{
		ID: "WT507", Name: "cast-or-lost", Severity: checkpoint.Info, run: runCast,
		Title: "no F8 weight has a scale",
		Doc: `A plain cast to FP8 needs none. One whose scales were lost looks the same, and computes
noise: 'wtinspect check --values' tells them apart by the numbers (WT559). A warning where
the marker scaled_fp8 says that there are scales: ComfyUI takes 1 for each that it does not find.`,
		Bad: "every weight F8_E4M3, no weight_scale", Good: "a weight_scale beside each",
	},
}

// quantisation says how the weights are quantised, as far as the tensors show.
func (m *model) quantisation() *quant.Report {
	s := quant.NewSurvey(m.Len())
	if m.Format != checkpoint.GGUF {
		for _, t := range m.All() {
			dtype := t.DType
			if m.NamesOnly() {
				dtype = ""
			}
			s.Add(t.Name, dtype, t.Shape)
		}
	}
	return s.Report(adapt.Quantised(m.doc))
}

// quantFaults yields what is wrong with the quantised weights of the models that
// have data, or of all of them.
func (p *Pass) quantFaults(kind quant.Kind) iter.Seq2[*model, quant.Fault] {
	return func(yield func(*model, quant.Fault) bool) {
		for _, m := range p.models {
			if kind == quant.Misfit && m.NamesOnly() || kind != quant.Misfit && m.partial() {
				continue
			}
			for _, f := range m.quant().Faults {
				if f.Kind == kind && !yield(m, f) {
					return
				}
			}
		}
	}
}

// lost reports the parts that weights lack: of packed ones, or of those that are stored
// under their own name.
func (p *Pass) lost(packed bool) {
	var last *quant.Module
	var pending Finding
	var lacks []string
	flush := func() {
		if last != nil {
			pending.Message = fmt.Sprintf(pending.Message, strings.Join(lacks, " and "))
			p.report(pending)
		}
		last, lacks = nil, nil
	}
	for m, f := range p.quantFaults(quant.Lost) {
		if (f.Weight.Leaf != "weight" && f.Weight.Leaf != "") != packed {
			continue
		}
		if f.Module != last {
			flush()
			why := "which other weights have"
			if f.Like == "" {
				why = "which " + f.Scheme + " needs"
			}
			pending = m.finding(f.Module.Index(f.Tensor), "%s without its %%s, %s", cmp.Or(f.Weight.DType, "packed"), why)
			last = f.Module
		}
		lacks = append(lacks, strings.TrimLeft(f.Leaf, "_:"))
	}
	flush()
}

func runNoScale(p *Pass) { p.lost(false) }

func runCast(p *Pass) {
	for _, m := range p.models {
		list := m.castWeights()
		// WT311 reports those of which the configuration says more, and WT501 those that
		// alone have no scale.
		if len(list) == 0 || m.NamesOnly() || m.isAdapter() || p.claim(m) != nil || slices.ContainsFunc(m.quant().Faults, func(f quant.Fault) bool { return f.Kind == quant.Lost }) {
			continue
		}
		var marked, plain []int
		for _, i := range list {
			if m.marker(m.At(i).Name) != "" {
				marked = append(marked, i)
			} else {
				plain = append(plain, i)
			}
		}
		if len(plain) > 0 {
			f := m.finding(plain[0], "an F8 weight without a scale: a plain cast, or the scales were lost")
			f.Count = len(plain)
			p.report(f)
		}
		if len(marked) > 0 {
			f := m.finding(marked[0], "an F8 weight without a scale, and %s says that there are scales; ComfyUI takes 1 for each", m.marker(m.At(marked[0]).Name))
			f.Count = len(marked)
			p.grade(checkpoint.Warning, f)
		}
	}
}

// markers returns the tensors that say that weights are quantised: one for each of the models
// in a file.
func (m *model) markers() []string {
	const most = 8
	list := m.quant().Markers
	return list[:min(most, len(list))]
}

// marker returns the one that speaks of a tensor, "" where none does.
func (m *model) marker(name string) string {
	for _, marker := range m.markers() {
		if strings.HasPrefix(name, marker[:strings.LastIndexByte(marker, '.')+1]) {
			return marker
		}
	}
	return ""
}

// castWeights returns the F8 weights that have nothing beside them.
func (m *model) castWeights() (list []int) {
	for _, mod := range m.quant().Modules {
		if mod.Scheme != nil && mod.Scheme.Name == quant.Cast {
			list = append(list, mod.Index(&mod.Tensors[mod.WeightAt()]))
		}
	}
	return list
}

func runIncompletePacking(p *Pass) { p.lost(true) }

func runNoWeight(p *Pass) {
	for m, f := range p.quantFaults(quant.Orphan) {
		p.report(m.finding(f.Module.Index(f.Tensor), "a scale for %s.weight, which is not there", f.Module.Name))
	}
}

func runScaleShape(p *Pass) {
	for m, f := range p.quantFaults(quant.Misfit) {
		w := m.At(f.Module.Index(f.Weight))
		want := ""
		if f.Want != "" {
			want = ": " + f.Scheme + " needs " + f.Want
		}
		if f.Tensor == f.Weight {
			p.report(m.finding(f.Module.Index(f.Tensor), "%s %s%s", w.DType, shapeText(w.Shape), want))
			continue
		}
		p.report(m.finding(f.Module.Index(f.Tensor), "%s %s, and %s is %s %s%s", f.Tensor.DType, shapeText(f.Tensor.Shape), w.Name, w.DType, shapeText(w.Shape), want))
	}
}

func runLeftover(p *Pass) {
	for m, f := range p.quantFaults(quant.Unneeded) {
		w := m.At(f.Module.Index(f.Weight))
		p.report(m.finding(f.Module.Index(f.Tensor), "a companion of quantisation, and %s is %s", w.Name, w.DType))
	}
	for _, m := range p.models {
		if m.NamesOnly() || m.partial() {
			continue
		}
		if len(m.markers()) == 0 {
			continue
		}
		has := make(map[string]bool)
		for _, t := range m.families() {
			if slices.ContainsFunc(t.members, func(i int32) bool { return len(m.At(int(i)).Shape) > 1 && strings.HasPrefix(m.At(int(i)).DType, "F8") }) {
				has[m.marker(t.first)] = true
			}
		}
		for _, marker := range m.markers() {
			if i, ok := m.Lookup(marker); ok && !has[marker] {
				p.report(m.finding(i, "says that weights are F8 with scales, and none is F8"))
			}
		}
	}
}

// halves finds parts of changes that lack their other half, or have another rank
// than it, in the spelling of any project, and changes that lack what most have.
func (p *Pass) halves(m *model, a *identify.Adapter) {
	for _, part := range []string{"alpha", "magnitude"} {
		p.lacking(m, a, part)
	}
	for _, c := range a.Components {
		for _, change := range c.Modules {
			_, t1 := change.Parts["hada_t1"]
			_, t2 := change.Parts["lokr_t2"]
			tucker := t1 || t2 // whose factors have other axes
			for _, factor := range []struct{ has, not string }{{"lokr_w1", "lokr_w2"}, {"lokr_w2", "lokr_w1"}} {
				_, whole := change.Parts[factor.not]
				_, split := change.Parts[factor.not+"_a"]
				if i, ok := change.Parts[factor.has]; ok && !whole && !split {
					p.report(m.finding(i, "without its other half %s", a.Beside(a.Tensors[i].Name, factor.has, factor.not)))
				}
			}
			if i, ok := change.Parts["magnitude"]; ok {
				n, axes := uint64(1), 0
				for _, d := range a.Tensors[i].Shape {
					if d != 1 {
						n, axes = d, axes+1
					}
				}
				// One for each output; LyCORIS also has one for each input (wd_on_out).
				if s := a.ModuleShape(change); s != nil && (axes > 1 || n != s[0] && n != s[1]) {
					p.report(m.finding(i, "magnitudes of the shape %s, of a module of %s", shapeText(a.Tensors[i].Shape), plural.Of(s[0], "output")))
				}
			}
			for _, part := range slices.Sorted(maps.Keys(change.Parts)) {
				i, with := change.Parts[part], adapter.PartOf(part).With
				if with == "" {
					continue
				}
				t := a.Tensors[i]
				name := a.Beside(t.Name, part, with)
				other, ok := change.Parts[with]
				if !ok {
					p.report(m.finding(i, "without its other half %s", name))
					continue
				}
				x, y := a.RankOf(part, t.Shape), a.RankOf(with, a.Tensors[other].Shape)
				if part < with && x != y && !tucker && len(t.Shape) >= 2 && len(a.Tensors[other].Shape) >= 2 {
					p.report(m.finding(i, "a rank of %d, and %s of %d", x, a.Tensors[other].Name, y))
				}
			}
		}
	}
}

// lacking finds changes without a part that most others of their kind have.
func (p *Pass) lacking(m *model, a *identify.Adapter, part string) {
	for _, c := range a.Components {
		with, without := make(map[string]int), make(map[string][]*adapter.Change)
		for _, change := range c.Modules {
			if _, ok := change.Parts[part]; ok {
				with[change.Kind()]++
			} else {
				without[change.Kind()] = append(without[change.Kind()], change)
			}
		}
		for _, kind := range slices.Sorted(maps.Keys(without)) {
			if len(without[kind]) >= with[kind] {
				continue
			}
			for _, change := range without[kind] {
				first := slices.MinFunc(slices.Sorted(maps.Keys(change.Parts)), func(x, y string) int { return cmp.Compare(change.Parts[x], change.Parts[y]) })
				i := change.Parts[first]
				p.report(m.finding(i, "without %s, which most modules of the adapter have", a.Beside(a.Tensors[i].Name, first, part)))
			}
		}
	}
}

func runLoRAPair(p *Pass) {
	for _, m := range p.models {
		if m.partial() {
			continue
		}
		if a := m.adapter(); a != nil {
			p.halves(m, a)
			continue
		}
		if m.Format == checkpoint.GGUF {
			continue
		}
		for _, t := range m.families() {
			_, half, ok := loraModule(t.first)
			if !ok {
				continue
			}
			other := map[string]string{"lora_A": "lora_B", "lora_B": "lora_A"}[half]
			for _, i := range t.members {
				tensor := m.At(int(i))
				name := strings.Replace(tensor.Name, "."+half, "."+other, 1)
				o, ok := m.Lookup(name)
				if !ok {
					p.report(m.finding(int(i), "without its other half %s", name))
					continue
				}
				pair := m.At(o)
				if half != "lora_A" || len(tensor.Shape) != 2 || len(pair.Shape) != 2 || tensor.Shape[0] == pair.Shape[1] {
					continue
				}
				p.report(m.finding(int(i), "a rank of %d, and %s of %d", tensor.Shape[0], name, pair.Shape[1]))
			}
		}
	}
}
