package safetensors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

// expertIndex returns the index of n tensors in 163 shards, as transformers
// writes it.
func expertIndex(n int) []byte {
	var b bytes.Buffer
	b.WriteString("{\n  \"metadata\": {\n    \"total_size\": 1369060864000\n  },\n  \"weight_map\": {")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "\n    \"model.layers.%d.mlp.experts.%d.%s_proj.weight_scale_inv.%d\": \"model-%05d-of-00163.safetensors\"",
			i/1536, i/6%256, []string{"gate", "up", "down"}[i%3], i, i*163/n+1)
	}
	b.WriteString("\n  }\n}\n")
	return b.Bytes()
}

func TestReadIndex(t *testing.T) {
	x, err := ReadIndex(strings.NewReader(`{"dtype": "bf16", "metadata": {"total_size": "68777834496", "total_parameters": 34388917248, "format": {"a": [1]}},
		"weight_map": {"b": "x-00002-of-00002.safetensors", "\u0061": "\u0078-00002-of-00002.safetensors", "c": "sub/x_000001-of-000001.safetensors", "d": "x-00001-of-00002.safetensors"}}`))
	if err != nil {
		t.Fatal(err)
	}
	var got [][2]string
	for name, shard := range x.All() {
		got = append(got, [2]string{name, shard})
	}
	const first, second, sub = "x-00001-of-00002.safetensors", "x-00002-of-00002.safetensors", "sub/x_000001-of-000001.safetensors"
	if diff := gocmp.Diff([][2]string{{"b", second}, {"a", second}, {"c", sub}, {"d", first}}, got); diff != "" || x.Len() != 4 {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if want := []string{second, sub, first}; !slices.Equal(x.Shards(), want) {
		t.Errorf("shards %q, want %q", x.Shards(), want)
	}
	if diff := gocmp.Diff([]Member{{"total_size", `"68777834496"`}, {"total_parameters", "34388917248"}, {"format", `{"a": [1]}`}}, x.Metadata()); diff != "" {
		t.Errorf("metadata (-want +got):\n%s", diff)
	}
	if size, ok := x.TotalSize(); size != 68777834496 || !ok {
		t.Errorf("total size %d, %v", size, ok)
	}
	if n, ok := x.TotalParameters(); n != 34388917248 || !ok {
		t.Errorf("total parameters %d, %v", n, ok)
	}
	if hasErrors(x.Faults()) || len(x.Faults()) != 1 {
		t.Errorf("faults: %v", x.Faults())
	}
}

func TestTotals(t *testing.T) {
	for value, want := range map[string]uint64{
		`0`: 0, `18446744073709551615`: math.MaxUint64, `"12"`: 12, `12.0`: 12, `1.2e1`: 12, `"1e3"`: 1000, `0.0`: 0,
		`9007199254740993.0`: 9007199254740993,
	} {
		x, err := ReadIndex(strings.NewReader(`{"weight_map":{},"metadata":{"total_size":` + value + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := x.TotalSize(); n != want || !ok {
			t.Errorf("%s is read as %d, %v", value, n, ok)
		}
	}
	for _, value := range []string{`-1`, `1.5`, `1e-1`, `1e400`, `1e-999999999`, `18446744073709551616`, `null`, `"x"`, `""`, `"0x10"`, `"inf"`, `[1]`, `true`} {
		x, err := ReadIndex(strings.NewReader(`{"weight_map":{},"metadata":{"total_size":` + value + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if n, ok := x.TotalSize(); ok || len(x.Faults()) != 1 || x.Faults()[0].Code != CodeNumberForm {
			t.Errorf("%s is read as %d, %v; faults %v", value, n, ok, x.Faults())
		}
	}
}

func TestParseShardName(t *testing.T) {
	for name, want := range map[string]string{
		"model-00001-of-00007.safetensors":      "model 1 7",
		"model.fp16-00002-of-00002.safetensors": "model.fp16 2 2",
		"a/b_000123-of-123456.safetensors":      "a/b 123 123456",
		"x-of-y-00000-of-00001.safetensors":     "x-of-y 0 1",
		"model.safetensors":                     "",
		"-00001-of-00002.safetensors":           "",
		"00001-of-00002.safetensors":            "",
		"model-0001-of-0002.safetensors":        "",
		"model-00001-of-00002.bin":              "",
		"model-0000x-of-00002.safetensors":      "",
		"model00001-of-00002.safetensors":       "",
	} {
		got := ""
		if prefix, no, of, ok := ParseShardName(name); ok {
			got = fmt.Sprint(prefix, " ", no, " ", of)
		}
		if got != want {
			t.Errorf("%s is taken apart as %q, want %q", name, got, want)
		}
	}
}

func TestParseNamedShard(t *testing.T) {
	for name, want := range map[string]string{
		"model-mtp-of-00005.safetensors":         "model 5",
		"a/model_mtp-of-00005.safetensors":       "a/model 5",
		"model-00001-of-00005.safetensors":       "",
		"model-0001-of-00005.safetensors":        "", // a number of another length
		"model-mtp-of-5.safetensors":             "",
		"model--of-00005.safetensors":            "",
		"mtp-of-00005.safetensors":               "",
		"model-mtp-of-00005.bin":                 "",
		"model-mtp.safetensors":                  "",
		"model-of-the-year-of-000a5.safetensors": "",
	} {
		got := ""
		if prefix, of, ok := ParseNamedShard(name); ok {
			got = fmt.Sprint(prefix, " ", of)
		}
		if got != want {
			t.Errorf("%s is taken apart as %q, want %q", name, got, want)
		}
	}
}

func TestCheckShardPath(t *testing.T) {
	for _, name := range []string{"a", "a/b.safetensors", "./a", "a..b", "...", "a:b/c"} {
		if err := CheckShardPath(name); err != nil && name != "a:b/c" {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "./", "..", "a/", "a/..", "a/../b", "/a", "//a", `\a`, `a\..\b`, "c:a", "file:///a", "a\x00", "a\nb", "a/."} {
		if CheckShardPath(name) == nil {
			t.Errorf("%q is taken", name)
		}
	}
}

// TestIndexMemory reads an index as large as the largest known and holds what
// stays in memory, and what is ever allocated, against its size.
func TestIndexMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("reads an index of 55 MB")
	}
	const n = 497_000
	text := expertIndex(n)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	x, err := ReadIndex(bytes.NewReader(text))
	runtime.ReadMemStats(&after)
	if err != nil || x.Len() != n || len(x.Shards()) != 163 || len(x.Faults()) != 0 {
		t.Fatalf("%d entries, %d shards, %v, %v", x.Len(), len(x.Shards()), x.Faults(), err)
	}
	if got := int(after.TotalAlloc - before.TotalAlloc); got > len(text)+8<<20 {
		t.Errorf("allocated %d bytes for an index of %d", got, len(text))
	}
}

func BenchmarkReadIndex(b *testing.B) {
	text := expertIndex(100_000)
	wtinspect := func(read func(io.Reader) error) func(*testing.B) {
		return func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := read(bytes.NewReader(text)); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.Run("parser=wtinspect", wtinspect(func(r io.Reader) error { _, err := ReadIndex(r); return err }))
	b.Run("parser=summary", wtinspect(func(r io.Reader) error { _, err := SummarizeIndex(r); return err }))
	b.Run("parser=json", func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			var x struct {
				WeightMap map[string]string `json:"weight_map"`
			}
			if err := json.Unmarshal(text, &x); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("parser=python", func(b *testing.B) { benchmarkPython(b, text) })
}
