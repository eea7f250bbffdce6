package remote

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// A headerCache keeps what was read of repositories at commits, which never
// change: listings, headers and small documents, one file per commit; and which commit a
// branch was at, for when nobody is asked. What is in it counts only if it is whole and
// says itself what it is of.
type headerCache struct {
	home string
	mu   sync.Mutex // held while it is written
}

const (
	cacheMagic = "wtinspect headers 1\n"
	cacheEnd   = ".headers"
	branchEnd  = ".branch"
	// mostCached is how large the cache may be, and mostOfRepo, mostOfHeader and
	// mostOfText how much is kept of a commit, a header and a document.
	mostCached   = 512 << 20
	mostOfRepo   = 48 << 20
	mostOfHeader = 16 << 20
	mostOfText   = 16 << 20
)

// A cachedRepo is the content of one file.
type cachedRepo struct {
	Endpoint string `json:"endpoint"`
	Repo     string `json:"repo"`
	Commit   string `json:"commit"`
	// Branch is what was at the commit, in the files about branches alone.
	Branch string `json:"branch,omitempty"`
	ID     string `json:"id"`
	Facts  Facts  `json:"facts"`
	// Entries are those of the listing, nil when it was not read.
	Entries []source.Entry `json:"entries"`
	Files   []cachedFile   `json:"files"`

	byName map[string]*cachedFile
}

// A cachedFile is the beginning of a file.
type cachedFile struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Tag    string `json:"tag"`
	Length int    `json:"length"`

	data []byte
}

func (c *headerCache) dir() string { return filepath.Join(c.home, "wtinspect") }

// path returns the file about a commit of a repository, or a branch, by its ending.
func (c *headerCache) path(r *repo, rev, end string) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{r.client.opts.Settings.Endpoint, r.client.hub.name(r.ref), rev}, "\n")))
	return filepath.Join(c.dir(), hex.EncodeToString(sum[:16])+end)
}

// read returns a file that is about the repository, nil where there is none.
func (c *headerCache) read(r *repo, rev, end string) *cachedRepo {
	if !c.isOwn() {
		return nil
	}
	text, err := source.ReadFile(context.Background(), c.path(r, rev, end), source.Headers)
	if err != nil {
		return nil
	}
	if got := parseCached(text); got != nil && got.Endpoint == r.client.opts.Settings.Endpoint && got.Repo == r.client.hub.name(r.ref) {
		return got
	}
	return nil
}

// branch returns the commit that the branch of a repository was last seen at, "" where it
// was not.
func (c *headerCache) branch(r *repo) string {
	if c == nil || r.ref.Kind != Hub {
		return ""
	}
	got := c.read(r, r.ref.branch(), branchEnd)
	if got == nil || got.Branch != r.ref.branch() || !stores.IsCommit(got.Commit) {
		return ""
	}
	return got.Commit
}

// restore reads what is kept of the commit, the first time that it is known.
func (r *repo) restore() {
	c := r.client.cache
	if c == nil || r.cached != nil || r.ref.Kind != Hub || !stores.IsCommit(r.commit) {
		return
	}
	r.cached = &cachedRepo{}
	if got := c.read(r, r.commit, cacheEnd); got != nil && got.Commit == r.commit && got.Branch == "" {
		r.cached = got
	}
}

// isOwn reports that nobody else could have written what is in the directory.
func (c *headerCache) isOwn() bool {
	dir, err := txn.OS{}.OpenDir(c.dir())
	if err != nil {
		return false
	}
	defer dir.Close()
	st, err := dir.Lstat(".")
	return err == nil && (st.UID < 0 || st.UID == os.Geteuid() && st.Mode.Perm()&0o022 == 0)
}

// parseCached returns the content of a file of the cache, nil unless all of it is
// as it was written.
func parseCached(text []byte) *cachedRepo {
	rest, ok := bytes.CutPrefix(text, []byte(cacheMagic))
	if !ok || len(rest) < sha256.Size+8 {
		return nil
	}
	end := len(rest) - sha256.Size
	if sum := sha256.Sum256(rest[:end]); !bytes.Equal(sum[:], rest[end:]) {
		return nil
	}
	n := binary.LittleEndian.Uint64(rest)
	rest = rest[8:end]
	if n > uint64(len(rest)) {
		return nil
	}
	out := &cachedRepo{byName: make(map[string]*cachedFile)}
	if json.Unmarshal(rest[:n], out) != nil {
		return nil
	}
	rest = rest[n:]
	for i := range out.Files {
		f := &out.Files[i]
		if f.Length < 0 || f.Length > len(rest) || int64(f.Length) > f.Size {
			return nil
		}
		f.data, rest = rest[:f.Length:f.Length], rest[f.Length:]
		out.byName[f.Name] = f
	}
	return out
}

func (k *cachedRepo) listing() *Listing {
	if k == nil || k.Entries == nil {
		return nil
	}
	return &Listing{Listing: source.NewListing(k.Entries), ID: k.ID, Commit: k.Commit, Facts: k.Facts, entries: k.Entries}
}

// fill gives a file what is kept of it.
func (k *cachedRepo) fill(f *file, name string) {
	if k == nil || k.byName[name] == nil {
		return
	}
	got := k.byName[name]
	if f.size >= 0 && f.size != got.Size || f.digest != "" && got.Tag != f.digest {
		return
	}
	f.size, f.linked = got.Size, got.Tag
	if isWeights(name) {
		f.hint.note(int64(len(got.data)))
	}
	if b := (&block{data: got.data}); len(b.data) > 0 {
		f.blocks = []*block{b}
	}
}

// save writes what was read of repositories and is not kept yet, and reports whether there
// was anything. It is a convenience, so that an error is no more than that.
func (c *headerCache) save(repos ...*repo) (wrote bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range repos {
		for path, text := range map[string][]byte{c.path(r, r.commit, cacheEnd): r.toCache(), c.path(r, r.ref.branch(), branchEnd): r.branchToCache()} {
			if text == nil {
				continue
			}
			err := c.prepare()
			if err == nil && !c.isOwn() {
				err = fmt.Errorf("%s: others can write there, and nothing is kept in it", c.dir())
			}
			if err == nil {
				err = txn.WriteFile(path, func(w io.Writer) error {
					_, err := w.Write(text)
					return err
				})
			}
			if err != nil {
				r.client.opts.Trace("the cache of headers: %v", err)
				return wrote
			}
			wrote = true
		}
	}
	return wrote
}

// prepare makes the directory.
func (c *headerCache) prepare() error {
	for _, dir := range []string{c.home, c.dir()} {
		if source.IsDir(context.Background(), dir) {
			continue
		}
		parent, err := txn.OS{}.OpenDir(filepath.Dir(dir))
		if err != nil {
			return err
		}
		err = txn.Retry(func() error { return parent.Mkdir(filepath.Base(dir), 0o700) })
		parent.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// shrink removes what was written first until the rest is small enough.
func (c *headerCache) shrink() {
	entries, err := source.ReadDir(context.Background(), c.dir())
	if err != nil {
		return
	}
	var (
		list  []fs.FileInfo
		total int64
	)
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() && (strings.HasSuffix(fi.Name(), cacheEnd) || strings.HasSuffix(fi.Name(), branchEnd)) {
			list = append(list, fi)
			total += fi.Size()
		}
	}
	if total <= mostCached {
		return
	}
	dir, err := txn.OS{}.OpenDir(c.dir())
	if err != nil {
		return
	}
	defer dir.Close()
	slices.SortFunc(list, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), strings.Compare(a.Name(), b.Name()))
	})
	for _, fi := range list {
		if total <= mostCached || txn.Retry(func() error { return dir.Remove(fi.Name()) }) != nil {
			return
		}
		total -= fi.Size()
	}
}

// toCache returns what to keep of a repository, nil when all of it is kept.
func (r *repo) toCache() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ref.Kind != Hub || !stores.IsCommit(r.commit) {
		return nil
	}
	r.restore()
	out := &cachedRepo{Endpoint: r.client.opts.Settings.Endpoint, Repo: r.client.hub.name(r.ref), Commit: r.commit, ID: r.cached.ID, Facts: r.cached.Facts, Entries: r.cached.Entries}
	fresh := out.Entries == nil && r.list != nil && !r.list.partial && len(r.list.entries) > 0
	if fresh {
		out.ID, out.Facts, out.Entries = r.list.ID, r.list.Facts, r.list.entries
	}
	var names []string
	for name := range r.files {
		names = append(names, name)
	}
	for name := range r.cached.byName {
		if r.files[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	total := 0
	var data bytes.Buffer
	for _, name := range names {
		old := r.cached.byName[name]
		entry := old
		if f := r.files[name]; f != nil {
			if now := f.beginning(name); old == nil || len(now.data) > len(old.data) {
				entry, fresh = now, fresh || len(now.data) > 0
			}
		}
		if len(entry.data) == 0 || total+len(entry.data) > mostOfRepo {
			continue
		}
		total += len(entry.data)
		data.Write(entry.data)
		out.Files = append(out.Files, *entry)
	}
	if !fresh {
		return nil
	}
	return out.encode(data.Bytes())
}

// branchToCache returns what to keep of a branch, nil where that is kept.
func (r *repo) branchToCache() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.client.opts.Settings
	if r.ref.Kind != Hub || r.ref.branch() == r.commit || !stores.IsCommit(r.commit) || s.Offline != "" || r.client.cache.branch(r) == r.commit {
		return nil
	}
	return (&cachedRepo{Endpoint: s.Endpoint, Repo: r.client.hub.name(r.ref), Commit: r.commit, Branch: r.ref.branch()}).encode(nil)
}

// encode returns what a file of the cache has: parseCached reads it.
func (k *cachedRepo) encode(data []byte) []byte {
	meta, err := json.Marshal(k)
	if err != nil {
		return nil
	}
	body := binary.LittleEndian.AppendUint64(nil, uint64(len(meta)))
	body = append(append(body, meta...), data...)
	sum := sha256.Sum256(body)
	return slices.Concat([]byte(cacheMagic), body, sum[:])
}

// beginning returns what to keep of a file: its header, or all of a document.
func (f *file) beginning(name string) *cachedFile {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := &cachedFile{Name: name, Size: f.size, Tag: cmp.Or(f.linked, f.digest)}
	for {
		b := f.at(int64(len(out.data)))
		if b == nil || len(out.data) > mostOfHeader {
			break
		}
		out.data = append(out.data, b.data[int64(len(out.data))-b.off:]...)
	}
	most := mostOfHeader
	switch {
	case f.isText():
		if int64(len(out.data)) < f.size {
			most = 0
		}
		most = min(most, mostOfText)
	case strings.HasSuffix(strings.ToLower(name), ".safetensors") && len(out.data) >= 8:
		if n := binary.LittleEndian.Uint64(out.data); n < mostOfHeader {
			most = int(n) + 8
		}
	}
	out.data = out.data[:min(len(out.data), most)]
	out.Length = len(out.data)
	return out
}
