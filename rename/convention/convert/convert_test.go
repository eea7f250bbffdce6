package convert

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A tensorValue is a small array of numbers, for carrying moves out.
type tensorValue struct {
	shape []int64
	data  []float64
}

func size(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

// cut divides an axis: outer x length x inner.
func (v tensorValue) cut(axis int) (outer, length, inner int64) {
	return size(v.shape[:axis]), v.shape[axis], size(v.shape[axis+1:])
}

// rows returns the slices along an axis that order names, joined.
func (v tensorValue) rows(axis int, order []int64) tensorValue {
	outer, length, inner := v.cut(axis)
	out := tensorValue{slices.Clone(v.shape), nil}
	out.shape[axis] = int64(len(order))
	for o := range outer {
		for _, r := range order {
			at := (o*length + r) * inner
			out.data = append(out.data, v.data[at:at+inner]...)
		}
	}
	return out
}

// partRows lists the rows of each part of a fused axis.
func partRows(o tensorop.Op, length int64) [][]int64 {
	sizes := o.Sizes
	if len(sizes) == 0 {
		sizes = []int64{length / 2, length / 2}
	}
	if total := sum(sizes); total != length { // in proportion
		sizes = slices.Clone(sizes)
		for i := range sizes {
			sizes[i] *= length / total
		}
	}
	out := make([][]int64, len(sizes))
	switch o.Layout {
	case tensorop.Interleaved:
		for r := range length {
			p := r % int64(len(sizes))
			out[p] = append(out[p], r)
		}
	case tensorop.PerHead, tensorop.Grouped:
		r := int64(0)
		for range o.Groups {
			for p, s := range sizes {
				for range s / o.Groups {
					out[p] = append(out[p], r)
					r++
				}
			}
		}
	default:
		r := int64(0)
		for p, s := range sizes {
			for range s {
				out[p] = append(out[p], r)
				r++
			}
		}
	}
	return out
}

// run carries a move out on numbers, following the documentation of Op.
func run(t interface{ Fatalf(string, ...any) }, m Move, source map[string]tensorValue) map[string]tensorValue {
	var list []tensorValue
	for _, f := range m.From {
		v, ok := source[f]
		if !ok {
			t.Fatalf("move %v: %q is not there", m, f)
		}
		list = append(list, v)
	}
	for _, o := range m.Ops {
		in := list[o.Index : o.Index+o.Count]
		v := in[0]
		var out []tensorValue
		switch o.Kind {
		case tensorop.Split:
			for _, rows := range partRows(o, v.shape[o.Axis]) {
				out = append(out, v.rows(o.Axis, rows))
			}
		case tensorop.Concat:
			total := int64(0)
			for _, p := range in {
				total += p.shape[o.Axis]
			}
			w := tensorValue{slices.Clone(v.shape), nil}
			w.shape[o.Axis] = total
			w.data = make([]float64, size(w.shape))
			outer, length, inner := w.cut(o.Axis)
			for p, rows := range partRows(o, total) {
				for k := range outer {
					for i, r := range rows {
						from := (k*int64(len(rows)) + int64(i)) * inner
						copy(w.data[(k*length+r)*inner:][:inner], in[p].data[from:from+inner])
					}
				}
			}
			out = []tensorValue{w}
		case tensorop.Stack:
			w := tensorValue{append([]int64{int64(len(in))}, v.shape...), nil}
			for _, p := range in {
				w.data = append(w.data, p.data...)
			}
			out = []tensorValue{w}
		case tensorop.Unstack:
			n := size(v.shape[1:])
			if int64(len(o.Sizes)) != v.shape[0] {
				t.Fatalf("unstack %v of %v", o, v.shape)
			}
			for i := range v.shape[0] {
				out = append(out, tensorValue{v.shape[1:], v.data[i*n : (i+1)*n]})
			}
		case tensorop.Transpose:
			n := len(v.shape)
			r, c := v.shape[n-2], v.shape[n-1]
			w := tensorValue{slices.Clone(v.shape), make([]float64, len(v.data))}
			w.shape[n-2], w.shape[n-1] = c, r
			for k := range size(v.shape[:n-2]) {
				for i := range r {
					for j := range c {
						w.data[k*r*c+j*r+i] = v.data[k*r*c+i*c+j]
					}
				}
			}
			out = []tensorValue{w}
		case tensorop.Squeeze:
			if v.shape[o.Axis] != 1 {
				t.Fatalf("squeeze axis %d of %v", o.Axis, v.shape)
			}
			out = []tensorValue{{slices.Delete(slices.Clone(v.shape), o.Axis, o.Axis+1), v.data}}
		case tensorop.Unsqueeze:
			out = []tensorValue{{slices.Insert(slices.Clone(v.shape), o.Axis, 1), v.data}}
		case tensorop.Cast:
			out = []tensorValue{v}
		case tensorop.Permute:
			d := v.shape[o.Axis] / o.Heads
			order := make([]int64, 0, v.shape[o.Axis])
			if o.Groups > 0 { // heads, of which Groups share each key head or are shared
				r := o.Heads / o.Groups
				for i := range o.Heads {
					head := i%o.Groups*r + i/o.Groups
					if o.From == tensorop.Tiled {
						head = i%r*o.Groups + i/r
					}
					for k := range d {
						order = append(order, head*d+k)
					}
				}
				out = []tensorValue{v.rows(o.Axis, order)}
				break
			}
			for h := range o.Heads {
				rows := make([]int64, d)
				turned := cmp.Or(o.Rotary, d)
				for i := turned; i < d; i++ {
					rows[i] = h*d + i
				}
				for i := range turned / 2 {
					for j := range int64(2) {
						adjacent, half := 2*i+j, i+j*turned/2
						if o.From == tensorop.Adjacent {
							rows[half] = h*d + adjacent
						} else {
							rows[adjacent] = h*d + half
						}
					}
				}
				order = append(order, rows...)
			}
			out = []tensorValue{v.rows(o.Axis, order)}
		case tensorop.Swap:
			out = []tensorValue{in[1], in[0]}
		case tensorop.Unflatten:
			out = []tensorValue{{append([]int64{o.Groups, v.shape[0] / o.Groups}, v.shape[1:]...), v.data}}
		case tensorop.Flatten:
			out = []tensorValue{{append([]int64{v.shape[0] * v.shape[1]}, v.shape[2:]...), v.data}}
		case tensorop.Reshape:
			if size(o.Shape) != size(v.shape) {
				t.Fatalf("reshape %v to %v", v.shape, o.Shape)
			}
			out = []tensorValue{{o.Shape, v.data}}
		case tensorop.Copy:
			out = slices.Repeat([]tensorValue{v}, len(o.Sizes))
		case tensorop.Merge:
			for _, w := range in {
				if !slices.Equal(w.shape, v.shape) || !slices.Equal(w.data, v.data) {
					t.Fatalf("merge of what is not equal: %v", m)
				}
			}
			out = []tensorValue{v}
		case tensorop.Pad:
			w := tensorValue{shape: slices.Clone(v.shape)}
			outer, length, inner := v.cut(o.Axis)
			w.shape[o.Axis] += o.Sizes[0] + o.Sizes[1]
			w.data = make([]float64, size(w.shape))
			for k := range outer {
				copy(w.data[(k*w.shape[o.Axis]+o.Sizes[0])*inner:], v.data[k*length*inner:(k+1)*length*inner])
			}
			out = []tensorValue{w}
		case tensorop.Trim:
			var keep, rest []int64
			for i := range v.shape[o.Axis] {
				if i < o.Sizes[0] || i >= v.shape[o.Axis]-o.Sizes[1] {
					rest = append(rest, i)
				} else {
					keep = append(keep, i)
				}
			}
			if slices.ContainsFunc(v.rows(o.Axis, rest).data, func(x float64) bool { return x != 0 }) {
				t.Fatalf("trim of what is not zero: %v", m)
			}
			out = []tensorValue{v.rows(o.Axis, keep)}
		case tensorop.Scale:
			out = []tensorValue{v.each(func(x float64) float64 { return x * o.Value })}
		case tensorop.Offset, tensorop.NegativeExp, tensorop.LogNegative:
			w := tensorValue{v.shape, slices.Clone(v.data)}
			for i, x := range w.data {
				switch o.Kind {
				case tensorop.Offset:
					w.data[i] = x + o.Value
				case tensorop.NegativeExp:
					w.data[i] = -math.Exp(x)
				case tensorop.LogNegative:
					w.data[i] = math.Log(-x)
				}
			}
			out = []tensorValue{w}
		default:
			t.Fatalf("operation %q", o.Kind)
		}
		list = slices.Replace(list, o.Index, o.Index+o.Count, out...)
	}
	if len(list) != len(m.To) {
		t.Fatalf("move %v makes %d tensors", m, len(list))
	}
	out := make(map[string]tensorValue)
	for i, to := range m.To {
		out[to] = list[i]
	}
	return out
}

// convertValues converts a checkpoint of numbers.
func convertValues(t interface {
	Fatalf(string, ...any)
}, from, to string, source map[string]tensorValue, model *convention.Model,
) map[string]tensorValue {
	f, ok1 := convention.Lookup(from)
	g, ok2 := convention.Lookup(to)
	if !ok1 || !ok2 {
		t.Fatalf("no convention %s or %s", from, to)
	}
	var names []convention.Named
	for _, n := range slices.Sorted(maps.Keys(source)) {
		var shape []uint64
		for _, d := range source[n].shape {
			shape = append(shape, uint64(d))
		}
		names = append(names, convention.Named{Name: n, Shape: shape})
	}
	cv, err := Between(f, g, slices.Values(names), model)
	if err != nil {
		t.Fatalf("%s to %s: %v", from, to, err)
	}
	if len(cv.Unmapped) > 0 {
		t.Fatalf("%s to %s: unmapped %v", from, to, cv.Unmapped)
	}
	out := make(map[string]tensorValue)
	for _, m := range cv.Moves {
		for n, v := range run(t, m, source) {
			if _, twice := out[n]; twice {
				t.Fatalf("%s to %s: %q is made twice", from, to, n)
			}
			out[n] = v
		}
	}
	return out
}

// modelOf answers with the given numbers.
func modelOf(v map[string]int64) *convention.Model {
	return &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) { n, ok := v[key]; return n, ok }}}
}

// fillTensor makes a tensor of which every number is its own.
func fillTensor(next *float64, shape ...int64) tensorValue {
	v := tensorValue{shape: shape, data: make([]float64, size(shape))}
	for i := range v.data {
		*next++
		v.data[i] = *next
	}
	return v
}

// A small model, its numbers drawn.
type smallModel struct{ heads, kv, dim, hidden, inner, layers, experts int64 }

func drawModel(t *rapid.T) smallModel {
	m := smallModel{
		kv:      rapid.Int64Range(1, 3).Draw(t, "kv"),
		dim:     2 * rapid.Int64Range(1, 4).Draw(t, "half head"),
		hidden:  rapid.Int64Range(1, 5).Draw(t, "hidden"),
		inner:   2 * rapid.Int64Range(1, 4).Draw(t, "inner"),
		layers:  rapid.Int64Range(1, 3).Draw(t, "layers"),
		experts: rapid.Int64Range(1, 12).Draw(t, "experts"),
	}
	m.heads = m.kv * rapid.Int64Range(1, 3).Draw(t, "group")
	return m
}

func (m smallModel) config() *convention.Model {
	return modelOf(map[string]int64{
		"num_attention_heads": m.heads, "num_key_value_heads": m.kv, "head_dim": m.dim, "hidden_size": m.hidden, "num_local_experts": m.experts,
	})
}

// llama makes the model in LLaMA's names.
func (m smallModel) llama(bias bool) map[string]tensorValue {
	next := 0.0
	out := map[string]tensorValue{
		"model.embed_tokens.weight": fillTensor(&next, 7, m.hidden),
		"model.norm.weight":         fillTensor(&next, m.hidden),
		"lm_head.weight":            fillTensor(&next, 7, m.hidden),
	}
	for l := range m.layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		out[p+"input_layernorm.weight"] = fillTensor(&next, m.hidden)
		out[p+"post_attention_layernorm.weight"] = fillTensor(&next, m.hidden)
		for n, rows := range map[string]int64{"q": m.heads * m.dim, "k": m.kv * m.dim, "v": m.kv * m.dim} {
			out[p+"self_attn."+n+"_proj.weight"] = fillTensor(&next, rows, m.hidden)
			if bias {
				out[p+"self_attn."+n+"_proj.bias"] = fillTensor(&next, rows)
			}
		}
		out[p+"self_attn.o_proj.weight"] = fillTensor(&next, m.hidden, m.heads*m.dim)
		out[p+"mlp.gate_proj.weight"] = fillTensor(&next, m.inner, m.hidden)
		out[p+"mlp.up_proj.weight"] = fillTensor(&next, m.inner, m.hidden)
		out[p+"mlp.down_proj.weight"] = fillTensor(&next, m.hidden, m.inner)
	}
	return out
}

// moe replaces the MLP by experts.
func (m smallModel) moe(router, expert string, names [3]string) map[string]tensorValue {
	out := m.llama(false)
	next := 1e6
	for l := range m.layers {
		p := fmt.Sprintf("model.layers.%d.", l)
		for _, n := range []string{"gate", "up", "down"} {
			delete(out, p+"mlp."+n+"_proj.weight")
		}
		out[p+router] = fillTensor(&next, m.experts, m.hidden)
		for e := range m.experts {
			q := p + fmt.Sprintf(expert, e)
			out[q+names[0]] = fillTensor(&next, m.inner, m.hidden)
			out[q+names[1]] = fillTensor(&next, m.inner, m.hidden)
			out[q+names[2]] = fillTensor(&next, m.hidden, m.inner)
		}
	}
	return out
}

// There and back is the identity, through every other convention of a family.
// The blocks of an autoencoder's decoder are counted from the last, however many there
// are (diffusers: loaders/single_file_utils.py convert_ldm_vae_checkpoint, num_up_blocks - 1 - i).
func TestConvertFewerLevels(t *testing.T) {
	for levels := int64(2); levels <= 4; levels++ {
		ldm, diffusers := make(map[string]tensorValue), make(map[string]tensorValue)
		next := 0.0
		for i := range levels {
			v := fillTensor(&next, 2)
			ldm[fmt.Sprintf("decoder.up.%d.block.1.norm1.weight", levels-1-i)] = v
			diffusers[fmt.Sprintf("decoder.up_blocks.%d.resnets.1.norm1.weight", i)] = v
		}
		for _, tt := range []struct {
			from, to     string
			source, want map[string]tensorValue
		}{{"vae-ldm", "vae-diffusers", ldm, diffusers}, {"vae-diffusers", "vae-ldm", diffusers, ldm}} {
			got := convertValues(t, tt.from, tt.to, tt.source, nil)
			if d := gocmp.Diff(tt.want, got, gocmp.AllowUnexported(tensorValue{})); d != "" {
				t.Errorf("%d levels, %s to %s (-want +got)\n%s", levels, tt.from, tt.to, d)
			}
		}
	}
}

func TestConvertThereAndBack(t *testing.T) {
	through := []struct {
		from string
		to   []string
	}{
		{"llama-hf", []string{"llama-meta", "llama-gguf", "llama-megatron", "llama-megatron-local", "llama-litgpt", "llama-litgpt-old", "llama-vllm", "yi-hf"}},
		{"llama-meta", []string{"llama-gguf", "llama-megatron", "llama-hf"}},
		{"mixtral-hf", []string{"mixtral-mistral", "llama-gguf", "mixtral-mlx", "mixtral-litgpt", "mixtral-megatron", "mixtral-megatron-sequential", "mixtral-first"}},
		{"qwen3_moe-hf", []string{"qwen3_moe-fused-hf", "qwen3_moe-mlx", "qwen3moe-gguf"}},
		{"qwen2-hf", []string{"qwen2-gguf", "llama-megatron", "llama-litgpt"}},
		{"gemma-hf", []string{"gemma-google", "gemma-gguf"}},
		{"mixtral-mistral", []string{"mixtral-megatron", "mixtral-mlx"}},
		{"mixtral-megatron", []string{"mixtral-mlx", "llama-gguf", "mixtral-first"}},
		{"mixtral-mlx", []string{"mixtral-first", "llama-gguf"}},
	}
	rapid.Check(t, func(t *rapid.T) {
		m := drawModel(t)
		tt := rapid.SampledFrom(through).Draw(t, "family")
		to := rapid.SampledFrom(tt.to).Draw(t, "through")
		var source map[string]tensorValue
		switch tt.from {
		case "mixtral-hf":
			source = m.moe("block_sparse_moe.gate.weight", "block_sparse_moe.experts.%d.", [3]string{"w1.weight", "w3.weight", "w2.weight"})
		case "qwen3_moe-hf":
			source = m.moe("mlp.gate.weight", "mlp.experts.%d.", [3]string{"gate_proj.weight", "up_proj.weight", "down_proj.weight"})
			next := 1e7
			for l := range m.layers {
				for _, n := range []string{"q", "k"} {
					source[fmt.Sprintf("model.layers.%d.self_attn.%s_norm.weight", l, n)] = fillTensor(&next, m.dim)
				}
			}
		case "qwen2-hf":
			source = m.llama(true)
		case "gemma-hf":
			source = m.llama(false)
			delete(source, "lm_head.weight")
		default:
			source = m.llama(false)
		}
		switch tt.from {
		case "llama-meta":
			source = convertValues(t, "llama-hf", tt.from, source, m.config())
		case "mixtral-mistral", "mixtral-megatron", "mixtral-mlx":
			source = convertValues(t, "mixtral-hf", tt.from, m.moe("block_sparse_moe.gate.weight", "block_sparse_moe.experts.%d.", [3]string{"w1.weight", "w3.weight", "w2.weight"}), m.config())
		}
		there := convertValues(t, tt.from, to, source, m.config())
		back := convertValues(t, to, tt.from, there, m.config())
		if d := gocmp.Diff(source, back, gocmp.AllowUnexported(tensorValue{})); d != "" {
			t.Fatalf("%s to %s and back (-want +got)\n%s", tt.from, to, d)
		}
	})
}

// Each layout, against its published formula on a tensor whose rows carry
// their numbers.
func TestConvertFormulas(t *testing.T) {
	const heads, kv, dim, hidden = 4, 2, 6, 3
	model := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, experts: 11}.config()
	row := func(v tensorValue, r int64) float64 { return v.data[r*v.shape[len(v.shape)-1]] }

	t.Run("rotary rows, Meta to transformers", func(t *testing.T) {
		// convert_llama_weights_to_hf.py: w.view(n, d/2, 2, in).transpose(1, 2)
		m := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, inner: 4, layers: 1}
		hf := m.llama(false)
		meta := convertValues(t, "llama-hf", "llama-meta", hf, model)
		for _, x := range []struct {
			hf, meta string
			n        int64
		}{{"q", "wq", heads}, {"k", "wk", kv}} {
			h, w := hf["model.layers.0.self_attn."+x.hf+"_proj.weight"], meta["layers.0.attention."+x.meta+".weight"]
			for n := range x.n {
				for i := range int64(dim / 2) {
					for j := range int64(2) {
						if got, want := row(h, n*dim+j*dim/2+i), row(w, n*dim+2*i+j); got != want {
							t.Fatalf("%s: head %d, pair %d.%d: %v, want %v", x.hf, n, i, j, got, want)
						}
					}
				}
			}
		}
		if gocmp.Equal(hf["model.layers.0.self_attn.q_proj.weight"].data, meta["layers.0.attention.wq.weight"].data) {
			t.Error("q is not permuted")
		}
		if !gocmp.Equal(hf["model.layers.0.self_attn.v_proj.weight"].data, meta["layers.0.attention.wv.weight"].data) {
			t.Error("v is permuted")
		}
		gguf := convertValues(t, "llama-meta", "llama-gguf", meta, model)
		if !gocmp.Equal(meta["layers.0.attention.wq.weight"].data, gguf["blk.0.attn_q.weight"].data) {
			t.Error("Meta and GGUF do not share the order of rows")
		}
	})
	t.Run("grouped, Megatron", func(t *testing.T) {
		// qkv.view(K, H/K + 2, d, in): the queries of a group, its key, its value
		m := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, inner: 4, layers: 1}
		hf := m.llama(false)
		qkv := convertValues(t, "llama-hf", "llama-megatron", hf, model)["decoder.layers.0.self_attention.linear_qkv.weight"]
		const perGroup = heads/kv + 2
		for g := range int64(kv) {
			for s := range int64(perGroup) {
				for r := range int64(dim) {
					got := row(qkv, (g*perGroup+s)*dim+r)
					var want float64
					switch {
					case s < heads/kv:
						want = row(hf["model.layers.0.self_attn.q_proj.weight"], (g*heads/kv+s)*dim+r)
					case s == heads/kv:
						want = row(hf["model.layers.0.self_attn.k_proj.weight"], g*dim+r)
					default:
						want = row(hf["model.layers.0.self_attn.v_proj.weight"], g*dim+r)
					}
					if got != want {
						t.Fatalf("group %d, slot %d, row %d: %v, want %v", g, s, r, got, want)
					}
				}
			}
		}
	})
	t.Run("head by head, GPT-NeoX to GGUF", func(t *testing.T) {
		// GPTNeoXModel: w.reshape(H, 3, d, in), then all q, all k, all v
		next := 0.0
		source := map[string]tensorValue{"gpt_neox.embed_in.weight": fillTensor(&next, 5, hidden)}
		w := fillTensor(&next, 3*heads*dim, hidden)
		b := fillTensor(&next, 3*heads*dim)
		source["gpt_neox.layers.0.attention.query_key_value.weight"] = w
		source["gpt_neox.layers.0.attention.query_key_value.bias"] = b
		model := modelOf(map[string]int64{"num_attention_heads": heads, "head_dim": dim})
		got := convertValues(t, "gpt_neox-hf", "gptneox-gguf", source, model)
		for p := range int64(3) {
			for h := range int64(heads) {
				for r := range int64(dim) {
					at, from := p*heads*dim+h*dim+r, (h*3+p)*dim+r
					if row(got["blk.0.attn_qkv.weight"], at) != row(w, from) || got["blk.0.attn_qkv.bias"].data[at] != b.data[from] {
						t.Fatalf("part %d, head %d, row %d", p, h, r)
					}
				}
			}
		}
	})
	t.Run("experts in numeric order, gate above up", func(t *testing.T) {
		m := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, inner: 4, layers: 1, experts: 11}
		source := m.moe("mlp.gate.weight", "mlp.experts.%d.", [3]string{"gate_proj.weight", "up_proj.weight", "down_proj.weight"})
		next := 1e7
		for _, n := range []string{"q", "k"} {
			source["model.layers.0.self_attn."+n+"_norm.weight"] = fillTensor(&next, dim)
		}
		got := convertValues(t, "qwen3_moe-hf", "qwen3_moe-fused-hf", source, model)
		gu := got["model.layers.0.mlp.experts.gate_up_proj"]
		if d := gocmp.Diff([]int64{11, 8, hidden}, gu.shape); d != "" {
			t.Fatal(d)
		}
		for e := range int64(11) {
			for i := range int64(4) {
				for h := range int64(hidden) {
					gate := source[fmt.Sprintf("model.layers.0.mlp.experts.%d.gate_proj.weight", e)].data[i*hidden+h]
					up := source[fmt.Sprintf("model.layers.0.mlp.experts.%d.up_proj.weight", e)].data[i*hidden+h]
					if gu.data[(e*8+i)*hidden+h] != gate || gu.data[(e*8+4+i)*hidden+h] != up {
						t.Fatalf("expert %d, row %d, column %d", e, i, h)
					}
				}
			}
		}
	})
	t.Run("a vector for a row, Qwen MoE", func(t *testing.T) {
		// nn.Linear(hidden, 1) of transformers; llama.cpp takes [1, hidden] and [hidden] for the same.
		next := 0.0
		for _, shape := range [][]int64{{hidden}, {1, hidden}} {
			gate := fillTensor(&next, hidden)
			gate.shape = shape
			got := convertValues(t, "qwen2moe-gguf", "qwen2_moe-hf", map[string]tensorValue{"blk.0.ffn_gate_inp_shexp.weight": gate}, nil)["model.layers.0.mlp.shared_expert_gate.weight"]
			if !slices.Equal(got.shape, []int64{1, hidden}) || !gocmp.Equal(got.data, gate.data) {
				t.Errorf("%v becomes %v %v", shape, got.shape, got.data)
			}
		}
	})
	// LitGPT's RMSNorm adds one to the weight of Gemma's as transformers' does (add_unit_offset), and Megatron-core's too
	// (layernorm_zero_centered_gamma), so that its bytes stay, and llama.cpp's loses the one.
	for litgpt, norm := range map[string]string{"gemma-litgpt": "transformer.ln_f.weight", "gemma-megatron": "decoder.final_layernorm.weight"} {
		t.Run("norm as it is, Gemma to "+litgpt, func(t *testing.T) {
			hf := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, inner: 4, layers: 1}.llama(false)
			delete(hf, "lm_head.weight")
			got := convertValues(t, "gemma-hf", litgpt, hf, model)
			if got[norm].data[0] != hf["model.norm.weight"].data[0] {
				t.Errorf("%v becomes %v", hf["model.norm.weight"].data[0], got[norm].data)
			}
			back := convertValues(t, "gemma-gguf", litgpt, convertValues(t, "gemma-hf", "gemma-gguf", hf, model), model)
			if !gocmp.Equal(back[norm].data, got[norm].data) {
				t.Errorf("by way of GGUF %v, want %v", back[norm].data, got[norm].data)
			}
		})
	}
	t.Run("norm plus one, Gemma to GGUF", func(t *testing.T) {
		m := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, inner: 4, layers: 1}
		hf := m.llama(false)
		delete(hf, "lm_head.weight")
		got := convertValues(t, "gemma-hf", "gemma-gguf", hf, model)
		if got["output_norm.weight"].data[0] != hf["model.norm.weight"].data[0]+1 {
			t.Error("the final normalisation is not moved by one")
		}
		if !gocmp.Equal(got["blk.0.attn_q.weight"].data, hf["model.layers.0.self_attn.q_proj.weight"].data) {
			t.Error("q is changed, and Gemma's rotary rows are the same in both")
		}
	})
	t.Run("rows interleaved, GPT-OSS", func(t *testing.T) {
		next := 0.0
		source := map[string]tensorValue{"block.0.attn.norm.scale": fillTensor(&next, hidden)}
		const inner, experts = 4, 2
		w := fillTensor(&next, experts, 2*inner, hidden)
		source["block.0.mlp.mlp1_weight"] = w
		source["block.0.mlp.mlp1_bias"] = fillTensor(&next, experts, 2*inner)
		got := convertValues(t, "gpt_oss-openai", "gpt-oss-gguf", source, model)
		for e := range int64(experts) {
			for i := range int64(inner) {
				if got["blk.0.ffn_gate_exps.weight"].data[(e*inner+i)*hidden] != w.data[(e*2*inner+2*i)*hidden] ||
					got["blk.0.ffn_up_exps.weight"].data[(e*inner+i)*hidden] != w.data[(e*2*inner+2*i+1)*hidden] {
					t.Fatalf("expert %d, row %d", e, i)
				}
			}
		}
	})
	t.Run("flat experts, Mixtral's first release", func(t *testing.T) {
		// convert_mixtral_weights_to_hf.py: w.view(E, i, h)[e], and w2 turned round
		m := smallModel{heads: heads, kv: kv, dim: dim, hidden: hidden, inner: 4, layers: 1, experts: 11}
		source := m.moe("block_sparse_moe.gate.weight", "block_sparse_moe.experts.%d.", [3]string{"w1.weight", "w3.weight", "w2.weight"})
		got := convertValues(t, "mixtral-hf", "mixtral-first", source, model)
		w1, w2 := got["layers.0.block_sparse_moe.w1"], got["layers.0.block_sparse_moe.w2"]
		if d := gocmp.Diff([][]int64{{44, hidden}, {44, hidden}}, [][]int64{w1.shape, w2.shape}); d != "" {
			t.Fatal(d)
		}
		for e := range int64(11) {
			for i := range int64(4) {
				for h := range int64(hidden) {
					p := fmt.Sprintf("model.layers.0.block_sparse_moe.experts.%d.", e)
					if w1.data[(e*4+i)*hidden+h] != source[p+"w1.weight"].data[i*hidden+h] || w2.data[(e*4+i)*hidden+h] != source[p+"w2.weight"].data[h*4+i] {
						t.Fatalf("expert %d, row %d, column %d", e, i, h)
					}
				}
			}
		}
	})
	t.Run("latent attention, DeepSeek", func(t *testing.T) {
		const nope, value, rank = 5, 3, 2
		model := modelOf(map[string]int64{"num_attention_heads": heads, "qk_nope_head_dim": nope, "v_head_dim": value, "kv_lora_rank": rank})
		next := 0.0
		kb, vb := fillTensor(&next, heads, rank, nope), fillTensor(&next, heads, value, rank)
		source := map[string]tensorValue{"blk.0.attn_norm.weight": fillTensor(&next, hidden), "blk.0.attn_k_b.weight": kb, "blk.0.attn_v_b.weight": vb}
		w := convertValues(t, "deepseek2-gguf", "deepseek_v2-hf", source, model)["model.layers.0.self_attn.kv_b_proj.weight"]
		// DeepseekV2Model: kv_b.view(H, nope + v, r); k_b is its first part, transposed
		for h := range int64(heads) {
			for r := range int64(rank) {
				for i := range int64(nope) {
					if w.data[(h*(nope+value)+i)*rank+r] != kb.data[(h*rank+r)*nope+i] {
						t.Fatalf("head %d, key row %d", h, i)
					}
				}
				for i := range int64(value) {
					if w.data[(h*(nope+value)+nope+i)*rank+r] != vb.data[(h*value+i)*rank+r] {
						t.Fatalf("head %d, value row %d", h, i)
					}
				}
			}
		}
	})
	t.Run("state-space decay, Mamba to GGUF", func(t *testing.T) {
		// MambaModel: -torch.exp(A_log), and conv1d [c, 1, k] squeezed to [c, k]
		next := 0.0
		a, conv := fillTensor(&next, 4, 2), fillTensor(&next, 4, 1, 3)
		source := map[string]tensorValue{
			"backbone.layers.0.mixer.A_log": a, "backbone.layers.0.mixer.conv1d.weight": conv, "backbone.layers.0.mixer.D": fillTensor(&next, 4),
		}
		got := convertValues(t, "mamba-hf", "mamba-gguf", source, modelOf(nil))
		for i, x := range a.data {
			if y := got["blk.0.ssm_a"].data[i]; y != -math.Exp(x) {
				t.Fatalf("ssm_a[%d] is %v, want %v", i, y, -math.Exp(x))
			}
		}
		if d := gocmp.Diff([]int64{4, 3}, got["blk.0.ssm_conv1d.weight"].shape); d != "" {
			t.Error(d)
		}
		if !gocmp.Equal(conv.data, got["blk.0.ssm_conv1d.weight"].data) {
			t.Error("the convolution is moved")
		}
		back := convertValues(t, "mamba-gguf", "mamba-hf", got, modelOf(nil))
		for i, x := range back["backbone.layers.0.mixer.A_log"].data {
			if math.Abs(x-a.data[i]) > 1e-9 {
				t.Fatalf("A_log[%d] comes back as %v, was %v", i, x, a.data[i])
			}
		}
		if d := gocmp.Diff([]int64{4, 1, 3}, back["backbone.layers.0.mixer.conv1d.weight"].shape); d != "" {
			t.Error(d)
		}
	})
	t.Run("Conv1D, GPT-2 to GGUF", func(t *testing.T) {
		next := 0.0
		source := map[string]tensorValue{"transformer.h.0.mlp.c_fc.weight": fillTensor(&next, hidden, 8), "transformer.h.0.attn.c_attn.weight": fillTensor(&next, hidden, 9)}
		got := convertValues(t, "gpt2-hf", "gpt2-gguf", source, modelOf(map[string]int64{"n_head": 1, "n_embd": hidden}))
		up := got["blk.0.ffn_up.weight"]
		if d := gocmp.Diff([]int64{8, hidden}, up.shape); d != "" {
			t.Fatal(d)
		}
		if up.data[1*hidden+2] != source["transformer.h.0.mlp.c_fc.weight"].data[2*8+1] {
			t.Error("c_fc is not transposed")
		}
		if d := gocmp.Diff([]int64{9, hidden}, got["blk.0.attn_qkv.weight"].shape); d != "" {
			t.Fatal(d)
		}
	})
}

func TestConvertRefuses(t *testing.T) {
	m := smallModel{heads: 4, kv: 2, dim: 4, hidden: 3, inner: 4, layers: 1, experts: 3}
	named := func(names ...string) []convention.Named {
		var out []convention.Named
		for _, n := range names {
			out = append(out, convention.Named{Name: n})
		}
		return out
	}
	llama := slices.Sorted(maps.Keys(m.llama(false)))
	tests := []struct {
		name, from, to string
		tensors        []convention.Named
		model          *convention.Model
		want           string
	}{
		{"no heads", "llama-hf", "llama-meta", named(llama...), nil, `llama-hf to llama-meta: tensor "model.layers.0.self_attn.q_proj.weight": the number of attention heads is not known; give num_attention_heads with the configuration`},
		{"a lie about heads", "llama-hf", "llama-gguf", []convention.Named{{Name: "model.layers.0.self_attn.q_proj.weight", Shape: []uint64{15, 3}}}, m.config(), `its 15 rows do not divide into 4 heads of an even size`},
		{"fused rows", "baichuan-hf", "baichuan-gguf", []convention.Named{{Name: "model.layers.0.self_attn.W_pack.weight", Shape: []uint64{33, 3}}}, m.config(), `it has 33 rows; 4 heads and 2 key/value heads of 4 make 32`},
		{"packed", "llama-hf", "llama-meta", named("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.qweight", "model.layers.0.self_attn.q_proj.scales"), m.config(), `its weight is packed or has scales, and its rows would have to move`},
		{"no common model", "llama-hf", "bloom-hf", named(llama...), nil, "no model is known to use both"},
		{"another convention", "llama-hf", "llama-meta", named("h.0.ln_1.weight"), nil, "no tensor has a name of llama-hf"},
		{"a gap among experts", "qwen3_moe-hf", "qwen3moe-gguf", named("model.layers.0.mlp.experts.0.up_proj.weight", "model.layers.0.mlp.experts.0.gate_proj.weight", "model.layers.0.mlp.experts.2.up_proj.weight", "model.layers.0.mlp.experts.2.gate_proj.weight"), nil, "the experts are not numbered from 0 without a gap"},
		{"half of a whole", "llama-hf", "llama-megatron", named("model.norm.weight", "model.layers.0.mlp.up_proj.weight"), nil, "llama-megatron joins it with layer.mlp.gate, which is not there"},
		{"refused", "whisper-mlx", "whisper-hf", named("decoder.ln.weight"), nil, "its convolutions are stored [out, kernel, in]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			from, ok1 := convention.Lookup(tt.from)
			to, ok2 := convention.Lookup(tt.to)
			if !ok1 || !ok2 {
				t.Fatal("no such convention")
			}
			cv, err := Between(from, to, slices.Values(tt.tensors), tt.model)
			if err == nil {
				err = cv.Refusal()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q in it", err, tt.want)
			}
		})
	}
}

// What cannot be converted is aside with its reason, and the rest is converted.
// Only what the target has a place for keeps the conversion from being written.
func TestConvertAside(t *testing.T) {
	named := func(names ...string) []convention.Named {
		var out []convention.Named
		for _, n := range names {
			out = append(out, convention.Named{Name: n})
		}
		return out
	}
	for _, tt := range []struct {
		name, from, to string
		tensors        []convention.Named
		moves          []string
		aside          []Aside
		refusal        string
	}{
		{
			// llama.cpp has no names for cross-attention in BERT: gguf-py/gguf/constants.py.
			"no place", "bert-hf", "bert-gguf",
			named("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.0.crossattention.self.query.weight", "bert.encoder.layer.0.crossattention.self.query.bias"),
			[]string{"token_embd.weight"},
			[]Aside{
				{Name: "bert.encoder.layer.0.crossattention.self.query.weight", Role: "layer.cross.q.weight", Reason: "bert-gguf has no tensor for layer.cross.q.weight"},
				{Name: "bert.encoder.layer.0.crossattention.self.query.bias", Role: "layer.cross.q.bias", Reason: "bert-gguf has no tensor for layer.cross.q.bias"},
			},
			"",
		},
		{
			"packed", "llama-hf", "llama-meta",
			named("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.qweight", "model.layers.0.self_attn.q_proj.scales"),
			[]string{"tok_embeddings.weight"},
			[]Aside{
				{Name: "model.layers.0.self_attn.q_proj.qweight", Role: "layer.attn.q.weight", Reason: "its weight is packed or has scales, and its rows would have to move", Blocks: true},
				{Name: "model.layers.0.self_attn.q_proj.scales", Role: "layer.attn.q.weight", Reason: "its weight is packed or has scales, and its rows would have to move", Blocks: true},
			},
			"its weight is packed",
		},
		{
			// A group that fails half way leaves nothing behind.
			"half of a whole", "llama-hf", "llama-megatron",
			named("model.norm.weight", "model.layers.0.mlp.up_proj.weight"),
			[]string{"decoder.final_layernorm.weight"},
			[]Aside{{Name: "model.layers.0.mlp.up_proj.weight", Role: "layer.mlp.up.weight", Reason: "llama-megatron joins it with layer.mlp.gate, which is not there", Blocks: true}},
			"joins it with",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cv, err := Between(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(tt.tensors), nil)
			if err != nil {
				t.Fatal(err)
			}
			var moves []string
			for _, m := range cv.Moves {
				moves = append(moves, m.To...)
			}
			if d := gocmp.Diff(tt.moves, moves); d != "" {
				t.Errorf("moves (-want +got)\n%s", d)
			}
			if d := gocmp.Diff(tt.aside, cv.Aside); d != "" {
				t.Errorf("aside (-want +got)\n%s", d)
			}
			if err := cv.Refusal(); (err != nil) != (tt.refusal != "") || err != nil && !strings.Contains(err.Error(), tt.refusal) {
				t.Errorf("refusal %v, want %q in it", err, tt.refusal)
			}
		})
	}
}

// What llama.cpp's converter leaves out is dropped with the reason, and the language
// model of a multimodal release gets its names whatever stands before them.
func TestConvertDrops(t *testing.T) {
	const buffer, alone = "a buffer, derivable from the configuration", "llama.cpp uses the encoder alone"
	const predicts, tower = "llama.cpp does not predict further tokens with this model", "tower: llama.cpp keeps it in a file of its own (mmproj)"
	language := []string{"embed_tokens.weight", "layers.0.input_layernorm.weight", "norm.weight"}
	converted := []string{"token_embd.weight", "blk.0.attn_norm.weight", "output_norm.weight"}
	below := func(prefix string, more ...string) []string {
		var names []string
		for _, n := range language {
			names = append(names, prefix+n)
		}
		return append(names, more...)
	}
	for _, tt := range []struct {
		name, from, to string
		tensors, moves []string
		dropped, aside map[string]string
	}{
		{
			// conversion/bert.py BertModel.filter_tensors
			"BERT", "bert-hf", "bert-gguf",
			[]string{
				"bert.embeddings.word_embeddings.weight", "bert.embeddings.position_ids", "bert.pooler.dense.weight",
				"cls.predictions.bias", "cls.predictions.transform.dense.weight", "cls.seq_relationship.weight", "classifier.weight",
			},
			[]string{"token_embd.weight", "cls.output.weight"},
			map[string]string{
				"bert.embeddings.position_ids": buffer, "bert.pooler.dense.weight": alone, "cls.predictions.bias": alone,
				"cls.predictions.transform.dense.weight": alone, "cls.seq_relationship.weight": alone,
			},
			nil,
		},
		{
			// conversion/deepseek.py DeepseekV2Model: layers from num_hidden_layers on are skipped
			"DeepSeek V3", "deepseek_v3-hf", "deepseek2-gguf",
			[]string{"model.layers.60.input_layernorm.weight", "model.layers.61.input_layernorm.weight", "model.layers.61.eh_proj.weight", "model.layers.61.mlp.experts.0.down_proj.weight"},
			[]string{"blk.60.attn_norm.weight"},
			map[string]string{"model.layers.61.input_layernorm.weight": predicts, "model.layers.61.eh_proj.weight": predicts, "model.layers.61.mlp.experts.0.down_proj.weight": predicts},
			nil,
		},
		{
			// conversion/glm.py Glm4MoeModel: block_count counts them
			"GLM 4.5", "glm4_moe-hf", "glm4moe-gguf",
			[]string{"model.layers.45.input_layernorm.weight", "model.layers.46.input_layernorm.weight", "model.layers.46.eh_proj.weight"},
			[]string{"blk.45.attn_norm.weight", "blk.46.attn_norm.weight", "blk.46.nextn.eh_proj.weight"},
			nil, nil,
		},
		{
			// conversion/base.py prepare_tensors skips .rotary_emb.inv_freq, of whatever name
			"inverse frequencies", "llama-hf", "llama-gguf",
			[]string{"model.embed_tokens.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"},
			[]string{"token_embd.weight"},
			map[string]string{"model.layers.0.self_attn.rotary_emb.inv_freq": buffer},
			nil,
		},
		{
			"rope factors", "llama-gguf", "llama-hf",
			[]string{"token_embd.weight", "rope_freqs.weight"},
			[]string{"model.embed_tokens.weight"},
			map[string]string{"rope_freqs.weight": factorsReason},
			nil,
		},
		{
			// conversion/gemma.py: lm_head is skipped
			"a tied head", "gemma-hf", "gemma-gguf",
			[]string{"model.embed_tokens.weight", "lm_head.weight"},
			[]string{"token_embd.weight"},
			map[string]string{"lm_head.weight": "tied: the head is the token embedding"},
			nil,
		},
		{
			// conversion/base.py TextModel.filter_tensors
			"a tower, old prefixes", "llama-hf", "llama-gguf",
			below("language_model.model.", "language_model.lm_head.weight", "vision_tower.blocks.0.weight", "multi_modal_projector.linear_1.weight"),
			append(slices.Clone(converted), "output.weight"),
			nil,
			map[string]string{"vision_tower.blocks.0.weight": tower, "multi_modal_projector.linear_1.weight": tower},
		},
		{
			"a tower, current prefixes", "llama-hf", "llama-gguf",
			below("model.language_model.", "lm_head.weight", "model.visual.blocks.0.weight"),
			append(slices.Clone(converted), "output.weight"),
			nil,
			map[string]string{"model.visual.blocks.0.weight": tower},
		},
		{
			"a tower beside bare names", "llama-hf", "llama-gguf",
			below("model.", "lm_head.weight", "visual.blocks.0.weight"),
			append(slices.Clone(converted), "output.weight"),
			nil,
			map[string]string{"visual.blocks.0.weight": tower},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var list []convention.Named
			for _, n := range tt.tensors {
				list = append(list, convention.Named{Name: n})
			}
			cv, err := Between(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(list), nil)
			if err != nil {
				t.Fatal(err)
			}
			var moves []string
			for _, m := range cv.Moves {
				moves = append(moves, m.To...)
			}
			if d := gocmp.Diff(tt.moves, moves); d != "" {
				t.Errorf("moves (-want +got)\n%s", d)
			}
			dropped, aside := map[string]string{}, map[string]string{}
			for _, d := range cv.Dropped {
				dropped[d.Name] = d.Reason
			}
			for _, a := range cv.Aside {
				aside[a.Name] = a.Reason
			}
			if d := gocmp.Diff(tt.dropped, dropped, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("dropped (-want +got)\n%s", d)
			}
			if d := gocmp.Diff(tt.aside, aside, cmpopts.EquateEmpty()); d != "" {
				t.Errorf("aside (-want +got)\n%s", d)
			}
			if cv.Refusal() != nil || len(cv.Unmapped) > 0 {
				t.Errorf("refused: %v; unmapped: %v", cv.Refusal(), cv.Unmapped)
			}
		})
	}
}

// Wrappers come off, companions follow, buffers go.
func TestConvertNames(t *testing.T) {
	from, _ := convention.Lookup("yi-hf")
	to, _ := convention.Lookup("llama-hf")
	var list []convention.Named
	for _, n := range []string{
		"module.model.embed_tokens.weight", "module.model.layers.0.ln1.weight", "module.model.layers.0._orig_mod.self_attn.q_proj.weight",
		"module.model.layers.0.self_attn.rotary_emb.inv_freq", "module.model.layers.0.mlp.up_proj.weight", "module.model.layers.0.mlp.up_proj.weight_scale_inv",
		"module.model.layers.0.mlp.down_proj.qweight", "module.model.layers.0.mlp.down_proj.qzeros", "module.extra.weight",
		"module.model.layers.0.self_attn.v_proj.weight.absmax", "module.model.layers.0.self_attn.v_proj.weight",
	} {
		list = append(list, convention.Named{Name: n})
	}
	cv, err := Between(from, to, slices.Values(list), nil)
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, m := range cv.Moves {
		if m.MovesBytes() || len(m.From) != 1 || len(m.To) != 1 {
			t.Fatalf("not a rename: %v", m)
		}
		got[m.From[0]] = m.To[0]
	}
	want := map[string]string{
		"module.model.embed_tokens.weight":                        "model.embed_tokens.weight",
		"module.model.layers.0.ln1.weight":                        "model.layers.0.input_layernorm.weight",
		"module.model.layers.0._orig_mod.self_attn.q_proj.weight": "model.layers.0.self_attn.q_proj.weight",
		"module.model.layers.0.self_attn.rotary_emb.inv_freq":     "model.layers.0.self_attn.rotary_emb.inv_freq",
		"module.model.layers.0.mlp.up_proj.weight":                "model.layers.0.mlp.up_proj.weight",
		"module.model.layers.0.mlp.up_proj.weight_scale_inv":      "model.layers.0.mlp.up_proj.weight_scale_inv",
		"module.model.layers.0.mlp.down_proj.qweight":             "model.layers.0.mlp.down_proj.qweight",
		"module.model.layers.0.mlp.down_proj.qzeros":              "model.layers.0.mlp.down_proj.qzeros",
		"module.model.layers.0.self_attn.v_proj.weight":           "model.layers.0.self_attn.v_proj.weight",
		"module.model.layers.0.self_attn.v_proj.weight.absmax":    "model.layers.0.self_attn.v_proj.weight.absmax",
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if d := gocmp.Diff([]string{"module.extra.weight"}, cv.Unmapped); d != "" {
		t.Errorf("unmapped (-want +got)\n%s", d)
	}
}

// The language model of a multimodal checkpoint keeps its place, and an adapter
// its format's prefix.
func TestConvertKeepsPlace(t *testing.T) {
	tests := []struct {
		names []string
		want  map[string]string
	}{
		{
			[]string{"language_model.model.layers.0.ln1.weight", "language_model.lm_head.weight", "vision_tower.blocks.0.weight"},
			map[string]string{"language_model.model.layers.0.ln1.weight": "language_model.model.layers.0.input_layernorm.weight", "language_model.lm_head.weight": "language_model.lm_head.weight"},
		},
		{
			[]string{"model.language_model.layers.0.ln1.weight", "lm_head.weight", "model.visual.blocks.0.weight"},
			map[string]string{"model.language_model.layers.0.ln1.weight": "model.language_model.layers.0.input_layernorm.weight", "lm_head.weight": "lm_head.weight"},
		},
		{
			[]string{"thinker.model.layers.0.ln1.weight", "thinker.lm_head.weight"},
			map[string]string{"thinker.model.layers.0.ln1.weight": "model.layers.0.input_layernorm.weight", "thinker.lm_head.weight": "lm_head.weight"},
		},
		{
			[]string{"layers.0.ln1.weight", "layers.0.self_attn.q_proj.weight"},
			map[string]string{"layers.0.ln1.weight": "model.layers.0.input_layernorm.weight", "layers.0.self_attn.q_proj.weight": "model.layers.0.self_attn.q_proj.weight"},
		},
		{
			[]string{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight"},
			map[string]string{
				"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
				"base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
			},
		},
	}
	for _, tt := range tests {
		var list []convention.Named
		for _, n := range tt.names {
			list = append(list, convention.Named{Name: n})
		}
		cv, err := Between(mustLookup(t, "yi-hf"), mustLookup(t, "llama-hf"), slices.Values(list), nil)
		if err != nil {
			t.Errorf("%v: %v", tt.names, err)
			continue
		}
		got := make(map[string]string)
		for _, m := range cv.Moves {
			got[m.From[0]] = m.To[0]
		}
		if d := gocmp.Diff(tt.want, got); d != "" {
			t.Errorf("%v (-want +got)\n%s", tt.names, d)
		}
	}
}

// Names come back without the base where releases lack it: the class in the
// configuration says so (transformers: modeling_utils.py save_pretrained of a base
// model), or the model is an embedder, as sentence-transformers/all-MiniLM-L6-v2 is.
func TestConvertBare(t *testing.T) {
	for _, tt := range []struct {
		from, to, class string
		tensors, want   []string
	}{
		{"bert-gguf", "bert-hf", "", []string{"token_embd.weight", "blk.0.attn_q.weight"}, []string{"embeddings.word_embeddings.weight", "encoder.layer.0.attention.self.query.weight"}},
		{"bert-gguf", "bert-hf", "", []string{"token_embd.weight", "cls.output.weight"}, []string{"bert.embeddings.word_embeddings.weight", "classifier.weight"}},
		{"bert-gguf", "bert-hf", "BertForMaskedLM", []string{"token_embd.weight"}, []string{"bert.embeddings.word_embeddings.weight"}},
		{"bert-gguf", "bert-hf", "BertModel", []string{"token_embd.weight"}, []string{"embeddings.word_embeddings.weight"}},
		{"llama-gguf", "llama-hf", "", []string{"token_embd.weight"}, []string{"model.embed_tokens.weight"}},
		{"llama-gguf", "llama-hf", "LlamaModel", []string{"token_embd.weight"}, []string{"embed_tokens.weight"}},
		{"llama-gguf", "llama-hf", "LlamaModel", []string{"token_embd.weight", "output.weight"}, []string{"model.embed_tokens.weight", "lm_head.weight"}},
		// THUDM/chatglm3-6b: ChatGLMModel, transformer.output_layer.weight.
		{"chatglm-gguf", "chatglm-hf", "ChatGLMModel", []string{"token_embd.weight", "output.weight"}, []string{"transformer.embedding.word_embeddings.weight", "transformer.output_layer.weight"}},
		{"gpt2-gguf", "gpt2-hf", "GPT2LMHeadModel", []string{"token_embd.weight"}, []string{"transformer.wte.weight"}},
		{"gpt2-gguf", "gpt2-hf", "GPT2Model", []string{"token_embd.weight"}, []string{"wte.weight"}},
	} {
		var list []convention.Named
		for _, n := range tt.tensors {
			list = append(list, convention.Named{Name: n})
		}
		cv, err := Between(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(list), &convention.Model{Class: tt.class})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range cv.Moves {
			got = append(got, m.To...)
		}
		if d := gocmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s to %s, class %q (-want +got)\n%s", tt.from, tt.to, tt.class, d)
		}
	}
}

// The first of the configuration's model types that a project has a convention for
// decides, whatever the order of families in the conventions.
func TestTargetByModelType(t *testing.T) {
	got, err := Target("gguf", mustLookup(t, "gemma3-hf"), &convention.Model{Type: "gemma3", TextType: "gemma3_text"})
	if err != nil || got.Name != "gemma3-gguf" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestConvertScales(t *testing.T) {
	hf := []string{"model.norm.weight", "model.layers.3.self_attn.kv_b_proj.weight", "model.layers.3.self_attn.kv_b_proj.weight_scale_inv"}
	own := []string{"norm.weight", "layers.3.attn.wkv_b.weight", "layers.3.attn.wkv_b.scale"}
	for _, tt := range []struct {
		from, to       string
		names, renamed []string
	}{{"deepseek_v3-hf", "deepseek_v3-deepseek", hf, own}, {"deepseek_v3-deepseek", "deepseek_v3-hf", own, hf}} {
		var list []convention.Named
		for _, n := range tt.names {
			list = append(list, convention.Named{Name: n})
		}
		cv, err := Between(mustLookup(t, tt.from), mustLookup(t, tt.to), slices.Values(list), nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range cv.Moves {
			got = append(got, m.To...)
		}
		if d := gocmp.Diff(tt.renamed, got); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.to, d)
		}
	}
}

func BenchmarkConvert(b *testing.B) {
	var names []convention.Named
	for _, n := range fixture.DeepSeekNames() {
		names = append(names, convention.Named{Name: n})
	}
	from, to := mustLookup(b, "deepseek_v3-hf"), mustLookup(b, "deepseek_v3-deepseek")
	b.ReportMetric(float64(len(names)), "names")
	for b.Loop() {
		cv, err := Between(from, to, slices.Values(names), nil)
		if err != nil || len(cv.Unmapped) > 0 {
			b.Fatal(err, cv)
		}
	}
}

// A GGUF file is of a language model alone, and the releases of multimodal models have a
// prefix before it.
func TestConvertNotesFrames(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"qwen3vl-gguf", "qwen3-hf", "multimodal releases of qwen3_vl have model.language_model. where they have model."},
		{"gemma3-gguf", "gemma3-hf", "multimodal releases of gemma3 have language_model.model. where they have model."},
		{"llama4-gguf", "llama4-hf", "multimodal releases of llama4 have language_model.model. where they have model."},
		{"qwen3-gguf", "qwen3-hf", ""},
		{"qwen3-hf", "qwen3vl-gguf", ""},
	} {
		from, _ := convention.Lookup(tt.from)
		to, _ := convention.Lookup(tt.to)
		norm, _ := from.Role("final_norm.weight")
		name, _ := norm.Pattern.Format(nil)
		conv, err := Between(from, to, slices.Values([]convention.Named{{Name: name, Shape: []uint64{4}}}), nil)
		if err != nil {
			t.Errorf("%s to %s: %v", tt.from, tt.to, err)
			continue
		}
		i := slices.IndexFunc(conv.Notes, func(n string) bool { return strings.Contains(n, "multimodal releases of") })
		if i < 0 != (tt.want == "") || i >= 0 && !strings.HasSuffix(conv.Notes[i], tt.want) {
			t.Errorf("%s to %s: %q", tt.from, tt.to, conv.Notes)
		}
	}
}
