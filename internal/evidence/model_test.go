package evidence

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
)

// A model is the weights of a small LLaMA by role, of a layer as "q 3": matrices as transformers
// has them.
type model map[string]weight

const (
	layers            = 3
	hidden, inner     = 128, 192
	heads, kv, dim    = 8, 2, 16
	vocabulary        = 256
	queries, keysRows = heads * dim, kv * dim
)

// hf are the names of roles in transformers.
var hf = map[string]string{
	"embed": "model.embed_tokens.weight", "head": "lm_head.weight", "norm": "model.norm.weight",
	"ln1": "model.layers.%s.input_layernorm.weight", "ln2": "model.layers.%s.post_attention_layernorm.weight",
	"q": "model.layers.%s.self_attn.q_proj.weight", "k": "model.layers.%s.self_attn.k_proj.weight",
	"v": "model.layers.%s.self_attn.v_proj.weight", "o": "model.layers.%s.self_attn.o_proj.weight",
	"gate": "model.layers.%s.mlp.gate_proj.weight", "up": "model.layers.%s.mlp.up_proj.weight", "down": "model.layers.%s.mlp.down_proj.weight",
}

// name is that of a role in a naming.
func nameIn(naming map[string]string, role string) string {
	r, l, ok := strings.Cut(role, " ")
	if !ok {
		return naming[r]
	}
	return fmt.Sprintf(naming[r], l)
}

// opaque is a naming that says nothing but which block a tensor is of.
func opaque(seed uint64, roles []string) map[string]string {
	r := rand.New(rand.NewPCG(seed, 9))
	out := make(map[string]string)
	for i, n := range r.Perm(len(roles)) {
		switch role := roles[i]; role {
		case "embed", "head", "norm":
			out[role] = fmt.Sprintf("t%03d.weight", n)
		default:
			out[role] = fmt.Sprintf("h.%%s.t%03d.weight", n)
		}
	}
	return out
}

// trained makes a model with what training leaves: gates and a head with a direction in common, and
// normalisations that are large where the columns of what they feed are. What is not so is as random
// as at the start.
func trained(seed uint64) model { return maps.Clone(trainedOf[seed]()) }

// trainedOf are the models that tests are about, each made once. Nothing writes to their numbers.
var trainedOf = map[uint64]func() model{1: sync.OnceValue(func() model { return train(1) }), 2: sync.OnceValue(func() model { return train(2) })}

func train(seed uint64) model {
	m := make(model)
	next := 1000 * seed
	matrix := func(role string, rows, cols int, scale []float64, common float64) {
		next++
		v := normal(next, rows*cols)
		c := normal(next+500, cols)
		for i := range v {
			v[i] += common * c[i%cols]
			if scale != nil {
				v[i] *= scale[i%cols]
			}
		}
		m[role] = weight{"", "BF16", []int{rows, cols}, v}
	}
	norm := func(role string) []float64 {
		next++
		v := each(normal(next, hidden), func(x float64) float64 { return math.Exp(10 * x) })
		m[role] = weight{"", "BF16", []int{hidden}, v}
		return v
	}
	matrix("embed", vocabulary, hidden, nil, 0)
	matrix("head", vocabulary, hidden, nil, 0.3)
	norm("norm")
	for l := range layers {
		at := func(role string) string { return fmt.Sprint(role, " ", l) }
		use := norm(at("ln1"))
		matrix(at("q"), queries, hidden, use, 0)
		matrix(at("k"), keysRows, hidden, use, 0)
		matrix(at("v"), keysRows, hidden, use, 0)
		matrix(at("o"), hidden, queries, nil, 0)
		use = norm(at("ln2"))
		matrix(at("gate"), inner, hidden, use, 0.3)
		matrix(at("up"), inner, hidden, use, 0)
		matrix(at("down"), hidden, inner, nil, 0)
	}
	return m.rounded()
}

// rounded gives the numbers that BF16 has.
func (m model) rounded() model {
	t, _ := values.Lookup("BF16")
	for role, w := range m {
		v := make([]float64, len(w.v))
		t.Decode64(v, w.bytes())
		w.v = v
		m[role] = w
	}
	return m
}

// tuned is a model that was trained on, as far as the cosine says.
func (m model) tuned(cos float64, seed uint64) model {
	out := make(model)
	for i, role := range m.roles() {
		w := m[role]
		mean, dev := mean(w.v), 0.0
		for _, x := range w.v {
			dev += (x - mean) * (x - mean)
		}
		dev = math.Sqrt(dev / float64(len(w.v)))
		n := normal(seed*1000+uint64(i), len(w.v))
		w.v = slices.Clone(w.v)
		for k := range w.v {
			w.v[k] = mean + cos*(w.v[k]-mean) + math.Sqrt(1-cos*cos)*dev*n[k]/0.02
		}
		out[role] = w
	}
	return out.rounded()
}

func (m model) roles() []string {
	var out []string
	for role := range m {
		out = append(out, role)
	}
	slices.Sort(out)
	return out
}

// kinds are the roles without the layers.
func (m model) kinds() []string {
	var out []string
	for _, role := range m.roles() {
		r, _, _ := strings.Cut(role, " ")
		out = append(out, r)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// named writes the model's tensors under names, in an order that the seed gives.
func (m model) named(naming map[string]string, seed uint64) []weight {
	roles := m.roles()
	rand.New(rand.NewPCG(seed, 2)).Shuffle(len(roles), func(i, j int) { roles[i], roles[j] = roles[j], roles[i] })
	var out []weight
	for _, role := range roles {
		w := m[role]
		w.name = nameIn(naming, role)
		out = append(out, w)
	}
	return out
}

// A form is how a project stores the model: its own tensors, made of those of transformers.
type form struct {
	name string
	make func(m model) model
}

// forms are what is found in the wild, each written with loops.
var forms = []form{
	{"plain", func(m model) model { return m }},
	{"qkv", fuse("qkv")},
	{"kqv", fuse("kqv")},
	{"qvk", fuse("qvk")},
	{"grouped", fuse("grouped")},
	{"qkv pairs", fuse("qkv pairs")},
	{"grouped pairs", fuse("grouped pairs")},
	{"gate-up", pack("gate", "up", false)},
	{"up-gate", pack("up", "gate", false)},
	{"gate-up rows", pack("gate", "up", true)},
	{"turned", func(m model) model {
		return m.each(func(role string, w weight) weight {
			if len(w.shape) == 2 && strings.Contains(role, " ") {
				w.v = transposed(w.v, w.shape[0])
				w.shape = []int{w.shape[1], w.shape[0]}
			}
			return w
		})
	}},
	{"pairs", func(m model) model { // the order of rotary embedding of Meta and llama.cpp
		return m.each(func(role string, w weight) weight {
			if strings.HasPrefix(role, "q ") || strings.HasPrefix(role, "k ") {
				order := make([]int, w.shape[0])
				for i := range order {
					h, in := i/dim, i%dim
					order[i] = h*dim + in/2 + in%2*dim/2
				}
				w.v = rowsIn(w.v, w.shape[1], order)
			}
			return w
		})
	}},
}

func (m model) each(f func(role string, w weight) weight) model {
	out := make(model)
	for role, w := range m {
		out[role] = f(role, w)
	}
	return out
}

func fuse(layout string) func(m model) model {
	return func(m model) model {
		out := m.each(func(_ string, w weight) weight { return w })
		order := fusedLayouts(heads, kv, dim)[layout]
		for l := range layers {
			at := func(role string) string { return fmt.Sprint(role, " ", l) }
			all := slices.Concat(m[at("q")].v, m[at("k")].v, m[at("v")].v)
			out[at("qkv")] = weight{"", "BF16", []int{queries + 2*keysRows, hidden}, rowsIn(all, hidden, order)}
			for _, r := range []string{"q", "k", "v"} {
				delete(out, at(r))
			}
		}
		return out
	}
}

func pack(first, second string, rows bool) func(m model) model {
	return func(m model) model {
		out := m.each(func(_ string, w weight) weight { return w })
		for l := range layers {
			at := func(role string) string { return fmt.Sprint(role, " ", l) }
			n := m[at("gate")].shape[0]
			var order []int
			for i := range 2 * n {
				if rows {
					i = i/2 + i%2*n
				}
				order = append(order, i)
			}
			all := slices.Concat(m[at(first)].v, m[at(second)].v)
			out[at("gate-up")] = weight{"", "BF16", []int{2 * n, hidden}, rowsIn(all, hidden, order)}
			delete(out, at("gate"))
			delete(out, at("up"))
		}
		return out
	}
}

// tinyModel reads one of the small trained models, of as many layers as it has.
func tinyModel(t *testing.T, c *checkpoint.Checkpoint) model {
	t.Helper()
	m := make(model)
	for role, pattern := range hf {
		if !strings.Contains(pattern, "%s") {
			m[role] = numbersOf(t, c, pattern)
			continue
		}
		for l := range layers { // the first ones will do
			m[fmt.Sprint(role, " ", l)] = numbersOf(t, c, fmt.Sprintf(pattern, fmt.Sprint(l)))
		}
	}
	return m
}

func numbersOf(t *testing.T, c *checkpoint.Checkpoint, name string) weight {
	t.Helper()
	v := tensorOf(t, c, name)
	i, _ := c.Lookup(name)
	var shape []int
	for _, d := range c.At(i).Shape {
		shape = append(shape, int(d))
	}
	return weight{name, c.At(i).DType, shape, v}
}
