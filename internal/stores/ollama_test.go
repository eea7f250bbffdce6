package stores_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// An ollama is a store in the making.
type ollama struct {
	t *testing.T
	*stores.Ollama
}

type layer struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int    `json:"size"`
	Name      string `json:"name,omitempty"`
}

// layer adds a blob, and returns the layer that names it.
func (o *ollama) layer(kind, name string, data []byte) layer {
	o.t.Helper()
	sum := sha256.Sum256(data)
	text := hex.EncodeToString(sum[:])
	write(o.t, filepath.Join(o.Dir, "blobs", "sha256-"+text), string(data))
	return layer{"application/vnd.ollama.image." + kind, "sha256:" + text, len(data), name}
}

func (o *ollama) model(path string, layers ...layer) {
	o.t.Helper()
	text, err := json.Marshal(map[string]any{"schemaVersion": 2, "layers": layers})
	if err != nil {
		o.t.Fatal(err)
	}
	write(o.t, filepath.Join(o.Dir, "manifests", filepath.FromSlash(path)), string(text))
}

func newOllama(t *testing.T) *ollama {
	o := &ollama{t, &stores.Ollama{Dir: t.TempDir()}}
	weights := fixture.Bytes(t, "format gguf\ntensor a F32 [2]")
	o.model("registry.ollama.ai/library/llama3/8b",
		o.layer("model", "", weights), o.layer("projector", "", []byte("p")),
		o.layer("adapter", "", []byte("a")), o.layer("adapter", "", []byte("b")),
		o.layer("template", "", []byte("{{ .Prompt }}")),
		layer{MediaType: "application/vnd.ollama.image.model", Digest: "sha256:../../../../etc/passwd"})
	o.model("registry.ollama.ai/me/Other/latest", layer{"application/vnd.ollama.image.model", "sha256:" + lfs, 5, ""})
	o.model("hf.co/org/name/Q4_K_M", o.layer("model", "", weights))
	o.model("registry.ollama.ai/library/mlx/latest",
		o.layer("json", "config.json", []byte("{}")),
		o.layer("tensor", "model.a.weight", fixture.Bytes(t, "tensor model.a.weight U32 [2]\ntensor model.a.weight.scale F32 [1]")),
		o.layer("tensor", "model.b.weight", fixture.Bytes(t, "tensor model.b.weight F32 [2]")),
		o.layer("tensor", "vae/c", fixture.Bytes(t, "tensor c F32 [1]")),
		o.layer("tensor", "../../d", fixture.Bytes(t, "tensor d F32 [1]")))
	return o
}

func TestOllama(t *testing.T) {
	o, ctx := newOllama(t), t.Context()
	files := func(m *stores.OllamaModel) map[string]int64 {
		out := make(map[string]int64)
		for _, dir := range []string{"", "vae"} {
			list, _ := m.ReadDir(dir)
			for _, e := range list {
				if fi, err := e.Info(); err == nil && !e.IsDir() {
					out[strings.TrimPrefix(dir+"/"+e.Name(), "/")] = fi.Size()
				}
			}
		}
		return out
	}
	m, err := o.Model(ctx, stores.OllamaName{ID: "LLAMA3", Tag: "8B"})
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(fixture.Bytes(t, "format gguf\ntensor a F32 [2]")))
	want := map[string]int64{"model.gguf": size, "mmproj.gguf": 1, "adapter.gguf": 1, "adapter-2.gguf": 1}
	if diff := cmp.Diff(want, files(m)); diff != "" {
		t.Error(diff)
	}
	src, err := m.Open(ctx, "model.gguf")
	if err != nil || src.Size() != size {
		t.Errorf("%v, %v", src, err)
	} else {
		src.Close()
	}
	if _, err := m.Open(ctx, "x.gguf"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if m, err = o.Model(ctx, stores.OllamaName{ID: "me/other", Tag: "latest"}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(ctx, "model.gguf"); !errors.Is(err, fs.ErrNotExist) || m.File("model.gguf").SHA256 != lfs {
		t.Errorf("a blob that is not there: %v", err)
	}
	if _, err := o.Model(ctx, stores.OllamaName{ID: "hf.co/org/name", Tag: "Q4_K_M"}); err != nil {
		t.Error(err)
	}
}

// A blob that is not what the manifest says is not read.
func TestOllamaVerifies(t *testing.T) {
	o, ctx := newOllama(t), t.Context()
	good := o.layer("model", "", fixture.Bytes(t, "format gguf\ntensor a F32 [2]"))
	short, config := good, o.layer("json", "config.json", []byte("{}"))
	short.Size--
	for _, tt := range []struct {
		name, file, want string
		layer            layer
	}{
		{"good", "model.gguf", "", good},
		{"short", "model.gguf", fmt.Sprintf("the manifest says that it has %d bytes, and the blob has %d; `ollama pull`", good.Size-1, good.Size), short},
		{"config", "config.json", "", config},
		{"changed", "config.json", "its SHA-256 is not the one in the manifest", config},
	} {
		if tt.name == "changed" {
			write(t, filepath.Join(o.Dir, "blobs", strings.Replace(config.Digest, ":", "-", 1)), "[]")
		}
		o.model("registry.ollama.ai/library/"+tt.name+"/latest", tt.layer)
		m, err := o.Model(ctx, stores.OllamaName{ID: tt.name, Tag: "latest"})
		if err != nil {
			t.Fatal(err)
		}
		src, err := m.Open(ctx, tt.file)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if err == nil {
			src.Close()
		}
	}
}

// TestOllamaTensors: one model is made of the tensors that the store keeps one by one.
func TestOllamaTensors(t *testing.T) {
	o, ctx := newOllama(t), t.Context()
	m, err := o.Model(ctx, stores.OllamaName{ID: "mlx", Tag: "latest"})
	if err != nil {
		t.Fatal(err)
	}
	src, err := m.Open(ctx, "model.safetensors.index.json")
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, src.Size())
	if err := source.ReadFull(src, text, 0); err != nil {
		t.Fatal(err)
	}
	want := `{"metadata":{"total_size":20},"weight_map":{"model.a.weight":"model.a.weight.safetensors","model.a.weight.scale":"model.a.weight.safetensors","model.b.weight":"model.b.weight.safetensors"}}`
	if string(text) != want {
		t.Errorf("got %s", text)
	}
	for _, name := range []string{"config.json", "vae/c.safetensors", "vae/model.safetensors.index.json"} {
		if m.File(name) == nil {
			t.Errorf("no %s", name)
		}
	}
	if len(m.Refused) == 0 {
		t.Error("a layer leaves the model")
	}
}

func TestOllamaNames(t *testing.T) {
	o, ctx := newOllama(t), t.Context()
	var got []string
	for _, n := range o.Names(ctx) {
		got = append(got, n.String())
	}
	if diff := cmp.Diff([]string{"hf.co/org/name:Q4_K_M", "llama3:8b", "me/Other:latest", "mlx:latest"}, got); diff != "" {
		t.Error(diff)
	}
	for _, tt := range []struct{ id, tag, want string }{
		{"llama3", "70b", "the model's tags there are 8b; `ollama pull llama3:70b`"},
		{"lama3", "8b", `did you mean "llama3"?`},
		{"me/../library/llama3", "8b", "not in the store"},
	} {
		_, err := o.Model(ctx, stores.OllamaName{ID: tt.id, Tag: tt.tag})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s:%s: %v; want %q", tt.id, tt.tag, err, tt.want)
		}
	}
	empty := &stores.Ollama{Dir: t.TempDir()}
	if _, err := empty.Model(ctx, stores.OllamaName{ID: "a", Tag: "b"}); err == nil || !strings.Contains(err.Error(), "OLLAMA_MODELS") {
		t.Error(err)
	}
}
