package checkpoint_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// FuzzIndex opens a set of two shards with any index beside it, by the
// directory and by the index, and asks everything of it: nothing panics, and
// no file outside the directory is opened.
func FuzzIndex(f *testing.F) {
	for _, s := range []string{
		`{"metadata":{"total_size":16},"weight_map":{"a":"m-00001-of-00002.safetensors","b":"m-00002-of-00002.safetensors"}}`,
		`{"metadata":{"total_size":"16.0"},"weight_map":{"a":"./m-00001-of-00002.safetensors","b":"x/../m-00002-of-00002.safetensors","c":"../outside.safetensors"}}`,
		`{"weight_map":{"a":"m-00002-of-00002.safetensors","ghost":"m-00003-of-00002.safetensors","":""}}`,
		`{"weight_map":{"x":"none-1.safetensors","y":"none-2.safetensors"}}`,
		`{"weight_map":{"x":"m.safetensors.index.json"}}`,
		`{"weight_map":{}}`, `{}`, `[]`, ``,
	} {
		f.Add([]byte(s))
	}
	root := f.TempDir()
	dir := filepath.Join(root, "set")
	for name, text := range map[string]string{
		"set/m-00001-of-00002.safetensors": "tensor a F32 [2]",
		"set/m-00002-of-00002.safetensors": "tensor b F32 [2]\ntensor c F32 [2]",
		"outside.safetensors":              "tensor secret F32 [2]",
	} {
		if err := fixture.Write(filepath.Join(root, name), text); err != nil {
			f.Fatal(err)
		}
	}
	index := filepath.Join(dir, "m.safetensors.index.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(index, text, 0o644); err != nil {
			t.Fatal(err)
		}
		for _, ref := range []string{dir, index} {
			r, err := checkpoint.Open(t.Context(), ref, nil)
			if err != nil {
				if ref == dir {
					t.Fatalf("the shards are there, and yet: %v", err)
				}
				continue
			}
			for _, c := range r.Checkpoints {
				for _, file := range c.Files {
					if file.Path != "" && !strings.HasPrefix(file.Path, dir+string(filepath.Separator)) {
						t.Fatalf("%q is outside", file.Path)
					}
				}
				c.Validate(t.Context())
				c.Parameters(r.Config)
				c.Metadata()
				for i, tensor := range c.All() {
					if tensor.Name == "secret" {
						t.Fatal("a tensor from outside")
					}
					j, ok := c.Lookup(tensor.Name)
					if !ok || c.At(j).Name != tensor.Name {
						t.Fatalf("tensor %d, %q, is not found", i, tensor.Name)
					}
					if _, err := c.Data(i); (err != nil) != c.NamesOnly() {
						t.Fatalf("data of %q: %v", tensor.Name, err)
					}
				}
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// FuzzParseConfig asks everything of any document.
func FuzzParseConfig(f *testing.F) {
	for _, s := range []string{
		`{"quantization_config":{"quant_method":"gptq","bits":4,"group_size":128}}`,
		`{"quantization_config":{"config_groups":{"g":{"targets":["Linear","re:.*("],"weights":{"num_bits":4}}}}}`,
		`{"quantization":{"bits":-1,"group_size":1e9}}`, `{"architectures":7}`, `{"text_config":{"a":null}}`, `[]`,
	} {
		f.Add([]byte(s))
	}
	path := filepath.Join(f.TempDir(), "m.safetensors")
	err := fixture.Write(path, "tensor l.qweight I32 [32,128]\ntensor m.weight_packed I32 [8,8]\ntensor n.weight U32 [8,8]\ntensor n.scales F16 [8,1]\ntensor o.weight U8 [8,1]")
	if err != nil {
		f.Fatal(err)
	}
	r, err := checkpoint.Open(f.Context(), path, nil)
	if err != nil {
		f.Fatal(err)
	}
	defer r.Close()
	f.Fuzz(func(t *testing.T, text []byte) {
		cfg, err := checkpoint.ParseConfig("config.json", text)
		if err != nil {
			return
		}
		c := r.Checkpoints[0]
		c.Quantization(cfg)
		c.Architecture(cfg)
		c.Parameters(cfg)
	})
}
