package remote

import (
	"cmp"
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

// scopeHosts are the hosts whose pages are those of ModelScope. What is at modelscope.ai is
// other repositories.
var scopeHosts = []string{"modelscope.cn", "www.modelscope.cn"}

// parseScopePage parses the path of a page of ModelScope: models/NAMESPACE/NAME, with a tab
// of it, /resolve/REV/PATH, or /file/view/REV/PATH, where slashes of the path may be encoded.
func parseScopePage(path string) (Ref, error) {
	path, err := url.PathUnescape(strings.TrimSuffix(path, "/"))
	if err != nil {
		return Ref{}, fmt.Errorf("not a URL: %w", err)
	}
	parts := strings.Split(path, "/")
	if len(parts) < 3 || parts[0] != "models" {
		return Ref{}, errors.New("not the page of a model; name one: modelscope://NAMESPACE/NAME")
	}
	r := Ref{Kind: ModelScope, ID: parts[1] + "/" + parts[2]}
	if err := checkID(r.ID); err != nil {
		return Ref{}, err
	}
	switch parts = parts[3:]; {
	case len(parts) > 1 && parts[0] == "resolve":
		parts = parts[1:]
	case len(parts) > 2 && parts[0] == "file" && parts[1] == "view":
		parts = parts[2:]
	case len(parts) > 1:
		return Ref{}, fmt.Errorf("the page %q of a model shows no file; name the model, %s, or one of its files", strings.Join(parts, "/"), r)
	default:
		return r, nil
	}
	if r.Rev = parts[0]; len(parts) > 1 {
		r.Path = strings.Join(parts[1:], "/")
		err = checkPath(r.Path)
	}
	return r, cmp.Or(checkRev(r.Rev), err)
}

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
	_, err = r.client.document(ctx, r.ref.String(), u, &said)
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
