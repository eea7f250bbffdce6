package pytorch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// listedAndBeside returns the paths of what a file lists, and of what is in its parts that are not
// listed.
func listedAndBeside(t *testing.T, f *File) (listed, beside []string) {
	t.Helper()
	paths := func(f *File) (list []string) {
		for _, tensor := range f.All() {
			list = append(list, join(f.Path(), tensor.Name))
		}
		return list
	}
	for _, s := range f.Subtrees() {
		if s.Listed {
			continue
		}
		sub, ok := f.Subtree(s.Path)
		if !ok || sub.Len() != s.Tensors {
			t.Fatalf("%d tensors of %s: %v", s.Tensors, s.Path, ok)
		}
		if v, _ := f.walker().find(s.Path); isTensor(v) {
			beside = append(beside, s.Path)
			continue
		}
		beside = append(beside, paths(sub)...)
	}
	return paths(f), beside
}

// TestNothingVanishes holds that each tensor of a file is either listed or in one part that
// is not, wherever optimisers and states of trainers are.
func TestNothingVanishes(t *testing.T) {
	random := rand.New(rand.NewPCG(18, 2))
	containers := []string{"model", "module", "ema", "net", "state_dict", "app", "trainer", "optim", "optimizer", "optimizer_states", "opt", "rng_state", "lr_scheduler", "callbacks", "enc", "dec", "scheduler"}
	tensors := []string{"l0.weight", "l1.bias", "weight", "bias", "scale", "exp_avg", "step", "rng_state", "mean"}
	seed := 0
	tensor := func() *tt.Tensor { seed++; return tt.NewTensor("float32", seed, 1+random.IntN(2)) }
	optimiser := func() tt.Dict {
		return tt.D("state", tt.D(0, tt.D("exp_avg", tensor(), "step", 3)), "param_groups", tt.List{tt.D("lr", 1)})
	}
	var tree func(depth int) any
	tree = func(depth int) any {
		switch n := random.IntN(10); {
		case n == 0:
			return optimiser()
		case n == 1 && depth > 0:
			list := tt.List{}
			for range 1 + random.IntN(3) {
				list = append(list, tree(depth-1))
			}
			return list
		}
		d := tt.Dict{}
		for _, k := range random.Perm(len(tensors))[:random.IntN(3)] {
			d = append(d, tt.D(tensors[k], tensor())...)
		}
		if depth > 0 {
			for _, k := range random.Perm(len(containers))[:random.IntN(4)] {
				d = append(d, tt.D(containers[k], tree(depth-1))...)
			}
		}
		return d
	}
	aside := 0
	for i := range 3000 {
		f := read(t, tt.File{Root: tree(4), Protocol: 2}.Zip().Bytes())
		listed, beside := listedAndBeside(t, f)
		aside += len(beside)
		all, ok := f.Subtree("")
		if !ok {
			t.Fatal("no whole tree")
		}
		var want []string
		for _, tensor := range all.All() {
			want = append(want, tensor.Name)
		}
		got := slices.Sorted(slices.Values(slices.Concat(listed, beside)))
		slices.Sort(want)
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Fatalf("tree %d, listed from %q: all tensors, and those listed and beside (-all +both):\n%s\n%s", i, f.Path(), diff, Repr(f.Root(), 6))
		}
	}
	if aside < 1000 {
		t.Errorf("%d tensors are beside what is listed: the trees have too few", aside)
	}
}

// TestOptimisersInside sets aside what is an optimiser's inside of what is listed, and says so; it
// is known by its structure, and no module by its name.
func TestOptimisersInside(t *testing.T) {
	seed := 0
	tensor := func() *tt.Tensor { seed++; return tt.NewTensor("float32", seed, 2) }
	weights := func() tt.Dict { return tt.D("l0.weight", tensor()) }
	optimiser := func() tt.Dict {
		return tt.D("state", tt.D(0, tt.D("exp_avg", tensor())), "param_groups", tt.List{})
	}
	for _, test := range []struct {
		name, listed, beside string
		root                 any
	}{
		{"below the part", "app.model.l0.weight app.ema.l0.weight", "app.optim", tt.D("app", tt.D("model", weights(), "ema", weights(), "optim", optimiser()))},
		{"in a list", "model.l0.weight", "opt", tt.D("model", weights(), "opt", tt.List{optimiser()})},
		{"in a list with weights", "model.l0.weight opt.1.l0.weight", "opt.0", tt.D("model", weights(), "opt", tt.List{optimiser(), weights()})},
		{"in a module", "model.enc.l0.weight model.dec.l0.weight", "model.opt", tt.D("model", tt.D("enc", weights(), "opt", optimiser(), "dec", weights()))},
		{"a module called optimizer", "model.enc.l0.weight model.optimizer.l0.weight", "", tt.D("model", tt.D("enc", weights(), "optimizer", weights()))},
		{"a module called rng_state", "enc.l0.weight rng_state.l0.weight", "", tt.D("enc", weights(), "rng_state", weights())},
		{"a module of modules called scheduler", "enc.l0.weight scheduler.a.l0.weight", "", tt.D("enc", weights(), "scheduler", tt.D("a", weights()))},
		{"the state of one, by its key alone", "model.l0.weight", "optimizer", tt.D("model", weights(), "optimizer", tt.D("flat_groups", tt.List{tensor()}))},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := read(t, tt.File{Root: test.root, Protocol: 2}.Zip().Bytes())
			listed, _ := listedAndBeside(t, f)
			var beside []string
			for _, s := range f.Subtrees() {
				if !s.Listed {
					beside = append(beside, s.Path)
					if !s.Optimizer {
						t.Errorf("%s is not an optimiser's", s.Path)
					}
				}
			}
			if got, want := fmt.Sprint(listed, beside), fmt.Sprint(strings.Fields(test.listed), strings.Fields(test.beside)); got != want {
				t.Errorf("listed and beside: %s, want %s", got, want)
			}
		})
	}
}
