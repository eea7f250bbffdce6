package remote

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wtinspect/wtinspect/internal/source"
)

// Schemes are those of the references that a client reads.
func Schemes() []string { return []string{"hf", "modelscope", "https", "http", "ollama"} }

// Place returns the place of a scheme.
func (c *Client) Place(scheme string) source.Place {
	switch scheme {
	case "hf", "modelscope":
		return c.hub
	case "ollama":
		return c.ollama
	}
	return c.urls
}

// Places returns a context in which references are read where they lead to.
func (c *Client) Places(ctx context.Context) context.Context {
	for _, scheme := range Schemes() {
		ctx = source.With(ctx, scheme, c.Place(scheme))
	}
	return ctx
}

// Download says how what a reference leads to comes to this machine.
func Download(ref string) string {
	r, err := Parse(ref, "")
	switch {
	case err == nil && r.Kind == Ollama:
		return "copy it out of the store of Ollama"
	case err != nil || r.Kind != Hub:
		return "download it"
	}
	return "`" + r.download() + " --local-dir " + r.ID[strings.IndexByte(r.ID, '/')+1:] + "` downloads it"
}

// download is the command that brings a repository of the hub into its cache.
func (r Ref) download() string {
	how := "hf download " + r.ID
	if r.Dataset {
		how += " --repo-type dataset"
	}
	if r.Rev != "" {
		how += " --revision " + r.Rev
	}
	return how
}

// Normalize returns the form of a reference that the places and [source.Join] work
// on. The query of a URL, which may be a signature, stays with the client: URLs that
// differ in it alone are told apart by a number in the place of a fragment, which no
// server is told.
func (c *Client) Normalize(ref string) (string, error) {
	r, err := Parse(ref, c.opts.Settings.Endpoint)
	if err != nil {
		return "", err
	}
	if r.Kind != URL || r.Query == "" {
		return r.String(), nil
	}
	c.urls.mu.Lock()
	defer c.urls.mu.Unlock()
	for n := 1; ; n++ {
		normal := r.String()
		if n > 1 {
			normal += fmt.Sprintf("#%d", n)
		}
		if query, ok := c.urls.queries[normal]; !ok || query == r.Query {
			c.urls.queries[normal] = r.Query
			return normal, nil
		}
	}
}

// Normalize implements [source.Normalizer].
func (h *HubPlace) Normalize(ref string) (string, error) { return h.client.Normalize(ref) }

// Normalize implements [source.Normalizer]. A page of the hub is what it shows.
func (u *urls) Normalize(ref string) (string, error) { return u.client.Normalize(ref) }

// Revision implements [source.Versioned].
func (h *HubPlace) Revision(ref string) string {
	r, _, err := h.repo(ref)
	if err != nil {
		return ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.commit
}

// each calls f for the repositories of which something was read, with their commits.
func (h *HubPlace) each(f func(repo, commit string)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(h.repos)) {
		h.repos[key].read(f)
	}
}

// all returns the repositories that were asked for.
func (h *HubPlace) all() []*repo {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.repos))
}

// read calls f with the commit at which something was read, if anything was.
func (r *repo) read(f func(repo, commit string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.commit != "" && (r.list != nil || len(r.files) > 0) {
		f(r.ref.String(), r.commit)
	}
}

// Away reports whether a file is read from the hub, and not from a cache here.
func (h *HubPlace) Away(ref string) bool {
	r, name, err := h.repo(ref)
	if err != nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.here[name]
}

// Away reports that every URL leads to another machine.
func (u *urls) Away(string) bool { return true }

// Publication implements [source.Publisher].
func (h *HubPlace) Publication(ctx context.Context, ref string) (*source.Publication, error) {
	r, dir, err := h.repo(ref)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	out := &source.Publication{ID: r.list.ID, Commit: r.list.Commit, Files: r.list.Below(dir)}
	if at, err := time.Parse(time.RFC3339, r.list.Facts.Modified); err == nil {
		out.Modified = at
	}
	if dir == "" {
		out.Refused = r.list.Refused
		if counted := r.list.Facts.Safetensors; counted != nil {
			out.Parameters = counted.Parameters
		}
	}
	return out, nil
}
