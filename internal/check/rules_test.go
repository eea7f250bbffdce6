package check

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/hubtest"
	"github.com/wtinspect/wtinspect/internal/remote"
)

var update = flag.Bool("update", false, "rewrite the findings expected in testdata/rules")

// TestRules builds the releases in testdata/rules/*.txtar, one file a rule, and
// judges them. The first element of a path names a release; those that begin
// with good have no error, no warning and nothing of the rule, and the findings
// of the others are in the file want. Values are read for the rules that do. The
// files of a release are those of [fixture.Release], and its file options has
// options of the run: "profile X", "against DIR", "digests DIR", "base DIR", "ignore RULE". A
// file hub has the release served and judged there, as org/NAME: it holds "facts", what the
// hub says of the repository, and "knobs", how it is broken. The rules about settings are
// tested where settings are known, in package policy.
func TestRules(t *testing.T) {
	for _, r := range Rules() {
		if r.run != nil {
			t.Run(r.ID, func(t *testing.T) { testRule(t, r) })
		}
	}
	files, err := filepath.Glob("testdata/rules/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if id := strings.TrimSuffix(filepath.Base(f), ".txtar"); Known(id) != nil || len(id) != len("WT000") {
			t.Errorf("%s belongs to no rule", f)
		}
	}
}

func testRule(t *testing.T, r *Rule) {
	path := filepath.Join("testdata", "rules", r.ID+".txtar")
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	releases := make(map[string]map[string]string)
	var order []string
	want := ""
	for _, f := range a.Files {
		dir, name, ok := strings.Cut(f.Name, "/")
		if !ok {
			want = string(f.Data)
			continue
		}
		if releases[dir] == nil {
			releases[dir] = make(map[string]string)
			order = append(order, dir)
		}
		releases[dir][name] = string(f.Data)
	}
	var got strings.Builder
	bad, good := false, false
	hubs := make(map[string]string)
	for _, dir := range order {
		if text, ok := releases[dir]["hub"]; ok {
			hubs[dir] = text
			delete(releases[dir], "hub")
		}
		fixture.Release(t, filepath.Join(root, dir), releases[dir])
	}
	for _, dir := range order {
		opts := options(t, root, releases[dir]["options"])
		opts.Values = r.Values
		var lines []string
		if text, ok := hubs[dir]; ok {
			lines = findingsIn(published(t, filepath.Join(root, dir), text), t, "hf://org/"+dir, opts)
		} else {
			lines = findings(t, filepath.Join(root, dir), opts)
		}
		if strings.HasPrefix(dir, "good") {
			good = true
			for _, l := range lines {
				if strings.HasPrefix(l, r.ID) || !strings.Contains(l, " info ") {
					t.Errorf("%s: %s", dir, l)
				}
			}
			continue
		}
		found := false
		for _, l := range lines {
			found = found || strings.HasPrefix(l, r.ID)
			fmt.Fprintf(&got, "%s: %s\n", dir, strings.ReplaceAll(l, root+string(filepath.Separator), ""))
		}
		if bad = bad || found; !found && !strings.HasPrefix(dir, "old") {
			t.Errorf("%s: the rule finds nothing", dir)
		}
	}
	if !bad || !good {
		t.Error("a release that the rule finds and one that it does not are needed")
	}
	if *update {
		a.Files = slices.DeleteFunc(a.Files, func(f txtar.File) bool { return f.Name == "want" })
		a.Files = append(a.Files, txtar.File{Name: "want", Data: []byte(got.String())})
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

// published serves a directory as a repository, and returns a context in which it is
// read.
func published(t *testing.T, dir, text string) context.Context {
	t.Helper()
	var how struct {
		Facts map[string]any
		Knobs []string
	}
	if err := json.Unmarshal([]byte(text), &how); err != nil {
		t.Fatal(err)
	}
	hub := hubtest.New(t)
	repo := hub.Repo("org/" + filepath.Base(dir))
	repo.Facts = how.Facts
	if _, err := repo.CommitDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := hub.Set(how.Knobs...); err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"HF_ENDPOINT": hub.URL, "HOME": t.TempDir()}
	settings, err := remote.ReadSettings(t.Context(), func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	client, err := remote.NewClient(remote.Options{Settings: settings})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client.Places(t.Context())
}

func options(t *testing.T, root, text string) *Options {
	out := new(Options)
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "profile":
			out.Profile = Profile(value)
		case "ignore":
			out.Ignore = append(out.Ignore, value)
		case "base":
			rel, err := checkpoint.Open(t.Context(), filepath.Join(root, value), nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { rel.Close() })
			rel.Path = value
			out.Base = rel
		case "against", "digests":
			rel, err := checkpoint.Open(t.Context(), filepath.Join(root, value), &checkpoint.Options{Recursive: true})
			if err != nil {
				t.Fatal(err)
			}
			defer rel.Close()
			if out.Against, err = NewLock(t.Context(), rel, key == "digests", nil); err != nil {
				t.Fatal(err)
			}
			out.Against.Path = value
		default:
			t.Fatalf("option %q", line)
		}
	}
	return out
}

// Every rule is documented, named once, and in its block.
func TestRulesAreWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	last := ""
	for _, r := range Rules() {
		if seen[r.ID] || seen[r.Name] {
			t.Errorf("%s %s: the ID or the name is used twice", r.ID, r.Name)
		}
		seen[r.ID], seen[r.Name] = true, true
		if len(r.ID) != len("WT000") || !strings.HasPrefix(r.ID, "WT") || r.ID <= last {
			t.Errorf("%s: IDs are WT and three digits, in ascending order", r.ID)
		}
		last = r.ID
		for what, text := range map[string]string{"name": r.Name, "title": r.Title, "doc": r.Doc, "bad example": r.Bad, "good example": r.Good} {
			if text == "" || text != strings.TrimSpace(text) {
				t.Errorf("%s: the %s is empty or has white space around it", r.ID, what)
			}
		}
		if strings.ToLower(r.Name) != r.Name || strings.ContainsAny(r.Name, " _") {
			t.Errorf("%s: the name %q is not words with hyphens", r.ID, r.Name)
		}
		if strings.HasSuffix(r.Title, ".") || !strings.HasSuffix(r.Doc, ".") {
			t.Errorf("%s: the title has no full stop, and the document ends with one", r.ID)
		}
		for p := range r.Profiles {
			if !slices.Contains(Profiles(), p) {
				t.Errorf("%s: no profile %q", r.ID, p)
			}
		}
	}
	for code, id := range byCode {
		if _, err := Lookup(id); err != nil {
			t.Errorf("code %s: no rule %s", code, id)
		}
	}
	for hint, id := range byHint {
		if _, err := Lookup(id); err != nil {
			t.Errorf("hint %s: no rule %s", hint, id)
		}
	}
}

// The stories that check was built for each have a release that is broken so.
func TestStories(t *testing.T) {
	told := make(map[string]bool)
	for _, r := range Rules() {
		a, err := txtar.ParseFile(filepath.Join("testdata", "rules", r.ID+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		for _, story := range regexp.MustCompile(`\bU\d+\b`).FindAllString(string(a.Comment), -1) {
			told[story] = true
		}
	}
	for _, n := range []int{1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 26, 27, 28, 29, 30, 31, 46} {
		if story := fmt.Sprintf("U%d", n); !told[story] {
			t.Errorf("no release is broken as in %s", story)
		}
	}
}
