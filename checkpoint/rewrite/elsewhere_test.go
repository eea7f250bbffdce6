package rewrite

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/source/sourcetest"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// TestElsewhere renames releases that are not on the file system: the result is what
// it would be of the same files here.
func TestElsewhere(t *testing.T) {
	for _, kind := range kinds5 {
		t.Run(kind, func(t *testing.T) {
			root := t.TempDir()
			dir := filepath.Join(root, "m")
			must(t, os.Mkdir(dir, 0o755))
			ref, m := release(t, dir, kind)
			before, files := tensorsOf(t, ref), fixture.Snapshot(t, root)

			ext := filepath.Ext(ref)
			if kind == "gguf-split" {
				ext = ""
			}
			here, local := filepath.Join(root, "here"+ext), filepath.Join(root, "local"+ext)
			ctx := source.With(t.Context(), "tree", sourcetest.Tree{FS: os.DirFS(root)})
			rel, err := filepath.Rel(root, ref)
			must(t, err)
			r, err := checkpoint.Open(ctx, "tree://"+filepath.ToSlash(rel), nil)
			must(t, err)
			defer r.Close()
			c := r.Checkpoints[0]
			if _, err := Prepare(ctx, c, planFor(t, c, m), nil); !errors.Is(err, ErrElsewhere) {
				t.Errorf("in place: %v", err)
			}
			j, err := Prepare(ctx, c, planFor(t, c, m), &Options{Output: here})
			must(t, err)
			for _, f := range j.Files {
				if f.Step != Copy {
					t.Errorf("%s: %v, and there is nothing to share", f.Name, f.Step)
				}
			}
			report, err := j.Run(ctx, nil)
			must(t, err)
			if p := report.Proofs(); len(p) != 1 || p[0].Method != "digests" {
				t.Errorf("%+v", p)
			}
			if got := tensorsOf(t, here); !slices.Equal(got, renamed(before)) {
				t.Errorf("got  %.300q\nwant %.300q", got, renamed(before))
			}

			runJob(t, txn.OS{}, ref, m, &Options{Output: local})
			got, want := written(t, here), written(t, local)
			if !maps.Equal(got, want) {
				t.Errorf("wrote %q, and %q of the same files here", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
			}
			after := fixture.Snapshot(t, root)
			for name, content := range files {
				if after[name] != content {
					t.Errorf("%s changed", name)
				}
			}
		})
	}
}

// written returns what is in a file or a directory, as snapshot does.
func written(t *testing.T, path string) map[string]string {
	t.Helper()
	if filepath.Ext(path) == "" {
		return fixture.Snapshot(t, path)
	}
	data, err := os.ReadFile(path)
	must(t, err)
	return map[string]string{"": string(data)}
}
