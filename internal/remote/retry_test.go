package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
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
	answered := func(u *url.URL, remaining int) {
		g.learn(u, said(remaining), now)
		g.leave(u)
	}
	// Before anything is known one request is made, and others wait for its answer.
	if first := g.enter(api); !first.enters || first.wait != 0 {
		t.Errorf("the first request: %+v", first)
	}
	if second := g.enter(api); second.enters || second.changed == nil {
		t.Errorf("another before the answer: %+v", second)
	}
	answered(api, 20)
	for range 10 {
		if next := g.enter(api); !next.enters || next.wait != 0 {
			t.Errorf("with 20 left: %+v", next)
		}
	}
	// With few left, those under way counted, they are spread over what remains of the
	// window.
	var total time.Duration
	for range 10 {
		next := g.enter(api)
		if !next.enters {
			t.Fatalf("%+v", next)
		}
		total = max(total, next.wait)
	}
	if total < 60*time.Second || total > 200*time.Second {
		t.Errorf("the last of 10 waits %v", total)
	}
	// As many are under way as are left.
	if next := g.enter(api); next.enters || next.changed == nil {
		t.Errorf("with none left: %+v", next)
	}
	for i := range 20 {
		answered(api, i) // out of order: the least counts
	}
	if next := g.enter(api); next.enters || next.wait < 100*time.Second || next.wait > 102*time.Second {
		t.Errorf("with none left and none under way: %+v", next)
	}
	if next := g.enter(file); !next.enters || next.wait != 0 {
		t.Errorf("a file waits for the API: %+v", next)
	}
	// In the next window nothing is known again.
	now = now.Add(102 * time.Second)
	if next := g.enter(api); !next.enters || next.wait != 0 {
		t.Errorf("in the next window: %+v", next)
	}
	if next := g.enter(api); next.enters {
		t.Errorf("another in the next window: %+v", next)
	}
	// A server that does not count is asked freely.
	g.learn(file, &http.Response{StatusCode: 200, Header: http.Header{}}, now)
	for range 5 {
		if next := g.enter(file); !next.enters || next.wait != 0 {
			t.Errorf("a server that does not count: %+v", next)
		}
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

// However many requests there are at once, and over several windows, the hub never has to
// refuse one: each is made when it is sure to be counted.
func TestNoRefusals(t *testing.T) {
	for _, quota := range []int{1, 7, 40} { // so few that no request has to be spread
		w := newWorld(t)
		rates := w.Client.http.(*retrier).rates
		w.Clock(rates.now)
		// Time passes only while nothing is under way, or an answer could be older than a
		// window.
		w.Client.pause = func(ctx context.Context, d time.Duration) error {
			for at := rates.now().Add(d); rates.now().Before(at) && ctx.Err() == nil; {
				rates.mu.Lock()
				under := int64(0)
				for _, b := range rates.buckets {
					under += b.under
				}
				w.mu.Lock()
				if now := time.Now().Add(w.ahead); under == 0 && now.Before(at) {
					w.ahead += at.Sub(now)
				}
				w.mu.Unlock()
				rates.mu.Unlock()
				runtime.Gosched()
			}
			return ctx.Err()
		}
		const repos = 60
		for i := range repos {
			w.Repo(fmt.Sprintf("a/r%d", i)).Commit(map[string][]byte{"config.json": []byte("{}"), "x.txt": []byte("x")})
		}
		w.set(fmt.Sprintf("quota=%d", quota))
		ctx := w.Places(t.Context())
		var g sync.WaitGroup
		for worker := range 8 {
			g.Go(func() {
				for i := worker; i < repos; i += 8 {
					ref := fmt.Sprintf("hf://a/r%d", i)
					if _, err := source.ReadDir(ctx, ref); err != nil {
						t.Error(err)
					}
					if _, err := source.ReadFile(ctx, ref+"/config.json", source.Document); err != nil {
						t.Error(err)
					}
				}
			})
		}
		g.Wait()
		asked := 0
		for _, r := range w.Requests() {
			if r.Status == http.StatusTooManyRequests {
				t.Errorf("quota %d: %s is refused", quota, r.URI)
			}
			asked++
		}
		if asked < 2*repos {
			t.Errorf("quota %d: %d requests", quota, asked)
		}
		w.Hub.Close()
	}
}

// A rate that the user gives is of all requests to a host.
func TestRate(t *testing.T) {
	w := newWorld(t)
	w.Client.http.(*retrier).rates.rate = 30
	for i := range 10 {
		w.Repo(fmt.Sprintf("a/r%d", i)).Commit(map[string][]byte{"x.json": []byte("{}")})
		if _, err := source.ReadDir(w.Places(t.Context()), fmt.Sprintf("hf://a/r%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if want := 9 * 2 * time.Second; w.ahead < want-time.Second || w.ahead > want+time.Second {
		t.Errorf("10 requests at 30 a minute take %v, want %v", w.ahead, want)
	}
}
