package pytorch

import (
	"bytes"
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
	states := func() *tt.Tensor { return tt.NewTensor("uint8", 5, 16) }
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
		{"states of generators under other names", tt.D("model", weights(""), "rng", tt.D("torch", states(), "cuda", tt.List{states(), states()}), "cuda_rng_state_all", tt.List{states()}, "generator_state", states(), "dataloader", tt.D("sampler", states())), "model", "0.weight 0.bias", "rng cuda_rng_state_all generator_state dataloader", ""},
		{"a module with such a name", tt.D("model", tt.D("generator", weights("g.")), "rng_encoder", weights("r.")), "", "model.generator.g.0.weight model.generator.g.0.bias rng_encoder.r.0.weight rng_encoder.r.0.bias", "", "model rng_encoder"},
		{"bytes that are weights", tt.D("a", weights(""), "absmax", states()), "", "a.0.weight a.0.bias absmax", "", ""},
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

// TestScript reads the attributes of a module of TorchScript, and the constants of its code: both
// have a storage 0.
func TestScript(t *testing.T) {
	module := func(state tt.Dict) tt.Object { return tt.Object{Class: tt.Named("__torch__.M"), State: state} }
	inner := tt.NewTensor("float32", 1, 2)
	typed := func(name string, v any, args ...any) tt.Call {
		return tt.Call{Func: tt.Named("torch.jit._pickle." + name), Args: append(tt.Tuple{v}, args...)}
	}
	constants := tt.Tuple{tt.NewTensor("float32", 5, 2), tt.NewTensor("float32", 6, 1)}
	root := module(tt.D("training", false, "net", module(tt.D("weight", inner, "list", typed("build_tensorlist", tt.List{tt.NewTensor("float32", 2, 1)}),
		"tags", typed("restore_type_tag", tt.D("a", tt.NewTensor("float32", 3, 1)), "Dict[str, Tensor]")))))
	f := read(t, tt.File{Root: root, Protocol: 2}.Script(constants).Bytes())
	want := `CONSTANTS.c0 float32 [2] [1] 050c131a21282f36
CONSTANTS.c1 float32 [1] [1] 060d141b
net.weight float32 [2] [1] 01080f161d242b32
net.list.0 float32 [1] [1] 02091017
net.tags.a float32 [1] [1] 030a1118
`
	if got := show(t, f); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if !f.Script() || f.Constants() != 2 {
		t.Errorf("script %v, %d constants", f.Script(), f.Constants())
	}
	if faults := f.Validate(); len(faults) > 0 {
		t.Errorf("%v", faults)
	}
	// All weights of a frozen module are constants.
	f = read(t, tt.File{Root: module(tt.D("training", false)), Protocol: 2}.Script(constants).Bytes())
	if f.Len() != 2 || f.Path() != "" {
		t.Errorf("%d tensors of %q", f.Len(), f.Path())
	}
	// What is no tuple, and broken.
	z := tt.File{Root: root, Protocol: 2}.Script(constants)
	z.Find("constants.pkl").Data = []byte("\x80\x02}.")
	if f := read(t, z.Bytes()); f.Len() != 3 {
		t.Errorf("%d tensors without constants", f.Len())
	}
	z.Find("constants.pkl").Data = []byte("\x80\x02}")
	b := z.Bytes()
	if _, err := NewFile(bytes.NewReader(b), int64(len(b))); err == nil || !strings.Contains(err.Error(), "constants.pkl: the pickle ends without STOP") {
		t.Errorf("broken constants: %v", err)
	}
}

// TestWholeModule has the names of state_dict(), although all tensors are in one module of it.
func TestWholeModule(t *testing.T) {
	module := func(parameters, modules tt.Ordered) tt.Object {
		return tt.Object{Class: tt.Named("my.Net"), State: tt.D("training", true, "_parameters", parameters, "_buffers", tt.Ordered{}, "_modules", modules)}
	}
	inner := module(tt.Ordered{{Key: "weight", Value: tt.NewTensor("float32", 1, 2)}}, tt.Ordered{})
	for _, root := range []any{module(tt.Ordered{}, tt.Ordered{{Key: "net", Value: inner}}), tt.D("model", module(tt.Ordered{}, tt.Ordered{{Key: "net", Value: inner}}), "epoch", 3)} {
		f := read(t, tt.File{Root: root, Protocol: 2}.Zip().Bytes())
		if f.Len() != 1 || f.At(0).Name != "net.weight" {
			t.Errorf("%s", show(t, f))
		}
	}
}

// TestSparseLayouts lists no part of a sparse tensor as a weight.
func TestSparseLayouts(t *testing.T) {
	layout := func(name string) tt.Call {
		return tt.Call{Func: tt.Named("torch.serialization._get_layout"), Args: tt.Tuple{name}}
	}
	part := func() *tt.Tensor { return tt.NewTensor("int64", 1, 2) }
	csr := tt.Call{Func: tt.Named("torch._utils._rebuild_sparse_csr_tensor"), Args: tt.Tuple{layout("torch.sparse_csr"), tt.Tuple{part(), part(), part(), tt.Tuple{2, 2}}}}
	bsr := tt.Call{Func: tt.Named("torch._utils._rebuild_sparse_tensor"), Args: tt.Tuple{layout("torch.sparse_bsr"), tt.Tuple{part(), part(), part(), tt.Tuple{2, 2}}}}
	f := read(t, tt.File{Root: tt.D("w", part(), "csr", csr, "bsr", bsr), Protocol: 2}.Zip().Bytes())
	if f.Len() != 1 {
		t.Errorf("%s", show(t, f))
	}
	var names []string
	for _, flt := range f.Unlisted() {
		names = append(names, flt.Tensor)
	}
	if !slices.Equal(names, []string{"csr", "bsr"}) {
		t.Errorf("unlisted: %q", names)
	}
}

// TestRepeated reads what repeats few elements, and refuses what would be read for days.
func TestRepeated(t *testing.T) {
	few := &tt.Storage{DType: "float32", Data: []byte{0, 0, 128, 63}}
	repeated := func(n ...int) *tt.Tensor { return &tt.Tensor{Storage: few, Shape: n, Stride: make([]int, len(n))} }
	huge := repeated(1<<20, 1<<20)
	f := read(t, tt.File{Root: tt.D("few", repeated(3), "huge", huge, "half", repeated(160<<20), "other half", repeated(160<<20), "w", tt.NewTensor("float32", 1, 2)), Protocol: 2}.Zip().Bytes())
	for i, tensor := range f.All() {
		_, err := f.Data(i)
		flt, _ := err.(*Fault)
		if refused := tensor.Name == "huge" || tensor.Name == "other half"; refused != (flt != nil && flt.Code == CodeExpanded) {
			t.Errorf("%s: %v", tensor.Name, err)
		}
	}
}

// TestLongList reads a list that a loss or a generator of random numbers leaves beside the weights.
func TestLongList(t *testing.T) {
	list := make(tt.List, 500_000)
	for i := range list {
		list[i] = i % 200
	}
	f := read(t, tt.File{Root: tt.D("state_dict", tt.D("w", tt.NewTensor("float32", 1, 2)), "history", list), Protocol: 2}.Zip().Bytes())
	if f.Len() != 1 || len(f.Metadata()) != 1 {
		t.Errorf("%d tensors, %d values", f.Len(), len(f.Metadata()))
	}
}
