package infer

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// The names of a convention are made for a model whose names are not known, from the
// shapes of its tensors alone. What is sure is right, and what is asked is no more than
// between two checkpoints.
func TestAim(t *testing.T) {
	rules, guesses := 0, 0
	for _, p := range pairs {
		from, to := lookup(t, p.from), lookup(t, p.to)
		a := modelIn(t, p.from, shallow(models[p.model]))
		x, err := newInference(t.Context(), &Inventory{Tensors: a}, new(Inventory), Options{Unknown: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.aim(to); err != nil {
			t.Fatal(err)
		}
		res, err := x.infer()
		if err != nil {
			t.Errorf("%v: %v", p, err)
			continue
		}
		for i := range res.Rules {
			rules++
			if res.Rules[i].Class == Guess {
				guesses++
			}
		}
		for _, pair := range surePairs(t, res, a, x.b.tensors, false) {
			name, got, _ := strings.Cut(pair, " ")
			if had, has := partsOf(from, name), partsOf(to, got); !overlap(had, has) {
				t.Errorf("%v: %s (%s) becomes %s for sure", p, name, had, got)
			}
		}
	}
	if guesses*10 > rules*3 {
		t.Errorf("%d of %d rules are guesses", guesses, rules)
	}
}

// ownLlama is what a lab calls LLaMA's tensors.
const ownLlama = `net.tok.weight 320x64
net.stack.{}.pre_attn_norm.weight [0-5] 64
net.stack.{}.attention.<query|out>.weight [0-5] 64x64
net.stack.{}.attention.<key|value>.weight [0-5] 16x64
net.stack.{}.pre_ffn_norm.weight [0-5] 64
net.stack.{}.ffn.<gate|up>.weight [0-5] 172x64
net.stack.{}.ffn.down.weight [0-5] 64x172
net.final_norm.weight 64
net.unembed.weight 320x64`

// A lab's own names, with a configuration or without one.
func TestOwnNames(t *testing.T) {
	a := listed(t, ownLlama)
	const want = `net.tok.weight -> model.embed_tokens.weight named
net.stack.*.pre_attn_norm.weight -> model.layers.*.input_layernorm.weight named
net.stack.*.attention.query.weight -> model.layers.*.self_attn.q_proj.weight named
net.stack.*.attention.out.weight -> model.layers.*.self_attn.o_proj.weight named
net.stack.*.attention.key.weight -> model.layers.*.self_attn.k_proj.weight named
net.stack.*.attention.value.weight -> model.layers.*.self_attn.v_proj.weight named
net.stack.*.pre_ffn_norm.weight -> model.layers.*.post_attention_layernorm.weight named
net.stack.*.ffn.gate.weight -> model.layers.*.mlp.gate_proj.weight named
net.stack.*.ffn.up.weight -> model.layers.*.mlp.up_proj.weight named
net.stack.*.ffn.down.weight -> model.layers.*.mlp.down_proj.weight named
net.final_norm.weight -> model.norm.weight forced
net.unembed.weight -> lm_head.weight named
`
	for _, m := range []*convention.Model{nil, modelOf(map[string]int64{"hidden_size": 64, "num_attention_heads": 8, "num_key_value_heads": 2, "intermediate_size": 172, "num_hidden_layers": 6, "vocab_size": 320})} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a, Model: m}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, brief(res)); d != "" {
			t.Error(d)
		}
	}
}

// What a lab calls DeepSeek V2's tensors, of which the first layer is dense and has no
// place among experts.
func TestOwnNamesOfExperts(t *testing.T) {
	res, err := ToConvention(t.Context(), &Inventory{Tensors: moeNames(4, 8, 1, "core.", ownWords)}, lookup(t, "deepseek_v2-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Questions)+len(res.Extra)+len(res.Missing) > 0 {
		t.Error(brief(res))
	}
}

// Flax has the heads of a projection in an axis of their own, and its inputs first: no tensor of a
// convention is that as it is (flax/linen/attention.py, MultiHeadDotProductAttention).
func TestAxes(t *testing.T) {
	a := listed(t, `img/pos_embedding 1x196x64
img/Transformer/encoderblock_{}/LayerNorm_<0|1>/<scale|bias> [0-3] 64
img/Transformer/encoderblock_{}/MultiHeadDotProductAttention_0/<query|key|value>/kernel [0-3] 64x8x8
img/Transformer/encoderblock_{}/MultiHeadDotProductAttention_0/<query|key|value>/bias [0-3] 8x8
img/Transformer/encoderblock_{}/MultiHeadDotProductAttention_0/out/kernel [0-3] 8x8x64
img/Transformer/encoderblock_{}/MultiHeadDotProductAttention_0/out/bias [0-3] 64
img/Transformer/encoderblock_{}/MlpBlock_0/Dense_0/kernel [0-3] 64x256
img/Transformer/encoderblock_{}/MlpBlock_0/Dense_0/bias [0-3] 256
img/Transformer/encoderblock_{}/MlpBlock_0/Dense_1/kernel [0-3] 256x64
img/Transformer/encoderblock_{}/MlpBlock_0/Dense_1/bias [0-3] 64
img/Transformer/encoder_norm/<scale|bias> 64
img/embedding/kernel 16x16x3x64
img/embedding/bias 64`)
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "vit-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range res.Rules {
		r, from := &res.Map.Rules[i], res.Map.Rules[i].From[0].String()
		if strings.Contains(from, "DotProduct") || strings.Contains(from, "img/embedding") || strings.HasSuffix(from, "/kernel") && !r.MovesBytes() {
			t.Errorf("%s", r)
		}
	}
}

// The inner width of a state space is on a side of more matrices than the hidden one, which a normalisation
// and the embedding outside of the layers show. Of two spellings of one name there is the first.
func TestWidthOutsideOfLayers(t *testing.T) {
	a := listed(t, `embed.w 500x64
blocks.{}.pre_norm.g [0-2] 64
blocks.{}.ssm.A [0-2] 128x16
blocks.{}.ssm.skip [0-2] 128
blocks.{}.ssm.conv.weight [0-2] 128x1x4
blocks.{}.ssm.conv.bias [0-2] 128
blocks.{}.ssm.proj_in.weight [0-2] 256x64
blocks.{}.ssm.proj_x.weight [0-2] 36x128
blocks.{}.ssm.proj_dt.weight [0-2] 128x4
blocks.{}.ssm.proj_dt.bias [0-2] 128
blocks.{}.ssm.proj_out.weight [0-2] 64x128
final_norm.g 64
unembed.w 500x64`)
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "mamba-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := brief(res)
	for _, want := range []string{
		"blocks.*.pre_norm.g -> backbone.layers.*.norm.weight",
		"embed.w -> backbone.embeddings.weight named",
		"final_norm.g -> backbone.norm_f.weight",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if len(res.Missing) > 0 || strings.Contains(got, "ssm.skip -> backbone.layers.*.norm.weight") {
		t.Errorf("%v\n%s", res.Missing, got)
	}
}

// Normalisations of queries and keys are as long as one head or as all of them, as the convention has it. Others
// are asked about.
func TestLengthOfHeadNorms(t *testing.T) {
	for _, c := range []struct {
		q, k    uint64
		asked   int
		to      string
		refused string
	}{
		{16, 16, 0, "qwen3-hf", ""},
		{8, 8, 0, "qwen3-hf", ""},
		{64, 32, 1, "qwen3-hf", ""},
		{64, 64, 1, "qwen3-hf", ""},
		{16, 8, 1, "qwen3-hf", ""},
		{64, 16, 0, "qwen3-hf", "as long as all queries and keys, and those of qwen3-hf as long as one head"},
		{64, 16, 0, "olmo2-hf", ""},
		{16, 16, 0, "olmo2-hf", "as long as one head, and those of olmo2-hf as long as all"},
		{64, 64, 1, "olmo2-hf", ""},
	} {
		words := map[string]string{}
		if c.to == "olmo2-hf" {
			words = map[string]string{"ln1": "post_attn_norm", "ln2": "post_mlp_norm"}
		}
		a := inWords(words, "", 16)
		for l := range 4 {
			a = append(a, convention.Named{Name: numbered("blk.{}.attn.q_norm.weight", l), Shape: []uint64{c.q}}, convention.Named{Name: numbered("blk.{}.attn.k_norm.weight", l), Shape: []uint64{c.k}})
		}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, c.to), Options{})
		if err != nil || (res.Refused == "") != (c.refused == "") || !strings.Contains(res.Refused, c.refused) || len(res.Questions) != c.asked {
			t.Errorf("%v: %v %s", c, err, brief(res))
		}
		res, err = ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, c.to), Options{Assume: []Assumption{{"attn.q_norm", "q_norm"}}})
		if err != nil || len(res.Questions) != 0 {
			t.Errorf("%v, answered: %v %s", c, err, brief(res))
		}
	}
}
