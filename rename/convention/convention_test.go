package convention

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/rename/template"
)

// Loading checks each file: that patterns do not overlap and roles are known.
// What is left is that a description is complete.
func TestConventions(t *testing.T) {
	all := All()
	if len(all) < 200 {
		t.Fatalf("%d conventions are built in; loading failed", len(all))
	}
	for _, c := range all {
		if err := c.check(); err != nil {
			t.Error(err)
		}
		if len(c.Sources) == 0 {
			t.Errorf("%s: no source", c.Name)
		}
		if len(c.Families) == 0 {
			t.Errorf("%s: no family", c.Name)
		}
		if len(c.Dialects) == 0 {
			t.Errorf("%s: no dialect", c.Name)
		}
		if c.Description == "" {
			t.Errorf("%s: no description", c.Name)
		}
		if c.VariantOf != "" {
			if _, ok := Lookup(c.VariantOf); !ok {
				t.Errorf("%s: variant_of %q is not a convention", c.Name, c.VariantOf)
			}
		}
		for _, w := range c.With {
			if _, ok := Lookup(w); !ok {
				t.Errorf("%s: with %q is not a convention", c.Name, w)
			}
		}
		for _, g := range slices.Concat(c.Layout.Transposed, slices.Collect(maps.Keys(c.Layout.NormOffsets))) {
			if g != "*" && !slices.ContainsFunc(c.tensors(), func(m Tensor) bool { return template.Glob(g).Match(m.Module) }) {
				t.Errorf("%s: its layout speaks of %q, which it does not have", c.Name, g)
			}
		}
	}
}

func TestParseFormat(t *testing.T) {
	all := All()
	rapid.Check(t, func(t *rapid.T) {
		c := rapid.SampledFrom(all).Draw(t, "convention")
		tensor := rapid.SampledFrom(c.Tensors()).Draw(t, "tensor")
		index := make([]int, len(tensor.Pattern.Holes()))
		for i := range index {
			index[i] = rapid.IntRange(0, 200).Draw(t, "index")
			if len(tensor.Pattern.Computed()) > 0 {
				index[i] %= 4 // the second of two indices in one number is less than the first's factor
			}
		}
		name, ok := tensor.Pattern.Format(index)
		if !ok && len(tensor.Pattern.Computed()) > 0 {
			t.Skip("no name")
		}
		if !ok {
			t.Fatalf("%s: %s does not format %v", c.Name, tensor.Pattern.text, index)
		}
		id, ok := c.Parse(name)
		if !ok || id.Role != tensor.Role || !slices.Equal(id.Index, index) && len(index) > 0 {
			t.Fatalf("%s: %q parses as %v %v, want %s %v", c.Name, name, id, ok, tensor.Role, index)
		}
		again, ok := c.Format(id)
		if !ok {
			t.Fatalf("%s: %v does not format", c.Name, id)
		}
		if back, ok := c.Parse(again); !ok || back.String() != id.String() {
			t.Fatalf("%s: %q parses as %v, want %v", c.Name, again, back, id)
		}
	})
}

// accepted reads the names that llama.cpp accepts: GGUF name -> architecture
// ("" where it does not matter) -> names.
func accepted(t *testing.T) map[string]map[string][]string {
	t.Helper()
	b, err := os.ReadFile("testdata/gguf_accepted.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]map[string][]string)
	for line := range strings.Lines(string(b)) {
		head, names, ok := strings.Cut(strings.TrimRight(line, "\n"), ": ")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		name, archs, some := strings.Cut(strings.TrimSuffix(head, "]"), " [")
		if out[name] == nil {
			out[name] = make(map[string][]string)
		}
		if !some {
			out[name][""] = strings.Fields(names)
			continue
		}
		for _, a := range strings.Fields(archs) {
			out[name][a] = strings.Fields(names)
		}
	}
	return out
}

// Every pair of a GGUF name and a transformers name must be one that llama.cpp
// accepts.
func TestGGUFAgreement(t *testing.T) {
	table := accepted(t)
	archs := 0
	pairs := 0
	for _, g := range All() {
		arch, ok := strings.CutSuffix(g.Name, "-gguf")
		if !ok || g.Sources[0] != "llama.cpp: gguf-py/gguf/constants.py, tensor_mapping.py; src/llama-model.cpp" || arch == "clip" {
			continue // clip is the towers of any model
		}
		archs++
		paired := false
		for _, h := range All() {
			if !h.HasDialect("hf") || h.Frame || !slices.ContainsFunc(g.Families, h.HasFamily) {
				continue
			}
			paired = true
			for _, gt := range g.tensors() {
				if ggufException(h.Name, gt.Role) {
					continue
				}
				stem := strings.NewReplacer("{layer}", "{bid}").Replace(gt.Pattern.text)
				stem = strings.TrimSuffix(strings.TrimSuffix(stem, ".weight"), ".bias")
				// The override that llama.cpp has for Arctic stayed in the table of
				// the architectures that were read after it; only Arctic's is meant.
				names := table[stem][arch]
				if arch != "arctic" {
					names = slices.Concat(slices.Collect(maps.Values(table[stem]))...)
				} else if names == nil {
					names = table[stem][""]
				}
				roles := []string{gt.Role}
				// llama.cpp merges experts under the name without their number.
				if role := strings.Replace(gt.Role, ".experts.", ".expert.", 1); role != gt.Role {
					roles = append(roles, role)
				}
				for _, ht := range h.tensors() {
					if !slices.Contains(roles, ht.Role) {
						continue
					}
					if ht.Buffer {
						continue
					}
					pairs++
					if !slices.ContainsFunc(spellings(h, ht), func(n string) bool { return slices.Contains(names, n) }) {
						t.Errorf("%s: %s is %s in %s, which llama.cpp does not accept: %v", arch, ht.Pattern.text, gt.Pattern.text, h.Name, names)
					}
				}
			}
		}
		if paired == slices.Contains(ggufAlone, arch) {
			t.Errorf("%s %v: is there a transformers convention? %v", arch, g.Families, paired)
		}
	}
	t.Logf("%d architectures, %d pairs", archs, pairs)
}

// spellings gives a name as llama.cpp's converter may look it up: it takes
// prefixes off and spells two biases as leaves before it does.
func spellings(c *Convention, t Tensor) []string {
	full := strings.NewReplacer("{layer}", "0").Replace(t.Pattern.text)
	name := strings.NewReplacer("{layer}", "0", ".{expert}", "", "e_score_correction_bias", "e_score_correction.bias", ".dt_bias", ".dt_proj.bias").Replace(t.Pattern.text)
	name = strings.TrimSuffix(strings.TrimSuffix(name, ".weight"), ".bias")
	bare := strings.TrimPrefix(name, c.Base)
	return []string{full, name, strings.Replace(name, "language_model.", "", 1), bare, strings.TrimPrefix(name, "model."), strings.TrimPrefix(name, "transformer.")}
}

// ggufExceptions lists the pairs that the table does not have, and why.
var ggufExceptions = []struct{ convention, role, why string }{
	{"rwkv7-hf", "*", "Rwkv7Model spells attn, ffn and g_norm as attention, feed_forward and ln_x before it looks"},
	{"*bert*-hf", "classifier.*", "only the heads of rerankers are converted, whose name is classifier.out_proj"},
	{"roberta-hf", "classifier.*", "as above"},
	{"bitnet-hf", "*.sub_norm.*", "the table has the names of the model's first port"},
	{"chatglm-v1", "*", "llama.cpp does not convert the first ChatGLM"},
	{"phi-mixformer", "*", "llama.cpp does not convert the first layout of Phi"},
	{"gpt_oss-hf", "layer.mlp.experts.*.bias", "GptOssModel spells down_proj_bias as down_proj.bias"},
	{"nemotron_h-hf", "layer.mlp.experts.*", "NemotronHModel stacks the experts under names that are not in the table"},
	{"refact-hf", "layer.attn.q.weight", "RefactModel names the parts of the attention itself"},
	{"granitehybrid-dense-hf", "layer.mlp.down.weight", "GraniteMoeModel gives the shared MLP of a model without experts the names of an MLP"},
	{"t5*-hf", "embed.tokens.weight", "T5Model keeps the first of the shared embeddings under the name shared"},
}

func ggufException(hf, role string) bool {
	return slices.ContainsFunc(ggufExceptions, func(e struct{ convention, role, why string }) bool {
		return template.Glob(e.convention).Match(hf) && template.Glob(e.role).Match(role)
	})
}

// A GGUF architecture of which no transformers convention is described.
var ggufAlone = []string{
	"llama-embed", "maincoder", "paddleocr", "rwkv6qwen2", "wavtokenizer-dec",
}

// check finds names that two patterns match.
func (c *Convention) check() error {
	for _, same := range c.index().byTemplate {
		for n, i := range same {
			for _, j := range same[:n] {
				if a, b := c.tensors()[j].Pattern, c.tensors()[i].Pattern; overlap(a, b) {
					return fmt.Errorf("convention %q: patterns %q and %q overlap", c.Name, a.text, b.text)
				}
			}
		}
	}
	return nil
}

// overlap reports whether a name exists that both patterns match, given that
// their templates are equal.
func overlap(a, b *Pattern) bool {
	for i := range a.parsed().parts {
		x, y := &a.parsed().parts[i], &b.parsed().parts[i]
		if !x.literal {
			x, y = y, x
		}
		if _, _, ok := y.indices(x.value); x.literal && !ok {
			return false
		}
	}
	return true
}

// BenchmarkLoad is what the first use pays for reading every convention.
func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		for _, c := range readSet().list {
			c.tensors()
		}
	}
}

// What overlap finds, so that the built-in conventions are known to be held to it.
func TestOverlap(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want bool
	}{
		{"x.{layer}.weight", "x.{end}.weight", true},
		{"x.{layer}.weight", "x.3.weight", true},
		{"ln_1.weight", "ln_2.weight", false},
		{"x.{layer+1}.weight", "x.0.weight", false},
	} {
		a, err := ParsePattern(tt.a)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ParsePattern(tt.b)
		if err != nil {
			t.Fatal(err)
		}
		if got := overlap(a, b); got != tt.want {
			t.Errorf("%s and %s: %v, want %v", tt.a, tt.b, got, tt.want)
		}
	}
}
