package identify

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// The kinds of a checkpoint, as [Result.Kind] and [Part.Kind] have them.
const (
	KindAdapter       = "adapter"
	KindAllInOne      = "all in one" // what makes an image, with its autoencoder or text encoders
	KindMultimodal    = "multimodal model"
	KindLanguageModel = "language model"
	KindTransformer   = "transformer" // of a diffusion model, alone
	KindUNet          = "UNet"
	KindVAE           = "VAE"
	KindAutoencoder   = "autoencoder"
	KindControlNet    = "ControlNet"
	KindTextEncoder   = "text encoder"
	KindVisionEncoder = "vision encoder"
	KindTwoTowers     = "text and vision encoder"
)

// kindOf says what tensors of a convention are by themselves, "" when it does not tell.
func kindOf(c *convention.Convention) string {
	if c == nil {
		return ""
	}
	is := func(word string) bool {
		return strings.Contains(strings.ToLower(c.Name), word) ||
			slices.ContainsFunc(c.Families, func(f string) bool { return strings.Contains(strings.ToLower(f), word) })
	}
	switch c.Kind {
	case convention.Denoiser:
		// Stable Diffusion 1, 2 and XL are UNets, 3 is a transformer.
		if is("unet") || slices.ContainsFunc(c.Tensors(), func(t convention.Tensor) bool { return strings.HasPrefix(t.Role, "down.") }) {
			return KindUNet
		}
		return KindTransformer
	case "autoencoder":
		if is("vae") || is("autoencoderkl") {
			return KindVAE
		}
		return KindAutoencoder
	case "control":
		return KindControlNet
	}
	if c.Language {
		return KindLanguageModel
	}
	has := func(role string) bool {
		return slices.ContainsFunc(c.Tensors(), func(t convention.Tensor) bool { return t.Role == role || strings.HasSuffix(t.Role, "."+role) })
	}
	text, vision := has("embed.tokens.weight"), has("embed.patch.weight")
	switch {
	case text && vision:
		return KindTwoTowers
	case text:
		return KindTextEncoder
	case vision:
		return KindVisionEncoder
	}
	return ""
}

// what says what a checkpoint is: a convention and what is found beside it.
func (r *Result) what(main *convention.Convention) string {
	kind := kindOf(main)
	switch {
	case r.Adapter:
		return KindAdapter
	case main.Kind == convention.Denoiser && slices.ContainsFunc(r.Parts, func(p Part) bool { return p.Kind != "" && p.Kind != kind }):
		return KindAllInOne
	case main.Language && len(r.Parts) > 0:
		return KindMultimodal
	}
	return kind
}
