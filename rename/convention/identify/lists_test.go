package identify

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// A list is the names of one checkpoint, from testdata/lists.
type list struct {
	id, kind string
	model    *convention.Model
	tensors  []convention.Named
}

func lists(t testing.TB) []list {
	t.Helper()
	var out []list
	for _, l := range fixture.NameLists(t, "../testdata/lists") {
		out = append(out, list{l.ID, l.Kind, &convention.Model{Type: l.ModelType, TextType: l.TextModelType}, named(l.Tensors)})
	}
	return out
}

func named(tensors []fixture.NamedTensor) []convention.Named {
	out := make([]convention.Named, len(tensors))
	for i, n := range tensors {
		out[i] = convention.Named{Name: n.Name, Shape: n.Shape}
	}
	return out
}

func expandLine(t testing.TB, line string) []convention.Named {
	t.Helper()
	return named(fixture.ExpandNames(t, line))
}

// wants reads testdata/want.tsv: what is known about each list.
func wants(t testing.TB) map[string][]string {
	t.Helper()
	b, err := os.ReadFile("../testdata/want.tsv")
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string][]string)
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(strings.TrimRight(line, "\n"), "\t"); len(f) == 4 && !strings.HasPrefix(line, "#") {
			want[f[0]] = f[1:]
		}
	}
	return want
}

func TestIdentifyLists(t *testing.T) {
	t.Parallel()
	reg := builtin()
	want := wants(t)
	for _, withConfig := range []bool{true, false} {
		known, total := 0, 0
		for _, l := range lists(t) {
			model := l.model
			if !withConfig {
				model = nil
			}
			r := reg.identify(slices.Values(l.tensors), model)
			w := want[l.id]
			if w == nil {
				t.Errorf("%s: testdata/want.tsv does not say what it is", l.id)
				continue
			}
			if l.kind != "module-trace" {
				total++
				if r.Convention != "" {
					known++
				}
			}
			if r.Convention == "" {
				if w[0] != "-" {
					t.Errorf("%s: unknown, want %s; %v", l.id, w[0], r.Evidence)
				}
				continue
			}
			if !slices.Contains(strings.Split(w[0], ","), r.Convention) {
				t.Errorf("%s: convention %s, want %s", l.id, r.Convention, w[0])
			}
			if len(r.Families) > 0 && !slices.ContainsFunc(r.Families, func(f string) bool { return convention.SameFamily(f, w[1]) }) {
				t.Errorf("%s: families %v, want %s among them", l.id, r.Families, w[1])
			}
			if len(r.Families) == 0 && w[1] != "-" {
				t.Errorf("%s: no family, want %s; %v", l.id, w[1], r.Evidence)
			}
			if !slices.Contains(r.Dialects, w[2]) {
				t.Errorf("%s: dialects %v, want %s among them", l.id, r.Dialects, w[2])
			}
		}
		if 100*known < 95*total {
			t.Errorf("%d of %d real and reconstructed lists are identified, want 95 in 100", known, total)
		}
	}
}

// A convention that is not there must not be taken for another model: each
// list is judged again without the conventions that it fits.
func TestIdentifyUnseen(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges every list several times")
	}
	reg := builtin()
	want := wants(t)
	// These share every name with a convention that is left.
	shared := map[string]bool{
		"graphnet__tiny_starcoder_py__hf-module-names": true,
		"runwayml__sd-lora-timohavdk__lora-diffusers":  true, // ControlNet-XS has all of that UNet's attention
	}
	// InternLM2 and gpt-fast differ by a prefix and by the order of the rows of
	// wqkv, which no name or shape shows.
	alike := map[[2]string]bool{{"internlm2-hf", "llama-gptfast"}: true}
	for i, l := range lists(t) {
		if !sweep.Has(i, 5) {
			continue
		}
		r := reg.identify(slices.Values(l.tensors), nil)
		if r.Convention == "" {
			continue
		}
		drop := make(map[string]bool)
		for _, c := range r.Candidates {
			drop[c.Convention] = true
		}
		for _, p := range r.Parts {
			drop[p.Convention] = mustLookup(t, p.Convention).Frame
		}
		var left []*convention.Convention
		for _, c := range reg.list {
			if !drop[c.Name] {
				left = append(left, c)
			}
		}
		got := newRegistry(left).identify(slices.Values(l.tensors), nil)
		if len(got.Families) > 0 && !slices.Contains(got.Families, want[l.id][1]) && !shared[l.id] && !alike[[2]string{r.Convention, got.Convention}] {
			t.Errorf("%s: without %v it is taken for %s %v", l.id, r.Convention, got.Convention, got.Families)
		}
	}
}

// Wrappers change what is reported around a convention, never the convention.
func TestIdentifyWrapped(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges every list several times")
	}
	reg := builtin()
	wrap := map[string]func(name string) string{
		"module.":                     func(n string) string { return "module." + n },
		"_orig_mod.":                  func(n string) string { return "_orig_mod." + n },
		"_fsdp_wrapped_module.":       func(n string) string { return strings.Replace(n, ".", "._fsdp_wrapped_module.", 1) },
		"_checkpoint_wrapped_module.": func(n string) string { return strings.Replace(n, ".mlp.", "._checkpoint_wrapped_module.mlp.", 1) },
		"base_model.model.":           func(n string) string { return "base_model.model." + n },
		"thinker.":                    func(n string) string { return "thinker." + n },
	}
	for i, l := range lists(t) {
		if l.kind == "module-trace" || strings.Contains(l.id, "lora") || !sweep.Has(i, 3) {
			continue
		}
		plain := reg.identify(slices.Values(l.tensors), nil)
		for w, f := range wrap {
			wrapped := make([]convention.Named, len(l.tensors))
			changed := false
			for i, n := range l.tensors {
				wrapped[i] = convention.Named{Name: f(n.Name), Shape: n.Shape}
				changed = changed || wrapped[i].Name != n.Name
			}
			got := reg.identify(slices.Values(wrapped), nil)
			if got.Convention != plain.Convention {
				t.Errorf("%s wrapped in %s: convention %q, want %q", l.id, w, got.Convention, plain.Convention)
			}
			if changed && got.Convention != "" && !slices.ContainsFunc(got.Wrappers, func(g string) bool { return strings.HasPrefix(g, w) }) {
				t.Errorf("%s: wrappers %v, want %s among them", l.id, got.Wrappers, w)
			}
		}
	}
}

// A part of a checkpoint, or a deeper one, follows the same convention.
func TestIdentifyPartial(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges every list several times")
	}
	reg := builtin()
	for _, l := range lists(t) {
		if l.kind == "module-trace" {
			continue
		}
		plain := reg.identify(slices.Values(l.tensors), nil)
		if len(plain.Parts) > 0 || plain.Convention == "" {
			continue
		}
		var layersOnly, deeper []convention.Named
		for _, n := range l.tensors {
			if strings.ContainsAny(n.Name, "0123456789") {
				layersOnly = append(layersOnly, n)
			}
			deeper = append(deeper, n)
			// The first index is the layer's.
			if at := strings.IndexAny(n.Name, "0123456789"); at > 0 && strings.HasPrefix(n.Name[at-1:], ".1.") {
				p := n.Name[:at] + "977" + n.Name[at+1:]
				deeper = append(deeper, convention.Named{Name: p, Shape: n.Shape})
			}
		}
		if got := reg.identify(slices.Values(deeper), nil); got.Convention != plain.Convention {
			t.Errorf("%s, deeper: convention %q, want %q; %v", l.id, got.Convention, plain.Convention, got.Evidence)
		}
		if got := reg.identify(slices.Values(layersOnly), nil); got.Convention != "" && !overlaps(got.Families, plain.Families) {
			t.Errorf("%s, layers only: %s %v, want %s %v", l.id, got.Convention, got.Families, plain.Convention, plain.Families)
		}
	}
}

func overlaps(a, b []string) bool {
	return len(a) == 0 || slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func TestIdentifyYi(t *testing.T) {
	reg := builtin()
	for _, l := range lists(t) {
		if !strings.Contains(l.id, "yi-original") {
			continue
		}
		r := reg.identify(slices.Values(l.tensors), nil)
		got := fmt.Sprint(r.Convention, r.Nearest, r.Families[0], r.Coverage, r.Tensors)
		if want := "yi-hf{llama-hf 2}Yi1 543"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	// RWKV 7 calls its normalisations ln1 and ln2, too.
	rwkv := expandLine(t, "model.layers.{}.ln1.weight [0-11] 768")
	rwkv = append(rwkv, expandLine(t, "model.layers.{}.ln2.weight [0-11] 768")...)
	if r := reg.identify(slices.Values(rwkv), nil); r.Convention != "" {
		t.Errorf("ln1 and ln2 alone are taken for %s", r.Convention)
	}
}

// A botched rename is no convention, and it is said what it nearly is.
func TestIdentifySlips(t *testing.T) {
	reg := builtin()
	for _, l := range lists(t) {
		if !strings.Contains(l.id, "broken-rename") {
			continue
		}
		r := reg.identify(slices.Values(l.tensors), nil)
		if r.Convention != "" || r.Nearest != (Nearest{"unet-diffusers", r.Templates}) {
			t.Errorf("convention %q, nearest %v of %d templates", r.Convention, r.Nearest, r.Templates)
		}
	}
}

func TestIdentifyForeignShapes(t *testing.T) {
	reg := builtin()
	names := []string{
		"transformer.wte.weight 50257x768", "transformer.wpe.weight 1024x768",
		"transformer.h.{}.ln_1.weight [0-3] 768", "transformer.h.{}.ln_1.bias [0-3] 768",
		"transformer.h.{}.ln_2.weight [0-3] 768", "transformer.h.{}.ln_2.bias [0-3] 768",
		"transformer.h.{}.attn.c_attn.weight [0-3] %s", "transformer.h.{}.attn.c_attn.bias [0-3] 2304",
		"transformer.h.{}.attn.c_proj.weight [0-3] 768x768", "transformer.h.{}.attn.c_proj.bias [0-3] 768",
		"transformer.h.{}.mlp.c_fc.weight [0-3] %s", "transformer.h.{}.mlp.c_fc.bias [0-3] 3072",
		"transformer.h.{}.mlp.c_proj.weight [0-3] %s", "transformer.h.{}.mlp.c_proj.bias [0-3] 768",
		"transformer.ln_f.weight 768", "transformer.ln_f.bias 768",
	}
	for _, tt := range []struct {
		shapes [3]string
		want   string
	}{
		{[3]string{"768x2304", "768x3072", "3072x768"}, "gpt2-hf"},
		{[3]string{"2304x768", "3072x768", "768x3072"}, "gpt_bigcode-hf"},
		{[3]string{"5x9", "7x11", "13x17"}, ""},
	} {
		var list []convention.Named
		n := 0
		for _, line := range names {
			if strings.Contains(line, "%s") {
				line = fmt.Sprintf(line, tt.shapes[n])
				n++
			}
			list = append(list, expandLine(t, line)...)
		}
		r := reg.identify(slices.Values(list), nil)
		if r.Convention != tt.want {
			t.Errorf("shapes %v: convention %q, want %q; %v", tt.shapes, r.Convention, tt.want, r.Evidence)
		}
	}
}

func TestIdentifyReports(t *testing.T) {
	reg := builtin()
	llama := func(layers string, more ...string) []convention.Named {
		var list []convention.Named
		for _, line := range []string{
			"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
			"model.layers.{}.input_layernorm.weight " + layers, "model.layers.{}.post_attention_layernorm.weight " + layers,
			"model.layers.{}.self_attn.q_proj.weight " + layers, "model.layers.{}.self_attn.k_proj.weight " + layers,
			"model.layers.{}.self_attn.v_proj.weight " + layers, "model.layers.{}.self_attn.o_proj.weight " + layers,
			"model.layers.{}.mlp.gate_proj.weight " + layers, "model.layers.{}.mlp.up_proj.weight " + layers,
			"model.layers.{}.mlp.down_proj.weight " + layers,
		} {
			list = append(list, expandLine(t, line)...)
		}
		for _, line := range more {
			list = append(list, expandLine(t, line)...)
		}
		return list
	}
	without := func(list []convention.Named, name string) []convention.Named {
		return slices.DeleteFunc(list, func(n convention.Named) bool { return n.Name == name })
	}
	tests := []struct {
		name string
		list []convention.Named
		want Result
	}{
		{"a layer is missing", llama("[0-3,5-7]"), Result{Gaps: []Gap{{Layers: []int{4}}}}},
		{"one tensor is missing", without(llama("[0-7]"), "model.layers.3.mlp.up_proj.weight"), Result{Gaps: []Gap{{Role: "layer.mlp.up.weight", Layers: []int{3}}}}},
		{"no final norm", without(llama("[0-3]"), "model.norm.weight"), Result{Missing: []string{"final_norm.weight"}}},
		{"the head of a class for classification", llama("[0-3]", "score.weight"), Result{}},
		{"a value head", llama("[0-3]", "v_head.summary.weight"), Result{Extra: []string{"v_head.summary.weight"}}},
		{"GPTQ left-overs", llama("[0-3]", "model.layers.{}.mlp.up_proj.qzeros [0-3]", "model.layers.{}.mlp.up_proj.g_idx [0-3]", "model.layers.{}.mlp.up_proj.scales [0-3]", "model.layers.{}.mlp.up_proj.qweight [0-3]"), Result{Quantisation: []string{"gptq"}}},
		{"FP8", llama("[0-3]", "model.layers.{}.mlp.up_proj.weight_scale_inv [0-3]"), Result{Quantisation: []string{"fp8-block"}}},
		{"a doubled prefix", func() []convention.Named {
			list := llama("[0-3]")
			for i := range list {
				list[i].Name = "model." + list[i].Name
			}
			return list
		}(), Result{Wrappers: []string{"model."}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := reg.identify(slices.Values(tt.list), nil)
			if r.Convention != "llama-hf" || len(r.Families) == 0 {
				t.Errorf("convention %q families %v, want llama-hf; %v", r.Convention, r.Families, r.Evidence)
			}
			got := Result{Gaps: r.Gaps, Missing: r.Missing, Extra: r.Extra, Quantisation: r.Quantisation, Wrappers: r.Wrappers}
			if d := gocmp.Diff(tt.want, got); d != "" {
				t.Errorf("(-want +got)\n%s", d)
			}
		})
	}
}

func BenchmarkIdentify(b *testing.B) {
	reg := builtin()
	var names []convention.Named
	for _, n := range fixture.DeepSeekNames() {
		names = append(names, convention.Named{Name: n})
	}
	b.ReportMetric(float64(len(names)), "names")
	for b.Loop() {
		if r := reg.identify(slices.Values(names), nil); r.Convention != "deepseek_v3-hf" {
			b.Fatal(cmp.Or(r.Convention, "unknown"), r.Evidence)
		}
	}
}

// Every convention is found again from the names that it requires, and no
// other model is taken for it.
func TestIdentifyItself(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges every list several times")
	}
	reg := builtin()
	for i, c := range reg.list {
		if !sweep.Has(i, 5) {
			continue
		}
		var list []convention.Named
		for _, n := range namesOf(c) {
			list = append(list, convention.Named{Name: n})
		}
		if len(list) < 3 {
			continue // a projector is found beside a model only
		}
		r := reg.identify(slices.Values(list), nil)
		if r.Convention != c.Name && !slices.ContainsFunc(r.Candidates, func(x Candidate) bool { return x.Convention == c.Name }) && !slices.ContainsFunc(r.Parts, func(p Part) bool { return p.Convention == c.Name }) {
			t.Errorf("%s is taken for %q, candidates %v; %v", c.Name, r.Convention, r.Candidates, r.Evidence)
			continue
		}
		if len(r.Families) > 0 && !overlaps(c.Families, r.Families) {
			t.Errorf("%s: families %v, want one of %v", c.Name, r.Families, c.Families)
		}
		if c.HasDialect("gguf") {
			continue // architectures differ by what they lack
		}
		drop := make(map[string]bool)
		for _, x := range r.Candidates {
			drop[x.Convention] = true
		}
		var left []*convention.Convention
		for _, o := range reg.list {
			if !drop[o.Name] && !slices.ContainsFunc(o.Families, c.HasFamily) {
				left = append(left, o)
			}
		}
		got := newRegistry(left).identify(slices.Values(list), nil)
		// nanoGPT writes StarCoder's names, transformers those of RWKV 7 itself, and Kyutai's model is Moshi's with one embedding.
		if len(got.Families) > 0 && c.Name != "gpt_bigcode-hf" && c.Name != "rwkv7-transformers" && c.Name != "kyutai_speech_to_text-hf" {
			t.Errorf("%s %v: when it is not known it is taken for %s %v", c.Name, c.Families, got.Convention, got.Families)
		}
	}
}

// What frameworks and people do to names hides no convention.
func TestIdentifyDisguised(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("judges every convention several times")
	}
	reg := builtin()
	every := func(f func(name string) []string) func([]string) []string {
		return func(names []string) []string {
			var out []string
			for _, n := range names {
				out = append(out, f(n)...)
			}
			return out
		}
	}
	before := func(prefix string) func([]string) []string {
		return every(func(n string) []string { return []string{prefix + n} })
	}
	disguises := map[string]func([]string) []string{
		"module.":                before("module."),
		"wrappers in wrappers":   before("state_dict.module._orig_mod.module."),
		"model. twice":           before("model."),
		"a multimodal model's":   before("language_model."),
		"a prefix that says nil": before("foo.bar."),
		"gptq": every(func(n string) []string {
			stem, ok := strings.CutSuffix(n, "_proj.weight")
			if !ok {
				return []string{n}
			}
			return []string{stem + "_proj.qweight", stem + "_proj.qzeros", stem + "_proj.scales", stem + "_proj.g_idx"}
		}),
		"fp8": every(func(n string) []string {
			if !strings.HasSuffix(n, "proj.weight") {
				return []string{n}
			}
			return []string{n, n + "_scale_inv"}
		}),
	}
	n := 0
	for _, c := range reg.list {
		names := namesOf(c)
		if len(names) < 3 || c.Frame {
			continue
		}
		for _, what := range slices.Sorted(maps.Keys(disguises)) {
			if n++; !sweep.Has(n, 3) {
				continue
			}
			var list []convention.Named
			for _, n := range disguises[what](names) {
				list = append(list, convention.Named{Name: n})
			}
			r := reg.identify(slices.Values(list), nil)
			if r.Convention == "" || !overlaps(r.Families, c.Families) {
				t.Errorf("%s, %s: taken for %q %v; %v", c.Name, what, r.Convention, r.Families, r.Evidence)
			}
		}
	}
}

// What fine-tuning puts beside a model, and an adapter below the prefix of every
// multimodal model, decide nothing about the model.
func TestIdentifyBeside(t *testing.T) {
	reg := builtin()
	bert, llama := namesOf(mustLookup(t, "bert-hf")), namesOf(mustLookup(t, "llama-hf"))
	under := func(prefix string, names []string) []string {
		var out []string
		for _, n := range names {
			out = append(out, prefix+n)
		}
		return out
	}
	var adapter []string
	for _, p := range []string{"q", "k", "v", "o"} {
		for _, side := range []string{"A", "B"} {
			adapter = append(adapter, "base_model.model.model.language_model.layers.0.self_attn."+p+"_proj.lora_"+side+".weight")
		}
	}
	for _, tt := range []struct {
		what, want, family string
		names              []string
	}{
		{"a head of one's own", "bert-hf", "bert", append(slices.Clone(bert), "crf.transitions", "fc.weight", "fc.bias")},
		{"sentence-transformers", "bert-hf", "bert", append(under("0.auto_model.", trim(bert, "bert.")), "2.linear.weight", "2.linear.bias")},
		{"a loss", "llama-hf", "llama", append(under("model.", llama), "loss_fn.weight")},
		{"an adapter of a multimodal model", "llama-hf", "qwen2", adapter},
	} {
		var list []convention.Named
		for _, n := range tt.names {
			list = append(list, convention.Named{Name: n})
		}
		if r := reg.identify(slices.Values(list), nil); r.Convention != tt.want || !slices.Contains(r.Families, tt.family) {
			t.Errorf("%s: %q %v, want %s and %s; %v", tt.what, r.Convention, r.Families, tt.want, tt.family, r.Evidence)
		}
	}
}

// Names of which no convention knows the half, or which it would miss more than it
// knows, are those of none, and nothing is said of what is missing.
func TestIdentifyStrange(t *testing.T) {
	for what, names := range map[string][]string{
		"a few names of a large model": {"layer.0.weight", "layer.1.weight"},
		"a model with some other's layers": {
			"stem.conv.weight", "stem.bn.weight", "stem.bn.bias", "blocks.0.mix.a.weight", "blocks.0.mix.b.weight",
			"blocks.0.mix.c.weight", "blocks.0.gru.weight", "blocks.0.norm1.weight", "blocks.0.norm1.bias", "tail.weight",
		},
	} {
		var list []convention.Named
		for _, n := range names {
			list = append(list, convention.Named{Name: n})
		}
		r := Tensors(slices.Values(list), nil)
		if r.Convention != "" || len(r.Missing)+len(r.Candidates)+len(r.Dialects) > 0 || r.Nearest.Convention != "" || r.Coverage != 0 || len(r.Extra) != r.Templates {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

// Names of somebody's own that mean what those of a convention do are near to it, and
// others to none.
func TestIdentifyMeaning(t *testing.T) {
	words := strings.NewReplacer("layers", "block", "self_attn.q_proj", "attention.query", "self_attn.k_proj", "attention.key", "self_attn.v_proj", "attention.value",
		"self_attn.o_proj", "attention.out", "mlp.", "feed_forward.", "_proj", "", "input_layernorm", "pre_attention_norm", "post_attention_layernorm", "pre_ffn_norm",
		"lm_head", "output_head", "embed_tokens", "token_embedding")
	for _, tt := range []struct {
		of, want string
	}{{"llama-hf", "llama-hf"}, {"qwen3-hf", "qwen3-hf"}, {"mixtral-hf", "mixtral-hf"}, {"", ""}} {
		var list []convention.Named
		if tt.of == "" {
			for i := range 40 {
				list = append(list, convention.Named{Name: fmt.Sprintf("w%c%c.x%c.weight", 'a'+i%7, 'a'+i%5, 'a'+i%26)})
			}
		} else {
			for _, n := range namesOf(mustLookup(t, tt.of)) {
				list = append(list, convention.Named{Name: words.Replace(n)})
			}
		}
		r := Tensors(slices.Values(list), nil)
		said := strings.Join(r.Evidence, "\n")
		if r.Convention != "" || r.Nearest.Convention != tt.want || strings.Contains(said, "no convention is near") != (tt.want == "") {
			t.Errorf("%s: %q, nearest %v\n%s", tt.of, r.Convention, r.Nearest, said)
		}
	}
}

// Two models of one kind in a file are parts of another, whose family their names do
// not say.
func TestIdentifySeveral(t *testing.T) {
	var list []convention.Named
	for _, prefix := range []string{"first.model.", "second.model."} {
		for _, n := range namesOf(mustLookup(t, "llama-hf")) {
			list = append(list, convention.Named{Name: prefix + strings.TrimPrefix(n, "model.")})
		}
	}
	if r := Tensors(slices.Values(list), nil); len(r.Families) > 0 {
		t.Errorf("%s %v", r.Convention, r.Families)
	}
}

func trim(names []string, prefix string) []string {
	var out []string
	for _, n := range names {
		out = append(out, strings.TrimPrefix(n, prefix))
	}
	return out
}

func TestIdentifyHostile(t *testing.T) {
	reg := builtin()
	deep := strings.Repeat("a.", 1<<20) + "model.layers.0.mlp.up_proj.weight"
	r := reg.identify(slices.Values([]convention.Named{{Name: deep}, {Name: strings.Repeat("0.", 1<<18)}, {Name: ""}}), nil)
	if r.Convention != "" {
		t.Errorf("convention %q", r.Convention)
	}
	var many []convention.Named
	for i := range 30000 {
		many = append(many, convention.Named{Name: fmt.Sprintf("x%dx.layers.0.mlp.up_proj.weight", i)})
	}
	if r := reg.identify(slices.Values(many), nil); r.Convention != "" || r.Templates != len(many) || r.MoreTemplates || len(r.Evidence) == 0 {
		t.Errorf("convention %q of %d templates; %v", r.Convention, r.Templates, r.Evidence)
	}
	if _, err := Locate(mustLookup(t, "llama-hf"), many); err == nil {
		t.Error("located")
	}
}

func FuzzIdentify(f *testing.F) {
	f.Add("model.layers.0.self_attn.q_proj.weight\nmodel.layers.1.self_attn.q_proj.weight\nlm_head.weight")
	f.Add("lora_unet_down_blocks_0_attentions_0_proj_in.alpha\nblk.0.attn_q.weight.lora_a")
	f.Add("\x00\n.\n..\n#\n#.#.weight\nmodule.\n_orig_mod.\n999999999.999999999.weight12")
	f.Add("layers.0.wte.weight\nlayers.1.ln.weight\nlayers.33.linear.weight")
	f.Add("lora_unet_down_blocks_0_attentions_0_proj_in.alpha")
	f.Add("lora_unet_mid_block_attentions_0_proj_in.lora_down.weight\nlora_unet_mid_block_attentions_0_proj_in.lora_up.weight\nx")
	f.Fuzz(func(t *testing.T, names string) {
		var list []convention.Named
		for n := range strings.SplitSeq(names, "\n") {
			list = append(list, convention.Named{Name: n, Shape: []uint64{uint64(len(n)), 3}})
		}
		r := Tensors(slices.Values(list), nil)
		if r.Coverage < 0 || r.Coverage > 1 {
			t.Errorf("coverage %v", r.Coverage)
		}
		if r.Convention == "" {
			return
		}
		c := mustLookup(t, r.Convention)
		// The names of an adapter are not a convention's, and those of its modules are.
		if a := ReadAdapter(list, nil, c); a != nil {
			if !slices.ContainsFunc(a.Components[0].Places, func(p Place) bool { return p.Tensor != nil }) {
				t.Errorf("%s: no module has a name of it", c.Name)
			}
		} else if _, err := Locate(c, list); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		Why(list[0].Name, slices.Values(list), nil)
	})
}

// Layers that are built otherwise are no gaps.
func TestIdentifyNoGaps(t *testing.T) {
	reg := builtin()
	for _, l := range lists(t) {
		if r := reg.identify(slices.Values(l.tensors), nil); len(r.Gaps) > 0 {
			t.Errorf("%s (%s): gaps %v", l.id, r.Convention, r.Gaps)
		}
	}
}

// Hostile names, each a template of its own, are counted and not gathered.
func TestTooManyTemplates(t *testing.T) {
	const n = 3 * maxTemplates
	names := func(yield func(convention.Named) bool) {
		for i := range n {
			letters := []byte("aaaa")
			for j, rest := 0, i; j < len(letters); j, rest = j+1, rest/26 {
				letters[j] += byte(rest % 26)
			}
			if !yield(convention.Named{Name: string(letters)}) {
				return
			}
		}
	}
	r := Tensors(names, nil)
	if r.Tensors != n || r.Templates != mostFolded || !r.MoreTemplates || r.Convention != "" || !strings.Contains(strings.Join(r.Evidence, " "), "more than 20000 templates") {
		t.Errorf("%d tensors, %d templates, %q: %q", r.Tensors, r.Templates, r.Convention, r.Evidence)
	}
}

// What the names say alone is what they say without shapes, also where those were looked at first.
func TestByNames(t *testing.T) {
	t.Parallel()
	spoke, differ := 0, 0
	for i, l := range lists(t) {
		if !sweep.Has(i, 3) {
			continue
		}
		var names []convention.Named
		for _, n := range l.tensors {
			names = append(names, convention.Named{Name: n.Name})
		}
		// Matrices that are not square, the way round that Linear has them, or Conv1D.
		for _, shape := range [][]uint64{{96, 64}, {64, 96}} {
			shaped := slices.Clone(l.tensors)
			for i := range shaped {
				if shaped[i].Shape = shape; strings.Contains(shaped[i].Name, "norm") || strings.Contains(shaped[i].Name, "ln") {
					shaped[i].Shape = shape[1:]
				}
			}
			r := Read(slices.Values(shaped), l.model)
			got, want := r.ByNames(), Read(slices.Values(names), l.model)
			if got != r {
				spoke++
			}
			if r.Convention != want.Convention {
				differ++
			}
			a, b := *got.Result, *want.Result
			a.Changes, b.Changes = nil, nil // the rank of an adapter is in its shapes
			if !reflect.DeepEqual(a, b) {
				t.Errorf("%s: %+v, want %+v", l.id, a, b)
			}
		}
	}
	if spoke == 0 || differ == 0 {
		t.Errorf("shapes speak against %d, and change %d", spoke, differ)
	}
}

// A place is the same, whether the places of all tensors are kept or it is found by itself.
func TestFitPlaces(t *testing.T) {
	t.Parallel()
	placed := 0
	for _, l := range lists(t) {
		r := Read(slices.Values(l.tensors), l.model)
		c, ok := convention.Lookup(r.Convention)
		if !ok || r.Adapter {
			continue
		}
		fit, _ := r.Fit(c)
		i := 0
		want := r.Places(c)
		for name, got := range fit.Places {
			one := fit.Place(name)
			if name != l.tensors[i].Name || !reflect.DeepEqual(one, want[i]) || one.Tensor != got.Tensor || !slices.Equal(one.Index, got.Index) {
				t.Fatalf("%s: %s is %+v by itself, %+v among all, and was %+v", l.id, name, one, got, want[i])
			}
			if got.Tensor != nil {
				placed++
			}
			i++
		}
		if i != len(l.tensors) {
			t.Errorf("%s: %d places of %d tensors", l.id, i, len(l.tensors))
		}
	}
	if placed < 1000 {
		t.Errorf("%d tensors have a place", placed)
	}
}
