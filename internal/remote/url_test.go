package remote

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
)

// serveFiles is a server that has files and nothing else, as http.ServeContent
// serves them, or as f does.
func serveFiles(t *testing.T, files map[string][]byte, f http.HandlerFunc) (url string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	var mu sync.Mutex // readers ask for several files at a time
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		*asked = append(*asked, r.URL.RequestURI()+" "+r.Header.Get("Range"))
		mu.Unlock()
		if f != nil {
			f(w, r)
			return
		}
		data, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", fmt.Sprintf(`"%d"`, len(data)))
		http.ServeContent(w, r, "", fixedTime, strings.NewReader(string(data)))
	}))
	t.Cleanup(s.Close)
	return s.URL, asked
}

func TestURL(t *testing.T) {
	w := newWorld(t)
	base, asked := serveFiles(t, map[string][]byte{
		"/m/model.safetensors":                fixture.Bytes(t, "tensor a F32 [2]"),
		"/s/model.safetensors.index.json":     []byte(`{"weight_map":{"one":"model-00001-of-00002.safetensors","two":"model-00002-of-00002.safetensors"}}`),
		"/s/model-00001-of-00002.safetensors": fixture.Bytes(t, "tensor one F32 [2]"),
		"/s/model-00002-of-00002.safetensors": fixture.Bytes(t, "tensor two F32 [2]"),
		"/g/m-00001-of-00002.gguf":            fixture.Bytes(t, "format gguf\nkv split.no u16 0\nkv split.count u16 2\nkv split.tensors.count i32 2\ntensor x F32 [2]"),
		"/g/m-00002-of-00002.gguf":            fixture.Bytes(t, "format gguf\nkv split.no u16 1\nkv split.count u16 2\nkv split.tensors.count i32 2\ntensor y F32 [2]"),
	}, nil)
	for ref, want := range map[string]string{
		"/m/model.safetensors":            "a",
		"/s/model.safetensors.index.json": "one two",
		"/g/m-00001-of-00002.gguf":        "x y",
	} {
		if got := w.names(base + ref); got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	if len(*asked) != 6 {
		t.Errorf("asked for\n%s", strings.Join(*asked, "\n"))
	}
	if _, err := w.open(base + "/m/none.safetensors"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(fmt.Sprint(err), "has no such file") {
		t.Error(err)
	}
}

// A query may be a signature: it is sent, and in no message.
func TestSignedURL(t *testing.T) {
	w := newWorld(t)
	data := fixture.Bytes(t, "tensor a F32 [2]")
	base, _ := serveFiles(t, nil, func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.RawQuery != "X-Signature=secret" {
			http.Error(rw, "secret", http.StatusForbidden)
			return
		}
		http.ServeContent(rw, r, "", fixedTime, strings.NewReader(string(data)))
	})
	ref, err := w.Client.Normalize(base + "/m.safetensors?X-Signature=secret")
	if err != nil || strings.Contains(ref, "secret") {
		t.Fatalf("%q, %v", ref, err)
	}
	if got := w.names(ref); got != "a" {
		t.Error(got)
	}
	bad, err := w.Client.Normalize(base + "/other.safetensors?X-Signature=secret2")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.open(bad)
	if said := fmt.Sprint(err, w.notes, w.traces); err == nil || strings.Contains(said, "secret") || !strings.Contains(said, "forbids it (403 Forbidden); check the address") {
		t.Error(said)
	}
}

// A file that is replaced while it is read is an error.
func TestReplaced(t *testing.T) {
	w := newWorld(t)
	n := 0
	base, _ := serveFiles(t, nil, func(rw http.ResponseWriter, r *http.Request) {
		n++
		rw.Header().Set("ETag", fmt.Sprintf(`"%d"`, n))
		http.ServeContent(rw, r, "", fixedTime, strings.NewReader(string(noise(1<<20))))
	})
	src, err := source.Open(w.Places(t.Context()), base+"/m.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.ReadAt(make([]byte, 10), 900_000); err == nil || !strings.Contains(err.Error(), "has changed while it was read") {
		t.Error(err)
	}
}
