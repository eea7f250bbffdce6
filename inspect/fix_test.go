package inspect_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// wrapped is a release with something to fix, something that is only worth knowing,
// and something that cannot be fixed.
func wrapped(t *testing.T, dir string) string {
	t.Helper()
	writeFile(t, filepath.Join(dir, "config.json"), "{}")
	path := weights(t, filepath.Join(dir, "model.safetensors"), "tensor _orig_mod.a.w F32 [2]\ntensor _orig_mod.b.w F32 [2]\ntensor \"_orig_mod.c \" F32 [2]")
	return path
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// Without a destination nothing is written.
func TestFixPlans(t *testing.T) {
	dir := t.TempDir()
	path := wrapped(t, dir)
	before := read(t, path)
	r, err := inspect.Fix(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fixes) != 1 || !slices.Equal(r.Fixes[0].Rules, []string{"WT402"}) || r.Fixes[0].Count != 3 || r.Written != nil || r.Inverse == nil {
		t.Errorf("%+v", r)
	}
	if got := check(t, nil, dir); len(got.Findings) != len(r.Findings) {
		t.Errorf("%d findings, and check has %d", len(r.Findings), len(got.Findings))
	}
	if !bytes.Equal(read(t, path), before) {
		t.Error("the file changed")
	}
}

// In place every change goes through the guard, and the inverse takes it back.
func TestFixInPlace(t *testing.T) {
	dir := t.TempDir()
	wrapped(t, dir)
	guarded := 0
	opts := &inspect.FixOptions{InPlace: true, RuleChoice: inspect.RuleChoice{Select: []string{}}, Guard: func(change func() error) error {
		guarded++
		return change()
	}}
	r, err := inspect.Fix(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fixes) != 2 || guarded != 2 || r.Written == nil || *r.Written != dir {
		t.Errorf("%d guarded: %+v", guarded, r)
	}
	if got := check(t, nil, dir); got.Summary.Errors > 0 || len(got.Findings) != len(r.Findings) {
		t.Errorf("left: %v", rulesOf(got))
	}
	if len(r.Inverse.Rules) != 3 {
		t.Errorf("the inverse has %d rules", len(r.Inverse.Rules))
	}
	// What a guard refuses is not done.
	stop := errors.New("stop")
	again := t.TempDir()
	path := wrapped(t, again)
	before := read(t, path)
	if _, err := inspect.Fix(t.Context(), again, &inspect.FixOptions{InPlace: true, Guard: func(func() error) error { return stop }}); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(read(t, path), before) {
		t.Error("the file changed")
	}
}

// A copy is told of by its own name, with the findings that a check of it has.
func TestFixCopy(t *testing.T) {
	dir := t.TempDir()
	source, dest := filepath.Join(dir, "source"), filepath.Join(dir, "dest")
	path := wrapped(t, source)
	before := read(t, path)
	r, err := inspect.Fix(t.Context(), source, &inspect.FixOptions{Output: dest})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fixes) != 1 || r.Fixes[0].Checkpoint != dest {
		t.Errorf("%+v", r.Fixes)
	}
	want := check(t, nil, dest)
	if diff := cmp.Diff(want.Findings, r.Findings); diff != "" {
		t.Errorf("findings (-check +fix):\n%s", diff)
	}
	if !slices.Equal(r.Left.Checkpoints, want.Checkpoints) {
		t.Errorf("checkpoints %v", r.Left.Checkpoints)
	}
	if !bytes.Equal(read(t, path), before) {
		t.Error("the source changed")
	}
	for want, opts := range map[string]inspect.FixOptions{
		"already exists":   {Output: dest},
		"in its source":    {Output: filepath.Join(source, "copy")},
		"in place or writ": {Output: dest, InPlace: true},
	} {
		if _, err := inspect.Fix(t.Context(), source, &opts); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %s", opts, err, want)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("something is left: %v, %v", entries, err)
	}
}

// The settings of the source are those of its copy, wherever that stands.
func TestFixCopyGoesByTheSourcesSettings(t *testing.T) {
	dir := t.TempDir()
	accepts := "ignore: [{rule: WT402, reason: known}]"
	for _, tt := range []struct {
		what, settings string
		fixes          int
	}{
		{"where the source is", filepath.Join("from", inspect.SettingsName), 0},
		{"where the copy is", filepath.Join("to", inspect.SettingsName), 1},
	} {
		root := filepath.Join(dir, filepath.Dir(tt.settings)+"-has-them")
		wrapped(t, filepath.Join(root, "from", "release"))
		writeFile(t, filepath.Join(root, "to", "README.md"), "text")
		writeFile(t, filepath.Join(root, tt.settings), accepts)
		r, err := inspect.Fix(t.Context(), filepath.Join(root, "from", "release"), &inspect.FixOptions{Output: filepath.Join(root, "to", "release")})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Fixes) != tt.fixes {
			t.Errorf("settings %s: %d fixes, want %d", tt.what, len(r.Fixes), tt.fixes)
		}
	}
}

// What is left alone is said, with the reason.
func TestFixDeclines(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "use llama", "config.json": "use llama\nset tie_word_embeddings true"})
	r, err := inspect.Fix(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Fixes) != 0 || len(r.Declined) != 1 || r.Declined[0].Rule != "WT308" || !strings.Contains(r.Declined[0].Reason, "the bytes of") || r.Inverse != nil {
		t.Errorf("%+v", r)
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	path := weights(t, filepath.Join(dir, "model.safetensors"), "meta format pt\ntensor a F32 [2]\ntensor b F16 []")
	r, err := inspect.Lock(t.Context(), dir, &inspect.LockOptions{Digests: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Tensors() != 2 || len(r.Checkpoints) != 1 || len(r.Checkpoints[0].Tensors[0].SHA256) != 64 || !slices.Equal(r.Files, []string{path}) {
		t.Errorf("%+v", r)
	}
	var file bytes.Buffer
	if err := r.Write(&file); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, inspect.LockName), file.String())
	if got := check(t, nil, dir); len(got.Findings) != 0 {
		t.Errorf("held to its own lock: %v", rulesOf(got))
	}
	weights(t, path, "meta format pt\ntensor a F32 [3]")
	if got := rulesOf(check(t, nil, dir)); !slices.Equal(got, []string{"WT601", "WT604"}) {
		t.Errorf("held to an earlier lock: %v", got)
	}
	writeFile(t, filepath.Join(dir, "model-00001-of-00002.safetensors"), "12345")
	if _, err := inspect.Lock(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "missing or broken") {
		t.Errorf("a broken release is locked: %v", err)
	}
	if _, err := inspect.Lock(t.Context(), filepath.Join(dir, "missing"), nil); err == nil {
		t.Error("a missing release is locked")
	}
}
