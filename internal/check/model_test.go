package check

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// Rules read the numbers of a configuration with their places, and read the same
// numbers as conversions do.
func TestNumbersAgree(t *testing.T) {
	docs := map[string]string{
		"flat":   `{"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "num_hidden_layers": 3, "vocab_size": 9, "num_experts": 64, "kv_channels": 128}`,
		"gpt2":   `{"n_head": 12, "n_embd": 768, "n_layer": 12, "n_inner": 3072}`,
		"nested": `{"hidden_size": 5, "num_attention_heads": 7, "text_config": {"hidden_size": 2560, "num_attention_heads": 8}}`,
		"omni":   `{"thinker_config": {"text_config": {"d_model": 3584, "num_heads": 28}}}`,
	}
	for name, text := range docs {
		numbersAgree(t, name, []byte(text))
	}
	t.Run("published", func(t *testing.T) {
		for _, path := range testdata.Glob(t, "names/*.config.json") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			numbersAgree(t, filepath.Base(path), b)
		}
	})
}

func numbersAgree(t *testing.T, name string, text []byte) {
	t.Helper()
	doc, err := checkpoint.ParseConfig(name, text)
	if err != nil {
		t.Fatal(err)
	}
	m := adapt.ModelWith(&checkpoint.Checkpoint{}, doc)
	for _, keys := range [][]string{depthKeys, hiddenKeys, vocabularyKeys, headKeys, headSizeKeys, expertKeys, intermediateKeys[1:]} {
		got, _, _, ok := number(doc, keys...)
		want, known := m.Number(keys[0])
		if got != want || ok != known {
			t.Errorf("%s: %s is %d %v to rules, and %d %v to conversions", name, keys[0], got, ok, want, known)
		}
	}
}
