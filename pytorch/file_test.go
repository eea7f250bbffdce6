package pytorch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

func read(t testing.TB, b []byte) *File {
	t.Helper()
	f, err := NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// containers returns a checkpoint in both containers.
func containers(f tt.File) map[Container][]byte {
	return map[Container][]byte{Zip: f.Zip().Bytes(), Legacy: f.Legacy()}
}

// show says everything about the tensors of a file, one in a line.
func show(t testing.TB, f *File) string {
	t.Helper()
	var b strings.Builder
	for i, tensor := range f.All() {
		fmt.Fprintf(&b, "%s %s %d %d", tensor.Name, tensor.DType, tensor.Shape, tensor.Strides)
		if tensor.Offset > 0 {
			fmt.Fprintf(&b, " +%d", tensor.Offset)
		}
		if tensor.Class != "" {
			b.WriteString(" " + tensor.Class[strings.LastIndexByte(tensor.Class, '.')+1:])
		}
		r, err := f.Data(i)
		if err != nil {
			fmt.Fprintf(&b, " %v\n", err)
			continue
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, " %x\n", data)
	}
	return b.String()
}

func codes(faults []Fault) []Code {
	var list []Code
	for _, f := range faults {
		list = append(list, f.Code)
	}
	return list
}

// TestEveryDType reads every element type in every protocol and container. Torch itself
// refuses what protocol 0 makes of storages.
func TestEveryDType(t *testing.T) {
	for protocol := range 6 {
		names := slices.Sorted(maps.Keys(tt.DTypes))
		var root tt.Ordered
		var want strings.Builder
		for i, name := range names {
			tensor := tt.NewTensor(name, i, 2, 3)
			root = append(root, tt.Item{Key: "every." + name, Value: tensor})
			fmt.Fprintf(&want, "every.%s %s [2 3] [3 1] %x\n", name, name, tensor.Storage.Data)
		}
		for container, b := range containers(tt.File{Root: root, Protocol: protocol}) {
			f := read(t, b)
			if f.Container() != container {
				t.Errorf("container %s, want %s", f.Container(), container)
			}
			if diff := gocmp.Diff(want.String(), show(t, f)); diff != "" {
				t.Errorf("protocol %d, %s (-want +got):\n%s", protocol, container, diff)
			}
			if faults := f.Validate(); len(faults) > 0 {
				t.Errorf("protocol %d, %s: %v", protocol, container, faults)
			}
		}
	}
}

// lightning is what PyTorch Lightning saves, with tied weights and views.
func lightning() tt.Dict {
	shared := tt.NewTensor("float32", 1, 4, 6)
	view := func(offset int, shape, stride []int) *tt.Tensor {
		return &tt.Tensor{Storage: shared.Storage, Offset: offset, Shape: shape, Stride: stride}
	}
	return tt.Dict{
		{Key: "epoch", Value: 3},
		{Key: "global_step", Value: 840},
		{Key: "big", Value: big.NewInt(1 << 40)},
		{Key: "note", Value: "café \\n\n€"},
		{Key: "raw", Value: []byte("\x00\xff\x80")},
		{Key: "rate", Value: 0.1},
		{Key: "none", Value: nil},
		{Key: "yes", Value: true},
		{Key: "size", Value: tt.Call{Func: tt.Named("torch.Size"), Args: tt.Tuple{tt.Tuple{2, 3}}}},
		{Key: "set", Value: tt.Set{1}},
		{Key: "state_dict", Value: tt.Call{Func: tt.Named("collections.OrderedDict"), State: tt.Dict{{Key: "_metadata", Value: tt.Dict{}}}}},
		{Key: "state_dict", Value: tt.Ordered{
			{Key: "embed.weight", Value: &tt.Tensor{Storage: shared.Storage, Shape: []int{4, 6}, Parameter: true}},
			{Key: "head.weight", Value: view(0, []int{4, 6}, []int{6, 1})},
			{Key: "head.transposed", Value: view(0, []int{6, 4}, []int{1, 6})},
			{Key: "row", Value: view(6, []int{6}, []int{1})},
			{Key: "scalar", Value: view(23, nil, nil)},
			{Key: "none", Value: &tt.Tensor{Storage: &tt.Storage{DType: "float32"}, Shape: []int{0, 3}}},
		}},
		{Key: "callbacks", Value: tt.Dict{{Key: "ModelCheckpoint", Value: tt.Dict{{Key: "best_model_score", Value: tt.NewTensor("float32", 9)}}}}},
		{Key: "optimizer_states", Value: tt.List{tt.Dict{
			{Key: "state", Value: tt.Dict{{Key: 0, Value: tt.Dict{{Key: "step", Value: 7}, {Key: "exp_avg", Value: tt.NewTensor("float32", 2, 4, 6)}}}}},
			{Key: "param_groups", Value: tt.List{tt.Dict{{Key: "lr", Value: 1e-3}, {Key: "params", Value: tt.List{0}}}}},
		}}},
		{Key: "hyper", Value: tt.Object{Class: tt.Named("argparse.Namespace"), State: tt.Dict{{Key: "width", Value: 4}}}},
	}
}

// TestTree reads views, shared storages, nested values and what is no tensor.
func TestTree(t *testing.T) {
	for protocol := range 6 {
		for container, b := range containers(tt.File{Root: lightning(), Protocol: protocol}) {
			t.Run(fmt.Sprint(container, protocol), func(t *testing.T) {
				f := read(t, b)
				data := tt.NewTensor("float32", 1, 4, 6).Storage.Data
				var transposed []byte
				for i := range 24 {
					at := 4 * (i%4*6 + i/4)
					transposed = append(transposed, data[at:at+4]...)
				}
				want := fmt.Sprintf(`embed.weight float32 [4 6] [6 1] Parameter %x
head.weight float32 [4 6] [6 1] %[1]x
head.transposed float32 [6 4] [1 6] %x
row float32 [6] [1] +6 %x
scalar float32 [] [] +23 %x
none float32 [0 3] [3 1] `+`
`, data, transposed, data[24:48], data[92:])
				if diff := gocmp.Diff(want, show(t, f)); diff != "" {
					t.Errorf("tensors (-want +got):\n%s", diff)
				}
				var meta []string
				for _, kv := range f.Metadata() {
					meta = append(meta, kv.Key+" = "+Repr(kv.Value, 0))
				}
				wantMeta := []string{
					"epoch = 3", "global_step = 840", "big = 1099511627776", `note = "café \\n\n€"`, `raw = b"\x00\xff\x80"`, "rate = 0.1", "none = None",
					"yes = True", "size = (2, 3)", "set = {1}", "hyper = <argparse.Namespace>",
				}
				if diff := gocmp.Diff(wantMeta, meta); diff != "" {
					t.Errorf("metadata (-want +got):\n%s", diff)
				}
				parts := []Subtree{
					{Path: "state_dict", Tensors: 6, Bytes: 96, Listed: true},
					{Path: "callbacks", Tensors: 1, Bytes: 4},
					{Path: "optimizer_states", Tensors: 1, Bytes: 96, Optimizer: true},
				}
				if diff := gocmp.Diff(parts, f.Subtrees()); diff != "" || f.Path() != "state_dict" {
					t.Errorf("path %q, subtrees (-want +got):\n%s", f.Path(), diff)
				}
				sub, ok := f.Subtree("optimizer_states.0.state")
				if !ok || sub.Len() != 1 || sub.At(0).Name != "0.exp_avg" {
					t.Errorf("subtree %v %v", sub, ok)
				}
				if _, ok := f.Subtree("optimizer_states.1"); ok {
					t.Error("a subtree that is not there")
				}
				if sub, _ := f.Subtree(""); sub.Len() != 8 {
					t.Errorf("%d tensors in all", sub.Len())
				}
				if got := codes(f.Validate()); !slices.Equal(got, []Code{CodeDuplicateKey}) {
					t.Errorf("faults %v", f.Validate())
				}
				var calls []string
				for _, g := range f.Globals() {
					if g.known == nil && g.Calls > 0 {
						calls = append(calls, g.String())
						at := b[g.Offset:]
						if protocol < 4 && !bytes.HasPrefix(at, []byte("cargparse\nNamespace\n")) || protocol >= 4 && at[0] != opStackGlobal {
							t.Errorf("%v at %q", g, at[:20])
						}
						if op := b[g.Call.Offset]; op != opReduce && op != opNewObj || opcodeNames[op] != g.Call.Opcode {
							t.Errorf("%v called at %q", g, op)
						}
					}
				}
				if !slices.Equal(calls, []string{"argparse.Namespace"}) {
					t.Errorf("calls of %v", calls)
				}
			})
		}
	}
}

// TestChoice says which tensors are listed of what programs save.
func TestChoice(t *testing.T) {
	w := tt.NewTensor("int8", 0, 1)
	weights := tt.Ordered{{Key: "scaler", Value: w}, {Key: "args.loops", Value: w}}
	optimizer := tt.Dict{{Key: "state", Value: tt.Dict{{Key: 0, Value: key("exp_avg", w)}}}, {Key: "param_groups", Value: tt.List{}}}
	module := func(children tt.Dict, params tt.Dict) any {
		return tt.Object{Class: tt.Named("models.Net"), State: tt.Dict{
			{Key: "training", Value: false},
			{Key: "_parameters", Value: params},
			{Key: "_buffers", Value: tt.Dict{}},
			{Key: "_modules", Value: children},
			{Key: "_forward_hooks", Value: tt.Dict{}},
			{Key: "mask", Value: w},
		}}
	}
	net := module(tt.Dict{{Key: "body", Value: module(nil, tt.Dict{{Key: "weight", Value: w}, {Key: "bias", Value: nil}})}}, nil)
	for _, tst := range []struct {
		name  string
		root  any
		path  string
		names string
	}{
		{"state dict", weights, "", "scaler args.loops"},
		{"wrapped twice", key("checkpoint", key("model", weights)), "checkpoint.model", "scaler args.loops"},
		{"Lightning", tt.Dict{{Key: "state_dict", Value: weights}, {Key: "callbacks", Value: key("score", w)}, {Key: "optimizer_states", Value: tt.List{optimizer}}}, "state_dict", "scaler args.loops"},
		{"rng", tt.Dict{{Key: "model", Value: weights}, {Key: "rng_state", Value: w}, {Key: "optim", Value: optimizer}}, "model", "scaler args.loops"},
		{"two models", tt.Dict{{Key: "net", Value: weights}, {Key: "ema", Value: key("w", w)}, {Key: "scheduler", Value: key("x", w)}}, "", "net.scaler net.args.loops ema.w"},
		{"optimiser elsewhere", tt.Dict{{Key: "net", Value: key("w", w)}, {Key: "trainer", Value: tt.Dict{{Key: "adam", Value: optimizer}, {Key: "scheduler", Value: w}}}}, "", "net.w trainer.scheduler"},
		{"optimiser alone", key("optimizer", optimizer), "", "optimizer.state.0.exp_avg"},
		{"list", tt.List{w, w}, "", "0 1"},
		{"tensor", w, "", ""},
		{"module", net, "", "body.weight body.mask mask"},
		{"module in a dictionary", tt.Dict{{Key: "epoch", Value: 1}, {Key: "model", Value: net}}, "model", "body.weight body.mask mask"},
	} {
		f := read(t, tt.File{Root: tst.root, Protocol: 2}.Zip().Bytes())
		var names []string
		for _, tensor := range f.All() {
			names = append(names, tensor.Name)
		}
		if got := strings.Join(names, " "); f.Path() != tst.path || got != tst.names || f.Len() == 0 {
			t.Errorf("%s: %q %q, want %q %q", tst.name, f.Path(), got, tst.path, tst.names)
		}
	}
}

// TestStorageInString reads what pickle.dump makes of tensors: their storages are files of
// torch.save in strings.
func TestStorageInString(t *testing.T) {
	a := tt.NewTensor("float32", 1, 2, 3)
	inner := tt.File{Root: a.Storage, Protocol: 2}
	for name, b := range map[string][]byte{"legacy": inner.Legacy(), "zip": inner.Zip().Bytes()} {
		for protocol := 2; protocol < 6; protocol++ {
			storage := tt.Call{Func: tt.Named("torch.storage._load_from_bytes"), Args: tt.Tuple{b}}
			rebuilt := func(size, stride tt.Tuple) any {
				return tt.Call{Func: tt.Named("torch._utils._rebuild_tensor_v2"), Args: tt.Tuple{storage, 0, size, stride, false, tt.Ordered{}}}
			}
			f := read(t, tt.Pickle(protocol, tt.Dict{{Key: "w", Value: rebuilt(tt.Tuple{2, 3}, tt.Tuple{3, 1})}, {Key: "t", Value: rebuilt(tt.Tuple{3, 2}, tt.Tuple{1, 3})}}))
			data := a.Storage.Data
			var turned []byte
			for _, i := range []int{0, 3, 1, 4, 2, 5} {
				turned = append(turned, data[4*i:4*i+4]...)
			}
			want := fmt.Sprintf("w float32 [2 3] [3 1] %x\nt float32 [3 2] [1 3] %x\n", data, turned)
			if diff := gocmp.Diff(want, show(t, f)); diff != "" || f.At(0).Storage.InFile() {
				t.Errorf("%s, protocol %d (-want +got):\n%s", name, protocol, diff)
			}
			if got := slices.Compact(codes(f.Validate())); !slices.Equal(got, []Code{CodeNestedPickle}) {
				t.Errorf("%s, protocol %d: %v", name, protocol, f.Validate())
			}
		}
	}
}

// TestSetTensor gives a tensor another storage.
func TestSetTensor(t *testing.T) {
	first, second := tt.NewTensor("int8", 1, 2), tt.NewTensor("int8", 9, 3)
	root := tt.List{first, tt.Call{Func: tt.Named("torch._utils._rebuild_tensor_v2"), Args: tt.Tuple{first.Storage, 0, tt.Tuple{2}, tt.Tuple{1}, false, tt.Ordered{}}, State: tt.Tuple{second.Storage, 0, tt.Tuple{3}, tt.Tuple{1}}}}
	f := read(t, tt.File{Root: root, Protocol: 2}.Zip().Bytes())
	want := fmt.Sprintf("0 int8 [2] [1] %x\n1 int8 [3] [1] %x\n", first.Storage.Data, second.Storage.Data)
	if diff := gocmp.Diff(want, show(t, f)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestOpen(t *testing.T) {
	name := filepath.Join(t.TempDir(), "model.bin")
	if err := os.WriteFile(name, tt.File{Root: tt.Dict{{Key: "w", Value: tt.NewTensor("int8", 0, 2)}}, Protocol: 2}.Zip().Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(name)
	if err != nil || f.Len() != 1 {
		t.Fatal(f, err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(name, []byte("PK\x03\x04"), 0o666); err != nil {
		t.Fatal(err)
	}
	_, err = Open(name)
	if flt, ok := errors.AsType[*Fault](err); !ok || flt.Code != CodeZip || !strings.HasPrefix(err.Error(), name) {
		t.Errorf("%v", err)
	}
	if _, err := Open(name + "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// A server reads what is not yet known in requests of its own.
type server struct {
	*bytes.Reader
	known    [][2]int64
	requests int
}

func (s *server) ReadAhead(off, n int64) error {
	for _, k := range s.known {
		if k[0] <= off && off+n <= k[1] {
			return nil
		}
	}
	s.requests++
	s.known = append(s.known, [2]int64{off, off + n})
	return nil
}

func (s *server) ReadAt(p []byte, off int64) (int, error) {
	if err := s.ReadAhead(off, min(int64(len(p)), s.Size()-off)); err != nil {
		return 0, err
	}
	return s.Reader.ReadAt(p, off)
}

// TestRequests: of a file on a server the beginning, the end with the directory, and the pickle are
// read, whatever the size.
func TestRequests(t *testing.T) {
	archive, _ := manyTensors(10_000)
	s := &server{Reader: bytes.NewReader(archive)}
	if f, err := NewFile(s, s.Size()); err != nil || f.Len() != 10_000 {
		t.Fatal(f, err)
	}
	if s.requests > 3 {
		t.Errorf("%d requests: %v", s.requests, s.known)
	}
}
