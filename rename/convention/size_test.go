package convention

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// The shapes of real checkpoints are those of their conventions: one number for each size,
// wherever it is.
func TestAxes(t *testing.T) {
	text, err := os.ReadFile("testdata/want.tsv")
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string]*Convention)
	for line := range strings.Lines(string(text)) {
		for _, field := range strings.Fields(line)[1:] {
			if c, ok := Lookup(field); ok {
				of[strings.Fields(line)[0]] = c
				break
			}
		}
	}
	checked, lists := 0, 0
	for _, l := range fixture.NameLists(t, "testdata/lists") {
		c := of[l.ID]
		packed := slices.ContainsFunc(l.Tensors, func(x fixture.NamedTensor) bool {
			return strings.Contains(x.Name, ".quant_state") || strings.Contains(x.Name, ".qweight")
		})
		if c == nil || packed || c.HasDialect("gguf") && strings.HasSuffix(l.ID, ".reconstructed") { // which has ggml's order
			continue
		}
		sizes := make(map[Size]uint64)
		before := checked
		for pass := range 2 { // first where an axis is one size, then the sums
			for _, x := range l.Tensors {
				tensor, _, ok := c.Match(x.Name)
				if !ok || x.Shape == nil {
					continue
				}
				axes := c.Axes(tensor)
				if axes == nil || len(axes) != len(x.Shape) {
					if axes != nil && pass == 0 {
						t.Errorf("%s (%s): %s has the shape %v, and axes %v", l.ID, c.Name, x.Name, x.Shape, axes)
					}
					continue
				}
				for i, a := range axes {
					if pass == 0 {
						if len(a.Sum) == 1 && !a.PerExpert && sizes[a.Sum[0]] == 0 {
							sizes[a.Sum[0]] = x.Shape[i]
						}
						continue
					}
					known := !slices.ContainsFunc(a.Sizes(), func(s Size) bool { return sizes[s] == 0 })
					if known && a.Length(func(s Size) uint64 { return sizes[s] }) != x.Shape[i] {
						t.Errorf("%s (%s): %s has the shape %v, and axes %v where %v", l.ID, c.Name, x.Name, x.Shape, axes, sizes)
					} else if known {
						checked++
					}
				}
			}
		}
		if checked > before {
			lists++
		}
	}
	t.Logf("%d axes of %d checkpoints", checked, lists)
	if lists < 20 {
		t.Errorf("only %d checkpoints have shapes that are compared", lists)
	}
}

// Normalisations of queries and keys are as long as one head in some models, and in others as all of them
// (transformers: Qwen3Attention, Exaone4Attention, Olmo2Attention, MiniMaxM2Attention).
func TestHeadNorms(t *testing.T) {
	for name, want := range map[string]string{
		"qwen3-hf": "head head", "qwen3_moe-hf": "head head", "qwen3-gguf": "head head", "gemma3-hf": "head head", "exaone4-hf": "head head",
		"olmo2-hf": "query kv", "olmoe-hf": "query kv", "olmo2-gguf": "query kv", "minimax-m2-hf": "query kv", "gemma4-hf": " ",
	} {
		c, ok := Lookup(name)
		if !ok {
			t.Fatalf("no convention %s", name)
		}
		var got []string
		for _, role := range []string{"layer.attn.q_norm.weight", "layer.attn.k_norm.weight"} {
			tensor, ok := c.Role(role)
			if !ok {
				t.Fatalf("%s has no %s", name, role)
			}
			text := ""
			for _, a := range c.Axes(tensor) {
				text += a.String()
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
