package remote

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
)

// serveRaw is a server that answers with what net/http's would not send. It closes the
// connection after an answer.
func serveRaw(t *testing.T, answer func(w io.Writer, r *http.Request)) (at string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					answer(conn, r)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String() + "/m.safetensors"
}

func rangeStart(r *http.Request) int {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
	at, _ := strconv.Atoi(first)
	return at
}

// Whatever speaks at the other end, a reader comes to an end of it, soon.
func TestHostileServers(t *testing.T) {
	data := fixture.Bytes(t, "tensor a F32 [1000]")
	for _, tt := range []struct {
		name, want string
		answer     func(w io.Writer, r *http.Request)
		most       int32 // requests
	}{
		{"headers without end", "sends headers of more than 256 KiB", func(w io.Writer, _ *http.Request) {
			for _, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n"); err == nil; {
				_, err = io.WriteString(w, "X-A: "+strings.Repeat("a", 1000)+"\r\n")
			}
		}, 1},
		{"not HTTP", "answers with what is not HTTP", func(w io.Writer, _ *http.Request) { io.WriteString(w, "SSH-2.0-OpenSSH\r\n") }, 1},
		{"another protocol", "answers 101 Switching Protocols", func(w io.Writer, _ *http.Request) {
			io.WriteString(w, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
			time.Sleep(2 * time.Second)
		}, 1},
		{"a byte at a time", "breaks off, again and again", func(w io.Writer, r *http.Request) {
			at := rangeStart(r)
			fmt.Fprintf(w, "HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\nContent-Range: bytes %d-%d/%d\r\n\r\n%s", at, at, len(data), data[at:at+1])
		}, 100},
		{"a byte now and then", "breaks off, again and again", func(w io.Writer, r *http.Request) {
			at := rangeStart(r)
			fmt.Fprintf(w, "HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\nContent-Range: bytes %d-%d/%d\r\n\r\n", len(data)-at, at, len(data)-1, len(data))
			for i := range data[at:] {
				if _, err := w.Write(data[at+i : at+i+1]); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}, 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			at := serveRaw(t, func(w io.Writer, r *http.Request) { asked.Add(1); tt.answer(w, r) })
			w := newWorld(t)
			w.opts.Settings.Patience = 100 * time.Millisecond
			src, err := source.Open(w.Places(t.Context()), at)
			if err == nil {
				_, err = src.ReadAt(make([]byte, src.Size()), 0)
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || asked.Load() > tt.most {
				t.Errorf("%v, %d requests", err, asked.Load())
			}
		})
	}
}

// A server that says it wants to be left alone for years is asked in the next window,
// by all that wait.
func TestGovernorIsBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	g := newGovernor()
	g.now = func() time.Time { return now }
	u, _ := url.Parse("https://hub/a/b/resolve/main/x")
	g.learn(u, &http.Response{StatusCode: 200, Header: http.Header{
		"Ratelimit": {`"resolvers";r=0;t=2000000000`}, "Ratelimit-Policy": {`"fixed window";"resolvers";q=500;w=300`},
	}}, now)
	for range 20 {
		if next := g.enter(u); next.wait > longestWait || next.changed != nil {
			t.Fatalf("%+v", next)
		}
	}
}

// A directory that belongs to another is no cache: who wrote the headers there?
func TestCacheOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a directory away")
	}
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"m.safetensors": fixture.Bytes(t, "tensor a F32 [2]")})
	dir := filepath.Join(w.cache, "wtinspect")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Skip(err)
	}
	w.names("hf://a/b")
	w.Client.Close()
	if n := len(w.cacheFiles()); n > 0 {
		t.Errorf("%d files are kept", n)
	}
	// Those of a time when it was one's own are not believed either.
	if err := os.Chown(dir, 0, -1); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.names("hf://a/b")
	w.Client.Close()
	if n := len(w.cacheFiles()); n != 1 {
		t.Fatalf("%d files are kept", n)
	}
	if err := os.Chown(dir, 12345, -1); err != nil {
		t.Fatal(err)
	}
	w.restart()
	w.Reset()
	w.names("hf://a/b")
	w.wants("headers of another are not read", 2, 1)
}

// Without a home the working directory is not taken for one.
func TestNoHome(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, dir := range []string{".cache/huggingface", "huggingface"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "token"), []byte("hf_planted"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := ReadSettings(t.Context(), func(string) string { return "" })
	if err != nil || s.token == "hf_planted" || !filepath.IsAbs(s.HubCache.Dir) && filepath.Separator == '/' {
		t.Errorf("%v, %q, %s", err, s.token, s.HubCache.Dir)
	}
}

// An error of the second attempt is the one to report, when it says more.
func TestListingTooLarge(t *testing.T) {
	w := newWorld(t)
	_, err := source.ReadDir(w.Places(t.Context()), "hf://a/none")
	if err == nil || !strings.Contains(err.Error(), "not found on ") {
		t.Error(err)
	}
	s := &scripted{answers: []string{"404\n\n", "200\nLink: <https://hub.test/api/next>; rel=\"next\"\n\n[]"}}
	w = &world{t: t, cache: t.TempDir()}
	w.fuzzed(s)
	if _, err := source.ReadDir(w.Places(t.Context()), "hf://a/b"); err == nil || !strings.HasSuffix(err.Error(), "hf://a/b: not found on hub.test; check the name and the revision") {
		t.Error(err)
	}
	s.answers = []string{"404\n\n", "200 +40000000\n\n["}
	w.fuzzed(s)
	if _, err := source.ReadDir(w.Places(t.Context()), "hf://a/c"); err == nil || !strings.Contains(err.Error(), "a listing of more than 32 MiB") {
		t.Error(err)
	}
}

// An error has its reference once.
func TestReferenceOnce(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"config.json": []byte(`{"model_type":"llama"}`)})
	w.set("wrong-range=1")
	_, err := source.ReadFile(w.Places(t.Context()), "hf://a/b/config.json", source.Document)
	if err == nil || strings.Count(err.Error(), "config.json") != 1 {
		t.Error(err)
	}
}
