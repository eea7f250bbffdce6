package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
)

// serveTLS serves a file with a certificate for 127.0.0.1 and example.com, and returns
// what a client has to know to believe it.
func serveTLS(t *testing.T, adjust func(s *httptest.Server), serve http.HandlerFunc) (base string, trust *tls.Config) {
	t.Helper()
	s := httptest.NewUnstartedServer(serve)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	if adjust != nil {
		adjust(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, s.Client().Transport.(*http.Transport).TLSClientConfig
}

// serveConns has a function for every connection, and counts them.
func serveConns(t *testing.T, l net.Listener, serve func(conn net.Conn)) (addr string, count *atomic.Int32) {
	t.Helper()
	t.Cleanup(func() { l.Close() })
	count = new(atomic.Int32)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String(), count
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// readAll reads a file from its beginning to its end.
func (w *world) readAll(ref string) ([]byte, error) {
	src, err := source.Open(w.Places(w.t.Context()), ref)
	if err != nil {
		return nil, err
	}
	data := make([]byte, min(src.Size(), 1<<20))
	n, err := src.ReadAt(data, 0)
	if err == io.EOF {
		err = nil
	}
	return data[:n], err
}

// A certificate that does not show who answers is an error at once, in words.
func TestCertificates(t *testing.T) {
	data := tiny(t)
	var asked atomic.Int32
	serve := func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.ServeContent(w, r, "", fixedTime, bytes.NewReader(data))
	}
	base, trust := serveTLS(t, nil, serve)
	older, trustOlder := serveTLS(t, func(s *httptest.Server) { s.TLS = &tls.Config{MaxVersion: tls.VersionTLS11} }, serve)
	closed, trustClosed := serveTLS(t, func(s *httptest.Server) { s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert} }, serve)
	later := trust.Clone()
	later.Time = func() time.Time { return time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC) }
	for _, tt := range []struct {
		url   string
		trust *tls.Config
		want  string
	}{
		{base, trust, ""},
		{base, nil, "the certificate of HOST is of an authority that this machine does not know; install it"},
		{strings.Replace(base, "127.0.0.1", "other.localhost", 1), trust, "HOST shows the certificate of another host: certificate is valid for example.com"},
		{base, later, "the certificate of HOST has expired, or is not valid yet; check the clock"},
		{older, trustOlder, "HOST refuses to speak TLS with this program (tls: protocol version not supported)"},
		{closed, trustClosed, "HOST refuses to speak TLS with this program (tls: certificate required)"},
		{strings.Replace(base, "https", "http", 1), nil, "HOST answers 400 Bad Request; if it speaks TLS at this port, use https://"},
	} {
		asked.Store(0)
		w := newWorld(t)
		if tt.trust != nil {
			w.transport().TLSClientConfig = tt.trust.Clone()
		}
		got, err := w.readAll(tt.url + "/m.safetensors")
		u, _ := url.Parse(tt.url)
		if tt.want == "" {
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%v", err)
			}
			continue
		}
		if want := strings.ReplaceAll(tt.want, "HOST", u.Host); err == nil || !strings.Contains(err.Error(), want) || len(w.waits) > 0 {
			t.Errorf("%v, waits %v\nwant %s", err, w.waits, want)
		}
		if strings.Contains(fmt.Sprint(err), "x509") || asked.Load() > 0 {
			t.Errorf("%v, %d requests", err, asked.Load())
		}
	}
}

// What does not speak TLS is not asked for long whether it does.
func TestNoTLS(t *testing.T) {
	read := func(conn net.Conn) { _, _ = conn.Read(make([]byte, 4096)) }
	for _, tt := range []struct {
		scheme, want string
		serve        func(conn net.Conn)
		most         int32
	}{
		{"https", "does not speak TLS at this port, or something on the way does not let it", func(net.Conn) {}, 2},
		{"https", "does not speak TLS at this port, or something on the way does not let it", read, 2},
		{"https", "does not speak TLS at this port, or very slowly", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, 2},
		{"https", "does not speak TLS at this port; is it http://?", func(c net.Conn) { read(c); io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, 1},
		{"https", "refuses to speak TLS with this program (tls: handshake failure)", func(c net.Conn) { read(c); c.Write([]byte("\x15\x03\x01\x00\x02\x02\x28")) }, 1},
		{"http", "speaks TLS at this port; use https://", func(c net.Conn) { read(c); c.Write([]byte("\x15\x03\x01\x00\x02\x02\x28")) }, 1},
		{"http", "answers with what is not HTTP: malformed HTTP response \"SSH-2.0-OpenSSH\"", func(c net.Conn) { read(c); io.WriteString(c, "SSH-2.0-OpenSSH\r\n") }, 1},
		{"http", "answers with what is not HTTP: unsupported transfer encoding", func(c net.Conn) { read(c); io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: x\r\n\r\n") }, 1},
		{"http", "ends the connection without an answer", read, attempts},
	} {
		addr, count := serveConns(t, listen(t), tt.serve)
		w := newWorld(t)
		w.transport().TLSHandshakeTimeout = 50 * time.Millisecond
		_, err := w.readAll(tt.scheme + "://" + addr + "/m.safetensors")
		if err == nil || !strings.Contains(err.Error(), addr+" "+tt.want) || strings.Contains(err.Error(), "net/http") || count.Load() > tt.most {
			t.Errorf("%v, %d connections\nwant %s, %d", err, count.Load(), tt.want, tt.most)
		}
	}
}

// A server that turns HTTP/2 connections away is given up: net/http connects again for
// ever. RFC 9113, 6.8: streams above the last of GOAWAY were not looked at.
func TestGoAway(t *testing.T) {
	var trust *tls.Config
	_, trust = serveTLS(t, func(s *httptest.Server) { s.EnableHTTP2 = true; s.TLS = &tls.Config{} }, http.NotFound)
	server := httptest.NewUnstartedServer(nil)
	server.StartTLS()
	certificates := server.TLS.Certificates
	server.Close()
	l := tls.NewListener(listen(t), &tls.Config{Certificates: certificates, NextProtos: []string{"h2"}})
	addr, count := serveConns(t, l, func(conn net.Conn) {
		if _, err := io.ReadFull(conn, make([]byte, 24)); err != nil { // the client's preface
			return
		}
		conn.Write([]byte{0, 0, 0, 4, 0, 0, 0, 0, 0}) // SETTINGS
		for head := make([]byte, 9); ; {              // up to HEADERS
			if _, err := io.ReadFull(conn, head); err != nil {
				return
			}
			n := int64(head[0])<<16 | int64(head[1])<<8 | int64(head[2])
			if _, err := io.CopyN(io.Discard, conn, n); err != nil {
				return
			}
			if head[3] == 1 {
				break
			}
		}
		conn.Write([]byte{0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // GOAWAY 0, NO_ERROR
	})
	w := newWorld(t)
	w.transport().TLSClientConfig = trust.Clone()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := source.Open(w.Places(ctx), "https://"+addr+"/m.safetensors")
	// Two attempts, and what was being dialled when another connection took the request.
	if err == nil || !strings.Contains(err.Error(), "accepts connections and answers none") || count.Load() > 3*mostConnections {
		t.Errorf("%v, %d connections", err, count.Load())
	}
}

// A stream of HTTP/2 that is reset is gone on with where it ended.
func TestReset(t *testing.T) {
	data := fixture.Bytes(t, "tensor a F32 [100000]")
	var asked atomic.Int32
	base, trust := serveTLS(t, func(s *httptest.Server) { s.EnableHTTP2 = true }, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 2 {
			http.ServeContent(w, r, "", fixedTime, bytes.NewReader(data))
			return
		}
		var first, last int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last)
		last = min(last, len(data)-1)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(data)))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(data[first : first+1000])
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler) // RST_STREAM
	})
	w := newWorld(t)
	w.transport().TLSClientConfig = trust.Clone()
	if got, err := w.readAll(base + "/m.safetensors"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%v, %d bytes", err, len(got))
	}
}

// away makes a connection that seems to lead to another machine.
type away struct{ net.Conn }

func (away) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:80"))
}

// A server elsewhere does not redirect to this machine, by whatever name, unless a
// proxy is what is connected to.
func TestRedirectHome(t *testing.T) {
	data := tiny(t)
	asked := 0
	base, _ := serveFiles(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Host == "far.test" {
			http.Redirect(w, r, "http://inside.test/x.safetensors", http.StatusFound)
			return
		}
		asked++
		http.ServeContent(w, r, "", fixedTime, bytes.NewReader(data))
	})
	here, _ := url.Parse(base)
	connect := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "far.test:80" {
			conn, err := net.Dial(network, here.Host)
			return away{conn}, err
		}
		return dial(ctx, network, here.Host) // as a resolver may say
	}
	w := newWorld(t)
	w.opts.InsecureHTTP = true
	w.transport().DialContext = connect
	if _, err := w.readAll("http://far.test/x.safetensors"); err == nil || !strings.Contains(err.Error(), "far.test redirects to this machine or its link (inside.test), which is refused") || asked > 0 || len(w.waits) > 0 {
		t.Errorf("%v, %d requests, waits %v", err, asked, w.waits)
	}
	// Asked by name it is the user's wish.
	if got, err := w.readAll("http://inside.test/x.safetensors"); err != nil || !bytes.Equal(got, data) {
		t.Error(err)
	}
	w = newWorld(t)
	w.opts.InsecureHTTP = true
	w.http.(*retrier).next = newTransport(time.Minute, http.ProxyURL(here))
	if got, err := w.readAll("http://far.test/x.safetensors"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("through a proxy on this machine: %v", err)
	}
	for addr, own := range map[string]bool{"127.0.0.1": true, "::1": true, "::ffff:127.1.2.3": true, "0.0.0.0": true, "169.254.169.254": true, "fe80::1": true, "10.0.0.1": false, "192.0.2.1": false, "2001:db8::1": false} {
		if isOwn(netip.MustParseAddr(addr)) != own {
			t.Errorf("isOwn(%s) is %v", addr, !own)
		}
	}
}

// What a proxy says is about the proxy.
func TestProxies(t *testing.T) {
	for _, tt := range []struct {
		status, want string
		most         int32
	}{
		{"407 Proxy Authentication Required", "the proxy between here and huggingface.test wants to know who asks (407 Proxy Authentication Required); put", 1},
		{"403 Forbidden", "the proxy between here and huggingface.test does not let it through (403 Forbidden); check HTTPS_PROXY", 1},
		{"502 Bad Gateway", "does not let it through (502 Bad Gateway)", 2},
		{"", "the proxy between here and huggingface.test ends the connection without an answer", attempts},
	} {
		addr, count := serveConns(t, listen(t), func(conn net.Conn) {
			_, _ = conn.Read(make([]byte, 4096))
			if tt.status != "" {
				fmt.Fprintf(conn, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", tt.status)
			}
		})
		w := newWorld(t)
		w.http.(*retrier).next = newTransport(time.Minute, http.ProxyURL(&url.URL{Scheme: "http", Host: addr, User: url.UserPassword("me", "secret")}))
		_, err := w.readAll("https://huggingface.test/m.safetensors")
		if said := fmt.Sprint(err, w.notes, w.traces); err == nil || !strings.Contains(said, tt.want) || strings.Contains(said, "secret") || count.Load() != tt.most {
			t.Errorf("%s, %d connections\nwant %s, %d", said, count.Load(), tt.want, tt.most)
		}
	}
	w := newWorld(t)
	w.http.(*retrier).next = newTransport(time.Minute, func(*http.Request) (*url.URL, error) {
		return nil, errors.New(`invalid proxy address "http://me:secret@ho st"`)
	})
	if _, err := w.readAll("https://huggingface.test/m.safetensors"); err == nil || strings.Contains(err.Error(), "secret") || !strings.Contains(err.Error(), "is not the URL of a proxy") {
		t.Error(err)
	}
}

// Answers that mean something else than success or failure of the server asked.
func TestOddAnswers(t *testing.T) {
	data := tiny(t)
	whole := fmt.Sprintf("Content-Length: %d\r\n", len(data))
	for _, tt := range []struct{ head, body, want string }{
		{"200 OK\r\nContent-Type: text/html; charset=utf-8\r\n", "\n<!DOCTYPE html><title>Sign in</title>", "sends a web page in its place"},
		{"206 OK\r\nContent-Range: bytes 0-5/6\r\nContent-Type: TEXT/HTML\r\n", "<html>", "sends a web page in its place"},
		{"200 OK\r\nContent-Type: text/html\r\n" + whole, string(data), ""}, // what it calls everything
		{"200 OK\r\nContent-Encoding: Identity\r\n" + whole, string(data), ""},
		{"200 OK\r\nContent-Encoding: br\r\n" + whole, string(data), `with the encoding "br", which was not asked for`},
		{"302 Found\r\nLocation: http://login.example/\r\n", "", "redirects to http://login.example, which is not encrypted; does the network ask to log in?"},
		{"407 Proxy Authentication Required\r\n", "", "put the name and the password into HTTP_PROXY"},
		{"511 Network Authentication Required\r\n", "", "the network asks to log in before"},
		{"429 Slow\r\nRetry-After: Fri, 31 Dec 2099 23:59:59 GMT\r\n", "", "it says to wait until 2099-12-31 23:59:59 UTC"},
		{"429 Slow\r\nRetry-After: 99999999999999\r\n", "", "it says to wait 3153600000 seconds"},
		{"503 Down\r\nRetry-After: 86400\r\n", "", "fails (503 Down); it says to wait 86400 seconds"},
		{"429 Slow\r\nRetry-After: -1\r\n", "", "limits how often it is asked; try again later"},
	} {
		at := serveRaw(t, func(w io.Writer, _ *http.Request) { io.WriteString(w, "HTTP/1.1 "+tt.head+"\r\n"+tt.body) })
		w := newWorld(t)
		got, err := w.readAll(at)
		if tt.want == "" && (err != nil || !bytes.Equal(got, data)) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%q: %v\nwant %s", tt.head, err, tt.want)
		}
	}
}

func TestRetryAfterDate(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for s, want := range map[string]time.Duration{"7": 7 * time.Second, " 8 ": 8 * time.Second, "Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:00:00 GMT": 0} {
		if d, ok := retryAfter(s, now); !ok || d != want {
			t.Errorf("%q: %v, %v", s, d, ok)
		}
	}
	for _, s := range []string{"", "-1", "soon", "1.5"} {
		if d, ok := retryAfter(s, now); ok {
			t.Errorf("%q: %v", s, d)
		}
	}
}

// However a hub redirects, its token stays with it.
func TestTokenAtRedirects(t *testing.T) {
	const secret = "hf_veryverysecret"
	data := tiny(t)
	var elsewhere atomic.Int32
	other, _ := serveFiles(t, nil, func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		if len(r.Header["Authorization"])+len(r.Header["Cookie"])+len(r.Header["Referer"]) > 0 || strings.Contains(r.RequestURI, secret) {
			t.Errorf("the other host is told %s %v", r.RequestURI, r.Header)
		}
		http.ServeContent(w, r, "", fixedTime, bytes.NewReader(data))
	})
	var (
		status   int
		location string
	)
	hub, _ := serveFiles(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+secret {
			t.Errorf("the hub is told %q", r.Header.Get("Authorization"))
		}
		w.Header().Set("Location", location)
		w.WriteHeader(status)
	})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(other, "http://"))
	for _, status = range []int{301, 302, 303, 307, 308} {
		for _, tt := range []struct {
			location string
			follows  bool
		}{
			{other + "/x", true},
			{strings.TrimPrefix(other, "http:") + "/x", true}, // of the same protocol
			{"http://localhost:" + port + "/x", true},
			{"http://127.0.0.1:" + port + "/x#" + secret, true},
			{"http://" + secret + "@127.0.0.1:" + port + "/x", false},
			{"http:\\\\127.0.0.1:" + port + "\\x", false},
			{"HTTP://127.0.0.1:" + port + "/x", true},
			{"ftp://127.0.0.1:" + port + "/x", false},
		} {
			location = tt.location
			elsewhere.Store(0)
			w := newWorld(t)
			w.restart("HF_ENDPOINT="+hub, "HF_TOKEN="+secret)
			_, err := w.readAll("hf://a/b/m.safetensors")
			if followed := elsewhere.Load() > 0; followed != tt.follows || followed != (err == nil) {
				t.Errorf("%d to %s: %v, followed %v", status, tt.location, err, followed)
			}
			if said := fmt.Sprint(err, w.notes, w.traces); strings.Contains(said, secret) {
				t.Errorf("%d to %s says %s", status, tt.location, said)
			}
		}
	}
}

// A proxy is not asked for what is on this machine, under any name of it: a token is
// sent there in the clear.
func TestNoProxyForThisMachine(t *testing.T) {
	addr, count := serveConns(t, listen(t), func(net.Conn) {})
	transport := newTransport(time.Minute, http.ProxyURL(&url.URL{Scheme: "http", Host: addr}))
	for _, at := range []string{"http://127.0.0.1:1/", "http://localhost:1/", "http://hub.localhost:1/", "http://[::1]:1/"} {
		req, err := http.NewRequest(http.MethodGet, at, nil)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := transport.Proxy(req); u != nil || err != nil || count.Load() > 0 {
			t.Errorf("%s: %v, %v", at, u, err)
		}
	}
}

// The state of a file is compared by what both answers say of it.
func TestTags(t *testing.T) {
	data := noise(1 << 20)
	for _, tt := range []struct {
		first, second string
		changed       bool
	}{
		{`"a"|Mon, 02 Jan 2006 15:04:05 GMT`, `W/"a"|Tue, 03 Jan 2006 15:04:05 GMT`, false},
		{`"a"|`, `|Tue, 03 Jan 2006 15:04:05 GMT`, false},
		{`"a"|Mon, 02 Jan 2006 15:04:05 GMT`, `|Mon, 02 Jan 2006 15:04:05 GMT`, false},
		{`"a"|Mon, 02 Jan 2006 15:04:05 GMT`, `"b"|Mon, 02 Jan 2006 15:04:05 GMT`, true},
		{`|Mon, 02 Jan 2006 15:04:05 GMT`, `"b"|Tue, 03 Jan 2006 15:04:05 GMT`, true},
	} {
		n := 0
		base, _ := serveFiles(t, nil, func(w http.ResponseWriter, r *http.Request) {
			n++
			said := tt.second
			if n == 1 {
				said = tt.first
			}
			tag, modified, _ := strings.Cut(said, "|")
			if tag != "" {
				w.Header().Set("ETag", tag)
			}
			at, _ := http.ParseTime(modified)
			http.ServeContent(w, r, "", at, bytes.NewReader(data))
		})
		w := newWorld(t)
		src, err := source.Open(w.Places(t.Context()), base+"/m.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.ReadAt(make([]byte, 10), 900_000); (err != nil) != tt.changed {
			t.Errorf("%s, then %s: %v", tt.first, tt.second, err)
		}
	}
}
