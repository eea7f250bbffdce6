package pytorch

import (
	"slices"
	"strings"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

func number() *tt.Tensor { return tt.NewTensor("float32", 3) }

// TestModel selects the subtree that is the model.
func TestModel(t *testing.T) {
	weights := func(prefix string) tt.Dict {
		return tt.D(prefix+"0.weight", tt.NewTensor("float32", 1, 2), prefix+"0.bias", tt.NewTensor("float32", 2, 2))
	}
	large := tt.NewTensor("float32", 4, 3)
	tests := []struct {
		name   string
		root   any
		path   string
		names  string
		beside string // of parts
		models string
	}{
		{"a number beside a state dict", tt.D("epoch", number(), "state_dict", tt.D("w", large), "best_acc1", number()), "state_dict", "w", "epoch best_acc1", ""},
		{"a number beside a model with dotted names", tt.D("net_of_mine", weights(""), "best", tt.NewTensor("float32", 3, 1)), "net_of_mine", "0.weight 0.bias", "best", ""},
		{"a tensor beside a state dict", tt.D("state_dict", weights(""), "mean", large), "state_dict", "0.weight 0.bias", "mean", ""},
		{"a tensor beside a module of a tree", tt.D("net", weights(""), "scale", large), "", "net.0.weight net.0.bias scale", "", ""},
		{"a number in a tree of parameters", tt.D("visual", tt.D("w", large), "logit_scale", number()), "", "visual.w logit_scale", "", ""},
		{"what is no state dict beside one", tt.D("statistics", tt.D("mean", large), "model_state_dict", weights("")), "model_state_dict", "0.weight 0.bias", "statistics", ""},
		{"the state of a generator of random numbers", tt.D("model", weights(""), "rng_state", large), "model", "0.weight 0.bias", "rng_state", ""},
		{"a model and its average", tt.D("net", weights(""), "net_ema", weights(""), "optimizer", tt.D("state", tt.D(0, large))), "", "net.0.weight net.0.bias net_ema.0.weight net_ema.0.bias", "optimizer", "net net_ema alike"},
		{"two models of a checkpoint", tt.D("checkpoint", tt.D("generator", weights("g."), "discriminator", weights("d."))), "checkpoint", "generator.g.0.weight generator.g.0.bias discriminator.d.0.weight discriminator.d.0.bias", "", "checkpoint.generator checkpoint.discriminator"},
		{"modules of a tree", tt.D("enc", tt.D("w", large), "dec", tt.D("w", large)), "", "enc.w dec.w", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := read(t, tt.File{Root: test.root, Protocol: 2}.Zip().Bytes())
			var names, beside []string
			for _, tensor := range f.All() {
				names = append(names, tensor.Name)
			}
			for _, s := range f.Subtrees() {
				if s.Listed {
					continue
				}
				beside = append(beside, s.Path)
				sub, ok := f.Subtree(s.Path)
				if !ok || sub.Len() != s.Tensors {
					t.Errorf("subtree %s of %d tensors: %v", s.Path, s.Tensors, ok)
				}
				for _, tensor := range sub.All() {
					if tensor.Name == "" {
						t.Errorf("subtree %s: a tensor has no name", s.Path)
					}
				}
			}
			models, alike := f.Models()
			if alike {
				models = append(models, "alike")
			}
			for _, got := range []struct {
				what string
				list []string
				want string
			}{{"path", []string{f.Path()}, test.path}, {"names", names, test.names}, {"beside", beside, test.beside}, {"models", models, test.models}} {
				if !slices.Equal(got.list, strings.Fields(got.want)) && strings.Join(got.list, " ") != got.want {
					t.Errorf("%s: %q, want %q", got.what, got.list, got.want)
				}
			}
		})
	}
}
