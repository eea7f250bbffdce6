package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/source"
)

func TestRetries(t *testing.T) {
	const s = time.Second
	for _, tt := range []struct {
		knobs string
		ok    bool
		waits []time.Duration
		note  string
	}{
		{"flaky=1", true, []time.Duration{s / 2}, ""},
		{"flaky=3 status=500", true, []time.Duration{s / 2, s, 2 * s}, "answers 500 Internal Server Error; asking again in 2 s"},
		{"flaky=5 status=408", true, []time.Duration{s / 2, s, 2 * s, 4 * s, 8 * s}, "answers 408 Request Timeout; asking again in 8 s"},
		{"flaky=6", false, []time.Duration{s / 2, s, 2 * s, 4 * s, 8 * s}, "asking again in 8 s"},
		{"flaky=1 status=404", false, nil, ""},
		{"retry-after=7", true, []time.Duration{7 * s}, "limits how often it is asked: waiting 7 s"},
		{"rate=1 wait=20", true, []time.Duration{21 * s}, "limits how often it is asked: waiting 21 s"},
		{"rate=1 wait=1000", false, nil, ""},
	} {
		w := newWorld(t)
		w.Repo("a/b").Commit(map[string][]byte{"x.json": []byte("{}")})
		if strings.HasPrefix(tt.knobs, "rate") { // the first request of the window
			if _, err := source.ReadDir(w.Places(t.Context()), "hf://a/b"); err != nil {
				t.Fatal(err)
			}
		}
		w.set(strings.Fields(tt.knobs)...)
		// Another repository, so that nothing is known yet.
		w.Repo("a/c").Commit(map[string][]byte{"x.json": []byte("{}")})
		_, err := source.ReadDir(w.Places(t.Context()), "hf://a/c")
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.knobs, err)
		}
		for i := range w.waits { // the governor goes by the clock
			w.waits[i] = w.waits[i].Round(s / 2)
		}
		if !slices.Equal(w.waits, tt.waits) || !strings.Contains(strings.Join(w.notes, "\n"), tt.note) || tt.note == "" != (len(w.notes) == 0) {
			t.Errorf("%s: waits %v, notes %q", tt.knobs, w.waits, w.notes)
		}
	}
}

// A connection that nobody accepts is not asked again.
func TestNoServer(t *testing.T) {
	w := newWorld(t)
	if _, err := source.ReadDir(w.Places(t.Context()), "hf://a/none"); err == nil { // it serves by now
		t.Fatal("a repository that does not exist")
	}
	w.Hub.Close()
	w.restart()
	_, err := source.ReadDir(w.Places(t.Context()), "hf://a/b")
	if err == nil || !strings.Contains(err.Error(), "refuses the connection") || len(w.waits) > 0 {
		t.Errorf("%v, waits %v", err, w.waits)
	}
}

func TestGovernor(t *testing.T) {
	now := time.Unix(1e9, 0)
	g := newGovernor()
	g.now = func() time.Time { return now }
	api, _ := url.Parse("https://hub/api/models/a/b/tree/main")
	file, _ := url.Parse("https://hub/a/b/resolve/main/x")
	said := func(remaining int) *http.Response {
		return &http.Response{StatusCode: 200, Header: http.Header{
			"Ratelimit": {fmt.Sprintf(`"api";r=%d;t=100`, remaining)}, "Ratelimit-Policy": {`"fixed window";"api";q=500;w=300`},
		}}
	}
	if d, _ := g.wait(api); d != 0 {
		t.Errorf("waits %v before anything is known", d)
	}
	g.learn(api, said(20))
	if d, _ := g.wait(api); d != 0 {
		t.Errorf("waits %v with 20 left", d)
	}
	// With few left, they are spread over what remains of the window.
	g.learn(api, said(9))
	var total time.Duration
	for range 9 {
		d, _ := g.wait(api)
		total = max(total, d)
	}
	if total < 60*time.Second || total > 200*time.Second {
		t.Errorf("the last of 9 waits %v", total)
	}
	if d, _ := g.wait(file); d != 0 {
		t.Errorf("a file waits %v for the API", d)
	}
	now = now.Add(101 * time.Second)
	if d, _ := g.wait(api); d != 0 {
		t.Errorf("waits %v in the next window", d)
	}
	for _, s := range []string{"", "x", `"api";r=-1;t=5`, `"api";r=1`, `"api";r=99999999999999999999;t=1`} {
		if _, _, ok := rateLimit(s); ok {
			t.Errorf("%q is taken for a limit", s)
		}
	}
}

// What waits, waits no longer than its context.
func TestSleep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sleep(ctx, time.Hour); err != context.Canceled {
		t.Error(err)
	}
}

// When a server fails for good, it is not asked six times for each of many files, and the
// waits of several requests for the same reason are told once.
func TestManyFail(t *testing.T) {
	w := newWorld(t)
	files := map[string][]byte{}
	for i := range 8 {
		files[fmt.Sprintf("%d.gguf", i)] = []byte("x")
	}
	w.Repo("a/b").Commit(files)
	ctx := w.Places(t.Context())
	if _, err := source.ReadDir(ctx, "hf://a/b"); err != nil {
		t.Fatal(err)
	}
	w.Reset()
	w.set("flaky=99")
	for name := range files {
		if _, err := source.Open(ctx, "hf://a/b/"+name); err != nil {
			t.Fatal(err) // nothing is asked yet: the listing has its size
		}
	}
	read := func(name string) error {
		src, err := source.Open(ctx, "hf://a/b/"+name)
		if err != nil {
			return err
		}
		return source.ReadFull(src, make([]byte, 1), 0)
	}
	for name := range files {
		if err := read(name); err == nil || !strings.Contains(err.Error(), "fails (503") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := len(w.Requests()); got != attempts+len(files)-1 {
		t.Errorf("%d requests for %d files", got, len(files))
	}
	// One that answers again is asked as often as others.
	w.Reset()
	w.set("flaky=2")
	if err := read("0.gguf"); err == nil {
		t.Error("an answer the first time")
	}
	w.Reset()
	if err := read("1.gguf"); err != nil {
		t.Error(err)
	}
	w.Reset()
	w.set("flaky=2")
	if err := read("2.gguf"); err != nil {
		t.Error(err)
	}
}

func TestTells(t *testing.T) {
	now := time.Unix(1e9, 0)
	g := newGovernor()
	g.now = func() time.Time { return now }
	hub, _ := url.Parse("https://hub/a")
	other, _ := url.Parse("https://other/a")
	for i, tt := range []struct {
		u     *url.URL
		wait  time.Duration
		after time.Duration
		want  bool
	}{
		{hub, time.Second, 0, true},
		{hub, time.Second, 0, false}, // another request, for the same reason
		{other, time.Second, 0, true},
		{hub, 2 * time.Second, 0, true}, // longer
		{hub, time.Second, time.Second, false},
		{hub, time.Second, time.Second, true}, // the first is over
	} {
		now = now.Add(tt.after)
		if got := g.tells(tt.u, tt.wait); got != tt.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// Who has to wait for longer than a window of the hub is told, and does not wait; nor does
// whatever is asked after that.
func TestLongWait(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"x.json": []byte("{}")})
	w.Repo("a/c").Commit(map[string][]byte{"x.json": []byte("{}")})
	w.set("rate=0", "retry-after=900")
	ctx := w.Places(t.Context())
	for _, ref := range []string{"hf://a/b", "hf://a/c"} {
		_, err := source.ReadDir(ctx, ref)
		if err == nil || !strings.Contains(err.Error(), "it says to wait 900 seconds") || len(w.waits) > 0 {
			t.Errorf("%s: %v, waits %v", ref, err, w.waits)
		}
	}
}

// A server that stops in the middle of its answers is named while it is waited for.
func TestBrokenTold(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"m.gguf": []byte(strings.Repeat("GGUF", 50))})
	w.set("cut=100")
	src, err := source.Open(w.Places(t.Context()), "hf://a/b/m.gguf")
	if err == nil {
		err = source.ReadFull(src, make([]byte, 200), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(w.notes, "\n"); !strings.Contains(got, "stops before the end of its answer; asking for the rest in 0.5 s") {
		t.Errorf("notes %q", got)
	}
}
