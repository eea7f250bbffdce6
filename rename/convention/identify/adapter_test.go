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
