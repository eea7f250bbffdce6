package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	// connectTimeout is how long a connection may take to be made.
	connectTimeout = 10 * time.Second

	// maxRedirects is what browsers follow at most.
	maxRedirects = 10

	// maxHeaders is many times what any server says of a file.
	maxHeaders = 256 << 10

	// leastProgress is how much has to come in the time that a server may say nothing:
	// who sends a byte now and then would keep a reader for ever.
	leastProgress = 1 << 10

	// maxConnections are as many as @huggingface/hub opens at once for the headers
	// of shards.
	maxConnections = 20
)

// Options adjust a [Client].
type Options struct {
	Settings *Settings
	// UserAgent names the program to servers.
	UserAgent string
	// InsecureHTTP allows http:// to other machines.
	InsecureHTTP bool
	// NoCache neither reads nor writes what earlier runs have kept.
	NoCache bool
	// Silent asks no server for anything: what is in no cache is not there.
	Silent bool
	// Rate is how often each host is asked in a minute at most; 0 means as often as it
	// allows.
	Rate int
	// Note is told what somebody who waits should know, Trace of every request.
	// Either may be nil. Neither is told a secret.
	Note, Trace func(format string, args ...any)
	// Read is told in the end at which commit each repository was read. It may be nil.
	Read func(repo, commit string)
	// Asked is told in the end how much was asked of each host, and in which time. It may
	// be nil.
	Asked func(host string, requests int, bytes int64, took time.Duration)
}

// A Client asks servers. It has what one command knows of them: its places are
// put into the context of the command, which then reads one commit of a
// repository.
type Client struct {
	opts     Options
	endpoint *url.URL
	http     http.RoundTripper
	// pause waits, or fails when ctx ends.
	pause  func(ctx context.Context, d time.Duration) error
	kept   budget
	hub    *HubPlace
	urls   *urls
	ollama *ollamaPlace
	// warned are the topics of which the hub has warned.
	warned sync.Map
	cache  *headerCache
	asked  tally
}

// NewClient returns a client. Close writes what the next run can use.
func NewClient(opts Options) (*Client, error) {
	endpoint, err := url.Parse(opts.Settings.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("HF_ENDPOINT: not a URL")
	}
	if opts.Silent {
		silent := *opts.Settings
		silent.Offline = cmp.Or(silent.Offline, "a client that asks nobody")
		opts.Settings = &silent
	}
	c := &Client{opts: opts, endpoint: endpoint, pause: sleep}
	if c.opts.Note == nil {
		c.opts.Note = func(string, ...any) {}
	}
	if c.opts.Trace == nil {
		c.opts.Trace = func(string, ...any) {}
	}
	rates := newGovernor()
	rates.rate = opts.Rate
	rates.limits = func(u *url.URL) bool { return sameOrigin(u, endpoint) }
	c.http = &retrier{client: c, next: newTransport(opts.Settings.Patience, http.ProxyFromEnvironment), rates: rates}
	c.hub = &HubPlace{client: c, repos: make(map[string]*repo)}
	c.urls = &urls{client: c, files: make(map[string]*file), absent: make(map[string]error), queries: make(map[string]string)}
	c.ollama = newOllama(opts.Settings.Ollama)
	if !opts.NoCache && opts.Settings.CacheHome != "" {
		c.cache = &headerCache{home: opts.Settings.CacheHome}
	}
	return c, nil
}

// Close keeps what was read of commits, which do not change, for the next run.
func (c *Client) Close() {
	if c.cache != nil && (c.cache.save(c.hub.all()...) || c.hub.forgotten > 0) {
		c.cache.shrink()
	}
	if t, ok := c.http.(*retrier).next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	if c.opts.Read != nil {
		c.hub.each(c.opts.Read)
	}
	if c.opts.Asked != nil {
		c.asked.each(c.opts.Asked)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

var errSilent = errors.New("no server is asked")

// A request is a GET.
type request struct {
	url *url.URL
	// ref is what errors call it.
	ref string
	// The bytes [start, end) are asked for; all of them when end is 0.
	start, end int64
	// gzip says that the answer may be compressed.
	gzip bool
	// known is told the headers of the first redirect, and reports that it need not
	// be followed; nil follows all.
	known func(http.Header) bool
}

// errKnown is the end of a request whose answer is known before it comes.
var errKnown = errors.New("known already")

// An answer is a response that is no redirect. Its Body ends when the server
// says nothing for too long.
type answer struct {
	*http.Response
	url *url.URL
	// way are the headers of the redirects that led to it.
	way []http.Header
	rq  request
}

// header returns a header of the first answer on the way that has it. Those that
// say what a file is are on the hub's redirect, and not behind it.
func (a *answer) header(name string) string {
	for _, h := range a.way {
		if v := h.Get(name); v != "" {
			return v
		}
	}
	return a.Header.Get(name)
}

// encoding returns how a body is encoded, "" when it is not.
func (a *answer) encoding() string {
	if e := strings.ToLower(a.Header.Get("Content-Encoding")); e != "identity" {
		return e
	}
	return ""
}

// get asks, and follows redirects. The token is for the endpoint alone.
func (c *Client) get(ctx context.Context, rq request) (*answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	out := &answer{rq: rq}
	var (
		from  *url.URL
		local bool
	)
	for u := rq.url; ; {
		err := c.allowed(from, u)
		if c.opts.Silent {
			err = errSilent
		}
		if err == nil && sameOrigin(u, c.endpoint) {
			err = c.offline(rq.ref)
		}
		if err != nil {
			cancel(nil)
			return nil, fmt.Errorf("%s: %w", rq.ref, err)
		}
		h := &hop{from: from, guarded: from != nil && !local}
		req, err := http.NewRequestWithContext(h.context(ctx), http.MethodGet, u.String(), nil)
		if err != nil {
			cancel(nil)
			return nil, fmt.Errorf("%s: the address is not valid", rq.ref) // the error would show it
		}
		req.Header.Set("User-Agent", c.opts.UserAgent)
		req.Header.Set("Accept-Encoding", "identity")
		if rq.gzip {
			req.Header.Set("Accept-Encoding", "gzip")
		}
		if rq.end > 0 {
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", rq.start, rq.end-1))
		}
		c.authorize(req)
		resp, err := c.http.RoundTrip(req)
		if err != nil {
			err = fmt.Errorf("%s: %w", rq.ref, err)
			cancel(nil)
			return nil, err
		}
		local = local || h.local.Load()
		if resp.StatusCode < http.StatusOK { // the connection is of another protocol now, and has no end
			resp.Body.Close()
			cancel(nil)
			return nil, fmt.Errorf("%s: %s answers %s, which is not an answer to a GET", rq.ref, u.Host, resp.Status)
		}
		c.passOn(u, resp)
		location := resp.Header.Get("Location")
		if !isRedirect(resp.StatusCode) || location == "" {
			out.Response, out.url = resp, u
			patience := c.opts.Settings.Patience
			out.Body = &watched{body: resp.Body, cancel: cancel, patience: patience, left: patience, came: func(n int) { c.asked.came(u.Host, n) }}
			return out, nil
		}
		discard(resp)
		if from == nil && rq.known != nil && rq.known(resp.Header) {
			cancel(nil)
			return nil, errKnown
		}
		if out.way = append(out.way, resp.Header); len(out.way) > maxRedirects {
			cancel(nil)
			return nil, fmt.Errorf("%s: %s redirects in circles, more than %d times", rq.ref, u.Host, maxRedirects)
		}
		from = u
		if u, err = u.Parse(c.mirrored(location)); err != nil {
			cancel(nil)
			return nil, fmt.Errorf("%s: %s redirects to what is not a URL", rq.ref, from.Host)
		}
	}
}

// offline fails when the environment forbids to ask the hub.
func (c *Client) offline(ref string) error {
	v := c.opts.Settings.Offline
	if v == "" {
		return nil
	}
	r, _ := Parse(ref, c.opts.Settings.Endpoint)
	return fmt.Errorf("%s is set, so the hub is not asked, and this is in no cache; unset it, or download it first with `%s`", v, r.download())
}

// passOn tells what the hub wants its users to know, once. Source: huggingface_hub,
// utils/_http.py (X-HF-Warning: topic; text).
func (c *Client) passOn(u *url.URL, resp *http.Response) {
	if !sameOrigin(u, c.endpoint) {
		return
	}
	for _, v := range resp.Header.Values("X-HF-Warning") {
		topic, text, ok := strings.Cut(v, ";")
		if _, told := c.warned.LoadOrStore(strings.TrimSpace(topic), true); ok && !told {
			c.opts.Note("%s says: %.500s", u.Host, strings.TrimSpace(text))
		}
	}
}

// authorize adds the token of the host that is asked, if it is one that there is a
// token for. In the clear a token leaves this machine for none.
func (c *Client) authorize(req *http.Request) {
	u, s := req.URL, c.opts.Settings
	if !isPrivate(u) {
		return
	}
	if s.token != "" && sameOrigin(u, c.endpoint) {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	// Source: modelscope, hub/api.py (get_cookies).
	if s.scopeToken != "" && origin(u) == s.ScopeEndpoint {
		req.AddCookie(&http.Cookie{Name: "m_session_id", Value: s.scopeToken})
	}
}

func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// mirrored has a mirror asked for what it says is at the hub itself. Source:
// huggingface_hub, file_download.py.
func (c *Client) mirrored(location string) string {
	rest, ok := strings.CutPrefix(location, defaultEndpoint)
	if ok && (rest == "" || strings.ContainsAny(rest[:1], "/?#")) {
		return c.opts.Settings.Endpoint + rest
	}
	return location
}

// allowed refuses addresses that are not asked.
func (c *Client) allowed(from, to *url.URL) error {
	switch {
	case to.Scheme != "http" && to.Scheme != "https" || to.Host == "":
		return fmt.Errorf("a redirect to %q, which is not an address of HTTP", to.Scheme+":")
	case to.User != nil:
		return errors.New("an address with a user's name in it")
	case from != nil && isLoopback(to) && !isLoopback(from):
		return fmt.Errorf("%s redirects to this machine (%s), which is refused", from.Host, to.Host)
	case !isPrivate(to) && !c.opts.InsecureHTTP && from != nil:
		return fmt.Errorf("%s redirects to http://%s, which is not encrypted; does the network ask to log in? --insecure-http allows it", from.Host, to.Host)
	case !isPrivate(to) && !c.opts.InsecureHTTP:
		return fmt.Errorf("http://%s is not encrypted, and anybody on the way could change what is read; use https, or allow it with --insecure-http", to.Host)
	}
	return nil
}

// isLoopback reports that an address is this machine. Names below localhost are,
// by RFC 6761.
func isLoopback(u *url.URL) bool {
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback() || ip.IsUnspecified()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// isPrivate reports that nobody on the way sees what is sent to an address.
func isPrivate(u *url.URL) bool { return u.Scheme == "https" || isLoopback(u) }

// shown is an address as messages have it: without its query, which may be signed.
func shown(u *url.URL) string {
	s := u.Scheme + "://" + u.Host + u.EscapedPath()
	if u.RawQuery != "" {
		s += "?…"
	}
	return s
}

// discard ends an answer that nobody reads. A short one is read to its end, so
// that the connection serves again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 4<<10)
	resp.Body.Close()
}

// watched is a body that ends when the server says too little for too long. The time
// that its reader takes does not count.
type watched struct {
	body     io.ReadCloser
	cancel   context.CancelCauseFunc
	patience time.Duration
	// left is how long to wait for the rest of leastProgress, of which got has come.
	left time.Duration
	got  int
	// came is told of what was read.
	came func(n int)
}

func (w *watched) Read(p []byte) (int, error) {
	began := time.Now()
	t := time.AfterFunc(w.left, func() { w.cancel(context.DeadlineExceeded) })
	defer t.Stop()
	n, err := w.body.Read(p)
	w.left -= time.Since(began)
	w.came(n)
	if w.got += n; w.got >= leastProgress {
		w.left, w.got = w.patience, 0
	}
	return n, err
}

func (w *watched) Close() error {
	w.cancel(nil)
	return w.body.Close()
}
