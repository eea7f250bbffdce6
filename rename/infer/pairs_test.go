package infer

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/match"
	"github.com/wtinspect/wtinspect/rename/template"
)

// models are the numbers of models of some seven billion parameters.
var models = map[string]*sizes{
	"mha": {vocab: 32000, hidden: 4096, query: 4096, kv: 4096, head: 128, inner: 11008, layers: 32},
	"gqa": {vocab: 32000, hidden: 4096, query: 4096, kv: 1024, head: 128, inner: 14336, layers: 32},
	"mqa": {vocab: 65024, hidden: 4096, query: 4096, kv: 256, head: 128, inner: 13696, layers: 28},
	"moe": {vocab: 32000, hidden: 4096, query: 4096, kv: 1024, head: 128, experts: 8, ofOne: 14336, layers: 32},
}

// pairs are two conventions each, and a model that both have names for.
var pairs = []struct{ from, to, model string }{
	{"yi-hf", "llama-hf", "gqa"},
	{"llama-meta", "llama-hf", "gqa"},
	{"llama-gguf", "llama-hf", "gqa"},
	{"qwen-hf", "llama-hf", "mha"},
	{"qwen2-hf", "llama-gguf", "gqa"},
	{"baichuan-hf", "llama-hf", "mha"},
	{"internlm2-hf", "llama-hf", "gqa"},
	{"phi3-hf", "llama-hf", "mha"},
	{"chatglm-hf", "llama-hf", "mqa"},
	{"llama-litgpt", "llama-hf", "gqa"},
	{"olmo-ai2", "llama-hf", "mha"},
	{"telechat2-hf", "llama-hf", "gqa"},
	{"llama-meta", "llama-gguf", "mha"},
	{"qwen-hf", "llama-gguf", "mha"},
	{"internlm2-hf", "llama-meta", "gqa"},
	{"yi-hf", "llama-meta", "gqa"},
	{"telechat2-hf", "llama-gguf", "gqa"},
	{"llama-litgpt", "llama-meta", "gqa"},
	{"mixtral-hf", "mixtral-mistral", "moe"},
	{"mixtral-hf", "llama-gguf", "moe"},
	{"mixtral-mistral", "mixtral-mlx", "moe"},
	{"mixtral-hf", "dbrx-hf", "moe"},
}

// modelIn makes the names that a convention has for a model.
func modelIn(t testing.TB, name string, s *sizes) []convention.Named {
	t.Helper()
	c, ok := convention.Lookup(name)
	if !ok {
		t.Fatalf("no convention %s", name)
	}
	var out []convention.Named
	have := make(map[string]bool)
	add := func(tensor *convention.Tensor, index ...int) {
		n, ok := tensor.Pattern.Format(index)
		if !ok {
			t.Fatalf("%s: %s %v", name, tensor.Pattern, index)
		}
		shape := s.shape(c, tensor)
		if shape == nil {
			t.Fatalf("%s: the shape of %s is not known", name, tensor.Role)
		}
		if !have[n] {
			out = append(out, convention.Named{Name: n, Shape: shape, DType: "BF16"})
		}
		have[n] = true
	}
	for _, of := range c.Tensors() {
		if of.Buffer || of.Optional && of.Role != "head.weight" && !(s.experts > 0 && strings.Contains(of.Role, "mlp")) && !wanted(&of) {
			continue
		}
		if s.experts > 0 && strings.HasPrefix(of.Role, "layer.mlp.") && !strings.Contains(of.Role, "expert") && !strings.HasSuffix(of.Role, "norm.weight") && of.Role != "layer.mlp.router.weight" || strings.Contains(of.Role, "shared") || strings.HasSuffix(of.Role, "_bias.weight") {
			continue
		}
		if of.Optional && strings.HasSuffix(of.Role, ".bias") {
			continue
		}
		switch holes := of.Pattern.Holes(); len(holes) {
		case 0:
			add(&of)
		case 1:
			for l := range s.layers {
				add(&of, l)
			}
		case 2:
			for l := range s.layers {
				for e := range s.experts {
					add(&of, l, int(e))
				}
			}
		}
	}
	// A writer has the modules in the order of the code.
	order := []string{"embed", "layer.attn.norm", "attn.q", "attn.k", "attn.v", "attn.o", "mlp.norm", "out_norm", "router", "gate", "up", "down", "final", "head"}
	rank := func(n convention.Named) int {
		id, _ := c.Parse(n.Name)
		return slices.IndexFunc(order, func(part string) bool { return strings.Contains(id.Role, part) })
	}
	slices.SortStableFunc(out, func(a, b convention.Named) int { return rank(a) - rank(b) })
	return out
}

// wanted are optional tensors that a LLaMA in these names has.
func wanted(t *convention.Tensor) bool {
	switch t.Module {
	case "layer.attn.norm", "layer.mlp.norm", "final_norm":
		return strings.HasSuffix(t.Role, ".weight")
	}
	return t.Role == "layer.mlp.gate.weight" || t.Role == "layer.mlp.up.weight" || t.Role == "layer.mlp.down.weight"
}

// shuffled puts whole modules in another order, as another writer would.
func shuffled(list []convention.Named, rng *rand.Rand) []convention.Named {
	out := slices.Clone(list)
	rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

// opaque gives every template another name, t000 and so on, at random.
func opaque(list []convention.Named, rng *rand.Rand) ([]convention.Named, map[string]string) {
	kinds := template.Kinds(len(list), func(i int) string { return list[i].Name })
	numbers := rng.Perm(1000)
	out := slices.Clone(list)
	was := make(map[string]string)
	for k := range kinds {
		kind := &kinds[k]
		for i, row := range kind.Members {
			name := "x"
			for _, n := range kind.Index[i*kind.Holes() : (i+1)*kind.Holes()] {
				name += fmt.Sprintf(".%d", n)
			}
			name = fmt.Sprintf("t%03d%s", numbers[k], name[1:])
			if kind.Holes() > 0 {
				name = fmt.Sprintf("layers%s", name[4:]) + fmt.Sprintf(".t%03d", numbers[k])
			}
			out[row].Name = name
			was[name] = list[row].Name
		}
	}
	return out, was
}

// partsOf are the roles that a module of a convention has: those of its parts.
func partsOf(c *convention.Convention, name string) string {
	id, ok := c.Parse(name)
	if !ok {
		return "?"
	}
	module := strings.TrimSuffix(strings.TrimSuffix(id.Role, ".weight"), ".bias")
	module = strings.Replace(module, ".experts.", ".expert.", 1)
	// The norm before the MLP is behind attention in DBRX.
	if module == "layer.attn.out_norm" {
		module = "layer.mlp.norm"
	}
	i := strings.LastIndexByte(module, '.')
	switch module[i+1:] {
	case "qkv":
		return module[:i] + ".q " + module[:i] + ".k " + module[:i] + ".v"
	case "kv":
		return module[:i] + ".k " + module[:i] + ".v"
	case "gate_up":
		return module[:i] + ".gate " + module[:i] + ".up"
	}
	return module
}

func matchModules(t testing.TB, list []convention.Named) []*match.Module {
	t.Helper()
	var tensors []match.Tensor
	for _, n := range list {
		tensors = append(tensors, match.Tensor{Name: n.Name, Shape: n.Shape, DType: n.DType})
	}
	m, err := match.Modules(tensors)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// A score counts matches: of a module, or of one and its parts.
type score struct{ rules, right, asked, wrong int }

func (s score) String() string {
	n := float64(s.rules)
	return fmt.Sprintf("%d rules: right %.3f, asked %.3f, confident and wrong %d", s.rules, float64(s.right)/n, float64(s.asked)/n, s.wrong)
}

func (s *score) count(sol *match.Solution, a, b []*match.Module, from, to *convention.Convention, la, lb []convention.Named, was map[string]string, say func(string, ...any)) {
	role := func(list []int, side []*match.Module, c *convention.Convention, names []convention.Named) []string {
		var out []string
		for _, i := range list {
			name := names[side[i].Leaves[0].Tensors[0]].Name
			out = append(out, strings.Fields(partsOf(c, cmp.Or(was[name], name)))...)
		}
		return out
	}
	for i := range sol.Matches {
		m := &sol.Matches[i]
		x, y := role(m.A, a, from, la), role(m.B, b, to, lb)
		s.rules++
		right := slices.Equal(x, y)
		if right {
			s.right++
		}
		if m.Confidence < 0.9 {
			s.asked++
		} else if !right {
			s.wrong++
			say("WRONG %v -> %v at %.2f", x, y, m.Confidence)
		}
		if m.Confidence < 0.9 {
			say("asked %v -> %v at %.2f (margin %.2f) right %v", x, y, m.Confidence, m.Margin, right)
		}
	}
	for _, i := range sol.AloneA {
		s.rules++
		s.asked++
		say("alone A %s", a[i])
	}
	for _, j := range sol.AloneB {
		say("alone B %s", b[j])
	}
}

func TestPairs(t *testing.T) {
	shuffles := sweep.Count(2, 8)
	for _, tt := range []struct {
		name         string
		opt          match.Options
		right, asked float64 // at least and at most
	}{
		{"generic words, no order", match.Options{}, 0.85, 0.30},
		{"generic words and order", match.Options{Ordered: true}, 0.90, 0.30},
		{"opaque", match.Options{Opaque: true}, 0.50, 0.85},
		{"opaque, order", match.Options{Opaque: true, Ordered: true}, 0.85, 0.85},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var all score
			for n, p := range pairs {
				from, _ := convention.Lookup(p.from)
				to, _ := convention.Lookup(p.to)
				var one score
				for k := range shuffles {
					rng := rand.New(rand.NewPCG(uint64(n), uint64(k)))
					la, lb := modelIn(t, p.from, models[p.model]), modelIn(t, p.to, models[p.model])
					if !tt.opt.Ordered {
						la, lb = shuffled(la, rng), shuffled(lb, rng)
					}
					var was map[string]string
					if tt.opt.Opaque {
						la, was = opaque(la, rng)
					}
					a, b := matchModules(t, la), matchModules(t, lb)
					sol, err := match.Solve(a, b, tt.opt)
					if err != nil {
						t.Fatal(err)
					}
					say := func(f string, args ...any) {
						if k == 0 && os.Getenv("SAY") != "" {
							t.Logf("%s..%s: "+f, append([]any{p.from, p.to}, args...)...)
						}
					}
					one.count(sol, a, b, from, to, la, lb, was, say)
				}
				t.Logf("%s..%s %s", p.from, p.to, one)
				all.rules, all.right, all.asked, all.wrong = all.rules+one.rules, all.right+one.right, all.asked+one.asked, all.wrong+one.wrong
			}
			t.Log("all: ", all)
			n := float64(all.rules)
			if float64(all.right) < tt.right*n || float64(all.asked) > tt.asked*n || all.wrong > 0 {
				t.Error(all)
			}
		})
	}
}
