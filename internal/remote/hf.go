package remote

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

// A HubPlace is the hub as a place: repositories, each read at one commit from
// the first request for it to the end.
type HubPlace struct {
	client *Client
	mu     sync.Mutex
	repos  map[string]*repo
	// forgotten counts those that were in repos, and are no longer needed.
	forgotten int
}

// A Listing is what the hub says of a repository at one commit, before a byte of
// a file is read.
type Listing struct {
	*source.Listing
	// ID is what the repository is called now, Commit "" where a mirror does not
	// say it.
	ID, Commit string
	Facts      Facts

	entries []source.Entry
	// partial says that there may be more files than are known.
	partial bool
}

// Facts are what the hub has found out about a model, or its card says.
type Facts struct {
	Safetensors *SafetensorsFacts `json:"safetensors"`
	Tags        []string          `json:"tags"`
	Library     string            `json:"library_name"`
	PipelineTag string            `json:"pipeline_tag"`
	// Modified is when the repository was last changed, as RFC 3339 has it.
	Modified string `json:"lastModified"`
}

// SafetensorsFacts are how many parameters the hub counts, by dtype and in all.
type SafetensorsFacts struct {
	Parameters map[string]uint64 `json:"parameters"`
	Total      uint64            `json:"total"`
}

const (
	// maxListing bounds a page of a listing, and maxListed the files of all of
	// them. The largest repositories have some 100,000.
	maxListing = 32 << 20
	maxListed  = 1 << 20
	maxPages   = 2000

	// manySiblings is how many files the hub says at once that it says all of them.
	// Source: huggingface_hub, _snapshot_download.py (VERY_LARGE_REPO_THRESHOLD).
	manySiblings = 50_000
)

// A repo is a repository at one revision.
type repo struct {
	client *Client
	ref    Ref // without a path
	hint   hint

	mu     sync.Mutex
	id     string
	commit string
	list   *Listing
	err    error
	files  map[string]*file
	// absent are files that were asked for without a listing.
	absent map[string]error
	cached *cachedRepo
	// here are the files that were read from the cache of huggingface_hub.
	here map[string]bool
}

// repo returns the repository of a reference.
func (h *HubPlace) repo(ref string) (*repo, string, error) {
	r, err := Parse(ref, h.client.opts.Settings.Endpoint)
	if err != nil {
		return nil, "", err
	}
	if r.Kind != Hub && r.Kind != ModelScope {
		return nil, "", fmt.Errorf("%s: not in a repository of a hub", ref)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	of := r.Repo()
	of.Rev = r.branch() // which one may leave out, and is then the same
	key := of.String()
	got := h.repos[key]
	if got == nil {
		got = &repo{client: h.client, ref: r.Repo(), id: r.ID, files: make(map[string]*file), absent: make(map[string]error), here: make(map[string]bool)}
		if stores.IsCommit(r.Rev) {
			got.commit = r.Rev
		}
		h.repos[key] = got
	}
	return got, r.Path, nil
}

// name returns a repository as the hub's pages have it.
func (h *HubPlace) name(r Ref) string {
	if r.Dataset {
		return "datasets/" + r.ID
	}
	return r.ID
}

// Stat implements [source.Place].
func (h *HubPlace) Stat(ctx context.Context, ref string) (fs.FileInfo, error) {
	r, name, err := h.repo(ref)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.list == nil && (isWeights(name) || isTorch(name)) && !r.isDownloaded(ctx) {
		// It is most likely there, and then the listing need not be read.
		f, err := r.open(ctx, ref, name)
		if err != nil {
			return nil, err
		}
		return source.NewListing([]source.Entry{{Path: path.Base(name), Size: f.Size(), SHA256: f.sha256()}}).Stat(path.Base(name))
	}
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	fi, err := r.list.Stat(name)
	return fi, r.absence(ref, err)
}

// ReadDir implements [source.Place].
func (h *HubPlace) ReadDir(ctx context.Context, ref string) ([]fs.DirEntry, error) {
	r, name, err := h.repo(ref)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	list, err := r.list.ReadDir(name)
	return list, r.absence(ref, err)
}

// Open implements [source.Place].
func (h *HubPlace) Open(ctx context.Context, ref string) (source.Source, error) {
	r, name, err := h.repo(ref)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	if r.list == nil && (!isWeights(name) && !isTorch(name) || r.isDownloaded(ctx)) {
		// What stands beside the weights may well not be there: one request answers
		// for all of it.
		err = r.load(ctx)
	}
	if err == nil && r.list != nil {
		if fi, e := r.list.Stat(name); e == nil && fi.IsDir() {
			err = fmt.Errorf("%s: a directory, where a regular file is needed", ref)
		}
	}
	var out source.Source
	if err == nil {
		out, err = r.source(ctx, ref, name)
	}
	r.mu.Unlock()
	return out, err
}

// source opens a file, from the cache of huggingface_hub where that has it.
func (r *repo) source(ctx context.Context, ref, name string) (source.Source, error) {
	src, err := r.downloaded(ctx, ref, name)
	if src != nil || err != nil {
		return src, err
	}
	f, err := r.open(ctx, ref, name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Opens returns how many files are worth opening at once: they are waited for.
func (h *HubPlace) Opens() int { return maxConnections }

// isWeights reports that a name is that of a file that a user names by itself, and whose
// beginning has all that is asked first.
func isWeights(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".safetensors", ".gguf":
		return true
	}
	return false
}

// isTorch reports that a name is that of a file of torch.save, whose pickle is at the
// beginning, and the archive's directory at the end.
func isTorch(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".bin", ".pt", ".pth", ".ckpt":
		return true
	}
	return false
}

// absence is an error of a listing, about a reference.
func (r *repo) absence(ref string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r.missing(ref)
	case err != nil:
		return fmt.Errorf("%s: %w", ref, err)
	}
	return nil
}

func (r *repo) missing(ref string) error {
	return &Error{Ref: ref, Text: fmt.Sprintf("there is no such file in the repository%s", r.atCommit()), Missing: true}
}

func (r *repo) atCommit() string {
	if len(r.commit) < 8 {
		return ""
	}
	return " at commit " + r.commit[:8]
}

// open opens a file. It is called with the lock. Without a listing the first
// answer says which commit the revision is, so nothing else is asked meanwhile.
func (r *repo) open(ctx context.Context, ref, name string) (*reader, error) {
	f := r.files[name]
	if f == nil {
		if err := r.absent[name]; err != nil {
			return nil, err
		}
		f = &file{client: r.client, ref: ref, hint: &r.hint, size: -1}
		if r.list != nil {
			l := r.list.File(name)
			if l == nil {
				return nil, r.missing(ref)
			}
			f.size, f.digest = l.Size, l.SHA256
		}
		var err error
		if f.url, err = r.url(name); err != nil {
			return nil, err
		}
		r.restore()
		r.cached.fill(f, name)
		if r.commit == "" && r.ref.Kind == Hub {
			f.recall = func(commit string) {
				if r.pin(commit); r.commit != "" {
					f.commit = r.commit
					r.restore()
					r.cached.fill(f, name)
				}
			}
		}
	}
	out, err := f.source(ctx)
	f.recall = nil
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.absent[name] = err
		return nil, err
	case err != nil:
		return nil, err
	}
	if r.files[name] == nil {
		r.pin(f.commit)
		if f.url, err = r.url(name); err != nil {
			return nil, err
		}
	}
	r.files[name] = f
	return out, nil
}

// rev is the revision that is asked for.
func (r *repo) rev() string {
	return cmp.Or(r.commit, r.ref.branch())
}

// url returns the address of a file.
func (r *repo) url(name string) (*url.URL, error) {
	if r.ref.Kind == ModelScope {
		return r.scopeURL(name)
	}
	kind := ""
	if r.ref.Dataset {
		kind = "datasets/"
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		parts = append(parts, url.PathEscape(part))
	}
	return url.Parse(r.client.opts.Settings.Endpoint + "/" + kind + r.id + "/resolve/" + url.PathEscape(r.rev()) + "/" + strings.Join(parts, "/"))
}

// api returns an address of the API.
func (r *repo) api(what, query string) (*url.URL, error) {
	kind := "models"
	if r.ref.Dataset {
		kind = "datasets"
	}
	return url.Parse(r.client.opts.Settings.Endpoint + "/api/" + kind + "/" + r.id + "/" + what + "/" + url.PathEscape(r.rev()) + "?" + query)
}

// pin notes the commit of the first answer for a branch. What is asked later is
// asked at that commit.
func (r *repo) pin(commit string) {
	if r.commit == "" && stores.IsCommit(commit) {
		r.commit = commit
	}
}

// load reads the listing, once.
func (r *repo) load(ctx context.Context) error {
	if r.list != nil || r.err != nil {
		return r.err
	}
	list, err := r.known(ctx)
	if r.list = list; list != nil {
		return nil
	}
	if err == nil {
		list, err = r.ask(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			r.err = err
		}
		return err
	}
	if list.Commit == "" && r.ref.Kind == Hub {
		r.client.opts.Note("%s: %s does not say which commit it is at; what is read may be of several", r.ref, r.client.endpoint.Host)
	}
	r.list = list
	return nil
}

// ask asks for the commit of the revision, with the names, sizes and digests of
// its files: one request, unless there are many files or a mirror says less.
func (r *repo) ask(ctx context.Context) (*Listing, error) {
	if r.ref.Kind == ModelScope {
		return r.askScope(ctx)
	}
	u, err := r.api("revision", "blobs=true")
	if err != nil {
		return nil, err
	}
	var said struct {
		ID       string `json:"id"`
		SHA      string `json:"sha"`
		Siblings []struct {
			Name string `json:"rfilename"`
			Size *int64 `json:"size"`
			LFS  *struct {
				SHA256 string `json:"sha256"`
				Size   int64  `json:"size"`
			} `json:"lfs"`
		} `json:"siblings"`
		Facts
	}
	a, err := r.client.document(ctx, r.ref.String(), u, &said)
	if err != nil {
		e, ok := errors.AsType[*Error](err)
		if !ok || !e.Missing {
			return nil, err
		}
		// A mirror that has trees alone.
		out := &Listing{ID: r.id}
		if treeErr := r.tree(ctx, out); errors.Is(treeErr, fs.ErrNotExist) {
			return nil, err
		} else if treeErr != nil {
			return nil, treeErr
		}
		out.settle(r)
		return out, nil
	}
	if said.ID != r.id && len(a.way) > 0 && checkID(said.ID) == nil && strings.Count(said.ID, "/") == 1 {
		r.client.opts.Note("%s: the repository is called %s now", r.ref, said.ID)
		r.id = said.ID
	}
	r.pin(said.SHA)
	out := &Listing{ID: r.id, Facts: said.Facts}
	sized := len(said.Siblings) < manySiblings
	for _, s := range said.Siblings {
		f := source.Entry{Path: s.Name}
		if s.Size == nil {
			sized = false
			break
		}
		f.Size = *s.Size
		if s.LFS != nil {
			f.SHA256, f.LFSSize = s.LFS.SHA256, s.LFS.Size
		}
		out.add(f)
	}
	if !sized {
		r.restore()
		if list := r.cached.listing(); list != nil { // which saves a request for every page
			return list, nil
		}
		out.entries = nil
		if err := r.tree(ctx, out); err != nil {
			return nil, err
		}
	}
	out.settle(r)
	return out, nil
}

// tree reads a listing page by page.
func (r *repo) tree(ctx context.Context, out *Listing) error {
	u, err := r.api("tree", "recursive=true")
	if err != nil {
		return err
	}
	for pages := 1; u != nil; pages++ {
		var page []struct {
			Type string `json:"type"`
			Path string `json:"path"`
			Size int64  `json:"size"`
			LFS  *struct {
				OID  string `json:"oid"`
				Size int64  `json:"size"`
			} `json:"lfs"`
		}
		a, err := r.client.document(ctx, r.ref.String(), u, &page)
		if err != nil {
			return err
		}
		r.pin(a.header("X-Repo-Commit"))
		for _, e := range page {
			if e.Type != "file" {
				continue
			}
			f := source.Entry{Path: e.Path, Size: e.Size}
			if e.LFS != nil {
				f.SHA256, f.LFSSize = e.LFS.OID, e.LFS.Size
			}
			out.add(f)
		}
		if len(out.entries) > maxListed || pages == maxPages {
			return fmt.Errorf("%s: the listing has more than %d files, or %d pages; name the files by themselves", r.ref, maxListed, maxPages)
		}
		if u, err = r.client.nextPage(r.ref.String(), a); err != nil {
			return err
		}
	}
	return nil
}

// nextPage returns the address of the next page of a listing, nil after the last.
func (c *Client) nextPage(ref string, a *answer) (*url.URL, error) {
	for _, link := range a.Header.Values("Link") {
		for part := range strings.SplitSeq(link, ",") {
			target, rel, ok := strings.Cut(strings.TrimSpace(part), ">")
			target, begins := strings.CutPrefix(target, "<")
			if !ok || !begins || !strings.Contains(strings.ReplaceAll(rel, `"`, ""), "rel=next") {
				continue
			}
			u, err := a.url.Parse(c.mirrored(target))
			if err != nil || !sameOrigin(u, c.endpoint) {
				return nil, fmt.Errorf("%s: the next page of the listing is on another host than %s; it is not asked", ref, c.endpoint.Host)
			}
			return u, nil
		}
	}
	return nil, nil
}

// document asks for a document of the API, and for all of it again when it breaks
// off.
func (c *Client) document(ctx context.Context, ref string, u *url.URL, v any) (*answer, error) {
	for attempt := 1; ; attempt++ {
		a, err := c.get(ctx, request{url: u, ref: ref})
		if err != nil {
			return nil, err
		}
		if a.StatusCode != http.StatusOK {
			return nil, c.failure(a)
		}
		text, err := io.ReadAll(io.LimitReader(a.Body, maxListing+1))
		a.Body.Close()
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil && attempt < attempts:
			if err := c.pauseBroken(ctx, a.url, attempt-1); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("%s: the listing: %w", ref, errBroken)
		case len(text) > maxListing:
			return nil, fmt.Errorf("%s: %s sends a listing of more than %d MiB", ref, a.url.Host, maxListing>>20)
		case json.Unmarshal(text, v) != nil:
			return nil, fmt.Errorf("%s: %s answers with what is not the hub's listing; is there a hub at %s, and nothing before it that asks to log in?", ref, a.url.Host, c.opts.Settings.Endpoint)
		}
		return a, nil
	}
}

// add adds a file. Viewers without a right to them are shown no digests.
func (l *Listing) add(f source.Entry) {
	if !stores.IsSHA256(f.SHA256) {
		f.SHA256 = ""
	}
	if f.Size >= 0 {
		l.entries = append(l.entries, f)
	}
}

// settle makes a listing of what was added, and tells of names that are refused.
func (l *Listing) settle(r *repo) {
	l.Commit = r.commit
	l.Listing = source.NewListing(l.entries)
	if n := len(l.Refused); n > 0 {
		r.client.opts.Note("%s: the listing has names that are not those of files below a directory: %.100q %s; they are left out (%d)", r.ref, l.Refused[0].Path, l.Refused[0].Why, n)
	}
}
