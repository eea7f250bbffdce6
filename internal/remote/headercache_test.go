package remote

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

var fixedTime = time.Unix(1e9, 0)

// cacheFiles returns the files of the cache.
func (w *world) cacheFiles() []string {
	w.t.Helper()
	names, err := filepath.Glob(filepath.Join(w.cache, "wtinspect", "*"+cacheEnd))
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

// What is in the cache counts only as it was written, by whoever may write it.
func TestCacheIsNotBelieved(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, path string, text []byte) []byte{
		"cut":   func(_ *testing.T, _ string, text []byte) []byte { return text[:len(text)-1] },
		"empty": func(_ *testing.T, _ string, _ []byte) []byte { return nil },
		"changed": func(_ *testing.T, _ string, text []byte) []byte {
			return bytes.Replace(text, []byte(`"a"`), []byte(`"b"`), 1)
		},
		"of another": func(_ *testing.T, _ string, text []byte) []byte {
			return bytes.Replace(text, []byte("a/b"), []byte("a/c"), 1)
		},
		"everybody's": func(t *testing.T, path string, text []byte) []byte {
			if err := os.Chmod(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			return text
		},
	} {
		w := newWorld(t)
		sha := w.Repo("a/b").Commit(map[string][]byte{"m.safetensors": fixture.Bytes(t, "tensor a F32 [2]")})
		ref := "hf://a/b@" + sha
		if got := w.names(ref); got != "a" {
			t.Fatal(got)
		}
		w.Client.Close()
		files := w.cacheFiles()
		if len(files) != 1 {
			t.Fatalf("%q", files)
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], spoil(t, files[0], text), 0o600); err != nil {
			t.Fatal(err)
		}
		w.restart()
		w.Reset()
		if got := w.names(ref); got != "a" {
			t.Errorf("%s: %q", what, got)
		}
		w.wants(what, 2, 1)
		w.Client.Close()
	}
}

// Data are not kept, and headers whole: a second run that reads more adds to what
// there is.
func TestCacheGrows(t *testing.T) {
	w := newWorld(t)
	sha := w.Repo("a/b").Commit(map[string][]byte{
		"a.safetensors": append(fixture.Bytes(t, "tensor a F32 [100000]"), noise(0)...), "b.safetensors": fixture.Bytes(t, "tensor b F32 [2]"),
	})
	for _, name := range []string{"a", "b"} {
		w.restart()
		if got := w.names("hf://a/b@" + sha + "/" + name + ".safetensors"); got != name {
			t.Error(got)
		}
		w.Client.Close()
	}
	fi, err := os.Stat(w.cacheFiles()[0])
	if err != nil || fi.Size() > 4<<10 {
		t.Errorf("%v, %d bytes for two headers", err, fi.Size())
	}
	w.restart()
	w.Reset()
	for _, name := range []string{"a", "b"} {
		if got := w.names("hf://a/b@" + sha + "/" + name + ".safetensors"); got != name {
			t.Error(got)
		}
	}
	w.wants("both are kept", 0, 0)
	if info, err := os.Stat(filepath.Join(w.cache, "wtinspect")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", err, info.Mode())
	}
}

// What a branch was is kept for when nobody may be asked, and never believed otherwise.
func TestCacheOfBranch(t *testing.T) {
	w := newWorld(t)
	repo := w.Repo("a/b")
	repo.Commit(map[string][]byte{"m.safetensors": fixture.Bytes(t, "tensor old F32 [2]")})
	if got := w.names("hf://a/b"); got != "old" {
		t.Error(got)
	}
	w.Client.Close()
	repo.Commit(map[string][]byte{"m.safetensors": fixture.Bytes(t, "tensor new F32 [2]")})
	w.restart()
	if got := w.names("hf://a/b"); got != "new" {
		t.Error(got)
	}
	w.Client.Close()
	w.restart("HF_HUB_OFFLINE=1")
	w.Reset()
	if got := w.names("hf://a/b"); got != "new" {
		t.Error(got)
	}
	w.wants("offline", 0, 0)
	w.restart()
	w.set("no-commit", "plain-siblings")
	w.Client.Close()
	if n := len(w.cacheFiles()); n != 2 {
		t.Errorf("%d commits are kept", n)
	}
}

// The oldest go when there is too much.
func TestCacheShrinks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "wtinspect")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"new", "old", "older"} {
		path := filepath.Join(dir, name+cacheEnd)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(path, mostCached/2); err != nil {
			t.Skip("this file system has no sparse files")
		}
		if err := os.Chtimes(path, fixedTime, fixedTime.Add(-time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	(&headerCache{home: filepath.Dir(dir)}).shrink()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 || left[0].Name() != "new"+cacheEnd || left[1].Name() != "old"+cacheEnd {
		t.Errorf("%v, %v", left, err)
	}
}
