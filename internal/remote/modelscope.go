package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strings"

	"github.com/wtinspect/wtinspect/internal/source"
)

// defaultScope is ModelScope where MODELSCOPE_DOMAIN names no other.
const defaultScope = "https://www.modelscope.cn"

// scopeURL returns the address of a file of ModelScope, which redirects to the
// host that has it. Source: modelscope, hub/file_download.py (get_file_download_url).
func (r *repo) scopeURL(name string) (*url.URL, error) {
	return r.scopeAPI("/repo", url.Values{"Revision": {r.rev()}, "FilePath": {name}})
}

func (r *repo) scopeAPI(what string, query url.Values) (*url.URL, error) {
	u, err := url.Parse(r.client.opts.Settings.ScopeEndpoint + "/api/v1/models/" + r.id + what)
	if err == nil {
		u.RawQuery = query.Encode()
	}
	return u, err
}

// askScope asks ModelScope for the names, sizes and digests of all files. It does
// not say which commit a revision is at. Source: modelscope, hub/api.py
// (get_model_files); the server takes "True" and not "true".
func (r *repo) askScope(ctx context.Context) (*Listing, error) {
	u, err := r.scopeAPI("/repo/files", url.Values{"Revision": {r.rev()}, "Recursive": {"True"}})
	if err != nil {
		return nil, err
	}
	var said struct {
		Message string
		Success bool
		Data    struct {
			Files []struct {
				Path   string
				Type   string
				Size   int64
				SHA256 string `json:"Sha256"`
			}
		}
	}
	_, err = r.document(ctx, u, &said)
	if err == nil && !said.Success {
		err = &Error{Ref: r.ref.String(), Text: fmt.Sprintf("%s says: %.200q", u.Host, said.Message)}
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = &Error{Ref: r.ref.String(), Text: fmt.Sprintf("not found on %s, or private; check the name and the revision (%s), and set MODELSCOPE_API_TOKEN for a private repository", u.Host, r.rev())}
	}
	if err != nil {
		return nil, err
	}
	out := &Listing{ID: r.id}
	for _, f := range said.Data.Files {
		if f.Type == "blob" {
			out.add(source.Entry{Path: f.Path, Size: f.Size, SHA256: strings.ToLower(f.SHA256)})
		}
	}
	out.settle(r)
	return out, nil
}
