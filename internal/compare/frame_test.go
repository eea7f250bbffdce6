package compare

import (
	"regexp"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// Names of Gemma 3 as transformers has them: models/gemma3/modeling_gemma3.py.
const framedModel = `tensor language_model.model.embed_tokens.weight F32 [8,4] values=1,2,3,4
tensor language_model.model.norm.weight F32 [4] values=5
tensor language_model.model.layers.{0..1}.self_attn.q_proj.weight F32 [8,4] values=6,7
tensor language_model.model.layers.{0..1}.self_attn.k_proj.weight F32 [4,4] values=8,9
tensor language_model.model.layers.{0..1}.self_attn.v_proj.weight F32 [4,4] values=10,11
tensor language_model.model.layers.{0..1}.self_attn.o_proj.weight F32 [4,8] values=12,13
tensor language_model.model.layers.{0..1}.self_attn.q_norm.weight F32 [4] values=14
tensor language_model.model.layers.{0..1}.self_attn.k_norm.weight F32 [4] values=15
tensor language_model.model.layers.{0..1}.mlp.gate_proj.weight F32 [12,4] values=16
tensor language_model.model.layers.{0..1}.mlp.up_proj.weight F32 [12,4] values=17
tensor language_model.model.layers.{0..1}.mlp.down_proj.weight F32 [4,12] values=18
tensor language_model.model.layers.{0..1}.input_layernorm.weight F32 [4] values=19
tensor language_model.model.layers.{0..1}.post_attention_layernorm.weight F32 [4] values=20
tensor language_model.model.layers.{0..1}.pre_feedforward_layernorm.weight F32 [4] values=21
tensor language_model.model.layers.{0..1}.post_feedforward_layernorm.weight F32 [4] values=22
tensor vision_tower.vision_model.embeddings.patch_embedding.weight F32 [4,3,2,2]
tensor vision_tower.vision_model.embeddings.patch_embedding.bias F32 [4]
tensor vision_tower.vision_model.embeddings.position_embedding.weight F32 [9,4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.layer_norm1.weight F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.layer_norm1.bias F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.layer_norm2.weight F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.layer_norm2.bias F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.mlp.fc1.weight F32 [8,4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.mlp.fc1.bias F32 [8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.mlp.fc2.weight F32 [4,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.mlp.fc2.bias F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.q_proj.weight F32 [4,4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.q_proj.bias F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.k_proj.weight F32 [4,4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.k_proj.bias F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.v_proj.weight F32 [4,4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.v_proj.bias F32 [4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.out_proj.weight F32 [4,4]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.out_proj.bias F32 [4]
tensor vision_tower.vision_model.post_layernorm.weight F32 [4]
tensor vision_tower.vision_model.post_layernorm.bias F32 [4]
tensor multi_modal_projector.mm_input_projection_weight F32 [4,4]
tensor multi_modal_projector.mm_soft_emb_norm.weight F32 [4]
`

// The language model alone, as comes of a GGUF file, lacks the prefix of the release and
// its tower, and neither is a difference. A tower that is lost is.
func TestLanguageModelAlone(t *testing.T) {
	tower := regexp.MustCompile(`(?m)^tensor (vision_tower|multi_modal).*\n`)
	alone := strings.ReplaceAll(tower.ReplaceAllString(framedModel, ""), "language_model.model.", "model.")
	for name, tt := range map[string]struct {
		a, b   string
		want   Verdict
		prefix bool
	}{
		"alone":             {framedModel, alone, SameValues, true},
		"a number changed":  {framedModel, strings.Replace(alone, "values=5\n", "values=6\n", 1), Altered, true},
		"one of the tower":  {framedModel, alone + "tensor vision_tower.vision_model.post_layernorm.weight F32 [4]\n", Altered, false},
		"the tower is lost": {framedModel, tower.ReplaceAllString(framedModel, ""), Altered, false},
		"a wrapper":         {strings.ReplaceAll(alone, "tensor ", "tensor _orig_mod."), alone, Altered, false},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := open(t, fixture.File(t, "a.safetensors", tt.a)), open(t, fixture.File(t, "b.safetensors", tt.b))
			for range 2 {
				r, err := Compare(t.Context(), a, b, Options{})
				if err != nil {
					t.Fatal(err)
				}
				if said := strings.Contains(strings.Join(r.Notes, "\n"), "lack the prefix language_model."); r.Verdict != tt.want || said != tt.prefix {
					t.Errorf("%q, want %q; %q", r.Verdict, tt.want, r.Notes)
				}
				a, b = b, a
			}
		})
	}
}
