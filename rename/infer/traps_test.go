package infer

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// listed makes tensors from lines that fixture.ExpandNames writes out.
func listed(t testing.TB, text string) []convention.Named {
	t.Helper()
	var out []convention.Named
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		for _, n := range fixture.ExpandNames(t, line) {
			out = append(out, convention.Named{Name: n.Name, Shape: n.Shape})
		}
	}
	return out
}

// brief writes a result in few words: what becomes what and how surely, what is asked, what
// is left over.
func brief(res *Result) string {
	var b strings.Builder
	for i := range res.Map.Rules {
		r := &res.Map.Rules[i]
		fmt.Fprintf(&b, "%s %s", strings.NewReplacer("{layer}", "*", "{expert}", "*", "{n}", "*", "{rest...}", "…").Replace(r.String()), res.Rules[i].Class)
		for k := range r.Ops {
			fmt.Fprintf(&b, ", %s", &r.Ops[k])
		}
		b.WriteByte('\n')
	}
	for _, q := range res.Questions {
		fmt.Fprintf(&b, "ask %d\n", len(q.Between))
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"missing", res.Missing}, {"extra", res.Extra}} {
		for _, n := range list.names {
			fmt.Fprintf(&b, "%s %s\n", list.what, n)
		}
	}
	if res.Refused != "" {
		fmt.Fprintf(&b, "refused: %s\n", res.Refused)
	}
	return b.String()
}

// What is known to have misled matchers.
func TestTraps(t *testing.T) {
	for _, tt := range []struct {
		name, a, b string
		opt        Options
		want       string
	}{
		{
			// gguf-py/gguf/tensor_mapping.py: w1 of Qwen is up, w2 is the gate.
			name: "w1 is up in Qwen and the gate in LLaMA",
			a:    "h.{}.mlp.<w1|w2>.weight [0-3] 24x8\nh.{}.mlp.c_proj.weight [0-3] 8x24",
			b:    "l.{}.mlp.<gate|up>_proj.weight [0-3] 24x8\nl.{}.mlp.down_proj.weight [0-3] 8x24",
			opt:  Options{Unknown: true},
			want: `h.*.mlp.w1.weight -> l.*.mlp.gate_proj.weight guess
h.*.mlp.w2.weight -> l.*.mlp.up_proj.weight guess
h.*.mlp.c_proj.weight -> l.*.mlp.down_proj.weight named
ask 2
`,
		},
		{
			name: "an answer settles both",
			a:    "h.{}.mlp.<w1|w2>.weight [0-3] 24x8\nh.{}.mlp.c_proj.weight [0-3] 8x24",
			b:    "l.{}.mlp.<gate|up>_proj.weight [0-3] 24x8\nl.{}.mlp.down_proj.weight [0-3] 8x24",
			opt:  Options{Unknown: true, Assume: []Assumption{{From: "w1", To: "up_proj"}}},
			want: `h.*.mlp.w1.weight -> l.*.mlp.up_proj.weight named
h.*.mlp.w2.weight -> l.*.mlp.gate_proj.weight named
h.*.mlp.c_proj.weight -> l.*.mlp.down_proj.weight named
`,
		},
		{
			// transformers: convert_olmo_weights_to_hf.py chunks ff_proj into up and gate, where
			// Phi-3 has gate before up.
			name: "nothing in a name says which half is the gate",
			a:    "h.{}.ff_proj.weight [0-3] 48x8\nh.{}.ff_out.weight [0-3] 8x24",
			b:    "l.{}.mlp.<gate|up>_proj.weight [0-3] 24x8\nl.{}.mlp.down_proj.weight [0-3] 8x24",
			opt:  Options{Unknown: true},
			want: `h.*.ff_proj.weight -> l.*.mlp.gate_proj.weight + l.*.mlp.up_proj.weight guess, split: {axis: 0, parts: [24, 24]}
h.*.ff_out.weight -> l.*.mlp.down_proj.weight named
ask 1
`,
		},
		{
			name: "the norm behind attention is that before the MLP",
			a:    "layers.{}.<attention_norm|ffn_norm>.weight [0-3] 8\nlayers.{}.attention.w<q|o>.weight [0-3] 8x8",
			b:    "model.layers.{}.<input_layernorm|post_attention_layernorm>.weight [0-3] 8\nmodel.layers.{}.self_attn.<q_proj|o_proj>.weight [0-3] 8x8",
			opt:  Options{Unknown: true},
			want: `layers.*.attention_norm.weight -> model.layers.*.input_layernorm.weight named
layers.*.ffn_norm.weight -> model.layers.*.post_attention_layernorm.weight named
layers.*.attention.wq.weight -> model.layers.*.self_attn.q_proj.weight named
layers.*.attention.wo.weight -> model.layers.*.self_attn.o_proj.weight named
`,
		},
		{
			// transformers: modeling_gemma2.py; gguf-py/gguf/constants.py ATTN_POST_NORM, FFN_POST_NORM.
			name: "unless the MLP has one of its own",
			a:    "blk.{}.<attn_norm|post_attention_norm|ffn_norm|post_ffw_norm>.weight [0-3] 8",
			b:    "model.layers.{}.<input_layernorm|post_attention_layernorm|pre_feedforward_layernorm|post_feedforward_layernorm>.weight [0-3] 8",
			opt:  Options{Unknown: true},
			want: `blk.*.attn_norm.weight -> model.layers.*.input_layernorm.weight named
blk.*.post_attention_norm.weight -> model.layers.*.post_attention_layernorm.weight named
blk.*.ffn_norm.weight -> model.layers.*.pre_feedforward_layernorm.weight named
blk.*.post_ffw_norm.weight -> model.layers.*.post_feedforward_layernorm.weight named
`,
		},
		{
			name: "a gate alone is the router, where there are experts",
			a:    "m.layers.{}.moe.gate.weight [0-3] 8x8\nm.layers.{}.moe.experts.{}.<gate_proj|up_proj>.weight [0-3 0-7] 8x8",
			b:    "blk.{}.ffn_gate_inp.weight [0-3] 8x8\nblk.{}.ffn_<gate|up>_exps.weight [0-3] 8x8x8",
			opt:  Options{Unknown: true},
			want: `m.layers.*.moe.gate.weight -> blk.*.ffn_gate_inp.weight forced
m.layers.*.moe.experts.*.gate_proj.weight -> blk.*.ffn_gate_exps.weight named, stack: {over: expert, count: 8}
m.layers.*.moe.experts.*.up_proj.weight -> blk.*.ffn_up_exps.weight named, stack: {over: expert, count: 8}
`,
		},
		{
			name: "ln_1 is no index",
			a:    "h.{}.<ln_1|ln_2>.weight [0-3] 8\nln_f.weight 8",
			b:    "model.layers.{}.<attn_norm|mlp_norm>.weight [0-3] 8\nmodel.norm.weight 8",
			opt:  Options{Unknown: true},
			want: `h.*.ln_1.weight -> model.layers.*.attn_norm.weight guess
h.*.ln_2.weight -> model.layers.*.mlp_norm.weight guess
ln_f.weight -> model.norm.weight forced
ask 2
`,
		},
		{
			// Phi-2 as first released: modeling_mixformer_sequential.py counts the embedding, the
			// blocks and the head.
			name: "layers that are counted from one",
			a:    "layers.0.wte.weight 32x8\nlayers.{}.ln.<weight|bias> [1-4] 8\nlayers.{}.mixer.Wqkv.weight [1-4] 24x8\nlayers.{}.mixer.out_proj.weight [1-4] 8x8\nlayers.{}.mlp.fc1.weight [1-4] 20x8\nlayers.{}.mlp.fc2.weight [1-4] 8x20\nlayers.5.ln.<weight|bias> 8\nlayers.5.linear.<weight|bias> 32x8",
			b:    "model.embed_tokens.weight 32x8\nmodel.layers.{}.input_layernorm.<weight|bias> [0-3] 8\nmodel.layers.{}.self_attn.qkv.weight [0-3] 24x8\nmodel.layers.{}.self_attn.dense.weight [0-3] 8x8\nmodel.layers.{}.mlp.up.weight [0-3] 20x8\nmodel.layers.{}.mlp.down.weight [0-3] 8x20\nmodel.final_layernorm.<weight|bias> 8\nlm_head.<weight|bias> 32x8",
			opt:  Options{Unknown: true},
			want: `layers.0.wte.weight -> model.embed_tokens.weight named
layers.5.ln.weight -> model.final_layernorm.weight forced
layers.*.ln.weight -> model.layers.{layer-1}.input_layernorm.weight forced
layers.5.ln.bias -> model.final_layernorm.bias forced
layers.*.ln.bias -> model.layers.{layer-1}.input_layernorm.bias forced
layers.*.mixer.Wqkv.weight -> model.layers.{layer-1}.self_attn.qkv.weight guess
layers.*.mixer.out_proj.weight -> model.layers.{layer-1}.self_attn.dense.weight named
layers.*.mlp.fc1.weight -> model.layers.{layer-1}.mlp.up.weight named
layers.*.mlp.fc2.weight -> model.layers.{layer-1}.mlp.down.weight named
layers.5.linear.weight -> lm_head.weight forced
layers.5.linear.bias -> lm_head.bias forced
ask 1
`,
		},
		{
			name: "the first layer is dense",
			a:    "core.blocks.{}.ffn_norm.weight [0-3] 8\ncore.blocks.0.ffn.<gate|up>.weight 24x8\ncore.blocks.{}.ffn.experts.{}.<gate|up>.weight [1-3 0-1] 12x8",
			b:    "blk.{}.ffn_norm.weight [0-3] 8\nblk.0.ffn_<gate|up>.weight 24x8\nblk.{}.ffn_<gate|up>_exps.weight [1-3] 2x12x8",
			opt:  Options{Unknown: true},
			want: `core.blocks.*.ffn_norm.weight -> blk.*.ffn_norm.weight forced
core.blocks.0.ffn.gate.weight -> blk.0.ffn_gate.weight named
core.blocks.0.ffn.up.weight -> blk.0.ffn_up.weight named
core.blocks.*.ffn.experts.*.gate.weight -> blk.*.ffn_gate_exps.weight named, stack: {over: expert, count: 2}
core.blocks.*.ffn.experts.*.up.weight -> blk.*.ffn_up_exps.weight named, stack: {over: expert, count: 2}
`,
		},
		{
			name: "a head that is tied has no source",
			a:    "wte.weight 32x8\nh.{}.<q|o>.weight [0-3] 8x8",
			b:    "embed.weight 32x8\nl.{}.<q|o>.weight [0-3] 8x8\nlm_head.weight 32x8",
			opt:  Options{Unknown: true},
			want: `wte.weight -> embed.weight named
h.… -> l.… named
missing lm_head.weight
`,
		},
		{
			name: "a vocabulary that is padded",
			a:    "wte.weight 30x8\nh.{}.<q|o>.weight [0-3] 8x8",
			b:    "embed.weight 32x8\nl.{}.<q|o>.weight [0-3] 8x8",
			opt:  Options{Unknown: true},
			want: `h.… -> l.… named
ask 1
missing embed.weight
extra wte.weight
`,
		},
		{
			name: "a vocabulary that is padded, as agreed",
			a:    "wte.weight 30x8\nh.{}.<q|o>.weight [0-3] 8x8",
			b:    "embed.weight 32x8\nl.{}.<q|o>.weight [0-3] 8x8",
			opt:  Options{Unknown: true, Assume: []Assumption{{From: "wte", To: "embed"}}},
			want: `wte.weight -> embed.weight named, pad: {axis: 0, zeros: [0, 2]}
h.… -> l.… named
`,
		},
		{
			name: "a model of one layer",
			a:    "net.h.0.attn.<q|k|v|o>.weight 8x8\nnet.ln_f.weight 8",
			b:    "model.layers.0.self_attn.<q|k|v|o>_proj.weight 8x8\nmodel.norm.weight 8",
			opt:  Options{Unknown: true},
			want: `net.h.0.attn.q.weight -> model.layers.0.self_attn.q_proj.weight named
net.h.0.attn.k.weight -> model.layers.0.self_attn.k_proj.weight named
net.h.0.attn.v.weight -> model.layers.0.self_attn.v_proj.weight named
net.h.0.attn.o.weight -> model.layers.0.self_attn.o_proj.weight named
net.ln_f.weight -> model.norm.weight forced
`,
		},
		{
			name: "experts differ in number from layer to layer",
			a:    "net.layers.0.experts.{}.w [0-3] 8x4\nnet.layers.1.experts.{}.w [0-1] 8x4",
			b:    "model.layers.0.mlp.experts.{}.up.weight [0-3] 8x4\nmodel.layers.1.mlp.experts.{}.up.weight [0-1] 8x4",
			opt:  Options{Unknown: true},
			want: `net.layers.*.experts.*.w -> model.layers.*.mlp.experts.*.up.weight forced
`,
		},
		{
			name: "scales stay with what they are of",
			a:    "net.h.{}.q.<qweight|qzeros|scales|g_idx> [0-3]\nnet.h.{}.k.<qweight|qzeros|scales|g_idx> [0-3]",
			b:    "model.layers.{}.self_attn.<q|k>_proj.<qweight|qzeros|scales|g_idx> [0-3]",
			opt:  Options{Unknown: true},
			want: `net.h.*.q.qweight -> model.layers.*.self_attn.q_proj.qweight named
net.h.*.q.qzeros -> model.layers.*.self_attn.q_proj.qzeros named
net.h.*.q.scales -> model.layers.*.self_attn.q_proj.scales named
net.h.*.q.g_idx -> model.layers.*.self_attn.q_proj.g_idx named
net.h.*.k.qweight -> model.layers.*.self_attn.k_proj.qweight named
net.h.*.k.qzeros -> model.layers.*.self_attn.k_proj.qzeros named
net.h.*.k.scales -> model.layers.*.self_attn.k_proj.scales named
net.h.*.k.g_idx -> model.layers.*.self_attn.k_proj.g_idx named
`,
		},
		{
			name: "buffers are dropped",
			a:    "net.h.{}.q.weight [0-3] 8x8\nnet.h.{}.rotary_emb.inv_freq [0-3] 4\nnet.h.{}.attn.bias [0-3] 1x1x16x16",
			b:    "model.layers.{}.self_attn.q_proj.weight [0-3] 8x8",
			opt:  Options{Unknown: true},
			want: `net.h.*.q.weight -> model.layers.*.self_attn.q_proj.weight forced
net.h.*.rotary_emb.inv_freq (dropped) named
net.h.*.attn.bias (dropped) named
`,
		},
		{
			name: "key and value have no names",
			a:    "net.h.{}.attn.<a|b>.weight [0-3] 4x8\nnet.h.{}.attn.query.weight [0-3] 8x8",
			b:    "model.layers.{}.self_attn.<k|v>_proj.weight [0-3] 4x8\nmodel.layers.{}.self_attn.q_proj.weight [0-3] 8x8",
			opt:  Options{Unknown: true},
			want: `net.h.*.attn.a.weight -> model.layers.*.self_attn.k_proj.weight guess
net.h.*.attn.b.weight -> model.layers.*.self_attn.v_proj.weight guess
net.h.*.attn.query.weight -> model.layers.*.self_attn.q_proj.weight named
ask 2
`,
		},
		{
			name: "a wrapper that nobody knows",
			a:    "trainer.net.embed_tokens.weight 32x8\ntrainer.net.layers.{}.mlp.<a|b|c>.weight [0-3] 8x8\ntrainer.net.norm.weight 8",
			b:    "model.embed_tokens.weight 32x8\nmodel.layers.{}.mlp.<a|b|c>.weight [0-3] 8x8\nmodel.norm.weight 8",
			opt:  Options{Unknown: true},
			want: `trainer.net.… -> model.… named
`,
		},
		{
			name: "names that change places",
			a:    "l.{}.mlp.<gate|up>.weight [0-3] 24x8\nl.{}.mlp.down.weight [0-3] 8x24",
			b:    "l.{}.mlp.<gate|up>.weight [0-3] 24x8\nl.{}.mlp.down.weight [0-3] 8x24",
			opt:  Options{Unknown: true, Assume: []Assumption{{From: "gate", To: "up"}, {From: "up", To: "gate"}}},
			want: `l.*.mlp.gate.weight -> l.*.mlp.up.weight named
l.*.mlp.up.weight -> l.*.mlp.gate.weight named
`,
		},
		{
			// Key and value are not turned, so that the third is down, whatever w2 means elsewhere.
			name: "matrices of one model lie one way",
			a:    "h.{}.attn.<key|value>.weight [0-3] 4x8\nh.{}.<w1|w2>.weight [0-3] 24x8\nh.{}.w3.weight [0-3] 8x24",
			b:    "l.{}.self_attn.<k|v>_proj.weight [0-3] 4x8\nl.{}.mlp.<gate|up>_proj.weight [0-3] 24x8\nl.{}.mlp.down_proj.weight [0-3] 8x24",
			opt:  Options{Unknown: true},
			want: `h.*.attn.key.weight -> l.*.self_attn.k_proj.weight named
h.*.attn.value.weight -> l.*.self_attn.v_proj.weight named
h.*.w1.weight -> l.*.mlp.gate_proj.weight guess
h.*.w2.weight -> l.*.mlp.up_proj.weight guess
h.*.w3.weight -> l.*.mlp.down_proj.weight forced
ask 2
`,
		},
		{
			name: "linear layers that are stored the other way round", // GPT-2 Conv1D
			a:    "h.{}.attn.c_attn.weight [0-3] 8x24\nh.{}.attn.c_proj.weight [0-3] 8x8\nh.{}.mlp.c_fc.weight [0-3] 8x32\nh.{}.mlp.c_proj.weight [0-3] 32x8",
			b:    "blk.{}.attn_qkv.weight [0-3] 24x8\nblk.{}.attn_output.weight [0-3] 8x8\nblk.{}.ffn_up.weight [0-3] 32x8\nblk.{}.ffn_down.weight [0-3] 8x32",
			opt:  Options{Unknown: true},
			want: `h.*.attn.c_attn.weight -> blk.*.attn_qkv.weight guess, transpose: {}
h.*.attn.c_proj.weight -> blk.*.attn_output.weight named, transpose: {}
h.*.mlp.c_fc.weight -> blk.*.ffn_up.weight guess, transpose: {}
h.*.mlp.c_proj.weight -> blk.*.ffn_down.weight guess, transpose: {}
ask 2
ask 1
`,
		},
		{
			name: "models of different depth",
			a:    "model.layers.{}.attn.<q|k|v>.weight [0-23] 8x8\nmodel.embed_tokens.weight 32x8\nmodel.norm.weight 8",
			b:    "model.layers.{}.self_attn.<q|k|v>_proj.weight [0-31] 8x8\nmodel.embed_tokens.weight 32x8\nmodel.norm.weight 8",
			opt:  Options{Unknown: true},
			want: `model.layers.*.attn.q.weight -> model.layers.*.self_attn.q_proj.weight named
model.layers.*.attn.k.weight -> model.layers.*.self_attn.k_proj.weight named
model.layers.*.attn.v.weight -> model.layers.*.self_attn.v_proj.weight named
`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, tt.a)}, &Inventory{Tensors: listed(t, tt.b)}, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			got := brief(res)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}
