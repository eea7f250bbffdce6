package pytorch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// A grower makes random graphs of what Python can put a tensor into, and counts the tensors.
type grower struct {
	random *rand.Rand
	seed   int
	lost   int // those that Python drops, or that have no path
}

func (g *grower) tensor() *tt.Tensor {
	g.seed++
	return tt.NewTensor("int16", g.seed, 1+g.random.IntN(3))
}

// args are those of _rebuild_tensor_v2 with a storage of their own.
func (g *grower) args(hooks any) tt.Tuple {
	t := g.tensor()
	return tt.Tuple{t.Storage, 0, tt.Tuple{t.Shape[0]}, tt.Tuple{1}, false, hooks}
}

func call(name string, args ...any) tt.Call { return tt.Call{Func: tt.Named(name), Args: args} }

// value makes a value with tensors in it, at most depth levels deep.
func (g *grower) value(depth int) any {
	if depth == 0 {
		return g.tensor()
	}
	sub := func() any { return g.value(depth - 1) }
	attrs := func() tt.Dict { return tt.D(fmt.Sprint("a", g.random.IntN(1_000_000)), sub()) }
	switch g.random.IntN(22) {
	case 0:
		return tt.List{sub(), 3, sub()}
	case 1:
		return tt.Tuple{sub(), "text"}
	case 2: // a set, of what can be hashed
		return tt.Set{g.tensor(), g.tensor()}
	case 3:
		return call("builtins.frozenset", tt.List{g.tensor()})
	case 4:
		g.lost++
		return tt.Dict{{Key: g.tensor(), Value: sub()}} // the key
	case 5: // attributes of a dictionary
		g.lost++
		return tt.Call{Func: tt.Named("collections.OrderedDict"), State: tt.D("_metadata", tt.D("x", g.tensor()))}
	case 6:
		return call("torch._utils._rebuild_parameter_with_state", g.tensor(), true, tt.Ordered{}, attrs())
	case 7:
		return call("torch._tensor._rebuild_from_type_v2", tt.Named("torch._utils._rebuild_tensor_v2"), tt.Named("lib.Sub"), g.args(tt.Ordered{}), attrs())
	case 8: // slots alone
		return call("torch._tensor._rebuild_from_type_v2", tt.Named("torch._utils._rebuild_tensor_v2"), tt.Named("lib.Sub"), g.args(tt.Ordered{}), tt.Tuple{nil, attrs()})
	case 9:
		return call("torch._tensor._rebuild_from_type_v2", tt.Named("torch._utils._rebuild_wrapper_subclass"), tt.Named("lib.Wrapped"),
			tt.Tuple{tt.Named("lib.Wrapped"), tt.Named("torch.float32"), tt.Tuple{2}, tt.Tuple{1}, 0, "strided", "cpu", false}, attrs())
	case 10:
		return tt.Object{Class: tt.Named("lib.C"), Args: tt.Tuple{sub()}, Named: attrs()}
	case 11:
		return tt.Built{Value: tt.Object{Class: tt.Named("lib.C"), State: attrs()}, State: attrs()}
	case 12:
		return tt.Built{Value: g.tensor(), State: attrs()}
	case 13:
		return tt.Built{Value: tt.Built{Value: g.tensor(), State: attrs()}, State: tt.Tuple{attrs(), attrs()}}
	case 14:
		return call("lib.function", sub(), tt.List{sub()})
	case 15: // hooks
		g.lost++
		return call("torch._utils._rebuild_tensor_v2", g.args(tt.Dict{{Key: 0, Value: g.tensor()}})...)
	case 16:
		q := g.args(nil)[:4]
		return call("torch._utils._rebuild_qtensor", append(q, tt.Tuple{tt.Named("torch.per_channel_affine"), g.tensor(), g.tensor(), 0}, false, tt.Ordered{})...)
	case 17:
		return call("torch._utils._rebuild_sparse_tensor", "torch.sparse_coo", tt.Tuple{g.tensor(), g.tensor(), tt.Tuple{4, 4}, true})
	case 18:
		return tt.Object{Class: tt.Named("lib.D"), State: tt.Tuple{sub(), sub()}}
	case 19:
		g.lost++
		return tt.Dict{{Key: "k", Value: g.tensor()}, {Key: "k", Value: sub()}} // the first
	}
	return tt.D("w", sub(), "n", 1)
}

// TestNoTensorIsLost holds that each tensor that a pickle makes is listed, or counted as a part of one that is
// not, or counted as lost, whatever Python puts it into.
func TestNoTensorIsLost(t *testing.T) {
	seen := map[string]bool{}
	for i := range 4000 {
		g := &grower{random: rand.New(rand.NewPCG(uint64(i), 7))}
		root := tt.D("x", g.value(4), "y", g.value(1))
		f := read(t, tt.File{Root: root, Protocol: 4}.Zip().Bytes())
		all, ok := f.Subtree("")
		if !ok {
			t.Fatal("no whole tree")
		}
		listed := map[string]bool{}
		for _, tensor := range all.All() {
			if tensor.Storage != nil {
				listed[tensor.Storage.Key] = true
			}
		}
		parts := 0
		for _, flt := range all.Unlisted() {
			var n int
			_, after, _ := strings.Cut(flt.Detail, "its parts are ")
			if _, err := fmt.Sscan(after, &n); err != nil {
				t.Fatal(flt)
			}
			parts += n
		}
		lost, bytes := f.Lost()
		if lost != g.lost || len(listed)+parts+lost != g.seed || lost > 0 && bytes == 0 {
			t.Fatalf("graph %d: %d listed, %d in parts and %d lost of %d, want %d lost:\n%s", i, len(listed), parts, lost, g.seed, g.lost, Repr(f.Root(), 5000))
		}
		if reported := slices.Contains(codes(f.Validate()), CodeLost); reported != (lost > 0) {
			t.Fatalf("%d lost, reported: %v", lost, reported)
		}
		for _, c := range codes(all.Validate()) {
			seen[string(c)] = true
		}
	}
	if !seen["sparse"] || !seen["wrapped"] || !seen["lost_tensor"] {
		t.Error("the graphs have too little", seen)
	}
}

// TestLostPaths says where tensors are that are not listed.
func TestLostPaths(t *testing.T) {
	storage := func(seed int) *tt.Storage { return tt.NewTensor("int8", seed, 2).Storage }
	hooked := func(hooks tt.Dict) any {
		return call("torch._utils._rebuild_tensor_v2", storage(1), 0, tt.Tuple{2}, tt.Tuple{1}, false, hooks)
	}
	lost := tt.NewTensor("int8", 2, 2)
	for name, test := range map[string]struct {
		root any
		want string
	}{
		"a key":               {tt.D("a", tt.D("w", hooked(tt.D())), "b", tt.D("x", tt.Dict{{Key: lost, Value: 1}})), `"b.x.key tensor int8 [2]"`},
		"a key in a tuple":    {tt.D("a", hooked(tt.D()), "b", tt.Dict{{Key: tt.Tuple{1, lost}, Value: 1}}), `"b.key (1, tensor int8 [2]).1"`},
		"a hook":              {tt.D("a", tt.D("w", hooked(tt.Dict{{Key: 7, Value: lost}}))), `"a.w._backward_hooks.7"`},
		"a parameter's hook":  {tt.D("w", call("torch._utils._rebuild_parameter", hooked(tt.D()), true, tt.D("h", lost))), `"w._backward_hooks.h"`},
		"its data's hook":     {tt.D("w", call("torch._utils._rebuild_parameter", hooked(tt.D("h", lost)), true, tt.D())), `"w._backward_hooks.h"`},
		"an attribute":        {tt.D("a", hooked(tt.D()), "d", tt.Call{Func: tt.Named("collections.OrderedDict"), State: tt.D("_metadata", tt.List{1, lost})}), `"d._metadata.1"`},
		"of which nothing is": {tt.D("a", hooked(tt.D()), "d", tt.Raw(aTensor+"0N")), ""},
	} {
		f := read(t, tt.File{Root: test.root, Protocol: 2}.Zip().Bytes())
		var got string
		for _, flt := range f.Validate() {
			if flt.Code == CodeLost {
				got = flt.Detail
			}
		}
		_, paths, _ := strings.Cut(got, "; there are some at ")
		if got == "" || paths != test.want {
			t.Errorf("%s: %q, want %s", name, got, test.want)
		}
	}
}

// TestOnDevice lists what is made of a tensor of the CPU with the dtype that it is given, which is another one
// only in files that torch did not write.
func TestOnDevice(t *testing.T) {
	a, b := tt.NewTensor("float32", 1, 2), tt.NewTensor("float32", 2, 2)
	on := func(of *tt.Tensor, dtype string) any {
		return call("torch._utils._rebuild_device_tensor_from_cpu_tensor", of, tt.Named("torch."+dtype), "xla:0", false)
	}
	f := read(t, tt.File{Root: tt.D("same", on(a, "float32"), "other", on(b, "bfloat16")), Protocol: 2}.Zip().Bytes())
	if f.Len() != 2 || f.At(0).Cast != "" || f.At(1).Cast != "bfloat16" || f.At(1).DType != "float32" {
		t.Errorf("%+v", show(t, f))
	}
	if got := codes(f.Validate()); !slices.Equal(got, []Code{CodeLazy}) {
		t.Errorf("%v", f.Validate())
	}
}
