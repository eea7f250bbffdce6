package hubtest

import (
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// serveHub answers what huggingface.co answers.
func (h *Hub) serveHub(w http.ResponseWriter, r *http.Request) {
	k := h.behaviour()
	if k.Warning != "" {
		w.Header().Set("X-HF-Warning", k.Warning)
	}
	if h.fails(w, r, k) {
		return
	}
	segments := strings.Split(strings.TrimPrefix(r.URL.EscapedPath(), "/"), "/")
	for i, s := range segments {
		plain, err := url.PathUnescape(s)
		if err != nil {
			http.Error(w, "bad path", http.StatusBadRequest)
			return
		}
		segments[i] = plain
	}
	switch {
	case len(segments) > 6 && segments[0] == "api" && segments[1] == "resolve-cache":
		h.cached(w, r, k, segments[2:])
	case len(segments) >= 6 && segments[0] == "api" && segments[1] == "v1":
		h.modelscope(w, r, k, segments[2:])
	case len(segments) == 2 && segments[0] == "api" && segments[1] == "models":
		h.models(w, r, k)
	case len(segments) >= 4 && segments[0] == "api":
		h.api(w, r, k, segments[1:])
	default:
		kind := "models"
		if segments[0] == "datasets" {
			kind, segments = segments[0], segments[1:]
		}
		if len(segments) < 5 || segments[2] != "resolve" && segments[2] != "raw" {
			fail(w, http.StatusNotFound, "", "Not found")
			return
		}
		repo := h.repo(w, r, kind, segments[0]+"/"+segments[1])
		if repo == nil {
			return
		}
		sha, f := repo.find(w, segments[3], strings.Join(segments[4:], "/"))
		switch {
		case f == nil:
		case segments[2] == "raw":
			h.raw(w, r, k, sha, f)
		default:
			h.resolve(w, r, k, repo, sha, f)
		}
	}
}

// fails answers with what has nothing to do with the request, when it is to.
func (h *Hub) fails(w http.ResponseWriter, r *http.Request, k Knobs) bool {
	h.mu.Lock()
	h.seen[r.Host+r.URL.Path+r.Header.Get("Range")]++
	asked, total := h.seen[r.Host+r.URL.Path+r.Header.Get("Range")], len(h.log)
	h.mu.Unlock()
	bucket := "resolvers"
	if strings.HasPrefix(r.URL.Path, "/api/") && !strings.HasPrefix(r.URL.Path, "/api/resolve-cache/") {
		bucket = "api"
	}
	if k.RetryAfter == 0 {
		quota, left := 3000, 2999
		if k.Rate > 0 {
			quota, left = k.Rate, max(0, k.Rate-total)
		}
		w.Header().Set("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%d`, bucket, left, cmp.Or(k.Wait, 300)))
		w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"fixed window";"%s";q=%d;w=300`, bucket, quota))
	}
	if k.Quota > 0 && h.overQuota(w, r.Host, bucket, k) {
		fail(w, http.StatusTooManyRequests, "", "We had to rate limit you")
		return true
	}
	switch {
	case k.Rate > 0 && total > k.Rate:
		h.mu.Lock()
		h.knobs.Rate = 0 // the next window
		h.mu.Unlock()
		fail(w, http.StatusTooManyRequests, "", "We had to rate limit you")
		return true
	case k.RetryAfter > 0 && asked == 1:
		w.Header().Set("Retry-After", strconv.Itoa(k.RetryAfter))
		fail(w, http.StatusTooManyRequests, "", "slow down")
		return true
	case k.Flaky >= asked:
		fail(w, cmp.Or(k.Status, http.StatusServiceUnavailable), "", "try again")
		return true
	case k.HTML:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, "<!DOCTYPE html><html><body>Sign in to the network</body></html>")
		return true
	}
	return false
}

// overQuota counts a request in the window of its host's bucket, says what is left of it, and
// reports that there is nothing left.
func (h *Hub) overQuota(w http.ResponseWriter, host, bucket string, k Knobs) bool {
	seconds := cmp.Or(k.Window, 300)
	length := time.Duration(seconds) * time.Second
	h.mu.Lock()
	defer h.mu.Unlock()
	now := h.now()
	key := host + " " + bucket
	is := h.windows[key]
	if is == nil || now.Sub(is.began) >= length {
		is = &window{began: now}
		h.windows[key] = is
	}
	is.asked++
	left := is.began.Add(length).Sub(now)
	w.Header().Set("RateLimit", fmt.Sprintf(`"%s";r=%d;t=%d`, bucket, max(0, k.Quota-is.asked), left/time.Second))
	w.Header().Set("RateLimit-Policy", fmt.Sprintf(`"fixed window";"%s";q=%d;w=%d`, bucket, k.Quota, seconds))
	return is.asked > k.Quota
}

// fail answers with an error as the hub does: the reason is in headers.
func fail(w http.ResponseWriter, status int, code, message string) {
	if code != "" {
		w.Header().Set("X-Error-Code", code)
	}
	w.Header().Set("X-Error-Message", message)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"error": message})
}

// repo returns the repository that a request is about, if it may see it.
func (h *Hub) repo(w http.ResponseWriter, r *http.Request, kind, id string) *Repo {
	h.mu.Lock()
	repo, token := h.repos[kind+"/"+id], h.token
	h.mu.Unlock()
	given, has := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case has && given != token:
		fail(w, http.StatusUnauthorized, "", "Invalid credentials in Authorization header")
	case repo == nil && has:
		fail(w, http.StatusNotFound, "RepoNotFound", "Repository not found")
	case repo == nil || repo.Private && !has:
		fail(w, http.StatusUnauthorized, "RepoNotFound", "Invalid username or password.")
	case repo.renamed != "":
		http.Redirect(w, r, strings.Replace(r.URL.RequestURI(), id, repo.renamed, 1), http.StatusTemporaryRedirect)
	case repo.Disabled:
		fail(w, http.StatusForbidden, "", "Access to this resource is disabled.")
	case repo.Gated && !has:
		fail(w, http.StatusUnauthorized, "GatedRepo", "Access to model "+id+" is restricted. You must have access to it and be authenticated to access it. Please log in.")
	case repo.Gated && repo.Refused:
		fail(w, http.StatusForbidden, "GatedRepo", "Access to model "+id+" is restricted and you are not in the authorized list.")
	default:
		return repo
	}
	return nil
}

// at returns the commit that a revision names.
func (r *Repo) at(w http.ResponseWriter, rev string) (string, map[string]*file) {
	r.mu.Lock()
	defer r.mu.Unlock()
	sha := cmp.Or(r.refs[rev], rev)
	files := r.commits[sha]
	if files == nil {
		fail(w, http.StatusNotFound, "RevisionNotFound", "Invalid rev id: "+rev)
	}
	return sha, files
}

func (r *Repo) find(w http.ResponseWriter, rev, name string) (string, *file) {
	sha, files := r.at(w, rev)
	if files == nil {
		return "", nil
	}
	f := files[name]
	if f == nil {
		w.Header().Set("X-Repo-Commit", sha)
		fail(w, http.StatusNotFound, "EntryNotFound", "Entry not found")
	}
	return sha, f
}

// api answers /api/{models,datasets}/NS/NAME[/{revision,tree}/REV[/PATH]].
func (h *Hub) api(w http.ResponseWriter, r *http.Request, k Knobs, s []string) {
	repo := h.repo(w, r, s[0], s[1]+"/"+s[2])
	if repo == nil {
		return
	}
	what, rev, below := "revision", "main", ""
	if len(s) > 4 {
		what, rev, below = s[3], s[4], strings.Join(s[5:], "/")
	}
	sha, files := repo.at(w, rev)
	switch {
	case files == nil:
	case what == "revision":
		h.info(w, r, k, repo, sha, files)
	case what == "tree":
		h.tree(w, r, k, sha, files, below)
	default:
		fail(w, http.StatusNotFound, "", "Sorry, we can't find the page you are looking for.")
	}
}

func isTrue(s string) bool { return strings.EqualFold(s, "true") || s == "1" }

// evil are names that no client may follow, and the directories that they mean.
var evil = []string{"../../escaped.safetensors", "/etc/escaped.safetensors", `..\escaped.safetensors`, `C:\escaped.safetensors`, `\\host\share\escaped.safetensors`, "a/../../escaped.safetensors", "a//b.safetensors"}

func (h *Hub) info(w http.ResponseWriter, r *http.Request, k Knobs, repo *Repo, sha string, files map[string]*file) {
	var siblings []map[string]any
	names := slices.Sorted(maps.Keys(files))
	if k.EvilNames {
		names = append(names, evil...)
	}
	for _, name := range names {
		s := map[string]any{"rfilename": name}
		f := files[name]
		if f == nil {
			f = &file{path: name, size: 1}
		}
		if isTrue(r.URL.Query().Get("blobs")) && !k.PlainSiblings {
			s["size"], s["blobId"] = f.size+int64(k.ListedSize), f.sha1
			if f.lfs {
				s["lfs"] = map[string]any{"sha256": f.sha256, "size": f.size + int64(k.ListedSize+k.PointerSize), "pointerSize": len(pointer(f))}
			}
		}
		siblings = append(siblings, s)
	}
	answer := map[string]any{
		"_id": "0", "id": repo.id, "modelId": repo.id, "sha": sha, "siblings": siblings,
		"lastModified": Modified, "private": repo.Private, "gated": repo.Gated, "disabled": repo.Disabled, "tags": []string{},
	}
	maps.Copy(answer, repo.Facts)
	if keys := r.URL.Query()["expand"]; len(keys) > 0 {
		maps.DeleteFunc(answer, func(key string, _ any) bool { return key != "id" && key != "_id" && !slices.Contains(keys, key) })
	}
	h.send(w, r, k, "application/json", "", jsonOf(answer))
}

// models answers a page of the models of an author.
func (h *Hub) models(w http.ResponseWriter, r *http.Request, k Knobs) {
	query := r.URL.Query()
	h.mu.Lock()
	var ids []string
	for key, repo := range h.repos {
		author, _, _ := strings.Cut(repo.id, "/")
		if strings.HasPrefix(key, "models/") && strings.EqualFold(author, query.Get("author")) && !repo.Private {
			ids = append(ids, repo.id)
		}
	}
	h.mu.Unlock()
	slices.Sort(ids)
	size, err := strconv.Atoi(query.Get("limit"))
	if err != nil || size <= 0 || size > 1000 {
		size = 1000
	}
	if k.Pages > 0 {
		size = k.Pages
	}
	from, _ := strconv.Atoi(query.Get("cursor"))
	from = min(max(from, 0), len(ids))
	to := min(from+size, len(ids))
	if to < len(ids) || k.Repeat {
		query.Set("cursor", strconv.Itoa(to%len(ids)))
		w.Header().Set("Link", fmt.Sprintf(`<%s/api/models?%s>; rel="next"`, h.address(k), query.Encode()))
	}
	page := []map[string]any{}
	for _, id := range ids[from:to] {
		page = append(page, map[string]any{"_id": "0", "id": id, "modelId": id, "private": false})
	}
	h.send(w, r, k, "application/json", "", jsonOf(page))
}

// Modified is when every repository was last changed.
const Modified = "2024-05-06T07:08:09.123Z"

func jsonOf(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}

// tree answers a page of a listing.
func (h *Hub) tree(w http.ResponseWriter, r *http.Request, k Knobs, sha string, files map[string]*file, below string) {
	recursive := isTrue(r.URL.Query().Get("recursive"))
	type entry = map[string]any
	entries := make(map[string]entry)
	for name, f := range files {
		rest := name
		if below != "" {
			var ok bool
			if rest, ok = strings.CutPrefix(name, below+"/"); !ok {
				continue
			}
		}
		for dir := path.Dir(rest); dir != "."; dir = path.Dir(dir) {
			if recursive || !strings.Contains(dir, "/") {
				entries[path.Join(below, dir)] = entry{"type": "directory", "path": path.Join(below, dir), "size": 0, "oid": sha}
			}
		}
		if !recursive && strings.Contains(rest, "/") {
			continue
		}
		e := entry{"type": "file", "path": name, "size": f.size + int64(k.ListedSize), "oid": f.sha1}
		if f.lfs {
			e["lfs"] = entry{"oid": f.sha256, "size": f.size + int64(k.ListedSize+k.PointerSize), "pointerSize": len(pointer(f))}
			e["xetHash"] = f.sha256
			if k.BadXet {
				e["xetHash"] = "[redacted]"
			}
		}
		entries[name] = e
	}
	if k.EvilNames {
		for _, name := range evil {
			entries[name] = entry{"type": "file", "path": name, "size": 1, "oid": sha}
		}
	}
	if len(entries) == 0 && below != "" {
		fail(w, http.StatusNotFound, "EntryNotFound", below+" does not exist on \""+sha+"\"")
		return
	}
	names := slices.Sorted(maps.Keys(entries))
	first, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
	first = max(0, min(first, len(names)))
	last := min(first+cmp.Or(k.Pages, 1000), len(names))
	page := []entry{}
	for _, name := range names[first:last] {
		page = append(page, entries[name])
	}
	if last < len(names) {
		next := *r.URL
		q := next.Query()
		q.Set("cursor", strconv.Itoa(last))
		next.RawQuery = q.Encode()
		w.Header().Set("Link", fmt.Sprintf(`<%s%s>; rel="next"`, h.address(k), next.RequestURI()))
	}
	h.send(w, r, k, "application/json", "", jsonOf(page))
}

// address is what the hub calls itself in headers.
func (h *Hub) address(k Knobs) string {
	if k.MirrorLinks {
		return "https://huggingface.co"
	}
	return h.URL
}

// raw answers with a file of git: of a large one, its pointer.
func (h *Hub) raw(w http.ResponseWriter, r *http.Request, k Knobs, sha string, f *file) {
	w.Header().Set("X-Repo-Commit", sha)
	if f.lfs {
		h.send(w, r, k, "text/plain; charset=utf-8", f.sha1, pointer(f))
		return
	}
	h.file(w, r, k, f, f.sha1)
}

// resolve answers with a small file, or with the way to it or to a large one.
func (h *Hub) resolve(w http.ResponseWriter, r *http.Request, k Knobs, repo *Repo, sha string, f *file) {
	if !k.NoCommit {
		w.Header().Set("X-Repo-Commit", sha)
	}
	etag := f.sha1
	if f.lfs {
		etag = f.sha256
	}
	switch {
	case k.Loop:
		http.Redirect(w, r, r.URL.RequestURI(), http.StatusFound)
	case k.Absolute != "":
		http.Redirect(w, r, k.Absolute, http.StatusFound)
	case f.lfs:
		if !k.NoLinked {
			w.Header().Set("X-Linked-Size", strconv.FormatInt(f.size+int64(k.LinkedSize), 10))
			w.Header().Set("X-Linked-ETag", `"`+etag+`"`)
		}
		w.Header().Set("X-Xet-Hash", f.sha256)
		w.Header().Set("Accept-Ranges", "bytes")
		w.Header().Set("ETag", `"`+etag+`"`)
		location := h.sign(k, f)
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
		fmt.Fprintf(w, "Found. Redirecting to %s", location)
	case k.Relative:
		kind := repo.kind
		w.Header().Del("X-Repo-Commit") // it is behind the redirect alone
		w.Header().Set("Location", (&url.URL{
			Path:     "/api/resolve-cache/" + kind + "/" + repo.id + "/" + sha + "/" + f.path,
			RawQuery: url.Values{"etag": {`"` + etag + `"`}}.Encode(),
		}).String())
		w.WriteHeader(http.StatusTemporaryRedirect)
	default:
		h.file(w, r, k, f, etag)
	}
}

// sign returns a link to the second host.
func (h *Hub) sign(k Knobs, f *file) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.issued++
	signature := fmt.Sprintf("secret%d", h.issued)
	h.signed[signature] = signed{file: f}
	return cmp.Or(k.CDN, h.CDN) + "/xet-bridge-us/" + f.sha256 + "?X-Amz-Expires=3600&X-Amz-Signature=" + signature
}

// cached answers where a relative redirect leads. Without the query it does not
// say the commit.
func (h *Hub) cached(w http.ResponseWriter, r *http.Request, k Knobs, s []string) {
	repo := h.repo(w, r, s[0], s[1]+"/"+s[2])
	if repo == nil {
		return
	}
	sha, f := repo.find(w, s[3], strings.Join(s[4:], "/"))
	if f == nil {
		return
	}
	if r.URL.Query().Get("etag") != "" && !k.NoCommit {
		w.Header().Set("X-Repo-Commit", sha)
	}
	h.file(w, r, k, f, f.sha1)
}

// serveCDN answers signed links.
func (h *Hub) serveCDN(w http.ResponseWriter, r *http.Request) {
	k := h.behaviour()
	signature := r.URL.Query().Get("X-Amz-Signature")
	h.mu.Lock()
	s, ok := h.signed[signature]
	if s.uses++; ok {
		h.signed[signature] = s
	}
	h.mu.Unlock()
	if !ok || k.Uses > 0 && s.uses > k.Uses {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>`)
		return
	}
	if h.fails(w, r, k) {
		return
	}
	h.file(w, r, k, s.file, s.file.sha256[:32])
}

// file sends a file, or the range of it that was asked for.
func (h *Hub) file(w http.ResponseWriter, r *http.Request, k Knobs, f *file, etag string) {
	content, done, err := f.open()
	if err != nil {
		fail(w, http.StatusInternalServerError, "", err.Error())
		return
	}
	defer done()
	typ := "application/octet-stream"
	if !f.lfs {
		typ = "text/plain; charset=utf-8"
	}
	h.sendRange(w, r, k, typ, etag, content, f.size)
}

func (h *Hub) send(w http.ResponseWriter, r *http.Request, k Knobs, typ, etag string, body []byte) {
	h.sendRange(w, r, k, typ, etag, strings.NewReader(string(body)), int64(len(body)))
}

// parseRange reads "bytes=A-B", "bytes=A-" and "bytes=-N".
func parseRange(s string, size int64) (start, end int64, ok bool) {
	s, ok = strings.CutPrefix(s, "bytes=")
	a, b, has := strings.Cut(s, "-")
	if !ok || !has {
		return 0, 0, false
	}
	start, errA := strconv.ParseInt(a, 10, 64)
	last, errB := strconv.ParseInt(b, 10, 64)
	switch {
	case a == "" && errB == nil:
		return max(0, size-last), size, true
	case errA != nil || b != "" && errB != nil:
		return 0, 0, false
	case b == "":
		last = size - 1
	}
	return start, min(last+1, size), true
}

func (h *Hub) sendRange(w http.ResponseWriter, r *http.Request, k Knobs, typ, etag string, content io.ReaderAt, size int64) {
	header := w.Header()
	header.Set("Content-Type", typ)
	start, end, isRange := parseRange(r.Header.Get("Range"), size)
	if start < int64(k.From) {
		k.ChangeTag, k.Cut, k.Stall = false, 0, false
	}
	if etag != "" {
		if k.ChangeTag {
			h.mu.Lock()
			h.issued++
			etag += strconv.Itoa(h.issued)
			h.mu.Unlock()
		}
		header.Set("ETag", `"`+etag+`"`)
	}
	header.Set("Accept-Ranges", "bytes")
	if cond := r.Header.Get("If-Range"); cond != "" && cond != `"`+etag+`"` {
		isRange = false
	}
	if k.Gzip && strings.HasPrefix(typ, "text/") && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		header.Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.Copy(z, io.NewSectionReader(content, 0, size))
		z.Close()
		return
	}
	status := http.StatusOK
	if isRange && !k.NoRange {
		if start >= size {
			header.Set("Content-Range", fmt.Sprintf("bytes */%d", size))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return
		}
		status = http.StatusPartialContent
		end = max(start, end-int64(k.ShortRange))
		end = min(size, end+int64(k.LongRange))
		if !k.NoContentRange {
			header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", start+int64(k.WrongRange), end-1+int64(k.WrongRange), size+int64(k.RangeTotal)))
		}
	} else {
		start, end = 0, size
	}
	n := end - start
	flush := http.NewResponseController(w).Flush
	switch {
	case k.Endless:
	case k.NoLength:
		defer flush()
	default:
		header.Set("Content-Length", strconv.FormatInt(n, 10))
	}
	w.WriteHeader(status)
	if r.Method == http.MethodHead {
		return
	}
	if k.NoLength {
		flush()
	}
	h.mu.Lock()
	key := "body " + r.Host + r.URL.Path + r.Header.Get("Range")
	h.seen[key]++
	first := h.seen[key] == 1
	h.mu.Unlock()
	switch {
	case k.Cut > 0 && (first || k.CutAll) && int64(k.Cut) < n:
		io.Copy(w, io.NewSectionReader(content, start, int64(k.Cut)))
		flush()
		panic(http.ErrAbortHandler)
	case k.Stall:
		io.Copy(w, io.NewSectionReader(content, start, n/2))
		flush()
		<-r.Context().Done()
		return
	}
	if _, err := io.Copy(w, io.NewSectionReader(content, start, n)); err != nil {
		return
	}
	for k.Endless && r.Context().Err() == nil {
		if _, err := w.Write(make([]byte, 64<<10)); err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
