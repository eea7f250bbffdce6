package stores_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/stores"
)

const (
	sha1 = "1111111111111111111111111111111111111111"
	sha2 = "2222222222222222222222222222222222222222"
	sha3 = "3333333333333333333333333333333333333333"
	lfs  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// hubCache makes a cache as huggingface_hub leaves it: a whole commit with links to
// blobs, the beginning of another, and one without links (HF_HUB_DISABLE_SYMLINKS).
func hubCache(t *testing.T) *stores.HubCache {
	t.Helper()
	dir := t.TempDir()
	repo := filepath.Join(dir, "models--org--name")
	write(t, filepath.Join(repo, "refs", "main"), sha1)
	write(t, filepath.Join(repo, "refs", "refs", "pr", "3"), sha2)
	write(t, filepath.Join(repo, "refs", "gone"), sha3)
	write(t, filepath.Join(repo, "refs", "bad"), "not a commit")
	write(t, filepath.Join(repo, "blobs", lfs), "weights")
	write(t, filepath.Join(repo, "blobs", "bbbb.incomplete"), "wei")
	link := func(to, name string) {
		path := filepath.Join(repo, "snapshots", sha1, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS == "windows" {
			if to == lfs {
				write(t, path, "weights")
			}
			return
		}
		if err := os.Symlink(filepath.Join(strings.Repeat("../", 2+strings.Count(name, "/")), "blobs", to), path); err != nil {
			t.Fatal(err)
		}
	}
	link(lfs, "model.safetensors")
	link(lfs, "sub/model.safetensors")
	link("bbbb", "model-2.safetensors") // its download is not complete
	write(t, filepath.Join(repo, "trees", sha1+".json"), `{"format_version":1,"files":{
		"model.safetensors":{"size":7,"blob_id":"x","lfs_sha256":"`+lfs+`","lfs_size":7},
		"config.json":{"size":2,"blob_id":"y"}}}`)
	write(t, filepath.Join(repo, "snapshots", sha2, "config.json"), "{}")
	write(t, filepath.Join(repo, "trees", sha2+".json"), `{"format_version":2,"files":{}}`)
	write(t, filepath.Join(repo, ".no_exist", sha2, "tokenizer.json"), "")
	write(t, filepath.Join(dir, "datasets--org--data", "snapshots", sha3, "x"), "")
	write(t, filepath.Join(dir, "version.txt"), "1")
	write(t, filepath.Join(dir, ".locks", "models--org--name", "x.lock"), "")
	return &stores.HubCache{Dir: dir}
}

var repo = stores.HubRepo{ID: "org/name"}

func TestHubCache(t *testing.T) {
	c, ctx := hubCache(t), t.Context()
	for rev, want := range map[string]string{
		"main": sha1, "refs/pr/3": sha2, sha3: sha3, "bad": "", "other": "", "../../../etc/passwd": "", "": "",
	} {
		if got := c.Commit(ctx, repo, rev); got != want {
			t.Errorf("%q is %q, want %q", rev, got, want)
		}
	}
	for _, tt := range []struct {
		commit, name string
		there        bool
	}{
		{sha1, "model.safetensors", true},
		{sha1, "sub/model.safetensors", true},
		{sha1, "model-2.safetensors", false},
		{sha1, "config.json", false},
		{sha1, "sub", false},
		{sha1, "../" + sha2 + "/config.json", false},
		{sha2, "config.json", true},
		{sha3, "config.json", false},
		{"main", "config.json", false},
	} {
		got := c.File(ctx, repo, tt.commit, tt.name)
		if (got != "") != tt.there {
			t.Errorf("%s at %s is in %q", tt.name, tt.commit, got)
		}
	}
	tree, ok := c.Tree(ctx, repo, sha1)
	slices.SortFunc(tree, func(a, b source.Entry) int { return strings.Compare(a.Path, b.Path) })
	want := []source.Entry{{Path: "config.json", Size: 2}, {Path: "model.safetensors", Size: 7, SHA256: lfs}}
	if diff := cmp.Diff(want, tree); !ok || diff != "" {
		t.Errorf("%v (-want +got)\n%s", ok, diff)
	}
	if _, ok := c.Tree(ctx, repo, sha2); ok {
		t.Error("a list in a form that is not known is believed")
	}
	snapshot, err := c.Snapshot(ctx, repo, sha1)
	want = []source.Entry{{Path: "model.safetensors", Size: 7}, {Path: "sub/model.safetensors", Size: 7}}
	if diff := cmp.Diff(want, snapshot); err != nil || diff != "" {
		t.Errorf("%v (-want +got)\n%s", err, diff)
	}
	if diff := cmp.Diff([]stores.HubRepo{{Dataset: true, ID: "org/data"}, repo}, c.Repos(ctx)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"main", "refs/pr/3"}, c.Revisions(ctx, repo)); diff != "" {
		t.Error(diff)
	}
	if got := c.Revisions(ctx, stores.HubRepo{Dataset: true, ID: "org/data"}); !slices.Equal(got, []string{sha3}) {
		t.Error(got)
	}
	for dir, want := range map[string]bool{
		"models--org--name/snapshots/" + sha2: true, "models--org--name/snapshots/" + sha1 + "/sub": true, "datasets--org--data/snapshots/" + sha3: true,
		"models--org--name/snapshots": false, "models--org--name": false, ".": false, "none": false,
	} {
		if got := stores.InSnapshot(filepath.Join(c.Dir, filepath.FromSlash(dir))); got != want {
			t.Errorf("%s is in a snapshot: %v", dir, got)
		}
	}
	if c.Has(ctx, stores.HubRepo{ID: "org/other"}) || !c.Has(ctx, repo) {
		t.Error("Has")
	}
}

// The order and the expansion are those of huggingface_hub's constants.py.
func TestEnvironment(t *testing.T) {
	for _, tt := range []struct {
		env         map[string]string
		cache, home string
		offline     string
	}{
		{map[string]string{"HOME": "/h"}, "/h/.cache/huggingface/hub", "/h/.cache/huggingface", ""},
		{map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub", "/x/huggingface", ""},
		{map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/x", "HF_HOME": "~/hf"}, "/h/hf/hub", "/h/hf", ""},
		{map[string]string{"HOME": "/h", "HF_HOME": "$DISK/hf", "DISK": "/d"}, "/d/hf/hub", "/d/hf", ""},
		{map[string]string{"HOME": "/h", "HF_HOME": "${DISK}/hf/$GONE", "DISK": "/d"}, "/d/hf/$GONE/hub", "/d/hf/$GONE", ""},
		{map[string]string{"HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HOME": "/x"}, "/old", "/x", ""},
		{map[string]string{"HOME": "/h", "HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "~/new"}, "/h/new", "/h/.cache/huggingface", ""},
		{map[string]string{"HOME": "/h", "HF_HUB_OFFLINE": "yes"}, "/h/.cache/huggingface/hub", "/h/.cache/huggingface", "HF_HUB_OFFLINE"},
		{map[string]string{"HOME": "/h", "HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "1"}, "/h/.cache/huggingface/hub", "/h/.cache/huggingface", ""},
		{map[string]string{"HOME": "/h", "TRANSFORMERS_OFFLINE": "True"}, "/h/.cache/huggingface/hub", "/h/.cache/huggingface", "TRANSFORMERS_OFFLINE"},
	} {
		env := stores.Environment(func(name string) string { return tt.env[name] })
		if got := filepath.ToSlash(env.HubCache().Dir); got != tt.cache {
			t.Errorf("%v: the cache is %s, want %s", tt.env, got, tt.cache)
		}
		if got := filepath.ToSlash(env.HubHome()); got != tt.home {
			t.Errorf("%v: the home is %s, want %s", tt.env, got, tt.home)
		}
		if got := env.Offline(); got != tt.offline {
			t.Errorf("%v: offline is %q, want %q", tt.env, got, tt.offline)
		}
	}
}
