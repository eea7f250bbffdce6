package pytorch

import (
	"slices"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestStateAlone tells files of optimisers alone from those that have a model, too.
func TestStateAlone(t *testing.T) {
	state := func() tt.Dict {
		return tt.D("state", tt.Dict{{Key: 0, Value: tt.D("exp_avg", tt.NewTensor("float32", 1, 3))}}, "param_groups", tt.List{})
	}
	model := tt.D("w.weight", tt.NewTensor("float32", 2, 3))
	for _, test := range []struct {
		name string
		root any
		is   bool
		want []string
	}{
		{"one", state(), true, []string{"state.0.exp_avg"}},
		{"several", tt.List{state(), state()}, true, []string{"0.state.0.exp_avg", "1.state.0.exp_avg"}},
		{"under a key", tt.D("optimizer", state(), "step", 3), true, []string{"optimizer.state.0.exp_avg"}},
		{"beside a model", tt.D("optimizer", state(), "model", model), false, []string{"w.weight"}},
		{"a model", model, false, []string{"w.weight"}},
		{"nothing", tt.D("step", 3), false, nil},
	} {
		for container, data := range containers(tt.File{Protocol: 2, Root: test.root}) {
			f := read(t, data)
			var names []string
			for _, tensor := range f.All() {
				names = append(names, tensor.Name)
			}
			if f.IsState() != test.is || !slices.Equal(names, test.want) {
				t.Errorf("%s, %v: %t, %q", test.name, container, f.IsState(), names)
			}
		}
	}
}

// TestTwins lists what each of several pickles of one name imports: which one torch.load reads cannot be told.
func TestTwins(t *testing.T) {
	for _, name := range []string{"archive/data.pkl", "archive/DATA.pkl"} {
		for _, first := range []bool{true, false} {
			z := tt.File{Protocol: 2, Root: tt.D("w", tt.NewTensor("float32", 1, 3))}.Zip()
			evil := &tt.Member{Name: name, Data: []byte("\x80\x02cposix\nsystem\n(X\x01\x00\x00\x00xtR.")}
			at := 1
			if first {
				at = 0
			}
			z.Members = slices.Insert(z.Members, at, evil)
			globals := read(t, z.Bytes()).Globals()
			if !slices.ContainsFunc(globals, func(g *Global) bool { return g.Module == "posix" && g.Calls == 1 }) {
				t.Errorf("%s, first %t: %v", name, first, globals)
			}
		}
	}
}

// TestWrapped tells what is made of other tensors, which are listed instead, from tensors that have others beside them.
func TestWrapped(t *testing.T) {
	part := tt.NewTensor("float32", 1, 2, 4)
	wrapper := tt.Call{Func: tt.Named("torch._tensor._rebuild_from_type_v2"), Args: tt.Tuple{
		tt.Named("torch._utils._rebuild_wrapper_subclass"), tt.Named("torch.distributed.tensor.DTensor"),
		tt.Tuple{tt.Named("torch.distributed.tensor.DTensor"), tt.Named("torch.float32"), tt.Tuple{8, 4}, tt.Tuple{4, 1}, 0, "strided", "cpu", false},
		tt.D("_local_tensor", part),
	}}
	sharded := tt.Call{Func: tt.Named("torch.distributed._shard.sharded_tensor.api.ShardedTensor"), State: tt.D("_local_shards", tt.List{tt.NewTensor("float32", 2, 2)})}
	f := read(t, tt.File{Protocol: 2, Root: tt.D("d", wrapper, "s", sharded, "w", tt.NewTensor("float32", 3, 2))}.Zip().Bytes())
	var names, wrapped []string
	for _, tensor := range f.All() {
		names = append(names, tensor.Name)
	}
	for _, flt := range f.Wrapped() {
		wrapped = append(wrapped, flt.Tensor)
	}
	if !slices.Equal(names, []string{"d._local_tensor", "s._local_shards.0", "w"}) || !slices.Equal(wrapped, []string{"d", "s"}) {
		t.Errorf("listed %q, wrapped %q", names, wrapped)
	}
}
