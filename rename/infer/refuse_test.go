package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// bert are the tensors of BERT's encoder: transformers/models/bert/modeling_bert.py.
const bert = `embeddings.word_embeddings.weight 320x64
embeddings.position_embeddings.weight 512x64
embeddings.token_type_embeddings.weight 2x64
embeddings.LayerNorm.<weight|bias> 64
encoder.layer.{}.attention.self.<query|key|value>.weight [0-5] 64x64
encoder.layer.{}.attention.self.<query|key|value>.bias [0-5] 64
encoder.layer.{}.attention.output.dense.weight [0-5] 64x64
encoder.layer.{}.attention.output.dense.bias [0-5] 64
encoder.layer.{}.attention.output.LayerNorm.<weight|bias> [0-5] 64
encoder.layer.{}.intermediate.dense.weight [0-5] 256x64
encoder.layer.{}.intermediate.dense.bias [0-5] 256
encoder.layer.{}.output.dense.weight [0-5] 64x256
encoder.layer.{}.output.dense.bias [0-5] 64
encoder.layer.{}.output.LayerNorm.<weight|bias> [0-5] 64`

// A model that computes something else is no release of another under new names: what it
// lacks is said, with shapes or without. What a name or a shape leaves open is asked.
func TestOtherArchitecture(t *testing.T) {
	opaque := strings.NewReplacer("attention.self.query", "t1", "attention.self.key", "t2", "attention.self.value", "t3", "attention.output.dense", "t4", "intermediate.dense", "t5", "output.dense", "t6")
	for _, c := range []struct {
		name, list string
		shapes     bool
		refused    string
	}{
		{"names and shapes", bert, true, "model.layers.{layer}.mlp.gate_proj"},
		{"names", bert, false, "model.layers.{layer}.mlp.gate_proj"},
		{"shapes", opaque.Replace(bert), true, "model.layers.{layer}.mlp."},
		{"own words of the same architecture", ownLlama, true, ""},
		{"and names alone", ownLlama, false, ""},
		{"gate and up in one that no name tells", strings.Replace(ownLlama, "ffn.<gate|up>.weight [0-5] 172x64", "ffn.w13.weight [0-5] 344x64", 1), true, ""},
		{"and names alone", strings.Replace(ownLlama, "ffn.<gate|up>.weight [0-5] 172x64", "ffn.w13.weight [0-5] 344x64", 1), false, ""},
	} {
		a := listed(t, c.list)
		for i := range a {
			if !c.shapes {
				a[i].Shape = nil
			}
		}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if (res.Refused == "") != (c.refused == "") || !strings.Contains(res.Refused, c.refused) || c.refused != "" && len(res.Map.Rules)+len(res.Questions) > 0 {
			t.Errorf("%s: %s", c.name, brief(res))
		}
	}
}

// What a model has more or less of is no matter of names: experts, normalisations, tokens, a state.
func TestWrongTarget(t *testing.T) {
	const vit = `cls 1x1x64
patch.proj.weight 64x3x16x16
patch.proj.bias 64
blocks.{}.<norm_a|norm_b>.<weight|bias> [0-5] 64
blocks.{}.attn.<q|k|v|out>.weight [0-5] 64x64
blocks.{}.attn.<q|k|v|out>.bias [0-5] 64
blocks.{}.mlp.up.weight [0-5] 256x64
blocks.{}.mlp.up.bias [0-5] 256
blocks.{}.mlp.down.weight [0-5] 64x256
blocks.{}.mlp.down.bias [0-5] 64
norm.<weight|bias> 64
head.weight 100x64
head.bias 100`
	const mamba = `emb.weight 320x64
blocks.{}.norm.weight [0-5] 64
blocks.{}.mix.in_proj.weight [0-5] 256x64
blocks.{}.mix.conv1d.weight [0-5] 128x1x4
blocks.{}.mix.conv1d.bias [0-5] 128
blocks.{}.mix.x_proj.weight [0-5] 36x128
blocks.{}.mix.dt_proj.weight [0-5] 128x4
blocks.{}.mix.dt_proj.bias [0-5] 128
blocks.{}.mix.A_log [0-5] 128x16
blocks.{}.mix.D [0-5] 128
blocks.{}.mix.out_proj.weight [0-5] 64x128
norm_f.weight 64
head.weight 320x64`
	const gpt = `wte.weight 96x64
pos.weight 32x64
ln_f.<weight|bias> 64
b.{}.<ln_a|ln_b>.<weight|bias> [0-3] 64
b.{}.att.qkv.weight [0-3] 192x64
b.{}.att.qkv.bias [0-3] 192
b.{}.att.out.weight [0-3] 64x64
b.{}.att.out.bias [0-3] 64
b.{}.ff.in.weight [0-3] 256x64
b.{}.ff.in.bias [0-3] 256
b.{}.ff.out.weight [0-3] 64x256
b.{}.ff.out.bias [0-3] 64`
	// x_transformers/x_transformers.py: AttentionLayers has a norm, a block and a residual for each.
	xTransformers := "token_emb.emb.weight 96x64\nattn_layers.final_norm.gamma 64\nto_logits.weight 96x64"
	for l := range 8 {
		n := fmt.Sprintf("\nattn_layers.layers.%d.", l)
		xTransformers += n + "0.0.gamma 64"
		if l%2 == 0 {
			xTransformers += n + "1.<to_q|to_k|to_v|to_out>.weight 64x64"
		} else {
			xTransformers += n + "1.ff.0.0.weight 256x64" + n + "1.ff.0.0.bias 256" + n + "1.ff.2.weight 64x256" + n + "1.ff.2.bias 64"
		}
	}
	moe := strings.Replace(ownLlama, "ffn.<gate|up>.weight [0-5] 172x64", "ffn.experts.{}.<gate|up>.weight [0-5 0-7] 172x64", 1)
	moe = strings.Replace(moe, "ffn.down.weight [0-5]", "ffn.experts.{}.down.weight [0-5 0-7]", 1)
	for _, c := range []struct{ name, list, to, refused string }{
		{"a decoder", ownLlama, "gpt2-hf", "its normalisations have no biases"},
		{"a decoder", ownLlama, "mixtral-hf", "nothing in it becomes model.layers.{layer}.block_sparse_moe.gate"},
		{"a decoder", ownLlama, "gemma2-hf", "post_feedforward_layernorm, which gemma2-hf has in every layer"},
		{"a decoder", ownLlama, "qwen3-hf", "self_attn.q_norm, which qwen3-hf has in every layer"},
		{"a decoder", ownLlama, "mamba-hf", "mixer.A_log"},
		{"a decoder", ownLlama, "whisper-hf", "encoder_attn"},
		{"a decoder", ownLlama, "vit-hf", "its normalisations have no biases"},
		{"experts", moe, "llama-hf", "llama-hf has nothing like"},
		{"images", vit, "llama-hf", "mlp.gate_proj, which llama-hf has in every layer"},
		{"images", vit, "clip-hf", "which clip-hf has in every layer"},
		{"images", vit, "bert-hf", "nothing in it becomes bert.embeddings.word_embeddings"},
		{"images", vit, "gpt2-hf", "nothing in it becomes transformer.wte; gpt2-hf has nothing like cls or patch.proj"},
		{"a decoder of other words", gpt, "bert-hf", "its normalisation ln_f is behind the layers, and that of bert-hf, bert.embeddings.LayerNorm, is before them; nothing in it becomes bert.embeddings.token_type_embeddings"},
		{"an encoder", strings.ReplaceAll(bert, "encoder.layer", "blk"), "gpt2-hf", "is before the layers, and that of gpt2-hf, transformer.ln_f, is behind them"},
		{"layers that take turns", xTransformers, "llama-hf", "its layers take turns, 0, 2, 4 and 6 have attention, attn_layers.layers.{layer}.1.to_k, and 1, 3, 5 and 7 an MLP, attn_layers.layers.{layer}.1.ff.0.0, where each of llama-hf has both"},
		{"a state", mamba, "llama-hf", "nothing in it becomes model.layers.{layer}.post_attention_layernorm"},
	} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: listed(t, c.list)}, lookup(t, c.to), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(res.Refused, c.refused) || res.Refused == "" {
			t.Errorf("%s to %s: %s", c.name, c.to, brief(res))
		}
	}
}

// What decides is said: of names that say nothing it is the shape.
func TestWhatDecides(t *testing.T) {
	a := listed(t, strings.NewReplacer("attention.<query|out>", "attention.<query|t1>", "ffn.down", "t2").Replace(ownLlama))
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for i := range res.Rules {
		from := res.Map.Rules[i].From[0].String()
		for _, end := range []string{"t1.weight", "t2.weight", "value.weight"} {
			if strings.HasSuffix(from, end) {
				got[end] = strings.Join(res.Rules[i].By, "; ")
			}
		}
	}
	want := map[string]string{
		"t1.weight":    "by the names of the others, nothing else fits as well",
		"t2.weight":    "nothing else fits its shape as well",
		"value.weight": "names mean the same",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d, brief(res))
	}
}

// A tensor that nothing is known of keeps its name, and no other can get it.
func TestNameThatIsTaken(t *testing.T) {
	a := listed(t, ownLlama+"\nmodel.norm.weight 7x7x7")
	res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const want = "net.final_norm.weight would get the name model.norm.weight, which another tensor has that nothing is known of"
	if res.Refused != want || len(res.Map.Rules)+len(res.Questions) > 0 {
		t.Error(res.Refused, brief(res))
	}
}

// A list of names that has no place in a convention is refused in steps that grow with the
// list alone: what an expert's tensors may become is found once, not for each of thousands.
// Steps are seen in what they allocate.
func TestRefusalIsCheap(t *testing.T) {
	a := listed(t, `model.embed_tokens.weight 320x64
model.layers.{}.<input_layernorm|post_attention_layernorm>.weight [0-23] 64
model.layers.{}.self_attn.<q_proj|k_proj|v_proj|o_proj>.weight [0-23] 64x64
model.layers.{}.self_attn.<q_norm|k_norm>.weight [0-23] 8
model.layers.{}.mlp.gate.weight [0-23] 128x64
model.layers.{}.mlp.experts.{}.<gate_proj|up_proj>.weight [0-23 0-127] 32x64
model.layers.{}.mlp.experts.{}.down_proj.weight [0-23 0-127] 64x32
model.norm.weight 64
lm_head.weight 320x64`)
	allocs := testing.AllocsPerRun(1, func() {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, "llama-hf"), Options{})
		if err != nil || res.Refused == "" {
			t.Fatal(brief(res), err)
		}
	})
	if each := allocs / float64(len(a)); each > 90 {
		t.Errorf("%.0f allocations for each of %d names", each, len(a))
	}
}

// What an architecture lacks, what it has besides, and biases of normalisations are each said,
// also where the numbers that a conversion would need are not known.
func TestSaysWhatDoesNotFit(t *testing.T) {
	const gpt2 = `transformer.wte.weight 320x64
transformer.wpe.weight 128x64
transformer.h.{}.<ln_1|ln_2>.<weight|bias> [0-5] 64
transformer.h.{}.attn.c_attn.weight [0-5] 64x192
transformer.h.{}.attn.c_attn.bias [0-5] 192
transformer.h.{}.attn.c_proj.weight [0-5] 64x64
transformer.h.{}.attn.c_proj.bias [0-5] 64
transformer.h.{}.mlp.c_fc.weight [0-5] 64x256
transformer.h.{}.mlp.c_fc.bias [0-5] 256
transformer.h.{}.mlp.c_proj.weight [0-5] 256x64
transformer.h.{}.mlp.c_proj.bias [0-5] 64
transformer.ln_f.<weight|bias> 64`
	biased := strings.NewReplacer("pre_attn_norm.weight", "pre_attn_norm.<weight|bias>", "pre_ffn_norm.weight", "pre_ffn_norm.<weight|bias>").Replace(ownLlama)
	for _, c := range []struct{ name, list, to, refused string }{
		{"GPT-2", gpt2, "llama-hf", "it is another architecture: nothing in it becomes model.layers.{layer}.mlp.gate_proj, which llama-hf has in every layer; " +
			"its normalisations have biases, transformer.h.{layer}.ln_1.bias and transformer.h.{layer}.ln_2.bias, and those of llama-hf have none; " +
			"llama-hf has nothing like transformer.wpe; its names are those of gpt2-hf"},
		{"biases alone", biased, "llama-hf", "it is another architecture: its normalisations have biases, net.stack.{layer}.pre_attn_norm.bias and net.stack.{layer}.pre_ffn_norm.bias, and those of llama-hf have none"},
		{"no biases", ownLlama, "gpt_neox-hf", "it is another architecture: its normalisations have no biases, and those of gpt_neox-hf have some"},
		{"most of it has no place", ownLlama + "\nnet.stack.{}.<a1|a2|a3|a4|a5|a6|a7|a8|a9|b1|b2>.weight [0-5] 7x7", "llama-hf", "it is another architecture: 57 of 123 tensors have a counterpart; llama-hf has nothing like net.stack.{n}.a1, net.stack.{n}.a2, net.stack.{n}.a3 or 8 more"},
	} {
		res, err := ToConvention(t.Context(), &Inventory{Tensors: listed(t, c.list)}, lookup(t, c.to), Options{})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !strings.HasPrefix(res.Refused, c.refused) || len(res.Map.Rules)+len(res.Questions) > 0 {
			t.Errorf("%s: %s", c.name, brief(res))
		}
	}
	// Where the model is of one kind, the number that is missing is what is asked for.
	_, err := ToConvention(t.Context(), &Inventory{Tensors: listed(t, gpt2)}, lookup(t, "gpt_neox-hf"), Options{})
	if err == nil || !strings.Contains(err.Error(), "give num_attention_heads with the configuration") {
		t.Error(err)
	}
}

// A model with its normalisations behind attention and the MLP is none with them before. Where names do not
// say on which side they are, it is asked.
func TestSideOfNorms(t *testing.T) {
	heads := []convention.Named{}
	for l := range 4 {
		for _, n := range []string{"q_norm", "k_norm"} {
			heads = append(heads, convention.Named{Name: fmt.Sprintf("blk.%d.attn.%s.weight", l, n), Shape: []uint64{64}, DType: "BF16"})
		}
	}
	for _, c := range []struct{ first, second, to, refused, asked string }{
		{"post_attention_layernorm", "post_feedforward_layernorm", "llama-hf", "are behind attention and the MLP, and those of llama-hf before them", ""},
		{"post_attn_norm", "post_mlp_norm", "llama-hf", "are behind", ""},
		{"post_mlp_norm", "post_attn_norm", "llama-hf", "are behind", ""},
		{"attn_post_norm", "ffn_post_norm", "llama-hf", "are behind", ""},
		{"attn_out_norm", "mlp_out_norm", "llama-hf", "are behind", ""},
		{"post_attn_norm", "post_mlp_norm", "qwen3-hf", "are behind", ""},
		{"pre_attn_norm", "pre_mlp_norm", "olmo2-hf", "blk.{layer}.pre_attn_norm and blk.{layer}.pre_mlp_norm", ""},
		{"input_layernorm", "post_attention_layernorm", "olmo2-hf", "it has blk.{layer}.input_layernorm before", ""},
		{"attn_norm", "mlp_norm", "olmo2-hf", "", "blk.{layer}.attn_norm blk.{layer}.mlp_norm"},
		{"attn_norm", "mlp_norm", "exaone4-hf", "", "blk.{layer}.attn_norm blk.{layer}.mlp_norm"},
		{"attn_norm", "mlp_norm", "llama-hf", "", ""},
		{"post_attn_norm", "post_mlp_norm", "olmo2-hf", "", ""},
		{"attn_norm", "post_attn_norm", "llama-hf", "", ""},
	} {
		a := inWords(map[string]string{"ln1": c.first, "ln2": c.second}, "", 64)
		for _, n := range heads {
			if c.to != "olmo2-hf" { // the others have one for all heads
				n.Shape = []uint64{8}
			}
			if c.to != "llama-hf" {
				a = append(a, n)
			}
		}
		res, err := ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, c.to), Options{})
		if err != nil {
			t.Fatal(err)
		}
		asked := ""
		for _, q := range res.Questions {
			asked += strings.Join(q.Between, " ")
		}
		if (res.Refused == "") != (c.refused == "") || !strings.Contains(res.Refused, c.refused) || asked != c.asked {
			t.Errorf("%s and %s to %s: asked %q, %s", c.first, c.second, c.to, asked, brief(res))
		}
		if asked == "" {
			continue
		}
		res, err = ToConvention(t.Context(), &Inventory{Tensors: a}, lookup(t, c.to), Options{Assume: []Assumption{{"attn_norm", "post_attention_layernorm"}}})
		if err != nil || res.Refused != "" || len(res.Questions) > 0 {
			t.Errorf("%s and %s to %s, answered: %v %s", c.first, c.second, c.to, err, brief(res))
		}
	}
}

// Two checkpoints of one size are two architectures where one has in every layer what nothing in the other
// becomes, however many tensors fit. What only A has of matrices may have been added.
func TestOtherLayers(t *testing.T) {
	const more = "\nmodel.layers.{}."
	llama := `model.embed_tokens.weight 320x64
model.layers.{}.<input_layernorm|post_attention_layernorm>.weight [0-5] 64
model.layers.{}.self_attn.<q_proj|o_proj>.weight [0-5] 64x64
model.layers.{}.self_attn.<k_proj|v_proj>.weight [0-5] 16x64
model.layers.{}.mlp.<gate_proj|up_proj>.weight [0-5] 172x64
model.layers.{}.mlp.down_proj.weight [0-5] 64x172
model.norm.weight 64
lm_head.weight 320x64`
	plain := strings.Replace(llama, "<gate_proj|up_proj>", "up_proj", 1)
	layerNorm := strings.Replace(plain, "<input_layernorm|post_attention_layernorm>.weight", "<input_layernorm|post_attention_layernorm>.<weight|bias>", 1)
	for _, c := range []struct{ name, a, b, refused string }{
		{"the same", ownLlama, llama, ""},
		{"norms of heads", ownLlama, llama + more + "self_attn.<q_norm|k_norm>.weight [0-5] 8", "nothing in it becomes model.layers.{layer}.self_attn.k_norm or"},
		{"norms of heads in A", ownLlama + "\nnet.stack.{}.attention.<q_norm|k_norm>.weight [0-5] 8", llama, "attention.q_norm, which it has in its layers"},
		{"norms behind attention and MLP", ownLlama, llama + more + "<post_feedforward_layernorm|pre_feedforward_layernorm>.weight [0-5] 64", "which the other has in every layer"},
		{"no gate in A", strings.Replace(ownLlama, "<gate|up>", "up", 1), llama, "nothing in it becomes model.layers.{layer}.mlp.gate_proj"},
		{"a gate more", ownLlama, plain, ""},
		{"a matrix in some layers", ownLlama, llama + more + "side.weight [0-2] 40x64", ""},
		{"a tower", ownLlama, llama + "\nvision.blocks.{}.fc.weight [0-5] 99x98", ""},
		{"norms with biases", ownLlama, layerNorm, "its normalisations have no biases, and those of the other have some"},
		{"a table more, and norms with biases", ownLlama + "\nnet.extra.weight 77x64", strings.Replace(llama, "post_attention_layernorm>.weight", "post_attention_layernorm>.<weight|bias>", 1), "no biases"},
	} {
		res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, c.a)}, &Inventory{Tensors: listed(t, c.b)}, Options{})
		if err != nil || (res.Refused == "") != (c.refused == "") || !strings.Contains(res.Refused, c.refused) {
			t.Errorf("%s: %v %s", c.name, err, brief(res))
		}
	}
}
