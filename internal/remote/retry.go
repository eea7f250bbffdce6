package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// attempts is how often a request is made, and firstPause how long the first
	// wait is; each is twice the one before.
	attempts   = 6
	firstPause = 500 * time.Millisecond
	// Requests are spread over the rest of a window when so small a part of it is
	// left: before, who asks for little would wait for nothing.
	scarce = 50
	// longestWait is a little more than a window of the hub's rate limit.
	longestWait = 330 * time.Second
)

// A retrier makes a request again that failed for a reason that passes, and does
// not make it before the server's rate allows. Source: huggingface_hub,
// utils/_http.py (http_backoff), and the hub's documentation of its rate limits.
type retrier struct {
	client *Client
	next   http.RoundTripper
	rates  *governor
}

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	c := r.client
	for attempt := 1; ; attempt++ {
		if err := r.turn(ctx, req.URL); err != nil {
			return nil, err
		}
		began, sent := time.Now(), r.rates.now()
		resp, err := hopOf(ctx).attempt(r.next, req, c.opts.Settings.Patience)
		var asked time.Duration
		if err == nil {
			asked = r.rates.learn(req.URL, resp, sent)
		}
		r.rates.leave(req.URL)
		if ctx.Err() != nil {
			if err == nil {
				resp.Body.Close()
			}
			return nil, context.Cause(ctx)
		}
		most := attempts
		if err != nil {
			e := understand(req, err)
			err, most = e, e.attempts
		} else if !passes(resp.StatusCode) {
			most = 1
			r.rates.works(req.URL)
		}
		if r.rates.hasFailed(req.URL) {
			most = 1
		}
		c.asked.request(req.URL.Host, began)
		c.trace(req, resp, err, time.Since(began))
		if attempt >= most || asked > longestWait {
			if most == attempts {
				r.rates.fails(req.URL)
			}
			return resp, err
		}
		wait := asked
		why := ""
		if err == nil {
			discard(resp)
			why = req.URL.Host + " answers " + resp.Status
		} else {
			why = err.Error()
		}
		if wait == 0 {
			wait = firstPause << (attempt - 1)
		} else if resp.StatusCode == http.StatusTooManyRequests {
			continue // the governor waits for everybody
		}
		if attempt > 1 && r.rates.tells(req.URL, wait) {
			c.opts.Note("%s; asking again in %s", why, seconds(wait))
		}
		if err := c.pause(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// turn waits until a request may be made. Its end is to be told with [governor.leave].
func (r *retrier) turn(ctx context.Context, u *url.URL) error {
	c := r.client
	if wait := r.rates.pace(u); wait > 0 {
		if err := c.pause(ctx, wait); err != nil {
			return err
		}
	}
	for {
		t := r.rates.enter(u)
		if t.wait > longestWait {
			text := fmt.Sprintf("%s limits how often it is asked; it says to wait %d seconds", u.Host, int64((t.wait+time.Second-1)/time.Second))
			return &netError{text: text, attempts: 1}
		}
		if t.told {
			c.opts.Note("%s limits how often it is asked: waiting %s", u.Host, seconds(t.wait))
		}
		var err error
		switch {
		case t.changed != nil:
			select {
			case <-t.changed:
			case <-ctx.Done():
				err = context.Cause(ctx)
			}
		case t.wait > 0:
			err = c.pause(ctx, t.wait)
		}
		if err != nil {
			if t.enters {
				r.rates.leave(u)
			}
			return err
		}
		if t.enters {
			return nil
		}
	}
}

// pauseBroken waits before the rest is asked for of an answer that broke off, the next
// time after so many. Who waited until it did is told why.
func (c *Client) pauseBroken(ctx context.Context, u *url.URL, failed int) error {
	wait := firstPause << failed
	if c.http.(*retrier).rates.tells(u, wait) {
		c.opts.Note("%s stops before the end of its answer; asking for the rest in %s", u.Host, seconds(wait))
	}
	return c.pause(ctx, wait)
}

// passes reports that what a server answers may be otherwise the next time.
func passes(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// A tally adds up what was asked of hosts.
type tally struct {
	mu    sync.Mutex
	hosts []*hostTally // in the order of the first requests
}

type hostTally struct {
	host        string
	requests    int
	bytes       int64
	first, last time.Time
}

// host returns the entry of a host. It is called with the lock.
func (t *tally) host(name string) *hostTally {
	for _, h := range t.hosts {
		if h.host == name {
			return h
		}
	}
	h := &hostTally{host: name}
	t.hosts = append(t.hosts, h)
	return h
}

// request counts a request that was answered, or not.
func (t *tally) request(host string, began time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.host(host)
	if h.requests++; h.first.IsZero() || began.Before(h.first) {
		h.first = began
	}
	h.last = time.Now()
}

// came counts bytes of a body.
func (t *tally) came(host string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	h := t.host(host)
	h.bytes += int64(n)
	h.last = time.Now()
}

func (t *tally) each(f func(host string, requests int, bytes int64, took time.Duration)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.hosts {
		f(h.host, h.requests, h.bytes, h.last.Sub(h.first))
	}
}

// trace tells of a request, without what is secret in it.
func (c *Client) trace(req *http.Request, resp *http.Response, err error, took time.Duration) {
	what := "GET " + shown(req.URL)
	if r := req.Header.Get("Range"); r != "" {
		what += " " + r
	}
	if err != nil {
		c.opts.Trace("%s: %v", what, err)
		return
	}
	id := ""
	if resp.StatusCode >= 400 {
		if id = requestID(resp.Header); id != "" {
			id = ", request " + id
		}
	}
	c.opts.Trace("%s: %s, %d ms%s", what, resp.Status, took.Milliseconds(), id)
}

// requestID returns what the operators of a hub find a request by.
func requestID(h http.Header) string {
	for _, name := range []string{"X-Request-Id", "X-Amzn-Trace-Id", "X-Amz-Cf-Id"} {
		if id := h.Get(name); id != "" {
			return id
		}
	}
	return ""
}

func seconds(d time.Duration) string {
	if d < time.Second {
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
	}
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10) + " s"
}

// A governor knows what servers say of their rates, and slows down before
// nothing is left, so that a server never has to refuse. The hub counts in fixed windows, one
// for its API and one for files, and says with every answer what is left of one. Until the
// first answer of a window nobody knows that, so that one request alone is made; afterwards
// as many are under way as may all be counted.
//
// It also knows which servers fail: of many requests that wait for the same
// reason one says so, and when one has given up the others ask once.
type governor struct {
	now func() time.Time
	// limits reports that a server is known to say its rate with every answer.
	limits func(u *url.URL) bool
	// rate is how often a host is asked in a minute at most, 0 for any number.
	rate     int
	mu       sync.Mutex
	paced    map[string]time.Time // by host, when it may be asked again at this rate
	buckets  map[string]*bucket
	troubles map[string]*trouble // by origin
}

// A trouble is a server that fails.
type trouble struct {
	failed bool // to answer a request, however often it was made
	// told is the longest wait that is told of and not over, at until.
	told  time.Duration
	until time.Time
}

type bucket struct {
	// until is when the next request may be made at all, next when at the pace that
	// lasts to the end of the window.
	until, next, reset time.Time
	// known says that remaining and quota are of the window that ends at reset.
	known            bool
	remaining, quota int64
	// free says that the server does not count.
	free bool
	// under is how many requests are under way, each of which may not be counted yet.
	under int64
	// changed is closed when one of them has ended.
	changed chan struct{}
	told    bool
}

func newGovernor() *governor {
	return &governor{
		now: time.Now, limits: func(*url.URL) bool { return true },
		paced: make(map[string]time.Time), buckets: make(map[string]*bucket), troubles: make(map[string]*trouble),
	}
}

// bucket returns the bucket that a request counts in. It is called with the lock.
func (g *governor) bucket(u *url.URL) *bucket {
	b := g.buckets[bucketOf(u)]
	if b == nil {
		b = &bucket{free: !g.limits(u), changed: make(chan struct{})}
		g.buckets[bucketOf(u)] = b
	}
	return b
}

// trouble returns the entry of a server. It is called with the lock.
func (g *governor) trouble(u *url.URL) *trouble {
	t := g.troubles[origin(u)]
	if t == nil {
		t = &trouble{}
		g.troubles[origin(u)] = t
	}
	return t
}

// tells reports whether a wait before another attempt is news.
func (g *governor) tells(u *url.URL, wait time.Duration) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	t, now := g.trouble(u), g.now()
	if now.Before(t.until) && wait <= t.told {
		return false
	}
	t.told, t.until = wait, now.Add(wait)
	return true
}

// fails notes that a request was made as often as is worth it; works, that one was
// answered.
func (g *governor) fails(u *url.URL) { g.note(u, true) }
func (g *governor) works(u *url.URL) { g.note(u, false) }

func (g *governor) note(u *url.URL, failed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.trouble(u).failed = failed
}

func (g *governor) hasFailed(u *url.URL) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.trouble(u).failed
}

// bucketOf returns the bucket that a request counts in.
func bucketOf(u *url.URL) string {
	kind := "files"
	if strings.Contains(u.Path, "/api/") && !strings.Contains(u.Path, "/api/resolve-cache/") {
		kind = "api"
	}
	return origin(u) + " " + kind
}

// pace returns how long a request has to wait for the rate that the user allows.
func (g *governor) pace(u *url.URL) time.Duration {
	if g.rate <= 0 {
		return 0
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	at := g.paced[u.Host]
	if at.Before(now) {
		at = now
	}
	g.paced[u.Host] = at.Add(time.Minute / time.Duration(g.rate))
	return at.Sub(now)
}

// A turn is what a request has to wait for: some time, or that another has ended. When it
// enters, it is made afterwards; otherwise it has to ask again.
type turn struct {
	wait    time.Duration
	told    bool // the wait is to be told
	changed <-chan struct{}
	enters  bool
}

// enter says when a request may be made. One that enters is under way until
// [governor.leave].
func (g *governor) enter(u *url.URL) turn {
	g.mu.Lock()
	defer g.mu.Unlock()
	b, now := g.bucket(u), g.now()
	if b.known && !now.Before(b.reset) {
		b.known = false
	}
	left := b.remaining - b.under
	var t turn
	switch {
	case now.Before(b.until):
		t.wait = b.until.Sub(now)
	case !b.known && (b.free || b.under == 0), b.known && left > b.quota/scarce:
		t.enters = true
	case !b.known, left <= 0 && b.under > 0:
		t.changed = b.changed
	default:
		at := b.next
		if at.Before(now) {
			at = now
		}
		if left <= 0 || !at.Before(b.reset) {
			at = b.reset
		} else {
			t.enters = true
			b.next = at.Add(b.reset.Sub(at) / time.Duration(left+1))
		}
		t.wait = at.Sub(now)
	}
	if t.enters {
		b.under++
	}
	t.told = t.wait > 2*time.Second && !b.told
	b.told = b.told || t.told
	return t
}

// leave notes that a request has been answered, or will not be.
func (g *governor) leave(u *url.URL) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.bucket(u)
	b.under--
	close(b.changed)
	b.changed = make(chan struct{})
}

// learn reads what the answer to a request that was sent then says of the rate. It returns
// how long the server wants to be left alone, 0 when it does not say.
func (g *governor) learn(u *url.URL, resp *http.Response, sent time.Time) time.Duration {
	remaining, reset, ok := rateLimit(resp.Header.Get("RateLimit"))
	limited := resp.StatusCode == http.StatusTooManyRequests
	g.mu.Lock()
	defer g.mu.Unlock()
	b, now := g.bucket(u), g.now()
	if ok {
		left := min(time.Duration(reset)*time.Second, longestWait-time.Second)
		earliest, latest := sent.Add(left), now.Add(left+time.Second) // of seconds that are cut off
		// Answers overtake each other: the least counts unless the window is another. An
		// answer that refuses says what is so, whatever was said before.
		if b.known && now.Before(b.reset) && !earliest.After(b.reset) && !limited {
			b.remaining = min(b.remaining, remaining)
			if latest.After(b.reset) {
				b.reset = latest
			}
		} else {
			b.known, b.remaining, b.reset = true, remaining, latest
		}
		b.quota = quotaOf(resp.Header.Get("RateLimit-Policy"))
	} else if !b.known && resp.StatusCode < http.StatusInternalServerError && !limited {
		b.free = true
	}
	var wait time.Duration
	switch after, said := retryAfter(resp.Header.Get("Retry-After"), now); {
	case limited && ok && remaining == 0:
		wait = time.Duration(reset+1) * time.Second
	case said && (limited || resp.StatusCode == http.StatusServiceUnavailable):
		wait = after
	}
	if until := now.Add(wait); limited && wait > 0 {
		// Several requests were under way: what they are told is one wait.
		b.until, b.told = until, b.told && until.Sub(b.until) < time.Second
	}
	return wait
}

// retryAfter reads a number of seconds, or a date.
func retryAfter(s string, now time.Time) (d time.Duration, ok bool) {
	const century = 100 * 365 * 24 * 60 * 60
	if n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 64); err == nil {
		return time.Duration(min(n, century)) * time.Second, true
	}
	at, err := http.ParseTime(s)
	return max(0, at.Sub(now)), err == nil
}

// rateLimit reads `"api";r=499;t=300`.
func rateLimit(s string) (remaining, reset int64, ok bool) {
	remaining, okR := parameter(s, "r")
	reset, okT := parameter(s, "t")
	return remaining, reset, okR && okT
}

// quotaOf reads the quota of `"fixed window";"api";q=500;w=300`.
func quotaOf(s string) int64 {
	n, _ := parameter(s, "q")
	return n
}

func parameter(s, name string) (int64, bool) {
	for part := range strings.SplitSeq(s, ";") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(part), name+"="); ok {
			n, err := strconv.ParseInt(v, 10, 32)
			return n, err == nil && n >= 0
		}
	}
	return 0, false
}
