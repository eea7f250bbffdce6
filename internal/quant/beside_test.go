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
	// The scale of one of two experts is none of the other's.
	scales := Scales(slices.Values([]string{"e.down_proj", "e.down_proj_scale_inv", "e.up_proj_blocks", "e.up_proj_scales", "e.gate_proj"}))
	for name, want := range map[string]string{"e.down_proj": "e.down_proj_scale_inv", "e.gate_proj": "", "e.up_proj_blocks": ""} {
		if got := scales(name); got != want {
			t.Errorf("%q scales %s, want %q", got, name, want)
		}
	}
	if got := Scales(slices.Values([]string{"a.scale"}))(""); got != "" {
		t.Errorf("a weight without a name has the scale %q", got)
	}
}
