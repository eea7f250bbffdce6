package remote

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
)

// A download is a cache of huggingface_hub in the making.
type download struct {
	t          *testing.T
	dir, repo  string
	commit     string
	plain      bool // without links, as HF_HUB_DISABLE_SYMLINKS makes it
	downloaded int
}

func newDownload(t *testing.T, id, commit string) *download {
	dir := t.TempDir()
	return &download{t: t, dir: dir, repo: filepath.Join(dir, "models--"+strings.ReplaceAll(id, "/", "--")), commit: commit, plain: runtime.GOOS == "windows"}
}

func (d *download) write(data []byte, elem ...string) {
	d.t.Helper()
	path := filepath.Join(append([]string{d.repo}, elem...)...)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		d.t.Fatal(err)
	}
}

func (d *download) file(name string, data []byte) {
	d.t.Helper()
	if d.plain {
		d.write(data, "snapshots", d.commit, name)
		return
	}
	d.downloaded++
	blob := strings.Repeat("0123456789abcdef"[d.downloaded:d.downloaded+1], 64)
	d.write(data, "blobs", blob)
	path := filepath.Join(d.repo, "snapshots", d.commit, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..", "..", "blobs", blob), path); err != nil {
		d.t.Fatal(err)
	}
}

// shards are a release of two shards, with what is beside them.
func shards(t *testing.T) map[string][]byte {
	return map[string][]byte{
		"model-00001-of-00002.safetensors": fixture.Bytes(t, "tensor a.weight F32 [2,3]"),
		"model-00002-of-00002.safetensors": fixture.Bytes(t, "tensor b.weight F32 [2]"),
		"model.safetensors.index.json":     []byte(`{"metadata":{"total_size":32},"weight_map":{"a.weight":"model-00001-of-00002.safetensors","b.weight":"model-00002-of-00002.safetensors"}}`),
		"config.json":                      []byte(`{"model_type":"llama"}`),
	}
}

// TestOffline: a cache is read without a request, whatever form it has.
func TestOffline(t *testing.T) {
	files := shards(t)
	const branchless = "3333333333333333333333333333333333333333"
	for _, plain := range []bool{false, true} {
		w := newWorld(t)
		d := newDownload(t, "org/two", branchless)
		d.plain = d.plain || plain
		d.write([]byte(branchless), "refs", "main")
		d.write([]byte(branchless), "refs", "refs", "pr", "3")
		for name, data := range files {
			d.file(name, data)
		}
		for _, v := range []string{"HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=yes"} {
			w.restart("HF_HUB_CACHE="+d.dir, v)
			for _, ref := range []string{"hf://org/two", "hf://org/two@main", "hf://org/two@refs/pr/3", "hf://org/two@" + branchless} {
				if got := w.names(ref); got != "a.weight b.weight" {
					t.Errorf("%s: %s", ref, got)
				}
				if got := w.hub.Revision(ref); got != branchless {
					t.Errorf("%s is at %q", ref, got)
				}
			}
			if got := w.names("hf://org/two/model-00002-of-00002.safetensors"); got != "b.weight" {
				t.Error(got)
			}
			for ref, want := range map[string]string{
				"hf://org/other":      v[:strings.IndexByte(v, '=')] + " is set",
				"hf://org/two@v2":     "`hf download org/two --revision v2`",
				"hf://datasets/org/x": "`hf download org/x --repo-type dataset`",
				"hf://org/two/x.gguf": "no such file",
			} {
				if _, err := w.open(ref); err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v; want %q", ref, err, want)
				}
			}
		}
		w.wants("offline", 0, 0)
		if !strings.Contains(strings.Join(w.notes, "\n"), "cached files only") {
			t.Errorf("notes %q", w.notes)
		}
	}
}

// TestPartialSnapshot: what nobody downloaded is missing, and where the cache has a
// list of all files that is told from what is not in the repository.
func TestPartialSnapshot(t *testing.T) {
	files := shards(t)
	const at = "3333333333333333333333333333333333333333"
	for _, listed := range []bool{false, true} {
		w := newWorld(t)
		d := newDownload(t, "org/two", at)
		d.write([]byte(at), "refs", "main")
		for _, name := range []string{"model.safetensors.index.json", "model-00001-of-00002.safetensors"} {
			d.file(name, files[name])
		}
		d.write(nil, "blobs", "ffff.incomplete")
		d.write(nil, ".no_exist", at, "adapter_config.json")
		if listed {
			d.write([]byte(`{"format_version":1,"files":{"model.safetensors.index.json":{"size":1,"blob_id":"x"},
				"model-00001-of-00002.safetensors":{"size":1,"blob_id":"x"},"model-00002-of-00002.safetensors":{"size":1,"blob_id":"x"}}}`), "trees", at+".json")
		}
		w.restart("HF_HUB_CACHE="+d.dir, "HF_HUB_OFFLINE=1")
		rel, err := w.open("hf://org/two")
		if err != nil {
			t.Fatal(err)
		}
		f := rel.Checkpoints[0].Files[1]
		if got := rel.Checkpoints[0].Len(); got != 1 || f.Missing == listed || (f.Err != nil) != listed {
			t.Errorf("listed %v: %d tensors, missing %v, %v", listed, got, f.Missing, f.Err)
		}
		if noted := strings.Contains(strings.Join(w.notes, " "), "cached files only"); noted == listed {
			t.Errorf("listed %v: notes %q", listed, w.notes)
		}
		w.wants("offline", 0, 0)
		if listed {
			continue
		}
		// That nobody downloaded a file is not kept as if it were not in the repository.
		w.Client.Close()
		w.restart("HF_HUB_CACHE="+d.dir, "HF_HUB_OFFLINE=1")
		d.file("model-00002-of-00002.safetensors", files["model-00002-of-00002.safetensors"])
		if got := w.names("hf://org/two"); got != "a.weight b.weight" {
			t.Errorf("after the rest was downloaded: %s", got)
		}
	}
}

// TestDownloaded: online, the commit of the branch is asked for, and what of it was
// downloaded is read here.
func TestDownloaded(t *testing.T) {
	w := newWorld(t)
	files := shards(t)
	old := w.Repo("org/two").Commit(files)
	d := newDownload(t, "org/two", old)
	d.write([]byte(old), "refs", "main")
	for name, data := range files {
		d.file(name, data)
	}
	env := "HF_HUB_CACHE=" + d.dir
	for _, tt := range []struct {
		ref      string
		hub, cdn int
	}{
		{"hf://org/two", 1, 0},
		{"hf://org/two/model-00001-of-00002.safetensors", 1, 0},
		{"hf://org/two@" + old, 1, 0}, // of all files there is no list
	} {
		w.cache = t.TempDir()
		w.restart(env)
		w.Reset()
		if got := w.names(tt.ref); !strings.HasPrefix(got, "a.weight") {
			t.Errorf("%s: %s", tt.ref, got)
		}
		w.wants(tt.ref, tt.hub, tt.cdn)
	}

	// The branch has moved on: of the new commit nothing was downloaded.
	files["model-00002-of-00002.safetensors"] = fixture.Bytes(t, "tensor b.weight F32 [2] values=1,2\ntensor c.weight F32 [2]")
	w.Repo("org/two").Commit(files)
	w.restart(env)
	if got := w.names("hf://org/two"); got != "a.weight b.weight c.weight" {
		t.Errorf("got %s", got)
	}
	if w.hub.Revision("hf://org/two") == old {
		t.Error("the commit is that of the cache")
	}

	// A file that is not what the hub lists is not believed.
	d.plain = true
	if err := os.Remove(filepath.Join(d.repo, "snapshots", old, "model-00001-of-00002.safetensors")); err != nil {
		t.Fatal(err)
	}
	d.file("model-00001-of-00002.safetensors", []byte("cut"))
	w.restart(env)
	if got := w.names("hf://org/two@" + old); got != "a.weight b.weight" {
		t.Errorf("got %s", got)
	}
	if !strings.Contains(strings.Join(w.notes, " "), "has 3 bytes") {
		t.Errorf("notes %q", w.notes)
	}

	before := list(t, d.dir)
	w.restart(env)
	w.names("hf://org/two")
	w.Client.Close()
	if after := list(t, d.dir); after != before {
		t.Errorf("the cache of another program is written to:\n%s\n%s", before, after)
	}
}

func list(t *testing.T, dir string) string {
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

func TestNormalize(t *testing.T) {
	w := newWorld(t)
	ctx := w.Places(t.Context())
	for _, tt := range [][2]string{
		{"https://huggingface.co/a/b/blob/main/m.gguf", "hf://a/b@main/m.gguf"},
		{w.Hub.URL + "/a/b", "hf://a/b"},
		{"https://host.example/m.gguf?sig=1", "https://host.example/m.gguf"},
		{"https://host.example/m.gguf?sig=2", "https://host.example/m.gguf#2"},
		{"https://host.example/m.gguf?sig=1", "https://host.example/m.gguf"},
		{"ollama:llama3", "ollama://llama3:latest"},
	} {
		if got, err := source.Normalize(ctx, tt[0]); err != nil || got != tt[1] {
			t.Errorf("%s: %s, %v; want %s", tt[0], got, err, tt[1])
		}
	}
}

// Two URLs that differ in their queries alone are two files.
func TestQueries(t *testing.T) {
	w := newWorld(t)
	w.Repo("org/one").Commit(map[string][]byte{"model.safetensors": tiny(t)})
	for _, q := range []string{"1", "2"} {
		rel, err := checkpoint.Open(w.Places(t.Context()), w.Hub.CDN+"/x/model.safetensors?sig="+q, nil)
		if err == nil {
			rel.Close()
			t.Error("a signature that nobody issued is taken")
		}
	}
	var asked []string
	for _, r := range w.Requests() {
		if strings.Contains(r.URI, "model.safetensors") {
			asked = append(asked, r.URI)
		}
	}
	if got := strings.Join(asked, " "); got != "/x/model.safetensors?sig=1 /x/model.safetensors?sig=2" {
		t.Error(got)
	}
}
