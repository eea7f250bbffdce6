package remote

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A Kind is what answers for a reference.
type Kind uint8

// The kinds of references.
const (
	// Hub is a repository on the Hugging Face Hub, or on what HF_ENDPOINT names.
	Hub Kind = iota
	// ModelScope is a repository on ModelScope.
	ModelScope
	// URL is a file on a server that knows nothing of models.
	URL
	// Ollama is a model in the store of Ollama on this machine.
	Ollama
)

// A Ref is a reference, taken apart. Its String is the form that [source.Join]
// and [source.Dir] work on: a revision is one segment, whatever it is called.
type Ref struct {
	Kind Kind
	// Dataset says that the repository is one of datasets.
	Dataset bool
	// ID is the repository, NAMESPACE/NAME; the scheme and host of a URL; the
	// model of Ollama, without its tag.
	ID string
	// Rev is a branch, a tag, refs/pr/N or a commit, "" for the default; the tag
	// of a model of Ollama.
	Rev string
	// Path has slashes, "" for all of the repository. That of a URL stays as it is
	// encoded.
	Path string
	// Query is that of a URL. It may hold a signature, so String leaves it out.
	Query string
}

// hubHosts are the hosts whose pages are those of the Hugging Face Hub. Source:
// huggingface_hub, constants.py (HF_URL_HOSTS).
var hubHosts = []string{"huggingface.co", "www.huggingface.co", "hf.co", "hub-ci.huggingface.co"}

// types are what hf:// has before a repository, and what is said of those that
// hold no weights. Source: huggingface_hub, constants.py (HF_URI_TYPE_PREFIXES).
var types = []struct{ name, not string }{
	{"models", ""},
	{"datasets", ""},
	{"spaces", "a space holds a program"},
	{"kernels", "a kernel is code"},
	{"buckets", "buckets are not read"},
}

// special are the revisions that hold a slash and are written with it. Source:
// huggingface_hub, utils/_hf_uris.py (_SPECIAL_REFS_REVISION_REGEX).
var special = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^refs/(?:convert/[\w.-]+|pr/[0-9]+)`) })

// isRepoID recognises what a repository may be called. Source: huggingface_hub,
// utils/_validators.py (REPO_ID_REGEX).
func isRepoID(s string) bool {
	const longest = 96
	return isName(s, longest) && strings.IndexByte(".-", s[len(s)-1]) < 0
}

// isName reports whether a part of a name has letters, digits, _, . and - alone, the
// last two not at the beginning.
func isName(s string, longest int) bool {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
	return s != "" && len(s) <= longest && strings.IndexByte(".-", s[0]) < 0 && strings.Trim(s, letters+".-") == ""
}

// IsPage reports that text is the address of a page of the Hugging Face Hub or of
// ModelScope without its scheme.
func IsPage(text string) bool {
	host, _, ok := strings.Cut(text, "/")
	host = strings.ToLower(host)
	return ok && (slices.Contains(hubHosts, host) || slices.Contains(scopeHosts, host))
}

// Parse takes a reference apart. Endpoint is the hub's URL, whose own pages are
// recognised, too.
func Parse(ref, endpoint string) (Ref, error) {
	shown := WithoutSecrets(ref)
	fail := func(err error) (Ref, error) { return Ref{}, fmt.Errorf("%s: %w", shown, err) }
	if strings.ContainsFunc(ref, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return fail(errors.New("a reference cannot hold a control character"))
	}
	var (
		r   Ref
		err error
	)
	switch scheme, rest, _ := strings.Cut(ref, ":"); strings.ToLower(scheme) {
	case "hf":
		r, err = parseHub(strings.TrimPrefix(rest, "//"))
	case "modelscope":
		r, err = parseRepo(strings.TrimPrefix(rest, "//"), "modelscope://")
		r.Kind = ModelScope
	case "ollama":
		r, err = parseOllama(strings.TrimPrefix(rest, "//"))
	case "http", "https":
		r, err = parseURL(ref, endpoint)
	default:
		return Ref{}, &source.UnsupportedError{Ref: shown, Scheme: scheme}
	}
	if err != nil {
		return fail(err)
	}
	return r, nil
}

// WithoutSecrets returns a reference as messages have it, without what may be a secret: the
// query of a URL, and the user in it, whether its place is known or not. Local paths stay.
func WithoutSecrets(ref string) string {
	if source.Scheme(ref) == "" {
		return ref
	}
	ref, _, _ = strings.Cut(ref, "?")
	scheme, rest, ok := strings.Cut(ref, "://")
	web := strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https")
	host, path, below := strings.Cut(rest, "/")
	user := strings.LastIndexByte(host, '@') + 1
	if revisioned := slices.Contains([]string{"hf", "modelscope", "ollama"}, strings.ToLower(scheme)); !ok || !web && (revisioned || user == 0) {
		return ref
	}
	host = host[user:]
	if !web && !below {
		return scheme + "://" + host
	}
	return strings.TrimSuffix(scheme+"://"+host+"/"+path, "/")
}

// String returns the reference as Parse reads it.
func (r Ref) String() string {
	var s string
	switch r.Kind {
	case Hub:
		s = "hf://" + map[bool]string{true: "datasets/"}[r.Dataset] + r.ID
	case ModelScope:
		s = "modelscope://" + r.ID
	case URL:
		return r.ID + "/" + r.Path
	case Ollama:
		s = "ollama://" + r.ID + ":" + r.Rev
	}
	if r.Rev != "" && r.Kind != Ollama {
		s += "@" + url.PathEscape(r.Rev)
	}
	if r.Path != "" {
		s += "/" + r.Path
	}
	return s
}

// Repo returns the reference of the whole repository at the revision.
func (r Ref) Repo() Ref {
	r.Path = ""
	return r
}

// branch returns the revision of a repository, its default where none is named.
func (r Ref) branch() string {
	if r.Kind == ModelScope {
		return cmp.Or(r.Rev, "master")
	}
	return cmp.Or(r.Rev, "main")
}

// parseHub parses what follows hf://.
func parseHub(s string) (Ref, error) {
	first, rest, _ := strings.Cut(s, "/")
	for _, t := range types {
		switch {
		case first == strings.TrimSuffix(t.name, "s"):
			return Ref{}, fmt.Errorf("the type is plural: hf://%s/%s", t.name, rest)
		case first != t.name:
		case t.not != "":
			return Ref{}, fmt.Errorf("%s; models and datasets are read", t.not)
		default:
			r, err := parseRepo(rest, "hf://"+first+"/")
			r.Dataset = first == "datasets"
			return r, err
		}
	}
	return parseRepo(s, "hf://")
}

// parseRepo parses NAMESPACE/NAME[@REV][/PATH]. An @ counts right behind the name
// alone.
func parseRepo(s, before string) (Ref, error) {
	space, rest, ok := strings.Cut(s, "/")
	if !ok || rest == "" {
		return Ref{}, fmt.Errorf("a repository has a namespace and a name: %sNAMESPACE/NAME", before)
	}
	n := strings.IndexAny(rest, "@/")
	if n < 0 {
		n = len(rest)
	}
	r := Ref{ID: space + "/" + rest[:n]}
	if err := checkID(r.ID); err != nil {
		return Ref{}, err
	}
	rest = rest[n:]
	if rev, ok := strings.CutPrefix(rest, "@"); ok {
		if r.Rev = special().FindString(rev); r.Rev != "" {
			rest = rev[len(r.Rev):]
		} else {
			n := strings.IndexByte(rev+"/", '/')
			r.Rev, rest = rev[:n], rev[n:]
			decoded, err := url.PathUnescape(r.Rev)
			if err != nil {
				return Ref{}, fmt.Errorf("revision %q: %% is not followed by two hexadecimal digits; write %%25 for a percent sign", r.Rev)
			}
			r.Rev = decoded
		}
		if err := checkRev(r.Rev); err != nil {
			return Ref{}, err
		}
	}
	if rest == "" || rest == "/" {
		return r, nil
	}
	path, ok := strings.CutPrefix(rest, "/")
	if !ok {
		return Ref{}, fmt.Errorf("revision %q is followed by %q; a path begins with a slash", r.Rev, rest)
	}
	r.Path = strings.TrimSuffix(path, "/")
	return r, checkPath(r.Path)
}

func checkID(id string) error {
	for part := range strings.SplitSeq(id, "/") {
		if repo, of, ok := strings.Cut(part, ":"); ok && isRepoID(repo) { // as llama.cpp and Ollama have it
			id := strings.TrimSuffix(id, ":"+of)
			return fmt.Errorf("a file is not chosen by %q but by its path, %s/FILE.gguf; the repository alone, %s, lists them", ":"+of, id, id)
		}
		if !isRepoID(part) || strings.Contains(part, "..") || strings.Contains(part, "--") {
			return fmt.Errorf("%q cannot be in a repository's name: it has letters, digits, _, . and -, at most 96 of them, neither -- nor .. in it", part)
		}
	}
	return nil
}

// checkRev refuses what git refuses, as far as it could lead elsewhere. Source:
// git-check-ref-format(1).
func checkRev(rev string) error {
	const longest = 256
	switch {
	case rev == "":
		return errors.New("the revision behind @ is empty; leave out the @ for the default branch")
	case len(rev) > longest:
		return fmt.Errorf("a revision of %d bytes; %d are the most", len(rev), longest)
	case strings.ContainsAny(rev, "\\ ~^:?*[") || strings.ContainsFunc(rev, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("revision %q holds a character that git does not allow in one", rev)
	}
	for part := range strings.SplitSeq(rev, "/") {
		if part == "" || strings.HasPrefix(part, ".") || strings.Contains(part, "..") {
			return fmt.Errorf("revision %q: git allows no empty part in one, no .. and no . at the start", rev)
		}
	}
	return nil
}

// checkPath refuses paths that mean something else on a file system.
func checkPath(path string) error {
	if strings.Contains(path, `\`) {
		return fmt.Errorf("path %q: segments are separated by /", path)
	}
	for part := range strings.SplitSeq(path, "/") {
		switch part {
		case "":
			return fmt.Errorf("path %q has an empty segment: write one / between two", path)
		case ".", "..":
			return fmt.Errorf("path %q has a segment %q", path, part)
		}
	}
	return nil
}

// parseOllama parses [[HOST/]NAMESPACE/]MODEL[:TAG][/FILE], FILE only behind a
// tag. Source: ollama, types/model/name.go.
func parseOllama(s string) (Ref, error) {
	parts := strings.Split(strings.TrimSuffix(s, "/"), "/")
	last := len(parts) - 1
	if n := slices.IndexFunc(parts[1:], hasColon) + 1; n > 0 {
		last = n
	} else if hasColon(parts[0]) && !(len(parts) == 3 && isPort(parts[0])) {
		last = 0
	}
	model, tag, tagged := strings.Cut(parts[last], ":")
	if tagged && tag == "" {
		return Ref{}, errors.New("the tag behind : is empty; leave out the : for latest")
	}
	r := Ref{Kind: Ollama, Rev: cmp.Or(tag, "latest"), Path: strings.Join(parts[last+1:], "/")}
	r.ID = strings.Join(append(parts[:last:last], model), "/")
	if last > 2 {
		return Ref{}, errors.New("a model of Ollama is [[HOST/]NAMESPACE/]MODEL[:TAG]")
	}
	for i, part := range append(strings.Split(r.ID, "/"), r.Rev) {
		name := part
		if host, _, _ := strings.Cut(part, ":"); last == 2 && i == 0 && (host == part || isPort(part)) {
			name = host
		}
		const longest = 128
		if !isName(name, longest) || strings.Contains(part, "..") {
			return Ref{}, fmt.Errorf("%q cannot be in the name of a model of Ollama: ollama:[[HOST/]NAMESPACE/]MODEL[:TAG]", part)
		}
	}
	if r.Path == "" {
		return r, nil
	}
	return r, checkPath(r.Path)
}

func hasColon(s string) bool { return strings.Contains(s, ":") }

func isPort(host string) bool {
	_, port, _ := strings.Cut(host, ":")
	return port != "" && len(port) <= 5 && strings.Trim(port, "0123456789") == ""
}

// parseURL parses a page of the hub as what it shows, and another URL as a file.
func parseURL(ref, endpoint string) (Ref, error) {
	u, err := url.Parse(ref)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // the URL may hold a signature
		}
		return Ref{}, fmt.Errorf("not a URL: %w", err)
	}
	switch {
	case u.Host == "" || u.Opaque != "":
		return Ref{}, errors.New("a URL without a host")
	case u.User != nil:
		return Ref{}, errors.New("a URL with a user's name in it, which would be in every message; take it out")
	}
	if at, err := url.Parse(endpoint); err == nil && endpoint != "" && sameOrigin(u, at) {
		prefix := strings.TrimSuffix(at.EscapedPath(), "/")
		if path, ok := strings.CutPrefix(u.EscapedPath(), prefix+"/"); ok {
			return parsePage(path)
		}
	}
	if slices.Contains(hubHosts, strings.ToLower(u.Hostname())) {
		return parsePage(strings.TrimPrefix(u.EscapedPath(), "/"))
	}
	path := strings.TrimPrefix(u.EscapedPath(), "/")
	if slices.Contains(scopeHosts, strings.ToLower(u.Hostname())) && !strings.HasPrefix(path, "api/") {
		return parseScopePage(path)
	}
	if path == "" || strings.HasSuffix(path, "/") {
		return Ref{}, errors.New("a URL of a directory, and a server does not list those; name a file, or an index and its shards are found beside it")
	}
	if err := checkPath(path); err != nil {
		return Ref{}, err
	}
	return Ref{Kind: URL, ID: origin(u), Path: path, Query: u.RawQuery}, nil
}

// origin returns the scheme, host and port of a URL, without a port that the
// scheme means anyway.
func origin(u *url.URL) string {
	scheme, host := strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	host = strings.TrimSuffix(host, map[string]string{"http": ":80", "https": ":443"}[scheme])
	return scheme + "://" + host
}

func sameOrigin(a, b *url.URL) bool { return origin(a) == origin(b) }

// routes are the pages of a repository that show a file or a directory of a
// revision. Source: huggingface_hub, utils/_hf_uris.py (_URL_REPO_LOCATION_ACTIONS).
var routes = []string{"blob", "raw", "resolve", "tree", "blame"}

// parsePage parses the path of a page of the hub: [TYPE/]NAMESPACE/NAME, or that
// and /ROUTE/REV[/PATH].
func parsePage(path string) (Ref, error) {
	var parts []string
	for part := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		decoded, err := url.PathUnescape(part)
		if err != nil {
			return Ref{}, fmt.Errorf("not a URL: %w", err)
		}
		parts = append(parts, decoded)
	}
	var before []string
	if slices.ContainsFunc(types, func(t struct{ name, not string }) bool { return t.name == parts[0] }) {
		before, parts = parts[:1], parts[1:]
	}
	if len(parts) < 2 || parts[0] == "api" {
		return Ref{}, errors.New("not the page of a repository; name one: hf://NAMESPACE/NAME")
	}
	r, err := parseHub(strings.Join(append(before, parts[0], parts[1]), "/"))
	if err != nil || len(parts) == 2 {
		return r, err
	}
	if parts[0]+"/"+parts[1] != r.ID {
		return Ref{}, checkID(parts[1])
	}
	if !slices.Contains(routes, parts[2]) {
		return Ref{}, fmt.Errorf("the page %q of a repository shows no file; name the repository, %s, or one of its files", parts[2], r)
	}
	if len(parts) == 3 {
		return r, nil
	}
	parts = parts[3:]
	if rev := special().FindString(strings.Join(parts, "/")); rev != "" && parts[0] == "refs" {
		r.Rev, parts = rev, parts[3:]
	} else {
		r.Rev, parts = parts[0], parts[1:]
	}
	if err := checkRev(r.Rev); err != nil {
		return Ref{}, err
	}
	if len(parts) == 0 {
		return r, nil
	}
	for _, part := range parts {
		if strings.Contains(part, "/") {
			return Ref{}, fmt.Errorf("a file's name cannot hold a slash: %q", part)
		}
	}
	r.Path = strings.Join(parts, "/")
	return r, checkPath(r.Path)
}
