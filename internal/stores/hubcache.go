package stores

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/source"
)

// A HubCache is the cache that huggingface_hub keeps of what it downloaded. Source:
// huggingface_hub, file_download.py and docs/source/en/guides/manage-cache.md.
type HubCache struct{ Dir string }

// A HubRepo is a repository on the hub.
type HubRepo struct {
	Dataset bool
	ID      string // NAMESPACE/NAME
}

func (r HubRepo) folder() string {
	kind := "models--"
	if r.Dataset {
		kind = "datasets--"
	}
	return kind + strings.ReplaceAll(r.ID, "/", "--")
}

// IsCommit reports whether a revision is a commit, the 40 hexadecimal digits by which
// a hub knows a state of a repository that never changes, and not a name for one.
func IsCommit(rev string) bool { return isHex(rev, 40) }

// IsSHA256 reports whether text is a SHA-256 as hubs write it.
func IsSHA256(text string) bool { return isHex(text, 64) }

// isHex does without a regular expression, which takes longer to compile than all
// of a small file to list.
func isHex(s string, n int) bool { return len(s) == n && strings.Trim(s, "0123456789abcdef") == "" }

func (c *HubCache) path(r HubRepo, elem ...string) string {
	return filepath.Join(append([]string{c.Dir, r.folder()}, elem...)...)
}

// InSnapshot reports whether a local directory is a snapshot of a repository, or below
// one, in any cache of huggingface_hub, wherever that is.
func InSnapshot(dir string) bool {
	_, ok := snapshot(dir)
	return ok
}

// SnapshotCommit returns the commit of the snapshot that a local directory is, or is
// below, "" where it is in none.
func SnapshotCommit(dir string) string {
	if rev, ok := snapshot(dir); ok && IsCommit(rev) {
		return rev
	}
	return ""
}

// snapshot returns the name of the snapshot that a directory is, or is below.
func snapshot(dir string) (rev string, ok bool) {
	at, err := source.Resolve(dir)
	if err == nil {
		at, err = filepath.Abs(at)
	}
	for ; err == nil && filepath.Dir(at) != at; at = filepath.Dir(at) {
		snapshots := filepath.Dir(at)
		kind, _, ok := strings.Cut(filepath.Base(filepath.Dir(snapshots)), "--")
		if ok && filepath.Base(snapshots) == "snapshots" && (kind == "models" || kind == "datasets") {
			return filepath.Base(at), true
		}
	}
	return "", false
}

// local returns a name from a hub as a path below a directory, "" where it would
// leave it.
func local(dir, name string) string {
	rel := filepath.FromSlash(name)
	if !filepath.IsLocal(rel) {
		return ""
	}
	return filepath.Join(dir, rel)
}

// Has reports whether the cache has anything of a repository.
func (c *HubCache) Has(ctx context.Context, r HubRepo) bool {
	return source.IsDir(ctx, c.path(r, "snapshots"))
}

// Commit returns what a revision was when something of it was last downloaded, "" when
// the cache does not know. A commit is itself.
func (c *HubCache) Commit(ctx context.Context, r HubRepo, rev string) string {
	if IsCommit(rev) {
		return rev
	}
	path := local(c.path(r, "refs"), rev)
	if path == "" {
		return ""
	}
	text, err := source.ReadFile(ctx, path, source.Document)
	if err != nil {
		return ""
	}
	if sha := strings.TrimSpace(string(text)); IsCommit(sha) {
		return sha
	}
	return ""
}

// File returns the local path of a file at a commit, "" when the cache lacks it. A
// download that is not complete has no such path: its bytes are elsewhere until then.
func (c *HubCache) File(ctx context.Context, r HubRepo, commit, name string) string {
	path := local(c.path(r, "snapshots", commit), name)
	if path == "" || !IsCommit(commit) {
		return ""
	}
	if fi, err := source.Stat(ctx, path); err != nil || !fi.Mode().IsRegular() {
		return ""
	}
	return path
}

// tree is what huggingface_hub keeps of a listing. Source: _tree_cache.py, which ignores
// versions that it does not know.
type tree struct {
	Version int `json:"format_version"`
	Files   map[string]struct {
		Size    *int64 `json:"size"`
		LFS     string `json:"lfs_sha256"`
		LFSSize *int64 `json:"lfs_size"`
	} `json:"files"`
}

// Tree returns the list of all files of a commit, false when the cache has none. The
// files themselves may be missing.
func (c *HubCache) Tree(ctx context.Context, r HubRepo, commit string) ([]source.Entry, bool) {
	if !IsCommit(commit) {
		return nil, false
	}
	data, err := source.ReadFile(ctx, c.path(r, "trees", commit+".json"), source.Index)
	if err != nil {
		return nil, false
	}
	var t tree
	if json.Unmarshal(data, &t) != nil || t.Version != 1 || t.Files == nil {
		return nil, false
	}
	var list []source.Entry
	for name, f := range t.Files {
		if f.Size == nil || *f.Size < 0 {
			return nil, false
		}
		list = append(list, source.Entry{Path: name, Size: *f.Size, SHA256: f.LFS})
	}
	return list, true
}

// Current returns the local directories of the snapshots that a repository's branches and
// tags are at, or of all where none has a name.
func (c *HubCache) Current(ctx context.Context, r HubRepo) []string {
	var named, all []string
	for _, rev := range c.Revisions(ctx, r) {
		dir := c.path(r, "snapshots", c.Commit(ctx, r, rev))
		if !IsCommit(rev) && !slices.Contains(named, dir) {
			named = append(named, dir)
		}
		all = append(all, dir)
	}
	if named != nil {
		return named
	}
	return all
}

// IsHubCache reports whether a local directory is a cache of huggingface_hub: a directory
// of it is a repository.
func IsHubCache(ctx context.Context, dir string) bool {
	c := &HubCache{Dir: dir}
	return slices.ContainsFunc(c.Repos(ctx), func(r HubRepo) bool { return c.Has(ctx, r) })
}

const (
	// maxSnapshot bounds the walk through a snapshot.
	maxSnapshot = 100_000
	maxDepth    = 16
)

// Snapshot returns the files of a commit that the cache has. Those that somebody asked
// for are there: without [HubCache.Tree], nobody knows whether they are all.
func (c *HubCache) Snapshot(ctx context.Context, r HubRepo, commit string) ([]source.Entry, error) {
	if !IsCommit(commit) {
		return nil, fs.ErrNotExist
	}
	var list []source.Entry
	var walk func(dir, prefix string, depth int) error
	walk = func(dir, prefix string, depth int) error {
		entries, err := source.ReadDir(ctx, dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.IsDir() {
				if depth < maxDepth {
					if err := walk(path, prefix+e.Name()+"/", depth+1); err != nil {
						return err
					}
				}
				continue
			}
			fi, err := source.Stat(ctx, path)
			if err != nil || !fi.Mode().IsRegular() {
				continue // a link to a blob that was removed
			}
			if len(list) == maxSnapshot {
				return errors.New("a snapshot of more than 100,000 files")
			}
			list = append(list, source.Entry{Path: prefix + e.Name(), Size: fi.Size()})
		}
		return nil
	}
	return list, walk(c.path(r, "snapshots", commit), "", 0)
}

// Repos lists the repositories of which the cache has something.
func (c *HubCache) Repos(ctx context.Context) []HubRepo {
	entries, err := source.ReadDir(ctx, c.Dir)
	if err != nil {
		return nil
	}
	var list []HubRepo
	for _, e := range entries {
		kind, id, ok := strings.Cut(e.Name(), "--")
		space, name, ok2 := strings.Cut(id, "--")
		if !ok || !ok2 || kind != "models" && kind != "datasets" {
			continue
		}
		list = append(list, HubRepo{Dataset: kind == "datasets", ID: space + "/" + name})
	}
	return list
}

// Revisions lists the revisions of a repository of which the cache has something: by
// their names, then commits that no name has.
func (c *HubCache) Revisions(ctx context.Context, r HubRepo) []string {
	var names []string
	named := make(map[string]bool)
	var walk func(dir, prefix string, depth int)
	walk = func(dir, prefix string, depth int) {
		entries, err := source.ReadDir(ctx, dir)
		if err != nil || depth > maxDepth {
			return
		}
		for _, e := range entries {
			if e.IsDir() {
				walk(filepath.Join(dir, e.Name()), prefix+e.Name()+"/", depth+1)
			} else if sha := c.Commit(ctx, r, prefix+e.Name()); sha != "" && source.IsDir(ctx, c.path(r, "snapshots", sha)) {
				names = append(names, prefix+e.Name())
				named[sha] = true
			}
		}
	}
	walk(c.path(r, "refs"), "", 0)
	slices.Sort(names)
	commits, _ := source.ReadDir(ctx, c.path(r, "snapshots"))
	for _, e := range commits {
		if IsCommit(e.Name()) && !named[e.Name()] {
			names = append(names, e.Name())
		}
	}
	return names
}
