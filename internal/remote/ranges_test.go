package remote

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
)

// noise is content that no range of which is like another.
func noise(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	p := make([]byte, n)
	r.Read(p)
	return p
}

// Whatever a reader asks for, from however many goroutines, it gets what the file
// has there.
func TestReadAnywhere(t *testing.T) {
	data := noise(1<<20 + 17)
	for _, knobs := range []string{
		"", "no-content-range", "no-length", "no-range", "no-linked", "uses=3", "cut=100000", "flaky=1", "gzip", "relative",
		"no-content-range no-linked no-commit", "cut=70000 uses=2 flaky=1", "mirror-links relative", "no-range no-length cut=5",
	} {
		for _, name := range []string{"model.safetensors", "model.gguf", "notes.txt"} {
			w := newWorld(t)
			w.Repo("a/b").Commit(map[string][]byte{name: data})
			if knobs != "" {
				w.set(strings.Fields(knobs)...)
			}
			ctx := w.Places(t.Context())
			if _, err := source.ReadDir(ctx, "hf://a/b"); err != nil {
				t.Fatalf("%s: %v", knobs, err)
			}
			src, err := source.Open(ctx, "hf://a/b/"+name)
			if err != nil {
				t.Errorf("%s, %s: %v", knobs, name, err)
				continue
			}
			if src.Size() != int64(len(data)) {
				t.Errorf("%s, %s: %d bytes", knobs, name, src.Size())
			}
			var g sync.WaitGroup
			for i := range 4 {
				g.Go(func() {
					r := rand.New(rand.NewPCG(uint64(i), 0))
					for range 10 {
						off := r.IntN(len(data))
						p := make([]byte, r.IntN(200_000))
						n, err := src.ReadAt(p, int64(off))
						if want := data[off:min(len(data), off+len(p))]; n != len(want) || !bytes.Equal(p[:n], want) || n < len(p) != (err == io.EOF) || err != nil && err != io.EOF {
							t.Errorf("%s, %s: %d bytes at %d: %d, %v", knobs, name, len(p), off, n, err)
							return
						}
					}
				})
			}
			g.Wait()
		}
	}
}

// What contradicts itself is an error, and never taken for a file.
func TestLies(t *testing.T) {
	data := noise(400_000)
	for _, tt := range []struct{ knobs, want string }{
		{"listed-size=5", "its size is 400005 bytes, and now"},
		{"listed-size=-5", "its size is 399995 bytes"},
		{"linked-size=7", "now 127.0.0.1"},
		{"range-total=1", "now 127.0.0.1"},
		{"range-total=-399999", "Content-Range that is none"},
		{"wrong-range=1", "where those from 0 were asked for"},
		{"long-range=10", "sends more than the bytes asked for"},
		{"long-range=10 no-content-range", "not as many as were asked for"},
		{"short-range=1 no-content-range", "not as many as were asked for"},
		{"short-range=1 no-content-range no-length", "not as many as were asked for"},
		{"short-range=500000", "Content-Range that is none"},
		{"loop", "redirects in circles"},
		{"absolute=file:///etc/passwd", "not an address of HTTP"},
		{"absolute=http://192.0.2.1/x", "--insecure-http"},
		{"change-tag", "it has changed while it was read"},
		{"html", "not the hub's listing"},
		{"flaky=100", "fails (503 Service Unavailable); try again later"},
		{"flaky=100 status=429 retry-after=0", "limits how often it is asked"},
	} {
		w := newWorld(t)
		w.Repo("a/b").Commit(map[string][]byte{"model.safetensors": data})
		w.set(strings.Fields(tt.knobs)...)
		ctx := w.Places(t.Context())
		_, err := source.ReadDir(ctx, "hf://a/b")
		for off := int64(0); err == nil && off < int64(len(data)); off += 100_000 {
			var src source.Source
			if src, err = source.Open(ctx, "hf://a/b/model.safetensors"); err == nil {
				_, err = io.ReadFull(io.NewSectionReader(src, off, 100_000), make([]byte, 100_000))
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "hf://a/b") {
			t.Errorf("%s: %v, want %q", tt.knobs, err, tt.want)
		}
	}
}

// A server that knows no ranges is read as far as that takes little.
func TestWithoutRanges(t *testing.T) {
	w := newWorld(t)
	header := fixture.Bytes(t, "tensor a F32 [2]")
	big := append(bytes.Clone(header), make([]byte, 40<<20)...)
	w.Repo("a/b").Commit(map[string][]byte{"big.safetensors": big, "small.safetensors": header})
	w.set("no-range")
	ctx := w.Places(t.Context())
	src, err := source.Open(ctx, "hf://a/b/big.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, len(header))
	if _, err := src.ReadAt(p, 0); err != nil || !bytes.Equal(p, header) {
		t.Errorf("the beginning: %v", err)
	}
	if _, _, sent := w.Counts(); sent > 8<<20 { // what was under way
		t.Errorf("%d bytes for a header", sent)
	}
	if _, err := src.ReadAt(p, 39<<20); err == nil || !strings.Contains(err.Error(), "whatever part is asked for; download it") {
		t.Errorf("the end: %v", err)
	}
	w.Reset()
	w.set("endless", "no-range", "no-linked", "plain-siblings")
	if _, err := source.Open(ctx, "hf://a/b/small.safetensors"); err == nil || !strings.Contains(err.Error(), "sends more than 32 MiB") {
		t.Errorf("an endless body: %v", err)
	}
}

// A server that stops half way is asked for the rest, and given up when it never
// goes on.
func TestStall(t *testing.T) {
	data := noise(300_000)
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"m.safetensors": data})
	w.set("stall")
	w.opts.Settings.Patience = 50 * time.Millisecond
	src, err := source.Open(w.Places(t.Context()), "hf://a/b/m.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	// Each answer brings half of what is asked for.
	p := make([]byte, 1000)
	if _, err := src.ReadAt(p, 0); err != nil || !bytes.Equal(p, data[:1000]) {
		t.Errorf("the first bytes: %v", err)
	}
	if _, err := src.ReadAt(make([]byte, len(data)), 0); err == nil || !strings.Contains(err.Error(), "breaks off, again and again") {
		t.Errorf("all of it: %v", err)
	}
	if n := len(w.waits); n < 5 {
		t.Errorf("%d times asked again", n)
	}
}

// A server that gives a byte at a time is not asked for every one of them.
func TestTrickle(t *testing.T) {
	w := newWorld(t)
	data := noise(200_000)
	base, asked := serveFiles(t, nil, func(rw http.ResponseWriter, r *http.Request) {
		var first int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &first)
		rw.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, first, len(data)))
		rw.WriteHeader(http.StatusPartialContent)
		rw.Write(data[first : first+1])
	})
	src, err := source.Open(w.Places(t.Context()), base+"/m.safetensors")
	if err == nil {
		_, err = src.ReadAt(make([]byte, 100_000), 0)
	}
	if n := len(*asked); n > 1000 {
		t.Errorf("%d requests, %v", n, err)
	}
}

func TestEmptyFile(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"model.safetensors": {}, "x.json": {}})
	ctx := w.Places(t.Context())
	for _, name := range []string{"model.safetensors", "x.json"} {
		src, err := source.Open(ctx, "hf://a/b/"+name)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := src.ReadAt(make([]byte, 4), 0); src.Size() != 0 || n != 0 || err != io.EOF {
			t.Errorf("%s: %d bytes, %d, %v", name, src.Size(), n, err)
		}
	}
}

// A reader that goes on where it was asks for more each time, also beside others.
func TestSequential(t *testing.T) {
	data := noise(40 << 20)
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"m.safetensors": data})
	src, err := source.Open(w.Places(t.Context()), "hf://a/b/m.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	var g sync.WaitGroup
	for part := range 4 {
		g.Go(func() {
			p := make([]byte, 256<<10)
			for off := part * 10 << 20; off < (part+1)*10<<20; off += len(p) {
				if _, err := src.ReadAt(p, int64(off)); err != nil || !bytes.Equal(p, data[off:off+len(p)]) {
					t.Errorf("at %d: %v", off, err)
					return
				}
			}
		})
	}
	g.Wait()
	if hub, cdn, sent := w.Counts(); hub > 4 || cdn > 4*7 || sent > 41<<20 {
		t.Errorf("%d and %d requests, %d bytes", hub, cdn, sent)
	}
}

func TestMissing(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"m.safetensors": tiny(t), "sub/x.json": []byte("{}")})
	ctx := w.Places(t.Context())
	for _, ref := range []string{"hf://a/b/none.safetensors", "hf://a/b/none.json", "hf://a/b/sub/none", "hf://a/b/none.safetensors"} {
		if _, err := source.Stat(ctx, ref); !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(fmt.Sprint(err), ref+": ") {
			t.Errorf("%s: %v", ref, err)
		}
		if _, err := source.Open(ctx, ref); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	w.wants("four of three files", 2, 0)
	if fi, err := source.Stat(ctx, "hf://a/b/sub"); err != nil || !fi.IsDir() {
		t.Error(err)
	}
	if _, err := source.Open(ctx, "hf://a/b/sub"); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Error(err)
	}
	entries, err := source.ReadDir(ctx, "hf://a/b/")
	if err != nil || len(entries) != 2 || entries[0].Name() != "m.safetensors" || !entries[1].IsDir() {
		t.Errorf("%v %v", entries, err)
	}
	w.wants("and a directory", 2, 0)
}
