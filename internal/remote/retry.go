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
		if wait, told := r.rates.wait(req.URL); wait > 0 {
			if wait > longestWait {
				text := fmt.Sprintf("%s limits how often it is asked; it says to wait %d seconds", req.URL.Host, int64((wait+time.Second-1)/time.Second))
				return nil, &netError{text: text, attempts: 1}
			}
			if told {
				c.opts.Note("%s limits how often it is asked: waiting %s", req.URL.Host, seconds(wait))
			}
			if err := c.pause(ctx, wait); err != nil {
				return nil, err
			}
		}
		began := time.Now()
		resp, err := hopOf(ctx).attempt(r.next, req, c.opts.Settings.Patience)
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
		var asked time.Duration
		if err == nil {
			asked = r.rates.learn(req.URL, resp)
		}
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
// nothing is left. The hub counts in fixed windows, one for its API and one for
// files. It also knows which servers fail: of many requests that wait for the same
// reason one says so, and when one has given up the others ask once.
type governor struct {
	now      func() time.Time
	mu       sync.Mutex
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
	remaining, quota   int64
	told               bool
}

func newGovernor() *governor {
	return &governor{now: time.Now, buckets: make(map[string]*bucket), troubles: make(map[string]*trouble)}
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

// wait returns how long a request has to wait, and whether that is to be told.
func (g *governor) wait(u *url.URL) (d time.Duration, told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.buckets[bucketOf(u)]
	if b == nil {
		return 0, false
	}
	now := g.now()
	at := now
	switch {
	case now.Before(b.until):
		at = b.until
	case b.remaining < b.quota/scarce && now.Before(b.reset):
		at = b.next
		if at.Before(now) {
			at = now
		} else if at.After(b.reset) {
			at = b.reset // the next window begins
		}
		b.next = at.Add(b.reset.Sub(now) / time.Duration(b.remaining+1))
		b.remaining = max(0, b.remaining-1)
	}
	d = at.Sub(now)
	told = d > 2*time.Second && !b.told
	b.told = b.told || told
	return d, told
}

// learn reads what an answer says of the rate. It returns how long the server
// wants to be left alone, 0 when it does not say.
func (g *governor) learn(u *url.URL, resp *http.Response) time.Duration {
	remaining, reset, ok := rateLimit(resp.Header.Get("RateLimit"))
	limited := resp.StatusCode == http.StatusTooManyRequests
	g.mu.Lock()
	defer g.mu.Unlock()
	b := g.buckets[bucketOf(u)]
	if b == nil {
		b = &bucket{}
		g.buckets[bucketOf(u)] = b
	}
	now := g.now()
	if ok {
		b.remaining, b.reset = remaining, now.Add(min(time.Duration(reset)*time.Second, longestWait))
		b.quota = quotaOf(resp.Header.Get("RateLimit-Policy"))
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
