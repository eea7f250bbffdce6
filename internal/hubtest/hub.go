// Package hubtest is a hub of models for tests: what huggingface.co answers to
// the requests that clients make, on two hosts of this machine, and every way in
// which it, its mirrors and its second host are known to misbehave.
//
// It knows nothing of the program that it tests, and serves other clients, too:
// @huggingface/hub and @huggingface/gguf. What it answers follows the source of
// huggingface_hub 1.29 and huggingface.js (hub 2.15).
package hubtest

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A Hub is two servers: the hub, and the host that has the large files. Its
// methods may be called while it serves.
type Hub struct {
	// URL is the endpoint, as HF_ENDPOINT has it, CDN the second host.
	URL, CDN string

	servers []*http.Server

	mu     sync.Mutex
	token  string
	repos  map[string]*Repo // "models/ns/name", "datasets/ns/name"
	knobs  Knobs
	log    []*Request
	seen   map[string]int    // how often a URL was asked for
	signed map[string]signed // by the signature of a link to the second host
	issued int
	// windows has how often each bucket of a host was asked in the window that began then.
	windows map[string]*window
	now     func() time.Time
}

type window struct {
	began time.Time
	asked int
}

type signed struct {
	file *file
	uses int
}

// A Request is one that a host answered.
type Request struct {
	// Host is "hub" or "cdn".
	Host, Method, URI string
	Header            http.Header
	Status            int
	// Bytes is how much of a body was sent.
	Bytes int64
}

// Clock has the windows of [Knobs.Quota] go by another clock.
func (h *Hub) Clock(now func() time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = now
}

// Start begins to serve on loopback.
func Start() (*Hub, error) {
	h := &Hub{now: time.Now, windows: make(map[string]*window), repos: make(map[string]*Repo), seen: make(map[string]int), signed: make(map[string]signed), token: "hf_test"}
	for _, s := range []struct {
		url   *string
		host  string
		serve http.HandlerFunc
	}{{&h.URL, "hub", h.serveHub}, {&h.CDN, "cdn", h.serveCDN}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			h.Close()
			return nil, err
		}
		*s.url = "http://" + l.Addr().String()
		server := &http.Server{Handler: h.logged(s.host, s.serve)}
		h.servers = append(h.servers, server)
		go server.Serve(l)
	}
	return h, nil
}

// New starts a hub that ends with the test.
func New(t testing.TB) *Hub {
	t.Helper()
	h, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

// Close ends the servers and their connections.
func (h *Hub) Close() {
	for _, s := range h.servers {
		s.Close()
	}
}

// SetToken says which token is valid; "hf_test" is at first.
func (h *Hub) SetToken(token string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.token = token
}

// Set changes how the hub behaves: each word is a name of a field of [Knobs], in
// lower case with hyphens, or NAME=VALUE.
func (h *Hub) Set(words ...string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, w := range words {
		if err := h.knobs.set(w); err != nil {
			return err
		}
	}
	return nil
}

// Reset has the hub behave well again, and empties the log.
func (h *Hub) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.knobs = Knobs{}
	h.log = nil
	clear(h.seen)
}

// ClearLog forgets what was asked.
func (h *Hub) ClearLog() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log = nil
}

// Requests returns what was asked since the start, or the last Reset.
func (h *Hub) Requests() []Request {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := make([]Request, len(h.log))
	for i, r := range h.log {
		list[i] = *r
	}
	return list
}

// Counts returns how many requests each host had, and how many bytes of bodies
// both sent.
func (h *Hub) Counts() (hub, cdn int, sent int64) {
	for _, r := range h.Requests() {
		if r.Host == "hub" {
			hub++
		} else {
			cdn++
		}
		sent += r.Bytes
	}
	return hub, cdn, sent
}

func (h *Hub) behaviour() Knobs {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.knobs
}

// A Repo is a repository. Its fields are set before it is asked for.
type Repo struct {
	// Private asks for the token; Gated does, and refuses when Refused: the terms
	// are not accepted.
	Private, Gated, Refused bool
	// Disabled says that it was taken down.
	Disabled bool
	// Facts are more members of what the API says of it: "tags", "safetensors", …
	Facts map[string]any

	hub     *Hub
	kind    string // "models" or "datasets"
	id      string
	mu      sync.Mutex
	renamed string
	commits map[string]map[string]*file
	refs    map[string]string
}

// A file is one of a commit.
type file struct {
	path   string
	size   int64
	sha256 string
	sha1   string // of the blob in git, or of the pointer
	lfs    bool
	open   func() (io.ReaderAt, func(), error)
}

// Repo returns a repository, which it makes when there is none: "ns/name", or
// "datasets/ns/name".
func (h *Hub) Repo(id string) *Repo {
	kind := "models"
	if rest, ok := strings.CutPrefix(id, "datasets/"); ok {
		kind, id = "datasets", rest
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.repos[kind+"/"+id]
	if r == nil {
		r = &Repo{hub: h, kind: kind, id: id, commits: make(map[string]map[string]*file), refs: make(map[string]string)}
		h.repos[kind+"/"+id] = r
	}
	return r
}

// Rename gives the repository another name. The old one leads to it.
func (r *Repo) Rename(id string) {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	old := &Repo{hub: r.hub, kind: r.kind, id: r.id, renamed: id}
	r.hub.repos[r.kind+"/"+r.id] = old
	r.id = id
	r.hub.repos[r.kind+"/"+id] = r
}

// Commit makes a commit of files and returns it. "main" is at it from now on.
func (r *Repo) Commit(files map[string][]byte) string {
	all := make(map[string]*file, len(files))
	for name, data := range files {
		f := newFile(name, int64(len(data)), bytes.NewReader(data))
		f.open = func() (io.ReaderAt, func(), error) { return bytes.NewReader(data), func() {}, nil }
		all[name] = f
	}
	return r.commit(all)
}

// CommitDir makes a commit of the files of a directory, which stay where they
// are.
func (r *Repo) CommitDir(dir string) (string, error) {
	all := make(map[string]*file)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := os.Stat(path) // through links
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		osf, err := os.Open(path)
		if err != nil {
			return err
		}
		defer osf.Close()
		name := filepath.ToSlash(rel)
		f := newFile(name, fi.Size(), osf)
		f.open = func() (io.ReaderAt, func(), error) {
			osf, err := os.Open(path)
			return osf, func() { osf.Close() }, err
		}
		all[name] = f
		return nil
	})
	if err != nil {
		return "", err
	}
	return r.commit(all), nil
}

// Point has a branch or a tag name a commit.
func (r *Repo) Point(ref, commit string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refs[ref] = commit
}

func (r *Repo) commit(all map[string]*file) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	sum := sha1.New()
	fmt.Fprintln(sum, r.kind, r.id, len(r.commits))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintln(sum, name, all[name].sha256)
	}
	sha := hex.EncodeToString(sum.Sum(nil))
	r.commits[sha] = all
	r.refs["main"] = sha
	return sha
}

// hashed is how much of a file its digest is made of: those of hundreds of
// gigabytes are holes, which nobody waits for.
const hashed = 1 << 20

func newFile(name string, size int64, content io.ReaderAt) *file {
	sum := sha256.New()
	io.Copy(sum, io.NewSectionReader(content, 0, min(size, hashed)))
	if size > hashed {
		fmt.Fprint(sum, name, size)
	}
	f := &file{path: name, size: size, sha256: hex.EncodeToString(sum.Sum(nil))}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".safetensors", ".gguf", ".bin", ".pt":
		f.lfs = true
	default:
		f.lfs = size > 10<<20
	}
	blob := sha1.New()
	if f.lfs {
		blob.Write(pointer(f))
	} else {
		fmt.Fprintf(blob, "blob %d\x00", size)
		io.Copy(blob, io.NewSectionReader(content, 0, size))
	}
	f.sha1 = hex.EncodeToString(blob.Sum(nil))
	return f
}

// pointer is what git has in place of a large file.
func pointer(f *file) []byte {
	return fmt.Appendf(nil, "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n", f.sha256, f.size)
}

// logged keeps what a host was asked and answered.
func (h *Hub) logged(host string, serve http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := &Request{Host: host, Method: r.Method, URI: r.RequestURI, Header: r.Header.Clone()}
		out := &counter{ResponseWriter: w, hub: h, of: asked}
		h.mu.Lock()
		h.log = append(h.log, asked)
		h.issued++
		w.Header().Set("X-Request-Id", fmt.Sprintf("Root=1-%08x", h.issued))
		latency := h.knobs.Latency
		h.mu.Unlock()
		select {
		case <-time.After(latency):
		case <-r.Context().Done():
		}
		serve(out, r)
		out.note(http.StatusOK, 0) // if it wrote nothing
	})
}

// A counter notes what is answered to a request before it is sent: who has the answer finds
// it in the log.
type counter struct {
	http.ResponseWriter
	hub *Hub
	of  *Request
}

func (c *counter) note(status int, n int64) {
	c.hub.mu.Lock()
	defer c.hub.mu.Unlock()
	if c.of.Status == 0 {
		c.of.Status = status
	}
	c.of.Bytes += n
}

func (c *counter) WriteHeader(status int) {
	c.note(status, 0)
	c.ResponseWriter.WriteHeader(status)
}

func (c *counter) Write(p []byte) (int, error) {
	c.note(http.StatusOK, int64(len(p)))
	n, err := c.ResponseWriter.Write(p)
	c.note(http.StatusOK, int64(n-len(p))) // what was not sent
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
