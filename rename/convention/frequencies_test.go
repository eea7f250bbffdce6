package convention_test

import (
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// Inverse frequencies follow from the configuration, so that a checkpoint without them, as one that comes
// back from GGUF, is one of its convention.
func TestFrequenciesAreOptional(t *testing.T) {
	found := 0
	for _, c := range convention.All() {
		for _, tensor := range c.Tensors() {
			if !strings.HasSuffix(tensor.Role, "rope_freqs.weight") {
				continue
			}
			if found++; !tensor.Optional {
				t.Errorf("%s: %s is required", c.Name, tensor.Pattern)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d conventions have such a tensor", found)
	}
}
