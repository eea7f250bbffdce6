package identify

import (
	"fmt"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// Which of the models that have the same names an adapter is of is told by how wide it is
// and how many blocks it changes, as far as the two are known of these models. The numbers
// are those of the published config.json.
func TestAdaptersOfTheSameNames(t *testing.T) {
	for _, tt := range []struct {
		of, module string
		width      uint64
		blocks     int
		want       string
		alike      []string // some of them
		not        []string
	}{
		{"Z-Image", "diffusion_model.layers.%d.attention.to_q.lora_%s.weight", 3840, 30, "z_image-diffusers", nil, []string{"ideogram4-diffusers"}},
		{"Ideogram 4", "diffusion_model.layers.%d.attention.to_q.lora_%s.weight", 4608, 34, "ideogram4-diffusers", nil, []string{"z_image-diffusers"}},
		{"names alone", "diffusion_model.layers.%d.attention.to_q.lora_%s.weight", 0, 30, "z_image-diffusers", []string{"ideogram4-diffusers"}, nil},
		{"blocks of Ideogram 4", "diffusion_model.layers.%d.attention.to_q.lora_%s.weight", 0, 34, "z_image-diffusers", []string{"ideogram4-diffusers"}, nil},
		{"another size", "diffusion_model.layers.%d.attention.to_q.lora_%s.weight", 64, 2, "z_image-diffusers", []string{"ideogram4-diffusers"}, nil},
		{"a block of FLUX.1", "diffusion_model.transformer_blocks.%d.attn.to_q.lora_%s.weight", 3072, 19, "flux-diffusers", []string{"bria-diffusers"}, []string{"nucleus_image-diffusers", "hunyuan_image-diffusers"}},
		{"HunyuanVideo", "diffusion_model.transformer_blocks.%d.attn.add_q_proj.lora_%s.weight", 3072, 20, "hunyuan_video-diffusers", []string{"qwenimage-diffusers"}, []string{"flux-diffusers", "ovis_image-diffusers"}},
		{"Qwen-Image", "diffusion_model.transformer_blocks.%d.attn.to_q.lora_%s.weight", 3072, 60, "qwenimage-diffusers", nil, []string{"flux-diffusers", "nucleus_image-diffusers"}},
		{"Nucleus-Image", "diffusion_model.transformer_blocks.%d.attn.to_q.lora_%s.weight", 2048, 24, "nucleus_image-diffusers", nil, []string{"flux-diffusers", "qwenimage-diffusers"}},
		{"FLUX.1 with '_'", "lora_unet_transformer_blocks_%d_attn_to_q.lora_%s.weight", 3072, 19, "flux-diffusers", []string{"bria-diffusers"}, nil},
	} {
		var list []convention.Named
		for i := range tt.blocks {
			for half, shape := range map[string][]uint64{"down": {16, tt.width}, "up": {tt.width, 16}} {
				if tt.width == 0 {
					shape = nil
				}
				list = append(list, convention.Named{Name: fmt.Sprintf(tt.module, i, half), Shape: shape})
			}
		}
		r := Tensors(slices.Values(list), nil)
		named := append([]string{r.Convention}, r.Alike...)
		if r.Convention != tt.want || slices.ContainsFunc(tt.alike, func(s string) bool { return !slices.Contains(named, s) }) ||
			slices.ContainsFunc(tt.not, func(s string) bool { return slices.Contains(named, s) }) {
			t.Errorf("%s: %s, alike %v; want %s, with %v and without %v", tt.of, r.Convention, r.Alike, tt.want, tt.alike, tt.not)
		}
	}
}

// The head that an adapter of a classifier brings along is known, and is no part of another model.
func TestAdapterOfClassifier(t *testing.T) {
	for _, head := range []string{"score", "classifier", "qa_outputs"} {
		var list []convention.Named
		for _, module := range []string{"q_proj", "v_proj"} {
			for layer := range 2 {
				name := fmt.Sprintf("base_model.model.model.layers.%d.self_attn.%s.lora_", layer, module)
				list = append(list, convention.Named{Name: name + "A.weight", Shape: []uint64{2, 8}}, convention.Named{Name: name + "B.weight", Shape: []uint64{8, 2}})
			}
		}
		list = append(list, convention.Named{Name: "base_model.model." + head + ".weight", Shape: []uint64{3, 8}})
		r := Tensors(slices.Values(list), nil)
		if r.Coverage < 1 || len(r.Extra) > 0 || len(r.Parts) > 0 || r.Convention != "llama-hf" {
			t.Errorf("%s: %s, %.2f known, extra %q, parts %v", head, r.Convention, r.Coverage, r.Extra, r.Parts)
		}
	}
}

// What was trained whole beside low-rank changes does not make a model of an adapter; the weights
// that it changes do.
func TestAdapterWithWholeModules(t *testing.T) {
	names := []string{
		"base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight",
		"base_model.model.model.layers.0.input_layernorm.weight", "base_model.model.model.layers.0.self_attn.q_proj.bias",
		"base_model.model.model.norm.weight", "base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight",
	}
	for weight, want := range map[string]bool{
		"base_model.model.model.layers.0.self_attn.k_proj.bias":              true,
		"base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight": false,
	} {
		var list []convention.Named
		for _, name := range append(slices.Clone(names), weight) {
			list = append(list, convention.Named{Name: name})
		}
		if r := Tensors(slices.Values(list), nil); r.Adapter != want {
			t.Errorf("with %s: an adapter: %t, want %t", weight, r.Adapter, want)
		}
	}
}
