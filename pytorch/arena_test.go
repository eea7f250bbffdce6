package pytorch

import (
	"fmt"
	"strconv"
	"testing"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

// TestHeldTuples: tuples and dictionaries that occur in several places are what they were in each, though
// the arguments of the functions that make tensors are used again.
func TestHeldTuples(t *testing.T) {
	storage := &tt.Storage{DType: "float32", Data: make([]byte, 24)}
	rebuild := tt.Named("torch._utils._rebuild_tensor_v2")
	size, stride := &tt.Shared{Value: tt.Tuple{2, 3}}, &tt.Shared{Value: tt.Tuple{3, 1}}
	hooks := &tt.Shared{Value: tt.Ordered{}}
	other := tt.Call{Func: rebuild, Args: tt.Tuple{storage, 0, tt.Tuple{3, 2}, tt.Tuple{2, 1}, false, tt.Ordered{}}}
	inner := &tt.Shared{Value: tt.Tuple{storage, 0, tt.Tuple{1, 6}, tt.Tuple{6, 1}, false, tt.Ordered{}}}
	list := tt.List{}
	for range 40 {
		list = append(list, other, tt.Tuple{7, 8}, tt.D("k", 1))
	}
	root := tt.D(
		"size", size, "stride", stride, "hooks", hooks, "args", inner,
		"a", tt.Call{Func: rebuild, Args: tt.Tuple{storage, 0, size, stride, false, hooks}},
		// The arguments of a call are those of another one that keeps them, and a part of them is the result of a third.
		"b", tt.Call{Func: tt.Named("some.call"), Args: tt.Tuple{inner}},
		"c", tt.Call{Func: tt.Named("torch.Size"), Args: tt.Tuple{size}},
		"list", list,
		"d", tt.Call{Func: rebuild, Args: tt.Tuple{storage, 0, size, stride, false, tt.Ordered{}}},
		// DUP, and the tuple is an argument as well.
		"e", tt.Raw("K\x05K\x06\x862ctorch\nSize\nK\x05K\x06\x86\x85R0\x86"),
		"more", list)
	for protocol := 2; protocol < 6; protocol++ {
		f := read(t, tt.File{Root: root, Protocol: protocol}.Zip().Bytes())
		d := f.Root().(*Dict)
		want := map[string]string{
			"size": "(2, 3)", "stride": "(3, 1)", "hooks": "{}", "c": "(2, 3)", "e": "((5, 6), (5, 6))",
			"args": "(storage \"0\", 0, (1, 6), (6, 1), False, {})",
			"a":    "tensor float32 [2 3]", "d": "tensor float32 [2 3]",
		}
		for key, text := range want {
			if v, _ := d.Lookup(key); Repr(v, 1000) != text {
				t.Errorf("protocol %d: %s is %s, want %s", protocol, key, Repr(v, 1000), text)
			}
		}
		for _, key := range []string{"list", "more"} {
			v, _ := d.Lookup(key)
			for i, item := range v.(*List).Items {
				if text := []string{"tensor float32 [3 2]", "(7, 8)", `{"k": 1}`}[i%3]; Repr(item, 1000) != text {
					t.Fatalf("protocol %d: %s %d is %s, want %s", protocol, key, i, Repr(item, 1000), text)
				}
			}
		}
	}
}

// TestStorageTable finds what a map finds.
func TestStorageTable(t *testing.T) {
	var table storageTable
	want := map[string]*Storage{}
	for i := range 5000 {
		key := strconv.Itoa(i * i)
		if table.find(key) != nil || table.findBytes([]byte(key)) != nil {
			t.Fatalf("%s is there", key)
		}
		if i == 700 {
			table.reserve(4000)
		}
		want[key] = table.add(Storage{Key: key, StorageKind: &StorageKind{}})
	}
	for key, s := range want {
		if table.find(key) != s || table.findBytes([]byte(key)) != s {
			t.Fatalf("%s is not found", key)
		}
	}
	i := 0
	for s := range table.list.all() {
		if s.Key != strconv.Itoa(i*i) || s != table.list.at(i) {
			t.Fatal(fmt.Sprint(i, s.Key))
		}
		i++
	}
}
