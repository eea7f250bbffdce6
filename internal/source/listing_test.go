package source_test

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/internal/source"
)

func TestListing(t *testing.T) {
	l := source.NewListing([]source.Entry{
		{Path: "b/c/d.gguf", Size: 3, SHA256: "ab"}, {Path: "b/a", Size: 2}, {Path: "a.json", Size: 1}, {Path: "b.json"},
	})
	for dir, want := range map[string]string{"": "a.json b/ b.json ", "b": "a c/ ", "b/c": "d.gguf "} {
		list, err := l.ReadDir(dir)
		got := ""
		for _, e := range list {
			got += e.Name()
			if e.IsDir() {
				got += "/"
			}
			got += " "
		}
		if err != nil || got != want {
			t.Errorf("%q holds %q, %v; want %q", dir, got, err, want)
		}
		if fi, err := l.Stat(dir); err != nil || !fi.IsDir() || !fi.Mode().IsDir() {
			t.Errorf("Stat(%q): %v, %v", dir, fi, err)
		}
	}
	fi, err := l.Stat("b/c/d.gguf")
	if err != nil || fi.Size() != 3 || !fi.Mode().IsRegular() || fi.Sys().(*source.Entry).SHA256 != "ab" {
		t.Errorf("%v, %v", fi, err)
	}
	for _, name := range []string{"c", "b/", "/b", "a.json/x"} {
		if _, err := l.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Stat(%q): %v", name, err)
		}
	}
	if _, err := l.ReadDir("a.json"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file as a directory: %v", err)
	}
}

// The names are those of CVE-2026-15717, a listing that wrote outside of the
// directory it was downloaded to, for both kinds of systems.
func TestListingRefuses(t *testing.T) {
	for why, paths := range map[string][]string{
		"leads out of the repository": {"..", "../x", "a/../x", "/etc/passwd", `C:\x`, "C:x", `..\x`, `\\host\share`, "x\x00"},
		"is not the path of a file":   {".", "a//b", "a/", "a/./b"},
		"is no name":                  {""},
	} {
		for _, p := range paths {
			l := source.NewListing([]source.Entry{{Path: "m.gguf"}, {Path: p}})
			if l.Len() != 1 || !slices.Equal(l.Refused, []source.Refusal{{Path: p, Why: why}}) {
				t.Errorf("%q: %d are taken, refused %v", p, l.Len(), l.Refused)
			}
		}
	}
	for path, list := range map[string][]source.Entry{"a is listed twice": {{Path: "a"}, {Path: "a"}}, `a/b is below "a", which is a file`: {{Path: "a"}, {Path: "a/b"}}, `a/b/c is below "a", which is a file`: {{Path: "a/b/c"}, {Path: "a"}}} {
		if l := source.NewListing(list); l.Len() != 1 || len(l.Refused) != 1 || l.File("a") == nil || l.Refused[0].Path+" "+l.Refused[0].Why != path {
			t.Errorf("%v: %d are taken, refused %v", list, l.Len(), l.Refused)
		}
	}
}
