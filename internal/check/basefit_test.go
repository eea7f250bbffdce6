package check

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// releaseOf writes a file of tensors and opens it.
func releaseOf(t *testing.T, text string) *checkpoint.Release {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := fixture.Write(path, text); err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// A LoRA of each denoiser's attention fits that model, whatever others have the same names: the base decides of
// which it is.
func TestAdapterOfItsBase(t *testing.T) {
	tried := 0
	for _, c := range convention.All() {
		if c.Kind != convention.Denoiser {
			continue
		}
		var base, lora strings.Builder
		modules := 0
		for _, tensor := range c.Tensors() {
			for layer := range 2 {
				index := make([]int, len(tensor.Pattern.Holes()))
				for i := range index {
					index[i] = layer
				}
				name, ok := tensor.Pattern.Format(index)
				if !ok || layer > 0 && len(index) == 0 {
					continue
				}
				fmt.Fprintf(&base, "tensor %s F32 [8,8]\n", name)
				module, isWeight := strings.CutSuffix(name, ".weight")
				if isWeight && strings.Contains(module, "attn") && !strings.Contains(module, "norm") {
					modules++
					fmt.Fprintf(&lora, "tensor diffusion_model.%s.lora_A.weight F32 [2,8]\ntensor diffusion_model.%s.lora_B.weight F32 [8,2]\n", module, module)
				}
			}
		}
		if modules == 0 {
			continue
		}
		report, err := Run(t.Context(), releaseOf(t, lora.String()), &Options{Select: []string{"WT328"}, Base: releaseOf(t, base.String())})
		if err != nil {
			t.Fatal(err)
		}
		fits := report.Fits()
		if len(fits) != 1 || fits[0].Targets != modules || fits[0].Modules != modules {
			t.Errorf("%s: %+v, want %d modules", c.Name, fits, modules)
		}
		tried++
	}
	if tried < 20 {
		t.Errorf("%d models", tried)
	}
}

// An adapter of both text encoders of an image model fits the file that has everything: the encoders have the same names
// and other widths, and one of them has query, key and value in one matrix.
func TestAdapterOfTextEncoders(t *testing.T) {
	model := func(b *strings.Builder, prefix, name string, width int) {
		c, ok := convention.Lookup(name)
		if !ok {
			t.Fatal(name)
		}
		for _, tensor := range c.Tensors() {
			for layer := range 2 {
				index := make([]int, len(tensor.Pattern.Holes()))
				for i := range index {
					index[i] = layer
				}
				if name, ok := tensor.Pattern.Format(index); ok && (layer == 0 || len(index) > 0) {
					rows := width
					if strings.HasSuffix(name, "in_proj_weight") {
						rows *= 3
					}
					fmt.Fprintf(b, "tensor %s%s F32 [%d,%d]\n", prefix, name, rows, width)
				}
			}
		}
	}
	var base, lora strings.Builder
	model(&base, "", "sd-single-file", 8)
	model(&base, "conditioner.embedders.0.transformer.", "clip-text-hf", 8)
	model(&base, "conditioner.embedders.1.model.", "open_clip-text-tower", 16)
	for encoder, width := range []int{8, 16} {
		for layer := range 2 {
			for _, module := range []string{"self_attn_q_proj", "mlp_fc1"} {
				fmt.Fprintf(&lora, "tensor lora_te%d_text_model_encoder_layers_%d_%s.lora_down.weight F32 [2,%d]\ntensor lora_te%[1]d_text_model_encoder_layers_%[2]d_%[3]s.lora_up.weight F32 [%[4]d,2]\n", encoder+1, layer, module, width)
			}
		}
	}
	report, err := Run(t.Context(), releaseOf(t, lora.String()), &Options{Select: []string{"WT328", "WT329"}, Base: releaseOf(t, base.String())})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		t.Error(f.Tensor, f.Message)
	}
	if fits := report.Fits(); len(fits) != 1 || fits[0].Targets != 8 {
		t.Errorf("%+v", fits)
	}
}
