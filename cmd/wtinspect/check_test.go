package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/report"
)

// checkReleases makes releases by the worst of what is found in them, and by
// what keeps check from judging.
func checkReleases(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range map[string]string{
		"none/model.safetensors":    "meta format pt\ntensor a F32 [2]",
		"info/model.safetensors":    "tensor a F32 [2]",
		"warning/model.safetensors": "meta format pt\ntensor \"a \" F32 [2]",
		"error/model.safetensors":   "meta format pt\ntensor a F32 [2]\ntensor a F32 [2]",
		"hostile/a.safetensors":     "header-length 99999999",
	} {
		if err := fixture.Write(filepath.Join(root, name), text); err != nil {
			t.Fatal(err)
		}
	}
	if err := fixture.Sharded(filepath.Join(root, "oneBroken"), "meta format pt\nfile model-00001-of-00002.safetensors\ntensor a F32 [2]\nfile model-00002-of-00002.safetensors\ntensor b F32 [2]\nheader `[]`"); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"empty/README.md":          "no weights",
		"settings/.wtinspect.yaml": "unknown: 1",
		"info/config.json":         "{}",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := fixture.Write(filepath.Join(root, "settings", "model.safetensors"), "meta format pt\ntensor a F32 [2]"); err != nil {
		t.Fatal(err)
	}
	return root
}

// The exit code follows from what is found, --fail-on and what kept check from
// judging, in every form the same.
func TestCheckExitCodes(t *testing.T) {
	t.Parallel()
	root := checkReleases(t)
	worst := map[string]int{"none": -1, "info": 0, "warning": 1, "error": 2, "oneBroken": 2}
	failOns := []string{"info", "warning", "error"}
	for _, format := range report.Forms() {
		for release, severity := range worst {
			for at, failOn := range failOns {
				want := exitOK
				if severity >= at {
					want = exitFindings
				}
				if code, _, stderr := runIn(t, root, "check", "-f", format, "--fail-on", failOn, release); code != want {
					t.Errorf("%s, %s, --fail-on %s: exit %d, want %d\n%s", format, release, failOn, code, want, stderr)
				}
				// What cannot be judged wins, whatever else was found.
				for _, trouble := range []string{"empty", "missing"} {
					if code, out, _ := runIn(t, root, "check", "-f", format, "--fail-on", failOn, release, trouble); code != exitFailed || out == "" && format != "table" && format != "jsonl" {
						t.Errorf("%s, %s and %s: exit %d, %d bytes", format, release, trouble, code, len(out))
					}
				}
			}
		}
		for _, args := range [][]string{
			{"hostile/a.safetensors"},
			{"settings"},
			{"--select", "WT8", "none"},
			{"--against", "missing", "none"},
			{"--baseline", "missing", "none"},
			{"--config", "missing", "none"},
			{"--report", "xml=x", "none"},
			{"--max", "-1", "none"},
			{"-o", filepath.Join("missing", "x"), "none"},
		} {
			if code, _, stderr := runIn(t, root, append([]string{"check", "-f", format}, args...)...); code != exitFailed || stderr == "" {
				t.Errorf("%s, %v: exit %d: %s", format, args, code, stderr)
			}
		}
	}
}

// Ten thousand findings stay readable: what is alike is one finding, and a
// form for people is cut.
func TestManyFindings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var text strings.Builder
	text.WriteString("meta format pt\ndata sparse\n")
	for i := range 10_000 {
		fmt.Fprintf(&text, "tensor model.layers.%d.w F32 [2] begin=0 end=8\n", i)
	}
	for i := range 300 {
		fmt.Fprintf(&text, "tensor \"t%dx \" F32 [2] begin=0 end=8\n", i)
	}
	if err := fixture.Write(filepath.Join(dir, "model.safetensors"), text.String()); err != nil {
		t.Fatal(err)
	}
	_, out, _ := runIn(t, dir, "check")
	if n := strings.Count(out, "\n"); n > 110 {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(out, "more findings not shown; --max 0 shows all") {
		t.Errorf("the answer does not say what is left out:\n%.600s", out)
	}
}
