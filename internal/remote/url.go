package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/source"
)

// urls are files on servers that know nothing of models. A server lists nothing:
// a directory has what was found in it.
type urls struct {
	client *Client
	hint   hint

	mu     sync.Mutex
	files  map[string]*file
	absent map[string]error
	// queries are those of the URLs that the user named.
	queries map[string]string
}

// Stat implements [source.Place].
func (u *urls) Stat(ctx context.Context, ref string) (fs.FileInfo, error) {
	f, err := u.open(ctx, ref)
	if err != nil {
		return nil, err
	}
	return source.NewListing([]source.Entry{{Path: path.Base(ref), Size: f.Size()}}).Stat(path.Base(ref))
}

// Open implements [source.Place].
func (u *urls) Open(ctx context.Context, ref string) (source.Source, error) {
	f, err := u.open(ctx, ref)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Opens returns how many files are worth opening at once: they are waited for.
func (u *urls) Opens() int { return maxConnections }

func (u *urls) open(ctx context.Context, ref string) (*reader, error) {
	u.mu.Lock()
	f, err, named := u.files[ref], u.absent[ref], len(u.files) == 0
	query := u.queries[ref]
	u.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if f == nil {
		r, err := Parse(ref, u.client.opts.Settings.Endpoint)
		if err != nil {
			return nil, err
		}
		if r.Kind != URL {
			return nil, fmt.Errorf("%s: a page of the hub, which is read as %s", ref, r)
		}
		at, err := url.Parse(r.String())
		if err != nil {
			return nil, fmt.Errorf("%s: not a URL", ref)
		}
		at.RawQuery = query
		f = &file{client: u.client, ref: ref, url: at, hint: &u.hint, size: -1}
	}
	out, err := f.source(ctx)
	if e, ok := errors.AsType[*Error](err); ok && !named && query == "" && e.Status == http.StatusForbidden {
		e.Missing = true // stores that do not list say so of what they do not have
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		u.absent[ref] = err
		return nil, err
	case err != nil:
		return nil, err
	}
	if old := u.files[ref]; old != nil {
		out.file = old // somebody else was faster
	}
	u.files[ref] = out.file
	return out, nil
}

// ReadDir implements [source.Place]. Of a GGUF split whose part was named the
// names of the others are known.
func (u *urls) ReadDir(_ context.Context, dir string) ([]fs.DirEntry, error) {
	dir = strings.TrimRight(dir, "/")
	found := make(map[string]source.Entry)
	u.mu.Lock()
	for ref, f := range u.files {
		name, ok := strings.CutPrefix(ref, dir+"/")
		if !ok || strings.Contains(name, "/") {
			continue
		}
		f.mu.Lock()
		found[name] = source.Entry{Path: name, Size: f.size}
		f.mu.Unlock()
	}
	for name := range maps.Clone(found) {
		const mostParts = 1000
		if prefix, _, of, ok := gguf.ParseSplitName(name); ok && of <= mostParts {
			for n := 1; n <= of; n++ {
				part := gguf.SplitName(prefix, n, of)
				if _, ok := found[part]; !ok && u.absent[dir+"/"+part] == nil {
					found[part] = source.Entry{Path: part}
				}
			}
		}
	}
	u.mu.Unlock()
	return source.NewListing(slices.Collect(maps.Values(found))).ReadDir("")
}
