package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// The steps that docs/report.md has for a workflow make both pages of a release, also where
// a shard is missing or nothing can be read, and fail then. A step runs as GitHub's runner
// has it: bash -e, and after a step that failed only where its condition is always().
func TestReportSteps(t *testing.T) {
	t.Parallel()
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("bash, which runs the steps, is not installed")
	}
	var steps []struct {
		Run, Uses, If string
		With          struct{ Path string }
	}
	if err := yaml.Load([]byte(snippet(t, "report.md", "yaml")), &steps); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		damage func(release string) error
		failed bool
		says   string
	}{
		{"whole", func(string) error { return nil }, false, "2 tensors"},
		{"a shard is missing", func(r string) error { return os.Remove(filepath.Join(r, "b.safetensors")) }, true, "WT201"},
		{"nothing is there", os.RemoveAll, true, "not read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			release := filepath.Join(dir, "release")
			if err := fixture.Sharded(release, "file a.safetensors\ntensor a F32 [2]\nfile b.safetensors\ntensor b F32 [2]\n"); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(release); err != nil {
				t.Fatal(err)
			}
			summary := filepath.Join(dir, "summary.md")
			failed, kept := false, ""
			for _, s := range steps {
				if failed && s.If != "always()" {
					continue
				}
				if s.Uses != "" {
					kept = s.With.Path
					continue
				}
				cmd := exec.Command(bash, "-e", "-c", s.Run)
				cmd.Dir = dir
				cmd.Env = []string{"PATH=" + filepath.Dir(buildBinary(t)) + string(os.PathListSeparator) + os.Getenv("PATH"), "HOME=" + dir, "GITHUB_STEP_SUMMARY=" + summary, userFileVariable + "=none"}
				log, err := cmd.CombinedOutput()
				if err != nil {
					failed = true
					t.Logf("%s: %v\n%s", s.Run, err, log)
				}
			}
			if failed != c.failed {
				t.Errorf("failed: %v", failed)
			}
			for _, path := range []string{summary, filepath.Join(dir, kept)} {
				if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), c.says) {
					t.Errorf("%s: %v, without %q in %d bytes", path, err, c.says, len(text))
				}
			}
		})
	}
}
