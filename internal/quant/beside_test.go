package quant

import (
	"slices"
	"testing"
)

func TestScales(t *testing.T) {
	for name, want := range map[string]bool{
		"l.k_proj.weight_scale": true, "l.k_proj.weight.scale": true, "l.k_proj.weight_quantizer._amax": true,
		"l.k_proj_scale": true, "l.k_proj.Weight_Scale_Inv": true,
		"l.q_proj.weight_scale": false, "l.k_proj.bias": false, "l.k_scale": false, "": false, "scale": false, ".scale": false,
	} {
		if got := Scales(slices.Values([]string{name, "l.norm.weight"}))("l.k_proj.weight"); got != map[bool]string{true: name}[want] {
			t.Errorf("%q scales it: %q", name, got)
		}
	}
	if got := Scales(slices.Values([]string{"a.scale"}))(""); got != "" {
		t.Errorf("a weight without a name has the scale %q", got)
	}
}
