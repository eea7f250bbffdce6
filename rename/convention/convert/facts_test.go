package convert

import (
	"math"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// One is added to every normalisation of these families, those of single heads
// too: convert_hf_to_gguf.py Gemma3Model.norm_shift, Step35Model, Qwen3NextModel.
func TestNormOffsets(t *testing.T) {
	for _, tt := range []struct{ from, to string }{
		{"gemma3-hf", "gemma3-gguf"}, {"gemma3-hf", "gemma-embedding-gguf"}, {"step3p5-hf", "step35-gguf"}, {"qwen3_next-hf", "qwen3next-gguf"},
	} {
		d, err := Derive(mustLookup(t, tt.from), mustLookup(t, tt.to))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, r := range d.Rules {
			if len(r.To) != 1 || !isNorm(roleOf(mustLookup(t, tt.to), r.To[0])) || r.To[0] == "blk.{layer}.ssm_norm.weight" {
				continue
			}
			found++
			if len(r.ops) != 1 || math.Abs(r.ops[0].Value-1) > 0 {
				t.Errorf("%s to %s: %v by %v, want 1 to be added", tt.from, tt.to, r.To, r.ops)
			}
		}
		if found < 5 {
			t.Errorf("%s to %s: %d normalisations", tt.from, tt.to, found)
		}
	}
}

func roleOf(c *convention.Convention, pattern string) string {
	for _, t := range c.Tensors() {
		if t.Pattern.String() == pattern {
			return t.Module
		}
	}
	return "."
}

// LFM2's short convolution loses its axis of one (LFM2Model.modify_tensors:
// squeeze(1)), and gets it back.
func TestShortConvolution(t *testing.T) {
	const hf, gguf = "model.layers.0.conv.conv.weight", "blk.0.shortconv.conv.weight"
	next := 0.0
	source := map[string]tensorValue{hf: fillTensor(&next, 64, 1, 3)}
	there := convertValues(t, "lfm2-hf", "lfm2-gguf", source, nil)
	if v := there[gguf]; len(v.shape) != 2 || v.shape[0] != 64 || v.shape[1] != 3 {
		t.Errorf("the shape is %v", v.shape)
	}
	back := convertValues(t, "lfm2-gguf", "lfm2-hf", there, nil)
	if v := back[hf]; len(v.shape) != 3 || v.shape[1] != 1 {
		t.Errorf("the shape comes back as %v", v.shape)
	}
}
