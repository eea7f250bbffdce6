package convert

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// lines reads names with their shapes, "NAME [4,16]".
func lines(t testing.TB, text string) []convention.Named {
	t.Helper()
	var out []convention.Named
	for line := range strings.Lines(strings.TrimSpace(text)) {
		name, dims, _ := strings.Cut(strings.TrimSpace(line), " ")
		n := convention.Named{Name: name, Shape: []uint64{}}
		for d := range strings.SplitSeq(strings.Trim(dims, "[]"), ",") {
			var v uint64
			if _, err := fmt.Sscan(d, &v); err == nil {
				n.Shape = append(n.Shape, v)
			}
		}
		out = append(out, n)
	}
	return out
}

// told writes what becomes of each tensor, one per line.
func told(c *Conversion) string {
	var out []string
	for _, m := range c.Moves {
		line := strings.Join(m.From, " + ") + " -> " + strings.Join(m.To, " + ")
		for _, o := range m.Ops {
			line += " " + string(o.Kind)
			switch o.Kind {
			case tensorop.Scale:
				line += fmt.Sprintf("(%g)", o.Value)
			case tensorop.Reshape:
				line += strings.ReplaceAll(fmt.Sprint(o.Shape), " ", ",")
			case tensorop.Split, tensorop.Concat, tensorop.Permute:
				line += fmt.Sprintf("@%d", o.Axis)
			case tensorop.Pad:
				line += fmt.Sprintf("@%d%v", o.Axis, o.Sizes)
			}
		}
		out = append(out, line)
	}
	for _, d := range c.Dropped {
		out = append(out, d.Name+" dropped: "+d.Reason)
	}
	for _, a := range c.Aside {
		out = append(out, a.Name+" aside: "+a.Reason)
	}
	return strings.Join(out, "\n")
}

func convertAdapter(t testing.TB, tensors []convention.Named, from, goal string, m *convention.Model) (*Conversion, error) {
	t.Helper()
	var c *convention.Convention
	if from != "" {
		c, _ = convention.Lookup(from)
	}
	a := identify.ReadAdapter(tensors, m, c)
	if a == nil {
		t.Fatalf("%s … is no adapter", tensors[0].Name)
	}
	return Adapter(a, goal, m)
}

// The names on both sides are those that other projects write and read, so that a
// mistake that undoes itself is seen.
func TestPublishedAdapters(t *testing.T) {
	llama := &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) {
		n, ok := map[string]int64{"num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}[key]
		return n, ok
	}}}
	for _, tt := range []struct {
		name, source, from, to string
		model                  *convention.Model
		tensors, want          string
	}{
		{
			"Flux, kohya to ComfyUI", "sd-scripts: networks/convert_flux_lora.py; OneTrainer: LoRASaverMixin.py _save_comfy", "", "comfy", nil,
			`lora_unet_double_blocks_0_img_attn_proj.alpha []
			lora_unet_double_blocks_0_img_attn_proj.lora_down.weight [4,16]
			lora_unet_double_blocks_0_img_attn_proj.lora_up.weight [16,4]
			lora_unet_double_blocks_0_img_mlp_2.lora_down.weight [4,64]
			lora_unet_double_blocks_0_img_mlp_2.lora_up.weight [16,4]
			lora_unet_single_blocks_0_modulation_lin.lora_down.weight [4,16]
			lora_unet_single_blocks_0_modulation_lin.lora_up.weight [48,4]
			lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight [4,16]
			lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight [16,4]`,
			`lora_unet_double_blocks_0_img_attn_proj.alpha -> diffusion_model.double_blocks.0.img_attn.proj.alpha
lora_unet_double_blocks_0_img_attn_proj.lora_down.weight -> diffusion_model.double_blocks.0.img_attn.proj.lora_A.weight
lora_unet_double_blocks_0_img_attn_proj.lora_up.weight -> diffusion_model.double_blocks.0.img_attn.proj.lora_B.weight
lora_unet_double_blocks_0_img_mlp_2.lora_down.weight -> diffusion_model.double_blocks.0.img_mlp.2.lora_A.weight
lora_unet_double_blocks_0_img_mlp_2.lora_up.weight -> diffusion_model.double_blocks.0.img_mlp.2.lora_B.weight
lora_unet_single_blocks_0_modulation_lin.lora_down.weight -> diffusion_model.single_blocks.0.modulation.lin.lora_A.weight
lora_unet_single_blocks_0_modulation_lin.lora_up.weight -> diffusion_model.single_blocks.0.modulation.lin.lora_B.weight
lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight -> text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight
lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight -> text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj.lora_B.weight`,
		},
		{
			"Flux, XLabs to kohya", "diffusers: _convert_xlabs_flux_lora_to_diffusers; x-flux: DoubleStreamBlockLoraProcessor", "", "kohya", nil,
			`double_blocks.0.processor.proj_lora1.down.weight [4,16]
			double_blocks.0.processor.proj_lora1.up.weight [16,4]
			double_blocks.0.processor.qkv_lora2.down.weight [4,16]
			double_blocks.0.processor.qkv_lora2.up.weight [48,4]`,
			`double_blocks.0.processor.proj_lora1.down.weight -> lora_unet_double_blocks_0_img_attn_proj.lora_down.weight
double_blocks.0.processor.proj_lora1.up.weight -> lora_unet_double_blocks_0_img_attn_proj.lora_up.weight
double_blocks.0.processor.qkv_lora2.down.weight -> lora_unet_double_blocks_0_txt_attn_qkv.lora_down.weight
double_blocks.0.processor.qkv_lora2.up.weight -> lora_unet_double_blocks_0_txt_attn_qkv.lora_up.weight`,
		},
		{
			"SD 1.5, kohya to diffusers", "diffusers: _convert_non_diffusers_lora_to_diffusers, _get_alpha_name", "", "diffusers",
			&convention.Model{Adapter: &adapter.Settings{Alphas: map[string]float64{"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.alpha": 1}}},
			`lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_down.weight [4,16]
			lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight [16,4]
			lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.alpha []
			lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_down.weight [4,16]
			lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_up.weight [128,4]
			lora_te_text_model_encoder_layers_3_mlp_fc1.lora_down.weight [4,16]
			lora_te_text_model_encoder_layers_3_mlp_fc1.lora_up.weight [64,4]`,
			`lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_down.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_A.weight
lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0.lora_B.weight scale(0.25)
lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_down.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj.lora_A.weight
lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj.lora_up.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj.lora_B.weight
lora_te_text_model_encoder_layers_3_mlp_fc1.lora_down.weight -> text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_A.weight
lora_te_text_model_encoder_layers_3_mlp_fc1.lora_up.weight -> text_encoder.text_model.encoder.layers.3.mlp.fc1.lora_B.weight
lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_out_0.alpha dropped: alpha / rank, 0.25, is multiplied into up`,
		},
		{
			"SDXL, kohya to diffusers", "diffusers: lora_conversion_utils.py _maybe_map_sgm_blocks_to_diffusers, _convert_unet_lora_key (label_emb, op)", "", "diffusers", nil,
			`lora_unet_input_blocks_3_0_op.lora_down.weight [4,16,3,3]
			lora_unet_input_blocks_3_0_op.lora_up.weight [16,4,1,1]
			lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_down.weight [4,16]
			lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_up.weight [16,4]
			lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_q.lora_down.weight [4,16]
			lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_q.lora_up.weight [16,4]
			lora_unet_output_blocks_5_2_conv.lora_down.weight [4,16,3,3]
			lora_unet_output_blocks_5_2_conv.lora_up.weight [16,4,1,1]
			lora_unet_label_emb_0_0.lora_down.weight [4,16]
			lora_unet_label_emb_0_0.lora_up.weight [16,4]`,
			`lora_unet_input_blocks_3_0_op.lora_down.weight -> unet.down_blocks.0.downsamplers.0.conv.lora_A.weight
lora_unet_input_blocks_3_0_op.lora_up.weight -> unet.down_blocks.0.downsamplers.0.conv.lora_B.weight
lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_down.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.lora_A.weight
lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.lora_up.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q.lora_B.weight
lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_q.lora_down.weight -> unet.up_blocks.1.attentions.2.transformer_blocks.1.attn1.to_q.lora_A.weight
lora_unet_output_blocks_5_1_transformer_blocks_1_attn1_to_q.lora_up.weight -> unet.up_blocks.1.attentions.2.transformer_blocks.1.attn1.to_q.lora_B.weight
lora_unet_output_blocks_5_2_conv.lora_down.weight -> unet.up_blocks.1.upsamplers.0.conv.lora_A.weight
lora_unet_output_blocks_5_2_conv.lora_up.weight -> unet.up_blocks.1.upsamplers.0.conv.lora_B.weight
lora_unet_label_emb_0_0.lora_down.weight -> unet.add_embedding.linear_1.lora_A.weight
lora_unet_label_emb_0_0.lora_up.weight -> unet.add_embedding.linear_1.lora_B.weight`,
		},
		{
			"SD 1.5, diffusers' processors to kohya", "diffusers: models/attention_processor.py; utils/state_dict_utils.py DIFFUSERS_OLD_TO_PEFT", "", "kohya", nil,
			`unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight [4,16]
			unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight [16,4]
			unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight [4,16]
			unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight [16,4]
			text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight [4,16]
			text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.up.weight [16,4]`,
			`unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight -> lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight
unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.up.weight -> lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight
unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.down.weight -> lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_down.weight
unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora.up.weight -> lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight
text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.down.weight -> lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_down.weight
text_encoder.text_model.encoder.layers.0.self_attn.to_q_lora.up.weight -> lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight`,
		},
		{
			"LLaMA, PEFT to llama.cpp", "llama.cpp: convert_lora_to_gguf.py; conversion of LlamaModel permutes the rows of q and k", "llama-hf", "gguf", llama,
			`base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight [4,16]
			base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight [16,4]
			base_model.model.model.layers.1.mlp.down_proj.lora_A.weight [4,64]
			base_model.model.model.layers.1.mlp.down_proj.lora_B.weight [16,4]`,
			`base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight -> blk.1.attn_q.weight.lora_a
base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight -> blk.1.attn_q.weight.lora_b permute@0
base_model.model.model.layers.1.mlp.down_proj.lora_A.weight -> blk.1.ffn_down.weight.lora_a
base_model.model.model.layers.1.mlp.down_proj.lora_B.weight -> blk.1.ffn_down.weight.lora_b`,
		},
		{
			"LLaMA, llama.cpp to MLX", "mlx-lm: tuner/lora.py (lora_a is [in, rank], lora_b [rank, out]); conversion of LlamaModel", "llama-gguf", "mlx", llama,
			`blk.1.attn_k.weight.lora_a [4,16]
			blk.1.attn_k.weight.lora_b [8,4]
			blk.1.ffn_up.weight.lora_a [4,16]
			blk.1.ffn_up.weight.lora_b [64,4]`,
			`blk.1.attn_k.weight.lora_a -> model.layers.1.self_attn.k_proj.lora_a transpose
blk.1.attn_k.weight.lora_b -> model.layers.1.self_attn.k_proj.lora_b permute@0 transpose
blk.1.ffn_up.weight.lora_a -> model.layers.1.mlp.up_proj.lora_a transpose
blk.1.ffn_up.weight.lora_b -> model.layers.1.mlp.up_proj.lora_b transpose`,
		},
		{
			"DoRA, PEFT to MLX", "mlx-lm: tuner/dora.py (m); peft: tuners/lora/dora.py", "", "mlx", nil,
			`base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight [4,16]
			base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight [8,4]
			base_model.model.model.layers.0.self_attn.v_proj.lora_magnitude_vector [8]`,
			`base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight -> model.layers.0.self_attn.v_proj.lora_a transpose
base_model.model.model.layers.0.self_attn.v_proj.lora_magnitude_vector -> model.layers.0.self_attn.v_proj.m
base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight -> model.layers.0.self_attn.v_proj.lora_b transpose`,
		},
		{
			"DoRA, kohya to diffusers", "LyCORIS: modules/locon.py (dora_scale is [out, 1]); diffusers: _convert_non_diffusers_lora_to_diffusers", "", "diffusers", nil,
			`lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight [4,16]
			lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight [8,4]
			lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.dora_scale [8,1]`,
			`lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.dora_scale -> unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_magnitude_vector reshape[8]
lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight -> unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight`,
		},
		{
			"GPT-2, PEFT to llama.cpp", "peft: tuners/lora/layer.py get_delta_weight (fan_in_fan_out): the halves are those of y = x W, stored or not [in, out]", "", "gguf", nil,
			`base_model.model.transformer.h.0.mlp.c_fc.lora_A.weight [4,16]
			base_model.model.transformer.h.0.mlp.c_fc.lora_B.weight [64,4]`,
			`base_model.model.transformer.h.0.mlp.c_fc.lora_A.weight -> blk.0.ffn_up.weight.lora_a
base_model.model.transformer.h.0.mlp.c_fc.lora_B.weight -> blk.0.ffn_up.weight.lora_b`,
		},
		{
			"a fused projection, to its parts", "llama.cpp: LoraTorchTensor.split; diffusers: _convert_to_ai_toolkit_cat copies lora_down and splits lora_up", "llama-vllm", "llama-hf", llama,
			`base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight [4,16]
			base_model.model.model.layers.0.self_attn.qkv_proj.lora_B.weight [32,4]`,
			`base_model.model.model.layers.0.self_attn.qkv_proj.lora_A.weight -> base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight + base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight + base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight copy
base_model.model.model.layers.0.self_attn.qkv_proj.lora_B.weight -> base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight + base_model.model.model.layers.0.self_attn.k_proj.lora_B.weight + base_model.model.model.layers.0.self_attn.v_proj.lora_B.weight split@0`,
		},
		{
			"Flux, some parts of a fused projection", "sd-scripts: networks/convert_flux_lora.py convert_to_sd_scripts_cat (the ranks add up, and zeros are between)", "", "kohya", nil,
			`transformer.transformer_blocks.1.attn.to_q.lora_A.weight [4,16]
			transformer.transformer_blocks.1.attn.to_q.lora_B.weight [16,4]
			transformer.transformer_blocks.1.attn.to_v.lora_A.weight [2,16]
			transformer.transformer_blocks.1.attn.to_v.lora_B.weight [16,2]
			transformer.single_transformer_blocks.2.proj_mlp.lora_A.weight [4,16]
			transformer.single_transformer_blocks.2.proj_mlp.lora_B.weight [64,4]`,
			`transformer.single_transformer_blocks.2.proj_mlp.lora_A.weight -> lora_unet_single_blocks_2_linear1.lora_down.weight
transformer.single_transformer_blocks.2.proj_mlp.lora_B.weight -> lora_unet_single_blocks_2_linear1.lora_up.weight pad@0[48 0]
transformer.transformer_blocks.1.attn.to_q.lora_A.weight + transformer.transformer_blocks.1.attn.to_v.lora_A.weight -> lora_unet_double_blocks_1_img_attn_qkv.lora_down.weight concat@0
transformer.transformer_blocks.1.attn.to_q.lora_B.weight + transformer.transformer_blocks.1.attn.to_v.lora_B.weight -> lora_unet_double_blocks_1_img_attn_qkv.lora_up.weight pad@1[0 2] pad@0[0 16] pad@1[4 0] concat@0`,
		},
		{
			"LoKr, LyCORIS to kohya", "LyCORIS: modules/lokr.py, wrapper.py", "", "kohya", nil,
			`lycoris_blocks_0_self_attn_q.lokr_w1 [4,4]
			lycoris_blocks_0_self_attn_q.lokr_w2 [4,4]
			lycoris_blocks_0_self_attn_q.alpha []
			lycoris_blocks_0_ffn_0.lokr_w1 [4,4]
			lycoris_blocks_0_ffn_0.lokr_w2_a [4,2]
			lycoris_blocks_0_ffn_0.lokr_w2_b [2,4]`,
			`lycoris_blocks_0_self_attn_q.alpha -> lora_unet_blocks_0_self_attn_q.alpha
lycoris_blocks_0_self_attn_q.lokr_w1 -> lora_unet_blocks_0_self_attn_q.lokr_w1
lycoris_blocks_0_self_attn_q.lokr_w2 -> lora_unet_blocks_0_self_attn_q.lokr_w2
lycoris_blocks_0_ffn_0.lokr_w1 -> lora_unet_blocks_0_ffn_0.lokr_w1
lycoris_blocks_0_ffn_0.lokr_w2_a -> lora_unet_blocks_0_ffn_0.lokr_w2_a
lycoris_blocks_0_ffn_0.lokr_w2_b -> lora_unet_blocks_0_ffn_0.lokr_w2_b`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conv, err := convertAdapter(t, lines(t, tt.tensors), tt.from, tt.to, tt.model)
			if err != nil {
				t.Fatal(err)
			}
			sorted := func(s string) []string {
				l := strings.Split(s, "\n")
				slices.Sort(l)
				return l
			}
			if diff := gocmp.Diff(sorted(tt.want), sorted(told(conv))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.source, diff)
			}
			if _, err := conv.Map(); err != nil {
				t.Error(err)
			}
		})
	}
}

// pipelines are the modules of some models, by the convention that they are of:
// of a part of a pipeline, a path, the outputs and the inputs.
var pipelines = []struct {
	name    string
	modules []string
}{
	{"Flux", []string{"denoiser double_blocks.0.img_attn.qkv 48 16", "denoiser double_blocks.11.txt_mlp.0 64 16", "denoiser double_blocks.11.txt_mlp.2 16 64", "denoiser single_blocks.3.linear1 112 16", "denoiser final_layer.linear 16 16", "clip_l text_model.encoder.layers.0.mlp.fc1 64 16"}},
	{"Flux in diffusers", []string{"denoiser transformer_blocks.0.attn.to_q 16 16", "denoiser transformer_blocks.10.ff_context.net.0.proj 64 16", "denoiser transformer_blocks.10.ff_context.net.2 16 64", "denoiser single_transformer_blocks.3.proj_out 16 80", "clip_l text_model.encoder.layers.0.self_attn.out_proj 16 16", "t5 encoder.block.0.layer.0.SelfAttention.q 16 16"}},
	{"Flux in diffusers, all of attention", []string{"denoiser transformer_blocks.0.attn.to_q 16 16", "denoiser transformer_blocks.0.attn.to_k 16 16", "denoiser transformer_blocks.0.attn.to_v 16 16", "denoiser transformer_blocks.0.attn.add_k_proj 16 16", "denoiser single_transformer_blocks.3.attn.to_k 16 16", "denoiser single_transformer_blocks.3.proj_mlp 64 16"}},
	{"SD 1.5", []string{"denoiser down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q 16 16", "denoiser up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj 128 16", "denoiser up_blocks.1.attentions.0.transformer_blocks.0.ff.net.2 16 64", "denoiser mid_block.attentions.0.proj_in 16 16", "denoiser time_embedding.linear_1 16 16", "denoiser time_embedding.linear_2 16 16", "clip_l text_model.encoder.layers.0.mlp.fc1 64 16"}},
	{"SDXL", []string{"denoiser input_blocks.4.1.transformer_blocks.0.attn1.to_q 16 16", "denoiser input_blocks.4.1.transformer_blocks.1.attn2.to_out.0 16 16", "denoiser middle_block.1.proj_out 16 16", "denoiser output_blocks.5.1.transformer_blocks.0.ff.net.0.proj 128 16", "denoiser output_blocks.5.1.transformer_blocks.0.ff.net.2 16 64", "clip_g text_model.encoder.layers.0.mlp.fc1 64 16"}},
	{"Wan", []string{"denoiser blocks.0.self_attn.q 16 16", "denoiser blocks.12.cross_attn.o 16 16", "denoiser blocks.0.ffn.0 64 16", "denoiser blocks.0.ffn.2 16 64"}},
	{"SD3", []string{"denoiser joint_blocks.0.x_block.attn.qkv 48 16", "denoiser joint_blocks.2.context_block.mlp.fc1 64 16", "denoiser joint_blocks.2.context_block.adaLN_modulation.1 96 16"}},
	{"Qwen-Image", []string{"denoiser transformer_blocks.0.attn.add_q_proj 16 16", "denoiser transformer_blocks.0.img_mlp.net.0.proj 64 16", "denoiser transformer_blocks.30.txt_mod.1 96 16", "denoiser transformer_blocks.30.attn.to_out.0 16 16"}},
	{"Flux, attention alone", []string{"denoiser double_blocks.0.img_attn.qkv 48 16", "denoiser double_blocks.12.txt_attn.proj 16 16"}},
	{"LLaMA", []string{"any model.layers.0.self_attn.q_proj 16 16", "any model.layers.0.self_attn.k_proj 8 16", "any model.layers.21.mlp.down_proj 16 64"}},
	{"GPT-2", []string{"any transformer.h.0.mlp.c_fc 64 16", "any transformer.h.0.attn.c_proj 16 16"}},
}

// kinds are the parts of each kind, with their shapes of a module of o outputs and i
// inputs.
var kindsOfChange = map[string]func(o, i uint64) map[string][]uint64{
	"LoRA": func(o, i uint64) map[string][]uint64 { return map[string][]uint64{"down": {4, i}, "up": {o, 4}} },
	"alpha": func(o, i uint64) map[string][]uint64 {
		return map[string][]uint64{"down": {4, i}, "up": {o, 4}, "alpha": {}}
	},
	"DoRA": func(o, i uint64) map[string][]uint64 {
		return map[string][]uint64{"down": {4, i}, "up": {o, 4}, "magnitude": {o}}
	},
	"LoHa": func(o, i uint64) map[string][]uint64 {
		return map[string][]uint64{"hada_w1_a": {o, 4}, "hada_w1_b": {4, i}, "hada_w2_a": {o, 4}, "hada_w2_b": {4, i}, "alpha": {}}
	},
	"LoKr": func(_, _ uint64) map[string][]uint64 {
		return map[string][]uint64{"lokr_w1": {4, 4}, "lokr_w2_a": {4, 2}, "lokr_w2_b": {2, 4}, "alpha": {}}
	},
	"full": func(o, i uint64) map[string][]uint64 { return map[string][]uint64{"diff": {o, i}, "bias": {o}} },
}

// write spells a pipeline's changes in a dialect, or says that it cannot.
func writeAdapter(d *adapter.Dialect, modules []string, kind string, family func(string) bool) ([]convention.Named, *adapter.Settings, bool) {
	s := &adapter.Settings{Alphas: map[string]float64{}, Where: "adapter_config.json", Alpha: 2, Rank: 4, Scale: 0.5}
	var out []convention.Named
	for _, text := range modules {
		var of, path string
		var o, i uint64
		fmt.Sscan(text, &of, &path, &o, &i)
		prefix, ok1 := d.PrefixOf(of, family)
		spelled, ok2 := d.Spell(path)
		if !ok1 || !ok2 {
			return nil, nil, false
		}
		for part, shape := range kindsOfChange[kind](o, i) {
			leaf, ok := d.Leaf(part)
			if !ok {
				return nil, nil, false
			}
			if slices.Contains(d.Transposed, part) {
				slices.Reverse(shape)
			}
			if slices.Contains(d.Column, part) {
				shape = append(shape, 1)
			}
			name := prefix + spelled + leaf
			if part == "alpha" {
				s.Alphas[name] = 2
			}
			out = append(out, convention.Named{Name: name, Shape: shape})
		}
	}
	slices.SortFunc(out, func(a, b convention.Named) int { return strings.Compare(a.Name, b.Name) })
	return out, s, true
}

// numbersOf gives each tensor numbers of its own, and alphas one.
func numbersOf(tensors []convention.Named, alpha float64) map[string]tensorValue {
	out, next := make(map[string]tensorValue), 0.0
	for _, n := range tensors {
		shape := make([]int64, len(n.Shape))
		for i, d := range n.Shape {
			shape[i] = int64(d)
		}
		if out[n.Name] = fillTensor(&next, shape...); len(shape) == 0 {
			out[n.Name] = tensorValue{shape, []float64{alpha}}
		}
	}
	return out
}

// reading is what a file shows of such tensors.
func reading(s adapter.Settings, values map[string]tensorValue) *convention.Model {
	s.Alphas = make(map[string]float64)
	for name, v := range values {
		if len(v.shape) == 0 {
			s.Alphas[name] = v.data[0]
		}
	}
	s.Read = func(name string) []float64 { return values[name].data }
	return &convention.Model{Adapter: &s}
}

// carriedOut is what a conversion makes of tensors.
func carriedOut(t *testing.T, c *Conversion, values map[string]tensorValue) ([]convention.Named, map[string]tensorValue) {
	t.Helper()
	made := make(map[string]tensorValue)
	for _, m := range c.Moves {
		maps.Copy(made, run(t, m, values))
	}
	var out []convention.Named
	for _, name := range slices.Sorted(maps.Keys(made)) {
		n := convention.Named{Name: name, Shape: []uint64{}}
		for _, d := range made[name].shape {
			n.Shape = append(n.Shape, uint64(d))
		}
		out = append(out, n)
	}
	return out, made
}

// Of what a conversion writes, identify says the dialect that was asked for and the
// convention of the modules, and converting back gives the names and shapes that
// were there.
func TestAdaptersThereAndBack(t *testing.T) {
	n, tried := 0, make(map[string]int)
	for _, p := range pipelines {
		for _, kind := range slices.Sorted(maps.Keys(kindsOfChange)) {
			if testing.Short() && kind != "LoRA" {
				continue
			}
			for _, from := range adapter.All() {
				if n++; kind != "LoRA" && !sweep.Has(n, 7) {
					continue
				}
				all := func(string) bool { return true }
				tensors, settings, ok := writeAdapter(from, p.modules, kind, all)
				if !ok {
					continue
				}
				if of := identify.ReadAdapter(tensors, nil, nil); of != nil {
					tensors, settings, _ = writeAdapter(from, p.modules, kind, of.Components[0].HasFamily)
				}
				values := numbersOf(tensors, 2)
				m := reading(*settings, values)
				a := identify.ReadAdapter(tensors, m, nil)
				if a == nil {
					t.Fatalf("%s, %s in %s: no adapter", p.name, kind, from.Name)
				}
				base := a.Components[0].Convention
				if base == nil || a.Dialect != from {
					continue // another dialect's spelling
				}
				same, err := Adapter(a, from.Name, m)
				if err != nil || same.Refusal() != nil || len(same.Dropped) > 0 || slices.ContainsFunc(same.Moves, func(m Move) bool { return m.From[0] != m.To[0] }) {
					continue // the dialect does not take these modules
				}
				for _, to := range adapter.All() {
					conv, err := Adapter(a, to.Name, m)
					if err != nil {
						continue
					}
					if conv.Refusal() != nil {
						continue
					}
					tried[from.Name+" to "+to.Name]++
					what := fmt.Sprintf("%s, %s from %s to %s", p.name, kind, from.Name, to.Name)
					made, madeValues := carriedOut(t, conv, values)
					res := identify.Tensors(slices.Values(made), nil)
					if !res.Adapter || !slices.Equal(res.Dialects, []string{to.Name}) {
						t.Errorf("%s: identify says %v of %s …", what, res.Dialects, made[0].Name)
						continue
					}
					if !slices.ContainsFunc(res.Candidates, func(c identify.Candidate) bool {
						got, _ := convention.Lookup(c.Convention)
						return slices.ContainsFunc(got.Families, base.HasFamily)
					}) {
						t.Errorf("%s: identify says %q, of %s", what, res.Convention, base.Name)
						continue
					}
					// The documents that the notes ask for.
					back := reading(adapter.Settings{Where: "adapter_config.json", Alpha: 2, Rank: 4, Scale: 0.5}, madeValues)
					for _, note := range conv.Notes {
						s, r := back.Adapter, 0.0
						fmt.Sscanf(note, "adapter_config.json must have r %g and lora_alpha %g", &r, &s.Alpha)
						fmt.Sscanf(note, "adapter_config.json must have lora_parameters with rank %g and scale %g", &r, &s.Scale)
						fmt.Sscanf(note, "in a GGUF file adapter.lora.alpha must be %g", &s.Alpha)
					}
					modules := base
					if c, ok := convention.Lookup(conv.To); ok {
						modules = c
					}
					again, err := Adapter(identify.ReadAdapter(made, back, modules), from.Name, back)
					if err != nil {
						t.Errorf("%s and back: %v", what, err)
						continue
					}
					result, resultValues := carriedOut(t, again, madeValues)
					if c, ok := convention.Lookup(again.Modules); ok && c != base {
						// The dialect takes the names of either convention.
						back = reading(*back.Adapter, resultValues)
						if again, err = Adapter(identify.ReadAdapter(result, back, c), base.Name, back); err != nil {
							t.Errorf("%s, back and to %s: %v", what, base.Name, err)
							continue
						}
						result, resultValues = carriedOut(t, again, resultValues)
					}
					want := slices.DeleteFunc(slices.Clone(tensors), func(n convention.Named) bool {
						return slices.ContainsFunc(conv.Dropped, func(d Dropped) bool { return d.Name == n.Name })
					})
					if diff := gocmp.Diff(want, result); diff != "" {
						t.Errorf("%s and back (-want +got):\n%s", what, diff)
						continue
					}
					if slices.ContainsFunc(slices.Concat(conv.Notes, again.Notes), func(n string) bool { return strings.Contains(n, "is multiplied into") }) {
						continue // and the halves are others
					}
					for _, n := range want {
						if !gocmp.Equal(values[n.Name].data, resultValues[n.Name].data, cmpopts.EquateApprox(1e-12, 0)) {
							t.Errorf("%s and back: %s has other values", what, n.Name)
						}
					}
				}
			}
		}
	}
	for _, pair := range []string{"kohya to comfy", "comfy to kohya", "peft to mlx", "mlx to peft", "diffusers to kohya", "kohya to diffusers", "lycoris to kohya", "onetrainer to diffusers", "peft to gguf", "xlabs to kohya"} {
		if tried[pair] == 0 {
			t.Errorf("%s was not tried", pair)
		}
	}
}

// denoiserModules are the matrices in the first and the last block of a denoiser, with
// their shapes at the width and number of blocks of a model that is released.
func denoiserModules(c *convention.Convention, attention bool) []string {
	width, blocks := uint64(48), map[string]int{}
	if len(c.Dimensions) > 0 {
		width, blocks = c.Dimensions[0].Width, c.Dimensions[0].Blocks
	}
	var out []string
	for i := range c.Tensors() {
		t := &c.Tensors()[i]
		below, _, numbered := strings.Cut(t.Below.String(), ".{")
		path, weight := strings.CutSuffix(t.Below.String(), ".weight")
		if !numbered || !weight || t.Optional || t.Without != "" || strings.Contains(path, "norm") ||
			attention && !strings.Contains(path, "attn") && !strings.Contains(path, "attention") {
			continue
		}
		o, in := width, width
		for fused, sizes := range c.Layout.Parts {
			first, last, total := uint64(sizes[0]), uint64(sizes[len(sizes)-1]), uint64(0)
			for _, n := range sizes {
				total += uint64(n)
			}
			switch {
			case strings.HasSuffix(t.Module, "."+fused):
				o = width / first * total
			case fused == "qkv_mlp" && strings.HasSuffix(t.Module, ".o_mlp"):
				in = width / first * (first + last)
			}
		}
		for _, block := range []int{0, max(blocks[below], 2) - 1} {
			index := make([]int, len(t.Below.Holes()))
			index[0] = block
			if name, ok := t.Below.Format(index); ok {
				out = append(out, fmt.Sprintf("denoiser %s %d %d", strings.TrimSuffix(name, ".weight"), o, in))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// An adapter of any denoiser is named one of it, beside the others that have the same
// names and no other size, and becomes one of every convention of its model, and back.
func TestAdaptersOfEveryDenoiser(t *testing.T) {
	t.Parallel()
	n, said, converted := 0, 0, 0
	for _, c := range convention.All() {
		if c.Kind != convention.Denoiser || c.HasDialect("gguf") {
			continue
		}
		shares := func(other *convention.Convention) bool { return slices.ContainsFunc(c.Families, other.HasFamily) }
		for _, d := range adapter.All() {
			if !identify.Takes(d, c) || d.Only || d.Name == "xlabs" {
				continue
			}
			for _, attention := range []bool{true, false} {
				if n++; !sweep.Has(n, 5) {
					continue
				}
				modules := denoiserModules(c, attention)
				tensors, settings, ok := writeAdapter(d, modules, "LoRA", c.HasFamily)
				if !ok || len(tensors) == 0 {
					continue
				}
				what := fmt.Sprintf("%s of %s (attention alone: %v)", d.Name, c.Name, attention)
				r := identify.Tensors(slices.Values(tensors), nil)
				var named []*convention.Convention
				for _, name := range append([]string{r.Convention}, r.Alike...) {
					if of, ok := convention.Lookup(name); ok {
						named = append(named, of)
					}
				}
				if !slices.ContainsFunc(named, shares) {
					t.Errorf("%s: %q, alike %v", what, r.Convention, r.Alike)
					continue
				}
				said++
				for _, of := range named {
					if len(c.Dimensions) > 0 && len(of.Dimensions) > 0 && !slices.ContainsFunc(of.Dimensions, func(d convention.Dimensions) bool { return d.Width == c.Dimensions[0].Width }) {
						t.Errorf("%s: named %s, which is not %d wide", what, of.Name, c.Dimensions[0].Width)
					}
				}
				values := numbersOf(tensors, 2)
				m := reading(*settings, values)
				for _, to := range convention.All() {
					if !shares(to) || to.Kind != convention.Denoiser || to.HasDialect("gguf") {
						continue
					}
					a := identify.ReadAdapter(tensors, m, nil)
					conv, err := Adapter(a, to.Name, m)
					if err == nil {
						err = conv.Refusal()
					}
					if err != nil {
						if text := err.Error(); strings.Contains(text, "no model is known to use both") || strings.Contains(text, "its modules may be those of") {
							t.Errorf("%s to %s: %v", what, to.Name, err)
						}
						continue
					}
					made, madeValues := carriedOut(t, conv, values)
					back := reading(adapter.Settings{Where: "adapter_config.json", Alpha: 2, Rank: 4, Scale: 0.5}, madeValues)
					of := identify.ReadAdapter(made, back, nil)
					if of == nil || of.Components[0].Convention == nil {
						t.Errorf("%s to %s is not known again: %s", what, to.Name, made[0].Name)
						continue
					}
					again, err := Adapter(of, c.Name, back)
					if err == nil {
						err = again.Refusal()
					}
					if err != nil {
						t.Errorf("%s to %s and back: %v", what, to.Name, err)
						continue
					}
					result, _ := carriedOut(t, again, madeValues)
					paths := identify.ReadAdapter(result, back, c).Components[0].Modules
					if len(paths) != len(modules) {
						t.Errorf("%s to %s and back has %d modules, want %d", what, to.Name, len(paths), len(modules))
					}
					converted++
				}
			}
		}
	}
	if said < 20 || converted < 30 {
		t.Errorf("%d adapters were named, %d converted", said, converted)
	}
}

// What sd-scripts makes of the halves of three modules, networks/convert_flux_lora.py
// convert_to_sd_scripts_cat, and of blocks again, convert_to_ai_toolkit_cat.
func TestBlocksOfAdapters(t *testing.T) {
	const modules = "transformer.transformer_blocks.0.attn."
	parts := map[string]tensorValue{
		modules + "to_q.lora_A.weight": {[]int64{1, 2}, []float64{1, 2}},
		modules + "to_q.lora_B.weight": {[]int64{2, 1}, []float64{3, 4}},
		modules + "to_k.lora_A.weight": {[]int64{1, 2}, []float64{5, 6}},
		modules + "to_k.lora_B.weight": {[]int64{2, 1}, []float64{7, 8}},
		modules + "to_v.lora_A.weight": {[]int64{1, 2}, []float64{9, 10}},
		modules + "to_v.lora_B.weight": {[]int64{2, 1}, []float64{11, 12}},
	}
	const whole = "lora_unet_double_blocks_0_img_attn_qkv."
	joined := map[string]tensorValue{
		whole + "lora_down.weight": {[]int64{3, 2}, []float64{1, 2, 5, 6, 9, 10}},
		whole + "lora_up.weight":   {[]int64{6, 3}, []float64{3, 0, 0, 4, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 11, 0, 0, 12}},
	}
	// A half that the parts share goes on to each of them, as in diffusers' converter.
	dense := map[string]tensorValue{
		whole + "lora_down.weight": {[]int64{3, 2}, []float64{1, 2, 5, 6, 9, 10}},
		whole + "lora_up.weight":   {[]int64{6, 3}, []float64{3, 0, 1, 4, 0, 0, 0, 7, 0, 0, 8, 0, 0, 0, 11, 0, 0, 12}},
	}
	for _, tt := range []struct {
		from map[string]tensorValue
		to   string
		want map[string]tensorValue // nil for three modules of the same rank
	}{
		{parts, "kohya", joined},
		{joined, "diffusers", parts},
		{dense, "diffusers", nil},
	} {
		var tensors []convention.Named
		for _, name := range slices.Sorted(maps.Keys(tt.from)) {
			s := tt.from[name].shape
			tensors = append(tensors, convention.Named{Name: name, Shape: []uint64{uint64(s[0]), uint64(s[1])}})
		}
		m := reading(adapter.Settings{}, tt.from)
		conv, err := Adapter(identify.ReadAdapter(tensors, m, nil), tt.to, m)
		if err == nil {
			err = conv.Refusal()
		}
		if err != nil {
			t.Fatal(err)
		}
		_, made := carriedOut(t, conv, tt.from)
		for name, v := range made {
			want := tt.want[name]
			if tt.want == nil && len(v.data) != 6 || tt.want != nil && (!slices.Equal(v.shape, want.shape) || !slices.Equal(v.data, want.data)) {
				t.Errorf("%s is %v %v, want %v %v", name, v.shape, v.data, want.shape, want.data)
			}
		}
		if tt.want != nil && len(made) != len(tt.want) {
			t.Errorf("%d tensors, want %d", len(made), len(tt.want))
		}
	}
}

// Names that several models share are those of the model that the file is for, of one
// that the dialect takes, or of the one that most adapters are of, and then it is said.
func TestAdaptersOfSeveralModels(t *testing.T) {
	attention := func(prefix, path, down, up string) string {
		return prefix + path + down + " [4,16]\n" + prefix + path + up + " [16,4]"
	}
	const comfy, kohya = "diffusion_model.", "lora_unet_"
	diffusers := attention("transformer.", "transformer_blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight")
	const shared = "its modules are taken for those of ltx-diffusers; were they those of "
	for _, tt := range []struct{ tensors, base, to, modules, name, note string }{
		{attention(comfy, "transformer_blocks.0.attn1.to_q", ".lora_A.weight", ".lora_B.weight"), "", "diffusers", "ltx-diffusers", "transformer.transformer_blocks.0.attn1.to_q.lora_A.weight", ""},
		{attention(kohya, "transformer_blocks_0_attn1_to_q", ".lora_down.weight", ".lora_up.weight"), "", "comfy", "ltx-original", "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight", ""},
		{attention(kohya, "double_layers_0_attn_w2q", ".lora_down.weight", ".lora_up.weight"), "", "diffusers", "auraflow-diffusers", "transformer.joint_transformer_blocks.0.attn.to_q.lora_A.weight", ""},
		{diffusers, "", "comfy", "ltx-original", "diffusion_model.transformer_blocks.0.attn1.to_q.lora_A.weight", shared},
		{diffusers, "PixArt-alpha/PixArt-XL-2-1024-MS", "comfy", "pixart-original", "diffusion_model.blocks.0.attn.qkv.lora_A.weight", ""},
		{diffusers, "NVIDIA/Sana_1600M", "kohya", "sana-original", "lora_unet_blocks_0_attn_qkv.lora_down.weight", ""},
	} {
		m := &convention.Model{Adapter: &adapter.Settings{Base: tt.base}}
		conv, err := Adapter(identify.ReadAdapter(lines(t, tt.tensors), m, nil), tt.to, m)
		if err != nil {
			t.Errorf("%s to %s: %v", tt.tensors, tt.to, err)
			continue
		}
		if conv.Modules != tt.modules || !slices.ContainsFunc(conv.Moves, func(m Move) bool { return m.To[0] == tt.name }) || slices.ContainsFunc(conv.Notes, func(n string) bool { return strings.HasPrefix(n, shared) }) != (tt.note != "") {
			t.Errorf("%s for %q to %s: modules of %s, %s %v", tt.tensors, tt.base, tt.to, conv.Modules, told(conv), conv.Notes)
		}
	}
	// All of those are named by which the modules would become others.
	several := &convention.Model{Adapter: new(adapter.Settings)}
	conv, err := Adapter(identify.ReadAdapter(lines(t, diffusers), several, nil), "comfy", several)
	if err != nil {
		t.Fatal(err)
	}
	if want := shared + "sana-diffusers or pixart-diffusers or mochi-diffusers, they would"; !slices.ContainsFunc(conv.Notes, func(n string) bool { return strings.HasPrefix(n, want) }) {
		t.Errorf("%q, want %q", conv.Notes, want)
	}
	// Where none is the likeliest, they are not guessed at.
	text := diffusers + "\n" + attention("transformer.", "transformer_blocks.0.norm1.linear", ".lora_A.weight", ".lora_B.weight")
	_, err = convertAdapter(t, lines(t, text), "", "comfy", nil)
	if err == nil || !strings.Contains(err.Error(), "its modules may be those of ") || !strings.Contains(err.Error(), "name the convention with --from") {
		t.Errorf("%v", err)
	}
}

// llama.cpp permutes the rows of LLaMA's query and key projections, and not those of the
// models that share its names: convert_hf_to_gguf.py, LlamaModel.undo_permute. Which of
// them an adapter is for is never guessed.
func TestAdaptersOfLanguageModels(t *testing.T) {
	module := func(path string) string {
		return "base_model.model.model.layers.0." + path + ".lora_A.weight [4,16]\nbase_model.model.model.layers.0." + path + ".lora_B.weight [16,4]\n"
	}
	for _, tt := range []struct {
		module, base, config string
		refused, permutes    bool
	}{
		{"self_attn.q_proj", "", "", true, false},
		{"self_attn.k_proj", "/data/models/final", "", true, false},
		{"self_attn.q_proj", "Qwen/Qwen2.5-7B-Instruct", "", false, false},
		{"self_attn.q_proj", "Qwen/Qwen2-7B", "", false, false},
		{"self_attn.q_proj", "meta-llama/Llama-2-7b-hf", "", false, true},
		{"self_attn.q_proj", "TinyLlama/TinyLlama-1.1B", "", false, true},
		{"self_attn.q_proj", "mistralai/Mistral-7B-v0.1", "", false, true},
		{"self_attn.q_proj", "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "", true, false},
		{"self_attn.q_proj", "deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "", false, true},
		{"self_attn.q_proj", "mistralai/codemodel", "", true, false},
		{"self_attn.q_proj", "", "qwen2", false, false},
		{"self_attn.q_proj", "", "mistral", false, true},
		{"self_attn.v_proj", "", "", false, false}, // no model permutes its rows
	} {
		m := modelOf(map[string]int64{"num_attention_heads": 4, "num_key_value_heads": 4, "hidden_size": 16})
		m.Type, m.Adapter = tt.config, &adapter.Settings{Base: tt.base}
		conv, err := convertAdapter(t, lines(t, module(tt.module)), "", "gguf", m)
		switch {
		case tt.refused:
			if err == nil || !strings.Contains(err.Error(), "name the convention with --from") {
				t.Errorf("%s for %q: %v", tt.module, tt.base, err)
			}
		case err != nil:
			t.Errorf("%s for %q: %v", tt.module, tt.base, err)
		case strings.Contains(told(conv), "permute") != tt.permutes:
			t.Errorf("%s for %q, model type %q: %s", tt.module, tt.base, tt.config, told(conv))
		}
	}
}

func TestRefusedAdapters(t *testing.T) {
	kohya := `lora_unet_double_blocks_0_img_attn_proj.lora_down.weight [4,16]
		lora_unet_double_blocks_0_img_attn_proj.lora_up.weight [16,4]
		lora_unet_double_blocks_0_img_attn_proj.alpha []`
	for _, tt := range []struct{ tensors, from, to, want string }{
		{kohya, "", "gguf", "kohya to gguf: gguf does not take the names of flux-original, and no other convention is known of flux"},
		{kohya, "", "kohia", "flux-original to kohia: there is no convention or project of that name"},
		{kohya, "", "peft", `kohya to peft: tensor "lora_unet_double_blocks_0_img_attn_proj.alpha": the value of alpha is not known`},
		{"lora_unet_some_thing.lora_down.weight [4,16]\nlora_unet_some_thing.lora_up.weight [16,4]", "", "comfy", `kohya to comfy: tensor "lora_unet_some_thing.lora_down.weight": no convention that is known has a module that is "some_thing" with '_' for dots, so that the dots cannot be told`},
		{"base_model.model.a.b.lora_A.weight [4,16]\nbase_model.model.a.b.lora_B.weight [16,4]", "", "llama-gguf", "peft to peft: the model that it changes is not known; name its convention with --from"},
		{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight [4,16]\nbase_model.model.model.layers.0.self_attn.q_proj.lora_B.weight [16,4]", "", "comfy", "peft to comfy: comfy has no names for the modules of a model that is no part of a pipeline"},
		{"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight [4,16]\nbase_model.model.model.layers.0.self_attn.q_proj.lora_B.weight [16,4]", "llama-hf", "gguf", `llama-hf to llama-gguf: tensor "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": the number of attention heads is not known; give num_attention_heads with the configuration`},
		{"double_blocks.0.processor.qkv_lora1.down.weight [4,16]\ndouble_blocks.0.processor.qkv_lora1.up.weight [48,4]\nsingle_blocks.0.processor.qkv_lora.down.weight [4,16]\nsingle_blocks.0.processor.qkv_lora.up.weight [48,4]", "", "kohya", `xlabs to kohya: tensor "single_blocks.0.processor.qkv_lora.down.weight": it changes only the rows of query, key and value`},
	} {
		conv, err := convertAdapter(t, lines(t, tt.tensors), tt.from, tt.to, nil)
		if err == nil {
			err = conv.Refusal()
		}
		if _, ok := errors.AsType[*RefusalError](err); !ok || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("--to %s: %v, want %s", tt.to, err, tt.want)
		}
	}
}
