package layers

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A tag can be moved to other code after somebody read what it names, a commit
// cannot; the version is for people and for the tools that raise it.
var pinned = regexp.MustCompile(`^\s*(- )?uses: (\./[\w./-]*|[\w-]+/[\w./-]+@[0-9a-f]{40} # v\d+(\.\d+){0,2})$`)

func unpinned(workflow string) []string {
	var list []string
	for line := range strings.Lines(workflow) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(strings.TrimLeft(line, " -"), "uses:") && !pinned.MatchString(line) {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// TestActionsArePinned: what runs on the project's runners, and on those of users of
// the action, is named by its commit.
func TestActionsArePinned(t *testing.T) {
	root := filepath.Join("..", "..")
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.y*ml"))
	if err != nil || len(files) == 0 {
		t.Fatal("no workflows: ", err)
	}
	for _, name := range append(files, filepath.Join(root, "action.yml")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range unpinned(string(text)) {
			t.Errorf("%s: %q is not pinned: write the commit's 40 digits, and its version as a comment", filepath.Base(name), line)
		}
	}
}

func TestUnpinned(t *testing.T) {
	const digits = "0123456789abcdef0123456789abcdef01234567"
	for line, ok := range map[string]bool{
		"      - uses: actions/checkout@" + digits + " # v7.0.1":      true,
		"        uses: github/codeql-action/init@" + digits + " # v4": true,
		"      - uses: ./":                                        true,
		"      - uses: actions/checkout@v7":                       false,
		"      - uses: actions/checkout@" + digits:                false,
		"      - uses: actions/checkout@" + digits[:12] + " # v7": false,
		"      - uses: actions/checkout@main # " + digits:         false,
		"      - uses: docker://alpine:3":                         false,
	} {
		if got := len(unpinned(line+"\n")) == 0; got != ok {
			t.Errorf("%s: pinned is %v", line, got)
		}
	}
}
