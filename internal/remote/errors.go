package remote

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"time"
)

// An Error is an answer that is not what was asked for.
type Error struct {
	// Ref is what was asked for.
	Ref string
	// Status is that of HTTP, and RequestID what the operators of the server find
	// the request by.
	Status    int
	RequestID string
	// Text says what is wrong and what to do.
	Text string
	// Missing says that the server knows the place and has no such file there.
	Missing bool
	// Gated says that there is an agreement to accept first.
	Gated bool
}

func (e *Error) Error() string { return e.Ref + ": " + e.Text }

// Is reports a file that is not there as others are.
func (e *Error) Is(target error) bool { return target == fs.ErrNotExist && e.Missing }

// maxErrorBody is how much of an answer that is an error is read.
const maxErrorBody = 16 << 10

// failure returns the error of an answer without the bytes that were asked for,
// and ends it.
func (c *Client) failure(a *answer) *Error {
	body, _ := io.ReadAll(io.LimitReader(a.Body, maxErrorBody))
	a.Body.Close()
	e := &Error{Ref: a.rq.ref, Status: a.StatusCode, RequestID: requestID(a.Header)}
	if onHub := sameOrigin(a.rq.url, c.endpoint); onHub && sameOrigin(a.url, c.endpoint) {
		c.hubFailure(e, a, body)
	}
	if e.Text == "" {
		plainFailure(e, a)
	}
	return e
}

// hubFailure says what an error of the hub means. Source: huggingface_hub,
// utils/_http.py (hf_raise_for_status).
func (c *Client) hubFailure(e *Error, a *answer, body []byte) {
	code, message := a.Header.Get("X-Error-Code"), a.Header.Get("X-Error-Message")
	if message == "" {
		var said struct{ Error string }
		if json.Unmarshal(body, &said) == nil {
			message = said.Error
		}
	}
	host := c.endpoint.Host
	ref, _ := Parse(a.rq.ref, c.opts.Settings.Endpoint)
	page := c.opts.Settings.Endpoint + "/" + c.hub.name(ref)
	token := c.opts.Settings.token != ""
	switch {
	case a.StatusCode == http.StatusUnauthorized && message == "Invalid credentials in Authorization header":
		from, way := c.opts.Settings.tokenFrom, "log in again with `hf auth login`, or set HF_TOKEN"
		if slices.Contains(hubTokens, from) { // which goes before what a login writes
			way = "set it to one that is valid, or unset it"
		}
		e.Text = fmt.Sprintf("%s does not accept the token of %s; %s", host, from, way)
	case code == "GatedRepo" && a.StatusCode == http.StatusUnauthorized:
		e.Gated = true
		e.Text = fmt.Sprintf("gated: accept its terms at %s, and set HF_TOKEN or log in with `hf auth login`", page)
	case code == "GatedRepo":
		e.Gated = true
		account := "the account"
		if from := c.opts.Settings.tokenFrom; from != "" {
			account = fmt.Sprintf("the account of the token (%s)", from)
		}
		e.Text = fmt.Sprintf("gated: %s has no access; ask for it at %s, or wait until it is granted", account, page)
	case message == "Access to this resource is disabled.":
		e.Text = host + " has taken it down"
	case code == "RevisionNotFound":
		e.Text = fmt.Sprintf("there is no revision %q; %s/tree/main lists branches and tags", ref.Rev, page)
	case code == "EntryNotFound":
		e.Text, e.Missing = "there is no such file in the repository", true
	case code == "RepoNotFound" || a.StatusCode == http.StatusUnauthorized:
		e.Text = fmt.Sprintf("not found on %s, or private; check the name", host)
		switch {
		case token && !isPrivate(c.endpoint):
			e.Text += fmt.Sprintf(" (the token of %s is not sent over http://)", c.opts.Settings.tokenFrom)
		case token:
			e.Text += fmt.Sprintf(", and that the token of %s may see it", c.opts.Settings.tokenFrom)
		case c.opts.Settings.tokenFrom != "":
			e.Text += fmt.Sprintf(" (%s)", c.opts.Settings.tokenFrom)
		default:
			e.Text += "; for a private repository set HF_TOKEN or log in with `hf auth login`"
		}
	case a.StatusCode == http.StatusNotFound && ref.Path == "":
		e.Text, e.Missing = fmt.Sprintf("not found on %s; check the name and the revision", host), true
	case a.StatusCode == http.StatusForbidden:
		e.Text = fmt.Sprintf("%s forbids it", host)
		if token {
			e.Text += fmt.Sprintf(": the token of %s lacks a permission, such as reading gated repositories", c.opts.Settings.tokenFrom)
		}
	}
}

// plainFailure says what an answer of any server means.
func plainFailure(e *Error, a *answer) {
	host := a.url.Host
	switch s := a.StatusCode; {
	case s == http.StatusNotFound || s == http.StatusGone:
		e.Text, e.Missing = fmt.Sprintf("%s has no such file", host), true
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		e.Text = fmt.Sprintf("%s forbids it (%s); check the address, and that it has not expired", host, a.Status)
	case s == http.StatusTooManyRequests:
		e.Text = fmt.Sprintf("%s limits how often it is asked; %s", host, later(a.Header))
		if _, t, ok := rateLimit(a.Header.Get("RateLimit")); ok && a.Header.Get("Retry-After") == "" {
			e.Text = fmt.Sprintf("%s limits how often it is asked; it says to wait %d seconds", host, t+1)
		}
	case s == http.StatusProxyAuthRequired:
		e.Text = fmt.Sprintf("the proxy between here and %s wants to know who asks (%s); put the name and the password into HTTP_PROXY, http://USER:PASSWORD@PROXY", host, a.Status)
	case s == http.StatusNetworkAuthenticationRequired:
		e.Text = fmt.Sprintf("the network asks to log in before %s can be reached; open a page in a browser", host)
	case s == http.StatusBadRequest && a.url.Scheme == "http":
		e.Text = fmt.Sprintf("%s answers %s; if it speaks TLS at this port, use https://", host, a.Status)
	case s >= 500 && s < 600:
		e.Text = fmt.Sprintf("%s fails (%s); %s", host, a.Status, later(a.Header))
	case isRedirect(s):
		e.Text = fmt.Sprintf("%s redirects without saying where (%s)", host, a.Status)
	default:
		e.Text = fmt.Sprintf("%s answers %s", host, strings.TrimSpace(a.Status))
	}
}

// later says when to try again.
func later(h http.Header) string {
	after := h.Get("Retry-After")
	if at, err := http.ParseTime(after); err == nil {
		return "it says to wait until " + at.UTC().Format("2006-01-02 15:04:05 UTC")
	}
	if d, ok := retryAfter(after, time.Time{}); ok {
		return fmt.Sprintf("it says to wait %d seconds", int64(d/time.Second))
	}
	return "try again later"
}
