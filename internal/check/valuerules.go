package check

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/numpy"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/template"
)

// valueRules read the data, all of them in one pass.
var valueRules = []*Rule{
	{
		ID: "WT550", Name: "unread-values", Severity: checkpoint.Error, run: runUnread, Values: true,
		Title: "the data of a tensor cannot be read",
		Doc: `The file ends before the tensor does, the tensor's bytes are not what dtype and shape
say, it lies over others, or the disk gives an error. The other rules that read values say nothing of the
tensor.`,
		Bad: "model.norm.weight ends 512 bytes after the end of the file", Good: "every byte can be read",
	},
	{
		ID: "WT551", Name: "nan", Severity: checkpoint.Error, run: runNaN, Values: true,
		Title: "a tensor holds NaN",
		Doc: `One number that is not a number makes every output of the model one: the training
diverged, or a conversion divided by zero. A file that was shifted by a byte or read as
another dtype has NaN in most tensors.`,
		Bad: "q_proj.weight with 12 NaN of 16777216 numbers", Good: "finite numbers",
	},
	{
		ID: "WT552", Name: "infinity", Severity: checkpoint.Error, run: runInfinity, Values: true,
		Title: "a tensor holds infinite numbers",
		Doc: `Weights that were converted from BF16 or F32 to F16 overflow beyond 65504. Masks, of
zeros and negative infinity, are left alone.`,
		Bad: "embed_tokens.weight with 3 infinite of 131072000 numbers", Good: "finite numbers",
	},
	{
		ID: "WT553", Name: "all-zero", Severity: checkpoint.Warning, run: runZero, Values: true,
		Title: "all numbers of a tensor are zero",
		Doc: `A weight that was never loaded, was lost by a conversion, or was allocated and not
filled. The rule looks at matrices, and at the weights of normalisations that are not
stored as a difference from one. Biases may be zero, and so may zero points and buffers;
an adapter whose lora_B is zero does nothing, as before its training, which is a note.`,
		Bad: "layers.7.mlp.up_proj.weight of zeros", Good: "numbers other than zero",
	},
	{
		ID: "WT554", Name: "constant", Severity: checkpoint.Warning, run: runConstant, Values: true,
		Title: "all numbers of a matrix are the same",
		Doc: `An initialisation that was never overwritten. Vectors are left alone, as those of
normalisations begin with ones, and so are the scales of quantised weights.`,
		Bad: "layers.7.mlp.up_proj.weight of 0.02 alone", Good: "numbers that differ",
	},
	{
		ID: "WT555", Name: "untrained-rows", Severity: checkpoint.Warning, run: runUntrainedRows, Values: true,
		Title: "many rows of the token embedding are the same",
		Doc: `Rows of tokens that the training never saw are zeros, or copies of one another. Up to
a twentieth of the rows may be so, for tokens that are reserved and for padding to a round
number; more say that the vocabulary was enlarged and not trained, or that the embedding
was loaded in part.`,
		Bad: "embed_tokens.weight with 4000 of 32000 rows of zeros", Good: "rows that differ, except some reserved ones",
	},
	{
		ID: "WT556", Name: "repeated-layer", Severity: checkpoint.Warning, run: runRepeatedLayer, Values: true,
		Title: "a layer has the same weights as another",
		Doc: `Matrices of two layers have the same bytes, which no training brings about. A merge or
a conversion wrote one layer twice; of a model that was made deeper by repeating layers
and not trained since, it is meant.`,
		Bad: "layers.3 and layers.4 with the same bytes in 7 matrices", Good: "layers that differ",
	},
	{
		ID: "WT557", Name: "copied-values", Severity: checkpoint.Info, run: runCopies, Values: true,
		Title: "a tensor holds the numbers of another one, or of several",
		Doc: `The same bytes under two names, the same numbers in another order (a matrix and its
transpose, heads that were permuted), or a fused matrix beside the parts it was made of.
One of them is superfluous: most loaders read one and pass over the other. Numbers are
compared as a multiset, by a hash of 128 bits; those of block-quantised tensors by their
bytes alone.`,
		Bad: "qkv_proj.weight beside q_proj.weight, k_proj.weight and v_proj.weight with its numbers", Good: "every number once",
	},
	{
		ID: "WT558", Name: "scale-values", Severity: checkpoint.Error, run: runScaleValues, Values: true,
		Title: "a scale of quantised weights is not a positive number",
		Doc: `A scale that is NaN or infinite spoils all that it scales, one of zero makes it zeros,
and a negative one turns its sign. Scales of single rows and blocks may be zero, as those of
rows of zeros are, and the scales of MLX and of integer packings may be negative.`,
		Bad: "q_proj.weight_scale_inv with a least value of -0.5", Good: "scales above zero",
	},
	{
		ID: "WT559", Name: "scale-lost", Severity: checkpoint.Error, run: runFullRange, Values: true,
		Title: "F8 weights without a scale fill the range of their type",
		Doc: `Quantisers divide a weight by its greatest number, so that the result reaches the end of
the type: 448 for F8_E4M3. The weights of a model are far below, and so are those of a
plain cast. Where they are not, the scales were left out, and every weight is wrong.`,
		Bad: "to_q.weight F8_E4M3 from -448 to 448, no scale", Good: "from -0.6 to 0.5",
	},
}

// measured calls yield with the tensors whose values are known.
func (p *Pass) measured(yield func(m *model, i int, t checkpoint.Tensor, v *measure)) {
	for _, m := range p.models {
		tensors := m.measures().tensors
		for i, t := range m.All() {
			if v := &tensors[i]; v.count > 0 {
				yield(m, i, t, v)
			}
		}
	}
}

func runUnread(p *Pass) {
	for _, m := range p.models {
		for i, v := range m.measures().tensors {
			f, isFault := errors.AsType[*checkpoint.Fault](v.err)
			objects := isFault && f.Code == string(numpy.CodeObject)
			if v.err != nil && wrongSum(v.err) == nil && !objects { // which WT715 and WT720 report
				p.report(m.finding(i, "its values cannot be read: %s", unread(v.err)))
			}
		}
	}
}

// ofNumbers says how many of a tensor's numbers something holds for.
func (v *measure) ofNumbers(n uint64, what string) string {
	switch {
	case v.count == 1:
		return "its one number is " + what
	case n == 1:
		return fmt.Sprintf("1 of %d numbers is %s", v.count, what)
	case n == v.count:
		return fmt.Sprintf("all %d numbers are %s", n, what)
	}
	return fmt.Sprintf("%d of %d numbers are %s", n, v.count, what)
}

func runNaN(p *Pass) {
	p.measured(func(m *model, i int, t checkpoint.Tensor, v *measure) {
		if v.nan > 0 && !isScale(t.Name) {
			p.report(m.finding(i, "%s", v.ofNumbers(v.nan, "NaN")))
		}
	})
}

func runInfinity(p *Pass) {
	p.measured(func(m *model, i int, t checkpoint.Tensor, v *measure) {
		n := v.posInf + v.negInf
		if n == 0 || isScale(t.Name) || isMask(t.Name) && v.posInf == 0 && v.finite() == v.zeros {
			return
		}
		p.report(m.finding(i, "%s", v.ofNumbers(n, "infinite")))
	})
}

// isMask reports whether a name is that of an attention mask.
func isMask(name string) bool {
	leaf := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Contains(leaf, "mask") || strings.HasSuffix(name, "attn.bias")
}

// isScale reports whether a name is that of a scale of quantised weights.
func isScale(name string) bool {
	_, beside := quant.Leaf(name)
	return beside || strings.HasSuffix(name, "_scales")
}

// isBias reports whether a name is that of an additive vector or matrix, which
// may well be zero.
func isBias(name string) bool {
	leaf := name[strings.LastIndexByte(name, '.')+1:]
	return strings.Contains(leaf, "bias") || leaf == "beta" || strings.HasSuffix(leaf, "_b")
}

// matrix reports whether a tensor is one of weights: of two dimensions or more
// that are not one.
func matrix(t checkpoint.Tensor) bool {
	if isInteger(t.DType) || isScale(t.Name) || isBias(t.Name) || isBuffer(t.Name) || isMask(t.Name) {
		return false
	}
	n := 0
	for _, d := range t.Shape {
		if d > 1 {
			n++
		}
	}
	return n >= 2
}

// plainNorm reports whether a vector is the weight of a normalisation
// that is multiplied as it is stored.
func (m *model) plainNorm(t checkpoint.Tensor) bool {
	if n := m.names(); len(t.Shape) != 1 || isInteger(t.DType) || isBias(t.Name) || n.conv == nil || n.conv.Layout.OffsetsNorms() {
		return false
	}
	return strings.HasSuffix(t.Name, "norm.weight")
}

func runZero(p *Pass) {
	p.measured(func(m *model, i int, t checkpoint.Tensor, v *measure) {
		if !v.zero() || v.count < 2 || !matrix(t) && !m.plainNorm(t) {
			return
		}
		if lower := strings.ToLower(t.Name); strings.Contains(lower, "lora_b") || strings.Contains(lower, "lora_up") {
			p.grade(checkpoint.Info, m.finding(i, "all %d numbers are zero: the adapter does nothing here", v.count))
			return
		}
		p.report(m.finding(i, "all %d numbers are zero", v.count))
	})
}

func runConstant(p *Pass) {
	p.measured(func(m *model, i int, t checkpoint.Tensor, v *measure) {
		if v.constant() && matrix(t) {
			p.report(m.finding(i, "all %d numbers are %.6g", v.count, v.min))
		}
	})
}

// reservedShare is the part of the vocabulary, one in so many, that may be
// reserved or padding.
const reservedShare = 20

func runUntrainedRows(p *Pass) {
	for _, m := range p.models {
		all := m.measures()
		if all.rows == nil {
			continue
		}
		v := &all.tensors[all.embedding]
		n, first, zero := all.rows.equal()
		if n < 2 || uint64(n)*reservedShare <= all.rows.rows || v.zero() || v.constant() {
			continue
		}
		what := fmt.Sprintf("the same as row %d", first)
		if zero {
			what = "zeros"
		}
		p.report(m.finding(all.embedding, "%d of %d rows are %s", n, all.rows.rows, what))
	}
}

// telling reports whether a tensor has so many and so different numbers that
// another one with the same is no accident.
func telling(t checkpoint.Tensor, v *measure) bool {
	const few = 32
	return matrix(t) && v.count >= few && v.finite() > v.zeros && v.min < v.max && (v.distinct < 0 || v.distinct > 2)
}

func runRepeatedLayer(p *Pass) {
	type layer struct {
		before string
		number int
	}
	type pair struct{ first, repeat layer }
	type content struct {
		before, after, dtype string
		sha                  [sha256.Size]byte
	}
	for _, m := range p.models {
		tensors := m.measures().tensors
		firsts := make(map[content]layer) // the lowest
		matrices := make(map[layer]int)
		repeats := make(map[pair][]int)
		var order []pair
		for _, l := range m.inLayers(tensors) {
			here := layer{l.before, l.layer}
			matrices[here]++
			key := content{l.before, l.after, l.dtype, tensors[l.i].sha256}
			first, ok := firsts[key]
			if !ok {
				firsts[key] = here
				continue
			}
			if first == here {
				continue // a name that the file has twice
			}
			k := pair{first, here}
			if repeats[k] == nil {
				order = append(order, k)
			}
			repeats[k] = append(repeats[k], l.i)
		}
		for _, k := range order {
			of := repeats[k]
			f := m.finding(of[0], "layer %d repeats layer %d: the same bytes in %d of its %s",
				k.repeat.number, k.first.number, len(of), plural.Of(matrices[k.repeat], "matrix"))
			f.Count = len(of)
			p.report(f)
		}
	}
}

// A layered is a telling tensor that belongs to a layer.
type layered struct {
	i             int
	before, after string
	layer         int
	dtype         string
}

// inLayers returns the telling tensors of layers, layer by layer.
func (m *model) inLayers(tensors []measure) []layered {
	var list []layered
	for i, t := range m.All() {
		if v := &tensors[i]; v.count > 0 && telling(t, v) {
			if before, layer, after, ok := template.Layer(t.Name); ok {
				list = append(list, layered{i, before, after, layer, t.DType})
			}
		}
	}
	slices.SortStableFunc(list, func(a, b layered) int {
		return cmp.Or(strings.Compare(a.before, b.before), cmp.Compare(a.layer, b.layer))
	})
	return list
}

func runCopies(p *Pass) {
	for _, m := range p.models {
		p.sameNumbers(m)
		p.fused(m)
	}
}

// sameNumbers reports the tensors that hold the numbers of one before them.
func (p *Pass) sameNumbers(m *model) {
	type numbers struct {
		dtype string
		count uint64
		sum   values.Fingerprint
		sha   [sha256.Size]byte
	}
	tied, _ := m.doc.Bool("tie_word_embeddings")
	tensors := m.measures().tensors
	firsts := make(map[numbers]int)
	for i, t := range m.All() {
		v := &tensors[i]
		if v.count == 0 || !telling(t, v) {
			continue
		}
		key := numbers{dtype: t.DType, count: v.count, sum: v.fingerprint}
		if v.fingerprint.IsZero() {
			key.sha = v.sha256
		}
		k, ok := firsts[key]
		if !ok {
			firsts[key] = i
			continue
		}
		first := m.At(k)
		if tensors[k].sha256 != v.sha256 || !slices.Equal(t.Shape, first.Shape) {
			p.report(m.finding(i, "%s, has the numbers of %s, %s, in another order or shape", shapeText(t.Shape), first.Name, shapeText(first.Shape)))
			continue
		}
		before, layer, after, inLayer := template.Layer(t.Name)
		b, l, a, alike := template.Layer(first.Name)
		if inLayer && alike && before == b && after == a && layer != l {
			continue // WT556
		}
		if tied && !inLayer && !alike {
			continue
		}
		p.report(m.finding(i, "has the same bytes as %s", first.Name))
	}
}

// maxFused bounds the tensors of a layer among which parts are looked for; there
// are more where experts stand one by one, which are never fused with others.
const maxFused = 48

// fused reports the tensors that are others of their layer put together: two or
// three of them.
func (p *Pass) fused(m *model) {
	tensors := m.measures().tensors
	list := m.inLayers(tensors)
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].layer == list[0].layer && list[n].before == list[0].before {
			n++
		}
		layer := list[:n]
		list = list[n:]
		if n > maxFused {
			continue
		}
		for _, whole := range layer {
			if parts := partsOf(whole, layer, tensors); parts != nil {
				names := make([]string, len(parts))
				for k, i := range parts {
					names[k] = m.At(i).Name
				}
				p.report(m.finding(whole.i, "has the numbers of %s put together", strings.Join(names, " and ")))
			}
		}
	}
}

// partsOf returns two or three tensors that whole is made of, or nil.
func partsOf(whole layered, layer []layered, tensors []measure) []int {
	w := &tensors[whole.i]
	if w.fingerprint.IsZero() {
		return nil
	}
	var parts []layered
	for _, l := range layer {
		if l.dtype == whole.dtype && tensors[l.i].count < w.count {
			parts = append(parts, l)
		}
	}
	for a, x := range parts {
		for b, y := range parts[:a] {
			two := tensors[x.i].fingerprint.Add(tensors[y.i].fingerprint)
			count := tensors[x.i].count + tensors[y.i].count
			if count == w.count && two == w.fingerprint {
				return []int{y.i, x.i}
			}
			if count >= w.count {
				continue
			}
			for _, z := range parts[:b] {
				if count+tensors[z.i].count == w.count && two.Add(tensors[z.i].fingerprint) == w.fingerprint {
					return []int{z.i, y.i, x.i}
				}
			}
		}
	}
	return nil
}

// positiveScales are the ends of the names of scales that are never negative.
var positiveScales = []string{".weight_scale_inv", ".weight_scale", ".weight_scale_2", ".input_scale", ".scale_inv", ".k_scale", ".v_scale", ".SCB", ".weight.absmax"}

func runScaleValues(p *Pass) {
	p.measured(func(m *model, i int, t checkpoint.Tensor, v *measure) {
		if !isScale(t.Name) || isInteger(t.DType) || strings.HasSuffix(t.Name, "zero_point") {
			return
		}
		signed := !slices.ContainsFunc(positiveScales, func(end string) bool { return strings.HasSuffix(t.Name, end) })
		switch {
		case v.finite() < v.count:
			p.report(m.finding(i, "%s", v.ofNumbers(v.count-v.finite(), "NaN or infinite")))
		case v.zero():
			p.report(m.finding(i, "%s", v.ofNumbers(v.zeros, "zero")))
		case v.min < 0 && !signed:
			p.report(m.finding(i, "a scale is negative: the least of %d is %.6g", v.count, v.min))
		}
	})
}

// fullRange is the greatest number of the types with eight bits (OCP 8-bit floating point
// specification, table 1; the FNUZ types have no infinity).
var fullRange = map[string]float64{"F8_E4M3": 448, "F8_E5M2": 57344, "F8_E4M3FNUZ": 240, "F8_E5M2FNUZ": 57344}

func runFullRange(p *Pass) {
	for _, m := range p.models {
		var full []int
		known := 0
		for _, i := range m.castWeights() {
			v, most := &m.measures().tensors[i], fullRange[m.At(i).DType]
			if v.finite() == 0 || most == 0 {
				continue
			}
			if known++; max(-v.min, v.max) == most {
				full = append(full, i)
			}
		}
		// A weight or two may reach it by themselves.
		if 2*len(full) <= known {
			continue
		}
		v := &m.measures().tensors[full[0]]
		f := m.finding(full[0], "from %.6g to %.6g, the whole range of %s: what it was divided by is lost", v.min, v.max, m.At(full[0]).DType)
		f.Count = len(full)
		p.report(f)
	}
}
