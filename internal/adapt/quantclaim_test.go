package adapt_test

import (
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/adapt"
)

// Of several groups a module has the one that names it, then the first with a pattern of it, then that
// of its class; where that cannot be told, none.
func TestQuantGroups(t *testing.T) {
	tests := []struct {
		name, groups, module string
		size                 int64 // 0 for no group
	}{
		{"a name", `"a": {"targets": ["re:.*"], "weights": {"group_size": 32}}, "b": {"targets": ["model.x.up"], "weights": {"group_size": 64}}`, "model.x.up", 64},
		{"the first pattern", `"a": {"targets": ["Linear"], "weights": {"group_size": 32}}, "b": {"targets": ["re:.*up$", "re:.*"], "weights": {"group_size": 64}}`, "model.x.up", 64},
		{"a pattern matches from the beginning", `"a": {"targets": ["Linear"], "weights": {"group_size": 32}}, "b": {"targets": ["re:up"], "weights": {"group_size": 64}}`, "model.x.up", 32},
		{"a class", `"a": {"targets": ["Linear"], "weights": {"group_size": 32}}, "b": {"targets": ["re:.*down"], "weights": {"group_size": 64}}`, "model.x.up", 32},
		{"a channel", `"a": {"targets": ["Linear"], "weights": {"strategy": "channel", "group_size": null}}, "b": {"targets": ["re:.*down"], "weights": {"group_size": 64}}`, "model.x.up", -1},
		{"two classes", `"a": {"targets": ["Linear"], "weights": {"group_size": 32}}, "b": {"targets": ["Embedding"], "weights": {"group_size": 64}}`, "model.x.up", 0},
		{"two classes of one kind", `"a": {"targets": ["Linear"], "weights": {"group_size": 32}}, "b": {"targets": ["Embedding"], "weights": {"group_size": 32}}`, "model.x.up", 32},
		{"a pattern of Python alone", `"a": {"targets": ["Linear"], "weights": {"group_size": 32}}, "b": {"targets": ["re:(?=x)"], "weights": {"group_size": 64}}`, "model.x.up", 0},
		{"the only group is for all", `"a": {"targets": ["re:.*down"], "weights": {"group_size": 32}}`, "model.x.up", 32},
		{"activations alone", `"a": {"targets": ["Linear"], "weights": null}, "b": {"targets": ["Linear"], "weights": {"group_size": 64}}`, "model.x.up", 64},
		{"nothing", `"a": 5, "b": {"targets": 7, "weights": {}}, "c": {"weights": {"group_size": "x"}}`, "model.x.up", 0},
	}
	for _, tt := range tests {
		doc, err := checkpoint.ParseConfig("config.json", []byte(`{"quantization_config": {"config_groups": {`+tt.groups+`}}}`))
		if err != nil {
			t.Fatal(err)
		}
		g, ok := adapt.ReadQuantClaim(doc, nil).Groups().Of(tt.module)
		if ok != (tt.size != 0) || g.Size != tt.size {
			t.Errorf("%s: %+v, %v", tt.name, g, ok)
		}
	}
	if g, ok := adapt.ReadQuantClaim(nil, nil).Groups().Of("x"); ok {
		t.Errorf("no configuration gives %+v", g)
	}
}
