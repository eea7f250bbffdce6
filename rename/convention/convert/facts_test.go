package convert

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A ggufFact is a line of testdata/gguf_facts.txt.
type ggufFact struct {
	tensor, formula string
	line            int
	used            bool
}

// A factSection is an architecture, or what another source of it is made of.
type factSection struct {
	arch, source string
	facts        []*ggufFact
}

func readGGUFFacts(t *testing.T) []*factSection {
	b, err := os.ReadFile("testdata/gguf_facts.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []*factSection
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "#")
		switch {
		case strings.TrimSpace(line) == "":
		case line[0] != ' ':
			head, class, ok := strings.Cut(line, ":")
			if !ok || strings.TrimSpace(class) == "" {
				t.Fatalf("line %d: no source", n)
			}
			arch, source, _ := strings.Cut(head, " < ")
			list = append(list, &factSection{arch: arch, source: source})
		default:
			tensor, formula, ok := strings.Cut(strings.TrimSpace(line), "  ")
			if !ok {
				t.Fatalf("line %d: no formula", n)
			}
			s := list[len(list)-1]
			s.facts = append(s.facts, &ggufFact{tensor: tensor, formula: strings.TrimSpace(formula), line: n})
		}
	}
	return list
}

// fact returns what is said of a tensor, whose block is cut off.
func (s *factSection) fact(name string) *ggufFact {
	for _, f := range slices.Backward(s.facts) {
		if template.Glob(f.tensor).Match(name) {
			return f
		}
	}
	return nil
}

// The numbers of the sample models. Most differ, so that what takes one for
// another is seen.
const (
	fHeads, fDim, fHidden, fInner, fExperts = 6, 8, 5, 7, 3
	fChannels, fKernel, fStates, fGroups    = 12, 4, 3, 2
	fKeys, fValues, fKeyDim, fValueDim      = 2, 6, 4, 2
	fNope, fRope, fValue, fRank             = 3, 2, 5, 4
	fDelta                                  = 2*fKeys*fKeyDim + fValues*fValueDim
)

// A sampleModel makes tensors of the shapes that modules have.
type sampleModel struct {
	c    *convention.Convention
	kv   int64
	next float64
}

func (m *sampleModel) numbers() *convention.Model {
	return modelOf(map[string]int64{
		"num_attention_heads": fHeads, "num_key_value_heads": m.kv, "head_dim": fDim, "hidden_size": fHidden, "num_local_experts": fExperts,
		"n_groups": fGroups, "linear_num_key_heads": fKeys, "linear_num_value_heads": fValues, "linear_key_head_dim": fKeyDim, "linear_value_head_dim": fValueDim,
		"qk_nope_head_dim": fNope, "v_head_dim": fValue, "kv_lora_rank": fRank, "norm_head": 1,
	})
}

// rows are the outputs of a module.
func (m *sampleModel) rows(module string) int64 {
	last := module[strings.LastIndexByte(module, '.')+1:]
	if strings.Contains(module, "linear_attn") {
		switch last {
		case "qkvz":
			return fDelta + fValues*fValueDim
		case "qkv", "conv":
			return fDelta
		case "z":
			return fValues * fValueDim
		case "a", "b", "a_log", "dt":
			return fValues
		}
	}
	switch last {
	case "q":
		return fHeads * fDim
	case "k", "v":
		return m.kv * fDim
	case "qkv":
		return (fHeads + 2*m.kv) * fDim
	case "kv":
		return 2 * m.kv * fDim
	case "kv_b":
		return fHeads * (fNope + fValue)
	case "gate", "up":
		return fInner
	case "gate_up":
		return 2 * fInner
	}
	return fHidden
}

// tensor makes one. Numbers are below 1, so that their exponentials differ.
func (m *sampleModel) tensor(t *convention.Tensor) tensorValue {
	_, leaf := cutLeaf(t.Role)
	module := t.Module
	last := module[strings.LastIndexByte(module, '.')+1:]
	rows, cols := m.rows(module), int64(fHidden)
	switch {
	case module == "layer.attn.o" || strings.HasSuffix(module, ".attn.o"):
		cols = fHeads * fDim
	case module == "layer.linear_attn.o":
		cols = fValues * fValueDim
	case last == "kv_b":
		cols = fRank
	case last == "down":
		cols = fInner
	}
	stacked := strings.Contains(module, ".experts.")
	var shape []int64
	switch {
	case m.c.Shape(module) != "" && leaf == "weight":
		channels := int64(fChannels)
		if strings.Contains(module, "linear_attn.conv") {
			channels = fDelta
		}
		for _, r := range m.c.Shape(module) {
			shape = append(shape, map[rune]int64{'1': 1, 'c': channels, 'k': fKernel, 'n': channels}[r])
		}
	case leaf == "weight" && (last == "q_norm" || last == "k_norm") && m.c.Layout.RopeNorms:
		shape = []int64{fHeads, fDim}
	case leaf == "bias" && (last == "q_norm" || last == "k_norm") && m.c.Layout.RopeNorms:
		shape = []int64{fHeads, fDim}
	case isNorm(module), last == "a_log", last == "sinks", last == "dt" && leaf == "bias", leaf == "bias" && !stacked:
		shape = []int64{rows}
	case module == "layer.ssm.a":
		shape = []int64{fChannels, fStates}
	case stacked && leaf == "bias":
		shape = []int64{fExperts, rows}
	case stacked && m.c.Layout.Experts == convention.Flat:
		shape = []int64{fExperts * fInner, fHidden}
	case stacked && m.c.Layout.Experts == convention.InOut:
		shape = []int64{fExperts, cols, rows}
	case stacked:
		shape = []int64{fExperts, rows, cols}
	case m.c.Transposes(module):
		shape = []int64{cols, rows}
	default:
		shape = []int64{rows, cols}
	}
	v := fillTensor(&m.next, shape...)
	for i := range v.data {
		v.data[i] /= 1 << 16
	}
	return v
}

// The numpy of the formulas.

func (v tensorValue) swapLast() tensorValue {
	n := len(v.shape)
	outer, r, c := size(v.shape[:n-2]), v.shape[n-2], v.shape[n-1]
	out := tensorValue{slices.Clone(v.shape), make([]float64, len(v.data))}
	out.shape[n-2], out.shape[n-1] = c, r
	for o := range outer {
		for i := range r {
			for j := range c {
				out.data[o*r*c+j*r+i] = v.data[o*r*c+i*c+j]
			}
		}
	}
	return out
}

func (v tensorValue) each(f func(float64) float64) tensorValue {
	out := tensorValue{v.shape, slices.Clone(v.data)}
	for i := range out.data {
		out.data[i] = f(out.data[i])
	}
	return out
}

// order returns the rows of an axis by a function of their new place.
func (v tensorValue) order(axis int, n int64, from func(int64) int64) tensorValue {
	rows := make([]int64, n)
	for i := range rows {
		rows[i] = from(int64(i))
	}
	return v.rows(axis, rows)
}

// swapHeads is reshape(a, b, d).swap(0, 1) of an axis.
func (v tensorValue) swapHeads(axis int, a, b int64) tensorValue {
	d := v.shape[axis] / (a * b)
	return v.order(axis, v.shape[axis], func(i int64) int64 { return i/d%a*b*d + i/d/a*d + i%d })
}

func (v tensorValue) between(axis int, from, to int64) tensorValue {
	return v.order(axis, to-from, func(i int64) int64 { return from + i })
}

func catRows(axis int, list ...tensorValue) tensorValue {
	out := tensorValue{slices.Clone(list[0].shape), nil}
	out.shape[axis] = 0
	for _, v := range list {
		out.shape[axis] += v.shape[axis]
	}
	for o := range size(out.shape[:axis]) {
		for _, v := range list {
			n := size(v.shape[axis:])
			out.data = append(out.data, v.data[o*n:(o+1)*n]...)
		}
	}
	return out
}

// work carries a formula out.
func (m *sampleModel) work(formula, tensor string, in []tensorValue) (tensorValue, error) {
	for _, step := range strings.Split(formula, ", ") {
		if step == "stack" {
			all := tensorValue{append([]int64{int64(len(in))}, in[0].shape...), nil}
			for _, v := range in {
				all.data = append(all.data, v.data...)
			}
			in = []tensorValue{all}
			continue
		}
		if step == "join" {
			in = []tensorValue{catRows(0, in...)}
			continue
		}
		if len(in) != 1 {
			return tensorValue{}, fmt.Errorf("it is made of %d tensors", len(in))
		}
		v := in[0]
		part, layout, isPart := strings.Cut(step, " of ")
		n := len(v.shape)
		switch {
		case step == "copied":
		case step[0] == '+':
			by, err := strconv.ParseFloat(step[1:], 64)
			if err != nil {
				return v, err
			}
			v = v.each(func(x float64) float64 { return x + by })
		case step == "-exp":
			v = v.each(func(x float64) float64 { return -math.Exp(x) })
		case step == "squeeze":
			v = tensorValue{slices.DeleteFunc(slices.Clone(v.shape), func(d int64) bool { return d == 1 }), v.data}
		case step == "column":
			v = tensorValue{append(slices.Clone(v.shape), 1), v.data}
		case step == "kernel":
			v = tensorValue{[]int64{1, v.shape[0], 1, v.shape[len(v.shape)-1]}, v.data}
		case step == "groups":
			v = tensorValue{[]int64{fGroups, v.shape[0] / fGroups}, v.data}
		case step == "unflat":
			v = tensorValue{append([]int64{fExperts, v.shape[0] / fExperts}, v.shape[1:]...), v.data}
		case step == "T":
			v = v.swapLast()
		case step == "rope":
			half := int64(fDim / 2)
			v = v.order(0, v.shape[0], func(i int64) int64 { return i/fDim*fDim + i%fDim%2*half + i%fDim/2 })
		case step == "row rope":
			v = v.order(1, fDim, func(i int64) int64 { return i%2*(fDim/2) + i/2 })
		case step == "tiled":
			v = v.swapHeads(0, fKeys, fValues/fKeys)
		case step == "tiled columns":
			v = v.swapHeads(1, fKeys, fValues/fKeys)
		case step == "tiled V":
			const qk = 2 * fKeys * fKeyDim
			v = catRows(0, v.between(0, 0, qk), v.between(0, qk, v.shape[0]).swapHeads(0, fKeys, fValues/fKeys))
		case step == "shuffle":
			v = v.swapHeads(0, fHeads/m.kv, m.kv)
		case step == "shuffle columns":
			v = v.swapHeads(1, fHeads/m.kv, m.kv)
		case isPart && layout == "parts":
			q, kv := int64(fHeads*fDim), m.kv*fDim
			at := map[string][2]int64{"q": {0, q}, "k": {q, q + kv}, "v": {q + kv, q + 2*kv}}[part]
			v = v.between(0, at[0], at[1])
		case isPart && layout == "groups", step == "from groups", step == "from heads":
			r := fHeads / m.kv // queries of a group
			if step == "from heads" && r != 1 {
				return v, fmt.Errorf("%d key/value heads", m.kv)
			}
			rows := func(first, count int64) tensorValue {
				return v.order(0, m.kv*count*fDim, func(i int64) int64 { return i/(count*fDim)*(r+2)*fDim + first*fDim + i%(count*fDim) })
			}
			q, k, w := rows(0, r), rows(r, 1), rows(r+1, 1)
			if isPart {
				v = map[string]tensorValue{"q": q, "k": k, "v": w}[part]
			} else {
				v = catRows(0, q, k, w)
			}
		case isPart && (layout == "halves" || layout == "evens"):
			axis := max(0, n-2)
			if strings.HasSuffix(tensor, ".bias") {
				axis = n - 1
			}
			half := v.shape[axis] / 2
			k := map[string]int64{"first": 0, "second": 1}[part]
			if layout == "evens" {
				v = v.order(axis, half, func(i int64) int64 { return 2*i + k })
			} else {
				v = v.between(axis, k*half, (k+1)*half)
			}
		case isPart && layout == "latent heads":
			first, rows := map[string]int64{"k": 0, "v": fNope}[part], map[string]int64{"k": fNope, "v": fValue}[part]
			v = v.order(0, fHeads*rows, func(i int64) int64 { return i/rows*(fNope+fValue) + first + i%rows })
			v = tensorValue{[]int64{fHeads, rows, fRank}, v.data}
			if part == "k" {
				v = v.swapLast()
			}
		case isPart && layout == "key heads":
			const dv = fValues / fKeys * fValueDim
			const each = 2*fKeyDim + 2*dv
			rows := func(first, count int64) tensorValue {
				return v.order(0, fKeys*count, func(i int64) int64 { return i/count*each + first + i%count })
			}
			if part == "z" {
				v = rows(2*fKeyDim+dv, dv)
			} else {
				v = catRows(0, rows(0, fKeyDim), rows(fKeyDim, fKeyDim), rows(2*fKeyDim, dv))
			}
		default:
			return v, fmt.Errorf("no step %q", step)
		}
		in = []tensorValue{v}
	}
	if len(in) != 1 {
		return tensorValue{}, fmt.Errorf("it is made of %d tensors", len(in))
	}
	return in[0], nil
}

// sourceOrder sorts what a tensor is made of as formulas take it: by number, or
// queries, keys, values.
func sourceOrder(c *convention.Convention, names []string) []string {
	names = slices.Clone(names)
	slices.SortStableFunc(names, func(a, b string) int {
		x, _ := c.Parse(a)
		y, _ := c.Parse(b)
		return cmp.Or(cmp.Compare(partRank(x.Role), partRank(y.Role)), slices.Compare(x.Index, y.Index))
	})
	return names
}

// Every tensor of every architecture has the values and the shape that llama.cpp's
// converter gives it, or is refused where the table says so; and the way back gives
// what there was.
func TestGGUFFacts(t *testing.T) {
	sections := readGGUFFacts(t)
	find := func(arch, source string) *factSection {
		i := slices.IndexFunc(sections, func(s *factSection) bool { return s.arch == arch && s.source == source })
		if i < 0 {
			return nil
		}
		return sections[i]
	}
	converted := make(map[string]bool)
	for _, to := range convention.All() {
		arch, ok := strings.CutSuffix(to.Name, "-gguf")
		if !ok || to.Refuse != "" {
			continue
		}
		if find(arch, "") == nil {
			t.Errorf("the table has no architecture %s", arch)
			continue
		}
		for _, from := range convention.All() {
			if !from.HasDialect("hf") || from.Frame || from.Refuse != "" || from.VariantOf != "" || !from.Language || !slices.ContainsFunc(from.Families, to.HasFamily) {
				continue
			}
			s := cmp.Or(find(arch, from.Name), find(arch, ""))
			converted[s.arch+" "+s.source] = true
			m := &sampleModel{c: from, kv: 2}
			switch {
			case from.Layout.QKV == "per-head" || to.Layout.QKV == "per-head":
				m.kv = fHeads
			case from.HasFamily("gpt_refact"):
				m.kv = 1
			}
			m.check(t, to, s)
		}
	}
	for _, s := range sections {
		for _, f := range s.facts {
			if !f.used && converted[s.arch+" "+s.source] {
				t.Errorf("line %d: %s: nothing becomes %s", f.line, s.arch, f.tensor)
			}
		}
	}
}

// check converts one group of tensors after the other, so that a refusal is of
// nothing else.
func (m *sampleModel) check(t *testing.T, to *convention.Convention, s *factSection) {
	from := m.c
	var wholes []string
	byWhole := make(map[string][]convention.Named)
	values := make(map[string]tensorValue)
	for i := range from.Tensors() {
		tensor := &from.Tensors()[i]
		if first, _ := from.Role(tensor.Role); first != tensor || tensor.Buffer || strings.HasPrefix(tensor.Role, "own.") {
			continue
		}
		numbers := 1
		if isNumbered(tensor.Role) {
			if numbers = fExperts; strings.Contains(tensor.Role, "_head_norm") {
				numbers = fHeads
			}
		}
		for k := range numbers {
			index := make([]int, len(tensor.Pattern.Holes()))
			if isNumbered(tensor.Role) {
				index[len(index)-1] = k
			}
			name, ok := tensor.Pattern.Format(index)
			if !ok {
				continue
			}
			values[name] = m.tensor(tensor)
			n := convention.Named{Name: name, DType: "BF16"}
			for _, d := range values[name].shape {
				n.Shape = append(n.Shape, uint64(d))
			}
			whole := groupOf(tensor.Role)
			if byWhole[whole] == nil {
				wholes = append(wholes, whole)
			}
			byWhole[whole] = append(byWhole[whole], n)
		}
	}
	for _, whole := range wholes {
		for _, sample := range alternatives(from, byWhole[whole]) {
			m.checkGroup(t, to, s, whole, sample, values)
		}
	}
}

func (m *sampleModel) checkGroup(t *testing.T, to *convention.Convention, s *factSection, whole string, sample []convention.Named, values map[string]tensorValue) {
	from := m.c
	cv, err := newConverter(from, to, m.numbers())
	if err != nil {
		t.Errorf("%s to %s: %v", from.Name, to.Name, err)
		return
	}
	places := make([]identify.Place, len(sample))
	for i, n := range sample {
		id, _ := from.Parse(n.Name)
		places[i].Tensor, _ = from.Role(id.Role)
		places[i].Index = id.Index
	}
	out, err := cv.run(sample, places)
	if err != nil {
		t.Errorf("%s to %s: %s: %v", from.Name, to.Name, whole, err)
		return
	}
	for _, a := range out.Aside {
		roles := []string{a.Role}
		if _, ok := to.Role(a.Role); !ok {
			roles = cv.targets(whole)
		}
		// What the architecture has no names for is not a matter of values.
		for _, role := range roles {
			r, _ := to.Role(role)
			name := withoutBlock(r.Pattern.String())
			f := s.fact(name)
			if f != nil && strings.HasPrefix(f.formula, "refused") {
				f.used = true
			} else if !strings.Contains(a.Reason, "has no tensor for") {
				t.Errorf("%s to %s: %s is refused: %s", from.Name, to.Name, name, a.Reason)
			}
		}
	}
	for _, move := range out.Moves {
		got := run(t, move, values)
		var in []tensorValue
		for _, n := range sourceOrder(from, move.From) {
			in = append(in, values[n])
		}
		for _, name := range move.To {
			dtype := "BF16"
			if writtenF32(s.arch, name, len(got[name].shape)) {
				dtype = "F32"
			}
			if d := move.DType("BF16"); d != dtype {
				t.Errorf("%s to %s: %s %v is %s, want %s", from.Name, to.Name, name, got[name].shape, d, dtype)
			}
			f := s.fact(withoutBlock(name))
			formulas := []string{"copied"}
			if f != nil {
				f.used = true
				formulas = strings.Split(f.formula, " | ")
			}
			var failed error
			if !slices.ContainsFunc(formulas, func(formula string) bool {
				want, err := m.work(formula, name, in)
				if err == nil && (!slices.Equal(got[name].shape, want.shape) || !slices.Equal(got[name].data, want.data)) {
					err = fmt.Errorf("it has shape %v, and %v is expected, or other values", got[name].shape, want.shape)
				}
				failed = err
				return err == nil
			}) {
				t.Errorf("%s to %s: %s is not %s of %v (by %v): %v", from.Name, to.Name, name, strings.Join(formulas, " or "), move.From, move.Ops, failed)
			}
		}
	}
	m.checkBack(t, to, out, sample, values)
}

// checkBack converts what came out back.
func (m *sampleModel) checkBack(t *testing.T, to *convention.Convention, out *Conversion, sample []convention.Named, values map[string]tensorValue) {
	from := m.c
	made := make(map[string]tensorValue)
	var names []convention.Named
	for _, move := range out.Moves {
		for n, v := range run(t, move, values) {
			made[n] = v
		}
		for _, n := range move.To {
			named := convention.Named{Name: n}
			for _, d := range made[n].shape {
				named.Shape = append(named.Shape, uint64(d))
			}
			names = append(names, named)
		}
	}
	cv, err := newConverter(to, from, m.numbers())
	if err != nil {
		t.Errorf("%s to %s: %v", to.Name, from.Name, err)
		return
	}
	places := make([]identify.Place, len(names))
	for i, n := range names {
		id, ok := to.Parse(n.Name)
		if !ok {
			t.Errorf("%s does not know %q", to.Name, n.Name)
			return
		}
		places[i].Tensor, _ = to.Role(id.Role)
		places[i].Index = id.Index
	}
	back, err := cv.run(names, places)
	if err != nil || len(back.Aside) > 0 {
		t.Errorf("%s to %s: %v %v", to.Name, from.Name, err, back)
		return
	}
	for _, move := range back.Moves {
		for n, v := range run(t, move, made) {
			if !slices.ContainsFunc(sample, func(s convention.Named) bool { return s.Name == n }) {
				continue // the other of two ways to store it
			}
			was := values[n]
			same := slices.Equal(v.shape, was.shape) && slices.EqualFunc(v.data, was.data, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
			if !same {
				t.Errorf("%s to %s: %q comes back otherwise, %v by %v", to.Name, from.Name, n, v.shape, move.Ops)
			}
		}
	}
}

// writtenF32 is what convert_hf_to_gguf.py decides: ModelBase.prepare_tensors, and
// DbrxModel.tensor_force_quant. Ollama's converter does the same in other places.
func writtenF32(arch, name string, rank int) bool {
	if rank <= 1 || strings.HasSuffix(name, "_norm.weight") {
		return true
	}
	if arch == "dbrx" {
		return false
	}
	stem, weight := strings.CutSuffix(withoutBlock(name), ".weight")
	return !weight || slices.Contains([]string{
		"ffn_gate_inp", "ffn_gate_inp_shexp", "position_embd", "token_types", "ssm_conv1d", "shortconv.conv", "time_mix_first", "time_mix_w1", "time_mix_w2",
		"time_mix_decay_w1", "time_mix_decay_w2", "time_mix_lerp_fused", "altup_correct_coef", "altup_predict_coef", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v",
	}, stem)
}

// withoutBlock cuts the block off a name or pattern.
func withoutBlock(name string) string {
	for _, p := range []string{"enc.blk.", "dec.blk.", "blk."} {
		if rest, ok := strings.CutPrefix(name, p); ok {
			_, rest, _ = strings.Cut(rest, ".")
			return rest
		}
	}
	return name
}

// LFM2's convolutions in mlx's order of axes are the same bytes.
func TestShortConvolutionOfMLX(t *testing.T) {
	next := 0.0
	source := map[string]tensorValue{"model.layers.0.conv.conv.weight": fillTensor(&next, 64, 3, 1)}
	there := convertValues(t, "lfm2-hf", "lfm2-gguf", source, nil)
	if v := there["blk.0.shortconv.conv.weight"]; !slices.Equal(v.shape, []int64{64, 3}) {
		t.Errorf("the shape is %v", v.shape)
	}
}

// A goal that is named, or that the configuration says, wins over what the names
// are mostly of: openPangu's are Qwen 2's, or LLaMA's with biases.
func TestTargetOfTheConfiguration(t *testing.T) {
	qwen2, pangu := mustLookup(t, "qwen2-hf"), mustLookup(t, "pangu-embedded-gguf")
	var names []convention.Named
	for _, tensor := range qwen2.Tensors() {
		if name, ok := tensor.Pattern.Format(make([]int, len(tensor.Pattern.Holes()))); ok && !tensor.Buffer {
			names = append(names, convention.Named{Name: name})
		}
	}
	for _, tt := range []struct {
		goal, modelType string
		named           bool
		want            string
	}{
		{"pangu-embedded-gguf", "", true, "pangu-embedded-gguf"},
		{"pangu-embedded-gguf", "PanguEmbedded", false, "pangu-embedded-gguf"},
		{"pangu-embedded-gguf", "", false, ""},
		{"gguf", "PanguEmbedded", false, "pangu-embedded-gguf"},
		{"gguf", "qwen2", false, "qwen2-gguf"},
		{"bert-gguf", "", true, ""},
	} {
		model := &convention.Model{Type: tt.modelType}
		to, err := Target(tt.goal, qwen2, model)
		var got string
		if err == nil {
			var cv *Conversion
			if cv, err = BetweenWith(qwen2, to, slices.Values(names), model, Options{Named: tt.named}); err == nil {
				got = cv.To
			}
		}
		if got != tt.want {
			t.Errorf("--to %s of %q: %q, %v; want %q", tt.goal, tt.modelType, got, err, tt.want)
		}
	}
	// The same for a dialect where both are of the source.
	if to, err := Target("gguf", mustLookup(t, "llama-bias-hf"), &convention.Model{Type: "PanguEmbedded"}); err != nil || to != pangu {
		t.Errorf("gguf of PanguEmbedded is %v, %v", to, err)
	}
}

// What follows the mean of all places in timm is not what precedes it, and transformers has it in
// BEiT alone: convert_vit_timm_to_pytorch.py refuses a ViT with fc_norm, and
// convert_beit_unilm_to_pytorch.py makes it pooler.layernorm.
func TestPooledNorm(t *testing.T) {
	for _, tt := range []struct{ from, name, to, want string }{
		{"eva-timm", "fc_norm.weight", "eva-timm", "fc_norm.weight"},
		{"eva-timm", "norm.weight", "eva-timm", "norm.weight"},
		{"vit-timm", "fc_norm.weight", "vit-timm", "fc_norm.weight"},
		{"vit-timm", "norm.weight", "vit-hf", "vit.layernorm.weight"},
		{"vit-timm", "fc_norm.weight", "vit-hf", ""},
	} {
		list := []convention.Named{{Name: tt.name, Shape: []uint64{8}}, {Name: "cls_token", Shape: []uint64{1, 1, 8}}, {Name: "head.weight", Shape: []uint64{4, 8}}}
		cv, err := Between(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(list), nil)
		if err != nil {
			t.Errorf("%s in %s: %v", tt.name, tt.to, err)
			continue
		}
		if tt.want == "" {
			if len(cv.Aside) != 1 || cv.Aside[0].Name != tt.name {
				t.Errorf("%s in %s: %+v", tt.name, tt.to, cv)
			}
			continue
		}
		i := slices.IndexFunc(cv.Moves, func(m Move) bool { return m.From[0] == tt.name })
		if i < 0 || cv.Moves[i].To[0] != tt.want {
			t.Errorf("%s in %s: %+v", tt.name, tt.to, cv.Moves)
		}
	}
}
