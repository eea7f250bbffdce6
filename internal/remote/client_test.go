package remote

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
)

// A world is a hub and a client of it that does not wait.
type world struct {
	*hubtest.Hub
	*Client
	t     *testing.T
	cache string
	mu    sync.Mutex
	notes []string
	// traces are what -v shows, waits what it would have waited.
	traces []string
	waits  []time.Duration
	// ahead is how far the clock of the client is, as what it did not wait.
	ahead time.Duration
}

func newWorld(t *testing.T, env ...string) *world {
	t.Helper()
	w := &world{Hub: hubtest.New(t), t: t, cache: t.TempDir()}
	w.restart(env...)
	return w
}

// restart begins another run of the program.
func (w *world) restart(env ...string) {
	w.t.Helper()
	vars := map[string]string{"HF_ENDPOINT": w.Hub.URL, "XDG_CACHE_HOME": w.cache}
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		vars[name] = value
	}
	w.begin(vars)
}

func (w *world) begin(vars map[string]string) {
	w.t.Helper()
	s, err := ReadSettings(w.t.Context(), func(name string) string { return vars[name] })
	if err != nil {
		w.t.Fatal(err)
	}
	w.notes, w.traces, w.waits = nil, nil, nil
	say := func(list *[]string) func(string, ...any) {
		return func(format string, args ...any) {
			w.mu.Lock()
			defer w.mu.Unlock()
			*list = append(*list, fmt.Sprintf(format, args...))
		}
	}
	c, err := NewClient(Options{Settings: s, UserAgent: "wtinspect/test", Note: say(&w.notes), Trace: say(&w.traces)})
	if err != nil {
		w.t.Fatal(err)
	}
	c.pause = func(ctx context.Context, d time.Duration) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.waits = append(w.waits, d)
		w.ahead += d
		return ctx.Err()
	}
	c.http.(*retrier).rates.now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.ahead)
	}
	// Names below localhost mean this machine, whatever the resolver says.
	c.transport().DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
	}
	w.Client = c
}

// set changes how the hub behaves.
func (w *world) set(knobs ...string) {
	w.t.Helper()
	if err := w.Set(knobs...); err != nil {
		w.t.Fatal(err)
	}
}

// open opens a reference as every command does.
func (w *world) open(ref string) (*checkpoint.Release, error) {
	w.t.Helper()
	rel, err := checkpoint.Open(w.Places(w.t.Context()), ref, &checkpoint.Options{NoConfig: true})
	if err == nil {
		w.t.Cleanup(func() { rel.Close() })
		for _, c := range rel.Checkpoints {
			c.Validate(w.Places(w.t.Context()))
		}
	}
	return rel, err
}

// names opens a reference and returns the names of its tensors.
func (w *world) names(ref string) string {
	w.t.Helper()
	rel, err := w.open(ref)
	if err != nil {
		w.t.Errorf("%s: %v", ref, err)
		return ""
	}
	var names []string
	for _, c := range rel.Checkpoints {
		for _, f := range c.Files {
			if f.Err != nil {
				w.t.Errorf("%s: %v", f.Path, f.Err)
			}
		}
		for _, t := range c.All() {
			names = append(names, t.Name)
		}
	}
	return strings.Join(names, " ")
}

func (w *world) log() string {
	var b strings.Builder
	for _, r := range w.Requests() {
		fmt.Fprintf(&b, "%s %s %s %d %d\n", r.Host, r.URI, r.Header.Get("Range"), r.Status, r.Bytes)
	}
	return b.String()
}

// wants compares how many requests were made.
func (w *world) wants(what string, hub, cdn int) {
	w.t.Helper()
	if h, c, _ := w.Counts(); h != hub || c != cdn {
		w.t.Errorf("%s: %d requests to the hub and %d to the other host, want %d and %d\n%s", what, h, c, hub, cdn, w.log())
	}
}

func tiny(t *testing.T) []byte {
	return fixture.Bytes(t, "tensor a.weight F32 [2,3]\ntensor b.weight BF16 [4]")
}

func TestRequestCounts(t *testing.T) {
	w := newWorld(t)
	sha := w.Repo("org/one").Commit(map[string][]byte{"model.safetensors": tiny(t), "config.json": []byte(`{"model_type":"llama"}`), "README.md": []byte("#")})
	const want = "a.weight b.weight"
	for _, tt := range []struct {
		ref             string
		hub, cdn        int
		again, againCDN int
	}{
		{"hf://org/one/model.safetensors", 1, 1, 1, 0}, // no listing is needed
		{"hf://org/one@" + sha + "/model.safetensors", 1, 1, 0, 0},
		{"hf://org/one", 2, 1, 1, 0},
		{"hf://org/one@" + sha, 2, 1, 0, 0},
	} {
		w.cache = t.TempDir()
		w.restart()
		w.Reset()
		if got := w.names(tt.ref); got != want {
			t.Errorf("%s: %s", tt.ref, got)
		}
		w.wants(tt.ref, tt.hub, tt.cdn)
		w.Client.Close()
		w.restart()
		w.Reset()
		if got := w.names(tt.ref); got != want {
			t.Errorf("%s, again: %s", tt.ref, got)
		}
		w.wants(tt.ref+" again", tt.again, tt.againCDN)
	}
}

func TestTokenStaysHome(t *testing.T) {
	const secret = "hf_veryverysecret"
	for _, cdn := range []string{"", "http://cdn.localhost:PORT", "http://localhost:PORT"} {
		w := newWorld(t)
		w.SetToken(secret)
		_, hubPort, _ := net.SplitHostPort(strings.TrimPrefix(w.Hub.URL, "http://"))
		_, cdnPort, _ := net.SplitHostPort(strings.TrimPrefix(w.CDN, "http://"))
		// By name, as a client that compares host names alone takes a sub-domain for
		// the same.
		w.restart("HF_ENDPOINT=http://localhost:"+hubPort, "HF_TOKEN="+secret)
		if cdn != "" {
			w.set("cdn=" + strings.ReplaceAll(cdn, "PORT", cdnPort))
		}
		repo := w.Repo("org/secret")
		repo.Private = true
		repo.Commit(map[string][]byte{"model.safetensors": tiny(t)})
		if got := w.names("hf://org/secret"); got != "a.weight b.weight" {
			t.Errorf("%q: %q", cdn, got)
		}
		hub, other := 0, 0
		for _, r := range w.Requests() {
			switch auth := r.Header.Get("Authorization"); {
			case r.Host == "hub" && auth == "Bearer "+secret:
				hub++
			case r.Host == "cdn" && auth == "":
				other++
			default:
				t.Errorf("%s has the token %q", r.Host, auth)
			}
			if strings.Contains(r.URI, secret) || r.Header.Get("Referer") != "" {
				t.Errorf("%s %v", r.URI, r.Header)
			}
		}
		if hub == 0 || other == 0 {
			t.Errorf("%q: %d and %d requests", cdn, hub, other)
		}
		if said := strings.Join(append(w.notes, w.traces...), "\n"); strings.Contains(said, secret) || strings.Contains(said, "Signature=") || said == "" {
			t.Errorf("it says\n%s", said)
		}
		w.SetToken("hf_another")
		w.restart("HF_ENDPOINT=http://localhost:"+hubPort, "HF_TOKEN="+secret)
		if _, err := w.open("hf://org/secret"); err == nil || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "HF_TOKEN") {
			t.Errorf("%v", err)
		}
	}
}

func TestAllowed(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ from, to, want string }{
		{"", "https://host/x", ""},
		{"", "http://127.0.0.1:8080/x", ""},
		{"", "http://a.localhost/x", ""},
		{"", "http://[::1]:1/x", ""},
		{"", "http://host/x", "--insecure-http"},
		{"", "http://127.0.0.1.nip.io/x", "--insecure-http"},
		{"https://host/x", "http://host/x", "--insecure-http"},
		{"https://host/x", "http://localhost/x", "redirects to this machine"},
		{"https://host/x", "https://0.0.0.0/x", "redirects to this machine"},
		{"https://host/x", "file:///etc/passwd", "not an address of HTTP"},
		{"https://host/x", "https://a:b@host/x", "user's name"},
	} {
		var from *url.URL
		if tt.from != "" {
			from, _ = url.Parse(tt.from)
		}
		to, err := url.Parse(tt.to)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.allowed(from, to); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s to %s: %v, want %q", tt.from, tt.to, err, tt.want)
		}
	}
}

func (c *Client) transport() *http.Transport { return c.http.(*retrier).next.(*http.Transport) }

// In the clear a token is not sent, and the error says so.
func TestTokenNotInTheClear(t *testing.T) {
	w := newWorld(t)
	repo := w.Repo("a/b")
	repo.Private = true
	repo.Commit(map[string][]byte{"model.safetensors": tiny(t)})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(w.Hub.URL, "http://"))
	w.restart("HF_ENDPOINT=http://hub.test:"+port, "HF_TOKEN=hf_test")
	w.opts.InsecureHTTP = true
	if _, err := w.open("hf://a/b"); err == nil || !strings.Contains(err.Error(), "the token of HF_TOKEN is not sent over http://") {
		t.Error(err)
	}
	for _, r := range w.Requests() {
		if auth := r.Header.Get("Authorization"); auth != "" {
			t.Errorf("sent %q", auth)
		}
	}
	w.opts.InsecureHTTP = false
	if _, err := w.open("hf://a/c"); err == nil || !strings.Contains(err.Error(), "--insecure-http") {
		t.Error(err)
	}
}
