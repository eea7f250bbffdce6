package fix

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/rename"
)

// judged opens a release and judges it, and closes it at the end of the test.
func judged(t *testing.T, path string, opts *check.Options) (*checkpoint.Release, *check.Report) {
	t.Helper()
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	report, err := check.Run(t.Context(), rel, opts)
	if err != nil {
		t.Fatal(err)
	}
	return rel, report
}

// fixAll makes one fix after the other and returns what was declined.
func fixAll(t *testing.T, dir string, opts *check.Options) []Declined {
	t.Helper()
	for range 10 {
		rel, report := judged(t, dir, opts)
		fixes, declined, err := Plan(t.Context(), rel, report)
		if err != nil {
			t.Fatal(err)
		}
		if len(fixes) == 0 {
			return declined
		}
		if err := fixes[0].Run(t.Context(), nil); err != nil {
			t.Fatalf("%s: %v", fixes[0].What, err)
		}
	}
	t.Fatal("the fixes do not come to an end")
	return nil
}

// Of every rule that has a fix: afterwards the findings that were marked are
// gone, and nothing is found that was not found before.
func TestFixes(t *testing.T) {
	for _, r := range check.Rules() {
		if r.Fix == nil {
			continue
		}
		a, err := txtar.ParseFile(filepath.Join("..", "check", "testdata", "rules", r.ID+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		releases := make(map[string]map[string]string)
		for _, f := range a.Files {
			if dir, name, ok := strings.Cut(f.Name, "/"); ok && strings.HasPrefix(dir, "bad") {
				if releases[dir] == nil {
					releases[dir] = make(map[string]string)
				}
				releases[dir][name] = string(f.Data)
			}
		}
		fixed := false
		for name, files := range releases {
			t.Run(r.ID+"/"+name, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), name)
				fixture.Release(t, dir, files)
				opts := options(t, files["options"])
				_, before := judged(t, dir, opts)
				declined := fixAll(t, dir, opts)
				_, after := judged(t, dir, opts)
				for i := range after.Findings {
					f := &after.Findings[i]
					if f.Fixable && !slices.ContainsFunc(declined, func(d Declined) bool { return d.Rule == f.Rule.ID }) {
						t.Errorf("left: %s", f.Rule.ID+": "+f.Message)
					}
					// A header that is no longer of a multiple of 8 was so before.
					if !slices.ContainsFunc(before.Findings, func(b check.Finding) bool { return b.Rule == f.Rule }) && f.Rule.ID != "WT110" {
						t.Errorf("new: %s", f.Rule.ID+": "+f.Message)
					}
				}
				fixed = fixed || len(after.Findings) < len(before.Findings)
			})
		}
		if !fixed {
			t.Errorf("%s: nothing was fixed", r.ID)
		}
	}
}

// options reads the options that a release of the rules' tests is judged with.
func options(t *testing.T, text string) *check.Options {
	t.Helper()
	out := new(check.Options)
	for line := range strings.Lines(text) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key {
		case "profile":
			out.Profile = check.Profile(value)
		case "ignore":
			out.Ignore = append(out.Ignore, value)
		default:
			t.Fatalf("option %q", line)
		}
	}
	return out
}

// A tied head is only dropped when its bytes are those of the embedding.
func TestTiedHeadIsKept(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "use llama", "config.json": "use llama\nset tie_word_embeddings true"})
	before, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	declined := fixAll(t, dir, nil)
	if len(declined) != 1 || declined[0].Rule != "WT308" || !strings.Contains(declined[0].Reason, "are not those of model.embed_tokens.weight") {
		t.Errorf("declined: %v", declined)
	}
	after, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(before, after) {
		t.Error("the file changed")
	}
}

// What the index says beside the totals and the map stays.
func TestIndexKeepsItsMetadata(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{
		"set.fixture":                  "index none\nfile model-00001-of-00002.safetensors\ntensor a F32 [2]\nfile model-00002-of-00002.safetensors\ntensor b F32 [3]",
		"model.safetensors.index.json": `{"metadata": {"note": "<kept>", "total_size": 1}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}`,
	})
	fixAll(t, dir, &check.Options{Select: []string{"WT2"}})
	got, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{
  "metadata": {
    "note": "<kept>",
    "total_size": 20
  },
  "weight_map": {
    "a": "model-00001-of-00002.safetensors",
    "b": "model-00002-of-00002.safetensors"
  }
}
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	// The old one is kept, where no loader and no descent looks.
	kept, err := os.ReadFile(filepath.Join(dir, txn.AsideName, "model.safetensors.index.json.1"))
	if err != nil || !strings.Contains(string(kept), `"total_size": 1}`) {
		t.Errorf("%s, %v", kept, err)
	}
}

// Two fixes of the same names are taken back as one.
func TestInverse(t *testing.T) {
	plan := func(names []string, text string) *Fix {
		m, err := rename.Parse("x", []byte("version: 1\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return &Fix{Plan: rename.NewPlan(m, names, rename.Safetensors())}
	}
	fixes := []*Fix{
		plan([]string{"w.a", "w.b{x", "c", "d"}, "strip: [w]\nrules:\n- {from: d, drop: stale}"),
		{What: "no names"},
		plan([]string{"a", "b{x", "c"}, "rename: {a: z, c: a}"),
	}
	inverse := Inverse(fixes)
	back := rename.NewPlan(inverse, []string{"z", "b{x", "a"}, rename.Safetensors())
	if err := back.Err(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, r := range back.Rows {
		got = append(got, r.To)
	}
	if want := []string{"w.a", "w.b{x", "c"}; !slices.Equal(got, want) {
		t.Errorf("taken back to %q, want %q", got, want)
	}
	if Inverse(fixes[1:2]) != nil {
		t.Error("an inverse of nothing")
	}
}

// Where only a total is wrong, no other byte of the index changes.
func TestTotalIsCorrectedInPlace(t *testing.T) {
	dir := t.TempDir()
	const index = `{ "weight_map":{"a":"model-00001-of-00001.safetensors"},   "metadata" : {"total_size":  "1", "x": [ ]} }`
	fixture.Release(t, dir, map[string]string{
		"model-00001-of-00001.safetensors.fixture": "meta format pt\ntensor a F32 [2]",
		"model.safetensors.index.json":             index,
	})
	fixAll(t, dir, nil)
	got, err := os.ReadFile(filepath.Join(dir, "model.safetensors.index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.Replace(index, `"1"`, "8", 1); string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// Links are refused: what else has the file would change too.
func TestPaddingRefusesLinks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, "tensor a F32 [2]\npad \"\\x00\\x00\""); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	if err := os.Link(path, other); err != nil {
		t.Skip(err)
	}
	if err := padWithSpaces(t.Context(), path, false); err == nil || !strings.Contains(err.Error(), "2 names") {
		t.Errorf("hard link: %v", err)
	}
	if err := padWithSpaces(t.Context(), path, true); err != nil {
		t.Errorf("hard link with force: %v", err)
	}
	link := filepath.Join(dir, "link.safetensors")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	if err := padWithSpaces(t.Context(), link, true); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("symbolic link: %v", err)
	}
}

// A file moved aside never takes the place of another.
func TestAsideKeepsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{
		"set.fixture":               "file model-00001-of-00002.safetensors\ntensor a F32 [2]\nfile model-00002-of-00002.safetensors\ntensor b F32 [3]",
		"model.safetensors.fixture": "tensor a F32 [2]\ntensor b F32 [3]",
	})
	if err := os.Mkdir(filepath.Join(dir, txn.AsideName), 0o755); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, txn.AsideName, "model.safetensors")
	if err := os.WriteFile(kept, []byte("earlier"), 0o644); err != nil {
		t.Fatal(err)
	}
	rel, report := judged(t, dir, &check.Options{Select: []string{"WT212"}})
	fixes, _, err := Plan(t.Context(), rel, report)
	if err != nil || len(fixes) != 1 {
		t.Fatalf("%d fixes, %v", len(fixes), err)
	}
	if err := fixes[0].Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("%v", err)
	}
	if data, err := os.ReadFile(kept); err != nil || string(data) != "earlier" {
		t.Errorf("%q, %v", data, err)
	}
}

// A set of which a part is not there is not fixed by halves, and neither is a
// part of it by itself.
func TestPartsAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{
		"config.json": "{}",
		"set.fixture": "file model-00001-of-00003.safetensors\ntensor _orig_mod.a.w F32 [2]\nfile model-00002-of-00003.safetensors missing\ntensor _orig_mod.b.w F32 [2]\nfile model-00003-of-00003.safetensors\ntensor _orig_mod.c.w F32 [3]",
	})
	for _, path := range []string{dir, filepath.Join(dir, "model-00001-of-00003.safetensors")} {
		rel, report := judged(t, path, nil)
		fixes, declined, err := Plan(t.Context(), rel, report)
		if err != nil || len(fixes) > 0 {
			t.Errorf("%s: %d fixes, %v", path, len(fixes), err)
		}
		var rules []string
		for _, d := range declined {
			rules = append(rules, d.Rule)
		}
		if !slices.Equal(rules, []string{"WT402", "WT904"}) {
			t.Errorf("%s: declined %v", path, rules)
		}
	}
}

// An index is replaced whole: its mode stays, the old one is kept aside, and
// nothing else is left.
func TestReplaceIndex(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors.index.json")
	if err := os.WriteFile(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"new", "newer"} {
		if err := replaceIndex(t.Context(), path, true, func() ([]byte, error) { return []byte(text), nil }); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || string(data) != text {
			t.Errorf("%q, %v", data, err)
		}
		kept, err := os.ReadFile(filepath.Join(dir, txn.AsideName, fmt.Sprintf("model.safetensors.index.json.%d", i+1)))
		if err != nil || string(kept) != []string{"old", "new"}[i] {
			t.Errorf("kept %q, %v", kept, err)
		}
	}
	fi, err := os.Stat(path)
	if err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", fi.Mode(), err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%d files, %v", len(entries), err)
	}
	// Another program's index, which the new one is not made from, is kept.
	for _, keep := range []bool{true, false} {
		err := replaceIndex(t.Context(), path, keep, func() ([]byte, error) {
			theirs := filepath.Join(dir, "theirs")
			return []byte("newest"), errors.Join(os.WriteFile(theirs, []byte("theirs"), 0o640), os.Rename(theirs, path))
		})
		if data, rerr := os.ReadFile(path); !errors.Is(err, txn.ErrChanged) || string(data) != "theirs" {
			t.Errorf("keep %v: %q, %v, %v", keep, data, rerr, err)
		}
	}
	link := filepath.Join(dir, "link.safetensors.index.json")
	if err := os.Symlink(path, link); err != nil {
		t.Skip(err)
	}
	if err := replaceIndex(t.Context(), link, false, func() ([]byte, error) { return []byte("newest"), nil }); err == nil || !strings.Contains(err.Error(), "symbolic link") {
		t.Errorf("%v", err)
	}
}

// The changes of a fix are folded as people read them.
func TestChanges(t *testing.T) {
	names := []string{"l.0.a1.w", "l.1.a1.w", "l.0.b.w", "x", "l.2.c"}
	rule, err := rename.NewRule("l.{n}.a1.w", "layers.{n}.q.w")
	if err != nil {
		t.Fatal(err)
	}
	m := rename.Map{Rules: []rename.Rule{rule, rename.DropRule("l.2.c", "stale")}}
	got := (&Fix{Plan: rename.NewPlan(&m, names, rename.Safetensors())}).Changes()
	want := []rename.FoldedChange{
		{From: "l.{0..1}.a1.w", To: "layers.{0..1}.q.w", Action: rename.Move, Count: 2},
		{From: "l.2.c", Action: rename.Drop, Reason: "stale", Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSetPattern(t *testing.T) {
	for name, want := range map[string]string{
		"model-00001-of-00002.safetensors": "model-*-of-00002.safetensors",
		"model.safetensors":                "model.safetensors",
	} {
		if got := setPattern(name); got != want {
			t.Errorf("setPattern(%q) = %q, want %q", name, got, want)
		}
	}
}

// FuzzPlan plans the fixes of a release of arbitrary bytes: it may fail, and ends.
func FuzzPlan(f *testing.F) {
	f.Add(fixture.Bytes(f, "meta format pt\ntensor _orig_mod.model.embed_tokens.weight BF16 [32,8]\ntensor _orig_mod.lm_head.weight BF16 [32,8]"), []byte(`{"model_type": "llama", "tie_word_embeddings": true}`), []byte(`{"weight_map": {"a": "model.safetensors"}}`))
	f.Add([]byte("version https://git-lfs"), []byte("{"), []byte("["))
	f.Fuzz(func(t *testing.T, weights, config, index []byte) {
		dir := t.TempDir()
		for name, data := range map[string][]byte{
			"model.safetensors": weights, "model-00001-of-00002.safetensors": weights, "model.gguf": weights,
			"config.json": config, "model.safetensors.index.json": index,
		} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		rel, err := checkpoint.Open(t.Context(), dir, nil)
		if err != nil {
			return
		}
		defer rel.Close()
		report, err := check.Run(t.Context(), rel, nil)
		if err != nil {
			t.Fatal(err)
		}
		fixes, declined, err := Plan(t.Context(), rel, report)
		if err != nil {
			return // data that cannot be read
		}
		for _, x := range fixes {
			if len(x.Rules) == 0 || x.What == "" || x.Count < 1 {
				t.Fatalf("%+v", x)
			}
		}
		for _, d := range declined {
			if d.Reason == "" {
				t.Fatalf("%+v", d)
			}
		}
	})
}
