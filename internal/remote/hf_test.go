package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
	"github.com/wtinspect/wtinspect/internal/source"
)

// What the hub answers means something else than its status says.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		set   func(r *hubtest.Repo)
		ref   string
		env   string
		knobs string
		want  string
	}{
		{ref: "hf://a/none", want: "not found on HUB, or private; check the name; for a private repository set HF_TOKEN or log in with `hf auth login`"},
		{ref: "hf://a/none/model.safetensors", want: "or private"},
		{ref: "hf://a/none", env: "HF_TOKEN=hf_test", want: "check the name, and that the token of HF_TOKEN may see it"},
		{ref: "hf://a/none", env: "HF_HUB_DISABLE_IMPLICIT_TOKEN=1", want: "HF_HUB_DISABLE_IMPLICIT_TOKEN is set"},
		{ref: "hf://a/none", env: "HF_OIDC_RESOURCE=x", want: "HF_OIDC_RESOURCE is set, and no token is asked for by it"},
		{ref: "hf://a/b", env: "HF_TOKEN=hf_wrong", want: "HUB does not accept the token of HF_TOKEN; set it to one that is valid, or unset it"},
		{ref: "hf://a/b@nope", want: `there is no revision "nope"; http://HUB/a/b/tree/main lists branches and tags`},
		{ref: "hf://a/b@nope/model.safetensors", want: `there is no revision "nope"`},
		{ref: "hf://a/b/none.safetensors", want: "there is no such file in the repository; its directory has model.safetensors"},
		{ref: "hf://datasets/a/b", want: "or private"},
		{ref: "hf://a/b", set: func(r *hubtest.Repo) { r.Private = true }, want: "or private"},
		{ref: "hf://a/b", set: func(r *hubtest.Repo) { r.Gated = true }, want: "gated: accept its terms at http://HUB/a/b, and set HF_TOKEN"},
		{ref: "hf://a/b/model.safetensors", set: func(r *hubtest.Repo) { r.Gated, r.Refused = true, true }, env: "HF_TOKEN=hf_test", want: "gated: the account of the token (HF_TOKEN) has no access; ask for it at http://HUB/a/b"},
		{ref: "hf://a/b", set: func(r *hubtest.Repo) { r.Disabled = true }, want: "HUB has taken it down"},
		{ref: "hf://a/b", knobs: "flaky=9 status=500", want: "HUB fails (500 Internal Server Error); try again later"},
		{ref: "hf://a/b", knobs: "flaky=1 status=418", want: "HUB answers 418 I'm a teapot"},
		{ref: "hf://a/b", knobs: "rate=0 retry-after=900", want: "HUB limits how often it is asked; it says to wait 900 seconds"},
		{ref: "hf://a/b", env: "HF_HUB_OFFLINE=1", want: "HF_HUB_OFFLINE is set, so the hub is not asked, and this is in no cache; unset it, or download it first with `hf download a/b`"},
	} {
		w := newWorld(t)
		repo := w.Repo("a/b")
		repo.Commit(map[string][]byte{"model.safetensors": tiny(t)})
		if tt.set != nil {
			tt.set(repo)
		}
		if tt.env != "" {
			w.restart(tt.env)
		}
		w.set(strings.Fields(tt.knobs)...)
		_, err := w.open(tt.ref)
		got := strings.ReplaceAll(fmt.Sprint(err), strings.TrimPrefix(w.Hub.URL, "http://"), "HUB")
		if err == nil || !strings.Contains(got, tt.want) || !strings.HasPrefix(got, tt.ref+": ") && !strings.HasPrefix(got, "hf://a/b@nope: ") && !strings.HasPrefix(got, "hf://a/none: ") {
			t.Errorf("%s %s %s:\n%s\nwant %s", tt.ref, tt.env, tt.knobs, got, tt.want)
		}
		if tt.env == "HF_HUB_OFFLINE=1" {
			w.wants("offline", 0, 0)
		}
	}
}

// Every way in which a listing comes is the same listing.
func TestListings(t *testing.T) {
	files := map[string][]byte{"config.json": []byte("{}"), "sub/x/y.json": []byte("[]")}
	for i := range 5 {
		files[fmt.Sprintf("model-%05d-of-00005.safetensors", i+1)] = fixture.Bytes(t, fmt.Sprintf("tensor t%d F32 [2]", i))
	}
	for _, knobs := range []string{"", "pages=2 plain-siblings", "pages=1 plain-siblings mirror-links", "plain-siblings bad-xet", "flaky=2", "evil-names", "evil-names plain-siblings pages=3", "cut=20"} {
		w := newWorld(t)
		w.Repo("a/b").Commit(files)
		w.set(strings.Fields(knobs)...)
		if got := w.names("hf://a/b"); got != "t0 t1 t2 t3 t4" {
			t.Errorf("%s: %s", knobs, got)
		}
		r, _, err := w.Client.hub.repo("hf://a/b")
		if err != nil {
			t.Fatal(err)
		}
		l := r.list
		if l.Len() != 7 || stripped(l.File("sub/x/y.json")) != "sub/x/y.json 2 " || len(l.File("model-00001-of-00005.safetensors").SHA256) != 64 {
			t.Errorf("%s: %+v", knobs, l)
		}
		if evil := strings.Contains(knobs, "evil"); evil != (len(l.Refused) > 5) || evil != slices.ContainsFunc(w.notes, func(s string) bool { return strings.Contains(s, "not those of files below a directory") }) {
			t.Errorf("%s: refused %q, notes %q", knobs, l.Refused, w.notes)
		}
	}
}

// The listing of a repository with very many files comes in pages, once per commit.
func TestManyFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("50,000 files take seconds to list")
	}
	w := newWorld(t)
	files := map[string][]byte{"model.safetensors": fixture.Bytes(t, "tensor a F32 [2]")}
	for i := range manySiblings {
		files[fmt.Sprintf("log/%d/step-%d.json", i%100, i)] = nil
	}
	w.Repo("a/b").Commit(files)
	for _, want := range []int{1 + 6 + 1, 1} { // 50,001 files and 101 directories
		w.Reset()
		w.set("pages=10000")
		if got := w.names("hf://a/b"); got != "a" {
			t.Error(got)
		}
		w.wants("a listing in pages", want, want/8)
		w.Client.Close()
		w.restart()
	}
}

func stripped(e *source.Entry) string {
	if e == nil {
		return "none"
	}
	return fmt.Sprint(e.Path, " ", e.Size, " ", e.SHA256)
}

// A command reads one commit, also where the branch moves meanwhile.
func TestOneCommit(t *testing.T) {
	w := newWorld(t)
	repo := w.Repo("a/b")
	old := repo.Commit(map[string][]byte{"1.safetensors": fixture.Bytes(t, "tensor old1 F32 [2]"), "2.safetensors": fixture.Bytes(t, "tensor old2 F32 [2]")})
	if got := w.names("hf://a/b/1.safetensors"); got != "old1" {
		t.Error(got)
	}
	moved := repo.Commit(map[string][]byte{"1.safetensors": fixture.Bytes(t, "tensor new1 F32 [2]"), "2.safetensors": fixture.Bytes(t, "tensor new2 F32 [2]")})
	if got := w.names("hf://a/b"); got != "old1 old2" {
		t.Error(got)
	}
	if got := w.names("hf://a/b@main"); got != "old1 old2" {
		t.Error(got)
	}
	if got := w.Client.hub.Revision("hf://a/b/2.safetensors"); got != old {
		t.Errorf("read at %s, want %s", got, old)
	}
	if got := w.names("hf://a/b@" + moved); got != "new1 new2" {
		t.Error(got)
	}
	repo.Point("refs/pr/3", moved)
	if got := w.names("hf://a/b@refs%2Fpr%2F3/2.safetensors"); got != "new2" {
		t.Error(got)
	}
	w.restart()
	w.set("no-commit")
	if got := w.names("hf://a/b/2.safetensors"); got != "new2" || w.Client.hub.Revision("hf://a/b") != "" {
		t.Error(got)
	}
}

func TestRenamed(t *testing.T) {
	w := newWorld(t)
	repo := w.Repo("a/b")
	repo.Private = true
	repo.Commit(map[string][]byte{"1.safetensors": fixture.Bytes(t, "tensor one F32 [2]"), "2.safetensors": fixture.Bytes(t, "tensor two F32 [2]")})
	repo.Rename("c/d")
	w.restart("HF_TOKEN=hf_test")
	if got := w.names("hf://a/b"); got != "one two" || !slices.Equal(w.notes, []string{"hf://a/b: the repository is called c/d now"}) {
		t.Errorf("%s, notes %q", got, w.notes)
	}
	w.wants("after the first redirect the new name is known", 2+2, 2)
	w.restart("HF_TOKEN=hf_test")
	if got := w.names("hf://a/b/2.safetensors"); got != "two" {
		t.Error(got)
	}
}

// The largest release that is common, at the latency of a near hub.
func TestManyShards(t *testing.T) {
	if testing.Short() {
		t.Skip("680 GB of holes take seconds to make")
	}
	dir := t.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		t.Skipf("this file system has no sparse files: %v", err)
	}
	w := newWorld(t)
	if _, err := w.Repo("deepseek-ai/DeepSeek-V3").CommitDir(dir); err != nil {
		t.Fatal(err)
	}
	w.set("latency=30ms", "gzip")
	began := time.Now()
	rel, err := w.open("hf://deepseek-ai/DeepSeek-V3")
	if err != nil {
		t.Fatal(err)
	}
	if n := rel.Checkpoints[0].Len(); n != 91_991 {
		t.Errorf("%d tensors", n)
	}
	hub, cdn, sent := w.Counts()
	t.Logf("%d requests to the hub, %d to the other host, %d bytes, %v", hub, cdn, sent, time.Since(began))
	if hub > 166 || cdn > 170 || sent > 20e6 {
		t.Errorf("%d requests to the hub, %d to the other host, %d bytes", hub, cdn, sent)
	}
}

// A signal ends whatever is waited for.
func TestInterrupted(t *testing.T) {
	for _, knobs := range []string{"latency=1h", "stall", "flaky=100", "retry-after=300"} {
		w := newWorld(t)
		w.Repo("a/b").Commit(map[string][]byte{"model.safetensors": noise(200_000)})
		w.set(knobs)
		w.pause = sleep
		ctx, cancel := context.WithCancel(w.Places(t.Context()))
		ended := make(chan error)
		go func() {
			_, err := checkpoint.Open(ctx, "hf://a/b/model.safetensors", nil)
			ended <- err
		}()
		for len(w.Requests()) == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		select {
		case err := <-ended:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", knobs, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: goes on", knobs)
		}
	}
}

func TestHostileNames(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"model.safetensors.index.json": []byte(`{"weight_map":{"x":"../../other/repo/resolve/main/m.safetensors","y":"model-1.safetensors"}}`)})
	rel, err := w.open("hf://a/b")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rel.Checkpoints[0].Files {
		if f.Err == nil && !f.Missing {
			t.Errorf("%q was read", f.Name)
		}
	}
	for _, r := range w.Requests() {
		if strings.Contains(r.URI, "other") || strings.Contains(r.URI, "..") {
			t.Errorf("asked for %s", r.URI)
		}
	}
	if _, err := source.Open(w.Places(t.Context()), "hf://a/b/../../x/y.safetensors"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a reference with ..: %v", err)
	}
}

// BenchmarkManyShards is the headers of DeepSeek-V3's 163 shards over 30 ms of
// latency. "goal" is the 1.5 s that it is to take.
func BenchmarkManyShards(b *testing.B) {
	dir := b.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		b.Skipf("this file system has no sparse files: %v", err)
	}
	h := hubtest.New(b)
	if _, err := h.Repo("deepseek-ai/DeepSeek-V3").CommitDir(dir); err != nil {
		b.Fatal(err)
	}
	if err := h.Set("latency=30ms", "gzip"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := ReadSettings(b.Context(), func(name string) string { return map[string]string{"HF_ENDPOINT": h.URL}[name] })
		if err != nil {
			b.Fatal(err)
		}
		c, err := NewClient(Options{Settings: s, NoCache: true})
		if err != nil {
			b.Fatal(err)
		}
		rel, err := checkpoint.Open(c.Places(b.Context()), "hf://deepseek-ai/DeepSeek-V3", &checkpoint.Options{NoConfig: true})
		if err != nil {
			b.Fatal(err)
		}
		if n := rel.Checkpoints[0].Len(); n != 91_991 {
			b.Fatalf("%d tensors", n)
		}
		rel.Close()
		c.Close()
	}
	b.ReportMetric(1.5, "goal-s/op")
}

func TestWarning(t *testing.T) {
	w := newWorld(t)
	w.Repo("a/b").Commit(map[string][]byte{"m.safetensors": tiny(t), "n.safetensors": tiny(t)})
	w.set("warning=move; the hub moves on Friday")
	w.names("hf://a/b")
	if got := strings.Join(w.notes, "|"); !strings.HasSuffix(got, " says: the hub moves on Friday") || len(w.notes) != 1 {
		t.Errorf("notes %q", got)
	}
}
