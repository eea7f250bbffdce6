package remote

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// mostConnections is how many connections one attempt may need.
const mostConnections = 10

// newTransport makes connections, through the proxies that a function names.
func newTransport(patience time.Duration, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy: func(req *http.Request) (*url.URL, error) {
			if isLoopback(req.URL) { // also by a name below localhost
				return nil, nil
			}
			u, err := proxy(req)
			if err != nil { // it has the address, which may have a password
				return nil, errProxyAddress
			}
			if h := hopOf(req.Context()); h != nil && u != nil {
				h.guarded, h.proxied = false, true // it is what is connected to
			}
			return u, nil
		},
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode != http.StatusOK {
				return &proxyError{resp.StatusCode, resp.Status}
			}
			return nil
		},
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    connectTimeout,
		ResponseHeaderTimeout:  patience,
		MaxResponseHeaderBytes: maxHeaders,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    maxConnections,
		// One connection has all requests of HTTP/2: when it is dead, so are they.
		HTTP2: &http.HTTP2Config{SendPingTimeout: patience / 2, PingTimeout: patience / 2, WriteByteTimeout: patience},
		// Go would inflate without a bound, and lose the length.
		DisableCompression: true,
	}
}

// A hop is one request on the way to an answer, and what became of its connection.
type hop struct {
	// from is the server that redirected here, nil at first.
	from *url.URL
	// guarded says that the address must not lead to this machine.
	guarded bool
	// proxied says that there is a proxy on the way.
	proxied bool
	// local says that the address did.
	local atomic.Bool
	// handshake is why there is no TLS, nil as long as nothing is wrong with it.
	handshake atomic.Pointer[error]
	// connections counts those that net/http tried for one attempt, which end ends.
	connections atomic.Int32
	end         context.CancelCauseFunc
}

type hopKey struct{}

func hopOf(ctx context.Context) *hop {
	h, _ := ctx.Value(hopKey{}).(*hop)
	return h
}

func (h *hop) context(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(context.WithValue(ctx, hopKey{}, h), &httptrace.ClientTrace{
		// Net/http makes a request again, at once and for ever, that a server of HTTP/2
		// did not look at.
		GetConn: func(string) {
			if h.connections.Add(1) > mostConnections {
				h.end(errTurnedAway)
			}
		},
		GotConn: func(info httptrace.GotConnInfo) {
			if at, err := netip.ParseAddrPort(info.Conn.RemoteAddr().String()); err == nil {
				h.local.Store(isOwn(at.Addr()))
			}
		},
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) {
			if err != nil {
				h.handshake.Store(&err)
			}
		},
	})
}

// attempt makes a request once, and not for longer than a connection and the beginning
// of an answer take.
func (h *hop) attempt(next http.RoundTripper, req *http.Request, patience time.Duration) (*http.Response, error) {
	ctx, end := context.WithCancelCause(req.Context())
	h.handshake.Store(nil)
	h.connections.Store(0)
	h.end = end
	t := time.AfterFunc(2*connectTimeout+patience, func() { end(context.DeadlineExceeded) })
	resp, err := next.RoundTrip(req.WithContext(ctx))
	if t.Stop(); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		end(nil)
	}
	return resp, err
}

// dial connects. A redirect of a server does not make a client talk to the machine it
// runs on, or to what gives that machine its credentials, whatever name it has.
func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: connectTimeout}
	if h := hopOf(ctx); h != nil && h.guarded {
		dialer.Control = func(_, address string, _ syscall.RawConn) error {
			if at, err := netip.ParseAddrPort(address); err != nil || isOwn(at.Addr()) {
				return errOwn
			}
			return nil
		}
	}
	return dialer.DialContext(ctx, network, addr)
}

// isOwn reports that an address leads to this machine, or to what answers to its own
// link alone: there clouds have the metadata of machines.
func isOwn(at netip.Addr) bool {
	at = at.Unmap()
	return at.IsLoopback() || at.IsUnspecified() || at.IsLinkLocalUnicast()
}

var (
	errOwn          = errors.New("an address of this machine")
	errTurnedAway   = errors.New("the server turns every connection away")
	errProxyAddress = errors.New("HTTPS_PROXY or HTTP_PROXY is not the URL of a proxy, such as http://proxy.example.com:3128")
)

// A proxyError is a proxy that does not connect.
type proxyError struct {
	code   int
	status string
}

func (e *proxyError) Error() string { return "the proxy answers " + e.status }

// A netError is why there is no answer. Its text does not have the address, as that of
// net/http has.
type netError struct {
	text string
	// attempts is how often it is worth asking, in all.
	attempts int
	err      error
}

// IsNetwork reports that an error is of a request that no server has answered.
func IsNetwork(err error) bool {
	_, ok := errors.AsType[*netError](err)
	return ok
}

func (e *netError) Error() string { return e.text }
func (e *netError) Unwrap() error { return e.err }

// understand says what became of a request that has no answer.
func understand(req *http.Request, err error) *netError {
	host, name := req.URL.Host, req.URL.Hostname()
	out := func(attempts int, format string, args ...any) *netError {
		return &netError{fmt.Sprintf(format, args...), attempts, err}
	}
	h, who := hopOf(req.Context()), host
	var handshake error
	if h != nil {
		if h.proxied {
			who = "the proxy between here and " + host
		}
		if p := h.handshake.Load(); p != nil {
			handshake = *p
		}
	}
	dns, isDNS := errors.AsType[*net.DNSError](err)
	op, isOp := errors.AsType[*net.OpError](err)
	proxy, isProxy := errors.AsType[*proxyError](err)
	switch {
	case errors.Is(err, errProxyAddress):
		return out(1, "%v", errProxyAddress)
	case errors.Is(err, errTurnedAway):
		return out(2, "%s accepts connections and answers none (GOAWAY of HTTP/2)", host)
	case errors.Is(err, errOwn):
		return out(1, "%s redirects to this machine or its link (%s), which is refused", h.from.Host, host)
	case isProxy && proxy.code == http.StatusProxyAuthRequired:
		return out(1, "the proxy between here and %s wants to know who asks (%s); put the name and the password into HTTPS_PROXY, http://USER:PASSWORD@PROXY", host, proxy.status)
	case isProxy:
		n := 1
		if proxy.code >= 500 {
			n = 2
		}
		return out(n, "the proxy between here and %s does not let it through (%s); check HTTPS_PROXY and NO_PROXY", host, proxy.status)
	case isOp && op.Op == "proxyconnect" && errors.Is(err, syscall.ECONNREFUSED):
		return out(1, "the proxy between here and %s refuses the connection; check HTTPS_PROXY and HTTP_PROXY", host)
	case isOp && op.Op == "proxyconnect":
		return out(1, "the proxy between here and %s: %v; check HTTPS_PROXY and HTTP_PROXY", host, op.Err)
	case isDNS && dns.IsNotFound:
		return out(1, "there is no host %s; check the name and the network", name)
	case errors.Is(err, syscall.ECONNREFUSED):
		return out(1, "%s refuses the connection", host)
	case isCertificate(err):
		return out(1, "%s", certificate(host, name, err))
	case handshake != nil || isOp && op.Op == "remote error": // which may come a moment later
		if handshake == nil {
			handshake = err
		}
		return noTLS(host, handshake, out)
	case isTimeout(err):
		return out(attempts, "%s does not answer", who)
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return out(attempts, "%s ends the connection without an answer", who)
	case isOp:
		n := attempts
		if _, bad := errors.AsType[*net.AddrError](err); bad {
			n = 1
		}
		return out(n, "%s: %v", host, op.Err)
	}
	return notHTTP(host, err, out)
}

// notHTTP says what is wrong with an answer. Net/http has no types for it.
func notHTTP(host string, err error, out func(int, string, ...any) *netError) *netError {
	text := err.Error()
	for _, prefix := range []string{"net/http: HTTP/1.x transport connection broken: ", "net/http: ", "http: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	switch {
	case strings.HasPrefix(text, "stream error: ") || strings.HasPrefix(text, "http2: ") && (strings.Contains(text, "GOAWAY") || strings.Contains(text, "client connection")):
		return out(attempts, "%s breaks the connection off (%.200s)", host, text)
	case strings.HasPrefix(text, `malformed HTTP response "\x15\x03`): // an alert of TLS
		return out(1, "%s speaks TLS at this port; use https://", host)
	case strings.Contains(text, "headers exceeded"):
		return out(1, "%s sends headers of more than %d KiB", host, maxHeaders>>10)
	}
	return out(1, "%s answers with what is not HTTP: %.200s", host, text)
}

// noTLS says why there is no encrypted connection.
func noTLS(host string, err error, out func(int, string, ...any) *netError) *netError {
	op, isOp := errors.AsType[*net.OpError](err)
	_, isRecord := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case isRecord:
		return out(1, "%s does not speak TLS at this port; is it http://?", host)
	case isOp && op.Op == "remote error":
		return out(1, "%s refuses to speak TLS with this program (%v)", host, op.Err)
	case isTimeout(err):
		return out(2, "%s does not speak TLS at this port, or very slowly: it says nothing", host)
	case errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return out(2, "%s does not speak TLS at this port, or something on the way does not let it: the connection ends as TLS begins", host)
	}
	return out(1, "%s does not speak TLS as it should: %v", host, err)
}

func isTimeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func isCertificate(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, roots := errors.AsType[x509.SystemRootsError](err)
	return unknown || host || invalid || roots
}

// certificate says what is wrong with the certificate of a host.
func certificate(host, name string, err error) string {
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return fmt.Sprintf("%s shows the certificate of another host: %.200s", host, strings.TrimPrefix(e.Error(), "x509: "))
	}
	e, invalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case invalid && e.Reason == x509.Expired:
		return fmt.Sprintf("the certificate of %s has expired, or is not valid yet; check the clock of this machine", host)
	case invalid:
		return fmt.Sprintf("the certificate of %s is not valid: %.200s", host, strings.TrimPrefix(e.Error(), "x509: "))
	}
	return fmt.Sprintf("the certificate of %s is of an authority that this machine does not know; install it (SSL_CERT_FILE names another list of them), and make sure that it is %s that answers", host, name)
}
