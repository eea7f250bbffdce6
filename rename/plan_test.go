package rename

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// mustParse reads a map that is given as its body, called map.yaml.
func mustParse(t testing.TB, body string) *Map {
	t.Helper()
	m, err := Parse("map.yaml", []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The faults that other tools have, each with what is said in their place.
func TestTraps(t *testing.T) {
	const slowPattern = "{a...}x{b...}x{c...}x{d...}x{a}y{b}y{c}y{d}"
	slowName := strings.Repeat("x", 400) + "yyy"
	tests := []struct {
		name   string
		limits Limits
		body   string
		names  string
		want   string // the names in the end, or the refusal
	}{
		{
			name:  "a swap",
			body:  "rename: {a: b, b: a}",
			names: "a b", want: "b a",
		},
		{
			name:  "a chain moves each name once",
			body:  "rename: {norm0: norm1, norm1: norm2}",
			names: "norm0 norm1", want: "norm1 norm2",
		},
		{
			name:  "substring rules that feed one another: q_proj inside qkv_proj",
			body:  "rename: {'{p...}.q_proj': '{p}.qkv_proj', '{p...}.v_proj': '{p}.o_proj'}",
			names: "l.q_proj l.qkv_proj2 l.v_proj", want: "l.qkv_proj l.qkv_proj2 l.o_proj",
		},
		{
			name:  "layers.1 is not layers.11",
			body:  "rename: {layers.1.w: first.w}",
			names: "layers.1.w layers.11.w", want: "first.w layers.11.w",
		},
		{
			name:  "a hole takes the whole number",
			body:  "rename: {'layers.{n}.w': 'h.{n}.w'}",
			names: "layers.1.w layers.11.w", want: "h.1.w h.11.w",
		},
		{
			name:  "a rule for v_proj leaves qkv_proj alone",
			body:  "rename: {'l.{n}.v_proj.w': 'l.{n}.v.w'}",
			names: "l.0.v_proj.w l.0.qkv_proj.w", want: "l.0.v.w l.0.qkv_proj.w",
		},
		{
			name:  "a prefix is cut only where it stands whole",
			body:  "rename: {'model.{rest...}': '{rest}'}",
			names: "model.embed remodel.embed model_ema.embed", want: "embed remodel.embed model_ema.embed",
		},
		{
			name:  "a cut prefix does not eat into the name",
			body:  "strip: [_fsdp_wrapped_module]",
			names: "decoder.embed _fsdp_wrapped_module.decoder.embed2", want: "decoder.embed decoder.embed2",
		},
		{
			name:  "a stripped segment in the middle, twice, and one that only looks like it",
			body:  "strip: [_orig_mod]",
			names: "_orig_mod.h.0._orig_mod.w h.1.x_orig_mod.w", want: "h.0.w h.1.x_orig_mod.w",
		},
		{
			name:  "strip does not join what it leaves",
			body:  "strip: [a.b]",
			names: "a.a.b.b a.b", want: `nothing would be left of the name of "a.b"`,
		},
		{
			name:  "what strip leaves is not stripped again, and empty segments stay",
			body:  "strip: [a.b, c]",
			names: "a.a.b.b.w c..c.w a.bc.w c.a.b.x",
			want:  "a.b.w .w a.bc.w x",
		},
		{
			name:  "rules see the stripped name",
			body:  "strip: [_orig_mod]\nrename: {'h.{n}.ln1': 'h.{n}.norm'}",
			names: "h.0._orig_mod.ln1 h.1.ln1", want: "h.0.norm h.1.norm",
		},
		{
			name:  "strip makes two names one",
			body:  "strip: [_orig_mod]",
			names: "_orig_mod.w w",
			want:  `"_orig_mod.w" would be called "w", but a tensor that keeps its name has it`,
		},
		{
			name:  "gamma and beta elsewhere than in a LayerNorm",
			body:  string(must(BuiltinSource("layernorm-gamma-beta"))),
			names: "enc.LayerNorm.gamma LayerNorm.beta blk.0.gamma blk.0.layer_scale.gamma_1 preLayerNorm.gamma",
			want:  "enc.LayerNorm.weight LayerNorm.bias blk.0.gamma blk.0.layer_scale.gamma_1 preLayerNorm.gamma",
		},
		{
			name:  "the head leaves the language model before the rest moves",
			body:  string(must(BuiltinSource("vlm-prefix-to-new"))),
			names: "language_model.lm_head.weight language_model.model.norm.weight",
			want:  "lm_head.weight model.language_model.norm.weight",
		},
		{
			name:  "new prefixes are not doubled in a second run",
			body:  string(must(BuiltinSource("qwen2-vl-prefix-to-new"))),
			names: "model.language_model.norm model.visual.x lm_head.weight",
			want:  "model.language_model.norm model.visual.x lm_head.weight",
		},
		{
			name:  "the VAE of an all-in-one file, below either prefix",
			body:  string(must(BuiltinSource("take-vae"))),
			names: "first_stage_model.quant_conv.weight vae.decoder.conv_in.bias model.diffusion_model.vae.x cond_stage_model.first_stage_model.y",
			want:  "quant_conv.weight decoder.conv_in.bias - -",
		},
		{
			name:  "two tensors to one name",
			body:  "rename: {'h.{n}.ln1': norm, b: c, a: c}",
			names: "h.0.ln1 h.1.ln1 a b",
			want: `two or more tensors would be called "norm": "h.{0..1}.ln1" (2 tensors) (map.yaml:1:10)
two or more tensors would be called "c": "a" (map.yaml:1:35) and "b" (map.yaml:1:29)`,
		},
		{
			name:  "onto a name that is kept",
			body:  "rename: {a: b}",
			names: "a b",
			want:  `"a" (map.yaml:1:10) would be called "b", but a tensor that keeps its name has it`,
		},
		{
			name:  "two tensors of one name are there already",
			body:  "rename: {a: b}",
			names: "a c c",
			want:  `2 tensors are called "c" already; renaming cannot tell them apart`,
		},
		{
			name:  "an empty name",
			body:  "rename: {'model{rest...}': '{rest}'}",
			names: "model",
			want:  `nothing would be left of the name of "model" (map.yaml:1:10)`,
		},
		{
			name:   "a name too long for GGUF",
			limits: GGUF(),
			body:   "rename: {'b.{x...}': 'module.{x}'}",
			names:  "b." + strings.Repeat("x", 56) + " b." + strings.Repeat("y", 57),
			want: `"b.` + strings.Repeat("y", 57) + `" would be called "module.` + strings.Repeat("y", 57) +
				`", which has 64 bytes; a name in GGUF has at most 63 (map.yaml:1:10)`,
		},
		{
			name:   "a NUL in GGUF",
			limits: GGUF(),
			body:   `rename: {a: "b\0c"}`,
			names:  "a",
			want:   `a name in GGUF has no NUL byte: that is what would become of "a" (map.yaml:1:10)`,
		},
		{
			name:  "a name cut out of UTF-8",
			body:  "rename: {'{x:seg}\u00fc': 'x{x}'}",
			names: "a\xc3\u00fc",
			want:  "xa\xc3",
		},
		{
			name:  "a segment is of whole characters",
			body:  "rename: {'{x:seg}{y...}': '{y}.{x}'}",
			names: "\u00fc",
			want:  ".ü",
		},
		{
			name:  "metadata is no tensor",
			body:  "rename: {a: __metadata__}",
			names: "a",
			want:  `the name __metadata__ is kept for metadata: that is what would become of "a" (map.yaml:1:10)`,
		},
		{
			name:  "a shift below 0",
			body:  "rename: {'layers.{n}.{x...}': 'h.{n-1}.{x}'}",
			names: "layers.0.wte layers.1.ln",
			want:  `map.yaml:1:10: in "layers.0.wte", "0" cannot be shifted by -1: it would be less than 0`,
		},
		{
			name:  "the first and last of a sequence, and the rest shifted",
			body:  "rename: {layers.0.wte: wte, 'layers.{n}.{x...}': 'h.{n-1}.{x}'}",
			names: "layers.0.wte layers.1.ln layers.2.ln", want: "wte h.0.ln h.1.ln",
		},
		{
			name:  "leading zeros are kept, and not shifted",
			body:  "rename: {'a.{n}': 'b.{n}', 'c.{n}': 'd.{n+1}'}",
			names: "a.01 c.01",
			want:  `map.yaml:1:28: in "c.01", "01" cannot be shifted by +1: it has leading zeros; a hole with :02 on the left side takes them`,
		},
		{
			name:  "nothing is skipped in silence",
			body:  "rename: {'h.{n}.a': 'l.{n}.a'}\notherwise: error",
			names: "h.0.a h.0.b h.1.b x",
			want:  `map.yaml: no rule matches "h.{0..1}.b" and "x" (3 tensors), and the map says otherwise: error`,
		},
		{
			name:  "the rest is dropped with a reason",
			body:  "rename: {a: b}\notherwise: {drop: not needed}",
			names: "a x", want: "b -",
		},
		{
			name:  "a first rule decides",
			body:  "rename: {h.0.w: first, 'h.{n}.w': 'l.{n}'}",
			names: "h.0.w h.1.w", want: "first l.1",
		},
		{
			name:   "a rule without effect, in a strict plan",
			limits: Limits{Strict: true},
			body:   "rename: {a: b, 'h.{n}.ln1': 'h.{n}.norm'}",
			names:  "a",
			want:   "map.yaml:1:16: h.{n}.ln1 -> h.{n}.norm matches no tensor",
		},
		{
			name:   "what moves bytes is not carried out by name",
			limits: Limits{NamesOnly: true},
			body:   "rules: [{from: 'l.{n}.W_pack', split: {axis: 0, parts: [1, 1]}, to: ['l.{n}.q', 'l.{n}.k']}]",
			names:  "l.0.W_pack l.1.W_pack",
			want:   `map.yaml:1:9: l.{n}.W_pack -> l.{n}.q + l.{n}.k moves bytes (split), which cannot be done where only names may change, in "l.{0..1}.W_pack" (2 tensors)`,
		},
		{
			name:  "a name made to be slow",
			body:  "rename: {'" + slowPattern + "': b, '{x...}yyy': '{x}'}",
			names: slowName,
			want: "map.yaml:1:10: " + slowPattern + ` -> b is too hard to match against "` + slowName +
				`"; use fewer holes, or holes for segments`,
		},
		{
			name:  "a name made to be slow, when an earlier rule has decided",
			body:  "rename: {'{x...}yyy': '{x}', '" + slowPattern + "': b}",
			names: slowName, want: strings.TrimSuffix(slowName, "yyy"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := NewPlan(mustParse(t, tt.body), strings.Fields(tt.names), tt.limits)
			got := ""
			if err := p.Err(); err != nil {
				got = err.Error()
			} else {
				got = strings.Join(newNames(p), " ")
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func must[T any](v T, ok bool) T {
	if !ok {
		panic("missing")
	}
	return v
}

// newNames returns the names in the end, with "-" for those that are dropped.
func newNames(p *Plan) []string {
	names := make([]string, len(p.Rows))
	for i, row := range p.Rows {
		names[i] = row.To
		if row.Action == Drop {
			names[i] = "-"
		}
	}
	return names
}

func TestPlanReport(t *testing.T) {
	m := mustParse(t, `
rules:
  - from: "h.{n}.ln1"
    to: "h.{n}.norm"
  - from: "h.{n}.mask"
    drop: a constant
  - from: "h.{n}.{x...}"
    to: "l.{n+1}.{x}"
  - from: "h.3.w"
    to: never
  - from: "nothing"
    to: something
  - from: same
    to: same
`)
	names := strings.Fields("h.0.ln1 h.1.ln1 h.0.mask h.1.mask h.3.w h.4.w other same")
	p := NewPlan(m, names, Safetensors())
	if err := p.Err(); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	e := json.NewEncoder(&got)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(p); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.json", got.String())

	var changes []string
	for _, c := range p.Changes() {
		changes = append(changes, fmt.Sprintf("%v %s -> %s x%d %s", c.Action, c.From, c.To, c.Count, c.Reason))
	}
	want := []string{
		"move h.{0..1}.ln1 -> h.{0..1}.norm x2 ",
		"drop h.{0..1}.mask ->  x2 a constant",
		"move h.{3..4}.w -> l.{4..5}.w x2 ",
	}
	if diff := cmp.Diff(want, changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if got := slices.Collect(p.Unmatched()); !slices.Equal(got, []string{"other"}) {
		t.Errorf("unmatched: %q", got)
	}
}

func TestChangesThatFoldOnOneSideOnly(t *testing.T) {
	m := mustParse(t, "rename: {'h.{n}.w': 'l.{n}.{n}.w'}")
	p := NewPlan(m, strings.Fields("h.0.w h.1.w h.2.w"), Limits{})
	if c := p.Changes(); len(c) != 1 || c[0].From != "h.{0..2}.w" || c[0].To != "l.{n}.{n}.w" {
		t.Errorf("%+v", c)
	}
}

func TestRuleDoesNotLoseToItself(t *testing.T) {
	m := mustParse(t, "rules: [{from: ['a.{n}', 'a.{n}'], concat: {axis: 0, parts: [1, 1]}, to: c}]")
	if u := NewPlan(m, []string{"a.1"}, Limits{}).Uses[0]; u.Tensors != 1 || u.Lost != 0 {
		t.Errorf("%+v", u)
	}
}

func TestProblemsAreErrors(t *testing.T) {
	m := mustParse(t, "rename: {'h.{n}': x}")
	var names []string
	for i := range 30 {
		names = append(names, fmt.Sprintf("h.%d", i))
	}
	for i := range 30 {
		names = append(names, fmt.Sprintf("d.%d", i), fmt.Sprintf("d.%d", i))
	}
	err := NewPlan(m, names, Limits{}).Err()
	p, ok := errors.AsType[*Problem](err)
	if !ok || p.Kind != TwoToOne || p.To != "x" || len(p.From) != 30 {
		t.Errorf("the first problem is %v", p)
	}
	if text := err.Error(); !strings.HasSuffix(text, "\nand 11 more problems") {
		t.Errorf("a long refusal ends in %q", text[len(text)-40:])
	}
}

// anyMap draws maps in which rules meet, swap, chain, shift and strip.
func anyMap() *rapid.Generator[*Map] {
	return rapid.Custom(func(t *rapid.T) *Map {
		m := &Map{File: "drawn"}
		if rapid.IntRange(0, 4).Draw(t, "strip") == 0 {
			m.Strip = []string{"b"}
		}
		if rapid.IntRange(0, 4).Draw(t, "otherwise") == 0 {
			m.Otherwise.Action = OtherwiseFail
		}
		for range rapid.IntRange(1, 4).Draw(t, "rules") {
			p := anyPattern().Draw(t, "from")
			var right []string
			for _, h := range p.holes {
				refs := []string{"{" + h.Name + "}"}
				if h.Kind == kindDigits {
					refs = []string{"{" + h.Name + padding(h.Width) + "}", "{" + h.Name + "+1}", "{" + h.Name + "-1}", "{" + h.Name + ":02}", "{" + h.Name + "+1:03}", "{" + h.Name + "}"}
				}
				right = append(right, rapid.SampledFrom(refs).Draw(t, "hole"))
			}
			right = append(right, rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ".", "_", "1"}), 1, 4).Draw(t, "text")...)
			right = rapid.Permutation(right).Draw(t, "right")
			to, err := compileTarget(strings.Join(right, ""), p)
			if err != nil {
				t.Skip(err)
			}
			m.Rules = append(m.Rules, Rule{From: []*Pattern{p}, To: []*Target{to}})
		}
		return m
	})
}

// namesFor draws distinct names that the rules of the maps are likely to match.
func namesFor(t *rapid.T, ms ...*Map) []string {
	set := make(map[string]bool)
	for _, m := range ms {
		for _, r := range m.Rules {
			for range rapid.IntRange(0, 2).Draw(t, "names") {
				set[nameOf(t, r.From[0])] = true
			}
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "more") {
		set[anyName().Draw(t, "name")] = true
	}
	delete(set, "")
	return slices.Sorted(maps.Keys(set))
}

func TestPlanInverseIsExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := anyMap().Draw(t, "map")
		names := namesFor(t, m)
		p := NewPlan(m, names, Limits{})
		if p.Err() != nil {
			return
		}
		var text strings.Builder
		if err := Write(&text, p.Inverse()); err != nil {
			t.Fatal(err)
		}
		inverse, err := Parse("inverse", []byte(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		back := NewPlan(inverse, newNames(p), Limits{Strict: true})
		if err := back.Err(); err != nil {
			t.Fatalf("%v\nof %q to %q by\n%s", err, names, newNames(p), &text)
		}
		if got := newNames(back); !slices.Equal(got, names) {
			t.Fatalf("%q came back as %q", names, got)
		}
	})
}

func TestBuiltinsComeBack(t *testing.T) {
	names := strings.Fields(`
		model.layers.0.ln1.weight model.layers.0.ln2.weight model.layers.1.input_layernorm.weight
		module.h.0.w _orig_mod.h.1.w h.2._fsdp_wrapped_module._checkpoint_wrapped_module.w
		_forward_module.module.h.3.w base_model.model.h.4.base_layer.w enc.LayerNorm.gamma enc.LayerNorm.beta
		language_model.lm_head.weight language_model.model.norm.weight vision_tower.x multi_modal_projector.y image_newline
		visual.x model.norm.weight word_embeddings.weight word_embeddings_layernorm.bias h.5.attn.c_attn.weight ln_f.weight
		wte.weight wpe.weight transformer.z l.0.rotary_emb.inv_freq h.0.attn.bias embeddings.position_ids`)
	for _, name := range Builtins() {
		p := NewPlan(must(Builtin(name)), names, Safetensors())
		if err := p.Err(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if s := p.Summary(); s.Moved+s.Dropped == 0 && !strings.HasSuffix(name, "-to-old") {
			t.Errorf("%s does nothing to %q", name, names)
		}
		var after, want []string
		for _, row := range p.Rows {
			if row.Action != Drop {
				after, want = append(after, row.To), append(want, row.From)
			}
		}
		back := NewPlan(p.Inverse(), after, Safetensors())
		if got := newNames(back); back.Err() != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q came back as %q, %v", name, want, got, back.Err())
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	names := fixture.DeepSeekNames()
	for _, rules := range []int{1, 50, 500} {
		var body strings.Builder
		body.WriteString("rename:\n")
		for i := range rules - 1 {
			fmt.Fprintf(&body, "  other.layers.{layer}.part_%c%c%c.weight: x.{layer}.part_%[1]c%[2]c%[3]c\n", 'a'+i%26, 'a'+i/26%26, 'a'+i/676)
		}
		body.WriteString("  model.layers.{layer}.mlp.experts.{expert}.gate_proj.{leaf...}: model.layers.{layer}.ffn.experts.{expert}.w1.{leaf}\n")
		m := mustParse(b, body.String())
		b.Run(fmt.Sprintf("rules=%d", rules), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NewPlan(m, names, Limits{})
			}
		})
	}
	b.Run("rules=50/anything", func(b *testing.B) {
		var body strings.Builder
		body.WriteString("rename:\n")
		for i := range 49 {
			fmt.Fprintf(&body, "  \"{prefix...}.part_%c%c.{leaf...}\": \"{prefix}.x%[1]c%[2]c.{leaf}\"\n", 'a'+i%26, 'a'+i/26)
		}
		body.WriteString("  \"{prefix...}.gate_proj.{leaf...}\": \"{prefix}.w1.{leaf}\"\n")
		m := mustParse(b, body.String())
		for b.Loop() {
			NewPlan(m, names, Limits{})
		}
	})
	b.Run("strip", func(b *testing.B) {
		wrapped := make([]string, len(names))
		for i, name := range names {
			wrapped[i] = "module._orig_mod." + name
		}
		m := must(Builtin("strip-wrappers"))
		for b.Loop() {
			NewPlan(m, wrapped, Limits{})
		}
	})
	b.Run("inverse", func(b *testing.B) {
		m := mustParse(b, "rename: {'{all...}': 'module.{all}'}")
		p := NewPlan(m, names, Limits{})
		after := newNames(p)
		for b.Loop() {
			NewPlan(p.Inverse(), after, Limits{})
		}
	})
}

// The maps that come with the package, on the names of real releases.
func TestRealReleases(t *testing.T) {
	tests := []struct {
		list, builtin string
		moved, kept   int
		dropped       int
	}{
		{"01-ai__Yi-34B__yi-original.reconstructed", "yi-to-llama", 120, 423, 0},
		{"bigscience__bloom__hf-bloom", "bloom-add-prefix", 845, 0, 0},
		{"google__gemma-3-4b-it__hf-gemma3-vlm-old-prefix", "vlm-prefix-to-new", 883, 0, 0},
		{"google__paligemma-3b-pt-224__hf-paligemma-old-prefix", "vlm-prefix-to-new", 603, 0, 0},
		{"FlagAlpha__Atom-7B__hf-llama-old-inv_freq", "drop-buffers", 0, 291, 32},
	}
	for _, tt := range tests {
		t.Run(tt.builtin, func(t *testing.T) {
			names := fixture.ListedNames(t, testdata.Path(t, "names/"+tt.list+".tsv"))
			p := NewPlan(must(Builtin(tt.builtin)), names, Safetensors())
			if err := p.Err(); err != nil {
				t.Fatal(err)
			}
			if s := p.Summary(); s.Moved != tt.moved || s.Kept != tt.kept || s.Dropped != tt.dropped {
				t.Errorf("%+v", s)
			}
			if f := p.LeftBehind(); f != nil {
				t.Errorf("%+v", f)
			}
			if tt.dropped > 0 {
				return
			}
			back := NewPlan(p.Inverse(), newNames(p), Limits{Strict: true})
			if back.Err() != nil || !slices.Equal(newNames(back), names) {
				t.Errorf("the inverse does not bring the names back: %v", back.Err())
			}
		})
	}
}
