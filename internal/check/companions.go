package check

import (
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

var companionRules = []*Rule{
	{
		ID: "WT501", Name: "weight-without-scale", Severity: checkpoint.Error, run: runNoScale,
		Title: "a quantised weight lacks the scale that the others have",
		Doc: `FP8 weights are raw bytes without their scales, and nothing downstream can tell. The
rule looks at the scales that the file has for other weights of the same kind, so that
formats without scales are left alone.`,
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
		Title: "the shapes of a weight and its scale do not fit",
		Doc: `Block scales have one element for each block of 128 × 128 (or the size that
quantization_config gives), channel scales one for each row, GPTQ and AWQ scales one
for each group and column.`,
		Bad: "weight [256,256], weight_scale_inv [1,2]", Good: "weight_scale_inv [2,2]",
	},
	{
		ID: "WT504", Name: "incomplete-packing", Severity: checkpoint.Error, run: runIncompletePacking,
		Title: "a packed weight lacks one of its parts",
		Doc: `GPTQ and AWQ need qweight, qzeros and scales together, MXFP4 blocks and scales,
compressed-tensors weight_packed, weight_scale and weight_shape.`,
		Bad: "qweight and qzeros without scales", Good: "qweight, qzeros and scales",
	},
	{
		ID: "WT505", Name: "quantised-leftover", Severity: checkpoint.Warning, run: runLeftover,
		Title: "a companion of quantisation is beside a plain weight",
		Doc: `The weight was dequantised and its scales were left behind. Converters stop at them
with “can not map tensor”.`,
		Bad: "q_proj.weight F16 with q_proj.SCB", Good: "q_proj.weight F16 alone",
	},
	{
		ID: "WT506", Name: "lora-pair", Severity: checkpoint.Error, run: runLoRAPair,
		Title: "the halves of a low-rank adapter do not fit together",
		Doc: `lora_A is [rank, in] and lora_B [out, rank]; both have to be there, with the same rank. So it
is with lora_down and lora_up, and with the factors of LoHa and LoKr.`,
		Bad: "lora_A.weight [8,64] without lora_B.weight", Good: "lora_A [8,64] and lora_B [64,8]",
	},
}

// scaleLeaves are the leaves of scales that stand beside P.weight.
var scaleLeaves = []string{"weight_scale_inv", "weight_scale", "weight_scale_2", "input_scale", "scale_inv"}

// companionOf splits the name of a companion into its leaf and the module it
// belongs to. The leaf is "" for other names.
func companionOf(name string) (leaf, module string) {
	for _, l := range []string{
		"weight_scale_inv", "weight_scale_2", "weight_scale", "qzeros", "qweight", "scales", "g_idx", "SCB", "weight_packed", "weight_shape", "weight_zero_point",
		"weight.absmax", "weight.quant_map", "weight.nested_absmax", "weight.nested_quant_map", "weight.SCB",
	} {
		if m, ok := strings.CutSuffix(name, "."+l); ok {
			return l, m
		}
	}
	return "", ""
}

// scaled yields the weights with a dtype that needs a scale, where weights of
// the checkpoint have one.
func runNoScale(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.partial() {
			continue
		}
		// Which leaf the file uses.
		leaf := ""
		for _, t := range m.families() {
			l, _ := companionOf(t.first)
			if l == "weight_scale_inv" || l == "weight_scale" {
				leaf = l
				break
			}
		}
		if leaf == "" {
			continue
		}
		for _, t := range m.families() {
			if !strings.HasSuffix(t.first, ".weight") {
				continue
			}
			for _, i := range t.members {
				tensor := m.At(int(i))
				if !strings.HasPrefix(tensor.DType, "F8_E") || tensor.DType == "F8_E8M0" {
					continue
				}
				module := strings.TrimSuffix(tensor.Name, ".weight")
				if m.hasAny(module, scaleLeaves) {
					continue
				}
				p.report(m.finding(int(i), "%s without a %s, which other weights have", tensor.DType, leaf))
			}
		}
	}
}

func (m *model) hasAny(module string, leaves []string) bool {
	return slices.ContainsFunc(leaves, func(l string) bool { _, ok := m.Lookup(module + "." + l); return ok })
}

func runNoWeight(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.partial() {
			continue
		}
		for _, t := range m.families() {
			leaf, module := companionOf(t.first)
			if leaf != "weight_scale_inv" && leaf != "weight_scale" && leaf != "weight_scale_2" && leaf != "SCB" && !strings.HasPrefix(leaf, "weight.") {
				continue
			}
			_ = module
			for _, i := range t.members {
				name := m.At(int(i)).Name
				_, module := companionOf(name)
				if m.hasAny(module, []string{"weight", "weight_packed", "qweight"}) {
					continue
				}
				if _, ok := m.Lookup(module); ok {
					continue
				}
				p.report(m.finding(int(i), "a scale for %s.weight, which is not there", module))
			}
		}
	}
}

// blockSize returns the size of the blocks that share a scale.
func (m *model) blockSize() (rows, columns uint64) {
	rows, columns = 128, 128
	v, _ := m.doc.Find("quantization_config", "weight_block_size")
	for i, e := range v.Elements() {
		n, ok := e.Int()
		if !ok || n < 1 {
			continue
		}
		switch i {
		case 0:
			rows = uint64(n)
		case 1:
			columns = uint64(n)
		}
	}
	return rows, columns
}

func ceilDiv(a, b uint64) uint64 { return a/b + min(a%b, 1) }

func runScaleShape(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.NamesOnly() {
			continue
		}
		rows, columns := m.blockSize()
		for _, t := range m.families() {
			leaf, _ := companionOf(t.first)
			if leaf != "weight_scale_inv" && leaf != "weight_scale" && leaf != "scales" {
				continue
			}
			for _, i := range t.members {
				scale := m.At(int(i))
				_, module := companionOf(scale.Name)
				if leaf == "scales" {
					p.packedScale(m, int(i), scale, module)
					continue
				}
				w, ok := m.Lookup(module + ".weight")
				if !ok {
					continue
				}
				weight := m.At(w)
				if len(weight.Shape) != 2 || !strings.HasPrefix(weight.DType, "F8_") {
					continue
				}
				want := []uint64{ceilDiv(weight.Shape[0], rows), ceilDiv(weight.Shape[1], columns)}
				ok = slices.Equal(scale.Shape, want)
				if leaf == "weight_scale" {
					// One scale for the tensor, for each row, or for each block.
					n, known := scale.Elements()
					ok = ok || known && (n == 1 || n == weight.Shape[0]) || len(scale.Shape) == 2 && scale.Shape[0] == weight.Shape[0] && scale.Shape[1] > 0 && weight.Shape[1]%scale.Shape[1] == 0
				}
				if !ok {
					p.report(m.finding(int(i), "%s, and %s is %s: blocks of %d × %d make %s", shapeText(scale.Shape), weight.Name, shapeText(weight.Shape), rows, columns, shapeText(want)))
				}
			}
		}
	}
}

// packedScale holds the scales of GPTQ and AWQ against the packed weight: as
// many columns as the layer has outputs.
func (p *Pass) packedScale(m *model, i int, scale checkpoint.Tensor, module string) {
	w, ok := m.Lookup(module + ".qweight")
	if !ok || len(scale.Shape) != 2 {
		return
	}
	q := m.At(w)
	if len(q.Shape) != 2 || q.DType != "I32" {
		return
	}
	// GPTQ packs along the inputs, AWQ along the outputs; 2 to 8 bits.
	columns := scale.Shape[1]
	for _, per := range []uint64{1, 4, 8, 16} {
		if q.Shape[1] == columns || columns/per == q.Shape[1] && columns%per == 0 {
			return
		}
	}
	p.report(m.finding(i, "%s, and %s is %s: as many columns as the layer has outputs are needed", shapeText(scale.Shape), q.Name, shapeText(q.Shape)))
}

// packings are the parts that packed weights need.
var packings = []struct{ weight, parts []string }{
	{[]string{".qweight"}, []string{".qzeros", ".scales"}},
	{[]string{".weight_packed"}, []string{".weight_scale"}},
	{[]string{"_blocks"}, []string{"_scales"}},
}

func runIncompletePacking(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.partial() {
			continue
		}
		for _, kind := range packings {
			for _, t := range m.families() {
				if !strings.HasSuffix(t.first, kind.weight[0]) {
					continue
				}
				for _, i := range t.members {
					// EETQ has a qweight of bytes, which is another thing.
					if m.At(int(i)).DType == "I8" {
						continue
					}
					stem := strings.TrimSuffix(m.At(int(i)).Name, kind.weight[0])
					var lacks []string
					for _, part := range kind.parts {
						if _, ok := m.Lookup(stem + part); !ok {
							lacks = append(lacks, strings.TrimLeft(part, "._"))
						}
					}
					// Symmetric quantisation may leave the zero points out.
					if slices.Equal(lacks, []string{"qzeros"}) && kind.weight[0] == ".qweight" {
						if sym, _ := m.doc.Bool("quantization_config", "sym"); sym {
							continue
						}
					}
					if len(lacks) > 0 {
						p.report(m.finding(int(i), "packed, without its %s", strings.Join(lacks, " and ")))
					}
				}
			}
		}
	}
}

func runLeftover(p *Pass) {
	for _, m := range p.models {
		if m.Format != checkpoint.Safetensors || m.NamesOnly() {
			continue
		}
		for _, t := range m.families() {
			leaf, _ := companionOf(t.first)
			if leaf == "" || leaf == "scales" || leaf == "g_idx" || leaf == "weight_packed" {
				continue
			}
			for _, i := range t.members {
				_, module := companionOf(m.At(int(i)).Name)
				w, ok := m.Lookup(module + ".weight")
				if !ok {
					continue
				}
				if weight := m.At(w); weight.DType == "F16" || weight.DType == "BF16" || weight.DType == "F32" {
					p.report(m.finding(int(i), "a companion of quantisation, and %s is %s", weight.Name, weight.DType))
				}
			}
		}
	}
}

// halves finds parts of changes that lack their other half, or have another rank
// than it, in the spelling of any project.
func (p *Pass) halves(m *model, a *identify.Adapter) {
	for _, c := range a.Components {
		for _, change := range c.Modules {
			_, t1 := change.Parts["hada_t1"]
			_, t2 := change.Parts["lokr_t2"]
			tucker := t1 || t2 // whose factors have other axes
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

func runLoRAPair(p *Pass) {
	for _, m := range p.models {
		if m.partial() {
			continue
		}
		if m.names().Adapter {
			if a := identify.ReadAdapter(slices.Collect(adapt.Tensors(m.Checkpoint)), nil, nil); a != nil {
				p.halves(m, a)
				continue
			}
		}
		if m.Format != checkpoint.Safetensors {
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
