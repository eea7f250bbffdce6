package inspect_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename"
)

// An array is a tensor with its bytes, which forms of a model move with loops of their own.
type array struct {
	dtype string
	shape []int
	data  []byte
}

func (a array) rows() int { return a.shape[0] }

// pick takes rows of arrays that lie one below the other.
func pick(order []int, list ...array) array {
	out := array{dtype: list[0].dtype, shape: slices.Clone(list[0].shape)}
	out.shape[0] = len(order)
	row := len(list[0].data) / list[0].rows()
	var all []byte
	for _, a := range list {
		all = append(all, a.data...)
	}
	for _, r := range order {
		out.data = append(out.data, all[r*row:(r+1)*row]...)
	}
	return out
}

func count(from, n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = from + i
	}
	return out
}

func below(list ...array) array {
	n := 0
	for _, a := range list {
		n += a.rows()
	}
	return pick(count(0, n), list...)
}

func stack(list ...array) array {
	out := below(list...)
	out.shape = append([]int{len(list)}, list[0].shape...)
	return out
}

func turned(a array) array {
	if len(a.shape) < 2 {
		return a
	}
	r, c := a.shape[0], a.shape[1]
	size := len(a.data) / r / c
	out := array{a.dtype, []int{c, r}, make([]byte, 0, len(a.data))}
	for j := range c {
		for i := range r {
			out.data = append(out.data, a.data[(i*c+j)*size:(i*c+j+1)*size]...)
		}
	}
	return out
}

// An architecture is the numbers of a small model of the LLaMA family, with biases as Qwen 2
// has them or with experts as Mixtral.
type architecture struct {
	name, dtype                   string
	layers, hidden, inner, vocab  int
	heads, kv, dim, experts, seed int
	bias                          bool
}

// A layer has its arrays by what they are; biases as "q.bias", experts as "gate 3".
type layer map[string]array

type small struct {
	architecture
	top    layer // embed, norm, head
	layers []layer
}

var dense = map[string]string{
	"ln1": "input_layernorm.weight", "ln2": "post_attention_layernorm.weight",
	"q": "self_attn.q_proj.weight", "k": "self_attn.k_proj.weight", "v": "self_attn.v_proj.weight", "o": "self_attn.o_proj.weight",
	"q.bias": "self_attn.q_proj.bias", "k.bias": "self_attn.k_proj.bias", "v.bias": "self_attn.v_proj.bias",
	"gate": "mlp.gate_proj.weight", "up": "mlp.up_proj.weight", "down": "mlp.down_proj.weight", "router": "block_sparse_moe.gate.weight",
}

var tops = map[string]string{"embed": "model.embed_tokens.weight", "norm": "model.norm.weight", "head": "lm_head.weight"}

func newWeights(a architecture) *small {
	r := rand.New(rand.NewPCG(uint64(a.seed), 3))
	numbers := func(mean, dev float64, shape ...int) array {
		n := 1
		for _, d := range shape {
			n *= d
		}
		out := array{dtype: a.dtype, shape: shape}
		for range n {
			x := math.Float32bits(float32(mean + dev*r.NormFloat64()))
			switch a.dtype {
			case "F32":
				out.data = binary.LittleEndian.AppendUint32(out.data, x)
			case "BF16":
				out.data = binary.LittleEndian.AppendUint16(out.data, uint16(x>>16))
			default: // numbers of eight bits, none of them infinite
				out.data = append(out.data, byte(0x18+r.IntN(0x38))|byte(r.IntN(2)<<7))
			}
		}
		return out
	}
	w := &small{architecture: a, top: layer{
		"embed": numbers(0, 0.02, a.vocab, a.hidden), "norm": numbers(1, 0.3, a.hidden), "head": numbers(0, 0.02, a.vocab, a.hidden),
	}}
	for range a.layers {
		q, k := a.heads*a.dim, a.kv*a.dim
		l := layer{
			"ln1": numbers(1, 0.3, a.hidden), "ln2": numbers(1, 0.3, a.hidden),
			"q": numbers(0, 0.02, q, a.hidden), "k": numbers(0, 0.02, k, a.hidden), "v": numbers(0, 0.02, k, a.hidden), "o": numbers(0, 0.02, a.hidden, q),
		}
		if a.bias {
			l["q.bias"], l["k.bias"], l["v.bias"] = numbers(0, 0.3, q), numbers(0, 0.3, k), numbers(0, 0.3, k)
		}
		mlp := func(suffix string) {
			l["gate"+suffix], l["up"+suffix], l["down"+suffix] = numbers(0, 0.02, a.inner, a.hidden), numbers(0, 0.02, a.inner, a.hidden), numbers(0, 0.02, a.hidden, a.inner)
		}
		if a.experts == 0 {
			mlp("")
		} else {
			l["router"] = numbers(0, 0.02, a.experts, a.hidden)
		}
		for e := range a.experts {
			mlp(fmt.Sprint(" ", e))
		}
		w.layers = append(w.layers, l)
	}
	return w
}

// convention is that of transformers for it.
func (a *architecture) convention() string {
	switch {
	case a.experts > 0:
		return "mixtral-hf"
	case a.bias:
		return "qwen2-hf"
	}
	return "llama-hf"
}

// config is its config.json.
func (a *architecture) config() string {
	typ, class := "llama", "LlamaForCausalLM"
	switch a.convention() {
	case "mixtral-hf":
		typ, class = "mixtral", "MixtralForCausalLM"
	case "qwen2-hf":
		typ, class = "qwen2", "Qwen2ForCausalLM"
	}
	return fmt.Sprintf(`{"model_type": %q, "architectures": [%q], "hidden_size": %d, "num_hidden_layers": %d, "num_attention_heads": %d,
 "num_key_value_heads": %d, "head_dim": %d, "intermediate_size": %d, "num_local_experts": %d, "vocab_size": %d, "tie_word_embeddings": false}`,
		typ, class, a.hidden, a.layers, a.heads, a.kv, a.dim, a.inner, a.experts, a.vocab)
}

// named gives the arrays the names of transformers.
func (w *small) named() map[string]array {
	out := make(map[string]array)
	for role, name := range tops {
		out[name] = w.top[role]
	}
	for i, l := range w.layers {
		for role, a := range l {
			name := dense[role]
			if part, e, ok := strings.Cut(role, " "); ok {
				name = fmt.Sprintf("block_sparse_moe.experts.%s.%s.weight", e, map[string]string{"gate": "w1", "down": "w2", "up": "w3"}[part])
			}
			out[fmt.Sprintf("model.layers.%d.%s", i, name)] = a
		}
	}
	return out
}

// writtenArrays writes arrays as the reference implementation orders them, with a configuration
// unless it is "".
func writtenArrays(t *testing.T, list map[string]array, config string) *checkpoint.Checkpoint {
	t.Helper()
	var text strings.Builder
	text.WriteString("meta format pt\n")
	for _, name := range slices.Sorted(maps.Keys(list)) {
		a := list[name]
		fmt.Fprintf(&text, "tensor %s %s %s hex=%s\n", name, a.dtype, strings.ReplaceAll(fmt.Sprint(a.shape), " ", ","), hex.EncodeToString(a.data))
	}
	path := fixture.File(t, "model.safetensors", text.String())
	if config != "" {
		if err := os.WriteFile(filepath.Join(filepath.Dir(path), "config.json"), []byte(config), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return open(t, path)
}

// A labForm is how somebody stores such a model: the arrays of a layer under names of their own.
type labForm struct {
	name  string
	needs func(a *architecture) bool // nil for every one
	make  func(a *architecture, l layer) map[string]array
}

// own are names of somebody's own for what is stored as it is.
func own(l layer, without ...string) map[string]array {
	names := map[string]string{
		"ln1": "norm_att.gain", "ln2": "norm_ff.gain", "q": "att.query.weight", "k": "att.key.weight", "v": "att.value.weight", "o": "att.proj.weight",
		"q.bias": "att.query.bias", "k.bias": "att.key.bias", "v.bias": "att.value.bias",
		"gate": "ff.gate.weight", "up": "ff.up.weight", "down": "ff.down.weight", "router": "ff.router.weight",
	}
	out := make(map[string]array)
	for role, a := range l {
		part, e, expert := strings.Cut(role, " ")
		switch {
		case slices.Contains(without, part) || slices.Contains(without, strings.TrimSuffix(role, ".bias")):
		case expert:
			out["ff.experts."+e+"."+part+".weight"] = a
		default:
			out[names[role]] = a
		}
	}
	return out
}

// fusedHeads puts query, key and value into one tensor: order has the heads of all three, one
// after the other.
func fusedHeads(order func(a *architecture) []int) func(a *architecture, l layer) map[string]array {
	return func(a *architecture, l layer) map[string]array {
		var rows []int
		for _, head := range order(a) {
			rows = append(rows, count(head*a.dim, a.dim)...)
		}
		out := own(l, "q", "k", "v")
		out["att.all.weight"] = pick(rows, l["q"], l["k"], l["v"])
		if a.bias {
			out["att.all.bias"] = pick(rows, l["q.bias"], l["k.bias"], l["v.bias"])
		}
		return out
	}
}

// pairs is the order of rows of Meta and llama.cpp: of each head row i beside row i + d/2.
func pairs(a *architecture, x array, heads int) array {
	var rows []int
	for h := range heads {
		for i := range a.dim / 2 {
			rows = append(rows, h*a.dim+i, h*a.dim+i+a.dim/2)
		}
	}
	return pick(rows, x)
}

func plainMLP(a *architecture) bool    { return a.experts == 0 }
func withExperts(a *architecture) bool { return a.experts > 0 }

// experts are the arrays of a part of all experts.
func (l layer) experts(a *architecture, part string) []array {
	var out []array
	for e := range a.experts {
		out = append(out, l[fmt.Sprint(part, " ", e)])
	}
	return out
}

var labForms = []labForm{
	{"renamed", nil, func(_ *architecture, l layer) map[string]array { return own(l) }},
	{"query, key and value one after the other", nil, fusedHeads(func(a *architecture) []int { return count(0, a.heads+2*a.kv) })},
	{"grouped by key and value heads, as InternLM 2", nil, fusedHeads(func(a *architecture) (order []int) {
		n := a.heads / a.kv
		for g := range a.kv {
			order = append(append(order, count(g*n, n)...), a.heads+g, a.heads+a.kv+g)
		}
		return order
	})},
	{"query, key and value of each head, as GPT-NeoX", func(a *architecture) bool { return a.heads == a.kv }, fusedHeads(func(a *architecture) (order []int) {
		for h := range a.heads {
			order = append(order, h, a.heads+h, 2*a.heads+h)
		}
		return order
	})},
	{"gate above up", plainMLP, func(_ *architecture, l layer) map[string]array {
		out := own(l, "gate", "up")
		out["ff.in.weight"] = below(l["gate"], l["up"])
		return out
	}},
	{"up above gate", plainMLP, func(_ *architecture, l layer) map[string]array {
		out := own(l, "gate", "up")
		out["ff.in.weight"] = below(l["up"], l["gate"])
		return out
	}},
	{"rows of gate and up in turn", plainMLP, func(a *architecture, l layer) map[string]array {
		var rows []int
		for i := range a.inner {
			rows = append(rows, i, a.inner+i)
		}
		out := own(l, "gate", "up")
		out["ff.in.weight"] = pick(rows, l["gate"], l["up"])
		return out
	}},
	{"experts in stacks", withExperts, func(a *architecture, l layer) map[string]array {
		out := own(l, "gate", "up", "down")
		for _, part := range []string{"gate", "up", "down"} {
			out["ff.experts."+part] = stack(l.experts(a, part)...)
		}
		return out
	}},
	{"gates and ups of experts in one stack", withExperts, func(a *architecture, l layer) map[string]array {
		var both []array
		for e := range a.experts {
			both = append(both, below(l[fmt.Sprint("gate ", e)], l[fmt.Sprint("up ", e)]))
		}
		out := own(l, "gate", "up", "down")
		out["ff.experts.in"], out["ff.experts.down"] = stack(both...), stack(l.experts(a, "down")...)
		return out
	}},
	{"experts one below the other, as Mixtral first", withExperts, func(a *architecture, l layer) map[string]array {
		out := own(l, "gate", "up", "down")
		for _, part := range []string{"gate", "up", "down"} {
			out["ff.experts."+part] = below(l.experts(a, part)...)
		}
		return out
	}},
	{"experts transposed, gates and ups beside one another, as GPT-OSS", withExperts, func(a *architecture, l layer) map[string]array {
		var in, down []array
		for e := range a.experts {
			in = append(in, turned(below(l[fmt.Sprint("gate ", e)], l[fmt.Sprint("up ", e)])))
			down = append(down, turned(l[fmt.Sprint("down ", e)]))
		}
		out := own(l, "gate", "up", "down")
		out["ff.experts.in"], out["ff.experts.down"] = stack(in...), stack(down...)
		return out
	}},
	{"transposed, as Conv1D", nil, func(_ *architecture, l layer) map[string]array {
		out := own(l)
		for name, a := range out {
			if !strings.Contains(name, "router") {
				out[name] = turned(a)
			}
		}
		return out
	}},
	{"rows in pairs, as Meta", nil, func(a *architecture, l layer) map[string]array {
		out := own(l)
		for name, heads := range map[string]int{"query": a.heads, "key": a.kv} {
			for _, kind := range []string{"weight", "bias"} {
				if x, ok := out["att."+name+"."+kind]; ok {
					out["att."+name+"."+kind] = pairs(a, x, heads)
				}
			}
		}
		return out
	}},
	{"grouped, rows in pairs, up above gate", plainMLP, func(a *architecture, l layer) map[string]array {
		paired := maps.Clone(l)
		for role, heads := range map[string]int{"q": a.heads, "k": a.kv} {
			for _, kind := range []string{"", ".bias"} {
				if x, ok := l[role+kind]; ok {
					paired[role+kind] = pairs(a, x, heads)
				}
			}
		}
		out := fusedHeads(func(a *architecture) (order []int) {
			n := a.heads / a.kv
			for g := range a.kv {
				order = append(append(order, count(g*n, n)...), a.heads+g, a.heads+a.kv+g)
			}
			return order
		})(a, paired)
		delete(out, "ff.gate.weight")
		delete(out, "ff.up.weight")
		out["ff.in.weight"] = below(l["up"], l["gate"])
		return out
	}},
}

// stored is the model in a form, below a prefix.
func (w *small) stored(f *labForm, prefix string) map[string]array {
	out := map[string]array{prefix + "tok.weight": w.top["embed"], prefix + "final.gain": w.top["norm"], prefix + "out.weight": w.top["head"]}
	for i, l := range w.layers {
		for name, a := range f.make(&w.architecture, l) {
			out[fmt.Sprintf("%sblock.%d.%s", prefix, i, name)] = a
		}
	}
	return out
}

// tuned changes the low bits of the numbers, as training might, at the most by a sixteenth.
func (w *small) tuned() *small {
	r := rand.New(rand.NewPCG(99, 3))
	change := func(l layer) layer {
		out := make(layer)
		for _, role := range slices.Sorted(maps.Keys(l)) {
			a := l[role]
			a.data = slices.Clone(a.data)
			n := 1
			for _, d := range a.shape {
				n *= d
			}
			size := len(a.data) / n
			for i := range n {
				switch low := (i + 1) * size; size {
				case 4:
					a.data[low-2] ^= byte(r.IntN(8))
				case 2:
					a.data[low-2] ^= byte(r.IntN(8))
				default:
					a.data[low-1] ^= byte(r.IntN(2))
				}
			}
			out[role] = a
		}
		return out
	}
	out := *w
	out.top, out.layers = change(w.top), nil
	for _, l := range w.layers {
		out.layers = append(out.layers, change(l))
	}
	return &out
}

// applied renames by a map into a new file, and returns what undoes that.
func applied(t *testing.T, c *checkpoint.Checkpoint, m *rename.Map) (made *checkpoint.Checkpoint, back *rename.Map, err error) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "model.safetensors")
	r, err := inspect.Rename(t.Context(), c, &inspect.RenameOptions{Map: m, AllowLayoutMismatch: true, Rewrite: rewrite.Options{Output: out, Verify: rewrite.VerifyFull}})
	if err != nil {
		return nil, nil, err
	}
	if err := r.Run(t.Context(), nil); err != nil {
		return nil, nil, err
	}
	return open(t, out), r.Plan.Inverse(), nil
}

// differ says how two checkpoints differ in names, shapes or bytes, "" where they do not.
func differ(t *testing.T, a, b *checkpoint.Checkpoint) string {
	t.Helper()
	set, err := inspect.Open(t.Context(), []string{a.Path, b.Path}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	r, err := inspect.Diff(t.Context(), set, &inspect.DiffOptions{WeightsOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	s := r.Comparisons[0].Summary
	if r.Verdict == inspect.VerdictSame && s.Renamed == 0 && s.Same == b.Len() && a.Len() == b.Len() {
		return ""
	}
	return fmt.Sprintf("%s: %+v", r.Verdict, s)
}

// Whatever somebody has done to a model, the map that is inferred from its weights makes the
// model again, and the inverse of the map what they had, byte by byte. Where it goes to a convention, the
// model is identified as that, and nothing is found wrong with it.
func TestInferredMapsThereAndBack(t *testing.T) {
	t.Parallel()
	for _, a := range []architecture{
		{name: "grouped queries", dtype: "BF16", layers: 2, hidden: 72, inner: 104, vocab: 97, heads: 6, kv: 2, dim: 12, seed: 1},
		{name: "as many keys, biases", dtype: "F32", layers: 3, hidden: 65, inner: 91, vocab: 101, heads: 5, kv: 5, dim: 14, seed: 2, bias: true},
		{name: "biases, grouped queries", dtype: "BF16", layers: 2, hidden: 70, inner: 99, vocab: 103, heads: 8, kv: 4, dim: 10, seed: 3, bias: true},
		{name: "eight bits", dtype: "F8_E4M3", layers: 2, hidden: 77, inner: 111, vocab: 89, heads: 4, kv: 4, dim: 18, seed: 4},
		{name: "experts", dtype: "BF16", layers: 2, hidden: 67, inner: 35, vocab: 83, heads: 4, kv: 2, dim: 16, experts: 5, seed: 5},
	} {
		testForms(t, newWeights(a))
	}
}

// testForms is TestInferredMapsThereAndBack for one model. It is compared with itself, with one
// that was trained on from it, and with others.
func testForms(t *testing.T, w *small, others ...*small) {
	t.Helper()
	truth := writtenArrays(t, w.named(), w.config())
	refs := []*checkpoint.Checkpoint{truth}
	for _, o := range append(others, w.tuned()) {
		refs = append(refs, writtenArrays(t, o.named(), o.config()))
	}
	infer := func(form, about string, from, to, result *checkpoint.Checkpoint, opts *inspect.InferMapOptions) {
		t.Helper()
		about = w.name + ", " + form + ", " + about
		r, err := inspect.InferMap(t.Context(), from, to, opts)
		switch {
		case err != nil:
			t.Errorf("%s: %v", about, err)
		case !r.Complete:
			t.Errorf("%s: asks %+v, contradicts %+v, misses %v, leaves %v\n%s", about, r.Questions, r.Contradictions, r.Missing, r.Extra, r.Text)
		default:
			thereAndBack(t, about, r, from, result)
		}
	}
	for i := range labForms {
		f := &labForms[i]
		// The models have seeds of their own, so that together they try every form.
		if f.needs != nil && !f.needs(&w.architecture) || !sweep.Has(i+w.seed, 5) {
			continue
		}
		prefix := []string{"", "engine.net_."}[(i+w.seed)%2]
		a := writtenArrays(t, w.stored(f, prefix), "")
		for k, ref := range refs {
			if (i+k)%2 == 0 {
				infer(f.name, fmt.Sprint("as reference ", k), a, nil, truth, &inspect.InferMapOptions{To: w.convention(), Ref: ref})
			} else {
				infer(f.name, fmt.Sprint("as checkpoint ", k), a, ref, truth, nil)
			}
		}
		infer(f.name, "from transformers", truth, a, a, nil)
	}
	wrapped := make(map[string]array)
	for name, a := range w.named() {
		wrapped["module."+strings.Replace(name, ".mlp.", "._fsdp_wrapped_module.mlp.", 1)] = a
	}
	a := writtenArrays(t, wrapped, "")
	for k, ref := range refs {
		infer("wrapped", fmt.Sprint("as checkpoint ", k), a, ref, truth, nil)
	}
}

// thereAndBack applies a map as users do: as its text says.
func thereAndBack(t *testing.T, about string, r *inspect.InferMapResult, a, truth *checkpoint.Checkpoint) {
	t.Helper()
	m, err := rename.Parse("map.yaml", []byte(r.Text))
	if err != nil {
		t.Errorf("%s: %v\n%s", about, err, r.Text)
		return
	}
	made, undo, err := applied(t, a, m)
	if err != nil {
		t.Errorf("%s: %v\n%s", about, err, r.Text)
		return
	}
	if d := differ(t, made, truth); d != "" {
		t.Errorf("%s: makes another model: %s\n%s", about, d, r.Text)
		return
	}
	if config := filepath.Join(filepath.Dir(truth.Path), "config.json"); r.Goal != "" {
		text, err := os.ReadFile(config)
		if err == nil {
			err = os.WriteFile(filepath.Join(filepath.Dir(made.Path), "config.json"), text, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
		known, err := inspect.Identify(t.Context(), made, nil)
		if err != nil || !known.IsOf(r.Goal) {
			t.Errorf("%s: identified as %q, %v", about, known.Convention, err)
		}
		judged, err := inspect.Check(t.Context(), []string{made.Path}, nil)
		if err != nil || slices.ContainsFunc(judged.Findings, func(f inspect.Finding) bool { return f.Severity > checkpoint.Info }) {
			t.Errorf("%s: %v, %+v", about, err, judged.Findings)
		}
	}
	back, err := rename.Invert(m)
	if err != nil && strings.Contains(r.Text, `: "{rest`) {
		back, err = undo, nil // that a prefix goes is undone by what rename --write-inverse writes
	}
	if err != nil {
		t.Errorf("%s: %v\n%s", about, err, r.Text)
		return
	}
	again, _, err := applied(t, made, back)
	if err != nil {
		t.Errorf("%s, and back: %v\n%s", about, err, r.Text)
		return
	}
	if d := differ(t, again, a); d != "" {
		t.Errorf("%s: there and back makes another model: %s\n%s", about, d, r.Text)
	}
}

// The same of trained models.
func TestInferredMapsThereAndBackTrained(t *testing.T) {
	if testing.Short() {
		t.Skip("the made models do")
	}
	t.Parallel()
	base := trainedWeights(t, "A0")
	testForms(t, base, trainedWeights(t, "sft"), trainedWeights(t, "cpt_s100"))
}

// trainedWeights are the first layers of one of the small trained models.
func trainedWeights(t *testing.T, name string) *small {
	t.Helper()
	c := open(t, testdata.Path(t, "tinyllama/"+name))
	w := &small{architecture: architecture{name: name, layers: 3, hidden: 128, inner: 352, vocab: 1024, heads: 8, kv: 2, dim: 16}, top: make(layer)}
	read := func(name string) array {
		k, ok := c.Lookup(name)
		if !ok {
			t.Fatal(name)
		}
		x := c.At(k)
		a := array{dtype: x.DType}
		for _, d := range x.Shape {
			a.shape = append(a.shape, int(d))
		}
		section, err := values.SectionOf(c, k)
		if err == nil {
			a.data = make([]byte, section.Data.Size())
			_, err = section.Data.ReadAt(a.data, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for role, name := range tops {
		w.top[role] = read(name)
	}
	for i := range w.architecture.layers {
		l := make(layer)
		for role, name := range dense {
			if !strings.HasSuffix(role, ".bias") && role != "router" {
				l[role] = read(fmt.Sprintf("model.layers.%d.%s", i, name))
			}
		}
		w.layers = append(w.layers, l)
	}
	return w
}
