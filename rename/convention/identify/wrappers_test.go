package identify

import (
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

func TestUnwrap(t *testing.T) {
	for _, tt := range []struct {
		name, want, wrappers string
		leading              bool
	}{
		{"module.model.w", "model.w", "module.", true},
		{"module.module.model.w", "model.w", "module. module.", true},
		{"a._orig_mod.b._fsdp_wrapped_module.w", "a.b.w", "_orig_mod. _fsdp_wrapped_module.", false},
		{"_orig_mod.w", "w", "_orig_mod.", false},
		{"a.module.w", "a.module.w", "", true},
		{"a._orig_module.w", "a._orig_module.w", "", true},
		{"a._fp32_params.A_log", "a.A_log", "_fp32_params.", false},
		{"module._orig_mod.base_model.model.a.w", "a.w", "module. _orig_mod. base_model.model.", false},
		{"lm.base_model.model.a.base_layer.w", "lm.a.w", "base_model.model. base_layer.", false},
		{"lm.base_model.head.w", "lm.base_model.head.w", "", true},
		{"score.modules_to_save.my_task.weight", "score.weight", "modules_to_save.my_task.", false},
		{"a._orig_mod", "a._orig_mod", "", true},                            // nothing is behind it
		{"a.modules_to_save.weight", "a.weight", "modules_to_save.", false}, // the adapter's name was taken out
		{"a.modules_to_save", "a.modules_to_save", "", true},
	} {
		got, wrappers, leading := loadCompanions().unwrap(tt.name)
		if got != tt.want || strings.Join(wrappers, " ") != tt.wrappers || leading != tt.leading {
			t.Errorf("unwrap(%q) = %q, %q, %t; want %q, %q, %t", tt.name, got, wrappers, leading, tt.want, tt.wrappers, tt.leading)
		}
	}
}

func TestSingle(t *testing.T) {
	for _, tt := range []struct{ name, want, twice string }{
		{"model.model.layers.0.w", "model.layers.0.w", "model."},
		{"model.language_model.language_model.language_model.layers.0.w", "model.language_model.layers.0.w", "language_model."},
		{"model.language_model.model.language_model.layers.0.w", "model.language_model.layers.0.w", "model.language_model."},
		{"thinker.model.model.layers.0.w", "thinker.model.layers.0.w", "model."},
		{"model.visual.visual.blocks.0.w", "model.visual.blocks.0.w", "visual."},
		{"model.modelx.w", "model.modelx.w", ""},
		{"a.a.w", "a.a.w", ""},
		{"language_model.model.layers.0.w", "language_model.model.layers.0.w", ""},
		{"vision_tower.vision_tower.vision_model.w", "vision_tower.vision_tower.vision_model.w", ""}, // LLaVA's own
		{"model.model", "model.model", ""},
	} {
		if got, twice := builtin().single(tt.name); got != tt.want || twice != tt.twice {
			t.Errorf("single(%q) = %q, %q; want %q, %q", tt.name, got, twice, tt.want, tt.twice)
		}
	}
}

// A segment that nobody knows does not make a known model an unknown one, and
// a module of a new model is no wrapper.
func TestIdentifyLeftover(t *testing.T) {
	model := &convention.Model{Type: "qwen3"}
	for _, tt := range []struct {
		what, old, with, more string
		model                 *convention.Model
		want                  string
	}{
		{"in one template", "self_attn.q_norm", "self_attn._keep.q_norm", "", nil, "_keep."},
		{"in half of them", "self_attn.", "self_attn.impl.", "", model, "impl."},
		{"in half of them, of a model that is not said", "self_attn.", "self_attn.impl.", "", nil, ""},
		{"and another module has it", "self_attn.q_norm", "self_attn.impl.q_norm", "model.layers.{}.impl.gate.weight [0-3]", model, ""},
		{"and the layers have more", "self_attn.q_norm", "self_attn.impl.q_norm", "model.layers.{}.self_attn.sinks [0-3]", model, ""},
	} {
		var list []convention.Named
		for _, line := range []string{
			"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
			"model.layers.{}.input_layernorm.weight [0-3]", "model.layers.{}.post_attention_layernorm.weight [0-3]",
			"model.layers.{}.self_attn.q_proj.weight [0-3]", "model.layers.{}.self_attn.k_proj.weight [0-3]",
			"model.layers.{}.self_attn.v_proj.weight [0-3]", "model.layers.{}.self_attn.o_proj.weight [0-3]",
			"model.layers.{}.self_attn.q_norm.weight [0-3]", "model.layers.{}.self_attn.k_norm.weight [0-3]",
			"model.layers.{}.mlp.gate_proj.weight [0-3]", "model.layers.{}.mlp.up_proj.weight [0-3]", "model.layers.{}.mlp.down_proj.weight [0-3]",
		} {
			list = append(list, expandLine(t, strings.Replace(line, tt.old, tt.with, 1))...)
		}
		if tt.more != "" {
			list = append(list, expandLine(t, tt.more)...)
		}
		r := Read(slices.Values(list), tt.model)
		found := strings.Join(r.Wrappers, " ")
		if found != tt.want || (r.Convention == "qwen3-hf" && len(r.Extra) == 0) != (tt.want != "") {
			t.Errorf("%s: %s %v, wrappers %q, want %q; %v", tt.what, r.Convention, r.Extra, found, tt.want, r.Evidence)
		}
		if tt.want == "" {
			continue
		}
		i := slices.IndexFunc(list, func(n convention.Named) bool { return strings.Contains(n.Name, "q_norm") })
		if w, ok := r.Unwrap(list[i].Name); !ok || w.Name != strings.Replace(list[i].Name, tt.want, "", 1) || w.Leading {
			t.Errorf("%s: Unwrap gives %+v, %t", tt.what, w, ok)
		}
	}
}

// A segment that repeats the one before it is no module, where the rest is a whole model that is
// known.
func TestIdentifyStutter(t *testing.T) {
	whole := []string{
		"model.embed_tokens.weight", "model.norm.weight", "lm_head.weight",
		"model.layers.{}.input_layernorm.weight [0-3]", "model.layers.{}.post_attention_layernorm.weight [0-3]",
		"model.layers.{}.self_attn.q_proj.weight [0-3]", "model.layers.{}.self_attn.k_proj.weight [0-3]",
		"model.layers.{}.self_attn.v_proj.weight [0-3]", "model.layers.{}.self_attn.o_proj.weight [0-3]",
		"model.layers.{}.mlp.gate_proj.weight [0-3]", "model.layers.{}.mlp.up_proj.weight [0-3]", "model.layers.{}.mlp.down_proj.weight [0-3]",
	}
	for _, tt := range []struct {
		what, more, lacks string
		repeat            []string // old, new
		want, name        string   // what the first name with it is without it
	}{
		{what: "the list of layers", repeat: []string{"layers.", "layers.layers."}, want: "layers.", name: "model.layers.0.input_layernorm.weight"},
		{what: "three times", repeat: []string{"mlp.", "mlp.mlp.mlp."}, want: "mlp.", name: "model.layers.0.mlp.gate_proj.weight"},
		{what: "packed weights, too", repeat: []string{"mlp.", "mlp.mlp.", "gate_proj.weight", "gate_proj.qweight"}, want: "mlp.", name: "model.layers.0.mlp.gate_proj.qweight"},
		{what: "a model that lacks something", repeat: []string{"mlp.", "mlp.mlp."}, lacks: "model.norm.weight"},
		{what: "a module that has another part", repeat: []string{"mlp.", "mlp.mlp."}, more: "model.layers.{}.mlp.scale.weight [0-3]"},
		{what: "a module that no model has", more: "model.layers.{}.pool.pool.weight [0-3]"},
	} {
		var list []convention.Named
		for _, line := range append(slices.Clone(whole), tt.more) {
			if line != "" && line != tt.lacks {
				list = append(list, expandLine(t, strings.NewReplacer(tt.repeat...).Replace(line))...)
			}
		}
		r := Read(slices.Values(list), nil)
		if found := strings.Join(r.Wrappers, " "); found != tt.want {
			t.Errorf("%s: wrappers %q, want %q; %v", tt.what, found, tt.want, r.Evidence)
		}
		if tt.want == "" {
			continue
		}
		i := slices.IndexFunc(list, func(n convention.Named) bool { return strings.Contains(n.Name, tt.want+tt.want) })
		if w, ok := r.Unwrap(list[i].Name); !ok || w.Name != tt.name || w.Repeated != tt.want || w.Leading || r.Coverage < 1 {
			t.Errorf("%s: Unwrap gives %+v, %t; %v", tt.what, w, ok, r.Evidence)
		}
		at, err := Locate(mustLookup(t, "llama-hf"), list)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(at.Places, func(p Place) bool { return p.Tensor == nil }) || strings.Join(at.Wrappers, " ") != tt.want {
			t.Errorf("%s: tensors without a place in llama-hf, wrappers %q", tt.what, at.Wrappers)
		}
	}
}
