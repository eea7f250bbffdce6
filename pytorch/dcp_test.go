package pytorch

import (
	"bytes"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"unicode/utf8"

	tt "github.com/wtinspect/wtinspect/internal/torchtest"
)

func distributed(t testing.TB, d tt.Distributed) *Distributed {
	t.Helper()
	b := d.Files()[".metadata"]
	out, err := ReadDistributed(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDistributed(t *testing.T) {
	d := distributed(t, tt.Distributed{
		Tensors: []tt.Sharded{
			tt.NewSharded("model.w", "bfloat16", []int{5, 4}, 0, 2),
			tt.NewSharded("model.s", "float32", nil, 0, 1),
			tt.NewSharded("optim.state.w", "float32", []int{4, 6}, 1, 3),
		},
		Objects: []tt.Item{{Key: "optim.lr", Value: 0.5}},
	})
	if faults := d.Validate(); len(faults) > 0 {
		t.Error(faults)
	}
	w := d.Tensors[0]
	if n, ok := w.Bytes(); w.Name != "model.w" || w.DType != "bfloat16" || !slices.Equal(w.Shape, []uint64{5, 4}) || n != 40 || !ok || len(w.Chunks) != 2 {
		t.Errorf("%+v", w)
	}
	if c := w.Chunks[1]; !slices.Equal(c.Offsets, []uint64{3, 0}) || !slices.Equal(c.Sizes, []uint64{2, 4}) || c.Place.File != "__1_0.distcp" || c.Place.Length == 0 {
		t.Errorf("%+v", c)
	}
	if s := d.Tensors[1]; len(s.Shape) != 0 || len(s.Chunks) != 1 {
		t.Errorf("%+v", s)
	}
	if len(d.Objects) != 1 || d.Objects[0].Name != "optim.lr" || d.Objects[0].Place.File != "__0_0.distcp" {
		t.Errorf("%+v", d.Objects)
	}
	if !slices.Equal(d.Files, []string{"__0_0.distcp", "__1_0.distcp", "__2_0.distcp"}) {
		t.Errorf("%q", d.Files)
	}
	for _, g := range d.Globals {
		if g.Module == "" {
			t.Errorf("%+v", g)
		}
	}
}

// Chunks must have each element once, and be somewhere.
func TestDistributedFaults(t *testing.T) {
	type chunk = tt.Chunk
	cut := func(chunks ...chunk) tt.Distributed {
		for i := range chunks {
			if chunks[i].File == "" {
				chunks[i].File = "__0_0.distcp"
			}
		}
		return tt.Distributed{Tensors: []tt.Sharded{{Name: "w", DType: "float32", Shape: []int{4, 4}, Data: make([]byte, 64), Chunks: chunks}}}
	}
	whole := chunk{Offsets: []int{0, 0}, Sizes: []int{4, 4}}
	for name, test := range map[string]struct {
		d    tt.Distributed
		want []Code
	}{
		"whole":             {cut(whole), nil},
		"four quarters":     {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{2, 2}}, chunk{Offsets: []int{2, 2}, Sizes: []int{2, 2}}, chunk{Offsets: []int{0, 2}, Sizes: []int{2, 2}}, chunk{Offsets: []int{2, 0}, Sizes: []int{2, 2}}), nil},
		"a pinwheel":        {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{1, 3}}, chunk{Offsets: []int{0, 3}, Sizes: []int{3, 1}}, chunk{Offsets: []int{3, 1}, Sizes: []int{1, 3}}, chunk{Offsets: []int{1, 0}, Sizes: []int{3, 1}}, chunk{Offsets: []int{1, 1}, Sizes: []int{2, 2}}), nil},
		"an empty chunk":    {cut(whole, chunk{Offsets: []int{4, 0}, Sizes: []int{0, 4}, Lost: true}), nil},
		"a gap":             {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{3, 4}}), []Code{CodeChunkGap}},
		"no chunk":          {cut(), []Code{CodeChunkGap}},
		"twice":             {cut(whole, whole), []Code{CodeChunkOverlap}},
		"a gap and overlap": {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{2, 4}}, chunk{Offsets: []int{1, 0}, Sizes: []int{2, 4}}), []Code{CodeChunkOverlap}},
		"outside":           {cut(chunk{Offsets: []int{1, 0}, Sizes: []int{4, 4}}), []Code{CodeChunkOutside}},
		"far outside":       {cut(whole, chunk{Offsets: []int{5, 0}, Sizes: []int{0, 4}}), []Code{CodeChunkOutside}},
		"nowhere":           {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{4, 4}, Lost: true}), []Code{CodeMissingChunk}},
		"elsewhere":         {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{4, 4}, Index: []int{1, 0}}), []Code{CodeMissingChunk}},
		"compressed":        {cut(chunk{Offsets: []int{0, 0}, Sizes: []int{4, 4}, Transforms: []string{"stream.zstd"}}), []Code{CodeTransformed}},
		"nothing":           {tt.Distributed{}, []Code{CodeEmpty}},
		"an unknown dtype":  {tt.Distributed{Tensors: []tt.Sharded{{Name: "w", DType: "float3", Shape: []int{0}}}}, []Code{CodeUnknownDType}},
		"two scalars":       {tt.Distributed{Tensors: []tt.Sharded{tt.NewSharded("w", "float32", nil, 0, 2)}}, []Code{CodeChunkOverlap}},
		"one name twice":    {tt.Distributed{Tensors: []tt.Sharded{tt.NewSharded("w", "float32", []int{2}, 0, 1), tt.NewSharded("w", "float32", []int{2}, 0, 1)}}, []Code{CodeDuplicateKey}},
	} {
		t.Run(name, func(t *testing.T) {
			d := distributed(t, test.d)
			if got := codes(d.Validate()); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v: %v", got, test.want, d.Validate())
			}
		})
	}
}

// What is not as torch writes it is a fault of its own, and hides nothing else.
func TestBadMetadata(t *testing.T) {
	meta := "torch.distributed.checkpoint.metadata."
	root := func(entries, places any) any {
		return tt.Object{Class: tt.Named(meta + "Metadata"), State: tt.D("state_dict_metadata", entries, "storage_data", places)}
	}
	tensor := func(state any) any { return tt.Object{Class: tt.Named(meta + "TensorStorageMetadata"), State: state} }
	for name, test := range map[string]struct {
		root any
		open Code // of ReadDistributed
		want []Code
	}{
		"a state dict":      {tt.D("w", 1), CodeNotDistributed, nil},
		"another class":     {tt.Object{Class: tt.Named("a.Metadata"), State: tt.D()}, CodeNotDistributed, nil},
		"no entries":        {tt.Object{Class: tt.Named(meta + "Metadata"), State: tt.D()}, CodeNotDistributed, nil},
		"a list of entries": {root(tt.List{}, tt.D()), CodeNotDistributed, nil},
		"no places":         {root(tt.D(), nil), "", []Code{CodeBadMetadata, CodeEmpty}},
		"a bad place":       {root(tt.D(), tt.D("x", 1)), "", []Code{CodeBadMetadata, CodeEmpty}},
		"a bad entry":       {root(tt.D("w", 1), tt.D()), "", []Code{CodeBadMetadata, CodeEmpty}},
		"a number":          {root(tt.D(7, 1), tt.D()), "", []Code{CodeBadMetadata, CodeEmpty}},
		"no size":           {root(tt.D("w", tensor(tt.D())), tt.D()), "", []Code{CodeBadMetadata, CodeEmpty}},
		"a negative size": {root(tt.D("w", tensor(tt.D(
			"size", tt.Tuple{-1}, "chunks", tt.List{}, "properties", tt.Object{Class: tt.Named("a.B"), State: tt.Tuple{tt.Named("torch.float32")}},
		))), tt.D()), "", []Code{CodeBadMetadata, CodeEmpty}},
		"a huge size": {root(tt.D("w", tensor(tt.D(
			"size", tt.Tuple{big.NewInt(1 << 62), 4}, "chunks", tt.List{}, "properties", tt.Object{Class: tt.Named("a.B"), State: tt.Tuple{tt.Named("torch.float32")}},
		))), tt.D()), "", []Code{CodeOverflow}},
		"chunks of another rank": {root(tt.D("w", tensor(tt.D(
			"size", tt.Tuple{1}, "properties", tt.Object{Class: tt.Named("a.B"), State: tt.Tuple{tt.Named("torch.float32")}},
			"chunks", tt.List{tt.Object{Class: tt.Named(meta + "ChunkStorageMetadata"), State: tt.D("offsets", tt.Tuple{}, "sizes", tt.Tuple{})}},
		))), tt.D()), "", []Code{CodeBadMetadata, CodeChunkGap}},
	} {
		t.Run(name, func(t *testing.T) {
			b := tt.Pickle(4, test.root)
			d, err := ReadDistributed(bytes.NewReader(b), int64(len(b)))
			var flt *Fault
			if errors.As(err, &flt) && flt.Code != test.open || (err != nil) != (test.open != "") {
				t.Fatalf("%v, want %q", err, test.open)
			}
			if err != nil {
				return
			}
			if got := codes(d.Validate()); !slices.Equal(got, test.want) {
				t.Errorf("%v, want %v: %v", got, test.want, d.Validate())
			}
		})
	}
	b := tt.Distributed{Tensors: []tt.Sharded{tt.NewSharded("w", "float32", []int{6, 2}, 0, 3)}}.Files()[".metadata"]
	for i := range b { // whatever is cut off or changed
		for _, c := range []byte{0, 0xff, b[i] + 1} {
			changed := slices.Clone(b)
			changed[i] = c
			if d, err := ReadDistributed(bytes.NewReader(changed), int64(len(changed))); err == nil {
				d.Validate()
			}
		}
		if _, err := ReadDistributed(bytes.NewReader(b[:i]), int64(i)); err == nil {
			t.Errorf("%d of %d bytes are enough", i, len(b))
		}
	}
}

// FuzzDistributed reads anything as the metadata of a distributed checkpoint.
func FuzzDistributed(f *testing.F) {
	for _, d := range []tt.Distributed{
		{Tensors: []tt.Sharded{tt.NewSharded("w", "float32", []int{4, 2}, 0, 2)}, Objects: []tt.Item{{Key: "step", Value: 1}}},
		{Tensors: []tt.Sharded{tt.NewSharded("w", "bfloat16", []int{3, 5}, 1, 4)}, Safetensors: true},
	} {
		f.Add(d.Files()[".metadata"])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ReadDistributed(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			if _, ok := err.(*Fault); !ok {
				t.Fatalf("error is no fault of the file: %#v", err)
			}
			return
		}
		for _, flt := range d.Validate() {
			if !utf8.ValidString(flt.Error()) {
				t.Fatalf("fault %+v", flt)
			}
		}
		for i := range d.Tensors {
			tensor := &d.Tensors[i]
			if n, ok := tensor.Bytes(); tensor.Fault() == nil && (!ok || n > 0 && len(tensor.Chunks) == 0) {
				t.Fatalf("%+v has no fault", tensor)
			}
		}
	})
}

// What is listed is the model, under the names that it has there, as of a file that holds the same
// state dict. Paths that do not make up their names count for nothing, and no tensor is lost.
func TestDistributedTree(t *testing.T) {
	for _, test := range []struct {
		names []string
		paths map[string]tt.Tuple
		path  string
		want  []string
	}{
		{[]string{"model.a.w", "model.b"}, nil, "", []string{"model.a.w", "model.b"}},
		{[]string{"model.a.w", "optim.state.0.m"}, nil, "model", []string{"a.w"}},
		{[]string{"model.a.w", "lm_head.w", "optim.state.0.m"}, nil, "", []string{"model.a.w", "lm_head.w"}},
		{[]string{"model.a.w", "model.b", "opt.m"}, map[string]tt.Tuple{
			"model.a.w": {"model", "a.w"}, "model.b": {"model", "b"}, "opt.m": {"optimizers", 0, "m"},
		}, "", []string{"model.a.w", "model.b", "opt.m"}},
		{[]string{"model.a.w", "model.b", "optimizers.0.m"}, map[string]tt.Tuple{
			"model.a.w": {"model", "a.w"}, "model.b": {"model", "b"}, "optimizers.0.m": {"optimizers", 0, "m"},
		}, "model", []string{"a.w", "b"}},
		{[]string{"model.a.w", "model.b"}, map[string]tt.Tuple{"model.a.w": {"model.a.w"}, "model.b": {"model.b"}}, "", []string{"model.a.w", "model.b"}},
		{[]string{"m", "m.a", "m.a.b"}, map[string]tt.Tuple{"m": {"m"}, "m.a": {"m", "a"}, "m.a.b": {"m", "a", "b"}}, "", []string{"m", "m.a", "m.a.b"}},
		{[]string{"m.a.b", "m.a"}, map[string]tt.Tuple{"m.a": {"m", "a"}, "m.a.b": {"m", "a", "b"}}, "", []string{"m.a.b", "m.a"}},
		{[]string{"m.a"}, map[string]tt.Tuple{"m.a": {"m", tt.List{1}}}, "", []string{"m.a"}},
		{[]string{"m.a", ""}, map[string]tt.Tuple{"m.a": {}, "": {""}}, "", []string{"m.a", ""}},
	} {
		in := tt.Distributed{Paths: test.paths}
		for _, name := range test.names {
			in.Tensors = append(in.Tensors, tt.NewSharded(name, "float32", []int{2}, 0, 1))
		}
		tree := distributed(t, in).Tree()
		var got []string
		for _, tensor := range tree.All() {
			got = append(got, tensor.Name)
			if full := join(tree.Path(), tensor.Name); tensor.Storage.Key != full {
				t.Errorf("%s is of %s", full, tensor.Storage.Key)
			}
		}
		if tree.Path() != test.path || !slices.Equal(got, test.want) {
			t.Errorf("%q: %q in %q, want %q in %q", test.names, got, tree.Path(), test.want, test.path)
		}
	}
}

// TestDistributedMemory: what describes many tensors is kept in a few words each, though the pickle has
// some five objects and a dozen tuples for one.
func TestDistributedMemory(t *testing.T) {
	n := 30_000
	if testing.Short() {
		n = 5_000
	}
	var d tt.Distributed
	for i := range n {
		cols := 1 + i%7
		d.Tensors = append(d.Tensors, tt.Sharded{
			Name: fmt.Sprintf("model.layers.%d.mlp.experts.%d.w", i/768, i%768), DType: "bfloat16", Shape: []int{2, cols}, Data: make([]byte, 4*cols),
			Chunks: []tt.Chunk{{Offsets: []int{0, 0}, Sizes: []int{1, cols}, File: "a"}, {Offsets: []int{1, 0}, Sizes: []int{1, cols}, File: "b"}},
		})
	}
	meta := d.Files()[".metadata"]
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	got, err := ReadDistributed(bytes.NewReader(meta), int64(len(meta)))
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	live, total := int64(after.HeapAlloc)-int64(before.HeapAlloc), after.TotalAlloc-before.TotalAlloc
	t.Logf("metadata of %d bytes: %d bytes in use, %d allocated", len(meta), live, total)
	if live > 2*int64(len(meta)) || total > 8*uint64(len(meta)) {
		t.Errorf("%d bytes in use and %d allocated for metadata of %d", live, total, len(meta))
	}
	if faults := got.Validate(); len(got.Tensors) != n || len(faults) > 0 {
		t.Errorf("%d tensors, %v", len(got.Tensors), faults)
	}
	for i := range got.Tensors {
		w := &got.Tensors[i]
		if c := w.Chunks[1]; w.Name != d.Tensors[i].Name || w.DType != "bfloat16" || !slices.Equal(w.Shape, []uint64{2, uint64(1 + i%7)}) ||
			!slices.Equal(c.Offsets, []uint64{1, 0}) || !slices.Equal(c.Sizes, []uint64{1, uint64(1 + i%7)}) || c.Place.File != "b" || c.Place.Length == 0 {
			t.Fatalf("%+v, want %v", w, d.Tensors[i])
		}
	}
}

// TestMetadataHeld: objects that occur in several places are read in each of them.
func TestMetadataHeld(t *testing.T) {
	const class = "torch.distributed.checkpoint.metadata."
	size := func(n ...any) any { return tt.Call{Func: tt.Named("torch.Size"), Args: tt.Tuple{tt.Tuple(n)}} }
	// As pickle does, it is memorised before it has its state.
	chunks := []any{
		tt.Raw("ctorch.distributed.checkpoint.metadata\nChunkStorageMetadata\n)\x81r\x00\x00\x10\x00}(X\x07\x00\x00\x00offsetsctorch\nSize\nK\x00K\x00\x86\x85R" +
			"X\x05\x00\x00\x00sizesctorch\nSize\nK\x02K\x03\x86\x85Rub"),
		tt.Raw("j\x00\x00\x10\x00"),
	}
	props := &tt.Shared{Value: tt.Object{Class: tt.Named(class + "TensorProperties"), State: tt.Tuple{tt.Named("torch.float32"), nil, false, nil, false}}}
	shape := &tt.Shared{Value: size(2, 3)}
	tensor := func(chunk any) any {
		return tt.Object{Class: tt.Named(class + "TensorStorageMetadata"), State: tt.D("properties", props, "size", shape, "chunks", tt.List{chunk})}
	}
	info := &tt.Shared{Value: tt.Object{Class: tt.Named("torch.distributed.checkpoint.filesystem._StorageInfo"), State: tt.D("relative_path", "f", "offset", 5, "length", 7)}}
	index := func(name string) any {
		return tt.Object{Class: tt.Named(class + "MetadataIndex"), State: tt.D("fqn", name, "offset", size(0, 0), "index", 0)}
	}
	root := tt.Object{Class: tt.Named(class + "Metadata"), State: tt.D(
		"state_dict_metadata", tt.D("a", tensor(chunks[0]), "b", tensor(chunks[1])), "storage_data", tt.D(index("a"), info, index("b"), info))}
	for protocol := 2; protocol < 4; protocol++ {
		meta := tt.Pickle(protocol, root)
		d, err := ReadDistributed(bytes.NewReader(meta), int64(len(meta)))
		if err != nil {
			t.Fatal(err)
		}
		if faults := d.Validate(); len(faults) > 0 || len(d.Tensors) != 2 {
			t.Fatalf("protocol %d: %d tensors, %v", protocol, len(d.Tensors), faults)
		}
		for _, w := range d.Tensors {
			if w.DType != "float32" || !slices.Equal(w.Shape, []uint64{2, 3}) || !reflect.DeepEqual(w.Chunks, []Chunk{{[]uint64{0, 0}, []uint64{2, 3}, Place{File: "f", Offset: 5, Length: 7}}}) {
				t.Errorf("protocol %d: %+v", protocol, w)
			}
		}
	}
}
