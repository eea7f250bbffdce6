// Package testdata finds the optional files that extend the project's tests:
// real model files, name lists and golden blocks that are too large, or not
// ours, to be kept in the repository.
//
// The tests pass without them. They are looked for in the directory named by
// the environment variable WTINSPECT_TESTDATA, and otherwise in
// ../shared/data beside the repository.
//
// It also keeps the files up to date that are made of others of the repository.
package testdata

import (
	"os"
	"path"
	"path/filepath"
	"runtime"
	"testing"
)

// Env names the environment variable that says where the optional files are.
const Env = "WTINSPECT_TESTDATA"

// Glob returns the optional files that match a pattern below the test data directory,
// at least one. It skips the test when their directory does not exist.
func Glob(t testing.TB, pattern string) []string {
	t.Helper()
	dir, name := path.Split(pattern)
	list, err := filepath.Glob(filepath.Join(Path(t, dir), name))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("no optional file matches %q", pattern)
	}
	return list
}

// Path returns the path of an optional file or directory, given by its
// slash-separated path below the test data directory. It skips the test when
// the file does not exist.
func Path(t testing.TB, elem string) string {
	t.Helper()
	root := os.Getenv(Env)
	if root == "" {
		_, self, _, ok := runtime.Caller(0)
		if !ok {
			t.Skip("optional test data: the repository's place is unknown; set " + Env)
		}
		root = filepath.Join(filepath.Dir(self), "..", "..", "..", "shared", "data")
	}
	p := filepath.Join(root, filepath.FromSlash(elem))
	if _, err := os.Stat(p); err != nil {
		t.Skipf("optional test data %q is not present (set %s to its directory)", elem, Env)
	}
	return p
}

// UpToDate fails unless a file has the text that is made for it. With update it writes the
// file instead.
func UpToDate(t testing.TB, name, text string, update bool) {
	t.Helper()
	if update {
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != text {
		t.Errorf("%s is out of date; write it with -update, or make generate, and read the diff", name)
	}
}
