package identify

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// A file with all of an image model in it is the model that makes the image, and
// the others are its parts, below the prefixes that ComfyUI and CompVis write:
// ComfyUI: comfy/supported_models_base.py and supported_models.py (vae_key_prefix,
// text_encoder_key_prefix); diffusers: loaders/single_file_utils.py
// CHECKPOINT_KEY_NAMES.
func TestIdentifyAllInOne(t *testing.T) {
	type part struct{ Prefix, Convention string }
	for _, tt := range []struct {
		family string
		parts  []part // the first is what makes the image
	}{
		{"flux", []part{
			{"model.diffusion_model.", "flux-original"},
			{"vae.", "vae-ldm"},
			{"text_encoders.clip_l.transformer.text_model.", "clip-text-hf"},
			{"text_encoders.t5xxl.transformer.", "t5-encoder-hf"},
		}},
		{"stable-diffusion", []part{
			{"model.diffusion_model.", "sd-single-file"},
			{"first_stage_model.", "vae-ldm"},
			{"cond_stage_model.transformer.text_model.", "clip-text-hf"},
		}},
		{"stable-diffusion-xl", []part{
			{"model.diffusion_model.", "sd-single-file"},
			{"first_stage_model.", "vae-ldm"},
			{"conditioner.embedders.0.transformer.text_model.", "clip-text-hf"},
			{"conditioner.embedders.1.model.", "open_clip-text-tower"},
		}},
		{"z_image", []part{{"model.diffusion_model.", "z_image-comfy"}, {"vae.", "vae-ldm"}}},
	} {
		t.Run(tt.family, func(t *testing.T) {
			var names []convention.Named
			for _, p := range tt.parts {
				c, ok := convention.Lookup(p.Convention)
				if !ok {
					t.Fatalf("no convention %s", p.Convention)
				}
				for _, x := range c.Tensors() {
					if name, ok := x.Below.Format(make([]int, len(x.Below.Holes()))); ok && !x.Optional && !x.Absolute {
						names = append(names, convention.Named{Name: p.Prefix + name})
					}
				}
			}
			r := Tensors(slices.Values(names), nil)
			if r.Kind != KindAllInOne {
				t.Errorf("it is %q", r.Kind)
			}
			if r.Convention != tt.parts[0].Convention || !slices.Contains(r.Families, tt.family) || r.Coverage < 1 {
				t.Errorf("convention %q, families %v, coverage %v: %v", r.Convention, r.Families, r.Coverage, r.Evidence)
			}
			got := tt.parts[:1:1]
			for _, p := range r.Parts {
				got = append(got, part{p.Prefix, p.Convention})
			}
			order := func(list []part) {
				slices.SortFunc(list[1:], func(a, b part) int { return strings.Compare(a.Prefix, b.Prefix) })
			}
			want := slices.Clone(tt.parts)
			order(got)
			order(want)
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("parts (-want +got)\n%s", d)
			}
		})
	}
}

// What a part of a model is, by itself.
func TestKinds(t *testing.T) {
	for name, want := range map[string]string{
		"llama-hf": KindLanguageModel, "bert-hf": KindLanguageModel, "llama-gguf": KindLanguageModel,
		"flux-diffusers": KindTransformer, "flux-original": KindTransformer, "unet-diffusers": KindUNet, "sd-single-file": KindUNet,
		"sd3-diffusers": KindTransformer, "sd3-original": KindTransformer, "svd-diffusers": KindUNet,
		"vae-ldm": KindVAE, "wan_vae-original": KindVAE, "clip-text-hf": KindTextEncoder, "t5-encoder-hf": KindTextEncoder,
		"vit-hf": KindVisionEncoder, "siglip-hf": KindTwoTowers, "controlnet-diffusers": KindControlNet,
	} {
		if got := kindOf(mustLookup(t, name)); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	lora := func(module string) []convention.Named {
		return []convention.Named{{Name: module + ".lora_A.weight", Shape: []uint64{4, 64}}, {Name: module + ".lora_B.weight", Shape: []uint64{64, 4}}}
	}
	if r := Tensors(slices.Values(lora("base_model.model.model.layers.0.self_attn.q_proj")), nil); r.Kind != KindAdapter {
		t.Errorf("an adapter is %q", r.Kind)
	}
	if r := Tensors(slices.Values([]convention.Named{{Name: "what.ever"}}), nil); r.Kind != "" {
		t.Errorf("nothing that is known is %q", r.Kind)
	}
}
