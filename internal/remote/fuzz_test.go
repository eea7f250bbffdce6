package remote

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A scripted server answers one request after the other with what a text says:
//
//	STATUS[ +N]
//	Name: value
//
//	body
//	%%
//
// N bytes follow the body, and after the last answer it is the first one's turn.
type scripted struct {
	answers []string
	asked   int
	sent    int64
}

func (s *scripted) RoundTrip(req *http.Request) (*http.Response, error) {
	text := s.answers[s.asked%len(s.answers)]
	s.asked++
	head, body, _ := strings.Cut(text, "\n\n")
	first, rest, _ := strings.Cut(head, "\n")
	status, more, _ := strings.Cut(first, " +")
	code, err := strconv.Atoi(status)
	if err != nil || code < 100 || code > 999 {
		return nil, fmt.Errorf("connection reset")
	}
	resp := &http.Response{StatusCode: code, Status: status, Header: http.Header{}, ContentLength: -1, Request: req}
	for line := range strings.Lines(rest) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			resp.Header.Add(textproto.CanonicalMIMEHeaderKey(name), strings.TrimSpace(value))
		}
	}
	if n, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		resp.ContentLength = n
	}
	after, _ := strconv.ParseInt(more, 10, 64)
	resp.Body = io.NopCloser(io.TeeReader(io.MultiReader(strings.NewReader(body), io.LimitReader(zeros{}, after)), counting{&s.sent}))
	return resp, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

type counting struct{ n *int64 }

func (c counting) Write(p []byte) (int, error) { *c.n += int64(len(p)); return len(p), nil }

// Whatever a server answers ends in a value or an error, and takes no more than
// the limits say.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{
		"206\nContent-Range: bytes 0-3/4\n\nabcd",
		"200\nContent-Length: 4\n\nabcd",
		"200 +99999999999\n\n",
		"206 +99999999999\nContent-Range: bytes 0-131071/99999999999\n\n",
		"206 +5\nContent-Length: 5\nX-Linked-Size: 5\n\n",
		"416\nContent-Range: bytes */0\n\n",
		"302\nLocation: https://cdn/x?sig\nX-Linked-Size: 4\nX-Repo-Commit: 0123456789012345678901234567890123456789\n\n%%206\nContent-Range: bytes 0-3/4\n\nabcd",
		"302\nLocation: /x\n\n",
		"302\nLocation: %zz\n\n",
		"200\nContent-Encoding: gzip\n\n\x1f\x8b",
		"200\n\n" + `{"sha":"0123456789012345678901234567890123456789","siblings":[{"rfilename":"m.safetensors","size":9223372036854775807,"lfs":{"sha256":"x","size":-1}},{"rfilename":"../x","size":1}]}`,
		"200\n\n" + `{"sha":"main","siblings":[{"rfilename":"m.safetensors"}]}` + "%%200\nLink: <https://hub.test/api/next>; rel=\"next\"\n\n" + `[{"type":"file","path":"m.safetensors","size":4}]`,
		"200\n\n" + `{"sha":"main","siblings":[{"rfilename":"m.safetensors"}]}` + "%%200\nLink: <https://elsewhere/next>; rel=\"next\"\n\n[]",
		"200 +40000000\n\n[",
		"429\nRateLimit: \"api\";r=0;t=1\nRateLimit-Policy: \"fixed window\";\"api\";q=-1;w=300\n\n",
		"503\nRetry-After: 99999999999999999999\n\n%%404\nX-Error-Code: EntryNotFound\n\n",
		"401\nX-Error-Message: \x1b[31m\n\n{\"error\":\"x\"}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script string) {
		s := &scripted{answers: strings.Split(script, "%%")}
		if len(s.answers) > 20 {
			return
		}
		w := &world{t: t, cache: t.TempDir()}
		w.fuzzed(s)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ctx := w.Places(t.Context())
		for _, ref := range []string{"hf://a/b/m.safetensors", "hf://a/c", "https://elsewhere/m.gguf", "https://elsewhere/config.json"} {
			_, _ = source.ReadDir(ctx, ref)
			src, err := source.Open(ctx, ref)
			if err != nil {
				if !strings.HasPrefix(err.Error(), "h") || strings.Contains(err.Error(), "?sig") {
					t.Errorf("%s: %v", ref, err)
				}
				continue
			}
			if src.Size() < 0 {
				t.Errorf("%s: %d bytes", ref, src.Size())
			}
			for _, off := range []int64{0, 8, src.Size() / 2, src.Size() - 1, src.Size()} {
				p := bytes.Repeat([]byte{1}, 100)
				if n, err := src.ReadAt(p, max(0, off)); n < len(p) && err == nil {
					t.Errorf("%s: %d bytes of %d at %d, and no error", ref, n, len(p), off)
				}
			}
		}
		runtime.ReadMemStats(&after)
		if taken := after.TotalAlloc - before.TotalAlloc; taken > 2<<30 || s.sent > 1<<30 || s.asked > 400 {
			t.Errorf("%d bytes of memory, %d bytes of bodies, %d requests", taken, s.sent, s.asked)
		}
		w.Client.Close()
	})
}

// fuzzed begins a run that asks nobody but the script.
func (w *world) fuzzed(s *scripted) {
	w.Hub = nil
	w.begin(map[string]string{"HF_ENDPOINT": "https://hub.test", "HF_TOKEN": "hf_secret", "XDG_CACHE_HOME": w.cache})
	w.http.(*retrier).next = s
}
