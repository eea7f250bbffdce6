package policy

import (
	"bytes"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

func TestBaseline(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]\ntensor \"b \" F32 [2]"})
	report := judged(t, dir, nil)
	var file bytes.Buffer
	var found []Known
	for _, f := range report.Findings {
		found = append(found, Known{Fingerprint: f.Fingerprint(), Rule: f.Rule.ID})
	}
	if err := WriteBaseline(&file, append(found, found...)); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(file.String(), `"rule"`); n != len(found) {
		t.Errorf("%d findings written, want each of %d once", n, len(found))
	}
	known, err := ReadBaseline("x", bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]\ntensor \"b \" F32 [2]\ntensor \"c \" F32 [2]"})
	report = judged(t, dir, nil)
	_, out := (&Leniency{Baseline: known}).Apply(report)
	if len(report.Findings) != 1 || report.Findings[0].Tensor != "c " || out != 1 {
		t.Errorf("%d known, left: %+v", out, report.Findings)
	}
	for _, bad := range []string{"", "[]", `{"baseline_version": 2}`, `{"baseline_version": 1, "other": 1}`} {
		if _, err := ReadBaseline("x", strings.NewReader(bad)); err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "tensor \"a\\\"b\" F32 [2]\ntensor s F32 []", "unet/x.gguf.fixture": "format gguf\ntensor w Q8_0 [2,32]"})
	rel, err := checkpoint.Open(t.Context(), dir, &checkpoint.Options{Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	for _, digests := range []bool{false, true} {
		var read atomic.Int64
		lock, err := check.NewLock(t.Context(), rel, digests, func(n int64) { read.Add(n) })
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := WriteLock(&file, lock); err != nil {
			t.Fatal(err)
		}
		again, err := ReadLock(dir, bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lock, again); diff != "" {
			t.Error(diff)
		}
		if (lock.Checkpoints[0].Tensors[0].SHA256 != "") != digests || (read.Load() > 0) != digests {
			t.Errorf("digests %v, %d bytes read", digests, read.Load())
		}
		report, err := check.Run(t.Context(), rel, &check.Options{Select: []string{"WT6"}, Against: again})
		if err != nil || len(report.Findings) > 0 {
			t.Errorf("held to itself: %v, %v", report, err)
		}
	}
	for _, bad := range []string{"", "{}", `{"lock_version": 1} {}`, `{"lock_version": 2, "checkpoints": []}`, `{"lock_version": 1, "x": 1}`} {
		if _, err := ReadLock("x", strings.NewReader(bad)); err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// A name that JSON cannot hold is refused rather than changed.
	fixture.Release(t, dir, map[string]string{"bad.gguf.fixture": "format gguf\ntensor \"a\\xff\" F32 [2]"})
	bad, err := checkpoint.Open(t.Context(), filepath.Join(dir, "bad.gguf"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if _, err := check.NewLock(t.Context(), bad, false, nil); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("%v", err)
	}
}
