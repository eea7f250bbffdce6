package inspect_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
)

// ruleReleases writes the releases that the tests of the rules have, broken in every way
// that there is a rule about, and returns their directories.
func ruleReleases(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../internal/check/testdata/rules/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no releases: ", err)
	}
	root := t.TempDir()
	var out []string
	for _, file := range files {
		a, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		releases := make(map[string]map[string]string)
		for _, f := range a.Files {
			dir, name, ok := strings.Cut(f.Name, "/")
			if !ok || name == "hub" {
				continue
			}
			if releases[dir] == nil {
				releases[dir] = make(map[string]string)
			}
			releases[dir][name] = string(f.Data)
		}
		for dir, files := range releases {
			at := filepath.Join(root, strings.TrimSuffix(filepath.Base(file), ".txtar"), dir)
			fixture.Release(t, at, files)
			out = append(out, at)
		}
	}
	slices.Sort(out)
	if testing.Short() {
		for i := range len(out) / 8 {
			out[i] = out[8*i]
		}
		out = out[:len(out)/8]
	}
	return out
}

// inputsOf yields references as they are.
func inputsOf(refs ...string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, ref := range refs {
			if !yield(ref, nil) {
				return
			}
		}
	}
}

// scanned is what Scan yields, with its tensors and figures as lists.
type scanned struct {
	inspect.Scanned
	tensors []inspect.ScannedTensor
	stats   []inspect.ScannedStats
}

func scan(t *testing.T, opts *inspect.ScanOptions, refs ...string) []scanned {
	t.Helper()
	var out []scanned
	for s, err := range inspect.Scan(t.Context(), inputsOf(refs...), opts) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, scanned{*s, slices.Collect(iter.Seq[inspect.ScannedTensor](s.Tensors)), slices.Collect(iter.Seq[inspect.ScannedStats](s.Stats))})
	}
	return out
}

// What a scan of many releases says is what ls and check say of each.
func TestScanAgrees(t *testing.T) {
	var refs []string
	for i, dir := range ruleReleases(t) {
		if sweep.Has(i, 3) {
			refs = append(refs, dir)
		}
	}
	refs = append(refs, "../testdata/yi-tiny", "../testdata/llama-tiny.gguf", "../testdata/yi-tiny/model.safetensors.index.json", "../testdata/yi-tiny/model-00001-of-00002.safetensors")
	all := scan(t, nil, refs...)
	if len(all) != len(refs) {
		t.Fatalf("%d of %d inputs", len(all), len(refs))
	}
	for i, ref := range refs {
		s := all[i]
		if s.Release.Repository != ref {
			t.Fatalf("input %d is %s, want %s", i, s.Release.Repository, ref)
		}
		set, err := inspect.Open(t.Context(), []string{ref}, nil)
		if err != nil {
			t.Fatal(err)
		}
		agreesWithList(t, ref, set, &s)
		set.Close()
		agreesWithCheck(t, ref, &s)
	}
}

func agreesWithList(t *testing.T, ref string, set *inspect.Set, s *scanned) {
	t.Helper()
	list, err := inspect.List(t.Context(), set, nil)
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	for one := range list.Tensors {
		c := set.Checkpoints[one.Checkpoint]
		file := ""
		if one.File >= 0 {
			rel, err := filepath.Rel(set.Releases[0].Dir, filepath.Join(c.Dir, one.FileName))
			if err != nil {
				t.Fatal(err)
			}
			file = filepath.ToSlash(rel)
		}
		want = append(want, fmt.Sprintf("%s %q %s %v %d %d", file, strings.ToValidUTF8(one.Name, "\ufffd"), one.DType, one.Shape, one.Bytes, one.Offset))
	}
	slices.Sort(want)
	for _, one := range s.tensors {
		text := func(s *string) string { return *cmp.Or(s, new(string)) }
		number := func(n *int64, none int64) int64 { return *cmp.Or(n, &none) }
		got = append(got, fmt.Sprintf("%s %q %s %v %d %d", text(one.File), one.Name, text(one.DType), one.Shape, number(one.Bytes, 0), number(one.Offset, -1)))
	}
	if !slices.IsSortedFunc(s.tensors, func(a, b inspect.ScannedTensor) int {
		return cmp.Or(strings.Compare(*cmp.Or(a.File, new(string)), *cmp.Or(b.File, new(string))), strings.Compare(a.Name, b.Name))
	}) {
		t.Errorf("%s: tensors are not sorted by file and name", ref)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("%s: tensors\ngot  %q\nwant %q", ref, got, want)
	}
	files := 0
	for c := range list.Checkpoints {
		files += len(c.Files)
	}
	if len(s.Files) != files || s.Release.Files != int64(files) || s.Release.Checkpoints != int64(len(set.Checkpoints)) || s.Release.Tensors != int64(len(got)) {
		t.Errorf("%s: %d rows of files, and the release says %d; want %d of %d checkpoints", ref, len(s.Files), s.Release.Files, files, len(set.Checkpoints))
	}
	if len(set.Checkpoints) == 1 && s.Release.ErrorCode == nil {
		id, err := inspect.Identify(t.Context(), set.Checkpoints[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := *cmp.Or(s.Release.Convention, new(string)); got != id.Convention || !slices.Equal(s.Release.Wrappers, slices.Compact(slices.Clone(id.Wrappers))) {
			t.Errorf("%s: convention %q with wrappers %q, want %q with %q", ref, got, s.Release.Wrappers, id.Convention, id.Wrappers)
		}
	}
	unread, read := 0, 0
	for _, c := range set.Checkpoints {
		for _, f := range c.Files {
			if f.Err != nil {
				unread++
			} else if !f.Missing {
				read++
			}
		}
	}
	if failed := len(set.Errors) > 0 || unread > 0 && read == 0; failed != (s.Release.ErrorCode != nil) {
		t.Errorf("%s: error %v, want %v", ref, s.Release.Error, set.Errors)
	}
}

func agreesWithCheck(t *testing.T, ref string, s *scanned) {
	t.Helper()
	r := check(t, nil, ref)
	var want, got []string
	for _, f := range r.Findings {
		want = append(want, fmt.Sprintf("%s %s %d %s %s", f.Rule, f.Severity, f.Count, f.Message, f.Fingerprint))
	}
	for _, f := range s.Findings {
		got = append(got, fmt.Sprintf("%s %s %d %s %s", f.Rule, f.Severity, f.Count, f.Message, f.Fingerprint))
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: findings\ngot  %q\nwant %q", ref, got, want)
	}
	if s.Release.Errors != int64(r.Summary.Errors) || s.Release.Warnings != int64(r.Summary.Warnings) || s.Release.Infos != int64(r.Summary.Infos) {
		t.Errorf("%s: %d errors, %d warnings, %d infos, want %+v", ref, s.Release.Errors, s.Release.Warnings, s.Release.Infos, r.Summary)
	}
}

// Each input that fails is a row with a code, and the others are scanned.
func TestScanErrors(t *testing.T) {
	dir := t.TempDir()
	good := weights(t, filepath.Join(dir, "good", "model.safetensors"), "meta format pt\ntensor a F32 [2]")
	writeFile(t, filepath.Join(dir, "cut.safetensors"), "1234")
	writeFile(t, filepath.Join(dir, "none", "README.md"), "# nothing")
	writeFile(t, filepath.Join(dir, "set", ".wtinspect.yaml"), "profiel: transformers")
	weights(t, filepath.Join(dir, "set", "model.safetensors"), "meta format pt\ntensor a F32 [2]")
	tests := []struct{ ref, code string }{
		{filepath.Join(dir, "absent"), "not_found"},
		{good, ""},
		{filepath.Join(dir, "cut.safetensors"), "header_too_small"},
		{filepath.Join(dir, "none"), "no_weights"},
		{filepath.Join(dir, "set"), "bad_settings"},
		{"s3://bucket/model", "unsupported_scheme"},
		{"", "not_opened"},
		{good, ""},
	}
	var refs []string
	for _, test := range tests {
		refs = append(refs, test.ref)
	}
	for i, s := range scan(t, nil, refs...) {
		test := tests[i]
		code := *cmp.Or(s.Release.ErrorCode, new(string))
		if code != test.code || s.Release.Repository != test.ref || (s.Release.Error == nil) != (code == "") {
			t.Errorf("%s: %s (%s), want %q", test.ref, code, *cmp.Or(s.Release.Error, new(string)), test.code)
		}
		if test.code == "" && len(s.tensors) != 1 {
			t.Errorf("%s: %d tensors", test.ref, len(s.tensors))
		}
	}
}

// Options that make no sense end a scan before it begins.
func TestScanOptions(t *testing.T) {
	for _, test := range []struct {
		opts inspect.ScanOptions
		want string
	}{
		{inspect.ScanOptions{Shard: 2, Shards: 2}, "counted from 0 to 1"},
		{inspect.ScanOptions{Shard: -1, Shards: 2}, "counted from 0 to 1"},
		{inspect.ScanOptions{RuleChoice: inspect.RuleChoice{Select: []string{"WT999"}}}, "WT999"},
		{inspect.ScanOptions{RuleChoice: inspect.RuleChoice{Profile: "nobody"}}, "nobody"},
		{inspect.ScanOptions{RuleChoice: inspect.RuleChoice{Settings: "absent.yaml"}}, "absent.yaml"},
	} {
		n := 0
		for _, err := range inspect.Scan(t.Context(), inputsOf("../testdata/yi-tiny"), &test.opts) {
			if n++; err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%+v: %v, want %q", test.opts, err, test.want)
			}
		}
		if n != 1 {
			t.Errorf("%+v: %d results", test.opts, n)
		}
	}
}

// A scan ends with its context, and while its inputs wait.
func TestScanEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	never := make(chan bool)
	inputs := func(yield func(string, error) bool) {
		if yield("../testdata/yi-tiny", nil) {
			cancel()
			<-never // as stdin that nobody writes to
		}
	}
	var last error
	for _, err := range inspect.Scan(ctx, inputs, nil) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
	// So it does when all that was given is done, and it waits for more.
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	idle := func(yield func(string, error) bool) {
		if yield("../testdata/yi-tiny", nil) {
			<-never
		}
	}
	opts := &inspect.ScanOptions{Progress: func(int64, int64) {
		time.AfterFunc(time.Millisecond, cancel)
	}}
	for _, err := range inspect.Scan(ctx, idle, opts) {
		last = err
	}
	if !errors.Is(last, context.Canceled) {
		t.Error(last)
	}
	for range inspect.Scan(t.Context(), inputsOf("../testdata/yi-tiny", "../testdata/yi-tiny"), nil) {
		break
	}
}

// The shards of a list are parts of it: together they are all, and none is in two.
func TestScanShards(t *testing.T) {
	refs := ruleReleases(t)
	const shards = 3
	seen := make(map[string]int)
	for shard := range shards {
		n := 0
		for ref, err := range inspect.ScanInputs(t.Context(), slices.Values(refs), &inspect.ScanOptions{Shard: shard, Shards: shards}) {
			if err != nil || inspect.ShardOf(ref, shards) != shard {
				t.Fatal(ref, err)
			}
			seen[ref]++
			n++
		}
		if n < len(refs)/shards/2 {
			t.Errorf("shard %d has %d of %d", shard, n, len(refs))
		}
	}
	for _, ref := range refs {
		if seen[ref] != 1 {
			t.Errorf("%s is in %d shards", ref, seen[ref])
		}
	}
	// Of one input that is written in two ways all shards take the first.
	seen = make(map[string]int)
	for shard := range shards {
		for ref := range inspect.ScanInputs(t.Context(), slices.Values([]string{"a", "a/", "./b", "b"}), &inspect.ScanOptions{Shard: shard, Shards: shards}) {
			seen[ref]++
		}
	}
	if len(seen) != 2 || seen["a"] != 1 || seen["./b"] != 1 {
		t.Errorf("the inputs are %v", seen)
	}
	// FNV-1a of "a" is in its authors' list of test vectors: 0xaf63dc4c8601ec8c.
	if got, want := inspect.ShardOf("a", 1000), int(uint64(0xaf63dc4c8601ec8c)%1000); got != want {
		t.Errorf("shard %d, want %d", got, want)
	}
}

// Directories become their releases, each once, and what cannot be read is an input that
// says so.
func TestScanInputs(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b/c", "b/d"} {
		weights(t, filepath.Join(dir, name, "model.safetensors"), "tensor a F32 [2]")
	}
	shut := filepath.Join(dir, "shut")
	if err := os.Mkdir(shut, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(shut, 0o755) })
	var got []string
	for ref, err := range inspect.ScanInputs(t.Context(), slices.Values([]string{dir, filepath.Join(dir, "b") + "/", filepath.Join(dir, "a/model.safetensors")}), &inspect.ScanOptions{Recursive: true}) {
		rel, _ := filepath.Rel(dir, ref)
		if err != nil && errors.Is(err, fs.ErrPermission) {
			rel += " not readable"
		} else if err != nil {
			t.Fatal(err)
		}
		got = append(got, filepath.ToSlash(rel))
	}
	want := []string{"a", "b/c", "b/d", "shut not readable", "a/model.safetensors"}
	if os.Geteuid() == 0 { // who may read everything
		want = slices.DeleteFunc(want, func(s string) bool { return strings.HasPrefix(s, "shut") })
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// An input that is known is left out, and what is known of it is its files.
func TestScanKnown(t *testing.T) {
	dir := t.TempDir()
	path := weights(t, filepath.Join(dir, "model.safetensors"), "meta format pt\ntensor a F32 [2]")
	first := scan(t, nil, dir)[0].Release
	known := &inspect.ScanOptions{Known: func(repository, state string) bool {
		return repository == first.Repository && state == first.State
	}}
	if left := scan(t, known, dir); len(left) != 0 {
		t.Error("a known release is scanned again")
	}
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fi.ModTime().UTC().UnixMilli(); first.Modified == nil || first.Modified.UnixMilli() != want {
		t.Errorf("modified %v, want %d", first.Modified, want)
	}
	weights(t, path, "meta format pt\ntensor b F32 [2]")
	if err := os.Chtimes(path, fi.ModTime(), fi.ModTime().Add(1)); err != nil {
		t.Fatal(err)
	}
	if left := scan(t, known, dir); len(left) != 1 {
		t.Error("a release that has changed is not scanned")
	}
}

// With values, every tensor has the digest and the figures that hash and stats give it.
func TestScanValues(t *testing.T) {
	for _, choice := range [][]string{nil, {"WT1"}} { // rules read the values, or none does
		s := scan(t, &inspect.ScanOptions{Values: true, RuleChoice: inspect.RuleChoice{Select: choice}}, "../testdata/yi-tiny")[0]
		set, err := inspect.Open(t.Context(), []string{"../testdata/yi-tiny"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer set.Close()
		hash, err := inspect.Hash(t.Context(), set, nil)
		if err != nil {
			t.Fatal(err)
		}
		stats, err := inspect.Stats(t.Context(), set, nil)
		if err != nil {
			t.Fatal(err)
		}
		digests, means := make(map[string]string), make(map[string]float64)
		for i := range hash.Tensors {
			digests[hash.Tensors[i].Name] = hash.Tensors[i].Digest(inspect.SHA256)
			means[stats.Tensors[i].Name] = stats.Tensors[i].Figures.Mean
		}
		if len(s.tensors) != len(digests) || len(s.stats) != len(digests) {
			t.Fatalf("%d tensors and %d figures, want %d", len(s.tensors), len(s.stats), len(digests))
		}
		for i, row := range s.tensors {
			if row.Digest == nil || *row.Digest != digests[row.Name] {
				t.Errorf("%s: digest %v, want %s", row.Name, row.Digest, digests[row.Name])
			}
			if f := s.stats[i]; f.Name != row.Name || f.Mean == nil || *f.Mean != means[f.Name] {
				t.Errorf("%s: mean %v, want %v", f.Name, f.Mean, means[f.Name])
			}
		}
	}
}

// A cache of huggingface_hub means what its branches and tags are at now.
func TestScanHubCache(t *testing.T) {
	dir := t.TempDir()
	commit := func(digit string) string { return strings.Repeat(digit, 40) }
	repo := filepath.Join(dir, "models--org--name")
	for _, c := range []string{"a", "b", "c"} {
		weights(t, filepath.Join(repo, "snapshots", commit(c), "model.safetensors"), "tensor a F32 [2]")
	}
	writeFile(t, filepath.Join(repo, "refs", "main"), commit("b"))
	writeFile(t, filepath.Join(repo, "refs", "v1"), commit("a"))
	writeFile(t, filepath.Join(repo, "refs", "refs", "pr", "1"), commit("b"))
	weights(t, filepath.Join(dir, "models--org--unnamed", "snapshots", commit("d"), "model.safetensors"), "tensor a F32 [2]")
	if err := os.MkdirAll(filepath.Join(dir, ".locks", "models--org--name"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, recursive := range []bool{false, true} {
		var got []string
		for ref, err := range inspect.ScanInputs(t.Context(), slices.Values([]string{dir}), &inspect.ScanOptions{Recursive: recursive}) {
			if err != nil {
				t.Fatal(err)
			}
			rel, _ := filepath.Rel(dir, ref)
			got = append(got, filepath.ToSlash(rel))
		}
		slices.Sort(got)
		want := []string{
			"models--org--name/snapshots/" + commit("a"), "models--org--name/snapshots/" + commit("b"), "models--org--unnamed/snapshots/" + commit("d"),
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A snapshot in a cache of huggingface_hub has the commit in its path as its revision, whether
// it can be read, and by whatever path; its repository is the input.
func TestScanSnapshotRevision(t *testing.T) {
	dir := t.TempDir()
	commit := strings.Repeat("0a", 20)
	repo := filepath.Join(dir, "models--org--name")
	whole, empty := filepath.Join(repo, "snapshots", commit), filepath.Join(repo, "snapshots", strings.Repeat("b", 40))
	file := weights(t, filepath.Join(whole, "model.safetensors"), "tensor a F32 [2]")
	weights(t, filepath.Join(whole, "sub", "model.safetensors"), "tensor a F32 [2]")
	writeFile(t, filepath.Join(empty, "README.md"), "# nothing")
	named := filepath.Join(repo, "snapshots", "main") // as no version of huggingface_hub names it
	weights(t, filepath.Join(named, "model.safetensors"), "tensor a F32 [2]")
	elsewhere := filepath.Join(dir, "model", commit)
	weights(t, filepath.Join(elsewhere, "model.safetensors"), "tensor a F32 [2]")
	want := map[string]string{whole: commit, file: commit, filepath.Join(whole, "sub"): commit, empty: filepath.Base(empty), named: "", elsewhere: ""}
	if link := filepath.Join(dir, "link"); os.Symlink(whole, link) == nil {
		want[link] = commit
	}
	for ref, want := range want {
		s := scan(t, nil, ref)[0]
		if got := *cmp.Or(s.Release.Revision, new(string)); got != want || s.Release.Repository != ref {
			t.Errorf("%s: revision %q, want %q; repository %s", ref, got, want, s.Release.Repository)
		}
		for _, row := range s.tensors {
			if got := *cmp.Or(row.Revision, new(string)); got != want {
				t.Errorf("%s: a tensor has revision %q, want %q", ref, got, want)
			}
		}
	}
}
