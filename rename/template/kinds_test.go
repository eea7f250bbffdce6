package template

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

func kindsOf(names []string) []string {
	var out []string
	for _, k := range Kinds(len(names), func(i int) string { return names[i] }) {
		line := fmt.Sprintf("%s x%d", &k, len(k.Members))
		if slices.ContainsFunc(k.First, func(n int32) bool { return n != 0 }) {
			line += fmt.Sprint(" from ", k.First)
		}
		if slices.ContainsFunc(k.Pad, func(n int) bool { return n != 0 }) {
			line += fmt.Sprint(" of ", k.Pad, " digits")
		}
		out = append(out, line)
	}
	return out
}

func TestKinds(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []string // lines that fixture.ExpandNames writes out
		want []string
	}{
		{
			"GPT-2 tells its two norms by a number",
			[]string{"h.{}.ln_1.weight [0-2]", "h.{}.ln_2.weight [0-2]", "ln_f.weight"},
			[]string{"h.{}.ln_1.weight x3", "h.{}.ln_2.weight x3", "ln_f.weight x1"},
		},
		{
			"units from 1, whose word counts nothing that is known",
			[]string{"unit{}.norm.weight [1-4]", "unit{}.mlp.up.weight [1-4]", "unit{}.mlp.down.weight [1-4]", "head.weight"},
			[]string{"unit{}.norm.weight x4 from [1]", "unit{}.mlp.up.weight x4 from [1]", "unit{}.mlp.down.weight x4 from [1]", "head.weight x1"},
		},
		{
			"the scales of w1, w2 and w3 are no modules",
			[]string{"mlp.w1.weight", "mlp.w1.weight_scale", "mlp.w1.input_scale", "mlp.w2.weight", "mlp.w2.weight_scale", "mlp.w2.input_scale", "mlp.w3.weight", "mlp.w3.weight_scale", "mlp.w3.input_scale"},
			[]string{"mlp.w1.weight x1", "mlp.w1.weight_scale x1", "mlp.w1.input_scale x1", "mlp.w2.weight x1", "mlp.w2.weight_scale x1", "mlp.w2.input_scale x1", "mlp.w3.weight x1", "mlp.w3.weight_scale x1", "mlp.w3.input_scale x1"},
		},
		{
			"w1, w2 and w3 are no list, experts are",
			[]string{"layers.{}.experts.{}.w1 [0-1 0-3]", "layers.{}.experts.{}.w2 [0-1 0-3]", "layers.{}.experts.{}.w3 [0-1 0-3]"},
			[]string{"layers.{}.experts.{}.w1 x8", "layers.{}.experts.{}.w2 x8", "layers.{}.experts.{}.w3 x8"},
		},
		{
			"the 0 and 2 of a Sequential have gaps",
			[]string{"blocks.{}.mlp.0.weight [0-3]", "blocks.{}.mlp.2.weight [0-3]"},
			[]string{"blocks.{}.mlp.0.weight x4", "blocks.{}.mlp.2.weight x4"},
		},
		{
			"Phi-2 counts what is around its blocks", // modeling_mixformer_sequential.py
			[]string{"layers.0.wte.weight", "layers.{}.ln.weight [1-5]", "layers.{}.mixer.Wqkv.weight [1-5]", "layers.{}.mixer.out.weight [1-5]", "layers.{}.mlp.fc1.weight [1-5]", "layers.{}.mlp.fc2.weight [1-5]", "layers.6.ln.weight", "layers.6.linear.weight"},
			[]string{
				"layers.0.wte.weight x1", "layers.{}.ln.weight x5 from [1]", "layers.{}.mixer.Wqkv.weight x5 from [1]", "layers.{}.mixer.out.weight x5 from [1]",
				"layers.{}.mlp.fc1.weight x5 from [1]", "layers.{}.mlp.fc2.weight x5 from [1]", "layers.6.ln.weight x1", "layers.6.linear.weight x1",
			},
		},
		{
			"the first layer of DeepSeek is dense",
			[]string{"layers.{}.norm.weight [0-3]", "layers.0.mlp.up.weight", "layers.{}.mlp.experts.{}.up.weight [1-3 0-1]"},
			[]string{"layers.{}.norm.weight x4", "layers.0.mlp.up.weight x1", "layers.{}.mlp.experts.{}.up.weight x6"},
		},
		{
			"hybrids skip layers",
			[]string{"h.{}.norm [0-7]", "h.{}.attn.q [3,7]", "h.{}.lin.a [0-2]", "h.{}.lin.a [4-6]"},
			[]string{"h.{}.norm x8", "h.{}.attn.q x2", "h.{}.lin.a x6"},
		},
		{
			"experts differ in number from layer to layer",
			[]string{"layers.0.experts.{}.w [0-3]", "layers.1.experts.{}.w [0-1]"},
			[]string{"layers.{}.experts.{}.w x6"},
		},
		{"one layer", []string{"model.layers.0.up.weight", "norm.weight"}, []string{"model.layers.{}.up.weight x1", "norm.weight x1"}},
		{"a shard", []string{"encoder.unit.{}.w [12-15]"}, []string{"encoder.unit.{}.w x4 from [12]"}},
		{
			"attention and MLP of T5 are layer.0 and layer.1",
			[]string{"block.{}.layer.0.SelfAttention.q [0-2]", "block.{}.layer.0.SelfAttention.k [0-2]", "block.{}.layer.0.layer_norm [0-2]", "block.{}.layer.1.DenseReluDense.wi [0-2]", "block.{}.layer.1.layer_norm [0-2]"},
			[]string{"block.{}.layer.0.SelfAttention.q x3", "block.{}.layer.0.SelfAttention.k x3", "block.{}.layer.0.layer_norm x3", "block.{}.layer.1.DenseReluDense.wi x3", "block.{}.layer.1.layer_norm x3"},
		},
		{"a number behind the leaf", []string{"l.{}.fc1.weight{} [0-1 0-3]"}, []string{"l.{}.fc1.weight{} x8"}},
		{
			"GPT-NeoX counts all that it computes", // megatron/model/gpt2_model.py
			[]string{"sequential.0.word_embeddings.weight", "sequential.{}.norm.weight [2-5]", "sequential.{}.attention.weight [2-5]", "sequential.7.norm.scale", "sequential.8.final_linear.weight"},
			[]string{"sequential.0.word_embeddings.weight x1", "sequential.{}.norm.weight x4 from [2]", "sequential.{}.attention.weight x4 from [2]", "sequential.7.norm.scale x1", "sequential.8.final_linear.weight x1"},
		},
		{
			"what stands at the ends has one name", // DeepSpeed: runtime/pipe/module.py
			[]string{"layer_<00|06|07>.weight", "layer_<01|02|03|04|05>.norm.weight", "layer_<01|02|03|04|05>.attn.weight"},
			[]string{"layer_00.weight x1", "layer_06.weight x1", "layer_07.weight x1", "layer_{}.norm.weight x5 from [1] of [2] digits", "layer_{}.attn.weight x5 from [1] of [2] digits"},
		},
		{
			"Flax counts the modules of a class", // flax/linen/module.py
			[]string{"Transformer/encoderblock_<0|1>/LayerNorm_<0|1>/scale", "Transformer/encoderblock_<0|1>/MlpBlock_0/Dense_<0|1>/kernel"},
			[]string{"Transformer/encoderblock_{}/LayerNorm_0/scale x2", "Transformer/encoderblock_{}/LayerNorm_1/scale x2", "Transformer/encoderblock_{}/MlpBlock_0/Dense_0/kernel x2", "Transformer/encoderblock_{}/MlpBlock_0/Dense_1/kernel x2"},
		},
		{
			"leading zeros of numbers that count",
			[]string{"net.block_<07|08|09|10>.w", "net.unit.<000|001|002>.<q|k|v>"},
			[]string{"net.block_{}.w x4 from [7] of [2] digits", "net.unit.{}.q x3 of [3] digits", "net.unit.{}.k x3 of [3] digits", "net.unit.{}.v x3 of [3] digits"},
		},
		{"numbers of too few digits", []string{"block_<08|09|1>.w"}, []string{"block_08.w x1", "block_09.w x1", "block_1.w x1"}},
		{"names that are numbers", []string{"t<000|001|002>.weight"}, []string{"t000.weight x1", "t001.weight x1", "t002.weight x1"}},
		{"leading zeros", []string{"shard.<00|01|02>.w"}, []string{"shard.00.w x1", "shard.01.w x1", "shard.02.w x1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var names []string
			for _, l := range tt.list {
				for _, n := range fixture.ExpandNames(t, l) {
					names = append(names, n.Name)
				}
			}
			if d := cmp.Diff(tt.want, kindsOf(names)); d != "" {
				t.Error(d)
			}
		})
	}
}

// A name that is hostile in its length or in its numbers costs no more than its length.
func TestKindsHostile(t *testing.T) {
	long := strings.Repeat("1.2.", 100000)
	many := "a.1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17"
	if d := cmp.Diff([]string{long + " x1", many + " x1"}, kindsOf([]string{long, many})); d != "" {
		t.Error(d[:100])
	}
}

// What lists of real releases fold to.
func TestKindsOfReleases(t *testing.T) {
	for name, want := range map[string]int{
		"Qwen__Qwen3.5-25B-A3B-REAP__hf-qwen3_5_moe": 28,
		"Qwen__Qwen-72B-Chat__hf-qwen1-remote-code":  11,
		"Qwen__Qwen3-30B-A3B-transgqa__hf-qwen3-moe": 20,
	} {
		tensors := fixture.ListedTensors(t, testdata.Path(t, "names/"+name+".tsv"))
		kinds := Kinds(len(tensors), func(i int) string { return tensors[i].Name })
		if len(kinds) != want {
			t.Errorf("%s: %d kinds, want %d", name, len(kinds), want)
		}
	}
}

// Places that only names without a like have are left out where likes are looked for, and the
// others are judged the same without them.
func TestPlacesOfSeveral(t *testing.T) {
	words := []string{"layers", "h", "w", "b", "attn", "x", "block_"}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		var names []string
		for range 60 {
			var b strings.Builder
			for k := range 1 + r.IntN(4) {
				if k > 0 {
					b.WriteByte('.')
				}
				b.WriteString(words[r.IntN(len(words))])
				if r.IntN(2) == 0 {
					b.WriteString(strconv.Itoa(r.IntN(4)))
				}
			}
			names = append(names, b.String())
		}
		name := func(i int) string { return names[i] }
		all, some := formsOf(len(names), name), formsOf(len(names), name)
		judged := func(forms []*form, places []*place) {
			for _, p := range places {
				p.judge(forms, false)
			}
		}
		judged(all, placesOf(all, false))
		judged(some, placesOf(some, true))
		for i, f := range all {
			for h, p := range f.places {
				q := some[i].places[h]
				if q == nil && len(f.rows) == 1 {
					continue
				}
				if q == nil || p.counts != q.counts || p.first != q.first || p.pad != q.pad || p.values.n != q.values.n {
					t.Fatalf("seed %d: %q: %+v, and without the others %+v", seed, f.name, p, q)
				}
				for v, o := range p.values.all() {
					if other := q.values.at(v); other == nil || o.apart != other.apart || !slices.Equal(o.forms, other.forms) {
						t.Fatalf("seed %d: %q: %d is %+v and %+v", seed, f.name, v, o, other)
					}
				}
			}
		}
	}
}
