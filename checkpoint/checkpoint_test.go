package checkpoint_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/safetensors"
)

func open(t testing.TB, ref string) *checkpoint.Release {
	t.Helper()
	r, err := checkpoint.Open(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestTensors(t *testing.T) {
	dir := t.TempDir()
	if err := fixture.Sharded(dir, `
file model-00001-of-00002.safetensors
tensor b BF16 [3,4] hex=0102
tensor s F32 []
file model-00002-of-00002.safetensors
tensor a X9 [2] bytes=5 begin=0 end=5
`); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir).Checkpoints[0]
	var got []checkpoint.Tensor
	for _, tensor := range c.All() {
		got = append(got, tensor)
	}
	first, second := c.Files[0].DataOffset, c.Files[1].DataOffset
	want := []checkpoint.Tensor{
		{Name: "b", DType: "BF16", Shape: []uint64{3, 4}, File: 0, Offset: first, Bytes: 24, BytesKnown: true},
		{Name: "s", DType: "F32", Shape: []uint64{}, File: 0, Offset: first + 24, Bytes: 4, BytesKnown: true},
		{Name: "a", DType: "X9", Shape: []uint64{2}, File: 1, Offset: second, Bytes: 5, BytesKnown: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for i, w := range want {
		if j, ok := c.Lookup(w.Name); j != i || !ok {
			t.Errorf("Lookup(%q) = %d, %v", w.Name, j, ok)
		}
	}
	if _, ok := c.Lookup("none"); ok {
		t.Error("found a tensor that is not there")
	}
	r, err := c.Data(0)
	if err != nil {
		t.Fatal(err)
	}
	if data, err := io.ReadAll(r); err != nil || len(data) != 24 || data[0] != 1 || data[1] != 2 {
		t.Errorf("data %x, %v", data, err)
	}
	if n, ok := got[1].Elements(); n != 1 || !ok {
		t.Errorf("a scalar has %d elements, %v", n, ok)
	}
}

// GGUF stores the fastest dimension first, this package gives it last; a type
// that is not known has no size.
func TestGGUFTensors(t *testing.T) {
	path := fixture.File(t, "m.gguf", "format gguf\nkv general.alignment u32 64\ntensor a F32 [2,3,5]\ntensor b F32 [7] type=139 bytes=28\ntensor s F32 []")
	c := open(t, path).Checkpoints[0]
	a, b, s := c.At(0), c.At(1), c.At(2)
	if diff := cmp.Diff([]uint64{2, 3, 5}, a.Shape); diff != "" {
		t.Error(diff)
	}
	if a.Offset%64 != 0 || a.Offset != c.Files[0].DataOffset || b.Offset != a.Offset+128 {
		t.Errorf("offsets %d, %d in a file with data at %d", a.Offset, b.Offset, c.Files[0].DataOffset)
	}
	if b.DType != "ggml_type_139" || b.BytesKnown || b.Bytes != 0 {
		t.Errorf("unknown type: %+v", b)
	}
	if n, ok := s.Elements(); n != 1 || !ok || s.Shape == nil {
		t.Errorf("scalar %v has %d elements, %v", s.Shape, n, ok)
	}
	if c.Files[0].Safetensors() != nil || c.Files[0].GGUF() == nil {
		t.Error("the accessors disagree with the format")
	}
}

func TestElements(t *testing.T) {
	for _, tt := range []struct {
		shape []uint64
		n     uint64
		ok    bool
	}{
		{nil, 0, false},
		{[]uint64{}, 1, true},
		{[]uint64{2, 3}, 6, true},
		{[]uint64{1 << 63, 2}, 0, false},
		{[]uint64{1 << 63, 2, 0}, 0, true},
		{[]uint64{0, 1 << 63, 4}, 0, true},
		{[]uint64{1<<64 - 1}, 1<<64 - 1, true},
	} {
		n, ok := checkpoint.Tensor{Shape: tt.shape}.Elements()
		if ok != tt.ok || ok && n != tt.n {
			t.Errorf("%v: %d, %v", tt.shape, n, ok)
		}
	}
}

func TestMetadata(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"m-00001-of-00002.safetensors": "meta format pt\nmeta step 1\ntensor a F32 [1]",
		"m-00002-of-00002.safetensors": "meta format pt\nmeta step 2\nmeta note x\ntensor b F32 [1]",
		"g/m-00001-of-00002.gguf":      "format gguf\nkv split.no u16 0\nkv split.count u16 2\nkv general.name str n\nkv general.tags [str] a b",
		"g/m-00002-of-00002.gguf":      "format gguf\nkv split.no u16 1\nkv split.count u16 2\ntensor b F32 [1]",
	} {
		if err := fixture.Write(filepath.Join(dir, filepath.FromSlash(name)), text); err != nil {
			t.Fatal(err)
		}
	}
	describe := func(c *checkpoint.Checkpoint) (list []string) {
		for _, m := range c.Metadata() {
			s := fmt.Sprintf("%d %s %s", m.File, m.Key, m.Text)
			if m.Value != nil {
				s += fmt.Sprint(m.Value.Type())
			}
			list = append(list, s)
		}
		return list
	}
	got := describe(open(t, dir).Checkpoints[0])
	want := []string{"-1 format pt", "0 step 1", "1 step 2", "1 note x"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = describe(open(t, filepath.Join(dir, "g")).Checkpoints[0])
	want = []string{
		"0 split.no " + gguf.TypeUint16.String(), "1 split.no " + gguf.TypeUint16.String(),
		"-1 split.count " + gguf.TypeUint16.String(), "-1 general.name " + gguf.TypeString.String(), "-1 general.tags " + gguf.TypeArray.String(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSet(t *testing.T) {
	dir := t.TempDir()
	if err := fixture.Sharded(filepath.Join(dir, "indexed"), "file a.safetensors\ntensor a F32 [1]\nfile b.safetensors\ntensor b F32 [1]"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"m-00001-of-00002.safetensors", "m-00002-of-00002.safetensors", "alone.safetensors"} {
		if err := fixture.Write(filepath.Join(dir, name), "tensor a F32 [1]"); err != nil {
			t.Fatal(err)
		}
	}
	for ref, want := range map[string]string{
		"indexed/b.safetensors":        "indexed/model.safetensors.index.json",
		"indexed":                      "",
		"m-00002-of-00002.safetensors": "m-*-of-00002.safetensors",
		"alone.safetensors":            "",
	} {
		got, err := open(t, filepath.Join(dir, ref)).Checkpoints[0].Set(t.Context())
		if err != nil {
			t.Error(err)
		}
		if want != "" {
			want = filepath.Join(dir, filepath.FromSlash(want))
			if len(open(t, got).Checkpoints[0].Files) != 2 {
				t.Errorf("%s does not open the set", got)
			}
		}
		if got != want {
			t.Errorf("%s belongs to %q, want %q", ref, got, want)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	broken := fixture.File(t, "m.gguf", "format gguf\nversion 9\ntensor a F32 [1]")
	_, err := checkpoint.Open(t.Context(), broken, nil)
	if f, ok := errors.AsType[*checkpoint.Fault](err); !ok || !f.Unsupported || f.File != broken {
		t.Errorf("a newer version: %#v", err)
	}
	cut := fixture.File(t, "m.safetensors", "tensor a F32 [1]\ntruncate 30")
	_, err = checkpoint.Open(t.Context(), cut, nil)
	if f, ok := errors.AsType[*checkpoint.Fault](err); !ok || f.Unsupported || f.Code != string(safetensors.CodeHeaderLength) {
		t.Errorf("a cut file: %#v", err)
	}
	if _, err := checkpoint.Open(t.Context(), t.TempDir(), nil); !errors.Is(err, checkpoint.ErrNoWeights) {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := checkpoint.Open(t.Context(), filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a path that is not there: %v", err)
	}
	for _, ref := range []string{"", "https://host/m.safetensors", os.DevNull} {
		if _, err := checkpoint.Open(t.Context(), ref, nil); err == nil {
			t.Errorf("%q was opened", ref)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := fixture.File(t, "m.safetensors", "tensor a F32 [1]")
	for _, ref := range []string{path, filepath.Dir(path)} {
		if _, err := checkpoint.Open(ctx, ref, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	}
}

// A large index is not read by Open where the names of the shards are
// complete by themselves; Validate finds what else it names.
func TestLargeIndex(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"model-00001-of-00002.safetensors": "tensor a F32 [1]",
		"model-00002-of-00002.safetensors": "tensor b F32 [1]",
		"sub/x.safetensors":                "tensor x F32 [1]",
	} {
		if err := fixture.Write(filepath.Join(dir, filepath.FromSlash(name)), text); err != nil {
			t.Fatal(err)
		}
	}
	index := filepath.Join(dir, "model.safetensors.index.json")
	write := func(extra string) {
		text := `{"metadata":{},` + strings.Repeat(" ", 1<<20) + `"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"` + extra + `}}`
		if err := os.WriteFile(index, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("")
	if c := open(t, dir).Checkpoints[0]; c.Index != index || len(c.Files) != 2 || len(c.Validate(t.Context())) != 0 {
		t.Errorf("index %q, %d files, faults %v", c.Index, len(c.Files), c.Validate(t.Context()))
	}
	write(`,"x":"sub/x.safetensors","y":"gone.safetensors","z":"../z.safetensors"`)
	var got []string
	c := open(t, dir).Checkpoints[0]
	for _, f := range c.Validate(t.Context()) {
		got = append(got, f.Code)
	}
	want := []string{"unsafe_shard_path", checkpoint.CodeMissingShard, checkpoint.CodeMissingShard}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(open(t, index).Checkpoints[0].Files); n != 5 {
		t.Errorf("by its own path the index has %d files", n)
	}
}

// One index can name a million tensors that no shard holds.
func TestFaultsAreBounded(t *testing.T) {
	dir := t.TempDir()
	if err := fixture.Write(filepath.Join(dir, "model-00001-of-00001.safetensors"), "tensor a F32 [1]"); err != nil {
		t.Fatal(err)
	}
	const ghosts = 20_000
	var index strings.Builder
	index.WriteString(`{"metadata":{},"weight_map":{"a":"model-00001-of-00001.safetensors"`)
	for i := range ghosts {
		fmt.Fprintf(&index, `,"ghost.%d":"model-00001-of-00001.safetensors"`, i)
	}
	index.WriteString("}}")
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(index.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	faults := open(t, dir).Checkpoints[0].Validate(t.Context())
	last := faults[len(faults)-1]
	if len(faults) != 10_001 || last.Hint != safetensors.HintMore || last.Detail != "10000 more faults of this kind" {
		t.Errorf("%d faults, the last: %v", len(faults), last)
	}
}

// A set of 163 shards and 91,991 tensors costs little more than its headers.
func TestMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 163 sparse files")
	}
	dir := t.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		t.Skipf("sparse files of 680 GB in all: %v", err)
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	r := open(t, dir)
	c := r.Checkpoints[0]
	var bytes uint64
	for _, tensor := range c.All() {
		bytes += tensor.Bytes
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	headers := int64(0)
	for _, f := range c.Files {
		headers += f.DataOffset
	}
	if c.Len() != 91_991 || len(c.Files) != 163 || bytes == 0 {
		t.Errorf("%d tensors in %d files", c.Len(), len(c.Files))
	}
	perTensor := (int64(after.HeapAlloc-before.HeapAlloc) - headers) / int64(c.Len())
	t.Logf("%.1f MB live, %.1f MB of it headers; %d bytes a tensor besides; %.1f MB allocated in %d objects",
		float64(after.HeapAlloc-before.HeapAlloc)/1e6, float64(headers)/1e6, perTensor,
		float64(after.TotalAlloc-before.TotalAlloc)/1e6, after.Mallocs-before.Mallocs)
	if perTensor > 80 {
		t.Errorf("%d bytes a tensor beside the headers", perTensor)
	}
	if n := after.Mallocs - before.Mallocs; n > uint64(c.Len()/4) {
		t.Errorf("%d allocations for %d tensors", n, c.Len())
	}
	if faults := c.Validate(t.Context()); len(faults) > 0 {
		t.Errorf("%d faults, the first: %v", len(faults), faults[0])
	}
	runtime.KeepAlive(r)
}

// Every published file that is at hand opens, and has no fault that its
// readme does not explain.
func TestRealFiles(t *testing.T) {
	dir := testdata.Path(t, "models")
	explained := map[string]string{
		"iree-single-v2-align64.gguf": "duplicate_key", // general.architecture twice
	}
	r := open(t, dir)
	if len(r.Faults) > 0 {
		t.Error(r.Faults)
	}
	names := 0
	for _, c := range r.Checkpoints {
		names += len(c.Files)
		for i := range c.Len() {
			if _, err := c.Data(i); err != nil {
				t.Error(err)
			}
		}
		for _, f := range c.Validate(t.Context()) {
			if f.Severity == checkpoint.Error && f.Code != explained[filepath.Base(f.File)] {
				t.Error(f)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if ext := filepath.Ext(e.Name()); ext == ".safetensors" || ext == ".gguf" {
			names--
			open(t, filepath.Join(dir, e.Name()))
		}
	}
	if names != 0 {
		t.Errorf("%d files more than the directory has", names)
	}
	sharded := open(t, filepath.Join(dir, "fluxml-sharded"))
	if c := sharded.Checkpoints[0]; len(sharded.Checkpoints) != 1 || len(c.Files) != 6 {
		t.Errorf("%d checkpoints, the first of %d files", len(sharded.Checkpoints), len(c.Files))
	}
	for _, name := range []string{"A0", "A1", "sft"} {
		r := open(t, testdata.Path(t, "tinyllama/"+name))
		n, note := r.Checkpoints[0].Parameters(r.Config)
		if layers, ok := r.Config.Int("num_hidden_layers"); !ok || layers < 1 || n == 0 || note != "" {
			t.Errorf("%s: %d layers, %d parameters %q", name, layers, n, note)
		}
		if faults := r.Checkpoints[0].Validate(t.Context()); len(faults) > 0 {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

// TestFaultOfLongName keeps a message in bounds although a name has no bound.
func TestFaultOfLongName(t *testing.T) {
	f := checkpoint.Fault{File: "w.gguf", Tensor: strings.Repeat("é", 1<<20), Detail: "too long", Offset: -1}
	want := `w.gguf: tensor "` + strings.Repeat("é", 100) + `"… (2097152 bytes): too long`
	if got := f.Error(); got != want {
		t.Errorf("got %.300q of %d bytes", got, len(got))
	}
}

// A walk by number leaves nothing to collect, in either format.
func TestAtAllocates(t *testing.T) {
	for _, name := range []string{"model.safetensors", "model.gguf"} {
		r, err := checkpoint.Open(t.Context(), fixture.File(t, name, "tensor w F32 [2,3]"), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c := r.Checkpoints[0]
		var bytes uint64
		if n := testing.AllocsPerRun(100, func() { bytes += c.At(0).Bytes }); n > 0 || bytes == 0 {
			t.Errorf("%s: At allocates %v times", name, n)
		}
	}
}

func TestSeverityText(t *testing.T) {
	for _, want := range []checkpoint.Severity{checkpoint.Info, checkpoint.Warning, checkpoint.Error} {
		text, err := want.MarshalText()
		var got checkpoint.Severity
		if err != nil || got.UnmarshalText(text) != nil || got != want {
			t.Errorf("%v: %q, %v, read as %v", want, text, err, got)
		}
	}
	var s checkpoint.Severity
	if err := s.UnmarshalText([]byte("fatal")); err == nil {
		t.Error("fatal is read as a severity")
	}
}
