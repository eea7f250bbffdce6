package policy

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/source"
)

func TestSettings(t *testing.T) {
	set, err := ParseSettings(filepath.Join("d", SettingsName), []byte(`
version: 1
profile: mlx
select: [WT1, WT904]
fail-on: info
baseline: base.json
severity: {wt904: error}
ignore:
- {rule: WT2, tensor: "a*", file: b, reason: " because ", until: 2026-02-03}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Settings{
		Path: filepath.Join("d", SettingsName), Profile: check.MLX, Select: []string{"WT1", "WT904"}, FailOn: "info",
		Baseline: filepath.Join("d", "base.json"), Severities: map[string]checkpoint.Severity{"WT904": checkpoint.Error},
		Exceptions: []Exception{{
			Rule: "WT2", Tensor: "a*", File: "b", Reason: "because", Until: time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC),
			Origin: filepath.Join("d", SettingsName), Line: 9, Column: 3,
		}},
	}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Error(diff)
	}
	for text, wants := range map[string][]string{
		"x: 1":                           {"f:1:1: unknown key \"x\""},
		"version: 2":                     {"f:1:10: version 2, where"},
		"version: 1\nversion: 1":         {"f:2:1: version is given twice"},
		"profile: x\nfail-on: y":         {"f:1:10: \"x\" must be one of: transformers", "f:2:10: \"y\" must be one of: error, warning, info"},
		"select: WT1":                    {"f:1:9: select is a list"},
		"select: [WT8]":                  {"f:1:10: there is no rule \"WT8\""},
		"select: [[]]":                   {"f:1:10: a rule is text"},
		"severity: [a]":                  {"f:1:11: severity is a mapping"},
		"severity: {WT999: info}":        {"f:1:12: there is no rule \"WT999\""},
		"ignore: [WT1]":                  {"f:1:10: an element of ignore is a mapping"},
		"ignore: [{reason: x}]":          {"f:1:10: an exception needs a rule"},
		"ignore: [{rule: WT1, y: x}]":    {"unknown key \"y\"", "needs a reason"},
		"ignore: [{file: '[z-a]'}]":      {"f:1:17: file \"[z-a]\": the range z-a runs backwards"},
		"- a":                            {"f:1:1: a settings file is a mapping"},
		"a: [":                           {"f:2:1: did not find"},
		"profile: ~":                     {"f:1:10: profile is text"},
		"ignore:\n- {rule: &a WT1, *a }": {"f:"},
	} {
		_, err := ParseSettings("f", []byte(text))
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		if _, ok := errors.AsType[*SettingsError](err); !ok {
			t.Errorf("%q: %T", text, err)
		}
		for _, w := range wants {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v\nwant %s", text, err, w)
			}
		}
	}
	for _, empty := range []string{"", "# nothing\n"} {
		if set, err := ParseSettings("f", []byte(empty)); err != nil || set == nil {
			t.Errorf("%q: %v, %v", empty, set, err)
		}
	}
}

// Settings are looked for upwards.
func TestFindSettings(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, SettingsName), []byte("fail-on: info"), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := FindSettings(t.Context(), below)
	if err != nil || set.FailOn != "info" {
		t.Errorf("%+v, %v", set, err)
	}
	if err := os.Mkdir(filepath.Join(below, SettingsName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSettings(t.Context(), below); err == nil {
		t.Error("a directory is taken for settings")
	}
	if err := os.WriteFile(filepath.Join(root, "a", SettingsName), bytes.Repeat([]byte("#\n"), int(source.Settings.Limit())), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSettings(t.Context(), filepath.Join(root, "a")); err == nil || !strings.Contains(err.Error(), "more than the 1.00 MiB that a settings file may have") {
		t.Errorf("settings of 2 MB: %v", err)
	}
	if _, err := OpenLock(t.Context(), root); err == nil {
		t.Error("a directory is taken for a lock")
	}
}

// Settings that are not YAML are an error of the file, wherever it is found.
func TestFindBrokenSettings(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"[1", "{", "foo: [bar", "\xff\xfe", "unknown: 1"} {
		if err := os.WriteFile(filepath.Join(root, SettingsName), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{root, below} {
			set, err := FindSettings(t.Context(), dir)
			if e, ok := errors.AsType[*SettingsError](err); !ok || set != nil || !strings.HasSuffix(e.File, SettingsName) {
				t.Errorf("%q: %+v, %v", text, set, err)
			}
		}
	}
}

func FuzzFindSettings(f *testing.F) {
	for _, text := range []string{"profile: vllm", "[1", "{", "\xff\xfe", "select: [", "# nothing\n"} {
		f.Add([]byte(text))
	}
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		dir, err := os.MkdirTemp(root, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		if err := os.WriteFile(filepath.Join(dir, SettingsName), data, 0o644); err != nil {
			t.Fatal(err)
		}
		if set, err := FindSettings(t.Context(), dir); (err == nil) == (set == nil) {
			t.Errorf("%+v, %v", set, err)
		}
	})
}

// A hub lists its directories, and everything above a repository belongs to somebody else.
type hub struct{ *source.Listing }

func (h hub) path(ref string) (string, bool) {
	p, ok := strings.CutPrefix(ref, "hub://a/b")
	return strings.TrimPrefix(p, "/"), ok
}

func (h hub) Stat(_ context.Context, ref string) (fs.FileInfo, error) {
	p, _ := h.path(ref)
	return h.Listing.Stat(p)
}

func (h hub) ReadDir(_ context.Context, ref string) ([]fs.DirEntry, error) {
	p, ok := h.path(ref)
	if !ok {
		return nil, errors.New("not a repository")
	}
	return h.Listing.ReadDir(p)
}

func (h hub) Open(_ context.Context, ref string) (source.Source, error) {
	return nil, errors.New("settings of somebody else are read")
}

// What was published does not decide how it is judged, wherever it is.
func TestFindPublishedSettings(t *testing.T) {
	for dir, want := range map[string]string{
		"hub://a/b": "hub://a/b/.wtinspect.yaml", "hub://a/b/c/d": "hub://a/b/c/.wtinspect.yaml", "hub://a/b/e": "hub://a/b/.wtinspect.yaml", "hub://a": "",
	} {
		ctx := source.With(t.Context(), "hub", hub{source.NewListing([]source.Entry{
			{Path: ".wtinspect.yaml"}, {Path: "c/.wtinspect.yaml"}, {Path: "c/d/m.gguf"}, {Path: "e/m.gguf"},
		})})
		set, err := FindSettings(ctx, dir)
		if err != nil || set.Path != "" || set.FailOn != "" || set.Disregarded != want {
			t.Errorf("%s: %+v, %v; want %q", dir, set, err, want)
		}
	}

	root := t.TempDir()
	snapshot := filepath.Join(root, "models--org--name", "snapshots", strings.Repeat("a", 40))
	if err := os.MkdirAll(filepath.Join(snapshot, "unet"), 0o755); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(snapshot, SettingsName)
	if err := os.WriteFile(theirs, []byte("not: settings"), 0o644); err != nil {
		t.Fatal(err)
	}
	dirs := []string{snapshot, filepath.Join(snapshot, "unet")}
	if link := filepath.Join(root, "model"); os.Symlink(snapshot, link) == nil {
		dirs = append(dirs, link)
	}
	for _, own := range []string{"", "info"} {
		if own != "" { // above the cache, where nobody else writes
			if err := os.WriteFile(filepath.Join(root, SettingsName), []byte("fail-on: "+own), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, dir := range dirs {
			set, err := FindSettings(t.Context(), dir)
			if err != nil || set.FailOn != own || filepath.Base(set.Disregarded) != SettingsName {
				t.Errorf("%s: %+v, %v; want %q", dir, set, err, own)
			}
		}
	}
}

func FuzzParseSettings(f *testing.F) {
	f.Add([]byte("version: 1\nprofile: vllm\nselect: [WT1]\nignore:\n- {rule: WT3, reason: x, until: 2026-01-01}\nseverity: {WT101: info}"))
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("- 1\n--- {}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		set, err := ParseSettings("x", data)
		if err == nil && set == nil {
			t.Fatal("neither settings nor an error")
		}
		if err == nil {
			for _, e := range set.Exceptions {
				if e.Rule == "" || e.Reason == "" {
					t.Fatalf("%+v", e)
				}
			}
		}
	})
}

// Every finding is held against every exception, of which there are no more than
// people write.
func TestManyExceptions(t *testing.T) {
	text := "ignore:\n" + strings.Repeat("- {rule: WT101, tensor: a, reason: b}\n", maxExceptions)
	if _, err := ParseSettings("s.yaml", []byte(text)); err != nil {
		t.Error(err)
	}
	_, err := ParseSettings("s.yaml", []byte(text+strings.Repeat("- {rule: WT101, tensor: a, reason: b}\n", 9)))
	if err == nil || err.Error() != "s.yaml:1002:3: more than 1000 exceptions; a baseline leaves out as many findings as there are" {
		t.Error(err)
	}
}
