package convention

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A Size is a number that the shapes of a language model are made of.
type Size string

// The sizes that Axes have.
const (
	Vocabulary  Size = "vocab"
	Hidden      Size = "hidden"
	Query       Size = "query" // rows of the query projection: heads times Head
	KeyValue    Size = "kv"    // rows of the key projection
	Head        Size = "head"  // rows of one head
	Inner       Size = "inner" // rows of the MLP's up projection
	Experts     Size = "experts"
	ExpertInner Size = "expert_inner"
	SharedInner Size = "shared_inner" // of the expert that all tokens have
)

// Meaning says what a size is by the keys of config.json.
func (s Size) Meaning() string {
	return map[Size]string{
		Vocabulary: "vocab_size", Hidden: "hidden_size", Query: "num_attention_heads*head_dim", KeyValue: "num_key_value_heads*head_dim",
		Head: "head_dim", Inner: "intermediate_size", Experts: "num_local_experts", ExpertInner: "moe_intermediate_size",
		SharedInner: "shared_expert_intermediate_size or n_shared_experts*moe_intermediate_size",
	}[s]
}

// An Axis is how long one axis of a tensor is: as long as some sizes together, and that
// for each expert where these are one below the other.
type Axis struct {
	Sum       []Size
	PerExpert bool
}

// String writes the axis with the names of its sizes: "query+kv+kv".
func (a Axis) String() string {
	names := make([]string, len(a.Sum))
	for i, s := range a.Sum {
		names[i] = string(s)
	}
	text := strings.Join(names, "+")
	switch {
	case a.PerExpert && len(names) > 1:
		return string(Experts) + "*(" + text + ")"
	case a.PerExpert:
		return string(Experts) + "*" + text
	}
	return text
}

// Length returns how long the axis is, 0 where a size is not known or the axis longer than
// any is.
func (a Axis) Length(size func(Size) uint64) uint64 {
	const longest = 1 << 40
	total := uint64(0)
	for _, s := range a.Sum {
		n := size(s)
		if n == 0 || n > longest {
			return 0
		}
		total += n
	}
	if !a.PerExpert {
		return total
	}
	n := size(Experts)
	if n == 0 || total > longest/n {
		return 0
	}
	return n * total
}

// axesOf has the shapes of a decoder's modules in the plain layout, [out, in] of a matrix.
// docs/roles.md says what each role is; other roles have shapes that these sizes do not
// give.
var axesOf = func() map[string][]Axis {
	all := make(map[string][]Axis)
	axes := func(list ...[]Size) []Axis {
		out := make([]Axis, len(list))
		for i, sum := range list {
			out[i].Sum = sum
		}
		return out
	}
	is := func(shape []Axis, modules ...string) {
		for _, m := range modules {
			all[m] = shape
		}
	}
	one := func(s ...Size) []Size { return s }
	hidden := one(Hidden)
	is(axes(one(Vocabulary), hidden), "embed.tokens", "head")
	is(axes(hidden), "embed.norm", "final_norm",
		"layer.attn.norm", "layer.attn.norm_2", "layer.attn.post_norm", "layer.attn.out_norm",
		"layer.mlp.norm", "layer.mlp.norm_2", "layer.mlp.post_norm", "layer.mlp.out_norm")
	is(axes(one(Query), hidden), "layer.attn.q")
	is(axes(one(KeyValue), hidden), "layer.attn.k", "layer.attn.v")
	is(axes(hidden, one(Query)), "layer.attn.o")
	is(axes(one(Query, KeyValue, KeyValue), hidden), "layer.attn.qkv")
	is(axes(one(KeyValue, KeyValue), hidden), "layer.attn.kv")
	is(axes(one(Head)), "layer.attn.q_head_norm", "layer.attn.k_head_norm")
	for of, inner := range map[string]Size{"layer.mlp.": Inner, "layer.mlp.expert.": ExpertInner, "layer.mlp.shared.": SharedInner} {
		is(axes(one(inner), hidden), of+"gate", of+"up")
		is(axes(hidden, one(inner)), of+"down")
		if inner != SharedInner {
			is(axes(one(inner, inner), hidden), of+"gate_up")
		}
	}
	is(axes(one(Experts), hidden), "layer.mlp.router")
	return all
}()

// Axes returns the shape of a tensor of the convention, in its layout, nil where it is
// not known.
func (c *Convention) Axes(t *Tensor) []Axis {
	stacked := strings.HasPrefix(t.Module, "layer.mlp.experts.")
	shape := slices.Clone(axesOf[strings.Replace(t.Module, ".experts.", ".expert.", 1)])
	if shape == nil {
		shape = c.headNorm(t.Module)
	}
	if shape == nil || c.otherSizes(t.Module) {
		return nil
	}
	if t.Module == "layer.attn.q" && c.Layout.QueryGate {
		shape[0].Sum = []Size{Query, Query}
	}
	switch t.Role[strings.LastIndexByte(t.Role, '.')+1:] {
	case "weight":
	case "bias":
		shape = shape[:1]
	default:
		return nil
	}
	if len(shape) == 2 && c.Transposes(t.Module) {
		slices.Reverse(shape)
	}
	if !stacked {
		return shape
	}
	switch {
	case c.Layout.Experts == Flat && len(shape) == 2:
		if strings.HasSuffix(t.Module, ".down") {
			slices.Reverse(shape)
		}
		shape[0].PerExpert = true
		return shape
	case c.Layout.Experts == InOut && len(shape) == 2:
		slices.Reverse(shape)
	}
	return append([]Axis{{Sum: []Size{Experts}}}, shape...)
}

// headNorm is the shape of a normalisation of queries or keys, nil where it is not known or the module
// another.
func (c *Convention) headNorm(module string) []Axis {
	rows, ok := map[string]Size{"layer.attn.q_norm": Query, "layer.attn.k_norm": KeyValue}[module]
	switch {
	case !ok:
		return nil
	case c.Layout.QKNorm == QKNormHead:
		rows = Head
	case c.Layout.QKNorm != QKNormAll:
		return nil
	}
	return []Axis{{Sum: []Size{rows}}}
}

// otherSizes reports whether a module of the convention has other sizes than in most
// models: latent attention has heads of its own lengths (transformers:
// DeepseekV3Attention), and a projection behind the embedding another width
// (AlbertEmbeddings, OPTDecoder).
func (c *Convention) otherSizes(module string) bool {
	has := func(role string) bool {
		_, ok := c.Role(role)
		return ok
	}
	switch module {
	case "layer.attn.q", "layer.attn.k", "layer.attn.v", "layer.attn.o":
		return has("layer.attn.kv_a.weight") || has("layer.attn.kv_b.weight") || has("layer.attn.k_b.weight")
	case "embed.tokens", "embed.norm", "head":
		return has("embed.proj.weight")
	}
	return c.Shape(module) != "" || slices.ContainsFunc(c.Layout.Pointwise, func(g string) bool { return template.Glob(g).Match(module) })
}

// Size returns a size of the model by its configuration, 0 where that is not known.
func (m *Model) Size(s Size) uint64 {
	const many = 1 << 20 // no model has so many heads, nor heads so long
	number := func(key string) uint64 {
		n, _ := m.Number(key)
		return uint64(max(n, 0))
	}
	switch s {
	case Head:
		if n := number("head_dim"); n > 0 {
			return n
		}
		if heads := number("num_attention_heads"); heads > 0 && number("hidden_size")%heads == 0 {
			return number("hidden_size") / heads
		}
		return 0
	case Query, KeyValue:
		heads, head := number(strings.TrimSuffix(s.Meaning(), "*head_dim")), m.Size(Head)
		if heads >= many || head >= many {
			return 0
		}
		return heads * head
	}
	n := number(s.Meaning())
	if s == SharedInner {
		if n = number("shared_expert_intermediate_size"); n == 0 { // transformers: Qwen2MoeConfig; DeepseekV3Config
			if shared, inner := number("n_shared_experts"), number("moe_intermediate_size"); shared < many && inner < many {
				n = shared * inner
			}
		}
	}
	if s == ExpertInner && n == 0 && number(Experts.Meaning()) > 0 {
		return number(Inner.Meaning()) // transformers: MixtralConfig
	}
	return n
}

// Sizes lists the sizes that the axis is made of.
func (a Axis) Sizes() []Size {
	if a.PerExpert {
		return append([]Size{Experts}, a.Sum...)
	}
	return a.Sum
}
